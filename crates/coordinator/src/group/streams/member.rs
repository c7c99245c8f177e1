//! A member of a streams group (`StreamsGroupMember`), and the records that tell of it.

use std::collections::BTreeMap;

use ottla_base::Str;
use ottla_wire::records::group::{
    Endpoint, GroupKey, GroupValue, KeyValue, StreamsGroupCurrentMemberAssignmentKey,
    StreamsGroupCurrentMemberAssignmentValue, StreamsGroupMemberMetadataKey, StreamsGroupMemberMetadataValue,
    StreamsGroupTargetAssignmentMemberKey,
};

use super::tasks::{self, HeldTasks, Tasks};
use crate::group::GroupRecord;

/// What a group knows of a member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Member {
    /// The epoch it is in: that of the assignment it has taken, or is about to.
    pub(super) epoch: i32,
    /// The epoch it was in before.
    pub(super) previous_epoch: i32,
    /// How far it is with the assignment.
    pub(super) state: MemberState,
    /// Its `group.instance.id`, if it is static.
    pub(super) instance_id: Option<Str>,
    /// Its rack.
    pub(super) rack_id: Option<Str>,
    /// What its client calls itself.
    pub(super) client_id: Str,
    /// Where it is.
    pub(super) client_host: Str,
    /// How long it may take to give tasks up; -1 if it has not said.
    pub(super) rebalance_timeout_ms: i32,
    /// The epoch of the topology it runs; -1 if it has not said.
    pub(super) topology_epoch: i32,
    /// The process it is a thread of.
    pub(super) process_id: Str,
    /// Where it answers interactive queries.
    pub(super) user_endpoint: Option<UserEndpoint>,
    /// Its tags, for assignors that spread standbys.
    pub(super) client_tags: BTreeMap<Str, Str>,
    /// The tasks it has.
    pub(super) assigned: HeldTasks,
    /// The tasks it has not given up yet.
    pub(super) revoking: HeldTasks,
}

/// `application.server`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UserEndpoint {
    pub(super) host: Str,
    pub(super) port: u16,
}

/// How far a member is with an assignment (`MemberState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum MemberState {
    /// It has what it is to have.
    #[default]
    Stable = 1,
    /// It must give up tasks first.
    UnrevokedTasks = 2,
    /// It waits for tasks that others have not given up yet.
    UnreleasedTasks = 3,
    /// A state that this release does not know.
    Unknown = 127,
}

impl Member {
    /// A member that has said nothing yet.
    pub(super) fn new() -> Member {
        Member { rebalance_timeout_ms: -1, topology_epoch: -1, ..Member::default() }
    }

    /// Whether it has the assignment of `epoch`.
    pub(super) fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// Takes what a record says of it.
    pub(super) fn take_metadata(&mut self, value: &StreamsGroupMemberMetadataValue) {
        self.instance_id = value.instance_id.as_ref().map(Str::detached);
        self.rack_id = value.rack_id.as_ref().map(Str::detached);
        self.client_id = value.client_id.detached();
        self.client_host = value.client_host.detached();
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.topology_epoch = value.topology_epoch;
        self.process_id = value.process_id.detached();
        let endpoint = value.user_endpoint.as_ref();
        self.user_endpoint = endpoint.map(|it| UserEndpoint { host: it.host.detached(), port: it.port });
        let tags = value.client_tags.iter();
        self.client_tags = tags.map(|tag| (tag.key.detached(), tag.value.detached())).collect();
    }

    /// Takes what a record says of its tasks.
    pub(super) fn take_assignment(&mut self, value: &StreamsGroupCurrentMemberAssignmentValue) {
        self.epoch = value.member_epoch;
        self.previous_epoch = value.previous_member_epoch;
        self.state = MemberState::from_value(value.state);
        self.assigned = HeldTasks::from_record(
            &value.active_tasks,
            &value.standby_tasks,
            &value.warmup_tasks,
            value.member_epoch,
        );
        self.revoking = HeldTasks::from_record(
            &value.active_tasks_pending_revocation,
            &value.standby_tasks_pending_revocation,
            &value.warmup_tasks_pending_revocation,
            value.member_epoch,
        );
    }

    /// The record of what it said of itself.
    pub(super) fn metadata_record(&self, group: &Str, id: &Str) -> GroupRecord {
        let endpoint = self.user_endpoint.as_ref();
        let endpoint =
            endpoint.map(|it| Endpoint { host: it.host.clone(), port: it.port, ..Default::default() });
        let tags = self.client_tags.iter();
        let tags = tags.map(|(key, value)| KeyValue {
            key: key.clone(),
            value: value.clone(),
            ..Default::default()
        });
        let value = StreamsGroupMemberMetadataValue {
            instance_id: self.instance_id.clone(),
            rack_id: self.rack_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            topology_epoch: self.topology_epoch,
            process_id: self.process_id.clone(),
            user_endpoint: endpoint,
            client_tags: tags.collect(),
            ..Default::default()
        };
        GroupRecord::set(metadata_key(group, id), GroupValue::StreamsGroupMemberMetadataValue(value))
    }

    /// The record of the tasks it has.
    pub(super) fn assignment_record(&self, group: &Str, id: &Str) -> GroupRecord {
        let value = StreamsGroupCurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state as i8,
            active_tasks: tasks::recorded_with_epochs(&self.assigned.active),
            standby_tasks: tasks::recorded(&self.assigned.standby),
            warmup_tasks: tasks::recorded(&self.assigned.warmup),
            active_tasks_pending_revocation: tasks::recorded_with_epochs(&self.revoking.active),
            standby_tasks_pending_revocation: tasks::recorded(&self.revoking.standby),
            warmup_tasks_pending_revocation: tasks::recorded(&self.revoking.warmup),
            ..Default::default()
        };
        let value = GroupValue::StreamsGroupCurrentMemberAssignmentValue(value);
        GroupRecord::set(assignment_key(group, id), value)
    }
}

impl MemberState {
    fn from_value(value: i8) -> MemberState {
        match value {
            1 => MemberState::Stable,
            2 => MemberState::UnrevokedTasks,
            3 => MemberState::UnreleasedTasks,
            _ => MemberState::Unknown,
        }
    }
}

/// The record of the tasks that a member is to have.
pub(super) fn target_record(group: &Str, id: &Str, target: &Tasks) -> GroupRecord {
    let value = GroupValue::StreamsGroupTargetAssignmentMemberValue(target.to_record());
    GroupRecord::set(target_key(group, id), value)
}

/// The records that remove a member, in Kafka's order.
pub(super) fn tombstones(group: &Str, id: &Str) -> [GroupRecord; 3] {
    [assignment_key(group, id), target_key(group, id), metadata_key(group, id)].map(GroupRecord::tombstone)
}

pub(super) fn assignment_key(group: &Str, id: &Str) -> GroupKey {
    let key = StreamsGroupCurrentMemberAssignmentKey { group_id: group.clone(), member_id: id.clone() };
    GroupKey::StreamsGroupCurrentMemberAssignmentKey(key)
}

pub(super) fn target_key(group: &Str, id: &Str) -> GroupKey {
    let key = StreamsGroupTargetAssignmentMemberKey { group_id: group.clone(), member_id: id.clone() };
    GroupKey::StreamsGroupTargetAssignmentMemberKey(key)
}

pub(super) fn metadata_key(group: &Str, id: &Str) -> GroupKey {
    let key = StreamsGroupMemberMetadataKey { group_id: group.clone(), member_id: id.clone() };
    GroupKey::StreamsGroupMemberMetadataKey(key)
}
