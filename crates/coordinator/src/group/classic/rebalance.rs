//! A classic group rebalances: members are awaited, a generation begins, the leader is awaited.

use std::time::Duration;

use ottla_base::{ErrorCode, Str};
use ottla_machine::Ticket;
use ottla_wire::messages::join_group_response::{JoinGroupResponse, JoinGroupResponseMember};
use ottla_wire::messages::sync_group_response::SyncGroupResponse;

use super::super::deciding::Deciding;
use super::super::kind::Kind;
use super::super::request::Reply;
use super::super::soft::Timer;
use super::super::state::Group;
use super::super::why::{Cause, Trigger};
use super::live::{InitialDelay, LiveGroup, Member, State};

/// How long somebody new may wait for the end of a rebalance
/// (`GroupCoordinatorConfig.CLASSIC_GROUP_NEW_MEMBER_JOIN_TIMEOUT_MS`).
pub(super) const NEW_MEMBER_TIMEOUT: Duration = Duration::from_secs(300);

impl Deciding<'_> {
    /// Takes a group out of soft state to be changed; it must be put back. A group that records tell of comes to life.
    pub(super) fn take_classic(&mut self, group: &str) -> Option<LiveGroup> {
        if let Some(live) = self.soft.classic.remove(group) {
            return Some(live);
        }
        let now = self.at.wall_clock;
        match self.state.groups.get_key_value(group) {
            Some((id, Group::Classic(hard))) => Some(LiveGroup::from_hard(id.clone(), hard, now)),
            Some(_) => None,
            None if self.state.offsets.has_group(group) => Some(LiveGroup::new(Str::from(group), now)),
            None => None,
        }
    }

    /// Puts a group back into soft state, unless records tell all of it.
    pub(super) fn put_back_classic(&mut self, group: LiveGroup) {
        if group.is_idle() {
            self.soft.timers.cancel(&Timer::ClassicJoin(group.id.clone()));
            self.soft.timers.cancel(&Timer::ClassicSync(group.id));
        } else {
            self.soft.classic.insert(group.id.clone(), group);
        }
    }

    /// Forgets what is soft of a group, which is deleted or becomes one of another kind. Whoever waits is answered with
    /// `code`.
    pub(in crate::group) fn forget_classic(&mut self, group: &str, code: ErrorCode) {
        let Some(mut group) = self.soft.classic.remove(group) else { return };
        for id in group.member_ids() {
            if let Some(ticket) = group.await_join(&id, None) {
                self.answer(ticket, join_refused(&id, code));
            }
            if let Some(ticket) = group.member_mut(&id).and_then(|it| it.awaiting_sync.take()) {
                self.answer(ticket, sync_refused(code));
            }
            self.stop_session(&group, &id);
        }
        for id in group.pending_members() {
            self.stop_session(&group, id);
        }
        self.soft.timers.cancel(&Timer::ClassicJoin(group.id.clone()));
        self.soft.timers.cancel(&Timer::ClassicSync(group.id));
    }

    /// A member has been heard of: its session begins anew.
    pub(super) fn restart_session(&mut self, group: &LiveGroup, member: &Str) {
        let timeout = group.member(member).map_or(0, |it| it.session_timeout_ms);
        self.start_session(group, member, millis(timeout));
    }

    pub(super) fn start_session(&mut self, group: &LiveGroup, member: &Str, timeout: Duration) {
        let timer = Timer::ClassicSession(group.id.clone(), member.clone());
        self.soft.timers.set(timer, self.at.now + timeout);
    }

    pub(super) fn stop_session(&mut self, group: &LiveGroup, member: &Str) {
        self.soft.timers.cancel(&Timer::ClassicSession(group.id.clone(), member.clone()));
    }

    /// A member commits offsets: it has been heard of, unless the leader is awaited (`validateOffsetCommit`).
    pub(in crate::group) fn heard_of_classic_member(&mut self, group: &str, member: &str) {
        let Some(live) = self.soft.classic.get(group) else { return };
        if !(live.is_in(State::Stable) || live.is_in(State::PreparingRebalance)) {
            return;
        }
        let Some(member) = live.member(member) else { return };
        let timer = Timer::ClassicSession(live.id.clone(), member.id.clone());
        self.soft.timers.set(timer, self.at.now + millis(member.session_timeout_ms));
    }
}

/// Groups with members come to life: their members have to report from now on.
pub(in crate::group) fn begin(deciding: &mut Deciding<'_>) {
    let limit = deciding.settings().groups.group_max_size.max(0) as usize;
    let has_members = |group: &Group| matches!(group, Group::Classic(it) if !it.members.is_empty());
    let loaded = deciding.state.groups.iter().filter(|(_, group)| has_members(group));
    let loaded: Vec<Str> = loaded.map(|(id, _)| id.clone()).collect();
    for id in loaded {
        let Some(mut group) = deciding.take_classic(&id) else { continue };
        for member in group.member_ids() {
            deciding.restart_session(&group, &member);
        }
        let size = group.members().len();
        if size > limit {
            let reason = format!(
                "Freshly-loaded group {id} (size {size}) is over capacity {limit}. Rebalancing in order to give a \
                 chance for consumers to commit offsets"
            );
            prepare(deciding, &mut group, Cause::new(Trigger::OverCapacity, &Str::default(), reason));
        }
        deciding.put_back_classic(group);
    }
}

