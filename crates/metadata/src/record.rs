//! The records of the metadata log as values.

use bytes::Bytes;
use ottla_wire::records::metadata::{BrokerRegistrationChangeRecord, MetadataRecord};
use ottla_wire::{DecodeError, EncodeError, decode_metadata_record, encode_metadata_record};

use crate::MetadataVersion;

/// One record of the metadata log: a fact, and the version of its schema in which it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The version of the fact's schema.
    pub version: i16,
    /// What it says.
    pub fact: MetadataRecord,
}

impl Record {
    /// The record that states a fact in a cluster at `version`.
    pub fn at(version: MetadataVersion, fact: MetadataRecord) -> Record {
        let version = match &fact {
            MetadataRecord::RegisterBrokerRecord(_) => version.register_broker_record(),
            MetadataRecord::PartitionRecord(_) | MetadataRecord::PartitionChangeRecord(_) => {
                version.partition_record()
            }
            MetadataRecord::BrokerRegistrationChangeRecord(change) => registration_change_version(change),
            _ => 0,
        };
        Record { version, fact }
    }

    /// Reads the value of a record of the log. A type or version that Kafka 4.4 does not know is an error.
    pub fn decode(value: Bytes) -> Result<Record, DecodeError> {
        let (fact, version) = decode_metadata_record(value)?;
        Ok(Record { version, fact })
    }

    /// The value of the record, as it is written to the log.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        encode_metadata_record(&self.fact, self.version)
    }
}

/// The oldest version that can hold what has changed, as Kafka writes it.
fn registration_change_version(change: &BrokerRegistrationChangeRecord) -> i16 {
    if change.cordoned_log_dirs.is_some() {
        3
    } else if !change.log_dirs.is_empty() {
        2
    } else if change.in_controlled_shutdown != 0 {
        1
    } else {
        0
    }
}

/// The metadata log says something that no correct controller could have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the metadata log cannot be right: {reason}")]
pub struct ImpossibleRecord {
    reason: String,
}

impl ImpossibleRecord {
    pub(crate) fn new(reason: impl Into<String>) -> ImpossibleRecord {
        ImpossibleRecord { reason: reason.into() }
    }
}
