//! Soft state of streams groups, and what becomes due for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ErrorCode, Str};
use ottla_metadata::controller::Refusal;
use ottla_wire::messages::streams_group_heartbeat_request::TaskOffset;

use super::configured::Configured;
use super::member::MemberState;
use super::refine::Refined;
use super::{StreamsGroup, leave, target};
use crate::group::deciding::Deciding;
use crate::group::soft::Timer;
use crate::group::state::Group;
use crate::group::why::Trigger;

/// How many offsets of tasks a member may report. Kafka knows no limit.
const TASK_OFFSETS_LIMIT: usize = 100_000;

/// What streams groups have in soft state.
#[derive(Debug, Default)]
pub(in crate::group) struct StreamsSoft {
    /// By group id; only groups that exist.
    pub(super) groups: BTreeMap<Str, Live>,
    /// Whether the seat has begun to watch the members.
    watches: bool,
}

/// What a group knows beyond its records.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// The topology, once its topics were looked at.
    pub(super) configured: Option<Arc<Configured>>,
    /// How far members' tasks are, by member id.
    pub(super) offsets: BTreeMap<Str, TaskOffsets>,
    /// Members whose heartbeats have no room for that.
    pub(super) mute: BTreeSet<Str>,
    /// What members come to have on the way to the target, and for which epoch of it; only what is assigned highly
    /// available has this.
    pub(super) refined: Option<(i32, Refined)>,
    /// Who wants the whole application to end.
    pub(super) shutdown_asked_by: Option<Str>,
    /// Rises with every change of what can be queried where.
    pub(super) endpoint_epoch: i32,
    /// The epochs in which members began to give up tasks, by member id.
    revoking: BTreeMap<Str, i32>,
}

/// How far the tasks of a member are, as it told (`MemberTaskOffsets`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct TaskOffsets {
    /// What the tasks have read of their changelogs.
    pub(super) positions: BTreeMap<Str, BTreeMap<i32, i64>>,
    /// How far the changelogs go.
    pub(super) ends: BTreeMap<Str, BTreeMap<i32, i64>>,
}

/// What becomes due for a streams group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::group) enum StreamsTimer {
    /// A member was silent for too long: group and member.
    Session(Str, Str),
    /// A member took too long to give up tasks: group and member.
    Rebalance(Str, Str),
    /// A new group has waited long enough for more members.
    InitialRebalance(Str),
}

impl TaskOffsets {
    /// What is known after a report; what it does not tell stays.
    pub(super) fn updated(
        &self,
        positions: Option<&[TaskOffset]>,
        ends: Option<&[TaskOffset]>,
    ) -> Result<TaskOffsets, Refusal> {
        Ok(TaskOffsets {
            positions: positions.map_or_else(|| Ok(self.positions.clone()), by_task)?,
            ends: ends.map_or_else(|| Ok(self.ends.clone()), by_task)?,
        })
    }
}

impl Live {
    /// Forgets a member that is gone.
    pub(super) fn forget(&mut self, member: &Str) {
        self.offsets.remove(member);
        self.mute.remove(member);
        self.revoking.remove(member);
    }
}

/// The world is new, or has changed. A seat that sees it for the first time expects every member to report.
pub(in crate::group) fn see_world(deciding: &mut Deciding<'_>) {
    if std::mem::replace(&mut deciding.soft.streams.watches, true) {
        return;
    }
    for (id, group) in &deciding.state.groups {
        let Group::Streams(group) = group else { continue };
        for (member_id, member) in &group.members {
            expect_heartbeat(deciding, id, member_id);
            if member.state == MemberState::UnrevokedTasks {
                expect_revocation(deciding, id, member_id, member.epoch, member.rebalance_timeout_ms);
            }
        }
    }
}

