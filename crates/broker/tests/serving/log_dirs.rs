//! Log directories: described, chosen, and known to the controller.

use std::path::Path;

use ottla_base::ErrorCode;
use ottla_host::Disk;
use ottla_storage::TopicPartition;
use ottla_wire::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use ottla_wire::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use ottla_wire::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

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

/// Puts a directory where a file was, so that using it is an I/O error; gives the file's content.
fn spoil(disk: &Disk, path: &Path) -> Vec<u8> {
    let content = disk.read(path, 1 << 20).unwrap();
    disk.remove_file(path).unwrap();
    disk.create_dir_all(path).unwrap();
    content
}

fn mend(disk: &Disk, path: &Path, content: &[u8]) {
    disk.remove_dir_all(path).unwrap();
    disk.write_atomically(path, content).unwrap();
}

#[test]
fn directories_that_cannot_be_used_do_not_keep_the_others_from_serving() {
    let mut node = Node::with_log_dirs(3, &[]);
    let disk = node.host.disk();
    node.create_topic("t", 3, &[]);
    let errors = |node: &Node| -> Vec<ErrorCode> {
        let answer = node.ask(5, &DescribeLogDirsRequest { topics: None, ..Default::default() });
        let mut results: Vec<_> =
            answer.results.iter().map(|it| (it.log_dir.clone(), it.error_code)).collect();
        results.sort();
        results.into_iter().map(|it| code(it.1)).collect()
    };
    assert_eq!(errors(&node), [ErrorCode::None; 3]);
    node.stop();
    let (meta, lock) = (node.log_dir(1).join("meta.properties"), node.log_dir(2).join(".lock"));
    let (meta_content, lock_content) = (spoil(&disk, &meta), spoil(&disk, &lock));
    node.resume();
    assert_eq!(errors(&node), [ErrorCode::None, ErrorCode::KafkaStorageError, ErrorCode::KafkaStorageError]);
    assert!(node.metrics().contains("offlinelogdirectorycount 2"));
    node.create_topic("u", 3, &[]);
    assert_eq!(node.produce("u", batch(&["a"])).error_code, 0);
    node.stop();
    mend(&disk, &meta, &meta_content);
    mend(&disk, &lock, &lock_content);
    node.resume();
    assert_eq!(errors(&node), [ErrorCode::None; 3]);
    node.stop();
    // Without metadata there is nothing to serve, and a directory that was never formatted is a mistake.
    let meta = node.log_dir(0).join("meta.properties");
    let content = spoil(&disk, &meta);
    assert!(node.refusal().contains("d0"), "{}", node.refusal());
    mend(&disk, &meta, &content);
    disk.remove_file(node.log_dir(1).join("meta.properties")).unwrap();
    assert!(node.refusal().contains("not formatted"), "{}", node.refusal());
    disk.write_atomically(node.log_dir(1).join("meta.properties"), &meta_content).unwrap();
    disk.create_dir_all(node.log_dir(1).join("__cluster_metadata-0")).unwrap();
    assert!(node.refusal().contains("metadata log"), "{}", node.refusal());
}

#[test]
fn a_directory_without_an_id_gets_one_that_stays() {
    let mut node = Node::with_log_dirs(2, &[]);
    node.stop();
    let path = node.log_dir(1).join("meta.properties");
    let disk = node.host.disk();
    let text = String::from_utf8(disk.read(&path, 1 << 20).unwrap()).unwrap();
    let without: Vec<&str> = text.lines().filter(|it| !it.starts_with("directory.id")).collect();
    assert_eq!(without.len() + 1, text.lines().count());
    disk.write_atomically(&path, without.join("\n").as_bytes()).unwrap();
    node.resume();
    let ids = node.running().broker().online_directories();
    assert!(ids.len() == 2 && !ids[1].is_zero());
    node.stop();
    node.resume();
    assert_eq!(node.running().broker().online_directories(), ids);
}

fn counts(node: &Node) -> Vec<usize> {
    let answer = node.ask(5, &DescribeLogDirsRequest { topics: None, ..Default::default() });
    let count = |it: usize| {
        let path = node.log_dir(it).display().to_string();
        let directory = answer.results.iter().find(|it| *it.log_dir == *path).unwrap();
        directory.topics.iter().map(|it| it.partitions.len()).sum()
    };
    (0..answer.results.len()).map(count).collect()
}

#[test]
fn cordoned_directories_get_no_new_replicas() {
    let node = Node::with_log_dirs(3, &[]);
    let cordon = |value: &str| {
        let configs = vec![AlterableConfig {
            name: "cordoned.log.dirs".into(),
            value: Some(value.into()),
            ..Default::default()
        }];
        let resource = AlterConfigsResource {
            resource_type: 4,
            resource_name: "1".into(),
            configs,
            ..Default::default()
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let answer = node.ask(1, &request);
        assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
    };
    let path = |at: usize| node.log_dir(at).display().to_string();
    cordon(&format!("{},{}", path(0), path(2)));
    node.create_topic("t", 4, &[]);
    assert_eq!(counts(&node), [0, 4, 0]);
    cordon(&path(1));
    node.create_topic("u", 4, &[]);
    assert_eq!(counts(&node), [2, 4, 2]);
}

#[test]
fn the_wish_for_a_replica_that_is_not_here_is_remembered() {
    let node = Node::with_log_dirs(3, &[]);
    for (at, topic) in [(2, "t"), (1, "u")] {
        let path = node.log_dir(at).display().to_string();
        assert_eq!(move_to(&node, &path, topic), ErrorCode::ReplicaNotAvailable);
    }
    node.create_topic("t", 1, &[]);
    assert_eq!(counts(&node), [0, 0, 1]);
    node.create_topic("u", 1, &[]);
    assert_eq!(counts(&node), [0, 1, 1]);
}

#[test]
fn a_small_replica_does_not_wait_for_a_large_one_to_be_moved() {
    let rate = "replica.alter.log.dirs.io.max.bytes.per.second";
    let node = Node::with_log_dirs(2, &["num.replica.alter.log.dirs.threads=2", &format!("{rate}=2000000")]);
    for topic in ["large", "small"] {
        node.create_topic(topic, 1, &[]);
    }
    let value = "x".repeat(500_000);
    for _ in 0..40 {
        assert_eq!(node.produce("large", batch(&[&value])).error_code, 0);
    }
    assert_eq!(node.produce("small", batch(&[&value])).error_code, 0);
    let broker = node.running().broker().clone();
    let log = |topic: &str| broker.logs.get(&TopicPartition::new(topic, 0)).unwrap();
    let elsewhere = |topic: &str| {
        let mut paths = (0..2).map(|it| node.log_dir(it)).filter(|it| it != log(topic).directory().path());
        paths.next().unwrap()
    };
    let targets = [("large", elsewhere("large")), ("small", elsewhere("small"))];
    for (topic, target) in &targets {
        assert_eq!(move_to(&node, &target.display().to_string(), topic), ErrorCode::None);
        node.pause(50);
    }
    for round in 0.. {
        assert!(round < 900, "the small replica has not moved");
        if log("small").directory().path() == targets[1].1 {
            break;
        }
        node.pause(10);
    }
    assert_ne!(log("large").directory().path(), targets[0].1, "20 MB at 2 MB/s take ten seconds");
}
