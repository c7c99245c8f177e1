//! What is done for all logs now and then, and at the end: retention, flushing, checkpoints, removal, closing.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{BrokerEpoch, Moment, Offset};
use ottla_host::Host;
use parking_lot::Mutex;

use super::{LogDirectory, LogSet};
use crate::checkpoint_file::{
    CLEANER_CHECKPOINT, HIGH_WATERMARK_CHECKPOINT, LOG_START_CHECKPOINT, RECOVERY_POINT_CHECKPOINT,
    write_offsets,
};
use crate::clean_shutdown::write_clean_shutdown;
use crate::error::StorageError;
use crate::file_names::TopicPartition;
use crate::files::Directory;
use crate::log::{LastShutdown, Log};

/// Something that is done now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    Retain,
    Flush,
    StartWriteback,
    RemoveFiles,
    ExpireProducers,
    Checkpoint(Checkpoint),
}

/// A checkpoint of a log directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checkpoint {
    RecoveryPoints,
    LogStarts,
    HighWatermarks,
    Cleaned,
}

impl Checkpoint {
    const ALL: [Checkpoint; 4] =
        [Checkpoint::RecoveryPoints, Checkpoint::LogStarts, Checkpoint::HighWatermarks, Checkpoint::Cleaned];

    const fn file(self) -> &'static str {
        match self {
            Checkpoint::RecoveryPoints => RECOVERY_POINT_CHECKPOINT,
            Checkpoint::LogStarts => LOG_START_CHECKPOINT,
            Checkpoint::HighWatermarks => HIGH_WATERMARK_CHECKPOINT,
            Checkpoint::Cleaned => CLEANER_CHECKPOINT,
        }
    }
}

/// How often files are looked for that may be removed.
const REMOVAL_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked how much was appended whose writeback has not begun.
pub(super) const WRITEBACK_INTERVAL: Duration = Duration::from_millis(500);
/// As much may wait for its writeback in all logs together. A log with much begins by itself; many logs with a little
/// each would leave everything for a flush of the kernel, or for the stop.
const WRITEBACK_TOTAL_BYTES: u64 = 48 << 20;
/// How much of a log is handed to the kernel at a time, and the pause after it. It takes the core and the file's lock
/// for some 0.1 ms, for which requests wait: they go on in the pause.
const WRITEBACK_PIECE_BYTES: u32 = 256 << 10;
const WRITEBACK_PAUSE: Duration = Duration::from_millis(1);
/// There are no pauses where the last log asked for writeback less than this ago, or one has as much in spite of them:
/// what is appended so fast has no requests that are soon answered, and handing over pages while others are appended costs
/// both a tenth more.
const WRITEBACK_BUSY: Duration = Duration::from_millis(100);
const WRITEBACK_BEHIND_BYTES: u32 = 10 << 20;
/// Writeback of less is not begun early: a page that is written to again would be written again.
const WRITEBACK_LEAST_BYTES: u32 = 64 << 10;
/// As many logs of a directory are closed with two syncs of the whole file system. For fewer it is not worth waiting
/// for what other programs have written there.
const CLOSING_TOGETHER_MIN: usize = 64;
/// How many logs are closed at a time in each log directory.
const CLOSING_THREADS_PER_DIRECTORY: usize = 4;

impl LogSet {
    /// Does what is to be done now and then, until [`LogSet::stop`] is called.
    pub async fn run(self: Arc<Self>) {
        for it in &self.directories {
            self.host.spawn(self.clone().pace_writeback(it.directory.clone()));
        }
        let intervals = self.intervals;
        let now = self.host.now();
        let first = now + intervals.initial_delay;
        let mut duties: Vec<(Moment, Duration, Duty)> = vec![
            (first, intervals.retention, Duty::Retain),
            (first, intervals.flush, Duty::Flush),
            (now + WRITEBACK_INTERVAL, WRITEBACK_INTERVAL, Duty::StartWriteback),
            (now + REMOVAL_INTERVAL, REMOVAL_INTERVAL, Duty::RemoveFiles),
            (now + intervals.producer_expiration, intervals.producer_expiration, Duty::ExpireProducers),
        ];
        for (checkpoint, interval) in [
            (Checkpoint::RecoveryPoints, intervals.recovery_point_checkpoint),
            (Checkpoint::LogStarts, intervals.log_start_checkpoint),
        ] {
            duties.push((first, interval, Duty::Checkpoint(checkpoint)));
        }
        let interval = intervals.high_watermark_checkpoint;
        duties.push((now + interval, interval, Duty::Checkpoint(Checkpoint::HighWatermarks)));
        while !self.is_stopped() {
            let next = duties.iter().map(|(due, ..)| *due).min().unwrap_or(now);
            tokio::select! {
                biased;
                () = self.stopped.wait() => return,
                () = self.host.sleep_until(next) => {}
            }
            for (due, interval, duty) in &mut duties {
                if *due <= self.host.now() {
                    let (set, duty) = (self.clone(), *duty);
                    self.host.blocking(move || set.perform(duty)).await;
                    *due = self.host.now() + *interval;
                }
            }
        }
    }

