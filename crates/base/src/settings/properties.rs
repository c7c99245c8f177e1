//! The `.properties` file format, as `java.util.Properties.load` reads it.

use std::fmt;

use super::Texts;

/// Why a file is not a properties file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedProperties {
    /// The line, counted from one, on which the entry began.
    pub line: usize,
}

impl fmt::Display for MalformedProperties {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "line {}: malformed \\uxxxx encoding", self.line)
    }
}

impl std::error::Error for MalformedProperties {}

/// Reads a properties file. Bytes are ISO 8859-1 as in Java; the last of several equal keys wins.
pub fn parse_properties(bytes: &[u8]) -> Result<Texts, MalformedProperties> {
    let mut texts = Texts::new();
    let mut lines = LogicalLines { bytes, line: 0 };
    while let Some((number, line)) = lines.next_line() {
        let (key, value) = split_entry(&line);
        let malformed = || MalformedProperties { line: number };
        let key = unescape(key).ok_or_else(malformed)?;
        let value = unescape(value).ok_or_else(malformed)?;
        texts.insert(key, value);
    }
    Ok(texts)
}

const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0C)
}

/// Natural lines joined where they end in an odd number of backslashes; comments and blank lines left out.
struct LogicalLines<'a> {
    bytes: &'a [u8],
    line: usize,
}

impl LogicalLines<'_> {
    fn next_line(&mut self) -> Option<(usize, Vec<u8>)> {
        loop {
            let natural = trim_start(self.take_natural()?).to_vec();
            let number = self.line;
            if natural.is_empty() || matches!(natural[0], b'#' | b'!') {
                continue;
            }
            let mut whole = natural;
            while ends_in_continuation(&whole) {
                whole.pop();
                match self.take_natural() {
                    Some(next) => whole.extend_from_slice(trim_start(next)),
                    None => break,
                }
            }
            if !whole.is_empty() {
                return Some((number, whole));
            }
        }
    }

    fn take_natural(&mut self) -> Option<&[u8]> {
        if self.bytes.is_empty() {
            return None;
        }
        let bytes = self.bytes;
        let end = bytes.iter().position(|it| matches!(it, b'\n' | b'\r')).unwrap_or(bytes.len());
        let (line, rest) = bytes.split_at(end);
        self.bytes = rest.strip_prefix(b"\r\n").or_else(|| rest.get(1..)).unwrap_or_default();
        self.line += 1;
        Some(line)
    }
}

fn trim_start(line: &[u8]) -> &[u8] {
    let first = line.iter().position(|it| !is_white(*it)).unwrap_or(line.len());
    &line[first..]
}

fn ends_in_continuation(line: &[u8]) -> bool {
    line.iter().rev().take_while(|it| **it == b'\\').count() % 2 == 1
}

/// The key ends at the first `=`, `:` or white space that no backslash protects.
fn split_entry(line: &[u8]) -> (&[u8], &[u8]) {
    let mut protected = false;
    let mut end = line.len();
    for (at, byte) in line.iter().enumerate() {
        if !protected && (matches!(byte, b'=' | b':') || is_white(*byte)) {
            end = at;
            break;
        }
        protected = *byte == b'\\' && !protected;
    }
    let (key, rest) = line.split_at(end);
    let rest = trim_start(rest);
    let rest = match rest.first() {
        Some(b'=' | b':') => trim_start(&rest[1..]),
        _ => rest,
    };
    (key, rest)
}

/// Latin-1 text with its escapes resolved; `None` for a `\u` without four hexadecimal digits.
fn unescape(raw: &[u8]) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            units.push(u16::from(byte));
            continue;
        }
        match bytes.next() {
            None => {}
            Some(b't') => units.push(u16::from(b'\t')),
            Some(b'n') => units.push(u16::from(b'\n')),
            Some(b'r') => units.push(u16::from(b'\r')),
            Some(b'f') => units.push(0x0C),
            Some(b'u') => {
                let mut unit = 0u16;
                for _ in 0..4 {
                    let digit = char::from(bytes.next()?).to_digit(16)?;
                    unit = unit << 4 | u16::try_from(digit).ok()?;
                }
                units.push(unit);
            }
            Some(other) => units.push(u16::from(other)),
        }
    }
    Some(String::from_utf16_lossy(&units))
}
