//! Creating topics.

use std::collections::BTreeMap;

use ottla_base::settings::Texts;
use ottla_base::{ErrorCode, LeaderEpoch, NodeId, PartitionIndex, Str};
use ottla_wire::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use ottla_wire::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse,
};
use ottla_wire::records::metadata::{MetadataRecord, TopicRecord};

use super::configs::Server;
use super::{Decided, Deciding, MAX_RECORDS_PER_REQUEST, Names, Refusal, parts, too_many_records};
use crate::image::{Nodes, Partition, PartitionId};
use crate::partition_change::default_directory;
use crate::placement::{Candidate, place};
use crate::settings::{alter, describe};

/// The most partitions that one request may create.
const MAX_PARTITIONS_PER_REQUEST: i64 = 10_000;
/// The metadata log's own topic.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Topics are to be created.
#[derive(Debug, Clone)]
pub struct CreateTopics {
    /// What was asked.
    pub request: CreateTopicsRequest,
    /// Topics that whoever asks may create.
    pub creatable: Names,
    /// Topics whose configurations whoever asks may see.
    pub describable: Names,
}

pub(super) fn decide(deciding: &mut Deciding<'_>, asked: CreateTopics) -> Decided<CreateTopicsResponse> {
    let CreateTopics { request, creatable, describable } = asked;
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(&topic.name).or_default() += 1;
    }
    let is_allowed = |name: &str| name != METADATA_TOPIC && creatable.contains(name);
    let wanted = request.topics.iter().filter(|it| times[it.name.as_str()] == 1 && is_allowed(&it.name));
    let total: i64 =
        wanted.clone().map(|topic| partitions_wanted(topic, deciding.options.default_partitions)).sum();
    if total > MAX_PARTITIONS_PER_REQUEST {
        let message = "Excessively large number of partitions per request.";
        return refuse_all(&request, &Refusal::new(ErrorCode::PolicyViolation, message));
    }
    let server = deciding.server();
    let mut records = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in wanted {
        let created = deciding.create_topic(topic, &describable, &server);
        topics.push(match created {
            Ok((facts, result)) => {
                records.extend(facts);
                result
            }
            Err(refusal) => refused(&topic.name, refusal),
        });
        if records.len() > MAX_RECORDS_PER_REQUEST {
            return refuse_all(&request, &too_many_records());
        }
    }
    for (name, times) in times {
        let refusal = if times > 1 {
            Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name.")
        } else if name == METADATA_TOPIC {
            let message = format!("Creation of internal topic {METADATA_TOPIC} is prohibited.");
            Refusal::new(ErrorCode::InvalidRequest, message)
        } else if !creatable.contains(name) {
            Refusal::new(ErrorCode::TopicAuthorizationFailed, "Authorization failed.")
        } else {
            continue;
        };
        topics.push(refused(&Str::from(name), refusal));
    }
    if request.validate_only {
        records.clear();
    }
    Decided::together(records, CreateTopicsResponse { topics, ..Default::default() })
}

fn partitions_wanted(topic: &CreatableTopic, default: i32) -> i64 {
    match (topic.assignments.len(), topic.num_partitions) {
        (0, -1) => default.into(),
        (0, count) => count.max(0).into(),
        (count, _) => count as i64,
    }
}

fn refused(name: &Str, refusal: Refusal) -> CreatableTopicResult {
    let (error_code, error_message) = parts(Err(refusal));
    CreatableTopicResult { name: name.clone(), error_code, error_message, ..Default::default() }
}

fn refuse_all(request: &CreateTopicsRequest, refusal: &Refusal) -> Decided<CreateTopicsResponse> {
    let topics = request.topics.iter().map(|topic| refused(&topic.name, refusal.clone())).collect();
    Decided::reply(CreateTopicsResponse { topics, ..Default::default() })
}

