//! OffsetDelete (key 47), version 0: what a group has committed for topics that it does not read goes (KIP-496).

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_base::{ErrorCode, PartitionIndex, Str};
use ottla_coordinator::group::{Reply, Request};
use ottla_metadata::Image;
use ottla_net::Answer;
use ottla_wire::messages::offset_delete_request::{OffsetDeleteRequest, OffsetDeleteRequestTopic};
use ottla_wire::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use crate::broker::Broker;
use crate::call::Call;
use crate::shard::answer;

/// Deletes what is of topics that exist; what is not is refused by itself.
pub fn offset_delete(broker: &Arc<Broker>, call: Call, mut request: OffsetDeleteRequest) -> Answer {
    let image = broker.image.load();
    let mut refused = OffsetDeleteResponse::default();
    let topics = std::mem::take(&mut request.topics).into_iter();
    request.topics = topics.filter_map(|topic| known(&image, topic, &mut refused)).collect();
    let group = request.group_id.clone();
    let asked = Request::DeleteOffsets(request);
    answer(broker.coordinators.groups.ask(broker, &group, asked), move |given| {
        let code = |code: ErrorCode| OffsetDeleteResponse { error_code: code.code(), ..Default::default() };
        let deleted = match given.map(|it| *it) {
            Ok(Reply::DeleteOffsets(reply)) => reply,
            Ok(_) => code(ErrorCode::UnknownServerError),
            Err(refusal) => code(refusal),
        };
        call.respond(&merged(refused, deleted))
    })
}

/// What of a topic exists. The rest is refused.
fn known(
    image: &Image,
    topic: OffsetDeleteRequestTopic,
    refused: &mut OffsetDeleteResponse,
) -> Option<OffsetDeleteRequestTopic> {
    let id = image.topics.id(&topic.name);
    let exists =
        |index: i32| id.is_some_and(|id| image.topics.partition(id, PartitionIndex(index)).is_some());
    let (known, unknown): (Vec<_>, Vec<_>) =
        topic.partitions.into_iter().partition(|it| exists(it.partition_index));
    if !unknown.is_empty() || id.is_none() {
        let partitions = unknown.iter().map(|it| OffsetDeleteResponsePartition {
            partition_index: it.partition_index,
            error_code: ErrorCode::UnknownTopicOrPartition.code(),
        });
        let (name, partitions) = (topic.name.clone(), partitions.collect());
        refused.topics.push(OffsetDeleteResponseTopic { name, partitions });
    }
    (!known.is_empty()).then_some(OffsetDeleteRequestTopic { name: topic.name, partitions: known })
}

/// One answer in which every topic is once. A refusal of the whole stands alone.
fn merged(mut refused: OffsetDeleteResponse, deleted: OffsetDeleteResponse) -> OffsetDeleteResponse {
    if refused.topics.is_empty() || deleted.error_code != 0 {
        return deleted;
    }
    let places = refused.topics.iter().enumerate().map(|(place, it)| (it.name.clone(), place));
    let places: BTreeMap<Str, usize> = places.collect();
    for topic in deleted.topics {
        let place = places.get(topic.name.as_str());
        match place.and_then(|place| refused.topics.get_mut(*place)) {
            Some(known) => known.partitions.extend(topic.partitions),
            None => refused.topics.push(topic),
        }
    }
    refused
}
