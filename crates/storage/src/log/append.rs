//! Appending: offsets given, one write, producers remembered, a new view.

use std::io::{self, IoSlice};
use std::sync::Arc;

use ottla_base::{ErrorCode, LeaderEpoch, Offset, Timestamp};
use ottla_record::{AcceptedBatch, BatchHeader, Refusal, StoredBatch, check_replicated};
use parking_lot::MutexGuard;

use super::tail::{Run, Tail};
use super::truncate::LogStartReason;
use super::{Log, OpenLog, View};
use crate::config::LogConfig;
use crate::error::StorageError;
use crate::files::LogFiles;
use crate::leader_epochs::{EpochChange, LeaderEpochs};
use crate::load::{Loaded, rebuild_transactions};
use crate::producer_state::{
    CompletedTransaction, Outcome, ProducerOrigin, ProducerStates, SnapshotFiles, SnapshotSync, TimedMarker,
    marker_of,
};
use crate::scan::{BatchAt, parse};
use crate::transaction_index::AbortedTransaction;

/// When an append becomes visible to consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// With the append, unless it must be flushed first: this is the only replica.
    AtOnce,
    /// When somebody moves the high watermark.
    Later,
}

/// How to append as a leader.
#[derive(Debug, Clone, Copy)]
pub struct AppendOptions {
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// Who wrote the batch, and the proof for its transaction.
    pub origin: ProducerOrigin,
    /// When it becomes visible.
    pub commit: Commit,
}

/// Whether a batch was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicate {
    /// It is in the log since now.
    No,
    /// It had been in the log; the answer is about the first time.
    Yes,
}

/// Where a batch is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The offset of its first record.
    pub first: Offset,
    /// The offset after its last record.
    pub end: Offset,
    /// The highest timestamp in it; the time of the append where the topic says so.
    pub max_timestamp: Timestamp,
    /// The log start.
    pub log_start: Offset,
    /// Whether it had been there.
    pub duplicate: Duplicate,
    /// Whether `flush.messages` wants [`Log::flush_to`] to have passed `end` before anybody is told, and, for
    /// [`Commit::AtOnce`], the high watermark moved after that.
    pub flush_first: bool,
}

/// Why nothing was appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The batch may not be appended.
    #[error("{0}")]
    Refused(Refusal),
    /// The log cannot take it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl AppendError {
    fn refused(code: ErrorCode, message: impl Into<String>) -> AppendError {
        AppendError::Refused(Refusal::new(code, message))
    }

    /// The answer to whoever wanted to append.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            AppendError::Refused(refusal) => refusal.code,
            AppendError::Storage(error) => error.error_code(),
        }
    }
}

impl From<Refusal> for AppendError {
    fn from(refusal: Refusal) -> AppendError {
        AppendError::Refused(refusal)
    }
}

/// Everything that appending changes, one at a time.
#[derive(Debug)]
pub(crate) struct Appender {
    pub(super) tail: Tail,
    pub(super) log_start: Offset,
    pub(super) high_watermark: Offset,
    pub(super) epochs: LeaderEpochs,
    /// Whether records have an epoch that is not written, or written epochs have no records.
    pub(super) epochs_changed: bool,
    pub(super) producers: ProducerStates,
    pub(super) snapshots: SnapshotFiles,
    /// Whether anything happened since the log was opened.
    pub(super) used: bool,
}

impl Appender {
    pub(super) fn new(files: &LogFiles, open: &OpenLog, loaded: Loaded) -> Appender {
        let mut appender = Appender {
            tail: Tail::new(files, &open.config, loaded.segments, loaded.end),
            log_start: loaded.log_start,
            high_watermark: loaded.log_start,
            epochs: loaded.epochs,
            epochs_changed: loaded.epochs_changed,
            producers: loaded.producers,
            snapshots: loaded.snapshots,
            used: false,
        };
        appender.set_high_watermark(open.high_watermark.clamp(loaded.log_start, loaded.end));
        appender
    }

