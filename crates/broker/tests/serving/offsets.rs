//! Offsets by time and name, ends of epochs, and records that are deleted.

use ottla_base::{ErrorCode, Str};
use ottla_wire::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use ottla_wire::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ottla_wire::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};

use crate::fixture::{Made, Node, batch, batch_of, code};

fn listed(node: &Node, version: i16, timestamp: i64) -> (ErrorCode, i64, i64, i32) {
    let partition = ListOffsetsPartition { timestamp, ..Default::default() };
    let topic = ListOffsetsTopic { name: Str::from("t"), partitions: vec![partition], ..Default::default() };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let answer = node.ask(version, &request).topics[0].partitions[0].clone();
    (code(answer.error_code), answer.offset, answer.timestamp, answer.leader_epoch)
}

fn deleted(node: &Node, topic: &str, offset: i64) -> (ErrorCode, i64) {
    let partition = DeleteRecordsPartition { partition_index: 0, offset, ..Default::default() };
    let topic =
        DeleteRecordsTopic { name: Str::from(topic), partitions: vec![partition], ..Default::default() };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    let answer = node.ask(2, &request).topics[0].partitions[0].clone();
    (code(answer.error_code), answer.low_watermark)
}

#[test]
fn offsets_are_found_by_name_and_by_time() {
    let node = Node::start(&[]);
    node.create_topic("t", 1, &[]);
    for timestamp in [1_000, 5_000, 3_000] {
        let sent = batch_of(&[(None, "a"), (None, "b")], Made { timestamp, ..Made::default() });
        assert_eq!(node.produce("t", sent).error_code, 0);
    }
    for version in 1..=11 {
        let epoch = |it| if version >= 4 { it } else { -1 };
        assert_eq!(listed(&node, version, -1), (ErrorCode::None, 6, -1, epoch(0)), "latest, {version}");
        assert_eq!(listed(&node, version, -2), (ErrorCode::None, 0, -1, epoch(0)), "earliest, {version}");
        assert_eq!(listed(&node, version, 0), (ErrorCode::None, 0, 1_000, epoch(0)), "{version}");
        assert_eq!(listed(&node, version, 1_001), (ErrorCode::None, 1, 1_001, epoch(0)), "{version}");
        assert_eq!(listed(&node, version, 1_002), (ErrorCode::None, 2, 5_000, epoch(0)), "{version}");
        assert_eq!(listed(&node, version, 9_000), (ErrorCode::None, -1, -1, -1), "{version}");
        let named = |timestamp, first, found| {
            let expected = match version >= first {
                true => found,
                false => (ErrorCode::UnsupportedVersion, -1, -1, -1),
            };
            assert_eq!(listed(&node, version, timestamp), expected, "{timestamp} in version {version}");
        };
        named(-3, 7, (ErrorCode::None, 3, 5_001, 0));
        named(-4, 8, (ErrorCode::None, 0, -1, 0));
        named(-5, 9, (ErrorCode::None, -1, -1, -1));
        named(-6, 11, (ErrorCode::None, -1, -1, -1));
        assert_eq!(listed(&node, version, -7).0, ErrorCode::UnsupportedVersion);
    }
}

#[test]
fn epochs_end_where_the_log_does() {
    let node = Node::start(&[]);
    node.create_topic("t", 1, &[]);
    node.produce("t", batch(&["a", "b", "c"]));
    let asked = |topic: &str, leader_epoch, current_leader_epoch| {
        let partition = OffsetForLeaderPartition {
            partition: 0,
            current_leader_epoch,
            leader_epoch,
            ..Default::default()
        };
        let topic = OffsetForLeaderTopic {
            topic: Str::from(topic),
            partitions: vec![partition],
            ..Default::default()
        };
        let request =
            OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let answer = node.ask(4, &request).topics[0].partitions[0].clone();
        (code(answer.error_code), answer.leader_epoch, answer.end_offset)
    };
    assert_eq!(asked("t", 0, -1), (ErrorCode::None, 0, 3));
    assert_eq!(asked("t", 0, 0), (ErrorCode::None, 0, 3));
    assert_eq!(asked("t", 5, -1), (ErrorCode::None, -1, -1));
    assert_eq!(asked("t", 0, 9).0, ErrorCode::UnknownLeaderEpoch);
    assert_eq!(asked("missing", 0, -1).0, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn records_are_deleted_up_to_an_offset() {
    let node = Node::start(&[]);
    node.create_topic("t", 1, &[]);
    node.produce("t", batch(&["a", "b", "c", "d"]));
    assert_eq!(deleted(&node, "t", 2), (ErrorCode::None, 2));
    assert_eq!(listed(&node, 7, -2), (ErrorCode::None, 2, -1, 0));
    assert_eq!(code(node.fetch("t", 1).error_code), ErrorCode::OffsetOutOfRange);
    assert_eq!(node.fetch("t", 2).log_start_offset, 2);
    assert_eq!(deleted(&node, "t", 5).0, ErrorCode::OffsetOutOfRange);
    assert_eq!(deleted(&node, "t", -2).0, ErrorCode::OffsetOutOfRange);
    assert_eq!(deleted(&node, "t", 1), (ErrorCode::None, 2), "what is gone stays gone");
    assert_eq!(deleted(&node, "t", -1), (ErrorCode::None, 4));
    assert_eq!(deleted(&node, "missing", 1).0, ErrorCode::UnknownTopicOrPartition);
    node.create_topic("compacted", 1, &[("cleanup.policy", "compact")]);
    assert_eq!(deleted(&node, "compacted", 0).0, ErrorCode::PolicyViolation);
}
