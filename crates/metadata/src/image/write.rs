//! An image as the records of a snapshot.

use ottla_base::Str;
use ottla_wire::records::metadata::{
    ConfigRecord, FeatureLevelRecord, MetadataRecord, ProducerIdsRecord, TopicRecord,
};

use super::{Image, PartitionId, access::quota_record};
use crate::{MetadataVersion, Record};

impl Image {
    /// The records from which this image can be rebuilt, in Kafka's order, each in the version that the finalized
    /// metadata version asks for. What that version cannot hold is left out.
    pub fn to_records(&self) -> impl Iterator<Item = Record> {
        let version = self.features.version();
        self.features_as_facts()
            .chain(self.cluster_as_facts(version))
            .chain(self.topics_as_facts(version))
            .chain(self.configs_as_facts())
            .chain(self.quotas_and_producer_ids_as_facts())
            .chain(self.access_as_facts(version))
            .map(move |fact| Record::at(version, fact))
    }

    /// `metadata.version` comes first, because it says how to read what follows.
    fn features_as_facts(&self) -> impl Iterator<Item = MetadataRecord> {
        let metadata = (Str::from_static(MetadataVersion::FEATURE_NAME), self.features.version().level());
        let others = self.features.levels.iter().map(|(name, level)| (name.clone(), *level));
        std::iter::once(metadata).chain(others).map(|(name, feature_level)| {
            MetadataRecord::FeatureLevelRecord(FeatureLevelRecord {
                name,
                feature_level,
                ..Default::default()
            })
        })
    }

    fn cluster_as_facts(&self, version: MetadataVersion) -> impl Iterator<Item = MetadataRecord> {
        let brokers = self.cluster.brokers.values();
        let brokers =
            brokers.map(move |broker| MetadataRecord::RegisterBrokerRecord(broker.to_record(version)));
        let controllers =
            self.cluster.controllers.values().filter(move |_| version.has_controller_registration());
        brokers.chain(
            controllers.map(|controller| MetadataRecord::RegisterControllerRecord(controller.to_record())),
        )
    }

    fn topics_as_facts(&self, version: MetadataVersion) -> impl Iterator<Item = MetadataRecord> {
        let with_elr = self.features.has_eligible_leader_replicas();
        self.topics.by_id.values().flat_map(move |topic| {
            let head = MetadataRecord::TopicRecord(TopicRecord {
                name: topic.name.clone(),
                topic_id: topic.id,
                ..Default::default()
            });
            let partitions = self.topics.partitions(topic.id).map(move |(index, partition)| {
                let id = PartitionId { topic: topic.id, index };
                MetadataRecord::PartitionRecord(partition.to_record(id, version, with_elr))
            });
            std::iter::once(head).chain(partitions)
        })
    }

    fn configs_as_facts(&self) -> impl Iterator<Item = MetadataRecord> {
        self.configs.resources.iter().flat_map(|(resource, config)| {
            config.iter().map(|(name, value)| {
                MetadataRecord::ConfigRecord(ConfigRecord {
                    resource_type: resource.kind.id(),
                    resource_name: resource.name.clone(),
                    name: name.clone(),
                    value: Some(value.clone()),
                    ..Default::default()
                })
            })
        })
    }

    fn quotas_and_producer_ids_as_facts(&self) -> impl Iterator<Item = MetadataRecord> {
        let quotas = self.client_quotas.iter().flat_map(|(entity, limits)| {
            limits
                .iter()
                .map(|(key, value)| MetadataRecord::ClientQuotaRecord(quota_record(entity, key, *value)))
        });
        let producer_ids = self.next_producer_id.map(|next| {
            MetadataRecord::ProducerIdsRecord(ProducerIdsRecord {
                broker_id: -1,
                broker_epoch: -1,
                next_producer_id: next.get(),
                ..Default::default()
            })
        });
        quotas.chain(producer_ids)
    }

    fn access_as_facts(&self, version: MetadataVersion) -> impl Iterator<Item = MetadataRecord> {
        let acls =
            self.access.acls.values().map(|it| MetadataRecord::AccessControlEntryRecord((**it).clone()));
        let scram = self.access.scram.values().filter(move |_| version.has_scram());
        let tokens = self.access.tokens.values().filter(move |_| version.has_delegation_tokens());
        acls.chain(scram.map(|it| MetadataRecord::UserScramCredentialRecord((**it).clone())))
            .chain(tokens.map(|it| MetadataRecord::DelegationTokenRecord((**it).clone())))
    }
}
