//! Which segments are kept no longer: by age, by size of the log, and below the log start.

use std::sync::Arc;

use ottla_base::{Offset, Timestamp};

use super::Log;
use super::truncate::LogStartReason;
use crate::error::StorageError;
use crate::segment::Segment;

/// Why a segment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breach {
    LogStart,
    Size,
    Age,
}

/// What breaches a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Breaching {
    /// How many segments at the start, none of which holds anything uncommitted or not yet copied.
    count: usize,
    /// Whether the active one would go if it had been copied.
    active_waits: bool,
}

impl Log {
    /// Removes the segments that the topic's configuration keeps no longer. Gives how many. Blocks.
    pub fn apply_retention(self: &Arc<Self>) -> Result<usize, StorageError> {
        let mut removed = self.remove_breaching(Breach::LogStart)?;
        let config = self.config.load_full();
        if config.cleanup_delete || config.copying().is_some() {
            removed += self.remove_breaching(Breach::Size)?;
            removed += self.remove_breaching(Breach::Age)?;
        }
        Ok(removed)
    }

    fn remove_breaching(self: &Arc<Self>, breach: Breach) -> Result<usize, StorageError> {
        let found = self.first_breaching(breach)?;
        if found == Breaching::default() {
            return Ok(0);
        }
        // Once more, with the appender kept away.
        let syncing = self.flush.hold();
        let mut guard = self.appender.lock();
        self.check()?;
        let appender = &mut *guard;
        self.view.store(Arc::new(appender.view()));
        let Breaching { mut count, active_waits } = self.first_breaching(breach)?;
        if active_waits && appender.tail.end > appender.tail.active().base() {
            // It is copied once it is sealed, and goes then.
            let end = appender.tail.end;
            appender.roll(self, end)?;
            self.view.store(Arc::new(appender.view()));
        }
        if count == appender.tail.segments.len() {
            let end = appender.tail.end;
            if end == appender.tail.active().base() {
                count -= 1;
            } else {
                // There is always an active segment.
                appender.roll(self, end)?;
            }
        }
        if count == 0 {
            self.publish(guard);
            return Ok(0);
        }
        // The name that keeps the offsets is durable before the names that kept them go.
        self.flush.names_changed();
        self.sync_names()?;
        let (go, stay) = appender.tail.segments.split_at(count);
        let (go, stay) = (go.to_vec(), stay.to_vec());
        let start = stay[0].base();
        let log_start = appender.log_start;
        appender.tail.segments = Arc::new(stay);
        // What is copied elsewhere stays readable.
        if start > log_start && self.config.load().copying().is_none() {
            appender.move_log_start(self, start, LogStartReason::SegmentDeletion);
        }
        self.retire(&mut appender.snapshots, &go)?;
        self.publish(guard);
        for segment in &go {
            tracing::info!(
                partition = %self.partition, base = %segment.base(), bytes = segment.len(), reason = ?breach,
                "deleting a segment"
            );
        }
        drop(syncing);
        Ok(count)
    }

    /// Which segments at the start breach a limit.
    fn first_breaching(&self, breach: Breach) -> Result<Breaching, StorageError> {
        let (view, config) = (self.view(), self.config());
        let now = self.files.host.wall_clock();
        let copying = config.copying();
        let retention_bytes = copying.map_or(config.retention_bytes, |it| it.local_retention_bytes);
        let retention_ms = copying.map_or(config.retention_ms, |it| it.local_retention_ms);
        let tiered_end = self.tiered_end();
        let mut active_waits = false;
        let mut excess = match retention_bytes {
            Some(limit) => view.size().saturating_sub(limit),
            None => 0,
        };
        let mut count = 0;
        for (at, segment) in view.segments.iter().enumerate() {
            let is_last = at + 1 == view.segments.len();
            if view.end_of(at) > view.high_watermark || (is_last && view.active_len == 0) {
                break;
            }
            let breaches = match breach {
                Breach::LogStart => !is_last && view.end_of(at) <= view.log_start,
                Breach::Size => {
                    let size = u64::from(segment.len());
                    let breaches = retention_bytes.is_some() && size <= excess && excess > 0;
                    excess = excess.saturating_sub(size);
                    breaches
                }
                Breach::Age => match retention_ms {
                    Some(limit) => self.age_ms(segment, now)? > i64::try_from(limit).unwrap_or(i64::MAX),
                    None => false,
                },
            };
            if !breaches {
                break;
            }
            let below_start = !is_last && view.end_of(at) <= view.log_start;
            if copying.is_some() && !below_start && tiered_end.is_none_or(|it| view.end_of(at) > it) {
                // It goes when it has been copied.
                active_waits = is_last;
                break;
            }
            count += 1;
        }
        Ok(Breaching { count, active_waits })
    }

    /// How old a segment's newest record is.
    fn age_ms(&self, segment: &Segment, now: Timestamp) -> Result<i64, StorageError> {
        Ok(now.get().saturating_sub(self.newest_timestamp(segment)?.get()))
    }

    /// The highest timestamp in a segment, or when the file was last written if its records have none.
    pub(crate) fn newest_timestamp(&self, segment: &Segment) -> Result<Timestamp, StorageError> {
        let (largest, _) = segment.largest(&self.files)?;
        if largest >= Timestamp(0) { Ok(largest) } else { self.modified(segment) }
    }

    /// When a segment was last written.
    pub(crate) fn modified(&self, segment: &Segment) -> Result<Timestamp, StorageError> {
        let path = self.files.path_of(segment.log_name());
        Ok(self.files.result(&path, self.files.disk().metadata(&path))?.modified)
    }

    /// The first offset of each segment, the active one last.
    pub fn segment_bases(&self) -> Vec<Offset> {
        self.view.load().segments.iter().map(|segment| segment.base()).collect()
    }
}
