//! Members of consumer groups that speak the classic protocol: they join, ask for their assignments, report and leave as
//! if the group were classic, and the coordinator assigns to them as to all others
//! (`classicGroupJoinToConsumerGroup` and its like).

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use ottla_base::{ErrorCode, Str};
use ottla_metadata::controller::Refusal;
use ottla_wire::messages::heartbeat_request::HeartbeatRequest;
use ottla_wire::messages::join_group_request::JoinGroupRequest;
use ottla_wire::messages::join_group_response::JoinGroupResponse;
use ottla_wire::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use ottla_wire::messages::leave_group_response::{LeaveGroupResponse, MemberResponse};
use ottla_wire::messages::sync_group_request::SyncGroupRequest;
use ottla_wire::messages::sync_group_response::SyncGroupResponse;
use ottla_wire::records::consumer_protocol::ConsumerProtocolSubscription;
use ottla_wire::records::group::{ClassicMemberMetadata, ClassicProtocol};

use super::fence::fence;
use super::group::ConsumerGroup;
use super::heartbeat::{check_instance, same_or_detached};
use super::member::{Member, detached};
use super::migration::{self, Leaving};
use super::reconcile::{OwnedTopic, Subscription};
use super::soft::{Due, MemberName};
use super::subscription::{Epoch, RegexChange};
use super::target::Target;
use super::turn::Turn;
use crate::group::Client;
use crate::group::classic::CONSUMER_PROTOCOL;
use crate::group::deciding::Deciding;
use crate::group::modern::MemberState;
use crate::group::modern::subscriptions::SubscriptionKind;
use crate::group::state::Group;
use crate::group::why::{Cause, Trigger};

/// From this version on, members without an instance id are given their id first, and join with it.
const MEMBER_ID_IS_REQUIRED: i16 = 4;

/// The consumer group of this id, if there is one.
fn known<'a>(deciding: &Deciding<'a>, id: &str) -> Option<&'a ConsumerGroup> {
    match deciding.state.groups.get(id) {
        Some(Group::Consumer(group)) => Some(group),
        _ => None,
    }
}

/// A member joins a consumer group by the classic protocol; it hears at once.
pub(in crate::group) fn join(
    deciding: &mut Deciding<'_>,
    client: &Client,
    request: &JoinGroupRequest,
) -> JoinGroupResponse {
    join_or_refuse(deciding, client, request).unwrap_or_else(|(code, member_id)| JoinGroupResponse {
        error_code: code as i16,
        member_id,
        ..JoinGroupResponse::default()
    })
}

/// Why somebody does not become a member, and as whom it is to ask again.
type NotJoined = (ErrorCode, Str);

fn join_or_refuse(
    deciding: &mut Deciding<'_>,
    client: &Client,
    request: &JoinGroupRequest,
) -> Result<JoinGroupResponse, NotJoined> {
    let as_asked = |code: ErrorCode| (code, request.member_id.clone());
    let refused = |refusal: Refusal| as_asked(refusal.code);
    let group = known(deciding, &request.group_id).ok_or(as_asked(ErrorCode::UnknownMemberId))?;
    if !migration::admits_classic_members(deciding) {
        return Err(as_asked(ErrorCode::InconsistentGroupProtocol));
    }
    let instance_id = request.group_instance_id.as_ref();
    let is_unknown = request.member_id.is_empty();
    let mut turn = Turn::new(deciding, Cow::Borrowed(group));
    let member_id = match is_unknown {
        true => Str::from(turn.deciding.entropy.uuid().to_string()),
        false => request.member_id.clone(),
    };
    turn.check_room(&member_id, instance_id).map_err(refused)?;
    let is_supported = request.protocol_type == *CONSUMER_PROTOCOL
        && request.protocols.iter().any(|protocol| turn.group.all_support(&protocol.name));
    let first = request.protocols.first().filter(|_| is_supported);
    let first = first.ok_or(as_asked(ErrorCode::InconsistentGroupProtocol))?;
    if is_unknown && instance_id.is_none() && client.version >= MEMBER_ID_IS_REQUIRED {
        return Err((ErrorCode::MemberIdRequired, member_id));
    }
    let subscription = migration::decode::<ConsumerProtocolSubscription>(&first.metadata)
        .ok_or(as_asked(ErrorCode::InconsistentGroupProtocol))?;
    let existing = instance_id.and_then(|id| turn.group.static_member(id)).cloned();
    let becomes_classic =
        existing.as_ref().is_some_and(|existing| migration::becomes_classic_with_replaced(&turn, existing));
    let member = turn.joining_member(&member_id, request, existing.as_ref()).map_err(refused)?;
    let updated = updated(&member, client, request, &subscription);
    let updated = if becomes_classic {
        turn.join_and_downgrade(&member, updated, &subscription)
    } else {
        turn.join_classic(&member, updated, &subscription, request)
    };
    let updated = updated.map_err(refused)?;
    let protocol = updated.classic_protocols().first();
    Ok(JoinGroupResponse {
        member_id: updated.id.clone(),
        generation_id: updated.epoch,
        protocol_type: Some(Str::from_static(CONSUMER_PROTOCOL)),
        protocol_name: protocol.map(|protocol| protocol.name.clone()),
        ..JoinGroupResponse::default()
    })
}

