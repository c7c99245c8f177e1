//! Share groups: who belongs to them and which partitions they share (KIP-932, `ShareGroup`).
//!
//! | file | holds |
//! |---|---|
//! | `replay` | what records of share groups say |
//! | `records` | what is written |
//! | `heartbeat` | members come, stay, go and are given up |
//! | `assignor` | which member gets which partitions (`SimpleAssignor`) |
//! | `sharing` | which partitions may be shared out: those whose state the share coordinator keeps |
//! | `offsets` | administrators set and delete where a group reads |
//! | `deletion` | a group goes, after its state |
//! | `describe` | what a group looks like |
//!
//! A partition is shared out once the share coordinator has been told of it. What it is told, and what it answers,
//! goes through effects and requests ([`ShareStateWork`]), so that everything that was decided is in the log before
//! anybody acts on it.

mod assignor;
mod deletion;
mod describe;
mod heartbeat;
mod offsets;
mod records;
mod replay;
mod sharing;
#[cfg(test)]
mod tests;

pub use heartbeat::ShareHeartbeat;
pub use sharing::{ShareStateDeleted, ShareStateInitialized, ShareStateWork, WorkCause};

pub(super) use deletion::delete;
pub(super) use describe::describe;
pub(super) use heartbeat::{fire, heartbeat};
pub(super) use offsets::{alter_offsets, delete_offsets};
pub(super) use replay::apply;
pub(super) use sharing::{
    expect_members, initialized_partitions, see_world, state_deleted, state_initialized,
};

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{ErrorCode, Moment, Str, Uuid};
use ottla_metadata::controller::Refusal;

use super::GroupRecord;
use super::deciding::Deciding;
use super::kind::{AnyGroup, Checked, Committer, Expiry, Kind};
use super::modern::subscriptions::SubscriptionCounts;
use super::modern::{Assigned, FIRST_EPOCH, MemberState, TargetMetadata};
use super::state::Group;
use sharing::Waiting;

/// What the records of one group say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ShareGroup {
    /// Grows with every change of members, subscriptions or topics.
    epoch: i32,
    /// The hash of the topics that the epoch is for.
    metadata_hash: i64,
    /// Who belongs to the group.
    members: BTreeMap<Str, ShareMember>,
    /// How many members want which topic; derived.
    subscriptions: SubscriptionCounts,
    /// Which epoch the target is for.
    target_metadata: TargetMetadata,
    /// What each member should share in.
    target: BTreeMap<Str, Assigned>,
    /// How many members should share in which partition; derived.
    sharers: BTreeMap<Uuid, BTreeMap<i32, usize>>,
    /// What the share coordinator knows of the group, once it was told something.
    sharing: Option<Sharing>,
}

/// What the records of one member say.
#[derive(Debug, Clone, PartialEq)]
struct ShareMember {
    epoch: i32,
    previous_epoch: i32,
    state: MemberState,
    rack: Option<Str>,
    client_id: Str,
    client_host: Str,
    topics: BTreeSet<Str>,
    assigned: Assigned,
}

/// Which topics the share coordinator keeps state of for a group (`ShareGroupStatePartitionMetadataInfo`).
#[derive(Debug, Clone, PartialEq, Default)]
struct Sharing {
    /// It is being told of these.
    initializing: BTreeMap<Uuid, SharedTopic>,
    /// It knows these.
    initialized: BTreeMap<Uuid, SharedTopic>,
    /// It is to forget these; with their names.
    deleting: BTreeMap<Uuid, Str>,
}

/// Partitions of one topic.
#[derive(Debug, Clone, PartialEq)]
struct SharedTopic {
    name: Str,
    partitions: BTreeSet<i32>,
}

/// What a share group waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A member is silent for a whole session.
    Session {
        /// The group.
        group: Str,
        /// The member.
        member: Str,
    },
}

