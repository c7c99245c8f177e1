//! Offset and time indexes: sparse, sorted entries of fixed size, Kafka's bytes (`OffsetIndex`, `TimeIndex`).
//!
//! The newest entries are kept in memory, where appends put them and reads of the tail find them; older ones are in
//! the file and are searched there, through the page cache. Kafka pre-sizes an index and trims it when it is closed;
//! an index written here has its exact size at all times, which Kafka takes as trimmed.

use std::marker::PhantomData;
use std::sync::Arc;

use ottla_base::Timestamp;
use ottla_host::disk::Open;
use parking_lot::Mutex;

use crate::error::StorageError;
use crate::file_names::{FileName, SegmentFile};
use crate::files::{FileSlot, LogFiles, SegmentNames};

/// What an index is made of.
pub(crate) trait Entry: Copy + PartialEq + std::fmt::Debug {
    /// Bytes in the file.
    const BYTES: usize;
    /// The longest entry in bytes, to size buffers.
    const KIND: SegmentFile;
    fn encode(&self, into: &mut Vec<u8>);
    /// `bytes` has [`Entry::BYTES`].
    fn decode(bytes: &[u8]) -> Self;
    /// Whether this entry may come right before `next`.
    fn precedes(&self, next: &Self) -> bool;
}

/// The batch that ends with an offset begins at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetEntry {
    /// The last offset of the batch, less the segment's base offset.
    pub relative_offset: u32,
    /// Where the batch begins in the `.log` file.
    pub position: u32,
}

/// No record up to an offset has a timestamp above this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeEntry {
    /// The highest timestamp so far.
    pub timestamp: Timestamp,
    /// The last offset of the batch with that timestamp, less the segment's base offset.
    pub relative_offset: u32,
}

fn be<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

impl Entry for OffsetEntry {
    const BYTES: usize = 8;
    const KIND: SegmentFile = SegmentFile::OffsetIndex;

    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.relative_offset.to_be_bytes());
        into.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> OffsetEntry {
        OffsetEntry {
            relative_offset: u32::from_be_bytes(be(bytes, 0)),
            position: u32::from_be_bytes(be(bytes, 4)),
        }
    }

    fn precedes(&self, next: &OffsetEntry) -> bool {
        self.relative_offset < next.relative_offset && self.position < next.position
    }
}

impl Entry for TimeEntry {
    const BYTES: usize = 12;
    const KIND: SegmentFile = SegmentFile::TimeIndex;

    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.timestamp.get().to_be_bytes());
        into.extend_from_slice(&self.relative_offset.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> TimeEntry {
        TimeEntry {
            timestamp: Timestamp(i64::from_be_bytes(be(bytes, 0))),
            relative_offset: u32::from_be_bytes(be(bytes, 8)),
        }
    }

    fn precedes(&self, next: &TimeEntry) -> bool {
        self.timestamp < next.timestamp && self.relative_offset <= next.relative_offset
    }
}

impl OffsetEntry {
    /// The bytes of an entry in the file.
    pub const SIZE_BYTES: usize = <OffsetEntry as Entry>::BYTES;

    /// The entries in the bytes of an index file; an incomplete one at the end is left out.
    pub fn in_bytes(bytes: &[u8]) -> impl Iterator<Item = OffsetEntry> + '_ {
        bytes.chunks_exact(OffsetEntry::SIZE_BYTES).map(Entry::decode)
    }
}

impl TimeEntry {
    /// The bytes of an entry in the file.
    pub const SIZE_BYTES: usize = <TimeEntry as Entry>::BYTES;

    /// The entries in the bytes of an index file; an incomplete one at the end is left out.
    pub fn in_bytes(bytes: &[u8]) -> impl Iterator<Item = TimeEntry> + '_ {
        bytes.chunks_exact(TimeEntry::SIZE_BYTES).map(Entry::decode)
    }
}

