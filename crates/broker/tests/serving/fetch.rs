//! What consumers see.

use std::time::Duration;

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_wire::messages::fetch_request::{FetchRequest, ForgottenTopic};

use crate::fixture::{
    Client, Made, Node, batch, batch_of, code, fetch_request, fetch_topic, first, produce_request,
};

fn size(records: &Option<bytes::Bytes>) -> usize {
    records.as_ref().map_or(0, bytes::Bytes::len)
}

#[test]
fn records_come_back_in_every_version() {
    let node = Node::start(&[]);
    let id = node.create_topic("t", 1, &[]);
    let sent = batch(&["a", "b"]);
    assert_eq!(node.produce("t", sent.clone()).error_code, 0);
    for version in 4..=18 {
        let mut request = fetch_request("t", 0);
        if version >= 13 {
            request.topics[0].topic = Str::default();
            request.topics[0].topic_id = id;
        }
        if version >= 15 {
            // The field has moved.
            request.replica_id = FetchRequest::default().replica_id;
        }
        let answer = node.ask(version, &request);
        assert_eq!(answer.error_code, 0, "{version}");
        let partition = first(&answer);
        assert_eq!((code(partition.error_code), partition.high_watermark), (ErrorCode::None, 2), "{version}");
        assert_eq!(partition.last_stable_offset, 2);
        assert_eq!(size(&partition.records), sent.len(), "{version}");
        assert!(partition.aborted_transactions.is_none());
    }
    // What was sent is what comes back, but for the leader epoch and the base offset in front of the checksum.
    let records = node.fetch("t", 1).records.unwrap();
    assert_eq!(records[16..], sent[16..]);
}

