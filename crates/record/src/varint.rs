//! Zigzag variable-length integers as records use them (`org.apache.kafka.common.utils.internals.ByteUtils`).

use crate::error::RecordsError;

/// The longest encoding of a 64-bit number.
pub(crate) const MAX_VARLONG_BYTES: usize = 10;

fn too_long() -> RecordsError {
    RecordsError::invalid("Varint is too long, the most significant bit in the last byte is set")
}

fn ended() -> RecordsError {
    RecordsError::invalid("Incorrect declared batch size, premature EOF reached")
}

/// Takes a zigzag 32-bit number from the front of `bytes`. As Kafka does, bits beyond the 32nd are dropped.
#[inline]
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Result<i32, RecordsError> {
    // Most numbers in a record are one byte.
    if let [first, rest @ ..] = *bytes
        && *first < 0x80
    {
        *bytes = rest;
        let raw = u32::from(*first);
        return Ok((raw >> 1) as i32 ^ -((raw & 1) as i32));
    }
    let raw = take_unsigned(bytes, 5)? as u32;
    Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Takes a zigzag 64-bit number from the front of `bytes`.
#[inline]
pub(crate) fn take_varlong(bytes: &mut &[u8]) -> Result<i64, RecordsError> {
    let raw = take_unsigned(bytes, MAX_VARLONG_BYTES)?;
    Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

fn take_unsigned(bytes: &mut &[u8], longest: usize) -> Result<u64, RecordsError> {
    let mut number = 0u64;
    for (index, byte) in bytes.iter().take(longest).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Ok(number);
        }
    }
    Err(if bytes.len() >= longest { too_long() } else { ended() })
}

/// Appends a zigzag 32-bit number.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, number: i32) {
    put_unsigned(out, u64::from(((number << 1) ^ (number >> 31)) as u32));
}

/// Appends a zigzag 64-bit number.
#[inline]
pub(crate) fn put_varlong(out: &mut Vec<u8>, number: i64) {
    put_unsigned(out, ((number << 1) ^ (number >> 63)) as u64);
}

fn put_unsigned(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// How many bytes [`put_varint`] appends.
#[inline]
pub(crate) fn varint_len(number: i32) -> usize {
    unsigned_len(u64::from(((number << 1) ^ (number >> 31)) as u32))
}

/// How many bytes [`put_varlong`] appends.
#[inline]
pub(crate) fn varlong_len(number: i64) -> usize {
    unsigned_len(((number << 1) ^ (number >> 63)) as u64)
}

fn unsigned_len(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}
