//! Scripts for what is worth reading, and random runs against a model that knows every single record.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ottla_base::{ErrorCode, Moment, Str};
use ottla_machine::Entropy;

use super::{
    AbortedTransaction, Acknowledgement, Acquire, AcquireMode, AcquiredRange, DeadLetterCause, FetchedBatch,
    GivenUp, MalformedState, Persisted, RecordState, Renewal, Rules, SharePartition, Write, aborted_batches,
};
use crate::seeds::{draws, seeds};
use crate::share_state::{State, StateBatch, combine};

const LOCK: Duration = Duration::from_secs(30);

fn rules() -> Rules {
    Rules {
        max_delivery_count: 5,
        lock_duration: LOCK,
        max_in_flight: 200,
        renewal: Renewal::Allowed,
        given_up: GivenUp::Archived,
    }
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn plain(first: i64, last: i64) -> FetchedBatch {
    FetchedBatch { first, last, producer_id: None, is_transactional: false, is_abort_marker: false }
}

fn new_at(start: i64) -> SharePartition {
    load(start, &[])
}

fn load(start: i64, batches: &[(i64, i64, i8, i16)]) -> SharePartition {
    let state = State { state_epoch: 1, start_offset: start, batches: state_batches(batches) };
    SharePartition::load(&state, start, 3, &rules()).unwrap().0
}

fn state_batches(batches: &[(i64, i64, i8, i16)]) -> Vec<StateBatch> {
    let batches = batches.iter().map(|&(first, last, delivery_state, delivery_count)| StateBatch {
        first,
        last,
        delivery_state,
        delivery_count,
    });
    batches.collect()
}

struct Fetch<'a> {
    member: &'a str,
    mode: AcquireMode,
    max: i64,
    from: i64,
    batches: &'a [FetchedBatch],
}

fn fetch(partition: &mut SharePartition, fetch: &Fetch<'_>) -> Vec<(i64, i64, i16)> {
    let asked = Acquire {
        member: &Str::from(fetch.member),
        mode: fetch.mode,
        batch_size: 100,
        max_records: fetch.max,
        fetch_offset: fetch.from,
        fetched: fetch.batches,
        aborted: &[],
        now: at(0),
    };
    let acquired = partition.acquire(&asked, &rules());
    acquired.iter().map(|it| (it.first, it.last, it.delivery_count)).collect()
}

fn take(partition: &mut SharePartition, member: &str, batches: &[FetchedBatch]) -> Vec<(i64, i64, i16)> {
    let from = partition.next_fetch_offset();
    fetch(partition, &Fetch { member, mode: AcquireMode::Batch, max: 500, from, batches })
}

fn ack(
    partition: &mut SharePartition,
    member: &str,
    first: i64,
    last: i64,
    types: &[i8],
) -> Result<Option<Write>, (ErrorCode, String)> {
    let said = Acknowledgement { first, last, types: types.to_vec() };
    let result = partition.acknowledge(&Str::from(member), &[said], &rules(), at(0));
    result.map_err(|it| (it.code, it.message.map(|it| it.to_string()).unwrap_or_default()))
}

fn ack_and_settle(partition: &mut SharePartition, member: &str, first: i64, last: i64, types: &[i8]) {
    let write = ack(partition, member, first, last, types).unwrap().unwrap();
    partition.settle(&write, Persisted::Yes);
}

fn runs(partition: &SharePartition) -> Vec<(i64, i64, i8, i16)> {
    partition.runs().map(|it| (it.first, it.last, it.delivery_state, it.delivery_count)).collect()
}

#[test]
fn whole_batches_are_acquired_and_accepted_and_the_beginning_moves() {
    let mut partition = new_at(10);
    assert_eq!(partition.next_fetch_offset(), 10);
    assert_eq!(take(&mut partition, "a", &[plain(10, 14), plain(15, 19)]), [(10, 19, 1)]);
    assert_eq!(partition.next_fetch_offset(), 20);
    let write = ack(&mut partition, "a", 10, 19, &[1]).unwrap().unwrap();
    assert_eq!(write.batches, state_batches(&[(10, 19, 2, 1)]));
    assert_eq!((write.start_offset, write.delivery_complete_count), (10, 10));
    assert_eq!((write.state_epoch, write.leader_epoch), (1, 3));
    // Nothing moves before the write is there.
    assert_eq!(partition.start(), 10);
    assert!(partition.settle(&write, Persisted::Yes).has_moved);
    assert_eq!((partition.start(), partition.end(), partition.in_flight_batches()), (20, 20, 0));
    assert_eq!(partition.delivery_complete_count(), 0);
}

