//! The controller: what is asked of the cluster's metadata, and what it decides (KIP-500, KIP-631).
//!
//! | file | decides |
//! |---|---|
//! | `activation` | what a new log begins with; what a failed controller left half done |
//! | `brokers` | registration, heartbeats, fencing, controlled shutdown, unregistration; controllers' registration |
//! | `sessions` | soft state: which brokers are alive, when to look again |
//! | `create_topics`, `delete_topics`, `create_partitions` | topics |
//! | `configs` | dynamic configurations |
//! | `features` | finalized features |
//! | `producer_ids` | blocks of producer ids |
//! | `elections` | leaders: by request, from time to time, and when brokers come and go |
//! | `alter_partition` | changes of the ISR, wished by leaders |
//! | `reassignments` | moving partitions |
//! | `directories` | which directories hold replicas |
//!
//! Absent on purpose: authorization, which happens before; the clock; the log.

mod activation;
mod alter_partition;
mod brokers;
mod configs;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod directories;
mod elections;
mod features;
mod producer_ids;
mod reassignments;
mod sessions;
#[cfg(test)]
mod tests;

pub use activation::Activate;
pub use brokers::RegisterBroker;
pub use configs::AlterConfigs;
pub use create_partitions::CreatePartitions;
pub use create_topics::CreateTopics;
pub use delete_topics::DeleteTopics;
pub use features::UpdateFeatures;
pub use sessions::Sessions;

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::settings::Texts;
use ottla_base::{ErrorCode, Moment, NodeId, Str};
use ottla_machine::{At, Atomicity, Entropy, Input, Machine, Outcome, Soft};
use ottla_wire::messages::*;
use ottla_wire::records::metadata::MetadataRecord;

use crate::settings::ServerSettings;
use crate::{Image, Record, Replay};

/// The most records that one request may write, as Kafka's `MAX_RECORDS_PER_USER_OP`.
pub const MAX_RECORDS_PER_REQUEST: usize = 10_000;

/// What a controller knows from its own configuration.
#[derive(Debug, Clone)]
pub struct Options {
    /// `node.id` of this controller.
    pub node: NodeId,
    /// The cluster's id.
    pub cluster_id: Str,
    /// `server.properties` and what overrides it: the layer below dynamic configurations.
    pub settings: Texts,
    /// The same, read.
    pub server: ServerSettings,
    /// `num.partitions`.
    pub default_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `delete.topic.enable`.
    pub topic_deletion: TopicDeletion,
    /// `broker.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `leader.imbalance.check.interval.seconds`, if `auto.leader.rebalance.enable`.
    pub leader_balance_interval: Option<Duration>,
    /// `unclean.leader.election.interval.ms`.
    pub unclean_election_interval: Duration,
    /// The controllers that `controller.quorum.voters` names, if it names any.
    pub static_controllers: Vec<NodeId>,
    /// Which feature levels may be finalized.
    pub feature_levels: FeatureLevels,
}

/// `delete.topic.enable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicDeletion {
    /// Topics can be deleted.
    Enabled,
    /// Requests to delete topics are refused.
    Disabled,
}

/// `unstable.feature.versions.enable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureLevels {
    /// Levels that a production cluster can run at.
    Production,
    /// Also those that may still change.
    Unstable,
}

/// A request that is refused as a whole, or one of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error code.
    pub code: ErrorCode,
    /// What a person may want to know beyond the code.
    pub message: Option<Str>,
}

impl Refusal {
    /// A refusal in these words.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: Some(Str::from(message.into())) }
    }

    /// A refusal in the words that the code has for everybody, where Kafka says them; mostly it leaves them to the
    /// client.
    pub fn in_common_words(code: ErrorCode) -> Refusal {
        Refusal { code, message: Some(Str::from_static(code.message())) }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        Refusal { code, message: None }
    }
}

/// Code and message of an answer's part.
fn parts(result: Result<(), Refusal>) -> (i16, Option<Str>) {
    match result {
        Ok(()) => (ErrorCode::None as i16, None),
        Err(refusal) => (refusal.code as i16, refusal.message),
    }
}

