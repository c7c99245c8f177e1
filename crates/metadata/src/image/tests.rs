//! Images are what their records say, whichever way the records come.

use ottla_base::{NodeId, PartitionIndex, Str, Uuid};
use ottla_wire::records::metadata::*;

use super::*;
use crate::{Delta, Duty, directory};

const TOPIC: Uuid = Uuid::from_number(0x1000);

fn image(records: impl IntoIterator<Item = MetadataRecord>) -> Image {
    let mut image = Image::default();
    apply(&mut image, records);
    image
}

fn apply(image: &mut Image, records: impl IntoIterator<Item = MetadataRecord>) {
    for record in records {
        image.apply(&record).expect("a possible record");
    }
}

fn level(name: &'static str, feature_level: i16) -> MetadataRecord {
    let name = name.into();
    MetadataRecord::FeatureLevelRecord(FeatureLevelRecord { name, feature_level, ..Default::default() })
}

fn topic(name: &'static str, topic_id: Uuid) -> MetadataRecord {
    MetadataRecord::TopicRecord(TopicRecord { name: name.into(), topic_id, ..Default::default() })
}

fn partition(partition_id: i32, replicas: &[i32]) -> MetadataRecord {
    MetadataRecord::PartitionRecord(PartitionRecord {
        partition_id,
        topic_id: TOPIC,
        replicas: replicas.to_vec(),
        isr: replicas.to_vec(),
        leader: replicas[0],
        leader_epoch: 0,
        partition_epoch: 0,
        directories: vec![directory::UNASSIGNED; replicas.len()],
        ..Default::default()
    })
}

fn partition_change(partition_id: i32, change: PartitionChangeRecord) -> MetadataRecord {
    MetadataRecord::PartitionChangeRecord(PartitionChangeRecord { partition_id, topic_id: TOPIC, ..change })
}

fn config(
    kind: i8,
    resource_name: &'static str,
    name: &'static str,
    value: Option<&'static str>,
) -> MetadataRecord {
    MetadataRecord::ConfigRecord(ConfigRecord {
        resource_type: kind,
        resource_name: resource_name.into(),
        name: name.into(),
        value: value.map(Str::from_static),
        ..Default::default()
    })
}

fn everything() -> Image {
    let quota = |name: Option<&'static str>, key: &'static str, value, remove| {
        let entity = |kind: &'static str, name: Option<&'static str>| EntityData {
            entity_type: kind.into(),
            entity_name: name.map(Str::from_static),
            ..Default::default()
        };
        MetadataRecord::ClientQuotaRecord(ClientQuotaRecord {
            entity: vec![entity("user", name), entity("client-id", None)],
            key: key.into(),
            value,
            remove,
            ..Default::default()
        })
    };
    image([
        level("metadata.version", 33),
        level("eligible.leader.replicas.version", 1),
        level("group.version", 1),
        MetadataRecord::RegisterBrokerRecord(RegisterBrokerRecord {
            broker_id: 1,
            incarnation_id: Uuid::from_number(500),
            broker_epoch: 7,
            rack: None,
            log_dirs: vec![Uuid::from_number(902), Uuid::from_number(901)],
            end_points: vec![BrokerEndpoint {
                name: "PLAINTEXT".into(),
                host: "localhost".into(),
                port: 9092,
                ..Default::default()
            }],
            features: vec![BrokerFeature {
                name: "metadata.version".into(),
                min_supported_version: 7,
                max_supported_version: 33,
                ..Default::default()
            }],
            ..Default::default()
        }),
        MetadataRecord::BrokerRegistrationChangeRecord(BrokerRegistrationChangeRecord {
            broker_id: 1,
            broker_epoch: 7,
            fenced: -1,
            cordoned_log_dirs: Some(vec![Uuid::from_number(901)]),
            ..Default::default()
        }),
        MetadataRecord::RegisterControllerRecord(RegisterControllerRecord {
            controller_id: 1,
            incarnation_id: Uuid::from_number(501),
            ..Default::default()
        }),
        topic("a.topic", TOPIC),
        partition(0, &[1, 2]),
        partition(1, &[2, 1]),
        partition_change(
            1,
            PartitionChangeRecord {
                isr: Some(vec![]),
                leader: -1,
                eligible_leader_replicas: Some(vec![2]),
                last_known_elr: Some(vec![1]),
                ..Default::default()
            },
        ),
        config(2, "a.topic", "retention.ms", Some("5")),
        config(4, "", "log.cleaner.threads", Some("2")),
        quota(Some("alice"), "producer_byte_rate", 1.5, false),
        quota(None, "producer_byte_rate", 2.5, false),
        quota(None, "producer_byte_rate", 0.0, true),
        MetadataRecord::ProducerIdsRecord(ProducerIdsRecord {
            broker_id: 1,
            broker_epoch: 7,
            next_producer_id: 2000,
            ..Default::default()
        }),
        MetadataRecord::AccessControlEntryRecord(AccessControlEntryRecord {
            id: Uuid::from_number(77),
            principal: "User:a".into(),
            ..Default::default()
        }),
        MetadataRecord::UserScramCredentialRecord(UserScramCredentialRecord {
            name: "alice".into(),
            mechanism: 1,
            iterations: 4096,
            ..Default::default()
        }),
        MetadataRecord::DelegationTokenRecord(DelegationTokenRecord {
            token_id: "token".into(),
            renewers: vec!["User:b".into()],
            ..Default::default()
        }),
    ])
}