/// How many entries wait in memory before they are written: half a page of offsets, which is 1 MiB of log or more.
const PENDING_MAX: usize = 256;
/// How many entries are read at once when a search has come close.
const BLOCK_ENTRIES: u32 = 64;

/// Bytes that a block of the longest entries has, with one more at either end.
const BLOCK_BYTES: usize = (BLOCK_ENTRIES as usize + 2) * 12;

/// Some entries next to each other, as they are in the file.
struct Block<E> {
    bytes: [u8; BLOCK_BYTES],
    count: u32,
    entries: PhantomData<E>,
}

impl<E: Entry> Block<E> {
    fn entry(&self, at: u32) -> E {
        let start = at as usize * E::BYTES;
        E::decode(&self.bytes[start..start + E::BYTES])
    }

    /// How many entries there are for which `holds`, which holds for a first part of them.
    fn partition_point(&self, holds: impl Fn(&E) -> bool) -> u32 {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(&self.entry(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// The index of one segment.
#[derive(Debug)]
pub(crate) struct Index<E> {
    names: Arc<SegmentNames>,
    file: FileSlot,
    state: Mutex<State<E>>,
}

#[derive(Debug)]
struct State<E> {
    /// Entries in the file; `None` until somebody looked.
    in_file: Option<u32>,
    /// Entries that follow those in the file.
    pending: Vec<E>,
    /// The last entry of all, if it is known.
    last: Option<E>,
}

impl<E: Entry> Index<E> {
    /// The index of a new segment: no file yet.
    pub(crate) fn empty(names: Arc<SegmentNames>) -> Index<E> {
        let state = State { in_file: Some(0), pending: Vec::new(), last: None };
        Index { names, file: FileSlot::default(), state: Mutex::new(state) }
    }

    /// The index of a segment that exists. Nothing is read until it is used.
    pub(crate) fn unread(names: Arc<SegmentNames>) -> Index<E> {
        let index = Index::empty(names);
        index.state.lock().in_file = None;
        index
    }

    fn name(&self) -> FileName {
        self.names.name(E::KIND)
    }

    /// How many entries there are.
    pub(crate) fn len(&self, files: &LogFiles) -> Result<u32, StorageError> {
        let mut state = self.state.lock();
        let in_file = self.look(files, &mut state)?;
        Ok(in_file + state.pending.len() as u32)
    }

    /// Counts the entries in the file, once. A file that Kafka pre-sized and did not trim ends in zeros.
    fn look(&self, files: &LogFiles, state: &mut State<E>) -> Result<u32, StorageError> {
        if let Some(in_file) = state.in_file {
            return Ok(in_file);
        }
        let file = self.file.get(files, &self.names, E::KIND)?;
        let bytes = files.of(self.name(), file.len())?;
        if !bytes.is_multiple_of(E::BYTES as u64) {
            return Err(files.corrupt(self.name(), bytes, "the size is not a multiple of an entry's"));
        }
        let entries = u32::try_from(bytes / E::BYTES as u64)
            .map_err(|_| files.corrupt(self.name(), bytes, "too large to be an index"))?;
        let last = match entries.checked_sub(1) {
            Some(last) => Some(self.in_file(files, last)?),
            None => None,
        };
        if let Some(last) = last {
            let first = self.in_file(files, 0)?;
            if entries > 1 && !first.precedes(&last) {
                return Err(files.corrupt(self.name(), 0, "the entries are not in order"));
            }
        }
        state.in_file = Some(entries);
        state.last = last;
        Ok(entries)
    }

    fn in_file(&self, files: &LogFiles, entry: u32) -> Result<E, StorageError> {
        let mut bytes = [0; 16];
        let bytes = &mut bytes[..E::BYTES];
        let file = self.file.get(files, &self.names, E::KIND)?;
        files.of(self.name(), file.read_exact_at(bytes, u64::from(entry) * E::BYTES as u64))?;
        Ok(E::decode(bytes))
    }

    /// The last entry.
    pub(crate) fn last(&self, files: &LogFiles) -> Result<Option<E>, StorageError> {
        let mut state = self.state.lock();
        self.look(files, &mut state)?;
        Ok(state.last)
    }

    /// The last entry for which `holds`, which holds for a first part of the entries and no others; and the first
    /// for which it does not.
    pub(crate) fn search(
        &self,
        files: &LogFiles,
        holds: impl Fn(&E) -> bool,
    ) -> Result<(Option<E>, Option<E>), StorageError> {
        self.search_near(files, |count| count / 2, holds)
    }

    /// The same, looking first near where `guess` thinks the entry is among so many.
    pub(crate) fn search_near(
        &self,
        files: &LogFiles,
        guess: impl Fn(u32) -> u32,
        holds: impl Fn(&E) -> bool,
    ) -> Result<(Option<E>, Option<E>), StorageError> {
        let mut state = self.state.lock();
        let in_file = self.look(files, &mut state)?;
        let pending = state.pending.partition_point(&holds);
        if pending > 0 {
            return Ok((Some(state.pending[pending - 1]), state.pending.get(pending).copied()));
        }
        let count = in_file + state.pending.len() as u32;
        let first_pending = state.pending.first().copied();
        drop(state);
        let (mut low, mut high) = (0, in_file);
        let near = guess(count).saturating_sub(BLOCK_ENTRIES / 2).min(in_file);
        if in_file > BLOCK_ENTRIES {
            let block = self.block(files, near, (near + BLOCK_ENTRIES).min(in_file))?;
            let held = block.partition_point(&holds);
            match (held > 0 || near == 0, held < block.count || near + held == in_file) {
                (true, true) => {
                    let after = if near + held == in_file { first_pending } else { Some(block.entry(held)) };
                    return Ok((held.checked_sub(1).map(|last| block.entry(last)), after));
                }
                (true, false) => low = near + held,
                (false, _) => high = near,
            }
        }
        while high - low > BLOCK_ENTRIES {
            let middle = low + (high - low) / 2;
            if holds(&self.in_file(files, middle)?) {
                low = middle;
            } else {
                high = middle;
            }
        }
        // One more than the range at either end, for the entries before and after.
        let low = low.saturating_sub(1);
        let block = self.block(files, low, (high + 1).min(in_file))?;
        let held = block.partition_point(&holds);
        let after = match held < block.count {
            true => Some(block.entry(held)),
            false if low + held == in_file => first_pending,
            false => None,
        };
        Ok((held.checked_sub(1).map(|last| block.entry(last)), after))
    }

    /// The entry that comes `count` before the end of those for which `holds`, which holds for a first part of the
    /// entries; `None` if there are fewer. And how many those are.
    pub(crate) fn back(
        &self,
        files: &LogFiles,
        holds: impl Fn(&E) -> bool,
        count: u32,
    ) -> Result<(Option<E>, u32), StorageError> {
        let mut state = self.state.lock();
        let in_file = self.look(files, &mut state)?;
        let held = match state.pending.partition_point(&holds) {
            0 => self.held_in_file(files, in_file, &holds)?,
            pending => in_file + pending as u32,
        };
        let entry = match held.checked_sub(count) {
            None => None,
            Some(at) if at < in_file => Some(self.in_file(files, at)?),
            Some(at) => state.pending.get((at - in_file) as usize).copied(),
        };
        Ok((entry, held))
    }

    /// How many of the entries in the file are of the first part for which `holds`.
    fn held_in_file(
        &self,
        files: &LogFiles,
        in_file: u32,
        holds: impl Fn(&E) -> bool,
    ) -> Result<u32, StorageError> {
        let (mut low, mut high) = (0, in_file);
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(&self.in_file(files, middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The entries from `first` to `end`, which are at most [`BLOCK_ENTRIES`] and two.
    fn block(&self, files: &LogFiles, first: u32, end: u32) -> Result<Block<E>, StorageError> {
        let count = end.saturating_sub(first);
        let mut block = Block { bytes: [0; BLOCK_BYTES], count, entries: PhantomData };
        if count > 0 {
            let file = self.file.get(files, &self.names, E::KIND)?;
            let bytes = &mut block.bytes[..count as usize * E::BYTES];
            files.of(self.name(), file.read_exact_at(bytes, u64::from(first) * E::BYTES as u64))?;
        }
        Ok(block)
    }

    /// Adds an entry after the last. Entries that do not follow it are left out.
    pub(crate) fn push(&self, files: &LogFiles, entry: E) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        self.look(files, &mut state)?;
        if state.last.is_some_and(|last| !last.precedes(&entry)) {
            return Ok(());
        }
        if state.pending.len() >= PENDING_MAX {
            match self.write(files, &mut state) {
                // They wait in memory: the batch that they are about is in the log.
                Err(StorageError::Full { .. }) => {}
                other => other?,
            }
        }
        state.pending.push(entry);
        state.last = Some(entry);
        Ok(())
    }

    /// Whether the search for what `holds` needs no file.
    pub(crate) fn in_memory(&self, holds: impl Fn(&E) -> bool) -> bool {
        let state = self.state.lock();
        state.in_file == Some(0) || state.pending.first().is_some_and(holds)
    }

    fn write(&self, files: &LogFiles, state: &mut State<E>) -> Result<(), StorageError> {
        let in_file = self.look(files, state)?;
        let mut bytes = Vec::with_capacity(state.pending.len() * E::BYTES);
        for entry in &state.pending {
            entry.encode(&mut bytes);
        }
        // A file that is begun may have content from before.
        let file =
            self.names.open(files, E::KIND, if in_file == 0 { Open::Truncate } else { Open::Create })?;
        let end = u64::from(in_file) * E::BYTES as u64;
        files.of(self.name(), file.write_all_at(&bytes, end))?;
        state.in_file = Some(in_file + state.pending.len() as u32);
        state.pending.clear();
        state.pending.shrink_to(PENDING_MAX);
        Ok(())
    }

    /// Writes what is only in memory, so that the file is whole; makes the file if there is none. With `sync` it is
    /// made durable, too.
    pub(crate) fn flush(&self, files: &LogFiles, sync: Sync) -> Result<(), StorageError> {
        {
            let mut state = self.state.lock();
            if state.in_file.is_some() {
                self.write(files, &mut state)?;
            }
            // Sealed: no more is to come.
            state.pending.shrink_to_fit();
        }
        if sync == Sync::Yes {
            let file = self.names.open(files, E::KIND, Open::Write)?;
            files.synced(&files.path_of(self.name()), file.sync_data())?;
        }
        Ok(())
    }

    /// Cuts the index to the entries for which `keep`, which holds for a first part of them.
    pub(crate) fn truncate(&self, files: &LogFiles, keep: impl Fn(&E) -> bool) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        let in_file = self.look(files, &mut state)?;
        let pending = state.pending.partition_point(&keep);
        state.pending.truncate(pending);
        let kept = if pending > 0 { in_file } else { self.held_in_file(files, in_file, &keep)? };
        if kept < in_file {
            let file = self.names.open(files, E::KIND, Open::Write)?;
            files.of(self.name(), file.set_len(u64::from(kept) * E::BYTES as u64))?;
            state.in_file = Some(kept);
        }
        state.last = match state.pending.last() {
            Some(last) => Some(*last),
            None if kept > 0 => Some(self.in_file(files, kept - 1)?),
            None => None,
        };
        Ok(())
    }

    /// Empties the index, whatever its file holds.
    pub(crate) fn reset(&self, files: &LogFiles) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        let file = self.names.open(files, E::KIND, Open::Truncate)?;
        self.file.put(&Arc::new(file));
        *state = State { in_file: Some(0), pending: Vec::new(), last: None };
        Ok(())
    }
}

/// Whether a write is to be made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// It survives a power cut.
    Yes,
    /// The kernel writes it when it likes.
    No,
}

#[cfg(test)]
mod tests;