/// A group that was of another kind lives on as a classic one; it rebalances at once if there is a cause.
pub(in crate::group) fn take_over(deciding: &mut Deciding<'_>, mut group: LiveGroup, cause: Option<Cause>) {
    for member in group.member_ids() {
        deciding.restart_session(&group, &member);
    }
    if let Some(cause) = cause {
        prepare(deciding, &mut group, cause);
    }
    deciding.put_back_classic(group);
}

/// Rebalances, or goes on with the rebalance that is on its way (`maybePrepareRebalanceOrCompleteJoin`).
pub(super) fn prepare_or_go_on(deciding: &mut Deciding<'_>, group: &mut LiveGroup, cause: Cause) {
    if group.is_in(State::PreparingRebalance) {
        complete_join_if_all(deciding, group);
    } else {
        prepare(deciding, group, cause);
    }
}

/// Begins a rebalance (`prepareRebalance`).
pub(super) fn prepare(deciding: &mut Deciding<'_>, group: &mut LiveGroup, cause: Cause) {
    if group.is_in(State::CompletingRebalance) {
        refuse_assignments(deciding, group, ErrorCode::RebalanceInProgress);
    }
    group.pending_sync.clear();
    deciding.soft.timers.cancel(&Timer::ClassicSync(group.id.clone()));
    let is_initial = group.is_in(State::Empty);
    group.move_to(State::PreparingRebalance, deciding.at.wall_clock);
    group.new_member_added = false;
    deciding.soft.why.begin(Kind::Classic, &group.id, cause, deciding.at);
    if is_initial {
        let delay_ms = deciding.settings().groups.group_initial_rebalance_delay_ms.max(0);
        let longest = i32::try_from(group.rebalance_timeout_ms()).unwrap_or(i32::MAX);
        let remaining_ms = longest.saturating_sub(delay_ms).max(0);
        group.initial = Some(InitialDelay { delay_ms, remaining_ms });
        await_joins(deciding, group, millis(delay_ms));
    } else {
        complete_join_or_wait(deciding, group);
    }
}

/// Ends the join phase if everybody has joined; the first one after the group was empty ends by its delay
/// (`maybeCompleteJoinPhase`).
pub(super) fn complete_join_if_all(deciding: &mut Deciding<'_>, group: &mut LiveGroup) {
    if group.is_in(State::PreparingRebalance) && !group.is_initial_rebalance() && group.has_everybody_joined()
    {
        complete_join(deciding, group);
    }
}

fn complete_join_or_wait(deciding: &mut Deciding<'_>, group: &mut LiveGroup) {
    if group.has_everybody_joined() {
        complete_join(deciding, group);
    } else {
        let timeout = Duration::from_millis(group.rebalance_timeout_ms());
        await_joins(deciding, group, timeout);
    }
}

fn await_joins(deciding: &mut Deciding<'_>, group: &LiveGroup, timeout: Duration) {
    deciding.soft.timers.set(Timer::ClassicJoin(group.id.clone()), deciding.at.now + timeout);
}

/// Ends the join phase with whoever has joined (`completeClassicGroupJoin`).
pub(super) fn complete_join(deciding: &mut Deciding<'_>, group: &mut LiveGroup) {
    deciding.soft.timers.cancel(&Timer::ClassicJoin(group.id.clone()));
    group.initial = None;
    let absent = |it: &&Member| it.awaiting_join.is_none() && it.instance.is_none();
    let absent: Vec<Str> = group.members().filter(absent).map(|it| it.id.clone()).collect();
    for id in &absent {
        remove(deciding, group, id);
        deciding.stop_session(group, id);
    }
    if !group.elect_joined_leader() && group.members().len() > 0 {
        // Only static members are left, and none of them has come: they are awaited once more.
        let timeout = Duration::from_millis(group.rebalance_timeout_ms());
        await_joins(deciding, group, timeout);
        return;
    }
    group.begin_generation(deciding.at.wall_clock);
    if group.is_in(State::Empty) {
        deciding.write(group.record());
        deciding.soft.why.end(&group.id, group.generation, 0, deciding.at);
        return;
    }
    for id in group.member_ids() {
        if let Some(ticket) = group.await_join(&id, None) {
            let reply = joined(group, &id);
            deciding.answer(ticket, Reply::JoinGroup(reply));
        }
        deciding.restart_session(group, &id);
        if let Some(member) = group.member_mut(&id) {
            member.is_new = false;
        }
        group.pending_sync.insert(id);
    }
    let timeout = Duration::from_millis(group.rebalance_timeout_ms());
    deciding.soft.timers.set(Timer::ClassicSync(group.id.clone()), deciding.at.now + timeout);
}

