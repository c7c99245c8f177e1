//! A tiered segment: its id, its state, what is known of it (`RemoteLogSegmentMetadata`).

use std::fmt;

use bytes::Bytes;
use ottla_base::{LeaderEpoch, NodeId, Offset, PartitionIndex, Str, Timestamp, Uuid};
use ottla_storage::leader_epochs::EpochStart;

/// A partition whose segments are tiered (`TopicIdPartition`). The name is told along; the id decides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TieredPartition {
    /// The topic's id.
    pub topic_id: Uuid,
    /// Its number within the topic.
    pub index: PartitionIndex,
    /// The topic's name.
    pub topic: Str,
}

impl fmt::Display for TieredPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

/// A segment of a partition; made anew for every attempt to copy it (`RemoteLogSegmentId`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentId {
    /// Whose it is.
    pub partition: TieredPartition,
    /// The attempt.
    pub id: Uuid,
}

/// What was last recorded of a segment (`RemoteLogSegmentState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentState {
    /// Its objects are being written; none may be counted on.
    CopyStarted,
    /// It is there, whole, and may be read.
    CopyFinished,
    /// Its objects are being deleted; none may be counted on.
    DeleteStarted,
    /// It is gone.
    DeleteFinished,
}

impl SegmentState {
    /// The number in records.
    pub const fn number(self) -> i8 {
        match self {
            SegmentState::CopyStarted => 0,
            SegmentState::CopyFinished => 1,
            SegmentState::DeleteStarted => 2,
            SegmentState::DeleteFinished => 3,
        }
    }

    /// The state with a number.
    pub const fn from_number(number: i8) -> Option<SegmentState> {
        match number {
            0 => Some(SegmentState::CopyStarted),
            1 => Some(SegmentState::CopyFinished),
            2 => Some(SegmentState::DeleteStarted),
            3 => Some(SegmentState::DeleteFinished),
            _ => None,
        }
    }

    /// Whether a segment may come from a state, or from nothing, into another. To record the same again is allowed.
    pub fn may_become(from: Option<SegmentState>, to: SegmentState) -> bool {
        match from {
            None => to == SegmentState::CopyStarted,
            Some(from) if from == to => true,
            Some(SegmentState::CopyStarted) => {
                matches!(to, SegmentState::CopyFinished | SegmentState::DeleteStarted)
            }
            Some(SegmentState::CopyFinished) => to == SegmentState::DeleteStarted,
            Some(SegmentState::DeleteStarted) => to == SegmentState::DeleteFinished,
            Some(SegmentState::DeleteFinished) => false,
        }
    }
}

/// What is known of a tiered segment.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentMetadata {
    /// Which.
    pub id: SegmentId,
    /// The offset in its name.
    pub start: Offset,
    /// The offset after its last (Kafka's records hold the last).
    pub end: Offset,
    /// The broker that recorded this last.
    pub broker: NodeId,
    /// The highest timestamp in it.
    pub max_timestamp: Timestamp,
    /// When this was recorded.
    pub recorded_at: Timestamp,
    /// The bytes of its log.
    pub size: u32,
    /// The leader epochs of its records, in order; the first begins at `start`.
    pub epochs: Vec<EpochStart>,
    /// What a store keeps of its own. Ottla's keeps nothing.
    pub custom: Option<Bytes>,
    /// What was last recorded of it.
    pub state: SegmentState,
    /// Whether no transaction was aborted in it. Kafka before 4.0 does not tell: then it may not be so.
    pub txn_index_empty: bool,
}

impl SegmentMetadata {
    /// The offset after the last that the segment has of an epoch.
    pub fn end_of_epoch(&self, epoch: LeaderEpoch) -> Offset {
        self.epochs.iter().find(|it| it.epoch > epoch).map_or(self.end, |it| it.start)
    }

    /// The same after a change.
    pub fn updated(&self, update: &SegmentUpdate) -> SegmentMetadata {
        SegmentMetadata {
            state: update.state,
            broker: update.broker,
            recorded_at: update.recorded_at,
            custom: update.custom.clone(),
            ..self.clone()
        }
    }
}

/// A change of a segment's state (`RemoteLogSegmentMetadataUpdate`).
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentUpdate {
    /// Which.
    pub id: SegmentId,
    /// What it is now.
    pub state: SegmentState,
    /// The broker that recorded this.
    pub broker: NodeId,
    /// When.
    pub recorded_at: Timestamp,
    /// What a store keeps of its own.
    pub custom: Option<Bytes>,
}
