//! All tiered segments of a partition: replayed from records, searched by epoch and offset
//! (`RemoteLogMetadataCache`, `RemoteLogLeaderEpochState`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_base::{LeaderEpoch, Offset, Uuid};

use crate::records::Event;
use crate::segment::{SegmentMetadata, SegmentState};

/// A record that does not follow from those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tiered segment {id} cannot go from {from:?} to {to:?}")]
pub struct Rejected {
    /// The segment.
    pub id: Uuid,
    /// What it is; `None` if it is not known.
    pub from: Option<SegmentState>,
    /// What it was to be.
    pub to: SegmentState,
}

/// The tiered segments of a partition.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    segments: BTreeMap<Uuid, Arc<SegmentMetadata>>,
    epochs: BTreeMap<LeaderEpoch, OfEpoch>,
}

/// The segments with records of one leader epoch.
#[derive(Debug, Clone, Default, PartialEq)]
struct OfEpoch {
    /// Those that are read and where their part of the epoch ends, by where it begins.
    read: BTreeMap<Offset, (Uuid, Offset)>,
    /// Those that are not: on their way in or out, or covered by another.
    unread: BTreeSet<Uuid>,
    /// The offset after the last that was ever copied of the epoch. It stays when segments go.
    copied_to: Option<Offset>,
}

impl Catalog {
    /// Whether a record would follow from those before it.
    pub fn check(&self, event: &Event) -> Result<(), Rejected> {
        let id = event.id().id;
        let from = self.segments.get(&id).map(|it| it.state);
        let to = match event {
            Event::Added(it) => it.state,
            Event::Updated(it) => it.state,
        };
        let fits = match event {
            Event::Added(_) => to == SegmentState::CopyStarted,
            Event::Updated(_) => from.is_some() && to != SegmentState::CopyStarted,
        };
        if fits && SegmentState::may_become(from, to) { Ok(()) } else { Err(Rejected { id, from, to }) }
    }

    /// Takes in a record. What does not follow is left out, as Kafka leaves it out.
    pub fn apply(&mut self, event: &Event) -> Result<(), Rejected> {
        self.check(event)?;
        match event {
            Event::Added(it) => self.put(Arc::new(it.clone())),
            Event::Updated(update) => {
                if let Some(known) = self.segments.get(&update.id.id) {
                    let updated = known.updated(update);
                    self.put(Arc::new(updated));
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, segment: Arc<SegmentMetadata>) {
        let id = segment.id.id;
        for epoch in &segment.epochs {
            let end = segment.end_of_epoch(epoch.epoch);
            let of_epoch = self.epochs.entry(epoch.epoch).or_default();
            match segment.state {
                SegmentState::CopyStarted => {
                    of_epoch.unread.insert(id);
                }
                SegmentState::CopyFinished => of_epoch.copied(epoch.start, end, id),
                SegmentState::DeleteStarted => {
                    if of_epoch.read.get(&epoch.start).is_some_and(|it| it.0 == id) {
                        of_epoch.read.remove(&epoch.start);
                    }
                    of_epoch.unread.insert(id);
                }
                SegmentState::DeleteFinished => {
                    of_epoch.unread.remove(&id);
                }
            }
        }
        match segment.state {
            SegmentState::DeleteFinished => self.segments.remove(&id),
            _ => self.segments.insert(id, segment),
        };
    }

    /// The segment that has an offset of an epoch and may be read.
    pub fn find(&self, epoch: LeaderEpoch, offset: Offset) -> Option<&Arc<SegmentMetadata>> {
        let (_, (id, _)) = self.epochs.get(&epoch)?.read.range(..=offset).next_back()?;
        self.segments.get(id).filter(|it| offset < it.end_of_epoch(epoch))
    }

    /// The first segment with records of an epoch, at or after an offset, in which a transaction was aborted.
    pub fn next_with_transactions(
        &self,
        epoch: LeaderEpoch,
        mut offset: Offset,
    ) -> Option<&Arc<SegmentMetadata>> {
        loop {
            let found = self.find(epoch, offset)?;
            if !found.txn_index_empty {
                return Some(found);
            }
            offset = found.end;
        }
    }

    /// A segment by its id.
    pub fn get(&self, id: Uuid) -> Option<&Arc<SegmentMetadata>> {
        self.segments.get(&id)
    }

    /// Every segment that is not gone.
    pub fn all(&self) -> impl Iterator<Item = &Arc<SegmentMetadata>> {
        self.segments.values()
    }

    /// How many segments are not gone.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Every segment with records of an epoch, by their start.
    pub fn of_epoch(&self, epoch: LeaderEpoch) -> Vec<&Arc<SegmentMetadata>> {
        let Some(of_epoch) = self.epochs.get(&epoch) else { return Vec::new() };
        let ids = of_epoch.read.values().map(|it| &it.0).chain(&of_epoch.unread);
        let mut segments: Vec<_> = ids.filter_map(|id| self.segments.get(id)).collect();
        segments.sort_by_key(|it| (it.start, it.end, it.id.id));
        segments
    }

    /// The offset after the last that was ever copied of an epoch.
    pub fn copied_to(&self, epoch: LeaderEpoch) -> Option<Offset> {
        self.epochs.get(&epoch)?.copied_to
    }

    /// The bytes of the segments that may be read.
    pub fn readable_bytes(&self) -> u64 {
        let readable = self.all().filter(|it| it.state == SegmentState::CopyFinished);
        readable.map(|it| u64::from(it.size)).sum()
    }

    /// The bytes of the segments whose objects are all there or may be (Kafka's `RemoteLogSizeBytes`).
    pub fn bytes(&self) -> u64 {
        let there = |it: &&Arc<SegmentMetadata>| {
            matches!(it.state, SegmentState::CopyFinished | SegmentState::DeleteStarted)
        };
        self.all().filter(there).map(|it| u64::from(it.size)).sum()
    }
}

impl OfEpoch {
    /// A segment with this part of the epoch was copied. Those that it covers are not read any more: a leader before
    /// had copied them, and this one did not know.
    fn copied(&mut self, start: Offset, end: Offset, id: Uuid) {
        while let Some(last) = self.read.last_entry() {
            let covered = *last.key() >= start && self.copied_to.is_none_or(|it| it <= end);
            if !covered || last.get().0 == id {
                break;
            }
            self.unread.insert(last.remove().0);
        }
        match self.read.get(&start) {
            // Unlike in Kafka, a shorter one never hides a longer one.
            Some((other, longer)) if *other != id && *longer > end => drop(self.unread.insert(id)),
            before => {
                self.unread.extend(before.map(|it| it.0).filter(|it| *it != id));
                self.read.insert(start, (id, end));
                self.unread.remove(&id);
            }
        }
        self.copied_to = self.copied_to.max(Some(end));
    }
}

#[cfg(test)]
pub(crate) mod tests;
