//! What an administrator may change, and what it becomes.
//!
//! A change passes twice, as in Kafka: the broker that takes the request judges what only it can know
//! ([`check_broker`], [`check_loggers`]), the active controller judges the rest and makes the records
//! ([`alter`], [`replace`]). Whether the resource exists and who may change it is asked elsewhere.

use std::collections::BTreeSet;

use ottla_base::limits::MAX_TOPIC_NAME_LEN;
use ottla_base::settings::{InvalidSetting, Kind, Setting, Texts};
use ottla_base::{ErrorCode, InvalidTopicName, NodeId, validate_topic_name};

use super::derived::over;
use super::layers::{Misplaced, Reach, ServerLayers, default_text, put_over, refuse_place, refuse_type};
use super::{ResourceKind, ServerSettings, conflicts, resources};

/// What to do with one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Give it this value.
    Set,
    /// Take its value away.
    Delete,
    /// Add these to its list.
    Append,
    /// Take these from its list.
    Subtract,
}

impl Operation {
    /// The operation with this number on the wire.
    pub const fn from_id(id: i8) -> Option<Operation> {
        match id {
            0 => Some(Operation::Set),
            1 => Some(Operation::Delete),
            2 => Some(Operation::Append),
            3 => Some(Operation::Subtract),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Operation::Set => "SET",
            Operation::Delete => "DELETE",
            Operation::Append => "APPEND",
            Operation::Subtract => "SUBTRACT",
        }
    }
}

/// One change of an `IncrementalAlterConfigs`, or one setting of a new topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub name: String,
    /// What to do with it.
    pub operation: Operation,
    /// The value, if the request has one.
    pub value: Option<String>,
}

/// A refusal with Kafka's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: ErrorCode,
    /// The message.
    pub message: String,
}

impl Refusal {
    /// A refusal with this code and message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }

    pub(super) fn invalid_config(message: impl Into<String>) -> Refusal {
        Refusal::new(ErrorCode::InvalidConfig, message)
    }

    pub(super) fn invalid_request(message: impl Into<String>) -> Refusal {
        Refusal::new(ErrorCode::InvalidRequest, message)
    }
}

/// A key with the value it shall have: what a `ConfigRecord` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Altered {
    /// The key.
    pub name: String,
    /// The value; `None` takes it away.
    pub value: Option<String>,
}

/// Refuses changes of one resource that are malformed whatever the resource is.
pub fn check_shape(changes: &[Change]) -> Result<(), Refusal> {
    let names: BTreeSet<&str> = changes.iter().map(|it| it.name.as_str()).collect();
    if names.len() != changes.len() {
        return Err(Refusal::invalid_request("Error due to duplicate config keys"));
    }
    let nothing = |it: &&Change| it.operation != Operation::Delete && it.value.is_none();
    let without: Vec<&str> = changes.iter().filter(nothing).map(|it| it.name.as_str()).collect();
    match without.is_empty() {
        true => Ok(()),
        false => {
            Err(Refusal::invalid_request(format!("Null value not supported for : {}", without.join(", "))))
        }
    }
}

/// Judges incremental changes of a broker's settings, on that broker (or of all brokers', on any of them).
pub fn check_broker(
    layers: &ServerLayers,
    node: NodeId,
    resource: &str,
    changes: &[Change],
) -> Result<(), Refusal> {
    let reach = check_broker_name(node, resource)?;
    let mut texts = current(layers, reach).clone();
    for change in changes {
        match incremental_broker_value(&texts, change)? {
            Some(value) => drop(texts.insert(change.name.clone(), value)),
            None => drop(texts.remove(&change.name)),
        }
    }
    check_broker_texts(layers, reach, &texts)
}

/// Judges the settings that shall replace all those of a broker, for the older `AlterConfigs`.
pub fn check_broker_replacement(
    layers: &ServerLayers,
    node: NodeId,
    resource: &str,
    texts: &Texts,
) -> Result<(), Refusal> {
    let reach = check_broker_name(node, resource)?;
    check_broker_texts(layers, reach, texts)
}

fn check_broker_name(node: NodeId, resource: &str) -> Result<Reach, Refusal> {
    if resource.is_empty() {
        return Ok(Reach::AllBrokers);
    }
    match resource.parse::<i32>() {
        Err(_) => Err(Refusal::invalid_request(format!("Node id must be an integer, but it is: {resource}"))),
        Ok(id) if id == node.0 => Ok(Reach::OneBroker),
        Ok(_) => Err(Refusal::invalid_request(format!(
            "Unexpected broker id, expected {}, but received {resource}",
            node.0
        ))),
    }
}

