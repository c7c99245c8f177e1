//! Tests of `.kafka_cleanshutdown`.

use ottla_host::Host;

use super::*;

const EPOCH: Option<CleanShutdown> = Some(CleanShutdown { broker_epoch: Some(BrokerEpoch(17)) });

#[test]
fn a_clean_stop_counts_once() {
    let host = Host::simulated(1);
    let disk = host.disk();
    let directory = Path::new("/");
    assert_eq!(take_clean_shutdown(&disk, directory).unwrap(), None);
    write_clean_shutdown(&disk, directory, BrokerEpoch(17)).unwrap();
    assert_eq!(disk.read("/.kafka_cleanshutdown", 99).unwrap(), b"{\"version\":0,\"brokerEpoch\":17}");
    assert_eq!(take_clean_shutdown(&disk, directory).unwrap(), EPOCH);
    host.simulation().unwrap().disk().crash();
    assert_eq!(take_clean_shutdown(&disk, directory).unwrap(), None);
}

#[test]
fn any_content_is_a_clean_stop() {
    let disk = Host::simulated(1).disk();
    for content in ["", "[", "{\"version\":0}", "{\"brokerEpoch\":null}", "{\"brokerEpoch\":1e99}"] {
        disk.write_atomically("/.kafka_cleanshutdown", content.as_bytes()).unwrap();
        let found = take_clean_shutdown(&disk, Path::new("/")).unwrap();
        assert_eq!(found, Some(CleanShutdown { broker_epoch: None }), "{content}");
    }
    disk.write_atomically("/.kafka_cleanshutdown", b"{\"version\":1,\"x\":[],\"brokerEpoch\":17}").unwrap();
    assert_eq!(take_clean_shutdown(&disk, Path::new("/")).unwrap(), EPOCH);
}

#[test]
fn directories_must_agree() {
    let other = Some(CleanShutdown { broker_epoch: Some(BrokerEpoch(18)) });
    let silent = Some(CleanShutdown { broker_epoch: None });
    assert_eq!(agreed_broker_epoch(&[]), None);
    assert_eq!(agreed_broker_epoch(&[EPOCH, EPOCH]), Some(BrokerEpoch(17)));
    for second in [other, silent, None] {
        assert_eq!(agreed_broker_epoch(&[EPOCH, second]), None);
        assert_eq!(agreed_broker_epoch(&[second, EPOCH]), None);
    }
}
