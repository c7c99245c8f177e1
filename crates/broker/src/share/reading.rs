//! What is read of a log for a share group, batch by batch: the ranges of files, and where the batches lie in them.

use std::io;

use ottla_base::{ErrorCode, Offset};
use ottla_coordinator::share_partition::{AbortedTransaction, FetchedBatch, aborted_batches};
use ottla_record::{BatchHeader, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC_PREFIX_BYTES, MAGIC_V2};
use ottla_storage::producer_state::marker_of;
use ottla_storage::{FileRange, FirstBatch, Log, ReadError, ReadLimit, ReadRequest, View, transaction_index};
use smallvec::SmallVec;

/// The largest control batch that is looked into; markers have a hundred bytes.
const MAX_MARKER_BATCH_BYTES: u64 = 1 << 16;

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// The ranges, one for each segment.
    ranges: SmallVec<[FileRange; 1]>,
    /// The batches in them, in order.
    pub batches: Vec<Located>,
    /// Which batches, as first and last offsets, belong to aborted transactions.
    pub aborted: Vec<(i64, i64)>,
    /// The bytes of all batches.
    pub bytes: u32,
}

/// A batch and where it lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Located {
    /// The batch.
    pub batch: FetchedBatch,
    range: usize,
    position: u64,
    len: u32,
}

/// Ranges of files to send.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    /// The ranges.
    pub ranges: SmallVec<[FileRange; 1]>,
    /// Their bytes.
    pub bytes: u32,
}

/// What to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// The first offset.
    pub from: i64,
    /// No batch after the one that holds this offset is needed.
    pub until: i64,
    /// The most bytes.
    pub max_bytes: u32,
    /// Up to where may be seen.
    pub limit: ReadLimit,
    /// What if the first batch has more bytes than wanted.
    pub first_batch: FirstBatch,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFailure {
    /// The log does not give it.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A file does not give what the log says is in it.
    #[error("a batch could not be looked at: {0}")]
    File(#[from] io::Error),
}

impl ReadFailure {
    /// The answer to the reader.
    pub(crate) fn error_code(&self) -> ErrorCode {
        match self {
            ReadFailure::Log(error) => error.error_code(),
            ReadFailure::File(_) => ErrorCode::KafkaStorageError,
        }
    }
}

/// Reads what is wanted. May wait for the disk where the log is not warm.
pub(crate) fn read(log: &Log, view: &View, wanted: &Wanted) -> Result<Reading, ReadFailure> {
    let request = ReadRequest {
        from: Offset(wanted.from),
        max_bytes: wanted.max_bytes,
        limit: wanted.limit,
        first_batch: wanted.first_batch,
    };
    let answer = log.read(view, &request)?;
    located(answer.ranges, &answer.aborted, wanted)
}

/// What is wanted of these ranges. May wait for the disk.
pub(crate) fn located(
    ranges: SmallVec<[FileRange; 1]>,
    aborted: &[transaction_index::AbortedTransaction],
    wanted: &Wanted,
) -> Result<Reading, ReadFailure> {
    let mut reading = Reading { ranges, ..Reading::default() };
    reading.locate(wanted)?;
    let transactions = aborted.iter().map(|it| AbortedTransaction {
        producer_id: it.producer_id.get(),
        first_offset: it.first_offset.get(),
    });
    let transactions: Vec<_> = transactions.collect();
    if !transactions.is_empty() {
        let batches: Vec<_> = reading.batches.iter().map(|it| it.batch).collect();
        reading.aborted = aborted_batches(&batches, &transactions);
    }
    Ok(reading)
}

impl Reading {
    /// Finds the batches in the ranges.
    fn locate(&mut self, wanted: &Wanted) -> io::Result<()> {
        let mut next = wanted.from;
        for (range, file) in self.ranges.iter().enumerate() {
            let end = file.position + u64::from(file.len);
            let mut position = file.position;
            while position + (MAGIC_PREFIX_BYTES as u64) <= end {
                if next > wanted.until {
                    return Ok(());
                }
                let (batch, len) = batch_at(file, position, end, next, wanted.limit)?;
                if position + u64::from(len) > end {
                    return Ok(());
                }
                next = batch.last.saturating_add(1);
                self.batches.push(Located { batch, range, position, len });
                self.bytes += len;
                position += u64::from(len);
            }
        }
        Ok(())
    }

    /// The bytes of the batches that have records from `first` to `last`.
    pub(crate) fn slice(&self, first: i64, last: i64) -> Slice {
        let mut slice = Slice::default();
        let mut before: Option<Located> = None;
        let wanted = self.batches.iter().filter(|it| it.batch.last >= first && it.batch.first <= last);
        for located in wanted {
            slice.bytes += located.len;
            let goes_on = before.is_some_and(|it| {
                it.range == located.range && it.position + u64::from(it.len) == located.position
            });
            match slice.ranges.last_mut() {
                Some(range) if goes_on => range.len += located.len,
                _ => slice.ranges.push(FileRange {
                    file: self.ranges[located.range].file.clone(),
                    position: located.position,
                    len: located.len,
                }),
            }
            before = Some(*located);
        }
        slice
    }
}

/// The batch at `position` and its bytes. `next` is the offset after the batch before.
fn batch_at(
    file: &FileRange,
    position: u64,
    end: u64,
    next: i64,
    limit: ReadLimit,
) -> io::Result<(FetchedBatch, u32)> {
    let mut bytes = [0; HEADER_BYTES];
    let available = (end - position).min(HEADER_BYTES as u64) as usize;
    file.file.read_exact_at(&mut bytes[..available], position)?;
    let size = i32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    let len = u32::try_from(size).unwrap_or(0).saturating_add(LENGTH_PREFIX_BYTES as u32);
    if bytes[MAGIC_PREFIX_BYTES - 1] as i8 != MAGIC_V2 || available < HEADER_BYTES {
        // Old message sets tell the offset of their last record.
        let offset = i64::from_be_bytes([
            bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
        ]);
        let batch = FetchedBatch {
            first: next.min(offset),
            last: offset,
            producer_id: None,
            is_transactional: false,
            is_abort_marker: false,
        };
        return Ok((batch, len));
    }
    let header = BatchHeader::from_bytes(bytes);
    let mut batch = FetchedBatch {
        first: header.base_offset().get(),
        last: header.last_offset().get(),
        producer_id: header.has_producer_id().then(|| header.producer_id().get()),
        is_transactional: header.is_transactional(),
        is_abort_marker: false,
    };
    let payload = u64::from(len).saturating_sub(HEADER_BYTES as u64);
    let is_looked_into = limit == ReadLimit::LastStable && header.is_control();
    if is_looked_into && payload <= MAX_MARKER_BATCH_BYTES && position + u64::from(len) <= end {
        let mut records = vec![0; payload as usize];
        file.file.read_exact_at(&mut records, position + HEADER_BYTES as u64)?;
        // What cannot be read says nothing; consumers see it as it is.
        let marker = marker_of(&header, &records).ok().flatten();
        batch.is_abort_marker = marker.is_some_and(|it| !it.marker.committed);
    }
    Ok((batch, len))
}
