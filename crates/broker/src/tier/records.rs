//! What is known of tiered segments: written to and replayed from `__remote_log_metadata`.
//!
//! State is born only by replay: what this broker writes it reads back from the log once it is committed. It follows
//! the partitions of the topic of which it has a replica, whoever leads them, and writes to those that it leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ottla_base::{ErrorCode, NodeId, Offset, PartitionIndex, Timestamp, Uuid};
use ottla_record::{BatchBuilder, BatchOptions, Batches, StoredBatch};
use ottla_storage::producer_state::{ProducerOrigin, VerificationGuard};
use ottla_storage::{FirstBatch, Log, ReadLimit, ReadRequest};
use ottla_tier::steps::Recorder;
use ottla_tier::{Event, TieredPartition, decode_event, encode_event, metadata_partition};
use parking_lot::Mutex;

use super::{Tier, TieringError};
use crate::broker::Broker;
use crate::commit::until_committed;
use crate::partition::Partition;
use crate::topic::REMOTE_LOG_METADATA;

/// How many bytes are read of the topic at a time.
const PIECE_BYTES: u32 = 1 << 20;
/// The most that one batch may decompress to.
const MAX_BATCH_BYTES: u64 = 256 << 20;
/// How long a record may take to be committed.
const COMMIT_LIMIT: Duration = Duration::from_secs(30);

/// How far the topic of the records was replayed, by partition.
#[derive(Default)]
pub(super) struct Records {
    followed: Mutex<BTreeMap<(Uuid, PartitionIndex), Arc<Followed>>>,
}

/// A partition of the topic, and how far it was replayed.
struct Followed {
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
    next: AtomicI64,
    /// Up to where it must be replayed before anything is decided by it: what was committed when it was first seen.
    ready_from: AtomicI64,
}

/// Writes the records of what is copied and deleted.
pub(super) struct Recording<'a> {
    pub(super) tier: &'a Tier,
    pub(super) broker: &'a Broker,
}

impl Recorder for Recording<'_> {
    type Error = TieringError;

    async fn record(&self, event: Event) -> Result<(), TieringError> {
        self.tier.write(self.broker, &event).await
    }

    fn now(&self) -> Timestamp {
        self.tier.host.wall_clock()
    }

    fn broker(&self) -> NodeId {
        self.broker.node_id
    }
}

impl Tier {
    /// The partition of the topic that holds the records of a partition, if this broker has it.
    fn records_of(
        &self,
        broker: &Broker,
        partition: &TieredPartition,
    ) -> Result<Arc<Partition>, TieringError> {
        let image = broker.image.load();
        let topic = image.topics.named(REMOTE_LOG_METADATA).ok_or(TieringError::NotReady)?;
        let index = metadata_partition(partition, topic.partition_count);
        broker.partitions.get(topic.id, index.get()).ok_or(TieringError::NotReady)
    }

    /// Whether everything is known that was recorded of a partition.
    pub(super) async fn is_ready(&self, broker: &Broker, partition: &TieredPartition) -> bool {
        match self.records_of(broker, partition) {
            Ok(records) => self.replay(&records).await.unwrap_or_else(|error| {
                tracing::warn!(partition = %records, %error, "records of tiered segments cannot be read");
                false
            }),
            Err(_) => false,
        }
    }

    /// Replays every partition of the topic that this broker has, but for those to which a record is being written: who
    /// writes it replays it.
    pub(super) async fn replay_all(&self, broker: &Broker) {
        let image = broker.image.load_full();
        let Some(topic) = image.topics.named(REMOTE_LOG_METADATA) else { return };
        for index in 0..topic.partition_count {
            let Some(records) = broker.partitions.get(topic.id, index) else { continue };
            let followed = self.followed(&records);
            let Ok(_turn) = followed.turn.try_lock() else { continue };
            if let Err(error) = self.replay_held(&records, &followed).await {
                tracing::warn!(partition = %records, %error, "records of tiered segments cannot be read");
            }
        }
    }

