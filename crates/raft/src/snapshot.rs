//! Snapshots of the metadata log: their file names, how their bytes are written and how they are checked when
//! read (KIP-630; `Snapshots`, `RecordsSnapshotWriter`, `RecordsSnapshotReader`).

use bytes::Bytes;
use ottla_base::{LeaderEpoch, Offset, Timestamp};
use ottla_record::{BatchBuilder, BatchOptions, BatchView};

use crate::control::{self, ControlRecord, MAX_BATCH_BYTES};
use crate::ids::OffsetAndEpoch;
use crate::voters::{KRaftVersion, VoterSet};

/// What a file in the directory of the metadata log is, judged by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotFile {
    /// A whole snapshot.
    Whole(OffsetAndEpoch),
    /// One that is being written, or never was completed.
    Partial(OffsetAndEpoch),
    /// One that waits to be deleted.
    Deleted(OffsetAndEpoch),
}

const SUFFIX: &str = ".checkpoint";
const PARTIAL_SUFFIX: &str = ".checkpoint.part";
const DELETED_SUFFIX: &str = ".checkpoint.deleted";

impl SnapshotFile {
    /// The name of the file.
    pub fn name(self) -> String {
        let (id, suffix) = match self {
            SnapshotFile::Whole(id) => (id, SUFFIX),
            SnapshotFile::Partial(id) => (id, PARTIAL_SUFFIX),
            SnapshotFile::Deleted(id) => (id, DELETED_SUFFIX),
        };
        format!("{:020}-{:010}{suffix}", id.offset.0, id.epoch.0)
    }

    /// What a file is; `None` if it is no snapshot. Kafka puts a random number before the suffix of partial ones.
    pub fn of_name(name: &str) -> Option<SnapshotFile> {
        let offset = name.get(..20)?.parse::<i64>().ok().filter(|offset| *offset >= 0)?;
        let epoch = name.get(20..31)?.strip_prefix('-')?.parse::<i32>().ok().filter(|epoch| *epoch >= 0)?;
        let id = OffsetAndEpoch::new(Offset(offset), LeaderEpoch(epoch));
        let rest = name.get(31..)?;
        if rest == SUFFIX {
            Some(SnapshotFile::Whole(id))
        } else if rest == DELETED_SUFFIX {
            Some(SnapshotFile::Deleted(id))
        } else if rest.ends_with(PARTIAL_SUFFIX) {
            Some(SnapshotFile::Partial(id))
        } else {
            None
        }
    }
}

/// Writes a snapshot: a header batch, batches of records, a footer batch. Offsets count from zero and mean
/// nothing; the epoch is the snapshot's.
#[derive(Debug)]
pub struct SnapshotWriter {
    epoch: LeaderEpoch,
    next: Offset,
    now: Timestamp,
    values: Vec<Bytes>,
    bytes: usize,
}

impl SnapshotWriter {
    /// Begins a snapshot at the time `now` and returns its first bytes. `voters` are written if they are in
    /// the log that the snapshot stands for, and only under a dynamic `kraft_version`.
    pub fn begin(
        id: OffsetAndEpoch,
        last_contained_log_timestamp: Timestamp,
        kraft_version: KRaftVersion,
        voters: Option<&VoterSet>,
        now: Timestamp,
    ) -> (SnapshotWriter, Bytes) {
        let mut records = vec![ControlRecord::SnapshotHeader { last_contained_log_timestamp }];
        if kraft_version.is_dynamic() {
            records.push(ControlRecord::KRaftVersion(kraft_version));
            records.extend(voters.cloned().map(ControlRecord::Voters));
        }
        let mut writer =
            SnapshotWriter { epoch: id.epoch, next: Offset(0), now, values: Vec::new(), bytes: 0 };
        let header = writer.control(&records);
        (writer, header)
    }

    /// Takes one record value; returns a batch when enough have come together.
    pub fn append(&mut self, value: Bytes) -> Option<Bytes> {
        // The most that a record adds around its value, in varints, is below 32 bytes.
        let bytes = value.len() + 32;
        let full = (self.bytes > 0 && self.bytes + bytes > MAX_BATCH_BYTES).then(|| self.drain()).flatten();
        self.values.push(value);
        self.bytes += bytes;
        full
    }

