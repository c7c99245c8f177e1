//! What the log `__share_group_state` says, fact by fact.

use bytes::Bytes;
use ottla_base::Offset;
use ottla_wire::records::share::{
    ShareKey, ShareSnapshotKey, ShareSnapshotStateBatch, ShareSnapshotValue, ShareUpdateKey,
    ShareUpdateStateBatch, ShareUpdateValue, ShareValue,
};
use ottla_wire::{DecodeError, EncodeError, TypedRecord};
use ottla_wire::{
    decode_coordinator_key, decode_coordinator_value, encode_coordinator_key, encode_coordinator_value,
};

use super::request::SharePartitionKey;
use super::{StateBatch, state};

/// A record and where it is in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct ShareFact {
    /// The record's offset: a whole copy makes what is before it redundant.
    pub offset: Offset,
    /// The record.
    pub record: ShareRecord,
}

/// A key and what it has from now on; nothing for a tombstone.
#[derive(Debug, Clone, PartialEq)]
pub struct ShareRecord {
    /// What the record is about.
    pub key: ShareKey,
    /// What holds from now on; `None` if the key is gone.
    pub value: Option<ShareValue>,
}

impl ShareRecord {
    /// A whole copy of a share partition's state.
    pub(super) fn snapshot(key: &SharePartitionKey, copy: &state::Copy) -> ShareRecord {
        let batches = copy.batches.iter().map(|it| ShareSnapshotStateBatch {
            first_offset: it.first,
            last_offset: it.last,
            delivery_state: it.delivery_state,
            delivery_count: it.delivery_count,
            ..ShareSnapshotStateBatch::default()
        });
        let value = ShareSnapshotValue {
            snapshot_epoch: copy.snapshot_epoch,
            state_epoch: copy.state_epoch,
            leader_epoch: copy.leader_epoch,
            start_offset: copy.start_offset,
            delivery_complete_count: copy.delivery_complete_count,
            create_timestamp: copy.create_timestamp,
            write_timestamp: copy.write_timestamp,
            state_batches: batches.collect(),
            ..ShareSnapshotValue::default()
        };
        let value = Some(ShareValue::ShareSnapshotValue(value));
        ShareRecord { key: snapshot_key(key), value }
    }

    /// A change to the last whole copy: `batches` go over what it has.
    pub(super) fn update(key: &SharePartitionKey, change: &state::Copy) -> ShareRecord {
        let batches = change.batches.iter().map(|it| ShareUpdateStateBatch {
            first_offset: it.first,
            last_offset: it.last,
            delivery_state: it.delivery_state,
            delivery_count: it.delivery_count,
            ..ShareUpdateStateBatch::default()
        });
        let value = ShareUpdateValue {
            snapshot_epoch: change.snapshot_epoch,
            leader_epoch: change.leader_epoch,
            start_offset: change.start_offset,
            delivery_complete_count: change.delivery_complete_count,
            state_batches: batches.collect(),
            ..ShareUpdateValue::default()
        };
        let key = ShareKey::ShareUpdateKey(ShareUpdateKey {
            group_id: key.group.clone(),
            topic_id: key.topic,
            partition: key.partition,
        });
        ShareRecord { key, value: Some(ShareValue::ShareUpdateValue(value)) }
    }

    /// The end of a share partition's state.
    pub(super) fn tombstone(key: &SharePartitionKey) -> ShareRecord {
        ShareRecord { key: snapshot_key(key), value: None }
    }

    /// Reads a record of the log. `None` for a kind of record that this release does not know, which Kafka too passes
    /// over.
    pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Option<ShareRecord>, DecodeError> {
        let key: ShareKey = match decode_coordinator_key(key) {
            Ok(key) => key,
            Err(DecodeError::UnknownRecord { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let value = match value {
            Some(bytes) => Some(decode_coordinator_value::<ShareValue>(key.record_type(), bytes)?.0),
            None => None,
        };
        Ok(Some(ShareRecord { key, value }))
    }

    /// The bytes of key and value.
    pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), EncodeError> {
        let key = encode_coordinator_key(&self.key)?;
        let value = match &self.value {
            Some(value) => Some(encode_coordinator_value(value, value.last_version())?),
            None => None,
        };
        Ok((key, value))
    }
}

fn snapshot_key(key: &SharePartitionKey) -> ShareKey {
    ShareKey::ShareSnapshotKey(ShareSnapshotKey {
        group_id: key.group.clone(),
        topic_id: key.topic,
        partition: key.partition,
    })
}

/// The batches of a whole copy.
pub(super) fn snapshot_batches(value: &ShareSnapshotValue) -> Vec<StateBatch> {
    let batches = value.state_batches.iter().map(|it| StateBatch {
        first: it.first_offset,
        last: it.last_offset,
        delivery_state: it.delivery_state,
        delivery_count: it.delivery_count,
    });
    batches.collect()
}

/// The batches of a change.
pub(super) fn update_batches(value: &ShareUpdateValue) -> Vec<StateBatch> {
    let batches = value.state_batches.iter().map(|it| StateBatch {
        first: it.first_offset,
        last: it.last_offset,
        delivery_state: it.delivery_state,
        delivery_count: it.delivery_count,
    });
    batches.collect()
}
