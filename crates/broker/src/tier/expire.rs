//! Deleting what is kept no longer, and all of topics that are deleted or not tiered any more
//! (`RemoteLogManager.RLMExpirationTask`, `deleteRemoteLogPartition`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_storage::LogStartReason;
use ottla_tier::{Expiry, Limits, SegmentMetadata, highest_copied, steps};

use super::records::Recording;
use super::{Tier, TieringError, Tracked};
use crate::broker::Broker;
use crate::partition::Partition;
use crate::settings_change;

impl Tier {
    /// Deletes what a led partition keeps no longer.
    pub(super) async fn expire(
        &self,
        broker: &Broker,
        partition: &Arc<Partition>,
        tracked: &Arc<Tracked>,
    ) -> Result<(), TieringError> {
        let log = partition.log();
        let (config, view) = (log.config(), log.view());
        let epochs = log.with_epochs(Clone::clone);
        let expiry = {
            // While this is held no copy begins or ends: what is being copied now was begun before, and what was copied
            // is counted once.
            let catalog = tracked.catalog.lock();
            let copying = self.copying.lock().clone();
            if let Some(copied) = highest_copied(&catalog, &epochs, view.end) {
                log.set_tiered_end(copied);
            }
            tracked.gauges.note(&catalog);
            Expiry::of(
                &catalog,
                &Limits {
                    retention_ms: config.retention_ms,
                    retention_bytes: config.retention_bytes,
                    only_local_bytes: log.only_local().0,
                    log_start: view.log_start,
                    log_end: view.end,
                    epochs: &epochs,
                    now: self.host.wall_clock(),
                    broker: broker.node_id,
                    copying: &copying,
                },
            )
        };
        if let Some(start) = expiry.log_start
            && let Err(error) = log.advance_log_start(start, LogStartReason::SegmentDeletion)
        {
            tracing::debug!(%partition, %error, "the log start stays");
        }
        self.delete_all(broker, partition, tracked, &expiry.delete).await
    }

    async fn delete_all(
        &self,
        broker: &Broker,
        partition: &Partition,
        tracked: &Tracked,
        segments: &[Arc<SegmentMetadata>],
    ) -> Result<(), TieringError> {
        let mut left: u64 = segments.iter().map(|it| u64::from(it.size)).sum();
        for (at, segment) in segments.iter().enumerate() {
            tracked.gauges.delete_lag_bytes.store(left, Ordering::Relaxed);
            tracked.gauges.delete_lag_segments.store((segments.len() - at) as u64, Ordering::Relaxed);
            for counters in [&broker.metrics.all_topics, &*partition.counters] {
                counters.remote_delete_requests.increment();
            }
            if let Err(error) = self.delete_segment(broker, segment).await {
                for counters in [&broker.metrics.all_topics, &*partition.counters] {
                    counters.remote_delete_errors.increment();
                }
                return Err(error);
            }
            left -= u64::from(segment.size);
            tracing::info!(
                %partition, base = %segment.start, end = %segment.end, id = %segment.id.id,
                "deleted a segment from tiered storage"
            );
        }
        tracked.gauges.delete_lag_bytes.store(0, Ordering::Relaxed);
        tracked.gauges.delete_lag_segments.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Deletes a segment, and what is kept of it here.
    pub(super) async fn delete_segment(
        &self,
        broker: &Broker,
        segment: &SegmentMetadata,
    ) -> Result<(), TieringError> {
        steps::delete(&Recording { tier: self, broker }, &self.store, segment).await?;
        self.reader.indexes().remove(segment.id.id).await;
        self.reader.chunks().remove(segment.id.id);
        Ok(())
    }

    /// Deletes all segments of a partition that is gone, or that was told to give them up
    /// (`remote.log.delete.on.disable`). After a stop in the middle of it the next process goes on.
    pub(super) async fn give_up(&self, broker: &Broker, tracked: &Tracked) -> Result<(), TieringError> {
        let (segments, copying) = {
            let catalog = tracked.catalog.lock();
            (catalog.all().cloned().collect::<Vec<_>>(), self.copying.lock().clone())
        };
        for segment in segments.iter().filter(|it| !copying.contains(&it.id.id)) {
            broker.metrics.all_topics.remote_delete_requests.increment();
            if let Err(error) = self.delete_segment(broker, segment).await {
                broker.metrics.all_topics.remote_delete_errors.increment();
                return Err(error);
            }
        }
        if !tracked.catalog.lock().is_empty() {
            return Err(TieringError::BeingCopied);
        }
        if !segments.is_empty() {
            tracing::info!(partition = %tracked.partition, "nothing of the partition is tiered any more");
        }
        self.tracked.lock().remove(&(tracked.partition.topic_id, tracked.partition.index));
        Ok(())
    }

    /// Whether all segments of a partition are to go.
    pub(super) fn is_abandoned(&self, broker: &Broker, tracked: &Tracked) -> bool {
        let image = broker.image.load();
        let Some(topic) = image.topics.get(tracked.partition.topic_id) else { return true };
        let led = broker.partitions.get(topic.id, tracked.partition.index.get());
        if led.is_none_or(|it| it.leader_epoch(-1).is_err()) {
            return false;
        }
        let settings = settings_change::topic_settings(&broker.settings.load(), &image, &topic.name);
        !settings.remote_storage_enable && settings.remote_log_delete_on_disable
    }
}
