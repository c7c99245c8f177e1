//! The cluster as one value: cheap to clone, never half changed.

mod access;
mod cluster;
mod configs;
mod features;
mod partition;
#[cfg(test)]
mod tests;
mod topics;
mod write;

pub use access::{Access, ClientQuotas, QuotaEntity};
pub use cluster::{Broker, Cluster, Listener, RegisteredController};
pub use configs::{Config, Configs, Resource};
pub use features::Features;
pub use partition::{LeaderRecovery, Nodes, Partition, PartitionId};
pub(crate) use partition::{NO_LEADER_CHANGE, NO_RECOVERY_CHANGE, nodes, numbers};
pub use topics::{Topic, Topics};

use ottla_base::ProducerId;

use ottla_wire::records::metadata::MetadataRecord;

use crate::ImpossibleRecord;

/// The cluster at one offset of the metadata log. A clone shares everything; a record applied to a clone copies
/// O(log n) of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Image {
    /// Finalized features.
    pub features: Features,
    /// Brokers and controllers.
    pub cluster: Cluster,
    /// Topics and partitions.
    pub topics: Topics,
    /// Dynamic configurations.
    pub configs: Configs,
    /// Client quotas.
    pub client_quotas: ClientQuotas,
    /// The first id of the next block of producer ids, once a block has been given out.
    pub next_producer_id: Option<ProducerId>,
    /// ACLs, credentials and tokens.
    pub access: Access,
}

impl Image {
    /// Takes one record of the log as fact.
    ///
    /// An error means that the log cannot have been written by a correct controller: nothing of the record has
    /// been taken, and the node that read it must not go on.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), ImpossibleRecord> {
        match record {
            MetadataRecord::RegisterBrokerRecord(record) => self.cluster.apply_register_broker(record),
            MetadataRecord::UnregisterBrokerRecord(record) => self.cluster.apply_unregister_broker(record)?,
            MetadataRecord::TopicRecord(record) => self.topics.apply_topic(record)?,
            MetadataRecord::PartitionRecord(record) => self.topics.apply_partition(record)?,
            MetadataRecord::ConfigRecord(record) => self.configs.apply(record)?,
            MetadataRecord::PartitionChangeRecord(record) => self.topics.apply_change(record)?,
            MetadataRecord::FenceBrokerRecord(record) => {
                self.cluster.apply_fencing(record.id, record.epoch, true)?
            }
            MetadataRecord::UnfenceBrokerRecord(record) => {
                self.cluster.apply_fencing(record.id, record.epoch, false)?
            }
            MetadataRecord::RemoveTopicRecord(record) => {
                let name = self.topics.apply_remove(record)?;
                self.configs.forget_topic(name);
            }
            MetadataRecord::DelegationTokenRecord(record) => self.access.apply_token(record),
            MetadataRecord::UserScramCredentialRecord(record) => self.access.apply_scram(record),
            MetadataRecord::FeatureLevelRecord(record) => self.features.apply(record)?,
            MetadataRecord::ClientQuotaRecord(record) => access::apply_quota(&mut self.client_quotas, record),
            MetadataRecord::ProducerIdsRecord(record) => {
                self.next_producer_id = Some(ProducerId(record.next_producer_id));
            }
            MetadataRecord::BrokerRegistrationChangeRecord(record) => {
                self.cluster.apply_registration_change(record)?
            }
            MetadataRecord::AccessControlEntryRecord(record) => self.access.apply_acl(record)?,
            MetadataRecord::RemoveAccessControlEntryRecord(record) => self.access.apply_remove_acl(record)?,
            MetadataRecord::RemoveUserScramCredentialRecord(record) => {
                self.access.apply_remove_scram(record)?
            }
            MetadataRecord::RemoveDelegationTokenRecord(record) => self.access.apply_remove_token(record),
            MetadataRecord::RegisterControllerRecord(record) => {
                self.cluster.apply_register_controller(record)
            }
            MetadataRecord::ClearElrRecord(record) => self.topics.apply_clear_elr(record)?,
            MetadataRecord::UnregisterControllerRecord(record) => {
                self.cluster.apply_unregister_controller(record)?
            }
            // Only time passes.
            MetadataRecord::NoOpRecord(_) => (),
            // Clusters that came from ZooKeeper carry its traces.
            MetadataRecord::ZkMigrationStateRecord(_) => (),
            // When a change becomes visible is the reader's business: see `Replay`.
            MetadataRecord::BeginTransactionRecord(_)
            | MetadataRecord::EndTransactionRecord(_)
            | MetadataRecord::AbortTransactionRecord(_) => (),
        }
        Ok(())
    }
}