    fn perform(&self, duty: Duty) {
        match duty {
            Duty::Retain => self.apply_retention(),
            Duty::Flush => self.flush_due(),
            Duty::StartWriteback => self.start_writeback(),
            Duty::RemoveFiles => self.remove_files(),
            Duty::ExpireProducers => self.each_log("expiring producers", |log| {
                log.expire_producers();
                Ok(())
            }),
            Duty::Checkpoint(checkpoint) => {
                for directory in &self.directories {
                    // A failure takes the directory offline, or can be tried again.
                    let _ = self.write_checkpoint(directory, checkpoint);
                }
            }
        }
    }

    /// Does something with every log. What takes a directory offline was told there.
    pub(super) fn each_log(&self, what: &str, act: impl Fn(&Arc<Log>) -> Result<(), StorageError>) {
        for log in self.logs().iter().chain(&self.futures()) {
            match act(log) {
                Ok(()) | Err(StorageError::Offline { .. } | StorageError::Closed) => {}
                Err(error) => tracing::warn!(partition = %log.partition(), %error, "{what} failed"),
            }
            if self.is_stopped() {
                return;
            }
        }
    }

    /// Removes the segments that topics keep no longer, but for those of compacted topics
    /// ([`LogSet::retain_compacted`]). Blocks.
    pub fn apply_retention(&self) {
        self.each_log("applying retention", |log| match log.config().cleanup_compact && !log.is_future() {
            true => Ok(()),
            false => log.apply_retention().map(|_| ()),
        });
    }

    /// Flushes the logs that have been unflushed for as long as their topics allow. Blocks.
    pub fn flush_due(&self) {
        self.each_log("flushing", |log| {
            let limit_ms = log.config().flush_ms;
            let due = limit_ms < u64::MAX && log.unflushed_for() >= Duration::from_millis(limit_ms);
            if due { log.flush_now() } else { Ok(()) }
        });
    }

    /// Starts the writeback of a directory's logs that have much, one after the other.
    async fn pace_writeback(self: Arc<Self>, directory: Arc<Directory>) {
        let mut last = None;
        loop {
            let log = tokio::select! {
                biased;
                () = self.stopped.wait() => return,
                log = directory.writeback.next() => log,
            };
            let now = self.host.now();
            let is_busy = last.replace(now).is_some_and(|last| now.since(last) < WRITEBACK_BUSY);
            while log.not_written_back() >= WRITEBACK_PIECE_BYTES && !self.is_stopped() {
                let at_once = is_busy || log.not_written_back() >= WRITEBACK_BEHIND_BYTES;
                let bytes = if at_once { u32::MAX } else { WRITEBACK_PIECE_BYTES };
                let writing = log.clone();
                self.host.blocking(move || writing.start_writeback(bytes)).await;
                if at_once {
                    break;
                }
                self.host.sleep(WRITEBACK_PAUSE).await;
            }
            log.writeback_was_paced();
        }
    }

    /// Lets the kernel begin to write what was appended, if that is much in all. Blocks.
    fn start_writeback(&self) {
        let logs = self.logs();
        let waiting: Vec<_> = logs.iter().map(|log| log.not_written_back()).collect();
        if waiting.iter().map(|bytes| u64::from(*bytes)).sum::<u64>() < WRITEBACK_TOTAL_BYTES {
            return;
        }
        for (log, bytes) in logs.iter().zip(waiting) {
            if bytes >= WRITEBACK_LEAST_BYTES {
                log.start_writeback(u32::MAX);
            }
            if self.is_stopped() {
                return;
            }
        }
    }

