//! What records of share groups say.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ottla_base::{Str, Timestamp, Uuid};
use ottla_wire::records::group::{
    GroupKey, GroupValue, ShareGroupCurrentMemberAssignmentValue, ShareGroupMemberMetadataValue,
    ShareGroupStatePartitionMetadataValue, ShareGroupTargetAssignmentMemberValue, TopicPartitionsInfo,
};

use super::super::GroupRecord;
use super::super::modern::{Assigned, MemberState, TargetMetadata};
use super::super::state::{Group, Groups};
use super::{ShareGroup, ShareMember, SharedTopic, Sharing};

/// Takes a record of a share group as fact.
pub(in crate::group) fn apply(groups: &mut Groups, record: &GroupRecord) {
    match &record.value {
        Some(value) => apply_value(groups, &record.key, value),
        None => apply_tombstone(groups, &record.key),
    }
}

fn apply_value(groups: &mut Groups, key: &GroupKey, value: &GroupValue) {
    let Some(id) = group_of(key) else { return };
    let Some(group) = born(groups, id) else { return };
    match (key, value) {
        (GroupKey::ShareGroupMetadataKey(_), GroupValue::ShareGroupMetadataValue(value)) => {
            group.epoch = value.epoch;
            group.metadata_hash = value.metadata_hash;
        }
        (GroupKey::ShareGroupMemberMetadataKey(key), GroupValue::ShareGroupMemberMetadataValue(value)) => {
            group.set_member(&key.member_id, value)
        }
        (
            GroupKey::ShareGroupTargetAssignmentMetadataKey(_),
            GroupValue::ShareGroupTargetAssignmentMetadataValue(value),
        ) => {
            let computed_at = Timestamp(value.assignment_timestamp);
            group.target_metadata = TargetMetadata { epoch: value.assignment_epoch, computed_at };
        }
        (
            GroupKey::ShareGroupTargetAssignmentMemberKey(key),
            GroupValue::ShareGroupTargetAssignmentMemberValue(value),
        ) => group.set_target(&key.member_id, Some(target_of(value))),
        (
            GroupKey::ShareGroupCurrentMemberAssignmentKey(key),
            GroupValue::ShareGroupCurrentMemberAssignmentValue(value),
        ) => group.member_mut(&key.member_id).set_current(value),
        (
            GroupKey::ShareGroupStatePartitionMetadataKey(_),
            GroupValue::ShareGroupStatePartitionMetadataValue(value),
        ) => group.sharing = Some(sharing_of(value)),
        // A value is decoded by its key's type.
        _ => (),
    }
}

fn apply_tombstone(groups: &mut Groups, key: &GroupKey) {
    let Some(id) = group_of(key) else { return };
    let Some(Group::Share(group)) = groups.get_mut(id) else { return };
    match key {
        GroupKey::ShareGroupMetadataKey(_) => {
            groups.remove(id);
        }
        GroupKey::ShareGroupMemberMetadataKey(key) => group.remove_member(&key.member_id),
        GroupKey::ShareGroupTargetAssignmentMetadataKey(_) => group.target_metadata = TargetMetadata::GONE,
        GroupKey::ShareGroupTargetAssignmentMemberKey(key) => group.set_target(&key.member_id, None),
        GroupKey::ShareGroupCurrentMemberAssignmentKey(key) => {
            if let Some(member) = group.members.get_mut(&key.member_id) {
                member.epoch = -1;
                member.previous_epoch = -1;
                member.assigned.clear();
            }
        }
        GroupKey::ShareGroupStatePartitionMetadataKey(_) => group.sharing = None,
        _ => (),
    }
}

/// The group with this id, made if there is none; nothing if a group of another kind has the id, whose records then
/// count.
fn born<'g>(groups: &'g mut Groups, id: &Str) -> Option<&'g mut ShareGroup> {
    if !groups.contains_key(id) {
        groups.insert(id.detached(), Group::Share(ShareGroup::default()));
    }
    match groups.get_mut(id) {
        Some(Group::Share(group)) => Some(group),
        _ => None,
    }
}

