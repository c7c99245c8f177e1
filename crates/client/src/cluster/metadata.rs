//! What a client knows of a cluster: brokers, topics, leaders.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ottla_base::{ErrorCode, LeaderEpoch, Moment, NodeId, PartitionIndex, Str, Uuid};
use ottla_wire::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Str,
    /// The partition's number.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Str>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition: PartitionIndex(partition) }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}-{}", self.topic, self.partition)
    }
}

/// A broker that clients can connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its `node.id`.
    pub id: NodeId,
    /// The host it announces.
    pub host: Str,
    /// The port it announces.
    pub port: u16,
    /// Its `broker.rack`.
    pub rack: Option<Str>,
}

/// A topic, as a broker told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Its name.
    pub name: Str,
    /// Its id; zero if the broker is too old to tell.
    pub id: Uuid,
    /// Whether the cluster keeps its own state in it.
    pub is_internal: bool,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionMetadata>,
    /// Why nothing is known of it, or `None`.
    pub error: ErrorCode,
}

/// A partition, as a broker told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Its number.
    pub index: PartitionIndex,
    /// Who leads it, if anybody does.
    pub leader: Option<NodeId>,
    /// The leader's epoch, or none if the broker is too old to tell.
    pub leader_epoch: LeaderEpoch,
    /// Its replicas, the preferred leader first.
    pub replicas: Vec<NodeId>,
    /// The replicas that are in sync.
    pub isr: Vec<NodeId>,
    /// The replicas that are offline.
    pub offline: Vec<NodeId>,
}

/// What is known of a cluster at one time.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    /// The id of the cluster.
    pub cluster_id: Option<Str>,
    /// The broker that takes requests for the controller.
    pub controller: Option<NodeId>,
    /// The brokers.
    pub brokers: BTreeMap<NodeId, Broker>,
    /// The topics that were asked for.
    pub topics: BTreeMap<Str, Arc<TopicMetadata>>,
    /// When a broker last told.
    pub(crate) updated: Moment,
    /// How often a broker has told.
    pub(crate) version: u64,
}

impl Metadata {
    /// A topic that is known.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicMetadata>> {
        self.topics.get(name).filter(|it| it.error == ErrorCode::None)
    }

    /// A partition that is known.
    pub fn partition(&self, of: &TopicPartition) -> Option<&PartitionMetadata> {
        self.topic(&of.topic)?.partition(of.partition)
    }

    /// What is known after a broker has told. Topics for which `keep` says no are forgotten.
    pub(crate) fn updated(
        &self,
        answer: &MetadataResponse,
        now: Moment,
        keep: impl Fn(&Str) -> bool,
    ) -> Metadata {
        let brokers = answer.brokers.iter().filter_map(broker).map(|it| (it.id, it)).collect();
        let mut topics = self.topics.clone();
        for told in &answer.topics {
            let Some(name) = &told.name else { continue };
            let before = topics.get(name.as_str()).cloned();
            let topic = topic(told, name, before.as_deref());
            topics.insert(topic.name.clone(), Arc::new(topic));
        }
        topics.retain(|name, _| keep(name));
        Metadata {
            cluster_id: answer.cluster_id.as_ref().map(Str::detached),
            controller: node(answer.controller_id),
            brokers,
            topics,
            updated: now,
            version: self.version + 1,
        }
    }

    /// What is known after a broker has named a partition's new leader in passing (KIP-951). Older news change
    /// nothing.
    pub(crate) fn with_leader(
        &self,
        of: &TopicPartition,
        leader: NodeId,
        epoch: LeaderEpoch,
    ) -> Option<Metadata> {
        let topic = self.topic(&of.topic)?;
        if topic.partition(of.partition)?.leader_epoch >= epoch || !self.brokers.contains_key(&leader) {
            return None;
        }
        let mut topic = TopicMetadata::clone(topic);
        let partition = topic.partitions.iter_mut().find(|it| it.index == of.partition)?;
        partition.leader = Some(leader);
        partition.leader_epoch = epoch;
        let mut updated = self.clone();
        updated.topics.insert(of.topic.clone(), Arc::new(topic));
        Some(updated)
    }
}

impl TopicMetadata {
    /// One of its partitions.
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionMetadata> {
        let at = self.partitions.binary_search_by_key(&index, |it| it.index).ok()?;
        self.partitions.get(at)
    }
}

fn node(id: i32) -> Option<NodeId> {
    Some(NodeId(id)).filter(|_| id >= 0)
}

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn broker(told: &MetadataResponseBroker) -> Option<Broker> {
    let port = u16::try_from(told.port).ok()?;
    let (host, rack) = (told.host.detached(), told.rack.as_ref().map(Str::detached));
    Some(Broker { id: NodeId(told.node_id), host, port, rack })
}

fn topic(told: &MetadataResponseTopic, name: &Str, before: Option<&TopicMetadata>) -> TopicMetadata {
    let before = before.filter(|it| it.id == told.topic_id);
    let mut partitions: Vec<PartitionMetadata> = told.partitions.iter().map(partition).collect();
    partitions.sort_by_key(|it| it.index);
    partitions.dedup_by_key(|it| it.index);
    for partition in &mut partitions {
        // A broker that is behind must not bring a former leader back (KIP-320).
        let known = before.and_then(|it| it.partition(partition.index));
        if let Some(known) = known.filter(|it| it.leader_epoch > partition.leader_epoch) {
            *partition = known.clone();
        }
    }
    TopicMetadata {
        name: name.detached(),
        id: told.topic_id,
        is_internal: told.is_internal,
        partitions,
        error: ErrorCode::from_code(told.error_code),
    }
}

fn partition(told: &MetadataResponsePartition) -> PartitionMetadata {
    PartitionMetadata {
        index: PartitionIndex(told.partition_index),
        leader: node(told.leader_id),
        leader_epoch: LeaderEpoch(told.leader_epoch),
        replicas: nodes(&told.replica_nodes),
        isr: nodes(&told.isr_nodes),
        offline: nodes(&told.offline_replicas),
    }
}
