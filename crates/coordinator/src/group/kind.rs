//! What requests over groups of every kind ask of one group, and how a group is found.

use ottla_base::{ErrorCode, Str, Timestamp, Uuid};

use super::GroupRecord;
use super::classic::EmptyClassic;
use super::deciding::Deciding;
use super::state::Group;

/// The kinds of groups (`Group.GroupType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Members agree among themselves.
    Classic,
    /// The coordinator assigns partitions.
    Consumer,
    /// Members share partitions record by record.
    Share,
    /// The coordinator assigns tasks.
    Streams,
}

/// Who commits offsets, and how it sees the group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Committer<'a> {
    /// The member; empty for a consumer without a group.
    pub(super) member: &'a str,
    /// Its instance id.
    pub(super) instance: Option<&'a str>,
    /// The generation or member epoch; negative for a consumer without a group.
    pub(super) epoch: i32,
    /// What the commit is part of.
    pub(super) part_of: PartOf,
    /// The version of the request.
    pub(super) version: i16,
}

/// What a commit of offsets is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartOf {
    /// Nothing: it counts at once.
    Nothing,
    /// A transaction.
    Transaction,
}

/// How far a commit was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    /// It may commit what it likes.
    Wholly,
    /// Each partition is to be checked ([`AnyGroup::check_partition`]).
    EachPartition,
}

/// From when on the retention of committed offsets is counted (`OffsetExpirationCondition`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// They do not expire.
    Never,
    /// From each offset's commit.
    FromCommit,
    /// From a time that is the same for all.
    From(Timestamp),
}

/// What every group answers, whatever its kind. Refusals are error codes as Kafka's exceptions have them.
pub(super) trait AnyGroup {
    /// Its kind.
    fn kind(&self) -> Kind;

    /// The name of its state.
    fn state(&self) -> &'static str;

    /// Its protocol type as `ListGroups` tells it.
    fn protocol_type(&self) -> &str;

    /// Whether it has no members.
    fn is_empty(&self) -> bool;

    /// Whether `by` may commit offsets (`validateOffsetCommit`).
    fn check_commit(&self, by: &Committer<'_>) -> Result<Checked, ErrorCode>;

    /// Whether `by` may commit the offset of one partition; asked after [`Checked::EachPartition`].
    fn check_partition(
        &self,
        by: &Committer<'_>,
        topic: &str,
        topic_id: Uuid,
        partition: i32,
    ) -> Result<(), ErrorCode> {
        let _ = (by, topic, topic_id, partition);
        Ok(())
    }

    /// Whether the member may ask for committed offsets (`validateOffsetFetch`).
    fn check_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), ErrorCode>;

    /// Whether offsets may be deleted at all (`validateOffsetDelete`).
    fn check_offset_delete(&self) -> Result<(), ErrorCode>;

    /// Whether the group may be deleted (`validateDeleteGroup`).
    fn check_delete(&self) -> Result<(), ErrorCode> {
        if self.is_empty() { Ok(()) } else { Err(ErrorCode::NonEmptyGroup) }
    }

    /// Whether some member reads the topic; its offsets are then neither deleted nor expired.
    fn is_subscribed_to(&self, topic: &str) -> bool;

    /// From when on its offsets' retention is counted (`offsetExpirationCondition`).
    fn expiry(&self) -> Expiry;

    /// Whether it may vanish once it is empty and its offsets have expired (`shouldExpire`).
    fn may_vanish(&self) -> bool {
        true
    }

    /// Adds the records that remove it, without its offsets (`createGroupTombstoneRecords`).
    fn tombstones(&self, group: &Str, records: &mut Vec<GroupRecord>);
}

impl Kind {
    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Classic => "classic",
            Kind::Consumer => "consumer",
            Kind::Share => "share",
            Kind::Streams => "streams",
        }
    }

    /// The kind with this name, in letters of any case.
    pub fn named(name: &str) -> Option<Kind> {
        let all = [Kind::Classic, Kind::Consumer, Kind::Share, Kind::Streams];
        all.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

impl Deciding<'_> {
    /// What `ask` finds out about the group, whatever its kind; `None` if there is no such group. A group exists if it
    /// has members or records, or if offsets are committed for it (a consumer without a group: an empty classic group
    /// without a protocol type).
    pub(super) fn with_group<T>(&self, group: &str, ask: impl FnOnce(&dyn AnyGroup) -> T) -> Option<T> {
        if let Some(live) = self.soft.classic.get(group) {
            return Some(ask(live));
        }
        match self.state.groups.get(group) {
            Some(Group::Classic(classic)) => Some(ask(&EmptyClassic::from(classic))),
            Some(Group::Consumer(consumer)) => Some(ask(consumer)),
            Some(Group::Share(share)) => Some(ask(share)),
            Some(Group::Streams(streams)) => Some(ask(&**streams)),
            None if self.state.offsets.has_group(group) => Some(ask(&EmptyClassic::default())),
            None => None,
        }
    }
}
