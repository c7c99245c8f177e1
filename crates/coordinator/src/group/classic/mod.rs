//! Classic groups: members agree among themselves (`ClassicGroup`).

use super::GroupRecord;
use super::state::Groups;

/// What the records of one group say.
#[derive(Debug, Default)]
pub(super) struct ClassicGroup {}

/// Takes a record of such a group as fact.
pub(super) fn apply(groups: &mut Groups, record: &GroupRecord) {
    let _ = (groups, record);
}
