//! What waits while tasks warm up where they are to be, and that nothing waits in vain.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Str;
use ottla_machine::Entropy;
use ottla_wire::records::group::StreamsGroupTopologyValue;

use super::against_kafka::{epoched, image, part, set};
use crate::group::streams::configured::Configured;
use crate::group::streams::live::TaskOffsets;
use crate::group::streams::member::Member;
use crate::group::streams::refine::{Refined, Refiner};
use crate::group::streams::request::LEAVES_FOR_A_WHILE;
use crate::group::streams::sticky::Assignor;
use crate::group::streams::tasks::{EpochedTasks, HeldTasks, Tasks, each, insert};
use crate::group::streams::topology::Topology;
use crate::seeds::{draws, seeds};

const TASKS: i32 = 8;

/// A group whose subtopology `0` has state and whose subtopology `1` has none.
struct Group {
    configured: Configured,
    members: BTreeMap<Str, Member>,
    offsets: BTreeMap<Str, TaskOffsets>,
    mute: BTreeSet<Str>,
    warmups: usize,
}

impl Group {
    /// Members by id, process, active tasks, standbys and warm-ups: `one p1 0:0,1/1:0 0:2 -`.
    fn new(members: &[&str]) -> Group {
        let subtopologies = vec![part("0 a - - c -"), part("1 b - - - -")];
        let value = StreamsGroupTopologyValue { subtopologies, ..Default::default() };
        let topics = image(&format!("a={TASKS} b={TASKS} c={TASKS}"));
        let configured =
            Configured::new(&Topology::from_record(&value), &topics).expect("a possible topology");
        assert!(configured.is_ready());
        let members = members.iter().map(|text| {
            let fields: Vec<&str> = text.split(' ').collect();
            let held = HeldTasks {
                active: epoched(&roles(fields[2])),
                standby: set(&plain(fields[3])),
                warmup: set(&plain(fields[4])),
            };
            let member = Member { process_id: fields[1].into(), assigned: held, ..Member::new() };
            (Str::from(fields[0]), member)
        });
        let (members, offsets, mute) = (members.collect(), BTreeMap::new(), BTreeSet::new());
        Group { configured, members, offsets, mute, warmups: 2 }
    }

    /// Which active tasks of a member it still has to give up.
    fn gives_up(mut self, id: &str, tasks: &str) -> Group {
        self.members.get_mut(id).expect("a member").revoking.active = epoched(&roles(tasks));
        self
    }

    /// How far a member is with tasks of subtopology `0`: `3@5/9` is at 5 of 9, `3@5` does not know the end.
    fn tells(mut self, id: &str, offsets: &str) -> Group {
        let mut told = TaskOffsets::default();
        for offset in offsets.split(' ') {
            let (partition, offset) = offset.split_once('@').expect("an offset");
            let (position, end) = offset.split_once('/').map_or((offset, None), |(at, end)| (at, Some(end)));
            let number = |text: &str| text.parse::<i64>().expect("a number");
            let partition = number(partition) as i32;
            told.positions.entry("0".into()).or_default().insert(partition, number(position));
            if let Some(end) = end {
                told.ends.entry("0".into()).or_default().insert(partition, number(end));
            }
        }
        self.offsets.insert(id.into(), told);
        self
    }

    fn with_warmups(mut self, warmups: usize) -> Group {
        self.warmups = warmups;
        self
    }

    fn refine(&self, target: &BTreeMap<Str, Tasks>) -> Refined {
        let refiner = Refiner {
            parts: &self.configured.parts,
            members: &self.members.iter().collect(),
            offsets: &self.offsets,
            mute: &self.mute,
            warmups: self.warmups,
            acceptable_lag: 10,
        };
        refiner.refine(&target.iter().collect())
    }

    /// Members as they come to have what is `target`, role by role.
    fn check(&self, target: &[&str], expected: &[&str]) {
        let refined = self.refine(&assignment(target));
        let told: Vec<String> =
            refined.tasks.iter().map(|(id, tasks)| format!("{id} {}", shown(tasks))).collect();
        assert_eq!(told, expected);
        assert_eq!(
            refined.waits,
            assignment(target).iter().any(|(id, it)| it.active != refined.tasks[id].active)
        );
    }

