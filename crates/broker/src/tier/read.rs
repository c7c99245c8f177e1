//! Records and offsets that are not on the local disk any more (`RemoteLogReader`, `RemoteLogOffsetReader`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_base::{ErrorCode, Offset, Timestamp};
use ottla_host::disk::Open;
use ottla_storage::leader_epochs::LeaderEpochs;
use ottla_storage::transaction_index::AbortedTransaction;
use ottla_storage::{FileRange, TimestampedOffset};
use ottla_tier::{SegmentMetadata, SegmentState, TierError, Wanted, is_in_lineage};

use super::{Pending, Tier, Tracked, size, unsigned};
use crate::broker::Broker;
use crate::partition::Partition;

/// What to read of a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WantedTiered {
    /// The first offset wanted.
    pub(crate) from: Offset,
    /// No batch that begins here or later is given.
    pub(crate) end: Offset,
    /// The most bytes wanted.
    pub(crate) max_bytes: u32,
    /// Whether the first batch is given, whole, even if it has more.
    pub(crate) at_least_one: bool,
    /// Whether aborted transactions are told.
    pub(crate) read_committed: bool,
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct TieredRead {
    /// Whole batches.
    pub(crate) records: Bytes,
    /// The aborted transactions that have records among them.
    pub(crate) aborted: Vec<AbortedTransaction>,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
enum ReadFailure {
    #[error("the offset is not in the tier")]
    Absent,
    #[error("what is recorded of the partition is not known yet")]
    NotReady,
    #[error(transparent)]
    Tier(#[from] TierError),
}

impl ReadFailure {
    /// The answer to the reader, which asks again unless the offset is not there.
    fn error_code(&self) -> ErrorCode {
        match self {
            ReadFailure::Absent => ErrorCode::OffsetOutOfRange,
            ReadFailure::NotReady => ErrorCode::ReplicaNotAvailable,
            ReadFailure::Tier(error) => error.error_code(),
        }
    }
}

/// The most bytes of a partition in one answer, unless its first batch has more: they are in memory.
const READ_BYTES_MAX: u32 = 8 << 20;
/// How long a reader waits for whom there is no room.
const FULL_PAUSE: Duration = Duration::from_millis(50);

impl Tier {
    /// How long reads have to pause (`remote.log.manager.fetch.max.bytes.per.second`), or until there may be room for
    /// one more.
    pub(crate) fn fetch_pause(&self, broker: &Broker) -> Option<Duration> {
        let wait = self.throttled(&self.fetch_quota, self.host.now());
        if !wait.is_zero() {
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            self.fetch_throttle_ms.fetch_add(ms, std::sync::atomic::Ordering::Relaxed);
            return Some(wait);
        }
        let is_full =
            self.pending_reads.load(std::sync::atomic::Ordering::Acquire) >= self.most_reads(broker);
        is_full.then_some(FULL_PAUSE)
    }

    /// How many reads may run and wait.
    fn most_reads(&self, broker: &Broker) -> usize {
        let waiting = size(broker.settings.load().server.tiered.remote_log_reader_max_pending_tasks);
        waiting.saturating_add(self.readers.count())
    }

    /// Reads records, and waits no longer for them than `remote.fetch.max.wait.ms`. What comes later is in memory when
    /// the reader asks again. Gives nothing until then, nor if there is too much to do: [`Tier::fetch_pause`] says so
    /// before.
    pub(crate) async fn read(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        partition: &Arc<Partition>,
        wanted: WantedTiered,
    ) -> Result<TieredRead, ErrorCode> {
        let wait_ms = unsigned(i64::from(broker.settings.load().server.tiered.remote_fetch_max_wait_ms));
        let read = async {
            // Who waits here has asked the store for nothing yet, and goes with its request.
            let slot = self.tracked(partition).readers.take().await;
            let (tier, broker, partition) = (self.clone(), broker.clone(), partition.clone());
            let reading = self.host.spawn(async move {
                let _slot = slot;
                tier.read_in_turn(&broker, &partition, wanted).await
            });
            reading.await.unwrap_or(Err(ErrorCode::UnknownServerError))
        };
        let read = self.host.timeout(Duration::from_millis(wait_ms), read).await;
        read.unwrap_or_else(|_| Ok(TieredRead::default()))
    }

    async fn read_in_turn(
        &self,
        broker: &Broker,
        partition: &Arc<Partition>,
        wanted: WantedTiered,
    ) -> Result<TieredRead, ErrorCode> {
        let most = self.most_reads(broker);
        let _pending = match Pending::begin(&self.pending_reads, most) {
            Some(pending) => pending,
            None => {
                tracing::debug!(%partition, most, "too many reads of tiered segments wait");
                return Ok(TieredRead::default());
            }
        };
        let _slot = self.readers.take().await;
        let begun = self.host.now();
        let read = self.read_now(broker, partition, wanted).await;
        self.read_time.record(self.host.now().since(begun));
        let counters = [&broker.metrics.all_topics, &*partition.counters];
        for it in counters {
            it.remote_fetch_requests.increment();
            match &read {
                Ok(read) => it.remote_fetch_bytes.add(read.records.len() as u64),
                Err(_) => it.remote_fetch_errors.increment(),
            }
        }
        if let Ok(read) = &read {
            self.fetch_quota.lock().record(read.records.len() as u64, self.host.now());
        }
        read.map_err(|error| {
            if matches!(error, ReadFailure::Tier(_)) {
                tracing::error!(%partition, %error, "a tiered segment cannot be read");
            }
            error.error_code()
        })
    }

    /// Records as a range of a file, for those who cut pieces out of it. It has no name and goes with its last reader.
    pub(crate) async fn spool(&self, records: Bytes) -> std::io::Result<FileRange> {
        let disk = self.host.disk();
        let path = self.reader.indexes().directory().join(format!("spool-{:016x}", self.host.random_u64()));
        let spooled = self.host.blocking(move || {
            let file = disk.open(&path, Open::CreateNew)?;
            file.write_all_at(&records, 0)?;
            disk.remove_file(&path)?;
            let len = u32::try_from(records.len()).unwrap_or(u32::MAX);
            Ok(FileRange { file: Arc::new(file), position: 0, len })
        });
        spooled.await
    }

    async fn read_now(
        &self,
        broker: &Broker,
        partition: &Arc<Partition>,
        wanted: WantedTiered,
    ) -> Result<TieredRead, ReadFailure> {
        let tracked = self.tracked(partition);
        let epochs = partition.log().with_epochs(Clone::clone);
        let mut segment = find(&tracked, &epochs, wanted.from);
        if segment.is_none() {
            if !self.is_ready(broker, &tracked.partition).await {
                return Err(ReadFailure::NotReady);
            }
            segment = find(&tracked, &epochs, wanted.from);
        }
        let mut segment = segment.ok_or(ReadFailure::Absent)?;
        let within = Wanted {
            from: wanted.from,
            end: wanted.end,
            max_bytes: wanted.max_bytes.min(READ_BYTES_MAX),
            at_least_one: wanted.at_least_one,
        };
        loop {
            let read = match self.reader.read(&segment, within).await {
                // It was deleted meanwhile.
                Err(TierError::NotFound(_)) if !is_readable(&tracked, &segment) => {
                    return Err(ReadFailure::Absent);
                }
                other => other?,
            };
            if !read.records.is_empty() {
                let aborted = match wanted.read_committed {
                    true => {
                        self.aborted(partition, &tracked, &epochs, &segment, wanted.from..read.end).await?
                    }
                    false => Vec::new(),
                };
                return Ok(TieredRead { records: read.records, aborted });
            }
            // Nothing of it may be left from the offset on.
            match find(&tracked, &epochs, segment.end) {
                Some(next) if wanted.at_least_one && next.start > segment.start => segment = next,
                _ => return Ok(TieredRead::default()),
            }
        }
    }

    /// The aborted transactions that have records among `offsets`, which are in a segment: from its index, those of
    /// the segments after it, and those on the disk.
    async fn aborted(
        &self,
        partition: &Partition,
        tracked: &Tracked,
        epochs: &LeaderEpochs,
        segment: &Arc<SegmentMetadata>,
        offsets: std::ops::Range<Offset>,
    ) -> Result<Vec<AbortedTransaction>, TierError> {
        let mut aborted: Vec<AbortedTransaction> = Vec::new();
        let mut current = Some(segment.clone());
        while let Some(segment) = current {
            let collected = self.reader.indexes().aborted(&segment, offsets.start, offsets.end).await?;
            aborted.extend(collected.aborted);
            if collected.complete {
                return Ok(aborted);
            }
            current = next_with_transactions(tracked, epochs, segment.end);
        }
        let log = partition.log();
        let on_disk = self.host.blocking(move || log.aborted_on_disk(offsets)).await?;
        // A segment may be in both places.
        for it in on_disk {
            if !aborted.contains(&it) {
                aborted.push(it);
            }
        }
        Ok(aborted)
    }

    /// The first record of the tier at or after the log start whose timestamp is `timestamp` or higher.
    pub(crate) async fn find_timestamp(
        &self,
        broker: &Broker,
        partition: &Arc<Partition>,
        timestamp: Timestamp,
        limit: Duration,
    ) -> Result<Option<TimestampedOffset>, ErrorCode> {
        let find = async {
            let tracked = self.tracked(partition);
            let _own = tracked.readers.take().await;
            let _slot = self.readers.take().await;
            self.find_timestamp_now(broker, partition, timestamp).await
        };
        match self.host.timeout(limit, find).await {
            Err(_) => Err(ErrorCode::RequestTimedOut),
            Ok(found) => found.map_err(|error| {
                tracing::error!(%partition, %error, "a time cannot be looked up in tiered segments");
                error.error_code()
            }),
        }
    }

    async fn find_timestamp_now(
        &self,
        broker: &Broker,
        partition: &Arc<Partition>,
        timestamp: Timestamp,
    ) -> Result<Option<TimestampedOffset>, ReadFailure> {
        let tracked = self.tracked(partition);
        if !self.is_ready(broker, &tracked.partition).await {
            return Err(ReadFailure::NotReady);
        }
        let log = partition.log();
        let (view, epochs) = (log.view(), log.with_epochs(Clone::clone));
        let Some(first) = epochs.epoch_of(view.log_start) else { return Ok(None) };
        for epoch in epochs.entries().iter().filter(|it| it.epoch >= first) {
            let segments: Vec<_> =
                tracked.catalog.lock().of_epoch(epoch.epoch).into_iter().cloned().collect();
            for segment in segments {
                let wanted = segment.state == SegmentState::CopyFinished
                    && segment.max_timestamp >= timestamp
                    && segment.end > view.log_start
                    && is_in_lineage(&segment, view.end, epochs.entries());
                if !wanted {
                    continue;
                }
                if segment.start >= view.local_start() {
                    // What is on the disk is found there.
                    return Ok(None);
                }
                let found = self.reader.find_timestamp(&segment, timestamp, view.log_start).await?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }
}

/// Whether a segment is still recorded as one that may be read.
fn is_readable(tracked: &Tracked, segment: &SegmentMetadata) -> bool {
    let catalog = tracked.catalog.lock();
    catalog.get(segment.id.id).is_some_and(|it| it.state == SegmentState::CopyFinished)
}

/// The segment that has an offset.
fn find(tracked: &Tracked, epochs: &LeaderEpochs, offset: Offset) -> Option<Arc<SegmentMetadata>> {
    let epoch = epochs.epoch_of(offset)?;
    tracked.catalog.lock().find(epoch, offset).cloned()
}

/// The first segment from an offset on in which a transaction was aborted.
fn next_with_transactions(
    tracked: &Tracked,
    epochs: &LeaderEpochs,
    offset: Offset,
) -> Option<Arc<SegmentMetadata>> {
    let first = epochs.epoch_of(offset)?;
    let catalog = tracked.catalog.lock();
    let after = epochs.entries().iter().filter(|it| it.epoch >= first);
    after.filter_map(|it| catalog.next_with_transactions(it.epoch, it.start.max(offset)).cloned()).next()
}
