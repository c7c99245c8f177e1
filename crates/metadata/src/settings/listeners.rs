//! The listeners of a server: where it listens, what it tells others, and which protocol each speaks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ottla_base::settings::{InvalidSetting, Texts, address};

use super::ServerSettings;
use super::checks::parse_voter;

/// How a listener protects its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum SecurityProtocol {
    /// Not at all.
    Plaintext = 0,
    /// TLS.
    Ssl = 1,
    /// A login in clear text.
    SaslPlaintext = 2,
    /// A login under TLS.
    SaslSsl = 3,
}

impl SecurityProtocol {
    const ALL: [SecurityProtocol; 4] = [
        SecurityProtocol::Plaintext,
        SecurityProtocol::Ssl,
        SecurityProtocol::SaslPlaintext,
        SecurityProtocol::SaslSsl,
    ];

    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    /// The number in metadata records.
    pub const fn id(self) -> i16 {
        self as i16
    }

    /// The protocol with this name, in any case.
    pub fn from_name(name: &str) -> Option<SecurityProtocol> {
        SecurityProtocol::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(name))
    }
}

/// One address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name, in capitals.
    pub name: String,
    /// How it protects its connections.
    pub protocol: SecurityProtocol,
    /// The host; `None` for every interface.
    pub host: Option<String>,
    /// The port; 0 for any that is free.
    pub port: u16,
}

/// As `NAME://host:port`.
impl fmt::Display for Endpoint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.as_deref().unwrap_or_default();
        match host.contains(':') {
            true => write!(to, "{}://[{host}]:{}", self.name, self.port),
            false => write!(to, "{}://{host}:{}", self.name, self.port),
        }
    }
}

/// Every address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners {
    /// Where it listens for clients and brokers.
    pub broker: Vec<Endpoint>,
    /// Where it listens as a controller.
    pub controller: Vec<Endpoint>,
    /// What it tells clients and brokers.
    pub advertised_broker: Vec<Endpoint>,
    /// What it tells controllers and brokers about its controller.
    pub advertised_controller: Vec<Endpoint>,
    /// The names of controllers' listeners, the one brokers use first; on a broker alone they are not its
    /// own.
    pub controller_names: Vec<String>,
    /// The protocol of each name.
    pub protocols: BTreeMap<String, SecurityProtocol>,
    /// The name of the listener that brokers use among themselves.
    pub between_brokers: String,
    /// The listeners that open before the metadata is there.
    pub early: BTreeSet<String>,
}

impl Listeners {
    /// Reads them from the settings; `effective` says which keys were set at all.
    pub fn read(server: &ServerSettings, effective: &Texts) -> Result<Listeners, InvalidSetting> {
        let network = &server.network;
        let protocols = protocols(server, effective)?;
        let all = endpoints(&network.listeners, &protocols, Ports::MustDiffer)?;
        let controller_names = network.controller_listener_names.clone();
        let is_controller = |it: &Endpoint| controller_names.contains(&it.name);
        let advertised = match &network.advertised_listeners {
            Some(entries) => endpoints(entries, &protocols, Ports::MayBeEqual)?,
            None => Vec::new(),
        };
        let (controller, broker): (Vec<_>, Vec<_>) = all.into_iter().partition(is_controller);
        let (told_controller, told_broker): (Vec<_>, Vec<_>) =
            advertised.into_iter().partition(is_controller);
        let advertised_broker =
            if network.advertised_listeners.is_some() { told_broker } else { broker.clone() };
        let mut advertised_controller = Vec::new();
        for (at, name) in controller_names.iter().enumerate() {
            let named = |it: &&Endpoint| it.name == name.to_uppercase();
            let own = || controller.iter().find(named).map(|it| reachable(it, at == 0, server));
            match told_controller.iter().find(named).cloned().map(Ok).or_else(own) {
                Some(endpoint) => advertised_controller.push(endpoint?),
                None => continue,
            }
        }
        let (between_brokers, _) = between_brokers(server, effective, &protocols)?;
        let early = early(server, &broker, &controller)?;
        Ok(Listeners {
            broker,
            controller,
            advertised_broker,
            advertised_controller,
            controller_names,
            protocols,
            between_brokers,
            early,
        })
    }

