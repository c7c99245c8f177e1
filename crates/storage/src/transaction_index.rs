//! The `.txnindex` of a segment: the transactions whose abort marker is in it (`TransactionIndex`,
//! `AbortedTxn`).
//!
//! Most segments have none, so there is no file until the first one, and none is held open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_base::{Offset, ProducerId};
use ottla_host::disk::Open;
use ottla_host::{Disk, File};

use crate::checkpoint_file::MalformedFile;
use crate::producer_state::CompletedTransaction;

#[cfg(test)]
mod tests;

const VERSION: i16 = 0;
/// The bytes of one entry: version, producer and three offsets.
const ENTRY_BYTES: usize = 34;
/// How many entries are read at once.
const ENTRIES_PER_READ: usize = 1024;

/// An aborted transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: ProducerId,
    /// Its first record.
    pub first_offset: Offset,
    /// Its marker.
    pub last_offset: Offset,
    /// The last stable offset when the marker was written.
    pub last_stable_offset: Offset,
}

impl From<&CompletedTransaction> for AbortedTransaction {
    fn from(completed: &CompletedTransaction) -> Self {
        AbortedTransaction {
            producer_id: completed.producer_id,
            first_offset: completed.first_offset,
            last_offset: completed.last_offset,
            last_stable_offset: completed.last_stable_offset,
        }
    }
}

impl AbortedTransaction {
    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..2].copy_from_slice(&VERSION.to_be_bytes());
        bytes[2..10].copy_from_slice(&self.producer_id.0.to_be_bytes());
        bytes[10..18].copy_from_slice(&self.first_offset.0.to_be_bytes());
        bytes[18..26].copy_from_slice(&self.last_offset.0.to_be_bytes());
        bytes[26..].copy_from_slice(&self.last_stable_offset.0.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Result<AbortedTransaction, String> {
        let version = i16::from_be_bytes([bytes[0], bytes[1]]);
        if version > VERSION {
            return Err(format!("unexpected aborted transaction version {version}"));
        }
        let number = |at: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&bytes[at..at + 8]);
            i64::from_be_bytes(field)
        };
        Ok(AbortedTransaction {
            producer_id: ProducerId(number(2)),
            first_offset: Offset(number(10)),
            last_offset: Offset(number(18)),
            last_stable_offset: Offset(number(26)),
        })
    }
}

/// The transactions that a reader of some offsets has to skip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// They, by their markers.
    pub aborted: Vec<AbortedTransaction>,
    /// Whether no later segment can have more of them.
    pub complete: bool,
}

/// The transaction index of one segment. Cloning it gives a look at the entries it has now, which later
/// appends do not change.
#[derive(Debug, Clone)]
pub struct TransactionIndex {
    disk: Disk,
    path: PathBuf,
    entries: u64,
    /// How many of them are known to be durable.
    durable: u64,
    last_offset: Option<Offset>,
    /// Where there is room for one more entry.
    reserved: Option<Arc<File>>,
}

impl TransactionIndex {
    /// Finds the index at `path`; that there is no file is fine. Bytes after the last whole entry are ignored
    /// and will be overwritten.
    pub fn open(disk: Disk, path: PathBuf) -> io::Result<TransactionIndex> {
        let len = match disk.metadata(&path) {
            Ok(metadata) => metadata.len,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let entries = len / ENTRY_BYTES as u64;
        let mut index =
            TransactionIndex { disk, path, entries, durable: 0, last_offset: None, reserved: None };
        if entries > 0 {
            let mut last = None;
            index.scan_from(entries - 1, |_, it| {
                last = Some(it.last_offset);
                true
            })?;
            index.last_offset = last;
        }
        Ok(index)
    }

    /// Where the file is, or will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file was renamed or moved.
    pub fn set_path(&mut self, path: PathBuf) {
        self.path = path;
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Makes room for one entry, so that adding it does not fail for want of room. What is reserved and neither used
    /// nor released is an entry of nothing to whoever opens the file, which must be made anew then.
    pub fn reserve(&mut self) -> io::Result<()> {
        let file = self.disk.open(&self.path, Open::Create)?;
        file.write_all_at(&[0; ENTRY_BYTES], self.entries * ENTRY_BYTES as u64)?;
        self.reserved = Some(Arc::new(file));
        Ok(())
    }

    /// Gives back the room that was reserved.
    pub fn release(&mut self) -> io::Result<()> {
        match self.reserved.take() {
            Some(file) => file.set_len(self.entries * ENTRY_BYTES as u64),
            None => Ok(()),
        }
    }

    /// Adds a transaction, whose marker comes after those of all others.
    pub fn append(&mut self, aborted: &AbortedTransaction) -> io::Result<()> {
        assert!(
            self.last_offset.is_none_or(|it| it < aborted.last_offset),
            "abort markers are indexed in the order of the log"
        );
        let file = match self.reserved.take() {
            Some(reserved) => reserved,
            None => Arc::new(self.disk.open(&self.path, Open::Create)?),
        };
        file.write_all_at(&aborted.encode(), self.entries * ENTRY_BYTES as u64)?;
        self.entries += 1;
        self.last_offset = Some(aborted.last_offset);
        Ok(())
    }

    /// Makes the entries durable.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.entries > self.durable {
            self.disk.open(&self.path, Open::Write)?.sync_data()?;
            self.durable = self.entries;
        }
        Ok(())
    }

