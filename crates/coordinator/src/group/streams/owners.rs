//! Which processes have which tasks, counted over all members of a group.

use std::collections::BTreeMap;

use ottla_base::Str;

use super::member::Member;
use super::tasks::{HeldTasks, TaskSet};

/// Which process has a task as active one, by subtopology.
type Runners = BTreeMap<Str, BTreeMap<i32, Str>>;

/// How many members of each process have a copy of a task, by subtopology.
type Holders = BTreeMap<Str, BTreeMap<i32, BTreeMap<Str, u32>>>;

/// Which processes have which tasks, those they must give up included.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Owners {
    active: Runners,
    standby: Holders,
    warmup: Holders,
}

impl Owners {
    /// The process that runs a task.
    pub(super) fn runner(&self, subtopology: &Str, partition: i32) -> Option<&Str> {
        self.active.get(subtopology)?.get(&partition)
    }

    /// Whether a process has a standby of a task.
    pub(super) fn has_standby(&self, subtopology: &Str, partition: i32, process: &Str) -> bool {
        holds(&self.standby, subtopology, partition, process)
    }

    /// Whether a process warms a task up.
    pub(super) fn has_warmup(&self, subtopology: &Str, partition: i32, process: &Str) -> bool {
        holds(&self.warmup, subtopology, partition, process)
    }

    /// Counts a member's tasks in.
    pub(super) fn add(&mut self, member: &Member) {
        for held in [&member.assigned, &member.revoking] {
            self.add_active(held, &member.process_id);
            add(&mut self.standby, &held.standby, &member.process_id);
            add(&mut self.warmup, &held.warmup, &member.process_id);
        }
    }

    /// Counts a member's tasks out. A task that another process has taken meanwhile stays with it.
    pub(super) fn remove(&mut self, member: &Member) {
        for held in [&member.assigned, &member.revoking] {
            self.remove_active(held, &member.process_id);
            remove(&mut self.standby, &held.standby, &member.process_id);
            remove(&mut self.warmup, &held.warmup, &member.process_id);
        }
    }

    fn add_active(&mut self, held: &HeldTasks, process: &Str) {
        for (subtopology, partitions) in &held.active {
            let runners = self.active.entry(subtopology.clone()).or_default();
            runners.extend(partitions.keys().map(|partition| (*partition, process.clone())));
        }
    }

    fn remove_active(&mut self, held: &HeldTasks, process: &Str) {
        for (subtopology, partitions) in &held.active {
            let Some(runners) = self.active.get_mut(subtopology) else { continue };
            for partition in partitions.keys() {
                if runners.get(partition) == Some(process) {
                    runners.remove(partition);
                }
            }
            if runners.is_empty() {
                self.active.remove(subtopology);
            }
        }
    }
}

fn holds(holders: &Holders, subtopology: &Str, partition: i32, process: &Str) -> bool {
    let of_task = holders.get(subtopology).and_then(|it| it.get(&partition));
    of_task.is_some_and(|processes| processes.contains_key(process))
}

fn add(holders: &mut Holders, tasks: &TaskSet, process: &Str) {
    for (subtopology, partitions) in tasks {
        let of_subtopology = holders.entry(subtopology.clone()).or_default();
        for partition in partitions {
            *of_subtopology.entry(*partition).or_default().entry(process.clone()).or_default() += 1;
        }
    }
}

fn remove(holders: &mut Holders, tasks: &TaskSet, process: &Str) {
    for (subtopology, partitions) in tasks {
        let Some(of_subtopology) = holders.get_mut(subtopology) else { continue };
        for partition in partitions {
            let Some(processes) = of_subtopology.get_mut(partition) else { continue };
            if let Some(count) = processes.get_mut(process) {
                *count -= 1;
                if *count == 0 {
                    processes.remove(process);
                }
            }
            if processes.is_empty() {
                of_subtopology.remove(partition);
            }
        }
        if of_subtopology.is_empty() {
            holders.remove(subtopology);
        }
    }
}
