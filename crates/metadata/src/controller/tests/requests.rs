//! Requests one by one: what is written, what is answered, in Kafka's words.

use super::*;

const INVALID_REPLICATION_FACTOR: i16 = ErrorCode::InvalidReplicationFactor as i16;

/// Creates one topic and compares code and message.
fn check_create(
    cluster: &mut Cluster,
    topic: create_topics_request::CreatableTopic,
    code: ErrorCode,
    message: Option<&str>,
) {
    let results = cluster.create_all(vec![topic]);
    assert_eq!(results.len(), 1);
    let got = (results[0].error_code, results[0].error_message.as_deref());
    assert_eq!(got, (code as i16, message));
    cluster.check();
}

fn topic(name: &'static str, partitions: i32, factor: i16) -> create_topics_request::CreatableTopic {
    create_topics_request::CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: factor,
        ..Default::default()
    }
}

fn assigned(name: &'static str, assignments: &[(i32, &[i32])]) -> create_topics_request::CreatableTopic {
    let assignments =
        assignments.iter().map(|(index, brokers)| create_topics_request::CreatableReplicaAssignment {
            partition_index: *index,
            broker_ids: brokers.to_vec(),
            ..Default::default()
        });
    let assignments = assignments.collect();
    create_topics_request::CreatableTopic { assignments, ..topic(name, -1, -1) }
}

#[test]
fn defaults_fill_in_partitions_and_replicas() {
    let mut cluster = Cluster::with_brokers(3, Options { default_partitions: 4, ..options() });
    assert_eq!(cluster.create(&[("a", -1, -1), ("b", 2, 3)]), [0, 0]);
    let image = cluster.image();
    let of = |name: &str| image.topics.named(name).map(|it| it.partition_count);
    assert_eq!((of("a"), of("b")), (Some(4), Some(2)));
    assert_eq!(cluster.partition("b", 0).1.len(), 3);
    cluster.check();
}

#[test]
fn topics_that_cannot_be_created_are_refused_in_kafkas_words() {
    let mut cluster = Cluster::with_brokers(1, options());
    assert_eq!(cluster.create(&[("here", 1, 1), ("a.b", 1, 1)]), [0, 0]);
    use ErrorCode::*;
    let check = &mut |topic, code, message| check_create(&mut cluster, topic, code, Some(message));
    check(topic("here", 1, 1), TopicAlreadyExists, "Topic 'here' already exists.");
    check(topic("a_b", 1, 1), InvalidTopicException, "Topic 'a_b' collides with existing topic: a.b");
    check(topic("..", 1, 1), InvalidTopicException, "Topic name is invalid: '..' is not allowed");
    check(
        topic("__cluster_metadata", 1, 1),
        InvalidRequest,
        "Creation of internal topic __cluster_metadata is prohibited.",
    );
    check(
        topic("x", 1, 2),
        InvalidReplicationFactor,
        "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be reached because \
         only 1 broker(s) are registered or some brokers have all their log directories cordoned.",
    );
    check(
        topic("x", 1, 0),
        InvalidReplicationFactor,
        "Replication factor must be larger than 0, or -1 to use the default value.",
    );
    check(
        topic("x", 0, 1),
        InvalidPartitions,
        "Number of partitions was set to an invalid non-positive value.",
    );
    check(
        create_topics_request::CreatableTopic { num_partitions: 1, ..assigned("x", &[(0, &[1])]) },
        InvalidRequest,
        "A manual partition assignment was specified, but numPartitions was not set to -1.",
    );
    check(
        assigned("x", &[(0, &[1]), (2, &[1])]),
        InvalidReplicaAssignment,
        "partitions should be a consecutive 0-based integer sequence",
    );
    check(
        assigned("x", &[(0, &[9])]),
        InvalidReplicaAssignment,
        "The manual partition assignment includes broker 9, but no such broker is registered.",
    );
    check(
        assigned("x", &[(0, &[1, 1])]),
        InvalidReplicaAssignment,
        "The manual partition assignment includes the broker 1 more than once.",
    );
    check(topic("x", 10_001, 1), PolicyViolation, "Excessively large number of partitions per request.");
    let twice = cluster.create_all(vec![topic("t", 1, 1), topic("t", 1, 1)]);
    assert_eq!((twice.len(), twice[0].error_code), (1, InvalidRequest as i16));
    assert!(cluster.image().topics.named("t").is_none());
}

