//! Control records: what a coordinator or the quorum's leader says in a log
//! (`org.apache.kafka.common.record.internal.ControlRecordType`, `EndTransactionMarker`).

use bytes::Bytes;
use ottla_base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::builder::{BatchBuilder, BatchOptions};
use crate::error::RecordsError;
use crate::records::Record;

/// What a control record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlType {
    /// The transaction of the batch's producer was aborted.
    Abort,
    /// The transaction of the batch's producer was committed.
    Commit,
    /// A leader of the quorum begins its epoch.
    LeaderChange,
    /// A snapshot begins.
    SnapshotHeader,
    /// A snapshot ends.
    SnapshotFooter,
    /// The quorum's version.
    KraftVersion,
    /// The quorum's voters.
    KraftVoters,
    /// A type from the future, to be ignored.
    Unknown(i16),
}

impl ControlType {
    /// The number in a control record's key.
    pub const fn id(self) -> i16 {
        match self {
            ControlType::Abort => 0,
            ControlType::Commit => 1,
            ControlType::LeaderChange => 2,
            ControlType::SnapshotHeader => 3,
            ControlType::SnapshotFooter => 4,
            ControlType::KraftVersion => 5,
            ControlType::KraftVoters => 6,
            ControlType::Unknown(id) => id,
        }
    }

    /// The type with this number.
    pub const fn from_id(id: i16) -> ControlType {
        match id {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            2 => ControlType::LeaderChange,
            3 => ControlType::SnapshotHeader,
            4 => ControlType::SnapshotFooter,
            5 => ControlType::KraftVersion,
            6 => ControlType::KraftVoters,
            other => ControlType::Unknown(other),
        }
    }

    /// A control record's key: version 0 and the type.
    pub const fn key(self) -> [u8; 4] {
        let [high, low] = self.id().to_be_bytes();
        [0, 0, high, low]
    }

    /// Reads a control record's key.
    pub fn of_key(key: Option<&[u8]>) -> Result<ControlType, RecordsError> {
        let Some([a, b, c, d]) = key.and_then(|it| it.first_chunk::<4>()).copied() else {
            return Err(RecordsError::invalid(format!(
                "Invalid value size found for control record key. Must have at least 4 bytes, but found only {}",
                key.map_or(0, <[u8]>::len)
            )));
        };
        let version = i16::from_be_bytes([a, b]);
        if version < 0 {
            return Err(RecordsError::invalid(format!(
                "Invalid version found for control record: {version}. May indicate data corruption"
            )));
        }
        Ok(ControlType::from_id(i16::from_be_bytes([c, d])))
    }
}

/// The end of a transaction in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTxnMarker {
    /// Whether it was committed; otherwise it was aborted.
    pub committed: bool,
    /// The epoch of the transaction coordinator that decided so.
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    /// The type in the marker's key.
    pub const fn control_type(self) -> ControlType {
        if self.committed { ControlType::Commit } else { ControlType::Abort }
    }

    /// The marker's value: version 0 and the coordinator's epoch.
    pub fn value(self) -> [u8; 6] {
        let [a, b, c, d] = self.coordinator_epoch.to_be_bytes();
        [0, 0, a, b, c, d]
    }

    /// Reads a marker; nothing if the record is about something else.
    pub fn of_record(record: &Record<'_>) -> Result<Option<EndTxnMarker>, RecordsError> {
        let committed = match ControlType::of_key(record.key)? {
            ControlType::Abort => false,
            ControlType::Commit => true,
            _ => return Ok(None),
        };
        let Some([a, b, c, d, e, f]) = record.value.and_then(|it| it.first_chunk::<6>()).copied() else {
            return Err(RecordsError::invalid("An end transaction marker has too short a value"));
        };
        let version = i16::from_be_bytes([a, b]);
        if version < 0 {
            return Err(RecordsError::invalid(format!(
                "Invalid version found for end transaction marker: {version}. May indicate data corruption"
            )));
        }
        Ok(Some(EndTxnMarker { committed, coordinator_epoch: i32::from_be_bytes([c, d, e, f]) }))
    }
}

/// The batch with which a transaction coordinator ends a producer's transaction.
pub fn end_txn_batch(
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    marker: EndTxnMarker,
    timestamp: Timestamp,
) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        producer_id,
        producer_epoch,
        transactional: true,
        control: true,
        ..BatchOptions::default()
    });
    builder.append(timestamp, Some(&marker.control_type().key()), Some(&marker.value()), []);
    builder.build()
}

/// A batch of the quorum's control records, whose values the caller has encoded.
pub fn quorum_control_batch<'v>(
    base_offset: Offset,
    epoch: LeaderEpoch,
    timestamp: Timestamp,
    records: impl IntoIterator<Item = (ControlType, &'v [u8])>,
) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset,
        partition_leader_epoch: epoch,
        control: true,
        ..BatchOptions::default()
    });
    for (kind, value) in records {
        builder.append(timestamp, Some(&kind.key()), Some(value), []);
    }
    builder.build()
}