#[test]
fn long_ranges_are_cut_between_batches_in_batch_mode() {
    let mut partition = new_at(0);
    let batches = [plain(0, 79), plain(80, 149), plain(150, 199)];
    let from = 0;
    let asked = Fetch { member: "a", mode: AcquireMode::Batch, max: 160, from, batches: &batches };
    assert_eq!(fetch(&mut partition, &asked), [(0, 149, 1), (150, 199, 1)]);
    assert_eq!(partition.in_flight_batches(), 2);
}

#[test]
fn a_strict_limit_leaves_the_rest_of_a_batch_to_others() {
    let mut partition = new_at(0);
    let batches = [plain(0, 9)];
    let mut asked = Fetch { member: "a", mode: AcquireMode::RecordLimit, max: 4, from: 0, batches: &batches };
    assert_eq!(fetch(&mut partition, &asked), [(0, 3, 1)]);
    assert_eq!(runs(&partition), [(0, 3, 1, 1), (4, 9, 0, 0)]);
    assert_eq!(partition.next_fetch_offset(), 4);
    asked = Fetch { member: "b", max: 3, from: 4, ..asked };
    assert_eq!(fetch(&mut partition, &asked), [(4, 6, 1)]);
    ack_and_settle(&mut partition, "b", 4, 6, &[1]);
    assert_eq!(partition.start(), 0);
    ack_and_settle(&mut partition, "a", 0, 3, &[1]);
    assert_eq!(partition.start(), 7);
    assert_eq!(runs(&partition), [(0, 6, 2, 1), (7, 9, 0, 0)]);
}

#[test]
fn each_record_can_have_its_own_answer() {
    let mut partition = new_at(0);
    take(&mut partition, "a", &[plain(0, 4)]);
    let write = ack(&mut partition, "a", 0, 4, &[1, 2, 2, 3, 0]).unwrap().unwrap();
    let said = [(0, 0, 2, 1), (1, 2, 0, 1), (3, 3, 4, 1), (4, 4, 4, 1)];
    assert_eq!(write.batches, state_batches(&said));
    partition.settle(&write, Persisted::Yes);
    assert_eq!(partition.start(), 1);
    assert_eq!(partition.delivery_complete_count(), 2);
    assert_eq!(partition.next_fetch_offset(), 1);
    assert_eq!(take(&mut partition, "b", &[plain(0, 4)]), [(1, 2, 2)]);
}

#[test]
fn what_is_not_persisted_is_taken_back() {
    let mut partition = new_at(0);
    take(&mut partition, "a", &[plain(0, 4)]);
    let write = ack(&mut partition, "a", 1, 3, &[1]).unwrap().unwrap();
    let words = "The offset cannot be acknowledged. The offset is not acquired.".to_string();
    assert_eq!(ack(&mut partition, "a", 2, 2, &[1]), Err((ErrorCode::InvalidRecordState, words)));
    partition.settle(&write, Persisted::No);
    assert_eq!((runs(&partition), partition.delivery_complete_count()), (vec![(0, 4, 1, 1)], 0));
    ack_and_settle(&mut partition, "a", 0, 4, &[1]);
    assert_eq!(partition.start(), 5);
}

#[test]
fn acknowledgements_of_others_or_of_nothing_are_refused_and_change_nothing() {
    let mut partition = new_at(0);
    take(&mut partition, "a", &[plain(0, 4)]);
    take(&mut partition, "b", &[plain(5, 9)]);
    let code = ErrorCode::InvalidRecordState;
    let refused = |words: &str| Err((code, words.to_string()));
    let owner = "Member is not the owner of batch record";
    assert_eq!(ack(&mut partition, "b", 0, 4, &[1]), refused(owner));
    assert_eq!(ack(&mut partition, "a", 0, 9, &[1]), refused(owner));
    let past = "Batch record not found. The last offset in request is past acquired records.";
    let invalid = Err((ErrorCode::InvalidRequest, past.to_string()));
    assert_eq!(ack(&mut partition, "b", 5, 12, &[1]), invalid);
    let past = "Batch record not found. The first offset in request is past acquired records.";
    let invalid = Err((ErrorCode::InvalidRequest, past.to_string()));
    assert_eq!(ack(&mut partition, "b", 10, 12, &[1]), invalid);
    let invalid = Err((ErrorCode::InvalidRequest, "Invalid acknowledge type: [5]".to_string()));
    assert_eq!(ack(&mut partition, "a", 0, 4, &[5]), invalid);
    assert_eq!(runs(&partition), [(0, 4, 1, 1), (5, 9, 1, 1)]);
    assert_eq!(partition.delivery_complete_count(), 0);
    let not_found = "Batch record not found. The request batch offsets are not found in the cache.";
    assert_eq!(ack(&mut new_at(0), "a", 0, 4, &[1]), refused(not_found));
}

