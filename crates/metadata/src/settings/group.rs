//! Settings of a group.

use ottla_base::settings;
use ottla_base::settings::Emptiness::MayBeEmpty;
use ottla_base::settings::{any, at_least, honoured, list, never, one_of};

use crate::settings::checks::SHARE_OFFSET_RESET;
use crate::settings::effects::THREADS;

settings! {
    /// Settings of a group.
    pub struct GroupSettings {
        /// The least time between two assignments of the consumer group.
        consumer_assignment_interval_ms: i32 = "consumer.assignment.interval.ms", "1000", at_least(0), MEDIUM,
            dynamic, honoured();
        /// Whether assignments are computed away from the coordinator's thread.
        consumer_assignor_offload_enable: bool = "consumer.assignor.offload.enable", "true", any(), MEDIUM,
            internal dynamic, never(THREADS);
        /// How often members of the consumer group report.
        consumer_heartbeat_interval_ms: i32 = "consumer.heartbeat.interval.ms", "5000", at_least(1), MEDIUM,
            dynamic, honoured();
        /// How long a member of the consumer group may be silent.
        consumer_session_timeout_ms: i32 = "consumer.session.timeout.ms", "45000", at_least(1), MEDIUM,
            dynamic, honoured();
        /// Whether a given-up record is copied whole to the topic for given-up records.
        errors_deadletterqueue_copy_record_enable: bool = "errors.deadletterqueue.copy.record.enable",
            "false", any(), MEDIUM, dynamic, honoured();
        /// The topic for records that the share group gave up; none when empty.
        errors_deadletterqueue_topic_name: String = "errors.deadletterqueue.topic.name", "", any(), MEDIUM,
            dynamic, honoured();
        /// The least time between two assignments of the share group.
        share_assignment_interval_ms: i32 = "share.assignment.interval.ms", "1000", at_least(0), MEDIUM,
            dynamic, honoured();
        /// Whether assignments are computed away from the coordinator's thread.
        share_assignor_offload_enable: bool = "share.assignor.offload.enable", "true", any(), MEDIUM,
            internal dynamic, never(THREADS);
        /// Where a new share group begins to read: `latest`, `earliest` or `by_duration:` and an ISO 8601
        /// duration.
        share_auto_offset_reset: String = "share.auto.offset.reset", "latest", SHARE_OFFSET_RESET, MEDIUM,
            dynamic, honoured();
        /// How often a record is delivered to the share group at most.
        share_delivery_count_limit: i32 = "share.delivery.count.limit", "5", at_least(2), MEDIUM, dynamic,
            honoured();
        /// How often members of the share group report.
        share_heartbeat_interval_ms: i32 = "share.heartbeat.interval.ms", "5000", at_least(1), MEDIUM,
            dynamic, honoured();
        /// Whether the share group sees records of open transactions.
        share_isolation_level: String = "share.isolation.level", "read_uncommitted",
            one_of(&["read_committed", "read_uncommitted"]), MEDIUM, dynamic, honoured();
        /// How many records of a partition the share group may have locked at once.
        share_partition_max_record_locks: i32 = "share.partition.max.record.locks", "2000", at_least(100),
            MEDIUM, dynamic, honoured();
        /// How long a member of the share group holds a record.
        share_record_lock_duration_ms: i32 = "share.record.lock.duration.ms", "30000", at_least(1000), MEDIUM,
            dynamic, honoured();
        /// Whether a member may prolong its hold on a record.
        share_renew_acknowledge_enable: bool = "share.renew.acknowledge.enable", "true", any(), MEDIUM,
            dynamic, honoured();
        /// How long a member of the share group may be silent.
        share_session_timeout_ms: i32 = "share.session.timeout.ms", "45000", at_least(1), MEDIUM, dynamic,
            honoured();
        /// How many records a task may be behind and still count as caught up.
        streams_acceptable_recovery_lag: i64 = "streams.acceptable.recovery.lag", "10000", at_least(0),
            MEDIUM, internal dynamic, honoured();
        /// The least time between two assignments of the Streams group.
        streams_assignment_interval_ms: i32 = "streams.assignment.interval.ms", "1000", at_least(0), MEDIUM,
            dynamic, honoured();
        /// The assignor of the Streams group, one of those that the server has.
        streams_assignor_name: Option<String> = "streams.assignor.name", null, any(), MEDIUM, dynamic,
            honoured();
        /// Whether assignments are computed away from the coordinator's thread.
        streams_assignor_offload_enable: bool = "streams.assignor.offload.enable", "true", any(), MEDIUM,
            internal dynamic, never(THREADS);
        /// How often members of the Streams group report.
        streams_heartbeat_interval_ms: i32 = "streams.heartbeat.interval.ms", "5000", at_least(1), MEDIUM,
            dynamic, honoured();
        /// How long the first rebalance of the empty group waits for more members.
        streams_initial_rebalance_delay_ms: i32 = "streams.initial.rebalance.delay.ms", "3000", at_least(0),
            MEDIUM, dynamic, honoured();
        /// How many standby replicas each stateful task gets.
        streams_num_standby_replicas: i32 = "streams.num.standby.replicas", "0", at_least(0), MEDIUM, dynamic,
            honoured();
        /// How many tasks of a group with the assignor `highly_available` may warm up at once.
        streams_num_warmup_replicas: i32 = "streams.num.warmup.replicas", "2", at_least(0), MEDIUM,
            internal dynamic, honoured();
        /// The client tags by which standby replicas are spread.
        streams_rack_aware_assignment_tags: Vec<String> = "streams.rack.aware.assignment.tags", "",
            list(MayBeEmpty), LOW, dynamic, honoured();
        /// How long a member of the Streams group may be silent.
        streams_session_timeout_ms: i32 = "streams.session.timeout.ms", "45000", at_least(1), MEDIUM, dynamic,
            honoured();
        /// How often members report how far their tasks are.
        streams_task_offset_interval_ms: i32 = "streams.task.offset.interval.ms", "60000", at_least(1),
            MEDIUM, internal dynamic, honoured();
    }
}
