//! What the records of a streams group say (`StreamsGroup`).

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_base::Str;
use ottla_wire::records::group::{
    GroupKey, GroupValue, LastAssignmentConfig, StreamsGroupMetadataKey, StreamsGroupMetadataValue,
    StreamsGroupTargetAssignmentMetadataKey, StreamsGroupTargetAssignmentMetadataValue,
    StreamsGroupTopologyKey,
};

use super::member::{self, Member};
use super::owners::Owners;
use super::tasks::Tasks;
use super::topology::Topology;
use crate::group::GroupRecord;
use crate::group::state::{Group, Groups};

/// The topology epoch of a group whose topology is not validated, or not described.
const NO_EPOCH: i32 = -1;

/// The assignment epoch of a group that is about to be removed.
const REMOVED_EPOCH: i32 = -1;

/// What the records of one group say.
#[derive(Debug)]
pub(in crate::group) struct StreamsGroup {
    /// Rises with every change that demands a new assignment.
    pub(super) epoch: i32,
    /// The hash of the topics that the topology reads and writes, as last seen.
    pub(super) metadata_hash: i64,
    /// The epoch of the topology whose topics were found to be as they must be; -1 if there is none.
    pub(super) validated_topology_epoch: i32,
    /// The epoch of the topology whose description is stored (KIP-1331); -1 for none, -2 if unsure.
    pub(super) stored_description_epoch: i32,
    /// The epoch of the topology whose description cannot be stored; -1 if there is none.
    pub(super) failed_description_epoch: i32,
    /// The settings that the last assignment was asked with.
    pub(super) assignment_configs: BTreeMap<Str, Str>,
    /// What the application does.
    pub(super) topology: Option<Arc<Topology>>,
    /// The group's epoch for which the target assignment was computed.
    pub(super) assignment_epoch: i32,
    /// When it was computed, in milliseconds of the wall clock; 0 to have the next one at once.
    pub(super) assignment_timestamp: i64,
    /// What each member is to have.
    pub(super) target: BTreeMap<Str, Tasks>,
    /// Everybody, by member id.
    pub(super) members: BTreeMap<Str, Member>,
    /// The member ids of static members, by instance id.
    pub(super) static_members: BTreeMap<Str, Str>,
    /// Which processes have which tasks.
    pub(super) owners: Owners,
}

/// How a group is (`StreamsGroupState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Empty,
    NotReady,
    Assigning,
    Reconciling,
    Stable,
}

impl State {
    /// As answers say it.
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::NotReady => "NotReady",
            State::Assigning => "Assigning",
            State::Reconciling => "Reconciling",
            State::Stable => "Stable",
        }
    }
}

impl Default for StreamsGroup {
    fn default() -> Self {
        StreamsGroup {
            epoch: 1,
            metadata_hash: 0,
            validated_topology_epoch: NO_EPOCH,
            stored_description_epoch: NO_EPOCH,
            failed_description_epoch: NO_EPOCH,
            assignment_configs: BTreeMap::new(),
            topology: None,
            assignment_epoch: 1,
            assignment_timestamp: 0,
            target: BTreeMap::new(),
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            owners: Owners::default(),
        }
    }
}

impl StreamsGroup {
    /// How it is.
    pub(super) fn how(&self) -> State {
        if self.members.is_empty() {
            State::Empty
        } else if self.topology.as_ref().is_none_or(|it| it.epoch != self.validated_topology_epoch) {
            State::NotReady
        } else if self.epoch > self.assignment_epoch {
            State::Assigning
        } else if self.members.values().all(|member| member.is_reconciled_to(self.assignment_epoch)) {
            State::Stable
        } else {
            State::Reconciling
        }
    }

    /// The static member with this instance id, with its member id.
    pub(super) fn static_member(&self, instance: &str) -> Option<(&Str, &Member)> {
        let id = self.static_members.get(instance)?;
        Some((id, self.members.get(id)?))
    }

    /// The epoch of the topology; -1 if there is none.
    pub(super) fn topology_epoch(&self) -> i32 {
        self.topology.as_ref().map_or(NO_EPOCH, |topology| topology.epoch)
    }

