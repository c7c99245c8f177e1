//! Reading a compressed payload as a stream of chunks, under a limit.

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};
use zstd::zstd_safe::{DCtx, InBuffer, OutBuffer, ResetDirective};

use super::{Compression, lz4, snappy};
use crate::error::RecordsError;

/// How much of gzip and Zstandard is decompressed at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Contexts above this size are given back to the system after use.
const MAX_KEPT_BYTES: usize = 8 * 1024 * 1024;
/// How many sets of buffers and contexts a thread keeps.
const MAX_KEPT_SCRATCH: usize = 2;

/// Buffers and contexts that are made once and used for many batches.
#[derive(Default)]
struct Scratch {
    out: Vec<u8>,
    inflate: Option<Decompress>,
    zstd: Option<DCtx<'static>>,
}

thread_local! {
    static KEPT: RefCell<Vec<Scratch>> = const { RefCell::new(Vec::new()) };
}

/// A stream of decompressed chunks. Only the chunk at hand is in memory.
pub(crate) struct Decompressor<'a> {
    codec: Codec<'a>,
    scratch: Scratch,
    /// The part of the chunk that was not consumed.
    at: usize,
    end: usize,
    produced: u64,
    limit_bytes: u64,
}

enum Codec<'a> {
    Plain(&'a [u8]),
    Gzip(Gzip<'a>),
    Snappy(snappy::Blocks<'a>),
    Lz4(lz4::Blocks<'a>),
    Zstd(&'a [u8], bool),
}

impl<'a> Decompressor<'a> {
    pub(crate) fn new(compression: Compression, payload: &'a [u8], limit_bytes: u64) -> Decompressor<'a> {
        let mut scratch = KEPT.with_borrow_mut(Vec::pop).unwrap_or_default();
        let codec = match compression {
            Compression::None => Codec::Plain(payload),
            Compression::Gzip => Codec::Gzip(Gzip { rest: payload, member: None, members_read: 0 }),
            Compression::Snappy => Codec::Snappy(snappy::Blocks::new(payload)),
            Compression::Lz4 => Codec::Lz4(lz4::Blocks::new(payload)),
            Compression::Zstd => {
                let context = scratch.zstd.get_or_insert_with(DCtx::create);
                // Resetting a session cannot fail.
                let _ = context.reset(ResetDirective::SessionOnly);
                Codec::Zstd(payload, false)
            }
        };
        Decompressor { codec, scratch, at: 0, end: 0, produced: 0, limit_bytes }
    }

    /// The bytes at hand; none is the end of the stream.
    #[inline]
    pub(crate) fn fill(&mut self) -> Result<&[u8], RecordsError> {
        if let Codec::Plain(rest) = self.codec {
            return Ok(rest);
        }
        if self.at == self.end {
            self.refill()?;
        }
        Ok(&self.scratch.out[self.at..self.end])
    }

    /// Takes `count` bytes off those at hand.
    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        match &mut self.codec {
            Codec::Plain(rest) => *rest = &rest[count..],
            _ => self.at += count,
        }
    }

    #[inline(never)]
    fn refill(&mut self) -> Result<(), RecordsError> {
        let left = self.limit_bytes - self.produced;
        let out = &mut self.scratch.out;
        self.at = 0;
        self.end = 0;
        self.end = match &mut self.codec {
            Codec::Plain(_) => 0,
            Codec::Gzip(gzip) => {
                gzip.next(self.scratch.inflate.get_or_insert_with(|| Decompress::new(false)), out)?
            }
            Codec::Snappy(blocks) => blocks.next(out, left)?,
            Codec::Lz4(blocks) => blocks.next(out)?,
            Codec::Zstd(rest, within) => match &mut self.scratch.zstd {
                Some(context) => next_of_zstd(context, rest, within, out)?,
                None => 0,
            },
        };
        self.produced += self.end as u64;
        if self.produced > self.limit_bytes {
            self.produced = self.limit_bytes;
            self.end = 0;
            return Err(RecordsError::DecompressedTooLarge { limit_bytes: self.limit_bytes });
        }
        Ok(())
    }
}

impl Drop for Decompressor<'_> {
    fn drop(&mut self) {
        let mut scratch = std::mem::take(&mut self.scratch);
        if scratch.out.capacity() > MAX_KEPT_BYTES {
            scratch.out = Vec::new();
        }
        if scratch.zstd.as_ref().is_some_and(|it| it.sizeof() > MAX_KEPT_BYTES) {
            scratch.zstd = None;
        }
        // While a thread ends there is nothing left to keep it in.
        let _ = KEPT.try_with(|kept| {
            if let Ok(mut kept) = kept.try_borrow_mut()
                && kept.len() < MAX_KEPT_SCRATCH
            {
                kept.push(scratch);
            }
        });
    }
}

/// What is left of a file of gzip members.
struct Gzip<'a> {
    rest: &'a [u8],
    member: Option<Member>,
    members_read: u32,
}

/// A member that is being read: the checksum of what came out of it.
struct Member(crc32fast::Hasher);

impl Gzip<'_> {
    fn next(&mut self, inflate: &mut Decompress, out: &mut Vec<u8>) -> Result<usize, RecordsError> {
        if out.len() < CHUNK_BYTES {
            out.resize(CHUNK_BYTES, 0);
        }
        loop {
            if self.member.is_none() {
                match after_gzip_header(self.rest) {
                    Ok(rest) => self.rest = rest,
                    // What follows the last member is not looked at, as in Java.
                    Err(_) if self.members_read > 0 => return Ok(0),
                    Err(error) => return Err(error),
                }
                inflate.reset(false);
                self.member = Some(Member(crc32fast::Hasher::new()));
            }
            let (read, written, status) = {
                let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
                let status = inflate
                    .decompress(self.rest, &mut out[..CHUNK_BYTES], FlushDecompress::None)
                    .map_err(|error| broken(&error.to_string()))?;
                let read = (inflate.total_in() - before_in) as usize;
                (read, (inflate.total_out() - before_out) as usize, status)
            };
            self.rest = &self.rest[read..];
            if let Some(Member(hasher)) = &mut self.member {
                hasher.update(&out[..written]);
            }
            if status == Status::StreamEnd {
                self.end_member(inflate)?;
            } else if written == 0 && read == 0 {
                return Err(broken("the gzip stream ends early"));
            }
            if written > 0 {
                return Ok(written);
            }
        }
    }

    fn end_member(&mut self, inflate: &Decompress) -> Result<(), RecordsError> {
        let Some(Member(hasher)) = self.member.take() else { return Ok(()) };
        let (trailer, rest) =
            self.rest.split_first_chunk::<8>().ok_or_else(|| broken("the gzip stream ends early"))?;
        let [a, b, c, d, e, f, g, h] = *trailer;
        let (crc, size) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        if crc != hasher.finalize() || size != inflate.total_out() as u32 {
            return Err(broken("the gzip trailer does not match"));
        }
        self.rest = rest;
        self.members_read = self.members_read.saturating_add(1);
        Ok(())
    }
}

/// Skips the header of a gzip member (RFC 1952, 2.3).
fn after_gzip_header(bytes: &[u8]) -> Result<&[u8], RecordsError> {
    let truncated = || broken("the gzip header ends early");
    let (fixed, mut rest) = bytes.split_first_chunk::<10>().ok_or_else(truncated)?;
    let [0x1f, 0x8b, 8, flags, ..] = *fixed else { return Err(broken("it is not in gzip format")) };
    if flags & 0x04 != 0 {
        let (length, after) = rest.split_first_chunk::<2>().ok_or_else(truncated)?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..).ok_or_else(truncated)?;
    }
    for text in [0x08, 0x10] {
        if flags & text != 0 {
            let end = rest.iter().position(|it| *it == 0).ok_or_else(truncated)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & 0x02 != 0 {
        rest = rest.get(2..).ok_or_else(truncated)?;
    }
    Ok(rest)
}

/// `within` says whether a frame has begun and not ended.
fn next_of_zstd(
    context: &mut DCtx<'static>,
    rest: &mut &[u8],
    within: &mut bool,
    out: &mut Vec<u8>,
) -> Result<usize, RecordsError> {
    if out.len() < CHUNK_BYTES {
        out.resize(CHUNK_BYTES, 0);
    }
    loop {
        if rest.is_empty() && !*within {
            return Ok(0);
        }
        let mut input = InBuffer::around(rest);
        let mut output = OutBuffer::around(&mut out[..CHUNK_BYTES]);
        let hint = context
            .decompress_stream(&mut output, &mut input)
            .map_err(|code| broken(zstd::zstd_safe::get_error_name(code)))?;
        let (read, written) = (input.pos(), output.pos());
        *rest = &rest[read..];
        *within = hint != 0;
        if written > 0 {
            return Ok(written);
        }
        if read == 0 && *within {
            return Err(broken("the Zstandard frame ends early"));
        }
    }
}

fn broken(reason: &str) -> RecordsError {
    RecordsError::invalid(format!("Failed to decompress record stream: {reason}"))
}
