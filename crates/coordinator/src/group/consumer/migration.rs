//! Groups change their kind while they are used: a classic group becomes a consumer group when the first member with the
//! new protocol joins, and a consumer group becomes classic when the last one of those leaves
//! (`convertToConsumerGroup`, `convertToClassicGroup`).

use std::borrow::Cow;

use bytes::Bytes;
use ottla_base::{ErrorCode, Str, Timestamp};
use ottla_metadata::Image;
use ottla_metadata::controller::Refusal;
use ottla_wire::records::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolAssignmentTopicPartition, ConsumerProtocolSubscription,
};
use ottla_wire::records::group::{ClassicMemberMetadata, ClassicProtocol};
use ottla_wire::{Message, decode_consumer_protocol, encode_consumer_protocol};

use super::group::ConsumerGroup;
use super::member::{Member, Owned, in_epoch};
use super::records::{Records, take_record};
use super::soft::MemberName;
use super::turn::{OpenGroup, Origin, Turn};
use crate::group::classic::live::{LiveGroup, Member as ClassicMember, Protocol};
use crate::group::classic::{self, CONSUMER_PROTOCOL};
use crate::group::deciding::Deciding;
use crate::group::modern::{Assigned, MemberState, TargetMetadata};
use crate::group::state::Group;
use crate::group::why::{Cause, Trigger};
use crate::group::{Client, GroupRecord};

/// Which ways groups may go (`ConsumerGroupMigrationPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Disabled,
    Upgrade,
    Downgrade,
    Bidirectional,
}

fn policy(deciding: &Deciding<'_>) -> Policy {
    match deciding.settings().groups.group_consumer_migration_policy.to_ascii_lowercase().as_str() {
        "upgrade" => Policy::Upgrade,
        "downgrade" => Policy::Downgrade,
        "bidirectional" => Policy::Bidirectional,
        _ => Policy::Disabled,
    }
}

/// The consumer group that a classic group becomes; nothing if there is no classic group of this id.
pub(super) fn upgrade<'a>(deciding: &mut Deciding<'a>, id: &Str) -> Result<Option<OpenGroup<'a>>, Refusal> {
    let state = deciding.state;
    let live = deciding.soft.classic.get(id);
    if live.is_none() && !matches!(state.groups.get(id), Some(Group::Classic(_))) {
        return Ok(None);
    }
    let mut records = vec![classic::tombstone(id)];
    let mut group = ConsumerGroup::new(id);
    if let Some(live) = live.filter(|live| live.members().len() > 0) {
        check_upgrade(deciding, live)?;
        let members = upgraded_members(live, &deciding.world().image)?;
        let generation = live.generation;
        let made = records_of(deciding, id, generation, &members);
        made.iter().for_each(|record| take_record(&mut group, record));
        records.extend(made);
    }
    Ok(Some(OpenGroup { group: Cow::Owned(group), records, origin: Origin::Classic }))
}

fn refused(id: &Str, because: &str) -> Refusal {
    let message = format!("Cannot upgrade classic group {id} to consumer group because {because}.");
    Refusal::new(ErrorCode::GroupIdNotFound, message)
}

/// Refuses a group that may not become a consumer group (`validateOnlineUpgrade`).
fn check_upgrade(deciding: &Deciding<'_>, group: &LiveGroup) -> Result<(), Refusal> {
    if !matches!(policy(deciding), Policy::Upgrade | Policy::Bidirectional) {
        return Err(refused(&group.id, "online upgrade is disabled"));
    }
    if group.protocol_type.as_deref() != Some(CONSUMER_PROTOCOL) {
        return Err(refused(&group.id, "the group does not use the consumer embedded protocol"));
    }
    let max = usize::try_from(deciding.settings().groups.group_consumer_max_size).unwrap_or(usize::MAX);
    if group.members().len() > max {
        return Err(refused(&group.id, "the group size exceeds the consumer group maximum size"));
    }
    Ok(())
}

/// The members of a classic group as members of a consumer group, each with what it is to own.
fn upgraded_members(group: &LiveGroup, image: &Image) -> Result<Vec<(Member, Assigned)>, Refusal> {
    let malformed = || refused(&group.id, "the embedded consumer protocol is malformed");
    let protocol = group.protocol.as_ref().ok_or_else(malformed)?;
    let mut members = Vec::with_capacity(group.members().len());
    for member in group.members() {
        let assigned = if member.assignment.is_empty() {
            Assigned::new()
        } else {
            let assignment =
                decode::<ConsumerProtocolAssignment>(&member.assignment).ok_or_else(malformed)?;
            if assignment.user_data.is_some_and(|data| !data.is_empty()) {
                return Err(refused(
                    &group.id,
                    "an unsupported custom assignor is in use. Please refer to the documentation or switch to a \
                     default assignor before re-attempting the upgrade",
                ));
            }
            let topics = assignment.assigned_partitions.into_iter();
            topics
                .filter_map(|it| Some((image.topics.id(&it.topic)?, it.partitions.into_iter().collect())))
                .collect()
        };
        let metadata = member.metadata(protocol);
        let subscription = decode::<ConsumerProtocolSubscription>(&metadata).ok_or_else(malformed)?;
        members.push((upgraded_member(member, group.generation, &subscription, &assigned), assigned));
    }
    Ok(members)
}

