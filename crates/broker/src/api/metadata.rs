//! Metadata (key 3), versions 0 to 13.
//!
//! The answer is written straight from the image: with ten thousand partitions a tree of it would cost thirty times
//! as much. An unknown topic that may be created is asked of the controller and answered as unknown, as Kafka does:
//! the client asks again.

use std::sync::Arc;

use ottla_base::{ErrorCode, NodeId, Str, Uuid, validate_topic_name};
use ottla_metadata::{Image, Partition, Topic};
use ottla_net::{Answer, Response};
use ottla_wire::messages::metadata_request::MetadataRequest;
use ottla_wire::messages::metadata_response::MetadataResponse;
use ottla_wire::{EncodeError, Writer};

use crate::authorized_operations::{self, NOT_ASKED};
use crate::broker::Broker;
use crate::call::Call;
use crate::{auto_create, topic};

/// A topic as it is answered.
enum Found {
    Known(Arc<Topic>),
    Refused { name: Option<Str>, id: Uuid, code: ErrorCode },
}

/// Says which brokers there are, and of which topics they lead which partitions.
pub fn metadata(broker: &Arc<Broker>, call: Call, request: MetadataRequest) -> Answer {
    let image = broker.image.load_full();
    let named = request.topics.iter().flatten();
    if call.version < 12 && named.clone().any(|it| it.name.is_none() || !it.topic_id.is_zero()) {
        let refused = MetadataResponse { error_code: ErrorCode::InvalidRequest.code(), ..Default::default() };
        // Only version 13 can say so; before, the connection is closed as Kafka closes it.
        return if call.version >= 13 { call.respond(&refused).into() } else { Response::close().into() };
    }
    let all = match &request.topics {
        None => true,
        Some(topics) => call.version == 0 && topics.is_empty(),
    };
    let may_create =
        request.allow_auto_topic_creation && broker.settings.load().server.general.auto_create_topics_enable;
    let mut found: Vec<Found> = Vec::new();
    let mut missing: Vec<Str> = Vec::new();
    if all {
        found.extend(image.topics.iter().cloned().map(Found::Known));
    } else {
        let by_id = named.clone().any(|it| !it.topic_id.is_zero());
        for asked in named {
            match (&asked.name, by_id) {
                (_, true) if !asked.topic_id.is_zero() => found.push(find_by_id(&image, asked.topic_id)),
                (Some(name), false) => found.push(find_by_name(&image, name, may_create, &mut missing)),
                _ => {}
            }
        }
    }
    if !missing.is_empty() {
        auto_create::request(broker, missing);
    }
    let answer = MetadataAnswer { broker, call: &call, image: &image, found: &found, request: &request };
    answer.respond().into()
}

fn find_by_id(image: &Image, id: Uuid) -> Found {
    match image.topics.get(id) {
        Some(topic) => Found::Known(topic.clone()),
        None => Found::Refused { name: None, id, code: ErrorCode::UnknownTopicId },
    }
}

fn find_by_name(image: &Image, name: &Str, may_create: bool, missing: &mut Vec<Str>) -> Found {
    if let Some(topic) = image.topics.named(name) {
        return Found::Known(topic.clone());
    }
    let code = match validate_topic_name(name) {
        Err(_) => ErrorCode::InvalidTopicException,
        Ok(()) => {
            if may_create {
                missing.push(name.detached());
            }
            ErrorCode::UnknownTopicOrPartition
        }
    };
    Found::Refused { name: Some(name.clone()), id: Uuid::ZERO, code }
}

struct MetadataAnswer<'a> {
    broker: &'a Broker,
    call: &'a Call,
    image: &'a Image,
    found: &'a [Found],
    request: &'a MetadataRequest,
}

