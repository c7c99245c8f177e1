//! `quorum-state` is the line that Kafka writes.

use ottla_base::{LeaderEpoch, NodeId, Uuid};

use crate::ids::ReplicaKey;
use crate::quorum_state::Election;
use crate::voters::{KRaftVersion, VoterSet};

fn check(election: Election, version: KRaftVersion, text: &str) {
    let voters = VoterSet::parse_static("1@localhost:9093,2@localhost:9094", "CONTROLLER").unwrap();
    assert_eq!(election.to_text(version, &voters), text);
    assert_eq!(Election::from_text(text), Ok(election));
}

#[test]
fn version_1_is_what_kafka_writes() {
    // Taken from a combined node of Apache Kafka 4.4.0.
    let text = r#"{"leaderId":1,"leaderEpoch":1,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
    let election = Election { epoch: LeaderEpoch(1), leader: Some(NodeId(1)), voted: None };
    check(election, KRaftVersion::Dynamic, text);
    let directory: Uuid = "j4HANqAQS2qDbzr48C8K2w".parse().unwrap();
    let voted = Some(ReplicaKey::new(NodeId(1), directory));
    let text = r#"{"leaderId":-1,"leaderEpoch":7,"votedId":1,"votedDirectoryId":"j4HANqAQS2qDbzr48C8K2w","data_version":1}"#;
    check(Election { epoch: LeaderEpoch(7), leader: None, voted }, KRaftVersion::Dynamic, text);
}

#[test]
fn version_0_lists_the_voters() {
    let text = r#"{"clusterId":"","leaderId":2,"leaderEpoch":3,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1},{"voterId":2}],"data_version":0}"#;
    let election = Election { epoch: LeaderEpoch(3), leader: Some(NodeId(2)), voted: None };
    check(election, KRaftVersion::Static, text);
}

#[test]
fn hostile_text_is_refused() {
    for text in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"data_version":2,"leaderId":1,"leaderEpoch":1,"votedId":-1}"#,
        r#"{"data_version":0,"leaderId":"1","leaderEpoch":1,"votedId":-1}"#,
        r#"{"data_version":0,"leaderId":99999999999,"leaderEpoch":1,"votedId":-1}"#,
        r#"{"data_version":0,"leaderId":1,"leaderEpoch":1}"#,
        r#"{"data_version":1,"leaderId":1,"leaderEpoch":1,"votedId":-1}"#,
        r#"{"data_version":1,"leaderId":1,"leaderEpoch":1,"votedId":-1,"votedDirectoryId":"x"}"#,
        r#"{"a":[[[[[}"#,
        r#"{"a":"\"#,
        r#"{"a":]}"#,
    ] {
        assert!(Election::from_text(text).is_err(), "{text}");
    }
    assert!(Election::from_text(&format!("{{\"a\":{}", "[".repeat(100_000))).is_err());
}
