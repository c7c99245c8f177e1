//! The levels of the server's loggers, which `BROKER_LOGGER` resources show and change (KIP-412).
//!
//! Programs written for Apache Kafka name loggers by its classes. Each of those names stands for the modules that do
//! the same job here; the modules may be named directly, too.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use ottla_base::settings::Texts;
use ottla_metadata::settings::alter::{Change, Operation, ROOT_LOGGER};
use parking_lot::Mutex;

#[cfg(test)]
mod tests;

/// Puts a filter in force, such as `info,ottla_net=debug`.
pub type PutInForce = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// The loggers of a process.
#[derive(Clone)]
pub struct Loggers {
    /// What the process was started with.
    initial: Arc<str>,
    put_in_force: Arc<PutInForce>,
    changed: Arc<Mutex<BTreeMap<String, String>>>,
}

/// Kafka's names, and the modules they stand for.
const KAFKA_NAMES: &[(&str, &[&str])] = &[
    ("kafka", &["ottla_broker", "ottla_net", "ottla_storage"]),
    ("kafka.authorizer.logger", &["ottla_broker::security"]),
    ("kafka.cluster", &["ottla_broker::partition"]),
    ("kafka.controller", &["ottla_broker::quorum", "ottla_metadata"]),
    ("kafka.coordinator.group", &["ottla_broker::shard", "ottla_coordinator::group"]),
    ("kafka.coordinator.transaction", &["ottla_broker::shard", "ottla_coordinator::transaction"]),
    ("kafka.log", &["ottla_storage"]),
    ("kafka.log.LogCleaner", &["ottla_storage::log_set::duties"]),
    ("kafka.log.LogManager", &["ottla_storage::log_set"]),
    ("kafka.network", &["ottla_net"]),
    ("kafka.network.Processor", &["ottla_net::connection"]),
    ("kafka.network.RequestChannel$", &["ottla_broker::service"]),
    ("kafka.network.SocketServer", &["ottla_net::server"]),
    ("kafka.raft", &["ottla_broker::quorum", "ottla_raft"]),
    ("kafka.request.logger", &["ottla_broker::service"]),
    ("kafka.server", &["ottla_broker"]),
    ("kafka.server.BrokerServer", &["ottla_broker::server"]),
    ("kafka.server.DynamicBrokerConfig", &["ottla_broker::settings_change"]),
    ("kafka.server.KafkaApis", &["ottla_broker::api", "ottla_broker::dispatch"]),
    ("kafka.server.KafkaConfig", &["ottla_broker::config"]),
    ("kafka.server.ReplicaAlterLogDirsManager", &["ottla_broker::moves"]),
    ("kafka.server.ReplicaManager", &["ottla_broker::partition", "ottla_broker::replicas"]),
    ("kafka.server.metadata", &["ottla_broker::replicas", "ottla_broker::settings_change"]),
    ("org.apache.kafka", &["ottla_broker", "ottla_net", "ottla_storage"]),
    ("org.apache.kafka.controller", &["ottla_broker::quorum", "ottla_metadata"]),
    ("org.apache.kafka.coordinator.group", &["ottla_broker::shard", "ottla_coordinator::group"]),
    ("org.apache.kafka.coordinator.transaction", &["ottla_broker::shard", "ottla_coordinator::transaction"]),
    ("org.apache.kafka.raft", &["ottla_broker::quorum", "ottla_raft"]),
    ("org.apache.kafka.server.BrokerLifecycleManager", &["ottla_broker::lifecycle"]),
    ("org.apache.kafka.storage.internals.log", &["ottla_storage"]),
    ("org.apache.kafka.storage.internals.log.LogCleaner", &["ottla_storage::log_set::duties"]),
    ("org.apache.kafka.storage.internals.log.UnifiedLog", &["ottla_storage::log"]),
    ("ottla_broker", &["ottla_broker"]),
    ("ottla_coordinator", &["ottla_coordinator"]),
    ("ottla_host", &["ottla_host"]),
    ("ottla_metadata", &["ottla_metadata"]),
    ("ottla_net", &["ottla_net"]),
    ("ottla_raft", &["ottla_raft"]),
    ("ottla_storage", &["ottla_storage"]),
    ("state.change.logger", &["ottla_broker::replicas"]),
];

impl Loggers {
    /// Loggers that begin with a filter, and what puts another one in force.
    pub fn new(initial: &str, put_in_force: Arc<PutInForce>) -> Loggers {
        Loggers { initial: Arc::from(initial), put_in_force, changed: Arc::default() }
    }

