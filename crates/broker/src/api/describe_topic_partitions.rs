//! DescribeTopicPartitions (key 75), version 0: topics page by page, with eligible leader replicas (KIP-966).

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_metadata::{Image, Partition};
use ottla_net::Response;
use ottla_wire::messages::describe_topic_partitions_request::DescribeTopicPartitionsRequest;
use ottla_wire::{EncodeError, Writer};

use super::metadata::{leader_for, offline_replicas, write_nodes};
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

/// Where the next page begins.
struct Cursor {
    name: Str,
    partition: i32,
}

/// Describes topics in the order of their names, up to a number of partitions.
pub fn describe_topic_partitions(
    broker: &Broker,
    call: Call,
    request: DescribeTopicPartitionsRequest,
) -> Response {
    let image = broker.image.load_full();
    let Ok((parts, next)) = page(broker, &image, request) else {
        // As Kafka: a cursor that points nowhere ends the request as a whole, and no field of the answer can say so.
        return Response::close();
    };
    let partitions: i32 = parts.iter().map(|it| it.partitions.len() as i32).sum();
    let capacity = 128 + 64 * parts.len() + 64 * usize::try_from(partitions).unwrap_or(0);
    match call.encode(capacity, |writer| write(writer, &image, &call, &parts, next.as_ref())) {
        Ok(writer) => Response::bytes(writer.into_bytes()),
        Err(error) => call.unwritable(&error),
    }
}

fn page(
    broker: &Broker,
    image: &Image,
    request: DescribeTopicPartitionsRequest,
) -> Result<(Vec<Part>, Option<Cursor>), ErrorCode> {
    let all = request.topics.is_empty();
    let mut names: Vec<Str> = match all {
        true => image.topics.iter().map(|it| it.name.clone()).collect(),
        false => request.topics.into_iter().map(|it| it.name).collect(),
    };
    names.sort();
    names.dedup();
    let mut first_partition = 0;
    if let Some(cursor) = request.cursor {
        if cursor.partition_index < 0 {
            return Err(ErrorCode::InvalidRequest);
        }
        names.retain(|it| *it >= cursor.topic_name);
        if names.first() == Some(&cursor.topic_name) {
            first_partition = cursor.partition_index;
        }
    }
    let most = broker.settings.load().server.network.max_request_partition_size_limit;
    let mut left = request.response_partition_limit.clamp(1, most.max(1));
    let mut parts = Vec::new();
    for name in names {
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
        if left == 0 {
            return Ok((parts, Some(Cursor { name, partition: 0 })));
        }
        let end = found.partition_count.min(first.saturating_add(left));
        left -= (end - first).max(0);
        let partitions = first.min(end)..end;
        parts.push(Part { name: name.clone(), id: found.id, partitions, code: ErrorCode::None });
        if end < found.partition_count {
            return Ok((parts, Some(Cursor { name, partition: end })));
        }
    }
    Ok((parts, None))
}

fn write(
    writer: &mut Writer,
    image: &Image,
    call: &Call,
    parts: &[Part],
    next: Option<&Cursor>,
) -> Result<(), EncodeError> {
    writer.i32(0); // throttle time
    writer.array(true, parts, |writer, part| {
        writer.i16(part.code.code());
        writer.nullable_string(true, Some(&part.name))?;
        writer.uuid(part.id);
        writer.bool(topic::is_internal(&part.name));
        let found = part
            .partitions
            .clone()
            .filter_map(|index| Some((index, image.topics.partition(part.id, index.into())?)));
        let found: Vec<_> = found.collect();
        writer.array(true, &found, |writer, (index, partition)| {
            write_partition(writer, image, &call.listener.name, *index, partition)
        })?;
        writer.i32(authorized_operations::TOPIC);
        writer.tagged_field_count(0)
    })?;
    match next {
        None => writer.absent(),
        Some(cursor) => {
            writer.present();
            writer.string(true, &cursor.name)?;
            writer.i32(cursor.partition);
            writer.tagged_field_count(0)?;
        }
    }
    writer.tagged_field_count(0)
}

fn write_partition(
    writer: &mut Writer,
    image: &Image,
    listener: &str,
    index: i32,
    partition: &Partition,
) -> Result<(), EncodeError> {
    let (code, leader) = leader_for(image, partition, listener, true);
    writer.i16(code.code());
    writer.i32(index);
    writer.i32(leader.get());
    writer.i32(partition.leader_epoch.get());
    write_nodes(writer, true, partition.replicas.iter().copied())?;
    write_nodes(writer, true, partition.isr.iter().copied())?;
    write_nodes(writer, true, partition.elr.iter().copied())?;
    write_nodes(writer, true, partition.last_known_elr.iter().copied())?;
    write_nodes(writer, true, offline_replicas(image, partition, listener))?;
    writer.tagged_field_count(0)
}
