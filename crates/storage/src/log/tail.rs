//! The active segment, to which batches are written: one write for a run of them, then indexes; when it is over, and
//! what comes after it.

use std::io::IoSlice;
use std::sync::Arc;

use ottla_base::{Offset, Timestamp};
use ottla_host::File;
use ottla_host::disk::Open;

use super::Log;
use crate::config::LogConfig;
use crate::error::StorageError;
use crate::file_names::{FileName, SegmentFile};
use crate::files::LogFiles;
use crate::index::{Entry, OffsetEntry, TimeEntry};
use crate::scan::BatchAt;
use crate::segment::{IndexPace, Segment};

/// Writeback of what was appended is started whenever this much has come together, so that the kernel never has so
/// much to write at once that it holds up an append.
const WRITEBACK_STEP_BYTES: u32 = 8 << 20;
/// What is written back is whole units of this: no page of it, however large pages are, is written to again.
const WRITEBACK_UNIT_BYTES: u32 = 64 << 10;

/// The segments, the last of which is written to.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segments: Arc<Vec<Arc<Segment>>>,
    /// The active segment's file; opened by the first append.
    file: Option<Arc<File>>,
    /// The active segment's length.
    pub(super) len: u32,
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
pub(super) struct Run<'a, 'b> {
    pub(super) bytes: &'a mut [IoSlice<'b>],
    pub(super) batches: &'a [BatchAt],
}

impl Tail {
    /// Goes on where `segments` end.
    pub(super) fn new(
        files: &LogFiles,
        config: &LogConfig,
        segments: Vec<Arc<Segment>>,
        end: Offset,
    ) -> Tail {
        let len = segments.last().map_or(0, |active| active.len());
        Tail {
            segments: Arc::new(segments),
            file: None,
            len,
            end,
            pace: IndexPace::default(),
            first_timestamp: None,
            created: files.host.wall_clock(),
            jitter_ms: jitter(files, config),
            written_back: len,
        }
    }

    pub(super) fn active(&self) -> &Arc<Segment> {
        &self.segments[self.segments.len() - 1]
    }

    /// Whether the active segment is over before `batch`.
    pub(super) fn must_roll(
        &mut self,
        files: &LogFiles,
        config: &LogConfig,
        batch: &BatchAt,
    ) -> Result<bool, StorageError> {
        self.must_roll_after(files, config, batch, 0)
    }

    /// Whether the active segment is over before `batch`, when its indexes get so many entries more before that.
    fn must_roll_after(
        &mut self,
        files: &LogFiles,
        config: &LogConfig,
        batch: &BatchAt,
        entries: u32,
    ) -> Result<bool, StorageError> {
        if !self.active().can_hold(batch.last_offset) {
            return Ok(true);
        }
        if self.len == 0 {
            return Ok(false);
        }
        if u64::from(self.len) + u64::from(batch.size) > u64::from(config.segment_bytes) {
            return Ok(true);
        }
        let limit_ms = config.segment_ms.saturating_sub(self.jitter_ms);
        if self.waited_ms(files, batch.max_timestamp)? > limit_ms {
            return Ok(true);
        }
        let offsets_max = config.segment_index_bytes / OffsetEntry::BYTES as u32;
        // One entry is kept free for the end of the segment.
        let times_max = (config.segment_index_bytes / TimeEntry::BYTES as u32).saturating_sub(1);
        let active = self.active();
        Ok(active.offsets.len(files)?.saturating_add(entries) >= offsets_max
            || active.times.len(files)?.saturating_add(entries) >= times_max)
    }

    /// How long the segment has been growing: by its records' timestamps if they have any, by the clock otherwise.
    fn waited_ms(&mut self, files: &LogFiles, timestamp: Timestamp) -> Result<i64, StorageError> {
        let first = match self.first_timestamp {
            Some(first) => first,
            None => {
                let first = self.active().first_timestamp(files)?.unwrap_or(Timestamp::NONE);
                self.first_timestamp = Some(first);
                first
            }
        };
        if first >= Timestamp(0) {
            return Ok(timestamp.get().saturating_sub(first.get()));
        }
        Ok(files.host.wall_clock().get().saturating_sub(self.created.get()))
    }

