//! Log directories: described, chosen, and known to the controller.

use ottla_base::ErrorCode;
use ottla_wire::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use ottla_wire::messages::describe_log_dirs_request::DescribeLogDirsRequest;

use crate::fixture::{Node, batch, code};

#[test]
fn log_directories_are_described_with_what_is_in_them() {
    let node = Node::with_log_dirs(2, &[]);
    node.create_topic("t", 4, &[]);
    node.produce("t", batch(&["a"]));
    let answer = node.ask(5, &DescribeLogDirsRequest { topics: None, ..Default::default() });
    assert_eq!(answer.results.len(), 2);
    for directory in &answer.results {
        assert_eq!(directory.error_code, 0);
        assert!(directory.total_bytes > 0 && directory.usable_bytes > 0, "{directory:?}");
        let partitions: usize = directory.topics.iter().map(|it| it.partitions.len()).sum();
        assert_eq!(partitions, 2, "partitions are spread evenly: {answer:?}");
    }
}

#[test]
fn the_controller_knows_where_replicas_are() {
    let node = Node::with_log_dirs(2, &[]);
    let id = node.create_topic("t", 4, &[]);
    let broker = node.running().broker().clone();
    for _ in 0..200 {
        let image = broker.image.load();
        let known = image.topics.partitions(id).all(|(_, it)| {
            let directory = it.directory_of(broker.node_id);
            directory.is_some_and(|it| broker.online_directories().contains(&it))
        });
        if known {
            return;
        }
        node.pause(10);
    }
    panic!("{:?}", broker.image.load().topics.partitions(id).collect::<Vec<_>>());
}

/// Where DescribeLogDirs says that the one partition of `t` is, and whether anything is on its way.
fn place_of(node: &Node) -> (String, bool) {
    let answer = node.ask(5, &DescribeLogDirsRequest { topics: None, ..Default::default() });
    let mut place = (String::new(), false);
    for directory in &answer.results {
        for partition in directory.topics.iter().flat_map(|it| &it.partitions) {
            match partition.is_future_key {
                true => place.1 = true,
                false => place.0 = directory.log_dir.to_string(),
            }
        }
    }
    place
}

fn move_to(node: &Node, path: &str, topic: &str) -> ErrorCode {
    let topics =
        vec![AlterReplicaLogDirTopic { name: topic.into(), partitions: vec![0], ..Default::default() }];
    let dirs = vec![AlterReplicaLogDir { path: path.into(), topics, ..Default::default() }];
    let answer = node.ask(2, &AlterReplicaLogDirsRequest { dirs, ..Default::default() });
    code(answer.results[0].partitions[0].error_code)
}

#[test]
fn a_replica_moves_to_another_directory_and_the_controller_knows() {
    let mut node = Node::with_log_dirs(2, &[]);
    let id = node.create_topic("t", 1, &[]);
    for _ in 0..20 {
        assert_eq!(node.produce("t", batch(&["a", "b"])).error_code, 0);
    }
    let (from, _) = place_of(&node);
    let broker = node.running().broker().clone();
    let directories = broker.logs.directories();
    let target = directories.iter().find(|it| it.path.display().to_string() != from).unwrap().clone();
    let path = target.path.display().to_string();
    assert_eq!(move_to(&node, "/nowhere", "t"), ErrorCode::LogDirNotFound);
    assert_eq!(move_to(&node, &path, "unknown"), ErrorCode::ReplicaNotAvailable);
    assert_eq!(move_to(&node, &path, &"x".repeat(249)), ErrorCode::InvalidTopicException);
    assert_eq!(move_to(&node, &from, "t"), ErrorCode::None);
    assert_eq!(place_of(&node), (from, false));

    assert_eq!(move_to(&node, &path, "t"), ErrorCode::None);
    for round in 0.. {
        assert!(round < 500, "the replica is still in {:?}", place_of(&node));
        assert_eq!(node.produce("t", batch(&["c"])).error_code, 0);
        if place_of(&node) == (path.clone(), false) {
            break;
        }
        node.pause(5);
    }
    let last = node.produce("t", batch(&["last"]));
    assert_eq!(last.error_code, 0);
    assert_eq!(node.fetch("t", 0).high_watermark, last.base_offset + 1);
    assert_eq!(node.fetch("t", last.base_offset).error_code, 0);
    let image = broker.image.load();
    let (_, partition) = image.topics.partitions(id).next().unwrap();
    assert_eq!(partition.directory_of(broker.node_id), Some(target.id));
    drop((image, broker));
    node.kill();
    node.resume();
    assert_eq!(place_of(&node), (path, false));
    assert_eq!(node.fetch("t", 0).high_watermark, last.base_offset + 1);
}

#[test]
fn a_directory_that_fails_takes_its_partitions_offline_and_no_others() {
    let node = Node::with_log_dirs(2, &[]);
    let broker = node.running().broker().clone();
    let metadata = broker.settings.load().metadata_directory().to_owned();
    let topics = [("t", node.create_topic("t", 1, &[])), ("u", node.create_topic("u", 1, &[]))];
    let is_other = |id| broker.partitions.get(id, 0).unwrap().log().directory().path() != metadata;
    let (lost, kept) = if is_other(topics[0].1) { (topics[0], topics[1]) } else { (topics[1], topics[0]) };
    let log = broker.partitions.get(lost.1, 0).unwrap().log();
    log.directory().fail_for_good(&log.path(), &std::io::Error::other("broken by a test"));
    assert_eq!(code(node.produce(lost.0, batch(&["a"])).error_code), ErrorCode::KafkaStorageError);
    assert_eq!(code(node.fetch(lost.0, 0).error_code), ErrorCode::KafkaStorageError);
    assert_eq!(node.produce(kept.0, batch(&["a"])).error_code, 0);
    let has_leader = || broker.image.load().topics.partitions(lost.1).any(|(_, it)| it.has_leader());
    for _ in 0..150 {
        if !has_leader() {
            break;
        }
        node.pause(10);
    }
    assert!(!has_leader(), "the controller was told at once");
    assert_eq!(code(node.produce(lost.0, batch(&["a"])).error_code), ErrorCode::KafkaStorageError);
    assert_eq!(node.produce(kept.0, batch(&["a"])).error_code, 0);
    assert!(node.metrics().contains("offlinelogdirectorycount 1"));
}
