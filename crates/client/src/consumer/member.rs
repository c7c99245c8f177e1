//! What a consumer and the task that keeps its membership tell each other.
//!
//! The task speaks the group's protocol, whichever it is. It never touches what is fetched: it demands, and the
//! consumer does it in its next `poll`, when the caller is done with the records of the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ErrorCode, Moment, Str};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::assignor::NO_GENERATION;
use super::offsets::{self, Committed, CommittedOffset, Stability};
use crate::cluster::{Cluster, Deadline, TopicPartition};
use crate::coordinator::Coordinator;
use crate::error::Error;
use crate::options::ConsumerOptions;

/// Who a member is to its coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The generation, or the member's epoch; negative if it is no member.
    pub(crate) generation: i32,
    pub(crate) member_id: Str,
}

impl Default for Identity {
    fn default() -> Self {
        Identity { generation: NO_GENERATION, member_id: Str::default() }
    }
}

/// What a consumer wants to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subscription {
    Topics(BTreeSet<Str>),
    /// With the classic protocol matched here, else by the server.
    Pattern(Str),
}

/// Whether a member that ends leaves its group (KIP-1092).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leaving {
    /// It leaves, unless it has a `group.instance.id`: then it is expected back.
    #[default]
    Default,
    /// It leaves, and its partitions go to others at once.
    Leave,
    /// It stays until it comes back or the session ends.
    Remain,
}

/// What the consumer wants of the task.
#[derive(Debug, Clone, Default)]
pub(super) struct Control {
    pub(super) subscription: Option<Subscription>,
    /// Counts changes that ask for a new round of sharing out.
    pub(super) number: u64,
    /// Counts unsubscriptions: what was demanded before does not count.
    pub(super) round: u64,
    /// Set once the consumer ends.
    pub(super) closing: Option<Leaving>,
}

/// What the task wants of the consumer.
#[derive(Debug)]
pub(super) enum Demand {
    /// Fetch these as well, from where they were committed.
    Assign(BTreeMap<TopicPartition, Option<CommittedOffset>>),
    /// Fetch these no more, and tell how far they were read.
    Revoke(BTreeSet<TopicPartition>, oneshot::Sender<Committed>),
    /// Somebody else may have all there was.
    LoseAll,
    /// Something went wrong that concerns the caller; membership goes on.
    Complain(Error),
    /// Membership is over.
    Fail(Error),
}

/// How many demands may wait for a consumer that does not poll.
pub(super) const DEMANDS_MAX: usize = 64;

/// A group, as a consumer and its task share it.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: Str,
    pub(super) instance_id: Option<Str>,
    pub(super) coordinator: Coordinator,
    identity: Mutex<Identity>,
    polled: Mutex<Moment>,
    /// Tells that the consumer has polled.
    pub(super) polls: Notify,
}

impl Group {
    pub(super) fn new(id: Str, instance_id: Option<Str>, coordinator: Coordinator, now: Moment) -> Group {
        Group {
            id,
            instance_id,
            coordinator,
            identity: Mutex::default(),
            polled: Mutex::new(now),
            polls: Notify::new(),
        }
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity.lock().clone()
    }

    pub(super) fn set_identity(&self, identity: Identity) {
        *self.identity.lock() = identity;
    }

    /// The same member, without a place in the group.
    pub(super) fn forget_generation(&self) {
        self.identity.lock().generation = NO_GENERATION;
    }

    pub(super) fn set_polled(&self, now: Moment) {
        *self.polled.lock() = now;
        self.polls.notify_one();
    }

    pub(super) fn polled(&self) -> Moment {
        *self.polled.lock()
    }
}

/// What the tasks of both protocols work with.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) cluster: Cluster,
    pub(super) group: Arc<Group>,
    pub(super) options: Arc<ConsumerOptions>,
    pub(super) rack: Option<Str>,
    pub(super) may_create_topics: bool,
    pub(super) stability: Stability,
    pub(super) demands: mpsc::Sender<(u64, Demand)>,
    /// The round of the subscription that is being served.
    pub(super) round: u64,
}

/// Why membership ends, for now or for good.
#[derive(Debug)]
pub(super) enum Ending {
    Closed(Leaving),
    Unsubscribed,
    /// The consumer has not polled for `max.poll.interval.ms`.
    PolledTooLate,
    Failed(Error),
}

/// What interrupts the task.
#[derive(Debug)]
pub(super) enum Interruption {
    Ending(Ending),
    /// The consumer wants something else.
    Changed,
}

impl Context {
    pub(super) async fn demand(&self, demand: Demand) {
        // A consumer that is gone needs nothing.
        let _ = self.demands.send((self.round, demand)).await;
    }

    /// Tells the caller about something that passes; if it does not poll, once is enough.
    pub(super) fn complain(&self, error: Error) {
        let _ = self.demands.try_send((self.round, Demand::Complain(error)));
    }

    fn max_poll_interval(&self) -> Duration {
        Duration::from_millis(self.options.max_poll_interval_ms.unsigned_abs().into())
    }

