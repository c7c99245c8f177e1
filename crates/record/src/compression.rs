//! The compressions of batches: their names, reading under a limit, and writing.
//!
//! | file | reads and writes |
//! |---|---|
//! | `decompressor` | any of them, as a stream of chunks under a limit |
//! | `compressor` | any of them, as a stream into a buffer |
//! | `snappy` | blocks in the framing of the `xerial` Java library |
//! | `lz4` | LZ4 frames as Kafka's Java code writes them |

mod compressor;
mod decompressor;
mod lz4;
mod snappy;

use crate::error::RecordsError;

pub(crate) use compressor::Compressor;
pub(crate) use decompressor::Decompressor;

/// How the records of a batch are compressed (`compression.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy in the framing of the `xerial` Java library.
    Snappy,
    /// LZ4 frames of independent blocks.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// Every compression, in the order of their numbers.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The compression with this number in a batch's attributes.
    pub const fn from_id(id: u8) -> Option<Compression> {
        match id {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The number in a batch's attributes.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The compression with this name in a configuration.
    pub fn from_name(name: &str) -> Option<Compression> {
        Compression::ALL.into_iter().find(|it| it.name() == name)
    }

    /// The name in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// The level that Kafka uses unless told otherwise. Compressions without levels have zero.
    pub const fn default_level(self) -> i32 {
        match self {
            Compression::None | Compression::Snappy => 0,
            Compression::Gzip => -1,
            Compression::Lz4 => 9,
            Compression::Zstd => 3,
        }
    }

    /// Whether Kafka accepts this level.
    pub const fn has_level(self, level: i32) -> bool {
        match self {
            Compression::None | Compression::Snappy => level == 0,
            Compression::Gzip => level == -1 || (level >= 1 && level <= 9),
            Compression::Lz4 => level >= 1 && level <= 17,
            Compression::Zstd => level >= -131_072 && level <= 22,
        }
    }
}

/// A compression and how hard it tries. LZ4 has one strength here, whatever the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompressionLevel {
    /// The compression.
    pub compression: Compression,
    /// Its level.
    pub level: i32,
}

impl From<Compression> for CompressionLevel {
    fn from(compression: Compression) -> Self {
        CompressionLevel { compression, level: compression.default_level() }
    }
}

/// Decompresses all of `payload`, to at most `limit_bytes`. Memory grows with what comes out, never with
/// what the payload announces.
pub fn decompress(
    compression: Compression,
    payload: &[u8],
    limit_bytes: u64,
) -> Result<Vec<u8>, RecordsError> {
    let mut stream = Decompressor::new(compression, payload, limit_bytes);
    let mut out = Vec::new();
    loop {
        let chunk = stream.fill()?;
        if chunk.is_empty() {
            return Ok(out);
        }
        out.extend_from_slice(chunk);
        let taken = chunk.len();
        stream.consume(taken);
    }
}

/// Decompresses the value of a format v0 or v1 wrapper. `magic` is the wrapper's: in v0, LZ4 frames have a
/// wrong header checksum, which is not looked at.
pub(crate) fn decompress_legacy(
    compression: Compression,
    magic: i8,
    payload: &[u8],
    limit_bytes: u64,
) -> Result<Vec<u8>, RecordsError> {
    if compression == Compression::Lz4 && magic == 0 {
        let corrected = lz4::with_correct_header_checksum(payload);
        return decompress(compression, &corrected, limit_bytes);
    }
    decompress(compression, payload, limit_bytes)
}

/// How every stream in xerial framing begins.
#[cfg(test)]
pub(crate) fn xerial_header() -> [u8; 16] {
    snappy::HEADER
}
