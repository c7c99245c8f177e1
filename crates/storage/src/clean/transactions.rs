//! Which transactions the batches that pass by belong to, and which markers are not needed any more
//! (`CleanedTransactionMetadata`).

use std::collections::VecDeque;

use ottla_base::{FastMap, FastSet, ProducerId};
use ottla_record::{BatchHeader, ControlType};

use crate::transaction_index::AbortedTransaction;

/// What is known of the transactions of a log while its batches pass by in order.
#[derive(Debug, Default)]
pub(crate) struct PassingTransactions {
    /// Those that were aborted and have not begun yet, by their first offset.
    to_come: VecDeque<AbortedTransaction>,
    aborted: FastMap<ProducerId, Aborted>,
    /// Producers whose batches were seen and whose transaction was not aborted.
    committed: FastSet<ProducerId>,
}

#[derive(Debug)]
struct Aborted {
    transaction: AbortedTransaction,
    /// Whether a batch of it is still in the log.
    seen: bool,
}

/// What a marker is still needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    /// Batches of its transaction were in the log until now. An aborted transaction goes into the index.
    Needed(Option<AbortedTransaction>),
    /// Nothing of its transaction is left.
    Idle,
}

impl PassingTransactions {
    /// Adds transactions that were aborted. Those that are known already change nothing.
    pub(crate) fn expect(&mut self, aborted: Vec<AbortedTransaction>) {
        let mut all: Vec<_> = std::mem::take(&mut self.to_come).into_iter().chain(aborted).collect();
        all.sort_by_key(|it| it.first_offset);
        self.to_come = all.into();
    }

    fn reach(&mut self, batch: &BatchHeader) {
        while let Some(next) = self.to_come.pop_front_if(|it| it.first_offset <= batch.last_offset()) {
            self.aborted.entry(next.producer_id).or_insert(Aborted { transaction: next, seen: false });
        }
    }

    /// A control batch passes by; `control` is what its record is about, if it still has one.
    pub(crate) fn on_control(&mut self, batch: &BatchHeader, control: Option<ControlType>) -> Marker {
        self.reach(batch);
        match control {
            None => Marker::Idle,
            Some(ControlType::Abort) => match self.aborted.remove(&batch.producer_id()) {
                Some(Aborted { transaction, seen: true }) => Marker::Needed(Some(transaction)),
                _ => Marker::Idle,
            },
            Some(ControlType::Commit) if !self.committed.remove(&batch.producer_id()) => Marker::Idle,
            Some(_) => Marker::Needed(None),
        }
    }

    /// A batch of records passes by. Says whether its transaction was aborted.
    pub(crate) fn on_data(&mut self, batch: &BatchHeader) -> bool {
        self.reach(batch);
        if !batch.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&batch.producer_id()) {
            Some(aborted) => {
                aborted.seen = true;
                true
            }
            None => {
                self.committed.insert(batch.producer_id());
                false
            }
        }
    }
}
