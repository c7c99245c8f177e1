//! The assignor `sticky`: members keep what they have as far as balance allows (`StickyTaskAssignor`).
//!
//! Active tasks go to whoever had them, then to whoever had a copy, then to the process with the least load. Standbys
//! go to processes that do not have the task yet, in the same order of preference. Where Kafka leaves a tie to the
//! order of a hash map, the process with the idlest member comes first here, then the order of ids decides.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Str;

use super::configured::ConfiguredPart;
use super::live::TaskOffsets;
use super::member::Member;
use super::tasks::{HeldTasks, Tasks, each, has, insert};

/// Whom tasks are assigned to, and how.
pub(super) struct Assignor<'a> {
    /// The topology's parts, all of whose topics exist.
    pub(super) parts: &'a BTreeMap<Str, ConfiguredPart>,
    /// The members; not none.
    pub(super) members: &'a BTreeMap<&'a Str, &'a Member>,
    /// How far members' copies are, as far as they told.
    pub(super) offsets: &'a BTreeMap<Str, TaskOffsets>,
    /// How many standbys each task with state is to have.
    pub(super) standbys: usize,
}

/// One task.
type Task<'a> = (&'a Str, i32);

/// A member by its place among all, in the order of ids.
type Place = usize;

/// How much a process has to do: tasks per member of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Load {
    tasks: usize,
    members: usize,
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.tasks * other.members).cmp(&(other.tasks * self.members))
    }
}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A process among others: the least loaded first, and of those, the one with the idlest member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    load: Load,
    fewest: usize,
    process: usize,
}

/// What a process has so far.
#[derive(Default)]
struct Process<'a> {
    /// Its members, those with the fewest tasks first.
    members: BTreeSet<(usize, Place)>,
    has: BTreeSet<Task<'a>>,
    task_count: usize,
}

impl Process<'_> {
    fn load(&self) -> Load {
        Load { tasks: self.task_count, members: self.members.len() }
    }
}

/// How many tasks members may have so that all are given out evenly.
#[derive(Debug, Clone, Copy)]
struct Quota {
    tasks: usize,
    members: usize,
    each: usize,
}

impl Quota {
    fn new(tasks: usize, members: usize) -> Quota {
        let each = if members == 0 { 0 } else { tasks.div_ceil(members) };
        Quota { tasks, members, each }
    }

    /// A member has `count` tasks now: if that is all it may have, the others share what is left.
    fn note(&mut self, count: usize) {
        if count == self.each {
            let members = self.members.saturating_sub(1);
            *self = Quota::new(self.tasks.saturating_sub(count), members);
        }
    }
}

/// What roles tasks are given out in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Active,
    Standby,
}

/// The assignment on its way.
struct Assigning<'a> {
    /// Which process each member belongs to.
    process_of: Vec<usize>,
    processes: Vec<Process<'a>>,
    /// How many tasks each member has.
    counts: Vec<usize>,
    assigned: Vec<Tasks>,
    active_quota: Quota,
    total_quota: Quota,
    /// Who had a task.
    had: BTreeMap<Task<'a>, Place>,
    /// Who had a copy of a task, the best copies first.
    had_copies: BTreeMap<Task<'a>, Vec<Place>>,
}