#[test]
fn what_cannot_be_read_says_why() {
    let node = Node::start(&[]);
    let id = node.create_topic("t", 1, &[]);
    node.produce("t", batch(&["a"]));
    assert_eq!(code(node.fetch("missing", 0).error_code), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(code(node.fetch("t", 2).error_code), ErrorCode::OffsetOutOfRange);
    assert_eq!(code(node.fetch("t", -1).error_code), ErrorCode::OffsetOutOfRange);
    assert_eq!(code(node.fetch("t", 1).error_code), ErrorCode::None);
    let mut request = fetch_request("t", 0);
    request.topics[0].partitions[0].partition = 1;
    assert_eq!(code(first(&node.ask(12, &request)).error_code), ErrorCode::UnknownTopicOrPartition);
    for (epoch, expected) in [(0, ErrorCode::None), (7, ErrorCode::UnknownLeaderEpoch)] {
        let mut request = fetch_request("t", 0);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        assert_eq!(code(first(&node.ask(12, &request)).error_code), expected);
    }
    let mut request = fetch_request("", 0);
    request.replica_id = -1;
    request.topics[0].topic_id = Uuid([9; 16]);
    assert_eq!(code(first(&node.ask(13, &request)).error_code), ErrorCode::UnknownTopicId);
    request.topics[0].topic_id = id;
    assert_eq!(code(first(&node.ask(13, &request)).error_code), ErrorCode::None);
}

#[test]
fn a_reader_gets_at_least_one_batch_and_at_most_what_it_wants() {
    let node = Node::start(&[]);
    node.create_topic("t", 2, &[]);
    let long = "x".repeat(1_000);
    let one = batch(&[&long]);
    for _ in 0..4 {
        assert_eq!(node.produce("t", one.clone()).error_code, 0);
    }
    let mut request = fetch_request("t", 0);
    request.topics[0].partitions[0].partition_max_bytes = 1;
    assert_eq!(size(&first(&node.ask(12, &request)).records), one.len());
    request.topics[0].partitions[0].partition_max_bytes = one.len() as i32 * 2 + 10;
    assert!(size(&first(&node.ask(12, &request)).records) >= one.len() * 2);
    assert!(size(&first(&node.ask(12, &request)).records) <= one.len() * 2 + 10);
    request.topics[0].partitions[0].partition_max_bytes = 1 << 20;
    request.max_bytes = 1;
    assert_eq!(size(&first(&node.ask(12, &request)).records), one.len());
}

#[test]
fn a_reader_waits_for_enough_and_no_longer() {
    let node = Node::start(&[]);
    node.create_topic("t", 1, &[]);
    let mut request = fetch_request("t", 0);
    request.min_bytes = 1;
    request.max_wait_ms = 300;
    let began = node.host.now();
    let answer = node.ask(12, &request);
    assert_eq!(size(&first(&answer).records), 0);
    assert!(node.host.now().since(began) >= Duration::from_millis(290), "{:?}", node.host.now().since(began));

    request.max_wait_ms = 15_000;
    let (reader, writer) = (node.connect(), node.connect());
    let began = node.host.now();
    node.run(async {
        let waiting = reader.ask(12, &request);
        let writing = async {
            node.host.sleep(Duration::from_millis(50)).await;
            writer.ask(9, &produce_request("t", 1, batch(&["a"]))).await.unwrap();
        };
        let (answer, ()) = tokio::join!(waiting, writing);
        assert!(size(&first(&answer.unwrap()).records) > 0);
    });
    assert!(node.host.now().since(began) < Duration::from_secs(10));
    // An error is told at once.
    let mut lost = request;
    lost.topics[0].partitions[0].fetch_offset = 99;
    let began = node.host.now();
    assert_eq!(code(first(&node.ask(12, &lost)).error_code), ErrorCode::OffsetOutOfRange);
    assert!(node.host.now().since(began) < Duration::from_secs(5));
}

#[test]
fn readers_of_committed_records_are_told_of_aborted_ones() {
    let node = Node::start(&[]);
    node.create_topic("t", 1, &[]);
    node.produce("t", batch(&["a"]));
    let mut request = fetch_request("t", 0);
    request.isolation_level = 1;
    let partition = first(&node.ask(12, &request)).clone();
    assert_eq!(partition.aborted_transactions.map(|it| it.len()), Some(0));
    assert_eq!(partition.last_stable_offset, 1);
}

#[test]
fn a_diverging_reader_is_told_where() {
    let node = Node::start(&[]);
    node.create_topic("t", 1, &[]);
    node.produce("t", batch(&["a", "b"]));
    let mut request = fetch_request("t", 9);
    request.topics[0].partitions[0].last_fetched_epoch = 0;
    let partition = first(&node.ask(12, &request)).clone();
    assert_eq!((partition.diverging_epoch.epoch, partition.diverging_epoch.end_offset), (0, 2));
}

async fn in_session(client: &Client, session: (i32, i32), partitions: &[(i32, i64)]) -> (i32, i16, Vec<i32>) {
    let mut request = fetch_request("t", 0);
    (request.session_id, request.session_epoch) = session;
    request.topics = match partitions {
        [] => Vec::new(),
        wanted => vec![fetch_topic("t", wanted)],
    };
    let answer = client.ask(12, &request).await.unwrap();
    let told = answer.responses.iter().flat_map(|it| &it.partitions).map(|it| it.partition_index);
    (answer.session_id, answer.error_code, told.collect())
}

#[test]
fn a_session_tells_only_what_moved() {
    let node = Node::start(&[]);
    node.create_topic("t", 3, &[]);
    let client = node.connect();
    node.run(async {
        let (id, error, told) = in_session(&client, (0, 0), &[(0, 0), (1, 0), (2, 0)]).await;
        assert!(id > 0, "{id}");
        assert_eq!((error, told), (0, vec![0, 1, 2]));
        assert_eq!(in_session(&client, (id, 1), &[]).await, (id, 0, vec![]));
        client.ask(9, &produce_request("t", 1, batch(&["a"]))).await.unwrap();
        assert_eq!(in_session(&client, (id, 2), &[]).await, (id, 0, vec![0]));
        assert_eq!(in_session(&client, (id, 3), &[(0, 1)]).await, (id, 0, vec![]));
        let wrong = in_session(&client, (id, 9), &[]).await;
        assert_eq!(code(wrong.1), ErrorCode::InvalidFetchSessionEpoch);
        let unknown = in_session(&client, (id + 1, 4), &[]).await;
        assert_eq!(code(unknown.1), ErrorCode::FetchSessionIdNotFound);
        // A partition that is forgotten is not told of any more.
        client.ask(9, &produce_request("t", 1, batch(&["b"]))).await.unwrap();
        let mut request = fetch_request("t", 0);
        (request.session_id, request.session_epoch) = (id, 4);
        request.topics = Vec::new();
        request.forgotten_topics_data =
            vec![ForgottenTopic { topic: Str::from("t"), partitions: vec![0], ..Default::default() }];
        let answer = client.ask(12, &request).await.unwrap();
        assert_eq!((answer.error_code, answer.responses.len()), (0, 0));
        // The last epoch ends the session.
        assert_eq!(in_session(&client, (id, -1), &[(0, 0)]).await.0, 0);
        assert_eq!(code(in_session(&client, (id, 5), &[]).await.1), ErrorCode::FetchSessionIdNotFound);
    });
}

#[test]
fn compressed_batches_are_left_as_they_came() {
    let node = Node::start(&[]);
    node.create_topic("t", 1, &[]);
    for compression in
        [ottla_record::Compression::Gzip, ottla_record::Compression::Lz4, ottla_record::Compression::Zstd]
    {
        let sent = batch_of(&[(Some("k"), "v"); 20], Made { compression, ..Made::default() });
        let taken = node.produce("t", sent.clone());
        let records = node.fetch("t", taken.base_offset).records.unwrap();
        assert_eq!(records[16..], sent[16..]);
    }
}
