//! The assignor `highly_available`: what members have on the way to the target, while tasks warm up where they are to
//! be (`AssignmentRefiner`, which changes nothing in Kafka 4.4; KIP-441 for what it is to do).
//!
//! A task with state that is to move stays with whoever processes it until the process that is to have it has caught
//! up, and meanwhile warms up there. If nobody processes it, because its owner is gone, a caught-up copy takes it for
//! as long. A task moves at once where waiting gains nothing: if it has no state or its state is on that process's
//! disk, if nobody else is any further, or if whoever is to have it cannot tell how far it is.
//!
//! What is not known counts for whoever has the task: an owner is taken to process it unless it tells that it lacks
//! most of it, and whoever is to have it is taken to lack its state unless it tells how much it has. So a new
//! coordinator, who has heard from nobody yet, moves nothing that its predecessor held back.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Str;

use super::configured::ConfiguredPart;
use super::live::TaskOffsets;
use super::member::Member;
use super::request::LEAVES_FOR_A_WHILE;
use super::tasks::{EpochedTasks, Tasks, each, has, insert, remove};

/// One task.
type Task<'a> = (&'a Str, i32);

/// Whose tasks may have to wait, and for how much.
pub(super) struct Refiner<'a> {
    /// The topology's parts.
    pub(super) parts: &'a BTreeMap<Str, ConfiguredPart>,
    /// The members, with what they have.
    pub(super) members: &'a BTreeMap<&'a Str, &'a Member>,
    /// How far members' tasks are, as far as they told.
    pub(super) offsets: &'a BTreeMap<Str, TaskOffsets>,
    /// Members that cannot tell.
    pub(super) mute: &'a BTreeSet<Str>,
    /// How many tasks may warm up at once. With none, nothing waits.
    pub(super) warmups: usize,
    /// How many records a copy may be behind and still count as caught up.
    pub(super) acceptable_lag: i64,
}

/// What members have on the way to the target.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refined {
    /// What each member is to have for now.
    pub(super) tasks: BTreeMap<Str, Tasks>,
    /// Whether any task still waits.
    pub(super) waits: bool,
    /// Whether a task moves because it has warmed up.
    pub(super) has_warmed: bool,
}

/// Who has what, by task.
#[derive(Default)]
struct Held<'a> {
    owners: BTreeMap<Task<'a>, &'a Str>,
    /// Who still has to give a task up.
    leaving: BTreeMap<Task<'a>, &'a Str>,
    copies: BTreeMap<Task<'a>, Vec<&'a Str>>,
    processes: BTreeMap<&'a Str, Vec<&'a Str>>,
    /// How far changelogs go, as far as anybody told.
    ends: BTreeMap<Task<'a>, i64>,
}

/// A task that waits.
struct Waiting<'a> {
    task: Task<'a>,
    /// Who is to have it.
    heir: &'a Str,
    /// Who has it meanwhile.
    keeper: &'a Str,
}

impl<'a> Refiner<'a> {
    /// What members come to have of `target` now.
    pub(super) fn refine(&self, target: &BTreeMap<&'a Str, &'a Tasks>) -> Refined {
        let tasks = target.iter().map(|(id, tasks)| ((*id).clone(), (*tasks).clone())).collect();
        let mut refined = Refined { tasks, ..Refined::default() };
        if self.warmups == 0 {
            return refined;
        }
        let held = self.held();
        let mut waiting = Vec::new();
        for (heir, tasks) in target {
            for task in each(&tasks.active).filter(|task| self.is_stateful(*task)) {
                let owner = held.owners.get(&task).copied();
                if owner == Some(*heir) {
                    continue;
                }
                let Some(keeper) = self.keeper(&held, task, owner, heir, &refined) else {
                    refined.has_warmed |= owner.is_some() && self.warms(heir, task);
                    continue;
                };
                let it = Waiting { task, heir, keeper };
                self.hold_back(&held, &it, &mut refined);
                waiting.push(it);
            }
        }
        refined.waits = !waiting.is_empty();
        self.warm_up(waiting, &mut refined);
        refined
    }

    fn is_stateful(&self, (subtopology, _): Task<'_>) -> bool {
        self.parts.get(subtopology).is_some_and(ConfiguredPart::is_stateful)
    }

