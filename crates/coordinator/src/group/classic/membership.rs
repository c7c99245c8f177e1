//! Members report, leave, or fall silent.

use ottla_base::{ErrorCode, Str};
use ottla_machine::Ticket;
use ottla_wire::messages::heartbeat_request::HeartbeatRequest;
use ottla_wire::messages::heartbeat_response::HeartbeatResponse;
use ottla_wire::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use ottla_wire::messages::leave_group_response::{LeaveGroupResponse, MemberResponse};

use super::super::Client;
use super::super::consumer;
use super::super::deciding::Deciding;
use super::super::request::Reply;
use super::super::why::{Cause, Trigger};
use super::live::{LiveGroup, State};
use super::rebalance::{complete_join, complete_join_if_all, prepare_or_go_on, remove};

/// A member reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    /// Who asks.
    pub client: Client,
    /// The request.
    pub request: HeartbeatRequest,
}

/// Members leave a group.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaveGroup {
    /// Who asks.
    pub client: Client,
    /// The request; the one member of old requests is in the list of members.
    pub request: LeaveGroupRequest,
}

/// Hears of a member; it hears whether it has to join again.
pub(in crate::group) fn heartbeat(deciding: &mut Deciding<'_>, asked: Heartbeat, caller: Ticket) {
    let code = match heartbeat_of(deciding, &asked.request) {
        Ok(()) => ErrorCode::None,
        Err(code) => code,
    };
    let reply = HeartbeatResponse { error_code: code as i16, ..Default::default() };
    deciding.answer(caller, Reply::Heartbeat(reply));
}

fn heartbeat_of(deciding: &mut Deciding<'_>, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    if let Some(heard) = consumer::classic::heartbeat(deciding, request) {
        return heard;
    }
    let group = deciding.soft.classic.get(request.group_id.as_str()).ok_or(ErrorCode::UnknownMemberId)?;
    group.check_member(&request.member_id, request.group_instance_id.as_deref())?;
    if request.generation_id != group.generation {
        return Err(ErrorCode::IllegalGeneration);
    }
    let member = group.member(&request.member_id).ok_or(ErrorCode::UnknownMemberId)?;
    let is_rebalancing = group.is_in(State::PreparingRebalance);
    let timer = super::super::soft::Timer::ClassicSession(group.id.clone(), member.id.clone());
    let timeout = super::rebalance::millis(member.session_timeout_ms);
    deciding.soft.timers.set(timer, deciding.at.now + timeout);
    if is_rebalancing { Err(ErrorCode::RebalanceInProgress) } else { Ok(()) }
}

/// Lets members go, and rebalances if some did.
pub(in crate::group) fn leave(deciding: &mut Deciding<'_>, asked: LeaveGroup, caller: Ticket) {
    let request = asked.request;
    if request.group_id.is_empty() {
        let code = ErrorCode::InvalidGroupId as i16;
        let reply = LeaveGroupResponse { error_code: code, ..Default::default() };
        return deciding.answer(caller, Reply::LeaveGroup(reply));
    }
    if let Some(reply) = consumer::classic::leave(deciding, &request) {
        return deciding.answer(caller, Reply::LeaveGroup(reply));
    }
    let members = match deciding.take_classic(&request.group_id) {
        Some(mut group) => {
            let members = leave_group(deciding, &mut group, &request.members);
            deciding.put_back_classic(group);
            members
        }
        None => request.members.iter().map(|it| outcome(it, ErrorCode::UnknownMemberId)).collect(),
    };
    deciding.answer(caller, Reply::LeaveGroup(LeaveGroupResponse { members, ..Default::default() }));
}

fn leave_group(
    deciding: &mut Deciding<'_>,
    group: &mut LiveGroup,
    leaving: &[MemberIdentity],
) -> Vec<MemberResponse> {
    let mut left: Vec<Str> = Vec::new();
    let mut told = None;
    let mut outcomes = Vec::with_capacity(leaving.len());
    for it in leaving {
        let code = match leave_one(deciding, group, it) {
            Ok(member) => {
                told.get_or_insert_with(|| it.reason.clone().unwrap_or_else(|| "not provided".into()));
                left.push(member);
                ErrorCode::None
            }
            Err(code) => code,
        };
        outcomes.push(outcome(it, code));
    }
    if let Some(first) = left.first() {
        let names: Vec<&str> = left.iter().map(Str::as_str).collect();
        let told = told.unwrap_or_default();
        let names = names.join(", ");
        let reason = format!("explicit `LeaveGroup` request for ({names}) members; client reason: {told}");
        let cause = Cause::new(Trigger::MemberLeft, first, reason);
        match group.state_of() {
            State::CompletingRebalance | State::Stable => prepare_or_go_on(deciding, group, cause),
            State::PreparingRebalance => complete_join_if_all(deciding, group),
            State::Empty => (),
        }
    }
    outcomes
}

/// Lets one member go. Says who it was.
fn leave_one(
    deciding: &mut Deciding<'_>,
    group: &mut LiveGroup,
    leaving: &MemberIdentity,
) -> Result<Str, ErrorCode> {
    let instance = leaving.group_instance_id.as_deref();
    let id = if leaving.member_id.is_empty() {
        let known = instance.and_then(|instance| group.instance(instance));
        known.cloned().ok_or(ErrorCode::UnknownMemberId)?
    } else {
        let id = leaving.member_id.detached();
        if !group.is_pending(&id) {
            group.check_member(&id, instance)?;
        }
        id
    };
    deciding.stop_session(group, &id);
    remove(deciding, group, &id);
    Ok(id)
}

fn outcome(leaving: &MemberIdentity, code: ErrorCode) -> MemberResponse {
    MemberResponse {
        member_id: leaving.member_id.clone(),
        group_instance_id: leaving.group_instance_id.clone(),
        error_code: code as i16,
        ..Default::default()
    }
}

/// Nothing was heard of a member, or of somebody who was given an id to join with
/// (`expireClassicGroupMemberHeartbeat`).
pub(in crate::group) fn session_due(deciding: &mut Deciding<'_>, id: &Str, member: &Str) {
    let Some(mut group) = deciding.soft.classic.remove(id.as_str()) else { return };
    if group.is_pending(member) {
        group.remove(member);
        if group.is_in(State::PreparingRebalance) && group.has_everybody_joined() {
            complete_join(deciding, &mut group);
        }
    } else if group.member(member).is_some_and(|it| !it.is_excused()) {
        remove(deciding, &mut group, member);
        match group.state_of() {
            State::CompletingRebalance | State::Stable => {
                let reason = format!("removing member {member} on heartbeat expiration.");
                let cause = Cause::new(Trigger::SessionExpired, member, reason);
                prepare_or_go_on(deciding, &mut group, cause);
            }
            State::PreparingRebalance if group.has_everybody_joined() => {
                complete_join(deciding, &mut group);
            }
            State::PreparingRebalance | State::Empty => (),
        }
    }
    deciding.put_back_classic(group);
}
