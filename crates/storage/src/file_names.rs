//! The names of Kafka's files and partition directories, written and read (`LogFileUtils`, `LocalLog`).

use ottla_base::{Offset, PartitionIndex, Uuid};

/// The directory of the KRaft metadata log within its log directory.
pub const CLUSTER_METADATA_DIRECTORY: &str = "__cluster_metadata-0";
/// The directory where Kafka keeps indexes fetched from remote storage; it holds no partition.
pub const REMOTE_INDEX_CACHE_DIRECTORY: &str = "remote-log-index-cache";
/// The longest file name that file systems take.
const FILE_NAME_LEN_MAX: usize = 255;

/// One of the files that share a base offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentFile {
    /// `.log`: record batches.
    Log,
    /// `.index`: offsets to positions.
    OffsetIndex,
    /// `.timeindex`: timestamps to offsets.
    TimeIndex,
    /// `.txnindex`: aborted transactions.
    TransactionIndex,
    /// `.snapshot`: producer state up to the offset in the name.
    Snapshot,
}

impl SegmentFile {
    /// Every kind, the log first.
    pub const ALL: [SegmentFile; 5] = [
        SegmentFile::Log,
        SegmentFile::OffsetIndex,
        SegmentFile::TimeIndex,
        SegmentFile::TransactionIndex,
        SegmentFile::Snapshot,
    ];

    /// The extension, dot included.
    pub const fn extension(self) -> &'static str {
        match self {
            SegmentFile::Log => ".log",
            SegmentFile::OffsetIndex => ".index",
            SegmentFile::TimeIndex => ".timeindex",
            SegmentFile::TransactionIndex => ".txnindex",
            SegmentFile::Snapshot => ".snapshot",
        }
    }
}

/// What a second extension says about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// No second extension: part of the log.
    Live,
    /// `.deleted`: out of the log, to be removed.
    Deleted,
    /// `.cleaned`: being written by compaction.
    Cleaned,
    /// `.swap`: complete, taking the place of older files.
    Swap,
}

impl Standing {
    /// The second extension, dot included; empty for live files.
    pub const fn extension(self) -> &'static str {
        match self {
            Standing::Live => "",
            Standing::Deleted => ".deleted",
            Standing::Cleaned => ".cleaned",
            Standing::Swap => ".swap",
        }
    }
}

/// A file name of a partition directory, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName {
    /// The offset in the name.
    pub base: Offset,
    /// What the file holds.
    pub kind: SegmentFile,
    /// What the second extension says.
    pub standing: Standing,
}

impl FileName {
    /// The name of a live file.
    pub const fn live(base: Offset, kind: SegmentFile) -> FileName {
        FileName { base, kind, standing: Standing::Live }
    }

    /// The same file in another standing.
    pub const fn standing(self, standing: Standing) -> FileName {
        FileName { standing, ..self }
    }

    /// Takes a name apart; `None` if it is not one of a segment's files.
    pub fn parse(name: &str) -> Option<FileName> {
        let (name, standing) = [Standing::Deleted, Standing::Cleaned, Standing::Swap]
            .into_iter()
            .find_map(|standing| Some((name.strip_suffix(standing.extension())?, standing)))
            .unwrap_or((name, Standing::Live));
        let dot = name.find('.')?;
        let (digits, extension) = name.split_at(dot);
        let kind = SegmentFile::ALL.into_iter().find(|kind| kind.extension() == extension)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(FileName { base: Offset(digits.parse().ok()?), kind, standing })
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:020}{}{}", self.base.get(), self.kind.extension(), self.standing.extension())
    }
}

/// A partition of a topic, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// A partition of a topic.
    pub fn new(topic: impl Into<String>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition: PartitionIndex(partition) }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// What the name of a partition directory says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryStanding {
    /// `<topic>-<partition>`: the partition's log.
    Current,
    /// `….<id>-future`: a copy that is being moved here from another log directory.
    Future,
    /// `….<id>-delete`: deleted, to be removed.
    Delete,
    /// `….<id>-stray`: no longer assigned to this broker, kept for the operator.
    Stray,
}

impl DirectoryStanding {
    const fn suffix(self) -> &'static str {
        match self {
            DirectoryStanding::Current => "",
            DirectoryStanding::Future => "-future",
            DirectoryStanding::Delete => "-delete",
            DirectoryStanding::Stray => "-stray",
        }
    }
}

/// The name of a partition's directory in the given standing; `unique` keeps names of the same partition apart.
///
/// Names of deleted and stray directories are cut to what file systems take, as Kafka does.
pub fn directory_name(partition: &TopicPartition, standing: DirectoryStanding, unique: Uuid) -> String {
    if standing == DirectoryStanding::Current {
        return partition.to_string();
    }
    let id: String = unique.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let tail = format!("-{}.{id}{}", partition.partition, standing.suffix());
    let room = FILE_NAME_LEN_MAX.saturating_sub(tail.len());
    let topic = match standing {
        DirectoryStanding::Delete | DirectoryStanding::Stray => {
            // Topic names are ASCII; anything else is cut at a character's edge.
            let end =
                (0..=room.min(partition.topic.len())).rev().find(|&at| partition.topic.is_char_boundary(at));
            &partition.topic[..end.unwrap_or(0)]
        }
        DirectoryStanding::Current | DirectoryStanding::Future => &partition.topic,
    };
    format!("{topic}{tail}")
}

/// The name that a log gets when the copy of this name takes its place: the same but for the end.
pub fn renamed_as_deleted(future: &str) -> Option<String> {
    let plain = future.strip_suffix(DirectoryStanding::Future.suffix())?;
    Some(format!("{plain}{}", DirectoryStanding::Delete.suffix()))
}

/// Takes the name of a partition directory apart; `None` if it is not one.
pub fn parse_directory_name(name: &str) -> Option<(TopicPartition, DirectoryStanding)> {
    let marked = [DirectoryStanding::Future, DirectoryStanding::Delete, DirectoryStanding::Stray]
        .into_iter()
        .find_map(|standing| Some((name.strip_suffix(standing.suffix())?, standing)));
    let (plain, standing) = match marked {
        Some((rest, standing)) if rest.contains('.') => {
            let (plain, unique) = rest.rsplit_once('.')?;
            if unique.is_empty() {
                return None;
            }
            (plain, standing)
        }
        _ => (name, DirectoryStanding::Current),
    };
    let (topic, partition) = plain.rsplit_once('-')?;
    if topic.is_empty() || partition.is_empty() || !partition.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((TopicPartition::new(topic, partition.parse().ok()?), standing))
}

#[cfg(test)]
mod tests;
