//! Topics that are compacted while they are used: what is left is served, found again after a restart, and counted.

use ottla_base::{ErrorCode, Offset, Str};
use ottla_record::{Batches, StoredBatch};
use ottla_storage::TopicPartition;
use ottla_wire::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use ottla_wire::messages::describe_transactions_request::DescribeTransactionsRequest;
use ottla_wire::messages::end_txn_request::EndTxnRequest;
use ottla_wire::messages::find_coordinator_request::FindCoordinatorRequest;
use ottla_wire::messages::init_producer_id_request::InitProducerIdRequest;
use ottla_wire::messages::init_producer_id_response::InitProducerIdResponse;

use crate::configs::set;
use crate::fixture::{Made, Node, batch_of};

const SETTINGS: [&str; 3] =
    ["log.cleaner.backoff.ms=10", "log.cleaner.io.buffer.size=8192", "log.segment.delete.delay.ms=0"];

/// Offsets, keys and values from the start, read batch by batch.
fn read(node: &Node) -> Vec<(i64, String, String)> {
    let (mut found, mut from) = (Vec::new(), 0);
    loop {
        let answer = node.fetch("t", from);
        let bytes = answer.records.unwrap_or_default();
        if bytes.is_empty() {
            return found;
        }
        for stored in Batches::new(&bytes) {
            let StoredBatch::V2(batch) = stored.unwrap() else { panic!("a batch of an old format") };
            from = batch.last_offset().after(1).get();
            let payload = batch.decompressed(1 << 20).unwrap();
            found.extend(batch.records(&payload).map(|record| {
                let record = record.unwrap();
                let text =
                    |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
                (record.offset.get(), text(record.key), text(record.value))
            }));
        }
    }
}

fn wait_until_cleaned(node: &Node, topic: &str, at_least: i64) {
    let logs = &node.running().broker().logs;
    for _ in 0..1000 {
        if logs.cleaned_to(&TopicPartition::new(topic, 0)).is_some_and(|it| it >= Offset(at_least)) {
            return;
        }
        node.pause(10);
    }
    panic!("the topic is not compacted");
}