    fn held(&self) -> Held<'a> {
        let mut held = Held::default();
        for (id, member) in self.members {
            held.owners.extend(active(&member.assigned.active).map(|task| (task, *id)));
            held.leaving.extend(active(&member.revoking.active).map(|task| (task, *id)));
            for task in each(&member.assigned.standby).chain(each(&member.assigned.warmup)) {
                held.copies.entry(task).or_default().push(id);
            }
            held.processes.entry(&member.process_id).or_default().push(id);
            for (subtopology, ends) in self.offsets.get(*id).into_iter().flat_map(|it| &it.ends) {
                for (partition, end) in ends.iter().filter(|(_, end)| is_known(**end)) {
                    let known = held.ends.entry((subtopology, *partition)).or_insert(*end);
                    *known = (*known).max(*end);
                }
            }
        }
        held
    }

    /// Who has a task until `heir` has its state; nobody if it moves at once.
    fn keeper(
        &self,
        held: &Held<'a>,
        task: Task<'a>,
        owner: Option<&'a Str>,
        heir: &'a Str,
        refined: &Refined,
    ) -> Option<&'a Str> {
        if self.mute.contains(heir) || self.is_ready(held, task, heir) {
            return None;
        }
        let processes = |id: &&Str| !self.still_restores(id, task);
        if let Some(owner) = owner.filter(processes) {
            return Some(owner);
        }
        let copies = held.copies.get(&task).into_iter().flatten().copied();
        if owner.is_none() && copies.clone().any(|id| id == heir) && self.lag(held, heir, task).is_none() {
            // The task was on its way to it when the coordinator forgot how far it was.
            return None;
        }
        let load = |id: &Str| refined.tasks.get(id).map_or(0, |it| each(&it.active).count());
        let caught_up = copies.filter(|id| self.is_here(id) && self.has_caught_up(held, id, task));
        let best = caught_up.min_by_key(|id| (load(id), *id));
        let leaving = held.leaving.get(&task).copied().filter(|_| owner.is_none());
        best.or_else(|| leaving.filter(|id| *id != heir).filter(processes))
    }

    /// Whether a member can process a task without restoring much of it.
    fn is_ready(&self, held: &Held<'a>, task: Task<'a>, heir: &'a Str) -> bool {
        let process = self.members.get(heir).and_then(|member| held.processes.get(&member.process_id));
        let mut siblings = process.into_iter().flatten();
        siblings.any(|id| {
            let has_it = |holders: &BTreeMap<Task<'a>, &'a Str>| holders.get(&task) == Some(id);
            has_it(&held.owners) || has_it(&held.leaving) || self.has_caught_up(held, id, task)
        })
    }

    fn has_caught_up(&self, held: &Held<'_>, id: &Str, task: Task<'_>) -> bool {
        self.acceptable_lag == i64::MAX
            || self.lag(held, id, task).is_some_and(|lag| lag <= self.acceptable_lag)
    }

    /// How many records a member's state of a task is behind. Members that only have it on their disk do not know
    /// where the changelog ends; others may.
    fn lag(&self, held: &Held<'_>, id: &Str, task: Task<'_>) -> Option<i64> {
        let offsets = self.offsets.get(id)?;
        let position = of_task(&offsets.positions, task)?;
        let end = of_task(&offsets.ends, task).or_else(|| held.ends.get(&task).copied())?;
        Some(end.saturating_sub(position))
    }

    /// Whether the owner of a task tells that it lacks most of its state, so that it cannot process it for a while. A
    /// task that is processed is not among those whose offsets are told; but what was told last, be it just before the
    /// task was restored, stays until the next report.
    fn still_restores(&self, id: &Str, task: Task<'_>) -> bool {
        let offsets = self.offsets.get(id);
        let told = offsets.and_then(|it| Some((of_task(&it.positions, task)?, of_task(&it.ends, task)?)));
        told.is_some_and(|(position, end)| end.saturating_sub(position) > self.acceptable_lag.max(position))
    }

    /// Whether a member is not away for a while.
    fn is_here(&self, id: &Str) -> bool {
        self.members.get(id).is_some_and(|member| member.epoch != LEAVES_FOR_A_WHILE)
    }

    fn warms(&self, id: &Str, (subtopology, partition): Task<'_>) -> bool {
        let member = self.members.get(id);
        member.is_some_and(|member| has(&member.assigned.warmup, subtopology, partition))
    }

    /// Gives a task to its keeper, whose process then has no copy of it.
    fn hold_back(&self, held: &Held<'a>, it: &Waiting<'a>, refined: &mut Refined) {
        let (subtopology, partition) = it.task;
        if let Some(heir) = refined.tasks.get_mut(it.heir) {
            remove(&mut heir.active, subtopology, partition);
        }
        let process = self.members.get(it.keeper).and_then(|member| held.processes.get(&member.process_id));
        for sibling in process.into_iter().flatten() {
            if let Some(sibling) = refined.tasks.get_mut(*sibling) {
                remove(&mut sibling.standby, subtopology, partition);
            }
        }
        let keeper = refined.tasks.entry(it.keeper.clone()).or_default();
        insert(&mut keeper.active, subtopology, partition);
    }

    /// Lets as many tasks warm up as may: first those that do already, then where the fewest do. A standby that is
    /// there already is as good and costs nothing.
    fn warm_up(&self, mut waiting: Vec<Waiting<'a>>, refined: &mut Refined) {
        waiting.retain(|it| {
            let member = self.members.get(it.heir);
            let stands_by = member.is_some_and(|member| has(&member.assigned.standby, it.task.0, it.task.1));
            if let Some(heir) = refined.tasks.get_mut(it.heir).filter(|_| stands_by) {
                insert(&mut heir.standby, it.task.0, it.task.1);
            }
            !stands_by
        });
        let mut warming: BTreeMap<&Str, usize> = BTreeMap::new();
        for _ in 0..self.warmups {
            let rank = |it: &Waiting<'a>| {
                let count = warming.get(it.heir).copied().unwrap_or_default();
                (!self.warms(it.heir, it.task), count, it.task)
            };
            let Some(next) = (0..waiting.len()).min_by_key(|at| rank(&waiting[*at])) else { return };
            let Waiting { task, heir, .. } = waiting.swap_remove(next);
            *warming.entry(heir).or_default() += 1;
            if let Some(heir) = refined.tasks.get_mut(heir) {
                insert(&mut heir.warmup, task.0, task.1);
            }
        }
    }
}

fn active(tasks: &EpochedTasks) -> impl Iterator<Item = Task<'_>> {
    tasks.iter().flat_map(|(id, partitions)| partitions.keys().map(move |partition| (id, *partition)))
}

/// What is known of a task among `offsets`.
fn of_task(offsets: &BTreeMap<Str, BTreeMap<i32, i64>>, (subtopology, partition): Task<'_>) -> Option<i64> {
    offsets.get(subtopology)?.get(&partition).copied().filter(|offset| is_known(*offset))
}

/// Clients say the largest offset that there is if they do not know one, or if a sum is too large.
fn is_known(offset: i64) -> bool {
    (0..i64::MAX).contains(&offset)
}
