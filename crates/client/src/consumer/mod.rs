//! A member of a group: its share of partitions, and its place in them.
//!
//! | file | holds |
//! |---|---|
//! | `member` | what a consumer and the task that keeps its membership tell each other |
//! | `classic` | the protocol in which members share out among themselves |
//! | `consumer_protocol` | the protocol in which the server shares out (KIP-848) |
//! | `assignor` | how a leader shares out, as pure functions |
//! | `subscription` | what members of a classic group tell each other, as bytes |
//! | `offsets` | positions, committed and asked for |
//! | `rebalances` | notices for the caller |
//!
//! Membership lives in a task: heartbeats go on while the caller works. Nothing of it blocks `poll`, and nothing calls
//! back. What the group wants of the consumer is done at the beginning of `poll`, when the caller is done with the
//! records it was given before: so what is committed was worked on.

mod assignor;
mod classic;
mod consumer_protocol;
mod member;
pub(crate) mod offsets;
mod rebalances;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_base::{ErrorCode, Moment, Offset, Str};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub(crate) use self::member::Identity;
pub use self::member::Leaving;
pub use self::offsets::{Committed, CommittedOffset};
pub use self::rebalances::{Rebalance, Rebalances, Revocation};

use self::assignor::Assignor;
use self::member::{Context, Control, DEMANDS_MAX, Demand, Group, Subscription};
use self::offsets::Stability;
use self::rebalances::{NOTICES_MAX, Release};
use crate::cluster::{Cluster, Deadline, TopicPartition, millis};
use crate::coordinator::{Coordinator, Keeper};
use crate::error::{Error, Refusal};
use crate::fetcher::{Fetched, Fetcher, Position};
use crate::options::{ConsumerOptions, FetcherOptions};

/// Reads topics, alone or as a member of a group. Dropped, it leaves the group in the background, without a last
/// commit; [`Consumer::close`] commits, leaves, and waits until that is done.
#[derive(Debug)]
pub struct Consumer {
    cluster: Cluster,
    options: Arc<ConsumerOptions>,
    fetcher: Fetcher,
    /// What is needed for the group, if there is one.
    context: Option<Context>,
    control: watch::Sender<Control>,
    demands: mpsc::Receiver<(u64, Demand)>,
    task: Option<JoinHandle<()>>,
    /// What is this consumer's, whether or not its position is known.
    assignment: BTreeSet<TopicPartition>,
    is_subscribed: bool,
    notices: Option<mpsc::Sender<Rebalance>>,
    auto_commit_at: Moment,
    auto_commit: Option<JoinHandle<()>>,
    /// Why membership is over.
    fatal: Option<Error>,
}

/// Who commits for a group, for transactions (`ConsumerGroupMetadata`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadata {
    /// The group.
    pub group_id: Str,
    /// The generation, or the member's epoch; -1 if it is no member.
    pub generation: i32,
    /// The member; empty if it is none.
    pub member_id: Str,
    /// Its `group.instance.id`.
    pub instance_id: Option<Str>,
}

impl GroupMetadata {
    /// Somebody who is no member of the group: nothing fences what it commits.
    pub fn outside(group_id: &str) -> GroupMetadata {
        GroupMetadata {
            group_id: group_id.into(),
            generation: -1,
            member_id: Str::default(),
            instance_id: None,
        }
    }
}

/// Between two looks at what the group wants.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long closing may wait for the task beyond what the last commit took.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

impl Consumer {
    /// A consumer that reads nothing yet. Each consumer should have a [`Cluster`] of its own: a fetch that waits holds
    /// up others on the same connection.
    pub fn new(
        cluster: &Cluster,
        options: ConsumerOptions,
        fetcher_options: FetcherOptions,
    ) -> Result<Consumer, Error> {
        options.check()?;
        for name in &options.partition_assignment_strategy {
            Assignor::parse(name)?;
        }
        let options = Arc::new(options);
        let (sender, demands) = mpsc::channel(DEMANDS_MAX);
        let now = cluster.host().now();
        let read_committed = fetcher_options.isolation_level == "read_committed";
        let rack = Some(&fetcher_options.client_rack).filter(|it| !it.is_empty());
        let context = options.group_id.as_deref().map(|id| {
            let id = Str::from(id);
            let instance_id = options.group_instance_id.as_deref().filter(|it| !it.is_empty()).map(Str::from);
            let coordinator = Coordinator::new(cluster, Keeper::Group, id.clone());
            Context {
                cluster: cluster.clone(),
                group: Arc::new(Group::new(id, instance_id, coordinator, now)),
                options: options.clone(),
                rack: rack.map(|it| it.as_str().into()),
                may_create_topics: fetcher_options.allow_auto_create_topics,
                stability: if read_committed { Stability::Stable } else { Stability::Any },
                demands: sender,
                round: 0,
            }
        });
        Ok(Consumer {
            cluster: cluster.clone(),
            fetcher: Fetcher::new(cluster, fetcher_options)?,
            auto_commit_at: now + millis(options.auto_commit_interval_ms.into()),
            options,
            context,
            control: watch::Sender::new(Control::default()),
            demands,
            task: None,
            assignment: BTreeSet::new(),
            is_subscribed: false,
            notices: None,
            auto_commit: None,
            fatal: None,
        })
    }

