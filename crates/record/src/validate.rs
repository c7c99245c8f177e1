//! What a leader checks before it appends, and what it makes of a batch
//! (`org.apache.kafka.storage.internals.log.LogValidator`, `UnifiedLog.analyzeAndValidateRecords`,
//! `ProduceRequest.validateRecords`).
//!
//! Departures from Kafka, all of them stricter towards hostile input:
//! - a payload that cannot be decompressed is `INVALID_RECORD`, not `UNKNOWN_SERVER_ERROR`; a compression that
//!   does not exist is `UNSUPPORTED_COMPRESSION_TYPE`;
//! - record lengths that do not match the records are refused in compressed batches too;
//! - offsets that are not consecutive are repaired in uncompressed batches too;
//! - the whole of a batch, not only a record, has a limit for its decompressed size.

use std::fmt;

use bytes::Bytes;
use ottla_base::{ErrorCode, LeaderEpoch, Offset, Timestamp};

use crate::batch::{BatchView, Batches, StoredBatch};
use crate::builder::{BatchBuilder, BatchOptions};
use crate::compression::{Compression, CompressionLevel};
use crate::error::RecordsError;
use crate::header::{BatchHeader, HEADER_BYTES, MAGIC_V2, TimestampType};
use crate::records::Records;
use crate::stream::{DecompressionLimits, RecordOutline, RecordStream};

/// The first version of Produce that may carry Zstandard (KIP-110).
const FIRST_PRODUCE_VERSION_WITH_ZSTD: i16 = 7;
/// How many record errors the message of a refusal shows.
const SHOWN_RECORD_ERRORS: usize = 3;
/// How many record errors a refusal has at most: a batch may decompress to hundreds of millions of records.
const MAX_RECORD_ERRORS: usize = 10_000;

/// Who appends to a leader's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client, through Produce.
    Client,
    /// A coordinator of this broker.
    Coordinator,
    /// The leader of the quorum.
    QuorumLeader,
}

/// How a topic treats timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampRules {
    /// `message.timestamp.type`.
    pub kind: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub after_max_ms: i64,
}

/// What a batch is held against.
#[derive(Clone, Copy)]
pub struct ValidationRules<'a> {
    /// How the partition is called in messages: topic, dash, number.
    pub partition: &'a dyn fmt::Display,
    /// Who appends.
    pub origin: Origin,
    /// The time of the append.
    pub now: Timestamp,
    /// Whether every record needs a key.
    pub compacted: bool,
    /// How timestamps are treated.
    pub timestamps: TimestampRules,
    /// `max.message.bytes`, unless the batch may be of any size.
    pub max_batch_bytes: Option<usize>,
    /// How much may come out of a compressed batch.
    pub decompression: DecompressionLimits,
    /// The compression the topic demands; none leaves the producer's.
    pub compression: Option<CompressionLevel>,
    /// The epoch in which the leader appends.
    pub leader_epoch: LeaderEpoch,
}

/// A batch that may be appended. Written as header, then body.
#[derive(Debug, Clone)]
pub struct AcceptedBatch {
    /// The header. The log gives it its place with [`BatchHeader::place`].
    pub header: BatchHeader,
    /// What follows the header.
    pub body: Bytes,
    /// The time of the append, if the timestamps of the topic are the broker's.
    pub log_append_time: Option<Timestamp>,
    /// Whether the batch was built anew: compressed otherwise, or given consecutive offsets.
    pub rebuilt: bool,
}

impl AcceptedBatch {
    /// The size of the whole batch.
    pub fn size(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// The highest timestamp.
    pub fn max_timestamp(&self) -> Timestamp {
        self.header.max_timestamp()
    }
}

/// Why a batch is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The answer.
    pub code: ErrorCode,
    /// What is wrong. Produce tells it to the client only if there are `record_errors`; otherwise it is for
    /// the log.
    pub message: String,
    /// Which records are refused, and why.
    pub record_errors: Vec<RecordRefusal>,
    /// What the metrics count it as.
    pub cause: RefusalCause,
}

/// What a refusal is counted as (the broker's topic metrics).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RefusalCause {
    /// As nothing of its own.
    #[default]
    Other,
    /// `NoKeyCompactedTopicRecordsPerSec`.
    Keyless {
        /// How many records had no key.
        records: usize,
    },
    /// `InvalidMagicNumberRecordsPerSec`.
    Magic,
    /// `InvalidMessageCrcRecordsPerSec`.
    Checksum,
    /// `InvalidOffsetOrSequenceRecordsPerSec`.
    OffsetOrSequence,
    /// `BytesRejectedPerSec`.
    TooLarge,
}

