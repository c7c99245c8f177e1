//! Which tiered segments are kept no longer, and where the tier begins and ends in a log
//! (`RemoteLogManager.RLMExpirationTask`, `findHighestRemoteOffset`, `findLogStartOffset`).

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_base::{LeaderEpoch, NodeId, Offset, Timestamp, Uuid};
use ottla_storage::leader_epochs::{EpochStart, LeaderEpochs};

use crate::catalog::Catalog;
use crate::segment::{SegmentMetadata, SegmentState};

/// What a log is held against.
#[derive(Debug, Clone)]
pub struct Limits<'a> {
    /// `retention.ms`; `None` for ever.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`; `None` without bound.
    pub retention_bytes: Option<u64>,
    /// Bytes of the log that are on the local disk alone.
    pub only_local_bytes: u64,
    /// The log start.
    pub log_start: Offset,
    /// The end of the log.
    pub log_end: Offset,
    /// The log's leader epochs.
    pub epochs: &'a LeaderEpochs,
    /// The time.
    pub now: Timestamp,
    /// The broker that asks: what it began to copy and does not copy now was cut short by a stop.
    pub broker: NodeId,
    /// The segments that are being copied now.
    pub copying: &'a BTreeSet<Uuid>,
}

/// What is to be done.
#[derive(Debug, Clone, Default)]
pub struct Expiry {
    /// Segments to delete, in the order in which they go.
    pub delete: Vec<Arc<SegmentMetadata>>,
    /// The log starts here before they go, if that is later than it does.
    pub log_start: Option<Offset>,
}

impl Expiry {
    /// Decides. Segments outside of the log's lineage go when the log's first epoch is past theirs.
    pub fn of(catalog: &Catalog, limits: &Limits<'_>) -> Expiry {
        let mut expiry = Expiry::default();
        let mut chosen = BTreeSet::new();
        let mut choose = |expiry: &mut Expiry, it: &Arc<SegmentMetadata>| {
            if chosen.insert(it.id.id) {
                expiry.delete.push(it.clone());
            }
        };
        for it in catalog.all().filter(|it| was_cut_short(it, limits)) {
            choose(&mut expiry, it);
        }
        let lineage = filtered(limits.epochs.entries());
        let mut excess = excess_bytes(catalog, limits, &lineage);
        'epochs: for epoch in &lineage {
            for it in catalog.of_epoch(epoch.epoch) {
                if limits.copying.contains(&it.id.id) {
                    break 'epochs;
                }
                if expiry.delete.iter().any(|chosen| chosen.id.id == it.id.id) {
                    continue;
                }
                let below_start = is_below_start(it, limits, &lineage);
                let valid = !below_start && is_in_lineage(it, limits.log_end, &lineage);
                let breaches = below_start || (valid && breaches(it, limits, &mut excess));
                if breaches {
                    if !below_start {
                        expiry.log_start = expiry.log_start.max(Some(it.end));
                    }
                    choose(&mut expiry, it);
                } else if valid {
                    break 'epochs;
                }
            }
        }
        if let Some(earliest) = limits.epochs.earliest() {
            let past = |it: &&Arc<SegmentMetadata>| it.epochs.iter().all(|at| at.epoch < earliest.epoch);
            for it in catalog.all().filter(past).filter(|it| !limits.copying.contains(&it.id.id)) {
                choose(&mut expiry, it);
            }
        }
        expiry
    }
}

/// Whether a stop came between the first and the last record of a copy or a deletion.
fn was_cut_short(it: &SegmentMetadata, limits: &Limits<'_>) -> bool {
    match it.state {
        SegmentState::DeleteStarted => true,
        SegmentState::CopyStarted => it.broker == limits.broker && !limits.copying.contains(&it.id.id),
        SegmentState::CopyFinished | SegmentState::DeleteFinished => false,
    }
}

