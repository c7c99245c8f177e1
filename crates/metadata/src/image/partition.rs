//! One partition as the cluster knows it: its replicas, who is in sync, who leads.

use ottla_base::{LeaderEpoch, NodeId, PartitionIndex, Uuid};
use ottla_wire::records::metadata::{PartitionChangeRecord, PartitionRecord};
use smallvec::SmallVec;

use crate::{ImpossibleRecord, MetadataVersion, directory};

/// A short list of nodes, in an order that means something.
pub type Nodes = SmallVec<[NodeId; 4]>;

/// `PartitionChangeRecord.leader` when the leader stays.
pub(crate) const NO_LEADER_CHANGE: i32 = -2;
/// `PartitionChangeRecord.leader_recovery_state` when the state stays.
pub(crate) const NO_RECOVERY_CHANGE: i8 = -1;

/// Identifies a partition for as long as it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The topic's id.
    pub topic: Uuid,
    /// The partition's number.
    pub index: PartitionIndex,
}

/// A partition (`org.apache.kafka.metadata.PartitionRegistration`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Partition {
    /// Assigned brokers; the first is the preferred leader.
    pub replicas: Nodes,
    /// The directory of each replica, in the order of `replicas`.
    pub directories: Box<[Uuid]>,
    /// Replicas that are in sync. May be empty if eligible leader replicas are enabled.
    pub isr: Nodes,
    /// Replicas that a reassignment will remove.
    pub removing: Nodes,
    /// Replicas that a reassignment has added.
    pub adding: Nodes,
    /// Replicas that left the ISR below `min.insync.replicas` and have every committed record (KIP-966).
    pub elr: Nodes,
    /// The last leader, while there is none.
    pub last_known_elr: Nodes,
    /// The leader, or [`NodeId::NONE`].
    pub leader: NodeId,
    /// Whether the leader is recovering from an unclean election.
    pub recovery: LeaderRecovery,
    /// Rises with every election.
    pub leader_epoch: LeaderEpoch,
    /// Rises with every change.
    pub partition_epoch: i32,
}

/// Whether a leader still has to recover from an unclean election (KIP-704).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeaderRecovery {
    /// The leader has every committed record that any leader before it had.
    #[default]
    Recovered,
    /// The leader was elected uncleanly and may lack committed records.
    Recovering,
}

impl LeaderRecovery {
    /// Kafka's number.
    pub const fn code(self) -> i8 {
        match self {
            LeaderRecovery::Recovered => 0,
            LeaderRecovery::Recovering => 1,
        }
    }

    /// The state with this number.
    pub const fn from_code(code: i8) -> Option<LeaderRecovery> {
        match code {
            0 => Some(LeaderRecovery::Recovered),
            1 => Some(LeaderRecovery::Recovering),
            _ => None,
        }
    }
}

impl Partition {
    /// Whether a broker has a replica.
    pub fn has_replica(&self, broker: NodeId) -> bool {
        self.replicas.contains(&broker)
    }

    /// Whether somebody leads.
    pub fn has_leader(&self) -> bool {
        self.leader != NodeId::NONE
    }

    /// The replica that should lead: the first.
    pub fn preferred_leader(&self) -> NodeId {
        self.replicas.first().copied().unwrap_or(NodeId::NONE)
    }

    /// Whether a reassignment is under way.
    pub fn is_reassigning(&self) -> bool {
        !self.removing.is_empty() || !self.adding.is_empty()
    }

    /// The directory of a broker's replica, if it has one.
    pub fn directory_of(&self, broker: NodeId) -> Option<Uuid> {
        let at = self.replicas.iter().position(|replica| *replica == broker)?;
        self.directories.get(at).copied()
    }

