//! TxnOffsetCommit (key 28), versions 0 to 6: offsets of a group, committed with a producer's transaction. Since version
//! 5 this adds the group's partition to the transaction (KIP-890); by topic ids since version 6.

use std::sync::Arc;

use ottla_base::{ErrorCode, PartitionIndex, ProducerEpoch, ProducerId};
use ottla_coordinator::group::{
    CommitTransactionalOffsets, Producer, Reply, Request, txn_offset_commit_refused,
};
use ottla_net::{Answer, Response};
use ottla_record::NO_SEQUENCE;
use ottla_storage::producer_state::{ProducerOrigin, VerificationGuard};
use ottla_wire::messages::txn_offset_commit_request::TxnOffsetCommitRequest;
use ottla_wire::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

use super::group_client::client;
use crate::broker::Broker;
use crate::call::Call;
use crate::shard::{Asked, Given};
use crate::verification::{self, Candidate, Claim, Operation, Purpose, Verification};

/// The first version that names topics by id.
const FIRST_VERSION_WITH_IDS: i16 = 6;
/// The first version whose clients know `COORDINATOR_LOAD_IN_PROGRESS`.
const FIRST_VERSION_WITH_LOADING: i16 = 2;

/// Commits offsets that count once the transaction is committed.
pub fn txn_offset_commit(broker: &Arc<Broker>, call: Call, request: TxnOffsetCommitRequest) -> Answer {
    let (request, refused) = without_unknown(broker, call.version, request);
    let answer = Answering { call, refused };
    if request.topics.is_empty() {
        return answer.respond(TxnOffsetCommitResponse::default()).into();
    }
    if request.group_id.is_empty() {
        return answer.refuse(&request, ErrorCode::InvalidGroupId).into();
    }
    let groups = &broker.coordinators.groups;
    let Some(index) = groups.index_of(broker, &request.group_id) else {
        return answer.refuse(&request, ErrorCode::NotCoordinator).into();
    };
    let Some(partition) = groups.partition(index) else {
        return answer.refuse(&request, ErrorCode::NotCoordinator).into();
    };
    let claim = Claim {
        transactional_id: request.transactional_id.clone(),
        producer: Producer {
            id: ProducerId(request.producer_id),
            epoch: ProducerEpoch(request.producer_epoch),
        },
        operation: Operation::of_txn_offset_commit(answer.call.version),
        purpose: Purpose::CommitOffsets,
    };
    let candidate = Candidate { partition, first_sequence: NO_SEQUENCE };
    let commit = Commit { broker: broker.clone(), index, request, answer };
    match verification::verify(broker, claim, vec![candidate]) {
        Verification::Done(verdicts) => match commit.ask(verdicts) {
            Asked::Here(Some(given)) => commit.finish(given).into(),
            asked => Answer::later(async move { commit.finish(asked.await) }),
        },
        Verification::GoesOn(verifying) => Answer::later(async move {
            let asked = commit.ask(verifying.await);
            commit.finish(asked.await)
        }),
    }
}

/// A commit on its way.
struct Commit {
    broker: Arc<Broker>,
    index: i32,
    request: TxnOffsetCommitRequest,
    answer: Answering,
}

impl Commit {
    /// Puts the commit before the group, with the proof that it belongs to a transaction.
    fn ask(&self, verdicts: verification::Verdicts) -> Asked<Box<Reply>> {
        let guard = match verdicts.into_iter().next().unwrap_or(Ok(VerificationGuard::NONE)) {
            Ok(guard) => guard,
            Err(code) => return Asked::refused(code),
        };
        let request = Request::CommitTransactionalOffsets(CommitTransactionalOffsets {
            client: client(&self.answer.call),
            request: self.request.clone(),
        });
        let origin = ProducerOrigin::Coordinator(guard);
        self.broker.coordinators.groups.ask_at(&self.broker, self.index, request, origin)
    }

    fn finish(self, given: Given<Box<Reply>>) -> Response {
        match given.map(|it| *it) {
            Ok(Reply::CommitTransactionalOffsets(response)) => self.answer.respond(response),
            Ok(_) => self.answer.refuse(&self.request, ErrorCode::UnknownServerError),
            Err(code) => self.answer.refuse(&self.request, told(code)),
        }
    }
}

/// What a client is told that has asked a coordinator and knows of no partition behind it
/// (`CoordinatorOperationExceptionHelper`).
fn told(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        code => code,
    }
}

/// Takes the partitions out that do not exist; they are answered here. What is left has names and ids.
fn without_unknown(
    broker: &Broker,
    version: i16,
    mut request: TxnOffsetCommitRequest,
) -> (TxnOffsetCommitRequest, Vec<TxnOffsetCommitResponseTopic>) {
    let image = broker.image.load();
    let by_id = version >= FIRST_VERSION_WITH_IDS;
    let mut refused = Vec::new();
    for topic in &mut request.topics {
        let found = if by_id { image.topics.get(topic.topic_id) } else { image.topics.named(&topic.name) };
        if let Some(found) = found {
            topic.name = found.name.clone();
            topic.topic_id = found.id;
        }
        let code = match found {
            None if by_id => ErrorCode::UnknownTopicId,
            _ => ErrorCode::UnknownTopicOrPartition,
        };
        let exists = |index: i32| {
            found.is_some_and(|it| image.topics.partition(it.id, PartitionIndex(index)).is_some())
        };
        let unknown = topic.partitions.extract_if(.., |it| !exists(it.partition_index));
        let unknown = unknown.map(|it| TxnOffsetCommitResponsePartition {
            partition_index: it.partition_index,
            error_code: code.code(),
            ..Default::default()
        });
        let partitions: Vec<_> = unknown.collect();
        if !partitions.is_empty() {
            let (name, topic_id) = (topic.name.clone(), topic.topic_id);
            refused.push(TxnOffsetCommitResponseTopic { name, topic_id, partitions, ..Default::default() });
        }
    }
    request.topics.retain(|it| !it.partitions.is_empty());
    (request, refused)
}

/// Who is answered, and what is known already.
struct Answering {
    call: Call,
    refused: Vec<TxnOffsetCommitResponseTopic>,
}

impl Answering {
    fn refuse(self, request: &TxnOffsetCommitRequest, code: ErrorCode) -> Response {
        self.respond(txn_offset_commit_refused(request, code))
    }

    fn respond(self, response: TxnOffsetCommitResponse) -> Response {
        let Answering { call, refused: mut topics } = self;
        for topic in response.topics {
            match topics.iter_mut().find(|it| it.name == topic.name && it.topic_id == topic.topic_id) {
                Some(known) => known.partitions.extend(topic.partitions),
                None => topics.push(topic),
            }
        }
        if call.version < FIRST_VERSION_WITH_LOADING {
            for partition in topics.iter_mut().flat_map(|it| &mut it.partitions) {
                // Such clients may crash on it (KAFKA-7296).
                if partition.error_code == ErrorCode::CoordinatorLoadInProgress.code() {
                    partition.error_code = ErrorCode::CoordinatorNotAvailable.code();
                }
            }
        }
        call.respond(&TxnOffsetCommitResponse { topics, ..Default::default() })
    }
}
