//! The machine on a partition of `__share_group_state`: how far share groups have come in the partitions they read
//! (KIP-932, `ShareCoordinatorShard`).
//!
//! | file | holds |
//! |---|---|
//! | `request` | what can be asked, and the answers |
//! | `record` | what the log says: whole copies of a share partition's state, and changes to them |
//! | `state` | hard state: every share partition, by what its records say |
//! | `batches` | ranges of offsets that fared alike, and how newer ones go over older ones |
//! | `deciding` | what is decided, request by request, and what a seat does by itself |
//! | `redundant` | which offset of the log is the lowest that is still needed |
//!
//! The log is not compacted but cut off at the front: a whole copy makes everything before it redundant, and the
//! lowest copy that counts is where the log may begin.

mod batches;
mod deciding;
mod record;
mod redundant;
mod request;
mod state;
#[cfg(test)]
mod tests;

pub use batches::{StateBatch, combine};
pub use record::{ShareFact, ShareRecord};
pub use request::{
    DeleteState, InitializeState, ReadState, ReadStateSummary, Reply, Request, SharePartitionKey, State,
    StateSummary, WriteState,
};
pub use state::ShareCoordinator;

use std::sync::Arc;

use ottla_base::{Moment, Offset};
use ottla_machine::{At, Input, Machine, Outcome, Soft};

use crate::{Timers, World};

/// What the world is to do once a decision is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing in the log below `before` is needed any more.
    DeleteRecords {
        /// The first offset that is needed.
        before: Offset,
    },
}

/// What a seat does by itself, from time to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Chore {
    /// Cut off what is redundant.
    Prune,
    /// Write whole copies of what has long not been written whole.
    CopyCold,
}

/// What dies with the seat.
#[derive(Debug, Default)]
pub struct ShareSoft {
    /// The cluster as last seen; nothing before the first [`Request::SeeWorld`].
    world: Option<Arc<World>>,
    chores: Timers<Chore>,
    /// Below which offset the log was last cut off.
    pruned: Option<Offset>,
}

impl Machine for ShareCoordinator {
    type Request = Request;
    type Reply = Reply;
    type Record = ShareFact;
    type Effect = Effect;
    type Soft = ShareSoft;

    fn decide<T>(&self, soft: &mut Soft<Self, T>, input: Input<Self, T>, at: At) -> Outcome<Self, T> {
        match input {
            Input::Request(request, caller) => deciding::request(self, &mut soft.own, request, caller, at),
            Input::Tick => deciding::tick(self, &mut soft.own, at),
        }
    }

    fn apply(&mut self, fact: &ShareFact) {
        self.apply_fact(fact);
    }

    fn deadline(&self, soft: &ShareSoft) -> Option<Moment> {
        soft.chores.next()
    }
}
