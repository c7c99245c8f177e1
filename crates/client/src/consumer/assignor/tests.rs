//! Tests of the assignors: by table, and by what must hold whatever members want.

use std::collections::BTreeSet;

use ottla_base::Str;

use super::*;

fn topics(counts: &[(&str, usize)]) -> Topics {
    counts.iter().map(|(name, count)| (Str::from(*name), vec![BTreeSet::new(); *count])).collect()
}

fn member(wanted: &[&str]) -> MemberSubscription {
    MemberSubscription {
        topics: wanted.iter().map(|it| Str::from(*it)).collect(),
        generation: NO_GENERATION,
        ..MemberSubscription::default()
    }
}

fn members(all: &[(&str, &[&str])]) -> Members {
    all.iter().map(|(id, wanted)| (Str::from(*id), member(wanted))).collect()
}

/// An assignment as text: `a: t0 t1; b: u0`.
fn shown(assignment: &Assignment) -> String {
    let members = assignment.iter().map(|(id, partitions)| {
        let partitions = partitions.iter().map(|it| format!(" {}{}", it.topic, it.partition));
        format!("{id}:{}", partitions.collect::<String>())
    });
    members.collect::<Vec<_>>().join("; ")
}

#[test]
fn range_and_round_robin_by_table() {
    let two: &[(&str, &[&str])] = &[("a", &["t", "u"]), ("b", &["t", "u"])];
    let apart: &[(&str, &[&str])] = &[("a", &["t"]), ("b", &["t", "u"]), ("c", &["u", "none"])];
    let cases = [
        (two, vec![("t", 3), ("u", 3)], "a: t0 t1 u0 u1; b: t2 u2", "a: t0 t2 u1; b: t1 u0 u2"),
        (two, vec![("t", 1)], "a: t0; b:", "a: t0; b:"),
        (two, vec![], "a:; b:", "a:; b:"),
        (apart, vec![("t", 3), ("u", 2)], "a: t0 t1; b: t2 u0; c: u1", "a: t0 t2; b: t1 u0; c: u1"),
    ];
    for (all, counts, range, round_robin) in cases {
        let (topics, members) = (topics(&counts), members(all));
        assert_eq!(shown(&Assignor::Range.assign(&topics, &members)), range);
        assert_eq!(shown(&Assignor::RoundRobin.assign(&topics, &members)), round_robin);
    }
}

#[test]
fn members_with_an_instance_id_come_first_and_in_its_order() {
    let mut all = members(&[("a", &["t"]), ("b", &["t"]), ("c", &["t"])]);
    all.get_mut("c").unwrap().instance_id = Some("1".into());
    all.get_mut("b").unwrap().instance_id = Some("2".into());
    assert_eq!(shown(&Assignor::Range.assign(&topics(&[("t", 4)]), &all)), "a: t3; b: t2; c: t0 t1");
}

#[test]
fn range_prefers_replicas_in_the_rack_of_a_member() {
    let mut all = members(&[("a", &["t"]), ("b", &["t"])]);
    all.get_mut("a").unwrap().rack = Some("y".into());
    all.get_mut("b").unwrap().rack = Some("x".into());
    let rack = |name: &str| BTreeSet::from([Str::from(name)]);
    let topics = Topics::from([("t".into(), vec![rack("x"), rack("x"), rack("y"), rack("y")])]);
    assert_eq!(shown(&Assignor::Range.assign(&topics, &all)), "a: t2 t3; b: t0 t1");
}

#[test]
fn sticky_brings_partitions_to_the_racks_of_their_replicas() {
    let mut all = members(&[("a", &["t"]), ("b", &["t"])]);
    all.get_mut("a").unwrap().rack = Some("y".into());
    all.get_mut("b").unwrap().rack = Some("x".into());
    let rack = |name: &str| BTreeSet::from([Str::from(name)]);
    let topics = Topics::from([("t".into(), vec![rack("x"), rack("x"), rack("y"), rack("y"), rack("x")])]);
    for assignor in [Assignor::Sticky, Assignor::CooperativeSticky] {
        assert_eq!(shown(&assignor.assign(&topics, &all)), "a: t2 t3; b: t0 t1 t4");
    }
    // What was had before does not outweigh a rack, but balance does: one of three goes to the other rack.
    let own = |indexes: &[i32]| indexes.iter().map(|it| TopicPartition::new("t", *it)).collect::<Vec<_>>();
    (all.get_mut("a").unwrap().owned, all.get_mut("a").unwrap().generation) = (own(&[0, 1]), 1);
    (all.get_mut("b").unwrap().owned, all.get_mut("b").unwrap().generation) = (own(&[2, 3]), 1);
    assert_eq!(shown(&Assignor::Sticky.assign(&topics, &all)), "a: t2 t3; b: t0 t1 t4");
    let topics = Topics::from([("t".into(), vec![rack("x"), rack("x"), rack("x"), rack("y")])]);
    assert_eq!(shown(&Assignor::Sticky.assign(&topics, &all)), "a: t1 t3; b: t0 t2");
    // Where every replica is everywhere, racks do not matter.
    let everywhere = BTreeSet::from([Str::from("x"), Str::from("y")]);
    let topics = Topics::from([("t".into(), vec![everywhere; 4])]);
    assert_eq!(shown(&Assignor::Sticky.assign(&topics, &all)), "a: t0 t1; b: t2 t3");
}

