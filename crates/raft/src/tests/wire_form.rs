//! Messages mean what Kafka's schemas say, in every version.

use bytes::Bytes;
use ottla_base::{ErrorCode, LeaderEpoch, NodeId, Offset, Uuid};
use ottla_wire::messages::{fetch_request, fetch_snapshot_request, vote_request};
use ottla_wire::{ApiKey, Reader, Request as WireRequest, Writer};

use crate::ids::{OffsetAndEpoch, ReplicaKey};
use crate::message::{FetchBody, FetchResponse, FetchSnapshotResponse, Header, Request, Response};
use crate::voters::{Address, Endpoints};

fn header(error: ErrorCode) -> Header {
    Header {
        error,
        leader: Some(NodeId(3)),
        epoch: LeaderEpoch(9),
        endpoints: Endpoints::one("CONTROLLER", Address::new("host", 9093)),
    }
}

fn vote() -> WireRequest {
    let partition = vote_request::PartitionData {
        replica_id: 2,
        replica_epoch: 8,
        replica_directory_id: Uuid::from_number(22),
        last_offset: 100,
        last_offset_epoch: 7,
        pre_vote: true,
        ..Default::default()
    };
    let topic_name = "__cluster_metadata".into();
    let topics =
        vec![vote_request::TopicData { topic_name, partitions: vec![partition], ..Default::default() }];
    WireRequest::Vote(vote_request::VoteRequest {
        topics,
        cluster_id: Some("c".into()),
        ..Default::default()
    })
}

#[test]
fn a_vote_is_understood() {
    let Ok(Request::Vote(vote)) = Request::from_wire(&vote(), "c") else { panic!("another request") };
    assert_eq!(vote.candidate, ReplicaKey::new(NodeId(2), Uuid::from_number(22)));
    assert_eq!(vote.last, OffsetAndEpoch::new(Offset(100), LeaderEpoch(7)));
    assert_eq!((vote.epoch, vote.pre_vote, vote.voter), (LeaderEpoch(8), true, None));
}

#[test]
fn what_is_not_about_this_quorum_is_refused() {
    assert_eq!(Request::from_wire(&vote(), "d"), Err(ErrorCode::InconsistentClusterId));
    let WireRequest::Vote(mut other) = vote() else { panic!("another request") };
    other.topics[0].topic_name = "topic".into();
    let other = WireRequest::Vote(other);
    assert_eq!(Request::from_wire(&other, "c"), Err(ErrorCode::InvalidRequest));
    for topics in [vec![], vec![fetch_request::FetchTopic::default()]] {
        let fetch = WireRequest::Fetch(fetch_request::FetchRequest { topics, ..Default::default() });
        assert_eq!(Request::from_wire(&fetch, "c"), Err(ErrorCode::InvalidRequest));
    }
}

#[test]
fn every_answer_can_be_written_in_every_version() {
    let fetch = || {
        let partition = fetch_request::FetchPartition::default();
        let topic_id = Uuid::METADATA_TOPIC;
        let topics =
            vec![fetch_request::FetchTopic { topic_id, partitions: vec![partition], ..Default::default() }];
        WireRequest::Fetch(fetch_request::FetchRequest { topics, ..Default::default() })
    };
    let id = OffsetAndEpoch::new(Offset(5), LeaderEpoch(2));
    let answers: Vec<(WireRequest, ApiKey, Response<Bytes>)> = vec![
        (vote(), ApiKey::Vote, Response::Vote { header: header(ErrorCode::None), granted: true }),
        (vote(), ApiKey::Vote, Response::Refused(ErrorCode::InconsistentClusterId)),
        (vote(), ApiKey::BeginQuorumEpoch, Response::BeginQuorumEpoch(header(ErrorCode::FencedLeaderEpoch))),
        (vote(), ApiKey::EndQuorumEpoch, Response::EndQuorumEpoch(header(ErrorCode::None))),
        (
            fetch(),
            ApiKey::Fetch,
            Response::Fetch(FetchResponse {
                header: header(ErrorCode::None),
                high_watermark: Offset(4),
                log_start: Offset(0),
                body: FetchBody::Records(Bytes::from_static(b"batches")),
            }),
        ),
        (
            WireRequest::FetchSnapshot(fetch_snapshot_request::FetchSnapshotRequest::default()),
            ApiKey::FetchSnapshot,
            Response::FetchSnapshot(FetchSnapshotResponse {
                header: header(ErrorCode::None),
                snapshot: id,
                size: 100,
                position: 10,
                bytes: Bytes::from_static(b"piece"),
            }),
        ),
        (vote(), ApiKey::UpdateRaftVoter, Response::UpdateVoter(header(ErrorCode::NotLeaderOrFollower))),
    ];
    for (request, key, answer) in answers {
        for version in key.first_version()..=key.last_version() {
            let response = answer.clone().into_wire(&request, version, "CONTROLLER");
            let written = |response: &ottla_wire::Response| {
                let mut writer = Writer::with_capacity(64);
                response.encode(&mut writer, version).unwrap();
                writer.into_bytes()
            };
            let bytes = written(&response);
            let read = ottla_wire::Response::decode(key, &mut Reader::new(bytes.clone()), version).unwrap();
            assert_eq!(written(&read), bytes, "{key:?} {version}");
        }
    }
}

#[test]
fn places_go_where_followers_look_for_them() {
    let id = OffsetAndEpoch::new(Offset(5), LeaderEpoch(2));
    let response = |body| {
        let answer = Response::Fetch(FetchResponse {
            header: header(ErrorCode::None),
            high_watermark: Offset(4),
            log_start: Offset(0),
            body,
        });
        let request = WireRequest::Fetch(fetch_request::FetchRequest::default());
        match answer.into_wire(&request, 17, "CONTROLLER") {
            ottla_wire::Response::Fetch(mut response) => response.responses.remove(0).partitions.remove(0),
            _ => panic!("another response"),
        }
    };
    let diverging = response(FetchBody::Diverging(id)).diverging_epoch;
    assert_eq!((diverging.end_offset, diverging.epoch), (5, 2));
    let snapshot = response(FetchBody::Snapshot(id)).snapshot_id;
    assert_eq!((snapshot.end_offset, snapshot.epoch), (5, 2));
    let records = response(FetchBody::Records(Bytes::new()));
    assert_eq!((records.snapshot_id.epoch, records.diverging_epoch.epoch), (-1, -1));
    assert_eq!((records.current_leader.leader_id, records.current_leader.leader_epoch), (3, 9));
}
