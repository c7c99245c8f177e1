//! Consumer groups by seed: members that join, report, change their minds, leave and die, under a log that lags, seats
//! that are lost and topics that come, grow and go.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_machine::Entropy;
use ottla_wire::messages::consumer_group_heartbeat_request::{
    ConsumerGroupHeartbeatRequest, TopicPartitions,
};
use ottla_wire::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;

use super::super::ConsumerGroupHeartbeat;
use super::super::group::ConsumerGroup;
use crate::group::fixture::{Caller, Fixture, client};
use crate::group::state::Group;
use crate::group::{Reply, Request};
use crate::seeds::{draws, seeds};

const STEPS: usize = 400;
const NAMES: [&str; 4] = ["t0", "t1", "u0", "u1"];

/// A consumer as its user has it.
#[derive(Debug)]
struct Consumer {
    id: Str,
    instance: Option<Str>,
    topics: Vec<Str>,
    regex: Option<Str>,
    assignor: Option<Str>,
    epoch: i32,
    owned: BTreeMap<Uuid, BTreeSet<i32>>,
    waits_for: Option<Caller>,
    /// How many times it has changed its mind: by now, when it last reported, and when it was last answered.
    mind: [u32; 3],
    /// It has told what it owns since that changed.
    is_settled: bool,
}

struct History {
    seed: u64,
    entropy: Entropy,
    fixture: Fixture,
    topics: BTreeMap<&'static str, (Uuid, i32)>,
    consumers: Vec<Consumer>,
    next_id: usize,
    /// The group's epoch in what is committed.
    epoch: i32,
}

fn group(fixture: &Fixture) -> Option<&ConsumerGroup> {
    match fixture.state().groups.get("g") {
        Some(Group::Consumer(group)) => Some(group),
        _ => None,
    }
}

impl History {
    fn new(seed: u64) -> History {
        let interval = if seed.is_multiple_of(2) { "0" } else { "1000" };
        let settings =
            [("group.consumer.assignment.interval.ms", interval), ("group.consumer.max.size", "6")];
        let mut history = History {
            seed,
            entropy: draws(seed),
            fixture: Fixture::with_settings(&settings),
            topics: BTreeMap::new(),
            consumers: Vec::new(),
            next_id: 0,
            epoch: 0,
        };
        history.create_topic();
        history.fixture.stop_commits();
        history
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.entropy.below(chances) == 0
    }

    fn create_topic(&mut self) {
        let name = NAMES[self.entropy.below(NAMES.len())];
        if !self.topics.contains_key(name) {
            let partitions = self.entropy.below(6) as i32 + 1;
            self.topics.insert(name, (self.fixture.topic(name, partitions), partitions));
        }
    }

    fn step(&mut self) {
        match self.entropy.below(100) {
            0..60 => self.act(),
            60..75 => self.hear(),
            75..85 => {
                self.fixture.commit();
                self.epoch = group(&self.fixture).map_or(0, ConsumerGroup::epoch);
            }
            85..92 => {
                let millis = [1, 100, 1000, 3000, 10_000][self.entropy.below(5)];
                self.fixture.pass(std::time::Duration::from_millis(millis));
            }
            92..94 => self.change_world(),
            94 => self.lose_seat(),
            95..97 => self.change_mind(),
            _ => self.join_or_die(),
        }
        self.check();
    }

    fn change_world(&mut self) {
        match self.entropy.below(3) {
            0 => self.create_topic(),
            1 => {
                let names: Vec<&'static str> = self.topics.keys().copied().collect();
                let name = names[self.entropy.below(names.len())];
                let (id, partitions) = self.topics[name];
                if partitions < 12 {
                    self.fixture.partitions(id, partitions..partitions + 2);
                    self.topics.insert(name, (id, partitions + 2));
                }
            }
            _ if self.topics.len() > 1 => {
                let names: Vec<&'static str> = self.topics.keys().copied().collect();
                let name = names[self.entropy.below(names.len())];
                if let Some((id, _)) = self.topics.remove(name) {
                    self.fixture.delete_topic(id);
                }
            }
            _ => (),
        }
    }

