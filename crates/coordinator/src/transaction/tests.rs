//! A seat of the machine, driven by scripts; the model of clients, partitions and a slow network is in `model`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_base::settings::Texts;
use ottla_base::{ErrorCode, Moment, Now, Offset, PartitionIndex, ProducerEpoch, ProducerId, Str, Timestamp};
use ottla_machine::{Input, Seat, replay};
use ottla_metadata::settings::ServerSettings;
use ottla_metadata::{Feature, Image};

use super::*;
use crate::World;

mod model;

const ID: &str = "orders";
const TV0: i16 = 0;
const TV2: i16 = 2;

/// The cluster at a `transaction.version`, with settings.
pub(super) fn world(version: i16, more: &[(&str, &str)]) -> Arc<World> {
    let needed = [
        ("node.id", "1"),
        ("process.roles", "broker,controller"),
        ("controller.listener.names", "CONTROLLER"),
        ("log.dirs", "/data"),
    ];
    let texts = needed.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let texts: Texts = texts.collect();
    let mut image = Image::default();
    if version > 0 {
        image.features.levels.insert(Feature::Transaction.name().into(), version);
    }
    let settings = ServerSettings::read(&texts).expect("settings");
    Arc::new(World::new(Arc::new(image), Arc::new(settings), Arc::new(Texts::default())))
}

pub(super) fn producer(id: i64, epoch: i16) -> Producer {
    Producer { id: ProducerId(id), epoch: ProducerEpoch(epoch) }
}

pub(super) fn partitions(of: &[(&str, i32)]) -> TopicPartitions {
    let owned: Vec<(Str, PartitionIndex)> =
        of.iter().map(|(topic, index)| (Str::from(*topic), PartitionIndex(*index))).collect();
    owned.iter().map(|(topic, index)| (topic, *index)).collect()
}

/// A seat whose log commits at once.
struct Coordinator {
    seat: Seat<TransactionCoordinator, ()>,
    log: Vec<Fact>,
    world: Arc<World>,
    now: Now,
    fresh: i64,
}

impl Coordinator {
    fn new(world: Arc<World>) -> Coordinator {
        let now = Now { moment: Moment::default(), wall_clock: Timestamp(1_000_000) };
        let seat = Seat::take(TransactionCoordinator::default(), Offset(0), [3; 32]);
        let mut it = Coordinator { seat, log: Vec::new(), world, now, fresh: 99 };
        it.see_world();
        it
    }

    fn see_world(&mut self) -> Vec<Effect> {
        let (replies, effects) = self.submit(Input::Request(Request::SeeWorld(self.world.clone()), ()));
        assert_eq!(replies, [Reply::SeeWorld(())]);
        effects
    }

    /// The log is replayed into another seat.
    fn lose_seat(&mut self) -> Vec<Effect> {
        let state: TransactionCoordinator = replay(&self.log);
        assert_eq!(&state, self.seat.state());
        self.seat = Seat::take(state, Offset(self.log.len() as i64), [100 + self.log.len() as u8; 32]);
        self.see_world()
    }

    fn submit(&mut self, input: Input<TransactionCoordinator, ()>) -> (Vec<Reply>, Vec<Effect>) {
        let append = self.seat.submit(input, self.now);
        for fact in append.records {
            let (key, value) = fact.encode().expect("encodable");
            assert_eq!(Fact::decode(key, value).expect("decodable").as_ref(), Some(&fact));
            self.log.push(fact);
        }
        let released = self.seat.committed(self.seat.end());
        (released.replies.into_iter().map(|(_, reply)| reply).collect(), released.effects)
    }

    fn ask(&mut self, request: Request) -> (Reply, Vec<Effect>) {
        let (mut replies, effects) = self.submit(Input::Request(request, ()));
        (replies.pop().expect("an answer"), effects)
    }

