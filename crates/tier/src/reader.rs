//! Records and times found in tiered segments (`RemoteLogManager.read`, `lookupTimestamp`).

use std::sync::Arc;

use bytes::Bytes;
use ottla_base::{LeaderEpoch, Offset, Timestamp};
use ottla_record::{DecompressionLimits, MAGIC_PREFIX_BYTES, RecordStream, StoredBatch, batch_size};
use ottla_storage::TimestampedOffset;

use crate::chunks::Chunks;
use crate::error::TierError;
use crate::index_cache::IndexCache;
use crate::segment::SegmentMetadata;

/// What to read.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The first offset wanted; the first batch may begin before it.
    pub from: Offset,
    /// No batch that begins here or later is given.
    pub end: Offset,
    /// The most bytes wanted.
    pub max_bytes: u32,
    /// Whether the first batch is given, whole, even if it has more.
    pub at_least_one: bool,
}

/// What was read: whole batches.
#[derive(Debug, Clone)]
pub struct RemoteRead {
    /// The batches.
    pub records: Bytes,
    /// The offset after the last of them; `from` if there is none.
    pub end: Offset,
}

/// Reads tiered segments.
pub struct RemoteReader {
    indexes: Arc<IndexCache>,
    chunks: Arc<Chunks>,
}

/// Bytes that are read at a time while a batch is looked for.
const WINDOW_BYTES: u32 = 64 << 10;

impl RemoteReader {
    /// A reader with these indexes and chunks.
    pub fn new(indexes: Arc<IndexCache>, chunks: Arc<Chunks>) -> RemoteReader {
        RemoteReader { indexes, chunks }
    }

    /// The indexes it reads by.
    pub fn indexes(&self) -> &Arc<IndexCache> {
        &self.indexes
    }

    /// The chunks it reads from.
    pub fn chunks(&self) -> &Arc<Chunks> {
        &self.chunks
    }

    /// Reads batches of one segment. Nothing is there if the segment has nothing from the offset on.
    pub async fn read(
        &self,
        segment: &Arc<SegmentMetadata>,
        wanted: Wanted,
    ) -> Result<RemoteRead, TierError> {
        let nothing = RemoteRead { records: Bytes::new(), end: wanted.from };
        let position = self.indexes.position(segment, wanted.from).await?;
        let Some(begin) = self.first_batch(segment, position, wanted.from).await? else { return Ok(nothing) };
        let left = segment.size - begin;
        let mut bytes = self.chunks.read(segment, begin..begin + wanted.max_bytes.min(left)).await?;
        let first = self.size_at(segment, begin).await?;
        if first > bytes.len() as u32 {
            if !wanted.at_least_one {
                return Ok(nothing);
            }
            bytes = self.chunks.read(segment, begin..begin + first).await?;
        }
        let (mut len, mut end) = (0, wanted.from);
        while let Some(size) = whole_batch(segment, begin + len, &bytes[len as usize..])? {
            let at = &bytes[len as usize..(len + size) as usize];
            let batch = StoredBatch::new(at).and_then(|it| it.verify_crc().map(|()| it));
            let batch = batch.map_err(|error| corrupt(segment, begin + len, error.to_string()))?;
            let base = batch.base_offset(DecompressionLimits::default().batch_bytes);
            let base = base.map_err(|error| corrupt(segment, begin + len, error.to_string()))?;
            if batch.last_offset() >= segment.end || base < end.min(segment.start) {
                return Err(corrupt(segment, begin + len, "a batch of other offsets".to_owned()));
            }
            // A reader may only see batches that end below its limit; limits lie between batches.
            if base >= wanted.end {
                break;
            }
            len += size;
            end = batch.last_offset().after(1);
        }
        Ok(RemoteRead { records: bytes.slice(..len as usize), end })
    }

