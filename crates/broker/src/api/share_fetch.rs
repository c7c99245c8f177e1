//! ShareFetch (key 78), versions 1 and 2: a member of a share group acquires records, and may say how it went with
//! others (KIP-932, KIP-1206, KIP-1222).
//!
//! A member that finds too little waits once, on the logs and on what is in flight of all its partitions, with a
//! deadline. Departures from Kafka: a share partition is not locked while it is read; who comes second acquires what is
//! left. Where that is nothing, it goes on waiting and is not answered with nothing.

mod answer;

use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ErrorCode, Moment, Str};
use ottla_coordinator::share_partition::{
    Acknowledgement, Acquire, AcquireMode, AcquiredRange, FetchedBatch,
};
use ottla_coordinator::share_state::SharePartitionKey;
use ottla_metadata::controller::Refusal;
use ottla_net::{Answer, Response};
use ottla_storage::{FirstBatch, Listener, ReadError, ReadLimit, View};
use ottla_wire::messages::share_fetch_request::ShareFetchRequest;
use ottla_wire::messages::share_fetch_response::ShareFetchResponse;
use smallvec::smallvec;

use super::share_acknowledge::{
    Said, acknowledge, connection_of, count_refused, session_key, topic_counters,
};
use crate::broker::Broker;
use crate::call::Call;
use crate::partition::Partition;
use crate::share::{
    Acknowledging, FINAL_EPOCH, Found, GroupRules, Opened, ReadFailure, Reading, SessionKey, SessionRequest,
    Slice, Standing, TopicPartitionId, TrackedPartition, Wanted, located, read,
};
use crate::tier::WantedTiered;
use answer::{PartitionAnswer, ShareFetchAnswer};

/// The first version in which locks can be renewed (KIP-1222).
pub(super) const FIRST_VERSION_WITH_RENEWAL: i16 = 2;

/// Opens the session, takes the acknowledgements, and reads what there is; if it is too little, waits until there is
/// enough or the time is over.
pub fn share_fetch(broker: &Arc<Broker>, call: Call, request: ShareFetchRequest) -> Answer {
    let deadline = call.received + Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    match begin(broker, &call, request) {
        Ok(fetching) => Answer::patient(Fetching { deadline, ..fetching }.run(broker.clone(), call)),
        // Who cannot have a session shall not ask again at once.
        Err(refusal) if refusal.code == ErrorCode::ShareSessionLimitReached => {
            let broker = broker.clone();
            Answer::patient(async move {
                broker.host.sleep_until(deadline).await;
                refused(&call, refusal)
            })
        }
        Err(refusal) => refused(&call, refusal).into(),
    }
}

fn refused(call: &Call, refusal: Refusal) -> Response {
    let words = refusal.message.unwrap_or(Str::from_static(refusal.code.message()));
    call.respond(&ShareFetchResponse {
        error_code: refusal.code.code(),
        error_message: Some(words),
        ..ShareFetchResponse::default()
    })
}

/// A fetch on its way.
struct Fetching {
    key: SessionKey,
    session_epoch: i32,
    opened: Opened,
    rules: GroupRules,
    mode: AcquireMode,
    max_records: i64,
    batch_size: i64,
    min_bytes: u32,
    max_bytes: u32,
    deadline: Moment,
    /// What is said of acknowledgements, or will be.
    acknowledging: Vec<(TopicPartitionId, Acknowledging)>,
    /// Partitions to read.
    targets: Vec<Target>,
    /// Partitions that cannot be read, and why.
    refused: Vec<(TopicPartitionId, Refusal)>,
}

/// A partition to read.
struct Target {
    id: TopicPartitionId,
    partition: Arc<Partition>,
    tracked: Arc<TrackedPartition>,
}

