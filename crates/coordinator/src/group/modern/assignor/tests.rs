//! Assignors against what Apache Kafka 4.4.0's own classes gave for the same groups (`GoldenAssignors.java`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_base::{Str, Uuid};

use super::{Assigned, Assignor, GroupSpec, MemberSpec};
use crate::group::modern::subscriptions::SubscriptionKind;

const GOLDEN: &str = include_str!("../../../testdata/kafka_4.4.0/assignors.txt");

fn id(text: &str) -> Uuid {
    Uuid::from_number(text.parse().expect("a number"))
}

fn list(text: &str, by: char) -> impl Iterator<Item = &str> {
    text.trim_matches(['[', ']']).split(by).filter(|it| !it.is_empty())
}

/// Something to refer to as long as the tests run.
fn kept<T>(it: T) -> &'static T {
    Box::leak(Box::new(it))
}

fn assigned(text: &str) -> Arc<Assigned> {
    let topic = |text: &str| {
        let (topic, partitions) = text.split_once(':').expect("a topic and its partitions");
        (id(topic), list(partitions, ',').map(|it| it.parse().expect("a number")).collect())
    };
    Arc::new(list(text, ';').map(topic).collect())
}

struct Case {
    line: usize,
    assignor: Assignor,
    group: GroupSpec<'static>,
    expected: Vec<Arc<Assigned>>,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (line, text) in GOLDEN.lines().enumerate() {
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["t", topic, count] => {
                let case = cases.last_mut().expect("a case");
                case.group.partition_counts.insert(id(topic), count.parse().expect("a number"));
            }
            ["m", member, instance, topics, before, after] => {
                let case = cases.last_mut().expect("a case");
                case.group.members.push(MemberSpec {
                    id: kept(Str::from(member)),
                    instance_id: (instance != "-").then(|| kept(Str::from(instance))),
                    topics: Arc::new(list(topics, ',').map(id).collect::<BTreeSet<Uuid>>()),
                    assigned: kept(assigned(before)),
                });
                case.expected.push(assigned(after));
            }
            [assignor, kind] => {
                let kind = match kind {
                    "homogeneous" => SubscriptionKind::Homogeneous,
                    _ => SubscriptionKind::Heterogeneous,
                };
                let group = GroupSpec { members: Vec::new(), kind, partition_counts: BTreeMap::new() };
                let assignor = Assignor::named(assignor).expect("an assignor");
                cases.push(Case { line, assignor, group, expected: Vec::new() });
            }
            _ => panic!("line {line} is none of a case"),
        }
    }
    cases
}

#[test]
fn assignments_are_those_of_kafka() {
    let cases = cases();
    assert_eq!(cases.len(), 480);
    for case in cases {
        assert_eq!(case.assignor.assign(&case.group), case.expected, "the case in line {}", case.line + 1);
    }
}

#[test]
fn nobody_gets_nothing_and_no_topics_give_nothing() {
    let mut group = GroupSpec {
        members: Vec::new(),
        kind: SubscriptionKind::Homogeneous,
        partition_counts: BTreeMap::new(),
    };
    let member = MemberSpec {
        id: kept(Str::from("m")),
        instance_id: None,
        topics: Arc::default(),
        assigned: kept(assigned("[7:1]")),
    };
    for assignor in [Assignor::Uniform, Assignor::Range] {
        assert_eq!(assignor.assign(&group), []);
    }
    group.members.push(member);
    for kind in [SubscriptionKind::Homogeneous, SubscriptionKind::Heterogeneous] {
        group.kind = kind;
        for assignor in [Assignor::Uniform, Assignor::Range] {
            assert_eq!(assignor.assign(&group), [Arc::default()]);
        }
    }
}
