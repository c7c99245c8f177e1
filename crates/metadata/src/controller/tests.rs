//! What the controller decides: against Kafka's own log, against its words, and against the invariants.

mod against_kafka;
mod requests;
mod seeds;

use std::sync::Arc;
use std::time::Duration;

use ottla_base::settings::Texts;
use ottla_base::{BrokerEpoch, Moment, NodeId, Now, Offset, Str, Uuid};
use ottla_machine::{Input, Seat};
use ottla_wire::messages::*;

use super::*;
use crate::{Feature, Image, MetadataVersion, Record, Replay, bootstrap_records, supported_features};

const CLUSTER: &str = "AAAAAAAAQACAAAAAAAAAAQ";

fn options() -> Options {
    let set = [
        ("node.id", "1"),
        ("process.roles", "broker,controller"),
        ("controller.listener.names", "CONTROLLER"),
        ("log.dirs", "/data"),
    ];
    let settings: Texts = set.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Options {
        node: NodeId(1),
        cluster_id: CLUSTER.into(),
        server: ServerSettings::read(&settings).expect("readable"),
        settings,
        default_partitions: 1,
        default_replication_factor: 1,
        topic_deletion: TopicDeletion::Enabled,
        session_timeout: Duration::from_secs(9),
        leader_balance_interval: Some(Duration::from_secs(300)),
        unclean_election_interval: Duration::from_secs(300),
        static_controllers: Vec::new(),
        feature_levels: FeatureLevels::Production,
    }
}

/// A controller with its log, everything committed at once.
struct Cluster {
    seat: Seat<Controller, ()>,
    log: Vec<Record>,
    now: Moment,
}

impl Cluster {
    /// A log that was read up to `end`.
    fn at(replay: Replay, end: i64, options: Options) -> Cluster {
        let controller = Controller::new(replay, Arc::new(options));
        Cluster {
            seat: Seat::take(controller, Offset(end), [7; 32]),
            log: Vec::new(),
            now: Moment::default(),
        }
    }

    /// A new cluster with brokers 1 to `brokers`, unfenced.
    fn with_brokers(brokers: i32, options: Options) -> Cluster {
        let mut cluster = Cluster::at(Replay::new(), 0, options);
        cluster.activate(MetadataVersion::LATEST_PRODUCTION);
        for id in 1..=brokers {
            cluster.start_broker(id);
        }
        cluster
    }

    fn activate(&mut self, version: MetadataVersion) {
        let bootstrap = bootstrap_records(version, &Default::default()).expect("a possible beginning");
        assert_eq!(self.ask(Request::Activate(Activate { bootstrap })), Reply::Activate(()));
    }

    fn now(&self) -> Now {
        Now { moment: self.now, ..Now::default() }
    }

    fn ask(&mut self, request: Request) -> Reply {
        let append = self.seat.submit(Input::Request(request, ()), self.now());
        self.log.extend(append.records);
        let mut released = self.seat.committed(self.seat.end()).replies;
        assert_eq!(released.len(), 1, "one request, one answer");
        released.remove(0).1
    }

    /// Lets time pass until the controller has nothing more to do.
    fn pass(&mut self, duration: Duration) {
        self.now = self.now + duration;
        while self.seat.deadline().is_some_and(|at| at <= self.now) {
            self.log.extend(self.seat.submit(Input::Tick, self.now()).records);
        }
    }

    fn image(&self) -> &Image {
        self.seat.state().image()
    }

    fn epoch(&self, id: i32) -> i64 {
        self.image().cluster.broker(NodeId(id)).map_or(-1, |broker| broker.epoch.get())
    }

    fn register(&mut self, id: i32, incarnation: u128, previous: i64) -> (i16, BrokerEpoch) {
        let features =
            supported_features(false).into_iter().map(|(name, range)| broker_registration_request::Feature {
                name: name.into(),
                min_supported_version: range.min,
                max_supported_version: range.max,
                ..Default::default()
            });
        let request = broker_registration_request::BrokerRegistrationRequest {
            broker_id: id,
            cluster_id: CLUSTER.into(),
            incarnation_id: Uuid::from_number(incarnation),
            features: features.collect(),
            rack: None,
            log_dirs: vec![directory_of(id), directory_of(id + 500)],
            previous_broker_epoch: previous,
            ..Default::default()
        };
        let kraft_version = Feature::KRaft.latest();
        let register = RegisterBroker { request, version: 4, kraft_version };
        match self.ask(Request::RegisterBroker(register)) {
            Reply::RegisterBroker(reply) => (reply.error_code, BrokerEpoch(reply.broker_epoch)),
            other => panic!("{other:?}"),
        }
    }

