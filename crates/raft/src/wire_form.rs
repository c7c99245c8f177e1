//! The quorum's messages between what they mean and Kafka's schemas: what a server receives and answers.

use bytes::Bytes;
use ottla_base::{ErrorCode, LeaderEpoch, NodeId, Offset, Str, Uuid};
use ottla_wire::messages::add_raft_voter_response::AddRaftVoterResponse;
use ottla_wire::messages::begin_quorum_epoch_request::BeginQuorumEpochRequest;
use ottla_wire::messages::begin_quorum_epoch_response::BeginQuorumEpochResponse;
use ottla_wire::messages::describe_quorum_response::DescribeQuorumResponse;
use ottla_wire::messages::end_quorum_epoch_request::EndQuorumEpochRequest;
use ottla_wire::messages::end_quorum_epoch_response::EndQuorumEpochResponse;
use ottla_wire::messages::fetch_request::FetchRequest;
use ottla_wire::messages::fetch_snapshot_request::FetchSnapshotRequest;
use ottla_wire::messages::remove_raft_voter_response::RemoveRaftVoterResponse;
use ottla_wire::messages::update_raft_voter_response::UpdateRaftVoterResponse;
use ottla_wire::messages::vote_request::VoteRequest;
use ottla_wire::messages::vote_response::VoteResponse;
use ottla_wire::messages::{
    begin_quorum_epoch_response, describe_quorum_request, describe_quorum_response,
    end_quorum_epoch_response, fetch_request, fetch_response, fetch_snapshot_response, vote_response,
};

use crate::ids::{OffsetAndEpoch, ReplicaKey};
use crate::message::{
    AddVoter, BeginQuorumEpoch, EndQuorumEpoch, Fetch, FetchBody, FetchSnapshot, Header, QuorumInfo,
    ReplicaInfo, Request, Response, UpdateVoter, Vote,
};
use crate::message::{FetchResponse, FetchSnapshotResponse, RemoveVoter};
use crate::voters::{Address, Endpoints, Voter};

/// The topic of the metadata log.
const TOPIC: &str = "__cluster_metadata";

/// The one partition of a request, if the request is about the metadata log and nothing else.
macro_rules! only_partition {
    ($request:expr, $name:ident, $index:ident) => {
        match &$request.topics[..] {
            [topic] if topic.$name == TOPIC => match &topic.partitions[..] {
                [partition] if partition.$index == 0 => Ok(partition),
                _ => Err(ErrorCode::InvalidRequest),
            },
            _ => Err(ErrorCode::InvalidRequest),
        }
    };
}

/// Listeners or endpoints with a name, a host and a port each.
macro_rules! endpoints {
    ($listeners:expr) => {
        $listeners
            .iter()
            .map(|it| (it.name.to_string(), Address::new(it.host.as_str(), it.port)))
            .collect::<Endpoints>()
    };
}

fn check_cluster(stated: &Option<Str>, cluster_id: &str) -> Result<(), ErrorCode> {
    match stated {
        Some(stated) if stated != cluster_id => Err(ErrorCode::InconsistentClusterId),
        _ => Ok(()),
    }
}

fn replica(id: i32, directory: Uuid) -> ReplicaKey {
    ReplicaKey::new(NodeId(id), directory)
}

fn named(id: i32, directory: Uuid) -> Option<ReplicaKey> {
    (id >= 0).then(|| replica(id, directory))
}

fn place(offset: i64, epoch: i32) -> OffsetAndEpoch {
    OffsetAndEpoch::new(Offset(offset), LeaderEpoch(epoch))
}

