//! A server in a temporary directory, and connections to it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use ottla_base::{ErrorCode, Offset, ProducerEpoch, ProducerId, Str, Timestamp, Uuid};
use ottla_broker::config::{BrokerSettings, Sources};
use ottla_broker::format::{self, InitialQuorum};
use ottla_broker::loggers::Loggers;
use ottla_broker::server::{self, RunningServer};
use ottla_host::Host;
use ottla_net::client::{ConnectOptions, Connection, RequestError};
use ottla_record::{BatchBuilder, BatchOptions, Compression, CompressionLevel};
use ottla_wire::RequestMessage;
use ottla_wire::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use ottla_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ottla_wire::messages::fetch_response::{FetchResponse, PartitionData};
use ottla_wire::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_wire::messages::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestTopic};
use ottla_wire::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use ottla_wire::messages::produce_response::PartitionProduceResponse;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// How long an answer may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server, its directories, and the runtime that clients live in.
pub(crate) struct Node {
    /// Removed when the test is over.
    directory: TempDir,
    pub(crate) host: Host,
    clients: Runtime,
    server: Option<(Runtime, RunningServer)>,
    overrides: Vec<String>,
}

impl Node {
    /// A fresh server with these settings above the preset.
    pub(crate) fn start(settings: &[&str]) -> Node {
        Node::with_log_dirs(1, settings)
    }

    /// A fresh server with several log directories.
    pub(crate) fn with_log_dirs(log_dirs: usize, settings: &[&str]) -> Node {
        Node::formatted(log_dirs, settings, &standalone())
    }

    /// A fresh server whose directories were formatted so.
    pub(crate) fn formatted(log_dirs: usize, settings: &[&str], options: &format::Options) -> Node {
        Node::on(Host::real(), log_dirs, settings, options)
    }

    /// A fresh server of which so many threads may wait for the disk.
    pub(crate) fn with_pool(threads: usize, settings: &[&str]) -> Node {
        Node::on(Host::real_with_pool(threads), 1, settings, &standalone())
    }

    fn on(host: Host, log_dirs: usize, settings: &[&str], options: &format::Options) -> Node {
        let directory = tempfile::tempdir().unwrap();
        let paths: Vec<String> =
            (0..log_dirs).map(|it| directory.path().join(format!("d{it}")).display().to_string()).collect();
        let mut overrides = vec![
            format!("log.dirs={}", paths.join(",")),
            "listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0".to_owned(),
            "ottla.metrics.listener=127.0.0.1:0".to_owned(),
        ];
        overrides.extend(settings.iter().map(|it| (*it).to_owned()));
        let clients = Builder::new_current_thread().enable_all().build().unwrap();
        let mut node = Node { directory, host, clients, server: None, overrides };
        format::format(&node.host, &node.settings().server, options).unwrap();
        node.resume();
        node
    }

    fn settings(&self) -> BrokerSettings {
        let sources = Sources { overrides: self.overrides.clone(), ..Sources::default() };
        BrokerSettings::load(&self.host.disk(), &sources).unwrap()
    }

    /// Starts the stopped server.
    pub(crate) fn resume(&mut self) {
        assert!(self.server.is_none(), "it runs");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut tries = 0..100;
        let running = loop {
            match runtime.block_on(server::start(&self.host, self.settings(), Loggers::fixed())) {
                Ok(running) => break running,
                // What a killed server had begun on other threads may still hold its directories.
                Err(error) if tries.next().is_none() => panic!("{error}"),
                Err(_) => self.pause(20),
            }
        };
        self.server = Some((runtime, running));
    }

    /// Why the stopped server does not start.
    pub(crate) fn refusal(&self) -> String {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        match runtime.block_on(server::start(&self.host, self.settings(), Loggers::fixed())) {
            Ok(_) => panic!("it starts"),
            Err(error) => error.to_string(),
        }
    }

    /// One of its log directories.
    pub(crate) fn log_dir(&self, at: usize) -> PathBuf {
        self.directory.path().join(format!("d{at}"))
    }

    /// Stops the server as an operator would.
    pub(crate) fn stop(&mut self) {
        let (runtime, running) = self.server.take().unwrap();
        runtime.block_on(running.stop());
    }

    /// Ends the server without a word, as `kill -9` would.
    pub(crate) fn kill(&mut self) {
        let (runtime, running) = self.server.take().unwrap();
        drop(runtime);
        drop(running);
    }

    pub(crate) fn running(&self) -> &RunningServer {
        &self.server.as_ref().unwrap().1
    }

    /// Lets so many milliseconds pass.
    pub(crate) fn pause(&self, milliseconds: u64) {
        self.run(self.host.sleep(Duration::from_millis(milliseconds)));
    }