    fn want(&mut self, place: usize) {
        let topics = (0..NAMES.len()).filter(|_| self.entropy.below(2) == 0).collect::<Vec<_>>();
        let regex = match self.entropy.below(6) {
            0 => Some(Str::from_static("t.*")),
            1 => Some(Str::from_static("[tu]0")),
            _ => Some(Str::default()),
        };
        let assignor = match self.entropy.below(3) {
            0 => Some(Str::from_static("range")),
            1 => Some(Str::from_static("uniform")),
            _ => None,
        };
        let consumer = &mut self.consumers[place];
        consumer.topics = match self.seed % 3 {
            0 => vec![Str::from_static("t0"), Str::from_static("u1")],
            _ => topics.into_iter().map(|it| Str::from_static(NAMES[it])).collect(),
        };
        consumer.regex = if self.seed % 3 == 2 { regex } else { Some(Str::default()) };
        consumer.assignor = assignor;
        consumer.mind[0] += 1;
    }

    fn change_mind(&mut self) {
        if !self.consumers.is_empty() {
            let place = self.entropy.below(self.consumers.len());
            self.want(place);
        }
    }

    fn join_or_die(&mut self) {
        if self.consumers.len() < 7 && !self.one_in(3) {
            self.next_id += 1;
            let id = Str::from(format!("m{:03}-{}", self.entropy.below(900), self.next_id));
            let instance = self.one_in(3).then(|| Str::from(format!("i{}", self.next_id % 3)));
            self.consumers.push(Consumer {
                id,
                instance,
                topics: Vec::new(),
                regex: None,
                assignor: None,
                epoch: 0,
                owned: BTreeMap::new(),
                waits_for: None,
                mind: [0; 3],
                is_settled: false,
            });
            self.want(self.consumers.len() - 1);
        } else if !self.consumers.is_empty() {
            let place = self.entropy.below(self.consumers.len());
            let mut gone = self.consumers.remove(place);
            gone.owned.clear();
            match self.entropy.below(3) {
                0 => drop(self.fixture.send(gone.report(-1))),
                1 if gone.instance.is_some() => drop(self.fixture.send(gone.report(-2))),
                // It dies without a word.
                _ => (),
            }
        }
    }

    /// Somebody who waits for nothing reports.
    fn act(&mut self) {
        if !self.consumers.is_empty() {
            let place = self.entropy.below(self.consumers.len());
            self.report(place);
        }
    }

    fn report(&mut self, place: usize) {
        let consumer = &mut self.consumers[place];
        if consumer.waits_for.is_none() {
            consumer.mind[1] = consumer.mind[0];
            consumer.waits_for = Some(self.fixture.send(consumer.report(consumer.epoch)));
        }
    }

    /// Everybody hears what has come.
    fn hear(&mut self) {
        let fixture = &mut self.fixture;
        for consumer in &mut self.consumers {
            let reply = consumer.waits_for.and_then(|caller| fixture.reply(caller));
            if let Some(Reply::ConsumerGroupHeartbeat(response)) = reply {
                consumer.waits_for = None;
                consumer.hear(&response, self.seed);
            }
        }
    }

    fn lose_seat(&mut self) {
        let left = self.fixture.lose_seat();
        for consumer in &mut self.consumers {
            if consumer.waits_for.is_some_and(|caller| left.contains(&caller)) {
                consumer.waits_for = None;
                consumer.is_settled = false;
            }
        }
        let epoch = group(&self.fixture).map_or(0, ConsumerGroup::epoch);
        assert!(epoch >= self.epoch, "seed {}: what was committed stays", self.seed);
    }

    /// What must hold after every step.
    fn check(&self) {
        let Some(group) = group(&self.fixture) else { return };
        let mut owners: BTreeMap<(Uuid, i32), &Str> = BTreeMap::new();
        for member in group.members().values() {
            for (topic, partitions) in member.assigned.iter().chain(member.revoking.iter()) {
                for partition in partitions.keys() {
                    let other = owners.insert((*topic, *partition), &member.id);
                    assert_eq!(other, None, "seed {}: {topic}-{partition} is owned twice", self.seed);
                }
            }
        }
        for consumer in &self.consumers {
            let Some(member) = group.member(&consumer.id).filter(|_| consumer.epoch > 0) else { continue };
            assert!(member.epoch >= consumer.epoch, "seed {}: epochs do not go back", self.seed);
            for (topic, partitions) in &consumer.owned {
                for partition in partitions {
                    let owner = owners.get(&(*topic, *partition));
                    assert_eq!(owner, Some(&&consumer.id), "seed {}: {topic}-{partition}", self.seed);
                }
            }
        }
    }

