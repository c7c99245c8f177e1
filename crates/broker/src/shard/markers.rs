//! The markers that end transactions: into partitions of this broker, one by one, until all are written
//! (`TransactionMarkerChannelManager`).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ottla_base::{ErrorCode, PartitionIndex, Str};
use ottla_coordinator::group::{self, Producer, TransactionResult};
use ottla_coordinator::transaction::{Markers, MarkersWritten, Request, TopicPartitions};
use ottla_record::{EndTxnMarker, end_txn_batch};
use ottla_storage::producer_state::ProducerOrigin;

use super::asked::{Asked, Given};
use super::seated::Shard;
use super::transactions::Transactions;
use crate::broker::Broker;
use crate::commit::until_committed;
use crate::topic;

/// How long a partition that takes no marker is left alone.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// The most markers that are written before anything else is decided; a transaction with more is left to a task.
const MAX_AT_ONCE: usize = 64;
/// How long one attempt waits until a marker is committed.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);

/// One transaction's end, as each of its partitions is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marker {
    /// The producer, in the epoch of the marker.
    pub(crate) producer: Producer,
    /// The epoch of the coordinator that has decided it.
    pub(crate) coordinator_epoch: i32,
    /// How the transaction ends.
    pub(crate) result: TransactionResult,
    /// The `transaction.version` that the client spoke.
    pub(crate) version: i16,
}

/// Whether a marker is in a partition and committed.
pub(crate) enum Marked {
    /// It is known.
    Now(Result<(), ErrorCode>),
    /// It will be known.
    Later(Pin<Box<dyn Future<Output = Result<(), ErrorCode>> + Send>>),
}

/// Writes the markers of a transaction, and tells its coordinator when all are written. Those that need no waiting are
/// written at once: most transactions are complete before their producer hears that they will be.
pub(super) fn write(broker: &Arc<Broker>, shard: &Arc<Shard<Transactions>>, markers: Markers) {
    let marker = Marker {
        producer: markers.producer,
        coordinator_epoch: shard.epoch.get(),
        result: markers.result,
        version: markers.version,
    };
    let mut writing = Writing {
        shard: shard.clone(),
        marker,
        missing: (*markers.partitions).clone(),
        written: MarkersWritten { transactional_id: markers.transactional_id, tag: markers.tag },
    };
    let mut waiting = Vec::new();
    if writing.missing.len() <= MAX_AT_ONCE {
        match writing.attempt(broker) {
            Attempt::Written => return writing.tell(broker),
            Attempt::Fenced => return,
            Attempt::Waiting(these) => waiting = these,
            Attempt::Again => {}
        }
    }
    let broker = broker.clone();
    let host = broker.host.clone();
    host.spawn(async move { writing.finish(&broker, waiting).await });
}

/// Appends a marker to a partition that this broker leads. In a partition of `__consumer_offsets` it is known to be
/// there once the group coordinator has applied it, so that whoever hears of the commit finds the offsets (KAFKA-17507).
pub(crate) fn append(broker: &Arc<Broker>, topic: &Str, index: PartitionIndex, marker: Marker) -> Marked {
    // Whoever has no replica does not know the partition.
    let unknown = Marked::Now(Err(ErrorCode::UnknownTopicOrPartition));
    let Ok(partition) = broker.find_partition(topic, index.get()) else { return unknown };
    if topic == topic::CONSUMER_OFFSETS {
        return append_to_group(broker, index, marker);
    }
    if topic::is_internal(topic) {
        return unknown;
    }
    let now = broker.host.wall_clock();
    let Marker { producer, coordinator_epoch, result, version } = marker;
    let committed = result == TransactionResult::Committed;
    let batch =
        end_txn_batch(producer.id, producer.epoch, EndTxnMarker { committed, coordinator_epoch }, now);
    let appended = match partition.append_own(batch, ProducerOrigin::Marker(version), now) {
        Ok(appended) => appended,
        Err(error) => return Marked::Now(Err(error.error_code())),
    };
    if !appended.flush_first && partition.log().view().high_watermark >= appended.end {
        return Marked::Now(Ok(()));
    }
    let broker = broker.clone();
    Marked::Later(Box::pin(async move {
        let deadline = broker.host.now() + COMMIT_TIMEOUT;
        until_committed(&broker, &partition, &appended, deadline).await
    }))
}

fn append_to_group(broker: &Arc<Broker>, index: PartitionIndex, marker: Marker) -> Marked {
    let Marker { producer, coordinator_epoch, result, version } = marker;
    let request =
        group::Request::EndTransaction(group::EndTransaction { producer, coordinator_epoch, result });
    let origin = ProducerOrigin::Marker(version);
    let groups = &broker.coordinators.groups;
    match groups.ask_at(broker, index.get(), request, origin) {
        Asked::Here(given) => Marked::Now(given.map_or(Err(ErrorCode::UnknownServerError), told)),
        coming => Marked::Later(Box::pin(async move { told(coming.await) })),
    }
}

