//! ListTransactions (key 66), versions 0 to 2: which transactional ids this broker coordinates, by producer, state, age
//! (KIP-994) and name (KIP-1152).
//!
//! Departure from Kafka: patterns are matched by `regex-lite`, which knows no Unicode classes.

use std::sync::Arc;

use ottla_base::{ErrorCode, ProducerId};
use ottla_coordinator::transaction::{ListFilter, Listed, Reply, Request, Status};
use ottla_net::Answer;
use ottla_wire::messages::list_transactions_request::ListTransactionsRequest;
use ottla_wire::messages::list_transactions_response::{ListTransactionsResponse, TransactionState};
use regex_lite::Regex;

use crate::broker::Broker;
use crate::call::Call;

/// Lists transactional ids.
pub fn list_transactions(broker: &Arc<Broker>, call: Call, request: ListTransactionsRequest) -> Answer {
    let pattern = match request.transactional_id_pattern.as_deref() {
        None | Some("") => None,
        // The whole id has to match.
        Some(pattern) => match Regex::new(&format!("^(?:{pattern})$")) {
            Ok(pattern) => Some(pattern),
            Err(_) => return call.respond(&refused(ErrorCode::InvalidRegularExpression)).into(),
        },
    };
    let (statuses, unknown): (Vec<_>, Vec<_>) =
        request.state_filters.into_iter().partition(|name| Status::is_known(name));
    let nothing_known = statuses.is_empty() && !unknown.is_empty();
    let filter = ListFilter {
        producer_ids: request.producer_id_filters.into_iter().map(ProducerId).collect(),
        statuses: statuses.into_iter().collect(),
        duration_ms: request.duration_filter,
    };
    let all = broker.coordinators.transactions.ask_every(broker, || Request::List(filter.clone()));
    Answer::later(async move {
        let mut response = ListTransactionsResponse { unknown_state_filters: unknown, ..Default::default() };
        for asked in all {
            match asked.await {
                Ok(Reply::List(rows)) => {
                    let matching = rows.into_iter().filter(|row| {
                        let matches = |it: &Regex| it.is_match(&row.transactional_id);
                        !nothing_known && pattern.as_ref().is_none_or(matches)
                    });
                    response.transaction_states.extend(matching.map(row));
                }
                // It has moved elsewhere, where it is listed.
                Err(ErrorCode::NotCoordinator) => {}
                Ok(_) => return call.respond(&refused(ErrorCode::UnknownServerError)),
                Err(code) => return call.respond(&refused(code)),
            }
        }
        call.respond(&response)
    })
}

fn refused(code: ErrorCode) -> ListTransactionsResponse {
    ListTransactionsResponse { error_code: code.code(), ..Default::default() }
}

fn row(listed: Listed) -> TransactionState {
    TransactionState {
        transactional_id: listed.transactional_id,
        producer_id: listed.producer_id.get(),
        transaction_state: listed.status.name().into(),
        ..Default::default()
    }
}
