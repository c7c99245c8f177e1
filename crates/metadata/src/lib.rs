//! The cluster as an image, its changes as records, the controller that decides them.
//!
//! | file | holds |
//! |---|---|
//! | `version`, `feature` | what a cluster may write and do at each finalized level |
//! | `record` | the records of the metadata log as values, and their bytes |
//! | `image` | the cluster as persistent maps; one match applies every record; snapshots are written from it |
//! | `replay` | from the log to images, transactions included |
//! | `delta` | what is different between two images |
//! | `bootstrap` | what the log of a new cluster begins with |
//! | `placement`, `partition_change`, `reassignment` | who replicates, who leads |
//! | `controller` | requests to the controller and what it decides on them |
//! | `settings` | every setting, its layers, and the rules for reading and changing it |
//!
//! Invariants: the ISR and the eligible leader replicas are disjoint sets of replicas; the leader is in the ISR or
//! there is none; epochs only rise; what the log says is all there is.
//!
//! Absent on purpose: I/O, clocks, entropy. Time and random numbers come in through the seat.

mod bootstrap;
pub mod controller;
mod delta;
pub mod directory;
mod feature;
#[cfg(test)]
mod golden;
mod image;
mod partition_change;
mod placement;
mod reassignment;
mod record;
mod replay;
pub mod settings;
#[cfg(test)]
mod tests;
mod version;

pub use bootstrap::{CannotBootstrap, bootstrap_records};
pub use delta::{Change, Delta, Duty, LocalChange};
pub use feature::{Feature, LevelRange, supported_features};
pub use image::{
    Access, Broker, ClientQuotas, Cluster, Config, Configs, Features, Image, LeaderRecovery, Listener, Nodes,
    Partition, PartitionId, QuotaEntity, RegisteredController, Resource, Topic, Topics,
};
pub use record::{ImpossibleRecord, Record};
pub use replay::Replay;
pub use version::MetadataVersion;
