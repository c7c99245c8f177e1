//! What names a replica and a place in the quorum's log.

use std::fmt;

use ottla_base::{LeaderEpoch, NodeId, Offset, Uuid};

/// A replica of the metadata log: a node and the disk its log lives on (KIP-853).
///
/// The directory is [`Uuid::ZERO`] where it is not known: static voters, and messages of Kafka before 3.9.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaKey {
    /// The node.
    pub id: NodeId,
    /// The directory that holds the node's metadata log; zero if unknown.
    pub directory: Uuid,
}

impl ReplicaKey {
    /// The replica of `id` on `directory`.
    pub const fn new(id: NodeId, directory: Uuid) -> ReplicaKey {
        ReplicaKey { id, directory }
    }

    /// Whether `other` is the replica that this key names. A key without a directory names every disk of its
    /// node; a key with one names that disk only.
    pub fn names(self, other: ReplicaKey) -> bool {
        self.id == other.id && (self.directory.is_zero() || self.directory == other.directory)
    }
}

impl fmt::Debug for ReplicaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ReplicaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.directory.is_zero() {
            write!(f, "{}", self.id)
        } else {
            write!(f, "{}/{}", self.id, self.directory)
        }
    }
}

/// An end offset of the log and the epoch of the record before it: names a snapshot, and says how far a log is.
///
/// Ordered as KRaft orders logs: the later epoch is ahead, within an epoch the longer log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct OffsetAndEpoch {
    /// One past the last record.
    pub offset: Offset,
    /// The epoch of the last record.
    pub epoch: LeaderEpoch,
}

impl OffsetAndEpoch {
    /// The place of the snapshot that formatting writes: no log, only how a cluster begins.
    pub const BOOTSTRAP: OffsetAndEpoch = OffsetAndEpoch { offset: Offset(0), epoch: LeaderEpoch(0) };

    /// The place `offset` of `epoch`.
    pub const fn new(offset: Offset, epoch: LeaderEpoch) -> OffsetAndEpoch {
        OffsetAndEpoch { offset, epoch }
    }
}

impl PartialOrd for OffsetAndEpoch {
    fn partial_cmp(&self, other: &OffsetAndEpoch) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OffsetAndEpoch {
    fn cmp(&self, other: &OffsetAndEpoch) -> std::cmp::Ordering {
        (self.epoch, self.offset).cmp(&(other.epoch, other.offset))
    }
}

impl fmt::Debug for OffsetAndEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for OffsetAndEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.offset, self.epoch)
    }
}
