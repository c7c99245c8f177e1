//! Which directories hold replicas, as brokers have decided (KIP-858).

use std::collections::BTreeSet;

use ottla_base::{ErrorCode, NodeId, PartitionIndex, Uuid};
use ottla_wire::messages::assign_replicas_to_dirs_request::AssignReplicasToDirsRequest;
use ottla_wire::messages::assign_replicas_to_dirs_response::{
    AssignReplicasToDirsResponse, DirectoryData, PartitionData, TopicData,
};
use ottla_wire::records::metadata::MetadataRecord;

use super::elections::Departure;
use super::{Decided, Deciding};
use crate::image::PartitionId;
use crate::partition_change::Candidates;

pub(super) fn decide(
    deciding: &mut Deciding<'_>,
    request: AssignReplicasToDirsRequest,
) -> Decided<AssignReplicasToDirsResponse> {
    let refused = |code: ErrorCode| {
        Decided::reply(AssignReplicasToDirsResponse { error_code: code as i16, ..Default::default() })
    };
    if !deciding.image.features.version().has_directory_assignment() {
        return refused(ErrorCode::UnsupportedVersion);
    }
    let id = NodeId(request.broker_id);
    let broker = match deciding.current_broker(id, request.broker_epoch) {
        Ok(broker) => broker,
        Err(refusal) => return refused(refusal.code),
    };
    let mut records = Vec::new();
    let mut stranded = BTreeSet::new();
    let mut directories = Vec::with_capacity(request.directories.len());
    for directory in &request.directories {
        let is_online = broker.has_online_directory(directory.id);
        let topics = directory.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let partition =
                    PartitionId { topic: topic.topic_id, index: PartitionIndex(asked.partition_index) };
                let assigned = deciding.assign(id, partition, directory.id, &mut records);
                if assigned.is_ok() && !is_online {
                    stranded.insert(partition);
                }
                let error_code = assigned.err().unwrap_or(ErrorCode::None) as i16;
                PartitionData { partition_index: asked.partition_index, error_code, ..Default::default() }
            });
            TopicData { topic_id: topic.topic_id, partitions: partitions.collect(), ..Default::default() }
        });
        let topics = topics.collect();
        directories.push(DirectoryData { id: directory.id, topics, ..Default::default() });
    }
    for partition in stranded {
        if let Some(it) = deciding.image.topics.partition(partition.topic, partition.index) {
            deciding.update_partition_for(Departure::Leaves(id), partition, it, &mut records);
        }
    }
    Decided::each_alone(records, AssignReplicasToDirsResponse { directories, ..Default::default() })
}

impl Deciding<'_> {
    fn assign(
        &self,
        broker: NodeId,
        id: PartitionId,
        directory: Uuid,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<(), ErrorCode> {
        let topic = self.image.topics.get(id.topic).ok_or(ErrorCode::UnknownTopicId)?;
        let partition = self.image.topics.partition(id.topic, id.index);
        let partition = partition.ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if !partition.has_replica(broker) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let mut wish = self.wish(topic, id, partition, Candidates::active(&self.image.cluster));
        wish.directory = Some((broker, directory));
        records.extend(wish.build().map(MetadataRecord::PartitionChangeRecord));
        Ok(())
    }
}
