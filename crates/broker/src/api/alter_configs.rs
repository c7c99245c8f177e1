//! AlterConfigs (key 33, versions 0 to 2) and IncrementalAlterConfigs (key 44, versions 0 and 1; KIP-339).
//!
//! A broker judges what concerns itself and hands the rest on to the controller; the answer has every resource in the
//! order of the request. Log levels are changed at once and forgotten when the server stops (KIP-412).

use std::sync::Arc;

use ottla_base::settings::Texts;
use ottla_base::{ErrorCode, Str};
use ottla_metadata::controller::{AlterConfigs, Reply, Request};
use ottla_metadata::settings::ResourceKind;
use ottla_metadata::settings::alter::{self, Change, Operation, Origin, Refusal};
use ottla_net::{Answer, Response};
use ottla_wire::messages::alter_configs_request::{self, AlterConfigsRequest};
use ottla_wire::messages::alter_configs_response::{self, AlterConfigsResponse};
use ottla_wire::messages::incremental_alter_configs_request::{self, IncrementalAlterConfigsRequest};
use ottla_wire::messages::incremental_alter_configs_response::{self, IncrementalAlterConfigsResponse};

use crate::broker::Broker;
use crate::call::{Call, Serves};

/// What becomes of one resource: judged here, or by the controller.
type Judged = Option<(ErrorCode, Option<Str>)>;

/// A resource as requests and answers name it: kind, then name.
type Named = (i8, Str);

/// What is answered about a resource.
struct Told {
    error_code: i16,
    error_message: Option<Str>,
    resource: Named,
}

/// A request that changes the configurations of resources.
trait Alteration: Sized + Send + 'static {
    type Resource;

    fn resources(&self) -> &[Self::Resource];
    /// Keeps the resources for which `keep`, which is called in their order.
    fn retain(&mut self, keep: impl FnMut() -> bool);
    fn name_of(resource: &Self::Resource) -> Named;
    /// Judges a resource, and changes it if it is this broker's alone to change.
    fn judge(&self, broker: &Broker, resource: &Self::Resource) -> Judged;
    fn ask(self, origin: Origin) -> Request;
    /// What the controller says of each resource it was asked about.
    fn verdicts(reply: Reply) -> Option<Vec<(i16, Option<Str>)>>;
    fn respond(call: &Call, told: Vec<Told>) -> Response;
}

/// IncrementalAlterConfigs.
pub fn incremental_alter_configs(
    broker: &Arc<Broker>,
    call: Call,
    request: IncrementalAlterConfigsRequest,
) -> Answer {
    alter(broker, call, request)
}

/// AlterConfigs.
pub fn alter_configs(broker: &Arc<Broker>, call: Call, request: AlterConfigsRequest) -> Answer {
    alter(broker, call, request)
}

/// Judges what a broker may judge, asks the controller for what is left, and answers in the order of the request.
fn alter<A: Alteration>(broker: &Arc<Broker>, call: Call, mut request: A) -> Answer {
    let named: Vec<Named> = request.resources().iter().map(A::name_of).collect();
    let mut verdicts: Vec<Judged> = vec![None; named.len()];
    let origin = match call.listener.serves {
        Serves::Broker => Origin::Forwarded,
        Serves::Controller => Origin::Direct,
    };
    if call.listener.serves == Serves::Broker {
        for (at, resource) in request.resources().iter().enumerate() {
            verdicts[at] = match named.iter().filter(|it| **it == named[at]).count() {
                1 => request.judge(broker, resource),
                _ => refused(Refusal::new(ErrorCode::InvalidRequest, REPEATED)),
            };
        }
        let mut left = verdicts.iter().map(Option::is_none);
        request.retain(|| left.next().unwrap_or(false));
    }
    let asked = (!request.resources().is_empty()).then(|| request.ask(origin));
    let broker = broker.clone();
    Answer::later(async move {
        let mut fallback = ErrorCode::UnknownServerError;
        let mut decided = Vec::new().into_iter();
        if let Some(request) = asked {
            match broker.controller.submit(request).await {
                Ok(reply) => {
                    broker.catch_up().await;
                    decided = A::verdicts(reply).unwrap_or_default().into_iter();
                }
                Err(code) => fallback = code,
            }
        }
        let told = named.into_iter().zip(verdicts).map(|(resource, verdict)| {
            let (error_code, error_message) = match verdict {
                Some((code, message)) => (code.code(), message),
                None => decided.next().unwrap_or((fallback.code(), None)),
            };
            Told { error_code, error_message, resource }
        });
        A::respond(&call, told.collect())
    })
}

const REPEATED: &str = "Each resource must appear at most once.";

fn refused(refusal: Refusal) -> Judged {
    Some((refusal.code, Some(Str::from(refusal.message))))
}

fn judged(result: Result<(), Refusal>) -> Judged {
    result.err().and_then(refused)
}

fn unknown_kind(id: i8) -> Judged {
    refused(Refusal::new(ErrorCode::InvalidRequest, format!("Unknown resource type {id}")))
}

