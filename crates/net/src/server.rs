//! A listener and its connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ottla_host::Host;
use ottla_host::net::{Listener, Stream};
use tokio::sync::watch;
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
        let acceptor = Acceptor {
            host: host.clone(),
            listener,
            options,
            counters: counters.clone(),
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

struct Acceptor<F> {
    host: Host,
    listener: Listener,
    options: ServerOptions,
    counters: Arc<Counters>,
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
                accepted = accept(&self.host, &self.listener, &self.options, &self.counters) => {
                    if let Some((stream, admitted)) = accepted {
                        self.serve(stream, admitted);
                    }
                }
            }
        }
        let Acceptor { listener, stage, mut connections, .. } = self;
        drop(listener);
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
        let Ok(local_address) = stream.local_address() else {
            return;
        };
        let connection_id = admitted.connection_id;
        let peer = Peer { address: stream.peer_address(), local_address, connection_id };
        let service = (self.service)(peer);
        let host = self.host.clone();
        let options = self.options.clone();
        let counters = self.counters.clone();
        let draining = reached(self.stage.clone(), Stage::Draining);
        counters.opened.fetch_add(1, Ordering::Relaxed);
        self.connections.spawn(async move {
            let _closed = Closed(&counters);
            let limits = &options.limits;
            let connection = Connection::new(&host, limits, &counters, &options.budget, stream, service);
            let end = connection.run(draining).await;
            drop(admitted);
            report(&options.name, peer, &counters, &end);
        });
    }
}

/// Counts a connection as closed, also when its task is aborted.
struct Closed<'a>(&'a Counters);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.closed.fetch_add(1, Ordering::Relaxed);
    }
}

/// The next connection that is admitted; `None` after one that was not.
async fn accept(
    host: &Host,
    listener: &Listener,
    options: &ServerOptions,
    counters: &Counters,
) -> Option<(Stream, Admitted)> {
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

fn report(listener: &str, peer: Peer, counters: &Counters, end: &End) {
    let address = peer.address;
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
