//! A classic group as its members make it: who has joined, who is expected, what they can agree upon. Soft state; what
//! must outlive the seat is in the records.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_base::{ErrorCode, Str, Timestamp};
use ottla_machine::Ticket;
use ottla_wire::messages::join_group_request::JoinGroupRequestProtocol;
use ottla_wire::records::consumer_protocol::ConsumerProtocolSubscription;
use ottla_wire::records::group::{GroupMetadataValue, GroupValue, MemberMetadata};
use ottla_wire::{Message, Reader};

use super::super::kind::{AnyGroup, Checked, Committer, Expiry, Kind, PartOf};
use super::super::{Client, GroupRecord};
use super::{CONSUMER_PROTOCOL, ClassicGroup, kept};

/// Where a group is (`ClassicGroupState`). A group that is gone is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::group) enum State {
    /// It has no members.
    Empty,
    /// Members are awaited to join.
    PreparingRebalance,
    /// The leader is awaited to assign.
    CompletingRebalance,
    /// Every member can fetch its assignment.
    Stable,
}

/// One protocol that a member supports, and what it says in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::group) struct Protocol {
    pub(in crate::group) name: Str,
    pub(in crate::group) metadata: Bytes,
}

/// One member (`ClassicGroupMember`).
#[derive(Debug, Clone)]
pub(in crate::group) struct Member {
    pub(in crate::group) id: Str,
    pub(in crate::group) instance: Option<Str>,
    pub(in crate::group) client_id: Str,
    pub(in crate::group) client_host: Str,
    pub(in crate::group) rebalance_timeout_ms: i32,
    pub(in crate::group) session_timeout_ms: i32,
    /// The most wanted first.
    pub(in crate::group) protocols: Vec<Protocol>,
    pub(in crate::group) assignment: Bytes,
    /// Whom to answer when everybody has joined.
    pub(super) awaiting_join: Option<Ticket>,
    /// Whom to answer when the leader has assigned.
    pub(super) awaiting_sync: Option<Ticket>,
    /// It has not been through a rebalance: silence while it awaits one counts.
    pub(super) is_new: bool,
}

/// How the first rebalance of an empty group waits for more members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InitialDelay {
    pub(super) delay_ms: i32,
    pub(super) remaining_ms: i32,
}

/// A group with members, or with somebody who is about to become one (`ClassicGroup`).
#[derive(Debug)]
pub(in crate::group) struct LiveGroup {
    pub(in crate::group) id: Str,
    state: State,
    /// The state before.
    previous: State,
    since: Option<Timestamp>,
    pub(in crate::group) protocol_type: Option<Str>,
    pub(in crate::group) protocol: Option<Str>,
    pub(in crate::group) generation: i32,
    pub(in crate::group) leader: Option<Str>,
    members: BTreeMap<Str, Member>,
    /// Members by their instance ids.
    instances: BTreeMap<Str, Str>,
    /// Who was given a member id to join with.
    pending_join: BTreeSet<Str>,
    /// How many members await the end of the join phase.
    awaiting_join: usize,
    /// How many members support a protocol.
    supported: BTreeMap<Str, usize>,
    /// Who has joined this generation and not asked for its assignment.
    pub(super) pending_sync: BTreeSet<Str>,
    /// What the members of a consumers' group read, if that is known.
    subscribed: Option<BTreeSet<Str>>,
    /// Somebody new has come during the first rebalance.
    pub(super) new_member_added: bool,
    pub(super) initial: Option<InitialDelay>,
}

impl State {
    /// Kafka's name.
    pub(in crate::group) const fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

impl Protocol {
    /// What a request says, keeping nothing of its frame. Of two protocols of one name the first counts.
    pub(in crate::group) fn read(protocols: &[JoinGroupRequestProtocol]) -> Vec<Protocol> {
        let mut seen = BTreeSet::new();
        let first = protocols.iter().filter(|it| seen.insert(it.name.as_str()));
        first.map(|it| Protocol { name: it.name.detached(), metadata: kept(&it.metadata) }).collect()
    }
}

impl Member {
    /// A member that has just come.
    pub(in crate::group) fn new(id: Str, instance: Option<&Str>, client: &Client) -> Member {
        Member {
            id,
            instance: instance.map(Str::detached),
            client_id: client.id.detached(),
            client_host: client.host.detached(),
            rebalance_timeout_ms: 0,
            session_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: true,
        }
    }

