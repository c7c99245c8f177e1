//! Batches out of an answer, and their records, which stay slices of it.

use std::collections::BTreeSet;

use bytes::Bytes;
use ottla_base::{LeaderEpoch, Offset, ProducerId, Timestamp};
use ottla_record::{
    BatchView, Batches, Compression, ControlType, DecompressionLimits, Headers, LegacyBatchView,
    LegacyRecord, Record, RecordsError, StoredBatch, TimestampType,
};
use ottla_wire::messages::fetch_response::AbortedTransaction;

use crate::cluster::TopicPartition;
use crate::error::Error;

/// What one answer had for one partition.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The partition.
    pub partition: TopicPartition,
    /// The end of what is committed.
    pub high_watermark: Offset,
    /// Where the first open transaction begins, or the high watermark; `None` if the broker does not tell.
    pub last_stable_offset: Option<Offset>,
    /// The first offset of the log; `None` if the broker does not tell.
    pub log_start: Option<Offset>,
    /// The offset behind the last batch: where the next fetch begins.
    pub next_offset: Offset,
    /// The position that was asked for: records below it are in batches, but not given out.
    from: Offset,
    batches: Vec<Bytes>,
}

/// A batch, decompressed.
#[derive(Debug, Clone)]
pub struct FetchedBatch {
    from: Offset,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    /// The batch, and its records if they were compressed.
    V2 {
        batch: Bytes,
        decompressed: Option<Bytes>,
    },
    Legacy {
        timestamp_type: TimestampType,
        records: Vec<LegacyRecord>,
    },
}

/// A record, its parts borrowed from its batch.
#[derive(Debug, Clone, Copy)]
pub struct ConsumedRecord<'a> {
    /// Where it is.
    pub offset: Offset,
    /// When it was made, or appended.
    pub timestamp: Timestamp,
    /// Which of the two.
    pub timestamp_type: TimestampType,
    /// The epoch of the leader that appended it, if the format tells.
    pub leader_epoch: LeaderEpoch,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: Headers<'a>,
}

impl Fetched {
    /// The batches with records of data, decompressed one after the other.
    pub fn batches(&self) -> impl Iterator<Item = Result<FetchedBatch, Error>> {
        self.batches.iter().map(|bytes| open(bytes, self.from))
    }

    /// Whether there are no batches.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// How many bytes the batches are, as they came.
    pub fn size_bytes(&self) -> usize {
        self.batches.iter().map(Bytes::len).sum()
    }

    /// The first offset that may be given out.
    pub(super) fn first_offset(&self) -> Offset {
        self.from
    }
}

impl FetchedBatch {
    /// The records from the position that was asked for on.
    pub fn records(&self) -> impl Iterator<Item = Result<ConsumedRecord<'_>, Error>> {
        let (v2, legacy) = match &self.content {
            Content::V2 { batch, decompressed } => (Some((batch, decompressed)), None),
            Content::Legacy { timestamp_type, records } => (None, Some((*timestamp_type, records))),
        };
        let v2 = v2.into_iter().flat_map(|(batch, decompressed)| records_of(batch, decompressed.as_deref()));
        let legacy = legacy.into_iter().flat_map(|(timestamp_type, records)| {
            records.iter().map(move |it| Ok(legacy_record(it, timestamp_type)))
        });
        v2.chain(legacy).filter(|it| it.as_ref().map_or(true, |it| it.offset >= self.from))
    }
}

/// The records of a v2 batch, or what is wrong with them.
fn records_of<'a>(
    batch: &'a [u8],
    decompressed: Option<&'a [u8]>,
) -> impl Iterator<Item = Result<ConsumedRecord<'a>, Error>> {
    let (view, wrong) = match BatchView::new(batch) {
        Ok(view) => (Some(view), None),
        Err(error) => (None, Some(Err(error.into()))),
    };
    let records = view.into_iter().flat_map(move |view| {
        let (timestamp_type, leader_epoch) = (view.timestamp_type(), view.partition_leader_epoch());
        view.records(decompressed.unwrap_or(view.payload()))
            .map(move |it| Ok(consumed(it?, timestamp_type, leader_epoch)))
    });
    wrong.into_iter().chain(records)
}

