//! What is different between two images. Subscribers see the log and snapshots through the same eyes: as deltas.

use std::sync::Arc;

use imbl::ordmap::DiffItem;
use ottla_base::{NodeId, Str, Uuid};

use crate::image::{Broker, Config, Image, Partition, PartitionId, RegisteredController, Resource, Topic};

/// The change from one image to a later one. Costs nothing to make; what did not change is skipped in whole
/// subtrees when it is asked.
#[derive(Debug, Clone, Copy)]
pub struct Delta<'a> {
    /// Before.
    pub old: &'a Image,
    /// After.
    pub new: &'a Image,
}

/// One thing that is new, gone or different.
#[derive(Debug, PartialEq, Eq)]
pub struct Change<'a, K, V> {
    /// Which thing.
    pub key: &'a K,
    /// What it was; `None` if it is new.
    pub old: Option<&'a V>,
    /// What it is; `None` if it is gone.
    pub new: Option<&'a V>,
}

/// What a change of a partition asks of one broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalChange<'a> {
    /// The topic's name.
    pub topic: &'a Str,
    /// The partition.
    pub id: PartitionId,
    /// What the broker is to do.
    pub duty: Duty<'a>,
    /// The directory of the broker's replica if it is not the one of before.
    pub new_directory: Option<Uuid>,
}

/// What a broker is to do about a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty<'a> {
    /// Lead it. `elected` if the leader epoch is new.
    Lead {
        /// The partition now.
        partition: &'a Arc<Partition>,
        /// Whether the leader epoch is new.
        elected: bool,
    },
    /// Follow its leader, if it has one.
    Follow {
        /// The partition now.
        partition: &'a Arc<Partition>,
    },
    /// Delete the replica: the topic is gone, or the replica was moved away.
    Delete,
}

fn change<'a, K, V>(item: DiffItem<'a, 'a, K, V>) -> Change<'a, K, V> {
    match item {
        DiffItem::Add(key, new) => Change { key, old: None, new: Some(new) },
        DiffItem::Update { old: (_, old), new: (key, new) } => Change { key, old: Some(old), new: Some(new) },
        DiffItem::Remove(key, old) => Change { key, old: Some(old), new: None },
    }
}

impl<'a> Delta<'a> {
    /// The change from `old` to `new`.
    pub fn between(old: &'a Image, new: &'a Image) -> Delta<'a> {
        Delta { old, new }
    }

    /// Topics that were created, deleted, or given partitions.
    pub fn topics(self) -> impl Iterator<Item = Change<'a, Uuid, Arc<Topic>>> {
        self.old.topics.by_id.diff(&self.new.topics.by_id).map(change)
    }

    /// Partitions that were created, changed, or deleted with their topics.
    pub fn partitions(self) -> impl Iterator<Item = Change<'a, PartitionId, Arc<Partition>>> {
        self.old.topics.partitions.diff(&self.new.topics.partitions).map(change)
    }

    /// Brokers that were registered, changed or unregistered.
    pub fn brokers(self) -> impl Iterator<Item = Change<'a, NodeId, Arc<Broker>>> {
        self.old.cluster.brokers.diff(&self.new.cluster.brokers).map(change)
    }

    /// Controllers that were registered, changed or unregistered.
    pub fn controllers(self) -> impl Iterator<Item = Change<'a, NodeId, Arc<RegisteredController>>> {
        self.old.cluster.controllers.diff(&self.new.cluster.controllers).map(change)
    }

    /// Resources with changed configurations.
    pub fn configs(self) -> impl Iterator<Item = Change<'a, Resource, Config>> {
        self.old.configs.resources.diff(&self.new.configs.resources).map(change)
    }

    /// Whether a feature is finalized at another level.
    pub fn features_changed(self) -> bool {
        self.old.features != self.new.features
    }

    /// Whether a client quota has changed.
    pub fn client_quotas_changed(self) -> bool {
        self.old.client_quotas != self.new.client_quotas
    }

    /// Whether an ACL, a credential or a token has changed.
    pub fn access_changed(self) -> bool {
        self.old.access != self.new.access
    }

    /// What the changes of partitions ask of one broker.
    pub fn local_changes(self, broker: NodeId) -> impl Iterator<Item = LocalChange<'a>> {
        self.partitions().filter_map(move |change| self.local_change(broker, change))
    }

    fn local_change(
        self,
        broker: NodeId,
        Change { key, old, new }: Change<'a, PartitionId, Arc<Partition>>,
    ) -> Option<LocalChange<'a>> {
        let was_mine = old.is_some_and(|partition| partition.has_replica(broker));
        let topics = if new.is_some() { &self.new.topics } else { &self.old.topics };
        let topic = &topics.get(key.topic)?.name;
        let Some(partition) = new.filter(|partition| partition.has_replica(broker)) else {
            let delete = LocalChange { topic, id: *key, duty: Duty::Delete, new_directory: None };
            return was_mine.then_some(delete);
        };
        let duty = if partition.leader == broker {
            let elected = old.is_none_or(|it| it.leader_epoch != partition.leader_epoch);
            Duty::Lead { partition, elected }
        } else {
            Duty::Follow { partition }
        };
        let directory = partition.directory_of(broker);
        let old_directory = old.and_then(|it| it.directory_of(broker));
        let new_directory = directory.filter(|_| directory != old_directory);
        Some(LocalChange { topic, id: *key, duty, new_directory })
    }
}