/// What dies with the seat.
#[derive(Debug, Default)]
pub(super) struct ShareSoft {
    /// When this seat last wrote what the share coordinator knows of a group, or found it in the log. At most one for
    /// each group.
    sharing_written: BTreeMap<Str, Moment>,
    /// Callers whose answers depend on the share coordinator, by the number of the work. At most one for each request
    /// that is under way.
    waiting: BTreeMap<u64, Waiting>,
    /// The number of the last work.
    last_work: Option<u64>,
}

impl Default for ShareGroup {
    fn default() -> Self {
        ShareGroup {
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            members: BTreeMap::new(),
            subscriptions: SubscriptionCounts::default(),
            target_metadata: TargetMetadata::default(),
            target: BTreeMap::new(),
            sharers: BTreeMap::new(),
            sharing: None,
        }
    }
}

impl Default for ShareMember {
    fn default() -> Self {
        ShareMember {
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            rack: None,
            client_id: Str::default(),
            client_host: Str::default(),
            topics: BTreeSet::new(),
            assigned: Assigned::new(),
        }
    }
}

impl ShareGroup {
    /// Whether some member wants the topic.
    pub(super) fn wants(&self, topic: &str) -> bool {
        self.subscriptions.contains(topic)
    }

    /// Whether it may be deleted.
    fn refuse_unless_empty(&self) -> Result<(), Refusal> {
        match self.members.is_empty() {
            true => Ok(()),
            false => Err(Refusal::in_common_words(ErrorCode::NonEmptyGroup)),
        }
    }
}

/// A share group commits no offsets as other groups do (`ShareGroup.validateOffsetCommit` and others).
impl AnyGroup for ShareGroup {
    fn kind(&self) -> Kind {
        Kind::Share
    }

    fn state(&self) -> &'static str {
        if self.members.is_empty() { "Empty" } else { "Stable" }
    }

    fn protocol_type(&self) -> &str {
        "share"
    }

    fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn check_commit(&self, _: &Committer<'_>) -> Result<Checked, ErrorCode> {
        Err(ErrorCode::GroupIdNotFound)
    }

    fn check_fetch(&self, _: Option<&str>, _: i32) -> Result<(), ErrorCode> {
        Err(ErrorCode::GroupIdNotFound)
    }

    fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        Err(ErrorCode::GroupIdNotFound)
    }

    fn is_subscribed_to(&self, topic: &str) -> bool {
        self.wants(topic)
    }

    fn expiry(&self) -> Expiry {
        Expiry::Never
    }

    fn may_vanish(&self) -> bool {
        false
    }

    fn tombstones(&self, group: &Str, records: &mut Vec<GroupRecord>) {
        records.extend(records::group_gone(group));
    }
}

impl SharedTopic {
    fn new(name: Str) -> SharedTopic {
        SharedTopic { name, partitions: BTreeSet::new() }
    }
}

/// The share group with this id; nothing if no group has it.
fn find<'a>(deciding: &Deciding<'a>, id: &str) -> Result<Option<&'a ShareGroup>, Refusal> {
    match deciding.state.groups.get(id) {
        Some(Group::Share(group)) => Ok(Some(group)),
        _ if deciding.with_group(id, |_| ()).is_some() => {
            Err(Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {id} is not a share group.")))
        }
        _ => Ok(None),
    }
}

/// The share group with this id.
fn existing<'a>(deciding: &Deciding<'a>, id: &str) -> Result<&'a ShareGroup, Refusal> {
    let group = find(deciding, id)?;
    group.ok_or_else(|| Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {id} not found.")))
}

/// A refusal as the two fields that answers have for it.
fn error_fields(refusal: Refusal) -> (i16, Option<Str>) {
    (refusal.code.code(), refusal.message)
}

/// No world was seen yet: only before the first request to a seat.
fn unseen() -> Refusal {
    ErrorCode::CoordinatorLoadInProgress.into()
}

impl Deciding<'_> {
    /// Writes records in order.
    fn write_all(&mut self, records: Vec<GroupRecord>) {
        for record in records {
            self.write(record);
        }
    }
}
