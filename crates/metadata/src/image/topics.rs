//! Topics by name and by id, and their partitions.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use ottla_base::{PartitionIndex, Str, Uuid};
use ottla_wire::records::metadata::{
    ClearElrRecord, PartitionChangeRecord, PartitionRecord, RemoveTopicRecord, TopicRecord,
};

use super::partition::{Nodes, Partition, PartitionId};
use crate::ImpossibleRecord;

/// A topic, without its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// The name.
    pub name: Str,
    /// The id, never used again for another topic.
    pub id: Uuid,
    /// How many partitions it has.
    pub partition_count: i32,
}

/// Every topic and partition. A change costs O(log n) of all partitions, whatever topics they belong to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Topics {
    pub(crate) by_id: OrdMap<Uuid, Arc<Topic>>,
    by_name: OrdMap<Str, Uuid>,
    /// Names with `.` or `_`, preceded by what they become once these are the same letter.
    ambiguous: OrdSet<(Str, Str)>,
    pub(crate) partitions: OrdMap<PartitionId, Arc<Partition>>,
}

impl Topics {
    /// The topic with this id.
    pub fn get(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// The topic with this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_id.get(self.by_name.get(name)?)
    }

    /// The id of the topic with this name.
    pub fn id(&self, name: &str) -> Option<Uuid> {
        self.by_name.get(name).copied()
    }

    /// Every topic, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values().filter_map(|id| self.by_id.get(id))
    }

    /// How many topics there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is no topic.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// One partition.
    pub fn partition(&self, topic: Uuid, index: PartitionIndex) -> Option<&Arc<Partition>> {
        self.partitions.get(&PartitionId { topic, index })
    }

    /// The partitions of a topic, in order.
    pub fn partitions(&self, topic: Uuid) -> impl Iterator<Item = (PartitionIndex, &Arc<Partition>)> {
        let first = PartitionId { topic, index: PartitionIndex(i32::MIN) };
        let last = PartitionId { topic, index: PartitionIndex(i32::MAX) };
        self.partitions.range(first..=last).map(|(id, partition)| (id.index, partition))
    }

    /// Every partition of every topic, in the order of ids.
    pub fn all_partitions(&self) -> impl Iterator<Item = (PartitionId, &Arc<Partition>)> {
        self.partitions.iter().map(|(id, partition)| (*id, partition))
    }

    /// How many partitions there are.
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// The topics that an earlier state of the same cluster had and this one has not. What both share is not looked at.
    pub fn removed_since<'a>(&'a self, earlier: &'a Topics) -> impl Iterator<Item = &'a Arc<Topic>> {
        earlier.by_id.diff(&self.by_id).filter_map(|change| match change {
            imbl::ordmap::DiffItem::Remove(_, topic) => Some(topic),
            imbl::ordmap::DiffItem::Add(..) | imbl::ordmap::DiffItem::Update { .. } => None,
        })
    }

    /// A topic whose metric names would be the same as those of `name`, if there is one.
    pub fn colliding_with(&self, name: &str) -> Option<&Str> {
        let unified = unified(name)?;
        let from = (unified.clone(), Str::default());
        self.ambiguous.range(from..).next().filter(|(it, _)| *it == unified).map(|(_, name)| name)
    }

    pub(super) fn apply_topic(&mut self, record: &TopicRecord) -> Result<(), ImpossibleRecord> {
        let id = record.topic_id;
        let name = record.name.detached();
        if self.by_name.contains_key(&name) || self.by_id.contains_key(&id) {
            return Err(ImpossibleRecord::new(format!("topic {name} with id {id} exists already")));
        }
        if let Some(unified) = unified(&name) {
            self.ambiguous.insert((unified, name.clone()));
        }
        self.by_name.insert(name.clone(), id);
        self.by_id.insert(id, Arc::new(Topic { name, id, partition_count: 0 }));
        Ok(())
    }

    /// Returns the name of the topic that is gone.
    pub(super) fn apply_remove(&mut self, record: &RemoveTopicRecord) -> Result<Str, ImpossibleRecord> {
        let topic = self.by_id.remove(&record.topic_id).ok_or_else(|| no_topic(record.topic_id))?;
        self.by_name.remove(&topic.name);
        if let Some(unified) = unified(&topic.name) {
            self.ambiguous.remove(&(unified, topic.name.clone()));
        }
        let indexes: Vec<PartitionIndex> = self.partitions(topic.id).map(|(index, _)| index).collect();
        for index in indexes {
            self.partitions.remove(&PartitionId { topic: topic.id, index });
        }
        Ok(topic.name.clone())
    }

    pub(super) fn apply_partition(&mut self, record: &PartitionRecord) -> Result<(), ImpossibleRecord> {
        let id = PartitionId { topic: record.topic_id, index: PartitionIndex(record.partition_id) };
        let topic = self.by_id.get_mut(&id.topic).ok_or_else(|| no_topic(id.topic))?;
        if self.partitions.insert(id, Arc::new(Partition::from_record(record)?)).is_none() {
            Arc::make_mut(topic).partition_count += 1;
        }
        Ok(())
    }

    pub(super) fn apply_change(&mut self, record: &PartitionChangeRecord) -> Result<(), ImpossibleRecord> {
        let id = PartitionId { topic: record.topic_id, index: PartitionIndex(record.partition_id) };
        let partition = self.partitions.get_mut(&id).ok_or_else(|| {
            ImpossibleRecord::new(format!("no partition {} of topic {}", id.index, id.topic))
        })?;
        *partition = Arc::new(partition.changed(record)?);
        Ok(())
    }

    /// Forgets the eligible leader replicas of a topic, or of all.
    pub(super) fn apply_clear_elr(&mut self, record: &ClearElrRecord) -> Result<(), ImpossibleRecord> {
        let has_elr = |it: &Arc<Partition>| !it.elr.is_empty() || !it.last_known_elr.is_empty();
        let affected: Vec<PartitionId> = if record.topic_name.is_empty() {
            self.all_partitions().filter(|(_, it)| has_elr(it)).map(|(id, _)| id).collect()
        } else {
            let topic = self
                .id(&record.topic_name)
                .ok_or_else(|| ImpossibleRecord::new(format!("no topic is named {}", record.topic_name)))?;
            let of_topic = self.partitions(topic).filter(|(_, it)| has_elr(it));
            of_topic.map(|(index, _)| PartitionId { topic, index }).collect()
        };
        for id in affected {
            if let Some(partition) = self.partitions.get_mut(&id) {
                let partition = Arc::make_mut(partition);
                partition.elr = Nodes::new();
                partition.last_known_elr = Nodes::new();
                partition.partition_epoch = partition.partition_epoch.wrapping_add(1);
            }
        }
        Ok(())
    }
}

fn no_topic(id: Uuid) -> ImpossibleRecord {
    ImpossibleRecord::new(format!("no topic has the id {id}"))
}

/// What a name becomes once `.` and `_` are the same letter; `None` if it has neither.
fn unified(name: &str) -> Option<Str> {
    name.contains(['.', '_']).then(|| Str::from(name.replace('.', "_")))
}
