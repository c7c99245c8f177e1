//! One idempotent producer in one partition (`ProducerStateEntry`, `BatchMetadata`, `ProducerAppendInfo`).

use std::time::Duration;

use ottla_base::{ErrorCode, Offset, ProducerEpoch, Timestamp};
use ottla_record::{BatchHeader, EndTxnMarker, NO_SEQUENCE, Refusal, sequence_before};

use super::{TimedMarker, Verification, has_passed};

/// How many batches of a producer are remembered, which is how many may be in flight.
pub const REMEMBERED_BATCHES: usize = 5;
/// The coordinator epoch before any marker.
const NO_COORDINATOR_EPOCH: i32 = -1;
/// The first `transaction.version` in which every transaction has an epoch of its own (KIP-890).
const EPOCH_PER_TRANSACTION: i16 = 2;

/// A batch that a producer has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppendedBatch {
    /// The sequence of its last record.
    pub last_sequence: i32,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// How far its first record is from its last.
    pub offset_delta: i32,
    /// Its highest timestamp.
    pub timestamp: Timestamp,
}

impl AppendedBatch {
    /// The sequence of the first record.
    pub fn first_sequence(&self) -> i32 {
        sequence_before(self.last_sequence, self.offset_delta)
    }

    /// The offset of the first record.
    pub fn first_offset(&self) -> Offset {
        Offset(self.last_offset.0.saturating_sub(i64::from(self.offset_delta)))
    }
}

/// What is known of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerEntry {
    epoch: ProducerEpoch,
    coordinator_epoch: i32,
    last_timestamp: Timestamp,
    transaction_first_offset: Option<Offset>,
    /// The first `count` are the last batches, the oldest first.
    batches: [AppendedBatch; REMEMBERED_BATCHES],
    count: u8,
}

impl ProducerEntry {
    /// A producer of which nothing is known.
    pub(super) const UNKNOWN: ProducerEntry = ProducerEntry {
        epoch: ProducerEpoch::NONE,
        coordinator_epoch: NO_COORDINATOR_EPOCH,
        last_timestamp: Timestamp::NONE,
        transaction_first_offset: None,
        batches: [AppendedBatch {
            last_sequence: NO_SEQUENCE,
            last_offset: Offset(-1),
            offset_delta: 0,
            timestamp: Timestamp::NONE,
        }; REMEMBERED_BATCHES],
        count: 0,
    };

    /// A producer as a snapshot has it: with its last batch, if it has one.
    pub fn restored(
        epoch: ProducerEpoch,
        coordinator_epoch: i32,
        last_timestamp: Timestamp,
        transaction_first_offset: Option<Offset>,
        last_batch: Option<AppendedBatch>,
    ) -> ProducerEntry {
        let mut entry = ProducerEntry {
            epoch,
            coordinator_epoch,
            last_timestamp,
            transaction_first_offset,
            ..ProducerEntry::UNKNOWN
        };
        if let Some(batch) = last_batch {
            entry.remember(batch);
        }
        entry
    }

    /// The producer's epoch.
    pub fn epoch(&self) -> ProducerEpoch {
        self.epoch
    }

    /// The epoch of the coordinator that wrote the producer's last marker; −1 before the first.
    pub fn coordinator_epoch(&self) -> i32 {
        self.coordinator_epoch
    }

    /// The timestamp of the last batch or marker.
    pub fn last_timestamp(&self) -> Timestamp {
        self.last_timestamp
    }

    /// The first offset of the transaction that goes on.
    pub fn transaction_first_offset(&self) -> Option<Offset> {
        self.transaction_first_offset
    }

    /// The last batches of this epoch, the oldest first.
    pub fn batches(&self) -> &[AppendedBatch] {
        &self.batches[..usize::from(self.count)]
    }

    /// The last batch of this epoch.
    pub fn last_batch(&self) -> Option<&AppendedBatch> {
        self.batches().last()
    }

    /// The sequence of the last record of this epoch, or [`NO_SEQUENCE`].
    pub fn last_sequence(&self) -> i32 {
        self.last_batch().map_or(NO_SEQUENCE, |it| it.last_sequence)
    }

    pub(super) fn has_transaction_in(&self, epoch: ProducerEpoch) -> bool {
        self.transaction_first_offset.is_some() && self.epoch == epoch
    }

    pub(super) fn is_expired(&self, now: Timestamp, expiration: Duration) -> bool {
        self.transaction_first_offset.is_none() && has_passed(self.last_timestamp, now, expiration)
    }

    /// Takes the batches that `known` has, if they lead to the last one here.
    pub(super) fn recall(&mut self, known: &ProducerEntry) {
        if self.epoch == known.epoch && self.last_batch() == known.last_batch() && known.count > self.count {
            (self.batches, self.count) = (known.batches, known.count);
        }
    }

    /// Whether batches of this epoch may be in the log that are not remembered and would be.
    pub(super) fn may_have_written_more(&self) -> bool {
        usize::from(self.count) < REMEMBERED_BATCHES
            && self.batches().first().is_some_and(|first| first.first_sequence() != 0)
    }

    /// The remembered batch with the same sequences, if this epoch has one.
    pub(super) fn duplicate_of(&self, header: &BatchHeader) -> Option<AppendedBatch> {
        if header.producer_epoch() != self.epoch {
            return None;
        }
        let (first, last) = (header.base_sequence(), header.last_sequence());
        let same = |it: &&AppendedBatch| it.first_sequence() == first && it.last_sequence == last;
        self.batches().iter().find(same).copied()
    }

