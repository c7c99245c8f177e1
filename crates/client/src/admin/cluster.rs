//! The cluster itself: brokers, log directories, the quorum, features.

use std::collections::BTreeMap;

use ottla_base::{LeaderEpoch, NodeId, Offset, PartitionIndex, Str, Timestamp, Uuid};
use ottla_wire::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use ottla_wire::messages::describe_cluster_request::DescribeClusterRequest;
use ottla_wire::messages::describe_log_dirs_request::{DescribableLogDirTopic, DescribeLogDirsRequest};
use ottla_wire::messages::describe_log_dirs_response::DescribeLogDirsResult;
use ottla_wire::messages::describe_quorum_request::{DescribeQuorumRequest, PartitionData, TopicData};
use ottla_wire::messages::describe_quorum_response::ReplicaState;
use ottla_wire::messages::unregister_broker_request::UnregisterBrokerRequest;
use ottla_wire::messages::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};

use super::{Admin, CheckOnly, Items, every, first_passing, outcome};
use crate::cluster::{Target, TopicPartition, by_topic};
use crate::error::{Error, refused};

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id.
    pub id: Str,
    /// The broker that takes requests for the controller.
    pub controller: Option<NodeId>,
    /// Its brokers, by id.
    pub brokers: Vec<DescribedBroker>,
}

/// A broker of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedBroker {
    /// Its `node.id`.
    pub id: NodeId,
    /// The host it announces.
    pub host: Str,
    /// The port it announces.
    pub port: i32,
    /// Its `broker.rack`.
    pub rack: Option<Str>,
    /// Whether it is registered but may lead nothing now.
    pub is_fenced: bool,
}

/// A log directory of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDir {
    /// Its path.
    pub path: Str,
    /// Whether it can be used.
    pub state: Result<(), crate::error::Refusal>,
    /// The size of its volume, if the broker tells.
    pub total_bytes: Option<i64>,
    /// How much of it is free, if the broker tells.
    pub usable_bytes: Option<i64>,
    /// Whether new partitions are kept out of it (KIP-1066).
    pub is_cordoned: bool,
    /// The replicas in it.
    pub replicas: BTreeMap<TopicPartition, LogDirReplica>,
}

/// A replica in a log directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogDirReplica {
    /// How large its segments are.
    pub size_bytes: i64,
    /// How far it is behind.
    pub offset_lag: i64,
    /// Whether it is on its way to this directory from another.
    pub is_future: bool,
}

/// The metadata quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// Who leads it.
    pub leader: Option<NodeId>,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The end of what is committed.
    pub high_watermark: Offset,
    /// Who votes.
    pub voters: Vec<QuorumReplica>,
    /// Who follows without a vote.
    pub observers: Vec<QuorumReplica>,
    /// Where voters listen, if the server tells.
    pub nodes: Vec<QuorumNode>,
}

/// A replica of the metadata log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuorumReplica {
    /// Whose it is.
    pub id: NodeId,
    /// The directory it is in, if the server tells.
    pub directory: Option<Uuid>,
    /// Its end, if the leader knows.
    pub end: Option<Offset>,
    /// When it last fetched, if the leader knows.
    pub last_fetch: Option<Timestamp>,
    /// When it last had everything, if the leader knows.
    pub last_caught_up: Option<Timestamp>,
}

/// Where a voter listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumNode {
    /// Which.
    pub id: NodeId,
    /// Its listeners.
    pub listeners: Vec<QuorumListener>,
}

/// A listener of a voter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumListener {
    /// Its name.
    pub name: Str,
    /// Its host.
    pub host: Str,
    /// Its port.
    pub port: u16,
}

/// What formats and protocols a cluster has agreed on, and what a broker could.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features {
    /// What the broker that answered supports.
    pub supported: BTreeMap<Str, FeatureRange>,
    /// What is agreed on.
    pub finalized: BTreeMap<Str, FinalizedFeature>,
    /// The epoch of the agreement, if there is one.
    pub epoch: Option<i64>,
}

/// The levels of a feature that a broker supports, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureRange {
    /// The lowest.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

/// The level of a feature that is agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinalizedFeature {
    /// The level.
    pub level: i16,
}

/// How a feature may change (`FeatureUpdate.UpgradeType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum UpgradeType {
    /// Only up.
    Upgrade = 1,
    /// Down as well, if nothing is lost.
    SafeDowngrade = 2,
    /// Down, even if something is lost.
    UnsafeDowngrade = 3,
}

/// A change of a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// Which.
    pub name: Str,
    /// To which level; zero takes the feature away.
    pub level: i16,
    /// How it may change.
    pub kind: UpgradeType,
}

/// The topic of the metadata log.
const METADATA_TOPIC: Str = Str::from_static("__cluster_metadata");

