//! Settings of a server: streams groups.

use ottla_base::settings;
use ottla_base::settings::Emptiness::{MayBeEmpty, NeverEmpty};
use ottla_base::settings::{ClassName, any, at_least, honoured, list, never};

use crate::settings::effects::{PLUGINS, THREADS};

settings! {
    /// Streams groups.
    pub struct StreamsGroupCoordinatorSettings {
        /// How many records a task may be behind and still count as caught up.
        group_streams_acceptable_recovery_lag: i64 = "group.streams.acceptable.recovery.lag", "10000",
            at_least(0), MEDIUM, internal read_only, honoured();
        /// The least time between two assignments of a Streams group.
        group_streams_assignment_interval_ms: i32 = "group.streams.assignment.interval.ms", "1000",
            at_least(0), MEDIUM, cluster_wide, honoured();
        /// Whether assignments of Streams groups are computed away from the coordinator's thread.
        group_streams_assignor_offload_enable: bool = "group.streams.assignor.offload.enable", "true", any(),
            MEDIUM, internal cluster_wide, never(THREADS);
        /// The assignors of Streams groups, the default first: `sticky`, `highly_available` (Ottla only).
        group_streams_assignors: Vec<String> = "group.streams.assignors", "sticky", list(NeverEmpty), MEDIUM,
            read_only, honoured();
        /// How often members of a Streams group report.
        group_streams_heartbeat_interval_ms: i32 = "group.streams.heartbeat.interval.ms", "5000", at_least(1),
            MEDIUM, read_only, honoured();
        /// How long the first rebalance of an empty Streams group waits for more members.
        group_streams_initial_rebalance_delay_ms: i32 = "group.streams.initial.rebalance.delay.ms", "3000",
            at_least(0), MEDIUM, read_only, honoured();
        /// The largest assignment interval a Streams group may ask for.
        group_streams_max_assignment_interval_ms: i32 = "group.streams.max.assignment.interval.ms", "15000",
            at_least(0), MEDIUM, read_only, honoured();
        /// The largest heartbeat interval a Streams group may ask for.
        group_streams_max_heartbeat_interval_ms: i32 = "group.streams.max.heartbeat.interval.ms", "15000",
            at_least(1), MEDIUM, read_only, honoured();
        /// The largest session timeout a Streams group may ask for.
        group_streams_max_session_timeout_ms: i32 = "group.streams.max.session.timeout.ms", "60000",
            at_least(1), MEDIUM, read_only, honoured();
        /// The most members of a Streams group.
        group_streams_max_size: i32 = "group.streams.max.size", "2147483647", at_least(1), MEDIUM, read_only,
            honoured();
        /// The most standby replicas a Streams group may ask for.
        group_streams_max_standby_replicas: i32 = "group.streams.max.standby.replicas", "2", at_least(0),
            MEDIUM, read_only, honoured();
        /// The most warm-up replicas a Streams group may ask for.
        group_streams_max_warmup_replicas: i32 = "group.streams.max.warmup.replicas", "20", at_least(0),
            MEDIUM, internal read_only, honoured();
        /// The smallest assignment interval a Streams group may ask for.
        group_streams_min_assignment_interval_ms: i32 = "group.streams.min.assignment.interval.ms", "0",
            at_least(0), MEDIUM, read_only, honoured();
        /// The smallest heartbeat interval a Streams group may ask for.
        group_streams_min_heartbeat_interval_ms: i32 = "group.streams.min.heartbeat.interval.ms", "5000",
            at_least(1), MEDIUM, read_only, honoured();
        /// The smallest session timeout a Streams group may ask for.
        group_streams_min_session_timeout_ms: i32 = "group.streams.min.session.timeout.ms", "45000",
            at_least(1), MEDIUM, read_only, honoured();
        /// The smallest interval at which a Streams group may ask for task offsets.
        group_streams_min_task_offset_interval_ms: i32 = "group.streams.min.task.offset.interval.ms", "15000",
            at_least(1), MEDIUM, internal read_only, honoured();
        /// How many standby replicas each stateful task gets.
        group_streams_num_standby_replicas: i32 = "group.streams.num.standby.replicas", "0", at_least(0),
            MEDIUM, read_only, honoured();
        /// How many tasks of a group with the assignor `highly_available` may warm up at once.
        group_streams_num_warmup_replicas: i32 = "group.streams.num.warmup.replicas", "2", at_least(0),
            MEDIUM, internal read_only, honoured();
        /// The client tags by which standby replicas are spread.
        group_streams_rack_aware_assignment_tags: Vec<String> = "group.streams.rack.aware.assignment.tags",
            "", list(MayBeEmpty), LOW, read_only, honoured();
        /// How long a member of a Streams group may be silent.
        group_streams_session_timeout_ms: i32 = "group.streams.session.timeout.ms", "45000", at_least(1),
            MEDIUM, read_only, honoured();
        /// How often members of a Streams group report how far their tasks are.
        group_streams_task_offset_interval_ms: i32 = "group.streams.task.offset.interval.ms", "60000",
            at_least(1), MEDIUM, internal read_only, honoured();
        /// A Java class that describes topologies.
        group_streams_topology_description_plugin_class: Option<ClassName> = "group.streams.topology.description.plugin.class",
            null, any(), MEDIUM, read_only, never(PLUGINS);
    }
}
