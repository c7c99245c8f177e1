//! OffsetCommit (key 8), versions 2 to 10: a consumer says how far it has come; by topic ids since version 10
//! (KIP-848).

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_base::{ErrorCode, PartitionIndex, Str, Uuid};
use ottla_coordinator::group::{CommitOffsets, Reply, Request, offset_commit_refused};
use ottla_metadata::Image;
use ottla_net::Answer;
use ottla_wire::messages::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestTopic};
use ottla_wire::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use super::group_client::client;
use crate::broker::Broker;
use crate::call::Call;
use crate::shard::answer;

const FIRST_VERSION_WITH_IDS: i16 = 10;

/// Commits what is of topics that exist; what is not is refused by itself.
pub fn offset_commit(broker: &Arc<Broker>, call: Call, mut request: OffsetCommitRequest) -> Answer {
    let image = broker.image.load();
    let mut refused = OffsetCommitResponse::default();
    let topics = std::mem::take(&mut request.topics).into_iter();
    request.topics = topics.filter_map(|topic| known(&image, topic, call.version, &mut refused)).collect();
    if request.topics.is_empty() {
        return call.respond(&refused).into();
    }
    let group = request.group_id.clone();
    let all = request.clone();
    let asked = Request::CommitOffsets(CommitOffsets { client: client(&call), request });
    answer(broker.coordinators.groups.ask(broker, &group, asked), move |given| {
        let committed = match given.map(|it| *it) {
            Ok(Reply::CommitOffsets(reply)) => reply,
            Ok(_) => offset_commit_refused(&all, ErrorCode::UnknownServerError),
            Err(code) => offset_commit_refused(&all, code),
        };
        call.respond(&merged(refused, committed))
    })
}

/// What of a topic exists, with its name and id. The rest is refused.
fn known(
    image: &Image,
    mut topic: OffsetCommitRequestTopic,
    version: i16,
    refused: &mut OffsetCommitResponse,
) -> Option<OffsetCommitRequestTopic> {
    let by_id = version >= FIRST_VERSION_WITH_IDS;
    let found = if by_id { image.topics.get(topic.topic_id) } else { image.topics.named(&topic.name) };
    let Some(found) = found else {
        let code = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
        if !by_id {
            topic.topic_id = Uuid::ZERO;
        }
        refused.topics.push(refused_topic(&topic, code));
        return None;
    };
    topic.name = found.name.clone();
    topic.topic_id = found.id;
    let exists = |index: i32| image.topics.partition(found.id, PartitionIndex(index)).is_some();
    let (known, unknown) = topic.partitions.into_iter().partition(|it| exists(it.partition_index));
    topic.partitions = unknown;
    if !topic.partitions.is_empty() {
        refused.topics.push(refused_topic(&topic, ErrorCode::UnknownTopicOrPartition));
    }
    topic.partitions = known;
    (!topic.partitions.is_empty()).then_some(topic)
}

fn refused_topic(topic: &OffsetCommitRequestTopic, code: ErrorCode) -> OffsetCommitResponseTopic {
    let partitions = topic.partitions.iter().map(|it| OffsetCommitResponsePartition {
        partition_index: it.partition_index,
        error_code: code.code(),
        ..Default::default()
    });
    OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
        ..Default::default()
    }
}

/// One answer in which every topic is once.
fn merged(mut refused: OffsetCommitResponse, committed: OffsetCommitResponse) -> OffsetCommitResponse {
    if refused.topics.is_empty() {
        return committed;
    }
    let places = refused.topics.iter().enumerate().map(|(place, it)| ((it.name.clone(), it.topic_id), place));
    let places: BTreeMap<(Str, Uuid), usize> = places.collect();
    for topic in committed.topics {
        let place = places.get(&(topic.name.clone(), topic.topic_id));
        match place.and_then(|place| refused.topics.get_mut(*place)) {
            Some(known) => known.partitions.extend(topic.partitions),
            None => refused.topics.push(topic),
        }
    }
    refused
}
