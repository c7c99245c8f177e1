//! Commits of offsets, in transactions and outside of them, and the end of a transaction.

use ottla_base::{ErrorCode, ProducerEpoch, ProducerId, Str, Uuid};
use ottla_machine::Ticket;
use ottla_wire::messages::offset_commit_request::OffsetCommitRequest;
use ottla_wire::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use ottla_wire::messages::txn_offset_commit_request::TxnOffsetCommitRequest;
use ottla_wire::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use ottla_wire::records::group::{GroupKey, GroupValue, OffsetCommitKey, OffsetCommitValue};

use super::super::deciding::Deciding;
use super::super::kind::{Checked, Committer, PartOf};
use super::super::request::Reply;
use super::super::{Client, Fact, GroupRecord, Producer, TransactionResult};

/// From this version on the answer to a member of an unknown group, or of a stale epoch, is what it is.
const OFFSET_COMMIT_TELLS_OF_GROUPS: i16 = 9;
const TXN_OFFSET_COMMIT_TELLS_OF_GROUPS: i16 = 6;

/// Somebody commits offsets. Topics that do not exist, and those it may not read, were answered before.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitOffsets {
    /// Who asks.
    pub client: Client,
    /// The request; topics have names, and ids as far as they are known.
    pub request: OffsetCommitRequest,
}

/// Somebody commits offsets in a transaction, which was verified.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitTransactionalOffsets {
    /// Who asks.
    pub client: Client,
    /// The request; topics have names, and ids as far as they are known.
    pub request: TxnOffsetCommitRequest,
}

/// A transaction that may have committed offsets here has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTransaction {
    /// Whose transaction.
    pub producer: Producer,
    /// The epoch of the transaction coordinator that ended it.
    pub coordinator_epoch: i32,
    /// How it ended.
    pub result: TransactionResult,
}

/// Commits offsets, or refuses all of them.
pub(in crate::group) fn commit(deciding: &mut Deciding<'_>, request: CommitOffsets, caller: Ticket) {
    let CommitOffsets { client, request } = request;
    let reply = match commit_offsets(deciding, &client, &request) {
        Ok((records, reply)) => {
            deciding.soft.counts.offset_commits += records.len() as u64;
            records.into_iter().for_each(|record| deciding.write(record));
            reply
        }
        Err(code) => refused(&request, code),
    };
    deciding.answer(caller, Reply::CommitOffsets(reply));
}

/// Commits offsets that count once their transaction is committed, or refuses all of them.
pub(in crate::group) fn commit_transactional(
    deciding: &mut Deciding<'_>,
    request: CommitTransactionalOffsets,
    caller: Ticket,
) {
    let CommitTransactionalOffsets { client, request } = request;
    let reply = match commit_transactional_offsets(deciding, &client, &request) {
        Ok((records, reply)) => {
            let id = ProducerId(request.producer_id);
            let producer = Producer { id, epoch: ProducerEpoch(request.producer_epoch) };
            deciding.soft.counts.offset_commits += records.len() as u64;
            for record in records {
                deciding.write_fact(Fact::Transactional { producer, record });
            }
            reply
        }
        Err(code) => refused_transactional(&request, code),
    };
    deciding.answer(caller, Reply::CommitTransactionalOffsets(reply));
}

/// Writes the end of a transaction. It is written whether or not offsets wait for it: who asks may not know.
pub(in crate::group) fn end_transaction(
    deciding: &mut Deciding<'_>,
    request: EndTransaction,
    caller: Ticket,
) {
    let EndTransaction { producer, coordinator_epoch, result } = request;
    deciding.write_fact(Fact::Marker { producer, coordinator_epoch, result });
    deciding.answer(caller, Reply::EndTransaction(()));
}

/// The answer that refuses every partition with the same code (`OffsetCommitRequest.getErrorResponse`).
pub fn refused(request: &OffsetCommitRequest, code: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().map(|it| outcome(it.partition_index, code)).collect(),
        ..Default::default()
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

/// The answer that refuses every partition with the same code (`TxnOffsetCommitRequest.getErrorResponse`).
pub fn refused_transactional(request: &TxnOffsetCommitRequest, code: ErrorCode) -> TxnOffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| TxnOffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|it| outcome_transactional(it.partition_index, code))
            .collect(),
        ..Default::default()
    });
    TxnOffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

fn commit_offsets(
    deciding: &mut Deciding<'_>,
    client: &Client,
    request: &OffsetCommitRequest,
) -> Result<(Vec<GroupRecord>, OffsetCommitResponse), ErrorCode> {
    let by = Committer {
        member: &request.member_id,
        instance: request.group_instance_id.as_deref(),
        epoch: request.generation_id_or_member_epoch,
        part_of: PartOf::Nothing,
        version: client.version,
    };
    let checked = check(deciding, &request.group_id, &by, OFFSET_COMMIT_TELLS_OF_GROUPS)?;
    let now = deciding.at.wall_clock.get();
    let expires = match request.retention_time_ms {
        -1 => -1,
        retention => now.saturating_add(retention),
    };
    let mut records = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for it in &topic.partitions {
            let value = OffsetCommitValue {
                offset: it.committed_offset,
                leader_epoch: it.committed_leader_epoch,
                metadata: it.committed_metadata.clone().unwrap_or_default(),
                commit_timestamp: now,
                expire_timestamp: expires,
                topic_id: topic.topic_id,
                ..Default::default()
            };
            let place = Place { topic: &topic.name, id: topic.topic_id, partition: it.partition_index };
            let code = commit_one(deciding, (&request.group_id, &by, checked), place, value, &mut records)?;
            partitions.push(outcome(it.partition_index, code));
        }
        let (name, topic_id) = (topic.name.clone(), topic.topic_id);
        topics.push(OffsetCommitResponseTopic { name, topic_id, partitions, ..Default::default() });
    }
    Ok((records, OffsetCommitResponse { topics, ..Default::default() }))
}

