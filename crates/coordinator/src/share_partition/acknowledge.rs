//! A member says how it went, leaves, or lets its locks run out.

use std::ops::RangeInclusive;

use ottla_base::{ErrorCode, Moment, Str};
use ottla_metadata::controller::Refusal;

use super::in_flight::{Batch, RecordState, Run, Transition};
use super::{DeadLetterCause, GivenUp, Renewal, Rules, SharePartition, Write, WriteKind};
use crate::share_state::StateBatch;

/// What a member says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckType {
    /// There is no record at this offset.
    Gap,
    /// It was dealt with.
    Accept,
    /// It may be delivered again.
    Release,
    /// It must not be delivered again.
    Reject,
    /// The member needs more time (KIP-1222).
    Renew,
}

impl AckType {
    /// What a number of the protocol means.
    pub fn from_id(id: i8) -> Option<AckType> {
        Some(match id {
            0 => AckType::Gap,
            1 => AckType::Accept,
            2 => AckType::Release,
            3 => AckType::Reject,
            4 => AckType::Renew,
            _ => return None,
        })
    }
}

/// What a member says of neighbouring records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
    /// One number for all of them, or one for each.
    pub types: Vec<i8>,
}

/// What has been changed so far in one decision.
type Changes = Vec<(StateBatch, Option<DeadLetterCause>)>;

impl SharePartition {
    /// A member says how it went with records that it has. Where one of them is not the member's, nothing of what it
    /// says counts. Without a write nothing has to wait.
    pub fn acknowledge(
        &mut self,
        member: &Str,
        acknowledgements: &[Acknowledgement],
        rules: &Rules,
        now: Moment,
    ) -> Result<Option<Write>, Refusal> {
        let id = self.new_write_id();
        let mut changes = Changes::new();
        for acknowledgement in acknowledgements {
            let ack = Ack { id, member, rules, now, acknowledgement };
            if let Err(refusal) = self.acknowledge_one(&ack, &mut changes) {
                let write = self.write(id, WriteKind::Transition, changes);
                self.take_back(&write);
                return Err(refusal);
            }
        }
        Ok((!changes.is_empty()).then(|| self.write(id, WriteKind::Transition, changes)))
    }

    fn acknowledge_one(&mut self, ack: &Ack<'_>, changes: &mut Changes) -> Result<(), Refusal> {
        let said = ack.acknowledgement;
        if said.types.iter().any(|id| AckType::from_id(*id).is_none()) {
            let words = format!("Invalid acknowledge type: {:?}", said.types);
            return Err(Refusal::new(ErrorCode::InvalidRequest, words));
        }
        if said.last < self.start {
            return Ok(());
        }
        let from = match self.in_flight.floor(said.first) {
            Some((first, _)) => Some(first),
            None if said.first < self.start => self.in_flight.floor(self.start).map(|(first, _)| first),
            None => None,
        };
        let batches = from.map(|from| self.in_flight.batches_from(from..=said.last)).unwrap_or_default();
        let Some((_, last_batch)) = batches.last() else {
            let words = "Batch record not found. The request batch offsets are not found in the cache.";
            return Err(Refusal::new(ErrorCode::InvalidRecordState, words));
        };
        if last_batch.last < said.first {
            let words = "Batch record not found. The first offset in request is past acquired records.";
            return Err(Refusal::new(ErrorCode::InvalidRequest, words));
        }
        if said.last > last_batch.last {
            let words = "Batch record not found. The last offset in request is past acquired records.";
            return Err(Refusal::new(ErrorCode::InvalidRequest, words));
        }
        for (first, batch) in batches {
            if batch.last >= self.start {
                self.acknowledge_in_batch(ack, first, batch, changes)?;
            }
        }
        Ok(())
    }

    fn acknowledge_in_batch(
        &mut self,
        ack: &Ack<'_>,
        first: i64,
        batch: Batch,
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        let said = ack.acknowledgement;
        if !batch.is_split {
            let runs = self.in_flight.runs_of(first, batch);
            let is_whole = said.first <= first && batch.last <= said.last && first >= self.start;
            let whole = if is_whole && said.types.len() == 1 { Whole::Told } else { Whole::Cut };
            for (_, run) in runs {
                check_batch(run, ack.member, whole)?;
            }
            if whole == Whole::Cut {
                self.in_flight.split(first);
            }
        }
        let low = said.first.max(first).max(self.start);
        let high = said.last.min(batch.last);
        for (range, ack_type) in said.parts(low..=high) {
            self.acknowledge_range(ack, range, ack_type, changes)?;
        }
        Ok(())
    }

