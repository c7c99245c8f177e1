//! The first records of a seat: what a new log begins with, and the end of what a predecessor left half done.

use ottla_base::NodeId;
use ottla_base::settings::Texts;
use ottla_wire::records::metadata::{
    AbortTransactionRecord, BeginTransactionRecord, EndTransactionRecord, MetadataRecord, NoOpRecord,
};

use super::configs::{config_record, texts};
use super::{Decided, Deciding};
use crate::settings::ResourceKind;
use crate::settings::alter::eligible_replicas_safety;
use crate::{Feature, MetadataVersion, Resource};

/// A controller has become active.
#[derive(Debug, Clone, Default)]
pub struct Activate {
    /// What the log is to begin with if it is empty: the records of `bootstrap.checkpoint`.
    pub bootstrap: Vec<MetadataRecord>,
}

/// After Kafka's `ActivationRecordsGenerator`.
pub(super) fn decide(deciding: &mut Deciding<'_>, request: Activate) -> Decided<()> {
    let mut records = Vec::new();
    if deciding.in_transaction {
        records.push(MetadataRecord::AbortTransactionRecord(AbortTransactionRecord {
            reason: Some("Controller failover".into()),
            ..Default::default()
        }));
    }
    // A transaction under way at this point can only be the bootstrap's own, if no version is known.
    if deciding.image.features.metadata_version.is_some() {
        return Decided::together(records, ());
    }
    let level_of = |wanted: &str| {
        let levels = request.bootstrap.iter().filter_map(|record| match record {
            MetadataRecord::FeatureLevelRecord(it) if it.name == *wanted => Some(it.feature_level),
            _ => None,
        });
        levels.last().unwrap_or(0)
    };
    let version = MetadataVersion::from_level(level_of(MetadataVersion::FEATURE_NAME));
    let with_transaction = version.is_some_and(MetadataVersion::has_transactions);
    let with_elr = level_of(Feature::EligibleLeaderReplicas.name()) > 0;
    if with_transaction {
        records.push(MetadataRecord::BeginTransactionRecord(BeginTransactionRecord {
            name: Some("Bootstrap records".into()),
            ..Default::default()
        }));
    }
    records.extend(request.bootstrap);
    if with_elr {
        records.extend(deciding.agree_on_min_isr());
    }
    if with_transaction {
        records.push(MetadataRecord::EndTransactionRecord(EndTransactionRecord::default()));
        return Decided::each_alone(records, ());
    }
    Decided::together(records, ())
}

/// Proves that the controller is alive.
pub(super) fn decide_no_op(_deciding: &mut Deciding<'_>, (): ()) -> Decided<()> {
    Decided::together(vec![MetadataRecord::NoOpRecord(NoOpRecord::default())], ())
}

impl Deciding<'_> {
    /// With eligible leader replicas, all brokers must agree on `min.insync.replicas`: it becomes a dynamic
    /// configuration of the cluster, and brokers lose their own.
    pub(super) fn agree_on_min_isr(&self) -> impl Iterator<Item = MetadataRecord> {
        let configs = &self.image.configs;
        let of_brokers = configs
            .of_kind(ResourceKind::Broker)
            .filter_map(|(resource, config)| Some((NodeId(resource.name.parse().ok()?), texts(config))));
        let of_brokers: Vec<(NodeId, Texts)> = of_brokers.collect();
        let of_all = texts(&configs.of(&Resource::all_brokers()));
        let by_reference = of_brokers.iter().map(|(id, texts)| (*id, texts));
        let altered = eligible_replicas_safety(&of_all, by_reference, &self.options.settings);
        altered.into_iter().map(|(broker, altered)| {
            config_record(&Resource { kind: ResourceKind::Broker, name: broker.into() }, altered)
        })
    }
}
