//! `.log` segments and `.checkpoint` snapshots of the metadata log: batches and their records.

use std::path::Path;

use bytes::Bytes;
use ottla_base::{Offset, Timestamp};
use ottla_host::disk::Open;
use ottla_host::{Disk, File};
use ottla_raft::{SnapshotFile, SnapshotReader};
use ottla_record::{
    BatchView, LegacyBatchView, MAGIC_PREFIX_BYTES, RecordsError, StoredBatch, TimestampType, batch_size,
};
use serde_json::{Map, Value, json};

use super::payload::{self, Decoder};
use super::report::Report;
use super::{Depth, Dumped, Stop};
use crate::output::bytes_as_json as text;

/// The most that is read at once, unless a batch is larger.
const WINDOW_BYTES: usize = 1 << 20;
/// The most that a batch is decompressed to: as much as Kafka can hold.
const DECOMPRESSED_BYTES_MAX: u64 = i32::MAX as u64;

/// The batches of a file, one after the other.
pub(super) struct BatchFile {
    file: File,
    len: u64,
    position: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl BatchFile {
    pub(super) fn open(disk: &Disk, path: &Path) -> std::io::Result<BatchFile> {
        let file = disk.open(path, Open::Read)?;
        let len = file.len()?;
        Ok(BatchFile { file, len, position: 0, window: Vec::new(), window_at: 0 })
    }

    /// Goes to a position at which a batch begins.
    pub(super) fn seek(&mut self, position: u64) {
        self.position = position;
    }

    /// Where the batch that comes next begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The bytes that no batch has been made of.
    fn remaining(&self) -> u64 {
        self.len.saturating_sub(self.position)
    }

    /// The batch that comes next. Nothing at the end of the file. `Err` tells why the bytes are no batch, so that
    /// nobody knows where the next one begins.
    pub(super) fn next(&mut self) -> Result<Option<Result<StoredBatch<'_>, String>>, Stop> {
        let remaining = self.remaining();
        if remaining == 0 {
            return Ok(None);
        }
        let head = self.read(remaining.min(MAGIC_PREFIX_BYTES as u64) as usize)?;
        let size = match batch_size(head, usize::MAX) {
            Ok(Some(size)) if size as u64 <= remaining => size,
            Ok(Some(size)) => return Ok(Some(Err(format!("the batch of {size} bytes ends after the file")))),
            Ok(None) => return Ok(Some(Err("too short for a batch".to_owned()))),
            Err(error) => return Ok(Some(Err(error.to_string()))),
        };
        self.read(size)?;
        let at = (self.position - self.window_at) as usize;
        self.position += size as u64;
        Ok(Some(StoredBatch::new(&self.window[at..at + size]).map_err(|error| error.to_string())))
    }

    /// `count` bytes at the position, which are there.
    fn read(&mut self, count: usize) -> Result<&[u8], Stop> {
        let inside = self.position.checked_sub(self.window_at).map(|at| at as usize);
        let at = match inside {
            Some(at) if at + count <= self.window.len() => at,
            _ => {
                let window = (WINDOW_BYTES.max(count) as u64).min(self.remaining()) as usize;
                self.window.clear();
                self.window.resize(window, 0);
                self.window_at = self.position;
                self.file.read_exact_at(&mut self.window, self.position)?;
                0
            }
        };
        Ok(&self.window[at..at + count])
    }
}

/// What a walk over a file has seen.
#[derive(Default)]
struct Seen {
    last_offset: Option<Offset>,
    gaps: u64,
    batches: u64,
}

/// Shows a segment.
pub(super) fn dump_segment(
    disk: &Disk,
    path: &Path,
    base: Offset,
    depth: Depth,
    report: &mut Report,
) -> Dumped {
    report.note(format!("Log starting offset: {base}"))?;
    let mut seen = Seen { last_offset: Some(Offset(base.get() - 1)), ..Seen::default() };
    walk(disk, path, depth, report, &mut seen, |_| Ok(()))?;
    if seen.gaps > 0 {
        let gaps = seen.gaps;
        report.note(format!(
            "Offsets are missing at {gaps} places, as compaction and transactions leave them."
        ))?;
    }
    Ok(())
}