    fn pass(&mut self, milliseconds: u64) -> Vec<Effect> {
        self.now.moment = self.now.moment + Duration::from_millis(milliseconds);
        self.now.wall_clock = Timestamp(self.now.wall_clock.0 + milliseconds as i64);
        let mut effects = Vec::new();
        while self.seat.deadline().is_some_and(|due| due <= self.now.moment) {
            effects.extend(self.submit(Input::Tick).1);
        }
        effects
    }

    fn init(&mut self, expected: Option<Producer>) -> Result<Producer, ErrorCode> {
        self.init_with(InitProducerId {
            transactional_id: ID.into(),
            timeout_ms: 60_000,
            commit: CommitProtocol::OnePhase,
            prepared: PreparedTransaction::Abort,
            expected,
            fresh: None,
        })
        .0
    }

    fn init_with(&mut self, mut request: InitProducerId) -> (Result<Producer, ErrorCode>, Vec<Effect>) {
        loop {
            match self.ask(Request::InitProducerId(request.clone())) {
                (Reply::InitProducerId(Err(Decline::NeedsProducerId)), _) => {
                    self.fresh += 1;
                    request.fresh = Some(ProducerId(self.fresh));
                }
                (Reply::InitProducerId(Err(Decline::Refused(code))), effects) => return (Err(code), effects),
                (Reply::InitProducerId(Ok(producer)), effects) => return (Ok(producer), effects),
                (other, _) => panic!("{other:?}"),
            }
        }
    }

