//! Which log directory holds which replica, as the controller is told (KIP-858).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ErrorCode, PartitionIndex, Uuid};
use ottla_metadata::controller::{Reply, Request};
use ottla_metadata::directory;
use ottla_wire::messages::assign_replicas_to_dirs_request::{
    AssignReplicasToDirsRequest, DirectoryData, PartitionData, TopicData,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::broker::Broker;

/// The most replicas in one request (`AssignReplicasToDirsRequest.MAX_ASSIGNMENTS_PER_REQUEST`).
const MAX_TOLD_AT_ONCE: usize = 2250;
/// How long the broker waits before it tells again what the controller did not take.
const RETRY: Duration = Duration::from_millis(500);
/// How long it waits at most for a level of the metadata that has directories before it looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// What the controller does not know yet.
#[derive(Debug, Default)]
pub(crate) struct Placements {
    untold: Mutex<BTreeMap<(Uuid, PartitionIndex), Uuid>>,
    noted: Notify,
}

impl Placements {
    /// Notes where a replica is, for the controller.
    pub(crate) fn note(&self, topic: Uuid, index: PartitionIndex, directory: Uuid) {
        self.untold.lock().insert((topic, index), directory);
        self.noted.notify_one();
    }

    fn take(&self) -> Vec<((Uuid, PartitionIndex), Uuid)> {
        let mut untold = self.untold.lock();
        let mut taken = Vec::new();
        while taken.len() < MAX_TOLD_AT_ONCE {
            let Some(next) = untold.pop_first() else { break };
            taken.push(next);
        }
        taken
    }

    /// Puts back what was not taken, unless something newer is known.
    fn put_back(&self, placements: Vec<((Uuid, PartitionIndex), Uuid)>) {
        let mut untold = self.untold.lock();
        for (replica, directory) in placements {
            untold.entry(replica).or_insert(directory);
        }
    }
}

/// The directory that the metadata names for a replica, if it names one.
pub(crate) fn named(assigned: Option<Uuid>) -> Option<Uuid> {
    assigned.filter(|it| ![directory::MIGRATING, directory::UNASSIGNED, directory::LOST].contains(it))
}

/// Whether the controller would take it: the level has directories, and it knows those of this broker.
fn can_be_told(broker: &Broker) -> bool {
    let image = broker.image.load();
    let known = image.cluster.broker(broker.node_id).is_some_and(|it| !it.directories.is_empty());
    image.features.version().has_directory_assignment() && known
}

/// Tells the controller of every placement, for as long as the broker lives.
pub(crate) async fn tell(broker: Arc<Broker>) {
    loop {
        let placements = broker.placements.take();
        if placements.is_empty() {
            broker.placements.noted.notified().await;
            continue;
        }
        if !can_be_told(&broker) {
            // Before `metadata.version` 3.7-IV2 no record has a place for it.
            broker.placements.put_back(placements);
            broker.wait_for_image(LOOK_AGAIN, || can_be_told(&broker)).await;
            continue;
        }
        match broker.controller.submit(request(&broker, &placements)).await {
            Ok(Reply::AssignReplicasToDirs(reply)) if reply.error_code == 0 => {
                tracing::debug!(replicas = placements.len(), "the controller knows where replicas are");
            }
            refused => {
                let code = match refused {
                    Ok(Reply::AssignReplicasToDirs(reply)) => ErrorCode::from_code(reply.error_code),
                    Ok(_) => ErrorCode::UnknownServerError,
                    Err(code) => code,
                };
                tracing::warn!(%code, replicas = placements.len(), "the controller was not told where replicas are");
                broker.placements.put_back(placements);
                broker.host.sleep(RETRY).await;
            }
        }
    }
}

fn request(broker: &Broker, placements: &[((Uuid, PartitionIndex), Uuid)]) -> Request {
    let mut directories: BTreeMap<Uuid, BTreeMap<Uuid, Vec<PartitionData>>> = BTreeMap::new();
    for ((topic, index), directory) in placements {
        let partition = PartitionData { partition_index: index.get(), ..Default::default() };
        directories.entry(*directory).or_default().entry(*topic).or_default().push(partition);
    }
    let topic =
        |(topic_id, partitions): (Uuid, Vec<_>)| TopicData { topic_id, partitions, ..Default::default() };
    let directory = |(id, topics): (Uuid, BTreeMap<_, _>)| DirectoryData {
        id,
        topics: topics.into_iter().map(topic).collect(),
        ..Default::default()
    };
    Request::AssignReplicasToDirs(AssignReplicasToDirsRequest {
        broker_id: broker.node_id.get(),
        broker_epoch: broker.image.load().cluster.broker(broker.node_id).map_or(-1, |it| it.epoch.get()),
        directories: directories.into_iter().map(directory).collect(),
        ..Default::default()
    })
}
