//! The answer to a fetch: written straight from what was read, with the records left where they are.

use std::sync::Arc;

use bytes::Bytes;
use ottla_base::ErrorCode;
use ottla_net::{Piece, Response};
use ottla_storage::FileRange;
use ottla_storage::transaction_index;
use ottla_wire::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchResponse, FetchResponseView, FetchableTopicResponse,
    FetchableTopicResponseView, LeaderIdAndEpoch, NodeEndpoint, PartitionData, PartitionDataView, SnapshotId,
};
use ottla_wire::{EncodeAs, EncodeError, Records, Writer};
use smallvec::SmallVec;

use crate::api::counted::Counted;
use crate::api::leader_hint;
use crate::broker::Broker;
use crate::call::Call;
use crate::fetch_session::{NO_SESSION, PartitionKey};
use crate::partition::Partition;

/// The first version that tells who leads where this broker does not (KIP-951).
const FIRST_VERSION_WITH_LEADER_HINTS: i16 = 16;

/// What is said of one partition.
pub(super) struct PartitionAnswer {
    pub key: PartitionKey,
    /// Absent if it could not even be found.
    pub partition: Option<Arc<Partition>>,
    pub code: ErrorCode,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// Where the reader's log parts from this one; the default if it does not.
    pub diverging: EpochEndOffset,
    /// Absent for readers that do not ask.
    pub aborted: Option<Vec<transaction_index::AbortedTransaction>>,
    pub ranges: SmallVec<[FileRange; 1]>,
    /// Records that were read from tiered storage, in the place of `ranges`.
    pub tiered: Bytes,
    pub records_len: u32,
}

impl PartitionAnswer {
    pub(super) fn refused(key: PartitionKey, code: ErrorCode) -> PartitionAnswer {
        PartitionAnswer {
            key,
            partition: None,
            code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging: EpochEndOffset::default(),
            // Kafka says that there is none of what there is not, and nothing of what it could not read.
            aborted: matches!(code, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId)
                .then(Vec::new),
            ranges: SmallVec::new(),
            tiered: Bytes::new(),
            records_len: 0,
        }
    }
}

/// A whole answer.
pub(super) struct FetchAnswer {
    pub session_id: i32,
    pub partitions: Vec<PartitionAnswer>,
}

/// An answer that refuses the fetch as a whole.
pub(super) fn refused(call: &Call, code: ErrorCode) -> Response {
    call.respond(&FetchResponse { error_code: code.code(), session_id: NO_SESSION, ..Default::default() })
}

impl FetchAnswer {
    /// Brings the partitions of a topic together, topics in the order of their first partition.
    pub(super) fn group_by_topic(&mut self) {
        let mut order: Vec<(ottla_base::Uuid, ottla_base::Str)> = Vec::new();
        let mut place = |key: &PartitionKey| {
            let topic = (key.topic_id, key.topic.clone());
            order.iter().position(|it| *it == topic).unwrap_or_else(|| {
                order.push(topic);
                order.len() - 1
            })
        };
        let is_grouped = self.partitions.windows(2).all(|it| is_same_topic(&it[0].key, &it[1].key));
        if !is_grouped {
            let mut placed: Vec<(usize, PartitionAnswer)> =
                self.partitions.drain(..).map(|it| (place(&it.key), it)).collect();
            placed.sort_by_key(|it| it.0);
            self.partitions = placed.into_iter().map(|it| it.1).collect();
        }
    }

    /// The frames of the answer: what is written, and the ranges of files between it.
    pub(super) fn respond(self, broker: &Broker, call: &Call) -> Response {
        let capacity = 64 + 96 * self.partitions.len();
        let writer = match call.encode(capacity, |writer| self.write(writer, broker, call)) {
            Ok(writer) => writer,
            Err(error) => return call.unwritable(&error),
        };
        let (frame, cuts) = writer.into_parts();
        Response::spliced(frame, &cuts, self.partitions.iter().flat_map(PartitionAnswer::pieces))
    }

