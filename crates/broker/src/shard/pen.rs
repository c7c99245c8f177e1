//! Decisions as batches: what was decided together stays in one batch, what comes after each other shares one where it
//! fits.

use bytes::Bytes;
use ottla_base::{ErrorCode, Offset, ProducerEpoch, ProducerId, Timestamp};
use ottla_host::Host;
use ottla_machine::Atomicity;
use ottla_record::{
    BatchBuilder, BatchOptions, Compression, CompressionLevel, EndTxnMarker, Refusal, end_txn_batch,
};
use ottla_storage::producer_state::ProducerOrigin;

use super::kind::{Line, MarkerKind};
use crate::metrics::coordinators::EventTimes;
use crate::partition::{Partition, ProduceError};

/// The header of a batch, and some room for what compression may add.
const BATCH_OVERHEAD_BYTES: usize = 512;

/// A decision cannot be written: some of it has more bytes than the log takes in one batch.
#[derive(Debug, thiserror::Error)]
#[error("a decision has {bytes} bytes, but the topic takes {limit} (max.message.bytes)")]
pub(super) struct TooLarge {
    bytes: usize,
    limit: usize,
}

/// Why what was decided is not in the log as it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("it cannot be appended: {0}")]
    Refused(ErrorCode),
    #[error("it is at offset {found} instead of {expected}: somebody else writes there")]
    Misplaced { expected: Offset, found: Offset },
}

/// Why a decision's lines may not be put down.
#[derive(Debug)]
pub(super) enum NotAdmitted {
    /// The producer may not write them.
    Refused(Refusal),
    /// What was put down before is not in the log as it should be.
    Lost(WriteError),
}

/// How a coordinator's batches are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// When.
    pub(super) now: Timestamp,
    /// How they are compressed.
    pub(super) compression: CompressionLevel,
    /// `max.message.bytes`
    pub(super) max_batch_bytes: usize,
}

impl Manner {
    /// Whether lines fit into the batches they need.
    pub(super) fn admits(&self, lines: &[Line], atomicity: Atomicity) -> Result<(), TooLarge> {
        let sizes = lines.iter().map(Line::size);
        let bytes = match atomicity {
            Atomicity::Together => sizes.sum(),
            Atomicity::EachAlone => sizes.max().unwrap_or(0),
        };
        let limit = self.max_batch_bytes.saturating_sub(BATCH_OVERHEAD_BYTES);
        if bytes > limit { Err(TooLarge { bytes, limit }) } else { Ok(()) }
    }
}

/// The compression with this codec number; none if there is none (`CompressionType.forId`).
pub(super) fn compression(codec: i32) -> CompressionLevel {
    let compression = match codec {
        1 => Compression::Gzip,
        2 => Compression::Snappy,
        3 => Compression::Lz4,
        4 => Compression::Zstd,
        _ => return CompressionLevel::default(),
    };
    compression.into()
}

/// Lines that are becoming batches of a partition. What was put down is written by [`Pen::finish`] at the latest.
pub(super) struct Pen<'p> {
    partition: &'p Partition,
    watch: Watch<'p>,
    manner: Manner,
    /// Where the next batch must land.
    next: Offset,
    open: Option<OpenBatch>,
}

/// Measures how long appends take.
#[derive(Clone, Copy)]
pub(super) struct Watch<'p> {
    /// Whose clock.
    pub(super) host: &'p Host,
    /// Where it is noted.
    pub(super) times: &'p EventTimes,
}

struct OpenBatch {
    builder: BatchBuilder,
    producer: Option<(ProducerId, ProducerEpoch)>,
    origin: ProducerOrigin,
    bytes: usize,
}

