//! The consumer protocol (KIP-848): the server shares out, and each member goes to what it is told, by heartbeats
//! alone (`ConsumerGroupHeartbeat`).

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use ottla_base::{ErrorCode, Moment, Str, Uuid};
use ottla_wire::Message;
use ottla_wire::messages::consumer_group_heartbeat_request::{
    ConsumerGroupHeartbeatRequest, TopicPartitions,
};
use ottla_wire::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;
use tokio::sync::watch;

use super::member::{
    Context, Control, Demand, Ending, Identity, Interruption, Leaving, Subscription, interruption,
    next_subscription,
};
use crate::cluster::{Backoff, Deadline, TopicPartition, millis};
use crate::coordinator::is_moving;
use crate::error::{Error, Refusal};
use crate::topic_ids::TopicNames;

/// The epoch with which a member joins, leaves, and leaves to come back (KIP-848).
const JOINS: i32 = 0;
const LEAVES: i32 = -1;
const LEAVES_FOR_A_WHILE: i32 = -2;

/// How long one heartbeat may take.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(30);

type HandOver = Pin<Box<dyn Future<Output = Result<BTreeSet<TopicPartition>, Error>> + Send>>;

/// A member of a consumer group.
pub(super) struct Modern {
    state: State,
    control: watch::Receiver<Control>,
    seen: u64,
    /// What the server wants this member to have, if it has said so.
    wanted: Option<BTreeMap<Uuid, Vec<i32>>>,
    hand_over: Option<HandOver>,
    next_at: Moment,
    interval: Duration,
    backoff: Backoff,
}

/// What heartbeats tell.
struct State {
    context: Context,
    subscription: Subscription,
    /// What the server was told last, unless it has to be told all.
    told: Option<Told>,
    names: TopicNames,
    owned: BTreeSet<TopicPartition>,
}

/// What a heartbeat told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    subscription: Subscription,
    owned: BTreeSet<TopicPartition>,
}

/// Keeps a member in its group until the consumer ends.
pub(super) async fn run(context: Context, control: watch::Receiver<Control>) {
    let host = context.cluster.host().clone();
    let member_id = Str::from(host.random_uuid().to_string());
    let mut member = Modern {
        backoff: context.cluster.retry_backoff(),
        state: State {
            context,
            subscription: Subscription::Topics(BTreeSet::new()),
            told: None,
            names: TopicNames::default(),
            owned: BTreeSet::new(),
        },
        control,
        seen: 0,
        wanted: None,
        hand_over: None,
        next_at: Moment::default(),
        interval: Duration::ZERO,
    };
    while let Some((subscription, number)) =
        next_subscription(&mut member.control, &mut member.state.context).await
    {
        (member.state.subscription, member.seen) = (subscription, number);
        member.begin(member_id.clone());
        let ending = member.belong().await;
        member.hand_over = None;
        match ending {
            Ending::Closed(leaving) => return member.leave(leaving).await,
            Ending::Unsubscribed => member.leave(Leaving::Default).await,
            Ending::PolledTooLate => {
                let moment = host.now();
                tracing::warn!(group = %member.state.context.group.id, "poll was not called for max.poll.interval.ms: the member leaves its group");
                member.leave(Leaving::Default).await;
                member.state.context.demand(Demand::LoseAll).await;
                member.state.context.polled_after(moment).await;
            }
            Ending::Failed(error) => {
                member.state.context.group.set_identity(Identity::default());
                member.state.context.demand(Demand::LoseAll).await;
                return member.state.context.demand(Demand::Fail(error.fencing())).await;
            }
        }
    }
}

impl Modern {
    /// A member that is about to join.
    fn begin(&mut self, member_id: Str) {
        self.state.context.group.set_identity(Identity { generation: JOINS, member_id });
        self.state.told = None;
        self.wanted = None;
        self.state.owned.clear();
        self.hand_over = None;
        self.next_at = self.state.context.cluster.host().now();
    }

