//! Where each leader's epoch begins in a log, and the `leader-epoch-checkpoint` that remembers it
//! (`LeaderEpochFileCache`, `LeaderEpochCheckpointFile`; KIP-101, KIP-279).

use std::fmt;
use std::io;
use std::path::Path;

use ottla_base::{LeaderEpoch, Offset};
use ottla_host::Disk;

use crate::checkpoint_file::{fields_of, format_entries, read_entries, write_entries};

#[cfg(test)]
mod tests;

/// The name of the file in a partition's directory.
pub const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";

/// An epoch and the offset of its first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Where it begins.
    pub start: Offset,
}

/// An epoch and the offset after its last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch that is not above the one that was asked for; [`LeaderEpoch::NONE`] if there is no
    /// answer.
    pub epoch: LeaderEpoch,
    /// Where it ends; −1 if there is no answer.
    pub end: Offset,
}

impl EpochEnd {
    /// There is no answer.
    pub const UNDEFINED: EpochEnd = EpochEnd { epoch: LeaderEpoch::NONE, end: Offset(-1) };
}

/// What has to be done after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a change that is not written is forgotten at the next start"]
pub enum EpochChange {
    /// Nothing has changed.
    None,
    /// Entries were added: the file must be written before the log goes on, so that it never lacks one.
    Added,
    /// Entries were removed: the file may be written later. After a crash the log truncates them again.
    Removed,
}

/// The epochs of a log, in order. Both epochs and starts increase.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaderEpochs {
    entries: Vec<EpochStart>,
}

impl LeaderEpochs {
    /// Reads the checkpoint; a missing file has no epochs. Entries out of order are repaired, the later
    /// winning.
    pub fn read(disk: &Disk, path: &Path) -> io::Result<LeaderEpochs> {
        let mut epochs = LeaderEpochs::default();
        for EpochStart { epoch, start } in read_entries(disk, path, parse)? {
            if epoch >= LeaderEpoch(0) && start >= Offset::ZERO {
                let _ = epochs.assign(epoch, start);
            }
        }
        Ok(epochs)
    }

    /// Writes the checkpoint, durably and whole.
    pub fn write(&self, disk: &Disk, path: &Path) -> io::Result<()> {
        write_entries(disk, path, self.entries.len(), self.entries.iter())
    }

    /// The content of the file.
    pub fn format(&self) -> String {
        format_entries(self.entries.len(), self.entries.iter())
    }

    /// The epochs, the oldest first.
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// Whether no epoch is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The latest epoch and where it begins.
    pub fn latest(&self) -> Option<EpochStart> {
        self.entries.last().copied()
    }

    /// The earliest epoch and where it begins.
    pub fn earliest(&self) -> Option<EpochStart> {
        self.entries.first().copied()
    }

    /// Where an epoch begins.
    pub fn start_of(&self, epoch: LeaderEpoch) -> Option<Offset> {
        self.entries.iter().find(|it| it.epoch == epoch).map(|it| it.start)
    }

    /// The largest epoch below `epoch`.
    pub fn before(&self, epoch: LeaderEpoch) -> Option<EpochStart> {
        let above = self.entries.partition_point(|it| it.epoch < epoch);
        above.checked_sub(1).and_then(|it| self.entries.get(it)).copied()
    }

    /// The smallest epoch above `epoch`.
    pub fn after(&self, epoch: LeaderEpoch) -> Option<EpochStart> {
        self.entries.get(self.entries.partition_point(|it| it.epoch <= epoch)).copied()
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let above = self.entries.partition_point(|it| it.start <= offset);
        above.checked_sub(1).and_then(|it| self.entries.get(it)).map(|it| it.epoch)
    }

    /// A record of `epoch` is at `start`. Epochs that contradict this are removed. For the epoch at hand this
    /// is one comparison.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> EpochChange {
        assert!(epoch >= LeaderEpoch(0) && start >= Offset::ZERO, "an epoch and its start are not negative");
        if self.latest().is_some_and(|it| it.epoch == epoch && it.start <= start) {
            return EpochChange::None;
        }
        while self.latest().is_some_and(|it| it.epoch >= epoch || it.start >= start) {
            self.entries.pop();
        }
        self.entries.push(EpochStart { epoch, start });
        EpochChange::Added
    }

    /// Which epoch, not above `asked`, ends where: where the next one begins, or at the log's end for the
    /// latest.
    pub fn end_of(&self, asked: LeaderEpoch, log_end: Offset) -> EpochEnd {
        if asked == LeaderEpoch::NONE {
            return EpochEnd::UNDEFINED;
        }
        if self.latest().is_some_and(|it| it.epoch == asked) {
            return EpochEnd { epoch: asked, end: log_end };
        }
        let above = self.entries.partition_point(|it| it.epoch <= asked);
        let Some(next) = self.entries.get(above) else { return EpochEnd::UNDEFINED };
        // An epoch from before the log's start ends where the log begins.
        let epoch = above.checked_sub(1).and_then(|it| self.entries.get(it)).map_or(asked, |it| it.epoch);
        EpochEnd { epoch, end: next.start }
    }

    /// The log ends at `end` now.
    pub fn truncate_from_end(&mut self, end: Offset) -> EpochChange {
        if end < Offset::ZERO || self.latest().is_none_or(|it| it.start < end) {
            return EpochChange::None;
        }
        self.entries.truncate(self.entries.partition_point(|it| it.start < end));
        EpochChange::Removed
    }

    /// The log begins at `start` now: the epoch of that record begins there too.
    pub fn truncate_from_start(&mut self, start: Offset) -> EpochChange {
        let before = self.entries.partition_point(|it| it.start <= start);
        let Some(last) = before.checked_sub(1) else { return EpochChange::None };
        if last == 0 && self.entries[0].start == start {
            return EpochChange::None;
        }
        self.entries.drain(..last);
        self.entries[0].start = start;
        EpochChange::Removed
    }

    /// The epochs of the records from `first` on and before `end`.
    pub fn in_range(&self, first: Offset, end: Offset) -> LeaderEpochs {
        let mut part = self.clone();
        if first >= Offset::ZERO {
            let _ = part.truncate_from_start(first);
        }
        let _ = part.truncate_from_end(end);
        part
    }

    /// Forgets every epoch.
    pub fn clear(&mut self) -> EpochChange {
        if self.is_empty() {
            return EpochChange::None;
        }
        self.entries.clear();
        EpochChange::Removed
    }
}

impl fmt::Display for EpochStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.epoch, self.start)
    }
}

fn parse(line: &str) -> Option<EpochStart> {
    let [epoch, start] = fields_of(line)?;
    Some(EpochStart { epoch: LeaderEpoch(epoch.parse().ok()?), start: Offset(start.parse().ok()?) })
}
