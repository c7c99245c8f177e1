//! Reading: whole batches as ranges of files, up to what a reader may see, and the transactions aborted among them.

use std::ops::Range;
use std::sync::Arc;

use ottla_base::{ErrorCode, Offset};
use ottla_host::File;
use smallvec::SmallVec;

use super::{Log, View};
use crate::error::StorageError;
use crate::load::rebuild_transactions;
use crate::segment::floor;
use crate::transaction_index::{AbortedTransaction, Collected};

/// Up to where a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadLimit {
    /// Everything: replicas.
    End,
    /// What is committed: consumers.
    HighWatermark,
    /// What is committed and of no open transaction: consumers with `isolation.level=read_committed`.
    LastStable,
}

/// What to read.
#[derive(Debug, Clone, Copy)]
pub struct ReadRequest {
    /// The first offset wanted; the first batch may begin before it.
    pub from: Offset,
    /// The most bytes wanted.
    pub max_bytes: u32,
    /// Up to where the reader may see.
    pub limit: ReadLimit,
    /// What if the first batch has more bytes than wanted.
    pub first_batch: FirstBatch,
}

/// What to do with a first batch that has more bytes than wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstBatch {
    /// Give it, whole, so that the reader gets on.
    Whole,
    /// Give nothing.
    WithinLimit,
}

/// Bytes of a file that will not change.
#[derive(Debug, Clone)]
pub struct FileRange {
    /// The file, open as long as this is kept.
    pub file: Arc<File>,
    /// Where the bytes begin.
    pub position: u64,
    /// How many there are.
    pub len: u32,
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct ReadAnswer {
    /// Whole batches, one range for each segment they are in.
    pub ranges: SmallVec<[FileRange; 1]>,
    /// Bytes in all ranges.
    pub bytes: u32,
    /// For [`ReadLimit::LastStable`]: the aborted transactions that have records among these offsets, by their
    /// markers.
    pub aborted: Vec<AbortedTransaction>,
}

/// Why nothing can be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The log does not have the offset.
    #[error("offset {from} is not within {start}..={end}")]
    OutOfRange {
        /// What was asked for.
        from: Offset,
        /// The log start.
        start: Offset,
        /// The end.
        end: Offset,
    },
    /// The log has the offset, but not on this disk: it was tiered.
    #[error("offset {from} is tiered, the local log begins at {local_start}")]
    Tiered {
        /// What was asked for.
        from: Offset,
        /// The first offset on this disk.
        local_start: Offset,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ReadError {
    /// The answer to the reader.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            ReadError::Tiered { .. } => ErrorCode::OffsetMovedToTieredStorage,
            ReadError::Storage(error) => error.error_code(),
        }
    }
}

impl View {
    /// The offset that a limit stands for.
    pub fn limit(&self, limit: ReadLimit) -> Offset {
        match limit {
            ReadLimit::End => self.end,
            ReadLimit::HighWatermark => self.high_watermark,
            ReadLimit::LastStable => self.last_stable,
        }
    }

    /// The offset after the last that the segment at `at` may hold.
    pub(super) fn end_of(&self, at: usize) -> Offset {
        self.segments.get(at + 1).map_or(self.end, |next| next.base())
    }

    /// Whether another view looks at the same files.
    fn has_same_segments(&self, other: &View) -> bool {
        Arc::ptr_eq(&self.segments, &other.segments)
    }

    fn len_of(&self, at: usize) -> u32 {
        if at + 1 == self.segments.len() { self.active_len } else { self.segments[at].len() }
    }
}

/// The part of a segment that is read.
struct Part {
    file: Arc<File>,
    positions: Range<u32>,
    /// The offset after its last record.
    end: Offset,
}

