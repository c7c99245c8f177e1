//! The classic protocol: members join, the leader shares out, everybody is told (`JoinGroup`, `SyncGroup`,
//! `Heartbeat`, `LeaveGroup`).

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use ottla_base::{ErrorCode, Moment, Str};
use ottla_wire::Message;
use ottla_wire::messages::heartbeat_request::HeartbeatRequest;
use ottla_wire::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use ottla_wire::messages::join_group_response::JoinGroupResponse;
use ottla_wire::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use ottla_wire::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use regex_lite::Regex;
use tokio::sync::watch;

use super::assignor::{Assignor, Members, Topics};
use super::member::{
    Context, Control, Demand, Ending, Identity, Interruption, Leaving, Subscription, interruption,
    next_subscription,
};
use super::subscription::{
    LastAssignment, decode_assignment, decode_subscription, encode_assignment, encode_subscription,
};
use crate::admin::Admin;
use crate::cluster::{Backoff, TopicPartition, millis};
use crate::coordinator::is_moving;
use crate::error::Error;

/// What groups of consumers call their protocol.
const PROTOCOL_TYPE: Str = Str::from_static("consumer");
/// How much longer than the rebalance a client waits for the answer of a join.
const JOIN_GRACE: Duration = Duration::from_secs(5);
/// Between two looks at whether topics have changed, if nothing is heard.
const LOOK_MAX: Duration = Duration::from_secs(300);

/// A member of a classic group.
pub(super) struct Classic {
    context: Context,
    control: watch::Receiver<Control>,
    assignors: Vec<Assignor>,
    /// What the number of the served control was.
    seen: u64,
    subscription: Subscription,
    pattern: Option<Regex>,
    /// What this member joined for.
    topics: BTreeSet<Str>,
    owned: BTreeSet<TopicPartition>,
    last: LastAssignment,
    heart: Heart,
    /// How many partitions the group's topics had when this member, the leader, shared them out.
    counts: Option<BTreeMap<Str, usize>>,
}

/// Sends heartbeats.
struct Heart {
    next_at: Moment,
    backoff: Backoff,
}

/// What a heartbeat was answered; the later, the worse.
#[derive(Debug)]
enum Beat {
    Fine,
    Rejoin,
    Lost,
    Failed(Error),
}

/// How one attempt to join ended.
enum Joined {
    Yes(Box<JoinGroupResponse>),
    /// At once, or after a pause.
    Again(Again),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    AtOnce,
    Later,
}

/// Keeps a member in its group until the consumer ends.
pub(super) async fn run(context: Context, control: watch::Receiver<Control>, assignors: Vec<Assignor>) {
    let heart = Heart { next_at: Moment::default(), backoff: context.cluster.retry_backoff() };
    let mut member = Classic {
        context,
        control,
        assignors,
        seen: 0,
        subscription: Subscription::Topics(BTreeSet::new()),
        pattern: None,
        topics: BTreeSet::new(),
        owned: BTreeSet::new(),
        last: LastAssignment::default(),
        heart,
        counts: None,
    };
    while let Some((subscription, number)) = next_subscription(&mut member.control, &mut member.context).await
    {
        (member.subscription, member.seen) = (subscription, number);
        let ending = member.belong().await;
        member.owned.clear();
        match ending {
            Ending::Closed(leaving) => return member.leave(leaving, "the consumer is being closed").await,
            Ending::Unsubscribed => {
                member.leave(Leaving::Default, "the consumer unsubscribed from all topics").await;
            }
            Ending::PolledTooLate => {
                let moment = member.context.cluster.host().now();
                tracing::warn!(group = %member.context.group.id, "poll was not called for max.poll.interval.ms: the member leaves its group");
                let leaving = Leaving::Default;
                member.leave(leaving, "consumer poll timeout has expired.").await;
                member.context.demand(Demand::LoseAll).await;
                member.context.polled_after(moment).await;
            }
            Ending::Failed(error) => {
                member.context.group.set_identity(Identity::default());
                member.context.demand(Demand::LoseAll).await;
                return member.context.demand(Demand::Fail(error.fencing())).await;
            }
        }
    }
}

impl Classic {
    /// Joins, again whenever the group shares out anew.
    async fn belong(&mut self) -> Ending {
        loop {
            match self.rebalance().await {
                Ok(Again::AtOnce) => continue,
                Ok(Again::Later) => {}
                Err(ending) => return ending,
            }
            if let Err(ending) = self.stay().await {
                return ending;
            }
        }
    }

