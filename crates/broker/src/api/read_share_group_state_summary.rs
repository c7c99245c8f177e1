//! ReadShareGroupStateSummary (key 87), versions 0 and 1: how far share partitions have come (KIP-932).

use std::sync::Arc;

use ottla_coordinator::share_state::{ReadStateSummary, Reply, Request};
use ottla_net::Answer;
use ottla_wire::messages::read_share_group_state_summary_request::{
    PartitionData, ReadShareGroupStateSummaryRequest,
};
use ottla_wire::messages::read_share_group_state_summary_response::{
    PartitionResult, ReadShareGroupStateSummaryResponse, ReadStateSummaryResult,
};

use super::share_states::{Manner, Named, ask, said};
use crate::broker::Broker;
use crate::call::Call;

/// Asks the share coordinator of every partition.
pub fn read_share_group_state_summary(
    broker: &Arc<Broker>,
    call: Call,
    request: ReadShareGroupStateSummaryRequest,
) -> Answer {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|it| (it.partition, it));
        (topic.topic_id, partitions.collect())
    });
    let topics: Named<PartitionData> = topics.collect();
    let manner = Manner {
        ask: |key, _: PartitionData| Request::ReadSummary(ReadStateSummary { key }),
        take: |reply| match reply {
            Reply::ReadSummary(result) => Some(result),
            _ => None,
        },
        unable: "Unable to read share group state summary",
    };
    ask(broker, &request.group_id, topics, manner, move |answered| {
        let results = answered.into_iter().map(|(topic_id, partitions)| {
            let partitions = partitions.into_iter().map(|(partition, result)| {
                let (error_code, error_message) = said(&result);
                let refused = PartitionResult { partition, error_code, error_message, ..Default::default() };
                let Ok(summary) = result else { return refused };
                PartitionResult {
                    state_epoch: summary.state_epoch,
                    leader_epoch: summary.leader_epoch,
                    start_offset: summary.start_offset,
                    delivery_complete_count: summary.delivery_complete_count,
                    ..refused
                }
            });
            ReadStateSummaryResult { topic_id, partitions: partitions.collect(), ..Default::default() }
        });
        call.respond(&ReadShareGroupStateSummaryResponse { results: results.collect(), ..Default::default() })
    })
}
