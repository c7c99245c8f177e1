//! The assignor: what it gives, and that it is fair and steady.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Uuid;

use super::super::super::modern::Assigned;
use super::super::super::modern::subscriptions::SubscriptionKind;
use super::super::assignor::{Assignee, assign};
use crate::seeds::draws;

fn id(number: usize) -> Uuid {
    Uuid::from_number(number as u128 + 1)
}

/// Topics by number, each with so many partitions.
fn topics(counts: &[i32]) -> Assigned {
    counts.iter().enumerate().map(|(number, count)| (id(number), (0..*count).collect())).collect()
}

/// Assigns to members with these topics, who had `before`.
fn given(wants: &[BTreeSet<usize>], available: &Assigned, before: &[Assigned]) -> Vec<Assigned> {
    let nothing = Assigned::new();
    let members: Vec<Assignee<'_>> = wants
        .iter()
        .enumerate()
        .map(|(index, topics)| Assignee {
            topics: topics.iter().map(|number| id(*number)).collect(),
            before: before.get(index).unwrap_or(&nothing),
        })
        .collect();
    let kind = match wants.iter().collect::<BTreeSet<_>>().len() {
        0 | 1 => SubscriptionKind::Homogeneous,
        _ => SubscriptionKind::Heterogeneous,
    };
    assign(&members, available, kind)
}

fn counts(given: &[Assigned]) -> Vec<usize> {
    given.iter().map(|assigned| assigned.values().map(BTreeSet::len).sum()).collect()
}

/// How many members each partition has.
fn sharers(given: &[Assigned]) -> BTreeMap<(Uuid, i32), usize> {
    let mut sharers = BTreeMap::new();
    for (topic, partitions) in given.iter().flatten() {
        for partition in partitions {
            *sharers.entry((*topic, *partition)).or_default() += 1;
        }
    }
    sharers
}

#[test]
fn nothing_comes_of_nothing() {
    assert_eq!(given(&[], &topics(&[3]), &[]), Vec::<Assigned>::new());
    let wants = [BTreeSet::from([0]), BTreeSet::from([0])];
    assert_eq!(given(&wants, &Assigned::new(), &[]), vec![Assigned::new(); 2]);
    assert_eq!(given(&[BTreeSet::new()], &topics(&[3]), &[]), vec![Assigned::new()]);
}

#[test]
fn fewer_members_than_partitions_have_their_own_each() {
    let wants = vec![BTreeSet::from([0, 1]); 2];
    let given = given(&wants, &topics(&[3, 2]), &[]);
    assert_eq!(counts(&given), [3, 2]);
    assert!(sharers(&given).values().all(|members| *members == 1));
}

#[test]
fn more_members_than_partitions_share_them() {
    let wants = vec![BTreeSet::from([0]); 5];
    let given = given(&wants, &topics(&[2]), &[]);
    // Each partition should have three members (rounded up): six places for five members.
    assert_eq!(counts(&given).iter().sum::<usize>(), 6);
    assert!(sharers(&given).values().all(|members| *members == 3));
}

#[test]
fn what_nobody_has_to_give_up_stays() {
    let wants = vec![BTreeSet::from([0]); 2];
    let first = given(&wants, &topics(&[4]), &[]);
    let again = given(&wants, &topics(&[4]), &first);
    assert_eq!(first, again);
    // A third member takes one partition each from those who have two.
    let wants = vec![BTreeSet::from([0]); 3];
    let third = given(&wants, &topics(&[4]), &first);
    assert_eq!(counts(&third).iter().sum::<usize>(), 4);
    for (before, after) in first.iter().zip(&third) {
        assert!(after[&id(0)].is_subset(&before[&id(0)]));
    }
}

#[test]
fn topics_go_to_those_who_want_them() {
    let wants = [BTreeSet::from([0]), BTreeSet::from([0, 1]), BTreeSet::from([1, 2])];
    let given = given(&wants, &topics(&[2, 1, 3]), &[]);
    for (assigned, wants) in given.iter().zip(&wants) {
        assert!(assigned.keys().all(|topic| wants.iter().any(|number| id(*number) == *topic)));
    }
    assert_eq!(given[2][&id(2)], BTreeSet::from([0, 1, 2]));
    assert_eq!(given[0][&id(0)].len(), 1);
    assert_eq!(given[1][&id(0)].len(), 1);
}

#[test]
fn what_is_not_wanted_or_not_there_any_more_is_given_up() {
    let before = [topics(&[4, 2])];
    let given = given(&[BTreeSet::from([0])], &topics(&[2, 2]), &before);
    assert_eq!(given, [topics(&[2])]);
}

#[test]
fn every_wanted_partition_has_somebody_whatever_was_before() {
    for seed in 0..400u64 {
        let mut draws = draws(seed);
        let mut before: Vec<Assigned> = Vec::new();
        for _ in 0..12 {
            let available = topics(&[
                draws.below(6) as i32,
                draws.below(4) as i32,
                draws.below(9) as i32,
                draws.below(2) as i32,
            ]);
            let same = draws.below(2) == 0;
            let mut want = || -> BTreeSet<usize> { (0..4).filter(|_| draws.below(2) == 0).collect() };
            let all = want();
            let members = 1 + before.len().min(11);
            let wants: Vec<_> = (0..members).map(|_| if same { all.clone() } else { want() }).collect();
            let given = given(&wants, &available, &before);
            check(&wants, &available, &given);
            if draws.below(4) == 0 && !before.is_empty() {
                before = given.into_iter().skip(draws.below(before.len())).collect();
            } else {
                before = given;
            }
        }
    }
}

fn check(wants: &[BTreeSet<usize>], available: &Assigned, given: &[Assigned]) {
    let sharers = sharers(given);
    for (topic, partitions) in available {
        let wanted = wants.iter().filter(|topics| topics.iter().any(|number| id(*number) == *topic)).count();
        for partition in partitions {
            let members = sharers.get(&(*topic, *partition)).copied().unwrap_or(0);
            assert_eq!(members > 0, wanted > 0, "{wants:?} of {available:?} gives {given:?}");
        }
    }
    for (topic, partition) in sharers.keys() {
        assert!(available.get(topic).is_some_and(|partitions| partitions.contains(partition)));
    }
    for (assigned, wants) in given.iter().zip(wants) {
        assert!(assigned.keys().all(|topic| wants.iter().any(|number| id(*number) == *topic)));
        assert!(assigned.values().all(|partitions| !partitions.is_empty()));
    }
    if wants.windows(2).all(|pair| pair[0] == pair[1]) {
        let counts = counts(given);
        let (least, most) = (counts.iter().min().unwrap_or(&0), counts.iter().max().unwrap_or(&0));
        assert!(most - least <= 2, "{counts:?} is not fair");
    }
}