    pub(super) fn view(&self) -> View {
        View {
            log_start: self.log_start,
            high_watermark: self.high_watermark,
            last_stable: self.last_stable(),
            end: self.tail.end,
            segments: self.tail.segments.clone(),
            active_len: self.tail.len,
        }
    }

    fn last_stable(&self) -> Offset {
        match self.producers.first_unstable_offset() {
            Some(first) => first.max(self.log_start).min(self.high_watermark),
            None => self.high_watermark,
        }
    }

    pub(super) fn set_high_watermark(&mut self, offset: Offset) {
        self.high_watermark = offset;
        self.producers.on_high_watermark(offset);
    }

    pub(super) fn move_log_start(&mut self, log: &Log, start: Offset, reason: LogStartReason) {
        self.used = true;
        self.log_start = start;
        if self.epochs.truncate_from_start(start) != EpochChange::None {
            self.epochs_changed = true;
        }
        self.snapshots.on_log_start(&mut self.producers, start);
        tracing::info!(partition = %log.partition, %start, ?reason, "log start moved");
    }

    /// Ends the active segment before `base`, if it is not empty.
    pub(super) fn roll(&mut self, log: &Log, base: Offset) -> Result<(), StorageError> {
        self.tail.roll(log, base)?;
        log.flush.sealed(base, log.recovery_point());
        self.producers.set_end_offset(base);
        let taken = self.snapshots.take(&self.producers, SnapshotSync::Later);
        log.files.result(&self.snapshots.path(base), taken)?;
        Ok(())
    }

    /// Takes note of the epoch of records at `start`.
    fn note_epoch(&mut self, epoch: LeaderEpoch, start: Offset) {
        if epoch < LeaderEpoch(0) {
            return;
        }
        let changed = self.epochs.assign(epoch, start) == EpochChange::Added;
        // An epoch that began without records is only worth writing now.
        if changed || self.epochs.latest().is_some_and(|latest| latest.start == start) {
            self.epochs_changed = true;
        }
    }

    /// Takes note of a transaction whose marker was written, if it was aborted.
    fn note_aborted(&self, log: &Log, completed: Option<CompletedTransaction>) -> Result<(), StorageError> {
        let Some(completed) = completed.filter(|it| it.aborted) else { return Ok(()) };
        log.flush.names_changed();
        match self.tail.active().add_aborted(&log.files, &AbortedTransaction::from(&completed)) {
            // Made anew from the log, it has this one, too.
            Err(StorageError::Corrupt { .. }) => {
                rebuild_transactions(&log.files, &self.tail.segments, self.tail.segments.len() - 1)
            }
            // The marker is in the log and cannot be taken back.
            Err(StorageError::Full { path }) => {
                let full = io::Error::from(io::ErrorKind::StorageFull);
                Err(log.files.directory.fail_for_good(&path, &full))
            }
            other => other,
        }
    }

    fn appended(&self, log: &Log, at: &BatchAt, config: &LogConfig) -> Appended {
        Appended {
            first: at.base_offset,
            end: at.end_offset(),
            max_timestamp: at.max_timestamp,
            log_start: self.log_start,
            duplicate: Duplicate::No,
            flush_first: log.flush_is_due(config, self.tail.end),
        }
    }
}

