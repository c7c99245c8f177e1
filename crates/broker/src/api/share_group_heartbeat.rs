//! ShareGroupHeartbeat (key 76), version 1: a member of a share group joins, stays or goes (KIP-932).

use std::sync::Arc;

use ottla_base::ErrorCode;
use ottla_coordinator::group::{Reply, Request, ShareHeartbeat};
use ottla_net::Answer;
use ottla_wire::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use ottla_wire::messages::share_group_heartbeat_response::ShareGroupHeartbeatResponse;

use super::{group_client, share_groups};
use crate::broker::Broker;
use crate::call::Call;
use crate::shard;

/// Asks the group's coordinator.
pub fn share_group_heartbeat(
    broker: &Arc<Broker>,
    call: Call,
    request: ShareGroupHeartbeatRequest,
) -> Answer {
    if !share_groups::are_enabled(broker) {
        return call.respond(&refused(ErrorCode::UnsupportedVersion)).into();
    }
    let group = request.group_id.clone();
    let heartbeat =
        Request::ShareGroupHeartbeat(ShareHeartbeat { client: group_client::client(&call), request });
    let asked = broker.coordinators.groups.ask(broker, &group, heartbeat);
    shard::answer(asked, move |given| match given.map(|it| *it) {
        Ok(Reply::ShareGroupHeartbeat(response)) => call.respond(&response),
        Ok(_) => call.respond(&refused(ErrorCode::UnknownServerError)),
        Err(code) => call.respond(&refused(code)),
    })
}

fn refused(code: ErrorCode) -> ShareGroupHeartbeatResponse {
    ShareGroupHeartbeatResponse { error_code: code.code(), ..Default::default() }
}
