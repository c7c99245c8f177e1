//! All shards of one kind: taken and left as the metadata says, found by key, looked at when due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use ottla_base::{ErrorCode, LeaderEpoch, Moment};
use ottla_coordinator::{World, partition_for};
use ottla_metadata::Image;
use ottla_storage::producer_state::ProducerOrigin;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::asked::Asked;
use super::kind::{Kind, Reply, Request};
use super::load::{self, LoadError};
use super::seated::{Shard, Standing, plain};
use crate::broker::Broker;
use crate::metrics::coordinators::EventTimes;
use crate::partition::Partition;

/// How long a coordinator whose log could not be read waits before it tries again.
const RELOAD_DELAY: Duration = Duration::from_secs(1);
/// How long nobody looks when nothing is due.
const IDLE: Duration = Duration::from_secs(3_600);

/// The coordinators of one kind, by the numbers of their partitions.
pub(crate) struct Shards<K: Kind> {
    by_index: ArcSwap<BTreeMap<i32, Arc<Shard<K>>>>,
    /// Until when the task that looks after deadlines sleeps, in nanoseconds of the host's clock.
    sleeping_until: AtomicU64,
    earlier: Notify,
    loads: Mutex<LoadTimes>,
    times: EventTimes,
}

/// How long loads took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LoadTimes {
    count: u32,
    total: Duration,
    /// The longest of them.
    pub(crate) max: Duration,
}

impl LoadTimes {
    /// How long they took on average; nothing while there was none.
    pub(crate) fn average(&self) -> Option<Duration> {
        self.total.checked_div(self.count)
    }

    fn note(&mut self, took: Duration) {
        self.count = self.count.saturating_add(1);
        self.total = self.total.saturating_add(took);
        self.max = self.max.max(took);
    }
}

impl<K: Kind> Default for Shards<K> {
    fn default() -> Self {
        Shards {
            by_index: ArcSwap::default(),
            sleeping_until: AtomicU64::new(0),
            earlier: Notify::new(),
            loads: Mutex::default(),
            times: EventTimes::default(),
        }
    }
}

impl<K: Kind> Shards<K> {
    /// Asks the coordinator that keeps the state named `key`.
    pub(crate) fn ask(
        &self,
        broker: &Arc<Broker>,
        key: &str,
        request: impl Into<Request<K>>,
    ) -> Asked<Reply<K>> {
        match self.index_of(broker, key) {
            Some(index) => self.ask_at(broker, index, request, plain()),
            None => Asked::refused(ErrorCode::NotCoordinator),
        }
    }

    /// Asks the coordinator on partition `index`; transactional records are appended with the proof in `origin`.
    pub(crate) fn ask_at(
        &self,
        broker: &Arc<Broker>,
        index: i32,
        request: impl Into<Request<K>>,
        origin: ProducerOrigin,
    ) -> Asked<Reply<K>> {
        match self.by_index.load().get(&index) {
            Some(shard) => shard.ask(broker, request.into(), origin),
            None => Asked::refused(ErrorCode::NotCoordinator),
        }
    }

    /// Asks every coordinator of this kind that this broker has.
    pub(crate) fn ask_every(
        &self,
        broker: &Arc<Broker>,
        request: impl Fn() -> Request<K>,
    ) -> Vec<Asked<Reply<K>>> {
        let shards = self.by_index.load();
        shards.values().map(|shard| shard.ask(broker, request(), plain())).collect()
    }

    /// The partition that keeps the state named `key`; nothing while the topic is not there.
    pub(crate) fn index_of(&self, broker: &Broker, key: &str) -> Option<i32> {
        let image = broker.image.load();
        Some(partition_for(key, image.topics.named(K::TOPIC)?.partition_count))
    }

    /// The log of partition `index`, if this broker coordinates on it.
    pub(crate) fn partition(&self, index: i32) -> Option<Arc<Partition>> {
        self.by_index.load().get(&index).map(|shard| shard.partition.clone())
    }

    /// How many coordinators stand so.
    pub(crate) fn count(&self, standing: Standing) -> usize {
        self.by_index.load().values().filter(|shard| shard.standing() == standing).count()
    }

    /// How long it took to load them, since the broker was started.
    pub(crate) fn load_times(&self) -> LoadTimes {
        *self.loads.lock()
    }

    /// How much waits in the inboxes of all of them.
    pub(crate) fn waiting(&self) -> usize {
        self.by_index.load().values().map(|shard| shard.waiting()).sum()
    }

    /// How long requests wait, and what they wait for.
    pub(crate) fn times(&self) -> &EventTimes {
        &self.times
    }