    /// All records of the range get the same answer.
    fn acknowledge_range(
        &mut self,
        ack: &Ack<'_>,
        range: RangeInclusive<i64>,
        ack_type: AckType,
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        let (low, high) = (*range.start(), *range.end());
        let mut refused = None;
        let mut may_change_until = high;
        for (from, run) in self.in_flight.runs_over(low, high) {
            if let Err(refusal) = check_record(run, ack, ack_type) {
                may_change_until = from.max(low) - 1;
                refused = Some(refusal);
                break;
            }
        }
        let new_state = match ack_type {
            AckType::Renew => None,
            AckType::Accept => Some(RecordState::Acknowledged),
            AckType::Release => Some(RecordState::Available),
            AckType::Gap => Some(RecordState::Archived),
            AckType::Reject if ack.rules.given_up == GivenUp::DeadLetters => Some(RecordState::Archiving),
            AckType::Reject => Some(RecordState::Archived),
        };
        if low <= may_change_until {
            match new_state {
                None => self.renew(low..=may_change_until, ack),
                Some(state) => {
                    let cause = Some(DeadLetterCause::Rejected);
                    let change = Change { id: Some(ack.id), to: state, cause, rules: ack.rules };
                    self.change(low..=may_change_until, &change, changes);
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    fn renew(&mut self, range: RangeInclusive<i64>, ack: &Ack<'_>) {
        let lock = ack.now + ack.rules.lock_duration;
        self.in_flight.change(
            range,
            |run| run.state == RecordState::Acquired,
            |_, run| run.lock = Some(lock),
        );
        self.lock_until(lock);
    }

    /// Records that are acquired, and not in transition, change their state.
    fn change(&mut self, range: RangeInclusive<i64>, change: &Change<'_>, changes: &mut Changes) {
        let start = self.start;
        let mut completed = 0;
        let mut is_available = false;
        self.in_flight.change(
            range,
            |run| run.state == RecordState::Acquired && run.transition.is_none(),
            |first, run| {
                let state = change.state_of(run);
                let member = run.member.take();
                run.state = state;
                run.transition = change.id.map(|id| Transition { id, member, is_over: false });
                if run.transition.is_none() {
                    run.lock = None;
                }
                if state.is_terminal() {
                    completed += (run.last - first.max(start) + 1).max(0);
                }
                is_available |= run.is_available();
                let batch = StateBatch {
                    first,
                    last: run.last,
                    delivery_state: state.id(),
                    delivery_count: run.delivery_count,
                };
                let cause = if change.to == RecordState::Available {
                    Some(DeadLetterCause::DeliveryCountExceeded)
                } else {
                    change.cause
                };
                changes.push((batch, cause.filter(|_| state == RecordState::Archiving)));
            },
        );
        self.delivery_complete_count += completed;
        self.look_again |= is_available;
    }

    /// A member leaves: others can have what it has.
    pub fn release(&mut self, member: &Str, rules: &Rules) -> Option<Write> {
        let id = self.new_write_id();
        let has = |run: &Run| run.state == RecordState::Acquired && run.member.as_ref() == Some(member);
        let held: Vec<_> =
            self.in_flight.iter().filter(|(_, run)| has(run)).map(|(at, run)| (at, run.last)).collect();
        let changes = self.let_go(&held, Some(id), rules);
        (!changes.is_empty()).then(|| self.write(id, WriteKind::Transition, changes))
    }

    /// Locks run out: what they held can be had again, whether or not that can be persisted.
    pub fn expire(&mut self, now: Moment, rules: &Rules) -> Option<Write> {
        if self.lock_due.is_none_or(|due| due > now) {
            return None;
        }
        self.lock_due = None;
        let mut over = Vec::new();
        let mut next: Option<Moment> = None;
        for (first, run) in self.in_flight.iter() {
            let Some(lock) = run.lock else { continue };
            let is_held = run.state == RecordState::Acquired && run.transition.is_none();
            if is_held && lock <= now {
                over.push((first, run.last));
            } else if is_held {
                next = Some(next.map_or(lock, |it| it.min(lock)));
            }
        }
        self.lock_due = next;
        let changes = self.let_go(&over, None, rules);
        let id = self.new_write_id();
        (!changes.is_empty()).then(|| self.write(id, WriteKind::Fact, changes))
    }

    /// Nobody holds these records any more. Those from before the beginning are over.
    fn let_go(&mut self, held: &[(i64, i64)], id: Option<u64>, rules: &Rules) -> Changes {
        let mut changes = Changes::new();
        for &(first, last) in held {
            if first < self.start {
                let to = RecordState::Archived;
                let before = first..=last.min(self.start - 1);
                self.change(before, &Change { id, to, cause: None, rules }, &mut changes);
                if last >= self.start {
                    self.split_at(self.start);
                }
            }
            if last >= self.start {
                let to = RecordState::Available;
                let change = Change { id, to, cause: None, rules };
                self.change(first.max(self.start)..=last, &change, &mut changes);
            }
        }
        changes
    }

    fn split_at(&mut self, offset: i64) {
        if let Some((first, _)) = self.in_flight.floor(offset) {
            self.in_flight.split(first);
        }
    }
}

/// One acknowledgement and who sent it.
struct Ack<'a> {
    id: u64,
    member: &'a Str,
    rules: &'a Rules,
    now: Moment,
    acknowledgement: &'a Acknowledgement,
}

/// What is to become of acquired records.
struct Change<'a> {
    /// The write, if the change can be taken back.
    id: Option<u64>,
    to: RecordState,
    /// Why they are given up, if they are by request.
    cause: Option<DeadLetterCause>,
    rules: &'a Rules,
}

impl Change<'_> {
    /// Records that were delivered often enough are not delivered again.
    fn state_of(&self, run: &Run) -> RecordState {
        if self.to != RecordState::Available || run.delivery_count < self.rules.max_delivery_count {
            return self.to;
        }
        match self.rules.given_up {
            GivenUp::DeadLetters => RecordState::Archiving,
            GivenUp::Archived => RecordState::Archived,
        }
    }
}

impl Acknowledgement {
    /// The parts of a range that get the same answer.
    fn parts(&self, range: RangeInclusive<i64>) -> Vec<(RangeInclusive<i64>, AckType)> {
        let (low, high) = range.into_inner();
        let answer = |id: &i8| AckType::from_id(*id).unwrap_or(AckType::Gap);
        let mut parts: Vec<(RangeInclusive<i64>, AckType)> = Vec::new();
        if let [one] = self.types.as_slice() {
            if low <= high {
                parts.push((low..=high, answer(one)));
            }
            return parts;
        }
        let before =
            low.checked_sub(self.first).and_then(|it| usize::try_from(it).ok()).unwrap_or(usize::MAX);
        for (offset, id) in (low..=high).zip(self.types.iter().skip(before)) {
            let ack_type = answer(id);
            match parts.last_mut() {
                Some((range, before)) if *before == ack_type => *range = *range.start()..=offset,
                _ => parts.push((offset..=offset, ack_type)),
            }
        }
        parts
    }
}

/// Whether an acknowledgement is about a whole batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Told,
    Cut,
}