impl Log {
    /// Appends a batch as the partition's leader: gives it the next offsets, in place. What an idempotent producer
    /// sends again is not appended again.
    pub fn append_as_leader(
        self: &Arc<Self>,
        batch: &AcceptedBatch,
        options: &AppendOptions,
    ) -> Result<Appended, AppendError> {
        let mut guard = self.appender.lock();
        self.check()?;
        let config = self.config.load();
        let appender = &mut *guard;
        let mut header = batch.header;
        header.place(appender.tail.end, options.leader_epoch);
        let at = describe(&header, batch.size(), &config)?;
        let marker = marker_of(&header, &batch.body).map_err(Refusal::from)?;
        let rolled = self.roll_if_due(appender, &config, &at)?;
        let prepared = match appender.producers.prepare(&header, marker, options.origin)? {
            Outcome::NoProducer => None,
            Outcome::Append(prepared) => Some(prepared),
            Outcome::Duplicate(first) => {
                let known = Appended {
                    first: first.first_offset(),
                    end: first.last_offset.after(1),
                    max_timestamp: first.timestamp,
                    log_start: appender.log_start,
                    duplicate: Duplicate::Yes,
                    // It may not be durable yet: whoever sent it first is perhaps still waiting.
                    flush_first: self.flush_is_due(&config, first.last_offset.after(1)),
                };
                self.finish(guard, rolled);
                return Ok(known);
            }
        };
        // Without its entry in the index, readers would be shown what was aborted: there must be room for both.
        let aborts = marker.is_some_and(|it| !it.marker.committed);
        if aborts {
            reserve_aborted(&appender.tail, self)?;
        }
        let mut bytes = [IoSlice::new(header.as_bytes()), IoSlice::new(&batch.body)];
        let written = appender.tail.write(self, Run { bytes: &mut bytes, batches: &[at] });
        if aborts && written.is_err() {
            appender.tail.active().release_aborted(&self.files)?;
        }
        written?;
        let completed = prepared.and_then(|prepared| prepared.commit());
        if aborts && completed.is_none() {
            appender.tail.active().release_aborted(&self.files)?;
        }
        appender.producers.set_end_offset(appender.tail.end);
        appender.note_epoch(options.leader_epoch, at.base_offset);
        appender.used = true;
        appender.note_aborted(self, completed)?;
        let appended = appender.appended(self, &at, &config);
        if options.commit == Commit::AtOnce && !appended.flush_first {
            appender.set_high_watermark(appended.end);
        }
        self.finish(guard, rolled);
        Ok(appended)
    }

    /// Appends batches that have their offsets, as a follower or as the quorum's log: up to the first batch that is
    /// not whole or is of an epoch above `leader_epoch`. Gives nothing if there is nothing to append.
    pub fn append_as_follower(
        self: &Arc<Self>,
        records: &[u8],
        leader_epoch: LeaderEpoch,
    ) -> Result<Option<Appended>, AppendError> {
        let checked = check_replicated(records, leader_epoch).map_err(Refusal::from)?;
        let Some(checked) = checked else { return Ok(None) };
        let records = &records[..checked.valid_bytes];
        let batches = batches_in(records)?;
        let mut guard = self.appender.lock();
        self.check()?;
        let config = self.config.load();
        let appender = &mut *guard;
        if checked.first_offset < appender.tail.end {
            let message =
                format!("offset {} is below the end of the log, {}", checked.first_offset, appender.tail.end);
            return Err(AppendError::refused(ErrorCode::UnknownServerError, message));
        }
        let mut rolled = None;
        let written = self.write_runs(appender, &config, records, &batches, &mut rolled);
        let appended = Appended {
            first: checked.first_offset,
            end: checked.end_offset,
            max_timestamp: checked.max_timestamp,
            log_start: appender.log_start,
            duplicate: Duplicate::No,
            flush_first: self.flush_is_due(&config, appender.tail.end),
        };
        // What was written is in the log even if not all of it could be.
        self.finish(guard, rolled);
        written?;
        Ok(Some(appended))
    }

    /// Writes batches in runs, each into one segment.
    fn write_runs(
        &self,
        appender: &mut Appender,
        config: &LogConfig,
        records: &[u8],
        batches: &[(BatchAt, Option<TimedMarker>)],
        rolled: &mut Option<Offset>,
    ) -> Result<(), StorageError> {
        let ats: Vec<BatchAt> = batches.iter().map(|(at, _)| *at).collect();
        let (mut done, mut from) = (0, 0);
        while let Some(first) = ats.get(done) {
            *rolled = self.roll_if_due(appender, config, first)?.or(*rolled);
            let end = done + appender.tail.run_len(&self.files, config, &ats[done..])?;
            let run = &ats[done..end];
            let len: usize = run.iter().map(|batch| batch.size as usize).sum();
            let mut bytes = [IoSlice::new(&records[from..from + len])];
            appender.tail.write(self, Run { bytes: &mut bytes, batches: run })?;
            for (at, marker) in &batches[done..end] {
                appender.note_epoch(at.leader_epoch, at.base_offset);
                let completed = at.header.and_then(|header| appender.producers.apply(&header, *marker));
                appender.note_aborted(self, completed)?;
            }
            appender.producers.set_end_offset(appender.tail.end);
            appender.used = true;
            from += len;
            done = end;
        }
        Ok(())
    }