    /// The members have what they are to have, and say no more of what they do not have.
    fn take(&mut self, refined: Refined) {
        for (id, tasks) in refined.tasks {
            let member = self.members.get_mut(&id).expect("a member");
            let active =
                tasks.active.into_iter().map(|(id, it)| (id, it.into_iter().map(|it| (it, 1)).collect()));
            member.assigned =
                HeldTasks { active: active.collect(), standby: tasks.standby, warmup: tasks.warmup };
            member.revoking = HeldTasks::default();
        }
    }
}

/// `0:0,1/1:2` with epochs.
fn roles(text: &str) -> String {
    let parts = text.split('/').filter(|part| *part != "-").map(|part| {
        let (id, partitions) = part.split_once(':').expect("an id");
        let partitions: Vec<String> = partitions.split(',').map(|it| format!("{it}@1")).collect();
        format!("{id}:{}", partitions.join(","))
    });
    parts.collect::<Vec<String>>().join(" ")
}

fn plain(text: &str) -> String {
    text.replace('/', " ")
}

fn assignment(members: &[&str]) -> BTreeMap<Str, Tasks> {
    let members = members.iter().map(|text| {
        let fields: Vec<&str> = text.split(' ').collect();
        let role = |at: usize| set(&plain(fields.get(at).copied().unwrap_or("-")));
        (Str::from(fields[0]), Tasks { active: role(1), standby: role(2), warmup: role(3) })
    });
    members.collect()
}

fn shown(tasks: &Tasks) -> String {
    let roles = [&tasks.active, &tasks.standby, &tasks.warmup].map(|tasks| {
        let parts = tasks.iter().map(|(id, partitions)| {
            let partitions: Vec<String> = partitions.iter().map(i32::to_string).collect();
            format!("{id}:{}", partitions.join(","))
        });
        let text = parts.collect::<Vec<String>>().join("/");
        if text.is_empty() { "-".to_owned() } else { text }
    });
    roles.join(" ")
}

#[test]
fn tasks_stay_where_they_are_processed_until_they_are_warm() {
    let start = ["one p1 0:0,1,2,3/1:0,1 - -", "two p2 - - -"];
    let target = ["one 0:0/1:0", "two 0:1,2,3/1:1"];
    // What has no state moves at once; two of the three others may warm up.
    let group = Group::new(&start);
    group.check(&target, &["one 0:0,1,2,3/1:0 - -", "two 1:1 - 0:1,2"]);
    // With none nothing waits; with more all warm up.
    group.with_warmups(0).check(&target, &["one 0:0/1:0 - -", "two 0:1,2,3/1:1 - -"]);
    let many = Group::new(&start).with_warmups(20);
    many.check(&target, &["one 0:0,1,2,3/1:0 - -", "two 1:1 - 0:1,2,3"]);
    // What has caught up moves, and the next one warms up in its place. At 11 behind it has not caught up.
    let held = ["one p1 0:0,1,2,3/1:0 - -", "two p2 1:1 - 0:1,2"];
    Group::new(&held).check(&target, &["one 0:0,1,2,3/1:0 - -", "two 1:1 - 0:1,2"]);
    let group = Group::new(&held).tells("two", "1@89/100 2@90/100");
    group.check(&target, &["one 0:0,1,3/1:0 - -", "two 0:2/1:1 - 0:1,3"]);
    assert!(group.refine(&assignment(&target)).has_warmed);
    // Ends that are not known, and offsets that are none, say nothing.
    for offsets in ["1@100", "1@9223372036854775807/100", "1@100/9223372036854775807", "1@-4/5"] {
        let group = Group::new(&held).tells("two", offsets);
        group.check(&target, &["one 0:0,1,2,3/1:0 - -", "two 1:1 - 0:1,2"]);
        assert!(!group.refine(&assignment(&target)).has_warmed);
    }
}