#[test]
fn a_snapshot_gives_the_same_image_through_bytes() {
    let before = everything();
    let mut after = Image::default();
    for record in before.to_records() {
        let read = crate::Record::decode(record.encode().expect("encodes")).expect("decodes");
        assert_eq!(read, record);
        after.apply(&read.fact).expect("a possible record");
    }
    assert_eq!(after, before);
}

#[test]
fn a_snapshot_at_an_old_version_leaves_out_what_that_version_cannot_hold() {
    let mut old = everything();
    apply(&mut old, [level("metadata.version", 7), level("eligible.leader.replicas.version", 0)]);
    let read = image(
        old.to_records()
            .map(|record| crate::Record::decode(record.encode().expect("encodes")).expect("decodes").fact),
    );
    assert!(read.access.scram.is_empty() && read.access.tokens.is_empty());
    assert!(read.cluster.controllers.is_empty());
    let broker = read.cluster.broker(NodeId(1)).expect("registered");
    assert_eq!((broker.directories.len(), &broker.cordoned), (0, &None));
    let partition = read.topics.partition(TOPIC, PartitionIndex(1)).expect("exists");
    assert_eq!(partition.directories[..], [directory::MIGRATING; 2]);
    assert!(partition.elr.is_empty());
}

#[test]
fn epochs_rise_with_changes_and_elections() {
    let mut image = everything();
    let look = |image: &Image| {
        let it = image.topics.partition(TOPIC, PartitionIndex(0)).expect("exists");
        (it.leader.get(), it.leader_epoch.get(), it.partition_epoch)
    };
    assert_eq!(look(&image), (1, 0, 0));
    let shrink = PartitionChangeRecord { isr: Some(vec![1]), ..Default::default() };
    apply(&mut image, [partition_change(0, shrink)]);
    assert_eq!(look(&image), (1, 0, 1));
    let same_leader = PartitionChangeRecord { leader: 1, ..Default::default() };
    apply(&mut image, [partition_change(0, same_leader)]);
    assert_eq!(look(&image), (1, 1, 2));
    let clear = ClearElrRecord { topic_name: "a.topic".into(), ..Default::default() };
    apply(&mut image, [MetadataRecord::ClearElrRecord(clear)]);
    assert_eq!(look(&image), (1, 1, 2));
    let cleared = image.topics.partition(TOPIC, PartitionIndex(1)).expect("exists");
    assert_eq!((cleared.elr.len(), cleared.last_known_elr.len(), cleared.partition_epoch), (0, 0, 2));
}

