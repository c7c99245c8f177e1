//! Who may connect, how many and how fast (`ConnectionQuotas`).
//!
//! Beyond the number that a listener or the server may have, and beyond the rate, connections wait unserved;
//! beyond the number that an address may have they are turned away. Connections to the listener between
//! brokers are not held up by those of clients.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::Moment;
use ottla_host::Host;
use parking_lot::Mutex;
use tokio::sync::Notify;

#[cfg(test)]
mod tests;

/// How many connections the whole server takes. All of it may change while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// In all (`max.connections`).
    pub max_connections: usize,
    /// From one address (`max.connections.per.ip`).
    pub max_connections_per_ip: usize,
    /// From some addresses (`max.connections.per.ip.overrides`).
    pub max_connections_per_ip_overrides: BTreeMap<IpAddr, usize>,
    /// New ones in a second (`max.connection.creation.rate`).
    pub max_connections_per_second: u32,
}

/// How many connections one listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerLimits {
    /// In all (`listener.name.<name>.max.connections`).
    pub max_connections: usize,
    /// New ones in a second (`listener.name.<name>.max.connection.creation.rate`).
    pub max_connections_per_second: u32,
    /// Whose connections it takes.
    pub role: ListenerRole,
}

/// Whose connections a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerRole {
    /// Anybody's.
    Clients,
    /// Those of brokers, while clients have another listener: the limits of the whole server do not apply.
    Brokers,
}

impl Default for AdmissionLimits {
    fn default() -> AdmissionLimits {
        AdmissionLimits {
            max_connections: usize::MAX,
            max_connections_per_ip: usize::MAX,
            max_connections_per_ip_overrides: BTreeMap::new(),
            max_connections_per_second: u32::MAX,
        }
    }
}

impl Default for ListenerLimits {
    fn default() -> ListenerLimits {
        ListenerLimits {
            max_connections: usize::MAX,
            max_connections_per_second: u32::MAX,
            role: ListenerRole::Clients,
        }
    }
}

/// The connections of a whole server, counted. Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    state: Arc<State>,
}

struct State {
    counts: Mutex<Counts>,
    /// Rings when a connection ends or limits change.
    changed: Notify,
}

struct Counts {
    limits: AdmissionLimits,
    connections: usize,
    per_ip: BTreeMap<IpAddr, usize>,
    pace: Pace,
}

/// The connections of one listener, counted. Cheap to clone.
#[derive(Clone)]
pub struct ListenerAdmission {
    server: Admission,
    own: Arc<Mutex<ListenerCounts>>,
}

struct ListenerCounts {
    limits: ListenerLimits,
    connections: usize,
    pace: Pace,
}

/// A connection that counts; no longer when dropped.
pub(crate) struct Admitted {
    listener: ListenerAdmission,
    address: IpAddr,
}

/// Why a connection was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} has the {max} connections it may have")]
pub(crate) struct TooManyConnections {
    address: IpAddr,
    max: usize,
}

/// When the next connection may come, so that over a while there are no more than a rate allows.
#[derive(Default)]
struct Pace {
    next: Moment,
}

/// How far connections may run ahead of their rate (Kafka measures it over so many one-second windows).
const BURST: Duration = Duration::from_secs(11);

impl Admission {
    /// Counts from zero.
    pub fn new(limits: AdmissionLimits) -> Admission {
        let counts = Counts { limits, connections: 0, per_ip: BTreeMap::new(), pace: Pace::default() };
        Admission { state: Arc::new(State { counts: Mutex::new(counts), changed: Notify::new() }) }
    }

    /// Changes the limits. Connections above them stay.
    pub fn set_limits(&self, limits: AdmissionLimits) {
        self.state.counts.lock().limits = limits;
        self.state.changed.notify_waiters();
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.state.counts.lock().connections
    }

    /// One listener's part.
    pub fn listener(&self, limits: ListenerLimits) -> ListenerAdmission {
        let own = ListenerCounts { limits, connections: 0, pace: Pace::default() };
        ListenerAdmission { server: self.clone(), own: Arc::new(Mutex::new(own)) }
    }
}

impl ListenerAdmission {
    /// Changes the listener's limits. Connections above them stay.
    pub fn set_limits(&self, limits: ListenerLimits) {
        self.own.lock().limits = limits;
        self.server.state.changed.notify_waiters();
    }

    /// How many connections the listener has.
    pub fn connections(&self) -> usize {
        self.own.lock().connections
    }

    /// Waits until one more connection is allowed, and counts it; refused if its address has too many.
    pub(crate) async fn admit(&self, host: &Host, address: IpAddr) -> Result<Admitted, TooManyConnections> {
        loop {
            let changed = self.server.state.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.try_admit(host.now(), address)? {
                Next::Admitted(admitted) => return Ok(admitted),
                Next::After(moment) => host.sleep_until(moment).await,
                Next::Change => changed.await,
            }
        }
    }

    fn try_admit(&self, now: Moment, address: IpAddr) -> Result<Next, TooManyConnections> {
        let mut own = self.own.lock();
        let mut server = self.server.state.counts.lock();
        let own = &mut *own;
        let server = &mut *server;
        let is_client = own.limits.role == ListenerRole::Clients;
        if own.connections >= own.limits.max_connections
            || (is_client && server.connections >= server.limits.max_connections)
        {
            return Ok(Next::Change);
        }
        let allowed = own.pace.allowed_at(own.limits.max_connections_per_second);
        let allowed = match is_client {
            true => allowed.max(server.pace.allowed_at(server.limits.max_connections_per_second)),
            false => allowed,
        };
        if allowed > now {
            return Ok(Next::After(allowed));
        }
        let limits = &server.limits;
        let max = limits.max_connections_per_ip_overrides.get(&address);
        let max = *max.unwrap_or(&limits.max_connections_per_ip);
        if server.per_ip.get(&address).copied().unwrap_or(0) >= max {
            return Err(TooManyConnections { address, max });
        }
        *server.per_ip.entry(address).or_insert(0) += 1;
        own.pace.take(now, own.limits.max_connections_per_second);
        if is_client {
            server.pace.take(now, server.limits.max_connections_per_second);
        }
        own.connections += 1;
        server.connections += 1;
        Ok(Next::Admitted(Admitted { listener: self.clone(), address }))
    }
}

enum Next {
    Admitted(Admitted),
    After(Moment),
    Change,
}

impl Pace {
    fn allowed_at(&self, per_second: u32) -> Moment {
        if per_second == u32::MAX { Moment::default() } else { Moment(self.next.0.saturating_sub(BURST)) }
    }

    fn take(&mut self, now: Moment, per_second: u32) {
        let interval = Duration::from_secs(1) / per_second.max(1);
        self.next = self.next.max(now) + interval;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.listener.own.lock().connections -= 1;
        let state = &self.listener.server.state;
        {
            let mut server = state.counts.lock();
            server.connections -= 1;
            if let Some(count) = server.per_ip.get_mut(&self.address) {
                *count -= 1;
                if *count == 0 {
                    server.per_ip.remove(&self.address);
                }
            }
        }
        state.changed.notify_waiters();
    }
}