fn refused(words: &'static str) -> Result<(), Refusal> {
    Err(Refusal::new(ErrorCode::InvalidRecordState, words))
}

const IN_TRANSITION: &str =
    "The record state is invalid. The acknowledgement of delivery could not be completed.";

/// Whether a batch that was never cut is the member's.
fn check_batch(run: &Run, member: &Str, whole: Whole) -> Result<(), Refusal> {
    match &run.member {
        None => return refused("The batch cannot be acknowledged. The batch is not in the acquired state."),
        Some(owner) if owner != member => return refused("Member is not the owner of batch record"),
        Some(_) => {}
    }
    if run.transition.is_some() {
        return refused(IN_TRANSITION);
    }
    match (run.state, whole) {
        (RecordState::Acquired, _) => Ok(()),
        (_, Whole::Told) => {
            refused("The batch cannot be acknowledged. The batch is not in the acquired state.")
        }
        (_, Whole::Cut) => {
            refused("The batch cannot be acknowledged. The subset batch is not in the acquired state.")
        }
    }
}

/// Whether a record is the member's.
fn check_record(run: &Run, ack: &Ack<'_>, ack_type: AckType) -> Result<(), Refusal> {
    if run.state != RecordState::Acquired {
        return refused("The offset cannot be acknowledged. The offset is not acquired.");
    }
    if run.transition.is_some() {
        return refused(IN_TRANSITION);
    }
    if run.member.as_ref() != Some(ack.member) {
        return refused("Member is not the owner of offset");
    }
    if ack_type == AckType::Renew && ack.rules.renewal == Renewal::Refused {
        return refused("Renewing acquisition locks is not enabled for the group.");
    }
    Ok(())
}
