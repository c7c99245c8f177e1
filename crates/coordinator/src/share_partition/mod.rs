//! The records of one partition that a share group has in flight: who holds which, how often each was delivered, and
//! where the group begins and ends (KIP-932, `SharePartition`).
//!
//! | file | holds |
//! |---|---|
//! | `in_flight` | the records in flight as runs of offsets that fare alike, and the batches they were first acquired in |
//! | `acquire` | records are given to a member: which, how many, and what is held back because it may be poisonous |
//! | `acknowledge` | a member says how it went, leaves, or lets its locks run out |
//! | `settle` | a change was persisted or was not; the group's beginning moves |
//! | `aborted` | which records belong to aborted transactions |
//!
//! A change of state that must be kept is given to the caller as a [`Write`]; until the caller says how that went
//! ([`SharePartition::settle`]) the records are nobody's to acquire or to acknowledge. Acquisitions are not persisted:
//! after a crash they never happened, and the delivery does not count.
//!
//! Invariants: a record is held by one member at a time; a delivery counts once; the group's beginning never moves
//! over a record that is not done with; everything in flight is bounded by `share.partition.max.record.locks` (and by
//! the size of one batch, which is never torn apart in batch mode).
//!
//! Absent on purpose: the log, the persister, clocks and settings: they are the caller's.

mod aborted;
mod acknowledge;
mod acquire;
mod in_flight;
mod settle;
#[cfg(test)]
mod tests;

pub use aborted::{AbortedTransaction, aborted_batches};
pub use acknowledge::{AckType, Acknowledgement};
pub use acquire::{Acquire, AcquireMode, AcquiredRange, FetchedBatch};
pub use in_flight::RecordState;
pub use settle::{DeadLetter, DeadLetterCause, Persisted, Settled};

use std::time::Duration;

use ottla_base::Moment;

use crate::share_state::{State, StateBatch};
use in_flight::InFlight;

/// What holds for a share group; its settings, which may change between any two calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How often a record is delivered at most (`share.delivery.count.limit`).
    pub max_delivery_count: i16,
    /// How long a member holds a record (`share.record.lock.duration.ms`).
    pub lock_duration: Duration,
    /// How many records may be in flight (`share.partition.max.record.locks`).
    pub max_in_flight: i64,
    /// Whether members may prolong their hold (`share.renew.acknowledge.enable`).
    pub renewal: Renewal,
    /// What becomes of records that are given up (`errors.deadletterqueue.topic.name`).
    pub given_up: GivenUp,
}

/// Whether members may prolong their hold on records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// They may.
    Allowed,
    /// They may not.
    Refused,
}

/// What becomes of records that are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// They are done with.
    Archived,
    /// They are written to the dead-letter queue first (KIP-1191).
    DeadLetters,
}

/// One partition as one share group has it in flight.
#[derive(Debug)]
pub struct SharePartition {
    /// Counts how often the state was set anew.
    state_epoch: i32,
    /// The epoch of the partition's leader, which is who keeps this.
    leader_epoch: i32,
    /// Where the group begins: every record before is done with.
    start: i64,
    /// The last record in flight; the beginning, if none is.
    end: i64,
    /// What is in flight.
    in_flight: InFlight,
    /// Whether something before `end` may have become available.
    look_again: bool,
    /// Records between batches that were read from the persister: they were in flight once, but nothing was persisted of
    /// them, so that they have to be acquired anew.
    gap: Option<Gap>,
    /// How many records from `start` on are done with.
    delivery_complete_count: i64,
    /// The earliest time at which a lock may run out.
    lock_due: Option<Moment>,
    next_write: u64,
}

/// Where gaps are being filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    /// Where the next gap may begin.
    start: i64,
    /// The last record in flight when the state was read; once the end has moved, there are no gaps any more.
    end: i64,
}

/// A change that is to be persisted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "records stay in transition until it is said how the write went"]
pub struct Write {
    /// Names the change among those of this partition.
    id: u64,
    /// What can become of it.
    kind: WriteKind,
    /// Counts how often the state was set anew.
    pub state_epoch: i32,
    /// The epoch of the partition's leader.
    pub leader_epoch: i32,
    /// Where the group begins.
    pub start_offset: i64,
    /// How many records from there on are done with.
    pub delivery_complete_count: i32,
    /// What has changed, in the order of offsets within one acknowledgement.
    pub batches: Vec<StateBatch>,
    /// Why each of the batches is given up, for those that are.
    causes: Vec<Option<DeadLetterCause>>,
}

/// What becomes of a change that cannot be persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteKind {
    /// It is taken back.
    Transition,
    /// It holds nevertheless, for as long as this partition is kept.
    Fact,
}

/// The persisted state contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedState {
    /// A batch begins before the group does.
    #[error("a batch begins at {first}, before the start offset {start}")]
    BeforeStart {
        /// Where the batch begins.
        first: i64,
        /// Where the group begins.
        start: i64,
    },
    /// A batch ends before it begins, or where another one is.
    #[error("the batch from {first} to {last} is no batch")]
    Batch {
        /// Where the batch begins.
        first: i64,
        /// Where it ends.
        last: i64,
    },
    /// A batch is in a state that does not exist, or that is never persisted.
    #[error("delivery state {0}")]
    DeliveryState(i8),
}

