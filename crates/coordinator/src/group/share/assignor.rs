//! Which member gets which partitions: everybody about the same number, every partition about the same number of
//! members, and as little changes as possible (`SimpleAssignor`).

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Uuid;

use super::super::modern::Assigned;
use super::super::modern::subscriptions::SubscriptionKind;

/// A member to be given partitions.
pub(super) struct Assignee<'a> {
    /// The topics that it wants and that exist.
    pub(super) topics: BTreeSet<Uuid>,
    /// What it was to share in so far.
    pub(super) before: &'a Assigned,
}

/// A partition by its topic.
type Part = (Uuid, i32);

/// What each member is to share in, in the order of `members`. `available` are the partitions that can be shared in,
/// of topics that exist.
///
/// If all want the same, the partitions of all topics are one heap that is dealt out to all members; otherwise each
/// topic is dealt out to those who want it. Kafka goes through members and partitions in the order of Java's hashes,
/// we in the order of ids; it leaves partitions with members who were given them before they went out of use, we do
/// not.
pub(super) fn assign(
    members: &[Assignee<'_>],
    available: &Assigned,
    kind: SubscriptionKind,
) -> Vec<Assigned> {
    let mut given: Vec<Assigned> = members.iter().map(|member| still_wanted(member, available)).collect();
    match kind {
        SubscriptionKind::Homogeneous => {
            let topics = members.first().map(|member| &member.topics);
            let heap = topics.into_iter().flatten().flat_map(|topic| parts_of(*topic, available));
            let everybody: Vec<usize> = (0..members.len()).collect();
            Heap::new(heap.collect(), everybody).deal(&mut given);
        }
        SubscriptionKind::Heterogeneous => {
            let topics: BTreeSet<Uuid> = members.iter().flat_map(|member| &member.topics).copied().collect();
            for topic in topics {
                let wants = |index: &usize| members[*index].topics.contains(&topic);
                let subscribers = (0..members.len()).filter(wants).collect();
                Heap::new(parts_of(topic, available).collect(), subscribers).deal(&mut given);
            }
        }
    }
    for assigned in &mut given {
        assigned.retain(|_, partitions| !partitions.is_empty());
    }
    given
}

/// What a member had, as far as it wants it and can share in it.
fn still_wanted(member: &Assignee<'_>, available: &Assigned) -> Assigned {
    let wanted = member.before.iter().filter(|(topic, _)| member.topics.contains(topic));
    let kept = wanted.filter_map(|(topic, partitions)| {
        let available = available.get(topic)?;
        Some((*topic, partitions.intersection(available).copied().collect()))
    });
    kept.collect()
}

fn parts_of(topic: Uuid, available: &Assigned) -> impl Iterator<Item = Part> {
    available.get(&topic).into_iter().flatten().map(move |partition| (topic, *partition))
}

/// Partitions that are dealt out together, and to whom.
struct Heap {
    parts: Vec<Part>,
    /// Indexes of members, ascending.
    takers: Vec<usize>,
    /// How many members each partition should have.
    sharing: usize,
    /// How many partitions each taker should have.
    desired: Vec<usize>,
}

impl Heap {
    fn new(parts: Vec<Part>, takers: Vec<usize>) -> Heap {
        let sharing = if parts.is_empty() { 0 } else { takers.len().div_ceil(parts.len()) };
        let all = sharing * parts.len();
        // Whole numbers whose sum is exact: the first takers may get one more than the last.
        let up_to = |taker: usize| (all * taker).div_ceil(takers.len().max(1));
        let desired = (0..takers.len()).map(|taker| up_to(taker + 1) - up_to(taker)).collect();
        Heap { parts, takers, sharing, desired }
    }

    fn deal(&self, given: &mut [Assigned]) {
        let (mut by_part, mut by_taker) = self.held(given);
        self.take_from_overfilled(&mut by_part, &mut by_taker);
        self.take_from_overshared(&mut by_part, &mut by_taker);
        self.give_the_rest(&mut by_part, &mut by_taker);
        for (taker, parts) in self.takers.iter().zip(by_taker) {
            let assigned = &mut given[*taker];
            for (topic, partition) in &self.parts {
                if let Some(partitions) = assigned.get_mut(topic) {
                    partitions.remove(partition);
                }
            }
            for (topic, partition) in parts {
                assigned.entry(topic).or_default().insert(partition);
            }
        }
    }

    /// Who holds what of this heap: takers by partition, partitions by taker.
    fn held(&self, given: &[Assigned]) -> (BTreeMap<Part, BTreeSet<usize>>, Vec<BTreeSet<Part>>) {
        let mut by_part: BTreeMap<Part, BTreeSet<usize>> =
            self.parts.iter().map(|part| (*part, BTreeSet::new())).collect();
        let mut by_taker = vec![BTreeSet::new(); self.takers.len()];
        for (taker, member) in self.takers.iter().enumerate() {
            for (topic, partitions) in &given[*member] {
                for partition in partitions {
                    let part = (*topic, *partition);
                    if let Some(holders) = by_part.get_mut(&part) {
                        holders.insert(taker);
                        by_taker[taker].insert(part);
                    }
                }
            }
        }
        (by_part, by_taker)
    }

    fn take_from_overfilled(
        &self,
        by_part: &mut BTreeMap<Part, BTreeSet<usize>>,
        by_taker: &mut [BTreeSet<Part>],
    ) {
        for (taker, parts) in by_taker.iter_mut().enumerate() {
            while parts.len() > self.desired[taker] {
                let Some(part) = parts.pop_first() else { break };
                if let Some(holders) = by_part.get_mut(&part) {
                    holders.remove(&taker);
                }
            }
        }
    }

    fn take_from_overshared(
        &self,
        by_part: &mut BTreeMap<Part, BTreeSet<usize>>,
        by_taker: &mut [BTreeSet<Part>],
    ) {
        for (part, holders) in by_part {
            while holders.len() > self.sharing {
                let Some(taker) = holders.pop_first() else { break };
                by_taker[taker].remove(part);
            }
        }
    }

    /// Goes once through the partitions, and round and round through the takers that have too few. A partition that
    /// nobody of these can take once more keeps fewer members than it should have.
    fn give_the_rest(&self, by_part: &mut BTreeMap<Part, BTreeSet<usize>>, by_taker: &mut [BTreeSet<Part>]) {
        let mut unfilled: Vec<usize> =
            (0..self.takers.len()).filter(|taker| by_taker[*taker].len() < self.desired[*taker]).collect();
        let mut next = 0;
        for (part, holders) in by_part {
            let mut passed = 0;
            while holders.len() < self.sharing && passed < unfilled.len() {
                next %= unfilled.len();
                let taker = unfilled[next];
                if !holders.insert(taker) {
                    passed += 1;
                    next += 1;
                    continue;
                }
                passed = 0;
                by_taker[taker].insert(*part);
                if by_taker[taker].len() >= self.desired[taker] {
                    unfilled.remove(next);
                } else {
                    next += 1;
                }
            }
        }
    }
}
