//! A coordinator with its log and a world, for scripts: ask, let time pass, lose the seat, read what was written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::settings::Texts;
use ottla_base::{Moment, Now, Offset, Str, Timestamp, Uuid};
use ottla_machine::{Append, Input, Seat, replay};
use ottla_metadata::settings::{ResourceKind, ServerSettings, derived};
use ottla_metadata::{Image, directory};
use ottla_wire::records::metadata::{
    ConfigRecord, MetadataRecord, PartitionRecord, RegisterBrokerRecord, RemoveTopicRecord, TopicRecord,
};

use super::{Client, Effect, Fact, GroupCoordinator, GroupRecord, Reply, Request};
use crate::World;

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Caller(u64);

/// A coordinator that is driven by hand. What it writes is committed at once unless [`Fixture::stop_commits`] says
/// otherwise.
pub(super) struct Fixture {
    seat: Seat<GroupCoordinator, Caller>,
    /// Everything that was written, as read back from its bytes.
    log: Vec<Fact>,
    /// Up to where the log was looked at by [`Fixture::written`].
    seen: usize,
    committed: usize,
    commits: Commits,
    now: Moment,
    image: Image,
    texts: Texts,
    next_caller: u64,
    next_id: u128,
    replies: BTreeMap<Caller, Reply>,
    effects: Vec<Effect>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commits {
    AtOnce,
    ByHand,
}

/// The wall clock when the monotonic clock begins.
pub(super) const BEGINNING: i64 = 1_700_000_000_000;

/// Settings without which there is no server.
const SERVER: [(&str, &str); 4] = [
    ("node.id", "1"),
    ("process.roles", "broker,controller"),
    ("controller.listener.names", "CONTROLLER"),
    ("log.dirs", "/data"),
];

/// A client by its id and the version of its request.
pub(super) fn client(id: &'static str, version: i16) -> Client {
    Client { id: Str::from_static(id), host: Str::from_static("/127.0.0.1"), version }
}

impl Fixture {
    /// A new coordinator in a cluster of three brokers (0, 1 and 2, each in a rack of its own: `rack0` and so on)
    /// without topics.
    pub(super) fn new() -> Fixture {
        Fixture::with_settings(&[])
    }

    /// The same with settings of the server.
    pub(super) fn with_settings(settings: &[(&str, &str)]) -> Fixture {
        let texts = SERVER.iter().chain(settings).map(|(name, value)| (name.to_string(), value.to_string()));
        let mut fixture = Fixture {
            seat: Seat::take(GroupCoordinator::default(), Offset(0), [7; 32]),
            log: Vec::new(),
            seen: 0,
            committed: 0,
            commits: Commits::AtOnce,
            now: Moment(Duration::from_secs(1)),
            image: Image::default(),
            texts: texts.collect(),
            next_caller: 0,
            next_id: 0x1000,
            replies: BTreeMap::new(),
            effects: Vec::new(),
        };
        for broker_id in 0..3 {
            fixture.world(MetadataRecord::RegisterBrokerRecord(RegisterBrokerRecord {
                broker_id,
                broker_epoch: i64::from(broker_id) + 1,
                rack: Some(Str::from(format!("rack{broker_id}"))),
                fenced: false,
                ..Default::default()
            }));
        }
        fixture.see_world();
        fixture
    }

    /// Creates a topic; partition `n` has the one replica `n % 3`. Returns its id.
    pub(super) fn topic(&mut self, name: &'static str, partitions: i32) -> Uuid {
        let topic_id = Uuid::from_number(self.next_id);
        self.next_id += 1;
        self.world(MetadataRecord::TopicRecord(TopicRecord {
            name: name.into(),
            topic_id,
            ..Default::default()
        }));
        self.partitions(topic_id, 0..partitions);
        topic_id
    }

    /// The id of a topic, if there is one with this name.
    pub(super) fn topic_id(&self, name: &str) -> Option<Uuid> {
        self.image.topics.id(name)
    }

    /// Adds partitions to a topic.
    pub(super) fn partitions(&mut self, topic_id: Uuid, indexes: std::ops::Range<i32>) {
        for partition_id in indexes {
            let replica = partition_id % 3;
            self.world(MetadataRecord::PartitionRecord(PartitionRecord {
                partition_id,
                topic_id,
                replicas: vec![replica],
                isr: vec![replica],
                leader: replica,
                leader_epoch: 0,
                partition_epoch: 0,
                directories: vec![directory::UNASSIGNED],
                ..Default::default()
            }));
        }
        self.see_world();
    }

    /// Deletes a topic.
    pub(super) fn delete_topic(&mut self, topic_id: Uuid) {
        self.world(MetadataRecord::RemoveTopicRecord(RemoveTopicRecord { topic_id, ..Default::default() }));
        self.see_world();
    }

    /// Sets one setting of a group.
    pub(super) fn configure(&mut self, group: &'static str, name: &'static str, value: &'static str) {
        self.world(MetadataRecord::ConfigRecord(ConfigRecord {
            resource_type: ResourceKind::Group.id(),
            resource_name: group.into(),
            name: name.into(),
            value: Some(value.into()),
            ..Default::default()
        }));
        self.see_world();
    }

    /// Asks, and expects an answer at once.
    pub(super) fn ask(&mut self, request: Request) -> Reply {
        let caller = self.send(request);
        self.reply(caller).expect("an answer at once")
    }

    /// Asks; the answer may come later.
    pub(super) fn send(&mut self, request: Request) -> Caller {
        let caller = Caller(self.next_caller);
        self.next_caller += 1;
        self.submit(Input::Request(Box::new(request), caller));
        caller
    }

