//! Members of share groups, and administrators who set, see and delete where groups read.

use std::collections::BTreeMap;

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_wire::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use ottla_wire::messages::delete_share_group_offsets_request::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequestTopic,
};
use ottla_wire::messages::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup,
    DescribeShareGroupOffsetsRequestTopic,
};
use ottla_wire::messages::find_coordinator_request::FindCoordinatorRequest;
use ottla_wire::messages::share_group_describe_request::ShareGroupDescribeRequest;
use ottla_wire::messages::share_group_describe_response::DescribedGroup;
use ottla_wire::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use ottla_wire::messages::share_group_heartbeat_response::ShareGroupHeartbeatResponse;
use ottla_wire::messages::write_share_group_state_request::{
    PartitionData, WriteShareGroupStateRequest, WriteStateData,
};

use crate::fixture::{Node, batch, code};

/// Fewer partitions of internal topics than a server has, for the test's sake.
const FEW: &[&str] = &[
    "offsets.topic.num.partitions=2",
    "offsets.topic.replication.factor=1",
    "share.coordinator.state.topic.num.partitions=3",
    "share.coordinator.state.topic.replication.factor=1",
    "share.coordinator.state.topic.min.isr=1",
];

/// A server with a coordinator for the group `g`.
fn node() -> Node {
    let node = Node::start(FEW);
    let find = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    let found = (0..200).any(|_| {
        node.pause(20);
        node.ask(6, &find).coordinators[0].error_code == 0
    });
    assert!(found, "nobody coordinates");
    node
}

fn beat(node: &Node, member: &str, epoch: i32, topics: Option<&[&str]>) -> ShareGroupHeartbeatResponse {
    let request = ShareGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: Str::from(member),
        member_epoch: epoch,
        subscribed_topic_names: topics.map(|it| it.iter().map(|name| Str::from(*name)).collect()),
        ..Default::default()
    };
    loop {
        let response = node.ask(1, &request);
        // The coordinator may still read its log.
        if code(response.error_code) != ErrorCode::CoordinatorLoadInProgress
            && code(response.error_code) != ErrorCode::NotCoordinator
        {
            return response;
        }
        node.pause(20);
    }
}

/// Reports until the member has something, and says what.
fn settle(node: &Node, member: &str, topics: &[&str]) -> (i32, BTreeMap<Uuid, Vec<i32>>) {
    let mut response = beat(node, member, 0, Some(topics));
    for _ in 0..400 {
        assert_eq!(code(response.error_code), ErrorCode::None, "{:?}", response.error_message);
        let given = response.assignment.into_iter().flat_map(|it| it.topic_partitions);
        let given: BTreeMap<_, _> = given.map(|it| (it.topic_id, it.partitions)).collect();
        if !given.is_empty() {
            return (response.member_epoch, given);
        }
        node.pause(20);
        response = beat(node, member, response.member_epoch, None);
    }
    panic!("nothing was ever shared out");
}

fn described(node: &Node) -> DescribedGroup {
    let request = ShareGroupDescribeRequest {
        group_ids: vec!["g".into()],
        include_authorized_operations: true,
        ..Default::default()
    };
    node.ask(1, &request).groups.remove(0)
}

/// Start offset and lag of every partition that the group has, or of those that are named.
fn offsets(node: &Node, named: Option<&[i32]>) -> BTreeMap<i32, (i64, i64)> {
    let topics = named.map(|partitions| {
        let topic = DescribeShareGroupOffsetsRequestTopic {
            topic_name: "queue".into(),
            partitions: partitions.to_vec(),
            ..Default::default()
        };
        vec![topic]
    });
    let group = DescribeShareGroupOffsetsRequestGroup { group_id: "g".into(), topics, ..Default::default() };
    let request = DescribeShareGroupOffsetsRequest { groups: vec![group], ..Default::default() };
    let answer = node.ask(1, &request).groups.remove(0);
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    let partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
    partitions.map(|it| (it.partition_index, (it.start_offset, it.lag))).collect()
}

