//! InitProducerId (key 22), versions 0 to 5: an id for an idempotent producer (KIP-98).
//!
//! A producer that renews its epoch sends the id it has (KIP-360); without a transactional id it gets a new one.
//! Transactional ids are answered `COORDINATOR_NOT_AVAILABLE`: this broker coordinates no transactions.

use std::sync::Arc;

use ottla_base::{ErrorCode, ProducerEpoch, ProducerId};
use ottla_net::Answer;
use ottla_wire::messages::init_producer_id_request::InitProducerIdRequest;
use ottla_wire::messages::init_producer_id_response::InitProducerIdResponse;

use crate::broker::Broker;
use crate::call::Call;
use crate::producer_ids;

/// Draws an id; asks the controller for more if there are none left.
pub fn init_producer_id(broker: &Arc<Broker>, call: Call, request: InitProducerIdRequest) -> Answer {
    let refusal = match request.transactional_id.as_deref() {
        Some("") => Some(ErrorCode::InvalidRequest),
        Some(_) => Some(ErrorCode::CoordinatorNotAvailable),
        // An id without an epoch or the other way round is a mistake of the client.
        None if (request.producer_id < 0) != (request.producer_epoch < 0) => Some(ErrorCode::InvalidRequest),
        None => None,
    };
    if let Some(code) = refusal {
        return call.respond(&response(Err(code))).into();
    }
    let broker = broker.clone();
    Answer::later(async move { call.respond(&response(producer_ids::next(&broker).await)) })
}

fn response(drawn: Result<ProducerId, ErrorCode>) -> InitProducerIdResponse {
    match drawn {
        Ok(id) => InitProducerIdResponse {
            producer_id: id.get(),
            producer_epoch: ProducerEpoch(0).get(),
            ..Default::default()
        },
        Err(code) => InitProducerIdResponse {
            error_code: code.code(),
            producer_id: ProducerId::NONE.get(),
            producer_epoch: ProducerEpoch::NONE.get(),
            ..Default::default()
        },
    }
}
