//! The answer to `DescribeConfigs`, entry for entry as `ConfigHelper` gives it.

use ottla_base::settings::{InvalidSetting, Kind, Scope, Setting, Table, Texts};

use super::broker::LogSettings;
use super::layers::{ServerLayers, declaration, default_text, synonyms_and_base};
use super::{ResourceKind, derived, is_public};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// It was set for the topic.
    Topic = 1,
    /// It was set for the broker while it ran.
    Broker = 2,
    /// It was set for all brokers while they ran.
    AllBrokers = 3,
    /// The broker was started with it.
    Fixed = 4,
    /// Nobody set it.
    Default = 5,
    /// It is the level of a logger.
    BrokerLogger = 6,
    /// It was set for the subscription.
    ClientMetrics = 7,
    /// It was set for the group.
    Group = 8,
}

impl Source {
    /// The number on the wire.
    pub const fn id(self) -> i8 {
        self as i8
    }
}

/// One name under which a setting was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synonym {
    /// The name.
    pub name: String,
    /// The text there; `None` if it is secret.
    pub value: Option<String>,
    /// The layer.
    pub source: Source,
}

/// One setting of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its value; `None` if there is none or it is secret.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Source,
    /// Whether it can be changed only by a restart.
    pub read_only: bool,
    /// Whether its value is kept from answers.
    pub sensitive: bool,
    /// Its type; `None` for keys that nobody declared.
    pub kind: Option<Kind>,
    /// Every layer in which it, or another name of it, was found; the one that holds first.
    pub synonyms: Vec<Synonym>,
    /// One sentence about it.
    pub documentation: Option<&'static str>,
}

/// The number of a type on the wire.
pub fn kind_id(kind: Option<Kind>) -> i8 {
    kind.map_or(0, Kind::id)
}

/// The settings of this broker.
pub fn broker(layers: &ServerLayers) -> Result<Vec<Entry>, InvalidSetting> {
    let effective = layers.effective();
    let declared = ResourceKind::Broker.settings();
    let mut entries = Vec::with_capacity(declared.len());
    for setting in declared.values().filter(|it| is_public(it)) {
        let value = setting.read(&effective)?.map(|it| it.to_text());
        entries.push(broker_entry(layers, setting.name, value));
    }
    let others =
        effective.iter().filter(|(name, _)| !declared.get(name.as_str()).is_some_and(|it| is_public(it)));
    entries.extend(others.map(|(name, text)| broker_entry(layers, name, Some(text.clone()))));
    Ok(entries)
}

/// The settings that were set for all brokers.
pub fn all_brokers(layers: &ServerLayers) -> Vec<Entry> {
    let entry = |(name, text): (&String, &String)| {
        let mut entry = broker_entry(layers, name, Some(text.clone()));
        entry.synonyms.retain(|it| it.source == Source::AllBrokers);
        entry.source = entry.synonyms.first().map_or(Source::Default, |it| it.source);
        entry
    };
    layers.cluster().iter().map(entry).collect()
}

fn broker_entry(layers: &ServerLayers, name: &str, value: Option<String>) -> Entry {
    let setting = declaration(name);
    let sensitive = setting.is_none_or(Setting::is_sensitive);
    let dynamic = setting.is_some_and(|it| it.name == name && it.scope != Scope::ReadOnly);
    let synonyms = server_synonyms(layers, name, sensitive);
    Entry {
        name: name.to_owned(),
        value: value.filter(|_| !sensitive),
        source: synonyms.first().map_or(Source::Default, |it| it.source),
        read_only: !dynamic,
        sensitive,
        kind: setting.map(|it| it.kind),
        synonyms,
        documentation: setting.filter(|it| it.name == name).map(|it| it.documentation),
    }
}