#[test]
fn fenced_brokers_lead_nothing_and_come_back_through_the_eligible_replicas() {
    let mut cluster = Cluster::with_brokers(1, options());
    assert_eq!(cluster.create(&[("a", 1, 1)]), [0]);
    assert_eq!(cluster.partition("a", 0), (1, vec![1], vec![]));
    // Silence for a session.
    cluster.pass(Duration::from_secs(10));
    assert_eq!(cluster.partition("a", 0), (-1, vec![], vec![1]));
    assert_eq!(cluster.create(&[("b", 1, 1)]), [INVALID_REPLICATION_FACTOR]);
    cluster.check();
    // It was only silent: it is heard of again.
    assert!(!cluster.heartbeat(1, |_| ()).is_fenced);
    assert_eq!(cluster.partition("a", 0), (1, vec![1], vec![]));
    cluster.check();
}

#[test]
fn a_broker_that_lost_its_tail_recovers_as_the_last_known_leader() {
    let mut cluster = Cluster::with_brokers(1, options());
    assert_eq!(cluster.create(&[("a", 1, 1)]), [0]);
    cluster.pass(Duration::from_secs(10));
    // The epoch of its last clean shutdown is not the one that is known.
    assert_eq!(cluster.register(1, 77, -1).0, 0);
    assert_eq!(cluster.partition("a", 0), (-1, vec![], vec![]));
    assert!(!cluster.heartbeat(1, |_| ()).is_fenced);
    assert_eq!(cluster.partition("a", 0), (1, vec![1], vec![]));
    let topic = cluster.image().topics.id("a").expect("exists");
    let partition = cluster.image().topics.partition(topic, ottla_base::PartitionIndex(0)).expect("exists");
    assert_eq!(partition.recovery, crate::LeaderRecovery::Recovering);
    cluster.check();
}

#[test]
fn registrations_that_cannot_be_are_refused() {
    let mut cluster = Cluster::with_brokers(2, options());
    let refused = |code: ErrorCode| (code as i16, BrokerEpoch(-1));
    // Another process with the id of a living broker.
    assert_eq!(cluster.register(1, 5, -1), refused(ErrorCode::DuplicateBrokerRegistration));
    cluster.pass(Duration::from_secs(10));
    assert_eq!(cluster.register(1, 5, -1).0, 0);
    // The same process again keeps its epoch.
    let epoch = cluster.epoch(1);
    assert_eq!(cluster.register(1, 5, -1), (0, BrokerEpoch(epoch)));
    let stale = cluster.heartbeat(1, |it| it.broker_epoch -= 1);
    assert_eq!(stale.error_code, ErrorCode::StaleBrokerEpoch as i16);
    let unknown = cluster.heartbeat(9, |_| ());
    assert_eq!(unknown.error_code, ErrorCode::StaleBrokerEpoch as i16);
    cluster.check();
}

#[test]
fn a_killed_node_does_not_wait_for_its_own_ghost() {
    let before = Cluster::with_brokers(2, options());
    let mut replay = Replay::new();
    for record in &before.log {
        replay.apply(&record.fact).expect("a possible record");
    }
    let mut cluster = Cluster::at(replay, before.log.len() as i64, options());
    let refused = (ErrorCode::DuplicateBrokerRegistration as i16, BrokerEpoch(-1));
    // Another node's broker may be alive; that of this node was this process's predecessor.
    assert_eq!(cluster.register(2, 6, -1), refused);
    assert_eq!(cluster.register(1, 5, -1).0, 0);
    assert!(!cluster.heartbeat(1, |_| ()).is_fenced);
    assert_eq!(cluster.register(1, 6, -1), refused);
    // Silence ends either session as ever.
    cluster.pass(Duration::from_secs(10));
    assert_eq!((cluster.register(1, 6, -1).0, cluster.register(2, 6, -1).0), (0, 0));
}

