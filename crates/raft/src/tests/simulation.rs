//! Whole quorums on simulated disks and a bad network; the invariants K1 to K6 hold after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use ottla_base::{ErrorCode, LeaderEpoch, Moment, NodeId, Now, Offset, Timestamp, Uuid};
use ottla_record::{BatchView, Batches, StoredBatch};

use crate::control::control_records;
use crate::history::Membership;
use crate::ids::{OffsetAndEpoch, ReplicaKey};
use crate::log::LogShape;
use crate::message::{
    AddVoter, Answer, FetchSnapshotResponse, Piece, Received, RemoveVoter, Request, Response,
};
use crate::quorum_state::Election;
use crate::raft::{Config, Raft, Recovered};
use crate::random::Random;
use crate::snapshot::{SnapshotBatch, SnapshotReader, SnapshotWriter};
use crate::step::{Action, Caller, Correlation, FlushTicket, Input};
use crate::voters::{Address, Endpoints, KRaftVersion, Voter, VoterSet};

const LISTENER: &str = "CONTROLLER";

fn key(id: i32) -> ReplicaKey {
    ReplicaKey::new(NodeId(id), Uuid::from_number(1000 + id as u128))
}

fn endpoints(id: i32) -> Endpoints {
    Endpoints::one(LISTENER, Address::new("node", 9000 + id as u16))
}

fn voters(ids: impl IntoIterator<Item = i32>) -> VoterSet {
    let voter = |id| Voter { key: key(id), endpoints: endpoints(id), kraft_versions: (0, 1) };
    ids.into_iter().map(voter).collect()
}

#[derive(Clone)]
struct StoredLogBatch {
    first: Offset,
    end: Offset,
    epoch: LeaderEpoch,
    bytes: Bytes,
}

/// What a node has written; what is not durable is lost in a crash.
#[derive(Default)]
struct Disk {
    quorum_state: Option<String>,
    start: Offset,
    batches: Vec<StoredLogBatch>,
    durable: Offset,
    snapshots: BTreeMap<OffsetAndEpoch, Bytes>,
    partial: Vec<u8>,
    /// Flushes under way, and how far each reaches.
    flushes: Vec<(FlushTicket, Offset)>,
}

impl Disk {
    fn end(&self) -> Offset {
        self.batches.last().map_or(self.start, |batch| batch.end)
    }

    fn truncate(&mut self, end: Offset) {
        self.batches.retain(|batch| batch.end <= end);
        self.durable = self.durable.min(end);
        self.flushes.iter_mut().for_each(|(_, reach)| *reach = (*reach).min(end));
    }

    fn crash(&mut self, random: &mut Random) {
        self.flushes.clear();
        let lost: Vec<Offset> =
            self.batches.iter().map(|batch| batch.end).filter(|end| *end > self.durable).collect();
        if !lost.is_empty() {
            let keep = random.next() as usize % (lost.len() + 1);
            let end = if keep == 0 { self.durable } else { lost[keep - 1] };
            self.truncate(end);
        }
        self.durable = self.end();
    }

    fn read(&self, piece: Piece) -> Bytes {
        match piece {
            Piece::Empty => Bytes::new(),
            Piece::Log { from, end, max_bytes } => {
                let mut out = Vec::new();
                for batch in self.batches.iter().filter(|it| it.end > from && it.end <= end) {
                    if !out.is_empty() && out.len() + batch.bytes.len() > max_bytes as usize {
                        break;
                    }
                    out.extend(&batch.bytes);
                }
                out.into()
            }
            Piece::Snapshot { id, position, max_bytes } => {
                let bytes = &self.snapshots[&id];
                let end = bytes.len().min(position as usize + max_bytes as usize);
                bytes.slice(position as usize..end)
            }
        }
    }

