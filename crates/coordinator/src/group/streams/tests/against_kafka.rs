//! What Apache Kafka 4.4.0's own classes say to the same questions: `CurrentAssignmentBuilder`, `InternalTopicManager`
//! and `StickyTaskAssignor`, asked at random.
//!
//! The first two must agree to the letter. The assignor leaves ties to the order of a hash map; there, the assignment
//! must be as even and as sticky as Kafka's.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_metadata::Image;
use ottla_wire::records::group::{
    CopartitionGroup, StreamsGroupTopologyTopicInfo, StreamsGroupTopologyValue, Subtopology,
};
use ottla_wire::records::metadata::{MetadataRecord, PartitionRecord, TopicRecord};

use crate::group::streams::configured::Configured;
use crate::group::streams::member::{Member, MemberState};
use crate::group::streams::owners::Owners;
use crate::group::streams::reconcile::Step;
use crate::group::streams::sticky::Assignor;
use crate::group::streams::tasks::{EpochedTasks, HeldTasks, TaskSet, Tasks};
use crate::group::streams::topology::Topology;

const RECONCILE: &str = include_str!("../testdata/reconcile.txt");
const STICKY: &str = include_str!("../testdata/sticky.txt");
const TOPICS: &str = include_str!("../testdata/topics.txt");

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text} is not a number"))
}

/// `0:1,2 1:3`.
pub(super) fn set(text: &str) -> TaskSet {
    let parts = text.split(' ').filter(|part| !part.is_empty() && *part != "-");
    let parts = parts.map(|part| {
        let (id, partitions) = part.split_once(':').expect("an id");
        (Str::from(id), partitions.split(',').map(number).collect())
    });
    parts.collect()
}

/// `0:1@5,2@6`.
pub(super) fn epoched(text: &str) -> EpochedTasks {
    let parts = text.split(' ').filter(|part| !part.is_empty());
    let parts = parts.map(|part| {
        let (id, partitions) = part.split_once(':').expect("an id");
        let partitions = partitions.split(',').map(|it| it.split_once('@').expect("an epoch"));
        (Str::from(id), partitions.map(|(partition, epoch)| (number(partition), number(epoch))).collect())
    });
    parts.collect()
}

fn tasks(text: &str) -> Tasks {
    let roles: Vec<&str> = text.split(';').collect();
    Tasks { active: set(roles[0]), standby: set(roles[1]), warmup: set(roles[2]) }
}

fn held(text: &str) -> HeldTasks {
    let roles: Vec<&str> = text.split(';').collect();
    HeldTasks { active: epoched(roles[0]), standby: set(roles[1]), warmup: set(roles[2]) }
}

fn state(text: &str) -> MemberState {
    match text {
        "1" => MemberState::Stable,
        "2" => MemberState::UnrevokedTasks,
        "3" => MemberState::UnreleasedTasks,
        _ => MemberState::Unknown,
    }
}

/// `0:1=p1 0:2=p1+p2`, role by role: for each process, a member that has just that.
fn owners(text: &str) -> Owners {
    let mut owners = Owners::default();
    for (role, entries) in text.split(';').enumerate() {
        for entry in entries.split(' ').filter(|entry| !entry.is_empty()) {
            let (task, processes) = entry.split_once('=').expect("processes");
            for process in processes.split('+') {
                let mut member = Member { process_id: process.into(), ..Member::new() };
                match role {
                    0 => member.assigned.active = epoched(&format!("{task}@1")),
                    1 => member.assigned.standby = set(task),
                    _ => member.assigned.warmup = set(task),
                }
                owners.add(&member);
            }
        }
    }
    owners
}

#[test]
fn members_take_the_steps_that_kafka_takes() {
    for line in RECONCILE.lines() {
        let fields: Vec<&str> = line.split('|').collect();
        let member = Member {
            epoch: number(fields[1]),
            previous_epoch: number::<i32>(fields[1]) - 1,
            state: state(fields[0]),
            process_id: "p1".into(),
            assigned: held(fields[2]),
            revoking: held(fields[3]),
            ..Member::new()
        };
        let (target, owned) = (tasks(fields[5]), (fields[6] != "-").then(|| tasks(fields[6])));
        let owners = owners(fields[7]);
        let epoch = number(fields[4]);
        let step = Step { member: &member, epoch, target: &target, owned: owned.as_ref(), owners: &owners };
        let next = step.next();
        if fields[8] == "fenced" {
            assert_eq!(next.map_err(|it| it.code), Err(ErrorCode::FencedMemberEpoch), "{line}");
            continue;
        }
        let expected = Member {
            epoch: number(fields[9]),
            previous_epoch: number(fields[10]),
            state: state(fields[8]),
            assigned: held(fields[11]),
            revoking: held(fields[12]),
            ..member.clone()
        };
        assert_eq!(next, Ok(expected), "{line}");
    }
}

