//! Tasks: the partitions of a topology's subtopologies, as members are to have them and as they have them.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Str;
use ottla_wire::messages::streams_group_describe_response as describe;
use ottla_wire::messages::streams_group_heartbeat_request as asked;
use ottla_wire::messages::streams_group_heartbeat_response as told;
use ottla_wire::records::group::{
    StreamsGroupCurrentMemberAssignmentTaskIds, StreamsGroupTargetAssignmentMemberTaskIds,
    StreamsGroupTargetAssignmentMemberValue,
};

/// Tasks by subtopology. A subtopology without tasks is not there.
pub(super) type TaskSet = BTreeMap<Str, BTreeSet<i32>>;

/// Tasks by subtopology, each with the epoch in which it was assigned. A subtopology without tasks is not there.
pub(super) type EpochedTasks = BTreeMap<Str, BTreeMap<i32, i32>>;

/// What a member is to have, or says that it has (`TasksTuple`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Tasks {
    pub(super) active: TaskSet,
    pub(super) standby: TaskSet,
    pub(super) warmup: TaskSet,
}

/// What a member has as far as the coordinator knows (`TasksTupleWithEpochs`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct HeldTasks {
    pub(super) active: EpochedTasks,
    pub(super) standby: TaskSet,
    pub(super) warmup: TaskSet,
}

impl Tasks {
    /// What a member says that it has.
    pub(super) fn owned(
        active: &[asked::TaskIds],
        standby: &[asked::TaskIds],
        warmup: &[asked::TaskIds],
    ) -> Tasks {
        let set = |ids: &[asked::TaskIds]| {
            let mut tasks = TaskSet::new();
            ids.iter().for_each(|ids| insert_all(&mut tasks, &ids.subtopology_id, &ids.partitions));
            tasks
        };
        Tasks { active: set(active), standby: set(standby), warmup: set(warmup) }
    }

    /// What a record says.
    pub(super) fn from_record(value: &StreamsGroupTargetAssignmentMemberValue) -> Tasks {
        let set = |ids: &[StreamsGroupTargetAssignmentMemberTaskIds]| {
            let mut tasks = TaskSet::new();
            ids.iter().for_each(|ids| insert_all(&mut tasks, &ids.subtopology_id, &ids.partitions));
            tasks
        };
        Tasks {
            active: set(&value.active_tasks),
            standby: set(&value.standby_tasks),
            warmup: set(&value.warmup_tasks),
        }
    }

