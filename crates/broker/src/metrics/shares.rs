//! `kafka.server:type=ShareGroupMetrics`: what members of share groups say of records, and how long share partitions take
//! to be loaded.
//!
//! Absent: how long partitions take to be locked for a fetch, and how many of them are (`TopicPartitionsAcquireTimeMs`,
//! `RequestTopicPartitionsFetchRatio`): nothing is locked.

use ottla_coordinator::share_partition::{AckType, Acknowledgement};

use super::exposition::{Kind, Page};
use super::instrument::{Counter, Histogram};

const SHARES: &str = "kafka_server_sharegroupmetrics_";
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
    }
}
