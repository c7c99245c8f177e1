//! The replicas of this broker follow the metadata: made, led, deleted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_base::{NodeId, PartitionIndex, Str, Uuid};
use ottla_metadata::{Delta, Duty, Image};
use ottla_storage::{LogSetError, StorageError, TopicPartition};

use crate::broker::Broker;
use crate::partition::{Demands, Leadership, Partition};
use crate::placements;
use crate::settings_change;

/// Does what a change of the metadata asks of this broker.
pub(crate) fn apply(broker: &Broker, delta: Delta<'_>) {
    let mut known: Option<(Uuid, Arc<ottla_storage::LogConfig>, Demands)> = None;
    for change in delta.local_changes(broker.node_id) {
        match change.duty {
            Duty::Delete => delete(broker, change.topic, change.id.topic, change.id.index),
            Duty::Lead { partition, .. } | Duty::Follow { partition } => {
                let leadership = leadership(partition);
                if let Some(present) = broker.partitions.get(change.id.topic, change.id.index.get()) {
                    present.lead(leadership);
                    continue;
                }
                if known.as_ref().is_none_or(|it| it.0 != change.id.topic) {
                    let (config, demands) = settings_change::of_topic(broker, delta.new, change.topic);
                    known = Some((change.id.topic, config, demands));
                }
                if let Some((_, config, demands)) = &known {
                    let name = (change.topic.detached(), change.id.topic, change.id.index);
                    let directory = partition.directory_of(broker.node_id);
                    make(broker, name, directory, leadership, config.clone(), demands.clone());
                }
            }
        }
    }
}

fn leadership(partition: &ottla_metadata::Partition) -> Leadership {
    Leadership {
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        isr: partition.isr.to_vec(),
        replicas: partition.replicas.to_vec(),
    }
}

fn make(
    broker: &Broker,
    name: (Str, Uuid, PartitionIndex),
    directory: Option<Uuid>,
    leadership: Leadership,
    config: Arc<ottla_storage::LogConfig>,
    demands: Demands,
) {
    let partition = TopicPartition::new(name.0.as_str(), name.2.get());
    let counters = broker.partitions.counters(name.1, &name.0);
    let named = placements::named(directory);
    let log = match broker.logs.get_or_create(&partition, name.1, config, named) {
        Ok(log) => log,
        Err(error) => {
            tracing::error!(%partition, %error, "a replica cannot be opened or made");
            if matches!(error, LogSetError::Storage(StorageError::Full { .. })) {
                broker.replicas_missing.store(true, Ordering::Relaxed);
            }
            return;
        }
    };
    if let Some(found) = broker.logs.directory_id(&log).filter(|it| directory != Some(*it)) {
        broker.placements.note(name.1, name.2, found);
    }
    broker.partitions.insert(Arc::new(Partition::new(
        broker.node_id,
        name,
        log,
        counters,
        leadership,
        demands,
    )));
}

fn delete(broker: &Broker, topic: &Str, id: Uuid, index: PartitionIndex) {
    broker.partitions.remove(id, index);
    let partition = TopicPartition::new(topic.as_str(), index.get());
    match broker.logs.delete(&partition) {
        Ok(_) => {}
        Err(error) => tracing::error!(%partition, %error, "a replica cannot be deleted"),
    }
}

/// What the logs on disk are of that the metadata does not know: kept under another name, never deleted.
pub(crate) fn strays<'image>(
    image: &'image Image,
    broker: NodeId,
    found: impl Iterator<Item = (TopicPartition, Option<Uuid>)> + 'image,
) -> impl Iterator<Item = TopicPartition> + 'image {
    found.filter_map(move |(partition, id)| {
        let known = match id {
            Some(id) => image.topics.get(id).map(|it| it.id),
            None => image.topics.id(&partition.topic),
        };
        let assigned = known.and_then(|id| image.topics.partition(id, partition.partition));
        let is_mine = assigned.is_some_and(|it| it.has_replica(broker));
        (!is_mine).then_some(partition)
    })
}
