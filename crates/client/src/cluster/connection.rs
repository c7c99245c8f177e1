//! A connection whose server's versions are known, and the one place of each server where it is kept.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ottla_base::{ErrorCode, FastMap, Moment, NodeId, Str};
use ottla_host::Host;
use ottla_net::client::{ConnectOptions, Connection, RequestError};
use ottla_wire::messages::api_versions_request::ApiVersionsRequest;
use ottla_wire::messages::api_versions_response::ApiVersionsResponse;
use ottla_wire::{ApiKey, Message, Reader, RequestMessage};
use parking_lot::Mutex;

use super::deadline::Backoff;
use crate::error::{Error, refused};

/// A connection, and what its server can be asked.
#[derive(Debug, Clone)]
pub(crate) struct NodeConnection {
    pub(crate) connection: Connection,
    /// Who is at the other end, for messages.
    pub(crate) server: Arc<str>,
    /// How long an answer may take.
    pub(crate) request_timeout: Duration,
    versions: Arc<FastMap<i16, (i16, i16)>>,
}

impl NodeConnection {
    /// The newest version that both sides know and that is in `ours`.
    pub(crate) fn version<Q: RequestMessage>(&self, ours: &RangeInclusive<i16>) -> Result<i16, Error> {
        let Some((first, last)) = self.versions.get(&(Q::KEY as i16)) else {
            let message = format!("{} does not serve {:?}", self.server, Q::KEY);
            return Err(Error::Unsupported(message.into()));
        };
        let newest = (*last).min(*ours.end()).min(Q::LAST_VERSION);
        if newest < (*first).max(*ours.start()) {
            let message = format!(
                "{} serves {:?} in versions {first} to {last}, but this needs {} to {}",
                self.server,
                Q::KEY,
                ours.start(),
                ours.end()
            );
            return Err(Error::Unsupported(message.into()));
        }
        Ok(newest)
    }

    /// What the server serves now, with the features that its cluster has agreed on.
    pub(crate) async fn announced_now(&self) -> Result<ApiVersionsResponse, Error> {
        let versions = ApiVersionsRequest::FIRST_VERSION..=ApiVersionsRequest::LAST_VERSION;
        let version = self.version::<ApiVersionsRequest>(&versions)?;
        let request = versions_request(version, &Identity::default());
        let answer = self.call(version, &request).await?;
        refused(answer.error_code, None)?;
        Ok(answer)
    }

    /// Sends a request at once, and gives its answer.
    pub(crate) fn call<Q: RequestMessage>(
        &self,
        version: i16,
        request: &Q,
    ) -> impl Future<Output = Result<Q::Response, Error>> + Send + use<Q> {
        let answer = self.connection.call::<Q, Q::Response>(Q::KEY, version, request, self.request_timeout);
        let server = self.server.clone();
        async move { answer.await.map_err(|error| Error::of_request(error, &server)) }
    }
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: Str,
    pub(crate) port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(to, "[{}]:{}", self.host, self.port)
        } else {
            write!(to, "{}:{}", self.host, self.port)
        }
    }
}

/// What a server is told about itself when it is connected to (KIP-1242): a node that is somebody else's by now
/// says so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    pub(crate) cluster_id: Option<Str>,
    pub(crate) node: Option<NodeId>,
}

/// How long things take, for all connections of a client.
#[derive(Debug, Clone)]
pub(crate) struct ConnectRules {
    pub(crate) connect: ConnectOptions,
    pub(crate) max_connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) backoff: Backoff,
}

/// The place of one server: its connection, or when to try again.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) address: Address,
    state: Mutex<SlotState>,
    /// Held by who connects, so that one does.
    connecting: tokio::sync::Mutex<()>,
    /// Whether a task connects in the background.
    pub(crate) is_coming: AtomicBool,
}

#[derive(Debug)]
struct SlotState {
    open: Option<NodeConnection>,
    backoff: Backoff,
    retry_at: Moment,
}

impl Slot {
    pub(crate) fn new(address: Address, rules: &ConnectRules) -> Slot {
        let state = SlotState { open: None, backoff: rules.backoff.clone(), retry_at: Moment::default() };
        Slot {
            address,
            state: Mutex::new(state),
            connecting: tokio::sync::Mutex::new(()),
            is_coming: AtomicBool::new(false),
        }
    }

    /// The connection, if there is one.
    pub(crate) fn open(&self) -> Option<NodeConnection> {
        self.state.lock().open.as_ref().filter(|it| !it.connection.is_closed()).cloned()
    }

    /// When connecting may be tried again, after it failed.
    pub(crate) fn retry_at(&self) -> Moment {
        self.state.lock().retry_at
    }

