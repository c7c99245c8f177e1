//! What a wish about a partition comes to: a leader if one can be had, the eligible leader replicas, the record.

#[cfg(test)]
mod tests;

use ottla_base::{NodeId, Uuid};
use ottla_wire::records::metadata::PartitionChangeRecord;
use smallvec::SmallVec;

use crate::directory;
use crate::image::{
    Cluster, LeaderRecovery, NO_LEADER_CHANGE, NO_RECOVERY_CHANGE, Nodes, Partition, PartitionId, numbers,
};
use crate::reassignment::Reassignment;
use crate::{Features, MetadataVersion};

/// Who may be elected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Election {
    /// The preferred leader, even if another leads well.
    Preferred,
    /// Somebody in sync, if the present leader cannot go on.
    #[default]
    Online,
    /// Anybody alive, if nobody in sync is: records may be lost.
    Unclean,
}

/// Which brokers can lead: those that are active, with exceptions for what is about to become so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidates<'a> {
    pub(crate) cluster: &'a Cluster,
    /// Neither of them, although the image says that they are active.
    pub(crate) except: [NodeId; 2],
    /// This one too, although the image does not say so yet.
    pub(crate) besides: NodeId,
}

impl<'a> Candidates<'a> {
    pub(crate) fn active(cluster: &'a Cluster) -> Candidates<'a> {
        Candidates { cluster, except: [NodeId::NONE; 2], besides: NodeId::NONE }
    }

    fn can_lead(&self, partition: &Partition, broker: NodeId) -> bool {
        let active = broker == self.besides || self.cluster.is_active(broker);
        let online = || {
            let directory = partition.directory_of(broker)?;
            Some(self.cluster.broker(broker)?.has_online_directory(directory))
        };
        active && !self.except.contains(&broker) && online().unwrap_or(false)
    }
}

/// The directory that a new replica on `broker` is assigned to.
pub(crate) fn default_directory(cluster: &Cluster, version: MetadataVersion, broker: NodeId) -> Uuid {
    if !version.has_directory_assignment() {
        return directory::MIGRATING;
    }
    match cluster.broker(broker).map(|it| it.directories.as_slice()) {
        None => directory::UNASSIGNED,
        Some([]) => directory::MIGRATING,
        Some([only]) => *only,
        Some(_) => directory::UNASSIGNED,
    }
}

/// Wishes about one partition (`org.apache.kafka.controller.PartitionChangeBuilder`). Set the fields, then
/// [`PartitionChange::build`].
pub(crate) struct PartitionChange<'a> {
    partition: &'a Partition,
    id: PartitionId,
    candidates: Candidates<'a>,
    version: MetadataVersion,
    with_elr: bool,
    min_isr: usize,
    pub(crate) election: Election,
    pub(crate) isr: Nodes,
    pub(crate) replicas: Nodes,
    pub(crate) removing: Nodes,
    pub(crate) adding: Nodes,
    pub(crate) recovery: LeaderRecovery,
    /// A broker that came back without what it had not flushed.
    pub(crate) unclean_shutdown: NodeId,
    /// A replica's directory, as its broker has chosen it.
    pub(crate) directory: Option<(NodeId, Uuid)>,
    elr: Nodes,
}