    /// Whether a batch of data fits the epoch and the transaction.
    pub(super) fn check_data(&self, header: &BatchHeader) -> Result<(), Refusal> {
        let epoch = header.producer_epoch();
        if epoch < self.epoch {
            return Err(self.fenced(header, "<"));
        }
        if self.transaction_first_offset.is_some() && !header.is_transactional() {
            let message = format!(
                "Expected transactional write from producer {} at offset {}",
                header.producer_id(),
                header.base_offset()
            );
            return Err(Refusal::new(ErrorCode::InvalidTxnState, message));
        }
        Ok(())
    }

    /// Whether a client's batch continues the producer's sequence.
    pub(super) fn check_sequence(
        &self,
        header: &BatchHeader,
        verification: Option<Verification>,
    ) -> Result<(), Refusal> {
        let sequence = header.base_sequence();
        if let Some(verification) = verification {
            if verification.supports_epoch_bump && sequence != 0 && self.count == 0 {
                return Err(out_of_order(header, "expected sequence 0 of a producer without state"));
            }
            if sequence > verification.lowest_sequence {
                let seen = format!("{} (earliest seen sequence)", verification.lowest_sequence);
                return Err(out_of_order(header, &seen));
            }
        }
        // A producer of which nothing is left in the log may go on wherever it is.
        if self.epoch == ProducerEpoch::NONE {
            return Ok(());
        }
        if header.producer_epoch() != self.epoch {
            if sequence != 0 {
                return Err(out_of_order(header, &format!("{} (current producer epoch)", self.epoch)));
            }
            return Ok(());
        }
        let last = self.last_sequence();
        let follows = i64::from(sequence) == i64::from(last) + 1 || (sequence == 0 && last == i32::MAX);
        if follows {
            Ok(())
        } else {
            Err(out_of_order(header, &format!("{last} (current end sequence number)")))
        }
    }

    /// Whether a marker fits the producer's and the coordinator's epoch.
    pub(super) fn check_marker(
        &self,
        header: &BatchHeader,
        marker: EndTxnMarker,
        transaction_version: i16,
    ) -> Result<(), Refusal> {
        let epoch = header.producer_epoch();
        if transaction_version >= EPOCH_PER_TRANSACTION {
            // The same marker may come again, because its answer was lost or the coordinator moved.
            let again =
                epoch == self.epoch && (self.transaction_first_offset.is_none() || epoch.0 == i16::MAX);
            if epoch <= self.epoch && !again {
                return Err(self.fenced(header, "<="));
            }
        } else if epoch < self.epoch {
            return Err(self.fenced(header, "<"));
        }
        if self.coordinator_epoch > marker.coordinator_epoch {
            let message = format!(
                "Invalid coordinator epoch for producerId {} at offset {}: {} (zombie), {} (current)",
                header.producer_id(),
                header.base_offset(),
                marker.coordinator_epoch,
                self.coordinator_epoch
            );
            return Err(Refusal::new(ErrorCode::TransactionCoordinatorFenced, message));
        }
        Ok(())
    }

    /// Takes a batch of data as fact. Gives the first offset of the transaction that it begins.
    pub(super) fn append_data(&mut self, header: &BatchHeader) -> Option<Offset> {
        self.enter_epoch(header.producer_epoch());
        self.remember(AppendedBatch {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta(),
            timestamp: header.max_timestamp(),
        });
        self.last_timestamp = header.max_timestamp();
        if header.is_transactional() && self.transaction_first_offset.is_none() {
            self.transaction_first_offset = Some(header.base_offset());
            return self.transaction_first_offset;
        }
        None
    }

    /// Takes a marker as fact. Gives the first offset of the transaction that it ends, unless that had no
    /// data here.
    pub(super) fn append_marker(&mut self, header: &BatchHeader, marker: &TimedMarker) -> Option<Offset> {
        self.enter_epoch(header.producer_epoch());
        self.coordinator_epoch = marker.marker.coordinator_epoch;
        self.last_timestamp = marker.timestamp;
        self.transaction_first_offset.take()
    }

    fn enter_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.count = 0;
        }
    }

    fn remember(&mut self, batch: AppendedBatch) {
        let count = usize::from(self.count);
        if count == REMEMBERED_BATCHES {
            self.batches.copy_within(1.., 0);
            self.batches[REMEMBERED_BATCHES - 1] = batch;
        } else {
            self.batches[count] = batch;
            self.count += 1;
        }
    }

    fn fenced(&self, header: &BatchHeader, comparison: &str) -> Refusal {
        let message = format!(
            "Epoch of producer {} at offset {} is {}, which is {comparison} the last seen epoch {}",
            header.producer_id(),
            header.base_offset(),
            header.producer_epoch(),
            self.epoch
        );
        Refusal::new(ErrorCode::InvalidProducerEpoch, message)
    }
}

fn out_of_order(header: &BatchHeader, expected: &str) -> Refusal {
    let message = format!(
        "Out of order sequence number for producer {} at offset {}: {} (incoming seq. number), {} (request \
         epoch), {expected}",
        header.producer_id(),
        header.base_offset(),
        header.base_sequence(),
        header.producer_epoch()
    );
    Refusal::new(ErrorCode::OutOfOrderSequenceNumber, message)
}
