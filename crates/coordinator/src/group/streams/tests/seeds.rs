//! Random members that come, report, fall silent and go, topics that grow and vanish, settings that change, seats that
//! are lost: after every step nothing is assigned twice and epochs have only risen; in the end every task is assigned,
//! and the log alone gives the same group.

use ottla_machine::Entropy;

use super::*;
use crate::group::streams::member::Member;
use crate::group::streams::request::{JOINS, LEAVES, LEAVES_FOR_A_WHILE};
use crate::seeds::{draws, seeds};

const STEPS: usize = 300;
const THREADS: usize = 7;

/// What the topology needs beside its source.
const INTERNAL: [&str; 2] = ["wordcount-words-repartition", "wordcount-counts-changelog"];

struct Run {
    draws: Entropy,
    fixture: Fixture,
    threads: Vec<Thread>,
    lines: ottla_base::Uuid,
    partitions: i32,
    next_name: usize,
    /// The group's epoch when it was last looked at; 0 if there was none.
    epoch: i32,
    /// Whether answers are held back.
    is_stalled: bool,
    stalled: Vec<(usize, Caller)>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut draws = draws(seed);
        let mut settings = if draws.below(2) == 0 { AT_ONCE.to_vec() } else { Vec::new() };
        settings.push(AVAILABLE[2]);
        let mut fixture = Fixture::with_settings(&settings);
        if draws.below(2) == 0 {
            fixture.configure(GROUP, "streams.assignor.name", "highly_available");
        }
        let partitions = 1 + draws.below(5) as i32;
        let lines = fixture.topic("lines", partitions);
        let threads = (0..THREADS).map(|at| {
            let process = format!("p{}", at % 3);
            match at % 3 {
                0 => Thread::fixed(&format!("m{at}"), &process, &format!("i{at}")),
                _ => Thread::new(&format!("m{at}"), &process),
            }
        });
        let threads = threads.collect();
        let (next_name, epoch, is_stalled, stalled) = (THREADS, 0, false, Vec::new());
        Run { draws, fixture, threads, lines, partitions, next_name, epoch, is_stalled, stalled }
    }

    fn step(&mut self) {
        let at = self.draws.below(THREADS);
        match self.draws.below(40) {
            0..=3 if self.threads[at].epoch == JOINS => self.send(at, |it| it.join(word_count("lines"))),
            0..=20 => self.report(at),
            21 | 22 => self.send(at, Thread::beat),
            23 => self.send(at, |it| it.leave(LEAVES)),
            24 => self.send(at, |it| it.leave(LEAVES_FOR_A_WHILE)),
            25 | 26 => self.let_time_pass(1, 3),
            27 => self.let_time_pass(5, 50),
            28 => self.make_internal_topics(),
            29 => self.grow_source(),
            30 if self.draws.below(6) == 0 => self.renew_source(),
            31 => {
                let count = ["0", "1", "2"][self.draws.below(3)];
                self.fixture.configure(GROUP, "streams.num.standby.replicas", count);
            }
            32 => self.stall(),
            33 => self.lose_seat(),
            34..=36 => self.tell_offsets(at),
            37 => self.restart(at),
            38 if self.draws.below(4) == 0 => {
                let (name, value) = [
                    ("streams.num.warmup.replicas", ["0", "1", "2"][self.draws.below(3)]),
                    ("streams.assignor.name", ["sticky", "highly_available"][self.draws.below(2)]),
                ][self.draws.below(2)];
                self.fixture.configure(GROUP, name, value);
            }
            _ => self.commit(),
        }
        self.check();
    }

    fn report(&mut self, at: usize) {
        if self.threads[at].epoch == JOINS {
            return self.send(at, |it| it.join(word_count("lines")));
        }
        self.send(at, Thread::report);
    }

    /// Sends a heartbeat, unless an earlier one is still to be answered.
    fn send(&mut self, at: usize, request: impl FnOnce(&Thread) -> StreamsGroupHeartbeatRequest) {
        let thread = &self.threads[at];
        if self.stalled.iter().any(|(waiting, _)| *waiting == at) {
            return;
        }
        let request = request(thread);
        if request.member_epoch != JOINS && thread.epoch == JOINS {
            return;
        }
        let asked = StreamsHeartbeat { client: client("app", 1), request };
        let caller = self.fixture.send(Request::StreamsGroupHeartbeat(Box::new(asked)));
        self.stalled.push((at, caller));
        self.hear();
    }

    /// Threads hear the answers that have come.
    fn hear(&mut self) {
        for (at, caller) in std::mem::take(&mut self.stalled) {
            let thread = &mut self.threads[at];
            match self.fixture.reply(caller) {
                None => self.stalled.push((at, caller)),
                Some(Reply::StreamsGroupHeartbeat(answer)) => {
                    let epoch = answer.response.member_epoch;
                    if answer.response.error_code != 0 || epoch < 0 {
                        thread.epoch = JOINS;
                        thread.tasks = Default::default();
                        // A static member that went for a while comes back under another name.
                        if thread.instance.is_some() && epoch == LEAVES_FOR_A_WHILE {
                            thread.id = format!("m{}", self.next_name);
                            self.next_name += 1;
                        }
                    } else {
                        assert!(epoch >= thread.epoch, "{} went back to {epoch}: {thread:?}", thread.id);
                        thread.hear(&answer.response);
                    }
                }
                Some(other) => panic!("{other:?}"),
            }
        }
    }

    fn let_time_pass(&mut self, least: usize, most: usize) {
        let seconds = least + self.draws.below(most - least + 1);
        self.fixture.seconds(seconds as u64);
    }

    fn make_internal_topics(&mut self) {
        for name in INTERNAL {
            if self.fixture.topic_id(name).is_none() {
                self.fixture.topic(name, self.partitions);
            }
        }
    }

    fn grow_source(&mut self) {
        if self.partitions >= 6 {
            return;
        }
        let range = self.partitions..self.partitions + 1;
        self.partitions += 1;
        self.fixture.partitions(self.lines, range.clone());
        for id in INTERNAL.map(|name| self.fixture.topic_id(name)).into_iter().flatten() {
            self.fixture.partitions(id, range.clone());
        }
    }

    fn renew_source(&mut self) {
        self.fixture.delete_topic(self.lines);
        self.lines = self.fixture.topic("lines", self.partitions);
    }

    /// A member tells how far it is with some tasks, be it true or not.
    fn tell_offsets(&mut self, at: usize) {
        let mut positions = BTreeMap::new();
        for _ in 0..4 {
            let position = [0, 50_000, 95_000, 100_000, i64::MAX][self.draws.below(5)];
            positions.insert(self.draws.below(6) as i32, position);
        }
        let positions: Vec<(i32, i64)> = positions.into_iter().collect();
        self.send(at, |it| it.tell("1", &positions));
    }

    /// A member tells that it has caught up with all it has a copy of.
    fn tell_caught_up(&mut self, at: usize) {
        if self.threads[at].epoch == JOINS {
            return self.report(at);
        }
        let [_, standby, warmup] = &self.threads[at].tasks;
        let copies = standby.get("1").into_iter().chain(warmup.get("1")).flatten();
        let positions: Vec<(i32, i64)> = copies.map(|partition| (*partition, 100_000)).collect();
        self.send(at, |it| it.tell("1", &positions));
    }

    /// A process dies without a word and comes back with another member id.
    fn restart(&mut self, at: usize) {
        self.stalled.retain(|(waiting, _)| *waiting != at);
        let thread = &mut self.threads[at];
        if thread.instance.is_none() {
            thread.id = format!("m{}", self.next_name);
            self.next_name += 1;
        }
        thread.epoch = JOINS;
        thread.tasks = Default::default();
    }

    fn stall(&mut self) {
        if !self.is_stalled {
            self.fixture.stop_commits();
            self.is_stalled = true;
        }
    }

    fn commit(&mut self) {
        if self.is_stalled {
            self.fixture.commit();
            self.hear();
        }
    }

    fn lose_seat(&mut self) {
        let left = self.fixture.lose_seat();
        self.stalled.retain(|(_, caller)| !left.contains(caller));
        self.commit();
        self.epoch = 0;
    }

    fn group(&self) -> Option<&StreamsGroup> {
        match self.fixture.state().groups.get(GROUP) {
            Some(Group::Streams(group)) => Some(group),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    fn check(&mut self) {
        let Some(group) = self.group() else { return };
        assert!(group.epoch >= self.epoch, "the group's epoch fell from {} to {}", self.epoch, group.epoch);
        assert!(group.assignment_epoch <= group.epoch);
        let mut runs: BTreeMap<(&str, i32), &str> = BTreeMap::new();
        let mut in_process: BTreeMap<(&str, &str, i32), &str> = BTreeMap::new();
        for (id, member) in &group.members {
            for (subtopology, partition) in active(member) {
                let other = runs.insert((subtopology, partition), id);
                assert!(other.is_none_or(|other| other == id.as_str()), "{subtopology}_{partition} twice");
            }
            for (subtopology, partition) in active(member).chain(copies(member)) {
                let task = (member.process_id.as_str(), subtopology, partition);
                let other = in_process.insert(task, id);
                assert!(other.is_none_or(|other| other == id.as_str()), "{task:?} twice in a process");
            }
        }
        let mut told: BTreeSet<(&str, i32)> = BTreeSet::new();
        let warm = |member: &Member| member.assigned.warmup.values().map(BTreeSet::len).sum::<usize>();
        let warmups: usize = group.members.values().map(warm).sum();
        assert!(group.how().name() != "Stable" || warmups <= 2, "{warmups} warm-ups");
        // Whoever was removed without hearing of it does not count.
        for thread in self.threads.iter().filter(|it| group.members.contains_key(it.id.as_str())) {
            for (subtopology, partitions) in &thread.tasks[0] {
                for partition in partitions {
                    assert!(
                        told.insert((subtopology, *partition)),
                        "two were told {subtopology}_{partition}"
                    );
                }
            }
        }
        self.epoch = group.epoch;
    }

    /// Whether everybody is there and has what is the target.
    fn is_settled(&self) -> bool {
        let has_target = |group: &StreamsGroup| {
            let mut members = group.members.iter();
            members
                .all(|(id, member)| group.target.get(id).is_some_and(|target| target.are(&member.assigned)))
        };
        let is_stable = |it: &StreamsGroup| it.how().name() == "Stable" && it.members.len() == THREADS;
        self.group().is_some_and(|it| is_stable(it) && has_target(it))
    }

    /// Everything is there, everybody reports: the group becomes stable, and every task is somebody's.
    fn settle(&mut self) {
        self.commit();
        self.make_internal_topics();
        self.fixture.configure(GROUP, "streams.num.standby.replicas", "1");
        self.commit();
        for round in 0..60 {
            if round > 20 && self.is_settled() {
                break;
            }
            for at in 0..THREADS {
                self.tell_caught_up(at);
                self.commit();
                self.check();
            }
            self.fixture.seconds(3);
            self.commit();
        }
        let group = self.group().expect("a group");
        assert_eq!((group.how().name(), group.members.len()), ("Stable", THREADS), "{:?}", self.threads);
        let assigned: usize = group.members.values().map(active_count).sum();
        assert_eq!(assigned, 2 * self.partitions as usize, "every task is somebody's");
        let standbys: usize =
            self.threads.iter().flat_map(|it| it.tasks[1].values()).map(BTreeSet::len).sum();
        assert_eq!(standbys, self.partitions as usize, "three processes are enough for a standby of each");
        for thread in &self.threads {
            let member = &group.members[thread.id.as_str()];
            let target = &group.target[thread.id.as_str()];
            assert!(target.are(&member.assigned), "{} has {:?}, not {target:?}", thread.id, member.assigned);
            assert_eq!(thread.tasks[0].values().map(BTreeSet::len).sum::<usize>(), active_count(member));
        }
        let before = format!("{group:?}");
        self.lose_seat();
        assert_eq!(before, format!("{:?}", self.group().expect("a group")), "the log tells everything");
    }
}

fn active(member: &Member) -> impl Iterator<Item = (&str, i32)> {
    let held = member.assigned.active.iter().chain(&member.revoking.active);
    held.flat_map(|(id, partitions)| partitions.keys().map(move |partition| (id.as_str(), *partition)))
}

fn copies(member: &Member) -> impl Iterator<Item = (&str, i32)> {
    let standby = member.assigned.standby.iter().chain(&member.revoking.standby);
    let held = standby.chain(&member.assigned.warmup).chain(&member.revoking.warmup);
    held.flat_map(|(id, partitions)| partitions.iter().map(move |partition| (id.as_str(), *partition)))
}

fn active_count(member: &Member) -> usize {
    member.assigned.active.values().map(BTreeMap::len).sum()
}

#[test]
fn whatever_happens_tasks_are_assigned_once() {
    for seed in seeds(16, 3_334) {
        let mut run = Run::new(seed);
        for step in 0..STEPS {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.step()));
            assert!(outcome.is_ok(), "seed {seed}, step {step}");
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.settle()));
        assert!(outcome.is_ok(), "seed {seed} does not settle");
    }
}
