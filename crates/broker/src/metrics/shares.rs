//! `kafka.server:type=ShareGroupMetrics`: what members of share groups say of records, and how long share partitions take
//! to be loaded.
//!
//! Absent: how long partitions take to be locked for a fetch, and how many of them are (`TopicPartitionsAcquireTimeMs`,
//! `RequestTopicPartitionsFetchRatio`): nothing is locked.

use ottla_coordinator::share_partition::{AckType, Acknowledgement};

use super::exposition::{Kind, Page};
use super::instrument::{Counter, Histogram, Times};

const SHARES: &str = "kafka_server_sharegroupmetrics_";
const COORDINATOR: &str = "kafka_server_share_coordinator_metrics_";
const MICROSECONDS_PER_MILLISECOND: f64 = 1_000.0;

/// What is counted about share groups.
#[derive(Default)]
pub struct ShareMetrics {
    accepted: Counter,
    released: Counter,
    rejected: Counter,
    renewed: Counter,
    /// `PartitionLoadTimeMs`, in microseconds.
    pub partition_load_us: Histogram,
    /// `write-latency` of the share coordinator: how long changes of share partitions take to be in its log.
    pub state_writes: Times,
}

impl ShareMetrics {
    /// Counts records that a member speaks of (`RecordAcknowledgementsPerSec`).
    pub fn note(&self, said: &Acknowledgement) {
        match said.types[..] {
            [all] => {
                let records = said.last.saturating_sub(said.first).saturating_add(1);
                self.add(all, u64::try_from(records).unwrap_or(0));
            }
            _ => said.types.iter().for_each(|id| self.add(*id, 1)),
        }
    }

    fn add(&self, id: i8, records: u64) {
        let counter = match AckType::from_id(id) {
            Some(AckType::Accept) => &self.accepted,
            Some(AckType::Release) => &self.released,
            Some(AckType::Reject) => &self.rejected,
            Some(AckType::Renew) => &self.renewed,
            // A gap is no record.
            Some(AckType::Gap) | None => return,
        };
        counter.add(records);
    }

    /// Ends the window.
    pub(crate) fn rotate(&self) {
        self.partition_load_us.rotate();
        self.state_writes.rotate();
    }

    /// Writes every family.
    pub fn render(&self, page: &mut Page) {
        let name = format!("{SHARES}recordacknowledgements_total");
        let mut family = page.family(&name, Kind::Counter, "Records that members of share groups spoke of.");
        let counters = [
            ("Accept", &self.accepted),
            ("Release", &self.released),
            ("Reject", &self.rejected),
            ("Renew", &self.renewed),
        ];
        for (ack_type, counter) in counters {
            family.sample(&[("ackType", ack_type)], counter.get());
        }
        let name = format!("{SHARES}partitionloadtimems");
        let mut family = page.family(&name, Kind::Summary, "How long share partitions take to be loaded.");
        family.histogram(&[], &self.partition_load_us, MICROSECONDS_PER_MILLISECOND);
        let writes = &self.state_writes;
        let help = "Changes of share partitions that were put before a share coordinator and answered.";
        page.counter(&format!("{COORDINATOR}write_total"), help, writes.count());
        let help = "How long such changes take to be answered, in milliseconds, of all since the start.";
        page.gauge(&format!("{COORDINATOR}write_latency_avg"), help, writes.average_ms());
        let help = "How long the longest of the last minutes took to be answered, in milliseconds.";
        page.gauge(&format!("{COORDINATOR}write_latency_max"), help, writes.max_ms());
    }
}
