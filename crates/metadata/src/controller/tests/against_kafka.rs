//! At each point of a log that Apache Kafka wrote, the same request gives the same bytes.

use bytes::Bytes;

use super::*;
use crate::golden;
use ottla_wire::records::metadata::MetadataRecord;

/// The metadata records of Kafka's log from `first` up to `end`.
fn kafka(first: i64, end: i64) -> Vec<Bytes> {
    let values = golden::values(golden::LOG).into_iter();
    values.filter(|(offset, _)| (first..end).contains(offset)).map(|(_, value)| value).collect()
}

/// Asks at the offset `first` and compares what is written, but for the ids that were drawn.
fn check(first: i64, end: i64, request: Request) {
    let mut cluster = Cluster::at(golden::replayed(first), first, options());
    cluster.ask(request);
    let theirs = kafka(first, end);
    let their_facts: Vec<Record> =
        theirs.iter().map(|value| Record::decode(value.clone()).expect("decodes")).collect();
    let drawn = |facts: &[Record]| match facts.first().map(|record| &record.fact) {
        Some(MetadataRecord::TopicRecord(topic)) => Some(topic.topic_id.0),
        _ => None,
    };
    let ids = drawn(&cluster.log).zip(drawn(&their_facts));
    let ours: Vec<Vec<u8>> = (cluster.log.iter())
        .map(|record| {
            let mut bytes = record.encode().expect("encodes").to_vec();
            if let Some((our_id, their_id)) = ids
                && let Some(at) = bytes.windows(16).position(|window| window == our_id)
            {
                bytes[at..at + 16].copy_from_slice(&their_id);
            }
            bytes
        })
        .collect();
    assert_eq!(ours, theirs, "ours: {:#?}\ntheirs: {their_facts:#?}", cluster.log);
}

/// The heartbeat of broker 1, which has read all there is.
fn heartbeat_at(
    first: i64,
    want: impl FnOnce(&mut broker_heartbeat_request::BrokerHeartbeatRequest),
) -> Request {
    let image = golden::replayed(first);
    let broker = image.image().cluster.broker(NodeId(1)).expect("registered");
    let mut request = broker_heartbeat_request::BrokerHeartbeatRequest {
        broker_id: 1,
        broker_epoch: broker.epoch.get(),
        current_metadata_offset: first - 1,
        ..Default::default()
    };
    want(&mut request);
    Request::BrokerHeartbeat(request)
}

#[test]
fn a_new_log_begins_with_the_same_transaction() {
    let bootstrap = golden::values(golden::BOOTSTRAP).into_iter();
    let bootstrap = bootstrap.map(|(_, value)| Record::decode(value).expect("decodes").fact).collect();
    check(3, 12, Request::Activate(Activate { bootstrap }));
    check(27, 27, Request::Activate(Activate::default()));
}

#[test]
fn a_broker_registers_at_the_same_epoch() {
    for (first, previous) in [(13, -1), (33, 13)] {
        let Some(MetadataRecord::RegisterBrokerRecord(record)) =
            kafka(first, first + 1).pop().map(|value| Record::decode(value).expect("decodes").fact)
        else {
            panic!("no registration at {first}")
        };
        let request = broker_registration_request::BrokerRegistrationRequest {
            broker_id: record.broker_id,
            cluster_id: CLUSTER.into(),
            incarnation_id: record.incarnation_id,
            listeners: (record.end_points.iter())
                .map(|it| broker_registration_request::Listener {
                    name: it.name.clone(),
                    host: it.host.clone(),
                    port: it.port,
                    security_protocol: it.security_protocol,
                    ..Default::default()
                })
                .collect(),
            features: (record.features.iter())
                .map(|it| broker_registration_request::Feature {
                    name: it.name.clone(),
                    min_supported_version: it.min_supported_version,
                    max_supported_version: it.max_supported_version,
                    ..Default::default()
                })
                .collect(),
            rack: record.rack.clone(),
            log_dirs: record.log_dirs.clone(),
            previous_broker_epoch: previous,
            ..Default::default()
        };
        let kraft_version = 1;
        check(
            first,
            first + 1,
            Request::RegisterBroker(RegisterBroker { request, version: 4, kraft_version }),
        );
    }
}

#[test]
fn heartbeats_unfence_and_begin_the_shutdown() {
    let unfence = heartbeat_at(15, |it| it.cordoned_log_dirs = Some(vec![]));
    check(15, 17, unfence);
    check(24, 25, heartbeat_at(24, |it| it.want_shut_down = true));
    check(163, 169, heartbeat_at(163, |it| it.want_shut_down = true));
}

fn create(name: &'static str, partitions: i32, configs: &[(&'static str, &'static str)]) -> Request {
    let configs = configs.iter().map(|(name, value)| create_topics_request::CreatableTopicConfig {
        name: Str::from_static(name),
        value: Some(Str::from_static(value)),
        ..Default::default()
    });
    let topic = create_topics_request::CreatableTopic {
        name: Str::from_static(name),
        num_partitions: partitions,
        replication_factor: -1,
        configs: configs.collect(),
        ..Default::default()
    };
    let request = create_topics_request::CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    Request::CreateTopics(CreateTopics { request, creatable: Names::All, describable: Names::All })
}

#[test]
fn topics_come_grow_and_go_with_the_same_records() {
    let orders = [("retention.ms", "3600000"), ("min.insync.replicas", "1")];
    check(57, 64, create("orders", 3, &orders));
    check(80, 84, create("gone", 2, &[("cleanup.policy", "compact")]));
    let topic = delete_topics_request::DeleteTopicState { name: Some("gone".into()), ..Default::default() };
    let request = delete_topics_request::DeleteTopicsRequest { topics: vec![topic], ..Default::default() };
    let (deletable, describable) = (Names::All, Names::All);
    check(99, 100, Request::DeleteTopics(DeleteTopics { request, version: 6, deletable, describable }));
    let topic = create_partitions_request::CreatePartitionsTopic {
        name: "orders".into(),
        count: 5,
        assignments: None,
        ..Default::default()
    };
    let request =
        create_partitions_request::CreatePartitionsRequest { topics: vec![topic], ..Default::default() };
    check(111, 113, Request::CreatePartitions(CreatePartitions { request, alterable: Names::All }));
}

#[test]
fn configurations_and_producer_ids_are_written_alike() {
    let alter = |kind: i8, resource: &'static str, name: &'static str, value: &'static str| {
        let config = incremental_alter_configs_request::AlterableConfig {
            name: name.into(),
            value: Some(value.into()),
            ..Default::default()
        };
        let resource = incremental_alter_configs_request::AlterConfigsResource {
            resource_type: kind,
            resource_name: resource.into(),
            configs: vec![config],
            ..Default::default()
        };
        let request = incremental_alter_configs_request::IncrementalAlterConfigsRequest {
            resources: vec![resource],
            ..Default::default()
        };
        let origin = crate::settings::alter::Origin::Forwarded;
        Request::IncrementalAlterConfigs(AlterConfigs { request, origin })
    };
    check(125, 126, alter(4, "", "log.cleaner.threads", "2"));
    check(142, 143, alter(32, "g", "consumer.session.timeout.ms", "46000"));
    let request = allocate_producer_ids_request::AllocateProducerIdsRequest {
        broker_id: 1,
        broker_epoch: 33,
        ..Default::default()
    };
    check(155, 156, Request::AllocateProducerIds(request));
}
