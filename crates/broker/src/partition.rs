//! One partition on this broker: its log, who leads it, and what its topic demands.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ottla_base::{ErrorCode, LeaderEpoch, NodeId, PartitionIndex, Str, Timestamp, Uuid};
use ottla_metadata::settings::TopicSettings;
use ottla_record::{
    AcceptedBatch, BatchView, Compression, CompressionLevel, DecompressionLimits, Origin, Refusal,
    TimestampRules, TimestampType, ValidationRules,
};
use ottla_storage::producer_state::{ProducerOrigin, VerificationGuard, marker_of};
use ottla_storage::{AppendError, AppendOptions, Appended, Commit, Log, StorageError};
use ottla_wire::messages::fetch_response::EpochEndOffset;

use crate::metrics::topics::TopicCounters;

/// Who leads a partition, as the metadata says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// The leader, or [`NodeId::NONE`].
    pub leader: NodeId,
    /// Its epoch.
    pub leader_epoch: LeaderEpoch,
    /// The epoch of the partition's state.
    pub partition_epoch: i32,
    /// The replicas in sync.
    pub isr: Vec<NodeId>,
    /// All replicas.
    pub replicas: Vec<NodeId>,
}

/// What a topic demands of batches and of who waits for them.
#[derive(Debug, Clone, PartialEq)]
pub struct Demands {
    /// `min.insync.replicas`
    pub min_insync_replicas: usize,
    /// `max.message.bytes`
    pub max_message_bytes: usize,
    /// `max.decompressed.message.bytes`
    pub max_decompressed_record_bytes: i32,
    /// Whether `cleanup.policy` contains `compact`.
    pub compacted: bool,
    /// How timestamps are treated.
    pub timestamps: Timestamps,
    /// The compression that batches must have; nothing leaves the producer's.
    pub compression: Option<CompressionLevel>,
    /// How long segments wait before they are tiered.
    pub copy_lag: CopyLag,
}

/// How long a sealed segment waits before it is copied to tiered storage, whichever is over first (KIP-1241).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyLag {
    /// `remote.copy.lag.ms`, or what stays on the disk; `None` if time does not matter.
    pub ms: Option<u64>,
    /// `remote.copy.lag.bytes`, or what stays on the disk; `None` if bytes do not matter.
    pub bytes: Option<u64>,
}

impl CopyLag {
    fn of(settings: &TopicSettings) -> CopyLag {
        let kept = |local, whole| if local == -2 { whole } else { local };
        let lag = |lag, kept| u64::try_from(if lag == -1 { kept } else { lag }).ok();
        let kept_ms = kept(settings.local_retention_ms, settings.retention_ms);
        let kept_bytes = kept(settings.local_retention_bytes, settings.retention_bytes);
        CopyLag {
            ms: lag(settings.remote_copy_lag_ms, kept_ms),
            bytes: lag(settings.remote_copy_lag_bytes, kept_bytes),
        }
    }
}

/// How a topic treats timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamps {
    kind: TimestampType,
    before_max_ms: i64,
    after_max_ms: i64,
}

impl Demands {
    /// What the settings of a topic come to.
    pub fn of(settings: &TopicSettings) -> Demands {
        let level = |compression, level| Some(CompressionLevel { compression, level });
        Demands {
            min_insync_replicas: usize::try_from(settings.min_insync_replicas).unwrap_or(1),
            max_message_bytes: usize::try_from(settings.max_message_bytes).unwrap_or(0),
            max_decompressed_record_bytes: settings.max_decompressed_message_bytes,
            compacted: settings.cleanup_policy.iter().any(|it| it == "compact"),
            timestamps: Timestamps {
                kind: match settings.message_timestamp_type.as_str() {
                    "LogAppendTime" => TimestampType::LogAppendTime,
                    _ => TimestampType::CreateTime,
                },
                before_max_ms: settings.message_timestamp_before_max_ms,
                after_max_ms: settings.message_timestamp_after_max_ms,
            },
            compression: match settings.compression_type.as_str() {
                "uncompressed" => level(Compression::None, 0),
                "gzip" => level(Compression::Gzip, settings.compression_gzip_level),
                "snappy" => level(Compression::Snappy, 0),
                "lz4" => level(Compression::Lz4, settings.compression_lz4_level),
                "zstd" => level(Compression::Zstd, settings.compression_zstd_level),
                _ => None,
            },
            copy_lag: CopyLag::of(settings),
        }
    }
}

/// One partition of which this broker has a replica.
pub struct Partition {
    /// The topic's name.
    pub topic: Str,
    /// The topic's id.
    pub topic_id: Uuid,
    /// Its number within the topic.
    pub index: PartitionIndex,
    log: ArcSwap<Log>,
    /// What its topic counts.
    pub counters: Arc<TopicCounters>,
    broker: NodeId,
    leadership: ArcSwap<Leadership>,
    demands: ArcSwap<Demands>,
}

