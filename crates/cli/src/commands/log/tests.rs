//! Files that Apache Kafka wrote, shown as `kafka-dump-log` of Kafka shows them; and damage, which is reported.

use std::path::Path;

use bytes::Bytes;
use ottla_base::{BrokerEpoch, LeaderEpoch, NodeId, Offset, Timestamp, Uuid};
use ottla_host::disk::Open;
use ottla_host::{Disk, Host};
use ottla_record::{BatchBuilder, BatchOptions, Compression};
use ottla_storage::TopicPartition;
use ottla_storage::checkpoint_file::write_offsets;
use ottla_storage::clean_shutdown::write_clean_shutdown;
use ottla_storage::meta_properties::MetaProperties;
use ottla_storage::partition_metadata::write_topic_id;
use ottla_wire::records::group::{GroupKey, GroupValue, OffsetCommitKey, OffsetCommitValue};
use ottla_wire::{encode_coordinator_key, encode_coordinator_value};

use super::payload::Decoder;
use super::report::Report;
use super::{Depth, dump};
use crate::output::{Output, Style};

const METADATA_SEGMENT: &[u8] = include_bytes!("../../../../metadata/src/testdata/kafka_4.4.0/metadata.log");
const METADATA_SNAPSHOT: &[u8] =
    include_bytes!("../../../../metadata/src/testdata/kafka_4.4.0/metadata.checkpoint");
const TRANSACTIONS: &[u8] =
    include_bytes!("../../../../storage/testdata/golden-0/00000000000000000000.txnindex");
const PRODUCERS: &[u8] =
    include_bytes!("../../../../storage/testdata/golden-0/00000000000000000020.snapshot");
const LEADER_EPOCHS: &[u8] = include_bytes!("../../../../storage/testdata/golden-0/leader-epoch-checkpoint");

const SEGMENT_NAME: &str = "00000000000000000000.log";

fn disk() -> Disk {
    Host::simulated(1).disk()
}

fn put(disk: &Disk, path: &str, bytes: &[u8]) {
    disk.create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    disk.open(path, Open::Truncate).unwrap().write_all_at(bytes, 0).unwrap();
}

/// What is shown of a path, and how many problems there are.
fn shown(disk: &Disk, path: &str, json: bool) -> (String, usize) {
    let mut report = Report::new(Output::in_memory(), Style { json }, false);
    let depth = Depth { deep: true, decoder: Decoder::Auto };
    dump(disk, Path::new(path), depth, &mut report).unwrap();
    (report.text().to_owned(), report.problems())
}

/// The file is shown as Kafka shows it, whose first line names the file.
fn check_as_kafka(path: &str, bytes: &[u8], kafka: &str) {
    let disk = disk();
    put(&disk, path, bytes);
    let (text, problems) = shown(&disk, path, false);
    let (first, rest) = text.split_once('\n').unwrap();
    assert_eq!(first, format!("Dumping {path}"));
    for (ours, kafkas) in rest.lines().zip(kafka.lines()) {
        assert_eq!(ours, kafkas);
    }
    assert_eq!((rest.lines().count(), problems), (kafka.lines().count(), 0));
}

#[test]
fn what_kafka_wrote_is_shown_as_kafka_shows_it() {
    let metadata = "/data/__cluster_metadata-0/";
    let segment = format!("{metadata}{SEGMENT_NAME}");
    check_as_kafka(&segment, METADATA_SEGMENT, include_str!("testdata/kafka_segment.txt"));
    let snapshot = format!("{metadata}00000000000000000100-0000000001.checkpoint");
    check_as_kafka(&snapshot, METADATA_SNAPSHOT, include_str!("testdata/kafka_snapshot.txt"));
    let transactions = "/data/golden-0/00000000000000000000.txnindex";
    check_as_kafka(transactions, TRANSACTIONS, include_str!("testdata/kafka_txnindex.txt"));
    let producers = "/data/golden-0/00000000000000000020.snapshot";
    check_as_kafka(producers, PRODUCERS, include_str!("testdata/kafka_producers.txt"));
}

/// A key and a value.
type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

