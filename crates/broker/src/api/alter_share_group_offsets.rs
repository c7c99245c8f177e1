//! AlterShareGroupOffsets (key 91), version 0: an administrator sets where a share group without members reads
//! (KIP-932).

use std::sync::Arc;

use ottla_base::{ErrorCode, Str};
use ottla_coordinator::group::{Reply, Request};
use ottla_net::Answer;
use ottla_wire::messages::alter_share_group_offsets_request::AlterShareGroupOffsetsRequest;
use ottla_wire::messages::alter_share_group_offsets_response::AlterShareGroupOffsetsResponse;

use super::share_groups;
use crate::broker::Broker;
use crate::call::Call;
use crate::shard;

/// Asks the group's coordinator, who asks the share coordinator.
pub fn alter_share_group_offsets(
    broker: &Arc<Broker>,
    call: Call,
    request: AlterShareGroupOffsetsRequest,
) -> Answer {
    if !share_groups::are_enabled(broker) {
        return call.respond(&refused(ErrorCode::UnsupportedVersion)).into();
    }
    let group = request.group_id.clone();
    let asked = broker.coordinators.groups.ask(broker, &group, Request::AlterShareGroupOffsets(request));
    shard::answer(asked, move |given| match given.map(|it| *it) {
        Ok(Reply::AlterShareGroupOffsets(response)) => call.respond(&response),
        Ok(_) => call.respond(&refused(ErrorCode::UnknownServerError)),
        Err(code) => call.respond(&refused(code)),
    })
}

fn refused(code: ErrorCode) -> AlterShareGroupOffsetsResponse {
    AlterShareGroupOffsetsResponse {
        error_code: code.code(),
        error_message: Some(Str::from_static(code.message())),
        ..Default::default()
    }
}
