//! What is in a server's data directory.

use std::path::{Path, PathBuf};

use crate::workspace::Outcome;

/// The finished segments of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// How many there are.
    pub count: usize,
    /// Bytes of records in them.
    pub bytes: u64,
    /// The offset at which the segment begins that is not finished.
    pub end: i64,
}

/// Where a server keeps its partitions.
pub fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Looks at the files of a partition.
pub fn sealed(folder: &Path, topic: &str, partition: i32) -> Outcome<Sealed> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(data(folder).join(format!("{topic}-{partition}")))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(base) = name.strip_suffix(".log") {
            // A file that goes meanwhile is none of what is left.
            segments.push((base.parse::<i64>()?, entry.metadata().map_or(0, |it| it.len())));
        }
    }
    segments.sort_unstable();
    let (end, _) = segments.pop().ok_or_else(|| format!("{topic}-{partition} has no segment"))?;
    Ok(Sealed { count: segments.len(), bytes: segments.iter().map(|it| it.1).sum(), end })
}

/// Up to which offset a partition is cleaned, as `cleaner-offset-checkpoint` has it.
pub fn cleaned(folder: &Path, topic: &str) -> Option<i64> {
    // It is not there before the first pass, and is replaced as a whole.
    let text = std::fs::read_to_string(data(folder).join("cleaner-offset-checkpoint")).ok()?;
    text.lines().find_map(|it| it.strip_prefix(&format!("{topic} 0 "))?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_segment_is_not_finished() {
        let folder = tempfile::tempdir().expect("a folder");
        let partition = data(folder.path()).join("topic-0");
        std::fs::create_dir_all(&partition).expect("made");
        for (name, len) in [("10.log", 7), ("0.log", 5), ("25.log", 3), ("10.index", 8), ("0.log.deleted", 9)]
        {
            std::fs::write(partition.join(name), vec![0; len]).expect("written");
        }
        let found = sealed(folder.path(), "topic", 0).expect("found");
        assert_eq!(found, Sealed { count: 2, bytes: 12, end: 25 });
        assert_eq!(cleaned(folder.path(), "topic"), None);
        let text = "0\n2\nother-topic 0 3\ntopic 0 25\n";
        std::fs::write(data(folder.path()).join("cleaner-offset-checkpoint"), text).expect("written");
        assert_eq!(cleaned(folder.path(), "topic"), Some(25));
    }
}