/// A member as it is after what its request says.
fn updated(
    member: &Member,
    client: &Client,
    request: &JoinGroupRequest,
    subscription: &ConsumerProtocolSubscription,
) -> Member {
    let protocol = |it: &ottla_wire::messages::join_group_request::JoinGroupRequestProtocol| {
        detached(&ClassicProtocol {
            name: it.name.clone(),
            metadata: it.metadata.clone(),
            unknown_tagged_fields: Vec::new(),
        })
    };
    Member {
        instance_id: request.group_instance_id.as_ref().map(Str::detached).or(member.instance_id.clone()),
        rack_id: migration::rack(subscription).or(member.rack_id.clone()),
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => member.rebalance_timeout_ms,
            given => given,
        },
        topics: Arc::new(subscription.topics.iter().map(Str::detached).collect()),
        regex: Some(Str::default()),
        client_id: same_or_detached(&member.client_id, &client.id),
        client_host: same_or_detached(&member.client_host, &client.host),
        classic: Some(Arc::new(ClassicMemberMetadata {
            session_timeout_ms: request.session_timeout_ms,
            supported_protocols: request.protocols.iter().map(protocol).collect(),
            unknown_tagged_fields: Vec::new(),
        })),
        ..member.clone()
    }
}

impl Turn<'_, '_> {
    /// Who joins: somebody new, a member that is known, or the successor of a static one.
    fn joining_member(
        &mut self,
        id: &Str,
        request: &JoinGroupRequest,
        existing: Option<&Member>,
    ) -> Result<Member, Refusal> {
        let new = || self.group.member(id).cloned().unwrap_or_else(|| Member::new(id));
        let Some(instance_id) = &request.group_instance_id else { return Ok(new()) };
        if !request.member_id.is_empty() {
            let member = self.known_static_member(instance_id)?;
            check_instance(&member, id, instance_id)?;
            return Ok(member);
        }
        let Some(old) = existing else { return Ok(new()) };
        let successor = Member { id: id.detached(), epoch: 0, previous_epoch: 0, ..old.clone() };
        self.replace(old, &successor);
        Ok(successor)
    }

    /// The group's epoch once a classic member has joined, and whether it wants something else than before.
    fn epoch_after_join(
        &mut self,
        member: &Member,
        updated: &Member,
    ) -> Result<(i32, Option<SubscriptionKind>, Subscription), Refusal> {
        let names_changed = self.note_member(member, updated);
        let regex = self.note_regex(member, updated)?;
        let (mut epoch, mut kind) = (self.group.epoch(), None);
        let mut subscription = Subscription::Same;
        if names_changed || regex != RegexChange::None {
            subscription = Subscription::Changed;
            let trigger = self.trigger_of(member, updated);
            let next = self.epoch_after(Epoch::Next(trigger), member, updated);
            (epoch, kind) = (next.0, Some(next.1));
        } else if self.is_to_look_at_topics() {
            let next = self.epoch_after(Epoch::NextIfTopicsChanged, member, updated);
            (epoch, kind) = (next.0, Some(next.1));
        }
        Ok((epoch, kind, subscription))
    }