/// By how many bytes the log, on the disk and in the tier, is too large.
fn excess_bytes(catalog: &Catalog, limits: &Limits<'_>, lineage: &[EpochStart]) -> u64 {
    let Some(retention) = limits.retention_bytes else { return 0 };
    let counted = catalog
        .all()
        .filter(|it| it.state == SegmentState::CopyFinished && is_in_lineage(it, limits.log_end, lineage));
    let tiered: u64 = counted.map(|it| u64::from(it.size)).sum();
    limits.only_local_bytes.saturating_add(tiered).saturating_sub(retention)
}

fn breaches(it: &SegmentMetadata, limits: &Limits<'_>, excess: &mut u64) -> bool {
    let size = u64::from(it.size);
    let cleanup_until = limits
        .retention_ms
        .and_then(|it| limits.now.get().checked_sub(i64::try_from(it).ok()?))
        .filter(|it| *it >= 0);
    if cleanup_until.is_some_and(|until| it.max_timestamp.get() < until) {
        *excess = excess.saturating_sub(size);
        return true;
    }
    if *excess > 0 && size <= *excess {
        *excess -= size;
        return true;
    }
    false
}

fn is_below_start(it: &SegmentMetadata, limits: &Limits<'_>, lineage: &[EpochStart]) -> bool {
    let Some(first) = lineage.first() else { return false };
    it.end <= limits.log_start && it.epochs.iter().all(|at| at.epoch <= first.epoch)
}

/// The epochs that have records: of several that begin at the same offset only the last.
fn filtered(epochs: &[EpochStart]) -> Vec<EpochStart> {
    let mut filtered: Vec<EpochStart> = Vec::with_capacity(epochs.len());
    for epoch in epochs {
        if filtered.last().is_some_and(|last| last.start == epoch.start) {
            filtered.pop();
        }
        filtered.push(*epoch);
    }
    filtered
}

/// Whether every record of a segment is a record of the log that has these epochs: another leader's log, which was cut
/// off, may have been copied too (`isRemoteSegmentWithinLeaderEpochs`).
pub fn is_in_lineage(segment: &SegmentMetadata, log_end: Offset, epochs: &[EpochStart]) -> bool {
    let (lineage, own) = (filtered(epochs), filtered(&segment.epochs));
    let (Some(first), Some(last)) = (lineage.first(), lineage.last()) else { return false };
    let Some(own_last) = own.last() else { return false };
    if own_last.epoch < first.epoch || own_last.epoch > last.epoch {
        return false;
    }
    let after = |of: &[EpochStart], epoch: LeaderEpoch| of.iter().find(|it| it.epoch > epoch).copied();
    let valid: Vec<EpochStart> = own.iter().copied().filter(|it| it.epoch >= first.epoch).collect();
    for (at, entry) in valid.iter().enumerate() {
        let Some(known) = lineage.iter().position(|it| it.epoch == entry.epoch) else { return false };
        if at == 0 && known > 0 && entry.start < lineage[known].start {
            return false;
        }
        let next = after(&lineage, entry.epoch);
        if entry.epoch == own_last.epoch {
            if next.is_some_and(|next| segment.end > next.start) {
                return false;
            }
        } else if next != after(&own, entry.epoch) {
            return false;
        }
    }
    segment.end <= log_end
}

/// The offset after the last one of a log that was copied; nothing of it was if there is none.
pub fn highest_copied(catalog: &Catalog, epochs: &LeaderEpochs, log_end: Offset) -> Option<Offset> {
    epochs.entries().iter().rev().find_map(|it| {
        let copied = catalog.copied_to(it.epoch)?;
        let end = epochs.end_of(it.epoch, log_end).end;
        Some(copied.min(end))
    })
}

/// The first offset of a log that can be read from the tier.
pub fn first_offset(catalog: &Catalog, epochs: &LeaderEpochs) -> Option<Offset> {
    let readable = |it: &&Arc<SegmentMetadata>| it.state == SegmentState::CopyFinished;
    epochs.entries().iter().find_map(|it| {
        let segments = catalog.of_epoch(it.epoch);
        segments.into_iter().find(readable).map(|it| it.start)
    })
}

#[cfg(test)]
mod tests;
