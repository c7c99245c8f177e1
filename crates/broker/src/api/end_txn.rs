//! EndTxn (key 26), versions 0 to 5: a producer commits or aborts its transaction. Since version 5 the answer tells the
//! producer who it is in the next one (KIP-890).

use std::sync::Arc;

use ottla_base::{ErrorCode, ProducerEpoch, ProducerId};
use ottla_coordinator::group::{Producer, TransactionResult};
use ottla_coordinator::transaction::{Decline, EPOCH_PER_TRANSACTION, EndTransaction, Reply, Request};
use ottla_net::Answer;
use ottla_wire::messages::end_txn_request::EndTxnRequest;
use ottla_wire::messages::end_txn_response::EndTxnResponse;

use crate::broker::Broker;
use crate::call::Call;
use crate::producer_ids;
use crate::shard::{Asked, Given};

/// The first version whose clients know `PRODUCER_FENCED`.
const FIRST_VERSION_WITH_FENCED: i16 = 2;
/// The first version whose clients have an epoch for each transaction.
const FIRST_VERSION_WITH_EPOCHS: i16 = 5;

/// Ends a transaction.
pub fn end_txn(broker: &Arc<Broker>, call: Call, request: EndTxnRequest) -> Answer {
    let wanted = EndTransaction {
        transactional_id: request.transactional_id,
        producer: Producer {
            id: ProducerId(request.producer_id),
            epoch: ProducerEpoch(request.producer_epoch),
        },
        result: match request.committed {
            true => TransactionResult::Committed,
            false => TransactionResult::Aborted,
        },
        version: if call.version >= FIRST_VERSION_WITH_EPOCHS { EPOCH_PER_TRANSACTION } else { 0 },
        fresh: None,
    };
    let mut asked = ask(broker, &wanted);
    if let Asked::Here(given) = &mut asked
        && let Some(given) = given.take_if(|it| !needs_id(it))
    {
        return call.respond(&response(&call, given)).into();
    }
    let broker = broker.clone();
    Answer::later(async move {
        let mut given = asked.await;
        if needs_id(&given) {
            given = match producer_ids::next(&broker).await {
                Ok(id) => ask(&broker, &EndTransaction { fresh: Some(id), ..wanted }).await,
                Err(code) => Err(code),
            };
        }
        call.respond(&response(&call, given))
    })
}

fn ask(broker: &Arc<Broker>, wanted: &EndTransaction) -> Asked<Reply> {
    let request = Request::End(wanted.clone());
    broker.coordinators.transactions.ask(broker, &wanted.transactional_id, request)
}

fn needs_id(given: &Given<Reply>) -> bool {
    matches!(given, Ok(Reply::End(Err(Decline::NeedsProducerId))))
}

fn response(call: &Call, given: Given<Reply>) -> EndTxnResponse {
    let code = match given {
        Ok(Reply::End(Ok(producer))) => {
            return EndTxnResponse {
                producer_id: producer.id.get(),
                producer_epoch: producer.epoch.get(),
                ..Default::default()
            };
        }
        Ok(Reply::End(Err(Decline::Refused(ErrorCode::ProducerFenced))))
            if call.version < FIRST_VERSION_WITH_FENCED =>
        {
            ErrorCode::InvalidProducerEpoch
        }
        Ok(Reply::End(Err(Decline::Refused(code)))) | Err(code) => code,
        Ok(_) => ErrorCode::UnknownServerError,
    };
    EndTxnResponse { error_code: code.code(), ..Default::default() }
}
