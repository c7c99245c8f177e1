//! Settings that follow from others: what a topic or a group has when it says nothing itself.

use ottla_base::settings::{InvalidSetting, Setting, Table, Texts, Value};

use super::broker::LogSettings;
use super::{GroupSettings, ServerSettings, TopicSettings, resources};

const MS_PER_MINUTE: i64 = 60_000;
const MS_PER_HOUR: i64 = 60 * MS_PER_MINUTE;

/// The server's keys that a topic's key falls back to, the one that wins first, after
/// `ServerTopicConfigSynonyms`.
const TOPIC_FALLBACKS: [(&str, &str); 31] = [
    ("cleanup.policy", "log.cleanup.policy"),
    ("compression.gzip.level", "compression.gzip.level"),
    ("compression.lz4.level", "compression.lz4.level"),
    ("compression.type", "compression.type"),
    ("compression.zstd.level", "compression.zstd.level"),
    ("delete.retention.ms", "log.cleaner.delete.retention.ms"),
    ("file.delete.delay.ms", "log.segment.delete.delay.ms"),
    ("flush.messages", "log.flush.interval.messages"),
    ("flush.ms", "log.flush.interval.ms"),
    ("index.interval.bytes", "log.index.interval.bytes"),
    ("local.retention.bytes", "log.local.retention.bytes"),
    ("local.retention.ms", "log.local.retention.ms"),
    ("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
    ("max.decompressed.message.bytes", "max.decompressed.message.bytes"),
    ("max.message.bytes", "message.max.bytes"),
    ("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
    ("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio"),
    ("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms"),
    ("min.insync.replicas", "min.insync.replicas"),
    ("preallocate", "log.preallocate"),
    ("remote.copy.lag.bytes", "log.remote.copy.lag.bytes"),
    ("remote.copy.lag.ms", "log.remote.copy.lag.ms"),
    ("retention.bytes", "log.retention.bytes"),
    ("retention.ms", "log.retention.ms"),
    ("segment.bytes", "log.segment.bytes"),
    ("segment.index.bytes", "log.index.size.max.bytes"),
    ("segment.jitter.ms", "log.roll.jitter.ms"),
    ("segment.ms", "log.roll.ms"),
    ("unclean.leader.election.enable", "unclean.leader.election.enable"),
];

/// The server's key that a topic's key falls back to.
pub fn topic_fallback(name: &str) -> Option<&'static str> {
    TOPIC_FALLBACKS.iter().find(|(topic, _)| *topic == name).map(|(_, server)| *server)
}

/// The server's key that a group's key falls back to.
pub fn group_fallback(name: &str) -> Option<&'static str> {
    let rest = name.strip_prefix("consumer.").or_else(|| name.strip_prefix("streams."));
    let rest = rest.or_else(|| name.strip_prefix("share."))?;
    let server = match name {
        "streams.assignor.name" => "group.streams.assignors".to_owned(),
        _ => format!("group.{}.{rest}", &name[..name.len() - rest.len() - 1]),
    };
    super::ResourceKind::Broker.settings().get_key_value(server.as_str()).map(|(name, _)| *name)
}

impl LogSettings {
    /// How long segments are kept, -1 for ever.
    pub fn retention_ms(&self) -> i64 {
        let minutes = self.log_retention_minutes.map(|it| i64::from(it) * MS_PER_MINUTE);
        let ms = self.log_retention_ms.or(minutes);
        ms.unwrap_or(i64::from(self.log_retention_hours) * MS_PER_HOUR).max(-1)
    }

    /// After how long a new segment begins.
    pub fn roll_ms(&self) -> i64 {
        self.log_roll_ms.unwrap_or(i64::from(self.log_roll_hours) * MS_PER_HOUR)
    }

    /// By how much at random a new segment may begin early.
    pub fn roll_jitter_ms(&self) -> i64 {
        self.log_roll_jitter_ms.unwrap_or(i64::from(self.log_roll_jitter_hours) * MS_PER_HOUR)
    }