fn consumed(it: Record<'_>, timestamp_type: TimestampType, leader_epoch: LeaderEpoch) -> ConsumedRecord<'_> {
    let Record { offset, timestamp, key, value, headers, .. } = it;
    ConsumedRecord { offset, timestamp, timestamp_type, leader_epoch, key, value, headers }
}

fn legacy_record(it: &LegacyRecord, timestamp_type: TimestampType) -> ConsumedRecord<'_> {
    ConsumedRecord {
        offset: it.offset,
        timestamp: it.timestamp,
        timestamp_type,
        leader_epoch: LeaderEpoch::NONE,
        key: it.key.as_deref(),
        value: it.value.as_deref(),
        headers: Headers::default(),
    }
}

fn open(bytes: &Bytes, from: Offset) -> Result<FetchedBatch, Error> {
    let limit = DecompressionLimits::default().batch_bytes;
    let content = match StoredBatch::new(bytes)? {
        StoredBatch::V2(batch) => {
            let decompressed = match batch.compression()? {
                Compression::None => None,
                _ => Some(Bytes::from(batch.decompressed(limit)?.into_owned())),
            };
            Content::V2 { batch: bytes.clone(), decompressed }
        }
        StoredBatch::Legacy(batch) => legacy(&batch, limit)?,
    };
    Ok(FetchedBatch { from, content })
}

fn legacy(batch: &LegacyBatchView<'_>, limit: u64) -> Result<Content, RecordsError> {
    Ok(Content::Legacy { timestamp_type: batch.timestamp_type(), records: batch.records(limit)? })
}

/// How batches are looked at as they come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan {
    pub(crate) from: Offset,
    pub(crate) check_crcs: bool,
    pub(crate) read_committed: bool,
}

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) batches: Vec<Bytes>,
    pub(crate) next_offset: Offset,
    pub(crate) leader_epoch: Option<LeaderEpoch>,
}

/// Takes the whole batches of an answer, without control batches and, if asked, without aborted transactions.
pub(crate) fn scan(
    records: &Bytes,
    aborted: Vec<AbortedTransaction>,
    scan: Scan,
) -> Result<Scanned, RecordsError> {
    let mut aborted = aborted;
    aborted.sort_by_key(|it| it.first_offset);
    let mut aborted = aborted.into_iter().peekable();
    let mut given_up: BTreeSet<ProducerId> = BTreeSet::new();
    let mut scanned = Scanned { batches: Vec::new(), next_offset: scan.from, leader_epoch: None };
    let mut batches = Batches::new(records);
    let mut begin = 0;
    while let Some(batch) = batches.next() {
        let batch = batch?;
        let bytes = records.slice(begin..batches.position());
        begin = batches.position();
        let last = batch.last_offset();
        if last < scan.from {
            continue;
        }
        if scan.check_crcs {
            batch.verify_crc()?;
        }
        scanned.next_offset = scanned.next_offset.max(last.after(1));
        if let Some(batch) = batch.v2() {
            let epoch = batch.partition_leader_epoch();
            scanned.leader_epoch = Some(epoch).filter(|it| it.0 >= 0).or(scanned.leader_epoch);
            let producer = batch.producer_id();
            if scan.read_committed && batch.has_producer_id() {
                while let Some(it) = aborted.next_if(|it| it.first_offset <= last.0) {
                    given_up.insert(ProducerId(it.producer_id));
                }
                if batch.is_control() {
                    if is_abort(batch)? {
                        given_up.remove(&producer);
                    }
                } else if batch.is_transactional() && given_up.contains(&producer) {
                    continue;
                }
            }
            if batch.is_control() || batch.count() == 0 {
                continue;
            }
        }
        scanned.batches.push(bytes);
    }
    Ok(scanned)
}

fn is_abort(batch: &BatchView<'_>) -> Result<bool, RecordsError> {
    let records = batch.decompressed(DecompressionLimits::default().batch_bytes)?;
    match batch.records(&records).next() {
        Some(record) => Ok(ControlType::of_key(record?.key)? == ControlType::Abort),
        None => Ok(false),
    }
}

/// What an answer had for a partition, once scanned.
pub(crate) fn fetched(
    partition: TopicPartition,
    offsets: [i64; 3],
    from: Offset,
    scanned: Scanned,
) -> Fetched {
    let [high_watermark, last_stable_offset, log_start] = offsets;
    let told = |offset: i64| (offset >= 0).then_some(Offset(offset));
    Fetched {
        partition,
        high_watermark: Offset(high_watermark),
        last_stable_offset: told(last_stable_offset),
        log_start: told(log_start),
        next_offset: scanned.next_offset,
        from,
        batches: scanned.batches,
    }
}
