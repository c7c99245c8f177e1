//! Tests of connecting, of versions and of metadata.

use ottla_host::Host;

use super::*;
use crate::fake_broker::{FakeCluster, Faults, TOPIC};

#[tokio::test]
async fn a_server_that_knows_only_old_versions_is_asked_in_one_of_them() {
    let host = Host::real();
    for last_api_versions in [0, 2, 3, 4, 5] {
        let fake = FakeCluster::start(&host, 1, 1, 1);
        fake.state.lock().faults = Faults { last_api_versions: Some(last_api_versions), ..Faults::default() };
        let cluster = Cluster::connect(&host, ClusterOptions::bootstrap(&fake.bootstrap())).await.unwrap();
        let topic = cluster.topic(TOPIC, false, cluster.deadline("a test")).await.unwrap();
        assert_eq!(topic.partitions.len(), 1);
    }
}

#[tokio::test]
async fn nobody_listening_is_told_at_once_with_what_to_do() {
    let host = Host::real();
    let begun = host.now();
    let error = Cluster::connect(&host, ClusterOptions::bootstrap("localhost:1")).await.unwrap_err();
    assert!(error.to_string().contains("ottla start"), "{error}");
    assert!(host.now().since(begun) < Duration::from_secs(5));
    for wrong in ["", "localhost", "localhost:0", "localhost:70000", ":9092"] {
        let error = Cluster::new(&host, ClusterOptions::bootstrap(wrong)).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{wrong}");
    }
}

#[tokio::test]
async fn a_call_ends_by_its_deadline() {
    let host = Host::real();
    let fake = FakeCluster::start(&host, 1, 1, 1);
    let cluster = Cluster::connect(&host, ClusterOptions::bootstrap(&fake.bootstrap())).await.unwrap();
    let begun = host.now();
    let deadline = Deadline::after(&host, "a test", Duration::from_millis(50));
    let error = cluster.node(Target::Node(NodeId(77)), deadline).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error}");
    let request = ottla_wire::messages::init_producer_id_request::InitProducerIdRequest::default();
    let error = cluster.call(Target::Node(NodeId(77)), deadline, &request).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error}");
    assert!(host.now().since(begun) < Duration::from_secs(5));
    let error = cluster.topic("unknown", false, cluster.deadline("a test")).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));
}
