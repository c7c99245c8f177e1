//! Partitions: offsets, deletion of records, producers, elections, reassignments.

use std::collections::BTreeMap;

use ottla_base::{LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, Str, Timestamp};
use ottla_wire::Message;
use ottla_wire::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use ottla_wire::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use ottla_wire::messages::delete_records_response::DeleteRecordsResponse;
use ottla_wire::messages::describe_producers_request::{DescribeProducersRequest, TopicRequest};
use ottla_wire::messages::describe_producers_response::{DescribeProducersResponse, ProducerState};
use ottla_wire::messages::elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
use ottla_wire::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ottla_wire::messages::list_offsets_response::ListOffsetsResponse;
use ottla_wire::messages::list_partition_reassignments_request::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};

use super::topics::{nodes, numbers};
use super::{Admin, Items, every, first_passing, outcome};
use crate::cluster::{AskedPartition, LeaderQuestion, Target, ToldPartition, TopicPartition, by_topic};
use crate::error::{Error, refused};

/// Which offset is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first offset.
    Earliest,
    /// The end: the high watermark, or the last stable offset.
    Latest,
    /// The first record at or after this time.
    AtOrAfter(Timestamp),
    /// The record with the highest timestamp.
    MaxTimestamp,
    /// The first offset on local disks.
    EarliestLocal,
    /// The last offset in tiered storage.
    LatestTiered,
    /// The first offset that is still to be copied to tiered storage.
    EarliestPendingUpload,
}

impl OffsetSpec {
    fn number(self) -> i64 {
        match self {
            OffsetSpec::AtOrAfter(timestamp) => timestamp.0,
            OffsetSpec::Latest => -1,
            OffsetSpec::Earliest => -2,
            OffsetSpec::MaxTimestamp => -3,
            OffsetSpec::EarliestLocal => -4,
            OffsetSpec::LatestTiered => -5,
            OffsetSpec::EarliestPendingUpload => -6,
        }
    }

    /// The first version of `ListOffsets` that knows all of these.
    pub(crate) fn first_version_of(specs: impl Iterator<Item = OffsetSpec>) -> i16 {
        specs.map(OffsetSpec::first_version).max().unwrap_or(1)
    }

    fn first_version(self) -> i16 {
        match self {
            OffsetSpec::Earliest | OffsetSpec::Latest | OffsetSpec::AtOrAfter(_) => 1,
            OffsetSpec::MaxTimestamp => 7,
            OffsetSpec::EarliestLocal => 8,
            OffsetSpec::LatestTiered => 9,
            OffsetSpec::EarliestPendingUpload => 11,
        }
    }
}

/// An offset that was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; `None` if no record is as asked for.
    pub offset: Option<Offset>,
    /// The timestamp of the record there, if it was looked for by time.
    pub timestamp: Option<Timestamp>,
    /// The leader epoch of the record there, if the broker tells.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Up to where records are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionOffset {
    /// Below this offset.
    Before(Offset),
    /// All that is committed.
    End,
}

/// A producer whose state a partition keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribedProducer {
    /// Its id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: i32,
    /// The sequence of its last record.
    pub last_sequence: i32,
    /// When it last wrote.
    pub last_timestamp: Timestamp,
    /// The epoch of its transaction's coordinator, if it is transactional.
    pub coordinator_epoch: Option<i32>,
    /// Where its open transaction begins, if there is one.
    pub transaction_start: Option<Offset>,
}

/// Which replica may become the leader (`ElectionType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ElectionType {
    /// The first of the replicas, if it is in sync.
    Preferred = 0,
    /// Any replica, although records may be lost.
    Unclean = 1,
}

/// A partition whose replicas are being moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OngoingReassignment {
    /// All replicas now.
    pub replicas: Vec<NodeId>,
    /// Those on their way in.
    pub adding: Vec<NodeId>,
    /// Those on their way out.
    pub removing: Vec<NodeId>,
}

/// How the isolation level of a consumer is written.
pub(crate) fn isolation_number(read_committed: bool) -> i8 {
    i8::from(read_committed)
}

