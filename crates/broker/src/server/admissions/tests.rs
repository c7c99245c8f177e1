//! The limits that settings come to.

use ottla_base::settings::Texts;
use ottla_metadata::settings::layers::ServerLayers;

use super::*;

fn settings(more: &[(&str, &str)]) -> BrokerSettings {
    let base = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.quorum.bootstrap.servers", "localhost:9093"),
        ("controller.listener.names", "CONTROLLER"),
        ("listeners", "PLAINTEXT://localhost:9092,OUTSIDE://localhost:9094,CONTROLLER://localhost:9093"),
        ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT"),
        ("inter.broker.listener.name", "PLAINTEXT"),
        ("max.connections", "100"),
    ];
    let texts: Texts =
        base.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    BrokerSettings::from_layers(ServerLayers::new(texts)).expect("settings")
}

#[test]
fn a_listener_has_its_own_limits_or_those_of_all() {
    let settings = settings(&[
        ("listener.name.outside.max.connections", "7"),
        ("listener.name.outside.max.connection.creation.rate", "3"),
    ]);
    let outside = listener_limits(&settings, "OUTSIDE", Serves::Broker).unwrap();
    assert_eq!((outside.max_connections, outside.max_connections_per_second), (7, 3));
    assert_eq!(outside.role, ListenerRole::Clients);
    let inside = listener_limits(&settings, "PLAINTEXT", Serves::Broker).unwrap();
    assert_eq!((inside.max_connections, inside.max_connections_per_second), (100, u32::MAX));
    assert_eq!(inside.role, ListenerRole::Brokers, "brokers are not held up by clients");
    let controller = listener_limits(&settings, "CONTROLLER", Serves::Controller).unwrap();
    assert_eq!(controller.role, ListenerRole::Clients);
}

#[test]
fn what_an_administrator_sets_for_a_listener_takes_effect() {
    let before = settings(&[]);
    let admissions = Admissions::new(&before).unwrap();
    let own = Texts::from([("listener.name.outside.max.connections".to_owned(), "2".to_owned())]);
    let (after, left_out) = before.with_dynamic(Texts::new(), own).unwrap();
    assert_eq!(left_out, Vec::new());
    assert_eq!(listener_limits(&after, "OUTSIDE", Serves::Broker).unwrap().max_connections, 2);
    admissions.follow(&after).unwrap();
    assert!(admissions.listener("OUTSIDE").is_some() && admissions.listener("INSIDE").is_none());
}

#[test]
fn addresses_have_limits_by_name_or_number() {
    let named = settings(&[("max.connections.per.ip.overrides", "localhost:5,127.0.0.2:6")]);
    let limits = server_limits(&named.server).unwrap().max_connections_per_ip_overrides;
    assert_eq!(limits.len(), 2);
    assert!(limits.keys().all(IpAddr::is_loopback));
}

#[test]
fn a_limit_that_is_no_number_is_refused() {
    let wrong = settings(&[("listener.name.outside.max.connections", "many")]);
    assert!(Admissions::new(&wrong).is_err());
    let unknown = settings(&[("max.connections.per.ip.overrides", "no.such.host.invalid:5")]);
    assert!(server_limits(&unknown.server).is_err());
}