impl<'p> Pen<'p> {
    pub(super) fn new(partition: &'p Partition, manner: Manner, next: Offset, watch: Watch<'p>) -> Pen<'p> {
        Pen { partition, watch, manner, next, open: None }
    }

    /// Whether the producers of a decision's lines may write them. What was put down before is appended first, so that it
    /// counts; nobody else writes here until the lines are put down.
    pub(super) fn admits(&mut self, lines: &[Line], origin: ProducerOrigin) -> Result<(), NotAdmitted> {
        for line in lines {
            let batch = match line {
                Line::Plain { .. } => continue,
                Line::Transactional { producer, key, value } => {
                    let mut open = OpenBatch::new(&self.manner, Some(*producer), origin);
                    open.builder.append(self.manner.now, Some(key), value.as_deref(), []);
                    open.builder.build()
                }
                Line::Marker { producer, coordinator_epoch, marker } => {
                    marker_batch(*producer, *coordinator_epoch, *marker, self.manner.now)
                }
            };
            self.flush().map_err(NotAdmitted::Lost)?;
            self.partition.may_append(&batch, origin).map_err(NotAdmitted::Refused)?;
            // All that a decision writes is of one producer.
            return Ok(());
        }
        Ok(())
    }

    /// Puts down what one decision wrote and [`Manner::admits`] has found to fit.
    pub(super) fn put(
        &mut self,
        lines: Vec<Line>,
        atomicity: Atomicity,
        origin: ProducerOrigin,
    ) -> Result<(), WriteError> {
        let mut together = match atomicity {
            Atomicity::Together => lines.iter().map(Line::size).sum(),
            Atomicity::EachAlone => 0,
        };
        for line in lines {
            let wanted = if together > 0 { together } else { line.size() };
            // Only the first line of what stays together may begin a new batch.
            if atomicity == Atomicity::Together {
                together = 0;
            }
            self.put_line(line, wanted, origin)?;
        }
        Ok(())
    }

    fn put_line(&mut self, line: Line, wanted: usize, origin: ProducerOrigin) -> Result<(), WriteError> {
        let (producer, key, value) = match line {
            Line::Plain { key, value } => (None, key, value),
            Line::Transactional { producer, key, value } => (Some(producer), key, value),
            Line::Marker { producer, coordinator_epoch, marker } => {
                return self.put_marker(producer, coordinator_epoch, marker, origin);
            }
        };
        let limit = self.manner.max_batch_bytes.saturating_sub(BATCH_OVERHEAD_BYTES);
        let goes_on = |open: &OpenBatch| open.producer == producer && open.bytes + wanted <= limit;
        if !self.open.as_ref().is_some_and(goes_on) {
            self.flush()?;
        }
        let manner = &self.manner;
        let open = self.open.get_or_insert_with(|| OpenBatch::new(manner, producer, origin));
        open.bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        open.builder.append(self.manner.now, Some(&key), value.as_deref(), []);
        Ok(())
    }

    fn put_marker(
        &mut self,
        producer: (ProducerId, ProducerEpoch),
        coordinator_epoch: i32,
        marker: MarkerKind,
        origin: ProducerOrigin,
    ) -> Result<(), WriteError> {
        self.flush()?;
        let batch = marker_batch(producer, coordinator_epoch, marker, self.manner.now);
        self.append(batch, origin, 1)
    }

    /// Appends what is left.
    pub(super) fn finish(mut self) -> Result<(), WriteError> {
        self.flush()
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let count = open.builder.count();
        self.append(open.builder.build(), open.origin, count)
    }

    fn append(&mut self, batch: Bytes, origin: ProducerOrigin, count: i32) -> Result<(), WriteError> {
        let expected = self.next;
        self.next = expected.after(i64::from(count));
        let began = self.watch.host.now();
        let appended = self.partition.append_own(batch, origin, self.manner.now);
        self.watch.times.flush.note(self.watch.host.now().since(began));
        match appended {
            Ok(appended) if appended.first == expected && appended.end == self.next => Ok(()),
            Ok(appended) => Err(WriteError::Misplaced { expected, found: appended.first }),
            Err(error) => {
                let code = error.error_code();
                if let ProduceError::Malformed(refusal) | ProduceError::Refused(refusal) = &error {
                    tracing::error!(partition = %self.partition, %refusal, "a coordinator's batch was refused");
                }
                Err(WriteError::Refused(code))
            }
        }
    }
}

fn marker_batch(
    (producer_id, producer_epoch): (ProducerId, ProducerEpoch),
    coordinator_epoch: i32,
    marker: MarkerKind,
    now: Timestamp,
) -> Bytes {
    let marker = EndTxnMarker { committed: marker == MarkerKind::Commit, coordinator_epoch };
    end_txn_batch(producer_id, producer_epoch, marker, now)
}

impl OpenBatch {
    fn new(
        manner: &Manner,
        producer: Option<(ProducerId, ProducerEpoch)>,
        origin: ProducerOrigin,
    ) -> OpenBatch {
        let mut options = BatchOptions { compression: manner.compression, ..BatchOptions::default() };
        if let Some((producer_id, producer_epoch)) = producer {
            // Kafka's coordinators number nothing; their batches say zero.
            let base_sequence = 0;
            options =
                BatchOptions { producer_id, producer_epoch, base_sequence, transactional: true, ..options };
        }
        OpenBatch { builder: BatchBuilder::new(options), producer, origin, bytes: 0 }
    }
}
