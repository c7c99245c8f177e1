//! A change was persisted or was not; the group's beginning moves.

use super::in_flight::RecordState;
use super::{SharePartition, Write, WriteKind};
use crate::share_state::StateBatch;

/// How a write went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persisted {
    /// It is in the log.
    Yes,
    /// It is not, as far as anybody knows.
    No,
}

/// What follows from a write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settled {
    /// Whether there is something for those who wait for records.
    pub has_moved: bool,
    /// What is to be written to the dead-letter queue now; then, whether or not that went well,
    /// [`SharePartition::archive_dead_letter`].
    pub dead_letters: Vec<DeadLetter>,
}

/// Records that are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetter {
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
    /// How often they were delivered.
    pub delivery_count: i16,
    /// Why they are given up.
    pub cause: DeadLetterCause,
}

/// Why records are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterCause {
    /// They were delivered often enough.
    DeliveryCountExceeded,
    /// A member rejected them.
    Rejected,
}

impl SharePartition {
    /// Says how a write went: the change counts, or is taken back.
    pub fn settle(&mut self, write: &Write, persisted: Persisted) -> Settled {
        match (write.kind, persisted) {
            (WriteKind::Transition, Persisted::No) => {
                self.take_back(write);
                // What came to an end while the write was on its way is not in its way any more.
                let has_moved = self.advance();
                Settled { has_moved: has_moved || self.look_again, dead_letters: Vec::new() }
            }
            (WriteKind::Transition, Persisted::Yes) => {
                self.keep(write);
                self.settled(write)
            }
            (WriteKind::Fact, _) => self.settled(write),
        }
    }

    fn settled(&mut self, write: &Write) -> Settled {
        let mut dead_letters = Vec::new();
        for (batch, cause) in write.batches.iter().zip(&write.causes) {
            if let Some(cause) = *cause {
                let StateBatch { first, last, delivery_count, .. } = *batch;
                dead_letters.push(DeadLetter { first, last, delivery_count, cause });
            }
        }
        let has_moved = self.advance();
        Settled { has_moved: has_moved || self.look_again, dead_letters }
    }

    fn keep(&mut self, write: &Write) {
        let is_its = |id: Option<u64>| id == Some(write.id);
        let mut is_available = false;
        for batch in &write.batches {
            self.in_flight.change(
                batch.first..=batch.last,
                |run| is_its(run.transition.as_ref().map(|it| it.id)),
                |_, run| {
                    run.transition = None;
                    run.lock = None;
                    is_available |= run.is_available();
                },
            );
        }
        self.look_again |= is_available;
        self.join(write);
    }

    /// The members have the records again, with the locks they had.
    pub(super) fn take_back(&mut self, write: &Write) {
        let start = self.start;
        let mut uncounted = 0;
        let mut due = None;
        for batch in &write.batches {
            let was_counted =
                RecordState::from_id(batch.delivery_state).is_some_and(RecordState::is_terminal);
            self.in_flight.change(
                batch.first..=batch.last,
                |run| run.transition.as_ref().is_some_and(|it| it.id == write.id),
                |first, run| {
                    let Some(transition) = run.transition.take() else { return };
                    if transition.is_over {
                        return;
                    }
                    run.state = RecordState::Acquired;
                    run.member = transition.member;
                    due = due.into_iter().chain(run.lock).min();
                    if was_counted {
                        uncounted += (run.last - first.max(start) + 1).max(0);
                    }
                },
            );
        }
        self.delivery_complete_count -= uncounted;
        if let Some(due) = due {
            self.lock_until(due);
        }
        self.join(write);
    }

    fn join(&mut self, write: &Write) {
        for batch in &write.batches {
            self.in_flight.join(batch.first..=batch.last);
        }
    }