#[test]
fn locks_run_out_and_can_be_renewed() {
    let mut partition = new_at(0);
    take(&mut partition, "a", &[plain(0, 4)]);
    let said = Acknowledgement { first: 3, last: 4, types: vec![4] };
    let renewed = partition.acknowledge(&Str::from("a"), &[said], &rules(), at(20));
    assert_eq!(renewed, Ok(None));
    assert_eq!(partition.deadline(), Some(at(30)));
    assert_eq!(partition.expire(at(29), &rules()), None);
    let write = partition.expire(at(30), &rules()).unwrap();
    assert_eq!(write.batches, state_batches(&[(0, 2, 0, 1)]));
    // Whether or not it can be persisted, the lock is over.
    assert!(partition.settle(&write, Persisted::No).has_moved);
    assert_eq!(runs(&partition), [(0, 2, 0, 1), (3, 4, 1, 1)]);
    assert_eq!(partition.deadline(), Some(at(50)));
    let words = "The offset cannot be acknowledged. The offset is not acquired.".to_string();
    assert_eq!(ack(&mut partition, "a", 0, 4, &[1]), Err((ErrorCode::InvalidRecordState, words)));
    let refusing = Rules { renewal: Renewal::Refused, ..rules() };
    let said = Acknowledgement { first: 3, last: 4, types: vec![4] };
    let refused = partition.acknowledge(&Str::from("a"), &[said], &refusing, at(20)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidRecordState);
}

#[test]
fn a_lock_that_runs_out_while_the_answer_is_written_ends_once_the_write_has_failed() {
    let mut partition = new_at(0);
    take(&mut partition, "a", &[plain(0, 4)]);
    let write = ack(&mut partition, "a", 0, 4, &[1]).unwrap().unwrap();
    assert_eq!(partition.expire(at(31), &rules()), None);
    partition.settle(&write, Persisted::No);
    assert_eq!(partition.deadline(), Some(at(30)));
    assert_eq!(partition.expire(at(31), &rules()).unwrap().batches, state_batches(&[(0, 4, 0, 1)]));
}

#[test]
fn members_who_leave_leave_their_records_to_others() {
    let mut partition = new_at(0);
    take(&mut partition, "a", &[plain(0, 4)]);
    take(&mut partition, "b", &[plain(5, 9)]);
    let write = partition.release(&Str::from("a"), &rules()).unwrap();
    assert_eq!(write.batches, state_batches(&[(0, 4, 0, 1)]));
    partition.settle(&write, Persisted::Yes);
    assert_eq!(partition.release(&Str::from("a"), &rules()), None);
    assert_eq!(take(&mut partition, "b", &[plain(0, 4)]), [(0, 4, 2)]);
}

#[test]
fn records_are_given_up_after_enough_deliveries() {
    let mut partition = load(0, &[(0, 4, 0, 4)]);
    // On their last delivery records go one by one.
    let mut given_up = 0;
    for record in 0..5 {
        assert_eq!(take(&mut partition, "a", &[plain(0, 4)]), [(record, record, 5)]);
        let write = ack(&mut partition, "a", record, record, &[2]).unwrap().unwrap();
        given_up += write.batches.iter().filter(|it| it.delivery_state == 4).count();
        partition.settle(&write, Persisted::Yes);
    }
    assert_eq!((given_up, partition.start()), (5, 5));
}

#[test]
fn records_that_were_delivered_often_come_in_smaller_portions() {
    let mut partition = load(0, &[(0, 15, 0, 3)]);
    assert_eq!(take(&mut partition, "a", &[plain(0, 15)]), [(0, 7, 4)]);
    let mut partition = load(0, &[(0, 3, 0, 1), (4, 19, 0, 3)]);
    // A suspicious batch waits until it is asked for alone.
    assert_eq!(take(&mut partition, "a", &[plain(0, 3), plain(4, 19)]), [(0, 3, 2)]);
    assert_eq!(take(&mut partition, "a", &[plain(4, 19)]), [(4, 11, 4)]);
}

