//! Moving partitions to other brokers (KIP-455, KIP-860).

use std::collections::BTreeSet;

use ottla_base::{ErrorCode, PartitionIndex};
use ottla_wire::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition,
};
use ottla_wire::messages::alter_partition_reassignments_response::{
    AlterPartitionReassignmentsResponse, ReassignablePartitionResponse, ReassignableTopicResponse,
};
use ottla_wire::messages::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use ottla_wire::messages::list_partition_reassignments_response::{
    ListPartitionReassignmentsResponse, OngoingPartitionReassignment, OngoingTopicReassignment,
};
use ottla_wire::records::metadata::{MetadataRecord, PartitionChangeRecord};

use super::{Decided, Deciding, MAX_RECORDS_PER_REQUEST, Refusal, parts, too_many_records};
use crate::image::{Nodes, Partition, PartitionId, Topic, nodes, numbers};
use crate::partition_change::{Candidates, Election};
use crate::reassignment::{Reassignment, Revert, without};

pub(super) fn decide(
    deciding: &mut Deciding<'_>,
    request: AlterPartitionReassignmentsRequest,
) -> Decided<AlterPartitionReassignmentsResponse> {
    let mut records = Vec::new();
    let mut seen = BTreeSet::new();
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let partitions = topic.partitions.iter().map(|target| {
            let outcome = if !seen.insert((&topic.name, target.partition_index)) {
                Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate partition."))
            } else if records.len() == MAX_RECORDS_PER_REQUEST {
                Err(too_many_records())
            } else {
                deciding.reassign(&topic.name, target, request.allow_replication_factor_change)
            };
            let outcome =
                outcome.map(|change| records.extend(change.map(MetadataRecord::PartitionChangeRecord)));
            let (error_code, error_message) = parts(outcome);
            let partition_index = target.partition_index;
            ReassignablePartitionResponse { partition_index, error_code, error_message, ..Default::default() }
        });
        let partitions = partitions.collect();
        responses.push(ReassignableTopicResponse {
            name: topic.name.clone(),
            partitions,
            ..Default::default()
        });
    }
    let reply = AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        error_message: None,
        responses,
        ..Default::default()
    };
    Decided::together(records, reply)
}

impl Deciding<'_> {
    fn reassign(
        &self,
        name: &str,
        target: &ReassignablePartition,
        may_change_factor: bool,
    ) -> Result<Option<PartitionChangeRecord>, Refusal> {
        let unknown = |message: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, message);
        let topics = &self.image.topics;
        let topic =
            topics.named(name).ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
        let id = PartitionId { topic: topic.id, index: PartitionIndex(target.partition_index) };
        let partition = topics.partition(id.topic, id.index);
        let partition =
            partition.ok_or_else(|| unknown(format!("Unable to find partition {name}:{}.", id.index)))?;
        match &target.replicas {
            None => self.cancel(topic, id, partition),
            Some(replicas) => self.begin_move(topic, id, partition, &nodes(replicas), may_change_factor),
        }
    }

    fn cancel(
        &self,
        topic: &Topic,
        id: PartitionId,
        partition: &Partition,
    ) -> Result<Option<PartitionChangeRecord>, Refusal> {
        let refuse = |message: String| Refusal::new(ErrorCode::InvalidReplicaAssignment, message);
        if !partition.is_reassigning() {
            return Err(ErrorCode::NoReassignmentInProgress.into());
        }
        let revert = Revert::of(partition).ok_or_else(|| {
            refuse("Invalid replica assignment: addingReplicas contains all replicas.".to_owned())
        })?;
        let unclean_allowed = self.allows_unclean_election(topic);
        if revert.unclean && !unclean_allowed {
            return Err(refuse(format!(
                "Unable to revert partition assignment for {}:{} because it would require an unclean leader election.",
                topic.name, id.index
            )));
        }
        let mut wish = self.wish(topic, id, partition, Candidates::active(&self.image.cluster));
        if unclean_allowed {
            wish.election = Election::Unclean;
        }
        wish.isr = revert.isr;
        wish.replicas = revert.replicas;
        (wish.removing, wish.adding) = (Nodes::new(), Nodes::new());
        Ok(wish.build())
    }

    fn begin_move(
        &self,
        topic: &Topic,
        id: PartitionId,
        partition: &Partition,
        target: &[ottla_base::NodeId],
        may_change_factor: bool,
    ) -> Result<Option<PartitionChangeRecord>, Refusal> {
        self.check_assignment(target, None)?;
        // Replicas that are on their way out do not count.
        let factor = without(&partition.replicas, &partition.removing).len();
        if !may_change_factor && factor != target.len() {
            let message = format!("The replication factor is changed from {factor} to {}", target.len());
            return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
        }
        let reassignment = Reassignment::begin(&partition.replicas, target);
        let mut wish = self.wish(topic, id, partition, Candidates::active(&self.image.cluster));
        wish.replicas = reassignment.replicas;
        if !reassignment.removing.is_empty() {
            wish.removing = reassignment.removing;
        }
        if !reassignment.adding.is_empty() {
            wish.adding = reassignment.adding;
        }
        Ok(wish.build())
    }
}

pub(super) fn list(
    deciding: &mut Deciding<'_>,
    request: ListPartitionReassignmentsRequest,
) -> Decided<ListPartitionReassignmentsResponse> {
    let topics = &deciding.image.topics;
    let moving = |index: PartitionIndex, partition: &Partition| {
        partition.is_reassigning().then(|| OngoingPartitionReassignment {
            partition_index: index.get(),
            replicas: numbers(&partition.replicas),
            adding_replicas: numbers(&partition.adding),
            removing_replicas: numbers(&partition.removing),
            ..Default::default()
        })
    };
    let all_of = |topic: &Topic| -> Vec<OngoingPartitionReassignment> {
        topics.partitions(topic.id).filter_map(|(index, partition)| moving(index, partition)).collect()
    };
    let found: Vec<(&Topic, Vec<OngoingPartitionReassignment>)> = match &request.topics {
        None => topics.iter().map(|topic| (&**topic, all_of(topic))).collect(),
        Some(asked) => (asked.iter())
            .filter_map(|asked| {
                let topic = topics.named(&asked.name)?;
                let partitions = asked.partition_indexes.iter().filter_map(|index| {
                    let index = PartitionIndex(*index);
                    moving(index, topics.partition(topic.id, index)?)
                });
                Some((&**topic, partitions.collect()))
            })
            .collect(),
    };
    let ongoing = found.into_iter().filter(|(_, partitions)| !partitions.is_empty());
    let topics = ongoing.map(|(topic, partitions)| OngoingTopicReassignment {
        name: topic.name.clone(),
        partitions,
        ..Default::default()
    });
    let topics = topics.collect();
    Decided::reply(ListPartitionReassignmentsResponse { error_message: None, topics, ..Default::default() })
}
