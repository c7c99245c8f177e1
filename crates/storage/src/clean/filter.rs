//! What compaction leaves of one batch (`Cleaner.cleanInto`, `MemoryRecords.filterTo`).

use std::ops::RangeInclusive;

use bytes::Bytes;
use ottla_base::{Offset, ProducerEpoch, Timestamp};
use ottla_record::{
    BatchBuilder, BatchHeader, BatchOptions, BatchView, ControlType, DecompressionLimits, LegacyBatchView,
    RecordStream, RecordsError, StoredBatch, TimestampType, emptied,
};

use super::offset_map::{KEYS_AT_ONCE, OffsetMap};
use super::transactions::{Marker, PassingTransactions};
use crate::transaction_index::AbortedTransaction;

/// The most that a batch may come to when it is written anew.
const REBUILT_BYTES_MAX: usize = 512 << 20;
/// The most bytes that a compressed batch of formats v0 and v1 may unfold to.
const LEGACY_BYTES_MAX: u64 = 256 << 20;

/// What a record is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// The last offset of each key.
    pub(crate) map: &'a OffsetMap,
    /// The last offset that the map knows of: what is above stays.
    pub(crate) latest: Offset,
    /// When the pass began.
    pub(crate) now: Timestamp,
    /// `delete.retention.ms`
    pub(crate) delete_retention_ms: i64,
    /// Whether tombstones of formats v0 and v1 are too young to go.
    pub(crate) keeps_legacy_deletes: bool,
    /// Where the pass ends: the batch that ends there stays, even empty, so that it is known where the log goes on.
    pub(crate) upper: Offset,
}

/// What a partition knows of the last batch of a producer that is still remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastOfProducer {
    /// The last record that was no marker.
    pub(crate) offset: Option<Offset>,
    /// The producer's epoch.
    pub(crate) epoch: ProducerEpoch,
}

impl LastOfProducer {
    /// Whether the batch is needed to know the producer's last sequence, or its epoch.
    fn is_in(self, batch: &BatchHeader) -> bool {
        match self.offset {
            Some(offset) => batch.last_offset() == offset,
            None => batch.is_control() && batch.producer_epoch() == self.epoch,
        }
    }
}

/// What is left of a batch.
#[derive(Debug)]
pub(crate) enum Left {
    /// All of it, as it was.
    Whole,
    /// Some of it, or all of it in another form.
    Rebuilt(Bytes),
    /// A header alone.
    Emptied(BatchHeader),
    /// Nothing.
    Nothing,
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) struct Filtered {
    pub(crate) left: Left,
    /// The aborted transaction that ends with this batch and must be in the index.
    pub(crate) aborted: Option<AbortedTransaction>,
    pub(crate) records_read: u64,
    pub(crate) records_left: u64,
    /// Records without a key, which no compacted topic should have.
    pub(crate) keyless: u64,
}

/// What is decided about the records of a batch.
#[derive(Debug, Default)]
struct Decided {
    /// Of each record how far it is from the batch's first offset, if it stays.
    stays: Vec<Option<i32>>,
    kept: u64,
    keyless: u64,
    tombstones: bool,
}

impl Decided {
    fn note(&mut self, delta: i32, keep: Option<bool>, has_value: bool) {
        self.keyless += u64::from(keep.is_none());
        let keep = keep.unwrap_or(false);
        self.stays.push(keep.then_some(delta));
        self.kept += u64::from(keep);
        self.tombstones |= keep && !has_value;
    }
}

/// Why a batch cannot be cleaned.
fn unfit(reason: impl Into<String>) -> RecordsError {
    RecordsError::Invalid(reason.into().into())
}

/// How far a record is from the first offset of its batch, after those before it and within the batch.
fn delta_of(
    offset: Offset,
    offsets: RangeInclusive<Offset>,
    before: Option<i32>,
) -> Result<i32, RecordsError> {
    let delta = offset.get().checked_sub(offsets.start().get()).and_then(|it| i32::try_from(it).ok());
    match delta {
        Some(delta) if delta > before.unwrap_or(-1) && offset <= *offsets.end() => Ok(delta),
        _ => Err(unfit(format!("a record's offset, {offset}, is out of order"))),
    }
}

