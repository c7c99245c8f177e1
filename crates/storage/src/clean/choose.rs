//! Which part of a log can be cleaned now, and how much it needs it (`LogCleanerManager.cleanableOffsets`, `LogToClean`).

use ottla_base::{Offset, Timestamp};

use crate::error::StorageError;
use crate::log::{Log, View};
use crate::segment::floor;

/// What a log has to be cleaned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cleanable {
    /// Everything below was cleaned.
    pub(crate) first_dirty: Offset,
    /// Whether `first_dirty` is another than was written down: the log was cut.
    pub(crate) corrected: bool,
    /// Nothing from here on can be cleaned: a segment begins here.
    pub(crate) first_uncleanable: Offset,
    /// Bytes of segments that were cleaned.
    pub(crate) clean_bytes: u64,
    /// Bytes of segments that can be cleaned.
    pub(crate) dirty_bytes: u64,
    /// For how long a record has been waiting longer than `max.compaction.lag.ms`.
    pub(crate) overdue_ms: i64,
}

impl Cleanable {
    /// The part of what was or can be cleaned that can be.
    pub(crate) fn ratio(&self) -> f64 {
        match self.clean_bytes + self.dirty_bytes {
            0 => 0.0,
            total => self.dirty_bytes as f64 / total as f64,
        }
    }

    /// Whether the log is to be cleaned now.
    pub(crate) fn is_due(&self, min_ratio: f64) -> bool {
        self.dirty_bytes > 0 && (self.overdue_ms > 0 || self.ratio() > min_ratio)
    }
}

impl Log {
    /// What there is to clean. May wait for the disk.
    pub(crate) fn cleanable(&self, now: Timestamp) -> Result<Cleanable, StorageError> {
        let (view, config) = (self.view(), self.config());
        let (first_dirty, corrected) = match self.cleaning.cleaned() {
            None => (view.log_start, false),
            Some(cleaned) if cleaned < view.log_start => (view.log_start, true),
            Some(cleaned) if cleaned > view.end => {
                tracing::warn!(
                    partition = %self.partition(), %cleaned, end = %view.end, log_start = %view.log_start,
                    "the log ends before it was cleaned to, it is cleaned from its start"
                );
                (view.log_start, true)
            }
            Some(cleaned) => (cleaned, false),
        };
        let active = view.segments.len() - 1;
        let dirty = floor(&view.segments, first_dirty).unwrap_or(0)..active;
        let mut end = view.last_stable.min(view.segments[active].base());
        if config.min_compaction_lag_ms > 0 {
            let youngest = now.get().saturating_sub(config.min_compaction_lag_ms);
            for segment in &view.segments[dirty.clone()] {
                if self.newest_timestamp(segment)? > Timestamp(youngest) {
                    end = end.min(segment.base());
                    break;
                }
            }
        }
        let end = end.max(first_dirty);
        // The segment that holds the end, and is not cleaned for it.
        let stop = floor(&view.segments, end).unwrap_or(0).min(active);
        let first_uncleanable = view.segments[stop].base();
        let bytes = |part: &[std::sync::Arc<crate::segment::Segment>]| -> u64 {
            part.iter().map(|segment| u64::from(segment.len())).sum()
        };
        let clean = view.segments.partition_point(|segment| segment.base() < first_dirty).min(active);
        let begin = floor(&view.segments, first_dirty.min(first_uncleanable)).unwrap_or(0);
        Ok(Cleanable {
            first_dirty,
            corrected,
            first_uncleanable,
            clean_bytes: bytes(&view.segments[..clean]),
            dirty_bytes: bytes(&view.segments[begin.min(stop)..stop]),
            overdue_ms: self.overdue_ms(&view, dirty, now)?,
        })
    }

    /// For how long the oldest record that was not cleaned has been waiting longer than it should.
    fn overdue_ms(
        &self,
        view: &View,
        dirty: std::ops::Range<usize>,
        now: Timestamp,
    ) -> Result<i64, StorageError> {
        let limit = self.config().max_compaction_lag_ms;
        if limit == i64::MAX {
            return Ok(0);
        }
        let mut oldest = i64::MAX;
        for segment in &view.segments[dirty] {
            let first = segment.first_timestamp(&self.files)?.map_or(-1, |it| it.get());
            if first > 0 {
                oldest = oldest.min(first);
            }
        }
        Ok(now.get().saturating_sub(limit.max(0)).saturating_sub(oldest).max(0))
    }
}