/// Why a batch was not appended.
#[derive(Debug)]
pub enum ProduceError {
    /// No partition takes such records from a producer.
    Malformed(Refusal),
    /// The batch breaks a rule of this partition.
    Refused(Refusal),
    /// The log did not take it.
    Append(AppendError),
    /// This broker may not take it now.
    Code(ErrorCode),
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

impl Partition {
    /// A replica on the broker `broker`.
    pub fn new(
        broker: NodeId,
        (topic, topic_id, index): (Str, Uuid, PartitionIndex),
        log: Arc<Log>,
        counters: Arc<TopicCounters>,
        leadership: Leadership,
        demands: Demands,
    ) -> Partition {
        begin(broker, &log, &leadership);
        let (leadership, demands) = (ArcSwap::from_pointee(leadership), ArcSwap::from_pointee(demands));
        let log = ArcSwap::new(log);
        Partition { topic, topic_id, index, log, counters, broker, leadership, demands }
    }

    /// Its log: another one once it was moved to another directory.
    pub fn log(&self) -> Arc<Log> {
        self.log.load_full()
    }

    /// Goes on with a log that has taken the place of the one before.
    pub(crate) fn go_on_with(&self, log: Arc<Log>) {
        self.log.store(log);
    }

    /// Who leads.
    pub fn leadership(&self) -> Arc<Leadership> {
        self.leadership.load_full()
    }

    /// Takes what the metadata says now. Offsets below the start of an epoch are what its leader found.
    pub fn lead(&self, leadership: Leadership) {
        begin(self.broker, &self.log(), &leadership);
        self.leadership.store(Arc::new(leadership));
    }

    /// Takes what the topic demands now.
    pub fn demand(&self, demands: Demands) {
        self.demands.store(Arc::new(demands));
    }

