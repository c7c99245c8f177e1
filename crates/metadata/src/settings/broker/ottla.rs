//! Settings of a server that Kafka does not have. Their names begin with `ottla.`.

use ottla_base::settings;
use ottla_base::settings::Emptiness::MayBeEmpty;
use ottla_base::settings::{at_least, honoured, list};

settings! {
    /// Settings that Kafka does not have.
    pub struct OttlaSettings {
        /// Where Prometheus finds the metrics, as `host:port` between commas; nowhere without it or where it is empty.
        ottla_metrics_listener: Option<Vec<String>> = "ottla.metrics.listener", null, list(MayBeEmpty), MEDIUM,
            internal read_only, honoured();
        /// How many bytes of requests all connections together may hold before reading pauses, where
        /// `queued.max.request.bytes` does not say.
        ottla_request_memory_bytes: i64 = "ottla.request.memory.bytes", "268435456", at_least(1_048_576), MEDIUM,
            internal read_only, honoured();
    }
}
