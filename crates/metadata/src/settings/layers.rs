//! Which text holds for a server: its own, the cluster's, the file's, the default.
//!
//! After `DynamicBrokerConfig`: a dynamic key also silences the other names of the same setting in the
//! layers below, so that a dynamic `log.retention.hours` wins over a `log.retention.ms` of the file.

use ottla_base::settings::{Fallback, InvalidSetting, Scope, Setting, Table, Texts};

use super::broker::DynamicQuotaSettings;
use super::{ResourceKind, ServerSettings};

/// Names of one setting, the one that wins first.
const SAME_SETTING: [&[&str]; 3] = [
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
];

/// Keys that follow the name of a SASL mechanism after the prefix of a listener.
const AFTER_A_MECHANISM: [&str; 5] = [
    "connections.max.reauth.ms",
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
];

/// Keys whose values hold within bounds that other keys set: the key, the lower and the upper bound.
const BOUNDED: [[&str; 3]; 3] = [
    [
        "group.consumer.assignment.interval.ms",
        "group.consumer.min.assignment.interval.ms",
        "group.consumer.max.assignment.interval.ms",
    ],
    [
        "group.share.assignment.interval.ms",
        "group.share.min.assignment.interval.ms",
        "group.share.max.assignment.interval.ms",
    ],
    [
        "group.streams.assignment.interval.ms",
        "group.streams.min.assignment.interval.ms",
        "group.streams.max.assignment.interval.ms",
    ],
];

/// The names under which the setting `name` can be set, the one that wins first.
pub fn synonyms(name: &str) -> Vec<&str> {
    if name == "log.flush.interval.ms" {
        return vec![name, "log.flush.scheduler.interval.ms"];
    }
    match SAME_SETTING.iter().find(|names| names.contains(&name)) {
        Some(names) => names.to_vec(),
        None => vec![name],
    }
}

/// The key after `listener.name.<name>.`, if `name` has that prefix.
pub fn without_listener(name: &str) -> Option<&str> {
    name.strip_prefix("listener.name.")?.split_once('.').map(|(_, key)| key)
}

/// As [`synonyms`], and for a listener's key the key that it overrides.
pub(super) fn synonyms_and_base(name: &str) -> Vec<&str> {
    match without_listener(name) {
        Some(base) => {
            let after_mechanism = AFTER_A_MECHANISM.into_iter().find(|key| base.ends_with(key));
            vec![name, after_mechanism.unwrap_or(base)]
        }
        None => synonyms(name),
    }
}

/// The declaration of a broker's key, dynamic quotas and the keys of single listeners included.
pub fn declaration(name: &str) -> Option<&'static Setting> {
    let settings = ResourceKind::Broker.settings();
    let exact = |name: &str| {
        let dynamic = || DynamicQuotaSettings::SETTINGS.iter().find(|it| it.name == name);
        settings.get(name).copied().or_else(dynamic)
    };
    exact(name).or_else(|| synonyms_and_base(name).into_iter().find_map(exact))
}

/// The settings of a listener: those of the server, overridden by those that carry the listener's prefix.
pub fn for_listener(effective: &Texts, listener: &str) -> Texts {
    let prefix = format!("listener.name.{}.", listener.to_lowercase());
    let mut texts = effective.clone();
    let own = effective.iter().filter_map(|(key, text)| Some((key.strip_prefix(&prefix)?, text)));
    texts.extend(own.map(|(key, text)| (key.to_owned(), text.clone())));
    texts
}

/// A dynamic text that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its key.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// The settings of one server, by layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerLayers {
    fixed: Texts,
    cluster: Texts,
    own: Texts,
}

impl ServerLayers {
    /// The layers of a server that was started with these texts: file, environment and flags already put
    /// together.
    pub fn new(mut fixed: Texts) -> ServerLayers {
        for (from, to) in [("node.id", "broker.id"), ("broker.id", "node.id")] {
            if let (Some(id), false) = (fixed.get(from).cloned(), fixed.contains_key(to)) {
                fixed.insert(to.to_owned(), id);
            }
        }
        ServerLayers { fixed, ..ServerLayers::default() }
    }

    /// What the server was started with.
    pub fn fixed(&self) -> &Texts {
        &self.fixed
    }

    /// What holds for all brokers.
    pub fn cluster(&self) -> &Texts {
        &self.cluster
    }

    /// What holds for this broker alone.
    pub fn own(&self) -> &Texts {
        &self.own
    }

    /// Replaces what holds for all brokers. What cannot be set there is left out.
    pub fn set_cluster(&mut self, texts: Texts) -> Vec<LeftOut> {
        let (kept, left_out) = split(texts, Reach::AllBrokers);
        self.cluster = kept;
        left_out
    }

