//! Where a client should go that has come to the wrong broker (KIP-951): the leader, and how to reach it.

use ottla_base::{LeaderEpoch, NodeId, Uuid};

use crate::broker::{Broker, Endpoint};
use crate::call::Call;

/// Who leads a partition as far as this broker knows, and in which epoch.
pub(super) fn leader(broker: &Broker, topic: Uuid, index: i32) -> Option<(NodeId, LeaderEpoch)> {
    let image = broker.image.load();
    let partition = image.topics.partition(topic, index.into())?;
    Some((partition.leader, partition.leader_epoch))
}

/// Where these brokers are, each once, for who came in at the listener of `call`.
pub(super) fn endpoints(broker: &Broker, call: &Call, leaders: impl Iterator<Item = i32>) -> Vec<Endpoint> {
    let mut leaders: Vec<i32> = leaders.filter(|it| *it >= 0).collect();
    leaders.sort_unstable();
    leaders.dedup();
    leaders.into_iter().filter_map(|it| broker.endpoint(it.into(), &call.listener.name)).collect()
}
