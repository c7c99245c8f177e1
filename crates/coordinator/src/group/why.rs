//! Why groups rebalance: the latest rebalances of the latest groups, with what set them off and how long they took.
//! Kafka keeps no such thing; it only writes lines to its log.

use std::collections::{BTreeMap, VecDeque};

use ottla_base::{Moment, Str, Timestamp};
use ottla_machine::{At, Ticket};

use super::deciding::Deciding;
use super::kind::Kind;
use super::request::Reply;

/// How many rebalances of a group are remembered.
const MAX_REBALANCES: usize = 32;
/// Of how many groups rebalances are remembered; those that rebalanced last.
const MAX_GROUPS: usize = 4096;
/// How much of what a client says about its reasons is kept, in bytes.
const MAX_REASON_BYTES: usize = 512;

/// What sets a rebalance off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// Somebody joined.
    MemberJoined,
    /// A static member was started anew.
    MemberReplaced,
    /// A member changed what it says about itself.
    MemberChanged,
    /// The leader joined again: what is to be assigned has changed.
    LeaderRejoined,
    /// A member left.
    MemberLeft,
    /// A member was silent for too long.
    SessionExpired,
    /// A member joined and did not ask for its assignment in time.
    SyncOverdue,
    /// A member did not give partitions back in time.
    RevocationOverdue,
    /// The group was found to be larger than it may be.
    OverCapacity,
    /// The assignment could not be written.
    AssignmentRefused,
    /// What the group reads has other partitions now, or another topic matches.
    TopicsChanged,
    /// The group's settings or its assignor changed.
    AssignorChanged,
    /// A task has warmed up where it is to be.
    TaskWarmedUp,
    /// The group became one of another kind.
    KindChanged,
}

/// What set a rebalance off, in words too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) trigger: Trigger,
    /// Who set it off; empty if nobody did.
    pub(super) member: Str,
    /// As Kafka's log has it.
    pub(super) reason: String,
}

/// One rebalance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebalance {
    /// When it began, by the wall clock.
    pub began: Timestamp,
    /// What set it off.
    pub trigger: Trigger,
    /// Who set it off; empty if nobody did.
    pub member: Str,
    /// In words, with what the client says.
    pub reason: Str,
    /// How it ended; nothing while it goes on.
    pub end: Option<RebalanceEnd>,
    /// When it began, to measure by.
    since: Moment,
    /// What the group was then.
    kind: Kind,
}

/// How a rebalance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebalanceEnd {
    /// The generation or group epoch that it led to.
    pub generation: i32,
    /// How many members take part.
    pub members: usize,
    /// How long it took.
    pub duration_ms: u64,
}

/// The latest rebalances.
#[derive(Debug, Default)]
pub(super) struct Why {
    groups: BTreeMap<Str, Known>,
    /// Groups by when they were last written about.
    order: BTreeMap<u64, Str>,
    next: u64,
    totals: BTreeMap<(Kind, Trigger), Rebalances>,
}

/// Rebalances of all groups together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rebalances {
    /// How many have begun.
    pub begun: u64,
    /// How many have ended.
    pub ended: u64,
    /// How long those took that have ended.
    pub duration_ms: u64,
}

#[derive(Debug)]
struct Known {
    place: u64,
    rebalances: VecDeque<Rebalance>,
}

impl Trigger {
    /// A name for people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Trigger::MemberJoined => "member-joined",
            Trigger::MemberReplaced => "member-replaced",
            Trigger::MemberChanged => "member-changed",
            Trigger::LeaderRejoined => "leader-rejoined",
            Trigger::MemberLeft => "member-left",
            Trigger::SessionExpired => "session-expired",
            Trigger::SyncOverdue => "sync-overdue",
            Trigger::RevocationOverdue => "revocation-overdue",
            Trigger::OverCapacity => "over-capacity",
            Trigger::AssignmentRefused => "assignment-refused",
            Trigger::TopicsChanged => "topics-changed",
            Trigger::AssignorChanged => "assignor-changed",
            Trigger::TaskWarmedUp => "task-warmed-up",
            Trigger::KindChanged => "kind-changed",
        }
    }
}

impl Cause {
    pub(super) fn new(trigger: Trigger, member: &Str, reason: String) -> Cause {
        Cause { trigger, member: member.clone(), reason }
    }
}

impl Why {
    /// A rebalance begins. One that went on is over without an end: this one takes its place.
    pub(super) fn begin(&mut self, kind: Kind, group: &Str, cause: Cause, at: At) {
        self.totals.entry((kind, cause.trigger)).or_default().begun += 1;
        let rebalances = &mut self.known(group).rebalances;
        if rebalances.len() == MAX_REBALANCES {
            rebalances.pop_front();
        }
        rebalances.push_back(Rebalance {
            began: at.wall_clock,
            trigger: cause.trigger,
            member: cause.member.detached(),
            reason: bounded(&cause.reason),
            end: None,
            since: at.now,
            kind,
        });
    }

    /// The rebalance that goes on, if one does, has led to a generation.
    pub(super) fn end(&mut self, group: &Str, generation: i32, members: usize, at: At) {
        let Some(known) = self.groups.get_mut(group.as_str()) else { return };
        if let Some(last) = known.rebalances.back_mut().filter(|it| it.end.is_none()) {
            let duration_ms = at.now.since(last.since).as_millis() as u64;
            last.end = Some(RebalanceEnd { generation, members, duration_ms });
            let total = self.totals.entry((last.kind, last.trigger)).or_default();
            total.ended += 1;
            total.duration_ms = total.duration_ms.saturating_add(duration_ms);
        }
    }

    /// Rebalances since the seat was taken, by kind of group and by what set them off.
    pub(super) fn totals(&self) -> &BTreeMap<(Kind, Trigger), Rebalances> {
        &self.totals
    }

    /// The group is gone.
    pub(super) fn forget(&mut self, group: &str) {
        if let Some(known) = self.groups.remove(group) {
            self.order.remove(&known.place);
        }
    }

    /// What is known about a group, the oldest first.
    pub(super) fn of(&self, group: &str) -> Vec<Rebalance> {
        self.groups.get(group).map(|it| it.rebalances.iter().cloned().collect()).unwrap_or_default()
    }

    fn known(&mut self, group: &Str) -> &mut Known {
        let place = self.next;
        self.next += 1;
        if let Some(known) = self.groups.get(group.as_str()) {
            self.order.remove(&known.place);
        } else if self.groups.len() == MAX_GROUPS
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.groups.remove(oldest.as_str());
        }
        let group = group.detached();
        self.order.insert(place, group.clone());
        let known = self.groups.entry(group).or_insert_with(|| Known { place, rebalances: VecDeque::new() });
        known.place = place;
        known
    }
}

/// Tells the latest rebalances of a group.
pub(super) fn explain(deciding: &mut Deciding<'_>, group: Str, caller: Ticket) {
    let rebalances = deciding.soft.why.of(&group);
    deciding.answer(caller, Reply::Explain(rebalances));
}

fn bounded(reason: &str) -> Str {
    let mut end = reason.len().min(MAX_REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    Str::from(&reason[..end])
}
