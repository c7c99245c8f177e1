//! DescribeTopicPartitions (key 75), version 0: topics page by page, with eligible leader replicas (KIP-966).

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_metadata::{Image, Partition};
use ottla_net::Response;
use ottla_wire::messages::describe_topic_partitions_request::DescribeTopicPartitionsRequest;
use ottla_wire::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponsePartitionView, DescribeTopicPartitionsResponseTopic,
    DescribeTopicPartitionsResponseTopicView, DescribeTopicPartitionsResponseView,
};
use ottla_wire::{EncodeAs, EncodeError, Writer};

use super::counted::Counted;
use super::metadata::{leader_for, numbers, offline_replicas};
use crate::authorized_operations;
use crate::broker::Broker;
use crate::call::Call;
use crate::topic;

/// A topic of the page: from which partition to which.
struct Part {
    name: Str,
    id: Uuid,
    partitions: std::ops::Range<i32>,
    code: ErrorCode,
}

/// Describes topics in the order of their names, up to a number of partitions.
pub fn describe_topic_partitions(
    broker: &Broker,
    call: Call,
    request: DescribeTopicPartitionsRequest,
) -> Response {
    let image = broker.image.load_full();
    if request.cursor.as_ref().is_some_and(|it| it.partition_index < 0) {
        return refused(&call, request, ErrorCode::InvalidRequest);
    }
    let (parts, next) = page(broker, &image, request);
    let partitions: i32 = parts.iter().map(|it| it.partitions.len() as i32).sum();
    let capacity = 128 + 64 * parts.len() + 64 * usize::try_from(partitions).unwrap_or(0);
    let listener = &*call.listener.name;
    let page = Page { image: &image, listener, parts: &parts, next: next.as_ref() };
    match call.encode(capacity, |writer| page.encode_as(writer, call.version)) {
        Ok(writer) => Response::bytes(writer.into_bytes()),
        Err(error) => call.unwritable(&error),
    }
}

/// The answer that refuses the request: no field of it speaks of the whole.
fn refused(call: &Call, request: DescribeTopicPartitionsRequest, code: ErrorCode) -> Response {
    let topics = request.topics.into_iter().map(|topic| DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(topic.name),
        ..Default::default()
    });
    call.respond(&DescribeTopicPartitionsResponse { topics: topics.collect(), ..Default::default() })
}

fn page(
    broker: &Broker,
    image: &Image,
    request: DescribeTopicPartitionsRequest,
) -> (Vec<Part>, Option<Cursor>) {
    let all = request.topics.is_empty();
    let mut names: Vec<Str> = match all {
        true => image.topics.iter().map(|it| it.name.clone()).collect(),
        false => request.topics.into_iter().map(|it| it.name).collect(),
    };
    names.sort();
    names.dedup();
    let mut first_partition = 0;
    if let Some(cursor) = request.cursor {
        names.retain(|it| *it >= cursor.topic_name);
        if names.first() == Some(&cursor.topic_name) {
            first_partition = cursor.partition_index;
        }
    }
    let most = broker.settings.load().server.network.max_request_partition_size_limit;
    let mut left = request.response_partition_limit.clamp(1, most.max(1));
    let mut parts = Vec::new();
    for name in names {
        if left == 0 {
            return (parts, Some(Cursor { topic_name: name, ..Default::default() }));
        }
        let first = std::mem::take(&mut first_partition);
        let Some(found) = image.topics.named(&name) else {
            // A page over all topics that has lost one in between says nothing of it.
            if !all {
                let code = match ottla_base::validate_topic_name(&name) {
                    Ok(()) => ErrorCode::UnknownTopicOrPartition,
                    Err(_) => ErrorCode::InvalidTopicException,
                };
                parts.push(Part { name, id: Uuid::ZERO, partitions: 0..0, code });
            }
            continue;
        };
        let end = found.partition_count.min(first.saturating_add(left));
        left -= (end - first).max(0);
        let partitions = first.min(end)..end;
        parts.push(Part { name: name.clone(), id: found.id, partitions, code: ErrorCode::None });
        if end < found.partition_count {
            return (parts, Some(Cursor { topic_name: name, partition_index: end, ..Default::default() }));
        }
    }
    (parts, None)
}

/// What a page is written from.
struct Page<'a> {
    image: &'a Image,
    listener: &'a str,
    parts: &'a [Part],
    next: Option<&'a Cursor>,
}

impl EncodeAs<DescribeTopicPartitionsResponse> for Page<'_> {
    fn encode_as(self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let Page { image, listener, parts, next } = self;
        DescribeTopicPartitionsResponseView {
            throttle_time_ms: 0,
            topics: parts.iter().map(|part| DescribedTopic { part, image, listener }),
            next_cursor: next,
            unknown_tagged_fields: &[],
        }
        .encode_as(writer, version)
    }
}

struct DescribedTopic<'a> {
    part: &'a Part,
    image: &'a Image,
    listener: &'a str,
}

impl EncodeAs<DescribeTopicPartitionsResponseTopic> for DescribedTopic<'_> {
    fn encode_as(self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let DescribedTopic { part, image, listener } = self;
        let partitions = part.partitions.clone().filter_map(|index| {
            let partition = image.topics.partition(part.id, index.into())?;
            Some(DescribedPartition { index, partition, image, listener })
        });
        DescribeTopicPartitionsResponseTopicView {
            error_code: part.code.code(),
            name: Some(&part.name),
            topic_id: part.id,
            is_internal: topic::is_internal(&part.name),
            partitions: Counted::twice(partitions),
            topic_authorized_operations: authorized_operations::TOPIC,
            unknown_tagged_fields: &[],
        }
        .encode_as(writer, version)
    }
}

struct DescribedPartition<'a> {
    index: i32,
    partition: &'a Partition,
    image: &'a Image,
    listener: &'a str,
}

impl EncodeAs<DescribeTopicPartitionsResponsePartition> for DescribedPartition<'_> {
    fn encode_as(self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let DescribedPartition { index, partition, image, listener } = self;
        let (code, leader) = leader_for(image, partition, listener, true);
        DescribeTopicPartitionsResponsePartitionView {
            error_code: code.code(),
            partition_index: index,
            leader_id: leader.get(),
            leader_epoch: partition.leader_epoch.get(),
            replica_nodes: numbers(&partition.replicas),
            isr_nodes: numbers(&partition.isr),
            eligible_leader_replicas: Some(numbers(&partition.elr)),
            last_known_elr: Some(numbers(&partition.last_known_elr)),
            offline_replicas: offline_replicas(image, partition, listener),
            unknown_tagged_fields: &[],
        }
        .encode_as(writer, version)
    }
}