impl Request {
    /// What a request of Kafka's protocol asks of the quorum of `cluster_id`; or the code with which it is refused
    /// as a whole. Requests that are not the quorum's are invalid.
    pub fn from_wire(request: &ottla_wire::Request, cluster_id: &str) -> Result<Request, ErrorCode> {
        use ottla_wire::Request as Wire;
        match request {
            Wire::Vote(it) => vote(it, cluster_id),
            Wire::BeginQuorumEpoch(it) => begin_quorum_epoch(it, cluster_id),
            Wire::EndQuorumEpoch(it) => end_quorum_epoch(it, cluster_id),
            Wire::Fetch(it) => fetch(it, cluster_id),
            Wire::FetchSnapshot(it) => fetch_snapshot(it, cluster_id),
            Wire::DescribeQuorum(it) => only_partition!(it, topic_name, partition_index)
                .map(|_| Request::DescribeQuorum)
                .map_err(|_| ErrorCode::UnknownTopicOrPartition),
            Wire::AddRaftVoter(it) => {
                check_cluster(&it.cluster_id, cluster_id)?;
                Ok(Request::AddVoter(AddVoter {
                    voter: replica(it.voter_id, it.voter_directory_id),
                    endpoints: endpoints!(it.listeners),
                    ack_when_committed: it.ack_when_committed,
                }))
            }
            Wire::RemoveRaftVoter(it) => {
                check_cluster(&it.cluster_id, cluster_id)?;
                Ok(Request::RemoveVoter(RemoveVoter { voter: replica(it.voter_id, it.voter_directory_id) }))
            }
            Wire::UpdateRaftVoter(it) => {
                check_cluster(&it.cluster_id, cluster_id)?;
                let versions = &it.k_raft_version_feature;
                let voter = Voter {
                    key: replica(it.voter_id, it.voter_directory_id),
                    endpoints: endpoints!(it.listeners),
                    kraft_versions: (versions.min_supported_version, versions.max_supported_version),
                };
                Ok(Request::UpdateVoter(UpdateVoter { epoch: LeaderEpoch(it.current_leader_epoch), voter }))
            }
            _ => Err(ErrorCode::InvalidRequest),
        }
    }
}

fn vote(request: &VoteRequest, cluster_id: &str) -> Result<Request, ErrorCode> {
    check_cluster(&request.cluster_id, cluster_id)?;
    let it = only_partition!(request, topic_name, partition_index)?;
    Ok(Request::Vote(Vote {
        voter: named(request.voter_id, it.voter_directory_id),
        candidate: replica(it.replica_id, it.replica_directory_id),
        epoch: LeaderEpoch(it.replica_epoch),
        last: place(it.last_offset, it.last_offset_epoch),
        pre_vote: it.pre_vote,
    }))
}

fn begin_quorum_epoch(request: &BeginQuorumEpochRequest, cluster_id: &str) -> Result<Request, ErrorCode> {
    check_cluster(&request.cluster_id, cluster_id)?;
    let it = only_partition!(request, topic_name, partition_index)?;
    Ok(Request::BeginQuorumEpoch(BeginQuorumEpoch {
        voter: named(request.voter_id, it.voter_directory_id),
        leader: NodeId(it.leader_id),
        epoch: LeaderEpoch(it.leader_epoch),
        endpoints: endpoints!(request.leader_endpoints),
    }))
}

fn end_quorum_epoch(request: &EndQuorumEpochRequest, cluster_id: &str) -> Result<Request, ErrorCode> {
    check_cluster(&request.cluster_id, cluster_id)?;
    let it = only_partition!(request, topic_name, partition_index)?;
    let candidates = it.preferred_candidates.iter();
    let mut successors: Vec<ReplicaKey> =
        candidates.map(|it| replica(it.candidate_id, it.candidate_directory_id)).collect();
    if successors.is_empty() {
        // Version 0 knows nodes only.
        successors = it.preferred_successors.iter().map(|id| replica(*id, Uuid::ZERO)).collect();
    }
    Ok(Request::EndQuorumEpoch(EndQuorumEpoch {
        leader: NodeId(it.leader_id),
        epoch: LeaderEpoch(it.leader_epoch),
        successors,
        endpoints: endpoints!(request.leader_endpoints),
    }))
}