    pub(super) fn from_record(record: &PartitionRecord) -> Result<Partition, ImpossibleRecord> {
        let replicas = nodes(&record.replicas);
        Ok(Partition {
            directories: directories(&record.directories, replicas.len())?,
            replicas,
            isr: nodes(&record.isr),
            removing: nodes(&record.removing_replicas),
            adding: nodes(&record.adding_replicas),
            elr: nodes(record.eligible_leader_replicas.as_deref().unwrap_or_default()),
            last_known_elr: nodes(record.last_known_elr.as_deref().unwrap_or_default()),
            leader: NodeId(record.leader),
            recovery: recovery(record.leader_recovery_state)?,
            leader_epoch: LeaderEpoch(record.leader_epoch),
            partition_epoch: record.partition_epoch,
        })
    }

    /// What a change record makes of this partition.
    pub(crate) fn changed(&self, record: &PartitionChangeRecord) -> Result<Partition, ImpossibleRecord> {
        let mut changed = self.clone();
        let fields = [
            (&mut changed.isr, &record.isr),
            (&mut changed.replicas, &record.replicas),
            (&mut changed.removing, &record.removing_replicas),
            (&mut changed.adding, &record.adding_replicas),
            (&mut changed.elr, &record.eligible_leader_replicas),
            (&mut changed.last_known_elr, &record.last_known_elr),
        ];
        for (field, new) in fields {
            if let Some(new) = new {
                *field = nodes(new);
            }
        }
        let assigned = record.directories.as_deref().unwrap_or(&changed.directories);
        changed.directories = directories(assigned, changed.replicas.len())?;
        if record.leader != NO_LEADER_CHANGE {
            changed.leader = NodeId(record.leader);
            changed.leader_epoch = LeaderEpoch(self.leader_epoch.get().wrapping_add(1));
        }
        if record.leader_recovery_state != NO_RECOVERY_CHANGE {
            changed.recovery = recovery(record.leader_recovery_state)?;
        }
        changed.partition_epoch = self.partition_epoch.wrapping_add(1);
        Ok(changed)
    }

    /// The partition as a record, with what `version` and the features can hold.
    pub(crate) fn to_record(
        &self,
        id: PartitionId,
        version: MetadataVersion,
        with_elr: bool,
    ) -> PartitionRecord {
        let list_of = |nodes: &Nodes| (with_elr && !nodes.is_empty()).then(|| numbers(nodes));
        PartitionRecord {
            partition_id: id.index.get(),
            topic_id: id.topic,
            replicas: numbers(&self.replicas),
            isr: numbers(&self.isr),
            removing_replicas: numbers(&self.removing),
            adding_replicas: numbers(&self.adding),
            leader: self.leader.get(),
            leader_recovery_state: self.recovery.code(),
            leader_epoch: self.leader_epoch.get(),
            partition_epoch: self.partition_epoch,
            directories: if version.has_directory_assignment() {
                self.directories.to_vec()
            } else {
                Vec::new()
            },
            eligible_leader_replicas: list_of(&self.elr),
            last_known_elr: list_of(&self.last_known_elr),
            ..Default::default()
        }
    }
}

pub(crate) fn nodes(numbers: &[i32]) -> Nodes {
    numbers.iter().copied().map(NodeId).collect()
}

pub(crate) fn numbers(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.get()).collect()
}

fn recovery(code: i8) -> Result<LeaderRecovery, ImpossibleRecord> {
    LeaderRecovery::from_code(code)
        .ok_or_else(|| ImpossibleRecord::new(format!("unknown leader recovery state {code}")))
}

/// Directories for `replicas` replicas: as listed, or unknown if none of the listed is known.
fn directories(listed: &[Uuid], replicas: usize) -> Result<Box<[Uuid]>, ImpossibleRecord> {
    if listed.iter().all(|it| *it == directory::MIGRATING) {
        Ok(vec![directory::MIGRATING; replicas].into_boxed_slice())
    } else if listed.len() == replicas {
        Ok(listed.into())
    } else {
        let reason = format!("{replicas} replicas cannot be in {} directories", listed.len());
        Err(ImpossibleRecord::new(reason))
    }
}
