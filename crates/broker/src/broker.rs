//! What every handler may touch: the state of one broker process.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use ottla_base::{ErrorCode, NodeId, Offset, Str, Uuid};
use ottla_host::Host;
use ottla_metadata::controller::{Reply, Request};
use ottla_metadata::{Delta, Image};
use ottla_storage::{FlushObserver, LogSet};
use ottla_wire::messages::allocate_producer_ids_request::AllocateProducerIdsRequest;
use tokio::sync::watch;

use crate::auto_create::UnderWay;
use crate::cleaner::Cleaners;
use crate::config::BrokerSettings;
use crate::fetch_session::SessionCache;
use crate::loggers::Loggers;
use crate::metrics::Metrics;
use crate::moves::Moves;
use crate::partition::Partition;
use crate::partitions::Partitions;
use crate::placements::Placements;
use crate::producer_ids::ProducerIds;
use crate::quorum::ControllerHandle;
use crate::server::admissions::Admissions;
use crate::shard::Coordinators;
use crate::share::ShareGroups;
use crate::streams_topics::StreamsTopics;
use crate::tier::Tier;

/// One broker. Handlers get it with the request and keep it in the futures they return.
pub struct Broker {
    /// The computer.
    pub host: Host,
    /// `node.id`
    pub node_id: NodeId,
    /// The cluster's id, as `meta.properties` has it.
    pub cluster_id: Str,
    /// The cluster as far as this broker has applied the metadata log.
    pub image: ArcSwap<Image>,
    /// The offset of the last record in `image`.
    image_offset: watch::Sender<Offset>,
    /// The settings of all layers, dynamic ones included.
    pub settings: ArcSwap<BrokerSettings>,
    /// The partitions this broker has.
    pub partitions: Partitions,
    /// The logs behind them.
    pub logs: Arc<LogSet>,
    /// The sessions of incremental fetches.
    pub sessions: SessionCache,
    /// The controller.
    pub controller: ControllerHandle,
    /// What is logged.
    pub loggers: Loggers,
    /// Ids for idempotent producers.
    pub(crate) producer_ids: ProducerIds,
    /// Where replicas are, and who must know.
    pub(crate) placements: Placements,
    /// Which connections are let in, once any are.
    pub(crate) admissions: OnceLock<Admissions>,
    /// Replicas on their way to another log directory.
    pub(crate) moves: Moves,
    /// Topics that were asked for and are being made.
    pub(crate) auto_created: UnderWay,
    /// Internal topics of streams groups that are being made.
    pub(crate) streams_topics: StreamsTopics,
    /// What is counted.
    pub metrics: Metrics,
    /// Who cleans compacted logs.
    pub(crate) cleaners: Cleaners,
    /// The coordinators of groups and transactions.
    pub(crate) coordinators: Coordinators,
    /// What share groups have in flight.
    pub(crate) share: ShareGroups,
    /// Tiered storage, if it is on.
    pub(crate) tier: OnceLock<Arc<Tier>>,
    /// Whether a replica could not be opened or made for lack of descriptors, memory or room.
    pub(crate) replicas_missing: AtomicBool,
}

/// A topic's id, name and number of partitions, or why it cannot be had.
pub type ResolvedTopic = Result<(Uuid, Str, i32), ErrorCode>;

/// Where a broker can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The broker.
    pub node_id: NodeId,
    /// Its name or address.
    pub host: Str,
    /// Its port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<Str>,
}

/// What is needed to make a [`Broker`].
pub struct Parts {
    /// The computer.
    pub host: Host,
    /// `node.id`
    pub node_id: NodeId,
    /// The cluster's id.
    pub cluster_id: Str,
    /// The settings it was started with.
    pub settings: BrokerSettings,
    /// The logs.
    pub logs: Arc<LogSet>,
    /// The sessions of incremental fetches.
    pub sessions: SessionCache,
    /// The controller.
    pub controller: ControllerHandle,
    /// What is logged.
    pub loggers: Loggers,
}

impl Broker {
    /// A broker that knows nothing of its cluster yet.
    pub fn new(parts: Parts) -> Broker {
        let metrics = Metrics::default();
        let flushes = metrics.log_flushes.clone();
        parts.logs.observe_flushes(&FlushObserver(Arc::new(move |took| {
            flushes.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        })));
        let replicas_missing = AtomicBool::new(parts.logs.has_closed_copies());
        Broker {
            host: parts.host,
            node_id: parts.node_id,
            cluster_id: parts.cluster_id,
            image: ArcSwap::from_pointee(Image::default()),
            image_offset: watch::Sender::new(Offset(-1)),
            settings: ArcSwap::from_pointee(parts.settings),
            partitions: Partitions::default(),
            logs: parts.logs,
            sessions: parts.sessions,
            controller: parts.controller,
            loggers: parts.loggers,
            producer_ids: ProducerIds::default(),
            placements: Placements::default(),
            admissions: OnceLock::new(),
            moves: Moves::default(),
            auto_created: UnderWay::default(),
            streams_topics: StreamsTopics::default(),
            metrics,
            cleaners: Cleaners::default(),
            coordinators: Coordinators::default(),
            share: ShareGroups::default(),
            tier: OnceLock::new(),
            replicas_missing,
        }
    }