    /// The connection, made if there is none, after the pause that an earlier failure asks for.
    pub(crate) async fn connect(
        &self,
        host: &Host,
        rules: &ConnectRules,
        identity: Identity,
    ) -> Result<NodeConnection, Error> {
        if let Some(open) = self.open() {
            return Ok(open);
        }
        let _one = self.connecting.lock().await;
        if let Some(open) = self.open() {
            return Ok(open);
        }
        let (retry_at, failures) = {
            let mut state = self.state.lock();
            if state.open.take().is_some() {
                // It was used and ended: the server may be restarting, so do not hurry.
                state.retry_at = host.now() + state.backoff.next(host);
            }
            (state.retry_at, state.backoff.attempts())
        };
        host.sleep_until(retry_at).await;
        let made = open(host, rules, &self.address, identity, failures).await;
        let mut state = self.state.lock();
        match made {
            Ok(open) => {
                state.open = Some(open.clone());
                state.backoff.reset();
                state.retry_at = Moment::default();
                Ok(open)
            }
            Err(error) => {
                state.retry_at = host.now() + state.backoff.next(host);
                Err(error)
            }
        }
    }
}

/// Connects to the first of the server's addresses that answers, and asks for its versions.
async fn open(
    host: &Host,
    rules: &ConnectRules,
    address: &Address,
    identity: Identity,
    failures: u32,
) -> Result<NodeConnection, Error> {
    let server: Arc<str> = address.to_string().into();
    let resolved = ottla_host::net::resolve(&address.host, address.port)
        .await
        .map_err(|error| unreachable(&server, &error, false))?;
    let longest = rules.max_connect_timeout.max(rules.connect.connect_timeout);
    let connect_timeout = rules.connect.connect_timeout.saturating_mul(1 << failures.min(16)).min(longest);
    let options = ConnectOptions { connect_timeout, ..rules.connect.clone() };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for socket_address in resolved {
        match Connection::connect(host, socket_address, &options).await {
            Ok(connection) => return negotiate(connection, server, rules.request_timeout, identity).await,
            Err(error) => last = refused_by(socket_address, error),
        }
    }
    let local = address.host == "localhost" || address.host.starts_with("127.") || address.host == "::1";
    Err(unreachable(&server, &last, local))
}

fn refused_by(address: SocketAddr, error: io::Error) -> io::Error {
    tracing::debug!(%address, %error, "connecting failed");
    error
}

fn unreachable(server: &Arc<str>, error: &io::Error, local: bool) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused if local => {
            ": is the server running? start one with `ottla start`, or name another with bootstrap.servers"
        }
        io::ErrorKind::ConnectionRefused => ": is the server running, and is this its client port?",
        io::ErrorKind::TimedOut => ": does a firewall stand in between?",
        _ => "",
    };
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        _ => error.to_string(),
    };
    Error::Unreachable(format!("cannot connect to {server}: {reason}{hint}").into())
}

/// Asks a new connection's server what it serves, in the version that both know (KIP-511).
async fn negotiate(
    connection: Connection,
    server: Arc<str>,
    timeout: Duration,
    identity: Identity,
) -> Result<NodeConnection, Error> {
    let mut version = ApiVersionsRequest::LAST_VERSION;
    loop {
        let request = versions_request(version, &identity);
        let sent = connection
            .send(ApiKey::ApiVersions, version, timeout, [], |writer| request.encode(writer, version));
        let reader = sent.await.map_err(|error| not_kafka(error, &server))?;
        let answer = read_versions(reader, version).map_err(|error| not_kafka(error, &server))?;
        if ErrorCode::from_code(answer.error_code) == ErrorCode::UnsupportedVersion && version > 0 {
            let offered = answer.api_keys.iter().find(|it| it.api_key == ApiKey::ApiVersions as i16);
            version = offered.map_or(0, |it| it.max_version).clamp(0, version - 1);
            continue;
        }
        refused(answer.error_code, None)?;
        let versions =
            answer.api_keys.iter().map(|it| (it.api_key, (it.min_version, it.max_version))).collect();
        return Ok(NodeConnection {
            connection,
            server,
            request_timeout: timeout,
            versions: Arc::new(versions),
        });
    }
}

fn versions_request(version: i16, identity: &Identity) -> ApiVersionsRequest {
    let mut request = ApiVersionsRequest::default();
    if version >= 3 {
        request.client_software_name = Str::from_static("ottla");
        request.client_software_version = Str::from_static(env!("CARGO_PKG_VERSION"));
    }
    if let (5.., Some(cluster_id), Some(node)) = (version, &identity.cluster_id, identity.node) {
        request.cluster_id = Some(cluster_id.clone());
        request.node_id = node.0;
    }
    request
}

/// The answer in its version, or in version 0, in which a server refuses a version that it does not know.
fn read_versions(mut reader: Reader, version: i16) -> Result<ApiVersionsResponse, RequestError> {
    let refused = reader.clone().i16()? == ErrorCode::UnsupportedVersion.code();
    Ok(ApiVersionsResponse::decode(&mut reader, if refused { 0 } else { version })?)
}

fn not_kafka(error: RequestError, server: &Arc<str>) -> Error {
    match error {
        RequestError::Decode(_) => Error::of_request(error, server),
        RequestError::Disconnected(_) | RequestError::TimedOut | RequestError::Encode(_) => {
            Error::Unreachable(
                format!(
                    "{server} did not answer the first request ({error}): is this a Kafka port without TLS?"
                )
                .into(),
            )
        }
    }
}
