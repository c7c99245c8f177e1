//! LeaveGroup (key 13), versions 0 to 5: members leave by the classic protocol, one or several, by their ids or by their
//! instances' (KIP-345).

use std::sync::Arc;

use ottla_base::ErrorCode;
use ottla_coordinator::group::{LeaveGroup, Reply, Request};
use ottla_net::Answer;
use ottla_wire::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use ottla_wire::messages::leave_group_response::LeaveGroupResponse;

use super::group_client::client;
use crate::broker::Broker;
use crate::call::Call;
use crate::shard::answer;

const FIRST_VERSION_WITH_MANY: i16 = 3;

/// Lets members go.
pub fn leave_group(broker: &Arc<Broker>, call: Call, mut request: LeaveGroupRequest) -> Answer {
    if call.version < FIRST_VERSION_WITH_MANY {
        let member_id = std::mem::take(&mut request.member_id);
        request.members = vec![MemberIdentity { member_id, ..Default::default() }];
    }
    let group = request.group_id.clone();
    let asked = Request::LeaveGroup(LeaveGroup { client: client(&call), request });
    answer(broker.coordinators.groups.ask(broker, &group, asked), move |given| {
        let reply = match given.map(|it| *it) {
            Ok(Reply::LeaveGroup(reply)) => reply,
            Ok(_) => refused(ErrorCode::UnknownServerError.code()),
            Err(code) => refused(code.code()),
        };
        call.respond(&as_told(reply, call.version))
    })
}

fn refused(error_code: i16) -> LeaveGroupResponse {
    LeaveGroupResponse { error_code, ..Default::default() }
}

/// Older versions tell of their one member as of the whole.
fn as_told(reply: LeaveGroupResponse, version: i16) -> LeaveGroupResponse {
    match reply.members.first() {
        Some(member) if version < FIRST_VERSION_WITH_MANY && reply.error_code == 0 => {
            refused(member.error_code)
        }
        _ => reply,
    }
}
