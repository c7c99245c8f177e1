//! A v2 batch as it lies in memory, and the run of batches in a buffer.

use std::borrow::Cow;
use std::ops::Deref;

use crate::compression::{Compression, decompress};
use crate::error::RecordsError;
use crate::header::{
    ATTRIBUTES_AT, BatchHeader, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC_AT, MAGIC_PREFIX_BYTES, MAGIC_V2,
};
use crate::legacy::{LegacyBatchView, MIN_LEGACY_RECORD_BYTES};
use crate::records::Records;

/// One complete v2 batch, borrowed. Dereferences to its [`BatchHeader`].
#[derive(Debug, Clone, Copy)]
pub struct BatchView<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// Takes the v2 batch that is exactly `bytes`. Its checksum is not looked at.
    pub fn new(bytes: &'a [u8]) -> Result<BatchView<'a>, RecordsError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(too_small(bytes.len()));
        };
        let header = BatchHeader::from_bytes(*header);
        if header.magic() != MAGIC_V2 {
            return Err(invalid_magic(header.magic()));
        }
        if header.size() < HEADER_BYTES {
            return Err(too_small(header.size()));
        }
        if header.size() != bytes.len() {
            let (size, have) = (header.size(), bytes.len());
            return Err(RecordsError::corrupt(format!("A batch of {size} bytes was given as {have} bytes")));
        }
        Ok(BatchView { header, bytes })
    }

    /// The header, by itself.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records, as they are compressed.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// Compares the stored checksum with the bytes.
    pub fn verify_crc(&self) -> Result<(), RecordsError> {
        let computed = crate::crc::crc32c(&self.bytes[ATTRIBUTES_AT..]);
        let stored = self.crc();
        if stored == computed { Ok(()) } else { Err(RecordsError::Checksum { stored, computed }) }
    }

    /// The records, decompressed unless they are not compressed, but never to more than `limit_bytes`.
    pub fn decompressed(&self, limit_bytes: u64) -> Result<Cow<'a, [u8]>, RecordsError> {
        match self.compression()? {
            Compression::None => Ok(Cow::Borrowed(self.payload())),
            compressed => Ok(Cow::Owned(decompress(compressed, self.payload(), limit_bytes)?)),
        }
    }

    /// The records in `decompressed`, which [`BatchView::decompressed`] gave for this batch.
    pub fn records<'b>(&self, decompressed: &'b [u8]) -> Records<'b> {
        Records::new(&self.header, decompressed)
    }
}

impl Deref for BatchView<'_> {
    type Target = BatchHeader;
    fn deref(&self) -> &BatchHeader {
        &self.header
    }
}

fn too_small(size: usize) -> RecordsError {
    RecordsError::corrupt(format!(
        "Record batch is corrupt (the size {size} is smaller than the minimum allowed overhead {HEADER_BYTES})"
    ))
}

fn invalid_magic(magic: i8) -> RecordsError {
    RecordsError::corrupt(format!("Invalid magic found in record: {magic}"))
}

