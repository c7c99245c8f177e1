//! JoinGroup (key 11), versions 0 to 9: somebody becomes a member of a group by the classic protocol, or takes part in a
//! rebalance. The answer mostly comes when everybody has joined.

use std::sync::Arc;

use ottla_base::{ErrorCode, Str};
use ottla_coordinator::group::{JoinGroup, Reply, Request};
use ottla_net::Answer;
use ottla_wire::messages::join_group_request::JoinGroupRequest;
use ottla_wire::messages::join_group_response::JoinGroupResponse;

use super::group_client::client;
use crate::broker::Broker;
use crate::call::Call;
use crate::shard::answer;

const FIRST_VERSION_WITHOUT_A_NAME: i16 = 7;

/// Lets somebody join.
pub fn join_group(broker: &Arc<Broker>, call: Call, request: JoinGroupRequest) -> Answer {
    let group = request.group_id.clone();
    let asked = Request::JoinGroup(JoinGroup { client: client(&call), request });
    // A rebalance takes as long as its members like.
    answer(broker.coordinators.groups.ask(broker, &group, asked), move |given| {
        let reply = match given.map(|it| *it) {
            Ok(Reply::JoinGroup(reply)) => reply,
            Ok(_) => refused(ErrorCode::UnknownServerError),
            Err(code) => refused(code),
        };
        call.respond(&as_told(reply, call.version))
    })
    .patiently()
}

fn refused(code: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse { error_code: code.code(), ..Default::default() }
}

/// A refusal names no protocol; older versions cannot say that there is none.
fn as_told(mut reply: JoinGroupResponse, version: i16) -> JoinGroupResponse {
    if reply.error_code != ErrorCode::None.code() {
        reply.protocol_name = None;
    }
    if version < FIRST_VERSION_WITHOUT_A_NAME {
        reply.protocol_name.get_or_insert_with(Str::default);
    }
    reply
}
