//! `SyncGroup`: the leader assigns, everybody hears.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_base::{ErrorCode, Str};
use ottla_machine::Ticket;
use ottla_wire::messages::sync_group_request::SyncGroupRequest;
use ottla_wire::messages::sync_group_response::SyncGroupResponse;

use super::super::Client;
use super::super::consumer;
use super::super::deciding::Deciding;
use super::super::request::Reply;
use super::super::soft::Timer;
use super::super::why::{Cause, Trigger};
use super::kept;
use super::live::{LiveGroup, State};
use super::rebalance::{prepare, refuse_assignments, sync_refused};

/// A member asks for its assignment; the leader brings everybody's.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncGroup {
    /// Who asks.
    pub client: Client,
    /// The request.
    pub request: SyncGroupRequest,
}

/// Tells a member its assignment once there is one.
pub(in crate::group) fn sync(deciding: &mut Deciding<'_>, asked: SyncGroup, caller: Ticket) {
    let request = asked.request;
    if request.group_id.is_empty() {
        return deciding.answer(caller, sync_refused(ErrorCode::InvalidGroupId));
    }
    if let Some(reply) = consumer::classic::sync(deciding, &request) {
        return deciding.answer(caller, Reply::SyncGroup(reply));
    }
    let Some(mut group) = deciding.soft.classic.remove(request.group_id.as_str()) else {
        // Whoever has members is alive.
        return deciding.answer(caller, sync_refused(ErrorCode::UnknownMemberId));
    };
    match check(&group, &request) {
        Ok(()) => sync_group(deciding, &mut group, request, caller),
        Err(code) => deciding.answer(caller, sync_refused(code)),
    }
    deciding.put_back_classic(group);
}

/// Whether a request is of this generation (`validateSyncGroup`).
fn check(group: &LiveGroup, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
    if group.is_in(State::Empty) {
        return Err(ErrorCode::UnknownMemberId);
    }
    group.check_member(&request.member_id, request.group_instance_id.as_deref())?;
    if request.generation_id != group.generation {
        return Err(ErrorCode::IllegalGeneration);
    }
    let differs = |asked: &Option<Str>, ours: &Option<Str>| {
        asked.as_ref().zip(ours.as_ref()).is_some_and(|(asked, ours)| asked != ours)
    };
    if differs(&request.protocol_type, &group.protocol_type)
        || differs(&request.protocol_name, &group.protocol)
    {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    match group.state_of() {
        State::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
        State::Empty | State::CompletingRebalance | State::Stable => Ok(()),
    }
}

fn sync_group(deciding: &mut Deciding<'_>, group: &mut LiveGroup, request: SyncGroupRequest, caller: Ticket) {
    let id = &request.member_id;
    group.pending_sync.remove(id.as_str());
    if group.pending_sync.is_empty() {
        deciding.soft.timers.cancel(&Timer::ClassicSync(group.id.clone()));
    }
    if group.is_in(State::Stable) {
        let reply = assigned(group, id);
        return deciding.answer(caller, Reply::SyncGroup(reply));
    }
    let before = group.member_mut(id).and_then(|it| it.awaiting_sync.replace(caller));
    if let Some(ticket) = before {
        // Another request of the same member waits in its place.
        deciding.answer(ticket, sync_refused(ErrorCode::RebalanceInProgress));
    }
    if group.is_leader(id) {
        assign(deciding, group, &request);
    }
}

/// Takes the leader's assignments: members that it forgot get nothing.
fn assign(deciding: &mut Deciding<'_>, group: &mut LiveGroup, request: &SyncGroupRequest) {
    let given: BTreeMap<&str, &Bytes> =
        request.assignments.iter().map(|it| (it.member_id.as_str(), &it.assignment)).collect();
    for member in group.members_mut() {
        member.assignment = given.get(member.id.as_str()).map(|it| kept(it)).unwrap_or_default();
    }
    if size(group) > deciding.max_record_bytes() {
        let leader = group.leader.clone().unwrap_or_default();
        let code = ErrorCode::UnknownServerError;
        refuse_assignments(deciding, group, code);
        let reason =
            format!("Error {code:?} when storing group assignment during SyncGroup (member: {leader}).");
        return prepare(deciding, group, Cause::new(Trigger::AssignmentRefused, &leader, reason));
    }
    deciding.write(group.record());
    group.move_to(State::Stable, deciding.at.wall_clock);
    for id in group.member_ids() {
        if let Some(ticket) = group.member_mut(&id).and_then(|it| it.awaiting_sync.take()) {
            let reply = assigned(group, &id);
            deciding.answer(ticket, Reply::SyncGroup(reply));
            deciding.restart_session(group, &id);
        }
    }
    deciding.soft.counts.completed_rebalances += 1;
    deciding.soft.why.end(&group.id, group.generation, group.members().len(), deciding.at);
}

fn assigned(group: &LiveGroup, member: &str) -> SyncGroupResponse {
    SyncGroupResponse {
        protocol_type: group.protocol_type.clone(),
        protocol_name: group.protocol.clone(),
        assignment: group.member(member).map(|it| it.assignment.clone()).unwrap_or_default(),
        ..Default::default()
    }
}

/// How many bytes the record of the group has at most.
fn size(group: &LiveGroup) -> usize {
    /// Lengths, numbers and the batch around them.
    const FIXED_BYTES: usize = 1024;
    const MEMBER_BYTES: usize = 64;
    let protocol = group.protocol.as_deref().unwrap_or_default();
    let members = group.members().map(|it| {
        let names = it.id.len() + it.client_id.len() + it.client_host.len();
        let instance = it.instance.as_ref().map_or(0, |it| it.len());
        MEMBER_BYTES + names + instance + it.metadata(protocol).len() + it.assignment.len()
    });
    FIXED_BYTES + 2 * group.id.len() + members.sum::<usize>()
}
