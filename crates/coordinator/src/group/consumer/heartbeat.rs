//! `ConsumerGroupHeartbeat`: a member joins, reports, leaves for a while or for good (`consumerGroupHeartbeat`).

use std::borrow::Cow;
use std::sync::Arc;

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_machine::Ticket;
use ottla_metadata::controller::Refusal;
use ottla_wire::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest as Message;
use ottla_wire::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse as Response;
use ottla_wire::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};

use super::fence::fence;
use super::group::ConsumerGroup;
use super::member::{AWAY_EPOCH, JOIN_EPOCH, LEAVE_EPOCH, Member, Owned};
use super::migration;
use super::reconcile::{OwnedTopic, Subscription};
use super::subscription::{Epoch, RegexChange};
use super::turn::{OpenGroup, Origin, Turn};
use crate::group::Client;
use crate::group::deciding::Deciding;
use crate::group::modern::assignor::Assignor;
use crate::group::request::Reply;
use crate::group::state::Group;
use crate::group::why::Trigger;

/// A member reports, or wants to become one.
#[derive(Debug, Clone)]
pub struct ConsumerGroupHeartbeat {
    /// Who asks.
    pub client: Client,
    /// What it says.
    pub message: Message,
}

pub(in crate::group) fn heartbeat(
    deciding: &mut Deciding<'_>,
    request: ConsumerGroupHeartbeat,
    caller: Ticket,
) {
    let ConsumerGroupHeartbeat { client, message } = request;
    let response = decide(deciding, &client, &message).unwrap_or_else(|refusal| Response {
        error_code: refusal.code as i16,
        error_message: refusal.message,
        ..Response::default()
    });
    deciding.answer(caller, Reply::ConsumerGroupHeartbeat(response));
}

fn decide(deciding: &mut Deciding<'_>, client: &Client, message: &Message) -> Result<Response, Refusal> {
    check(deciding, client, message)?;
    match message.member_epoch {
        LEAVE_EPOCH | AWAY_EPOCH => leave(deciding, message),
        _ => report(deciding, client, message),
    }
}

/// Refuses what no group could accept (`throwIfConsumerGroupHeartbeatRequestIsInvalid`).
fn check(deciding: &Deciding<'_>, client: &Client, message: &Message) -> Result<(), Refusal> {
    let invalid = |words: &str| Err(Refusal::new(ErrorCode::InvalidRequest, words));
    let is_blank = |text: Option<&Str>| text.is_some_and(|text| text.trim().is_empty());
    let epoch = message.member_epoch;
    if (client.version >= 1 || epoch > 0 || epoch == LEAVE_EPOCH) && is_blank(Some(&message.member_id)) {
        return invalid("MemberId can't be empty.");
    }
    if is_blank(Some(&message.group_id)) {
        return invalid("GroupId can't be empty.");
    }
    if is_blank(message.instance_id.as_ref()) {
        return invalid("InstanceId can't be empty.");
    }
    if is_blank(message.rack_id.as_ref()) {
        return invalid("RackId can't be empty.");
    }
    match epoch {
        JOIN_EPOCH if message.rebalance_timeout_ms == -1 => {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        JOIN_EPOCH if message.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        JOIN_EPOCH
            if message.subscribed_topic_names.is_none() && message.subscribed_topic_regex.is_none() =>
        {
            return invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            );
        }
        AWAY_EPOCH if message.instance_id.is_none() => return invalid("InstanceId can't be null."),
        epoch if epoch < AWAY_EPOCH => return invalid("MemberEpoch is invalid."),
        _ => (),
    }
    let served = &deciding.settings().groups.group_consumer_assignors;
    match &message.server_assignor {
        Some(name) if !served.iter().any(|it| it == name.as_str()) || Assignor::named(name).is_none() => {
            let message = format!(
                "ServerAssignor {name} is not supported. Supported assignors: {}.",
                served.join(", ")
            );
            Err(Refusal::new(ErrorCode::UnsupportedAssignor, message))
        }
        _ => Ok(()),
    }
}

