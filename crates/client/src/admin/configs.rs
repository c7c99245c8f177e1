//! Settings of topics, brokers and other resources: look and change.

use ottla_base::settings::Kind;
use ottla_base::{NodeId, Str};
use ottla_wire::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use ottla_wire::messages::describe_configs_response::DescribeConfigsResourceResult;
use ottla_wire::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use ottla_wire::messages::list_config_resources_request::ListConfigResourcesRequest;

use super::{Admin, CheckOnly, Items, every, first_passing, outcome};
use crate::cluster::Target;
use crate::error::{Error, refused};

/// What kind of thing has settings (`ConfigResource.Type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum ResourceType {
    /// A topic.
    Topic = 2,
    /// A broker; without a name, the defaults of all brokers.
    Broker = 4,
    /// The loggers of a broker.
    BrokerLogger = 8,
    /// A metrics subscription of clients.
    ClientMetrics = 16,
    /// A group.
    Group = 32,
}

impl ResourceType {
    /// Every type.
    pub const ALL: [ResourceType; 5] = [
        ResourceType::Topic,
        ResourceType::Broker,
        ResourceType::BrokerLogger,
        ResourceType::ClientMetrics,
        ResourceType::Group,
    ];

    fn from_number(number: i8) -> Option<ResourceType> {
        ResourceType::ALL.into_iter().find(|it| *it as i8 == number)
    }
}

/// A thing that has settings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    /// What kind of thing.
    pub kind: ResourceType,
    /// Its name: of a topic or group, the number of a broker, or empty for the defaults of all brokers.
    pub name: Str,
}

/// Where a value comes from (`DescribeConfigsResponse.ConfigSource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// The broker does not tell.
    Unknown = 0,
    /// Set for the topic.
    Topic = 1,
    /// Set while running, for one broker.
    DynamicBroker = 2,
    /// Set while running, for all brokers.
    DynamicDefaultBroker = 3,
    /// Set in the broker's file.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
    /// Set for a broker's logger.
    DynamicBrokerLogger = 6,
    /// Set for the metrics subscription.
    ClientMetrics = 7,
    /// Set for the group.
    Group = 8,
}

impl ConfigSource {
    fn from_number(number: i8) -> ConfigSource {
        use ConfigSource::*;
        let all = [
            Topic,
            DynamicBroker,
            DynamicDefaultBroker,
            StaticBroker,
            Default,
            DynamicBrokerLogger,
            ClientMetrics,
            Group,
        ];
        all.into_iter().find(|it| *it as i8 == number).unwrap_or(Unknown)
    }

    /// Kafka's name, as its tools print it.
    pub const fn name(self) -> &'static str {
        match self {
            ConfigSource::Unknown => "UNKNOWN",
            ConfigSource::Topic => "DYNAMIC_TOPIC_CONFIG",
            ConfigSource::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
            ConfigSource::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            ConfigSource::StaticBroker => "STATIC_BROKER_CONFIG",
            ConfigSource::Default => "DEFAULT_CONFIG",
            ConfigSource::DynamicBrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
            ConfigSource::ClientMetrics => "DYNAMIC_CLIENT_METRICS_CONFIG",
            ConfigSource::Group => "DYNAMIC_GROUP_CONFIG",
        }
    }
}

/// A setting of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: Str,
    /// Its value; `None` if there is none or it is not told.
    pub value: Option<Str>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed while running.
    pub is_read_only: bool,
    /// Whether its value is never told.
    pub is_sensitive: bool,
    /// Its type, if the broker tells.
    pub kind: Option<Kind>,
    /// The values that were considered, the effective one first.
    pub synonyms: Vec<ConfigSynonym>,
    /// A sentence about it, if the broker tells.
    pub documentation: Option<Str>,
}

/// A value that was considered for a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The name it was set under.
    pub name: Str,
    /// The value.
    pub value: Option<Str>,
    /// Where it was set.
    pub source: ConfigSource,
}

/// What to do with a setting (`AlterConfigOp.OpType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum AlterOperation {
    /// Give it a value.
    Set = 0,
    /// Back to what holds without it.
    Delete = 1,
    /// Add to a list.
    Append = 2,
    /// Take out of a list.
    Subtract = 3,
}

/// A change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigAlteration {
    /// The setting.
    pub name: Str,
    /// What to do with it.
    pub operation: AlterOperation,
    /// The value; none to delete.
    pub value: Option<Str>,
}

impl Admin {
    /// Settings of resources, with synonyms and documentation. `keys` limits them to some names.
    pub async fn describe_configs(
        &self,
        resources: &[ConfigResource],
        keys: Option<&[Str]>,
    ) -> Result<Items<ConfigResource, Vec<ConfigEntry>>, Error> {
        let deadline = self.deadline("describing configs");
        let mut described = Vec::with_capacity(resources.len());
        for (target, resources) in by_target(resources.iter().cloned().map(|it| (it, ()))) {
            let request = DescribeConfigsRequest {
                resources: resources
                    .iter()
                    .map(|(it, ())| DescribeConfigsResource {
                        resource_type: it.kind as i8,
                        resource_name: it.name.clone(),
                        configuration_keys: keys.map(<[Str]>::to_vec),
                        ..DescribeConfigsResource::default()
                    })
                    .collect(),
                include_synonyms: true,
                ..DescribeConfigsRequest::default()
            };
            let documented = |version| DescribeConfigsRequest {
                include_documentation: version >= FIRST_DOCUMENTED,
                ..request.clone()
            };
            let answer =
                self.cluster.call_in(target, deadline, every::<DescribeConfigsRequest>(), documented).await?;
            described.extend(answer.results.into_iter().filter_map(|it| {
                let kind = ResourceType::from_number(it.resource_type)?;
                let entries = it.configs.into_iter().map(entry);
                let entries = outcome(it.error_code, it.error_message, || entries.collect());
                Some((ConfigResource { kind, name: it.resource_name }, entries))
            }));
        }
        Ok(described)
    }

