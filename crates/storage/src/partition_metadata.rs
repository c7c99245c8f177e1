//! `partition.metadata`: the id of the topic whose partition a directory holds (`PartitionMetadataFile`).

use std::io;
use std::path::Path;

use ottla_base::Uuid;
use ottla_host::Disk;
use ottla_host::disk::Open;

use crate::checkpoint_file::{MalformedFile, lines_of};

#[cfg(test)]
mod tests;

/// The file's name within a partition's directory.
pub const PARTITION_METADATA_FILE: &str = "partition.metadata";

const VERSION: i32 = 0;
const MAX_BYTES: u64 = 4096;

/// The id of the topic whose partition `directory` holds; `None` if it does not say.
pub fn read_topic_id(disk: &Disk, directory: &Path) -> io::Result<Option<Uuid>> {
    let path = directory.join(PARTITION_METADATA_FILE);
    let content = match disk.read(&path, MAX_BYTES) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if content.iter().all(|byte| *byte == 0) {
        // What a crash leaves of a file that was not durable yet: nothing, or its length.
        return Ok(None);
    }
    match parse(&content) {
        Ok(topic_id) => Ok(Some(topic_id)),
        Err(reason) => Err(MalformedFile::error(&path, reason)),
    }
}

/// Says in `directory`, durably, of which topic its partition is.
pub fn write_topic_id(disk: &Disk, directory: &Path, topic_id: Uuid) -> io::Result<()> {
    disk.write_atomically(directory.join(PARTITION_METADATA_FILE), format(topic_id).as_bytes())
}

/// The same, but not durable until the file and its directory are synced. A crash before that leaves an old file, or
/// none, or an empty one, which says nothing.
pub(crate) fn draft_topic_id(disk: &Disk, directory: &Path, topic_id: Uuid) -> io::Result<()> {
    let file = disk.open(directory.join(PARTITION_METADATA_FILE), Open::Truncate)?;
    file.write_all_at(format(topic_id).as_bytes(), 0)
}

fn format(topic_id: Uuid) -> String {
    format!("version: {VERSION}\ntopic_id: {topic_id}")
}

fn parse(content: &[u8]) -> Result<Uuid, String> {
    let text = std::str::from_utf8(content).map_err(|error| error.to_string())?;
    let mut lines = lines_of(text);
    let mut value = |what: &str| {
        let line = lines.next().ok_or_else(|| format!("the line with the {what} is missing"))?;
        let (_, value) = line.split_once(':').ok_or_else(|| format!("{line:?} is not a {what}"))?;
        Ok::<&str, String>(value.trim_ascii_start())
    };
    let version = value("version")?;
    // Later versions only add to it.
    match version.parse::<i32>() {
        Ok(version) if version >= VERSION => {}
        _ => return Err(format!("{version:?} is not a version")),
    }
    let topic_id = value("topic id")?;
    match topic_id.parse::<Uuid>() {
        Ok(topic_id) if !topic_id.is_zero() => Ok(topic_id),
        _ => Err(format!("{topic_id:?} is not a topic id")),
    }
}