    /// Takes part in one round of sharing out; tells whether another has to follow at once.
    async fn rebalance(&mut self) -> Result<Again, Ending> {
        self.take_changes()?;
        let cooperative = self.assignors.iter().all(|it| it.is_cooperative());
        self.find_topics().await?;
        if !cooperative && !self.owned.is_empty() {
            let given_up = Box::pin(self.context.clone().hand_over(self.owned.clone(), BTreeSet::new()));
            // Whatever the heart says meanwhile, the member joins next.
            let (owned, beat) = self.alongside(given_up).await?;
            self.owned = owned.map_err(Ending::Failed)?;
            self.take_loss(beat).await?;
        }
        let mut backoff = self.context.cluster.retry_backoff();
        let joined = loop {
            let again = match self.join().await? {
                Joined::Yes(joined) => match self.sync(*joined).await? {
                    Ok(joined) => break joined,
                    Err(again) => again,
                },
                Joined::Again(again) => again,
            };
            if again == Again::Later {
                let pause = backoff.next(self.context.cluster.host());
                self.interruptible(sleep(self.context.clone(), pause)).await?;
            }
            self.take_changes()?;
            self.find_topics().await?;
        };
        self.take_assignment(joined).await
    }

    /// Serves what the consumer wants now.
    fn take_changes(&mut self) -> Result<(), Ending> {
        let now = self.control.borrow_and_update();
        if let Some(leaving) = now.closing {
            return Err(Ending::Closed(leaving));
        }
        match &now.subscription {
            Some(subscription) if now.round == self.context.round => {
                self.subscription = subscription.clone();
                self.seen = now.number;
                Ok(())
            }
            _ => Err(Ending::Unsubscribed),
        }
    }