#[test]
fn sticky_moves_no_more_than_it_must() {
    let counts = topics(&[("t", 6)]);
    let mut all = members(&[("a", &["t"]), ("b", &["t"])]);
    let first = Assignor::Sticky.assign(&counts, &all);
    assert_eq!(shown(&first), "a: t0 t2 t4; b: t1 t3 t5");
    for (id, partitions) in &first {
        let member = all.get_mut(id).unwrap();
        (member.owned, member.generation) = (partitions.clone(), 1);
    }
    assert_eq!(Assignor::Sticky.assign(&counts, &all), first);
    all.insert("c".into(), member(&["t"]));
    assert_eq!(shown(&Assignor::Sticky.assign(&counts, &all)), "a: t0 t2; b: t1 t3; c: t4 t5");
    // The cooperative one gives the new member nothing yet: the others have it still.
    assert_eq!(shown(&Assignor::CooperativeSticky.assign(&counts, &all)), "a: t0 t2; b: t1 t3; c:");
}

#[test]
fn of_two_claims_the_newer_counts_and_of_equal_ones_neither() {
    let counts = topics(&[("t", 2)]);
    let mut all = members(&[("a", &["t"]), ("b", &["t"])]);
    let claim = |index| vec![TopicPartition::new("t", index)];
    (all.get_mut("a").unwrap().owned, all.get_mut("a").unwrap().generation) = (claim(1), 3);
    (all.get_mut("b").unwrap().owned, all.get_mut("b").unwrap().generation) = (claim(1), 4);
    assert_eq!(shown(&Assignor::Sticky.assign(&counts, &all)), "a: t0; b: t1");
    all.get_mut("b").unwrap().generation = 3;
    assert_eq!(shown(&Assignor::Sticky.assign(&counts, &all)), "a: t0; b: t1");
    // Neither topics that are gone nor those that are not wanted any more are kept.
    all.get_mut("b").unwrap().owned = vec![TopicPartition::new("gone", 0), TopicPartition::new("t", 7)];
    assert_eq!(shown(&Assignor::Sticky.assign(&counts, &all)), "a: t1; b: t0");
}

/// Numbers out of a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

#[test]
fn whatever_members_want_everything_has_one_owner_who_wants_it() {
    for seed in 0..400 {
        let mut numbers = Numbers(seed);
        let names = ["t", "u", "v", "w"];
        let counts: Vec<_> = names.iter().map(|it| (*it, numbers.below(9))).collect();
        let mut counts = topics(&counts);
        // In every other run, partitions and members have racks.
        let racks = ["x", "y", "z"].map(Str::from);
        if seed % 2 == 1 {
            for of_partition in counts.values_mut().flatten() {
                of_partition.extend((0..2).map(|_| racks[numbers.below(3)].clone()));
            }
        }
        let mut all = Members::new();
        for id in 0..1 + numbers.below(7) {
            let wanted: Vec<&str> = names.into_iter().filter(|_| numbers.below(3) > 0).collect();
            let rack = (seed % 2 == 1).then(|| racks[numbers.below(3)].clone());
            all.insert(format!("m{id}").as_str().into(), MemberSubscription { rack, ..member(&wanted) });
        }
        for assignor in Assignor::ALL {
            let mut all = all.clone();
            for round in 0..4 {
                let assignment = assignor.assign(&counts, &all);
                check(&counts, &all, &assignment, assignor, &format!("seed {seed}, round {round}"));
                for (id, partitions) in assignment {
                    let member = all.get_mut(&id).unwrap();
                    (member.owned, member.generation) = (partitions, round);
                }
                if round == 1 && all.len() > 1 {
                    all.pop_first();
                }
            }
        }
    }
}

