//! Appending: offsets given, one write, indexes and producer state kept, a new view.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_base::{ErrorCode, LeaderEpoch, Offset, Timestamp};
use ottla_host::File;
use ottla_host::disk::Open;
use ottla_record::{AcceptedBatch, HEADER_BYTES, Origin, check_replicated};
use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::truncate::LogStartReason;
use super::{Log, OpenLog, View};
use crate::config::LogConfig;
use crate::error::StorageError;
use crate::files::LogFiles;
use crate::index::Sync;
use crate::load::Loaded;
use crate::scan::{BatchAt, parse};
use crate::segment::{IndexPace, Segment};

/// Writeback of what was appended is started whenever this much has come together, so that the kernel never has so
/// much to write at once that it holds up an append.
pub(crate) const WRITEBACK_STEP_BYTES: u32 = 8 << 20;

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
    /// Who wrote the batch.
    pub origin: Origin,
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
    #[error("{code}: {message}")]
    Refused {
        /// The answer.
        code: ErrorCode,
        /// What is wrong with it.
        message: String,
    },
    /// The log cannot take it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl AppendError {
    pub(crate) fn refused(code: ErrorCode, message: impl Into<String>) -> AppendError {
        AppendError::Refused { code, message: message.into() }
    }

    /// The answer to whoever wanted to append.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            AppendError::Refused { code, .. } => *code,
            AppendError::Storage(error) => error.error_code(),
        }
    }
}

/// What appending changes. One at a time.
#[derive(Debug)]
pub(crate) struct Appender {
    pub(super) segments: Arc<Vec<Arc<Segment>>>,
    /// The active segment's file; opened by the first append.
    pub(super) file: Option<Arc<File>>,
    pub(super) len: u32,
    pub(super) log_start: Offset,
    pub(super) high_watermark: Offset,
    pub(super) end: Offset,
    pace: IndexPace,
    /// The highest timestamp of the active segment's first batch; `None` until somebody looked.
    first_timestamp: Option<Timestamp>,
    created: Timestamp,
    jitter_ms: i64,
    /// Up to where writeback was started.
    written_back: u32,
}

/// Batches that lie next to each other, to be written at once.
struct Run<'a> {
    bytes: SmallVec<[IoSlice<'a>; 2]>,
    batches: &'a [BatchAt],
}

impl Appender {
    pub(super) fn new(files: &LogFiles, open: &OpenLog, loaded: Loaded) -> Result<Appender, StorageError> {
        let len = loaded.segments.last().map_or(0, |active| active.len());
        let mut appender = Appender {
            segments: Arc::new(loaded.segments),
            file: None,
            len,
            log_start: loaded.log_start,
            high_watermark: loaded.log_start,
            end: loaded.end,
            pace: IndexPace::default(),
            first_timestamp: None,
            created: files.host.wall_clock(),
            jitter_ms: jitter(files, &open.config),
            written_back: len,
        };
        appender.set_high_watermark(open.high_watermark.clamp(loaded.log_start, loaded.end));
        Ok(appender)
    }

    pub(super) fn active(&self) -> &Arc<Segment> {
        &self.segments[self.segments.len() - 1]
    }

    pub(super) fn view(&self) -> View {
        View {
            log_start: self.log_start,
            high_watermark: self.high_watermark,
            last_stable: self.last_stable(),
            end: self.end,
            segments: self.segments.clone(),
            active_len: self.len,
        }
    }

    fn last_stable(&self) -> Offset {
        self.high_watermark
    }

    pub(super) fn set_high_watermark(&mut self, offset: Offset) {
        self.high_watermark = offset;
    }

    pub(super) fn move_log_start(&mut self, log: &Log, start: Offset, reason: LogStartReason) {
        self.log_start = start;
        log.recovery_point.fetch_max(start.get(), Ordering::AcqRel);
        tracing::info!(partition = %log.partition, %start, ?reason, "log start moved");
    }