#[test]
fn what_is_given_up_goes_through_the_dead_letter_queue() {
    let rules = Rules { given_up: GivenUp::DeadLetters, ..rules() };
    let mut partition = new_at(0);
    take(&mut partition, "a", &[plain(0, 4)]);
    let said = Acknowledgement { first: 0, last: 4, types: vec![1, 3, 3, 1, 1] };
    let write = partition.acknowledge(&Str::from("a"), &[said], &rules, at(0)).unwrap().unwrap();
    assert_eq!(write.batches, state_batches(&[(0, 0, 2, 1), (1, 2, 3, 1), (3, 4, 2, 1)]));
    let settled = partition.settle(&write, Persisted::Yes);
    let [letter] = settled.dead_letters[..] else { panic!("{settled:?}") };
    assert_eq!((letter.first, letter.last, letter.cause), (1, 2, DeadLetterCause::Rejected));
    assert_eq!((partition.start(), partition.delivery_complete_count()), (1, 2));
    let write = partition.archive_dead_letter(&letter);
    assert_eq!(write.batches, state_batches(&[(1, 2, 4, 1)]));
    partition.settle(&write, Persisted::Yes);
    assert_eq!(partition.start(), 5);
    // What was on its way when the leader went away is sent again.
    let state =
        State { state_epoch: 1, start_offset: 0, batches: state_batches(&[(0, 1, 3, 5), (2, 3, 2, 1)]) };
    let (_, letters) = SharePartition::load(&state, 0, 4, &rules).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].cause, DeadLetterCause::DeliveryCountExceeded);
}

#[test]
fn gaps_in_what_was_persisted_are_acquired_anew() {
    let mut partition = load(0, &[(3, 5, 2, 1), (8, 9, 0, 1)]);
    assert_eq!((partition.start(), partition.end()), (0, 9));
    assert_eq!(partition.next_fetch_offset(), 0);
    assert_eq!(take(&mut partition, "a", &[plain(0, 12)]), [(0, 2, 1), (6, 7, 1), (8, 9, 2), (10, 12, 1)]);
    for (first, last) in [(0, 2), (6, 7), (8, 9), (10, 12)] {
        ack_and_settle(&mut partition, "a", first, last, &[1]);
    }
    assert_eq!((partition.start(), partition.in_flight_batches()), (13, 0));
}

#[test]
fn what_is_not_in_the_log_any_more_is_done_with() {
    let mut partition = load(0, &[(0, 9, 0, 1)]);
    partition.log_start_moved(4);
    assert_eq!((partition.start(), partition.next_fetch_offset()), (4, 4));
    // Compaction has taken 4 to 6.
    assert_eq!(take(&mut partition, "a", &[plain(7, 9)]), [(7, 9, 2)]);
    ack_and_settle(&mut partition, "a", 7, 9, &[1]);
    assert_eq!(partition.start(), 10);
    partition.log_start_moved(20);
    assert_eq!((partition.start(), partition.end(), partition.next_fetch_offset()), (20, 20, 20));
}

#[test]
fn records_that_are_held_while_the_log_begins_behind_them_end_with_their_locks() {
    let mut partition = new_at(0);
    take(&mut partition, "a", &[plain(0, 9)]);
    partition.log_start_moved(5);
    let write = partition.expire(at(30), &rules()).unwrap();
    assert_eq!(write.batches, state_batches(&[(0, 4, 4, 1), (5, 9, 0, 1)]));
    partition.settle(&write, Persisted::Yes);
    assert_eq!(partition.start(), 5);
    assert_eq!(take(&mut partition, "b", &[plain(5, 9)]), [(5, 9, 2)]);
}

#[test]
fn aborted_records_are_never_given_out() {
    let transactional = |first, last, producer| FetchedBatch {
        producer_id: Some(producer),
        is_transactional: true,
        ..plain(first, last)
    };
    let marker = |at, producer| FetchedBatch { is_abort_marker: true, ..transactional(at, at, producer) };
    let fetched = [
        transactional(0, 4, 1),
        transactional(5, 9, 2),
        marker(10, 1),
        transactional(11, 12, 1),
        plain(13, 14),
    ];
    let transactions = [AbortedTransaction { producer_id: 1, first_offset: 0 }];
    let aborted = aborted_batches(&fetched, &transactions);
    assert_eq!(aborted, [(0, 4)]);
    let mut partition = new_at(0);
    let asked = Acquire {
        member: &Str::from("a"),
        mode: AcquireMode::Batch,
        batch_size: 100,
        max_records: 100,
        fetch_offset: 0,
        fetched: &fetched,
        aborted: &aborted,
        now: at(0),
    };
    let range = AcquiredRange { first: 5, last: 14, delivery_count: 1 };
    assert_eq!(partition.acquire(&asked, &rules()), [range]);
    assert_eq!(partition.start(), 5);
}

