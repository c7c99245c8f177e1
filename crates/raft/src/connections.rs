//! Which requests are under way to whom, and whom to leave in peace for a while (Kafka's `RequestManager`).

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_base::{Moment, NodeId};

use crate::step::{Correlation, Peer};

/// The requests under way: at most one per peer.
#[derive(Debug)]
pub(crate) struct Connections {
    states: BTreeMap<NodeId, Connection>,
    next: u64,
    request_timeout: Duration,
    retry_backoff: Duration,
}

#[derive(Debug)]
struct Connection {
    peer: Peer,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Awaiting { correlation: Correlation, until: Moment },
    BackingOff { until: Moment },
}

/// What a peer can be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Anything.
    Ready,
    /// Nothing before this moment: it failed just now.
    BackingOff(Moment),
    /// Nothing before this moment: a request is under way.
    Awaiting(Moment),
    /// A request was under way for too long.
    TimedOut,
}

impl Connections {
    pub(crate) fn new(request_timeout: Duration, retry_backoff: Duration) -> Connections {
        Connections { states: BTreeMap::new(), next: 0, request_timeout, retry_backoff }
    }

    pub(crate) fn readiness(&self, peer: NodeId, now: Moment) -> Readiness {
        match self.states.get(&peer).map(|connection| connection.state) {
            None => Readiness::Ready,
            Some(State::BackingOff { until }) if until <= now => Readiness::Ready,
            Some(State::BackingOff { until }) => Readiness::BackingOff(until),
            Some(State::Awaiting { until, .. }) if until <= now => Readiness::TimedOut,
            Some(State::Awaiting { until, .. }) => Readiness::Awaiting(until),
        }
    }

    /// Takes note of a request, replacing what was known of the peer.
    pub(crate) fn sent(&mut self, peer: Peer, now: Moment) -> (Correlation, Moment) {
        let correlation = Correlation(self.next);
        self.next += 1;
        let until = now + self.request_timeout;
        let state = State::Awaiting { correlation, until };
        self.states.insert(peer.id, Connection { peer, state });
        (correlation, until)
    }

    /// The peer that a response is still expected from.
    pub(crate) fn expected(&self, correlation: Correlation) -> Option<Peer> {
        let awaits = |state| matches!(state, State::Awaiting { correlation: it, .. } if it == correlation);
        self.states.values().find(|connection| awaits(connection.state)).map(|it| it.peer.clone())
    }

    /// A response was handled, or gave no use; in the latter case the peer is left in peace for a while.
    pub(crate) fn answered(&mut self, correlation: Correlation, useful: bool, now: Moment) {
        let Some(peer) = self.expected(correlation) else { return };
        if useful {
            self.states.remove(&peer.id);
        } else if let Some(connection) = self.states.get_mut(&peer.id) {
            connection.state = State::BackingOff { until: now + self.retry_backoff };
        }
    }

    pub(crate) fn forget(&mut self, peer: NodeId) {
        self.states.remove(&peer);
    }

    pub(crate) fn forget_all(&mut self) {
        self.states.clear();
    }

    /// Until when a request to anyone may be under way.
    pub(crate) fn any_awaiting(&self, now: Moment) -> Option<Moment> {
        self.states.values().find_map(|connection| match connection.state {
            State::Awaiting { until, .. } if until > now => Some(until),
            _ => None,
        })
    }
}