/// Why a record is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRefusal {
    /// The record's place in the batch, from zero.
    pub batch_index: i32,
    /// What is wrong with it.
    pub message: String,
}

impl Refusal {
    /// A refusal of the whole batch.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), record_errors: Vec::new(), cause: RefusalCause::Other }
    }

    fn counted_as(self, cause: RefusalCause) -> Refusal {
        Refusal { cause, ..self }
    }

    fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(ErrorCode::InvalidRecord, message)
    }
}

impl From<RecordsError> for Refusal {
    fn from(error: RecordsError) -> Self {
        let cause = match error {
            RecordsError::Checksum { .. } => RefusalCause::Checksum,
            _ => RefusalCause::Other,
        };
        Refusal::new(error.error_code(), error.to_string()).counted_as(cause)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// Checks what a partition of a Produce request may carry at all: exactly one v2 batch, and Zstandard only
/// since version 7.
pub fn check_produce(records: &[u8], version: i16) -> Result<(), Refusal> {
    let mut batches = Batches::new(records);
    let Some(first) = batches.next().transpose()? else {
        return Err(Refusal::invalid(format!(
            "Produce requests with version {version} must have at least one record batch per partition"
        )));
    };
    let StoredBatch::V2(batch) = first else {
        return Err(Refusal::invalid(format!(
            "Produce requests with version {version} are only allowed to contain record batches with magic \
             version {MAGIC_V2}"
        )));
    };
    if version < FIRST_PRODUCE_VERSION_WITH_ZSTD && batch.compression()? == Compression::Zstd {
        return Err(Refusal::new(
            ErrorCode::UnsupportedCompressionType,
            format!("Produce requests with version {version} are not allowed to use ZStandard compression"),
        ));
    }
    if batches.next().transpose()?.is_some() {
        return Err(Refusal::invalid(format!(
            "Produce requests with version {version} are only allowed to contain exactly one record batch per \
             partition"
        )));
    }
    Ok(())
}

/// Checks the one batch in `records` and makes it what the topic demands. Nothing depends on where the batch
/// will be, so this needs no lock.
pub fn validate(records: &Bytes, rules: &ValidationRules<'_>) -> Result<AcceptedBatch, Refusal> {
    let batch = only_batch(records)?;
    check_batch(&batch, rules)?;
    let compression = batch.compression()?;
    let keeps_compression = match rules.compression {
        None => true,
        // Control records are compressed only if they were written so.
        Some(_) if compression == Compression::None && batch.is_control() => true,
        Some(demanded) => demanded.compression == compression,
    };
    let found = check_records(&batch, compression, rules)?;
    if keeps_compression && found.consecutive {
        return Ok(as_it_is(&batch, records, found.max_timestamp, rules));
    }
    let target = match rules.compression {
        Some(demanded) if !keeps_compression => demanded,
        _ => CompressionLevel::from(compression),
    };
    rebuild(&batch, target, rules)
}

fn only_batch(records: &[u8]) -> Result<BatchView<'_>, Refusal> {
    let mut batches = Batches::new(records);
    let Some(first) = batches.next().transpose()? else {
        return Err(Refusal::invalid("Record batch has no batches at all"));
    };
    let StoredBatch::V2(batch) = first else {
        return Err(Refusal::invalid(format!(
            "Only record batches with magic version {MAGIC_V2} are appended"
        )));
    };
    if batches.next().transpose()?.is_some() {
        return Err(Refusal::invalid("Compressed outer record has more than one batch"));
    }
    Ok(batch)
}

/// All that can be said without looking at the records.
fn check_batch(batch: &BatchView<'_>, rules: &ValidationRules<'_>) -> Result<(), Refusal> {
    let partition = rules.partition;
    if rules.origin == Origin::QuorumLeader && batch.partition_leader_epoch() != rules.leader_epoch {
        return Err(Refusal::invalid(format!(
            "Append from Raft leader did not set the batch epoch correctly, expected {} but the batch has {}",
            rules.leader_epoch,
            batch.partition_leader_epoch()
        )));
    }
    if rules.origin == Origin::Client && batch.base_offset() != Offset::ZERO {
        return Err(Refusal::invalid(format!(
            "The baseOffset of the record batch in the append to {partition} should be 0, but it is {}",
            batch.base_offset()
        )));
    }
    check_size(batch.size(), rules)?;
    if batch.verify_crc().is_err() {
        return Err(Refusal::new(
            ErrorCode::CorruptMessage,
            format!("Record is corrupt (stored crc = {}) in topic partition {partition}.", batch.crc()),
        )
        .counted_as(RefusalCause::Checksum));
    }
    if rules.origin == Origin::Client { check_client_batch(batch, partition) } else { Ok(()) }
}

fn check_size(size: usize, rules: &ValidationRules<'_>) -> Result<(), Refusal> {
    match rules.max_batch_bytes {
        Some(max) if size > max => Err(Refusal::new(
            ErrorCode::MessageTooLarge,
            format!(
                "The record batch size in the append to {} is {size} bytes which exceeds the maximum configured \
                 value of {max}).",
                rules.partition
            ),
        )
        .counted_as(RefusalCause::TooLarge)),
        _ => Ok(()),
    }
}

fn check_client_batch(batch: &BatchView<'_>, partition: &dyn fmt::Display) -> Result<(), Refusal> {
    let refuse = |message| Err(Refusal::invalid(message).counted_as(RefusalCause::OffsetOrSequence));
    let (base, last, count) = (batch.base_offset(), batch.last_offset(), i64::from(batch.count()));
    let count_of_offsets = last.0.wrapping_sub(base.0).wrapping_add(1);
    if count_of_offsets <= 0 {
        return refuse(format!(
            "Batch has an invalid offset range: [{base}, {last}] in topic partition {partition}"
        ));
    }
    if count <= 0 {
        return refuse(format!(
            "Invalid reported count for record batch: {count} in topic partition {partition}"
        ));
    }
    if count_of_offsets != count {
        return refuse(format!(
            "Inconsistent batch offset range [{base}, {last}] and count of records {count} in topic partition \
             {partition}"
        ));
    }
    if batch.is_control() {
        return refuse(format!(
            "Clients are not allowed to write control records in topic partition {partition}"
        ));
    }
    if batch.has_producer_id() && batch.base_sequence() < 0 {
        return refuse(format!(
            "Invalid sequence number {} in record batch with producerId {} in topic partition {partition}",
            batch.base_sequence(),
            batch.producer_id()
        ));
    }
    Ok(())
}

/// What the records of a batch are like.
struct Found {
    max_timestamp: Timestamp,
    consecutive: bool,
}

struct RecordChecks<'a, 'r> {
    header: &'a BatchHeader,
    rules: &'a ValidationRules<'r>,
    index: i32,
    found: Found,
    errors: Vec<RecordRefusal>,
    refused: usize,
    keyless: usize,
    timestamp_refused: bool,
}

fn check_records(
    batch: &BatchView<'_>,
    compression: Compression,
    rules: &ValidationRules<'_>,
) -> Result<Found, Refusal> {
    let mut checks = RecordChecks {
        header: batch,
        rules,
        index: 0,
        found: Found { max_timestamp: Timestamp::NONE, consecutive: true },
        errors: Vec::new(),
        refused: 0,
        keyless: 0,
        timestamp_refused: false,
    };
    if compression == Compression::None {
        for record in Records::new(batch, batch.payload()) {
            checks.check(&RecordOutline::from(&record?));
        }
    } else {
        let mut stream = RecordStream::new(batch, rules.decompression)?;
        while let Some(outline) = stream.next_outline()? {
            checks.check(&outline);
        }
    }
    checks.finish()
}

impl RecordChecks<'_, '_> {
    fn check(&mut self, record: &RecordOutline) {
        if self.rules.compacted && !record.has_key {
            let partition = self.rules.partition;
            self.keyless += 1;
            self.refuse(format_args!(
                "Compacted topic cannot accept message without key in topic partition {partition}"
            ));
        } else {
            self.check_timestamp(record);
        }
        let expected = self.header.base_offset().0.wrapping_add(i64::from(self.index));
        self.found.consecutive &= record.offset.0 == expected;
        self.found.max_timestamp = self.found.max_timestamp.max(record.timestamp);
        self.index += 1;
    }

