//! A member of a consumer group, and what its records say (`ConsumerGroupMember`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ottla_base::{Str, Uuid};
use ottla_wire::records::group::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupCurrentMemberAssignmentTopicPartitions,
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue,
};

use crate::group::modern::{Assigned, MemberState};

/// The epoch of whoever joins.
pub(in crate::group) const JOIN_EPOCH: i32 = 0;
/// The epoch of whoever leaves for good, and of a member whose assignment is gone from the log.
pub(in crate::group) const LEAVE_EPOCH: i32 = -1;
/// The epoch of a static member that has left for a while.
pub(in crate::group) const AWAY_EPOCH: i32 = -2;

/// Partitions that a member has, each with the epoch in which it was given to it.
pub(super) type Owned = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// One member. Cheap to clone: what can be large is shared.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::group) struct Member {
    pub(in crate::group) id: Str,
    pub(in crate::group) epoch: i32,
    pub(in crate::group) previous_epoch: i32,
    pub(in crate::group) state: MemberState,
    pub(in crate::group) instance_id: Option<Str>,
    pub(in crate::group) rack_id: Option<Str>,
    pub(in crate::group) rebalance_timeout_ms: i32,
    pub(in crate::group) client_id: Str,
    pub(in crate::group) client_host: Str,
    /// The topics it names.
    pub(in crate::group) topics: Arc<BTreeSet<Str>>,
    /// The regular expression whose topics it wants; none if empty.
    pub(in crate::group) regex: Option<Str>,
    /// The assignor it prefers.
    pub(in crate::group) assignor: Option<Str>,
    pub(in crate::group) assigned: Arc<Owned>,
    /// What it is to give up.
    pub(in crate::group) revoking: Arc<Owned>,
    /// What is known of it if it speaks the classic protocol.
    pub(in crate::group) classic: Option<Arc<ClassicMemberMetadata>>,
}

impl Member {
    /// A member that nobody has heard of.
    pub(in crate::group) fn new(id: &Str) -> Member {
        Member {
            id: id.detached(),
            epoch: JOIN_EPOCH,
            previous_epoch: -1,
            state: MemberState::Stable,
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: -1,
            client_id: Str::default(),
            client_host: Str::default(),
            topics: Arc::default(),
            regex: Some(Str::default()),
            assignor: None,
            assigned: Arc::default(),
            revoking: Arc::default(),
            classic: None,
        }
    }

    /// Whether it owns all that the target of an epoch gives it.
    pub(super) fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// Its regular expression, if it has one.
    pub(super) fn wanted_regex(&self) -> Option<&Str> {
        self.regex.as_ref().filter(|regex| !regex.is_empty())
    }

    /// Whether it speaks the classic protocol.
    pub(in crate::group) fn is_classic(&self) -> bool {
        self.classic.is_some()
    }

    /// The classic protocols it supports, the most wanted first.
    pub(super) fn classic_protocols(&self) -> &[ClassicProtocol] {
        self.classic.as_ref().map_or(&[], |classic| &classic.supported_protocols)
    }

    /// In which epoch it was given a partition that it has or is to give up.
    pub(super) fn epoch_of(&self, topic: Uuid, partition: i32) -> Option<i32> {
        let find = |owned: &Owned| owned.get(&topic)?.get(&partition).copied();
        find(&self.assigned).or_else(|| find(&self.revoking))
    }

    /// Takes what the member's metadata record says, keeping nothing of its frame.
    pub(super) fn take_metadata(&mut self, value: &ConsumerGroupMemberMetadataValue) {
        self.instance_id = value.instance_id.as_ref().map(Str::detached);
        self.rack_id = value.rack_id.as_ref().map(Str::detached);
        self.client_id = value.client_id.detached();
        self.client_host = value.client_host.detached();
        self.topics = Arc::new(value.subscribed_topic_names.iter().map(Str::detached).collect());
        self.regex = value.subscribed_topic_regex.as_ref().map(Str::detached);
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.assignor = value.server_assignor.as_ref().map(Str::detached);
        self.classic = value.classic_member_metadata.as_ref().map(|classic| {
            Arc::new(ClassicMemberMetadata {
                session_timeout_ms: classic.session_timeout_ms,
                supported_protocols: classic.supported_protocols.iter().map(detached).collect(),
                unknown_tagged_fields: Vec::new(),
            })
        });
    }

