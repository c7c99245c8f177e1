//! How a member comes, step by step, from the tasks it has to the tasks it is to have (`CurrentAssignmentBuilder`).
//!
//! It first gives up what it is not to have any more, and says so; then it gets what is free. A task is active in one
//! process only, and a process has a task in one role only, apart from a member's own changes of role: those of an
//! active task to a standby, between standby and warm-up, and from a copy to the active task, keep the state that is
//! there.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{ErrorCode, Str};
use ottla_metadata::controller::Refusal;

use super::member::{Member, MemberState};
use super::owners::Owners;
use super::tasks::{EpochedTasks, HeldTasks, TaskSet, Tasks, each, has, insert, remove};

/// The next step of a member.
pub(super) struct Step<'a> {
    /// The member as it is.
    pub(super) member: &'a Member,
    /// The epoch of the target assignment.
    pub(super) epoch: i32,
    /// What the member is to have.
    pub(super) target: &'a Tasks,
    /// What the member says that it has, if it says so.
    pub(super) owned: Option<&'a Tasks>,
    /// Which processes have which tasks.
    pub(super) owners: &'a Owners,
}

/// What becomes of tasks of one role.
#[derive(Default)]
struct Change {
    keeps: TaskSet,
    loses: TaskSet,
    gains: TaskSet,
    /// Whether others have tasks that it is to have.
    waits: bool,
}

/// The same for active tasks, which have epochs.
#[derive(Default)]
struct ActiveChange {
    keeps: EpochedTasks,
    loses: EpochedTasks,
    gains: EpochedTasks,
    waits: bool,
}

