//! Metrics, declared once per family, under the names that Kafka's JMX exporter yields.
//!
//! | file | holds |
//! |---|---|
//! | `instrument` | counters and histograms |
//! | `exposition` | the Prometheus text format |
//! | `topics` | what came in and went out, per topic |
//! | `transactions` | verification, and markers that wait |
//! | `shares` | what members of share groups say of records |
//! | `coordinators` | how many coordinators there are, and how long they take to load |
//! | `requests` | requests and their times, per API |
//! | `cleaner` | compaction |
//! | `state` | what is read from state when somebody asks |
//! | `groups` | groups, offsets, and why groups rebalance |
//! | `pages` | what the HTTP port shows |
//! | `http` | the port that Prometheus asks |
//!
//! Whatever can be read from state at scrape time (sizes, offsets, counts of partitions) is not counted
//! but written straight from that state.

mod cleaner;
pub mod coordinators;
pub mod exposition;
mod groups;
pub mod http;
pub mod instrument;
mod pages;
pub mod requests;
pub mod shares;
pub mod state;
pub mod topics;
pub mod transactions;

use std::sync::Arc;

use instrument::Histogram;
use requests::RequestMetrics;
use shares::ShareMetrics;
use topics::TopicCounters;
use transactions::TransactionMetrics;

/// Everything that is counted while the server runs.
#[derive(Default)]
pub struct Metrics {
    /// All topics together.
    pub all_topics: TopicCounters,
    /// Requests, per API.
    pub requests: RequestMetrics,
    /// Transactions.
    pub transactions: TransactionMetrics,
    /// Share groups.
    pub shares: ShareMetrics,
    /// How long it takes to make a segment durable, in microseconds; many that are closed together are not told of.
    pub log_flushes: Arc<Histogram>,
}
