//! Settings of a server: the compaction of logs.

use ottla_base::settings;
use ottla_base::settings::{any, at_least, between, honoured};

settings! {
    /// The compaction of logs.
    pub struct CleanerSettings {
        /// The pause of the cleaner when there is nothing to clean.
        log_cleaner_backoff_ms: i64 = "log.cleaner.backoff.ms", "15000", at_least(0), MEDIUM, cluster_wide,
            honoured();
        /// The memory of all cleaners together for the keys they have seen.
        log_cleaner_dedupe_buffer_size: i64 = "log.cleaner.dedupe.buffer.size", "134217728", any(), MEDIUM,
            cluster_wide, honoured();
        /// How long a compacted log keeps the markers of deleted keys.
        log_cleaner_delete_retention_ms: i64 = "log.cleaner.delete.retention.ms", "86400000", at_least(0),
            MEDIUM, cluster_wide, honoured();
        /// Whether logs are compacted; switching it off lets `__consumer_offsets` grow without end.
        log_cleaner_enable: bool = "log.cleaner.enable", "true", any(), MEDIUM, read_only, honoured();
        /// How full the cleaner's memory of keys may get.
        log_cleaner_io_buffer_load_factor: f64 = "log.cleaner.io.buffer.load.factor", "0.9", any(), MEDIUM,
            cluster_wide, honoured();
        /// The memory of all cleaners together for reading and writing.
        log_cleaner_io_buffer_size: i32 = "log.cleaner.io.buffer.size", "524288", at_least(0), MEDIUM,
            cluster_wide, honoured();
        /// The most bytes a second all cleaners together read and write.
        log_cleaner_io_max_bytes_per_second: f64 = "log.cleaner.io.max.bytes.per.second",
            "1.7976931348623157E308", any(), MEDIUM, cluster_wide, honoured();
        /// The longest a record may stay uncompacted.
        log_cleaner_max_compaction_lag_ms: i64 = "log.cleaner.max.compaction.lag.ms", "9223372036854775807",
            at_least(1), MEDIUM, cluster_wide, honoured();
        /// The share of a log that must be uncompacted before it is compacted again.
        log_cleaner_min_cleanable_ratio: f64 = "log.cleaner.min.cleanable.ratio", "0.5", between(0, 1),
            MEDIUM, cluster_wide, honoured();
        /// The shortest a record stays uncompacted.
        log_cleaner_min_compaction_lag_ms: i64 = "log.cleaner.min.compaction.lag.ms", "0", at_least(0),
            MEDIUM, cluster_wide, honoured();
        /// How many logs are compacted at once.
        log_cleaner_threads: i32 = "log.cleaner.threads", "1", at_least(0), MEDIUM, cluster_wide,
            honoured();
    }
}
