//! The `.snapshot` files of a partition: taking, loading and removing them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use ottla_base::{Offset, Timestamp};
use ottla_host::Disk;
use ottla_host::disk::Open;
use tracing::{debug, warn};

use super::{ProducerStates, snapshot};
use crate::file_names::{FileName, SegmentFile, Standing};

/// The longest snapshot that is read: eleven million producers.
const MAX_SNAPSHOT_BYTES: u64 = 512 << 20;

/// When a snapshot is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotSync {
    /// Before the call returns.
    Now,
    /// By the caller, at its leisure, with [`SnapshotFiles::sync`]. A torn file is noticed by its checksum.
    Later,
}

/// Where the producers came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// They were there.
    Kept,
    /// From a snapshot.
    Snapshot,
    /// There is no snapshot: nothing is known.
    Nothing,
}

/// Which snapshots a partition has. An offset is that of the first record a snapshot knows nothing of.
#[derive(Debug, Clone)]
pub struct SnapshotFiles {
    disk: Disk,
    directory: PathBuf,
    offsets: BTreeSet<Offset>,
    /// Up to where the newest snapshot knows the log, or where the log began when there was none.
    last: Offset,
}

impl SnapshotFiles {
    /// Finds the snapshots in a partition's directory.
    pub fn open(disk: Disk, directory: PathBuf) -> io::Result<SnapshotFiles> {
        let offsets = find(&disk, &directory)?;
        Ok(SnapshotFiles { disk, directory, offsets, last: Offset::ZERO })
    }

    /// The partition's directory was renamed or moved.
    pub fn set_directory(&mut self, directory: PathBuf) {
        self.directory = directory;
    }

    /// The newest snapshot.
    pub fn newest(&self) -> Option<Offset> {
        self.offsets.last().copied()
    }

    /// The oldest snapshot.
    pub fn oldest(&self) -> Option<Offset> {
        self.offsets.first().copied()
    }

    /// Whether there is a snapshot at this offset.
    pub fn contains(&self, offset: Offset) -> bool {
        self.offsets.contains(&offset)
    }

    /// The path of the snapshot at an offset, whether it exists or not.
    pub fn path(&self, offset: Offset) -> PathBuf {
        self.directory.join(FileName::live(offset, SegmentFile::Snapshot).to_string())
    }

    /// Writes a snapshot of `states` at their end, unless there is one already. Gives its offset.
    pub fn take(&mut self, states: &ProducerStates, sync: SnapshotSync) -> io::Result<Option<Offset>> {
        let offset = states.end_offset();
        if offset <= self.last {
            return Ok(None);
        }
        let entries = states.entries();
        let content = snapshot::encode(&entries);
        let path = self.path(offset);
        match sync {
            SnapshotSync::Now => self.disk.write_atomically(&path, &content)?,
            SnapshotSync::Later => {
                self.disk.open(&path, Open::Truncate)?.write_all_at(&content, 0)?;
            }
        }
        self.offsets.insert(offset);
        self.last = offset;
        Ok(Some(offset))
    }

