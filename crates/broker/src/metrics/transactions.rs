//! `kafka.server:type=AddPartitionsToTxnManager` and the markers of `kafka.coordinator.transaction`: how verification
//! goes, and which transactions cannot be completed.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use super::exposition::{Kind, Page};
use super::instrument::{Counter, Histogram};

const MARKERS: &str = "kafka_coordinator_transaction_transactionmarkerchannelmanager_";
const VERIFICATION: &str = "kafka_server_addpartitionstotxnmanager_";
const MICROSECONDS_PER_MILLISECOND: f64 = 1_000.0;

/// What is counted about transactions.
#[derive(Default)]
pub struct TransactionMetrics {
    /// `VerificationFailureRate`: partitions that were not found to belong to a transaction.
    pub verification_failures: Counter,
    /// `VerificationTimeMs`, in microseconds.
    pub verification_time_us: Histogram,
    /// `UnknownDestinationQueueSize`: transactions with markers that their partitions do not take yet.
    pub waiting_markers: AtomicI64,
}

impl TransactionMetrics {
    /// Writes every family.
    pub fn render(&self, page: &mut Page) {
        page.counter(
            &format!("{VERIFICATION}verificationfailurerate_total"),
            "Partitions that do not belong to the transaction that was to be written.",
            self.verification_failures.get(),
        );
        let name = format!("{VERIFICATION}verificationtimems");
        let help = "How long transaction coordinators take to verify partitions.";
        let mut family = page.family(&name, Kind::Summary, help);
        family.histogram(&[], &self.verification_time_us, MICROSECONDS_PER_MILLISECOND);
        page.gauge(
            &format!("{MARKERS}unknowndestinationqueuesize"),
            "Transactions with markers that their partitions do not take yet.",
            self.waiting_markers.load(Relaxed),
        );
        page.gauge(
            &format!("{MARKERS}logappendretryqueuesize"),
            "Completed transactions whose record waits to be appended: a coordinator that cannot append begins again.",
            0,
        );
    }
}