/// The group that a heartbeat is about; a member that joins makes it if need be.
fn open<'a>(deciding: &mut Deciding<'a>, message: &Message) -> Result<OpenGroup<'a>, Refusal> {
    let id = &message.group_id;
    let joins = message.member_epoch == JOIN_EPOCH;
    if joins && let Some(made) = migration::upgrade(deciding, id)? {
        return Ok(made);
    }
    let open = |group| OpenGroup { group, records: Vec::new(), origin: Origin::Consumer };
    match deciding.state.groups.get(id) {
        Some(Group::Consumer(group)) => Ok(open(Cow::Borrowed(group))),
        None if joins => Ok(open(Cow::Owned(ConsumerGroup::new(id)))),
        None => Err(Refusal::new(ErrorCode::GroupIdNotFound, format!("Consumer group {id} not found."))),
        _ => Err(not_a_consumer_group(id)),
    }
}

pub(super) fn not_a_consumer_group(id: &Str) -> Refusal {
    Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {id} is not a consumer group."))
}

/// A member joins or reports.
fn report(deciding: &mut Deciding<'_>, client: &Client, message: &Message) -> Result<Response, Refusal> {
    let open = open(deciding, message)?;
    let mut turn = Turn::with(deciding, open);
    if let Some(id) = turn.sign_of_life(client, message) {
        turn.expect_report(&id);
        return Ok(turn.reported(&id, message.member_epoch, None));
    }
    turn.check_room(&message.member_id, message.instance_id.as_ref())?;
    let member_id = match message.member_id.is_empty() {
        true => Str::from(turn.deciding.entropy.uuid().to_string()),
        false => message.member_id.clone(),
    };
    let owned = owned_topics(message);
    let member = match &message.instance_id {
        None => turn.dynamic_member(&member_id, message.member_epoch, owned.as_deref())?,
        Some(instance_id) => {
            turn.static_member(&member_id, message.member_epoch, instance_id, owned.as_deref())?
        }
    };
    let updated = updated(&member, client, message);
    let names_changed = turn.note_member(&member, &updated);
    let regex = turn.note_regex(&member, &updated)?;
    let assignor_changed = member.assignor != updated.assignor
        && turn.preferred_assignor_with(&member, &member) != turn.preferred_assignor_with(&member, &updated);
    let (mut epoch, mut kind) = (turn.group.epoch(), None);
    if names_changed || regex == RegexChange::Resolved || assignor_changed {
        let trigger = match names_changed || regex == RegexChange::Resolved {
            true => turn.trigger_of(&member, &updated),
            false => Trigger::AssignorChanged,
        };
        let next = turn.epoch_after(Epoch::Next(trigger), &member, &updated);
        (epoch, kind) = (next.0, Some(next.1));
    } else if turn.is_to_look_at_topics() {
        let next = turn.epoch_after(Epoch::NextIfTopicsChanged, &member, &updated);
        (epoch, kind) = (next.0, Some(next.1));
    }
    let target = turn.target_for(epoch, &member, &updated, kind);
    let subscription = match names_changed || regex != RegexChange::None {
        true => Subscription::Changed,
        false => Subscription::Same,
    };
    let updated = turn.reconcile(updated, &target, subscription, owned.as_deref())?;
    turn.expect_report(&updated.id);
    turn.note_end(&updated, target.epoch, epoch);

    let is_full = message.rebalance_timeout_ms != -1
        && (message.subscribed_topic_names.is_some() || message.subscribed_topic_regex.is_some())
        && message.topic_partitions.is_some();
    let tell = message.member_epoch == JOIN_EPOCH || is_full || member.assigned != updated.assigned;
    let assignment = tell.then(|| assignment(&updated.assigned));
    let response = turn.reported(&updated.id, updated.epoch, assignment);
    turn.finish();
    Ok(response)
}

