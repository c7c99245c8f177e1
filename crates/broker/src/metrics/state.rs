//! What is read from state when somebody asks: partitions, logs, sessions, the controller's view.

use std::sync::Arc;
use std::time::Duration;

use ottla_coordinator::group::Measured;

use super::exposition::{Kind, Page};
use super::{cleaner, coordinators, groups, topics};
use crate::broker::Broker;
use crate::partition::Partition;

/// The whole page, with what the group coordinators have.
pub fn render(broker: &Broker, measured: &Measured) -> String {
    let mut page = Page::default();
    let counters = broker.partitions.topic_counters();
    let by_topic = counters.iter().map(|(name, counters)| (name.as_str(), &**counters));
    let tier = if broker.tier.get().is_some() { topics::Tier::On } else { topics::Tier::Off };
    topics::render(&mut page, &broker.metrics.all_topics, by_topic, tier);
    broker.metrics.requests.render(&mut page);
    broker.metrics.transactions.render(&mut page);
    broker.metrics.shares.render(&mut page);
    coordinators::render(&mut page, &broker.coordinators);
    groups::render(&mut page, measured);
    let partitions = broker.partitions.all();
    replica_manager(&mut page, broker, &partitions);
    partition_gauges(&mut page, &partitions);
    log_gauges(&mut page, &partitions);
    let (name, help) = (
        "kafka_log_logflushstats_logflushrateandtimems",
        "How long it takes to make a segment durable, in milliseconds.",
    );
    page.family(name, Kind::Summary, help).histogram(&[], &broker.metrics.log_flushes, 1_000.0);
    cleaner::render(&mut page, broker);
    sessions(&mut page, broker);
    controller(&mut page, broker);
    if let Some(tier) = broker.tier.get() {
        crate::tier::render_metrics(&mut page, tier);
    }
    process(&mut page);
    page.into_text()
}

fn replica_manager(page: &mut Page, broker: &Broker, partitions: &[Arc<Partition>]) {
    let led = partitions.iter().filter(|it| it.leader_epoch(-1).is_ok());
    let (mut leaders, mut under_replicated, mut under_min, mut at_min) = (0, 0, 0, 0);
    for partition in led {
        let leadership = partition.leadership();
        let wanted = partition.min_insync_replicas();
        leaders += 1;
        under_replicated += u32::from(leadership.isr.len() < leadership.replicas.len());
        under_min += u32::from(leadership.isr.len() < wanted);
        at_min += u32::from(leadership.isr.len() == wanted);
    }
    let now = broker.host.wall_clock();
    let longest_ms = broker.settings.load().server.transactions.transaction_max_timeout_ms;
    let longest = Duration::from_millis(u64::try_from(longest_ms).unwrap_or(0));
    let is_late = |it: &&Arc<Partition>| {
        it.log().with_producers(|producers| producers.has_late_transaction(now, longest))
    };
    page.gauge(
        "kafka_server_replicamanager_partitionswithlatetransactionscount",
        "Partitions with a transaction that should long have ended.",
        partitions.iter().filter(is_late).count(),
    );
    let offline = broker.logs.directories().iter().filter(|it| it.failure.is_some()).count();
    page.gauge("kafka_server_replicamanager_partitioncount", "Replicas on this broker.", partitions.len());
    page.gauge("kafka_server_replicamanager_leadercount", "Partitions that this broker leads.", leaders);
    page.gauge(
        "kafka_server_replicamanager_underreplicatedpartitions",
        "Led partitions with replicas out of sync.",
        under_replicated,
    );
    page.gauge(
        "kafka_server_replicamanager_underminisrpartitioncount",
        "Led partitions with fewer replicas in sync than min.insync.replicas.",
        under_min,
    );
    page.gauge(
        "kafka_server_replicamanager_atminisrpartitioncount",
        "Led partitions with just as many replicas in sync as min.insync.replicas.",
        at_min,
    );
    page.gauge("kafka_log_logmanager_offlinelogdirectorycount", "Log directories that are offline.", offline);
}

type PartitionGauge = (&'static str, &'static str, fn(&Partition) -> i64);

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

const PARTITION_GAUGES: &[PartitionGauge] = &[
    ("kafka_cluster_partition_replicascount", "Replicas of the partition.", |it| {
        count(it.leadership().replicas.len())
    }),
    ("kafka_cluster_partition_insyncreplicascount", "Replicas in sync.", |it| {
        count(it.leadership().isr.len())
    }),
    ("kafka_cluster_partition_underreplicated", "Whether replicas are out of sync.", |it| {
        let leadership = it.leadership();
        i64::from(leadership.isr.len() < leadership.replicas.len())
    }),
    ("kafka_cluster_partition_underminisr", "Whether too few replicas are in sync.", |it| {
        i64::from(it.leadership().isr.len() < it.min_insync_replicas())
    }),
    ("kafka_cluster_partition_atminisr", "Whether just enough replicas are in sync.", |it| {
        i64::from(it.leadership().isr.len() == it.min_insync_replicas())
    }),
    ("kafka_cluster_partition_laststableoffsetlag", "High watermark less last stable offset.", |it| {
        let view = it.log().view();
        view.high_watermark.get() - view.last_stable.get()
    }),
];

