//! Produce (key 0), versions 3 to 13; advertised from 0 as Kafka does, for librdkafka (KAFKA-18659).
//!
//! Departures from Kafka: none. What a transaction writes first to a partition is verified with its coordinator
//! (`transaction`).

use std::sync::Arc;

use ottla_base::{ErrorCode, Str, Timestamp};
use ottla_net::{Answer, Response};
use ottla_record::{Batches, StoredBatch};
use ottla_storage::producer_state::VerificationGuard;
use ottla_storage::{Appended, Duplicate};
use ottla_wire::messages::produce_request::{PartitionProduceData, ProduceRequest};
use ottla_wire::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceResponse,
    TopicProduceResponse,
};

use super::leader_hint;
use crate::broker::{Broker, ResolvedTopic};
use crate::call::Call;
use crate::commit::until_committed;
use crate::partition::{Acknowledgement, Partition, ProduceError};
use transaction::{Transactional, Verdicts};

mod transaction;

/// The first version that names topics by id (KIP-516).
const FIRST_VERSION_WITH_TOPIC_IDS: i16 = 13;
/// The first version that tells who leads where this broker does not (KIP-951).
const FIRST_VERSION_WITH_LEADER_HINTS: i16 = 10;

/// Appends every batch at once, in the order of the connection; then waits, where asked to, until all of them are
/// as safe as the producer wants.
pub fn produce(broker: &Arc<Broker>, call: Call, request: ProduceRequest) -> Answer {
    if request.transactional_id.is_none() && has_transactional_records(&request) {
        return call.respond(&refuse_all(&request, ErrorCode::TransactionalIdAuthorizationFailed)).into();
    }
    let Some(acknowledgement) = Acknowledgement::from_acks(request.acks) else {
        return call.respond(&refuse_all(&request, ErrorCode::InvalidRequiredAcks)).into();
    };
    match transaction::begin(broker, &call, &request) {
        Transactional::No => write(broker, call, request, acknowledgement, Verdicts::default()),
        Transactional::Refused(code) => call.respond(&refuse_all(&request, code)).into(),
        Transactional::Verified(verdicts) => write(broker, call, request, acknowledgement, verdicts),
        Transactional::GoesOn(verification) => {
            let broker = broker.clone();
            Answer::later(async move {
                let verdicts = verification.await;
                match write(&broker, call, request, acknowledgement, verdicts) {
                    Answer::Ready(response) => response,
                    Answer::Later(future) | Answer::Patient(future) => future.await,
                }
            })
        }
    }
}

/// Appends what may be appended.
fn write(
    broker: &Arc<Broker>,
    call: Call,
    request: ProduceRequest,
    acknowledgement: Acknowledgement,
    verdicts: Verdicts,
) -> Answer {
    let now = broker.host.wall_clock();
    let mut response = ProduceResponse::default();
    let mut waits: Vec<Wait> = Vec::new();
    let mut failed = false;
    let with_ids = call.version >= FIRST_VERSION_WITH_TOPIC_IDS;
    for (topic_place, topic) in request.topic_data.into_iter().enumerate() {
        let resolved = broker.resolve_topic(with_ids, &topic.name, topic.topic_id);
        let mut answers = Vec::with_capacity(topic.partition_data.len());
        for (place, data) in topic.partition_data.into_iter().enumerate() {
            let index = data.index;
            let outcome = match verdicts.of(topic_place, place) {
                Ok(guard) => append(broker, &call, &resolved, data, acknowledgement, guard, now),
                Err(code) => Err(ProduceError::Code(code)),
            };
            let answer = match outcome {
                Ok((partition, appended, log_append_time)) => {
                    let place = (response.responses.len(), answers.len());
                    let wait = Wait { place, partition, appended };
                    // The only replica in sync has it already.
                    let asks = appended.flush_first || acknowledgement == Acknowledgement::AllInSync;
                    if asks && !wait.is_over() {
                        waits.push(wait);
                    }
                    appended_answer(index, &appended, log_append_time)
                }
                Err(error) => {
                    failed = true;
                    refused_answer(broker, &call, index, &resolved, error)
                }
            };
            answers.push(answer);
        }
        response.responses.push(TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses: answers,
            ..Default::default()
        });
    }
    add_endpoints(broker, &call, &mut response);
    if acknowledgement == Acknowledgement::Nobody {
        // A producer that wants no answer learns of a refusal by losing its connection.
        return if failed { Response::close().into() } else { Response::nothing().into() };
    }
    if waits.is_empty() {
        return call.respond(&response).into();
    }
    let broker = broker.clone();
    let timeout = std::time::Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    Answer::later(async move {
        let deadline = call.received + timeout;
        for wait in waits {
            if let Err(code) = until_committed(&broker, &wait.partition, &wait.appended, deadline).await {
                let (topic, partition) = wait.place;
                let answer = &mut response.responses[topic].partition_responses[partition];
                *answer = PartitionProduceResponse { index: answer.index, ..error_answer(code) };
            }
        }
        call.respond(&response)
    })
}