    fn heartbeat(
        &mut self,
        id: i32,
        want: impl FnOnce(&mut broker_heartbeat_request::BrokerHeartbeatRequest),
    ) -> broker_heartbeat_response::BrokerHeartbeatResponse {
        let mut request = broker_heartbeat_request::BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: self.epoch(id),
            current_metadata_offset: self.seat.end().get() - 1,
            ..Default::default()
        };
        want(&mut request);
        match self.ask(Request::BrokerHeartbeat(request)) {
            Reply::BrokerHeartbeat(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// Registers a broker after a clean stop, and unfences it.
    fn start_broker(&mut self, id: i32) {
        let previous = self.epoch(id);
        let incarnation = 1_000 + self.log.len() as u128 * 100 + id as u128;
        assert_eq!(self.register(id, incarnation, previous).0, 0);
        assert!(!self.heartbeat(id, |_| ()).is_fenced);
    }

    /// Creates topics without further wishes; returns the error codes.
    fn create(&mut self, topics: &[(&'static str, i32, i16)]) -> Vec<i16> {
        let topics = topics.iter().map(|(name, partitions, factor)| create_topics_request::CreatableTopic {
            name: Str::from_static(name),
            num_partitions: *partitions,
            replication_factor: *factor,
            ..Default::default()
        });
        let reply = self.create_all(topics.collect());
        reply.into_iter().map(|topic| topic.error_code).collect()
    }

    fn create_all(
        &mut self,
        topics: Vec<create_topics_request::CreatableTopic>,
    ) -> Vec<create_topics_response::CreatableTopicResult> {
        let request = create_topics_request::CreateTopicsRequest { topics, ..Default::default() };
        let asked = CreateTopics { request, creatable: Names::All, describable: Names::All };
        match self.ask(Request::CreateTopics(asked)) {
            Reply::CreateTopics(reply) => reply.topics,
            other => panic!("{other:?}"),
        }
    }

    /// Leader, ISR and eligible leader replicas of a partition.
    fn partition(&self, topic: &str, index: i32) -> (i32, Vec<i32>, Vec<i32>) {
        let topics = &self.image().topics;
        let topic = topics.named(topic).expect("exists");
        let it = topics.partition(topic.id, ottla_base::PartitionIndex(index)).expect("exists");
        (it.leader.get(), crate::image::numbers(&it.isr), crate::image::numbers(&it.elr))
    }

    /// The log alone gives the image, and so does a snapshot of it; and every partition is as it may be.
    fn check(&self) {
        let mut replay = Replay::new();
        for record in &self.log {
            let read = Record::decode(record.encode().expect("encodes")).expect("decodes");
            replay.apply(&read.fact).expect("a possible record");
        }
        assert_eq!(replay.image(), self.image());
        let mut loaded = Image::default();
        for record in self.image().to_records() {
            let read = Record::decode(record.encode().expect("encodes")).expect("decodes");
            loaded.apply(&read.fact).expect("a possible record");
        }
        assert_eq!(&loaded, self.image());
        check_invariants(self.image());
    }
}

fn directory_of(id: i32) -> Uuid {
    Uuid::from_number(1_000_000 + id as u128)
}

fn check_invariants(image: &Image) {
    let mut counts = std::collections::BTreeMap::new();
    for (id, partition) in image.topics.all_partitions() {
        *counts.entry(id.topic).or_insert(0) += 1;
        let all = |nodes: &[NodeId]| nodes.iter().all(|it| partition.has_replica(*it));
        assert!(all(&partition.isr) && all(&partition.elr), "{id:?} {partition:?}");
        assert!(partition.isr.iter().all(|it| !partition.elr.contains(it)), "{id:?} {partition:?}");
        assert!(!partition.has_leader() || partition.isr.contains(&partition.leader), "{id:?} {partition:?}");
        let fenced = image.cluster.broker(partition.leader).is_none_or(|broker| broker.fenced);
        assert!(!partition.has_leader() || !fenced, "{id:?} {partition:?}");
        assert_eq!(partition.directories.len(), partition.replicas.len());
    }
    for topic in image.topics.iter() {
        assert_eq!(image.topics.id(&topic.name), Some(topic.id));
        assert_eq!(counts.remove(&topic.id), Some(topic.partition_count));
    }
    assert!(counts.is_empty(), "partitions without topics: {counts:?}");
}
