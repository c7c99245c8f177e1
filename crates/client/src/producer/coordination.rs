//! The task that begins and ends transactions: everything that concerns their coordinator, one after the other.
//!
//! Two ways of working: in the older (`transaction.version` 0 and 1) this client tells the coordinator of partitions and
//! groups before it writes, and the epoch stays; in the newer (2, KIP-890) brokers tell it, and every end gives the
//! next epoch. Which one is used is what the cluster has agreed on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ottla_base::{ErrorCode, Moment, ProducerEpoch, ProducerId, Str};
use ottla_wire::Message;
use ottla_wire::messages::add_offsets_to_txn_request::AddOffsetsToTxnRequest;
use ottla_wire::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use ottla_wire::messages::add_partitions_to_txn_response::AddPartitionsToTxnResponse;
use ottla_wire::messages::end_txn_request::EndTxnRequest;
use ottla_wire::messages::init_producer_id_request::InitProducerIdRequest;
use ottla_wire::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use ottla_wire::messages::txn_offset_commit_response::TxnOffsetCommitResponse;
use tokio::sync::{mpsc, oneshot};

use super::Inner;
use super::accumulator::Registration;
use super::batch::Identity;
use crate::cluster::{Deadline, Target, by_topic, millis};
use crate::consumer::offsets::id_of;
use crate::consumer::{Committed, GroupMetadata};
use crate::coordinator::{Coordinator, Keeper};
use crate::error::Error;

/// How many commands may wait.
pub(super) const COMMANDS_MAX: usize = 64;
/// How many groups' coordinators are remembered.
const GROUPS_MAX: usize = 32;
/// The last version of `Produce` in which brokers do not tell the coordinator.
const LAST_PRODUCE_V1: i16 = 11;
/// The same of `TxnOffsetCommit` and of `EndTxn`.
const LAST_TXN_OFFSET_COMMIT_V1: i16 = 4;
const LAST_END_TXN_V1: i16 = 4;
/// The first version of `TxnOffsetCommit` that names topics by id.
const FIRST_OFFSETS_WITH_IDS: i16 = 6;
/// The last version of `AddPartitionsToTxn` for clients.
const LAST_ADD_PARTITIONS: i16 = 3;
/// How long the end of a former transaction is waited for before asking again (`CONCURRENT_TRANSACTIONS`).
const CONCURRENT_PAUSE: Duration = Duration::from_millis(20);

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Commit,
    Abort,
}

type Reply = oneshot::Sender<Result<(), Error>>;

/// What the task is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Take over the transactional id.
    Init(Reply),
    Begin(Reply),
    /// Tell the coordinator of the partitions that wait for it.
    Register(Reply),
    Offsets(Committed, Box<GroupMetadata>, Reply),
    End(Outcome, Option<Reply>),
    /// Nothing: but everything before it is done then.
    Settle(Reply),
}

/// A producer, as its transactions' coordinator sees it.
struct Coordination {
    inner: Arc<Inner>,
    id: Str,
    coordinator: Coordinator,
    groups: BTreeMap<Str, Coordinator>,
    identity: Option<Identity>,
    registration: Registration,
    /// When the cluster was last asked how transactions work.
    asked: Option<Moment>,
    is_open: bool,
    /// The groups that the coordinator knows of in this transaction.
    added_groups: BTreeSet<Str>,
    has_offsets: bool,
    /// Whether the next transaction needs an identity that the coordinator gave: what became of this one is not known,
    /// or sequences have a gap.
    needs_identity: bool,
    /// Why there will be no more transactions.
    fatal: Option<Error>,
}

/// Does what it is asked until the producer is dropped.
pub(super) async fn run(inner: Arc<Inner>, id: Str, mut commands: mpsc::Receiver<Command>) {
    let mut coordination = Coordination {
        coordinator: Coordinator::new(&inner.cluster, Keeper::Transaction, id.clone()),
        inner,
        id,
        groups: BTreeMap::new(),
        identity: None,
        registration: Registration::ByClient,
        asked: None,
        is_open: false,
        added_groups: BTreeSet::new(),
        has_offsets: false,
        needs_identity: true,
        fatal: None,
    };
    while let Some(command) = commands.recv().await {
        let (done, reply) = match command {
            Command::Init(reply) => (coordination.take_over().await, Some(reply)),
            Command::Begin(reply) => (coordination.begin().await, Some(reply)),
            Command::Register(reply) => (coordination.register().await, Some(reply)),
            Command::Offsets(offsets, group, reply) => {
                (coordination.add_offsets(&offsets, &group).await, Some(reply))
            }
            Command::End(outcome, reply) => (coordination.end(outcome).await, reply),
            Command::Settle(reply) => (Ok(()), Some(reply)),
        };
        if let Err(error) = &done {
            tracing::debug!(transactional_id = %coordination.id, %error, "a step of a transaction failed");
        }
        if let Some(reply) = reply {
            // Whoever does not wait any more does not need to know.
            let _ = reply.send(done);
        }
    }
}

