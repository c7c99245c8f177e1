//! ListConfigResources (key 74), versions 0 and 1: what has a configuration (KIP-1000, KIP-1142).

use ottla_base::{ErrorCode, Str};
use ottla_metadata::Image;
use ottla_metadata::settings::ResourceKind;
use ottla_net::Response;
use ottla_wire::messages::list_config_resources_request::ListConfigResourcesRequest;
use ottla_wire::messages::list_config_resources_response::{ConfigResource, ListConfigResourcesResponse};

use crate::broker::Broker;
use crate::call::Call;

/// Lists resources of the asked kinds; of client metrics alone before version 1, of all kinds if none is named.
pub fn list_config_resources(broker: &Broker, call: Call, request: ListConfigResourcesRequest) -> Response {
    const ALL: [ResourceKind; 5] = [
        ResourceKind::Topic,
        ResourceKind::Broker,
        ResourceKind::BrokerLogger,
        ResourceKind::ClientMetrics,
        ResourceKind::Group,
    ];
    let asked: Option<Vec<ResourceKind>> = match (call.version, request.resource_types.is_empty()) {
        (0, _) => Some(vec![ResourceKind::ClientMetrics]),
        (_, true) => Some(ALL.to_vec()),
        (_, false) => request.resource_types.iter().map(|it| ResourceKind::from_id(*it)).collect(),
    };
    let Some(kinds) = asked else {
        let error_code = ErrorCode::UnsupportedVersion.code();
        return call.respond(&ListConfigResourcesResponse { error_code, ..Default::default() });
    };
    let image = broker.image.load();
    let named = |kind: ResourceKind| {
        let resource_type = kind.id();
        let of = names(&image, kind).into_iter();
        of.map(move |resource_name| ConfigResource { resource_name, resource_type, ..Default::default() })
    };
    let config_resources = kinds.into_iter().flat_map(named).collect();
    call.respond(&ListConfigResourcesResponse { config_resources, ..Default::default() })
}

fn names(image: &Image, kind: ResourceKind) -> Vec<Str> {
    match kind {
        ResourceKind::Topic => image.topics.iter().map(|it| it.name.clone()).collect(),
        ResourceKind::Broker | ResourceKind::BrokerLogger => {
            image.cluster.brokers.keys().map(|it| Str::from(it.to_string())).collect()
        }
        ResourceKind::ClientMetrics | ResourceKind::Group => {
            image.configs.of_kind(kind).map(|(resource, _)| resource.name.clone()).collect()
        }
    }
}
