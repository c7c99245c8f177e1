//! Share groups by script; `tests/` has the assignor and seeded runs.

mod assigning;
mod seeds;

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_wire::TypedRecord;
use ottla_wire::messages::alter_share_group_offsets_request::*;
use ottla_wire::messages::alter_share_group_offsets_response::AlterShareGroupOffsetsResponse;
use ottla_wire::messages::delete_share_group_offsets_request::*;
use ottla_wire::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponse;
use ottla_wire::messages::delete_share_group_state_response::{
    self, DeleteShareGroupStateResponse, DeleteStateResult,
};
use ottla_wire::messages::initialize_share_group_state_response::{
    self, InitializeShareGroupStateResponse, InitializeStateResult,
};
use ottla_wire::messages::share_group_describe_response::DescribedGroup;
use ottla_wire::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use ottla_wire::messages::share_group_heartbeat_response::ShareGroupHeartbeatResponse;
use ottla_wire::records::group::{GroupKey, GroupValue, OffsetCommitKey, OffsetCommitValue};

use super::super::fixture::{Fixture, client};
use super::super::{Effect, GroupRecord, Reply, Request};
use super::{ShareHeartbeat, ShareStateDeleted, ShareStateInitialized, ShareStateWork, WorkCause};

/// What the share coordinator was told to keep: the work, and start offsets by topic and partition.
type Told = (ShareStateWork, BTreeMap<Uuid, BTreeMap<i32, i64>>);

/// Where a member stands: its epoch and what it was last told to share in.
type Standing = (i32, Option<BTreeMap<Uuid, Vec<i32>>>);

fn beat(member: &'static str, epoch: i32, topics: Option<&[&'static str]>) -> Request {
    Request::ShareGroupHeartbeat(ShareHeartbeat {
        client: client("c", 1),
        request: ShareGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: member.into(),
            member_epoch: epoch,
            subscribed_topic_names: topics.map(|it| it.iter().map(|name| Str::from_static(name)).collect()),
            ..Default::default()
        },
    })
}

fn heartbeat(fixture: &mut Fixture, request: Request) -> ShareGroupHeartbeatResponse {
    match fixture.ask(request) {
        Reply::ShareGroupHeartbeat(response) => response,
        other => panic!("not a heartbeat's answer: {other:?}"),
    }
}

/// A heartbeat that is welcome.
fn stand(fixture: &mut Fixture, request: Request) -> Standing {
    let response = heartbeat(fixture, request);
    assert_eq!((response.error_code, &response.error_message), (0, &None));
    let assignment = response.assignment.map(|assignment| {
        assignment.topic_partitions.into_iter().map(|topic| (topic.topic_id, topic.partitions)).collect()
    });
    (response.member_epoch, assignment)
}

/// What the share coordinator was told to keep since the last look.
fn told(fixture: &mut Fixture) -> Vec<Told> {
    let told = |effect| match effect {
        Effect::InitializeShareState { work, request } => {
            assert_eq!(request.group_id, work.group);
            let topics = request.topics.into_iter().map(|topic| {
                let starts = topic.partitions.into_iter().map(|it| (it.partition, it.start_offset));
                (topic.topic_id, starts.collect())
            });
            (work, topics.collect())
        }
        other => panic!("not about keeping state: {other:?}"),
    };
    fixture.effects().into_iter().map(told).collect()
}

/// The answer of a share coordinator that says the same to everything.
fn keeps(told: Told, error: ErrorCode) -> Request {
    let (work, topics) = told;
    let partition = |partition| initialize_share_group_state_response::PartitionResult {
        partition,
        error_code: error.code(),
        error_message: None,
        ..Default::default()
    };
    let results = topics.into_iter().map(|(topic_id, partitions)| InitializeStateResult {
        topic_id,
        partitions: partitions.into_keys().map(partition).collect(),
        ..Default::default()
    });
    let answer = InitializeShareGroupStateResponse { results: results.collect(), ..Default::default() };
    Request::ShareStateInitialized(ShareStateInitialized { work, answer })
}

/// Lets the share coordinator keep all it was told to keep since the last look.
fn keep_all(fixture: &mut Fixture) {
    for told in told(fixture) {
        assert_eq!(fixture.ask(keeps(told, ErrorCode::None)), Reply::ShareStateInitialized(()));
    }
}

fn types(records: &[GroupRecord]) -> Vec<(i16, bool)> {
    records.iter().map(|record| (record.key.record_type(), record.value.is_some())).collect()
}