impl Rules<'_> {
    /// Whether a record stays that has this hash, if it has a key.
    fn keeps(
        &self,
        offset: Offset,
        hash: Option<[u64; 2]>,
        tombstone_stays: bool,
        has_value: bool,
    ) -> Option<bool> {
        if offset > self.latest {
            return Some(true);
        }
        let last = self.map.get(hash?);
        Some(last.is_none_or(|last| offset >= last) && (has_value || tombstone_stays))
    }

    /// Filters a batch, whose checksum was found right. `last` is what the partition knows of its producer.
    pub(crate) fn filter(
        &self,
        stored: &StoredBatch<'_>,
        transactions: &mut PassingTransactions,
        last: Option<LastOfProducer>,
    ) -> Result<Filtered, RecordsError> {
        match stored {
            StoredBatch::V2(batch) => self.filter_v2(batch, transactions, last),
            StoredBatch::Legacy(batch) => self.filter_legacy(batch),
        }
    }

    fn filter_v2(
        &self,
        batch: &BatchView<'_>,
        transactions: &mut PassingTransactions,
        last: Option<LastOfProducer>,
    ) -> Result<Filtered, RecordsError> {
        let (idle, aborted) = match batch.is_control() {
            true => match transactions.on_control(batch, control_of(batch)?) {
                Marker::Idle => (true, None),
                Marker::Needed(aborted) => (false, aborted),
            },
            false => (transactions.on_data(batch), None),
        };
        let horizon = batch.delete_horizon();
        // Markers wait as tombstones do: who reads slowly may have seen what they end.
        let discards = idle && (!batch.is_control() || horizon.is_some_and(|it| it <= self.now));
        let is_last = batch.has_producer_id() && last.is_some_and(|it| it.is_in(batch));
        let stays_empty = is_last || batch.last_offset().after(1) == self.upper;
        let mut filtered =
            Filtered { left: Left::Nothing, aborted, records_read: 0, records_left: 0, keyless: 0 };
        if discards && !stays_empty {
            return Ok(filtered);
        }
        let count = u64::try_from(batch.count()).map_err(|_| unfit("the record count is negative"))?;
        let decided = if discards { Decided::default() } else { self.decide(batch)? };
        filtered.records_read = count;
        filtered.records_left = decided.kept;
        filtered.keyless = decided.keyless;
        let sets_horizon =
            horizon.is_none() && (decided.tombstones || (idle && batch.is_control())) && decided.kept > 0;
        filtered.left = if decided.kept == 0 {
            if stays_empty { Left::Emptied(emptied(batch)) } else { Left::Nothing }
        } else if decided.kept == count && !sets_horizon {
            Left::Whole
        } else {
            let set = Timestamp(self.now.get().saturating_add(self.delete_retention_ms));
            Left::Rebuilt(rebuild(batch, &decided, if sets_horizon { Some(set) } else { horizon })?)
        };
        Ok(filtered)
    }

    fn decide(&self, batch: &BatchView<'_>) -> Result<Decided, RecordsError> {
        let tombstone_stays = batch.delete_horizon().is_none_or(|horizon| self.now < horizon);
        let mut decided = Decided::default();
        let mut before = None;
        let mut stream = RecordStream::new(batch, DecompressionLimits::default())?;
        let mut held = Vec::with_capacity(KEYS_AT_ONCE);
        loop {
            held.clear();
            while held.len() < KEYS_AT_ONCE {
                let mut hash = self.map.hash();
                let Some(record) = stream.next_keyed(|piece| hash.write(piece))? else { break };
                let delta = delta_of(record.offset, batch.base_offset()..=batch.last_offset(), before)?;
                before = Some(delta);
                held.push((record, delta, record.has_key.then(|| hash.finish())));
            }
            if held.is_empty() {
                return Ok(decided);
            }
            self.map.expect(held.iter().filter_map(|it| it.2));
            for (record, delta, hash) in &held {
                let keep = match batch.is_control() {
                    true => Some(true),
                    false => self.keeps(record.offset, *hash, tombstone_stays, record.has_value),
                };
                decided.note(*delta, keep, record.has_value || batch.is_control());
            }
        }
    }

    /// Batches of the old formats are written anew as v2 whenever they pass by.
    fn filter_legacy(&self, batch: &LegacyBatchView<'_>) -> Result<Filtered, RecordsError> {
        let records = batch.records(LEGACY_BYTES_MAX)?;
        let mut decided = Decided::default();
        let mut options = BatchOptions {
            compression: batch.compression()?.into(),
            log_append_time: (batch.timestamp_type() == TimestampType::LogAppendTime)
                .then(|| batch.max_timestamp()),
            ..BatchOptions::default()
        };
        let mut before = None;
        for record in &records {
            let first = records.first().map_or(record.offset, |it| it.offset).max(Offset::ZERO);
            let delta = delta_of(record.offset, first..=batch.last_offset(), before)?;
            before = Some(delta);
            let hash = record.key.as_ref().map(|key| {
                let mut hash = self.map.hash();
                hash.write(key);
                hash.finish()
            });
            let keep = self.keeps(record.offset, hash, self.keeps_legacy_deletes, record.value.is_some());
            decided.note(delta, keep, record.value.is_some());
        }
        let kept = || {
            records.iter().zip(&decided.stays).filter(|(_, stays)| stays.is_some()).map(|(record, _)| record)
        };
        let left = match kept().next() {
            Some(first) => {
                options.base_offset = first.offset;
                let horizon = Timestamp(self.now.get().saturating_add(self.delete_retention_ms));
                options.delete_horizon = decided.tombstones.then_some(horizon);
                let mut builder = BatchBuilder::new(options);
                for record in kept() {
                    let (key, value) = (record.key.as_deref(), record.value.as_deref());
                    builder.append_at(record.offset, record.timestamp, key, value, []);
                    check_size(&builder)?;
                }
                Left::Rebuilt(builder.build())
            }
            // Apache Kafka gives such a log up.
            None if batch.last_offset().after(1) == self.upper => {
                options.base_offset = batch.last_offset();
                let empty = BatchBuilder::new(BatchOptions { compression: Default::default(), ..options });
                Left::Rebuilt(empty.build())
            }
            None => Left::Nothing,
        };
        Ok(Filtered {
            left,
            aborted: None,
            records_read: records.len() as u64,
            records_left: decided.kept,
            keyless: decided.keyless,
        })
    }
}