    fn refuse(&mut self, message: fmt::Arguments<'_>) {
        self.refused += 1;
        if self.errors.len() < MAX_RECORD_ERRORS {
            self.errors.push(RecordRefusal { batch_index: self.index, message: message.to_string() });
        }
    }

    fn check_timestamp(&mut self, record: &RecordOutline) {
        let TimestampRules { kind, before_max_ms, after_max_ms } = self.rules.timestamps;
        let (now, offset, timestamp) = (self.rules.now.0, record.offset, record.timestamp.0);
        if kind == TimestampType::CreateTime && record.timestamp != Timestamp::NONE {
            let age = now.wrapping_sub(timestamp);
            if age > before_max_ms || age.wrapping_neg() > after_max_ms {
                let (first, last) = (now.wrapping_sub(before_max_ms), now.wrapping_add(after_max_ms));
                self.timestamp_refused = true;
                self.refuse(format_args!(
                    "Timestamp {timestamp} of message with offset {offset} is out of range. The timestamp \
                     should be within [{first}, {last}]"
                ));
            }
        } else if self.header.timestamp_type() == TimestampType::LogAppendTime {
            self.timestamp_refused = true;
            self.refuse(format_args!(
                "Invalid timestamp type in message DefaultRecord(offset={offset}, timestamp={timestamp}). \
                 Producer should not set timestamp type to LogAppendTime."
            ));
        }
    }

