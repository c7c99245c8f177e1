//! Share groups on the data path: who fetches what, what is in flight, and that it is persisted (KIP-932,
//! `SharePartitionManager`).
//!
//! | file | holds |
//! |---|---|
//! | `sessions` | share sessions: pure |
//! | `partition` | one partition as one share group has it in flight, loaded and kept through the persister |
//! | `persister` | where the state of share groups is kept: the share coordinator of this broker |
//! | `reading` | what is read of a log for a share group, batch by batch |
//! | `rules` | what holds for a group, as its settings say now |
//! | `dead_letters` | records that a group gave up, on their way to another topic |
//!
//! Invariants: a share partition belongs to one leader epoch and is forgotten with it; whatever a member does is
//! decided under the share partition's lock and reaches the persister in that order; an answer that tells of a change
//! waits until the change is persisted, and a change is settled whether or not anybody still waits for it.

mod dead_letters;
mod partition;
mod persister;
mod reading;
mod rules;
mod sessions;

pub(crate) use partition::{Acknowledging, Standing, TrackedPartition};
pub(crate) use reading::{ReadFailure, Reading, Slice, Wanted, located, read};
pub(crate) use rules::GroupRules;
pub(crate) use sessions::{
    ConnectionKey, FINAL_EPOCH, Found, Opened, SessionKey, SessionRequest, Sessions, TopicPartitionId,
};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ottla_base::{ErrorCode, FastMap, Moment, Str};
use ottla_coordinator::share_partition::Acknowledgement;
use ottla_coordinator::share_state::SharePartitionKey;
use ottla_metadata::controller::Refusal;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::broker::Broker;
use crate::partition::Partition;
use rules::RulesCache;
use sessions::Ended;

/// How long nobody looks when no lock can run out.
const IDLE: Duration = Duration::from_secs(3_600);
/// How soon after one look another one follows at the earliest: locks that were taken in one second run out together.
const LEAST_PAUSE: Duration = Duration::from_millis(10);

/// The share groups of one broker.
#[derive(Default)]
pub(crate) struct ShareGroups {
    /// Who fetches what.
    pub sessions: Sessions,
    partitions: Mutex<FastMap<SharePartitionKey, Arc<TrackedPartition>>>,
    rules: RulesCache,
    /// Until when the task that looks after locks sleeps, in nanoseconds of the host's clock.
    sleeping_until: AtomicU64,
    earlier: Notify,
}

impl ShareGroups {
    /// What holds for a group now.
    pub(crate) fn rules(&self, broker: &Broker, group: &Str) -> Result<GroupRules, ErrorCode> {
        self.rules.of(broker, group)
    }

    /// The share partition, if it is known and still led in the epoch it was loaded in.
    pub(crate) fn get(&self, key: &SharePartitionKey) -> Option<Arc<TrackedPartition>> {
        let known = self.partitions.lock().get(key).cloned()?;
        if known.is_led() {
            return Some(known);
        }
        self.forget(&known);
        None
    }

    /// The share partition; begins to load it if it is not known. Refuses where this broker does not lead.
    pub(crate) fn get_or_load(
        &self,
        broker: &Arc<Broker>,
        key: SharePartitionKey,
        partition: &Arc<Partition>,
    ) -> Result<Arc<TrackedPartition>, ErrorCode> {
        let leader_epoch = partition.leader_epoch(-1)?;
        if let Some(known) = self.get(&key)
            && Arc::ptr_eq(&known.partition, partition)
        {
            return Ok(known);
        }
        let key = SharePartitionKey { group: key.group.detached(), ..key };
        let new = Arc::new(TrackedPartition::loading(key.clone(), partition.clone(), leader_epoch));
        let mut partitions = self.partitions.lock();
        if let Some(known) = partitions.get(&key).filter(|it| it.is_led()) {
            return Ok(known.clone());
        }
        partitions.insert(key, new.clone());
        drop(partitions);
        broker.host.spawn(new.clone().load(broker.clone()));
        Ok(new)
    }

