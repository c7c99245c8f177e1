//! One consumer group on its way through a decision: the group as its records have it, and the records that were decided
//! so far.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ErrorCode, Str};
use ottla_metadata::Image;
use ottla_metadata::controller::Refusal;
use ottla_metadata::settings::{GroupSettings, ServerSettings};

use super::group::ConsumerGroup;
use super::member::Member;
use super::migration;
use super::reconcile::{OwnedTopic, Step, Subscription};
use super::records::Records;
use super::soft::{Due, MemberName};
use super::target::Target;
use crate::group::GroupRecord;
use crate::group::deciding::Deciding;
use crate::group::kind::Kind;
use crate::group::modern::MemberState;
use crate::group::soft::Timer;
use crate::group::why::{Cause, Trigger};

/// A group, and the records that have made it.
pub(super) struct OpenGroup<'a> {
    pub(super) group: Cow<'a, ConsumerGroup>,
    pub(super) records: Vec<GroupRecord>,
    pub(super) origin: Origin,
}

/// What a group was before the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A consumer group, or none.
    Consumer,
    /// A classic group.
    Classic,
}

/// A group, what is decided about it, and what the decision may use.
pub(super) struct Turn<'d, 'a> {
    pub(super) deciding: &'d mut Deciding<'a>,
    pub(super) group: Cow<'a, ConsumerGroup>,
    pub(super) records: Records,
    /// The group's settings.
    pub(super) settings: Arc<GroupSettings>,
    origin: Origin,
}

impl<'d, 'a> Turn<'d, 'a> {
    pub(super) fn new(deciding: &'d mut Deciding<'a>, group: Cow<'a, ConsumerGroup>) -> Turn<'d, 'a> {
        Turn::with(deciding, OpenGroup { group, records: Vec::new(), origin: Origin::Consumer })
    }

    pub(super) fn with(deciding: &'d mut Deciding<'a>, open: OpenGroup<'a>) -> Turn<'d, 'a> {
        let OpenGroup { group, records: list, origin } = open;
        let mut records = Records::of(group.id());
        records.list = list;
        let settings = deciding.group_settings(group.id());
        Turn { deciding, group, records, settings, origin }
    }

    /// Writes what was decided.
    pub(super) fn finish(self) -> &'d mut Deciding<'a> {
        for record in self.records.list {
            self.deciding.write(record);
        }
        if self.origin == Origin::Classic {
            migration::settle_upgraded(self.deciding, &self.group);
        }
        self.deciding
    }

    /// The cluster's metadata.
    pub(super) fn image(&self) -> Arc<Image> {
        self.deciding.world().image.clone()
    }

    /// The server's settings.
    pub(super) fn server(&self) -> Arc<ServerSettings> {
        self.deciding.world().settings.clone()
    }

    /// The member of this id.
    pub(super) fn known_member(&self, id: &Str) -> Result<Member, Refusal> {
        self.group.member(id).cloned().ok_or_else(|| {
            let message = format!("Member {id} is not a member of group {}.", self.group.id());
            Refusal::new(ErrorCode::UnknownMemberId, message)
        })
    }

    /// The static member of this instance id.
    pub(super) fn known_static_member(&self, instance_id: &Str) -> Result<Member, Refusal> {
        self.group.static_member(instance_id).cloned().ok_or_else(|| {
            Refusal::new(ErrorCode::UnknownMemberId, format!("Instance id {instance_id} is unknown."))
        })
    }

    /// Refuses a new member of a group that is full (`throwIfConsumerGroupIsFull`).
    pub(super) fn check_room(&self, member_id: &Str, instance_id: Option<&Str>) -> Result<(), Refusal> {
        let max = self.server().groups.group_consumer_max_size;
        let is_known = instance_id.is_some_and(|id| self.group.static_member(id).is_some())
            || self.group.member(member_id).is_some();
        if is_known || self.group.members().len() < usize::try_from(max).unwrap_or(usize::MAX) {
            return Ok(());
        }
        let message = format!("The consumer group has reached its maximum capacity of {max} members.");
        Err(Refusal::new(ErrorCode::GroupMaxSizeReached, message))
    }

    /// Lets a member take a step towards its target, and sees to it that it gives up partitions in time
    /// (`maybeReconcile`).
    pub(super) fn reconcile(
        &mut self,
        member: Member,
        target: &Target,
        subscription: Subscription,
        owned: Option<&[OwnedTopic]>,
    ) -> Result<Member, Refusal> {
        if subscription == Subscription::Same && member.is_reconciled_to(target.epoch) {
            return Ok(member);
        }
        let image = self.image();
        let step = Step {
            group: &self.group,
            image: &image,
            target_epoch: target.epoch,
            target: &target.assigned,
            subscription,
            owned,
        };
        let updated = step.take(&member)?;
        if updated == member {
            return Ok(member);
        }
        self.records.current(&updated);
        if !updated.is_classic() {
            let due = Due::Revocation(MemberName::of(self.group.id(), &updated.id));
            if updated.state == MemberState::UnrevokedPartitions {
                self.deciding.due_in(due, updated.rebalance_timeout_ms);
            } else {
                self.deciding.not_due(due);
            }
        }
        Ok(updated)
    }

