//! Variables as settings, under the names that Apache Kafka's container images use.
//!
//! `KAFKA_` and the key in capitals, with `_` for `.`, `__` for `_` and `___` for `-`:
//! `KAFKA_LOG_RETENTION_MS` is `log.retention.ms`. Ottla's own keys are `OTTLA_METRICS_LISTENER` for
//! `ottla.metrics.listener`.

use ottla_base::settings::Texts;
use ottla_metadata::settings::layers::declaration;

use crate::readiness::{Finding, Weight};

/// Variables of Kafka's scripts and images that are not settings.
const OF_SCRIPTS: [&str; 13] = [
    "KAFKA_VERSION",
    "KAFKA_HOME",
    "KAFKA_DEBUG",
    "KAFKA_HEAP_OPTS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_OPTS",
    "KAFKA_JMX_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_JMX_HOSTNAME",
];

/// What the environment says.
pub(super) struct FromEnvironment {
    pub(super) texts: Texts,
    pub(super) findings: Vec<Finding>,
}

/// The settings among the variables.
pub(super) fn settings(environment: &[(String, String)]) -> FromEnvironment {
    let mut texts = Texts::new();
    let mut unknown = Vec::new();
    for (variable, value) in environment {
        if OF_SCRIPTS.contains(&variable.as_str()) {
            continue;
        }
        let Some(key) = key_of(variable) else { continue };
        let open = key.starts_with("listener.name.") || key.starts_with("config.providers.");
        if open || declaration(&key).is_some() {
            texts.insert(key, value.clone());
        } else {
            unknown.push(variable.as_str());
        }
    }
    let findings = match unknown.is_empty() {
        true => Vec::new(),
        false => {
            let says = format!("environment variables that name no setting: {}", unknown.join(", "));
            vec![Finding::new(Weight::Warning, "", says)]
        }
    };
    FromEnvironment { texts, findings }
}

/// The key that a variable names, if it has one of our prefixes.
fn key_of(variable: &str) -> Option<String> {
    let ours = variable.strip_prefix("OTTLA_").map(|_| variable);
    let rest = variable.strip_prefix("KAFKA_").or(ours)?;
    Some(rest.to_lowercase().replace('_', ".").replace("...", "-").replace("..", "_"))
}