    async fn belong(&mut self) -> Ending {
        loop {
            let host = self.state.context.cluster.host().clone();
            let hand_over = async {
                match &mut self.hand_over {
                    Some(work) => work.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                it = interruption(&mut self.control, &self.state.context, self.seen) => match it {
                    Interruption::Ending(ending) => return ending,
                    Interruption::Changed => {
                        self.take_changes();
                        self.next_at = host.now();
                    }
                },
                done = hand_over => {
                    self.hand_over = None;
                    match done {
                        Ok(owned) => {
                            self.state.owned = owned;
                            // The server waits to hear it.
                            self.next_at = host.now();
                        }
                        Err(error) if is_fenced(&error) => self.next_at = host.now(),
                        Err(error) => return Ending::Failed(error),
                    }
                }
                () = host.sleep_until(self.next_at) => {
                    let beat = self.beat().await;
                    if let Err(ending) = beat {
                        return ending;
                    }
                }
            }
            if let Err(error) = self.go_to_wanted().await {
                tracing::debug!(group = %self.state.context.group.id, %error, "what a member gets is not known by name yet");
            }
        }
    }

    fn take_changes(&mut self) {
        let now = self.control.borrow_and_update();
        self.seen = now.number;
        if let Some(subscription) = &now.subscription {
            self.state.subscription = subscription.clone();
        }
    }

    /// Begins to go to what the server wants, unless this member has that or is on its way.
    async fn go_to_wanted(&mut self) -> Result<(), Error> {
        let Some(wanted) = &self.wanted else { return Ok(()) };
        if self.hand_over.is_some() {
            return Ok(());
        }
        let owned_ids = self.state.owned.iter().filter_map(|it| self.state.names.id(&it.topic));
        let ids: BTreeSet<Uuid> = wanted.keys().copied().chain(owned_ids).collect();
        let deadline = self.state.context.cluster.deadline("asking for the names of topics");
        self.state.names.learn(&self.state.context.cluster, &ids, deadline).await?;
        let mut target = BTreeSet::new();
        for (id, partitions) in wanted {
            let Some(name) = self.state.names.name(*id) else { continue };
            target.extend(partitions.iter().map(|index| TopicPartition::new(name.clone(), *index)));
        }
        if target != self.state.owned {
            let work = self.state.context.clone().hand_over(self.state.owned.clone(), target);
            self.hand_over = Some(Box::pin(work));
        }
        Ok(())
    }

    /// Sends a heartbeat, and takes its answer.
    async fn beat(&mut self) -> Result<(), Ending> {
        let host = self.state.context.cluster.host().clone();
        let group = self.state.context.group.clone();
        let identity = group.identity();
        let told = Told { subscription: self.state.subscription.clone(), owned: self.state.owned.clone() };
        let deadline = Deadline::after(&host, "a heartbeat", HEARTBEAT_LIMIT);
        // A server that does not know patterns lets it be known by refusing the version.
        let needs_pattern = matches!(self.state.subscription, Subscription::Pattern(_));
        let first = if needs_pattern { 1 } else { ConsumerGroupHeartbeatRequest::FIRST_VERSION };
        let versions = first..=ConsumerGroupHeartbeatRequest::LAST_VERSION;
        let request = |version: i16| self.state.request(version, &identity);
        let answer = group.coordinator.ask_once(deadline, versions, request, code_of).await;
        let (version, answer) = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_retriable() => {
                self.try_again();
                return Ok(());
            }
            Err(error) => return Err(Ending::Failed(error)),
        };
        let code = code_of(&answer);
        tracing::trace!(group = %group.id, %code, epoch = answer.member_epoch, "heartbeat");
        match code {
            ErrorCode::None => {
                self.take_answer(version, answer, told, identity);
                Ok(())
            }
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => {
                self.state.context.demand(Demand::LoseAll).await;
                self.begin(identity.member_id);
                Ok(())
            }
            code if is_moving(code) => {
                self.try_again();
                Ok(())
            }
            // The member stays: what it may read of the rest goes on.
            ErrorCode::TopicAuthorizationFailed => {
                self.state.context.complain(refusal(&answer));
                self.next_at = host.now() + self.interval.max(Duration::from_secs(1));
                Ok(())
            }
            _ => Err(Ending::Failed(refusal(&answer))),
        }
    }

    /// After a heartbeat of which nobody knows whether it was heard.
    fn try_again(&mut self) {
        let host = self.state.context.cluster.host();
        self.state.told = None;
        self.next_at = host.now() + self.backoff.next(host);
    }