    /// Reads topics as a member of the group. What was subscribed before and is not named goes.
    pub fn subscribe<S: Into<Str>>(&mut self, topics: impl IntoIterator<Item = S>) -> Result<(), Error> {
        let topics: BTreeSet<Str> = topics.into_iter().map(Into::into).collect();
        if topics.is_empty() {
            self.unsubscribe();
            return Ok(());
        }
        self.subscribe_to(Subscription::Topics(topics))
    }

    /// Reads all topics whose whole name a pattern matches. With `group.protocol=consumer` the server matches, with
    /// RE2's syntax; otherwise this client does.
    pub fn subscribe_pattern(&mut self, pattern: &str) -> Result<(), Error> {
        if pattern.is_empty() {
            return Err(Error::invalid("Topic pattern to subscribe to cannot be empty"));
        }
        self.subscribe_to(Subscription::Pattern(pattern.into()))
    }

    fn subscribe_to(&mut self, subscription: Subscription) -> Result<(), Error> {
        let Some(context) = self.context.clone() else {
            return Err(Error::Refused(Refusal {
                code: ErrorCode::InvalidGroupId,
                message: Some(
                    "To use the group management or offset commit APIs, you must provide a valid group.id in the \
                     consumer configuration."
                        .into(),
                ),
            }));
        };
        if let Some(fatal) = &self.fatal {
            return Err(fatal.clone());
        }
        if !self.is_subscribed {
            self.forget_all();
        }
        self.is_subscribed = true;
        context.group.set_polled(self.cluster.host().now());
        self.control.send_modify(|control| {
            if control.subscription.as_ref() != Some(&subscription) {
                control.subscription = Some(subscription);
                control.number += 1;
            }
        });
        if self.task.is_none() {
            let control = self.control.subscribe();
            let host = self.cluster.host();
            self.task = Some(if self.options.uses_consumer_protocol() {
                host.spawn(consumer_protocol::run(context, control))
            } else {
                let strategy = &self.options.partition_assignment_strategy;
                let assignors = strategy.iter().map(|it| Assignor::parse(it)).collect::<Result<_, _>>()?;
                host.spawn(classic::run(context, control, assignors))
            });
        }
        Ok(())
    }

    /// Reads nothing more, and leaves the group, without a last commit.
    pub fn unsubscribe(&mut self) {
        self.is_subscribed = false;
        self.control.send_modify(|control| {
            control.subscription = None;
            control.number += 1;
            control.round += 1;
        });
        self.forget_all();
    }

    /// Reads these partitions and no others, outside of the group's sharing; from where the group has committed, if
    /// there is a group.
    pub async fn assign(
        &mut self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<(), Error> {
        if self.is_subscribed {
            return Err(Error::invalid(
                "Subscription to topics, partitions and pattern are mutually exclusive",
            ));
        }
        let partitions: BTreeSet<TopicPartition> = partitions.into_iter().collect();
        let added: Vec<_> = partitions.difference(&self.assignment).cloned().collect();
        let gone: Vec<_> = self.assignment.difference(&partitions).cloned().collect();
        let committed = match &self.context {
            Some(context) if !added.is_empty() => {
                let deadline = self.cluster.deadline("asking for committed offsets");
                context.committed_by(&added, deadline).await?
            }
            _ => added.into_iter().map(|it| (it, None)).collect(),
        };
        for partition in gone {
            self.fetcher.unassign(&partition);
            self.assignment.remove(&partition);
        }
        self.begin(committed)
    }

    /// The partitions that are this consumer's.
    pub fn assignment(&self) -> impl Iterator<Item = &TopicPartition> {
        self.assignment.iter()
    }

    /// Notices of what the group's sharing out means, from now on. Whoever asked before hears no more.
    pub fn rebalances(&mut self) -> Rebalances {
        let (sender, notices) = mpsc::channel(NOTICES_MAX);
        self.notices = Some(sender);
        Rebalances { notices }
    }

    /// Waits until there are records, but no longer than `timeout`; gives all that have come. What was given before
    /// counts as read. Nothing is lost if the future is dropped.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<Fetched>, Error> {
        let host = self.cluster.host().clone();
        let deadline = host.now() + timeout;
        loop {
            let now = host.now();
            if let Some(context) = &self.context {
                context.group.set_polled(now);
            }
            while let Ok(demand) = self.demands.try_recv() {
                self.take(demand)?;
            }
            if let Some(fatal) = &self.fatal {
                return Err(fatal.clone());
            }
            self.commit_if_due(now);
            let until = deadline.min(now + LOOK_INTERVAL);
            tokio::select! {
                biased;
                Some(demand) = self.demands.recv(), if self.context.is_some() => self.take(demand)?,
                fetched = self.fetcher.poll(until.since(now)) => {
                    let fetched = fetched?;
                    if !fetched.is_empty() {
                        return Ok(fetched);
                    }
                }
            }
            if host.now() >= deadline {
                return Ok(Vec::new());
            }
        }
    }

