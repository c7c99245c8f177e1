//! What the group coordinator wants the share coordinator to keep and to forget: each partition is put to whoever keeps
//! its state, and the answers go back to the coordinator that asked (`DefaultStatePersister`).

use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ErrorCode, Str};
use ottla_coordinator::group::{self, ShareStateDeleted, ShareStateInitialized, ShareStateWork};
use ottla_coordinator::share_state::{DeleteState, InitializeState, Reply, Request, SharePartitionKey};
use ottla_metadata::controller::Refusal;
use ottla_wire::messages::delete_share_group_state_request::DeleteShareGroupStateRequest;
use ottla_wire::messages::delete_share_group_state_response::{
    self, DeleteShareGroupStateResponse, DeleteStateResult,
};
use ottla_wire::messages::initialize_share_group_state_request::InitializeShareGroupStateRequest;
use ottla_wire::messages::initialize_share_group_state_response::{
    self, InitializeShareGroupStateResponse, InitializeStateResult,
};

use super::Asked;
use super::internal_topics::ensure;
use crate::broker::Broker;
use crate::topic;

/// How often a share coordinator that is not there yet is looked for, and how long is waited first; then twice as long
/// each time.
const MAX_ATTEMPTS: u32 = 8;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// Does the work without letting the group's coordinator wait for it. Whatever happens, the coordinator hears of it.
pub(super) fn carry_out(broker: &Arc<Broker>, effect: group::Effect) {
    let owner = broker.clone();
    broker.host.spawn(async move {
        let broker = &owner;
        let (work, done) = match effect {
            group::Effect::InitializeShareState { work, request } => {
                let answer = initialize(broker, request).await;
                let done = ShareStateInitialized { work: work.clone(), answer };
                (work, group::Request::ShareStateInitialized(done))
            }
            group::Effect::DeleteShareState { work, request } => {
                let answer = delete(broker, request).await;
                let done = ShareStateDeleted { work: work.clone(), answer };
                (work, group::Request::ShareStateDeleted(done))
            }
        };
        report(broker, &work, done).await;
    });
}

/// Tells the group's coordinator. If that is not here any more, whoever it is by now asks again by itself.
async fn report(broker: &Arc<Broker>, work: &ShareStateWork, done: group::Request) {
    if let Err(error) = broker.coordinators.groups.ask(broker, &work.group, done).await {
        tracing::debug!(group = %work.group, %error, "the coordinator that wanted share state is gone");
    }
}

async fn initialize(
    broker: &Arc<Broker>,
    request: InitializeShareGroupStateRequest,
) -> InitializeShareGroupStateResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let requests = topic.partitions.into_iter().map(|it| {
            let key = key(&request.group_id, topic.topic_id, it.partition);
            let (state_epoch, start_offset) = (it.state_epoch, it.start_offset);
            (key.clone(), Request::Initialize(InitializeState { key, state_epoch, start_offset }))
        });
        let said = ask_all(broker, requests.collect()).await;
        let partitions = said.into_iter().map(|(partition, refusal)| {
            let (error_code, error_message) = parts(refusal);
            initialize_share_group_state_response::PartitionResult {
                partition,
                error_code,
                error_message,
                ..Default::default()
            }
        });
        results.push(InitializeStateResult {
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
            ..Default::default()
        });
    }
    InitializeShareGroupStateResponse { results, ..Default::default() }
}

async fn delete(
    broker: &Arc<Broker>,
    request: DeleteShareGroupStateRequest,
) -> DeleteShareGroupStateResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let requests = topic.partitions.into_iter().map(|it| {
            let key = key(&request.group_id, topic.topic_id, it.partition);
            (key.clone(), Request::Delete(DeleteState { key }))
        });
        let said = ask_all(broker, requests.collect()).await;
        let partitions = said.into_iter().map(|(partition, refusal)| {
            let (error_code, error_message) = parts(refusal);
            delete_share_group_state_response::PartitionResult {
                partition,
                error_code,
                error_message,
                ..Default::default()
            }
        });
        results.push(DeleteStateResult {
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
            ..Default::default()
        });
    }
    DeleteShareGroupStateResponse { results, ..Default::default() }
}

fn key(group: &Str, topic: ottla_base::Uuid, partition: i32) -> SharePartitionKey {
    SharePartitionKey { group: group.clone(), topic, partition }
}

fn parts(refusal: Option<Refusal>) -> (i16, Option<Str>) {
    refusal.map_or((0, None), |refusal| (refusal.code.code(), refusal.message))
}

/// Asks for every partition before it waits for the first answer; those whose coordinator was not there are asked for
/// again. Says what was refused, partition by partition.
async fn ask_all(
    broker: &Arc<Broker>,
    requests: Vec<(SharePartitionKey, Request)>,
) -> Vec<(i32, Option<Refusal>)> {
    let mut said: Vec<(i32, Option<Refusal>)> = Vec::with_capacity(requests.len());
    let mut pending = requests;
    let mut backoff = FIRST_BACKOFF;
    for attempt in 1..=MAX_ATTEMPTS {
        let asked: Vec<_> = pending.iter().map(|(key, request)| ask(broker, key, request.clone())).collect();
        let mut again = Vec::new();
        for ((key, request), asked) in pending.into_iter().zip(asked) {
            match taken(asked.await) {
                Some(refusal) if is_passing(refusal.code) && attempt < MAX_ATTEMPTS => {
                    again.push((key, request));
                }
                given => said.push((key.partition, given)),
            }
        }
        if again.is_empty() {
            break;
        }
        pending = again;
        ensure(broker, topic::SHARE_GROUP_STATE);
        broker.host.sleep(backoff).await;
        backoff *= 2;
    }
    said
}

fn ask(broker: &Arc<Broker>, key: &SharePartitionKey, request: Request) -> Asked<Reply> {
    broker.coordinators.share_states.ask(broker, &key.coordinator_key(), request)
}

fn taken(given: Result<Reply, ErrorCode>) -> Option<Refusal> {
    match given {
        Ok(Reply::Initialize(result) | Reply::Delete(result)) => result.err(),
        Ok(_) => Some(ErrorCode::UnknownServerError.into()),
        Err(code) => Some(code.into()),
    }
}

/// Whether a coordinator may be there a little later.
fn is_passing(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable | ErrorCode::CoordinatorLoadInProgress
    )
}