    /// Finds out which topics this member wants.
    async fn find_topics(&mut self) -> Result<(), Ending> {
        match &self.subscription {
            Subscription::Topics(topics) => {
                self.pattern = None;
                self.topics = topics.clone();
            }
            Subscription::Pattern(pattern) => {
                // Kafka's patterns match whole names.
                let whole = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
                    Ending::Failed(Error::invalid(format!("the pattern {pattern}: {error}")))
                })?;
                self.pattern = Some(whole);
                let context = self.context.clone();
                let pattern = self.pattern.clone();
                let mut backoff = context.cluster.retry_backoff();
                loop {
                    let found = self
                        .interruptible(Box::pin(matching_topics(context.clone(), pattern.clone())))
                        .await?;
                    match found {
                        Ok(topics) => {
                            self.topics = topics;
                            break;
                        }
                        Err(error) if error.is_retriable() => {
                            let pause = backoff.next(context.cluster.host());
                            self.interruptible(sleep(context.clone(), pause)).await?;
                        }
                        Err(error) => return Err(Ending::Failed(error)),
                    }
                }
            }
        }
        for topic in &self.topics {
            self.context.cluster.want(topic, self.context.may_create_topics);
        }
        Ok(())
    }

    /// Waits for something unless the consumer ends first. A change of what it wants does not interrupt.
    async fn interruptible<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Ending> {
        let mut work = pin!(work);
        let mut seen = self.seen;
        loop {
            tokio::select! {
                biased;
                it = interruption(&mut self.control, &self.context, seen) => match it {
                    Interruption::Ending(ending) => return Err(ending),
                    Interruption::Changed => seen = self.control.borrow().number,
                },
                done = &mut work => return Ok(done),
            }
        }
    }

    /// Waits for something while the heart beats; tells the worst that it heard.
    async fn alongside<T>(&mut self, work: impl Future<Output = T>) -> Result<(T, Beat), Ending> {
        let mut work = pin!(work);
        let mut seen = self.seen;
        let mut worst = Beat::Fine;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok((done, worst)),
                it = interruption(&mut self.control, &self.context, seen) => match it {
                    Interruption::Ending(ending) => return Err(ending),
                    Interruption::Changed => {
                        seen = self.control.borrow().number;
                        worst = worst.or(Beat::Rejoin);
                    }
                },
                beat = self.heart.beat(&self.context) => worst = worst.or(beat),
            }
        }
    }

    /// What a heartbeat means; whether the member has to join again.
    async fn take_loss(&mut self, beat: Beat) -> Result<Again, Ending> {
        match beat {
            Beat::Fine => Ok(Again::Later),
            Beat::Rejoin => Ok(Again::AtOnce),
            Beat::Lost => {
                self.lose().await;
                Ok(Again::AtOnce)
            }
            Beat::Failed(error) => Err(Ending::Failed(error)),
        }
    }

    async fn lose(&mut self) {
        if !self.owned.is_empty() {
            self.owned.clear();
            self.context.demand(Demand::LoseAll).await;
        }
    }

    /// One attempt to join.
    async fn join(&mut self) -> Result<Joined, Ending> {
        let context = self.context.clone();
        let mut protocols = Vec::with_capacity(self.assignors.len());
        for assignor in &self.assignors {
            let rack = context.rack.as_ref();
            let metadata = encode_subscription(*assignor, &self.topics, &self.owned, &self.last, rack)
                .map_err(|error| Ending::Failed(Error::invalid(error.to_string())))?;
            let name = Str::from_static(assignor.name());
            protocols.push(JoinGroupRequestProtocol { name, metadata, ..Default::default() });
        }
        let joining = Box::pin(send_join(context.clone(), protocols));
        // A server looks at nothing else from a connection while a join waits: what follows needs another.
        let answer =
            self.interruptible(joining).await.inspect_err(|_| context.group.coordinator.hang_up())?;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                context.group.coordinator.learn(&error);
                return match error.is_retriable() {
                    true => Ok(Joined::Again(Again::Later)),
                    false => Err(Ending::Failed(error)),
                };
            }
        };
        let code = ErrorCode::from_code(answer.error_code);
        tracing::debug!(group = %context.group.id, %code, generation = answer.generation_id, member = %answer.member_id, "joined");
        match code {
            ErrorCode::None => Ok(Joined::Yes(Box::new(answer))),
            ErrorCode::MemberIdRequired => {
                let member_id = answer.member_id.detached();
                context.group.set_identity(Identity { member_id, ..Identity::default() });
                Ok(Joined::Again(Again::AtOnce))
            }
            code => self.refused(code).await.map(Joined::Again),
        }
    }

    /// A refusal of a join or a sync.
    async fn refused(&mut self, code: ErrorCode) -> Result<Again, Ending> {
        match code {
            ErrorCode::UnknownMemberId => {
                self.context.group.set_identity(Identity::default());
                self.lose().await;
                Ok(Again::Later)
            }
            ErrorCode::IllegalGeneration => {
                self.context.group.forget_generation();
                self.lose().await;
                Ok(Again::Later)
            }
            ErrorCode::RebalanceInProgress => Ok(Again::Later),
            code if is_moving(code) => {
                self.context.group.coordinator.learn(&code.into());
                Ok(Again::Later)
            }
            code => Err(Ending::Failed(code.into())),
        }
    }

    /// Tells the group who gets what, if this member leads, and hears what it gets itself.
    async fn sync(
        &mut self,
        joined: JoinGroupResponse,
    ) -> Result<Result<(Identity, Assignor, BTreeSet<TopicPartition>), Again>, Ending> {
        let context = self.context.clone();
        let name = joined.protocol_name.clone().unwrap_or_default();
        let assignor = Assignor::of_name(&name).filter(|it| self.assignors.contains(it));
        let Some(assignor) = assignor else {
            let message =
                format!("the coordinator chose the assignor {name}, which this member does not have");
            return Err(Ending::Failed(Error::Corrupt(message.into())));
        };
        self.counts = None;
        let mut assignments = Vec::new();
        if joined.leader == joined.member_id && !joined.skip_assignment {
            let shared = Box::pin(share_out(context.clone(), assignor, &joined));
            let (shared, counts) = self.interruptible(shared).await?.map_err(Ending::Failed)?;
            assignments = shared;
            self.counts = Some(counts);
        } else if joined.leader == joined.member_id {
            self.counts = Some(counts_of(&context, &self.topics));
        }
        let identity = Identity { generation: joined.generation_id, member_id: joined.member_id.detached() };
        context.group.set_identity(identity.clone());
        let request = |version: i16| SyncGroupRequest {
            group_id: context.group.id.clone(),
            generation_id: identity.generation,
            member_id: identity.member_id.clone(),
            group_instance_id: context.group.instance_id.clone().filter(|_| version >= 3),
            protocol_type: Some(PROTOCOL_TYPE).filter(|_| version >= 5),
            protocol_name: Some(name.clone()).filter(|_| version >= 5),
            assignments: assignments.clone(),
            ..SyncGroupRequest::default()
        };
        let deadline = context.cluster.deadline("hearing what a member of a group gets");
        let versions = SyncGroupRequest::FIRST_VERSION..=SyncGroupRequest::LAST_VERSION;
        let sent = context
            .group
            .coordinator
            .ask_once(deadline, versions, request, |it| ErrorCode::from_code(it.error_code));
        let answer = match self.interruptible(sent).await? {
            Ok((_, answer)) => answer,
            Err(error) if error.is_retriable() => return Ok(Err(Again::Later)),
            Err(error) => return Err(Ending::Failed(error)),
        };
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {}
            code => return self.refused(code).await.map(Err),
        }
        let assigned = decode_assignment(&answer.assignment)
            .map_err(|error| Ending::Failed(Error::Corrupt(format!("an assignment: {error}").into())))?;
        Ok(Ok((identity, assignor, assigned)))
    }

    /// Takes what this member gets.
    async fn take_assignment(
        &mut self,
        (identity, _, assigned): (Identity, Assignor, BTreeSet<TopicPartition>),
    ) -> Result<Again, Ending> {
        let now = self.context.cluster.host().now();
        self.heart.next_at = now + self.interval();
        self.last = LastAssignment {
            partitions: assigned.iter().cloned().collect(),
            generation: identity.generation,
        };
        for partition in &assigned {
            self.context.cluster.want(&partition.topic, self.context.may_create_topics);
        }
        let gives_up = self.owned.iter().any(|it| !assigned.contains(it));
        let work = Box::pin(self.context.clone().hand_over(self.owned.clone(), assigned));
        let (owned, beat) = self.alongside(work).await?;
        self.owned = owned.map_err(Ending::Failed)?;
        let again = self.take_loss(beat).await?;
        // What was given up can be given to others in the next round only.
        Ok(if gives_up { Again::AtOnce } else { again })
    }

    fn interval(&self) -> Duration {
        millis(self.context.options.heartbeat_interval_ms.into())
    }

    /// Stays in the group until it shares out anew.
    async fn stay(&mut self) -> Result<(), Ending> {
        let mut changes = self.context.cluster.changes();
        let host = self.context.cluster.host().clone();
        let max_age = millis(self.context.cluster.options().metadata_max_age_ms).min(LOOK_MAX);
        let mut look_at = host.now() + max_age;
        loop {
            let beat = {
                let Classic { control, heart, context, counts, seen, .. } = self;
                let mut beating = pin!(heart.beat(context));
                loop {
                    tokio::select! {
                        biased;
                        it = interruption(control, context, *seen) => match it {
                            Interruption::Ending(ending) => return Err(ending),
                            Interruption::Changed => return Ok(()),
                        },
                        beat = &mut beating => break Some(beat),
                        changed = changes.changed() => {
                            // A cluster that tells of no more changes is gone, and this task with it.
                            if changed.is_err() || counts.as_ref().is_some_and(|it| is_changed(context, it)) {
                                break Some(Beat::Rejoin);
                            }
                        }
                        () = host.sleep_until(look_at) => break None,
                    }
                }
            };
            let beat = match beat {
                Some(beat) => beat,
                None => {
                    look_at = host.now() + max_age;
                    if self.topics_changed().await? { Beat::Rejoin } else { Beat::Fine }
                }
            };
            if self.take_loss(beat).await? == Again::AtOnce {
                return Ok(());
            }
        }
    }

    /// Looks whether other topics match, and keeps those of the group known.
    async fn topics_changed(&mut self) -> Result<bool, Ending> {
        let context = self.context.clone();
        for topic in self.counts.iter().flat_map(BTreeMap::keys).chain(&self.topics) {
            context.cluster.want(topic, false);
        }
        context.cluster.refresh_soon();
        let Some(pattern) = self.pattern.clone() else { return Ok(false) };
        let matching = Box::pin(matching_topics(context, Some(pattern)));
        let (found, beat) = self.alongside(matching).await?;
        let rejoins = self.take_loss(beat).await? == Again::AtOnce;
        // What could not be found out is looked at again later.
        Ok(rejoins || found.is_ok_and(|topics| topics != self.topics))
    }

    /// Leaves the group, if it should, within the time of one request.
    async fn leave(&mut self, leaving: Leaving, reason: &'static str) {
        let group = self.context.group.clone();
        let identity = group.identity();
        group.set_identity(Identity::default());
        let leaves = match leaving {
            Leaving::Default => group.instance_id.is_none(),
            Leaving::Leave => true,
            Leaving::Remain => false,
        };
        if identity.member_id.is_empty() || !leaves {
            return;
        }
        let member = MemberIdentity {
            member_id: identity.member_id.clone(),
            group_instance_id: group.instance_id.clone(),
            ..MemberIdentity::default()
        };
        let request = |version: i16| match version {
            0..3 => LeaveGroupRequest {
                group_id: group.id.clone(),
                member_id: identity.member_id.clone(),
                ..LeaveGroupRequest::default()
            },
            _ => LeaveGroupRequest {
                group_id: group.id.clone(),
                members: vec![MemberIdentity {
                    reason: Some(Str::from_static(reason)).filter(|_| version >= 5),
                    ..member.clone()
                }],
                ..LeaveGroupRequest::default()
            },
        };
        let deadline = self.context.cluster.deadline("leaving a group");
        let versions = LeaveGroupRequest::FIRST_VERSION..=LeaveGroupRequest::LAST_VERSION;
        let code = |it: &ottla_wire::messages::leave_group_response::LeaveGroupResponse| {
            ErrorCode::from_code(it.error_code)
        };
        if let Err(error) = group.coordinator.ask_once(deadline, versions, request, code).await {
            tracing::debug!(group = %group.id, %error, "the group was not told that a member leaves; its session ends by itself");
        }
    }
}

