//! The task that keeps a member in its share group (`ShareGroupHeartbeat`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_wire::Message;
use ottla_wire::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use ottla_wire::messages::share_group_heartbeat_response::ShareGroupHeartbeatResponse;
use tokio::sync::watch;

use crate::cluster::{Cluster, Deadline, TopicPartition, millis};
use crate::coordinator::{Coordinator, is_moving};
use crate::error::{Error, Refusal};
use crate::topic_ids::TopicNames;

/// The epochs with which a member joins and leaves.
const JOINS: i32 = 0;
const LEAVES: i32 = -1;
/// How long one heartbeat may take.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(30);

/// What the consumer wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) topics: BTreeSet<Str>,
    pub(super) is_closing: bool,
}

/// What the group gave.
#[derive(Debug, Clone, Default)]
pub(super) struct Assigned {
    /// The partitions, with the ids of their topics.
    pub(super) partitions: BTreeMap<TopicPartition, Uuid>,
    /// Why membership is over.
    pub(super) failed: Option<Error>,
}

struct Membership {
    cluster: Cluster,
    coordinator: Coordinator,
    group: Str,
    member: Str,
    rack: Option<Str>,
    epoch: i32,
    /// The topics that the coordinator was told last.
    told: Option<BTreeSet<Str>>,
    names: TopicNames,
    wanted: Option<BTreeMap<Uuid, Vec<i32>>>,
    assigned: watch::Sender<Assigned>,
}

/// Keeps a member in its group until the consumer ends.
pub(super) async fn run(
    cluster: Cluster,
    coordinator: Coordinator,
    (group, member, rack): (Str, Str, Option<Str>),
    mut wish: watch::Receiver<Wish>,
    assigned: watch::Sender<Assigned>,
) {
    let host = cluster.host().clone();
    let mut backoff = cluster.retry_backoff();
    let mut membership = Membership {
        cluster,
        coordinator,
        group,
        member,
        rack,
        epoch: JOINS,
        told: None,
        names: TopicNames::default(),
        wanted: None,
        assigned,
    };
    loop {
        let now = wish.borrow_and_update().clone();
        if now.is_closing || (now.topics.is_empty() && membership.told.is_some()) {
            membership.leave().await;
        }
        if now.is_closing {
            return;
        }
        if now.topics.is_empty() {
            if wish.changed().await.is_err() {
                return;
            }
            continue;
        }
        let pause = match membership.beat(&now.topics).await {
            Ok(interval) => {
                backoff.reset();
                interval
            }
            Err(error) if error.is_retriable() => {
                tracing::debug!(group = %membership.group, %error, "a heartbeat was not answered");
                membership.told = None;
                backoff.next(&host)
            }
            Err(error) => {
                let failed = Assigned { failed: Some(error.fencing()), ..Assigned::default() };
                membership.assigned.send_replace(failed);
                return;
            }
        };
        if let Err(error) = membership.name_partitions().await {
            tracing::debug!(group = %membership.group, %error, "what a member gets is not known by name yet");
        }
        tokio::select! {
            biased;
            changed = wish.changed() => if changed.is_err() {
                return membership.leave().await;
            },
            () = host.sleep(pause) => {}
        }
    }
}

impl Membership {
    /// Sends a heartbeat; tells when the next is due.
    async fn beat(&mut self, topics: &BTreeSet<Str>) -> Result<Duration, Error> {
        let deadline = Deadline::after(self.cluster.host(), "a heartbeat", HEARTBEAT_LIMIT);
        let told = self.told.as_ref().filter(|_| self.epoch != JOINS);
        let names = (told != Some(topics)).then(|| topics.iter().cloned().collect::<Vec<_>>());
        let rack = self.rack.clone().filter(|_| told.is_none());
        let request = |_| ShareGroupHeartbeatRequest {
            group_id: self.group.clone(),
            member_id: self.member.clone(),
            member_epoch: self.epoch,
            rack_id: rack.clone(),
            subscribed_topic_names: names.clone(),
            ..ShareGroupHeartbeatRequest::default()
        };
        let versions = ShareGroupHeartbeatRequest::FIRST_VERSION..=ShareGroupHeartbeatRequest::LAST_VERSION;
        let (_, answer) = self.coordinator.ask_once(deadline, versions, request, code_of).await?;
        match code_of(&answer) {
            ErrorCode::None => {}
            ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch => {
                self.begin_again();
                return Ok(Duration::ZERO);
            }
            code if is_moving(code) => return Err(code.into()),
            code => {
                let message = answer.error_message.map(|it| it.detached());
                return Err(Error::Refused(Refusal { code, message }));
            }
        }
        self.epoch = answer.member_epoch;
        self.told = Some(topics.clone());
        if let Some(assignment) = answer.assignment {
            let wanted = assignment.topic_partitions.into_iter();
            self.wanted = Some(wanted.map(|it| (it.topic_id, it.partitions)).collect());
        }
        Ok(millis(answer.heartbeat_interval_ms.into()))
    }

    fn begin_again(&mut self) {
        self.epoch = JOINS;
        self.told = None;
        self.wanted = None;
        self.assigned.send_replace(Assigned::default());
    }

    /// Gives the consumer what the group gave, once the topics' names are known.
    async fn name_partitions(&mut self) -> Result<(), Error> {
        let Some(wanted) = &self.wanted else { return Ok(()) };
        let ids: BTreeSet<Uuid> = wanted.keys().copied().collect();
        let deadline = self.cluster.deadline("asking for the names of topics");
        self.names.learn(&self.cluster, &ids, deadline).await?;
        let mut partitions = BTreeMap::new();
        for (id, indexes) in wanted {
            let Some(name) = self.names.name(*id) else { continue };
            partitions.extend(indexes.iter().map(|it| (TopicPartition::new(name.clone(), *it), *id)));
        }
        self.assigned.send_if_modified(|it| {
            let is_new = it.partitions != partitions;
            it.partitions = partitions;
            is_new
        });
        Ok(())
    }

    /// Leaves the group within the time of one request.
    async fn leave(&mut self) {
        if self.told.is_some() {
            let request = |_| ShareGroupHeartbeatRequest {
                group_id: self.group.clone(),
                member_id: self.member.clone(),
                member_epoch: LEAVES,
                ..ShareGroupHeartbeatRequest::default()
            };
            let deadline = self.cluster.deadline("leaving a group");
            let versions =
                ShareGroupHeartbeatRequest::FIRST_VERSION..=ShareGroupHeartbeatRequest::LAST_VERSION;
            if let Err(error) = self.coordinator.ask_once(deadline, versions, request, code_of).await {
                tracing::debug!(group = %self.group, %error, "the group was not told that a member leaves; its session ends by itself");
            }
        }
        self.begin_again();
    }
}

fn code_of(answer: &ShareGroupHeartbeatResponse) -> ErrorCode {
    ErrorCode::from_code(answer.error_code)
}
