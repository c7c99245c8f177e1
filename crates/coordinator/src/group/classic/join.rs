//! `JoinGroup`: somebody becomes a member, or a member takes part in a rebalance.

use ottla_base::{ErrorCode, Str};
use ottla_machine::Ticket;
use ottla_wire::messages::join_group_request::JoinGroupRequest;
use ottla_wire::messages::join_group_response::JoinGroupResponse;

use super::super::Client;
use super::super::consumer;
use super::super::deciding::Deciding;
use super::super::request::Reply;
use super::super::state::Group;
use super::super::streams;
use super::super::why::{Cause, Trigger};
use super::live::{LiveGroup, Member, Protocol, State};
use super::rebalance::{
    NEW_MEMBER_TIMEOUT, answer_superseded, complete_join_if_all, everybody, join_refused, joined, millis,
    prepare, prepare_or_go_on,
};

/// From this version on, members without an instance id are given their id first, and join with it.
const MEMBER_ID_IS_REQUIRED: i16 = 4;
/// From this version on, a leader can be told to assign nothing.
const ASSIGNMENT_CAN_BE_SKIPPED: i16 = 9;

/// Somebody joins a group.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinGroup {
    /// Who asks.
    pub client: Client,
    /// The request.
    pub request: JoinGroupRequest,
}

/// One join on its way.
struct Joining {
    client: Client,
    request: JoinGroupRequest,
    caller: Ticket,
}

/// Lets somebody join; the answer mostly comes when everybody has.
pub(in crate::group) fn join(deciding: &mut Deciding<'_>, asked: JoinGroup, caller: Ticket) {
    let JoinGroup { client, mut request } = asked;
    if client.version == 0 {
        request.rebalance_timeout_ms = request.session_timeout_ms;
    }
    let joining = Joining { client, request, caller };
    if let Err(code) = check_request(deciding, &joining.request) {
        return joining.refuse(deciding, &joining.request.member_id, code);
    }
    let kind = deciding.with_group(&joining.request.group_id, |group| (group.kind(), group.is_empty()));
    match deciding.state.groups.get(joining.request.group_id.as_str()) {
        Some(Group::Consumer(_) | Group::Streams(_)) if kind.is_some_and(|(_, is_empty)| is_empty) => {
            join_instead(deciding, joining);
        }
        Some(Group::Consumer(_)) => {
            let reply = consumer::classic::join(deciding, &joining.client, &joining.request);
            deciding.answer(joining.caller, Reply::JoinGroup(reply));
        }
        Some(Group::Share(_) | Group::Streams(_)) => {
            joining.refuse(deciding, "", ErrorCode::InconsistentGroupProtocol);
        }
        Some(Group::Classic(_)) | None => join_classic(deciding, joining),
    }
}

/// What is wrong with a request whatever the group is (`GroupCoordinatorService.joinGroup`).
fn check_request(deciding: &Deciding<'_>, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
    let settings = &deciding.settings().groups;
    let allowed = settings.group_min_session_timeout_ms..=settings.group_max_session_timeout_ms;
    if request.group_id.is_empty() {
        Err(ErrorCode::InvalidGroupId)
    } else if !allowed.contains(&request.session_timeout_ms) {
        Err(ErrorCode::InvalidSessionTimeout)
    } else {
        Ok(())
    }
}

/// The group is empty and of another kind: it becomes a classic one.
fn join_instead(deciding: &mut Deciding<'_>, joining: Joining) {
    if !joining.request.member_id.is_empty() {
        return joining.refuse(deciding, &joining.request.member_id, ErrorCode::UnknownMemberId);
    }
    let id = joining.request.group_id.detached();
    let mut tombstones = Vec::new();
    let _ = deciding.with_group(&id, |group| group.tombstones(&id, &mut tombstones));
    tombstones.into_iter().for_each(|record| deciding.write(record));
    streams::forget(deciding, &id);
    join_new_group(deciding, joining, id);
}

fn join_classic(deciding: &mut Deciding<'_>, joining: Joining) {
    let is_unknown = joining.request.member_id.is_empty();
    match deciding.take_classic(&joining.request.group_id) {
        Some(mut group) => {
            join_group(deciding, &mut group, joining);
            deciding.put_back_classic(group);
        }
        None if is_unknown => {
            let id = joining.request.group_id.detached();
            join_new_group(deciding, joining, id);
        }
        None => joining.refuse(deciding, &joining.request.member_id, ErrorCode::UnknownMemberId),
    }
}

/// A group that nobody has heard of is in the log before its first generation is.
fn join_new_group(deciding: &mut Deciding<'_>, joining: Joining, id: Str) {
    let mut group = LiveGroup::new(id, deciding.at.wall_clock);
    deciding.write(group.record());
    join_group(deciding, &mut group, joining);
    deciding.put_back_classic(group);
}

