//! Records that a group gave up, on their way to another topic (KIP-1191, `ShareGroupDLQStateManager`).
//!
//! Whether or not they arrive there, they are done with afterwards: a topic that cannot be written to must not hold a
//! group up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_base::{ErrorCode, FastMap, Offset, Str};
use ottla_coordinator::share_partition::{DeadLetter, DeadLetterCause};
use ottla_metadata::controller::{CreateTopics, Names, Reply, Request};
use ottla_record::{BatchBuilder, BatchOptions, Batches, Header};
use ottla_storage::producer_state::{ProducerOrigin, VerificationGuard};
use ottla_storage::{FirstBatch, Listener, Log, ReadLimit, ReadRequest};
use ottla_wire::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};

use super::{GroupRules, TrackedPartition};
use crate::broker::Broker;
use crate::partition::Partition;
use crate::settings_change::topic_settings;

/// The most bytes of the log that are read at once to copy records.
const MAX_READ_BYTES: u32 = 1 << 20;
/// The most that one batch may decompress to; records of larger ones are sent without key and value.
const MAX_BATCH_BYTES: u64 = 64 << 20;
/// What a record adds to a batch besides key, value and headers.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// How long a topic that is made may take to appear.
const CREATION_LIMIT: Duration = Duration::from_secs(30);
/// How long replicas may take to follow.
const REPLICATION_LIMIT: Duration = Duration::from_secs(30);

/// Why records do not arrive in the dead-letter queue.
#[derive(Debug, thiserror::Error)]
enum NotSent {
    #[error("no dead-letter topic is configured")]
    NoTopic,
    #[error("the dead-letter topic {0} begins with __")]
    Internal(Str),
    #[error("the dead-letter topic {0} does not begin with errors.deadletterqueue.topic.name.prefix")]
    Prefix(Str),
    #[error("the topic {0} has no errors.deadletterqueue.group.enable")]
    NotEnabled(Str),
    #[error("the topic {0} does not exist, and errors.deadletterqueue.auto.create.topics.enable is off")]
    NotThere(Str),
    #[error("{0}")]
    Refused(ErrorCode),
}

/// Sends what was given up, and then is done with it.
pub(super) fn send(
    broker: &Arc<Broker>,
    tracked: &Arc<TrackedPartition>,
    group: &GroupRules,
    letters: Vec<DeadLetter>,
) {
    if letters.is_empty() {
        return;
    }
    let (task, tracked, group) = (broker.clone(), tracked.clone(), group.clone());
    broker.host.spawn(async move {
        for letter in letters {
            if let Err(reason) = send_one(&task, &tracked, &group, &letter).await {
                tracing::error!(
                    group = %tracked.key.group, partition = %tracked.partition,
                    first = letter.first, last = letter.last, %reason,
                    "records that were given up are not in the dead-letter queue"
                );
            }
            tracked.archive_dead_letter(&task, &group, &letter);
        }
    });
}

async fn send_one(
    broker: &Arc<Broker>,
    tracked: &TrackedPartition,
    group: &GroupRules,
    letter: &DeadLetter,
) -> Result<(), NotSent> {
    let topic = group.dead_letter_topic.as_ref().ok_or(NotSent::NoTopic)?;
    let partition = destination(broker, topic, tracked.partition.index.get()).await?;
    let mut first = letter.first;
    while first <= letter.last {
        let copied = match group.copies_dead_letters {
            true => {
                let log = tracked.partition.log();
                let last = letter.last;
                broker.host.blocking(move || copy(&log, first, last)).await
            }
            false => Copied::nothing(letter.last),
        };
        let (records, next) = batch(tracked, letter, first, &copied, partition.max_message_bytes(), broker);
        append(broker, &partition, records).await?;
        first = next;
    }
    Ok(())
}

/// The partition of the dead-letter topic that takes what comes from the partition `index`.
async fn destination(broker: &Arc<Broker>, topic: &Str, index: i32) -> Result<Arc<Partition>, NotSent> {
    let (prefix, creates) = {
        let settings = broker.settings.load();
        let share = &settings.server.share_groups;
        let creates = share.errors_deadletterqueue_auto_create_topics_enable;
        (share.errors_deadletterqueue_topic_name_prefix.clone(), creates)
    };
    if topic.starts_with("__") {
        return Err(NotSent::Internal(topic.clone()));
    }
    if !topic.starts_with(prefix.as_str()) {
        return Err(NotSent::Prefix(topic.clone()));
    }
    let is_there = || broker.image.load().topics.named(topic).is_some();
    if !is_there() {
        if !creates {
            return Err(NotSent::NotThere(topic.clone()));
        }
        create(broker, topic).await?;
        broker.wait_for_image(CREATION_LIMIT, is_there).await;
    }
    let image = broker.image.load_full();
    if !topic_settings(&broker.settings.load(), &image, topic).errors_deadletterqueue_group_enable {
        return Err(NotSent::NotEnabled(topic.clone()));
    }
    let found = image.topics.named(topic).ok_or(NotSent::Refused(ErrorCode::UnknownTopicOrPartition))?;
    let index = index % found.partition_count.max(1);
    broker.partitions.get_hosted(found.id, index).map_err(NotSent::Refused)
}