/// `a=3 c=2`.
pub(super) fn image(text: &str) -> Image {
    let mut image = Image::default();
    for (at, entry) in text.split(' ').filter(|entry| !entry.is_empty()).enumerate() {
        let (name, partitions) = entry.split_once('=').expect("a count");
        let topic_id = Uuid::from_number((1 << 64) + at as u128);
        let topic = TopicRecord { name: name.into(), topic_id, ..Default::default() };
        image.apply(&MetadataRecord::TopicRecord(topic)).expect("a possible record");
        for partition_id in 0..number(partitions) {
            let partition = PartitionRecord {
                partition_id,
                topic_id,
                replicas: vec![1],
                isr: vec![1],
                leader: 1,
                directories: vec![Uuid::from_number(1 << 80)],
                ..Default::default()
            };
            image.apply(&MetadataRecord::PartitionRecord(partition)).expect("a possible record");
        }
    }
    image
}

fn names(text: &str) -> Vec<Str> {
    text.split(',').filter(|name| *name != "-").map(Str::from).collect()
}

/// `0 a,b r1=0 r2 c0 0+1/0`: sources, repartition sources, sinks, changelogs, copartition groups.
pub(super) fn part(text: &str) -> Subtopology {
    let fields: Vec<&str> = text.split(' ').collect();
    let info = |text: &Str| {
        let (name, partitions) = text.split_once('=').unwrap_or((text, "0"));
        StreamsGroupTopologyTopicInfo {
            name: name.into(),
            partitions: number(partitions),
            ..Default::default()
        }
    };
    let places = |text: &str| text.split('+').filter(|it| !it.is_empty()).map(number).collect();
    let groups = fields[5].split(',').filter(|group| *group != "-").map(|group| {
        let (external, internal) = group.split_once('/').expect("two sides");
        CopartitionGroup {
            source_topics: places(external),
            repartition_source_topics: places(internal),
            ..Default::default()
        }
    });
    Subtopology {
        subtopology_id: fields[0].into(),
        source_topics: names(fields[1]),
        repartition_source_topics: names(fields[2]).iter().map(info).collect(),
        repartition_sink_topics: names(fields[3]),
        state_changelog_topics: names(fields[4]).iter().map(info).collect(),
        copartition_groups: groups.collect(),
        ..Default::default()
    }
}

#[test]
fn topics_are_configured_as_kafka_configures_them() {
    for line in TOPICS.lines() {
        let fields: Vec<&str> = line.split('|').collect();
        let subtopologies = fields[1].split(';').map(part).collect();
        let value = StreamsGroupTopologyValue { subtopologies, ..Default::default() };
        let configured = Configured::new(&Topology::from_record(&value), &image(fields[0]));
        let told = match configured {
            Err(refusal) => {
                assert_eq!(refusal.code, ErrorCode::StreamsInvalidTopology);
                "invalid".to_owned()
            }
            Ok(configured) => {
                let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
                let status = configured.obstacle.as_ref().map(|it| it.told().status_code.to_string());
                let tasks = configured.parts.iter().map(|(id, part)| format!("{id}={}", part.tasks));
                let missing = configured.missing.iter();
                let missing = missing.map(|topic| format!("{}={}", topic.name, topic.num_partitions));
                let (tasks, missing): (Vec<String>, Vec<String>) = (tasks.collect(), missing.collect());
                let status = or_dash(status.unwrap_or_default());
                format!("{status} {} {}", or_dash(tasks.join(",")), or_dash(missing.join(",")))
            }
        };
        assert_eq!(told, fields[2], "{line}");
    }
}

/// How even and how sticky an assignment is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Quality {
    active_counts: Vec<usize>,
    task_counts: Vec<usize>,
    kept_active: usize,
    standbys: usize,
}

fn count(tasks: &TaskSet) -> usize {
    tasks.values().map(BTreeSet::len).sum()
}

