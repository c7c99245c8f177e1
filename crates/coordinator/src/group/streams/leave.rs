//! Members that go, by themselves or because their time is over (`streamsGroupLeave`, `streamsGroupFenceMember`).

use ottla_base::{ErrorCode, Str};
use ottla_metadata::controller::Refusal;
use ottla_wire::messages::streams_group_heartbeat_request::StreamsGroupHeartbeatRequest;
use ottla_wire::messages::streams_group_heartbeat_response::StreamsGroupHeartbeatResponse;

use super::heartbeat::{StreamsHeartbeatAnswer, not_fenced};
use super::live;
use super::member::{self, Member};
use super::request::LEAVES_FOR_A_WHILE;
use super::state::{self, StreamsGroup};
use super::tasks::HeldTasks;
use crate::group::deciding::Deciding;
use crate::group::kind::Kind;
use crate::group::state::Group;
use crate::group::why::{Cause, Trigger};

/// A member leaves, for good or for a while.
pub(super) fn leave(
    deciding: &mut Deciding<'_>,
    request: &StreamsGroupHeartbeatRequest,
) -> Result<StreamsHeartbeatAnswer, Refusal> {
    let (id, group) = existing(deciding, &request.group_id)?;
    if request.shutdown_application {
        let live = deciding.soft.streams.groups.entry(id.clone()).or_default();
        live.shutdown_asked_by.get_or_insert_with(|| request.member_id.detached());
    }
    let member_id = match &request.instance_id {
        None => known(group, id, &request.member_id)?,
        Some(instance) => {
            let (member_id, member) =
                group.static_member(instance).ok_or_else(|| unknown_instance(instance))?;
            not_fenced(member_id, &request.member_id, instance)?;
            if request.member_epoch == LEAVES_FOR_A_WHILE {
                go_for_a_while(deciding, id, member_id, member);
                return Ok(gone(member_id, LEAVES_FOR_A_WHILE));
            }
            member_id
        }
    };
    remove(deciding, id, group, member_id, Trigger::MemberLeft);
    Ok(gone(&request.member_id, request.member_epoch))
}

/// Removes a member; the others share what it had.
pub(super) fn remove(
    deciding: &mut Deciding<'_>,
    id: &Str,
    group: &StreamsGroup,
    member_id: &Str,
    trigger: Trigger,
) {
    let reason = match trigger {
        Trigger::MemberLeft => "the member left the streams group",
        Trigger::SessionExpired => "the member session expired",
        _ => "the member did not give up its tasks within its rebalance timeout",
    };
    let cause = Cause::new(trigger, member_id, reason.to_owned());
    deciding.soft.why.begin(Kind::Streams, id, cause, deciding.at);
    let epoch = group.epoch + 1;
    let (hash, validated) = (group.metadata_hash, group.validated_topology_epoch);
    for record in member::tombstones(id, member_id) {
        deciding.write(record);
    }
    deciding.write(group.record(id, epoch, hash, validated, &group.assignment_configs));
    if group.members.len() == 1 {
        deciding.write(state::target_metadata_record(id, epoch, 0));
        deciding.soft.why.end(id, epoch, 0, deciding.at);
    }
    live::expect_nothing(deciding, id, member_id);
    if let Some(live) = deciding.soft.streams.groups.get_mut(id) {
        live.forget(member_id);
        if group.members.len() == 1 {
            live.shutdown_asked_by = None;
        }
    }
}

/// A streams group that exists, with its id as the state keeps it.
pub(super) fn existing<'a>(
    deciding: &Deciding<'a>,
    id: &Str,
) -> Result<(&'a Str, &'a StreamsGroup), Refusal> {
    match deciding.state.groups.get_key_value(id) {
        Some((id, Group::Streams(group))) => Ok((id, group)),
        Some(_) => Err(not_streams(id)),
        None => Err(Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {id} not found."))),
    }
}

pub(super) fn not_streams(id: &Str) -> Refusal {
    Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {id} is not a streams group."))
}

pub(super) fn unknown_instance(instance: &Str) -> Refusal {
    Refusal::new(ErrorCode::UnknownMemberId, format!("Instance id {instance} is unknown."))
}

/// A member of the group, by its id as the state keeps it.
pub(super) fn known<'a>(group: &'a StreamsGroup, id: &Str, member_id: &Str) -> Result<&'a Str, Refusal> {
    let known = group.members.get_key_value(member_id).map(|(member_id, _)| member_id);
    known.ok_or_else(|| unknown_member(id, member_id))
}

pub(super) fn unknown_member(id: &Str, member_id: &Str) -> Refusal {
    let message = format!("Member {member_id} is not a member of group {id}.");
    Refusal::new(ErrorCode::UnknownMemberId, message)
}

/// A static member keeps its tasks while it is away; whatever it had not given up is given up.
fn go_for_a_while(deciding: &mut Deciding<'_>, id: &Str, member_id: &Str, member: &Member) {
    let away = Member {
        epoch: LEAVES_FOR_A_WHILE,
        assigned: member.assigned.in_epoch_zero(),
        revoking: HeldTasks::default(),
        ..member.clone()
    };
    deciding.write(away.assignment_record(id, member_id));
}

fn gone(member_id: &Str, epoch: i32) -> StreamsHeartbeatAnswer {
    let response = StreamsGroupHeartbeatResponse {
        member_id: member_id.clone(),
        member_epoch: epoch,
        status: Some(Vec::new()),
        ..Default::default()
    };
    StreamsHeartbeatAnswer { response, missing_topics: Vec::new() }
}