    /// Changes settings of resources, each resource as a whole or not at all.
    pub async fn alter_configs(
        &self,
        alterations: &[(ConfigResource, Vec<ConfigAlteration>)],
        check: CheckOnly,
    ) -> Result<Items<ConfigResource, ()>, Error> {
        let deadline = self.deadline("altering configs");
        let mut altered = Vec::with_capacity(alterations.len());
        for (target, resources) in by_target(alterations.iter().cloned()) {
            let request = IncrementalAlterConfigsRequest {
                resources: resources.into_iter().map(alterable).collect(),
                validate_only: check.is_set(),
                ..IncrementalAlterConfigsRequest::default()
            };
            let answer = self
                .ask(
                    target,
                    deadline,
                    every::<IncrementalAlterConfigsRequest>(),
                    |_| request.clone(),
                    |answer| first_passing(answer.responses.iter().map(|it| it.error_code)),
                )
                .await?;
            altered.extend(answer.responses.into_iter().filter_map(|it| {
                let kind = ResourceType::from_number(it.resource_type)?;
                let done = outcome(it.error_code, it.error_message, || ());
                Some((ConfigResource { kind, name: it.resource_name }, done))
            }));
        }
        Ok(altered)
    }

    /// The resources of these kinds that have settings of their own; no kinds means all (KIP-1142).
    pub async fn list_config_resources(&self, kinds: &[ResourceType]) -> Result<Vec<ConfigResource>, Error> {
        let deadline = self.deadline("listing config resources");
        let request = ListConfigResourcesRequest {
            resource_types: kinds.iter().map(|it| *it as i8).collect(),
            ..ListConfigResourcesRequest::default()
        };
        let only_metrics = matches!(kinds, [ResourceType::ClientMetrics]);
        // Before version 1 the call knows metrics subscriptions only, and no kinds.
        let versions = if only_metrics { 0 } else { 1 }..=*every::<ListConfigResourcesRequest>().end();
        let request = |version| {
            if version == 0 { ListConfigResourcesRequest::default() } else { request.clone() }
        };
        let answer = self.cluster.call_in(Target::Any, deadline, versions, request).await?;
        refused(answer.error_code, None)?;
        Ok(answer
            .config_resources
            .into_iter()
            .filter_map(|it| {
                let kind = ResourceType::from_number(it.resource_type)?;
                Some(ConfigResource { kind, name: it.resource_name })
            })
            .collect())
    }
}

/// The first version of `DescribeConfigs` with documentation.
const FIRST_DOCUMENTED: i16 = 3;

/// Resources by whom they are asked of: a broker knows its own settings best.
fn by_target<T>(
    resources: impl Iterator<Item = (ConfigResource, T)>,
) -> Vec<(Target, Vec<(ConfigResource, T)>)> {
    let mut targets: Vec<(Target, Vec<(ConfigResource, T)>)> = Vec::new();
    for (resource, it) in resources {
        let of_broker = matches!(resource.kind, ResourceType::Broker | ResourceType::BrokerLogger);
        let target = match resource.name.parse() {
            Ok(id) if of_broker => Target::Node(NodeId(id)),
            _ => Target::Any,
        };
        match targets.iter_mut().find(|(known, _)| *known == target) {
            Some((_, resources)) => resources.push((resource, it)),
            None => targets.push((target, vec![(resource, it)])),
        }
    }
    targets
}

fn alterable((resource, alterations): (ConfigResource, Vec<ConfigAlteration>)) -> AlterConfigsResource {
    let config = |it: ConfigAlteration| AlterableConfig {
        name: it.name,
        config_operation: it.operation as i8,
        value: it.value,
        ..AlterableConfig::default()
    };
    AlterConfigsResource {
        resource_type: resource.kind as i8,
        resource_name: resource.name,
        configs: alterations.into_iter().map(config).collect(),
        ..AlterConfigsResource::default()
    }
}

fn entry(it: DescribeConfigsResourceResult) -> ConfigEntry {
    let synonyms = it.synonyms.into_iter().map(|it| ConfigSynonym {
        name: it.name,
        value: it.value,
        source: ConfigSource::from_number(it.source),
    });
    ConfigEntry {
        name: it.name,
        value: it.value,
        source: ConfigSource::from_number(it.config_source),
        is_read_only: it.read_only,
        is_sensitive: it.is_sensitive,
        kind: kind(it.config_type),
        synonyms: synonyms.collect(),
        documentation: it.documentation,
    }
}

fn kind(number: i8) -> Option<Kind> {
    const KINDS: [Kind; 9] = [
        Kind::Boolean,
        Kind::String,
        Kind::Int,
        Kind::Short,
        Kind::Long,
        Kind::Double,
        Kind::List,
        Kind::Class,
        Kind::Password,
    ];
    KINDS.into_iter().find(|it| it.id() == number)
}