/// What a group coordinator's answer is to a transaction coordinator, which knows of partitions only.
fn told(given: Given<Box<group::Reply>>) -> Result<(), ErrorCode> {
    match given {
        Ok(_) => Ok(()),
        Err(
            ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::NotCoordinator,
        ) => Err(ErrorCode::NotLeaderOrFollower),
        Err(code) => Err(code),
    }
}

/// Markers on their way.
struct Writing {
    shard: Arc<Shard<Transactions>>,
    marker: Marker,
    /// Where it is not known to be written.
    missing: TopicPartitions,
    written: MarkersWritten,
}

/// A partition, and when it is known whether the marker is in it.
type Waiting = (Str, PartitionIndex, Pin<Box<dyn Future<Output = Result<(), ErrorCode>> + Send>>);

/// What came of writing all that is missing.
enum Attempt {
    /// All is written.
    Written,
    /// Another coordinator has taken over: it writes the markers.
    Fenced,
    /// Some of it is appended but not committed.
    Waiting(Vec<Waiting>),
    /// Some of it has to be written again.
    Again,
}

impl Writing {
    /// Appends what is missing.
    fn attempt(&mut self, broker: &Arc<Broker>) -> Attempt {
        let all: Vec<(Str, PartitionIndex)> =
            self.missing.each().map(|(topic, index)| (topic.clone(), index)).collect();
        let mut waiting = Vec::new();
        for (topic, index) in all {
            if !self.shard.is_wanted() {
                return Attempt::Fenced;
            }
            match append(broker, &topic, index, self.marker) {
                Marked::Later(future) => waiting.push((topic, index, future)),
                Marked::Now(outcome) => {
                    if let Fate::Lost = self.take_in(broker, &topic, index, outcome) {
                        return Attempt::Fenced;
                    }
                }
            }
        }
        match (self.missing.is_empty(), waiting.is_empty()) {
            (true, _) => Attempt::Written,
            (false, true) => Attempt::Again,
            (false, false) => Attempt::Waiting(waiting),
        }
    }

    /// Goes on until all is written, or somebody else does it.
    async fn finish(mut self, broker: &Arc<Broker>, mut waiting: Vec<Waiting>) {
        let counted = &broker.metrics.transactions.waiting_markers;
        let _counted = Counted::one(counted);
        loop {
            for (topic, index, future) in std::mem::take(&mut waiting) {
                let outcome = future.await;
                if let Fate::Lost = self.take_in(broker, &topic, index, outcome) {
                    return;
                }
            }
            if self.missing.is_empty() {
                return self.tell(broker);
            }
            match self.attempt(broker) {
                Attempt::Written => return self.tell(broker),
                Attempt::Fenced => return,
                Attempt::Waiting(these) => waiting = these,
                Attempt::Again => broker.host.sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// What a partition's answer means (`TransactionMarkerRequestCompletionHandler`).
    fn take_in(
        &mut self,
        broker: &Broker,
        topic: &Str,
        index: PartitionIndex,
        outcome: Result<(), ErrorCode>,
    ) -> Fate {
        let id = &self.written.transactional_id;
        match outcome {
            Ok(()) => self.missing.remove(topic, index),
            Err(ErrorCode::UnsupportedForMessageFormat | ErrorCode::UnsupportedVersion) => {
                self.missing.remove(topic, index);
            }
            // A partition that is gone needs no marker.
            Err(_) if is_deleted(broker, topic, index) => self.missing.remove(topic, index),
            Err(code @ (ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced)) => {
                tracing::warn!(
                    transactional_id = %id, %topic, partition = %index, %code,
                    "a partition knows a later coordinator or producer; no more markers are sent"
                );
                return Fate::Lost;
            }
            Err(code) => {
                tracing::debug!(
                    transactional_id = %id, %topic, partition = %index, %code,
                    "a marker is not written yet"
                );
            }
        }
        Fate::GoesOn
    }

    fn tell(self, broker: &Arc<Broker>) {
        self.shard.tell(broker, Request::MarkersWritten(self.written));
    }
}

/// Counts something for as long as it is there.
struct Counted<'a>(&'a AtomicI64);

impl Counted<'_> {
    fn one(count: &AtomicI64) -> Counted<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether there is any use in going on.
enum Fate {
    GoesOn,
    Lost,
}

fn is_deleted(broker: &Broker, topic: &Str, index: PartitionIndex) -> bool {
    let image = broker.image.load();
    let found = image.topics.named(topic);
    found.is_none_or(|topic| image.topics.partition(topic.id, index).is_none())
}