/// Names of resources, as the authorizer sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Whichever there are.
    All,
    /// No others.
    Only(BTreeSet<Str>),
}

impl Names {
    /// Whether `name` is one of them.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Names::All => true,
            Names::Only(names) => names.contains(name),
        }
    }
}

macro_rules! requests {
    ($($(#[$doc:meta])* $variant:ident($request:ty) -> $reply:ty = $decide:path;)*) => {
        /// What can be asked of the controller.
        #[derive(Debug, Clone)]
        pub enum Request {
            $($(#[$doc])* $variant($request),)*
        }

        impl Request {
            /// What it is called, for people.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Request::$variant(_) => stringify!($variant),)*
                }
            }
        }

        /// The answers, each to the request of the same name.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Reply {
            $($(#[$doc])* $variant($reply),)*
        }

        impl Deciding<'_> {
            /// One match from requests to deciders.
            fn decide(&mut self, request: Request) -> Decided<Reply> {
                match request {
                    $(Request::$variant(request) => $decide(self, request).map(Reply::$variant),)*
                }
            }
        }
    };
}

requests! {
    /// A controller has become active: the first request to every seat.
    Activate(Activate) -> () = activation::decide;
    /// Writes a record that says nothing, so that the log's end moves.
    WriteNoOp(()) -> () = activation::decide_no_op;
    /// A broker registers.
    RegisterBroker(RegisterBroker) -> broker_registration_response::BrokerRegistrationResponse = brokers::register;
    /// A broker says that it is alive, and what it wants.
    BrokerHeartbeat(broker_heartbeat_request::BrokerHeartbeatRequest)
        -> broker_heartbeat_response::BrokerHeartbeatResponse = brokers::heartbeat;
    /// A broker's registration is to be removed.
    UnregisterBroker(unregister_broker_request::UnregisterBrokerRequest)
        -> unregister_broker_response::UnregisterBrokerResponse = brokers::unregister;
    /// A controller registers.
    RegisterController(controller_registration_request::ControllerRegistrationRequest)
        -> controller_registration_response::ControllerRegistrationResponse = brokers::register_controller;
    /// A controller's registration is to be removed.
    UnregisterController(unregister_controller_request::UnregisterControllerRequest)
        -> unregister_controller_response::UnregisterControllerResponse = brokers::unregister_controller;
    /// Topics are to be created.
    CreateTopics(CreateTopics) -> create_topics_response::CreateTopicsResponse = create_topics::decide;
    /// Topics are to be deleted.
    DeleteTopics(DeleteTopics) -> delete_topics_response::DeleteTopicsResponse = delete_topics::decide;
    /// Topics are to get more partitions.
    CreatePartitions(CreatePartitions)
        -> create_partitions_response::CreatePartitionsResponse = create_partitions::decide;
    /// Single configurations are to change.
    IncrementalAlterConfigs(AlterConfigs<incremental_alter_configs_request::IncrementalAlterConfigsRequest>)
        -> incremental_alter_configs_response::IncrementalAlterConfigsResponse = configs::decide_incremental;
    /// Configurations are to be replaced.
    AlterConfigs(AlterConfigs<alter_configs_request::AlterConfigsRequest>)
        -> alter_configs_response::AlterConfigsResponse = configs::decide_replacement;
    /// Features are to be finalized at other levels.
    UpdateFeatures(UpdateFeatures)
        -> update_features_response::UpdateFeaturesResponse = features::decide;
    /// A broker needs producer ids.
    AllocateProducerIds(allocate_producer_ids_request::AllocateProducerIdsRequest)
        -> allocate_producer_ids_response::AllocateProducerIdsResponse = producer_ids::decide;
    /// Leaders are to be elected.
    ElectLeaders(elect_leaders_request::ElectLeadersRequest)
        -> elect_leaders_response::ElectLeadersResponse = elections::decide;
    /// A leader wants another ISR.
    AlterPartition(alter_partition_request::AlterPartitionRequest)
        -> alter_partition_response::AlterPartitionResponse = alter_partition::decide;
    /// Partitions are to move.
    AlterPartitionReassignments(alter_partition_reassignments_request::AlterPartitionReassignmentsRequest)
        -> alter_partition_reassignments_response::AlterPartitionReassignmentsResponse = reassignments::decide;
    /// Which partitions are moving.
    ListPartitionReassignments(list_partition_reassignments_request::ListPartitionReassignmentsRequest)
        -> list_partition_reassignments_response::ListPartitionReassignmentsResponse = reassignments::list;
    /// A broker has put replicas into directories.
    AssignReplicasToDirs(assign_replicas_to_dirs_request::AssignReplicasToDirsRequest)
        -> assign_replicas_to_dirs_response::AssignReplicasToDirsResponse = directories::decide;
}

/// Everything that a decision may look at and draw on.
struct Deciding<'a> {
    image: &'a Image,
    in_transaction: bool,
    options: &'a Options,
    sessions: &'a mut Sessions,
    entropy: &'a mut Entropy,
    at: At,
    inherited: OnceCell<configs::Inherited>,
}

/// A decision: facts to write, and the answer that reports them.
struct Decided<R> {
    records: Vec<MetadataRecord>,
    atomicity: Atomicity,
    reply: R,
}

impl<R> Decided<R> {
    /// Writes nothing.
    fn reply(reply: R) -> Decided<R> {
        Decided { records: Vec::new(), atomicity: Atomicity::Together, reply }
    }

    /// Writes records that stand or fall together.
    fn together(records: Vec<MetadataRecord>, reply: R) -> Decided<R> {
        Decided { records, atomicity: Atomicity::Together, reply }
    }

    /// Writes records each of which stands for itself.
    fn each_alone(records: Vec<MetadataRecord>, reply: R) -> Decided<R> {
        Decided { records, atomicity: Atomicity::EachAlone, reply }
    }

    fn map<S>(self, into: impl FnOnce(R) -> S) -> Decided<S> {
        Decided { records: self.records, atomicity: self.atomicity, reply: into(self.reply) }
    }
}

/// What a request is refused with whose records would not fit one batch.
fn too_many_records() -> Refusal {
    Refusal::new(ErrorCode::PolicyViolation, "Unable to perform excessively large batch operation.")
}

/// The machine whose log is `__cluster_metadata`.
#[derive(Debug, Clone)]
pub struct Controller {
    replay: Replay,
    options: Arc<Options>,
}

impl Controller {
    /// A controller whose state is what was read from the log.
    pub fn new(replay: Replay, options: Arc<Options>) -> Controller {
        Controller { replay, options }
    }

    /// The metadata as decided, which is ahead of what is committed.
    pub fn image(&self) -> &Image {
        self.replay.latest()
    }
}

impl Machine for Controller {
    type Request = Request;
    type Reply = Reply;
    type Record = Record;
    type Effect = Infallible;
    type Soft = Sessions;

    fn decide<T>(&self, soft: &mut Soft<Self, T>, input: Input<Self, T>, at: At) -> Outcome<Self, T> {
        soft.own.begin(self.image(), &self.options, at);
        let mut deciding = Deciding {
            image: self.image(),
            in_transaction: self.replay.in_transaction(),
            options: &self.options,
            sessions: &mut soft.own,
            entropy: &mut soft.entropy,
            at,
            inherited: OnceCell::new(),
        };
        let (decided, caller) = match input {
            Input::Request(request, caller) => {
                let decided = deciding.decide(request);
                (decided.map(Some), Some(caller))
            }
            Input::Tick => (deciding.tick().map(|()| None), None),
        };
        let version = self.image().features.version();
        Outcome {
            records: decided.records.into_iter().map(|fact| Record::at(version, fact)).collect(),
            atomicity: decided.atomicity,
            replies: caller.into_iter().zip(decided.reply).collect(),
            effects: Vec::new(),
        }
    }

    fn apply(&mut self, record: &Record) {
        let applied = self.replay.apply(&record.fact);
        assert!(applied.is_ok(), "the controller decided what cannot be: {applied:?}");
    }

    fn deadline(&self, sessions: &Sessions) -> Option<Moment> {
        sessions.deadline(self.image(), &self.options)
    }
}