    /// Loggers whose levels cannot be seen or changed from here.
    pub fn fixed() -> Loggers {
        Loggers::new("info", Arc::new(|_| Ok(())))
    }

    /// The level of every logger.
    pub(crate) fn levels(&self) -> Texts {
        let changed = self.changed.lock();
        let filter = Filter::of(&self.initial, &changed);
        let names = std::iter::once((ROOT_LOGGER, &[""][..])).chain(KAFKA_NAMES.iter().copied());
        let level = |(name, modules): (&str, &[&str])| {
            let own = changed.get(name).cloned();
            (name.to_owned(), own.unwrap_or_else(|| filter.level_of(modules[0]).to_owned()))
        };
        names.map(level).collect()
    }

    /// Puts changes in force that were judged before.
    pub(crate) fn change(&self, changes: &[Change]) {
        let mut changed = self.changed.lock();
        for change in changes {
            match (change.operation, &change.value) {
                (Operation::Set, Some(level)) => {
                    tracing::warn!(logger = change.name, level, "the log level was changed");
                    changed.insert(change.name.clone(), level.clone());
                }
                _ => {
                    tracing::warn!(logger = change.name, "the log level was unset");
                    changed.remove(&change.name);
                }
            }
        }
        let filter = Filter::of(&self.initial, &changed).text();
        if let Err(error) = (self.put_in_force)(&filter) {
            tracing::error!(filter, error, "the log levels could not be changed");
        }
    }
}

/// What is logged, by module.
#[derive(Debug)]
struct Filter<'a> {
    /// Level by module; the root is the empty module.
    levels: BTreeMap<&'a str, &'a str>,
    /// Directives about more than modules.
    others: Vec<&'a str>,
}

impl<'a> Filter<'a> {
    fn of(initial: &'a str, changed: &'a BTreeMap<String, String>) -> Filter<'a> {
        let mut filter = Filter { levels: BTreeMap::new(), others: Vec::new() };
        for directive in initial.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            match directive.split_once('=') {
                _ if directive.contains(['[', '{']) => filter.others.push(directive),
                Some((module, level)) => {
                    filter.levels.insert(module.trim(), level.trim());
                }
                None if is_level(directive) => {
                    filter.levels.insert("", directive);
                }
                // A module alone is logged to the last detail.
                None => {
                    filter.levels.insert(directive, "trace");
                }
            }
        }
        // From the general to the special, as loggers inherit from those above them.
        let mut names: Vec<(&String, &String)> = changed.iter().collect();
        names.sort_by_key(|(name, _)| (name.as_str() != ROOT_LOGGER, name.matches('.').count()));
        for (name, level) in names {
            if name == ROOT_LOGGER {
                filter.levels.insert("", level);
            }
            let modules = KAFKA_NAMES.iter().find(|it| it.0 == *name).map_or(&[][..], |it| it.1);
            filter.levels.extend(modules.iter().map(|module| (*module, level.as_str())));
        }
        filter
    }

    /// The level of a module, in Kafka's word.
    fn level_of(&self, module: &str) -> &'static str {
        let is_above = |above: &str| {
            let rest = module.strip_prefix(above);
            above.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let nearest = self.levels.iter().filter(|it| is_above(it.0)).max_by_key(|it| it.0.len());
        kafka_word(nearest.map_or("error", |it| it.1))
    }

    fn text(&self) -> String {
        let mut text = self.others.join(",");
        for (module, level) in &self.levels {
            let separator = if text.is_empty() { "" } else { "," };
            let equals = if module.is_empty() { "" } else { "=" };
            // Writing to a string does not fail.
            let _ = write!(text, "{separator}{module}{equals}{}", own_word(level));
        }
        text
    }
}

fn is_level(word: &str) -> bool {
    ["off", "error", "warn", "info", "debug", "trace"].iter().any(|it| it.eq_ignore_ascii_case(word))
}

/// A level in the word of filters. Nothing is logged here that Kafka would call fatal: such a thing ends the process.
fn own_word(level: &str) -> String {
    match level {
        "FATAL" => "off".to_owned(),
        other => other.to_ascii_lowercase(),
    }
}

fn kafka_word(level: &str) -> &'static str {
    let known = ["OFF", "FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
    known.into_iter().find(|it| it.eq_ignore_ascii_case(level)).unwrap_or("INFO")
}
