//! StreamsGroupDescribe (key 89), versions 0 and 1: how streams groups are, and who is in them (KIP-1071). Version 1
//! may ask for the description of the topology (KIP-1331), which nobody stores without a plugin.

use std::sync::Arc;

use ottla_base::{ErrorCode, Str};
use ottla_coordinator::group::{Reply, Request, StreamsDescribe, TopologyDescription};
use ottla_net::Answer;
use ottla_wire::messages::streams_group_describe_request::StreamsGroupDescribeRequest;
use ottla_wire::messages::streams_group_describe_response::{DescribedGroup, StreamsGroupDescribeResponse};

use super::streams_groups;
use crate::authorized_operations;
use crate::broker::Broker;
use crate::call::Call;

/// Describes groups, each as the coordinator that has it.
pub fn streams_group_describe(
    broker: &Arc<Broker>,
    call: Call,
    request: StreamsGroupDescribeRequest,
) -> Answer {
    if !streams_groups::are_served(broker) {
        let groups = request.group_ids.into_iter().map(|id| refused(id, ErrorCode::UnsupportedVersion));
        let response = StreamsGroupDescribeResponse { groups: groups.collect(), ..Default::default() };
        return call.respond(&response).into();
    }
    let description = match request.include_topology_description {
        true => TopologyDescription::Wanted,
        false => TopologyDescription::NotWanted,
    };
    let asked = request.group_ids.into_iter().map(|group_id| {
        let describe = StreamsDescribe { group_id: group_id.clone(), description };
        let asked = (!group_id.is_empty()).then(|| {
            broker.coordinators.groups.ask(broker, &group_id, Request::StreamsGroupDescribe(describe))
        });
        (group_id, asked)
    });
    let asked: Vec<_> = asked.collect();
    let tells_operations = request.include_authorized_operations;
    Answer::later(async move {
        let mut groups = Vec::with_capacity(asked.len());
        for (group_id, asked) in asked {
            let mut described = match asked {
                None => refused(Str::default(), ErrorCode::InvalidGroupId),
                Some(asked) => match asked.await.map(|it| *it) {
                    Ok(Reply::StreamsGroupDescribe(described)) => described,
                    Ok(_) => refused(group_id, ErrorCode::UnknownServerError),
                    Err(code) => refused(group_id, code),
                },
            };
            if tells_operations && described.error_code == ErrorCode::None.code() {
                described.authorized_operations = authorized_operations::GROUP;
            }
            groups.push(described);
        }
        call.respond(&StreamsGroupDescribeResponse { groups, ..Default::default() })
    })
}

fn refused(group_id: Str, code: ErrorCode) -> DescribedGroup {
    DescribedGroup { group_id, error_code: code.code(), ..Default::default() }
}