fn fetch(request: &FetchRequest, cluster_id: &str) -> Result<Request, ErrorCode> {
    check_cluster(&request.cluster_id, cluster_id)?;
    let is_metadata = |topic: &fetch_request::FetchTopic| {
        topic.topic_id == Uuid::METADATA_TOPIC || (topic.topic_id.is_zero() && topic.topic == TOPIC)
    };
    let [topic] = &request.topics[..] else { return Err(ErrorCode::InvalidRequest) };
    let ([it], true) = (&topic.partitions[..], is_metadata(topic)) else {
        return Err(ErrorCode::InvalidRequest);
    };
    if it.partition != 0 {
        return Err(ErrorCode::InvalidRequest);
    }
    // Up to version 14 the node is a field of its own.
    let id = request.replica_id.max(request.replica_state.replica_id);
    Ok(Request::Fetch(Fetch {
        replica: replica(id, it.replica_directory_id),
        epoch: LeaderEpoch(it.current_leader_epoch),
        from: place(it.fetch_offset, it.last_fetched_epoch),
        high_watermark: Offset(it.high_watermark),
        max_wait_ms: request.max_wait_ms,
        max_bytes: request.max_bytes.max(0),
    }))
}

fn fetch_snapshot(request: &FetchSnapshotRequest, cluster_id: &str) -> Result<Request, ErrorCode> {
    check_cluster(&request.cluster_id, cluster_id)?;
    let it = only_partition!(request, name, partition)?;
    Ok(Request::FetchSnapshot(FetchSnapshot {
        replica: replica(request.replica_id, it.replica_directory_id),
        epoch: LeaderEpoch(it.current_leader_epoch),
        snapshot: place(it.snapshot_id.end_offset, it.snapshot_id.epoch),
        position: it.position,
        max_bytes: request.max_bytes.max(0),
    }))
}

/// The leader's address on one listener, as `node_endpoints` of a response that knows them.
macro_rules! node_endpoints {
    ($module:ident, $header:expr, $listener:expr, $knows:expr) => {
        match ($header.leader, $header.endpoints.address($listener)) {
            (Some(leader), Some(address)) if $knows => vec![$module::NodeEndpoint {
                node_id: leader.0,
                host: Str::from(address.host.as_str()),
                port: address.port.into(),
                ..Default::default()
            }],
            _ => Vec::new(),
        }
    };
}

