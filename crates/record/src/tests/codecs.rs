//! Compressed payloads as other writers make them.

use std::io::Write;

use twox_hash::XxHash32;

use super::round_trip::text;
use crate::compression::Compressor;
use crate::*;

const LIMIT: u64 = 32 << 20;

/// An LZ4 frame with these flags and block size code; the block is compressed in one piece.
fn lz4_frame(flags: u8, block_size: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x04, 0x22, 0x4D, 0x18, flags, block_size << 4];
    if flags & 0x08 != 0 {
        frame.extend_from_slice(&(content.len() as u64).to_le_bytes());
    }
    let checksum = XxHash32::oneshot(0, &frame[4..]);
    frame.push((checksum >> 8) as u8);
    let block = lz4_flex::block::compress(content);
    frame.extend_from_slice(&(block.len() as u32).to_le_bytes());
    frame.extend_from_slice(&block);
    if flags & 0x10 != 0 {
        frame.extend_from_slice(&XxHash32::oneshot(0, &block).to_le_bytes());
    }
    frame.extend_from_slice(&[0; 4]);
    if flags & 0x04 != 0 {
        frame.extend_from_slice(&XxHash32::oneshot(0, content).to_le_bytes());
    }
    frame
}

#[test]
fn lz4_frames_may_have_checksums_sizes_and_large_blocks() {
    for (block_size, length) in [(4, 60_000), (5, 200_000), (6, 900_000), (7, 3_000_000)] {
        let content = text(1, length);
        for flags in [0x60, 0x64, 0x68, 0x6c, 0x70, 0x7c] {
            let frame = lz4_frame(flags, block_size, &content);
            assert_eq!(
                decompress(Compression::Lz4, &frame, LIMIT).unwrap(),
                content,
                "{flags:x} {block_size}"
            );
        }
    }
}

#[test]
fn lz4_frames_that_kafka_does_not_read_are_refused() {
    let content = text(1, 1000);
    // Another version, reserved bits, dependent blocks, a dictionary, block sizes that do not exist.
    for (flags, block_size) in [(0x20, 4), (0xa0, 4), (0x62, 4), (0x61, 4), (0x40, 4), (0x60, 3), (0x60, 8)] {
        let refused = decompress(Compression::Lz4, &lz4_frame(flags, block_size, &content), LIMIT);
        assert!(matches!(refused, Err(RecordsError::Invalid(_))), "{flags:x} {block_size}");
    }
    let good = lz4_frame(0x70, 4, &content);
    for at in [4, 6, 20, good.len() - 5] {
        let mut broken = good.clone();
        broken[at] ^= 0x10;
        assert!(decompress(Compression::Lz4, &broken, LIMIT).is_err(), "{at}");
    }
    // A block larger than the frame allows.
    assert!(decompress(Compression::Lz4, &lz4_frame(0x60, 4, &text(1, 70_000)), LIMIT).is_err());
}

#[test]
fn gzip_headers_may_have_names_and_more() {
    let content = text(3, 10_000);
    let mut encoder = flate2::GzBuilder::new()
        .filename("records")
        .comment("made by hand")
        .extra([1, 2, 3])
        .write(Vec::new(), flate2::Compression::best());
    encoder.write_all(&content).unwrap();
    let bytes = encoder.finish().unwrap();
    assert_eq!(decompress(Compression::Gzip, &bytes, LIMIT).unwrap(), content);
    for at in [0, 2, bytes.len() - 1, bytes.len() - 5, bytes.len() / 2] {
        let mut broken = bytes.clone();
        broken[at] ^= 0x04;
        assert!(decompress(Compression::Gzip, &broken, LIMIT).is_err(), "{at}");
    }
}

#[test]
fn zstandard_frames_may_follow_each_other() {
    let frame = |content: &[u8]| {
        let mut compressor = Compressor::new(Compression::Zstd.into(), Vec::new());
        compressor.write(content);
        compressor.finish()
    };
    let (one, two) = (text(1, 100_000), text(2, 3));
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 9, 9, 9, 9];
    let payload = [frame(&one), skipped.to_vec(), frame(&[]), frame(&two)].concat();
    assert_eq!(decompress(Compression::Zstd, &payload, LIMIT).unwrap(), [one, two].concat());
}

#[test]
fn every_level_that_kafka_accepts_works() {
    let content = text(9, 20_000);
    let levels = |compression: Compression| -> Vec<i32> {
        match compression {
            Compression::None | Compression::Snappy => vec![0],
            Compression::Gzip => (-1..=9).filter(|it| *it != 0).collect(),
            Compression::Lz4 => (1..=17).collect(),
            Compression::Zstd => vec![-131_072, -5, -1, 0, 1, 3, 9, 19, 22],
        }
    };
    for compression in Compression::ALL {
        assert!(compression.has_level(compression.default_level()));
        for level in levels(compression) {
            assert!(compression.has_level(level), "{compression:?} {level}");
            let mut compressor = Compressor::new(CompressionLevel { compression, level }, Vec::new());
            // Pieces of many sizes.
            let mut rest = content.as_slice();
            for size in (1..).map(|it| it * 97) {
                let (piece, after) = rest.split_at(rest.len().min(size));
                compressor.write(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let payload = compressor.finish();
            assert_eq!(decompress(compression, &payload, LIMIT).unwrap(), content, "{compression:?} {level}");
        }
    }
    assert!(!Compression::Gzip.has_level(0) && !Compression::Gzip.has_level(10));
    assert!(!Compression::Lz4.has_level(0) && !Compression::Zstd.has_level(23));
    assert_eq!(Compression::from_name("zstd"), Some(Compression::Zstd));
    assert_eq!(Compression::from_name("producer"), None);
}
