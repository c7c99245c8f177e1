//! TxnOffsetCommit (key 28), versions 0 to 6: a consumer's progress becomes part of a producer's transaction; by topic
//! ids since version 6.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_base::{ErrorCode, PartitionIndex, Str, Uuid};
use ottla_coordinator::group::{
    CommitTransactionalOffsets, Reply, Request, txn_offset_commit_refused as refused_all,
};
use ottla_metadata::Image;
use ottla_net::Answer;
use ottla_wire::messages::txn_offset_commit_request::{TxnOffsetCommitRequest, TxnOffsetCommitRequestTopic};
use ottla_wire::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

use super::group_client::client;
use crate::broker::Broker;
use crate::call::Call;
use crate::shard::answer;

const FIRST_VERSION_WITH_IDS: i16 = 6;
/// Older producers stop at what they do not expect (KAFKA-7296).
const FIRST_VERSION_THAT_KNOWS_OF_LOADING: i16 = 2;

/// Commits what is of topics that exist; what is not is refused by itself.
pub fn txn_offset_commit(broker: &Arc<Broker>, call: Call, mut request: TxnOffsetCommitRequest) -> Answer {
    let image = broker.image.load();
    let mut refused = TxnOffsetCommitResponse::default();
    let topics = std::mem::take(&mut request.topics).into_iter();
    request.topics = topics.filter_map(|topic| known(&image, topic, call.version, &mut refused)).collect();
    if request.topics.is_empty() {
        return call.respond(&refused).into();
    }
    if request.group_id.is_empty() {
        let all = refused_all(&request, ErrorCode::InvalidGroupId);
        return call.respond(&merged(refused, all)).into();
    }
    let group = request.group_id.clone();
    let all = request.clone();
    let commit = CommitTransactionalOffsets { client: client(&call), request };
    let asked = Request::CommitTransactionalOffsets(commit);
    answer(broker.coordinators.groups.ask(broker, &group, asked), move |given| {
        let committed = match given {
            Ok(Reply::CommitTransactionalOffsets(reply)) => reply,
            Ok(_) => refused_all(&all, ErrorCode::UnknownServerError),
            Err(ErrorCode::CoordinatorLoadInProgress)
                if call.version < FIRST_VERSION_THAT_KNOWS_OF_LOADING =>
            {
                refused_all(&all, ErrorCode::CoordinatorNotAvailable)
            }
            Err(code) => refused_all(&all, code),
        };
        call.respond(&merged(refused, committed))
    })
}

/// What of a topic exists, with its name and id. The rest is refused.
fn known(
    image: &Image,
    mut topic: TxnOffsetCommitRequestTopic,
    version: i16,
    refused: &mut TxnOffsetCommitResponse,
) -> Option<TxnOffsetCommitRequestTopic> {
    let by_id = version >= FIRST_VERSION_WITH_IDS;
    let found = if by_id { image.topics.get(topic.topic_id) } else { image.topics.named(&topic.name) };
    let Some(found) = found else {
        let code = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
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

fn refused_topic(topic: &TxnOffsetCommitRequestTopic, code: ErrorCode) -> TxnOffsetCommitResponseTopic {
    let partitions = topic.partitions.iter().map(|it| TxnOffsetCommitResponsePartition {
        partition_index: it.partition_index,
        error_code: code.code(),
        ..Default::default()
    });
    TxnOffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
        ..Default::default()
    }
}

/// One answer in which every topic is once.
fn merged(
    mut refused: TxnOffsetCommitResponse,
    committed: TxnOffsetCommitResponse,
) -> TxnOffsetCommitResponse {
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
