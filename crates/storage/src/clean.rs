//! Compaction: of each key the last record stays, as Kafka's log cleaner has it.
//!
//! | file | holds |
//! |---|---|
//! | `choose` | what of a log can be cleaned, and how much it needs it |
//! | `pass` | one pass over a log, in steps |
//! | `offset_map` | the last offset of each key, in bounded memory |
//! | `group` | which segments are written into one |
//! | `rewrite` | a group of segments written anew |
//! | `filter` | what is left of one batch |
//! | `transactions` | which transactions were aborted, and which markers are still needed |
//!
//! A segment once sealed is never changed: what is cleaned is written beside it and takes its place in one swap
//! (`Log::replace_segments`), after everything is durable. Who reads the old one reads on. Nothing keeps appends, cuts
//! or deletion waiting; a pass that finds its log changed is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use ottla_base::Offset;
use parking_lot::Mutex;

use crate::error::StorageError;
use crate::log::Log;

mod choose;
mod filter;
mod group;
mod offset_map;
mod pass;
mod rewrite;
mod transactions;

pub(crate) use choose::Cleanable;
pub use pass::{CleanStep, Cleaning};

/// What a pass may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CleanLimits {
    /// Bytes for the map of keys: `log.cleaner.dedupe.buffer.size` over `log.cleaner.threads`.
    pub dedupe_bytes: u64,
    /// The part of it that is used: `log.cleaner.io.buffer.load.factor`.
    pub load_factor: f64,
    /// Bytes that are read and written at once: half of `log.cleaner.io.buffer.size` over `log.cleaner.threads`.
    pub io_bytes: usize,
    /// The largest batch of any topic: `message.max.bytes`.
    pub message_bytes: u32,
}

/// What a pass has done.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CleanStats {
    /// Bytes that were read for their keys.
    pub map_bytes_read: u64,
    /// Records that were.
    pub map_records_read: u64,
    /// The part of the map that was used.
    pub map_utilization: f64,
    /// Bytes of segments that were written anew.
    pub bytes_read: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
    /// Records that were read to be written again.
    pub records_read: u64,
    /// Records that were written again.
    pub records_written: u64,
    /// Records without a key; they are dropped.
    pub keyless: u64,
    /// How long it took to read the keys.
    pub index_elapsed: Duration,
    /// How long the whole pass took.
    pub elapsed: Duration,
}

impl CleanStats {
    /// Bytes that were read and written: what a throttle counts.
    fn bytes_moved(&self) -> u64 {
        self.map_bytes_read + self.bytes_read + self.bytes_written
    }
}

/// Why a pass does not go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CleanError {
    /// The log was cut, moved, deleted, or is not compacted any more.
    #[error("the log has changed")]
    Outdated,
    /// The log cannot be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a log knows of its being cleaned.
#[derive(Debug)]
pub(crate) struct CleaningState {
    /// Everything below was cleaned; negative if nothing ever was.
    cleaned: AtomicI64,
    /// Whether somebody cleans it or deletes from it.
    claimed: AtomicBool,
    /// Why it cannot be cleaned.
    uncleanable: Mutex<Option<String>>,
}

impl CleaningState {
    pub(crate) fn new(cleaned: Option<Offset>) -> CleaningState {
        CleaningState {
            cleaned: AtomicI64::new(cleaned.map_or(-1, Offset::get)),
            claimed: AtomicBool::new(false),
            uncleanable: Mutex::default(),
        }
    }

    /// Everything below was cleaned.
    pub(crate) fn cleaned(&self) -> Option<Offset> {
        let cleaned = self.cleaned.load(Ordering::Acquire);
        (cleaned >= 0).then_some(Offset(cleaned))
    }

    pub(crate) fn set_cleaned(&self, cleaned: Offset) {
        self.cleaned.store(cleaned.get(), Ordering::Release);
    }

    /// The log was cut at `end`.
    pub(crate) fn lower(&self, end: Offset) {
        self.cleaned.fetch_min(end.get(), Ordering::AcqRel);
    }

    /// Whether the log can be cleaned and nobody has begun to.
    pub(crate) fn is_free(&self) -> bool {
        self.uncleanable.lock().is_none() && !self.claimed.load(Ordering::Acquire)
    }

    /// Why the log cannot be cleaned.
    pub(crate) fn uncleanable(&self) -> Option<String> {
        self.uncleanable.lock().clone()
    }

    /// Gives the log up, until the next start. Says whether it was not yet.
    pub(crate) fn give_up(&self, reason: String) -> bool {
        self.uncleanable.lock().replace(reason).is_none()
    }

    /// Goes on as `other`, whose log this one takes the place of.
    pub(crate) fn take_over(&self, other: &CleaningState) {
        self.cleaned.store(other.cleaned.load(Ordering::Acquire), Ordering::Release);
        *self.uncleanable.lock() = other.uncleanable();
    }
}

/// The right to clean a log, or to apply retention to a log that is compacted, until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    log: Arc<Log>,
}

impl Claim {
    /// Claims a log; nothing if somebody else has it, or if it cannot be cleaned.
    pub(crate) fn of(log: &Arc<Log>) -> Option<Claim> {
        if log.cleaning.uncleanable.lock().is_some() || log.cleaning.claimed.swap(true, Ordering::AcqRel) {
            return None;
        }
        Some(Claim { log: log.clone() })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.log.cleaning.claimed.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;
