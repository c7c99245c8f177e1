//! Offsets of classic groups: who may commit them, and how they go.

use ottla_base::Uuid;
use ottla_wire::messages::offset_commit_request::OffsetCommitRequest;
use ottla_wire::messages::offset_delete_request::*;

use super::*;
use crate::group::offsets::tests::{commit, simple};

/// What a member hears that commits partition 0 of the topic `orders`.
fn commit_as(fixture: &mut Fixture, member: &str, generation: i32) -> ErrorCode {
    let request = OffsetCommitRequest {
        generation_id_or_member_epoch: generation,
        member_id: member.into(),
        ..simple("g", &[(0, 7)])
    };
    ErrorCode::from_code(commit(fixture, request, LATEST)[0])
}

fn delete(fixture: &mut Fixture, topic: &'static str) -> (ErrorCode, Vec<i16>) {
    let partitions = vec![OffsetDeleteRequestPartition { partition_index: 0 }];
    let topics = vec![OffsetDeleteRequestTopic { name: topic.into(), partitions }];
    match fixture.ask(Request::DeleteOffsets(OffsetDeleteRequest { group_id: "g".into(), topics })) {
        Reply::DeleteOffsets(reply) => {
            let partitions = reply.topics.iter().flat_map(|topic| &topic.partitions);
            (ErrorCode::from_code(reply.error_code), partitions.map(|it| it.error_code).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_members_of_the_generation_commit() {
    let mut fixture = Fixture::new();
    let (members, generation) = stable(&mut fixture, 2);
    assert_eq!(commit_as(&mut fixture, &members[0], generation), ErrorCode::None);
    assert_eq!(commit_as(&mut fixture, &members[0], generation - 1), ErrorCode::IllegalGeneration);
    assert_eq!(commit_as(&mut fixture, "nobody", generation), ErrorCode::UnknownMemberId);
    assert_eq!(commit_as(&mut fixture, "", -1), ErrorCode::UnknownMemberId);
    // While others are awaited commits go on; while the leader is awaited they do not.
    let first = send_join(&mut fixture, joining(members.iter().min().expect("two")), LATEST);
    assert_eq!(commit_as(&mut fixture, &members[1], generation), ErrorCode::None);
    let second = send_join(&mut fixture, joining(members.iter().max().expect("two")), LATEST);
    assert_eq!(joined(&mut fixture, first).error_code + joined(&mut fixture, second).error_code, 0);
    assert_eq!(commit_as(&mut fixture, &members[1], generation + 1), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut fixture = Fixture::new();
    let (members, generation) = stable(&mut fixture, 1);
    for _ in 0..4 {
        fixture.seconds(9);
        assert_eq!(commit_as(&mut fixture, &members[0], generation), ErrorCode::None);
    }
    assert_eq!(heartbeat(&mut fixture, &members[0], generation), ErrorCode::None);
}

#[test]
fn offsets_of_topics_that_are_read_stay() {
    let mut fixture = Fixture::new();
    let (members, generation) = stable(&mut fixture, 1);
    commit_as(&mut fixture, &members[0], generation);
    fixture.written();
    let read = ErrorCode::GroupSubscribedToTopic as i16;
    assert_eq!(delete(&mut fixture, "orders"), (ErrorCode::None, vec![read]));
    assert_eq!(delete(&mut fixture, "others"), (ErrorCode::None, vec![0]));
    assert!(fixture.records().is_empty());
    leave(&mut fixture, &[(&members[0], None)]);
    assert_eq!(delete(&mut fixture, "orders"), (ErrorCode::None, vec![0]));
    assert_eq!(fixture.records().iter().filter(|it| it.value.is_none()).count(), 1);
}

#[test]
fn of_no_group_and_of_groups_that_are_not_consumers_nothing_is_deleted() {
    let mut fixture = Fixture::new();
    assert_eq!(delete(&mut fixture, "orders").0, ErrorCode::GroupIdNotFound);
    let request = JoinGroupRequest { protocol_type: "connect".into(), ..joining("") };
    let caller = send_join(&mut fixture, request, 3);
    fixture.seconds(3);
    assert_eq!(joined(&mut fixture, caller).error_code, 0);
    assert_eq!(delete(&mut fixture, "orders").0, ErrorCode::NonEmptyGroup);
}

#[test]
fn offsets_grow_old_from_when_the_group_became_empty() {
    let minute = 60;
    let mut fixture = Fixture::with_settings(&[("offsets.retention.minutes", "60")]);
    let (members, generation) = stable(&mut fixture, 1);
    commit_as(&mut fixture, &members[0], generation);
    for _ in 0..90 * 12 {
        fixture.seconds(5);
        heartbeat(&mut fixture, &members[0], generation);
    }
    // The topic is read: its offsets do not grow old.
    assert!(fixture.state().offsets.has_group("g"));
    leave(&mut fixture, &[(&members[0], None)]);
    fixture.seconds(55 * minute);
    assert!(fixture.state().offsets.has_group("g"));
    fixture.written();
    fixture.seconds(20 * minute);
    assert!(!fixture.state().offsets.has_group("g"));
    assert!(fixture.state().groups.is_empty());
    let records = fixture.records();
    assert_eq!(records.len(), 2, "the offset and then the group");
}

#[test]
fn what_a_consumer_without_a_group_commits_grows_old_from_then_on() {
    let mut fixture = Fixture::with_settings(&[("offsets.retention.minutes", "30")]);
    commit(&mut fixture, simple("g", &[(0, 1)]), LATEST);
    fixture.seconds(15 * 60);
    commit(&mut fixture, simple("g", &[(1, 1)]), LATEST);
    fixture.seconds(25 * 60);
    assert_eq!(fixture.state().offsets.len(), 1);
    fixture.seconds(15 * 60);
    assert_eq!(fixture.state().offsets.len(), 0);
}

#[test]
fn offsets_go_with_their_topic() {
    let mut fixture = Fixture::new();
    let orders = fixture.topic("orders", 2);
    let of = |id: Uuid| {
        let mut request = simple("g", &[(0, 1), (1, 2)]);
        request.topics[0].topic_id = id;
        request
    };
    commit(&mut fixture, of(orders), LATEST);
    commit(&mut fixture, of(Uuid::from_number(99)), LATEST);
    let mut unknown = of(Uuid::ZERO);
    unknown.topics[0].partitions.truncate(1);
    commit(&mut fixture, unknown, LATEST);
    fixture.written();
    fixture.delete_topic(orders);
    // Partition 1 is of another topic with the same name.
    assert_eq!(fixture.records().len(), 1);
    assert_eq!(fixture.state().offsets.len(), 1);
}