fn check(counts: &Topics, all: &Members, assignment: &Assignment, assignor: Assignor, what: &str) {
    let mut owners: BTreeMap<&TopicPartition, &Str> = BTreeMap::new();
    for (id, partitions) in assignment {
        for partition in partitions {
            assert!(all[id].topics.contains(&partition.topic), "{what}: {partition} is not wanted");
            assert_eq!(owners.insert(partition, id), None, "{what}: {partition} has two owners");
        }
    }
    for (topic, racks) in counts {
        let wanting: Vec<_> = all.iter().filter(|(_, it)| it.topics.contains(topic)).collect();
        for index in 0..racks.len() {
            let partition = TopicPartition::new(topic.clone(), index as i32);
            let moving = all.values().any(|it| it.owned.contains(&partition));
            if assignor != Assignor::CooperativeSticky || !moving {
                assert_eq!(owners.contains_key(&partition), !wanting.is_empty(), "{what}: {partition}");
            }
            // The sticky one leaves nobody who could take a partition two behind.
            if let (Assignor::Sticky, Some(owner)) = (assignor, owners.get(&partition)) {
                let load = assignment[*owner].len();
                let least = wanting.iter().map(|(id, _)| assignment[*id].len()).min().unwrap();
                assert!(load <= least + 1, "{what}: {partition} of {owner}");
            }
        }
    }
}

/// `t0:1,t0:2` as partitions; a dash is none.
fn partitions_of(text: &str) -> Vec<TopicPartition> {
    let all = text.split(',').filter(|it| *it != "-");
    all.map(|it| {
        let (topic, index) = it.split_once(':').unwrap();
        TopicPartition::new(topic, index.parse().unwrap())
    })
    .collect()
}

fn some(text: &str) -> Option<Str> {
    (text != "-").then(|| text.into())
}

/// How many members have how many partitions.
fn loads(assignment: &Assignment) -> Vec<usize> {
    let mut loads: Vec<usize> = assignment.values().map(Vec::len).collect();
    loads.sort_unstable();
    loads
}

/// How many partitions are read from another rack.
fn apart(assignment: &Assignment, counts: &Topics, all: &Members) -> usize {
    let racks = racks::Racks::new(counts, all);
    let of = |(id, partitions): (&Str, &Vec<TopicPartition>)| {
        partitions.iter().filter(|it| racks.mismatch(id, it)).count()
    };
    assignment.iter().map(of).sum()
}

/// How many partitions stay where they were.
fn kept(assignment: &Assignment, all: &Members) -> usize {
    let of = |id: &Str| all[id].owned.iter().filter(|it| assignment[id].contains(it)).count();
    all.keys().map(of).sum()
}

/// Cases that Apache Kafka's assignors were given (`xtask/java/GoldenClientAssignors.java`): `range` and `roundrobin` give
/// the same; the sticky ones, whose choices among equals follow Java's hash maps, are as even and move no more. Where
/// racks matter, some cases trade one for the other: all cases together have no more that is read from another rack.
#[test]
fn what_kafkas_assignors_give() {
    let cases = include_str!("../../../testdata/assignors.txt").trim().split("\n\n");
    let (mut count, mut ours, mut theirs) = (0, 0, 0);
    for case in cases {
        let mut lines = case.lines();
        let title = lines.next().unwrap();
        let assignor = Assignor::of_name(title.rsplit(' ').next().unwrap()).unwrap();
        let (mut counts, mut all, mut expected) = (Topics::new(), Members::new(), Assignment::new());
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["topic", name, ref racks @ ..] => {
                    let racks = racks.iter().map(|it| it.split('+').filter_map(some).collect());
                    counts.insert(name.into(), racks.collect());
                }
                [
                    "member",
                    id,
                    wanted,
                    "owned",
                    owned,
                    "generation",
                    generation,
                    "instance",
                    instance,
                    "rack",
                    rack,
                ] => {
                    let member = MemberSubscription {
                        topics: wanted.split(',').filter(|it| !it.is_empty()).map(Str::from).collect(),
                        owned: partitions_of(owned),
                        generation: generation.parse().unwrap(),
                        instance_id: some(instance),
                        rack: some(rack),
                    };
                    all.insert(id.into(), member);
                }
                ["gets", id, partitions] => drop(expected.insert(id.into(), partitions_of(partitions))),
                _ => panic!("{title}: {line}"),
            }
        }
        let mut given = assignor.assign(&counts, &all);
        given.values_mut().for_each(|it| it.sort_by_key(ToString::to_string));
        expected.values_mut().for_each(|it| it.sort_by_key(ToString::to_string));
        match assignor {
            Assignor::Range | Assignor::RoundRobin => assert_eq!(shown(&given), shown(&expected), "{title}"),
            Assignor::Sticky | Assignor::CooperativeSticky => {
                let what = format!("{title}: {} / {}", shown(&given), shown(&expected));
                let with_racks = all.values().any(|it| it.rack.is_some());
                let is_eager = assignor == Assignor::Sticky;
                assert!(!is_eager || loads(&given) == loads(&expected), "{what}");
                assert!(with_racks || kept(&given, &all) >= kept(&expected, &all), "{what}");
                if is_eager && with_racks {
                    ours += apart(&given, &counts, &all);
                    theirs += apart(&expected, &counts, &all);
                }
            }
        }
        count += 1;
    }
    assert_eq!(count, 120);
    assert!(ours <= theirs, "{ours} partitions are read from another rack, with Apache Kafka {theirs}");
}
