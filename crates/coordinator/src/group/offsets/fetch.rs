//! Committed offsets are asked for, some of a group's or all.

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_machine::Ticket;
use ottla_wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use ottla_wire::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};

use super::super::deciding::Deciding;
use super::super::request::Reply;
use super::Committed;

/// Somebody asks for the committed offsets of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchOffsets {
    /// The group, and its topics; all of them if there are none. Topics have names, and ids as far as they are known.
    pub request: OffsetFetchRequestGroup,
    /// What a transaction that goes on does to the answer.
    pub stability: Stability,
}

/// What a transaction that goes on does to the offsets it would change (`RequireStable`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// Nothing: what was committed before is told.
    Any,
    /// They are not told before it ends.
    Required,
}

/// Tells committed offsets. A group that does not exist has none.
pub(in crate::group) fn fetch(deciding: &mut Deciding<'_>, request: FetchOffsets, caller: Ticket) {
    let FetchOffsets { request, stability } = request;
    let reply = fetch_offsets(deciding, &request, stability).unwrap_or_else(|code| {
        let group_id = request.group_id.clone();
        OffsetFetchResponseGroup { group_id, error_code: code as i16, ..Default::default() }
    });
    deciding.answer(caller, Reply::FetchOffsets(reply));
}

fn fetch_offsets(
    deciding: &Deciding<'_>,
    request: &OffsetFetchRequestGroup,
    stability: Stability,
) -> Result<OffsetFetchResponseGroup, ErrorCode> {
    let group = &request.group_id;
    let member = request.member_id.as_deref();
    let exists = match deciding.with_group(group, |it| it.check_fetch(member, request.member_epoch)) {
        None | Some(Err(ErrorCode::GroupIdNotFound)) => false,
        Some(Err(code)) => return Err(code),
        Some(Ok(())) => true,
    };
    let read = Read { deciding, group, exists, stability };
    let topics = match &request.topics {
        Some(topics) => topics.iter().map(|topic| read.topic(topic)).collect(),
        None => read.all(),
    };
    Ok(OffsetFetchResponseGroup { group_id: group.clone(), topics, ..Default::default() })
}

struct Read<'a> {
    deciding: &'a Deciding<'a>,
    group: &'a Str,
    exists: bool,
    stability: Stability,
}

impl Read<'_> {
    fn all(&self) -> Vec<OffsetFetchResponseTopics> {
        let offsets = self.deciding.state.offsets.of_group(self.group).filter(|_| self.exists);
        let topics = offsets.into_iter().flatten().map(|(topic, partitions)| OffsetFetchResponseTopics {
            name: topic.clone(),
            partitions: partitions
                .iter()
                .map(|(partition, committed)| self.partition(topic, *partition, Some(committed)))
                .collect(),
            ..Default::default()
        });
        topics.collect()
    }

    fn topic(&self, topic: &OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
        let offsets = &self.deciding.state.offsets;
        let partitions = topic.partition_indexes.iter().map(|partition| {
            let committed = offsets.get(self.group, &topic.name, *partition);
            let committed = committed.filter(|it| self.exists && is_of(it, topic.topic_id));
            self.partition(&topic.name, *partition, committed)
        });
        OffsetFetchResponseTopics {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
            ..Default::default()
        }
    }

    fn partition(
        &self,
        topic: &Str,
        partition_index: i32,
        committed: Option<&Committed>,
    ) -> OffsetFetchResponsePartitions {
        let offsets = &self.deciding.state.offsets;
        let none = |code: ErrorCode| OffsetFetchResponsePartitions {
            partition_index,
            committed_offset: -1,
            committed_leader_epoch: -1,
            metadata: Some(Str::default()),
            error_code: code as i16,
            ..Default::default()
        };
        let waits = self.stability == Stability::Required;
        match committed {
            _ if waits && offsets.is_pending(self.group, topic, partition_index) => {
                none(ErrorCode::UnstableOffsetCommit)
            }
            None => none(ErrorCode::None),
            Some(committed) => OffsetFetchResponsePartitions {
                partition_index,
                committed_offset: committed.offset,
                committed_leader_epoch: committed.leader_epoch,
                metadata: Some(committed.metadata.clone()),
                error_code: ErrorCode::None as i16,
                ..Default::default()
            },
        }
    }
}

/// Whether an offset is of the topic that is asked for, not of an earlier one of the same name.
fn is_of(committed: &Committed, asked: Uuid) -> bool {
    committed.topic_id == Uuid::ZERO || asked == Uuid::ZERO || committed.topic_id == asked
}
