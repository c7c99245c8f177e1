//! Callers who wait for something other than a commit: a join to complete, an acquisition to become possible.

use std::collections::BTreeMap;

/// Names one held caller within one seat. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// The held callers of a seat. A machine keeps [`Ticket`]s in its soft state, so that soft state need not know what
/// a caller is; the seat hands back whoever is left when it is given up.
#[derive(Debug)]
pub struct Held<T> {
    callers: BTreeMap<Ticket, T>,
    next: u64,
}

impl<T> Held<T> {
    /// Keeps a caller waiting.
    pub fn hold(&mut self, caller: T) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.callers.insert(ticket, caller);
        ticket
    }

    /// Takes a caller out to be answered; `None` if that has happened before.
    pub fn release(&mut self, ticket: Ticket) -> Option<T> {
        self.callers.remove(&ticket)
    }

    /// How many callers wait.
    pub fn len(&self) -> usize {
        self.callers.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.callers.is_empty()
    }

    /// Everybody, in the order in which they came.
    pub fn into_callers(self) -> impl Iterator<Item = T> {
        self.callers.into_values()
    }
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Held { callers: BTreeMap::new(), next: 0 }
    }
}
