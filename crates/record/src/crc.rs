//! The two checksums of Kafka's batches: CRC-32C for format v2, IEEE CRC-32 for the formats before.

use crc_fast::{CrcAlgorithm, Digest};

/// CRC-32C (Castagnoli, CRC-32/ISCSI) of `bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// CRC-32C of `first` followed by `second`.
pub fn crc32c_of_two(first: &[u8], second: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(first);
    digest.update(second);
    // A 32-bit algorithm leaves the upper half empty.
    digest.finalize() as u32
}

/// IEEE CRC-32 of `bytes`, as gzip and formats v0 and v1 use it.
#[inline]
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}
