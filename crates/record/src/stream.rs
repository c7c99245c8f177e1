//! Reading the records of a compressed batch one after the other, with only a chunk of them in memory.

use ottla_base::{Offset, Timestamp};

use crate::batch::BatchView;
use crate::builder::BatchBuilder;
use crate::compression::Decompressor;
use crate::error::RecordsError;
use crate::header::MAGIC_V2;
use crate::records::{Base, Record, malformed, records_remain, take_body};
use crate::varint::{MAX_VARLONG_BYTES, take_varint, take_varlong, varint_len};

/// How much may come out of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecompressionLimits {
    /// The most that one record may have (`max.decompressed.message.bytes`).
    pub record_bytes: i32,
    /// The most that all records of a batch may have. Kafka has no such limit: what is above takes a
    /// processor seconds and is no batch that a producer makes.
    pub batch_bytes: u64,
}

impl Default for DecompressionLimits {
    fn default() -> Self {
        DecompressionLimits { record_bytes: i32::MAX - 8, batch_bytes: i32::MAX as u64 }
    }
}

/// What is known of a record without its key, value and headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordOutline {
    /// Where it is in the log.
    pub offset: Offset,
    /// When it was made, or appended.
    pub timestamp: Timestamp,
    /// Whether it has a key.
    pub has_key: bool,
    /// Whether it has a value.
    pub has_value: bool,
    /// The encoded size, the length before it included.
    pub size: usize,
}

impl From<&Record<'_>> for RecordOutline {
    fn from(record: &Record<'_>) -> Self {
        RecordOutline {
            offset: record.offset,
            timestamp: record.timestamp,
            has_key: record.key.is_some(),
            has_value: record.value.is_some(),
            size: record.size,
        }
    }
}

/// The records of a batch, read as they are decompressed.
pub struct RecordStream<'a> {
    source: Decompressor<'a>,
    base: Base,
    remaining: i32,
    record_limit_bytes: i32,
    /// The body of one record, where a whole one is asked for.
    body: Vec<u8>,
}

impl<'a> RecordStream<'a> {
    /// The records of `batch`.
    pub fn new(batch: &BatchView<'a>, limits: DecompressionLimits) -> Result<RecordStream<'a>, RecordsError> {
        let remaining = batch.count();
        if remaining < 0 {
            return Err(RecordsError::invalid(format!(
                "Found invalid record count {remaining} in magic v{MAGIC_V2} batch"
            )));
        }
        Ok(RecordStream {
            source: Decompressor::new(batch.compression()?, batch.payload(), limits.batch_bytes),
            base: Base::of(batch),
            remaining,
            record_limit_bytes: limits.record_bytes,
            body: Vec::new(),
        })
    }

    /// The outline of the next record. After the last record there must be no more bytes.
    pub fn next_outline(&mut self) -> Result<Option<RecordOutline>, RecordsError> {
        self.next_keyed(|_| {})
    }

    /// The next record. It lives until the next one is asked for. Memory grows with the bytes that come, not
    /// with the size that the record announces.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, RecordsError> {
        if self.remaining == 0 {
            return Ok(None);
        }
        let body = self.take_body_size()?;
        self.body.clear();
        let mut left = body as usize;
        while left > 0 {
            let chunk = self.source.fill()?;
            if chunk.is_empty() {
                return Err(RecordsError::invalid(format!(
                    "Invalid record size: expected {body} bytes in record payload, but the record payload \
                     reached EOF."
                )));
            }
            let taken = chunk.len().min(left);
            self.body.extend_from_slice(&chunk[..taken]);
            self.source.consume(taken);
            left -= taken;
        }
        self.count_one()?;
        take_body(&self.body, varint_len(body) + body as usize, &self.base).map(Some)
    }

    /// The outline of the next record, whose key is shown to `see` piece by piece as it is decompressed. After the
    /// last record there must be no more bytes.
    pub fn next_keyed(&mut self, mut see: impl FnMut(&[u8])) -> Result<Option<RecordOutline>, RecordsError> {
        if self.remaining == 0 {
            return Ok(None);
        }
        if let Some((taken, record)) = whole(self.source.fill()?, self.record_limit_bytes, &self.base) {
            let outline = RecordOutline::from(&record);
            if let Some(key) = record.key {
                see(key);
            }
            self.source.consume(taken);
            self.count_one()?;
            return Ok(Some(outline));
        }
        let body = self.take_body_size()?;
        let mut left = u64::from(body as u32);
        let outline = self.take_outline(&mut left, varint_len(body) + body as usize, see)?;
        if left > 0 {
            return Err(RecordsError::invalid(format!(
                "Invalid record size: expected to read {body} bytes in record payload, but instead read {}",
                u64::from(body as u32) - left
            )));
        }
        self.count_one()?;
        Ok(Some(outline))
    }

    /// Leaves the next record out. Says whether there was one.
    pub fn skip_next(&mut self) -> Result<bool, RecordsError> {
        if self.remaining == 0 {
            return Ok(false);
        }
        let mut left = u64::from(self.take_body_size()? as u32);
        let body = left;
        self.skip(&mut left, body)?;
        self.count_one()?;
        Ok(true)
    }

