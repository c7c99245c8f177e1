//! Settings of a server: classic and consumer groups and where their offsets are kept.

use ottla_base::settings;
use ottla_base::settings::Emptiness::NeverEmpty;
use ottla_base::settings::{any, at_least, honoured, list, list_of, never, one_of_any_case};

use crate::settings::effects::{AT_ONCE, BUFFERS, THREADS};

settings! {
    /// Classic and consumer groups and where their offsets are kept.
    pub struct GroupCoordinatorSettings {
        /// The least time between two assignments of a consumer group.
        group_consumer_assignment_interval_ms: i32 = "group.consumer.assignment.interval.ms", "1000",
            at_least(0), MEDIUM, cluster_wide, honoured();
        /// Whether assignments of consumer groups are computed away from the coordinator's thread.
        group_consumer_assignor_offload_enable: bool = "group.consumer.assignor.offload.enable", "true",
            any(), MEDIUM, internal cluster_wide, never(THREADS);
        /// The assignors of consumer groups, the default first.
        group_consumer_assignors: Vec<String> = "group.consumer.assignors", "uniform,range", list(NeverEmpty),
            MEDIUM, read_only, honoured();
        /// How often members of a consumer group report.
        group_consumer_heartbeat_interval_ms: i32 = "group.consumer.heartbeat.interval.ms", "5000",
            at_least(1), MEDIUM, read_only, honoured();
        /// The largest assignment interval a consumer group may ask for.
        group_consumer_max_assignment_interval_ms: i32 = "group.consumer.max.assignment.interval.ms", "15000",
            at_least(0), MEDIUM, read_only, honoured();
        /// The largest heartbeat interval a consumer group may ask for.
        group_consumer_max_heartbeat_interval_ms: i32 = "group.consumer.max.heartbeat.interval.ms", "15000",
            at_least(1), MEDIUM, read_only, honoured();
        /// The largest session timeout a consumer group may ask for.
        group_consumer_max_session_timeout_ms: i32 = "group.consumer.max.session.timeout.ms", "60000",
            at_least(1), MEDIUM, read_only, honoured();
        /// The most members of a consumer group.
        group_consumer_max_size: i32 = "group.consumer.max.size", "2147483647", at_least(1), MEDIUM,
            read_only, honoured();
        /// Which conversions between classic and consumer groups happen by themselves.
        group_consumer_migration_policy: String = "group.consumer.migration.policy", "bidirectional",
            one_of_any_case(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]), MEDIUM, read_only,
            honoured();
        /// The smallest assignment interval a consumer group may ask for.
        group_consumer_min_assignment_interval_ms: i32 = "group.consumer.min.assignment.interval.ms", "0",
            at_least(0), MEDIUM, read_only, honoured();
        /// The smallest heartbeat interval a consumer group may ask for.
        group_consumer_min_heartbeat_interval_ms: i32 = "group.consumer.min.heartbeat.interval.ms", "5000",
            at_least(1), MEDIUM, read_only, honoured();
        /// The smallest session timeout a consumer group may ask for.
        group_consumer_min_session_timeout_ms: i32 = "group.consumer.min.session.timeout.ms", "45000",
            at_least(1), MEDIUM, read_only, honoured();
        /// How often the topics that match a group's regular expressions are looked up again.
        group_consumer_regex_refresh_interval_ms: i32 = "group.consumer.regex.refresh.interval.ms", "600000",
            at_least(10_000), MEDIUM, internal read_only, honoured();
        /// How long a member of a consumer group may be silent.
        group_consumer_session_timeout_ms: i32 = "group.consumer.session.timeout.ms", "45000", at_least(1),
            MEDIUM, read_only, honoured();
        /// How long the group coordinator gathers records before it writes them; -1 adapts to the load.
        group_coordinator_append_linger_ms: i32 = "group.coordinator.append.linger.ms", "-1", at_least(-1),
            MEDIUM, read_only, never(AT_ONCE);
        /// How many threads Kafka gives to the coordinator's background work.
        group_coordinator_background_threads: i32 = "group.coordinator.background.threads", "2", at_least(1),
            HIGH, read_only, never(THREADS);
        /// The largest write buffer the group coordinator keeps for the next use.
        group_coordinator_cached_buffer_max_bytes: i32 = "group.coordinator.cached.buffer.max.bytes",
            "1048588", at_least(524_288), MEDIUM, cluster_wide, never(BUFFERS);
        /// The kinds of groups that are served; `classic` must be among them.
        group_coordinator_rebalance_protocols: Vec<String> = "group.coordinator.rebalance.protocols",
            "classic,consumer,streams", list_of(&["consumer", "classic", "share", "streams"], NeverEmpty),
            MEDIUM, read_only, honoured();
        /// How many threads Kafka gives to the group coordinator.
        group_coordinator_threads: i32 = "group.coordinator.threads", "4", at_least(1), HIGH, read_only,
            never(THREADS);
        /// How long the first rebalance of an empty classic group waits for more members.
        group_initial_rebalance_delay_ms: i32 = "group.initial.rebalance.delay.ms", "3000", any(), MEDIUM,
            read_only, honoured();
        /// The largest session timeout a member of a classic group may ask for.
        group_max_session_timeout_ms: i32 = "group.max.session.timeout.ms", "1800000", any(), MEDIUM,
            read_only, honoured();
        /// The most members of a classic group.
        group_max_size: i32 = "group.max.size", "2147483647", at_least(1), MEDIUM, read_only, honoured();
        /// The smallest session timeout a member of a classic group may ask for.
        group_min_session_timeout_ms: i32 = "group.min.session.timeout.ms", "6000", any(), MEDIUM, read_only,
            honoured();
        /// The longest text a consumer may commit with an offset.
        offset_metadata_max_bytes: i32 = "offset.metadata.max.bytes", "4096", any(), HIGH, read_only,
            honoured();
        /// How long the answer to whatever the group coordinator writes waits for its replicas, and for the disk where
        /// `flush.messages` asks for it.
        offsets_commit_timeout_ms: i32 = "offsets.commit.timeout.ms", "5000", at_least(1), HIGH, read_only,
            honoured();
        /// How many bytes are read at once when offsets are loaded.
        offsets_load_buffer_size: i32 = "offsets.load.buffer.size", "5242880", at_least(1), HIGH, read_only,
            honoured();
        /// How often committed offsets are looked over for old ones.
        offsets_retention_check_interval_ms: i64 = "offsets.retention.check.interval.ms", "600000",
            at_least(1), HIGH, read_only, honoured();
        /// How long the offsets of a group without members are kept.
        offsets_retention_minutes: i32 = "offsets.retention.minutes", "10080", at_least(1), HIGH, read_only,
            honoured();
        /// The compression of `__consumer_offsets`, as a codec number.
        offsets_topic_compression_codec: i32 = "offsets.topic.compression.codec", "0", any(), HIGH, read_only,
            honoured();
        /// The partitions of `__consumer_offsets`; never change it afterwards.
        offsets_topic_num_partitions: i32 = "offsets.topic.num.partitions", "50", at_least(1), HIGH,
            read_only, honoured();
        /// The replicas of `__consumer_offsets`.
        offsets_topic_replication_factor: i16 = "offsets.topic.replication.factor", "3", at_least(1), HIGH,
            read_only, honoured();
        /// The size at which a new segment of `__consumer_offsets` begins.
        offsets_topic_segment_bytes: i32 = "offsets.topic.segment.bytes", "104857600", at_least(1), HIGH,
            read_only, honoured();
    }
}
