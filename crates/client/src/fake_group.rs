//! A group of one on the fake brokers: in both protocols, with offsets; its coordinator moves, forgets and fences as
//! told.

use std::collections::BTreeMap;

use ottla_base::{ErrorCode, Str};
use ottla_wire::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use ottla_wire::messages::consumer_group_heartbeat_response::{
    Assignment, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use ottla_wire::messages::find_coordinator_request::FindCoordinatorRequest;
use ottla_wire::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use ottla_wire::messages::heartbeat_request::HeartbeatRequest;
use ottla_wire::messages::heartbeat_response::HeartbeatResponse;
use ottla_wire::messages::join_group_request::JoinGroupRequest;
use ottla_wire::messages::join_group_response::{JoinGroupResponse, JoinGroupResponseMember};
use ottla_wire::messages::leave_group_request::LeaveGroupRequest;
use ottla_wire::messages::leave_group_response::LeaveGroupResponse;
use ottla_wire::messages::offset_commit_request::OffsetCommitRequest;
use ottla_wire::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use ottla_wire::messages::offset_fetch_request::OffsetFetchRequest;
use ottla_wire::messages::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use ottla_wire::messages::sync_group_request::SyncGroupRequest;
use ottla_wire::messages::sync_group_response::SyncGroupResponse;

use crate::fake_broker::{State, TOPIC, TOPIC_ID};

/// A group with at most one member.
#[derive(Debug, Default)]
pub(crate) struct FakeGroup {
    pub(crate) member: Option<Str>,
    pub(crate) generation: i32,
    pub(crate) offsets: BTreeMap<i32, i64>,
    /// How often a member left.
    pub(crate) left: u32,
    members_made: u32,
    pub(crate) coordinator: usize,
}

impl State {
    /// What goes wrong in a group now and then.
    fn group_fault(&mut self, at: usize) -> ErrorCode {
        if self.goes_wrong() {
            let brokers = self.ports.len();
            match self.random(5) {
                0 => self.group.coordinator = (self.group.coordinator + 1) % brokers,
                1 => return ErrorCode::CoordinatorLoadInProgress,
                2 => self.group.member = None,
                3 => return ErrorCode::CoordinatorNotAvailable,
                _ => {}
            }
        }
        if self.group.coordinator == at { ErrorCode::None } else { ErrorCode::NotCoordinator }
    }

    fn member_fault(&self, member: &Str, generation: i32) -> ErrorCode {
        match &self.group.member {
            Some(known) if known != member => ErrorCode::UnknownMemberId,
            None => ErrorCode::UnknownMemberId,
            Some(_) if generation != self.group.generation => ErrorCode::IllegalGeneration,
            Some(_) => ErrorCode::None,
        }
    }

    pub(crate) fn find_coordinator(&mut self, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
        let code = if self.goes_wrong() { ErrorCode::CoordinatorNotAvailable } else { ErrorCode::None };
        let at = match request.key_type {
            1 => self.transaction_coordinator(),
            _ => self.group.coordinator,
        };
        let coordinators = request.coordinator_keys.iter().map(|key| Coordinator {
            key: key.clone(),
            node_id: at as i32,
            host: "127.0.0.1".into(),
            port: self.ports[at].into(),
            error_code: code.code(),
            ..Coordinator::default()
        });
        FindCoordinatorResponse { coordinators: coordinators.collect(), ..FindCoordinatorResponse::default() }
    }

    pub(crate) fn join(&mut self, at: usize, request: JoinGroupRequest) -> JoinGroupResponse {
        let mut answer = JoinGroupResponse { protocol_name: Some(Str::default()), ..Default::default() };
        let fault = self.group_fault(at);
        if fault != ErrorCode::None {
            answer.error_code = fault.code();
            return answer;
        }
        let group = &mut self.group;
        if request.member_id.is_empty() {
            group.members_made += 1;
            answer.member_id = format!("member-{}", group.members_made).as_str().into();
            group.member = Some(answer.member_id.clone());
            answer.error_code = ErrorCode::MemberIdRequired.code();
            return answer;
        }
        if group.member.as_ref() != Some(&request.member_id) {
            answer.error_code = ErrorCode::UnknownMemberId.code();
            return answer;
        }
        group.generation += 1;
        let protocol = &request.protocols[0];
        JoinGroupResponse {
            generation_id: group.generation,
            protocol_type: Some("consumer".into()),
            protocol_name: Some(protocol.name.clone()),
            leader: request.member_id.clone(),
            member_id: request.member_id.clone(),
            members: vec![JoinGroupResponseMember {
                member_id: request.member_id.clone(),
                metadata: protocol.metadata.clone(),
                ..JoinGroupResponseMember::default()
            }],
            ..JoinGroupResponse::default()
        }
    }

    pub(crate) fn sync(&mut self, at: usize, request: SyncGroupRequest) -> SyncGroupResponse {
        let mut code = self.group_fault(at);
        if code == ErrorCode::None {
            code = self.member_fault(&request.member_id, request.generation_id);
        }
        let given = request.assignments.iter().find(|it| it.member_id == request.member_id);
        SyncGroupResponse {
            error_code: code.code(),
            protocol_type: Some("consumer".into()),
            protocol_name: request.protocol_name.clone(),
            assignment: given.map(|it| it.assignment.clone()).unwrap_or_default(),
            ..SyncGroupResponse::default()
        }
    }

    pub(crate) fn heartbeat(&mut self, at: usize, request: HeartbeatRequest) -> HeartbeatResponse {
        let mut code = self.group_fault(at);
        if code == ErrorCode::None {
            code = self.member_fault(&request.member_id, request.generation_id);
        }
        if code == ErrorCode::None && self.goes_wrong() {
            code = ErrorCode::RebalanceInProgress;
        }
        HeartbeatResponse { error_code: code.code(), ..HeartbeatResponse::default() }
    }

    pub(crate) fn leave(&mut self, request: LeaveGroupRequest) -> LeaveGroupResponse {
        if request.members.iter().any(|it| Some(&it.member_id) == self.group.member.as_ref()) {
            self.group.member = None;
            self.group.left += 1;
        }
        LeaveGroupResponse::default()
    }

    pub(crate) fn consumer_heartbeat(
        &mut self,
        at: usize,
        request: ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        let mut answer = ConsumerGroupHeartbeatResponse { heartbeat_interval_ms: 5, ..Default::default() };
        let fault = self.group_fault(at);
        let partitions = self.logs.len() as i32;
        let fenced = self.goes_wrong();
        let group = &mut self.group;
        let mut code = fault;
        if code == ErrorCode::None && request.member_epoch == 0 {
            assert_eq!(request.topic_partitions.as_deref(), Some(&[][..]), "who joins has nothing");
            group.member = Some(request.member_id.clone());
            group.generation += 1;
        } else if code == ErrorCode::None && group.member.as_ref() != Some(&request.member_id) {
            code = ErrorCode::UnknownMemberId;
        } else if code == ErrorCode::None && request.member_epoch < 0 {
            group.member = None;
            group.left += 1;
        } else if code == ErrorCode::None && (fenced || request.member_epoch != group.generation) {
            code = ErrorCode::FencedMemberEpoch;
        }
        let all = TopicPartitions {
            topic_id: TOPIC_ID,
            partitions: (0..partitions).collect(),
            ..TopicPartitions::default()
        };
        answer.error_code = code.code();
        answer.member_id = Some(request.member_id.clone());
        answer.member_epoch = group.generation;
        if code == ErrorCode::None && request.member_epoch == 0 {
            answer.assignment = Some(Assignment { topic_partitions: vec![all], ..Assignment::default() });
        }
        answer
    }

    pub(crate) fn commit(&mut self, at: usize, request: OffsetCommitRequest) -> OffsetCommitResponse {
        let mut code = self.group_fault(at);
        if code == ErrorCode::None && !request.member_id.is_empty() {
            code = self.member_fault(&request.member_id, request.generation_id_or_member_epoch);
        }
        let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
            name: TOPIC.into(),
            topic_id: TOPIC_ID,
            partitions: topic
                .partitions
                .iter()
                .map(|it| {
                    if code == ErrorCode::None {
                        self.group.offsets.insert(it.partition_index, it.committed_offset);
                    }
                    OffsetCommitResponsePartition {
                        partition_index: it.partition_index,
                        error_code: code.code(),
                        ..OffsetCommitResponsePartition::default()
                    }
                })
                .collect(),
            ..OffsetCommitResponseTopic::default()
        });
        OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
    }

    pub(crate) fn committed(&mut self, at: usize, request: OffsetFetchRequest) -> OffsetFetchResponse {
        let code = self.group_fault(at);
        let groups = request.groups.iter().map(|group| {
            let topics = group.topics.iter().flatten().map(|topic| OffsetFetchResponseTopics {
                name: TOPIC.into(),
                topic_id: TOPIC_ID,
                partitions: topic
                    .partition_indexes
                    .iter()
                    .map(|index| OffsetFetchResponsePartitions {
                        partition_index: *index,
                        committed_offset: self.group.offsets.get(index).copied().unwrap_or(-1),
                        ..OffsetFetchResponsePartitions::default()
                    })
                    .collect(),
                ..OffsetFetchResponseTopics::default()
            });
            OffsetFetchResponseGroup {
                group_id: group.group_id.clone(),
                topics: topics.collect(),
                error_code: code.code(),
                ..OffsetFetchResponseGroup::default()
            }
        });
        OffsetFetchResponse { groups: groups.collect(), ..OffsetFetchResponse::default() }
    }
}
