//! Streams groups: the coordinator assigns tasks of a topology (KIP-1071, `StreamsGroup`).

use super::GroupRecord;
use super::state::Groups;

/// What the records of one group say.
#[derive(Debug, Default)]
pub(super) struct StreamsGroup {}

/// Takes a record of such a group as fact.
pub(super) fn apply(groups: &mut Groups, record: &GroupRecord) {
    let _ = (groups, record);
}
