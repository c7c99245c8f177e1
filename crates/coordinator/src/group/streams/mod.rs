//! Streams groups: the coordinator assigns tasks of a topology (KIP-1071, `StreamsGroup`).
//!
//! | file | holds |
//! |---|---|
//! | `heartbeat` | what a member says and hears |
//! | `request` | what a heartbeat may not say |
//! | `state`, `member`, `topology`, `tasks`, `owners` | hard state: what the records of a group say |
//! | `configured` | a topology with its topics as they are; internal topics that are to be made |
//! | `target`, `sticky` | what each member is to have |
//! | `refine` | what of it waits while tasks warm up where they are to be |
//! | `reconcile` | how a member comes from what it has to what it is to have |
//! | `endpoints` | which partitions can be queried where |
//! | `leave` | members that go, by themselves or because their time is over |
//! | `describe` | what a group tells of itself |
//! | `offsets` | which commits a member may make |
//! | `live` | soft state of groups |
//! | `status` | what an answer says beside tasks |
//!
//! The assignor `sticky` is Kafka's: the target assignment is what members come to have. With `highly_available`, which
//! Kafka 4.4 has not, they come to have it by and by: tasks warm up where they are to be before they move.
//! Descriptions of topologies (KIP-1331) need a plugin, and there is none, as there is none by default.

mod configured;
mod describe;
mod endpoints;
mod heartbeat;
mod leave;
mod live;
mod member;
mod offsets;
mod owners;
mod reconcile;
mod refine;
mod request;
mod state;
mod status;
mod sticky;
mod target;
mod tasks;
#[cfg(test)]
mod tests;
mod topology;

pub use describe::{StreamsDescribe, TopologyDescription};
pub use heartbeat::{StreamsHeartbeat, StreamsHeartbeatAnswer};

pub(super) use describe::describe;
pub(super) use heartbeat::heartbeat;
pub(super) use live::{StreamsSoft, StreamsTimer, fire, see_world};
pub(super) use offsets::forget;
pub(super) use state::{StreamsGroup, apply};
