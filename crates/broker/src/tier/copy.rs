//! Copying sealed segments (`RemoteLogManager.RLMCopyTask`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_base::{Offset, Uuid};
use ottla_storage::{LogStartReason, SealedSegment};
use ottla_tier::{
    SegmentData, SegmentId, SegmentMetadata, SegmentState, TierError, first_offset, highest_copied, steps,
};

use super::records::Recording;
use super::{Tier, TieringError, Tracked};
use crate::broker::Broker;
use crate::partition::{CopyLag, Partition};

/// A segment that is being copied, as long as this lives.
pub(super) struct Copying<'a> {
    tier: &'a Tier,
    id: Uuid,
}

impl Drop for Copying<'_> {
    fn drop(&mut self) {
        self.tier.copying.lock().remove(&self.id);
    }
}

impl Tier {
    /// Copies every segment of a led partition that is due.
    pub(super) async fn copy(
        &self,
        broker: &Broker,
        partition: &Arc<Partition>,
        tracked: &Arc<Tracked>,
    ) -> Result<(), TieringError> {
        let epoch = partition.leader_epoch(-1).map_err(|_| TieringError::NotLeader)?;
        self.note_tiered_end(partition, tracked);
        self.move_log_start(partition, tracked);
        let copied = self.copy_due(broker, partition, tracked, epoch.get()).await;
        self.note_copy_lag(partition, tracked);
        if let Err(TieringError::Tier(_) | TieringError::Rejected(_) | TieringError::Record(_)) = &copied {
            for counters in [&broker.metrics.all_topics, &*partition.counters] {
                counters.remote_copy_errors.increment();
            }
        }
        copied
    }

    async fn copy_due(
        &self,
        broker: &Broker,
        partition: &Arc<Partition>,
        tracked: &Arc<Tracked>,
        epoch: i32,
    ) -> Result<(), TieringError> {
        for segment in self.due_segments(partition).await? {
            // A setting may have changed, or the leader.
            let still = partition.leader_epoch(epoch).is_ok();
            let copies = partition.log().config().tiering.is_some_and(|it| !it.copy_disabled);
            if !still || !copies {
                return if still { Ok(()) } else { Err(TieringError::NotLeader) };
            }
            // After a power cut the log must not go on below what was copied.
            partition.log().flush_to(segment.end).await.map_err(TierError::from)?;
            self.wait_for_copy_quota(u64::from(segment.bytes)).await;
            self.copy_segment(broker, partition, tracked, &segment).await?;
        }
        Ok(())
    }

    /// The segments to copy now, the oldest first.
    async fn due_segments(&self, partition: &Arc<Partition>) -> Result<Vec<SealedSegment>, TieringError> {
        let log = partition.log();
        if log.config().tiering.is_none_or(|it| it.copy_disabled) {
            return Ok(Vec::new());
        }
        let view = log.view();
        let from = log.tiered_end().unwrap_or(Offset::ZERO).max(view.log_start);
        let below = view.last_stable;
        let reading = log.clone();
        let sealed = self.host.blocking(move || reading.sealed_segments(from, below)).await;
        let mut sealed = sealed.map_err(TierError::from)?;
        sealed.retain(|it| it.end > from);
        let all = log.only_local().0;
        let now = self.host.wall_clock();
        let lag = partition.copy_lag();
        let mut before = 0_u64;
        let due = sealed.iter().take_while(|it| {
            before += u64::from(it.bytes);
            is_due(lag, now.get().saturating_sub(it.max_timestamp.get()), all.saturating_sub(before))
        });
        let due = due.count();
        sealed.truncate(due);
        Ok(sealed)
    }

    async fn wait_for_copy_quota(&self, bytes: u64) {
        loop {
            let now = self.host.now();
            let wait = {
                let mut quota = self.copy_quota.lock();
                let wait = quota.throttle(now);
                if wait.is_zero() {
                    quota.record(bytes, now);
                }
                wait
            };
            if wait.is_zero() {
                return;
            }
            let wait = wait.min(std::time::Duration::from_secs(1));
            self.copy_throttle_ms.fetch_add(wait.as_millis() as u64, Ordering::Relaxed);
            self.host.sleep(wait).await;
        }
    }

