//! Snappy blocks in the framing of the `xerial` Java library, which Kafka's Java client writes. Bare Snappy
//! blocks, which other clients write, are read too.

use crate::error::RecordsError;

/// How every xerial stream begins.
const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// The magic, the version that wrote and the lowest version that can read.
const HEADER_BYTES: usize = 16;
/// How much the Java library puts into one block.
pub(super) const BLOCK_BYTES: usize = 32 * 1024;
/// No Snappy element makes more than 64 bytes out of three.
const MAX_EXPANSION: usize = 22;

pub(super) const HEADER: [u8; HEADER_BYTES] = {
    let mut header = [0; HEADER_BYTES];
    let mut index = 0;
    while index < MAGIC.len() {
        header[index] = MAGIC[index];
        index += 1;
    }
    header[11] = 1;
    header[15] = 1;
    header
};

/// What is left of a stream of blocks.
pub(super) struct Blocks<'a> {
    rest: &'a [u8],
    framed: bool,
    decoder: snap::raw::Decoder,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Blocks<'a> {
        let framed = payload.starts_with(&MAGIC);
        Blocks { rest: payload, framed, decoder: snap::raw::Decoder::new() }
    }

    /// Decompresses the next block into the front of `out`, which grows if it must. Zero is the end.
    pub(super) fn next(&mut self, out: &mut Vec<u8>, limit_bytes: u64) -> Result<usize, RecordsError> {
        let block = if self.framed { self.take_framed()? } else { std::mem::take(&mut self.rest) };
        if block.is_empty() {
            return Ok(0);
        }
        let announced = snap::raw::decompress_len(block).map_err(broken)?;
        if announced as u64 > limit_bytes {
            return Err(RecordsError::DecompressedTooLarge { limit_bytes });
        }
        if announced > block.len().saturating_mul(MAX_EXPANSION) {
            return Err(RecordsError::invalid("A Snappy block announces more bytes than it can hold"));
        }
        if out.len() < announced {
            out.resize(announced, 0);
        }
        self.decoder.decompress(block, &mut out[..announced]).map_err(broken)
    }

    fn take_framed(&mut self) -> Result<&'a [u8], RecordsError> {
        loop {
            if self.rest.is_empty() {
                return Ok(self.rest);
            }
            // Streams may be concatenated: each begins with a header.
            if self.rest.starts_with(&MAGIC) {
                self.rest = self.rest.get(HEADER_BYTES..).ok_or_else(truncated)?;
                continue;
            }
            let (length, after) = self.rest.split_first_chunk::<4>().ok_or_else(truncated)?;
            let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| truncated())?;
            let (block, rest) = after.split_at_checked(length).ok_or_else(truncated)?;
            self.rest = rest;
            if !block.is_empty() {
                return Ok(block);
            }
        }
    }
}

fn broken(error: snap::Error) -> RecordsError {
    RecordsError::invalid(format!("Failed to decompress record stream: {error}"))
}

fn truncated() -> RecordsError {
    RecordsError::invalid("Failed to decompress record stream: the Snappy stream ends early")
}
