//! Topics: create, list, describe, grow, delete.

use std::collections::BTreeMap;

use ottla_base::{ErrorCode, LeaderEpoch, NodeId, PartitionIndex, Str, Uuid};
use ottla_wire::Message;
use ottla_wire::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use ottla_wire::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use ottla_wire::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use ottla_wire::messages::describe_topic_partitions_request::{
    Cursor, DescribeTopicPartitionsRequest, TopicRequest,
};
use ottla_wire::messages::describe_topic_partitions_response::{
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use ottla_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ottla_wire::messages::metadata_response::{MetadataResponse, MetadataResponseTopic};

use super::{Admin, Items, every, first_passing, outcome};
use crate::cluster::{Deadline, Target};
use crate::error::{Error, refused};

/// A topic to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: Str,
    /// How many partitions; `None` leaves it to the broker (`num.partitions`).
    pub partitions: Option<i32>,
    /// How many replicas of each; `None` leaves it to the broker (`default.replication.factor`).
    pub replication_factor: Option<i16>,
    /// Which brokers have the replicas of each partition, instead of the two numbers.
    pub assignments: BTreeMap<PartitionIndex, Vec<NodeId>>,
    /// Settings that differ from the broker's.
    pub configs: BTreeMap<String, String>,
}

/// A topic that was made, or would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; zero if the broker is too old to tell.
    pub id: Uuid,
    /// How many partitions, if the broker tells.
    pub partitions: Option<i32>,
    /// How many replicas of each, if the broker tells.
    pub replication_factor: Option<i16>,
}

/// A topic in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTopic {
    /// Its name.
    pub name: Str,
    /// Its id; zero if the broker is too old to tell.
    pub id: Uuid,
    /// Whether the cluster keeps its own state in it.
    pub is_internal: bool,
    /// How many partitions it has.
    pub partitions: usize,
}

/// A topic in detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: Str,
    /// Its id; zero if the broker is too old to tell.
    pub id: Uuid,
    /// Whether the cluster keeps its own state in it.
    pub is_internal: bool,
    /// Its partitions, by number.
    pub partitions: Vec<TopicPartitionDescription>,
    /// What the caller may do, as bits of `AclOperation`; `None` if nobody asked or authorizes.
    pub authorized_operations: Option<i32>,
}

/// A partition in detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPartitionDescription {
    /// Its number.
    pub index: PartitionIndex,
    /// Who leads it, if anybody does.
    pub leader: Option<NodeId>,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// Its replicas, the preferred leader first.
    pub replicas: Vec<NodeId>,
    /// The replicas in sync.
    pub isr: Vec<NodeId>,
    /// The replicas that are offline.
    pub offline: Vec<NodeId>,
    /// The replicas out of sync that may lead all the same (KIP-966), if the broker tells.
    pub eligible_leaders: Option<Vec<NodeId>>,
    /// Those that last could, if the broker tells.
    pub last_known_eligible_leaders: Option<Vec<NodeId>>,
}

/// How far a topic is to grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPartitions {
    /// How many partitions it is to have.
    pub total: i32,
    /// Which brokers have the replicas of each new one; `None` leaves it to the controller.
    pub assignments: Option<Vec<Vec<NodeId>>>,
}

/// The partitions of one answer of `DescribeTopicPartitions`.
const DESCRIBED_PARTITIONS: i32 = 2000;

