//! AddPartitionsToTxn (key 24), versions 0 to 5: partitions become part of a transaction. Versions 0 to 3 come from
//! producers; since version 4 brokers ask for several transactions at once, also to verify only (KIP-890).

use std::sync::Arc;

use ottla_base::{ErrorCode, PartitionIndex, ProducerEpoch, ProducerId, Str};
use ottla_coordinator::group::Producer;
use ottla_coordinator::transaction::{AddPartitions, EPOCH_PER_TRANSACTION, Reply, Request, TopicPartitions};
use ottla_net::Answer;
use ottla_wire::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use ottla_wire::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResponse, AddPartitionsToTxnResult,
    AddPartitionsToTxnTopicResult,
};

use crate::broker::Broker;
use crate::call::Call;
use crate::shard::{Asked, Given};
use crate::topic;

/// The first version whose clients know `PRODUCER_FENCED`.
const FIRST_VERSION_WITH_FENCED: i16 = 2;
/// The first version that brokers send.
const FIRST_VERSION_OF_BROKERS: i16 = 4;

/// Adds partitions to transactions, or says which ones belong to them.
pub fn add_partitions_to_txn(
    broker: &Arc<Broker>,
    call: Call,
    mut request: AddPartitionsToTxnRequest,
) -> Answer {
    if call.version < FIRST_VERSION_OF_BROKERS {
        request.transactions = vec![AddPartitionsToTxnTransaction {
            transactional_id: request.v3_and_below_transactional_id,
            producer_id: request.v3_and_below_producer_id,
            producer_epoch: request.v3_and_below_producer_epoch,
            topics: request.v3_and_below_topics,
            ..Default::default()
        }];
    }
    let each = request.transactions.into_iter().map(|it| Adding::begin(broker, &call, it));
    let mut all: Vec<Adding> = each.collect();
    if all.iter().all(Adding::is_done) {
        let results = all.iter_mut().filter_map(|it| {
            let outcome = it.taken()?;
            Some(it.result(&call, outcome))
        });
        let results = results.collect();
        return call.respond(&response(&call, results)).into();
    }
    Answer::later(async move {
        let mut results = Vec::with_capacity(all.len());
        for mut adding in all {
            let outcome = adding.outcome().await;
            results.push(adding.result(&call, outcome));
        }
        call.respond(&response(&call, results))
    })
}

/// What becomes of one transaction's partitions.
struct Adding {
    transactional_id: Str,
    topics: Vec<AddPartitionsToTxnTopic>,
    state: State,
}

enum State {
    /// Some of the partitions cannot be had: nothing was tried.
    Refused(Vec<(Str, PartitionIndex, ErrorCode)>),
    Asked(Asked<Reply>),
}

/// What each partition is answered.
enum Outcome {
    All(ErrorCode),
    Each(Vec<(Str, PartitionIndex, ErrorCode)>),
}

impl Adding {
    fn begin(broker: &Arc<Broker>, call: &Call, transaction: AddPartitionsToTxnTransaction) -> Adding {
        let AddPartitionsToTxnTransaction { transactional_id, producer_id, producer_epoch, topics, .. } =
            transaction;
        let mut partitions = TopicPartitions::default();
        let mut found = Vec::new();
        for topic in &topics {
            for index in &topic.partitions {
                let index = PartitionIndex(*index);
                partitions.add(&topic.name, index);
                found.push((topic.name.clone(), index, check(broker, call, &topic.name, index)));
            }
        }
        if found.iter().any(|(_, _, code)| *code != ErrorCode::OperationNotAttempted) {
            return Adding { transactional_id, topics, state: State::Refused(found) };
        }
        let from_broker = call.version >= FIRST_VERSION_OF_BROKERS;
        let request = AddPartitions {
            transactional_id: transactional_id.clone(),
            producer: Producer { id: ProducerId(producer_id), epoch: ProducerEpoch(producer_epoch) },
            version: if from_broker { EPOCH_PER_TRANSACTION } else { 0 },
            partitions,
        };
        let request = match transaction.verify_only {
            true => Request::VerifyPartitions(request),
            false => Request::AddPartitions(request),
        };
        let asked = broker.coordinators.transactions.ask(broker, &transactional_id, request);
        Adding { transactional_id, topics, state: State::Asked(asked) }
    }