    /// Whether the segment is over before `batch`.
    fn must_roll(&mut self, log: &Log, config: &LogConfig, batch: &BatchAt) -> Result<bool, StorageError> {
        self.must_roll_at(log, config, batch, 0)
    }

    /// Whether the segment is over before `batch`, when its indexes get so many entries more before that.
    fn must_roll_at(
        &mut self,
        log: &Log,
        config: &LogConfig,
        batch: &BatchAt,
        entries: u32,
    ) -> Result<bool, StorageError> {
        let active = self.active().clone();
        if !active.can_hold(batch.last_offset) {
            return Ok(true);
        }
        if self.len == 0 {
            return Ok(false);
        }
        if u64::from(self.len) + u64::from(batch.size) > u64::from(config.segment_bytes) {
            return Ok(true);
        }
        let limit_ms = config.segment_ms.saturating_sub(self.jitter_ms);
        if self.waited_ms(log, batch.max_timestamp)? > limit_ms {
            return Ok(true);
        }
        let offsets_max = config.segment_index_bytes / 8;
        // One entry is kept free for the end of the segment.
        let times_max = (config.segment_index_bytes / 12).saturating_sub(1);
        Ok(active.offsets.len(&log.files)? + entries >= offsets_max
            || active.times.len(&log.files)? + entries >= times_max)
    }

    /// How long the segment has been growing: by its records' timestamps if they have any, by the clock otherwise.
    fn waited_ms(&mut self, log: &Log, timestamp: Timestamp) -> Result<i64, StorageError> {
        let first = match self.first_timestamp {
            Some(first) => first,
            None => {
                let first = self.active().first_timestamp(&log.files)?.unwrap_or(Timestamp::NONE);
                self.first_timestamp = Some(first);
                first
            }
        };
        if first >= Timestamp(0) {
            return Ok(timestamp.get().saturating_sub(first.get()));
        }
        Ok(log.files.host.wall_clock().get().saturating_sub(self.created.get()))
    }

    /// Ends the active segment; the next begins at `base`. What this writes, a flush makes durable later.
    pub(super) fn roll(&mut self, log: &Log, base: Offset) -> Result<(), StorageError> {
        let active = self.active().clone();
        if base == active.base() {
            // Nothing was ever in it.
            return Ok(());
        }
        active.seal(&log.files)?;
        active.flush_indexes(&log.files, Sync::No)?;
        if let (Some(file), true) = (&self.file, log.config.load().preallocate) {
            // Gives back the blocks that were reserved and not used.
            log.files.of(active.log_name(), file.set_len(u64::from(self.len)))?;
        }
        let segment = Arc::new(Segment::empty(base));
        let mut segments = Vec::with_capacity(self.segments.len() + 1);
        segments.extend(self.segments.iter().cloned());
        segments.push(segment);
        self.begin_active(log, segments);
        // Its name is what keeps the offsets from being given again, should nothing be appended to it.
        self.open_active(log)?;
        tracing::debug!(partition = %log.partition, %base, "rolled a segment");
        Ok(())
    }

    /// Continues with a list of segments of which the last is empty.
    pub(super) fn begin_active(&mut self, log: &Log, segments: Vec<Arc<Segment>>) {
        self.segments = Arc::new(segments);
        self.file = None;
        self.len = 0;
        self.pace = IndexPace::default();
        self.first_timestamp = None;
        self.created = log.files.host.wall_clock();
        self.jitter_ms = jitter(&log.files, &log.config.load());
        self.written_back = 0;
    }

    /// Continues with the active segment cut to `len`.
    pub(super) fn cut_active(&mut self, len: u32) {
        self.len = len;
        self.pace = IndexPace::default();
        self.first_timestamp = None;
        self.written_back = self.written_back.min(len);
    }

