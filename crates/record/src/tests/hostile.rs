//! Bytes that nobody should have written: nothing panics, and memory grows with what came.

use bytes::Bytes;
use ottla_base::{ErrorCode, LeaderEpoch, Timestamp};

use super::golden::cases;
use super::round_trip::text;
use crate::compression::Compressor;
use crate::*;

const LIMIT: u64 = 1 << 20;

/// A small generator of the same numbers every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

fn rules(compression: Option<CompressionLevel>) -> ValidationRules<'static> {
    ValidationRules {
        partition: &"topic-0",
        origin: Origin::Coordinator,
        now: Timestamp(1_700_000_000_000),
        compacted: true,
        timestamps: TimestampRules {
            kind: TimestampType::CreateTime,
            before_max_ms: 1000,
            after_max_ms: 1000,
        },
        max_batch_bytes: Some(1 << 20),
        decompression: DecompressionLimits { batch_bytes: LIMIT, ..DecompressionLimits::default() },
        compression,
        leader_epoch: LeaderEpoch(0),
    }
}

/// Reads everything that can be read.
fn read_all(bytes: &[u8]) {
    for batch in Batches::new(bytes).flatten() {
        let _ = batch.verify_crc();
        let _ = (batch.base_offset(LIMIT), batch.last_offset(), batch.max_timestamp());
        match batch {
            StoredBatch::V2(batch) => read_v2(&batch),
            StoredBatch::Legacy(batch) => drop(batch.records(LIMIT)),
        }
    }
    let _ = check_replicated(bytes, LeaderEpoch(i32::MAX));
}

fn read_v2(batch: &BatchView<'_>) {
    let _ = (batch.header().last_sequence(), format!("{:?}", batch.header()));
    if let Ok(decompressed) = batch.decompressed(LIMIT) {
        assert!(decompressed.len() as u64 <= LIMIT.max(batch.payload().len() as u64));
        for record in batch.records(&decompressed).flatten() {
            assert_eq!(record.headers.count(), record.headers.len());
            let _ = EndTxnMarker::of_record(&record);
        }
    }
    let limits = rules(None).decompression;
    if let Ok(mut stream) = RecordStream::new(batch, limits) {
        while let Ok(Some(_)) = stream.next_outline() {}
    }
    if let Ok(mut stream) = RecordStream::new(batch, limits) {
        while let Ok(Some(_)) = stream.next_record() {}
    }
}

fn with_good_crc(bytes: &mut [u8]) {
    if bytes.len() >= HEADER_BYTES && bytes[16] == 2 {
        let crc = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

#[test]
fn altered_batches_never_panic() {
    let mut numbers = Numbers(0x0771a);
    for case in cases() {
        for _ in 0..150 {
            let mut bytes = case.bytes.clone();
            for _ in 0..=numbers.below(4) {
                let at = numbers.below(bytes.len());
                match numbers.below(4) {
                    0 => bytes[at] ^= 1 << numbers.below(8),
                    1 => bytes[at] = numbers.next() as u8,
                    2 => bytes[at] = [0, 0x7f, 0x80, 0xff][numbers.below(4)],
                    _ => {
                        let end = bytes.len().min(at + 1 + numbers.below(16));
                        bytes.drain(at..end);
                        if bytes.len() < 20 {
                            bytes = case.bytes.clone();
                        }
                        let length = (bytes.len() - LENGTH_PREFIX_BYTES) as u32;
                        bytes[8..12].copy_from_slice(&length.to_be_bytes());
                    }
                }
            }
            with_good_crc(&mut bytes);
            read_all(&bytes);
            let bytes = Bytes::from(bytes);
            for target in [None, Some(Compression::None.into()), Some(Compression::Lz4.into())] {
                let _ = validate(&bytes, &rules(target));
            }
        }
    }
}

#[test]
fn random_payloads_never_panic() {
    let mut numbers = Numbers(42);
    for compression in Compression::ALL {
        for _ in 0..300 {
            let mut payload: Vec<u8> = (0..numbers.below(200)).map(|_| numbers.next() as u8).collect();
            // Past the magic of each.
            let start: &[u8] = match compression {
                Compression::None => &[],
                Compression::Gzip => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0],
                Compression::Snappy => {
                    &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]
                }
                Compression::Lz4 => &[0x04, 0x22, 0x4D, 0x18, 0x60, 0x40, 0x82],
                Compression::Zstd => &[0x28, 0xb5, 0x2f, 0xfd],
            };
            if numbers.below(2) == 0 {
                payload.splice(0..0, start.iter().copied());
            }
            if let Ok(out) = decompress(compression, &payload, LIMIT) {
                assert!(out.len() as u64 <= LIMIT.max(payload.len() as u64));
            }
        }
    }
}

#[test]
fn every_cut_of_a_payload_is_an_error() {
    let plain = text(7, 100_000);
    for compression in Compression::ALL.into_iter().skip(1) {
        let mut compressor = Compressor::new(compression.into(), Vec::new());
        compressor.write(&plain);
        let payload = compressor.finish();
        assert_eq!(decompress(compression, &payload, LIMIT).unwrap(), plain);
        for cut in (1..payload.len()).step_by(97).chain([payload.len() - 1]) {
            // Snappy has no end: what ends between blocks is whole.
            match decompress(compression, &payload[..cut], LIMIT) {
                Err(RecordsError::Invalid(_)) => {}
                Ok(out) if compression == Compression::Snappy => assert!(plain.starts_with(&out)),
                other => panic!("{compression:?} cut at {cut}: {other:?}"),
            }
        }
    }
}

