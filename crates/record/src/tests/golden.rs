//! Bytes that Apache Kafka wrote, with what Kafka reads in them. `xtask/java/GoldenBatches.java` makes the
//! file.

use std::fmt::Write;

use ottla_base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::*;

const LIMIT: u64 = 1 << 20;

pub(super) struct Case {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn cases() -> Vec<Case> {
    let mut rest = include_bytes!("../../testdata/batches.bin").as_slice();
    let mut part = || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (part, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        rest = after;
        Some(part.to_vec())
    };
    let mut cases = Vec::new();
    while let Some(name) = part() {
        let name = String::from_utf8(name).unwrap();
        let description = String::from_utf8(part().unwrap()).unwrap();
        cases.push(Case { name, description, bytes: part().unwrap() });
    }
    cases
}

fn show(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "null".to_owned() };
    if bytes.len() > 200 {
        return format!("#{}:{:x}", bytes.len(), crc32c(bytes));
    }
    let mut text = "'".to_owned();
    for byte in bytes {
        if (32..127).contains(byte) {
            text.push(*byte as char);
        } else {
            write!(text, "\\{byte:02x}").unwrap();
        }
    }
    text + "'"
}

fn describe_v2(batch: &BatchView<'_>) -> String {
    let mut text = format!(
        "magic=2 base={} last={} size={} crc={} compression={} logAppendTime={} maxTimestamp={}",
        batch.base_offset(),
        batch.last_offset(),
        batch.size(),
        batch.crc(),
        batch.compression().unwrap().name(),
        batch.timestamp_type() == TimestampType::LogAppendTime,
        batch.max_timestamp(),
    );
    writeln!(
        text,
        " leaderEpoch={} baseTimestamp={} deleteHorizon={} transactional={} control={} producer={}/{} \
         sequence={}..{} count={}",
        batch.partition_leader_epoch(),
        batch.base_timestamp(),
        batch.delete_horizon().unwrap_or(Timestamp::NONE),
        batch.is_transactional(),
        batch.is_control(),
        batch.producer_id(),
        batch.producer_epoch(),
        batch.base_sequence(),
        batch.last_sequence(),
        batch.count(),
    )
    .unwrap();
    let decompressed = batch.decompressed(LIMIT).unwrap();
    for record in batch.records(&decompressed) {
        let record = record.unwrap();
        let (key, value) = (show(record.key), show(record.value));
        write!(text, "offset={} timestamp={}", record.offset, record.timestamp).unwrap();
        write!(text, " sequence={} key={key} value={value}", record.sequence).unwrap();
        for header in record.headers {
            let key = String::from_utf8_lossy(header.key);
            write!(text, " header={key}:{}", show(header.value)).unwrap();
        }
        text.push('\n');
    }
    text
}

fn describe_legacy(batch: &LegacyBatchView<'_>) -> String {
    let mut text = format!(
        "magic={} base={} last={} size={} crc={} compression={} logAppendTime={} maxTimestamp={}\n",
        batch.magic(),
        batch.base_offset(LIMIT).unwrap(),
        batch.last_offset(),
        batch.bytes().len(),
        batch.crc(),
        batch.compression().unwrap().name(),
        batch.timestamp_type() == TimestampType::LogAppendTime,
        batch.max_timestamp(),
    );
    for record in batch.records(LIMIT).unwrap() {
        let (key, value) = (show(record.key.as_deref()), show(record.value.as_deref()));
        writeln!(text, "offset={} timestamp={} key={key} value={value}", record.offset, record.timestamp)
            .unwrap();
    }
    text
}

#[test]
fn we_read_what_kafka_wrote() {
    let cases = cases();
    assert!(cases.len() > 30);
    for Case { name, description, bytes } in cases {
        let mut batches = Batches::new(&bytes);
        let batch = batches.next().unwrap().unwrap();
        assert!(batches.next().is_none());
        assert!(batches.remainder().is_empty());
        batch.verify_crc().unwrap();
        let read = match &batch {
            StoredBatch::V2(batch) => describe_v2(batch),
            StoredBatch::Legacy(batch) => describe_legacy(batch),
        };
        assert_eq!(read, description, "{name}");
    }
}

/// Builds the batch again from what is read in it.
fn rebuilt(batch: &BatchView<'_>) -> bytes::Bytes {
    let appended = batch.timestamp_type() == TimestampType::LogAppendTime;
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: batch.base_offset(),
        compression: batch.compression().unwrap().into(),
        log_append_time: appended.then(|| batch.max_timestamp()),
        producer_id: batch.producer_id(),
        producer_epoch: batch.producer_epoch(),
        base_sequence: batch.base_sequence(),
        transactional: batch.is_transactional(),
        control: batch.is_control(),
        partition_leader_epoch: batch.partition_leader_epoch(),
        delete_horizon: batch.delete_horizon(),
    });
    // Read as create time, so that the records' own timestamps are seen.
    let mut header = *batch.header();
    header.set_max_timestamp(TimestampType::CreateTime, batch.max_timestamp(), batch.payload());
    let decompressed = batch.decompressed(LIMIT).unwrap();
    for record in Records::new(&header, &decompressed) {
        let record = record.unwrap();
        builder.append_record(record.offset, &record);
    }
    builder.build()
}

#[test]
fn we_write_what_kafka_wrote() {
    let mut identical = 0;
    for Case { name, bytes, .. } in cases() {
        let Ok(batch) = BatchView::new(&bytes) else { continue };
        if batch.count() == 0 {
            assert_eq!(emptied(batch.header()).as_bytes().as_slice(), bytes, "{name}");
            identical += 1;
            continue;
        }
        let ours = rebuilt(&batch);
        if batch.compression().unwrap() == Compression::None {
            assert_eq!(ours, bytes, "{name}");
            identical += 1;
        } else {
            let ours = BatchView::new(&ours).unwrap();
            ours.verify_crc().unwrap();
            assert_eq!(ours.decompressed(LIMIT).unwrap(), batch.decompressed(LIMIT).unwrap(), "{name}");
        }
    }
    assert_eq!(identical, 10);
}

#[test]
fn markers_are_those_that_kafka_writes() {
    let cases = cases();
    let bytes_of = |name: &str| cases.iter().find(|it| it.name == name).unwrap().bytes.clone();
    for (name, committed, coordinator_epoch) in [("commit", true, 17), ("abort", false, -1)] {
        let marker = EndTxnMarker { committed, coordinator_epoch };
        let ours = end_txn_batch(ProducerId(55), ProducerEpoch(4), marker, Timestamp(1_234_567));
        assert_eq!(ours, bytes_of(name));
        let batch = BatchView::new(&ours).unwrap();
        let record = batch.records(batch.payload()).next().unwrap().unwrap();
        assert_eq!(EndTxnMarker::of_record(&record).unwrap(), Some(marker));
    }
    let theirs = bytes_of("leader change");
    let batch = BatchView::new(&theirs).unwrap();
    let record = batch.records(batch.payload()).next().unwrap().unwrap();
    assert_eq!(ControlType::of_key(record.key).unwrap(), ControlType::LeaderChange);
    let records = [(ControlType::LeaderChange, record.value.unwrap())];
    let ours = quorum_control_batch(Offset(0), LeaderEpoch(8), Timestamp(1_234_567), records);
    assert_eq!(ours, theirs);
}

#[test]
fn checksums_are_crc32c_and_crc32() {
    // RFC 3720, B.4, and the check values of both.
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    assert_eq!(crc32c_of_two(b"12345", b"6789"), 0xe306_9283);
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}
