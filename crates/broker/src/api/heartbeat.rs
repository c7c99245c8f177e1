//! Heartbeat (key 12), versions 0 to 4: a member reports by the classic protocol, and hears whether it has to join
//! again.

use std::sync::Arc;

use ottla_base::ErrorCode;
use ottla_coordinator::group::{Heartbeat, Reply, Request};
use ottla_net::Answer;
use ottla_wire::messages::heartbeat_request::HeartbeatRequest;
use ottla_wire::messages::heartbeat_response::HeartbeatResponse;

use super::group_client::client;
use crate::broker::Broker;
use crate::call::Call;
use crate::shard::answer;

/// Hears of a member.
pub fn heartbeat(broker: &Arc<Broker>, call: Call, request: HeartbeatRequest) -> Answer {
    let group = request.group_id.clone();
    let asked = Request::Heartbeat(Heartbeat { client: client(&call), request });
    answer(broker.coordinators.groups.ask(broker, &group, asked), move |given| {
        let reply = match given.map(|it| *it) {
            Ok(Reply::Heartbeat(reply)) => reply,
            Ok(_) => coded(ErrorCode::UnknownServerError),
            // Sessions begin anew when the coordinator has loaded; until then members just go on.
            Err(ErrorCode::CoordinatorLoadInProgress) => coded(ErrorCode::None),
            Err(code) => coded(code),
        };
        call.respond(&reply)
    })
}

fn coded(code: ErrorCode) -> HeartbeatResponse {
    HeartbeatResponse { error_code: code.code(), ..Default::default() }
}
