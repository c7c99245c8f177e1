//! Dynamic configurations of topics, brokers, groups and client metrics subscriptions.

use imbl::OrdMap;
use ottla_base::{NodeId, Str};
use ottla_wire::records::metadata::ConfigRecord;

use crate::ImpossibleRecord;
use crate::settings::ResourceKind;

/// Something that has configurations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// What it is.
    pub kind: ResourceKind,
    /// Which one; empty for the default of all brokers.
    pub name: Str,
}

impl Resource {
    /// A topic's configurations.
    pub fn topic(name: Str) -> Resource {
        Resource { kind: ResourceKind::Topic, name }
    }

    /// What is set for all brokers together.
    pub fn all_brokers() -> Resource {
        Resource { kind: ResourceKind::Broker, name: Str::default() }
    }

    /// What is set for one broker.
    pub fn broker(id: NodeId) -> Resource {
        Resource { kind: ResourceKind::Broker, name: Str::from(id.to_string()) }
    }
}

/// Names and values that are set for one resource.
pub type Config = OrdMap<Str, Str>;

/// Every dynamic configuration. A resource without any is absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Configs {
    pub(crate) resources: OrdMap<Resource, Config>,
}

impl Configs {
    /// What is set for a resource; empty if nothing is.
    pub fn of(&self, resource: &Resource) -> Config {
        self.resources.get(resource).cloned().unwrap_or_default()
    }

    /// One value of a resource, if it is set.
    pub fn value(&self, resource: &Resource, name: &str) -> Option<&Str> {
        self.resources.get(resource)?.get(name)
    }

    /// Every resource of a kind for which something is set.
    pub fn of_kind(&self, kind: ResourceKind) -> impl Iterator<Item = (&Resource, &Config)> {
        let first = Resource { kind, name: Str::default() };
        self.resources.range(first..).take_while(move |(resource, _)| resource.kind == kind)
    }

    pub(super) fn apply(&mut self, record: &ConfigRecord) -> Result<(), ImpossibleRecord> {
        let kind = ResourceKind::from_id(record.resource_type).ok_or_else(|| {
            ImpossibleRecord::new(format!("unknown kind of resource {}", record.resource_type))
        })?;
        let resource = Resource { kind, name: record.resource_name.detached() };
        let mut config = self.of(&resource);
        match &record.value {
            Some(value) => config.insert(record.name.detached(), value.detached()),
            None => config.remove(&record.name),
        };
        if config.is_empty() {
            self.resources.remove(&resource);
        } else {
            self.resources.insert(resource, config);
        }
        Ok(())
    }

    pub(super) fn forget_topic(&mut self, name: Str) {
        self.resources.remove(&Resource::topic(name));
    }
}
