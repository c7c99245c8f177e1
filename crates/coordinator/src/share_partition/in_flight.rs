//! The records in flight as runs of offsets that fare alike, and the batches they were first acquired in.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use ottla_base::{Moment, Str};

/// How it stands with a record (`RecordState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordState {
    /// Nobody has it.
    Available,
    /// A member has it.
    Acquired,
    /// A member has done what was to be done.
    Acknowledged,
    /// It is given up, and on its way to the dead-letter queue.
    Archiving,
    /// It is given up.
    Archived,
}

impl RecordState {
    /// The number that stands for the state in records and requests.
    pub fn id(self) -> i8 {
        match self {
            RecordState::Available => 0,
            RecordState::Acquired => 1,
            RecordState::Acknowledged => 2,
            RecordState::Archiving => 3,
            RecordState::Archived => 4,
        }
    }

    /// The state that a number stands for.
    pub fn from_id(id: i8) -> Option<RecordState> {
        Some(match id {
            0 => RecordState::Available,
            1 => RecordState::Acquired,
            2 => RecordState::Acknowledged,
            3 => RecordState::Archiving,
            4 => RecordState::Archived,
            _ => return None,
        })
    }

    /// Whether nothing more happens to the record.
    pub fn is_terminal(self) -> bool {
        matches!(self, RecordState::Acknowledged | RecordState::Archived)
    }
}

/// Neighbouring records that fare alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// The last offset.
    pub(super) last: i64,
    /// How it stands with them; while in transition, how it will stand.
    pub(super) state: RecordState,
    /// How often they were delivered.
    pub(super) delivery_count: i16,
    /// Who has them, while they are acquired.
    pub(super) member: Option<Str>,
    /// Until when.
    pub(super) lock: Option<Moment>,
    /// The change that is being persisted.
    pub(super) transition: Option<Transition>,
}

/// A change that is being persisted, and how to take it back. What is taken back was acquired before: nothing else
/// changes in this way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transition {
    /// The write.
    pub(super) id: u64,
    /// Who had the records.
    pub(super) member: Option<Str>,
    /// Whether the records came to an end while the write was on its way: then nothing is taken back.
    pub(super) is_over: bool,
}

impl Run {
    /// Whether somebody can have the records.
    pub(super) fn is_available(&self) -> bool {
        self.state == RecordState::Available && self.transition.is_none()
    }

    /// The records come to an end, whatever is on its way.
    pub(super) fn archive(&mut self) {
        self.state = RecordState::Archived;
        self.member = None;
        self.lock = None;
        if let Some(transition) = &mut self.transition {
            transition.is_over = true;
        }
    }

    fn fares_like(&self, other: &Run) -> bool {
        self.state == other.state
            && self.delivery_count == other.delivery_count
            && self.transition.is_none()
            && other.transition.is_none()
            && self.lock == other.lock
            && self.member == other.member
    }
}

/// Records that were first acquired together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    /// The last offset.
    pub(super) last: i64,
    /// Whether parts of it have fared differently at some time.
    pub(super) is_split: bool,
}

/// Batches in flight, each covered by its runs without gaps.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    batches: BTreeMap<i64, Batch>,
    runs: BTreeMap<i64, Run>,
}

impl InFlight {
    /// Whether nothing is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// How many batches there are.
    pub(super) fn batch_count(&self) -> usize {
        self.batches.len()
    }

    /// The last offset of the last batch.
    pub(super) fn last_offset(&self) -> Option<i64> {
        self.batches.last_key_value().map(|(_, batch)| batch.last)
    }

    /// Where the first batch begins.
    pub(super) fn first_offset(&self) -> Option<i64> {
        self.batches.first_key_value().map(|(first, _)| *first)
    }

