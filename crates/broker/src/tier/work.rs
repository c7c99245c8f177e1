//! When which partition is looked after: at once when this broker begins to lead it, and then after each interval.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{Moment, Str};
use ottla_metadata::settings::broker::TieredStorageSettings;
use parking_lot::Mutex;

use super::{Key, Tier, TieringError, unsigned};
use crate::auto_create;
use crate::broker::Broker;
use crate::partition::Partition;
use crate::topic::REMOTE_LOG_METADATA;

/// How often it is looked at least, and at most, whether anything is due.
const LOOK_INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(20)];
/// How long the topic of the records may take before it is asked for again.
const CREATE_INTERVAL: Duration = Duration::from_secs(5);

/// When a partition is looked after next.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Moment,
    failures: u32,
    /// The epoch in which it was led.
    epoch: i32,
}

/// What is due, and what is being done.
#[derive(Default)]
struct Plan {
    due: BTreeMap<Key, Due>,
    busy: BTreeSet<Key>,
}

impl Tier {
    /// Looks after every tiered partition of this broker, for as long as it runs.
    pub(crate) async fn run(self: Arc<Self>, broker: Arc<Broker>) {
        let plan = Arc::new(Mutex::new(Plan::default()));
        let mut create_at = self.host.now();
        loop {
            let now = self.host.now();
            let settings = broker.settings.load_full();
            let tiered = &settings.server.tiered;
            if now >= create_at && broker.image.load().topics.named(REMOTE_LOG_METADATA).is_none() {
                auto_create::request(&broker, vec![Str::from_static(REMOTE_LOG_METADATA)]);
                create_at = now + CREATE_INTERVAL;
            }
            self.replay_all(&broker).await;
            let next = self.start_due(&broker, &plan, tiered);
            self.delete_abandoned(&broker).await;
            if let Ok(ttl_ms) = u64::try_from(tiered.remote_log_index_file_cache_ttl_ms) {
                self.reader.indexes().expire(Duration::from_millis(ttl_ms));
            }
            let [longest, shortest] = LOOK_INTERVALS;
            let wait = next.map_or(longest, |it| it.since(self.host.now())).clamp(shortest, longest);
            // What wakes and what is due are looked at together.
            let _ = self.host.timeout(wait, self.changed.notified()).await;
        }
    }

    /// Starts what is due, unless it is being done. Gives when something is due next.
    fn start_due(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        plan: &Arc<Mutex<Plan>>,
        tiered: &TieredStorageSettings,
    ) -> Option<Moment> {
        let now = self.host.now();
        let partitions = broker.partitions.all();
        let ours: Vec<_> = partitions.iter().filter(|it| it.log().config().tiering.is_some()).collect();
        let mut held = plan.lock();
        let keys: BTreeSet<Key> = ours.iter().map(|it| Tier::key(it)).collect();
        held.due.retain(|key, _| keys.contains(key));
        for partition in ours {
            let key = Tier::key(partition);
            let epoch = partition.leadership().leader_epoch.get();
            let due = held.due.get(&key).copied().filter(|it| it.epoch == epoch);
            if held.busy.contains(&key) || due.is_some_and(|it| it.at > now) {
                continue;
            }
            held.busy.insert(key);
            let failures = due.map_or(0, |it| it.failures);
            let (tier, broker, plan, partition) =
                (self.clone(), broker.clone(), plan.clone(), partition.clone());
            let pause = Pause::of(tiered);
            self.host.spawn(async move {
                let done = tier.look_after(&broker, &partition).await;
                let failures = match &done {
                    Ok(()) => 0,
                    Err(_) => failures.saturating_add(1),
                };
                if let Err(error) = done {
                    tell(&partition, &error, failures);
                }
                let at = tier.host.now() + pause.after(failures, tier.host.random_u64());
                let mut plan = plan.lock();
                plan.busy.remove(&key);
                plan.due.insert(key, Due { at, failures, epoch });
            });
        }
        let waiting = held.due.iter().filter(|(key, _)| !held.busy.contains(key));
        waiting.map(|(_, due)| due.at).min()
    }

    async fn look_after(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        partition: &Arc<Partition>,
    ) -> Result<(), TieringError> {
        let tracked = self.tracked(partition);
        if !self.is_ready(broker, &tracked.partition).await {
            return Err(TieringError::NotReady);
        }
        if partition.leader_epoch(-1).is_err() {
            let _slot = self.followers.take().await;
            self.note_tiered_end(partition, &tracked);
            return Ok(());
        }
        let copied = {
            let _slot = self.copiers.take().await;
            self.copy(broker, partition, &tracked).await
        };
        let _slot = self.expirers.take().await;
        let expired = self.expire(broker, partition, &tracked).await;
        copied.and(expired)
    }
}

/// How long a partition is left alone.
struct Pause {
    interval: Duration,
    first: Duration,
    longest: Duration,
    jitter: f64,
}

impl Pause {
    fn of(tiered: &TieredStorageSettings) -> Pause {
        let ms = |it| Duration::from_millis(unsigned(it));
        Pause {
            interval: ms(tiered.remote_log_manager_task_interval_ms),
            first: ms(tiered.remote_log_manager_task_retry_backoff_ms),
            longest: ms(tiered.remote_log_manager_task_retry_backoff_max_ms),
            jitter: tiered.remote_log_manager_task_retry_jitter,
        }
    }

    /// After this many failures in a row.
    fn after(&self, failures: u32, random: u64) -> Duration {
        if failures == 0 {
            return self.interval;
        }
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let part = (random % 2_000) as f64 / 1_000.0 - 1.0;
        doubled.min(self.longest).mul_f64((1.0 + self.jitter * part).max(0.0))
    }
}

/// Tells of a failure: of the first, and now and then of those that follow.
fn tell(partition: &Partition, error: &TieringError, failures: u32) {
    match error {
        TieringError::NotReady | TieringError::NotLeader => {
            tracing::debug!(%partition, %error, "tiering waits");
        }
        _ if failures.is_power_of_two() => {
            tracing::warn!(%partition, %error, failures, "tiering failed, it is tried again");
        }
        _ => tracing::debug!(%partition, %error, failures, "tiering failed, it is tried again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_make_the_pause_longer_up_to_the_longest() {
        let ms = Duration::from_millis;
        let pause = Pause { interval: ms(30_000), first: ms(500), longest: ms(4_000), jitter: 0.2 };
        assert_eq!(pause.after(0, 7), ms(30_000));
        assert_eq!(pause.after(1, 1_000), ms(500));
        assert_eq!(pause.after(2, 1_000), ms(1_000));
        assert_eq!(pause.after(40, 1_000), ms(4_000));
        assert_eq!(pause.after(1, 0), ms(400));
        assert!(pause.after(1, 1_999) < ms(600));
    }
}