    fn join_classic(
        mut self,
        member: &Member,
        updated: Member,
        says: &ConsumerProtocolSubscription,
        request: &JoinGroupRequest,
    ) -> Result<Member, Refusal> {
        let (epoch, kind, subscription) = self.epoch_after_join(member, &updated)?;
        let target = self.target_for(epoch, member, &updated, kind);
        let owned = self.owned_topics(says);
        let updated = self.reconcile(updated, &target, subscription, Some(&owned))?;
        let name = MemberName::of(self.group.id(), &updated.id);
        self.deciding.not_due(Due::Join(name.clone()));
        self.expect_report_within(&updated.id, request.session_timeout_ms);
        self.deciding.due_in(Due::Sync(name), request.rebalance_timeout_ms);
        self.note_end(&updated, target.epoch, epoch);
        self.finish();
        Ok(updated)
    }

    fn join_and_downgrade(
        mut self,
        member: &Member,
        updated: Member,
        says: &ConsumerProtocolSubscription,
    ) -> Result<Member, Refusal> {
        let (epoch, _, subscription) = self.epoch_after_join(member, &updated)?;
        let is_stale = self.group.target().epoch < epoch;
        let mut updated = updated;
        if !is_stale {
            let Target { epoch, assigned } = self.last_target_for(&updated);
            let owned = self.owned_topics(says);
            updated = self.reconcile(updated, &Target { epoch, assigned }, subscription, Some(&owned))?;
        }
        let rebalance = is_stale.then(|| {
            let reason = format!(
                "Downgrade group {} from consumer to classic with stale assignment.",
                self.group.id()
            );
            Cause::new(Trigger::KindChanged, &updated.id, reason)
        });
        migration::downgrade(self, Leaving { members: &[], joining: Some(&updated), rebalance })?;
        Ok(updated)
    }

    /// What a classic member says that it owns, of topics that exist.
    fn owned_topics(&self, subscription: &ConsumerProtocolSubscription) -> Vec<OwnedTopic> {
        let image = self.image();
        let topics = subscription.owned_partitions.iter();
        topics
            .filter_map(|topic| {
                Some(OwnedTopic { id: image.topics.id(&topic.topic)?, partitions: topic.partitions.clone() })
            })
            .collect()
    }

    /// The member behind a request (`validateConsumerGroupMember`), which must speak the classic protocol in its epoch.
    fn classic_member(
        &self,
        id: &Str,
        instance_id: Option<&Str>,
        generation: i32,
    ) -> Result<Member, ErrorCode> {
        let member = match instance_id {
            None => self.known_member(id),
            Some(instance_id) => self.known_static_member(instance_id).and_then(|member| {
                check_instance(&member, id, instance_id)?;
                Ok(member)
            }),
        };
        let member = member.map_err(|refusal| refusal.code)?;
        if !member.is_classic() {
            return Err(ErrorCode::UnknownMemberId);
        }
        if member.epoch != generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        Ok(member)
    }

    /// Expects a classic member to join again in time.
    fn expect_join(&mut self, member: &Member) {
        let due = Due::Join(MemberName::of(self.group.id(), &member.id));
        self.deciding.due_in_if_absent(due, member.rebalance_timeout_ms);
    }

    fn expect_classic_report(&mut self, member: &Member) {
        let timeout_ms = member.classic.as_ref().map_or(0, |classic| classic.session_timeout_ms);
        self.expect_report_within(&member.id, timeout_ms);
    }
}

/// A classic member of a consumer group asks for its assignment; nothing if there is no such group.
pub(in crate::group) fn sync(
    deciding: &mut Deciding<'_>,
    request: &SyncGroupRequest,
) -> Option<SyncGroupResponse> {
    let group = known(deciding, &request.group_id)?;
    let turn = Turn::new(deciding, Cow::Borrowed(group));
    Some(match sync_or_refuse(turn, request) {
        Ok(assignment) => SyncGroupResponse {
            protocol_type: request.protocol_type.clone(),
            protocol_name: request.protocol_name.clone(),
            assignment,
            ..SyncGroupResponse::default()
        },
        Err(code) => SyncGroupResponse { error_code: code as i16, ..SyncGroupResponse::default() },
    })
}

