//! OffsetFetch (key 9), versions 1 to 10: how far groups have come; several groups since version 8, by topic ids since
//! version 10.

use std::sync::Arc;

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_coordinator::group::{FetchOffsets, Reply, Request, Stability};
use ottla_metadata::Image;
use ottla_net::{Answer, Response};
use ottla_wire::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use ottla_wire::messages::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

use crate::broker::Broker;
use crate::call::Call;
use crate::shard::{Asked, answer};

const FIRST_VERSION_WITH_GROUP_ERRORS: i16 = 2;
const FIRST_VERSION_WITH_MANY_GROUPS: i16 = 8;
const FIRST_VERSION_WITH_IDS: i16 = 10;

/// Tells committed offsets, each group's by the coordinator that has it.
pub fn offset_fetch(broker: &Arc<Broker>, call: Call, request: OffsetFetchRequest) -> Answer {
    let stability = if request.require_stable { Stability::Required } else { Stability::Any };
    let mut groups = groups(request, call.version);
    if call.version < FIRST_VERSION_WITH_MANY_GROUPS
        && let Some(group) = groups.pop()
    {
        let (pending, asked) = ask(broker, &call, group, stability);
        let broker = broker.clone();
        return answer(asked, move |given| {
            let group = pending.complete(&broker.image.load(), given, call.version);
            respond_with_one(&call, group)
        });
    }
    let asked: Vec<_> = groups.into_iter().map(|group| ask(broker, &call, group, stability)).collect();
    let broker = broker.clone();
    Answer::later(async move {
        let mut groups = Vec::with_capacity(asked.len());
        for (pending, asked) in asked {
            let given = asked.await;
            groups.push(pending.complete(&broker.image.load(), given, call.version));
        }
        call.respond(&OffsetFetchResponse { groups, ..Default::default() })
    })
}

/// The groups of a request, however its version names them.
fn groups(request: OffsetFetchRequest, version: i16) -> Vec<OffsetFetchRequestGroup> {
    if version >= FIRST_VERSION_WITH_MANY_GROUPS {
        return request.groups;
    }
    let topics = request.topics.map(|topics| {
        let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name,
            partition_indexes: topic.partition_indexes,
            ..Default::default()
        });
        topics.collect()
    });
    vec![OffsetFetchRequestGroup { group_id: request.group_id, topics, ..Default::default() }]
}

/// What is known of a group's answer before its coordinator answers.
struct Pending {
    request: OffsetFetchRequestGroup,
    unknown: Vec<OffsetFetchResponseTopics>,
}

fn ask(
    broker: &Arc<Broker>,
    call: &Call,
    mut request: OffsetFetchRequestGroup,
    stability: Stability,
) -> (Pending, Asked<Box<Reply>>) {
    let mut unknown = Vec::new();
    if call.version >= FIRST_VERSION_WITH_IDS
        && let Some(topics) = &mut request.topics
    {
        let image = broker.image.load();
        topics.retain_mut(|topic| match image.topics.get(topic.topic_id) {
            Some(known) => {
                topic.name = known.name.clone();
                true
            }
            None => {
                unknown.push(refused_topic(topic, ErrorCode::UnknownTopicId));
                false
            }
        });
    }
    let pending = Pending { request: request.clone(), unknown };
    let group = request.group_id.clone();
    let fetch = Request::FetchOffsets(FetchOffsets { request, stability });
    (pending, broker.coordinators.groups.ask(broker, &group, fetch))
}

impl Pending {
    fn complete(
        self,
        image: &Image,
        given: Result<Box<Reply>, ErrorCode>,
        version: i16,
    ) -> OffsetFetchResponseGroup {
        let mut group = match given.map(|it| *it) {
            Ok(Reply::FetchOffsets(group)) if group.error_code == 0 => group,
            Ok(Reply::FetchOffsets(group)) => {
                return refused(&self.request, ErrorCode::from_code(group.error_code), version);
            }
            Ok(_) => return refused(&self.request, ErrorCode::UnknownServerError, version),
            // Consumers before 3.9 know no other code to try again upon
            // (`GroupCoordinatorService.handleOffsetFetchException`).
            Err(ErrorCode::CoordinatorNotAvailable) => {
                return refused(&self.request, ErrorCode::NotCoordinator, version);
            }
            Err(code) => return refused(&self.request, code, version),
        };
        if version >= FIRST_VERSION_WITH_IDS {
            for topic in group.topics.iter_mut().filter(|it| it.topic_id == Uuid::ZERO) {
                topic.topic_id = image.topics.id(&topic.name).unwrap_or(Uuid::ZERO);
            }
            // What has no id cannot be told.
            group.topics.retain(|topic| topic.topic_id != Uuid::ZERO);
        }
        group.topics.extend(self.unknown);
        group
    }
}

/// `OffsetFetchResponse.groupError`.
fn refused(request: &OffsetFetchRequestGroup, code: ErrorCode, version: i16) -> OffsetFetchResponseGroup {
    let group_id = request.group_id.clone();
    if version >= FIRST_VERSION_WITH_GROUP_ERRORS {
        return OffsetFetchResponseGroup { group_id, error_code: code.code(), ..Default::default() };
    }
    let topics = request.topics.iter().flatten().map(|topic| refused_topic(topic, code));
    OffsetFetchResponseGroup { group_id, topics: topics.collect(), ..Default::default() }
}

fn refused_topic(topic: &OffsetFetchRequestTopics, code: ErrorCode) -> OffsetFetchResponseTopics {
    let partitions = topic.partition_indexes.iter().map(|index| OffsetFetchResponsePartitions {
        partition_index: *index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(Str::default()),
        error_code: code.code(),
        ..Default::default()
    });
    OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
        ..Default::default()
    }
}

/// The answer of a version that knows of one group only.
fn respond_with_one(call: &Call, group: OffsetFetchResponseGroup) -> Response {
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|it| OffsetFetchResponsePartition {
                partition_index: it.partition_index,
                committed_offset: it.committed_offset,
                committed_leader_epoch: it.committed_leader_epoch,
                metadata: it.metadata,
                error_code: it.error_code,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let topics = topics.collect();
    call.respond(&OffsetFetchResponse { topics, error_code: group.error_code, ..Default::default() })
}
