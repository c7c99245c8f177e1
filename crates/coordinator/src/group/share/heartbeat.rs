//! Members of share groups come, stay, go and are given up (`shareGroupHeartbeat`, `shareGroupLeave`,
//! `shareGroupFenceMember`).

use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ErrorCode, Str, Timestamp};
use ottla_machine::Ticket;
use ottla_metadata::Image;
use ottla_metadata::controller::Refusal;
use ottla_metadata::settings::GroupSettings;
use ottla_wire::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use ottla_wire::messages::share_group_heartbeat_response::ShareGroupHeartbeatResponse;
use ottla_wire::messages::share_group_heartbeat_response::{Assignment, TopicPartitions};

use super::super::deciding::Deciding;
use super::super::kind::Kind;
use super::super::modern::subscriptions::{SubscriptionCounts, SubscriptionKind};
use super::super::modern::topics::topic_ids;
use super::super::modern::{Assigned, MemberState};
use super::super::request::Reply;
use super::super::soft::Timer;
use super::super::why::{Cause, Trigger};
use super::super::{Client, GroupRecord};
use super::assignor::{Assignee, assign};
use super::{Due, ShareGroup, ShareMember, error_fields, existing, find, records, sharing, unseen};

/// The epoch with which a member joins.
const JOIN_EPOCH: i32 = 0;
/// The epoch with which a member leaves.
const LEAVE_EPOCH: i32 = -1;
/// The longest member id, in UTF-16 units: a UUID as text.
const MAX_MEMBER_ID_LEN: usize = 36;
/// The most bytes that the names a member brings may have together. More do not fit into one record of the log.
const MAX_SUBSCRIPTION_BYTES: usize = 512 << 10;

/// A member says that it is there, or that it goes.
#[derive(Debug, Clone)]
pub struct ShareHeartbeat {
    /// Who asks.
    pub client: Client,
    /// What it says.
    pub request: ShareGroupHeartbeatRequest,
}

/// What a heartbeat is decided on, besides the group.
struct Ground {
    image: Arc<Image>,
    settings: Arc<GroupSettings>,
    max_size: usize,
}

/// One member's heartbeat on its way.
struct Beat<'a> {
    id: &'a Str,
    member_id: &'a Str,
    group: &'a ShareGroup,
    /// The member before, and as it will be.
    before: ShareMember,
    member: ShareMember,
    /// The group's epoch as it will be.
    epoch: i32,
    /// What moves the group to another epoch, if anything does.
    trigger: Option<Trigger>,
    records: Vec<GroupRecord>,
}

/// Decides a heartbeat.
pub(in crate::group) fn heartbeat(deciding: &mut Deciding<'_>, asked: ShareHeartbeat, caller: Ticket) {
    let request = &asked.request;
    let decided = validate(request).and_then(|()| match request.member_epoch {
        LEAVE_EPOCH => leave(deciding, request),
        _ => stay(deciding, &asked),
    });
    let response = decided.unwrap_or_else(|refusal| {
        let (error_code, error_message) = error_fields(refusal);
        ShareGroupHeartbeatResponse { error_code, error_message, ..Default::default() }
    });
    deciding.answer(caller, Reply::ShareGroupHeartbeat(response));
}

/// Gives a member up that was silent for too long.
pub(in crate::group) fn fire(deciding: &mut Deciding<'_>, due: Due) {
    let Due::Session { group: id, member } = due;
    if let Ok(Some(group)) = find(deciding, &id)
        && group.members.contains_key(&member)
    {
        remove(deciding, &id, group, &member, Trigger::SessionExpired);
    }
}

fn validate(request: &ShareGroupHeartbeatRequest) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    let blank = |text: &str| text.chars().all(|letter| letter <= ' ');
    if request.member_id.is_empty() || request.member_id.encode_utf16().count() > MAX_MEMBER_ID_LEN {
        return invalid("Invalid member id in the request.");
    }
    if blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.rack_id.as_ref().is_some_and(|rack| blank(rack)) {
        return invalid("RackId can't be empty.");
    }
    let topics = request.subscribed_topic_names.as_deref().unwrap_or_default();
    if request.member_epoch == JOIN_EPOCH && topics.is_empty() {
        return invalid("SubscribedTopicNames must be set in first request.");
    }
    if request.member_epoch < LEAVE_EPOCH {
        return invalid("MemberEpoch is invalid.");
    }
    let bytes: usize = topics.iter().map(|topic| topic.len() + 3).sum();
    if bytes + request.rack_id.as_ref().map_or(0, |rack| rack.len()) > MAX_SUBSCRIPTION_BYTES {
        // What Kafka makes of a record that its log does not take.
        return Err(ErrorCode::UnknownServerError.into());
    }
    Ok(())
}