    /// Whether an append wants a flush before it is acknowledged (`flush.messages`).
    fn flush_is_due(&self, config: &LogConfig, end: Offset) -> bool {
        let unflushed = end.get().saturating_sub(self.recovery_point().get());
        u64::try_from(unflushed).is_ok_and(|unflushed| unflushed >= config.flush_messages)
    }

    fn roll_if_due(
        &self,
        appender: &mut Appender,
        config: &LogConfig,
        batch: &BatchAt,
    ) -> Result<Option<Offset>, StorageError> {
        if !appender.tail.must_roll(&self.files, config, batch)? {
            return Ok(None);
        }
        appender.roll(self, batch.base_offset)?;
        Ok(Some(batch.base_offset))
    }

    /// Publishes, lets go of the lock, and then starts what can wait.
    fn finish(self: &Arc<Self>, appender: MutexGuard<'_, Appender>, rolled: Option<Offset>) {
        let is_writeback_due = appender.tail.is_writeback_due();
        self.publish(appender);
        if is_writeback_due {
            self.ask_for_writeback();
        }
        if let Some(base) = rolled {
            let log = self.clone();
            // A failure takes the directory offline, which is where it is told.
            drop(self.files.host.blocking(move || log.flush_sealed(base)));
        }
    }
}

/// Makes room for one more aborted transaction in the index of the active segment.
fn reserve_aborted(tail: &Tail, log: &Log) -> Result<(), StorageError> {
    match tail.active().reserve_aborted(&log.files) {
        Err(StorageError::Corrupt { .. }) => {
            rebuild_transactions(&log.files, &tail.segments, tail.segments.len() - 1)?;
            tail.active().reserve_aborted(&log.files)
        }
        other => other,
    }
}

/// A batch that the leader is about to write, `size` bytes long.
fn describe(header: &BatchHeader, size: usize, config: &LogConfig) -> Result<BatchAt, AppendError> {
    let fits = u32::try_from(size).ok().filter(|size| *size <= config.segment_bytes);
    let Some(size) = fits else {
        let limit = config.segment_bytes;
        let message = format!("a batch of {size} bytes is larger than segment.bytes, {limit}");
        return Err(AppendError::refused(ErrorCode::RecordListTooLarge, message));
    };
    Ok(BatchAt {
        position: 0,
        size,
        base_offset: header.base_offset(),
        last_offset: header.last_offset(),
        max_timestamp: header.max_timestamp(),
        leader_epoch: header.partition_leader_epoch(),
        header: Some(*header),
    })
}

/// The batches in `records`, which [`check_replicated`] found whole, with the transaction markers they are.
fn batches_in(records: &[u8]) -> Result<Vec<(BatchAt, Option<TimedMarker>)>, AppendError> {
    let corrupt = |reason: &str| AppendError::refused(ErrorCode::CorruptMessage, reason);
    let mut batches = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let batch = parse(0, rest).map_err(corrupt)?;
        let (bytes, after) =
            rest.split_at_checked(batch.size as usize).ok_or_else(|| corrupt("the batch is not whole"))?;
        let stored = StoredBatch::new(bytes).map_err(Refusal::from)?;
        let marker = stored
            .v2()
            .map(|view| marker_of(view.header(), view.payload()))
            .transpose()
            .map_err(Refusal::from)?
            .flatten();
        batches.push((batch, marker));
        rest = after;
    }
    Ok(batches)
}
