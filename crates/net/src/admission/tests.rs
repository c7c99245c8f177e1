//! Tests of who may connect.

use std::net::Ipv4Addr;

use super::*;

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// Admits at once, or says that it would not.
fn admit(
    host: &Host,
    listener: &ListenerAdmission,
    last: u8,
) -> Option<Result<Admitted, TooManyConnections>> {
    match listener.try_admit(host.now(), address(last)) {
        Ok(Next::Admitted(admitted)) => Some(Ok(admitted)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    }
}

#[test]
fn an_address_may_have_so_many() {
    let host = Host::simulated(1);
    let limits = AdmissionLimits {
        max_connections_per_ip: 2,
        max_connections_per_ip_overrides: BTreeMap::from([(address(9), 0)]),
        ..AdmissionLimits::default()
    };
    let admission = Admission::new(limits);
    let listener = admission.listener(ListenerLimits::default());
    let held = [1, 1, 2].map(|last| admit(&host, &listener, last).unwrap().unwrap());
    let refused = admit(&host, &listener, 1).unwrap().map(|_| ()).unwrap_err();
    assert_eq!(refused.to_string(), "127.0.0.1 has the 2 connections it may have");
    assert!(admit(&host, &listener, 9).unwrap().is_err());
    assert_eq!((admission.connections(), listener.connections()), (3, 3));
    drop(held);
    assert_eq!((admission.connections(), listener.connections()), (0, 0));
    assert!(admit(&host, &listener, 1).unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn more_than_all_wait() {
    let host = Host::simulated(1);
    let admission = Admission::new(AdmissionLimits { max_connections: 2, ..AdmissionLimits::default() });
    let clients = admission.listener(ListenerLimits::default());
    let brokers = admission.listener(ListenerLimits {
        role: ListenerRole::Brokers,
        max_connections: 1,
        ..ListenerLimits::default()
    });
    let first = admit(&host, &clients, 1).unwrap().ok();
    let _second = admit(&host, &clients, 1).unwrap().ok();
    assert!(admit(&host, &clients, 1).is_none());
    let _broker = admit(&host, &brokers, 1).unwrap().ok();
    assert!(admit(&host, &brokers, 1).is_none());
    let waiting = clients.admit(&host, address(1));
    tokio::pin!(waiting);
    assert!(host.timeout(Duration::from_secs(1), waiting.as_mut()).await.is_err());
    drop(first);
    // The broker's connection counts too.
    assert!(host.timeout(Duration::from_secs(1), waiting.as_mut()).await.is_err());
    admission.set_limits(AdmissionLimits { max_connections: 3, ..AdmissionLimits::default() });
    assert!(waiting.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn connections_come_no_faster_than_their_rate() {
    let host = Host::simulated(1);
    let limits = AdmissionLimits { max_connections_per_second: 10, ..AdmissionLimits::default() };
    let admission = Admission::new(limits);
    let listener = admission.listener(ListenerLimits::default());
    let start = host.now();
    for _ in 0..1000 {
        assert!(listener.admit(&host, address(1)).await.is_ok());
    }
    let took = host.now() - start;
    assert!((88..=90).contains(&took.as_secs()), "{took:?}");
}
