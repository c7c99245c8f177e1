//! The deciding replica's seat: state runs ahead of the commit, answers do not.

use std::collections::VecDeque;

use ottla_base::{Moment, Now, Offset};

use crate::{At, Atomicity, Entropy, Held, Input, Machine, Outcome, Soft};

/// Decides for one machine. Hard state includes records that are decided but not committed yet; replies and effects
/// wait until the log has committed everything they saw. That goes for pure reads too: an answer never tells of a
/// write that may still be lost.
///
/// A seat belongs to one epoch of its log's leader. Whoever drives it calls [`Seat::committed`] only with ends that
/// were committed in that epoch, and drops it through [`Seat::leave`] when the epoch is over.
pub struct Seat<M: Machine, T> {
    state: M,
    soft: Soft<M, T>,
    end: Offset,
    parked: VecDeque<Parked<M, T>>,
}

/// What a decision said, until the log has committed all that it saw.
struct Parked<M: Machine, T> {
    /// The log must be committed up to here.
    needs: Offset,
    /// When it was decided, if it wrote anything.
    wrote_at: Option<Moment>,
    decided_at: Moment,
    replies: Vec<(T, M::Reply)>,
    effects: Vec<M::Effect>,
}

/// Records to append to the log, now, as the next ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append<R> {
    /// The offset of the first record.
    pub first: Offset,
    /// The records; they are one batch unless `atomicity` allows several.
    pub records: Vec<R>,
    /// Whether the records may be split over several batches.
    pub atomicity: Atomicity,
}

/// A decision whose records the log does not take.
#[derive(Debug)]
pub struct NotAdmitted<T, E> {
    /// Who would have been answered.
    pub callers: Vec<T>,
    /// What is wrong with the records.
    pub reason: E,
}

/// What may leave the process, because the log vouches for it.
pub struct Release<M: Machine, T> {
    /// Answers, each to one caller, in the order of their decisions.
    pub replies: Vec<(T, M::Reply)>,
    /// Effects, in the order of their decisions.
    pub effects: Vec<M::Effect>,
    /// When those decisions were made that wrote something and had anything to say.
    pub written_at: Vec<Moment>,
}

impl<M: Machine, T> Seat<M, T> {
    /// Takes the seat of a machine whose whole log has been replayed into `state`. The next record of the log will
    /// have the offset `end`; `seed` is random.
    pub fn take(state: M, end: Offset, seed: [u8; 32]) -> Self {
        let soft = Soft { own: M::Soft::default(), held: Held::default(), entropy: Entropy::from_seed(seed) };
        Seat { state, soft, end, parked: VecDeque::new() }
    }

    /// Decides one input and applies its records. They must be appended before anything else is; an append that
    /// fails is the end of the seat.
    #[must_use = "the state already contains these records: they must be appended"]
    pub fn submit(&mut self, input: Input<M, T>, now: Now) -> Append<M::Record> {
        let admitted = self.submit_if(input, now, |_, _| Ok::<(), std::convert::Infallible>(()));
        match admitted {
            Ok(append) => append,
            Err(refused) => match refused.reason {},
        }
    }

    /// As [`Seat::submit`], but the decision's records, and whether they may be split, are held against `admit` first:
    /// they may be larger than what the log takes. A decision that is not admitted has not happened, except that soft
    /// state may have changed; who would have been answered is handed back.
    pub fn submit_if<E>(
        &mut self,
        input: Input<M, T>,
        now: Now,
        admit: impl FnOnce(&[M::Record], Atomicity) -> Result<(), E>,
    ) -> Result<Append<M::Record>, NotAdmitted<T, E>> {
        let first = self.end;
        let at = At { now: now.moment, wall_clock: now.wall_clock, end: first };
        let outcome = self.state.decide(&mut self.soft, input, at);
        let Outcome { records, atomicity, replies, effects } = outcome;
        if let Err(reason) = admit(&records, atomicity) {
            return Err(NotAdmitted {
                callers: replies.into_iter().map(|(caller, _)| caller).collect(),
                reason,
            });
        }
        for record in &records {
            self.state.apply(record);
        }
        self.end = self.end.after(records.len() as i64);
        if !replies.is_empty() || !effects.is_empty() {
            let wrote_at = (!records.is_empty()).then_some(now.moment);
            let (needs, decided_at) = (self.end, now.moment);
            self.parked.push_back(Parked { needs, wrote_at, decided_at, replies, effects });
        }
        Ok(Append { first, records, atomicity })
    }

    /// Whether anybody waits for the log.
    pub fn is_waiting(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Notes that the log has grown to `end` by records that are not this machine's: the quorum's control records,
    /// the marks of a transaction.
    pub fn log_grew(&mut self, end: Offset) {
        assert!(end >= self.end, "a log that is led does not shrink: {end} is below {}", self.end);
        self.end = end;
    }

    /// Releases what a log that is committed up to `end` vouches for.
    pub fn committed(&mut self, end: Offset) -> Release<M, T> {
        let mut released = Release { replies: Vec::new(), effects: Vec::new(), written_at: Vec::new() };
        while let Some(parked) = self.parked.pop_front_if(|it| it.needs <= end) {
            released.replies.extend(parked.replies);
            released.effects.extend(parked.effects);
            released.written_at.extend(parked.wrote_at);
        }
        released
    }

    /// When the first of the decisions was made for whose answers somebody still waits.
    pub fn waiting_since(&self) -> Option<Moment> {
        self.parked.iter().find(|it| !it.replies.is_empty()).map(|it| it.decided_at)
    }

    /// Hands back who waits for the answers to decisions made at `moment` or before, to be told that it takes too long.
    /// What was decided holds all the same, and what it wants done is still done once the log has committed it.
    pub fn overdue(&mut self, moment: Moment) -> impl Iterator<Item = T> {
        let late = self.parked.iter_mut().take_while(move |it| it.decided_at <= moment);
        late.flat_map(|it| it.replies.drain(..)).map(|(caller, _)| caller)
    }

    /// The state, with all that is decided. For metrics and for snapshots of the soft side; answers go through
    /// [`Seat::submit`].
    pub fn state(&self) -> &M {
        &self.state
    }

    /// The offset that the next record will have.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        self.state.deadline(&self.soft.own)
    }

    /// Gives the seat up. The state dies with it, for the log may have lost some of it; every caller who has not
    /// been answered is handed back to be told to look elsewhere.
    pub fn leave(self) -> impl Iterator<Item = T> {
        let parked = self.parked.into_iter().flat_map(|it| it.replies);
        parked.map(|(caller, _)| caller).chain(self.soft.held.into_callers())
    }
}