fn parts<const N: usize>(topic: Uuid, partitions: [i32; N]) -> Option<BTreeMap<Uuid, Vec<i32>>> {
    Some(BTreeMap::from([(topic, partitions.to_vec())]))
}

fn describe(fixture: &mut Fixture, group: &'static str) -> DescribedGroup {
    match fixture.ask(Request::ShareGroupDescribe(group.into())) {
        Reply::ShareGroupDescribe(described) => described,
        other => panic!("not a description: {other:?}"),
    }
}

/// A group with one member that shares in all of a topic with `partitions` partitions.
fn settled(fixture: &mut Fixture, partitions: i32) -> Uuid {
    let topic = fixture.topic("queue", partitions);
    stand(fixture, beat("a", 0, Some(&["queue"])));
    keep_all(fixture);
    fixture.seconds(5);
    let (epoch, assigned) = stand(fixture, beat("a", 2, None));
    assert_eq!((epoch, assigned.is_some()), (3, true));
    fixture.seconds(5);
    topic
}

#[test]
fn partitions_are_shared_out_once_the_share_coordinator_keeps_them() {
    let mut fixture = Fixture::new();
    let queue = fixture.topic("queue", 2);
    fixture.records();
    // The first heartbeat finds nothing that can be shared in.
    let (epoch, assigned) = stand(&mut fixture, beat("a", 0, Some(&["queue"])));
    assert_eq!((epoch, assigned), (2, Some(BTreeMap::new())));
    let written = fixture.records();
    // Member, epoch, target of the member and of the group, current assignment, what is on its way.
    let expected = [(10, true), (11, true), (13, true), (12, true), (14, true), (15, true)];
    assert_eq!(types(&written), expected);
    let Some(GroupValue::ShareGroupStatePartitionMetadataValue(value)) = &written[5].value else {
        panic!("not what is shared: {written:?}");
    };
    assert_eq!((value.initializing_topics.len(), value.initialized_topics.len()), (1, 0));
    assert_eq!(value.initializing_topics[0].topic_name, "queue");
    let all = told(&mut fixture);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].0.cause, WorkCause::Subscription);
    assert_eq!(all[0].1, BTreeMap::from([(queue, BTreeMap::from([(0, -1), (1, -1)]))]));
    // As long as that is on its way, nothing is said twice.
    let (epoch, assigned) = stand(&mut fixture, beat("a", 2, None));
    assert_eq!((epoch, assigned), (2, None));
    assert!(told(&mut fixture).is_empty());
    // Once it is kept, the next heartbeat gives it out, after the assignment interval.
    for told in all {
        fixture.ask(keeps(told, ErrorCode::None));
    }
    let (epoch, assigned) = stand(&mut fixture, beat("a", 2, None));
    assert_eq!((epoch, assigned), (2, None), "the target is less than a second old");
    fixture.seconds(1);
    let (epoch, assigned) = stand(&mut fixture, beat("a", 2, None));
    assert_eq!((epoch, assigned), (3, parts(queue, [0, 1])));
    fixture.records();
    // From then on a heartbeat writes nothing.
    fixture.seconds(5);
    assert_eq!(stand(&mut fixture, beat("a", 3, None)), (3, None));
    assert_eq!(fixture.records(), []);
}

#[test]
fn what_the_share_coordinator_refuses_is_tried_again() {
    let mut fixture = Fixture::new();
    fixture.topic("queue", 1);
    stand(&mut fixture, beat("a", 0, Some(&["queue"])));
    let first = told(&mut fixture).remove(0);
    fixture.ask(keeps(first.clone(), ErrorCode::CoordinatorNotAvailable));
    stand(&mut fixture, beat("a", 2, None));
    let second = told(&mut fixture).remove(0);
    assert_eq!(first.1, second.1);
    assert_ne!(first.0.number, second.0.number);
    // Nobody answers: after half a minute it is said once more.
    fixture.seconds(29);
    stand(&mut fixture, beat("a", 2, None));
    assert!(told(&mut fixture).is_empty());
    fixture.seconds(2);
    stand(&mut fixture, beat("a", 2, None));
    // The topic is known already: what is new of it would be read from its beginning, as in Kafka 4.4.
    assert_eq!(told(&mut fixture).remove(0).1.into_values().next(), Some(BTreeMap::from([(0, 0)])));
}