impl Coordination {
    fn deadline(&self, what: &'static str) -> Deadline {
        let limit = self.inner.options.max_block_ms.max(self.inner.options.transaction_timeout_ms.into());
        Deadline::after(self.inner.cluster.host(), what, millis(limit))
    }

    /// Asks the cluster how transactions work, if that was not asked for long.
    async fn learn_version(&mut self) -> Result<(), Error> {
        let cluster = &self.inner.cluster;
        let max_age = millis(cluster.options().metadata_max_age_ms);
        if self.asked.is_some_and(|it| cluster.host().now().since(it) < max_age) {
            return Ok(());
        }
        let deadline = cluster.deadline("asking how transactions work");
        let asking = Box::pin(async { cluster.node(Target::Any, deadline).await?.announced_now().await });
        let announced = cluster.within(deadline, asking).await?;
        let agreed = announced.finalized_features.iter().find(|it| it.name == "transaction.version");
        let by_broker = agreed.is_some_and(|it| it.max_version_level >= 2);
        self.registration = if by_broker { Registration::ByBroker } else { Registration::ByClient };
        let last = if by_broker { i16::MAX } else { LAST_PRODUCE_V1 };
        self.inner.last_produce_version.store(last, Ordering::SeqCst);
        self.asked = Some(cluster.host().now());
        Ok(())
    }

    /// Gets an identity from the coordinator, which ends what a former producer left open, or this one.
    async fn take_over(&mut self) -> Result<(), Error> {
        self.learn_version().await?;
        let before = self.identity;
        let request = |version: i16| InitProducerIdRequest {
            transactional_id: Some(self.id.clone()),
            transaction_timeout_ms: self.inner.options.transaction_timeout_ms,
            producer_id: before.filter(|_| version >= 3).map_or(-1, |it| it.id.0),
            producer_epoch: before.filter(|_| version >= 3).map_or(-1, |it| it.epoch.0),
            ..InitProducerIdRequest::default()
        };
        let versions = InitProducerIdRequest::FIRST_VERSION..=InitProducerIdRequest::LAST_VERSION;
        let deadline = self.deadline("taking over a transactional.id");
        let mut pauses = self.inner.cluster.retry_backoff();
        loop {
            let code = |it: &ottla_wire::messages::init_producer_id_response::InitProducerIdResponse| {
                ErrorCode::from_code(it.error_code)
            };
            let (_, answer) = self.coordinator.ask(deadline, versions.clone(), &request, code).await?;
            match code(&answer) {
                ErrorCode::None => {
                    let (id, epoch) = (ProducerId(answer.producer_id), ProducerEpoch(answer.producer_epoch));
                    self.set_identity(id, epoch);
                    self.needs_identity = false;
                    return Ok(());
                }
                code if Error::from(code).is_retriable() => {
                    self.inner.cluster.pause(&mut pauses, deadline, &mut Some(code.into())).await?;
                }
                code => return Err(self.fail(code.into())),
            }
        }
    }

    fn set_identity(&mut self, id: ProducerId, epoch: ProducerEpoch) {
        let identity = Identity { id, epoch, transactional: true };
        self.identity = Some(identity);
        self.inner.accumulator.lock().set_identity(identity);
    }

    /// Takes a refusal after which there are no more transactions.
    fn fail(&mut self, error: Error) -> Error {
        let error = error.fencing();
        self.fatal = Some(error.clone());
        self.inner.accumulator.lock().fail_all(&error);
        error
    }

    /// Takes an error of a step within a transaction: it can only be aborted, if anything.
    fn refuse(&mut self, error: Error) -> Error {
        let fatal = matches!(
            error.code(),
            Some(
                ErrorCode::ProducerFenced
                    | ErrorCode::InvalidProducerEpoch
                    | ErrorCode::TransactionalIdAuthorizationFailed
                    | ErrorCode::InvalidTxnState
                    | ErrorCode::InvalidProducerIdMapping
                    | ErrorCode::UnsupportedForMessageFormat
            )
        );
        if fatal {
            return self.fail(error);
        }
        self.inner.accumulator.lock().fail_transaction(&error);
        error
    }