    /// What a node finds when it starts.
    fn recover(&mut self, static_voters: VoterSet) -> Recovered {
        let mut membership = Membership::new(static_voters);
        if let Some((id, bytes)) = self.snapshots.last_key_value() {
            if id.offset > self.end() {
                self.batches.clear();
                self.start = id.offset;
                self.durable = id.offset;
            }
            load(&mut membership, *id, bytes);
        }
        let from = self.snapshots.last_key_value().map_or(Offset(0), |(id, _)| id.offset);
        let mut epochs: Vec<(LeaderEpoch, Offset)> = Vec::new();
        for batch in &self.batches {
            if epochs.last().is_none_or(|(epoch, _)| *epoch < batch.epoch) {
                epochs.push((batch.epoch, batch.first));
            }
            for (offset, record) in control_records(&BatchView::new(&batch.bytes).unwrap()).unwrap() {
                if offset >= from {
                    membership.apply(offset, record);
                }
            }
        }
        let snapshots = self.snapshots.keys().copied().collect();
        let log = LogShape::recovered(self.start, self.end(), epochs, snapshots);
        let election = self.quorum_state.as_ref().map(|text| Election::from_text(text).unwrap());
        Recovered { election, log, membership }
    }
}

fn load(membership: &mut Membership, id: OffsetAndEpoch, bytes: &[u8]) {
    let mut reader = SnapshotReader::default();
    for batch in Batches::new(bytes) {
        let StoredBatch::V2(batch) = batch.unwrap() else { panic!("old batch") };
        if let SnapshotBatch::Control(records) = reader.read(&batch).unwrap() {
            for record in records {
                membership.apply(Offset(id.offset.0 - 1), record);
            }
        }
    }
    reader.finish().unwrap();
}

struct Node {
    raft: Option<Raft>,
    disk: Disk,
    static_voters: VoterSet,
    incarnation: u64,
}

enum Event {
    Request { from: i32, incarnation: u64, to: i32, correlation: Correlation, request: Request },
    Response { to: i32, incarnation: u64, correlation: Correlation, response: Option<Received> },
    Flushed { node: i32, incarnation: u64 },
}

