//! Which store the settings name, and how the topic of the records is made.

use std::path::PathBuf;

use ottla_base::settings::Texts;
use ottla_metadata::Image;
use ottla_metadata::settings::ResourceKind;
use ottla_tier::{Store, StoreOptions};

use crate::config::BrokerSettings;
use crate::topic;

/// Kafka's store for tests: a directory. Its layout is the one that every store here has.
const LOCAL_TIERED_STORAGE: &str = "org.apache.kafka.server.log.remote.storage.LocalTieredStorage";
/// The folder that it makes within the one it is given.
const LOCAL_TIERED_FOLDER: &str = "kafka-tiered-storage";
/// Kafka's keeper of records.
const TOPIC_BASED: &str =
    "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager";
/// How the names of variables begin that the clouds' own tools read.
const CLOUD_VARIABLES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// Where tiered segments go.
pub(super) enum StoreChoice {
    /// A local directory.
    Directory(PathBuf),
    /// What a URL names.
    Url(StoreOptions),
}

/// How the topic of the records is made (`TopicBasedRemoteLogMetadataManagerConfig`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct MetadataTopic {
    /// How many partitions it has.
    pub(crate) partitions: i32,
    /// How many replicas each has; `None` for three, or as many as there are brokers.
    pub(crate) replicas: Option<i16>,
    /// How long records are kept; −1 for ever.
    pub(crate) retention_ms: i64,
    /// `min.insync.replicas`
    pub(crate) min_isr: i16,
}

/// Replicas of the topic of the records unless told otherwise.
pub(crate) const METADATA_REPLICAS: i16 = 3;

/// Whether the system of tiered storage is on.
pub(crate) fn is_enabled(settings: &BrokerSettings) -> bool {
    settings.server.tiered.remote_log_storage_system_enable && settings.is_broker()
}

/// Refuses a store that cannot be had.
pub(crate) fn check_store(settings: &BrokerSettings) -> Result<(), String> {
    match store_options(settings)? {
        Some(StoreChoice::Url(options)) => Store::check(&options).map_err(|error| error.to_string()),
        Some(StoreChoice::Directory(_)) | None => Ok(()),
    }
}

/// The store, for an operator; `None` if tiered storage is off or has no store.
pub(crate) fn store_name(settings: &BrokerSettings) -> Option<String> {
    match store_options(settings).ok()?? {
        StoreChoice::Directory(path) => Some(path.display().to_string()),
        StoreChoice::Url(options) => Some(options.url),
    }
}

/// The Java class that the settings name for the store, if Ottla does not know it.
pub(crate) fn foreign_class(settings: &BrokerSettings) -> Option<&str> {
    let class = settings.server.tiered.remote_log_storage_manager_class_name.as_deref()?.trim();
    (class != LOCAL_TIERED_STORAGE).then_some(class)
}

/// Refuses tiered topics without a store, as Kafka does.
pub(crate) fn check_topics(settings: &BrokerSettings, image: &Image) -> Result<(), String> {
    if is_enabled(settings) {
        return Ok(());
    }
    let tiered = image.configs.of_kind(ResourceKind::Topic).find(|(_, config)| {
        config.get("remote.storage.enable").is_some_and(|it| it.eq_ignore_ascii_case("true"))
    });
    match tiered {
        None => Ok(()),
        Some((resource, _)) => Err(format!(
            "You have to delete all topics with the property remote.storage.enable=true before disabling tiered \
             storage cluster-wide; topic {} has it",
            resource.name
        )),
    }
}

/// The store, if tiered storage is on.
pub(super) fn store_options(settings: &BrokerSettings) -> Result<Option<StoreChoice>, String> {
    if !is_enabled(settings) {
        return Ok(None);
    }
    let tiered = &settings.server.tiered;
    let manager = tiered.remote_log_metadata_manager_class_name.trim();
    if manager != TOPIC_BASED {
        return Err(format!(
            "remote.log.metadata.manager.class.name: Ottla loads no Java classes; it keeps its records in \
             __remote_log_metadata, as {TOPIC_BASED} does, which is the only class that may be named (found \
             {manager})"
        ));
    }
    let effective = settings.layers.effective();
    let own = with_prefix(&effective, &tiered.remote_log_storage_manager_impl_prefix);
    let class = tiered.remote_log_storage_manager_class_name.as_deref().map(str::trim);
    if let Some(url) = settings.server.ottla.ottla_remote_storage_url.as_deref() {
        let mut options: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| CLOUD_VARIABLES.iter().any(|it| name.starts_with(it)))
            .map(|(name, value)| (name.to_lowercase(), value))
            .collect();
        options.extend(own.into_iter().map(|(name, value)| (name.replace('.', "_").to_lowercase(), value)));
        return Ok(Some(StoreChoice::Url(StoreOptions { url: url.trim().to_owned(), options })));
    }
    match class {
        Some(LOCAL_TIERED_STORAGE) => match own.iter().find(|(name, _)| name == "dir") {
            Some((_, dir)) => Ok(Some(StoreChoice::Directory(PathBuf::from(dir).join(LOCAL_TIERED_FOLDER)))),
            None => Err(format!(
                "{}dir must name the directory of {LOCAL_TIERED_STORAGE}",
                tiered.remote_log_storage_manager_impl_prefix
            )),
        },
        Some(other) => Err(format!(
            "remote.log.storage.manager.class.name: Ottla loads no Java classes, and does not know {other}; name \
             the store with ottla.remote.storage.url instead, for example s3://bucket/prefix, gs://bucket, \
             az://container or file:///directory; what {other} has tiered has other names and cannot be read"
        )),
        None => {
            Err("remote.log.storage.system.enable needs a store: set ottla.remote.storage.url, for example \
                     s3://bucket/prefix, gs://bucket, az://container or file:///directory"
                .to_owned())
        }
    }
}

fn with_prefix(effective: &Texts, prefix: &str) -> Vec<(String, String)> {
    let own =
        effective.iter().filter_map(|(key, text)| Some((key.strip_prefix(prefix)?.to_owned(), text.clone())));
    own.collect()
}

/// How the topic of the records is made.
pub(crate) fn metadata_topic(settings: &BrokerSettings) -> MetadataTopic {
    let prefix = &settings.server.tiered.remote_log_metadata_manager_impl_prefix;
    let effective = settings.layers.effective();
    let number = |name: &str| -> Option<i64> {
        let key = format!("{prefix}remote.log.metadata.topic.{name}");
        let text = effective.get(&key)?;
        let number = text.trim().parse().ok();
        if number.is_none() {
            tracing::warn!(key, value = text, "not a number, the default holds");
        }
        number
    };
    let within = |number: i64| i16::try_from(number.max(1)).unwrap_or(i16::MAX);
    MetadataTopic {
        partitions: i32::try_from(number("num.partitions").unwrap_or(50).max(1)).unwrap_or(50),
        replicas: number("replication.factor").map(within),
        retention_ms: number("retention.ms").unwrap_or(-1),
        min_isr: number("min.isr").map_or(2, within),
    }
}

/// Whether the segments of a topic may be tiered: Kafka's own stay where they are.
pub(crate) fn may_be_tiered(name: &str) -> bool {
    !topic::is_internal(name) && name != topic::REMOTE_LOG_METADATA && name != "__cluster_metadata"
}