fn alter(node: &Node, partition_index: i32, start_offset: i64) -> (ErrorCode, ErrorCode) {
    let partition =
        AlterShareGroupOffsetsRequestPartition { partition_index, start_offset, ..Default::default() };
    let topic = AlterShareGroupOffsetsRequestTopic {
        topic_name: "queue".into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let request =
        AlterShareGroupOffsetsRequest { group_id: "g".into(), topics: vec![topic], ..Default::default() };
    let answer = node.ask(0, &request);
    let partition = answer.responses.first().map_or(0, |topic| topic.partitions[0].error_code);
    (code(answer.error_code), code(partition))
}

fn delete(node: &Node) -> (ErrorCode, Vec<ErrorCode>) {
    let topic = DeleteShareGroupOffsetsRequestTopic { topic_name: "queue".into(), ..Default::default() };
    let request =
        DeleteShareGroupOffsetsRequest { group_id: "g".into(), topics: vec![topic], ..Default::default() };
    let answer = node.ask(0, &request);
    (code(answer.error_code), answer.responses.iter().map(|topic| code(topic.error_code)).collect())
}

#[test]
fn members_share_what_the_share_coordinator_keeps() {
    let node = node();
    let queue = node.create_topic("queue", 2, &[]);
    let (epoch, given) = settle(&node, "a", &["queue"]);
    assert_eq!(given, BTreeMap::from([(queue, vec![0, 1])]));
    let group = described(&node);
    assert_eq!((group.group_state, group.assignor_name), ("Stable".into(), "simple".into()));
    assert_eq!(group.members[0].client_host, "/127.0.0.1");
    assert_eq!(group.members[0].client_id, "test");
    // Read, delete and describe, as bits, and those of its settings.
    assert_eq!(group.authorized_operations, (1 << 3) | (1 << 6) | (1 << 8) | (1 << 10) | (1 << 11));
    // Nobody has read: where the group begins is not known.
    assert_eq!(offsets(&node, None), BTreeMap::from([(0, (-1, -1)), (1, (-1, -1))]));
    assert_eq!(alter(&node, 0, 5).0, ErrorCode::NonEmptyGroup);
    assert_eq!(delete(&node).0, ErrorCode::NonEmptyGroup);
    let fenced = beat(&node, "a", epoch + 7, None);
    assert_eq!(code(fenced.error_code), ErrorCode::FencedMemberEpoch);
    assert_eq!(code(beat(&node, "a", -1, None).error_code), ErrorCode::None);
    assert_eq!(described(&node).group_state, "Empty");
}

#[test]
fn administrators_set_see_and_delete_where_a_group_reads() {
    let mut node = node();
    let queue = node.create_topic("queue", 2, &[]);
    assert_eq!(node.produce("queue", batch(&["a", "b", "c", "d"])).error_code, 0);
    assert_eq!(alter(&node, 0, 1), (ErrorCode::None, ErrorCode::None));
    assert_eq!(alter(&node, 9, 1), (ErrorCode::None, ErrorCode::UnknownTopicOrPartition));
    assert_eq!(offsets(&node, None), BTreeMap::from([(0, (1, 3))]));
    assert_eq!(offsets(&node, Some(&[0, 1])), BTreeMap::from([(0, (1, 3)), (1, (-1, -1))]));
    for end in [Node::stop, Node::kill] {
        end(&mut node);
        node.resume();
        let (_, given) = settle(&node, "a", &["queue"]);
        assert!(given[&queue].contains(&0), "what was kept is still kept: {given:?}");
        assert_eq!(offsets(&node, None)[&0], (1, 3));
        beat(&node, "a", -1, None);
    }
    assert_eq!(delete(&node), (ErrorCode::None, vec![ErrorCode::None]));
    assert_eq!(offsets(&node, None), BTreeMap::new());
    assert_eq!(delete(&node), (ErrorCode::None, vec![ErrorCode::UnknownTopicOrPartition]));
    assert_eq!(offsets(&node, Some(&[0])), BTreeMap::from([(0, (-1, -1))]), "the state is gone, too");
}

/// The value of a sample without labels.
fn sample(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing in\n{page}")).parse().unwrap()
}

#[test]
fn what_coordinators_are_asked_is_measured() {
    let node = node();
    let topic_id = node.create_topic("queue", 1, &[]);
    settle(&node, "a", &["queue"]);
    let before = sample(&node.metrics(), "kafka_server_share_coordinator_metrics_write_total");
    let partitions = vec![PartitionData { leader_epoch: -1, ..Default::default() }; 2];
    let topic = WriteStateData { topic_id, partitions, ..Default::default() };
    let request =
        WriteShareGroupStateRequest { group_id: "g".into(), topics: vec![topic], ..Default::default() };
    assert_eq!(node.ask(1, &request).results[0].partitions.len(), 2);
    let page = node.metrics();
    for kind in ["group", "share"] {
        let of = |name: &str| sample(&page, &format!("kafka_server_{kind}_coordinator_metrics_{name}"));
        assert!(of("event_queue_size") >= 0.0);
        for name in ["event_queue_time_ms", "event_processing_time_ms", "batch_flush_time_ms"] {
            let told = ["p50", "p95", "p99", "p999", "max"].map(|it| of(&format!("{name}_{it}")));
            assert!(told.is_sorted(), "{kind}, {name}: {told:?}");
            // Who waits for nothing is in the queue for no time; all else takes some.
            assert!(name == "event_queue_time_ms" || told[4] > 0.0, "{kind}, {name}: {told:?}");
        }
    }
    let of = |name: &str| sample(&page, &format!("kafka_server_share_coordinator_metrics_{name}"));
    assert_eq!(of("write_total"), before + 2.0);
    assert!(of("write_latency_avg") > 0.0 && of("write_latency_max") > 0.0);
}
