//! Settings of a server that Kafka does not have. Their names begin with `ottla.`.

use ottla_base::settings;
use ottla_base::settings::Emptiness::MayBeEmpty;
use ottla_base::settings::{at_least, honoured, list, non_empty};

settings! {
    /// Settings that Kafka does not have.
    pub struct OttlaSettings {
        /// Where Prometheus finds the metrics, as `host:port` between commas; nowhere without it or where it is empty.
        ottla_metrics_listener: Option<Vec<String>> = "ottla.metrics.listener", null, list(MayBeEmpty), MEDIUM,
            internal read_only, honoured();
        /// How many bytes of tiered segments are kept in memory for readers, the next piece of each fetched ahead.
        ottla_remote_read_cache_bytes: i64 = "ottla.remote.read.cache.bytes", "33554432", at_least(1), LOW,
            internal read_only, honoured();
        /// How long one request to the store of tiered segments may take before it counts as failed, with what the
        /// client of a cloud tries again within it (each try ends after `rsm.config.timeout`, 30 seconds unless set).
        /// What it was for is tried again as after any failure.
        ottla_remote_storage_request_timeout_ms: i64 = "ottla.remote.storage.request.timeout.ms", "60000",
            at_least(1), LOW, internal read_only, honoured();
        /// Where tiered segments are kept: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or
        /// `file:///directory`. Credentials come from the environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`) or from
        /// `rsm.config.…`.
        ottla_remote_storage_url: Option<String> = "ottla.remote.storage.url", null, non_empty(), MEDIUM,
            internal read_only, honoured();
        /// How many bytes of requests all connections together may hold before reading pauses, where
        /// `queued.max.request.bytes` does not say.
        ottla_request_memory_bytes: i64 = "ottla.request.memory.bytes", "268435456", at_least(1_048_576), MEDIUM,
            internal read_only, honoured();
    }
}
