//! One segment of a log: a `.log` file and its indexes, found, checked and repaired.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ottla_base::{Offset, Timestamp};
use ottla_host::File;
use ottla_record::HEADER_BYTES;
use parking_lot::Mutex;

use crate::boundaries::Boundaries;
use crate::error::StorageError;
use crate::file_names::{FileName, SegmentFile, Standing};
use crate::files::{FileSlot, LogFiles, SegmentNames};
use crate::index::{Index, OffsetEntry, Sync, TimeEntry};
use crate::scan::{BatchAt, Depth, Scan, Step, parse};
use crate::transaction_index::{AbortedTransaction, Collected, TransactionIndex};

/// A segment. What it holds is only added to, until a truncation, which waits for nobody.
#[derive(Debug)]
pub(crate) struct Segment {
    base: Offset,
    names: Arc<SegmentNames>,
    /// Bytes of whole batches in the `.log` file.
    len: AtomicU32,
    log: FileSlot,
    pub(crate) offsets: Index<OffsetEntry>,
    pub(crate) times: Index<TimeEntry>,
    /// Opened when somebody needs it.
    transactions: Mutex<Option<TransactionIndex>>,
    /// The highest timestamp and the last offset of its batch; `None` until somebody looked.
    largest: Mutex<Option<(Timestamp, Offset)>>,
    checked: Checked,
    /// The last few batches that were appended: where readers of the tail go on.
    newest: Mutex<VecDeque<Place>>,
    /// Where other readers go on.
    boundaries: Boundaries,
    /// Whether it was told that records are missing between its end and the next segment.
    hole_told: AtomicBool,
}

/// Where a batch is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) positions: Range<u32>,
    pub(crate) offsets: Range<Offset>,
}

impl From<&BatchAt> for Place {
    fn from(batch: &BatchAt) -> Place {
        Place {
            positions: batch.position..batch.end_position(),
            offsets: batch.base_offset..batch.end_offset(),
        }
    }
}

/// A read may end at an index entry if what it so leaves out is at most this part of what was asked for.
const INDEXED_END_SHARE: u32 = 16;
/// How many of the newest batches are found without a look at the file.
const NEWEST_MAX: usize = 8;

/// Decides which batches get an index entry: those that begin more than the interval after the last that got one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct IndexPace {
    since_entry: u32,
}

impl IndexPace {
    /// Whether the batch that comes next gets an entry, given that it has `size` bytes.
    pub(crate) fn step(&mut self, size: u32, interval: u32) -> bool {
        let due = self.since_entry > interval;
        if due {
            self.since_entry = 0;
        }
        self.since_entry = self.since_entry.saturating_add(size);
        due
    }
}

/// Which bytes are known to be what was written, because this process wrote them or computed their checksums.
#[derive(Debug, Default)]
struct Checked(Mutex<Vec<Range<u32>>>);

/// Keeping track of more pieces than this costs more than checking again.
const CHECKED_PIECES_MAX: usize = 32;

impl Checked {
    fn contains(&self, range: &Range<u32>) -> bool {
        self.0.lock().iter().any(|known| known.start <= range.start && range.end <= known.end)
    }

    fn add(&self, range: Range<u32>) {
        let mut known = self.0.lock();
        let mut merged = range;
        known.retain(|piece| {
            let apart = piece.end < merged.start || merged.end < piece.start;
            if !apart {
                merged = piece.start.min(merged.start)..piece.end.max(merged.end);
            }
            apart
        });
        if known.len() < CHECKED_PIECES_MAX {
            known.push(merged);
        }
    }

    fn cut(&self, end: u32) {
        let mut known = self.0.lock();
        known.retain(|piece| piece.start < end);
        for piece in known.iter_mut() {
            piece.end = piece.end.min(end);
        }
    }
}

impl Segment {
    /// A segment that begins now.
    pub(crate) fn empty(base: Offset) -> Segment {
        Segment::named(SegmentNames::new(base, Standing::Live))
    }

    /// A segment that begins now, to take the place of others.
    pub(crate) fn cleaned(base: Offset) -> Segment {
        Segment::named(SegmentNames::new(base, Standing::Cleaned))
    }