    /// Forgets a share partition: whoever asks next finds it loaded anew.
    pub(crate) fn forget(&self, partition: &Arc<TrackedPartition>) {
        let mut partitions = self.partitions.lock();
        if partitions.get(&partition.key).is_some_and(|it| Arc::ptr_eq(it, partition)) {
            partitions.remove(&partition.key);
        }
        drop(partitions);
        partition.fence();
    }

    /// A member says how it went with records of a partition.
    pub(crate) fn acknowledge(
        &self,
        broker: &Arc<Broker>,
        key: &SharePartitionKey,
        member: &Str,
        acknowledgements: &[Acknowledgement],
    ) -> Acknowledging {
        let Some(partition) = self.get(key) else {
            return Acknowledging::refused(Refusal::in_common_words(ErrorCode::UnknownTopicOrPartition));
        };
        match self.rules(broker, &key.group) {
            Ok(rules) => partition.acknowledge(broker, &rules, member, acknowledgements),
            Err(code) => Acknowledging::refused(Refusal::in_common_words(code)),
        }
    }

    /// Ends a member's session: what it has goes back.
    pub(crate) fn end_session(&self, broker: &Arc<Broker>, key: &SessionKey) {
        if let Some(ended) = self.sessions.end(key) {
            self.release(broker, &ended);
        }
    }

    fn release(&self, broker: &Arc<Broker>, ended: &Ended) {
        let Ok(rules) = self.rules(broker, &ended.key.group) else { return };
        for &(topic, partition) in &ended.partitions {
            let key = SharePartitionKey { group: ended.key.group.clone(), topic, partition };
            if let Some(partition) = self.get(&key) {
                partition.release(broker, &rules, &ended.key.member);
            }
        }
    }

    /// A connection is over: so is the session that began on it. What a group without anybody here has in flight need
    /// not be kept.
    pub(crate) fn disconnected(&self, broker: &Arc<Broker>, connection: &ConnectionKey) {
        let gone = self.sessions.disconnected(connection);
        if let Some(ended) = &gone.ended {
            self.release(broker, ended);
        }
        let Some(group) = gone.empty_group else { return };
        let of_group: Vec<_> = {
            let partitions = self.partitions.lock();
            partitions.values().filter(|it| it.key.group == group).cloned().collect()
        };
        of_group.iter().for_each(|it| self.forget(it));
    }

    /// The metadata has changed: what is not led here any more is forgotten.
    pub(crate) fn follow(&self) {
        let gone: Vec<_> = {
            let partitions = self.partitions.lock();
            partitions.values().filter(|it| !it.is_led()).cloned().collect()
        };
        gone.iter().for_each(|it| self.forget(it));
    }

    /// A lock may run out at another time than before.
    fn deadline_moved(&self, nanos: u64) {
        if nanos < self.sleeping_until.load(Ordering::Acquire) {
            self.earlier.notify_one();
        }
    }

    /// Lets locks run out, for as long as the broker runs.
    pub(crate) async fn run(broker: Arc<Broker>) {
        let share = &broker.share;
        loop {
            let now = broker.host.now();
            let idle = now + IDLE;
            share.sleeping_until.store(u64::MAX, Ordering::Release);
            let next = share.partitions.lock().values().filter_map(|it| it.deadline()).min();
            let next = next.unwrap_or(idle).min(idle).max(now + LEAST_PAUSE);
            share.sleeping_until.store(nanos(next), Ordering::Release);
            tokio::select! {
                biased;
                () = share.earlier.notified() => continue,
                () = broker.host.sleep_until(next) => {}
            }
            let now = broker.host.now();
            let due: Vec<_> = {
                let partitions = share.partitions.lock();
                partitions.values().filter(|it| it.deadline().is_some_and(|at| at <= now)).cloned().collect()
            };
            for partition in due {
                if let Ok(rules) = share.rules(&broker, &partition.key.group) {
                    partition.expire(&broker, &rules);
                }
            }
        }
    }
}

fn nanos(at: Moment) -> u64 {
    u64::try_from(at.0.as_nanos()).unwrap_or(u64::MAX)
}
