//! What members want: their records, the group's epoch when it changes, and the topics of regular expressions
//! (`hasMemberSubscriptionChanged`, `maybeUpdateRegularExpressions`, `updateSubscriptionMetadata`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use ottla_base::{ErrorCode, Str};
use ottla_metadata::controller::Refusal;

use super::group::{ResolvedRegex, count_down, count_up, subscription_kind};
use super::member::Member;
use super::regex::TopicRegex;
use super::soft::Due;
use super::turn::Turn;
use crate::group::deciding::Deciding;
use crate::group::modern::subscriptions::{SubscriptionCounts, SubscriptionKind};
use crate::group::soft::Timer;
use crate::group::state::Group;
use crate::group::why::Trigger;

/// How long the topics of a group's regular expressions are not looked up again, whatever happens.
const LOOK_UP_DISTANCE_MS: i64 = 10_000;

/// What became of a member's regular expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RegexChange {
    /// It is the same.
    None,
    /// It is another one, whose topics will be looked up.
    Unresolved,
    /// It is another one, whose topics are known.
    Resolved,
}

/// What a group's epoch depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Epoch {
    /// It moves on, for this reason.
    Next(Trigger),
    /// It moves on if the topics have changed.
    NextIfTopicsChanged,
}

impl Turn<'_, '_> {
    /// Writes a member's metadata if it is not as before. Says whether it names other topics.
    pub(super) fn note_member(&mut self, member: &Member, updated: &Member) -> bool {
        if updated == member {
            return false;
        }
        self.records.member(updated);
        updated.topics != member.topics
    }

    /// The group's epoch and whether all members want the same, once `member` has become `updated`.
    pub(super) fn epoch_after(
        &mut self,
        epoch: Epoch,
        member: &Member,
        updated: &Member,
    ) -> (i32, SubscriptionKind) {
        let regexes = self.regexes_with(member, updated);
        let mut wanted = self.group.wanted().clone();
        // Whoever is new wanted nothing before.
        wanted.remove_names(member.topics.iter());
        wanted.add_names(updated.topics.iter());
        if let Some(old) = member.wanted_regex().filter(|old| Some(*old) != updated.wanted_regex())
            && self.group.regexes().get(old) == Some(&1)
            && let Some(resolved) = self.group.resolved().get(old)
        {
            wanted.remove_matches(&resolved.topics);
        }
        let instance = updated.instance_id.as_ref();
        let joins = self.group.member(&updated.id).is_none()
            && instance.is_none_or(|id| self.group.static_member(id).is_none());
        let members = self.group.members().len() + usize::from(joins);
        let kind = subscription_kind(&regexes, &wanted, members);
        let hash = self.hash_of(&wanted);
        let mut number = self.group.epoch();
        if epoch != Epoch::NextIfTopicsChanged || hash != self.group.metadata_hash() {
            number = number.saturating_add(1);
            self.records.epoch(number, hash);
            match epoch {
                Epoch::Next(trigger) => self.note_begin(trigger, &updated.id, number),
                Epoch::NextIfTopicsChanged => {
                    self.note_begin(Trigger::TopicsChanged, &Str::default(), number);
                }
            }
        }
        self.looked_at_topics(number);
        if self.group.has_topics_of_old() {
            self.records.topics_of_old_gone();
        }
        (number, kind)
    }

    /// Whether all members want the same, as the records have it.
    pub(super) fn kind(&self) -> SubscriptionKind {
        subscription_kind(self.group.regexes(), self.group.wanted(), self.group.members().len())
    }

    /// Whether the group should look at its topics.
    pub(super) fn is_to_look_at_topics(&self) -> bool {
        self.deciding.soft.metadata.is_due(self.group.id(), self.group.epoch(), self.deciding.at.now)
    }

    pub(super) fn hash_of(&mut self, wanted: &SubscriptionCounts) -> i64 {
        let image = self.image();
        self.deciding.soft.metadata.group_hash(wanted.topics(), &image)
    }

