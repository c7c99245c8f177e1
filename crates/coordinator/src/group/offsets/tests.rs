//! Offsets are committed, told, held up by transactions, and read from any log that says so.

use ottla_base::{ErrorCode, ProducerEpoch, ProducerId, Str, Uuid};
use ottla_wire::messages::offset_commit_request::*;
use ottla_wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use ottla_wire::messages::offset_fetch_response::OffsetFetchResponseGroup;
use ottla_wire::messages::txn_offset_commit_request::*;
use ottla_wire::records::group::*;

use super::commit::{CommitOffsets, CommitTransactionalOffsets, EndTransaction};
use super::fetch::{FetchOffsets, Stability};
use crate::group::fixture::{BEGINNING, Fixture, client};
use crate::group::{Fact, GroupRecord, Producer, Reply, Request, TransactionResult};

const NONE: i16 = ErrorCode::None as i16;

/// A commit of offsets `(partition, offset)` of the topic `orders` by a consumer without a group.
pub(in crate::group) fn simple(group: &'static str, offsets: &[(i32, i64)]) -> OffsetCommitRequest {
    let partitions = offsets.iter().map(|(partition, offset)| OffsetCommitRequestPartition {
        partition_index: *partition,
        committed_offset: *offset,
        committed_leader_epoch: 3,
        committed_metadata: Some("note".into()),
        ..Default::default()
    });
    let topic = OffsetCommitRequestTopic {
        name: "orders".into(),
        topic_id: Uuid::from_number(5),
        partitions: partitions.collect(),
        ..Default::default()
    };
    OffsetCommitRequest { group_id: group.into(), topics: vec![topic], ..Default::default() }
}

pub(in crate::group) fn commit(
    fixture: &mut Fixture,
    request: OffsetCommitRequest,
    version: i16,
) -> Vec<i16> {
    let request = Request::CommitOffsets(CommitOffsets { client: client("c", version), request });
    match fixture.ask(request) {
        Reply::CommitOffsets(reply) => {
            reply.topics.iter().flat_map(|topic| &topic.partitions).map(|it| it.error_code).collect()
        }
        other => panic!("{other:?}"),
    }
}

const PRODUCER: Producer = Producer { id: ProducerId(7), epoch: ProducerEpoch(1) };