fn quality(members: &BTreeMap<Str, Member>, assigned: &BTreeMap<Str, Tasks>) -> Quality {
    let mut quality = Quality::default();
    let mut seen: BTreeSet<(&Str, i32)> = BTreeSet::new();
    let mut of_process: BTreeSet<(&Str, &Str, i32)> = BTreeSet::new();
    for (id, tasks) in assigned {
        let member = &members[id];
        let had = |subtopology: &Str, partition: i32| {
            member.assigned.active.get(subtopology).is_some_and(|it| it.contains_key(&partition))
        };
        quality.active_counts.push(count(&tasks.active));
        quality.task_counts.push(count(&tasks.active) + count(&tasks.standby));
        quality.standbys += count(&tasks.standby);
        for (subtopology, partitions) in &tasks.active {
            for partition in partitions {
                assert!(seen.insert((subtopology, *partition)), "assigned twice");
                quality.kept_active += usize::from(had(subtopology, *partition));
            }
        }
        for (subtopology, partitions) in tasks.active.iter().chain(&tasks.standby) {
            for partition in partitions {
                let is_new = of_process.insert((&member.process_id, subtopology, *partition));
                assert!(is_new, "a process has {subtopology}_{partition} twice");
            }
        }
        assert!(tasks.warmup.is_empty());
    }
    quality.active_counts.sort_unstable();
    quality.task_counts.sort_unstable();
    quality
}

#[test]
fn assignments_are_as_good_as_kafkas() {
    let (mut same, mut all) = (0, 0);
    for line in STICKY.lines() {
        let fields: Vec<&str> = line.split('|').collect();
        let (mut sizes, mut subtopologies) = (Vec::new(), Vec::new());
        for entry in fields[0].split(' ') {
            let (id, size) = entry.split_once('=').expect("a size");
            let changelogs = if size.ends_with('s') { format!("c{id}") } else { "-".to_owned() };
            sizes.push(format!("t{id}={}", size.trim_end_matches('s')));
            if size.ends_with('s') {
                sizes.push(format!("c{id}={}", size.trim_end_matches('s')));
            }
            subtopologies.push(part(&format!("{id} t{id} - - {changelogs} -")));
        }
        let value = StreamsGroupTopologyValue { subtopologies, ..Default::default() };
        let configured = Configured::new(&Topology::from_record(&value), &image(&sizes.join(" ")));
        let configured = configured.expect("a possible topology");
        assert!(configured.is_ready(), "{line}");
        let members: BTreeMap<Str, Member> = fields[2].split(';').map(member).collect();
        let by_id: BTreeMap<&Str, &Member> = members.iter().collect();
        let offsets = BTreeMap::new();
        let standbys = number(fields[1]);
        let assignor = Assignor { parts: &configured.parts, members: &by_id, offsets: &offsets, standbys };
        let assigned = assignor.assign();
        let of_kafka: BTreeMap<Str, Tasks> = fields[3].split(';').map(assignment).collect();
        let (ours, theirs) = (quality(&members, &assigned), quality(&members, &of_kafka));
        let spread = |counts: &[usize]| counts.last().unwrap_or(&0) - counts.first().unwrap_or(&0);
        let evenness = |it: &Quality| [spread(&it.active_counts), spread(&it.task_counts)];
        let ([active, tasks], [their_active, their_tasks]) = (evenness(&ours), evenness(&theirs));
        let context = || format!("{line}\n{ours:?}\n{theirs:?}");
        assert!(active <= their_active && tasks <= their_tasks, "less even: {}", context());
        let is_as_sticky = ours.kept_active >= theirs.kept_active || active < their_active;
        assert!(is_as_sticky && ours.standbys == theirs.standbys, "less sticky: {}", context());
        (same, all) = (same + usize::from(ours == theirs), all + 1);
    }
    // The rest are ties that went the other way.
    assert!(same * 100 >= all * 95, "only {same} of {all} assignments are just as good");
}

/// `m0 p0 0:1/1:2 0:3`: id, process, active tasks, standbys.
fn member(text: &str) -> (Str, Member) {
    let fields: Vec<&str> = text.split(' ').collect();
    let active = set(&fields[2].replace('/', " "));
    let active = active.into_iter().map(|(id, it)| (id, it.into_iter().map(|it| (it, 1)).collect()));
    let held = HeldTasks {
        active: active.collect(),
        standby: set(&fields[3].replace('/', " ")),
        warmup: TaskSet::new(),
    };
    (fields[0].into(), Member { process_id: fields[1].into(), assigned: held, ..Member::new() })
}

/// `m0 0:1/1:2 0:3`: id, active tasks, standbys.
fn assignment(text: &str) -> (Str, Tasks) {
    let fields: Vec<&str> = text.split(' ').collect();
    let [active, standby] = [fields[1], fields[2]].map(|tasks| set(&tasks.replace('/', " ")));
    (fields[0].into(), Tasks { active, standby, warmup: TaskSet::new() })
}
