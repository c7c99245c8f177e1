//! `.index`, `.timeindex` and `.txnindex`, each entry held against the log beside it.

use std::path::{Path, PathBuf};

use ottla_base::{Offset, Timestamp};
use ottla_host::Disk;
use ottla_storage::file_names::{FileName, SegmentFile};
use ottla_storage::transaction_index::TransactionIndex;
use ottla_storage::{OffsetEntry, TimeEntry};
use serde_json::json;

use super::report::Report;
use super::segment::BatchFile;
use super::{Dumped, Stop};

/// The longest index that is read: the largest that `segment.index.bytes` allows is 2 GiB, a usual one 10 MiB.
const INDEX_BYTES_MAX: u64 = 1 << 30;

/// The log that an index is about; nothing if it is not there.
fn log_beside(disk: &Disk, path: &Path, base: Offset) -> Result<Option<BatchFile>, Stop> {
    let log: PathBuf = path.with_file_name(FileName::live(base, SegmentFile::Log).to_string());
    Ok(if disk.exists(&log)? { Some(BatchFile::open(disk, &log)?) } else { None })
}

fn read_entries(disk: &Disk, path: &Path, entry_bytes: usize, report: &mut Report) -> Result<Vec<u8>, Stop> {
    let mut bytes = disk.read(path, INDEX_BYTES_MAX)?;
    let rest = bytes.len() % entry_bytes;
    if rest > 0 {
        report.problem(format!("{rest} bytes at the end are no entry"))?;
        bytes.truncate(bytes.len() - rest);
    }
    if bytes.is_empty() {
        report.note("The index is empty.")?;
    }
    Ok(bytes)
}

/// Shows an offset index.
pub(super) fn dump_offset_index(disk: &Disk, path: &Path, base: Offset, report: &mut Report) -> Dumped {
    let bytes = read_entries(disk, path, OffsetEntry::SIZE_BYTES, report)?;
    let mut log = log_beside(disk, path, base)?;
    if log.is_none() {
        report.note("The log is not there; entries are held against each other only.")?;
    }
    let mut before: Option<OffsetEntry> = None;
    for entry in OffsetEntry::in_bytes(&bytes) {
        let offset = base.after(i64::from(entry.relative_offset));
        if before.is_some() && entry.relative_offset == 0 {
            // The file of a running broker was made as long as it may become; the rest is zeros.
            break;
        }
        report.entry("entry", json!({"offset": offset.get(), "position": entry.position}))?;
        if before
            .is_some_and(|it| it.relative_offset >= entry.relative_offset || it.position >= entry.position)
        {
            report.problem(format!("the entry for offset {offset} is out of order"))?;
        }
        before = Some(entry);
        if let Some(log) = &mut log {
            log.seek(u64::from(entry.position));
            match log.next()? {
                Some(Ok(batch)) if batch.last_offset() == offset => {}
                Some(Ok(batch)) => report.problem(format!(
                    "offset {offset} should be at position {}, but the batch there ends with offset {}",
                    entry.position,
                    batch.last_offset()
                ))?,
                Some(Err(reason)) => report.problem(format!(
                    "offset {offset} should be at position {}, where no batch is: {reason}",
                    entry.position
                ))?,
                None => report.problem(format!(
                    "offset {offset} should be at position {}, which is after the log's end",
                    entry.position
                ))?,
            }
        }
    }
    Ok(())
}

/// Shows a time index.
pub(super) fn dump_time_index(disk: &Disk, path: &Path, base: Offset, report: &mut Report) -> Dumped {
    let bytes = read_entries(disk, path, TimeEntry::SIZE_BYTES, report)?;
    let mut batches = log_beside(disk, path, base)?.map(TimesInLog::new);
    if batches.is_none() {
        report.note("The log is not there; entries are held against each other only.")?;
    }
    let mut before: Option<TimeEntry> = None;
    for entry in TimeEntry::in_bytes(&bytes) {
        let offset = base.after(i64::from(entry.relative_offset));
        if before.is_some() && entry.relative_offset == 0 {
            break;
        }
        report.entry("entry", json!({"timestamp": entry.timestamp.get(), "offset": offset.get()}))?;
        if before
            .is_some_and(|it| it.timestamp >= entry.timestamp || it.relative_offset > entry.relative_offset)
        {
            report.problem(format!("the entry for timestamp {} is out of order", entry.timestamp))?;
        }
        before = Some(entry);
        let Some(batches) = &mut batches else { continue };
        match batches.ending_with(offset)? {
            Some(max) if max == entry.timestamp => {}
            Some(max) => report.problem(format!(
                "the batch that ends with offset {offset} has the timestamp {max}, not {}",
                entry.timestamp
            ))?,
            None => report.problem(format!("no batch of the log ends with offset {offset}"))?,
        }
    }
    Ok(())
}

/// A log that is asked for batches in the order in which it has them.
struct TimesInLog {
    log: BatchFile,
    last: Option<(Offset, Timestamp)>,
}

impl TimesInLog {
    fn new(log: BatchFile) -> TimesInLog {
        TimesInLog { log, last: None }
    }

    /// The highest timestamp of the batch that ends with `offset`.
    fn ending_with(&mut self, offset: Offset) -> Result<Option<Timestamp>, Stop> {
        while self.last.is_none_or(|(last, _)| last < offset) {
            match self.log.next()? {
                Some(Ok(batch)) => self.last = Some((batch.last_offset(), batch.max_timestamp())),
                Some(Err(_)) | None => return Ok(None),
            }
        }
        Ok(self.last.filter(|(last, _)| *last == offset).map(|(_, timestamp)| timestamp))
    }
}

/// Shows a transaction index.
pub(super) fn dump_transaction_index(disk: &Disk, path: &Path, base: Offset, report: &mut Report) -> Dumped {
    let index = TransactionIndex::open(disk.clone(), path.to_owned())?;
    for aborted in index.all()? {
        report.entry(
            "entry",
            json!({
                "version": 0,
                "producerId": aborted.producer_id.0,
                "firstOffset": aborted.first_offset.get(),
                "lastOffset": aborted.last_offset.get(),
                "lastStableOffset": aborted.last_stable_offset.get(),
            }),
        )?;
        if aborted.first_offset > aborted.last_offset {
            let producer = aborted.producer_id;
            report.problem(format!("a transaction of producer {producer} ends before it begins"))?;
        }
    }
    Ok(index.check(base)?)
}