fn begin(broker: &Arc<Broker>, call: &Call, request: ShareFetchRequest) -> Result<Fetching, Refusal> {
    let key = session_key(request.group_id.as_ref(), request.member_id.as_ref())?;
    let rules = broker.share.rules(broker, &key.group).map_err(Refusal::in_common_words)?;
    let renews = call.version >= FIRST_VERSION_WITH_RENEWAL && request.is_renew_ack;
    if renews {
        check_renewal(&request)?;
    }
    let mode = match request.share_acquire_mode {
        0 => AcquireMode::Batch,
        1 => AcquireMode::RecordLimit,
        other => {
            let words = format!("Unknown share acquire mode id: {other}");
            return Err(Refusal::new(ErrorCode::InvalidRequest, words));
        }
    };
    let opened = open_session(broker, call, &key, &request)?;
    let said = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|it| {
            let batches = it.acknowledgement_batches.iter().map(|batch| Acknowledgement {
                first: batch.first_offset,
                last: batch.last_offset,
                types: batch.acknowledge_types.clone(),
            });
            ((topic.topic_id, it.partition_index), batches.collect::<Vec<_>>())
        })
    });
    let said: Vec<_> = said.collect();
    let is_saying = said.iter().any(|(_, batches)| !batches.is_empty());
    let acknowledging = match is_saying {
        true => acknowledge(broker, &key, said, Said { version: call.version, renews }),
        false => Vec::new(),
    };
    let bytes = |it: i32| u32::try_from(it).unwrap_or(0);
    let max_bytes =
        bytes(request.max_bytes).min(bytes(broker.settings.load().server.network.fetch_max_bytes));
    let mut fetching = Fetching {
        key,
        session_epoch: request.share_session_epoch,
        opened,
        rules,
        mode,
        max_records: i64::from(request.max_records.max(0)),
        batch_size: i64::from(request.batch_size.max(0)),
        min_bytes: bytes(request.min_bytes).min(max_bytes),
        max_bytes,
        deadline: call.received,
        acknowledging,
        targets: Vec::new(),
        refused: Vec::new(),
    };
    if !renews {
        fetching.find_targets(broker);
    }
    Ok(fetching)
}

/// Who renews locks fetches nothing: it might take longer than the locks hold.
fn check_renewal(request: &ShareFetchRequest) -> Result<(), Refusal> {
    let limits = [
        (request.max_bytes, "maxBytes must be set to 0, "),
        (request.min_bytes, "minBytes must be set to 0, "),
        (request.max_records, "maxRecords must be set to 0, "),
        (request.max_wait_ms, "maxWaitMs must be set to 0, "),
    ];
    let words: String = limits.iter().filter(|(limit, _)| *limit != 0).map(|(_, words)| *words).collect();
    match words.is_empty() {
        true => Ok(()),
        false => Err(Refusal::new(ErrorCode::InvalidRequest, words + "if isRenewAck is true.")),
    }
}

fn open_session(
    broker: &Broker,
    call: &Call,
    key: &SessionKey,
    request: &ShareFetchRequest,
) -> Result<Opened, Refusal> {
    let partitions = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|it| (topic.topic_id, it.partition_index)));
    let forgotten = request.forgotten_topics_data.iter();
    let forgotten = forgotten.flat_map(|topic| topic.partitions.iter().map(|it| (topic.topic_id, *it)));
    let mut partitions_said = request.topics.iter().flat_map(|it| &it.partitions);
    let limit = broker.settings.load().server.share_groups.group_share_max_share_sessions;
    let session = SessionRequest {
        key: key.clone(),
        epoch: request.share_session_epoch,
        added: partitions.collect(),
        forgotten: forgotten.collect(),
        acknowledges: partitions_said.any(|it| !it.acknowledgement_batches.is_empty()),
        connection: connection_of(call),
    };
    let opened = broker.share.sessions.open(session, usize::try_from(limit).unwrap_or(0));
    opened.map_err(Refusal::in_common_words)
}

/// What one pass over the partitions has found.
#[derive(Default)]
struct Look {
    found: Vec<FoundRecords>,
    bytes: u32,
}

