//! Segments of a log that left the disk: where they are, what is known of them, how they are read (KIP-405).
//!
//! | file | holds |
//! |---|---|
//! | `segment` | a tiered segment: its id, its state, what is known of it |
//! | `records` | the same as Kafka's records in `__remote_log_metadata` |
//! | `catalog` | all tiered segments of a partition: replayed from records, searched by epoch and offset |
//! | `retention` | which of them are kept no longer; where the tier begins and ends in a log |
//! | `store` | the objects: a directory, S3, Google Cloud Storage, Azure, or memory |
//! | `requests` | requests to a store: each ends, with its answer or because its time is over |
//! | `steps` | how a segment is copied and deleted, record by record |
//! | `index_cache` | their indexes on the local disk, a bounded number of bytes |
//! | `chunks` | pieces of segments in memory, the next one fetched ahead, a bounded number of bytes |
//! | `reader` | records and times found in tiered segments |
//! | `quota` | how many bytes a second may be copied or read (KIP-956) |
//!
//! Invariants: the record that a segment is being copied is written before its first object, the record that it is
//! being deleted before the first object goes: there is no object that no record names. What comes back from a store
//! is checked against its checksums before anybody is given it. No store is waited for without end.
//!
//! Absent on purpose: when to copy or delete, who leads, and the log of the records: that is the broker's.

mod catalog;
mod chunks;
mod error;
mod index_cache;
mod quota;
mod reader;
mod records;
mod requests;
mod retention;
mod segment;
pub mod steps;
mod store;
#[cfg(test)]
mod test_fixture;

pub use catalog::{Catalog, Rejected};
pub use chunks::Chunks;
pub use error::TierError;
pub use index_cache::IndexCache;
pub use quota::Quota;
pub use reader::{RemoteRead, RemoteReader, Wanted};
pub use records::{Event, decode_event, encode_event, metadata_partition};
pub use requests::{Operation, REQUEST_LIMIT, Unanswered};
pub use retention::{Expiry, Limits, first_offset, highest_copied, is_in_lineage};
pub use segment::{SegmentId, SegmentMetadata, SegmentState, SegmentUpdate, TieredPartition};
pub use store::{SegmentData, Store, StoreOptions};
