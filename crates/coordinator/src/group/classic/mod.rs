//! Classic groups: members agree among themselves (`ClassicGroup`).
//!
//! Records tell of a group only how it was when its leader last assigned partitions, or when it became empty. Between
//! that and now is what its members have done since, which is soft.
//!
//! | file | holds |
//! |---|---|
//! | `live` | a group as its members make it |
//! | `join` | `JoinGroup`: somebody becomes a member, or a member takes part in a rebalance |
//! | `rebalance` | members are awaited, a generation begins, the leader is awaited |
//! | `sync` | `SyncGroup`: the leader assigns, everybody hears |
//! | `membership` | members report, leave, or fall silent |

pub(super) mod join;
pub(super) mod live;
pub(super) mod membership;
pub(super) mod rebalance;
pub(super) mod sync;
#[cfg(test)]
mod tests;

pub(super) use live::LiveGroup;

use ottla_base::{ErrorCode, Str, Timestamp};
use ottla_wire::records::group::{
    GroupKey, GroupMetadataKey, GroupMetadataValue, GroupValue, MemberMetadata,
};

use super::GroupRecord;
use super::kind::{AnyGroup, Checked, Committer, Expiry, Kind};
use super::state::{Group, Groups};

/// The protocol type of consumers.
pub(super) const CONSUMER_PROTOCOL: &str = "consumer";

/// What the records of one group say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ClassicGroup {
    /// What its members do; none if it never had members.
    pub(super) protocol_type: Option<Str>,
    pub(super) generation: i32,
    /// What its members agreed upon.
    pub(super) protocol: Option<Str>,
    pub(super) leader: Option<Str>,
    /// When it came into its state, if the record tells.
    pub(super) since: Option<Timestamp>,
    pub(super) members: Vec<MemberMetadata>,
}

/// A classic group without members, or one that only has offsets.
#[derive(Debug, Clone, Default)]
pub(super) struct EmptyClassic<'a> {
    protocol_type: Option<&'a Str>,
    since: Option<Timestamp>,
}

/// Takes a record of such a group as fact.
pub(super) fn apply(groups: &mut Groups, record: &GroupRecord) {
    let GroupKey::GroupMetadataKey(GroupMetadataKey { group, .. }) = &record.key else { return };
    match &record.value {
        Some(GroupValue::GroupMetadataValue(value)) => {
            groups.insert(group.detached(), Group::Classic(ClassicGroup::from_record(value)));
        }
        Some(_) => (),
        None => {
            groups.remove(group.as_str());
        }
    }
}

impl ClassicGroup {
    /// What a record says, keeping nothing of its frame.
    fn from_record(value: &GroupMetadataValue) -> ClassicGroup {
        let members = value.members.iter().map(|member| MemberMetadata {
            member_id: member.member_id.detached(),
            group_instance_id: member.group_instance_id.as_ref().map(Str::detached),
            client_id: member.client_id.detached(),
            client_host: member.client_host.detached(),
            // Old layouts have no rebalance timeout.
            rebalance_timeout: match member.rebalance_timeout {
                -1 => member.session_timeout,
                given => given,
            },
            session_timeout: member.session_timeout,
            subscription: kept(&member.subscription),
            assignment: kept(&member.assignment),
            ..Default::default()
        });
        ClassicGroup {
            protocol_type: Some(&value.protocol_type).filter(|it| !it.is_empty()).map(Str::detached),
            generation: value.generation,
            protocol: value.protocol.as_ref().map(Str::detached),
            leader: value.leader.as_ref().map(Str::detached),
            since: Some(Timestamp(value.current_state_timestamp)).filter(|it| *it != Timestamp::NONE),
            members: members.collect(),
        }
    }
}

impl<'a> From<&'a ClassicGroup> for EmptyClassic<'a> {
    fn from(group: &'a ClassicGroup) -> EmptyClassic<'a> {
        EmptyClassic { protocol_type: group.protocol_type.as_ref(), since: group.since }
    }
}

impl AnyGroup for EmptyClassic<'_> {
    fn kind(&self) -> Kind {
        Kind::Classic
    }

    fn state(&self) -> &'static str {
        "Empty"
    }

    fn protocol_type(&self) -> &str {
        self.protocol_type.map_or("", Str::as_str)
    }

    fn is_empty(&self) -> bool {
        true
    }

    fn check_commit(&self, by: &Committer<'_>) -> Result<Checked, ErrorCode> {
        if by.epoch < 0 {
            return Ok(Checked::Wholly);
        }
        // Nobody is a member.
        Err(ErrorCode::UnknownMemberId)
    }

    fn check_fetch(&self, _: Option<&str>, _: i32) -> Result<(), ErrorCode> {
        Ok(())
    }

    fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        Ok(())
    }

    fn is_subscribed_to(&self, _: &str) -> bool {
        false
    }

    fn expiry(&self) -> Expiry {
        match (self.protocol_type, self.since) {
            (Some(_), Some(since)) => Expiry::From(since),
            _ => Expiry::FromCommit,
        }
    }

    fn tombstones(&self, group: &Str, records: &mut Vec<GroupRecord>) {
        records.push(tombstone(group));
    }
}

/// The record that removes a group.
pub(super) fn tombstone(group: &Str) -> GroupRecord {
    GroupRecord::tombstone(key(group))
}

fn key(group: &Str) -> GroupKey {
    GroupKey::GroupMetadataKey(GroupMetadataKey { group: group.clone() })
}

/// Bytes that keep nothing but themselves.
fn kept(bytes: &bytes::Bytes) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(bytes)
}
