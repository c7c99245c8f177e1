//! Settings of a server: transactions and idempotent producers.

use ottla_base::settings;
use ottla_base::settings::{any, at_least, honoured};

settings! {
    /// Transactions and idempotent producers.
    pub struct TransactionSettings {
        /// The longest pause before the leader asks the transaction coordinator again to verify a partition.
        add_partitions_to_txn_retry_backoff_max_ms: i32 = "add.partitions.to.txn.retry.backoff.max.ms", "100",
            at_least(0), HIGH, read_only, honoured();
        /// The first pause before the leader asks the transaction coordinator again to verify a partition.
        add_partitions_to_txn_retry_backoff_ms: i32 = "add.partitions.to.txn.retry.backoff.ms", "20",
            at_least(1), HIGH, read_only, honoured();
        /// How often idempotent producers are looked over for silent ones.
        producer_id_expiration_check_interval_ms: i32 = "producer.id.expiration.check.interval.ms", "600000",
            at_least(1), LOW, internal read_only, honoured();
        /// How long a partition remembers a silent idempotent producer.
        producer_id_expiration_ms: i32 = "producer.id.expiration.ms", "86400000", at_least(1), LOW,
            cluster_wide, honoured();
        /// How often transactions are looked over for those that took too long.
        transaction_abort_timed_out_transaction_cleanup_interval_ms: i32 = "transaction.abort.timed.out.transaction.cleanup.interval.ms",
            "10000", at_least(1), LOW, read_only, honoured();
        /// The longest timeout a transaction may ask for.
        transaction_max_timeout_ms: i32 = "transaction.max.timeout.ms", "900000", at_least(1), HIGH,
            read_only, honoured();
        /// Whether a leader asks the coordinator that a partition belongs to a transaction.
        transaction_partition_verification_enable: bool = "transaction.partition.verification.enable", "true",
            any(), LOW, cluster_wide, honoured();
        /// How often transactional ids are looked over for silent ones.
        transaction_remove_expired_transaction_cleanup_interval_ms: i32 = "transaction.remove.expired.transaction.cleanup.interval.ms",
            "3600000", at_least(1), LOW, read_only, honoured();
        /// How many bytes are read at once when transactions are loaded.
        transaction_state_log_load_buffer_size: i32 = "transaction.state.log.load.buffer.size", "5242880",
            at_least(1), HIGH, read_only, honoured();
        /// How many replicas of `__transaction_state` must have a record.
        transaction_state_log_min_isr: i32 = "transaction.state.log.min.isr", "2", at_least(1), HIGH,
            read_only, honoured();
        /// The partitions of `__transaction_state`; never change it afterwards.
        transaction_state_log_num_partitions: i32 = "transaction.state.log.num.partitions", "50", at_least(1),
            HIGH, read_only, honoured();
        /// The replicas of `__transaction_state`.
        transaction_state_log_replication_factor: i16 = "transaction.state.log.replication.factor", "3",
            at_least(1), HIGH, read_only, honoured();
        /// The size at which a new segment of `__transaction_state` begins.
        transaction_state_log_segment_bytes: i32 = "transaction.state.log.segment.bytes", "104857600",
            at_least(1), HIGH, read_only, honoured();
        /// Whether transactions may be prepared for an outside coordinator.
        transaction_two_phase_commit_enable: bool = "transaction.two.phase.commit.enable", "false", any(),
            LOW, read_only, honoured();
        /// How long a silent transactional id is kept.
        transactional_id_expiration_ms: i32 = "transactional.id.expiration.ms", "604800000", at_least(1),
            HIGH, read_only, honoured();
    }
}