#[test]
fn a_broker_is_unfenced_once_it_knows_its_own_registration() {
    let mut cluster = Cluster::with_brokers(0, options());
    let (code, epoch) = cluster.register(1, 5, -1);
    assert_eq!((code, epoch.get()), (0, cluster.log.len() as i64 - 1));
    let behind = cluster.heartbeat(1, |it| it.current_metadata_offset = epoch.get() - 1);
    assert!(behind.is_fenced && !behind.is_caught_up);
    let there = cluster.heartbeat(1, |it| it.current_metadata_offset = epoch.get());
    assert!(!there.is_fenced && there.is_caught_up);
    cluster.check();
}

#[test]
fn a_controlled_shutdown_hands_leaderships_over_first() {
    let mut cluster = Cluster::with_brokers(2, options());
    assert_eq!(cluster.create(&[("a", 2, 2)]), [0]);
    let asked = cluster.heartbeat(1, |it| it.want_shut_down = true);
    assert!(!asked.should_shut_down);
    assert!((0..2).all(|index| cluster.partition("a", index).0 == 2));
    // Broker 2 has not read that yet.
    let asked = cluster.heartbeat(1, |it| it.want_shut_down = true);
    assert!(!asked.should_shut_down);
    cluster.heartbeat(2, |_| ());
    let asked = cluster.heartbeat(1, |it| it.want_shut_down = true);
    assert!(asked.should_shut_down && asked.is_fenced);
    cluster.check();
}

