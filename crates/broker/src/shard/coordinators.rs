//! Every kind of coordinator that this broker has, and the world they all see.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ottla_base::Offset;
use ottla_coordinator::World;
use ottla_metadata::{Delta, Image};

use super::{Groups, Shards, ShareStates, Transactions};
use crate::broker::Broker;

/// The coordinators of one broker.
#[derive(Default)]
pub(crate) struct Coordinators {
    world: ArcSwapOption<World>,
    /// Groups and committed offsets.
    pub(crate) groups: Shards<Groups>,
    /// The state of share groups.
    pub(crate) share_states: Shards<ShareStates>,
    /// Transactional ids.
    pub(crate) transactions: Shards<Transactions>,
}

impl Coordinators {
    /// The cluster as the coordinators see it; nothing before the first image.
    pub(crate) fn world(&self) -> Option<Arc<World>> {
        self.world.load_full()
    }

    /// Follows the metadata, after the broker has.
    pub(crate) fn follow(
        &self,
        broker: &Arc<Broker>,
        delta: Delta<'_>,
        image: &Arc<Image>,
        last_offset: Offset,
    ) {
        if self.world.load().is_some() && !is_seen(delta) {
            return;
        }
        let settings = broker.settings.load();
        let server = Arc::new(settings.server.clone());
        let defaults = Arc::new(settings.group_defaults.clone());
        let world = World::new(image.clone(), server, defaults);
        let world = Arc::new(world.at_version(last_offset.get()));
        self.world.store(Some(world.clone()));
        self.groups.follow(broker, image, &world);
        self.share_states.follow(broker, image, &world);
        self.transactions.follow(broker, image, &world);
    }

    /// Looks after deadlines, for as long as the broker runs.
    pub(crate) async fn run(broker: Arc<Broker>) {
        let all = &broker.coordinators;
        tokio::join!(
            all.groups.run(broker.clone()),
            all.share_states.run(broker.clone()),
            all.transactions.run(broker.clone())
        );
    }

    /// Ends the window of what is measured.
    pub(crate) fn rotate_metrics(&self) {
        for times in [self.groups.times(), self.share_states.times(), self.transactions.times()] {
            times.rotate();
        }
    }

    /// Gives every seat up: whoever waits is told to look elsewhere.
    pub(crate) fn leave(&self, broker: &Arc<Broker>) {
        self.groups.leave_all(broker);
        self.share_states.leave_all(broker);
        self.transactions.leave_all(broker);
    }
}

/// Whether coordinators see a change at all: most records of the metadata log only say that time goes on.
fn is_seen(delta: Delta<'_>) -> bool {
    delta.topics().next().is_some()
        || delta.partitions().next().is_some()
        || delta.configs().next().is_some()
        || delta.brokers().next().is_some()
        || delta.features_changed()
}
