//! Groups (classic, consumer, share, streams) and transactions as machines, each replayed from its internal topic.
//!
//! | part | holds |
//! |---|---|
//! | `group` | the machine on a partition of `__consumer_offsets`: groups of every kind, and committed offsets |
//! | `topic_hash` | what a group knows of its topics, as one number |
//! | `transaction` | the machine on a partition of `__transaction_state`: transactional ids and how their transactions end |
//! | `share_partition` | what a share group has in flight of one partition: pure data, without a log of its own |
//! | `share_state` | the machine on a partition of `__share_group_state`: how far share groups have come |
//! | `timers` | deadlines by name, for machines' soft state |
//! | `world` | what coordinators see of the cluster: its metadata and the settings in force |
//!
//! Invariants: records and their keys are Kafka's own, so that either implementation goes on where the other stopped;
//! hard state comes from records alone; what a request brings is bounded before it becomes state, and what is kept of
//! it is detached from the frame it came in.
//!
//! Absent on purpose: I/O, clocks, threads, entropy, `async`, authorization (it happens before) and the log.

pub mod group;
mod placement;
#[cfg(test)]
mod seeds;
pub mod share_partition;
pub mod share_state;
mod timers;
mod topic_hash;
pub mod transaction;
mod world;

pub use placement::partition_for;
pub use timers::Timers;
pub use topic_hash::{group_hash, topic_hash};
pub use world::World;
