//! Giving topics more partitions.

use std::collections::BTreeMap;

use ottla_base::{ErrorCode, PartitionIndex};
use ottla_wire::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use ottla_wire::messages::create_partitions_response::{
    CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use ottla_wire::records::metadata::MetadataRecord;

use super::{Decided, Deciding, MAX_RECORDS_PER_REQUEST, Names, Refusal, parts, too_many_records};
use crate::image::{Partition, PartitionId};

/// Topics are to get more partitions.
#[derive(Debug, Clone)]
pub struct CreatePartitions {
    /// What was asked.
    pub request: CreatePartitionsRequest,
    /// Topics that whoever asks may alter.
    pub alterable: Names,
}

pub(super) fn decide(
    deciding: &mut Deciding<'_>,
    CreatePartitions { request, alterable }: CreatePartitions,
) -> Decided<CreatePartitionsResponse> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(&topic.name).or_default() += 1;
    }
    let mut records = Vec::new();
    let mut results: Vec<CreatePartitionsTopicResult> = Vec::new();
    for topic in &request.topics {
        let outcome = match times.remove(topic.name.as_str()) {
            // Its refusal has been given.
            None => continue,
            Some(2..) => Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name.")),
            Some(_) if !alterable.contains(&topic.name) => Err(ErrorCode::TopicAuthorizationFailed.into()),
            Some(_) => deciding.add_partitions(topic, MAX_RECORDS_PER_REQUEST - records.len(), &mut records),
        };
        let (error_code, error_message) = parts(outcome);
        let name = topic.name.clone();
        results.push(CreatePartitionsTopicResult { name, error_code, error_message, ..Default::default() });
    }
    if request.validate_only {
        records.clear();
    }
    Decided::together(records, CreatePartitionsResponse { results, ..Default::default() })
}

impl Deciding<'_> {
    fn add_partitions(
        &mut self,
        asked: &CreatePartitionsTopic,
        room: usize,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<(), Refusal> {
        let image = self.image;
        let topic = image.topics.named(&asked.name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let present = topic.partition_count;
        let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidPartitions, message));
        if asked.count == present {
            return invalid(format!("Topic already has {present} partition(s)."));
        }
        if asked.count < present {
            return invalid(format!(
                "The topic {} currently has {present} partition(s); {} would not be an increase.",
                asked.name, asked.count
            ));
        }
        let additional = usize::try_from(asked.count - present).unwrap_or(usize::MAX);
        if let Some(assignments) = asked.assignments.as_ref().filter(|it| it.len() != additional) {
            let message = format!(
                "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        if additional > room {
            return Err(too_many_records());
        }
        let (_, first) = image.topics.partitions(topic.id).next().ok_or(ErrorCode::UnknownServerError)?;
        let factor = first.replicas.len();
        let partitions: Vec<Partition> = match &asked.assignments {
            Some(assignments) => (assignments.iter().zip(present..))
                .map(|(assignment, index)| {
                    let replicas = crate::image::nodes(&assignment.broker_ids);
                    self.check_assignment(&replicas, Some(factor))?;
                    self.new_assigned_partition(replicas, index)
                })
                .collect::<Result<_, Refusal>>()?,
            None => {
                let factor = i16::try_from(factor).map_err(|_| ErrorCode::UnknownServerError)?;
                let placed = self.place_partitions(additional, factor);
                placed.map_err(|reason| Refusal::new(ErrorCode::InvalidReplicationFactor, reason))?
            }
        };
        let (version, with_elr) = (image.features.version(), image.features.has_eligible_leader_replicas());
        records.extend(partitions.iter().zip(present..).map(|(partition, index)| {
            let id = PartitionId { topic: topic.id, index: PartitionIndex(index) };
            MetadataRecord::PartitionRecord(partition.to_record(id, version, with_elr))
        }));
        Ok(())
    }
}