impl<'a> PartitionChange<'a> {
    /// No wishes yet. `min_isr` is the topic's effective `min.insync.replicas`.
    pub(crate) fn new(
        partition: &'a Partition,
        id: PartitionId,
        candidates: Candidates<'a>,
        features: &Features,
        min_isr: usize,
    ) -> PartitionChange<'a> {
        PartitionChange {
            partition,
            id,
            candidates,
            version: features.version(),
            with_elr: features.has_eligible_leader_replicas(),
            min_isr,
            election: Election::Online,
            isr: partition.isr.clone(),
            replicas: partition.replicas.clone(),
            removing: partition.removing.clone(),
            adding: partition.adding.clone(),
            recovery: partition.recovery,
            unclean_shutdown: NodeId::NONE,
            directory: None,
            elr: partition.elr.clone(),
        }
    }

    /// The record that brings the wishes about, if anything changes.
    pub(crate) fn build(mut self) -> Option<PartitionChangeRecord> {
        let nothing = PartitionChangeRecord {
            topic_id: self.id.topic,
            partition_id: self.id.index.get(),
            leader: NO_LEADER_CHANGE,
            leader_recovery_state: NO_RECOVERY_CHANGE,
            ..PartitionChangeRecord::default()
        };
        let mut record = nothing.clone();
        self.complete_reassignment();
        self.update_elr();
        self.elect(&mut record);
        // A replica that is gone must not be believed by its old leader: the epoch tells them apart.
        self.raise_leader_epoch_unless(contains_all(&self.replicas, &self.partition.replicas), &mut record);
        self.record_isr_and_elr(&mut record);
        if !self.version.shrinks_without_new_leader_epoch()
            && let Some(isr) = &record.isr
        {
            let kept_all = contains_all(&crate::image::nodes(isr), &self.partition.isr);
            self.raise_leader_epoch_unless(kept_all, &mut record);
        }
        self.record_last_known_leader(&mut record);
        self.record_assignment(&mut record);
        if self.recovery != self.partition.recovery {
            record.leader_recovery_state = self.recovery.code();
        }
        (record != nothing).then_some(record)
    }

    fn complete_reassignment(&mut self) {
        let reassignment = Reassignment {
            removing: self.removing.clone(),
            adding: self.adding.clone(),
            replicas: self.replicas.clone(),
        };
        if let Some((replicas, isr)) = reassignment.complete(&self.isr) {
            (self.replicas, self.isr) = (replicas, isr);
            (self.removing, self.adding) = (Nodes::new(), Nodes::new());
        }
    }

    /// Below the minimum, whoever leaves the ISR stays eligible: the high watermark cannot have passed it.
    fn update_elr(&mut self) {
        if !self.with_elr {
            return;
        }
        if self.isr.len() >= self.min_isr {
            self.elr = Nodes::new();
            return;
        }
        let mut eligible: Nodes = self.elr.iter().chain(&self.partition.isr).copied().collect();
        eligible.retain(|it| !self.isr.contains(it) && *it != self.unclean_shutdown);
        eligible.sort_unstable();
        eligible.dedup();
        self.elr = eligible;
    }

    fn can_lead(&self, replica: NodeId) -> bool {
        self.candidates.can_lead(self.partition, replica)
    }

    fn is_clean_leader(&self, replica: NodeId) -> bool {
        let has_all_records =
            self.isr.contains(&replica) || (self.isr.is_empty() && self.elr.contains(&replica));
        has_all_records && self.can_lead(replica)
    }

    /// Who leads from now on, and whether that can lose records.
    fn choose_leader(&self) -> (NodeId, bool) {
        let preferred = self.replicas.first().copied().filter(|_| self.election == Election::Preferred);
        let in_turn =
            preferred.into_iter().chain([self.partition.leader]).chain(self.replicas.iter().copied());
        if let Some(leader) = in_turn.into_iter().find(|it| self.is_clean_leader(*it)) {
            return (leader, false);
        }
        if let Some(leader) = self.last_known_leader() {
            return (leader, true);
        }
        if self.election == Election::Unclean
            && let Some(leader) = self.replicas.iter().find(|it| self.can_lead(**it))
        {
            return (*leader, true);
        }
        (NodeId::NONE, false)
    }

    /// With nobody in sync and nobody eligible left, the last leader has more than any other.
    fn last_known_leader(&self) -> Option<NodeId> {
        match self.partition.last_known_elr[..] {
            [last] if self.with_elr && self.isr.is_empty() && self.elr.is_empty() => {
                Some(last).filter(|it| self.can_lead(*it))
            }
            _ => None,
        }
    }

    fn elect(&mut self, record: &mut PartitionChangeRecord) {
        let (leader, unclean) = self.choose_leader();
        if leader == self.partition.leader {
            return;
        }
        if self.elr.contains(&leader) {
            self.isr = Nodes::from_slice(&[leader]);
            self.elr.retain(|it| *it != leader);
        }
        record.leader = leader.get();
        if unclean {
            record.isr = Some(vec![leader.get()]);
            if self.partition.recovery != LeaderRecovery::Recovering {
                record.leader_recovery_state = LeaderRecovery::Recovering.code();
            }
        }
    }

    fn raise_leader_epoch_unless(&self, steady: bool, record: &mut PartitionChangeRecord) {
        if record.leader == NO_LEADER_CHANGE && !steady {
            record.leader = self.partition.leader.get();
        }
    }

    fn record_isr_and_elr(&mut self, record: &mut PartitionChangeRecord) {
        let elected_uncleanly = record.isr.is_some();
        if elected_uncleanly || !self.with_elr {
            self.elr = Nodes::new();
        }
        if self.elr != self.partition.elr {
            record.eligible_leader_replicas = Some(numbers(&self.elr));
        }
        let may_be = !self.isr.is_empty() || self.with_elr;
        if !elected_uncleanly && may_be && self.isr != self.partition.isr {
            record.isr = Some(numbers(&self.isr));
        }
    }

    fn record_last_known_leader(&self, record: &mut PartitionChangeRecord) {
        if !self.with_elr {
            return;
        }
        let known = !self.partition.last_known_elr.is_empty();
        if record.leader == NodeId::NONE.get() && self.partition.has_leader() && !known {
            record.last_known_elr = Some(vec![self.partition.leader.get()]);
        } else if record.leader >= 0 && known {
            record.last_known_elr = Some(Vec::new());
        }
    }

    fn record_assignment(&self, record: &mut PartitionChangeRecord) {
        if !self.replicas.is_empty() {
            if self.version.has_directory_assignment() {
                let directories: SmallVec<[Uuid; 4]> =
                    self.replicas.iter().map(|it| self.directory_of(*it)).collect();
                if directories[..] != self.partition.directories[..] {
                    record.directories = Some(directories.into_vec());
                }
            }
            if self.replicas != self.partition.replicas {
                record.replicas = Some(numbers(&self.replicas));
            }
        }
        if self.removing != self.partition.removing {
            record.removing_replicas = Some(numbers(&self.removing));
        }
        if self.adding != self.partition.adding {
            record.adding_replicas = Some(numbers(&self.adding));
        }
    }

    fn directory_of(&self, replica: NodeId) -> Uuid {
        let chosen = self.directory.filter(|(broker, _)| *broker == replica).map(|(_, directory)| directory);
        chosen
            .or_else(|| self.partition.directory_of(replica))
            .unwrap_or_else(|| default_directory(self.candidates.cluster, self.version, replica))
    }
}

fn contains_all(nodes: &[NodeId], wanted: &[NodeId]) -> bool {
    wanted.iter().all(|it| nodes.contains(it))
}