fn reassign(
    cluster: &mut Cluster,
    topic: &'static str,
    replicas: Option<&[i32]>,
) -> (ErrorCode, Option<String>) {
    let partition = alter_partition_reassignments_request::ReassignablePartition {
        partition_index: 0,
        replicas: replicas.map(<[i32]>::to_vec),
        ..Default::default()
    };
    let topic = alter_partition_reassignments_request::ReassignableTopic {
        name: topic.into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = alter_partition_reassignments_request::AlterPartitionReassignmentsRequest {
        topics: vec![topic],
        allow_replication_factor_change: false,
        ..Default::default()
    };
    let Reply::AlterPartitionReassignments(mut reply) =
        cluster.ask(Request::AlterPartitionReassignments(request))
    else {
        panic!("another reply")
    };
    let result = reply.responses.remove(0).partitions.remove(0);
    let code = ErrorCode::known(result.error_code).expect("known");
    (code, result.error_message.map(|it| it.to_string()))
}

/// How many partitions are moving.
fn moving(cluster: &mut Cluster) -> usize {
    let request = list_partition_reassignments_request::ListPartitionReassignmentsRequest::default();
    let Reply::ListPartitionReassignments(reply) = cluster.ask(Request::ListPartitionReassignments(request))
    else {
        panic!("another reply")
    };
    reply.topics.iter().map(|topic| topic.partitions.len()).sum()
}

/// The leader of `topic`-0 wishes an ISR.
fn alter_isr(cluster: &mut Cluster, topic: &str, isr: &[i32], epochs: (i32, i32)) -> ErrorCode {
    let topic_id = cluster.image().topics.id(topic).expect("exists");
    let partition =
        cluster.image().topics.partition(topic_id, ottla_base::PartitionIndex(0)).expect("exists");
    let leader = partition.leader.get();
    let state = |id: &i32| alter_partition_request::BrokerState {
        broker_id: *id,
        broker_epoch: cluster.epoch(*id),
        ..Default::default()
    };
    let data = alter_partition_request::PartitionData {
        partition_index: 0,
        leader_epoch: partition.leader_epoch.get() + epochs.0,
        partition_epoch: partition.partition_epoch + epochs.1,
        new_isr_with_epochs: isr.iter().map(state).collect(),
        ..Default::default()
    };
    let request = alter_partition_request::AlterPartitionRequest {
        broker_id: leader,
        broker_epoch: cluster.epoch(leader),
        topics: vec![alter_partition_request::TopicData {
            topic_id,
            partitions: vec![data],
            ..Default::default()
        }],
        ..Default::default()
    };
    let Reply::AlterPartition(mut reply) = cluster.ask(Request::AlterPartition(request)) else {
        panic!("another reply")
    };
    ErrorCode::known(reply.topics.remove(0).partitions.remove(0).error_code).expect("known")
}

#[test]
fn an_isr_changes_by_compare_and_set() {
    let mut cluster = Cluster::with_brokers(3, options());
    cluster.create_all(vec![assigned("a", &[(0, &[1, 2, 3])])]);
    assert_eq!(alter_isr(&mut cluster, "a", &[1, 2], (0, 0)), ErrorCode::None);
    assert_eq!(cluster.partition("a", 0), (1, vec![1, 2], vec![]));
    assert_eq!(alter_isr(&mut cluster, "a", &[1], (1, 0)), ErrorCode::NotController);
    assert_eq!(alter_isr(&mut cluster, "a", &[1], (0, 1)), ErrorCode::NotController);
    assert_eq!(alter_isr(&mut cluster, "a", &[1], (-1, 0)), ErrorCode::FencedLeaderEpoch);
    assert_eq!(alter_isr(&mut cluster, "a", &[1], (0, -1)), ErrorCode::InvalidUpdateVersion);
    assert_eq!(alter_isr(&mut cluster, "a", &[2], (0, 0)), ErrorCode::InvalidRequest);
    assert_eq!(alter_isr(&mut cluster, "a", &[1, 9], (0, 0)), ErrorCode::InvalidRequest);
    cluster.heartbeat(3, |it| it.want_fence = true);
    assert_eq!(alter_isr(&mut cluster, "a", &[1, 2, 3], (0, 0)), ErrorCode::IneligibleReplica);
    cluster.check();
}

#[test]
fn a_partition_moves_when_its_new_replica_is_in_sync() {
    let mut cluster = Cluster::with_brokers(2, options());
    cluster.create_all(vec![assigned("a", &[(0, &[1])])]);
    assert_eq!(reassign(&mut cluster, "a", Some(&[2])).0, ErrorCode::None);
    assert_eq!(moving(&mut cluster), 1);
    assert_eq!(cluster.partition("a", 0), (1, vec![1], vec![]));
    assert_eq!(alter_isr(&mut cluster, "a", &[1, 2], (0, 0)), ErrorCode::NewLeaderElected);
    assert_eq!(cluster.partition("a", 0), (2, vec![2], vec![]));
    assert_eq!(moving(&mut cluster), 0);
    cluster.check();
}

#[test]
fn moves_that_cannot_be_are_refused_and_moves_can_be_cancelled() {
    let mut cluster = Cluster::with_brokers(2, options());
    cluster.create_all(vec![assigned("a", &[(0, &[1])])]);
    let (code, message) = reassign(&mut cluster, "a", None);
    assert_eq!((code, message), (ErrorCode::NoReassignmentInProgress, None));
    let (code, message) = reassign(&mut cluster, "b", Some(&[1]));
    assert_eq!(code, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(message.as_deref(), Some("Unable to find a topic named b."));
    let (code, message) = reassign(&mut cluster, "a", Some(&[1, 2]));
    assert_eq!(code, ErrorCode::InvalidReplicationFactor);
    assert_eq!(message.as_deref(), Some("The replication factor is changed from 1 to 2"));
    assert_eq!(reassign(&mut cluster, "a", Some(&[7])).0, ErrorCode::InvalidReplicaAssignment);
    assert_eq!(reassign(&mut cluster, "a", Some(&[1])).0, ErrorCode::None);
    assert_eq!(moving(&mut cluster), 0);
    assert_eq!(reassign(&mut cluster, "a", Some(&[2])).0, ErrorCode::None);
    assert_eq!(reassign(&mut cluster, "a", None).0, ErrorCode::None);
    assert_eq!((moving(&mut cluster), cluster.partition("a", 0)), (0, (1, vec![1], vec![])));
    cluster.check();
}

/// Asks for an election of `a`-0, then of everything.
fn elect(cluster: &mut Cluster, election_type: i8) -> (ErrorCode, usize) {
    let topic = |topic: &'static str| elect_leaders_request::TopicPartitions {
        topic: topic.into(),
        partitions: vec![0],
        ..Default::default()
    };
    let mut ask = |topic_partitions| {
        let request = elect_leaders_request::ElectLeadersRequest {
            election_type,
            topic_partitions,
            ..Default::default()
        };
        match cluster.ask(Request::ElectLeaders(request)) {
            Reply::ElectLeaders(reply) => reply.replica_election_results,
            other => panic!("{other:?}"),
        }
    };
    let one = ask(Some(vec![topic("a")])).remove(0).partition_result.remove(0).error_code;
    let all = ask(None).iter().map(|topic| topic.partition_result.len()).sum();
    (ErrorCode::known(one).expect("known"), all)
}

#[test]
fn elections_happen_only_where_they_are_needed() {
    let mut cluster = Cluster::with_brokers(2, options());
    cluster.create_all(vec![assigned("a", &[(0, &[1, 2])]), assigned("b", &[(0, &[2])])]);
    assert_eq!(elect(&mut cluster, 0), (ErrorCode::ElectionNotNeeded, 0));
    assert_eq!(elect(&mut cluster, 1), (ErrorCode::ElectionNotNeeded, 0));
    assert_eq!(elect(&mut cluster, 7).0, ErrorCode::InvalidRequest);
    cluster.heartbeat(1, |it| it.want_fence = true);
    assert_eq!(cluster.partition("a", 0).0, 2);
    assert_eq!(elect(&mut cluster, 0), (ErrorCode::PreferredLeaderNotAvailable, 1));
    cluster.heartbeat(1, |_| ());
    assert_eq!(alter_isr(&mut cluster, "a", &[2, 1], (0, 0)), ErrorCode::None);
    assert_eq!(elect(&mut cluster, 0), (ErrorCode::None, 0));
    assert_eq!(cluster.partition("a", 0).0, 1);
    cluster.check();
}

#[test]
fn leaderships_return_to_preferred_leaders_from_time_to_time() {
    let mut cluster = Cluster::with_brokers(2, options());
    cluster.create_all(vec![assigned("a", &[(0, &[1, 2])])]);
    cluster.heartbeat(1, |it| it.want_fence = true);
    cluster.heartbeat(1, |_| ());
    assert_eq!(alter_isr(&mut cluster, "a", &[2, 1], (0, 0)), ErrorCode::None);
    for _ in 0..50 {
        cluster.pass(Duration::from_secs(7));
        cluster.heartbeat(1, |_| ());
        cluster.heartbeat(2, |_| ());
    }
    assert_eq!(cluster.partition("a", 0).0, 1);
    cluster.check();
}

/// Asks for feature levels; the error code and what is behind Kafka's preamble.
fn update_features(
    cluster: &mut Cluster,
    updates: &[(&'static str, i16, i8)],
) -> (ErrorCode, Option<String>) {
    let updates = updates.iter().map(|(name, level, kind)| update_features_request::FeatureUpdateKey {
        feature: Str::from_static(name),
        max_version_level: *level,
        upgrade_type: *kind,
        ..Default::default()
    });
    let request = update_features_request::UpdateFeaturesRequest {
        feature_updates: updates.collect(),
        ..Default::default()
    };
    let asked = UpdateFeatures { request, version: 2, kraft_version: 1 };
    let Reply::UpdateFeatures(reply) = cluster.ask(Request::UpdateFeatures(asked)) else {
        panic!("another reply")
    };
    let preamble = "The update failed for all features since the following feature had an error: ";
    let message = reply.error_message.map(|it| it.strip_prefix(preamble).expect("the preamble").to_owned());
    cluster.check();
    (ErrorCode::known(reply.error_code).expect("known"), message)
}

#[test]
fn features_rise_and_fall_as_far_as_the_log_allows() {
    let mut cluster = Cluster::at(Replay::new(), 0, options());
    cluster.activate(MetadataVersion::from_level(29).expect("known"));
    cluster.start_broker(1);
    let refused = |message: &str| (ErrorCode::InvalidUpdateVersion, Some(message.to_owned()));
    let fine = (ErrorCode::None, None);
    assert_eq!(update_features(&mut cluster, &[("metadata.version", 33, 1)]), fine);
    assert_eq!(cluster.image().features.version().level(), 33);
    assert_eq!(
        update_features(&mut cluster, &[("metadata.version", 32, 1)]),
        refused(
            "Invalid update version 32 for feature metadata.version. Can't downgrade the version of this feature \
             without setting the upgrade type to either safe or unsafe downgrade."
        )
    );
    assert_eq!(
        update_features(&mut cluster, &[("metadata.version", 32, 2)]),
        refused(
            "Unsupported metadata.version downgrade from 33 to 32. Refusing to perform the requested downgrade \
             because it might delete metadata information."
        )
    );
    assert_eq!(
        update_features(&mut cluster, &[("metadata.version", 34, 1)]),
        refused(
            "Invalid update version 34 for feature metadata.version. Local controller 1 only supports versions 7-33"
        )
    );
    assert_eq!(
        update_features(&mut cluster, &[("nonsense", 1, 1)]),
        refused(
            "Invalid update version 1 for feature nonsense. Local controller 1 does not support this feature."
        )
    );
    assert_eq!(update_features(&mut cluster, &[("share.version", 2, 1), ("group.version", 0, 2)]), fine);
    assert_eq!(cluster.image().features.level(Feature::Share), 2);
    assert_eq!(cluster.image().features.level(Feature::Group), 0);
    assert_eq!(update_features(&mut cluster, &[("kraft.version", 1, 1)]), fine);
}

#[test]
fn eligible_leader_replicas_bring_one_minimum_for_all() {
    let mut cluster = Cluster::at(Replay::new(), 0, options());
    cluster.activate(MetadataVersion::from_level(25).expect("known"));
    cluster.start_broker(1);
    assert_eq!(
        update_features(&mut cluster, &[("eligible.leader.replicas.version", 1, 1)]).0,
        ErrorCode::None
    );
    let all = crate::Resource::all_brokers();
    assert_eq!(cluster.image().configs.value(&all, "min.insync.replicas"), Some(&Str::from_static("1")));
    let own = cluster.image().features.level(Feature::EligibleLeaderReplicas);
    assert_eq!(own, 1);
}

#[test]
fn configurations_change_one_by_one_or_all_at_once() {
    let mut cluster = Cluster::with_brokers(1, options());
    cluster.create(&[("a", 1, 1)]);
    let mut alter = |kind: i8, resource: &'static str, configs: &[(&'static str, i8, &'static str)]| {
        let configs = configs.iter().map(|(name, operation, value)| {
            incremental_alter_configs_request::AlterableConfig {
                name: Str::from_static(name),
                config_operation: *operation,
                value: Some(Str::from_static(value)),
                ..Default::default()
            }
        });
        let resource = incremental_alter_configs_request::AlterConfigsResource {
            resource_type: kind,
            resource_name: resource.into(),
            configs: configs.collect(),
            ..Default::default()
        };
        let request = incremental_alter_configs_request::IncrementalAlterConfigsRequest {
            resources: vec![resource],
            ..Default::default()
        };
        let origin = crate::settings::alter::Origin::Forwarded;
        let asked = AlterConfigs { request, origin };
        let Reply::IncrementalAlterConfigs(mut reply) = cluster.ask(Request::IncrementalAlterConfigs(asked))
        else {
            panic!("another reply")
        };
        cluster.check();
        let response = reply.responses.remove(0);
        (
            ErrorCode::known(response.error_code).expect("known"),
            response.error_message.map(|it| it.to_string()),
        )
    };
    assert_eq!(
        alter(2, "a", &[("retention.ms", 0, "5"), ("cleanup.policy", 2, "compact")]).0,
        ErrorCode::None
    );
    assert_eq!(alter(2, "a", &[("cleanup.policy", 3, "delete")]).0, ErrorCode::None);
    assert_eq!(alter(2, "a", &[("retention.ms", 0, "much")]).0, ErrorCode::InvalidConfig);
    assert_eq!(alter(2, "b", &[("retention.ms", 0, "5")]).0, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(alter(4, "7", &[("log.cleaner.threads", 0, "2")]).0, ErrorCode::BrokerIdNotRegistered);
    assert_eq!(alter(77, "a", &[]).0, ErrorCode::UnsupportedVersion);
    let (code, message) = alter(4, "1", &[("min.insync.replicas", 0, "2")]);
    assert_eq!(code, ErrorCode::InvalidConfig);
    let expected = "Broker-level min.insync.replicas cannot be altered while ELR is enabled.";
    assert_eq!(message.as_deref(), Some(expected));
    let config = cluster.image().configs.of(&crate::Resource::topic("a".into()));
    let config: Vec<(&str, &str)> =
        config.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(config, [("cleanup.policy", "compact"), ("retention.ms", "5")]);
    let resource = alter_configs_request::AlterConfigsResource {
        resource_type: 2,
        resource_name: "a".into(),
        configs: vec![alter_configs_request::AlterableConfig {
            name: "retention.bytes".into(),
            value: Some("9".into()),
            ..Default::default()
        }],
        ..Default::default()
    };
    let request =
        alter_configs_request::AlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let origin = crate::settings::alter::Origin::Forwarded;
    cluster.ask(Request::AlterConfigs(AlterConfigs { request, origin }));
    let config = cluster.image().configs.of(&crate::Resource::topic("a".into()));
    assert_eq!(config.iter().count(), 1);
    cluster.check();
}

#[test]
fn topics_are_deleted_by_name_or_id_but_not_by_both() {
    let mut cluster = Cluster::with_brokers(1, options());
    cluster.create(&[("a", 1, 1), ("b", 1, 1), ("c", 1, 1)]);
    let id = |cluster: &Cluster, name: &str| cluster.image().topics.id(name).expect("exists");
    let state = |name: Option<&'static str>, topic_id: Uuid| delete_topics_request::DeleteTopicState {
        name: name.map(Str::from_static),
        topic_id,
        ..Default::default()
    };
    let topics = vec![
        state(Some("a"), Uuid::ZERO),
        state(None, id(&cluster, "b")),
        state(Some("c"), id(&cluster, "c")),
        state(None, Uuid::from_number(12345)),
        state(Some("nothing"), Uuid::ZERO),
        state(None, Uuid::ZERO),
    ];
    let mut delete = |topics, options: Names| {
        let request = delete_topics_request::DeleteTopicsRequest { topics, ..Default::default() };
        let describable = Names::All;
        let asked = DeleteTopics { request, version: 6, deletable: options, describable };
        let Reply::DeleteTopics(reply) = cluster.ask(Request::DeleteTopics(asked)) else {
            panic!("another reply")
        };
        let mut codes: Vec<i16> = reply.responses.iter().map(|it| it.error_code).collect();
        codes.sort_unstable();
        cluster.check();
        codes
    };
    let (invalid, unknown, unknown_id) =
        (ErrorCode::InvalidRequest, ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicId);
    let expected = [0, 0, unknown as i16, invalid as i16, invalid as i16, unknown_id as i16];
    assert_eq!(delete(topics, Names::All), expected);
    let not_mine = delete(vec![state(Some("c"), Uuid::ZERO)], Names::Only(Default::default()));
    assert_eq!(not_mine, [ErrorCode::TopicAuthorizationFailed as i16]);
    assert_eq!(cluster.image().topics.len(), 1);
}
