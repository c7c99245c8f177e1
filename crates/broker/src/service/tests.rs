//! What a request allocates, from its frame to its response: a small number, however many records it carries.

use std::sync::Arc;

use bytes::Bytes;
use ottla_base::{ErrorCode, Str, Timestamp};
use ottla_host::Host;
use ottla_net::{Answer, Peer, Piece, Service};
use ottla_record::{BatchBuilder, BatchOptions};
use ottla_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ottla_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ottla_wire::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};

use ottla_wire::records::header::RequestHeader;
use ottla_wire::{Message, RequestMessage, Writer, request_header_version};

use super::ConnectionService;
use crate::broker::Broker;
use crate::call::{ListenerRole, Serves};
use crate::config::{BrokerSettings, Sources};
use crate::format::{self, InitialQuorum};
use crate::loggers::Loggers;
use crate::server;

/// What a produce request of one batch may allocate.
const PRODUCE_MAX: u64 = 16;
/// What a fetch of one partition without a session may allocate.
const FETCH_MAX: u64 = 12;
/// What a fetch of one partition through a session may allocate.
const SESSION_FETCH_MAX: u64 = 16;

fn frame<Q: RequestMessage>(version: i16, request: &Q) -> Bytes {
    let mut writer = Writer::default();
    let header = RequestHeader {
        request_api_key: Q::KEY as i16,
        request_api_version: version,
        correlation_id: 7,
        client_id: Some(Str::from_static("test")),
        ..Default::default()
    };
    header.encode(&mut writer, request_header_version(Q::KEY, version)).unwrap();
    request.encode(&mut writer, version).unwrap();
    writer.into_bytes()
}

fn produce(records: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..records {
        builder.append(Timestamp(1), Some(b"key"), Some(&[7; 100]), []);
    }
    let partition = PartitionProduceData { records: Some(builder.build()), ..Default::default() };
    let topic = TopicProduceData {
        name: Str::from_static("t"),
        partition_data: vec![partition],
        ..Default::default()
    };
    frame(12, &ProduceRequest { acks: -1, timeout_ms: 1000, topic_data: vec![topic], ..Default::default() })
}

fn fetch(max_bytes: i32, session: (i32, i32), named: bool) -> Bytes {
    let partition = FetchPartition { partition_max_bytes: max_bytes, ..Default::default() };
    let topic =
        FetchTopic { topic: Str::from_static("t"), partitions: vec![partition], ..Default::default() };
    let request = FetchRequest {
        replica_id: -1,
        max_bytes: 50 << 20,
        min_bytes: 1,
        max_wait_ms: 500,
        session_id: session.0,
        session_epoch: session.1,
        topics: if named { vec![topic] } else { Vec::new() },
        ..Default::default()
    };
    frame(12, &request)
}

/// A connection of a server in a temporary directory.
struct Connection {
    service: ConnectionService,
    host: Host,
}

impl Connection {
    fn new(broker: &Arc<Broker>) -> Connection {
        let listener = Arc::new(ListenerRole { name: Str::from_static("PLAINTEXT"), serves: Serves::Broker });
        let address = ([127, 0, 0, 1], 1).into();
        let peer = Peer { address };
        Connection {
            service: ConnectionService::new(broker.clone(), listener, peer),
            host: broker.host.clone(),
        }
    }

    /// How many bytes the answer has in memory and in files; it must be there at once.
    fn ask(&mut self, frame: Bytes) -> (Bytes, u64) {
        let (answer, _) = self.service.dispatch(frame, self.host.now());
        let Answer::Ready(response) = answer else { panic!("nothing has to be waited for") };
        let files = response.pieces.iter().filter(|it| matches!(it, Piece::File { .. }));
        let in_files = files.map(Piece::len).sum();
        let Some(Piece::Bytes(bytes)) = response.pieces.into_iter().next() else { panic!("no bytes") };
        (bytes, in_files)
    }

    /// The fewest allocations of a request, of several tries: now and then something that lives longer grows.
    fn allocations(&mut self, mut frame: impl FnMut() -> Bytes) -> u64 {
        let tries = (0..20).map(|_| {
            let frame = frame();
            allocation_counter::measure(|| drop(self.ask(frame))).count_total
        });
        tries.min().unwrap()
    }
}

#[test]
fn what_a_request_allocates_does_not_depend_on_its_records() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::real();
    let overrides = vec![
        format!("log.dirs={}", directory.path().display()),
        "listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0".to_owned(),
        "ottla.metrics.listener=".to_owned(),
    ];
    let sources = Sources { overrides, ..Sources::default() };
    let settings = BrokerSettings::load(&host.disk(), &sources).unwrap();
    let options = format::Options {
        cluster_id: "4L6g3nShT-eMCtK--X86sw".to_owned(),
        quorum: InitialQuorum::Standalone,
        ..format::Options::default()
    };
    format::format(&host, &settings.server, &options).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let running = runtime.block_on(server::start(&host, settings, Loggers::fixed())).unwrap();
    let broker = running.broker().clone();
    runtime.block_on(create_topic(&broker));
    let mut connection = Connection::new(&broker);

    let mut produced = Vec::new();
    for records in [1, 10, 1000] {
        let frame = produce(records);
        connection.ask(frame.clone());
        produced.push(connection.allocations(|| frame.clone()));
    }
    assert!(produced.iter().all(|it| *it == produced[0]), "{produced:?}");

    let mut fetched = Vec::new();
    for max_bytes in [1, 1000, 1 << 20] {
        let (_, in_files) = connection.ask(fetch(max_bytes, (0, -1), true));
        assert!(in_files > 0, "records are sent from their file");
        fetched.push(connection.allocations(|| fetch(max_bytes, (0, -1), true)));
    }
    assert!(fetched.is_sorted_by(|fewer, more| fewer >= more), "{fetched:?}");

    let (begun, _) = connection.ask(fetch(1 << 20, (0, 0), true));
    // Length, correlation id, tagged fields, throttle time, error code; then the id of the session.
    let session_id = i32::from_be_bytes(begun[15..19].try_into().unwrap());
    let mut epoch = 0;
    let through_session = connection.allocations(|| {
        epoch += 1;
        fetch(1 << 20, (session_id, epoch), false)
    });
    let found = (produced[0], fetched[0], through_session);
    let few = found.0 <= PRODUCE_MAX && found.1 <= FETCH_MAX && found.2 <= SESSION_FETCH_MAX;
    assert!(few, "produce, fetch without a session, fetch through one: {found:?}");
    runtime.block_on(running.stop());
}

async fn create_topic(broker: &Arc<Broker>) {
    let topic = CreatableTopic {
        name: Str::from_static("t"),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    let (answer, _) = Connection::new(broker).service.dispatch(frame(7, &request), broker.host.now());
    match answer {
        Answer::Later(future) | Answer::Patient(future) => drop(future.await),
        Answer::Ready(_) => {}
    }
    assert_eq!(broker.find_partition("t", 0).err(), None::<ErrorCode>);
}
