//! Typed calls that look at a cluster and change it. Results are plain values; each item has its own error.
//!
//! | file | holds |
//! |---|---|
//! | `topics` | create, list, describe, grow, delete |
//! | `configs` | look at and change settings |
//! | `partitions` | offsets, deletion of records, producers, elections, reassignments |
//! | `cluster` | brokers, log directories, the quorum, features |
//! | `groups` | groups of every kind: list, describe, delete, remove members |
//! | `group_offsets` | what groups have committed: look, alter, delete |
//! | `transactions` | list, describe, abort, find those that hang |

mod cluster;
mod configs;
mod group_offsets;
mod groups;
mod partitions;
mod topics;
mod transactions;

use std::ops::RangeInclusive;
use std::time::Duration;

use ottla_base::{ErrorCode, NodeId, Str};
use ottla_wire::RequestMessage;

pub use cluster::{
    ClusterDescription, DescribedBroker, FeatureRange, FeatureUpdate, Features, FinalizedFeature, LogDir,
    LogDirReplica, Quorum, QuorumListener, QuorumNode, QuorumReplica, UpgradeType,
};
pub use configs::{
    AlterOperation, ConfigAlteration, ConfigEntry, ConfigResource, ConfigSource, ConfigSynonym, ResourceType,
};
pub use group_offsets::ShareOffset;
pub use groups::{
    GroupDescription, GroupFilter, GroupKind, GroupMember, ListedGroup, MemberToRemove, StreamsMember,
    StreamsSubtopology, StreamsTopology, Tasks,
};
pub use partitions::{
    DescribedProducer, ElectionType, Isolation, ListedOffset, OffsetSpec, OngoingReassignment,
    PartitionOffset,
};
pub(crate) use partitions::{isolation_number, offsets_question};
pub use topics::{
    CreatedTopic, ListedTopic, NewPartitions, NewTopic, TopicDescription, TopicPartitionDescription,
};

pub use transactions::{
    AbortSpec, HangingTransaction, ListedTransaction, TransactionDescription, TransactionFilter,
};

use crate::cluster::{Cluster, Deadline, Target};
use crate::error::{Error, Refusal};

/// Looks at a cluster and changes it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admin {
    cluster: Cluster,
    limit: Option<Duration>,
}

/// Whether a change is made or only judged (`validateOnly`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckOnly {
    /// It is made.
    #[default]
    No,
    /// It is judged, and nothing is made.
    Yes,
}

impl CheckOnly {
    fn is_set(self) -> bool {
        self == CheckOnly::Yes
    }
}

/// The items of a call, each with what became of it.
pub type Items<K, T> = Vec<(K, Result<T, Error>)>;

impl Admin {
    /// Administers a cluster.
    pub fn new(cluster: Cluster) -> Admin {
        Admin { cluster, limit: None }
    }

    /// The same, with calls that may take `limit` instead of `default.api.timeout.ms`.
    pub fn with_timeout(&self, limit: Duration) -> Admin {
        Admin { cluster: self.cluster.clone(), limit: Some(limit) }
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn deadline(&self, what: &'static str) -> Deadline {
        match self.limit {
            Some(limit) => Deadline::after(self.cluster.host(), what, limit),
            None => self.cluster.deadline(what),
        }
    }

    /// The time that a server is given for a change, in milliseconds.
    fn server_timeout_ms(&self) -> i32 {
        i32::try_from(self.cluster.request_timeout().as_millis()).unwrap_or(i32::MAX)
    }

    /// Asks the target, and again while `refused` finds a refusal that passes: another controller was elected, the
    /// controller is not ready.
    async fn ask<Q: RequestMessage>(
        &self,
        target: Target,
        deadline: Deadline,
        versions: RangeInclusive<i16>,
        request: impl Fn(i16) -> Q,
        refused: impl Fn(&Q::Response) -> Option<ErrorCode>,
    ) -> Result<Q::Response, Error> {
        let mut backoff = self.cluster.retry_backoff();
        loop {
            let answer = self.cluster.call_in(target, deadline, versions.clone(), &request).await?;
            let Some(code) = refused(&answer).filter(|code| is_passing(*code)) else { return Ok(answer) };
            if target == Target::Controller {
                self.cluster.refresh_soon();
            }
            self.cluster.pause(&mut backoff, deadline, &mut Some(code.into())).await?;
        }
    }

    /// The brokers, for calls that go to each.
    async fn broker_ids(&self, deadline: Deadline) -> Result<Vec<NodeId>, Error> {
        let metadata = self.cluster.refresh(deadline).await?;
        Ok(metadata.brokers.keys().copied().collect())
    }
}

/// Whether a refusal of a whole request passes by itself.
fn is_passing(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotController | ErrorCode::CoordinatorLoadInProgress | ErrorCode::BrokerNotAvailable
    )
}

/// What became of an item.
fn outcome<T>(code: i16, message: Option<Str>, value: impl FnOnce() -> T) -> Result<T, Error> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(value()),
        code => Err(Error::Refused(Refusal { code, message })),
    }
}

/// The first of some codes that passes by itself.
fn first_passing(codes: impl IntoIterator<Item = i16>) -> Option<ErrorCode> {
    codes.into_iter().map(ErrorCode::from_code).find(|it| is_passing(*it))
}

/// All versions of a request.
fn every<Q: RequestMessage>() -> RangeInclusive<i16> {
    Q::FIRST_VERSION..=Q::LAST_VERSION
}