    /// What it says in a protocol; nothing if it does not support it.
    pub(in crate::group) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|it| it.name == *protocol);
        found.map(|it| it.metadata.clone()).unwrap_or_default()
    }

    /// Whether a request says the same as before.
    pub(super) fn says(&self, protocols: &[JoinGroupRequestProtocol]) -> bool {
        self.protocols.len() == protocols.len()
            && self
                .protocols
                .iter()
                .zip(protocols)
                .all(|(ours, it)| ours.name == it.name && ours.metadata == it.metadata)
    }

    /// Whether it need not report: it waits for an answer.
    pub(super) fn is_excused(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    fn from_record(member: &MemberMetadata, protocol: &Str) -> Member {
        Member {
            id: member.member_id.clone(),
            instance: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout,
            session_timeout_ms: member.session_timeout,
            protocols: vec![Protocol { name: protocol.clone(), metadata: member.subscription.clone() }],
            assignment: member.assignment.clone(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        }
    }
}

impl LiveGroup {
    /// A group that nobody has heard of.
    pub(in crate::group) fn new(id: Str, now: Timestamp) -> LiveGroup {
        LiveGroup {
            id,
            state: State::Empty,
            previous: State::Empty,
            since: Some(now),
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            awaiting_join: 0,
            supported: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            subscribed: None,
            new_member_added: false,
            initial: None,
        }
    }

    /// The group that records tell of.
    pub(super) fn from_hard(id: Str, hard: &ClassicGroup, now: Timestamp) -> LiveGroup {
        let mut group = LiveGroup::new(id, now);
        group.since = hard.since;
        group.protocol_type.clone_from(&hard.protocol_type);
        group.protocol.clone_from(&hard.protocol);
        group.generation = hard.generation;
        group.leader.clone_from(&hard.leader);
        let protocol = hard.protocol.clone().unwrap_or_default();
        for member in &hard.members {
            group.add(Member::from_record(member, &protocol));
        }
        if !group.members.is_empty() {
            group.state = State::Stable;
        }
        group.subscribed = group.compute_subscribed();
        group
    }

    /// A stable group of consumers that were a group of another kind; nothing if they have no protocol in common.
    pub(in crate::group) fn settled(
        id: Str,
        generation: i32,
        members: Vec<Member>,
        now: Timestamp,
    ) -> Option<LiveGroup> {
        let mut group = LiveGroup::new(id, now);
        group.protocol_type = Some(Str::from_static(CONSUMER_PROTOCOL));
        group.generation = generation;
        for member in members {
            group.add(Member { is_new: false, ..member });
        }
        group.state = State::Stable;
        group.protocol = Some(group.select_protocol()?);
        group.subscribed = group.compute_subscribed();
        Some(group)
    }

    pub(in crate::group) fn state_of(&self) -> State {
        self.state
    }

    pub(in crate::group) fn is_in(&self, state: State) -> bool {
        self.state == state
    }

    /// Whether the rebalance that goes on is the first after the group was empty.
    pub(super) fn is_initial_rebalance(&self) -> bool {
        self.state == State::PreparingRebalance && self.previous == State::Empty
    }

    pub(super) fn move_to(&mut self, state: State, now: Timestamp) {
        self.previous = std::mem::replace(&mut self.state, state);
        self.since = Some(now);
    }

    /// Whether nothing is left but what records tell.
    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Empty && self.members.is_empty() && self.pending_join.is_empty()
    }

    pub(in crate::group) fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    pub(super) fn member_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    pub(in crate::group) fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    pub(super) fn members_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.values_mut()
    }

    pub(super) fn member_ids(&self) -> Vec<Str> {
        self.members.keys().cloned().collect()
    }

    /// Who has this instance id.
    pub(in crate::group) fn instance(&self, instance: &str) -> Option<&Str> {
        self.instances.get(instance)
    }

    pub(super) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub(super) fn is_pending(&self, member: &str) -> bool {
        self.pending_join.contains(member)
    }

    pub(super) fn expect_to_join(&mut self, member: Str) {
        self.pending_join.insert(member);
    }

    pub(super) fn pending_members(&self) -> impl Iterator<Item = &Str> {
        self.pending_join.iter()
    }

    pub(super) fn awaiting_join(&self) -> usize {
        self.awaiting_join
    }

    pub(super) fn has_everybody_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_join.is_empty()
    }

    /// The longest time that a member takes to join again.
    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        let longest = self.members.values().map(|it| it.rebalance_timeout_ms).max();
        u64::try_from(longest.unwrap_or(0)).unwrap_or(0)
    }

    /// Adds a member. The first one says what the group does, and leads.
    pub(super) fn add(&mut self, member: Member) {
        let id = member.id.clone();
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        self.pending_join.remove(&id);
        let before = self.members.insert(id.clone(), member);
        assert!(before.is_none(), "a member is added once");
        self.count_protocols(&id, 1);
    }

    /// Removes a member or somebody who was expected to join. Says who is to be told so.
    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        self.count_protocols(id, -1);
        let removed = self.members.remove(id);
        if let Some(member) = &removed {
            self.awaiting_join -= usize::from(member.awaiting_join.is_some());
            if let Some(instance) = &member.instance {
                self.instances.remove(instance.as_str());
            }
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_join.remove(id);
        self.pending_sync.remove(id);
        removed
    }

    /// Lets a member have another id: its instance was started anew. Says who still waits in the old one's name.
    pub(super) fn replace(
        &mut self,
        instance: &str,
        old: &str,
        new: &Str,
    ) -> (Option<Ticket>, Option<Ticket>) {
        let Some(mut member) = self.members.remove(old) else { return (None, None) };
        let waiting = (member.awaiting_join.take(), member.awaiting_sync.take());
        self.awaiting_join -= usize::from(waiting.0.is_some());
        member.id = new.clone();
        member.is_new = false;
        self.members.insert(new.clone(), member);
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        if let Some(id) = self.instances.get_mut(instance) {
            *id = new.clone();
        }
        if self.pending_sync.remove(old) {
            self.pending_sync.insert(new.clone());
        }
        waiting
    }

    /// Lets a member await the end of the join phase, or no longer. Says who awaited it before in its name.
    pub(super) fn await_join(&mut self, id: &str, ticket: Option<Ticket>) -> Option<Ticket> {
        let member = self.members.get_mut(id)?;
        let before = std::mem::replace(&mut member.awaiting_join, ticket);
        self.awaiting_join -= usize::from(before.is_some());
        self.awaiting_join += usize::from(ticket.is_some());
        before
    }

    /// Takes what a member says about itself.
    pub(super) fn update(&mut self, id: &str, protocols: Vec<Protocol>, rebalance_ms: i32, session_ms: i32) {
        self.count_protocols(id, -1);
        if let Some(member) = self.members.get_mut(id) {
            member.protocols = protocols;
            member.rebalance_timeout_ms = rebalance_ms;
            member.session_timeout_ms = session_ms;
        }
        self.count_protocols(id, 1);
    }

    fn count_protocols(&mut self, id: &str, by: isize) {
        let Some(member) = self.members.get(id) else { return };
        for protocol in &member.protocols {
            let count = self.supported.entry(protocol.name.clone()).or_insert(0);
            *count = count.saturating_add_signed(by);
            if *count == 0 {
                self.supported.remove(protocol.name.as_str());
            }
        }
    }

    /// Whether a newcomer can take part: it does the same, and there is a protocol that all support
    /// (`supportsProtocols`).
    pub(super) fn can_take_part(&self, protocol_type: &str, protocols: &[JoinGroupRequestProtocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let by_all = |name: &str| self.supported.get(name).is_some_and(|it| *it == self.members.len());
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|it| by_all(&it.name) || self.members.is_empty())
    }

    /// The protocol that most members want among those that all support; the first by name of several.
    pub(super) fn select_protocol(&self) -> Option<Str> {
        let by_all = |name: &Str| self.supported.get(name).is_some_and(|it| *it == self.members.len());
        let mut votes: BTreeMap<&Str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(wanted) = member.protocols.iter().map(|it| &it.name).find(|name| by_all(name)) {
                *votes.entry(wanted).or_insert(0) += 1;
            }
        }
        let most = votes.values().max().copied()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.clone())
    }

    /// Begins the next generation with whoever has joined.
    pub(super) fn begin_generation(&mut self, now: Timestamp) {
        self.generation = self.generation.wrapping_add(1);
        self.protocol = self.select_protocol();
        self.subscribed = self.compute_subscribed();
        self.pending_sync.clear();
        let state = if self.members.is_empty() { State::Empty } else { State::CompletingRebalance };
        self.move_to(state, now);
    }

    /// Lets somebody lead who has joined, if the leader has not. False if there is nobody.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let joined = |it: &Member| it.awaiting_join.is_some();
        if self.leader.as_ref().and_then(|leader| self.members.get(leader)).is_some_and(joined) {
            return true;
        }
        match self.members.values().find(|it| joined(it)) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// What consumers have subscribed to; `None` if that is not known.
    fn compute_subscribed(&self) -> Option<BTreeSet<Str>> {
        if self.protocol_type.as_deref() != Some(CONSUMER_PROTOCOL) {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_ref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscribed_topics(&member.metadata(protocol))?);
        }
        Some(topics)
    }

    /// Whether a request is of a member, and of its latest instance.
    pub(super) fn check_member(&self, member: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            let known = self.instance(instance).ok_or(ErrorCode::UnknownMemberId)?;
            if known != member {
                return Err(ErrorCode::FencedInstanceId);
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// The record that says how the group is.
    pub(in crate::group) fn record(&self) -> GroupRecord {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.values().map(|member| MemberMetadata {
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.metadata(protocol),
            assignment: member.assignment.clone(),
            ..Default::default()
        });
        let value = GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.since.unwrap_or(Timestamp::NONE).get(),
            members: members.collect(),
            ..Default::default()
        };
        GroupRecord::set(super::key(&self.id), GroupValue::GroupMetadataValue(value))
    }
}

