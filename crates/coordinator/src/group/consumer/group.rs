//! What the records of one consumer group say, and what follows from them (`ConsumerGroup`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_base::{Str, Timestamp, Uuid};

use super::member::{Member, Owned};
use super::records::Records;
use crate::group::modern::subscriptions::{SubscriptionCounts, SubscriptionKind};
use crate::group::modern::{Assigned, FIRST_EPOCH, MemberState, TargetMetadata};

/// One consumer group.
#[derive(Debug, Clone)]
pub(in crate::group) struct ConsumerGroup {
    id: Str,
    epoch: i32,
    metadata_hash: i64,
    /// Whether the log has a record of the group's topics, as releases before 4.1 wrote it.
    has_topics_of_old: bool,
    target: TargetMetadata,
    members: BTreeMap<Str, Member>,
    targets: BTreeMap<Str, Arc<Assigned>>,
    resolved: BTreeMap<Str, Arc<ResolvedRegex>>,
    derived: Derived,
}

/// What follows from members and resolved regular expressions, kept so that a heartbeat need not count.
#[derive(Debug, Clone, Default)]
struct Derived {
    wanted: SubscriptionCounts,
    /// Static members: instance id to member id.
    instances: BTreeMap<Str, Str>,
    /// How many members prefer which assignor.
    assignors: BTreeMap<Str, usize>,
    /// How many members have which regular expression.
    regexes: BTreeMap<Str, usize>,
    /// How many members speak the classic protocol.
    classic_members: usize,
    /// How many of those support which protocol.
    classic_protocols: BTreeMap<Str, usize>,
    /// How many members own all that they are to, in which epoch.
    stable: BTreeMap<i32, usize>,
    /// In which epoch of its owner each partition is owned that somebody has or is to give up.
    owned: BTreeMap<Uuid, BTreeMap<i32, i32>>,
}

/// Which topics a regular expression matches (`ResolvedRegularExpression`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResolvedRegex {
    pub(super) topics: BTreeSet<Str>,
    /// Which metadata was looked at: its offset.
    pub(super) version: i64,
    /// When.
    pub(super) at: Timestamp,
}

impl ConsumerGroup {
    /// A group of which nothing is known.
    pub(super) fn new(id: &Str) -> ConsumerGroup {
        ConsumerGroup {
            id: id.detached(),
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            has_topics_of_old: false,
            target: TargetMetadata::default(),
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            resolved: BTreeMap::new(),
            derived: Derived::default(),
        }
    }

    pub(super) fn id(&self) -> &Str {
        &self.id
    }

    /// The group's epoch.
    pub(in crate::group) fn epoch(&self) -> i32 {
        self.epoch
    }

    /// The hash of its topics when its epoch began.
    pub(super) fn metadata_hash(&self) -> i64 {
        self.metadata_hash
    }

    /// Which epoch its target assignment is for.
    pub(in crate::group) fn target(&self) -> TargetMetadata {
        self.target
    }

    /// Whether the log still has its topics as older releases wrote them.
    pub(super) fn has_topics_of_old(&self) -> bool {
        self.has_topics_of_old
    }

    /// The members, in the order of ids.
    pub(in crate::group) fn members(&self) -> &BTreeMap<Str, Member> {
        &self.members
    }

    /// A member.
    pub(in crate::group) fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// The member with an instance id.
    pub(in crate::group) fn static_member(&self, instance_id: &str) -> Option<&Member> {
        self.members.get(self.derived.instances.get(instance_id)?)
    }

    /// What a member is to own.
    pub(in crate::group) fn target_of(&self, id: &str) -> Arc<Assigned> {
        self.targets.get(id).cloned().unwrap_or_default()
    }

    /// What each member is to own for whom that was decided.
    pub(super) fn targets(&self) -> &BTreeMap<Str, Arc<Assigned>> {
        &self.targets
    }

    /// Whether a member wants this topic.
    pub(in crate::group) fn wants(&self, topic: &str) -> bool {
        self.derived.wanted.contains(topic)
    }

    /// The topics that members want.
    pub(super) fn wanted(&self) -> &SubscriptionCounts {
        &self.derived.wanted
    }