impl Admin {
    /// Makes topics, or only checks whether they could be made.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        check: super::CheckOnly,
    ) -> Result<Items<Str, CreatedTopic>, Error> {
        let deadline = self.deadline("creating topics");
        let request = CreateTopicsRequest {
            topics: topics.iter().map(creatable).collect(),
            timeout_ms: self.server_timeout_ms(),
            validate_only: check.is_set(),
            ..CreateTopicsRequest::default()
        };
        let answer = self
            .ask(
                Target::Controller,
                deadline,
                every::<CreateTopicsRequest>(),
                |_| request.clone(),
                |answer| first_passing(answer.topics.iter().map(|it| it.error_code)),
            )
            .await?;
        let created = answer.topics.into_iter().map(|it| {
            let told = |number: i32| (number >= 0).then_some(number);
            let created = CreatedTopic {
                id: it.topic_id,
                partitions: told(it.num_partitions),
                replication_factor: told(it.replication_factor.into()).map(|_| it.replication_factor),
            };
            (it.name, outcome(it.error_code, it.error_message, || created))
        });
        Ok(created.collect())
    }

    /// All topics.
    pub async fn list_topics(&self) -> Result<Vec<ListedTopic>, Error> {
        let deadline = self.deadline("listing topics");
        let answer = self.metadata_of(None, deadline).await?;
        let listed = answer.topics.into_iter().filter(|it| it.error_code == 0).filter_map(|it| {
            let (id, partitions) = (it.topic_id, it.partitions.len());
            Some(ListedTopic { name: it.name?, id, is_internal: it.is_internal, partitions })
        });
        let mut listed: Vec<_> = listed.collect();
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(listed)
    }

    /// Topics in detail, in the order asked for.
    pub async fn describe_topics(&self, names: &[Str]) -> Result<Items<Str, TopicDescription>, Error> {
        let deadline = self.deadline("describing topics");
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut told = match self.describe_partitions(names, deadline).await {
            Err(Error::Unsupported(_)) => {
                let answer = self.metadata_of(Some(names), deadline).await?;
                answer.topics.into_iter().filter_map(described_by_metadata).collect()
            }
            told => told?,
        };
        let unknown = || Err(ErrorCode::UnknownTopicOrPartition.into());
        Ok(names.iter().map(|name| (name.clone(), told.remove(name).unwrap_or_else(unknown))).collect())
    }

    /// Gives topics more partitions.
    pub async fn create_partitions(
        &self,
        topics: &BTreeMap<Str, NewPartitions>,
        check: super::CheckOnly,
    ) -> Result<Items<Str, ()>, Error> {
        let deadline = self.deadline("creating partitions");
        let request = CreatePartitionsRequest {
            topics: topics.iter().map(|(name, it)| grown(name, it)).collect(),
            timeout_ms: self.server_timeout_ms(),
            validate_only: check.is_set(),
            ..CreatePartitionsRequest::default()
        };
        let answer = self
            .ask(
                Target::Controller,
                deadline,
                every::<CreatePartitionsRequest>(),
                |_| request.clone(),
                |answer| first_passing(answer.results.iter().map(|it| it.error_code)),
            )
            .await?;
        let results = answer.results.into_iter();
        Ok(results.map(|it| (it.name, outcome(it.error_code, it.error_message, || ()))).collect())
    }

    /// Deletes topics and all of their records.
    pub async fn delete_topics(&self, names: &[Str]) -> Result<Items<Str, ()>, Error> {
        let deadline = self.deadline("deleting topics");
        let timeout_ms = self.server_timeout_ms();
        let request = |version| {
            let mut request = DeleteTopicsRequest { timeout_ms, ..DeleteTopicsRequest::default() };
            if version >= FIRST_DELETE_BY_STATE {
                let state = |name: &Str| DeleteTopicState { name: Some(name.clone()), ..Default::default() };
                request.topics = names.iter().map(state).collect();
            } else {
                request.topic_names = names.to_vec();
            }
            request
        };
        let answer = self
            .ask(Target::Controller, deadline, every::<DeleteTopicsRequest>(), request, |answer| {
                first_passing(answer.responses.iter().map(|it| it.error_code))
            })
            .await?;
        let results = answer.responses.into_iter();
        Ok(results
            .map(|it| (it.name.unwrap_or_default(), outcome(it.error_code, it.error_message, || ())))
            .collect())
    }

    async fn metadata_of(
        &self,
        names: Option<&[Str]>,
        deadline: Deadline,
    ) -> Result<MetadataResponse, Error> {
        let topic = |name: &Str| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() };
        let request = MetadataRequest {
            topics: names.map(|names| names.iter().map(topic).collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let versions = 4..=MetadataRequest::LAST_VERSION;
        let answer = self.cluster.call_in(Target::Any, deadline, versions, |_| request.clone()).await?;
        refused(answer.error_code, None)?;
        Ok(answer)
    }

    /// Describes topics page by page.
    async fn describe_partitions(
        &self,
        names: &[Str],
        deadline: Deadline,
    ) -> Result<BTreeMap<Str, Result<TopicDescription, Error>>, Error> {
        let mut told: BTreeMap<Str, Result<TopicDescription, Error>> = BTreeMap::new();
        let mut cursor: Option<Cursor> = None;
        let mut names: Vec<Str> = names.to_vec();
        names.sort();
        names.dedup();
        loop {
            let from = cursor.as_ref().map(|it| it.topic_name.clone());
            let asked = names.iter().filter(|name| from.as_ref().is_none_or(|from| *name >= from));
            let request = DescribeTopicPartitionsRequest {
                topics: asked.map(|name| TopicRequest { name: name.clone(), ..Default::default() }).collect(),
                response_partition_limit: DESCRIBED_PARTITIONS,
                cursor: cursor.take(),
                ..DescribeTopicPartitionsRequest::default()
            };
            let answer = self.cluster.call(Target::Any, deadline, &request).await?;
            let progressed = answer.topics.iter().any(|it| !it.partitions.is_empty());
            for topic in answer.topics {
                take_described(&mut told, topic);
            }
            let Some(next) = answer.next_cursor else { return Ok(told) };
            if !progressed {
                return Err(Error::Corrupt("the pages of DescribeTopicPartitions do not end".into()));
            }
            let (topic_name, partition_index) = (next.topic_name, next.partition_index);
            cursor = Some(Cursor { topic_name, partition_index, ..Cursor::default() });
        }
    }
}

