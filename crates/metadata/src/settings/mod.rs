//! Settings: every key of Kafka 4.4 and our own, their layers, and the rules for reading and changing them.
//!
//! | file | holds |
//! |---|---|
//! | `broker/` | the settings of a server, one table for each subject |
//! | `topic`, `group`, `client_metrics` | the settings of the other resources |
//! | `checks`, `effects` | what rows refer to |
//! | `layers` | which text holds for a server: its own, the cluster's, the file's, the default |
//! | `derived` | what topics and groups have when they say nothing themselves |
//! | `describe` | the answer to `DescribeConfigs` |
//! | `alter` | what an administrator may change, and what it becomes |
//! | `listeners` | the addresses of a server |
//! | `conflicts`, `resources` | values that exclude each other, of a server and of the other resources |
//!
//! Absent on purpose: files, the environment, and what the settings act on.

pub mod alter;
pub mod broker;
pub mod checks;
pub mod client_metrics;
pub mod conflicts;
pub mod derived;
pub mod describe;
mod effects;
pub mod group;
pub mod layers;
pub mod listeners;
mod resources;
#[cfg(test)]
mod tests;
pub mod topic;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use ottla_base::settings::{Setting, Table, Visibility};

pub use broker::ServerSettings;
pub use client_metrics::ClientMetricsSettings;
pub use group::GroupSettings;
pub use layers::ServerLayers;
pub use topic::TopicSettings;

/// What has settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum ResourceKind {
    /// A topic.
    Topic = 2,
    /// A broker, or with an empty name all of them.
    Broker = 4,
    /// The log levels of a broker.
    BrokerLogger = 8,
    /// A subscription to the metrics of clients.
    ClientMetrics = 16,
    /// A group.
    Group = 32,
}

impl ResourceKind {
    /// The kind with this number on the wire.
    pub const fn from_id(id: i8) -> Option<ResourceKind> {
        match id {
            2 => Some(ResourceKind::Topic),
            4 => Some(ResourceKind::Broker),
            8 => Some(ResourceKind::BrokerLogger),
            16 => Some(ResourceKind::ClientMetrics),
            32 => Some(ResourceKind::Group),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn id(self) -> i8 {
        self as i8
    }

    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            ResourceKind::Topic => "TOPIC",
            ResourceKind::Broker => "BROKER",
            ResourceKind::BrokerLogger => "BROKER_LOGGER",
            ResourceKind::ClientMetrics => "CLIENT_METRICS",
            ResourceKind::Group => "GROUP",
        }
    }

    /// The settings that a resource of this kind has, by name. Log levels are not declared.
    pub fn settings(self) -> &'static BTreeMap<&'static str, &'static Setting> {
        match self {
            ResourceKind::Topic => &TOPIC,
            ResourceKind::Broker => &BROKER,
            ResourceKind::BrokerLogger => &NONE,
            ResourceKind::ClientMetrics => &CLIENT_METRICS,
            ResourceKind::Group => &GROUP,
        }
    }
}

type ByName = LazyLock<BTreeMap<&'static str, &'static Setting>>;

static BROKER: ByName = LazyLock::new(|| by_name(ServerSettings::tables().into_iter().flatten()));
static TOPIC: ByName = LazyLock::new(|| by_name(TopicSettings::SETTINGS));
static GROUP: ByName = LazyLock::new(|| by_name(GroupSettings::SETTINGS));
static CLIENT_METRICS: ByName = LazyLock::new(|| by_name(ClientMetricsSettings::SETTINGS));
static NONE: ByName = LazyLock::new(BTreeMap::new);

fn by_name(settings: impl IntoIterator<Item = &'static Setting>) -> BTreeMap<&'static str, &'static Setting> {
    settings.into_iter().map(|it| (it.name, it)).collect()
}

/// Whether answers list the setting when nobody has set it.
fn is_public(setting: &Setting) -> bool {
    setting.visibility == Visibility::Public
}
