//! A toy group proves the contract: the log alone explains every answer, and nobody is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla_base::{Moment, Now, Offset};

use super::*;

/// A toy group: joiners are held until the round closes, then answered all at once.
#[derive(Default, Clone, PartialEq, Debug)]
struct Group {
    round: u32,
    members: BTreeMap<u32, u32>,
}

#[derive(Default)]
struct Joining {
    members: Vec<(u32, Ticket)>,
    closes: Option<Moment>,
}

enum Ask {
    Join(u32),
    Describe,
}

#[derive(Clone, Debug, PartialEq)]
enum Fact {
    Round(u32),
    Member(u32),
}

impl Machine for Group {
    type Request = Ask;
    type Reply = String;
    type Record = Fact;
    type Effect = u32;
    type Soft = Joining;

    fn decide<T>(&self, soft: &mut Soft<Self, T>, input: Input<Self, T>, at: At) -> Outcome<Self, T> {
        let mut outcome = Outcome::nothing();
        match input {
            Input::Request(Ask::Join(member), caller) => {
                let ticket = soft.held.hold(caller);
                soft.own.members.push((member, ticket));
                soft.own.closes.get_or_insert(at.now + Duration::from_secs(3));
            }
            Input::Request(Ask::Describe, caller) => return Outcome::reply(caller, format!("{self:?}")),
            Input::Tick if soft.own.closes.is_some_and(|closes| closes <= at.now) => {
                soft.own.closes = None;
                let round = self.round + 1;
                outcome.records.push(Fact::Round(round));
                outcome.effects.push(round);
                for (member, ticket) in soft.own.members.drain(..) {
                    outcome.records.push(Fact::Member(member));
                    let caller = soft.held.release(ticket).expect("held since it joined");
                    outcome.replies.push((caller, format!("round {round}")));
                }
            }
            Input::Tick => (),
        }
        outcome
    }

    fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::Round(round) => self.round = *round,
            Fact::Member(member) => {
                self.members.insert(*member, self.round);
            }
        }
    }

    fn deadline(&self, soft: &Joining) -> Option<Moment> {
        soft.closes
    }
}

/// A log that commits late, a seat, and every caller's fate.
struct Run {
    draws: Entropy,
    log: Vec<Fact>,
    committed: usize,
    now: Moment,
    seat: Seat<Group, u64>,
    waiting: BTreeSet<u64>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut bytes = [7u8; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut draws = Entropy::from_seed(bytes);
        // The first draws of states that are mostly the same are mostly the same.
        for _ in 0..16 {
            draws.draw();
        }
        Run {
            draws,
            log: Vec::new(),
            committed: 0,
            now: Moment::default(),
            seat: Seat::take(Group::default(), Offset(0), bytes),
            waiting: BTreeSet::new(),
        }
    }

    fn step(&mut self, caller: u64) {
        self.now = self.now + Duration::from_millis(self.draws.below(800) as u64);
        let input = match self.draws.below(4) {
            0 => Input::Request(Ask::Describe, caller),
            1 => Input::Request(Ask::Join(self.draws.below(9) as u32), caller),
            _ => Input::Tick,
        };
        if matches!(input, Input::Request(..)) {
            self.waiting.insert(caller);
        }
        let append = self.seat.submit(input, at(self.now));
        assert_eq!(append.first, Offset(self.log.len() as i64));
        self.log.extend(append.records);
        assert_eq!(self.seat.end(), Offset(self.log.len() as i64));
        if self.draws.below(3) == 0 {
            self.committed += self.draws.below(self.log.len() - self.committed + 1);
        }
        self.release();
        if self.draws.below(40) == 0 {
            self.depose();
        }
    }

    /// Every released answer must be what some committed prefix of the log says.
    fn release(&mut self) {
        let release = self.seat.committed(Offset(self.committed as i64));
        let prefixes = (0..=self.committed).map(|end| replay::<Group>(&self.log[..end]));
        let known: Vec<Group> = prefixes.collect();
        for (caller, answer) in release.replies {
            assert!(self.waiting.remove(&caller), "{caller} was answered twice");
            let explained =
                known.iter().any(|it| format!("{it:?}") == answer || format!("round {}", it.round) == answer);
            assert!(explained, "no committed prefix explains {answer}");
        }
        for round in release.effects {
            assert!(known.iter().any(|it| it.round == round), "round {round} is not committed");
        }
    }

