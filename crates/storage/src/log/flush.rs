//! Making a log durable: one sync at a time, shared by everybody who waits for one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ottla_base::{Moment, Offset, Uuid};
use ottla_host::disk::Open;
use parking_lot::Mutex;

use super::{Log, View};
use crate::error::StorageError;
use crate::file_names::{FileName, SegmentFile};
use crate::index::Sync;
use crate::leader_epochs::LEADER_EPOCH_CHECKPOINT;
use crate::partition_metadata::{PARTITION_METADATA_FILE, draft_topic_id};
use crate::producer_state::{SnapshotFiles, SnapshotSync};
use crate::segment::floor;

/// What is between an append and its being durable.
#[derive(Debug)]
pub(super) struct FlushState {
    /// Held by who waits for a sync; those behind find that it covered them, too.
    turn: tokio::sync::Mutex<()>,
    /// Held by who syncs.
    syncing: Mutex<()>,
    /// Whether files came or went since the directory was last synced.
    names_changed: AtomicBool,
    /// Whether `partition.metadata` was written and not synced.
    topic_id_drafted: AtomicBool,
    /// Whether a segment was sealed whose records were durable already: its indexes are not yet.
    indexes_behind: AtomicBool,
    /// Whether it is among those whose writeback is to be started.
    asked_for_writeback: AtomicBool,
    /// When a sync last ended.
    last: AtomicU64,
}

impl FlushState {
    pub(super) fn new(now: Moment) -> FlushState {
        FlushState {
            turn: tokio::sync::Mutex::default(),
            syncing: Mutex::default(),
            names_changed: AtomicBool::new(false),
            topic_id_drafted: AtomicBool::new(false),
            indexes_behind: AtomicBool::new(false),
            asked_for_writeback: AtomicBool::new(false),
            last: AtomicU64::new(millis(now)),
        }
    }

    /// Keeps syncs away while the log is cut.
    pub(super) fn hold(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.syncing.lock()
    }

    /// A segment was sealed that ends at `base`; everything below `recovery_point` is durable.
    pub(super) fn sealed(&self, base: Offset, recovery_point: Offset) {
        if recovery_point >= base {
            self.indexes_behind.store(true, Ordering::Release);
        }
    }

    pub(super) fn names_changed(&self) {
        self.names_changed.store(true, Ordering::Release);
    }
}

fn millis(moment: Moment) -> u64 {
    u64::try_from(moment.0.as_millis()).unwrap_or(u64::MAX)
}

impl Log {
    /// Waits until everything below `offset` is durable. Any number may wait at once: they share syncs.
    pub async fn flush_to(self: &Arc<Self>, offset: Offset) -> Result<(), StorageError> {
        if self.recovery_point() >= offset {
            return Ok(());
        }
        let _turn = self.flush.turn.lock().await;
        if self.recovery_point() >= offset {
            return Ok(());
        }
        let log = self.clone();
        self.files.host.blocking(move || log.flush_now()).await
    }

    /// Makes everything durable that is in the log now. Blocks.
    pub fn flush_now(&self) -> Result<(), StorageError> {
        let _syncing = self.flush.syncing.lock();
        let view = self.view();
        self.sync_segments(&view, view.end)
    }

    /// Makes the segments durable that end at `base` or before.
    pub(super) fn flush_sealed(&self, base: Offset) -> Result<(), StorageError> {
        let _syncing = self.flush.syncing.lock();
        let view = self.view();
        self.sync_segments(&view, base.min(view.end))
    }

    /// How long ago the log was last flushed; zero if there is nothing to flush.
    pub fn unflushed_for(&self) -> Duration {
        if self.recovery_point() >= self.view.load().end {
            return Duration::ZERO;
        }
        let last = self.flush.last.load(Ordering::Acquire);
        Duration::from_millis(millis(self.files.host.now()).saturating_sub(last))
    }

    /// Syncs what is between the recovery point and `end`, and moves the recovery point there. Sealed segments are
    /// synced with their indexes; those of the active one are made anew if it comes to that.
    fn sync_segments(&self, view: &View, end: Offset) -> Result<(), StorageError> {
        let behind = self.flush.indexes_behind.swap(false, Ordering::AcqRel);
        let synced = self.sync_more(view, end, behind);
        if synced.is_err() && behind {
            self.flush.indexes_behind.store(true, Ordering::Release);
        }
        synced
    }

