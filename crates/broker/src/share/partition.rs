//! One partition as one share group has it in flight, loaded and kept through the persister.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ottla_base::{ErrorCode, LeaderEpoch, Moment, Str, Timestamp};
use ottla_coordinator::share_partition::{
    Acknowledgement, Acquire, AcquiredRange, Persisted, SharePartition, Write,
};
use ottla_coordinator::share_state::{SharePartitionKey, State};
use ottla_metadata::controller::Refusal;
use ottla_metadata::settings::checks::duration_ms;
use ottla_storage::{Listener, Progress};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{GroupRules, dead_letters, nanos, persister};
use crate::broker::Broker;
use crate::partition::Partition;

/// No lock can run out.
const NEVER: u64 = u64::MAX;

/// One partition as one share group has it in flight, in one epoch of the partition's leader.
pub(crate) struct TrackedPartition {
    /// Which.
    pub key: SharePartitionKey,
    /// Its log.
    pub partition: Arc<Partition>,
    leader_epoch: LeaderEpoch,
    state: Mutex<TrackedState>,
    /// Moves when there may be something to acquire.
    progress: Progress,
    /// When a lock may run out, in nanoseconds of the host's clock.
    deadline: AtomicU64,
}

enum TrackedState {
    Loading,
    Active(Box<SharePartition>),
    /// It could not be loaded, or is not to be used any more.
    Over(Refusal),
}

/// How it stands with a share partition.
#[derive(Debug)]
pub(crate) enum Standing {
    /// It is being loaded.
    Loading,
    /// Reading from here on may bring something.
    Acquirable {
        /// Where to read.
        offset: i64,
        /// The last record in flight.
        end: i64,
    },
    /// Enough is in flight.
    Full,
    /// It cannot be had.
    Over(Refusal),
}

/// A change of state whose end may still be waited for.
pub(crate) enum Acknowledging {
    /// It is over.
    Over(Option<Result<(), Refusal>>),
    /// It will be.
    Coming(oneshot::Receiver<Result<(), Refusal>>),
}

impl Acknowledging {
    /// It is refused.
    pub(crate) fn refused(refusal: Refusal) -> Acknowledging {
        Acknowledging::Over(Some(Err(refusal)))
    }

    /// Waits for the end.
    pub(crate) async fn end(self) -> Result<(), Refusal> {
        let lost = || Err(Refusal::in_common_words(ErrorCode::UnknownServerError));
        match self {
            Acknowledging::Over(result) => result.unwrap_or_else(lost),
            Acknowledging::Coming(receiver) => receiver.await.unwrap_or_else(|_| lost()),
        }
    }
}

impl TrackedPartition {
    /// A share partition that is yet to be loaded.
    pub(super) fn loading(
        key: SharePartitionKey,
        partition: Arc<Partition>,
        leader_epoch: LeaderEpoch,
    ) -> TrackedPartition {
        TrackedPartition {
            key,
            partition,
            leader_epoch,
            state: Mutex::new(TrackedState::Loading),
            progress: Progress::new(),
            deadline: AtomicU64::new(NEVER),
        }
    }

    /// Whether this broker still leads in the epoch it was loaded in.
    pub(super) fn is_led(&self) -> bool {
        self.partition.leader_epoch(-1) == Ok(self.leader_epoch)
    }