/// The join phase is due (`tryCompleteInitialRebalanceElseSchedule`, `completeClassicGroupJoin`).
pub(in crate::group) fn join_due(deciding: &mut Deciding<'_>, id: &Str) {
    let Some(mut group) = deciding.soft.classic.remove(id.as_str()) else { return };
    match group.initial {
        Some(InitialDelay { delay_ms, remaining_ms }) if group.new_member_added && remaining_ms > 0 => {
            group.new_member_added = false;
            let configured = deciding.settings().groups.group_initial_rebalance_delay_ms.max(0);
            let next_ms = configured.min(remaining_ms);
            let remaining_ms = remaining_ms.saturating_sub(delay_ms).max(0);
            group.initial = Some(InitialDelay { delay_ms: next_ms, remaining_ms });
            await_joins(deciding, &group, millis(next_ms));
        }
        _ => complete_join(deciding, &mut group),
    }
    deciding.put_back_classic(group);
}

/// Some members have not asked for their assignments in time (`expirePendingSync`).
pub(in crate::group) fn sync_due(deciding: &mut Deciding<'_>, id: &Str) {
    let Some(mut group) = deciding.soft.classic.remove(id.as_str()) else { return };
    let is_awaited = group.is_in(State::CompletingRebalance) || group.is_in(State::Stable);
    if is_awaited && !group.pending_sync.is_empty() {
        let late = std::mem::take(&mut group.pending_sync);
        for member in &late {
            remove(deciding, &mut group, member);
            deciding.stop_session(&group, member);
        }
        let names: Vec<&str> = late.iter().map(Str::as_str).collect();
        let reason = format!("Removing [{}] on pending sync request expiration", names.join(", "));
        let first = late.first().cloned().unwrap_or_default();
        prepare(deciding, &mut group, Cause::new(Trigger::SyncOverdue, &first, reason));
    }
    deciding.put_back_classic(group);
}

/// Removes a member; if it waits for something, it hears that it is not one any more. Says whether it was one.
pub(super) fn remove(deciding: &mut Deciding<'_>, group: &mut LiveGroup, id: &Str) -> bool {
    let Some(removed) = group.remove(id) else { return false };
    if let Some(ticket) = removed.awaiting_join {
        deciding.answer(ticket, join_refused("", ErrorCode::UnknownMemberId));
    }
    if let Some(ticket) = removed.awaiting_sync {
        deciding.answer(ticket, sync_refused(ErrorCode::UnknownMemberId));
    }
    true
}

/// Nobody gets an assignment of this generation (`resetAndPropagateAssignmentWithError`).
pub(super) fn refuse_assignments(deciding: &mut Deciding<'_>, group: &mut LiveGroup, code: ErrorCode) {
    for id in group.member_ids() {
        let Some(member) = group.member_mut(&id) else { continue };
        member.assignment = bytes::Bytes::new();
        if let Some(ticket) = member.awaiting_sync.take() {
            deciding.answer(ticket, sync_refused(code));
            deciding.restart_session(group, &id);
        }
    }
}

/// What a member hears when the join phase is over: the leader hears of everybody.
pub(super) fn joined(group: &LiveGroup, member: &Str) -> JoinGroupResponse {
    JoinGroupResponse {
        generation_id: group.generation,
        protocol_type: group.protocol_type.clone(),
        protocol_name: group.protocol.clone(),
        leader: group.leader.clone().unwrap_or_default(),
        member_id: member.clone(),
        members: if group.is_leader(member) { everybody(group) } else { Vec::new() },
        ..Default::default()
    }
}

/// Every member with what it says in the protocol (`currentClassicGroupMembers`).
pub(super) fn everybody(group: &LiveGroup) -> Vec<JoinGroupResponseMember> {
    let protocol = group.protocol.as_deref().unwrap_or_default();
    let members = group.members().map(|member| JoinGroupResponseMember {
        member_id: member.id.clone(),
        group_instance_id: member.instance.clone(),
        metadata: member.metadata(protocol),
        ..Default::default()
    });
    members.collect()
}

/// Answers somebody in whose place another request of the same member waits now.
pub(super) fn answer_superseded(deciding: &mut Deciding<'_>, member: &Str, ticket: Option<Ticket>) {
    if let Some(ticket) = ticket {
        deciding.answer(ticket, join_refused(member, ErrorCode::RebalanceInProgress));
    }
}

pub(super) fn join_refused(member: &str, code: ErrorCode) -> Reply {
    Reply::JoinGroup(JoinGroupResponse {
        member_id: Str::from(member),
        protocol_name: None,
        error_code: code as i16,
        ..Default::default()
    })
}

pub(super) fn sync_refused(code: ErrorCode) -> Reply {
    Reply::SyncGroup(SyncGroupResponse { error_code: code as i16, ..Default::default() })
}

pub(super) fn millis(timeout_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0))
}