fn leave(
    deciding: &mut Deciding<'_>,
    request: &ShareGroupHeartbeatRequest,
) -> Result<ShareGroupHeartbeatResponse, Refusal> {
    let group = existing(deciding, &request.group_id)?;
    if !group.members.contains_key(&request.member_id) {
        return Err(unknown_member(&request.member_id, &request.group_id));
    }
    remove(deciding, &request.group_id, group, &request.member_id, Trigger::MemberLeft);
    Ok(ShareGroupHeartbeatResponse {
        member_id: Some(request.member_id.clone()),
        member_epoch: request.member_epoch,
        ..Default::default()
    })
}

/// Removes a member; what it shared in goes to others with the next heartbeat of one of them.
fn remove(deciding: &mut Deciding<'_>, id: &Str, group: &ShareGroup, member: &Str, trigger: Trigger) {
    let Some(image) = deciding.soft.world.as_ref().map(|world| world.image.clone()) else { return };
    let mut subscriptions = group.subscriptions.clone();
    if let Some(member) = group.members.get(member) {
        subscriptions.remove_names(&member.topics);
    }
    let hash = deciding.soft.metadata.group_hash(subscriptions.topics(), &image);
    let epoch = group.epoch.wrapping_add(1);
    let reason = match trigger {
        Trigger::MemberLeft => "the member left the share group",
        _ => "the member session expired",
    };
    deciding.soft.why.begin(Kind::Share, id, Cause::new(trigger, member, reason.to_owned()), deciding.at);
    deciding.write_all(records::member_gone(id, member).into());
    deciding.write(records::epoch(id, epoch, hash));
    if group.members.len() == 1 {
        // Nobody is left to be given anything: the target is that of the new epoch, and delays no other.
        deciding.write(records::target_metadata(id, epoch, Timestamp(0)));
        deciding.soft.why.end(id, epoch, 0, deciding.at);
    }
    let session = Timer::Share(Due::Session { group: id.clone(), member: member.clone() });
    deciding.soft.timers.cancel(&session);
}

fn stay(deciding: &mut Deciding<'_>, asked: &ShareHeartbeat) -> Result<ShareGroupHeartbeatResponse, Refusal> {
    let request = &asked.request;
    let id = &request.group_id;
    let ground = Ground::of(deciding, id)?;
    let unborn = ShareGroup::default();
    let group = match find(deciding, id)? {
        Some(group) => group,
        None if request.member_epoch == JOIN_EPOCH => &unborn,
        None => return Err(Refusal::new(ErrorCode::GroupIdNotFound, format!("Share group {id} not found."))),
    };
    let mut beat = Beat::new(asked, group, &ground)?;
    let kind = beat.bump(deciding, &ground.image);
    let bumped = beat.epoch != group.epoch;
    let (target_epoch, target) = beat.target(deciding, &ground, kind);
    beat.reconcile(target_epoch, &target, bumped, &ground.image);
    beat.note_why(deciding);
    let Beat { before, member, epoch, records, member_id, .. } = beat;

    deciding.write_all(records);
    deciding.prolong_share_session(id, member_id);
    match before.topics == member.topics {
        true => deciding.initialize_wanted(id, group, epoch, group.subscriptions.topics()),
        false => {
            let wanted = resubscribed(group, &before, &member);
            deciding.initialize_wanted(id, group, epoch, wanted.topics());
        }
    }
    let is_full = request.member_epoch == JOIN_EPOCH || request.subscribed_topic_names.is_some();
    let assignment = (is_full || before.assigned != member.assigned).then(|| assignment(&member.assigned));
    Ok(ShareGroupHeartbeatResponse {
        member_id: Some(request.member_id.clone()),
        member_epoch: member.epoch,
        heartbeat_interval_ms: ground.settings.share_heartbeat_interval_ms,
        assignment,
        ..Default::default()
    })
}

impl Ground {
    fn of(deciding: &mut Deciding<'_>, id: &Str) -> Result<Ground, Refusal> {
        let world = deciding.soft.world.as_mut().ok_or_else(unseen)?;
        Ok(Ground {
            image: world.image.clone(),
            settings: world.group_settings(id),
            max_size: world.settings.share_groups.group_share_max_size.max(0) as usize,
        })
    }
}

