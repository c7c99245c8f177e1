//! Dynamic configurations take effect: of this broker, of all brokers, of topics.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::settings::Texts;
use ottla_metadata::settings::{ResourceKind, TopicSettings, derived};
use ottla_metadata::{Config, Delta, Image, Resource};
use ottla_storage::producer_state::ProducerRules;
use ottla_storage::{Log, LogConfig, LogStartReason, Tiering};

use crate::broker::Broker;
use crate::config::BrokerSettings;
use crate::partition::Demands;
use crate::tier;

/// Puts what changed into force.
pub(crate) fn apply(broker: &Broker, delta: Delta<'_>) {
    let (own, all) = (Resource::broker(broker.node_id), Resource::all_brokers());
    let mut servers_changed = false;
    let mut topics: Vec<ottla_base::Str> = Vec::new();
    for change in delta.configs() {
        match change.key.kind {
            ResourceKind::Broker => servers_changed |= *change.key == own || *change.key == all,
            ResourceKind::Topic => topics.push(change.key.name.clone()),
            ResourceKind::BrokerLogger | ResourceKind::ClientMetrics | ResourceKind::Group => {}
        }
    }
    if servers_changed {
        apply_server(broker, delta.new, &own, &all);
    }
    let everything = servers_changed.then(|| broker.partitions.all());
    let of_topics = || broker.partitions.all().into_iter().filter(|it| topics.contains(&it.topic)).collect();
    let affected = everything.unwrap_or_else(|| if topics.is_empty() { Vec::new() } else { of_topics() });
    let mut last: Option<(ottla_base::Uuid, Arc<LogConfig>, Demands)> = None;
    for partition in affected {
        let known = last.as_ref().is_some_and(|it| it.0 == partition.topic_id);
        if !known {
            let (config, demands) = of_topic(broker, delta.new, &partition.topic);
            last = Some((partition.topic_id, config, demands));
        }
        if let Some((_, config, demands)) = &last {
            set_config(&partition.log(), config.clone());
            partition.demand(demands.clone());
        }
    }
}

/// Changes what a log lives by. One that is not tiered any more begins where its disk does.
fn set_config(log: &Log, config: Arc<LogConfig>) {
    let was_tiered = log.config().tiering.is_some();
    let is_tiered = config.tiering.is_some();
    log.set_config(config);
    if was_tiered && !is_tiered {
        log.forget_tiered();
        let local_start = log.view().local_start();
        if let Err(error) = log.advance_log_start(local_start, LogStartReason::SegmentDeletion) {
            tracing::warn!(partition = %log.partition(), %error, "the log start stays");
        }
    }
}

fn apply_server(broker: &Broker, image: &Image, own: &Resource, all: &Resource) {
    let (all, own) = (texts(&image.configs.of(all)), texts(&image.configs.of(own)));
    match broker.settings.load().with_dynamic(all, own) {
        Ok((settings, left_out)) => {
            for it in left_out {
                tracing::warn!(key = it.name, reason = it.reason, "a dynamic setting has no effect");
            }
            if let Some(Err(error)) = broker.admissions.get().map(|it| it.follow(&settings)) {
                tracing::error!(%error, "limits of connections are left as they were");
            }
            broker.logs.cordon(cordoned_paths(&settings));
            if let Some(tier) = broker.tier.get() {
                tier.reconfigure(&settings.server.tiered);
            }
            let (before, rules) = (producer_rules(&broker.settings.load()), producer_rules(&settings));
            if rules != before {
                broker.logs.set_producer_rules(rules);
            }
            broker.settings.store(Arc::new(settings));
            broker.cleaners.settings_changed();
        }
        Err(error) => tracing::error!(%error, "dynamic settings are invalid and were left as they were"),
    }
}

/// The directories that get no new logs.
pub(crate) fn cordoned_paths(settings: &BrokerSettings) -> Vec<PathBuf> {
    settings.server.cordoned_directories().iter().map(PathBuf::from).collect()
}

/// What idempotent producers are held against.
pub(crate) fn producer_rules(settings: &BrokerSettings) -> ProducerRules {
    let transactions = &settings.server.transactions;
    ProducerRules {
        expiration: Duration::from_millis(u64::try_from(transactions.producer_id_expiration_ms).unwrap_or(0)),
        verify_transactions: transactions.transaction_partition_verification_enable,
    }
}

