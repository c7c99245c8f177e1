//! Produce, consume, share, administer: the client side of Kafka's protocol, against any Kafka server.
//!
//! | file | holds |
//! |---|---|
//! | `options` | settings of clients under Kafka's names |
//! | `error` | what can go wrong, by what the caller should do |
//! | `cluster` | connections to brokers, versions, metadata |
//! | `admin` | typed calls that look and change |
//! | `producer` | records into batches, batches to leaders, in order and once |
//! | `fetcher` | records out of assigned partitions |
//! | `coordinator` | the broker that keeps a group's or a transaction's state |
//! | `share` | a member of a share group: its records, and what became of them |
//! | `consumer` | a member of a group: its share of partitions, and its place in them |
//!
//! Invariants: every public call has one deadline and ends by it; dropping a future loses nothing that was accepted
//! before; a record handed to the producer is reported exactly once, as delivered or as failed; memory is
//! bounded by `buffer.memory` on the way out and by `fetch.max.bytes` for each broker on the way in.
//!
//! Absent on purpose: threads of its own, clocks other than the host's, and trust in what servers send.

pub mod admin;
mod cluster;
mod consumer;
mod coordinator;
mod error;
#[cfg(test)]
mod fake_broker;
#[cfg(test)]
mod fake_group;
#[cfg(test)]
mod fake_share;
#[cfg(test)]
mod fake_transactions;
mod fetcher;
mod options;
mod producer;
mod share;
mod topic_ids;

pub use admin::Admin;
pub use cluster::{
    Broker, Cluster, Deadline, Metadata, PartitionMetadata, Target, TopicMetadata, TopicPartition,
};
pub use consumer::{
    Committed, CommittedOffset, Consumer, GroupMetadata, Leaving, Rebalance, Rebalances, Revocation,
};
pub use error::{Error, Refusal};
pub use fetcher::{ConsumedRecord, Fetched, FetchedBatch, Fetcher, Position};
pub use options::{
    ClusterOptions, ConsumerOptions, FetcherOptions, ProducerOptions, ShareOptions, parse_assignment,
    parse_duration, unknown_keys,
};
pub use producer::{Delivery, Producer, ProducerRecord, RecordMetadata, Transaction, TransactionalProducer};
pub use share::{Acknowledge, ShareConsumer, SharedBatch, SharedRecords};
