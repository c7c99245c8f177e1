//! Settings of a topic.

use ottla_base::settings;
use ottla_base::settings::Emptiness::MayBeEmpty;
use ottla_base::settings::{any, at_least, between, honoured, later, list_of, one_of};

use crate::settings::checks::{GZIP_LEVEL, THROTTLED_REPLICAS};
use crate::settings::effects::QUOTAS;

settings! {
    /// Settings of a topic.
    pub struct TopicSettings {
        /// What happens to old segments: `delete`, `compact`, both, or an empty list to keep everything.
        cleanup_policy: Vec<String> = "cleanup.policy", "delete", list_of(&["compact", "delete"], MayBeEmpty),
            MEDIUM, dynamic, honoured();
        /// The effort of gzip when the broker compresses again: 1 is fastest, 9 smallest, -1 the library's
        /// choice.
        compression_gzip_level: i32 = "compression.gzip.level", "-1", GZIP_LEVEL, MEDIUM, dynamic, honoured();
        /// The effort of lz4 when the broker compresses again: 1 is fastest, 17 smallest.
        compression_lz4_level: i32 = "compression.lz4.level", "9", between(1, 17), MEDIUM, dynamic,
            honoured();
        /// How batches are kept: `producer` leaves them as they came, anything else compresses them again
        /// where they differ.
        compression_type: String = "compression.type", "producer",
            one_of(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), MEDIUM, dynamic,
            honoured();
        /// The effort of zstd when the broker compresses again: low is fast, 22 smallest.
        compression_zstd_level: i32 = "compression.zstd.level", "3", between(-131_072, 22), MEDIUM, dynamic,
            honoured();
        /// How long a compacted topic keeps the markers of deleted keys.
        delete_retention_ms: i64 = "delete.retention.ms", "86400000", at_least(0), MEDIUM, dynamic,
            honoured();
        /// Whether share groups may write records they gave up to this topic.
        errors_deadletterqueue_group_enable: bool = "errors.deadletterqueue.group.enable", "false", any(),
            MEDIUM, dynamic, honoured();
        /// How long a removed segment stays on disk under another name.
        file_delete_delay_ms: i64 = "file.delete.delay.ms", "60000", at_least(0), MEDIUM, dynamic, honoured();
        /// How many records a partition takes before they are forced to disk.
        flush_messages: i64 = "flush.messages", "9223372036854775807", at_least(1), MEDIUM, dynamic,
            honoured();
        /// How long a record may wait before it is forced to disk.
        flush_ms: i64 = "flush.ms", "9223372036854775807", at_least(0), MEDIUM, dynamic, honoured();
        /// The replicas whose followers are throttled, as `partition:broker` between commas, or `*`.
        follower_replication_throttled_replicas: Vec<String> = "follower.replication.throttled.replicas", "",
            THROTTLED_REPLICAS, MEDIUM, dynamic, later(QUOTAS);
        /// How many bytes of a log lie between two entries of its index.
        index_interval_bytes: i32 = "index.interval.bytes", "4096", at_least(0), MEDIUM, dynamic, honoured();
        /// The size at which a new segment begins, for tests.
        internal_segment_bytes: Option<i32> = "internal.segment.bytes", null, any(), MEDIUM, internal dynamic,
            honoured();
        /// The replicas whose leaders are throttled, as `partition:broker` between commas, or `*`.
        leader_replication_throttled_replicas: Vec<String> = "leader.replication.throttled.replicas", "",
            THROTTLED_REPLICAS, MEDIUM, dynamic, later(QUOTAS);
        /// How many bytes of a partition stay on the local disk; -2 means as many as are retained.
        local_retention_bytes: i64 = "local.retention.bytes", "-2", at_least(-2), MEDIUM, dynamic,
            honoured();
        /// How long a segment stays on the local disk; -2 means as long as it is retained.
        local_retention_ms: i64 = "local.retention.ms", "-2", at_least(-2), MEDIUM, dynamic,
            honoured();
        /// The longest a record may stay uncompacted.
        max_compaction_lag_ms: i64 = "max.compaction.lag.ms", "9223372036854775807", at_least(1), MEDIUM,
            dynamic, honoured();
        /// The most bytes a compressed batch may unfold to.
        max_decompressed_message_bytes: i32 = "max.decompressed.message.bytes", "2147483639",
            between(1, 2_147_483_639), MEDIUM, dynamic, honoured();
        /// The largest batch that is taken, as it comes, compressed or not.
        max_message_bytes: i32 = "max.message.bytes", "1048588", at_least(0), MEDIUM, dynamic, honoured();
        /// How far in the future a record's timestamp may lie.
        message_timestamp_after_max_ms: i64 = "message.timestamp.after.max.ms", "3600000", at_least(0),
            MEDIUM, dynamic, honoured();
        /// How far in the past a record's timestamp may lie.
        message_timestamp_before_max_ms: i64 = "message.timestamp.before.max.ms", "9223372036854775807",
            at_least(0), MEDIUM, dynamic, honoured();
        /// Whether records keep the producer's time (`CreateTime`) or get the broker's (`LogAppendTime`).
        message_timestamp_type: String = "message.timestamp.type", "CreateTime",
            one_of(&["CreateTime", "LogAppendTime"]), MEDIUM, dynamic, honoured();
        /// The share of a log that must be uncompacted before it is compacted again.
        min_cleanable_dirty_ratio: f64 = "min.cleanable.dirty.ratio", "0.5", between(0, 1), MEDIUM, dynamic,
            honoured();
        /// The shortest a record stays uncompacted.
        min_compaction_lag_ms: i64 = "min.compaction.lag.ms", "0", at_least(0), MEDIUM, dynamic,
            honoured();
        /// How many replicas must have a record before `acks=all` is answered.
        min_insync_replicas: i32 = "min.insync.replicas", "1", at_least(1), MEDIUM, dynamic, honoured();
        /// Whether a new segment takes its full size on disk at once.
        preallocate: bool = "preallocate", "false", any(), MEDIUM, dynamic, honoured();
        /// How many bytes of a closed segment's successors may wait before it is copied to tiered storage.
        remote_copy_lag_bytes: i64 = "remote.copy.lag.bytes", "-1", at_least(-1), MEDIUM, dynamic,
            honoured();
        /// How long a closed segment may wait before it is copied to tiered storage.
        remote_copy_lag_ms: i64 = "remote.copy.lag.ms", "0", at_least(-1), MEDIUM, dynamic,
            honoured();
        /// Whether nothing more is copied to tiered storage.
        remote_log_copy_disable: bool = "remote.log.copy.disable", "false", any(), MEDIUM, dynamic,
            honoured();
        /// Whether the tiered data is deleted when tiered storage is switched off for the topic.
        remote_log_delete_on_disable: bool = "remote.log.delete.on.disable", "false", any(), MEDIUM, dynamic,
            honoured();
        /// Whether closed segments go to tiered storage.
        remote_storage_enable: bool = "remote.storage.enable", "false", any(), MEDIUM, dynamic,
            honoured();
        /// How many bytes of a partition are kept; negative means all of them.
        retention_bytes: i64 = "retention.bytes", "-1", any(), MEDIUM, dynamic, honoured();
        /// How long a segment is kept; -1 means for ever.
        retention_ms: i64 = "retention.ms", "604800000", at_least(-1), MEDIUM, dynamic, honoured();
        /// The size at which a new segment begins.
        segment_bytes: i32 = "segment.bytes", "1073741824", at_least(1_048_576), MEDIUM, dynamic, honoured();
        /// The largest index of a segment.
        segment_index_bytes: i32 = "segment.index.bytes", "10485760", at_least(4), MEDIUM, dynamic,
            honoured();
        /// By how many milliseconds at random a new segment may begin early.
        segment_jitter_ms: i64 = "segment.jitter.ms", "0", at_least(0), MEDIUM, dynamic, honoured();
        /// After how long a new segment begins even when the old one is not full.
        segment_ms: i64 = "segment.ms", "604800000", at_least(1), MEDIUM, dynamic, honoured();
        /// Whether a replica that was not in sync may lead when no other is left, losing records.
        unclean_leader_election_enable: bool = "unclean.leader.election.enable", "false", any(), MEDIUM,
            dynamic, honoured();
    }
}