    /// Every address on which the server listens.
    pub fn all(&self) -> impl Iterator<Item = &Endpoint> {
        self.broker.iter().chain(&self.controller)
    }
}

/// What a controller tells others of a listener that names no reachable host.
fn reachable(endpoint: &Endpoint, first: bool, server: &ServerSettings) -> Result<Endpoint, InvalidSetting> {
    let anywhere = endpoint.host.as_deref() == Some("0.0.0.0");
    if first && (anywhere || endpoint.host.is_none()) {
        for entry in &server.quorum.controller_quorum_voters {
            let voter = parse_voter(entry)?;
            if voter.id == server.quorum.node_id {
                return Ok(Endpoint { host: Some(voter.host), port: voter.port, ..endpoint.clone() });
            }
        }
    }
    let host = endpoint.host.clone().filter(|_| !anywhere);
    Ok(Endpoint { host, ..endpoint.clone() })
}

/// The protocol of each listener. Controllers' names speak plaintext when nobody says otherwise and nothing
/// else asks for protection.
fn protocols(
    server: &ServerSettings,
    effective: &Texts,
) -> Result<BTreeMap<String, SecurityProtocol>, InvalidSetting> {
    const NAME: &str = "listener.security.protocol.map";
    let mut protocols = BTreeMap::new();
    for (name, protocol) in pairs(NAME, &server.network.listener_security_protocol_map)? {
        let Some(known) = SecurityProtocol::from_name(protocol) else {
            return Err(InvalidSetting::new(format!(
                "Invalid security protocol `{protocol}` defined in {NAME}"
            )));
        };
        protocols.insert(name.to_uppercase(), known);
    }
    if effective.contains_key(NAME) {
        return Ok(protocols);
    }
    let is_protected = |name: &str| matches!(name, "SSL" | "SASL_SSL" | "SASL_PLAINTEXT");
    let controllers = &server.network.controller_listener_names;
    let listener = |entry: &String| entry.split(':').next().unwrap_or_default().to_uppercase();
    let protected = controllers.iter().any(|it| is_protected(it))
        || server.network.listeners.iter().any(|it| is_protected(&listener(it)));
    if !protected {
        let names = controllers.iter().filter(|it| *it != "PLAINTEXT");
        protocols.extend(names.map(|it| (it.clone(), SecurityProtocol::Plaintext)));
    }
    Ok(protocols)
}

/// `key:value` between commas, split at the last colon.
pub(super) fn pairs<'a>(name: &str, text: &'a str) -> Result<Vec<(&'a str, &'a str)>, InvalidSetting> {
    let parts = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    let pair = |part: &'a str| {
        part.rsplit_once(':').map(|(key, value)| (key.trim(), value.trim())).ok_or_else(|| {
            InvalidSetting::new(format!(
                "Error parsing configuration property '{name}': {part} is not key:value"
            ))
        })
    };
    parts.map(pair).collect()
}

/// Whether two endpoints may have one port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// They may not, but for one IPv4 and one IPv6 address.
    MustDiffer,
    /// They may.
    MayBeEqual,
}