    /// How many members prefer which assignor.
    pub(super) fn assignors(&self) -> &BTreeMap<Str, usize> {
        &self.derived.assignors
    }

    /// How many members have which regular expression.
    pub(super) fn regexes(&self) -> &BTreeMap<Str, usize> {
        &self.derived.regexes
    }

    /// The topics of regular expressions, as far as they were looked up.
    pub(super) fn resolved(&self) -> &BTreeMap<Str, Arc<ResolvedRegex>> {
        &self.resolved
    }

    /// The epoch in which somebody owns a partition, if somebody does.
    pub(super) fn owner_epoch(&self, topic: Uuid, partition: i32) -> Option<i32> {
        self.derived.owned.get(&topic)?.get(&partition).copied()
    }

    /// How many members speak the classic protocol.
    pub(super) fn classic_members(&self) -> usize {
        self.derived.classic_members
    }

    /// Whether all classic members support a protocol.
    pub(super) fn all_support(&self, protocol: &str) -> bool {
        let count = self.derived.classic_protocols.get(protocol).copied().unwrap_or(0);
        count == self.derived.classic_members
    }

    /// The name of its state (`ConsumerGroupState`).
    pub(in crate::group) fn state_name(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target.epoch {
            "Assigning"
        } else if self.stable_in(self.target.epoch) == self.members.len() {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// How many members own all that the target of an epoch gives them.
    pub(super) fn stable_in(&self, epoch: i32) -> usize {
        self.derived.stable.get(&epoch).copied().unwrap_or(0)
    }

    /// Whether a member waits for partitions that others still have.
    pub(super) fn waits_for_others(&self, member: &Member) -> bool {
        if member.state != MemberState::UnreleasedPartitions {
            return false;
        }
        self.target_of(&member.id).iter().any(|(topic, partitions)| {
            let owned = member.assigned.get(topic);
            partitions.iter().any(|partition| {
                owned.is_none_or(|owned| !owned.contains_key(partition))
                    && self.owner_epoch(*topic, *partition).is_some()
            })
        })
    }

    /// The records that remove the group, where `renamed` is a member whose records were written under another id.
    pub(super) fn tombstones(&self, records: &mut Records, renamed: Option<(&Str, &Str)>) {
        let ids: Vec<&Str> = self
            .members
            .keys()
            .map(|id| renamed.filter(|(old, _)| *old == id).map_or(id, |(_, new)| new))
            .collect();
        ids.iter().for_each(|id| records.current_gone(id));
        ids.iter().for_each(|id| records.target_of_gone(id));
        records.target_gone();
        ids.iter().for_each(|id| records.member_gone(id));
        self.resolved.keys().for_each(|regex| records.regex_gone(regex));
        records.topics_of_old_gone();
        records.epoch_gone();
    }

    pub(super) fn set_epoch(&mut self, epoch: i32, metadata_hash: i64) {
        self.epoch = epoch;
        self.metadata_hash = metadata_hash;
    }

    pub(super) fn set_has_topics_of_old(&mut self, has: bool) {
        self.has_topics_of_old = has;
    }

    pub(super) fn set_target(&mut self, target: TargetMetadata) {
        self.target = target;
    }

    pub(super) fn set_target_of(&mut self, id: &Str, assigned: Assigned) {
        self.targets.insert(id.detached(), Arc::new(assigned));
    }

    pub(super) fn remove_target_of(&mut self, id: &str) {
        self.targets.remove(id);
    }

    /// Changes a member, who is new if it is not known.
    pub(super) fn change_member(&mut self, id: &Str, change: impl FnOnce(&mut Member)) {
        let mut member = match self.members.remove(id) {
            Some(old) => {
                self.derived.remove(&old);
                old
            }
            None => Member::new(id),
        };
        change(&mut member);
        // Mostly all members want the same: then it is there once, and seen to be the same at a glance.
        if let Some(like) = self.members.values().next().filter(|like| like.topics == member.topics) {
            member.topics = like.topics.clone();
        }
        self.derived.add(&member);
        self.members.insert(member.id.clone(), member);
    }

    pub(super) fn remove_member(&mut self, id: &str) {
        if let Some(member) = self.members.remove(id) {
            self.derived.remove(&member);
        }
    }

    pub(super) fn resolve_regex(&mut self, regex: &Str, resolved: ResolvedRegex) {
        self.remove_resolved_regex(regex);
        self.derived.wanted.add_matches(&resolved.topics);
        self.resolved.insert(regex.detached(), Arc::new(resolved));
    }

    pub(super) fn remove_resolved_regex(&mut self, regex: &str) {
        if let Some(resolved) = self.resolved.remove(regex) {
            self.derived.wanted.remove_matches(&resolved.topics);
        }
    }
}

impl Derived {
    fn add(&mut self, member: &Member) {
        self.wanted.add_names(member.topics.iter());
        if let Some(instance_id) = &member.instance_id {
            self.instances.insert(instance_id.clone(), member.id.clone());
        }
        count_up(&mut self.assignors, member.assignor.as_ref());
        count_up(&mut self.regexes, member.wanted_regex());
        self.classic_members += usize::from(member.is_classic());
        for protocol in member.classic_protocols() {
            count_up(&mut self.classic_protocols, Some(&protocol.name));
        }
        if member.state == MemberState::Stable {
            *self.stable.entry(member.epoch).or_default() += 1;
        }
        self.add_owned(&member.assigned, member.epoch);
        self.add_owned(&member.revoking, member.epoch);
    }

    fn remove(&mut self, member: &Member) {
        self.wanted.remove_names(member.topics.iter());
        if let Some(instance_id) = &member.instance_id
            && self.instances.get(instance_id) == Some(&member.id)
        {
            self.instances.remove(instance_id);
        }
        count_down(&mut self.assignors, member.assignor.as_ref());
        count_down(&mut self.regexes, member.wanted_regex());
        self.classic_members -= usize::from(member.is_classic());
        for protocol in member.classic_protocols() {
            count_down(&mut self.classic_protocols, Some(&protocol.name));
        }
        if member.state == MemberState::Stable
            && let Some(count) = self.stable.get_mut(&member.epoch)
        {
            *count -= 1;
            if *count == 0 {
                self.stable.remove(&member.epoch);
            }
        }
        self.remove_owned(&member.assigned, member.epoch);
        self.remove_owned(&member.revoking, member.epoch);
    }

    /// A partition that somebody else owns in a later epoch stays there: such a log was not written by a coordinator.
    fn add_owned(&mut self, owned: &Owned, epoch: i32) {
        for (topic, partitions) in owned {
            let epochs = self.owned.entry(*topic).or_default();
            for partition in partitions.keys() {
                let known = epochs.entry(*partition).or_insert(epoch);
                *known = (*known).max(epoch);
            }
        }
    }

    fn remove_owned(&mut self, owned: &Owned, epoch: i32) {
        for (topic, partitions) in owned {
            let Some(epochs) = self.owned.get_mut(topic) else { continue };
            for partition in partitions.keys() {
                if epochs.get(partition) == Some(&epoch) {
                    epochs.remove(partition);
                }
            }
            if epochs.is_empty() {
                self.owned.remove(topic);
            }
        }
    }
}

/// Whether all members want the same, where some may have regular expressions (`ConsumerGroup.subscriptionType`).
pub(super) fn subscription_kind(
    regexes: &BTreeMap<Str, usize>,
    wanted: &SubscriptionCounts,
    members: usize,
) -> SubscriptionKind {
    let Some(with_first) = regexes.values().next() else { return wanted.kind(members) };
    let only_by_it = || wanted.counts().all(|count| count.by_regex == 1 && count.by_name == 0);
    if *with_first == members && only_by_it() {
        SubscriptionKind::Homogeneous
    } else {
        SubscriptionKind::Heterogeneous
    }
}

/// One more.
pub(super) fn count_up(counts: &mut BTreeMap<Str, usize>, name: Option<&Str>) {
    if let Some(name) = name {
        *counts.entry(name.clone()).or_default() += 1;
    }
}

/// One less.
pub(super) fn count_down(counts: &mut BTreeMap<Str, usize>, name: Option<&Str>) {
    let Some(name) = name else { return };
    if let Some(count) = counts.get_mut(name) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(name);
        }
    }
}
