//! Brokers for tests: they keep records, sequences and fetch sessions as Kafka's do, and misbehave as told.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla_base::{ErrorCode, LeaderEpoch, Moment, Offset, Str, Uuid};
use ottla_host::Host;
use ottla_host::net::{Listener, SocketOptions};
use ottla_net::admission::{Admission, AdmissionLimits, ListenerLimits};
use ottla_net::budget::Budget;
use ottla_net::server::ServerOptions;
use ottla_net::{Answer, ConnectionLimits, Response, Server, Service};
use ottla_record::{BatchHeader, BatchView, HEADER_BYTES};
use ottla_wire::messages::api_versions_response::{ApiVersion, ApiVersionsResponse, FinalizedFeatureKey};
use ottla_wire::messages::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
use ottla_wire::messages::init_producer_id_response::InitProducerIdResponse;
use ottla_wire::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use ottla_wire::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ottla_wire::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use ottla_wire::messages::produce_response::{
    PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use ottla_wire::messages::{
    fetch_request::FetchRequest, init_producer_id_request::InitProducerIdRequest,
    list_offsets_request::ListOffsetsRequest, offset_for_leader_epoch_request::OffsetForLeaderEpochRequest,
    produce_request::ProduceRequest,
};
use ottla_wire::records::header::ResponseHeader;
use ottla_wire::{
    ApiKey, EncodeError, Message, Reader, Writer, decode_request_header, response_header_version,
};
use parking_lot::Mutex;

use crate::cluster::Cluster;
use crate::fake_group::FakeGroup;
use crate::fake_share::{FakeShare, Told};
use crate::fake_transactions::FakeTransactions;
use crate::options::ClusterOptions;

/// The only topic.
pub(crate) const TOPIC: &str = "topic";
pub(crate) const TOPIC_ID: Uuid = Uuid::from_number(4711);

/// How brokers misbehave.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// In how many of 100 requests something goes wrong.
    pub(crate) percent: u64,
    /// The most records that a batch may have.
    pub(crate) max_batch_records: Option<i32>,
    /// The newest `ApiVersions` that is known.
    pub(crate) last_api_versions: Option<i16>,
    /// Whether produce requests are never answered.
    pub(crate) is_silent: bool,
    /// Whether partitions have no leader.
    pub(crate) is_leaderless: bool,
}

/// A cluster of brokers on the loopback interface.
pub(crate) struct FakeCluster {
    pub(crate) state: Arc<Mutex<State>>,
    _servers: Vec<Server>,
}

pub(crate) struct State {
    pub(crate) faults: Faults,
    pub(crate) logs: Vec<Log>,
    pub(crate) group: FakeGroup,
    pub(crate) share: FakeShare,
    pub(crate) transactions: FakeTransactions,
    pub(crate) ports: Vec<u16>,
    random: u64,
    next_producer: i64,
    sessions: BTreeMap<i32, Session>,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) batches: Vec<Bytes>,
    pub(crate) end: i64,
    pub(crate) leader: usize,
    pub(crate) leader_epoch: i32,
    producers: BTreeMap<i64, Producer>,
}

#[derive(Default)]
struct Producer {
    epoch: i16,
    /// First and last sequence, and the offset, of the last batches.
    last: VecDeque<(i32, i32, i64)>,
}

#[derive(Default)]
struct Session {
    epoch: i32,
    offsets: BTreeMap<i32, (i64, i32)>,
}

