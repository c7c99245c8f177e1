//! Fetch (key 1), versions 4 to 18.
//!
//! A reader that finds too little waits once, on the progress of all its partitions, with a deadline. Records never
//! pass through the response: it names ranges of files, which leave by `sendfile`.
//!
//! What is on the local disk no more is read from tiered storage, on a task of its own, and answered as soon as it is
//! there or `remote.fetch.max.wait.ms` is over.
//!
//! Departures from Kafka: a read of tiered storage for which there is no room gives nothing, so that the reader asks
//! again; Kafka fails it. The broker has no other replicas to fetch from it yet, so a follower is
//! answered as one that is not assigned.

mod answer;
mod tiered;

use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ErrorCode, Moment, Offset, Str, Uuid};
use ottla_net::{Answer, Response};
use ottla_storage::{FirstBatch, Listener, ReadError, ReadLimit, ReadRequest};
use ottla_wire::messages::fetch_request::FetchRequest;

use crate::broker::{Broker, ResolvedTopic};
use crate::call::Call;
use crate::fetch_session::{Answered, Opened, PartitionKey, SessionRequest, Wanted};
use crate::partition::Partition;
use crate::tier::WantedTiered;
use answer::{FetchAnswer, PartitionAnswer};

/// The first version that names topics by id (KIP-516).
const FIRST_VERSION_WITH_TOPIC_IDS: i16 = 13;
/// The isolation level that stops at open transactions.
const READ_COMMITTED: i8 = 1;
/// The replica id of a consumer; the debugging consumer, -2, reads past the high watermark as a follower does.
const CONSUMER: i32 = -1;

/// What all partitions of a fetch have in common.
#[derive(Clone, Copy)]
struct Terms {
    max_bytes: u32,
    min_bytes: u32,
    limit: ReadLimit,
    read_committed: bool,
    replica_id: i32,
    deadline: Moment,
}

/// Reads what there is; if it is too little, waits until there is enough or the time is over.
pub fn fetch(broker: &Arc<Broker>, call: Call, request: FetchRequest) -> Answer {
    let replica_id = if call.version >= 15 { request.replica_state.replica_id } else { request.replica_id };
    let limit = match (replica_id, request.isolation_level) {
        (CONSUMER, READ_COMMITTED) => ReadLimit::LastStable,
        (CONSUMER, _) => ReadLimit::HighWatermark,
        _ => ReadLimit::End,
    };
    let bytes = |it: i32| u32::try_from(it).unwrap_or(0);
    let terms = Terms {
        max_bytes: bytes(request.max_bytes).min(bytes(broker.settings.load().server.network.fetch_max_bytes)),
        min_bytes: bytes(request.min_bytes).min(bytes(request.max_bytes)),
        limit,
        read_committed: request.isolation_level == READ_COMMITTED,
        replica_id,
        deadline: call.received + Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
    };
    let opened = match broker.sessions.open(session_request(&call, request, replica_id)) {
        Ok(opened) => opened,
        Err(code) => return answer::refused(&call, code).into(),
    };
    let fetching = Fetching { broker: broker.clone(), call, terms, opened };
    let plan = fetching.plan();
    match fetching.read_warm(&plan) {
        Some(read) if read.is_enough(&terms) => fetching.respond(read).into(),
        _ => Answer::patient(fetching.wait(plan)),
    }
}

fn session_request(call: &Call, request: FetchRequest, replica_id: i32) -> SessionRequest {
    let mut wanted = Vec::new();
    for topic in request.topics {
        for partition in topic.partitions {
            let key = PartitionKey {
                topic: topic.topic.clone(),
                topic_id: topic.topic_id,
                index: partition.partition,
            };
            let want = Wanted {
                fetch_offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
                log_start_offset: partition.log_start_offset,
            };
            wanted.push((key, want));
        }
    }
    let mut forgotten = Vec::new();
    for topic in request.forgotten_topics_data {
        for index in topic.partitions {
            forgotten.push(PartitionKey { topic: topic.topic.clone(), topic_id: topic.topic_id, index });
        }
    }
    SessionRequest {
        session_id: request.session_id,
        session_epoch: request.session_epoch,
        uses_topic_ids: call.version >= FIRST_VERSION_WITH_TOPIC_IDS,
        privileged: replica_id >= 0,
        wanted,
        forgotten,
        now: call.received,
    }
}

/// A partition that is read, or why it is not.
struct Planned {
    key: PartitionKey,
    wanted: Wanted,
    partition: Result<Arc<Partition>, ErrorCode>,
}

/// What one pass over the partitions brought.
struct Read {
    answers: Vec<PartitionAnswer>,
    bytes: u32,
    /// Whether a refusal or a divergence must be told at once.
    urgent: bool,
    /// What is to be read from tiered storage.
    tiered: Vec<TieredPart>,
}

