//! The machine on a partition of `__consumer_offsets`: groups of every kind, and committed offsets
//! (`GroupCoordinatorShard`, `GroupMetadataManager`, `OffsetMetadataManager`).
//!
//! | file | holds |
//! |---|---|
//! | `request` | what can be asked, and the answers |
//! | `fact` | what the log says |
//! | `state` | hard state: every group, by what its records say; one match applies every record |
//! | `deciding` | what a decision may look at, draw on and say |
//! | `kind` | what requests over groups of every kind ask of one, and how a group is found |
//! | `listing` | groups of every kind are listed, described as classic ones, and deleted |
//! | `why` | why groups rebalance |
//! | `measure` | how much there is of what, for metrics |
//! | `soft` | soft state: the world as last seen, timers |
//! | `offsets` | committed offsets |
//! | `classic`, `consumer`, `share`, `streams` | the kinds of groups: what their records mean, and what is decided for them |
//! | `fixture` | for tests: a coordinator with its log and a world, driven by hand |
//! | `activation` | what a new seat begins with, and how it hears of changes of the world |
//!
//! Every caller of a decision is a ticket; whoever is not answered in the decision is held until another one answers.

mod activation;
mod classic;
mod consumer;
mod deciding;
mod fact;
#[cfg(test)]
mod fixture;
mod kind;
mod listing;
mod measure;
mod modern;
mod offsets;
mod request;
mod share;
mod soft;
mod state;
mod streams;
mod why;

pub use classic::join::JoinGroup;
pub use classic::membership::{Heartbeat, LeaveGroup};
pub use classic::sync::SyncGroup;
pub use consumer::ConsumerGroupHeartbeat;
pub use fact::{Fact, GroupRecord, Producer, TransactionResult};
pub use kind::Kind;
pub use listing::{DescribeGroup, ListGroups};
pub use measure::Measured;
pub use offsets::commit::{
    CommitOffsets, CommitTransactionalOffsets, EndTransaction, refused as offset_commit_refused,
    refused_transactional as txn_offset_commit_refused,
};
pub use offsets::fetch::{FetchOffsets, Stability};
pub use request::{Client, Reply, Request};
pub use share::{ShareHeartbeat, ShareStateDeleted, ShareStateInitialized, ShareStateWork, WorkCause};
pub use soft::{Counts, GroupSoft};
pub use state::GroupCoordinator;
pub use streams::{StreamsDescribe, StreamsHeartbeat, StreamsHeartbeatAnswer, TopologyDescription};
pub use why::{Rebalance, RebalanceEnd, Rebalances, Trigger};

use ottla_base::Moment;
use ottla_machine::{At, Input, Machine, Outcome, Soft};
use ottla_wire::messages::delete_share_group_state_request::DeleteShareGroupStateRequest;
use ottla_wire::messages::initialize_share_group_state_request::InitializeShareGroupStateRequest;

use deciding::Deciding;

/// What the world is to do once a decision is committed.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Let the share coordinator keep state for partitions of a group, then ask
    /// [`Request::ShareStateInitialized`], whatever becomes of it.
    InitializeShareState {
        /// What it is for.
        work: ShareStateWork,
        /// What to tell the share coordinator.
        request: InitializeShareGroupStateRequest,
    },
    /// Let the share coordinator forget partitions of a group, then ask [`Request::ShareStateDeleted`], whatever
    /// becomes of it.
    DeleteShareState {
        /// What it is for.
        work: ShareStateWork,
        /// What to tell the share coordinator.
        request: DeleteShareGroupStateRequest,
    },
}

impl Machine for GroupCoordinator {
    type Request = Box<Request>;
    type Reply = Box<Reply>;
    type Record = Fact;
    type Effect = Effect;
    type Soft = GroupSoft;

    fn decide<T>(&self, soft: &mut Soft<Self, T>, input: Input<Self, T>, at: At) -> Outcome<Self, T> {
        let (request, caller) = match input {
            Input::Request(request, caller) => (Some(request), Some(soft.held.hold(caller))),
            Input::Tick => (None, None),
        };
        let mut deciding = Deciding::new(self, &mut soft.own, &mut soft.entropy, at);
        match (request, caller) {
            (Some(request), Some(caller)) => deciding.decide(*request, caller),
            _ => deciding.tick(),
        }
        let decided = deciding.finish();
        let answers = decided.answers.into_iter();
        Outcome {
            records: decided.records,
            atomicity: decided.atomicity,
            replies: answers
                .filter_map(|(ticket, reply)| Some((soft.held.release(ticket)?, reply)))
                .collect(),
            effects: decided.effects,
        }
    }

    fn apply(&mut self, fact: &Fact) {
        self.apply_fact(fact);
    }

    fn deadline(&self, soft: &GroupSoft) -> Option<Moment> {
        soft.timers.next()
    }
}