impl Log {
    /// Whether reading up to `max_bytes` from `from` finds its place in memory and has no checksums to compute, so that
    /// it may be done where nothing may block.
    pub fn is_warm(&self, view: &View, from: Offset, max_bytes: u32) -> bool {
        if from >= view.end {
            return true;
        }
        let Some(at) = floor(&view.segments, from) else { return true };
        let segment = &view.segments[at];
        if let Some(begin) = segment.boundary(from) {
            let (end, len) = (begin.saturating_add(max_bytes), view.len_of(at));
            // Where a read ends before the end is found in the file.
            return segment.is_checked(&(begin..end.min(len)))
                && (end >= len || segment.is_cached_at(&self.files, end));
        }
        let sought = segment.relative(from);
        at + 1 == view.segments.len() && segment.offsets.in_memory(|entry| entry.relative_offset <= sought)
    }

    /// Reads what `view` has. May wait for the disk: where [`Log::is_warm`] says no, call it where that is allowed.
    pub fn read(&self, view: &View, request: &ReadRequest) -> Result<ReadAnswer, ReadError> {
        let from = request.from;
        match self.read_view(view, request) {
            Err(ReadError::Storage(error @ StorageError::Corrupt { .. })) => {
                let now = self.view();
                // What the view shows may have been deleted since, or compacted long ago.
                if from < now.local_start() {
                    self.check_offset(&now, from).map(|()| ReadAnswer::default())
                } else if view.has_same_segments(&now) {
                    Err(error.into())
                } else {
                    self.read_view(&now, request)
                }
            }
            other => other,
        }
    }

    /// Looks at the log as it is now; once more if what it looked at was compacted away meanwhile.
    pub(super) fn with_view<T>(
        &self,
        look: impl Fn(&View) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let view = self.view();
        match look(&view) {
            Err(error @ StorageError::Corrupt { .. }) => {
                let now = self.view();
                if view.has_same_segments(&now) { Err(error) } else { look(&now) }
            }
            other => other,
        }
    }

    /// Whether a view has an offset on this disk.
    fn check_offset(&self, view: &View, from: Offset) -> Result<(), ReadError> {
        if from < view.log_start || from > view.end {
            return Err(ReadError::OutOfRange { from, start: view.log_start, end: view.end });
        }
        let local_start = view.local_start();
        if from < local_start { Err(ReadError::Tiered { from, local_start }) } else { Ok(()) }
    }

    fn read_view(&self, view: &View, request: &ReadRequest) -> Result<ReadAnswer, ReadError> {
        self.check()?;
        let ReadRequest { from, max_bytes, .. } = *request;
        self.check_offset(view, from)?;
        let limit = view.limit(request.limit);
        let mut answer = ReadAnswer::default();
        let Some(first) = floor(&view.segments, from) else { return Ok(answer) };
        let mut end = from;
        for at in first..view.segments.len() {
            if end >= limit {
                break;
            }
            let oversize = if answer.bytes == 0 { request.first_batch } else { FirstBatch::WithinLimit };
            let wanted = max_bytes.saturating_sub(answer.bytes);
            let Some(part) = self.read_segment(view, at, end, limit, wanted, oversize)? else {
                // A segment that has nothing left from here on; the next one may.
                if answer.bytes == 0 && view.end_of(at) < limit {
                    self.note_hole(view, at, end);
                    end = view.end_of(at).max(end);
                    continue;
                }
                break;
            };
            let len = part.positions.end - part.positions.start;
            answer.bytes += len;
            answer.ranges.push(FileRange { file: part.file, position: u64::from(part.positions.start), len });
            end = part.end;
            if part.end < view.end_of(at) {
                break;
            }
        }
        if request.limit == ReadLimit::LastStable && answer.bytes > 0 {
            answer.aborted = self.aborted_in(view, first, from..end)?;
        }
        Ok(answer)
    }

    /// The aborted transactions that have records among `offsets`.
    pub(crate) fn aborted_among(
        &self,
        view: &View,
        offsets: Range<Offset>,
    ) -> Result<Vec<AbortedTransaction>, StorageError> {
        if offsets.is_empty() {
            return Ok(Vec::new());
        }
        self.aborted_in(view, floor(&view.segments, offsets.start).unwrap_or(0), offsets)
    }

