//! DescribeCluster (key 60), versions 0 to 2: brokers, or controllers (KIP-700, KIP-919, KIP-1073).

use ottla_base::{ErrorCode, NodeId, Str};
use ottla_net::Response;
use ottla_wire::messages::describe_cluster_request::DescribeClusterRequest;
use ottla_wire::messages::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponse};

use crate::authorized_operations::{self, NOT_ASKED};
use crate::broker::Broker;
use crate::call::{Call, Serves};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Says who belongs to the cluster.
pub fn describe_cluster(broker: &Broker, call: Call, request: DescribeClusterRequest) -> Response {
    let own = match call.listener.serves {
        Serves::Broker => BROKERS,
        Serves::Controller => CONTROLLERS,
    };
    if request.endpoint_type != own {
        let known = [BROKERS, CONTROLLERS].contains(&request.endpoint_type);
        let (code, message) = match known {
            false => (
                ErrorCode::UnsupportedEndpointType,
                format!("Unsupported endpoint type {}", request.endpoint_type),
            ),
            true => (
                ErrorCode::MismatchedEndpointType,
                format!(
                    "The request was sent to an endpoint of type {}, but we wanted an endpoint of type {}",
                    name(own),
                    name(request.endpoint_type)
                ),
            ),
        };
        return call.respond(&DescribeClusterResponse {
            error_code: code.code(),
            error_message: Some(Str::from(message)),
            ..Default::default()
        });
    }
    let operations = match request.include_cluster_authorized_operations {
        true => authorized_operations::CLUSTER,
        false => NOT_ASKED,
    };
    let (brokers, controller_id) = match call.listener.serves {
        Serves::Broker => brokers(broker, &call, request.include_fenced_brokers),
        Serves::Controller => controllers(broker, &call),
    };
    call.respond(&DescribeClusterResponse {
        endpoint_type: own,
        cluster_id: broker.cluster_id.clone(),
        controller_id: controller_id.get(),
        brokers,
        cluster_authorized_operations: operations,
        ..Default::default()
    })
}

fn name(endpoint_type: i8) -> &'static str {
    if endpoint_type == BROKERS { "BROKER" } else { "CONTROLLER" }
}

fn brokers(broker: &Broker, call: &Call, fenced_too: bool) -> (Vec<DescribeClusterBroker>, NodeId) {
    let image = broker.image.load();
    let wanted = image.cluster.brokers.values().filter(|it| fenced_too || it.is_active());
    let brokers = wanted.filter_map(|it| {
        let listener = it.listener(&call.listener.name)?;
        Some(DescribeClusterBroker {
            broker_id: it.id.get(),
            host: listener.host.clone(),
            port: i32::from(listener.port),
            rack: it.rack.clone(),
            is_fenced: it.fenced,
            ..Default::default()
        })
    });
    let active = image.cluster.brokers.values().find(|it| it.is_active()).map_or(NodeId::NONE, |it| it.id);
    (brokers.collect(), active)
}

fn controllers(broker: &Broker, call: &Call) -> (Vec<DescribeClusterBroker>, NodeId) {
    let image = broker.image.load();
    let controllers = image.cluster.controllers.values().filter_map(|it| {
        let listener = it.listeners.iter().find(|it| it.name == call.listener.name)?;
        Some(DescribeClusterBroker {
            broker_id: it.id.get(),
            host: listener.host.clone(),
            port: i32::from(listener.port),
            ..Default::default()
        })
    });
    (controllers.collect(), broker.controller.leader())
}