#[test]
fn new_partitions_of_a_shared_topic_are_read_from_their_beginning() {
    let mut fixture = Fixture::new();
    let queue = settled(&mut fixture, 1);
    fixture.partitions(queue, 1..3);
    fixture.seconds(5);
    // The topic's hash has changed, so the epoch has, and the target with it; the new partitions are not kept yet.
    assert_eq!(stand(&mut fixture, beat("a", 3, None)), (4, None));
    let all = told(&mut fixture);
    assert_eq!(all[0].1, BTreeMap::from([(queue, BTreeMap::from([(1, 0), (2, 0)]))]));
    fixture.ask(keeps(all[0].clone(), ErrorCode::None));
    fixture.seconds(5);
    assert_eq!(stand(&mut fixture, beat("a", 4, None)), (5, parts(queue, [0, 1, 2])));
}

#[test]
fn members_share_and_inherit() {
    let mut fixture = Fixture::new();
    let queue = settled(&mut fixture, 2);
    // Two members, two partitions: one each.
    let (epoch, assigned) = stand(&mut fixture, beat("b", 0, Some(&["queue"])));
    assert_eq!(epoch, 4);
    let of_b = assigned.expect("a new member is told").remove(&queue).expect("of the one topic");
    assert_eq!(of_b.len(), 1);
    let (epoch, assigned) = stand(&mut fixture, beat("a", 3, None));
    let of_a = assigned.expect("it has changed").remove(&queue).expect("of the one topic");
    assert_eq!((epoch, of_a.len()), (4, 1));
    assert_ne!(of_a, of_b);
    // A third one shares with somebody; it is batched, for the last target is new.
    let (epoch, assigned) = stand(&mut fixture, beat("c", 0, Some(&["queue"])));
    assert_eq!((epoch, assigned), (4, Some(BTreeMap::new())));
    fixture.seconds(1);
    let (epoch, assigned) = stand(&mut fixture, beat("c", 4, None));
    assert_eq!((epoch, assigned.expect("told")[&queue].len()), (5, 1));
    stand(&mut fixture, beat("a", 4, None));
    stand(&mut fixture, beat("b", 4, None));
    // One leaves, one falls silent: the last one has everything.
    fixture.records();
    let left = heartbeat(&mut fixture, beat("c", -1, None));
    assert_eq!((left.error_code, left.member_epoch, left.member_id), (0, -1, Some("c".into())));
    assert_eq!(types(&fixture.records()), [(14, false), (13, false), (10, false), (11, true)]);
    fixture.seconds(30);
    stand(&mut fixture, beat("a", 5, None));
    fixture.seconds(20);
    assert_eq!(describe(&mut fixture, "g").members.len(), 1);
    let (_, assigned) = stand(&mut fixture, beat("a", 6, None));
    assert_eq!(assigned.expect("told")[&queue], [0, 1]);
}

#[test]
fn the_last_member_leaves_an_empty_group() {
    let mut fixture = Fixture::new();
    let queue = settled(&mut fixture, 1);
    fixture.records();
    fixture.seconds(46);
    let written = fixture.records();
    assert_eq!(types(&written), [(14, false), (13, false), (10, false), (11, true), (12, true)]);
    let Some(GroupValue::ShareGroupTargetAssignmentMetadataValue(value)) = &written[4].value else {
        panic!("not about the target: {written:?}");
    };
    assert_eq!((value.assignment_epoch, value.assignment_timestamp), (4, 0));
    let described = describe(&mut fixture, "g");
    assert_eq!((described.group_state, described.group_epoch), ("Empty".into(), 4));
    // What was kept is still kept: whoever comes next is served at once.
    assert_eq!(stand(&mut fixture, beat("b", 0, Some(&["queue"]))), (5, parts(queue, [0])));
    assert!(told(&mut fixture).is_empty());
}

#[test]
fn the_description_tells_who_shares_in_what() {
    let mut fixture = Fixture::new();
    let queue = settled(&mut fixture, 1);
    let described = describe(&mut fixture, "g");
    assert_eq!((described.error_code, described.group_state, described.group_epoch), (0, "Stable".into(), 3));
    assert_eq!((described.assignment_epoch, described.assignor_name), (3, "simple".into()));
    let member = &described.members[0];
    assert_eq!((&member.member_id, member.member_epoch, &member.rack_id), (&"a".into(), 3, &None));
    assert_eq!((&member.client_id, &member.client_host), (&"c".into(), &"/127.0.0.1".into()));
    assert_eq!(member.subscribed_topic_names, ["queue"]);
    let topic = &member.assignment.topic_partitions[0];
    assert_eq!((topic.topic_id, &topic.topic_name, &topic.partitions), (queue, &"queue".into(), &vec![0]));
    let missing = describe(&mut fixture, "other");
    assert_eq!(missing.error_code, ErrorCode::GroupIdNotFound.code());
    assert_eq!(missing.error_message, Some("Group other not found.".into()));
    assert_eq!(describe(&mut fixture, "").error_code, ErrorCode::InvalidGroupId.code());
}

