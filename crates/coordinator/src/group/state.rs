//! Hard state: every group, by what its records say. One match applies every record.

use std::collections::BTreeMap;

use ottla_base::Str;
use ottla_wire::records::group::GroupKey;

use super::classic::ClassicGroup;
use super::consumer::ConsumerGroup;
use super::offsets::Offsets;
use super::share::ShareGroup;
use super::streams::StreamsGroup;
use super::{Fact, GroupRecord, classic, consumer, share, streams};

/// The state of one partition of `__consumer_offsets`, born by replay.
#[derive(Debug, Default)]
pub struct GroupCoordinator {
    /// Every group that has records of its own; a group that only has offsets is not here.
    pub(super) groups: Groups,
    /// Every committed offset.
    pub(super) offsets: Offsets,
}

/// Groups by their ids, in order.
pub(super) type Groups = BTreeMap<Str, Group>;

/// A group of one kind.
#[derive(Debug)]
pub(super) enum Group {
    /// Members agree among themselves (`JoinGroup`, `SyncGroup`).
    Classic(ClassicGroup),
    /// The coordinator assigns partitions (KIP-848).
    Consumer(ConsumerGroup),
    /// Members share partitions record by record (KIP-932).
    Share(ShareGroup),
    /// The coordinator assigns tasks of a topology (KIP-1071).
    Streams(Box<StreamsGroup>),
}

impl Group {
    /// Whether a change of a topic can change what the coordinator assigns.
    pub(super) fn wants(&self, topic: &str) -> bool {
        match self {
            Group::Consumer(group) => group.wants(topic),
            Group::Share(group) => group.wants(topic),
            Group::Streams(group) => group.wants(topic),
            Group::Classic(_) => false,
        }
    }
}

impl GroupCoordinator {
    /// Takes a fact.
    pub(super) fn apply_fact(&mut self, fact: &Fact) {
        match fact {
            Fact::Plain(record) => self.apply_record(record),
            Fact::Transactional { producer, record } => self.offsets.apply_pending(*producer, record),
            Fact::Marker { producer, result, .. } => self.offsets.apply_end(*producer, *result),
        }
    }

    fn apply_record(&mut self, record: &GroupRecord) {
        match &record.key {
            GroupKey::LegacyOffsetCommitKey(_) | GroupKey::OffsetCommitKey(_) => self.offsets.apply(record),
            GroupKey::GroupMetadataKey(_) => classic::apply(&mut self.groups, record),
            GroupKey::ConsumerGroupMetadataKey(_)
            | GroupKey::ConsumerGroupPartitionMetadataKey(_)
            | GroupKey::ConsumerGroupMemberMetadataKey(_)
            | GroupKey::ConsumerGroupTargetAssignmentMetadataKey(_)
            | GroupKey::ConsumerGroupTargetAssignmentMemberKey(_)
            | GroupKey::ConsumerGroupCurrentMemberAssignmentKey(_)
            | GroupKey::ConsumerGroupRegularExpressionKey(_) => consumer::apply(&mut self.groups, record),
            GroupKey::ShareGroupMemberMetadataKey(_)
            | GroupKey::ShareGroupMetadataKey(_)
            | GroupKey::ShareGroupTargetAssignmentMetadataKey(_)
            | GroupKey::ShareGroupTargetAssignmentMemberKey(_)
            | GroupKey::ShareGroupCurrentMemberAssignmentKey(_)
            | GroupKey::ShareGroupStatePartitionMetadataKey(_) => share::apply(&mut self.groups, record),
            GroupKey::StreamsGroupMetadataKey(_)
            | GroupKey::StreamsGroupMemberMetadataKey(_)
            | GroupKey::StreamsGroupTargetAssignmentMetadataKey(_)
            | GroupKey::StreamsGroupTargetAssignmentMemberKey(_)
            | GroupKey::StreamsGroupCurrentMemberAssignmentKey(_)
            | GroupKey::StreamsGroupTopologyKey(_) => streams::apply(&mut self.groups, record),
        }
    }
}