    fn named(names: SegmentNames) -> Segment {
        let (base, names) = (names.base(), Arc::new(names));
        Segment {
            base,
            len: AtomicU32::new(0),
            log: FileSlot::default(),
            offsets: Index::empty(names.clone()),
            times: Index::empty(names.clone()),
            names,
            transactions: Mutex::default(),
            largest: Mutex::new(Some((Timestamp::NONE, base))),
            checked: Checked::default(),
            newest: Mutex::default(),
            boundaries: Boundaries::default(),
            hole_told: AtomicBool::new(false),
        }
    }

    /// A segment whose files exist, the `.log` with `len` bytes. Nothing is read until it is used.
    pub(crate) fn existing(base: Offset, len: u32) -> Segment {
        let empty = Segment::empty(base);
        Segment {
            len: AtomicU32::new(len),
            offsets: Index::unread(empty.names.clone()),
            times: Index::unread(empty.names.clone()),
            largest: Mutex::new(None),
            ..empty
        }
    }

    /// The offset in the names of its files: no record in it has a lower one.
    pub(crate) fn base(&self) -> Offset {
        self.base
    }

    /// Bytes of whole batches.
    pub(crate) fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }

    pub(crate) fn log_name(&self) -> FileName {
        self.name_of(SegmentFile::Log)
    }

    /// What one of its files is called now.
    pub(crate) fn name_of(&self, kind: SegmentFile) -> FileName {
        self.names.name(kind)
    }

    /// The `.log` file, to read.
    pub(crate) fn log(&self, files: &LogFiles) -> Result<Arc<File>, StorageError> {
        self.log.get(files, &self.names, SegmentFile::Log)
    }

    /// Lets readers use the file that the appender holds.
    pub(crate) fn share_log(&self, file: &Arc<File>) {
        self.log.put(file);
    }

    /// Takes note of a batch that was written at the end.
    pub(crate) fn appended(
        &self,
        files: &LogFiles,
        batch: &BatchAt,
        indexed: bool,
    ) -> Result<(), StorageError> {
        self.index(files, batch, indexed)?;
        self.checked.add(batch.position..batch.end_position());
        let mut newest = self.newest.lock();
        if newest.len() == NEWEST_MAX {
            newest.pop_front();
        }
        newest.push_back(Place::from(batch));
        drop(newest);
        self.len.store(batch.end_position(), Ordering::Release);
        Ok(())
    }

    fn note_timestamp(&self, files: &LogFiles, batch: &BatchAt) -> Result<(), StorageError> {
        let known = self.largest(files)?;
        if batch.max_timestamp > known.0 {
            *self.largest.lock() = Some((batch.max_timestamp, batch.last_offset));
        }
        Ok(())
    }

    fn add_entries(&self, files: &LogFiles, batch: &BatchAt) -> Result<(), StorageError> {
        let relative_offset = self.relative(batch.last_offset);
        self.offsets.push(files, OffsetEntry { relative_offset, position: batch.position })?;
        self.add_time_entry(files)
    }

    fn add_time_entry(&self, files: &LogFiles) -> Result<(), StorageError> {
        let (timestamp, offset) = self.largest(files)?;
        if timestamp > Timestamp::NONE {
            self.times.push(files, TimeEntry { timestamp, relative_offset: self.relative(offset) })?;
        }
        Ok(())
    }

    /// Ends the segment: its largest timestamp gets into the time index, where retention looks for it.
    pub(crate) fn seal(&self, files: &LogFiles) -> Result<(), StorageError> {
        self.add_time_entry(files)
    }

    /// Writes the indexes out, whole.
    pub(crate) fn flush_indexes(&self, files: &LogFiles, sync: Sync) -> Result<(), StorageError> {
        self.offsets.flush(files, sync)?;
        self.times.flush(files, sync)
    }

    /// `offset` as indexes hold it.
    pub(crate) fn relative(&self, offset: Offset) -> u32 {
        offset.get().saturating_sub(self.base.get()).clamp(0, i64::from(i32::MAX)) as u32
    }

    /// Whether indexes can hold `offset`.
    pub(crate) fn can_hold(&self, offset: Offset) -> bool {
        offset.get().checked_sub(self.base.get()).is_some_and(|it| (0..=i64::from(i32::MAX)).contains(&it))
    }

    /// The highest timestamp and the last offset of the batch that has it.
    pub(crate) fn largest(&self, files: &LogFiles) -> Result<(Timestamp, Offset), StorageError> {
        if let Some(known) = *self.largest.lock() {
            return Ok(known);
        }
        let read = self.repairing(files, || {
            let Some(last) = self.times.last(files)? else {
                return match self.len() {
                    0 => Ok((Timestamp::NONE, self.base)),
                    _ => self.largest_by_scan(files),
                };
            };
            let offset = self.base.after(i64::from(last.relative_offset));
            // The entry must be true: retention deletes by it.
            match self.find_by_index(files, offset)? {
                Some(batch) if batch.max_timestamp == last.timestamp => Ok((last.timestamp, offset)),
                _ => Err(self.bad_time_index(files)),
            }
        })?;
        *self.largest.lock() = Some(read);
        Ok(read)
    }

    fn largest_by_scan(&self, files: &LogFiles) -> Result<(Timestamp, Offset), StorageError> {
        let mut largest = (Timestamp::NONE, self.base);
        self.walk(files, Depth::Headers, 0..self.len(), |batch, _| {
            if batch.max_timestamp > largest.0 {
                largest = (batch.max_timestamp, batch.last_offset);
            }
            Ok(())
        })?;
        Ok(largest)
    }

    /// Where the batches begin that have `offset` or higher ones, if a read before ended there.
    pub(crate) fn boundary(&self, offset: Offset) -> Option<u32> {
        self.boundaries.position_of(offset)
    }

    /// Takes note that a read ended at `position`, before the batches that have `offset` or higher ones.
    pub(crate) fn read_to(&self, offset: Offset, position: u32) {
        self.boundaries.remember(offset, position);
    }

    /// Where the first batch is whose last offset is `offset` or higher.
    pub(crate) fn place_of(&self, files: &LogFiles, offset: Offset) -> Result<Option<Place>, StorageError> {
        {
            let newest = self.newest.lock();
            if newest.front().is_some_and(|first| first.offsets.start <= offset) {
                return Ok(newest.iter().find(|place| place.offsets.end > offset).cloned());
            }
        }
        Ok(self.find(files, offset)?.as_ref().map(Place::from))
    }

    /// The first batch whose last offset is `offset` or higher.
    pub(crate) fn find(&self, files: &LogFiles, offset: Offset) -> Result<Option<BatchAt>, StorageError> {
        self.repairing(files, || self.find_by_index(files, offset))
    }

    fn find_by_index(&self, files: &LogFiles, offset: Offset) -> Result<Option<BatchAt>, StorageError> {
        let len = self.len();
        let sought = self.relative(offset);
        let (entry, _) = self.offsets.search(files, |entry| entry.relative_offset <= sought)?;
        let start = entry.map_or(0, |entry| entry.position);
        if start >= len {
            return match entry {
                Some(_) => Err(self.bad_offset_index(files, start)),
                None => Ok(None),
            };
        }
        let file = self.log(files)?;
        let mut scan = Scan::new(files, self.log_name(), &file, Depth::Headers, start..len, self.base);
        let mut first = entry.is_some();
        loop {
            let batch = match scan.next()? {
                Step::Batch(batch) => batch,
                Step::End => return Ok(None),
                Step::Torn(_) if first => return Err(self.bad_offset_index(files, start)),
                Step::Torn(torn) => {
                    return Err(files.corrupt(self.log_name(), u64::from(torn.position), torn.reason));
                }
            };
            if first
                && let Some(entry) = entry
                && self.relative(batch.base_offset) > entry.relative_offset
            {
                return Err(self.bad_offset_index(files, start));
            }
            first = false;
            if batch.last_offset >= offset {
                return Ok(Some(batch));
            }
        }
    }

    fn bad_offset_index(&self, files: &LogFiles, position: u32) -> StorageError {
        files.corrupt(
            self.name_of(SegmentFile::OffsetIndex),
            u64::from(position),
            "an entry points where its batch is not",
        )
    }

    /// Does what reads an index; if that turns out to be damaged, makes it anew from the log and does it again.
    fn repairing<T>(
        &self,
        files: &LogFiles,
        mut read: impl FnMut() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        match read() {
            Err(StorageError::Corrupt { path, position, reason })
                if path != files.path_of(self.log_name()) =>
            {
                tracing::warn!(path = %path.display(), position, reason, "index is damaged, making it anew");
                self.rebuild_indexes(files)?;
                read()
            }
            other => other,
        }
    }

    /// Makes both indexes anew from the headers in the log.
    pub(crate) fn rebuild_indexes(&self, files: &LogFiles) -> Result<(), StorageError> {
        let interval = files.index_interval_bytes();
        self.reset_indexes(files)?;
        let mut pace = IndexPace::default();
        self.walk(files, Depth::Headers, 0..self.len(), |batch, _| {
            let indexed = pace.step(batch.size, interval);
            self.index(files, batch, indexed)
        })?;
        self.add_time_entry(files)?;
        self.flush_indexes(files, Sync::No)
    }

    /// Calls `visit` with each batch in a range of positions that begins and ends with a batch. A range that has
    /// anything but batches is corrupt.
    pub(crate) fn walk(
        &self,
        files: &LogFiles,
        depth: Depth,
        positions: Range<u32>,
        mut visit: impl FnMut(&BatchAt, &mut Scan<'_>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        if positions.is_empty() {
            return Ok(());
        }
        let file = self.log(files)?;
        let mut scan = Scan::new(files, self.log_name(), &file, depth, positions, self.base);
        loop {
            match scan.next()? {
                Step::Batch(batch) => visit(&batch, &mut scan)?,
                Step::End => return Ok(()),
                Step::Torn(torn) => {
                    return Err(files.corrupt(self.log_name(), u64::from(torn.position), torn.reason));
                }
            }
        }
    }

    /// An end of batches at `limit` or not far before it, after `start`, where a batch begins: its position, and the
    /// offset up to which the batches before it have everything. `None` if the first batch ends after `limit`.
    pub(crate) fn last_end_within(
        &self,
        files: &LogFiles,
        start: u32,
        limit: u32,
    ) -> Result<Option<(u32, Offset)>, StorageError> {
        self.repairing(files, || {
            let len = u64::from(self.len().max(1));
            let guess = |count: u32| (u64::from(count) * u64::from(limit) / len) as u32;
            let (entry, _) = self.offsets.search_near(files, guess, |entry| entry.position <= limit)?;
            if let Some(entry) = entry.filter(|it| it.position > start && it.position < self.len()) {
                let lost = limit - entry.position;
                if lost <= (limit - start) / INDEXED_END_SHARE
                    && let Some(end) = self.begin_of(files, entry)?
                {
                    return Ok(Some((entry.position, end)));
                }
            }
            let found = self.last_batch_before(files, start, limit)?;
            Ok(found.map(|batch| (batch.end_position(), batch.end_offset())))
        })
    }

    /// The first offset of the batch that an index entry is about, if its header knows it.
    fn begin_of(&self, files: &LogFiles, entry: OffsetEntry) -> Result<Option<Offset>, StorageError> {
        let mut head = [0; HEADER_BYTES];
        let there = (self.len() - entry.position) as usize;
        let head = &mut head[..there.min(HEADER_BYTES)];
        let file = self.log(files)?;
        files.of(self.log_name(), file.read_exact_at(head, u64::from(entry.position)))?;
        match parse(entry.position, head) {
            Ok(batch) if self.relative(batch.last_offset) == entry.relative_offset => {
                Ok(batch.header.map(|_| batch.base_offset))
            }
            _ => Err(self.bad_offset_index(files, entry.position)),
        }
    }

    /// The last batch that begins at or after `start`, where a batch begins, and ends at `limit` or before.
    fn last_batch_before(
        &self,
        files: &LogFiles,
        start: u32,
        limit: u32,
    ) -> Result<Option<BatchAt>, StorageError> {
        // The entry before the last one at or below the limit: its batch may be the last that fits.
        let (entry, _) = self.offsets.search(files, |entry| entry.position < limit)?;
        let from = entry.map_or(start, |entry| entry.position.max(start));
        let found = self.last_batch_within(files, from, limit)?;
        if found.is_some() || from == start {
            return Ok(found);
        }
        // The indexed batch is too large: the one before it is the last that fits.
        let (entry, _) = self.offsets.search(files, |entry| entry.position < from)?;
        self.last_batch_within(files, entry.map_or(start, |entry| entry.position.max(start)), limit)
    }

    fn last_batch_within(
        &self,
        files: &LogFiles,
        from: u32,
        limit: u32,
    ) -> Result<Option<BatchAt>, StorageError> {
        let file = self.log(files)?;
        let mut scan = Scan::new(files, self.log_name(), &file, Depth::Headers, from..self.len(), self.base);
        let mut last = None;
        loop {
            match scan.next()? {
                Step::Batch(batch) if batch.end_position() <= limit => last = Some(batch),
                Step::Batch(_) | Step::End => return Ok(last),
                // Whoever gave `from` found a batch there, or an index did that points elsewhere.
                Step::Torn(torn) if torn.position == from => return Err(self.bad_offset_index(files, from)),
                Step::Torn(torn) => {
                    return Err(files.corrupt(self.log_name(), u64::from(torn.position), torn.reason));
                }
            }
        }
    }

    /// Whether a range is known to hold what was written.
    pub(crate) fn is_checked(&self, range: &Range<u32>) -> bool {
        self.checked.contains(range)
    }

    /// Whether what is about a position can be read without waiting for the disk.
    pub(crate) fn is_cached_at(&self, files: &LogFiles, position: u32) -> bool {
        let position = u64::from(position);
        self.log(files).is_ok_and(|file| file.is_cached(position..position + 1).unwrap_or(true))
    }

    /// Makes sure that a range of whole batches holds what was written, by their checksums if that is not known, and
    /// nothing at `end` or above, where the next segment begins.
    pub(crate) fn check(&self, files: &LogFiles, range: Range<u32>, end: Offset) -> Result<(), StorageError> {
        if self.checked.contains(&range) {
            return Ok(());
        }
        self.walk(files, Depth::Checksums, range.clone(), |batch, _| {
            if batch.end_offset() > end {
                let reason = format!("the batch ends at {}, the segment at {end}", batch.end_offset());
                return Err(files.corrupt(self.log_name(), u64::from(batch.position), reason));
            }
            Ok(())
        })?;
        self.checked.add(range);
        Ok(())
    }

    /// Takes note of a batch that recovery found.
    pub(crate) fn index(&self, files: &LogFiles, batch: &BatchAt, indexed: bool) -> Result<(), StorageError> {
        self.note_timestamp(files, batch)?;
        if indexed { self.add_entries(files, batch) } else { Ok(()) }
    }

    /// Empties both indexes, to make them anew.
    pub(crate) fn reset_indexes(&self, files: &LogFiles) -> Result<(), StorageError> {
        self.offsets.reset(files)?;
        self.times.reset(files)?;
        *self.largest.lock() = Some((Timestamp::NONE, self.base));
        Ok(())
    }

    /// The offset after the last batch, found from the last index entry on, by headers that must lead to the end of
    /// the file.
    pub(crate) fn tail_end(&self, files: &LogFiles) -> Result<Offset, StorageError> {
        self.repairing(files, || {
            let start = self.offsets.last(files)?.map_or(0, |entry| entry.position);
            if start > 0 && start >= self.len() {
                return Err(self.bad_offset_index(files, start));
            }
            let file = self.log(files)?;
            let positions = start..self.len();
            let mut scan = Scan::new(files, self.log_name(), &file, Depth::Headers, positions, self.base);
            let mut end = self.base;
            loop {
                match scan.next()? {
                    Step::Batch(batch) => end = batch.end_offset(),
                    Step::End => return Ok(end),
                    Step::Torn(torn) if torn.position == start && start > 0 => {
                        return Err(self.bad_offset_index(files, start));
                    }
                    Step::Torn(torn) => {
                        return Err(files.corrupt(self.log_name(), u64::from(torn.position), torn.reason));
                    }
                }
            }
        })
    }

    /// Takes note that recovery has read and checked the segment up to `len`, which is its new length.
    pub(crate) fn recovered(&self, len: u32) {
        self.checked.cut(len);
        self.checked.add(0..len);
        self.len.store(len, Ordering::Release);
    }

    /// Cuts the segment before the batch that holds `offset` or comes after it; nobody may append meanwhile. Gives
    /// that batch, if there is one.
    pub(crate) fn truncate(&self, files: &LogFiles, offset: Offset) -> Result<Option<BatchAt>, StorageError> {
        let Some(batch) = self.find(files, offset)? else { return Ok(None) };
        let first_cut = self.relative(batch.base_offset.max(self.base));
        self.len.store(batch.position, Ordering::Release);
        self.checked.cut(batch.position);
        self.newest.lock().clear();
        self.boundaries.clear();
        self.offsets
            .truncate(files, |entry| entry.relative_offset < first_cut && entry.position < batch.position)?;
        self.times.truncate(files, |entry| entry.relative_offset < first_cut)?;
        self.with_transactions(files, |index| index.truncate_to(offset))?;
        *self.largest.lock() = None;
        let after_cut = self.largest_after_cut(files)?;
        *self.largest.lock() = Some(after_cut);
        Ok(Some(batch))
    }

    /// An offset before which no record has `timestamp` or a higher one.
    pub(crate) fn offset_before_timestamp(
        &self,
        files: &LogFiles,
        timestamp: Timestamp,
    ) -> Result<Offset, StorageError> {
        self.repairing(files, || {
            let (entry, _) = self.times.search(files, |entry| entry.timestamp < timestamp)?;
            let Some(entry) = entry else { return Ok(self.base) };
            let offset = self.base.after(i64::from(entry.relative_offset));
            match self.find_by_index(files, offset)? {
                Some(batch) if batch.max_timestamp == entry.timestamp => Ok(offset),
                _ => Err(self.bad_time_index(files)),
            }
        })
    }

    fn bad_time_index(&self, files: &LogFiles) -> StorageError {
        let name = self.name_of(SegmentFile::TimeIndex);
        files.corrupt(name, 0, "an entry is not the timestamp of its batch")
    }

    /// The time index knows the largest timestamp up to its last entry; batches after that are looked at.
    fn largest_after_cut(&self, files: &LogFiles) -> Result<(Timestamp, Offset), StorageError> {
        let mut largest = match self.times.last(files)? {
            Some(last) => (last.timestamp, self.base.after(i64::from(last.relative_offset))),
            None => (Timestamp::NONE, self.base),
        };
        let start = self.find(files, largest.1)?.map_or(0, |batch| batch.position);
        self.walk(files, Depth::Headers, start..self.len(), |batch, _| {
            if batch.max_timestamp > largest.0 {
                largest = (batch.max_timestamp, batch.last_offset);
            }
            Ok(())
        })?;
        Ok(largest)
    }

    /// The highest timestamp of the first batch, which says how old the segment is.
    pub(crate) fn first_timestamp(&self, files: &LogFiles) -> Result<Option<Timestamp>, StorageError> {
        if self.len() == 0 {
            return Ok(None);
        }
        let file = self.log(files)?;
        let mut scan = Scan::new(files, self.log_name(), &file, Depth::Headers, 0..self.len(), self.base);
        match scan.next()? {
            Step::Batch(batch) => Ok(Some(batch.max_timestamp)),
            Step::End => Ok(None),
            Step::Torn(torn) => Err(files.corrupt(self.log_name(), u64::from(torn.position), torn.reason)),
        }
    }

    /// Does something with the transaction index, opened and checked if it was not yet.
    fn with_transactions<T>(
        &self,
        files: &LogFiles,
        act: impl FnOnce(&mut TransactionIndex) -> io::Result<T>,
    ) -> Result<T, StorageError> {
        let mut slot = self.transactions.lock();
        let path = files.path_of(self.name_of(SegmentFile::TransactionIndex));
        if self.names.is_gone() {
            return Err(files.corrupt(self.name_of(SegmentFile::TransactionIndex), 0, "removed"));
        }
        if slot.is_none() {
            let opened = files.result(&path, TransactionIndex::open(files.disk(), path.clone()))?;
            files.result(&path, opened.check(self.base))?;
            self.check_transactions(files, &files.result(&path, opened.all())?)?;
            *slot = Some(opened);
        }
        let Some(index) = slot.as_mut() else { return Err(StorageError::Closed) };
        files.result(&path, act(index))
    }

    /// Whether each transaction ends where its producer wrote a marker in this segment.
    fn check_transactions(
        &self,
        files: &LogFiles,
        aborted: &[AbortedTransaction],
    ) -> Result<(), StorageError> {
        for transaction in aborted {
            let marker = self.find(files, transaction.last_offset)?.and_then(|batch| batch.header);
            let true_entry = marker.is_some_and(|marker| {
                marker.is_control()
                    && marker.producer_id() == transaction.producer_id
                    && marker.base_offset() == transaction.last_offset
            });
            if !true_entry || transaction.first_offset >= transaction.last_offset {
                let name = self.name_of(SegmentFile::TransactionIndex);
                return Err(files.corrupt(name, 0, "a transaction does not end where its marker is"));
            }
        }
        Ok(())
    }

    /// Makes room for an aborted transaction, so that [`Segment::add_aborted`] does not fail for want of it.
    pub(crate) fn reserve_aborted(&self, files: &LogFiles) -> Result<(), StorageError> {
        self.with_transactions(files, TransactionIndex::reserve)
    }

    /// Gives back the room for an aborted transaction.
    pub(crate) fn release_aborted(&self, files: &LogFiles) -> Result<(), StorageError> {
        self.with_transactions(files, TransactionIndex::release)
    }

    /// Adds an aborted transaction whose marker is in this segment.
    pub(crate) fn add_aborted(
        &self,
        files: &LogFiles,
        aborted: &AbortedTransaction,
    ) -> Result<(), StorageError> {
        self.with_transactions(files, |index| index.append(aborted))
    }

    /// The aborted transactions in this segment that have records among `offsets`.
    pub(crate) fn collect_aborted(
        &self,
        files: &LogFiles,
        offsets: &Range<Offset>,
    ) -> Result<Collected, StorageError> {
        self.with_transactions(files, |index| index.collect(offsets.start, offsets.end))
    }

    /// Empties the transaction index, whatever its file holds.
    pub(crate) fn reset_transactions(&self, files: &LogFiles) -> Result<(), StorageError> {
        let mut slot = self.transactions.lock();
        let path = files.path_of(self.name_of(SegmentFile::TransactionIndex));
        files.result(&path, files.disk().remove_file_if_exists(&path))?;
        *slot = Some(files.result(&path, TransactionIndex::open(files.disk(), path.clone()))?);
        Ok(())
    }

    /// Makes the transaction index durable.
    pub(crate) fn sync_transactions(&self, files: &LogFiles) -> Result<(), StorageError> {
        match &mut *self.transactions.lock() {
            Some(index) => {
                let synced = index.sync();
                files.synced(index.path(), synced)
            }
            None => Ok(()),
        }
    }

    /// Tells, once, that records are missing between its end and the next segment, in a log that is not compacted.
    pub(crate) fn tell_hole(&self, files: &LogFiles, end: Offset, next: Offset) {
        if !self.hole_told.swap(true, Ordering::Relaxed) {
            let path = files.path_of(self.log_name());
            tracing::warn!(path = %path.display(), %end, %next, "records are missing at the end of a segment");
        }
    }

    /// The log's directory has another name now.
    pub(crate) fn moved(&self) {
        *self.transactions.lock() = None;
    }

    /// The segment's files are removed: none of their names is its own any more.
    pub(crate) fn forget(&self) {
        // Whoever looks at the transaction index by its name is done.
        let mut transactions = self.transactions.lock();
        *transactions = None;
        self.names.forget();
    }

    /// Gives the segment's files another standing, all but the producers' snapshot. Files that are not there are no
    /// loss. Who has them open reads on.
    pub(crate) fn rename(&self, files: &LogFiles, standing: Standing) -> Result<(), StorageError> {
        let mut transactions = self.transactions.lock();
        *transactions = None;
        self.names.rename(files, standing)
    }
}

/// The segment that may hold `offset`: the last that does not begin after it.
pub(crate) fn floor(segments: &[Arc<Segment>], offset: Offset) -> Option<usize> {
    segments.partition_point(|segment| segment.base() <= offset).checked_sub(1)
}