fn batch(base: i64, records: &[Pair<'_>]) -> Bytes {
    let options = BatchOptions {
        base_offset: Offset(base),
        partition_leader_epoch: LeaderEpoch(3),
        compression: Compression::Zstd.into(),
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(options);
    for (key, value) in records {
        builder.append(Timestamp(1_700_000_000_000), *key, *value, []);
    }
    builder.build()
}

#[test]
fn keys_and_values_are_text_where_they_can_be() {
    let disk = disk();
    let path = format!("/data/orders-0/{SEGMENT_NAME}");
    put(&disk, &path, &batch(0, &[(Some(b"key"), Some(b"two\nlines")), (None, Some(&[0xff, 0]))]));
    let (text, problems) = shown(&disk, &path, false);
    assert!(
        text.contains("keySize: 3 valueSize: 9 sequence: -1 headerKeys: [] key: key payload: two\\nlines")
    );
    let (json, _) = shown(&disk, &path, true);
    let last: serde_json::Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!(last["payload"]["base64"], "/wA=");
    assert_eq!(problems, 0);
}

#[test]
fn records_of_coordinators_are_decoded() {
    let disk = disk();
    let key = GroupKey::OffsetCommitKey(OffsetCommitKey {
        group: "g".into(),
        topic: "orders".into(),
        partition: 7,
    });
    let value = OffsetCommitValue { offset: 42, leader_epoch: 5, ..OffsetCommitValue::default() };
    let value = encode_coordinator_value(&GroupValue::OffsetCommitValue(value), 3).unwrap();
    let key = encode_coordinator_key(&key).unwrap();
    let path = format!("/data/__consumer_offsets-12/{SEGMENT_NAME}");
    put(&disk, &path, &batch(0, &[(Some(&key), Some(&value)), (Some(&key), None), (None, Some(b"x"))]));
    let (text, problems) = shown(&disk, &path, false);
    let key =
        r#"key: {"type":"1","name":"OffsetCommitKey","data":{"group":"g","topic":"orders","partition":7}}"#;
    assert_eq!(text.matches(key).count(), 2);
    assert!(text.contains(r#"payload: {"version":"3","data":{"offset":42,"leaderEpoch":5,"metadata":"","#));
    assert!(text.contains("payload: <DELETE>"));
    assert_eq!(problems, 1, "a record without a key is none of a group's");
}

#[test]
fn damage_to_a_segment_is_reported() {
    let whole = [batch(0, &[(None, Some(b"one"))]), batch(1, &[(None, Some(b"two"))])].concat();
    let path = format!("/data/orders-0/{SEGMENT_NAME}");
    let problem = |bytes: &[u8]| {
        let disk = disk();
        put(&disk, &path, bytes);
        let (text, problems) = shown(&disk, &path, false);
        assert_eq!(problems, 1, "{text}");
        text.lines().find(|it| it.starts_with("PROBLEM: ")).unwrap().to_owned()
    };
    let torn = problem(&whole[..whole.len() - 1]);
    assert!(torn.contains("are no batch: the batch of"), "{torn}");
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(problem(&flipped).contains("batch at position"));
    let again = [whole, batch(1, &[(None, Some(b"again"))]).to_vec()].concat();
    assert!(problem(&again).contains("offset 1 follows 1"));
}

#[test]
fn every_damaged_byte_of_a_snapshot_is_reported_and_none_panics() {
    let path = "/data/__cluster_metadata-0/00000000000000000100-0000000001.checkpoint";
    // Offset and leader epoch of a batch are not in its checksum, and the epoch says nothing here.
    for at in (0..METADATA_SNAPSHOT.len()).step_by(7) {
        let disk = disk();
        let mut bytes = METADATA_SNAPSHOT.to_vec();
        bytes[at] ^= 0x10;
        put(&disk, path, &bytes);
        let (text, problems) = shown(&disk, path, true);
        let in_epoch = ottla_record::Batches::new(METADATA_SNAPSHOT)
            .scan(0, |next, batch| {
                let start = *next;
                *next += batch.unwrap().size();
                Some(start + 12..start + 16)
            })
            .any(|epoch| epoch.contains(&at));
        assert!(problems > 0 || in_epoch, "byte {at} of {text}");
    }
}

#[test]
fn indexes_are_held_against_their_log() {
    let disk = disk();
    let (one, two) = (batch(0, &[(None, Some(b"one"))]), batch(1, &[(None, Some(b"two"))]));
    put(&disk, &format!("/data/orders-0/{SEGMENT_NAME}"), &[one.clone(), two].concat());
    let offsets = "/data/orders-0/00000000000000000000.index";
    let entry = |offset: u32, position: u32| [offset.to_be_bytes(), position.to_be_bytes()].concat();
    // Kafka makes the file long before it is needed.
    let second = entry(1, one.len() as u32);
    put(&disk, offsets, &[second.clone(), vec![0; 16]].concat());
    let (text, problems) = shown(&disk, offsets, false);
    assert_eq!(text.lines().last(), Some(&*format!("offset: 1 position: {}", one.len())));
    assert_eq!(problems, 0);
    put(&disk, offsets, &[entry(1, 0), second].concat());
    assert_eq!(shown(&disk, offsets, false).1, 2, "a wrong position, and twice the same offset");

    let times = "/data/orders-0/00000000000000000000.timeindex";
    let entry = |time: i64, offset: u32| [&time.to_be_bytes()[..], &offset.to_be_bytes()[..]].concat();
    put(&disk, times, &entry(1_700_000_000_000, 1));
    assert_eq!(shown(&disk, times, false).1, 0);
    put(&disk, times, &[entry(1_699_999_999_999, 0), entry(1_700_000_000_000, 5)].concat());
    assert_eq!(shown(&disk, times, false).1, 2, "a wrong time, and an offset that is not there");
}

#[test]
fn small_files_are_shown() {
    let disk = disk();
    let directory = Path::new("/data");
    put(&disk, "/data/orders-0/leader-epoch-checkpoint", LEADER_EPOCHS);
    let id = Uuid([7; 16]);
    write_topic_id(&disk, &directory.join("orders-0"), id).unwrap();
    MetaProperties::new("cluster", NodeId(4), id).write(&disk, directory, Timestamp(0)).unwrap();
    write_clean_shutdown(&disk, directory, BrokerEpoch(9)).unwrap();
    let offsets = [(TopicPartition::new("orders", 0), Offset(33))].into();
    write_offsets(&disk, &directory.join("recovery-point-offset-checkpoint"), &offsets).unwrap();
    let quorum = br#"{"leaderId":1,"leaderEpoch":6,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
    put(&disk, "/data/__cluster_metadata-0/quorum-state", quorum);
    let (text, problems) = shown(&disk, "/data", false);
    for line in [
        "epoch: 3 startOffset: 7".to_owned(),
        format!("topic_id: {id}"),
        format!("version: 1 cluster.id: cluster node.id: 4 directory.id: {id}"),
        "version: 0 brokerEpoch: 9".to_owned(),
        "topic: orders partition: 0 offset: 33".to_owned(),
        "leaderEpoch: 6 leaderId: 1 votedId: null votedDirectoryId: null".to_owned(),
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
    }
    assert_eq!(problems, 0);
    put(&disk, "/data/meta.properties", b"version=x\n");
    assert_eq!(shown(&disk, "/data", false).1, 1);
}
