//! DeleteGroups (key 42), versions 0 to 3: empty groups go, of every kind, with their committed offsets.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_base::{ErrorCode, Str};
use ottla_coordinator::group::{Reply, Request};
use ottla_net::Answer;
use ottla_wire::messages::delete_groups_request::DeleteGroupsRequest;
use ottla_wire::messages::delete_groups_response::{DeletableGroupResult, DeleteGroupsResponse};

use crate::broker::Broker;
use crate::call::Call;

/// Deletes groups, each at the coordinator that has it.
pub fn delete_groups(broker: &Arc<Broker>, call: Call, request: DeleteGroupsRequest) -> Answer {
    let mut seen = BTreeSet::new();
    let distinct = request.groups_names.into_iter().filter(|group| seen.insert(group.clone()));
    let asked: Vec<(Str, _)> = distinct
        .map(|group| {
            let delete = Request::DeleteGroup(group.clone());
            let asked = broker.coordinators.groups.ask(broker, &group, delete);
            (group, asked)
        })
        .collect();
    Answer::later(async move {
        let mut results = Vec::with_capacity(asked.len());
        for (group, asked) in asked {
            results.push(match asked.await.map(|it| *it) {
                Ok(Reply::DeleteGroup(result)) => result,
                Ok(_) => refused(group, ErrorCode::UnknownServerError),
                Err(code) => refused(group, code),
            });
        }
        call.respond(&DeleteGroupsResponse { results, ..Default::default() })
    })
}

fn refused(group_id: Str, code: ErrorCode) -> DeletableGroupResult {
    DeletableGroupResult { group_id, error_code: code.code(), ..Default::default() }
}