    /// The aborted transactions that have records among `offsets`, which begin in the segment at `first`.
    fn aborted_in(
        &self,
        view: &View,
        first: usize,
        offsets: Range<Offset>,
    ) -> Result<Vec<AbortedTransaction>, StorageError> {
        let mut aborted = Vec::new();
        for at in first..view.segments.len() {
            let collected = self.collect_aborted(view, at, &offsets)?;
            aborted.extend(collected.aborted);
            if collected.complete {
                break;
            }
        }
        Ok(aborted)
    }

    /// The transactions, aborted in segments of this disk, that have records among `offsets`. For readers of what was
    /// tiered, where a transaction may end later. Blocks.
    pub fn aborted_on_disk(&self, offsets: Range<Offset>) -> Result<Vec<AbortedTransaction>, StorageError> {
        self.check()?;
        let view = self.view();
        let first = floor(&view.segments, offsets.start).unwrap_or(0);
        self.aborted_in(&view, first, offsets)
    }

    /// Whether a transaction was aborted in the segment at `at`; its index is whole after this.
    pub(super) fn aborted_at(&self, view: &View, at: usize) -> Result<bool, StorageError> {
        let offsets = Offset::ZERO..Offset(i64::MAX);
        self.collect_aborted(view, at, &offsets).map(|it| !it.aborted.is_empty())
    }

    /// The same from one segment's index, which is made anew if it is damaged.
    fn collect_aborted(
        &self,
        view: &View,
        at: usize,
        offsets: &Range<Offset>,
    ) -> Result<Collected, StorageError> {
        let (files, segment) = (&self.files, &view.segments[at]);
        match segment.collect_aborted(files, offsets) {
            Err(StorageError::Corrupt { path, reason, .. }) if path != files.path_of(segment.log_name()) => {
                tracing::warn!(path = %path.display(), reason, "transaction index is damaged, making it anew");
                rebuild_transactions(files, &view.segments, at)?;
                segment.collect_aborted(files, offsets)
            }
            other => other,
        }
    }

    /// A reader at `from` finds nothing in the rest of a segment.
    fn note_hole(&self, view: &View, at: usize, from: Offset) {
        if from < view.end_of(at) && !self.config.load().cleanup_compact {
            view.segments[at].tell_hole(&self.files, from, view.end_of(at));
        }
    }

    fn read_segment(
        &self,
        view: &View,
        at: usize,
        from: Offset,
        limit: Offset,
        wanted: u32,
        oversize: FirstBatch,
    ) -> Result<Option<Part>, StorageError> {
        let (files, segment) = (&self.files, &view.segments[at]);
        let boundary = segment.boundary(from).filter(|position| *position < view.len_of(at));
        let (begin, mut first) = match boundary {
            Some(position) => (position, None),
            None => match segment.place_of(files, from)? {
                Some(place) => (place.positions.start, Some(place)),
                None => return Ok(None),
            },
        };
        let (stop, stop_offset) = if limit >= view.end_of(at) {
            (view.len_of(at), view.end_of(at))
        } else {
            match segment.place_of(files, limit)? {
                Some(batch) => (batch.positions.start, limit.min(batch.offsets.start)),
                None => (view.len_of(at), view.end_of(at)),
            }
        };
        if begin >= stop {
            return Ok(None);
        }
        let (end, end_offset) = if stop - begin <= wanted {
            (stop, stop_offset)
        } else {
            match segment.last_end_within(files, begin, begin.saturating_add(wanted))? {
                Some(found) => found,
                None if oversize == FirstBatch::Whole => {
                    if first.is_none() {
                        first = segment.place_of(files, from)?;
                    }
                    let Some(first) = first else { return Ok(None) };
                    (first.positions.end, first.offsets.end)
                }
                None => return Ok(None),
            }
        };
        let positions = begin..end;
        segment.check(files, positions.clone(), view.end_of(at))?;
        if end < view.len_of(at) {
            segment.read_to(end_offset, end);
        }
        Ok(Some(Part { file: segment.log(files)?, positions, end: end_offset }))
    }
}
