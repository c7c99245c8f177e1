//! What a transactional produce has to know before it is written: which of its partitions the coordinator confirms.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ottla_base::{ErrorCode, ProducerId};
use ottla_coordinator::group::Producer;
use ottla_record::{BatchHeader, Batches, StoredBatch};
use ottla_storage::producer_state::VerificationGuard;
use ottla_wire::messages::produce_request::ProduceRequest;

use super::{FIRST_VERSION_WITH_TOPIC_IDS, destination};
use crate::broker::Broker;
use crate::call::Call;
use crate::verification::{self, Candidate, Claim, Operation, Purpose, Verification};

/// What has to be done about a request's transaction.
pub(super) enum Transactional {
    /// It has none.
    No,
    /// It cannot be.
    Refused(ErrorCode),
    /// It is known what may be written.
    Verified(Verdicts),
    /// It will be known.
    GoesOn(Pin<Box<dyn Future<Output = Verdicts> + Send>>),
}

/// By topic and partition, as they stand in the request: the proof of the transaction, or why there is none.
#[derive(Debug, Default)]
pub(super) struct Verdicts(BTreeMap<(usize, usize), Result<VerificationGuard, ErrorCode>>);

impl Verdicts {
    /// The verdict on a partition; nothing is proved about one that needed no proof.
    pub(super) fn of(&self, topic: usize, partition: usize) -> Result<VerificationGuard, ErrorCode> {
        self.0.get(&(topic, partition)).copied().unwrap_or(Ok(VerificationGuard::NONE))
    }
}

/// Has the coordinator confirm whatever a request writes first to a partition in its transaction.
pub(super) fn begin(broker: &Arc<Broker>, call: &Call, request: &ProduceRequest) -> Transactional {
    let Some(transactional_id) = &request.transactional_id else { return Transactional::No };
    let by_id = call.version >= FIRST_VERSION_WITH_TOPIC_IDS;
    let mut producer = None;
    let mut places = Vec::new();
    let mut candidates = Vec::new();
    for (topic_place, topic) in request.topic_data.iter().enumerate() {
        let resolved = broker.resolve_topic(by_id, &topic.name, topic.topic_id);
        for (place, data) in topic.partition_data.iter().enumerate() {
            let Some(records) = &data.records else { continue };
            let mut is_transactional = false;
            for batch in transactional(records) {
                let its = Producer { id: batch.producer_id(), epoch: batch.producer_epoch() };
                if *producer.get_or_insert(its) != its {
                    return Transactional::Refused(ErrorCode::InvalidProducerIdMapping);
                }
                is_transactional = true;
            }
            // What has no place to go to is refused when it is written.
            if is_transactional
                && let Ok(partition) = destination(broker, call, &resolved, data.index)
                && let Some(first_sequence) = first_sequence(records)
            {
                places.push((topic_place, place));
                candidates.push(Candidate { partition, first_sequence });
            }
        }
    }
    let Some(producer) = producer.filter(|_| !candidates.is_empty()) else { return Transactional::No };
    let claim = Claim {
        transactional_id: transactional_id.clone(),
        producer,
        operation: Operation::of_produce(call.version),
        purpose: Purpose::Produce,
    };
    let verdicts = |all: verification::Verdicts| Verdicts(places.into_iter().zip(all).collect());
    match verification::verify(broker, claim, candidates) {
        Verification::Done(all) => Transactional::Verified(verdicts(all)),
        Verification::GoesOn(future) => {
            Transactional::GoesOn(Box::pin(async move { verdicts(future.await) }))
        }
    }
}

/// The headers of the batches that belong to a transaction. What cannot be read is refused when it is written.
fn transactional(records: &[u8]) -> impl Iterator<Item = BatchHeader> + '_ {
    let headers = Batches::new(records).flatten().filter_map(|batch| match batch {
        StoredBatch::V2(batch) => Some(*batch.header()),
        StoredBatch::Legacy(_) => None,
    });
    headers.filter(|it| it.is_transactional() && it.producer_id() != ProducerId::NONE)
}

fn first_sequence(records: &[u8]) -> Option<i32> {
    match Batches::new(records).next()?.ok()? {
        StoredBatch::V2(batch) => Some(batch.header().base_sequence()),
        StoredBatch::Legacy(_) => None,
    }
}