const LOG_GAUGES: &[PartitionGauge] = &[
    ("kafka_log_log_logstartoffset", "The first offset that can be read.", |it| {
        it.log().view().log_start.get()
    }),
    ("kafka_log_log_logendoffset", "The offset that the next record gets.", |it| it.log().view().end.get()),
    ("kafka_log_log_numlogsegments", "Segments.", |it| count(it.log().view().segment_count())),
    ("kafka_log_log_size", "Bytes of all segments.", |it| {
        i64::try_from(it.log().view().size()).unwrap_or(i64::MAX)
    }),
];

fn partition_gauges(page: &mut Page, partitions: &[Arc<Partition>]) {
    let led: Vec<&Partition> =
        partitions.iter().map(|it| &**it).filter(|it| it.leader_epoch(-1).is_ok()).collect();
    gauges(page, PARTITION_GAUGES, &led);
}

fn log_gauges(page: &mut Page, partitions: &[Arc<Partition>]) {
    let all: Vec<&Partition> = partitions.iter().map(|it| &**it).collect();
    gauges(page, LOG_GAUGES, &all);
}

fn gauges(page: &mut Page, gauges: &[PartitionGauge], partitions: &[&Partition]) {
    for (name, help, value) in gauges {
        let mut family = page.family(name, Kind::Gauge, help);
        for partition in partitions {
            let index = partition.index.to_string();
            family.sample(&[("topic", &partition.topic), ("partition", &index)], value(partition));
        }
    }
}

fn sessions(page: &mut Page, broker: &Broker) {
    let counts = broker.sessions.counts();
    page.gauge(
        "kafka_server_fetchsessioncache_numincrementalfetchsessions",
        "Live fetch sessions.",
        counts.sessions,
    );
    page.gauge(
        "kafka_server_fetchsessioncache_numincrementalfetchpartitionscached",
        "Partitions in live fetch sessions.",
        counts.partitions,
    );
    page.counter(
        "kafka_server_fetchsessioncache_incrementalfetchsessionevictions_total",
        "Fetch sessions that made room for others.",
        counts.evictions,
    );
    let shared = broker.share.sessions.counts();
    page.gauge("kafka_server_sharesessioncache_sharesessionscount", "Live share sessions.", shared.sessions);
    page.gauge(
        "kafka_server_sharesessioncache_sharepartitionscount",
        "Partitions in live share sessions.",
        shared.partitions,
    );
    page.counter(
        "kafka_server_sharesessioncache_sharesessionevictions_total",
        "Share sessions that ended with their connection.",
        shared.evictions,
    );
}

fn controller(page: &mut Page, broker: &Broker) {
    let image = broker.image.load();
    let fenced = image.cluster.brokers.values().filter(|it| it.fenced).count();
    let offline = image.topics.all_partitions().filter(|(_, it)| !it.has_leader()).count();
    let imbalance =
        image.topics.all_partitions().filter(|(_, it)| it.leader != it.preferred_leader()).count();
    let is_active = u32::from(broker.controller.leader() == broker.node_id);
    let gauges: [(&str, &str, usize); 6] = [
        ("activebrokercount", "Brokers that are not fenced.", image.cluster.brokers.len() - fenced),
        ("fencedbrokercount", "Brokers that are fenced.", fenced),
        ("globaltopiccount", "Topics of the cluster.", image.topics.len()),
        ("globalpartitioncount", "Partitions of the cluster.", image.topics.partition_count()),
        ("offlinepartitionscount", "Partitions without a leader.", offline),
        ("preferredreplicaimbalancecount", "Partitions not led by their first replica.", imbalance),
    ];
    page.gauge(
        "kafka_controller_kafkacontroller_activecontrollercount",
        "1 if this node leads the quorum.",
        is_active,
    );
    for (name, help, value) in gauges {
        page.gauge(&format!("kafka_controller_kafkacontroller_{name}"), help, value);
    }
    page.gauge(
        "kafka_controller_kafkacontroller_lastappliedrecordoffset",
        "The last metadata record that was applied.",
        broker.image_offset(),
    );
    page.gauge("kafka_server_kafkaserver_brokerstate", "3: running.", 3);
}

fn process(page: &mut Page) {
    let Ok(usage) = ottla_host::process::usage() else { return };
    page.gauge("process_resident_memory_bytes", "Resident memory.", usage.resident_bytes);
    page.counter("process_cpu_seconds_total", "Processor time.", usage.cpu.as_secs_f64());
    page.gauge("process_open_fds", "Open descriptors.", usage.open_descriptors);
}
