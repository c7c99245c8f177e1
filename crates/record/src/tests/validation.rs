//! What a leader accepts and refuses, after Kafka's `LogValidatorTest`.

use bytes::Bytes;
use ottla_base::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use super::round_trip::text;
use crate::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const HOUR_MS: i64 = 3_600_000;

fn rules() -> ValidationRules<'static> {
    ValidationRules {
        partition: &"topic-0",
        origin: Origin::Client,
        now: NOW,
        compacted: false,
        timestamps: TimestampRules {
            kind: TimestampType::CreateTime,
            before_max_ms: i64::MAX,
            after_max_ms: HOUR_MS,
        },
        max_batch_bytes: Some(1_048_588),
        decompression: DecompressionLimits::default(),
        compression: None,
        leader_epoch: LeaderEpoch(4),
    }
}

fn with_log_append_time() -> ValidationRules<'static> {
    let timestamps = TimestampRules { kind: TimestampType::LogAppendTime, ..rules().timestamps };
    ValidationRules { timestamps, ..rules() }
}

fn built(options: BatchOptions, timestamps: &[Timestamp]) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for (index, timestamp) in timestamps.iter().enumerate() {
        builder.append(*timestamp, Some(b"key"), Some(&text(index as u64, 50)), []);
    }
    builder.build()
}

fn compressed(compression: Compression) -> BatchOptions {
    BatchOptions { compression: compression.into(), ..BatchOptions::default() }
}

fn batch_of(accepted: &AcceptedBatch) -> Vec<u8> {
    let mut header = accepted.header;
    header.place(Offset(1000), LeaderEpoch(4));
    [header.as_bytes().as_slice(), &accepted.body].concat()
}

/// Writes other bytes into a batch and mends its checksum.
fn altered(batch: &[u8], at: usize, bytes: &[u8]) -> Bytes {
    let mut batch = batch.to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(batch)
}

fn code(records: &Bytes, rules: &ValidationRules<'_>) -> ErrorCode {
    validate(records, rules).map_or_else(|it| it.code, |_| ErrorCode::None)
}

#[test]
fn a_good_batch_is_written_as_it_came() {
    for compression in Compression::ALL {
        let bytes = built(compressed(compression), &[NOW, Timestamp(NOW.0 - 5), Timestamp::NONE]);
        let accepted = validate(&bytes, &rules()).unwrap();
        assert!(!accepted.rebuilt);
        assert_eq!(accepted.log_append_time, None);
        assert_eq!(accepted.max_timestamp(), NOW);
        assert_eq!(accepted.size(), bytes.len());
        let written = batch_of(&accepted);
        let batch = BatchView::new(&written).unwrap();
        batch.verify_crc().unwrap();
        assert_eq!((batch.base_offset(), batch.last_offset()), (Offset(1000), Offset(1002)));
        assert_eq!(batch.partition_leader_epoch(), LeaderEpoch(4));
        assert_eq!(&written[17..], &bytes[17..]);
        // The body is the frame's memory.
        assert_eq!(accepted.body.as_ptr(), bytes[HEADER_BYTES..].as_ptr());
    }
}

#[test]
fn a_wrong_highest_timestamp_is_mended() {
    for compression in Compression::ALL {
        let bytes = built(compressed(compression), &[NOW, Timestamp(NOW.0 - 5)]);
        let wrong = altered(&bytes, 35, &12_345_i64.to_be_bytes());
        let accepted = validate(&wrong, &rules()).unwrap();
        assert_eq!(accepted.max_timestamp(), NOW);
        BatchView::new(&batch_of(&accepted)).unwrap().verify_crc().unwrap();
    }
}

#[test]
fn log_append_time_replaces_the_producers() {
    for compression in Compression::ALL {
        let old = [Timestamp(1), Timestamp(2)];
        let accepted = validate(&built(compressed(compression), &old), &with_log_append_time()).unwrap();
        assert_eq!(accepted.log_append_time, Some(NOW));
        let written = batch_of(&accepted);
        let batch = BatchView::new(&written).unwrap();
        batch.verify_crc().unwrap();
        assert_eq!((batch.timestamp_type(), batch.max_timestamp()), (TimestampType::LogAppendTime, NOW));
    }
}

