//! A batch on its way: filled, sealed, sent, perhaps sent again or split.

use std::sync::Arc;

use bytes::Bytes;
use ottla_base::{Moment, ProducerEpoch, ProducerId, Timestamp};
use ottla_record::{BatchBuilder, BatchOptions, BatchView, CompressionLevel, Header, RecordsError};
use tokio::sync::OwnedSemaphorePermit;

use super::delivery::{Outcome, Written};
use crate::error::Error;

/// Who writes, for the broker to know repeats by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
    /// Whether what it writes belongs to transactions.
    pub(super) transactional: bool,
}

/// Where a batch is among all batches: the number of the batch, and its first record's where it was split.
pub(super) type Order = (u64, u32);

/// A batch, from its first record to its answer.
pub(super) struct Batch {
    pub(super) order: Order,
    pub(super) created: Moment,
    pub(super) outcome: Arc<Outcome>,
    /// Who it was sealed for, and its first sequence.
    pub(super) sequence: Option<(Identity, i32)>,
    /// How many batches of the partition had left before it did for the first time.
    pub(super) departure: Option<u64>,
    pub(super) attempts: u32,
    /// Before this it is not sent again.
    pub(super) retry_at: Moment,
    /// Whether its records were given up while it was under way.
    pub(super) given_up: bool,
    count: u32,
    body: Body,
}

enum Body {
    /// Records can be added.
    Open { builder: Box<BatchBuilder>, memory: Option<OwnedSemaphorePermit> },
    /// The bytes, which give their memory back once nobody has them: neither this batch nor a socket.
    Sealed(Bytes),
}

/// Bytes that hold a part of `buffer.memory`.
struct Held {
    bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A record's parts, borrowed.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) timestamp: Timestamp,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a [(ottla_base::Str, Option<Bytes>)],
}

impl<'a> Parts<'a> {
    fn headers(self) -> impl Iterator<Item = Header<'a>> + Clone {
        self.headers.iter().map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() })
    }
}

impl Batch {
    pub(super) fn new(
        number: u64,
        created: Moment,
        outcome: Arc<Outcome>,
        compression: CompressionLevel,
    ) -> Batch {
        let builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
        Batch {
            order: (number, 0),
            created,
            outcome,
            sequence: None,
            departure: None,
            attempts: 0,
            retry_at: Moment::default(),
            given_up: false,
            count: 0,
            body: Body::Open { builder: Box::new(builder), memory: None },
        }
    }

    /// Whether a record fits: the first always does.
    pub(super) fn has_room(&self, record: Parts<'_>, batch_size: usize, most_bytes: usize) -> bool {
        let Body::Open { builder, .. } = &self.body else { return false };
        let more = builder.size_of(record.timestamp, record.key, record.value, record.headers());
        builder.is_empty()
            || (builder.size() + more <= batch_size && builder.uncompressed_size() + more <= most_bytes)
    }

    /// Adds a record, with the memory that it takes; gives its number.
    pub(super) fn append(&mut self, record: Parts<'_>, permit: OwnedSemaphorePermit) -> u32 {
        let Body::Open { builder, memory } = &mut self.body else { panic!("the batch is sealed") };
        builder.append(record.timestamp, record.key, record.value, record.headers());
        match memory {
            Some(memory) => memory.merge(permit),
            None => *memory = Some(permit),
        }
        self.count += 1;
        self.count - 1
    }

    /// How many records it has.
    pub(super) fn count(&self) -> i32 {
        self.count as i32
    }

    /// About how many bytes it is.
    pub(super) fn size(&self) -> usize {
        match &self.body {
            Body::Open { builder, .. } => builder.size(),
            Body::Sealed(bytes) => bytes.len(),
        }
    }

    /// Ends the batch, for a producer and its next sequence, and gives the bytes. Sealed for the same before, they
    /// are the same.
    pub(super) fn seal(&mut self, sequence: Option<(Identity, i32)>) -> Result<Bytes, RecordsError> {
        let bytes = match std::mem::replace(&mut self.body, Body::Sealed(Bytes::new())) {
            Body::Open { mut builder, memory } => {
                if let Some((identity, first)) = sequence {
                    builder.set_producer(identity.id, identity.epoch, first, identity.transactional);
                }
                Bytes::from_owner(Held { bytes: builder.build(), _memory: memory })
            }
            Body::Sealed(bytes) if self.sequence == sequence => bytes,
            Body::Sealed(bytes) => {
                let rebuilt = rebuilt(&bytes, 0..self.count, sequence)?;
                // The memory stays held by the bytes that were, until these are written.
                Bytes::from_owner(Chained { bytes: rebuilt, _before: bytes })
            }
        };
        self.sequence = sequence;
        self.body = Body::Sealed(bytes.clone());
        Ok(bytes)
    }

    /// Two batches with half of the records each. Their sequences are those that the whole had.
    pub(super) fn split(&self) -> Result<[Batch; 2], RecordsError> {
        let middle = self.count / 2;
        Ok([self.part(0..middle)?, self.part(middle..self.count)?])
    }

    fn part(&self, records: std::ops::Range<u32>) -> Result<Batch, RecordsError> {
        let Body::Sealed(bytes) = &self.body else { panic!("only what was sent is split") };
        let sequence = self
            .sequence
            .map(|(identity, first)| (identity, ottla_record::sequence_after(first, records.start as i32)));
        let part = rebuilt(bytes, records.clone(), sequence)?;
        Ok(Batch {
            order: (self.order.0, self.order.1 + records.start),
            created: self.created,
            outcome: self.outcome.clone(),
            sequence,
            departure: None,
            attempts: self.attempts,
            retry_at: self.retry_at,
            given_up: self.given_up,
            count: records.end - records.start,
            body: Body::Sealed(Bytes::from_owner(Chained { bytes: part, _before: bytes.clone() })),
        })
    }

    /// Tells all of its records what became of them.
    pub(super) fn tell(&self, result: Result<Written, Error>) {
        if !self.given_up {
            let first = self.order.1;
            self.outcome.tell(first..first + self.count, result);
        }
    }
}

/// Bytes made from others whose memory they stand for.
struct Chained {
    bytes: Bytes,
    _before: Bytes,
}

impl AsRef<[u8]> for Chained {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Some records of a sealed batch, as a batch for another producer or sequence.
fn rebuilt(
    bytes: &[u8],
    records: std::ops::Range<u32>,
    sequence: Option<(Identity, i32)>,
) -> Result<Bytes, RecordsError> {
    let batch = BatchView::new(bytes)?;
    let mut builder =
        BatchBuilder::new(BatchOptions { compression: batch.compression()?.into(), ..Default::default() });
    let decompressed = batch.decompressed(u64::MAX)?;
    let kept = batch.records(&decompressed).skip(records.start as usize);
    for record in kept.take((records.end - records.start) as usize) {
        let record = record?;
        builder.append(record.timestamp, record.key, record.value, record.headers);
    }
    if let Some((identity, first)) = sequence {
        builder.set_producer(identity.id, identity.epoch, first, identity.transactional);
    }
    Ok(builder.build())
}
