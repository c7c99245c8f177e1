//! The records of a v2 batch (`org.apache.kafka.common.record.internal.DefaultRecord`).

use ottla_base::{Offset, Timestamp};

use crate::error::RecordsError;
use crate::header::{BatchHeader, NO_SEQUENCE, TimestampType, sequence_after};
use crate::varint::{put_varint, put_varlong, take_varint, take_varlong, varint_len, varlong_len};

/// One record, its parts borrowed from the decompressed batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it is in the log.
    pub offset: Offset,
    /// When it was made, or appended.
    pub timestamp: Timestamp,
    /// Its sequence, or [`NO_SEQUENCE`].
    pub sequence: i32,
    /// Unused by Kafka; zero.
    pub attributes: i8,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; a key without value is a tombstone on a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: Headers<'a>,
    /// The encoded size, the length before it included.
    pub size: usize,
}

/// A record's headers, already known to be well formed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    count: i32,
    bytes: &'a [u8],
}

/// A header of a record: a name, which should be UTF-8, and a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name.
    pub key: &'a [u8],
    /// The value.
    pub value: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.count == 0 {
            return None;
        }
        self.count -= 1;
        take_header(&mut self.bytes).ok()
    }
}

impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// What turns the deltas in a record into absolute numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base {
    offset: i64,
    timestamp: i64,
    log_append_time: Option<i64>,
    sequence: i32,
}

impl Base {
    pub(crate) fn of(header: &BatchHeader) -> Base {
        let appended = header.timestamp_type() == TimestampType::LogAppendTime;
        Base {
            offset: header.base_offset().0,
            timestamp: header.base_timestamp().0,
            log_append_time: appended.then(|| header.max_timestamp().0),
            sequence: header.base_sequence(),
        }
    }

    // Sums wrap as they do in Java: a hostile delta gives a strange number, never a panic.
    pub(crate) fn offset(&self, delta: i32) -> Offset {
        Offset(self.offset.wrapping_add(i64::from(delta)))
    }

    pub(crate) fn timestamp(&self, delta: i64) -> Timestamp {
        Timestamp(self.log_append_time.unwrap_or_else(|| self.timestamp.wrapping_add(delta)))
    }

    fn sequence(&self, delta: i32) -> i32 {
        if self.sequence >= 0 { sequence_after(self.sequence, delta) } else { NO_SEQUENCE }
    }
}

/// The records in a decompressed batch. Ends after the number of records that the header announces, or after
/// the first error; bytes after the last record are an error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
    remaining: i32,
    base: Base,
}

impl<'a> Records<'a> {
    /// The records in `decompressed`, which are those of the batch with `header`.
    pub fn new(header: &BatchHeader, decompressed: &'a [u8]) -> Records<'a> {
        Records { bytes: decompressed, remaining: header.count(), base: Base::of(header) }
    }

    fn take(&mut self) -> Result<Record<'a>, RecordsError> {
        if self.remaining < 0 {
            let count = self.remaining;
            return Err(RecordsError::invalid(format!(
                "Found invalid record count {count} in magic v2 batch"
            )));
        }
        let record = take_record(&mut self.bytes, &self.base)?;
        if self.remaining == 1 && !self.bytes.is_empty() {
            return Err(records_remain());
        }
        Ok(record)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        let record = self.take();
        self.remaining = if record.is_ok() { self.remaining - 1 } else { 0 };
        Some(record)
    }
}

pub(crate) fn records_remain() -> RecordsError {
    RecordsError::invalid("Incorrect declared batch size, records still remaining in file")
}

pub(crate) fn malformed() -> RecordsError {
    RecordsError::invalid("Found invalid record structure")
}

/// Takes the record that begins `bytes`.
pub(crate) fn take_record<'a>(bytes: &mut &'a [u8], base: &Base) -> Result<Record<'a>, RecordsError> {
    let whole = bytes.len();
    let body_size = take_varint(bytes)?;
    let Some((body, rest)) = usize::try_from(body_size).ok().and_then(|it| bytes.split_at_checked(it)) else {
        return Err(RecordsError::invalid(format!(
            "Invalid record size: expected {body_size} bytes in record payload, but instead the buffer has \
             only {} remaining bytes.",
            bytes.len()
        )));
    };
    *bytes = rest;
    let size = whole - rest.len();
    take_body(body, size, base)
}