    fn finish(self) -> Result<Found, Refusal> {
        if self.errors.is_empty() {
            return Ok(self.found);
        }
        let cause = match self.keyless {
            0 => RefusalCause::Other,
            records => RefusalCause::Keyless { records },
        };
        if self.timestamp_refused {
            return Err(Refusal {
                cause,
                code: ErrorCode::InvalidTimestamp,
                message: "One or more records have been rejected due to invalid timestamp".to_owned(),
                record_errors: self.errors,
            });
        }
        let shown: Vec<String> =
            self.errors.iter().take(SHOWN_RECORD_ERRORS).map(RecordRefusal::to_string).collect();
        Err(Refusal {
            cause,
            code: ErrorCode::InvalidRecord,
            message: format!(
                "One or more records have been rejected due to {} record errors in total, and only showing the \
                 first three errors at most: [{}]",
                self.refused,
                shown.join(", ")
            ),
            record_errors: self.errors,
        })
    }
}

impl fmt::Display for RecordRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordError(batchIndex={}, message='{}')", self.batch_index, self.message)
    }
}

fn as_it_is(
    batch: &BatchView<'_>,
    records: &Bytes,
    max_timestamp: Timestamp,
    rules: &ValidationRules<'_>,
) -> AcceptedBatch {
    let kind = rules.timestamps.kind;
    let log_append_time = (kind == TimestampType::LogAppendTime).then_some(rules.now);
    let mut header = *batch.header();
    header.set_max_timestamp(kind, log_append_time.unwrap_or(max_timestamp), batch.payload());
    AcceptedBatch { header, body: records.slice_ref(batch.payload()), log_append_time, rebuilt: false }
}

/// Writes the records anew, with consecutive offsets and compressed as demanded. Only what was compressed is
/// held, and after the record that makes it too large the batch is refused.
fn rebuild(
    batch: &BatchView<'_>,
    compression: CompressionLevel,
    rules: &ValidationRules<'_>,
) -> Result<AcceptedBatch, Refusal> {
    let log_append_time = (rules.timestamps.kind == TimestampType::LogAppendTime).then_some(rules.now);
    let base_offset = batch.base_offset();
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset,
        compression,
        log_append_time,
        producer_id: batch.producer_id(),
        producer_epoch: batch.producer_epoch(),
        base_sequence: batch.base_sequence(),
        transactional: batch.is_transactional(),
        control: batch.is_control(),
        partition_leader_epoch: rules.leader_epoch,
        delete_horizon: None,
    });
    // The limit of a record is for what was compressed.
    let limits = match batch.compression()? {
        Compression::None => DecompressionLimits::default(),
        _ => rules.decompression,
    };
    let mut stream = RecordStream::new(batch, limits)?;
    let mut offset = base_offset;
    while stream.copy_next(&mut builder, offset)? {
        offset = offset.after(1);
        check_size(builder.size(), rules)?;
    }
    let mut bytes = builder.build();
    check_size(bytes.len(), rules)?;
    let body = bytes.split_off(HEADER_BYTES);
    let header = bytes.first_chunk::<HEADER_BYTES>().copied();
    let header = header.map(BatchHeader::from_bytes).unwrap_or(*batch.header());
    Ok(AcceptedBatch { header, body, log_append_time, rebuilt: true })
}