    /// Removes all entries.
    pub fn reset(&mut self) -> io::Result<()> {
        self.set_entries(0, None)
    }

    /// Removes the entries whose marker is at `offset` or after.
    pub fn truncate_to(&mut self, offset: Offset) -> io::Result<()> {
        let mut kept = (0, None);
        self.scan(|number, it| {
            let keep = it.last_offset < offset;
            if keep {
                kept = (number + 1, Some(it.last_offset));
            }
            keep
        })?;
        if kept.0 < self.entries { self.set_entries(kept.0, kept.1) } else { Ok(()) }
    }

    fn set_entries(&mut self, entries: u64, last_offset: Option<Offset>) -> io::Result<()> {
        match self.disk.open(&self.path, Open::Write) {
            Ok(file) => file.set_len(entries * ENTRY_BYTES as u64)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.entries = entries;
        self.durable = 0;
        self.last_offset = last_offset;
        Ok(())
    }

    /// Every entry.
    pub fn all(&self) -> io::Result<Vec<AbortedTransaction>> {
        let mut all = Vec::new();
        self.scan(|_, it| {
            all.push(*it);
            true
        })?;
        Ok(all)
    }

    /// The transactions that have records from `first` on and before `end`.
    pub fn collect(&self, first: Offset, end: Offset) -> io::Result<Collected> {
        let mut collected = Collected::default();
        self.scan(|_, it| {
            if it.last_offset >= first && it.first_offset < end {
                collected.aborted.push(*it);
            }
            collected.complete = it.last_stable_offset >= end;
            !collected.complete
        })?;
        Ok(collected)
    }

    /// Checks that every marker is in the segment, which begins at `base`, and that they are in order. An
    /// index that does not pass is rebuilt from the log.
    pub fn check(&self, base: Offset) -> io::Result<()> {
        let mut before = None;
        let mut broken = None;
        self.scan(|_, it| {
            if it.last_offset < base || before.is_some_and(|before| it.last_offset <= before) {
                broken = Some(it.last_offset);
            }
            before = Some(it.last_offset);
            broken.is_none()
        })?;
        match broken {
            None => Ok(()),
            Some(offset) => {
                let reason = format!("the marker at {offset} is out of place in a segment from {base}");
                Err(MalformedFile::error(&self.path, reason))
            }
        }
    }

    /// Calls `see` with entries and their numbers until it says no.
    fn scan(&self, see: impl FnMut(u64, &AbortedTransaction) -> bool) -> io::Result<()> {
        self.scan_from(0, see)
    }

    fn scan_from(&self, first: u64, mut see: impl FnMut(u64, &AbortedTransaction) -> bool) -> io::Result<()> {
        if first >= self.entries {
            return Ok(());
        }
        let file = self.disk.open(&self.path, Open::Read)?;
        let mut number = first;
        let mut buffer = Vec::new();
        while number < self.entries {
            let count = (self.entries - number).min(ENTRIES_PER_READ as u64) as usize;
            buffer.resize(count * ENTRY_BYTES, 0);
            file.read_exact_at(&mut buffer, number * ENTRY_BYTES as u64)?;
            let (entries, _) = buffer.as_chunks::<ENTRY_BYTES>();
            for entry in entries {
                let entry = AbortedTransaction::decode(entry)
                    .map_err(|reason| MalformedFile::error(&self.path, reason))?;
                if !see(number, &entry) {
                    return Ok(());
                }
                number += 1;
            }
        }
        Ok(())
    }
}