/// A batch of any format that can lie on a disk.
#[derive(Debug, Clone, Copy)]
pub enum StoredBatch<'a> {
    /// Format v2, the only one that is written.
    V2(BatchView<'a>),
    /// Formats v0 and v1, from before Kafka 0.11.
    Legacy(LegacyBatchView<'a>),
}

impl<'a> StoredBatch<'a> {
    /// Takes the batch that is exactly `bytes`.
    pub fn new(bytes: &'a [u8]) -> Result<StoredBatch<'a>, RecordsError> {
        match bytes.get(MAGIC_AT).map(|it| *it as i8) {
            Some(MAGIC_V2) => BatchView::new(bytes).map(StoredBatch::V2),
            Some(0 | 1) => LegacyBatchView::new(bytes).map(StoredBatch::Legacy),
            Some(other) => Err(invalid_magic(other)),
            None => Err(too_small(bytes.len())),
        }
    }

    /// The whole batch.
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            StoredBatch::V2(batch) => batch.bytes(),
            StoredBatch::Legacy(batch) => batch.bytes(),
        }
    }

    /// The size of the whole batch.
    pub fn size(&self) -> usize {
        self.bytes().len()
    }

    /// The format.
    pub fn magic(&self) -> i8 {
        match self {
            StoredBatch::V2(batch) => batch.magic(),
            StoredBatch::Legacy(batch) => batch.magic(),
        }
    }

    /// The offset of the first record. For a compressed batch of format v0 or v1 the records must be
    /// decompressed to know it, to at most `limit_bytes`.
    pub fn base_offset(&self, limit_bytes: u64) -> Result<ottla_base::Offset, RecordsError> {
        match self {
            StoredBatch::V2(batch) => Ok(batch.base_offset()),
            StoredBatch::Legacy(batch) => batch.base_offset(limit_bytes),
        }
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> ottla_base::Offset {
        match self {
            StoredBatch::V2(batch) => batch.last_offset(),
            StoredBatch::Legacy(batch) => batch.last_offset(),
        }
    }

    /// The highest timestamp; [`Timestamp::NONE`](ottla_base::Timestamp::NONE) in format v0.
    pub fn max_timestamp(&self) -> ottla_base::Timestamp {
        match self {
            StoredBatch::V2(batch) => batch.max_timestamp(),
            StoredBatch::Legacy(batch) => batch.max_timestamp(),
        }
    }

    /// Compares the stored checksum with the bytes.
    pub fn verify_crc(&self) -> Result<(), RecordsError> {
        match self {
            StoredBatch::V2(batch) => batch.verify_crc(),
            StoredBatch::Legacy(batch) => batch.verify_crc(),
        }
    }

    /// The v2 batch, if it is one.
    pub fn v2(&self) -> Option<&BatchView<'a>> {
        match self {
            StoredBatch::V2(batch) => Some(batch),
            StoredBatch::Legacy(_) => None,
        }
    }
}

/// The size of the batch that begins with `prefix`, or nothing if `prefix` is shorter than
/// [`MAGIC_PREFIX_BYTES`]. Sizes above `limit_bytes`, sizes that no batch has and unknown formats are
/// corruption.
pub fn batch_size(prefix: &[u8], limit_bytes: usize) -> Result<Option<usize>, RecordsError> {
    let Some(prefix) = prefix.first_chunk::<LENGTH_PREFIX_BYTES>().map(|_| prefix) else {
        return Ok(None);
    };
    let [.., a, b, c, d] = prefix[..LENGTH_PREFIX_BYTES] else { return Ok(None) };
    let length = i32::from_be_bytes([a, b, c, d]);
    if length < MIN_LEGACY_RECORD_BYTES {
        return Err(RecordsError::corrupt(format!(
            "Record size {length} is less than the minimum record overhead ({MIN_LEGACY_RECORD_BYTES})"
        )));
    }
    let size = length as usize + LENGTH_PREFIX_BYTES;
    if size > limit_bytes {
        return Err(RecordsError::corrupt(format!(
            "Record size {length} exceeds the largest allowable message size ({limit_bytes})."
        )));
    }
    let Some(magic) = prefix.get(..MAGIC_PREFIX_BYTES).map(|it| it[MAGIC_AT] as i8) else {
        return Ok(None);
    };
    match magic {
        0 | 1 => Ok(Some(size)),
        MAGIC_V2 if size >= HEADER_BYTES => Ok(Some(size)),
        MAGIC_V2 => Err(too_small(size)),
        other => Err(invalid_magic(other)),
    }
}

/// The batches that follow each other in a buffer. Ends before a batch that the buffer does not hold whole,
/// and after the first error.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
    failed: bool,
}

impl<'a> Batches<'a> {
    /// The batches in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Batches<'a> {
        Batches { bytes, position: 0, failed: false }
    }

    /// Where the batch that comes next begins. After the last one, the count of bytes that were whole
    /// batches.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The bytes that no batch has been made of.
    pub fn remainder(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    fn take(&mut self) -> Result<Option<StoredBatch<'a>>, RecordsError> {
        let rest = self.remainder();
        let Some(size) = batch_size(rest, usize::MAX)? else { return Ok(None) };
        let Some(bytes) = rest.get(..size) else { return Ok(None) };
        let batch = StoredBatch::new(bytes)?;
        self.position += size;
        Ok(Some(batch))
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<StoredBatch<'a>, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let taken = self.take().transpose();
        self.failed = matches!(taken, Some(Err(_)));
        taken
    }
}