impl MetadataAnswer<'_> {
    fn respond(&self) -> Response {
        let partitions = |it: &Found| match it {
            Found::Known(topic) => usize::try_from(topic.partition_count).unwrap_or(0),
            Found::Refused { .. } => 0,
        };
        let capacity = 256 + self.found.iter().map(|it| 64 + 48 * partitions(it)).sum::<usize>();
        match self.call.encode(capacity, |writer| self.write(writer)) {
            Ok(writer) => Response::bytes(writer.into_bytes()),
            Err(error) => self.call.unwritable(&error),
        }
    }

    fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        let version = self.call.version;
        let flexible = version >= 9;
        if version >= 3 {
            writer.i32(0); // throttle time
        }
        self.write_brokers(writer, flexible)?;
        if version >= 2 {
            writer.nullable_string(flexible, Some(&self.broker.cluster_id))?;
        }
        if version >= 1 {
            writer.i32(self.any_active_broker().get());
        }
        writer.array(flexible, self.found, |writer, found| self.write_topic(writer, found, flexible))?;
        if (8..=10).contains(&version) {
            let asked = self.request.include_cluster_authorized_operations;
            writer.i32(if asked { authorized_operations::CLUSTER } else { NOT_ASKED });
        }
        if version >= 13 {
            writer.i16(ErrorCode::None.code());
        }
        if flexible {
            writer.tagged_field_count(0)?;
        }
        Ok(())
    }

    /// Kafka names any active broker: clients send what is meant for the controller there, and it is forwarded.
    fn any_active_broker(&self) -> NodeId {
        let mut active = self.image.cluster.brokers.values().filter(|it| it.is_active());
        let own = self.image.cluster.is_active(self.broker.node_id);
        if own { self.broker.node_id } else { active.next().map_or(NodeId::NONE, |it| it.id) }
    }

    fn write_brokers(&self, writer: &mut Writer, flexible: bool) -> Result<(), EncodeError> {
        let listener = &self.call.listener.name;
        let active = self.image.cluster.brokers.values().filter(|it| it.is_active());
        let reachable: Vec<_> = active.filter_map(|it| Some((it, it.listener(listener)?))).collect();
        writer.array(flexible, &reachable, |writer, (broker, listener)| {
            writer.i32(broker.id.get());
            writer.string(flexible, &listener.host)?;
            writer.i32(i32::from(listener.port));
            if self.call.version >= 1 {
                writer.nullable_string(flexible, broker.rack.as_deref())?;
            }
            if flexible { writer.tagged_field_count(0) } else { Ok(()) }
        })
    }

    fn write_topic(&self, writer: &mut Writer, found: &Found, flexible: bool) -> Result<(), EncodeError> {
        let version = self.call.version;
        let (code, name, id, topic) = match found {
            Found::Known(topic) => (ErrorCode::None, Some(&topic.name), topic.id, Some(topic)),
            Found::Refused { name, id, code } => (*code, name.as_ref(), *id, None),
        };
        writer.i16(code.code());
        match name {
            None if version < 12 => writer.string(flexible, "")?,
            name => writer.nullable_string(flexible, name.map(Str::as_str))?,
        }
        if version >= 10 {
            writer.uuid(id);
        }
        if version >= 1 {
            writer.bool(name.is_some_and(|it| topic::is_internal(it)));
        }
        match topic {
            None => writer.array_len(flexible, 0)?,
            Some(topic) => {
                writer.array_len(flexible, self.image.topics.partitions(topic.id).count())?;
                for (index, partition) in self.image.topics.partitions(topic.id) {
                    self.write_partition(writer, index.get(), partition, flexible)?;
                }
            }
        }
        if version >= 8 {
            let asked = self.request.include_topic_authorized_operations;
            writer.i32(if asked { authorized_operations::TOPIC } else { NOT_ASKED });
        }
        if flexible { writer.tagged_field_count(0) } else { Ok(()) }
    }

    fn write_partition(
        &self,
        writer: &mut Writer,
        index: i32,
        partition: &Partition,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        let version = self.call.version;
        let (code, leader) = leader_for(self.image, partition, &self.call.listener.name, version >= 6);
        writer.i16(code.code());
        writer.i32(index);
        writer.i32(leader.get());
        if version >= 7 {
            writer.i32(partition.leader_epoch.get());
        }
        write_nodes(writer, flexible, partition.replicas.iter().copied())?;
        write_nodes(writer, flexible, partition.isr.iter().copied())?;
        if version >= 5 {
            write_nodes(writer, flexible, offline_replicas(self.image, partition, &self.call.listener.name))?;
        }
        if flexible { writer.tagged_field_count(0) } else { Ok(()) }
    }
}

/// The leader, and why it cannot be used by who came in at `listener` if it cannot.
pub(super) fn leader_for(
    image: &Image,
    partition: &Partition,
    listener: &str,
    tells_missing_listeners: bool,
) -> (ErrorCode, NodeId) {
    let leader = image.cluster.broker(partition.leader).filter(|it| it.is_active());
    match leader {
        None => (ErrorCode::LeaderNotAvailable, NodeId::NONE),
        Some(leader) if leader.listener(listener).is_some() => (ErrorCode::None, partition.leader),
        Some(_) if tells_missing_listeners => (ErrorCode::ListenerNotFound, NodeId::NONE),
        Some(_) => (ErrorCode::LeaderNotAvailable, NodeId::NONE),
    }
}

/// The replicas on brokers that are gone, fenced, without the listener, or whose directory is offline.
pub(super) fn offline_replicas(image: &Image, partition: &Partition, listener: &str) -> Vec<NodeId> {
    let is_offline = |replica: &NodeId| {
        let Some(broker) = image.cluster.broker(*replica) else { return true };
        let directory = partition.directory_of(*replica);
        !broker.is_active()
            || broker.listener(listener).is_none()
            || directory.is_some_and(|it| !broker.has_online_directory(it))
    };
    partition.replicas.iter().copied().filter(is_offline).collect()
}

/// Writes a list of node ids.
pub(super) fn write_nodes(
    writer: &mut Writer,
    flexible: bool,
    nodes: impl IntoIterator<Item = NodeId, IntoIter: ExactSizeIterator>,
) -> Result<(), EncodeError> {
    let nodes = nodes.into_iter();
    writer.array_len(flexible, nodes.len())?;
    nodes.for_each(|it| writer.i32(it.get()));
    Ok(())
}