#[test]
fn whoever_warms_up_already_goes_on_and_many_share_what_may_warm_up() {
    let held = ["one p1 0:0,1,2,3,4,5 - -", "three p3 - - -", "two p2 - - 0:5"];
    let target = ["one 0:0,1", "three 0:2,3", "two 0:4,5"];
    Group::new(&held).check(&target, &["one 0:0,1,2,3,4,5 - -", "three - - 0:2", "two - - 0:5"]);
    let group = Group::new(&held).with_warmups(1);
    group.check(&target, &["one 0:0,1,2,3,4,5 - -", "three - - -", "two - - 0:5"]);
    // A standby that is there is as good, and does not count.
    let held = ["one p1 0:0,1,2 - -", "two p2 - 0:1 -"];
    let group = Group::new(&held).with_warmups(1);
    group.check(&["one 0:0 0:1", "two 0:1,2"], &["one 0:0,1,2 - -", "two - 0:1 0:2"]);
    let group = Group::new(&held).with_warmups(1).tells("two", "1@95/100");
    group.check(&["one 0:0 0:1", "two 0:1,2"], &["one 0:0,2 0:1 -", "two 0:1 - 0:2"]);
}

#[test]
fn tasks_whose_state_is_there_move_at_once() {
    let target = ["one 0:0", "two 0:1"];
    let moved = ["one 0:0 - -", "two 0:1 - -"];
    // Threads of one process share a directory.
    Group::new(&["one p1 0:0,1 - -", "two p1 - - -"]).check(&target, &moved);
    // So do they what a sibling has, or what is on the disk; somebody must know the end.
    Group::new(&["one p1 0:0,1 - -", "sib p2 - - -", "two p2 - - -"])
        .tells("sib", "1@97/100")
        .check(&["one 0:0", "sib -", "two 0:1"], &["one 0:0 - -", "sib - - -", "two 0:1 - -"]);
    let group = Group::new(&["one p1 0:0,1 - -", "two p2 - - -"]).tells("two", "1@97");
    group.check(&target, &["one 0:0,1 - -", "two - - 0:1"]);
    Group::new(&["one p1 0:0,1 - -", "sib p3 - 0:1 -", "two p2 - - -"])
        .tells("two", "1@97")
        .tells("sib", "1@50/100")
        .check(&["one 0:0", "sib - 0:1", "two 0:1"], &["one 0:0 - -", "sib - 0:1 -", "two 0:1 - -"]);
    // Whoever cannot tell how far it is does not keep others waiting.
    let mut group = Group::new(&["one p1 0:0,1 - -", "two p2 - - -"]);
    group.mute.insert("two".into());
    group.check(&target, &moved);
}

#[test]
fn tasks_that_nobody_processes_go_to_whoever_is_furthest() {
    // New tasks, and those of a member that is gone.
    Group::new(&["one p1 - - -", "two p2 - - -"])
        .check(&["one 0:0", "two 0:1"], &["one 0:0 - -", "two 0:1 - -"]);
    // A caught-up standby takes over while the task warms up where it is to be; the idler one of two.
    let held = ["three p3 - 0:1 -", "two p2 0:2 0:1 -", "zero p0 - - -"];
    let target = ["three -", "two 0:2", "zero 0:1"];
    let group = Group::new(&held).tells("three", "1@95/100").tells("two", "1@99/100");
    group.check(&target, &["three 0:1 - -", "two 0:2 - -", "zero - - 0:1"]);
    // It has it then, and the task moves when it is warm.
    let held = ["three p3 0:1 - -", "two p2 0:2 - -", "zero p0 - - 0:1"];
    Group::new(&held).check(&target, &["three 0:1 - -", "two 0:2 - -", "zero - - 0:1"]);
    let group = Group::new(&held).tells("zero", "1@95/100");
    group.check(&target, &["three - - -", "two 0:2 - -", "zero 0:1 - -"]);
    // A standby that is far behind is no better, and one that is away processes nothing.
    let held = ["three p3 - 0:1 -", "zero p0 - - -"];
    let target = ["three - 0:1", "zero 0:1"];
    let group = Group::new(&held).tells("three", "1@5/100");
    group.check(&target, &["three - 0:1 -", "zero 0:1 - -"]);
    let mut group = Group::new(&held).tells("three", "1@95/100");
    group.check(&target, &["three 0:1 - -", "zero - - 0:1"]);
    group.members.get_mut("three").expect("a member").epoch = LEAVES_FOR_A_WHILE;
    group.check(&target, &["three - 0:1 -", "zero 0:1 - -"]);
}

