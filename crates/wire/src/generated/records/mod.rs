//! What Kafka writes for itself: records of internal topics, control records, headers.

pub mod consumer_protocol;
pub mod control;
pub mod group;
pub mod header;
pub mod metadata;
pub mod quorum;
pub mod remote_log;
pub mod share;
pub mod storage;
pub mod transaction;
