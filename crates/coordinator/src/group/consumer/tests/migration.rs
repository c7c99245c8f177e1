//! Groups that change their kind while they are used, and members of both protocols in one group.

use bytes::Bytes;
use ottla_base::{ErrorCode, Str, Uuid};
use ottla_wire::messages::heartbeat_request::HeartbeatRequest;
use ottla_wire::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use ottla_wire::messages::join_group_response::JoinGroupResponse;
use ottla_wire::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use ottla_wire::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use ottla_wire::messages::sync_group_response::SyncGroupResponse;
use ottla_wire::records::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolAssignmentTopicPartition, ConsumerProtocolSubscription,
    ConsumerProtocolSubscriptionTopicPartition,
};
use ottla_wire::{decode_consumer_protocol, encode_consumer_protocol};

use super::{beat, describe, group, join, kinds, some};
use crate::group::fixture::{Caller, Fixture, client};
use crate::group::state::Group;
use crate::group::{Heartbeat, JoinGroup, LeaveGroup, Reply, Request, SyncGroup};

/// A classic consumer's wish to join.
#[derive(Clone)]
struct Joins {
    member: Str,
    instance: Option<Str>,
    owned: Vec<i32>,
    protocol: &'static str,
}

fn classic(member: &str) -> Joins {
    Joins { member: Str::from(member), instance: None, owned: Vec::new(), protocol: "range" }
}

impl Joins {
    fn instance(mut self, instance: &'static str) -> Joins {
        self.instance = Some(Str::from_static(instance));
        self
    }

    fn owns(mut self, partitions: &[i32]) -> Joins {
        self.owned = partitions.to_vec();
        self
    }

    fn send(self, fixture: &mut Fixture) -> Caller {
        let subscription = ConsumerProtocolSubscription {
            topics: vec!["t".into()],
            owned_partitions: vec![ConsumerProtocolSubscriptionTopicPartition {
                topic: "t".into(),
                partitions: self.owned,
            }],
            ..ConsumerProtocolSubscription::default()
        };
        let metadata = encode_consumer_protocol(&subscription, 3).expect("encodes");
        let protocol =
            JoinGroupRequestProtocol { name: self.protocol.into(), metadata, ..Default::default() };
        let request = JoinGroupRequest {
            group_id: "g".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 20_000,
            member_id: self.member,
            group_instance_id: self.instance,
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            ..JoinGroupRequest::default()
        };
        fixture.send(Request::JoinGroup(JoinGroup { client: client("old", 9), request }))
    }

    fn ask(self, fixture: &mut Fixture) -> JoinGroupResponse {
        let caller = self.send(fixture);
        joined(fixture, caller)
    }
}

fn joined(fixture: &mut Fixture, caller: Caller) -> JoinGroupResponse {
    match fixture.reply(caller) {
        Some(Reply::JoinGroup(response)) => response,
        other => panic!("not the answer to a join: {other:?}"),
    }
}

fn sync(fixture: &mut Fixture, member: &str, generation: i32, given: &[(&str, &[i32])]) -> SyncGroupResponse {
    let assignments = given.iter().map(|(member, partitions)| SyncGroupRequestAssignment {
        member_id: Str::from(*member),
        assignment: embedded(partitions),
        ..Default::default()
    });
    let request = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: Str::from(member),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignments.collect(),
        ..SyncGroupRequest::default()
    };
    match fixture.ask(Request::SyncGroup(SyncGroup { client: client("old", 5), request })) {
        Reply::SyncGroup(response) => response,
        other => panic!("not the answer to a sync: {other:?}"),
    }
}

fn embedded(partitions: &[i32]) -> Bytes {
    let topic =
        ConsumerProtocolAssignmentTopicPartition { topic: "t".into(), partitions: partitions.to_vec() };
    let message = ConsumerProtocolAssignment { assigned_partitions: vec![topic], user_data: None };
    encode_consumer_protocol(&message, 3).expect("encodes")
}

