//! Levels of features that rise while a server runs.

use ottla_base::{NodeId, PartitionIndex};
use ottla_broker::format::Options;
use ottla_metadata::MetadataVersion;
use ottla_wire::messages::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};

use crate::fixture::Node;

/// A level that has no log directories in its records, and one that does (KIP-858).
const BEFORE: &str = "3.6";
const AFTER: &str = "3.9-IV0";

#[test]
fn directories_and_controllers_are_registered_when_the_level_has_them() {
    let options = Options {
        cluster_id: "4L6g3nShT-eMCtK--X86sw".to_owned(),
        release_version: Some(BEFORE.to_owned()),
        ..Options::default()
    };
    let settings = ["controller.quorum.voters=1@127.0.0.1:9093", "node.id=1"];
    let mut node = Node::formatted(2, &settings, &options);
    let topic = node.create_topic("t", 4, &[]);
    let own = |node: &Node| node.running().broker().image.load().cluster.broker(NodeId(1)).cloned().unwrap();
    let before = own(&node);
    assert!(before.directories.is_empty(), "the level has no place for them");

    let level = MetadataVersion::from_name(AFTER, false).unwrap().level();
    let update = FeatureUpdateKey {
        feature: "metadata.version".into(),
        max_version_level: level,
        upgrade_type: 1,
        ..Default::default()
    };
    let request =
        UpdateFeaturesRequest { feature_updates: vec![update], timeout_ms: 10_000, ..Default::default() };
    let answer = node.ask(1, &request);
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);

    let placed = |node: &Node, index: i32| {
        let image = node.running().broker().image.load();
        let partition = image.topics.partition(topic, PartitionIndex(index)).unwrap();
        partition.directory_of(NodeId(1)).is_some_and(|it| own(node).directories.contains(&it))
    };
    let mut tries = 0..500;
    let registered = |node: &Node| {
        let image = node.running().broker().image.load();
        image.cluster.controllers.contains_key(&NodeId(1))
    };
    while !(registered(&node) && (0..4).all(|it| placed(&node, it))) {
        assert!(tries.next().is_some(), "{:?}", own(&node));
        node.pause(20);
    }
    let after = own(&node);
    assert_eq!(after.directories.len(), 2);
    assert_eq!((after.epoch, after.incarnation, after.fenced), (before.epoch, before.incarnation, false));
    node.stop();
    node.resume();
    assert_eq!(own(&node).directories, after.directories);
}
