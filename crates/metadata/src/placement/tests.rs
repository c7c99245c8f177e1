//! Placement keeps the promises of Kafka's: racks, balance, fenced brokers last.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn candidate(broker: i32, rack: Option<&'static str>, fenced: bool) -> Candidate {
    Candidate { broker: NodeId(broker), rack: rack.map(Str::from), fenced }
}

fn entropy(seed: u8) -> Entropy {
    Entropy::from_seed([seed; 32])
}

#[test]
fn replicas_of_a_partition_are_different_brokers_on_different_racks() {
    let candidates: Vec<Candidate> =
        (0..9).map(|id| candidate(id, Some(["a", "b", "c"][id as usize % 3]), false)).collect();
    for seed in 1..20 {
        let placed = place(&candidates, 30, 3, &mut entropy(seed)).expect("possible");
        for replicas in &placed {
            let racks: BTreeSet<i32> = replicas.iter().map(|it| it.get() % 3).collect();
            assert_eq!(racks.len(), 3, "{replicas:?}");
        }
    }
}

#[test]
fn every_broker_leads_about_as_often_as_any_other() {
    let candidates: Vec<Candidate> = (0..5).map(|id| candidate(id, None, false)).collect();
    for seed in 1..20 {
        let placed = place(&candidates, 100, 2, &mut entropy(seed)).expect("possible");
        let mut leads: BTreeMap<NodeId, usize> = BTreeMap::new();
        placed.iter().for_each(|replicas| *leads.entry(replicas[0]).or_default() += 1);
        assert!(leads.len() == 5 && leads.values().all(|count| *count == 20), "{leads:?}");
    }
}

#[test]
fn fenced_brokers_follow_but_never_come_first() {
    let candidates =
        [candidate(1, Some("a"), true), candidate(2, Some("b"), false), candidate(3, Some("b"), true)];
    for seed in 1..50 {
        let placed = place(&candidates, 40, 3, &mut entropy(seed)).expect("possible");
        for replicas in placed {
            let all: BTreeSet<NodeId> = replicas.iter().copied().collect();
            assert_eq!((replicas[0], all.len()), (NodeId(2), 3));
        }
    }
}

#[test]
fn what_cannot_be_placed_is_refused_in_kafkas_words() {
    let reason = |candidates: &[Candidate], factor| {
        place(candidates, 1, factor, &mut entropy(1)).expect_err("impossible").0
    };
    let one = [candidate(1, None, false)];
    let fenced = [candidate(1, None, true)];
    assert_eq!(reason(&one, 0), "Invalid replication factor 0: the replication factor must be positive.");
    let none = "All brokers are currently fenced, or have all their log directories cordoned.";
    assert_eq!(reason(&fenced, 1), none);
    assert_eq!(reason(&[], 1), none);
    assert!(
        reason(&one, 2).starts_with("The target replication factor of 2 cannot be reached because only 1")
    );
}
