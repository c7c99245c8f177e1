//! A server from its first to its last moment: directories, logs, quorum, registration, listeners; and back.
//!
//! Nothing listens for clients before the broker has read the metadata up to its own registration and was let in, so
//! that no client meets a broker that does not know its topics.

pub(crate) mod admissions;
mod directories;
pub(crate) mod listeners;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ottla_base::{BrokerEpoch, Moment, Str, Uuid};
use ottla_host::Host;
use ottla_host::net::SocketOptions;
use ottla_net::Server;
use ottla_storage::{StorageError, TopicPartition};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::broker::{Broker, Parts};
use crate::call::Serves;
use crate::cleaner;
use crate::config::BrokerSettings;
use crate::fetch_session::{SessionCache, SessionLimits};
use crate::lifecycle::{self, AdvertisedListener, LifecycleError, Registration};
use crate::loggers::Loggers;
use crate::metrics;
use crate::moves;
use crate::placements;
use crate::quorum::{self, Published, QuorumError};
use crate::readiness::{self, Finding};
use crate::replicas;
use crate::shard::Coordinators;
use crate::share::ShareGroups;
use crate::tier::{self, Tier};
use directories::{LockedDirectories, OpenLogs};

/// How long an unused fetch session is safe from eviction (`FetchSession.INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
const SESSION_EVICTION: Duration = Duration::from_secs(120);
/// How long requests that were taken may take to be answered when the server stops.
const STOP_GRACE: Duration = Duration::from_millis(100);
/// How long a stopping broker waits for the controller to move its partitions.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// How long a broker waits before it tries again to make replicas for which descriptors, memory or room were lacking.
const MAKE_AGAIN: Duration = Duration::from_secs(2);
/// How long one window of the metrics' histograms is.
const METRICS_WINDOW: Duration = Duration::from_secs(150);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting asks for what is not there, or a directory cannot be used.
    #[error("{0}")]
    Settings(String),
    /// A log cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The metadata quorum cannot be joined.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// The cluster will not have this broker.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// It took longer than `server.max.startup.time.ms`.
    #[error("the server has not started within {0:?} (server.max.startup.time.ms)")]
    TooSlow(Duration),
    /// A listener cannot listen.
    #[error("cannot listen on {address} ({key}): {source}")]
    Listen {
        /// The address.
        address: String,
        /// The setting that names it.
        key: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl From<Finding> for StartError {
    fn from(refusal: Finding) -> StartError {
        StartError::Settings(refusal.to_string())
    }
}

/// A running server.
pub struct RunningServer {
    broker: Arc<Broker>,
    quorum: quorum::Running,
    /// Why the quorum's task has ended, once that is known.
    quorum_ended: Option<String>,
    epoch: BrokerEpoch,
    directories: LockedDirectories,
    previous_epoch: BrokerEpoch,
    found: Vec<(TopicPartition, Option<Uuid>)>,
    servers: Vec<Server>,
    tasks: Vec<JoinHandle<()>>,
    /// Where the metrics are, if anywhere.
    metrics: Vec<std::net::SocketAddr>,
}

/// Starts a server with these settings; returns once clients are served.
pub async fn start(
    host: &Host,
    settings: BrokerSettings,
    loggers: Loggers,
) -> Result<RunningServer, StartError> {
    let began = host.now();
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    if let Some(refusal) = readiness::settings::of_server(&settings).into_iter().next() {
        return Err(refusal.into());
    }
    match ottla_host::process::raise_descriptor_limit() {
        Ok(limit) => tracing::debug!(limit, "open descriptors"),
        Err(error) => tracing::warn!(%error, "the limit of open descriptors cannot be raised"),
    }
    let directories = directories::lock(host, &settings)?;
    let quorum = quorum::start(directories.quorum(host, &settings)).await?;
    tier::settings::check_topics(&settings, &quorum.handle.published().image)
        .map_err(StartError::Settings)?;
    let logs = directories.open_logs(host, &settings, quorum.handle.published().image).await?;
    tracing::info!(took = ?host.now().since(began), "logs and metadata are loaded");
    let mut starting = Starting::new(host, settings, loggers, quorum, directories, logs);
    let limit = starting.running.broker.settings.load().server.quorum.server_max_startup_time_ms;
    let limit = Duration::from_millis(u64::try_from(limit).unwrap_or(0));
    let deadline = Moment(began.0.saturating_add(limit));
    let joined = host.timeout_at(deadline, starting.join(began)).await;
    match joined.unwrap_or(Err(StartError::TooSlow(limit))) {
        Ok(()) => Ok(starting.running()),
        Err(error) => {
            starting.running().stop().await;
            Err(error)
        }
    }
}

/// A server on its way to run.
struct Starting {
    running: RunningServer,
}

impl Starting {
    fn new(
        host: &Host,
        settings: BrokerSettings,
        loggers: Loggers,
        quorum: quorum::Running,
        directories: LockedDirectories,
        logs: OpenLogs,
    ) -> Starting {
        let slots = settings.server.network.max_incremental_fetch_session_cache_slots;
        let limits =
            SessionLimits { slots: usize::try_from(slots).unwrap_or(0), eviction_after: SESSION_EVICTION };
        let broker = Arc::new(Broker::new(Parts {
            host: host.clone(),
            node_id: settings.node_id(),
            cluster_id: directories.cluster_id.clone(),
            settings,
            logs: logs.logs.clone(),
            sessions: SessionCache::new(limits),
            controller: quorum.handle.clone(),
            loggers,
        }));
        let running = RunningServer {
            broker,
            quorum,
            quorum_ended: None,
            epoch: BrokerEpoch(-1),
            directories,
            previous_epoch: logs.previous_epoch,
            found: logs.found,
            servers: Vec::new(),
            tasks: Vec::new(),
            metrics: Vec::new(),
        };
        Starting { running }
    }

    fn running(self) -> RunningServer {
        self.running
    }

    /// Registers, follows the metadata, is let in, and listens.
    async fn join(&mut self, began: Moment) -> Result<(), StartError> {
        let running = &mut self.running;
        let broker = running.broker.clone();
        let settings = broker.settings.load_full();
        let bound = listeners::bind(&broker, &settings).await?;
        let limit = settings.server.quorum.initial_broker_registration_timeout_ms;
        let limit = Duration::from_millis(u64::try_from(limit).unwrap_or(60_000));
        let registration = Registration {
            incarnation: broker.host.random_uuid(),
            listeners: bound.advertised(&settings, Serves::Broker),
            rack: settings.server.general.broker_rack.as_deref().map(Str::from),
            directories: broker.online_directories(),
            previous_epoch: running.previous_epoch,
        };
        running.tasks.push(broker.host.spawn(follow_metadata(broker.clone())));
        running.epoch = lifecycle::register(&broker, &registration, limit).await?;
        lifecycle::unfence(&broker, running.epoch, limit).await?;
        running.keep_strays_aside();
        running.tasks.push(broker.host.spawn(lifecycle::keep_alive(broker.clone(), running.epoch)));
        let controller = bound.advertised(&settings, Serves::Controller);
        let registering =
            lifecycle::register_controller(broker.clone(), registration.incarnation, controller);
        running.tasks.push(broker.host.spawn(registering));
        let amending = lifecycle::register_directories(broker.clone(), registration);
        running.tasks.push(broker.host.spawn(amending));
        running.tier_logs(&settings).await?;
        running.tasks.push(broker.host.spawn(placements::tell(broker.clone())));
        running.tasks.push(broker.host.spawn(moves::carry_out(broker.clone())));
        running.tasks.push(broker.host.spawn(broker.logs.clone().run()));
        running.tasks.push(broker.host.spawn(cleaner::run(broker.clone())));
        running.tasks.push(broker.host.spawn(rotate_metrics(broker.clone())));
        running.tasks.push(broker.host.spawn(Coordinators::run(broker.clone())));
        running.tasks.push(broker.host.spawn(ShareGroups::run(broker.clone())));
        running.serve_metrics(&settings).await?;
        running.servers = bound.serve(&broker, &settings)?;
        tracing::info!(
            node = %broker.node_id,
            epoch = %running.epoch,
            topics = broker.image.load().topics.len(),
            took = ?broker.host.now().since(began),
            "started"
        );
        Ok(())
    }
}

/// Applies every image that the quorum publishes, for as long as it does.
async fn follow_metadata(broker: Arc<Broker>) {
    let mut published = broker.controller.subscribe();
    let mut make_again = broker.host.now();
    loop {
        let next = published.borrow_and_update().clone();
        let following = broker.clone();
        // Replicas are made and deleted on the way: that waits for the disk.
        broker.host.blocking(move || following.publish(&next.image, next.last_offset)).await;
        if !next_image(&broker, &mut published, &mut make_again).await {
            return;
        }
    }
}

/// Waits for the next image. Tries to make the replicas that are missing when it is time for that, however often images
/// come. Says whether there is a next one.
async fn next_image(
    broker: &Arc<Broker>,
    published: &mut watch::Receiver<Published>,
    make_again: &mut Moment,
) -> bool {
    while broker.replicas_missing.load(Ordering::Relaxed) {
        let left = make_again.since(broker.host.now());
        if !left.is_zero()
            && let Ok(changed) = broker.host.timeout(left, published.changed()).await
        {
            return changed.is_ok();
        }
        let missing = broker.clone();
        broker.host.blocking(move || missing.make_missing()).await;
        *make_again = broker.host.now() + MAKE_AGAIN;
    }
    published.changed().await.is_ok()
}

/// Ends when the directory of the metadata, or every log directory, has failed.
async fn directories_lost(broker: &Broker) -> String {
    let failures = ottla_storage::Listener::new();
    loop {
        failures.reset();
        broker.logs.listen_for_failures(&failures);
        let metadata = broker.settings.load().metadata_directory().to_owned();
        let directories = broker.logs.directories();
        let failed = || directories.iter().filter_map(|it| it.failure.as_ref().map(|reason| (it, reason)));
        if let Some((_, reason)) = failed().find(|(it, _)| it.path == metadata) {
            return format!("the directory of the metadata has failed: {reason}");
        }
        if let (Some((_, reason)), true) = (failed().next(), failed().count() == directories.len()) {
            return format!("every log directory has failed: {reason}");
        }
        failures.wait().await;
    }
}

async fn rotate_metrics(broker: Arc<Broker>) {
    loop {
        broker.host.sleep(METRICS_WINDOW).await;
        broker.metrics.requests.rotate();
        broker.metrics.transactions.verification_time_us.rotate();
        broker.metrics.shares.rotate();
        broker.metrics.log_flushes.rotate();
        broker.coordinators.rotate_metrics();
    }
}

impl RunningServer {
    /// The broker.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Where it listens, by the names of its listeners.
    pub fn advertised(&self) -> Vec<AdvertisedListener> {
        let image = self.broker.image.load();
        let own = image.cluster.broker(self.broker.node_id);
        let listeners = own.into_iter().flat_map(|it| &it.listeners).map(|it| AdvertisedListener {
            name: it.name.clone(),
            host: it.host.clone(),
            port: it.port,
            security_protocol: it.security_protocol,
        });
        listeners.collect()
    }

    /// Where the metrics are.
    pub fn metrics(&self) -> &[std::net::SocketAddr] {
        &self.metrics
    }

    /// The id of the cluster.
    pub fn cluster_id(&self) -> &Str {
        &self.broker.cluster_id
    }

    /// Ends when the server cannot go on, and says why: the quorum has lost its disk, or no log directory is left.
    pub async fn failed(&mut self) -> String {
        if let Some(reason) = &self.quorum_ended {
            return reason.clone();
        }
        let broker = self.broker.clone();
        let ended = tokio::select! {
            biased;
            ended = &mut self.quorum.task => ended,
            reason = directories_lost(&broker) => return reason,
        };
        let reason = match ended {
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(())) => "the quorum's task ended".to_owned(),
            Err(error) => error.to_string(),
        };
        self.quorum_ended.insert(reason).clone()
    }

    /// Renames the directories of partitions that the cluster does not know, and says so. Nothing is deleted.
    fn keep_strays_aside(&self) {
        let image = self.broker.image.load();
        let found = self.found.iter().cloned();
        for partition in replicas::strays(&image, self.broker.node_id, found) {
            match self.broker.logs.set_aside(&partition) {
                Ok(_) => {}
                Err(error) => tracing::error!(%partition, %error, "a stray partition cannot be renamed"),
            }
        }
    }

    /// Opens tiered storage, if it is on, and begins to work for it.
    async fn tier_logs(&mut self, settings: &Arc<BrokerSettings>) -> Result<(), StartError> {
        let (host, settings) = (self.broker.host.clone(), settings.clone());
        let opened = self.broker.host.blocking(move || Tier::open(&host, &settings)).await;
        let Some(tier) = opened.map_err(StartError::Settings)? else { return Ok(()) };
        if self.broker.tier.set(tier.clone()).is_ok() {
            self.tasks.push(self.broker.host.spawn(tier.run(self.broker.clone())));
        }
        Ok(())
    }

    async fn serve_metrics(&mut self, settings: &BrokerSettings) -> Result<(), StartError> {
        for address in settings.server.ottla.ottla_metrics_listener.iter().flatten() {
            for listener in
                listeners::bind_address(address, "ottla.metrics.listener", SocketOptions::default()).await?
            {
                let local = listener.local_address().map_err(|source| StartError::Listen {
                    address: address.clone(),
                    key: "ottla.metrics.listener",
                    source,
                })?;
                self.metrics.push(local);
                let serve = metrics::http::serve(self.broker.clone(), listener);
                self.tasks.push(self.broker.host.spawn(serve));
            }
        }
        Ok(())
    }

    /// Stops: clients are answered and let go, the controller is told, logs are closed cleanly.
    pub async fn stop(self) {
        let RunningServer { broker, quorum, quorum_ended, epoch, directories, servers, tasks, .. } = self;
        let began = broker.host.now();
        if epoch.get() >= 0 && broker.settings.load().server.replication.controlled_shutdown_enable {
            lifecycle::leave(&broker, epoch, LEAVE_LIMIT).await;
        }
        // Whoever waits for a group to form is told to look elsewhere, so that nobody is waited for.
        broker.coordinators.leave(&broker);
        let stopping: Vec<_> = servers
            .into_iter()
            .map(|server| {
                let host = broker.host.clone();
                broker.host.spawn(async move { server.stop(&host, STOP_GRACE).await })
            })
            .collect();
        for server in stopping {
            // A panic there is a bug and has been reported where it happened.
            let _ = server.await;
        }
        broker.cleaners.stop().await;
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            let _ = task.await;
        }
        broker.logs.stop(epoch).await;
        if quorum_ended.is_none() {
            quorum.handle.shutdown().await;
            if let Ok(Err(error)) = quorum.task.await {
                tracing::error!(%error, "the metadata quorum ended badly");
            }
        }
        drop(directories);
        tracing::info!(took = ?broker.host.now().since(began), "stopped");
    }
}