    /// Replaces what holds for this broker alone. What cannot be set there is left out.
    pub fn set_own(&mut self, texts: Texts) -> Vec<LeftOut> {
        let (kept, left_out) = split(texts, Reach::OneBroker);
        self.own = kept;
        left_out
    }

    /// All layers put together.
    pub fn effective(&self) -> Texts {
        let mut texts = self.fixed.clone();
        put_over(&mut texts, &self.cluster);
        put_over(&mut texts, &self.own);
        keep_within_bounds(&mut texts);
        texts
    }

    /// All layers put together, typed.
    pub fn settings(&self) -> Result<ServerSettings, InvalidSetting> {
        ServerSettings::read(&self.effective())
    }
}

/// Whom a dynamic setting is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All brokers of the cluster.
    AllBrokers,
    /// One broker.
    OneBroker,
}

pub(super) fn put_over(texts: &mut Texts, above: &Texts) {
    for (name, text) in above {
        for synonym in synonyms(name) {
            texts.remove(synonym);
        }
        texts.insert(name.clone(), text.clone());
    }
}

fn keep_within_bounds(texts: &mut Texts) {
    let number = |texts: &Texts, name: &str| -> Option<i32> {
        let fallback = || declaration(name).and_then(Setting::default_text);
        texts.get(name).map(String::as_str).or_else(fallback)?.trim().parse().ok()
    };
    for [name, least, most] in BOUNDED {
        if !texts.contains_key(name) {
            continue;
        }
        if let (Some(value), Some(least), Some(most)) =
            (number(texts, name), number(texts, least), number(texts, most))
        {
            let bounded = value.min(most).max(least);
            if bounded != value {
                texts.insert(name.to_owned(), bounded.to_string());
            }
        }
    }
}

fn split(texts: Texts, reach: Reach) -> (Texts, Vec<LeftOut>) {
    let mut kept = Texts::new();
    let mut left_out = Vec::new();
    for (name, text) in texts {
        let reason = match refuse_type(&name, &text) {
            Err(invalid) => Some(invalid.to_string()),
            Ok(()) => refuse_place(&name, reach).map(|it| it.about_one().to_owned()),
        };
        match reason {
            Some(reason) => left_out.push(LeftOut { name, reason }),
            None => drop(kept.insert(name, text)),
        }
    }
    (kept, left_out)
}

/// Why a key cannot be set where somebody wants to set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Misplaced {
    /// It is read at start only.
    NotDynamic,
    /// It can be set for one listener only.
    OnlyForAListener,
    /// It can be set for one broker only.
    OnlyForABroker,
}

impl Misplaced {
    fn about_one(self) -> &'static str {
        match self {
            Misplaced::NotDynamic => "it is read at start only",
            Misplaced::OnlyForAListener => "it can be changed only with the prefix of a listener",
            Misplaced::OnlyForABroker => "it can be set only for a single broker",
        }
    }
}

/// Whether a dynamic key stands where it may.
pub(super) fn refuse_place(name: &str, reach: Reach) -> Option<Misplaced> {
    let declared = ResourceKind::Broker.settings().get(name);
    if declared.is_some_and(|it| it.scope == Scope::ReadOnly) {
        return Some(Misplaced::NotDynamic);
    }
    if is_store_of_keys(name) {
        return Some(Misplaced::OnlyForAListener);
    }
    let only_one = match without_listener(name) {
        Some(base) => {
            !matches!(base, "max.connections" | "max.connection.creation.rate" | "num.network.threads")
        }
        None => declared.is_some_and(|it| it.scope == Scope::PerBroker),
    };
    (reach == Reach::AllBrokers && only_one).then_some(Misplaced::OnlyForABroker)
}

/// Keys and certificates: each listener has its own.
fn is_store_of_keys(name: &str) -> bool {
    name == "ssl.key.password" || name.starts_with("ssl.keystore.") || name.starts_with("ssl.truststore.")
}

/// Whether the text is a value of a key that can be dynamic; unknown keys take every text.
pub(super) fn refuse_type(name: &str, text: &str) -> Result<(), InvalidSetting> {
    let base = without_listener(name).unwrap_or(name);
    let dynamic = |it: &&Setting| it.scope != Scope::ReadOnly;
    match ResourceKind::Broker.settings().get(base).copied().filter(dynamic) {
        Some(setting) => setting.parse(text).map(drop),
        None => match DynamicQuotaSettings::SETTINGS.iter().find(|it| it.name == base) {
            Some(setting) => setting.parse(text).map(drop),
            None => Ok(()),
        },
    }
}

/// The default of a key as text, for keys that have one.
pub(super) fn default_text(name: &str) -> Option<&'static str> {
    match ResourceKind::Broker.settings().get(name)?.fallback {
        Fallback::Text(text) => Some(text),
        Fallback::Null | Fallback::Required => None,
    }
}