#[test]
fn no_more_is_in_flight_than_allowed_but_what_is_can_be_had_again() {
    let mut partition = new_at(0);
    assert_eq!(take(&mut partition, "a", &[plain(0, 99), plain(100, 199)]).len(), 2);
    assert!(!partition.can_acquire(&rules()));
    assert_eq!(take(&mut partition, "b", &[plain(200, 209)]), []);
    ack_and_settle(&mut partition, "a", 100, 149, &[2]);
    assert!(partition.can_acquire(&rules()));
    assert_eq!(take(&mut partition, "b", &[plain(100, 199), plain(200, 209)]), [(100, 149, 2)]);
}

#[test]
fn state_that_contradicts_itself_is_not_taken_up() {
    let check = |batches: &[(i64, i64, i8, i16)], error| {
        let state = State { state_epoch: 0, start_offset: 5, batches: state_batches(batches) };
        assert_eq!(SharePartition::load(&state, 5, 0, &rules()).err(), Some(error));
    };
    check(&[(4, 6, 0, 1)], MalformedState::BeforeStart { first: 4, start: 5 });
    check(&[(7, 6, 0, 1)], MalformedState::Batch { first: 7, last: 6 });
    check(&[(5, 9, 0, 1), (9, 10, 0, 1)], MalformedState::Batch { first: 9, last: 10 });
    check(&[(5, i64::MAX, 0, 1)], MalformedState::Batch { first: 5, last: i64::MAX });
    check(&[(5, 6, 1, 1)], MalformedState::DeliveryState(1));
    check(&[(5, 6, 9, 1)], MalformedState::DeliveryState(9));
}

/// What is true of one record.
#[derive(Debug, Clone, Default)]
struct Truth {
    deliveries: i16,
    /// Who has it, and until when.
    holder: Option<(usize, Moment)>,
    /// A change of it is being written.
    is_in_transition: bool,
    /// Nobody may ever see it again.
    is_done: bool,
    /// It is in the log no more, or aborted: nobody says so in the persisted state.
    is_silent: bool,
}

/// A write that has reached the persister, or not, and of which the partition has not heard yet.
struct Pending {
    write: Write,
    persisted: Persisted,
    /// What each record was before, to be taken back.
    before: Vec<(i64, usize, Moment)>,
    is_fact: bool,
}

struct Model {
    partition: SharePartition,
    rules: Rules,
    log: Vec<FetchedBatch>,
    aborted: Vec<(i64, i64)>,
    truth: BTreeMap<i64, Truth>,
    persisted: State,
    pending: VecDeque<Pending>,
    now: Moment,
    entropy: Entropy,
    members: Vec<Str>,
}

impl Model {
    fn new(seed: u64) -> Model {
        let mut entropy = draws(seed);
        let mut log = Vec::new();
        let mut aborted = Vec::new();
        let mut offset = 0;
        for _ in 0..40 {
            if entropy.below(6) == 0 {
                offset += entropy.below(5) as i64;
            }
            let last = offset + entropy.below(12) as i64;
            if entropy.below(8) == 0 {
                aborted.push((offset, last));
            }
            log.push(plain(offset, last));
            offset = last + 1;
        }
        let rules = Rules {
            max_in_flight: 20 + entropy.below(100) as i64,
            max_delivery_count: 2 + entropy.below(4) as i16,
            ..rules()
        };
        let persisted = State { state_epoch: 0, start_offset: 0, batches: Vec::new() };
        let mut truth: BTreeMap<i64, Truth> = BTreeMap::new();
        for batch in &log {
            let is_aborted = aborted.contains(&(batch.first, batch.last));
            let record = Truth { is_done: is_aborted, is_silent: is_aborted, ..Truth::default() };
            truth.extend((batch.first..=batch.last).map(|offset| (offset, record.clone())));
        }
        Model {
            partition: SharePartition::load(&persisted, 0, 0, &rules).unwrap().0,
            rules,
            log,
            aborted,
            truth,
            persisted,
            pending: VecDeque::new(),
            now: at(0),
            entropy,
            members: ["a", "b", "c"].map(Str::from).to_vec(),
        }
    }

