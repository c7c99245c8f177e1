//! The bytes of a `.snapshot` file, version 1 (`ProducerSnapshot`): version, CRC-32C of what follows it, and an
//! array of producers.

use ottla_base::{Offset, ProducerEpoch, ProducerId, Timestamp};
use ottla_record::{NO_SEQUENCE, crc32c};

use super::{AppendedBatch, ProducerEntry};

const VERSION: i16 = 1;
/// Where the part that the checksum covers begins.
const ENTRIES_AT: usize = 6;
/// The bytes of one producer.
const ENTRY_BYTES: usize = 46;

/// Why bytes are not a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CorruptSnapshot {
    /// The version is not known.
    #[error("snapshot contained an unknown file version {0}")]
    Version(i16),
    /// There are fewer bytes than the entries need.
    #[error("snapshot is shorter than it announces")]
    Truncated,
    /// The checksum does not match.
    #[error("snapshot is corrupt: stored crc {stored}, computed crc {computed}")]
    Checksum {
        /// The checksum in the file.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
}

/// The file's bytes for these producers.
pub fn encode(entries: &[(ProducerId, &ProducerEntry)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ENTRIES_AT + 4 + entries.len() * ENTRY_BYTES);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(entries.len() as u32).to_be_bytes());
    for (producer_id, entry) in entries {
        let last = entry.last_batch().copied().unwrap_or(AppendedBatch {
            last_sequence: NO_SEQUENCE,
            last_offset: Offset(-1),
            offset_delta: 0,
            timestamp: Timestamp::NONE,
        });
        bytes.extend_from_slice(&producer_id.0.to_be_bytes());
        bytes.extend_from_slice(&entry.epoch().0.to_be_bytes());
        bytes.extend_from_slice(&last.last_sequence.to_be_bytes());
        bytes.extend_from_slice(&last.last_offset.0.to_be_bytes());
        bytes.extend_from_slice(&last.offset_delta.to_be_bytes());
        bytes.extend_from_slice(&entry.last_timestamp().0.to_be_bytes());
        bytes.extend_from_slice(&entry.coordinator_epoch().to_be_bytes());
        let first = entry.transaction_first_offset().unwrap_or(Offset(-1));
        bytes.extend_from_slice(&first.0.to_be_bytes());
    }
    let crc = crc32c(&bytes[ENTRIES_AT..]);
    bytes[2..ENTRIES_AT].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The producers in a file's bytes.
pub fn decode(bytes: &[u8]) -> Result<Vec<(ProducerId, ProducerEntry)>, CorruptSnapshot> {
    let mut rest = bytes;
    let version = i16::from_be_bytes(take(&mut rest)?);
    if version != VERSION {
        return Err(CorruptSnapshot::Version(version));
    }
    let stored = u32::from_be_bytes(take(&mut rest)?);
    let computed = crc32c(rest);
    if stored != computed {
        return Err(CorruptSnapshot::Checksum { stored, computed });
    }
    let count = i32::from_be_bytes(take(&mut rest)?);
    let count = usize::try_from(count).map_err(|_| CorruptSnapshot::Truncated)?;
    if count > rest.len() / ENTRY_BYTES {
        return Err(CorruptSnapshot::Truncated);
    }
    (0..count).map(|_| decode_entry(&mut rest)).collect()
}

fn decode_entry(rest: &mut &[u8]) -> Result<(ProducerId, ProducerEntry), CorruptSnapshot> {
    let producer_id = ProducerId(i64::from_be_bytes(take(rest)?));
    let epoch = ProducerEpoch(i16::from_be_bytes(take(rest)?));
    let last_sequence = i32::from_be_bytes(take(rest)?);
    let last_offset = Offset(i64::from_be_bytes(take(rest)?));
    let offset_delta = i32::from_be_bytes(take(rest)?);
    let timestamp = Timestamp(i64::from_be_bytes(take(rest)?));
    let coordinator_epoch = i32::from_be_bytes(take(rest)?);
    let first = Offset(i64::from_be_bytes(take(rest)?));
    let last_batch = (last_offset >= Offset::ZERO).then_some(AppendedBatch {
        last_sequence,
        last_offset,
        offset_delta,
        timestamp,
    });
    let first = (first >= Offset::ZERO).then_some(first);
    Ok((producer_id, ProducerEntry::restored(epoch, coordinator_epoch, timestamp, first, last_batch)))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], CorruptSnapshot> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(CorruptSnapshot::Truncated)?;
    *rest = after;
    Ok(*taken)
}
