//! One file per API; each says which versions it speaks and where it departs from Kafka.

pub mod alter_configs;
pub mod alter_replica_log_dirs;
pub mod api_versions;
mod counted;
pub mod delete_records;
pub mod delete_share_group_state;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_topic_partitions;
pub mod fetch;
pub mod find_coordinator;
pub mod forward;
pub mod init_producer_id;
pub mod initialize_share_group_state;
mod leader_hint;
pub mod list_config_resources;
pub mod list_offsets;
pub mod metadata;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod quorum;
pub mod read_share_group_state;
pub mod read_share_group_state_summary;
mod share_states;
pub mod write_share_group_state;