/// A heartbeat that is refused with this code and these words.
fn refuse(fixture: &mut Fixture, request: Request, code: ErrorCode, words: &str) {
    let response = heartbeat(fixture, request);
    assert_eq!(response.error_code, code.code(), "{:?}", response.error_message);
    assert_eq!(response.error_message.as_deref(), (!words.is_empty()).then_some(words));
}

#[test]
fn whoever_does_not_belong_is_refused_in_kafkas_words() {
    let mut fixture = Fixture::with_settings(&[("group.share.max.size", "1")]);
    fixture.topic("queue", 1);
    let topics: Option<&[&str]> = Some(&["queue"]);
    use ErrorCode::{
        FencedMemberEpoch, GroupIdNotFound, GroupMaxSizeReached, InvalidRequest, UnknownMemberId,
    };
    refuse(&mut fixture, beat("a", 1, None), GroupIdNotFound, "Share group g not found.");
    refuse(&mut fixture, beat("a", -1, None), GroupIdNotFound, "Group g not found.");
    refuse(&mut fixture, beat("", 0, topics), InvalidRequest, "Invalid member id in the request.");
    let long = "0123456789012345678901234567890123456";
    refuse(&mut fixture, beat(long, 0, topics), InvalidRequest, "Invalid member id in the request.");
    refuse(&mut fixture, beat(" ", 0, topics), InvalidRequest, "MemberId can't be empty.");
    let words = "SubscribedTopicNames must be set in first request.";
    refuse(&mut fixture, beat("a", 0, None), InvalidRequest, words);
    refuse(&mut fixture, beat("a", 0, Some(&[])), InvalidRequest, words);
    refuse(&mut fixture, beat("a", -2, None), InvalidRequest, "MemberEpoch is invalid.");
    assert_eq!(stand(&mut fixture, beat("a", 0, topics)).0, 2);
    let words = "The share group has reached its maximum capacity of 1 members.";
    refuse(&mut fixture, beat("b", 0, topics), GroupMaxSizeReached, words);
    refuse(&mut fixture, beat("b", -1, None), UnknownMemberId, "Member b is not a member of group g.");
    let words = "The share group member has a greater member epoch (3) than the one known by the group \
                 coordinator (2). The member must abandon all its partitions and rejoin.";
    refuse(&mut fixture, beat("a", 3, None), FencedMemberEpoch, words);
    // The epoch before is that of a member that has not heard the last answer.
    keep_all(&mut fixture);
    fixture.seconds(1);
    assert_eq!(stand(&mut fixture, beat("a", 2, None)).0, 3);
    assert_eq!(stand(&mut fixture, beat("a", 2, None)), (3, None));
    let words = "The share group member has a smaller member epoch (1) than the one known by the group \
                 coordinator (3), and it does not match the previous member epoch (2). The member must abandon all \
                 its partitions and rejoin.";
    refuse(&mut fixture, beat("a", 1, None), FencedMemberEpoch, words);
    // Whoever joins again is told everything.
    assert!(stand(&mut fixture, beat("a", 0, topics)).1.is_some_and(|it| it.len() == 1));
}

#[test]
fn a_group_of_another_kind_is_no_share_group() {
    let mut fixture = Fixture::new();
    fixture.topic("queue", 1);
    let key = OffsetCommitKey { group: "g".into(), topic: "queue".into(), partition: 0 };
    let value = OffsetCommitValue { offset: 5, commit_timestamp: 1, ..Default::default() };
    fixture.load([GroupRecord::set(GroupKey::OffsetCommitKey(key), GroupValue::OffsetCommitValue(value))]);
    let words = "Group g is not a share group.";
    refuse(&mut fixture, beat("a", 0, Some(&["queue"])), ErrorCode::GroupIdNotFound, words);
    let described = describe(&mut fixture, "g");
    assert_eq!(described.error_code, ErrorCode::GroupIdNotFound.code());
    assert_eq!(described.error_message.as_deref(), Some(words));
    let reply = fixture.ask(alter([("queue", &[(0, 7)])]));
    assert_eq!(altered(Some(reply)), (ErrorCode::GroupIdNotFound.code(), vec![]));
}