    /// Copies the next record to `builder`, at `offset`, without holding all of it. The record's structure is
    /// not looked at: [`RecordStream::next_outline`] must have found it well formed before. Says whether
    /// there was one.
    pub fn copy_next(&mut self, builder: &mut BatchBuilder, offset: Offset) -> Result<bool, RecordsError> {
        if self.remaining == 0 {
            return Ok(false);
        }
        let mut left = u64::from(self.take_body_size()? as u32);
        self.skip(&mut left, 1)?;
        let timestamp = self.take_number(&mut left, take_varlong)?;
        self.take_number(&mut left, take_varint)?;
        builder.begin_record(offset, self.base.timestamp(timestamp), left as usize);
        while left > 0 {
            let chunk = self.source.fill()?;
            if chunk.is_empty() {
                return Err(malformed());
            }
            let taken = (chunk.len() as u64).min(left) as usize;
            builder.continue_record(&chunk[..taken]);
            self.source.consume(taken);
            left -= taken as u64;
        }
        self.count_one()?;
        Ok(true)
    }

    #[inline]
    fn count_one(&mut self) -> Result<(), RecordsError> {
        self.remaining -= 1;
        if self.remaining == 0 && !self.source.fill()?.is_empty() {
            return Err(records_remain());
        }
        Ok(())
    }

    fn take_body_size(&mut self) -> Result<i32, RecordsError> {
        let mut unbounded = u64::MAX;
        let size = self.take_number(&mut unbounded, take_varint)?;
        if size < 0 {
            return Err(RecordsError::invalid(format!("Invalid record size: {size} is negative.")));
        }
        if size > self.record_limit_bytes {
            return Err(RecordsError::invalid(format!(
                "Invalid record size: {size} exceeds the configured maximum record size of {}.",
                self.record_limit_bytes
            )));
        }
        Ok(size)
    }

    /// `left` counts down the bytes of the record's body.
    fn take_outline(
        &mut self,
        left: &mut u64,
        size: usize,
        see: impl FnMut(&[u8]),
    ) -> Result<RecordOutline, RecordsError> {
        self.skip(left, 1)?;
        let timestamp = self.take_number(left, take_varlong)?;
        let offset = self.take_number(left, take_varint)?;
        let has_key = match u64::try_from(self.take_number(left, take_varint)?) {
            Ok(length) => self.show(left, length, see).map(|()| true)?,
            Err(_) => false,
        };
        let has_value = self.skip_sized(left)?;
        let headers = self.take_number(left, take_varint)?;
        if headers < 0 {
            return Err(RecordsError::invalid(format!("Found invalid number of record headers {headers}")));
        }
        for _ in 0..headers {
            let length = self.take_number(left, take_varint)?;
            let length = u64::try_from(length)
                .map_err(|_| RecordsError::invalid(format!("Invalid negative header key size {length}")))?;
            self.skip(left, length)?;
            self.skip_sized(left)?;
        }
        Ok(RecordOutline {
            offset: self.base.offset(offset),
            timestamp: self.base.timestamp(timestamp),
            has_key,
            has_value,
            size,
        })
    }

    fn skip_sized(&mut self, left: &mut u64) -> Result<bool, RecordsError> {
        match u64::try_from(self.take_number(left, take_varint)?) {
            Ok(length) => self.skip(left, length).map(|()| true),
            Err(_) => Ok(false),
        }
    }

    fn skip(&mut self, left: &mut u64, count: u64) -> Result<(), RecordsError> {
        self.show(left, count, |_| {})
    }

    /// Takes `count` bytes and shows them.
    fn show(
        &mut self,
        left: &mut u64,
        mut count: u64,
        mut see: impl FnMut(&[u8]),
    ) -> Result<(), RecordsError> {
        *left = left.checked_sub(count).ok_or_else(malformed)?;
        while count > 0 {
            let chunk = self.source.fill()?;
            if chunk.is_empty() {
                return Err(RecordsError::invalid(format!(
                    "Reached end of input stream before skipping all bytes. Remaining bytes:{count}"
                )));
            }
            let taken = (chunk.len() as u64).min(count);
            see(&chunk[..taken as usize]);
            self.source.consume(taken as usize);
            count -= taken;
        }
        Ok(())
    }

    /// Takes a variable-length number, which may lie across two chunks.
    fn take_number<T>(
        &mut self,
        left: &mut u64,
        take: fn(&mut &[u8]) -> Result<T, RecordsError>,
    ) -> Result<T, RecordsError> {
        let chunk = self.source.fill()?;
        let mut rest = chunk;
        // Complete in this chunk, or surely too long?
        if rest.len() >= MAX_VARLONG_BYTES || rest.iter().any(|it| it & 0x80 == 0) {
            let number = take(&mut rest)?;
            let taken = chunk.len() - rest.len();
            self.source.consume(taken);
            *left = left.checked_sub(taken as u64).ok_or_else(malformed)?;
            return Ok(number);
        }
        let mut gathered = [0u8; MAX_VARLONG_BYTES];
        let mut length = 0;
        while length < MAX_VARLONG_BYTES {
            let Some(byte) = self.source.fill()?.first().copied() else { break };
            self.source.consume(1);
            gathered[length] = byte;
            length += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        *left = left.checked_sub(length as u64).ok_or_else(malformed)?;
        take(&mut &gathered[..length])
    }
}

/// The record that begins a chunk, and how many bytes of the chunk it takes, if all of it is there and it is well formed.
/// Most are; the others are read piece by piece, which also finds out what is wrong with them.
#[inline]
fn whole<'a>(chunk: &'a [u8], limit_bytes: i32, base: &Base) -> Option<(usize, Record<'a>)> {
    let mut rest = chunk;
    let length = take_varint(&mut rest).ok().filter(|it| *it <= limit_bytes)?;
    let body = rest.get(..usize::try_from(length).ok()?)?;
    let taken = chunk.len() - rest.len() + body.len();
    take_body(body, varint_len(length) + body.len(), base).ok().map(|record| (taken, record))
}