    /// Ends the active segment; the next begins at `base`. What this writes, a flush makes durable later.
    pub(super) fn roll(&mut self, log: &Log, base: Offset) -> Result<(), StorageError> {
        let active = self.active();
        assert!(base > active.base(), "a segment is rolled when there is something in it");
        active.seal(&log.files)?;
        if let (Some(file), true) = (&self.file, log.config.load().preallocate) {
            // Gives back the blocks that were reserved and not used.
            log.files.of(active.log_name(), file.set_len(u64::from(self.len)))?;
        }
        let mut segments = Vec::with_capacity(self.segments.len() + 1);
        segments.extend(self.segments.iter().cloned());
        segments.push(Arc::new(Segment::empty(base)));
        self.go_on_with(log, segments);
        // Its name is what keeps offsets from being given again, should nothing be appended to it.
        self.open_active(log)?;
        tracing::debug!(partition = %log.partition, %base, "rolled a segment");
        Ok(())
    }

    /// Goes on with segments of which the last is empty.
    pub(super) fn go_on_with(&mut self, log: &Log, segments: Vec<Arc<Segment>>) {
        *self = Tail::new(&log.files, &log.config.load(), segments, self.end);
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
            // What an unclean stop or a truncation may have left under these names.
            log.files.of(name, file.set_len(0))?;
            for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::TransactionIndex] {
                let path = log.files.path_of(FileName::live(active.base(), kind));
                log.files.result(&path, log.files.disk().remove_file_if_exists(&path))?;
            }
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
    pub(super) fn run_len(
        &mut self,
        files: &LogFiles,
        config: &LogConfig,
        batches: &[BatchAt],
    ) -> Result<usize, StorageError> {
        let (len, mut pace) = (self.len, self.pace);
        let (mut count, mut entries) = (0, 0);
        for batch in batches {
            if count > 0 && self.must_roll_after(files, config, batch, entries)? {
                break;
            }
            if self.len == 0 {
                self.first_timestamp = Some(batch.max_timestamp);
            }
            entries += u32::from(pace.step(batch.size, config.index_interval_bytes));
            self.len = self.len.saturating_add(batch.size);
            count += 1;
        }
        self.len = len;
        Ok(count)
    }

    /// Writes a run of batches and takes note of them.
    pub(super) fn write(&mut self, log: &Log, run: Run<'_, '_>) -> Result<(), StorageError> {
        let file = self.open_active(log)?;
        let active = self.active().clone();
        if let Err(error) = file.write_vectored_at(run.bytes, u64::from(self.len)) {
            // Part of it may be in the file, past what anybody was told of. The next append writes over it.
            return Err(log.files.directory.fail(&log.files.path_of(active.log_name()), &error));
        }
        let interval = log.files.index_interval_bytes();
        for batch in run.batches {
            let batch = BatchAt { position: self.len, ..*batch };
            if self.len == 0 {
                self.first_timestamp = Some(batch.max_timestamp);
            }
            let indexed = self.pace.step(batch.size, interval);
            self.len = batch.end_position();
            self.end = batch.end_offset();
            active.appended(&log.files, &batch, indexed)?;
        }
        Ok(())
    }

    /// Whether so much has come together that its writeback begins.
    pub(super) fn is_writeback_due(&self) -> bool {
        self.not_written_back() >= WRITEBACK_STEP_BYTES
    }

    /// How much of the active segment was appended since its writeback was last started.
    pub(super) fn not_written_back(&self) -> u32 {
        if self.file.is_some() { self.len - self.written_back } else { 0 }
    }

    /// What starts the writeback of at most `bytes` of what was appended, but for an end that the next append writes to,
    /// which would wait for it and have it written twice. Blocks when it is called.
    pub(super) fn take_writeback(&mut self, bytes: u32) -> Option<impl FnOnce() + 'static + use<>> {
        let file = self.file.clone()?;
        let end = self.written_back.saturating_add(bytes).min(self.len);
        let end = end - end % WRITEBACK_UNIT_BYTES;
        if end <= self.written_back {
            return None;
        }
        let range = u64::from(self.written_back)..u64::from(end);
        self.written_back = end;
        // An error of the disk will show when it is synced, which is when it is believed.
        Some(move || drop(file.start_writeback(range)))
    }
}

fn jitter(files: &LogFiles, config: &LogConfig) -> i64 {
    let bound = config.segment_jitter_ms.min(config.segment_ms);
    if bound <= 0 {
        return 0;
    }
    (files.host.random_u64() % bound as u64) as i64
}