struct World {
    nodes: BTreeMap<i32, Node>,
    queue: BTreeMap<(Moment, u64), Event>,
    sequence: u64,
    random: Random,
    now: Moment,
    callers: BTreeMap<u64, (i32, u64, Correlation)>,
    cut: BTreeSet<(i32, i32)>,
    loss_percent: u64,
    /// Everything that any node ever reported as committed.
    committed: BTreeMap<Offset, (Offset, Bytes)>,
    leaders: BTreeMap<LeaderEpoch, i32>,
    high_watermarks: BTreeMap<i32, Offset>,
    proposals: u64,
    answers: Vec<Answer>,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            nodes: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            random: Random::new(seed),
            now: Moment::default(),
            callers: BTreeMap::new(),
            cut: BTreeSet::new(),
            loss_percent: 0,
            committed: BTreeMap::new(),
            leaders: BTreeMap::new(),
            high_watermarks: BTreeMap::new(),
            proposals: 0,
            answers: Vec::new(),
            trace: Vec::new(),
        }
    }

    /// A quorum whose voters a bootstrap snapshot names, as `--initial-controllers` writes it.
    fn dynamic(seed: u64, voting: i32, observing: i32) -> World {
        let mut world = World::new(seed);
        let id = OffsetAndEpoch::BOOTSTRAP;
        let set = voters(1..=voting);
        let (writer, header) =
            SnapshotWriter::begin(id, Timestamp(0), KRaftVersion::Dynamic, Some(&set), Timestamp(0));
        let mut bytes = header.to_vec();
        writer.finish().iter().for_each(|last| bytes.extend(last));
        for node in 1..=voting + observing {
            let snapshots =
                if node <= voting { [(id, bytes.clone().into())].into() } else { BTreeMap::new() };
            let disk = Disk { snapshots, ..Disk::default() };
            world.add(node, disk, VoterSet::default());
        }
        world
    }

    fn static_voters(seed: u64, voting: i32, observing: i32) -> World {
        let mut world = World::new(seed);
        let list: Vec<String> = (1..=voting).map(|id| format!("{id}@node:{}", 9000 + id)).collect();
        let set = VoterSet::parse_static(&list.join(","), LISTENER).unwrap();
        for node in 1..=voting + observing {
            world.add(node, Disk::default(), set.clone());
        }
        world
    }

    fn add(&mut self, id: i32, disk: Disk, static_voters: VoterSet) {
        self.nodes.insert(id, Node { raft: None, disk, static_voters, incarnation: 0 });
    }

    fn start_all(&mut self) {
        let ids: Vec<i32> = self.nodes.keys().copied().collect();
        ids.into_iter().for_each(|id| self.start(id));
    }

    fn clock(&self) -> Now {
        Now { moment: self.now, wall_clock: Timestamp(self.now.0.as_millis() as i64 + 1) }
    }

    fn start(&mut self, id: i32) {
        let (now, seed) = (self.clock(), self.random.next());
        let bootstrap = self.nodes.keys().map(|id| Address::new("node", 9000 + *id as u16)).collect();
        let node = self.nodes.get_mut(&id).unwrap();
        if node.raft.is_some() {
            return;
        }
        node.incarnation += 1;
        let recovered = node.disk.recover(node.static_voters.clone());
        let mut config = Config::new(key(id), endpoints(id), LISTENER);
        config.bootstrap_servers = bootstrap;
        config.fetch_max_bytes = 400;
        config.fetch_snapshot_max_bytes = 100;
        self.high_watermarks.remove(&id);
        let (raft, actions) = Raft::new(config, recovered, seed, now);
        self.nodes.get_mut(&id).unwrap().raft = Some(raft);
        self.perform(id, actions);
    }

    fn crash(&mut self, id: i32) {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.raft.take().is_some() {
            node.disk.crash(&mut self.random);
        }
    }

    fn step(&mut self, id: i32, input: Input) {
        let now = self.clock();
        let Some(raft) = self.nodes.get_mut(&id).unwrap().raft.as_mut() else { return };
        let actions = raft.step(input, now);
        self.perform(id, actions);
    }

    fn at(&mut self, delay_ms: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + Duration::from_millis(delay_ms), self.sequence), event);
    }

    fn reaches(&mut self, from: i32, to: i32) -> bool {
        !self.cut.contains(&(from, to)) && self.random.next() % 100 >= self.loss_percent
    }

    fn perform(&mut self, id: i32, actions: Vec<Action>) {
        for action in actions {
            self.trace.push(format!("{:?} {id} {action:?}", self.now.0).chars().take(120).collect());
            let node = self.nodes.get_mut(&id).unwrap();
            let incarnation = node.incarnation;
            match action {
                Action::PersistElection(text) => node.disk.quorum_state = Some(text),
                Action::Append { batch, end, epoch } => {
                    let first = node.disk.end();
                    assert_eq!(BatchView::new(&batch).unwrap().base_offset(), first);
                    node.disk.batches.push(StoredLogBatch { first, end, epoch, bytes: batch });
                }
                Action::Flush(ticket) => {
                    let reach = node.disk.end();
                    node.disk.flushes.push((ticket, reach));
                    let delay = self.random.next() % 10;
                    self.at(delay, Event::Flushed { node: id, incarnation });
                }
                Action::Truncate(end) => {
                    let known = self.high_watermarks.get(&id).copied().unwrap_or(Offset(0));
                    assert!(end >= known, "committed records are never cut");
                    node.disk.truncate(end);
                }
                Action::WriteSnapshot { position, bytes, .. } => {
                    node.disk.partial.truncate(position as usize);
                    assert_eq!(node.disk.partial.len() as i64, position);
                    node.disk.partial.extend(&bytes);
                }
                Action::DiscardSnapshot(_) => node.disk.partial.clear(),
                Action::InstallSnapshot(snapshot) => self.install(id, snapshot),
                Action::Commit(end) => self.check_commit(id, end),
                Action::Leadership { now, epoch_start } => {
                    if epoch_start.is_some() {
                        let leader = self.leaders.entry(now.epoch).or_insert(id);
                        assert_eq!(*leader, id, "two leaders in epoch {}", now.epoch);
                    }
                }
                Action::Send { to, correlation, request } => {
                    let to = i32::from(to.address.port) - 9000;
                    if self.reaches(id, to) {
                        let delay = 1 + self.random.next() % 20;
                        self.at(delay, Event::Request { from: id, incarnation, to, correlation, request });
                    } else {
                        self.at(50, Event::Response { to: id, incarnation, correlation, response: None });
                    }
                }
                Action::Answer(caller, answer) => self.answer(id, caller, answer),
            }
        }
    }

    fn install(&mut self, id: i32, snapshot: OffsetAndEpoch) {
        let node = self.nodes.get_mut(&id).unwrap();
        assert!(node.raft.as_ref().unwrap().led_epoch().is_none(), "leaders load no snapshots");
        let bytes = Bytes::from(std::mem::take(&mut node.disk.partial));
        let mut membership = Membership::default();
        load(&mut membership, snapshot, &bytes);
        node.disk.snapshots = [(snapshot, bytes)].into();
        node.disk.batches.clear();
        node.disk.flushes.clear();
        (node.disk.start, node.disk.durable) = (snapshot.offset, snapshot.offset);
        self.step(id, Input::SnapshotInstalled(snapshot, membership));
    }

    fn answer(&mut self, id: i32, caller: Caller, answer: Answer) {
        let Some((to, incarnation, correlation)) = self.callers.remove(&caller.0) else {
            self.answers.push(answer);
            return;
        };
        let disk = &self.nodes[&id].disk;
        let mut answer = answer;
        if let Response::FetchSnapshot(FetchSnapshotResponse { header, size, bytes, .. }) = &mut answer
            && let Piece::Snapshot { id, position, .. } = bytes
        {
            *size = disk.snapshots[id].len() as i64;
            if *position >= *size {
                header.error = ErrorCode::PositionOutOfRange;
                *bytes = Piece::Empty;
            }
        }
        let response = Some(answer.map(|piece| disk.read(piece)));
        let response = if self.reaches(id, to) { response } else { None };
        let delay = 1 + self.random.next() % 20;
        self.at(delay, Event::Response { to, incarnation, correlation, response });
    }

    fn check_commit(&mut self, id: i32, end: Offset) {
        let node = &self.nodes[&id];
        let before = self.high_watermarks.insert(id, end).unwrap_or(Offset(0));
        assert!(before <= end, "high watermark of {id} went back from {before} to {end}");
        for batch in node.disk.batches.iter().filter(|batch| batch.end > before && batch.end <= end) {
            let known = self.committed.entry(batch.first).or_insert((batch.end, batch.bytes.clone()));
            assert_eq!((known.0, &known.1), (batch.end, &batch.bytes), "committed records differ at {id}");
        }
        let raft = node.raft.as_ref().unwrap();
        if raft.led_epoch().is_some() && node.disk.end() >= end {
            let set = raft.voters();
            let holds = |voter: &&Voter| {
                let disk = &self.nodes[&voter.key.id.0].disk;
                disk.durable >= end
            };
            let holding = set.iter().filter(holds).count();
            assert!(holding * 2 > set.len(), "{end} is committed but {holding} of {set} hold it");
        }
    }

    fn run(&mut self, duration_ms: u64) {
        let until = self.now + Duration::from_millis(duration_ms);
        loop {
            let tick =
                self.nodes.iter().filter_map(|(id, node)| Some((node.raft.as_ref()?.deadline()?, *id))).min();
            let event = self.queue.first_key_value().map(|(when, _)| when.0);
            match (tick, event) {
                (Some((when, id)), event) if event.is_none_or(|event| when < event) => {
                    if when > until {
                        break;
                    }
                    self.now = self.now.max(when);
                    self.step(id, Input::Tick);
                }
                (_, Some(when)) => {
                    if when > until {
                        break;
                    }
                    self.now = self.now.max(when);
                    let (_, event) = self.queue.pop_first().unwrap();
                    self.deliver(event);
                }
                (_, None) => break,
            }
        }
        self.now = until;
    }

    fn deliver(&mut self, event: Event) {
        match event {
            Event::Request { from, incarnation, to, correlation, request } => {
                let alive = self.nodes.get(&to).is_some_and(|node| node.raft.is_some());
                if !alive || self.nodes[&from].incarnation != incarnation {
                    self.at(20, Event::Response { to: from, incarnation, correlation, response: None });
                    return;
                }
                if request == Request::ApiVersions {
                    let response = Some(Response::ApiVersions(Some((0, 1))));
                    return self.at(5, Event::Response { to: from, incarnation, correlation, response });
                }
                self.sequence += 1;
                let caller = self.sequence;
                self.callers.insert(caller, (from, incarnation, correlation));
                self.step(to, Input::Request(Caller(caller), request));
            }
            Event::Response { to, incarnation, correlation, response } => {
                if self.nodes[&to].incarnation == incarnation {
                    let input = match response {
                        Some(response) => Input::Response(correlation, response),
                        None => Input::Unanswered(correlation),
                    };
                    self.step(to, input);
                }
            }
            Event::Flushed { node: id, incarnation } => {
                let node = self.nodes.get_mut(&id).unwrap();
                if node.incarnation == incarnation && node.raft.is_some() && !node.disk.flushes.is_empty() {
                    let (ticket, reach) = node.disk.flushes.remove(0);
                    node.disk.durable = node.disk.durable.max(reach);
                    self.step(id, Input::Flushed(ticket));
                }
            }
        }
    }

    fn leader(&self) -> Option<i32> {
        let leads = |node: &&i32| self.nodes[node].raft.as_ref().is_some_and(|it| it.led_epoch().is_some());
        let epoch = |node: &&i32| self.nodes[node].raft.as_ref().and_then(Raft::led_epoch);
        self.nodes.keys().filter(leads).max_by_key(epoch).copied()
    }

    fn propose(&mut self) {
        let Some(leader) = self.leader() else { return };
        let epoch = self.nodes[&leader].raft.as_ref().unwrap().led_epoch().unwrap();
        self.proposals += 1;
        let values = (0..1 + self.proposals % 3).map(|it| Bytes::from(format!("{}.{it}", self.proposals)));
        let values = values.collect();
        self.step(leader, Input::Propose { epoch, values });
    }

    /// A node snapshots what it knows to be committed and forgets the log before it.
    fn snapshot(&mut self, id: i32, clean: bool) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(raft) = node.raft.as_ref() else { return };
        let Some(committed) = raft.high_watermark() else { return };
        let Some(batch) = node.disk.batches.iter().rev().find(|batch| batch.end <= committed) else { return };
        let snapshot = OffsetAndEpoch::new(batch.end, batch.epoch);
        if node.disk.snapshots.contains_key(&snapshot) {
            return;
        }
        let (version, voters) = raft.membership().at_end(snapshot.offset);
        let (mut writer, header) =
            SnapshotWriter::begin(snapshot, Timestamp(1), version, voters, Timestamp(2));
        let mut bytes = header.to_vec();
        writer.append(Bytes::from(format!("everything before {snapshot}")));
        writer.finish().iter().for_each(|last| bytes.extend(last));
        node.disk.snapshots.insert(snapshot, bytes.into());
        self.step(id, Input::SnapshotTaken(snapshot));
        if clean {
            let disk = &mut self.nodes.get_mut(&id).unwrap().disk;
            disk.batches.retain(|batch| batch.first >= snapshot.offset);
            disk.start = snapshot.offset;
            disk.snapshots = disk.snapshots.split_off(&snapshot);
            self.step(id, Input::LogCleaned(snapshot));
        }
    }

    /// Everything works again; in the end all hold the same and work goes on.
    fn heal_and_check(&mut self) {
        self.cut.clear();
        self.loss_percent = 0;
        self.start_all();
        self.run(15_000);
        assert!(self.leader().is_some(), "a leader is found");
        for _ in 0..5 {
            self.propose();
            self.run(200);
        }
        self.run(3_000);
        let leader = self.leader().expect("a leader stays");
        let raft = self.nodes[&leader].raft.as_ref().unwrap();
        let end = raft.log().end();
        assert_eq!(raft.high_watermark(), Some(end), "everything is committed");
        for (id, node) in &self.nodes {
            let raft = node.raft.as_ref().unwrap();
            assert_eq!(raft.high_watermark(), Some(end), "node {id} ({:?}) has caught up", raft.role());
            assert_eq!(raft.leader_and_epoch().leader, Some(NodeId(leader)));
        }
    }

    fn chaos(&mut self, rounds: u64) {
        let ids: Vec<i32> = self.nodes.keys().copied().collect();
        for _ in 0..rounds {
            let id = ids[self.random.next() as usize % ids.len()];
            let other = ids[self.random.next() as usize % ids.len()];
            match self.random.next() % 12 {
                0 => self.crash(id),
                1 | 2 => self.start(id),
                3 => drop(self.cut.insert((id, other))),
                4 => self.cut.clear(),
                5 => self.loss_percent = self.random.next() % 40,
                6 => self.snapshot(id, false),
                7 => self.snapshot(id, true),
                8 => {
                    if let Some(leader) = self.leader() {
                        let epoch = self.nodes[&leader].raft.as_ref().unwrap().led_epoch().unwrap();
                        self.step(leader, Input::Resign(epoch));
                    }
                }
                _ => self.propose(),
            }
            let pause = self.random.next() % 600;
            self.run(pause);
        }
    }
}

