//! ConsumerGroupHeartbeat (key 68), versions 0 and 1: a member of a consumer group joins, reports or leaves (KIP-848).
//! Who may subscribe to which topic is not checked: there is no authorizer.

use std::sync::Arc;

use ottla_base::ErrorCode;
use ottla_coordinator::group::{ConsumerGroupHeartbeat, Reply, Request};
use ottla_metadata::Feature;
use ottla_net::Answer;
use ottla_wire::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use ottla_wire::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;

use super::group_client::client;
use crate::broker::Broker;
use crate::call::Call;
use crate::shard::answer;

/// Hears of a member.
pub fn consumer_group_heartbeat(
    broker: &Arc<Broker>,
    call: Call,
    request: ConsumerGroupHeartbeatRequest,
) -> Answer {
    if !is_enabled(broker) {
        return call.respond(&coded(ErrorCode::UnsupportedVersion)).into();
    }
    let group = request.group_id.clone();
    let asked =
        Request::ConsumerGroupHeartbeat(ConsumerGroupHeartbeat { client: client(&call), message: request });
    answer(broker.coordinators.groups.ask(broker, &group, asked), move |given| {
        let reply = match given.map(|it| *it) {
            Ok(Reply::ConsumerGroupHeartbeat(reply)) => reply,
            Ok(_) => coded(ErrorCode::UnknownServerError),
            Err(code) => coded(code),
        };
        call.respond(&reply)
    })
}

/// Whether the cluster has consumer groups (`isConsumerGroupProtocolEnabled`).
pub(super) fn is_enabled(broker: &Broker) -> bool {
    let settings = broker.settings.load();
    settings.server.groups.group_coordinator_rebalance_protocols.iter().any(|it| it == "consumer")
        && broker.image.load().features.level(Feature::Group) >= 1
}

fn coded(code: ErrorCode) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse { error_code: code.code(), ..Default::default() }
}
