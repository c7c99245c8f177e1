//! Records that were acquired.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_base::Offset;
use ottla_wire::messages::share_fetch_response::PartitionData;

use crate::cluster::TopicPartition;
use crate::error::Error;
use crate::fetcher::{ConsumedRecord, Fetched, FetchedBatch, Scan, fetched, scan};

/// The most offsets that one answer may hand out of a partition.
pub(super) const ACQUIRED_MAX: usize = 1 << 20;

/// Runs of offsets, each with how often it was handed out.
type Acquired = Arc<[(i64, i64, i16)]>;

/// Records of one partition that this member has.
#[derive(Debug, Clone)]
pub struct SharedRecords {
    fetched: Fetched,
    acquired: Acquired,
    offsets: Vec<i64>,
}

/// A batch with such records, decompressed.
#[derive(Debug, Clone)]
pub struct SharedBatch {
    batch: FetchedBatch,
    acquired: Acquired,
}

impl SharedRecords {
    /// The partition.
    pub fn partition(&self) -> &TopicPartition {
        &self.fetched.partition
    }

    /// The batches with records, decompressed one after the other.
    pub fn batches(&self) -> impl Iterator<Item = Result<SharedBatch, Error>> {
        self.fetched.batches().map(|it| Ok(SharedBatch { batch: it?, acquired: self.acquired.clone() }))
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    pub(super) fn offsets(&self) -> &[i64] {
        &self.offsets
    }
}

impl SharedBatch {
    /// The records that this member has, each with how often it was handed out.
    pub fn records(&self) -> impl Iterator<Item = Result<(ConsumedRecord<'_>, i16), Error>> {
        self.batch.records().filter_map(|record| match record {
            Ok(record) => Some(Ok((record, delivery_count(&self.acquired, record.offset)?))),
            Err(error) => Some(Err(error)),
        })
    }
}

fn delivery_count(acquired: &Acquired, offset: Offset) -> Option<i16> {
    let run = acquired.iter().find(|(first, last, _)| (*first..=*last).contains(&offset.0));
    run.map(|(.., count)| *count)
}

/// What an answer hands out of a partition, and the offsets of it that have no record.
pub(super) fn acquired(
    partition: TopicPartition,
    data: &PartitionData,
) -> Result<Option<(SharedRecords, Vec<i64>)>, Error> {
    let runs = data.acquired_records.iter().map(|it| (it.first_offset, it.last_offset, it.delivery_count));
    let acquired: Acquired = runs.filter(|(first, last, _)| first <= last && *first >= 0).collect();
    let Some(from) = acquired.iter().map(|(first, ..)| *first).min() else { return Ok(None) };
    let lengths = acquired.iter().map(|(first, last, _)| (last - first).saturating_add(1));
    let length = lengths.fold(0i64, i64::saturating_add);
    if usize::try_from(length).is_ok_and(|it| it > ACQUIRED_MAX) {
        let message = format!("a broker handed out {length} records of {partition} at once");
        return Err(Error::Corrupt(message.into()));
    }
    let how = Scan { from: Offset(from), check_crcs: true, read_committed: false };
    let found = match &data.records {
        Some(records) => scan(records, Vec::new(), how)?,
        None => return Err(Error::Corrupt("records were handed out that are missing in the answer".into())),
    };
    let fetched = fetched(partition, [-1, -1, -1], Offset(from), found);
    let mut offsets = BTreeSet::new();
    for batch in fetched.batches() {
        for record in batch?.records() {
            let offset = record?.offset;
            if delivery_count(&acquired, offset).is_some() {
                offsets.insert(offset.0);
            }
        }
    }
    let all = acquired.iter().flat_map(|(first, last, _)| *first..=*last);
    let gaps = all.filter(|it| !offsets.contains(it)).collect();
    let offsets = offsets.into_iter().collect();
    Ok(Some((SharedRecords { fetched, acquired, offsets }, gaps)))
}