    fn write(&self, writer: &mut Writer, broker: &Broker, call: &Call) -> Result<(), EncodeError> {
        let topics = self.partitions.chunk_by(|one, other| is_same_topic(&one.key, &other.key));
        let hints = || self.partitions.iter().filter_map(|it| it.leader_hint(broker, call.version));
        // Most answers send nobody elsewhere.
        let endpoints = leader_hint::endpoints(broker, call, hints().map(|it| it.leader_id));
        let endpoint = |it: crate::broker::Endpoint| NodeEndpoint {
            node_id: it.node_id.get(),
            host: it.host,
            port: it.port,
            rack: it.rack,
            ..Default::default()
        };
        FetchResponseView {
            throttle_time_ms: 0,
            error_code: ErrorCode::None.code(),
            session_id: self.session_id,
            responses: Counted::twice(topics).map(|partitions| Topic { partitions, broker }),
            node_endpoints: endpoints.into_iter().map(endpoint),
            unknown_tagged_fields: &[],
        }
        .encode_as(writer, call.version)
    }
}

/// The partitions of one topic.
struct Topic<'a> {
    partitions: &'a [PartitionAnswer],
    broker: &'a Broker,
}

impl EncodeAs<FetchableTopicResponse> for Topic<'_> {
    fn encode_as(self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let Topic { partitions, broker } = self;
        let key = &partitions[0].key;
        FetchableTopicResponseView {
            topic: &key.topic,
            topic_id: key.topic_id,
            partitions: partitions.iter().map(|it| WithHint { answer: it, broker }),
            unknown_tagged_fields: &[],
        }
        .encode_as(writer, version)
    }
}

/// One partition, and who knows where its leader is.
struct WithHint<'a> {
    answer: &'a PartitionAnswer,
    broker: &'a Broker,
}

impl EncodeAs<PartitionData> for WithHint<'_> {
    fn encode_as(self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let WithHint { answer, broker } = self;
        let aborted = answer.aborted.as_ref().map(|it| {
            it.iter().map(|it| AbortedTransaction {
                producer_id: it.producer_id.get(),
                first_offset: it.first_offset.get(),
                ..Default::default()
            })
        });
        PartitionDataView {
            partition_index: answer.key.index,
            error_code: answer.code.code(),
            high_watermark: answer.high_watermark,
            last_stable_offset: answer.last_stable_offset,
            log_start_offset: answer.log_start_offset,
            diverging_epoch: &answer.diverging,
            current_leader: &answer.leader_hint(broker, version).unwrap_or_default(),
            snapshot_id: &SnapshotId::default(),
            aborted_transactions: aborted,
            // There is none but the leader.
            preferred_read_replica: -1,
            records: Some(Records::External(answer.records_len as usize)),
            unknown_tagged_fields: &[],
        }
        .encode_as(writer, version)
    }
}

impl PartitionAnswer {
    /// The records, piece by piece.
    fn pieces(&self) -> impl Iterator<Item = Piece> {
        let ranges = self.ranges.iter().map(|it| Piece::File {
            file: it.file.as_ref().clone(),
            offset: it.position,
            len: u64::from(it.len),
        });
        let tiered = (!self.tiered.is_empty()).then(|| Piece::Bytes(self.tiered.clone()));
        ranges.chain(tiered)
    }

    /// Whether the reader's log parts from this one.
    pub(super) fn is_diverging(&self) -> bool {
        self.diverging.epoch >= 0
    }

    /// The leader and its epoch, where the reader has asked the wrong broker or in the wrong epoch.
    fn leader_hint(&self, broker: &Broker, version: i16) -> Option<LeaderIdAndEpoch> {
        let wrong = matches!(self.code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
        if version < FIRST_VERSION_WITH_LEADER_HINTS || !wrong {
            return None;
        }
        let topic = self.partition.as_ref().map_or(self.key.topic_id, |it| it.topic_id);
        let (leader, epoch) = leader_hint::leader(broker, topic, self.key.index)?;
        Some(LeaderIdAndEpoch { leader_id: leader.get(), leader_epoch: epoch.get(), ..Default::default() })
    }
}

fn is_same_topic(one: &PartitionKey, other: &PartitionKey) -> bool {
    one.topic_id == other.topic_id && one.topic == other.topic
}
