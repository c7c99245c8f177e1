//! Blocks of producer ids (KIP-730).

use ottla_base::{ErrorCode, NodeId, ProducerId};
use ottla_wire::messages::allocate_producer_ids_request::AllocateProducerIdsRequest;
use ottla_wire::messages::allocate_producer_ids_response::AllocateProducerIdsResponse;
use ottla_wire::records::metadata::{MetadataRecord, ProducerIdsRecord};

use super::{Decided, Deciding};

/// How many ids a broker gets at once.
const BLOCK_LEN: i32 = 1000;

pub(super) fn decide(
    deciding: &mut Deciding<'_>,
    request: AllocateProducerIdsRequest,
) -> Decided<AllocateProducerIdsResponse> {
    let refused = |code: ErrorCode| {
        Decided::reply(AllocateProducerIdsResponse { error_code: code as i16, ..Default::default() })
    };
    if let Err(refusal) = deciding.current_broker(NodeId(request.broker_id), request.broker_epoch) {
        return refused(refusal.code);
    }
    let first = deciding.image.next_producer_id.unwrap_or(ProducerId(0)).get();
    let Some(next) = first.checked_add(i64::from(BLOCK_LEN)) else {
        return refused(ErrorCode::UnknownServerError);
    };
    let record = ProducerIdsRecord {
        broker_id: request.broker_id,
        broker_epoch: request.broker_epoch,
        next_producer_id: next,
        ..Default::default()
    };
    let reply = AllocateProducerIdsResponse {
        producer_id_start: first,
        producer_id_len: BLOCK_LEN,
        ..Default::default()
    };
    Decided::together(vec![MetadataRecord::ProducerIdsRecord(record)], reply)
}