    /// The record of the group itself, in a new epoch.
    pub(super) fn record(
        &self,
        group: &Str,
        epoch: i32,
        metadata_hash: i64,
        validated_topology_epoch: i32,
        configs: &BTreeMap<Str, Str>,
    ) -> GroupRecord {
        let configs = configs.iter().map(|(key, value)| LastAssignmentConfig {
            key: key.clone(),
            value: value.clone(),
            ..Default::default()
        });
        let value = StreamsGroupMetadataValue {
            epoch,
            metadata_hash,
            validated_topology_epoch,
            last_assignment_configs: Some(configs.collect()),
            stored_description_topology_epoch: self.stored_description_epoch,
            failed_description_topology_epoch: self.failed_description_epoch,
            ..Default::default()
        };
        GroupRecord::set(group_key(group), GroupValue::StreamsGroupMetadataValue(value))
    }

    /// The records that remove the group, in Kafka's order.
    pub(super) fn tombstone_records(&self, group: &Str) -> Vec<GroupRecord> {
        let mut keys: Vec<GroupKey> = Vec::with_capacity(3 * self.members.len() + 3);
        keys.extend(self.members.keys().map(|id| member::assignment_key(group, id)));
        keys.extend(self.members.keys().map(|id| member::target_key(group, id)));
        keys.push(target_metadata_key(group));
        keys.extend(self.members.keys().map(|id| member::metadata_key(group, id)));
        keys.push(group_key(group));
        let topology = StreamsGroupTopologyKey { group_id: group.clone() };
        keys.push(GroupKey::StreamsGroupTopologyKey(topology));
        keys.into_iter().map(GroupRecord::tombstone).collect()
    }

    fn take_metadata(&mut self, value: &StreamsGroupMetadataValue) {
        self.epoch = value.epoch;
        self.metadata_hash = value.metadata_hash;
        self.validated_topology_epoch = value.validated_topology_epoch;
        self.stored_description_epoch = value.stored_description_topology_epoch;
        self.failed_description_epoch = value.failed_description_topology_epoch;
        let configs = value.last_assignment_configs.iter().flatten();
        self.assignment_configs = configs.map(|it| (it.key.detached(), it.value.detached())).collect();
    }

    /// Lets a record change a member, who is new if it was not known.
    fn change_member(&mut self, id: &Str, change: impl FnOnce(&mut Member)) {
        let (id, mut member) =
            self.members.remove_entry(id).unwrap_or_else(|| (id.detached(), Member::new()));
        self.owners.remove(&member);
        self.forget_instance(&id, &member);
        change(&mut member);
        self.owners.add(&member);
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(instance.clone(), id.clone());
        }
        self.members.insert(id, member);
    }

    fn remove_member(&mut self, id: &Str) {
        if let Some((id, member)) = self.members.remove_entry(id) {
            self.owners.remove(&member);
            self.forget_instance(&id, &member);
        }
    }

    fn forget_instance(&mut self, id: &Str, member: &Member) {
        if let Some(instance) = &member.instance_id
            && self.static_members.get(instance) == Some(id)
        {
            self.static_members.remove(instance);
        }
    }
}

/// The record of the epoch for which the target assignment was computed.
pub(super) fn target_metadata_record(group: &Str, epoch: i32, timestamp: i64) -> GroupRecord {
    let value = StreamsGroupTargetAssignmentMetadataValue {
        assignment_epoch: epoch,
        assignment_timestamp: timestamp,
        ..Default::default()
    };
    let value = GroupValue::StreamsGroupTargetAssignmentMetadataValue(value);
    GroupRecord::set(target_metadata_key(group), value)
}

/// Takes a record of such a group as fact.
pub(in crate::group) fn apply(groups: &mut Groups, record: &GroupRecord) {
    match &record.value {
        Some(value) => apply_value(groups, &record.key, value),
        None => apply_tombstone(groups, &record.key),
    }
}

