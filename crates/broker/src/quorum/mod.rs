//! The metadata quorum on a real disk: drives the raft machine over the log `__cluster_metadata-0`.

pub(crate) mod snapshot_files;
