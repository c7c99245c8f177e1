//! The uniform assignor where all members want the same topics: everyone gets the same number of partitions or one
//! more, and keeps what it had as far as that allows (`UniformHomogeneousAssignmentBuilder`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_base::Uuid;

use super::{Assigned, GroupSpec};

pub(super) fn assign(group: &GroupSpec<'_>) -> Vec<Arc<Assigned>> {
    let topics = &group.members[0].topics;
    if topics.is_empty() {
        return vec![Arc::default(); group.members.len()];
    }
    let (mut free, total) = free_partitions(group);
    let members = group.members.len();
    let quota = total / members;
    let mut longer = total % members;

    let mut assigned: Vec<Arc<Assigned>> = Vec::with_capacity(members);
    let mut unfilled: Vec<(usize, usize)> = Vec::new();
    for (place, member) in group.members.iter().enumerate() {
        let mut quota = quota + usize::from(longer > 0);
        let mut has_longer = longer > 0;
        assigned.push(keep(member.assigned, topics, &mut quota, &mut free));
        if quota > 0 && has_longer && members - place > longer {
            quota -= 1;
            has_longer = false;
        }
        if quota > 0 {
            unfilled.push((place, quota));
        }
        longer -= usize::from(has_longer);
    }

    let mut free = free.into_iter();
    for (place, quota) in unfilled {
        let mut filled = (*assigned[place]).clone();
        for (topic, partition) in free.by_ref().take(quota) {
            filled.entry(topic).or_default().insert(partition);
        }
        assigned[place] = Arc::new(filled);
    }
    assigned
}

/// The partitions that nobody was to own, and how many there are of all topics.
fn free_partitions(group: &GroupSpec<'_>) -> (Vec<(Uuid, i32)>, usize) {
    // By topic, whether somebody was to own a partition. What is beyond the topic's end is nobody's.
    let is_owned = |topic: &Uuid| vec![false; usize::try_from(group.partition_count(*topic)).unwrap_or(0)];
    let mut owned: BTreeMap<Uuid, Vec<bool>> =
        group.members[0].topics.iter().map(|topic| (*topic, is_owned(topic))).collect();
    for (topic, partitions) in group.members.iter().flat_map(|member| member.assigned.iter()) {
        let Some(owned) = owned.get_mut(topic) else { continue };
        for partition in partitions {
            if let Some(it) = usize::try_from(*partition).ok().and_then(|it| owned.get_mut(it)) {
                *it = true;
            }
        }
    }
    let (mut free, mut total) = (Vec::new(), 0);
    for (topic, owned) in &owned {
        let partitions = (0..).zip(owned).filter(|(_, is_owned)| !**is_owned);
        free.extend(partitions.map(|(partition, _)| (*topic, partition)));
        total += owned.len();
    }
    (free, total)
}

/// What a member keeps of what it was to own. Takes that from its `quota`; what is too much becomes free.
fn keep(
    old: &Arc<Assigned>,
    topics: &BTreeSet<Uuid>,
    quota: &mut usize,
    free: &mut Vec<(Uuid, i32)>,
) -> Arc<Assigned> {
    let mut kept: Option<Assigned> = None;
    for (topic, partitions) in old.iter() {
        if !topics.contains(topic) {
            kept.get_or_insert_with(|| (**old).clone()).remove(topic);
        } else if partitions.len() <= *quota {
            *quota -= partitions.len();
        } else {
            let kept = kept.get_or_insert_with(|| (**old).clone());
            let rest: Vec<i32> = partitions.iter().copied().skip(*quota).collect();
            if *quota == 0 {
                kept.remove(topic);
            } else if let Some(set) = kept.get_mut(topic) {
                rest.iter().for_each(|partition| {
                    set.remove(partition);
                });
            }
            free.extend(rest.into_iter().map(|partition| (*topic, partition)));
            *quota = 0;
        }
    }
    kept.map_or_else(|| old.clone(), Arc::new)
}