fn commit_in_transaction(fixture: &mut Fixture, offset: i64, version: i16, epoch: i32) -> i16 {
    let partition = TxnOffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    let topic = TxnOffsetCommitRequestTopic {
        name: "orders".into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = TxnOffsetCommitRequest {
        group_id: "g".into(),
        producer_id: PRODUCER.id.get(),
        producer_epoch: PRODUCER.epoch.get(),
        generation_id_or_member_epoch: epoch,
        topics: vec![topic],
        ..Default::default()
    };
    let asked = CommitTransactionalOffsets { client: client("c", version), request };
    match fixture.ask(Request::CommitTransactionalOffsets(asked)) {
        Reply::CommitTransactionalOffsets(reply) => reply.topics[0].partitions[0].error_code,
        other => panic!("{other:?}"),
    }
}

fn end(fixture: &mut Fixture, result: TransactionResult) {
    let ended = EndTransaction { producer: PRODUCER, coordinator_epoch: 4, result };
    assert_eq!(fixture.ask(Request::EndTransaction(ended)), Reply::EndTransaction(()));
}

fn fetch_group(
    fixture: &mut Fixture,
    topics: Option<Vec<OffsetFetchRequestTopics>>,
    stability: Stability,
) -> OffsetFetchResponseGroup {
    let request = OffsetFetchRequestGroup { group_id: "g".into(), topics, ..Default::default() };
    match fixture.ask(Request::FetchOffsets(FetchOffsets { request, stability })) {
        Reply::FetchOffsets(reply) => reply,
        other => panic!("{other:?}"),
    }
}

/// Offset and error code of partition 0 of the topic `orders`.
fn fetch(fixture: &mut Fixture, topic_id: Uuid, stability: Stability) -> (i64, i16) {
    let topic = OffsetFetchRequestTopics {
        name: "orders".into(),
        topic_id,
        partition_indexes: vec![0],
        ..Default::default()
    };
    let reply = fetch_group(fixture, Some(vec![topic]), stability);
    let partition = &reply.topics[0].partitions[0];
    (partition.committed_offset, partition.error_code)
}

fn fetched(fixture: &mut Fixture) -> i64 {
    fetch(fixture, Uuid::ZERO, Stability::Any).0
}

#[test]
fn consumers_without_a_group_commit_and_fetch() {
    let mut fixture = Fixture::new();
    assert_eq!(fetched(&mut fixture), -1);
    assert_eq!(commit(&mut fixture, simple("g", &[(0, 10), (2, 30)]), 9), [NONE, NONE]);
    let key = OffsetCommitKey { group: "g".into(), topic: "orders".into(), partition: 0 };
    let value = OffsetCommitValue {
        offset: 10,
        leader_epoch: 3,
        metadata: "note".into(),
        commit_timestamp: BEGINNING + 1000,
        expire_timestamp: -1,
        topic_id: Uuid::from_number(5),
        ..Default::default()
    };
    let expected = GroupRecord::set(GroupKey::OffsetCommitKey(key), GroupValue::OffsetCommitValue(value));
    assert_eq!(fixture.records()[0], expected);

    fixture.lose_seat();
    let all = fetch_group(&mut fixture, None, Stability::Any);
    let partitions = &all.topics[0].partitions;
    assert_eq!(all.topics[0].name, "orders");
    assert_eq!(partitions.iter().map(|it| it.committed_offset).collect::<Vec<_>>(), [10, 30]);
    assert_eq!((partitions[0].committed_leader_epoch, partitions[0].metadata.as_deref()), (3, Some("note")));
    // Of an earlier topic of the same name nothing is told.
    assert_eq!(fetch(&mut fixture, Uuid::from_number(5), Stability::Any).0, 10);
    assert_eq!(fetch(&mut fixture, Uuid::from_number(6), Stability::Any).0, -1);
}

#[test]
fn a_generation_of_no_group_is_refused_as_the_version_understands_it() {
    let mut fixture = Fixture::new();
    let with_generation = || OffsetCommitRequest {
        generation_id_or_member_epoch: 4,
        member_id: "m".into(),
        ..simple("g", &[(0, 1)])
    };
    assert_eq!(commit(&mut fixture, with_generation(), 8), [ErrorCode::IllegalGeneration as i16]);
    assert_eq!(commit(&mut fixture, with_generation(), 9), [ErrorCode::GroupIdNotFound as i16]);
    assert_eq!(commit_in_transaction(&mut fixture, 1, 5, 4), ErrorCode::IllegalGeneration as i16);
    assert_eq!(commit_in_transaction(&mut fixture, 1, 6, 4), ErrorCode::GroupIdNotFound as i16);
    assert_eq!(commit(&mut fixture, simple("g", &[(0, 1)]), 9), [NONE]);
    assert_eq!(commit(&mut fixture, with_generation(), 9), [ErrorCode::UnknownMemberId as i16]);
    assert_eq!(fixture.records().len(), 1);
}

#[test]
fn a_long_text_is_refused_for_its_partition_alone() {
    let mut fixture = Fixture::with_settings(&[("offset.metadata.max.bytes", "4")]);
    let mut request = simple("g", &[(0, 10), (1, 20)]);
    request.topics[0].partitions[0].committed_metadata = Some("fünfe".into());
    // Four letters, more bytes.
    request.topics[0].partitions[1].committed_metadata = Some("üüüü".into());
    assert_eq!(commit(&mut fixture, request, 9), [ErrorCode::OffsetMetadataTooLarge as i16, NONE]);
    assert_eq!(fixture.records().len(), 1);
}

#[test]
fn an_expiry_that_was_asked_for_is_kept_in_the_layout_that_has_one() {
    let mut fixture = Fixture::new();
    let request = OffsetCommitRequest { retention_time_ms: 5_000, ..simple("g", &[(0, 10)]) };
    assert_eq!(commit(&mut fixture, request, 4), [NONE]);
    let records = fixture.records();
    let Some(GroupValue::OffsetCommitValue(value)) = &records[0].value else { panic!("{records:?}") };
    assert_eq!((value.expire_timestamp, value.leader_epoch), (BEGINNING + 6_000, -1));
    fixture.lose_seat();
    assert_eq!(fetched(&mut fixture), 10);
}

#[test]
fn what_a_transaction_commits_counts_when_it_is_committed() {
    for result in [TransactionResult::Committed, TransactionResult::Aborted] {
        let mut fixture = Fixture::new();
        commit(&mut fixture, simple("g", &[(0, 10)]), 9);
        assert_eq!(commit_in_transaction(&mut fixture, 50, 5, -1), NONE);
        assert_eq!(fetched(&mut fixture), 10);
        let unstable = (-1, ErrorCode::UnstableOffsetCommit as i16);
        assert_eq!(fetch(&mut fixture, Uuid::ZERO, Stability::Required), unstable);
        fixture.lose_seat();
        assert_eq!(fetch(&mut fixture, Uuid::ZERO, Stability::Required), unstable);
        assert_eq!(fetched(&mut fixture), 10);

        end(&mut fixture, result);
        let expected = if result == TransactionResult::Committed { 50 } else { 10 };
        assert_eq!(fetch(&mut fixture, Uuid::ZERO, Stability::Required), (expected, NONE));
        fixture.lose_seat();
        assert_eq!(fetch(&mut fixture, Uuid::ZERO, Stability::Required), (expected, NONE));
        let facts = fixture.written();
        let marker = Fact::Marker { producer: PRODUCER, coordinator_epoch: 4, result };
        assert_eq!(facts.last(), Some(&marker));
    }
}

#[test]
fn a_later_commit_outlives_a_transaction_that_began_before_it() {
    let mut fixture = Fixture::new();
    commit_in_transaction(&mut fixture, 50, 5, -1);
    commit(&mut fixture, simple("g", &[(0, 70)]), 9);
    end(&mut fixture, TransactionResult::Committed);
    assert_eq!(fetch(&mut fixture, Uuid::ZERO, Stability::Required), (70, NONE));
}

#[test]
fn a_tombstone_takes_what_transactions_would_commit_with_it() {
    let mut fixture = Fixture::new();
    commit_in_transaction(&mut fixture, 50, 5, -1);
    assert!(fixture.state().offsets.has_open_transactions("g"));
    let facts = fixture.written();
    let Fact::Transactional { record, .. } = &facts[0] else { panic!("{facts:?}") };
    fixture.load([GroupRecord::tombstone(record.key.clone())]);
    assert!(!fixture.state().offsets.has_group("g"));
    end(&mut fixture, TransactionResult::Committed);
    assert_eq!(fetched(&mut fixture), -1);
    assert_eq!(fixture.state().offsets.len(), 0);
}

#[test]
fn the_oldest_layout_is_read() {
    let mut fixture = Fixture::new();
    let key = LegacyOffsetCommitKey { group: "g".into(), topic: Str::from("orders"), partition: 0 };
    let value = LegacyOffsetCommitValue { offset: 8, commit_timestamp: 1, ..Default::default() };
    fixture.load([GroupRecord::set(
        GroupKey::LegacyOffsetCommitKey(key),
        GroupValue::LegacyOffsetCommitValue(value),
    )]);
    assert_eq!(fetch(&mut fixture, Uuid::from_number(9), Stability::Required), (8, NONE));
}

#[test]
fn answers_wait_for_the_commit_and_die_with_the_seat() {
    let mut fixture = Fixture::new();
    fixture.stop_commits();
    let request = CommitOffsets { client: client("c", 9), request: simple("g", &[(0, 10)]) };
    let caller = fixture.send(Request::CommitOffsets(request.clone()));
    assert_eq!(fixture.reply(caller), None);
    assert_eq!(fixture.lose_seat(), [caller]);
    assert!(!fixture.state().offsets.has_group("g"));
    let caller = fixture.send(Request::CommitOffsets(request));
    fixture.commit();
    assert!(matches!(fixture.reply(caller), Some(Reply::CommitOffsets(_))));
}
