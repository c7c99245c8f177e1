//! `range`: of each topic, neighbouring partitions to each member; replicas in a member's rack are preferred where
//! racks differ (KIP-881).

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Str;

use super::{Assignment, Members, Topics, empty, in_order};
use crate::cluster::TopicPartition;

/// One topic while it is shared out.
struct Shares<'a> {
    topic: &'a Str,
    /// The members that want it, in order, with their racks.
    members: Vec<(&'a Str, Option<&'a Str>)>,
    racks: &'a [BTreeSet<Str>],
    needs_racks: bool,
    free: BTreeSet<usize>,
    taken: BTreeMap<&'a Str, usize>,
    each: usize,
    /// How many members may still have one more.
    extra: usize,
}

pub(super) fn assign(topics: &Topics, members: &Members) -> Assignment {
    let mut assignment = empty(members);
    let ordered = in_order(members);
    let mut shares: Vec<Shares<'_>> = Vec::new();
    for (topic, racks) in topics.iter().filter(|(_, racks)| !racks.is_empty()) {
        let wanting = ordered.iter().filter(|(_, it)| it.topics.contains(topic));
        let wanting: Vec<_> =
            wanting.map(|(id, it)| (*id, it.rack.as_ref().filter(|rack| !rack.is_empty()))).collect();
        if !wanting.is_empty() {
            shares.push(Shares::new(topic, racks, wanting));
        }
    }
    if shares.iter().any(|it| it.needs_racks) {
        assign_by_rack(&mut shares, &mut assignment);
    }
    for share in &mut shares {
        share.assign_ranges(&mut assignment, |_, _, _| true);
    }
    assignment.values_mut().for_each(|it| it.sort());
    assignment
}

/// The members of a topic with their racks, and how many partitions have racks that matter.
type Likeness = (Vec<(Str, Option<Str>)>, usize);

/// Topics with the same members and as many partitions keep their numbers together.
fn assign_by_rack(shares: &mut [Shares<'_>], assignment: &mut Assignment) {
    let mut alike: BTreeMap<Likeness, Vec<usize>> = BTreeMap::new();
    for (at, share) in shares.iter().enumerate() {
        let members = share.members.iter().map(|(id, rack)| ((*id).clone(), rack.cloned())).collect();
        alike.entry((members, share.rack_count())).or_default().push(at);
    }
    for ((members, count), places) in alike {
        if let [only] = places[..] {
            if shares[only].needs_racks {
                shares[only].assign_ranges(assignment, Shares::matches);
            }
            continue;
        }
        let mut remaining: Vec<Str> = members.into_iter().map(|(id, _)| id).collect();
        for index in 0..count {
            let fits =
                |id: &Str| places.iter().all(|at| shares[*at].matches(id, index) && shares[*at].room(id) > 0);
            let Some(chosen) = remaining.iter().find(|id| fits(id)).cloned() else { continue };
            for at in &places {
                shares[*at].give(&chosen, index, assignment);
            }
            if places.iter().all(|at| shares[*at].room(&chosen) == 0) {
                remaining.retain(|it| *it != chosen);
            }
            if remaining.is_empty() {
                break;
            }
        }
    }
}

impl<'a> Shares<'a> {
    fn new(
        topic: &'a Str,
        racks: &'a [BTreeSet<Str>],
        members: Vec<(&'a Str, Option<&'a Str>)>,
    ) -> Shares<'a> {
        let of_members: BTreeSet<&Str> = members.iter().filter_map(|(_, rack)| *rack).collect();
        let of_partitions: BTreeSet<&Str> = racks.iter().flatten().collect();
        let differ = racks.iter().any(|it| it.iter().collect::<BTreeSet<_>>() != of_partitions);
        Shares {
            topic,
            racks,
            needs_racks: !of_members.is_disjoint(&of_partitions) && differ,
            free: (0..racks.len()).collect(),
            taken: members.iter().map(|(id, _)| (*id, 0)).collect(),
            each: racks.len() / members.len(),
            extra: racks.len() % members.len(),
            members,
        }
    }

    /// How many partitions have racks that are looked at: none, if no member has one.
    fn rack_count(&self) -> usize {
        if self.members.iter().any(|(_, rack)| rack.is_some()) { self.racks.len() } else { 0 }
    }

    fn matches(&self, id: &Str, index: usize) -> bool {
        let rack = self.members.iter().find(|(it, _)| *it == id).and_then(|(_, rack)| *rack);
        rack.is_none_or(|rack| self.racks[index].contains(rack))
    }

    /// How many partitions more a member may have.
    fn room(&self, id: &Str) -> usize {
        let taken = self.taken.get(id).copied().unwrap_or(0);
        (self.each + usize::from(self.extra > 0)).saturating_sub(taken)
    }

    fn assign_ranges(&mut self, assignment: &mut Assignment, may: impl Fn(&Self, &Str, usize) -> bool) {
        for (id, _) in self.members.clone() {
            let room = self.room(id);
            let fitting = self.free.iter().copied().filter(|index| may(self, id, *index));
            let chosen: Vec<usize> = fitting.take(room).collect();
            for index in chosen {
                self.give(id, index, assignment);
            }
        }
    }

    fn give(&mut self, id: &Str, index: usize, assignment: &mut Assignment) {
        if let Some((_, taken)) = self.taken.iter_mut().find(|(it, _)| **it == id) {
            *taken += 1;
            if *taken > self.each {
                self.extra = self.extra.saturating_sub(1);
            }
        }
        self.free.remove(&index);
        let partition = TopicPartition::new(self.topic.clone(), index as i32);
        assignment.entry(id.clone()).or_default().push(partition);
    }
}
