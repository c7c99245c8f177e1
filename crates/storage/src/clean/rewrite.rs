//! A group of segments written anew, as one.

use std::io;
use std::sync::Arc;

use ottla_base::Timestamp;
use ottla_host::File;
use ottla_host::disk::Open;
use ottla_record::StoredBatch;

use super::filter::{Filtered, Left, Rules};
use super::pass::last_of_producer;
use super::transactions::PassingTransactions;
use super::{CleanError, CleanStats};
use crate::error::StorageError;
use crate::file_names::SegmentFile;
use crate::index::Sync;
use crate::log::Log;
use crate::scan::{BatchAt, Depth, Scan, Step, parse};
use crate::segment::{IndexPace, Segment};

/// Writeback is begun whenever this much has come together.
const WRITEBACK_STEP_BYTES: u32 = 2 << 20;

/// What is being written from a group of segments.
#[derive(Debug)]
pub(super) struct Rewrite {
    sources: Vec<Arc<Segment>>,
    /// Which of them is read, and where.
    at: usize,
    position: u32,
    cleaned: Arc<Segment>,
    file: File,
    /// What is not written yet, and where it goes.
    buffer: Vec<u8>,
    written: u32,
    /// Up to where writeback was begun.
    written_back: u32,
    pace: IndexPace,
    last_aborted: Option<ottla_base::Offset>,
}

/// Whether a group is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// There is more.
    Part,
    /// All of it is.
    All,
}

impl Rewrite {
    pub(super) fn begin(log: &Log, sources: Vec<Arc<Segment>>) -> Result<Rewrite, StorageError> {
        let cleaned = Arc::new(Segment::cleaned(sources[0].base()));
        remove(log, &cleaned)?;
        let name = cleaned.log_name();
        let file = log.files.open(name, Open::Truncate)?;
        Ok(Rewrite {
            sources,
            at: 0,
            position: 0,
            cleaned,
            file,
            buffer: Vec::new(),
            written: 0,
            written_back: 0,
            pace: IndexPace::default(),
            last_aborted: None,
        })
    }

    /// Reads about `budget` bytes and writes what stays of them.
    pub(super) fn go_on(
        &mut self,
        log: &Log,
        mut rules: Rules<'_>,
        legacy_horizon: Timestamp,
        (io_bytes, size_max): (usize, u32),
        (transactions, stats): (&mut PassingTransactions, &mut CleanStats),
        budget: u64,
    ) -> Result<Written, CleanError> {
        let Some(source) = self.sources.get(self.at).cloned() else { return Ok(Written::All) };
        let files = &log.files;
        if self.position == 0 && source.len() > 0 {
            let end = match self.sources.get(self.at + 1) {
                Some(next) => next.base(),
                None => source.tail_end(files)?,
            };
            transactions.expect(log.aborted_among(&log.view(), source.base()..end)?);
        }
        rules.keeps_legacy_deletes = log.modified(&source)? > legacy_horizon;
        let start = self.position;
        let file = source.log(files)?;
        let (name, positions) = (source.log_name(), start..source.len());
        let scan = Scan::new(files, name, &file, Depth::Checksums, positions, source.base());
        let mut scan = scan.bounded((io_bytes as u64).min(budget) as usize, size_max);
        while u64::from(self.position - start) < budget {
            let batch = match scan.next()? {
                Step::Batch(batch) => batch,
                Step::End => break,
                Step::Torn(torn) => {
                    let position = u64::from(torn.position);
                    return Err(files.corrupt(source.log_name(), position, torn.reason).into());
                }
            };
            let bytes = scan.batch_bytes(&batch)?;
            let last = last_of_producer(log, &batch);
            let filtered = StoredBatch::new(bytes).and_then(|it| rules.filter(&it, transactions, last));
            let filtered = filtered.map_err(|error| {
                files.corrupt(source.log_name(), u64::from(batch.position), error.to_string())
            })?;
            stats.bytes_read += u64::from(batch.size);
            self.take(log, &filtered, bytes, &batch, io_bytes, stats)?;
            self.position = batch.end_position();
        }
        if self.position >= source.len() {
            (self.at, self.position) = (self.at + 1, 0);
        }
        Ok(if self.at == self.sources.len() { Written::All } else { Written::Part })
    }