    /// Every run, by its first offset.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &Run)> {
        self.runs.iter().map(|(first, run)| (*first, run))
    }

    /// Every batch, by its first offset.
    pub(super) fn batches(&self) -> impl Iterator<Item = (i64, Batch)> {
        self.batches.iter().map(|(first, batch)| (*first, *batch))
    }

    /// The batches that begin within `range`, by their first offsets.
    pub(super) fn batches_from(&self, range: RangeInclusive<i64>) -> Vec<(i64, Batch)> {
        if range.is_empty() {
            return Vec::new();
        }
        self.batches.range(range).map(|(first, batch)| (*first, *batch)).collect()
    }

    /// The last batch that begins at `offset` or before.
    pub(super) fn floor(&self, offset: i64) -> Option<(i64, Batch)> {
        self.batches.range(..=offset).next_back().map(|(first, batch)| (*first, *batch))
    }

    /// The first batch that begins after `offset`.
    pub(super) fn first_after(&self, offset: i64) -> Option<i64> {
        self.batches.range(offset.checked_add(1)?..).next().map(|(first, _)| *first)
    }

    /// The last run that begins at `offset` or before.
    pub(super) fn floor_run(&self, offset: i64) -> Option<&Run> {
        self.runs.range(..=offset).next_back().map(|(_, run)| run)
    }

    /// The runs of a batch.
    pub(super) fn runs_of(&self, first: i64, batch: Batch) -> impl Iterator<Item = (i64, &Run)> {
        self.runs.range(first..=batch.last).map(|(first, run)| (*first, run))
    }

    /// The runs that have records in a range.
    pub(super) fn runs_over(&self, low: i64, high: i64) -> impl Iterator<Item = (i64, &Run)> {
        let from = match self.runs.range(..=low).next_back() {
            Some((first, run)) if run.last >= low => *first,
            _ => low,
        };
        self.runs.range(from..=high.max(from)).map(|(first, run)| (*first, run))
    }

    /// Notes that parts of a batch fare differently.
    pub(super) fn split(&mut self, first: i64) {
        if let Some(batch) = self.batches.get_mut(&first) {
            batch.is_split = true;
        }
    }

    /// Adds what was persisted.
    pub(super) fn add_loaded(&mut self, first: i64, last: i64, state: RecordState, delivery_count: i16) {
        let run = Run { last, state, delivery_count, member: None, lock: None, transition: None };
        self.batches.insert(first, Batch { last, is_split: false });
        self.runs.insert(first, run);
    }

    /// Adds records that a member has acquired for the first time.
    pub(super) fn add_acquired(&mut self, first: i64, last: i64, member: &Str, lock: Moment) {
        let run = Run {
            last,
            state: RecordState::Acquired,
            delivery_count: 1,
            member: Some(member.clone()),
            lock: Some(lock),
            transition: None,
        };
        self.batches.insert(first, Batch { last, is_split: false });
        self.runs.insert(first, run);
    }

    /// Adds records that nobody has yet, to a batch that ends before them.
    pub(super) fn add_rest(&mut self, batch: i64, first: i64, last: i64) {
        let run = Run {
            last,
            state: RecordState::Available,
            delivery_count: 0,
            member: None,
            lock: None,
            transition: None,
        };
        self.runs.insert(first, run);
        self.batches.insert(batch, Batch { last, is_split: true });
    }

    /// Changes what lies within `range`: runs that reach out of it are cut. `change` says of each run whether it wants
    /// to change it at all, so that others stay whole.
    pub(super) fn change(
        &mut self,
        range: RangeInclusive<i64>,
        wants: impl Fn(&Run) -> bool,
        mut change: impl FnMut(i64, &mut Run),
    ) {
        let (low, high) = range.into_inner();
        let mut at = match self.runs.range(..=low).next_back() {
            Some((first, run)) if run.last >= low => *first,
            _ => low,
        };
        while at <= high {
            let Some((&first, run)) = self.runs.range(at..=high).next() else { return };
            let last = run.last;
            if wants(run) {
                self.cut_before(first, low);
                self.cut_after(first.max(low), high);
                if let Some(run) = self.runs.get_mut(&first.max(low)) {
                    change(first.max(low), run);
                }
            }
            at = last + 1;
        }
    }

    /// Cuts the run that begins at `first` so that another one begins at `at`, if it reaches there.
    fn cut_before(&mut self, first: i64, at: i64) {
        let Some(run) = self.runs.get_mut(&first) else { return };
        if first < at && at <= run.last {
            let rest = run.clone();
            run.last = at - 1;
            self.runs.insert(at, rest);
        }
    }

    /// Cuts the run that begins at `first` so that it ends at `last`, if it goes on.
    fn cut_after(&mut self, first: i64, last: i64) {
        if last < i64::MAX {
            self.cut_before(first, last + 1);
        }
    }

    /// Joins runs within `range`, and those that touch it, that fare alike again. Runs of different batches stay apart.
    pub(super) fn join(&mut self, range: RangeInclusive<i64>) {
        let (low, high) = range.into_inner();
        let mut at = self.runs.range(..low).next_back().map_or(low, |(first, _)| *first);
        while let Some((&first, run)) = self.runs.range(at..).next() {
            if first > high {
                return;
            }
            at = first;
            let next = run.last + 1;
            let joined = self.runs.get(&next).filter(|it| it.fares_like(run)).map(|it| it.last);
            match joined {
                Some(last) if !self.batches.contains_key(&next) => {
                    self.runs.remove(&next);
                    if let Some(run) = self.runs.get_mut(&first) {
                        run.last = last;
                    }
                }
                _ => at = next,
            }
        }
    }

    /// Forgets every batch that begins before `first`.
    pub(super) fn remove_before(&mut self, first: i64) {
        self.batches = self.batches.split_off(&first);
        self.runs = self.runs.split_off(&first);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.batches.clear();
        self.runs.clear();
    }
}