    /// The active segment's file; made if there is none.
    pub(super) fn open_active(&mut self, log: &Log) -> Result<Arc<File>, StorageError> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let active = self.active().clone();
        let name = active.log_name();
        let file = Arc::new(log.files.open(name, Open::Create)?);
        if self.len == 0 {
            // A name that was used before, by what a truncation or an unclean stop left behind.
            log.files.of(name, file.set_len(0))?;
            log.flush.names_changed();
            let config = log.config.load();
            if config.preallocate {
                log.files.of(name, file.preallocate(0..u64::from(config.segment_bytes)))?;
            }
        }
        active.share_log(&file);
        self.file = Some(file.clone());
        Ok(file)
    }

    /// How many of `batches`, of which the first goes into the active segment, go there with it.
    fn run_len(&mut self, log: &Log, config: &LogConfig, batches: &[BatchAt]) -> Result<usize, StorageError> {
        let len = self.len;
        let mut count = 0;
        let mut indexed = 0;
        let mut pace = self.pace;
        for batch in batches {
            if count > 0 {
                // Were the run written, would it be over? Entries to come are counted as if each batch had one.
                let full = self.must_roll_at(log, config, batch, indexed)?;
                if full {
                    break;
                }
            } else if len == 0 {
                self.first_timestamp = Some(batch.max_timestamp);
            }
            indexed += u32::from(pace.step(batch.size, config.index_interval_bytes));
            self.len = self.len.saturating_add(batch.size);
            count += 1;
        }
        self.len = len;
        Ok(count)
    }

    /// Writes a run of batches and takes note of them.
    fn write(&mut self, log: &Log, mut run: Run<'_>) -> Result<(), StorageError> {
        let file = self.open_active(log)?;
        let active = self.active().clone();
        if let Err(error) = file.write_vectored_at(&mut run.bytes, u64::from(self.len)) {
            // Part of it may be in the file, past what anybody was told of. The next append writes over it.
            return Err(log.files.directory.fail(&log.files.path_of(active.log_name()), &error));
        }
        let interval = log.config.load().index_interval_bytes;
        for batch in run.batches {
            let batch = BatchAt { position: self.len, ..*batch };
            if self.len == 0 {
                self.first_timestamp = Some(batch.max_timestamp);
            }
            let indexed = self.pace.step(batch.size, interval);
            active.appended(&log.files, &batch, indexed)?;
            self.len = batch.end_position();
            self.end = batch.end_offset();
        }
        Ok(())
    }

    /// Starts writeback of what has come together since the last time, on another thread.
    fn pace_writeback(&mut self, log: &Log) {
        let Some(file) = &self.file else { return };
        if self.len - self.written_back < WRITEBACK_STEP_BYTES {
            return;
        }
        let (file, range) = (file.clone(), u64::from(self.written_back)..u64::from(self.len));
        self.written_back = self.len;
        // An error of the disk will show when it is synced, which is when it is believed.
        drop(log.files.host.blocking(move || file.start_writeback(range)));
    }
}

/// The batches in `records`, which [`check_replicated`] found whole.
fn batches_in(records: &[u8]) -> Vec<BatchAt> {
    let mut position = 0;
    let mut batches = Vec::new();
    while let Ok(batch) = parse(0, &records[position..]) {
        position += batch.size as usize;
        batches.push(batch);
        if position >= records.len() {
            break;
        }
    }
    batches
}

fn jitter(files: &LogFiles, config: &LogConfig) -> i64 {
    let bound = config.segment_jitter_ms.min(config.segment_ms);
    if bound <= 0 {
        return 0;
    }
    (files.host.random_u64() % bound as u64) as i64
}

