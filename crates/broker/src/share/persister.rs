//! Where the state of share groups is kept: the share coordinator of this broker (`DefaultStatePersister`).
//!
//! Every other part of the broker asks here and nowhere else, so that a coordinator on another broker needs no change
//! but in this file.

use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ErrorCode, Moment, Str};
use ottla_coordinator::share_partition::Write;
use ottla_coordinator::share_state::{ReadState, Reply, Request, SharePartitionKey, State, WriteState};
use ottla_metadata::controller::Refusal;

use crate::broker::Broker;
use crate::shard::{Asked, Kind, ShareStates, ensure_internal_topic};

/// How often a coordinator that is not there yet is asked (`PersisterStateManager`).
const ATTEMPTS: u32 = 5;
/// How long to wait before the second attempt; twice as long before every further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// A write on its way.
pub(super) struct Writing {
    asked: Asked<Reply>,
    request: WriteState,
    began: Moment,
}

/// Reads the state of a share partition, on behalf of its leader.
pub(super) async fn read(
    broker: &Arc<Broker>,
    key: &SharePartitionKey,
    leader_epoch: i32,
) -> Result<State, Refusal> {
    let request = || Request::Read(ReadState { key: key.clone(), leader_epoch });
    let mut backoff = FIRST_BACKOFF;
    for attempt in 1.. {
        let place = key.coordinator_key();
        let answer = broker.coordinators.share_states.ask(broker, &place, request()).await;
        match answer {
            Ok(Reply::Read(result)) => return result.map_err(translated),
            Ok(_) => return Err(Refusal::in_common_words(ErrorCode::UnknownServerError)),
            Err(code) if attempt == ATTEMPTS || !is_passing(code) => {
                return Err(translated(Refusal::in_common_words(code)));
            }
            Err(_) => {}
        }
        ensure_internal_topic(broker, ShareStates::TOPIC);
        broker.host.sleep(backoff).await;
        backoff *= 2;
    }
    Err(Refusal::in_common_words(ErrorCode::CoordinatorNotAvailable))
}

/// Puts a change before the coordinator, now: changes reach it in the order of the calls.
pub(super) fn write(broker: &Arc<Broker>, key: &SharePartitionKey, write: &Write) -> Writing {
    let request = WriteState {
        key: key.clone(),
        state_epoch: write.state_epoch,
        leader_epoch: write.leader_epoch,
        start_offset: write.start_offset,
        delivery_complete_count: write.delivery_complete_count,
        batches: write.batches.clone(),
    };
    let place = key.coordinator_key();
    let began = broker.host.now();
    let asked = broker.coordinators.share_states.ask(broker, &place, Request::Write(request.clone()));
    let writing = Writing { asked, request, began };
    if writing.is_written() {
        writing.note(broker);
    }
    writing
}

impl Writing {
    /// Whether the change is in the log already.
    pub(super) fn is_written(&self) -> bool {
        matches!(&self.asked, Asked::Here(Some(Ok(Reply::Write(Ok(()))))))
    }

    /// Notes how long the write took.
    fn note(&self, broker: &Broker) {
        broker.metrics.shares.state_writes.note(broker.host.now().since(self.began));
    }

    /// Waits for how the write goes; it was not there yet.
    pub(super) async fn finish(mut self, broker: &Arc<Broker>) -> Result<(), Refusal> {
        let given = self.wait(broker).await;
        self.note(broker);
        given
    }

    async fn wait(&mut self, broker: &Arc<Broker>) -> Result<(), Refusal> {
        let asked = &mut self.asked;
        let mut backoff = FIRST_BACKOFF;
        for attempt in 1.. {
            match (&mut *asked).await {
                Err(code) if attempt < ATTEMPTS && is_passing(code) => {}
                given => return told(given),
            }
            broker.host.sleep(backoff).await;
            backoff *= 2;
            let place = self.request.key.coordinator_key();
            *asked =
                broker.coordinators.share_states.ask(broker, &place, Request::Write(self.request.clone()));
        }
        Err(Refusal::in_common_words(ErrorCode::CoordinatorNotAvailable))
    }
}

fn told(given: Result<Reply, ErrorCode>) -> Result<(), Refusal> {
    match given {
        Ok(Reply::Write(result)) => result.map_err(translated),
        Ok(_) => Err(Refusal::in_common_words(ErrorCode::UnknownServerError)),
        Err(code) => Err(translated(Refusal::in_common_words(code))),
    }
}

/// Whether the coordinator is on its way.
fn is_passing(code: ErrorCode) -> bool {
    use ErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    matches!(code, CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator)
}

/// What a member hears of what the coordinator says (`SharePartition.fetchPersisterError`).
fn translated(refusal: Refusal) -> Refusal {
    use ErrorCode as Code;
    let code = match refusal.code {
        Code::NotCoordinator | Code::CoordinatorNotAvailable | Code::CoordinatorLoadInProgress => {
            Code::CoordinatorNotAvailable
        }
        Code::GroupIdNotFound | Code::UnknownTopicOrPartition => refusal.code,
        Code::FencedLeaderEpoch | Code::FencedStateEpoch => Code::NotLeaderOrFollower,
        _ => Code::UnknownServerError,
    };
    let words = refusal.message.unwrap_or(Str::from_static(refusal.code.message()));
    Refusal { code, message: Some(words) }
}
