//! A machine from its log.

use std::time::Duration;

use bytes::Bytes;
use ottla_base::{Moment, Offset};
use ottla_host::Host;
use ottla_machine::Machine;
use ottla_record::{BatchView, Batches, StoredBatch};
use ottla_storage::producer_state::marker_of;
use ottla_storage::{FirstBatch, Log, ReadLimit, ReadRequest};

use super::kind::{Kind, Line, MarkerKind};

/// How often a long load says how far it is.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// The most that one batch may decompress to.
const MAX_BATCH_BYTES: u64 = 256 << 20;

/// What was loaded.
pub(super) struct Loaded<K: Kind> {
    /// The machine with everything that the log says.
    pub(super) machine: K::Machine,
    /// The offset after the last record.
    pub(super) end: Offset,
    /// How many records were taken in.
    pub(super) records: u64,
}

/// Why a log makes no machine.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("{0}")]
    Read(String),
    #[error("the record at offset {offset}: {reason}")]
    Corrupt { offset: Offset, reason: String },
    #[error("the partition was given up meanwhile")]
    GivenUp,
}

/// Replays the whole log, a piece at a time, for as long as it is `wanted`. Blocks.
pub(super) fn load<K: Kind>(
    host: &Host,
    log: &Log,
    piece_bytes: u32,
    wanted: impl Fn() -> bool,
) -> Result<Loaded<K>, LoadError> {
    let mut loaded = Loaded { machine: K::Machine::default(), end: log.view().log_start, records: 0 };
    let mut reported = host.now();
    loop {
        let view = log.view();
        if loaded.end >= view.end {
            return Ok(loaded);
        }
        if !wanted() {
            return Err(LoadError::GivenUp);
        }
        let bytes = read(log, loaded.end, piece_bytes)?;
        let before = loaded.end;
        take_in(&mut loaded, &bytes)?;
        if loaded.end == before {
            return Err(LoadError::Corrupt { offset: before, reason: "the log ends too early".to_owned() });
        }
        report::<K>(host, log, &mut reported, loaded.end, view.end);
    }
}

fn read(log: &Log, from: Offset, max_bytes: u32) -> Result<Bytes, LoadError> {
    let request = ReadRequest { from, max_bytes, limit: ReadLimit::End, first_batch: FirstBatch::Whole };
    let answer = log.read(&log.view(), &request).map_err(|error| LoadError::Read(error.to_string()))?;
    let mut bytes = vec![0; answer.bytes as usize];
    let mut rest = bytes.as_mut_slice();
    for range in &answer.ranges {
        let (piece, after) = rest.split_at_mut(range.len as usize);
        let read = range.file.read_exact_at(piece, range.position);
        read.map_err(|error| LoadError::Read(error.to_string()))?;
        rest = after;
    }
    Ok(bytes.into())
}

fn take_in<K: Kind>(loaded: &mut Loaded<K>, bytes: &[u8]) -> Result<(), LoadError> {
    for batch in Batches::new(bytes) {
        let at = loaded.end;
        let corrupt = |reason: String| LoadError::Corrupt { offset: at, reason };
        let batch = batch.map_err(|error| corrupt(error.to_string()))?;
        batch.verify_crc().map_err(|error| corrupt(error.to_string()))?;
        let last = batch.last_offset();
        if last < loaded.end {
            continue;
        }
        match &batch {
            StoredBatch::V2(batch) => take_in_batch(loaded, batch, at),
            StoredBatch::Legacy(batch) => {
                let records = batch.records(MAX_BATCH_BYTES).map_err(|error| corrupt(error.to_string()))?;
                records.into_iter().try_for_each(|record| {
                    let Some(key) = record.key else { return Ok(()) };
                    take_in_line(loaded, Line::Plain { key, value: record.value }, at)
                })
            }
        }?;
        loaded.end = last.after(1);
    }
    Ok(())
}

fn take_in_batch<K: Kind>(
    loaded: &mut Loaded<K>,
    batch: &BatchView<'_>,
    at: Offset,
) -> Result<(), LoadError> {
    let corrupt = |reason: String| LoadError::Corrupt { offset: at, reason };
    let header = batch.header();
    let producer = (header.producer_id(), header.producer_epoch());
    if header.is_control() {
        let marker = marker_of(header, batch.payload()).map_err(|error| corrupt(error.to_string()))?;
        let Some(marker) = marker.map(|it| it.marker) else { return Ok(()) };
        let kind = if marker.committed { MarkerKind::Commit } else { MarkerKind::Abort };
        let coordinator_epoch = marker.coordinator_epoch;
        return take_in_line(loaded, Line::Marker { producer, coordinator_epoch, marker: kind }, at);
    }
    let records = batch.decompressed(MAX_BATCH_BYTES).map_err(|error| corrupt(error.to_string()))?;
    for record in batch.records(&records) {
        let record = record.map_err(|error| corrupt(error.to_string()))?;
        // Without a key it says nothing about anything.
        let Some(key) = record.key else { continue };
        let (key, value) = (Bytes::copy_from_slice(key), record.value.map(Bytes::copy_from_slice));
        let line = match header.is_transactional() {
            true => Line::Transactional { producer, key, value },
            false => Line::Plain { key, value },
        };
        take_in_line(loaded, line, record.offset)?;
    }
    Ok(())
}

fn take_in_line<K: Kind>(loaded: &mut Loaded<K>, line: Line, at: Offset) -> Result<(), LoadError> {
    let record =
        K::read(at, line).map_err(|error| LoadError::Corrupt { offset: at, reason: error.to_string() })?;
    match record {
        Some(record) => {
            loaded.machine.apply(&record);
            loaded.records += 1;
        }
        None => {
            tracing::debug!(coordinator = K::NAME, offset = %at, "a record of an unknown type is passed over")
        }
    }
    Ok(())
}

fn report<K: Kind>(host: &Host, log: &Log, reported: &mut Moment, at: Offset, end: Offset) {
    let now = host.now();
    if now.since(*reported) >= REPORT_INTERVAL {
        *reported = now;
        tracing::info!(coordinator = K::NAME, partition = %log.partition(), %at, %end, "still loading");
    }
}
