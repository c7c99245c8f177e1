//! Seeded runs: members come, go and fall silent, topics come, go and grow, commits lag, the share coordinator answers
//! late or not at all, seats are lost. Whatever happens, epochs only grow, nothing is shared in that is not kept, and
//! once all is quiet every wanted partition has somebody and every member knows what it has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_machine::Entropy;
use ottla_wire::messages::share_group_heartbeat_response::ShareGroupHeartbeatResponse;

use super::super::super::Reply;
use super::super::super::fixture::{Caller, Fixture};
use super::super::super::state::Group;
use super::super::ShareGroup;
use super::{Told, beat, keeps, told};
use crate::seeds::{draws, seeds};

const MEMBERS: [&str; 5] = ["a", "b", "c", "d", "e"];
const TOPICS: [&str; 3] = ["one", "two", "three"];

/// A member as it sees itself.
#[derive(Debug, Default)]
struct Member {
    epoch: i32,
    wants: Vec<&'static str>,
    owns: BTreeMap<Uuid, Vec<i32>>,
    asked: Option<Caller>,
    /// Whether the last heartbeat is to be said again, whole.
    again: bool,
}

struct Run {
    seed: u64,
    draws: Entropy,
    fixture: Fixture,
    topics: BTreeMap<&'static str, (Uuid, i32)>,
    members: BTreeMap<&'static str, Member>,
    /// What the share coordinator has been told and has not answered.
    pending: Vec<Told>,
    /// What the share coordinator keeps.
    kept: BTreeSet<(Uuid, i32)>,
    epoch: i32,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut fixture = Fixture::new();
        fixture.stop_commits();
        Run {
            seed,
            draws: draws(seed),
            fixture,
            topics: BTreeMap::new(),
            members: BTreeMap::new(),
            pending: Vec::new(),
            kept: BTreeSet::new(),
            epoch: 0,
        }
    }

    fn one_of<T: Copy>(&mut self, things: &[T]) -> T {
        things[self.draws.below(things.len())]
    }

    fn step(&mut self) {
        match self.draws.below(24) {
            0..9 => self.heartbeat(),
            9 | 10 => self.join(),
            11 => self.leave(),
            12 => self.change_topics(),
            13..16 => self.fixture.pass(Duration::from_millis(self.draws.below(4000) as u64)),
            16 => self.fixture.seconds(self.draws.below(50) as u64),
            17..20 => self.answer(),
            20 if self.draws.below(8) == 0 => self.lose_seat(),
            _ => self.fixture.commit(),
        }
        self.listen();
        self.check();
    }

    fn subscribe(&mut self) -> Vec<&'static str> {
        let mut wants: Vec<&str> = TOPICS.into_iter().filter(|_| self.draws.below(2) == 0).collect();
        if wants.is_empty() {
            wants.push(self.one_of(&TOPICS));
        }
        wants
    }

    fn join(&mut self) {
        let name = self.one_of(&MEMBERS);
        let wants = self.subscribe();
        let asked = Some(self.fixture.send(beat(name, 0, Some(&wants))));
        self.members.insert(name, Member { wants, asked, ..Member::default() });
    }

    fn heartbeat(&mut self) {
        let name = self.one_of(&MEMBERS);
        let other = (self.draws.below(6) == 0).then(|| self.subscribe());
        let Some(member) = self.members.get_mut(name).filter(|member| member.asked.is_none()) else { return };
        member.again |= other.is_some();
        if let Some(other) = other {
            member.wants = other;
        }
        self.report(name);
    }

    /// Sends a heartbeat, whole if need be.
    fn report(&mut self, name: &'static str) {
        let Some(member) = self.members.get_mut(name) else { return };
        let wants = member.again.then_some(member.wants.as_slice());
        member.asked = Some(self.fixture.send(beat(name, member.epoch, wants)));
        member.again = false;
    }

    fn leave(&mut self) {
        let name = self.one_of(&MEMBERS);
        if self.members.remove(name).is_some() && self.draws.below(2) == 0 {
            self.fixture.send(beat(name, -1, None));
        }
    }

    fn change_topics(&mut self) {
        let name = self.one_of(&TOPICS);
        match self.topics.get_mut(name) {
            None => {
                let partitions = 1 + self.draws.below(5) as i32;
                let id = self.fixture.topic(name, partitions);
                self.topics.insert(name, (id, partitions));
            }
            Some((id, partitions)) if self.draws.below(2) == 0 => {
                self.fixture.partitions(*id, *partitions..*partitions + 1);
                *partitions += 1;
            }
            Some((id, _)) => {
                let id = *id;
                self.fixture.delete_topic(id);
                self.topics.remove(name);
                self.kept.retain(|(topic, _)| *topic != id);
            }
        }
    }

    /// The share coordinator answers, or the answer is lost on its way.
    fn answer(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let told = self.pending.swap_remove(self.draws.below(self.pending.len()));
        let error = match self.draws.below(4) {
            0 => ErrorCode::CoordinatorNotAvailable,
            _ => ErrorCode::None,
        };
        if error.is_none() {
            self.keep(&told);
        }
        if self.draws.below(5) > 0 {
            self.fixture.send(keeps(told, error));
        }
    }

    fn keep(&mut self, (_, topics): &Told) {
        for (topic, partitions) in topics {
            if self.topics.values().any(|(id, _)| id == topic) {
                self.kept.extend(partitions.keys().map(|partition| (*topic, *partition)));
            }
        }
    }

    /// What was not committed never happened, and nobody was told.
    fn lose_seat(&mut self) {
        let left = self.fixture.lose_seat();
        for member in self.members.values_mut() {
            if member.asked.is_some_and(|caller| left.contains(&caller)) {
                member.asked = None;
                member.again = true;
            }
        }
        self.epoch = self.group().map_or(0, |group| group.epoch);
    }

    fn listen(&mut self) {
        self.pending.extend(told(&mut self.fixture));
        let names: Vec<&str> = self.members.keys().copied().collect();
        for name in names {
            let Some(caller) = self.members[name].asked else { continue };
            let Some(reply) = self.fixture.reply(caller) else { continue };
            let Reply::ShareGroupHeartbeat(response) = reply else {
                panic!("not a heartbeat's answer: {reply:?}")
            };
            self.hear(name, response);
        }
    }

    fn hear(&mut self, name: &'static str, response: ShareGroupHeartbeatResponse) {
        let Some(member) = self.members.get_mut(name) else { return };
        member.asked = None;
        if response.error_code != 0 {
            let code = ErrorCode::from_code(response.error_code);
            let known =
                [ErrorCode::UnknownMemberId, ErrorCode::GroupIdNotFound, ErrorCode::FencedMemberEpoch];
            assert!(known.contains(&code), "seed {}: {response:?}", self.seed);
            self.members.remove(name);
            return;
        }
        assert!(response.member_epoch >= member.epoch, "seed {}: {name} goes back", self.seed);
        member.epoch = response.member_epoch;
        if let Some(assignment) = response.assignment {
            let topics = assignment.topic_partitions.into_iter();
            member.owns = topics.map(|topic| (topic.topic_id, topic.partitions)).collect();
            for (topic, partitions) in &member.owns {
                // A deletion may have come between.
                if self.topics.values().any(|(id, _)| id == topic) {
                    let kept = partitions.iter().all(|partition| self.kept.contains(&(*topic, *partition)));
                    assert!(kept, "seed {}: {name} shares in what nobody keeps", self.seed);
                }
            }
        }
    }

    fn group(&self) -> Option<&ShareGroup> {
        match self.fixture.state().groups.get("g") {
            Some(Group::Share(group)) => Some(group),
            _ => None,
        }
    }

    fn check(&mut self) {
        let Some(group) = self.group() else { return };
        let seed = self.seed;
        assert!(group.epoch >= self.epoch, "seed {seed}: the epoch goes back");
        assert!(group.target_metadata.epoch <= group.epoch, "seed {seed}: the target is ahead");
        for (id, member) in &group.members {
            assert!(member.epoch <= group.epoch, "seed {seed}: {id} is ahead of its group");
            assert!(member.previous_epoch < member.epoch || member.epoch == 0, "seed {seed}: {member:?}");
        }
        for member in group.target.keys() {
            assert!(group.members.contains_key(member), "seed {seed}: {member} is gone and has a target");
        }
        let mut sharers: BTreeMap<Uuid, BTreeMap<i32, usize>> = BTreeMap::new();
        for (topic, partitions) in group.target.values().flatten() {
            for partition in partitions {
                *sharers.entry(*topic).or_default().entry(*partition).or_default() += 1;
            }
        }
        assert_eq!(group.sharers, sharers, "seed {seed}: the derived count is wrong");
        self.epoch = group.epoch;
    }

    /// No more accidents: everybody reports often enough, the share coordinator answers, everything is committed.
    fn calm_down(&mut self) {
        for _ in 0..30 {
            self.fixture.commit();
            self.listen();
            let names: Vec<&str> = self.members.keys().copied().collect();
            for name in names {
                if self.members.get(name).is_some_and(|member| member.asked.is_none()) {
                    self.report(name);
                }
                self.fixture.commit();
                self.listen();
            }
            for told in std::mem::take(&mut self.pending) {
                self.keep(&told);
                self.fixture.send(keeps(told, ErrorCode::None));
            }
            self.fixture.seconds(4);
        }
        self.fixture.commit();
        self.listen();
    }

    fn converged(&self) {
        let seed = self.seed;
        let Some(group) = self.group() else {
            assert!(self.members.is_empty(), "seed {seed}: members of no group");
            return;
        };
        let known: Vec<&Str> = group.members.keys().collect();
        assert_eq!(known, self.members.keys().collect::<Vec<_>>(), "seed {seed}: not who there is");
        let mut owned: BTreeSet<(Uuid, i32)> = BTreeSet::new();
        for (name, member) in &self.members {
            assert_eq!(member.epoch, group.epoch, "seed {seed}: {name} is behind");
            for (topic, partitions) in &member.owns {
                let wants =
                    member.wants.iter().any(|name| self.topics.get(name).is_some_and(|it| it.0 == *topic));
                assert!(wants, "seed {seed}: {name} has what it does not want");
                owned.extend(partitions.iter().map(|partition| (*topic, *partition)));
            }
        }
        for member in self.members.values() {
            for (topic, partitions) in member.wants.iter().filter_map(|name| self.topics.get(name)) {
                for partition in 0..*partitions {
                    assert!(
                        owned.contains(&(*topic, partition)),
                        "seed {seed}: nobody has {topic} {partition}"
                    );
                }
            }
        }
    }
}

#[test]
fn groups_come_to_rest_whatever_happens() {
    for seed in seeds(150, 2_500) {
        let mut run = Run::new(seed);
        for _ in 0..400 {
            run.step();
        }
        run.calm_down();
        run.converged();
    }
}

#[test]
fn a_seed_run_twice_is_the_same() {
    let log = |seed| {
        let mut run = Run::new(seed);
        (0..300).for_each(|_| run.step());
        run.fixture.written()
    };
    assert_eq!(log(5), log(5));
    assert_ne!(log(5), log(6));
}
