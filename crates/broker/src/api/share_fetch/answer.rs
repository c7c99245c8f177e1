//! The answer to a share fetch: written straight from what was acquired, with the records left where they are.

use ottla_base::{ErrorCode, Str};
use ottla_metadata::controller::Refusal;
use ottla_net::{Piece, Response};
use ottla_wire::messages::share_fetch_response::{
    AcquiredRecords, LeaderIdAndEpoch, NodeEndpoint, PartitionData, PartitionDataView,
    ShareFetchResponseView, ShareFetchableTopicResponse, ShareFetchableTopicResponseView,
};
use ottla_wire::{EncodeAs, EncodeError, Records, Writer};

use super::Acquired;
use crate::api::counted::Counted;
use crate::api::leader_hint;
use crate::broker::Broker;
use crate::call::Call;
use crate::share::{Slice, TopicPartitionId};

/// What is said of one partition.
pub(super) struct PartitionAnswer {
    pub id: TopicPartitionId,
    pub code: ErrorCode,
    message: Option<Str>,
    acknowledge_code: ErrorCode,
    acknowledge_message: Option<Str>,
    acquired: Acquired,
    pub records: Slice,
}

impl PartitionAnswer {
    /// Records that were acquired.
    pub(super) fn acquired(id: TopicPartitionId, acquired: Acquired, records: Slice) -> PartitionAnswer {
        PartitionAnswer {
            id,
            code: ErrorCode::None,
            message: None,
            acknowledge_code: ErrorCode::None,
            acknowledge_message: None,
            acquired,
            records,
        }
    }

    /// A partition that cannot be read.
    pub(super) fn refused(id: TopicPartitionId, refusal: &Refusal) -> PartitionAnswer {
        let answer = PartitionAnswer::acquired(id, Vec::new(), Slice::default());
        PartitionAnswer { code: refusal.code, message: refusal.message.clone(), ..answer }
    }

    /// What became of acknowledgements.
    pub(super) fn acknowledged(&mut self, result: Result<(), Refusal>) {
        if let Err(refusal) = result {
            self.acknowledge_code = refusal.code;
            self.acknowledge_message = refusal.message;
        }
    }

    /// The leader and its epoch, where the member has asked the wrong broker.
    fn leader_hint(&self, broker: &Broker) -> Option<LeaderIdAndEpoch> {
        if !matches!(self.code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch) {
            return None;
        }
        let (leader, epoch) = leader_hint::leader(broker, self.id.0, self.id.1)?;
        Some(LeaderIdAndEpoch { leader_id: leader.get(), leader_epoch: epoch.get(), ..Default::default() })
    }
}

/// A whole answer.
pub(super) struct ShareFetchAnswer {
    /// How long records are locked, in milliseconds.
    pub lock_ms: i32,
    pub partitions: Vec<PartitionAnswer>,
}

impl ShareFetchAnswer {
    /// The frames of the answer: what is written, and the ranges of files between it.
    pub(super) fn respond(mut self, broker: &Broker, call: &Call) -> Response {
        // Partitions of a topic come together.
        self.partitions.sort_by_key(|it| it.id.0);
        let acquired: usize = self.partitions.iter().map(|it| it.acquired.len()).sum();
        let capacity = 64 + 64 * self.partitions.len() + 20 * acquired;
        let writer = match call.encode(capacity, |writer| self.write(writer, broker, call)) {
            Ok(writer) => writer,
            Err(error) => return call.unwritable(&error),
        };
        let (frame, cuts) = writer.into_parts();
        let ranges = self.partitions.iter().flat_map(|it| &it.records.ranges);
        Response::spliced(
            frame,
            &cuts,
            ranges.map(|it| Piece::File {
                file: it.file.as_ref().clone(),
                offset: it.position,
                len: u64::from(it.len),
            }),
        )
    }

    fn write(&self, writer: &mut Writer, broker: &Broker, call: &Call) -> Result<(), EncodeError> {
        let topics = self.partitions.chunk_by(|one, other| one.id.0 == other.id.0);
        let hints = self.partitions.iter().filter_map(|it| it.leader_hint(broker));
        let endpoints = leader_hint::endpoints(broker, call, hints.map(|it| it.leader_id));
        let endpoint = |it: crate::broker::Endpoint| NodeEndpoint {
            node_id: it.node_id.get(),
            host: it.host,
            port: it.port,
            rack: it.rack,
            ..Default::default()
        };
        ShareFetchResponseView {
            throttle_time_ms: 0,
            error_code: ErrorCode::None.code(),
            error_message: None,
            acquisition_lock_timeout_ms: self.lock_ms,
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

impl EncodeAs<ShareFetchableTopicResponse> for Topic<'_> {
    fn encode_as(self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let Topic { partitions, broker } = self;
        ShareFetchableTopicResponseView {
            topic_id: partitions[0].id.0,
            partitions: partitions.iter().map(|answer| WithHint { answer, broker }),
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
        let acquired = answer.acquired.iter().map(|it| AcquiredRecords {
            first_offset: it.first,
            last_offset: it.last,
            delivery_count: it.delivery_count,
            ..Default::default()
        });
        PartitionDataView {
            partition_index: answer.id.1,
            error_code: answer.code.code(),
            error_message: answer.message.as_deref(),
            acknowledge_error_code: answer.acknowledge_code.code(),
            acknowledge_error_message: answer.acknowledge_message.as_deref(),
            current_leader: &answer.leader_hint(broker).unwrap_or_default(),
            records: Some(Records::External(answer.records.bytes as usize)),
            acquired_records: acquired,
            unknown_tagged_fields: &[],
        }
        .encode_as(writer, version)
    }
}
