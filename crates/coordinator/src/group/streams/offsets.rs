//! What a streams group lets its members do with committed offsets, and when it may go (`StreamsGroup`).

use ottla_base::{ErrorCode, Str, Uuid};

use super::live::StreamsTimer;
use super::state::{State, StreamsGroup};
use crate::group::GroupRecord;
use crate::group::deciding::Deciding;
use crate::group::kind::{AnyGroup, Checked, Committer, Expiry, Kind, PartOf};
use crate::group::soft::Timer;

/// The first version of OffsetCommit with member epochs.
const FIRST_VERSION_WITH_EPOCHS: i16 = 9;

impl AnyGroup for StreamsGroup {
    fn kind(&self) -> Kind {
        Kind::Streams
    }

    fn state(&self) -> &'static str {
        self.how().name()
    }

    fn protocol_type(&self) -> &str {
        Kind::Streams.name()
    }

    fn is_empty(&self) -> bool {
        self.how() == State::Empty
    }

    fn check_commit(&self, by: &Committer<'_>) -> Result<Checked, ErrorCode> {
        let by_tool = by.epoch < 0 && self.members.is_empty();
        let is_in_transaction = by.part_of == PartOf::Transaction;
        let by_old_producer =
            is_in_transaction && by.epoch == -1 && by.member.is_empty() && by.instance.is_none();
        if by_tool || by_old_producer {
            return Ok(Checked::Wholly);
        }
        let member = self.members.get(by.member).ok_or(ErrorCode::UnknownMemberId)?;
        if !is_in_transaction && by.version < FIRST_VERSION_WITH_EPOCHS {
            return Err(ErrorCode::UnsupportedVersion);
        }
        match by.epoch {
            epoch if epoch == member.epoch => Ok(Checked::Wholly),
            epoch if epoch > member.epoch => Err(ErrorCode::StaleMemberEpoch),
            _ => Ok(Checked::EachPartition),
        }
    }

    /// In an epoch that is over, a member may commit what it had then and still has.
    fn check_partition(
        &self,
        by: &Committer<'_>,
        topic: &str,
        _: Uuid,
        partition: i32,
    ) -> Result<(), ErrorCode> {
        let reader = self.topology.as_ref().and_then(|topology| topology.reader_of(topic));
        let held = self.members.get(by.member).map(|member| [&member.assigned, &member.revoking]);
        let (Some(reader), Some(held)) = (reader, held) else { return Err(ErrorCode::StaleMemberEpoch) };
        let assigned = held.iter().find_map(|held| held.active.get(reader)?.get(&partition));
        match assigned {
            Some(since) if by.epoch >= *since => Ok(()),
            _ => Err(ErrorCode::StaleMemberEpoch),
        }
    }

    fn check_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        if member.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = member.and_then(|member| self.members.get(member)).ok_or(ErrorCode::UnknownMemberId)?;
        if member.epoch == epoch { Ok(()) } else { Err(ErrorCode::StaleMemberEpoch) }
    }

    fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        Ok(())
    }

    fn is_subscribed_to(&self, topic: &str) -> bool {
        !self.is_empty() && self.topology.as_ref().is_some_and(|it| it.reader_of(topic).is_some())
    }

    fn expiry(&self) -> Expiry {
        Expiry::FromCommit
    }

    fn tombstones(&self, group: &Str, records: &mut Vec<GroupRecord>) {
        records.extend(self.tombstone_records(group));
    }
}

impl StreamsGroup {
    /// Whether a change of `topic` can change what the coordinator assigns.
    pub(in crate::group) fn wants(&self, topic: &str) -> bool {
        self.topology.as_ref().is_some_and(|it| it.required.contains(topic))
    }
}

/// Forgets what is known of a group, which is empty and is being removed.
pub(in crate::group) fn forget(deciding: &mut Deciding<'_>, id: &Str) {
    let timer = StreamsTimer::InitialRebalance(id.clone());
    deciding.soft.timers.cancel(&Timer::Streams(timer));
    deciding.soft.streams.groups.remove(id);
    deciding.soft.metadata.forget_group(id);
}
