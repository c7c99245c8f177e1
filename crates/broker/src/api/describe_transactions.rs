//! DescribeTransactions (key 65), version 0: how far the transactions of some transactional ids are (KIP-664).

use std::sync::Arc;

use ottla_base::{ErrorCode, Str};
use ottla_coordinator::transaction::{Reply, Request};
use ottla_net::Answer;
use ottla_wire::messages::describe_transactions_request::DescribeTransactionsRequest;
use ottla_wire::messages::describe_transactions_response::{DescribeTransactionsResponse, TransactionState};

use crate::broker::Broker;
use crate::call::Call;
use crate::shard::{Asked, Given};

/// Describes each transactional id.
pub fn describe_transactions(
    broker: &Arc<Broker>,
    call: Call,
    request: DescribeTransactionsRequest,
) -> Answer {
    let ask = |id: Str| {
        let asked = match id.is_empty() {
            true => Asked::refused(ErrorCode::InvalidRequest),
            false => broker.coordinators.transactions.ask(broker, &id, Request::Describe(id.clone())),
        };
        (id, asked)
    };
    let all: Vec<(Str, Asked<Reply>)> = request.transactional_ids.into_iter().map(ask).collect();
    Answer::later(async move {
        let mut transaction_states = Vec::with_capacity(all.len());
        for (id, asked) in all {
            transaction_states.push(state(id, asked.await));
        }
        call.respond(&DescribeTransactionsResponse { transaction_states, ..Default::default() })
    })
}

fn state(id: Str, given: Given<Reply>) -> TransactionState {
    let code = match given {
        Ok(Reply::Describe(state)) => return state,
        Ok(_) => ErrorCode::UnknownServerError,
        Err(code) => code,
    };
    TransactionState { error_code: code.code(), transactional_id: id, ..Default::default() }
}