/// A batch whose one record has `megabytes` of zeros.
fn bomb(compression: Compression, megabytes: usize) -> Bytes {
    let zeros = vec![0; megabytes << 20];
    let mut builder =
        BatchBuilder::new(BatchOptions { compression: compression.into(), ..BatchOptions::default() });
    builder.append(Timestamp(1_700_000_000_000), Some(b"key"), Some(&zeros), []);
    builder.build()
}

#[test]
fn bombs_are_stopped_at_the_limit() {
    for compression in Compression::ALL.into_iter().skip(1) {
        let bytes = bomb(compression, 8);
        let batch = BatchView::new(&bytes).unwrap();
        let refused = batch.decompressed(LIMIT).unwrap_err();
        assert!(matches!(refused, RecordsError::DecompressedTooLarge { .. }), "{compression:?}: {refused}");
        let code = |rules: &ValidationRules<'_>| {
            validate(&bytes, rules).map_or_else(|it| it.code, |_| ErrorCode::None)
        };
        assert_eq!(code(&rules(None)), ErrorCode::InvalidRecord);
        // Kafka's own limit is for one record.
        let record_limit = DecompressionLimits { record_bytes: 1 << 20, ..DecompressionLimits::default() };
        let refusal =
            validate(&bytes, &ValidationRules { decompression: record_limit, ..rules(None) }).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::InvalidRecord);
        assert!(
            refusal.message.ends_with("exceeds the configured maximum record size of 1048576."),
            "{refusal}"
        );
        // Without limits it is a batch like any other, as long as what is written stays small.
        let unlimited = DecompressionLimits::default();
        assert_eq!(code(&ValidationRules { decompression: unlimited, ..rules(None) }), ErrorCode::None);
        let to_zstd = ValidationRules { decompression: unlimited, ..rules(Some(Compression::Zstd.into())) };
        assert_eq!(code(&to_zstd), ErrorCode::None);
        let to_plain = ValidationRules { decompression: unlimited, ..rules(Some(Compression::None.into())) };
        assert_eq!(code(&to_plain), ErrorCode::MessageTooLarge);
    }
}

#[test]
fn announced_lengths_allocate_nothing() {
    // CVE-2023-34455: a Snappy block that announces 2 GiB.
    for length in [[0xff, 0xff, 0xff, 0xff, 0x07], [0x80, 0x80, 0x80, 0x80, 0x04]] {
        let raw = [length.as_slice(), &[0, 1, 2]].concat();
        assert!(decompress(Compression::Snappy, &raw, u64::MAX).is_err());
        let mut framed = crate::compression::xerial_header().to_vec();
        framed.extend_from_slice(&(raw.len() as u32).to_be_bytes());
        framed.extend_from_slice(&raw);
        assert!(decompress(Compression::Snappy, &framed, u64::MAX).is_err());
        let negative = [crate::compression::xerial_header().as_slice(), &[0xff; 4], &raw].concat();
        assert!(decompress(Compression::Snappy, &negative, u64::MAX).is_err());
    }
    // A record that announces 2 GiB inside a compressed payload, and one with as many headers.
    for records in [
        vec![0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1],
        vec![18, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f],
    ] {
        let mut bytes = BatchBuilder::new(BatchOptions::default()).build().to_vec();
        let mut compressor = Compressor::new(Compression::Lz4.into(), Vec::new());
        compressor.write(&records);
        bytes.extend_from_slice(&compressor.finish());
        let length = (bytes.len() - LENGTH_PREFIX_BYTES) as u32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[22] = Compression::Lz4.id();
        bytes[57..61].copy_from_slice(&1_i32.to_be_bytes());
        with_good_crc(&mut bytes);
        read_all(&bytes);
        assert!(validate(&Bytes::from(bytes), &rules(None)).is_err());
    }
}

#[test]
fn sizes_that_no_batch_has_are_corrupt() {
    let prefix = |length: i32, magic: u8| {
        let mut prefix = [0; MAGIC_PREFIX_BYTES];
        prefix[8..12].copy_from_slice(&length.to_be_bytes());
        prefix[16] = magic;
        prefix
    };
    assert_eq!(batch_size(&prefix(49, 2), 1000), Ok(Some(61)));
    assert_eq!(batch_size(&prefix(14, 0), 1000), Ok(Some(26)));
    assert_eq!(batch_size(&prefix(49, 2)[..16], 1000), Ok(None));
    assert_eq!(batch_size(&prefix(-1, 2)[..11], 1000), Ok(None));
    for (length, magic) in
        [(-1, 2), (0, 2), (13, 0), (48, 2), (989, 2), (i32::MAX, 2), (i32::MIN, 2), (49, 3), (49, 0xff)]
    {
        assert!(batch_size(&prefix(length, magic), 1000).is_err(), "{length} {magic}");
    }
    assert!(batch_size(&prefix(5, 2)[..12], 1000).is_err());
}
