//! Formats v0 and v1, as old brokers left them on disks. They are read, never written
//! (`org.apache.kafka.common.record.internal.LegacyRecord`, `AbstractLegacyRecordBatch`).

use bytes::Bytes;
use ottla_base::{Offset, Timestamp};

use crate::compression::{Compression, decompress_legacy};
use crate::crc::crc32;
use crate::error::RecordsError;
use crate::header::{LENGTH_PREFIX_BYTES, MAGIC_AT, TimestampType};

/// The least a record's length field can say: checksum, magic, attributes, key and value lengths.
pub(crate) const MIN_LEGACY_RECORD_BYTES: i32 = 14;

const CRC_AT: usize = LENGTH_PREFIX_BYTES;
const ATTRIBUTES_AT: usize = MAGIC_AT + 1;
const TIMESTAMP_AT: usize = ATTRIBUTES_AT + 1;
const KEY_AT_V0: usize = ATTRIBUTES_AT + 1;
const KEY_AT_V1: usize = TIMESTAMP_AT + 8;
const COMPRESSION_BITS: u8 = 0x07;
const LOG_APPEND_TIME_BIT: u8 = 0x08;

/// One entry of a message set: a record, or a wrapper whose value is a compressed message set.
#[derive(Debug, Clone, Copy)]
pub struct LegacyBatchView<'a> {
    bytes: &'a [u8],
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

/// A record of format v0 or v1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyRecord {
    /// Where it is in the log.
    pub offset: Offset,
    /// When it was made or appended; [`Timestamp::NONE`] in format v0.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
}

impl<'a> LegacyBatchView<'a> {
    /// Takes the entry that is exactly `bytes`. Its checksum is not looked at.
    pub fn new(bytes: &'a [u8]) -> Result<LegacyBatchView<'a>, RecordsError> {
        let malformed = || RecordsError::corrupt("A record of an old format is malformed");
        let length = bytes.get(8..LENGTH_PREFIX_BYTES).and_then(|it| it.first_chunk::<4>());
        let length = i32::from_be_bytes(*length.ok_or_else(malformed)?);
        if usize::try_from(length).ok().map(|it| it + LENGTH_PREFIX_BYTES) != Some(bytes.len()) {
            return Err(malformed());
        }
        let key_at = match bytes.get(MAGIC_AT) {
            Some(0) => KEY_AT_V0,
            Some(1) => KEY_AT_V1,
            _ => return Err(malformed()),
        };
        let mut rest = bytes.get(key_at..).ok_or_else(malformed)?;
        let key = take_sized(&mut rest).ok_or_else(malformed)?;
        let value = take_sized(&mut rest).ok_or_else(malformed)?;
        Ok(LegacyBatchView { bytes, key, value })
    }

    /// The whole entry.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The format: 0 or 1.
    pub fn magic(&self) -> i8 {
        self.bytes[MAGIC_AT] as i8
    }

    /// The stored checksum.
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(field(self.bytes, CRC_AT))
    }

    /// The offset of the record, or of the last record in a wrapper.
    pub fn last_offset(&self) -> Offset {
        Offset(i64::from_be_bytes(field(self.bytes, 0)))
    }

    /// The offset of the record, or of the first in a wrapper, which is decompressed for it to at most
    /// `limit_bytes`.
    pub fn base_offset(&self, limit_bytes: u64) -> Result<Offset, RecordsError> {
        if self.compression()? == Compression::None {
            return Ok(self.last_offset());
        }
        let records = self.records(limit_bytes)?;
        Ok(records.first().map_or(self.last_offset(), |it| it.offset))
    }

    /// The timestamp of the record, or the highest in a wrapper; [`Timestamp::NONE`] in format v0.
    pub fn max_timestamp(&self) -> Timestamp {
        match self.magic() {
            0 => Timestamp::NONE,
            _ => Timestamp(i64::from_be_bytes(field(self.bytes, TIMESTAMP_AT))),
        }
    }

    /// Who set the timestamp.
    pub fn timestamp_type(&self) -> TimestampType {
        match self.magic() {
            1 if self.bytes[ATTRIBUTES_AT] & LOG_APPEND_TIME_BIT != 0 => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        }
    }

