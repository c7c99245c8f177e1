//! A server process: broker role, controller role, or both.
//!
//! | part | holds |
//! |---|---|
//! | `server` | from the first moment to the last: directories, logs, quorum, registration, listeners |
//! | `config` | what a server is started with |
//! | `format` | what `ottla format` does |
//! | `readiness` | what a start would find, looked at without changing anything |
//! | `service`, `dispatch`, `call` | from a frame to its handler |
//! | `api` | one file per API |
//! | `broker` | what every handler may touch |
//! | `partition`, `partitions`, `replicas` | the replicas of this broker, as the metadata wants them |
//! | `cleaner` | compaction of logs, in the background |
//! | `moves` | replicas on their way to another log directory |
//! | `placements` | which log directory holds which replica, and who must know |
//! | `share` | share groups on the data path: sessions, and what is in flight |
//! | `shard` | coordinators: the seats of groups and transactions on their logs |
//! | `tier` | tiered storage: what is copied, deleted and read there, and when |
//! | `quorum` | the metadata log on a disk, and the controller on it |
//! | `verification`, `commit` | what has to be known before a transactional append, and waited for after any |
//! | `lifecycle` | registration, heartbeats, leave |
//! | `fetch_session` | incremental fetch sessions, pure |
//! | `metrics`, `loggers` | Prometheus; the levels of what is logged |
//!
//! Invariants: data moves connection → api → partition → storage, and only return values and progress travel back;
//! handlers never call handlers; no lock is held across an await; the append runs on the connection's own task.
//!
//! Absent on purpose: the client, timers and purgatories: a wait is a future with a deadline.

pub mod api;
mod authorized_operations;
mod auto_create;
pub mod broker;
pub mod call;
mod cleaner;
mod commit;
pub mod config;
mod dispatch;
pub mod fetch_session;
pub mod format;
pub mod lifecycle;
pub mod loggers;
pub mod metrics;
mod moves;
pub mod partition;
pub mod partitions;
mod placements;
mod producer_ids;
pub mod quorum;
pub mod readiness;
mod replicas;
pub mod server;
mod service;
mod settings_change;
mod shard;
mod share;
mod streams_topics;
mod tier;
mod topic;
mod verification;
