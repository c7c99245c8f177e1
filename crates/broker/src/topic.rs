//! What is special about some topics.

/// Topics that Kafka keeps for itself and does not let ordinary clients write to (`Topic.INTERNAL_TOPICS`).
const INTERNAL: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// Whether a topic is Kafka's own.
pub(crate) fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}