fn join_group(deciding: &mut Deciding<'_>, group: &mut LiveGroup, joining: Joining) {
    let member = &joining.request.member_id;
    if !has_room(deciding, group, member) {
        super::rebalance::remove(deciding, group, member);
        return joining.refuse(deciding, "", ErrorCode::GroupMaxSizeReached);
    }
    if !group.can_take_part(&joining.request.protocol_type, &joining.request.protocols) {
        return joining.refuse(deciding, member, ErrorCode::InconsistentGroupProtocol);
    }
    if member.is_empty() {
        join_unknown(deciding, group, joining);
    } else if group.is_pending(member) {
        if joining.request.group_instance_id.is_some() {
            // Only members without an instance id are given an id to join with.
            return joining.refuse(deciding, member, ErrorCode::UnknownServerError);
        }
        let id = member.detached();
        add(deciding, group, joining, id);
    } else {
        join_again(deciding, group, joining);
    }
}

/// Whether `group.max.size` lets the member in (`acceptJoiningMember`).
fn has_room(deciding: &Deciding<'_>, group: &LiveGroup, member: &str) -> bool {
    let limit = deciding.settings().groups.group_max_size.max(0) as usize;
    match group.state_of() {
        State::Empty => true,
        State::PreparingRebalance => {
            let has_joined = group.member(member).is_some_and(|it| it.awaiting_join.is_some());
            has_joined || group.awaiting_join() < limit
        }
        State::CompletingRebalance | State::Stable => {
            group.member(member).is_some() || group.members().len() < limit
        }
    }
}

/// Somebody joins who has no member id yet (`classicGroupJoinNewMember`).
fn join_unknown(deciding: &mut Deciding<'_>, group: &mut LiveGroup, joining: Joining) {
    let instance = joining.request.group_instance_id.clone();
    let name = instance.as_deref().unwrap_or(&joining.client.id);
    let id = Str::from(format!("{name}-{}", hyphenated(deciding.entropy.uuid())));
    let known = instance.as_ref().and_then(|instance| group.instance(instance)).cloned();
    match (instance, known) {
        (Some(instance), Some(old)) => {
            replace(deciding, group, joining, Replacing { instance, old, new: id })
        }
        (Some(_), None) => add(deciding, group, joining, id),
        (None, _) if joining.client.version < MEMBER_ID_IS_REQUIRED => add(deciding, group, joining, id),
        (None, _) => {
            deciding.start_session(group, &id, millis(joining.request.session_timeout_ms));
            joining.refuse(deciding, &id, ErrorCode::MemberIdRequired);
            group.expect_to_join(id);
        }
    }
}

/// Adds a member (`addMemberThenRebalanceOrCompleteJoin`).
fn add(deciding: &mut Deciding<'_>, group: &mut LiveGroup, joining: Joining, id: Str) {
    let request = &joining.request;
    let mut member = Member::new(id.clone(), request.group_instance_id.as_ref(), &joining.client);
    member.rebalance_timeout_ms = request.rebalance_timeout_ms;
    member.session_timeout_ms = request.session_timeout_ms;
    member.protocols = Protocol::read(&request.protocols);
    member.awaiting_join = Some(joining.caller);
    if group.is_initial_rebalance() {
        group.new_member_added = true;
    }
    if group.members().len() == 0 {
        group.protocol_type = Some(request.protocol_type.detached());
    }
    group.add(member);
    deciding.start_session(group, &id, NEW_MEMBER_TIMEOUT);
    let instance = request.group_instance_id.as_deref().unwrap_or("null");
    let told = reason(request);
    let reason = format!("Adding new member {id} with group instance id {instance}; client reason: {told}");
    prepare_or_go_on(deciding, group, Cause::new(Trigger::MemberJoined, &id, reason));
}

/// A static member that was started anew takes the place of its former self.
struct Replacing {
    instance: Str,
    old: Str,
    new: Str,
}