/// The partitions that an answer assigns, and its code.
fn assigned(response: &SyncGroupResponse) -> (i16, Vec<i32>) {
    if response.error_code != 0 {
        return (response.error_code, Vec::new());
    }
    let (message, version) =
        decode_consumer_protocol::<ConsumerProtocolAssignment>(response.assignment.clone()).expect("decodes");
    assert_eq!(version, 3);
    (0, message.assigned_partitions.into_iter().flat_map(|topic| topic.partitions).collect())
}

fn report(fixture: &mut Fixture, member: &str, generation: i32) -> i16 {
    let request = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: Str::from(member),
        ..HeartbeatRequest::default()
    };
    match fixture.ask(Request::Heartbeat(Heartbeat { client: client("old", 4), request })) {
        Reply::Heartbeat(response) => response.error_code,
        other => panic!("not the answer to a heartbeat: {other:?}"),
    }
}

const NONE: i16 = 0;
const REJOIN: i16 = ErrorCode::RebalanceInProgress as i16;

/// A stable classic group with one member, who has the four partitions of a topic in generation 1.
fn classic_group(settings: &[(&str, &str)]) -> (Fixture, Uuid, Str) {
    let mut fixture = Fixture::with_settings(settings);
    let topic = fixture.topic("t", 4);
    let asked = classic("").ask(&mut fixture);
    assert_eq!(asked.error_code, ErrorCode::MemberIdRequired as i16);
    let caller = classic(&asked.member_id).send(&mut fixture);
    fixture.seconds(3);
    let response = joined(&mut fixture, caller);
    assert_eq!((response.error_code, response.generation_id), (0, 1));
    let member = response.member_id;
    let told = sync(&mut fixture, &member, 1, &[(&member, &[0, 1, 2, 3])]);
    assert_eq!(assigned(&told), (0, vec![0, 1, 2, 3]));
    kinds(&mut fixture);
    (fixture, topic, member)
}

fn is_classic(fixture: &Fixture) -> bool {
    matches!(fixture.state().groups.get("g"), Some(Group::Classic(_)))
}

#[test]
fn an_empty_classic_group_becomes_a_consumer_group() {
    let (mut fixture, topic, member) = classic_group(&[]);
    let leaving = MemberIdentity { member_id: member, ..MemberIdentity::default() };
    let request = LeaveGroupRequest { group_id: "g".into(), members: vec![leaving], ..Default::default() };
    fixture.ask(Request::LeaveGroup(LeaveGroup { client: client("old", 5), request }));
    kinds(&mut fixture);
    assert_eq!(join("a", &["t"]).told(&mut fixture), (2, some(&[(topic, &[0, 1, 2, 3])])));
    assert_eq!(kinds(&mut fixture), ["-classic", "member a", "epoch 2", "target a", "target 2", "current a"]);
}