    fn fetch(&mut self) {
        if !self.partition.can_acquire(&self.rules) {
            return;
        }
        let from = self.partition.next_fetch_offset();
        let portion = 1 + self.entropy.below(4);
        let fetched: Vec<_> = self.log.iter().filter(|it| it.last >= from).take(portion).copied().collect();
        let who = self.entropy.below(self.members.len());
        let mode = if self.entropy.below(2) == 0 { AcquireMode::Batch } else { AcquireMode::RecordLimit };
        let max_records = 1 + self.entropy.below(30) as i64;
        let asked = Acquire {
            member: &self.members[who].clone(),
            mode,
            batch_size: 1 + self.entropy.below(20) as i64,
            max_records,
            fetch_offset: from,
            fetched: &fetched,
            aborted: &self.aborted.clone(),
            now: self.now,
        };
        let acquired = self.partition.acquire(&asked, &self.rules);
        let mut count = 0;
        for range in acquired {
            for offset in range.first..=range.last {
                count += 1;
                // Offsets between batches hold no record.
                let record = self.truth.entry(offset);
                let record = record.or_insert_with(|| Truth { is_silent: true, ..Truth::default() });
                assert_eq!(record.holder, None, "{offset} is held by another");
                assert!(!record.is_done && !record.is_in_transition, "{offset} is not to be had");
                record.deliveries += 1;
                assert_eq!(range.delivery_count, record.deliveries, "deliveries of {offset}");
                assert!(record.deliveries <= self.rules.max_delivery_count);
                record.holder = Some((who, self.now + LOCK));
            }
        }
        if mode == AcquireMode::RecordLimit {
            assert!(count <= max_records, "{count} records instead of {max_records}");
        }
    }

    fn acknowledge(&mut self) {
        let who = self.entropy.below(self.members.len());
        let held: Vec<i64> =
            self.truth.iter().filter(|(_, it)| it.holder.is_some()).map(|(at, _)| *at).collect();
        if held.is_empty() {
            return;
        }
        let first = held[self.entropy.below(held.len())];
        let last = first + self.entropy.below(8) as i64;
        let answers = [1, 1, 1, 2, 3, 0, 4].map(|it| it as i8);
        let mut draw = || answers[self.entropy.below(answers.len())];
        let types: Vec<i8> = if self.now.0.as_secs().is_multiple_of(2) {
            vec![draw()]
        } else {
            (first..=last).map(|_| draw()).collect()
        };
        let is_in_flight =
            |offset: i64| self.partition.in_flight.floor_run(offset).is_some_and(|run| run.last >= offset);
        let is_right =
            (first.max(self.partition.start())..=last).filter(|it| is_in_flight(*it)).all(|offset| {
                let record = self.truth.get(&offset);
                record.is_some_and(|it| it.holder.is_some_and(|it| it.0 == who) && !it.is_in_transition)
            });
        let is_known = is_in_flight(first) && is_in_flight(last);
        let said = Acknowledgement { first, last, types: types.clone() };
        let result = self.partition.acknowledge(&self.members[who].clone(), &[said], &self.rules, self.now);
        let Ok(write) = result else {
            // Where a record is refused, renewals before it count.
            let renewed = (first..=last).zip(types.iter().cycle()).filter(|(_, it)| **it == 4);
            for (offset, _) in renewed {
                self.resync_lock(offset);
            }
            assert!(
                !is_right || !is_known,
                "a rightful acknowledgement of {first} to {last} was refused: {result:?}"
            );
            return;
        };
        if last >= self.partition.start() {
            assert!(is_right, "an acknowledgement of {first} to {last} was taken from somebody else");
        }
        let mut before = Vec::new();
        for (offset, id) in (first..=last).zip(types.iter().cycle()) {
            if offset < self.partition.start() {
                continue;
            }
            let now = self.now;
            let Some(record) = self.truth.get_mut(&offset) else { continue };
            if *id == 4 {
                record.holder = Some((who, now + LOCK));
                continue;
            }
            let Some((_, lock)) = record.holder.take() else { continue };
            before.push((offset, who, lock));
            record.is_in_transition = true;
        }
        self.send(write, before, false);
    }

    /// A refused acknowledgement may have renewed locks before the record it was refused for.
    fn resync_lock(&mut self, offset: i64) {
        let run = self.partition.in_flight.floor_run(offset).filter(|run| run.last >= offset);
        if let (Some(run), Some(record)) = (run, self.truth.get_mut(&offset))
            && let (Some(lock), Some(holder)) = (run.lock, &mut record.holder)
        {
            assert!(lock == holder.1 || lock == self.now + LOCK);
            holder.1 = lock;
        }
    }

    /// A write reaches the persister, or does not; the partition hears of it later.
    fn send(&mut self, write: Option<Write>, before: Vec<(i64, usize, Moment)>, is_fact: bool) {
        let Some(write) = write else { return };
        let persisted = if self.entropy.below(5) == 0 { Persisted::No } else { Persisted::Yes };
        if persisted == Persisted::Yes {
            self.persisted.start_offset = self.persisted.start_offset.max(write.start_offset);
            self.persisted.batches =
                combine(&self.persisted.batches, &write.batches, self.persisted.start_offset);
        }
        self.pending.push_back(Pending { write, persisted, before, is_fact });
    }

