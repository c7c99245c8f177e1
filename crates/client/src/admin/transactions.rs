//! Transactions: list, describe, abort, and find those that hang.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla_base::{ErrorCode, NodeId, Offset, ProducerEpoch, ProducerId, Str, Timestamp};
use ottla_wire::Message;
use ottla_wire::messages::describe_transactions_request::DescribeTransactionsRequest;
use ottla_wire::messages::describe_transactions_response::DescribeTransactionsResponse;
use ottla_wire::messages::list_transactions_request::ListTransactionsRequest;
use ottla_wire::messages::list_transactions_response::ListTransactionsResponse;
use ottla_wire::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use ottla_wire::messages::write_txn_markers_response::WriteTxnMarkersResponse;

use super::{Admin, DescribedProducer, Items, every};
use crate::cluster::{AskedPartition, Deadline, LeaderQuestion, Target, TopicPartition, by_topic};
use crate::coordinator::{Coordinator, Keeper, find_until};
use crate::error::{Error, refused};

/// Which transactions are listed.
#[derive(Debug, Clone, Default)]
pub struct TransactionFilter {
    /// In these states; none means any.
    pub states: Vec<Str>,
    /// Of these producers; none means any.
    pub producers: Vec<ProducerId>,
    /// Running longer than this.
    pub longer_than: Option<Duration>,
    /// Whose transactional id matches a pattern of RE2's.
    pub pattern: Option<Str>,
}

/// A transaction in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTransaction {
    /// Its transactional id.
    pub id: Str,
    /// Who coordinates it.
    pub coordinator: NodeId,
    /// Its producer.
    pub producer: ProducerId,
    /// Its state, in Kafka's words.
    pub state: Str,
}

/// A transaction in detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionDescription {
    /// Who coordinates it.
    pub coordinator: NodeId,
    /// Its state, in Kafka's words.
    pub state: Str,
    /// Its producer.
    pub producer: ProducerId,
    /// The producer's epoch.
    pub epoch: ProducerEpoch,
    /// How long it may be open.
    pub timeout: Duration,
    /// When it began, if it is open.
    pub started: Option<Timestamp>,
    /// The partitions that it has written to and that do not know its end.
    pub partitions: BTreeSet<TopicPartition>,
}

/// A transaction to be aborted in one partition (`AbortTransactionSpec`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbortSpec {
    /// The partition.
    pub partition: TopicPartition,
    /// Its producer.
    pub producer: ProducerId,
    /// The producer's epoch.
    pub epoch: ProducerEpoch,
    /// The epoch of its coordinator, as the partition knows it; -1 if none.
    pub coordinator_epoch: i32,
}

/// A transaction that is open in a partition, although its coordinator does not know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HangingTransaction {
    /// The partition.
    pub partition: TopicPartition,
    /// Its producer, as the partition knows it.
    pub producer: DescribedProducer,
    /// Where it begins.
    pub start: Offset,
}

/// How many partitions are asked at once while looking for hanging transactions (`MAX_BATCH_SIZE`).
const PARTITIONS_AT_ONCE: usize = 500;

impl Admin {
    /// The transactions of all coordinators.
    pub async fn list_transactions(
        &self,
        filter: &TransactionFilter,
    ) -> Result<Vec<ListedTransaction>, Error> {
        let deadline = self.deadline("listing transactions");
        let mut listed = Vec::new();
        for broker in self.broker_ids(deadline).await? {
            listed.extend(self.transactions_of(broker, filter, deadline).await?);
        }
        listed.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(listed)
    }

