//! Topics are made, changed, described and deleted; by wish, or because somebody asked for them.

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_wire::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use ottla_wire::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use ottla_wire::messages::describe_topic_partitions_request::{DescribeTopicPartitionsRequest, TopicRequest};
use ottla_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ottla_wire::messages::metadata_response::MetadataResponseTopic;

use crate::fixture::{Node, batch, code};

fn described(node: &Node, version: i16, name: &str, create: bool) -> MetadataResponseTopic {
    let topic = MetadataRequestTopic { name: Some(Str::from(name)), ..Default::default() };
    let request = MetadataRequest {
        topics: Some(vec![topic]),
        allow_auto_topic_creation: create,
        ..Default::default()
    };
    node.ask(version, &request).topics[0].clone()
}

#[test]
fn topics_are_there_as_soon_as_the_answer_is() {
    let node = Node::start(&[]);
    for number in 0..10 {
        let name = format!("t{number}");
        let id = node.create_topic(&name, 3, &[]);
        let told = described(&node, 12, &name, false);
        assert_eq!((code(told.error_code), told.topic_id, told.partitions.len()), (ErrorCode::None, id, 3));
        assert!(told.partitions.iter().all(|it| it.leader_id == 1 && it.error_code == 0), "{told:?}");
        assert_eq!(code(node.produce(&name, batch(&["a"])).error_code), ErrorCode::None);
    }
    let topic =
        CreatePartitionsTopic { name: Str::from("t0"), count: 5, assignments: None, ..Default::default() };
    let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    assert_eq!(node.ask(3, &request).results[0].error_code, 0);
    assert_eq!(described(&node, 12, "t0", false).partitions.len(), 5);
    let topic = DeleteTopicState { name: Some(Str::from("t0")), ..Default::default() };
    let request = DeleteTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    assert_eq!(node.ask(6, &request).responses[0].error_code, 0);
    assert_eq!(code(described(&node, 12, "t0", false).error_code), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(code(node.produce("t0", batch(&["a"])).error_code), ErrorCode::UnknownTopicOrPartition);
    // A topic of the same name begins anew.
    node.create_topic("t0", 1, &[]);
    assert_eq!(node.produce("t0", batch(&["a"])).base_offset, 0);
}

#[test]
fn metadata_names_all_topics_some_or_none() {
    let node = Node::start(&[]);
    let id = node.create_topic("one", 1, &[]);
    node.create_topic("two", 1, &[]);
    for version in 0..=13 {
        let all = MetadataRequest {
            topics: if version == 0 { Some(Vec::new()) } else { None },
            ..Default::default()
        };
        let answer = node.ask(version, &all);
        assert_eq!((answer.brokers.len(), answer.topics.len()), (1, 2), "{version}");
        if version >= 1 {
            let none = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
            assert_eq!(node.ask(version, &none).topics.len(), 0, "{version}");
        }
    }
    let by_id = |topic_id| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: None, topic_id, ..Default::default() }]),
        ..Default::default()
    };
    let found = node.ask(12, &by_id(id)).topics[0].clone();
    assert_eq!((found.name.as_deref(), found.error_code), (Some("one"), 0));
    let missing = node.ask(12, &by_id(Uuid([9; 16]))).topics[0].clone();
    assert_eq!((missing.name, code(missing.error_code)), (None, ErrorCode::UnknownTopicId));
    // Before ids could be used they are refused, topic by topic.
    let mut early = by_id(id);
    early.topics.as_mut().unwrap()[0].name = Some(Str::from("one"));
    assert_eq!(code(node.ask(10, &early).topics[0].error_code), ErrorCode::InvalidRequest);
}

#[test]
fn unknown_topics_come_into_being_when_they_may() {
    let node = Node::start(&["num.partitions=2"]);
    assert_eq!(code(described(&node, 12, "no", false).error_code), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(code(described(&node, 12, "in valid", true).error_code), ErrorCode::InvalidTopicException);
    let mut told = described(&node, 12, "yes", true);
    assert_eq!(code(told.error_code), ErrorCode::UnknownTopicOrPartition);
    for _ in 0..200 {
        node.pause(10);
        told = described(&node, 12, "yes", true);
        if told.error_code == 0 {
            break;
        }
    }
    assert_eq!((code(told.error_code), told.partitions.len()), (ErrorCode::None, 2));
    assert_eq!(code(described(&node, 12, "no", false).error_code), ErrorCode::UnknownTopicOrPartition);

    let strict = Node::start(&["auto.create.topics.enable=false"]);
    described(&strict, 12, "yes", true);
    strict.pause(100);
    assert_eq!(code(described(&strict, 12, "yes", true).error_code), ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn topics_are_described_page_by_page() {
    let node = Node::start(&[]);
    node.create_topic("a", 3, &[]);
    node.create_topic("b", 3, &[]);
    let mut request = DescribeTopicPartitionsRequest { response_partition_limit: 4, ..Default::default() };
    let page = node.ask(0, &request);
    let sizes: Vec<_> =
        page.topics.iter().map(|it| (it.name.clone().unwrap(), it.partitions.len())).collect();
    assert_eq!(sizes, [(Str::from("a"), 3), (Str::from("b"), 1)]);
    let next = page.next_cursor.unwrap();
    assert_eq!((&*next.topic_name, next.partition_index), ("b", 1));
    request.cursor = Some(ottla_wire::messages::describe_topic_partitions_request::Cursor {
        topic_name: next.topic_name,
        partition_index: next.partition_index,
        ..Default::default()
    });
    let page = node.ask(0, &request);
    assert_eq!((page.topics.len(), page.topics[0].partitions.len()), (1, 2));
    assert!(page.next_cursor.is_none());
    request.cursor = None;
    request.topics = vec![TopicRequest { name: Str::from("missing"), ..Default::default() }];
    assert_eq!(code(node.ask(0, &request).topics[0].error_code), ErrorCode::UnknownTopicOrPartition);
}