fn current(layers: &ServerLayers, reach: Reach) -> &Texts {
    match reach {
        Reach::AllBrokers => layers.cluster(),
        Reach::OneBroker => layers.own(),
    }
}

fn incremental_broker_value(texts: &Texts, change: &Change) -> Result<Option<String>, Refusal> {
    let value = change.value.clone().unwrap_or_default();
    let word = match change.operation {
        Operation::Set => return Ok(Some(value)),
        Operation::Delete => return Ok(None),
        Operation::Append => "append",
        Operation::Subtract => "subtract",
    };
    let name = &change.name;
    let Some(setting) = ResourceKind::Broker.settings().get(name.as_str()) else {
        return Err(Refusal::invalid_config(format!("Unknown config name: {name}")));
    };
    if setting.kind != Kind::List {
        return Err(Refusal::invalid_config(format!(
            "Config value {word} is not allowed for config key: {name}"
        )));
    }
    Ok(Some(edit_list(texts.get(name), setting, change.operation, &value)))
}

/// The list after adding or taking away, as text. A list that nobody set starts from its default.
fn edit_list(current: Option<&String>, setting: &Setting, operation: Operation, value: &str) -> String {
    let current = current.map(String::as_str).or(setting.default_text()).unwrap_or_default();
    let mut parts: Vec<&str> = current.split(',').filter(|it| !it.is_empty()).collect();
    for part in value.split(',') {
        let at = parts.iter().position(|it| *it == part);
        match (operation, at) {
            (Operation::Append, None) => parts.push(part),
            (Operation::Subtract, Some(at)) => drop(parts.remove(at)),
            _ => {}
        }
    }
    parts.join(",")
}

/// Judges what one dynamic layer of a broker would hold.
fn check_broker_texts(layers: &ServerLayers, reach: Reach, texts: &Texts) -> Result<(), Refusal> {
    let refused = |it: InvalidSetting| Refusal::invalid_request(it.to_string());
    let misplaced = |which: Misplaced, words: &str| {
        let names = texts.keys().filter(|it| refuse_place(it, reach) == Some(which));
        let names = names.map(String::as_str).collect::<Vec<_>>().join(", ");
        match names.is_empty() {
            true => Ok(()),
            false => Err(Refusal::invalid_request(format!("{words}: [{names}]"))),
        }
    };
    misplaced(Misplaced::NotDynamic, "Cannot update these configs dynamically")?;
    misplaced(
        Misplaced::OnlyForAListener,
        "These security configs can be dynamically updated only per-listener using the listener prefix",
    )?;
    texts.iter().try_for_each(|(name, text)| refuse_type(name, text)).map_err(refused)?;
    misplaced(
        Misplaced::OnlyForABroker,
        "Cannot update these configs at default cluster level, broker id must be specified",
    )?;
    let mut all = layers.fixed().clone();
    let (below, above) = match reach {
        Reach::OneBroker => (layers.cluster(), texts),
        Reach::AllBrokers => (texts, layers.own()),
    };
    put_over(&mut all, below);
    put_over(&mut all, above);
    let server = ServerSettings::read(&all).map_err(refused)?;
    let new = conflicts::check(&server, &all).map_err(refused)?;
    let before = layers.settings().map_err(refused)?;
    resources::check_step(&before, &layers.effective(), &server, &all, &new.listeners).map_err(|it| {
        // Kafka wraps what its components say into one more exception, and shows both.
        let inner = "org.apache.kafka.common.config.ConfigException";
        refused(InvalidSetting::value("Invalid dynamic configuration", format!("{inner}: {it}"), ""))
    })
}