    fn settle(&mut self) {
        let Some(Pending { write, persisted, before, is_fact }) = self.pending.pop_front() else { return };
        let settled = self.partition.settle(&write, persisted);
        assert_eq!(settled.dead_letters, []);
        let is_kept = persisted == Persisted::Yes || is_fact;
        for (offset, who, lock) in before {
            let Some(record) = self.truth.get_mut(&offset) else { continue };
            record.is_in_transition = false;
            let run = self.partition.in_flight.floor_run(offset).filter(|run| run.last >= offset);
            if !is_kept && run.is_some_and(|run| run.state == RecordState::Acquired) {
                record.holder = Some((who, lock));
            } else if !is_kept {
                assert!(record.is_silent, "what was not persisted was not taken back: {offset}");
            }
        }
        if is_kept {
            self.note(&write);
        }
    }

    /// What a write says is true from now on.
    fn note(&mut self, write: &Write) {
        for batch in &write.batches {
            for offset in batch.first..=batch.last {
                if let Some(record) = self.truth.get_mut(&offset) {
                    let state = RecordState::from_id(batch.delivery_state);
                    record.is_done |= state.is_some_and(RecordState::is_terminal);
                }
            }
        }
    }

    fn leave(&mut self) {
        let who = self.entropy.below(self.members.len());
        let write = self.partition.release(&self.members[who].clone(), &self.rules);
        let mut before = Vec::new();
        for (offset, record) in &mut self.truth {
            if let Some((holder, lock)) = record.holder
                && holder == who
            {
                record.holder = None;
                record.is_in_transition = true;
                before.push((*offset, who, lock));
            }
        }
        assert_eq!(write.is_some(), !before.is_empty());
        self.send(write, before, false);
    }

    fn wait(&mut self) {
        self.now = self.now + Duration::from_secs(1 + self.entropy.below(20) as u64);
        let write = self.partition.expire(self.now, &self.rules);
        let mut expired = 0;
        for record in self.truth.values_mut() {
            if record.holder.is_some_and(|(_, lock)| lock <= self.now) {
                record.holder = None;
                expired += 1;
            }
        }
        let written = write.iter().flat_map(|it| &it.batches).map(|it| it.last - it.first + 1).sum::<i64>();
        assert_eq!(written, expired, "locks that ran out");
        if let Some(write) = &write {
            self.note(write);
        }
        self.send(write, Vec::new(), true);
    }

    fn move_log_start(&mut self) {
        let by = self.entropy.below(6) as i64;
        let log_start = self.log.first().map_or(0, |it| it.first) + by;
        self.log.retain(|it| it.last >= log_start);
        self.partition.log_start_moved(log_start);
        for (_, record) in self.truth.range_mut(..log_start.max(0)) {
            record.is_silent = true;
            if record.holder.is_none() && !record.is_in_transition {
                record.is_done = true;
            }
        }
    }

    fn check(&self) {
        let partition = &self.partition;
        let terminal = partition.in_flight.iter().filter(|(_, run)| run.state.is_terminal());
        let terminal: i64 = terminal.map(|(first, run)| partition.counted(first, run.last)).sum();
        assert_eq!(partition.delivery_complete_count(), terminal, "records that are done with");
        for (offset, record) in self.truth.range(..partition.start()) {
            let is_over = record.is_done || record.is_silent;
            assert!(is_over, "the beginning {} has moved over {offset}: {record:?}", partition.start());
        }
        let mut covered = i64::MIN;
        for (first, batch) in partition.in_flight.batches() {
            assert!(first > covered, "batches overlap");
            let mut next = first;
            for (from, run) in partition.in_flight.runs_of(first, batch) {
                assert_eq!(from, next, "runs leave a hole");
                assert!(run.last >= from);
                assert_eq!(run.member.is_some(), run.state == RecordState::Acquired, "{run:?}");
                next = run.last + 1;
            }
            assert_eq!(next, batch.last + 1, "runs end before or after their batch");
            covered = batch.last;
        }
        let due = partition.in_flight.iter().filter(|(_, run)| run.member.is_some());
        let due = due.filter_map(|(_, run)| run.lock).min();
        assert!(due.is_none() || partition.deadline() <= due, "a lock would be forgotten");
    }

