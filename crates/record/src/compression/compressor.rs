//! Compressing records as a stream into a buffer.

use std::cell::RefCell;
use std::io::Write;

use flate2::write::GzEncoder;
use lz4_flex::block::CompressTable;
use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective};

use super::{Compression, CompressionLevel, lz4, snappy};

/// How much room is made for Zstandard's output at once.
const ROOM_BYTES: usize = 16 * 1024;
/// Contexts above this size are given back to the system after use.
const MAX_KEPT_BYTES: usize = 8 * 1024 * 1024;

thread_local! {
    static KEPT: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
}

/// Takes bytes, and appends them compressed to a buffer.
pub(crate) enum Compressor {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Snappy { out: Vec<u8>, block: Vec<u8>, encoder: Box<snap::raw::Encoder> },
    Lz4 { out: Vec<u8>, block: Vec<u8>, table: CompressTable },
    Zstd { out: Vec<u8>, context: CCtx<'static> },
}

impl Compressor {
    /// Compresses into `out`, after what it holds already.
    pub(crate) fn new(how: CompressionLevel, mut out: Vec<u8>) -> Compressor {
        match how.compression {
            Compression::None => Compressor::Plain(out),
            Compression::Gzip => {
                let level = u32::try_from(how.level).ok().filter(|it| *it <= 9);
                let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
                Compressor::Gzip(GzEncoder::new(out, level))
            }
            Compression::Snappy => {
                out.extend_from_slice(&snappy::HEADER);
                let block = Vec::with_capacity(snappy::BLOCK_BYTES);
                Compressor::Snappy { out, block, encoder: Box::new(snap::raw::Encoder::new()) }
            }
            Compression::Lz4 => {
                out.extend_from_slice(&lz4::HEADER);
                Compressor::Lz4 {
                    out,
                    block: Vec::with_capacity(lz4::BLOCK_BYTES),
                    table: lz4::block_table(),
                }
            }
            Compression::Zstd => {
                let mut context = KEPT.with_borrow_mut(Option::take).unwrap_or_else(CCtx::create);
                // Neither can fail: there is no session, and levels out of range are clamped.
                let _ = context.reset(ResetDirective::SessionAndParameters);
                let _ = context.set_parameter(CParameter::CompressionLevel(how.level));
                Compressor::Zstd { out, context }
            }
        }
    }

    /// How many bytes the buffer holds: what was compressed, without what still waits for a block to fill.
    pub(crate) fn written(&self) -> usize {
        match self {
            Compressor::Plain(out) => out.len(),
            Compressor::Gzip(encoder) => encoder.get_ref().len(),
            Compressor::Snappy { out, .. } | Compressor::Lz4 { out, .. } | Compressor::Zstd { out, .. } => {
                out.len()
            }
        }
    }

    /// Compresses `bytes`.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) {
        match self {
            Compressor::Plain(out) => out.extend_from_slice(bytes),
            // Writing into memory cannot fail.
            Compressor::Gzip(encoder) => drop(encoder.write_all(bytes)),
            Compressor::Snappy { out, block, encoder } => {
                while !bytes.is_empty() {
                    let taken = bytes.len().min(snappy::BLOCK_BYTES - block.len());
                    block.extend_from_slice(&bytes[..taken]);
                    bytes = &bytes[taken..];
                    if block.len() == snappy::BLOCK_BYTES {
                        put_snappy(out, block, encoder);
                    }
                }
            }
            Compressor::Lz4 { out, block, table } => {
                while !bytes.is_empty() {
                    let taken = bytes.len().min(lz4::BLOCK_BYTES - block.len());
                    block.extend_from_slice(&bytes[..taken]);
                    bytes = &bytes[taken..];
                    if block.len() == lz4::BLOCK_BYTES {
                        lz4::put_block(out, block, table);
                        block.clear();
                    }
                }
            }
            Compressor::Zstd { out, context } => {
                put_zstd(out, context, bytes, ZSTD_EndDirective::ZSTD_e_continue);
            }
        }
    }

    /// Ends the stream and gives the buffer back.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Compressor::Plain(out) => out,
            Compressor::Gzip(encoder) => encoder.finish().unwrap_or_default(),
            Compressor::Snappy { mut out, mut block, mut encoder } => {
                if !block.is_empty() {
                    put_snappy(&mut out, &mut block, &mut encoder);
                }
                out
            }
            Compressor::Lz4 { mut out, block, mut table } => {
                if !block.is_empty() {
                    lz4::put_block(&mut out, &block, &mut table);
                }
                out.extend_from_slice(&lz4::END_MARK);
                out
            }
            Compressor::Zstd { mut out, mut context } => {
                put_zstd(&mut out, &mut context, &[], ZSTD_EndDirective::ZSTD_e_end);
                if context.sizeof() <= MAX_KEPT_BYTES {
                    KEPT.with_borrow_mut(|kept| *kept = Some(context));
                }
                out
            }
        }
    }
}

fn put_snappy(out: &mut Vec<u8>, block: &mut Vec<u8>, encoder: &mut snap::raw::Encoder) {
    let start = out.len();
    out.resize(start + 4 + snap::raw::max_compress_len(block.len()), 0);
    // The room is what the library asks for, so it is never too small.
    let written = encoder.compress(block, &mut out[start + 4..]).unwrap_or_default();
    assert!(written > 0, "a block that fits is compressed");
    out[start..start + 4].copy_from_slice(&(written as u32).to_be_bytes());
    out.truncate(start + 4 + written);
    block.clear();
}

fn put_zstd(out: &mut Vec<u8>, context: &mut CCtx<'static>, bytes: &[u8], end: ZSTD_EndDirective) {
    let mut input = InBuffer::around(bytes);
    loop {
        out.reserve(ROOM_BYTES);
        let filled = out.len();
        let mut output = OutBuffer::around_pos(out, filled);
        let outcome = context.compress_stream2(&mut output, &mut input, end);
        let left = outcome.unwrap_or_else(|code| {
            panic!("compressing into memory cannot fail: {}", zstd::zstd_safe::get_error_name(code))
        });
        let done = match end {
            ZSTD_EndDirective::ZSTD_e_continue => input.pos() == bytes.len(),
            _ => left == 0,
        };
        if done {
            return;
        }
    }
}
