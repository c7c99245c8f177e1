//! Metadata (key 3), versions 0 to 13.
//!
//! The answer is written straight from the image: with ten thousand partitions a tree of it would cost thirty times
//! as much. An unknown topic that may be created is asked of the controller and answered as unknown, as Kafka does:
//! the client asks again.

use std::sync::Arc;

use ottla_base::{ErrorCode, NodeId, PartitionIndex, Str, Uuid, validate_topic_name};
use ottla_metadata::{Image, Partition, Topic};
use ottla_net::{Answer, Response};
use ottla_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ottla_wire::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponsePartitionView,
    MetadataResponseTopic, MetadataResponseTopicView, MetadataResponseView,
};
use ottla_wire::{EncodeAs, EncodeError, Writer};

use super::counted::Counted;
use crate::authorized_operations::{self, NOT_ASKED};
use crate::broker::Broker;
use crate::call::Call;
use crate::{auto_create, topic};

/// The first version that tells a leader without the caller's listener from one that is not there (KIP-110).
const FIRST_VERSION_WITH_MISSING_LISTENERS: i16 = 6;
/// The first version in which a topic may be named by its id alone (KIP-516).
const FIRST_VERSION_WITHOUT_NAMES: i16 = 12;

/// A topic as it is answered.
enum Found {
    Known(Arc<Topic>),
    Refused { name: Option<Str>, id: Uuid, code: ErrorCode },
}

/// Says which brokers there are, and of which topics they lead which partitions.
pub fn metadata(broker: &Arc<Broker>, call: Call, request: MetadataRequest) -> Answer {
    let image = broker.image.load_full();
    let named = request.topics.iter().flatten();
    let nameless = named.clone().any(|it| it.name.is_none() && it.topic_id.is_zero());
    if nameless
        || call.version < FIRST_VERSION_WITHOUT_NAMES
            && named.clone().any(|it| it.name.is_none() || !it.topic_id.is_zero())
    {
        return refused(&call, &request, ErrorCode::InvalidRequest).into();
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
    let answer = MetadataAnswer {
        node_id: broker.node_id,
        cluster_id: &broker.cluster_id,
        call: &call,
        image: &image,
        found: &found,
        request: &request,
    };
    answer.respond().into()
}

/// The answer that refuses the request: before version 13 only its topics can say so.
fn refused(call: &Call, request: &MetadataRequest, code: ErrorCode) -> Response {
    let topic = |asked: &MetadataRequestTopic| MetadataResponseTopic {
        error_code: code.code(),
        name: Some(asked.name.clone().unwrap_or_default()),
        topic_id: asked.topic_id,
        ..Default::default()
    };
    call.respond(&MetadataResponse {
        topics: request.topics.iter().flatten().map(topic).collect(),
        error_code: if call.version >= 13 { code.code() } else { 0 },
        ..Default::default()
    })
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

/// What an answer is written from.
#[derive(Clone, Copy)]
struct MetadataAnswer<'a> {
    node_id: NodeId,
    cluster_id: &'a str,
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
        let operations = match self.request.include_cluster_authorized_operations {
            true => authorized_operations::CLUSTER,
            false => NOT_ASKED,
        };
        MetadataResponseView {
            throttle_time_ms: 0,
            brokers: Counted::new(self.brokers(), self.brokers().count()),
            cluster_id: Some(self.cluster_id),
            controller_id: self.any_active_broker().get(),
            topics: self.found.iter().map(|found| AnsweredTopic { found, answer: self }),
            cluster_authorized_operations: operations,
            error_code: ErrorCode::None.code(),
            unknown_tagged_fields: &[],
        }
        .encode_as(writer, self.call.version)
    }

    /// Kafka names any active broker: clients send what is meant for the controller there, and it is forwarded.
    fn any_active_broker(&self) -> NodeId {
        let mut active = self.image.cluster.brokers.values().filter(|it| it.is_active());
        let own = self.image.cluster.is_active(self.node_id);
        if own { self.node_id } else { active.next().map_or(NodeId::NONE, |it| it.id) }
    }

    fn brokers(&self) -> impl Iterator<Item = MetadataResponseBroker> {
        let active = self.image.cluster.brokers.values().filter(|it| it.is_active());
        active.filter_map(|broker| {
            let listener = broker.listener(&self.call.listener.name)?;
            Some(MetadataResponseBroker {
                node_id: broker.id.get(),
                host: listener.host.clone(),
                port: i32::from(listener.port),
                rack: broker.rack.clone(),
                ..Default::default()
            })
        })
    }
}