#[test]
fn producers_must_not_claim_log_append_time() {
    let claimed = |timestamp| {
        let options = BatchOptions { log_append_time: Some(timestamp), ..BatchOptions::default() };
        built(options, &[NOW])
    };
    // Kafka looks at the claim only where it does not check the timestamp itself.
    let accepted = validate(&claimed(NOW), &rules()).unwrap();
    assert_eq!(accepted.header.timestamp_type(), TimestampType::CreateTime);
    assert_eq!(code(&claimed(Timestamp::NONE), &rules()), ErrorCode::InvalidTimestamp);
    assert_eq!(code(&claimed(NOW), &with_log_append_time()), ErrorCode::InvalidTimestamp);
}

#[test]
fn timestamps_out_of_range_are_refused_one_by_one() {
    let timestamps = TimestampRules { before_max_ms: HOUR_MS, ..rules().timestamps };
    let rules = ValidationRules { timestamps, ..rules() };
    let edge = [Timestamp(NOW.0 - HOUR_MS), Timestamp(NOW.0 + HOUR_MS), Timestamp::NONE];
    let out = [Timestamp(NOW.0 - HOUR_MS - 1), NOW, Timestamp(NOW.0 + HOUR_MS + 1), Timestamp(i64::MAX)];
    for compression in [Compression::None, Compression::Lz4] {
        assert_eq!(code(&built(compressed(compression), &edge), &rules), ErrorCode::None);
        let refusal = validate(&built(compressed(compression), &out), &rules).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::InvalidTimestamp);
        assert_eq!(refusal.message, "One or more records have been rejected due to invalid timestamp");
        let refused: Vec<i32> = refusal.record_errors.iter().map(|it| it.batch_index).collect();
        assert_eq!(refused, [0, 2, 3]);
        assert_eq!(
            refusal.record_errors[0].message,
            format!(
                "Timestamp {} of message with offset 0 is out of range. The timestamp should be within [{}, {}]",
                NOW.0 - HOUR_MS - 1,
                NOW.0 - HOUR_MS,
                NOW.0 + HOUR_MS
            )
        );
    }
}

#[test]
fn compacted_topics_need_keys() {
    let rules = ValidationRules { compacted: true, ..rules() };
    for compression in [Compression::None, Compression::Zstd] {
        let mut builder = BatchBuilder::new(compressed(compression));
        for index in 0..6 {
            let key = (index % 2 == 0).then_some(b"key".as_slice());
            builder.append(NOW, key, Some(b"value"), []);
        }
        let refusal = validate(&builder.build(), &rules).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::InvalidRecord);
        assert_eq!(refusal.cause, RefusalCause::Keyless { records: 3 });
        let message = "Compacted topic cannot accept message without key in topic partition topic-0";
        let refused: Vec<(i32, &str)> =
            refusal.record_errors.iter().map(|it| (it.batch_index, it.message.as_str())).collect();
        assert_eq!(refused, [(1, message), (3, message), (5, message)]);
        let shown =
            [1, 3, 5].map(|it| format!("RecordError(batchIndex={it}, message='{message}')")).join(", ");
        assert_eq!(
            refusal.message,
            format!(
                "One or more records have been rejected due to 3 record errors in total, and only showing the \
                 first three errors at most: [{shown}]"
            )
        );
    }
}

#[test]
fn the_topics_compression_is_applied() {
    for from in Compression::ALL {
        for to in Compression::ALL {
            let options = BatchOptions {
                producer_id: ProducerId(5),
                producer_epoch: ProducerEpoch(2),
                base_sequence: 9,
                transactional: true,
                ..compressed(from)
            };
            let bytes = built(options, &[NOW, Timestamp(NOW.0 - 50), NOW]);
            let rules = ValidationRules { compression: Some(to.into()), ..rules() };
            let accepted = validate(&bytes, &rules).unwrap();
            assert_eq!(accepted.rebuilt, from != to);
            let written = batch_of(&accepted);
            let batch = BatchView::new(&written).unwrap();
            batch.verify_crc().unwrap();
            assert_eq!(batch.compression().unwrap(), to);
            assert!(batch.is_transactional());
            assert_eq!((batch.producer_id(), batch.base_sequence()), (ProducerId(5), 9));
            let (read, original) = (batch.decompressed(1 << 20).unwrap(), BatchView::new(&bytes).unwrap());
            assert_eq!(read, original.decompressed(1 << 20).unwrap());
        }
    }
}

