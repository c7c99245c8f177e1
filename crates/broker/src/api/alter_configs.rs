//! AlterConfigs (key 33, versions 0 to 2) and IncrementalAlterConfigs (key 44, versions 0 and 1; KIP-339).
//!
//! A broker judges what concerns itself and hands the rest on to the controller; the answer has every resource in the
//! order of the request.
//!
//! Departure from Kafka: log levels are set when the server is started; a change of a `BROKER_LOGGER` that is valid is
//! refused with the way to do it.

use std::sync::Arc;

use ottla_base::settings::Texts;
use ottla_base::{ErrorCode, Str};
use ottla_metadata::controller::{AlterConfigs, Reply, Request};
use ottla_metadata::settings::ResourceKind;
use ottla_metadata::settings::alter::{self, Change, Operation, Origin, Refusal};
use ottla_net::{Answer, Response};
use ottla_wire::messages::{
    alter_configs_request, alter_configs_response, incremental_alter_configs_request,
    incremental_alter_configs_response,
};

use crate::broker::Broker;
use crate::call::{Call, Serves};

/// What becomes of one resource: judged here, or by the controller.
type Judged = Option<(ErrorCode, Option<Str>)>;

fn refused(refusal: Refusal) -> Judged {
    Some((refusal.code, Some(Str::from(refusal.message))))
}

fn judged(result: Result<(), Refusal>) -> Judged {
    result.err().and_then(refused)
}

/// Whether a resource stands in a request more than once.
fn is_repeated(named: &[(i8, Str)], at: usize) -> bool {
    named.iter().filter(|it| **it == named[at]).count() > 1
}

const REPEATED: &str = "Each resource must appear at most once.";

fn unknown_kind(id: i8) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, format!("Unknown resource type {id}"))
}

/// IncrementalAlterConfigs.
pub fn incremental_alter_configs(
    broker: &Arc<Broker>,
    call: Call,
    request: incremental_alter_configs_request::IncrementalAlterConfigsRequest,
) -> Answer {
    use incremental_alter_configs_response::{AlterConfigsResourceResponse, IncrementalAlterConfigsResponse};
    let named: Vec<(i8, Str)> =
        request.resources.iter().map(|it| (it.resource_type, it.resource_name.clone())).collect();
    let mut request = request;
    let mut verdicts: Vec<Judged> = vec![None; named.len()];
    if call.listener.serves == Serves::Broker {
        for (at, resource) in request.resources.iter().enumerate() {
            verdicts[at] = match is_repeated(&named, at) {
                true => refused(Refusal::new(ErrorCode::InvalidRequest, REPEATED)),
                false => judge_changes(broker, resource),
            };
        }
        let mut left = verdicts.iter().map(Option::is_none);
        request.resources.retain(|_| left.next().unwrap_or(false));
    }
    let origin = origin(&call);
    let nothing_left = request.resources.is_empty();
    let asked = Request::IncrementalAlterConfigs(AlterConfigs { request, origin });
    let pick = |reply: Reply| match reply {
        Reply::IncrementalAlterConfigs(reply) => {
            Some(reply.responses.into_iter().map(|it| (it.error_code, it.error_message)).collect())
        }
        _ => None,
    };
    let respond = |call: &Call, told: Vec<(i16, Option<Str>, (i8, Str))>| {
        let response =
            |(error_code, error_message, (resource_type, resource_name))| AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type,
                resource_name,
                ..Default::default()
            };
        let responses = told.into_iter().map(response).collect();
        call.respond(&IncrementalAlterConfigsResponse { responses, ..Default::default() })
    };
    finish(broker, call, named, verdicts, (!nothing_left).then_some(asked), pick, respond)
}

