//! What is special about some topics.

/// Where groups and committed offsets are kept.
pub(crate) const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Where transactions are kept.
pub(crate) const TRANSACTION_STATE: &str = "__transaction_state";
/// Where the state of share groups is kept.
pub(crate) const SHARE_GROUP_STATE: &str = "__share_group_state";

/// Where it is recorded what was tiered. Kafka does not count it among its own.
pub(crate) const REMOTE_LOG_METADATA: &str = "__remote_log_metadata";

/// Topics that Kafka keeps for itself and does not let ordinary clients write to (`Topic.INTERNAL_TOPICS`).
const INTERNAL: [&str; 3] = [CONSUMER_OFFSETS, TRANSACTION_STATE, SHARE_GROUP_STATE];

/// Whether a topic is Kafka's own.
pub(crate) fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}
