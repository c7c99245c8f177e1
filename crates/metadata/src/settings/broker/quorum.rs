//! Settings of a server: roles, the metadata quorum and its log, and the registration of brokers.

use ottla_base::settings;
use ottla_base::settings::Emptiness::NeverEmpty;
use ottla_base::settings::{any, at_least, honoured, later, list_of, never};

use crate::settings::checks::{QUORUM_BOOTSTRAP_SERVERS, QUORUM_VOTERS};
use crate::settings::effects::{AT_ONCE, QUORUM, REPLICATION, STABLE};

settings! {
    /// Roles, the metadata quorum and its log, and the registration of brokers.
    pub struct QuorumSettings {
        /// How often a broker tells the controller that it is alive.
        broker_heartbeat_interval_ms: i32 = "broker.heartbeat.interval.ms", "2000", any(), MEDIUM, read_only,
            honoured();
        /// The old name of `node.id`; both must agree when both are set.
        broker_id: i32 = "broker.id", "-1", any(), HIGH, read_only, honoured();
        /// How long the controller waits for a heartbeat before it takes a broker for dead.
        broker_session_timeout_ms: i32 = "broker.session.timeout.ms", "9000", any(), MEDIUM, read_only,
            honoured();
        /// A controller event that takes longer than this is always logged.
        controller_performance_always_log_threshold_ms: i64 = "controller.performance.always.log.threshold.ms",
            "2000", at_least(0), MEDIUM, internal read_only, honoured();
        /// How often the controller logs a summary of its events.
        controller_performance_sample_period_ms: i64 = "controller.performance.sample.period.ms", "60000",
            at_least(100), MEDIUM, internal read_only, honoured();
        /// How long the active controller gathers records before it writes them.
        controller_quorum_append_linger_ms: i32 = "controller.quorum.append.linger.ms", "25", at_least(0),
            MEDIUM, read_only, never(AT_ONCE);
        /// Whether a controller adds itself to the voters.
        controller_quorum_auto_join_enable: bool = "controller.quorum.auto.join.enable", "false", any(), LOW,
            read_only, later(QUORUM);
        /// Addresses of controllers through which the quorum is found.
        controller_quorum_bootstrap_servers: Vec<String> = "controller.quorum.bootstrap.servers", "",
            QUORUM_BOOTSTRAP_SERVERS, HIGH, read_only, honoured();
        /// The longest pause between two elections that nobody won.
        controller_quorum_election_backoff_max_ms: i32 = "controller.quorum.election.backoff.max.ms", "1000",
            at_least(0), HIGH, read_only, later(QUORUM);
        /// How long a candidate gathers votes before it gives up.
        controller_quorum_election_timeout_ms: i32 = "controller.quorum.election.timeout.ms", "1000",
            at_least(0), HIGH, read_only, later(QUORUM);
        /// The most bytes of one metadata fetch between controllers.
        controller_quorum_fetch_max_bytes: i32 = "controller.quorum.fetch.max.bytes", "1048576", at_least(1),
            LOW, read_only, later(QUORUM);
        /// The most bytes of one piece of a metadata snapshot.
        controller_quorum_fetch_snapshot_max_bytes: i32 = "controller.quorum.fetch.snapshot.max.bytes",
            "1048576", at_least(1), LOW, read_only, later(QUORUM);
        /// How long a voter hears nothing from the leader before it stands for election.
        controller_quorum_fetch_timeout_ms: i32 = "controller.quorum.fetch.timeout.ms", "2000", at_least(0),
            HIGH, read_only, later(QUORUM);
        /// How long a request between controllers may take.
        controller_quorum_request_timeout_ms: i32 = "controller.quorum.request.timeout.ms", "2000",
            at_least(0), MEDIUM, read_only, later(QUORUM);
        /// The pause before a request between controllers is sent again.
        controller_quorum_retry_backoff_ms: i32 = "controller.quorum.retry.backoff.ms", "20", at_least(0),
            LOW, read_only, later(QUORUM);
        /// The fixed set of voters as `id@host:port`; leave it out for a quorum that can change.
        controller_quorum_voters: Vec<String> = "controller.quorum.voters", "", QUORUM_VOTERS, HIGH,
            read_only, honoured();
        /// How long a starting broker tries to register before it stops.
        initial_broker_registration_timeout_ms: i32 = "initial.broker.registration.timeout.ms", "60000",
            any(), MEDIUM, read_only, later(REPLICATION);
        /// How long a removed segment of the metadata log stays on disk.
        internal_metadata_delete_delay_millis: i64 = "internal.metadata.delete.delay.millis", "60000", any(),
            LOW, internal read_only, honoured();
        /// The size of a segment of the metadata log, for tests.
        internal_metadata_log_segment_bytes: Option<i32> = "internal.metadata.log.segment.bytes", null, any(),
            LOW, internal read_only, honoured();
        /// The largest batch of metadata records, for tests.
        internal_metadata_max_batch_size_in_bytes: i32 = "internal.metadata.max.batch.size.in.bytes",
            "8388608", any(), LOW, internal read_only, honoured();
        /// The directory of the metadata log; without it the first log directory.
        metadata_log_dir: Option<String> = "metadata.log.dir", null, any(), HIGH, read_only, honoured();
        /// After how many bytes of new metadata records a snapshot is taken.
        metadata_log_max_record_bytes_between_snapshots: i64 = "metadata.log.max.record.bytes.between.snapshots",
            "20971520", at_least(1), HIGH, read_only, honoured();
        /// After how long a snapshot is taken when there are new metadata records; 0 means only by bytes.
        metadata_log_max_snapshot_interval_ms: i64 = "metadata.log.max.snapshot.interval.ms", "3600000",
            at_least(0), HIGH, read_only, honoured();
        /// The size at which a new segment of the metadata log begins.
        metadata_log_segment_bytes: i32 = "metadata.log.segment.bytes", "1073741824", at_least(8_388_608),
            HIGH, read_only, honoured();
        /// After how long a new segment of the metadata log begins.
        metadata_log_segment_ms: i64 = "metadata.log.segment.ms", "604800000", any(), HIGH, read_only,
            honoured();
        /// How often an idle active controller writes a record that does nothing; 0 means never.
        metadata_max_idle_interval_ms: i32 = "metadata.max.idle.interval.ms", "500", at_least(0), LOW,
            read_only, honoured();
        /// How many bytes of the metadata log and its snapshots are kept.
        metadata_max_retention_bytes: i64 = "metadata.max.retention.bytes", "104857600", any(), HIGH,
            read_only, honoured();
        /// How long the metadata log and its snapshots are kept.
        metadata_max_retention_ms: i64 = "metadata.max.retention.ms", "604800000", any(), HIGH, read_only,
            honoured();
        /// The number of this node, different on every node of a cluster.
        node_id: i32 = "node.id", required, at_least(0), HIGH, read_only, honoured();
        /// What this node is: `broker`, `controller`, or both.
        process_roles: Vec<String> = "process.roles", required,
            list_of(&["broker", "controller"], NeverEmpty), HIGH, read_only, honoured();
        /// How long the start may take before the server gives up.
        server_max_startup_time_ms: i64 = "server.max.startup.time.ms", "9223372036854775807", at_least(0),
            MEDIUM, internal read_only, honoured();
        /// Whether API versions still in development are offered.
        unstable_api_versions_enable: bool = "unstable.api.versions.enable", "false", any(), HIGH,
            internal read_only, never(STABLE);
        /// Whether feature levels still in development are offered.
        unstable_feature_versions_enable: bool = "unstable.feature.versions.enable", "false", any(), HIGH,
            internal read_only, honoured();
    }
}