/// Whether a batch says that it belongs to a transaction. What cannot be read says nothing.
fn has_transactional_records(request: &ProduceRequest) -> bool {
    let partitions = request.topic_data.iter().flat_map(|it| &it.partition_data);
    let records = partitions.filter_map(|it| it.records.as_ref());
    let is_transactional = |it: StoredBatch<'_>| match it {
        StoredBatch::V2(batch) => batch.header().is_transactional(),
        StoredBatch::Legacy(_) => false,
    };
    records.flat_map(|it| Batches::new(it)).flatten().any(is_transactional)
}

/// The partition that a producer may write to, if this broker has it.
fn destination(
    broker: &Broker,
    call: &Call,
    topic: &ResolvedTopic,
    index: i32,
) -> Result<Arc<Partition>, ErrorCode> {
    let (topic_id, name, partition_count) = topic.as_ref().map_err(|code| *code)?;
    if crate::topic::is_internal(name) && !call.is_from_admin_client() {
        return Err(ErrorCode::InvalidTopicException);
    }
    if !(0..*partition_count).contains(&index) {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    broker.partitions.get_hosted(*topic_id, index)
}

type AppendOutcome = Result<(Arc<Partition>, Appended, Option<Timestamp>), ProduceError>;

fn append(
    broker: &Arc<Broker>,
    call: &Call,
    topic: &ResolvedTopic,
    data: PartitionProduceData,
    acknowledgement: Acknowledgement,
    guard: VerificationGuard,
    now: Timestamp,
) -> AppendOutcome {
    let partition = destination(broker, call, topic, data.index).map_err(ProduceError::Code)?;
    let records = data.records.unwrap_or_default();
    let bytes = records.len() as u64;
    let all = &broker.metrics.all_topics;
    for counters in [all, &*partition.counters] {
        counters.total_produce_requests.increment();
    }
    match partition.append(call.version, records, acknowledgement, guard, now) {
        Ok((appended, accepted)) => {
            let count = u64::try_from(appended.end.get() - appended.first.get()).unwrap_or(0);
            for counters in [all, &*partition.counters] {
                counters.bytes_in.add(bytes);
                counters.messages_in.add(count);
                counters.produce_message_conversions.add(u64::from(accepted.rebuilt));
            }
            Ok((partition, appended, accepted.log_append_time))
        }
        Err(error) => {
            for counters in [all, &*partition.counters] {
                count_refusal(counters, &error, bytes);
            }
            Err(error)
        }
    }
}

fn count_refusal(counters: &crate::metrics::topics::TopicCounters, error: &ProduceError, bytes: u64) {
    match error.error_code() {
        // What the producer did wrong is not a failure of the broker.
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
            counters.bytes_rejected.add(bytes);
            return;
        }
        ErrorCode::CorruptMessage => counters.invalid_message_crc_records.increment(),
        ErrorCode::OutOfOrderSequenceNumber => counters.invalid_offset_or_sequence_records.increment(),
        _ => {}
    }
    counters.failed_produce_requests.increment();
}

/// Something a producer waits for.
struct Wait {
    /// Where the answer stands: topic, then partition.
    place: (usize, usize),
    partition: Arc<Partition>,
    appended: Appended,
}

impl Wait {
    fn is_over(&self) -> bool {
        !self.appended.flush_first && self.partition.log().view().high_watermark >= self.appended.end
    }
}

