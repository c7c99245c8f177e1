//! Members that are removed from a group: because they leave, or because they were silent for too long
//! (`consumerGroupFenceMembers`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::group::count_up;
use super::member::{AWAY_EPOCH, Member};
use super::soft::{Due, MemberName};
use super::subscription::look_up_topics;
use super::turn::Turn;
use crate::group::deciding::Deciding;
use crate::group::modern::{MemberState, TargetMetadata};
use crate::group::state::Group;
use ottla_base::{Str, Timestamp};

/// Removes members.
pub(super) fn fence(mut turn: Turn<'_, '_>, members: &[Member]) {
    if members.is_empty() {
        return;
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
    if turn.group.members().len() == members.len() {
        // Nobody is left to be assigned anything; who comes next need not wait.
        turn.records.target(TargetMetadata { epoch, computed_at: Timestamp(0) });
    }
    for member in members {
        let name = MemberName::of(turn.group.id(), &member.id);
        turn.deciding.expect_nothing(&name);
    }
    turn.finish();
}

/// Something that was expected of a consumer group or one of its members has not happened.
pub(in crate::group) fn fire(deciding: &mut Deciding<'_>, due: Due) {
    match due {
        Due::Session(name) | Due::Join(name) | Due::Sync(name) => {
            give_up(deciding, &name, |_| true);
        }
        // A member that is away has nothing to give up.
        Due::Revocation(name) => give_up(deciding, &name, |member| {
            member.state == MemberState::UnrevokedPartitions && member.epoch != AWAY_EPOCH
        }),
        Due::Regexes(group) => look_up_topics(deciding, &group),
    }
}

fn give_up(deciding: &mut Deciding<'_>, name: &MemberName, is_late: impl FnOnce(&Member) -> bool) {
    let Some(Group::Consumer(group)) = deciding.state.groups.get(&name.group) else { return };
    let Some(member) = group.member(&name.member).filter(|member| is_late(member)) else { return };
    let member = member.clone();
    fence(Turn::new(deciding, Cow::Borrowed(group)), &[member]);
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

/// Nothing is expected of a group that is to be deleted.
pub(in crate::group) fn forget(deciding: &mut Deciding<'_>, group: &Str) {
    let Some(Group::Consumer(known)) = deciding.state.groups.get(group) else { return };
    for member_id in known.members().keys() {
        deciding.expect_nothing(&MemberName::of(group, member_id));
    }
    deciding.not_due(Due::Regexes(group.clone()));
    deciding.soft.metadata.forget_group(group);
    deciding.soft.consumer.looked_up.remove(group);
}
