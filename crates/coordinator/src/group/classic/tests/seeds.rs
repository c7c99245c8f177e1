//! Members that join, sync, report, commit, leave, crash and fall silent at random, on a log that commits late and under
//! seats that are lost: what they hear is what a committed log says, nobody is forgotten, and in the end they agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_base::settings::Texts;
use ottla_base::{ErrorCode, Moment, Now, Offset, Str, Timestamp};
use ottla_machine::{Entropy, Input, Seat, replay};
use ottla_metadata::Image;
use ottla_metadata::settings::{ServerSettings, derived};
use ottla_wire::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_wire::messages::offset_fetch_request::OffsetFetchRequestGroup;
use ottla_wire::records::group::{GroupKey, GroupValue};

use super::*;
use crate::World;
use crate::group::{CommitOffsets, Fact, FetchOffsets, GroupCoordinator, Stability};
use crate::seeds::{draws, seat_seed, seeds};

const GROUPS: [&str; 2] = ["a", "b"];
const CLIENTS: usize = 10;

/// What a client of a group believes.
#[derive(Debug, Clone, Default)]
struct Member {
    id: Str,
    instance: Option<Str>,
    generation: i32,
    belief: Belief,
    /// The request that it waits for.
    waits: Option<u64>,
    /// Until when it says nothing.
    silent_until: Moment,
}

#[derive(Debug, Clone, Default, PartialEq)]
enum Belief {
    #[default]
    Out,
    /// It has joined; the leader knows all members.
    Joined(Vec<Str>),
    In,
}

/// What a request was for.
#[derive(Debug, Clone)]
enum Asked {
    Join,
    Sync { generation: i32 },
    Heartbeat,
    Commit { offset: i64 },
    Fetch,
    Leave,
    World,
}

struct Run {
    draws: Entropy,
    log: Vec<Fact>,
    committed: usize,
    now: Moment,
    world: Arc<World>,
    seat: Seat<GroupCoordinator, u64>,
    /// How many seats there were.
    term: u32,
    members: Vec<Member>,
    /// Who waits for what: the client, if it has not crashed meanwhile, and its request.
    waiting: BTreeMap<u64, (usize, Asked)>,
    next: u64,
    /// Leader and protocol of every generation, as members of one seat heard of them.
    generations: BTreeMap<(u32, usize, i32), (Str, Option<Str>)>,
    answered: usize,
    agreed: usize,
}

fn group_of(client: usize) -> usize {
    client % GROUPS.len()
}

