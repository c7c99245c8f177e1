//! InitializeShareGroupState (key 83), version 0: the state of share partitions is set anew (KIP-932).

use std::sync::Arc;

use ottla_coordinator::share_state::{InitializeState, Reply, Request};
use ottla_net::Answer;
use ottla_wire::messages::initialize_share_group_state_request::{
    InitializeShareGroupStateRequest, PartitionData,
};
use ottla_wire::messages::initialize_share_group_state_response::{
    InitializeShareGroupStateResponse, InitializeStateResult, PartitionResult,
};

use super::share_states::{Manner, Named, ask, said};
use crate::broker::Broker;
use crate::call::Call;

/// Asks the share coordinator of every partition.
pub fn initialize_share_group_state(
    broker: &Arc<Broker>,
    call: Call,
    request: InitializeShareGroupStateRequest,
) -> Answer {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|it| (it.partition, it));
        (topic.topic_id, partitions.collect())
    });
    let topics: Named<PartitionData> = topics.collect();
    let manner = Manner {
        ask: |key, it: PartitionData| {
            Request::Initialize(InitializeState {
                key,
                state_epoch: it.state_epoch,
                start_offset: it.start_offset,
            })
        },
        take: |reply| match reply {
            Reply::Initialize(result) => Some(result),
            _ => None,
        },
        unable: "Unable to initialize share group state",
    };
    ask(broker, &request.group_id, topics, manner, move |answered| {
        let results = answered.into_iter().map(|(topic_id, partitions)| {
            let partitions = partitions.into_iter().map(|(partition, result)| {
                let (error_code, error_message) = said(&result);
                PartitionResult { partition, error_code, error_message, ..Default::default() }
            });
            InitializeStateResult { topic_id, partitions: partitions.collect(), ..Default::default() }
        });
        call.respond(&InitializeShareGroupStateResponse { results: results.collect(), ..Default::default() })
    })
}