    /// Writes a record, and knows it once this returns.
    async fn write(&self, broker: &Broker, event: &Event) -> Result<(), TieringError> {
        let partition = &event.id().partition;
        let records = self.records_of(broker, partition)?;
        let followed = self.followed(&records);
        let turn = followed.turn.lock().await;
        self.replay_held(&records, &followed).await?;
        self.tracked_as(partition).catalog.lock().check(event)?;
        let value = encode_event(event).map_err(|error| {
            tracing::error!(%error, "a record of a tiered segment cannot be encoded");
            TieringError::Record(ErrorCode::UnknownServerError)
        })?;
        let now = self.host.wall_clock();
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.append(now, None, Some(&value), []);
        let origin = ProducerOrigin::Coordinator(VerificationGuard::NONE);
        let appended = records
            .append_own(builder.build(), origin, now)
            .map_err(|error| TieringError::Record(error.error_code()))?;
        let deadline = self.host.now() + COMMIT_LIMIT;
        until_committed(broker, &records, &appended, deadline).await.map_err(TieringError::Record)?;
        self.replay_held(&records, &followed).await?;
        drop(turn);
        Ok(())
    }

    fn followed(&self, records: &Partition) -> Arc<Followed> {
        let mut followed = self.records.followed.lock();
        let made = || {
            Arc::new(Followed {
                turn: tokio::sync::Mutex::default(),
                next: AtomicI64::new(0),
                ready_from: AtomicI64::new(-1),
            })
        };
        // A topic that was deleted and made again begins anew.
        followed.entry((records.topic_id, records.index)).or_insert_with(made).clone()
    }

    /// Takes in what was committed since. Says whether everything is known that had been when this process came.
    async fn replay(&self, records: &Arc<Partition>) -> Result<bool, TieringError> {
        let followed = self.followed(records);
        let _turn = followed.turn.lock().await;
        self.replay_held(records, &followed).await
    }

    async fn replay_held(&self, records: &Arc<Partition>, followed: &Followed) -> Result<bool, TieringError> {
        loop {
            let log = records.log();
            let view = log.view();
            if followed.ready_from.load(Ordering::Acquire) < 0 {
                followed.ready_from.store(view.end.get(), Ordering::Release);
            }
            let next = Offset(followed.next.load(Ordering::Acquire)).max(view.log_start);
            if next >= view.high_watermark {
                return Ok(next.get() >= followed.ready_from.load(Ordering::Acquire));
            }
            let read = self.host.blocking(move || read(&log, next)).await;
            let (events, end) = read.map_err(|reason| {
                tracing::error!(partition = %records, offset = %next, reason, "records of tiered segments");
                TieringError::Record(ErrorCode::KafkaStorageError)
            })?;
            for event in events {
                let tracked = self.tracked_as(&event.id().partition);
                if let Err(rejected) = tracked.catalog.lock().apply(&event) {
                    // Of a segment that is gone, or written by a leader that was none any more.
                    tracing::debug!(partition = %tracked.partition, %rejected, "a record is passed over");
                }
            }
            followed.next.store(end.get(), Ordering::Release);
        }
    }
}

/// The records from an offset on, of one read, and the offset after them. Blocks.
fn read(log: &Log, from: Offset) -> Result<(Vec<Event>, Offset), String> {
    let view = log.view();
    let request = ReadRequest {
        from,
        max_bytes: PIECE_BYTES,
        limit: ReadLimit::HighWatermark,
        first_batch: FirstBatch::Whole,
    };
    let answer = log.read(&view, &request).map_err(|error| error.to_string())?;
    let mut bytes = vec![0; answer.bytes as usize];
    let mut rest = bytes.as_mut_slice();
    for range in &answer.ranges {
        let (piece, after) = rest.split_at_mut(range.len as usize);
        range.file.read_exact_at(piece, range.position).map_err(|error| error.to_string())?;
        rest = after;
    }
    if bytes.is_empty() {
        // Nothing but a hole is left below the high watermark.
        return Ok((Vec::new(), view.high_watermark));
    }
    let (mut events, mut end) = (Vec::new(), from);
    for batch in Batches::new(&bytes) {
        let batch = batch.map_err(|error| error.to_string())?;
        if let StoredBatch::V2(batch) = &batch
            && !batch.header().is_control()
        {
            let records = batch.decompressed(MAX_BATCH_BYTES).map_err(|error| error.to_string())?;
            for record in batch.records(&records) {
                let record = record.map_err(|error| error.to_string())?;
                let Some(value) = record.value.filter(|_| record.offset >= from) else { continue };
                match decode_event(Bytes::copy_from_slice(value)) {
                    Ok(event) => events.extend(event),
                    // One record that nobody understands must not hide all others.
                    Err(error) => {
                        tracing::warn!(offset = %record.offset, %error, "a record of tiered segments is passed over");
                    }
                }
            }
        }
        end = batch.last_offset().after(1);
    }
    if end <= from { Err("no batch is whole".to_owned()) } else { Ok((events, end)) }
}