#[test]
fn three_voters_elect_and_replicate() {
    for mut world in [World::dynamic(1, 3, 1), World::static_voters(1, 3, 1)] {
        world.start_all();
        world.run(5_000);
        assert!(world.leader().is_some());
        world.heal_and_check();
    }
}

#[test]
fn a_lost_leader_is_replaced() {
    let mut world = World::dynamic(3, 3, 0);
    world.start_all();
    world.run(5_000);
    let first = world.leader().unwrap();
    (0..3).for_each(|_| world.propose());
    world.crash(first);
    world.run(6_000);
    let second = world.leader().expect("another one leads");
    assert_ne!(first, second);
    world.heal_and_check();
}

#[test]
fn a_leader_that_nobody_hears_steps_down() {
    let mut world = World::static_voters(4, 3, 0);
    world.start_all();
    world.run(5_000);
    let leader = world.leader().unwrap();
    for other in 1..=3 {
        world.cut.insert((other, leader));
        world.cut.insert((leader, other));
    }
    world.run(4_000);
    assert!(world.nodes[&leader].raft.as_ref().unwrap().led_epoch().is_none());
    world.heal_and_check();
}

#[test]
fn an_empty_replica_begins_with_a_snapshot() {
    let mut world = World::dynamic(5, 3, 1);
    (1..=3).for_each(|id| world.start(id));
    world.run(5_000);
    for _ in 0..10 {
        world.propose();
        world.run(100);
    }
    world.run(1_000);
    let leader = world.leader().unwrap();
    world.snapshot(leader, true);
    world.start(4);
    world.run(5_000);
    assert!(world.nodes[&4].disk.start > Offset(0));
    world.heal_and_check();
}