#[test]
fn an_owner_that_still_restores_keeps_nobody_waiting() {
    let held = ["one p1 0:0,1 - -", "two p2 - - -"];
    let target = ["one 0:0", "two 0:1"];
    Group::new(&held).tells("one", "1@5/100").check(&target, &["one 0:0 - -", "two 0:1 - -"]);
    // With half of it, it is nearly there, or was when it told of it.
    for offsets in ["1@50/100", "1@95/100"] {
        Group::new(&held).tells("one", offsets).check(&target, &["one 0:0,1 - -", "two - - 0:1"]);
    }
    // What it has on its disk says nothing of what it processes.
    Group::new(&held).tells("one", "1@5").check(&target, &["one 0:0,1 - -", "two - - 0:1"]);
}

#[test]
fn a_task_on_its_way_arrives() {
    let held = ["one p1 0:0 - -", "two p2 - - 0:1"];
    let target = ["one 0:0", "two 0:1"];
    let group = || Group::new(&held).gives_up("one", "0:1");
    // The coordinator has forgotten that two had caught up.
    group().check(&target, &["one 0:0 - -", "two 0:1 - -"]);
    group().tells("two", "1@95/100").check(&target, &["one 0:0 - -", "two 0:1 - -"]);
    // It is to be somebody else's now, who has nothing of it: whoever gives it up keeps it.
    let held = ["one p1 0:0 - -", "three p3 - - -", "two p2 - - -"];
    let target = ["one 0:0", "three 0:1", "two -"];
    let group = Group::new(&held).gives_up("one", "0:1");
    group.check(&target, &["one 0:0,1 - -", "three - - 0:1", "two - - -"]);
}

/// Draws groups and targets at random and follows them until nothing waits any more.
#[test]
fn nothing_waits_in_vain_and_nothing_is_lost() {
    for seed in seeds(200, 40_000) {
        let mut draws = draws(seed);
        let mut group = drawn(&mut draws);
        let target = {
            let members = group.members.iter().collect();
            let (parts, standbys) = (&group.configured.parts, draws.below(3));
            Assignor { parts, members: &members, offsets: &group.offsets, standbys }.assign()
        };
        for round in 0..100 {
            let refined = group.refine(&target);
            check(&group, &target, &refined, &format!("seed {seed}, round {round}"));
            let is_over = !refined.waits;
            assert!(!is_over || refined.tasks == target, "seed {seed}: the target is not reached");
            group.take(refined);
            assert!(group.refine(&target).tasks.len() == target.len());
            if is_over {
                break;
            }
            assert!(round < 99, "seed {seed} waits for ever");
            progress(&mut group, &mut draws, round);
        }
    }
}

/// Members with tasks at random, each task active at most once and once in a process.
fn drawn(draws: &mut Entropy) -> Group {
    let mut group = Group::new(&[]).with_warmups(draws.below(5));
    let (processes, threads) = (1 + draws.below(4), 1 + draws.below(6));
    for at in 0..threads {
        let process = Str::from(format!("p{}", at % processes));
        group.members.insert(format!("m{at}").into(), Member { process_id: process, ..Member::new() });
    }
    let ids: Vec<Str> = group.members.keys().cloned().collect();
    for subtopology in ["0", "1"] {
        for partition in 0..TASKS {
            let mut free = ids.clone();
            let owner = draws.below(free.len() + 1);
            for at in 0..3 {
                if free.is_empty() || (at == 0 && owner == free.len()) {
                    continue;
                }
                let id = free.swap_remove(if at == 0 { owner } else { draws.below(free.len()) });
                let process = group.members[&id].process_id.clone();
                free.retain(|other| group.members[other].process_id != process);
                let member = group.members.get_mut(&id).expect("a member");
                let subtopology = Str::from(subtopology);
                match (at, draws.below(4)) {
                    (0, 0) => give(&mut member.revoking.active, subtopology, partition),
                    (0, _) => give(&mut member.assigned.active, subtopology, partition),
                    (1, 0) => insert(&mut member.assigned.standby, &subtopology, partition),
                    (2, 0) => insert(&mut member.assigned.warmup, &subtopology, partition),
                    _ => {}
                }
            }
        }
    }
    for id in ids {
        if draws.below(4) == 0 {
            group.mute.insert(id.clone());
        } else if draws.below(2) == 0 {
            let mut told = TaskOffsets::default();
            for partition in 0..TASKS {
                let end = 100 + draws.below(3) as i64;
                if draws.below(2) == 0 {
                    told.positions.entry("0".into()).or_default().insert(partition, draws.below(104) as i64);
                }
                if draws.below(2) == 0 {
                    told.ends.entry("0".into()).or_default().insert(partition, end);
                }
            }
            group.offsets.insert(id, told);
        }
    }
    group
}

