//! Pieces of tiered segments in memory, the next one fetched ahead, a bounded number of bytes.
//!
//! A segment is cut into chunks of one size. Readers of the same place share a chunk, also while it is on its way; a
//! reader that goes through a segment finds the next chunk there or coming.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ottla_base::Uuid;
use ottla_host::Host;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::error::TierError;
use crate::segment::SegmentMetadata;
use crate::store::Store;

/// The size of a chunk.
pub(crate) const CHUNK_BYTES: u32 = 2 << 20;

/// A segment's chunk.
type Key = (Uuid, u32);

struct Chunk {
    bytes: OnceCell<Bytes>,
    /// When it was last wanted, as a count of wants.
    wanted: AtomicU64,
}

/// The chunks in memory.
pub struct Chunks {
    host: Host,
    store: Store,
    limit_bytes: u64,
    chunks: Mutex<BTreeMap<Key, Arc<Chunk>>>,
    wants: AtomicU64,
}

impl Chunks {
    /// No chunks yet; of loaded ones no more than `limit_bytes` are kept, but always the newest.
    pub fn new(host: &Host, store: Store, limit_bytes: u64) -> Arc<Chunks> {
        Arc::new(Chunks {
            host: host.clone(),
            store,
            limit_bytes,
            chunks: Mutex::default(),
            wants: AtomicU64::new(0),
        })
    }

    /// Bytes of a segment's log, and the next chunk on its way. `positions` must be within the segment.
    pub(crate) async fn read(
        self: &Arc<Self>,
        segment: &Arc<SegmentMetadata>,
        positions: Range<u32>,
    ) -> Result<Bytes, TierError> {
        let first = positions.start / CHUNK_BYTES;
        let last = positions.end.saturating_sub(1).max(positions.start) / CHUNK_BYTES;
        self.fetch_ahead(segment, last + 1);
        // It grows with what arrives, not with what a length in a batch announces.
        let mut content = Vec::new();
        for number in first..=last {
            let chunk = self.chunk(segment, number).await?;
            let begin = number * CHUNK_BYTES;
            let from = positions.start.saturating_sub(begin) as usize;
            let to = ((positions.end - begin) as usize).min(chunk.len());
            if first == last {
                return Ok(chunk.slice(from.min(to)..to));
            }
            content.extend_from_slice(&chunk[from.min(to)..to]);
        }
        Ok(content.into())
    }

    async fn chunk(&self, segment: &Arc<SegmentMetadata>, number: u32) -> Result<Bytes, TierError> {
        let key = (segment.id.id, number);
        let chunk = {
            let mut chunks = self.chunks.lock();
            let made = || Arc::new(Chunk { bytes: OnceCell::new(), wanted: AtomicU64::new(0) });
            chunks.entry(key).or_insert_with(made).clone()
        };
        chunk.wanted.store(self.wants.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let begin = number.saturating_mul(CHUNK_BYTES);
        let end = begin.saturating_add(CHUNK_BYTES).min(segment.size);
        let is_new = chunk.bytes.get().is_none();
        match chunk.bytes.get_or_try_init(|| self.store.log(segment, begin..end)).await {
            Ok(bytes) => {
                let bytes = bytes.clone();
                if is_new {
                    self.evict(key);
                }
                Ok(bytes)
            }
            Err(error) => {
                self.chunks.lock().remove(&key);
                Err(error)
            }
        }
    }

    /// Starts fetching a chunk unless it is there, on its way, or after the end.
    fn fetch_ahead(self: &Arc<Self>, segment: &Arc<SegmentMetadata>, number: u32) {
        let after_end = number.checked_mul(CHUNK_BYTES).is_none_or(|begin| begin >= segment.size);
        if after_end || self.chunks.lock().contains_key(&(segment.id.id, number)) {
            return;
        }
        let (chunks, segment) = (self.clone(), segment.clone());
        self.host.spawn(async move {
            if let Err(error) = chunks.chunk(&segment, number).await {
                // Who needs it asks again, and is told then.
                tracing::debug!(partition = %segment.id.partition, %error, "a chunk could not be fetched ahead");
            }
        });
    }

    fn evict(&self, but: Key) {
        let mut chunks = self.chunks.lock();
        let size = |it: &Chunk| it.bytes.get().map(|it| it.len() as u64);
        let mut bytes: u64 = chunks.values().filter_map(|it| size(it)).sum();
        while bytes > self.limit_bytes {
            let loaded = chunks.iter().filter(|(key, it)| **key != but && size(it).is_some());
            let oldest = loaded.min_by_key(|(_, it)| it.wanted.load(Ordering::Relaxed)).map(|it| *it.0);
            let Some(gone) = oldest.and_then(|key| chunks.remove(&key)) else { return };
            bytes -= size(&gone).unwrap_or(0);
        }
    }

    /// Forgets a segment's chunks.
    pub fn remove(&self, id: Uuid) {
        self.chunks.lock().retain(|key, _| key.0 != id);
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> u64 {
        self.chunks.lock().values().filter_map(|it| it.bytes.get()).map(|it| it.len() as u64).sum()
    }
}