/// From this version of `DeleteTopics` topics are named by structures.
const FIRST_DELETE_BY_STATE: i16 = 6;

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let assigned = !topic.assignments.is_empty();
    let assignments = topic.assignments.iter().map(|(index, nodes)| CreatableReplicaAssignment {
        partition_index: index.0,
        broker_ids: numbers(nodes),
        ..CreatableReplicaAssignment::default()
    });
    let configs = topic.configs.iter().map(|(name, value)| CreatableTopicConfig {
        name: name.as_str().into(),
        value: Some(value.as_str().into()),
        ..CreatableTopicConfig::default()
    });
    CreatableTopic {
        name: topic.name.clone(),
        num_partitions: topic.partitions.filter(|_| !assigned).unwrap_or(-1),
        replication_factor: topic.replication_factor.filter(|_| !assigned).unwrap_or(-1),
        assignments: assignments.collect(),
        configs: configs.collect(),
        ..CreatableTopic::default()
    }
}

fn grown(name: &Str, to: &NewPartitions) -> CreatePartitionsTopic {
    let assignment = |nodes: &Vec<NodeId>| CreatePartitionsAssignment {
        broker_ids: numbers(nodes),
        ..CreatePartitionsAssignment::default()
    };
    CreatePartitionsTopic {
        name: name.clone(),
        count: to.total,
        assignments: to.assignments.as_ref().map(|it| it.iter().map(assignment).collect()),
        ..CreatePartitionsTopic::default()
    }
}

/// Takes a page's part of a topic: the rest may be on another page.
fn take_described(
    told: &mut BTreeMap<Str, Result<TopicDescription, Error>>,
    topic: DescribeTopicPartitionsResponseTopic,
) {
    let Some(name) = topic.name else { return };
    let partitions = topic.partitions.into_iter().map(described_partition);
    match told.get_mut(&name) {
        Some(Ok(description)) => description.partitions.extend(partitions),
        Some(Err(_)) => {}
        None => {
            let description = TopicDescription {
                name: name.clone(),
                id: topic.topic_id,
                is_internal: topic.is_internal,
                partitions: partitions.collect(),
                authorized_operations: operations(topic.topic_authorized_operations),
            };
            told.insert(name, outcome(topic.error_code, None, || description));
        }
    }
}

fn described_partition(it: DescribeTopicPartitionsResponsePartition) -> TopicPartitionDescription {
    TopicPartitionDescription {
        index: PartitionIndex(it.partition_index),
        leader: (it.leader_id >= 0).then_some(NodeId(it.leader_id)),
        leader_epoch: LeaderEpoch(it.leader_epoch),
        replicas: nodes(it.replica_nodes),
        isr: nodes(it.isr_nodes),
        offline: nodes(it.offline_replicas),
        eligible_leaders: it.eligible_leader_replicas.map(nodes),
        last_known_eligible_leaders: it.last_known_elr.map(nodes),
    }
}

fn described_by_metadata(topic: MetadataResponseTopic) -> Option<(Str, Result<TopicDescription, Error>)> {
    let name = topic.name?;
    let partitions = topic.partitions.into_iter().map(|it| TopicPartitionDescription {
        index: PartitionIndex(it.partition_index),
        leader: (it.leader_id >= 0).then_some(NodeId(it.leader_id)),
        leader_epoch: LeaderEpoch(it.leader_epoch),
        replicas: nodes(it.replica_nodes),
        isr: nodes(it.isr_nodes),
        offline: nodes(it.offline_replicas),
        eligible_leaders: None,
        last_known_eligible_leaders: None,
    });
    let mut partitions: Vec<_> = partitions.collect();
    partitions.sort_by_key(|it| it.index);
    let description = TopicDescription {
        name: name.clone(),
        id: topic.topic_id,
        is_internal: topic.is_internal,
        partitions,
        authorized_operations: operations(topic.topic_authorized_operations),
    };
    Some((name, outcome(topic.error_code, None, || description)))
}

/// The bits of what the caller may do; the lowest number says that nobody asked.
fn operations(bits: i32) -> Option<i32> {
    (bits != i32::MIN).then_some(bits)
}

pub(super) fn nodes(ids: Vec<i32>) -> Vec<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

pub(super) fn numbers(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|it| it.0).collect()
}
