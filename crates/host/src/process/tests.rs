//! Tests of what a process knows of itself.

use super::*;

#[test]
fn a_process_knows_what_it_uses() {
    let limit = raise_descriptor_limit().unwrap();
    let usage = usage().unwrap();
    assert_eq!(usage.max_descriptors, limit);
    assert!(usage.cpu > Duration::ZERO && usage.resident_bytes > 100 << 10, "{usage:?}");
    assert!(memory_limit_bytes() > usage.resident_bytes);
    assert!(usage.virtual_bytes > usage.resident_bytes && usage.open_descriptors >= 3, "{usage:?}");
}

#[tokio::test]
async fn signals_ask_to_stop() {
    let mut signals = StopSignals::listen().unwrap();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
    assert_eq!(signals.next().await, StopSignal::Terminate);
}