    /// As a record says it.
    pub(super) fn to_record(&self) -> StreamsGroupTargetAssignmentMemberValue {
        let ids = |tasks: &TaskSet| {
            let ids =
                tasks.iter().map(|(subtopology, partitions)| StreamsGroupTargetAssignmentMemberTaskIds {
                    subtopology_id: subtopology.clone(),
                    partitions: partitions.iter().copied().collect(),
                    ..Default::default()
                });
            ids.collect()
        };
        StreamsGroupTargetAssignmentMemberValue {
            active_tasks: ids(&self.active),
            standby_tasks: ids(&self.standby),
            warmup_tasks: ids(&self.warmup),
            ..Default::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty() && self.standby.is_empty() && self.warmup.is_empty()
    }

    /// Whether any of `held` is among these, in the same role.
    pub(super) fn contains_any(&self, held: &HeldTasks) -> bool {
        let active = self.active.iter().any(|(subtopology, mine)| {
            held.active.get(subtopology).is_some_and(|it| it.keys().any(|partition| mine.contains(partition)))
        });
        active || intersect(&self.standby, &held.standby) || intersect(&self.warmup, &held.warmup)
    }

    /// Whether these are the tasks of `held`, in the same roles.
    pub(super) fn are(&self, held: &HeldTasks) -> bool {
        self.standby == held.standby
            && self.warmup == held.warmup
            && self.active.len() == held.active.len()
            && self.active.iter().all(|(subtopology, mine)| {
                held.active.get(subtopology).is_some_and(|it| it.keys().eq(mine.iter()))
            })
    }
}

impl HeldTasks {
    /// What a record says. Active tasks whose epochs are not there have the member's.
    pub(super) fn from_record(
        active: &[StreamsGroupCurrentMemberAssignmentTaskIds],
        standby: &[StreamsGroupCurrentMemberAssignmentTaskIds],
        warmup: &[StreamsGroupCurrentMemberAssignmentTaskIds],
        member_epoch: i32,
    ) -> HeldTasks {
        let set = |ids: &[StreamsGroupCurrentMemberAssignmentTaskIds]| {
            let mut tasks = TaskSet::new();
            ids.iter().for_each(|ids| insert_all(&mut tasks, &ids.subtopology_id, &ids.partitions));
            tasks
        };
        let mut epoched = EpochedTasks::new();
        for ids in active.iter().filter(|ids| !ids.partitions.is_empty()) {
            let epochs = ids.assignment_epochs.as_ref().filter(|it| it.len() == ids.partitions.len());
            let epoch_of = |at: usize| epochs.and_then(|epochs| epochs.get(at)).copied();
            let partitions = ids.partitions.iter().enumerate();
            let with_epochs =
                partitions.map(|(at, partition)| (*partition, epoch_of(at).unwrap_or(member_epoch)));
            epoched.entry(ids.subtopology_id.detached()).or_default().extend(with_epochs);
        }
        HeldTasks { active: epoched, standby: set(standby), warmup: set(warmup) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty() && self.standby.is_empty() && self.warmup.is_empty()
    }

    /// These and those of `other`.
    pub(super) fn merged(mut self, other: HeldTasks) -> HeldTasks {
        for (subtopology, partitions) in other.active {
            self.active.entry(subtopology).or_default().extend(partitions);
        }
        merge(&mut self.standby, other.standby);
        merge(&mut self.warmup, other.warmup);
        self
    }

    /// The same, as if they had been assigned in epoch 0: so they are a static member's that went away for a while.
    pub(super) fn in_epoch_zero(&self) -> HeldTasks {
        let mut tasks = self.clone();
        tasks.active.values_mut().flat_map(BTreeMap::values_mut).for_each(|epoch| *epoch = 0);
        tasks
    }

    /// Standbys and warm-ups alike.
    pub(super) fn copies(&self) -> TaskSet {
        let mut both = self.standby.clone();
        merge(&mut both, self.warmup.clone());
        both
    }
}

/// Whether every task that a member says it has is one of `held`; not if it does not say.
pub(super) fn all_in(owned: Option<&[asked::TaskIds]>, holds: impl Fn(&Str, i32) -> bool) -> bool {
    owned.is_some_and(|owned| {
        owned.iter().all(|ids| ids.partitions.iter().all(|partition| holds(&ids.subtopology_id, *partition)))
    })
}

/// Active tasks without their epochs.
pub(super) fn without_epochs(tasks: &EpochedTasks) -> TaskSet {
    tasks.iter().map(|(subtopology, it)| (subtopology.clone(), it.keys().copied().collect())).collect()
}

pub(super) fn has(tasks: &TaskSet, subtopology: &Str, partition: i32) -> bool {
    tasks.get(subtopology).is_some_and(|partitions| partitions.contains(&partition))
}

pub(super) fn insert(tasks: &mut TaskSet, subtopology: &Str, partition: i32) {
    match tasks.get_mut(subtopology) {
        Some(partitions) => drop(partitions.insert(partition)),
        None => drop(tasks.insert(subtopology.clone(), BTreeSet::from([partition]))),
    }
}

pub(super) fn remove(tasks: &mut TaskSet, subtopology: &Str, partition: i32) {
    if let Some(partitions) = tasks.get_mut(subtopology)
        && partitions.remove(&partition)
        && partitions.is_empty()
    {
        tasks.remove(subtopology);
    }
}

/// Every task of a set.
pub(super) fn each(tasks: &TaskSet) -> impl Iterator<Item = (&Str, i32)> {
    tasks.iter().flat_map(|(id, partitions)| partitions.iter().map(move |partition| (id, *partition)))
}

/// As an answer to a heartbeat says it.
pub(super) fn told(tasks: &TaskSet) -> Vec<told::TaskIds> {
    let ids = tasks.iter().map(|(subtopology, partitions)| told::TaskIds {
        subtopology_id: subtopology.clone(),
        partitions: partitions.iter().copied().collect(),
        ..Default::default()
    });
    ids.collect()
}

/// As a description says it.
pub(super) fn described(tasks: &TaskSet) -> Vec<describe::TaskIds> {
    let ids = tasks.iter().map(|(subtopology, partitions)| describe::TaskIds {
        subtopology_id: subtopology.clone(),
        partitions: partitions.iter().copied().collect(),
        ..Default::default()
    });
    ids.collect()
}

/// As a record of a member's assignment says it.
pub(super) fn recorded(tasks: &TaskSet) -> Vec<StreamsGroupCurrentMemberAssignmentTaskIds> {
    let ids = tasks.iter().map(|(subtopology, partitions)| StreamsGroupCurrentMemberAssignmentTaskIds {
        subtopology_id: subtopology.clone(),
        partitions: partitions.iter().copied().collect(),
        assignment_epochs: None,
        ..Default::default()
    });
    ids.collect()
}

/// As a record of a member's assignment says it, with epochs.
pub(super) fn recorded_with_epochs(tasks: &EpochedTasks) -> Vec<StreamsGroupCurrentMemberAssignmentTaskIds> {
    let ids = tasks.iter().map(|(subtopology, partitions)| StreamsGroupCurrentMemberAssignmentTaskIds {
        subtopology_id: subtopology.clone(),
        partitions: partitions.keys().copied().collect(),
        assignment_epochs: Some(partitions.values().copied().collect()),
        ..Default::default()
    });
    ids.collect()
}

fn insert_all(tasks: &mut TaskSet, subtopology: &Str, partitions: &[i32]) {
    if !partitions.is_empty() {
        tasks.entry(subtopology.detached()).or_default().extend(partitions);
    }
}

fn merge(tasks: &mut TaskSet, other: TaskSet) {
    for (subtopology, partitions) in other {
        tasks.entry(subtopology).or_default().extend(partitions);
    }
}

fn intersect(one: &TaskSet, other: &TaskSet) -> bool {
    one.iter()
        .any(|(subtopology, mine)| other.get(subtopology).is_some_and(|theirs| !mine.is_disjoint(theirs)))
}