/// The topics in a consumer's embedded subscription; `None` if it is none.
fn subscribed_topics(metadata: &Bytes) -> Option<Vec<Str>> {
    let (version, rest) = metadata.split_first_chunk::<2>()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    // Later layouts only add to the first.
    let mut reader = Reader::new(metadata.slice_ref(rest));
    let subscription = ConsumerProtocolSubscription::decode(&mut reader, 0).ok()?;
    Some(subscription.topics.iter().map(Str::detached).collect())
}

impl AnyGroup for LiveGroup {
    fn kind(&self) -> Kind {
        Kind::Classic
    }

    fn state(&self) -> &'static str {
        self.state.name()
    }

    fn protocol_type(&self) -> &str {
        self.protocol_type.as_deref().unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    fn check_commit(&self, by: &Committer<'_>) -> Result<Checked, ErrorCode> {
        if by.epoch < 0 && self.state == State::Empty {
            return Ok(Checked::Wholly);
        }
        if by.epoch >= 0 || !by.member.is_empty() || by.instance.is_some() {
            self.check_member(by.member, by.instance)?;
            if by.epoch != self.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if by.part_of == PartOf::Nothing {
            // Somebody without a group uses a group that has members.
            return Err(ErrorCode::UnknownMemberId);
        }
        if by.part_of == PartOf::Nothing && self.state == State::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(Checked::Wholly)
    }

    fn check_fetch(&self, _: Option<&str>, _: i32) -> Result<(), ErrorCode> {
        Ok(())
    }

    fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        // Of consumers it is known what they read.
        let is_known = self.protocol_type() == CONSUMER_PROTOCOL;
        if self.is_empty() || is_known { Ok(()) } else { Err(ErrorCode::NonEmptyGroup) }
    }

    fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.protocol_type() == CONSUMER_PROTOCOL,
        }
    }

    fn expiry(&self) -> Expiry {
        match (&self.protocol_type, self.state) {
            (None, _) => Expiry::FromCommit,
            (Some(_), State::Empty) => self.since.map_or(Expiry::FromCommit, Expiry::From),
            (Some(kind), State::Stable) if kind == CONSUMER_PROTOCOL && self.subscribed.is_some() => {
                Expiry::FromCommit
            }
            _ => Expiry::Never,
        }
    }

    fn tombstones(&self, group: &Str, records: &mut Vec<GroupRecord>) {
        records.push(super::tombstone(group));
    }
}