impl Heart {
    /// Waits until a heartbeat is due, sends it, and tells what it was answered. Dropped, it is not sent again.
    async fn beat(&mut self, context: &Context) -> Beat {
        let host = context.cluster.host();
        host.sleep_until(self.next_at).await;
        let identity = context.group.identity();
        self.next_at = host.now() + millis(context.options.heartbeat_interval_ms.into());
        if identity.generation < 0 {
            return Beat::Fine;
        }
        let group = &context.group;
        let request = |version: i16| HeartbeatRequest {
            group_id: group.id.clone(),
            generation_id: identity.generation,
            member_id: identity.member_id.clone(),
            group_instance_id: group.instance_id.clone().filter(|_| version >= 3),
            ..HeartbeatRequest::default()
        };
        let limit = millis(context.options.session_timeout_ms.into());
        let deadline = crate::cluster::Deadline::after(host, "a heartbeat", limit);
        let versions = HeartbeatRequest::FIRST_VERSION..=HeartbeatRequest::LAST_VERSION;
        let code = |it: &ottla_wire::messages::heartbeat_response::HeartbeatResponse| {
            ErrorCode::from_code(it.error_code)
        };
        let answer = group.coordinator.ask_once(deadline, versions, request, code).await;
        let code = match &answer {
            Ok((_, answer)) => ErrorCode::from_code(answer.error_code),
            Err(error) if error.is_retriable() => ErrorCode::CoordinatorNotAvailable,
            Err(error) => return Beat::Failed(error.clone()),
        };
        match code {
            ErrorCode::None => {
                self.backoff.reset();
                Beat::Fine
            }
            ErrorCode::RebalanceInProgress => Beat::Rejoin,
            ErrorCode::IllegalGeneration => {
                group.forget_generation();
                Beat::Lost
            }
            ErrorCode::UnknownMemberId => {
                group.set_identity(Identity::default());
                Beat::Lost
            }
            code if is_moving(code) => {
                self.next_at = host.now() + self.backoff.next(host);
                Beat::Fine
            }
            code => Beat::Failed(code.into()),
        }
    }
}

