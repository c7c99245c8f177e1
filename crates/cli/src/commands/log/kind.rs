//! Which file is what, judged by its name.

use std::path::Path;

use ottla_base::Offset;
use ottla_raft::{Election, SnapshotFile};
use ottla_storage::checkpoint_file::{
    CLEANER_CHECKPOINT, HIGH_WATERMARK_CHECKPOINT, LOG_START_CHECKPOINT, RECOVERY_POINT_CHECKPOINT,
};
use ottla_storage::clean_shutdown::CLEAN_SHUTDOWN_FILE;
use ottla_storage::file_names::{FileName, SegmentFile};
use ottla_storage::leader_epochs::LEADER_EPOCH_CHECKPOINT;
use ottla_storage::meta_properties::META_PROPERTIES_FILE;
use ottla_storage::partition_metadata::PARTITION_METADATA_FILE;

/// The file with which Kafka's controllers began before they formatted snapshots.
const BOOTSTRAP_SNAPSHOT: &str = "bootstrap.checkpoint";

/// What a file holds. Numbers are the offset in its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Segment(Offset),
    MetadataSnapshot,
    OffsetIndex(Offset),
    TimeIndex(Offset),
    TransactionIndex(Offset),
    ProducerSnapshot,
    LeaderEpochs,
    Offsets,
    MetaProperties,
    PartitionMetadata,
    QuorumState,
    CleanShutdown,
}

impl FileKind {
    /// What the file is; nothing if a broker has no such file.
    pub(super) fn of(path: &Path) -> Option<FileKind> {
        let name = path.file_name()?.to_str()?;
        if let Some(name) = FileName::parse(name) {
            return Some(match name.kind {
                SegmentFile::Log => FileKind::Segment(name.base),
                SegmentFile::OffsetIndex => FileKind::OffsetIndex(name.base),
                SegmentFile::TimeIndex => FileKind::TimeIndex(name.base),
                SegmentFile::TransactionIndex => FileKind::TransactionIndex(name.base),
                SegmentFile::Snapshot => FileKind::ProducerSnapshot,
            });
        }
        match name {
            LEADER_EPOCH_CHECKPOINT => Some(FileKind::LeaderEpochs),
            RECOVERY_POINT_CHECKPOINT
            | LOG_START_CHECKPOINT
            | HIGH_WATERMARK_CHECKPOINT
            | CLEANER_CHECKPOINT => Some(FileKind::Offsets),
            META_PROPERTIES_FILE => Some(FileKind::MetaProperties),
            PARTITION_METADATA_FILE => Some(FileKind::PartitionMetadata),
            Election::FILE_NAME => Some(FileKind::QuorumState),
            CLEAN_SHUTDOWN_FILE => Some(FileKind::CleanShutdown),
            BOOTSTRAP_SNAPSHOT => Some(FileKind::MetadataSnapshot),
            _ => SnapshotFile::of_name(name).map(|_| FileKind::MetadataSnapshot),
        }
    }

    /// What people call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            FileKind::Segment(_) => "segment",
            FileKind::MetadataSnapshot => "metadata snapshot",
            FileKind::OffsetIndex(_) => "offset index",
            FileKind::TimeIndex(_) => "time index",
            FileKind::TransactionIndex(_) => "transaction index",
            FileKind::ProducerSnapshot => "producer snapshot",
            FileKind::LeaderEpochs => "leader epochs",
            FileKind::Offsets => "offset checkpoint",
            FileKind::MetaProperties => "meta properties",
            FileKind::PartitionMetadata => "partition metadata",
            FileKind::QuorumState => "quorum state",
            FileKind::CleanShutdown => "clean shutdown",
        }
    }
}
