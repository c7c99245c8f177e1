//! Classic groups by script, and by seed.

mod offsets;
mod requests;
mod scripts;
mod seeds;

use bytes::Bytes;
use ottla_base::{ErrorCode, Str};
use ottla_wire::messages::heartbeat_request::HeartbeatRequest;
use ottla_wire::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use ottla_wire::messages::join_group_response::JoinGroupResponse;
use ottla_wire::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use ottla_wire::messages::leave_group_response::LeaveGroupResponse;
use ottla_wire::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use ottla_wire::messages::sync_group_response::SyncGroupResponse;
use ottla_wire::records::group::{GroupMetadataValue, GroupValue};

use crate::group::fixture::{Caller, Fixture, client};
use crate::group::{GroupRecord, Heartbeat, JoinGroup, LeaveGroup, Reply, Request, SyncGroup};

/// The latest versions of the requests.
const LATEST: i16 = 9;

/// What a consumer says that reads `topics` (`ConsumerProtocolSubscription`, version 0).
fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1i32).to_be_bytes());
    bytes.into()
}

/// A join of the group `g` by a consumer of the topic `orders` that prefers `range`.
fn joining(member: &str) -> JoinGroupRequest {
    let protocol = |name: &'static str| JoinGroupRequestProtocol {
        name: name.into(),
        metadata: subscription(&["orders"]),
        ..Default::default()
    };
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range"), protocol("roundrobin")],
        ..Default::default()
    }
}

fn static_joining(instance: &'static str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance.into()), ..joining(member) }
}

fn send_join(fixture: &mut Fixture, request: JoinGroupRequest, version: i16) -> Caller {
    fixture.send(Request::JoinGroup(JoinGroup { client: client("c", version), request }))
}

fn joined(fixture: &mut Fixture, caller: Caller) -> JoinGroupResponse {
    match fixture.reply(caller) {
        Some(Reply::JoinGroup(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

/// A member id for somebody without an instance id.
fn member_id(fixture: &mut Fixture) -> Str {
    let caller = send_join(fixture, joining(""), LATEST);
    let reply = joined(fixture, caller);
    assert_eq!(reply.error_code, ErrorCode::MemberIdRequired as i16);
    reply.member_id
}

/// Sends the assignment `to-<member>` for every member.
fn send_sync(fixture: &mut Fixture, member: &str, generation: i32, everybody: &[&str]) -> Caller {
    let assignments = everybody.iter().map(|member| SyncGroupRequestAssignment {
        member_id: Str::from(*member),
        assignment: Bytes::from(format!("to-{member}")),
        ..Default::default()
    });
    let request = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: member.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignments.collect(),
        ..Default::default()
    };
    fixture.send(Request::SyncGroup(SyncGroup { client: client("c", 5), request }))
}

fn synced(fixture: &mut Fixture, caller: Caller) -> SyncGroupResponse {
    match fixture.reply(caller) {
        Some(Reply::SyncGroup(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

fn heartbeat(fixture: &mut Fixture, member: &str, generation: i32) -> ErrorCode {
    heartbeat_of(fixture, member, None, generation)
}

fn heartbeat_of(
    fixture: &mut Fixture,
    member: &str,
    instance: Option<&'static str>,
    generation: i32,
) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: member.into(),
        group_instance_id: instance.map(Str::from_static),
        ..Default::default()
    };
    match fixture.ask(Request::Heartbeat(Heartbeat { client: client("c", 4), request })) {
        Reply::Heartbeat(reply) => ErrorCode::from_code(reply.error_code),
        other => panic!("{other:?}"),
    }
}

fn leave(fixture: &mut Fixture, members: &[(&str, Option<&'static str>)]) -> LeaveGroupResponse {
    let members = members.iter().map(|(member, instance)| MemberIdentity {
        member_id: Str::from(*member),
        group_instance_id: instance.map(Str::from_static),
        reason: Some("the consumer is being closed".into()),
        ..Default::default()
    });
    let request =
        LeaveGroupRequest { group_id: "g".into(), members: members.collect(), ..Default::default() };
    match fixture.ask(Request::LeaveGroup(LeaveGroup { client: client("c", 5), request })) {
        Reply::LeaveGroup(reply) => reply,
        other => panic!("{other:?}"),
    }
}

/// A stable group of `count` members; the first one leads. Says who they are and their generation.
fn stable(fixture: &mut Fixture, count: usize) -> (Vec<Str>, i32) {
    let members: Vec<Str> = (0..count).map(|_| member_id(fixture)).collect();
    let joins: Vec<Caller> =
        members.iter().map(|member| send_join(fixture, joining(member), LATEST)).collect();
    fixture.seconds(10);
    let replies: Vec<JoinGroupResponse> = joins.into_iter().map(|caller| joined(fixture, caller)).collect();
    assert!(replies.iter().all(|it| it.error_code == 0), "{replies:?}");
    let (generation, leader) = (replies[0].generation_id, replies[0].leader.clone());
    settle(fixture, &members, &leader, generation);
    (members, generation)
}

/// Everybody asks for an assignment, the leader brings them.
fn settle(fixture: &mut Fixture, members: &[Str], leader: &str, generation: i32) {
    let everybody: Vec<&str> = members.iter().map(Str::as_str).collect();
    let followers = members.iter().filter(|it| **it != *leader);
    let waiting: Vec<(Str, Caller)> =
        followers.map(|it| (it.clone(), send_sync(fixture, it, generation, &[]))).collect();
    let caller = send_sync(fixture, leader, generation, &everybody);
    let waiting = waiting.into_iter().chain([(Str::from(leader), caller)]);
    for (member, caller) in waiting {
        let reply = synced(fixture, caller);
        assert_eq!(reply.error_code, 0);
        assert_eq!(reply.assignment, Bytes::from(format!("to-{member}")));
    }
}

fn metadata(record: &GroupRecord) -> &GroupMetadataValue {
    match &record.value {
        Some(GroupValue::GroupMetadataValue(value)) => value,
        other => panic!("{other:?}"),
    }
}