    /// The uncommitted tail is lost; the next seat replays the rest.
    fn depose(&mut self) {
        let fresh = Seat::take(replay(&self.log[..self.committed]), Offset(self.committed as i64), [3; 32]);
        for caller in std::mem::replace(&mut self.seat, fresh).leave() {
            assert!(self.waiting.remove(&caller), "{caller} was answered and refused");
        }
        assert!(self.waiting.is_empty(), "forgotten: {:?}", self.waiting);
        self.log.truncate(self.committed);
    }
}

#[test]
fn every_answer_is_explained_by_a_committed_prefix_and_nobody_is_forgotten() {
    for seed in 0..30 {
        let mut run = Run::new(seed);
        for caller in 0..300 {
            run.step(caller);
        }
        run.depose();
    }
}

#[test]
fn a_seed_run_twice_gives_the_same_log() {
    let log = |seed| {
        let mut run = Run::new(seed);
        (0..300).for_each(|caller| run.step(caller));
        run.log
    };
    assert_eq!(log(5), log(5));
    assert_ne!(log(5), log(6));
}

#[test]
fn a_read_waits_for_the_write_it_saw() {
    let mut seat: Seat<Group, &str> = Seat::take(Group::default(), Offset(10), [1; 32]);
    let soon = Moment(Duration::from_secs(4));
    assert!(seat.submit(Input::Request(Ask::Join(7), "join"), Now::default()).records.is_empty());
    assert_eq!(seat.deadline(), Some(Moment(Duration::from_secs(3))));
    let append = seat.submit(Input::Tick, at(soon));
    assert_eq!((append.first, append.records.len()), (Offset(10), 2));
    assert_eq!(append.atomicity, Atomicity::Together);
    assert!(seat.submit(Input::Request(Ask::Describe, "read"), at(soon)).records.is_empty());
    assert!(seat.committed(Offset(11)).replies.is_empty());
    let callers: Vec<&str> = seat.committed(Offset(12)).replies.into_iter().map(|(who, _)| who).collect();
    assert_eq!(callers, ["join", "read"]);
}

#[test]
fn who_waits_too_long_is_handed_back_and_what_was_decided_holds() {
    let mut seat: Seat<Group, &str> = Seat::take(Group::default(), Offset(0), [1; 32]);
    let second = |it| Moment(Duration::from_secs(it));
    let _ = seat.submit(Input::Request(Ask::Join(1), "join"), Now::default());
    assert_eq!(seat.waiting_since(), None, "it is held, not parked");
    let _ = seat.submit(Input::Tick, at(second(3)));
    let _ = seat.submit(Input::Request(Ask::Describe, "read"), at(second(5)));
    assert_eq!(seat.waiting_since(), Some(second(3)));
    assert_eq!(seat.overdue(second(2)).count(), 0);
    assert_eq!(seat.overdue(second(4)).collect::<Vec<_>>(), ["join"]);
    assert_eq!((seat.waiting_since(), seat.is_waiting()), (Some(second(5)), true));
    assert_eq!(seat.overdue(second(5)).collect::<Vec<_>>(), ["read"]);
    assert_eq!((seat.waiting_since(), seat.is_waiting()), (None, true));
    assert_eq!(seat.state().members, BTreeMap::from([(1, 1)]));
    let release = seat.committed(Offset(2));
    assert!(release.replies.is_empty() && !seat.is_waiting());
    assert_eq!((release.effects, release.written_at), (vec![1], vec![second(3)]));
}

#[test]
fn control_records_of_the_log_move_the_offsets_of_the_next_decision() {
    let mut seat: Seat<Group, &str> = Seat::take(Group::default(), Offset(0), [1; 32]);
    let _ = seat.submit(Input::Request(Ask::Join(1), "join"), Now::default());
    seat.log_grew(Offset(5));
    let append = seat.submit(Input::Tick, at(Moment(Duration::from_secs(9))));
    assert_eq!(append.first, Offset(5));
    assert!(seat.committed(Offset(6)).replies.is_empty());
    assert_eq!(seat.committed(Offset(7)).replies.len(), 1);
}

#[test]
fn drawn_ids_are_version_four_and_differ() {
    let mut draws = Entropy::from_seed([0; 32]);
    let drawn: BTreeSet<_> = (0..1000).map(|_| draws.uuid()).collect();
    assert_eq!(drawn.len(), 1000);
    assert!(
        drawn.iter().all(|id| id.0[6] >> 4 == 4 && id.0[8] >> 6 == 2 && !id.to_string().starts_with('-'))
    );
    assert!((0..1000).all(|_| draws.below(3) < 3));
}

fn at(moment: Moment) -> Now {
    Now { moment, ..Now::default() }
}