impl Beat {
    fn weight(&self) -> u8 {
        match self {
            Beat::Fine => 0,
            Beat::Rejoin => 1,
            Beat::Lost => 2,
            Beat::Failed(_) => 3,
        }
    }

    /// The worse of two.
    fn or(self, other: Beat) -> Beat {
        if other.weight() > self.weight() { other } else { self }
    }
}

/// Sends a join, whose answer may take as long as a rebalance.
async fn send_join(
    context: Context,
    protocols: Vec<JoinGroupRequestProtocol>,
) -> Result<JoinGroupResponse, Error> {
    let deadline = context.cluster.deadline("finding a group's coordinator");
    let mut node = context.group.coordinator.connection(deadline).await?;
    let versions = JoinGroupRequest::FIRST_VERSION..=JoinGroupRequest::LAST_VERSION;
    let version = node.version::<JoinGroupRequest>(&versions)?;
    if context.group.instance_id.is_some() && version < 5 {
        let message = format!("{} does not know group.instance.id", node.server);
        return Err(Error::Unsupported(message.into()));
    }
    let request = JoinGroupRequest {
        group_id: context.group.id.clone(),
        session_timeout_ms: context.options.session_timeout_ms,
        rebalance_timeout_ms: context.options.max_poll_interval_ms,
        member_id: context.group.identity().member_id,
        group_instance_id: context.group.instance_id.clone(),
        protocol_type: PROTOCOL_TYPE,
        protocols,
        ..JoinGroupRequest::default()
    };
    let rebalance = millis(context.options.max_poll_interval_ms.into()) + JOIN_GRACE;
    node.request_timeout = node.request_timeout.max(rebalance);
    node.call(version, &request).await
}