/// Shows a snapshot of the metadata log.
pub(super) fn dump_snapshot(disk: &Disk, path: &Path, depth: Depth, report: &mut Report) -> Dumped {
    let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    match SnapshotFile::of_name(name) {
        Some(SnapshotFile::Whole(id) | SnapshotFile::Partial(id) | SnapshotFile::Deleted(id)) => {
            report.note(format!("Snapshot end offset: {}, epoch: {}", id.offset, id.epoch))?;
        }
        None => report.note("KRaft bootstrap snapshot")?,
    }
    let depth = match depth.decoder {
        Decoder::Auto => Depth { decoder: Decoder::Metadata, ..depth },
        _ => depth,
    };
    let mut reader = SnapshotReader::default();
    let mut seen = Seen::default();
    walk(disk, path, depth, report, &mut seen, |batch| match batch {
        StoredBatch::V2(batch) => reader.read(batch).map(drop).map_err(|error| error.to_string()),
        StoredBatch::Legacy(_) => Err("a snapshot has no batch of this format".to_owned()),
    })?;
    if let Err(error) = reader.finish() {
        report.problem(error.to_string())?;
    }
    Ok(())
}

/// Shows every batch. `check` sees each as it is; its first complaint is reported and it is not asked again.
fn walk(
    disk: &Disk,
    path: &Path,
    depth: Depth,
    report: &mut Report,
    seen: &mut Seen,
    mut check: impl FnMut(&StoredBatch<'_>) -> Result<(), String>,
) -> Dumped {
    let mut file = BatchFile::open(disk, path)?;
    let decoder = depth.decoder.for_file(path);
    let mut complained = false;
    loop {
        let position = file.position();
        let remaining = file.remaining();
        let batch = match file.next()? {
            None => return Ok(()),
            Some(Ok(batch)) => batch,
            Some(Err(reason)) => {
                report.problem(format!(
                    "{remaining} bytes from position {position} on are no batch: {reason}"
                ))?;
                return Ok(());
            }
        };
        report.entry("batch", batch_fields(&batch, position))?;
        let sound = batch.verify_crc();
        if let Err(error) = &sound {
            report.problem(format!("batch at position {position}: {error}"))?;
        } else if let Err(complaint) = if complained { Ok(()) } else { check(&batch) } {
            complained = true;
            report.problem(format!("batch at position {position}: {complaint}"))?;
        }
        if sound.is_ok() {
            note_offsets(&batch, position, seen, report)?;
            if depth.deep {
                dump_records(&batch, decoder, report)?;
            } else if let Err(error) = check_records(&batch) {
                report.problem(format!("batch at position {position}: {error}"))?;
            }
        }
    }
}

fn note_offsets(batch: &StoredBatch<'_>, position: u64, seen: &mut Seen, report: &mut Report) -> Dumped {
    let first = batch.base_offset(DECOMPRESSED_BYTES_MAX).unwrap_or(batch.last_offset());
    if let Some(last) = seen.last_offset {
        if first <= last {
            report.problem(format!("batch at position {position}: offset {first} follows {last}"))?;
        }
        seen.gaps += u64::from(first.get() > last.get().saturating_add(1));
    }
    seen.last_offset = Some(batch.last_offset());
    seen.batches += 1;
    Ok(())
}

fn timestamp_field(kind: TimestampType) -> &'static str {
    match kind {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

fn timestamp_type(batch: &StoredBatch<'_>) -> TimestampType {
    match batch {
        StoredBatch::V2(batch) => batch.timestamp_type(),
        StoredBatch::Legacy(batch) => batch.timestamp_type(),
    }
}

/// What `kafka-dump-log` shows of a batch, under its names.
fn batch_fields(batch: &StoredBatch<'_>, position: u64) -> Value {
    let mut fields = Map::new();
    let mut add = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    let (compression, crc) = match batch {
        StoredBatch::V2(batch) => {
            add("baseOffset", json!(batch.base_offset().get()));
            add("lastOffset", json!(batch.last_offset().get()));
            add("count", json!(batch.count()));
            add("baseSequence", json!(batch.base_sequence()));
            add("lastSequence", json!(batch.last_sequence()));
            add("producerId", json!(batch.producer_id().0));
            add("producerEpoch", json!(batch.producer_epoch().0));
            add("partitionLeaderEpoch", json!(batch.partition_leader_epoch().get()));
            add("isTransactional", json!(batch.is_transactional()));
            add("isControl", json!(batch.is_control()));
            add("deleteHorizonMs", json!(batch.delete_horizon().map(Timestamp::get)));
            (batch.compression(), batch.crc())
        }
        StoredBatch::Legacy(batch) => {
            add("offset", json!(batch.last_offset().get()));
            (batch.compression(), batch.crc())
        }
    };
    add("position", json!(position));
    add(timestamp_field(timestamp_type(batch)), json!(batch.max_timestamp().get()));
    add("size", json!(batch.size()));
    add("magic", json!(batch.magic()));
    add("compresscodec", compression.map_or_else(|error| json!(error.to_string()), |it| json!(it.name())));
    add("crc", json!(crc));
    add("isvalid", json!(batch.verify_crc().is_ok()));
    Value::Object(fields)
}

/// Whether the records can be read, without showing them.
fn check_records(batch: &StoredBatch<'_>) -> Result<(), RecordsError> {
    match batch {
        StoredBatch::V2(batch) => {
            let records = batch.decompressed(DECOMPRESSED_BYTES_MAX)?;
            batch.records(&records).try_for_each(|record| record.map(drop))
        }
        StoredBatch::Legacy(batch) => batch.records(DECOMPRESSED_BYTES_MAX).map(drop),
    }
}

fn dump_records(batch: &StoredBatch<'_>, decoder: Decoder, report: &mut Report) -> Dumped {
    let dumped = match batch {
        StoredBatch::V2(batch) => dump_v2(batch, decoder, report),
        StoredBatch::Legacy(batch) => dump_legacy(batch, report),
    };
    match dumped {
        Err(Stop::Unreadable(reason)) => {
            Ok(report.problem(format!("batch with last offset {}: {reason}", batch.last_offset()))?)
        }
        other => other,
    }
}

fn unreadable(error: RecordsError) -> Stop {
    Stop::Unreadable(error.to_string())
}

fn dump_v2(batch: &BatchView<'_>, decoder: Decoder, report: &mut Report) -> Dumped {
    let records = batch.decompressed(DECOMPRESSED_BYTES_MAX).map_err(unreadable)?;
    let size = |bytes: Option<&[u8]>| bytes.map_or(-1, |it| i64::try_from(it.len()).unwrap_or(i64::MAX));
    for record in batch.records(&records) {
        let record = record.map_err(unreadable)?;
        let mut fields = Map::new();
        let mut add = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        add("offset", json!(record.offset.get()));
        add(timestamp_field(batch.timestamp_type()), json!(record.timestamp.get()));
        add("keySize", json!(size(record.key)));
        add("valueSize", json!(size(record.value)));
        add("sequence", json!(record.sequence));
        let names: Vec<Value> = record.headers.map(|it| text(it.key)).collect();
        add("headerKeys", Value::Array(names));
        if !record.headers.is_empty() {
            let header = |name: &[u8], value: Option<&[u8]>| json!([text(name), value.map(text)]);
            add("headers", record.headers.map(|it| header(it.key, it.value)).collect());
        }
        let (said, problem) = if batch.is_control() {
            match payload::control(record.key, record.value) {
                Ok(said) => (said, None),
                Err(problem) => (Map::new(), Some(problem)),
            }
        } else {
            decoder.read(record.key.map(Bytes::copy_from_slice), record.value.map(Bytes::copy_from_slice))
        };
        fields.extend(said);
        report.nested("record", Value::Object(fields))?;
        if let Some(problem) = problem {
            report.problem(format!("record at offset {}: {problem}", record.offset))?;
        }
    }
    Ok(())
}

fn dump_legacy(batch: &LegacyBatchView<'_>, report: &mut Report) -> Dumped {
    for record in batch.records(DECOMPRESSED_BYTES_MAX).map_err(unreadable)? {
        let size = |bytes: &Option<Bytes>| bytes.as_ref().map_or(-1, |it| it.len() as i64);
        let mut fields = Map::new();
        let mut add = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        add("offset", json!(record.offset.get()));
        add(timestamp_field(batch.timestamp_type()), json!(record.timestamp.get()));
        add("keySize", json!(size(&record.key)));
        add("valueSize", json!(size(&record.value)));
        fields.extend(Decoder::None.read(record.key, record.value).0);
        report.nested("record", Value::Object(fields))?;
    }
    Ok(())
}