/// Records of one partition that may be acquired.
struct FoundRecords {
    target: usize,
    offset: i64,
    reading: Reading,
}

impl Fetching {
    /// Looks every partition of the session up, beginning at another one in every fetch.
    fn find_targets(&mut self, broker: &Arc<Broker>) {
        let mut partitions = self.opened.partitions().to_vec();
        if !partitions.is_empty() {
            let shift = usize::try_from(self.session_epoch).unwrap_or(0) % partitions.len();
            partitions.rotate_left(shift);
        }
        let image = broker.image.load();
        for id in partitions {
            let (topic_id, index) = id;
            let found = match image.topics.get(topic_id) {
                None => Err(ErrorCode::UnknownTopicId),
                Some(topic) if !(0..topic.partition_count).contains(&index) => {
                    Err(ErrorCode::UnknownTopicOrPartition)
                }
                Some(_) => broker.partitions.get_hosted(topic_id, index),
            };
            let key = SharePartitionKey { group: self.key.group.clone(), topic: topic_id, partition: index };
            let target = found.and_then(|partition| {
                let tracked = broker.share.get_or_load(broker, key, &partition)?;
                Ok(Target { id, partition, tracked })
            });
            match target {
                Ok(target) => self.targets.push(target),
                Err(code) => self.refused.push((id, Refusal::in_common_words(code))),
            }
        }
        for counters in topic_counters(broker, self.targets.iter().map(|target| target.id)) {
            broker.metrics.all_topics.total_share_fetch_requests.increment();
            counters.total_share_fetch_requests.increment();
        }
    }

    async fn run(mut self, broker: Arc<Broker>, call: Call) -> Response {
        let acquired =
            if self.max_records == 0 || self.max_bytes == 0 { Vec::new() } else { self.wait(&broker).await };
        let mut acknowledged = Vec::with_capacity(self.acknowledging.len());
        for (id, acknowledging) in std::mem::take(&mut self.acknowledging) {
            acknowledged.push((id, acknowledging.end().await));
        }
        count_refused(&broker, &acknowledged);
        for counters in topic_counters(&broker, self.refused.iter().map(|(id, _)| *id)) {
            broker.metrics.all_topics.failed_share_fetch_requests.increment();
            counters.failed_share_fetch_requests.increment();
        }
        let response = self.answer(&broker, &call, acquired, acknowledged);
        if self.session_epoch == FINAL_EPOCH {
            broker.share.end_session(&broker, &self.key);
        }
        response
    }

    /// Acquires what there is, as soon as it is enough or the time is over.
    async fn wait(&mut self, broker: &Arc<Broker>) -> Vec<PartitionAnswer> {
        let listener = Listener::new();
        loop {
            listener.reset();
            for target in &self.targets {
                target.tracked.listen(&listener);
                target.partition.log().listen(&listener);
            }
            let look = self.look(broker).await;
            if self.targets.is_empty() {
                return Vec::new();
            }
            let is_late = broker.host.now() >= self.deadline;
            if look.bytes > 0 && (look.bytes >= self.min_bytes || is_late) {
                let read: Vec<_> = look.found.iter().map(|it| (it.target, it.offset)).collect();
                let acquired = self.acquire(broker, look);
                if !acquired.is_empty() {
                    return acquired;
                }
                // What was read was aborted, or somebody was faster: there may be more behind it.
                if !is_late && read.into_iter().any(|(target, offset)| self.has_moved(target, offset)) {
                    continue;
                }
            }
            if is_late {
                return Vec::new();
            }
            // Whoever was woken looks once more; so does who waited to the end.
            let _ = broker.host.timeout_at(self.deadline, listener.wait()).await;
        }
    }

    /// Whether a partition is to be read from somewhere else than before.
    fn has_moved(&self, target: usize, before: i64) -> bool {
        let standing = self.targets[target].tracked.standing(&self.rules);
        matches!(standing, Standing::Acquirable { offset, .. } if offset != before)
    }