#[test]
fn offsets_that_are_not_consecutive_are_mended() {
    for compression in Compression::ALL {
        let mut builder = BatchBuilder::new(compressed(compression));
        for offset in [0, 5, 7] {
            builder.append_at(Offset(offset), NOW, Some(b"k"), Some(b"v"), []);
        }
        let bytes = altered(&builder.build(), 23, &2_i32.to_be_bytes());
        let accepted = validate(&bytes, &rules()).unwrap();
        assert!(accepted.rebuilt);
        let written = batch_of(&accepted);
        let batch = BatchView::new(&written).unwrap();
        batch.verify_crc().unwrap();
        let decompressed = batch.decompressed(1 << 20).unwrap();
        let offsets: Vec<i64> = batch.records(&decompressed).map(|it| it.unwrap().offset.0).collect();
        assert_eq!(offsets, [1000, 1001, 1002]);
        assert_eq!(batch.compression().unwrap(), compression);
    }
}

#[test]
fn malformed_batches_are_refused() {
    let good = built(BatchOptions::default(), &[NOW, NOW]);
    let rules = rules();
    assert_eq!(code(&good, &rules), ErrorCode::None);
    assert_eq!(code(&Bytes::new(), &rules), ErrorCode::InvalidRecord);
    let two = Bytes::from([good.as_ref(), good.as_ref()].concat());
    assert_eq!(code(&two, &rules), ErrorCode::InvalidRecord);
    // A torn second batch is cut off, as Kafka does.
    assert_eq!(code(&two.slice(..good.len() + 50), &rules), ErrorCode::None);
    for (at, bytes, expected) in [
        (0, 1_i64.to_be_bytes().to_vec(), ErrorCode::InvalidRecord),
        (16, vec![3], ErrorCode::CorruptMessage),
        (16, vec![1], ErrorCode::CorruptMessage),
        (22, vec![0x20], ErrorCode::InvalidRecord),
        (22, vec![0x05], ErrorCode::UnsupportedCompressionType),
        (22, vec![0x01], ErrorCode::InvalidRecord),
        (23, 2_i32.to_be_bytes().to_vec(), ErrorCode::InvalidRecord),
        (23, (-1_i32).to_be_bytes().to_vec(), ErrorCode::InvalidRecord),
        (43, 7_i64.to_be_bytes().to_vec(), ErrorCode::InvalidRecord),
        (57, 0_i32.to_be_bytes().to_vec(), ErrorCode::InvalidRecord),
        (57, 3_i32.to_be_bytes().to_vec(), ErrorCode::InvalidRecord),
        (57, (-1_i32).to_be_bytes().to_vec(), ErrorCode::InvalidRecord),
    ] {
        assert_eq!(code(&altered(&good, at, &bytes), &rules), expected, "{bytes:?} at {at}");
    }
    // Counts that agree with the offsets, but not with the records.
    for count in [1_i32, 3] {
        let bytes = altered(&altered(&good, 57, &count.to_be_bytes()), 23, &(count - 1).to_be_bytes());
        assert_eq!(code(&bytes, &rules), ErrorCode::InvalidRecord, "{count}");
    }
    let mut flipped = good.to_vec();
    flipped[HEADER_BYTES + 5] ^= 1;
    assert_eq!(code(&Bytes::from(flipped), &rules), ErrorCode::CorruptMessage);
    let small = ValidationRules { max_batch_bytes: Some(good.len() - 1), ..rules };
    assert_eq!(code(&good, &small), ErrorCode::MessageTooLarge);
    let any = ValidationRules { max_batch_bytes: None, ..rules };
    assert_eq!(code(&good, &any), ErrorCode::None);
}