impl Alteration for IncrementalAlterConfigsRequest {
    type Resource = incremental_alter_configs_request::AlterConfigsResource;

    fn resources(&self) -> &[Self::Resource] {
        &self.resources
    }

    fn retain(&mut self, mut keep: impl FnMut() -> bool) {
        self.resources.retain(|_| keep());
    }

    fn name_of(resource: &Self::Resource) -> Named {
        (resource.resource_type, resource.resource_name.clone())
    }

    fn judge(&self, broker: &Broker, resource: &Self::Resource) -> Judged {
        let mut changes = Vec::with_capacity(resource.configs.len());
        for config in &resource.configs {
            let Some(operation) = Operation::from_id(config.config_operation) else {
                let message = format!("Unknown operation type {}", config.config_operation);
                return refused(Refusal::new(ErrorCode::InvalidRequest, message));
            };
            let value = config.value.as_ref().map(Str::to_string);
            changes.push(Change { name: config.name.to_string(), operation, value });
        }
        if let Err(refusal) = alter::check_shape(&changes) {
            return refused(refusal);
        }
        let name = &resource.resource_name;
        match ResourceKind::from_id(resource.resource_type) {
            None => unknown_kind(resource.resource_type),
            Some(ResourceKind::Broker) => {
                let settings = broker.settings.load();
                judged(alter::check_broker(&settings.layers, broker.node_id, name, &changes))
            }
            Some(ResourceKind::BrokerLogger) => {
                let levels = broker.loggers.levels();
                match alter::check_loggers(broker.node_id, name, &levels, &changes) {
                    Err(refusal) => refused(refusal),
                    Ok(()) => {
                        if !self.validate_only {
                            broker.loggers.change(&changes);
                        }
                        Some((ErrorCode::None, None))
                    }
                }
            }
            Some(ResourceKind::Topic | ResourceKind::ClientMetrics | ResourceKind::Group) => None,
        }
    }

    fn ask(self, origin: Origin) -> Request {
        Request::IncrementalAlterConfigs(AlterConfigs { request: self, origin })
    }

    fn verdicts(reply: Reply) -> Option<Vec<(i16, Option<Str>)>> {
        let Reply::IncrementalAlterConfigs(reply) = reply else { return None };
        Some(reply.responses.into_iter().map(|it| (it.error_code, it.error_message)).collect())
    }

    fn respond(call: &Call, told: Vec<Told>) -> Response {
        let response = |it: Told| incremental_alter_configs_response::AlterConfigsResourceResponse {
            error_code: it.error_code,
            error_message: it.error_message,
            resource_type: it.resource.0,
            resource_name: it.resource.1,
            ..Default::default()
        };
        let responses = told.into_iter().map(response).collect();
        call.respond(&IncrementalAlterConfigsResponse { responses, ..Default::default() })
    }
}

impl Alteration for AlterConfigsRequest {
    type Resource = alter_configs_request::AlterConfigsResource;

    fn resources(&self) -> &[Self::Resource] {
        &self.resources
    }

    fn retain(&mut self, mut keep: impl FnMut() -> bool) {
        self.resources.retain(|_| keep());
    }

    fn name_of(resource: &Self::Resource) -> Named {
        (resource.resource_type, resource.resource_name.clone())
    }

    fn judge(&self, broker: &Broker, resource: &Self::Resource) -> Judged {
        let change = |it: &alter_configs_request::AlterableConfig| Change {
            name: it.name.to_string(),
            operation: Operation::Set,
            value: it.value.as_ref().map(Str::to_string),
        };
        let changes: Vec<Change> = resource.configs.iter().map(change).collect();
        if let Err(refusal) = alter::check_shape(&changes) {
            return refused(refusal);
        }
        match ResourceKind::from_id(resource.resource_type) {
            None | Some(ResourceKind::BrokerLogger) => unknown_kind(resource.resource_type),
            Some(ResourceKind::Broker) => {
                let settings = broker.settings.load();
                let texts: Texts = changes.into_iter().filter_map(|it| Some((it.name, it.value?))).collect();
                let name = &resource.resource_name;
                judged(alter::check_broker_replacement(&settings.layers, broker.node_id, name, &texts))
            }
            Some(ResourceKind::Topic | ResourceKind::ClientMetrics | ResourceKind::Group) => None,
        }
    }

    fn ask(self, origin: Origin) -> Request {
        Request::AlterConfigs(AlterConfigs { request: self, origin })
    }

    fn verdicts(reply: Reply) -> Option<Vec<(i16, Option<Str>)>> {
        let Reply::AlterConfigs(reply) = reply else { return None };
        Some(reply.responses.into_iter().map(|it| (it.error_code, it.error_message)).collect())
    }

    fn respond(call: &Call, told: Vec<Told>) -> Response {
        let response = |it: Told| alter_configs_response::AlterConfigsResourceResponse {
            error_code: it.error_code,
            error_message: it.error_message,
            resource_type: it.resource.0,
            resource_name: it.resource.1,
            ..Default::default()
        };
        let responses = told.into_iter().map(response).collect();
        call.respond(&AlterConfigsResponse { responses, ..Default::default() })
    }
}
