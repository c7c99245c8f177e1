//! A disk that takes too long to make a coordinator's log durable: who has asked is told in time, and what was decided
//! holds.

use std::sync::mpsc;

use ottla_base::{ErrorCode, Str};
use ottla_wire::messages::find_coordinator_request::FindCoordinatorRequest;

use crate::fixture::{Node, code};

/// How many threads wait for the disk.
const THREADS: usize = 4;

#[test]
fn an_offset_that_is_not_committed_in_time_is_answered_and_committed_later() {
    let node = Node::with_pool(
        THREADS,
        &[
            "log.flush.interval.messages=1",
            "offsets.commit.timeout.ms=200",
            "offsets.topic.num.partitions=1",
            "offsets.topic.replication.factor=1",
        ],
    );
    node.create_topic("t", 1, &[]);
    node.ask(3, &FindCoordinatorRequest { key: Str::from_static("a"), ..Default::default() });
    (0..1000).take_while(|_| node.commit("a", 1) != 0).for_each(|_| node.pause(10));
    assert_eq!(node.committed("a"), Ok(1));
    // Every thread that makes anything durable is held.
    let held: Vec<mpsc::Sender<()>> = (0..THREADS)
        .map(|_| {
            let (hold, until) = mpsc::channel::<()>();
            drop(node.host.blocking(move || until.recv()));
            hold
        })
        .collect();
    assert_eq!(code(node.commit("a", 2)), ErrorCode::CoordinatorNotAvailable);
    let asked = node.committed("a").map_err(code);
    assert_eq!(asked, Err(ErrorCode::NotCoordinator), "an answer may not tell of what may be lost");
    drop(held);
    let found = (0..1000).find_map(|_| {
        node.pause(10);
        node.committed("a").ok()
    });
    assert_eq!(found, Some(2));
    let page = node.metrics();
    let value = |name: &str| {
        let line = page.lines().find_map(|it| it.strip_prefix(name)).unwrap_or_else(|| panic!("{name}"));
        line.trim().parse::<f64>().unwrap()
    };
    assert!(value("kafka_server_group_coordinator_metrics_event_purgatory_time_ms_max ") >= 200.0);
    assert!(value("kafka_log_logflushstats_logflushrateandtimems_count ") >= 2.0);
}