/// What the record of a control batch is about, if it still has one.
pub(crate) fn control_of(batch: &BatchView<'_>) -> Result<Option<ControlType>, RecordsError> {
    let limits = DecompressionLimits { record_bytes: 64 << 10, batch_bytes: 64 << 10 };
    let mut stream = RecordStream::new(batch, limits)?;
    let record = stream.next_record()?;
    record.map(|record| ControlType::of_key(record.key)).transpose()
}

/// The batch with the records that stay, at their offsets.
fn rebuild(
    batch: &BatchView<'_>,
    decided: &Decided,
    delete_horizon: Option<Timestamp>,
) -> Result<Bytes, RecordsError> {
    let appended = batch.timestamp_type() == TimestampType::LogAppendTime;
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: batch.base_offset(),
        compression: batch.compression()?.into(),
        log_append_time: appended.then(|| batch.max_timestamp()),
        producer_id: batch.producer_id(),
        producer_epoch: batch.producer_epoch(),
        base_sequence: batch.base_sequence(),
        transactional: batch.is_transactional(),
        control: batch.is_control(),
        partition_leader_epoch: batch.partition_leader_epoch(),
        delete_horizon,
    });
    let mut stream = RecordStream::new(batch, DecompressionLimits::default())?;
    for stays in &decided.stays {
        match stays {
            Some(delta) => stream.copy_next(&mut builder, batch.base_offset().after(i64::from(*delta)))?,
            None => stream.skip_next()?,
        };
        check_size(&builder)?;
    }
    builder.set_last_offset(batch.last_offset());
    Ok(builder.build())
}

fn check_size(builder: &BatchBuilder) -> Result<(), RecordsError> {
    if builder.size() > REBUILT_BYTES_MAX {
        return Err(RecordsError::DecompressedTooLarge { limit_bytes: REBUILT_BYTES_MAX as u64 });
    }
    Ok(())
}
