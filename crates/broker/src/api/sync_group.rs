//! SyncGroup (key 14), versions 0 to 5: the leader of a classic group assigns, every member hears what it got.

use std::sync::Arc;

use ottla_base::ErrorCode;
use ottla_coordinator::group::{Reply, Request, SyncGroup};
use ottla_net::Answer;
use ottla_wire::messages::sync_group_request::SyncGroupRequest;
use ottla_wire::messages::sync_group_response::SyncGroupResponse;

use super::group_client::client;
use crate::broker::Broker;
use crate::call::Call;
use crate::shard::answer;

const FIRST_VERSION_WITH_PROTOCOL: i16 = 5;

/// Tells a member its assignment.
pub fn sync_group(broker: &Arc<Broker>, call: Call, request: SyncGroupRequest) -> Answer {
    let has_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if call.version >= FIRST_VERSION_WITH_PROTOCOL && !has_protocol {
        return call.respond(&refused(ErrorCode::InconsistentGroupProtocol)).into();
    }
    let group = request.group_id.clone();
    let asked = Request::SyncGroup(SyncGroup { client: client(&call), request });
    // A rebalance takes as long as its members like.
    answer(broker.coordinators.groups.ask(broker, &group, asked), move |given| {
        let reply = match given.map(|it| *it) {
            Ok(Reply::SyncGroup(reply)) => reply,
            Ok(_) => refused(ErrorCode::UnknownServerError),
            Err(code) => refused(code),
        };
        call.respond(&reply)
    })
    .patiently()
}

fn refused(code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: code.code(), ..Default::default() }
}