    /// Lets the consumer go from `owned` to `target`: first it gives up, and what it read is committed; then it gets
    /// what is new, from where it was committed.
    pub(super) async fn hand_over(
        self,
        owned: BTreeSet<TopicPartition>,
        target: BTreeSet<TopicPartition>,
    ) -> Result<BTreeSet<TopicPartition>, Error> {
        let given_up: BTreeSet<_> = owned.difference(&target).cloned().collect();
        if !given_up.is_empty() {
            self.revoke(given_up).await;
        }
        let added: Vec<_> = target.difference(&owned).cloned().collect();
        if !added.is_empty() {
            let committed = self.committed(&added).await?;
            self.demand(Demand::Assign(committed)).await;
        }
        Ok(target)
    }

    async fn revoke(&self, partitions: BTreeSet<TopicPartition>) {
        let (reply, read) = oneshot::channel();
        self.demand(Demand::Revoke(partitions, reply)).await;
        let read = read.await.unwrap_or_default();
        if !self.options.enable_auto_commit || read.is_empty() {
            return;
        }
        let deadline = self.cluster.deadline("committing offsets of partitions that are given up");
        if let Err(error) = self.commit(&read, deadline).await {
            tracing::warn!(group = %self.group.id, %error, "offsets of partitions that were given up are not committed");
        }
    }

    /// Commits as this member.
    pub(super) async fn commit(&self, offsets: &Committed, deadline: Deadline) -> Result<(), Error> {
        let group = (&self.group.id, self.group.instance_id.as_ref());
        let mut backoff = self.cluster.retry_backoff();
        loop {
            let identity = || self.group.identity();
            let sent = self.group.identity();
            let codes =
                offsets::commit(&self.group.coordinator, &self.cluster, group, identity, offsets, deadline)
                    .await?;
            match offsets::first_refusal(codes) {
                // The epoch has moved on meanwhile: with the new one it is right.
                Err(error)
                    if error.code() == Some(ErrorCode::StaleMemberEpoch)
                        && sent != self.group.identity()
                        && self.group.identity().generation >= 0 => {}
                Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
                    self.cluster.pause(&mut backoff, deadline, &mut Some(error)).await?;
                }
                done => return done,
            }
        }
    }

    /// Where partitions were committed, asked until it is known.
    async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Option<CommittedOffset>>, Error> {
        let mut backoff = self.cluster.retry_backoff();
        loop {
            let deadline = self.cluster.deadline("asking for committed offsets");
            let error = match self.committed_by(partitions, deadline).await {
                Ok(committed) => return Ok(committed),
                Err(error) => error,
            };
            let passes = error.is_retriable() || error.code() == Some(ErrorCode::StaleMemberEpoch);
            if !passes {
                return Err(error);
            }
            tracing::debug!(group = %self.group.id, %error, "committed offsets are not known yet");
            self.cluster.host().sleep(backoff.next(self.cluster.host())).await;
        }
    }

    /// Where partitions were committed.
    pub(super) async fn committed_by(
        &self,
        partitions: &[TopicPartition],
        deadline: Deadline,
    ) -> Result<BTreeMap<TopicPartition, Option<CommittedOffset>>, Error> {
        let identity = || {
            let identity = self.group.identity();
            (self.options.uses_consumer_protocol() && identity.generation >= 0).then_some(identity)
        };
        let fetched = offsets::fetch(
            &self.group.coordinator,
            &self.cluster,
            &self.group.id,
            identity,
            Some(partitions),
            self.stability,
            deadline,
        );
        let mut fetched = fetched.await?;
        let of = |it: &TopicPartition| Ok((it.clone(), fetched.remove(it).unwrap_or(Ok(None))?));
        partitions.iter().map(of).collect()
    }

    /// Waits until the consumer has polled since the moment.
    pub(super) async fn polled_after(&self, moment: Moment) {
        while self.group.polled() <= moment {
            self.group.polls.notified().await;
        }
    }
}

/// Waits until the consumer ends, wants something else than what had the number `seen`, or has not polled for long.
pub(super) async fn interruption(
    control: &mut watch::Receiver<Control>,
    context: &Context,
    seen: u64,
) -> Interruption {
    loop {
        {
            let now = control.borrow_and_update();
            if let Some(leaving) = now.closing {
                return Interruption::Ending(Ending::Closed(leaving));
            }
            if now.subscription.is_none() || now.round != context.round {
                return Interruption::Ending(Ending::Unsubscribed);
            }
            if now.number != seen {
                return Interruption::Changed;
            }
        }
        let host = context.cluster.host();
        let late_at = context.group.polled() + context.max_poll_interval();
        if host.now() >= late_at {
            return Interruption::Ending(Ending::PolledTooLate);
        }
        tokio::select! {
            biased;
            changed = control.changed() => if changed.is_err() {
                return Interruption::Ending(Ending::Closed(Leaving::Default));
            },
            () = host.sleep_until(late_at) => {}
        }
    }
}

/// Waits for a subscription; `None` if the consumer ends first.
pub(super) async fn next_subscription(
    control: &mut watch::Receiver<Control>,
    context: &mut Context,
) -> Option<(Subscription, u64)> {
    loop {
        {
            let now = control.borrow_and_update();
            if now.closing.is_some() {
                return None;
            }
            if let Some(subscription) = &now.subscription {
                context.round = now.round;
                return Some((subscription.clone(), now.number));
            }
        }
        control.changed().await.ok()?;
    }
}
