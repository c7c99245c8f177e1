//! Settings of a server: logs: segments, retention, flushing, directories.

use ottla_base::settings;
use ottla_base::settings::Emptiness::{MayBeEmpty, NeverEmpty};
use ottla_base::settings::{any, at_least, between, honoured, later, list, list_of, one_of};

use crate::settings::checks::GZIP_LEVEL;
use crate::settings::effects::REPLICATION;

settings! {
    /// Logs: segments, retention, flushing, directories.
    pub struct LogSettings {
        /// The effort of gzip when the broker compresses again: 1 is fastest, 9 smallest, -1 the library's
        /// choice.
        compression_gzip_level: i32 = "compression.gzip.level", "-1", GZIP_LEVEL, MEDIUM, cluster_wide,
            honoured();
        /// The effort of lz4 when the broker compresses again: 1 is fastest, 17 smallest.
        compression_lz4_level: i32 = "compression.lz4.level", "9", between(1, 17), MEDIUM, cluster_wide,
            honoured();
        /// How batches are kept: `producer` leaves them as they came, anything else compresses them again
        /// where they differ.
        compression_type: String = "compression.type", "producer",
            one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), HIGH, cluster_wide,
            honoured();
        /// The effort of zstd when the broker compresses again: low is fast, 22 smallest.
        compression_zstd_level: i32 = "compression.zstd.level", "3", between(-131_072, 22), MEDIUM,
            cluster_wide, honoured();
        /// Log directories that take no new partitions; `*` names all of them.
        cordoned_log_dirs: Vec<String> = "cordoned.log.dirs", "", list(MayBeEmpty), MEDIUM, per_broker,
            honoured();
        /// What happens to old segments: `delete`, `compact`, both, or an empty list to keep everything.
        log_cleanup_policy: Vec<String> = "log.cleanup.policy", "delete",
            list_of(&["compact", "delete"], MayBeEmpty), MEDIUM, cluster_wide, honoured();
        /// The log directories, for when `log.dirs` is not set.
        log_dir: Vec<String> = "log.dir", "/tmp/kafka-logs", list(NeverEmpty), HIGH, read_only, honoured();
        /// How long a broker tries to tell the controller of a failed directory before it stops.
        log_dir_failure_timeout_ms: i64 = "log.dir.failure.timeout.ms", "30000", at_least(1), LOW, read_only,
            later(REPLICATION);
        /// The directories that hold the logs; without it those of `log.dir`.
        log_dirs: Option<Vec<String>> = "log.dirs", null, list(NeverEmpty), HIGH, read_only, honoured();
        /// How many records a partition takes before they are forced to disk.
        log_flush_interval_messages: i64 = "log.flush.interval.messages", "9223372036854775807", at_least(1),
            HIGH, cluster_wide, honoured();
        /// How long a record may wait before it is forced to disk; without it
        /// `log.flush.scheduler.interval.ms`.
        log_flush_interval_ms: Option<i64> = "log.flush.interval.ms", null, any(), HIGH, cluster_wide,
            honoured();
        /// How often the recovery points are written down.
        log_flush_offset_checkpoint_interval_ms: i32 = "log.flush.offset.checkpoint.interval.ms", "60000",
            at_least(0), HIGH, read_only, honoured();
        /// How often partitions are looked over for records that must be forced to disk.
        log_flush_scheduler_interval_ms: i64 = "log.flush.scheduler.interval.ms", "9223372036854775807",
            any(), HIGH, read_only, honoured();
        /// How often the log start offsets are written down.
        log_flush_start_offset_checkpoint_interval_ms: i32 = "log.flush.start.offset.checkpoint.interval.ms",
            "60000", at_least(0), HIGH, read_only, honoured();
        /// How many bytes of a log lie between two entries of its index.
        log_index_interval_bytes: i32 = "log.index.interval.bytes", "4096", at_least(0), MEDIUM, cluster_wide,
            honoured();
        /// The largest index of a segment.
        log_index_size_max_bytes: i32 = "log.index.size.max.bytes", "10485760", at_least(4), MEDIUM,
            cluster_wide, honoured();
        /// How long the periodic tasks on logs wait after the start.
        log_initial_task_delay_ms: i64 = "log.initial.task.delay.ms", "30000", at_least(0), LOW,
            internal read_only, honoured();
        /// How far in the future a record's timestamp may lie.
        log_message_timestamp_after_max_ms: i64 = "log.message.timestamp.after.max.ms", "3600000",
            at_least(0), MEDIUM, cluster_wide, honoured();
        /// How far in the past a record's timestamp may lie.
        log_message_timestamp_before_max_ms: i64 = "log.message.timestamp.before.max.ms",
            "9223372036854775807", at_least(0), MEDIUM, cluster_wide, honoured();
        /// Whether records keep the producer's time (`CreateTime`) or get the broker's (`LogAppendTime`).
        log_message_timestamp_type: String = "log.message.timestamp.type", "CreateTime",
            one_of(&["CreateTime", "LogAppendTime"]), MEDIUM, cluster_wide, honoured();
        /// Whether a new segment takes its full size on disk at once.
        log_preallocate: bool = "log.preallocate", "false", any(), MEDIUM, cluster_wide, honoured();
        /// How many bytes of a partition are kept; negative means all of them.
        log_retention_bytes: i64 = "log.retention.bytes", "-1", any(), HIGH, cluster_wide, honoured();
        /// How often logs are looked over for segments to delete.
        log_retention_check_interval_ms: i64 = "log.retention.check.interval.ms", "300000", at_least(1),
            MEDIUM, read_only, honoured();
        /// How many hours a segment is kept, when neither minutes nor milliseconds are set.
        log_retention_hours: i32 = "log.retention.hours", "168", any(), HIGH, read_only, honoured();
        /// How many minutes a segment is kept, when no milliseconds are set.
        log_retention_minutes: Option<i32> = "log.retention.minutes", null, any(), HIGH, read_only,
            honoured();
        /// How many milliseconds a segment is kept; negative means for ever.
        log_retention_ms: Option<i64> = "log.retention.ms", null, any(), HIGH, cluster_wide, honoured();
        /// After how many hours a new segment begins, when no milliseconds are set.
        log_roll_hours: i32 = "log.roll.hours", "168", at_least(1), HIGH, read_only, honoured();
        /// By how many hours at random a new segment may begin early, when no milliseconds are set.
        log_roll_jitter_hours: i32 = "log.roll.jitter.hours", "0", at_least(0), HIGH, read_only, honoured();
        /// By how many milliseconds at random a new segment may begin early.
        log_roll_jitter_ms: Option<i64> = "log.roll.jitter.ms", null, any(), HIGH, cluster_wide, honoured();
        /// After how many milliseconds a new segment begins even when the old one is not full.
        log_roll_ms: Option<i64> = "log.roll.ms", null, any(), HIGH, cluster_wide, honoured();
        /// The size at which a new segment begins.
        log_segment_bytes: i32 = "log.segment.bytes", "1073741824", at_least(1_048_576), HIGH, cluster_wide,
            honoured();
        /// How long a removed segment stays on disk under another name.
        log_segment_delete_delay_ms: i64 = "log.segment.delete.delay.ms", "60000", at_least(0), HIGH,
            cluster_wide, honoured();
        /// The most bytes a compressed batch may unfold to.
        max_decompressed_message_bytes: i32 = "max.decompressed.message.bytes", "2147483639",
            between(1, 2_147_483_639), MEDIUM, cluster_wide, honoured();
        /// The largest batch that is taken, as it comes, compressed or not.
        message_max_bytes: i32 = "message.max.bytes", "1048588", at_least(0), HIGH, cluster_wide, honoured();
        /// How many replicas must have a record before `acks=all` is answered.
        min_insync_replicas: i32 = "min.insync.replicas", "1", at_least(1), HIGH, cluster_wide, honoured();
        /// How many logs of one directory are recovered at once after an unclean stop.
        num_recovery_threads_per_data_dir: i32 = "num.recovery.threads.per.data.dir", "2", at_least(1), HIGH,
            cluster_wide, honoured();
        /// How many replicas move between directories at a time; as many as there are directories if not set.
        num_replica_alter_log_dirs_threads: Option<i32> = "num.replica.alter.log.dirs.threads", null, any(),
            HIGH, read_only, honoured();
    }
}