    /// The epoch in which this broker leads, if it does and the caller's epoch (-1 if unknown) is the same.
    pub fn leader_epoch(&self, expected: i32) -> Result<LeaderEpoch, ErrorCode> {
        if self.log.load().directory().failure().is_some() {
            // Whoever leads now: a client learns that from the metadata.
            return Err(ErrorCode::KafkaStorageError);
        }
        let leadership = self.leadership.load();
        if expected >= 0 {
            match expected.cmp(&leadership.leader_epoch.get()) {
                std::cmp::Ordering::Less => return Err(ErrorCode::FencedLeaderEpoch),
                std::cmp::Ordering::Greater => return Err(ErrorCode::UnknownLeaderEpoch),
                std::cmp::Ordering::Equal => {}
            }
        }
        if leadership.leader != self.broker {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        Ok(leadership.leader_epoch)
    }

    /// Where a reader's log parts from this one, if its last record is not in it (KIP-595).
    pub fn divergence(
        &self,
        last_fetched_epoch: i32,
        fetch_offset: i64,
    ) -> Result<Option<EpochEndOffset>, ErrorCode> {
        let found = self.log().end_of_epoch(LeaderEpoch(last_fetched_epoch));
        if found.epoch == LeaderEpoch::NONE || found.end.get() < 0 {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let parts = found.epoch.get() < last_fetched_epoch || found.end.get() < fetch_offset;
        Ok(parts.then(|| EpochEndOffset {
            epoch: found.epoch.get(),
            end_offset: found.end.get(),
            ..Default::default()
        }))
    }

    /// How many replicas must be in sync for `acks=all`: never more than there are.
    pub fn min_insync_replicas(&self) -> usize {
        self.demands.load().min_insync_replicas.min(self.leadership.load().replicas.len())
    }

    /// Whether clients may delete records: not where compaction alone decides what stays.
    pub fn may_delete_records(&self) -> bool {
        let config = self.log().config();
        config.cleanup_delete || !config.cleanup_compact
    }

    /// Checks a batch that a client has sent and appends it. `guard` is the proof of its transaction.
    pub fn append(
        &self,
        produce_version: i16,
        records: bytes::Bytes,
        acknowledgement: Acknowledgement,
        guard: VerificationGuard,
        now: Timestamp,
    ) -> Result<(Appended, AcceptedBatch), ProduceError> {
        // Who does not lead says so before it looks.
        self.leader_epoch(-1).map_err(ProduceError::Code)?;
        if acknowledgement == Acknowledgement::AllInSync {
            self.check_in_sync()?;
        }
        ottla_record::check_produce(&records, produce_version).map_err(ProduceError::Malformed)?;
        let by = Author { origin: Origin::Client, producer: ProducerOrigin::Client(guard) };
        self.append_by(by, &records, now)
    }

    /// Appends a batch that a coordinator of this broker has built, as with `acks=all`.
    pub fn append_own(
        &self,
        records: bytes::Bytes,
        producer: ProducerOrigin,
        now: Timestamp,
    ) -> Result<Appended, ProduceError> {
        self.check_in_sync()?;
        let by = Author { origin: Origin::Coordinator, producer };
        self.append_by(by, &records, now).map(|(appended, _)| appended)
    }

    /// Whether a batch that a coordinator has built would be taken from its producer. Changes nothing.
    pub(crate) fn may_append(&self, batch: &[u8], origin: ProducerOrigin) -> Result<(), Refusal> {
        let batch = BatchView::new(batch).map_err(Refusal::from)?;
        let header = batch.header();
        let marker = marker_of(header, batch.payload()).map_err(Refusal::from)?;
        self.log().with_producers(|producers| producers.prepare(header, marker, origin).map(|_| ()))
    }

    /// Whether so many replicas are in sync as `min.insync.replicas` wants before anything is appended.
    fn check_in_sync(&self) -> Result<(), ProduceError> {
        match self.leadership.load().isr.len() < self.min_insync_replicas() {
            true => Err(ProduceError::Code(ErrorCode::NotEnoughReplicas)),
            false => Ok(()),
        }
    }

    fn append_by(
        &self,
        by: Author,
        records: &bytes::Bytes,
        now: Timestamp,
    ) -> Result<(Appended, AcceptedBatch), ProduceError> {
        let leader_epoch = self.leader_epoch(-1).map_err(ProduceError::Code)?;
        let demands = self.demands.load();
        let rules = ValidationRules {
            partition: self,
            origin: by.origin,
            now,
            compacted: demands.compacted,
            timestamps: TimestampRules {
                kind: demands.timestamps.kind,
                before_max_ms: demands.timestamps.before_max_ms,
                after_max_ms: demands.timestamps.after_max_ms,
            },
            max_batch_bytes: Some(demands.max_message_bytes),
            decompression: DecompressionLimits {
                record_bytes: demands.max_decompressed_record_bytes,
                ..DecompressionLimits::default()
            },
            compression: demands.compression,
            leader_epoch,
        };
        let accepted = ottla_record::validate(records, &rules).map_err(ProduceError::Refused)?;
        let commit = if self.leadership.load().isr.len() > 1 { Commit::Later } else { Commit::AtOnce };
        let options = AppendOptions { leader_epoch, origin: by.producer, commit };
        let log = self.log();
        let appended = match log.append_as_leader(&accepted, &options) {
            // It was moved to another directory meanwhile.
            Err(AppendError::Storage(StorageError::Closed)) if !Arc::ptr_eq(&log, &self.log()) => {
                self.log().append_as_leader(&accepted, &options)
            }
            other => other,
        };
        let appended = appended.map_err(ProduceError::Append)?;
        Ok((appended, accepted))
    }

    /// How long segments wait before they are tiered.
    pub fn copy_lag(&self) -> CopyLag {
        self.demands.load().copy_lag
    }

    /// `max.message.bytes`
    pub fn max_message_bytes(&self) -> usize {
        self.demands.load().max_message_bytes
    }
}

/// Who appends to a partition.
struct Author {
    origin: Origin,
    producer: ProducerOrigin,
}

impl ProduceError {
    /// The answer to whoever wanted to append.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            ProduceError::Malformed(refusal) | ProduceError::Refused(refusal) => refusal.code,
            ProduceError::Append(error) => error.error_code(),
            ProduceError::Code(code) => *code,
        }
    }
}

/// What a log must know before its replica leads. Whoever sends a batch again that the last process appended waits
/// for the high watermark, and nothing else may come that would move it.
fn begin(broker: NodeId, log: &Log, leadership: &Leadership) {
    if leadership.leader != broker {
        return;
    }
    log.begin_epoch(leadership.leader_epoch);
    if leadership.isr == [broker] {
        // The only replica in sync: all it has is committed.
        log.advance_high_watermark(log.view().end);
    }
}

/// Whom a producer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledgement {
    /// `acks=0`: nobody.
    Nobody,
    /// `acks=1`: the leader.
    Leader,
    /// `acks=all`: every replica in sync.
    AllInSync,
}

impl Acknowledgement {
    /// What a request's number means.
    pub const fn from_acks(acks: i16) -> Option<Acknowledgement> {
        match acks {
            0 => Some(Acknowledgement::Nobody),
            1 => Some(Acknowledgement::Leader),
            -1 => Some(Acknowledgement::AllInSync),
            _ => None,
        }
    }
}