    fn check_usable(&self) -> Result<Identity, Error> {
        match (&self.fatal, self.identity) {
            (Some(fatal), _) => Err(fatal.clone()),
            (None, Some(identity)) => Ok(identity),
            (None, None) => Err(Error::Closed("the transactional.id was not taken over".into())),
        }
    }

    async fn begin(&mut self) -> Result<(), Error> {
        if self.is_open {
            // It was forgotten rather than dropped, or whoever began it did not wait for the answer.
            self.end(Outcome::Abort).await?;
        }
        self.check_usable()?;
        if self.needs_identity {
            self.take_over().await?;
        }
        self.learn_version().await?;
        self.added_groups.clear();
        self.has_offsets = false;
        self.inner.accumulator.lock().begin_transaction(self.registration);
        self.is_open = true;
        Ok(())
    }

    /// Tells the coordinator of the partitions that wait for that.
    async fn register(&mut self) -> Result<(), Error> {
        let identity = self.check_usable()?;
        let waiting = self.inner.accumulator.lock().unregistered();
        if waiting.is_empty() || !self.is_open {
            return Ok(());
        }
        let topics = by_topic(waiting.iter().map(|it| (it.clone(), ()))).into_iter();
        let topics: Vec<_> = topics
            .map(|(name, partitions)| AddPartitionsToTxnTopic {
                name,
                partitions: partitions.into_iter().map(|(index, ())| index.0).collect(),
                ..AddPartitionsToTxnTopic::default()
            })
            .collect();
        let id = self.id.clone();
        let request = |_| AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: id.clone(),
            v3_and_below_producer_id: identity.id.0,
            v3_and_below_producer_epoch: identity.epoch.0,
            v3_and_below_topics: topics.clone(),
            ..AddPartitionsToTxnRequest::default()
        };
        let versions = AddPartitionsToTxnRequest::FIRST_VERSION..=LAST_ADD_PARTITIONS;
        let deadline = self.deadline("adding partitions to a transaction");
        let mut pauses = self.inner.cluster.retry_backoff();
        loop {
            let asked = self.coordinator.ask(deadline, versions.clone(), &request, added_code).await;
            let code = match asked {
                Ok((_, answer)) => added_code(&answer),
                Err(error) => return Err(self.refuse(error)),
            };
            match code {
                ErrorCode::None => break,
                // The former transaction is ending: soon it will have.
                ErrorCode::ConcurrentTransactions if pauses.attempts() < 5 => {
                    pauses.count();
                    self.inner.cluster.host().sleep(CONCURRENT_PAUSE).await;
                }
                code if Error::from(code).is_retriable() => {
                    let paused =
                        self.inner.cluster.pause(&mut pauses, deadline, &mut Some(code.into())).await;
                    paused.map_err(|error| self.refuse(error))?;
                }
                code => return Err(self.refuse(code.into())),
            }
        }
        self.inner.accumulator.lock().register(&waiting);
        self.inner.wake.notify_one();
        Ok(())
    }

    /// Lets offsets be committed with the transaction.
    async fn add_offsets(&mut self, offsets: &Committed, group: &GroupMetadata) -> Result<(), Error> {
        let identity = self.check_usable()?;
        if !self.is_open {
            return Err(Error::invalid("the transaction has ended"));
        }
        if let Some(error) = self.inner.accumulator.lock().transaction_error() {
            return Err(error.clone());
        }
        self.has_offsets = true;
        if self.registration == Registration::ByClient && !self.added_groups.contains(&group.group_id) {
            self.add_group(identity, &group.group_id).await?;
        }
        let deadline = self.deadline("committing offsets in a transaction");
        let mut pauses = self.inner.cluster.retry_backoff();
        loop {
            let code = match self.commit_offsets(identity, offsets, group, deadline).await {
                Ok(code) => code,
                Err(error) => return Err(self.refuse(error)),
            };
            match code {
                ErrorCode::None => return Ok(()),
                code if Error::from(code).is_retriable() => {
                    let paused =
                        self.inner.cluster.pause(&mut pauses, deadline, &mut Some(code.into())).await;
                    paused.map_err(|error| self.refuse(error))?;
                }
                code => return Err(self.refuse(code.into())),
            }
        }
    }

    async fn add_group(&mut self, identity: Identity, group: &Str) -> Result<(), Error> {
        let id = self.id.clone();
        let request = |_| AddOffsetsToTxnRequest {
            transactional_id: id.clone(),
            producer_id: identity.id.0,
            producer_epoch: identity.epoch.0,
            group_id: group.clone(),
            ..AddOffsetsToTxnRequest::default()
        };
        let versions = AddOffsetsToTxnRequest::FIRST_VERSION..=AddOffsetsToTxnRequest::LAST_VERSION;
        let deadline = self.deadline("adding a group to a transaction");
        let mut pauses = self.inner.cluster.retry_backoff();
        loop {
            let code = |it: &ottla_wire::messages::add_offsets_to_txn_response::AddOffsetsToTxnResponse| {
                ErrorCode::from_code(it.error_code)
            };
            let asked = self.coordinator.ask(deadline, versions.clone(), &request, code).await;
            let code = match asked {
                Ok((_, answer)) => code(&answer),
                Err(error) => return Err(self.refuse(error)),
            };
            match code {
                ErrorCode::None => break,
                code if Error::from(code).is_retriable() => {
                    let paused =
                        self.inner.cluster.pause(&mut pauses, deadline, &mut Some(code.into())).await;
                    paused.map_err(|error| self.refuse(error))?;
                }
                code => return Err(self.refuse(code.into())),
            }
        }
        self.added_groups.insert(group.clone());
        Ok(())
    }

    /// Sends offsets to the group's coordinator; the first refusal of a partition.
    async fn commit_offsets(
        &mut self,
        identity: Identity,
        offsets: &Committed,
        group: &GroupMetadata,
        deadline: Deadline,
    ) -> Result<ErrorCode, Error> {
        let metadata = self.inner.cluster.metadata();
        let topics = by_topic(offsets.iter().map(|(it, offset)| (it.clone(), offset))).into_iter();
        let topics: Vec<_> = topics
            .map(|(name, partitions)| TxnOffsetCommitRequestTopic {
                topic_id: id_of(&metadata, &name),
                name,
                partitions: partitions
                    .into_iter()
                    .map(|(index, offset)| TxnOffsetCommitRequestPartition {
                        partition_index: index.0,
                        committed_offset: offset.offset.0,
                        committed_leader_epoch: offset.leader_epoch.map_or(-1, |it| it.0),
                        committed_metadata: Some(offset.metadata.clone()),
                        ..TxnOffsetCommitRequestPartition::default()
                    })
                    .collect(),
                ..TxnOffsetCommitRequestTopic::default()
            })
            .collect();
        let request = |version: i16| {
            let mut request = TxnOffsetCommitRequest {
                transactional_id: self.id.clone(),
                group_id: group.group_id.clone(),
                producer_id: identity.id.0,
                producer_epoch: identity.epoch.0,
                topics: topics.clone(),
                ..TxnOffsetCommitRequest::default()
            };
            if version >= 3 {
                request.generation_id_or_member_epoch = group.generation;
                request.member_id = group.member_id.clone();
                request.group_instance_id = group.instance_id.clone();
            }
            request
        };
        // Who is fenced by its membership must not be asked in a version that does not know of it.
        let first = if group.member_id.is_empty() { 0 } else { 3 };
        let all_have_ids = topics.iter().all(|it| !it.topic_id.is_zero());
        let versions = match self.registration {
            Registration::ByClient => first..=LAST_TXN_OFFSET_COMMIT_V1,
            Registration::ByBroker if all_have_ids => {
                LAST_TXN_OFFSET_COMMIT_V1 + 1..=TxnOffsetCommitRequest::LAST_VERSION
            }
            Registration::ByBroker => LAST_TXN_OFFSET_COMMIT_V1 + 1..=FIRST_OFFSETS_WITH_IDS - 1,
        };
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&group.group_id) {
            self.groups.clear();
        }
        let cluster = &self.inner.cluster;
        let group_id = &group.group_id;
        let coordinator = self
            .groups
            .entry(group_id.clone())
            .or_insert_with(|| Coordinator::new(cluster, Keeper::Group, group_id.clone()));
        let (_, answer) = coordinator.ask(deadline, versions, request, committed_code).await?;
        Ok(committed_code(&answer))
    }

    /// Ends the transaction, if there is one.
    async fn end(&mut self, outcome: Outcome) -> Result<(), Error> {
        if !std::mem::take(&mut self.is_open) {
            return self.check_usable().map(drop);
        }
        let mut wrong = None;
        match outcome {
            Outcome::Commit => {
                wrong = self.register_open().await.err();
                self.inner.flush().await;
                wrong = self.inner.accumulator.lock().transaction_error().cloned().or(wrong);
            }
            Outcome::Abort => {
                let aborted = Error::Closed("the transaction was aborted".into());
                let before = self.inner.accumulator.lock().transaction_error().cloned();
                self.inner.accumulator.lock().fail_transaction(&aborted);
                self.inner.flush().await;
                self.needs_identity |= before.is_some();
            }
        }
        self.check_usable()?;
        let has_any = self.has_offsets || self.inner.accumulator.lock().has_written();
        if !has_any {
            return wrong.map_or(Ok(()), Err);
        }
        self.needs_identity |= wrong.is_some();
        let commits = outcome == Outcome::Commit && wrong.is_none();
        let ended = self.tell_end(if commits { Outcome::Commit } else { Outcome::Abort }).await;
        wrong.map_or(ended, Err)
    }

    /// The partitions whose registration nobody waited for.
    async fn register_open(&mut self) -> Result<(), Error> {
        self.is_open = true;
        let registered = self.register().await;
        self.is_open = false;
        registered
    }

    /// Tells the coordinator how the transaction ends.
    async fn tell_end(&mut self, outcome: Outcome) -> Result<(), Error> {
        let identity = self.check_usable()?;
        let request = |_| EndTxnRequest {
            transactional_id: self.id.clone(),
            producer_id: identity.id.0,
            producer_epoch: identity.epoch.0,
            committed: outcome == Outcome::Commit,
            ..EndTxnRequest::default()
        };
        let versions = match self.registration {
            Registration::ByClient => EndTxnRequest::FIRST_VERSION..=LAST_END_TXN_V1,
            Registration::ByBroker => LAST_END_TXN_V1 + 1..=EndTxnRequest::LAST_VERSION,
        };
        let deadline = self.deadline("ending a transaction");
        let mut pauses = self.inner.cluster.retry_backoff();
        let refused = loop {
            let code = |it: &ottla_wire::messages::end_txn_response::EndTxnResponse| {
                ErrorCode::from_code(it.error_code)
            };
            let answer = match self.coordinator.ask(deadline, versions.clone(), &request, code).await {
                Ok((_, answer)) => answer,
                Err(error) => break error,
            };
            match code(&answer) {
                ErrorCode::None if self.registration == Registration::ByBroker && answer.producer_id >= 0 => {
                    let (id, epoch) = (ProducerId(answer.producer_id), ProducerEpoch(answer.producer_epoch));
                    self.set_identity(id, epoch);
                    // The new epoch is what a gap needed.
                    self.needs_identity = false;
                    return Ok(());
                }
                ErrorCode::None => return Ok(()),
                code if Error::from(code).is_retriable() => {
                    let mut last = Some(Error::from(code));
                    if let Err(error) = self.inner.cluster.pause(&mut pauses, deadline, &mut last).await {
                        break error;
                    }
                }
                code => break code.into(),
            }
        };
        self.needs_identity = true;
        match refused.code() {
            // What can be begun again, with an identity of the coordinator's.
            Some(ErrorCode::UnknownProducerId | ErrorCode::TransactionAbortable)
                if outcome == Outcome::Commit =>
            {
                Err(refused)
            }
            Some(_) if !refused.is_retriable() => Err(self.fail(refused)),
            _ => Err(refused),
        }
    }
}

