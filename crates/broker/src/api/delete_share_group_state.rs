//! DeleteShareGroupState (key 86), version 0: the state of share partitions goes (KIP-932).

use std::sync::Arc;

use ottla_coordinator::share_state::{DeleteState, Reply, Request};
use ottla_net::Answer;
use ottla_wire::messages::delete_share_group_state_request::{DeleteShareGroupStateRequest, PartitionData};
use ottla_wire::messages::delete_share_group_state_response::{
    DeleteShareGroupStateResponse, DeleteStateResult, PartitionResult,
};

use super::share_states::{Manner, Named, ask, said};
use crate::broker::Broker;
use crate::call::Call;

/// Asks the share coordinator of every partition.
pub fn delete_share_group_state(
    broker: &Arc<Broker>,
    call: Call,
    request: DeleteShareGroupStateRequest,
) -> Answer {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|it| (it.partition, it));
        (topic.topic_id, partitions.collect())
    });
    let topics: Named<PartitionData> = topics.collect();
    let manner = Manner {
        ask: |key, _: PartitionData| Request::Delete(DeleteState { key }),
        take: |reply| match reply {
            Reply::Delete(result) => Some(result),
            _ => None,
        },
        unable: "Unable to delete share group state",
    };
    ask(broker, &request.group_id, topics, manner, move |answered| {
        let results = answered.into_iter().map(|(topic_id, partitions)| {
            let partitions = partitions.into_iter().map(|(partition, result)| {
                let (error_code, error_message) = said(&result);
                PartitionResult { partition, error_code, error_message, ..Default::default() }
            });
            DeleteStateResult { topic_id, partitions: partitions.collect(), ..Default::default() }
        });
        call.respond(&DeleteShareGroupStateResponse { results: results.collect(), ..Default::default() })
    })
}