#[test]
fn a_stable_classic_group_becomes_a_consumer_group_and_classic_again() {
    let (mut fixture, topic, member) = classic_group(&[]);
    // The first member with the new protocol takes the group along.
    assert_eq!(join("a", &["t"]).told(&mut fixture), (2, some(&[])));
    let old = format!("member {member}");
    let written = kinds(&mut fixture);
    let (current, target) = (format!("current {member}"), format!("target {member}"));
    assert_eq!(
        written,
        [
            "-classic",
            &old,
            "epoch 1",
            &target,
            "target 1",
            &current,
            "member a",
            "epoch 2",
            "target a",
            &target,
            "target 2",
            "current a"
        ]
    );
    assert!(!is_classic(&fixture));
    let described = describe(&mut fixture, "g");
    let types: Vec<i8> = described.members.iter().map(|member| member.member_type).collect();
    assert_eq!(types.iter().filter(|it| **it == 0).count(), 1);
    // The classic member is told to join again, gives up what it is to, and gets the rest.
    assert_eq!(report(&mut fixture, &member, 1), REJOIN);
    let response = classic(&member).owns(&[0, 1, 2, 3]).ask(&mut fixture);
    assert_eq!((response.error_code, response.generation_id), (0, 1));
    assert_eq!((response.protocol_name.as_deref(), response.leader.as_str()), (Some("range"), ""));
    let kept = assigned(&sync(&mut fixture, &member, 1, &[])).1;
    assert_eq!(kept.len(), 2);
    assert_eq!(report(&mut fixture, &member, 1), REJOIN);
    let response = classic(&member).owns(&kept).ask(&mut fixture);
    assert_eq!((response.error_code, response.generation_id), (0, 2));
    assert_eq!(assigned(&sync(&mut fixture, &member, 2, &[])), (0, kept.clone()));
    assert_eq!(report(&mut fixture, &member, 2), NONE);
    let mut rest = beat("a", 2).told(&mut fixture).1.expect("an assignment");
    let rest = rest.remove(&topic).expect("partitions");
    assert_eq!(kept.iter().chain(&rest).count(), 4);
    assert_eq!(group(&fixture).state_name(), "Stable");
    // A lost seat changes nothing.
    fixture.lose_seat();
    assert_eq!(report(&mut fixture, &member, 2), NONE);
    kinds(&mut fixture);
    // The last one with the new protocol leaves: the group is classic again, and rebalances.
    beat("a", -1).told(&mut fixture);
    assert!(is_classic(&fixture));
    let written = kinds(&mut fixture);
    assert_eq!(written.first().map(String::as_str), Some("-current a"));
    assert_eq!(written[written.len() - 3..], ["-topics", "-epoch", "classic"]);
    assert_eq!(report(&mut fixture, &member, 2), REJOIN);
    let response = classic(&member).owns(&kept).ask(&mut fixture);
    assert_eq!((response.error_code, response.generation_id, &response.leader), (0, 3, &member));
    let told = sync(&mut fixture, &member, 3, &[(&member, &[0, 1, 2, 3])]);
    assert_eq!(assigned(&told), (0, vec![0, 1, 2, 3]));
}

#[test]
fn classic_members_are_checked_as_in_a_classic_group() {
    let (mut fixture, _, member) = classic_group(&[]);
    join("a", &["t"]).ask(&mut fixture);
    assert_eq!(report(&mut fixture, "x", 1), ErrorCode::UnknownMemberId as i16);
    assert_eq!(report(&mut fixture, "a", 2), ErrorCode::UnknownMemberId as i16);
    assert_eq!(report(&mut fixture, &member, 2), ErrorCode::IllegalGeneration as i16);
    assert_eq!(sync(&mut fixture, &member, 1, &[]).error_code, REJOIN);
    let mut other = classic(&member);
    other.protocol = "sticky";
    assert_eq!(other.ask(&mut fixture).error_code, ErrorCode::InconsistentGroupProtocol as i16);
    // Somebody new is given an id first, and joins with it.
    let asked = classic("").ask(&mut fixture);
    assert_eq!(asked.error_code, ErrorCode::MemberIdRequired as i16);
    fixture.seconds(1);
    let response = classic(&asked.member_id).ask(&mut fixture);
    assert_eq!((response.error_code, response.generation_id), (0, 3));
    assert_eq!(group(&fixture).classic_members(), 2);
    // Who joins and does not ask for its assignment is given up, and so is who does not join again.
    for _ in 0..5 {
        fixture.seconds(4);
        report(&mut fixture, &member, 1);
        report(&mut fixture, &asked.member_id, 3);
        beat("a", 2).ask(&mut fixture);
    }
    assert!(group(&fixture).member(&asked.member_id).is_none());
    fixture.seconds(2);
    assert!(group(&fixture).member(&member).is_none());
    assert_eq!(group(&fixture).members().len(), 1);
}

#[test]
fn classic_members_leave_a_consumer_group() {
    let (mut fixture, topic, member) = classic_group(&[]);
    join("a", &["t"]).ask(&mut fixture);
    let leaving = |member_id: Str| MemberIdentity { member_id, ..MemberIdentity::default() };
    let request = LeaveGroupRequest {
        group_id: "g".into(),
        members: vec![leaving("x".into()), leaving(member)],
        ..Default::default()
    };
    let reply = fixture.ask(Request::LeaveGroup(LeaveGroup { client: client("old", 5), request }));
    let Reply::LeaveGroup(response) = reply else { panic!("not the answer to a leave: {reply:?}") };
    let codes: Vec<i16> = response.members.iter().map(|member| member.error_code).collect();
    assert_eq!((response.error_code, codes), (0, vec![ErrorCode::UnknownMemberId as i16, 0]));
    fixture.seconds(1);
    assert_eq!(beat("a", 2).told(&mut fixture), (3, some(&[(topic, &[0, 1, 2, 3])])));
}