    fn is_done(&self) -> bool {
        matches!(self.state, State::Refused(_) | State::Asked(Asked::Here(_)))
    }

    /// The outcome, if it is here.
    fn taken(&mut self) -> Option<Outcome> {
        match &mut self.state {
            State::Refused(each) => Some(Outcome::Each(std::mem::take(each))),
            State::Asked(Asked::Here(given)) => given.take().map(outcome),
            State::Asked(_) => None,
        }
    }

    async fn outcome(&mut self) -> Outcome {
        match &mut self.state {
            State::Refused(each) => Outcome::Each(std::mem::take(each)),
            State::Asked(asked) => outcome(asked.await),
        }
    }

    fn result(&self, call: &Call, outcome: Outcome) -> AddPartitionsToTxnResult {
        let code_of = |topic: &Str, index: i32| match &outcome {
            Outcome::All(code) => *code,
            Outcome::Each(each) => {
                let found = each.iter().find(|it| it.0 == *topic && it.1.get() == index);
                found.map_or(ErrorCode::UnknownServerError, |it| it.2)
            }
        };
        let told = |code| match code {
            ErrorCode::ProducerFenced if call.version < FIRST_VERSION_WITH_FENCED => {
                ErrorCode::InvalidProducerEpoch
            }
            code => code,
        };
        let topics = self.topics.iter().map(|topic| AddPartitionsToTxnTopicResult {
            name: topic.name.clone(),
            results_by_partition: topic
                .partitions
                .iter()
                .map(|index| AddPartitionsToTxnPartitionResult {
                    partition_index: *index,
                    partition_error_code: told(code_of(&topic.name, *index)).code(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        AddPartitionsToTxnResult {
            transactional_id: self.transactional_id.clone(),
            topic_results: topics.collect(),
            ..Default::default()
        }
    }
}

/// What stands against a partition; `OPERATION_NOT_ATTEMPTED` if nothing does, for that is what it is answered if
/// something stands against another one.
fn check(broker: &Broker, call: &Call, topic: &Str, index: PartitionIndex) -> ErrorCode {
    let from_broker = call.version >= FIRST_VERSION_OF_BROKERS;
    if topic::is_internal(topic) && !(from_broker && topic == topic::CONSUMER_OFFSETS) {
        return ErrorCode::TopicAuthorizationFailed;
    }
    let image = broker.image.load();
    let found = image.topics.named(topic);
    match found.and_then(|found| image.topics.partition(found.id, index)) {
        Some(_) => ErrorCode::OperationNotAttempted,
        None => ErrorCode::UnknownTopicOrPartition,
    }
}

fn outcome(given: Given<Reply>) -> Outcome {
    match given {
        Ok(Reply::AddPartitions(Ok(()))) => Outcome::All(ErrorCode::None),
        Ok(Reply::VerifyPartitions(Ok(each))) => Outcome::Each(each),
        Ok(Reply::AddPartitions(Err(code)) | Reply::VerifyPartitions(Err(code))) | Err(code) => {
            Outcome::All(code)
        }
        Ok(_) => Outcome::All(ErrorCode::UnknownServerError),
    }
}

fn response(call: &Call, mut results: Vec<AddPartitionsToTxnResult>) -> AddPartitionsToTxnResponse {
    if call.version >= FIRST_VERSION_OF_BROKERS {
        return AddPartitionsToTxnResponse { results_by_transaction: results, ..Default::default() };
    }
    let only = results.pop().map(|it| it.topic_results).unwrap_or_default();
    AddPartitionsToTxnResponse { results_by_topic_v3_and_below: only, ..Default::default() }
}