/// Replaces a static member; in a stable group that need not set off a rebalance
/// (`updateStaticMemberThenRebalanceOrCompleteJoin`).
fn replace(deciding: &mut Deciding<'_>, group: &mut LiveGroup, joining: Joining, replacing: Replacing) {
    let Replacing { instance, old, new } = replacing;
    let former_leader = group.leader.clone();
    let (join, sync) = group.replace(&instance, &old, &new);
    if let Some(ticket) = join {
        deciding.answer(ticket, join_refused(&old, ErrorCode::FencedInstanceId));
    }
    if let Some(ticket) = sync {
        deciding.answer(ticket, super::rebalance::sync_refused(ErrorCode::FencedInstanceId));
    }
    deciding.stop_session(group, &old);
    let request = &joining.request;
    let protocols = Protocol::read(&request.protocols);
    group.update(&new, protocols, request.rebalance_timeout_ms, request.session_timeout_ms);
    deciding.restart_session(group, &new);
    let told = reason(request);
    match group.state_of() {
        State::Stable if group.select_protocol() == group.protocol => {
            deciding.write(group.record());
            let reply = replaced(group, &joining, &new, former_leader);
            deciding.answer(joining.caller, Reply::JoinGroup(reply));
        }
        State::Stable => {
            let reason = format!(
                "Group's selectedProtocol will change because static member {new} with instance id {instance} \
                 joined with change of protocol; client reason: {told}"
            );
            group.await_join(&new, Some(joining.caller));
            prepare(deciding, group, Cause::new(Trigger::MemberChanged, &new, reason));
        }
        State::CompletingRebalance => {
            let reason = format!(
                "Updating metadata for static member {new} with instance id {instance}; client reason: {told}"
            );
            group.await_join(&new, Some(joining.caller));
            prepare(deciding, group, Cause::new(Trigger::MemberReplaced, &new, reason));
        }
        State::PreparingRebalance | State::Empty => {
            group.await_join(&new, Some(joining.caller));
            complete_join_if_all(deciding, group);
        }
    }
}

/// What a static member hears that takes its former self's place without a rebalance. A leader that can be told so is to
/// assign nothing; another one is told that the former self leads, so that it does not assign either.
fn replaced(group: &LiveGroup, joining: &Joining, id: &Str, former_leader: Option<Str>) -> JoinGroupResponse {
    let can_skip = joining.client.version >= ASSIGNMENT_CAN_BE_SKIPPED;
    let leads = group.is_leader(id);
    let leader = if can_skip { group.leader.clone() } else { former_leader };
    JoinGroupResponse {
        generation_id: group.generation,
        protocol_type: group.protocol_type.clone(),
        protocol_name: group.protocol.clone(),
        leader: leader.unwrap_or_default(),
        skip_assignment: can_skip && leads,
        member_id: id.clone(),
        members: if can_skip && leads { everybody(group) } else { Vec::new() },
        ..Default::default()
    }
}

/// A member joins again (`classicGroupJoinExistingMember`).
fn join_again(deciding: &mut Deciding<'_>, group: &mut LiveGroup, joining: Joining) {
    let request = &joining.request;
    let id = &request.member_id;
    let checked = group.check_member(id, request.group_instance_id.as_deref());
    let member = match (checked, group.member(id)) {
        (Ok(()), Some(member)) => member,
        (checked, _) => {
            let code = checked.err().unwrap_or(ErrorCode::UnknownMemberId);
            return joining.refuse(deciding, id, code);
        }
    };
    let id = member.id.clone();
    let state = group.state_of();
    let (told, name) = (reason(request), state.name());
    let says_the_same = member.says(&request.protocols);
    let cause = match state {
        State::PreparingRebalance => {
            let reason = format!("Member {id} is joining group during {name}; client reason: {told}");
            Cause::new(Trigger::MemberJoined, &id, reason)
        }
        State::Stable if group.is_leader(&id) => {
            let reason = format!("Leader {id} re-joining group during {name}; client reason: {told}");
            Cause::new(Trigger::LeaderRejoined, &id, reason)
        }
        State::CompletingRebalance | State::Stable if says_the_same => {
            // It has not heard of the end of the join phase, or asks once more.
            let reply = joined(group, &id);
            return deciding.answer(joining.caller, Reply::JoinGroup(reply));
        }
        State::CompletingRebalance | State::Stable => {
            let reason = format!("Updating metadata for member {id} during {name}; client reason: {told}");
            Cause::new(Trigger::MemberChanged, &id, reason)
        }
        State::Empty => return joining.refuse(deciding, &id, ErrorCode::UnknownMemberId),
    };
    let protocols = Protocol::read(&request.protocols);
    group.update(&id, protocols, request.rebalance_timeout_ms, request.session_timeout_ms);
    let superseded = group.await_join(&id, Some(joining.caller));
    answer_superseded(deciding, &id, superseded);
    prepare_or_go_on(deciding, group, cause);
}

impl Joining {
    fn refuse(&self, deciding: &mut Deciding<'_>, member: &str, code: ErrorCode) {
        deciding.answer(self.caller, join_refused(member, code));
    }
}

/// Why the client says it joins (`JoinGroupRequest.joinReason`).
fn reason(request: &JoinGroupRequest) -> &str {
    request.reason.as_deref().filter(|it| !it.is_empty()).unwrap_or("not provided")
}

/// An id as Java's `UUID.toString` writes it.
fn hyphenated(id: ottla_base::Uuid) -> String {
    let hex: String = id.0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