/// What the configuration of a topic comes to on this broker.
pub(crate) fn of_topic(broker: &Broker, image: &Image, topic: &ottla_base::Str) -> (Arc<LogConfig>, Demands) {
    let of_server = broker.settings.load();
    let settings = topic_settings(&of_server, image, topic);
    (Arc::new(log_config(&settings, tiering(&of_server, topic, &settings))), Demands::of(&settings))
}

/// What the logs of a topic live by.
pub(crate) fn log_config_of(
    settings: &BrokerSettings,
    image: &Image,
    topic: &ottla_base::Str,
) -> Arc<LogConfig> {
    let own = topic_settings(settings, image, topic);
    Arc::new(log_config(&own, tiering(settings, topic, &own)))
}

/// What the logs of topics without a configuration of their own live by.
pub(crate) fn default_log_config(settings: &BrokerSettings) -> Arc<LogConfig> {
    Arc::new(log_config(&default_topic_settings(settings), None))
}

/// The settings of a topic.
pub(crate) fn topic_settings(
    settings: &BrokerSettings,
    image: &Image,
    topic: &ottla_base::Str,
) -> TopicSettings {
    let own = texts(&image.configs.of(&Resource::topic(topic.clone())));
    derived::topic_settings(&settings.topic_defaults, &own).unwrap_or_else(|error| {
        tracing::error!(topic = %topic, %error, "a topic's configuration is invalid; the defaults hold");
        default_topic_settings(settings)
    })
}

fn default_topic_settings(settings: &BrokerSettings) -> TopicSettings {
    match derived::topic_settings(&settings.topic_defaults, &Texts::default()) {
        Ok(settings) => settings,
        // They were read when the server was started.
        Err(error) => panic!("the settings of the server make no topic: {error}"),
    }
}

/// How the logs of a topic are tiered, if they are (`UnifiedLog.isRemoteLogEnabled`).
fn tiering(server: &BrokerSettings, topic: &str, settings: &TopicSettings) -> Option<Tiering> {
    let is_compacted = settings.cleanup_policy.iter().any(|it| it == "compact");
    let is_tiered = tier::settings::is_enabled(server)
        && settings.remote_storage_enable
        && !is_compacted
        && tier::settings::may_be_tiered(topic);
    // As much as the log keeps, unless told otherwise.
    let local = |local, whole| u64::try_from(if local == -2 { whole } else { local }).ok();
    is_tiered.then(|| Tiering {
        copy_disabled: settings.remote_log_copy_disable,
        local_retention_ms: local(settings.local_retention_ms, settings.retention_ms),
        local_retention_bytes: local(settings.local_retention_bytes, settings.retention_bytes),
    })
}

fn log_config(settings: &TopicSettings, tiering: Option<Tiering>) -> LogConfig {
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    let bounded = |number: i64| u64::try_from(number).ok();
    let bytes = |number: i32| u32::try_from(number).unwrap_or(0);
    let has = |policy: &str| settings.cleanup_policy.iter().any(|it| it == policy);
    LogConfig {
        segment_bytes: bytes(settings.internal_segment_bytes.unwrap_or(settings.segment_bytes)),
        segment_ms: settings.segment_ms,
        segment_jitter_ms: settings.segment_jitter_ms,
        segment_index_bytes: bytes(settings.segment_index_bytes),
        index_interval_bytes: bytes(settings.index_interval_bytes),
        max_message_bytes: bytes(settings.max_message_bytes),
        preallocate: settings.preallocate,
        cleanup_delete: has("delete"),
        cleanup_compact: has("compact"),
        retention_ms: bounded(settings.retention_ms),
        retention_bytes: bounded(settings.retention_bytes),
        delete_retention_ms: settings.delete_retention_ms,
        min_cleanable_dirty_ratio: settings.min_cleanable_dirty_ratio,
        min_compaction_lag_ms: settings.min_compaction_lag_ms,
        max_compaction_lag_ms: settings.max_compaction_lag_ms,
        file_delete_delay_ms: unsigned(settings.file_delete_delay_ms),
        flush_messages: unsigned(settings.flush_messages),
        flush_ms: unsigned(settings.flush_ms),
        tiering,
    }
}

pub(crate) fn texts(config: &Config) -> Texts {
    config.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}
