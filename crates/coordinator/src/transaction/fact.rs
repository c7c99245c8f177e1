//! What the log `__transaction_state` says: a transactional id and all that holds for it from now on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ottla_base::{PartitionIndex, ProducerEpoch, ProducerId, Str, Timestamp};
use ottla_wire::records::transaction::{
    PartitionsSchema, TransactionKey, TransactionLogKey, TransactionLogValue, TransactionValue,
};
use ottla_wire::{DecodeError, EncodeError, TypedRecord};
use ottla_wire::{
    decode_coordinator_key, decode_coordinator_value, encode_coordinator_key, encode_coordinator_value,
};

use crate::group::Producer;

/// A transactional id and what it has from now on; nothing for a tombstone.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// Which id.
    pub transactional_id: Str,
    /// What holds for it; `None` if the id is forgotten.
    pub transaction: Option<Transaction>,
    /// The layout of the value: 0 before `transaction.version` 1, 1 since.
    pub layout: i16,
}

/// All that holds for a transactional id (`TransactionMetadata`).
#[derive(Debug, Clone, PartialEq)]
pub struct Transaction {
    /// The producer that has the id.
    pub producer: Producer,
    /// The producer id before the last change of anything (`prevProducerId`): tells a repeated request from a foreign one
    /// after the epochs of a producer id are used up.
    pub previous_id: ProducerId,
    /// The producer id that follows when this transaction is complete, because the epochs of this one are used up.
    pub next_id: ProducerId,
    /// How long a transaction may take, in milliseconds; `i32::MAX` for ever (two-phase commit).
    pub timeout_ms: i32,
    /// How far the transaction is.
    pub status: Status,
    /// What has been written to in it.
    pub partitions: Arc<TopicPartitions>,
    /// When the last transaction began; −1 before the first.
    pub start: Timestamp,
    /// When this was last changed.
    pub last_update: Timestamp,
    /// The `transaction.version` that the client spoke when it changed this.
    pub version: i16,
}

/// How far a transaction is (`TransactionState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// There was none since the producer took the id.
    Empty,
    /// Partitions have been added.
    Ongoing,
    /// It will be committed; markers are being written.
    PrepareCommit,
    /// It will be aborted; markers are being written.
    PrepareAbort,
    /// It is committed.
    CompleteCommit,
    /// It is aborted.
    CompleteAbort,
}

/// Partitions by their topics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicPartitions(BTreeMap<Str, BTreeSet<PartitionIndex>>);

