//! Settings of a server: tiered storage.

use ottla_base::settings;
use ottla_base::settings::{any, at_least, between_real, honoured, later, never, non_empty};

use crate::settings::effects::{NO_CUSTOM_METADATA, OWN_RECORDS, PLUGINS, REPLICATION, THREADS};

settings! {
    /// Tiered storage.
    pub struct TieredStorageSettings {
        /// Whether a new follower starts behind what is already in tiered storage.
        follower_fetch_last_tiered_offset_enable: bool = "follower.fetch.last.tiered.offset.enable", "false",
            any(), MEDIUM, cluster_wide, later(REPLICATION);
        /// How many bytes of a tiered partition stay on the local disk; -2 means as many as are retained.
        log_local_retention_bytes: i64 = "log.local.retention.bytes", "-2", at_least(-2), MEDIUM,
            cluster_wide, honoured();
        /// How long a segment of a tiered partition stays on the local disk; -2 means as long as it is
        /// retained.
        log_local_retention_ms: i64 = "log.local.retention.ms", "-2", at_least(-2), MEDIUM, cluster_wide,
            honoured();
        /// How many bytes of a closed segment's successors may wait before it is copied to tiered storage.
        log_remote_copy_lag_bytes: i64 = "log.remote.copy.lag.bytes", "-1", at_least(-1), MEDIUM,
            cluster_wide, honoured();
        /// How long a closed segment may wait before it is copied to tiered storage.
        log_remote_copy_lag_ms: i64 = "log.remote.copy.lag.ms", "0", at_least(-1), MEDIUM, cluster_wide,
            honoured();
        /// How long a fetch may wait for tiered storage.
        remote_fetch_max_wait_ms: i32 = "remote.fetch.max.wait.ms", "500", at_least(1), MEDIUM, cluster_wide,
            honoured();
        /// How long a lookup of offsets may wait for tiered storage.
        remote_list_offsets_request_timeout_ms: i64 = "remote.list.offsets.request.timeout.ms", "30000",
            at_least(1), MEDIUM, cluster_wide, honoured();
        /// How much local disk holds indexes of tiered segments.
        remote_log_index_file_cache_total_size_bytes: i64 = "remote.log.index.file.cache.total.size.bytes",
            "1073741824", at_least(1), LOW, cluster_wide, honoured();
        /// How long an unused index of a tiered segment stays on the local disk.
        remote_log_index_file_cache_ttl_ms: i64 = "remote.log.index.file.cache.ttl.ms", "900000",
            at_least(-1), LOW, internal read_only, honoured();
        /// How many segments are copied to tiered storage at once.
        remote_log_manager_copier_thread_pool_size: i32 = "remote.log.manager.copier.thread.pool.size", "10",
            at_least(1), MEDIUM, cluster_wide, honoured();
        /// The most bytes a second that are copied to tiered storage.
        remote_log_manager_copy_max_bytes_per_second: i64 = "remote.log.manager.copy.max.bytes.per.second",
            "9223372036854775807", at_least(1), MEDIUM, cluster_wide, honoured();
        /// How many past windows the quota of copies to tiered storage remembers.
        remote_log_manager_copy_quota_window_num: i32 = "remote.log.manager.copy.quota.window.num", "11",
            at_least(1), MEDIUM, read_only, honoured();
        /// The length of one window of the quota of copies to tiered storage.
        remote_log_manager_copy_quota_window_size_seconds: i32 = "remote.log.manager.copy.quota.window.size.seconds",
            "1", at_least(1), MEDIUM, read_only, honoured();
        /// How many partitions have their old tiered segments deleted at once.
        remote_log_manager_expiration_thread_pool_size: i32 = "remote.log.manager.expiration.thread.pool.size",
            "10", at_least(1), MEDIUM, cluster_wide, honoured();
        /// The most bytes a second that are read from tiered storage.
        remote_log_manager_fetch_max_bytes_per_second: i64 = "remote.log.manager.fetch.max.bytes.per.second",
            "9223372036854775807", at_least(1), MEDIUM, cluster_wide, honoured();
        /// How many past windows the quota of reads from tiered storage remembers.
        remote_log_manager_fetch_quota_window_num: i32 = "remote.log.manager.fetch.quota.window.num", "11",
            at_least(1), MEDIUM, read_only, honoured();
        /// The length of one window of the quota of reads from tiered storage.
        remote_log_manager_fetch_quota_window_size_seconds: i32 = "remote.log.manager.fetch.quota.window.size.seconds",
            "1", at_least(1), MEDIUM, read_only, honoured();
        /// How many followers work on tiered metadata at once.
        remote_log_manager_follower_thread_pool_size: i32 = "remote.log.manager.follower.thread.pool.size",
            "2", at_least(1), MEDIUM, cluster_wide, honoured();
        /// How often partitions are looked over for work with tiered storage.
        remote_log_manager_task_interval_ms: i64 = "remote.log.manager.task.interval.ms", "30000",
            at_least(1), LOW, read_only, honoured();
        /// The longest pause after failed work with tiered storage.
        remote_log_manager_task_retry_backoff_max_ms: i64 = "remote.log.manager.task.retry.backoff.max.ms",
            "30000", at_least(1), LOW, internal read_only, honoured();
        /// The first pause after failed work with tiered storage.
        remote_log_manager_task_retry_backoff_ms: i64 = "remote.log.manager.task.retry.backoff.ms", "500",
            at_least(1), LOW, internal read_only, honoured();
        /// The random part of the pause after failed work with tiered storage.
        remote_log_manager_task_retry_jitter: f64 = "remote.log.manager.task.retry.jitter", "0.2",
            between_real(0.0, 0.5), LOW, internal read_only, honoured();
        /// The old name for the number of followers that work on tiered metadata at once.
        remote_log_manager_thread_pool_size: i32 = "remote.log.manager.thread.pool.size", "2", at_least(1),
            MEDIUM, read_only, never(THREADS);
        /// The most bytes of its own that a storage plugin may keep for a segment.
        remote_log_metadata_custom_metadata_max_bytes: i32 = "remote.log.metadata.custom.metadata.max.bytes",
            "128", at_least(0), LOW, read_only, never(NO_CUSTOM_METADATA);
        /// What keeps the metadata of tiered segments; Kafka's topic-based manager names the one built in.
        remote_log_metadata_manager_class_name: String = "remote.log.metadata.manager.class.name",
            "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager",
            non_empty(), MEDIUM, read_only, honoured();
        /// Where the Java class of the metadata manager is found.
        remote_log_metadata_manager_class_path: Option<String> = "remote.log.metadata.manager.class.path",
            null, any(), MEDIUM, read_only, never(PLUGINS);
        /// How the names of the metadata manager's own settings begin.
        remote_log_metadata_manager_impl_prefix: String = "remote.log.metadata.manager.impl.prefix",
            "rlmm.config.", non_empty(), MEDIUM, read_only, honoured();
        /// The listener through which the metadata manager reaches the brokers.
        remote_log_metadata_manager_listener_name: Option<String> = "remote.log.metadata.manager.listener.name",
            null, non_empty(), MEDIUM, read_only, never(OWN_RECORDS);
        /// How many reads from tiered storage may wait.
        remote_log_reader_max_pending_tasks: i32 = "remote.log.reader.max.pending.tasks", "100", at_least(1),
            MEDIUM, read_only, honoured();
        /// How many reads from tiered storage run at once.
        remote_log_reader_threads: i32 = "remote.log.reader.threads", "10", at_least(1), MEDIUM, cluster_wide,
            honoured();
        /// The storage that holds tiered segments.
        remote_log_storage_manager_class_name: Option<String> = "remote.log.storage.manager.class.name", null,
            non_empty(), MEDIUM, read_only, honoured();
        /// Where the Java class of the tiered storage is found.
        remote_log_storage_manager_class_path: Option<String> = "remote.log.storage.manager.class.path", null,
            any(), MEDIUM, read_only, never(PLUGINS);
        /// How the names of the tiered storage's own settings begin.
        remote_log_storage_manager_impl_prefix: String = "remote.log.storage.manager.impl.prefix",
            "rsm.config.", non_empty(), MEDIUM, read_only, honoured();
        /// Whether tiered storage is available at all.
        remote_log_storage_system_enable: bool = "remote.log.storage.system.enable", "false", any(), MEDIUM,
            read_only, honoured();
    }
}
