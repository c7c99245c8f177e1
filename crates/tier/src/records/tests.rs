//! Records as Apache Kafka 4.4.0 writes them.

use ottla_base::{LeaderEpoch, NodeId, Offset, PartitionIndex, Str, Timestamp};
use ottla_storage::leader_epochs::EpochStart;

use super::*;

fn partition(index: i32) -> TieredPartition {
    TieredPartition {
        topic_id: "h-b6eSAyQ3KMj9TIYrW8Wg".parse().unwrap(),
        index: PartitionIndex(index),
        topic: Str::from("orders"),
    }
}

fn metadata() -> SegmentMetadata {
    let epoch = |epoch, start| EpochStart { epoch: LeaderEpoch(epoch), start: Offset(start) };
    SegmentMetadata {
        id: SegmentId { partition: partition(1), id: "EM2ziGkhQyWhNmC3xwYVXw".parse().unwrap() },
        start: Offset(0),
        end: Offset(100),
        broker: NodeId(1),
        max_timestamp: Timestamp(1_700_000_000_123),
        recorded_at: Timestamp(1_700_000_001_000),
        size: 4096,
        epochs: vec![epoch(0, 0), epoch(2, 40)],
        custom: None,
        state: SegmentState::CopyStarted,
        txn_index_empty: true,
    }
}

fn update() -> SegmentUpdate {
    SegmentUpdate {
        id: metadata().id,
        state: SegmentState::CopyFinished,
        broker: NodeId(1),
        recorded_at: Timestamp(1_700_000_002_000),
        custom: None,
    }
}

fn bytes(hex: &str) -> Bytes {
    let digits: Vec<u8> = hex.bytes().map(|it| (it as char).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|it| it[0] << 4 | it[1]).collect::<Vec<u8>>().into()
}

const ADDED: &str = "010000076f726465727387e6fa79203243728c8fd4c862b5bc5a000000010010cdb38869214325a13660b7c706155f000000\
                     0000000000000000000000000063000000010000018bcfe5687b0000018bcfe56be803000000000000000000000000000000000200000000000000280000001000000001000101";
const UPDATED: &str = "010100076f726465727387e6fa79203243728c8fd4c862b5bc5a000000010010cdb38869214325a13660b7c706155f00000000010000018bcfe56fd0000100";
const PARTITION_DELETED: &str =
    "010200076f726465727387e6fa79203243728c8fd4c862b5bc5a0000000100000000010000018bcfe573b80000";

#[test]
fn records_are_those_that_kafka_writes() {
    assert_eq!(encode_event(&Event::Added(metadata())).unwrap(), bytes(ADDED));
    assert_eq!(encode_event(&Event::Updated(update())).unwrap(), bytes(UPDATED));
    assert_eq!(decode_event(bytes(ADDED)).unwrap(), Some(Event::Added(metadata())));
    assert_eq!(decode_event(bytes(UPDATED)).unwrap(), Some(Event::Updated(update())));
    assert_eq!(decode_event(bytes(PARTITION_DELETED)).unwrap(), None);
}

#[test]
fn a_partitions_records_are_where_kafka_looks_for_them() {
    for (count, index, expected) in [(1, 0, 0), (3, 7, 0), (50, 0, 37), (50, 1, 4), (50, 7, 10)] {
        assert_eq!(
            metadata_partition(&partition(index), count),
            PartitionIndex(expected),
            "{index} of {count}"
        );
    }
}

#[test]
fn no_bytes_are_too_strange() {
    let good = bytes(ADDED);
    for len in 0..good.len() {
        assert!(decode_event(good.slice(..len)).is_err());
    }
    for at in 0..good.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bad = good.to_vec();
            bad[at] ^= flip;
            if let Ok(Some(Event::Added(it))) = decode_event(bad.into()) {
                assert!(it.start < it.end && !it.epochs.is_empty(), "byte {at}");
            }
        }
    }
}