async fn sleep(context: Context, pause: Duration) {
    context.cluster.host().sleep(pause).await;
}

/// The topics that a pattern matches.
async fn matching_topics(context: Context, pattern: Option<Regex>) -> Result<BTreeSet<Str>, Error> {
    let Some(pattern) = pattern else { return Ok(BTreeSet::new()) };
    let topics = Admin::new(context.cluster.clone()).list_topics().await?.into_iter();
    let wanted = topics.filter(|it| !(it.is_internal && context.options.exclude_internal_topics));
    Ok(wanted.map(|it| it.name).filter(|it| pattern.is_match(it)).collect())
}

/// Whether topics have more partitions, or fewer, than when they were shared out.
fn is_changed(context: &Context, counts: &BTreeMap<Str, usize>) -> bool {
    let metadata = context.cluster.metadata();
    let now = |topic: &Str| metadata.topic(topic).map_or(0, |it| it.partitions.len());
    counts.iter().any(|(topic, then)| now(topic) != *then)
}

fn counts_of<'a>(context: &Context, topics: impl IntoIterator<Item = &'a Str>) -> BTreeMap<Str, usize> {
    let metadata = context.cluster.metadata();
    let count = |topic: &Str| metadata.topic(topic).map_or(0, |it| it.partitions.len());
    topics.into_iter().map(|topic| (topic.clone(), count(topic))).collect()
}

type Shared = (Vec<SyncGroupRequestAssignment>, BTreeMap<Str, usize>);

/// Shares out the partitions of all topics that members want.
async fn share_out(
    context: Context,
    assignor: Assignor,
    joined: &JoinGroupResponse,
) -> Result<Shared, Error> {
    let mut members = Members::new();
    for member in &joined.members {
        let instance_id = member.group_instance_id.as_ref().map(Str::detached);
        let told = decode_subscription(assignor, &member.metadata, instance_id).map_err(|error| {
            Error::Corrupt(format!("the subscription of the member {}: {error}", member.member_id).into())
        })?;
        members.insert(member.member_id.detached(), told);
    }
    let wanted: BTreeSet<Str> = members.values().flat_map(|it| it.topics.clone()).collect();
    for topic in &wanted {
        context.cluster.want(topic, context.may_create_topics);
    }
    let deadline = context.cluster.deadline("asking for the topics of a group");
    Box::pin(context.cluster.refresh(deadline)).await?;
    let metadata = context.cluster.metadata();
    let mut topics = Topics::new();
    for name in &wanted {
        let Some(topic) = metadata.topic(name) else { continue };
        let racks = topic.partitions.iter().map(|partition| {
            let brokers = partition.replicas.iter().filter_map(|id| metadata.brokers.get(id));
            brokers.filter_map(|it| it.rack.clone()).collect()
        });
        topics.insert(name.clone(), racks.collect());
    }
    let assignment = assignor.assign(&topics, &members);
    let mut encoded = Vec::with_capacity(assignment.len());
    for (member_id, partitions) in assignment {
        let assignment = encode_assignment(&partitions).map_err(|error| Error::invalid(error.to_string()))?;
        encoded.push(SyncGroupRequestAssignment { member_id, assignment, ..Default::default() });
    }
    Ok((encoded, counts_of(&context, &wanted)))
}
