//! What the log `__consumer_offsets` says, fact by fact.

use bytes::Bytes;
use ottla_base::{ProducerEpoch, ProducerId};
use ottla_wire::records::group::{GroupKey, GroupValue};
use ottla_wire::{DecodeError, EncodeError, TypedRecord};
use ottla_wire::{
    decode_coordinator_key, decode_coordinator_value, encode_coordinator_key, encode_coordinator_value,
};

/// A key and what it has from now on; nothing for a tombstone.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRecord {
    /// What the record is about.
    pub key: GroupKey,
    /// What holds from now on; `None` if the key is gone.
    pub value: Option<GroupValue>,
}

/// A producer in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Producer {
    /// Its id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionResult {
    /// What was written in it counts.
    Committed,
    /// What was written in it does not count.
    Aborted,
}

/// One fact of the log: what one record of it means.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A record that counts at once.
    Plain(GroupRecord),
    /// A record that counts if its transaction is committed.
    Transactional {
        /// Whose transaction.
        producer: Producer,
        /// The record.
        record: GroupRecord,
    },
    /// The end of a producer's transaction: a control record.
    Marker {
        /// Whose transaction.
        producer: Producer,
        /// The epoch of the transaction coordinator that ended it.
        coordinator_epoch: i32,
        /// How it ended.
        result: TransactionResult,
    },
}

impl GroupRecord {
    /// The record as its key and value.
    pub fn set(key: GroupKey, value: GroupValue) -> GroupRecord {
        GroupRecord { key, value: Some(value) }
    }

    /// The record that removes what `key` had.
    pub fn tombstone(key: GroupKey) -> GroupRecord {
        GroupRecord { key, value: None }
    }

    /// Reads a record of the log. `None` for a kind of record that this release does not know, which Kafka too passes
    /// over.
    pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Option<GroupRecord>, DecodeError> {
        let key: GroupKey = match decode_coordinator_key(key) {
            Ok(key) => key,
            Err(DecodeError::UnknownRecord { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let value = match value {
            Some(bytes) => Some(decode_coordinator_value::<GroupValue>(key.record_type(), bytes)?.0),
            None => None,
        };
        Ok(Some(GroupRecord { key, value }))
    }

    /// The bytes of key and value.
    pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), EncodeError> {
        let key = encode_coordinator_key(&self.key)?;
        let value = match &self.value {
            Some(value) => Some(encode_coordinator_value(value, value_version(value))?),
            None => None,
        };
        Ok((key, value))
    }
}

/// The layout in which Kafka 4.4 writes a value (`GroupCoordinatorRecordHelpers`).
fn value_version(value: &GroupValue) -> i16 {
    match value {
        // An explicit expiry fits only the second layout.
        GroupValue::OffsetCommitValue(commit) if commit.expire_timestamp != -1 => 1,
        _ => value.last_version(),
    }
}
