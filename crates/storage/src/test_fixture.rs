//! What the tests of a log share: a simulated disk, batches, and logs opened on it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ottla_base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use ottla_host::Host;
use ottla_record::{
    AcceptedBatch, BatchBuilder, BatchOptions, BatchView, EndTxnMarker, HEADER_BYTES, end_txn_batch,
};

use crate::producer_state::{ProducerOrigin, ProducerRules, VerificationGuard};
use crate::{
    AppendError, AppendOptions, Appended, Commit, Directory, FirstBatch, LastShutdown, Log, LogConfig,
    OpenFiles, OpenLog, Progress, ReadLimit, ReadRequest, StorageError, TopicPartition,
};

/// A simulated host with one log directory.
pub(crate) struct World {
    pub(crate) host: Host,
    pub(crate) config: LogConfig,
    pub(crate) recovery_point: Offset,
    pub(crate) log_start: Offset,
    pub(crate) cleaned: Option<Offset>,
}

pub(crate) const TIME: i64 = 1_704_067_200_000;

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let host = Host::simulated(seed);
        host.disk().create_dir_all("/data").unwrap();
        host.disk().sync_dir("/").unwrap();
        World {
            host,
            config: LogConfig::default(),
            recovery_point: Offset::ZERO,
            log_start: Offset::ZERO,
            cleaned: None,
        }
    }

    pub(crate) fn open_log(&self, last_shutdown: LastShutdown) -> OpenLog {
        OpenLog {
            host: self.host.clone(),
            directory: Arc::new(Directory::new("/data", Arc::new(Progress::new()))),
            open_files: Arc::new(OpenFiles::new(8)),
            partition: TopicPartition::new("orders", 0),
            path: PathBuf::from("/data/orders-0"),
            config: Arc::new(self.config.clone()),
            producers: ProducerRules { verify_transactions: false, ..ProducerRules::default() },
            last_shutdown,
            recovery_point: self.recovery_point,
            log_start: self.log_start,
            high_watermark: Offset(i64::MAX),
            cleaned: self.cleaned,
        }
    }

    pub(crate) fn try_open(&self, last_shutdown: LastShutdown) -> Result<Arc<Log>, StorageError> {
        Log::open(self.open_log(last_shutdown))
    }

    pub(crate) fn open(&self, last_shutdown: LastShutdown) -> Arc<Log> {
        self.try_open(last_shutdown).unwrap()
    }
}

/// A batch of records with the given values, all with one timestamp.
pub(crate) fn batch(timestamp: i64, values: &[&[u8]]) -> AcceptedBatch {
    batch_with(BatchOptions::default(), timestamp, values)
}

pub(crate) fn batch_with(options: BatchOptions, timestamp: i64, values: &[&[u8]]) -> AcceptedBatch {
    let mut builder = BatchBuilder::new(options);
    for value in values {
        builder.append(Timestamp(timestamp), None, Some(value), []);
    }
    accepted(builder.build())
}

pub(crate) fn accepted(bytes: Bytes) -> AcceptedBatch {
    let header = *BatchView::new(&bytes).unwrap().header();
    AcceptedBatch { header, body: bytes.slice(HEADER_BYTES..), log_append_time: None, rebuilt: false }
}

pub(crate) const OPTIONS: AppendOptions = AppendOptions {
    leader_epoch: LeaderEpoch(3),
    origin: ProducerOrigin::Client(VerificationGuard::NONE),
    commit: Commit::AtOnce,
};

pub(crate) fn append(log: &Arc<Log>, timestamp: i64, values: &[&[u8]]) -> Appended {
    log.append_as_leader(&batch(timestamp, values), &OPTIONS).unwrap()
}

/// All bytes that a read from `from` gives.
pub(crate) fn read_bytes(log: &Log, from: Offset, max_bytes: u32) -> Vec<u8> {
    let view = log.view();
    let request =
        ReadRequest { from, max_bytes, limit: ReadLimit::HighWatermark, first_batch: FirstBatch::Whole };
    let answer = log.read(&view, &request).unwrap();
    let mut bytes = Vec::new();
    for range in &answer.ranges {
        let start = bytes.len();
        bytes.resize(start + range.len as usize, 0);
        range.file.read_exact_at(&mut bytes[start..], range.position).unwrap();
    }
    assert_eq!(bytes.len(), answer.bytes as usize);
    bytes
}

/// Offsets and values of all records from `from` on, read with small fetches.
pub(crate) fn read_all(log: &Log, mut from: Offset, max_bytes: u32) -> Vec<(i64, Vec<u8>)> {
    let mut records = Vec::new();
    while from < log.view().high_watermark {
        let bytes = read_bytes(log, from, max_bytes);
        assert!(!bytes.is_empty(), "nothing to read at {from}");
        let first = from;
        for stored in ottla_record::Batches::new(&bytes) {
            let stored = stored.unwrap();
            stored.verify_crc().unwrap();
            let batch = stored.v2().unwrap();
            let payload = batch.decompressed(1 << 30).unwrap();
            for record in batch.records(&payload) {
                let record = record.unwrap();
                if record.offset >= first {
                    records.push((record.offset.get(), record.value.unwrap().to_vec()));
                }
            }
            from = batch.end_offset();
        }
    }
    records
}

/// What an idempotent producer sends.
pub(crate) fn produced(producer: i64, sequence: i32, transactional: bool, values: &[&[u8]]) -> AcceptedBatch {
    let options = BatchOptions {
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(0),
        base_sequence: sequence,
        transactional,
        ..BatchOptions::default()
    };
    batch_with(options, TIME, values)
}

/// Ends a producer's transaction.
pub(crate) fn end_transaction(log: &Arc<Log>, producer: i64, committed: bool) -> Appended {
    end_transaction_or(log, producer, committed).unwrap()
}

/// The same, where it may fail.
pub(crate) fn end_transaction_or(
    log: &Arc<Log>,
    producer: i64,
    committed: bool,
) -> Result<Appended, AppendError> {
    let marker = EndTxnMarker { committed, coordinator_epoch: 0 };
    let bytes = end_txn_batch(ProducerId(producer), ProducerEpoch(0), marker, Timestamp(TIME));
    let options = AppendOptions { origin: ProducerOrigin::Marker(0), ..OPTIONS };
    log.append_as_leader(&accepted(bytes), &options)
}
