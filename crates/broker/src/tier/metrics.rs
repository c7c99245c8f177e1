//! What is counted: `kafka.log.remote:type=RemoteLogManager` and the gauges of `BrokerTopicMetrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ottla_tier::{Catalog, Operation, Store};

use super::Tier;
use crate::metrics::exposition::{Kind, Page};

/// What is known of one partition.
#[derive(Debug, Default)]
pub(super) struct PartitionGauges {
    pub(super) copy_lag_bytes: AtomicU64,
    pub(super) copy_lag_segments: AtomicU64,
    pub(super) delete_lag_bytes: AtomicU64,
    pub(super) delete_lag_segments: AtomicU64,
    metadata_count: AtomicU64,
    size_bytes: AtomicU64,
}

impl PartitionGauges {
    /// Takes note of what is there.
    pub(super) fn note(&self, catalog: &Catalog) {
        self.metadata_count.store(catalog.len() as u64, Relaxed);
        self.size_bytes.store(catalog.bytes(), Relaxed);
    }
}

/// How long reads took.
#[derive(Debug, Default)]
pub(super) struct ReadTime {
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl ReadTime {
    pub(super) fn record(&self, took: Duration) {
        self.count.fetch_add(1, Relaxed);
        self.sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}

type Gauge = (&'static str, &'static str, fn(&PartitionGauges) -> &AtomicU64);

const GAUGES: [Gauge; 6] = [
    ("remotecopylagbytes", "Bytes that wait to be copied to tiered storage.", |it| &it.copy_lag_bytes),
    ("remotecopylagsegments", "Segments that wait to be copied to tiered storage.", |it| {
        &it.copy_lag_segments
    }),
    ("remotedeletelagbytes", "Bytes that wait to be deleted from tiered storage.", |it| &it.delete_lag_bytes),
    ("remotedeletelagsegments", "Segments that wait to be deleted from tiered storage.", |it| {
        &it.delete_lag_segments
    }),
    ("remotelogmetadatacount", "Segments in tiered storage.", |it| &it.metadata_count),
    ("remotelogsizebytes", "Bytes in tiered storage.", |it| &it.size_bytes),
];

/// Writes every family.
pub(crate) fn render(page: &mut Page, tier: &Tier) {
    let tracked: Vec<_> = tier.tracked.lock().values().cloned().collect();
    for (name, help, value) in GAUGES {
        let name = format!("kafka_server_brokertopicmetrics_{name}");
        let mut family = page.family(&name, Kind::Gauge, help);
        family.sample(&[], tracked.iter().map(|it| value(&it.gauges).load(Relaxed)).sum::<u64>());
        for it in &tracked {
            let index = it.partition.index.to_string();
            let labels = [("topic", it.partition.topic.as_str()), ("partition", index.as_str())];
            family.sample(&labels, value(&it.gauges).load(Relaxed));
        }
    }
    let idle = tier.copiers.free() as f64 / tier.copiers.count().max(1) as f64;
    page.gauge(
        "kafka_log_remote_remotelogmanager_remotelogmanagertasksavgidlepercent",
        "The part of the copiers that is idle.",
        idle,
    );
    let idle = tier.readers.free() as f64 / tier.readers.count().max(1) as f64;
    page.gauge(
        "kafka_log_remote_remotestoragethreadpool_remotelogreaderavgidlepercent",
        "The part of the readers of tiered segments that is idle.",
        idle,
    );
    let running = tier.readers.count().saturating_sub(tier.readers.free());
    page.gauge(
        "kafka_log_remote_remotestoragethreadpool_remotelogreadertaskqueuesize",
        "Reads of tiered segments that wait.",
        tier.pending_reads.load(Relaxed).saturating_sub(running),
    );
    page.counter(
        "kafka_log_remote_remotelogmanager_remotelogreaderfetchrateandtimems_count",
        "Reads of tiered segments.",
        tier.read_time.count.load(Relaxed),
    );
    page.counter(
        "kafka_log_remote_remotelogmanager_remotelogreaderfetchtimems_sum",
        "Milliseconds that reads of tiered segments took in all.",
        tier.read_time.sum_us.load(Relaxed) / 1_000,
    );
    page.counter(
        "kafka_server_remotelogmanager_remote_copy_throttle_time_ms_total",
        "Milliseconds that copies to tiered storage waited for their quota.",
        tier.copy_throttle_ms.load(Relaxed),
    );
    page.counter(
        "kafka_server_remotelogmanager_remote_fetch_throttle_time_ms_total",
        "Milliseconds that reads from tiered storage were told to wait for their quota.",
        tier.fetch_throttle_ms.load(Relaxed),
    );
    render_requests(page, &tier.store);
    let (indexes, chunks) = (tier.reader.indexes(), tier.reader.chunks());
    page.gauge(
        "ottla_remote_index_cache_bytes",
        "Local bytes of indexes of tiered segments.",
        indexes.bytes(),
    );
    page.gauge(
        "ottla_remote_read_cache_bytes",
        "Memory that holds pieces of tiered segments.",
        chunks.bytes(),
    );
}

fn render_requests(page: &mut Page, store: &Store) {
    page.gauge(
        "ottla_remote_storage_requests_under_way",
        "Requests to the store of tiered segments that wait for their answer.",
        store.requests_under_way(),
    );
    let name = "ottla_remote_storage_requests_unanswered_total";
    let help = "Requests that the store of tiered segments did not answer in time.";
    let mut family = page.family(name, Kind::Counter, help);
    for (operation, unanswered) in Operation::ALL.into_iter().zip(store.unanswered()) {
        family.sample(&[("operation", operation.name())], unanswered);
    }
}
