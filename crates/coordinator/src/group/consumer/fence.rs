//! Members that are removed from a group: because they leave, or because they were silent for too long
//! (`consumerGroupFenceMembers`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::group::{ConsumerGroup, count_up};
use super::member::{AWAY_EPOCH, Member};
use super::migration::{self, Leaving};
use super::soft::{Due, MemberName};
use super::subscription::look_up_topics;
use super::turn::Turn;
use crate::group::deciding::Deciding;
use crate::group::modern::{MemberState, TargetMetadata};
use crate::group::state::Group;
use crate::group::why::Trigger;
use ottla_base::Timestamp;
use ottla_metadata::controller::Refusal;

/// Removes members.
pub(super) fn fence(mut turn: Turn<'_, '_>, members: &[Member], trigger: Trigger) -> Result<(), Refusal> {
    let Some(first) = members.first() else { return Ok(()) };
    if migration::becomes_classic_without(&turn, members) {
        let rebalance = Some(migration::left_as_classic(turn.group.id(), trigger, &first.id));
        return migration::downgrade(turn, Leaving { members, joining: None, rebalance });
    }
    let mut wanted = turn.group.wanted().clone();
    let mut regexes = BTreeMap::new();
    for member in members {
        turn.records.all_of_member_gone(&member.id);
        wanted.remove_names(member.topics.iter());
        count_up(&mut regexes, member.wanted_regex());
    }
    for (regex, count) in regexes {
        if turn.group.regexes().get(&regex) == Some(&count) {
            turn.records.regex_gone(&regex);
            if let Some(resolved) = turn.group.resolved().get(&regex) {
                wanted.remove_matches(&resolved.topics);
            }
        }
    }
    let hash = turn.hash_of(&wanted);
    let epoch = turn.group.epoch().saturating_add(1);
    turn.records.epoch(epoch, hash);
    turn.note_begin(trigger, &first.id, epoch);
    if turn.group.members().len() == members.len() {
        // Nobody is left to be assigned anything; who comes next need not wait.
        turn.records.target(TargetMetadata { epoch, computed_at: Timestamp(0) });
        turn.note_emptied(epoch);
    }
    for member in members {
        let name = MemberName::of(turn.group.id(), &member.id);
        turn.deciding.expect_nothing(&name);
    }
    turn.finish();
    Ok(())
}

/// Something that was expected of a consumer group or one of its members has not happened.
pub(in crate::group) fn fire(deciding: &mut Deciding<'_>, due: Due) {
    match due {
        Due::Session(name) => give_up(deciding, &name, Trigger::SessionExpired, |_| true),
        Due::Join(name) | Due::Sync(name) => give_up(deciding, &name, Trigger::SyncOverdue, |_| true),
        // A member that is away has nothing to give up.
        Due::Revocation(name) => give_up(deciding, &name, Trigger::RevocationOverdue, |member| {
            member.state == MemberState::UnrevokedPartitions && member.epoch != AWAY_EPOCH
        }),
        Due::Regexes(group) => look_up_topics(deciding, &group),
    }
}

/// When a member is given up again that could not be.
const RETRY_MS: i32 = 1000;

fn give_up(
    deciding: &mut Deciding<'_>,
    name: &MemberName,
    trigger: Trigger,
    is_late: impl FnOnce(&Member) -> bool,
) {
    let Some(Group::Consumer(group)) = deciding.state.groups.get(&name.group) else { return };
    let Some(member) = group.member(&name.member).filter(|member| is_late(member)) else { return };
    let member = member.clone();
    // Refused only where the group cannot become classic; then the member stays until it is due again.
    if fence(Turn::new(deciding, Cow::Borrowed(group)), &[member], trigger).is_err() {
        deciding.due_in(Due::Session(name.clone()), RETRY_MS);
    }
}

/// A new seat expects reports of every member, and partitions to be given up (`onLoaded`).
pub(in crate::group) fn expect_members(deciding: &mut Deciding<'_>) {
    let state = deciding.state;
    for (id, group) in &state.groups {
        let Group::Consumer(group) = group else { continue };
        let timeout_ms = deciding.group_settings(id).consumer_session_timeout_ms;
        for (member_id, member) in group.members() {
            let name = || MemberName::of(id, member_id);
            deciding.due_in(Due::Session(name()), timeout_ms);
            if member.state == MemberState::UnrevokedPartitions {
                deciding.due_in(Due::Revocation(name()), member.rebalance_timeout_ms);
            }
        }
    }
}

/// Nothing is expected any more of a group that is no consumer group from now on.
pub(super) fn forget(deciding: &mut Deciding<'_>, group: &ConsumerGroup) {
    for member_id in group.members().keys() {
        deciding.expect_nothing(&MemberName::of(group.id(), member_id));
    }
    deciding.not_due(Due::Regexes(group.id().clone()));
    deciding.soft.metadata.forget_group(group.id());
    deciding.soft.consumer.looked_up.remove(group.id());
}
