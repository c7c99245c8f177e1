//! The shape of the metadata log as the machine sees it: ends, epochs and snapshots, never its bytes.

use std::collections::BTreeSet;

use ottla_base::{LeaderEpoch, Offset};

use crate::ids::OffsetAndEpoch;

/// The shape of the log. The machine commands every change to the log, so this never lags behind the disk.
#[derive(Debug, Clone, Default)]
pub struct LogShape {
    start: Offset,
    end: Offset,
    flushed: Offset,
    /// Epochs and their first offsets, strictly ascending in both.
    epochs: Vec<(LeaderEpoch, Offset)>,
    snapshots: BTreeSet<OffsetAndEpoch>,
}

/// What a leader makes of a follower's end of log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The follower's log is a prefix of the leader's.
    Valid,
    /// The logs differ at or before this place: truncate and ask again.
    Diverging(OffsetAndEpoch),
    /// The leader no longer has that part of the log: fetch this snapshot.
    Snapshot(OffsetAndEpoch),
}

impl LogShape {
    /// The shape of a log found on disk, all of it durable. `epochs` come from the leader-epoch checkpoint.
    pub fn recovered(
        start: Offset,
        end: Offset,
        epochs: Vec<(LeaderEpoch, Offset)>,
        snapshots: BTreeSet<OffsetAndEpoch>,
    ) -> LogShape {
        LogShape { start, end, flushed: end, epochs, snapshots }
    }

    /// The first offset.
    pub fn start(&self) -> Offset {
        self.start
    }

    /// One past the last record.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// One past the last record that is on the disk for certain.
    pub fn flushed(&self) -> Offset {
        self.flushed
    }

    /// The end of the log and the epoch of its last record: what elections compare.
    pub fn end_and_epoch(&self) -> OffsetAndEpoch {
        OffsetAndEpoch::new(self.end, self.last_epoch())
    }

    /// The epoch of the last record; of the snapshot that the log begins with if the log is empty.
    pub fn last_epoch(&self) -> LeaderEpoch {
        match self.epochs.last() {
            Some((epoch, _)) => *epoch,
            None => self
                .latest_snapshot()
                .filter(|snapshot| snapshot.offset == self.end)
                .map_or(LeaderEpoch(0), |snapshot| snapshot.epoch),
        }
    }

    /// The latest snapshot.
    pub fn latest_snapshot(&self) -> Option<OffsetAndEpoch> {
        self.snapshots.last().copied()
    }

    /// The earliest snapshot that is kept.
    pub fn earliest_snapshot(&self) -> Option<OffsetAndEpoch> {
        self.snapshots.first().copied()
    }

    /// Whether a snapshot exists.
    pub fn has_snapshot(&self, id: OffsetAndEpoch) -> bool {
        self.snapshots.contains(&id)
    }

    /// Records of `epoch` were written up to `end`.
    pub fn appended(&mut self, end: Offset, epoch: LeaderEpoch) {
        assert!(end > self.end, "an append must move the end of the log: {} to {end}", self.end);
        if self.epochs.last().is_none_or(|(last, _)| *last < epoch) {
            self.epochs.push((epoch, self.end));
        }
        self.end = end;
    }

    /// Everything below `end` is on the disk. News of what has been truncated since is void.
    pub fn flushed_to(&mut self, end: Offset) {
        self.flushed = self.flushed.max(end.min(self.end));
    }

    /// The log was truncated.
    pub fn truncated(&mut self, end: Offset) {
        self.end = self.end.min(end);
        self.flushed = self.flushed.min(end);
        self.epochs.retain(|(_, first)| *first < end);
    }

    /// A snapshot replaced the whole log.
    pub fn replaced(&mut self, snapshot: OffsetAndEpoch) {
        self.start = snapshot.offset;
        self.end = snapshot.offset;
        self.flushed = snapshot.offset;
        self.epochs.clear();
        self.snapshots = BTreeSet::from([snapshot]);
    }

    /// A snapshot of the log's own records was taken.
    pub fn snapshot_taken(&mut self, id: OffsetAndEpoch) {
        self.snapshots.insert(id);
    }

    /// Records and snapshots before `snapshot`, which is kept, were given up.
    pub fn cleaned(&mut self, snapshot: OffsetAndEpoch) {
        assert!(self.snapshots.contains(&snapshot), "the log may only begin at a snapshot that exists");
        self.start = self.start.max(snapshot.offset);
        self.snapshots = self.snapshots.split_off(&snapshot);
        let covered = self.epochs.partition_point(|(_, first)| *first <= snapshot.offset).saturating_sub(1);
        self.epochs.drain(..covered);
        if let Some((_, first)) = self.epochs.first_mut() {
            *first = (*first).max(self.start);
        }
    }

    /// The largest epoch not after `epoch`, and where it ends in this log.
    pub fn end_of_epoch(&self, epoch: LeaderEpoch) -> OffsetAndEpoch {
        let after = self.epochs.partition_point(|(it, _)| *it <= epoch);
        match (self.epochs[..after].last(), self.epochs.get(after)) {
            (_, None) if self.epochs.last().is_none_or(|(last, _)| *last < epoch) => self.end_and_epoch(),
            (Some((last, _)), None) => OffsetAndEpoch::new(self.end, *last),
            (Some((last, _)), Some((_, end))) => OffsetAndEpoch::new(*end, *last),
            (None, Some((_, end))) => match self.earliest_snapshot() {
                Some(snapshot) if snapshot.offset == *end && snapshot.epoch <= epoch => snapshot,
                _ => OffsetAndEpoch::new(*end, epoch),
            },
            (None, None) => self.end_and_epoch(),
        }
    }

    /// Whether a log that ends at `offset`, its last record of `epoch`, is a prefix of this one.
    pub fn place_of(&self, offset: Offset, epoch: LeaderEpoch) -> Place {
        if self.start == Offset(0) && offset == Offset(0) {
            return Place::Valid;
        }
        if let (Some(earliest), Some(latest)) = (self.earliest_snapshot(), self.latest_snapshot())
            && (offset < self.start
                || (offset == self.start && epoch != earliest.epoch)
                || epoch < earliest.epoch)
        {
            return Place::Snapshot(latest);
        }
        let end = self.end_of_epoch(epoch);
        if end.epoch != epoch || end.offset < offset { Place::Diverging(end) } else { Place::Valid }
    }

    /// Where this log has to be cut so that it may agree with a leader who says its `diverging.epoch` ends at
    /// `diverging.offset`.
    pub fn cut_for(&self, diverging: OffsetAndEpoch) -> Offset {
        if diverging.epoch == LeaderEpoch(0) {
            return diverging.offset.min(self.end);
        }
        let own = self.end_of_epoch(diverging.epoch);
        if own.epoch == diverging.epoch { own.offset.min(diverging.offset) } else { own.offset }
    }
}