impl Read {
    fn is_enough(&self, terms: &Terms) -> bool {
        // What is tiered is read first.
        self.tiered.is_empty() && (self.urgent || self.bytes >= terms.min_bytes || self.answers.is_empty())
    }
}

impl Read {
    /// Whether it would be enough without what is tiered, which has to wait.
    fn is_enough_without(&self, terms: &Terms) -> bool {
        let bytes = self.answers.iter().fold(0_u32, |sum, it| sum.saturating_add(it.records_len));
        self.urgent || bytes >= terms.min_bytes.max(1)
    }
}

struct Fetching {
    broker: Arc<Broker>,
    call: Call,
    terms: Terms,
    opened: Opened,
}

impl Fetching {
    /// Looks every partition up once; the reads of a waiting fetch go to the same logs.
    fn plan(&self) -> Vec<Planned> {
        let by_id = self.call.version >= FIRST_VERSION_WITH_TOPIC_IDS;
        let (broker, replica_id) = (&self.broker, self.terms.replica_id);
        // The partitions of a topic mostly come together.
        let mut resolved: Option<(Uuid, Str, ResolvedTopic)> = None;
        let plan = self.opened.wanted().map(|(key, wanted)| {
            let known = resolved.take().filter(|it| it.0 == key.topic_id && it.1 == key.topic);
            let (.., topic) = resolved.insert(known.unwrap_or_else(|| {
                let topic = broker.resolve_topic(by_id, &key.topic, key.topic_id);
                (key.topic_id, key.topic.clone(), topic)
            }));
            let partition = topic.clone().and_then(|(id, _, count)| {
                if !(0..count).contains(&key.index) {
                    return Err(ErrorCode::UnknownTopicOrPartition);
                }
                let partition = broker.partitions.get_hosted(id, key.index)?;
                if replica_id >= 0 {
                    // Only replicas follow, and all of them are known.
                    let assigned = partition.leadership().replicas.contains(&replica_id.into());
                    return if assigned { Ok(partition) } else { Err(ErrorCode::UnknownLeaderEpoch) };
                }
                Ok(partition)
            });
            Planned { key: key.clone(), wanted: *wanted, partition }
        });
        plan.collect()
    }

    /// Reads on the connection's task if nothing has to wait for the disk.
    fn read_warm(&self, plan: &[Planned]) -> Option<Read> {
        let warm = plan.iter().filter_map(|it| it.partition.as_ref().ok().map(|partition| (it, partition)));
        for (planned, partition) in warm {
            let log = partition.log();
            let max_bytes = u32::try_from(planned.wanted.max_bytes).unwrap_or(0).min(self.terms.max_bytes);
            if !log.is_warm(&log.view(), Offset(planned.wanted.fetch_offset), max_bytes) {
                return None;
            }
        }
        Some(read(plan, &self.terms))
    }

    async fn wait(self, plan: Vec<Planned>) -> Response {
        let plan = Arc::new(plan);
        let listener = Listener::new();
        loop {
            listener.reset();
            for partition in plan.iter().filter_map(|it| it.partition.as_ref().ok()) {
                partition.log().listen(&listener);
            }
            let mut read = match self.read_warm(&plan) {
                Some(read) => read,
                None => {
                    let (plan, terms) = (plan.clone(), self.terms);
                    self.broker.host.reading(move || read(&plan, &terms)).await
                }
            };
            if read.is_enough(&self.terms) {
                return self.respond(read);
            }
            let pause = match &read.tiered[..] {
                [] => None,
                _ => self.broker.tier.get().and_then(|it| it.fetch_pause(&self.broker)),
            };
            if !read.tiered.is_empty() && (pause.is_none() || read.is_enough_without(&self.terms)) {
                if pause.is_none() {
                    read = tiered::complete(&self.broker, &plan, read).await;
                }
                return self.respond(read);
            }
            let until = match pause {
                Some(pause) => self.terms.deadline.min(self.broker.host.now() + pause),
                None => self.terms.deadline,
            };
            let woken = self.broker.host.timeout_at(until, listener.wait()).await.is_ok();
            if !woken && self.broker.host.now() >= self.terms.deadline {
                return self.respond(read);
            }
        }
    }

    /// Notes in the session what is told, leaves out what did not move, and writes the answer.
    fn respond(mut self, read: Read) -> Response {
        self.count(&read);
        let mut answers = read.answers;
        answers.retain(|answer| {
            let answered = Answered {
                error: answer.code,
                records_len: answer.records_len as usize,
                high_watermark: answer.high_watermark,
                log_start_offset: answer.log_start_offset,
                has_more: answer.is_diverging(),
            };
            self.opened.answer(&answer.key, answered)
        });
        let Fetching { broker, call, opened, .. } = self;
        let host = &broker.host;
        let session_id = broker.sessions.close(opened, || (host.random_u64() & 0x7fff_ffff) as i32);
        let mut answer = FetchAnswer { session_id, partitions: answers };
        answer.group_by_topic();
        answer.respond(&broker, &call)
    }