    /// The position of the first batch from a position on, where one begins, that has `from` or a later offset.
    async fn first_batch(
        &self,
        segment: &Arc<SegmentMetadata>,
        mut position: u32,
        from: Offset,
    ) -> Result<Option<u32>, TierError> {
        while position < segment.size {
            let end = position.saturating_add(WINDOW_BYTES).min(segment.size);
            let mut bytes = self.chunks.read(segment, position..end).await?;
            let first = self.size_at(segment, position).await?;
            if first > bytes.len() as u32 {
                bytes = self.chunks.read(segment, position..position + first).await?;
            }
            let mut at = 0;
            while let Some(size) = whole_batch(segment, position + at, &bytes[at as usize..])? {
                let batch = StoredBatch::new(&bytes[at as usize..(at + size) as usize]);
                let batch = batch.map_err(|error| corrupt(segment, position + at, error.to_string()))?;
                if batch.last_offset() >= from {
                    return Ok(Some(position + at));
                }
                at += size;
            }
            position += at;
        }
        Ok(None)
    }

    /// The size of the batch that begins at a position.
    async fn size_at(&self, segment: &Arc<SegmentMetadata>, position: u32) -> Result<u32, TierError> {
        let end = position.saturating_add(MAGIC_PREFIX_BYTES as u32).min(segment.size);
        let prefix = self.chunks.read(segment, position..end).await?;
        let left = (segment.size - position) as usize;
        match batch_size(&prefix, left) {
            Ok(Some(size)) => Ok(size as u32),
            Ok(None) => {
                Err(corrupt(segment, position, "the segment ends in the middle of a batch".to_owned()))
            }
            Err(error) => Err(corrupt(segment, position, error.to_string())),
        }
    }

    /// The first record of a segment at or after `start` whose timestamp is `timestamp` or higher.
    pub async fn find_timestamp(
        &self,
        segment: &Arc<SegmentMetadata>,
        timestamp: Timestamp,
        start: Offset,
    ) -> Result<Option<TimestampedOffset>, TierError> {
        let before = self.indexes.before_timestamp(segment, timestamp).await?;
        let mut position = self.indexes.position(segment, before.max(start)).await?;
        while position < segment.size {
            let size = self.size_at(segment, position).await?;
            let bytes = self.chunks.read(segment, position..position + size).await?;
            let found = search(&bytes, timestamp, start);
            let found = found.map_err(|error| corrupt(segment, position, error.to_string()))?;
            if found.is_some() {
                return Ok(found);
            }
            position += size;
        }
        Ok(None)
    }
}

/// The first record of a batch at or after an offset and a time.
fn search(
    bytes: &[u8],
    timestamp: Timestamp,
    start: Offset,
) -> Result<Option<TimestampedOffset>, ottla_record::RecordsError> {
    let stored = StoredBatch::new(bytes)?;
    if stored.max_timestamp() < timestamp || stored.last_offset() < start {
        return Ok(None);
    }
    stored.verify_crc()?;
    let limits = DecompressionLimits::default();
    let hit = |at: Timestamp, offset: Offset| at >= timestamp && offset >= start;
    match stored {
        StoredBatch::V2(batch) => {
            let epoch = Some(batch.header().partition_leader_epoch()).filter(|it| *it > LeaderEpoch::NONE);
            let mut records = RecordStream::new(&batch, limits)?;
            while let Some(it) = records.next_outline()? {
                if hit(it.timestamp, it.offset) {
                    return Ok(Some(TimestampedOffset {
                        offset: it.offset,
                        timestamp: it.timestamp,
                        leader_epoch: epoch,
                    }));
                }
            }
            Ok(None)
        }
        StoredBatch::Legacy(batch) => {
            let records = batch.records(limits.batch_bytes)?;
            let found = records.into_iter().find(|it| hit(it.timestamp, it.offset));
            Ok(found.map(|it| TimestampedOffset {
                offset: it.offset,
                timestamp: it.timestamp,
                leader_epoch: None,
            }))
        }
    }
}

/// The size of the batch that `bytes` begins with, if it holds all of it.
fn whole_batch(segment: &SegmentMetadata, position: u32, bytes: &[u8]) -> Result<Option<u32>, TierError> {
    let left = segment.size.saturating_sub(position) as usize;
    let size = batch_size(bytes, left).map_err(|error| corrupt(segment, position, error.to_string()))?;
    Ok(size.filter(|it| *it <= bytes.len()).map(|it| it as u32))
}

fn corrupt(segment: &SegmentMetadata, position: u32, reason: String) -> TierError {
    let object = format!("segment {} of {}", segment.start, segment.id.partition);
    TierError::Corrupt { object, position: u64::from(position), reason }
}

#[cfg(test)]
mod tests;