impl Step<'_> {
    /// The member after the step; as it was if there is none to take.
    pub(super) fn next(&self) -> Result<Member, Refusal> {
        match self.member.state {
            MemberState::Stable if self.member.epoch == self.epoch => Ok(self.member.clone()),
            MemberState::UnrevokedTasks if !self.has_released(&self.member.revoking) => {
                Ok(self.member.clone())
            }
            MemberState::Stable | MemberState::UnreleasedTasks => Ok(self.step(self.member.epoch)),
            MemberState::UnrevokedTasks => Ok(self.step(self.member.epoch + 1)),
            MemberState::Unknown if self.owned.is_none_or(|owned| !owned.is_empty()) => Err(Refusal::new(
                ErrorCode::FencedMemberEpoch,
                "The streams group member is in a unknown state. The member must abandon all its tasks and rejoin.",
            )),
            MemberState::Unknown => Ok(self.step(self.epoch)),
        }
    }

    /// `epoch` is what the member is in while it gives up tasks.
    fn step(&self, epoch: i32) -> Member {
        let held = &self.member.assigned;
        let active = self.active_change();
        let mut standby = change(&held.standby, &self.target.standby, |id, partition| {
            self.runs_elsewhere_here(id, partition)
                || self.owners.has_standby(id, partition, &self.member.process_id)
                || self.warms_elsewhere_here(id, partition)
        });
        let mut warmup = change(&held.warmup, &self.target.warmup, |id, partition| {
            self.owners.runner(id, partition) == Some(&self.member.process_id)
                || self.stands_elsewhere_here(id, partition)
                || self.owners.has_warmup(id, partition, &self.member.process_id)
        });
        demote(&held.active, &mut standby);
        swap_roles(&held.standby, &mut standby, &mut warmup);
        swap_roles(&held.warmup, &mut warmup, &mut standby);
        self.drop_promoted(&held.standby, &mut standby.loses);
        self.drop_promoted(&held.warmup, &mut warmup.loses);
        let revoking = HeldTasks { active: active.loses, standby: standby.loses, warmup: warmup.loses };
        let must_revoke = !revoking.is_empty() && !self.has_released(&revoking);
        let promoted = if must_revoke { &EpochedTasks::new() } else { &active.gains };
        self.keep_until_promoted(&held.standby, promoted, &mut standby.keeps);
        self.keep_until_promoted(&held.warmup, promoted, &mut warmup.keeps);
        let keeps = HeldTasks { active: active.keeps, standby: standby.keeps, warmup: warmup.keeps };
        let mut next = Member { previous_epoch: self.member.epoch, ..self.member.clone() };
        if must_revoke {
            (next.state, next.epoch) = (MemberState::UnrevokedTasks, epoch);
            (next.assigned, next.revoking) = (keeps, revoking);
            return next;
        }
        let gains = HeldTasks { active: active.gains, standby: standby.gains, warmup: warmup.gains };
        let waits = active.waits || standby.waits || warmup.waits;
        next.state = if waits { MemberState::UnreleasedTasks } else { MemberState::Stable };
        next.epoch = self.epoch;
        (next.assigned, next.revoking) = (keeps.merged(gains), HeldTasks::default());
        next
    }

    fn active_change(&self) -> ActiveChange {
        let none = (BTreeMap::new(), BTreeSet::new());
        let held = &self.member.assigned.active;
        let mut change = ActiveChange::default();
        for id in held.keys().chain(self.target.active.keys()).collect::<BTreeSet<&Str>>() {
            let has = held.get(id).unwrap_or(&none.0);
            let wanted = self.target.active.get(id).unwrap_or(&none.1);
            for (partition, epoch) in has {
                let side = if wanted.contains(partition) { &mut change.keeps } else { &mut change.loses };
                side.entry(id.clone()).or_default().insert(*partition, *epoch);
            }
            for partition in wanted.iter().filter(|partition| !has.contains_key(partition)) {
                if self.owners.runner(id, *partition).is_some()
                    || self.stands_elsewhere_here(id, *partition)
                    || self.warms_elsewhere_here(id, *partition)
                {
                    change.waits = true;
                } else {
                    change.gains.entry(id.clone()).or_default().insert(*partition, self.epoch);
                }
            }
        }
        change
    }

    /// Whether another member of the same process runs a task.
    fn runs_elsewhere_here(&self, id: &Str, partition: i32) -> bool {
        let mine = self.member.assigned.active.get(id).is_some_and(|it| it.contains_key(&partition));
        !mine && self.owners.runner(id, partition) == Some(&self.member.process_id)
    }

    /// Whether another member of the same process has a standby of a task.
    fn stands_elsewhere_here(&self, id: &Str, partition: i32) -> bool {
        let mine = has(&self.member.assigned.standby, id, partition);
        !mine && self.owners.has_standby(id, partition, &self.member.process_id)
    }

    /// Whether another member of the same process warms a task up.
    fn warms_elsewhere_here(&self, id: &Str, partition: i32) -> bool {
        let mine = has(&self.member.assigned.warmup, id, partition);
        !mine && self.owners.has_warmup(id, partition, &self.member.process_id)
    }

    /// Whether the member says that it has none of `tasks` any more.
    fn has_released(&self, tasks: &HeldTasks) -> bool {
        self.owned.is_some_and(|owned| !owned.contains_any(tasks))
    }

    /// A copy that is to become active is not given up.
    fn drop_promoted(&self, copies: &TaskSet, loses: &mut TaskSet) {
        for (id, partition) in each(copies) {
            if has(&self.target.active, id, partition) {
                remove(loses, id, partition);
            }
        }
    }

    /// A copy that is to become active stays one until the active task is `granted`.
    fn keep_until_promoted(&self, copies: &TaskSet, granted: &EpochedTasks, keeps: &mut TaskSet) {
        for (id, partition) in each(copies) {
            let is_granted = granted.get(id).is_some_and(|it| it.contains_key(&partition));
            if has(&self.target.active, id, partition) && !is_granted {
                insert(keeps, id, partition);
            }
        }
    }
}

fn change(held: &TaskSet, target: &TaskSet, is_unreleased: impl Fn(&Str, i32) -> bool) -> Change {
    let mut change = Change::default();
    for (id, partition) in each(held) {
        let side = if has(target, id, partition) { &mut change.keeps } else { &mut change.loses };
        insert(side, id, partition);
    }
    for (id, partition) in each(target) {
        if has(held, id, partition) {
            continue;
        }
        if is_unreleased(id, partition) {
            change.waits = true;
        } else {
            insert(&mut change.gains, id, partition);
        }
    }
    change
}

/// An active task that is to be a standby becomes one while it is given up.
fn demote(active: &EpochedTasks, standby: &mut Change) {
    for (id, partitions) in active {
        for partition in partitions.keys() {
            if has(&standby.gains, id, *partition) {
                remove(&mut standby.gains, id, *partition);
                insert(&mut standby.keeps, id, *partition);
            }
        }
    }
}

/// A copy that changes from one role to the other changes at once.
fn swap_roles(held: &TaskSet, from: &mut Change, to: &mut Change) {
    for (id, partition) in each(held) {
        if has(&to.gains, id, partition) {
            remove(&mut to.gains, id, partition);
            insert(&mut to.keeps, id, partition);
            remove(&mut from.loses, id, partition);
        }
    }
}