impl Assignor<'_> {
    /// What each member is to have.
    pub(super) fn assign(&self) -> BTreeMap<Str, Tasks> {
        let mut assigning = self.begin();
        assigning.assign_active(self.tasks(|_| true));
        if self.standbys > 0 {
            assigning.assign_standbys(self.tasks(ConfiguredPart::is_stateful), self.standbys);
        }
        self.members.keys().map(|id| (*id).clone()).zip(assigning.assigned).collect()
    }

    fn tasks(&self, wanted: impl Fn(&ConfiguredPart) -> bool) -> Vec<Task<'_>> {
        let parts = self.parts.iter().filter(|(_, part)| wanted(part));
        parts.flat_map(|(id, part)| (0..part.tasks).map(move |partition| (id, partition))).collect()
    }

    fn begin(&self) -> Assigning<'_> {
        let members = self.members.len();
        let count = |part: &ConfiguredPart| usize::try_from(part.tasks).unwrap_or_default();
        let active: usize = self.parts.values().map(count).sum();
        let stateful = self.parts.values().filter(|part| part.is_stateful());
        let standby = stateful.map(count).sum::<usize>() * self.standbys;
        let mut by_id: BTreeMap<&Str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let next = by_id.len();
            by_id.entry(&member.process_id).or_insert(next);
        }
        let process_of =
            self.members.values().map(|member| by_id[&member.process_id]).collect::<Vec<usize>>();
        let mut processes: Vec<Process<'_>> = by_id.iter().map(|_| Process::default()).collect();
        for (place, process) in process_of.iter().enumerate() {
            processes[*process].members.insert((0, place));
        }
        Assigning {
            process_of,
            processes,
            counts: vec![0; members],
            assigned: vec![Tasks::default(); members],
            active_quota: Quota::new(active, members),
            total_quota: Quota::new(active + standby, members),
            had: self.had(),
            had_copies: self.had_copies(),
        }
    }

    fn had(&self) -> BTreeMap<Task<'_>, Place> {
        let members = self.members.values().enumerate();
        let tasks = members.flat_map(|(place, member)| {
            let active = member.assigned.active.iter();
            active.flat_map(move |(id, it)| it.keys().map(move |partition| ((id, *partition), place)))
        });
        tasks.collect()
    }

    /// Standbys and warm-ups first, then whatever else members told of having some state of, the furthest first.
    fn had_copies(&self) -> BTreeMap<Task<'_>, Vec<Place>> {
        let mut ranked: BTreeMap<Task<'_>, Vec<(bool, i64, Place)>> = BTreeMap::new();
        for (place, (id, member)) in self.members.iter().enumerate() {
            let offsets = self.offsets.get(*id).map(|offsets| &offsets.positions);
            let offset = |subtopology: &Str, partition: i32| {
                offsets.and_then(|it| it.get(subtopology)?.get(&partition)).copied()
            };
            let HeldTasks { standby, warmup, .. } = &member.assigned;
            for (subtopology, partition) in each(standby).chain(each(warmup)) {
                let position = offset(subtopology, partition).unwrap_or_default();
                ranked.entry((subtopology, partition)).or_default().push((true, position, place));
            }
            for (subtopology, partitions) in offsets.into_iter().flatten() {
                for (partition, position) in partitions {
                    if !has(standby, subtopology, *partition) && !has(warmup, subtopology, *partition) {
                        ranked.entry((subtopology, *partition)).or_default().push((false, *position, place));
                    }
                }
            }
        }
        let best_first = ranked.into_iter().map(|(task, mut copies)| {
            copies.sort_by_key(|(is_held, position, _)| Reverse((*is_held, *position)));
            (task, copies.into_iter().map(|(_, _, place)| place).collect())
        });
        best_first.collect()
    }
}

impl<'a> Assigning<'a> {
    fn assign_active(&mut self, mut tasks: Vec<Task<'a>>) {
        tasks.sort_unstable_by_key(|(id, partition)| (*partition, *id));
        tasks.retain(|task| !self.give_back(*task, |it, task| it.had.get(&task).copied()));
        tasks.retain(|task| !self.give_back(*task, |it, task| it.idlest_with_copy(task, Role::Active)));
        tasks.sort_unstable();
        let mut by_load = self.by_load();
        for task in tasks {
            let Some(Ranked { process, .. }) = by_load.pop_first() else { return };
            self.give_to_idlest(process, task, Role::Active);
            by_load.insert(self.ranked(process));
        }
    }

