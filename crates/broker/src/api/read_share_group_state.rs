//! ReadShareGroupState (key 84), version 0: the state of share partitions, for their leaders (KIP-932).

use std::sync::Arc;

use ottla_coordinator::share_state::{ReadState, Reply, Request};
use ottla_net::Answer;
use ottla_wire::messages::read_share_group_state_request::{PartitionData, ReadShareGroupStateRequest};
use ottla_wire::messages::read_share_group_state_response::{
    PartitionResult, ReadShareGroupStateResponse, ReadStateResult, StateBatch,
};

use super::share_states::{Manner, Named, ask, said};
use crate::broker::Broker;
use crate::call::Call;

/// Asks the share coordinator of every partition.
pub fn read_share_group_state(
    broker: &Arc<Broker>,
    call: Call,
    request: ReadShareGroupStateRequest,
) -> Answer {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|it| (it.partition, it));
        (topic.topic_id, partitions.collect())
    });
    let topics: Named<PartitionData> = topics.collect();
    let manner = Manner {
        ask: |key, it: PartitionData| Request::Read(ReadState { key, leader_epoch: it.leader_epoch }),
        take: |reply| match reply {
            Reply::Read(result) => Some(result),
            _ => None,
        },
        unable: "Unable to read share group state",
    };
    ask(broker, &request.group_id, topics, manner, move |answered| {
        let results = answered.into_iter().map(|(topic_id, partitions)| {
            let partitions = partitions.into_iter().map(|(partition, result)| {
                let (error_code, error_message) = said(&result);
                let refused = PartitionResult { partition, error_code, error_message, ..Default::default() };
                let Ok(state) = result else { return refused };
                let batches = state.batches.iter().map(|it| StateBatch {
                    first_offset: it.first,
                    last_offset: it.last,
                    delivery_state: it.delivery_state,
                    delivery_count: it.delivery_count,
                    ..Default::default()
                });
                PartitionResult {
                    state_epoch: state.state_epoch,
                    start_offset: state.start_offset,
                    state_batches: batches.collect(),
                    ..refused
                }
            });
            ReadStateResult { topic_id, partitions: partitions.collect(), ..Default::default() }
        });
        call.respond(&ReadShareGroupStateResponse { results: results.collect(), ..Default::default() })
    })
}