/// What was refused of some partitions: the worst, which is whatever does not pass.
fn added_code(answer: &AddPartitionsToTxnResponse) -> ErrorCode {
    let partitions = answer.results_by_topic_v3_and_below.iter().flat_map(|it| &it.results_by_partition);
    worst(partitions.map(|it| ErrorCode::from_code(it.partition_error_code)))
}

fn committed_code(answer: &TxnOffsetCommitResponse) -> ErrorCode {
    let partitions = answer.topics.iter().flat_map(|it| &it.partitions);
    worst(partitions.map(|it| ErrorCode::from_code(it.error_code)))
}

/// What does not pass by itself, or else what does, or else nothing.
fn worst(codes: impl Iterator<Item = ErrorCode>) -> ErrorCode {
    let weight = |code: &ErrorCode| match code {
        ErrorCode::None => 0,
        // Others were refused, and this one with them.
        ErrorCode::OperationNotAttempted => 1,
        code if Error::from(*code).is_retriable() => 2,
        _ => 3,
    };
    codes.max_by_key(weight).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_several_codes() {
        use ErrorCode::*;
        assert_eq!(worst([None, None].into_iter()), None);
        assert_eq!(
            worst([OperationNotAttempted, ConcurrentTransactions].into_iter()),
            ConcurrentTransactions
        );
        let all = [ConcurrentTransactions, TopicAuthorizationFailed, None, OperationNotAttempted];
        assert_eq!(worst(all.into_iter()), TopicAuthorizationFailed);
    }
}