    /// Does something as a client.
    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
        self.clients.block_on(future)
    }

    pub(crate) fn connect(&self) -> Client {
        self.connect_as("test")
    }

    pub(crate) fn connect_as(&self, client_id: &str) -> Client {
        let listener = &self.running().advertised()[0];
        let address: SocketAddr = ([127, 0, 0, 1], listener.port).into();
        let options = ConnectOptions { client_id: Some(Str::from(client_id)), ..ConnectOptions::default() };
        let connection = self.run(Connection::connect(&self.host, address, &options)).unwrap();
        Client { connection }
    }

    /// The metrics page.
    pub(crate) fn metrics(&self) -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.running().metrics()[0]).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Asks as one client, once.
    pub(crate) fn ask<Q: RequestMessage>(&self, version: i16, request: &Q) -> Q::Response {
        self.run(self.connect().ask(version, request)).unwrap()
    }

    /// Makes a topic and gives its id.
    pub(crate) fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
            name: Str::from(*name),
            value: Some(Str::from(*value)),
            ..Default::default()
        };
        let topic = CreatableTopic {
            name: Str::from(name),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.iter().map(config).collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        let answer = self.ask(7, &request);
        assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0].error_message);
        answer.topics[0].topic_id
    }

    /// Appends a batch to a partition 0 and gives the answer.
    pub(crate) fn produce(&self, topic: &str, records: Bytes) -> PartitionProduceResponse {
        self.ask(9, &produce_request(topic, -1, records)).responses[0].partition_responses[0].clone()
    }

    /// Commits an offset of partition 0 of `t` for a group without members, and gives the error code.
    pub(crate) fn commit(&self, group: &str, offset: i64) -> i16 {
        let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
        let (name, partitions) = (Str::from_static("t"), vec![partition]);
        let request = OffsetCommitRequest {
            group_id: Str::from(group),
            generation_id_or_member_epoch: -1,
            topics: vec![OffsetCommitRequestTopic { name, partitions, ..Default::default() }],
            ..Default::default()
        };
        self.ask(8, &request).topics[0].partitions[0].error_code
    }

    /// The offset of partition 0 of `t` that a group has committed, or the error code.
    pub(crate) fn committed(&self, group: &str) -> Result<i64, i16> {
        let (name, partition_indexes) = (Str::from_static("t"), vec![0]);
        let topic = OffsetFetchRequestTopic { name, partition_indexes, ..Default::default() };
        let topics = Some(vec![topic]);
        let request = OffsetFetchRequest { group_id: Str::from(group), topics, ..Default::default() };
        let answer = self.ask(7, &request);
        match answer.error_code {
            0 => Ok(answer.topics[0].partitions[0].committed_offset),
            code => Err(code),
        }
    }

    /// Reads partition 0 from an offset, without waiting.
    pub(crate) fn fetch(&self, topic: &str, offset: i64) -> PartitionData {
        self.ask(12, &fetch_request(topic, offset)).responses[0].partitions[0].clone()
    }
}

/// How a server alone is formatted.
fn standalone() -> format::Options {
    format::Options {
        cluster_id: "4L6g3nShT-eMCtK--X86sw".to_owned(),
        quorum: InitialQuorum::Standalone,
        ..format::Options::default()
    }
}

/// A connection to a server.
pub(crate) struct Client {
    pub(crate) connection: Connection,
}

impl Client {
    pub(crate) async fn ask<Q: RequestMessage>(
        &self,
        version: i16,
        request: &Q,
    ) -> Result<Q::Response, RequestError> {
        self.connection.call(Q::KEY, version, request, PATIENCE).await
    }
}

/// A request that appends one batch to partition 0.
pub(crate) fn produce_request(topic: &str, acks: i16, records: Bytes) -> ProduceRequest {
    let partition = PartitionProduceData { index: 0, records: Some(records), ..Default::default() };
    let topic =
        TopicProduceData { name: Str::from(topic), partition_data: vec![partition], ..Default::default() };
    ProduceRequest { acks, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() }
}

/// A request that reads partition 0 without waiting and without a session.
pub(crate) fn fetch_request(topic: &str, offset: i64) -> FetchRequest {
    FetchRequest {
        replica_id: -1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![fetch_topic(topic, &[(0, offset)])],
        ..Default::default()
    }
}

/// Partitions of a topic and where to read them.
pub(crate) fn fetch_topic(topic: &str, partitions: &[(i32, i64)]) -> FetchTopic {
    let partition = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    FetchTopic {
        topic: Str::from(topic),
        partitions: partitions.iter().map(partition).collect(),
        ..Default::default()
    }
}

/// The first partition of an answer.
pub(crate) fn first(answer: &FetchResponse) -> &PartitionData {
    &answer.responses[0].partitions[0]
}

/// How a batch is made.
#[derive(Clone, Copy, Default)]
pub(crate) struct Made {
    pub(crate) compression: Compression,
    /// Producer id, epoch and first sequence.
    pub(crate) producer: Option<(i64, i16, i32)>,
    pub(crate) timestamp: i64,
}

/// A batch of records with these keys and values.
pub(crate) fn batch_of(records: &[(Option<&str>, &str)], made: Made) -> Bytes {
    let (id, epoch, sequence) = made.producer.unwrap_or((-1, -1, -1));
    let mut builder = BatchBuilder::new(BatchOptions {
        compression: CompressionLevel { compression: made.compression, ..CompressionLevel::default() },
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: sequence,
        base_offset: Offset::ZERO,
        ..BatchOptions::default()
    });
    for (at, (key, value)) in records.iter().enumerate() {
        let timestamp = Timestamp(made.timestamp + at as i64);
        builder.append(timestamp, key.map(str::as_bytes), Some(value.as_bytes()), []);
    }
    builder.build()
}

/// A batch of records without keys.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    let records: Vec<_> = values.iter().map(|it| (None, *it)).collect();
    batch_of(&records, Made { timestamp: 1_000, ..Made::default() })
}

/// What an error code is called.
pub(crate) fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code)
}
