//! What is told of a consumer group (`asDescribedGroup`), and who may commit and fetch offsets in it
//! (`validateOffsetCommit`, `validateOffsetFetch`).

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_machine::Ticket;
use ottla_metadata::Image;
use ottla_wire::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member as Described, TopicPartitions,
};

use super::group::ConsumerGroup;
use super::heartbeat::not_a_consumer_group;
use super::member::Member;
use super::records::Records;
use super::target::preferred_assignor;
use crate::group::GroupRecord;
use crate::group::deciding::Deciding;
use crate::group::kind::{AnyGroup, Checked, Committer, Expiry, Kind, PartOf};
use crate::group::modern::Assigned;
use crate::group::request::Reply;
use crate::group::state::Group;

/// The first version of `OffsetCommit` whose callers know member epochs.
const MEMBER_EPOCHS_SINCE: i16 = 9;

pub(in crate::group) fn describe(deciding: &mut Deciding<'_>, id: Str, caller: Ticket) {
    let world = deciding.world();
    let described = match deciding.state.groups.get(&id) {
        Some(Group::Consumer(group)) => {
            let served = &world.settings.groups.group_consumer_assignors;
            let members = group.members().values();
            DescribedGroup {
                group_id: id,
                group_state: Str::from_static(group.state_name()),
                group_epoch: group.epoch(),
                assignment_epoch: group.target().epoch,
                assignor_name: preferred_assignor(group.assignors(), served).name(),
                members: members.map(|member| described(group, member, &world.image)).collect(),
                ..DescribedGroup::default()
            }
        }
        other => {
            let refusal = match other {
                Some(_) => not_a_consumer_group(&id).message,
                None => Some(Str::from(format!("Group {id} not found."))),
            };
            DescribedGroup {
                error_code: ErrorCode::GroupIdNotFound as i16,
                error_message: refusal,
                group_id: id,
                ..DescribedGroup::default()
            }
        }
    };
    deciding.answer(caller, Reply::ConsumerGroupDescribe(described));
}

fn described(group: &ConsumerGroup, member: &Member, image: &Image) -> Described {
    let mut current = Assigned::new();
    for (topic, partitions) in member.assigned.iter().chain(member.revoking.iter()) {
        current.entry(*topic).or_default().extend(partitions.keys());
    }
    Described {
        member_id: member.id.clone(),
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        member_epoch: member.epoch,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: member.topics.iter().cloned().collect(),
        subscribed_topic_regex: member.regex.clone(),
        assignment: assignment(&current, image),
        target_assignment: assignment(&group.target_of(&member.id), image),
        member_type: i8::from(!member.is_classic()),
        ..Described::default()
    }
}

/// Partitions of topics that exist.
fn assignment(assigned: &BTreeMap<Uuid, BTreeSet<i32>>, image: &Image) -> Assignment {
    let topic = |(topic_id, partitions): (&Uuid, &BTreeSet<i32>)| {
        Some(TopicPartitions {
            topic_id: *topic_id,
            topic_name: image.topics.get(*topic_id)?.name.clone(),
            partitions: partitions.iter().copied().collect(),
            ..TopicPartitions::default()
        })
    };
    Assignment { topic_partitions: assigned.iter().filter_map(topic).collect(), ..Assignment::default() }
}

impl Member {
    /// What is wrong with an epoch that is not this member's: classic members know generations.
    fn stale(&self) -> ErrorCode {
        match self.is_classic() {
            true => ErrorCode::IllegalGeneration,
            false => ErrorCode::StaleMemberEpoch,
        }
    }
}

impl AnyGroup for ConsumerGroup {
    fn kind(&self) -> Kind {
        Kind::Consumer
    }

    fn state(&self) -> &'static str {
        self.state_name()
    }

    fn protocol_type(&self) -> &str {
        "consumer"
    }

    fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    fn check_commit(&self, by: &Committer<'_>) -> Result<Checked, ErrorCode> {
        // Somebody without a group may use one that has no members; a transaction may be of an old producer, which
        // does not tell.
        let nobody = by.epoch == -1 && by.member.is_empty() && by.instance.is_none();
        if (by.epoch < 0 && self.members().is_empty()) || (by.part_of == PartOf::Transaction && nobody) {
            return Ok(Checked::Wholly);
        }
        let member = self.member(by.member).ok_or(ErrorCode::UnknownMemberId)?;
        if by.part_of == PartOf::Nothing && !member.is_classic() && by.version < MEMBER_EPOCHS_SINCE {
            return Err(ErrorCode::UnsupportedVersion);
        }
        match by.epoch {
            epoch if epoch == member.epoch => Ok(Checked::Wholly),
            epoch if epoch > member.epoch => Err(member.stale()),
            // It has not heard of its new epoch: it may commit what it had already (KIP-1251).
            _ => Ok(Checked::EachPartition),
        }
    }

    fn check_partition(
        &self,
        by: &Committer<'_>,
        _topic: &str,
        topic_id: Uuid,
        partition: i32,
    ) -> Result<(), ErrorCode> {
        let member = self.member(by.member).ok_or(ErrorCode::UnknownMemberId)?;
        match member.epoch_of(topic_id, partition) {
            Some(since) if by.epoch >= since => Ok(()),
            Some(_) | None => Err(member.stale()),
        }
    }

    fn check_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        if member.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = member.and_then(|id| self.member(id)).ok_or(ErrorCode::UnknownMemberId)?;
        if epoch == member.epoch { Ok(()) } else { Err(member.stale()) }
    }

    fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        Ok(())
    }

    fn is_subscribed_to(&self, topic: &str) -> bool {
        self.wants(topic)
    }

    fn expiry(&self) -> Expiry {
        Expiry::FromCommit
    }

    fn tombstones(&self, group: &Str, records: &mut Vec<GroupRecord>) {
        let mut all = Records::of(group);
        ConsumerGroup::tombstones(self, &mut all, None);
        records.append(&mut all.list);
    }
}