#[test]
fn voters_come_and_go() {
    let mut world = World::dynamic(6, 1, 2);
    world.start_all();
    world.run(3_000);
    for id in [2, 3] {
        let leader = world.leader().unwrap();
        let add = AddVoter { voter: key(id), endpoints: endpoints(id), ack_when_committed: true };
        world.step(leader, Input::Request(Caller(0), Request::AddVoter(add)));
        world.run(2_000);
        assert_eq!(world.answers.pop(), Some(Response::AddVoter(ErrorCode::None, None)));
    }
    world.heal_and_check();
    let leader = world.leader().unwrap();
    assert_eq!(world.nodes[&leader].raft.as_ref().unwrap().voters().len(), 3);
    let remove = RemoveVoter { voter: key(leader) };
    world.step(leader, Input::Request(Caller(0), Request::RemoveVoter(remove)));
    world.run(6_000);
    assert_eq!(world.answers.pop(), Some(Response::RemoveVoter(ErrorCode::None, None)));
    let next = world.leader().expect("one of the others leads");
    assert_ne!(next, leader);
    world.heal_and_check();
}

fn survive(seed: u64) {
    let mut world = match seed % 4 {
        0 => World::dynamic(seed, 3, 1),
        1 => World::static_voters(seed, 3, 0),
        2 => World::dynamic(seed, 5, 0),
        _ => World::dynamic(seed, 1, 1),
    };
    world.start_all();
    world.chaos(60);
    world.heal_and_check();
}

#[test]
fn quorums_survive_chaos() {
    for seed in 0..40 {
        survive(seed);
    }
}

#[test]
fn a_seed_run_twice_gives_the_same_trace() {
    let trace = |seed| {
        let mut world = World::dynamic(seed, 3, 1);
        world.start_all();
        world.chaos(20);
        world.trace
    };
    assert_eq!(trace(11), trace(11));
    assert_ne!(trace(11), trace(12));
}
