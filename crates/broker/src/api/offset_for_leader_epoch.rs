//! OffsetForLeaderEpoch (key 23), versions 2 to 4: where the records of an epoch end (KIP-101, KIP-279, KIP-320).
//!
//! Only the leader answers, in the epoch that the caller knows.

use ottla_base::{ErrorCode, LeaderEpoch};
use ottla_net::Response;
use ottla_wire::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition,
};
use ottla_wire::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

use crate::broker::Broker;
use crate::call::Call;

/// Looks every partition's epoch up.
pub fn offset_for_leader_epoch(
    broker: &Broker,
    call: Call,
    request: OffsetForLeaderEpochRequest,
) -> Response {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|it| match end_offset(broker, &topic.topic, it) {
            Ok((leader_epoch, end_offset)) => {
                EpochEndOffset { partition: it.partition, leader_epoch, end_offset, ..Default::default() }
            }
            Err(code) => {
                EpochEndOffset { partition: it.partition, error_code: code.code(), ..Default::default() }
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult { topic: topic.topic, partitions, ..Default::default() }
    });
    call.respond(&OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() })
}

fn end_offset(
    broker: &Broker,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ErrorCode> {
    let partition = broker.find_partition(topic, asked.partition)?;
    partition.leader_epoch(asked.current_leader_epoch)?;
    let found = partition.log().end_of_epoch(LeaderEpoch(asked.leader_epoch));
    Ok((found.epoch.get(), found.end.get()))
}
