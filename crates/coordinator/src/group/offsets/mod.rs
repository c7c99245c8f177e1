//! Committed offsets: of groups, of consumers without one, and those of transactions that go on
//! (`OffsetMetadataManager`).

use super::{GroupRecord, Producer, TransactionResult};

/// Every committed offset of this partition of `__consumer_offsets`.
#[derive(Debug, Default)]
pub(super) struct Offsets {}

impl Offsets {
    /// Takes a commit, or its removal, as fact.
    pub(super) fn apply(&mut self, record: &GroupRecord) {
        let _ = record;
    }

    /// Takes a commit that counts once its transaction is committed.
    pub(super) fn apply_pending(&mut self, producer: Producer, record: &GroupRecord) {
        let _ = (producer, record);
    }

    /// Takes the end of a transaction as fact.
    pub(super) fn apply_end(&mut self, producer: Producer, result: TransactionResult) {
        let _ = (producer, result);
    }
}
