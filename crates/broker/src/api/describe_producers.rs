//! DescribeProducers (key 61), version 0: who writes to a partition idempotently (KIP-664).

use ottla_base::{ErrorCode, Str};
use ottla_net::Response;
use ottla_wire::messages::describe_producers_request::DescribeProducersRequest;
use ottla_wire::messages::describe_producers_response::{
    DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};

use crate::broker::Broker;
use crate::call::Call;

/// Describes the producers of every partition.
pub fn describe_producers(broker: &Broker, call: Call, request: DescribeProducersRequest) -> Response {
    let topics = request.topics.into_iter().map(|topic| {
        let is_known = broker.image.load().topics.named(&topic.name).is_some();
        let partitions =
            topic.partition_indexes.iter().map(|index| match producers(broker, &topic.name, *index) {
                Ok(active_producers) => {
                    PartitionResponse { partition_index: *index, active_producers, ..Default::default() }
                }
                Err(code) => PartitionResponse {
                    partition_index: *index,
                    error_code: code.code(),
                    // Of a topic that exists, the code says enough.
                    error_message: (!is_known).then(|| Str::from_static(code.message())),
                    ..Default::default()
                },
            });
        let partitions = partitions.collect();
        TopicResponse { name: topic.name, partitions, ..Default::default() }
    });
    call.respond(&DescribeProducersResponse { topics: topics.collect(), ..Default::default() })
}

fn producers(broker: &Broker, topic: &str, index: i32) -> Result<Vec<ProducerState>, ErrorCode> {
    ottla_base::validate_topic_name(topic).map_err(|_| ErrorCode::InvalidTopicException)?;
    let partition = broker.find_partition(topic, index)?;
    partition.leader_epoch(-1)?;
    let described = partition.log().with_producers(|producers| {
        let entries = producers.entries().into_iter().map(|(id, entry)| ProducerState {
            producer_id: id.get(),
            producer_epoch: i32::from(entry.epoch().get()),
            last_sequence: entry.last_sequence(),
            last_timestamp: entry.last_timestamp().get(),
            coordinator_epoch: entry.coordinator_epoch(),
            current_txn_start_offset: entry.transaction_first_offset().map_or(-1, |it| it.get()),
            ..Default::default()
        });
        entries.collect()
    });
    Ok(described)
}
