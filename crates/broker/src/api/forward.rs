//! What the controller decides: requests that a broker hands on and whose answers it hands back.
//!
//! CreateTopics (19, versions 2 to 7), DeleteTopics (20, 1 to 6), CreatePartitions (37, 0 to
//! 3), ElectLeaders (43, 0 to 2), AlterPartitionReassignments (45, 0 to 1),
//! ListPartitionReassignments (46, 0), UpdateFeatures (57, 0 to 2), UnregisterBroker (64, 0). What each of them means
//! is in `ottla_metadata::controller`, one file each. Without an authorizer everything is allowed.

use std::sync::Arc;

use ottla_base::{ErrorCode, Str};
use ottla_metadata::controller::{
    CreatePartitions, CreateTopics, DeleteTopics, Names, Reply, Request, UpdateFeatures,
};
use ottla_net::{Answer, Response};
use ottla_wire::messages::alter_partition_reassignments_request::AlterPartitionReassignmentsRequest;
use ottla_wire::messages::alter_partition_reassignments_response::AlterPartitionReassignmentsResponse;
use ottla_wire::messages::create_partitions_request::CreatePartitionsRequest;
use ottla_wire::messages::create_partitions_response::{
    CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use ottla_wire::messages::create_topics_request::CreateTopicsRequest;
use ottla_wire::messages::create_topics_response::{CreatableTopicResult, CreateTopicsResponse};
use ottla_wire::messages::delete_topics_request::DeleteTopicsRequest;
use ottla_wire::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use ottla_wire::messages::elect_leaders_request::ElectLeadersRequest;
use ottla_wire::messages::elect_leaders_response::{
    ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use ottla_wire::messages::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use ottla_wire::messages::list_partition_reassignments_response::ListPartitionReassignmentsResponse;
use ottla_wire::messages::unregister_broker_request::UnregisterBrokerRequest;
use ottla_wire::messages::unregister_broker_response::UnregisterBrokerResponse;
use ottla_wire::messages::update_features_request::UpdateFeaturesRequest;
use ottla_wire::messages::update_features_response::UpdateFeaturesResponse;

use crate::broker::Broker;
use crate::call::Call;

/// Asks the controller and answers with what `answer` makes of its reply, or with what `refuse` makes of a code.
fn forward(
    broker: &Arc<Broker>,
    call: Call,
    request: Request,
    answer: impl FnOnce(&Call, Reply) -> Option<Response> + Send + 'static,
    refuse: impl FnOnce(&Call, ErrorCode) -> Response + Send + 'static,
) -> Answer {
    let broker = broker.clone();
    Answer::later(async move {
        match broker.controller.submit(request).await {
            Ok(reply) => {
                broker.catch_up().await;
                answer(&call, reply).unwrap_or_else(|| {
                    tracing::error!(
                        api = call.key.name(),
                        "the controller gave the answer to another question"
                    );
                    Response::close()
                })
            }
            Err(code) => refuse(&call, code),
        }
    })
}

/// The response in a reply of one kind.
macro_rules! reply {
    ($variant:ident) => {
        |call: &Call, reply: Reply| match reply {
            Reply::$variant(response) => Some(call.respond(&response)),
            _ => None,
        }
    };
}

/// CreateTopics.
pub fn create_topics(broker: &Arc<Broker>, call: Call, request: CreateTopicsRequest) -> Answer {
    let names: Vec<Str> = request.topics.iter().map(|it| it.name.clone()).collect();
    let request = CreateTopics { request, creatable: Names::All, describable: Names::All };
    forward(broker, call, Request::CreateTopics(request), reply!(CreateTopics), move |call, code| {
        let refused = |name| CreatableTopicResult { name, error_code: code.code(), ..Default::default() };
        let topics = names.into_iter().map(refused).collect();
        call.respond(&CreateTopicsResponse { topics, ..Default::default() })
    })
}

/// DeleteTopics.
pub fn delete_topics(broker: &Arc<Broker>, call: Call, request: DeleteTopicsRequest) -> Answer {
    let by_name = request.topic_names.iter().map(|name| (Some(name.clone()), ottla_base::Uuid::ZERO));
    let either = request.topics.iter().map(|it| (it.name.clone(), it.topic_id));
    let named: Vec<_> = by_name.chain(either).collect();
    let version = call.version;
    let request = DeleteTopics { request, version, describable: Names::All, deletable: Names::All };
    forward(broker, call, Request::DeleteTopics(request), reply!(DeleteTopics), move |call, code| {
        let refused = |(name, topic_id)| DeletableTopicResult {
            name,
            topic_id,
            error_code: code.code(),
            ..Default::default()
        };
        let responses = named.into_iter().map(refused).collect();
        call.respond(&DeleteTopicsResponse { responses, ..Default::default() })
    })
}

/// CreatePartitions.
pub fn create_partitions(broker: &Arc<Broker>, call: Call, request: CreatePartitionsRequest) -> Answer {
    let names: Vec<Str> = request.topics.iter().map(|it| it.name.clone()).collect();
    let request = CreatePartitions { request, alterable: Names::All };
    forward(broker, call, Request::CreatePartitions(request), reply!(CreatePartitions), move |call, code| {
        let refused =
            |name| CreatePartitionsTopicResult { name, error_code: code.code(), ..Default::default() };
        let results = names.into_iter().map(refused).collect();
        call.respond(&CreatePartitionsResponse { results, ..Default::default() })
    })
}

/// ElectLeaders.
pub fn elect_leaders(broker: &Arc<Broker>, call: Call, request: ElectLeadersRequest) -> Answer {
    let asked = request.topic_partitions.clone().unwrap_or_default();
    forward(broker, call, Request::ElectLeaders(request), reply!(ElectLeaders), move |call, code| {
        let refused =
            |partition_id| PartitionResult { partition_id, error_code: code.code(), ..Default::default() };
        let results = asked.into_iter().map(|it| ReplicaElectionResult {
            topic: it.topic,
            partition_result: it.partitions.into_iter().map(refused).collect(),
            ..Default::default()
        });
        // The first version has no place for an error of the whole.
        let error_code = if call.version == 0 { 0 } else { code.code() };
        let replica_election_results = results.collect();
        call.respond(&ElectLeadersResponse { error_code, replica_election_results, ..Default::default() })
    })
}

/// AlterPartitionReassignments.
pub fn alter_partition_reassignments(
    broker: &Arc<Broker>,
    call: Call,
    request: AlterPartitionReassignmentsRequest,
) -> Answer {
    let request = Request::AlterPartitionReassignments(request);
    forward(broker, call, request, reply!(AlterPartitionReassignments), |call, code| {
        call.respond(&AlterPartitionReassignmentsResponse { error_code: code.code(), ..Default::default() })
    })
}

/// ListPartitionReassignments.
pub fn list_partition_reassignments(
    broker: &Arc<Broker>,
    call: Call,
    request: ListPartitionReassignmentsRequest,
) -> Answer {
    let request = Request::ListPartitionReassignments(request);
    forward(broker, call, request, reply!(ListPartitionReassignments), |call, code| {
        call.respond(&ListPartitionReassignmentsResponse { error_code: code.code(), ..Default::default() })
    })
}

/// UpdateFeatures.
pub fn update_features(broker: &Arc<Broker>, call: Call, request: UpdateFeaturesRequest) -> Answer {
    let version = call.version;
    let kraft_version = broker.kraft_version();
    let request = UpdateFeatures { request, version, kraft_version };
    forward(broker, call, Request::UpdateFeatures(request), reply!(UpdateFeatures), |call, code| {
        call.respond(&UpdateFeaturesResponse { error_code: code.code(), ..Default::default() })
    })
}

/// UnregisterBroker.
pub fn unregister_broker(broker: &Arc<Broker>, call: Call, request: UnregisterBrokerRequest) -> Answer {
    forward(broker, call, Request::UnregisterBroker(request), reply!(UnregisterBroker), |call, code| {
        call.respond(&UnregisterBrokerResponse { error_code: code.code(), ..Default::default() })
    })
}