/// Reads a record from its `body`, which is all after the length. `size` counts the length in.
pub(crate) fn take_body<'a>(body: &'a [u8], size: usize, base: &Base) -> Result<Record<'a>, RecordsError> {
    let mut rest = body;
    let (attributes, after) = rest.split_first().ok_or_else(malformed)?;
    rest = after;
    let timestamp = take_varlong(&mut rest)?;
    let offset = take_varint(&mut rest)?;
    let key = take_bytes(&mut rest)?;
    let value = take_bytes(&mut rest)?;
    let count = take_varint(&mut rest)?;
    if count < 0 {
        return Err(RecordsError::invalid(format!("Found invalid number of record headers {count}")));
    }
    if count as usize > rest.len() {
        return Err(RecordsError::invalid(format!(
            "Found invalid number of record headers. {count} is larger than the remaining size of the buffer"
        )));
    }
    let headers = Headers { count, bytes: rest };
    for _ in 0..count {
        take_header(&mut rest)?;
    }
    if !rest.is_empty() {
        return Err(RecordsError::invalid(format!(
            "Invalid record size: expected to read {} bytes in record payload, but instead read {}",
            body.len(),
            body.len() - rest.len()
        )));
    }
    Ok(Record {
        offset: base.offset(offset),
        timestamp: base.timestamp(timestamp),
        sequence: base.sequence(offset),
        attributes: *attributes as i8,
        key,
        value,
        headers,
        size,
    })
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, RecordsError> {
    let length = take_varint(bytes)?;
    let Ok(length) = usize::try_from(length) else { return Ok(None) };
    let (taken, rest) = bytes.split_at_checked(length).ok_or_else(malformed)?;
    *bytes = rest;
    Ok(Some(taken))
}

fn take_header<'a>(bytes: &mut &'a [u8]) -> Result<Header<'a>, RecordsError> {
    let length = take_varint(bytes)?;
    let Ok(length) = usize::try_from(length) else {
        return Err(RecordsError::invalid(format!("Invalid negative header key size {length}")));
    };
    let (key, rest) = bytes.split_at_checked(length).ok_or_else(malformed)?;
    *bytes = rest;
    Ok(Header { key, value: take_bytes(bytes)? })
}

/// Appends a record to `out`. Returns the encoded size.
pub(crate) fn put_record<'h>(
    out: &mut Vec<u8>,
    offset_delta: i32,
    timestamp_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = Header<'h>> + Clone,
) -> usize {
    let start = out.len();
    let body = body_len(offset_delta, timestamp_delta, key, value, headers.clone());
    put_varint(out, length_of(body));
    out.push(0);
    put_varlong(out, timestamp_delta);
    put_varint(out, offset_delta);
    put_bytes(out, key);
    put_bytes(out, value);
    put_varint(out, length_of(headers.clone().count()));
    for header in headers {
        put_bytes(out, Some(header.key));
        put_bytes(out, header.value);
    }
    out.len() - start
}

/// Appends a record up to its key, of which `rest_bytes` follow.
pub(crate) fn put_record_start(
    out: &mut Vec<u8>,
    offset_delta: i32,
    timestamp_delta: i64,
    rest_bytes: usize,
) {
    let body = 1 + varlong_len(timestamp_delta) + varint_len(offset_delta) + rest_bytes;
    put_varint(out, length_of(body));
    out.push(0);
    put_varlong(out, timestamp_delta);
    put_varint(out, offset_delta);
}

/// The size of a record, the length before it included.
pub(crate) fn record_len<'h>(
    offset_delta: i32,
    timestamp_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = Header<'h>> + Clone,
) -> usize {
    let body = body_len(offset_delta, timestamp_delta, key, value, headers);
    varint_len(length_of(body)) + body
}

fn body_len<'h>(
    offset_delta: i32,
    timestamp_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = Header<'h>> + Clone,
) -> usize {
    1 + varlong_len(timestamp_delta)
        + varint_len(offset_delta)
        + bytes_len(key)
        + bytes_len(value)
        + varint_len(length_of(headers.clone().count()))
        + headers.map(|it| bytes_len(Some(it.key)) + bytes_len(it.value)).sum::<usize>()
}

fn bytes_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |it| varint_len(length_of(it.len())) + it.len())
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, length_of(bytes.len()));
            out.extend_from_slice(bytes);
        }
    }
}

fn length_of(length: usize) -> i32 {
    assert!(length <= i32::MAX as usize, "a record is at most 2 GiB");
    length as i32
}
