//! Facts from Apache Kafka 4.4.0 about versions and features, and transactions of the log.

use ottla_wire::records::metadata::*;

use super::*;

#[test]
fn versions_agree_with_kafka() {
    let names: Vec<&str> = MetadataVersion::all().map(MetadataVersion::name).collect();
    assert_eq!((names.len(), names[0], names[27]), (28, "3.3-IV3", "4.5-IV0"));
    for (at, version) in MetadataVersion::all().enumerate() {
        assert_eq!(version.level(), 7 + at as i16);
        assert_eq!(MetadataVersion::from_level(version.level()), Some(version));
        assert_eq!(MetadataVersion::from_name(version.name(), true), Some(version));
    }
    assert_eq!(MetadataVersion::from_level(6), None);
    assert_eq!(MetadataVersion::from_level(35), None);
    let named = |name| MetadataVersion::from_name(name, false).map(MetadataVersion::level);
    assert_eq!(named("4.4"), Some(33));
    assert_eq!(named("4.4.0"), Some(33));
    assert_eq!(named("3.9"), Some(21));
    assert_eq!(named("4.5-IV0"), None);
    assert_eq!(named("4.5"), None);
    assert_eq!(named("2.8"), None);
}

#[test]
fn record_versions_rise_where_schemas_changed() {
    let at = |level: i16| MetadataVersion::from_level(level).expect("a known level");
    let all = |level| {
        let it = at(level);
        (it.register_broker_record(), it.partition_record(), it.fetch_request(), it.list_offsets_request())
    };
    assert_eq!(all(7), (1, 0, 13, 7));
    assert_eq!(all(17), (3, 1, 15, 8));
    assert_eq!(all(23), (3, 2, 17, 9));
    assert_eq!(all(33), (4, 2, 18, 11));
    let changed = |one, other| MetadataVersion::metadata_changed_between(at(one), at(other));
    assert!(changed(33, 32) && changed(7, 33) && changed(29, 30));
    assert!(!changed(29, 23) && !changed(23, 29) && !changed(33, 33) && !changed(31, 30));
}

#[test]
fn a_new_cluster_gets_the_features_of_its_version() {
    let defaults = |level| {
        let version = MetadataVersion::from_level(level).expect("a known level");
        Feature::ALL.map(|feature| feature.default_level(version))
    };
    // kraft, transaction, group, eligible leader replicas, share, streams
    assert_eq!(defaults(33), [1, 2, 1, 1, 2, 1]);
    assert_eq!(defaults(29), [1, 2, 1, 1, 1, 1]);
    assert_eq!(defaults(25), [1, 2, 1, 0, 0, 0]);
    assert_eq!(defaults(7), [0, 0, 0, 0, 0, 0]);
    assert_eq!(Feature::EligibleLeaderReplicas.needs(1), MetadataVersion::from_level(23));
    assert_eq!(Feature::Share.needs(2), None);
    assert_eq!(Feature::from_name("share.version"), Some(Feature::Share));
}

fn topic(name: &'static str, id: u128) -> MetadataRecord {
    MetadataRecord::TopicRecord(TopicRecord {
        name: name.into(),
        topic_id: ottla_base::Uuid::from_number(id),
        ..Default::default()
    })
}

#[test]
fn a_transaction_is_seen_when_it_ends_and_never_if_it_is_aborted() {
    let begin = MetadataRecord::BeginTransactionRecord(BeginTransactionRecord::default());
    let end = MetadataRecord::EndTransactionRecord(EndTransactionRecord::default());
    let abort = MetadataRecord::AbortTransactionRecord(AbortTransactionRecord::default());
    let mut replay = Replay::new();
    for record in [&topic("a", 1001), &begin, &topic("b", 1002)] {
        replay.apply(record).expect("possible");
    }
    assert_eq!((replay.image().topics.len(), replay.latest().topics.len()), (1, 2));
    assert!(replay.apply(&begin).is_err());
    replay.apply(&abort).expect("possible");
    assert_eq!((replay.image().topics.len(), replay.latest().topics.len()), (1, 1));
    for record in [&begin, &topic("c", 1003), &end] {
        replay.apply(record).expect("possible");
    }
    assert_eq!(replay.image().topics.len(), 2);
    assert!(replay.apply(&end).is_err());
    assert!(!replay.in_transaction());
}

#[test]
fn unknown_record_types_are_errors() {
    let unknown = bytes::Bytes::from_static(&[1, 99, 0, 0]);
    assert!(Record::decode(unknown).is_err());
}