#[test]
fn a_static_member_changes_its_protocol_both_ways() {
    let mut fixture = Fixture::new();
    let topic = fixture.topic("t", 2);
    let caller = classic("").instance("i").send(&mut fixture);
    fixture.seconds(3);
    let member = joined(&mut fixture, caller).member_id;
    sync(&mut fixture, &member, 1, &[(&member, &[0, 1])]);
    // It is started anew with the new protocol, and has what it had.
    let told = join("a", &["t"]).instance("i").told(&mut fixture);
    assert_eq!(told, (1, some(&[(topic, &[0, 1])])));
    assert_eq!(group(&fixture).classic_members(), 0);
    // And back: nobody else is there, so the group is classic at once.
    let response = classic("").instance("i").ask(&mut fixture);
    assert_eq!(response.error_code, 0);
    assert!(is_classic(&fixture));
    assert_eq!(report(&mut fixture, &response.member_id, response.generation_id), NONE);
    assert_eq!(
        assigned(&sync(&mut fixture, &response.member_id, response.generation_id, &[])),
        (0, vec![0, 1])
    );
}

#[test]
fn groups_stay_what_they_are_where_the_policy_says_so() {
    let policy = "group.consumer.migration.policy";
    let (mut fixture, ..) = classic_group(&[(policy, "downgrade")]);
    let words = "Cannot upgrade classic group g to consumer group because online upgrade is disabled.";
    join("a", &["t"]).refused(&mut fixture, ErrorCode::GroupIdNotFound, words);
    let words = "Group g is not a consumer group.";
    beat("a", 1).refused(&mut fixture, ErrorCode::GroupIdNotFound, words);

    let (mut fixture, _, member) = classic_group(&[(policy, "upgrade")]);
    join("a", &["t"]).ask(&mut fixture);
    beat("a", -1).ask(&mut fixture);
    assert!(!is_classic(&fixture));
    assert_eq!(group(&fixture).members().keys().collect::<Vec<_>>(), [&member]);

    let mut fixture = Fixture::with_settings(&[(policy, "disabled")]);
    fixture.topic("t", 1);
    join("a", &["t"]).ask(&mut fixture);
    let response = classic("").ask(&mut fixture);
    assert_eq!(response.error_code, ErrorCode::InconsistentGroupProtocol as i16);

    let (mut fixture, ..) =
        classic_group(&[("group.consumer.max.size", "0")].map(|_| ("group.consumer.max.size", "1")));
    let full = join("a", &["t"]).ask(&mut fixture);
    assert_eq!(full.error_code, ErrorCode::GroupMaxSizeReached as i16);
    assert!(is_classic(&fixture));
}

#[test]
fn assignments_of_unknown_assignors_are_not_lost() {
    let mut fixture = Fixture::new();
    fixture.topic("t", 1);
    let caller = classic("").instance("i").send(&mut fixture);
    fixture.seconds(3);
    let member = joined(&mut fixture, caller).member_id;
    let message = ConsumerProtocolAssignment {
        assigned_partitions: Vec::new(),
        user_data: Some(Bytes::from_static(b"mine")),
    };
    let request = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id: member.clone(),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: member,
            assignment: encode_consumer_protocol(&message, 3).expect("encodes"),
            ..Default::default()
        }],
        ..SyncGroupRequest::default()
    };
    fixture.ask(Request::SyncGroup(SyncGroup { client: client("old", 5), request }));
    let response = join("a", &["t"]).ask(&mut fixture);
    assert_eq!(response.error_code, ErrorCode::GroupIdNotFound as i16);
    assert!(response.error_message.is_some_and(|words| words.contains("unsupported custom assignor")));
    assert!(is_classic(&fixture));
}
