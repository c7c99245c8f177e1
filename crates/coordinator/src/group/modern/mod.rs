//! What groups have in common whose partitions the coordinator assigns: consumer, share and, in part, streams groups
//! (`ModernGroup`, `TargetAssignmentBuilder`).

#[cfg(test)]
mod tests;

pub(super) mod assignor;
pub(super) mod subscriptions;
pub(super) mod topics;

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{Timestamp, Uuid};

/// Partitions, topic by topic. A topic without partitions is not in it.
pub(super) type Assigned = BTreeMap<Uuid, BTreeSet<i32>>;

/// How far a member has come with what it should own (`MemberState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum MemberState {
    /// It owns what its epoch's target gives it.
    #[default]
    Stable,
    /// It must give up partitions before it can go on.
    UnrevokedPartitions,
    /// It waits for partitions that others have not given up.
    UnreleasedPartitions,
    /// A later release wrote something that this one does not know.
    Unknown,
}

impl MemberState {
    /// The state as records have it.
    pub(super) fn code(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
            MemberState::Unknown => 127,
        }
    }

    /// What a record has.
    pub(super) fn from_code(code: i8) -> MemberState {
        match code {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        }
    }
}

/// The epoch that a group has before its first record, and that its target assignment has.
pub(super) const FIRST_EPOCH: i32 = 1;

/// Which epoch the target assignment of a group is for, and when it was computed (`TargetAssignmentMetadata`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TargetMetadata {
    /// The group's epoch; -1 once the record is gone.
    pub(super) epoch: i32,
    /// When it was computed; 0 if that is not to delay the next one.
    pub(super) computed_at: Timestamp,
}

impl Default for TargetMetadata {
    fn default() -> Self {
        TargetMetadata { epoch: FIRST_EPOCH, computed_at: Timestamp(0) }
    }
}

impl TargetMetadata {
    /// What is left of it without its record.
    pub(super) const GONE: TargetMetadata = TargetMetadata { epoch: -1, computed_at: Timestamp(0) };

    /// Whether the next assignment may be computed `now`, at least `interval_ms` after this one (KIP-1263).
    pub(super) fn may_be_replaced(self, interval_ms: i32, now: Timestamp) -> bool {
        self.computed_at.0 == 0
            || interval_ms == 0
            || now.0 >= self.computed_at.0.saturating_add(i64::from(interval_ms))
    }
}
