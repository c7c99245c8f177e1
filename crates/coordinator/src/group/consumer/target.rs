//! What every member is to own: computed anew when the group's epoch has moved on and the last time is long enough ago
//! (`maybeUpdateTargetAssignment`, `TargetAssignmentBuilder`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use ottla_base::{Str, Uuid};
use ottla_metadata::Image;

use super::group::{ConsumerGroup, count_down, count_up};
use super::member::Member;
use super::reconcile::Wanted;
use super::turn::Turn;
use crate::group::modern::assignor::{Assignor, GroupSpec, MemberSpec};
use crate::group::modern::subscriptions::SubscriptionKind;
use crate::group::modern::{Assigned, TargetMetadata};

/// What a member is to own from an epoch on.
pub(super) struct Target {
    pub(super) epoch: i32,
    pub(super) assigned: Arc<Assigned>,
}

/// The group's members as they will be once the decision's records are taken, with what each was to own before.
struct Members<'a> {
    group: &'a ConsumerGroup,
    updated: &'a Member,
    /// The member of the same instance id that `updated` replaces.
    replaced: Option<&'a Str>,
}

impl Turn<'_, '_> {
    /// What `updated` is to own. `member` is what it was before; `kind` is looked up if it is not known.
    pub(super) fn target_for(
        &mut self,
        epoch: i32,
        member: &Member,
        updated: &Member,
        kind: Option<SubscriptionKind>,
    ) -> Target {
        let last = self.group.target();
        let interval_ms = self.settings.consumer_assignment_interval_ms;
        if last.epoch >= epoch || !last.may_be_replaced(interval_ms, self.deciding.at.wall_clock) {
            return self.last_target_for(updated);
        }
        let image = self.image();
        let kind = kind.unwrap_or_else(|| self.kind());
        let assignor = self.preferred_assignor_with(member, updated);
        let members = Members::new(&self.group, updated);
        let (before, nothing) = (members.before(), Arc::default());
        let specs = members.specs(&before, &nothing, &image);
        let spec = GroupSpec { partition_counts: partition_counts(&specs, &image), kind, members: specs };
        let assigned = assignor.assign(&spec);

        let mut mine = Arc::default();
        for ((member, before), after) in spec.members.iter().zip(&before).zip(assigned) {
            if *before != Some(&after) {
                self.records.target_of(member.id, &after);
            }
            if *member.id == updated.id {
                mine = after;
            }
        }
        self.records.target(TargetMetadata { epoch, computed_at: self.deciding.at.wall_clock });
        Target { epoch, assigned: mine }
    }

    /// What a member was to own the last time; a static member what its predecessor was to.
    pub(super) fn last_target_for(&self, member: &Member) -> Target {
        let assigned = match &member.instance_id {
            None => self.group.target_of(&member.id),
            Some(instance_id) => {
                let owner = self.group.static_member(instance_id);
                owner.map(|owner| self.group.target_of(&owner.id)).unwrap_or_default()
            }
        };
        Target { epoch: self.group.target().epoch, assigned }
    }

    /// The assignor that most members prefer once a member has changed.
    pub(super) fn preferred_assignor_with(&self, member: &Member, updated: &Member) -> Assignor {
        let mut counts = self.group.assignors().clone();
        count_down(&mut counts, member.assignor.as_ref());
        count_up(&mut counts, updated.assignor.as_ref());
        preferred_assignor(&counts, &self.server().groups.group_consumer_assignors)
    }
}

/// The assignor that most members prefer, or the first of `served`. Of two that equally many prefer Kafka takes the
/// uniform one, which comes first in its table.
pub(super) fn preferred_assignor(counts: &BTreeMap<Str, usize>, served: &[String]) -> Assignor {
    let known = counts.iter().filter_map(|(name, count)| Some((*count, Assignor::named(name)?)));
    let most = known.max_by_key(|(count, assignor)| (*count, *assignor == Assignor::Uniform));
    most.map_or_else(|| default_assignor(served), |(_, assignor)| assignor)
}

/// The first assignor of a setting.
pub(super) fn default_assignor(served: &[String]) -> Assignor {
    served.iter().find_map(|name| Assignor::named(name)).unwrap_or(Assignor::Uniform)
}

impl<'a> Members<'a> {
    fn new(group: &'a ConsumerGroup, updated: &'a Member) -> Members<'a> {
        let same_instance = updated.instance_id.as_ref().and_then(|id| group.static_member(id));
        let replaced = same_instance.map(|member| &member.id).filter(|id| **id != updated.id);
        Members { group, updated, replaced }
    }

    /// The members, in the order of ids.
    fn iter(&self) -> impl Iterator<Item = &'a Member> {
        let (id, replaced) = (self.updated.id.as_str(), self.replaced);
        let known = |range: (Bound<&str>, Bound<&str>)| self.group.members().range::<str, _>(range);
        let before = known((Bound::Unbounded, Bound::Excluded(id)));
        let after = known((Bound::Excluded(id), Bound::Unbounded));
        let stays = move |member: &&Member| replaced.is_none_or(|replaced| *replaced != member.id);
        let values = |(_, member): (&'a Str, &'a Member)| member;
        before.map(values).filter(stays).chain([self.updated]).chain(after.map(values).filter(stays))
    }

    /// What each was to own before, if that was decided.
    fn before(&self) -> Vec<Option<&'a Arc<Assigned>>> {
        // Both are in the order of ids: one goes along with the other.
        let mut targets = self.group.targets().iter().peekable();
        let target = |member: &Member| match self.replaced.filter(|_| member.id == self.updated.id) {
            Some(replaced) => self.group.targets().get(replaced),
            None => {
                while targets.next_if(|(id, _)| **id < member.id).is_some() {}
                targets.next_if(|(id, _)| **id == member.id).map(|(_, target)| target)
            }
        };
        self.iter().map(target).collect()
    }

    fn specs(
        &self,
        before: &[Option<&'a Arc<Assigned>>],
        nothing: &'a Arc<Assigned>,
        image: &Image,
    ) -> Vec<MemberSpec<'a>> {
        let mut specs: Vec<MemberSpec<'a>> = Vec::with_capacity(before.len());
        let mut last: Option<(&Member, Arc<BTreeSet<Uuid>>)> = None;
        for (member, before) in self.iter().zip(before) {
            // Mostly all members want the same: what the last one wants need not be looked up again.
            let topics = match &last {
                Some((like, topics)) if like.topics == member.topics && like.regex == member.regex => {
                    topics.clone()
                }
                _ => Arc::new(Wanted::of(member, self.group.resolved(), image).ids()),
            };
            last = Some((member, topics.clone()));
            specs.push(MemberSpec {
                id: &member.id,
                instance_id: member.instance_id.as_ref(),
                topics,
                assigned: before.unwrap_or(nothing),
            });
        }
        specs
    }
}

fn partition_counts(members: &[MemberSpec<'_>], image: &Image) -> BTreeMap<Uuid, i32> {
    let mut counts = BTreeMap::new();
    let mut last: Option<&Arc<BTreeSet<Uuid>>> = None;
    for member in members {
        if last.is_some_and(|last| Arc::ptr_eq(last, &member.topics)) {
            continue;
        }
        for topic in member.topics.iter() {
            counts.insert(*topic, image.topics.get(*topic).map_or(0, |topic| topic.partition_count));
        }
        last = Some(&member.topics);
    }
    counts
}
