//! Compaction over all logs: which is cleaned next, how far each was cleaned, and which are given up
//! (`LogCleanerManager`).

use std::cmp::Ordering;
use std::path::PathBuf;
use std::sync::Arc;

use ottla_base::Offset;
use ottla_host::disk::Open;

use super::LogSet;
use super::duties::Checkpoint;
use crate::checkpoint_file::CLEANER_CHECKPOINT;
use crate::clean::{Claim, CleanError, CleanLimits, Cleanable, Cleaning};
use crate::error::StorageError;
use crate::file_names::TopicPartition;
use crate::log::Log;

/// What a look at all compacted logs found.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DirtyLogs {
    /// The largest part of a log that can be cleaned.
    pub dirtiest_ratio: f64,
    /// For how long a record has been waiting longer than `max.compaction.lag.ms`, at most.
    pub overdue_ms: i64,
    /// How many logs have such records.
    pub overdue: usize,
    /// How many logs are due.
    pub due: usize,
}

/// What the cleaner has given up in a log directory.
#[derive(Debug, Clone)]
pub struct CleanerDirectory {
    /// The directory.
    pub path: PathBuf,
    /// Partitions whose logs cannot be cleaned.
    pub uncleanable: Vec<TopicPartition>,
    /// Bytes of theirs that would be.
    pub uncleanable_bytes: u64,
}

impl LogSet {
    /// Makes the cleaner's checkpoint in each log directory where there is none, empty, as Kafka does. Blocks.
    pub fn prepare_cleaner(&self) {
        for it in self.directories.iter().filter(|it| it.directory.failure().is_none()) {
            let path = it.directory.path().join(CLEANER_CHECKPOINT);
            if let Err(error) = self.host.disk().open(&path, Open::Create) {
                it.directory.fail(&path, &error);
            }
        }
    }

    /// Begins to clean the log that needs it most; nothing if none is due. Blocks.
    pub fn next_to_clean(&self, limits: CleanLimits) -> (DirtyLogs, Option<Cleaning>) {
        let mut found = DirtyLogs::default();
        let mut due: Vec<(Arc<Log>, Cleanable)> = Vec::new();
        for log in self.cleanable_logs() {
            let Some(cleanable) = self.look_at(&log) else { continue };
            if cleanable.clean_bytes + cleanable.dirty_bytes == 0 {
                continue;
            }
            found.dirtiest_ratio = found.dirtiest_ratio.max(cleanable.ratio());
            found.overdue_ms = found.overdue_ms.max(cleanable.overdue_ms);
            found.overdue += usize::from(cleanable.overdue_ms > 0);
            if cleanable.is_due(log.config().min_cleanable_dirty_ratio) {
                due.push((log, cleanable));
            }
        }
        found.due = due.len();
        due.sort_by(|one, other| other.1.ratio().partial_cmp(&one.1.ratio()).unwrap_or(Ordering::Equal));
        for (log, cleanable) in due {
            // Somebody else may have begun.
            let Some(claim) = Claim::of(&log) else { continue };
            let offsets = cleanable.first_dirty..cleanable.first_uncleanable;
            let flushed = log.flush_now().and_then(|()| self.write_of(&log, Checkpoint::RecoveryPoints));
            match flushed.and_then(|()| Cleaning::new(log.clone(), claim, limits, offsets)) {
                Ok(cleaning) => return (found, Some(cleaning)),
                Err(error) => self.cleaning_failed(&log, &error.into()),
            }
        }
        (found, None)
    }

    /// Logs that are compacted and in nobody's hands.
    fn cleanable_logs(&self) -> Vec<Arc<Log>> {
        let futures = self.futures.read();
        let is_free = |log: &Arc<Log>| {
            log.config().cleanup_compact
                && log.directory().failure().is_none()
                && !futures.contains_key(log.partition())
                && log.cleaning.is_free()
        };
        self.logs().into_iter().filter(is_free).collect()
    }

    fn look_at(&self, log: &Arc<Log>) -> Option<Cleanable> {
        match log.cleanable(self.host.wall_clock()) {
            Ok(cleanable) => {
                if cleanable.corrected {
                    log.cleaning.set_cleaned(cleanable.first_dirty);
                    self.write_cleaned(log);
                }
                Some(cleanable)
            }
            Err(error) => {
                self.cleaning_failed(log, &error.into());
                None
            }
        }
    }

    /// Whether a pass has to be given up because its log is being moved.
    pub fn is_moving(&self, log: &Log) -> bool {
        self.futures.read().contains_key(log.partition())
    }

    /// A pass has come to its end. Blocks.
    pub fn cleaning_done(&self, log: &Log) {
        self.write_cleaned(log);
    }

    /// A pass, or a look at a log, has failed. A log that is damaged is given up until the next start, which is told
    /// once; what can be tried again is.
    pub fn cleaning_failed(&self, log: &Log, error: &CleanError) {
        let partition = log.partition();
        match error {
            CleanError::Outdated
            | CleanError::Storage(StorageError::Offline { .. } | StorageError::Closed) => {
                tracing::debug!(%partition, %error, "a log is not cleaned to the end");
            }
            CleanError::Storage(StorageError::Full { .. }) => {
                tracing::warn!(%partition, %error, "a log cannot be cleaned now");
            }
            CleanError::Storage(StorageError::Corrupt { .. }) => {
                if log.cleaning.give_up(error.to_string()) {
                    tracing::error!(%partition, %error, "a log cannot be cleaned and is left as it is");
                }
            }
        }
    }

    fn write_cleaned(&self, log: &Log) {
        // A failure takes the directory offline, which is where it is told.
        let _ = self.write_of(log, Checkpoint::Cleaned);
    }

    /// Writes a checkpoint of the directory that a log is in.
    fn write_of(&self, log: &Log, checkpoint: Checkpoint) -> Result<(), StorageError> {
        for directory in self.directories.iter().filter(|it| Arc::ptr_eq(&it.directory, log.directory())) {
            self.write_checkpoint(directory, checkpoint)?;
        }
        Ok(())
    }

    /// Removes the segments that compacted topics keep no longer, of logs that nobody cleans now. Blocks.
    pub fn retain_compacted(&self) {
        self.each_log("applying retention", |log| {
            if log.is_future() || !log.config().cleanup_compact {
                return Ok(());
            }
            match Claim::of(log) {
                Some(_claim) => log.apply_retention().map(|_| ()),
                None => Ok(()),
            }
        });
    }

    /// What was given up, by log directory.
    pub fn cleaner_directories(&self) -> Vec<CleanerDirectory> {
        let logs = self.logs();
        let of_directory = |it: &super::LogDirectory| {
            let given_up = logs
                .iter()
                .filter(|log| Arc::ptr_eq(log.directory(), &it.directory))
                .filter(|log| log.cleaning.uncleanable().is_some());
            let mut found = CleanerDirectory {
                path: it.directory.path().to_path_buf(),
                uncleanable: Vec::new(),
                uncleanable_bytes: 0,
            };
            for log in given_up {
                found.uncleanable.push(log.partition().clone());
                let cleanable = log.cleanable(self.host.wall_clock());
                found.uncleanable_bytes += cleanable.map_or(0, |it| it.dirty_bytes);
            }
            found
        };
        self.directories.iter().map(of_directory).collect()
    }

    /// Up to where the log of a partition was cleaned; nothing if it never was.
    pub fn cleaned_to(&self, partition: &TopicPartition) -> Option<Offset> {
        self.get(partition)?.cleaning.cleaned()
    }
}