    /// What its metadata record is to say.
    pub(super) fn metadata(&self) -> ConsumerGroupMemberMetadataValue {
        ConsumerGroupMemberMetadataValue {
            instance_id: self.instance_id.clone(),
            rack_id: self.rack_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            subscribed_topic_names: self.topics.iter().cloned().collect(),
            subscribed_topic_regex: self.regex.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            server_assignor: self.assignor.clone(),
            classic_member_metadata: self.classic.as_deref().cloned(),
            unknown_tagged_fields: Vec::new(),
        }
    }

    /// Takes what the member's current-assignment record says.
    pub(super) fn take_assignment(&mut self, value: &ConsumerGroupCurrentMemberAssignmentValue) {
        self.epoch = value.member_epoch;
        self.previous_epoch = value.previous_member_epoch;
        self.state = MemberState::from_code(value.state);
        self.assigned = Arc::new(owned(&value.assigned_partitions, value.member_epoch));
        self.revoking = Arc::new(owned(&value.partitions_pending_revocation, value.member_epoch));
    }

    /// What its current-assignment record is to say.
    pub(super) fn assignment(&self) -> ConsumerGroupCurrentMemberAssignmentValue {
        ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state.code(),
            assigned_partitions: listed(&self.assigned),
            partitions_pending_revocation: listed(&self.revoking),
            unknown_tagged_fields: Vec::new(),
        }
    }

    /// Its assignment is gone from the log: it has no epoch and no partitions. The state stays as it was.
    pub(super) fn lose_assignment(&mut self) {
        self.epoch = LEAVE_EPOCH;
        self.previous_epoch = LEAVE_EPOCH;
        self.assigned = Arc::default();
        self.revoking = Arc::default();
    }
}

/// A protocol that keeps nothing of the frame it came in.
pub(super) fn detached(protocol: &ClassicProtocol) -> ClassicProtocol {
    ClassicProtocol {
        name: protocol.name.detached(),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
        unknown_tagged_fields: Vec::new(),
    }
}

/// Partitions of a record. Those of releases before 4.3 have no epochs of their own; the member's is taken, or 0 for a
/// static member that is away.
fn owned(topics: &[ConsumerGroupCurrentMemberAssignmentTopicPartitions], member_epoch: i32) -> Owned {
    let default = member_epoch.max(0);
    let mut owned = Owned::new();
    for topic in topics {
        let epochs = topic.assignment_epochs.as_ref().filter(|epochs| epochs.len() == topic.partitions.len());
        let partitions = topic.partitions.iter().enumerate().map(|(place, partition)| {
            (*partition, epochs.and_then(|epochs| epochs.get(place).copied()).unwrap_or(default))
        });
        owned.insert(topic.topic_id, partitions.collect());
    }
    owned
}

fn listed(owned: &Owned) -> Vec<ConsumerGroupCurrentMemberAssignmentTopicPartitions> {
    let topic = |(topic_id, partitions): (&Uuid, &BTreeMap<i32, i32>)| {
        ConsumerGroupCurrentMemberAssignmentTopicPartitions {
            topic_id: *topic_id,
            partitions: partitions.keys().copied().collect(),
            assignment_epochs: Some(partitions.values().copied().collect()),
            unknown_tagged_fields: Vec::new(),
        }
    };
    owned.iter().map(topic).collect()
}

/// Partitions, all given in one epoch.
pub(super) fn in_epoch(assigned: &Assigned, epoch: i32) -> Owned {
    let with_epoch =
        |partitions: &BTreeSet<i32>| partitions.iter().map(|partition| (*partition, epoch)).collect();
    assigned.iter().map(|(topic, partitions)| (*topic, with_epoch(partitions))).collect()
}
