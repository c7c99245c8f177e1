//! DescribeGroups (key 15), versions 0 to 6: how classic groups are, and who is in them.

use std::sync::Arc;

use ottla_base::{ErrorCode, Str};
use ottla_coordinator::group::{DescribeGroup, Reply, Request};
use ottla_net::Answer;
use ottla_wire::messages::describe_groups_request::DescribeGroupsRequest;
use ottla_wire::messages::describe_groups_response::{DescribeGroupsResponse, DescribedGroup};

use crate::authorized_operations;
use crate::broker::Broker;
use crate::call::Call;

const FIRST_VERSION_WITH_OPERATIONS: i16 = 3;

/// Describes groups, each as the coordinator that has it.
pub fn describe_groups(broker: &Arc<Broker>, call: Call, request: DescribeGroupsRequest) -> Answer {
    let asked: Vec<(Str, _)> = request
        .groups
        .into_iter()
        .map(|group| {
            let describe = DescribeGroup { group: group.clone(), version: call.version };
            let asked = broker.coordinators.groups.ask(broker, &group, Request::DescribeGroup(describe));
            (group, asked)
        })
        .collect();
    let tells_operations =
        request.include_authorized_operations && call.version >= FIRST_VERSION_WITH_OPERATIONS;
    Answer::later(async move {
        let mut groups = Vec::with_capacity(asked.len());
        for (group, asked) in asked {
            let mut described = match asked.await.map(|it| *it) {
                Ok(Reply::DescribeGroup(described)) => described,
                Ok(_) => refused(group, ErrorCode::UnknownServerError),
                Err(code) => refused(group, code),
            };
            if tells_operations && described.error_code == 0 {
                described.authorized_operations = authorized_operations::GROUP;
            }
            groups.push(described);
        }
        call.respond(&DescribeGroupsResponse { groups, ..Default::default() })
    })
}

fn refused(group_id: Str, code: ErrorCode) -> DescribedGroup {
    DescribedGroup { group_id, error_code: code.code(), ..Default::default() }
}