fn commit_transactional_offsets(
    deciding: &mut Deciding<'_>,
    client: &Client,
    request: &TxnOffsetCommitRequest,
) -> Result<(Vec<GroupRecord>, TxnOffsetCommitResponse), ErrorCode> {
    let by = Committer {
        member: &request.member_id,
        instance: request.group_instance_id.as_deref(),
        epoch: request.generation_id_or_member_epoch,
        part_of: PartOf::Transaction,
        version: client.version,
    };
    let checked = check(deciding, &request.group_id, &by, TXN_OFFSET_COMMIT_TELLS_OF_GROUPS)?;
    let now = deciding.at.wall_clock.get();
    let mut records = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for it in &topic.partitions {
            let value = OffsetCommitValue {
                offset: it.committed_offset,
                leader_epoch: it.committed_leader_epoch,
                metadata: it.committed_metadata.clone().unwrap_or_default(),
                commit_timestamp: now,
                expire_timestamp: -1,
                topic_id: topic.topic_id,
                ..Default::default()
            };
            let place = Place { topic: &topic.name, id: topic.topic_id, partition: it.partition_index };
            let code = commit_one(deciding, (&request.group_id, &by, checked), place, value, &mut records)?;
            partitions.push(outcome_transactional(it.partition_index, code));
        }
        let (name, topic_id) = (topic.name.clone(), topic.topic_id);
        topics.push(TxnOffsetCommitResponseTopic { name, topic_id, partitions, ..Default::default() });
    }
    Ok((records, TxnOffsetCommitResponse { topics, ..Default::default() }))
}

/// Notes one offset, or says what is wrong with it alone; what is wrong with all of the request is an error.
fn commit_one(
    deciding: &mut Deciding<'_>,
    (group, by, checked): (&Str, &Committer<'_>, Checked),
    place: Place<'_>,
    value: OffsetCommitValue,
    records: &mut Vec<GroupRecord>,
) -> Result<ErrorCode, ErrorCode> {
    if is_too_long(deciding, &value.metadata) {
        return Ok(ErrorCode::OffsetMetadataTooLarge);
    }
    let (topic, partition) = (place.topic, place.partition);
    if checked == Checked::EachPartition {
        check_partition(deciding, group, by, place)?;
    }
    records.push(record(group, topic, partition, value));
    Ok(ErrorCode::None)
}

/// Which partition is committed.
struct Place<'a> {
    topic: &'a Str,
    id: Uuid,
    partition: i32,
}

/// Whether the group lets `by` commit. Whoever names a generation of a group that does not exist is told as its
/// version of the request understands it.
fn check(
    deciding: &mut Deciding<'_>,
    group: &Str,
    by: &Committer<'_>,
    tells_of_groups: i16,
) -> Result<Checked, ErrorCode> {
    let Some(checked) = deciding.with_group(group, |it| it.check_commit(by)) else {
        return match by.epoch {
            ..0 => Ok(Checked::Wholly),
            _ if by.version >= tells_of_groups => Err(ErrorCode::GroupIdNotFound),
            _ => Err(ErrorCode::IllegalGeneration),
        };
    };
    let checked = checked.map_err(|code| as_told(by, code))?;
    if by.part_of == PartOf::Nothing {
        deciding.heard_of_classic_member(group, by.member);
    }
    Ok(checked)
}

fn check_partition(
    deciding: &Deciding<'_>,
    group: &Str,
    by: &Committer<'_>,
    place: Place<'_>,
) -> Result<(), ErrorCode> {
    let Place { topic, id, partition } = place;
    let checked = deciding.with_group(group, |it| it.check_partition(by, topic, id, partition));
    checked.unwrap_or(Ok(())).map_err(|code| as_told(by, code))
}

/// Older transactional commits do not know of stale member epochs.
fn as_told(by: &Committer<'_>, code: ErrorCode) -> ErrorCode {
    let old = by.part_of == PartOf::Transaction && by.version < TXN_OFFSET_COMMIT_TELLS_OF_GROUPS;
    if code == ErrorCode::StaleMemberEpoch && old { ErrorCode::IllegalGeneration } else { code }
}

/// Whether a text is longer than `offset.metadata.max.bytes`, which Kafka counts in UTF-16 units.
fn is_too_long(deciding: &Deciding<'_>, metadata: &Str) -> bool {
    let limit = deciding.settings().groups.offset_metadata_max_bytes.max(0) as usize;
    metadata.len() > limit && metadata.encode_utf16().count() > limit
}

fn record(group: &Str, topic: &Str, partition: i32, mut value: OffsetCommitValue) -> GroupRecord {
    if value.expire_timestamp != -1 {
        // The only layout with an expiry has neither.
        value.leader_epoch = -1;
        value.topic_id = Uuid::ZERO;
    }
    let key = OffsetCommitKey { group: group.clone(), topic: topic.clone(), partition };
    GroupRecord::set(GroupKey::OffsetCommitKey(key), GroupValue::OffsetCommitValue(value))
}

fn outcome(partition_index: i32, code: ErrorCode) -> OffsetCommitResponsePartition {
    OffsetCommitResponsePartition { partition_index, error_code: code as i16, ..Default::default() }
}

fn outcome_transactional(partition_index: i32, code: ErrorCode) -> TxnOffsetCommitResponsePartition {
    TxnOffsetCommitResponsePartition { partition_index, error_code: code as i16, ..Default::default() }
}