/// A member as it is after what it says; what it does not say stays.
fn updated(member: &Member, client: &Client, message: &Message) -> Member {
    let keep = |old: &Option<Str>, new: &Option<Str>| match new {
        Some(new) if old.as_ref() != Some(new) => Some(new.detached()),
        _ => old.clone(),
    };
    let topics = match &message.subscribed_topic_names {
        Some(names) if !is_same(names, member) => Arc::new(names.iter().map(Str::detached).collect()),
        _ => member.topics.clone(),
    };
    Member {
        instance_id: keep(&member.instance_id, &message.instance_id),
        rack_id: keep(&member.rack_id, &message.rack_id),
        rebalance_timeout_ms: match message.rebalance_timeout_ms {
            -1 => member.rebalance_timeout_ms,
            given => given,
        },
        client_id: same_or_detached(&member.client_id, &client.id),
        client_host: same_or_detached(&member.client_host, &client.host),
        topics,
        regex: keep(&member.regex, &message.subscribed_topic_regex),
        assignor: keep(&member.assignor, &message.server_assignor),
        classic: None,
        ..member.clone()
    }
}

/// Whether names are those that a member has, each once.
fn is_same(names: &[Str], member: &Member) -> bool {
    names.len() == member.topics.len() && names.iter().all(|name| member.topics.contains(name))
}

pub(super) fn same_or_detached(old: &Str, new: &Str) -> Str {
    if old == new { old.clone() } else { new.detached() }
}

fn owned_topics(message: &Message) -> Option<Vec<OwnedTopic>> {
    let topics = message.topic_partitions.as_ref()?;
    let topic = |topic: &ottla_wire::messages::consumer_group_heartbeat_request::TopicPartitions| {
        OwnedTopic { id: topic.topic_id, partitions: topic.partitions.clone() }
    };
    Some(topics.iter().map(topic).collect())
}

fn assignment(assigned: &Owned) -> Assignment {
    let topic = |(topic_id, partitions): (&Uuid, &std::collections::BTreeMap<i32, i32>)| TopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.keys().copied().collect(),
        ..TopicPartitions::default()
    };
    Assignment { topic_partitions: assigned.iter().map(topic).collect(), ..Assignment::default() }
}

impl Turn<'_, '_> {
    /// The id of a member that has all that it is to own and says nothing but that it is there, where there is nothing to
    /// look at. Nearly every heartbeat is so; such a one would go the long way without a change.
    fn sign_of_life(&self, client: &Client, message: &Message) -> Option<Str> {
        let says_nothing = message.instance_id.is_none()
            && message.rack_id.is_none()
            && message.rebalance_timeout_ms == -1
            && message.subscribed_topic_names.is_none()
            && message.subscribed_topic_regex.is_none()
            && message.server_assignor.is_none()
            && message.topic_partitions.is_none();
        let target = self.group.target();
        let has_nothing_to_look_at = self.group.epoch() <= target.epoch
            && self.group.regexes().is_empty()
            && !self.is_to_look_at_topics();
        if !(says_nothing && has_nothing_to_look_at) {
            return None;
        }
        let is_as_before = |member: &&Member| {
            member.epoch == message.member_epoch
                && member.is_reconciled_to(target.epoch)
                && !member.is_classic()
                && member.client_id == client.id
                && member.client_host == client.host
        };
        self.group.member(&message.member_id).filter(is_as_before).map(|member| member.id.clone())
    }

    /// The answer to a member in an epoch.
    fn reported(&self, id: &Str, epoch: i32, assignment: Option<Assignment>) -> Response {
        Response {
            member_id: Some(id.clone()),
            member_epoch: epoch,
            heartbeat_interval_ms: self.settings.consumer_heartbeat_interval_ms,
            assignment,
            ..Response::default()
        }
    }

    fn dynamic_member(&self, id: &Str, epoch: i32, owned: Option<&[OwnedTopic]>) -> Result<Member, Refusal> {
        let member = match self.group.member(id) {
            None if epoch == JOIN_EPOCH => Member::new(id),
            _ => self.known_member(id)?,
        };
        check_epoch(&member, epoch, owned)?;
        Ok(member)
    }