fn world() -> Arc<World> {
    let set = [
        ("node.id", "1"),
        ("process.roles", "broker,controller"),
        ("controller.listener.names", "CONTROLLER"),
        ("log.dirs", "/data"),
        ("offsets.retention.minutes", "1"),
        ("offsets.retention.check.interval.ms", "45000"),
        ("group.max.size", "4"),
    ];
    let texts: Texts = set.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let settings = Arc::new(ServerSettings::read(&texts).expect("possible settings"));
    let defaults = Arc::new(derived::group_defaults(&texts));
    Arc::new(World::new(Arc::new(Image::default()), settings, defaults))
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut draws = draws(seed);
        let seat = Seat::take(GroupCoordinator::default(), Offset(0), seat_seed(&mut draws));
        let mut run = Run {
            draws,
            log: Vec::new(),
            committed: 0,
            now: Moment::default(),
            world: world(),
            seat,
            term: 0,
            members: vec![Member::default(); CLIENTS],
            waiting: BTreeMap::new(),
            next: 0,
            generations: BTreeMap::new(),
            answered: 0,
            agreed: 0,
        };
        for (client, member) in run.members.iter_mut().enumerate().filter(|(client, _)| client % 3 == 0) {
            member.instance = Some(Str::from(format!("i{client}")));
        }
        run.see_world();
        run
    }

    fn see_world(&mut self) {
        let request = Request::SeeWorld(self.world.clone());
        self.ask(usize::MAX, request, Asked::World);
    }

    fn ask(&mut self, client: usize, request: Request, asked: Asked) -> u64 {
        let caller = self.next;
        self.next += 1;
        self.waiting.insert(caller, (client, asked));
        self.submit(Input::Request(Box::new(request), caller));
        caller
    }

    fn submit(&mut self, input: Input<GroupCoordinator, u64>) {
        let now = Now { moment: self.now, wall_clock: Timestamp(self.now.0.as_millis() as i64) };
        let append = self.seat.submit(input, now);
        assert_eq!(append.first, Offset(self.log.len() as i64));
        self.log.extend(append.records);
    }

    /// Something happens: time passes, somebody acts, the log commits, rarely the seat is lost.
    fn step(&mut self) {
        let millis = self.draws.below(1_500) as u64;
        self.pass(Duration::from_millis(millis));
        let client = self.draws.below(CLIENTS);
        self.act(client, Mood::Any);
        if self.draws.below(2) == 0 {
            self.committed += self.draws.below(self.log.len() - self.committed + 1);
        }
        self.release();
        if self.draws.below(300) == 0 {
            self.depose();
        }
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.seat.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.submit(Input::Tick);
        }
        self.now = end;
    }

    fn act(&mut self, client: usize, mood: Mood) {
        let member = self.members[client].clone();
        if mood == Mood::Any && self.draws.below(60) == 0 {
            // It crashes: it is forgotten who it was, unless it has a name of its own.
            let instance = member.instance.clone();
            self.members[client] = Member { instance, ..Default::default() };
            return;
        }
        if member.waits.is_some() || member.silent_until > self.now {
            return;
        }
        match &member.belief {
            Belief::Out => self.join(client),
            Belief::Joined(everybody) => self.sync(client, everybody),
            Belief::In => match (mood, self.draws.below(12)) {
                (Mood::Any, 0) => self.leave(client),
                (Mood::Any, 1) => self.join(client),
                (Mood::Any, 2) => {
                    let seconds = 1 + self.draws.below(20) as u64;
                    self.members[client].silent_until = self.now + Duration::from_secs(seconds);
                }
                (_, 3..=6) => self.commit(client),
                (_, 7) => self.fetch(client),
                _ => self.heartbeat(client),
            },
        }
    }

    fn join(&mut self, client: usize) {
        let member = &self.members[client];
        let versions = if member.instance.is_some() { [9, 8, 5] } else { [9, 4, 3] };
        let request = JoinGroupRequest {
            group_id: GROUPS[group_of(client)].into(),
            group_instance_id: member.instance.clone(),
            session_timeout_ms: 6_000,
            rebalance_timeout_ms: 8_000,
            ..joining(&member.id)
        };
        let version = versions[self.draws.below(3)];
        let asked = JoinGroup { client: client_named(client, version), request };
        let caller = self.ask(client, Request::JoinGroup(asked), Asked::Join);
        self.members[client].waits = Some(caller);
    }

    fn sync(&mut self, client: usize, everybody: &[Str]) {
        let member = self.members[client].clone();
        let nonce = self.next;
        let assignments = everybody.iter().map(|id| SyncGroupRequestAssignment {
            member_id: id.clone(),
            assignment: Bytes::from(format!("{}/{id}/{nonce}", member.generation)),
            ..Default::default()
        });
        let request = SyncGroupRequest {
            group_id: GROUPS[group_of(client)].into(),
            generation_id: member.generation,
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
            assignments: assignments.collect(),
            ..Default::default()
        };
        let asked = SyncGroup { client: client_named(client, 4), request };
        let what = Asked::Sync { generation: member.generation };
        let caller = self.ask(client, Request::SyncGroup(asked), what);
        self.members[client].waits = Some(caller);
    }

    fn heartbeat(&mut self, client: usize) {
        let member = &self.members[client];
        let request = HeartbeatRequest {
            group_id: GROUPS[group_of(client)].into(),
            generation_id: member.generation,
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
            ..Default::default()
        };
        let asked = Heartbeat { client: client_named(client, 4), request };
        let caller = self.ask(client, Request::Heartbeat(asked), Asked::Heartbeat);
        self.members[client].waits = Some(caller);
    }

    fn commit(&mut self, client: usize) {
        let offset = self.next as i64;
        let member = &self.members[client];
        let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
        let topic = OffsetCommitRequestTopic {
            name: "orders".into(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: GROUPS[group_of(client)].into(),
            generation_id_or_member_epoch: member.generation,
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
            topics: vec![topic],
            ..Default::default()
        };
        let asked = CommitOffsets { client: client_named(client, 9), request };
        let caller = self.ask(client, Request::CommitOffsets(asked), Asked::Commit { offset });
        self.members[client].waits = Some(caller);
    }

    fn fetch(&mut self, client: usize) {
        let group_id = GROUPS[group_of(client)].into();
        let request = OffsetFetchRequestGroup { group_id, topics: None, ..Default::default() };
        let asked = FetchOffsets { request, stability: Stability::Required };
        let caller = self.ask(client, Request::FetchOffsets(asked), Asked::Fetch);
        self.members[client].waits = Some(caller);
    }

    fn leave(&mut self, client: usize) {
        let member = self.members[client].clone();
        let identity =
            MemberIdentity { member_id: member.id, group_instance_id: member.instance, ..Default::default() };
        let request = LeaveGroupRequest {
            group_id: GROUPS[group_of(client)].into(),
            members: vec![identity],
            ..Default::default()
        };
        let asked = LeaveGroup { client: client_named(client, 5), request };
        let caller = self.ask(client, Request::LeaveGroup(asked), Asked::Leave);
        self.members[client].waits = Some(caller);
    }

    fn release(&mut self) {
        let released = self.seat.committed(Offset(self.committed as i64));
        for (caller, reply) in released.replies {
            let (client, asked) = self.waiting.remove(&caller).expect("one answer to a request");
            self.answered += 1;
            self.check(client, &asked, &reply);
            if client < CLIENTS && self.members[client].waits == Some(caller) {
                self.members[client].waits = None;
                self.hear(client, &reply);
            }
        }
    }

    /// Whether the committed part of the log explains an answer.
    fn check(&mut self, client: usize, asked: &Asked, reply: &Reply) {
        let group = group_of(client.min(CLIENTS));
        match (asked, reply) {
            (Asked::Join, Reply::JoinGroup(reply)) if reply.error_code == 0 => {
                let told = (reply.leader.clone(), reply.protocol_name.clone());
                // Of a replaced static leader older versions hear the former self's id: see `replaced`.
                if reply.members.is_empty() && reply.leader != reply.member_id {
                    return;
                }
                let known = self.generations.entry((self.term, group, reply.generation_id));
                let known = known.or_insert_with(|| told.clone()).clone();
                assert_eq!(known.1, told.1, "one protocol in a generation");
            }
            (Asked::Sync { generation }, Reply::SyncGroup(reply)) if reply.error_code == 0 => {
                let assignment = &reply.assignment;
                let explained = self.committed_metadata(group).any(|it| {
                    it.generation == *generation && it.members.iter().any(|it| it.assignment == *assignment)
                });
                assert!(explained, "{assignment:?} of generation {generation} is not committed");
            }
            (Asked::Commit { offset }, Reply::CommitOffsets(reply))
                if reply.topics[0].partitions[0].error_code == 0 =>
            {
                assert!(self.committed_offsets(group).contains(offset), "{offset} is not committed");
            }
            (Asked::Fetch, Reply::FetchOffsets(reply)) => {
                for topic in &reply.topics {
                    let told = topic.partitions[0].committed_offset;
                    assert!(self.committed_offsets(group).contains(&told), "{told} is not committed");
                }
            }
            _ => (),
        }
    }

    fn committed_metadata(
        &self,
        group: usize,
    ) -> impl Iterator<Item = &ottla_wire::records::group::GroupMetadataValue> {
        let recent = self.log[..self.committed].iter().rev().take(400);
        recent.filter_map(move |fact| match fact {
            Fact::Plain(record) => match (&record.key, &record.value) {
                (GroupKey::GroupMetadataKey(key), Some(GroupValue::GroupMetadataValue(value)))
                    if key.group == GROUPS[group] =>
                {
                    Some(value)
                }
                _ => None,
            },
            _ => None,
        })
    }

    fn committed_offsets(&self, group: usize) -> BTreeSet<i64> {
        let recent = self.log[..self.committed].iter().rev().take(400);
        let offsets = recent.filter_map(|fact| match fact {
            Fact::Plain(record) => match (&record.key, &record.value) {
                (GroupKey::OffsetCommitKey(key), Some(GroupValue::OffsetCommitValue(value)))
                    if key.group == GROUPS[group] =>
                {
                    Some(value.offset)
                }
                _ => None,
            },
            _ => None,
        });
        offsets.collect()
    }

    /// What a client makes of an answer, as Kafka's clients do.
    fn hear(&mut self, client: usize, reply: &Reply) {
        let member = &mut self.members[client];
        let code = match reply {
            Reply::JoinGroup(reply) => {
                if reply.error_code == 0 || reply.error_code == ErrorCode::MemberIdRequired as i16 {
                    member.id = reply.member_id.clone();
                }
                if reply.error_code == 0 {
                    let everybody = match reply.skip_assignment {
                        true => Vec::new(),
                        false => reply.members.iter().map(|it| it.member_id.clone()).collect(),
                    };
                    member.generation = reply.generation_id;
                    member.belief = Belief::Joined(everybody);
                }
                reply.error_code
            }
            Reply::SyncGroup(reply) => {
                if reply.error_code == 0 {
                    member.belief = Belief::In;
                    self.agreed += 1;
                }
                reply.error_code
            }
            Reply::Heartbeat(reply) => reply.error_code,
            Reply::CommitOffsets(reply) => reply.topics[0].partitions[0].error_code,
            Reply::LeaveGroup(_) => {
                *member = Member { instance: member.instance.clone(), ..Default::default() };
                0
            }
            _ => 0,
        };
        self.hear_refusal(client, ErrorCode::from_code(code));
    }

    fn hear_refusal(&mut self, client: usize, code: ErrorCode) {
        let member = &mut self.members[client];
        match code {
            ErrorCode::None | ErrorCode::MemberIdRequired => (),
            ErrorCode::RebalanceInProgress => member.belief = Belief::Out,
            ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::FencedInstanceId
            | ErrorCode::GroupIdNotFound
            | ErrorCode::GroupMaxSizeReached => {
                *member = Member { instance: member.instance.clone(), ..Default::default() };
            }
            other => panic!("nobody expects {other:?}"),
        }
    }

    /// The uncommitted tail is lost; the next seat replays the rest.
    fn depose(&mut self) {
        self.log.truncate(self.committed);
        let state = replay::<GroupCoordinator>(&self.log);
        let fresh = Seat::take(state, Offset(self.committed as i64), [self.term as u8; 32]);
        self.term += 1;
        for caller in std::mem::replace(&mut self.seat, fresh).leave() {
            let (client, asked) = self.waiting.remove(&caller).expect("answered or handed back, not both");
            if client < CLIENTS && self.members[client].waits == Some(caller) {
                let member = &mut self.members[client];
                member.waits = None;
                if let Asked::Sync { .. } = asked {
                    member.belief = Belief::Out;
                }
            }
        }
        assert!(self.waiting.is_empty(), "forgotten: {:?}", self.waiting);
        self.see_world();
    }

    /// Generations only grow, as the log tells them; a group that was deleted begins anew.
    fn check_log(&self) {
        let mut generations: BTreeMap<&str, i32> = BTreeMap::new();
        for fact in &self.log {
            let Fact::Plain(record) = fact else { continue };
            let GroupKey::GroupMetadataKey(key) = &record.key else { continue };
            match &record.value {
                Some(GroupValue::GroupMetadataValue(value)) => {
                    let before = generations.insert(&key.group, value.generation).unwrap_or(0);
                    assert!(before <= value.generation, "{before} before {}", value.generation);
                }
                _ => {
                    generations.remove(key.group.as_str());
                }
            }
        }
        let replayed = replay::<GroupCoordinator>(&self.log);
        assert_eq!(format!("{:?}", replayed.groups), format!("{:?}", self.seat.state().groups));
    }

    /// Everybody follows the protocol for a while. Then as many as there is room for are in, and of one mind.
    fn calm_down(&mut self) {
        for round in 0..400 {
            self.pass(Duration::from_millis(200));
            for client in 0..CLIENTS {
                // The fifth of each group would have no room.
                if client / GROUPS.len() < 4 {
                    self.members[client].silent_until = Moment::default();
                    self.act(client, Mood::Good);
                }
            }
            self.committed = self.log.len();
            self.release();
            if round == 0 {
                let left_over: Vec<usize> = (8..CLIENTS).collect();
                for client in left_over {
                    self.members[client] = Member::default();
                }
            }
        }
        for group in 0..GROUPS.len() {
            let of_group = self.members.iter().enumerate();
            let of_group = of_group.filter(|(client, _)| group_of(*client) == group && *client < 8);
            let told: Vec<(i32, &Belief)> =
                of_group.map(|(_, member)| (member.generation, &member.belief)).collect();
            assert!(told.iter().all(|it| it.0 == told[0].0 && *it.1 == Belief::In), "{told:?}");
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Any,
    Good,
}

fn client_named(client: usize, version: i16) -> crate::group::Client {
    let id = Str::from(format!("c{client}"));
    crate::group::Client { id, host: Str::from_static("/10.0.0.1"), version }
}

fn run(seed: u64, steps: usize) -> Run {
    let mut run = Run::new(seed);
    for _ in 0..steps {
        run.step();
    }
    run.calm_down();
    run.check_log();
    run
}

#[test]
fn members_agree_whatever_happens() {
    let (mut answered, mut agreed) = (0, 0);
    let seeds = seeds(30, 500);
    let runs = seeds.end as usize;
    for seed in seeds {
        let run = std::panic::catch_unwind(|| run(seed, 2_000));
        let run = run.unwrap_or_else(|_| panic!("seed {seed}"));
        answered += run.answered;
        agreed += run.agreed;
    }
    let enough = answered > 1_000 * runs && agreed > 80 * runs;
    assert!(enough, "{answered} answers, {agreed} assignments");
}

#[test]
fn a_seed_run_twice_gives_the_same_log() {
    assert_eq!(run(7, 1_000).log, run(7, 1_000).log);
    assert_ne!(run(7, 1_000).log, run(8, 1_000).log);
}
