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
