//! Changes of the ISR, wished by leaders (KIP-497, KIP-704, KIP-903).

use std::collections::BTreeSet;

use ottla_base::{ErrorCode, NodeId, PartitionIndex};
use ottla_wire::messages::alter_partition_request::{AlterPartitionRequest, BrokerState, PartitionData};
use ottla_wire::messages::alter_partition_response::{
    AlterPartitionResponse, PartitionData as PartitionAnswer, TopicData as TopicAnswer,
};
use ottla_wire::records::metadata::{MetadataRecord, PartitionChangeRecord};

use super::{Decided, Deciding};
use crate::image::{LeaderRecovery, NO_LEADER_CHANGE, Nodes, Partition, PartitionId, Topic, nodes, numbers};
use crate::partition_change::{Candidates, Election};

/// The broker epoch of a replica whose leader does not know it.
const UNKNOWN_EPOCH: i64 = -1;

pub(super) fn decide(
    deciding: &mut Deciding<'_>,
    request: AlterPartitionRequest,
) -> Decided<AlterPartitionResponse> {
    let leader = NodeId(request.broker_id);
    if let Err(refusal) = deciding.current_broker(leader, request.broker_epoch) {
        let error_code = refusal.code as i16;
        return Decided::reply(AlterPartitionResponse { error_code, ..Default::default() });
    }
    let mut records = Vec::new();
    let mut seen = BTreeSet::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        let topic = deciding.image.topics.get(asked.topic_id);
        let partitions = asked.partitions.iter().map(|wanted| {
            let altered = match topic {
                // The epoch that the second wish is for has passed with the first.
                Some(_) if !seen.insert((asked.topic_id, wanted.partition_index)) => {
                    Err(ErrorCode::InvalidUpdateVersion)
                }
                Some(topic) => deciding.alter_partition(leader, topic, wanted, &mut records),
                None => Err(ErrorCode::UnknownTopicId),
            };
            let partition_index = wanted.partition_index;
            match altered {
                Ok(partition) => PartitionAnswer {
                    partition_index,
                    leader_id: partition.leader.get(),
                    leader_epoch: partition.leader_epoch.get(),
                    isr: numbers(&partition.isr),
                    leader_recovery_state: partition.recovery.code(),
                    partition_epoch: partition.partition_epoch,
                    ..Default::default()
                },
                Err(code) => {
                    PartitionAnswer { partition_index, error_code: code as i16, ..Default::default() }
                }
            }
        });
        let partitions = partitions.collect();
        topics.push(TopicAnswer { topic_id: asked.topic_id, partitions, ..Default::default() });
    }
    Decided::each_alone(records, AlterPartitionResponse { topics, ..Default::default() })
}

/// The wished ISR: with broker epochs, or from an old leader without.
fn wished_isr(wanted: &PartitionData) -> Vec<BrokerState> {
    if !wanted.new_isr_with_epochs.is_empty() {
        return wanted.new_isr_with_epochs.clone();
    }
    let state = |id: &i32| BrokerState { broker_id: *id, broker_epoch: UNKNOWN_EPOCH, ..Default::default() };
    wanted.new_isr.iter().map(state).collect()
}

impl Deciding<'_> {
    /// The partition after the wish, whose record joins `records` if anything changes.
    fn alter_partition(
        &self,
        broker: NodeId,
        topic: &Topic,
        wanted: &PartitionData,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<Partition, ErrorCode> {
        let index = PartitionIndex(wanted.partition_index);
        let partition = self.image.topics.partition(topic.id, index);
        let partition = partition.ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let isr = wished_isr(wanted);
        let recovery = self.check_wish(broker, partition, wanted, &isr)?;
        let id = PartitionId { topic: topic.id, index };
        let mut wish = self.wish(topic, id, partition, Candidates::active(&self.image.cluster));
        if self.allows_unclean_election(topic) {
            wish.election = Election::Unclean;
        }
        wish.isr = isr.iter().map(|it| NodeId(it.broker_id)).collect();
        wish.recovery = recovery;
        let Some(change) = wish.build() else { return Ok((**partition).clone()) };
        let new_leader = elects_other_than(&change, broker);
        let altered = partition.changed(&change);
        records.push(MetadataRecord::PartitionChangeRecord(change));
        if new_leader {
            return Err(ErrorCode::NewLeaderElected);
        }
        altered.map_err(|_| ErrorCode::UnknownServerError)
    }

    /// Compare and set: only the leader, at the epochs that it believes in, with replicas that are alive.
    fn check_wish(
        &self,
        broker: NodeId,
        partition: &Partition,
        wanted: &PartitionData,
        isr: &[BrokerState],
    ) -> Result<LeaderRecovery, ErrorCode> {
        // A leader that is ahead of this controller has heard from a newer one.
        let (leader_epoch, epoch) = (partition.leader_epoch.get(), partition.partition_epoch);
        if wanted.leader_epoch > leader_epoch || wanted.partition_epoch > epoch {
            return Err(ErrorCode::NotController);
        }
        if wanted.leader_epoch < leader_epoch {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if broker != partition.leader {
            return Err(ErrorCode::InvalidRequest);
        }
        if wanted.partition_epoch < epoch {
            return Err(ErrorCode::InvalidUpdateVersion);
        }
        let wished: Nodes = nodes(&isr.iter().map(|it| it.broker_id).collect::<Vec<i32>>());
        let recovery = LeaderRecovery::from_code(wanted.leader_recovery_state);
        let recovery = recovery.ok_or(ErrorCode::InvalidRequest)?;
        let returns =
            recovery == LeaderRecovery::Recovering && partition.recovery == LeaderRecovery::Recovered;
        if !is_set_of_replicas(&wished, partition)
            || !wished.contains(&broker)
            || (recovery == LeaderRecovery::Recovering && wished.len() > 1)
            || returns
        {
            return Err(ErrorCode::InvalidRequest);
        }
        let is_eligible = |state: &BrokerState| {
            let registered = self.image.cluster.broker(NodeId(state.broker_id));
            registered.is_some_and(|it| {
                it.is_active()
                    && (state.broker_epoch == UNKNOWN_EPOCH || state.broker_epoch == it.epoch.get())
            })
        };
        isr.iter().all(is_eligible).then_some(recovery).ok_or(ErrorCode::IneligibleReplica)
    }
}

fn is_set_of_replicas(isr: &[NodeId], partition: &Partition) -> bool {
    let once = |at: usize, it: &NodeId| !isr[..at].contains(it);
    isr.iter().enumerate().all(|(at, it)| partition.has_replica(*it) && once(at, it))
}

fn elects_other_than(change: &PartitionChangeRecord, broker: NodeId) -> bool {
    change.leader != NO_LEADER_CHANGE && change.leader != broker.get()
}
