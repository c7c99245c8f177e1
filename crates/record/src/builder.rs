//! Building a v2 batch (`org.apache.kafka.common.record.internal.MemoryRecordsBuilder`).

use bytes::Bytes;
use ottla_base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::compression::{CompressionLevel, Compressor};
use crate::header::{BatchHeader, HEADER_BYTES, HeaderFields, NO_SEQUENCE, TimestampType};
use crate::records::{Header, Record, put_record, put_record_start, record_len};

/// What a batch is like, apart from its records.
#[derive(Debug, Clone, Copy)]
pub struct BatchOptions {
    /// The offset of the first record; records' offsets are relative to it.
    pub base_offset: Offset,
    /// How the records are compressed.
    pub compression: CompressionLevel,
    /// The time of the append, if the timestamps are the broker's.
    pub log_append_time: Option<Timestamp>,
    /// The idempotent producer, or none.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// The sequence of the first record.
    pub base_sequence: i32,
    /// Whether the batch belongs to a transaction.
    pub transactional: bool,
    /// Whether the records are control records.
    pub control: bool,
    /// The leader epoch of the append.
    pub partition_leader_epoch: LeaderEpoch,
    /// When compaction may remove the tombstones and markers in the batch.
    pub delete_horizon: Option<Timestamp>,
}

impl Default for BatchOptions {
    fn default() -> Self {
        BatchOptions {
            base_offset: Offset::ZERO,
            compression: CompressionLevel::default(),
            log_append_time: None,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: NO_SEQUENCE,
            transactional: false,
            control: false,
            partition_leader_epoch: LeaderEpoch::NONE,
            delete_horizon: None,
        }
    }
}

/// Collects records into one batch. Records are compressed as they come; memory holds what was compressed.
pub struct BatchBuilder {
    options: BatchOptions,
    compressor: Compressor,
    /// One record, before it is compressed.
    record: Vec<u8>,
    base_timestamp: Option<Timestamp>,
    max_timestamp: Timestamp,
    last_offset: Option<Offset>,
    count: i32,
    uncompressed_bytes: usize,
}

impl BatchBuilder {
    /// A batch without records.
    pub fn new(options: BatchOptions) -> BatchBuilder {
        BatchBuilder::reusing(options, Vec::new())
    }

    /// A batch without records, whose bytes will be in `buffer`. What the buffer holds is dropped.
    pub fn reusing(options: BatchOptions, mut buffer: Vec<u8>) -> BatchBuilder {
        buffer.clear();
        buffer.resize(HEADER_BYTES, 0);
        BatchBuilder {
            options,
            compressor: Compressor::new(options.compression, buffer),
            record: Vec::new(),
            base_timestamp: options.delete_horizon,
            max_timestamp: Timestamp::NONE,
            last_offset: None,
            count: 0,
            uncompressed_bytes: 0,
        }
    }

    /// Adds a record after the last one.
    pub fn append<'h, H>(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) where
        H: IntoIterator<Item = Header<'h>, IntoIter: Clone>,
    {
        let offset = self.last_offset.map_or(self.options.base_offset, |it| it.after(1));
        self.append_at(offset, timestamp, key, value, headers);
    }

