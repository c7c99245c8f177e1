//! Record batches as bytes: view, build, validate, compress.
//!
//! | file | holds |
//! |---|---|
//! | `header` | the 61-byte header of a v2 batch, and the changes a log makes to it |
//! | `batch` | a batch as it lies in memory; the run of batches in a buffer |
//! | `records` | the records of a decompressed batch |
//! | `stream` | the records of a compressed batch, in constant memory |
//! | `builder` | building a batch |
//! | `control` | control records: transaction markers and those of the quorum |
//! | `validate` | what a leader checks before it appends |
//! | `replicated` | what a follower checks before it appends |
//! | `compression` | gzip, Snappy, LZ4 and Zstandard, under limits |
//! | `legacy` | formats v0 and v1, read only |
//! | `crc`, `varint`, `murmur2` | arithmetic |
//!
//! Bytes are hostile: nothing here panics on them, and memory grows with what was received or decompressed,
//! never with what a length announces.
//!
//! Absent on purpose: files, clocks, and the writing or up-conversion of formats v0 and v1. The values of the
//! quorum's control records are messages of `wire`.

mod batch;
mod builder;
mod compression;
mod control;
mod crc;
mod error;
mod header;
mod legacy;
mod murmur2;
mod records;
mod replicated;
mod stream;
mod validate;
mod varint;

#[cfg(test)]
mod tests;

pub use batch::{BatchView, Batches, StoredBatch, batch_size};
pub use builder::{BatchBuilder, BatchOptions, emptied};
pub use compression::{Compression, CompressionLevel, decompress};
pub use control::{ControlType, EndTxnMarker, end_txn_batch, quorum_control_batch};
pub use crc::{crc32, crc32c, crc32c_of_two};
pub use error::RecordsError;
pub use header::{
    BatchHeader, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC_PREFIX_BYTES, MAGIC_V2, NO_SEQUENCE, TimestampType,
    sequence_after, sequence_before,
};
pub use legacy::{LegacyBatchView, LegacyRecord};
pub use murmur2::{murmur2, partition_for_key};
pub use records::{Header, Headers, Record, Records};
pub use replicated::{Replicated, check_replicated};
pub use stream::{DecompressionLimits, RecordOutline, RecordStream};
pub use validate::{
    AcceptedBatch, Origin, RecordRefusal, Refusal, RefusalCause, TimestampRules, ValidationRules,
    check_produce, validate,
};
