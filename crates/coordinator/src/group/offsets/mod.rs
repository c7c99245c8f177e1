//! Committed offsets: of groups, of consumers without one, and those of transactions that go on
//! (`OffsetMetadataManager`).
//!
//! | file | holds |
//! |---|---|
//! | `by_partition` | values by group, topic and partition |
//! | `commit` | `OffsetCommit`, `TxnOffsetCommit`, the end of a transaction |
//! | `fetch` | `OffsetFetch` |
//! | `delete` | `OffsetDelete`, topics that are gone, expiry |

mod by_partition;
pub(super) mod commit;
pub(super) mod delete;
pub(super) mod fetch;
#[cfg(test)]
pub(in crate::group) mod tests;

pub(super) use by_partition::Topics;

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{ProducerId, Str, Uuid};
use ottla_wire::records::group::{GroupKey, GroupValue, OffsetCommitKey};

use super::{GroupRecord, Producer, TransactionResult};
use by_partition::ByPartition;

/// Every committed offset of this partition of `__consumer_offsets`.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    committed: ByPartition<Committed>,
    /// What counts once its transaction is committed.
    pending: BTreeMap<ProducerId, ByPartition<Committed>>,
    /// Whose transactions hold up a partition's offset.
    open: ByPartition<BTreeSet<ProducerId>>,
    /// How many commits were applied: their order in the log, which compaction keeps.
    applied: u64,
}

/// An offset as it was committed (`OffsetAndMetadata`).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Committed {
    pub(super) offset: i64,
    /// Of the last record consumed; -1 if not known.
    pub(super) leader_epoch: i32,
    pub(super) metadata: Str,
    /// By the wall clock.
    pub(super) commit_timestamp: i64,
    /// When it expires, whatever the retention is; -1 if that was not asked for.
    pub(super) expire_timestamp: i64,
    /// Zero if the commit did not tell.
    pub(super) topic_id: Uuid,
    /// The place among the commits of the log.
    order: u64,
}

impl Offsets {
    /// Takes a commit, or its removal, as fact.
    pub(super) fn apply(&mut self, record: &GroupRecord) {
        let Some((group, topic, partition)) = place(&record.key) else { return };
        match record.value.as_ref().and_then(|value| self.read(value)) {
            Some(committed) => {
                self.committed.insert(group, topic, partition, committed);
            }
            None => self.remove(group, topic, partition),
        }
    }

    /// Takes a commit that counts once its transaction is committed.
    pub(super) fn apply_pending(&mut self, producer: Producer, record: &GroupRecord) {
        let Some((group, topic, partition)) = place(&record.key) else { return };
        match record.value.as_ref().and_then(|value| self.read(value)) {
            Some(committed) => {
                let pending = self.pending.entry(producer.id).or_default();
                pending.insert(group, topic, partition, committed);
                self.open.or_default(group, topic, partition).insert(producer.id);
            }
            None => self.remove(group, topic, partition),
        }
    }

    /// Takes the end of a transaction as fact.
    pub(super) fn apply_end(&mut self, producer: Producer, result: TransactionResult) {
        let Some(pending) = self.pending.remove(&producer.id) else { return };
        for (group, topics) in pending.groups() {
            for (topic, partitions) in topics {
                for (partition, offset) in partitions {
                    self.close(group, topic, *partition, producer.id);
                    // What was committed later, outside of the transaction, stays: a compacted log says the same.
                    let later = self.committed.get(group, topic, *partition);
                    let is_latest = later.is_none_or(|later| later.order < offset.order);
                    if result == TransactionResult::Committed && is_latest {
                        self.committed.insert(group, topic, *partition, offset.clone());
                    }
                }
            }
        }
    }

    /// Whether anything is committed for the group, or may be once a transaction ends.
    pub(super) fn has_group(&self, group: &str) -> bool {
        self.committed.group(group).is_some() || self.open.group(group).is_some()
    }

    /// Whether a transaction that goes on has committed offsets for the group.
    pub(super) fn has_open_transactions(&self, group: &str) -> bool {
        self.open.group(group).is_some()
    }

    /// What is committed for a group.
    pub(super) fn of_group(&self, group: &str) -> Option<&Topics<Committed>> {
        self.committed.group(group)
    }

    /// What is committed for a partition.
    pub(super) fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&Committed> {
        self.committed.get(group, topic, partition)
    }

