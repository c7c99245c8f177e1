//! Hard state: every transactional id, and which transactions are open since when.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{Str, Timestamp};

use super::{Fact, Status, Transaction};

/// The state of one partition of `__transaction_state`, born by replay.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct TransactionCoordinator {
    transactions: BTreeMap<Str, Transaction>,
    /// Open transactions by when they have taken too long, but not those that may take for ever.
    due: BTreeSet<(Timestamp, Str)>,
}

impl TransactionCoordinator {
    /// What holds for a transactional id.
    pub fn transaction(&self, transactional_id: &Str) -> Option<&Transaction> {
        self.transactions.get(transactional_id)
    }

    /// Every transactional id, in order.
    pub fn transactions(&self) -> impl Iterator<Item = (&Str, &Transaction)> {
        self.transactions.iter()
    }

    /// Transactional ids from a name on, in order.
    pub(super) fn from(&self, first: &Str) -> impl Iterator<Item = (&Str, &Transaction)> {
        self.transactions.range(first.clone()..)
    }

    /// How many transactional ids there are.
    pub fn len(&self) -> usize {
        self.transactions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// Open transactions that took too long, the oldest first.
    pub(super) fn overdue(&self, now: Timestamp) -> impl Iterator<Item = &Str> {
        self.due.iter().take_while(move |(due, _)| *due < now).map(|(_, id)| id)
    }

    /// Takes a fact.
    pub(super) fn apply_fact(&mut self, fact: &Fact) {
        let id = &fact.transactional_id;
        let before = match &fact.transaction {
            Some(transaction) => {
                if let Some(due) = due(transaction) {
                    self.due.insert((due, id.clone()));
                }
                match self.transactions.get_mut(id) {
                    Some(held) => Some(std::mem::replace(held, transaction.clone())),
                    None => self.transactions.insert(id.clone(), transaction.clone()),
                }
            }
            None => self.transactions.remove(id),
        };
        let now_due = fact.transaction.as_ref().and_then(due);
        if let Some(was_due) = before.as_ref().and_then(due)
            && Some(was_due) != now_due
        {
            self.due.remove(&(was_due, id.clone()));
        }
    }
}

/// When an open transaction has taken too long.
fn due(transaction: &Transaction) -> Option<Timestamp> {
    let limited = transaction.status == Status::Ongoing && transaction.timeout_ms != i32::MAX;
    limited.then(|| Timestamp(transaction.start.0.saturating_add(i64::from(transaction.timeout_ms))))
}
