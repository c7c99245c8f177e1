//! Consumer groups: the coordinator assigns partitions (KIP-848, `ConsumerGroup`).

use super::GroupRecord;
use super::modern::subscriptions::SubscriptionCounts;
use super::state::Groups;

/// What the records of one group say.
#[derive(Debug, Default)]
pub(super) struct ConsumerGroup {
    wanted: SubscriptionCounts,
}

impl ConsumerGroup {
    /// Whether a member wants this topic.
    pub(super) fn wants(&self, topic: &str) -> bool {
        self.wanted.contains(topic)
    }
}

/// Takes a record of such a group as fact.
pub(super) fn apply(groups: &mut Groups, record: &GroupRecord) {
    let _ = (groups, record);
}
