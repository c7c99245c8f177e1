//! Ids of log directories, and the three that mean something else (KIP-858).

use ottla_base::Uuid;

/// Nobody knows yet: the replica was placed before directories had ids.
pub const MIGRATING: Uuid = Uuid::ZERO;
/// The broker chooses.
pub const UNASSIGNED: Uuid = Uuid::from_number(1);
/// A directory that is offline.
pub const LOST: Uuid = Uuid::from_number(2);

/// Whether a replica in `directory` can be reached on a broker whose online directories are `online`.
///
/// A broker that registered before 3.7-IV2 has no directories in its registration; it would have stopped had it lost
/// all of them (KAFKA-16162).
pub(crate) fn is_online(directory: Uuid, online: &[Uuid]) -> bool {
    match directory {
        MIGRATING | UNASSIGNED => true,
        LOST => false,
        _ => online.is_empty() || online.contains(&directory),
    }
}