    /// Ends the snapshot; returns its last bytes.
    pub fn finish(mut self) -> Vec<Bytes> {
        let mut last: Vec<Bytes> = self.drain().into_iter().collect();
        last.push(self.control(&[ControlRecord::SnapshotFooter]));
        last
    }

    fn drain(&mut self) -> Option<Bytes> {
        self.bytes = 0;
        let values = std::mem::take(&mut self.values);
        if values.is_empty() {
            return None;
        }
        let options = BatchOptions {
            base_offset: self.next,
            partition_leader_epoch: self.epoch,
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        for value in &values {
            builder.append(self.now, None, Some(value), []);
        }
        self.next = self.next.after(values.len() as i64);
        Some(builder.build())
    }

    fn control(&mut self, records: &[ControlRecord]) -> Bytes {
        let batch = control::control_batch(self.next, self.epoch, self.now, records);
        self.next = self.next.after(records.len() as i64);
        batch
    }
}

/// Checks the batches of a snapshot as they are read: checksums, a header first, a footer last.
#[derive(Debug, Default)]
pub struct SnapshotReader {
    next: Offset,
    header: Option<Timestamp>,
    finished: bool,
}

/// Why bytes are not a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSnapshot(pub(crate) String);

impl std::fmt::Display for InvalidSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not a whole snapshot: {}", self.0)
    }
}

impl std::error::Error for InvalidSnapshot {}

/// What a batch of a snapshot holds.
#[derive(Debug, Clone, PartialEq)]
pub enum SnapshotBatch {
    /// Records of the quorum.
    Control(Vec<ControlRecord>),
    /// Values of records of the state machine.
    Values(Vec<Bytes>),
}

impl SnapshotReader {
    /// Takes the next batch.
    pub fn read(&mut self, batch: &BatchView<'_>) -> Result<SnapshotBatch, InvalidSnapshot> {
        let invalid = |why: &str| Err(InvalidSnapshot(why.to_owned()));
        if self.finished {
            return invalid("a batch follows the footer");
        }
        if batch.base_offset() != self.next || batch.end_offset() <= self.next {
            return invalid("a batch is missing");
        }
        self.next = batch.end_offset();
        batch.verify_crc().map_err(|error| InvalidSnapshot(error.to_string()))?;
        if batch.is_control() {
            let records =
                control::control_records(batch).map_err(|error| InvalidSnapshot(error.to_string()))?;
            for (_, record) in &records {
                match record {
                    ControlRecord::SnapshotHeader { .. } if self.header.is_some() => {
                        return invalid("there are two headers");
                    }
                    ControlRecord::SnapshotHeader { last_contained_log_timestamp } => {
                        self.header = Some(*last_contained_log_timestamp);
                    }
                    _ if self.header.is_none() => return invalid("the header is missing"),
                    ControlRecord::SnapshotFooter => self.finished = true,
                    _ => {}
                }
            }
            return Ok(SnapshotBatch::Control(records.into_iter().map(|(_, record)| record).collect()));
        }
        if self.header.is_none() {
            return invalid("the header is missing");
        }
        record_values(batch).map(SnapshotBatch::Values).map_err(|error| InvalidSnapshot(error.to_string()))
    }

    /// When the last record that the snapshot covers was appended.
    pub fn last_contained_log_timestamp(&self) -> Option<Timestamp> {
        self.header
    }

    /// All batches have been read: whether they are all that the writer wrote.
    pub fn finish(self) -> Result<(), InvalidSnapshot> {
        if self.finished { Ok(()) } else { Err(InvalidSnapshot("the footer is missing".to_owned())) }
    }
}

/// The values of a batch of records of the state machine, in order; none for a batch of control records.
pub fn record_values(batch: &BatchView<'_>) -> Result<Vec<Bytes>, ottla_record::RecordsError> {
    let mut values = Vec::new();
    if !batch.is_control() {
        let decompressed = batch.decompressed(MAX_BATCH_BYTES as u64)?;
        for record in batch.records(&decompressed) {
            values.push(Bytes::copy_from_slice(record?.value.unwrap_or_default()));
        }
    }
    Ok(values)
}
