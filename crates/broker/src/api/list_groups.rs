//! ListGroups (key 16), versions 0 to 5: every group that this broker coordinates, of every kind.

use std::sync::Arc;

use ottla_base::ErrorCode;
use ottla_coordinator::group::{ListGroups, Reply, Request};
use ottla_net::Answer;
use ottla_wire::messages::list_groups_request::ListGroupsRequest;
use ottla_wire::messages::list_groups_response::ListGroupsResponse;

use crate::broker::Broker;
use crate::call::Call;

/// Lists groups.
pub fn list_groups(broker: &Arc<Broker>, call: Call, request: ListGroupsRequest) -> Answer {
    let wanted = ListGroups { states: request.states_filter, kinds: request.types_filter };
    let asked = broker.coordinators.groups.ask_every(broker, || Request::ListGroups(wanted.clone()).into());
    Answer::later(async move {
        let mut groups = Vec::new();
        for asked in asked {
            let code = match asked.await.map(|it| *it) {
                Ok(Reply::ListGroups(listed)) => {
                    groups.extend(listed);
                    continue;
                }
                // Somebody else has its groups now.
                Err(ErrorCode::NotCoordinator) => continue,
                Ok(_) => ErrorCode::UnknownServerError,
                Err(code) => code,
            };
            let reply = ListGroupsResponse { error_code: code.code(), ..Default::default() };
            return call.respond(&reply);
        }
        call.respond(&ListGroupsResponse { groups, ..Default::default() })
    })
}