    /// Takes and leaves shards as the metadata says, and tells the others of the new world.
    pub(super) fn follow(&self, broker: &Arc<Broker>, image: &Image, world: &Arc<World>) {
        let before = self.by_index.load_full();
        let mut after = BTreeMap::new();
        let mut new = Vec::new();
        for (partition, epoch) in led::<K>(broker, image) {
            let index = partition.index.get();
            let known = before.get(&index);
            let known = known.filter(|it| it.epoch == epoch && Arc::ptr_eq(&it.partition, &partition));
            let shard = known.cloned().unwrap_or_else(|| {
                let shard = Arc::new(Shard::loading(partition, epoch));
                new.push(shard.clone());
                shard
            });
            after.insert(index, shard);
        }
        let after = Arc::new(after);
        self.by_index.store(after.clone());
        let stays = |shard: &Arc<Shard<K>>| after.get(&shard.index).is_some_and(|it| Arc::ptr_eq(it, shard));
        before.values().filter(|shard| !stays(shard)).for_each(|shard| shard.leave(broker));
        before.values().filter(|shard| stays(shard)).for_each(|shard| shard.see(broker, world.clone()));
        new.into_iter().for_each(|shard| load_later(broker, shard, Duration::ZERO));
    }

    /// Gives every shard up.
    pub(super) fn leave_all(&self, broker: &Arc<Broker>) {
        let left = self.by_index.swap(Arc::default());
        left.values().for_each(|shard| shard.leave(broker));
    }

    /// A shard could not write: it begins again from its log, unless the metadata says otherwise meanwhile.
    pub(super) fn lost(&self, broker: &Arc<Broker>, lost: &Arc<Shard<K>>) {
        let again = Arc::new(Shard::loading(lost.partition.clone(), lost.epoch));
        self.by_index.rcu(|shards| {
            let mut shards = BTreeMap::clone(shards);
            if shards.get(&lost.index).is_some_and(|it| Arc::ptr_eq(it, lost)) {
                shards.insert(lost.index, again.clone());
            }
            shards
        });
        if self.by_index.load().get(&lost.index).is_some_and(|it| Arc::ptr_eq(it, &again)) {
            load_later(broker, again, RELOAD_DELAY);
        }
    }

    /// A shard wants to be looked at at another time than before.
    pub(super) fn deadline_moved(&self, nanos: u64) {
        if nanos < self.sleeping_until.load(Ordering::Acquire) {
            self.earlier.notify_one();
        }
    }

    /// Looks after every shard when it is due.
    pub(super) async fn run(&self, broker: Arc<Broker>) {
        loop {
            let idle = broker.host.now() + IDLE;
            let nanos = |at: Moment| u64::try_from(at.0.as_nanos()).unwrap_or(u64::MAX);
            self.sleeping_until.store(u64::MAX, Ordering::Release);
            let next = self.by_index.load().values().filter_map(|shard| shard.deadline()).min();
            let next = next.unwrap_or(idle).min(idle);
            self.sleeping_until.store(nanos(next), Ordering::Release);
            tokio::select! {
                biased;
                () = self.earlier.notified() => continue,
                () = broker.host.sleep_until(next) => {}
            }
            let now = broker.host.now();
            for shard in self.by_index.load_full().values() {
                if shard.deadline().is_some_and(|at| at <= now) {
                    shard.tick(&broker);
                }
            }
            // A shard with much to do must not keep the others from it.
            tokio::task::yield_now().await;
        }
    }
}

/// The partitions of the topic that this broker leads and has a replica of, with the epochs in which it does.
fn led<K: Kind>(broker: &Broker, image: &Image) -> Vec<(Arc<Partition>, LeaderEpoch)> {
    let Some(topic) = image.topics.named(K::TOPIC) else { return Vec::new() };
    let partitions = image.topics.partitions(topic.id);
    let mine = partitions.filter(|(_, partition)| partition.leader == broker.node_id);
    let hosted = mine.filter_map(|(index, partition)| {
        Some((broker.partitions.get(topic.id, index.get())?, partition.leader_epoch))
    });
    hosted.collect()
}

fn load_later<K: Kind>(broker: &Arc<Broker>, shard: Arc<Shard<K>>, delay: Duration) {
    let broker = broker.clone();
    let host = broker.host.clone();
    host.spawn(async move {
        let mut delay = delay;
        loop {
            if !delay.is_zero() {
                broker.host.sleep(delay).await;
            }
            if !shard.is_wanted() || load_once(&broker, &shard).await {
                return;
            }
            delay = RELOAD_DELAY;
        }
    });
}

/// Loads a shard and takes its seat. Says whether there is nothing left to do.
async fn load_once<K: Kind>(broker: &Arc<Broker>, shard: &Arc<Shard<K>>) -> bool {
    let began = broker.host.now();
    shard.stands(Standing::Loading);
    let loading = {
        let (broker, shard) = (broker.clone(), shard.clone());
        move || {
            let piece_bytes = K::load_buffer_bytes(&broker.settings.load().server).unsigned_abs();
            load::load::<K>(&broker.host, &shard.partition.log(), piece_bytes, || shard.is_wanted())
        }
    };
    match broker.host.blocking(loading).await {
        Ok(loaded) => {
            let records = loaded.records;
            shard.take(broker, loaded);
            let took = broker.host.now().since(began);
            K::shards(broker).loads.lock().note(took);
            if records > 0 {
                tracing::info!(coordinator = K::NAME, partition = %shard.partition, records, ?took, "loaded");
            }
            true
        }
        Err(LoadError::GivenUp) => true,
        Err(error) => {
            shard.stands(Standing::Failed);
            tracing::error!(
                coordinator = K::NAME, partition = %shard.partition, %error,
                "the coordinator cannot be loaded; what it keeps is not available"
            );
            false
        }
    }
}