    fn take_answer(
        &mut self,
        version: i16,
        answer: ConsumerGroupHeartbeatResponse,
        told: Told,
        before: Identity,
    ) {
        let host = self.state.context.cluster.host();
        self.backoff.reset();
        // Version 0 gives the member its id.
        let given = answer.member_id.filter(|_| version == 0).map(|it| it.detached());
        let member_id = given.unwrap_or(before.member_id);
        self.state.context.group.set_identity(Identity { generation: answer.member_epoch, member_id });
        self.state.told = Some(told);
        self.interval = millis(answer.heartbeat_interval_ms.into());
        self.next_at = host.now() + self.interval;
        if let Some(assignment) = answer.assignment {
            let wanted = assignment.topic_partitions.into_iter();
            self.wanted = Some(wanted.map(|it| (it.topic_id, it.partitions)).collect());
        }
    }

    /// Leaves the group, if it should, within the time of one request.
    async fn leave(&mut self, leaving: Leaving) {
        let group = self.state.context.group.clone();
        let identity = group.identity();
        group.set_identity(Identity::default());
        let epoch = match (leaving, &group.instance_id) {
            (Leaving::Default, None) | (Leaving::Leave, _) => LEAVES,
            (Leaving::Default | Leaving::Remain, Some(_)) => LEAVES_FOR_A_WHILE,
            (Leaving::Remain, None) => return,
        };
        // Who never was let in has nothing to leave.
        if self.state.told.is_none() && identity.generation <= JOINS {
            return;
        }
        let request = |_| ConsumerGroupHeartbeatRequest {
            group_id: group.id.clone(),
            member_id: identity.member_id.clone(),
            member_epoch: epoch,
            instance_id: group.instance_id.clone(),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let versions =
            ConsumerGroupHeartbeatRequest::FIRST_VERSION..=ConsumerGroupHeartbeatRequest::LAST_VERSION;
        let deadline = self.state.context.cluster.deadline("leaving a group");
        if let Err(error) = group.coordinator.ask_once(deadline, versions, request, code_of).await {
            tracing::debug!(group = %group.id, %error, "the group was not told that a member leaves; its session ends by itself");
        }
    }
}

impl State {
    /// What the server has to be told: all, or what has changed.
    fn request(&self, version: i16, identity: &Identity) -> ConsumerGroupHeartbeatRequest {
        let options = &self.context.options;
        let told = self.told.as_ref().filter(|_| identity.generation != JOINS);
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: self.context.group.id.clone(),
            member_id: identity.member_id.clone(),
            member_epoch: identity.generation,
            instance_id: self.context.group.instance_id.clone(),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        if version == 0 && identity.generation == JOINS {
            request.member_id = Str::default();
        }
        if told.is_none() {
            request.rack_id = self.context.rack.clone();
            request.rebalance_timeout_ms = options.max_poll_interval_ms;
            request.server_assignor = options.group_remote_assignor.as_deref().map(Str::from);
        }
        if told.is_none_or(|it| it.subscription != self.subscription) {
            let (names, pattern) = match &self.subscription {
                Subscription::Topics(topics) => (topics.iter().cloned().collect(), None),
                Subscription::Pattern(pattern) => (Vec::new(), Some(pattern.clone())),
            };
            let had_pattern = told.is_some_and(|it| matches!(it.subscription, Subscription::Pattern(_)));
            request.subscribed_topic_names = Some(names);
            request.subscribed_topic_regex = pattern.or_else(|| had_pattern.then(Str::default));
        }
        if told.is_none_or(|it| it.owned != self.owned) {
            request.topic_partitions = Some(self.owned_by_id());
        }
        request
    }

    fn owned_by_id(&self) -> Vec<TopicPartitions> {
        let mut by_id: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for partition in &self.owned {
            if let Some(id) = self.names.id(&partition.topic) {
                by_id.entry(id).or_default().push(partition.partition.0);
            }
        }
        let by_id = by_id.into_iter();
        by_id
            .map(|(topic_id, partitions)| TopicPartitions { topic_id, partitions, ..Default::default() })
            .collect()
    }
}

fn code_of(answer: &ConsumerGroupHeartbeatResponse) -> ErrorCode {
    ErrorCode::from_code(answer.error_code)
}

fn refusal(answer: &ConsumerGroupHeartbeatResponse) -> Error {
    let message = answer.error_message.as_ref().map(Str::detached);
    Error::Refused(Refusal { code: code_of(answer), message })
}

/// Whether the next heartbeat will tell that this member has lost its place.
fn is_fenced(error: &Error) -> bool {
    matches!(
        error.code(),
        Some(ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch | ErrorCode::StaleMemberEpoch)
    )
}
