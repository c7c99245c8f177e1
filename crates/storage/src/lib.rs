//! One partition's log on a disk: append, read, recover, retain, compact, tier.

pub mod checkpoint_file;
pub mod clean_shutdown;
pub mod file_names;
pub mod log_directory;
pub mod meta_properties;
pub mod partition_metadata;
