//! The topics behind coordinators, made when they are needed (`AutoTopicCreationManager`).

use std::sync::Arc;

use ottla_base::Str;
use ottla_metadata::settings::ServerSettings;
use ottla_wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};

use crate::auto_create;
use crate::broker::Broker;
use crate::config::BrokerSettings;
use crate::{tier, topic};

/// Has an internal topic made unless it is there or on its way.
pub(crate) fn ensure(broker: &Arc<Broker>, name: &'static str) {
    if broker.image.load().topics.named(name).is_none() {
        auto_create::request(broker, vec![Str::from_static(name)]);
    }
}

/// How a topic is made that was asked for: Kafka's own as Kafka makes them, all others by the defaults.
pub(crate) fn creatable(broker: &Broker, settings: &BrokerSettings, name: &Str) -> CreatableTopic {
    let server = &settings.server;
    let (partitions, replicas, configs) = match name.as_str() {
        topic::CONSUMER_OFFSETS => offsets(server),
        topic::TRANSACTION_STATE => transactions(server),
        topic::SHARE_GROUP_STATE => share_states(server),
        topic::REMOTE_LOG_METADATA if tier::settings::is_enabled(settings) => {
            remote_log_metadata(broker, settings)
        }
        _ => (-1, -1, Vec::new()),
    };
    let configs = configs.into_iter().map(|(key, value)| CreatableTopicConfig {
        name: Str::from_static(key),
        value: Some(Str::from(value)),
        ..Default::default()
    });
    CreatableTopic {
        name: name.clone(),
        num_partitions: partitions,
        replication_factor: replicas,
        configs: configs.collect(),
        ..Default::default()
    }
}

type Shape = (i32, i16, Vec<(&'static str, String)>);

/// `GroupCoordinatorService.groupMetadataTopicConfigs`.
fn offsets(settings: &ServerSettings) -> Shape {
    let it = &settings.groups;
    let configs = vec![
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("segment.bytes", it.offsets_topic_segment_bytes.to_string()),
    ];
    (it.offsets_topic_num_partitions, it.offsets_topic_replication_factor, configs)
}

/// `TransactionStateManager.transactionTopicConfigs`.
fn transactions(settings: &ServerSettings) -> Shape {
    let it = &settings.transactions;
    let configs = vec![
        ("unclean.leader.election.enable", "false".to_owned()),
        ("compression.type", "uncompressed".to_owned()),
        ("cleanup.policy", "compact".to_owned()),
        ("min.insync.replicas", it.transaction_state_log_min_isr.to_string()),
        ("segment.bytes", it.transaction_state_log_segment_bytes.to_string()),
    ];
    (it.transaction_state_log_num_partitions, it.transaction_state_log_replication_factor, configs)
}

/// `ShareCoordinatorService.shareGroupStateTopicConfigs`.
fn share_states(settings: &ServerSettings) -> Shape {
    let it = &settings.share_groups;
    let configs = vec![
        ("cleanup.policy", "delete".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("segment.bytes", it.share_coordinator_state_topic_segment_bytes.to_string()),
        ("min.insync.replicas", it.share_coordinator_state_topic_min_isr.to_string()),
        ("retention.ms", "-1".to_owned()),
    ];
    (
        it.share_coordinator_state_topic_num_partitions,
        it.share_coordinator_state_topic_replication_factor,
        configs,
    )
}

/// `TopicBasedRemoteLogMetadataManager.newRemoteLogMetadataTopic`. Where nobody said how many replicas, no more than
/// there are brokers: Kafka's three would keep a smaller cluster from starting.
fn remote_log_metadata(broker: &Broker, settings: &BrokerSettings) -> Shape {
    let it = tier::settings::metadata_topic(settings);
    let brokers = i16::try_from(broker.image.load().cluster.brokers.len()).unwrap_or(i16::MAX).max(1);
    let replicas = it.replicas.unwrap_or(tier::settings::METADATA_REPLICAS.min(brokers));
    let configs = vec![
        ("retention.ms", it.retention_ms.to_string()),
        ("cleanup.policy", "delete".to_owned()),
        ("remote.storage.enable", "false".to_owned()),
        ("min.insync.replicas", it.min_isr.to_string()),
    ];
    (it.partitions, replicas, configs)
}
