//! What the APIs of streams groups have in common: whether there are streams groups at all.

use ottla_coordinator::group::Kind;
use ottla_metadata::Feature;

use crate::broker::Broker;

/// The level of `streams.version` from which on there are streams groups (KIP-1071).
const FIRST_LEVEL: i16 = 1;

/// Whether streams groups are served: `group.coordinator.rebalance.protocols` names them, and the cluster has
/// `streams.version` 1.
pub(super) fn are_served(broker: &Broker) -> bool {
    let settings = broker.settings.load();
    let protocols = &settings.server.groups.group_coordinator_rebalance_protocols;
    let is_named = protocols.iter().any(|name| Kind::named(name) == Some(Kind::Streams));
    is_named && broker.image.load().features.level(Feature::Streams) >= FIRST_LEVEL
}