/// AlterConfigs.
pub fn alter_configs(
    broker: &Arc<Broker>,
    call: Call,
    request: alter_configs_request::AlterConfigsRequest,
) -> Answer {
    use alter_configs_response::{AlterConfigsResourceResponse, AlterConfigsResponse};
    let named: Vec<(i8, Str)> =
        request.resources.iter().map(|it| (it.resource_type, it.resource_name.clone())).collect();
    let mut request = request;
    let mut verdicts: Vec<Judged> = vec![None; named.len()];
    if call.listener.serves == Serves::Broker {
        for (at, resource) in request.resources.iter().enumerate() {
            verdicts[at] = match is_repeated(&named, at) {
                true => refused(Refusal::new(ErrorCode::InvalidRequest, REPEATED)),
                false => judge_replacement(broker, resource),
            };
        }
        let mut left = verdicts.iter().map(Option::is_none);
        request.resources.retain(|_| left.next().unwrap_or(false));
    }
    let origin = origin(&call);
    let nothing_left = request.resources.is_empty();
    let asked = Request::AlterConfigs(AlterConfigs { request, origin });
    let pick = |reply: Reply| match reply {
        Reply::AlterConfigs(reply) => {
            Some(reply.responses.into_iter().map(|it| (it.error_code, it.error_message)).collect())
        }
        _ => None,
    };
    let respond = |call: &Call, told: Vec<(i16, Option<Str>, (i8, Str))>| {
        let response =
            |(error_code, error_message, (resource_type, resource_name))| AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type,
                resource_name,
                ..Default::default()
            };
        let responses = told.into_iter().map(response).collect();
        call.respond(&AlterConfigsResponse { responses, ..Default::default() })
    };
    finish(broker, call, named, verdicts, (!nothing_left).then_some(asked), pick, respond)
}

fn origin(call: &Call) -> Origin {
    match call.listener.serves {
        Serves::Broker => Origin::Forwarded,
        Serves::Controller => Origin::Direct,
    }
}

fn judge_changes(
    broker: &Broker,
    resource: &incremental_alter_configs_request::AlterConfigsResource,
) -> Judged {
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
        None => refused(unknown_kind(resource.resource_type)),
        Some(ResourceKind::Broker) => {
            let settings = broker.settings.load();
            judged(alter::check_broker(&settings.layers, broker.node_id, name, &changes))
        }
        Some(ResourceKind::BrokerLogger) => {
            match alter::check_loggers(broker.node_id, name, &crate::loggers::levels(), &changes) {
                Err(refusal) => refused(refusal),
                Ok(()) if changes.is_empty() => Some((ErrorCode::None, None)),
                Ok(()) => refused(Refusal::new(
                    ErrorCode::InvalidRequest,
                    "log levels are set when the server is started: ottla start --log-level",
                )),
            }
        }
        Some(ResourceKind::Topic | ResourceKind::ClientMetrics | ResourceKind::Group) => None,
    }
}

fn judge_replacement(broker: &Broker, resource: &alter_configs_request::AlterConfigsResource) -> Judged {
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
        None | Some(ResourceKind::BrokerLogger) => refused(unknown_kind(resource.resource_type)),
        Some(ResourceKind::Broker) => {
            let settings = broker.settings.load();
            let texts: Texts = changes.into_iter().filter_map(|it| Some((it.name, it.value?))).collect();
            let name = &resource.resource_name;
            judged(alter::check_broker_replacement(&settings.layers, broker.node_id, name, &texts))
        }
        Some(ResourceKind::Topic | ResourceKind::ClientMetrics | ResourceKind::Group) => None,
    }
}

/// Asks the controller for what is left to judge, and answers with all verdicts in the order of the request.
fn finish(
    broker: &Arc<Broker>,
    call: Call,
    named: Vec<(i8, Str)>,
    verdicts: Vec<Judged>,
    asked: Option<Request>,
    pick: impl FnOnce(Reply) -> Option<Vec<(i16, Option<Str>)>> + Send + 'static,
    respond: impl FnOnce(&Call, Vec<(i16, Option<Str>, (i8, Str))>) -> Response + Send + 'static,
) -> Answer {
    let broker = broker.clone();
    Answer::later(async move {
        let mut fallback = ErrorCode::UnknownServerError;
        let mut decided = match asked {
            None => Vec::new(),
            Some(request) => match broker.controller.submit(request).await {
                Ok(reply) => {
                    broker.catch_up().await;
                    pick(reply).unwrap_or_default()
                }
                Err(code) => {
                    fallback = code;
                    Vec::new()
                }
            },
        }
        .into_iter();
        let told = named.into_iter().zip(verdicts).map(|(name, verdict)| match verdict {
            Some((code, message)) => (code.code(), message, name),
            None => {
                let (code, message) = decided.next().unwrap_or((fallback.code(), None));
                (code, message, name)
            }
        });
        respond(&call, told.collect())
    })
}
