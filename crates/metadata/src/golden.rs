//! The metadata log, a snapshot of it and a bootstrap checkpoint, as an Apache Kafka 4.4.0 in the combined role wrote
//! them: formatted with `kafka-storage format --standalone`, started, two topics made, one of them deleted and one
//! given partitions, configurations, a SCRAM credential, ACLs and a consumer's producer ids, stopped cleanly.

use bytes::Bytes;
use ottla_wire::records::metadata::MetadataRecord;

use crate::{Image, Record, Replay};

/// The log, from offset 0 to [`SNAPSHOT_END`].
pub(crate) const LOG: &[u8] = include_bytes!("testdata/kafka_4.4.0/metadata.log");
/// Kafka's snapshot of all that stands before [`SNAPSHOT_END`].
const SNAPSHOT: &[u8] = include_bytes!("testdata/kafka_4.4.0/metadata.checkpoint");
/// What `kafka-storage format` wrote.
pub(crate) const BOOTSTRAP: &[u8] = include_bytes!("testdata/kafka_4.4.0/bootstrap.checkpoint");
const SNAPSHOT_END: i64 = 170;

/// The metadata records of a log or snapshot, with their offsets. Batches of format 2, not compressed.
pub(crate) fn values(mut log: &'static [u8]) -> Vec<(i64, Bytes)> {
    fn varint(bytes: &mut &'static [u8]) -> i64 {
        let (mut number, mut shift) = (0u64, 0);
        loop {
            let (byte, rest) = bytes.split_first().expect("a whole number");
            *bytes = rest;
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if *byte < 0x80 {
                return (number >> 1) as i64 ^ -((number & 1) as i64);
            }
        }
    }
    let number =
        |bytes: &[u8], at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let mut values = Vec::new();
    while !log.is_empty() {
        let base = i64::from_be_bytes(log[..8].try_into().expect("eight bytes"));
        let (batch, rest) = log.split_at(12 + number(log, 8) as usize);
        log = rest;
        let is_control = batch[22] & 0x20 != 0;
        let mut records = &batch[61..];
        for _ in 0..number(batch, 57) {
            let length = varint(&mut records) as usize;
            let (mut record, rest) = records.split_at(length);
            records = rest;
            record = &record[1..];
            let _timestamp = varint(&mut record);
            let offset = base + varint(&mut record);
            let key_length = varint(&mut record).max(0) as usize;
            record = &record[key_length..];
            let value_length = varint(&mut record) as usize;
            if !is_control {
                values.push((offset, Bytes::from_static(&record[..value_length])));
            }
        }
    }
    values
}

/// What was known before the record at `end`.
pub(crate) fn replayed(end: i64) -> Replay {
    let mut replay = Replay::new();
    for (_, value) in values(LOG).into_iter().filter(|(offset, _)| *offset < end) {
        let record = Record::decode(value).expect("decodes");
        replay.apply(&record.fact).expect("a possible record");
    }
    replay
}

#[test]
fn every_record_of_kafka_is_read_and_written_again_byte_for_byte() {
    let all = [LOG, SNAPSHOT, BOOTSTRAP].map(values);
    assert_eq!(all.each_ref().map(Vec::len), [166, 23, 6]);
    for (offset, value) in all.into_iter().flatten() {
        let record = Record::decode(value.clone()).expect("decodes");
        assert_eq!(record.encode().expect("encodes"), value, "{offset}: {record:?}");
    }
}

#[test]
fn log_and_snapshot_of_kafka_give_the_same_image() {
    let from_log = replayed(SNAPSHOT_END);
    let mut from_snapshot = Image::default();
    for (_, value) in values(SNAPSHOT) {
        from_snapshot.apply(&Record::decode(value).expect("decodes").fact).expect("a possible record");
    }
    assert!(!from_log.in_transaction());
    assert_eq!(from_log.image(), &from_snapshot);
    let image = from_log.image();
    assert_eq!((image.topics.len(), image.topics.partition_count()), (1, 5));
    assert_eq!((image.access.acls.len(), image.access.scram.len()), (2, 1));
}

#[test]
fn our_snapshot_has_the_records_of_kafkas() {
    let ours: Vec<Record> = replayed(SNAPSHOT_END).image().to_records().collect();
    let theirs: Vec<Record> =
        values(SNAPSHOT).into_iter().map(|(_, value)| Record::decode(value).expect("decodes")).collect();
    assert_eq!(ours[0], theirs[0], "metadata.version comes first");
    // Kafka's maps are not sorted.
    let sorted = |records: Vec<Record>| -> Vec<Bytes> {
        let bytes = |mut record: Record| {
            match &mut record.fact {
                MetadataRecord::RegisterBrokerRecord(it) => it.features.sort_by_key(|it| it.name.clone()),
                MetadataRecord::RegisterControllerRecord(it) => it.features.sort_by_key(|it| it.name.clone()),
                _ => (),
            }
            record.encode().expect("encodes")
        };
        let mut all: Vec<Bytes> = records.into_iter().map(bytes).collect();
        all.sort();
        all
    };
    assert_eq!(sorted(ours), sorted(theirs));
}

#[test]
fn a_new_cluster_begins_as_kafka_formats_it() {
    let ours = crate::bootstrap_records(crate::MetadataVersion::LATEST_PRODUCTION, &Default::default());
    let theirs: Vec<_> = values(BOOTSTRAP)
        .into_iter()
        .map(|(_, value)| Record::decode(value).expect("decodes").fact)
        .collect();
    assert_eq!(ours, Ok(theirs));
}
