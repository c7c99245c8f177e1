//! What is built can be read, in every compression.

use ottla_base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::*;

const LIMIT: u64 = 1 << 30;

/// Bytes that are neither constant nor random: compressible text.
pub(super) fn text(seed: u64, length: usize) -> Vec<u8> {
    let words = ["offset", "batch", "leader", "epoch", "segment", "index", "log", "42", "{\"key\":", "}\n"];
    let mut state = seed | 1;
    let mut text = Vec::with_capacity(length + 8);
    while text.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.extend_from_slice(words[(state >> 33) as usize % words.len()].as_bytes());
    }
    text.truncate(length);
    text
}

fn build(compression: Compression, records: usize, value_bytes: usize) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: Offset(1000),
        compression: compression.into(),
        producer_id: ProducerId(7),
        producer_epoch: ProducerEpoch(3),
        base_sequence: i32::MAX - 1,
        transactional: true,
        partition_leader_epoch: LeaderEpoch(9),
        ..BatchOptions::default()
    });
    for index in 0..records {
        let key = format!("key-{index}");
        let value = text(index as u64, value_bytes);
        let headers = [Header { key: b"trace", value: Some(b"1") }, Header { key: b"empty", value: None }];
        let headers = headers.into_iter().take(index % 3);
        builder.append(Timestamp(5000 + index as i64), Some(key.as_bytes()), Some(&value), headers);
    }
    builder.build()
}

#[test]
fn every_compression_round_trips() {
    for compression in Compression::ALL {
        for (records, value_bytes) in [(1, 0), (3, 10), (100, 500), (40, 10_000)] {
            let bytes = build(compression, records, value_bytes);
            let batch = BatchView::new(&bytes).unwrap();
            batch.verify_crc().unwrap();
            assert_eq!(batch.compression().unwrap(), compression);
            assert_eq!(batch.count(), records as i32);
            assert_eq!(batch.base_offset(), Offset(1000));
            assert_eq!(batch.end_offset(), Offset(1000 + records as i64));
            assert_eq!(batch.max_timestamp(), Timestamp(4999 + records as i64));
            let decompressed = batch.decompressed(LIMIT).unwrap();
            let read: Vec<Record<'_>> = batch.records(&decompressed).map(Result::unwrap).collect();
            assert_eq!(read.len(), records);
            let mut stream = RecordStream::new(&batch, DecompressionLimits::default()).unwrap();
            let mut whole = RecordStream::new(&batch, DecompressionLimits::default()).unwrap();
            for (index, record) in read.iter().enumerate() {
                assert_eq!(record.offset, Offset(1000 + index as i64));
                assert_eq!(record.sequence, sequence_after(i32::MAX - 1, index as i32));
                assert_eq!(record.key, Some(format!("key-{index}").as_bytes()));
                assert_eq!(record.value, Some(text(index as u64, value_bytes).as_slice()));
                assert_eq!(record.headers.count(), index % 3);
                let mut key = Vec::new();
                let outline = stream.next_keyed(|piece| key.extend_from_slice(piece)).unwrap();
                assert_eq!(outline, Some(RecordOutline::from(record)));
                assert_eq!(record.key, Some(key.as_slice()));
                assert_eq!(whole.next_record().unwrap().as_ref(), Some(record));
            }
            assert_eq!(stream.next_outline().unwrap(), None);
            assert_eq!(whole.next_record().unwrap(), None);
        }
    }
}

#[test]
fn placing_a_batch_keeps_its_checksum_and_changing_its_timestamp_renews_it() {
    let bytes = build(Compression::Lz4, 10, 100);
    let batch = BatchView::new(&bytes).unwrap();
    let mut header = *batch.header();
    header.place(Offset(123_456), LeaderEpoch(77));
    assert_eq!(header.crc(), batch.crc());
    header.set_max_timestamp(TimestampType::CreateTime, batch.max_timestamp(), batch.payload());
    assert_eq!(header.crc(), batch.crc());
    header.set_max_timestamp(TimestampType::LogAppendTime, Timestamp(9999), batch.payload());
    let patched = [header.as_bytes().as_slice(), batch.payload()].concat();
    let patched = BatchView::new(&patched).unwrap();
    patched.verify_crc().unwrap();
    assert_eq!(patched.base_offset(), Offset(123_456));
    assert_eq!(patched.partition_leader_epoch(), LeaderEpoch(77));
    assert_eq!(patched.timestamp_type(), TimestampType::LogAppendTime);
    let decompressed = patched.decompressed(LIMIT).unwrap();
    assert!(patched.records(&decompressed).all(|it| it.unwrap().timestamp == Timestamp(9999)));
}

#[test]
fn batches_in_a_buffer_end_at_a_torn_one() {
    let one = build(Compression::None, 3, 10);
    let two = build(Compression::Zstd, 30, 100);
    let whole = [one.as_ref(), two.as_ref()].concat();
    for cut in 0..=whole.len() {
        let mut batches = Batches::new(&whole[..cut]);
        let count = batches.by_ref().map(Result::unwrap).count();
        assert_eq!(count, usize::from(cut >= one.len()) + usize::from(cut == whole.len()));
        let complete = [0, one.len(), whole.len()][count];
        assert_eq!(batches.position(), complete);
    }
}

#[test]
fn an_announced_size_is_the_size() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for (key, value) in [(None, None), (Some(b"k".as_slice()), None), (None, Some(b"value".as_slice()))] {
        let announced = builder.size_of(Timestamp(1 << 40), key, value, []);
        let before = builder.size();
        builder.append(Timestamp(1 << 40), key, value, []);
        assert_eq!(builder.size(), before + announced);
        assert_eq!(builder.size(), builder.uncompressed_size());
    }
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequence_after(i32::MAX - 1, 5), 3);
    assert_eq!(sequence_after(10, 5), 15);
    assert_eq!(sequence_before(0, 1), i32::MAX);
    assert_eq!(sequence_before(3, 5), i32::MAX - 1);
    assert_eq!(sequence_before(15, 5), 10);
}

#[test]
fn concatenated_gzip_members_and_snappy_streams_are_one_payload() {
    use std::io::Write;
    let member = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let gzip = [member(b"one"), member(b""), member(b"two"), b"trailing".to_vec()].concat();
    assert_eq!(decompress(Compression::Gzip, &gzip, LIMIT).unwrap(), b"onetwo");
    let raw = snap::raw::Encoder::new().compress_vec(b"bare").unwrap();
    assert_eq!(decompress(Compression::Snappy, &raw, LIMIT).unwrap(), b"bare");
}

#[test]
fn keys_go_to_the_partitions_that_java_chooses() {
    // From Kafka's own UtilsTest.
    for (key, hash) in [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ] {
        assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
    }
    assert_eq!(partition_for_key(b"abc", 10).0, (479_470_107 & 0x7fff_ffff) % 10);
}
