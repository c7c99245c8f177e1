//! Names against what Kafka writes.

use super::*;

#[test]
fn segment_names_round_trip() {
    for kind in SegmentFile::ALL {
        for standing in [Standing::Live, Standing::Deleted, Standing::Cleaned, Standing::Swap] {
            let name = FileName { base: Offset(42), kind, standing };
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
    }
    assert_eq!(
        FileName::live(Offset(42), SegmentFile::TimeIndex).to_string(),
        "00000000000000000042.timeindex"
    );
    let largest = FileName::live(Offset(i64::MAX), SegmentFile::Log).to_string();
    assert_eq!(FileName::parse(&largest).map(|name| name.base), Some(Offset(i64::MAX)));
}

#[test]
fn other_files_are_not_segments() {
    for name in [
        "leader-epoch-checkpoint",
        "partition.metadata",
        "00000000000000000010-0000000001.checkpoint",
        "00000000000000000010-0000000001.checkpoint.deleted",
        ".log",
        "x.log",
        "-1.log",
        "99999999999999999999.log",
        "00000000000000000000.log.swap.deleted",
        "quorum-state",
    ] {
        assert_eq!(FileName::parse(name), None, "{name}");
    }
}

#[test]
fn directory_names_round_trip() {
    let partition = TopicPartition::new("a-topic.with-dots", 7);
    let unique = Uuid([0xab; 16]);
    for standing in [
        DirectoryStanding::Current,
        DirectoryStanding::Future,
        DirectoryStanding::Delete,
        DirectoryStanding::Stray,
    ] {
        let name = directory_name(&partition, standing, unique);
        assert_eq!(parse_directory_name(&name), Some((partition.clone(), standing)));
    }
    assert_eq!(directory_name(&partition, DirectoryStanding::Current, unique), "a-topic.with-dots-7");
}

#[test]
fn long_names_are_cut_when_deleted() {
    let partition = TopicPartition::new("t".repeat(249), 12345);
    let name = directory_name(&partition, DirectoryStanding::Delete, Uuid([1; 16]));
    assert_eq!(name.len(), 255);
    assert_eq!(parse_directory_name(&name).map(|(_, standing)| standing), Some(DirectoryStanding::Delete));
}

#[test]
fn a_topic_may_look_like_a_marked_directory() {
    assert_eq!(
        parse_directory_name("orders-delete-3"),
        Some((TopicPartition::new("orders-delete", 3), DirectoryStanding::Current))
    );
    for name in ["orders", "-3", "orders-", "orders-x", "orders-99999999999", "lost+found"] {
        assert_eq!(parse_directory_name(name), None, "{name}");
    }
}