impl Admin {
    /// The cluster and its brokers, those that are fenced included if the server can tell.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, Error> {
        let deadline = self.deadline("describing the cluster");
        let request = |version| DescribeClusterRequest {
            include_fenced_brokers: version >= FIRST_WITH_FENCED,
            ..DescribeClusterRequest::default()
        };
        let versions = every::<DescribeClusterRequest>();
        let answer = self.cluster.call_in(Target::Any, deadline, versions, request).await?;
        refused(answer.error_code, answer.error_message.as_ref())?;
        let brokers = answer.brokers.into_iter().map(|it| DescribedBroker {
            id: NodeId(it.broker_id),
            host: it.host,
            port: it.port,
            rack: it.rack,
            is_fenced: it.is_fenced,
        });
        let mut brokers: Vec<_> = brokers.collect();
        brokers.sort_by_key(|it| it.id);
        let controller = (answer.controller_id >= 0).then_some(NodeId(answer.controller_id));
        Ok(ClusterDescription { id: answer.cluster_id, controller, brokers })
    }

    /// The log directories of brokers; no brokers means all, no partitions means all.
    pub async fn describe_log_dirs(
        &self,
        brokers: Option<&[NodeId]>,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Items<NodeId, Vec<LogDir>>, Error> {
        let deadline = self.deadline("describing log directories");
        let brokers = match brokers {
            Some(brokers) => brokers.to_vec(),
            None => self.broker_ids(deadline).await?,
        };
        let topics = |partitions: &[TopicPartition]| {
            let topics = by_topic(partitions.iter().cloned().map(|it| (it, ()))).into_iter();
            topics
                .map(|(topic, partitions)| DescribableLogDirTopic {
                    topic,
                    partitions: partitions.into_iter().map(|(index, ())| index.0).collect(),
                    ..DescribableLogDirTopic::default()
                })
                .collect()
        };
        let request =
            DescribeLogDirsRequest { topics: partitions.map(topics), ..DescribeLogDirsRequest::default() };
        let mut described = Vec::with_capacity(brokers.len());
        for broker in brokers {
            let answer = self.cluster.call(Target::Node(broker), deadline, &request).await;
            let dirs = answer.and_then(|answer| {
                refused(answer.error_code, None)?;
                Ok(answer.results.into_iter().map(log_dir).collect())
            });
            described.push((broker, dirs));
        }
        Ok(described)
    }

    /// Moves replicas of a broker to another of its directories.
    pub async fn alter_replica_log_dirs(
        &self,
        broker: NodeId,
        moves: &BTreeMap<TopicPartition, Str>,
    ) -> Result<Items<TopicPartition, ()>, Error> {
        let deadline = self.deadline("moving replicas");
        let mut dirs: BTreeMap<Str, Vec<(TopicPartition, ())>> = BTreeMap::new();
        for (partition, path) in moves {
            dirs.entry(path.clone()).or_default().push((partition.clone(), ()));
        }
        let dirs = dirs.into_iter().map(|(path, partitions)| AlterReplicaLogDir {
            path,
            topics: by_topic(partitions)
                .into_iter()
                .map(|(name, partitions)| AlterReplicaLogDirTopic {
                    name,
                    partitions: partitions.into_iter().map(|(index, ())| index.0).collect(),
                    ..AlterReplicaLogDirTopic::default()
                })
                .collect(),
            ..AlterReplicaLogDir::default()
        });
        let request = AlterReplicaLogDirsRequest { dirs: dirs.collect(), ..Default::default() };
        let answer = self.cluster.call(Target::Node(broker), deadline, &request).await?;
        let mut moved = Vec::new();
        for topic in answer.results {
            for it in topic.partitions {
                let partition = TopicPartition::new(topic.topic_name.clone(), it.partition_index);
                moved.push((partition, outcome(it.error_code, None, || ())));
            }
        }
        Ok(moved)
    }

    /// The metadata quorum, as its leader knows it.
    pub async fn describe_quorum(&self) -> Result<Quorum, Error> {
        let deadline = self.deadline("describing the quorum");
        let partition = PartitionData { partition_index: 0, ..PartitionData::default() };
        let topic =
            TopicData { topic_name: METADATA_TOPIC, partitions: vec![partition], ..TopicData::default() };
        let request = DescribeQuorumRequest { topics: vec![topic], ..DescribeQuorumRequest::default() };
        let answer = self
            .ask(
                Target::Any,
                deadline,
                every::<DescribeQuorumRequest>(),
                |_| request.clone(),
                |answer| first_passing([answer.error_code]),
            )
            .await?;
        refused(answer.error_code, answer.error_message.as_ref())?;
        let partition = answer.topics.into_iter().flat_map(|it| it.partitions).next();
        let Some(it) = partition else {
            return Err(Error::Corrupt("the answer of DescribeQuorum has no partition".into()));
        };
        refused(it.error_code, it.error_message.as_ref())?;
        let nodes = answer.nodes.into_iter().map(|node| QuorumNode {
            id: NodeId(node.node_id),
            listeners: node
                .listeners
                .into_iter()
                .map(|it| QuorumListener { name: it.name, host: it.host, port: it.port })
                .collect(),
        });
        Ok(Quorum {
            leader: (it.leader_id >= 0).then_some(NodeId(it.leader_id)),
            leader_epoch: LeaderEpoch(it.leader_epoch),
            high_watermark: Offset(it.high_watermark),
            voters: it.current_voters.iter().map(quorum_replica).collect(),
            observers: it.observers.iter().map(quorum_replica).collect(),
            nodes: nodes.collect(),
        })
    }

    /// The features that the cluster has agreed on, and those that a broker supports.
    pub async fn describe_features(&self) -> Result<Features, Error> {
        let deadline = self.deadline("describing features");
        let announced = self
            .cluster
            .within(deadline, async {
                // A connection's first answer has them, but they may have changed since.
                self.cluster.node(Target::Any, deadline).await?.announced_now().await
            })
            .await?;
        let supported = announced.supported_features.iter();
        let finalized = announced.finalized_features.iter();
        Ok(Features {
            supported: supported
                .map(|it| (it.name.clone(), FeatureRange { min: it.min_version, max: it.max_version }))
                .collect(),
            finalized: finalized
                .map(|it| (it.name.clone(), FinalizedFeature { level: it.max_version_level }))
                .collect(),
            epoch: (announced.finalized_features_epoch >= 0).then_some(announced.finalized_features_epoch),
        })
    }

    /// Changes features, all or none.
    pub async fn update_features(
        &self,
        updates: &[FeatureUpdate],
        check: CheckOnly,
    ) -> Result<Items<Str, ()>, Error> {
        let deadline = self.deadline("updating features");
        let timeout_ms = self.server_timeout_ms();
        let request = |version| UpdateFeaturesRequest {
            timeout_ms,
            feature_updates: updates.iter().map(|it| feature_update(it, version)).collect(),
            validate_only: check.is_set(),
            ..UpdateFeaturesRequest::default()
        };
        let last = *every::<UpdateFeaturesRequest>().end();
        let first = if check.is_set() { 1 } else { 0 };
        let answer = self
            .ask(Target::Controller, deadline, first..=last, request, |answer| {
                first_passing([answer.error_code])
            })
            .await?;
        refused(answer.error_code, answer.error_message.as_ref())?;
        if answer.results.is_empty() {
            // From version 2 on there are no results: the code is that of all updates.
            return Ok(updates.iter().map(|it| (it.name.clone(), Ok(()))).collect());
        }
        let results = answer.results.into_iter();
        Ok(results.map(|it| (it.feature, outcome(it.error_code, it.error_message, || ()))).collect())
    }

    /// Forgets a broker that will not come back.
    pub async fn unregister_broker(&self, broker: NodeId) -> Result<(), Error> {
        let deadline = self.deadline("unregistering a broker");
        let request = UnregisterBrokerRequest { broker_id: broker.0, ..Default::default() };
        let answer = self
            .ask(
                Target::Controller,
                deadline,
                every::<UnregisterBrokerRequest>(),
                |_| request.clone(),
                |answer| first_passing([answer.error_code]),
            )
            .await?;
        refused(answer.error_code, answer.error_message.as_ref())
    }
}