impl Deciding<'_> {
    fn create_topic(
        &mut self,
        topic: &CreatableTopic,
        describable: &Names,
        server: &Server,
    ) -> Result<(Vec<MetadataRecord>, CreatableTopicResult), Refusal> {
        self.check_new_name(&topic.name)?;
        let nulls: Vec<&str> =
            topic.configs.iter().filter(|it| it.value.is_none()).map(|it| it.name.as_str()).collect();
        if !nulls.is_empty() {
            let message = format!("Null value not supported for topic configs: {}", nulls.join(","));
            return Err(Refusal::new(ErrorCode::InvalidConfig, message));
        }
        let set = |it: &CreatableTopicConfig| Some((it.name.to_string(), it.value.as_ref()?.to_string()));
        let configs: Texts = topic.configs.iter().filter_map(set).collect();
        let config_records = self.config_of_new_topic(&topic.name, &configs, server)?;
        let partitions = self.partitions_of_new_topic(topic)?;
        let topic_id = loop {
            let drawn = self.entropy.uuid();
            if self.image.topics.get(drawn).is_none() {
                break drawn;
            }
        };
        let mut result = CreatableTopicResult {
            name: topic.name.clone(),
            topic_id,
            error_message: None,
            ..Default::default()
        };
        if describable.contains(&topic.name) {
            result.num_partitions = partitions.len() as i32;
            result.replication_factor = partitions.first().map_or(0, |it| it.replicas.len() as i16);
            result.configs = Some(effective_configs(server, &configs));
        } else {
            result.topic_config_error_code = ErrorCode::TopicAuthorizationFailed as i16;
        }
        let name = topic.name.clone();
        let mut records =
            vec![MetadataRecord::TopicRecord(TopicRecord { name, topic_id, ..Default::default() })];
        records.extend(config_records);
        let (version, with_elr) =
            (self.image.features.version(), self.image.features.has_eligible_leader_replicas());
        records.extend(partitions.iter().enumerate().map(|(index, partition)| {
            let id = PartitionId { topic: topic_id, index: PartitionIndex(index as i32) };
            MetadataRecord::PartitionRecord(partition.to_record(id, version, with_elr))
        }));
        Ok((records, result))
    }

    fn check_new_name(&self, name: &Str) -> Result<(), Refusal> {
        if self.image.topics.named(name).is_some() {
            return Err(Refusal::new(
                ErrorCode::TopicAlreadyExists,
                format!("Topic '{name}' already exists."),
            ));
        }
        if let Some(other) = self.image.topics.colliding_with(name) {
            let message = format!("Topic '{name}' collides with existing topic: {other}");
            return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
        }
        Ok(alter::check_topic_name(name)?)
    }

    fn partitions_of_new_topic(&mut self, topic: &CreatableTopic) -> Result<Vec<Partition>, Refusal> {
        if !topic.assignments.is_empty() {
            return self.assigned_partitions(topic);
        }
        if topic.replication_factor < -1 || topic.replication_factor == 0 {
            let message = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
        }
        if topic.num_partitions < -1 || topic.num_partitions == 0 {
            let message = "Number of partitions was set to an invalid non-positive value.";
            return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
        }
        let or_default = |asked: i32, default: i32| if asked == -1 { default } else { asked };
        let count = or_default(topic.num_partitions, self.options.default_partitions);
        let factor = match topic.replication_factor {
            -1 => self.options.default_replication_factor,
            asked => asked,
        };
        self.place_partitions(count as usize, factor).map_err(|reason| {
            let message = format!("Unable to replicate the partition {factor} time(s): {reason}");
            Refusal::new(ErrorCode::InvalidReplicationFactor, message)
        })
    }

    fn assigned_partitions(&self, topic: &CreatableTopic) -> Result<Vec<Partition>, Refusal> {
        let without = |what: &str| {
            let message =
                format!("A manual partition assignment was specified, but {what} was not set to -1.");
            Refusal::new(ErrorCode::InvalidRequest, message)
        };
        if topic.replication_factor != -1 {
            return Err(without("replication factor"));
        }
        if topic.num_partitions != -1 {
            return Err(without("numPartitions"));
        }
        let refuse = |message: String| Refusal::new(ErrorCode::InvalidReplicaAssignment, message);
        let mut assigned: BTreeMap<i32, Partition> = BTreeMap::new();
        let mut factor = None;
        for assignment in &topic.assignments {
            let index = assignment.partition_index;
            if assigned.contains_key(&index) {
                return Err(refuse(format!(
                    "Found multiple manual partition assignments for partition {index}"
                )));
            }
            let replicas = crate::image::nodes(&assignment.broker_ids);
            self.check_assignment(&replicas, factor)?;
            factor = Some(replicas.len());
            assigned.insert(index, self.new_assigned_partition(replicas, index)?);
        }
        if !assigned.keys().copied().eq(0..assigned.len() as i32) {
            return Err(refuse("partitions should be a consecutive 0-based integer sequence".to_owned()));
        }
        Ok(assigned.into_values().collect())
    }

    /// A new partition on brokers that somebody has chosen.
    pub(super) fn new_assigned_partition(&self, replicas: Nodes, index: i32) -> Result<Partition, Refusal> {
        self.new_partition(replicas).ok_or_else(|| {
            let message = format!(
                "All brokers specified in the manual partition assignment for partition {index} are fenced or in \
                 controlled shutdown."
            );
            Refusal::new(ErrorCode::InvalidReplicaAssignment, message)
        })
    }

    /// New partitions on brokers of our choice.
    pub(super) fn place_partitions(&mut self, count: usize, factor: i16) -> Result<Vec<Partition>, String> {
        let usable = self.image.cluster.brokers.values().filter(|broker| {
            self.sessions.shutdown(broker.id).is_none() && broker.has_uncordoned_directory()
        });
        let candidates: Vec<Candidate> =
            usable.map(|it| Candidate { broker: it.id, rack: it.rack.clone(), fenced: it.fenced }).collect();
        let placed = place(&candidates, count, factor, self.entropy).map_err(|reason| reason.0)?;
        let partitions = placed.into_iter().map(|replicas| self.new_partition(replicas.into()));
        let inactive = "All brokers are currently fenced or in controlled shutdown.";
        partitions.collect::<Option<Vec<Partition>>>().ok_or_else(|| inactive.to_owned())
    }

    /// A partition that begins with whoever of its replicas is active; `None` if nobody is.
    fn new_partition(&self, replicas: Nodes) -> Option<Partition> {
        let cluster = &self.image.cluster;
        let isr: Nodes = replicas.iter().copied().filter(|it| cluster.is_active(*it)).collect();
        let version = self.image.features.version();
        Some(Partition {
            directories: replicas.iter().map(|it| default_directory(cluster, version, *it)).collect(),
            leader: *isr.first()?,
            isr,
            replicas,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            ..Partition::default()
        })
    }

    /// Whether somebody's choice of brokers can be followed.
    pub(super) fn check_assignment(&self, replicas: &[NodeId], factor: Option<usize>) -> Result<(), Refusal> {
        let refuse = |what: String| {
            let message = format!("The manual partition assignment includes {what}");
            Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message))
        };
        if replicas.is_empty() {
            return refuse("an empty replica list.".to_owned());
        }
        let mut sorted = replicas.to_vec();
        sorted.sort_unstable();
        for (at, broker) in sorted.iter().enumerate() {
            if self.image.cluster.broker(*broker).is_none() {
                return refuse(format!("broker {broker}, but no such broker is registered."));
            }
            if at > 0 && sorted[at - 1] == *broker {
                return refuse(format!("the broker {broker} more than once."));
            }
        }
        if let Some(factor) = factor.filter(|factor| *factor != replicas.len()) {
            return refuse(format!(
                "a partition with {} replica(s), but this is not consistent with previous partitions, which have \
                 {factor} replica(s).",
                replicas.len()
            ));
        }
        Ok(())
    }
}

/// What an answer shows of a new topic's configurations.
fn effective_configs(server: &Server, own: &Texts) -> Vec<CreatableTopicConfigs> {
    let mut entries = describe::topic(&server.layers, own).unwrap_or_default();
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    let shown = entries.into_iter().map(|entry| CreatableTopicConfigs {
        name: entry.name.into(),
        value: entry.value.map(Str::from),
        read_only: entry.read_only,
        config_source: entry.source.id(),
        is_sensitive: entry.sensitive,
        ..Default::default()
    });
    shown.collect()
}