/// A topic of an answer.
struct AnsweredTopic<'a> {
    found: &'a Found,
    answer: &'a MetadataAnswer<'a>,
}

impl EncodeAs<MetadataResponseTopic> for AnsweredTopic<'_> {
    fn encode_as(self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let MetadataAnswer { image, call, request, .. } = *self.answer;
        let (code, name, id) = match self.found {
            Found::Known(topic) => (ErrorCode::None, Some(&topic.name), topic.id),
            Found::Refused { name, id, code } => (*code, name.as_ref(), *id),
        };
        let len = match self.found {
            Found::Known(_) => image.topics.partitions(id).count(),
            Found::Refused { .. } => 0,
        };
        let partitions = image.topics.partitions(id).take(len).map(|(index, partition)| AnsweredPartition {
            index,
            partition,
            image,
            listener: &call.listener.name,
        });
        let operations = match request.include_topic_authorized_operations {
            true => authorized_operations::TOPIC,
            false => NOT_ASKED,
        };
        MetadataResponseTopicView {
            error_code: code.code(),
            name: name.map(Str::as_str).or((version < FIRST_VERSION_WITHOUT_NAMES).then_some("")),
            topic_id: id,
            is_internal: name.is_some_and(|it| topic::is_internal(it)),
            partitions: Counted::new(partitions, len),
            topic_authorized_operations: operations,
            unknown_tagged_fields: &[],
        }
        .encode_as(writer, version)
    }
}

/// A partition of an answer.
struct AnsweredPartition<'a> {
    index: PartitionIndex,
    partition: &'a Partition,
    image: &'a Image,
    listener: &'a str,
}

impl EncodeAs<MetadataResponsePartition> for AnsweredPartition<'_> {
    fn encode_as(self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        let AnsweredPartition { index, partition, image, listener } = self;
        let tells_missing_listeners = version >= FIRST_VERSION_WITH_MISSING_LISTENERS;
        let (code, leader) = leader_for(image, partition, listener, tells_missing_listeners);
        MetadataResponsePartitionView {
            error_code: code.code(),
            partition_index: index.get(),
            leader_id: leader.get(),
            leader_epoch: partition.leader_epoch.get(),
            replica_nodes: numbers(&partition.replicas),
            isr_nodes: numbers(&partition.isr),
            offline_replicas: offline_replicas(image, partition, listener),
            unknown_tagged_fields: &[],
        }
        .encode_as(writer, version)
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
pub(super) fn offline_replicas<'a>(
    image: &'a Image,
    partition: &'a Partition,
    listener: &'a str,
) -> impl ExactSizeIterator<Item = i32> + 'a {
    let is_offline = move |replica: &NodeId| {
        let Some(broker) = image.cluster.broker(*replica) else { return true };
        let directory = partition.directory_of(*replica);
        !broker.is_active()
            || broker.listener(listener).is_none()
            || directory.is_some_and(|it| !broker.has_online_directory(it))
    };
    Counted::twice(partition.replicas.iter().copied().filter(is_offline).map(NodeId::get))
}

/// Nodes as the wire has them.
pub(super) fn numbers(nodes: &[NodeId]) -> impl ExactSizeIterator<Item = i32> + '_ {
    nodes.iter().map(|it| it.get())
}

#[cfg(test)]
mod tests;
