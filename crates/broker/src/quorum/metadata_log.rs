//! The log `__cluster_metadata-0`: opened with the quorum's rules, appended to as the machine says, read batch by batch.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_base::{LeaderEpoch, Offset, Uuid};
use ottla_host::Host;
use ottla_metadata::settings::ServerSettings;
use ottla_raft::{MAX_BATCH_BYTES, OffsetAndEpoch};
use ottla_record::{BatchView, Batches, StoredBatch};
use ottla_storage::file_names::CLUSTER_METADATA_DIRECTORY;
use ottla_storage::partition_metadata::{read_topic_id, write_topic_id};
use ottla_storage::producer_state::ProducerRules;
use ottla_storage::{
    AppendError, Directory, FirstBatch, LastShutdown, Log, LogConfig, LogStartReason, OpenFiles, OpenLog,
    ReadLimit, ReadRequest, TopicPartition,
};

use super::QuorumError;

/// How much is read at once.
const READ_BYTES: u32 = 1 << 20;

/// The metadata log of a node.
#[derive(Clone)]
pub(super) struct MetadataLog {
    pub(super) log: Arc<Log>,
    pub(super) path: PathBuf,
}

impl MetadataLog {
    /// Opens the log and makes it if it is missing. Everything below `durable` is known to be on the disk: damage
    /// there is reported, behind it is what a crash may leave.
    pub(super) fn open(
        host: &Host,
        directory: Arc<Directory>,
        open_files: Arc<OpenFiles>,
        settings: &ServerSettings,
        durable: Offset,
    ) -> Result<MetadataLog, QuorumError> {
        let path = directory.path().join(CLUSTER_METADATA_DIRECTORY);
        let quorum = &settings.quorum;
        let segment_bytes =
            quorum.internal_metadata_log_segment_bytes.unwrap_or(quorum.metadata_log_segment_bytes);
        let config = LogConfig {
            segment_bytes: segment_bytes.unsigned_abs(),
            segment_ms: quorum.metadata_log_segment_ms,
            max_message_bytes: quorum.internal_metadata_max_batch_size_in_bytes.unsigned_abs(),
            // Nothing goes by its age or size: only what a snapshot covers.
            retention_ms: None,
            retention_bytes: None,
            ..LogConfig::default()
        };
        let log = Log::open(OpenLog {
            host: host.clone(),
            directory,
            open_files,
            partition: TopicPartition::new("__cluster_metadata", 0),
            path: path.clone(),
            config: Arc::new(config),
            producers: ProducerRules::default(),
            last_shutdown: LastShutdown::Unclean,
            recovery_point: durable,
            log_start: Offset::ZERO,
            cleaned: None,
            high_watermark: Offset::ZERO,
        })?;
        let disk = host.disk();
        if read_topic_id(&disk, &path).map_err(QuorumError::disk(&path))?.is_none() {
            write_topic_id(&disk, &path, Uuid::METADATA_TOPIC).map_err(QuorumError::disk(&path))?;
        }
        Ok(MetadataLog { log, path })
    }

    /// Appends a batch that has its offsets.
    pub(super) fn append(&self, batch: &Bytes, end: Offset, epoch: LeaderEpoch) -> Result<(), AppendError> {
        let appended = self.log.append_as_follower(batch, epoch)?;
        assert!(appended.is_some_and(|it| it.end == end), "the machine appends whole batches at the end");
        Ok(())
    }

    /// Looks at every batch from the one that holds `from` on, up to `end`.
    pub(super) fn for_each_batch<E: From<QuorumError>>(
        &self,
        from: Offset,
        end: Offset,
        mut look: impl FnMut(&BatchView<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut next = from;
        while next < end {
            let bytes = self.read(next, READ_BYTES)?;
            let mut batches = Batches::new(&bytes);
            let before = next;
            for batch in batches.by_ref() {
                let StoredBatch::V2(batch) = batch.map_err(|error| self.corrupt(next, &error.to_string()))?
                else {
                    return Err(self.corrupt(next, "a batch of an old format").into());
                };
                batch.verify_crc().map_err(|error| self.corrupt(next, &error.to_string()))?;
                if batch.base_offset() >= end {
                    return Ok(());
                }
                look(&batch)?;
                next = batch.end_offset();
            }
            if next == before {
                return Err(self.corrupt(next, "the log ends too early").into());
            }
        }
        Ok(())
    }

    /// Whole batches from `from` on: the first, and more as far as `max_bytes` reach. Blocks.
    pub(super) fn read(&self, from: Offset, max_bytes: u32) -> Result<Bytes, QuorumError> {
        let view = self.log.view();
        let request = ReadRequest { from, max_bytes, limit: ReadLimit::End, first_batch: FirstBatch::Whole };
        let answer = self.log.read(&view, &request)?;
        let mut bytes = vec![0; answer.bytes as usize];
        let mut filled = 0;
        for range in &answer.ranges {
            let piece = &mut bytes[filled..filled + range.len as usize];
            range.file.read_exact_at(piece, range.position).map_err(QuorumError::disk(&self.path))?;
            filled += range.len as usize;
        }
        Ok(bytes.into())
    }

    /// Gives up what the snapshot covers, as far as whole segments go. Blocks.
    pub(super) fn clean(&self, snapshot: OffsetAndEpoch) -> Result<(), QuorumError> {
        self.log.advance_log_start(snapshot.offset, LogStartReason::SnapshotGenerated)?;
        self.log.apply_retention()?;
        Ok(())
    }

    pub(super) fn corrupt(&self, at: Offset, reason: &str) -> QuorumError {
        QuorumError::Corrupt { path: self.path.clone(), reason: format!("at offset {at}: {reason}") }
    }
}

/// The largest batch, as a number of bytes to read.
pub(super) const MAX_READ_BYTES: u32 = MAX_BATCH_BYTES as u32;

/// Where the directory of the metadata log is within a log directory.
pub(super) fn path_in(directory: &Path) -> PathBuf {
    directory.join(CLUSTER_METADATA_DIRECTORY)
}
