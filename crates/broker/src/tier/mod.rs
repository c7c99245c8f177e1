//! Tiered storage: sealed segments are copied to a store, leave the local disk, and stay readable (KIP-405).
//!
//! | file | holds |
//! |---|---|
//! | `settings` | which store the settings name |
//! | `records` | what is known of tiered segments: written to and replayed from `__remote_log_metadata` |
//! | `work` | when which partition is looked after |
//! | `copy` | copying sealed segments |
//! | `expire` | deleting what is kept no longer, and all of deleted topics |
//! | `read` | records and offsets that are not on the local disk any more |
//! | `metrics` | what is counted |
//!
//! Invariants: a segment leaves the local disk only after the record that it was copied is committed, and no object is
//! written or deleted before the record that says so is committed. So a stop between any two steps leaves at most
//! objects that the next process deletes. Reads of tiered segments are bounded in number, of one partition to half of
//! it, and run on their own. Nothing waits for a store without end, nor for what another partition asks of it.

mod copy;
mod expire;
mod metrics;
mod read;
mod records;
pub(crate) mod settings;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ottla_base::{ErrorCode, Moment, PartitionIndex, Uuid};
use ottla_host::Host;
use ottla_metadata::settings::broker::TieredStorageSettings;
use ottla_tier::{
    Catalog, Chunks, IndexCache, Quota, Rejected, RemoteReader, Store, TierError, TieredPartition,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use crate::config::BrokerSettings;
use crate::partition::Partition;

pub(crate) use metrics::render as render_metrics;
pub(crate) use read::WantedTiered;

/// A topic's id and a partition's number.
type Key = (Uuid, PartitionIndex);

/// Why something was not done with a partition's tiered segments.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TieringError {
    /// The store or the log did not do it.
    #[error(transparent)]
    Tier(#[from] TierError),
    /// What is recorded speaks against it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The record could not be written.
    #[error("a record of a tiered segment cannot be written: {0}")]
    Record(ErrorCode),
    /// This broker does not know, or not yet, what is recorded of the partition.
    #[error("the records of tiered segments of this partition are not on this broker, or not read yet")]
    NotReady,
    /// This broker does not lead the partition any more.
    #[error("the partition is led elsewhere")]
    NotLeader,
    /// Not all segments can be deleted yet.
    #[error("segments of the partition are being copied")]
    BeingCopied,
    /// A segment cannot be tiered.
    #[error("{0}")]
    Unfit(&'static str),
}

/// What is known of one partition's tiered segments.
struct Tracked {
    partition: TieredPartition,
    catalog: Mutex<Catalog>,
    gauges: metrics::PartitionGauges,
    /// Of the readers those that may be this partition's.
    readers: Slots,
}

/// The tiered storage of a broker.
pub(crate) struct Tier {
    host: Host,
    store: Store,
    reader: RemoteReader,
    tracked: Mutex<BTreeMap<Key, Arc<Tracked>>>,
    records: records::Records,
    /// The segments that this process is copying.
    copying: Mutex<BTreeSet<Uuid>>,
    copy_quota: Mutex<Quota>,
    fetch_quota: Mutex<Quota>,
    copiers: Slots,
    expirers: Slots,
    followers: Slots,
    readers: Slots,
    /// Reads that run or wait.
    pending_reads: AtomicUsize,
    read_time: metrics::ReadTime,
    copy_throttle_ms: AtomicU64,
    fetch_throttle_ms: AtomicU64,
    changed: Notify,
}

impl Tier {
    /// The tier that the settings ask for, if they do. Blocks.
    pub(crate) fn open(host: &Host, settings: &BrokerSettings) -> Result<Option<Arc<Tier>>, String> {
        let Some(options) = settings::store_options(settings)? else { return Ok(None) };
        let store = match &options {
            settings::StoreChoice::Directory(path) => Store::directory(host, path.clone()),
            settings::StoreChoice::Url(options) => Store::open(host, options),
        };
        let ottla = &settings.server.ottla;
        let limit = Duration::from_millis(unsigned(ottla.ottla_remote_storage_request_timeout_ms));
        let store = store.map_err(|error| error.to_string())?.with_request_limit(limit);
        let tiered = &settings.server.tiered;
        let Some(directory) = settings.log_directories().next() else { return Ok(None) };
        let limit = unsigned(tiered.remote_log_index_file_cache_total_size_bytes);
        let indexes = IndexCache::open(host, store.clone(), directory, limit).map_err(|it| it.to_string())?;
        let cache_bytes = unsigned(ottla.ottla_remote_read_cache_bytes);
        let chunks = Chunks::new(host, store.clone(), cache_bytes);
        let quota = |bytes, windows, seconds| {
            let window = Duration::from_secs(unsigned(i64::from(seconds)));
            Mutex::new(Quota::new(unsigned(bytes), size(windows), window))
        };
        Ok(Some(Arc::new(Tier {
            host: host.clone(),
            store,
            reader: RemoteReader::new(Arc::new(indexes), chunks),
            tracked: Mutex::default(),
            records: records::Records::default(),
            copying: Mutex::default(),
            copy_quota: quota(
                tiered.remote_log_manager_copy_max_bytes_per_second,
                tiered.remote_log_manager_copy_quota_window_num,
                tiered.remote_log_manager_copy_quota_window_size_seconds,
            ),
            fetch_quota: quota(
                tiered.remote_log_manager_fetch_max_bytes_per_second,
                tiered.remote_log_manager_fetch_quota_window_num,
                tiered.remote_log_manager_fetch_quota_window_size_seconds,
            ),
            copiers: Slots::new(tiered.remote_log_manager_copier_thread_pool_size),
            expirers: Slots::new(tiered.remote_log_manager_expiration_thread_pool_size),
            followers: Slots::new(tiered.remote_log_manager_follower_thread_pool_size),
            readers: Slots::new(tiered.remote_log_reader_threads),
            pending_reads: AtomicUsize::new(0),
            read_time: metrics::ReadTime::default(),
            copy_throttle_ms: AtomicU64::new(0),
            fetch_throttle_ms: AtomicU64::new(0),
            changed: Notify::new(),
        })))
    }

    /// Puts changed settings into force.
    pub(crate) fn reconfigure(&self, tiered: &TieredStorageSettings) {
        self.reader.indexes().set_limit(unsigned(tiered.remote_log_index_file_cache_total_size_bytes));
        self.copy_quota.lock().set_bound(unsigned(tiered.remote_log_manager_copy_max_bytes_per_second));
        self.fetch_quota.lock().set_bound(unsigned(tiered.remote_log_manager_fetch_max_bytes_per_second));
        self.copiers.resize(tiered.remote_log_manager_copier_thread_pool_size);
        self.expirers.resize(tiered.remote_log_manager_expiration_thread_pool_size);
        self.followers.resize(tiered.remote_log_manager_follower_thread_pool_size);
        self.readers.resize(tiered.remote_log_reader_threads);
        for tracked in self.tracked.lock().values() {
            tracked.readers.resize(half_of(tiered.remote_log_reader_threads));
        }
    }

    /// Partitions, or what they are to do, have changed.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    fn key(partition: &Partition) -> Key {
        (partition.topic_id, partition.index)
    }

    /// What is known of a partition's tiered segments.
    fn tracked(&self, partition: &Partition) -> Arc<Tracked> {
        self.tracked_as(&TieredPartition {
            topic_id: partition.topic_id,
            index: partition.index,
            topic: partition.topic.clone(),
        })
    }

    fn tracked_as(&self, partition: &TieredPartition) -> Arc<Tracked> {
        let mut tracked = self.tracked.lock();
        let made = || {
            Arc::new(Tracked {
                partition: partition.clone(),
                catalog: Mutex::default(),
                gauges: metrics::PartitionGauges::default(),
                readers: Slots::new(half_of(i32::try_from(self.readers.count()).unwrap_or(i32::MAX))),
            })
        };
        tracked.entry((partition.topic_id, partition.index)).or_insert_with(made).clone()
    }

    fn throttled(&self, quota: &Mutex<Quota>, now: Moment) -> Duration {
        quota.lock().throttle(now)
    }
}

/// How many of something may run at once; the number may change.
struct Slots {
    semaphore: Arc<Semaphore>,
    count: Mutex<usize>,
}

impl Slots {
    fn new(count: i32) -> Slots {
        let count = size(count).max(1);
        Slots { semaphore: Arc::new(Semaphore::new(count)), count: Mutex::new(count) }
    }

    fn resize(&self, count: i32) {
        let (new, mut count) = (size(count).max(1), self.count.lock());
        if new > *count {
            self.semaphore.add_permits(new - *count);
        } else if new < *count {
            let gone = *count - new;
            let semaphore = self.semaphore.clone();
            // Those in use go when they come back.
            let taken = semaphore.forget_permits(gone);
            if taken < gone {
                tracing::debug!(missing = gone - taken, "fewer slots once those in use are free");
                *count = new + (gone - taken);
                return;
            }
        }
        *count = new;
    }

    async fn take(&self) -> tokio::sync::OwnedSemaphorePermit {
        match self.semaphore.clone().acquire_owned().await {
            Ok(permit) => permit,
            Err(_) => unreachable!("the semaphore is never closed"),
        }
    }

    fn free(&self) -> usize {
        self.semaphore.available_permits()
    }

    fn count(&self) -> usize {
        *self.count.lock()
    }
}

/// How many of the readers one partition may have: should its objects not be answered for, others still have some.
fn half_of(readers: i32) -> i32 {
    readers.saturating_add(1) / 2
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn size(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// Counts a read as long as it lives.
struct Pending<'a>(&'a AtomicUsize);

impl<'a> Pending<'a> {
    /// Unless there are as many already.
    fn begin(count: &'a AtomicUsize, most: usize) -> Option<Pending<'a>> {
        let below = |it: usize| (it < most).then_some(it + 1);
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, below).ok().map(|_| Pending(count))
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