    /// Makes a snapshot durable. It may have been removed meanwhile.
    pub fn sync(disk: &Disk, path: &Path) -> io::Result<()> {
        match disk.open(path, Open::Write) {
            Ok(file) => file.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes snapshots outside of the log, and loads the newest that is left, unless `states` are already
    /// at the log's end. Snapshots that cannot be read are removed. Afterwards the log must be read from the
    /// states' end on.
    pub fn truncate_and_reload(
        &mut self,
        states: &mut ProducerStates,
        log_start: Offset,
        log_end: Offset,
        now: Timestamp,
    ) -> io::Result<Reloaded> {
        let outside: Vec<Offset> =
            self.offsets.iter().copied().filter(|it| *it > log_end || *it <= log_start).collect();
        for offset in outside {
            self.remove(offset)?;
        }
        if states.end_offset() == log_end {
            self.on_log_start(states, log_start);
            return Ok(Reloaded::Kept);
        }
        states.clear();
        self.load_newest(states, log_start, now)
    }

    fn load_newest(
        &mut self,
        states: &mut ProducerStates,
        log_start: Offset,
        now: Timestamp,
    ) -> io::Result<Reloaded> {
        while let Some(offset) = self.newest() {
            let path = self.path(offset);
            let content = self.disk.read(&path, MAX_SNAPSHOT_BYTES)?;
            match snapshot::decode(&content) {
                Ok(entries) => {
                    for (producer_id, entry) in entries {
                        if !states.is_expired(&entry, now) {
                            states.restore(producer_id, entry);
                        }
                    }
                    states.set_end_offset(offset);
                    self.last = offset;
                    return Ok(Reloaded::Snapshot);
                }
                Err(reason) => {
                    warn!(path = %path.display(), %reason, "removed a producer snapshot that cannot be read");
                    self.remove(offset)?;
                }
            }
        }
        states.set_end_offset(log_start);
        self.last = log_start;
        Ok(Reloaded::Nothing)
    }

    /// The log begins later now.
    pub fn on_log_start(&mut self, states: &mut ProducerStates, log_start: Offset) {
        states.on_log_start(log_start);
        self.last = self.newest().unwrap_or(log_start);
    }

    /// Forgets everything and removes every snapshot: the log begins anew at `offset`.
    pub fn restart_at(&mut self, states: &mut ProducerStates, offset: Offset) -> io::Result<()> {
        states.clear();
        states.set_end_offset(offset);
        for offset in std::mem::take(&mut self.offsets) {
            self.disk.remove_file_if_exists(self.path(offset))?;
        }
        self.last = Offset::ZERO;
        Ok(())
    }

    /// Looks again which snapshots there are, and forgets everything that was loaded.
    pub fn reopen(&mut self, states: &mut ProducerStates) -> io::Result<()> {
        self.restart_at(states, Offset::ZERO)?;
        self.offsets = find(&self.disk, &self.directory)?;
        Ok(())
    }

    /// Removes snapshots that belong to no segment, except the newest of them if it is above every segment:
    /// a clean shutdown wrote it.
    pub fn remove_strays(&mut self, segment_bases: &BTreeSet<Offset>) -> io::Result<()> {
        self.offsets = find(&self.disk, &self.directory)?;
        let mut strays: Vec<Offset> = self.offsets.difference(segment_bases).copied().collect();
        if let Some(newest) = strays.last()
            && segment_bases.last().is_none_or(|base| newest >= base)
        {
            strays.pop();
        }
        if !strays.is_empty() {
            debug!(directory = %self.directory.display(), count = strays.len(), "removed stray producer snapshots");
        }
        for offset in strays {
            self.remove(offset)?;
        }
        Ok(())
    }

    /// Removes the snapshots before `offset`.
    pub fn remove_before(&mut self, offset: Offset) -> io::Result<()> {
        let older: Vec<Offset> = self.offsets.range(..offset).copied().collect();
        for offset in older {
            self.remove(offset)?;
        }
        Ok(())
    }

    /// Removes the snapshot at `offset`, if there is one.
    pub fn remove(&mut self, offset: Offset) -> io::Result<()> {
        if self.offsets.remove(&offset) {
            self.disk.remove_file_if_exists(self.path(offset))?;
        }
        Ok(())
    }

    /// Forgets the snapshot at `offset` and gives its file the ending of files that are about to be removed.
    /// Gives the file's new path.
    pub fn mark_deleted(&mut self, offset: Offset) -> io::Result<Option<PathBuf>> {
        if !self.offsets.remove(&offset) {
            return Ok(None);
        }
        let name = FileName::live(offset, SegmentFile::Snapshot).standing(Standing::Deleted);
        let marked = self.directory.join(name.to_string());
        match self.disk.rename(self.path(offset), &marked) {
            Ok(()) => Ok(Some(marked)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn find(disk: &Disk, directory: &Path) -> io::Result<BTreeSet<Offset>> {
    let entries = disk.list(directory)?;
    let names = entries.iter().filter(|it| !it.is_dir).filter_map(|it| FileName::parse(&it.name));
    Ok(names
        .filter(|it| it.kind == SegmentFile::Snapshot && it.standing == Standing::Live)
        .map(|it| it.base)
        .collect())
}