fn group_of(key: &GroupKey) -> Option<&Str> {
    match key {
        GroupKey::ShareGroupMetadataKey(key) => Some(&key.group_id),
        GroupKey::ShareGroupMemberMetadataKey(key) => Some(&key.group_id),
        GroupKey::ShareGroupTargetAssignmentMetadataKey(key) => Some(&key.group_id),
        GroupKey::ShareGroupTargetAssignmentMemberKey(key) => Some(&key.group_id),
        GroupKey::ShareGroupCurrentMemberAssignmentKey(key) => Some(&key.group_id),
        GroupKey::ShareGroupStatePartitionMetadataKey(key) => Some(&key.group_id),
        _ => None,
    }
}

impl ShareGroup {
    fn member_mut(&mut self, id: &Str) -> &mut ShareMember {
        match self.members.entry(id.detached()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(ShareMember::default()),
        }
    }

    fn set_member(&mut self, id: &Str, value: &ShareGroupMemberMetadataValue) {
        let member = self.member_mut(id);
        member.rack = value.rack_id.as_ref().map(Str::detached);
        member.client_id = value.client_id.detached();
        member.client_host = value.client_host.detached();
        let topics = value.subscribed_topic_names.iter().map(Str::detached).collect();
        let before = std::mem::replace(&mut member.topics, topics);
        let topics = &self.members[id].topics;
        self.subscriptions.remove_names(&before);
        self.subscriptions.add_names(topics);
    }

    fn remove_member(&mut self, id: &Str) {
        if let Some(member) = self.members.remove(id) {
            self.subscriptions.remove_names(&member.topics);
        }
    }

    fn set_target(&mut self, member: &Str, target: Option<Assigned>) {
        for (topic, partitions) in target.iter().flatten() {
            let sharers = self.sharers.entry(*topic).or_default();
            for partition in partitions {
                *sharers.entry(*partition).or_default() += 1;
            }
        }
        let before = match target {
            Some(target) => self.target.insert(member.detached(), target),
            None => self.target.remove(member),
        };
        for (topic, partitions) in before.iter().flatten() {
            let Entry::Occupied(mut sharers) = self.sharers.entry(*topic) else { continue };
            for partition in partitions {
                if let Entry::Occupied(mut count) = sharers.get_mut().entry(*partition) {
                    *count.get_mut() -= 1;
                    if *count.get() == 0 {
                        count.remove();
                    }
                }
            }
            if sharers.get().is_empty() {
                sharers.remove();
            }
        }
    }
}

impl ShareMember {
    fn set_current(&mut self, value: &ShareGroupCurrentMemberAssignmentValue) {
        self.epoch = value.member_epoch;
        self.previous_epoch = value.previous_member_epoch;
        self.state = MemberState::from_code(value.state);
        self.assigned = Assigned::new();
        for topic in &value.assigned_partitions {
            self.assigned.entry(topic.topic_id).or_default().extend(&topic.partitions);
        }
    }
}

fn target_of(value: &ShareGroupTargetAssignmentMemberValue) -> Assigned {
    let mut target = Assigned::new();
    for topic in &value.topic_partitions {
        target.entry(topic.topic_id).or_default().extend(&topic.partitions);
    }
    target
}

fn sharing_of(value: &ShareGroupStatePartitionMetadataValue) -> Sharing {
    let topics = |infos: &[TopicPartitionsInfo]| -> BTreeMap<Uuid, SharedTopic> {
        let topic = |info: &TopicPartitionsInfo| SharedTopic {
            name: info.topic_name.detached(),
            partitions: info.partitions.iter().copied().collect(),
        };
        infos.iter().map(|info| (info.topic_id, topic(info))).collect()
    };
    Sharing {
        initializing: topics(&value.initializing_topics),
        initialized: topics(&value.initialized_topics),
        deleting: value
            .deleting_topics
            .iter()
            .map(|info| (info.topic_id, info.topic_name.detached()))
            .collect(),
    }
}