fn appended_answer(
    index: i32,
    appended: &Appended,
    log_append_time: Option<Timestamp>,
) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        base_offset: appended.first.get(),
        // Of a batch that had been there, Kafka tells the latest time in it.
        log_append_time_ms: match appended.duplicate {
            Duplicate::Yes => appended.max_timestamp.get(),
            Duplicate::No => log_append_time.unwrap_or(Timestamp::NONE).get(),
        },
        log_start_offset: appended.log_start.get(),
        ..Default::default()
    }
}

fn error_answer(code: ErrorCode) -> PartitionProduceResponse {
    PartitionProduceResponse { error_code: code.code(), base_offset: -1, ..Default::default() }
}

fn refused_answer(
    broker: &Broker,
    call: &Call,
    index: i32,
    topic: &ResolvedTopic,
    error: ProduceError,
) -> PartitionProduceResponse {
    let code = error.error_code();
    let log_start_offset = match &error {
        ProduceError::Refused(_) | ProduceError::Append(_) => known_log_start(broker, index, topic, code),
        ProduceError::Malformed(_) | ProduceError::Code(_) => -1,
    };
    let mut answer = PartitionProduceResponse { index, log_start_offset, ..error_answer(code) };
    match error {
        ProduceError::Refused(refusal) if !refusal.record_errors.is_empty() => {
            answer.error_message = Some(Str::from(refusal.message));
            let told = |it: ottla_record::RecordRefusal| BatchIndexAndErrorMessage {
                batch_index: it.batch_index,
                batch_index_error_message: Some(Str::from(it.message)),
                ..Default::default()
            };
            answer.record_errors = refusal.record_errors.into_iter().map(told).collect();
        }
        ProduceError::Malformed(refusal) | ProduceError::Refused(refusal) => {
            tracing::debug!(partition = index, code = %refusal.code, reason = refusal.message, "a batch was refused");
        }
        ProduceError::Append(_) | ProduceError::Code(_) => {}
    }
    if call.version >= FIRST_VERSION_WITH_LEADER_HINTS
        && code == ErrorCode::NotLeaderOrFollower
        && let Ok((topic_id, ..)) = topic
        && let Some((leader, epoch)) = leader_hint::leader(broker, *topic_id, index)
    {
        answer.current_leader =
            LeaderIdAndEpoch { leader_id: leader.get(), leader_epoch: epoch.get(), ..Default::default() };
    }
    answer
}

/// Where the log begins that refused a batch. Kafka tells it unless the batch was too large or corrupt, or the log
/// itself the reason.
fn known_log_start(broker: &Broker, index: i32, topic: &ResolvedTopic, code: ErrorCode) -> i64 {
    let untold = [
        ErrorCode::MessageTooLarge,
        ErrorCode::RecordListTooLarge,
        ErrorCode::CorruptMessage,
        ErrorCode::KafkaStorageError,
        ErrorCode::NotLeaderOrFollower,
    ];
    let Ok((topic_id, ..)) = topic else { return -1 };
    match broker.partitions.get(*topic_id, index) {
        Some(partition) if !untold.contains(&code) => partition.log().view().log_start.get(),
        _ => -1,
    }
}

/// Tells where the leaders are that answers point to.
fn add_endpoints(broker: &Broker, call: &Call, response: &mut ProduceResponse) {
    let partitions = response.responses.iter().flat_map(|it| &it.partition_responses);
    let leaders = partitions.map(|it| it.current_leader.leader_id);
    response.node_endpoints = leader_hint::endpoints(broker, call, leaders)
        .into_iter()
        .map(|it| NodeEndpoint {
            node_id: it.node_id.get(),
            host: it.host,
            port: it.port,
            rack: it.rack,
            ..Default::default()
        })
        .collect();
}

fn refuse_all(request: &ProduceRequest, code: ErrorCode) -> ProduceResponse {
    let partition =
        |it: &PartitionProduceData| PartitionProduceResponse { index: it.index, ..error_answer(code) };
    let topics = request.topic_data.iter().map(|topic| TopicProduceResponse {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partition_responses: topic.partition_data.iter().map(partition).collect(),
        ..Default::default()
    });
    ProduceResponse { responses: topics.collect(), ..Default::default() }
}