    /// Goes on elsewhere in a partition that is this consumer's.
    pub fn seek(&mut self, partition: &TopicPartition, position: Position) -> Result<(), Error> {
        self.assigned(partition)?;
        self.fetcher.assign(partition.clone(), position);
        Ok(())
    }

    /// The next offset to be given out; `None` while it is looked up.
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.fetcher.position(partition)
    }

    /// The end of what is committed to a partition's log, as last told.
    pub fn high_watermark(&self, partition: &TopicPartition) -> Option<Offset> {
        self.fetcher.high_watermark(partition)
    }

    /// Gives out nothing of a partition until [`Consumer::resume`].
    pub fn pause(&mut self, partition: &TopicPartition) -> Result<(), Error> {
        self.assigned(partition)?;
        self.fetcher.pause(partition);
        Ok(())
    }

    /// Gives out a paused partition again.
    pub fn resume(&mut self, partition: &TopicPartition) -> Result<(), Error> {
        self.assigned(partition)?;
        self.fetcher.resume(partition);
        Ok(())
    }

    /// Commits how far was read in all partitions.
    pub async fn commit(&self) -> Result<(), Error> {
        self.commit_offsets(&self.positions()).await
    }

    /// Commits these offsets.
    pub async fn commit_offsets(&self, offsets: &Committed) -> Result<(), Error> {
        let context = self.group()?;
        if offsets.is_empty() {
            return Ok(());
        }
        context.commit(offsets, self.cluster.deadline("committing offsets")).await
    }

    /// What the group has committed in these partitions; what it has not is missing.
    pub async fn committed(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<Committed, Error> {
        let partitions: Vec<_> = partitions.into_iter().collect();
        let deadline = self.cluster.deadline("asking for committed offsets");
        let committed = self.group()?.committed_by(&partitions, deadline).await?;
        Ok(committed.into_iter().filter_map(|(partition, it)| Some((partition, it?))).collect())
    }

    /// How far was read in all partitions.
    pub fn positions(&self) -> Committed {
        self.positions_of(&self.assignment)
    }

    /// Who this is to the group, to commit in a transaction.
    pub fn group_metadata(&self) -> Result<GroupMetadata, Error> {
        let group = &self.group()?.group;
        let Identity { generation, member_id } = group.identity();
        let (group_id, instance_id) = (group.id.clone(), group.instance_id.clone());
        Ok(GroupMetadata { group_id, generation, member_id, instance_id })
    }

    /// Asks the group to share out anew.
    pub fn enforce_rebalance(&self) {
        self.control.send_modify(|it| it.number += 1);
    }

    /// Commits, leaves the group, and waits until that is done.
    pub async fn close(self) -> Result<(), Error> {
        self.close_with(Leaving::Default).await
    }

    /// Commits, and leaves the group or stays in it (KIP-1092).
    pub async fn close_with(mut self, leaving: Leaving) -> Result<(), Error> {
        if let Some(running) = self.auto_commit.take() {
            // What went wrong was logged.
            let _ = running.await;
        }
        let positions = self.positions();
        let mut committed = Ok(());
        if self.options.enable_auto_commit && self.context.is_some() && self.fatal.is_none() {
            committed = self.commit_offsets(&positions).await;
        }
        self.forget_all();
        self.control.send_modify(|it| it.closing = Some(leaving));
        self.demands.close();
        if let Some(task) = self.task.take() {
            // The session ends by itself if the group cannot be told.
            let _ = self.cluster.host().timeout(CLOSE_LIMIT, task).await;
        }
        committed
    }

    fn group(&self) -> Result<&Context, Error> {
        self.context.as_ref().ok_or_else(|| ErrorCode::InvalidGroupId.into())
    }

    fn assigned(&self, partition: &TopicPartition) -> Result<(), Error> {
        match self.assignment.contains(partition) {
            true => Ok(()),
            false => Err(Error::invalid(format!("No current assignment for partition {partition}"))),
        }
    }

    /// Does what the group demands.
    fn take(&mut self, (round, demand): (u64, Demand)) -> Result<(), Error> {
        if round != self.control.borrow().round {
            return Ok(());
        }
        match demand {
            Demand::Assign(committed) => {
                let partitions = committed.keys().cloned().collect();
                let begun = self.begin(committed);
                self.tell(Rebalance::Assigned(partitions));
                begun
            }
            Demand::Revoke(partitions, reply) => {
                let read = self.positions_of(&partitions);
                for partition in &partitions {
                    self.fetcher.unassign(partition);
                    self.assignment.remove(partition);
                }
                let release = Release { read, reply: Some(reply) };
                self.tell(Rebalance::Revoking(Revocation { partitions, release }));
                Ok(())
            }
            Demand::LoseAll => {
                let lost = self.assignment.clone();
                self.forget_all();
                if !lost.is_empty() {
                    self.tell(Rebalance::Lost(lost));
                }
                Ok(())
            }
            Demand::Complain(error) => Err(error),
            Demand::Fail(error) => {
                self.fatal = Some(error.clone());
                Err(error)
            }
        }
    }

    fn tell(&mut self, notice: Rebalance) {
        let Some(notices) = &self.notices else { return };
        if let Err(error) = notices.try_send(notice)
            && matches!(error, mpsc::error::TrySendError::Closed(_))
        {
            self.notices = None;
        }
    }

    /// Fetches partitions from where they were committed, or from where `auto.offset.reset` says.
    fn begin(&mut self, committed: BTreeMap<TopicPartition, Option<CommittedOffset>>) -> Result<(), Error> {
        let mut nowhere = Vec::new();
        for (partition, committed) in committed {
            self.assignment.insert(partition.clone());
            match (committed, self.fetcher.start()) {
                (Some(it), _) => self.fetcher.assign_at(partition, it.offset, it.leader_epoch),
                (None, Some(start)) => self.fetcher.assign(partition, start),
                (None, None) => nowhere.push(partition.to_string()),
            }
        }
        if nowhere.is_empty() {
            return Ok(());
        }
        let message = format!(
            "nothing is committed for {}, and auto.offset.reset=none: seek to where reading should begin",
            nowhere.join(", ")
        );
        Err(Error::Refused(Refusal { code: ErrorCode::OffsetOutOfRange, message: Some(message.into()) }))
    }

    fn positions_of(&self, partitions: &BTreeSet<TopicPartition>) -> Committed {
        let position = |partition: &TopicPartition| {
            let offset = self.fetcher.position(partition)?;
            let leader_epoch = self.fetcher.position_epoch(partition);
            Some((partition.clone(), CommittedOffset { offset, leader_epoch, metadata: Str::default() }))
        };
        partitions.iter().filter_map(position).collect()
    }

    fn forget_all(&mut self) {
        for partition in std::mem::take(&mut self.assignment) {
            self.fetcher.unassign(&partition);
        }
    }

    /// Commits in the background what was read, now and then.
    fn commit_if_due(&mut self, now: Moment) {
        let Some(context) = &self.context else { return };
        if !self.options.enable_auto_commit || now < self.auto_commit_at {
            return;
        }
        if self.auto_commit.as_ref().is_some_and(|it| !it.is_finished()) {
            return;
        }
        self.auto_commit_at = now + millis(self.options.auto_commit_interval_ms.into());
        let positions = self.positions();
        if positions.is_empty() {
            return;
        }
        let context = context.clone();
        self.auto_commit = Some(self.cluster.host().spawn(async move {
            let deadline: Deadline = context.cluster.deadline("committing offsets");
            if let Err(error) = context.commit(&positions, deadline).await {
                tracing::warn!(group = %context.group.id, %error, "offsets are not committed; the next time may do");
            }
        }));
    }
}

/// What a member of a classic group told that it wants, and what it got, for who looks at the group; what cannot be
/// read counts as nothing.
pub(crate) fn assigned_partitions(
    metadata: &Bytes,
    assignment: &Bytes,
) -> (Vec<Str>, BTreeSet<TopicPartition>) {
    let wanted = subscription::decode_subscription(Assignor::Range, metadata, None).unwrap_or_default();
    let has = subscription::decode_assignment(assignment).unwrap_or_default();
    (wanted.topics.into_iter().collect(), has)
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.control.send_modify(|it| it.closing = it.closing.or(Some(Leaving::Default)));
    }
}
