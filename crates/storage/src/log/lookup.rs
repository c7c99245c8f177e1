//! Finding offsets: by timestamp, and where the log begins and ends (`UnifiedLog.fetchOffsetByTimestamp`).

use ottla_base::{LeaderEpoch, Offset, Timestamp};
use ottla_record::{DecompressionLimits, RecordStream, RecordsError, StoredBatch};

use super::{Log, View};
use crate::error::StorageError;
use crate::scan::{BatchAt, Depth, Scan, Step};
use crate::segment::Segment;

/// A record, found by its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp; [`Timestamp::NONE`] if no record was looked for.
    pub timestamp: Timestamp,
    /// The epoch of its batch, where that is known.
    pub leader_epoch: Option<LeaderEpoch>,
}

impl Log {
    /// The first record at or after the log start whose timestamp is `timestamp` or higher. May wait for the disk.
    pub fn offset_for_timestamp(
        &self,
        timestamp: Timestamp,
    ) -> Result<Option<TimestampedOffset>, StorageError> {
        self.check()?;
        self.with_view(|view| {
            for segment in view.segments.iter() {
                if segment.largest(&self.files)?.0 < timestamp {
                    continue;
                }
                if let Some(found) = self.search_segment(segment, timestamp, view.log_start)? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        })
    }

    fn search_segment(
        &self,
        segment: &Segment,
        timestamp: Timestamp,
        start: Offset,
    ) -> Result<Option<TimestampedOffset>, StorageError> {
        let before = segment.offset_before_timestamp(&self.files, timestamp)?;
        let Some(first) = segment.find(&self.files, before.max(start))? else { return Ok(None) };
        let mut found = None;
        self.scan_records(
            segment,
            first.position,
            |batch| batch.max_timestamp >= timestamp,
            |record| {
                let hit = record.timestamp >= timestamp && record.offset >= start;
                if hit {
                    found = Some(record);
                }
                hit
            },
        )?;
        Ok(found)
    }

    /// The record with the highest timestamp; the first if there are several. May wait for the disk.
    pub fn offset_of_max_timestamp(&self) -> Result<Option<TimestampedOffset>, StorageError> {
        self.check()?;
        self.with_view(|view| self.max_timestamp_in(view))
    }

    fn max_timestamp_in(&self, view: &View) -> Result<Option<TimestampedOffset>, StorageError> {
        let mut largest: Option<(&Segment, Timestamp, Offset)> = None;
        for segment in view.segments.iter() {
            let (timestamp, offset) = segment.largest(&self.files)?;
            if largest.is_none_or(|(_, most, _)| timestamp > most) {
                largest = Some((segment, timestamp, offset));
            }
        }
        let Some((segment, timestamp, offset)) = largest else { return Ok(None) };
        let Some(first) = segment.find(&self.files, offset)? else { return Ok(None) };
        let mut found = None;
        self.scan_records(
            segment,
            first.position,
            |batch| batch.max_timestamp == timestamp,
            |record| {
                let hit = record.timestamp == timestamp;
                if hit {
                    found = Some(record);
                }
                hit
            },
        )?;
        Ok(found)
    }

    /// Looks at the records of the batches for which `enter`, from `position` on, until `found`.
    fn scan_records(
        &self,
        segment: &Segment,
        position: u32,
        enter: impl Fn(&BatchAt) -> bool,
        mut found: impl FnMut(TimestampedOffset) -> bool,
    ) -> Result<(), StorageError> {
        let (files, name) = (&self.files, segment.log_name());
        let file = segment.log(files)?;
        let mut scan = Scan::new(files, name, &file, Depth::Headers, position..segment.len(), segment.base());
        loop {
            let batch = match scan.next()? {
                Step::Batch(batch) => batch,
                Step::End => return Ok(()),
                Step::Torn(torn) => return Err(files.corrupt(name, u64::from(torn.position), torn.reason)),
            };
            if !enter(&batch) {
                continue;
            }
            let bytes = scan.batch_bytes(&batch)?;
            let searched = search_batch(bytes, batch.leader_epoch, &mut found);
            if searched.map_err(|error| files.corrupt(name, u64::from(batch.position), error.to_string()))? {
                return Ok(());
            }
        }
    }
}

/// Looks at the records of a batch until `found`; says whether it was.
fn search_batch(
    bytes: &[u8],
    leader_epoch: LeaderEpoch,
    found: &mut impl FnMut(TimestampedOffset) -> bool,
) -> Result<bool, RecordsError> {
    let stored = StoredBatch::new(bytes)?;
    stored.verify_crc()?;
    let leader_epoch = Some(leader_epoch).filter(|epoch| *epoch > LeaderEpoch::NONE);
    let limits = DecompressionLimits::default();
    match stored {
        StoredBatch::V2(batch) => {
            let mut records = RecordStream::new(&batch, limits)?;
            while let Some(record) = records.next_outline()? {
                if found(TimestampedOffset {
                    offset: record.offset,
                    timestamp: record.timestamp,
                    leader_epoch,
                }) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        StoredBatch::Legacy(batch) => Ok(batch.records(limits.batch_bytes)?.into_iter().any(|record| {
            found(TimestampedOffset { offset: record.offset, timestamp: record.timestamp, leader_epoch })
        })),
    }
}