impl Log {
    /// Appends a batch as the partition's leader: gives it the next offsets, in place. What an idempotent producer
    /// sends again is not appended again.
    pub fn append_as_leader(
        self: &Arc<Self>,
        batch: &AcceptedBatch,
        options: &AppendOptions,
    ) -> Result<Appended, AppendError> {
        let mut appender = self.appender.lock();
        self.check()?;
        let config = self.config.load();
        let mut header = batch.header;
        header.place(appender.end, options.leader_epoch);
        let size = HEADER_BYTES + batch.body.len();
        if size as u64 > u64::from(config.segment_bytes) {
            return Err(AppendError::refused(
                ErrorCode::RecordListTooLarge,
                format!("a batch of {size} bytes is larger than segment.bytes, {}", config.segment_bytes),
            ));
        }
        let at = BatchAt {
            position: 0,
            size: size as u32,
            base_offset: header.base_offset(),
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp(),
            leader_epoch: options.leader_epoch,
            header: Some(header),
        };
        let rolled = self.roll_if_due(&mut appender, &config, &at)?;
        let bytes = SmallVec::from_buf([IoSlice::new(header.as_bytes()), IoSlice::new(&batch.body)]);
        appender.write(self, Run { bytes, batches: &[at] })?;
        let log_start = appender.log_start;
        let flush_first = self.flush_is_due(&config, appender.end);
        if options.commit == Commit::AtOnce && !flush_first {
            let end = appender.end;
            appender.set_high_watermark(end);
        }
        self.finish(appender, rolled);
        Ok(Appended {
            first: at.base_offset,
            end: at.end_offset(),
            max_timestamp: at.max_timestamp,
            log_start,
            duplicate: Duplicate::No,
            flush_first,
        })
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
        if !appender.must_roll(self, config, batch)? {
            return Ok(None);
        }
        appender.roll(self, batch.base_offset)?;
        Ok(Some(batch.base_offset))
    }

    /// Appends batches that have their offsets, as a follower or as the quorum's log: up to the first batch that is
    /// not whole or is of an epoch above `leader_epoch`. Gives nothing if there is nothing to append.
    pub fn append_as_follower(
        self: &Arc<Self>,
        records: &[u8],
        leader_epoch: LeaderEpoch,
    ) -> Result<Option<Appended>, AppendError> {
        let checked = check_replicated(records, leader_epoch)
            .map_err(|error| AppendError::refused(error.error_code(), error.to_string()))?;
        let Some(checked) = checked else { return Ok(None) };
        let records = &records[..checked.valid_bytes];
        let batches = batches_in(records);
        let mut appender = self.appender.lock();
        self.check()?;
        let config = self.config.load();
        if checked.first_offset < appender.end {
            return Err(AppendError::refused(
                ErrorCode::UnknownServerError,
                format!("offset {} is below the end of the log, {}", checked.first_offset, appender.end),
            ));
        }
        let mut rolled = None;
        let mut rest = &batches[..];
        let mut from = 0;
        while let Some(first) = rest.first() {
            rolled = self.roll_if_due(&mut appender, &config, first)?.or(rolled);
            let count = appender.run_len(self, &config, rest)?;
            let (run, after) = rest.split_at(count);
            let len: usize = run.iter().map(|batch| batch.size as usize).sum();
            let bytes = SmallVec::from_iter([IoSlice::new(&records[from..from + len])]);
            appender.write(self, Run { bytes, batches: run })?;
            from += len;
            rest = after;
        }
        let appended = Appended {
            first: checked.first_offset,
            end: checked.end_offset,
            max_timestamp: checked.max_timestamp,
            log_start: appender.log_start,
            duplicate: Duplicate::No,
            flush_first: self.flush_is_due(&config, appender.end),
        };
        self.finish(appender, rolled);
        Ok(Some(appended))
    }

    /// Publishes, lets go of the lock, and then starts what can wait.
    fn finish(self: &Arc<Self>, mut appender: MutexGuard<'_, Appender>, rolled: Option<Offset>) {
        appender.pace_writeback(self);
        self.publish(appender);
        if let Some(base) = rolled {
            let log = self.clone();
            // A failure takes the directory offline, which is where it is told.
            drop(self.files.host.blocking(move || log.flush_sealed(base)));
        }
    }
}