/// Something is due.
pub(in crate::group) fn fire(deciding: &mut Deciding<'_>, timer: StreamsTimer) {
    let state = deciding.state;
    let group_of = |id: &Str| match state.groups.get(id) {
        Some(Group::Streams(group)) => Some(&**group),
        _ => None,
    };
    match timer {
        StreamsTimer::Session(id, member) => {
            if let Some(group) = group_of(&id).filter(|group| group.members.contains_key(&member)) {
                leave::remove(deciding, &id, group, &member, Trigger::SessionExpired);
            }
        }
        StreamsTimer::Rebalance(id, member) => {
            let live = deciding.soft.streams.groups.get_mut(&id);
            let epoch = live.and_then(|live| live.revoking.remove(&member));
            let is_late = |group: &&StreamsGroup| {
                group.members.get(&member).is_some_and(|member| Some(member.epoch) == epoch)
            };
            if let Some(group) = group_of(&id).filter(is_late) {
                leave::remove(deciding, &id, group, &member, Trigger::RevocationOverdue);
            }
        }
        StreamsTimer::InitialRebalance(id) => {
            if let Some(group) = group_of(&id) {
                target::assign_after_delay(deciding, &id, group);
            }
        }
    }
}

/// A member is expected to report within its session timeout from now.
pub(super) fn expect_heartbeat(deciding: &mut Deciding<'_>, group: &Str, member: &Str) {
    let Some(world) = &mut deciding.soft.world else { return };
    let session = milliseconds(world.group_settings(group).streams_session_timeout_ms);
    let timer = StreamsTimer::Session(group.clone(), member.clone());
    deciding.soft.timers.set(Timer::Streams(timer), deciding.at.now + session);
}

/// A member is expected to give up tasks within its rebalance timeout from now.
pub(super) fn expect_revocation(
    deciding: &mut Deciding<'_>,
    group: &Str,
    member: &Str,
    epoch: i32,
    rebalance_timeout_ms: i32,
) {
    let live = deciding.soft.streams.groups.entry(group.clone()).or_default();
    live.revoking.insert(member.clone(), epoch);
    let timer = StreamsTimer::Rebalance(group.clone(), member.clone());
    let at = deciding.at.now + milliseconds(rebalance_timeout_ms);
    deciding.soft.timers.set(Timer::Streams(timer), at);
}

/// A member is not expected to give up tasks any more.
pub(super) fn expect_no_revocation(deciding: &mut Deciding<'_>, group: &Str, member: &Str) {
    if let Some(live) = deciding.soft.streams.groups.get_mut(group) {
        live.revoking.remove(member);
    }
    let timer = StreamsTimer::Rebalance(group.clone(), member.clone());
    deciding.soft.timers.cancel(&Timer::Streams(timer));
}

/// Nothing is expected of a member any more.
pub(super) fn expect_nothing(deciding: &mut Deciding<'_>, group: &Str, member: &Str) {
    expect_no_revocation(deciding, group, member);
    let timer = StreamsTimer::Session(group.clone(), member.clone());
    deciding.soft.timers.cancel(&Timer::Streams(timer));
}

/// A time of that many milliseconds; none if the number is negative.
pub(super) fn milliseconds(count: i32) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or_default())
}

fn by_task(offsets: &[TaskOffset]) -> Result<BTreeMap<Str, BTreeMap<i32, i64>>, Refusal> {
    if offsets.len() > TASK_OFFSETS_LIMIT {
        let message = format!("A member must not report more than {TASK_OFFSETS_LIMIT} task offsets.");
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    let mut by_task: BTreeMap<Str, BTreeMap<i32, i64>> = BTreeMap::new();
    for offset in offsets {
        let of_subtopology = by_task.entry(offset.subtopology_id.detached()).or_default();
        if of_subtopology.insert(offset.partition, offset.offset).is_some() {
            let message = format!(
                "Task offsets contain a duplicate entry for subtopology {} and partition {}.",
                offset.subtopology_id, offset.partition
            );
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
    }
    Ok(by_task)
}