async fn create(broker: &Broker, topic: &Str) -> Result<(), NotSent> {
    let config = |name, value| CreatableTopicConfig {
        name: Str::from_static(name),
        value: Some(Str::from_static(value)),
        ..CreatableTopicConfig::default()
    };
    let topic = CreatableTopic {
        name: topic.clone(),
        num_partitions: -1,
        replication_factor: -1,
        configs: vec![
            config("errors.deadletterqueue.group.enable", "true"),
            config("message.timestamp.type", "CreateTime"),
        ],
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
    let request = CreateTopics { request, creatable: Names::All, describable: Names::All };
    match broker.controller.submit(Request::CreateTopics(request)).await {
        Ok(Reply::CreateTopics(reply)) => {
            let codes = reply.topics.iter().map(|it| ErrorCode::from_code(it.error_code));
            let mut refused =
                codes.filter(|it| !matches!(it, ErrorCode::None | ErrorCode::TopicAlreadyExists));
            refused.next().map_or(Ok(()), |code| Err(NotSent::Refused(code)))
        }
        Ok(_) => Err(NotSent::Refused(ErrorCode::UnknownServerError)),
        Err(code) => Err(NotSent::Refused(code)),
    }
}

/// Keys and values by offset, as far as the log was read.
struct Copied {
    records: FastMap<i64, (Option<Bytes>, Option<Bytes>)>,
    until: i64,
}

impl Copied {
    fn nothing(until: i64) -> Copied {
        Copied { records: FastMap::default(), until }
    }
}

/// Reads keys and values from `first` on, as many as one read brings. What cannot be read is sent without. Blocks.
fn copy(log: &Log, first: i64, last: i64) -> Copied {
    let request = ReadRequest {
        from: Offset(first),
        max_bytes: MAX_READ_BYTES,
        limit: ReadLimit::HighWatermark,
        first_batch: FirstBatch::Whole,
    };
    let Ok(answer) = log.read(&log.view(), &request) else { return Copied::nothing(last) };
    let mut bytes = vec![0; answer.bytes as usize];
    let mut rest = bytes.as_mut_slice();
    for range in &answer.ranges {
        let (piece, after) = rest.split_at_mut(range.len as usize);
        if range.file.read_exact_at(piece, range.position).is_err() {
            return Copied::nothing(last);
        }
        rest = after;
    }
    let mut copied = Copied::nothing(first);
    for batch in Batches::new(&bytes) {
        let Ok(batch) = batch else { break };
        copied.until = batch.last_offset().get();
        let Some(batch) = batch.v2().filter(|it| !it.header().is_control()) else { continue };
        let Ok(records) = batch.decompressed(MAX_BATCH_BYTES) else { continue };
        for record in batch.records(&records).flatten() {
            if (first..=last).contains(&record.offset.get()) {
                let copy = |it: Option<&[u8]>| it.map(Bytes::copy_from_slice);
                copied.records.insert(record.offset.get(), (copy(record.key), copy(record.value)));
            }
        }
        if copied.until >= last {
            break;
        }
    }
    // Always further than before, whatever the log has.
    copied.until = copied.until.clamp(first, last);
    copied
}

/// A batch of dead letters from `first` on, and the offset that comes after them.
fn batch(
    tracked: &TrackedPartition,
    letter: &DeadLetter,
    first: i64,
    copied: &Copied,
    max_bytes: usize,
    broker: &Broker,
) -> (Bytes, i64) {
    let now = broker.host.wall_clock();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let mut size = ottla_record::HEADER_BYTES;
    let partition = tracked.partition.index.to_string();
    let delivery_count = letter.delivery_count.to_string();
    let cause = match letter.cause {
        DeadLetterCause::Rejected => "Offset rejected by client.",
        DeadLetterCause::DeliveryCountExceeded => "Offset delivery count exceeded the threshold.",
    };
    let mut offset = first;
    while offset <= letter.last.min(copied.until) {
        let at = offset.to_string();
        let headers = [
            ("__dlq.errors.topic", tracked.partition.topic.as_str()),
            ("__dlq.errors.partition", partition.as_str()),
            ("__dlq.errors.offset", at.as_str()),
            ("__dlq.errors.group", tracked.key.group.as_str()),
            ("__dlq.errors.delivery.count", delivery_count.as_str()),
            ("__dlq.errors.message", cause),
        ];
        let (key, value) = copied.records.get(&offset).cloned().unwrap_or_default();
        let headers_len: usize = headers.iter().map(|(key, value)| key.len() + value.len() + 10).sum();
        let len = |it: &Option<Bytes>| it.as_ref().map_or(0, Bytes::len);
        size += RECORD_OVERHEAD_BYTES + headers_len + len(&key) + len(&value);
        if size > max_bytes && offset > first {
            break;
        }
        let headers =
            headers.map(|(key, value)| Header { key: key.as_bytes(), value: Some(value.as_bytes()) });
        builder.append(now, key.as_deref(), value.as_deref(), headers);
        offset += 1;
    }
    (builder.build(), offset)
}

/// Appends, and waits until every replica in sync has it.
async fn append(broker: &Broker, partition: &Partition, records: Bytes) -> Result<(), NotSent> {
    let origin = ProducerOrigin::Coordinator(VerificationGuard::NONE);
    let appended = partition.append_own(records, origin, broker.host.wall_clock());
    let appended = appended.map_err(|error| NotSent::Refused(error.error_code()))?;
    let end = appended.end;
    if appended.flush_first && partition.log().flush_to(end).await.is_ok() {
        partition.log().advance_high_watermark(end);
    }
    let deadline = broker.host.now() + REPLICATION_LIMIT;
    let listener = Listener::new();
    loop {
        listener.reset();
        let log = partition.log();
        log.listen(&listener);
        if log.view().high_watermark >= end {
            return Ok(());
        }
        if broker.host.timeout_at(deadline, listener.wait()).await.is_err() {
            return Err(NotSent::Refused(ErrorCode::RequestTimedOut));
        }
    }
}
