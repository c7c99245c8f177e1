//! The compact types of flexible versions, by hand.

use super::protocol::{Answer, put_i32};
use crate::workspace::Outcome;

/// A body in a flexible version: it begins with the tagged fields of its header.
pub fn flexible() -> Vec<u8> {
    vec![0]
}

/// Appends the length of a compact array, string or run of bytes.
pub fn put_count(out: &mut Vec<u8>, count: usize) {
    put_unsigned(out, count + 1);
}

/// Appends a null compact array, string or run of bytes, or that there are no tagged fields.
pub fn put_none(out: &mut Vec<u8>) {
    out.push(0);
}

/// Appends a COMPACT_STRING.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

/// Appends COMPACT_BYTES.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_unsigned(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

impl<'buffer> Answer<'buffer> {
    /// The length of the next compact array; 0 if it is null.
    pub fn count(&mut self) -> Outcome<usize> {
        Ok(self.unsigned()?.saturating_sub(1))
    }

    /// The next compact string or bytes; nothing if it is null.
    pub fn text(&mut self) -> Outcome<&'buffer [u8]> {
        let len = self.count()?;
        self.take(len)
    }

    /// The next compact string.
    pub fn owned_text(&mut self) -> Outcome<String> {
        Ok(String::from_utf8(self.text()?.to_vec())?)
    }

    /// Passes over the next tagged fields.
    pub fn tags(&mut self) -> Outcome {
        for _ in 0..self.unsigned()? {
            self.unsigned()?;
            let len = self.unsigned()?;
            self.take(len)?;
        }
        Ok(())
    }

    /// Reads the length of an array that must have one element.
    pub fn one(&mut self) -> Outcome {
        match self.count()? {
            1 => Ok(()),
            other => Err(format!("an answer about one thing has {other}").into()),
        }
    }

    fn unsigned(&mut self) -> Outcome<usize> {
        let mut number = 0usize;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a length does not end".into())
    }
}

/// The offset of one partition to commit, as `OffsetCommit` v9 and `TxnOffsetCommit` v5 end with it.
pub fn put_offset(body: &mut Vec<u8>, topic: &str, partition: i32, offset: i64) {
    put_count(body, 1);
    put_text(body, topic);
    put_count(body, 1);
    put_i32(body, partition);
    body.extend_from_slice(&offset.to_be_bytes());
    put_i32(body, -1); // leader epoch
    put_text(body, "");
    body.extend_from_slice(&[0; 3]);
}
