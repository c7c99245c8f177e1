//! The vocabulary: ids, offsets, epochs, error codes, limits, how settings are declared.
//!
//! | file | holds |
//! |---|---|
//! | `ids` | numbers with types |
//! | `uuid` | Kafka's 128-bit ids |
//! | `str` | text that is a slice of a frame |
//! | `error_code` | refusals |
//! | `moment` | points on a host's clock |
//! | `limits` | named limits |
//! | `topic_name` | which names a topic may have |
//! | `settings` | how a setting is declared, parsed and checked |
//!
//! Absent on purpose: clocks, files, sockets, threads, entropy, `async`.

mod error_code;
mod ids;
pub mod limits;
mod moment;
pub mod settings;
mod str;
#[cfg(test)]
mod tests;
mod topic_name;
mod uuid;

pub use self::str::Str;
pub use error_code::{ErrorCode, Retriability};
pub use ids::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp,
};
pub use moment::{Moment, Now};
pub use topic_name::{InvalidTopicName, topic_name_collides, validate_topic_name};
pub use uuid::{InvalidUuid, Uuid};

/// A hash map that is not randomly seeded. Only for state whose iteration order is never observed.
#[expect(clippy::disallowed_types, reason = "the seed is fixed by the third parameter")]
pub type FastMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::FixedState>;
/// A hash set that is not randomly seeded. Only for state whose iteration order is never observed.
#[expect(clippy::disallowed_types, reason = "the seed is fixed by the third parameter")]
pub type FastSet<K> = std::collections::HashSet<K, foldhash::fast::FixedState>;