impl<'a> Beat<'a> {
    /// The member as it will be once it has said what it says.
    fn new(asked: &'a ShareHeartbeat, group: &'a ShareGroup, ground: &Ground) -> Result<Beat<'a>, Refusal> {
        let request = &asked.request;
        let (id, member_id) = (&request.group_id, &request.member_id);
        let known = group.members.get(member_id);
        if group.members.len() >= ground.max_size && known.is_none() {
            let max = ground.max_size;
            let message = format!("The share group has reached its maximum capacity of {max} members.");
            return Err(Refusal::new(ErrorCode::GroupMaxSizeReached, message));
        }
        let before = match known {
            Some(member) => member.clone(),
            None if request.member_epoch == JOIN_EPOCH => ShareMember::default(),
            None => return Err(unknown_member(member_id, id)),
        };
        refuse_stale(&before, request.member_epoch)?;
        let mut member = before.clone();
        if let Some(rack) = &request.rack_id {
            member.rack = Some(rack.clone());
        }
        if let Some(topics) = &request.subscribed_topic_names {
            member.topics = topics.iter().cloned().collect();
        }
        member.client_id = asked.client.id.clone();
        member.client_host = asked.client.host.clone();
        let (epoch, trigger, records) = (group.epoch, None, Vec::new());
        Ok(Beat { id, member_id, group, before, member, epoch, trigger, records })
    }

    /// Moves the group to its next epoch if the member, the topics, or what can be shared in has changed.
    fn bump(&mut self, deciding: &mut Deciding<'_>, image: &Image) -> SubscriptionKind {
        let group = self.group;
        if self.member != self.before {
            self.records.push(records::member(self.id, self.member_id, &self.member));
        }
        let mut changed = self.member.topics != self.before.topics;
        if group.target_metadata.epoch >= group.epoch {
            changed |= group.awaits_assignment();
        }
        let now = deciding.at.now;
        let watch = &mut deciding.soft.metadata;
        if !changed && !watch.is_due(self.id, group.epoch, now) {
            return group.subscriptions.kind(group.members.len());
        }
        let subscriptions = resubscribed(group, &self.before, &self.member);
        let hash = watch.group_hash(subscriptions.topics(), image);
        if changed || hash != group.metadata_hash {
            self.epoch = group.epoch.wrapping_add(1);
            self.records.push(records::epoch(self.id, self.epoch, hash));
            self.trigger = Some(match self.member.topics != self.before.topics {
                true if group.members.contains_key(self.member_id) => Trigger::MemberChanged,
                true => Trigger::MemberJoined,
                false => Trigger::TopicsChanged,
            });
        }
        watch.looked(self.id, self.epoch, now);
        let newcomers = usize::from(!group.members.contains_key(self.member_id));
        subscriptions.kind(group.members.len() + newcomers)
    }

    /// The epoch that the target is for, and what it gives to the member; computed anew if it is old enough
    /// (`maybeUpdateTargetAssignment`).
    fn target(
        &mut self,
        deciding: &Deciding<'_>,
        ground: &Ground,
        kind: SubscriptionKind,
    ) -> (i32, Assigned) {
        let group = self.group;
        let wall_clock = deciding.at.wall_clock;
        let interval = ground.settings.share_assignment_interval_ms;
        if group.target_metadata.epoch >= self.epoch
            || !group.target_metadata.may_be_replaced(interval, wall_clock)
        {
            let target = group.target.get(self.member_id).cloned().unwrap_or_default();
            return (group.target_metadata.epoch, target);
        }
        let mut members: Vec<(&Str, &ShareMember)> = group.members.iter().collect();
        match members.binary_search_by(|(id, _)| (*id).cmp(self.member_id)) {
            Ok(at) => members[at].1 = &self.member,
            Err(at) => members.insert(at, (self.member_id, &self.member)),
        }
        let nothing = Assigned::new();
        let assignees = members.iter().map(|(id, member)| Assignee {
            topics: topic_ids(&member.topics, &ground.image),
            before: group.target.get(*id).unwrap_or(&nothing),
        });
        let available = group.sharing.as_ref().map(|it| it.available()).unwrap_or_default();
        let available = sharing::existing_partitions(available, &ground.image);
        let given = assign(&assignees.collect::<Vec<_>>(), &available, kind);
        let mut own = Assigned::new();
        for ((id, _), assigned) in members.into_iter().zip(given) {
            if group.target.get(id) != Some(&assigned) {
                self.records.push(records::target(self.id, id, &assigned));
            }
            if id == self.member_id {
                own = assigned;
            }
        }
        self.records.push(records::target_metadata(self.id, self.epoch, wall_clock));
        (self.epoch, own)
    }

    /// Gives the member what the target has for it, at once: nothing has to be given up before, for partitions are
    /// shared (`ShareGroupAssignmentBuilder`).
    fn reconcile(&mut self, target_epoch: i32, target: &Assigned, bumped: bool, image: &Image) {
        let member = &mut self.member;
        let is_reconciled = member.state == MemberState::Stable && member.epoch == target_epoch;
        if is_reconciled && !bumped {
            return;
        }
        let before = member.clone();
        if member.epoch != target_epoch {
            member.state = MemberState::Stable;
            member.previous_epoch = member.epoch;
            member.epoch = target_epoch;
        } else if !bumped {
            return;
        }
        let wanted = topic_ids(&member.topics, image);
        member.assigned = target.clone();
        member.assigned.retain(|topic, _| wanted.contains(topic));
        if *member != before {
            self.records.push(records::current(self.id, self.member_id, member));
        }
    }
}