    /// Takes the answer to a request, if it has come.
    pub(super) fn reply(&mut self, caller: Caller) -> Option<Reply> {
        self.replies.remove(&caller)
    }

    /// Lets time pass; what becomes due meanwhile happens when it is due.
    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.seat.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.submit(Input::Tick);
        }
        self.now = end;
    }

    /// Lets seconds pass.
    pub(super) fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// What was written since the last look.
    pub(super) fn written(&mut self) -> Vec<Fact> {
        let written = self.log[self.seen..].to_vec();
        self.seen = self.log.len();
        written
    }

    /// The plain records among what was written since the last look.
    pub(super) fn records(&mut self) -> Vec<GroupRecord> {
        let plain = |fact| match fact {
            Fact::Plain(record) => Some(record),
            Fact::Transactional { .. } | Fact::Marker { .. } => None,
        };
        self.written().into_iter().filter_map(plain).collect()
    }

    /// What the world was told to do since the last look.
    pub(super) fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// From now on nothing is committed before [`Fixture::commit`].
    pub(super) fn stop_commits(&mut self) {
        self.commits = Commits::ByHand;
    }

    /// Commits all that was written.
    pub(super) fn commit(&mut self) {
        self.committed = self.log.len();
        self.release();
    }

    /// Another seat takes over with what was committed; the rest is lost. Says who was handed back unanswered.
    pub(super) fn lose_seat(&mut self) -> Vec<Caller> {
        self.log.truncate(self.committed);
        self.seen = self.seen.min(self.committed);
        let state = replay::<GroupCoordinator>(&self.log);
        let fresh = Seat::take(state, Offset(self.committed as i64), [9; 32]);
        let left = std::mem::replace(&mut self.seat, fresh).leave().collect();
        self.see_world();
        left
    }

    /// Lets the coordinator read records that somebody else wrote, and gives it a new seat.
    pub(super) fn load(&mut self, records: impl IntoIterator<Item = GroupRecord>) {
        self.log.extend(records.into_iter().map(Fact::Plain));
        self.committed = self.log.len();
        self.lose_seat();
        self.seen = self.log.len();
    }

    /// The hard state.
    pub(super) fn state(&self) -> &GroupCoordinator {
        self.seat.state()
    }

    /// The wall clock.
    pub(super) fn wall_clock(&self) -> Timestamp {
        Timestamp(BEGINNING + self.now.0.as_millis() as i64)
    }

    fn world(&mut self, record: MetadataRecord) {
        self.image.apply(&record).expect("a possible record");
    }

    fn see_world(&mut self) {
        let settings = Arc::new(ServerSettings::read(&self.texts).expect("possible settings"));
        let defaults = Arc::new(derived::group_defaults(&self.texts));
        let world = World::new(Arc::new(self.image.clone()), settings, defaults);
        let caller = self.send(Request::SeeWorld(Arc::new(world)));
        if self.commits == Commits::AtOnce {
            assert_eq!(self.reply(caller), Some(Reply::SeeWorld(())));
        }
    }

    fn submit(&mut self, input: Input<GroupCoordinator, Caller>) {
        let now = Now { moment: self.now, wall_clock: self.wall_clock() };
        let Append { first, records, .. } = self.seat.submit(input, now);
        assert_eq!(first, Offset(self.log.len() as i64), "a decision's records are the log's next");
        self.log.extend(records.iter().map(read_back));
        if self.commits == Commits::AtOnce {
            self.committed = self.log.len();
        }
        self.release();
    }

    fn release(&mut self) {
        let released = self.seat.committed(Offset(self.committed as i64));
        for (caller, reply) in released.replies {
            assert!(self.replies.insert(caller, *reply).is_none(), "one answer to a request");
        }
        self.effects.extend(released.effects);
    }
}

/// A fact as its bytes tell it, which must be the same fact.
fn read_back(fact: &Fact) -> Fact {
    let (Fact::Plain(record) | Fact::Transactional { record, .. }) = fact else {
        return fact.clone();
    };
    let (key, value) = record.encode().expect("encodes");
    let read = GroupRecord::decode(key, value).expect("decodes").expect("is known");
    assert_eq!(read, *record, "bytes lose nothing");
    match fact {
        Fact::Transactional { producer, .. } => Fact::Transactional { producer: *producer, record: read },
        _ => Fact::Plain(read),
    }
}

#[test]
fn a_world_changes_under_a_seat() {
    let mut fixture = Fixture::with_settings(&[("group.max.size", "3")]);
    let orders = fixture.topic("orders", 3);
    fixture.configure("g", "consumer.session.timeout.ms", "50000");
    fixture.seconds(5);
    assert_eq!(fixture.wall_clock(), Timestamp(BEGINNING + 6_000));
    fixture.delete_topic(orders);
    assert!(fixture.lose_seat().is_empty());
    assert!(fixture.records().is_empty() && fixture.effects().is_empty());
    fixture.stop_commits();
    let caller = fixture.send(Request::SeeWorld(Arc::new(World::new(
        Arc::new(Image::default()),
        Arc::new(ServerSettings::read(&fixture.texts).expect("possible settings")),
        Arc::new(Texts::new()),
    ))));
    fixture.commit();
    assert_eq!(fixture.reply(caller), Some(Reply::SeeWorld(())));
    fixture.load([]);
    assert!(fixture.state().groups.is_empty());
    assert_eq!(client("c", 9).version, 9);
}
