//! ConsumerGroupDescribe (key 69), versions 0 and 1: how consumer groups are, and who is in them (KIP-848).

use std::sync::Arc;

use ottla_base::{ErrorCode, Str};
use ottla_coordinator::group::{Reply, Request};
use ottla_net::Answer;
use ottla_wire::messages::consumer_group_describe_request::ConsumerGroupDescribeRequest;
use ottla_wire::messages::consumer_group_describe_response::{ConsumerGroupDescribeResponse, DescribedGroup};

use super::consumer_group_heartbeat::is_enabled;
use crate::authorized_operations;
use crate::broker::Broker;
use crate::call::Call;
use crate::shard::Asked;

/// Describes groups, each as the coordinator that has it.
pub fn consumer_group_describe(
    broker: &Arc<Broker>,
    call: Call,
    request: ConsumerGroupDescribeRequest,
) -> Answer {
    if !is_enabled(broker) {
        let refused = |group| refused(group, ErrorCode::UnsupportedVersion);
        let groups = request.group_ids.into_iter().map(refused).collect();
        return call.respond(&ConsumerGroupDescribeResponse { groups, ..Default::default() }).into();
    }
    let ask = |group: Str| {
        let asked = match group.is_empty() {
            true => Asked::refused(ErrorCode::InvalidGroupId),
            false => {
                let describe = Request::ConsumerGroupDescribe(group.clone());
                broker.coordinators.groups.ask(broker, &group, describe)
            }
        };
        (group, asked)
    };
    let asked: Vec<(Str, Asked<Box<Reply>>)> = request.group_ids.into_iter().map(ask).collect();
    let tells_operations = request.include_authorized_operations;
    Answer::later(async move {
        let mut groups = Vec::with_capacity(asked.len());
        for (group, asked) in asked {
            let mut described = match asked.await.map(|it| *it) {
                Ok(Reply::ConsumerGroupDescribe(described)) => described,
                Ok(_) => refused(group, ErrorCode::UnknownServerError),
                Err(code) => refused(group, code),
            };
            if tells_operations && described.error_code == 0 {
                described.authorized_operations = authorized_operations::GROUP;
            }
            groups.push(described);
        }
        call.respond(&ConsumerGroupDescribeResponse { groups, ..Default::default() })
    })
}

fn refused(group_id: Str, code: ErrorCode) -> DescribedGroup {
    DescribedGroup { group_id, error_code: code.code(), ..Default::default() }
}
