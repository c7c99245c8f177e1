//! What producers see.

use ottla_base::{ErrorCode, Str};
use ottla_record::Compression;
use ottla_wire::messages::init_producer_id_request::InitProducerIdRequest;
use ottla_wire::messages::produce_request::ProduceRequest;

use crate::fixture::{Made, Node, batch, batch_of, code, produce_request};

#[test]
fn batches_get_offsets_in_every_version() {
    let node = Node::start(&[]);
    let id = node.create_topic("t", 1, &[]);
    let mut next = 0;
    for version in 3..=13 {
        let mut request = produce_request("t", if version % 2 == 0 { 1 } else { -1 }, batch(&["a", "b"]));
        if version >= 13 {
            request.topic_data[0].topic_id = id;
            request.topic_data[0].name = Str::default();
        }
        let answer = node.ask(version, &request);
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!((code(partition.error_code), partition.base_offset), (ErrorCode::None, next), "{version}");
        assert_eq!(partition.log_append_time_ms, -1);
        next += 2;
    }
    assert_eq!(node.fetch("t", 0).high_watermark, next);
}

#[test]
fn what_is_not_there_is_refused_by_name_and_by_id() {
    let node = Node::start(&[]);
    node.create_topic("t", 1, &[]);
    let refused = node.produce("missing", batch(&["a"]));
    assert_eq!((code(refused.error_code), refused.base_offset), (ErrorCode::UnknownTopicOrPartition, -1));
    let mut request = produce_request("", 1, batch(&["a"]));
    request.topic_data[0].topic_id = ottla_base::Uuid([9; 16]);
    let refused = &node.ask(13, &request).responses[0].partition_responses[0];
    assert_eq!(code(refused.error_code), ErrorCode::UnknownTopicId);
    let mut request = produce_request("t", 1, batch(&["a"]));
    request.topic_data[0].partition_data[0].index = 1;
    let refused = &node.ask(9, &request).responses[0].partition_responses[0];
    assert_eq!(code(refused.error_code), ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn acknowledgements_mean_what_kafka_means() {
    let node = Node::start(&[]);
    node.create_topic("t", 1, &[]);
    let refused = node.ask(9, &produce_request("t", 2, batch(&["a"])));
    let refused = &refused.responses[0].partition_responses[0];
    assert_eq!(code(refused.error_code), ErrorCode::InvalidRequiredAcks);

    let client = node.connect();
    let send = |request: &ProduceRequest| {
        client
            .connection
            .send_unanswered(ottla_wire::ApiKey::Produce, 9, [], |it| {
                ottla_wire::Message::encode(request, it, 9)
            })
            .unwrap();
    };
    node.run(async {
        send(&produce_request("t", 0, batch(&["a"])));
        // The answer to what follows says that the connection lives and that the first was appended.
        let answer = client.ask(9, &produce_request("t", 1, batch(&["b"]))).await.unwrap();
        assert_eq!(answer.responses[0].partition_responses[0].base_offset, 1);
        send(&produce_request("missing", 0, batch(&["a"])));
        client.connection.closed().await;
    });
}

#[test]
fn idempotent_producers_are_held_to_their_sequences() {
    let node = Node::start(&[]);
    node.create_topic("t", 1, &[]);
    let drawn = node.ask(5, &InitProducerIdRequest { transactional_id: None, ..Default::default() });
    assert_eq!(drawn.error_code, 0);
    let id = drawn.producer_id;
    let of = |sequence| {
        batch_of(&[(None, "a"), (None, "b")], Made { producer: Some((id, 0, sequence)), ..Made::default() })
    };
    let told = |sequence| {
        let answer = node.produce("t", of(sequence));
        (code(answer.error_code), answer.base_offset)
    };
    assert_eq!(told(0), (ErrorCode::None, 0));
    assert_eq!(told(2), (ErrorCode::None, 2));
    assert_eq!(told(0), (ErrorCode::None, 0), "a batch sent again has its first offset");
    assert_eq!(told(7), (ErrorCode::OutOfOrderSequenceNumber, -1));
    assert_eq!(told(4), (ErrorCode::None, 4));
    let old = batch_of(&[(None, "a")], Made { producer: Some((id, 1, 0)), ..Made::default() });
    assert_eq!(code(node.produce("t", old).error_code), ErrorCode::None);
    assert_eq!(told(6).0, ErrorCode::InvalidProducerEpoch);
}

#[test]
fn a_single_replica_is_enough_whatever_min_insync_replicas_says() {
    let node = Node::start(&["min.insync.replicas=3"]);
    node.create_topic("t", 1, &[("min.insync.replicas", "2")]);
    assert_eq!(code(node.produce("t", batch(&["a"])).error_code), ErrorCode::None);
}

#[test]
fn batches_that_break_rules_are_refused() {
    let node = Node::start(&[]);
    node.create_topic("small", 1, &[("max.message.bytes", "100")]);
    let long = "x".repeat(200);
    assert_eq!(code(node.produce("small", batch(&[&long])).error_code), ErrorCode::MessageTooLarge);
    assert_eq!(code(node.produce("small", batch(&["x"])).error_code), ErrorCode::None);

    node.create_topic("compacted", 1, &[("cleanup.policy", "compact")]);
    let mixed = batch_of(&[(Some("k"), "v"), (None, "v")], Made::default());
    let refused = node.produce("compacted", mixed);
    assert_eq!(code(refused.error_code), ErrorCode::InvalidRecord);
    assert_eq!(refused.record_errors.len(), 1);
    assert_eq!(refused.record_errors[0].batch_index, 1);
    assert!(refused.error_message.is_some());

    node.create_topic("t", 1, &[]);
    let mut broken = batch(&["a"]).to_vec();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    assert_eq!(code(node.produce("t", broken.into()).error_code), ErrorCode::CorruptMessage);
    let refused = node.produce("t", bytes::Bytes::new());
    assert_eq!(code(refused.error_code), ErrorCode::InvalidRecord, "{refused:?}");
    assert_eq!(node.fetch("t", 0).high_watermark, 0);
}

#[test]
fn internal_topics_are_written_by_administrators_only() {
    let node = Node::start(&[]);
    node.create_topic("__consumer_offsets", 1, &[("cleanup.policy", "delete")]);
    let refused = node.produce("__consumer_offsets", batch(&["a"]));
    assert_eq!(code(refused.error_code), ErrorCode::InvalidTopicException);
    let admin = node.connect_as("__admin_client");
    let request = produce_request("__consumer_offsets", 1, batch(&["a"]));
    let taken = node.run(admin.ask(9, &request)).unwrap();
    assert_eq!(code(taken.responses[0].partition_responses[0].error_code), ErrorCode::None);
}

#[test]
fn a_topic_may_demand_its_own_compression_and_time() {
    let node = Node::start(&[]);
    node.create_topic("zstd", 1, &[("compression.type", "zstd")]);
    let lines: Vec<String> = (0..50).map(|it| format!("the same line again and again {it}")).collect();
    let lines: Vec<_> = lines.iter().map(|it| (None, it.as_str())).collect();
    let gzip = batch_of(&lines, Made { compression: Compression::Gzip, ..Made::default() });
    assert_eq!(code(node.produce("zstd", gzip).error_code), ErrorCode::None);
    let records = node.fetch("zstd", 0).records.unwrap();
    assert_eq!(records[22] & 7, 4, "the codec in the attributes is zstd");

    node.create_topic("now", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let answer = node.produce("now", batch(&["a"]));
    assert!(answer.log_append_time_ms > 1_000_000_000_000, "{answer:?}");
}