    /// Whether a transaction that goes on holds up a partition's offset.
    pub(super) fn is_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        self.open.get(group, topic, partition).is_some()
    }

    /// Every group for which something is committed, or may be; some twice.
    pub(super) fn groups(&self) -> impl Iterator<Item = &Str> {
        self.committed.groups().map(|(group, _)| group).chain(self.open.groups().map(|(group, _)| group))
    }

    /// Adds the records that remove everything of a group; says how many they are (`deleteAllOffsets`).
    pub(super) fn tombstones(&self, group: &Str, records: &mut Vec<GroupRecord>) -> usize {
        let before = records.len();
        for (topic, partitions) in self.committed.group(group).into_iter().flatten() {
            records.extend(partitions.keys().map(|partition| tombstone(group, topic, *partition)));
        }
        for (topic, partitions) in self.open.group(group).into_iter().flatten() {
            let uncommitted = partitions.keys().filter(|it| self.get(group, topic, **it).is_none());
            records.extend(uncommitted.map(|partition| tombstone(group, topic, *partition)));
        }
        records.len() - before
    }

    /// The records that remove the offsets of a topic, of every group, committed or not (`onTopicsDeleted`).
    fn tombstones_of_topic(&self, topic: &Str, is_of: impl Fn(&Committed) -> bool) -> Vec<GroupRecord> {
        let mut places = BTreeSet::new();
        for offsets in std::iter::once(&self.committed).chain(self.pending.values()) {
            for (group, topics) in offsets.groups() {
                let partitions = topics.get(topic).into_iter().flatten();
                let of_topic = partitions.filter(|(_, committed)| is_of(committed));
                places.extend(of_topic.map(|(partition, _)| (group, *partition)));
            }
        }
        places.into_iter().map(|(group, partition)| tombstone(group, topic, partition)).collect()
    }

    /// How many offsets are committed.
    pub(super) fn len(&self) -> usize {
        self.committed.len()
    }

    fn remove(&mut self, group: &str, topic: &str, partition: i32) {
        self.committed.remove(group, topic, partition);
        for producer in self.open.remove(group, topic, partition).unwrap_or_default() {
            // The producer stays known, without this offset, until its transaction ends.
            if let Some(pending) = self.pending.get_mut(&producer) {
                pending.remove(group, topic, partition);
                if pending.is_empty() {
                    self.pending.remove(&producer);
                }
            }
        }
    }

    fn close(&mut self, group: &str, topic: &str, partition: i32, producer: ProducerId) {
        if let Some(producers) = self.open.get_mut(group, topic, partition) {
            producers.remove(&producer);
            if producers.is_empty() {
                self.open.remove(group, topic, partition);
            }
        }
    }

    /// Reads a commit of either layout, keeping nothing of its frame.
    fn read(&mut self, value: &GroupValue) -> Option<Committed> {
        self.applied += 1;
        let order = self.applied;
        match value {
            GroupValue::OffsetCommitValue(value) => Some(Committed {
                offset: value.offset,
                leader_epoch: value.leader_epoch,
                metadata: kept(&value.metadata),
                commit_timestamp: value.commit_timestamp,
                expire_timestamp: value.expire_timestamp,
                topic_id: value.topic_id,
                order,
            }),
            GroupValue::LegacyOffsetCommitValue(value) => Some(Committed {
                offset: value.offset,
                leader_epoch: -1,
                metadata: kept(&value.metadata),
                commit_timestamp: value.commit_timestamp,
                expire_timestamp: -1,
                topic_id: Uuid::ZERO,
                order,
            }),
            _ => None,
        }
    }
}

/// The record that removes a partition's offset.
pub(super) fn tombstone(group: &Str, topic: &Str, partition: i32) -> GroupRecord {
    GroupRecord::tombstone(GroupKey::OffsetCommitKey(OffsetCommitKey {
        group: group.clone(),
        topic: topic.clone(),
        partition,
    }))
}

fn place(key: &GroupKey) -> Option<(&Str, &Str, i32)> {
    match key {
        GroupKey::OffsetCommitKey(key) => Some((&key.group, &key.topic, key.partition)),
        GroupKey::LegacyOffsetCommitKey(key) => Some((&key.group, &key.topic, key.partition)),
        _ => None,
    }
}

/// Text that keeps nothing but itself; mostly there is none.
fn kept(text: &Str) -> Str {
    if text.is_empty() { Str::default() } else { text.detached() }
}
