//! The KRaft quorum as a pure step function (KIP-595, 630, 853, 996).
//!
//! | file | holds |
//! |---|---|
//! | `raft` | [`Raft`]: the replica, its one step function and what it does when nothing comes in |
//! | `step` | the border: [`Input`] comes in, [`Action`] goes out, in binding order |
//! | `message` | what replicas say to each other, free of wire versions |
//! | `election` | votes asked and given, and every change of role |
//! | `leader`, `replication`, `reconfiguration` | leading: the high watermark, fetches, changes of the voters |
//! | `follower` | following: fetching records and snapshots |
//! | `role`, `connections`, `random` | the state of each role, requests under way, seeded numbers |
//! | `log` | [`LogShape`]: the log without its bytes |
//! | `voters`, `history` | who votes, now and at any offset |
//! | `quorum_state` | [`Election`]: what must survive, as the file `quorum-state` |
//! | `wire_form` | messages between their meaning and the wire |
//! | `control`, `control_value`, `snapshot` | the quorum's own records, and snapshots as bytes |
//!
//! Invariants, asserted here or after every step of the simulation in `tests`: K1 votes and records are durable
//! before anyone hears of them; K2 the high watermark counts only when it covers a record of the leader's own
//! epoch; K3 one uncommitted change of the voters; K4 a directory names a disk, and a wiped voter is another
//! one; K5 one leader per epoch; K6 a snapshot is named by its end and epoch, and the log never begins before
//! the snapshot it begins with.
//!
//! Absent on purpose: I/O, clocks, threads, entropy, `async`, and any trust in what comes from the network.

mod connections;
mod control;
mod control_value;
mod election;
mod follower;
mod history;
mod ids;
mod leader;
mod log;
mod message;
mod quorum_state;
mod raft;
mod random;
mod reconfiguration;
mod replication;
mod role;
mod snapshot;
mod step;
#[cfg(test)]
mod tests;
mod voters;
mod wire_form;

pub use control::{ControlRecord, MAX_BATCH_BYTES, control_records};
pub use history::{History, Membership};
pub use ids::{OffsetAndEpoch, ReplicaKey};
pub use log::{LogShape, Place};
pub use message::*;
pub use quorum_state::{Election, InvalidQuorumState};
pub use raft::{Config, Raft, Recovered};
pub use role::RoleName;
pub use snapshot::*;
pub use step::*;
pub use voters::{Address, Endpoints, InvalidVoter, KRaftVersion, Voter, VoterSet};