    /// How long a record may wait before it is forced to disk.
    pub fn flush_ms(&self) -> i64 {
        self.log_flush_interval_ms.unwrap_or(self.log_flush_scheduler_interval_ms)
    }
}

impl ServerSettings {
    /// The log directories.
    pub fn log_directories(&self) -> &[String] {
        self.log.log_dirs.as_deref().unwrap_or(&self.log.log_dir)
    }

    /// The directory of the metadata log.
    pub fn metadata_directory(&self) -> &str {
        let first = self.log_directories().first().map_or("", String::as_str);
        self.quorum.metadata_log_dir.as_deref().unwrap_or(first)
    }

    /// The log directories that take no new partitions.
    pub fn cordoned_directories(&self) -> &[String] {
        match self.log.cordoned_log_dirs.iter().any(|it| it == "*") {
            true => self.log_directories(),
            false => &self.log.cordoned_log_dirs,
        }
    }
}

/// What a topic has when it says nothing itself: the texts that the server's settings amount to.
pub fn topic_defaults(server: &ServerSettings, effective: &Texts) -> Texts {
    defaults_of_topics(&server.log, effective)
}

pub(super) fn defaults_of_topics(log: &LogSettings, effective: &Texts) -> Texts {
    let mut texts = Texts::new();
    for (topic, fallback) in TOPIC_FALLBACKS {
        let text = match topic {
            "retention.ms" => Some(log.retention_ms().to_string()),
            "segment.ms" => Some(log.roll_ms().to_string()),
            "segment.jitter.ms" => Some(log.roll_jitter_ms().to_string()),
            "flush.ms" => Some(log.flush_ms().to_string()),
            _ => text_of(fallback, effective),
        };
        if let Some(text) = text {
            texts.insert(topic.to_owned(), text);
        }
    }
    texts
}

/// What a group has when it says nothing itself.
pub fn group_defaults(effective: &Texts) -> Texts {
    let text = |setting: &Setting| {
        let text = text_of(group_fallback(setting.name)?, effective)?;
        let first = || text.split(',').next().unwrap_or_default().to_owned();
        Some(if setting.name == "streams.assignor.name" { first() } else { text })
    };
    GroupSettings::SETTINGS.iter().filter_map(|it| Some((it.name.to_owned(), text(it)?))).collect()
}

/// The value of a server's key as text. Invalid texts were refused when the server read them.
fn text_of(name: &str, effective: &Texts) -> Option<String> {
    let value: Option<Value> = super::ResourceKind::Broker.settings().get(name)?.read(effective).ok()?;
    value.map(|it| it.to_text())
}

/// What holds for a topic: its own texts over the server's.
pub fn topic_settings(defaults: &Texts, own: &Texts) -> Result<TopicSettings, InvalidSetting> {
    TopicSettings::read(&over(defaults, own))
}

/// What holds for a group: its own texts over the server's, within the bounds that the server sets now. The bounds
/// may have moved since the group's texts were accepted.
pub fn group_settings(
    server: &ServerSettings,
    defaults: &Texts,
    own: &Texts,
) -> Result<GroupSettings, InvalidSetting> {
    let mut texts = over(defaults, own);
    for (name, least, most) in resources::group_bounds(server) {
        let Some(value) = own.get(name).and_then(|it| it.trim().parse::<i32>().ok()) else { continue };
        let bounded = value.min(most.unwrap_or(i32::MAX)).max(least.unwrap_or(i32::MIN));
        texts.insert(name.to_owned(), bounded.to_string());
    }
    GroupSettings::read(&texts)
}

pub(super) fn over(below: &Texts, above: &Texts) -> Texts {
    let mut texts = below.clone();
    texts.extend(above.iter().map(|(key, text)| (key.clone(), text.clone())));
    texts
}