    fn static_member(
        &mut self,
        id: &Str,
        epoch: i32,
        instance_id: &Str,
        owned: Option<&[OwnedTopic]>,
    ) -> Result<Member, Refusal> {
        if epoch != JOIN_EPOCH {
            let member = self.known_static_member(instance_id)?;
            check_instance(&member, id, instance_id)?;
            check_epoch(&member, epoch, owned)?;
            return Ok(member);
        }
        let Some(old) = self.group.static_member(instance_id).cloned() else {
            // It may be known without an instance id.
            return Ok(self.group.member(id).cloned().unwrap_or_else(|| Member::new(id)));
        };
        if !old.is_classic() && old.epoch != AWAY_EPOCH {
            let message = format!(
                "Static member {id} with instance id {instance_id} cannot join the group because the instance \
                 id is owned by {} member.",
                old.id
            );
            return Err(Refusal::new(ErrorCode::UnreleasedInstanceId, message));
        }
        let new = Member { id: id.detached(), epoch: 0, previous_epoch: 0, ..old.clone() };
        self.replace(&old, &new);
        Ok(new)
    }
}

/// Refuses a static member whose place another one has (`throwIfInstanceIdIsFenced`).
pub(super) fn check_instance(member: &Member, id: &Str, instance_id: &Str) -> Result<(), Refusal> {
    if member.id == *id {
        return Ok(());
    }
    let message =
        format!("Static member {id} with instance id {instance_id} was fenced by member {}.", member.id);
    Err(Refusal::new(ErrorCode::FencedInstanceId, message))
}

/// Refuses a member that is not where it thinks it is (`throwIfConsumerGroupMemberEpochIsInvalid`). The answer to its
/// last report may have been lost: then it still has the previous epoch, and no partition that it should not have.
fn check_epoch(member: &Member, epoch: i32, owned: Option<&[OwnedTopic]>) -> Result<(), Refusal> {
    let has_only_its_own = || {
        owned.is_some_and(|owned| {
            owned.iter().all(|topic| {
                let assigned = member.assigned.get(&topic.id);
                assigned.is_some_and(|assigned| topic.partitions.iter().all(|it| assigned.contains_key(it)))
            })
        })
    };
    let than = match epoch {
        JOIN_EPOCH => return Ok(()),
        _ if epoch > member.epoch => "greater",
        _ if epoch == member.epoch || (epoch == member.previous_epoch && has_only_its_own()) => return Ok(()),
        _ => "smaller",
    };
    let message = format!(
        "The consumer group member has a {than} member epoch ({epoch}) than the one known by the group \
         coordinator ({}). The member must abandon all its partitions and rejoin.",
        member.epoch
    );
    Err(Refusal::new(ErrorCode::FencedMemberEpoch, message))
}

/// A member leaves: for good, or for a while if it is static (`consumerGroupLeave`).
fn leave(deciding: &mut Deciding<'_>, message: &Message) -> Result<Response, Refusal> {
    let id = &message.group_id;
    let group = match deciding.state.groups.get(id) {
        Some(Group::Consumer(group)) => group,
        None => return Err(Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {id} not found."))),
        _ => return Err(not_a_consumer_group(id)),
    };
    let mut turn = Turn::new(deciding, Cow::Borrowed(group));
    let member = match &message.instance_id {
        None => turn.known_member(&message.member_id)?,
        Some(instance_id) => {
            let member = turn.known_static_member(instance_id)?;
            check_instance(&member, &message.member_id, instance_id)?;
            member
        }
    };
    let response = Response {
        member_id: Some(member.id.clone()),
        member_epoch: message.member_epoch,
        ..Response::default()
    };
    if message.member_epoch == AWAY_EPOCH {
        let reset = |owned: &Owned| -> Owned {
            let topic = |(topic, partitions): (&Uuid, &std::collections::BTreeMap<i32, i32>)| {
                (*topic, partitions.keys().map(|partition| (*partition, 0)).collect())
            };
            owned.iter().map(topic).collect()
        };
        let away = Member {
            epoch: AWAY_EPOCH,
            assigned: Arc::new(reset(&member.assigned)),
            revoking: Arc::default(),
            ..member
        };
        turn.records.current(&away);
        turn.finish();
        return Ok(response);
    }
    fence(turn, &[member], Trigger::MemberLeft)?;
    Ok(response)
}
