//! What is in a server's data directory.

use std::os::unix::fs::MetadataExt;
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
    let mut segments: Vec<_> = segments(folder, topic, partition)?
        .iter()
        // A file that goes meanwhile is none of what is left.
        .map(|(base, path)| (*base, path.metadata().map_or(0, |it| it.len())))
        .collect();
    segments.sort_unstable();
    let (end, _) = segments.pop().ok_or_else(|| format!("{topic}-{partition} has no segment"))?;
    Ok(Sealed { count: segments.len(), bytes: segments.iter().map(|it| it.1).sum(), end })
}

/// A partition's files of records, by the offset at which they begin.
fn segments(folder: &Path, topic: &str, partition: i32) -> Outcome<Vec<(i64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(data(folder).join(format!("{topic}-{partition}")))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(base) = name.strip_suffix(".log") {
            segments.push((base.parse()?, entry.path()));
        }
    }
    Ok(segments)
}

/// The finished segments of a partition as they were written: whoever cleans them writes others in their place.
pub struct Originals(Vec<Identity>);

/// A file's number, and when it was last changed: a number is given anew when its file is gone.
type Identity = (u64, i64, i64);

fn identity(path: &Path) -> std::io::Result<Identity> {
    path.metadata().map(|it| (it.ino(), it.ctime(), it.ctime_nsec()))
}

impl Originals {
    /// Those that begin before an offset.
    pub fn of(folder: &Path, topic: &str, end: i64) -> Outcome<Originals> {
        let finished = segments(folder, topic, 0)?.into_iter().filter(|it| it.0 < end);
        Ok(Originals(finished.map(|(_, path)| identity(&path)).collect::<Result<_, _>>()?))
    }

    /// Whether all were replaced: none of them is among the partition's segments any more, and others are.
    pub fn are_replaced(&self, folder: &Path, topic: &str) -> Outcome<bool> {
        let now = segments(folder, topic, 0)?;
        let is_one = |path: &Path| identity(path).is_ok_and(|it| self.0.contains(&it));
        Ok(now.len() > 1 && !now.iter().any(|(_, path)| is_one(path)))
    }
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
    }

    #[test]
    fn segments_are_replaced_when_all_are_written_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let partition = data(folder.path()).join("topic-0");
        std::fs::create_dir_all(&partition).expect("made");
        let write = |name: &str| std::fs::write(partition.join(name), name).expect("written");
        // All at once, so that no file gets the number of one that is gone.
        ["0.log", "10.log", "25.log", "0.cleaned", "10.cleaned"].into_iter().for_each(write);
        let originals = Originals::of(folder.path(), "topic", 25).expect("found");
        let are_replaced = || originals.are_replaced(folder.path(), "topic").expect("seen");
        assert!(!are_replaced());
        let rename = |from: &str, to: &str| {
            std::fs::rename(partition.join(from), partition.join(to)).expect("renamed");
        };
        rename("10.cleaned", "10.log");
        assert!(!are_replaced(), "the first is as it was");
        rename("0.log", "0.log.deleted");
        rename("10.log", "10.log.deleted");
        assert!(!are_replaced(), "nothing is there in their place");
        rename("0.cleaned", "0.log");
        assert!(are_replaced(), "the last is not finished and does not count");
    }
}
