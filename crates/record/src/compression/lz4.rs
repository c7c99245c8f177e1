//! LZ4 frames as Kafka's Java code reads and writes them: version 1, independent blocks
//! (`org.apache.kafka.common.compress.Lz4BlockInputStream`, `Lz4BlockOutputStream`).

use std::borrow::Cow;

use lz4_flex::block::{CompressTable, compress_into_with_table};
use twox_hash::XxHash32;

use crate::error::RecordsError;

const MAGIC: u32 = 0x184D_2204;
/// Version 1, independent blocks, no checksums.
const WRITTEN_FLAGS: u8 = 0x60;
/// Blocks of 64 KiB.
const WRITTEN_BLOCK_DESCRIPTOR: u8 = 0x40;
/// How much is put into one block.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;
/// In a block's length: the block is not compressed.
const NOT_COMPRESSED: u32 = 0x8000_0000;
/// LZ4 makes at most 255 bytes out of one.
const MAX_EXPANSION: usize = 255;

/// The frame header that is written. Its checksum is the second byte of the hash of the two bytes before.
pub(super) const HEADER: [u8; 7] = [0x04, 0x22, 0x4D, 0x18, WRITTEN_FLAGS, WRITTEN_BLOCK_DESCRIPTOR, 0x82];
/// What follows the last block.
pub(super) const END_MARK: [u8; 4] = [0; 4];

/// What is left of a frame.
pub(super) struct Blocks<'a> {
    rest: &'a [u8],
    started: bool,
    finished: bool,
    max_block_bytes: usize,
    block_checksums: bool,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Blocks<'a> {
        Blocks { rest: payload, started: false, finished: false, max_block_bytes: 0, block_checksums: false }
    }

    /// Decompresses the next block into the front of `out`, which grows if it must. Zero is the end.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> Result<usize, RecordsError> {
        if !self.started {
            self.take_header()?;
            self.started = true;
        }
        while !self.finished {
            let written = self.take_block(out)?;
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }

    fn take_header(&mut self) -> Result<(), RecordsError> {
        let descriptor = descriptor(self.rest)?;
        let (flags, block) = (descriptor[0], descriptor[1]);
        let checksum_at = 4 + descriptor.len();
        let stored = *self.rest.get(checksum_at).ok_or_else(truncated)?;
        if stored != header_checksum(descriptor) {
            return Err(broken("the frame's header checksum is wrong"));
        }
        if flags & 0xc0 != 0x40 || flags & 0x03 != 0 || block & 0x8f != 0 {
            return Err(broken("the frame's version is not supported"));
        }
        if flags & 0x20 == 0 {
            return Err(broken("dependent blocks are not supported"));
        }
        self.max_block_bytes = match block >> 4 {
            size @ 4..=7 => 1 << (2 * size + 8),
            _ => return Err(broken("the frame's block size is not supported")),
        };
        self.block_checksums = flags & 0x10 != 0;
        self.rest = &self.rest[checksum_at + 1..];
        Ok(())
    }

    fn take_block(&mut self, out: &mut Vec<u8>) -> Result<usize, RecordsError> {
        let (length, after) = self.rest.split_first_chunk::<4>().ok_or_else(truncated)?;
        let length = u32::from_le_bytes(*length);
        let size = (length & !NOT_COMPRESSED) as usize;
        if size == 0 {
            // A checksum of the content may follow; Kafka does not look at it either.
            self.finished = true;
            return Ok(0);
        }
        if size > self.max_block_bytes {
            return Err(broken("a block is larger than the frame allows"));
        }
        let (block, mut rest) = after.split_at_checked(size).ok_or_else(truncated)?;
        if self.block_checksums {
            let (stored, after) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
            if XxHash32::oneshot(0, block) != u32::from_le_bytes(*stored) {
                return Err(broken("a block's checksum is wrong"));
            }
            rest = after;
        }
        self.rest = rest;
        if length & NOT_COMPRESSED != 0 {
            grow(out, size);
            out[..size].copy_from_slice(block);
            return Ok(size);
        }
        let room = self.max_block_bytes.min(size.saturating_mul(MAX_EXPANSION));
        grow(out, room);
        lz4_flex::block::decompress_into(block, &mut out[..room]).map_err(|error| broken(&error.to_string()))
    }
}

fn grow(out: &mut Vec<u8>, length: usize) {
    if out.len() < length {
        out.resize(length, 0);
    }
}

/// The part of a frame's header that its checksum covers.
fn descriptor(frame: &[u8]) -> Result<&[u8], RecordsError> {
    let (magic, rest) = frame.split_first_chunk::<4>().ok_or_else(truncated)?;
    if u32::from_le_bytes(*magic) != MAGIC {
        return Err(broken("it is not an LZ4 frame"));
    }
    let flags = *rest.first().ok_or_else(truncated)?;
    let length = if flags & 0x08 != 0 { 10 } else { 2 };
    rest.get(..length).ok_or_else(truncated)
}

fn header_checksum(descriptor: &[u8]) -> u8 {
    (XxHash32::oneshot(0, descriptor) >> 8) as u8
}

/// The frame with the header checksum it should have. Kafka's format v0 computed it wrongly.
pub(super) fn with_correct_header_checksum(frame: &[u8]) -> Cow<'_, [u8]> {
    match descriptor(frame) {
        Ok(descriptor) if frame.len() > 4 + descriptor.len() => {
            let mut corrected = frame.to_vec();
            corrected[4 + descriptor.len()] = header_checksum(descriptor);
            Cow::Owned(corrected)
        }
        _ => Cow::Borrowed(frame),
    }
}

/// The table that finds repetitions in a block of [`BLOCK_BYTES`].
pub(super) fn block_table() -> CompressTable {
    CompressTable::large()
}

/// Appends a block of a frame's content, compressed if that makes it smaller.
pub(super) fn put_block(out: &mut Vec<u8>, block: &[u8], table: &mut CompressTable) {
    let start = out.len();
    out.resize(start + 4 + lz4_flex::block::get_maximum_output_size(block.len()), 0);
    let written = compress_into_with_table(block, &mut out[start + 4..], table).unwrap_or(block.len());
    let length = if written < block.len() {
        out.truncate(start + 4 + written);
        written as u32
    } else {
        out.truncate(start + 4);
        out.extend_from_slice(block);
        block.len() as u32 | NOT_COMPRESSED
    };
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn broken(reason: &str) -> RecordsError {
    RecordsError::invalid(format!("Failed to decompress record stream: {reason}"))
}

fn truncated() -> RecordsError {
    broken("the LZ4 frame ends early")
}
