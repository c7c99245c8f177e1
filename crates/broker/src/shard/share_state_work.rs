//! What the group coordinator wants the share coordinator to keep and to forget: each partition is put to whoever keeps
//! its state, and the answers go back to the coordinator that asked (`DefaultStatePersister`).

use std::sync::Arc;

use ottla_base::ErrorCode;
use ottla_coordinator::group::{Effect, Request, ShareStateDeleted, ShareStateInitialized, ShareStateWork};
use ottla_wire::messages::delete_share_group_state_request::DeleteShareGroupStateRequest;
use ottla_wire::messages::delete_share_group_state_response::{
    self, DeleteShareGroupStateResponse, DeleteStateResult,
};
use ottla_wire::messages::initialize_share_group_state_request::InitializeShareGroupStateRequest;
use ottla_wire::messages::initialize_share_group_state_response::{
    self, InitializeShareGroupStateResponse, InitializeStateResult,
};

use crate::broker::Broker;

/// Does the work without letting the group's coordinator wait for it.
pub(super) fn carry_out(broker: &Arc<Broker>, _index: i32, effect: Effect) {
    let owner = broker.clone();
    broker.host.spawn(async move {
        match effect {
            Effect::InitializeShareState { work, request } => {
                let answer = initialize(&owner, request).await;
                let done = ShareStateInitialized { work: work.clone(), answer };
                report(&owner, &work, Request::ShareStateInitialized(done)).await;
            }
            Effect::DeleteShareState { work, request } => {
                let answer = delete(&owner, request).await;
                let done = ShareStateDeleted { work: work.clone(), answer };
                report(&owner, &work, Request::ShareStateDeleted(done)).await;
            }
        }
    });
}

/// Tells the group's coordinator. If that is not here any more, whoever it is now asks again by itself.
async fn report(broker: &Arc<Broker>, work: &ShareStateWork, request: Request) {
    if let Err(error) = broker.coordinators.groups.ask(broker, &work.group, request).await {
        tracing::debug!(group = %work.group, %error, "the coordinator that wanted share state is gone");
    }
}

/// This broker keeps no share state: the group's coordinator asks again with a later heartbeat.
const NOBODY_KEEPS_IT: ErrorCode = ErrorCode::CoordinatorNotAvailable;

async fn initialize(
    _broker: &Arc<Broker>,
    request: InitializeShareGroupStateRequest,
) -> InitializeShareGroupStateResponse {
    let result = |partition| initialize_share_group_state_response::PartitionResult {
        partition,
        error_code: NOBODY_KEEPS_IT.code(),
        ..Default::default()
    };
    let results = request.topics.into_iter().map(|topic| InitializeStateResult {
        topic_id: topic.topic_id,
        partitions: topic.partitions.into_iter().map(|it| result(it.partition)).collect(),
        ..Default::default()
    });
    InitializeShareGroupStateResponse { results: results.collect(), ..Default::default() }
}

async fn delete(
    _broker: &Arc<Broker>,
    request: DeleteShareGroupStateRequest,
) -> DeleteShareGroupStateResponse {
    let result = |partition| delete_share_group_state_response::PartitionResult {
        partition,
        error_code: NOBODY_KEEPS_IT.code(),
        ..Default::default()
    };
    let results = request.topics.into_iter().map(|topic| DeleteStateResult {
        topic_id: topic.topic_id,
        partitions: topic.partitions.into_iter().map(|it| result(it.partition)).collect(),
        ..Default::default()
    });
    DeleteShareGroupStateResponse { results: results.collect(), ..Default::default() }
}