    /// The same; `behind` says that the segment before the recovery point has indexes that are not durable.
    fn sync_more(&self, view: &View, end: Offset, behind: bool) -> Result<(), StorageError> {
        let start = self.recovery_point();
        self.check()?;
        if end <= start && !behind {
            return Ok(());
        }
        // What was sealed at the recovery point ends before it.
        let reach = if behind { start.get().saturating_sub(1) } else { start.get() };
        let first = floor(&view.segments, Offset(reach)).unwrap_or(0);
        for at in first..view.segments.len() {
            let segment = &view.segments[at];
            if segment.base() >= end {
                break;
            }
            if at + 1 < view.segments.len() {
                segment.flush_indexes(&self.files, Sync::Yes)?;
                let snapshot = self.files.path_of(FileName::live(view.end_of(at), SegmentFile::Snapshot));
                self.files.synced(&snapshot, SnapshotFiles::sync(&self.files.disk(), &snapshot))?;
            }
            // Nothing would tell that one of these is missing.
            segment.sync_transactions(&self.files)?;
            if segment.len() > 0 {
                let path = self.files.path_of(segment.log_name());
                let begun = self.files.host.now();
                self.files.synced(&path, segment.log(&self.files)?.sync_data())?;
                self.files.directory.flushed(self.files.host.now().since(begun));
            }
        }
        self.write_epochs()?;
        self.sync_names()?;
        self.recovery_point.fetch_max(end.get(), Ordering::AcqRel);
        self.flush.last.store(millis(self.files.host.now()), Ordering::Release);
        Ok(())
    }

    /// Writes the topic's id into the log's directory. It becomes durable soon, and before any record does. The name of
    /// the log's directory becomes durable with the first record, as in Kafka: a log without records is soon made
    /// again.
    pub(crate) fn draft_topic_id(self: &Arc<Self>, topic_id: Uuid) -> Result<(), StorageError> {
        let path = self.files.path();
        self.files.result(&path, draft_topic_id(&self.files.disk(), &path, topic_id))?;
        self.flush.names_changed();
        self.flush.topic_id_drafted.store(true, Ordering::Release);
        let log = self.clone();
        // A failure takes the directory offline, which is where it is told.
        drop(self.files.host.blocking(move || {
            let _syncing = log.flush.syncing.lock();
            log.sync_own_names()
        }));
        Ok(())
    }

    /// Makes durable which files there are, and whose.
    pub(super) fn sync_names(&self) -> Result<(), StorageError> {
        self.files.directory.sync_names(&self.files.disk())?;
        self.sync_own_names()
    }

