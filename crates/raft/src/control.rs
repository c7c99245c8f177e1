//! The quorum's own records: their values, and the batches they are written in.

use bytes::Bytes;
use ottla_base::{LeaderEpoch, NodeId, Offset, Timestamp};
use ottla_record::{
    BatchBuilder, BatchOptions, BatchView, Batches, ControlType, RecordsError, StoredBatch,
    quorum_control_batch,
};

use crate::history::Membership;
use crate::ids::OffsetAndEpoch;
use crate::voters::{KRaftVersion, VoterSet};

/// A control record of the metadata log or of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub enum ControlRecord {
    /// The first record of every epoch.
    LeaderChange {
        /// Who leads.
        leader: NodeId,
        /// The voters at the time.
        voters: Vec<NodeId>,
        /// Who gave it their votes.
        granting: Vec<NodeId>,
    },
    /// The first record of a snapshot.
    SnapshotHeader {
        /// When the last record that the snapshot covers was appended.
        last_contained_log_timestamp: Timestamp,
    },
    /// The last record of a snapshot.
    SnapshotFooter,
    /// `kraft.version` from here on.
    KRaftVersion(KRaftVersion),
    /// The voters from here on.
    Voters(VoterSet),
    /// A record that says nothing to the quorum; its value is not kept.
    Other(ControlType),
}

impl Membership {
    /// Takes note of a control record at `offset`.
    pub fn apply(&mut self, offset: Offset, record: ControlRecord) {
        match record {
            ControlRecord::KRaftVersion(version) => self.kraft_version.push(offset, version),
            ControlRecord::Voters(voters) => self.voters.push(offset, voters),
            ControlRecord::LeaderChange { .. }
            | ControlRecord::SnapshotHeader { .. }
            | ControlRecord::SnapshotFooter
            | ControlRecord::Other(_) => {}
        }
    }
}

/// The largest batch of the metadata log (`KafkaRaftClient.MAX_BATCH_SIZE_BYTES`); also the limit to which a
/// compressed batch of another implementation is decompressed.
pub const MAX_BATCH_BYTES: usize = 8 << 20;

/// A batch of control records.
pub(crate) fn control_batch(
    first: Offset,
    epoch: LeaderEpoch,
    timestamp: Timestamp,
    records: &[ControlRecord],
) -> Bytes {
    let values: Vec<(ControlType, Bytes)> =
        records.iter().map(|record| (record.kind(), record.to_value())).collect();
    quorum_control_batch(first, epoch, timestamp, values.iter().map(|(kind, value)| (*kind, value.as_ref())))
}

/// A batch of the records that feed the state machine; they have values only.
pub(crate) fn data_batch(first: Offset, epoch: LeaderEpoch, timestamp: Timestamp, values: &[Bytes]) -> Bytes {
    let options =
        BatchOptions { base_offset: first, partition_leader_epoch: epoch, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for value in values {
        builder.append(timestamp, None, Some(value), []);
    }
    builder.build()
}

/// The control records of a batch with their offsets; none if it is a batch of another kind.
pub fn control_records(batch: &BatchView<'_>) -> Result<Vec<(Offset, ControlRecord)>, RecordsError> {
    let mut found = Vec::new();
    if batch.is_control() {
        let decompressed = batch.decompressed(MAX_BATCH_BYTES as u64)?;
        for record in batch.records(&decompressed) {
            let record = record?;
            let kind = ControlType::of_key(record.key)?;
            let value = ControlRecord::from_value(kind, record.value.unwrap_or_default())
                .map_err(|error| RecordsError::Invalid(error.to_string().into()))?;
            found.push((record.offset, value));
        }
    }
    Ok(found)
}

/// A batch from the leader that continues the log.
#[derive(Debug)]
pub(crate) struct SoundBatch {
    pub(crate) bytes: Bytes,
    pub(crate) end: Offset,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) control: Vec<(Offset, ControlRecord)>,
}

/// The batches from the front of `bytes` that continue a log which ends at `at`: whole, with sound checksums,
/// without a gap, in epochs that do not go back and do not exceed `epoch`.
pub(crate) fn sound_batches(bytes: &Bytes, at: OffsetAndEpoch, epoch: LeaderEpoch) -> Vec<SoundBatch> {
    let mut sound = Vec::new();
    let mut last = at;
    let mut batches = Batches::new(bytes);
    let mut position = 0;
    while let Some(Ok(StoredBatch::V2(batch))) = batches.next() {
        let batch_epoch = batch.partition_leader_epoch();
        let continues = batch.base_offset() == last.offset
            && (last.epoch..=epoch).contains(&batch_epoch)
            && batch.end_offset() > last.offset
            && batch.verify_crc().is_ok();
        let Some(control) = continues.then(|| control_records(&batch)).and_then(Result::ok) else { break };
        last = OffsetAndEpoch::new(batch.end_offset(), batch_epoch);
        let bytes = bytes.slice(position..batches.position());
        position = batches.position();
        sound.push(SoundBatch { bytes, end: last.offset, epoch: batch_epoch, control });
    }
    sound
}