    fn count(&self, read: &Read) {
        let all = &self.broker.metrics.all_topics;
        for answer in &read.answers {
            let Some(partition) = &answer.partition else {
                all.failed_fetch_requests.increment();
                continue;
            };
            for counters in [all, &*partition.counters] {
                counters.total_fetch_requests.increment();
                counters.bytes_out.add(u64::from(answer.records_len));
            }
        }
    }
}

/// Reads every partition in turn until the answer is full.
fn read(plan: &[Planned], terms: &Terms) -> Read {
    let mut read =
        Read { answers: Vec::with_capacity(plan.len()), bytes: 0, urgent: false, tiered: Vec::new() };
    for planned in plan {
        let answer = match &planned.partition {
            Ok(partition) => match read_partition(planned, partition, terms, read.bytes) {
                Found::Here(answer) => answer,
                Found::Tiered(answer, wanted) => {
                    read.tiered.push(TieredPart { at: read.answers.len(), wanted });
                    // As if it brought all that is wanted, so that the whole stays within its bound.
                    read.bytes = read.bytes.saturating_add(wanted.max_bytes);
                    answer
                }
            },
            Err(code) => PartitionAnswer::refused(planned.key.clone(), *code),
        };
        read.urgent |= !answer.code.is_none() || answer.is_diverging();
        read.bytes += answer.records_len;
        read.answers.push(answer);
    }
    read
}

fn read_partition(planned: &Planned, partition: &Arc<Partition>, terms: &Terms, bytes_so_far: u32) -> Found {
    let refused = |code| {
        let answer = PartitionAnswer::refused(planned.key.clone(), code);
        PartitionAnswer { partition: Some(partition.clone()), ..answer }
    };
    let wanted = &planned.wanted;
    // Consumers may read from any replica; epochs are fenced for all (KIP-320, KIP-392).
    if let Err(code) = partition.leader_epoch(wanted.current_leader_epoch) {
        return Found::Here(refused(code));
    }
    let mut answer = refused(ErrorCode::None);
    let log = partition.log();
    let view = log.view();
    answer.high_watermark = view.high_watermark.get();
    answer.last_stable_offset = view.last_stable.get();
    answer.log_start_offset = view.log_start.get();
    if wanted.last_fetched_epoch >= 0 {
        match partition.divergence(wanted.last_fetched_epoch, wanted.fetch_offset) {
            Ok(None) => {}
            Ok(Some(diverging)) => {
                answer.diverging = diverging;
                return Found::Here(answer);
            }
            Err(code) => return Found::Here(refused(code)),
        }
    }
    let left = terms.max_bytes.saturating_sub(bytes_so_far);
    let request = ReadRequest {
        from: Offset(wanted.fetch_offset),
        max_bytes: u32::try_from(wanted.max_bytes).unwrap_or(0).min(left),
        limit: terms.limit,
        // The first records of an answer are whole however large they are: a reader must be able to go on.
        first_batch: if bytes_so_far == 0 { FirstBatch::Whole } else { FirstBatch::WithinLimit },
    };
    match log.read(&view, &request) {
        Ok(records) => {
            if terms.read_committed {
                answer.aborted = Some(records.aborted);
            }
            answer.records_len = records.bytes;
            answer.ranges = records.ranges;
        }
        // Replicas build what is tiered from its metadata.
        Err(ReadError::Tiered { .. }) if terms.replica_id < 0 => {
            let wanted = WantedTiered {
                from: request.from,
                end: view.limit(request.limit),
                max_bytes: request.max_bytes,
                at_least_one: request.first_batch == FirstBatch::Whole,
                read_committed: terms.read_committed,
            };
            answer.aborted = terms.read_committed.then(Vec::new);
            return Found::Tiered(answer, wanted);
        }
        // It was moved to another directory meanwhile.
        Err(_) if !Arc::ptr_eq(&log, &partition.log()) => {
            return read_partition(planned, partition, terms, bytes_so_far);
        }
        Err(error) => {
            let code = error.error_code();
            if code != ErrorCode::OffsetOutOfRange {
                tracing::error!(partition = %partition, %error, "a read failed");
            }
            return Found::Here(refused(code));
        }
    }
    Found::Here(answer)
}

/// What one partition's log has.
enum Found {
    /// This.
    Here(PartitionAnswer),
    /// Nothing, for it was tiered: all but the records.
    Tiered(PartitionAnswer, WantedTiered),
}

/// A partition that is to be read from tiered storage.
struct TieredPart {
    /// Its place among the answers, and in the plan.
    at: usize,
    wanted: WantedTiered,
}