    /// Notes what a member's regular expression has become, and sees to it that topics are looked up.
    pub(super) fn note_regex(&mut self, member: &Member, updated: &Member) -> Result<RegexChange, Refusal> {
        let (old, new) = (member.wanted_regex(), updated.wanted_regex());
        let (mut change, mut is_new) = (RegexChange::None, false);
        if member.regex != updated.regex {
            change = RegexChange::Unresolved;
            if let Some(old) = old.filter(|old| self.group.regexes().get(*old) == Some(&1)) {
                self.records.regex_gone(old);
            }
            match new {
                Some(new) if !self.group.regexes().contains_key(new) => {
                    check(new)?;
                    is_new = true;
                }
                Some(new) if self.group.resolved().contains_key(new) => change = RegexChange::Resolved,
                None if old.is_some() => change = RegexChange::Resolved,
                Some(_) | None => (),
            }
        }
        if is_new || !self.group.regexes().is_empty() {
            self.look_up_if_due(member, updated, is_new);
        }
        Ok(change)
    }

    fn look_up_if_due(&mut self, member: &Member, updated: &Member, is_new: bool) {
        let due = Due::Regexes(self.group.id().clone());
        if self.deciding.soft.timers.get(&Timer::Consumer(due.clone())).is_some() {
            return;
        }
        let now = self.deciding.at.wall_clock.0;
        let last = self.group.resolved().values().next().map_or(i64::MIN, |resolved| resolved.at.0);
        if now <= last.saturating_add(LOOK_UP_DISTANCE_MS) {
            return;
        }
        let regexes = self.regexes_with(member, updated);
        let interval = i64::from(self.server().groups.group_consumer_regex_refresh_interval_ms);
        let looked_up = self.deciding.soft.consumer.looked_up.get(self.group.id());
        let is_due = is_new
            || regexes.len() != self.group.resolved().len()
            || looked_up != Some(&self.deciding.soft.metadata.created_topics())
            || now > last.saturating_add(interval);
        if is_due && !regexes.is_empty() {
            // In a decision of its own, as Kafka does it: this one need not wait for the topics to be gone over.
            self.deciding.due_in(due, 0);
        }
    }

    /// How many members will have which regular expression.
    fn regexes_with(&self, member: &Member, updated: &Member) -> BTreeMap<Str, usize> {
        let mut regexes = self.group.regexes().clone();
        if member.wanted_regex() != updated.wanted_regex() {
            count_down(&mut regexes, member.wanted_regex());
            count_up(&mut regexes, updated.wanted_regex());
        }
        regexes
    }

    /// Looks up the topics of the group's regular expressions.
    fn look_up(&mut self) {
        let image = self.image();
        let version = self.deciding.world().version;
        let at = self.deciding.at.wall_clock;
        let mut wanted = self.group.wanted().clone();
        let mut others_match = false;
        let regexes: Vec<Str> = self.group.regexes().keys().cloned().collect();
        for regex in &regexes {
            let topics = TopicRegex::compile(regex).map(|it| it.topics(&image)).unwrap_or_default();
            let resolved = ResolvedRegex { topics, version, at };
            let before = self.group.resolved().get(regex).map(|before| &before.topics);
            let nothing = Default::default();
            if *before.unwrap_or(&nothing) != resolved.topics {
                others_match = true;
                wanted.remove_matches(before.unwrap_or(&nothing));
                wanted.add_matches(&resolved.topics);
            }
            self.records.regex(regex, &resolved);
        }
        let created = self.deciding.soft.metadata.created_topics();
        let groups = &self.deciding.state.groups;
        let looked_up = &mut self.deciding.soft.consumer.looked_up;
        looked_up.retain(|group, _| groups.contains_key(group));
        looked_up.insert(self.group.id().clone(), created);
        let hash = self.hash_of(&wanted);
        if others_match || hash != self.group.metadata_hash() {
            let number = self.group.epoch().saturating_add(1);
            self.records.epoch(number, hash);
            self.note_begin(Trigger::TopicsChanged, &Str::default(), number);
            self.looked_at_topics(number);
        }
    }
}

/// The topics of a group's regular expressions are to be looked up.
pub(super) fn look_up_topics(deciding: &mut Deciding<'_>, group: &Str) {
    if let Some(Group::Consumer(group)) = deciding.state.groups.get(group) {
        let mut turn = Turn::new(deciding, Cow::Borrowed(group));
        turn.look_up();
        turn.finish();
    }
}

fn check(regex: &Str) -> Result<(), Refusal> {
    TopicRegex::compile(regex).map(|_| ()).map_err(|reason| {
        let message = format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {reason}.");
        Refusal::new(ErrorCode::InvalidRegularExpression, message)
    })
}
