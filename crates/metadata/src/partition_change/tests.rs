//! Six hundred random wishes about partitions, as Kafka 4.4.0's own `PartitionChangeBuilder` answers them.

use std::sync::Arc;

use ottla_base::{LeaderEpoch, PartitionIndex};
use ottla_wire::records::metadata::{FeatureLevelRecord, MetadataRecord, RegisterBrokerRecord};

use super::*;
use crate::Image;
use crate::image::nodes;

const CASES: &str = include_str!("../testdata/kafka_4.4.0/partition_changes.txt");

/// `-` is nothing, `.` is an empty list.
fn list(text: &str) -> Option<Vec<i32>> {
    match text {
        "-" => None,
        "." => Some(Vec::new()),
        _ => Some(text.split(',').map(|it| it.parse().expect("a number")).collect()),
    }
}

fn set(text: &str) -> Nodes {
    nodes(&list(text).expect("a list"))
}

fn directories(text: &str) -> Option<Vec<Uuid>> {
    Some(list(text)?.into_iter().map(|it| Uuid::from_number(it as u128)).collect())
}

/// A cluster of brokers 1 to 6 with two directories each, those in `accepted` unfenced.
fn image(level: i16, with_elr: bool, accepted: &[NodeId]) -> Image {
    let mut image = Image::default();
    let mut apply = |record| image.apply(&record).expect("a possible record");
    let levels = [("metadata.version", level), ("eligible.leader.replicas.version", i16::from(with_elr))];
    for (name, feature_level) in levels {
        let record = FeatureLevelRecord { name: name.into(), feature_level, ..Default::default() };
        apply(MetadataRecord::FeatureLevelRecord(record));
    }
    for id in 1..=6 {
        let directory = |base: i32| Uuid::from_number((base + id) as u128);
        apply(MetadataRecord::RegisterBrokerRecord(RegisterBrokerRecord {
            broker_id: id,
            fenced: !accepted.contains(&NodeId(id)),
            log_dirs: vec![directory(1000), directory(2000)],
            ..Default::default()
        }));
    }
    image
}

fn partition(words: &[&str]) -> Partition {
    let [replicas, directories_, isr, removing, adding, elr, last_known, leader, recovering] = words else {
        panic!("nine words: {words:?}")
    };
    Partition {
        replicas: set(replicas),
        directories: directories(directories_).expect("a list").into(),
        isr: set(isr),
        removing: set(removing),
        adding: set(adding),
        elr: set(elr),
        last_known_elr: set(last_known),
        leader: NodeId(leader.parse().expect("a number")),
        recovery: LeaderRecovery::from_code(recovering.parse().expect("a number")).expect("known"),
        leader_epoch: LeaderEpoch(5),
        partition_epoch: 9,
    }
}

fn check(case: &str) {
    let parts: Vec<Vec<&str>> = case.split(" | ").map(|part| part.split_whitespace().collect()).collect();
    let partition = Arc::new(partition(&parts[0]));
    let number = |text: &str| text.parse::<i32>().expect("a number");
    let with_elr = parts[1][1] == "1";
    let image = image(number(parts[1][0]) as i16, with_elr, &set(parts[1][4]));
    let id = PartitionId { topic: Uuid::from_number(777), index: PartitionIndex(3) };
    let min_isr = number(parts[1][2]) as usize;
    let candidates = Candidates::active(&image.cluster);
    let mut wish = PartitionChange::new(&partition, id, candidates, &image.features, min_isr);
    wish.election = [Election::Preferred, Election::Online, Election::Unclean][number(parts[1][3]) as usize];
    let wished = &parts[2];
    for (field, text) in [
        (&mut wish.isr, wished[0]),
        (&mut wish.replicas, wished[1]),
        (&mut wish.removing, wished[2]),
        (&mut wish.adding, wished[3]),
    ] {
        if let Some(wished) = list(text) {
            *field = nodes(&wished);
        }
    }
    if wished[4] != "-" {
        wish.recovery = LeaderRecovery::from_code(number(wished[4]) as i8).expect("known");
    }
    if let Some(unclean) = list(wished[5]) {
        wish.unclean_shutdown = NodeId(unclean[0]);
    }
    if wished[6] != "-" {
        let broker = number(wished[6]);
        wish.directory = Some((NodeId(broker), Uuid::from_number(2000 + broker as u128)));
    }
    let expected = (parts[3][0] != "none").then(|| PartitionChangeRecord {
        partition_id: 3,
        topic_id: id.topic,
        isr: list(parts[3][0]),
        leader: number(parts[3][1]),
        replicas: list(parts[3][2]),
        removing_replicas: list(parts[3][3]),
        adding_replicas: list(parts[3][4]),
        leader_recovery_state: number(parts[3][5]) as i8,
        directories: directories(parts[3][6]),
        eligible_leader_replicas: list(parts[3][7]),
        // Kafka remembers "nobody" as the last leader where nobody led before either.
        last_known_elr: list(parts[3][8]).filter(|last| last[..] != [-1]),
        ..Default::default()
    });
    assert_eq!(wish.build(), expected, "{case}");
}

#[test]
fn every_wish_comes_to_what_kafka_makes_of_it() {
    let cases = CASES.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(cases.inspect(|case| check(case)).count(), 600);
}
