//! `sticky` and `cooperative-sticky`: as even as can be, and every member keeps what it can.
//!
//! Who had a partition in the newest generation keeps it; of two that claim the same generation, neither does. Then
//! partitions without an owner go to whoever has least, and moves follow until no two members that want the same
//! topic differ by more than one. Where racks matter, partitions are given to members in the rack of a replica as far
//! as all stay as even as they were, even if others had them before.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Str;

use super::racks::Racks;
use super::{Assignment, Members, Topics, empty};
use crate::cluster::TopicPartition;

pub(super) fn assign(topics: &Topics, members: &Members) -> Assignment {
    let previous = previous_owners(topics, members);
    let mut wanting: BTreeMap<&Str, Vec<&Str>> = BTreeMap::new();
    for (id, member) in members {
        for topic in member.topics.iter().filter(|topic| topics.contains_key(topic.as_str())) {
            wanting.entry(topic).or_default().push(id);
        }
    }
    let mut sharing = Sharing { wanting, owned: BTreeMap::new(), owner: BTreeMap::new(), previous };
    let racks = Racks::new(topics, members);
    members.keys().for_each(|id| drop(sharing.owned.insert(id.clone(), BTreeSet::new())));
    for (partition, owner) in sharing.previous.clone() {
        sharing.give(partition, owner);
    }
    sharing.trim_to_quota(topics, members);
    let mut free: Vec<TopicPartition> = Vec::new();
    for (topic, partitions) in topics {
        let all = (0..partitions.len()).map(|index| TopicPartition::new(topic.clone(), index as i32));
        free.extend(all.filter(|it| !sharing.owner.contains_key(it)));
    }
    // Those that fewest can have choose first.
    free.sort_by_key(|it| sharing.wanting.get(&it.topic).map_or(0, Vec::len));
    for partition in free {
        if let Some(least) = sharing.least_loaded(&partition, &racks) {
            sharing.give(partition, least);
        }
    }
    sharing.balance(&racks);
    // Who has swapped places with another may now have too much of something else. Every round leaves the loads more
    // even, or as even with more partitions in the right rack.
    while racks.improve(&mut sharing) {
        sharing.balance(&racks);
    }
    let mut assignment = empty(members);
    for (id, partitions) in sharing.owned {
        assignment.insert(id, partitions.into_iter().collect());
    }
    assignment
}

/// Takes out of an assignment what another member still has: it gets that in the next round, once it was given up.
pub(super) fn hold_back_moving(assignment: &mut Assignment, members: &Members) {
    let mut given_up: BTreeSet<&TopicPartition> = BTreeSet::new();
    for (id, member) in members {
        let kept: BTreeSet<&TopicPartition> = assignment.get(id).into_iter().flatten().collect();
        given_up.extend(member.owned.iter().filter(|it| !kept.contains(it)));
    }
    for (id, member) in members {
        let owned: BTreeSet<&TopicPartition> = member.owned.iter().collect();
        if let Some(partitions) = assignment.get_mut(id) {
            partitions.retain(|it| owned.contains(it) || !given_up.contains(it));
        }
    }
}

/// Who may keep what.
fn previous_owners(topics: &Topics, members: &Members) -> BTreeMap<TopicPartition, Str> {
    let mut claims: BTreeMap<&TopicPartition, Vec<(i32, &Str)>> = BTreeMap::new();
    for (id, member) in members {
        for partition in &member.owned {
            let exists = topics.get(&partition.topic).is_some_and(|racks| {
                usize::try_from(partition.partition.0).is_ok_and(|index| index < racks.len())
            });
            if exists && member.topics.contains(&partition.topic) {
                claims.entry(partition).or_default().push((member.generation, id));
            }
        }
    }
    let mut owners = BTreeMap::new();
    for (partition, mut claims) in claims {
        claims.sort();
        claims.dedup();
        let Some((newest, id)) = claims.pop() else { continue };
        if claims.last().is_none_or(|(generation, _)| *generation < newest) {
            owners.insert(partition.clone(), id.clone());
        }
    }
    owners
}