    /// Adds what is left of a batch.
    fn take(
        &mut self,
        log: &Log,
        filtered: &Filtered,
        bytes: &[u8],
        batch: &BatchAt,
        io_bytes: usize,
        stats: &mut CleanStats,
    ) -> Result<(), StorageError> {
        stats.records_read += filtered.records_read;
        stats.records_written += filtered.records_left;
        stats.keyless += filtered.keyless;
        if let Some(aborted) = &filtered.aborted {
            let name = self.sources[self.at].name_of(SegmentFile::TransactionIndex);
            if aborted.last_offset != batch.base_offset || self.last_aborted >= Some(aborted.last_offset) {
                return Err(log.files.corrupt(name, 0, "a transaction does not end where its marker is"));
            }
            self.last_aborted = Some(aborted.last_offset);
            self.cleaned.add_aborted(&log.files, aborted)?;
        }
        let left = match &filtered.left {
            Left::Whole => bytes,
            Left::Rebuilt(rebuilt) => rebuilt,
            Left::Emptied(header) => header.as_bytes(),
            Left::Nothing => return Ok(()),
        };
        let position = self.written as usize + self.buffer.len();
        let fits = position + left.len() <= i32::MAX as usize;
        let written = match fits {
            true => parse(position as u32, left),
            false => Err("the segments do not fit into one"),
        };
        let written =
            written.map_err(|reason| log.files.corrupt(self.cleaned.log_name(), position as u64, reason))?;
        stats.bytes_written += left.len() as u64;
        if !self.buffer.is_empty() && self.buffer.len() + left.len() > io_bytes {
            self.flush(log)?;
        }
        if left.len() > io_bytes {
            log.files.of(self.cleaned.log_name(), self.file.write_all_at(left, u64::from(self.written)))?;
            self.written += left.len() as u32;
        } else {
            self.buffer.extend_from_slice(left);
        }
        let indexed = self.pace.step(written.size, log.files.index_interval_bytes());
        self.cleaned.index(&log.files, &written, indexed)
    }

    /// Writes what has come together, and lets the kernel begin with it, so that the sync in the end is short.
    fn flush(&mut self, log: &Log) -> Result<(), StorageError> {
        let name = self.cleaned.log_name();
        log.files.of(name, self.file.write_all_at(&self.buffer, u64::from(self.written)))?;
        self.written += self.buffer.len() as u32;
        self.buffer.clear();
        if self.written - self.written_back >= WRITEBACK_STEP_BYTES {
            self.start_writeback(log)?;
        }
        Ok(())
    }

    fn start_writeback(&mut self, log: &Log) -> Result<(), StorageError> {
        let range = u64::from(self.written_back)..u64::from(self.written);
        self.written_back = self.written;
        log.files.of(self.cleaned.log_name(), self.file.start_writeback(range))
    }

    /// Makes what was written durable, under its provisional name. Gives what it was made of, and what it is.
    pub(super) fn finish(mut self, log: &Log) -> Result<(Vec<Arc<Segment>>, Arc<Segment>), CleanError> {
        let finished = self.make_durable(log);
        if let Err(error) = finished {
            discard(log, &self.cleaned);
            return Err(error.into());
        }
        Ok((self.sources, self.cleaned))
    }

    fn make_durable(&mut self, log: &Log) -> Result<(), StorageError> {
        self.flush(log)?;
        self.start_writeback(log)?;
        self.buffer = Vec::new();
        let (files, cleaned) = (&log.files, &self.cleaned);
        cleaned.recovered(self.written);
        cleaned.seal(files)?;
        cleaned.flush_indexes(files, Sync::No)?;
        // How old the records are may be known from this alone.
        let modified = match self.sources.last() {
            Some(last) => log.modified(last)?,
            None => files.host.wall_clock(),
        };
        for kind in [SegmentFile::Log, SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
            let name = cleaned.name_of(kind);
            let file = files.open(name, Open::Write)?;
            files.of(name, file.set_modified(modified))?;
            files.synced(&files.path_of(name), file.sync_all())?;
        }
        cleaned.sync_transactions(files)
    }

    pub(super) fn discard(&self, log: &Log) {
        discard(log, &self.cleaned);
    }
}

/// Removes what was written and will not be used. The next start would, too.
pub(super) fn discard(log: &Log, cleaned: &Segment) {
    if log.directory().failure().is_none()
        && let Err(error) = remove(log, cleaned)
    {
        tracing::warn!(partition = %log.partition(), %error, "what was cleaned in vain cannot be removed");
    }
}

fn remove(log: &Log, cleaned: &Segment) -> Result<(), StorageError> {
    for kind in SegmentFile::ALL {
        let path = log.files.path_of(cleaned.name_of(kind));
        match log.files.disk().remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => log.files.result(&path, other)?,
        }
    }
    Ok(())
}