impl FakeCluster {
    pub(crate) fn start(host: &Host, brokers: usize, partitions: usize, seed: u64) -> FakeCluster {
        let logs = (0..partitions).map(|index| Log { leader: index % brokers, ..Log::default() }).collect();
        let state = State {
            faults: Faults::default(),
            logs,
            group: FakeGroup::default(),
            share: FakeShare::default(),
            transactions: FakeTransactions::default(),
            ports: Vec::new(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            next_producer: 100,
            sessions: BTreeMap::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let mut servers = Vec::new();
        for index in 0..brokers {
            let address = (Ipv4Addr::LOCALHOST, 0).into();
            let listener = Listener::bind(address, 100, SocketOptions::default()).unwrap();
            let options = ServerOptions {
                name: "TEST".into(),
                limits: ConnectionLimits::default(),
                budget: Budget::new(usize::MAX),
                admission: Admission::new(AdmissionLimits::default()).listener(ListenerLimits::default()),
            };
            let (broker_state, broker_host) = (state.clone(), host.clone());
            let make = move |_| Broker { index, state: broker_state.clone(), host: broker_host.clone() };
            let server = Server::start(host, listener, options, make).unwrap();
            state.lock().ports.push(server.local_address().port());
            servers.push(server);
        }
        FakeCluster { state, _servers: servers }
    }

    pub(crate) fn bootstrap(&self) -> String {
        let ports = self.state.lock().ports.clone();
        ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// A client of it that does not wait long before it tries again.
    pub(crate) async fn connect(&self, host: &Host) -> Cluster {
        let options = ClusterOptions {
            retry_backoff_ms: 1,
            retry_backoff_max_ms: 5,
            reconnect_backoff_ms: 1,
            reconnect_backoff_max_ms: 5,
            ..ClusterOptions::bootstrap(&self.bootstrap())
        };
        Cluster::connect(host, options).await.unwrap()
    }
}

impl State {
    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    /// Whether something goes wrong now.
    pub(crate) fn goes_wrong(&mut self) -> bool {
        self.random(100) < self.faults.percent
    }

    /// Lets a partition be led by another broker, now and then.
    fn move_leader(&mut self, index: usize) {
        if self.goes_wrong() && self.random(4) == 0 {
            let brokers = self.ports.len();
            let log = &mut self.logs[index];
            log.leader = (log.leader + 1) % brokers;
            log.leader_epoch += 1;
        }
    }

    fn append(&mut self, index: usize, records: &[u8]) -> Result<i64, ErrorCode> {
        let batch = BatchView::new(records).unwrap();
        batch.verify_crc().unwrap();
        if self.faults.max_batch_records.is_some_and(|most| batch.count() > most) {
            return Err(ErrorCode::MessageTooLarge);
        }
        if batch.is_transactional() {
            self.note_transactional(index as i32);
        }
        let log = &mut self.logs[index];
        let (first, last) = (batch.base_sequence(), batch.last_sequence());
        if batch.has_producer_id() {
            let epoch = batch.producer_epoch().0;
            let producer = log.producers.entry(batch.producer_id().0).or_default();
            if epoch < producer.epoch {
                return Err(ErrorCode::InvalidProducerEpoch);
            }
            if epoch > producer.epoch {
                *producer = Producer { epoch, last: VecDeque::new() };
            }
            if let Some((.., base)) = producer.last.iter().find(|it| (it.0, it.1) == (first, last)) {
                return Ok(*base);
            }
            if first != producer.last.back().map_or(0, |it| it.1 + 1) {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
            producer.last.push_back((first, last, log.end));
            if producer.last.len() > 5 {
                producer.last.pop_front();
            }
        }
        let base = log.end;
        let mut header = BatchHeader::from_bytes(*records.first_chunk::<HEADER_BYTES>().unwrap());
        header.place(Offset(base), LeaderEpoch(log.leader_epoch));
        let mut stored = BytesMut::from(records);
        stored[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        log.batches.push(stored.freeze());
        log.end += i64::from(batch.count());
        Ok(base)
    }
}

/// Whether a producer asks for the identity of a transactional id.
fn names_transaction(reader: &Reader, version: i16) -> bool {
    let request = InitProducerIdRequest::decode(&mut reader.clone(), version).unwrap();
    request.transactional_id.is_some()
}

/// One broker's side of one connection.
struct Broker {
    index: usize,
    state: Arc<Mutex<State>>,
    host: Host,
}

impl Service for Broker {
    type Note = ();

    fn dispatch(&mut self, frame: Bytes, _received: Moment) -> (Answer, ()) {
        (self.answer(frame), ())
    }

    fn answered(&mut self, (): ()) {}
}

impl Broker {
    fn answer(&mut self, frame: Bytes) -> Answer {
        let mut reader = Reader::new(frame);
        let (key, header) = decode_request_header(&mut reader).unwrap();
        let version = header.request_api_version;
        let mut body = Writer::default();
        let mut pause = Duration::ZERO;
        match key {
            ApiKey::ApiVersions => self.api_versions(version).encode(&mut body, self.understood(version)),
            ApiKey::Metadata => self.metadata().encode(&mut body, version),
            ApiKey::InitProducerId if !names_transaction(&reader, version) => {
                let mut state = self.state.lock();
                state.next_producer += 1;
                let producer_id = state.next_producer;
                InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() }
                    .encode(&mut body, version)
            }
            ApiKey::Produce => match self.produce(ProduceRequest::decode(&mut reader, version).unwrap()) {
                Some(answer) => answer.encode(&mut body, version),
                None => return self.hang_up(),
            },
            ApiKey::Fetch => match self.fetch(FetchRequest::decode(&mut reader, version).unwrap()) {
                Some(answer) => {
                    if answer.responses.is_empty() {
                        pause = Duration::from_millis(5);
                    }
                    answer.encode(&mut body, version)
                }
                None => return Response::close().into(),
            },
            ApiKey::ListOffsets => self
                .list_offsets(ListOffsetsRequest::decode(&mut reader, version).unwrap())
                .encode(&mut body, version),
            ApiKey::OffsetForLeaderEpoch => self
                .epoch_ends(OffsetForLeaderEpochRequest::decode(&mut reader, version).unwrap())
                .encode(&mut body, version),
            ApiKey::InitProducerId | ApiKey::AddPartitionsToTxn | ApiKey::EndTxn => {
                let told = self.state.lock().transaction(self.index, key, &mut reader, version, &mut body);
                if told.as_ref().is_ok_and(|is_lost| *is_lost) {
                    return Response::close().into();
                }
                told.map(drop)
            }
            ApiKey::ShareGroupHeartbeat | ApiKey::ShareFetch | ApiKey::ShareAcknowledge => {
                let told = self.state.lock().shared(self.index, key, &mut reader, version, &mut body);
                match told {
                    Ok(Told::Lost) => return Response::close().into(),
                    Ok(Told::Nothing) => pause = Duration::from_millis(5),
                    Ok(Told::All) | Err(_) => {}
                }
                told.map(drop)
            }
            other => self.group(other, &mut reader, version, &mut body),
        }
        .unwrap();
        let mut writer = Writer::default();
        writer.i32(0);
        let header = ResponseHeader { correlation_id: header.correlation_id, ..ResponseHeader::default() };
        header.encode(&mut writer, response_header_version(key, version)).unwrap();
        writer.raw(&body.into_bytes());
        let len = writer.len() as i32 - 4;
        writer.patch_i32(0, len);
        let response = Response::bytes(writer.into_bytes());
        if pause.is_zero() {
            return response.into();
        }
        let host = self.host.clone();
        Answer::later(async move {
            host.sleep(pause).await;
            response
        })
    }
}

impl Broker {
    /// What groups ask.
    fn group(
        &self,
        key: ApiKey,
        reader: &mut Reader,
        version: i16,
        body: &mut Writer,
    ) -> Result<(), EncodeError> {
        let mut state = self.state.lock();
        let at = self.index;
        match key {
            ApiKey::FindCoordinator => {
                state.find_coordinator(Message::decode(reader, version).unwrap()).encode(body, version)
            }
            ApiKey::JoinGroup => {
                state.join(at, Message::decode(reader, version).unwrap()).encode(body, version)
            }
            ApiKey::SyncGroup => {
                state.sync(at, Message::decode(reader, version).unwrap()).encode(body, version)
            }
            ApiKey::Heartbeat => {
                state.heartbeat(at, Message::decode(reader, version).unwrap()).encode(body, version)
            }
            ApiKey::LeaveGroup => {
                state.leave(Message::decode(reader, version).unwrap()).encode(body, version)
            }
            ApiKey::ConsumerGroupHeartbeat => {
                state.consumer_heartbeat(at, Message::decode(reader, version).unwrap()).encode(body, version)
            }
            ApiKey::OffsetCommit => {
                state.commit(at, Message::decode(reader, version).unwrap()).encode(body, version)
            }
            ApiKey::OffsetFetch => {
                state.committed(at, Message::decode(reader, version).unwrap()).encode(body, version)
            }
            other => panic!("{other:?} is not asked here"),
        }
    }

    fn hang_up(&self) -> Answer {
        if self.state.lock().faults.is_silent {
            return Answer::later(std::future::pending());
        }
        Response::close().into()
    }

    fn understood(&self, version: i16) -> i16 {
        let last = self.state.lock().faults.last_api_versions.unwrap_or(i16::MAX);
        if version > last { 0 } else { version }
    }

    fn api_versions(&self, version: i16) -> ApiVersionsResponse {
        let last = self.state.lock().faults.last_api_versions.unwrap_or(i16::MAX);
        let code = if version > last { ErrorCode::UnsupportedVersion } else { ErrorCode::None };
        let agreed = FinalizedFeatureKey {
            name: "transaction.version".into(),
            max_version_level: self.state.lock().transactions.version,
            min_version_level: 0,
            ..FinalizedFeatureKey::default()
        };
        let keys = ApiKey::ALL.iter().map(|key| ApiVersion {
            api_key: *key as i16,
            min_version: key.first_offered_version(),
            max_version: if *key == ApiKey::ApiVersions {
                key.last_version().min(last)
            } else {
                key.last_version()
            },
            ..ApiVersion::default()
        });
        ApiVersionsResponse {
            error_code: code.code(),
            api_keys: keys.collect(),
            finalized_features_epoch: 1,
            finalized_features: vec![agreed],
            ..Default::default()
        }
    }

    fn metadata(&self) -> MetadataResponse {
        let state = self.state.lock();
        let brokers = state.ports.iter().enumerate().map(|(index, port)| MetadataResponseBroker {
            node_id: index as i32,
            host: "127.0.0.1".into(),
            port: (*port).into(),
            ..MetadataResponseBroker::default()
        });
        let partitions = state.logs.iter().enumerate().map(|(index, log)| MetadataResponsePartition {
            partition_index: index as i32,
            leader_id: if state.faults.is_leaderless { -1 } else { log.leader as i32 },
            leader_epoch: log.leader_epoch,
            ..MetadataResponsePartition::default()
        });
        let topic = MetadataResponseTopic {
            name: Some(TOPIC.into()),
            topic_id: TOPIC_ID,
            partitions: partitions.collect(),
            ..MetadataResponseTopic::default()
        };
        MetadataResponse {
            brokers: brokers.collect(),
            cluster_id: Some("cluster".into()),
            controller_id: 0,
            topics: vec![topic],
            ..MetadataResponse::default()
        }
    }

    /// Nothing is answered if the connection is to end.
    fn produce(&self, request: ProduceRequest) -> Option<ProduceResponse> {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.faults.is_silent || (state.goes_wrong() && state.random(2) == 0) {
            return None;
        }
        let mut partitions = Vec::new();
        for data in request.topic_data.iter().flat_map(|it| &it.partition_data) {
            let index = data.index as usize;
            state.move_leader(index);
            let records = data.records.as_ref().unwrap();
            let told = if state.logs[index].leader != self.index {
                Err(ErrorCode::NotLeaderOrFollower)
            } else if state.goes_wrong() {
                let written = state.append(index, records);
                written.and(Err(ErrorCode::NotEnoughReplicasAfterAppend))
            } else {
                state.append(index, records)
            };
            partitions.push(PartitionProduceResponse {
                index: data.index,
                error_code: told.err().unwrap_or_default().code(),
                base_offset: told.unwrap_or(-1),
                log_append_time_ms: -1,
                ..PartitionProduceResponse::default()
            });
        }
        let topic = TopicProduceResponse {
            name: TOPIC.into(),
            topic_id: TOPIC_ID,
            partition_responses: partitions,
            ..TopicProduceResponse::default()
        };
        let answer = ProduceResponse { responses: vec![topic], ..ProduceResponse::default() };
        // What was written, and is not told.
        let lost = state.goes_wrong() || request.acks == 0;
        (!lost).then_some(answer)
    }

    fn fetch(&self, request: FetchRequest) -> Option<FetchResponse> {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.goes_wrong() {
            return None;
        }
        let failed = |code: ErrorCode| FetchResponse { error_code: code.code(), ..FetchResponse::default() };
        let id = if request.session_epoch == 0 {
            let id = state.random(i32::MAX as u64) as i32 | 1;
            state.sessions.insert(id, Session::default());
            id
        } else {
            request.session_id
        };
        if state.goes_wrong() {
            state.sessions.remove(&id);
        }
        let Some(session) = state.sessions.get_mut(&id) else {
            return Some(failed(ErrorCode::FetchSessionIdNotFound));
        };
        if session.epoch != request.session_epoch {
            return Some(failed(ErrorCode::InvalidFetchSessionEpoch));
        }
        session.epoch += 1;
        for partition in request.forgotten_topics_data.iter().flat_map(|it| &it.partitions) {
            assert!(session.offsets.remove(partition).is_some(), "forgotten, but not in the session");
        }
        for it in request.topics.iter().flat_map(|it| &it.partitions) {
            session.offsets.insert(it.partition, (it.fetch_offset, it.current_leader_epoch));
        }
        let offsets = session.offsets.clone();
        let mut partitions = Vec::new();
        for (index, (offset, epoch)) in offsets {
            state.move_leader(index as usize);
            let log = &state.logs[index as usize];
            let mut data = PartitionData {
                partition_index: index,
                high_watermark: log.end,
                last_stable_offset: log.end,
                log_start_offset: 0,
                ..PartitionData::default()
            };
            let code = if log.leader != self.index {
                ErrorCode::NotLeaderOrFollower
            } else if epoch < log.leader_epoch {
                ErrorCode::FencedLeaderEpoch
            } else if offset > log.end {
                ErrorCode::OffsetOutOfRange
            } else {
                ErrorCode::None
            };
            data.error_code = code.code();
            if code == ErrorCode::None && offset < log.end {
                let ends = |bytes: &Bytes| BatchView::new(bytes).unwrap().end_offset().0;
                let behind = log.batches.iter().filter(|it| ends(it) > offset).take(3);
                data.records = Some(Bytes::from(behind.flat_map(|it| it.to_vec()).collect::<Vec<u8>>()));
            } else if code == ErrorCode::None {
                continue;
            }
            partitions.push(data);
        }
        let topic = FetchableTopicResponse {
            topic: TOPIC.into(),
            topic_id: TOPIC_ID,
            partitions,
            ..FetchableTopicResponse::default()
        };
        let responses = if topic.partitions.is_empty() { Vec::new() } else { vec![topic] };
        Some(FetchResponse { session_id: id, responses, ..FetchResponse::default() })
    }

    fn list_offsets(&self, request: ListOffsetsRequest) -> ListOffsetsResponse {
        let state = self.state.lock();
        let partitions = request.topics.iter().flat_map(|it| &it.partitions).map(|it| {
            let log = &state.logs[it.partition_index as usize];
            let led = log.leader == self.index && it.current_leader_epoch == log.leader_epoch;
            let code = if led { ErrorCode::None } else { ErrorCode::NotLeaderOrFollower };
            ListOffsetsPartitionResponse {
                partition_index: it.partition_index,
                error_code: code.code(),
                offset: if it.timestamp == -2 { 0 } else { log.end },
                leader_epoch: log.leader_epoch,
                ..ListOffsetsPartitionResponse::default()
            }
        });
        let name: Str = TOPIC.into();
        let topic = ListOffsetsTopicResponse { name, partitions: partitions.collect(), ..Default::default() };
        ListOffsetsResponse { topics: vec![topic], ..ListOffsetsResponse::default() }
    }

    fn epoch_ends(&self, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
        let state = self.state.lock();
        let partitions = request.topics.iter().flat_map(|it| &it.partitions).map(|it| {
            let log = &state.logs[it.partition as usize];
            let led = log.leader == self.index && it.current_leader_epoch == log.leader_epoch;
            let code = if led { ErrorCode::None } else { ErrorCode::NotLeaderOrFollower };
            EpochEndOffset {
                partition: it.partition,
                error_code: code.code(),
                leader_epoch: it.leader_epoch,
                end_offset: log.end,
                ..EpochEndOffset::default()
            }
        });
        let topic: Str = TOPIC.into();
        let topic =
            OffsetForLeaderTopicResult { topic, partitions: partitions.collect(), ..Default::default() };
        OffsetForLeaderEpochResponse { topics: vec![topic], ..OffsetForLeaderEpochResponse::default() }
    }
}