    /// Records that were given up have been written to the dead-letter queue, or could not be: they are done with.
    pub fn archive_dead_letter(&mut self, letter: &DeadLetter) -> Write {
        let range = letter.first..=letter.last;
        let mut completed = 0;
        let start = self.start;
        self.in_flight.change(
            range,
            |run| run.state == RecordState::Archiving,
            |first, run| {
                completed += (run.last - first.max(start) + 1).max(0);
                run.archive();
            },
        );
        self.delivery_complete_count += completed;
        let batch = StateBatch {
            first: letter.first,
            last: letter.last,
            delivery_state: RecordState::Archived.id(),
            delivery_count: letter.delivery_count,
        };
        let id = self.new_write_id();
        self.write(id, WriteKind::Fact, vec![(batch, None)])
    }

    /// The log begins at `log_start` now: what was before is done with, or will be as soon as its holders are. Says
    /// whether there is something for those who wait for records.
    pub fn log_start_moved(&mut self, log_start: i64) -> bool {
        if log_start <= self.start {
            return false;
        }
        if self.in_flight.is_empty() {
            self.start = log_start;
            self.end = log_start;
            self.delivery_complete_count = 0;
            return true;
        }
        let removed = self.terminal_before(log_start);
        if self.archive(self.start..=log_start - 1, RecordState::Available) > 0 {
            self.look_again = true;
        }
        self.start = log_start;
        self.delivery_complete_count -= removed;
        self.end = self.end.max(self.start);
        // What follows may have been done with for long. With as much in flight as there may be, and nobody who holds
        // anything, nothing else would ever move the beginning: Apache Kafka stands still there.
        self.advance() || self.look_again
    }

    /// How many records from the beginning up to `before` are counted as done with.
    fn terminal_before(&self, before: i64) -> i64 {
        let runs = self.in_flight.iter().take_while(|(first, _)| *first < before);
        let terminal = runs.filter(|(_, run)| run.state.is_terminal());
        terminal.map(|(first, run)| self.counted(first, run.last.min(before - 1))).sum()
    }

    /// Moves the beginning over what is done with. Says whether it has moved.
    pub(super) fn advance(&mut self) -> bool {
        if !self.can_advance() {
            return false;
        }
        let Some((last_done, done)) = self.done_from_the_front() else { return false };
        let Some(last_in_flight) = self.in_flight.last_offset() else { return false };
        if last_done == last_in_flight {
            self.start = self.start.max(last_done + 1);
            self.end = self.start;
            self.in_flight.clear();
            self.delivery_complete_count = 0;
            return true;
        }
        let Some((batch_first, batch)) = self.in_flight.floor(last_done) else { return false };
        if last_done == batch.last {
            let next = self.in_flight.first_after(last_done).unwrap_or(last_done + 1);
            let gap_start = self.active_gap().map_or(next, |gap| gap.start);
            self.start = self.start.max(next.min(gap_start));
            self.in_flight.remove_before(next);
        } else {
            self.start = self.start.max(last_done + 1);
            self.in_flight.remove_before(batch_first);
        }
        self.delivery_complete_count -= done;
        true
    }

    /// Whether the first record is done with. Where something has to be acquired before it, it is not.
    fn can_advance(&self) -> bool {
        let first = self.in_flight.floor_run(self.start);
        first.is_some_and(|run| run.transition.is_none() && run.state.is_terminal())
    }

    /// The last record up to which everything is done with, and how many were counted up to there.
    fn done_from_the_front(&self) -> Option<(i64, i64)> {
        let mut last_done = None;
        let mut done = 0;
        for (first, batch) in self.in_flight.batches() {
            if self.active_gap().is_some_and(|gap| batch.last >= gap.start) {
                break;
            }
            for (from, run) in self.in_flight.runs_of(first, batch) {
                if run.transition.is_some() || !run.state.is_terminal() {
                    return last_done.map(|last| (last, done));
                }
                last_done = Some(run.last);
                done += self.counted(from, run.last);
            }
        }
        last_done.map(|last| (last, done))
    }
}