    /// Reads every partition that may have something. Those that cannot be had any more are set aside.
    async fn look(&mut self, broker: &Arc<Broker>) -> Look {
        let mut look = Look::default();
        let mut over = Vec::new();
        let share = u32::try_from(self.targets.len().max(1)).unwrap_or(u32::MAX);
        let max_bytes = (self.max_bytes / share).max(1);
        for (at, target) in self.targets.iter().enumerate() {
            let (offset, end) = match target.tracked.standing(&self.rules) {
                Standing::Acquirable { offset, end } => (offset, end),
                Standing::Loading | Standing::Full => continue,
                Standing::Over(refusal) => {
                    over.push((at, refusal));
                    continue;
                }
            };
            let wanted = Wanted {
                from: offset,
                until: end.max(offset).saturating_add(self.max_records),
                max_bytes,
                limit: self.rules.limit,
                first_batch: if look.bytes == 0 { FirstBatch::Whole } else { FirstBatch::WithinLimit },
            };
            match self.read(broker, target, wanted).await {
                Ok(None) => {}
                Ok(Some((offset, reading))) => {
                    look.bytes = look.bytes.saturating_add(reading.bytes);
                    look.found.push(FoundRecords { target: at, offset, reading });
                }
                Err(code) => over.push((at, Refusal::in_common_words(code))),
            }
        }
        // Places of what was found stay right: what is over was not found.
        for (at, refusal) in over.iter().rev() {
            let target = self.targets.remove(*at);
            self.refused.push((target.id, refusal.clone()));
            for found in &mut look.found {
                found.target -= usize::from(found.target > *at);
            }
        }
        look
    }

    async fn read(
        &self,
        broker: &Arc<Broker>,
        target: &Target,
        mut wanted: Wanted,
    ) -> Result<Option<(i64, Reading)>, ErrorCode> {
        for _ in 0..2 {
            let log = target.partition.log();
            let view = log.view();
            let result = if log.is_warm(&view, wanted.from.into(), wanted.max_bytes) {
                read(&log, &view, &wanted)
            } else {
                let (log, view) = (log.clone(), view.clone());
                broker.host.reading(move || read(&log, &view, &wanted)).await
            };
            match result {
                Ok(reading) if reading.bytes == 0 => return Ok(None),
                Ok(reading) => return Ok(Some((wanted.from, reading))),
                Err(error) if error.error_code() == ErrorCode::OffsetOutOfRange => {
                    target.tracked.log_start_moved(view.log_start.get());
                    match target.tracked.standing(&self.rules) {
                        Standing::Acquirable { offset, .. } if offset > wanted.from => wanted.from = offset,
                        _ => return Ok(None),
                    }
                }
                Err(ReadFailure::Log(ReadError::Tiered { .. })) => {
                    let read = read_tiered(broker, target, &view, wanted).await?;
                    return Ok(Some((wanted.from, read)).filter(|it| it.1.bytes > 0));
                }
                // It was moved to another directory meanwhile.
                Err(_) if !Arc::ptr_eq(&log, &target.partition.log()) => {}
                Err(error) => {
                    tracing::error!(partition = %target.partition, %error, "a read failed");
                    return Err(error.error_code());
                }
            }
        }
        Ok(None)
    }

    /// Acquires as much of what was found as the member wants.
    fn acquire(&self, broker: &Broker, look: Look) -> Vec<PartitionAnswer> {
        let mut answers = Vec::with_capacity(look.found.len());
        let mut wanted = self.max_records;
        for found in look.found {
            let target = &self.targets[found.target];
            let fetched: Vec<FetchedBatch> = found.reading.batches.iter().map(|it| it.batch).collect();
            let asked = Acquire {
                member: &self.key.member,
                mode: self.mode,
                batch_size: self.batch_size,
                max_records: wanted,
                fetch_offset: found.offset,
                fetched: &fetched,
                aborted: &found.reading.aborted,
                now: broker.host.now(),
            };
            let acquired = target.tracked.acquire(broker, &self.rules, &asked);
            wanted -= acquired.iter().map(|it| it.last - it.first + 1).sum::<i64>();
            if let (Some(first), Some(last)) = (acquired.first(), acquired.last()) {
                let slice = found.reading.slice(first.first, last.last);
                answers.push(PartitionAnswer::acquired(target.id, acquired, slice));
            }
        }
        answers
    }

