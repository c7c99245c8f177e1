//! Named limits on what may enter; each is checked before anything is allocated for it.

/// The most elements an array in a request may announce (Kafka 4.4's hardening).
pub const MAX_ARRAY_ELEMENTS: usize = 1_000_000;
/// The most tagged fields a structure may carry (Kafka 4.4's hardening).
pub const MAX_TAGGED_FIELDS: usize = 10_000;
/// The longest topic name, in bytes (`Topic.MAX_NAME_LENGTH`).
pub const MAX_TOPIC_NAME_LEN: usize = 249;
