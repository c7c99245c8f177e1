//! AddOffsetsToTxn (key 25), versions 0 to 4: a producer will commit a group's offsets in its transaction, so the
//! partition of `__consumer_offsets` that keeps the group becomes part of it.

use std::sync::Arc;

use ottla_base::{ErrorCode, PartitionIndex, ProducerEpoch, ProducerId, Str};
use ottla_coordinator::group::Producer;
use ottla_coordinator::partition_for;
use ottla_coordinator::transaction::{AddPartitions, Reply, Request, TopicPartitions};
use ottla_net::Answer;
use ottla_wire::messages::add_offsets_to_txn_request::AddOffsetsToTxnRequest;
use ottla_wire::messages::add_offsets_to_txn_response::AddOffsetsToTxnResponse;

use crate::broker::Broker;
use crate::call::Call;
use crate::shard::{Given, answer};
use crate::topic;

/// The first version whose clients know `PRODUCER_FENCED`.
const FIRST_VERSION_WITH_FENCED: i16 = 2;

/// Adds the partition of a group to a transaction.
pub fn add_offsets_to_txn(broker: &Arc<Broker>, call: Call, request: AddOffsetsToTxnRequest) -> Answer {
    let index = broker.coordinators.groups.index_of(broker, &request.group_id);
    let index = index.unwrap_or_else(|| {
        // The topic is made when the group is looked for; it will have so many partitions.
        let count = broker.settings.load().server.groups.offsets_topic_num_partitions;
        partition_for(&request.group_id, count)
    });
    let mut partitions = TopicPartitions::default();
    partitions.add(&Str::from_static(topic::CONSUMER_OFFSETS), PartitionIndex(index));
    let adding = AddPartitions {
        transactional_id: request.transactional_id.clone(),
        producer: Producer {
            id: ProducerId(request.producer_id),
            epoch: ProducerEpoch(request.producer_epoch),
        },
        // Clients that have an epoch for each transaction do not ask this.
        version: 0,
        partitions,
    };
    let transactions = &broker.coordinators.transactions;
    let asked = transactions.ask(broker, &request.transactional_id, Request::AddPartitions(adding));
    answer(asked, move |given| {
        let error_code = code(&call, given).code();
        call.respond(&AddOffsetsToTxnResponse { error_code, ..Default::default() })
    })
}

fn code(call: &Call, given: Given<Reply>) -> ErrorCode {
    match given {
        Ok(Reply::AddPartitions(Ok(()))) => ErrorCode::None,
        Ok(Reply::AddPartitions(Err(ErrorCode::ProducerFenced)))
            if call.version < FIRST_VERSION_WITH_FENCED =>
        {
            ErrorCode::InvalidProducerEpoch
        }
        Ok(Reply::AddPartitions(Err(code))) | Err(code) => code,
        Ok(_) => ErrorCode::UnknownServerError,
    }
}
