//! Taking records away: from the end, for a follower that diverged; from the start, for `DeleteRecords`; all of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_base::Offset;
use ottla_host::disk::Open;

use super::{Log, ReadError};
use crate::error::StorageError;
use crate::leader_epochs::EpochChange;
use crate::load::reload_producers;
use crate::segment::Segment;

/// Why the log start moves; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStartReason {
    /// A client asked for it, with `DeleteRecords`.
    ClientRecordDeletion,
    /// Retention removed segments.
    SegmentDeletion,
    /// The leader's log starts there.
    LeaderOffsetIncremented,
    /// A snapshot holds what was below.
    SnapshotGenerated,
}

impl Log {
    /// Cuts the log so that it ends at `end`, or at the start of the batch that holds `end`, or where the last record
    /// before it ended if those in between were compacted away. Blocks.
    ///
    /// The checkpoint on the disk must not have a recovery point above `end` when this is called: after a crash that
    /// would look like lost records.
    pub fn truncate_to(&self, end: Offset) -> Result<(), StorageError> {
        // Nothing may move the recovery point past the cut meanwhile.
        let syncing = self.flush.hold();
        let mut guard = self.appender.lock();
        self.check()?;
        let appender = &mut *guard;
        if end >= appender.tail.end {
            // An epoch that began here without records may be another leader's.
            let _ = appender.epochs.truncate_from_end(appender.tail.end);
            return Ok(());
        }
        if end < appender.tail.segments[0].base() {
            drop(guard);
            drop(syncing);
            return self.truncate_fully(end);
        }
        if end < appender.high_watermark {
            tracing::warn!(
                partition = %self.partition, %end, high_watermark = %appender.high_watermark,
                "truncating below the high watermark"
            );
        }
        tracing::info!(partition = %self.partition, from = %appender.tail.end, to = %end, "truncating");
        self.cuts.fetch_add(1, Ordering::AcqRel);
        let kept = appender.tail.segments.partition_point(|segment| segment.base() <= end).max(1);
        let (stay, go) = appender.tail.segments.split_at(kept);
        let (stay, go) = (stay.to_vec(), go.to_vec());
        self.retire(&mut appender.snapshots, &go)?;
        let active = &stay[kept - 1];
        let cut = active.truncate(&self.files, end)?;
        let end = cut.map_or(end, |batch| end.min(batch.base_offset.max(active.base())));
        if cut.is_some() {
            let file = self.files.open(active.log_name(), Open::Write)?;
            self.files.of(active.log_name(), file.set_len(u64::from(active.len())))?;
        }
        // Where records were compacted away nothing would say, after a stop, that the log ends later than they did.
        let end = end.min(active.tail_end(&self.files)?);
        self.recovery_point.fetch_min(end.get(), Ordering::AcqRel);
        appender.used = true;
        appender.tail.end = end;
        appender.tail.go_on_with(self, stay);
        appender.log_start = appender.log_start.min(end);
        if appender.epochs.truncate_from_end(end) != EpochChange::None {
            appender.epochs_changed = true;
        }
        reload_producers(
            &self.files,
            &appender.tail.segments,
            appender.log_start..end,
            &mut appender.producers,
            &mut appender.snapshots,
        )?;
        appender.set_high_watermark(appender.high_watermark.min(end));
        self.publish(guard);
        Ok(())
    }

    /// Empties the log; the next record gets the offset `start`. Blocks.
    ///
    /// The checkpoint on the disk must not have a recovery point above `start` when this is called.
    pub fn truncate_fully(&self, start: Offset) -> Result<(), StorageError> {
        let _syncing = self.flush.hold();
        let mut guard = self.appender.lock();
        self.check()?;
        let appender = &mut *guard;
        tracing::info!(partition = %self.partition, from = %appender.tail.end, to = %start, "truncating all");
        self.cuts.fetch_add(1, Ordering::AcqRel);
        let go = appender.tail.segments.to_vec();
        self.retire(&mut appender.snapshots, &go)?;
        appender.used = true;
        appender.tail.end = start;
        appender.tail.go_on_with(self, vec![Arc::new(Segment::empty(start))]);
        appender.tail.open_active(self)?;
        appender.log_start = start;
        self.recovery_point.store(start.get(), Ordering::Release);
        if appender.epochs.clear() != EpochChange::None {
            appender.epochs_changed = true;
        }
        let restarted = appender.snapshots.restart_at(&mut appender.producers, start);
        self.files.result(&self.files.path(), restarted)?;
        appender.set_high_watermark(start);
        self.publish(guard);
        Ok(())
    }

    /// Moves the log start up to `start`: what is below is not read any more, and goes when its segment does.
    /// Refused above the high watermark. Gives the log start.
    pub fn advance_log_start(&self, start: Offset, reason: LogStartReason) -> Result<Offset, ReadError> {
        let mut appender = self.appender.lock();
        self.check()?;
        if start > appender.high_watermark {
            let (log_start, end) = (appender.log_start, appender.high_watermark);
            return Err(ReadError::OutOfRange { from: start, start: log_start, end });
        }
        if start > appender.log_start {
            appender.move_log_start(self, start, reason);
            self.publish(appender);
            return Ok(start);
        }
        Ok(appender.log_start)
    }
}