fn sync_or_refuse(mut turn: Turn<'_, '_>, request: &SyncGroupRequest) -> Result<Bytes, ErrorCode> {
    let instance_id = request.group_instance_id.as_ref();
    let member = turn.classic_member(&request.member_id, instance_id, request.generation_id)?;
    let protocol = member.classic_protocols().first().map(|protocol| &protocol.name);
    if request.protocol_type.as_ref().is_some_and(|it| *it != *CONSUMER_PROTOCOL)
        || request.protocol_name.as_ref().is_some_and(|it| Some(it) != protocol)
    {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    if turn.group.target().epoch > member.epoch && member.state != MemberState::UnrevokedPartitions {
        turn.expect_join(&member);
        return Err(ErrorCode::RebalanceInProgress);
    }
    turn.deciding.not_due(Due::Sync(MemberName::of(turn.group.id(), &member.id)));
    turn.expect_classic_report(&member);
    Ok(migration::assignment(&member.assigned, migration::embedded_version(&member), &turn.image()))
}

/// A classic member of a consumer group reports; nothing if there is no such group.
pub(in crate::group) fn heartbeat(
    deciding: &mut Deciding<'_>,
    request: &HeartbeatRequest,
) -> Option<Result<(), ErrorCode>> {
    let group = known(deciding, &request.group_id)?;
    let mut turn = Turn::new(deciding, Cow::Borrowed(group));
    let instance_id = request.group_instance_id.as_ref();
    let member = match turn.classic_member(&request.member_id, instance_id, request.generation_id) {
        Ok(member) => member,
        Err(code) => return Some(Err(code)),
    };
    turn.expect_classic_report(&member);
    let is_to_join = member.epoch < turn.group.target().epoch
        || match member.state {
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !turn.group.waits_for_others(&member),
            MemberState::Stable | MemberState::Unknown => false,
        };
    if is_to_join {
        turn.expect_join(&member);
        return Some(Err(ErrorCode::RebalanceInProgress));
    }
    Some(Ok(()))
}

/// Members of a consumer group leave by the classic protocol; nothing if there is no such group.
pub(in crate::group) fn leave(
    deciding: &mut Deciding<'_>,
    request: &LeaveGroupRequest,
) -> Option<LeaveGroupResponse> {
    let group = known(deciding, &request.group_id)?;
    let turn = Turn::new(deciding, Cow::Borrowed(group));
    let mut leaving: Vec<Member> = Vec::new();
    let mut members = Vec::with_capacity(request.members.len());
    for identity in &request.members {
        let code = match turn.leaving_member(identity) {
            Ok(member) => {
                if leaving.iter().all(|known| known.id != member.id) {
                    leaving.push(member);
                }
                ErrorCode::None
            }
            Err(refusal) => refusal.code,
        };
        members.push(MemberResponse {
            member_id: identity.member_id.clone(),
            group_instance_id: identity.group_instance_id.clone(),
            error_code: code as i16,
            ..MemberResponse::default()
        });
    }
    Some(match fence(turn, &leaving, Trigger::MemberLeft) {
        Ok(()) => LeaveGroupResponse { members, ..LeaveGroupResponse::default() },
        Err(refusal) => {
            LeaveGroupResponse { error_code: refusal.code as i16, ..LeaveGroupResponse::default() }
        }
    })
}

impl Turn<'_, '_> {
    fn leaving_member(&self, identity: &MemberIdentity) -> Result<Member, Refusal> {
        let Some(instance_id) = &identity.group_instance_id else {
            return self.known_member(&identity.member_id);
        };
        let member = self.known_static_member(instance_id)?;
        if !identity.member_id.is_empty() {
            check_instance(&member, &identity.member_id, instance_id)?;
        }
        Ok(member)
    }
}