impl SharePartition {
    /// Takes up what was persisted. `start` is where the group begins: what the state says, or what
    /// `share.auto.offset.reset` leads to if the state says -1. Records that were on their way to the dead-letter queue
    /// are handed back: they have to be sent again.
    pub fn load(
        state: &State,
        start: i64,
        leader_epoch: i32,
        rules: &Rules,
    ) -> Result<(SharePartition, Vec<DeadLetter>), MalformedState> {
        let mut partition = SharePartition {
            state_epoch: state.state_epoch,
            leader_epoch,
            start,
            end: start,
            in_flight: InFlight::default(),
            look_again: false,
            gap: None,
            delivery_complete_count: 0,
            lock_due: None,
            next_write: 0,
        };
        let mut gap_start = None;
        let mut expected = start;
        let mut dead_letters = Vec::new();
        for batch in &state.batches {
            if batch.first < start {
                return Err(MalformedState::BeforeStart { first: batch.first, start });
            }
            if batch.last < batch.first || batch.first < expected || batch.last == i64::MAX {
                return Err(MalformedState::Batch { first: batch.first, last: batch.last });
            }
            if batch.first > expected {
                gap_start = gap_start.or(Some(expected));
            }
            expected = batch.last + 1;
            let record_state = RecordState::from_id(batch.delivery_state)
                .filter(|it| *it != RecordState::Acquired)
                .ok_or(MalformedState::DeliveryState(batch.delivery_state))?;
            partition.in_flight.add_loaded(batch.first, batch.last, record_state, batch.delivery_count);
            if record_state.is_terminal() {
                partition.delivery_complete_count += batch.last - batch.first + 1;
            }
            if record_state == RecordState::Archiving {
                let exceeded = batch.delivery_count >= rules.max_delivery_count;
                dead_letters.push(DeadLetter {
                    first: batch.first,
                    last: batch.last,
                    delivery_count: batch.delivery_count,
                    cause: if exceeded {
                        DeadLetterCause::DeliveryCountExceeded
                    } else {
                        DeadLetterCause::Rejected
                    },
                });
            }
        }
        if let Some(last) = partition.in_flight.last_offset() {
            partition.look_again = true;
            partition.end = last;
            partition.gap = gap_start.map(|start| Gap { start, end: last });
            partition.advance();
        }
        Ok((partition, dead_letters))
    }

    /// Where the group begins: every record before is done with.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// The last record in flight; the beginning, if none is.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// How many records from the beginning on are done with.
    pub fn delivery_complete_count(&self) -> i64 {
        self.delivery_complete_count
    }

    /// How many records are in flight, done with or not.
    pub fn in_flight_records(&self) -> i64 {
        if self.in_flight.is_empty() { 0 } else { self.end - self.start + 1 }
    }

    /// How many batches are in flight.
    pub fn in_flight_batches(&self) -> usize {
        self.in_flight.batch_count()
    }

    /// The epoch of the partition's leader.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// When [`SharePartition::expire`] may have something to do.
    pub fn deadline(&self) -> Option<Moment> {
        self.lock_due
    }

    /// What is known of every record in flight, in order: for tests and for people.
    pub fn runs(&self) -> impl Iterator<Item = StateBatch> {
        self.in_flight.iter().map(|(first, run)| StateBatch {
            first,
            last: run.last,
            delivery_state: run.state.id(),
            delivery_count: run.delivery_count,
        })
    }

    /// Whether gaps are being filled.
    fn active_gap(&self) -> Option<Gap> {
        self.gap.filter(|gap| gap.end == self.end)
    }

    /// Something was acquired before `offset`: the next gap is not there any more.
    fn gap_filled_until(&mut self, offset: i64) {
        self.gap = self.active_gap().filter(|gap| offset <= gap.end).map(|gap| Gap { start: offset, ..gap });
    }

    /// How many records of a range count: those from the beginning on.
    fn counted(&self, first: i64, last: i64) -> i64 {
        (last - first.max(self.start) + 1).max(0)
    }

    fn lock_until(&mut self, moment: Moment) {
        self.lock_due = Some(self.lock_due.map_or(moment, |due| due.min(moment)));
    }

    fn write(
        &mut self,
        id: u64,
        kind: WriteKind,
        changes: Vec<(StateBatch, Option<DeadLetterCause>)>,
    ) -> Write {
        let (batches, causes) = changes.into_iter().unzip();
        Write {
            id,
            kind,
            state_epoch: self.state_epoch,
            leader_epoch: self.leader_epoch,
            start_offset: self.start,
            delivery_complete_count: i32::try_from(self.delivery_complete_count).unwrap_or(i32::MAX),
            batches,
            causes,
        }
    }

    fn new_write_id(&mut self) -> u64 {
        self.next_write += 1;
        self.next_write
    }
}
