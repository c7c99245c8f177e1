//! One step of a member towards what it is to own: first it gives up what is not its own any more, then it gets what
//! others have given up (`CurrentAssignmentBuilder`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_metadata::Image;
use ottla_metadata::controller::Refusal;

use super::group::{ConsumerGroup, ResolvedRegex};
use super::member::{Member, Owned};
use crate::group::modern::{Assigned, MemberState};

/// Whether a member wants other topics than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subscription {
    Same,
    Changed,
}

/// Partitions of a topic, as a member says that it owns them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnedTopic {
    pub(super) id: Uuid,
    pub(super) partitions: Vec<i32>,
}

/// What a step depends on besides the member.
pub(super) struct Step<'a> {
    /// The group as its records have it.
    pub(super) group: &'a ConsumerGroup,
    pub(super) image: &'a Image,
    /// The epoch of the target, and what it gives to the member.
    pub(super) target_epoch: i32,
    pub(super) target: &'a Assigned,
    pub(super) subscription: Subscription,
    /// What the member says that it owns, if it says so.
    pub(super) owned: Option<&'a [OwnedTopic]>,
}

/// The topics that a member wants, named or matched.
pub(super) struct Wanted<'a> {
    names: &'a BTreeSet<Str>,
    matched: Option<&'a ResolvedRegex>,
    image: &'a Image,
}

impl<'a> Wanted<'a> {
    pub(super) fn of(
        member: &'a Member,
        resolved: &'a BTreeMap<Str, Arc<ResolvedRegex>>,
        image: &'a Image,
    ) -> Wanted<'a> {
        let matched = member.wanted_regex().and_then(|regex| resolved.get(regex)).map(Arc::as_ref);
        Wanted { names: &member.topics, matched, image }
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.matched.is_none_or(|matched| matched.topics.is_empty())
    }

    fn contains(&self, topic: Uuid) -> bool {
        let Some(topic) = self.image.topics.get(topic) else { return false };
        self.names.contains(&topic.name)
            || self.matched.is_some_and(|matched| matched.topics.contains(&topic.name))
    }

    /// The ids of those that exist.
    pub(super) fn ids(&self) -> BTreeSet<Uuid> {
        let matched = self.matched.into_iter().flat_map(|matched| matched.topics.iter());
        crate::group::modern::topics::topic_ids(self.names.iter().chain(matched), self.image)
    }
}

impl Step<'_> {
    /// The member after the step; the same if there is nothing to do.
    pub(super) fn take(&self, member: &Member) -> Result<Member, Refusal> {
        Ok(match member.state {
            MemberState::Stable if member.epoch != self.target_epoch => self.advance(member, member.epoch),
            MemberState::Stable => self.give_up_unwanted(member),
            MemberState::UnrevokedPartitions if self.still_owns(&member.revoking) => {
                self.give_up_unwanted(member)
            }
            MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {
                self.advance(member, member.epoch)
            }
            MemberState::Unknown if self.owned.is_some_and(<[OwnedTopic]>::is_empty) => {
                self.advance(member, self.target_epoch)
            }
            MemberState::Unknown => {
                return Err(Refusal::new(
                    ErrorCode::FencedMemberEpoch,
                    "The consumer group member is in a unknown state. \
                     The member must abandon all its partitions and rejoin.",
                ));
            }
        })
    }

    /// Whether the member has any of these partitions, as far as it says.
    fn still_owns(&self, revoking: &Owned) -> bool {
        let Some(owned) = self.owned else { return true };
        owned.iter().any(|topic| {
            let revoking = revoking.get(&topic.id);
            revoking.is_some_and(|revoking| topic.partitions.iter().any(|it| revoking.contains_key(it)))
        })
    }

    /// In its epoch, a member whose subscription has changed gives up topics that it does not want any more.
    fn give_up_unwanted(&self, member: &Member) -> Member {
        if self.subscription == Subscription::Same {
            return member.clone();
        }
        let wanted = Wanted::of(member, self.group.resolved(), self.image);
        let (mut assigned, mut revoking) = (member.assigned.clone(), member.revoking.clone());
        if wanted.is_empty() && member.revoking.is_empty() {
            revoking = std::mem::take(&mut assigned);
        } else {
            for (topic, partitions) in member.assigned.iter().filter(|(topic, _)| !wanted.contains(**topic)) {
                Arc::make_mut(&mut assigned).remove(topic);
                Arc::make_mut(&mut revoking).entry(*topic).or_default().extend(partitions);
            }
        }
        if assigned.len() == member.assigned.len() {
            return member.clone();
        }
        let mut after = in_epoch(member, member.epoch);
        after.assigned = assigned;
        if !revoking.is_empty() && self.still_owns(&revoking) {
            after.state = MemberState::UnrevokedPartitions;
            after.revoking = revoking;
        }
        after
    }

    /// Towards the target: gives up first, in `epoch`; then goes to the target's epoch with what is free.
    fn advance(&self, member: &Member, epoch: i32) -> Member {
        let wanted = Wanted::of(member, self.group.resolved(), self.image);
        let mut assigned = Owned::new();
        let mut revoking = Owned::new();
        let mut free: Vec<(Uuid, i32)> = Vec::new();
        let mut waits = false;
        let nothing = (BTreeSet::new(), BTreeMap::new());
        let topics: BTreeSet<Uuid> = self.target.keys().chain(member.assigned.keys()).copied().collect();
        for topic in topics {
            let target = self.target.get(&topic).filter(|_| wanted.contains(topic)).unwrap_or(&nothing.0);
            let owned = member.assigned.get(&topic).unwrap_or(&nothing.1);
            let (kept, given_up): (BTreeMap<i32, i32>, BTreeMap<i32, i32>) =
                owned.iter().partition(|(partition, _)| target.contains(*partition));
            for partition in target.iter().filter(|partition| !kept.contains_key(*partition)) {
                let mine = member.revoking.get(&topic).is_some_and(|mine| mine.contains_key(partition));
                if mine || self.group.owner_epoch(topic, *partition).is_none() {
                    free.push((topic, *partition));
                } else {
                    waits = true;
                }
            }
            if !kept.is_empty() {
                assigned.insert(topic, kept);
            }
            if !given_up.is_empty() {
                revoking.insert(topic, given_up);
            }
        }
        if !revoking.is_empty() && self.still_owns(&revoking) {
            let mut after = in_epoch(member, epoch);
            after.state = MemberState::UnrevokedPartitions;
            after.assigned = Arc::new(assigned);
            after.revoking = Arc::new(revoking);
            return after;
        }
        for (topic, partition) in free {
            assigned.entry(topic).or_default().insert(partition, self.target_epoch);
        }
        let mut after = in_epoch(member, self.target_epoch);
        after.state = if waits { MemberState::UnreleasedPartitions } else { MemberState::Stable };
        after.assigned = Arc::new(assigned);
        after.revoking = Arc::default();
        after
    }
}

/// The member in an epoch; the one it was in is remembered.
fn in_epoch(member: &Member, epoch: i32) -> Member {
    Member { epoch, previous_epoch: member.epoch, ..member.clone() }
}
