//! The sockets of a server, and what is told about them.

use std::sync::Arc;
use std::time::Duration;

use ottla_base::Str;
use ottla_host::net::{Listener, SocketOptions, resolve};
use ottla_metadata::settings::listeners::Endpoint;
use ottla_net::budget::Budget;
use ottla_net::server::ServerOptions;
use ottla_net::{ConnectionLimits, Server};

use super::StartError;
use super::admissions::Admissions;
use crate::broker::Broker;
use crate::call::{ListenerRole, Serves};
use crate::config::BrokerSettings;
use crate::lifecycle::AdvertisedListener;
use crate::service::ConnectionService;

const KEY: &str = "listeners";

/// The default of `socket.send.buffer.bytes` and `socket.receive.buffer.bytes`, which Kafka's own `server.properties`
/// spells out.
const KAFKA_BUFFER_BYTES: i32 = 102_400;
/// What is asked of the system in its place: a megabyte's request is read in a few calls instead of ten, and a reader
/// finds enough to go on while this thread is woken (docs/decisions/connections.md).
const BUFFER_BYTES: u32 = 512 << 10;

/// Sockets that listen and are not served yet.
pub(super) struct Bound {
    sockets: Vec<Socket>,
}

struct Socket {
    endpoint: Endpoint,
    serves: Serves,
    listeners: Vec<Listener>,
}

/// Takes every address, so that a port that is in use is known before the cluster is told about it.
pub(super) async fn bind(broker: &Broker, settings: &BrokerSettings) -> Result<Bound, StartError> {
    let network = &settings.server.network;
    let options = SocketOptions {
        send_buffer_bytes: buffer_bytes(network.socket_send_buffer_bytes),
        receive_buffer_bytes: buffer_bytes(network.socket_receive_buffer_bytes),
    };
    let backlog = u32::try_from(network.socket_listen_backlog_size).unwrap_or(50);
    let mut sockets = Vec::new();
    let of_broker = settings.listeners.broker.iter().map(|it| (it, Serves::Broker));
    let of_controller = settings.listeners.controller.iter().map(|it| (it, Serves::Controller));
    for (endpoint, serves) in of_broker.chain(of_controller) {
        let listeners = bind_host(endpoint.host.as_deref(), endpoint.port, backlog, KEY, options).await?;
        tracing::debug!(node = %broker.node_id, %endpoint, "listening");
        sockets.push(Socket { endpoint: endpoint.clone(), serves, listeners });
    }
    Ok(Bound { sockets })
}

/// What a socket's buffer is set to; `None` leaves it to the system.
fn buffer_bytes(setting: i32) -> Option<u32> {
    match setting {
        KAFKA_BUFFER_BYTES => Some(BUFFER_BYTES),
        other => u32::try_from(other).ok(),
    }
}

/// Listens on `host:port`.
pub(super) async fn bind_address(
    address: &str,
    key: &'static str,
    options: SocketOptions,
) -> Result<Vec<Listener>, StartError> {
    let Some((host, port)) =
        address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)))
    else {
        return Err(StartError::Settings(format!("{key}: {address} is not host:port")));
    };
    bind_host(Some(host).filter(|it| !it.is_empty()), port, 50, key, options).await
}

/// Listens on every address of a host: `localhost` has two.
async fn bind_host(
    host: Option<&str>,
    port: u16,
    backlog: u32,
    key: &'static str,
    options: SocketOptions,
) -> Result<Vec<Listener>, StartError> {
    let failed =
        |source| StartError::Listen { address: format!("{}:{port}", host.unwrap_or_default()), key, source };
    let addresses = match host {
        Some(host) => resolve(host, port).await.map_err(failed)?,
        None => vec![
            (std::net::Ipv6Addr::UNSPECIFIED, port).into(),
            (std::net::Ipv4Addr::UNSPECIFIED, port).into(),
        ],
    };
    let mut listeners: Vec<Listener> = Vec::new();
    let mut last = None;
    for mut address in addresses {
        // A port that was chosen for the first address is the port of all.
        if let (0, Some(first)) = (port, listeners.first()) {
            address.set_port(first.local_address().map_err(failed)?.port());
        }
        match Listener::bind(address, backlog, options) {
            Ok(listener) => listeners.push(listener),
            // The wildcard of version 6 takes version 4 along where the system says so; other hosts lack one of them.
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) if listeners.is_empty() => Err(failed(error)),
        _ => Ok(listeners),
    }
}

impl Bound {
    /// What the cluster is told: what the settings advertise, with the ports that were taken where they left it open.
    pub(super) fn advertised(&self, settings: &BrokerSettings, serves: Serves) -> Vec<AdvertisedListener> {
        let taken = |name: &str| {
            let socket = self.sockets.iter().find(|it| it.endpoint.name == name)?;
            Some(socket.listeners.first()?.local_address().ok()?.port())
        };
        let advertised = match serves {
            Serves::Broker => &settings.listeners.advertised_broker,
            Serves::Controller => &settings.listeners.advertised_controller,
        };
        let told = advertised.iter().map(|it| AdvertisedListener {
            name: Str::from(it.name.as_str()),
            host: Str::from(it.host.as_deref().unwrap_or("localhost")),
            port: if it.port == 0 { taken(&it.name).unwrap_or(0) } else { it.port },
            security_protocol: it.protocol.id(),
        });
        told.collect()
    }

    /// Serves every socket.
    pub(super) fn serve(
        self,
        broker: &Arc<Broker>,
        settings: &BrokerSettings,
    ) -> Result<Vec<Server>, StartError> {
        let network = &settings.server.network;
        // What an administrator has changed meanwhile holds from the first connection on.
        let admissions = Admissions::new(&broker.settings.load())
            .map_err(|invalid| StartError::Settings(invalid.to_string()))?;
        let budget = Budget::new(usize::try_from(settings.request_memory_bytes()).unwrap_or(usize::MAX));
        let limits = ConnectionLimits {
            max_frame_bytes: usize::try_from(network.socket_request_max_bytes).unwrap_or(0),
            max_idle: u64::try_from(network.connections_max_idle_ms).ok().map(Duration::from_millis),
            ..ConnectionLimits::default()
        };
        let mut servers = Vec::new();
        for socket in self.sockets {
            let role = Arc::new(ListenerRole {
                name: Str::from(socket.endpoint.name.as_str()),
                serves: socket.serves,
            });
            let Some(admission) = admissions.listener(&socket.endpoint.name) else { continue };
            for listener in socket.listeners {
                let options = ServerOptions {
                    name: Arc::from(socket.endpoint.name.as_str()),
                    limits,
                    budget: budget.clone(),
                    admission: admission.clone(),
                };
                let (broker, role) = (broker.clone(), role.clone());
                let host = broker.host.clone();
                let service = move |peer| ConnectionService::new(broker.clone(), role.clone(), peer);
                let server = Server::start(&host, listener, options, service).map_err(|source| {
                    StartError::Listen { address: socket.endpoint.to_string(), key: KEY, source }
                })?;
                servers.push(server);
            }
        }
        drop(broker.admissions.set(admissions));
        Ok(servers)
    }
}