/// The levels a logger may have.
pub const LOG_LEVELS: [&str; 6] = ["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];
/// The logger from which all others inherit.
pub const ROOT_LOGGER: &str = "root";

/// Judges changes of a broker's log levels; `levels` are those of its loggers.
pub fn check_loggers(
    node: NodeId,
    resource: &str,
    levels: &Texts,
    changes: &[Change],
) -> Result<(), Refusal> {
    match resource.parse::<i32>() {
        Err(_) => {
            return Err(Refusal::invalid_request(format!(
                "Node id must be an integer, but it is: {resource}"
            )));
        }
        Ok(id) if id != node.0 => {
            return Err(Refusal::invalid_request(format!(
                "Unexpected node id. Expected {}, but received {id}",
                node.0
            )));
        }
        Ok(_) => {}
    }
    for change in changes {
        let (name, operation) = (&change.name, change.operation);
        if matches!(operation, Operation::Append | Operation::Subtract) {
            return Err(Refusal::invalid_request(format!(
                "{} operation is not allowed for the BROKER_LOGGER resource",
                operation.name()
            )));
        }
        if !levels.contains_key(name) {
            return Err(Refusal::invalid_config(format!("Logger {name} does not exist!")));
        }
        let level = change.value.as_deref().unwrap_or_default();
        if operation == Operation::Set && !LOG_LEVELS.contains(&level) {
            return Err(Refusal::invalid_config(format!(
                "Cannot set the log level of {name} to {level} as it is not a supported log level. Valid log \
                 levels are {}",
                LOG_LEVELS.join(", ")
            )));
        }
        if operation == Operation::Delete && name == ROOT_LOGGER {
            return Err(Refusal::invalid_request("Removing the log level of the root logger is not allowed"));
        }
    }
    Ok(())
}

/// What the controller knows when it judges a change.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The settings of the controller's own server.
    pub server: &'a ServerSettings,
    /// What a topic has when it says nothing itself: `derived::topic_defaults` of that server.
    pub topic_defaults: &'a Texts,
    /// Whether leaders may be chosen from eligible replicas (`eligible.leader.replicas.version` 1).
    pub eligible_leader_replicas: Availability,
    /// Whether directories can be cordoned (metadata 4.3-IV0).
    pub cordoned_directories: Availability,
    /// Whether a broker judged the change before.
    pub origin: Origin,
}

/// Whether the cluster's features allow something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// They do.
    Available,
    /// They do not.
    Unavailable,
}

/// Who sent a change to the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A broker passed it on.
    Forwarded,
    /// A client sent it to the controller itself.
    Direct,
}

/// Judges incremental changes of one resource and says what its keys become. `own` is what it has now.
pub fn alter(
    kind: ResourceKind,
    resource: &str,
    own: &Texts,
    changes: &[Change],
    rules: &Rules<'_>,
) -> Result<Vec<Altered>, Refusal> {
    let mut altered = Vec::with_capacity(changes.len());
    for change in changes {
        let current = own.get(&change.name);
        let value = match change.operation {
            Operation::Set => change.value.clone(),
            Operation::Delete => None,
            operation @ (Operation::Append | Operation::Subtract) => {
                let splittable = matches!(kind, ResourceKind::Topic | ResourceKind::Broker);
                let list = |it: &&&Setting| splittable && it.kind == Kind::List;
                let Some(setting) = kind.settings().get(change.name.as_str()).filter(list) else {
                    return Err(Refusal::invalid_config(format!(
                        "Can't {} to key {} because its type is not LIST.",
                        operation.name(),
                        change.name
                    )));
                };
                let value = change.value.as_deref().unwrap_or_default();
                Some(edit_list(current, setting, operation, value))
            }
        };
        // A broker acts on its records even when nothing changes: it reads its key stores again.
        if value.as_ref() != current || kind == ResourceKind::Broker {
            altered.push(Altered { name: change.name.clone(), value });
        }
    }
    check_altered(kind, resource, own, &altered, rules)?;
    Ok(altered)
}

/// Judges the settings that shall replace all those of one resource and says what its keys become.
pub fn replace(
    kind: ResourceKind,
    resource: &str,
    own: &Texts,
    new: &Texts,
    rules: &Rules<'_>,
) -> Result<Vec<Altered>, Refusal> {
    let differs = |it: &(&String, &String)| own.get(it.0) != Some(it.1) || kind == ResourceKind::Broker;
    let set = new.iter().filter(differs);
    let mut altered: Vec<Altered> =
        set.map(|(name, value)| Altered { name: name.clone(), value: Some(value.clone()) }).collect();
    let gone = own.keys().filter(|it| !new.contains_key(*it));
    altered.extend(gone.map(|name| Altered { name: name.clone(), value: None }));
    check_altered(kind, resource, own, &altered, rules)?;
    Ok(altered)
}

