//! `kafka.server:type=group-coordinator-metrics`, `share-coordinator-metrics` and `transaction-coordinator-metrics`: how
//! many coordinators this broker has, how long they take to load, and how long what is asked of them waits
//! (`CoordinatorRuntimeMetricsImpl`). Times of loads are of all since the broker was started, all others of the last
//! minutes, where Apache Kafka's are of the last half minute.
//!
//! An event is whatever enters a coordinator's inbox: a request, a deadline, news of the cluster. Those that are decided
//! together count as one in the time of processing. Absent: how long batches linger and what their buffers hold, for a
//! batch is appended when its inbox is decided; how idle threads are, for coordinators have none; rates.

use super::exposition::{Kind, Page};
use super::instrument::{QUANTILES, Times};
use crate::shard::{Coordinators, Kind as ShardKind, Shards, Standing};

const STANDINGS: [(Standing, &str); 3] =
    [(Standing::Loading, "loading"), (Standing::Active, "active"), (Standing::Failed, "failed")];

/// How long the events of one kind of coordinator take.
#[derive(Default)]
pub struct EventTimes {
    /// `event-queue-time-ms`: until somebody decides them.
    pub queue: Times,
    /// `event-processing-time-ms`: to be decided, and to be appended.
    pub processing: Times,
    /// `batch-flush-time-ms`: to append one batch of decisions.
    pub flush: Times,
    /// `event-purgatory-time-ms`: to be committed once they are appended.
    pub purgatory: Times,
}

impl EventTimes {
    /// Ends the window.
    pub(crate) fn rotate(&self) {
        [&self.queue, &self.processing, &self.flush, &self.purgatory].into_iter().for_each(Times::rotate);
    }
}

/// The quantiles that Kafka tells of events, as thousandths, and how it names them.
const EVENT_QUANTILES: [(u32, &str); 4] = [(500, "p50"), (950, "p95"), (990, "p99"), (999, "p999")];

/// Writes every family.
pub(super) fn render(page: &mut Page, coordinators: &Coordinators) {
    partitions(page, "group", &coordinators.groups);
    partitions(page, "share", &coordinators.share_states);
    events(page, "group", &coordinators.groups);
    events(page, "share", &coordinators.share_states);
    load_times(page, "group", &coordinators.groups);
    load_times(page, "share", &coordinators.share_states);
    load_times(page, "transaction", &coordinators.transactions);
}

fn partitions<K: ShardKind>(page: &mut Page, kind: &str, shards: &Shards<K>) {
    let name = format!("kafka_server_{kind}_coordinator_metrics_num_partitions");
    let mut family = page.family(&name, Kind::Gauge, "Partitions that this broker coordinates on.");
    for (standing, state) in STANDINGS {
        family.sample(&[("state", state)], shards.count(standing));
    }
}

fn events<K: ShardKind>(page: &mut Page, kind: &str, shards: &Shards<K>) {
    let prefix = format!("kafka_server_{kind}_coordinator_metrics_");
    let help = "What waits to be decided.";
    page.gauge(&format!("{prefix}event_queue_size"), help, shards.waiting());
    let times = shards.times();
    let families = [
        ("event_queue_time_ms", "How long events wait to be decided, in milliseconds.", &times.queue),
        (
            "event_processing_time_ms",
            "How long events take to be decided and appended, in milliseconds.",
            &times.processing,
        ),
        (
            "event_purgatory_time_ms",
            "How long what was written waits to be committed, in milliseconds.",
            &times.purgatory,
        ),
        ("batch_flush_time_ms", "How long a batch takes to be appended, in milliseconds.", &times.flush),
    ];
    for (name, help, times) in families {
        for (thousandths, value) in QUANTILES.iter().zip(times.quantiles_ms()) {
            if let Some((_, quantile)) = EVENT_QUANTILES.iter().find(|(it, _)| it == thousandths) {
                page.gauge(&format!("{prefix}{name}_{quantile}"), help, value);
            }
        }
        page.gauge(&format!("{prefix}{name}_max"), help, times.max_ms());
    }
}

fn load_times<K: ShardKind>(page: &mut Page, kind: &str, shards: &Shards<K>) {
    let times = shards.load_times();
    let families = [
        (
            "avg",
            "How long a coordinator takes to load, in milliseconds.",
            times.average().unwrap_or_default(),
        ),
        ("max", "How long the longest load of a coordinator took, in milliseconds.", times.max),
    ];
    for (what, help, time) in families {
        let name = format!("kafka_server_{kind}_coordinator_metrics_partition_load_time_{what}");
        page.gauge(&name, help, time.as_secs_f64() * 1_000.0);
    }
}