#[test]
fn of_each_key_the_last_record_is_served() {
    let mut node = Node::start(&SETTINGS);
    let configs = [("cleanup.policy", "compact"), ("internal.segment.bytes", "2000"), ("retention.ms", "-1")];
    node.create_topic("t", 1, &configs);
    let put = |node: &Node, round: i64| {
        let (key, value) = (format!("key {}", round % 5), format!("value {round}"));
        let sent = batch_of(&[(Some(&key), &value), (Some("all"), &value)], Made::default());
        assert_eq!(node.produce("t", sent).error_code, 0);
    };
    (0..200).for_each(|round| put(&node, round));
    wait_until_cleaned(&node, "t", 300);
    let last = |found: &[(i64, String, String)], key: &str| {
        found.iter().rfind(|it| it.1 == key).map(|it| (it.0, it.2.clone()))
    };
    let check = |node: &Node, rounds: i64| {
        let found = read(node);
        assert!(found.len() < 200 && found.is_sorted(), "{} records are left", found.len());
        for key in 0..5 {
            let round = (0..rounds).rfind(|it| it % 5 == key).unwrap();
            let expected = Some((round * 2, format!("value {round}")));
            assert_eq!(last(&found, &format!("key {key}")), expected);
        }
    };
    check(&node, 200);
    let page = node.metrics();
    let value = |name: &str| {
        let line =
            page.lines().find(|it| it.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert!(value("ottla_log_cleaner_passes_total") >= 1.0);
    assert!(value("ottla_log_cleaner_bytes_read_total") > value("ottla_log_cleaner_bytes_written_total"));
    assert!(value("kafka_log_logcleaner_cleaner_recopy_percent") < 100.0);
    assert!(page.contains("kafka_log_logcleanermanager_uncleanable_partitions_count{logDirectory="));
    for end in [Node::stop, Node::kill] {
        end(&mut node);
        node.resume();
        check(&node, 200);
    }
    (200..400).for_each(|round| put(&node, round));
    wait_until_cleaned(&node, "t", 700);
    check(&node, 400);
}

#[test]
fn a_topic_that_is_compacted_and_deleted_loses_what_is_old() {
    let node = Node::start(&SETTINGS);
    let configs =
        [("cleanup.policy", "compact,delete"), ("internal.segment.bytes", "2000"), ("retention.ms", "1")];
    node.create_topic("t", 1, &configs);
    for round in 0..100 {
        let sent =
            batch_of(&[(Some(&format!("key {round}")), "v")], Made { timestamp: 1000, ..Made::default() });
        assert_eq!(node.produce("t", sent).error_code, 0);
    }
    for _ in 0..1000 {
        // The end can be asked about also when nothing is left.
        if node.fetch("t", 100).log_start_offset >= 90 {
            return;
        }
        node.pause(10);
    }
    panic!("old segments are not deleted");
}

#[test]
fn committed_offsets_are_known_from_a_compacted_log() {
    let mut node =
        Node::start(&[SETTINGS[0], "offsets.topic.num.partitions=1", "offsets.topic.replication.factor=1"]);
    node.create_topic("t", 1, &[]);
    node.ask(3, &FindCoordinatorRequest { key: Str::from_static("a"), ..Default::default() });
    let mut tries = (0..1000).take_while(|_| node.commit("a", 0) != 0);
    tries.by_ref().for_each(|_| node.pause(10));
    for (key, value) in [("internal.segment.bytes", "2000"), ("min.cleanable.dirty.ratio", "0.01")] {
        assert_eq!(set(&node, 2, "__consumer_offsets", key, value).0, ErrorCode::None);
    }
    for offset in 1..300 {
        assert_eq!(node.commit(if offset % 2 == 0 { "a" } else { "b" }, offset), 0);
    }
    wait_until_cleaned(&node, "__consumer_offsets", 200);
    for end in [Node::stop, Node::kill] {
        end(&mut node);
        node.resume();
        for (group, offset) in [("a", 298), ("b", 299)] {
            let found = (0..1000).find_map(|_| {
                let found = node.committed(group).ok();
                if found.is_none() {
                    node.pause(10);
                }
                found
            });
            assert_eq!(found, Some(offset), "{group}");
        }
    }
}

#[test]
fn transactions_are_known_from_a_compacted_log() {
    let settings = [
        SETTINGS[0],
        "transaction.state.log.num.partitions=1",
        "transaction.state.log.replication.factor=1",
        "transaction.state.log.min.isr=1",
    ];
    let mut node = Node::start(&settings);
    node.create_topic("t", 1, &[]);
    let begin = |node: &Node, id: &'static str| -> InitProducerIdResponse {
        let request = InitProducerIdRequest {
            transactional_id: Some(Str::from_static(id)),
            transaction_timeout_ms: 600_000,
            ..Default::default()
        };
        let tries = (0..1000).map(|_| node.ask(4, &request));
        use ErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
        let passing =
            [CoordinatorNotAvailable, CoordinatorLoadInProgress, NotCoordinator].map(ErrorCode::code);
        let mut tries = tries.inspect(|it| {
            if passing.contains(&it.error_code) {
                node.pause(10)
            }
        });
        tries.find(|it| !passing.contains(&it.error_code)).unwrap()
    };
    let states = |node: &Node| {
        let transactional_ids = ["a", "b", "open"].map(Str::from_static).into();
        let request = DescribeTransactionsRequest { transactional_ids, ..Default::default() };
        let told = node.ask(0, &request).transaction_states.into_iter();
        let told = told
            .map(|it| (it.error_code, it.transaction_state, it.producer_id, it.producer_epoch, it.topics));
        told.collect::<Vec<_>>()
    };
    let key = Str::from_static("a");
    node.ask(3, &FindCoordinatorRequest { key, key_type: 1, ..Default::default() });
    assert_eq!(begin(&node, "a").error_code, 0);
    for (key, value) in [("internal.segment.bytes", "2000"), ("min.cleanable.dirty.ratio", "0.01")] {
        assert_eq!(set(&node, 2, "__transaction_state", key, value).0, ErrorCode::None);
    }
    let open = begin(&node, "open");
    let topic =
        AddPartitionsToTxnTopic { name: Str::from_static("t"), partitions: vec![0], ..Default::default() };
    let added = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: Str::from_static("open"),
        v3_and_below_producer_id: open.producer_id,
        v3_and_below_producer_epoch: open.producer_epoch,
        v3_and_below_topics: vec![topic],
        ..Default::default()
    };
    let added = node.ask(3, &added);
    assert_eq!(added.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code, 0);
    for round in 0..300 {
        assert_eq!(begin(&node, if round % 2 == 0 { "a" } else { "b" }).error_code, 0);
    }
    wait_until_cleaned(&node, "__transaction_state", 200);
    let before = states(&node);
    assert!(before.iter().all(|it| it.0 == 0), "{before:?}");
    assert_eq!((before[2].1.as_str(), before[2].4.len()), ("Ongoing", 1));
    for end in [Node::stop, Node::kill] {
        end(&mut node);
        node.resume();
        // Whoever asks first may come before all is read.
        let found = (0..1000).map(|_| states(&node)).inspect(|_| node.pause(10)).find(|it| it[0].0 == 0);
        assert_eq!(found.unwrap(), before);
    }
    assert_eq!(begin(&node, "a").producer_epoch, before[0].3 + 1);
    let commit = EndTxnRequest {
        transactional_id: Str::from_static("open"),
        producer_id: open.producer_id,
        producer_epoch: open.producer_epoch,
        committed: true,
        ..Default::default()
    };
    assert_eq!(node.ask(3, &commit).error_code, 0);
}
