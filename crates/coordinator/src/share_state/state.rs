//! Hard state: every share partition, by what its records say.

use std::collections::BTreeMap;

use ottla_base::Str;
use ottla_wire::records::share::{ShareKey, ShareSnapshotValue, ShareUpdateValue, ShareValue};

use super::record::{snapshot_batches, update_batches};
use super::redundant::Copies;
use super::request::SharePartitionKey;
use super::{ShareFact, StateBatch, batches};

/// The state of one partition of `__share_group_state`, born by replay.
#[derive(Debug, Default)]
pub struct ShareCoordinator {
    pub(super) partitions: BTreeMap<SharePartitionKey, SharePartitionState>,
    pub(super) copies: Copies,
}

/// What is known of one share partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SharePartitionState {
    /// What a whole copy of it would say.
    pub(super) copy: Copy,
    /// The highest leader epoch that was told: whoever tells a lower one is fenced off.
    pub(super) leader_epoch_seen: i32,
    /// The highest state epoch that was told: whoever tells a lower one is fenced off.
    pub(super) state_epoch_seen: i32,
    /// How many changes were written since the last whole copy.
    pub(super) updates: u32,
}

/// A whole copy of a share partition's state (`ShareGroupOffset`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    /// Counts the whole copies.
    pub(super) snapshot_epoch: i32,
    /// Counts how often the state was set anew.
    pub(super) state_epoch: i32,
    /// The epoch of the partition's leader that wrote last.
    pub(super) leader_epoch: i32,
    /// Where the records begin that are not all delivered; -1 before anything was read.
    pub(super) start_offset: i64,
    /// How many records from there on are done with; -1 if that is not known.
    pub(super) delivery_complete_count: i32,
    /// When the state was first written, in milliseconds.
    pub(super) create_timestamp: i64,
    /// When it was last written whole, in milliseconds.
    pub(super) write_timestamp: i64,
    /// What is known of the records from the start on.
    pub(super) batches: Vec<StateBatch>,
}

impl ShareCoordinator {
    /// How many share partitions have state here.
    pub fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Takes a fact.
    pub(super) fn apply_fact(&mut self, fact: &ShareFact) {
        let key = key_of(&fact.record.key);
        match (&fact.record.key, &fact.record.value) {
            (ShareKey::ShareSnapshotKey(_), None) => {
                self.partitions.remove(&key);
                self.copies.removed(&key, fact.offset);
            }
            (ShareKey::ShareSnapshotKey(_), Some(ShareValue::ShareSnapshotValue(value))) => {
                self.copies.written(&key, fact.offset);
                self.apply_snapshot(key, value);
            }
            (ShareKey::ShareUpdateKey(_), Some(ShareValue::ShareUpdateValue(value))) => {
                self.apply_update(key, value);
            }
            // Changes have no tombstones, and the type of a value is that of its key.
            _ => {}
        }
    }

    fn apply_snapshot(&mut self, key: SharePartitionKey, value: &ShareSnapshotValue) {
        let copy = Copy {
            snapshot_epoch: value.snapshot_epoch,
            state_epoch: value.state_epoch,
            leader_epoch: value.leader_epoch,
            start_offset: value.start_offset,
            delivery_complete_count: value.delivery_complete_count,
            create_timestamp: value.create_timestamp,
            write_timestamp: value.write_timestamp,
            batches: snapshot_batches(value),
        };
        let known = self.partitions.get(&key);
        let state = SharePartitionState {
            leader_epoch_seen: known
                .map_or(copy.leader_epoch, |it| it.leader_epoch_seen.max(copy.leader_epoch)),
            state_epoch_seen: known.map_or(copy.state_epoch, |it| it.state_epoch_seen.max(copy.state_epoch)),
            copy,
            updates: 0,
        };
        self.partitions.insert(key, state);
    }

    fn apply_update(&mut self, key: SharePartitionKey, value: &ShareUpdateValue) {
        let Some(state) = self.partitions.get_mut(&key) else {
            let copy = Copy {
                snapshot_epoch: value.snapshot_epoch,
                state_epoch: 0,
                leader_epoch: value.leader_epoch,
                start_offset: value.start_offset,
                delivery_complete_count: value.delivery_complete_count,
                create_timestamp: 0,
                write_timestamp: 0,
                batches: update_batches(value),
            };
            let state = SharePartitionState {
                leader_epoch_seen: copy.leader_epoch,
                state_epoch_seen: 0,
                copy,
                updates: 1,
            };
            self.partitions.insert(key, state);
            return;
        };
        state.leader_epoch_seen = state.leader_epoch_seen.max(value.leader_epoch);
        state.updates = state.updates.saturating_add(1);
        let copy = &mut state.copy;
        if value.start_offset != -1 {
            copy.start_offset = value.start_offset;
        }
        if value.leader_epoch != -1 {
            copy.leader_epoch = value.leader_epoch;
        }
        copy.delivery_complete_count = value.delivery_complete_count;
        copy.batches = batches::combine(&copy.batches, &update_batches(value), copy.start_offset);
    }
}

fn key_of(key: &ShareKey) -> SharePartitionKey {
    let (group, topic, partition): (&Str, _, _) = match key {
        ShareKey::ShareSnapshotKey(it) => (&it.group_id, it.topic_id, it.partition),
        ShareKey::ShareUpdateKey(it) => (&it.group_id, it.topic_id, it.partition),
    };
    SharePartitionKey { group: group.detached(), topic, partition }
}
