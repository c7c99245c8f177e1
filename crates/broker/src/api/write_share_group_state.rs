//! WriteShareGroupState (key 85), versions 0 and 1: the state of share partitions changes (KIP-932).

use std::sync::Arc;

use ottla_coordinator::share_state::{Reply, Request, StateBatch, WriteState};
use ottla_net::Answer;
use ottla_wire::messages::write_share_group_state_request::{PartitionData, WriteShareGroupStateRequest};
use ottla_wire::messages::write_share_group_state_response::{
    PartitionResult, WriteShareGroupStateResponse, WriteStateResult,
};

use super::share_states::{Manner, Named, ask, said};
use crate::broker::Broker;
use crate::call::Call;

/// Asks the share coordinator of every partition.
pub fn write_share_group_state(
    broker: &Arc<Broker>,
    call: Call,
    request: WriteShareGroupStateRequest,
) -> Answer {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|it| (it.partition, it));
        (topic.topic_id, partitions.collect())
    });
    let topics: Named<PartitionData> = topics.collect();
    let manner = Manner {
        ask: |key, it: PartitionData| {
            let batches = it.state_batches.iter().map(|it| StateBatch {
                first: it.first_offset,
                last: it.last_offset,
                delivery_state: it.delivery_state,
                delivery_count: it.delivery_count,
            });
            Request::Write(WriteState {
                key,
                state_epoch: it.state_epoch,
                leader_epoch: it.leader_epoch,
                start_offset: it.start_offset,
                delivery_complete_count: it.delivery_complete_count,
                batches: batches.collect(),
            })
        },
        take: |reply| match reply {
            Reply::Write(result) => Some(result),
            _ => None,
        },
        unable: "Unable to write share group state",
    };
    let (owner, began) = (broker.clone(), call.received);
    ask(broker, &request.group_id, topics, manner, move |answered| {
        let took = owner.host.now().since(began);
        answered.iter().flat_map(|(_, it)| it).for_each(|_| owner.metrics.shares.state_writes.note(took));
        let results = answered.into_iter().map(|(topic_id, partitions)| {
            let partitions = partitions.into_iter().map(|(partition, result)| {
                let (error_code, error_message) = said(&result);
                PartitionResult { partition, error_code, error_message, ..Default::default() }
            });
            WriteStateResult { topic_id, partitions: partitions.collect(), ..Default::default() }
        });
        call.respond(&WriteShareGroupStateResponse { results: results.collect(), ..Default::default() })
    })
}