fn endpoints(
    entries: &[String],
    protocols: &BTreeMap<String, SecurityProtocol>,
    ports: Ports,
) -> Result<Vec<Endpoint>, InvalidSetting> {
    let shown = format!("[{}]", entries.join(", "));
    let refusal = |reason: String| {
        InvalidSetting::new(format!("Error creating broker listeners from '{shown}': {reason}"))
    };
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for entry in entries {
        let parsed = address::split(entry).filter(|(name, ..)| !name.is_empty());
        let Some((name, host, port)) =
            parsed.and_then(|(name, host, port)| Some((name, host, u16::try_from(port).ok()?)))
        else {
            return Err(refusal(format!("Unable to parse {entry} to a broker endpoint")));
        };
        let name = name.to_uppercase();
        let Some(protocol) = protocols.get(&name).copied() else {
            return Err(refusal(format!("No security protocol defined for listener {name}")));
        };
        let host = Some(host.to_owned()).filter(|it| !it.is_empty());
        endpoints.push(Endpoint { name, protocol, host, port });
    }
    let names: BTreeSet<&str> = endpoints.iter().map(|it| it.name.as_str()).collect();
    if names.len() != endpoints.len() {
        return Err(refusal(format!("Each listener must have a different name, listeners: {shown}")));
    }
    if ports == Ports::MustDiffer {
        refuse_equal_ports(&endpoints, &shown).map_err(refusal)?;
    }
    Ok(endpoints)
}

fn refuse_equal_ports(endpoints: &[Endpoint], shown: &str) -> Result<(), String> {
    let mut by_port: BTreeMap<u16, Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in endpoints.iter().filter(|it| it.port != 0) {
        by_port.entry(endpoint.port).or_default().push(endpoint);
    }
    for (port, same) in by_port.into_iter().filter(|(_, same)| same.len() > 1) {
        let ip = |it: &&Endpoint| it.host.as_deref().and_then(|host| host.parse::<core::net::IpAddr>().ok());
        let numeric: Vec<core::net::IpAddr> = same.iter().filter_map(ip).collect();
        let others = same.len() - numeric.len();
        if others > 1 {
            return Err(format!("Each listener must have a different port, listeners: {shown}"));
        }
        match numeric.as_slice() {
            [] => {}
            [one, other] if one.is_ipv4() != other.is_ipv4() && others == 0 => {}
            [_, _] => {
                return Err(format!(
                    "If you have two listeners on the same port then one needs to be IPv4 and the other \
                     IPv6, listeners: {shown}, port: {port}"
                ));
            }
            _ => {
                return Err(format!(
                    "Each listener must have a different port unless exactly one listener has an IPv4 \
                     address and the other IPv6 address, listeners: {shown}, port: {port}"
                ));
            }
        }
    }
    Ok(())
}

fn between_brokers(
    server: &ServerSettings,
    effective: &Texts,
    protocols: &BTreeMap<String, SecurityProtocol>,
) -> Result<(String, SecurityProtocol), InvalidSetting> {
    const NAME: &str = "inter.broker.listener.name";
    const PROTOCOL: &str = "security.inter.broker.protocol";
    let Some(name) = &server.network.inter_broker_listener_name else {
        let protocol = &server.network.security_inter_broker_protocol;
        let known = SecurityProtocol::from_name(protocol).ok_or_else(|| {
            InvalidSetting::new(format!("Invalid security protocol `{protocol}` defined in {PROTOCOL}"))
        })?;
        return Ok((known.name().to_owned(), known));
    };
    if effective.contains_key(PROTOCOL) {
        return Err(InvalidSetting::new(format!("Only one of {NAME} and {PROTOCOL} should be set.")));
    }
    let name = name.to_uppercase();
    match protocols.get(&name) {
        Some(protocol) => Ok((name, *protocol)),
        None => Err(InvalidSetting::new(format!(
            "Listener with name {name} defined in {NAME} not found in listener.security.protocol.map."
        ))),
    }
}

fn early(
    server: &ServerSettings,
    broker: &[Endpoint],
    controller: &[Endpoint],
) -> Result<BTreeSet<String>, InvalidSetting> {
    let Some(names) = &server.network.early_start_listeners else {
        return Ok(controller.iter().map(|it| it.name.clone()).collect());
    };
    for name in names {
        if !broker.iter().chain(controller).any(|it| it.name == *name) {
            return Err(InvalidSetting::new(format!(
                "early.start.listeners contains listener {name}, but this is not contained in listeners or \
                 controller.listener.names"
            )));
        }
    }
    Ok(names.iter().cloned().collect())
}