/// The question where offsets are, for [`crate::cluster::Cluster::ask_leaders`].
pub(crate) fn offsets_question(
    first_version: i16,
    read_committed: bool,
    timeout_ms: i32,
) -> LeaderQuestion<OffsetSpec, ListedOffset, ListOffsetsRequest> {
    let isolated = if read_committed { 2 } else { 1 };
    let first = first_version.max(isolated);
    let build = move |share: &[AskedPartition<OffsetSpec>]| {
        let asked = share.iter().map(|(partition, epoch, spec)| (partition.clone(), (*epoch, *spec)));
        let topics = by_topic(asked).into_iter().map(|(name, partitions)| ListOffsetsTopic {
            name,
            partitions: partitions
                .into_iter()
                .map(|(index, (epoch, spec))| ListOffsetsPartition {
                    partition_index: index.0,
                    current_leader_epoch: epoch.0,
                    timestamp: spec.number(),
                    ..ListOffsetsPartition::default()
                })
                .collect(),
            ..ListOffsetsTopic::default()
        });
        ListOffsetsRequest {
            replica_id: NodeId::NONE.0,
            isolation_level: isolation_number(read_committed),
            topics: topics.collect(),
            timeout_ms,
            ..ListOffsetsRequest::default()
        }
    };
    LeaderQuestion {
        versions: first..=ListOffsetsRequest::LAST_VERSION,
        build: Box::new(build),
        read: read_offsets,
    }
}

fn read_offsets(answer: ListOffsetsResponse) -> Vec<ToldPartition<ListedOffset>> {
    let mut listed = Vec::new();
    for topic in answer.topics {
        for it in topic.partitions {
            let offset = ListedOffset {
                offset: (it.offset >= 0).then_some(Offset(it.offset)),
                timestamp: (it.timestamp >= 0).then_some(Timestamp(it.timestamp)),
                leader_epoch: (it.leader_epoch >= 0).then_some(LeaderEpoch(it.leader_epoch)),
            };
            let partition = TopicPartition::new(topic.name.clone(), it.partition_index);
            listed.push((partition, outcome(it.error_code, None, || offset)));
        }
    }
    listed
}

impl Admin {
    /// Where offsets are. With `read_committed`, the end is where open transactions begin.
    pub async fn list_offsets(
        &self,
        partitions: &BTreeMap<TopicPartition, OffsetSpec>,
        isolation: Isolation,
    ) -> Items<TopicPartition, ListedOffset> {
        let deadline = self.deadline("listing offsets");
        let read_committed = isolation == Isolation::ReadCommitted;
        let first = OffsetSpec::first_version_of(partitions.values().copied());
        let question = offsets_question(first, read_committed, self.server_timeout_ms());
        self.cluster.ask_leaders(partitions.clone(), question, deadline).await.into_iter().collect()
    }

    /// Deletes the records below an offset, and tells the first offset that is left.
    pub async fn delete_records(
        &self,
        partitions: &BTreeMap<TopicPartition, PartitionOffset>,
    ) -> Items<TopicPartition, Offset> {
        let deadline = self.deadline("deleting records");
        let timeout_ms = self.server_timeout_ms();
        let build = move |share: &[AskedPartition<PartitionOffset>]| {
            let asked = share.iter().map(|(partition, _, before)| (partition.clone(), *before));
            let topics = by_topic(asked).into_iter().map(|(name, partitions)| DeleteRecordsTopic {
                name,
                partitions: partitions
                    .into_iter()
                    .map(|(index, before)| DeleteRecordsPartition {
                        partition_index: index.0,
                        offset: match before {
                            PartitionOffset::Before(offset) => offset.0,
                            PartitionOffset::End => -1,
                        },
                        ..DeleteRecordsPartition::default()
                    })
                    .collect(),
                ..DeleteRecordsTopic::default()
            });
            DeleteRecordsRequest { topics: topics.collect(), timeout_ms, ..DeleteRecordsRequest::default() }
        };
        let read = |answer: DeleteRecordsResponse| {
            let mut deleted = Vec::new();
            for topic in answer.topics {
                for it in topic.partitions {
                    let partition = TopicPartition::new(topic.name.clone(), it.partition_index);
                    deleted.push((partition, outcome(it.error_code, None, || Offset(it.low_watermark))));
                }
            }
            deleted
        };
        let question =
            LeaderQuestion { versions: every::<DeleteRecordsRequest>(), build: Box::new(build), read };
        self.cluster.ask_leaders(partitions.clone(), question, deadline).await.into_iter().collect()
    }

