//! DescribeShareGroupOffsets (key 90), versions 0 and 1: where share groups read, and how many records are ahead of
//! them (KIP-932, KIP-1226).
//!
//! The group's coordinator knows which partitions a group has, the share coordinator where it reads them, the
//! partition's leader how far they go. A partition that is not led here is told with the error of that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_coordinator::group::{Reply, Request};
use ottla_coordinator::share_state::{
    self, ReadStateSummary, Reply as StateReply, SharePartitionKey, StateSummary,
};
use ottla_net::Answer;
use ottla_storage::ReadLimit;
use ottla_wire::messages::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestTopic,
};
use ottla_wire::messages::describe_share_group_offsets_response::{
    DescribeShareGroupOffsetsResponse, DescribeShareGroupOffsetsResponseGroup,
    DescribeShareGroupOffsetsResponsePartition, DescribeShareGroupOffsetsResponseTopic,
};

use super::share_groups;
use crate::broker::Broker;
use crate::call::Call;

/// What is not known.
const UNKNOWN: i64 = -1;

/// A topic, and partitions of it to be told of.
struct Wanted {
    id: Uuid,
    name: Str,
    partitions: Vec<i32>,
}

/// Describes one group after the other.
pub fn describe_share_group_offsets(
    broker: &Arc<Broker>,
    call: Call,
    request: DescribeShareGroupOffsetsRequest,
) -> Answer {
    if !share_groups::are_enabled(broker) {
        let refused = |group_id| DescribeShareGroupOffsetsResponseGroup {
            group_id,
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..Default::default()
        };
        let groups = request.groups.into_iter().map(|group| refused(group.group_id)).collect();
        return call.respond(&DescribeShareGroupOffsetsResponse { groups, ..Default::default() }).into();
    }
    let broker = broker.clone();
    Answer::later(async move {
        let mut groups = Vec::with_capacity(request.groups.len());
        for group in request.groups {
            let topics = match group.topics {
                Some(topics) => Ok(offsets_of(&broker, &group.group_id, topics).await),
                None => all_offsets(&broker, &group.group_id).await,
            };
            groups.push(match topics {
                Ok(topics) => DescribeShareGroupOffsetsResponseGroup {
                    group_id: group.group_id,
                    topics,
                    ..Default::default()
                },
                Err(code) => DescribeShareGroupOffsetsResponseGroup {
                    group_id: group.group_id,
                    error_code: code.code(),
                    error_message: Some(Str::from_static(code.message())),
                    ..Default::default()
                },
            });
        }
        call.respond(&DescribeShareGroupOffsetsResponse { groups, ..Default::default() })
    })
}

/// Every partition that the group has.
async fn all_offsets(
    broker: &Arc<Broker>,
    group: &Str,
) -> Result<Vec<DescribeShareGroupOffsetsResponseTopic>, ErrorCode> {
    let request = Request::InitializedSharePartitions(group.clone());
    let has: BTreeMap<Uuid, BTreeSet<i32>> =
        match *broker.coordinators.groups.ask(broker, group, request).await? {
            Reply::InitializedSharePartitions(has) => has,
            _ => return Err(ErrorCode::UnknownServerError),
        };
    let image = broker.image.load_full();
    let wanted = has.into_iter().filter_map(|(id, partitions)| {
        let name = image.topics.get(id)?.name.clone();
        Some(Wanted { id, name, partitions: partitions.into_iter().collect() })
    });
    Ok(tell(broker, group, wanted.collect()).await)
}

/// The partitions that were asked for, whether the group has them or not. Topics that do not exist come last.
async fn offsets_of(
    broker: &Arc<Broker>,
    group: &Str,
    topics: Vec<DescribeShareGroupOffsetsRequestTopic>,
) -> Vec<DescribeShareGroupOffsetsResponseTopic> {
    let image = broker.image.load_full();
    let (mut wanted, mut missing) = (Vec::new(), Vec::new());
    for topic in topics {
        match image.topics.id(&topic.topic_name) {
            Some(id) => wanted.push(Wanted { id, name: topic.topic_name, partitions: topic.partitions }),
            None => missing.push(DescribeShareGroupOffsetsResponseTopic {
                topic_name: topic.topic_name,
                partitions: topic.partitions.into_iter().map(nowhere).collect(),
                ..Default::default()
            }),
        }
    }
    let mut told = tell(broker, group, wanted).await;
    told.append(&mut missing);
    told
}

/// Asks the share coordinator for every partition before it waits for the first answer.
async fn tell(
    broker: &Arc<Broker>,
    group: &Str,
    wanted: Vec<Wanted>,
) -> Vec<DescribeShareGroupOffsetsResponseTopic> {
    let asked = wanted.into_iter().map(|topic| {
        let ask = |partition: &i32| {
            let key = SharePartitionKey { group: group.clone(), topic: topic.id, partition: *partition };
            let place = key.coordinator_key();
            let request = share_state::Request::ReadSummary(ReadStateSummary { key });
            (*partition, broker.coordinators.share_states.ask(broker, &place, request))
        };
        let asked: Vec<_> = topic.partitions.iter().map(ask).collect();
        (topic, asked)
    });
    let asked: Vec<_> = asked.collect();
    let mut told = Vec::with_capacity(asked.len());
    for (topic, asked) in asked {
        let mut partitions = Vec::with_capacity(asked.len());
        for (partition, asked) in asked {
            partitions.push(match asked.await {
                Ok(StateReply::ReadSummary(Ok(summary))) => reached(broker, &topic.name, partition, summary),
                _ => nowhere(partition),
            });
        }
        told.push(DescribeShareGroupOffsetsResponseTopic {
            topic_name: topic.name,
            topic_id: topic.id,
            partitions,
            ..Default::default()
        });
    }
    told
}

/// How far a group has come, and what is ahead of it: what lies between where it reads and the high watermark, without
/// the records in between that are done with.
fn reached(
    broker: &Broker,
    topic: &str,
    partition: i32,
    summary: StateSummary,
) -> DescribeShareGroupOffsetsResponsePartition {
    let known = DescribeShareGroupOffsetsResponsePartition {
        partition_index: partition,
        start_offset: summary.start_offset,
        leader_epoch: summary.leader_epoch,
        lag: UNKNOWN,
        ..Default::default()
    };
    if summary.start_offset == UNKNOWN || i64::from(summary.delivery_complete_count) == UNKNOWN {
        return known;
    }
    match broker.find_partition(topic, partition) {
        Ok(found) => {
            let end = found.log().view().limit(ReadLimit::HighWatermark).get();
            let done = i64::from(summary.delivery_complete_count);
            let lag = end.wrapping_sub(summary.start_offset).wrapping_sub(done);
            DescribeShareGroupOffsetsResponsePartition { lag, ..known }
        }
        Err(code) => DescribeShareGroupOffsetsResponsePartition {
            partition_index: partition,
            lag: UNKNOWN,
            error_code: code.code(),
            error_message: Some(Str::from_static(code.message())),
            ..Default::default()
        },
    }
}

fn nowhere(partition: i32) -> DescribeShareGroupOffsetsResponsePartition {
    DescribeShareGroupOffsetsResponsePartition {
        partition_index: partition,
        start_offset: UNKNOWN,
        lag: UNKNOWN,
        ..Default::default()
    }
}