    /// Makes the replicas that could not be opened or made for lack of descriptors, memory or room, if there are any, and
    /// opens copies on their way to another directory. Not while a newer image is published. Blocks.
    pub(crate) fn make_missing(self: &Arc<Self>) {
        let image = self.image.load_full();
        let nothing = Image::default();
        let delta = Delta::between(&nothing, &image);
        self.replicas_missing.store(false, Ordering::Relaxed);
        crate::replicas::apply(self, delta);
        if self.logs.open_closed_copies() {
            self.replicas_missing.store(true, Ordering::Relaxed);
        }
        self.moves.begun();
        self.coordinators.follow(self, delta, &image, self.image_offset());
        if let Some(tier) = self.tier.get() {
            tier.wake();
        }
    }

    /// The offset of the last metadata record that this broker has applied.
    pub fn image_offset(&self) -> Offset {
        *self.image_offset.borrow()
    }

    /// Takes a newer image: replicas are made, moved and deleted first, then handlers see it.
    pub fn publish(self: &Arc<Self>, image: &Arc<Image>, last_offset: Offset) {
        let old = self.image.load_full();
        let delta = Delta::between(&old, image);
        crate::settings_change::apply(self, delta);
        crate::replicas::apply(self, delta);
        self.image.store(image.clone());
        self.coordinators.follow(self, delta, image, last_offset);
        self.share.follow();
        if let Some(tier) = self.tier.get() {
            tier.wake();
        }
        self.image_offset.send_replace(last_offset);
    }

    /// The finalized level of `kraft.version`, which the quorum keeps.
    pub fn kraft_version(&self) -> i16 {
        self.controller.published().kraft_version.level()
    }

    /// The ids of the log directories that can be used.
    pub fn online_directories(&self) -> Vec<Uuid> {
        self.logs.directories().into_iter().filter(|it| it.failure.is_none()).map(|it| it.id).collect()
    }

    /// The ids of the log directories that failed, where they could be read.
    pub fn offline_directories(&self) -> Vec<Uuid> {
        let failed = self.logs.directories().into_iter().filter(|it| it.failure.is_some());
        failed.map(|it| it.id).filter(|id| !id.is_zero()).collect()
    }

    /// The ids of the log directories that take no new partitions (KIP-1066).
    pub fn cordoned_directories(&self) -> Vec<Uuid> {
        let settings = self.settings.load();
        let cordoned = settings.server.cordoned_directories();
        if cordoned.is_empty() {
            return Vec::new();
        }
        let is_cordoned = |path: &str| cordoned.iter().any(|it| *it == path || *it == "*");
        let directories = self.logs.directories().into_iter();
        directories.filter(|it| it.path.to_str().is_some_and(is_cordoned)).map(|it| it.id).collect()
    }

    /// Waits, but not long, until this broker has applied what the controller has committed: who has changed something
    /// through this broker shall see it here.
    pub async fn catch_up(&self) {
        const LONGEST: Duration = Duration::from_millis(500);
        let committed = self.controller.committed();
        let mut applied = self.image_offset.subscribe();
        let caught_up = applied.wait_for(|offset| *offset >= committed);
        if self.host.timeout(LONGEST, caught_up).await.is_err() {
            tracing::debug!(%committed, applied = %self.image_offset(), "this broker lags behind the controller");
        }
    }

    /// Waits, but not longer than `limit`, until something is so in the image of this broker. Says whether it is.
    pub(crate) async fn wait_for_image(&self, limit: Duration, is_so: impl Fn() -> bool) -> bool {
        let mut applied = self.image_offset.subscribe();
        let waited = self.host.timeout(limit, applied.wait_for(|_| is_so())).await;
        waited.is_ok_and(|it| it.is_ok())
    }

    /// A block of producer ids that no other broker has.
    pub async fn allocate_producer_ids(&self) -> Result<Range<i64>, ErrorCode> {
        let broker_epoch = self.image.load().cluster.broker(self.node_id).map_or(-1, |it| it.epoch.get());
        let request =
            AllocateProducerIdsRequest { broker_id: self.node_id.get(), broker_epoch, ..Default::default() };
        match self.controller.submit(Request::AllocateProducerIds(request)).await? {
            Reply::AllocateProducerIds(reply) if reply.error_code == 0 => {
                let first = reply.producer_id_start;
                Ok(first..first + i64::from(reply.producer_id_len))
            }
            Reply::AllocateProducerIds(reply) => Err(ErrorCode::from_code(reply.error_code)),
            _ => Err(ErrorCode::UnknownServerError),
        }
    }

    /// A topic's id, name and number of partitions, by id or by name.
    pub fn resolve_topic(&self, by_id: bool, name: &Str, id: Uuid) -> ResolvedTopic {
        let image = self.image.load();
        let (topic, missing) = match by_id {
            true => (image.topics.get(id), ErrorCode::UnknownTopicId),
            false => (image.topics.named(name), ErrorCode::UnknownTopicOrPartition),
        };
        topic.map(|it| (it.id, it.name.clone(), it.partition_count)).ok_or(missing)
    }

    /// A partition of this broker by its topic's name.
    pub fn find_partition(&self, topic: &str, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        let image = self.image.load();
        let topic = image.topics.named(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if !(0..topic.partition_count).contains(&index) {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        self.partitions.get_hosted(topic.id, index)
    }

    /// Where a broker can be reached by who came in at a listener of that name.
    pub fn endpoint(&self, node_id: NodeId, listener: &str) -> Option<Endpoint> {
        let image = self.image.load();
        let broker = image.cluster.broker(node_id)?;
        let listener = broker.listener(listener)?;
        Some(Endpoint {
            node_id,
            host: listener.host.clone(),
            port: i32::from(listener.port),
            rack: broker.rack.clone(),
        })
    }
}
