//! What a follower checks before it appends what its leader sent
//! (`UnifiedLog.analyzeAndValidateRecords` for replication).

use ottla_base::{LeaderEpoch, Offset, Timestamp};

use crate::batch::{Batches, StoredBatch};
use crate::error::RecordsError;

/// Batches from a leader that may be appended as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicated {
    /// How many bytes from the front are whole batches to append. The rest is cut off.
    pub valid_bytes: usize,
    /// The offset of the first record; for formats v0 and v1 the last offset of the first batch.
    pub first_offset: Offset,
    /// The offset after the last record.
    pub end_offset: Offset,
    /// The highest timestamp.
    pub max_timestamp: Timestamp,
    /// The leader epoch of the last batch.
    pub last_leader_epoch: LeaderEpoch,
}

/// Checks batches that come with their offsets: structure, checksums, and that offsets increase. Ends before
/// a batch that is not whole, and before a batch of a leader epoch above `leader_epoch`, which a leader may
/// send after it lost its leadership (KAFKA-18723). Gives nothing if no batch is left.
pub fn check_replicated(bytes: &[u8], leader_epoch: LeaderEpoch) -> Result<Option<Replicated>, RecordsError> {
    let mut checked: Option<Replicated> = None;
    let mut batches = Batches::new(bytes);
    while let Some(batch) = batches.next() {
        let batch = batch?;
        let (first_offset, epoch) = match &batch {
            StoredBatch::V2(batch) => (batch.base_offset(), batch.partition_leader_epoch()),
            StoredBatch::Legacy(batch) => (batch.last_offset(), LeaderEpoch::NONE),
        };
        if epoch > leader_epoch {
            break;
        }
        let last_offset = batch.last_offset();
        if checked.is_some_and(|it| it.end_offset > last_offset) {
            return Err(RecordsError::corrupt("Out of order offsets found in replicated batches"));
        }
        batch.verify_crc()?;
        let end_offset = last_offset.after(1);
        let max_timestamp = batch.max_timestamp();
        checked = Some(match checked {
            None => Replicated {
                valid_bytes: batches.position(),
                first_offset,
                end_offset,
                max_timestamp: max_timestamp.max(Timestamp::NONE),
                last_leader_epoch: epoch,
            },
            Some(before) => Replicated {
                valid_bytes: batches.position(),
                end_offset,
                max_timestamp: before.max_timestamp.max(max_timestamp),
                last_leader_epoch: epoch,
                ..before
            },
        });
    }
    Ok(checked)
}