    /// How the records in the value are compressed; without compression the entry is itself the record.
    pub fn compression(&self) -> Result<Compression, RecordsError> {
        let id = self.bytes[ATTRIBUTES_AT] & COMPRESSION_BITS;
        Compression::from_id(id).ok_or(RecordsError::UnknownCompression(id))
    }

    /// The record's key; none in a wrapper.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The record's value, or the compressed records of a wrapper.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// Compares the stored checksum with the bytes.
    pub fn verify_crc(&self) -> Result<(), RecordsError> {
        let computed = crc32(&self.bytes[MAGIC_AT..]);
        let stored = self.crc();
        if stored == computed { Ok(()) } else { Err(RecordsError::Checksum { stored, computed }) }
    }

    /// The record, or those in a wrapper, which is decompressed to at most `limit_bytes`. Offsets are
    /// absolute.
    pub fn records(&self, limit_bytes: u64) -> Result<Vec<LegacyRecord>, RecordsError> {
        let compression = self.compression()?;
        if compression == Compression::None {
            return Ok(vec![LegacyRecord {
                offset: self.last_offset(),
                timestamp: self.max_timestamp(),
                key: self.key.map(Bytes::copy_from_slice),
                value: self.value.map(Bytes::copy_from_slice),
            }]);
        }
        let magic = self.magic();
        if compression == Compression::Zstd {
            return Err(RecordsError::invalid(format!(
                "Invalid wrapper compressionType found in legacy deep record iterator {magic}"
            )));
        }
        let Some(value) = self.value else {
            return Err(RecordsError::invalid(format!(
                "Found invalid compressed record set with null value (magic = {magic})"
            )));
        };
        let inner = Bytes::from(decompress_legacy(compression, magic, value, limit_bytes)?);
        let mut records = self.inner_records(&inner)?;
        self.make_offsets_absolute(&mut records)?;
        Ok(records)
    }

    fn inner_records(&self, inner: &Bytes) -> Result<Vec<LegacyRecord>, RecordsError> {
        let appended = self.timestamp_type() == TimestampType::LogAppendTime;
        let mut records = Vec::new();
        let mut position = 0;
        while let Some(length) = inner.get(position + 8..position + LENGTH_PREFIX_BYTES) {
            let length = i32::from_be_bytes(field(length, 0));
            if length < MIN_LEGACY_RECORD_BYTES {
                return Err(RecordsError::corrupt(format!(
                    "Record size is less than the minimum record overhead ({MIN_LEGACY_RECORD_BYTES})"
                )));
            }
            let end = position + LENGTH_PREFIX_BYTES + length as usize;
            let Some(bytes) = inner.get(position..end) else { break };
            let entry = LegacyBatchView::new(bytes)?;
            if entry.compression()? != Compression::None {
                return Err(RecordsError::invalid("Inner messages must not be compressed"));
            }
            let timestamp =
                if appended && entry.magic() == 1 { self.max_timestamp() } else { entry.max_timestamp() };
            records.push(LegacyRecord {
                offset: entry.last_offset(),
                timestamp,
                key: entry.key.map(|it| inner.slice_ref(it)),
                value: entry.value.map(|it| inner.slice_ref(it)),
            });
            position = end;
        }
        Ok(records)
    }

    /// In a v1 wrapper the offsets count from the first record, and the wrapper has the last one's offset.
    fn make_offsets_absolute(&self, records: &mut [LegacyRecord]) -> Result<(), RecordsError> {
        let Some(last) = records.last().map(|it| it.offset.0) else {
            return Err(RecordsError::invalid("Found invalid compressed record set with no inner records"));
        };
        let wrapper = self.last_offset().0;
        // Some versions of librdkafka sent a wrapper offset of zero.
        if self.magic() == 0 || wrapper == 0 {
            return Ok(());
        }
        if wrapper < last {
            return Err(RecordsError::invalid(format!(
                "Found invalid wrapper offset in compressed v1 message set, wrapper offset '{wrapper}' is less \
                 than the last inner message offset '{last}' and it is not zero."
            )));
        }
        for record in records {
            record.offset = Offset(record.offset.0.wrapping_add(wrapper.wrapping_sub(last)));
        }
        Ok(())
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

fn take_sized<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
        *bytes = rest;
        return Some(None);
    };
    let (taken, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(Some(taken))
}
