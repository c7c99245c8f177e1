//! One partition's log on a disk: append, read, recover, retain, compact, tier.
//!
//! | file | holds |
//! |---|---|
//! | `log` | one partition's log: append, read, flush, look up, truncate, retain, hand over for tiering |
//! | `log_set` | all logs of a broker: opened, made, deleted, looked after, closed |
//! | `clean` | compaction |
//! | `load`, `recall` | opening a log, and recovering it; what snapshots of producers leave out |
//! | `segment`, `index`, `scan`, `boundaries` | its files: found, searched, walked, checked, repaired |
//! | `files` | where they are, how few stay open, and when a directory is offline |
//! | `producer_state`, `transaction_index` | idempotent producers, their transactions, and those that were aborted |
//! | `leader_epochs` | where each leader's epoch begins |
//! | `dump` | looking at files one by one |
//! | `progress` | waking who waits for many logs |
//! | `config`, `error`, `file_names` | words |
//! | `checkpoint_file`, `clean_shutdown`, `log_directory`, `partition_metadata` | Kafka's small files |
//!
//! Invariants: log start ≤ last stable offset ≤ high watermark ≤ end, in every published view. What was acknowledged
//! as durable is there or its absence is an error; bytes that are not what was written are never given to a reader.
//! A failed sync is never tried again. Nothing here knows why a log exists.
//!
//! Absent on purpose: metadata, replication, quotas, what becomes of segments that are tiered, and a cache of records: that is the kernel's.

mod boundaries;
pub mod checkpoint_file;
mod clean;
pub mod clean_shutdown;
mod config;
pub mod dump;
mod error;
pub mod file_names;
mod files;
mod index;
pub mod leader_epochs;
mod load;
mod log;
pub mod log_directory;
mod log_set;
pub mod meta_properties;
pub mod partition_metadata;
pub mod producer_state;
mod progress;
mod recall;
mod scan;
mod segment;
#[cfg(test)]
mod test_fixture;
pub mod transaction_index;

pub use clean::{CleanError, CleanLimits, CleanStats, CleanStep, Cleaning};
pub use config::{LogConfig, Tiering};
pub use error::StorageError;
pub use file_names::TopicPartition;
pub use files::{Directory, FlushObserver, OpenFiles};
pub use index::{OffsetEntry, TimeEntry};
pub use log::{
    AppendError, AppendOptions, Appended, Commit, Duplicate, FileRange, FirstBatch, LastShutdown, Log,
    LogStartReason, OpenLog, ReadAnswer, ReadError, ReadLimit, ReadRequest, SealedSegment, SegmentFiles,
    TimestampedOffset, View,
};
pub use log_set::{
    CleanerDirectory, CopyStep, DirectoryOptions, DirectoryStatus, DirtyLogs, FLUSH_CHECK_INTERVAL, Found,
    FoundLog, Intervals, LogSet, LogSetError, LogSetOptions, Move, OPEN_FILES_MAX, TopicConfigs,
};
pub use progress::{Listener, Progress};
pub use scan::{BatchAt, Torn};
