//! Checkpoint files: a version, a count, and one entry a line (`CheckpointFile`, `OffsetCheckpointFile`).
//!
//! ```text
//! 0
//! 2
//! orders 0 1017
//! orders 1 998
//! ```
//!
//! The leader-epoch checkpoint of a partition has the same frame around other entries.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::io;
use std::path::{Path, PathBuf};

use ottla_base::Offset;
use ottla_host::Disk;

use crate::file_names::TopicPartition;

#[cfg(test)]
mod tests;

/// Up to where each log of a directory was flushed.
pub const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
/// Where each log of a directory starts, where that is not a segment's start.
pub const LOG_START_CHECKPOINT: &str = "log-start-offset-checkpoint";
/// The high watermark of each log of a directory.
pub const HIGH_WATERMARK_CHECKPOINT: &str = "replication-offset-checkpoint";
/// Up to where each log of a directory was compacted.
pub const CLEANER_CHECKPOINT: &str = "cleaner-offset-checkpoint";

const VERSION: i32 = 0;
/// The longest checkpoint that is read: a million partitions with the longest names.
const MAX_CHECKPOINT_BYTES: u64 = 300 << 20;

/// A small text file of a log directory that does not say what it should. It travels inside an
/// [`io::Error`] of kind [`io::ErrorKind::InvalidData`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} is malformed: {reason}")]
pub struct MalformedFile {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl MalformedFile {
    /// The error that carries this.
    pub fn error(path: &Path, reason: impl Into<String>) -> io::Error {
        let malformed = MalformedFile { path: path.to_owned(), reason: reason.into() };
        io::Error::new(io::ErrorKind::InvalidData, malformed)
    }
}

/// Reads a file of partitions and offsets; a missing or empty file has none.
pub fn read_offsets(disk: &Disk, path: &Path) -> io::Result<BTreeMap<TopicPartition, Offset>> {
    Ok(read_entries(disk, path, parse_offset)?.into_iter().collect())
}

/// Replaces a file of partitions and offsets, durably and whole.
pub fn write_offsets(disk: &Disk, path: &Path, offsets: &BTreeMap<TopicPartition, Offset>) -> io::Result<()> {
    let lines = offsets
        .iter()
        .map(|(partition, offset)| OffsetLine(&partition.topic, partition.partition.get(), offset.get()));
    write_entries(disk, path, offsets.len(), lines)
}

/// Reads the entries of a checkpoint file; a missing or empty file has none.
pub fn read_entries<T>(disk: &Disk, path: &Path, parse: impl Fn(&str) -> Option<T>) -> io::Result<Vec<T>> {
    let content = match disk.read(path, MAX_CHECKPOINT_BYTES) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    parse_entries(&content, parse).map_err(|reason| MalformedFile::error(path, reason))
}

/// Replaces a checkpoint file, durably and whole.
pub fn write_entries(
    disk: &Disk,
    path: &Path,
    count: usize,
    entries: impl Iterator<Item = impl Display>,
) -> io::Result<()> {
    disk.write_atomically(path, format_entries(count, entries).as_bytes())
}

pub(crate) fn format_entries(count: usize, entries: impl Iterator<Item = impl Display>) -> String {
    let mut text = format!("{VERSION}\n{count}\n");
    for entry in entries {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{entry}");
    }
    text
}

fn parse_entries<T>(content: &[u8], parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let text = std::str::from_utf8(content).map_err(|error| error.to_string())?;
    let mut lines = lines_of(text);
    let Some(version) = lines.next() else {
        return Ok(Vec::new());
    };
    match version.parse::<i32>() {
        Ok(VERSION) => {}
        Ok(version) => return Err(format!("version {version} where {VERSION} was expected")),
        Err(_) => return Err(format!("{version:?} is not a version")),
    }
    let Some(count) = lines.next() else {
        return Ok(Vec::new());
    };
    let count: i32 = count.parse().map_err(|_| format!("{count:?} is not a count"))?;
    let entries = lines
        .map(|line| parse(line).ok_or_else(|| format!("{line:?} is not an entry")))
        .collect::<Result<Vec<T>, String>>()?;
    if usize::try_from(count) != Ok(entries.len()) {
        return Err(format!("{} entries where {count} were announced", entries.len()));
    }
    Ok(entries)
}

fn parse_offset(line: &str) -> Option<(TopicPartition, Offset)> {
    let [topic, partition, offset] = fields_of(line)?;
    Some((TopicPartition::new(topic, partition.parse().ok()?), Offset(offset.parse().ok()?)))
}

/// The fields of a line between white space, if there are exactly so many.
pub fn fields_of<const COUNT: usize>(line: &str) -> Option<[&str; COUNT]> {
    let mut fields = line.split_ascii_whitespace();
    let mut found = [""; COUNT];
    for field in &mut found {
        *field = fields.next()?;
    }
    fields.next().is_none().then_some(found)
}

/// Lines as Java's `BufferedReader` sees them: ended by `\n`, `\r` or `\r\n`, the last perhaps by nothing.
pub(crate) fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let (line, tail) = rest.split_at(end);
        rest = tail.strip_prefix("\r\n").or_else(|| tail.get(1..)).unwrap_or_default();
        Some(line)
    })
}

struct OffsetLine<'a>(&'a str, i32, i64);

impl Display for OffsetLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.0, self.1, self.2)
    }
}
