//! Which connections are let in: what the settings say of the server, its addresses and each of its listeners
//! (`ConnectionQuotas`).
//!
//! The listeners of the broker and those of the controller are counted apart, as the two servers of Apache Kafka do:
//! clients cannot keep brokers from their controller.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ottla_base::settings::InvalidSetting;
use ottla_host::net::resolve_blocking;
use ottla_metadata::settings::ServerSettings;
use ottla_metadata::settings::conflicts::connections_per_address;
use ottla_metadata::settings::layers::for_listener;
use ottla_net::admission::{Admission, AdmissionLimits, ListenerAdmission, ListenerLimits, ListenerRole};

use crate::call::Serves;
use crate::config::BrokerSettings;

#[cfg(test)]
mod tests;

/// The connections of a server, counted.
pub(crate) struct Admissions {
    broker: Admission,
    controller: Admission,
    listeners: Vec<Listener>,
}

struct Listener {
    name: String,
    serves: Serves,
    admission: ListenerAdmission,
}

impl Admissions {
    /// Counts from zero, listener by listener.
    pub(crate) fn new(settings: &BrokerSettings) -> Result<Admissions, InvalidSetting> {
        let of_server = server_limits(&settings.server)?;
        let (broker, controller) = (Admission::new(of_server.clone()), Admission::new(of_server));
        let of_broker = settings.listeners.broker.iter().map(|it| (it, Serves::Broker));
        let of_controller = settings.listeners.controller.iter().map(|it| (it, Serves::Controller));
        let mut listeners = Vec::new();
        for (endpoint, serves) in of_broker.chain(of_controller) {
            let limits = listener_limits(settings, &endpoint.name, serves)?;
            let server = if serves == Serves::Broker { &broker } else { &controller };
            let admission = server.listener(limits);
            listeners.push(Listener { name: endpoint.name.clone(), serves, admission });
        }
        Ok(Admissions { broker, controller, listeners })
    }

    /// The part of one listener.
    pub(crate) fn listener(&self, name: &str) -> Option<ListenerAdmission> {
        self.listeners.iter().find(|it| it.name == name).map(|it| it.admission.clone())
    }

    /// Puts changed settings into force; all of them or none. Connections above the limits stay.
    pub(crate) fn follow(&self, settings: &BrokerSettings) -> Result<(), InvalidSetting> {
        let of_server = server_limits(&settings.server)?;
        let mut of_listeners = Vec::new();
        for it in &self.listeners {
            of_listeners.push((it, listener_limits(settings, &it.name, it.serves)?));
        }
        self.broker.set_limits(of_server.clone());
        self.controller.set_limits(of_server);
        of_listeners.into_iter().for_each(|(it, limits)| it.admission.set_limits(limits));
        Ok(())
    }
}

/// What the whole server takes.
fn server_limits(server: &ServerSettings) -> Result<AdmissionLimits, InvalidSetting> {
    let mut overrides = BTreeMap::new();
    for (host, limit) in connections_per_address(server)? {
        overrides.insert(address(&host)?, connections(limit));
    }
    Ok(AdmissionLimits {
        max_connections: connections(server.network.max_connections),
        max_connections_per_ip: connections(server.network.max_connections_per_ip),
        max_connections_per_ip_overrides: overrides,
        max_connections_per_second: per_second(server.network.max_connection_creation_rate),
    })
}

/// What one listener takes: what the settings say of all, unless they say something of it.
fn listener_limits(
    settings: &BrokerSettings,
    name: &str,
    serves: Serves,
) -> Result<ListenerLimits, InvalidSetting> {
    let own = ServerSettings::read(&for_listener(&settings.layers.effective(), name))?;
    let listeners = &settings.listeners;
    let is_protected = serves == Serves::Broker
        && listeners.between_brokers.eq_ignore_ascii_case(name)
        && listeners.broker.len() > 1;
    Ok(ListenerLimits {
        max_connections: connections(own.network.max_connections),
        max_connections_per_second: per_second(own.network.max_connection_creation_rate),
        role: if is_protected { ListenerRole::Brokers } else { ListenerRole::Clients },
    })
}

/// The address of a host that the settings name, the first one if it has many (`InetAddress.getByName`).
fn address(host: &str) -> Result<IpAddr, InvalidSetting> {
    let unknown = |why: String| {
        InvalidSetting::new(format!("max.connections.per.ip.overrides: {host} has no address: {why}"))
    };
    let addresses = resolve_blocking(host, 0).map_err(|error| unknown(error.to_string()))?;
    addresses.first().map(|it| it.ip()).ok_or_else(|| unknown("the resolver knows none".to_owned()))
}

fn connections(number: i32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn per_second(number: i32) -> u32 {
    match number {
        i32::MAX => u32::MAX,
        number => u32::try_from(number).unwrap_or(u32::MAX),
    }
}