    /// Nothing happens any more: everybody reports until nothing moves.
    fn settle(&mut self) {
        for _ in 0..70 {
            for place in 0..self.consumers.len() {
                self.report(place);
            }
            self.fixture.commit();
            self.hear();
            // Whoever is not let in gives up.
            self.consumers.retain(|consumer| !consumer.is_refused());
            self.fixture.seconds(1);
            self.fixture.commit();
            self.check();
        }
        let mut owned: BTreeMap<(Uuid, i32), usize> = BTreeMap::new();
        for consumer in &self.consumers {
            for (topic, partitions) in &consumer.owned {
                for partition in partitions {
                    *owned.entry((*topic, *partition)).or_default() += 1;
                }
            }
        }
        let mut expected = BTreeMap::new();
        for (name, (topic, partitions)) in &self.topics {
            if self.consumers.iter().any(|consumer| consumer.wants(name)) {
                expected.extend((0..*partitions).map(|partition| ((*topic, partition), 1)));
            }
        }
        assert_eq!(owned, expected, "seed {}: every partition has one owner", self.seed);
        let Some(group) = group(&self.fixture) else { return };
        assert_eq!(group.members().len(), self.consumers.len(), "seed {}", self.seed);
        assert!(self.consumers.is_empty() || group.state_name() == "Stable", "seed {}", self.seed);
        let told = format!("{group:?}");
        self.fixture.lose_seat();
        let replayed = self::group(&self.fixture).map(|group| format!("{group:?}"));
        assert_eq!(replayed, Some(told), "seed {}: the log tells all", self.seed);
    }
}

impl Consumer {
    fn report(&self, epoch: i32) -> Request {
        let owned = self.owned.iter().map(|(topic_id, partitions)| TopicPartitions {
            topic_id: *topic_id,
            partitions: partitions.iter().copied().collect(),
            ..TopicPartitions::default()
        });
        let mut message = ConsumerGroupHeartbeatRequest {
            group_id: Str::from_static("g"),
            member_id: self.id.clone(),
            member_epoch: epoch,
            instance_id: self.instance.clone(),
            rebalance_timeout_ms: -1,
            topic_partitions: (!self.is_settled).then(|| owned.collect()),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        if epoch == 0 || self.mind[0] != self.mind[2] {
            message.rebalance_timeout_ms = 20_000;
            message.subscribed_topic_names = Some(self.topics.clone());
            message.subscribed_topic_regex = self.regex.clone();
            message.server_assignor = self.assignor.clone();
        }
        Request::ConsumerGroupHeartbeat(ConsumerGroupHeartbeat { client: client("c", 1), message })
    }

    fn hear(&mut self, response: &ConsumerGroupHeartbeatResponse, seed: u64) {
        let code = response.error_code;
        self.is_settled = code == 0 && response.assignment.is_none();
        if code != 0 {
            let fenced = [
                ErrorCode::FencedMemberEpoch,
                ErrorCode::UnknownMemberId,
                ErrorCode::GroupIdNotFound,
                ErrorCode::FencedInstanceId,
            ];
            let refused = [ErrorCode::UnreleasedInstanceId, ErrorCode::GroupMaxSizeReached];
            assert!(
                fenced.iter().chain(&refused).any(|known| *known as i16 == code),
                "seed {seed}: {response:?}"
            );
            self.owned.clear();
            self.epoch = if refused.iter().any(|it| *it as i16 == code) { -1 } else { 0 };
            return;
        }
        assert!(response.member_epoch >= self.epoch, "seed {seed}: epochs do not go back");
        self.epoch = response.member_epoch;
        self.mind[2] = self.mind[1];
        if let Some(assignment) = &response.assignment {
            let topic = |topic: &ottla_wire::messages::consumer_group_heartbeat_response::TopicPartitions| {
                (topic.topic_id, topic.partitions.iter().copied().collect())
            };
            self.owned = assignment.topic_partitions.iter().map(topic).collect();
        }
    }

    fn is_refused(&self) -> bool {
        self.epoch == -1
    }

    fn wants(&self, name: &str) -> bool {
        let by_regex = match self.regex.as_deref() {
            Some("t.*") => name.starts_with('t'),
            Some("[tu]0") => name.ends_with('0'),
            _ => false,
        };
        by_regex || self.topics.iter().any(|topic| topic == name)
    }
}

#[test]
fn members_that_come_and_go_never_share_a_partition_and_in_the_end_have_all() {
    for seed in seeds(120, 2_500) {
        let mut history = History::new(seed);
        for _ in 0..STEPS {
            history.step();
        }
        history.settle();
    }
}
