//! One file per API; each says which versions it speaks and where it departs from Kafka.

pub mod alter_configs;
pub mod alter_replica_log_dirs;
pub mod api_versions;
mod counted;
pub mod delete_records;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_topic_partitions;
pub mod fetch;
pub mod find_coordinator;
pub mod forward;
pub mod init_producer_id;
mod leader_hint;
pub mod list_config_resources;
pub mod list_offsets;
pub mod metadata;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod quorum;