    /// Adds a record with its offset, which must be above the last one's.
    pub fn append_at<'h, H>(
        &mut self,
        offset: Offset,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) where
        H: IntoIterator<Item = Header<'h>, IntoIter: Clone>,
    {
        let (offset_delta, timestamp_delta) = self.count_record(offset, timestamp);
        let headers = headers.into_iter();
        if let Compressor::Plain(out) = &mut self.compressor {
            self.uncompressed_bytes += put_record(out, offset_delta, timestamp_delta, key, value, headers);
        } else {
            self.record.clear();
            self.uncompressed_bytes +=
                put_record(&mut self.record, offset_delta, timestamp_delta, key, value, headers);
            self.compressor.write(&self.record);
        }
    }

    fn count_record(&mut self, offset: Offset, timestamp: Timestamp) -> (i32, i64) {
        assert!(self.last_offset.is_none_or(|it| it < offset), "offsets in a batch increase");
        let delta = offset.0 - self.options.base_offset.0;
        assert!((0..=i64::from(i32::MAX)).contains(&delta), "offsets in a batch fit its base offset");
        let base_timestamp = *self.base_timestamp.get_or_insert(timestamp);
        self.count += 1;
        self.last_offset = Some(offset);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        (delta as i32, timestamp.0.wrapping_sub(base_timestamp.0))
    }

    /// Adds the beginning of a record, of which `rest_bytes` from the key's length on are still to come
    /// through [`BatchBuilder::continue_record`].
    pub(crate) fn begin_record(&mut self, offset: Offset, timestamp: Timestamp, rest_bytes: usize) {
        let (offset_delta, timestamp_delta) = self.count_record(offset, timestamp);
        self.record.clear();
        put_record_start(&mut self.record, offset_delta, timestamp_delta, rest_bytes);
        self.uncompressed_bytes += self.record.len() + rest_bytes;
        self.compressor.write(&self.record);
    }

    /// Adds more of the record that was begun.
    pub(crate) fn continue_record(&mut self, bytes: &[u8]) {
        self.compressor.write(bytes);
    }

    /// Adds a copy of a record, at `offset`.
    pub fn append_record(&mut self, offset: Offset, record: &Record<'_>) {
        self.append_at(offset, record.timestamp, record.key, record.value, record.headers);
    }

    /// How many records the batch has.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The size of the batch so far. Compressed, some of the last records may not be counted yet.
    pub fn size(&self) -> usize {
        self.compressor.written()
    }

    /// The size the batch would have without compression.
    pub fn uncompressed_size(&self) -> usize {
        HEADER_BYTES + self.uncompressed_bytes
    }

    /// How many bytes the next record would add before compression.
    pub fn size_of<'h, H>(
        &self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) -> usize
    where
        H: IntoIterator<Item = Header<'h>, IntoIter: Clone>,
    {
        let delta = self.last_offset.map_or(0, |it| it.0 + 1 - self.options.base_offset.0) as i32;
        let base_timestamp = self.base_timestamp.unwrap_or(timestamp);
        record_len(delta, timestamp.0.wrapping_sub(base_timestamp.0), key, value, headers.into_iter())
    }

    /// Names the idempotent producer and the sequence of the first record. Producers know these only when
    /// the batch is sent.
    pub fn set_producer(
        &mut self,
        id: ProducerId,
        epoch: ProducerEpoch,
        base_sequence: i32,
        transactional: bool,
    ) {
        self.options.producer_id = id;
        self.options.producer_epoch = epoch;
        self.options.base_sequence = base_sequence;
        self.options.transactional = transactional;
    }

    /// Lets the batch end at `offset` although its last records are gone, as compaction does.
    pub fn set_last_offset(&mut self, offset: Offset) {
        assert!(self.last_offset.is_none_or(|it| it <= offset), "a batch ends after its last record");
        self.last_offset = Some(offset);
    }

    /// The batch's bytes.
    pub fn build(self) -> Bytes {
        let options = self.options;
        let last_offset = self.last_offset.unwrap_or(options.base_offset);
        let mut bytes = self.compressor.finish();
        let fields = HeaderFields {
            base_offset: options.base_offset,
            partition_leader_epoch: options.partition_leader_epoch,
            compression: options.compression.compression,
            timestamp_type: match options.log_append_time {
                Some(_) => TimestampType::LogAppendTime,
                None => TimestampType::CreateTime,
            },
            transactional: options.transactional,
            control: options.control,
            delete_horizon: options.delete_horizon.is_some(),
            last_offset_delta: (last_offset.0 - options.base_offset.0) as i32,
            base_timestamp: self.base_timestamp.unwrap_or(Timestamp::NONE),
            max_timestamp: options.log_append_time.unwrap_or(self.max_timestamp),
            producer_id: options.producer_id,
            producer_epoch: options.producer_epoch,
            base_sequence: options.base_sequence,
            count: self.count,
        };
        let header = BatchHeader::write(&fields, &bytes[HEADER_BYTES..]);
        bytes[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        Bytes::from(bytes)
    }
}

/// The header of a batch all of whose records compaction has removed. It stays in the log for what it says
/// about the producer, the leader epoch and the last offset (`DefaultRecordBatch.writeEmptyHeader`).
pub fn emptied(header: &BatchHeader) -> BatchHeader {
    let fields = HeaderFields {
        base_offset: header.base_offset(),
        partition_leader_epoch: header.partition_leader_epoch(),
        compression: crate::compression::Compression::None,
        timestamp_type: header.timestamp_type(),
        transactional: header.is_transactional(),
        control: header.is_control(),
        delete_horizon: false,
        last_offset_delta: header.last_offset_delta(),
        base_timestamp: Timestamp::NONE,
        max_timestamp: header.max_timestamp(),
        producer_id: header.producer_id(),
        producer_epoch: header.producer_epoch(),
        base_sequence: header.base_sequence(),
        count: 0,
    };
    BatchHeader::write(&fields, &[])
}
