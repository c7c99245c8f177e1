//! InitProducerId (key 22), versions 0 to 5: an id for an idempotent producer (KIP-98), or a transactional id for a
//! producer that takes it over (KIP-360, KIP-939).

use std::sync::Arc;

use ottla_base::{ErrorCode, ProducerEpoch, ProducerId};
use ottla_coordinator::group::Producer;
use ottla_coordinator::transaction::{
    CommitProtocol, Decline, InitProducerId, PreparedTransaction, Reply, Request,
};
use ottla_net::Answer;
use ottla_wire::messages::init_producer_id_request::InitProducerIdRequest;
use ottla_wire::messages::init_producer_id_response::InitProducerIdResponse;

use crate::broker::Broker;
use crate::call::Call;
use crate::producer_ids;
use crate::shard::{Asked, Given};

/// The first version whose clients know `PRODUCER_FENCED`.
const FIRST_VERSION_WITH_FENCED: i16 = 4;

/// Draws an id, or gives a transactional id to the producer.
pub fn init_producer_id(broker: &Arc<Broker>, call: Call, request: InitProducerIdRequest) -> Answer {
    // An id without an epoch or the other way round is a mistake of the client.
    let expected = match (ProducerId(request.producer_id), ProducerEpoch(request.producer_epoch)) {
        (ProducerId::NONE, ProducerEpoch::NONE) => None,
        (ProducerId::NONE, _) | (_, ProducerEpoch::NONE) => {
            return call.respond(&response(Err(ErrorCode::InvalidRequest))).into();
        }
        (id, epoch) => Some(Producer { id, epoch }),
    };
    let Some(transactional_id) = request.transactional_id else {
        let broker = broker.clone();
        return Answer::later(async move {
            let drawn = producer_ids::next(&broker).await;
            call.respond(&response(drawn.map(|id| Producer { id, epoch: ProducerEpoch(0) })))
        });
    };
    if transactional_id.is_empty() {
        // Before anybody is looked for who might keep it.
        return call.respond(&response(Err(ErrorCode::InvalidRequest))).into();
    }
    let wanted = InitProducerId {
        transactional_id,
        timeout_ms: request.transaction_timeout_ms,
        commit: match request.enable2_pc {
            true => CommitProtocol::TwoPhase,
            false => CommitProtocol::OnePhase,
        },
        prepared: match request.keep_prepared_txn {
            true => PreparedTransaction::Keep,
            false => PreparedTransaction::Abort,
        },
        expected,
        fresh: None,
    };
    let mut asked = ask(broker, &wanted);
    if let Asked::Here(given) = &mut asked
        && let Some(given) = given.take_if(|it| !needs_id(it))
    {
        return call.respond(&response(outcome(&call, given))).into();
    }
    let broker = broker.clone();
    Answer::later(async move {
        let mut given = asked.await;
        if needs_id(&given) {
            given = match producer_ids::next(&broker).await {
                Ok(id) => ask(&broker, &InitProducerId { fresh: Some(id), ..wanted }).await,
                Err(code) => Err(code),
            };
        }
        call.respond(&response(outcome(&call, given)))
    })
}

fn ask(broker: &Arc<Broker>, wanted: &InitProducerId) -> Asked<Reply> {
    let request = Request::InitProducerId(wanted.clone());
    broker.coordinators.transactions.ask(broker, &wanted.transactional_id, request)
}

fn needs_id(given: &Given<Reply>) -> bool {
    matches!(given, Ok(Reply::InitProducerId(Err(Decline::NeedsProducerId))))
}

fn outcome(call: &Call, given: Given<Reply>) -> Result<Producer, ErrorCode> {
    match given {
        Ok(Reply::InitProducerId(Ok(producer))) => Ok(producer),
        Ok(Reply::InitProducerId(Err(Decline::Refused(ErrorCode::ProducerFenced))))
            if call.version < FIRST_VERSION_WITH_FENCED =>
        {
            Err(ErrorCode::InvalidProducerEpoch)
        }
        Ok(Reply::InitProducerId(Err(Decline::Refused(code)))) | Err(code) => Err(code),
        Ok(_) => Err(ErrorCode::UnknownServerError),
    }
}

fn response(outcome: Result<Producer, ErrorCode>) -> InitProducerIdResponse {
    let (producer, code) = match outcome {
        Ok(producer) => (producer, ErrorCode::None),
        Err(code) => (Producer { id: ProducerId::NONE, epoch: ProducerEpoch::NONE }, code),
    };
    InitProducerIdResponse {
        error_code: code.code(),
        producer_id: producer.id.get(),
        producer_epoch: producer.epoch.get(),
        ..Default::default()
    }
}
