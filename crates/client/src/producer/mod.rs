//! Records into batches, batches to leaders: in order, and once.
//!
//! | file | holds |
//! |---|---|
//! | `delivery` | what becomes of records |
//! | `partitioner` | which partition a record without a key goes to |
//! | `batch` | a batch: filled, sealed, sent again, split |
//! | `accumulator` | batches by partition, and the rules of their order |
//! | `request` | a produce request around batches that are not copied |
//! | `sender` | the task that sends what may leave |
//! | `transaction` | records and offsets that count together or not at all |
//! | `coordination` | the task that begins and ends transactions |

mod accumulator;
mod batch;
mod coordination;
mod delivery;
mod partitioner;
mod request;
mod sender;
#[cfg(test)]
mod tests;
mod transaction;
#[cfg(test)]
mod transaction_tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI16, AtomicUsize, Ordering};

use bytes::Bytes;
use ottla_base::settings::{Table, Texts};
use ottla_base::{ErrorCode, PartitionIndex, Str, Timestamp};
use ottla_record::partition_for_key;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

pub use self::delivery::{Delivery, RecordMetadata};
pub use self::transaction::{Transaction, TransactionalProducer};

use self::accumulator::{Accumulator, Rules};
use self::batch::Parts;
use crate::cluster::{Backoff, Cluster, Deadline, TopicMetadata, TopicPartition, millis};
use crate::error::Error;
use crate::options::ProducerOptions;

/// A record to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerRecord {
    /// The topic.
    pub topic: Str,
    /// The partition; `None` leaves it to the key, or to the producer.
    pub partition: Option<PartitionIndex>,
    /// When it was made; `None` means now.
    pub timestamp: Option<Timestamp>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone on a compacted topic.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Vec<(Str, Option<Bytes>)>,
}

/// Sends records. Dropping it sends in the background what was accepted before.
#[derive(Debug)]
pub struct Producer {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Cluster,
    options: ProducerOptions,
    accumulator: Mutex<Accumulator>,
    memory: Arc<Semaphore>,
    memory_permits: u32,
    /// How many callers wait for memory: nothing lingers while there are any.
    starving: AtomicUsize,
    closing: AtomicBool,
    /// The newest version of `Produce` that may be used: which it is tells brokers how transactions work.
    last_produce_version: AtomicI16,
    /// Wakes the sender.
    wake: Notify,
    /// Tells that batches were answered.
    progress: watch::Sender<u64>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Producer").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The most that a record's length, numbers and its share of a batch's header take (`AbstractRecords`).
const RECORD_OVERHEAD_BYTES: usize = 61 + 21;
/// The most that the lengths of a header take.
const HEADER_OVERHEAD_BYTES: usize = 10;

impl ProducerOptions {
    /// Reads options as Kafka's producer does: `acks` other than `all` turn idempotence off unless it was asked for.
    pub fn from_texts(texts: &Texts) -> Result<ProducerOptions, Error> {
        let mut options = ProducerOptions::read(texts)?;
        if !texts.contains_key("enable.idempotence") && options.check().is_err() {
            tracing::info!("idempotence is off: acks, retries or requests in flight exclude it");
            options.enable_idempotence = false;
        }
        options.check()?;
        Ok(options)
    }
}

impl Producer {
    /// A producer for a cluster. Needs a tokio runtime, in which it then sends.
    pub fn new(cluster: &Cluster, options: ProducerOptions) -> Result<Producer, Error> {
        if options.transactional_id.is_some() {
            return Err(Error::invalid("a producer with a transactional.id is a TransactionalProducer"));
        }
        Ok(Producer { inner: Inner::start(cluster, options)? })
    }

    /// Accepts a record; the result is what becomes of it. Waits, for up to `max.block.ms`, while the topic is not
    /// known or `buffer.memory` is full. Dropped while it waits, the record is not sent.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, Error> {
        self.inner.send(record).await
    }

    /// Waits until every record accepted so far is delivered or has failed; nothing lingers meanwhile.
    pub async fn flush(&self) {
        self.inner.flush().await;
    }

    /// Accepts no more, and waits until everything is delivered or has failed.
    pub async fn close(self) {
        self.inner.closing.store(true, Ordering::SeqCst);
        self.flush().await;
    }

    /// The partitions of a topic, asked for if they are not known.
    pub async fn topic(&self, name: &str) -> Result<Arc<TopicMetadata>, Error> {
        let limit = millis(self.inner.options.max_block_ms);
        let deadline = Deadline::after(self.inner.cluster.host(), "asking for a topic", limit);
        self.inner.cluster.topic(name, true, deadline).await
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.inner.closing.store(true, Ordering::SeqCst);
        self.inner.wake.notify_one();
    }
}

impl Inner {
    /// Starts the sender.
    fn start(cluster: &Cluster, options: ProducerOptions) -> Result<Arc<Inner>, Error> {
        options.check()?;
        let memory_permits = u32::try_from(options.buffer_memory).unwrap_or(u32::MAX);
        let rules = Rules {
            batch_size: options.batch_size.max(1) as usize,
            max_request_size: options.max_request_size.max(1) as usize,
            compression: options.compression(),
            linger: millis(options.linger_ms),
            delivery_timeout: millis(options.delivery_timeout_ms.into()),
            retries: options.retries.unsigned_abs(),
            max_in_flight: options.max_in_flight_requests_per_connection.unsigned_abs(),
            idempotent: options.enable_idempotence,
            transactional: options.transactional_id.is_some(),
            adaptive: options.partitioner_adaptive_partitioning_enable,
            backoff: cluster.retry_backoff(),
        };
        let inner = Inner {
            cluster: cluster.clone(),
            options,
            accumulator: Mutex::new(Accumulator::new(rules)),
            memory: Arc::new(Semaphore::new(memory_permits as usize)),
            memory_permits,
            starving: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            last_produce_version: AtomicI16::new(i16::MAX),
            wake: Notify::new(),
            progress: watch::Sender::new(0),
        };
        let inner = Arc::new(inner);
        cluster.host().spawn(sender::run(inner.clone()));
        Ok(inner)
    }

