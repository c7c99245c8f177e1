//! When which partition is looked after: at once when this broker begins to lead it, and then after each interval.
//!
//! Each kind of work of each partition is a task of its own, and all of them end with [`Tier::run`]: a store that does
//! not answer holds up nothing but what was asked of it, and no stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{Moment, Str};
use ottla_metadata::settings::broker::TieredStorageSettings;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{Key, Tier, TieringError, Tracked, unsigned};
use crate::auto_create;
use crate::broker::Broker;
use crate::partition::Partition;
use crate::topic::REMOTE_LOG_METADATA;

/// How often it is looked at least, and at most, whether anything is due.
const LOOK_INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(20)];
/// How long the topic of the records may take before it is asked for again.
const CREATE_INTERVAL: Duration = Duration::from_secs(5);

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Copying what is sealed.
    Copy,
    /// Deleting what is kept no longer.
    Expire,
    /// Deleting all of a partition that is gone, or tiered no more.
    GiveUp,
}

/// Something that is to be done now and then.
struct Work {
    of: (Key, Kind),
    /// The epoch in which the partition was led.
    epoch: i32,
    subject: Subject,
}

/// What something is done with.
enum Subject {
    Here(Arc<Partition>),
    Abandoned(Arc<Tracked>),
}

/// When something is done next.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Moment,
    failures: u32,
    epoch: i32,
}

/// What is due, and what is being done.
#[derive(Default)]
struct Plan {
    due: BTreeMap<(Key, Kind), Due>,
    busy: BTreeSet<(Key, Kind)>,
}

impl Tier {
    /// Looks after every tiered partition of this broker, for as long as it runs.
    pub(crate) async fn run(self: Arc<Self>, broker: Arc<Broker>) {
        let plan = Arc::new(Mutex::new(Plan::default()));
        let mut working = JoinSet::new();
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
            // A panic there is a bug and has been reported where it happened.
            while working.try_join_next().is_some() {}
            let next = self.start_due(&broker, &plan, &mut working);
            if let Ok(ttl_ms) = u64::try_from(tiered.remote_log_index_file_cache_ttl_ms) {
                self.reader.indexes().expire(Duration::from_millis(ttl_ms));
            }
            let [longest, shortest] = LOOK_INTERVALS;
            let wait = next.map_or(longest, |it| it.since(self.host.now())).clamp(shortest, longest);
            // What wakes and what is due are looked at together.
            let _ = self.host.timeout(wait, self.changed.notified()).await;
        }
    }

    /// Everything that there is to do.
    fn work(&self, broker: &Broker) -> Vec<Work> {
        let mut work = Vec::new();
        for partition in broker.partitions.all() {
            if partition.log().config().tiering.is_none() {
                continue;
            }
            for kind in [Kind::Copy, Kind::Expire] {
                work.push(Work {
                    of: (Tier::key(&partition), kind),
                    epoch: partition.leadership().leader_epoch.get(),
                    subject: Subject::Here(partition.clone()),
                });
            }
        }
        let tracked: Vec<Arc<Tracked>> = self.tracked.lock().values().cloned().collect();
        for tracked in tracked.into_iter().filter(|it| self.is_abandoned(broker, it)) {
            let key = (tracked.partition.topic_id, tracked.partition.index);
            let subject = Subject::Abandoned(tracked);
            work.push(Work { of: (key, Kind::GiveUp), epoch: -1, subject });
        }
        work
    }

    /// Starts what is due, unless it is being done. Gives when something is due next.
    fn start_due(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        plan: &Arc<Mutex<Plan>>,
        working: &mut JoinSet<()>,
    ) -> Option<Moment> {
        let now = self.host.now();
        let work = self.work(broker);
        let mut held = plan.lock();
        let known: BTreeSet<_> = work.iter().map(|it| it.of).collect();
        held.due.retain(|of, _| known.contains(of));
        for work in work {
            let due = held.due.get(&work.of).copied().filter(|it| it.epoch == work.epoch);
            if held.busy.contains(&work.of) || due.is_some_and(|it| it.at > now) {
                continue;
            }
            held.busy.insert(work.of);
            let before = due.map_or(0, |it| it.failures);
            let (tier, broker, plan) = (self.clone(), broker.clone(), plan.clone());
            working.spawn(async move {
                let done = tier.perform(&broker, &work).await;
                let failures = if done.is_ok() { 0 } else { before.saturating_add(1) };
                if let Err(error) = &done {
                    tell(&work, error, failures);
                }
                let pause = Pause::of(&broker.settings.load().server.tiered);
                let at = tier.host.now() + pause.after(failures, tier.host.random_u64());
                let mut plan = plan.lock();
                plan.busy.remove(&work.of);
                plan.due.insert(work.of, Due { at, failures, epoch: work.epoch });
            });
        }
        let waiting = held.due.iter().filter(|(of, _)| !held.busy.contains(of));
        waiting.map(|(_, due)| due.at).min()
    }

    async fn perform(&self, broker: &Broker, work: &Work) -> Result<(), TieringError> {
        let partition = match &work.subject {
            Subject::Here(partition) => partition,
            Subject::Abandoned(tracked) => {
                let _slot = self.expirers.take().await;
                return self.give_up(broker, tracked).await;
            }
        };
        let tracked = self.tracked(partition);
        if !self.is_ready(broker, &tracked.partition).await {
            return Err(TieringError::NotReady);
        }
        let leads = partition.leader_epoch(-1).is_ok();
        match work.of.1 {
            Kind::Copy if leads => {
                let _slot = self.copiers.take().await;
                self.copy(broker, partition, &tracked).await
            }
            Kind::Copy => {
                let _slot = self.followers.take().await;
                self.note_tiered_end(partition, &tracked);
                Ok(())
            }
            Kind::Expire if leads => {
                let _slot = self.expirers.take().await;
                self.expire(broker, partition, &tracked).await
            }
            Kind::Expire | Kind::GiveUp => Ok(()),
        }
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
fn tell(work: &Work, error: &TieringError, failures: u32) {
    let partition: &dyn std::fmt::Display = match &work.subject {
        Subject::Here(partition) => partition,
        Subject::Abandoned(tracked) => &tracked.partition,
    };
    let kind = work.of.1;
    match error {
        TieringError::NotReady | TieringError::NotLeader | TieringError::BeingCopied => {
            tracing::debug!(%partition, ?kind, %error, "tiering waits");
        }
        _ if failures.is_power_of_two() => {
            tracing::warn!(%partition, ?kind, %error, failures, "tiering failed, it is tried again");
        }
        _ => tracing::debug!(%partition, ?kind, %error, failures, "tiering failed, it is tried again"),
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
