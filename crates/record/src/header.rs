//! The 61-byte header of a v2 batch: its fields, and the changes a log makes to it
//! (`org.apache.kafka.common.record.internal.DefaultRecordBatch`).

use ottla_base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::compression::Compression;
use crate::crc::crc32c_of_two;
use crate::error::RecordsError;

/// The bytes before the records of a v2 batch.
pub const HEADER_BYTES: usize = 61;
/// The bytes before what a batch's length field counts: base offset and the length itself.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// The first bytes of any batch, up to and with its magic: enough to know its size and format.
pub const MAGIC_PREFIX_BYTES: usize = 17;
/// The magic of the format that is written.
pub const MAGIC_V2: i8 = 2;
/// "No sequence": the batch was not written by an idempotent producer.
pub const NO_SEQUENCE: i32 = -1;

const LENGTH_AT: usize = 8;
const LEADER_EPOCH_AT: usize = 12;
pub(crate) const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
/// Where the part of a batch that its checksum covers begins.
pub(crate) const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;
const COUNT_AT: usize = 57;

const COMPRESSION_BITS: u8 = 0x07;
const LOG_APPEND_TIME_BIT: u8 = 0x08;
const TRANSACTIONAL_BIT: u8 = 0x10;
const CONTROL_BIT: u8 = 0x20;
const DELETE_HORIZON_BIT: u8 = 0x40;

/// Who sets the timestamps of a topic's records (`message.timestamp.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The producer, per record.
    #[default]
    CreateTime,
    /// The broker, per batch.
    LogAppendTime,
}

/// A copy of a batch's header. Everything a log needs of a batch, and what it changes when the batch gets
/// its place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader([u8; HEADER_BYTES]);

/// What a header says, for writing one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeaderFields {
    pub(crate) base_offset: Offset,
    pub(crate) partition_leader_epoch: LeaderEpoch,
    pub(crate) compression: Compression,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) transactional: bool,
    pub(crate) control: bool,
    pub(crate) delete_horizon: bool,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: Timestamp,
    pub(crate) max_timestamp: Timestamp,
    pub(crate) producer_id: ProducerId,
    pub(crate) producer_epoch: ProducerEpoch,
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
}

impl BatchHeader {
    /// Takes a header's bytes as they are. [`BatchView`](crate::BatchView) checks them.
    pub const fn from_bytes(bytes: [u8; HEADER_BYTES]) -> BatchHeader {
        BatchHeader(bytes)
    }

    /// The header of a batch whose compressed records are `payload`.
    pub(crate) fn write(fields: &HeaderFields, payload: &[u8]) -> BatchHeader {
        let mut header = BatchHeader([0; HEADER_BYTES]);
        let mut attributes = fields.compression.id();
        for (set, bit) in [
            (fields.timestamp_type == TimestampType::LogAppendTime, LOG_APPEND_TIME_BIT),
            (fields.transactional, TRANSACTIONAL_BIT),
            (fields.control, CONTROL_BIT),
            (fields.delete_horizon, DELETE_HORIZON_BIT),
        ] {
            if set {
                attributes |= bit;
            }
        }
        let length = HEADER_BYTES - LENGTH_PREFIX_BYTES + payload.len();
        assert!(length <= i32::MAX as usize, "a batch is at most 2 GiB");
        header.put(0, fields.base_offset.0.to_be_bytes());
        header.put(LENGTH_AT, (length as i32).to_be_bytes());
        header.put(LEADER_EPOCH_AT, fields.partition_leader_epoch.0.to_be_bytes());
        header.put(MAGIC_AT, MAGIC_V2.to_be_bytes());
        header.put(ATTRIBUTES_AT, i16::from(attributes).to_be_bytes());
        header.put(LAST_OFFSET_DELTA_AT, fields.last_offset_delta.to_be_bytes());
        header.put(BASE_TIMESTAMP_AT, fields.base_timestamp.0.to_be_bytes());
        header.put(MAX_TIMESTAMP_AT, fields.max_timestamp.0.to_be_bytes());
        header.put(PRODUCER_ID_AT, fields.producer_id.0.to_be_bytes());
        header.put(PRODUCER_EPOCH_AT, fields.producer_epoch.0.to_be_bytes());
        header.put(BASE_SEQUENCE_AT, fields.base_sequence.to_be_bytes());
        header.put(COUNT_AT, fields.count.to_be_bytes());
        header.seal(payload);
        header
    }

    fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.0[at..at + N]);
        field
    }

    fn put<const N: usize>(&mut self, at: usize, field: [u8; N]) {
        self.0[at..at + N].copy_from_slice(&field);
    }

    fn seal(&mut self, payload: &[u8]) {
        let crc = self.computed_crc(payload);
        self.put(CRC_AT, crc.to_be_bytes());
    }

    fn attribute_bits(&self) -> u8 {
        // Kafka uses the low byte only.
        self.0[ATTRIBUTES_AT + 1]
    }

    /// The header's bytes.
    pub fn as_bytes(&self) -> &[u8; HEADER_BYTES] {
        &self.0
    }

    /// The offset of the first record the batch had when it was written.
    pub fn base_offset(&self) -> Offset {
        Offset(i64::from_be_bytes(self.get(0)))
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset().0.wrapping_add(i64::from(self.last_offset_delta())))
    }

    /// The offset after the last record.
    pub fn end_offset(&self) -> Offset {
        Offset(self.last_offset().0.wrapping_add(1))
    }

    /// The size of the whole batch, header and all; zero if the length field is negative.
    pub fn size(&self) -> usize {
        let length = i32::from_be_bytes(self.get(LENGTH_AT));
        usize::try_from(length).map_or(0, |it| it + LENGTH_PREFIX_BYTES)
    }

    /// The leader epoch in which the batch was appended.
    pub fn partition_leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(i32::from_be_bytes(self.get(LEADER_EPOCH_AT)))
    }

    /// The format.
    pub fn magic(&self) -> i8 {
        self.0[MAGIC_AT] as i8
    }

    /// The stored checksum.
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.get(CRC_AT))
    }

    /// The attributes as they are stored.
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.get(ATTRIBUTES_AT))
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Result<Compression, RecordsError> {
        let id = self.attribute_bits() & COMPRESSION_BITS;
        Compression::from_id(id).ok_or(RecordsError::UnknownCompression(id))
    }

    /// Who set the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attribute_bits() & LOG_APPEND_TIME_BIT == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attribute_bits() & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch has control records, which consumers do not see.
    pub fn is_control(&self) -> bool {
        self.attribute_bits() & CONTROL_BIT != 0
    }

    /// When compaction may remove the tombstones and markers in the batch, if it has set that.
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        (self.attribute_bits() & DELETE_HORIZON_BIT != 0).then(|| self.base_timestamp())
    }

    /// The last record's offset, relative to the base offset.
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.get(LAST_OFFSET_DELTA_AT))
    }

    /// The timestamp to which those of the records are relative, or the delete horizon.
    pub fn base_timestamp(&self) -> Timestamp {
        Timestamp(i64::from_be_bytes(self.get(BASE_TIMESTAMP_AT)))
    }

    /// The highest timestamp in the batch, or the time of the append.
    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp(i64::from_be_bytes(self.get(MAX_TIMESTAMP_AT)))
    }

    /// The idempotent producer.
    pub fn producer_id(&self) -> ProducerId {
        ProducerId(i64::from_be_bytes(self.get(PRODUCER_ID_AT)))
    }

    /// Whether an idempotent producer wrote the batch.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id() > ProducerId::NONE
    }

    /// The idempotent producer's epoch.
    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(i16::from_be_bytes(self.get(PRODUCER_EPOCH_AT)))
    }

    /// The sequence of the first record.
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.get(BASE_SEQUENCE_AT))
    }

    /// The sequence of the last record.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence() {
            NO_SEQUENCE => NO_SEQUENCE,
            base => sequence_after(base, self.last_offset_delta()),
        }
    }

    /// How many records the batch has; compaction may leave none.
    pub fn count(&self) -> i32 {
        i32::from_be_bytes(self.get(COUNT_AT))
    }

    /// The checksum that this header and `payload` have.
    pub fn computed_crc(&self, payload: &[u8]) -> u32 {
        crc32c_of_two(&self.0[ATTRIBUTES_AT..], payload)
    }

    /// Gives the batch its place in a log. The checksum does not cover these fields.
    pub fn place(&mut self, base_offset: Offset, partition_leader_epoch: LeaderEpoch) {
        self.put(0, base_offset.0.to_be_bytes());
        self.put(LEADER_EPOCH_AT, partition_leader_epoch.0.to_be_bytes());
    }

    /// Sets the highest timestamp and its meaning; the checksum is computed again if that changes anything.
    pub fn set_max_timestamp(&mut self, kind: TimestampType, max_timestamp: Timestamp, payload: &[u8]) {
        if self.timestamp_type() == kind && self.max_timestamp() == max_timestamp {
            return;
        }
        let known = COMPRESSION_BITS | TRANSACTIONAL_BIT | CONTROL_BIT | DELETE_HORIZON_BIT;
        let mut attributes = self.attribute_bits() & known;
        if kind == TimestampType::LogAppendTime {
            attributes |= LOG_APPEND_TIME_BIT;
        }
        self.put(ATTRIBUTES_AT, i16::from(attributes).to_be_bytes());
        self.put(MAX_TIMESTAMP_AT, max_timestamp.0.to_be_bytes());
        self.seal(payload);
    }
}

impl std::fmt::Debug for BatchHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchHeader")
            .field("base_offset", &self.base_offset())
            .field("last_offset", &self.last_offset())
            .field("size", &self.size())
            .field("partition_leader_epoch", &self.partition_leader_epoch())
            .field("magic", &self.magic())
            .field("crc", &self.crc())
            .field("attributes", &self.attributes())
            .field("base_timestamp", &self.base_timestamp())
            .field("max_timestamp", &self.max_timestamp())
            .field("producer_id", &self.producer_id())
            .field("producer_epoch", &self.producer_epoch())
            .field("base_sequence", &self.base_sequence())
            .field("count", &self.count())
            .finish()
    }
}

/// The sequence `increment` after `sequence`: after the largest number comes zero.
pub const fn sequence_after(sequence: i32, increment: i32) -> i32 {
    if sequence > i32::MAX.wrapping_sub(increment) {
        increment.wrapping_sub(i32::MAX.wrapping_sub(sequence)).wrapping_sub(1)
    } else {
        sequence.wrapping_add(increment)
    }
}

/// The sequence `decrement` before `sequence`: before zero comes the largest number.
pub const fn sequence_before(sequence: i32, decrement: i32) -> i32 {
    if sequence < decrement {
        i32::MAX.wrapping_sub(decrement.wrapping_sub(sequence)).wrapping_add(1)
    } else {
        sequence.wrapping_sub(decrement)
    }
}