fn apply_value(groups: &mut Groups, key: &GroupKey, value: &GroupValue) {
    match (key, value) {
        (GroupKey::StreamsGroupMetadataKey(key), GroupValue::StreamsGroupMetadataValue(value)) => {
            group_of(groups, &key.group_id).take_metadata(value);
        }
        (GroupKey::StreamsGroupTopologyKey(key), GroupValue::StreamsGroupTopologyValue(value)) => {
            let topology = Arc::new(Topology::from_record(value));
            group_of(groups, &key.group_id).topology = Some(topology);
        }
        (
            GroupKey::StreamsGroupMemberMetadataKey(key),
            GroupValue::StreamsGroupMemberMetadataValue(value),
        ) => {
            let group = group_of(groups, &key.group_id);
            group.change_member(&key.member_id, |member| member.take_metadata(value));
        }
        (
            GroupKey::StreamsGroupCurrentMemberAssignmentKey(key),
            GroupValue::StreamsGroupCurrentMemberAssignmentValue(value),
        ) => {
            let group = group_of(groups, &key.group_id);
            group.change_member(&key.member_id, |member| member.take_assignment(value));
        }
        (
            GroupKey::StreamsGroupTargetAssignmentMemberKey(key),
            GroupValue::StreamsGroupTargetAssignmentMemberValue(value),
        ) => {
            let target = Tasks::from_record(value);
            group_of(groups, &key.group_id).target.insert(key.member_id.detached(), target);
        }
        (
            GroupKey::StreamsGroupTargetAssignmentMetadataKey(key),
            GroupValue::StreamsGroupTargetAssignmentMetadataValue(value),
        ) => {
            let group = group_of(groups, &key.group_id);
            group.assignment_epoch = value.assignment_epoch;
            group.assignment_timestamp = value.assignment_timestamp;
        }
        // A key with the value of another kind is not written by anybody.
        _ => {}
    }
}

fn apply_tombstone(groups: &mut Groups, key: &GroupKey) {
    match key {
        GroupKey::StreamsGroupMetadataKey(key) if known(groups, &key.group_id).is_some() => {
            groups.remove(&key.group_id);
        }
        GroupKey::StreamsGroupTopologyKey(key) => {
            if let Some(group) = known(groups, &key.group_id) {
                group.topology = None;
            }
        }
        GroupKey::StreamsGroupMemberMetadataKey(key) => {
            if let Some(group) = known(groups, &key.group_id) {
                group.remove_member(&key.member_id);
            }
        }
        GroupKey::StreamsGroupCurrentMemberAssignmentKey(key) => {
            if let Some(group) = known(groups, &key.group_id)
                && group.members.contains_key(&key.member_id)
            {
                group.change_member(&key.member_id, |member| {
                    member.epoch = REMOVED_EPOCH;
                    member.previous_epoch = REMOVED_EPOCH;
                    member.assigned = Default::default();
                    member.revoking = Default::default();
                });
            }
        }
        GroupKey::StreamsGroupTargetAssignmentMemberKey(key) => {
            if let Some(group) = known(groups, &key.group_id) {
                group.target.remove(&key.member_id);
            }
        }
        GroupKey::StreamsGroupTargetAssignmentMetadataKey(key) => {
            if let Some(group) = known(groups, &key.group_id) {
                group.assignment_epoch = REMOVED_EPOCH;
                group.assignment_timestamp = 0;
            }
        }
        // Keys of other kinds of groups do not come here.
        _ => {}
    }
}

/// The group, made if there is none. A group of another kind is over: what the log says last, holds.
fn group_of<'a>(groups: &'a mut Groups, id: &Str) -> &'a mut StreamsGroup {
    if !matches!(groups.get(id), Some(Group::Streams(_))) {
        groups.insert(id.detached(), Group::Streams(Box::default()));
    }
    match groups.get_mut(id) {
        Some(Group::Streams(group)) => group,
        _ => unreachable!("it was put there"),
    }
}

fn known<'a>(groups: &'a mut Groups, id: &Str) -> Option<&'a mut StreamsGroup> {
    match groups.get_mut(id)? {
        Group::Streams(group) => Some(group),
        _ => None,
    }
}

fn group_key(group: &Str) -> GroupKey {
    GroupKey::StreamsGroupMetadataKey(StreamsGroupMetadataKey { group_id: group.clone() })
}

fn target_metadata_key(group: &Str) -> GroupKey {
    let key = StreamsGroupTargetAssignmentMetadataKey { group_id: group.clone() };
    GroupKey::StreamsGroupTargetAssignmentMetadataKey(key)
}