    /// Removes files and directories that were deleted long enough ago. Blocks.
    pub fn remove_files(&self) {
        self.each_log("removing files", |log| log.remove_retired());
        loop {
            let (directory, path) = {
                let mut changes = self.changes.lock();
                match changes.deleted.front() {
                    Some((due, ..)) if *due <= self.host.now() => {}
                    _ => return,
                }
                let Some((_, directory, path)) = changes.deleted.pop_front() else { return };
                (directory, path)
            };
            match self.host.disk().remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    directory.fail(&path, &error);
                }
                _ => tracing::debug!(path = %path.display(), "removed a deleted log"),
            }
            if self.is_stopped() {
                return;
            }
        }
    }

    /// Writes every checkpoint of every log directory, where anything changed. Blocks.
    pub fn write_checkpoints(&self) {
        for directory in &self.directories {
            for checkpoint in Checkpoint::ALL {
                let _ = self.write_checkpoint(directory, checkpoint);
            }
        }
    }

    pub(super) fn write_checkpoint(
        &self,
        directory: &LogDirectory,
        checkpoint: Checkpoint,
    ) -> Result<(), StorageError> {
        directory.directory.check()?;
        let mut written = directory.written.lock();
        let offsets = self.offsets_of(directory, checkpoint);
        let digest = digest(&offsets);
        let slot = &mut written[checkpoint as usize];
        if *slot == Some(digest) {
            return Ok(());
        }
        let path = directory.directory.path().join(checkpoint.file());
        let written = write_offsets(&self.host.disk(), &path, &offsets);
        written.map_err(|error| directory.directory.fail(&path, &error))?;
        *slot = Some(digest);
        Ok(())
    }

    /// What a checkpoint has to say of each log in a directory. Of a log that is damaged it says what it said before:
    /// that is how far its records had been durable.
    fn offsets_of(
        &self,
        directory: &LogDirectory,
        checkpoint: Checkpoint,
    ) -> BTreeMap<TopicPartition, Offset> {
        let mut offsets = BTreeMap::new();
        for (partition, entry) in self.logs.read().iter() {
            if !Arc::ptr_eq(entry.log.directory(), &directory.directory) {
                continue;
            }
            let view = entry.log.view();
            let offset = match checkpoint {
                Checkpoint::RecoveryPoints => Some(entry.log.recovery_point()),
                Checkpoint::LogStarts => {
                    let tiered = entry.log.config().tiering.is_some();
                    Some(view.log_start).filter(|start| tiered || *start > view.first_base())
                }
                Checkpoint::HighWatermarks => Some(view.high_watermark),
                Checkpoint::Cleaned => entry.log.cleaning.cleaned(),
            };
            if let Some(offset) = offset {
                offsets.insert(partition.clone(), offset);
            }
        }
        for (partition, damaged) in self.damaged.read().iter() {
            if !Arc::ptr_eq(&damaged.directory, &directory.directory) {
                continue;
            }
            let offset = match checkpoint {
                Checkpoint::RecoveryPoints => Some(damaged.recovery_point),
                Checkpoint::LogStarts => damaged.log_start,
                Checkpoint::HighWatermarks => damaged.high_watermark,
                Checkpoint::Cleaned => damaged.cleaned,
            };
            if let Some(offset) = offset {
                offsets.insert(partition.clone(), offset);
            }
        }
        offsets
    }

    /// Closes every log so that the next start needs no recovery, and says so in each log directory that was in use
    /// to the end. Nothing can be appended after this. Logs that were not used cost next to nothing.
    pub async fn stop(self: &Arc<Self>, broker_epoch: BrokerEpoch) {
        self.stop.moved();
        let begun = self.host.now();
        // What is being made, moved or deleted is in its place when this is had.
        let set = self.clone();
        self.host.blocking(move || drop(set.changes.lock())).await;
        let mut working = Vec::new();
        for directory in &self.directories {
            let of_directory = |log: &Arc<Log>| Arc::ptr_eq(log.directory(), &directory.directory);
            let logs: Vec<_> = self.logs().into_iter().chain(self.futures()).filter(of_directory).collect();
            let (used, unused): (Vec<_>, Vec<_>) = logs.into_iter().partition(|log| log.needs_closing());
            for log in unused {
                log.close();
            }
            working.push(self.host.spawn(close(self.host.clone(), directory.directory.clone(), used)));
        }
        for work in working {
            work.await.expect("closing the logs of a directory panicked");
        }
        let set = self.clone();
        self.host.blocking(move || set.sign_off(broker_epoch)).await;
        let elapsed_ms = self.host.now().since(begun).as_millis() as u64;
        tracing::info!(elapsed_ms, "closed all logs");
    }

    /// Whether a log of a directory could not be opened after an unclean stop, for lack of something: its recovery is
    /// still to come.
    fn has_unrecovered(&self, directory: &LogDirectory) -> bool {
        self.damaged.read().values().any(|it| {
            Arc::ptr_eq(&it.directory, &directory.directory)
                && it.last_shutdown == LastShutdown::Unclean
                && matches!(it.error, StorageError::Full { .. })
        })
    }

    /// Says in each log directory how far its logs are durable, and that they were closed.
    fn sign_off(&self, broker_epoch: BrokerEpoch) {
        self.write_checkpoints();
        for directory in &self.directories {
            if directory.is_loaded() && !self.has_unrecovered(directory) {
                let path = directory.directory.path();
                if let Err(error) = write_clean_shutdown(&self.host.disk(), path, broker_epoch) {
                    directory.directory.fail_for_good(path, &error);
                }
            }
        }
    }
}