    /// The same for the log's own directory alone.
    fn sync_own_names(&self) -> Result<(), StorageError> {
        if self.flush.topic_id_drafted.swap(false, Ordering::AcqRel) {
            let path = self.files.path().join(PARTITION_METADATA_FILE);
            let synced = self.files.disk().open(&path, Open::Write).and_then(|file| file.sync_data());
            match synced {
                // The log was renamed, which is to be deleted, meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => {
                    let synced = self.files.synced(&path, other);
                    synced.inspect_err(|_| self.flush.topic_id_drafted.store(true, Ordering::Release))?;
                }
            }
        }
        if self.flush.names_changed.swap(false, Ordering::AcqRel) {
            let path = self.files.path();
            let synced = self.files.synced(&path, self.files.disk().sync_dir(path.as_path()));
            synced.inspect_err(|_| self.flush.names_changed())?;
        }
        Ok(())
    }

    /// Writes the leader epochs if the file does not have those of the records. [`Log::sync_names`] makes the new file
    /// take the place of the old one for good.
    fn write_epochs(&self) -> Result<(), StorageError> {
        let Some(content) = self.changed_epochs() else { return Ok(()) };
        let path = self.files.path().join(LEADER_EPOCH_CHECKPOINT);
        let replaced = self.files.synced(&path, self.files.disk().replace(&path, content.as_bytes()));
        replaced.inspect_err(|_| self.appender.lock().epochs_changed = true)?;
        self.flush.names_changed();
        Ok(())
    }

    /// What the file of the leader epochs is to say, if it does not.
    fn changed_epochs(&self) -> Option<String> {
        let mut appender = self.appender.lock();
        std::mem::take(&mut appender.epochs_changed).then(|| appender.epochs.format())
    }

    /// How many bytes were appended since their writeback was last started.
    pub(crate) fn not_written_back(&self) -> u32 {
        self.appender.lock().tail.not_written_back()
    }

    /// Has whoever looks after the directory start writeback: the log has much of it.
    pub(super) fn ask_for_writeback(self: &Arc<Self>) {
        if !self.flush.asked_for_writeback.swap(true, Ordering::AcqRel) {
            self.directory().writeback.push(self);
        }
    }

    /// The next append may ask again.
    pub(crate) fn writeback_was_paced(&self) {
        self.flush.asked_for_writeback.store(false, Ordering::Release);
    }

    /// Lets the kernel begin to write at most `bytes` of what was appended. Blocks, but not until it is written.
    pub(crate) fn start_writeback(&self, bytes: u32) {
        let start = self.appender.lock().tail.take_writeback(bytes);
        if let Some(start) = start {
            start();
        }
    }

    /// Whether [`Log::close_cleanly`] has anything to write.
    pub fn needs_closing(&self) -> bool {
        let used = self.appender.lock().used || self.recovery_point() < self.view.load().end;
        used && !self.closed.load(Ordering::Acquire)
    }

    /// Ends the use of the log so that it can be opened without recovery: everything is durable, indexes are whole,
    /// and a snapshot says which producers there are. A log that was not used costs nothing. Blocks.
    pub fn close_cleanly(&self) -> Result<(), StorageError> {
        if self.needs_closing() {
            let _syncing = self.flush.syncing.lock();
            let (view, snapshot) = self.write_last()?;
            self.flush.names_changed();
            self.sync_segments(&view, view.end)?;
            let active = &view.segments[view.segments.len() - 1];
            if active.len() > 0 {
                active.flush_indexes(&self.files, Sync::Yes)?;
            }
            if let Some(offset) = snapshot {
                let path = self.files.path_of(FileName::live(offset, SegmentFile::Snapshot));
                self.files.synced(&path, SnapshotFiles::sync(&self.files.disk(), &path))?;
            }
            self.write_epochs()?;
            self.sync_names()?;
        }
        self.close();
        Ok(())
    }

    /// The first part of [`Log::close_cleanly`] for one of many logs: everything is written. Then the file system is
    /// synced, [`Log::finish_close`] called, and the file system synced once more. Blocks.
    pub(crate) fn prepare_close(&self) -> Result<Prepared, StorageError> {
        let _syncing = self.flush.syncing.lock();
        self.check()?;
        let (view, _) = self.write_last()?;
        let first = floor(&view.segments, self.recovery_point()).unwrap_or(0);
        for segment in &view.segments[first..view.segments.len() - 1] {
            segment.flush_indexes(&self.files, Sync::No)?;
        }
        let epochs = self.changed_epochs();
        if let Some(content) = &epochs {
            let path = self.files.path().join(LEADER_EPOCH_CHECKPOINT);
            let drafted = self.files.result(&path, self.files.disk().draft(&path, content.as_bytes()));
            drafted.inspect_err(|_| self.appender.lock().epochs_changed = true)?;
        }
        Ok(Prepared { end: view.end, has_epochs: epochs.is_some() })
    }

    /// The second part.
    pub(crate) fn finish_close(&self, prepared: Prepared) -> Result<(), StorageError> {
        self.check()?;
        if prepared.has_epochs {
            let path = self.files.path().join(LEADER_EPOCH_CHECKPOINT);
            self.files.result(&path, self.files.disk().adopt(&path))?;
        }
        self.recovery_point.fetch_max(prepared.end.get(), Ordering::AcqRel);
        self.close();
        Ok(())
    }

    /// Writes what is only in memory: indexes, and a snapshot of the producers, whose offset it gives.
    fn write_last(&self) -> Result<(View, Option<Offset>), StorageError> {
        let mut guard = self.appender.lock();
        let appender = &mut *guard;
        let active = appender.tail.active().clone();
        if active.len() > 0 {
            active.seal(&self.files)?;
            active.flush_indexes(&self.files, Sync::No)?;
        }
        let taken = appender.snapshots.take(&appender.producers, SnapshotSync::Later);
        let snapshot = self.files.result(&self.files.path(), taken)?;
        Ok((appender.view(), snapshot))
    }
}

/// A log that is written and waits for its file system to be synced.
#[derive(Debug)]
pub(crate) struct Prepared {
    end: Offset,
    has_epochs: bool,
}
