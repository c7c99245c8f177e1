//! The records of consumer groups: how they are made (`GroupCoordinatorRecordHelpers`), and what each means
//! (`GroupMetadataManager.replay`).

use ottla_base::{Str, Timestamp, Uuid};
use ottla_wire::records::group::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupMemberMetadataKey, ConsumerGroupMetadataKey,
    ConsumerGroupMetadataValue, ConsumerGroupPartitionMetadataKey, ConsumerGroupRegularExpressionKey,
    ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMemberTopicPartition, ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue, GroupKey,
    GroupValue,
};

use super::group::{ConsumerGroup, ResolvedRegex};
use super::member::Member;
use crate::group::GroupRecord;
use crate::group::modern::{Assigned, TargetMetadata};
use crate::group::state::{Group, Groups};

/// What a record is about, within its group.
enum About<'a> {
    Group,
    TopicsOfOld,
    Member(&'a Str),
    Target,
    TargetOf(&'a Str),
    CurrentOf(&'a Str),
    Regex(&'a Str),
}

/// Takes a record of a consumer group as fact.
pub(in crate::group) fn apply(groups: &mut Groups, record: &GroupRecord) {
    let Some((id, about)) = read_key(&record.key) else { return };
    let known = matches!(groups.get(id), Some(Group::Consumer(_)));
    if !known {
        if record.value.is_none() {
            return;
        }
        // A classic group that had no members gives way; its records have gone before.
        groups.insert(id.detached(), Group::Consumer(ConsumerGroup::new(id)));
    }
    if let (About::Group, None) = (&about, &record.value) {
        groups.remove(id);
        return;
    }
    if let Some(Group::Consumer(group)) = groups.get_mut(id) {
        take(group, about, record.value.as_ref());
    }
}

/// Lets a group that no log has yet take a record that is about it.
pub(super) fn take_record(group: &mut ConsumerGroup, record: &GroupRecord) {
    if let Some((_, about)) = read_key(&record.key) {
        take(group, about, record.value.as_ref());
    }
}

fn read_key(key: &GroupKey) -> Option<(&Str, About<'_>)> {
    Some(match key {
        GroupKey::ConsumerGroupMetadataKey(key) => (&key.group_id, About::Group),
        GroupKey::ConsumerGroupPartitionMetadataKey(key) => (&key.group_id, About::TopicsOfOld),
        GroupKey::ConsumerGroupMemberMetadataKey(key) => (&key.group_id, About::Member(&key.member_id)),
        GroupKey::ConsumerGroupTargetAssignmentMetadataKey(key) => (&key.group_id, About::Target),
        GroupKey::ConsumerGroupTargetAssignmentMemberKey(key) => {
            (&key.group_id, About::TargetOf(&key.member_id))
        }
        GroupKey::ConsumerGroupCurrentMemberAssignmentKey(key) => {
            (&key.group_id, About::CurrentOf(&key.member_id))
        }
        GroupKey::ConsumerGroupRegularExpressionKey(key) => {
            (&key.group_id, About::Regex(&key.regular_expression))
        }
        _ => return None,
    })
}

fn take(group: &mut ConsumerGroup, about: About<'_>, value: Option<&GroupValue>) {
    match (about, value) {
        (About::Group, Some(GroupValue::ConsumerGroupMetadataValue(value))) => {
            group.set_epoch(value.epoch, value.metadata_hash);
        }
        (About::TopicsOfOld, value) => group.set_has_topics_of_old(value.is_some()),
        (About::Member(id), Some(GroupValue::ConsumerGroupMemberMetadataValue(value))) => {
            group.change_member(id, |member| member.take_metadata(value));
        }
        (About::Member(id), None) => group.remove_member(id),
        (About::Target, Some(GroupValue::ConsumerGroupTargetAssignmentMetadataValue(value))) => {
            let (epoch, computed_at) = (value.assignment_epoch, Timestamp(value.assignment_timestamp));
            group.set_target(TargetMetadata { epoch, computed_at });
        }
        (About::Target, None) => group.set_target(TargetMetadata::GONE),
        (About::TargetOf(id), Some(GroupValue::ConsumerGroupTargetAssignmentMemberValue(value))) => {
            group.set_target_of(id, read_target(value));
        }
        (About::TargetOf(id), None) => group.remove_target_of(id),
        (About::CurrentOf(id), Some(GroupValue::ConsumerGroupCurrentMemberAssignmentValue(value))) => {
            group.change_member(id, |member| member.take_assignment(value));
        }
        (About::CurrentOf(id), None) if group.member(id).is_some() => {
            group.change_member(id, Member::lose_assignment);
        }
        (About::Regex(regex), Some(GroupValue::ConsumerGroupRegularExpressionValue(value))) => {
            let resolved = ResolvedRegex {
                topics: value.topics.iter().map(Str::detached).collect(),
                version: value.version,
                at: Timestamp(value.timestamp),
            };
            group.resolve_regex(regex, resolved);
        }
        (About::Regex(regex), None) => group.remove_resolved_regex(regex),
        // A tombstone of what is not there, or a value that is not of its key's kind, which decoding rules out.
        (About::Group | About::Member(_) | About::Target | About::TargetOf(_), _)
        | (About::CurrentOf(_) | About::Regex(_), _) => (),
    }
}

fn read_target(value: &ConsumerGroupTargetAssignmentMemberValue) -> Assigned {
    let topic = |topic: &ConsumerGroupTargetAssignmentMemberTopicPartition| {
        (topic.topic_id, topic.partitions.iter().copied().collect())
    };
    value.topic_partitions.iter().map(topic).collect()
}

/// Writes records of one group, one after the other.
#[derive(Debug)]
pub(super) struct Records {
    group_id: Str,
    /// What was written so far.
    pub(super) list: Vec<GroupRecord>,
}

impl Records {
    pub(super) fn of(group_id: &Str) -> Records {
        Records { group_id: group_id.clone(), list: Vec::new() }
    }

    fn set(&mut self, key: GroupKey, value: GroupValue) {
        self.list.push(GroupRecord::set(key, value));
    }

    fn gone(&mut self, key: GroupKey) {
        self.list.push(GroupRecord::tombstone(key));
    }

    pub(super) fn epoch(&mut self, epoch: i32, metadata_hash: i64) {
        let value = ConsumerGroupMetadataValue { epoch, metadata_hash, unknown_tagged_fields: Vec::new() };
        self.set(self.group_key(), GroupValue::ConsumerGroupMetadataValue(value));
    }

    pub(super) fn epoch_gone(&mut self) {
        self.gone(self.group_key());
    }

    pub(super) fn topics_of_old_gone(&mut self) {
        let key = ConsumerGroupPartitionMetadataKey { group_id: self.group_id.clone() };
        self.gone(GroupKey::ConsumerGroupPartitionMetadataKey(key));
    }

    pub(super) fn member(&mut self, member: &Member) {
        let key = self.member_key(&member.id);
        self.set(key, GroupValue::ConsumerGroupMemberMetadataValue(member.metadata()));
    }

    pub(super) fn member_gone(&mut self, member_id: &Str) {
        self.gone(self.member_key(member_id));
    }

    pub(super) fn target(&mut self, target: TargetMetadata) {
        let value = ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: target.epoch,
            assignment_timestamp: target.computed_at.0,
            unknown_tagged_fields: Vec::new(),
        };
        self.set(self.target_key(), GroupValue::ConsumerGroupTargetAssignmentMetadataValue(value));
    }

    pub(super) fn target_gone(&mut self) {
        self.gone(self.target_key());
    }

    pub(super) fn target_of(&mut self, member_id: &Str, assigned: &Assigned) {
        let topic = |(topic_id, partitions): (&Uuid, &std::collections::BTreeSet<i32>)| {
            ConsumerGroupTargetAssignmentMemberTopicPartition {
                topic_id: *topic_id,
                partitions: partitions.iter().copied().collect(),
                unknown_tagged_fields: Vec::new(),
            }
        };
        let value = ConsumerGroupTargetAssignmentMemberValue {
            topic_partitions: assigned.iter().map(topic).collect(),
            unknown_tagged_fields: Vec::new(),
        };
        let key = self.target_of_key(member_id);
        self.set(key, GroupValue::ConsumerGroupTargetAssignmentMemberValue(value));
    }

    pub(super) fn target_of_gone(&mut self, member_id: &Str) {
        self.gone(self.target_of_key(member_id));
    }

    pub(super) fn current(&mut self, member: &Member) {
        let key = self.current_key(&member.id);
        self.set(key, GroupValue::ConsumerGroupCurrentMemberAssignmentValue(member.assignment()));
    }

    pub(super) fn current_gone(&mut self, member_id: &Str) {
        self.gone(self.current_key(member_id));
    }

    pub(super) fn regex(&mut self, regex: &Str, resolved: &ResolvedRegex) {
        let value = ConsumerGroupRegularExpressionValue {
            topics: resolved.topics.iter().cloned().collect(),
            version: resolved.version,
            timestamp: resolved.at.0,
            unknown_tagged_fields: Vec::new(),
        };
        let key = self.regex_key(regex);
        self.set(key, GroupValue::ConsumerGroupRegularExpressionValue(value));
    }

    pub(super) fn regex_gone(&mut self, regex: &Str) {
        self.gone(self.regex_key(regex));
    }

    /// Everything that is kept of a member.
    pub(super) fn all_of_member_gone(&mut self, member_id: &Str) {
        self.current_gone(member_id);
        self.target_of_gone(member_id);
        self.member_gone(member_id);
    }

    fn group_key(&self) -> GroupKey {
        GroupKey::ConsumerGroupMetadataKey(ConsumerGroupMetadataKey { group_id: self.group_id.clone() })
    }

    fn target_key(&self) -> GroupKey {
        let group_id = self.group_id.clone();
        GroupKey::ConsumerGroupTargetAssignmentMetadataKey(ConsumerGroupTargetAssignmentMetadataKey {
            group_id,
        })
    }

    fn member_key(&self, member_id: &Str) -> GroupKey {
        let (group_id, member_id) = (self.group_id.clone(), member_id.clone());
        GroupKey::ConsumerGroupMemberMetadataKey(ConsumerGroupMemberMetadataKey { group_id, member_id })
    }

    fn target_of_key(&self, member_id: &Str) -> GroupKey {
        let (group_id, member_id) = (self.group_id.clone(), member_id.clone());
        GroupKey::ConsumerGroupTargetAssignmentMemberKey(ConsumerGroupTargetAssignmentMemberKey {
            group_id,
            member_id,
        })
    }

    fn current_key(&self, member_id: &Str) -> GroupKey {
        let (group_id, member_id) = (self.group_id.clone(), member_id.clone());
        GroupKey::ConsumerGroupCurrentMemberAssignmentKey(ConsumerGroupCurrentMemberAssignmentKey {
            group_id,
            member_id,
        })
    }

    fn regex_key(&self, regex: &Str) -> GroupKey {
        GroupKey::ConsumerGroupRegularExpressionKey(ConsumerGroupRegularExpressionKey {
            group_id: self.group_id.clone(),
            regular_expression: regex.clone(),
        })
    }
}