#[test]
fn a_subscription_that_no_log_takes_is_refused_before_it_is_kept() {
    let mut fixture = Fixture::new();
    let name: &'static str = "a name that is rather long, as long as names of topics may be, or nearly so";
    let names = vec![name; 10_000];
    refuse(&mut fixture, beat("a", 0, Some(&names)), ErrorCode::UnknownServerError, "");
    assert_eq!(fixture.records(), []);
}

#[test]
fn settings_of_the_group_hold() {
    let mut fixture = Fixture::new();
    fixture.topic("queue", 1);
    fixture.configure("g", "share.heartbeat.interval.ms", "6000");
    fixture.configure("g", "share.session.timeout.ms", "50000");
    fixture.configure("g", "share.assignment.interval.ms", "0");
    let response = heartbeat(&mut fixture, beat("a", 0, Some(&["queue"])));
    assert_eq!(response.heartbeat_interval_ms, 6000);
    keep_all(&mut fixture);
    assert_eq!(stand(&mut fixture, beat("a", 2, None)).0, 3, "nothing is batched");
    fixture.seconds(49);
    assert_eq!(describe(&mut fixture, "g").members.len(), 1);
    fixture.seconds(2);
    assert_eq!(describe(&mut fixture, "g").members.len(), 0);
}

#[test]
fn deleted_topics_are_forgotten_and_unknown_ones_waited_for() {
    let mut fixture = Fixture::new();
    let queue = settled(&mut fixture, 1);
    fixture.seconds(5);
    let (epoch, _) = stand(&mut fixture, beat("a", 3, Some(&["later", "queue"])));
    assert!(told(&mut fixture).is_empty(), "there is no such topic");
    fixture.records();
    fixture.delete_topic(queue);
    assert_eq!(types(&fixture.records()), [(15, true)]);
    fixture.seconds(5);
    let (epoch, assigned) = stand(&mut fixture, beat("a", epoch, None));
    assert_eq!(assigned, Some(BTreeMap::new()), "it was revoked");
    let later = fixture.topic("later", 1);
    fixture.seconds(5);
    let (epoch, _) = stand(&mut fixture, beat("a", epoch, None));
    let all = told(&mut fixture);
    assert_eq!(all[0].1, BTreeMap::from([(later, BTreeMap::from([(0, -1)]))]));
    fixture.ask(keeps(all[0].clone(), ErrorCode::None));
    fixture.seconds(5);
    assert_eq!(stand(&mut fixture, beat("a", epoch, None)).1, parts(later, [0]));
}

#[test]
fn a_lost_seat_knows_what_was_committed_and_gives_everybody_a_session() {
    let mut fixture = Fixture::new();
    let queue = settled(&mut fixture, 1);
    fixture.seconds(35);
    fixture.lose_seat();
    fixture.seconds(40);
    assert_eq!(stand(&mut fixture, beat("a", 3, None)), (3, None));
    fixture.stop_commits();
    let caller = fixture.send(beat("b", 0, Some(&["queue"])));
    assert_eq!(fixture.reply(caller), None);
    assert_eq!(fixture.lose_seat(), [caller]);
    fixture.commit();
    let caller = fixture.send(beat("b", 4, None));
    fixture.commit();
    let Some(Reply::ShareGroupHeartbeat(response)) = fixture.reply(caller) else { panic!("no answer") };
    assert_eq!(response.error_code, ErrorCode::UnknownMemberId.code(), "the join was lost");
    let caller = fixture.send(Request::InitializedSharePartitions("g".into()));
    fixture.commit();
    let kept = BTreeMap::from([(queue, BTreeSet::from([0]))]);
    assert_eq!(fixture.reply(caller), Some(Reply::InitializedSharePartitions(kept)));
}

#[test]
fn an_answer_for_an_earlier_seat_counts_for_the_group() {
    let mut fixture = Fixture::new();
    let queue = fixture.topic("queue", 1);
    stand(&mut fixture, beat("a", 0, Some(&["queue"])));
    let work = told(&mut fixture).remove(0);
    fixture.lose_seat();
    fixture.ask(keeps(work.clone(), ErrorCode::None));
    fixture.seconds(1);
    assert_eq!(stand(&mut fixture, beat("a", 2, None)).1, parts(queue, [0]));
    // Of a group that is gone, or a topic that is, nothing is written.
    fixture.records();
    fixture.delete_topic(queue);
    fixture.records();
    fixture.ask(keeps(work, ErrorCode::None));
    assert_eq!(fixture.records(), []);
}