/// Who has what while it is shared out.
pub(super) struct Sharing<'a> {
    wanting: BTreeMap<&'a Str, Vec<&'a Str>>,
    owned: BTreeMap<Str, BTreeSet<TopicPartition>>,
    owner: BTreeMap<TopicPartition, Str>,
    previous: BTreeMap<TopicPartition, Str>,
}

impl Sharing<'_> {
    /// Takes a partition from whoever has it and gives it to another.
    pub(super) fn give(&mut self, partition: TopicPartition, to: Str) {
        if let Some(from) = self.owner.insert(partition.clone(), to.clone())
            && let Some(owned) = self.owned.get_mut(&from)
        {
            owned.remove(&partition);
        }
        self.owned.entry(to).or_default().insert(partition);
    }

    /// How much a member has.
    pub(super) fn load(&self, id: &str) -> usize {
        self.owned.get(id).map_or(0, BTreeSet::len)
    }

    /// What a member has.
    pub(super) fn owned(&self, id: &str) -> impl Iterator<Item = &TopicPartition> {
        self.owned.get(id).into_iter().flatten()
    }

    /// Whether a member has a partition.
    pub(super) fn has(&self, id: &Str, partition: &TopicPartition) -> bool {
        self.owner.get(partition) == Some(id)
    }

    /// Whether a member had a partition before.
    pub(super) fn had(&self, id: &Str, partition: &TopicPartition) -> bool {
        self.previous.get(partition) == Some(id)
    }

    /// Every partition that somebody has, with who.
    pub(super) fn owners(&self) -> BTreeMap<TopicPartition, Str> {
        self.owner.clone()
    }

    /// Who wants a topic.
    pub(super) fn wanting(&self, topic: &Str) -> Vec<Str> {
        self.wanting.get(topic).into_iter().flatten().map(|id| (*id).clone()).collect()
    }

    /// Whether a member wants a topic.
    pub(super) fn wants(&self, id: &Str, topic: &Str) -> bool {
        self.wanting.get(topic).is_some_and(|ids| ids.binary_search(&id).is_ok())
    }

    /// Of those who want a partition, who has least; among equals, one in its rack.
    fn least_loaded(&self, partition: &TopicPartition, racks: &Racks<'_>) -> Option<Str> {
        let wanting = self.wanting.get(&partition.topic)?.iter();
        let least = wanting.min_by_key(|id| (self.load(id), racks.mismatch(id, partition), (**id).clone()));
        least.map(|id| (*id).clone())
    }

    /// Where all want the same, nobody keeps more than its share: so many members may have one more than the others.
    fn trim_to_quota(&mut self, topics: &Topics, members: &Members) {
        let mut wants = members.values().map(|it| &it.topics);
        let Some(first) = wants.next() else { return };
        if !wants.all(|it| it == first) {
            return;
        }
        let all: usize =
            topics.iter().filter(|(topic, _)| first.contains(*topic)).map(|(_, it)| it.len()).sum();
        let (least, mut extra) = (all / members.len(), all % members.len());
        for id in members.keys() {
            let load = self.load(id);
            if load <= least {
                continue;
            }
            let keep = least + usize::from(extra > 0);
            extra = extra.saturating_sub(1);
            let surplus: Vec<_> = self.owned[id].iter().skip(keep).cloned().collect();
            for partition in surplus {
                self.owner.remove(&partition);
                if let Some(owned) = self.owned.get_mut(id) {
                    owned.remove(&partition);
                }
            }
        }
    }

    /// Moves single partitions from who has more to who has less, until no move helps. Every move makes the sum of
    /// the squares of the loads smaller, so it ends.
    fn balance(&mut self, racks: &Racks<'_>) {
        let mut moved = true;
        while moved {
            moved = false;
            for (partition, owner) in self.owner.clone() {
                let load = self.load(&owner);
                let before = self.previous.get(&partition).filter(|it| **it != owner).cloned();
                let before = before.filter(|it| load > self.load(it) + 1);
                let least = self.least_loaded(&partition, racks).filter(|it| load > self.load(it) + 1);
                if let Some(to) = before.or(least) {
                    self.give(partition, to);
                    moved = true;
                }
            }
        }
    }
}
