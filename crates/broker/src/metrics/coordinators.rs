//! `kafka.server:type=group-coordinator-metrics`, `share-coordinator-metrics` and `transaction-coordinator-metrics`: how
//! many coordinators this broker has, and how long they take to load. Times are of all loads since the broker was
//! started, where Apache Kafka's are of the last half minute.

use super::exposition::{Kind, Page};
use crate::shard::{Coordinators, Kind as ShardKind, Shards, Standing};

const STANDINGS: [(Standing, &str); 3] =
    [(Standing::Loading, "loading"), (Standing::Active, "active"), (Standing::Failed, "failed")];

/// Writes every family.
pub(super) fn render(page: &mut Page, coordinators: &Coordinators) {
    partitions(page, "group", &coordinators.groups);
    partitions(page, "share", &coordinators.share_states);
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