    async fn transactions_of(
        &self,
        broker: NodeId,
        filter: &TransactionFilter,
        deadline: Deadline,
    ) -> Result<Vec<ListedTransaction>, Error> {
        let first = match (&filter.pattern, filter.longer_than) {
            (Some(_), _) => 2,
            (None, Some(_)) => 1,
            (None, None) => 0,
        };
        let longer_than = filter.longer_than.map(|it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX));
        let request = |_| ListTransactionsRequest {
            state_filters: filter.states.clone(),
            producer_id_filters: filter.producers.iter().map(|it| it.0).collect(),
            duration_filter: longer_than.unwrap_or(-1),
            transactional_id_pattern: filter.pattern.clone(),
            ..ListTransactionsRequest::default()
        };
        let versions = first..=ListTransactionsRequest::LAST_VERSION;
        let passing = |it: &ListTransactionsResponse| {
            Some(ErrorCode::from_code(it.error_code)).filter(|it| *it != ErrorCode::None)
        };
        let answer = self.ask(Target::Node(broker), deadline, versions, request, passing).await?;
        refused(answer.error_code, None)?;
        if let Some(unknown) = answer.unknown_state_filters.first() {
            return Err(Error::invalid(format!("transactions have no state {unknown}")));
        }
        let listed = answer.transaction_states.into_iter().map(|it| ListedTransaction {
            id: it.transactional_id.detached(),
            coordinator: broker,
            producer: ProducerId(it.producer_id),
            state: it.transaction_state.detached(),
        });
        Ok(listed.collect())
    }

    /// Transactions in detail, by their transactional ids.
    pub async fn describe_transactions(&self, ids: &[Str]) -> Items<Str, TransactionDescription> {
        let deadline = self.deadline("describing transactions");
        let mut described = Items::new();
        for id in ids {
            described.push((id.clone(), self.describe_transaction(id, deadline).await));
        }
        described
    }

    async fn describe_transaction(
        &self,
        id: &Str,
        deadline: Deadline,
    ) -> Result<TransactionDescription, Error> {
        let node = find_until(&self.cluster, Keeper::Transaction, id, deadline).await?;
        let coordinator = Coordinator::new(&self.cluster, Keeper::Transaction, id.clone());
        let request =
            |_| DescribeTransactionsRequest { transactional_ids: vec![id.clone()], ..Default::default() };
        let code = |it: &DescribeTransactionsResponse| {
            let told = it.transaction_states.first();
            told.map_or(ErrorCode::UnknownServerError, |it| ErrorCode::from_code(it.error_code))
        };
        let versions = every::<DescribeTransactionsRequest>();
        let (_, answer) = coordinator.ask(deadline, versions, request, code).await?;
        refused(code(&answer).code(), None)?;
        let Some(it) = answer.transaction_states.into_iter().next() else {
            return Err(Error::Corrupt("the transaction is missing in the answer".into()));
        };
        let partitions = it.topics.iter().flat_map(|topic| {
            let name = topic.topic.detached();
            topic.partitions.iter().map(move |index| TopicPartition::new(name.clone(), *index))
        });
        Ok(TransactionDescription {
            coordinator: node,
            state: it.transaction_state.detached(),
            producer: ProducerId(it.producer_id),
            epoch: ProducerEpoch(it.producer_epoch),
            timeout: Duration::from_millis(u64::try_from(it.transaction_timeout_ms).unwrap_or(0)),
            started: (it.transaction_start_time_ms >= 0).then_some(Timestamp(it.transaction_start_time_ms)),
            partitions: partitions.collect(),
        })
    }

    /// Aborts a transaction in one partition, without its coordinator: only for one that hangs.
    pub async fn abort_transaction(&self, spec: &AbortSpec) -> Result<(), Error> {
        let deadline = self.deadline("aborting a transaction");
        let marker = WritableTxnMarker {
            producer_id: spec.producer.0,
            producer_epoch: spec.epoch.0,
            transaction_result: false,
            coordinator_epoch: spec.coordinator_epoch,
            ..WritableTxnMarker::default()
        };
        let build = move |share: &[AskedPartition<()>]| {
            let asked = share.iter().map(|(partition, ..)| (partition.clone(), ()));
            let topics = by_topic(asked).into_iter().map(|(name, partitions)| WritableTxnMarkerTopic {
                name,
                partition_indexes: partitions.into_iter().map(|(index, ())| index.0).collect(),
                ..WritableTxnMarkerTopic::default()
            });
            let marker = WritableTxnMarker { topics: topics.collect(), ..marker.clone() };
            WriteTxnMarkersRequest { markers: vec![marker], ..WriteTxnMarkersRequest::default() }
        };
        let read = |answer: WriteTxnMarkersResponse| {
            let mut written = Vec::new();
            for topic in answer.markers.into_iter().flat_map(|it| it.topics) {
                for it in topic.partitions {
                    let partition = TopicPartition::new(topic.name.clone(), it.partition_index);
                    written.push((partition, refused(it.error_code, None)));
                }
            }
            written
        };
        let question =
            LeaderQuestion { versions: every::<WriteTxnMarkersRequest>(), build: Box::new(build), read };
        let asked = BTreeMap::from([(spec.partition.clone(), ())]);
        let answers = self.cluster.ask_leaders(asked, question, deadline).await;
        answers.into_values().next().unwrap_or_else(|| Err(ErrorCode::UnknownServerError.into()))
    }

    /// The transactions that begin at `start` in a partition, to be aborted there.
    pub async fn open_transaction_at(
        &self,
        partition: &TopicPartition,
        start: Offset,
    ) -> Result<AbortSpec, Error> {
        let described = self.describe_producers(std::slice::from_ref(partition)).await;
        let producers = described.into_iter().next().map(|(_, it)| it);
        let producers = producers.unwrap_or_else(|| Err(ErrorCode::UnknownTopicOrPartition.into()))?;
        let open = producers.iter().find(|it| it.transaction_start == Some(start));
        let open = open.ok_or_else(|| {
            Error::invalid(format!("no open transaction of {partition} begins at offset {start}"))
        })?;
        let epoch = i16::try_from(open.epoch)
            .map_err(|_| Error::Corrupt(format!("{} is no producer epoch", open.epoch).into()))?;
        Ok(AbortSpec {
            partition: partition.clone(),
            producer: open.id,
            epoch: ProducerEpoch(epoch),
            coordinator_epoch: open.coordinator_epoch.unwrap_or(-1),
        })
    }

    /// The transactions in these partitions that have been open for longer than `open_for` and that their
    /// coordinators will not end.
    pub async fn find_hanging_transactions(
        &self,
        partitions: &[TopicPartition],
        open_for: Duration,
    ) -> Result<Vec<HangingTransaction>, Error> {
        let now = self.cluster.host().wall_clock().0;
        let oldest = now.saturating_sub(i64::try_from(open_for.as_millis()).unwrap_or(i64::MAX));
        let mut open: Vec<HangingTransaction> = Vec::new();
        for some in partitions.chunks(PARTITIONS_AT_ONCE) {
            for (partition, producers) in self.describe_producers(some).await {
                for producer in producers? {
                    if let Some(start) =
                        producer.transaction_start.filter(|_| producer.last_timestamp.0 < oldest)
                    {
                        open.push(HangingTransaction { partition: partition.clone(), producer, start });
                    }
                }
            }
        }
        if open.is_empty() {
            return Ok(open);
        }
        let producers: BTreeSet<ProducerId> = open.iter().map(|it| it.producer.id).collect();
        let filter = TransactionFilter { producers: producers.into_iter().collect(), ..Default::default() };
        let known: BTreeMap<ProducerId, Str> =
            self.list_transactions(&filter).await?.into_iter().map(|it| (it.producer, it.id)).collect();
        let ids: Vec<Str> = known.values().cloned().collect();
        let mut ends: BTreeMap<Str, BTreeSet<TopicPartition>> = BTreeMap::new();
        for (id, described) in self.describe_transactions(&ids).await {
            match described {
                Ok(described) => drop(ends.insert(id, described.partitions)),
                Err(error) if error.code() == Some(ErrorCode::TransactionalIdNotFound) => {}
                Err(error) => return Err(error),
            }
        }
        open.retain(|it| {
            let id = known.get(&it.producer.id);
            !id.and_then(|id| ends.get(id)).is_some_and(|partitions| partitions.contains(&it.partition))
        });
        Ok(open)
    }
}