#[test]
fn brokers_may_write_what_clients_may_not() {
    let marker = EndTxnMarker { committed: true, coordinator_epoch: 1 };
    let marker = end_txn_batch(ProducerId(1), ProducerEpoch(0), marker, NOW);
    assert_eq!(code(&marker, &rules()), ErrorCode::InvalidRecord);
    let rules = ValidationRules { origin: Origin::Coordinator, ..rules() };
    assert_eq!(code(&marker, &rules), ErrorCode::None);
    // A marker stays as it is, whatever the topic's compression.
    let zstd = ValidationRules { compression: Some(Compression::Zstd.into()), ..rules };
    assert!(!validate(&marker, &zstd).unwrap().rebuilt);
    let quorum = ValidationRules { origin: Origin::QuorumLeader, ..rules };
    assert_eq!(code(&marker, &quorum), ErrorCode::InvalidRecord);
    let records = [(ControlType::KraftVersion, b"\0\0".as_slice())];
    let change = quorum_control_batch(Offset(50), LeaderEpoch(4), NOW, records);
    assert_eq!(code(&change, &quorum), ErrorCode::None);
}

#[test]
fn produce_requests_carry_one_new_batch() {
    let produce = |bytes: &[u8], version| check_produce(bytes, version).map_err(|it| it.code);
    let good = built(BatchOptions::default(), &[NOW]);
    assert_eq!(produce(&good, 3), Ok(()));
    assert_eq!(produce(&[], 3), Err(ErrorCode::InvalidRecord));
    assert_eq!(produce(&[good.as_ref(), good.as_ref()].concat(), 13), Err(ErrorCode::InvalidRecord));
    let zstd = built(compressed(Compression::Zstd), &[NOW]);
    assert_eq!(produce(&zstd, 6), Err(ErrorCode::UnsupportedCompressionType));
    assert_eq!(produce(&zstd, 7), Ok(()));
    for case in super::golden::cases().iter().filter(|it| it.name.starts_with('v')) {
        assert_eq!(produce(&case.bytes, 13), Err(ErrorCode::InvalidRecord), "{}", case.name);
        assert_eq!(code(&Bytes::from(case.bytes.clone()), &rules()), ErrorCode::InvalidRecord);
    }
}

#[test]
fn followers_take_whole_batches_of_their_leaders_epoch() {
    let batch = |offset, epoch, count| {
        let options = BatchOptions {
            base_offset: Offset(offset),
            partition_leader_epoch: LeaderEpoch(epoch),
            ..BatchOptions::default()
        };
        built(options, &vec![NOW; count])
    };
    let bytes = [batch(10, 1, 2), batch(12, 2, 3), batch(15, 3, 1)].concat();
    let (one, two) = (batch(10, 1, 2).len(), batch(10, 1, 2).len() + batch(12, 2, 3).len());
    let all = check_replicated(&bytes, LeaderEpoch(3)).unwrap().unwrap();
    assert_eq!((all.valid_bytes, all.first_offset, all.end_offset), (bytes.len(), Offset(10), Offset(16)));
    assert_eq!((all.last_leader_epoch, all.max_timestamp), (LeaderEpoch(3), NOW));
    let older = check_replicated(&bytes, LeaderEpoch(2)).unwrap().unwrap();
    assert_eq!((older.valid_bytes, older.end_offset), (two, Offset(15)));
    let torn = check_replicated(&bytes[..two - 1], LeaderEpoch(3)).unwrap().unwrap();
    assert_eq!((torn.valid_bytes, torn.end_offset), (one, Offset(12)));
    assert_eq!(check_replicated(&bytes[..20], LeaderEpoch(3)), Ok(None));
    assert_eq!(check_replicated(&bytes, LeaderEpoch(0)), Ok(None));
    let back = [batch(12, 1, 2), batch(10, 1, 2)].concat();
    assert!(check_replicated(&back, LeaderEpoch(3)).is_err());
    let mut flipped = bytes;
    flipped[two - 1] ^= 1;
    assert!(matches!(check_replicated(&flipped, LeaderEpoch(3)), Err(RecordsError::Checksum { .. })));
}