    /// The producers whose state partitions keep.
    pub async fn describe_producers(
        &self,
        partitions: &[TopicPartition],
    ) -> Items<TopicPartition, Vec<DescribedProducer>> {
        let deadline = self.deadline("describing producers");
        let build = |share: &[AskedPartition<()>]| {
            let asked = share.iter().map(|(partition, ..)| (partition.clone(), ()));
            let topics = by_topic(asked).into_iter().map(|(name, partitions)| TopicRequest {
                name,
                partition_indexes: partitions.into_iter().map(|(index, ())| index.0).collect(),
                ..TopicRequest::default()
            });
            DescribeProducersRequest { topics: topics.collect(), ..DescribeProducersRequest::default() }
        };
        let read = |answer: DescribeProducersResponse| {
            let mut described = Vec::new();
            for topic in answer.topics {
                for it in topic.partitions {
                    let producers = it.active_producers.iter().map(producer);
                    let producers = outcome(it.error_code, it.error_message, || producers.collect());
                    described.push((TopicPartition::new(topic.name.clone(), it.partition_index), producers));
                }
            }
            described
        };
        let question =
            LeaderQuestion { versions: every::<DescribeProducersRequest>(), build: Box::new(build), read };
        let partitions = partitions.iter().cloned().map(|it| (it, ())).collect();
        self.cluster.ask_leaders(partitions, question, deadline).await.into_iter().collect()
    }

    /// Has leaders elected; no partitions means all. Only partitions that were asked for, or that needed an election,
    /// are in the answer.
    pub async fn elect_leaders(
        &self,
        election: ElectionType,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Items<TopicPartition, ()>, Error> {
        let deadline = self.deadline("electing leaders");
        let topics = |partitions: &[TopicPartition]| {
            let topics = by_topic(partitions.iter().cloned().map(|it| (it, ()))).into_iter();
            topics
                .map(|(topic, partitions)| TopicPartitions {
                    topic,
                    partitions: partitions.into_iter().map(|(index, ())| index.0).collect(),
                    ..TopicPartitions::default()
                })
                .collect()
        };
        let request = ElectLeadersRequest {
            election_type: election as i8,
            topic_partitions: partitions.map(topics),
            timeout_ms: self.server_timeout_ms(),
            ..ElectLeadersRequest::default()
        };
        let first = if election == ElectionType::Unclean { 1 } else { 0 };
        let answer = self
            .ask(
                Target::Controller,
                deadline,
                first..=ElectLeadersRequest::LAST_VERSION,
                |_| request.clone(),
                |answer| first_passing([answer.error_code]),
            )
            .await?;
        refused(answer.error_code, None)?;
        let mut elected = Vec::new();
        for topic in answer.replica_election_results {
            for it in topic.partition_result {
                let partition = TopicPartition::new(topic.topic.clone(), it.partition_id);
                elected.push((partition, outcome(it.error_code, it.error_message, || ())));
            }
        }
        Ok(elected)
    }

    /// Moves replicas to other brokers; no brokers means that a move under way is given up.
    pub async fn alter_partition_reassignments(
        &self,
        reassignments: &BTreeMap<TopicPartition, Option<Vec<NodeId>>>,
    ) -> Result<Items<TopicPartition, ()>, Error> {
        let deadline = self.deadline("reassigning partitions");
        let asked = reassignments.iter().map(|(partition, to)| (partition.clone(), to.clone()));
        let topics = by_topic(asked).into_iter().map(|(name, partitions)| ReassignableTopic {
            name,
            partitions: partitions
                .into_iter()
                .map(|(index, to)| ReassignablePartition {
                    partition_index: index.0,
                    replicas: to.as_deref().map(numbers),
                    ..ReassignablePartition::default()
                })
                .collect(),
            ..ReassignableTopic::default()
        });
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: self.server_timeout_ms(),
            topics: topics.collect(),
            ..AlterPartitionReassignmentsRequest::default()
        };
        let answer = self
            .ask(
                Target::Controller,
                deadline,
                every::<AlterPartitionReassignmentsRequest>(),
                |_| request.clone(),
                |answer| first_passing([answer.error_code]),
            )
            .await?;
        refused(answer.error_code, answer.error_message.as_ref())?;
        let mut altered = Vec::new();
        for topic in answer.responses {
            for it in topic.partitions {
                let partition = TopicPartition::new(topic.name.clone(), it.partition_index);
                altered.push((partition, outcome(it.error_code, it.error_message, || ())));
            }
        }
        Ok(altered)
    }