    async fn send(&self, record: ProducerRecord) -> Result<Delivery, Error> {
        let inner = self;
        let host = inner.cluster.host();
        if inner.closing.load(Ordering::Relaxed) {
            return Err(Error::Closed("the producer was closed".into()));
        }
        let deadline = Deadline::after(host, "accepting a record", millis(inner.options.max_block_ms));
        let topic = inner.topic(&record, deadline).await?;
        let timestamp = record.timestamp.unwrap_or_else(|| host.wall_clock());
        if timestamp.0 < 0 {
            return Err(Error::invalid(format!(
                "Invalid timestamp: {timestamp}. Timestamp should always be non-negative."
            )));
        }
        let parts = Parts {
            timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        };
        let memory = inner.reserve(size_of(parts), deadline).await?;
        let now = host.now();
        let mut accumulator = inner.accumulator.lock();
        if let Some(fatal) = &accumulator.fatal {
            return Err(fatal.clone());
        }
        if let Some(error) = accumulator.transaction_error() {
            return Err(error.clone());
        }
        let chosen = inner.partition(&mut accumulator, &record, &topic)?;
        let sticks =
            record.partition.is_none() && (record.key.is_none() || inner.options.partitioner_ignore_keys);
        let partition = TopicPartition { topic: topic.name.clone(), partition: chosen };
        let (delivery, look) = accumulator.append(&partition, parts, sticks, memory, now);
        drop(accumulator);
        if look {
            inner.wake.notify_one();
        }
        Ok(delivery)
    }

    async fn flush(&self) {
        let mut progress = self.progress.subscribe();
        let number = self.accumulator.lock().flush();
        self.wake.notify_one();
        loop {
            progress.borrow_and_update();
            if self.accumulator.lock().is_answered_below(number) {
                return;
            }
            if progress.changed().await.is_err() {
                return;
            }
        }
    }

    /// The record's topic; if the record names a partition, one that has it.
    async fn topic(&self, record: &ProducerRecord, deadline: Deadline) -> Result<Arc<TopicMetadata>, Error> {
        let has = |topic: &TopicMetadata| record.partition.is_none_or(|it| topic.partition(it).is_some());
        if let Some(topic) = self.cluster.metadata().topic(&record.topic).filter(|it| has(it)) {
            return Ok(topic.clone());
        }
        let mut backoff: Backoff = self.cluster.retry_backoff();
        loop {
            let topic = self.cluster.topic(&record.topic, true, deadline).await?;
            if has(&topic) {
                return Ok(topic);
            }
            let count = topic.partitions.len();
            let mut missing = Some(Error::invalid(format!(
                "topic {} has {count} partitions, and none of them is the one asked for",
                record.topic
            )));
            self.cluster.pause(&mut backoff, deadline, &mut missing).await?;
            self.cluster.refresh(deadline).await?;
        }
    }

    /// Takes memory for a record.
    async fn reserve(&self, size: usize, deadline: Deadline) -> Result<OwnedSemaphorePermit, Error> {
        let most = self.options.max_request_size as usize;
        if size > most {
            return Err(Error::invalid(format!(
                "The message is {size} bytes when serialized which is larger than {most}, which is the value of \
                 the max.request.size configuration."
            )));
        }
        if size > self.memory_permits as usize {
            return Err(Error::invalid(format!(
                "The message is {size} bytes when serialized which is larger than the total memory buffer you \
                 have configured with the buffer.memory configuration."
            )));
        }
        let permits = size as u32;
        if let Ok(permit) = self.memory.clone().try_acquire_many_owned(permits) {
            return Ok(permit);
        }
        let _starving = Starving::new(&self.starving);
        self.wake.notify_one();
        let acquired = self.memory.clone().acquire_many_owned(permits);
        match self.cluster.host().timeout_at(deadline.at(), acquired).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::Closed("the producer was closed".into())),
            Err(_) => Err(deadline.passed(Some(Error::invalid(
                "buffer.memory is full: records are made faster than they are delivered",
            )))),
        }
    }

    fn partition(
        &self,
        accumulator: &mut Accumulator,
        record: &ProducerRecord,
        topic: &TopicMetadata,
    ) -> Result<PartitionIndex, Error> {
        if let Some(partition) = record.partition {
            return Ok(partition);
        }
        let count = topic.partitions.len() as i32;
        let chosen = match &record.key {
            Some(key) if !self.options.partitioner_ignore_keys && count > 0 => {
                Some(partition_for_key(key, count))
            }
            _ => accumulator.choose_partition(topic, || self.cluster.host().random_u64()),
        };
        chosen.ok_or_else(|| ErrorCode::UnknownTopicOrPartition.into())
    }
}

/// Counts who waits for memory.
struct Starving<'a>(&'a AtomicUsize);

impl<'a> Starving<'a> {
    fn new(count: &'a AtomicUsize) -> Starving<'a> {
        count.fetch_add(1, Ordering::SeqCst);
        Starving(count)
    }
}

impl Drop for Starving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The most bytes that a record takes in a batch, that batch's header included.
fn size_of(record: Parts<'_>) -> usize {
    let headers = record.headers.iter();
    let headers: usize = headers
        .map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len) + HEADER_OVERHEAD_BYTES)
        .sum();
    let (key, value) = (record.key.map_or(0, <[u8]>::len), record.value.map_or(0, <[u8]>::len));
    RECORD_OVERHEAD_BYTES + key + value + headers
}