fn give(tasks: &mut EpochedTasks, subtopology: Str, partition: i32) {
    tasks.entry(subtopology).or_default().insert(partition, 1);
}

/// Members tell: what they process they do not mention, and copies are further than before, in the end far enough.
fn progress(group: &mut Group, draws: &mut Entropy, round: i64) {
    for (id, member) in &group.members {
        if group.mute.contains(id) || draws.below(3) == 0 {
            continue;
        }
        let mut told = TaskOffsets::default();
        for (subtopology, partition) in each(&member.assigned.copies()) {
            let position = 60 + draws.below(20) as i64 + round;
            told.positions.entry(subtopology.clone()).or_default().insert(partition, position.min(100));
            told.ends.entry(subtopology.clone()).or_default().insert(partition, 100);
        }
        group.offsets.insert(id.clone(), told);
    }
}

fn check(group: &Group, target: &BTreeMap<Str, Tasks>, refined: &Refined, context: &str) {
    let owner = |tasks: &BTreeMap<Str, Tasks>| {
        let mut owners: BTreeMap<(Str, i32), Str> = BTreeMap::new();
        for (id, tasks) in tasks {
            for (subtopology, partition) in each(&tasks.active) {
                let other = owners.insert((subtopology.clone(), partition), id.clone());
                assert_eq!(other, None, "{context}: {subtopology}_{partition} is active twice");
            }
        }
        owners
    };
    let (wanted, now) = (owner(target), owner(&refined.tasks));
    assert!(wanted.keys().eq(now.keys()), "{context}: not every task is assigned");
    let warmups: usize = refined.tasks.values().map(|tasks| each(&tasks.warmup).count()).sum();
    assert!(warmups <= group.warmups, "{context}: {warmups} warm-ups");
    let process = |id: &Str| &group.members[id].process_id;
    let mut in_process = BTreeSet::new();
    for (id, tasks) in &refined.tasks {
        for task in each(&tasks.active).chain(each(&tasks.standby)).chain(each(&tasks.warmup)) {
            assert!(in_process.insert((process(id), task)), "{context}: {task:?} twice in {}", process(id));
        }
    }
    for ((subtopology, partition), id) in &now {
        let has_it = |member: &Member| {
            member.assigned.active.get(subtopology).is_some_and(|it| it.contains_key(partition))
        };
        let Some((before, _)) = group.members.iter().find(|(_, member)| has_it(member)) else { continue };
        let heir = &wanted[&(subtopology.clone(), *partition)];
        let lag = |id: &Str, end: Option<i64>| {
            let told = group.offsets.get(id)?;
            let of = |offsets: &BTreeMap<Str, BTreeMap<i32, i64>>| {
                offsets.get(subtopology)?.get(partition).copied()
            };
            Some(of(&told.ends).or(end)? - of(&told.positions)?)
        };
        let known_end =
            group.offsets.values().filter_map(|it| it.ends.get(subtopology)?.get(partition).copied()).max();
        let is_warm = |id: &Str| lag(id, known_end).is_some_and(|lag| lag <= 10);
        let told = |offsets: &TaskOffsets| offsets.positions.get(subtopology)?.get(partition).copied();
        let position = group.offsets.get(before).and_then(told).unwrap_or_default();
        let processes = lag(before, None).is_none_or(|lag| lag <= position.max(10));
        let may_move = group.warmups == 0
            || subtopology == "1"
            || !processes
            || group.mute.contains(heir)
            || process(heir) == process(before)
            || group.members.keys().any(|it| process(it) == process(heir) && is_warm(it));
        let is_right = if may_move { id == heir || !processes } else { id == before };
        assert!(is_right, "{context}: {subtopology}_{partition} went from {before} to {id}, not {heir}");
    }
}
