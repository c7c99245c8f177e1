//! What is written of share groups (`GroupCoordinatorRecordHelpers`).

use std::collections::BTreeMap;

use ottla_base::{Str, Timestamp, Uuid};
use ottla_wire::records::group::{
    GroupKey, GroupValue, ShareGroupCurrentMemberAssignmentKey,
    ShareGroupCurrentMemberAssignmentTopicPartitions, ShareGroupCurrentMemberAssignmentValue,
    ShareGroupMemberMetadataKey, ShareGroupMemberMetadataValue, ShareGroupMetadataKey,
    ShareGroupMetadataValue, ShareGroupStatePartitionMetadataKey, ShareGroupStatePartitionMetadataTopicInfo,
    ShareGroupStatePartitionMetadataValue, ShareGroupTargetAssignmentMemberKey,
    ShareGroupTargetAssignmentMemberTopicPartition, ShareGroupTargetAssignmentMemberValue,
    ShareGroupTargetAssignmentMetadataKey, ShareGroupTargetAssignmentMetadataValue, TopicPartitionsInfo,
};

use super::super::GroupRecord;
use super::super::modern::Assigned;
use super::{ShareMember, SharedTopic, Sharing};

fn member_key(group: &Str, member: &Str) -> GroupKey {
    GroupKey::ShareGroupMemberMetadataKey(ShareGroupMemberMetadataKey {
        group_id: group.clone(),
        member_id: member.clone(),
    })
}

fn epoch_key(group: &Str) -> GroupKey {
    GroupKey::ShareGroupMetadataKey(ShareGroupMetadataKey { group_id: group.clone() })
}

fn target_metadata_key(group: &Str) -> GroupKey {
    GroupKey::ShareGroupTargetAssignmentMetadataKey(ShareGroupTargetAssignmentMetadataKey {
        group_id: group.clone(),
    })
}

fn target_key(group: &Str, member: &Str) -> GroupKey {
    GroupKey::ShareGroupTargetAssignmentMemberKey(ShareGroupTargetAssignmentMemberKey {
        group_id: group.clone(),
        member_id: member.clone(),
    })
}

fn current_key(group: &Str, member: &Str) -> GroupKey {
    GroupKey::ShareGroupCurrentMemberAssignmentKey(ShareGroupCurrentMemberAssignmentKey {
        group_id: group.clone(),
        member_id: member.clone(),
    })
}

fn sharing_key(group: &Str) -> GroupKey {
    GroupKey::ShareGroupStatePartitionMetadataKey(ShareGroupStatePartitionMetadataKey {
        group_id: group.clone(),
    })
}

/// Who a member is and what it wants.
pub(super) fn member(group: &Str, id: &Str, member: &ShareMember) -> GroupRecord {
    let value = ShareGroupMemberMetadataValue {
        rack_id: member.rack.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: member.topics.iter().cloned().collect(),
        ..Default::default()
    };
    GroupRecord::set(member_key(group, id), GroupValue::ShareGroupMemberMetadataValue(value))
}

/// The group's epoch.
pub(super) fn epoch(group: &Str, epoch: i32, metadata_hash: i64) -> GroupRecord {
    let value = ShareGroupMetadataValue { epoch, metadata_hash, ..Default::default() };
    GroupRecord::set(epoch_key(group), GroupValue::ShareGroupMetadataValue(value))
}

/// Which epoch the target is for, and when it was computed.
pub(super) fn target_metadata(group: &Str, epoch: i32, computed_at: Timestamp) -> GroupRecord {
    let value = ShareGroupTargetAssignmentMetadataValue {
        assignment_epoch: epoch,
        assignment_timestamp: computed_at.0,
        ..Default::default()
    };
    GroupRecord::set(target_metadata_key(group), GroupValue::ShareGroupTargetAssignmentMetadataValue(value))
}

/// What a member should share in.
pub(super) fn target(group: &Str, member: &Str, target: &Assigned) -> GroupRecord {
    let topics = target.iter().map(|(topic, partitions)| ShareGroupTargetAssignmentMemberTopicPartition {
        topic_id: *topic,
        partitions: partitions.iter().copied().collect(),
        ..Default::default()
    });
    let value =
        ShareGroupTargetAssignmentMemberValue { topic_partitions: topics.collect(), ..Default::default() };
    GroupRecord::set(target_key(group, member), GroupValue::ShareGroupTargetAssignmentMemberValue(value))
}

/// What a member shares in.
pub(super) fn current(group: &Str, id: &Str, member: &ShareMember) -> GroupRecord {
    let topics =
        member.assigned.iter().map(|(topic, partitions)| ShareGroupCurrentMemberAssignmentTopicPartitions {
            topic_id: *topic,
            partitions: partitions.iter().copied().collect(),
            ..Default::default()
        });
    let value = ShareGroupCurrentMemberAssignmentValue {
        member_epoch: member.epoch,
        previous_member_epoch: member.previous_epoch,
        state: member.state.code(),
        assigned_partitions: topics.collect(),
        ..Default::default()
    };
    GroupRecord::set(current_key(group, id), GroupValue::ShareGroupCurrentMemberAssignmentValue(value))
}

/// What the share coordinator knows of the group.
pub(super) fn sharing(group: &Str, sharing: &Sharing) -> GroupRecord {
    let partitions = |topics: &BTreeMap<Uuid, SharedTopic>| {
        let infos = topics.iter().map(|(id, topic)| TopicPartitionsInfo {
            topic_id: *id,
            topic_name: topic.name.clone(),
            partitions: topic.partitions.iter().copied().collect(),
            ..Default::default()
        });
        infos.collect()
    };
    let deleting = sharing.deleting.iter().map(|(id, name)| ShareGroupStatePartitionMetadataTopicInfo {
        topic_id: *id,
        topic_name: name.clone(),
        ..Default::default()
    });
    let value = ShareGroupStatePartitionMetadataValue {
        initializing_topics: partitions(&sharing.initializing),
        initialized_topics: partitions(&sharing.initialized),
        deleting_topics: deleting.collect(),
        ..Default::default()
    };
    GroupRecord::set(sharing_key(group), GroupValue::ShareGroupStatePartitionMetadataValue(value))
}

/// A member is gone.
pub(super) fn member_gone(group: &Str, member: &Str) -> [GroupRecord; 3] {
    [
        GroupRecord::tombstone(current_key(group, member)),
        GroupRecord::tombstone(target_key(group, member)),
        GroupRecord::tombstone(member_key(group, member)),
    ]
}

/// A group without members is gone.
pub(super) fn group_gone(group: &Str) -> [GroupRecord; 3] {
    [
        GroupRecord::tombstone(target_metadata_key(group)),
        GroupRecord::tombstone(sharing_key(group)),
        GroupRecord::tombstone(epoch_key(group)),
    ]
}