/// The layers in which a server's key was found, from where its own name first appears.
fn server_synonyms(layers: &ServerLayers, name: &str, sensitive: bool) -> Vec<Synonym> {
    let names = synonyms_and_base(name);
    let mut found = Vec::new();
    let mut add = |name: &str, text: &str, source: Source| {
        let value = (!sensitive).then(|| text.to_owned());
        found.push(Synonym { name: name.to_owned(), value, source });
    };
    let set = [
        (layers.own(), Source::Broker),
        (layers.cluster(), Source::AllBrokers),
        (layers.fixed(), Source::Fixed),
    ];
    for (texts, source) in set {
        for name in &names {
            if let Some(text) = texts.get(*name) {
                add(name, text, source);
            }
        }
    }
    for name in &names {
        if let Some(text) = default_text(name) {
            add(name, text, Source::Default);
        }
    }
    let first = found.iter().position(|it| it.name == name).unwrap_or(found.len());
    found.split_off(first)
}

/// The settings of a topic.
pub fn topic(layers: &ServerLayers, own: &Texts) -> Result<Vec<Entry>, InvalidSetting> {
    let effective = layers.effective();
    let defaults = derived::defaults_of_topics(&LogSettings::read(&effective)?, &effective);
    let inherited = |setting: &Setting| match derived::topic_fallback(setting.name) {
        Some(server) => server_synonyms(layers, server, setting.is_sensitive()),
        None => Vec::new(),
    };
    resource(ResourceKind::Topic, Source::Topic, &defaults, own, inherited)
}

/// The settings of a group.
pub fn group(layers: &ServerLayers, own: &Texts) -> Result<Vec<Entry>, InvalidSetting> {
    let mut defaults = derived::group_defaults(&layers.effective());
    defaults
        .retain(|name, _| ResourceKind::Group.settings().get(name.as_str()).is_some_and(|it| is_public(it)));
    let inherited = |setting: &Setting| match derived::group_fallback(setting.name) {
        Some(server) => server_synonyms(layers, server, setting.is_sensitive()),
        None => {
            let synonym = |text: &str| Synonym {
                name: setting.name.to_owned(),
                value: Some(text.to_owned()),
                source: Source::Default,
            };
            setting.default_text().map(synonym).into_iter().collect()
        }
    };
    resource(ResourceKind::Group, Source::Group, &defaults, own, inherited)
}

/// The settings of a subscription to the metrics of clients.
pub fn client_metrics(own: &Texts) -> Result<Vec<Entry>, InvalidSetting> {
    resource(ResourceKind::ClientMetrics, Source::ClientMetrics, &Texts::new(), own, |_| Vec::new())
}

/// The levels of the loggers.
pub fn loggers(levels: &Texts) -> Vec<Entry> {
    let entry = |(name, level): (&String, &String)| Entry {
        name: name.clone(),
        value: Some(level.clone()),
        source: Source::BrokerLogger,
        read_only: false,
        sensitive: false,
        kind: None,
        synonyms: Vec::new(),
        documentation: None,
    };
    levels.iter().map(entry).collect()
}

fn resource(
    kind: ResourceKind,
    source: Source,
    defaults: &Texts,
    own: &Texts,
    inherited: impl Fn(&Setting) -> Vec<Synonym>,
) -> Result<Vec<Entry>, InvalidSetting> {
    let texts = derived::over(defaults, own);
    let mut entries = Vec::new();
    for setting in kind.settings().values() {
        if !is_public(setting) && !texts.contains_key(setting.name) {
            continue;
        }
        let value = setting.read(&texts)?.map(|it| it.to_text()).filter(|_| !setting.is_sensitive());
        let mut synonyms = inherited(setting);
        if own.contains_key(setting.name) {
            let name = setting.name.to_owned();
            synonyms.insert(0, Synonym { name, value: value.clone(), source });
        }
        entries.push(Entry {
            name: setting.name.to_owned(),
            value,
            source: synonyms.first().map_or(Source::Default, |it| it.source),
            read_only: false,
            sensitive: setting.is_sensitive(),
            kind: Some(setting.kind),
            synonyms,
            documentation: Some(setting.documentation),
        });
    }
    Ok(entries)
}
