//! What is recorded of tiered segments, as Kafka's records in `__remote_log_metadata` (`RemoteLogMetadataSerde`).

use bytes::Bytes;
use ottla_base::{LeaderEpoch, NodeId, Offset, PartitionIndex, Timestamp};
use ottla_record::murmur2;
use ottla_storage::leader_epochs::EpochStart;
use ottla_wire::records::remote_log::{
    RemoteLogRecord, RemoteLogSegmentMetadataRecord, RemoteLogSegmentMetadataRemoteLogSegmentIdEntry,
    RemoteLogSegmentMetadataSegmentLeaderEpochEntry, RemoteLogSegmentMetadataTopicIdPartitionEntry,
    RemoteLogSegmentMetadataUpdateRecord, RemoteLogSegmentMetadataUpdateRemoteLogSegmentIdEntry,
    RemoteLogSegmentMetadataUpdateTopicIdPartitionEntry,
};
use ottla_wire::{DecodeError, EncodeError, decode_metadata_record, encode_metadata_record};

use crate::segment::{SegmentId, SegmentMetadata, SegmentState, SegmentUpdate, TieredPartition};

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A segment is being copied.
    Added(SegmentMetadata),
    /// A segment is in another state.
    Updated(SegmentUpdate),
}

impl Event {
    /// The segment it is about.
    pub fn id(&self) -> &SegmentId {
        match self {
            Event::Added(metadata) => &metadata.id,
            Event::Updated(update) => &update.id,
        }
    }
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// It is not a record.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It says what cannot be.
    #[error("{0}")]
    Invalid(&'static str),
}

/// The partition of `__remote_log_metadata`, which has `count`, that records of a partition go to
/// (`RemoteLogMetadataTopicPartitioner`).
pub fn metadata_partition(partition: &TieredPartition, count: i32) -> PartitionIndex {
    let number = partition.topic_id.number();
    let (most, least) = ((number >> 64) as u64, number as u64);
    // `Objects.hash` of two `long`s and an `int`.
    let of_long = |it: u64| (it ^ (it >> 32)) as u32 as i32;
    let step = |hash: i32, next: i32| hash.wrapping_mul(31).wrapping_add(next);
    let hash = step(step(step(1, of_long(least)), of_long(most)), partition.index.get());
    let positive = (murmur2(&hash.to_be_bytes()) & 0x7fff_ffff) as i32;
    PartitionIndex(positive % count.max(1))
}

/// The bytes of a record's value.
pub fn encode_event(event: &Event) -> Result<Bytes, EncodeError> {
    let record = match event {
        Event::Added(it) => {
            let partition = &it.id.partition;
            let epochs = it.epochs.iter().map(|epoch| RemoteLogSegmentMetadataSegmentLeaderEpochEntry {
                leader_epoch: epoch.epoch.get(),
                offset: epoch.start.get(),
                ..Default::default()
            });
            RemoteLogRecord::RemoteLogSegmentMetadataRecord(RemoteLogSegmentMetadataRecord {
                remote_log_segment_id: RemoteLogSegmentMetadataRemoteLogSegmentIdEntry {
                    topic_id_partition: RemoteLogSegmentMetadataTopicIdPartitionEntry {
                        name: partition.topic.clone(),
                        id: partition.topic_id,
                        partition: partition.index.get(),
                        ..Default::default()
                    },
                    id: it.id.id,
                    ..Default::default()
                },
                start_offset: it.start.get(),
                end_offset: it.end.get() - 1,
                broker_id: it.broker.get(),
                max_timestamp_ms: it.max_timestamp.get(),
                event_timestamp_ms: it.recorded_at.get(),
                segment_leader_epochs: epochs.collect(),
                segment_size_in_bytes: i32::try_from(it.size).unwrap_or(i32::MAX),
                custom_metadata: it.custom.clone(),
                remote_log_segment_state: it.state.number(),
                txn_index_empty: it.txn_index_empty,
                ..Default::default()
            })
        }
        Event::Updated(it) => {
            let partition = &it.id.partition;
            RemoteLogRecord::RemoteLogSegmentMetadataUpdateRecord(RemoteLogSegmentMetadataUpdateRecord {
                remote_log_segment_id: RemoteLogSegmentMetadataUpdateRemoteLogSegmentIdEntry {
                    topic_id_partition: RemoteLogSegmentMetadataUpdateTopicIdPartitionEntry {
                        name: partition.topic.clone(),
                        id: partition.topic_id,
                        partition: partition.index.get(),
                        ..Default::default()
                    },
                    id: it.id.id,
                    ..Default::default()
                },
                broker_id: it.broker.get(),
                event_timestamp_ms: it.recorded_at.get(),
                custom_metadata: it.custom.clone(),
                remote_log_segment_state: it.state.number(),
                ..Default::default()
            })
        }
    };
    encode_metadata_record(&record, 0)
}

/// A record from its value; `None` for records that say nothing about segments: those that a partition is deleted,
/// which Kafka reads and does not write, and snapshots, which are of files.
pub fn decode_event(value: Bytes) -> Result<Option<Event>, EventError> {
    let (record, _) = decode_metadata_record::<RemoteLogRecord>(value)?;
    let state = |number| SegmentState::from_number(number).ok_or(EventError::Invalid("an unknown state"));
    let event = match record {
        RemoteLogRecord::RemoteLogSegmentMetadataRecord(it) => {
            let partition = it.remote_log_segment_id.topic_id_partition;
            Event::Added(added(
                SegmentId {
                    partition: TieredPartition {
                        topic_id: partition.id,
                        index: PartitionIndex(partition.partition),
                        topic: partition.name.detached(),
                    },
                    id: it.remote_log_segment_id.id,
                },
                (it.start_offset, it.end_offset, it.segment_size_in_bytes),
                it.segment_leader_epochs.iter().map(|it| (it.leader_epoch, it.offset)).collect(),
                SegmentMetadataRest {
                    broker: NodeId(it.broker_id),
                    max_timestamp: Timestamp(it.max_timestamp_ms),
                    recorded_at: Timestamp(it.event_timestamp_ms),
                    custom: it.custom_metadata.map(|it| Bytes::copy_from_slice(&it)),
                    state: state(it.remote_log_segment_state)?,
                    txn_index_empty: it.txn_index_empty,
                },
            )?)
        }
        RemoteLogRecord::RemoteLogSegmentMetadataUpdateRecord(it) => {
            let partition = it.remote_log_segment_id.topic_id_partition;
            Event::Updated(SegmentUpdate {
                id: SegmentId {
                    partition: TieredPartition {
                        topic_id: partition.id,
                        index: PartitionIndex(partition.partition),
                        topic: partition.name.detached(),
                    },
                    id: it.remote_log_segment_id.id,
                },
                state: state(it.remote_log_segment_state)?,
                broker: NodeId(it.broker_id),
                recorded_at: Timestamp(it.event_timestamp_ms),
                custom: it.custom_metadata.map(|it| Bytes::copy_from_slice(&it)),
            })
        }
        RemoteLogRecord::RemotePartitionDeleteMetadataRecord(_)
        | RemoteLogRecord::RemoteLogSegmentMetadataSnapshotRecord(_) => return Ok(None),
    };
    Ok(Some(event))
}

/// What of a segment's metadata needs no check.
struct SegmentMetadataRest {
    broker: NodeId,
    max_timestamp: Timestamp,
    recorded_at: Timestamp,
    custom: Option<Bytes>,
    state: SegmentState,
    txn_index_empty: bool,
}

fn added(
    id: SegmentId,
    (start, last, size): (i64, i64, i32),
    mut epochs: Vec<(i32, i64)>,
    rest: SegmentMetadataRest,
) -> Result<SegmentMetadata, EventError> {
    if start < 0 || last < start || last == i64::MAX {
        return Err(EventError::Invalid("a segment that ends before it begins"));
    }
    let size = u32::try_from(size).map_err(|_| EventError::Invalid("a segment with a negative size"))?;
    epochs.sort_unstable();
    epochs.dedup_by_key(|it| it.0);
    if epochs.is_empty() || epochs.iter().any(|it| it.1 < 0) {
        return Err(EventError::Invalid("a segment without leader epochs"));
    }
    let epochs = epochs
        .into_iter()
        .map(|(epoch, start)| EpochStart { epoch: LeaderEpoch(epoch), start: Offset(start) });
    Ok(SegmentMetadata {
        id,
        start: Offset(start),
        end: Offset(last + 1),
        broker: rest.broker,
        max_timestamp: rest.max_timestamp,
        recorded_at: rest.recorded_at,
        size,
        epochs: epochs.collect(),
        custom: rest.custom,
        state: rest.state,
        txn_index_empty: rest.txn_index_empty,
    })
}

#[cfg(test)]
mod tests;
