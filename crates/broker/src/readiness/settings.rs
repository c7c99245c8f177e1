//! Settings: what is removed, unknown or without effect, and what keeps a server from starting.

use ottla_base::settings::{Effect, Texts};
use ottla_metadata::settings::layers::declaration;
use ottla_metadata::settings::listeners::SecurityProtocol;

use super::plugins;
use super::{Finding, Kind, Weight};
use crate::config::BrokerSettings;
use crate::tier;

/// Beginnings of keys that belong to plug-ins and listeners.
const OPEN_PREFIXES: [&str; 4] = ["listener.name.", "config.providers.", "rlmm.config.", "rsm.config."];
/// Keys of Kafka's authorizer, which its servers do not declare.
const AUTHORIZER_KEYS: [&str; 2] = ["super.users", "allow.everyone.if.no.acl.found"];

/// Keys that 3.9 or 4.0 declares and 4.4 does not (`KafkaConfig.configDef` of each), and what became of them.
const REMOVED: [(&str, &str); 25] = [
    ("auto.include.jmx.reporter", "metrics are Prometheus's"),
    ("broker.id.generation.enable", "node.id is always given"),
    ("control.plane.listener.name", "controller.listener.names"),
    ("controlled.shutdown.max.retries", "a stop waits for the controller for a bounded time"),
    ("controlled.shutdown.retry.backoff.ms", "a stop waits for the controller for a bounded time"),
    ("delegation.token.master.key", "delegation.token.secret.key"),
    ("eligible.leader.replicas.enable", "the feature eligible.leader.replicas.version"),
    ("group.coordinator.new.enable", "it is the only one"),
    ("group.share.enable", "the feature share.version"),
    ("group.share.max.groups", "there is no bound"),
    ("inter.broker.protocol.version", "the feature metadata.version"),
    ("leader.imbalance.per.broker.percentage", "any imbalance is corrected"),
    ("log.message.downconversion.enable", "clients before 2.1 are not served"),
    ("log.message.format.version", "records are written in format 2; older ones are read"),
    (
        "log.message.timestamp.difference.max.ms",
        "log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms",
    ),
    ("metadata.log.segment.min.bytes", "metadata.log.segment.bytes"),
    ("offsets.commit.required.acks", "offsets are committed with all"),
    ("password.encoder.cipher.algorithm", "passwords are not kept in ZooKeeper"),
    ("password.encoder.iterations", "passwords are not kept in ZooKeeper"),
    ("password.encoder.key.length", "passwords are not kept in ZooKeeper"),
    ("password.encoder.keyfactory.algorithm", "passwords are not kept in ZooKeeper"),
    ("password.encoder.old.secret", "passwords are not kept in ZooKeeper"),
    ("password.encoder.secret", "passwords are not kept in ZooKeeper"),
    ("reserved.broker.max.id", "node.id is always given"),
    ("share.fetch.max.fetch.records", "max.poll.records of the members"),
];

/// What there is to say of the keys that somebody set.
pub(crate) fn of_texts(texts: &Texts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = texts.iter().filter_map(|(key, value)| of_key(key, value)).collect();
    if texts.contains_key("broker.id") && !texts.contains_key("node.id") {
        findings.push(Finding::new(Weight::Warning, "", "broker.id is deprecated, use node.id"));
    }
    findings
}

fn of_key(key: &str, value: &str) -> Option<Finding> {
    let finding = |kind, says: &str| {
        Some(Finding { weight: Weight::Warning, kind, about: key.to_owned(), says: says.to_owned() })
    };
    if let Some(plug_in) = plugins::of_key(key) {
        let classes = || value.split(',').map(str::trim).filter(|it| !it.is_empty());
        let foreign: Vec<&str> = classes().filter(|it| !plug_in.harmless.contains(it)).collect();
        if foreign.is_empty() {
            return None;
        }
        return finding(Kind::PlugIn, &format!("{} is not loaded: {}", foreign.join(", "), plug_in.instead));
    }
    match declaration(key).map(|it| it.effect) {
        Some(Effect::Honoured) => None,
        Some(Effect::Later(part)) => finding(Kind::Idle, &format!("waits for {part}")),
        Some(Effect::Never(reason)) => finding(Kind::Idle, reason),
        None if AUTHORIZER_KEYS.contains(&key) => finding(Kind::Idle, "waits for security"),
        None if OPEN_PREFIXES.iter().any(|it| key.starts_with(it)) => None,
        None if key.starts_with("zookeeper.") => finding(Kind::Removed, "there is no ZooKeeper"),
        None => match REMOVED.iter().find(|it| it.0 == key) {
            Some((_, instead)) => finding(Kind::Removed, instead),
            None => finding(Kind::Unknown, ""),
        },
    }
}

/// What keeps a server with these settings from starting.
pub(crate) fn of_server(settings: &BrokerSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut refuse = |about: &str, says: String| findings.push(Finding::new(Weight::Refusal, about, says));
    let quorum = &settings.server.quorum;
    if !settings.is_broker() || !settings.is_controller() {
        let says = match (settings.is_broker(), settings.is_controller()) {
            (true, _) => "a node that is a broker only is not supported yet",
            (_, true) => "a node that is a controller only is not supported yet",
            _ => "there is no role",
        };
        let only =
            "process.roles must be `broker,controller`: this release runs single nodes in combined mode";
        refuse("process.roles", format!("{says}; {only}"));
    }
    let voters = quorum.controller_quorum_voters.len();
    if voters > 1 {
        let says =
            format!("a quorum of {voters} voters is not supported yet; this release runs a quorum of one");
        refuse("controller.quorum.voters", says);
    }
    for endpoint in settings.listeners.broker.iter().chain(&settings.listeners.controller) {
        if endpoint.protocol != SecurityProtocol::Plaintext {
            let (name, protocol) = (&endpoint.name, endpoint.protocol.name());
            let says = format!("listener {name} wants {protocol}: this release speaks PLAINTEXT only");
            refuse("listener.security.protocol.map", says);
        }
    }
    if let Err(says) = tier::settings::check_store(settings) {
        refuse("remote.log.storage.system.enable", says);
    }
    let authorizer = settings.server.tls.authorizer_class_name.trim();
    if !authorizer.is_empty() {
        let says = format!(
            "{authorizer} is not loaded and ACLs are not enforced yet: everybody could do everything; take the setting \
             out if that is what you want"
        );
        refuse("authorizer.class.name", says);
    }
    findings
}

/// Findings as a server's log has them: those of a kind in one line.
pub fn in_lines(findings: &[Finding]) -> Vec<String> {
    let of_kind = |kind: Kind| findings.iter().filter(move |it| it.kind == kind);
    let listed = |(kind, title): (Kind, &str)| {
        let each = |it: &Finding| match it.says.as_str() {
            "" => it.about.clone(),
            says => format!("{} ({says})", it.about),
        };
        let all: Vec<String> = of_kind(kind).map(each).collect();
        (!all.is_empty()).then(|| format!("{title}: {}", all.join(", ")))
    };
    let titles = [
        (Kind::Idle, "settings without effect"),
        (Kind::PlugIn, "Java classes"),
        (Kind::Removed, "settings that Apache Kafka 4 has removed"),
        (Kind::Unknown, "unknown settings"),
    ];
    of_kind(Kind::Other).map(Finding::to_string).chain(titles.into_iter().filter_map(listed)).collect()
}