    /// Expects a member to report within the group's session timeout.
    pub(super) fn expect_report(&mut self, member_id: &Str) {
        let timeout_ms = self.settings.consumer_session_timeout_ms;
        self.expect_report_within(member_id, timeout_ms);
    }

    /// Expects a member to report within its own session timeout.
    pub(super) fn expect_report_within(&mut self, member_id: &Str, timeout_ms: i32) {
        let due = Due::Session(MemberName::of(self.group.id(), member_id));
        self.deciding.due_in(due, timeout_ms);
    }

    /// Replaces a static member by another one of the same instance id, which gets what the old one was to own
    /// (`replaceMember`).
    pub(super) fn replace(&mut self, old: &Member, new: &Member) {
        self.records.all_of_member_gone(&old.id);
        self.records.member(new);
        let target = self.group.target_of(&old.id);
        self.records.target_of(&new.id, &target);
        self.records.current(new);
        if old.id != new.id {
            self.deciding.expect_nothing(&MemberName::of(self.group.id(), &old.id));
        }
    }

    /// What has set a rebalance off, when a member that was `member` has become `updated`.
    pub(super) fn trigger_of(&self, member: &Member, updated: &Member) -> Trigger {
        if self.group.member(&updated.id).is_some() {
            Trigger::MemberChanged
        } else if member.instance_id.is_some() {
            Trigger::MemberReplaced
        } else {
            Trigger::MemberJoined
        }
    }

    /// Notes why the group goes on to an epoch.
    pub(super) fn note_begin(&mut self, trigger: Trigger, member: &Str, epoch: i32) {
        let cause = Cause::new(trigger, member, format!("Bumped group epoch to {epoch}."));
        self.deciding.soft.why.begin(Kind::Consumer, self.group.id(), cause, self.deciding.at);
    }

    /// Notes that a rebalance is over if `updated` was the last member that had something left to do.
    pub(super) fn note_end(&mut self, updated: &Member, target_epoch: i32, group_epoch: i32) {
        let before = self.group.member(&updated.id);
        let has_arrived = target_epoch == group_epoch
            && updated.is_reconciled_to(target_epoch)
            && !before.is_some_and(|before| before.is_reconciled_to(target_epoch));
        let members = self.group.members().len() + usize::from(before.is_none());
        if has_arrived && self.group.stable_in(target_epoch) + 1 == members {
            self.deciding.soft.why.end(self.group.id(), group_epoch, members, self.deciding.at);
        }
    }

    /// Notes that a rebalance is over because nobody is left.
    pub(super) fn note_emptied(&mut self, epoch: i32) {
        self.deciding.soft.why.end(self.group.id(), epoch, 0, self.deciding.at);
    }

    /// Notes that the group has looked at its topics and will be in an epoch.
    pub(super) fn looked_at_topics(&mut self, epoch: i32) {
        let (id, now) = (self.group.id(), self.deciding.at.now);
        self.deciding.soft.metadata.looked(id, epoch, now);
        let groups = &self.deciding.state.groups;
        self.deciding.soft.metadata.prune(groups.len(), |id| groups.contains_key(id));
    }
}

impl Deciding<'_> {
    /// The settings of a group.
    pub(in crate::group) fn group_settings(&mut self, group: &Str) -> Arc<GroupSettings> {
        match &mut self.soft.world {
            Some(world) => world.group_settings(group),
            None => panic!("a seat sees the world before it is asked anything"),
        }
    }

    /// Lets something be due in a while.
    pub(super) fn due_in(&mut self, due: Due, milliseconds: i32) {
        let after = Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
        self.soft.timers.set(Timer::Consumer(due), self.at.now + after);
    }

    /// Lets something be due in a while, unless it is due already.
    pub(super) fn due_in_if_absent(&mut self, due: Due, milliseconds: i32) {
        if self.soft.timers.get(&Timer::Consumer(due.clone())).is_none() {
            self.due_in(due, milliseconds);
        }
    }

    /// Lets something not be due any more.
    pub(super) fn not_due(&mut self, due: Due) {
        self.soft.timers.cancel(&Timer::Consumer(due));
    }

    /// Expects nothing more of a member.
    pub(super) fn expect_nothing(&mut self, name: &MemberName) {
        for due in [Due::Session, Due::Revocation, Due::Join, Due::Sync] {
            self.not_due(due(name.clone()));
        }
    }
}