    /// When a lock may run out.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match self.deadline.load(Ordering::Acquire) {
            NEVER => None,
            nanos => Some(Moment(Duration::from_nanos(nanos))),
        }
    }

    /// The next time that there may be something to acquire wakes `listener`.
    pub(crate) fn listen(&self, listener: &Listener) {
        self.progress.listen(listener);
    }

    /// It is not to be used any more.
    pub(super) fn fence(&self) {
        let mut state = self.state.lock();
        if !matches!(*state, TrackedState::Over(_)) {
            *state = TrackedState::Over(Refusal::in_common_words(ErrorCode::NotLeaderOrFollower));
        }
        drop(state);
        self.deadline.store(NEVER, Ordering::Release);
        self.progress.moved();
    }

    /// Takes up what was persisted.
    pub(super) async fn load(self: Arc<Self>, broker: Arc<Broker>) {
        let began = broker.host.now();
        let loaded = self.try_load(&broker).await;
        let took = broker.host.now().since(began).as_micros();
        broker.metrics.shares.partition_load_us.record(u64::try_from(took).unwrap_or(u64::MAX));
        if let Err(refusal) = loaded {
            tracing::debug!(
                group = %self.key.group, partition = %self.partition, code = ?refusal.code,
                "a share partition could not be loaded"
            );
            let mut state = self.state.lock();
            if matches!(*state, TrackedState::Loading) {
                *state = TrackedState::Over(refusal);
            }
            drop(state);
            broker.share.forget(&self);
        }
        self.progress.moved();
    }

    async fn try_load(self: &Arc<Self>, broker: &Arc<Broker>) -> Result<(), Refusal> {
        let state = persister::read(broker, &self.key, self.leader_epoch.get()).await?;
        let group = broker.share.rules(broker, &self.key.group).map_err(Refusal::in_common_words)?;
        let start = match state.start_offset {
            -1 => self.first_offset(broker, &group.auto_offset_reset).await?,
            start => start,
        };
        self.take_up(broker, &state, start, &group)
    }

    fn take_up(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        state: &State,
        start: i64,
        group: &GroupRules,
    ) -> Result<(), Refusal> {
        let taken_up = SharePartition::load(state, start, self.leader_epoch.get(), &group.rules);
        let (share, dead_letters) = taken_up.map_err(|error| {
            tracing::error!(
                group = %self.key.group, partition = %self.partition, %error,
                "the state of a share partition contradicts itself"
            );
            let words =
                format!("Failed to initialize the share partition {}-{}", self.key.group, self.partition);
            Refusal::new(ErrorCode::UnknownServerError, words)
        })?;
        let mut held = self.state.lock();
        if !matches!(*held, TrackedState::Loading) {
            return Ok(());
        }
        *held = TrackedState::Active(Box::new(share));
        drop(held);
        dead_letters::send(broker, self, group, dead_letters);
        Ok(())
    }

    /// Where a group begins that was never here (`share.auto.offset.reset`).
    async fn first_offset(&self, broker: &Broker, strategy: &str) -> Result<i64, Refusal> {
        let log = self.partition.log();
        let view = log.view();
        match strategy {
            "earliest" => return Ok(view.log_start.get()),
            "latest" => return Ok(view.high_watermark.get()),
            _ => {}
        }
        let before = strategy.split_once(':').and_then(|(_, text)| duration_ms(text)).unwrap_or(0);
        let at = broker.host.wall_clock().get().saturating_sub(before);
        let found = broker.host.blocking(move || log.offset_for_timestamp(Timestamp(at))).await;
        match found {
            Ok(Some(found)) => Ok(found.offset.get().min(view.high_watermark.get())),
            Ok(None) => {
                let words =
                    format!("Offset for timestamp {at} not found for topic partition: {}", self.partition);
                Err(Refusal::new(ErrorCode::OffsetNotAvailable, words))
            }
            Err(error) => Err(Refusal::in_common_words(error.error_code())),
        }
    }

    /// Where to read next.
    pub(crate) fn standing(&self, group: &GroupRules) -> Standing {
        match &mut *self.state.lock() {
            TrackedState::Loading => Standing::Loading,
            TrackedState::Over(refusal) => Standing::Over(refusal.clone()),
            TrackedState::Active(share) => match share.can_acquire(&group.rules) {
                true => Standing::Acquirable { offset: share.next_fetch_offset(), end: share.end() },
                false => Standing::Full,
            },
        }
    }

    /// Gives records to a member.
    pub(crate) fn acquire(
        &self,
        broker: &Broker,
        group: &GroupRules,
        asked: &Acquire<'_>,
    ) -> Vec<AcquiredRange> {
        let mut state = self.state.lock();
        let TrackedState::Active(share) = &mut *state else { return Vec::new() };
        let acquired = share.acquire(asked, &group.rules);
        self.note_deadline(broker, share);
        acquired
    }

    /// The log begins later than was thought.
    pub(crate) fn log_start_moved(&self, log_start: i64) {
        let has_moved = match &mut *self.state.lock() {
            TrackedState::Active(share) => share.log_start_moved(log_start),
            TrackedState::Loading | TrackedState::Over(_) => false,
        };
        if has_moved {
            self.progress.moved();
        }
    }

    /// A member says how it went.
    pub(super) fn acknowledge(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        group: &GroupRules,
        member: &Str,
        acknowledgements: &[Acknowledgement],
    ) -> Acknowledging {
        let mut state = self.state.lock();
        let share = match &mut *state {
            TrackedState::Active(share) => share,
            TrackedState::Over(refusal) => return Acknowledging::refused(refusal.clone()),
            TrackedState::Loading => {
                let words = "Batch record not found. The request batch offsets are not found in the cache.";
                return Acknowledging::refused(Refusal::new(ErrorCode::InvalidRecordState, words));
            }
        };
        let now = broker.host.now();
        match share.acknowledge(member, acknowledgements, &group.rules, now) {
            Ok(None) => {
                self.note_deadline(broker, share);
                Acknowledging::Over(Some(Ok(())))
            }
            Ok(Some(write)) => self.persist(broker, group, share, write),
            Err(refusal) => {
                self.note_deadline(broker, share);
                Acknowledging::refused(refusal)
            }
        }
    }

    /// A member leaves.
    pub(super) fn release(self: &Arc<Self>, broker: &Arc<Broker>, group: &GroupRules, member: &Str) {
        let mut state = self.state.lock();
        let TrackedState::Active(share) = &mut *state else { return };
        if let Some(write) = share.release(member, &group.rules) {
            self.persist(broker, group, share, write);
        }
    }

    /// Locks run out.
    pub(super) fn expire(self: &Arc<Self>, broker: &Arc<Broker>, group: &GroupRules) {
        let mut state = self.state.lock();
        let TrackedState::Active(share) = &mut *state else { return };
        let write = share.expire(broker.host.now(), &group.rules);
        self.note_deadline(broker, share);
        if let Some(write) = write {
            // What ran out can be had again, whether or not it is persisted.
            self.progress.moved();
            self.persist(broker, group, share, write);
        }
    }

    /// Given-up records are dealt with.
    pub(super) fn archive_dead_letter(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        group: &GroupRules,
        letter: &ottla_coordinator::share_partition::DeadLetter,
    ) {
        let mut state = self.state.lock();
        let TrackedState::Active(share) = &mut *state else { return };
        let write = share.archive_dead_letter(letter);
        self.persist(broker, group, share, write);
    }

    /// Puts a change before the persister, and settles it when that is known.
    fn persist(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        group: &GroupRules,
        share: &mut SharePartition,
        write: Write,
    ) -> Acknowledging {
        let writing = persister::write(broker, &self.key, &write);
        if writing.is_written() {
            return Acknowledging::Over(Some(self.settle(broker, group, share, &write, Ok(()))));
        }
        let (sender, receiver) = oneshot::channel();
        let (this, broker, group) = (self.clone(), broker.clone(), group.clone());
        broker.host.clone().spawn(async move {
            let result = writing.finish(&broker).await;
            let mut state = this.state.lock();
            let result = match &mut *state {
                TrackedState::Active(share) => this.settle(&broker, &group, share, &write, result),
                // The next leader finds what was persisted.
                TrackedState::Loading | TrackedState::Over(_) => result,
            };
            drop(state);
            this.forget_if_fenced(&broker, &result);
            // Who does not wait any more need not know.
            let _ = sender.send(result);
        });
        Acknowledging::Coming(receiver)
    }

    fn settle(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        group: &GroupRules,
        share: &mut SharePartition,
        write: &Write,
        result: Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let persisted = if result.is_ok() { Persisted::Yes } else { Persisted::No };
        let settled = share.settle(write, persisted);
        self.note_deadline(broker, share);
        if settled.has_moved {
            self.progress.moved();
        }
        dead_letters::send(broker, self, group, settled.dead_letters);
        result
    }

    /// Where the coordinator knows better who leads, or that there is nothing to lead, this is over.
    fn forget_if_fenced(self: &Arc<Self>, broker: &Broker, result: &Result<(), Refusal>) {
        use ErrorCode::{FencedStateEpoch, GroupIdNotFound, NotLeaderOrFollower, UnknownTopicOrPartition};
        let Err(refusal) = result else { return };
        if matches!(
            refusal.code,
            NotLeaderOrFollower | FencedStateEpoch | GroupIdNotFound | UnknownTopicOrPartition
        ) {
            tracing::info!(group = %self.key.group, partition = %self.partition, code = ?refusal.code, "a share partition is fenced off");
            broker.share.forget(self);
        }
    }

    fn note_deadline(&self, broker: &Broker, share: &SharePartition) {
        let at = share.deadline().map_or(NEVER, nanos);
        if self.deadline.swap(at, Ordering::AcqRel) != at {
            broker.share.deadline_moved(at);
        }
    }
}
