//! ShareGroupDescribe (key 77), version 1: members of share groups and what they share in (KIP-932).

use std::sync::Arc;

use ottla_base::{ErrorCode, Str};
use ottla_coordinator::group::{Reply, Request};
use ottla_net::Answer;
use ottla_wire::messages::share_group_describe_request::ShareGroupDescribeRequest;
use ottla_wire::messages::share_group_describe_response::{DescribedGroup, ShareGroupDescribeResponse};

use super::share_groups;
use crate::authorized_operations;
use crate::broker::Broker;
use crate::call::Call;

/// Asks the coordinator of every group.
pub fn share_group_describe(broker: &Arc<Broker>, call: Call, request: ShareGroupDescribeRequest) -> Answer {
    if !share_groups::are_enabled(broker) {
        let refused = |group_id| DescribedGroup {
            group_id,
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..Default::default()
        };
        let groups = request.group_ids.into_iter().map(refused).collect();
        return call.respond(&ShareGroupDescribeResponse { groups, ..Default::default() }).into();
    }
    let asked = request.group_ids.into_iter().map(|group| {
        let describe = Request::ShareGroupDescribe(group.clone());
        let asked = broker.coordinators.groups.ask(broker, &group, describe);
        (group, asked)
    });
    let asked: Vec<_> = asked.collect();
    let tells_operations = request.include_authorized_operations;
    Answer::later(async move {
        let mut groups = Vec::with_capacity(asked.len());
        for (group, asked) in asked {
            let mut described = match asked.await.map(|it| *it) {
                Ok(Reply::ShareGroupDescribe(described)) => described,
                Ok(_) => refused(group, ErrorCode::UnknownServerError),
                Err(code) => refused(group, code),
            };
            if tells_operations && described.error_code == 0 {
                described.authorized_operations = authorized_operations::GROUP;
            }
            groups.push(described);
        }
        call.respond(&ShareGroupDescribeResponse { groups, ..Default::default() })
    })
}

fn refused(group_id: Str, code: ErrorCode) -> DescribedGroup {
    DescribedGroup {
        group_id,
        error_code: code.code(),
        error_message: Some(Str::from_static(code.message())),
        ..Default::default()
    }
}
