//! The answer to a fetch: written straight from what was read, with the records left where they are.

use std::sync::Arc;

use ottla_base::ErrorCode;
use ottla_net::{Piece, Response};
use ottla_storage::FileRange;
use ottla_storage::transaction_index::AbortedTransaction;
use ottla_wire::messages::fetch_response::{EpochEndOffset, FetchResponse};
use ottla_wire::{EncodeError, Writer};
use smallvec::SmallVec;

use crate::broker::Broker;
use crate::call::Call;
use crate::fetch_session::{NO_SESSION, PartitionKey};
use crate::partition::Partition;

/// What is said of one partition.
pub(super) struct PartitionAnswer {
    pub key: PartitionKey,
    /// Absent if it could not even be found.
    pub partition: Option<Arc<Partition>>,
    pub code: ErrorCode,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    pub diverging: Option<EpochEndOffset>,
    /// Absent for readers that do not ask.
    pub aborted: Option<Vec<AbortedTransaction>>,
    pub ranges: SmallVec<[FileRange; 1]>,
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
            diverging: None,
            aborted: None,
            ranges: SmallVec::new(),
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
        let ranges = self.partitions.iter().flat_map(|it| &it.ranges);
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
        let version = call.version;
        let flexible = version >= 12;
        writer.i32(0); // throttle time
        if version >= 7 {
            writer.i16(ErrorCode::None.code());
            writer.i32(self.session_id);
        }
        let topics = || self.partitions.chunk_by(|one, other| is_same_topic(&one.key, &other.key));
        writer.array_len(flexible, topics().count())?;
        for topic in topics() {
            let key = &topic[0].key;
            if version >= 13 {
                writer.uuid(key.topic_id);
            } else {
                writer.string(flexible, &key.topic)?;
            }
            writer.array_len(flexible, topic.len())?;
            for partition in topic {
                partition.write(writer, broker, version)?;
            }
            if flexible {
                writer.tagged_field_count(0)?;
            }
        }
        if flexible {
            self.write_endpoints(writer, broker, call)?;
        }
        Ok(())
    }

    /// The last tagged field: where the leaders are that partitions point to (KIP-951).
    fn write_endpoints(&self, writer: &mut Writer, broker: &Broker, call: &Call) -> Result<(), EncodeError> {
        let mut leaders: Vec<_> = self
            .partitions
            .iter()
            .filter_map(|it| it.leader_hint(broker, call.version))
            .map(|it| it.0)
            .collect();
        leaders.sort_unstable();
        leaders.dedup();
        let endpoints: Vec<_> =
            leaders.into_iter().filter_map(|it| broker.endpoint(it.into(), &call.listener.name)).collect();
        if endpoints.is_empty() {
            return writer.tagged_field_count(0);
        }
        writer.tagged_field_count(1)?;
        writer.tagged_field(0, |writer| {
            writer.array(true, &endpoints, |writer, endpoint| {
                writer.i32(endpoint.node_id.get());
                writer.string(true, &endpoint.host)?;
                writer.i32(endpoint.port);
                writer.nullable_string(true, endpoint.rack.as_deref())?;
                writer.tagged_field_count(0)
            })
        })
    }
}

impl PartitionAnswer {
    /// The leader and its epoch, where the reader has asked the wrong broker or in the wrong epoch.
    fn leader_hint(&self, broker: &Broker, version: i16) -> Option<(i32, i32)> {
        let wrong = matches!(self.code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
        if version < 16 || !wrong {
            return None;
        }
        let image = broker.image.load();
        let topic_id = match &self.partition {
            Some(partition) => partition.topic_id,
            None => self.key.topic_id,
        };
        let partition = image.topics.partition(topic_id, self.key.index.into())?;
        Some((partition.leader.get(), partition.leader_epoch.get()))
    }

    fn write(&self, writer: &mut Writer, broker: &Broker, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= 12;
        writer.i32(self.key.index);
        writer.i16(self.code.code());
        writer.i64(self.high_watermark);
        writer.i64(self.last_stable_offset);
        if version >= 5 {
            writer.i64(self.log_start_offset);
        }
        let aborted = self.aborted.as_deref();
        writer.nullable_array(flexible, aborted, |writer, aborted| {
            writer.i64(aborted.producer_id.get());
            writer.i64(aborted.first_offset.get());
            if flexible { writer.tagged_field_count(0) } else { Ok(()) }
        })?;
        if version >= 11 {
            writer.i32(-1); // preferred read replica: there is none but the leader
        }
        writer.external_bytes(flexible, self.records_len as usize)?;
        if flexible {
            self.write_tags(writer, broker, version)?;
        }
        Ok(())
    }

    fn write_tags(&self, writer: &mut Writer, broker: &Broker, version: i16) -> Result<(), EncodeError> {
        let hint = self.leader_hint(broker, version);
        writer.tagged_field_count(usize::from(self.diverging.is_some()) + usize::from(hint.is_some()))?;
        if let Some(diverging) = &self.diverging {
            writer.tagged_field(0, |writer| diverging.encode(writer, version))?;
        }
        if let Some((leader, epoch)) = hint {
            writer.tagged_field(1, |writer| {
                writer.i32(leader);
                writer.i32(epoch);
                writer.tagged_field_count(0)
            })?;
        }
        Ok(())
    }
}

fn is_same_topic(one: &PartitionKey, other: &PartitionKey) -> bool {
    one.topic_id == other.topic_id && one.topic == other.topic
}