    async fn copy_segment(
        &self,
        broker: &Broker,
        partition: &Arc<Partition>,
        tracked: &Arc<Tracked>,
        sealed: &SealedSegment,
    ) -> Result<(), TieringError> {
        let log = partition.log();
        let (reading, base) = (log.clone(), sealed.base);
        let files = self.host.blocking(move || reading.segment_files(base)).await.map_err(TierError::from)?;
        // It was deleted meanwhile, with the log or because the log starts later.
        let Some(files) = files else { return Ok(()) };
        if sealed.epochs.is_empty() {
            return Err(TieringError::Unfit("a segment without leader epochs cannot be tiered"));
        }
        let metadata = SegmentMetadata {
            id: SegmentId { partition: tracked.partition.clone(), id: self.host.random_uuid() },
            start: sealed.base,
            end: sealed.end,
            broker: broker.node_id,
            max_timestamp: sealed.max_timestamp,
            recorded_at: self.host.wall_clock(),
            size: files.log_bytes,
            epochs: sealed.epochs.entries().to_vec(),
            custom: None,
            state: SegmentState::CopyStarted,
            txn_index_empty: files.transaction_index.is_none(),
        };
        let _copying = self.begin_copying(metadata.id.id);
        let data = SegmentData {
            log: files.log,
            log_bytes: files.log_bytes,
            offset_index: files.offset_index.into(),
            time_index: files.time_index.into(),
            transaction_index: files.transaction_index.map(Into::into),
            producers: files.producers.into(),
            epochs: files.epochs.into(),
        };
        for counters in [&broker.metrics.all_topics, &*partition.counters] {
            counters.remote_copy_requests.increment();
        }
        let recorder = Recording { tier: self, broker };
        if let Err(failed) = steps::copy(&recorder, &self.store, &metadata, &data).await {
            if let Some(error) = failed.left {
                tracing::info!(%partition, base = %sealed.base, %error, "what was copied of a segment is deleted later");
            }
            return Err(failed.error);
        }
        log.set_tiered_end(sealed.end);
        for counters in [&broker.metrics.all_topics, &*partition.counters] {
            counters.remote_copy_bytes.add(u64::from(metadata.size));
        }
        tracing::info!(
            %partition, base = %sealed.base, end = %sealed.end, bytes = metadata.size, id = %metadata.id.id,
            "copied a segment to tiered storage"
        );
        Ok(())
    }

    fn begin_copying(&self, id: Uuid) -> Copying<'_> {
        self.copying.lock().insert(id);
        Copying { tier: self, id }
    }

    /// What was copied before this broker led, or by the one that does, is known from the records.
    pub(super) fn note_tiered_end(&self, partition: &Partition, tracked: &Tracked) {
        let log = partition.log();
        let end = log.view().end;
        let copied = log.with_epochs(|epochs| highest_copied(&tracked.catalog.lock(), epochs, end));
        if let Some(copied) = copied {
            log.set_tiered_end(copied);
        }
    }

    /// The log starts where its tier does, or its disk.
    fn move_log_start(&self, partition: &Partition, tracked: &Tracked) {
        let log = partition.log();
        let first = log.with_epochs(|epochs| first_offset(&tracked.catalog.lock(), epochs));
        let local_start = log.view().local_start();
        let start = first.map_or(local_start, |it| it.min(local_start));
        if start > log.view().log_start
            && let Err(error) = log.advance_log_start(start, LogStartReason::SegmentDeletion)
        {
            tracing::debug!(%partition, %error, "the log start stays");
        }
    }

    fn note_copy_lag(&self, partition: &Partition, tracked: &Tracked) {
        let log = partition.log();
        let (bytes, segments) = log.only_local();
        let active = log.active_bytes();
        tracked.gauges.copy_lag_bytes.store(bytes.saturating_sub(active), Ordering::Relaxed);
        tracked.gauges.copy_lag_segments.store(segments.saturating_sub(1) as u64, Ordering::Relaxed);
    }
}

/// Whether a segment is old enough, or enough came after it, to be copied (KIP-1241).
fn is_due(lag: CopyLag, age_ms: i64, bytes_after: u64) -> bool {
    if lag.ms == Some(0) || lag.bytes == Some(0) {
        return true;
    }
    let by_time = lag.ms.is_some_and(|ms| age_ms < 0 || age_ms.unsigned_abs() >= ms);
    by_time || lag.bytes.is_some_and(|bytes| bytes_after >= bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_due_by_age_or_by_what_came_after_it() {
        let lag = |ms, bytes| CopyLag { ms, bytes };
        assert!(is_due(lag(Some(0), None), 0, 0), "the default copies at once");
        assert!(is_due(lag(Some(100), Some(0)), 0, 0));
        assert!(!is_due(lag(Some(100), None), 99, 1_000_000));
        assert!(is_due(lag(Some(100), None), 100, 0));
        assert!(is_due(lag(Some(100), None), -5, 0), "a time to come is no reason to wait");
        assert!(!is_due(lag(Some(100), Some(50)), 10, 49));
        assert!(is_due(lag(Some(100), Some(50)), 10, 50));
        assert!(!is_due(lag(None, None), 1_000, 1_000), "what is never let go locally is not copied either");
    }
}
