//! Which records belong to aborted transactions: they are never given to a group that reads only what is committed.

use std::collections::BTreeSet;

use super::{AcquiredRange, FetchedBatch};

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: i64,
    /// Where its records begin.
    pub first_offset: i64,
}

/// The batches, as first and last offsets, that belong to aborted transactions.
pub fn aborted_batches(fetched: &[FetchedBatch], transactions: &[AbortedTransaction]) -> Vec<(i64, i64)> {
    let mut upcoming = transactions.to_vec();
    upcoming.sort_by_key(|it| it.first_offset);
    let mut upcoming = upcoming.into_iter().peekable();
    let mut aborted: BTreeSet<i64> = BTreeSet::new();
    let mut batches = Vec::new();
    for batch in fetched {
        let Some(producer) = batch.producer_id else { continue };
        while let Some(begun) = upcoming.next_if(|it| it.first_offset <= batch.last) {
            aborted.insert(begun.producer_id);
        }
        if batch.is_abort_marker {
            aborted.remove(&producer);
        } else if batch.is_transactional && aborted.contains(&producer) {
            batches.push((batch.first, batch.last));
        }
    }
    batches
}

/// What is left of acquired ranges without the batches, both in the order of offsets.
pub(super) fn without(ranges: Vec<AcquiredRange>, batches: &[(i64, i64)]) -> Vec<AcquiredRange> {
    let mut left = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut first = range.first;
        for &(batch_first, batch_last) in batches {
            if batch_last < first || batch_first > range.last {
                continue;
            }
            if batch_first > first {
                left.push(AcquiredRange { first, last: batch_first - 1, ..range });
            }
            first = batch_last + 1;
        }
        if first <= range.last {
            left.push(AcquiredRange { first, ..range });
        }
    }
    left
}