    /// Gives a task to the member that `chosen` names, if it may have more. Says whether it did.
    fn give_back(&mut self, task: Task<'a>, chosen: impl Fn(&Self, Task<'a>) -> Option<Place>) -> bool {
        match chosen(self, task) {
            Some(place) if self.counts[place] < self.active_quota.each => {
                self.give(place, task, Role::Active);
                true
            }
            _ => false,
        }
    }

    fn assign_standbys(&mut self, mut tasks: Vec<Task<'a>>, standbys: usize) {
        tasks.sort_unstable_by_key(|(id, partition)| (*partition, *id));
        tasks.reverse();
        let mut rest: Vec<(Task<'a>, usize)> = Vec::new();
        for task in tasks {
            for given in 0..standbys {
                let may_have = |it: &Self, place: Place| it.counts[place] < it.total_quota.each;
                let had = self.had.get(&task).copied();
                let had = had.filter(|place| !self.process_has(*place, task) && may_have(self, *place));
                let had_copy =
                    || self.idlest_with_copy(task, Role::Standby).filter(|place| may_have(self, *place));
                match had.or_else(had_copy) {
                    Some(place) => self.give(place, task, Role::Standby),
                    None => {
                        rest.push((task, standbys - given));
                        break;
                    }
                }
            }
        }
        rest.sort_unstable_by(|one, other| other.0.cmp(&one.0));
        self.assign_standbys_by_load(rest);
    }

    fn assign_standbys_by_load(&mut self, rest: Vec<(Task<'a>, usize)>) {
        let mut by_load = self.by_load();
        for (task, missing) in rest {
            for _ in 0..missing {
                let free = by_load.iter().find(|it| !self.processes[it.process].has.contains(&task));
                // Every process has it: there are not enough of them for so many standbys.
                let Some(free) = free.copied() else { break };
                by_load.remove(&free);
                self.give_to_idlest(free.process, task, Role::Standby);
                by_load.insert(self.ranked(free.process));
            }
        }
    }

    fn by_load(&self) -> BTreeSet<Ranked> {
        (0..self.processes.len()).map(|process| self.ranked(process)).collect()
    }

    fn ranked(&self, process: usize) -> Ranked {
        let it = &self.processes[process];
        let fewest = it.members.first().map_or(0, |(count, _)| *count);
        Ranked { load: it.load(), fewest, process }
    }

    fn process_has(&self, place: Place, task: Task<'a>) -> bool {
        self.processes[self.process_of[place]].has.contains(&task)
    }

    /// Whoever had a copy and is idler than those before, both as a process and as a member.
    fn idlest_with_copy(&self, task: Task<'a>, role: Role) -> Option<Place> {
        let mut best: Option<(Place, Load, usize)> = None;
        for place in self.had_copies.get(&task)? {
            if role == Role::Standby && self.process_has(*place, task) {
                continue;
            }
            let (load, count) = (self.processes[self.process_of[*place]].load(), self.counts[*place]);
            if best.is_none_or(|(_, least, fewest)| load < least && count < fewest) {
                best = Some((*place, load, count));
            }
        }
        best.map(|(place, _, _)| place)
    }

    fn give_to_idlest(&mut self, process: usize, task: Task<'a>, role: Role) {
        if let Some((_, place)) = self.processes[process].members.first().copied() {
            self.give(place, task, role);
        }
    }

    fn give(&mut self, place: Place, task: Task<'a>, role: Role) {
        let process = &mut self.processes[self.process_of[place]];
        process.members.remove(&(self.counts[place], place));
        self.counts[place] += 1;
        process.members.insert((self.counts[place], place));
        process.has.insert(task);
        process.task_count += 1;
        let mine = &mut self.assigned[place];
        match role {
            Role::Active => {
                insert(&mut mine.active, task.0, task.1);
                self.active_quota.note(self.counts[place]);
            }
            Role::Standby => insert(&mut mine.standby, task.0, task.1),
        }
        self.total_quota.note(self.counts[place]);
    }
}
