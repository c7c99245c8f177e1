//! The broker that keeps a group's or a transaction's state: found, asked, and found again when it moved.

use std::ops::RangeInclusive;
use std::sync::Arc;

use ottla_base::{ErrorCode, NodeId, Str};
use ottla_wire::messages::find_coordinator_request::FindCoordinatorRequest;
use ottla_wire::messages::find_coordinator_response::FindCoordinatorResponse;
use ottla_wire::{Message, RequestMessage};
use parking_lot::Mutex;

use crate::cluster::{Cluster, Deadline, NodeConnection, Slot, Target};
use crate::error::{Error, Refusal};

/// Whose coordinator (`CoordinatorType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum Keeper {
    /// Of a group.
    Group = 0,
    /// Of a transactional id.
    Transaction = 1,
}

/// The coordinator of one key, on a connection of its own.
#[derive(Debug)]
pub(crate) struct Coordinator {
    cluster: Cluster,
    keeper: Keeper,
    key: Str,
    found: Mutex<Option<NodeId>>,
    place: Mutex<Option<(NodeId, Arc<Slot>)>>,
}

/// The first version of `FindCoordinator` that takes several keys.
const FIRST_WITH_KEYS: i16 = 4;

impl Coordinator {
    pub(crate) fn new(cluster: &Cluster, keeper: Keeper, key: Str) -> Coordinator {
        Coordinator {
            cluster: cluster.clone(),
            keeper,
            key,
            found: Mutex::new(None),
            place: Mutex::new(None),
        }
    }

    /// Lets the next question look for the coordinator again.
    pub(crate) fn forget(&self) {
        *self.found.lock() = None;
    }

    /// Lets the next question use another connection.
    pub(crate) fn hang_up(&self) {
        *self.place.lock() = None;
    }

    /// Takes an error of a question: who did not answer, or says it is somebody else, is looked for again.
    pub(crate) fn learn(&self, error: &Error) {
        let moved = match error {
            Error::Unreachable(_) | Error::Disconnected { .. } => true,
            error => {
                matches!(error.code(), Some(ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable))
            }
        };
        if moved {
            self.forget();
        }
    }

    /// A connection to the coordinator. One attempt.
    pub(crate) async fn connection(&self, deadline: Deadline) -> Result<NodeConnection, Error> {
        let known = *self.found.lock();
        let id = match known {
            Some(id) => id,
            None => {
                let id = Box::pin(find(&self.cluster, self.keeper, &self.key, deadline)).await?;
                *self.found.lock() = Some(id);
                id
            }
        };
        let connected = self.cluster.own_connection(id, &self.place, deadline).await;
        connected.inspect_err(|error| self.learn(error))
    }

    /// Asks once; what the answer's code means for the coordinator is learnt.
    pub(crate) async fn ask_once<Q: RequestMessage>(
        &self,
        deadline: Deadline,
        versions: RangeInclusive<i16>,
        request: impl Fn(i16) -> Q,
        code: impl Fn(&Q::Response) -> ErrorCode,
    ) -> Result<(i16, Q::Response), Error> {
        let asking = async {
            let node = self.connection(deadline).await?;
            let version = node.version::<Q>(&versions)?;
            let answer = node.call(version, &request(version)).await?;
            Ok((version, answer))
        };
        // On the heap, for what finds and connects is large.
        let answer =
            self.cluster.within(deadline, Box::pin(asking)).await.inspect_err(|it| self.learn(it))?;
        let code = code(&answer.1);
        if code != ErrorCode::None {
            self.learn(&code.into());
        }
        Ok(answer)
    }

    /// Asks, and again while the coordinator moves or loads, until the deadline. `code` finds what was refused.
    pub(crate) async fn ask<Q: RequestMessage>(
        &self,
        deadline: Deadline,
        versions: RangeInclusive<i16>,
        request: impl Fn(i16) -> Q,
        code: impl Fn(&Q::Response) -> ErrorCode,
    ) -> Result<(i16, Q::Response), Error> {
        let mut backoff = self.cluster.retry_backoff();
        loop {
            let mut last = match self.ask_once(deadline, versions.clone(), &request, &code).await {
                Ok((version, answer)) => match code(&answer) {
                    code if is_moving(code) => Some(Error::from(code)),
                    _ => return Ok((version, answer)),
                },
                Err(error) if error.is_retriable() && !matches!(error, Error::TimedOut { .. }) => Some(error),
                Err(error) => return Err(error),
            };
            self.cluster.pause(&mut backoff, deadline, &mut last).await?;
        }
    }
}

/// Refusals of a coordinator that moves or loads.
pub(crate) fn is_moving(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable | ErrorCode::CoordinatorLoadInProgress
    )
}

/// Asks any broker who the coordinator is. One attempt.
pub(crate) async fn find(
    cluster: &Cluster,
    keeper: Keeper,
    key: &Str,
    deadline: Deadline,
) -> Result<NodeId, Error> {
    let node = cluster.node(Target::Any, deadline).await?;
    let first = if keeper == Keeper::Group { 0 } else { 1 };
    let version = node.version::<FindCoordinatorRequest>(&(first..=FindCoordinatorRequest::LAST_VERSION))?;
    let mut request = FindCoordinatorRequest { key_type: keeper as i8, ..FindCoordinatorRequest::default() };
    if version >= FIRST_WITH_KEYS {
        request.coordinator_keys = vec![key.clone()];
    } else {
        request.key = key.clone();
    }
    let answer: FindCoordinatorResponse = node.call(version, &request).await?;
    let (id, code, message) = if version >= FIRST_WITH_KEYS {
        let Some(told) = answer.coordinators.into_iter().next() else {
            return Err(Error::Corrupt("the coordinator is missing in the answer".into()));
        };
        (told.node_id, told.error_code, told.error_message)
    } else {
        (answer.node_id, answer.error_code, answer.error_message)
    };
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(NodeId(id)),
        code => Err(Error::Refused(Refusal { code, message: message.map(|it| it.detached()) })),
    }
}

/// Asks for the coordinator, and again while there is none, until the deadline.
pub(crate) async fn find_until(
    cluster: &Cluster,
    keeper: Keeper,
    key: &Str,
    deadline: Deadline,
) -> Result<NodeId, Error> {
    let mut backoff = cluster.retry_backoff();
    loop {
        let mut last = match cluster.within(deadline, Box::pin(find(cluster, keeper, key, deadline))).await {
            Ok(id) => return Ok(id),
            Err(error) if error.is_retriable() && !matches!(error, Error::TimedOut { .. }) => Some(error),
            Err(error) => return Err(error),
        };
        cluster.pause(&mut backoff, deadline, &mut last).await?;
    }
}