/// The first version of `DescribeCluster` that can tell fenced brokers.
const FIRST_WITH_FENCED: i16 = 2;

fn feature_update(update: &FeatureUpdate, version: i16) -> FeatureUpdateKey {
    let mut key = FeatureUpdateKey {
        feature: update.name.clone(),
        max_version_level: update.level,
        ..FeatureUpdateKey::default()
    };
    if version == 0 {
        key.allow_downgrade = update.kind != UpgradeType::Upgrade;
    } else {
        key.upgrade_type = update.kind as i8;
    }
    key
}

fn log_dir(it: DescribeLogDirsResult) -> LogDir {
    let mut replicas = BTreeMap::new();
    for topic in it.topics {
        for replica in topic.partitions {
            let partition = PartitionIndex(replica.partition_index);
            let described = LogDirReplica {
                size_bytes: replica.partition_size,
                offset_lag: replica.offset_lag,
                is_future: replica.is_future_key,
            };
            replicas.insert(TopicPartition { topic: topic.name.clone(), partition }, described);
        }
    }
    let told = |bytes: i64| (bytes >= 0).then_some(bytes);
    LogDir {
        path: it.log_dir,
        state: match ottla_base::ErrorCode::from_code(it.error_code) {
            ottla_base::ErrorCode::None => Ok(()),
            code => Err(crate::error::Refusal { code, message: None }),
        },
        total_bytes: told(it.total_bytes),
        usable_bytes: told(it.usable_bytes),
        is_cordoned: it.is_cordoned,
        replicas,
    }
}

fn quorum_replica(it: &ReplicaState) -> QuorumReplica {
    let time = |millis: i64| (millis >= 0).then_some(Timestamp(millis));
    QuorumReplica {
        id: NodeId(it.replica_id),
        directory: Some(it.replica_directory_id).filter(|it| !it.is_zero()),
        end: (it.log_end_offset >= 0).then_some(Offset(it.log_end_offset)),
        last_fetch: time(it.last_fetch_timestamp),
        last_caught_up: time(it.last_caught_up_timestamp),
    }
}