fn check_altered(
    kind: ResourceKind,
    resource: &str,
    own: &Texts,
    altered: &[Altered],
    rules: &Rules<'_>,
) -> Result<(), Refusal> {
    let mut all = own.clone();
    for Altered { name, value } in altered {
        if kind == ResourceKind::Broker {
            check_controlled(resource, own, name, value.as_deref(), rules)?;
        }
        match value {
            None => drop(all.remove(name)),
            // A record holds at most this much text.
            Some(value) if value.encode_utf16().count() > i16::MAX as usize => {
                return Err(Refusal::invalid_config(format!(
                    "The configuration value cannot be added because it exceeds the maximum value size of \
                     {} bytes.",
                    i16::MAX
                )));
            }
            Some(value) => drop(all.insert(name.clone(), value.clone())),
        }
    }
    match kind {
        ResourceKind::Topic => {
            if resource.is_empty() {
                return Err(Refusal::invalid_request("Default topic resources are not allowed."));
            }
            check_topic_name(resource)?;
            let combined = over(rules.topic_defaults, &all);
            resources::check_topic(own, &all, &combined, rules.server)
        }
        ResourceKind::Broker => match resource.parse::<i32>() {
            _ if resource.is_empty() => Ok(()),
            Ok(id) if id >= 0 => Ok(()),
            Ok(_) => Err(Refusal::invalid_request("Invalid negative broker ID.")),
            Err(_) => Err(Refusal::invalid_request("Unable to parse broker name as a base 10 number.")),
        },
        ResourceKind::ClientMetrics => resources::check_client_metrics(resource, &all),
        ResourceKind::Group => resources::check_group(resource, &all, rules.server),
        ResourceKind::BrokerLogger => {
            Err(Refusal::invalid_request(format!("Unknown resource type {}", kind.name())))
        }
    }
}

/// Refuses a topic's name in Kafka's words.
pub fn check_topic_name(name: &str) -> Result<(), Refusal> {
    let Err(invalid) = validate_topic_name(name) else { return Ok(()) };
    let reason = match invalid {
        InvalidTopicName::Empty => invalid.to_string(),
        InvalidTopicName::Dots => format!("'{name}' is not allowed"),
        InvalidTopicName::TooLong => {
            format!("the length of '{name}' is longer than the max allowed length {MAX_TOPIC_NAME_LEN}")
        }
        InvalidTopicName::Character => {
            format!(
                "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
            )
        }
    };
    Err(Refusal::new(ErrorCode::InvalidTopicException, format!("Topic name is invalid: {reason}")))
}

/// Keys of brokers on which the controller itself depends.
fn check_controlled(
    resource: &str,
    own: &Texts,
    name: &str,
    value: Option<&str>,
    rules: &Rules<'_>,
) -> Result<(), Refusal> {
    let elr = rules.eligible_leader_replicas == Availability::Available;
    match (name, value) {
        ("min.insync.replicas", _) if elr && !resource.is_empty() => Err(Refusal::invalid_config(
            "Broker-level min.insync.replicas cannot be altered while ELR is enabled.",
        )),
        ("min.insync.replicas", None) if elr => Err(Refusal::invalid_config(
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.",
        )),
        ("cordoned.log.dirs", _) if rules.cordoned_directories == Availability::Unavailable => {
            Err(Refusal::invalid_config(
                "The cordoned.log.dirs configuration value cannot be set because it requires \
                 metadata.version >= 4.3-IV0",
            ))
        }
        ("cordoned.log.dirs", Some(value)) if rules.origin == Origin::Direct && !value.trim().is_empty() => {
            // Only the broker knows its directories; without it a list can but shrink.
            let parts = |text: &str| -> BTreeSet<String> {
                text.trim().split(',').map(|it| it.trim().to_owned()).collect()
            };
            let current = own.get(name).map(|it| parts(it)).unwrap_or_default();
            match parts(value).is_subset(&current) {
                true => Ok(()),
                false => Err(Refusal::invalid_config(
                    "When updating cordoned.log.dirs via controllers,  the new value must be a subset of the \
                     current configuration value.",
                )),
            }
        }
        _ => Ok(()),
    }
}

/// The records that make eligible replicas safe to switch on: `min.insync.replicas` becomes a setting of the
/// cluster, and brokers lose their own. `brokers` are the settings of the brokers that have any.
pub fn eligible_replicas_safety<'a>(
    cluster: &Texts,
    brokers: impl IntoIterator<Item = (NodeId, &'a Texts)>,
    fixed: &Texts,
) -> Vec<(String, Altered)> {
    const NAME: &str = "min.insync.replicas";
    let mut records = Vec::new();
    if !cluster.contains_key(NAME) {
        let value = fixed.get(NAME).map(String::as_str).or(default_text(NAME));
        let value = value.map(|it| it.trim().to_owned());
        records.push((String::new(), Altered { name: NAME.to_owned(), value }));
    }
    let having = brokers.into_iter().filter(|(_, texts)| texts.contains_key(NAME));
    records.extend(having.map(|(id, _)| (id.0.to_string(), Altered { name: NAME.to_owned(), value: None })));
    records
}