    /// The moves of replicas under way; no partitions means all.
    pub async fn list_partition_reassignments(
        &self,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<BTreeMap<TopicPartition, OngoingReassignment>, Error> {
        let deadline = self.deadline("listing reassignments");
        let topics = |partitions: &[TopicPartition]| {
            let topics = by_topic(partitions.iter().cloned().map(|it| (it, ()))).into_iter();
            topics
                .map(|(name, partitions)| ListPartitionReassignmentsTopics {
                    name,
                    partition_indexes: partitions.into_iter().map(|(index, ())| index.0).collect(),
                    ..ListPartitionReassignmentsTopics::default()
                })
                .collect()
        };
        let request = ListPartitionReassignmentsRequest {
            timeout_ms: self.server_timeout_ms(),
            topics: partitions.map(topics),
            ..ListPartitionReassignmentsRequest::default()
        };
        let answer = self
            .ask(
                Target::Controller,
                deadline,
                every::<ListPartitionReassignmentsRequest>(),
                |_| request.clone(),
                |answer| first_passing([answer.error_code]),
            )
            .await?;
        refused(answer.error_code, answer.error_message.as_ref())?;
        let mut ongoing = BTreeMap::new();
        for topic in answer.topics {
            for it in topic.partitions {
                let reassignment = OngoingReassignment {
                    replicas: nodes(it.replicas),
                    adding: nodes(it.adding_replicas),
                    removing: nodes(it.removing_replicas),
                };
                let partition = PartitionIndex(it.partition_index);
                ongoing.insert(TopicPartition { topic: topic.name.clone(), partition }, reassignment);
            }
        }
        Ok(ongoing)
    }

    /// The partitions of topics, for calls about whole topics.
    pub async fn partitions_of(&self, topics: &[Str]) -> Result<Items<Str, Vec<TopicPartition>>, Error> {
        let described = self.describe_topics(topics).await?.into_iter();
        Ok(described
            .map(|(name, topic)| {
                let partitions = topic.map(|topic| {
                    let of = |index| TopicPartition { topic: topic.name.clone(), partition: index };
                    topic.partitions.iter().map(|it| of(it.index)).collect()
                });
                (name, partitions)
            })
            .collect())
    }
}

/// Which records count (`isolation.level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// All that are committed to the log.
    #[default]
    ReadUncommitted,
    /// Only those before the first open transaction.
    ReadCommitted,
}

fn producer(it: &ProducerState) -> DescribedProducer {
    DescribedProducer {
        id: ProducerId(it.producer_id),
        epoch: it.producer_epoch,
        last_sequence: it.last_sequence,
        last_timestamp: Timestamp(it.last_timestamp),
        coordinator_epoch: (it.coordinator_epoch >= 0).then_some(it.coordinator_epoch),
        transaction_start: (it.current_txn_start_offset >= 0).then_some(Offset(it.current_txn_start_offset)),
    }
}