/// A response that says nothing but who leads.
macro_rules! leader_response {
    ($variant:ident, $module:ident, $response:ident, $header:expr, $listener:expr, $version:expr) => {
        ottla_wire::Response::$variant($module::$response {
            topics: vec![$module::TopicData {
                topic_name: Str::from_static(TOPIC),
                partitions: vec![$module::PartitionData {
                    error_code: $header.error.code(),
                    leader_id: $header.leader.unwrap_or(NodeId::NONE).0,
                    leader_epoch: $header.epoch.0,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            node_endpoints: node_endpoints!($module, $header, $listener, $version >= 1),
            ..Default::default()
        })
    };
}

impl Response<Bytes> {
    /// The response of Kafka's protocol to `request`, which came in `version` over `listener`.
    pub fn into_wire(
        self,
        request: &ottla_wire::Request,
        version: i16,
        listener: &str,
    ) -> ottla_wire::Response {
        use ottla_wire::Response as Wire;
        match self {
            Response::Refused(error) => refused(request, error),
            Response::Vote { header, granted } => {
                let mut response =
                    leader_response!(Vote, vote_response, VoteResponse, header, listener, version);
                if let Wire::Vote(response) = &mut response {
                    response.topics[0].partitions[0].vote_granted = granted;
                }
                response
            }
            Response::BeginQuorumEpoch(header) => leader_response!(
                BeginQuorumEpoch,
                begin_quorum_epoch_response,
                BeginQuorumEpochResponse,
                header,
                listener,
                version
            ),
            Response::EndQuorumEpoch(header) => leader_response!(
                EndQuorumEpoch,
                end_quorum_epoch_response,
                EndQuorumEpochResponse,
                header,
                listener,
                version
            ),
            Response::Fetch(it) => Wire::Fetch(fetch_response(it, listener, version)),
            Response::FetchSnapshot(it) => Wire::FetchSnapshot(snapshot_response(it, listener, version)),
            Response::DescribeQuorum(info) => Wire::DescribeQuorum(describe_response(info, version)),
            Response::AddVoter(error, words) => Wire::AddRaftVoter(AddRaftVoterResponse {
                error_code: error.code(),
                error_message: words.map(Str::from),
                ..Default::default()
            }),
            Response::RemoveVoter(error, words) => Wire::RemoveRaftVoter(RemoveRaftVoterResponse {
                error_code: error.code(),
                error_message: words.map(Str::from),
                ..Default::default()
            }),
            Response::UpdateVoter(header) => Wire::UpdateRaftVoter(update_response(&header, listener)),
            // Neither comes from a request that this module lets in.
            Response::UpgradeKRaftVersion(..) | Response::ApiVersions(_) => {
                refused(request, ErrorCode::InvalidRequest)
            }
        }
    }
}

/// The request as a whole is refused.
fn refused(request: &ottla_wire::Request, error: ErrorCode) -> ottla_wire::Response {
    use ottla_wire::{Request, Response as Wire};
    let error_code = error.code();
    match request {
        Request::BeginQuorumEpoch(_) => {
            Wire::BeginQuorumEpoch(BeginQuorumEpochResponse { error_code, ..Default::default() })
        }
        Request::EndQuorumEpoch(_) => {
            Wire::EndQuorumEpoch(EndQuorumEpochResponse { error_code, ..Default::default() })
        }
        Request::Fetch(_) => Wire::Fetch(fetch_response::FetchResponse { error_code, ..Default::default() }),
        Request::FetchSnapshot(_) => Wire::FetchSnapshot(fetch_snapshot_response::FetchSnapshotResponse {
            error_code,
            ..Default::default()
        }),
        Request::DescribeQuorum(it) => {
            let partition = |partition: &describe_quorum_request::PartitionData| {
                describe_quorum_response::PartitionData {
                    partition_index: partition.partition_index,
                    error_code,
                    ..Default::default()
                }
            };
            let topic = |topic: &describe_quorum_request::TopicData| describe_quorum_response::TopicData {
                topic_name: topic.topic_name.clone(),
                partitions: topic.partitions.iter().map(partition).collect(),
                ..Default::default()
            };
            let topics = it.topics.iter().map(topic).collect();
            Wire::DescribeQuorum(DescribeQuorumResponse { topics, ..Default::default() })
        }
        Request::AddRaftVoter(_) => Wire::AddRaftVoter(AddRaftVoterResponse {
            error_code,
            error_message: Some(Str::from_static(error.message())),
            ..Default::default()
        }),
        Request::RemoveRaftVoter(_) => Wire::RemoveRaftVoter(RemoveRaftVoterResponse {
            error_code,
            error_message: Some(Str::from_static(error.message())),
            ..Default::default()
        }),
        Request::UpdateRaftVoter(_) => {
            Wire::UpdateRaftVoter(UpdateRaftVoterResponse { error_code, ..Default::default() })
        }
        _ => Wire::Vote(VoteResponse { error_code, ..Default::default() }),
    }
}

fn fetch_response(
    response: FetchResponse<Bytes>,
    listener: &str,
    version: i16,
) -> fetch_response::FetchResponse {
    use fetch_response::{
        EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData, SnapshotId,
    };
    let FetchResponse { header, high_watermark, log_start, body } = response;
    let mut partition = PartitionData {
        error_code: header.error.code(),
        high_watermark: high_watermark.0,
        log_start_offset: log_start.0,
        records: Some(Bytes::new()),
        ..Default::default()
    };
    if version >= 12 {
        partition.current_leader = LeaderIdAndEpoch {
            leader_id: header.leader.unwrap_or(NodeId::NONE).0,
            leader_epoch: header.epoch.0,
            ..Default::default()
        };
    }
    match body {
        FetchBody::Records(records) => partition.records = Some(records),
        FetchBody::Diverging(end) => {
            let (epoch, end_offset) = (end.epoch.0, end.offset.0);
            partition.diverging_epoch = EpochEndOffset { epoch, end_offset, ..Default::default() };
        }
        FetchBody::Snapshot(id) => {
            let (end_offset, epoch) = (id.offset.0, id.epoch.0);
            partition.snapshot_id = SnapshotId { end_offset, epoch, ..Default::default() };
        }
    }
    fetch_response::FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: if version <= 12 { Str::from_static(TOPIC) } else { Str::default() },
            topic_id: if version <= 12 { Uuid::ZERO } else { Uuid::METADATA_TOPIC },
            partitions: vec![partition],
            ..Default::default()
        }],
        node_endpoints: node_endpoints!(fetch_response, header, listener, version >= 17),
        ..Default::default()
    }
}

fn snapshot_response(
    response: FetchSnapshotResponse<Bytes>,
    listener: &str,
    version: i16,
) -> fetch_snapshot_response::FetchSnapshotResponse {
    use fetch_snapshot_response::{LeaderIdAndEpoch, PartitionSnapshot, SnapshotId, TopicSnapshot};
    let FetchSnapshotResponse { header, snapshot, size, position, bytes } = response;
    let mut partition = PartitionSnapshot {
        error_code: header.error.code(),
        current_leader: LeaderIdAndEpoch {
            leader_id: header.leader.unwrap_or(NodeId::NONE).0,
            leader_epoch: header.epoch.0,
            ..Default::default()
        },
        ..Default::default()
    };
    if header.error.is_none() {
        let (end_offset, epoch) = (snapshot.offset.0, snapshot.epoch.0);
        partition.snapshot_id = SnapshotId { end_offset, epoch, ..Default::default() };
        (partition.size, partition.position, partition.unaligned_records) = (size, position, bytes);
    }
    fetch_snapshot_response::FetchSnapshotResponse {
        topics: vec![TopicSnapshot {
            name: Str::from_static(TOPIC),
            partitions: vec![partition],
            ..Default::default()
        }],
        node_endpoints: node_endpoints!(fetch_snapshot_response, header, listener, version >= 1),
        ..Default::default()
    }
}

fn describe_response(info: Result<QuorumInfo, ErrorCode>, version: i16) -> DescribeQuorumResponse {
    use describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
    let state = |info: &ReplicaInfo| ReplicaState {
        replica_id: info.key.id.0,
        replica_directory_id: if version >= 2 { info.key.directory } else { Uuid::ZERO },
        log_end_offset: info.log_end.0,
        last_fetch_timestamp: info.last_fetch.0,
        last_caught_up_timestamp: info.last_caught_up.0,
        ..Default::default()
    };
    let mut nodes = Vec::new();
    let partition = match info {
        Err(error) => PartitionData {
            error_code: error.code(),
            error_message: (version >= 2).then(|| Str::from_static(error.message())),
            ..Default::default()
        },
        Ok(info) => {
            if version >= 2 {
                let listener = |(name, address): (&str, &Address)| Listener {
                    name: Str::from(name),
                    host: Str::from(address.host.as_str()),
                    port: address.port,
                    ..Default::default()
                };
                let node = |(id, endpoints): &(NodeId, Endpoints)| Node {
                    node_id: id.0,
                    listeners: endpoints.iter().map(listener).collect(),
                    ..Default::default()
                };
                nodes = info.nodes.iter().map(node).collect();
            }
            PartitionData {
                leader_id: info.leader.0,
                leader_epoch: info.epoch.0,
                high_watermark: info.high_watermark.0,
                current_voters: info.voters.iter().map(state).collect(),
                observers: info.observers.iter().map(state).collect(),
                ..Default::default()
            }
        }
    };
    let topic_name = Str::from_static(TOPIC);
    let topics = vec![TopicData { topic_name, partitions: vec![partition], ..Default::default() }];
    DescribeQuorumResponse { topics, nodes, ..Default::default() }
}

fn update_response(header: &Header, listener: &str) -> UpdateRaftVoterResponse {
    let mut response = UpdateRaftVoterResponse { error_code: header.error.code(), ..Default::default() };
    response.current_leader.leader_id = header.leader.unwrap_or(NodeId::NONE).0;
    response.current_leader.leader_epoch = header.epoch.0;
    if let Some(address) = header.endpoints.address(listener) {
        response.current_leader.host = Str::from(address.host.as_str());
        response.current_leader.port = address.port.into();
    }
    response
}
