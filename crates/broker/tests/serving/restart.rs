//! What a server knew it knows again, whether it was stopped or killed.

use ottla_base::ErrorCode;
use ottla_wire::messages::init_producer_id_request::InitProducerIdRequest;
use ottla_wire::messages::metadata_request::MetadataRequest;

use crate::fixture::{Made, Node, batch, batch_of, code};

fn check(end: fn(&mut Node)) {
    let mut node = Node::start(&[]);
    let id = node.create_topic("t", 2, &[("retention.ms", "-1")]);
    let producer =
        node.ask(5, &InitProducerIdRequest { transactional_id: None, ..Default::default() }).producer_id;
    // Old records make a producer that has expired.
    let timestamp = ottla_host::Host::real().wall_clock().get();
    let of = |sequence| {
        let made = Made { producer: Some((producer, 0, sequence)), timestamp, ..Made::default() };
        batch_of(&[(Some("k"), "v"), (None, "w")], made)
    };
    for sequence in [0, 2, 4] {
        assert_eq!(code(node.produce("t", of(sequence)).error_code), ErrorCode::None);
    }
    let before = node.fetch("t", 0).records;
    for round in 1..=3 {
        end(&mut node);
        node.resume();
        let all = node.ask(12, &MetadataRequest { topics: None, ..Default::default() });
        let told: Vec<_> = all.topics.iter().map(|it| (it.topic_id, it.partitions.len())).collect();
        assert_eq!(told, [(id, 2)], "round {round}");
        let after = node.fetch("t", 0);
        assert_eq!(after.high_watermark, 6, "round {round}");
        assert_eq!(after.records, before, "round {round}");
        let again = node.produce("t", of(4));
        assert_eq!((code(again.error_code), again.base_offset), (ErrorCode::None, 4), "round {round}");
        let gap = node.produce("t", of(99));
        assert_eq!(code(gap.error_code), ErrorCode::OutOfOrderSequenceNumber, "round {round}");
    }
    let next = node.ask(5, &InitProducerIdRequest { transactional_id: None, ..Default::default() });
    assert!(next.producer_id > producer, "ids are never given twice");
    assert_eq!(node.produce("t", of(6)).base_offset, 6);
    assert_eq!(code(node.produce("t", batch(&["x"])).error_code), ErrorCode::None);
}

#[test]
fn a_server_that_was_stopped_goes_on() {
    check(Node::stop);
}

#[test]
fn a_server_that_was_killed_goes_on() {
    check(Node::kill);
}