    /// What a new leader finds is what this one has, but that nothing is acquired.
    fn check_persisted(&self) {
        let (loaded, _) =
            SharePartition::load(&self.persisted, self.persisted.start_offset, 0, &self.rules).unwrap();
        for (first, run) in self.partition.in_flight.iter() {
            for offset in first.max(self.partition.start())..=run.last {
                let kept = loaded.in_flight.floor_run(offset).filter(|it| it.last >= offset);
                let is_over = kept.map_or(offset < loaded.start(), |it| it.state.is_terminal());
                let is_silent = self.truth.get(&offset).is_none_or(|it| it.is_silent);
                if run.state.is_terminal() && !is_silent {
                    assert!(is_over, "{offset} is done with here, but not there");
                } else if !run.state.is_terminal() {
                    assert!(!is_over, "{offset} is done with there, but not here");
                    let deliveries = run.delivery_count - i16::from(run.state == RecordState::Acquired);
                    assert_eq!(kept.map_or(0, |it| it.delivery_count), deliveries, "deliveries of {offset}");
                }
            }
        }
    }
}

#[test]
fn what_is_done_with_behind_a_new_log_start_is_left_behind() {
    let rules = Rules { max_in_flight: 20, ..rules() };
    let mut partition = new_at(0);
    for first in [0, 10] {
        let fetched = [plain(first, first + 9)];
        let asked = Acquire {
            member: &Str::from("m"),
            mode: AcquireMode::Batch,
            batch_size: 10,
            max_records: 10,
            fetch_offset: first,
            fetched: &fetched,
            aborted: &[],
            now: at(0),
        };
        assert_eq!(partition.acquire(&asked, &rules).len(), 1);
    }
    // The second ten are done with, the first ten were given back and fall out of the log.
    let said = Acknowledgement { first: 10, last: 19, types: vec![1] };
    let write = partition.acknowledge(&Str::from("m"), &[said], &rules, at(1)).unwrap().unwrap();
    let _ = partition.settle(&write, Persisted::Yes);
    let said = Acknowledgement { first: 0, last: 9, types: vec![2] };
    let write = partition.acknowledge(&Str::from("m"), &[said], &rules, at(1)).unwrap().unwrap();
    let _ = partition.settle(&write, Persisted::Yes);
    assert!(partition.log_start_moved(10));
    assert_eq!((partition.start(), partition.end(), partition.in_flight_batches()), (20, 20, 0));
    assert!(partition.can_acquire(&rules));
}

#[test]
fn random_runs_keep_every_promise() {
    for seed in seeds(150, 3_334) {
        let mut model = Model::new(seed);
        for _ in 0..300 {
            match model.entropy.below(20) {
                0..7 => model.fetch(),
                7..13 => model.acknowledge(),
                13..17 => model.settle(),
                17 => model.leave(),
                18 => model.wait(),
                _ => {
                    if model.entropy.below(4) == 0 {
                        model.move_log_start();
                    }
                }
            }
            model.check();
        }
        // Then everything is dealt with.
        let end = model.log.last().map_or(0, |it| it.last);
        for _ in 0..2000 {
            if model.partition.start() > end {
                break;
            }
            while !model.pending.is_empty() {
                model.settle();
            }
            model.fetch();
            model.wait();
            model.check();
            while !model.pending.is_empty() {
                model.settle();
            }
            model.acknowledge();
        }
        assert_eq!(model.partition.in_flight_batches(), 0, "seed {seed}: {:?}", runs(&model.partition));
        assert!(model.partition.start() > end, "seed {seed}");
        assert!(model.truth.range(..=end).all(|(_, it)| it.is_done || it.is_silent), "seed {seed}");
    }
}

#[test]
fn a_new_leader_goes_on_where_the_last_one_stopped() {
    for seed in 1000..1100 {
        let mut model = Model::new(seed);
        model.aborted.clear();
        model.truth.values_mut().for_each(|it| *it = Truth::default());
        for _ in 0..200 {
            match model.entropy.below(16) {
                0..6 => model.fetch(),
                6..13 => model.acknowledge(),
                13 => model.leave(),
                _ => model.wait(),
            }
            // The persister is never in doubt here, and hears of everything at once.
            while let Some(pending) = model.pending.back_mut() {
                if pending.persisted == Persisted::No {
                    pending.persisted = Persisted::Yes;
                    let write = &pending.write;
                    model.persisted.start_offset = model.persisted.start_offset.max(write.start_offset);
                    model.persisted.batches =
                        combine(&model.persisted.batches, &write.batches, model.persisted.start_offset);
                }
                model.settle();
            }
            model.check();
            model.check_persisted();
        }
    }
}