fn upgraded_member(
    member: &ClassicMember,
    generation: i32,
    subscription: &ConsumerProtocolSubscription,
    assigned: &Assigned,
) -> Member {
    let protocols = member.protocols.iter().map(|it| ClassicProtocol {
        name: it.name.clone(),
        metadata: it.metadata.clone(),
        unknown_tagged_fields: Vec::new(),
    });
    Member {
        epoch: generation,
        previous_epoch: generation,
        state: MemberState::Stable,
        instance_id: member.instance.clone(),
        rack_id: rack(subscription),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topics: std::sync::Arc::new(subscription.topics.iter().map(Str::detached).collect()),
        assigned: std::sync::Arc::new(in_epoch(assigned, generation)),
        classic: Some(std::sync::Arc::new(ClassicMemberMetadata {
            session_timeout_ms: member.session_timeout_ms,
            supported_protocols: protocols.collect(),
            unknown_tagged_fields: Vec::new(),
        })),
        ..Member::new(&member.id)
    }
}

/// The records that make a consumer group of these members (`createConsumerGroupRecords`).
fn records_of(
    deciding: &mut Deciding<'_>,
    id: &Str,
    generation: i32,
    members: &[(Member, Assigned)],
) -> Vec<GroupRecord> {
    let topics: std::collections::BTreeSet<&Str> =
        members.iter().flat_map(|(member, _)| member.topics.iter()).collect();
    let image = deciding.world().image.clone();
    let hash = deciding.soft.metadata.group_hash(topics, &image);
    let mut records = Records::of(id);
    members.iter().for_each(|(member, _)| records.member(member));
    records.epoch(generation, hash);
    members.iter().for_each(|(member, assigned)| records.target_of(&member.id, assigned));
    records.target(TargetMetadata { epoch: generation, computed_at: Timestamp(0) });
    members.iter().for_each(|(member, _)| records.current(member));
    records.list
}

/// Whether a group becomes classic once these members are gone: only classic ones are left, and that is allowed
/// (`validateOnlineDowngradeWithFencedMembers`).
pub(super) fn becomes_classic_without(turn: &Turn<'_, '_>, leaving: &[Member]) -> bool {
    let classic = leaving.iter().filter(|member| member.is_classic()).count();
    let left = turn.group.members().len().saturating_sub(leaving.len());
    left > 0 && turn.group.classic_members().saturating_sub(classic) == left && may_downgrade(turn, left)
}

/// Whether a group becomes classic once a classic member has replaced this one
/// (`validateOnlineDowngradeWithReplacedMember`).
pub(super) fn becomes_classic_with_replaced(turn: &Turn<'_, '_>, replaced: &Member) -> bool {
    let members = turn.group.members().len();
    turn.group.classic_members() + 1 == members && !replaced.is_classic() && may_downgrade(turn, members)
}

fn may_downgrade(turn: &Turn<'_, '_>, members: usize) -> bool {
    let max = usize::try_from(turn.server().groups.group_max_size).unwrap_or(0);
    matches!(policy(turn.deciding), Policy::Downgrade | Policy::Bidirectional) && members <= max
}

/// Whether classic members may join a consumer group at all.
pub(super) fn admits_classic_members(deciding: &Deciding<'_>) -> bool {
    policy(deciding) != Policy::Disabled
}

/// Who comes and goes when a group becomes classic.
pub(super) struct Leaving<'m> {
    /// Who is gone.
    pub(super) members: &'m [Member],
    /// The static member that takes another one's place.
    pub(super) joining: Option<&'m Member>,
    /// Why the classic group begins with a rebalance, if it does.
    pub(super) rebalance: Option<Cause>,
}