    fn answer(
        &self,
        broker: &Arc<Broker>,
        call: &Call,
        mut answers: Vec<PartitionAnswer>,
        acknowledged: Vec<(TopicPartitionId, Result<(), Refusal>)>,
    ) -> Response {
        answers.extend(self.refused.iter().map(|(id, refusal)| PartitionAnswer::refused(*id, refusal)));
        self.count(broker, &answers);
        let found: Vec<_> = answers.iter().map(|it| (it.id, it.found())).collect();
        let mentioned = match broker.share.sessions.answer(&self.key, &self.opened, &found) {
            Ok(mentioned) => mentioned,
            Err(code) => return refused(call, Refusal::in_common_words(code)),
        };
        let mut mentioned = mentioned.into_iter();
        answers.retain(|_| mentioned.next().unwrap_or(true));
        for (id, result) in acknowledged {
            match answers.iter_mut().find(|it| it.id == id) {
                Some(answer) => answer.acknowledged(result),
                None => {
                    let mut answer = PartitionAnswer::acquired(id, Vec::new(), Slice::default());
                    answer.acknowledged(result);
                    answers.push(answer);
                }
            }
        }
        let lock_ms = i32::try_from(self.rules.rules.lock_duration.as_millis()).unwrap_or(i32::MAX);
        ShareFetchAnswer { lock_ms, partitions: answers }.respond(broker, call)
    }

    fn count(&self, broker: &Broker, answers: &[PartitionAnswer]) {
        let all = &broker.metrics.all_topics;
        for answer in answers {
            let target = self.targets.iter().find(|it| it.id == answer.id);
            let own = target.map(|it| &*it.partition.counters);
            for counters in [Some(all), own].into_iter().flatten() {
                counters.bytes_out.add(u64::from(answer.records.bytes));
            }
        }
    }
}

impl PartitionAnswer {
    fn found(&self) -> Found {
        match (self.code, self.records.bytes) {
            (ErrorCode::None, 0) => Found::Nothing,
            (ErrorCode::None, _) => Found::Records,
            _ => Found::Wrong,
        }
    }
}

/// Reads what was tiered, into a file that has no name any more: what is acquired of it is cut out of there.
async fn read_tiered(
    broker: &Arc<Broker>,
    target: &Target,
    view: &View,
    wanted: Wanted,
) -> Result<Reading, ErrorCode> {
    let Some(tier) = broker.tier.get().filter(|it| it.fetch_pause(broker).is_none()) else {
        return Ok(Reading::default());
    };
    let asked = WantedTiered {
        from: wanted.from.into(),
        end: view.limit(wanted.limit),
        max_bytes: wanted.max_bytes,
        at_least_one: wanted.first_batch == FirstBatch::Whole,
        read_committed: wanted.limit == ReadLimit::LastStable,
    };
    let read = tier.read(broker, &target.partition, asked).await?;
    if read.records.is_empty() {
        return Ok(Reading::default());
    }
    let range = tier.spool(read.records).await.map_err(|error| {
        tracing::error!(partition = %target.partition, %error, "tiered records cannot be kept");
        ErrorCode::KafkaStorageError
    })?;
    let located = broker.host.reading(move || located(smallvec![range], &read.aborted, &wanted)).await;
    located.map_err(|error| error.error_code())
}

/// Ranges that were acquired, for the answer.
type Acquired = Vec<AcquiredRange>;
