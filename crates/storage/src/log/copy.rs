//! Moving to another log directory: a copy follows the log as a follower does, and takes its place when it has all of
//! it (KIP-113).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_base::{LeaderEpoch, Offset};
use ottla_record::Batches;

use super::truncate::LogStartReason;
use super::{AppendError, FirstBatch, Log, ReadError, ReadLimit, ReadRequest, View};
use crate::error::StorageError;
use crate::file_names::{FileName, SegmentFile};
use crate::leader_epochs::LEADER_EPOCH_CHECKPOINT;
use crate::producer_state::SnapshotSync;

/// How much is copied at a time while appends are held.
const LAST_CHUNK_BYTES: u32 = 1 << 20;

/// The most bytes that a compressed batch of an old format may come to.
const MAX_LEGACY_BYTES: u64 = 256 << 20;

impl Log {
    /// Is no copy any more, but the log.
    pub(crate) fn promote(&self) {
        self.future.store(false, Ordering::Release);
    }

    /// Copies up to about `max_bytes` from where this copy of `source` ends. Gives how many bytes, zero if the copy had
    /// everything. Blocks.
    pub(crate) fn copy_from(self: &Arc<Self>, source: &Log, max_bytes: u32) -> Result<u32, StorageError> {
        let view = source.view();
        let end = self.view().end;
        if end >= view.local_start() && end <= view.end {
            let bytes = source.bytes_at(&view, end, max_bytes)?;
            return self.append_copied(&bytes);
        }
        // What is between is gone, or nothing is here yet.
        let bytes = source.bytes_at(&view, view.local_start(), max_bytes)?;
        let start = match Batches::new(&bytes).next() {
            Some(Ok(first)) => {
                first.base_offset(MAX_LEGACY_BYTES).map_err(|it| source.unreadable(&it.to_string()))?
            }
            Some(Err(error)) => return Err(source.unreadable(&error.to_string())),
            None => view.end,
        };
        self.truncate_fully(start)?;
        self.append_copied(&bytes)
    }

    fn append_copied(self: &Arc<Self>, bytes: &[u8]) -> Result<u32, StorageError> {
        match self.append_as_follower(bytes, LeaderEpoch(i32::MAX)) {
            Ok(None) if !bytes.is_empty() => Err(self.unreadable("no batch is whole")),
            Ok(_) => Ok(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
            Err(AppendError::Storage(error)) => Err(error),
            Err(AppendError::Refused(refusal)) => Err(self.unreadable(&refusal.message)),
        }
    }

    fn unreadable(&self, reason: &str) -> StorageError {
        let name = FileName::live(self.view().first_base(), SegmentFile::Log);
        self.files.corrupt(name, 0, format!("cannot be copied: {reason}"))
    }

    /// Whole batches from `from` on.
    fn bytes_at(&self, view: &View, from: Offset, max_bytes: u32) -> Result<Vec<u8>, StorageError> {
        let request = ReadRequest { from, max_bytes, limit: ReadLimit::End, first_batch: FirstBatch::Whole };
        let answer = match self.read(view, &request) {
            Ok(answer) => answer,
            // It was deleted meanwhile: the next try begins at the new start.
            Err(ReadError::OutOfRange { .. } | ReadError::Tiered { .. }) => return Ok(Vec::new()),
            Err(ReadError::Storage(error)) => return Err(error),
        };
        let mut bytes = vec![0; answer.bytes as usize];
        let mut at = 0;
        for range in &answer.ranges {
            let end = at + range.len as usize;
            let read = range.file.read_exact_at(&mut bytes[at..end], range.position);
            self.files.result(&self.files.path(), read)?;
            at = end;
        }
        Ok(bytes)
    }

    /// This copy takes the place of `source`: appends are held until it has everything, is durable and has the name
    /// `current`; `source` is named `deleted` before that. `promoted` is called before anybody can append. Blocks.
    ///
    /// A stop at any moment leaves either `source` under its name, or this copy with everything, next to a directory
    /// that has the same unique part in its name and is marked as deleted.
    pub(crate) fn take_place_of(
        self: &Arc<Self>,
        source: &Arc<Log>,
        (current, deleted): (&str, &str),
        promoted: impl FnOnce(),
    ) -> Result<(), StorageError> {
        let syncing = source.flush.hold();
        let mut guard = source.appender.lock();
        source.check()?;
        source.view.store(Arc::new(guard.view()));
        while self.view().end < guard.tail.end {
            let before = self.view().end;
            self.copy_from(source, LAST_CHUNK_BYTES)?;
            if self.view().end <= before {
                return Err(source.unreadable("a copy does not get on"));
            }
        }
        self.set_config(source.config());
        self.cleaning.take_over(&source.cleaning);
        self.flush_now()?;
        self.finish_copy(&mut guard, source.tiered_end.load(Ordering::Acquire))?;
        source.rename_held(&mut guard, deleted)?;
        // From here on this copy is all there is.
        source.closed.store(true, Ordering::Release);
        let disk = source.files.disk();
        let renamed = source.files.directory.sync_names(&disk).and_then(|()| {
            self.rename(current)?;
            self.files.directory.sync_names(&disk)
        });
        if renamed.is_ok() {
            std::mem::swap(&mut self.appender.lock().producers, &mut guard.producers);
            self.promote();
            promoted();
        }
        drop((guard, syncing));
        source.progress.moved();
        self.progress.moved();
        renamed
    }

    /// Gives the copy what is not in the batches: offsets, epochs and producers.
    fn finish_copy(&self, source: &mut super::Appender, source_tiered_end: i64) -> Result<(), StorageError> {
        let _syncing = self.flush.hold();
        let mut guard = self.appender.lock();
        let appender = &mut *guard;
        appender.used = true;
        if source.log_start > appender.log_start {
            appender.move_log_start(self, source.log_start, LogStartReason::LeaderOffsetIncremented);
        }
        // What is below the first batch is not here, but tiered.
        appender.log_start = source.log_start;
        self.tiered_end.store(source_tiered_end, Ordering::Release);
        appender.epochs = source.epochs.clone();
        appender.epochs_changed = false;
        let high_watermark = source.high_watermark.clamp(appender.log_start, appender.tail.end);
        source.producers.set_end_offset(source.tail.end);
        let path = self.files.path();
        let taken = appender.snapshots.take(&source.producers, SnapshotSync::Now);
        self.files.synced(&path, taken)?;
        let epochs = path.join(LEADER_EPOCH_CHECKPOINT);
        self.files.synced(&epochs, appender.epochs.write(&self.files.disk(), &epochs))?;
        self.files.synced(&path, self.files.disk().sync_dir(path.as_path()))?;
        appender.set_high_watermark(high_watermark);
        self.publish(guard);
        Ok(())
    }
}