impl Beat<'_> {
    /// Notes what moves the group to another epoch, and that this is over once everybody knows that epoch.
    fn note_why(&self, deciding: &mut Deciding<'_>) {
        if let Some(trigger) = self.trigger {
            let reason = match trigger {
                Trigger::MemberJoined => "a member joins the share group",
                Trigger::MemberChanged => "a member wants other topics",
                _ => "topics have changed, or which of their partitions can be shared",
            };
            let cause = Cause::new(trigger, self.member_id, reason.to_owned());
            deciding.soft.why.begin(Kind::Share, self.id, cause, deciding.at);
        }
        if self.member.epoch == self.epoch && self.before.epoch != self.epoch {
            let mut others = self.group.members.iter().filter(|(id, _)| *id != self.member_id);
            if others.all(|(_, other)| other.epoch == self.epoch) {
                let newcomers = usize::from(!self.group.members.contains_key(self.member_id));
                let members = self.group.members.len() + newcomers;
                deciding.soft.why.end(self.id, self.epoch, members, deciding.at);
            }
        }
    }
}

/// Who wants what once a member wants something else.
fn resubscribed(group: &ShareGroup, before: &ShareMember, member: &ShareMember) -> SubscriptionCounts {
    let mut subscriptions = group.subscriptions.clone();
    subscriptions.remove_names(&before.topics);
    subscriptions.add_names(&member.topics);
    subscriptions
}

fn unknown_member(member: &Str, group: &Str) -> Refusal {
    let message = format!("Member {member} is not a member of group {group}.");
    Refusal::new(ErrorCode::UnknownMemberId, message)
}

/// Refuses a member that lives in another epoch (`throwIfShareGroupMemberEpochIsInvalid`). It may be one behind, if it
/// has not heard the last answer.
fn refuse_stale(member: &ShareMember, received: i32) -> Result<(), Refusal> {
    let (known, previous) = (member.epoch, member.previous_epoch);
    if received == JOIN_EPOCH || received == known || (received < known && received == previous) {
        return Ok(());
    }
    let message = if received > known {
        format!(
            "The share group member has a greater member epoch ({received}) than the one known by the group \
             coordinator ({known}). The member must abandon all its partitions and rejoin."
        )
    } else {
        format!(
            "The share group member has a smaller member epoch ({received}) than the one known by the group \
             coordinator ({known}), and it does not match the previous member epoch ({previous}). The member must \
             abandon all its partitions and rejoin."
        )
    };
    Err(Refusal::new(ErrorCode::FencedMemberEpoch, message))
}

fn assignment(assigned: &Assigned) -> Assignment {
    let topics = assigned.iter().map(|(topic, partitions)| TopicPartitions {
        topic_id: *topic,
        partitions: partitions.iter().copied().collect(),
        ..Default::default()
    });
    Assignment { topic_partitions: topics.collect(), ..Default::default() }
}

impl Deciding<'_> {
    /// Gives a member a whole session from now on.
    pub(super) fn prolong_share_session(&mut self, group: &Str, member: &Str) {
        let Some(world) = &mut self.soft.world else { return };
        let timeout = world.group_settings(group).share_session_timeout_ms;
        let session = Timer::Share(Due::Session { group: group.detached(), member: member.detached() });
        self.soft.timers.set(session, self.at.now + Duration::from_millis(timeout.max(0) as u64));
    }
}
