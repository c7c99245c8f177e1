//! What the APIs of share groups have in common.

use ottla_metadata::Feature;

use crate::broker::Broker;

/// Whether the cluster has share groups at all (`share.version`); if not, their APIs answer `UNSUPPORTED_VERSION`.
pub(super) fn are_enabled(broker: &Broker) -> bool {
    broker.image.load().features.level(Feature::Share) > 0
}
