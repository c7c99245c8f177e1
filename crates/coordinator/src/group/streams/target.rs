//! What each member is to have: when it is computed, and the records that tell (`TargetAssignmentBuilder`,
//! `maybeUpdateStreamsTargetAssignment`).

use std::collections::BTreeMap;

use ottla_base::{Str, Timestamp};
use ottla_metadata::settings::{GroupSettings, ServerSettings};

use super::configured::Configured;
use super::live::{Live, TaskOffsets, milliseconds};
use super::member::{self, Member};
use super::state::{self, StreamsGroup};
use super::sticky::Assignor;
use super::tasks::Tasks;
use crate::group::GroupRecord;
use crate::group::deciding::Deciding;

/// The setting of an assignment that says how many standbys a task has.
pub(super) const NUM_STANDBY_REPLICAS: &str = "num.standby.replicas";

/// The setting of an assignment that names the tags by which standbys are spread.
pub(super) const RACK_AWARE_TAGS: &str = "rack.aware.assignment.tags";

/// The assignors that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AssignorName {
    /// Kafka's own: members come to have the target at once.
    Sticky,
    /// The same target; tasks warm up where they are to be before they move.
    HighlyAvailable,
}

impl AssignorName {
    /// The assignor of a group: the one that its settings name, or else the first of the server's.
    pub(super) fn of(server: &ServerSettings, group: &GroupSettings) -> AssignorName {
        let served = &server.streams_groups.group_streams_assignors;
        let chosen = group.streams_assignor_name.as_ref().filter(|name| served.contains(name));
        match chosen.or(served.first()) {
            Some(name) if name == AssignorName::HighlyAvailable.name() => AssignorName::HighlyAvailable,
            _ => AssignorName::Sticky,
        }
    }

    /// As settings and descriptions have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            AssignorName::Sticky => "sticky",
            AssignorName::HighlyAvailable => "highly_available",
        }
    }
}

/// The members of a group as they will be.
pub(super) struct Members<'a> {
    /// Everybody.
    pub(super) all: BTreeMap<&'a Str, &'a Member>,
    /// What they were to have before: a static member that comes back has what it had under its old id.
    pub(super) had: BTreeMap<&'a Str, &'a Tasks>,
}

impl<'a> Members<'a> {
    /// The members of a group.
    pub(super) fn of(group: &'a StreamsGroup) -> Members<'a> {
        Members { all: group.members.iter().collect(), had: group.target.iter().collect() }
    }

    /// Adds a member, or lets one be another; `replaced` is the static member that it takes the place of.
    pub(super) fn set(&mut self, id: &'a Str, member: &'a Member, replaced: Option<&Str>) {
        self.all.insert(id, member);
        if let Some(replaced) = replaced {
            self.all.remove(replaced);
            if let Some(had) = self.had.remove(replaced) {
                self.had.insert(id, had);
            }
        }
    }
}

/// A target assignment, and the records that make it one.
pub(super) struct Computed {
    pub(super) records: Vec<GroupRecord>,
    pub(super) target: BTreeMap<Str, Tasks>,
}

/// Whether enough time has passed since the last assignment (KIP-1263).
pub(super) fn may_compute(group: &StreamsGroup, interval_ms: i32, now: Timestamp) -> bool {
    let due = group.assignment_timestamp.saturating_add(i64::from(interval_ms));
    group.assignment_timestamp == 0 || interval_ms == 0 || now.get() >= due
}

/// Computes the assignment of a group's epoch.
pub(super) fn compute(
    group: &Str,
    epoch: i32,
    members: &Members<'_>,
    configured: &Configured,
    offsets: &BTreeMap<Str, TaskOffsets>,
    configs: &BTreeMap<Str, Str>,
    now: Timestamp,
) -> Computed {
    let target = if configured.is_ready() && !members.all.is_empty() {
        let standbys = configs.get(NUM_STANDBY_REPLICAS).and_then(|count| count.parse().ok());
        let standbys = standbys.unwrap_or_default();
        Assignor { parts: &configured.parts, members: &members.all, offsets, standbys }.assign()
    } else {
        members.all.keys().map(|id| ((*id).clone(), Tasks::default())).collect()
    };
    let changed = target.iter().filter(|(id, tasks)| members.had.get(id) != Some(tasks));
    let mut records: Vec<GroupRecord> =
        changed.map(|(id, tasks)| member::target_record(group, id, tasks)).collect();
    records.push(state::target_metadata_record(group, epoch, now.get()));
    Computed { records, target }
}

/// A new group has waited long enough: whoever has joined meanwhile is assigned tasks.
pub(super) fn assign_after_delay(deciding: &mut Deciding<'_>, id: &Str, group: &StreamsGroup) {
    if group.members.is_empty() || group.epoch <= group.assignment_epoch {
        return;
    }
    let Some(world) = &mut deciding.soft.world else { return };
    let interval_ms = world.group_settings(id).streams_assignment_interval_ms;
    if !may_compute(group, interval_ms, deciding.at.wall_clock) {
        return;
    }
    let Some(Live { configured: Some(configured), offsets, .. }) = deciding.soft.streams.groups.get(id)
    else {
        return;
    };
    let (members, configs) = (Members::of(group), &group.assignment_configs);
    let now = deciding.at.wall_clock;
    let computed = compute(id, group.epoch, &members, configured, offsets, configs, now);
    computed.records.into_iter().for_each(|record| deciding.write(record));
}

/// How long a new group waits for more members; nothing if it does not.
pub(super) fn initial_delay(delay_ms: i32) -> Option<std::time::Duration> {
    (delay_ms > 0).then(|| milliseconds(delay_ms))
}
