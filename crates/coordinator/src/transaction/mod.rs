//! The machine on a partition of `__transaction_state`: who may write under which transactional id, and how each of its
//! transactions ends (`TransactionCoordinator`, `TransactionStateManager`, `TransactionMetadata`).
//!
//! | file | holds |
//! |---|---|
//! | `request` | what can be asked, and the answers |
//! | `fact` | what the log says: a transactional id and all that holds for it |
//! | `state` | hard state: every transactional id, and which transactions are open since when |
//! | `deciding` | what a decision may look at, draw on and say; soft state |
//! | `begin` | `InitProducerId`: a producer takes a transactional id over |
//! | `partitions` | partitions that belong to a transaction: adding them, and asking for them |
//! | `end` | `EndTxn`: prepare, markers, completion; fencing |
//! | `upkeep` | what a new seat begins with; transactions that took too long, ids that nobody uses |
//! | `describe` | what operators see |
//!
//! A transaction ends in two steps. `PrepareCommit` or `PrepareAbort` is the decision: once it is committed, the client
//! has its answer and the effect [`Effect::WriteMarkers`] lets the world write a marker into every partition. When all
//! are written, [`Request::MarkersWritten`] completes it. In between every other request for the id is told to come
//! again, so that nothing of the next transaction is before the last one's markers (rules T3 to T5).
//!
//! With `transaction.version` 2 (KIP-890) each end raises the producer's epoch, so that a request that comes late finds
//! another epoch and not the next transaction (KAFKA-17754); a repeated request is known by the epoch it still has.
//!
//! Absent on purpose: producer ids are drawn outside. A request that turns out to need one is answered
//! [`Decline::NeedsProducerId`] and asked again with one.

mod begin;
mod deciding;
mod describe;
mod end;
mod fact;
mod partitions;
mod request;
mod state;
#[cfg(test)]
mod tests;
mod upkeep;

pub use deciding::TransactionSoft;
pub use fact::{Fact, Status, TopicPartitions, Transaction};
pub use request::{
    Abandoned, AddPartitions, CommitProtocol, Decline, EndTransaction, InitProducerId, ListFilter, Listed,
    MarkersWritten, PreparedTransaction, Reply, Request,
};
pub use state::TransactionCoordinator;

use std::sync::Arc;

use ottla_base::{Moment, ProducerId, Str};
use ottla_machine::{At, Atomicity, Input, Machine, Outcome, Soft};

use crate::group::{Producer, TransactionResult};
use deciding::Deciding;

/// The first `transaction.version` in which every transaction has an epoch of its own (KIP-890).
pub const EPOCH_PER_TRANSACTION: i16 = 2;

/// What the world is to do once a decision is committed.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write the markers of a transaction whose end is decided, then say so with [`Request::MarkersWritten`].
    WriteMarkers(Markers),
    /// A transaction is to be aborted in an epoch that its producer id does not have: draw a producer id and ask with
    /// [`Request::AbortAbandoned`].
    DrawProducerId(Abandoned),
}

/// The markers of one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Markers {
    /// Whose transaction it is.
    pub transactional_id: Str,
    /// Which ending of it: [`MarkersWritten`] has to repeat it. Never the same for two endings, nor for two seats.
    pub tag: u64,
    /// The producer, in the epoch of the markers.
    pub producer: Producer,
    /// How the transaction ends.
    pub result: TransactionResult,
    /// The `transaction.version` that the client spoke.
    pub version: i16,
    /// Where to write.
    pub partitions: Arc<TopicPartitions>,
}

impl Machine for TransactionCoordinator {
    type Request = Request;
    type Reply = Reply;
    type Record = Fact;
    type Effect = Effect;
    type Soft = TransactionSoft;

    fn decide<T>(&self, soft: &mut Soft<Self, T>, input: Input<Self, T>, at: At) -> Outcome<Self, T> {
        let mut deciding = Deciding::new(self, &mut soft.own, &mut soft.entropy, at);
        let replies = match input {
            Input::Request(request, caller) => vec![(caller, deciding.decide(request))],
            Input::Tick => {
                deciding.tick();
                Vec::new()
            }
        };
        let (records, effects) = deciding.finish();
        // Each record is about another transactional id, or tells all there is to tell about one.
        Outcome { records, atomicity: Atomicity::EachAlone, replies, effects }
    }

    fn apply(&mut self, fact: &Fact) {
        self.apply_fact(fact);
    }

    fn deadline(&self, soft: &TransactionSoft) -> Option<Moment> {
        soft.timers.next()
    }
}

/// A producer that nobody is.
const NOBODY: Producer = Producer { id: ProducerId::NONE, epoch: ottla_base::ProducerEpoch::NONE };
