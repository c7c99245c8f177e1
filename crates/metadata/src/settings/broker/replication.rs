//! Settings of a server: replication and leadership.

use ottla_base::settings;
use ottla_base::settings::{any, at_least, honoured, later, never};

use crate::settings::effects::{PURGATORY, REPLICATION};

settings! {
    /// Replication and leadership.
    pub struct ReplicationSettings {
        /// Whether leadership goes back to the preferred replicas by itself.
        auto_leader_rebalance_enable: bool = "auto.leader.rebalance.enable", "true", any(), HIGH, read_only,
            later(REPLICATION);
        /// Whether a broker hands its partitions over before it stops.
        controlled_shutdown_enable: bool = "controlled.shutdown.enable", "true", any(), MEDIUM, read_only,
            later(REPLICATION);
        /// How long a request from a broker to the controller may take.
        controller_socket_timeout_ms: i32 = "controller.socket.timeout.ms", "30000", any(), MEDIUM, read_only,
            later(REPLICATION);
        /// How many finished requests Kafka lets gather before it clears those that waited for deletions.
        delete_records_purgatory_purge_interval_requests: i32 = "delete.records.purgatory.purge.interval.requests",
            "1", any(), MEDIUM, read_only, never(PURGATORY);
        /// How many finished requests Kafka lets gather before it clears those of waiting fetches.
        fetch_purgatory_purge_interval_requests: i32 = "fetch.purgatory.purge.interval.requests", "1000",
            any(), MEDIUM, read_only, never(PURGATORY);
        /// How often the controller looks for partitions that are not led by their preferred replica.
        leader_imbalance_check_interval_seconds: i64 = "leader.imbalance.check.interval.seconds", "300",
            at_least(1), HIGH, read_only, later(REPLICATION);
        /// How many connections fetch from each other broker.
        num_replica_fetchers: i32 = "num.replica.fetchers", "1", at_least(1), HIGH, cluster_wide,
            later(REPLICATION);
        /// How many finished requests Kafka lets gather before it clears those of waiting produces.
        producer_purgatory_purge_interval_requests: i32 = "producer.purgatory.purge.interval.requests",
            "1000", any(), MEDIUM, read_only, never(PURGATORY);
        /// The pause of a follower after a failed fetch.
        replica_fetch_backoff_ms: i32 = "replica.fetch.backoff.ms", "1000", at_least(0), MEDIUM, read_only,
            later(REPLICATION);
        /// How many bytes of one partition a follower asks for.
        replica_fetch_max_bytes: i32 = "replica.fetch.max.bytes", "1048576", at_least(0), MEDIUM, read_only,
            later(REPLICATION);
        /// How many bytes a follower waits for.
        replica_fetch_min_bytes: i32 = "replica.fetch.min.bytes", "1", any(), HIGH, read_only,
            later(REPLICATION);
        /// How many bytes of all partitions a follower asks for.
        replica_fetch_response_max_bytes: i32 = "replica.fetch.response.max.bytes", "10485760", at_least(0),
            MEDIUM, read_only, later(REPLICATION);
        /// How long a follower waits for new bytes.
        replica_fetch_wait_max_ms: i32 = "replica.fetch.wait.max.ms", "500", any(), HIGH, read_only,
            later(REPLICATION);
        /// How often the high watermarks are written down.
        replica_high_watermark_checkpoint_interval_ms: i64 = "replica.high.watermark.checkpoint.interval.ms",
            "5000", any(), HIGH, read_only, honoured();
        /// How long a follower may be behind before it leaves the in-sync replicas.
        replica_lag_time_max_ms: i64 = "replica.lag.time.max.ms", "30000", any(), HIGH, read_only,
            later(REPLICATION);
        /// How the replica that a consumer reads from is chosen; Kafka's rack-aware selector names the one
        /// built in.
        replica_selector_class: Option<String> = "replica.selector.class", null, any(), MEDIUM, read_only,
            later(REPLICATION);
        /// The receive buffer of connections to other brokers.
        replica_socket_receive_buffer_bytes: i32 = "replica.socket.receive.buffer.bytes", "65536", any(),
            HIGH, read_only, later(REPLICATION);
        /// How long a request to another broker may take.
        replica_socket_timeout_ms: i32 = "replica.socket.timeout.ms", "30000", any(), HIGH, read_only,
            later(REPLICATION);
        /// Whether a replica that was not in sync may lead when no other is left, losing records.
        unclean_leader_election_enable: bool = "unclean.leader.election.enable", "false", any(), HIGH,
            cluster_wide, honoured();
        /// How often partitions without leader are looked over for an unclean election.
        unclean_leader_election_interval_ms: i64 = "unclean.leader.election.interval.ms", "300000",
            at_least(1), MEDIUM, internal read_only, later(REPLICATION);
    }
}
