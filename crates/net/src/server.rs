//! A listener and its connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ottla_host::Host;
use ottla_host::net::{Listener, Stream};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::admission::{Admitted, ListenerAdmission};
use crate::budget::Budget;
use crate::connection::{Connection, ConnectionLimits, Counters, End};
use crate::service::{Peer, Service};

#[cfg(test)]
mod tests;

/// What a listener shares with the rest of its server, and what it allows.
#[derive(Clone)]
pub struct ServerOptions {
    /// The listener's name, for the log.
    pub name: Arc<str>,
    /// What each connection may do.
    pub limits: ConnectionLimits,
    /// The memory of all requests of the server.
    pub budget: Budget,
    /// Who may connect.
    pub admission: ListenerAdmission,
}

/// A listener that accepts connections and serves them until it is stopped.
pub struct Server {
    local_address: SocketAddr,
    counters: Arc<Counters>,
    stop: watch::Sender<Stage>,
    acceptor: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// No connections and no requests are taken; what was taken is answered.
    Draining,
    Stopped,
}

/// How long the acceptor waits after an error, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Server {
    /// Serves the connections of a listener; `service` makes what answers one of them.
    pub fn start<S: Service>(
        host: &Host,
        listener: Listener,
        options: ServerOptions,
        service: impl Fn(Peer) -> S + Send + Sync + 'static,
    ) -> io::Result<Server> {
        let local_address = listener.local_address()?;
        let counters = Arc::new(Counters::default());
        let (stop, stage) = watch::channel(Stage::Serving);
        let common = Common {
            host: host.clone(),
            options,
            counters: counters.clone(),
            stopping: AtomicBool::new(false),
            stop: Arc::new(Notify::new()),
        };
        let acceptor = Acceptor {
            common: Arc::new(common),
            listener,
            service: Arc::new(service),
            stage,
            connections: JoinSet::new(),
        };
        let acceptor = host.spawn(acceptor.run());
        Ok(Server { local_address, counters, stop, acceptor })
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// What its connections did.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Stops taking connections and requests, gives the requests that were taken `grace` to be answered, and
    /// closes everything.
    pub async fn stop(self, host: &Host, grace: Duration) {
        let Server { stop, mut acceptor, .. } = self;
        stop.send_replace(Stage::Draining);
        if host.timeout(grace, &mut acceptor).await.is_err() {
            stop.send_replace(Stage::Stopped);
            // A panic of a connection is a bug and has been reported where it happened.
            let _ = acceptor.await;
        }
    }
}

/// What the connections of a listener have in common.
pub(crate) struct Common {
    pub(crate) host: Host,
    pub(crate) options: ServerOptions,
    pub(crate) counters: Arc<Counters>,
    /// Whether no more requests are taken.
    pub(crate) stopping: AtomicBool,
    /// Rings once, when `stopping` is set.
    pub(crate) stop: Arc<Notify>,
}

struct Acceptor<F> {
    common: Arc<Common>,
    listener: Listener,
    service: Arc<F>,
    stage: watch::Receiver<Stage>,
    connections: JoinSet<()>,
}

impl<S: Service, F: Fn(Peer) -> S + Send + Sync + 'static> Acceptor<F> {
    async fn run(mut self) {
        let draining = reached(self.stage.clone(), Stage::Draining);
        tokio::pin!(draining);
        loop {
            tokio::select! {
                biased;
                () = &mut draining => break,
                accepted = accept(&self.common, &self.listener) => {
                    if let Some((stream, admitted)) = accepted {
                        self.serve(stream, admitted);
                    }
                }
            }
        }
        let Acceptor { common, listener, stage, mut connections, .. } = self;
        drop(listener);
        // Every connection there is was made by this task, so that each of them hears it.
        common.stopping.store(true, Ordering::Release);
        common.stop.notify_waiters();
        let stopped = reached(stage, Stage::Stopped);
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => break connections.shutdown().await,
                joined = connections.join_next() => if joined.is_none() { break },
            }
        }
    }

    fn serve(&mut self, stream: Stream, admitted: Admitted) {
        while self.connections.try_join_next().is_some() {}
        let service = (self.service)(Peer { address: stream.peer_address() });
        self.common.counters.opened.fetch_add(1, Ordering::Relaxed);
        self.connections.spawn(Connection::new(self.common.clone(), stream, admitted, service));
    }
}

/// The next connection that is admitted; `None` after one that was not.
async fn accept(common: &Common, listener: &Listener) -> Option<(Stream, Admitted)> {
    let Common { host, options, counters, .. } = common;
    let stream = match listener.accept().await {
        Ok(stream) => stream,
        Err(error) if concerns_one_connection(&error) => return None,
        Err(error) => {
            tracing::warn!(listener = &*options.name, %error, "accepting a connection failed");
            host.sleep(ACCEPT_PAUSE).await;
            return None;
        }
    };
    match options.admission.admit(host, stream.peer_address().ip().to_canonical()).await {
        Ok(admitted) => Some((stream, admitted)),
        Err(error) => {
            counters.turned_away.fetch_add(1, Ordering::Relaxed);
            tracing::info!(listener = &*options.name, %error, "turned a connection away");
            None
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

async fn reached(mut stage: watch::Receiver<Stage>, wanted: Stage) {
    // The sender is dropped only once everything is stopped.
    let _ = stage.wait_for(|stage| *stage >= wanted).await;
}

impl Common {
    /// Tells why a connection ended, and counts it.
    pub(crate) fn report(&self, address: SocketAddr, end: &End) {
        let (listener, counters) = (&*self.options.name, &self.counters);
        let counter = match end {
            End::Idle => &counters.closed_idle,
            End::Slow => &counters.closed_slow,
            End::Invalid(_) => &counters.closed_invalid,
            End::Peer | End::Asked | End::Stopped | End::Socket(_) => {
                tracing::debug!(listener, %address, reason = %end, "connection closed");
                return;
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tracing::info!(listener, %address, reason = %end, "closed a connection");
    }
}
