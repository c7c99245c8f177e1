//! Settings of a server: share groups and where their state is kept.

use ottla_base::settings;
use ottla_base::settings::Emptiness::NeverEmpty;
use ottla_base::settings::{any, at_least, between, honoured, list, never};

use crate::settings::effects::{AT_ONCE, BUFFERS, ONE_ASSIGNOR, PLUGINS, PURGATORY, THREADS};

settings! {
    /// Share groups and where their state is kept.
    pub struct ShareGroupCoordinatorSettings {
        /// Whether the topic for records that a share group gave up is created by itself.
        errors_deadletterqueue_auto_create_topics_enable: bool = "errors.deadletterqueue.auto.create.topics.enable",
            "false", any(), MEDIUM, cluster_wide, honoured();
        /// How the names of topics for given-up records begin.
        errors_deadletterqueue_topic_name_prefix: String = "errors.deadletterqueue.topic.name.prefix", "dlq.",
            any(), MEDIUM, cluster_wide, honoured();
        /// The least time between two assignments of a share group.
        group_share_assignment_interval_ms: i32 = "group.share.assignment.interval.ms", "1000", at_least(0),
            MEDIUM, cluster_wide, honoured();
        /// Whether assignments of share groups are computed away from the coordinator's thread.
        group_share_assignor_offload_enable: bool = "group.share.assignor.offload.enable", "true", any(),
            MEDIUM, internal cluster_wide, never(THREADS);
        /// The assignor of share groups.
        group_share_assignors: Vec<String> = "group.share.assignors", "simple", list(NeverEmpty), MEDIUM,
            read_only, never(ONE_ASSIGNOR);
        /// How often a record is delivered to a share group at most.
        group_share_delivery_count_limit: i32 = "group.share.delivery.count.limit", "5", between(2, 10),
            MEDIUM, read_only, honoured();
        /// The Java class that writes given-up records away.
        group_share_dlq_manager_class_name: String = "group.share.dlq.manager.class.name",
            "org.apache.kafka.server.share.dlq.DefaultShareGroupDLQManager", any(), MEDIUM,
            internal read_only, never(PLUGINS);
        /// How often members of a share group report.
        group_share_heartbeat_interval_ms: i32 = "group.share.heartbeat.interval.ms", "5000", at_least(1),
            MEDIUM, read_only, honoured();
        /// How long the state of a share partition may take to be set up before it is tried again.
        group_share_initialize_retry_interval_ms: i32 = "group.share.initialize.retry.interval.ms", "30000",
            at_least(1), LOW, internal read_only, honoured();
        /// The largest assignment interval a share group may ask for.
        group_share_max_assignment_interval_ms: i32 = "group.share.max.assignment.interval.ms", "15000",
            at_least(0), MEDIUM, read_only, honoured();
        /// The largest delivery count a share group may ask for.
        group_share_max_delivery_count_limit: i32 = "group.share.max.delivery.count.limit", "10",
            between(5, 25), MEDIUM, read_only, honoured();
        /// The largest heartbeat interval a share group may ask for.
        group_share_max_heartbeat_interval_ms: i32 = "group.share.max.heartbeat.interval.ms", "15000",
            at_least(1), MEDIUM, read_only, honoured();
        /// The largest number of locked records a share group may ask for.
        group_share_max_partition_max_record_locks: i32 = "group.share.max.partition.max.record.locks",
            "4000", between(2000, 10_000), MEDIUM, read_only, honoured();
        /// The longest lock of a record a share group may ask for.
        group_share_max_record_lock_duration_ms: i32 = "group.share.max.record.lock.duration.ms", "60000",
            between(30_000, 3_600_000), MEDIUM, read_only, honoured();
        /// The largest session timeout a share group may ask for.
        group_share_max_session_timeout_ms: i32 = "group.share.max.session.timeout.ms", "60000", at_least(1),
            MEDIUM, read_only, honoured();
        /// The most share sessions of one broker.
        group_share_max_share_sessions: i32 = "group.share.max.share.sessions", "2000", at_least(1), MEDIUM,
            read_only, honoured();
        /// The most members of a share group.
        group_share_max_size: i32 = "group.share.max.size", "200", between(1, 1000), MEDIUM, read_only,
            honoured();
        /// The smallest assignment interval a share group may ask for.
        group_share_min_assignment_interval_ms: i32 = "group.share.min.assignment.interval.ms", "0",
            at_least(0), MEDIUM, read_only, honoured();
        /// The smallest delivery count a share group may ask for.
        group_share_min_delivery_count_limit: i32 = "group.share.min.delivery.count.limit", "2",
            between(2, 5), MEDIUM, read_only, honoured();
        /// The smallest heartbeat interval a share group may ask for.
        group_share_min_heartbeat_interval_ms: i32 = "group.share.min.heartbeat.interval.ms", "5000",
            at_least(1), MEDIUM, read_only, honoured();
        /// The smallest number of locked records a share group may ask for.
        group_share_min_partition_max_record_locks: i32 = "group.share.min.partition.max.record.locks", "100",
            between(100, 2000), MEDIUM, read_only, honoured();
        /// The shortest lock of a record a share group may ask for.
        group_share_min_record_lock_duration_ms: i32 = "group.share.min.record.lock.duration.ms", "15000",
            between(1000, 30_000), MEDIUM, read_only, honoured();
        /// The smallest session timeout a share group may ask for.
        group_share_min_session_timeout_ms: i32 = "group.share.min.session.timeout.ms", "45000", at_least(1),
            MEDIUM, read_only, honoured();
        /// How many records of a partition a share group may have locked at once.
        group_share_partition_max_record_locks: i32 = "group.share.partition.max.record.locks", "2000",
            between(100, 10_000), MEDIUM, read_only, honoured();
        /// The Java class that keeps the state of share groups.
        group_share_persister_class_name: String = "group.share.persister.class.name",
            "org.apache.kafka.server.share.persister.DefaultStatePersister", any(), MEDIUM,
            internal read_only, never(PLUGINS);
        /// How long a member of a share group holds a record.
        group_share_record_lock_duration_ms: i32 = "group.share.record.lock.duration.ms", "30000",
            between(1000, 3_600_000), MEDIUM, read_only, honoured();
        /// How long a member of a share group may be silent.
        group_share_session_timeout_ms: i32 = "group.share.session.timeout.ms", "45000", at_least(1), MEDIUM,
            read_only, honoured();
        /// How long the share coordinator gathers records before it writes them; -1 adapts to the load.
        share_coordinator_append_linger_ms: i32 = "share.coordinator.append.linger.ms", "-1", at_least(-1),
            MEDIUM, read_only, never(AT_ONCE);
        /// The largest write buffer the share coordinator keeps for the next use.
        share_coordinator_cached_buffer_max_bytes: i32 = "share.coordinator.cached.buffer.max.bytes",
            "1048588", at_least(524_288), MEDIUM, cluster_wide, never(BUFFERS);
        /// How often the state of share partitions without traffic is written whole.
        share_coordinator_cold_partition_snapshot_interval_ms: i32 = "share.coordinator.cold.partition.snapshot.interval.ms",
            "300000", at_least(1), LOW, internal read_only, honoured();
        /// How many bytes are read at once when share state is loaded.
        share_coordinator_load_buffer_size: i32 = "share.coordinator.load.buffer.size", "5242880",
            at_least(1), HIGH, read_only, honoured();
        /// How many changes of share state lie between two whole copies.
        share_coordinator_snapshot_update_records_per_snapshot: i32 = "share.coordinator.snapshot.update.records.per.snapshot",
            "500", between(0, 500), MEDIUM, read_only, honoured();
        /// The compression of `__share_group_state`, as a codec number.
        share_coordinator_state_topic_compression_codec: i32 = "share.coordinator.state.topic.compression.codec",
            "0", any(), HIGH, read_only, honoured();
        /// How many replicas of `__share_group_state` must have a record.
        share_coordinator_state_topic_min_isr: i16 = "share.coordinator.state.topic.min.isr", "2",
            at_least(1), HIGH, read_only, honoured();
        /// The partitions of `__share_group_state`; never change it afterwards.
        share_coordinator_state_topic_num_partitions: i32 = "share.coordinator.state.topic.num.partitions",
            "50", at_least(1), HIGH, read_only, honoured();
        /// How often old records of `__share_group_state` are removed.
        share_coordinator_state_topic_prune_interval_ms: i32 = "share.coordinator.state.topic.prune.interval.ms",
            "300000", at_least(1), LOW, internal read_only, honoured();
        /// The replicas of `__share_group_state`.
        share_coordinator_state_topic_replication_factor: i16 = "share.coordinator.state.topic.replication.factor",
            "3", at_least(1), HIGH, read_only, honoured();
        /// The size at which a new segment of `__share_group_state` begins.
        share_coordinator_state_topic_segment_bytes: i32 = "share.coordinator.state.topic.segment.bytes",
            "104857600", at_least(1), HIGH, read_only, honoured();
        /// How many threads Kafka gives to the share coordinator.
        share_coordinator_threads: i32 = "share.coordinator.threads", "1", at_least(1), MEDIUM, read_only,
            never(THREADS);
        /// How long the answer to a write of share state waits for its replicas, and for the disk where `flush.messages`
        /// asks for it.
        share_coordinator_write_timeout_ms: i32 = "share.coordinator.write.timeout.ms", "5000", at_least(1),
            HIGH, read_only, honoured();
        /// How many finished requests Kafka lets gather before it clears those of waiting share fetches.
        share_fetch_purgatory_purge_interval_requests: i32 = "share.fetch.purgatory.purge.interval.requests",
            "1000", any(), MEDIUM, read_only, never(PURGATORY);
    }
}