/// Closes logs of a directory: each for itself, or many with two syncs of the file system, where each would need half a
/// dozen of its own.
async fn close(host: Host, directory: Arc<Directory>, logs: Vec<Arc<Log>>) {
    let logs: Vec<_> = logs.into_iter().map(|log| (log, ())).collect();
    if logs.len() < CLOSING_TOGETHER_MIN {
        each(&host, logs, |log, ()| log.close_cleanly()).await;
        return;
    }
    let sync = || {
        let (disk, directory) = (host.disk(), directory.clone());
        host.blocking(move || {
            let synced = disk.sync_file_system(directory.path());
            synced.map_err(|error| directory.fail_for_good(directory.path(), &error))
        })
    };
    let prepared = each(&host, logs, |log, ()| log.prepare_close()).await;
    if sync().await.is_err() {
        return;
    }
    each(&host, prepared, Log::finish_close).await;
    // What that has renamed. A failure was told, and keeps the directory from being taken for cleanly closed.
    let _ = sync().await;
}

/// Does a part of closing with each of the logs of a directory, some at a time, and with what came of the part before;
/// says what came of those with which it came to its end.
async fn each<I: Send + 'static, T: Send + 'static>(
    host: &Host,
    logs: Vec<(Arc<Log>, I)>,
    act: fn(&Log, I) -> Result<T, StorageError>,
) -> Vec<(Arc<Log>, T)> {
    let threads = CLOSING_THREADS_PER_DIRECTORY.min(logs.len());
    let logs = Arc::new(Mutex::new(logs.into_iter()));
    let working: Vec<_> = (0..threads)
        .map(|_| {
            let logs = logs.clone();
            host.blocking(move || {
                let next = || logs.lock().next();
                let act = |(log, before): (Arc<Log>, I)| Some((closed(&log, act(&log, before))?, log));
                let done = std::iter::from_fn(next).filter_map(act);
                done.map(|(done, log)| (log, done)).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut done = Vec::new();
    for work in working {
        done.extend(work.await);
    }
    done
}

/// What came of closing a log, if it came to its end. Its directory must not be taken for cleanly closed otherwise.
fn closed<T>(log: &Log, result: Result<T, StorageError>) -> Option<T> {
    match result {
        Ok(done) => Some(done),
        Err(StorageError::Offline { .. } | StorageError::Closed) => None,
        Err(error) => {
            log.directory().fail_for_good(&log.path(), &io::Error::other(error.to_string()));
            None
        }
    }
}

/// Tells contents apart, to write only what changed (FNV-1a).
pub(super) fn digest(offsets: &BTreeMap<TopicPartition, Offset>) -> u64 {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    let mut mix = |bytes: &[u8]| {
        for byte in bytes {
            digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for (partition, offset) in offsets {
        mix(partition.topic.as_bytes());
        mix(&partition.partition.get().to_le_bytes());
        mix(&offset.get().to_le_bytes());
    }
    digest
}