    fn add(&mut self, producer: Producer, version: i16, of: &[(&str, i32)]) -> Result<(), ErrorCode> {
        let request =
            AddPartitions { transactional_id: ID.into(), producer, version, partitions: partitions(of) };
        match self.ask(Request::AddPartitions(request)).0 {
            Reply::AddPartitions(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn end(
        &mut self,
        producer: Producer,
        version: i16,
        result: TransactionResult,
    ) -> (Result<Producer, ErrorCode>, Vec<Effect>) {
        let mut request =
            EndTransaction { transactional_id: ID.into(), producer, result, version, fresh: None };
        loop {
            match self.ask(Request::End(request.clone())) {
                (Reply::End(Err(Decline::NeedsProducerId)), _) => {
                    self.fresh += 1;
                    request.fresh = Some(ProducerId(self.fresh));
                }
                (Reply::End(Err(Decline::Refused(code))), effects) => return (Err(code), effects),
                (Reply::End(Ok(producer)), effects) => return (Ok(producer), effects),
                (other, _) => panic!("{other:?}"),
            }
        }
    }

    fn written(&mut self, effects: &[Effect]) -> Markers {
        let [Effect::WriteMarkers(markers)] = effects else { panic!("{effects:?}") };
        let (transactional_id, tag) = (markers.transactional_id.clone(), markers.tag);
        self.ask(Request::MarkersWritten(MarkersWritten { transactional_id, tag }));
        markers.clone()
    }

    fn commit(&mut self, producer: Producer) -> Producer {
        let (answer, effects) = self.end(producer, TV2, TransactionResult::Committed);
        self.written(&effects);
        answer.expect("committed")
    }

    fn status(&mut self) -> (String, i64, i16) {
        match self.ask(Request::Describe(ID.into())).0 {
            Reply::Describe(it) => (it.transaction_state.to_string(), it.producer_id, it.producer_epoch),
            other => panic!("{other:?}"),
        }
    }

    /// Lets the epochs of the producer id be used up, as far as the log tells.
    fn exhaust(&mut self, epoch: i16) {
        let mut transaction = self.seat.state().transaction(&ID.into()).expect("known").clone();
        transaction.producer.epoch = ProducerEpoch(epoch);
        self.log.push(Fact { transactional_id: ID.into(), transaction: Some(transaction), layout: 1 });
        let state: TransactionCoordinator = replay(&self.log);
        self.seat = Seat::take(state, Offset(self.log.len() as i64), [9; 32]);
        self.see_world();
    }
}

#[test]
fn every_end_of_version_two_raises_the_epoch_and_a_repeated_one_gets_the_same() {
    let mut it = Coordinator::new(world(TV2, &[]));
    assert_eq!(it.init(None), Ok(producer(100, 0)));
    assert_eq!(it.add(producer(100, 0), TV2, &[("a", 0), ("b", 3)]), Ok(()));
    let (answer, effects) = it.end(producer(100, 0), TV2, TransactionResult::Committed);
    assert_eq!(answer, Ok(producer(100, 1)));
    // Until the markers are written, everybody waits.
    for (epoch, result) in [(0, TransactionResult::Committed), (1, TransactionResult::Aborted)] {
        let answer = it.end(producer(100, epoch), TV2, result).0;
        assert_eq!(answer, Err(ErrorCode::ConcurrentTransactions));
    }
    assert_eq!(it.add(producer(100, 1), TV2, &[("a", 0)]), Err(ErrorCode::ConcurrentTransactions));
    assert_eq!(it.init(None), Err(ErrorCode::ConcurrentTransactions));
    let markers = it.written(&effects);
    assert_eq!((markers.producer, markers.version), (producer(100, 1), TV2));
    assert_eq!(*markers.partitions, partitions(&[("a", 0), ("b", 3)]));
    // The table of `TransactionCoordinator.endTransaction`.
    let ended = |it: &mut Coordinator, epoch, result| it.end(producer(100, epoch), TV2, result).0;
    assert_eq!(ended(&mut it, 0, TransactionResult::Committed), Ok(producer(100, 1)));
    assert_eq!(ended(&mut it, 0, TransactionResult::Aborted), Err(ErrorCode::InvalidTxnState));
    assert_eq!(ended(&mut it, 1, TransactionResult::Committed), Err(ErrorCode::InvalidTxnState));
    let (answer, effects) = it.end(producer(100, 1), TV2, TransactionResult::Aborted);
    assert_eq!(answer, Ok(producer(100, 2)));
    assert!(it.written(&effects).partitions.is_empty());
    assert_eq!(ended(&mut it, 1, TransactionResult::Aborted), Ok(producer(100, 2)));
    assert_eq!(ended(&mut it, 1, TransactionResult::Committed), Err(ErrorCode::InvalidTxnState));
    assert_eq!(ended(&mut it, 0, TransactionResult::Committed), Err(ErrorCode::ProducerFenced));
    assert_eq!(ended(&mut it, 3, TransactionResult::Committed), Err(ErrorCode::ProducerFenced));
}

#[test]
fn a_late_end_finds_another_epoch_and_not_the_next_transaction() {
    let mut it = Coordinator::new(world(TV2, &[]));
    let first = it.init(None).expect("a producer");
    it.add(first, TV2, &[("a", 0)]).expect("added");
    let second = it.commit(first);
    it.add(second, TV2, &[("a", 1)]).expect("added");
    for result in [TransactionResult::Committed, TransactionResult::Aborted] {
        assert_eq!(it.end(first, TV2, result).0, Err(ErrorCode::ProducerFenced));
    }
    assert_eq!(it.status(), ("Ongoing".to_owned(), 100, 1));
}

#[test]
fn clients_without_version_two_keep_their_epoch() {
    let mut it = Coordinator::new(world(TV2, &[]));
    let own = it.init(None).expect("a producer");
    assert_eq!(it.end(own, TV0, TransactionResult::Committed).0, Err(ErrorCode::InvalidTxnState));
    it.add(own, TV0, &[("a", 0)]).expect("added");
    assert_eq!(it.end(producer(100, 5), TV0, TransactionResult::Aborted).0, Err(ErrorCode::ProducerFenced));
    assert_eq!(
        it.end(producer(7, 0), TV0, TransactionResult::Aborted).0,
        Err(ErrorCode::InvalidProducerIdMapping)
    );
    let (answer, effects) = it.end(own, TV0, TransactionResult::Aborted);
    assert_eq!(answer, Ok(NOBODY));
    assert_eq!(it.end(own, TV0, TransactionResult::Aborted).0, Err(ErrorCode::ConcurrentTransactions));
    assert_eq!((it.written(&effects).producer, it.status()), (own, ("CompleteAbort".to_owned(), 100, 0)));
    assert_eq!(it.end(own, TV0, TransactionResult::Aborted).0, Ok(NOBODY));
    assert_eq!(it.end(own, TV0, TransactionResult::Committed).0, Err(ErrorCode::InvalidTxnState));
}

#[test]
fn whoever_takes_the_id_over_aborts_what_goes_on_and_fences_the_last_one() {
    for version in [1, TV2] {
        let mut it = Coordinator::new(world(version, &[]));
        let old = it.init(None).expect("a producer");
        it.add(old, TV0, &[("a", 0)]).expect("added");
        let (answer, effects) = it.init_with(InitProducerId {
            transactional_id: ID.into(),
            timeout_ms: 9_000,
            commit: CommitProtocol::OnePhase,
            prepared: PreparedTransaction::Abort,
            expected: None,
            fresh: None,
        });
        assert_eq!(answer, Err(ErrorCode::ConcurrentTransactions));
        let markers = it.written(&effects);
        assert_eq!((markers.producer, markers.result), (producer(100, 1), TransactionResult::Aborted));
        assert_eq!(it.init(None), Ok(producer(100, 2)));
        assert_eq!(it.add(old, TV0, &[("a", 0)]), Err(ErrorCode::ProducerFenced));
        assert_eq!(it.end(old, TV0, TransactionResult::Committed).0, Err(ErrorCode::ProducerFenced));
        assert_eq!(it.init(Some(old)), Err(ErrorCode::ProducerFenced));
    }
}

#[test]
fn a_producer_that_goes_on_after_an_error_may_repeat_itself_once_the_answer_is_lost() {
    let mut it = Coordinator::new(world(TV2, &[]));
    let first = it.init(None).expect("a producer");
    assert_eq!(it.init(Some(first)), Ok(producer(100, 1)));
    assert_eq!(it.init(Some(first)), Ok(producer(100, 1)));
    assert_eq!(it.init(Some(producer(100, 1))), Ok(producer(100, 2)));
    assert_eq!(it.init(Some(first)), Err(ErrorCode::ProducerFenced));
    // Somebody else has taken the id: no repetition any more.
    assert_eq!(it.init(None), Ok(producer(100, 3)));
    assert_eq!(it.init(Some(producer(100, 2))), Err(ErrorCode::ProducerFenced));
}

#[test]
fn epochs_that_are_used_up_lead_to_another_producer_id() {
    let mut it = Coordinator::new(world(TV2, &[]));
    it.init(None).expect("a producer");
    it.exhaust(i16::MAX - 1);
    let last = producer(100, i16::MAX - 1);
    it.add(last, TV2, &[("a", 0)]).expect("added");
    let (answer, effects) = it.end(last, TV2, TransactionResult::Committed);
    assert_eq!(answer, Ok(producer(101, 0)));
    // The coordinator is lost before the markers are written: the next one writes them again.
    let again = it.lose_seat();
    let [Effect::WriteMarkers(lost)] = &effects[..] else { panic!("{effects:?}") };
    let markers = it.written(&again);
    assert_eq!(markers.producer, producer(100, i16::MAX));
    assert_ne!(markers.tag, lost.tag);
    assert_eq!(it.end(last, TV2, TransactionResult::Committed).0, Ok(producer(101, 0)));
    assert_eq!(it.end(last, TV2, TransactionResult::Aborted).0, Err(ErrorCode::InvalidTxnState));
    it.add(producer(101, 0), TV2, &[("a", 0)]).expect("added");
    let late = it.end(last, TV2, TransactionResult::Aborted).0;
    assert_eq!(late, Err(ErrorCode::InvalidProducerIdMapping));
}

#[test]
fn a_producer_id_rotates_when_a_producer_begins_or_is_fenced_in_its_last_epoch() {
    let mut it = Coordinator::new(world(TV2, &[]));
    it.init(None).expect("a producer");
    it.exhaust(i16::MAX - 1);
    let last = producer(100, i16::MAX - 1);
    assert_eq!(it.init(Some(producer(100, 7))), Err(ErrorCode::UnknownServerError));
    assert_eq!(it.init(Some(last)), Ok(producer(101, 0)));
    assert_eq!(it.init(Some(last)), Ok(producer(101, 0)), "the same request again");
    it.exhaust(i16::MAX - 1);
    it.add(producer(101, i16::MAX - 1), TV2, &[("a", 0)]).expect("added");
    let request = InitProducerId {
        transactional_id: ID.into(),
        timeout_ms: 60_000,
        commit: CommitProtocol::OnePhase,
        prepared: PreparedTransaction::Abort,
        expected: None,
        fresh: None,
    };
    let (answer, effects) = it.init_with(request);
    assert_eq!(answer, Err(ErrorCode::ConcurrentTransactions));
    assert_eq!(it.written(&effects).producer, producer(101, i16::MAX));
    let (status, id, epoch) = it.status();
    assert_eq!((status.as_str(), epoch), ("CompleteAbort", 0));
    assert_eq!(it.init(None), Ok(producer(id, 1)));
}

#[test]
fn only_the_seat_that_let_them_be_written_hears_of_its_markers() {
    let mut it = Coordinator::new(world(TV2, &[]));
    let own = it.init(None).expect("a producer");
    it.add(own, TV0, &[("a", 0)]).expect("added");
    let (_, first) = it.end(own, TV0, TransactionResult::Committed);
    let again = it.lose_seat();
    let [Effect::WriteMarkers(stale)] = &first[..] else { panic!("{first:?}") };
    let told = MarkersWritten { transactional_id: ID.into(), tag: stale.tag };
    it.ask(Request::MarkersWritten(told.clone()));
    assert_eq!(it.status().0, "PrepareCommit");
    it.written(&again);
    assert_eq!(it.status().0, "CompleteCommit");
    it.add(own, TV0, &[("a", 0)]).expect("added");
    it.end(own, TV0, TransactionResult::Aborted).0.expect("ended");
    it.ask(Request::MarkersWritten(told));
    assert_eq!(it.status().0, "PrepareAbort");
}

#[test]
fn transactions_that_take_too_long_are_aborted() {
    let mut it = Coordinator::new(world(TV2, &[]));
    let own = it.init(None).expect("a producer");
    it.add(own, TV2, &[("a", 0)]).expect("added");
    assert!(it.pass(60_000).is_empty());
    it.add(own, TV2, &[("a", 1)]).expect("added");
    let effects = it.pass(10_000);
    let markers = it.written(&effects);
    assert_eq!(*markers.partitions, partitions(&[("a", 0), ("a", 1)]));
    assert_eq!(it.status(), ("CompleteAbort".to_owned(), 100, 1));
    assert_eq!(it.end(own, TV2, TransactionResult::Committed).0, Err(ErrorCode::InvalidTxnState));
    // In its last epoch, the id that follows comes from outside.
    it.exhaust(i16::MAX - 1);
    it.add(producer(100, i16::MAX - 1), TV2, &[("a", 0)]).expect("added");
    let effects = it.pass(70_000);
    let [Effect::DrawProducerId(abandoned)] = &effects[..] else { panic!("{effects:?}") };
    let (_, effects) = it.ask(Request::AbortAbandoned((abandoned.clone(), ProducerId(500))));
    it.written(&effects);
    assert_eq!(it.status(), ("CompleteAbort".to_owned(), 500, 0));
    let (_, effects) = it.ask(Request::AbortAbandoned((abandoned.clone(), ProducerId(501))));
    assert_eq!(effects, []);
}

#[test]
fn two_phase_transactions_may_take_for_ever() {
    let two_phase = ("transaction.two.phase.commit.enable", "true");
    let request = InitProducerId {
        transactional_id: ID.into(),
        timeout_ms: 0,
        commit: CommitProtocol::TwoPhase,
        prepared: PreparedTransaction::Abort,
        expected: None,
        fresh: None,
    };
    let mut it = Coordinator::new(world(TV2, &[]));
    assert_eq!(it.init_with(request.clone()).0, Err(ErrorCode::TransactionalIdAuthorizationFailed));
    let mut it = Coordinator::new(world(TV2, &[two_phase]));
    let keep = InitProducerId { prepared: PreparedTransaction::Keep, ..request.clone() };
    assert_eq!(it.init_with(keep).0, Err(ErrorCode::UnsupportedVersion));
    let own = it.init_with(request).0.expect("a producer");
    it.add(own, TV2, &[("a", 0)]).expect("added");
    assert!(it.pass(i32::MAX as u64).is_empty());
    assert_eq!(it.status().0, "Ongoing");
}

#[test]
fn requests_that_make_no_sense_are_refused_as_kafka_refuses_them() {
    let mut it = Coordinator::new(world(TV2, &[]));
    for (id, timeout_ms, code) in [
        ("", 1_000, ErrorCode::InvalidRequest),
        (ID, 0, ErrorCode::InvalidTransactionTimeout),
        (ID, 900_001, ErrorCode::InvalidTransactionTimeout),
    ] {
        let request = InitProducerId {
            transactional_id: id.into(),
            timeout_ms,
            commit: CommitProtocol::OnePhase,
            prepared: PreparedTransaction::Abort,
            expected: None,
            fresh: None,
        };
        assert_eq!(it.init_with(request).0, Err(code));
    }
    let nobody = producer(1, 0);
    assert_eq!(it.add(nobody, TV2, &[("a", 0)]), Err(ErrorCode::InvalidProducerIdMapping));
    let answer = it.end(nobody, TV2, TransactionResult::Aborted).0;
    assert_eq!(answer, Err(ErrorCode::InvalidProducerIdMapping));
    let own = it.init(None).expect("a producer");
    let long: Vec<(&str, i32)> = (0..300_000).map(|index| ("a", index)).collect();
    assert_eq!(it.add(own, TV2, &long), Err(ErrorCode::UnknownServerError));
    assert_eq!(it.add(own, TV2, &long[..100_000]), Ok(()));
}

#[test]
fn a_leader_is_told_which_partitions_belong_to_a_transaction() {
    let mut it = Coordinator::new(world(TV2, &[]));
    let own = it.init(None).expect("a producer");
    it.add(own, TV0, &[("a", 0)]).expect("added");
    let verify = |it: &mut Coordinator, producer| {
        let request = AddPartitions {
            transactional_id: ID.into(),
            producer,
            version: TV0,
            partitions: partitions(&[("a", 0), ("a", 1)]),
        };
        match it.ask(Request::VerifyPartitions(request)).0 {
            Reply::VerifyPartitions(answer) => {
                answer.map(|all| all.into_iter().map(|(_, index, code)| (index.0, code)).collect::<Vec<_>>())
            }
            other => panic!("{other:?}"),
        }
    };
    let known = vec![(0, ErrorCode::None), (1, ErrorCode::TransactionAbortable)];
    assert_eq!(verify(&mut it, own), Ok(known));
    assert_eq!(verify(&mut it, producer(100, 1)), Err(ErrorCode::ProducerFenced));
    assert_eq!(verify(&mut it, producer(3, 0)), Err(ErrorCode::InvalidProducerIdMapping));
    it.end(own, TV0, TransactionResult::Committed).0.expect("ended");
    assert_eq!(verify(&mut it, own), Err(ErrorCode::ConcurrentTransactions));
}

#[test]
fn ids_that_nobody_uses_are_forgotten() {
    let mut it = Coordinator::new(world(TV2, &[("transactional.id.expiration.ms", "7200000")]));
    let own = it.init(None).expect("a producer");
    it.pass(3_600_000);
    let used = it.commit_one(own);
    it.pass(3_600_000);
    assert_eq!(it.status(), ("CompleteCommit".to_owned(), used.id.0, used.epoch.0));
    it.pass(7_200_000);
    assert_eq!(it.log.last().map(|fact| fact.transaction.is_none()), Some(true));
    assert!(it.seat.state().is_empty());
    let (key, value) = it.log.last().expect("a tombstone").encode().expect("encodable");
    assert_eq!((key, value), (Bytes::from_static(b"\0\0\0\x06orders"), None));
}

impl Coordinator {
    fn commit_one(&mut self, producer: Producer) -> Producer {
        self.add(producer, TV2, &[("a", 0)]).expect("added");
        self.commit(producer)
    }
}

#[test]
fn operators_see_ids_by_producer_status_and_age() {
    let mut it = Coordinator::new(world(TV2, &[]));
    let own = it.init(None).expect("a producer");
    it.add(own, TV2, &[("a", 0)]).expect("added");
    it.pass(500);
    let listed = |it: &mut Coordinator, filter| match it.ask(Request::List(filter)).0 {
        Reply::List(rows) => rows.len(),
        other => panic!("{other:?}"),
    };
    let any = ListFilter { duration_ms: -1, ..ListFilter::default() };
    let status = |name: &str| ListFilter { statuses: [Str::from(name)].into(), ..any.clone() };
    let of = |id| ListFilter { producer_ids: [ProducerId(id)].into(), ..any.clone() };
    let older = |duration_ms| ListFilter { duration_ms, ..any.clone() };
    assert_eq!(listed(&mut it, any.clone()), 1);
    assert_eq!((listed(&mut it, status("Ongoing")), listed(&mut it, status("Empty"))), (1, 0));
    assert_eq!((listed(&mut it, of(100)), listed(&mut it, of(101))), (1, 0));
    assert_eq!((listed(&mut it, older(499)), listed(&mut it, older(500))), (1, 0));
    assert!(Status::is_known("Dead") && Status::is_known("PrepareCommit") && !Status::is_known("dead"));
    match it.ask(Request::Describe("nobody".into())).0 {
        Reply::Describe(state) => assert_eq!(state.error_code, ErrorCode::TransactionalIdNotFound.code()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn records_have_the_bytes_that_kafka_writes() {
    // What `TransactionLog.valueToBytes` gives for the same transaction, field by field of the schema.
    let transaction = Transaction {
        producer: producer(5, 2),
        previous_id: ProducerId(5),
        next_id: ProducerId::NONE,
        timeout_ms: 60_000,
        status: Status::Ongoing,
        partitions: Arc::new(partitions(&[("t", 7)])),
        start: Timestamp(1),
        last_update: Timestamp(2),
        version: 2,
    };
    let mut old = vec![0, 0];
    old.extend([0, 0, 0, 0, 0, 0, 0, 5, 0, 2, 0, 0, 0xEA, 0x60, 1, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1]);
    old.extend([0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]);
    let mut new = vec![0, 1];
    new.extend([0, 0, 0, 0, 0, 0, 0, 5, 0, 2, 0, 0, 0xEA, 0x60, 1, 2, 2, b't', 2, 0, 0, 0, 7, 0]);
    new.extend([0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]);
    new.extend([2, 0, 8, 0, 0, 0, 0, 0, 0, 0, 5, 2, 2, 0, 2]);
    for (layout, bytes) in [(0, old), (1, new)] {
        let fact = Fact { transactional_id: "id".into(), transaction: Some(transaction.clone()), layout };
        let (key, value) = fact.encode().expect("encodable");
        assert_eq!(key, Bytes::from_static(b"\0\0\0\x02id"));
        assert_eq!(value.expect("a value"), Bytes::from(bytes));
    }
    // A status that is never written, and a layout of the future, are passed over.
    let key = Bytes::from_static(b"\0\0\0\x02id");
    assert_eq!(Fact::decode(key.clone(), Some(Bytes::from_static(b"\0\x09"))), Ok(None));
    assert_eq!(Fact::decode(Bytes::from_static(b"\0\x09\0"), None), Ok(None));
    assert!(Fact::decode(key, Some(Bytes::from_static(b"\0\0\0"))).is_err());
}