#[test]
fn a_removed_topic_leaves_nothing_behind() {
    let mut image = everything();
    assert_eq!(image.topics.colliding_with("a_topic"), Some(&Str::from_static("a.topic")));
    assert_eq!(image.topics.colliding_with("atopic"), None);
    let remove = RemoveTopicRecord { topic_id: TOPIC, ..Default::default() };
    apply(&mut image, [MetadataRecord::RemoveTopicRecord(remove.clone())]);
    assert_eq!((image.topics.len(), image.topics.partition_count()), (0, 0));
    assert_eq!(image.topics.named("a.topic"), None);
    assert_eq!(image.topics.colliding_with("a_topic"), None);
    assert!(image.configs.of(&Resource::topic("a.topic".into())).is_empty());
    assert!(image.apply(&MetadataRecord::RemoveTopicRecord(remove)).is_err());
}

#[test]
fn impossible_records_are_errors_and_change_nothing() {
    let impossible = [
        topic("a.topic", Uuid::from_number(1)),
        topic("other", TOPIC),
        partition_change(9, PartitionChangeRecord::default()),
        partition_change(0, PartitionChangeRecord { leader_recovery_state: 9, ..Default::default() }),
        partition_change(
            0,
            PartitionChangeRecord { directories: Some(vec![Uuid::ZERO, TOPIC, TOPIC]), ..Default::default() },
        ),
        config(99, "x", "y", None),
        level("metadata.version", 99),
        MetadataRecord::UnregisterBrokerRecord(UnregisterBrokerRecord {
            broker_id: 1,
            broker_epoch: 8,
            ..Default::default()
        }),
        MetadataRecord::RemoveAccessControlEntryRecord(RemoveAccessControlEntryRecord::default()),
    ];
    let mut image = everything();
    for record in impossible {
        assert!(image.apply(&record).is_err(), "{record:?}");
    }
    assert_eq!(image, everything());
}

#[test]
fn a_delta_says_what_a_broker_has_to_do() {
    let empty = Image::default();
    let full = everything();
    let duties = |old: &Image, new: &Image, broker| -> Vec<(i32, &'static str)> {
        let name = |duty: Duty<'_>| match duty {
            Duty::Lead { elected: true, .. } => "take over",
            Duty::Lead { elected: false, .. } => "lead",
            Duty::Follow { .. } => "follow",
            Duty::Delete => "delete",
        };
        let changes = Delta::between(old, new).local_changes(NodeId(broker));
        changes.map(|change| (change.id.index.get(), name(change.duty))).collect()
    };
    assert_eq!(duties(&empty, &full, 1), [(0, "take over"), (1, "follow")]);
    assert_eq!(duties(&empty, &full, 3), []);
    assert_eq!(duties(&full, &full.clone(), 1), []);
    assert_eq!(duties(&full, &empty, 2), [(0, "delete"), (1, "delete")]);
    let mut moved = full.clone();
    let away = PartitionChangeRecord {
        isr: Some(vec![1]),
        replicas: Some(vec![1]),
        directories: Some(vec![TOPIC]),
        ..Default::default()
    };
    apply(&mut moved, [partition_change(0, away)]);
    assert_eq!(duties(&full, &moved, 1), [(0, "lead")]);
    assert_eq!(duties(&full, &moved, 2), [(0, "delete")]);
    let delta = Delta::between(&full, &moved);
    assert_eq!(delta.local_changes(NodeId(1)).next().and_then(|it| it.new_directory), Some(TOPIC));
    assert_eq!((delta.topics().count(), delta.partitions().count(), delta.configs().count()), (0, 1, 0));
    assert!(!delta.features_changed() && !delta.access_changed() && !delta.client_quotas_changed());
    assert!(Delta::between(&empty, &full).features_changed());
}
