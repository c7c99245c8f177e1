//! Scripts against a seat, bytes that Kafka's serializers make, and random batches against a model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_base::settings::Texts;
use ottla_base::{ErrorCode, Moment, Now, Offset, Str, Timestamp, Uuid};
use ottla_machine::{Entropy, Input, Seat, replay};
use ottla_metadata::settings::ServerSettings;
use ottla_metadata::{Image, controller::Refusal};
use ottla_wire::records::metadata::{MetadataRecord, PartitionRecord, RemoveTopicRecord, TopicRecord};

use super::{
    DeleteState, Effect, InitializeState, ReadState, ReadStateSummary, Reply, Request, ShareCoordinator,
    ShareFact, SharePartitionKey, ShareRecord, State, StateBatch, StateSummary, WriteState, combine,
};
use crate::World;

/// What a server does not start without.
const SERVER: &[(&str, &str)] = &[
    ("node.id", "1"),
    ("process.roles", "broker,controller"),
    ("controller.listener.names", "CONTROLLER"),
    ("log.dirs", "/data"),
];

const TOPIC: Uuid = Uuid([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

fn batches(list: &[(i64, i64, i8, i16)]) -> Vec<StateBatch> {
    let batches = list.iter().map(|&(first, last, delivery_state, delivery_count)| StateBatch {
        first,
        last,
        delivery_state,
        delivery_count,
    });
    batches.collect()
}

fn key(partition: i32) -> SharePartitionKey {
    SharePartitionKey { group: Str::from("g"), topic: TOPIC, partition }
}

struct Shard {
    seat: Seat<ShareCoordinator, ()>,
    log: Vec<ShareFact>,
    now: Now,
}

impl Shard {
    fn new(texts: &[(&str, &str)]) -> Shard {
        let seat = Seat::take(ShareCoordinator::default(), Offset::ZERO, [1; 32]);
        let now = Now { moment: Moment(Duration::ZERO), wall_clock: Timestamp(1_000_000) };
        let mut shard = Shard { seat, log: Vec::new(), now };
        shard.see(image(), texts);
        shard
    }

    fn see(&mut self, image: Image, texts: &[(&str, &str)]) {
        let texts: Texts =
            SERVER.iter().chain(texts).map(|(key, text)| (key.to_string(), text.to_string())).collect();
        let settings = Arc::new(ServerSettings::read(&texts).unwrap());
        let world = World::new(Arc::new(image), settings, Arc::new(Texts::default()));
        assert_eq!(self.ask(Request::SeeWorld(Arc::new(world))), Reply::SeeWorld);
    }

    fn submit(&mut self, input: Input<ShareCoordinator, ()>) -> (Vec<Reply>, Vec<Effect>) {
        let append = self.seat.submit(input, self.now);
        for (n, fact) in append.records.iter().enumerate() {
            assert_eq!(fact.offset, append.first.after(n as i64));
            let (key, value) = fact.record.encode().unwrap();
            assert_eq!(ShareRecord::decode(key, value).unwrap().as_ref(), Some(&fact.record));
        }
        self.log.extend(append.records);
        let released = self.seat.committed(self.seat.end());
        (released.replies.into_iter().map(|(_, reply)| reply).collect(), released.effects)
    }

    fn ask(&mut self, request: Request) -> Reply {
        let (mut replies, _) = self.submit(Input::Request(request, ()));
        replies.pop().unwrap()
    }

    fn initialize(&mut self, partition: i32, state_epoch: i32, start_offset: i64) -> Result<(), Refusal> {
        let request = InitializeState { key: key(partition), state_epoch, start_offset };
        match self.ask(Request::Initialize(request)) {
            Reply::Initialize(result) => result,
            other => panic!("{other:?}"),
        }
    }

    fn read(&mut self, partition: i32, leader_epoch: i32) -> Result<State, Refusal> {
        match self.ask(Request::Read(ReadState { key: key(partition), leader_epoch })) {
            Reply::Read(result) => result,
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, request: WriteState) -> Result<(), Refusal> {
        match self.ask(Request::Write(request)) {
            Reply::Write(result) => result,
            other => panic!("{other:?}"),
        }
    }

    fn summary(&mut self, partition: i32) -> Result<StateSummary, Refusal> {
        match self.ask(Request::ReadSummary(ReadStateSummary { key: key(partition) })) {
            Reply::ReadSummary(result) => result,
            other => panic!("{other:?}"),
        }
    }

    fn wait(&mut self, time: Duration) -> Vec<Effect> {
        let until = self.now.moment + time;
        let mut effects = Vec::new();
        while let Some(due) = self.seat.deadline().filter(|due| *due <= until) {
            let passed = i64::try_from(due.since(self.now.moment).as_millis()).unwrap();
            self.now = Now { moment: due, wall_clock: Timestamp(self.now.wall_clock.get() + passed) };
            effects.extend(self.submit(Input::Tick).1);
        }
        self.now.moment = until;
        effects
    }
}

fn image() -> Image {
    let mut image = Image::default();
    let topic = TopicRecord { name: Str::from("t"), topic_id: TOPIC, ..TopicRecord::default() };
    let mut records = vec![MetadataRecord::TopicRecord(topic)];
    for partition_id in 0..4 {
        records.push(MetadataRecord::PartitionRecord(PartitionRecord {
            partition_id,
            topic_id: TOPIC,
            replicas: vec![ottla_base::NodeId(1).get()],
            isr: vec![1],
            leader: 1,
            ..PartitionRecord::default()
        }));
    }
    for record in &records {
        image.apply(record).unwrap();
    }
    image
}

fn change(partition: i32, start_offset: i64, list: &[(i64, i64, i8, i16)]) -> WriteState {
    WriteState {
        key: key(partition),
        state_epoch: 1,
        leader_epoch: 5,
        start_offset,
        delivery_complete_count: 0,
        batches: batches(list),
    }
}

fn code<T>(result: Result<T, Refusal>) -> Option<ErrorCode> {
    result.err().map(|it| it.code)
}

#[test]
fn state_is_set_read_changed_and_removed() {
    let mut shard = Shard::new(&[]);
    assert_eq!(code(shard.read(0, 5)), Some(ErrorCode::InvalidRequest));
    assert_eq!(code(shard.write(change(0, 0, &[]))), Some(ErrorCode::InvalidRequest));
    assert_eq!(shard.summary(0), Ok(StateSummary::default()));
    shard.initialize(0, 1, -1).unwrap();
    let nothing = State { state_epoch: 1, start_offset: -1, batches: vec![] };
    assert_eq!(shard.read(0, 5), Ok(nothing.clone()));
    let so_far = shard.log.len();
    // A reader of the same epoch is no news.
    assert_eq!(shard.read(0, 5), Ok(nothing));
    assert_eq!(shard.log.len(), so_far);
    shard.write(change(0, 10, &[(10, 14, 2, 1), (15, 19, 0, 1)])).unwrap();
    shard.write(WriteState { delivery_complete_count: 3, ..change(0, 12, &[(15, 16, 4, 2)]) }).unwrap();
    let state = State {
        state_epoch: 1,
        start_offset: 12,
        batches: batches(&[(12, 14, 2, 1), (15, 16, 4, 2), (17, 19, 0, 1)]),
    };
    assert_eq!(shard.read(0, 5), Ok(state.clone()));
    let summary =
        StateSummary { state_epoch: 1, leader_epoch: 5, start_offset: 12, delivery_complete_count: 3 };
    assert_eq!(shard.summary(0), Ok(summary));
    // What is behind takes nothing back.
    shard.write(WriteState { delivery_complete_count: 9, ..change(0, 11, &[]) }).unwrap();
    assert_eq!((shard.read(0, 5), shard.summary(0)), (Ok(state), Ok(summary)));
    assert_eq!(shard.ask(Request::Delete(DeleteState { key: key(0) })), Reply::Delete(Ok(())));
    assert_eq!(code(shard.read(0, 5)), Some(ErrorCode::InvalidRequest));
    let so_far = shard.log.len();
    assert_eq!(shard.ask(Request::Delete(DeleteState { key: key(0) })), Reply::Delete(Ok(())));
    assert_eq!(shard.log.len(), so_far);
}

#[test]
fn whoever_is_behind_is_fenced_off() {
    let mut shard = Shard::new(&[]);
    shard.initialize(0, 1, 0).unwrap();
    shard.read(0, 5).unwrap();
    assert_eq!(code(shard.read(0, 4)), Some(ErrorCode::FencedLeaderEpoch));
    let behind = WriteState { leader_epoch: 4, ..change(0, 0, &[]) };
    assert_eq!(code(shard.write(behind)), Some(ErrorCode::FencedLeaderEpoch));
    let behind = WriteState { state_epoch: 0, ..change(0, 0, &[]) };
    assert_eq!(code(shard.write(behind)), Some(ErrorCode::FencedStateEpoch));
    assert_eq!(code(shard.initialize(0, 0, 0)), Some(ErrorCode::FencedStateEpoch));
    shard.initialize(0, 2, 7).unwrap();
    assert_eq!(code(shard.write(change(0, 0, &[]))), Some(ErrorCode::FencedStateEpoch));
    // A state that was set anew does not forget which leaders are gone.
    assert_eq!(code(shard.read(0, 4)), Some(ErrorCode::FencedLeaderEpoch));
    assert_eq!(shard.summary(0).unwrap().delivery_complete_count, 0);
    assert_eq!(code(shard.write(change(-1, 0, &[]))), Some(ErrorCode::InvalidRequest));
    assert_eq!(code(shard.initialize(4, 0, 0)), Some(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(code(shard.initialize(0, -1, 0)), Some(ErrorCode::InvalidRequest));
    assert_eq!(code(shard.read(0, -1)), Some(ErrorCode::InvalidRequest));
    assert_eq!(code(shard.summary(4)), Some(ErrorCode::UnknownTopicOrPartition));
}

#[test]
fn after_enough_changes_the_state_is_written_whole_and_the_log_cut_off() {
    let mut shard = Shard::new(&[("share.coordinator.snapshot.update.records.per.snapshot", "3")]);
    shard.initialize(0, 1, 0).unwrap();
    shard.initialize(1, 1, 0).unwrap();
    for offset in 0..9 {
        shard.write(change(0, offset, &[(offset, offset, 2, 1)])).unwrap();
    }
    let is_whole = |fact: &ShareFact| {
        matches!(fact.record.key, ottla_wire::records::share::ShareKey::ShareSnapshotKey(_))
    };
    let whole: Vec<i64> = shard.log.iter().filter(|it| is_whole(it)).map(|it| it.offset.get()).collect();
    assert_eq!(whole, [0, 1, 5, 9]);
    let prune = Duration::from_millis(300_000);
    // The other partition's copy is still needed; once it is cold, it is written anew.
    let effects = shard.wait(prune);
    assert_eq!(effects, [Effect::DeleteRecords { before: Offset(1) }]);
    let effects = shard.wait(prune);
    assert!(matches!(effects[..], [Effect::DeleteRecords { before }] if before > Offset(9)), "{effects:?}");
    // Everything is written whole, and nothing has happened since.
    let so_far = shard.log.len();
    assert_eq!((shard.wait(prune * 4), shard.log.len()), (vec![], so_far));
    let replayed: ShareCoordinator = replay(&shard.log);
    assert_eq!(replayed.partitions, shard.seat.state().partitions);
    // What was cut off is not missed.
    let [Effect::DeleteRecords { before }] = effects[..] else { panic!("{effects:?}") };
    let replayed: ShareCoordinator = replay(shard.log.iter().filter(|it| it.offset >= before));
    assert_eq!(replayed.partitions, shard.seat.state().partitions);
}

#[test]
fn with_its_topic_the_state_goes() {
    let mut shard = Shard::new(&[]);
    shard.initialize(0, 1, 0).unwrap();
    shard.initialize(3, 1, 0).unwrap();
    let mut without = image();
    without
        .apply(&MetadataRecord::RemoveTopicRecord(RemoveTopicRecord {
            topic_id: TOPIC,
            ..RemoveTopicRecord::default()
        }))
        .unwrap();
    shard.see(without, &[]);
    assert!(shard.seat.state().is_empty());
    assert_eq!(shard.log.len(), 4);
}

#[test]
fn records_are_those_of_kafka() {
    let mut shard = Shard::new(&[]);
    shard.initialize(2, 1, -1).unwrap();
    let (key, value) = shard.log[0].record.encode().unwrap();
    let topic: Vec<u8> = (0..16).collect();
    assert_eq!(key, Bytes::from([&[0, 0, 0, 1, b'g'][..], &topic, &[0, 0, 0, 2]].concat()));
    let value = value.unwrap();
    let start = [&[0, 0][..], &[0; 4], &[0, 0, 0, 1], &[0; 4], &[0xff; 8]].concat();
    assert_eq!(value[..start.len()], start);
    // The timestamps, no batches, no tags: -1 is what a delivery complete count is that nobody wrote.
    assert_eq!(value.len(), start.len() + 16 + 2);
    assert_eq!(value[value.len() - 2..], [1, 0]);
    let unknown = Bytes::from_static(&[0, 9, 0]);
    assert_eq!(ShareRecord::decode(unknown, None), Ok(None));
}

#[test]
fn the_latest_word_on_a_record_counts() {
    let check = |so_far: &[(i64, i64, i8, i16)],
                 new: &[(i64, i64, i8, i16)],
                 start,
                 expected: &[(i64, i64, i8, i16)]| {
        assert_eq!(combine(&batches(so_far), &batches(new), start), batches(expected));
    };
    check(&[(0, 9, 0, 1)], &[(3, 5, 2, 2)], -1, &[(0, 2, 0, 1), (3, 5, 2, 2), (6, 9, 0, 1)]);
    check(&[(0, 9, 0, 1)], &[(10, 12, 0, 1)], 0, &[(0, 12, 0, 1)]);
    check(&[(0, 9, 0, 3)], &[(0, 9, 2, 1)], 0, &[(0, 9, 0, 3)]);
    check(&[(0, 9, 0, 1), (20, 29, 2, 1)], &[(5, 24, 4, 1)], 7, &[(7, 24, 4, 1), (25, 29, 2, 1)]);
    check(&[(0, 9, 0, 1)], &[], 10, &[]);
}

#[test]
fn batches_go_over_each_other_record_by_record() {
    let mut entropy = Entropy::from_seed([3; 32]);
    for _ in 0..3000 {
        let mut draw = |many: usize| -> Vec<StateBatch> {
            let count = entropy.below(many);
            let mut list = Vec::new();
            for _ in 0..count {
                let first = entropy.below(30) as i64;
                list.push(StateBatch {
                    first,
                    last: first + entropy.below(9) as i64,
                    delivery_state: [0, 2, 4][entropy.below(3)],
                    delivery_count: 1 + entropy.below(3) as i16,
                });
            }
            list
        };
        let (so_far, new) = (draw(6), draw(6));
        let start = entropy.below(20) as i64 - 1;
        let mut expected: BTreeMap<i64, (i16, i8)> = BTreeMap::new();
        for batch in so_far.iter().chain(&new) {
            for offset in batch.first.max(start)..=batch.last {
                let said = (batch.delivery_count, batch.delivery_state);
                let known = expected.entry(offset).or_insert(said);
                *known = said.max(*known);
            }
        }
        let combined = combine(&so_far, &new, start);
        let mut found = BTreeMap::new();
        for batch in &combined {
            for offset in batch.first..=batch.last {
                assert_eq!(found.insert(offset, (batch.delivery_count, batch.delivery_state)), None);
            }
        }
        assert_eq!(found, expected, "{so_far:?} and {new:?} from {start}");
        let is_joined = |pair: &[StateBatch]| {
            let (a, b) = (&pair[0], &pair[1]);
            a.last + 1 != b.first
                || (a.delivery_state, a.delivery_count) != (b.delivery_state, b.delivery_count)
        };
        assert!(combined.windows(2).all(is_joined));
    }
    let edge = [StateBatch { first: 5, last: i64::MAX, delivery_state: 0, delivery_count: 1 }];
    assert_eq!(combine(&edge, &batches(&[(9, 3, 0, 1)]), i64::MIN), edge);
}