fn alter<const N: usize>(topics: [(&'static str, &[(i32, i64)]); N]) -> Request {
    let topics = topics.into_iter().map(|(name, partitions)| AlterShareGroupOffsetsRequestTopic {
        topic_name: name.into(),
        partitions: partitions
            .iter()
            .map(|(partition_index, start_offset)| AlterShareGroupOffsetsRequestPartition {
                partition_index: *partition_index,
                start_offset: *start_offset,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    Request::AlterShareGroupOffsets(AlterShareGroupOffsetsRequest {
        group_id: "g".into(),
        topics: topics.collect(),
        ..Default::default()
    })
}

fn altered(reply: Option<Reply>) -> (i16, Vec<(Str, i32, i16)>) {
    let Some(Reply::AlterShareGroupOffsets(AlterShareGroupOffsetsResponse { error_code, responses, .. })) =
        reply
    else {
        panic!("not an answer to an alteration: {reply:?}");
    };
    let partitions = responses.into_iter().flat_map(|topic| {
        let name = topic.topic_name;
        topic.partitions.into_iter().map(move |it| (name.clone(), it.partition_index, it.error_code))
    });
    (error_code, partitions.collect())
}

#[test]
fn where_a_group_reads_is_set_before_it_has_members() {
    let mut fixture = Fixture::new();
    let queue = fixture.topic("queue", 2);
    fixture.records();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    let caller = fixture.send(alter([("queue", &[(0, 7), (5, 1), (-1, 0)]), ("other", &[(0, 1)])]));
    assert_eq!(fixture.reply(caller), None, "the share coordinator is to say something first");
    assert_eq!(types(&fixture.records()), [(15, true)]);
    let work = told(&mut fixture).remove(0);
    assert_eq!(work.0.cause, WorkCause::AlterOffsets);
    assert_eq!(work.1, BTreeMap::from([(queue, BTreeMap::from([(0, 7)]))]));
    fixture.ask(keeps(work, ErrorCode::None));
    let expected = vec![
        ("other".into(), 0, unknown),
        ("queue".into(), 0, 0),
        ("queue".into(), 5, unknown),
        ("queue".into(), -1, unknown),
    ];
    assert_eq!(altered(fixture.reply(caller)), (0, expected));
    assert_eq!(describe(&mut fixture, "g").group_state, "Empty");
    // The first member gets that partition at once, and the other one when it is kept.
    assert_eq!(stand(&mut fixture, beat("a", 0, Some(&["queue"]))), (2, parts(queue, [0])));
    assert_eq!(told(&mut fixture)[0].1, BTreeMap::from([(queue, BTreeMap::from([(1, 0)]))]));
    let reply = fixture.ask(alter([("queue", &[(0, 3)])]));
    assert_eq!(altered(Some(reply)), (ErrorCode::NonEmptyGroup.code(), vec![]));
}

#[test]
fn an_alteration_that_the_share_coordinator_refuses_says_so() {
    let mut fixture = Fixture::new();
    fixture.topic("queue", 1);
    let caller = fixture.send(alter([("queue", &[(0, 7)])]));
    let work = told(&mut fixture).remove(0);
    let (number, group) = (work.0.number, work.0.group.clone());
    fixture.records();
    fixture.ask(keeps(work, ErrorCode::NotCoordinator));
    let code = ErrorCode::NotCoordinator.code();
    assert_eq!(altered(fixture.reply(caller)), (0, vec![("queue".into(), 0, code)]));
    assert_eq!(fixture.records(), []);
    // Hearing the same again changes nothing.
    let again = ShareStateWork { number, group, cause: WorkCause::AlterOffsets };
    fixture.ask(keeps((again, BTreeMap::new()), ErrorCode::None));
    assert_eq!(fixture.records(), []);
    let reply = fixture.ask(alter([("other", &[(0, 7)])]));
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(altered(Some(reply)), (0, vec![("other".into(), 0, unknown)]));
}

fn delete<const N: usize>(topics: [&'static str; N]) -> Request {
    let topic = |name: &'static str| DeleteShareGroupOffsetsRequestTopic {
        topic_name: name.into(),
        ..Default::default()
    };
    Request::DeleteShareGroupOffsets(DeleteShareGroupOffsetsRequest {
        group_id: "g".into(),
        topics: topics.into_iter().map(topic).collect(),
        ..Default::default()
    })
}

fn deleted(reply: Option<Reply>) -> (i16, Vec<(Str, i16)>) {
    let Some(Reply::DeleteShareGroupOffsets(DeleteShareGroupOffsetsResponse {
        error_code, responses, ..
    })) = reply
    else {
        panic!("not an answer to a deletion: {reply:?}");
    };
    (error_code, responses.into_iter().map(|topic| (topic.topic_name, topic.error_code)).collect())
}

/// What the share coordinator was told to forget since the last look, and its answer if it says the same to all.
fn forgets(fixture: &mut Fixture, error: ErrorCode) -> (BTreeMap<Uuid, Vec<i32>>, Request) {
    let mut effects = fixture.effects();
    let Some(Effect::DeleteShareState { work, request }) = effects.pop() else {
        panic!("nothing is to be forgotten");
    };
    assert_eq!(effects, []);
    let topics: BTreeMap<Uuid, Vec<i32>> = request
        .topics
        .into_iter()
        .map(|topic| (topic.topic_id, topic.partitions.into_iter().map(|it| it.partition).collect()))
        .collect();
    let partition = |partition: &i32| delete_share_group_state_response::PartitionResult {
        partition: *partition,
        error_code: error.code(),
        ..Default::default()
    };
    let results = topics.iter().map(|(topic_id, partitions)| DeleteStateResult {
        topic_id: *topic_id,
        partitions: partitions.iter().map(partition).collect(),
        ..Default::default()
    });
    let answer = DeleteShareGroupStateResponse { results: results.collect(), ..Default::default() };
    (topics, Request::ShareStateDeleted(ShareStateDeleted { work, answer }))
}

#[test]
fn a_group_without_members_forgets_topics() {
    let mut fixture = Fixture::new();
    let queue = settled(&mut fixture, 2);
    let reply = fixture.ask(delete(["queue"]));
    assert_eq!(deleted(Some(reply)), (ErrorCode::NonEmptyGroup.code(), vec![]));
    heartbeat(&mut fixture, beat("a", -1, None));
    fixture.topic("never", 1);
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    let caller = fixture.send(delete(["queue", "never", "nowhere"]));
    let (topics, answer) = forgets(&mut fixture, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(topics, BTreeMap::from([(queue, vec![0, 1])]));
    fixture.ask(answer);
    let unavailable = ErrorCode::CoordinatorNotAvailable.code();
    let expected =
        vec![("never".into(), unknown), ("nowhere".into(), unknown), ("queue".into(), unavailable)];
    assert_eq!(deleted(fixture.reply(caller)), (0, expected));
    // It is still to be forgotten, and the second attempt succeeds.
    fixture.records();
    let caller = fixture.send(delete(["queue"]));
    let (topics, answer) = forgets(&mut fixture, ErrorCode::None);
    assert_eq!(topics, BTreeMap::from([(queue, vec![0, 1])]));
    fixture.ask(answer);
    assert_eq!(deleted(fixture.reply(caller)), (0, vec![("queue".into(), 0)]));
    let written = fixture.records();
    let Some(GroupValue::ShareGroupStatePartitionMetadataValue(value)) = &written[1].value else {
        panic!("not what is shared: {written:?}");
    };
    assert!(value.initialized_topics.is_empty() && value.deleting_topics.is_empty());
    // Whoever comes next begins anew.
    stand(&mut fixture, beat("a", 0, Some(&["queue"])));
    assert_eq!(told(&mut fixture)[0].1[&queue], BTreeMap::from([(0, -1), (1, -1)]));
}

fn deleted_group(reply: Option<Reply>) -> ErrorCode {
    let Some(Reply::DeleteGroup(result)) = reply else { panic!("not an answer to a deletion: {reply:?}") };
    assert_eq!((result.group_id.as_str(), &result.error_message), ("g", &None));
    ErrorCode::from_code(result.error_code)
}

#[test]
fn a_group_goes_after_its_state() {
    let mut fixture = Fixture::new();
    let delete = || Request::DeleteGroup("g".into());
    assert_eq!(deleted_group(Some(fixture.ask(delete()))), ErrorCode::GroupIdNotFound);
    let queue = settled(&mut fixture, 2);
    assert_eq!(deleted_group(Some(fixture.ask(delete()))), ErrorCode::NonEmptyGroup);
    heartbeat(&mut fixture, beat("a", -1, None));
    let caller = fixture.send(delete());
    let (topics, answer) = forgets(&mut fixture, ErrorCode::NotCoordinator);
    assert_eq!(topics, BTreeMap::from([(queue, vec![0, 1])]));
    fixture.ask(answer);
    assert_eq!(deleted_group(fixture.reply(caller)), ErrorCode::NotCoordinator);
    assert_eq!(describe(&mut fixture, "g").group_state, "Empty", "it is still there");
    // Whoever comes in between keeps it.
    let caller = fixture.send(delete());
    let (_, answer) = forgets(&mut fixture, ErrorCode::None);
    stand(&mut fixture, beat("b", 0, Some(&["queue"])));
    fixture.effects();
    fixture.ask(answer);
    assert_eq!(deleted_group(fixture.reply(caller)), ErrorCode::NonEmptyGroup);
    heartbeat(&mut fixture, beat("b", -1, None));
    let caller = fixture.send(delete());
    let (topics, answer) = forgets(&mut fixture, ErrorCode::None);
    assert_eq!(topics, BTreeMap::from([(queue, vec![0, 1])]));
    fixture.records();
    fixture.ask(answer);
    assert_eq!(deleted_group(fixture.reply(caller)), ErrorCode::None);
    assert_eq!(types(&fixture.records()), [(12, false), (15, false), (11, false)]);
    assert!(fixture.state().groups.is_empty());
    // A group that the share coordinator knows nothing of goes at once.
    stand(&mut fixture, beat("a", 0, Some(&["nowhere"])));
    heartbeat(&mut fixture, beat("a", -1, None));
    assert_eq!(deleted_group(Some(fixture.ask(delete()))), ErrorCode::None);
}

#[test]
fn records_of_another_kind_of_group_do_not_count() {
    let mut fixture = Fixture::new();
    settled(&mut fixture, 1);
    let records: Vec<GroupRecord> = fixture.records();
    let key = records.iter().find(|record| record.key.record_type() == 11).expect("an epoch").key.clone();
    assert!(matches!(key, GroupKey::ShareGroupMetadataKey(_)));
    // A tombstone of something that is not there.
    let mut other = Fixture::new();
    other.load([GroupRecord::tombstone(key)]);
    assert!(other.state().groups.is_empty());
    // What compaction leaves is in any order; the group is the same.
    let mut compacted: BTreeMap<String, GroupRecord> = BTreeMap::new();
    for record in &records {
        compacted.insert(format!("{:?}", record.key), record.clone());
    }
    let mut other = Fixture::new();
    other.topic("queue", 1);
    other.load(compacted.into_values());
    assert_eq!(format!("{:?}", other.state().groups), format!("{:?}", fixture.state().groups));
}

#[test]
fn why_a_group_rebalanced_is_told() {
    let mut fixture = Fixture::new();
    fixture.topic("t", 2);
    let (first, _) = stand(&mut fixture, beat("m1", 0, Some(&["t"])));
    keep_all(&mut fixture);
    fixture.seconds(2);
    let (second, _) = stand(&mut fixture, beat("m1", first, None));
    fixture.seconds(2);
    let (third, _) = stand(&mut fixture, beat("m2", 0, Some(&["t"])));
    // It has not heard of the second member yet.
    let why = |fixture: &mut Fixture| match fixture.ask(Request::Explain("g".into())) {
        Reply::Explain(told) => told
            .into_iter()
            .map(|it| {
                (it.trigger.name(), it.member.to_string(), it.end.map(|end| (end.generation, end.members)))
            })
            .collect::<Vec<_>>(),
        other => panic!("not why: {other:?}"),
    };
    let joined = |member: &str, end| ("member-joined", member.to_owned(), end);
    let shared = ("topics-changed", "m1".to_owned(), Some((second, 1)));
    assert_eq!(why(&mut fixture), [joined("m1", Some((first, 1))), shared, joined("m2", None)]);

    stand(&mut fixture, beat("m1", second, None));
    assert_eq!(why(&mut fixture).last(), Some(&joined("m2", Some((third, 2)))));

    heartbeat(&mut fixture, beat("m2", -1, None));
    assert_eq!(why(&mut fixture).last(), Some(&("member-left", "m2".to_owned(), None)));
    fixture.seconds(46);
    let expired = ("session-expired", "m1".to_owned(), Some((third + 2, 0)));
    assert_eq!(why(&mut fixture).last(), Some(&expired));
}
