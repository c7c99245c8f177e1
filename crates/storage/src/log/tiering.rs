//! Handing sealed segments over to be copied elsewhere, and knowing what was (KIP-405).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_base::{Offset, Timestamp};
use ottla_host::File;
use ottla_host::disk::Open;

use super::Log;
use crate::error::StorageError;
use crate::file_names::{FileName, SegmentFile};
use crate::index::Sync;
use crate::leader_epochs::LeaderEpochs;
use crate::producer_state::snapshot;
use crate::segment::floor;

/// The largest index or snapshot that is handed over.
const SMALL_FILE_BYTES_MAX: u64 = 512 << 20;

/// A segment to which nothing is appended any more.
#[derive(Debug, Clone)]
pub struct SealedSegment {
    /// The offset in its name.
    pub base: Offset,
    /// The offset in the name of the next one.
    pub end: Offset,
    /// The bytes of its batches.
    pub bytes: u32,
    /// The highest timestamp in it.
    pub max_timestamp: Timestamp,
    /// The leader epochs of its records.
    pub epochs: LeaderEpochs,
}

/// What a sealed segment's files hold.
#[derive(Debug)]
pub struct SegmentFiles {
    /// The file of its batches.
    pub log: Arc<File>,
    /// How many bytes of it are batches.
    pub log_bytes: u32,
    /// `.index`
    pub offset_index: Vec<u8>,
    /// `.timeindex`
    pub time_index: Vec<u8>,
    /// `.txnindex`, if a transaction was aborted in it.
    pub transaction_index: Option<Vec<u8>>,
    /// The `.snapshot` at its end.
    pub producers: Vec<u8>,
    /// `leader-epoch-checkpoint` as it was at its end.
    pub epochs: String,
}

impl Log {
    /// Everything below was copied elsewhere (`highestOffsetInRemoteStorage`, which is the last one); `None` if nothing
    /// is known to be.
    pub fn tiered_end(&self) -> Option<Offset> {
        let end = self.tiered_end.load(Ordering::Acquire);
        (end >= 0).then_some(Offset(end))
    }

    /// Takes note that everything below was copied. It never moves back.
    pub fn set_tiered_end(&self, end: Offset) {
        self.tiered_end.fetch_max(end.get(), Ordering::AcqRel);
    }

    /// Forgets what was copied: it is deleted there.
    pub fn forget_tiered(&self) {
        self.tiered_end.store(-1, Ordering::Release);
    }

    /// The sealed segments from the one that holds `from` on, that end at `below` or before. May wait for the disk.
    pub fn sealed_segments(&self, from: Offset, below: Offset) -> Result<Vec<SealedSegment>, StorageError> {
        self.check()?;
        let view = self.view();
        let first = floor(&view.segments, from).unwrap_or(0);
        let mut sealed = Vec::new();
        for at in first..view.segments.len() - 1 {
            let (segment, end) = (&view.segments[at], view.end_of(at));
            if end > below {
                break;
            }
            sealed.push(SealedSegment {
                base: segment.base(),
                end,
                bytes: segment.len(),
                max_timestamp: segment.largest(&self.files)?.0,
                epochs: self.with_epochs(|epochs| epochs.in_range(segment.base(), end)),
            });
        }
        Ok(sealed)
    }

    /// What the files of the sealed segment at `base` hold; `None` if there is no such segment any more. Blocks.
    pub fn segment_files(&self, base: Offset) -> Result<Option<SegmentFiles>, StorageError> {
        self.check()?;
        let view = self.view();
        let Ok(at) = view.segments.binary_search_by_key(&base, |it| it.base()) else { return Ok(None) };
        if at + 1 == view.segments.len() {
            return Ok(None);
        }
        let (segment, end) = (&view.segments[at], view.end_of(at));
        segment.flush_indexes(&self.files, Sync::No)?;
        // A transaction that was aborted here may have to be found anew first.
        let transactions = self.aborted_at(&view, at)?;
        let producers = match self.small_file(end, SegmentFile::Snapshot)? {
            Some(producers) => producers,
            None => snapshot::encode(&[]),
        };
        let transaction_index = match transactions {
            true => self.small_file(base, SegmentFile::TransactionIndex)?,
            false => None,
        };
        Ok(Some(SegmentFiles {
            log: segment.log(&self.files)?,
            log_bytes: segment.len(),
            offset_index: self.small_file(base, SegmentFile::OffsetIndex)?.unwrap_or_default(),
            time_index: self.small_file(base, SegmentFile::TimeIndex)?.unwrap_or_default(),
            transaction_index,
            producers,
            epochs: self.with_epochs(|epochs| epochs.in_range(Offset(-1), end).format()),
        }))
    }

    fn small_file(&self, base: Offset, kind: SegmentFile) -> Result<Option<Vec<u8>>, StorageError> {
        let path = self.files.path_of(FileName::live(base, kind));
        match self.files.disk().open(&path, Open::Read) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return self.files.result(&path, Err(error)),
        }
        self.files.result(&path, self.files.disk().read(&path, SMALL_FILE_BYTES_MAX)).map(Some)
    }

    /// The bytes of the active segment.
    pub fn active_bytes(&self) -> u64 {
        u64::from(self.view().active_len)
    }

    /// The bytes and the number of the segments that were not copied, the active one included.
    pub fn only_local(&self) -> (u64, usize) {
        let (view, tiered_end) = (self.view(), self.tiered_end().unwrap_or(Offset(-1)));
        let mut bytes = 0;
        let mut count = 0;
        for (at, segment) in view.segments.iter().enumerate() {
            if view.end_of(at) > tiered_end || at + 1 == view.segments.len() {
                let is_active = at + 1 == view.segments.len();
                bytes += u64::from(if is_active { view.active_len } else { segment.len() });
                count += 1;
            }
        }
        (bytes, count)
    }
}

#[cfg(test)]
mod tests;
