//! When a snapshot is due, and which snapshots and how much of the log it makes superfluous.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_base::{Moment, Timestamp};
use ottla_metadata::settings::ServerSettings;
use ottla_raft::OffsetAndEpoch;

/// How often superfluous files are looked for, as in Kafka.
pub(super) const CLEAN_INTERVAL: Duration = Duration::from_secs(60);

/// The settings about snapshots and retention.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub(super) bytes_between_snapshots: u64,
    /// `metadata.log.max.snapshot.interval.ms`; `None` if only bytes count.
    pub(super) snapshot_interval: Option<Duration>,
    /// `metadata.max.retention.bytes`; `None` without bound.
    pub(super) retention_bytes: Option<u64>,
    /// `metadata.max.retention.ms`; `None` for ever.
    pub(super) retention_ms: Option<i64>,
    /// `internal.metadata.delete.delay.millis`
    pub(super) delete_delay: Duration,
}

impl Limits {
    pub(super) fn new(settings: &ServerSettings) -> Limits {
        let quorum = &settings.quorum;
        let ms = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let interval = quorum.metadata_log_max_snapshot_interval_ms;
        Limits {
            bytes_between_snapshots: quorum.metadata_log_max_record_bytes_between_snapshots.unsigned_abs(),
            snapshot_interval: (interval > 0).then(|| ms(interval)),
            retention_bytes: u64::try_from(quorum.metadata_max_retention_bytes).ok(),
            retention_ms: Some(quorum.metadata_max_retention_ms).filter(|limit| *limit >= 0),
            delete_delay: ms(quorum.internal_metadata_delete_delay_millis),
        }
    }
}

/// What was written since the last snapshot.
#[derive(Debug)]
pub(super) struct SnapshotClock {
    last: Moment,
    bytes: u64,
    /// A snapshot is being written.
    pub(super) under_way: bool,
}

impl SnapshotClock {
    pub(super) fn new(now: Moment) -> SnapshotClock {
        SnapshotClock { last: now, bytes: 0, under_way: false }
    }

    /// A committed batch was applied.
    pub(super) fn applied(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// A snapshot of everything that was applied begins.
    pub(super) fn begin(&mut self, now: Moment) {
        (self.last, self.bytes, self.under_way) = (now, 0, true);
    }

    /// Whether a snapshot should be taken.
    pub(super) fn is_due(&self, limits: &Limits, now: Moment) -> bool {
        let late = limits.snapshot_interval.is_some_and(|interval| now.since(self.last) >= interval);
        !self.under_way && self.bytes > 0 && (self.bytes >= limits.bytes_between_snapshots || late)
    }

    /// When the passing of time alone makes a snapshot due.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Moment> {
        let interval = limits.snapshot_interval.filter(|_| !self.under_way && self.bytes > 0)?;
        Some(self.last + interval)
    }
}

/// The snapshot at which the log should begin, if the oldest snapshot, and what of the log it alone covers, is more
/// than is wanted. The latest snapshot always stays. `appended` says when the last record that a snapshot covers was
/// appended.
pub(super) fn next_start(
    snapshots: &BTreeMap<OffsetAndEpoch, u64>,
    log_bytes: u64,
    limits: &Limits,
    now: Timestamp,
    appended: impl FnOnce(OffsetAndEpoch) -> Option<Timestamp>,
) -> Option<OffsetAndEpoch> {
    let mut ids = snapshots.keys();
    let (oldest, next) = (ids.next()?, ids.next()?);
    let total = log_bytes + snapshots.values().sum::<u64>();
    let too_much = limits.retention_bytes.is_some_and(|limit| total > limit);
    let too_old =
        || limits.retention_ms.zip(appended(*oldest)).is_some_and(|(limit, at)| now.0 - at.0 > limit);
    (too_much || too_old()).then_some(*next)
}