/// Makes a consumer group classic.
pub(super) fn downgrade(mut turn: Turn<'_, '_>, leaving: Leaving<'_>) -> Result<(), Refusal> {
    let replaced = leaving.joining.and_then(|joining| {
        let old = turn.group.static_member(joining.instance_id.as_ref()?)?;
        Some(old.clone())
    });
    let renamed = replaced.as_ref().zip(leaving.joining).map(|(old, new)| (&old.id, &new.id));
    turn.group.tombstones(&mut turn.records, renamed);
    let image = turn.image();
    let stays = |member: &&Member| {
        leaving.members.iter().all(|it| it.id != member.id)
            && replaced.as_ref().is_none_or(|it| it.id != member.id)
    };
    let mut members = Vec::new();
    for member in turn.group.members().values().filter(stays) {
        members.push(classic_member(member, &turn.group.target_of(&member.id), &image));
    }
    if let Some((old, joining)) = replaced.as_ref().zip(leaving.joining) {
        members.push(classic_member(joining, &turn.group.target_of(&old.id), &image));
    }
    let now = turn.deciding.at.wall_clock;
    let live = LiveGroup::settled(turn.group.id().clone(), turn.group.epoch(), members, now);
    let live = live.ok_or_else(|| {
        let message = format!("Cannot downgrade the classic group {}: no common protocol.", turn.group.id());
        Refusal::new(ErrorCode::GroupIdNotFound, message)
    })?;
    turn.records.list.push(live.record());
    let group = turn.group.clone();
    let deciding = turn.finish();
    super::fence::forget(deciding, &group);
    classic::rebalance::take_over(deciding, live, leaving.rebalance);
    Ok(())
}

fn classic_member(member: &Member, target: &Assigned, image: &Image) -> ClassicMember {
    let client = Client { id: member.client_id.clone(), host: member.client_host.clone(), version: 0 };
    let protocols = member.classic_protocols();
    let mut it = ClassicMember::new(member.id.clone(), member.instance_id.as_ref(), &client);
    it.rebalance_timeout_ms = member.rebalance_timeout_ms;
    it.session_timeout_ms = member.classic.as_ref().map_or(0, |classic| classic.session_timeout_ms);
    it.protocols = protocols
        .iter()
        .map(|it| Protocol { name: it.name.clone(), metadata: it.metadata.clone() })
        .collect();
    it.assignment = assignment(&in_epoch(target, 0), embedded_version(member), image);
    it
}

/// In which layout a classic member embeds what it says.
pub(super) fn embedded_version(member: &Member) -> i16 {
    let metadata = member.classic_protocols().first().map(|protocol| &protocol.metadata);
    let version = metadata.and_then(|metadata| metadata.first_chunk::<2>());
    version.map_or(0, |version| i16::from_be_bytes(*version))
}

/// Partitions as a classic member is told of them: of topics that exist, by their names.
pub(super) fn assignment(owned: &Owned, version: i16, image: &Image) -> Bytes {
    let topics = owned.iter().filter_map(|(topic, partitions)| {
        Some(ConsumerProtocolAssignmentTopicPartition {
            topic: image.topics.get(*topic)?.name.clone(),
            partitions: partitions.keys().copied().collect(),
        })
    });
    let message = ConsumerProtocolAssignment { assigned_partitions: topics.collect(), user_data: None };
    let version =
        version.clamp(ConsumerProtocolAssignment::FIRST_VERSION, ConsumerProtocolAssignment::LAST_VERSION);
    // Names of topics are short, and a member does not own more partitions than fit an answer.
    encode_consumer_protocol(&message, version).unwrap_or_default()
}

/// What a classic member embeds, if it can be read.
pub(super) fn decode<M: Message>(bytes: &Bytes) -> Option<M> {
    decode_consumer_protocol::<M>(bytes.clone()).ok().map(|(message, _)| message)
}

/// The rack of whoever subscribes.
pub(super) fn rack(subscription: &ConsumerProtocolSubscription) -> Option<Str> {
    subscription.rack_id.as_ref().filter(|rack| !rack.is_empty()).map(Str::detached)
}

/// A group that was classic has members that report by the classic protocol; nobody waits for the classic group any more.
pub(super) fn settle_upgraded(deciding: &mut Deciding<'_>, group: &ConsumerGroup) {
    deciding.forget_classic(group.id(), ErrorCode::RebalanceInProgress);
    for member in group.members().values() {
        if let Some(classic) = &member.classic {
            let name = MemberName::of(group.id(), &member.id);
            deciding.due_in(super::soft::Due::Session(name), classic.session_timeout_ms);
        }
    }
}

/// Why a group that becomes classic begins with a rebalance.
pub(super) fn left_as_classic(group: &Str, trigger: Trigger, member: &Str) -> Cause {
    Cause::new(
        trigger,
        member,
        format!("Downgrade group {group} from consumer to classic for member leaving."),
    )
}
