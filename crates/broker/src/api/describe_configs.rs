//! DescribeConfigs (key 32), versions 1 to 4: values, where they come from, and what they override.
//!
//! Departures from Kafka: the documentation is Ottla's own words.

use ottla_base::{ErrorCode, Str};
use ottla_metadata::settings::describe::{self, Entry};
use ottla_metadata::settings::{ResourceKind, alter};
use ottla_metadata::{Config, Resource};
use ottla_net::Response;
use ottla_wire::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use ottla_wire::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};

use crate::broker::Broker;
use crate::call::Call;

/// A refusal with what a person may want to know.
type Refused = (ErrorCode, String);

/// Which parts of an entry were asked for.
#[derive(Clone, Copy)]
struct Wanted {
    synonyms: bool,
    documentation: bool,
}

/// Describes every resource that was asked for.
pub fn describe_configs(broker: &Broker, call: Call, request: DescribeConfigsRequest) -> Response {
    let wanted = Wanted { synonyms: request.include_synonyms, documentation: request.include_documentation };
    // A kind that nobody knows spoils the request for all resources in it.
    let unknown = request.resources.iter().any(|it| ResourceKind::from_id(it.resource_type).is_none());
    let results = request.resources.into_iter().map(|resource| {
        let found = if unknown { Err(malformed()) } else { entries(broker, &resource) };
        let (code, message, configs) = match found {
            Ok(entries) => (ErrorCode::None, String::new(), configs(entries, &resource, wanted)),
            Err((code, message)) => (code, message, Vec::new()),
        };
        DescribeConfigsResult {
            error_code: code.code(),
            error_message: Some(Str::from(message)),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            configs,
            ..Default::default()
        }
    });
    call.respond(&DescribeConfigsResponse { results: results.collect(), ..Default::default() })
}

fn invalid(message: impl Into<String>) -> Refused {
    (ErrorCode::InvalidRequest, message.into())
}

fn malformed() -> Refused {
    invalid(ErrorCode::InvalidRequest.message())
}

fn entries(broker: &Broker, resource: &DescribeConfigsResource) -> Result<Vec<Entry>, Refused> {
    let name = &resource.resource_name;
    let image = broker.image.load();
    let settings = broker.settings.load();
    let layers = &settings.layers;
    let kind = ResourceKind::from_id(resource.resource_type).ok_or_else(malformed)?;
    let own = || texts(&image.configs.of(&Resource { kind, name: name.clone() }));
    let described = match kind {
        ResourceKind::Topic => {
            alter::check_topic_name(name).map_err(|it| (it.code, it.message))?;
            if image.topics.named(name).is_none() {
                return Err((ErrorCode::UnknownTopicOrPartition, String::new()));
            }
            describe::topic(layers, &own())
        }
        ResourceKind::Broker if name.is_empty() => return Ok(describe::all_brokers(layers)),
        ResourceKind::Broker => {
            if broker_id(name)? != broker.node_id.get() {
                let expected = broker.node_id;
                return Err(invalid(format!(
                    "Unexpected broker id, expected {expected} or empty string, but received {name}"
                )));
            }
            describe::broker(layers)
        }
        ResourceKind::BrokerLogger => {
            if name.is_empty() {
                return Err(invalid("Broker id must not be empty"));
            }
            if broker_id(name)? != broker.node_id.get() {
                let expected = broker.node_id;
                return Err(invalid(format!(
                    "Unexpected broker id, expected {expected} but received {name}"
                )));
            }
            return Ok(describe::loggers(&broker.loggers.levels()));
        }
        ResourceKind::ClientMetrics if name.is_empty() => {
            return Err(invalid("Client metrics subscription name must not be empty"));
        }
        ResourceKind::ClientMetrics => describe::client_metrics(&own()),
        ResourceKind::Group if name.is_empty() => return Err(invalid("Group name must not be empty")),
        ResourceKind::Group => describe::group(layers, &own()),
    };
    described.map_err(|error| (ErrorCode::UnknownServerError, error.to_string()))
}

fn broker_id(name: &str) -> Result<i32, Refused> {
    name.parse().map_err(|_| invalid(format!("Broker id must be an integer, but it is: {name}")))
}

fn texts(config: &Config) -> ottla_base::settings::Texts {
    config.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn configs(
    entries: Vec<Entry>,
    resource: &DescribeConfigsResource,
    wanted: Wanted,
) -> Vec<DescribeConfigsResourceResult> {
    let asked = |name: &str| match &resource.configuration_keys {
        None => true,
        Some(keys) => keys.is_empty() || keys.iter().any(|it| *it == name),
    };
    let told = entries.into_iter().filter(|it| asked(&it.name)).map(|entry| DescribeConfigsResourceResult {
        name: Str::from(entry.name),
        value: entry.value.map(Str::from),
        read_only: entry.read_only,
        config_source: entry.source.id(),
        is_sensitive: entry.sensitive,
        synonyms: if wanted.synonyms { synonyms(entry.synonyms) } else { Vec::new() },
        config_type: describe::kind_id(entry.kind),
        documentation: entry.documentation.filter(|_| wanted.documentation).map(Str::from_static),
        ..Default::default()
    });
    told.collect()
}

fn synonyms(synonyms: Vec<describe::Synonym>) -> Vec<DescribeConfigsSynonym> {
    let told = synonyms.into_iter().map(|it| DescribeConfigsSynonym {
        name: Str::from(it.name),
        value: it.value.map(Str::from),
        source: it.source.id(),
        ..Default::default()
    });
    told.collect()
}