impl Fact {
    /// Reads a record of the log. `None` for what this release does not know, which Kafka too passes over.
    pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Option<Fact>, DecodeError> {
        let key: TransactionKey = match decode_coordinator_key(key) {
            Ok(key) => key,
            Err(DecodeError::UnknownRecord { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let record_type = key.record_type();
        let TransactionKey::TransactionLogKey(key) = key;
        let transactional_id = key.transactional_id.detached();
        let Some(value) = value else {
            return Ok(Some(Fact { transactional_id, transaction: None, layout: 0 }));
        };
        match decode_coordinator_value::<TransactionValue>(record_type, value) {
            Ok((TransactionValue::TransactionLogValue(value), layout)) => {
                let transaction = Transaction::of_value(&value);
                Ok(transaction.map(|it| Fact { transactional_id, transaction: Some(it), layout }))
            }
            Err(DecodeError::UnknownRecord { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes of key and value.
    pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), EncodeError> {
        let key = TransactionLogKey { transactional_id: self.transactional_id.clone() };
        let key = encode_coordinator_key(&TransactionKey::TransactionLogKey(key))?;
        let value = match &self.transaction {
            Some(transaction) => {
                let value = TransactionValue::TransactionLogValue(transaction.value(self.layout));
                Some(encode_coordinator_value(&value, self.layout)?)
            }
            None => None,
        };
        Ok((key, value))
    }
}

impl Transaction {
    /// Whether its end is decided, but not all of its markers are known to be written.
    pub fn is_ending(&self) -> bool {
        matches!(self.status, Status::PrepareCommit | Status::PrepareAbort)
    }

    /// Whether the epochs of the producer id are used up. The very last one is left for fencing.
    pub fn is_exhausted(&self) -> bool {
        is_last_epoch(self.producer.epoch)
    }

    /// `None` if the status is one that is never written.
    fn of_value(value: &TransactionLogValue) -> Option<Transaction> {
        let status = Status::of_number(value.transaction_status)?;
        let mut partitions = TopicPartitions::default();
        if status != Status::Empty {
            for topic in value.transaction_partitions.iter().flatten() {
                let name = topic.topic.detached();
                topic.partition_ids.iter().for_each(|index| partitions.add(&name, PartitionIndex(*index)));
            }
        }
        Some(Transaction {
            producer: Producer {
                id: ProducerId(value.producer_id),
                epoch: ProducerEpoch(value.producer_epoch),
            },
            previous_id: ProducerId(value.previous_producer_id),
            next_id: ProducerId(value.next_producer_id),
            timeout_ms: value.transaction_timeout_ms,
            status,
            partitions: Arc::new(partitions),
            start: Timestamp(value.transaction_start_timestamp_ms),
            last_update: Timestamp(value.transaction_last_update_timestamp_ms),
            version: value.client_transaction_version,
        })
    }

    fn value(&self, layout: i16) -> TransactionLogValue {
        let topics = self.partitions.iter().map(|(topic, indexes)| PartitionsSchema {
            topic: topic.clone(),
            partition_ids: indexes.iter().map(|index| index.0).collect(),
            unknown_tagged_fields: Vec::new(),
        });
        let mut value = TransactionLogValue {
            producer_id: self.producer.id.0,
            producer_epoch: self.producer.epoch.0,
            transaction_timeout_ms: self.timeout_ms,
            transaction_status: self.status.number(),
            transaction_partitions: (self.status != Status::Empty).then(|| topics.collect()),
            transaction_last_update_timestamp_ms: self.last_update.0,
            transaction_start_timestamp_ms: self.start.0,
            ..TransactionLogValue::default()
        };
        if layout > 0 {
            value.previous_producer_id = self.previous_id.0;
            value.next_producer_id = self.next_id.0;
            value.client_transaction_version = self.version;
        }
        value
    }
}

/// Whether a producer in this epoch must go on under another id. The very last one is left for fencing.
pub(super) fn is_last_epoch(epoch: ProducerEpoch) -> bool {
    epoch.0 >= i16::MAX - 1
}

impl Status {
    /// Every status that a transaction can be seen in.
    pub const ALL: [Status; 6] = [
        Status::Empty,
        Status::Ongoing,
        Status::PrepareCommit,
        Status::PrepareAbort,
        Status::CompleteCommit,
        Status::CompleteAbort,
    ];

    /// Its name in `DescribeTransactions`.
    pub fn name(self) -> &'static str {
        match self {
            Status::Empty => "Empty",
            Status::Ongoing => "Ongoing",
            Status::PrepareCommit => "PrepareCommit",
            Status::PrepareAbort => "PrepareAbort",
            Status::CompleteCommit => "CompleteCommit",
            Status::CompleteAbort => "CompleteAbort",
        }
    }

    /// Whether Kafka knows a status of this name; in two of them no transaction is ever seen.
    pub fn is_known(name: &str) -> bool {
        Status::ALL.iter().any(|it| it.name() == name) || matches!(name, "Dead" | "PrepareEpochFence")
    }

    fn number(self) -> i8 {
        match self {
            Status::Empty => 0,
            Status::Ongoing => 1,
            Status::PrepareCommit => 2,
            Status::PrepareAbort => 3,
            Status::CompleteCommit => 4,
            Status::CompleteAbort => 5,
        }
    }

    fn of_number(number: i8) -> Option<Status> {
        Status::ALL.into_iter().find(|it| it.number() == number)
    }
}

impl TopicPartitions {
    /// Adds a partition. The name is kept as it is.
    pub fn add(&mut self, topic: &Str, partition: PartitionIndex) {
        match self.0.get_mut(topic) {
            Some(indexes) => {
                indexes.insert(partition);
            }
            None => {
                self.0.insert(topic.clone(), BTreeSet::from([partition]));
            }
        }
    }

    /// Removes a partition.
    pub fn remove(&mut self, topic: &Str, partition: PartitionIndex) {
        if let Some(indexes) = self.0.get_mut(topic) {
            indexes.remove(&partition);
            if indexes.is_empty() {
                self.0.remove(topic);
            }
        }
    }

    /// Whether a partition is among them.
    pub fn contains(&self, topic: &Str, partition: PartitionIndex) -> bool {
        self.0.get(topic).is_some_and(|indexes| indexes.contains(&partition))
    }

    /// Whether all of `others` are among them.
    pub fn contains_all(&self, others: &TopicPartitions) -> bool {
        others.each().all(|(topic, partition)| self.contains(topic, partition))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// Topic by topic.
    pub fn iter(&self) -> impl Iterator<Item = (&Str, &BTreeSet<PartitionIndex>)> {
        self.0.iter()
    }

    /// Partition by partition.
    pub fn each(&self) -> impl Iterator<Item = (&Str, PartitionIndex)> {
        self.0.iter().flat_map(|(topic, indexes)| indexes.iter().map(move |index| (topic, *index)))
    }

    /// A copy that holds no frame.
    pub(super) fn detached(&self) -> TopicPartitions {
        TopicPartitions(self.0.iter().map(|(topic, indexes)| (topic.detached(), indexes.clone())).collect())
    }
}

impl<'a> FromIterator<(&'a Str, PartitionIndex)> for TopicPartitions {
    fn from_iter<I: IntoIterator<Item = (&'a Str, PartitionIndex)>>(partitions: I) -> TopicPartitions {
        let mut all = TopicPartitions::default();
        partitions.into_iter().for_each(|(topic, partition)| all.add(topic, partition));
        all
    }
}
