//! A cluster as a client sees it: connections to its brokers, and what they told of topics and leaders.
//!
//! | file | holds |
//! |---|---|
//! | `deadline` | when a call must have ended, and pauses between its attempts |
//! | `connection` | a connection whose server's versions are known, and the place where it is kept |
//! | `metadata` | what is known of brokers, topics and leaders |
//! | `leaders` | one question about many partitions, put to the leader of each |

mod connection;
mod deadline;
mod leaders;
mod metadata;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ottla_base::settings::address;
use ottla_base::{ErrorCode, LeaderEpoch, Moment, NodeId, Str};
use ottla_host::Host;
use ottla_host::net::SocketOptions;
use ottla_net::client::ConnectOptions;
use ottla_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ottla_wire::messages::metadata_response::MetadataResponse;
use ottla_wire::{Message, RequestMessage};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

pub use self::deadline::Deadline;
pub use self::metadata::{Broker, Metadata, PartitionMetadata, TopicMetadata, TopicPartition};

pub(crate) use self::connection::{NodeConnection, Slot};
pub(crate) use self::deadline::Backoff;
pub(crate) use self::leaders::{AskedPartition, LeaderAnswers, LeaderQuestion, ToldPartition, by_topic};

use self::connection::{Address, ConnectRules, Identity};
use crate::error::{Error, refused};
use crate::options::ClusterOptions;

/// A cluster. Cheap to clone; clones share connections and metadata.
#[derive(Debug, Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: Host,
    options: ClusterOptions,
    rules: ConnectRules,
    bootstrap: Vec<Arc<Slot>>,
    slots: Mutex<BTreeMap<NodeId, Arc<Slot>>>,
    metadata: RwLock<Arc<Metadata>>,
    wanted: Mutex<BTreeMap<Str, Wanted>>,
    /// Held by who asks for metadata, so that one does.
    refreshing: tokio::sync::Mutex<()>,
    refresh_is_coming: AtomicBool,
    changes: watch::Sender<u64>,
}

/// A topic that somebody uses.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    used: Moment,
    may_create: bool,
}

/// Whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Any broker.
    Any,
    /// The broker that takes requests for the controller.
    Controller,
    /// One broker.
    Node(NodeId),
}

/// From the first version of `Metadata` that can be asked not to create topics.
const METADATA_VERSIONS: RangeInclusive<i16> = 4..=MetadataRequest::LAST_VERSION;

impl Cluster {
    /// A cluster that is not talked to yet.
    pub fn new(host: &Host, options: ClusterOptions) -> Result<Cluster, Error> {
        let rules = connect_rules(&options);
        let bootstrap: Vec<_> = options
            .bootstrap_servers
            .iter()
            .map(|text| parse_address(text).map(|it| Arc::new(Slot::new(it, &rules))))
            .collect::<Result<_, _>>()?;
        if bootstrap.is_empty() {
            return Err(Error::invalid("No resolvable bootstrap urls given in bootstrap.servers"));
        }
        let inner = Inner {
            host: host.clone(),
            options,
            rules,
            bootstrap,
            slots: Mutex::default(),
            metadata: RwLock::default(),
            wanted: Mutex::default(),
            refreshing: tokio::sync::Mutex::default(),
            refresh_is_coming: AtomicBool::new(false),
            changes: watch::Sender::new(0),
        };
        Ok(Cluster { inner: Arc::new(inner) })
    }

    /// A cluster that has answered. Fails at once if none of `bootstrap.servers` can be talked to.
    pub async fn connect(host: &Host, options: ClusterOptions) -> Result<Cluster, Error> {
        let cluster = Cluster::new(host, options)?;
        let deadline = cluster.deadline("connecting");
        cluster.within(deadline, cluster.refresh_once(0)).await?;
        Ok(cluster)
    }

    /// The computer this client runs on.
    pub fn host(&self) -> &Host {
        &self.inner.host
    }

    /// The options it was made with.
    pub fn options(&self) -> &ClusterOptions {
        &self.inner.options
    }

    /// When a call that begins now must have ended (`default.api.timeout.ms`).
    pub fn deadline(&self, what: &'static str) -> Deadline {
        Deadline::after(self.host(), what, millis(self.inner.options.default_api_timeout_ms.into()))
    }

    /// What is known now, without asking.
    pub fn metadata(&self) -> Arc<Metadata> {
        self.inner.metadata.read().clone()
    }

    /// A topic, asked for unless it is known, and again until it exists or the deadline passes; if it may not be
    /// created, it is soon given up.
    pub async fn topic(
        &self,
        name: &str,
        may_create: bool,
        deadline: Deadline,
    ) -> Result<Arc<TopicMetadata>, Error> {
        self.want(name, may_create);
        let mut backoff = self.retry_backoff();
        let mut last: Option<Error> = None;
        loop {
            let known = self.metadata();
            if let Some(topic) = known.topic(name).filter(|_| !self.is_outdated(&known)) {
                return Ok(topic.clone());
            }
            let told = match self.host().timeout_at(deadline.at(), self.refresh_once(known.version)).await {
                Ok(told) => told,
                Err(_) => return Err(deadline.passed(last)),
            };
            match told.map(|it| it.topics.get(name).cloned()) {
                Ok(Some(topic)) if topic.error == ErrorCode::None => return Ok(topic),
                Ok(Some(topic)) => last = Some(topic.error.into()),
                Ok(None) => last = Some(ErrorCode::UnknownTopicOrPartition.into()),
                Err(error) => last = Some(error),
            }
            let again = |it: &Error| {
                if may_create { it.is_retriable() } else { leaders::passes(it, backoff.attempts()) }
            };
            if let Some(error) = last.take_if(|it| !again(it)) {
                return Err(error);
            }
            self.pause(&mut backoff, deadline, &mut last).await?;
        }
    }

    /// Asks for the metadata of all topics that are in use, now.
    pub async fn refresh(&self, deadline: Deadline) -> Result<Arc<Metadata>, Error> {
        let mut backoff = self.retry_backoff();
        let mut last = None;
        loop {
            let seen = self.metadata().version;
            match self.host().timeout_at(deadline.at(), self.refresh_once(seen)).await {
                Ok(Ok(metadata)) => return Ok(metadata),
                Ok(Err(error)) if error.is_retriable() => last = Some(error),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(deadline.passed(last)),
            }
            self.pause(&mut backoff, deadline, &mut last).await?;
        }
    }

    /// Sends a request and gives its answer; again while no broker can be talked to, until the deadline.
    pub async fn call<Q: RequestMessage>(
        &self,
        target: Target,
        deadline: Deadline,
        request: &Q,
    ) -> Result<Q::Response, Error> {
        self.call_in(target, deadline, Q::FIRST_VERSION..=Q::LAST_VERSION, |_| request.clone()).await
    }

    /// The same, for a request that depends on the version it is sent in.
    pub(crate) async fn call_in<Q: RequestMessage>(
        &self,
        target: Target,
        deadline: Deadline,
        versions: RangeInclusive<i16>,
        request: impl Fn(i16) -> Q,
    ) -> Result<Q::Response, Error> {
        let mut backoff = self.retry_backoff();
        let mut last = None;
        loop {
            let attempt = async {
                let node = self.node(target, deadline).await?;
                let version = node.version::<Q>(&versions)?;
                node.call(version, &request(version)).await
            };
            match self.host().timeout_at(deadline.at(), attempt).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if error.is_retriable() => last = Some(error),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(deadline.passed(last)),
            }
            if target != Target::Any {
                self.refresh_soon();
            }
            self.pause(&mut backoff, deadline, &mut last).await?;
        }
    }

    /// A connection to the target.
    pub(crate) async fn node(&self, target: Target, deadline: Deadline) -> Result<NodeConnection, Error> {
        let id = match target {
            Target::Any => return self.any_node().await,
            Target::Controller => match self.metadata().controller {
                Some(controller) => controller,
                None => {
                    let metadata = self.refresh(deadline).await?;
                    metadata.controller.ok_or(Error::from(ErrorCode::NotController))?
                }
            },
            Target::Node(id) => id,
        };
        if !self.metadata().brokers.contains_key(&id) {
            self.refresh(deadline).await?;
        }
        let slot = self.slot(id).ok_or_else(|| {
            Error::Unreachable(format!("the cluster has no broker {id}, or it is not running").into())
        })?;
        self.connect_to(&slot, Some(id)).await
    }

    /// A connection to a broker that nobody shares: what waits there, for other members of a group say, holds up no
    /// data. `place` is where it is kept.
    pub(crate) async fn own_connection(
        &self,
        id: NodeId,
        place: &Mutex<Option<(NodeId, Arc<Slot>)>>,
        deadline: Deadline,
    ) -> Result<NodeConnection, Error> {
        if !self.metadata().brokers.contains_key(&id) {
            Box::pin(self.refresh(deadline)).await?;
        }
        let metadata = self.metadata();
        let Some(broker) = metadata.brokers.get(&id) else {
            return Err(Error::Unreachable(
                format!("the cluster has no broker {id}, or it is not running").into(),
            ));
        };
        let address = address_of(broker);
        let slot = {
            let mut place = place.lock();
            match &*place {
                Some((known, slot)) if *known == id && slot.address == address => slot.clone(),
                _ => {
                    let slot = Arc::new(Slot::new(address, &self.inner.rules));
                    *place = Some((id, slot.clone()));
                    slot
                }
            }
        };
        if let Some(open) = slot.open() {
            return Ok(open);
        }
        self.within(deadline, self.connect_to(&slot, Some(id))).await
    }

    /// A connection to a broker if there is one; otherwise one is being made, and [`Cluster::changes`] tells.
    pub(crate) fn node_or_connect(&self, id: NodeId) -> Option<NodeConnection> {
        let Some(slot) = self.slot(id) else {
            self.refresh_soon();
            return None;
        };
        if let Some(open) = slot.open() {
            return Some(open);
        }
        if !slot.is_coming.swap(true, Ordering::SeqCst) {
            let cluster = self.clone();
            self.host().spawn(async move {
                let connected = cluster.connect_to(&slot, Some(id)).await;
                slot.is_coming.store(false, Ordering::SeqCst);
                if connected.is_err() {
                    cluster.refresh_soon();
                }
                cluster.tell_change();
            });
        }
        None
    }

    /// Tells when a connection was made or failed, or metadata has come.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Asks for metadata after a pause, in the background. [`Cluster::changes`] tells when it has come.
    pub(crate) fn refresh_soon(&self) {
        if self.inner.refresh_is_coming.swap(true, Ordering::SeqCst) {
            return;
        }
        let cluster = self.clone();
        self.host().spawn(async move {
            let seen = cluster.metadata().version;
            let pause = cluster.retry_backoff().next(cluster.host());
            cluster.host().sleep(pause).await;
            if let Err(error) = cluster.refresh_once(seen).await {
                tracing::debug!(%error, "metadata could not be refreshed");
            }
            cluster.inner.refresh_is_coming.store(false, Ordering::SeqCst);
            cluster.tell_change();
        });
    }

    /// Remembers that a topic is in use.
    pub(crate) fn want(&self, name: &str, may_create: bool) {
        let used = self.host().now();
        let mut wanted = self.inner.wanted.lock();
        match wanted.get_mut(name) {
            Some(known) => {
                known.used = used;
                known.may_create |= may_create;
            }
            None => {
                wanted.insert(name.into(), Wanted { used, may_create });
            }
        }
    }

    /// Takes a leader that a broker named in passing; whether that was news.
    pub(crate) fn learn_leader(&self, of: &TopicPartition, leader: NodeId, epoch: LeaderEpoch) -> bool {
        let mut metadata = self.inner.metadata.write();
        let Some(updated) = metadata.with_leader(of, leader, epoch) else { return false };
        *metadata = Arc::new(updated);
        true
    }

    /// Whether what is known is older than `metadata.max.age.ms`.
    pub(crate) fn is_outdated(&self, metadata: &Metadata) -> bool {
        let max_age = millis(self.inner.options.metadata_max_age_ms);
        self.host().now().since(metadata.updated) > max_age
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.inner.rules.request_timeout
    }

    pub(crate) fn retry_backoff(&self) -> Backoff {
        Backoff::new(self.inner.options.retry_backoff_ms, self.inner.options.retry_backoff_max_ms)
    }

    /// Waits before another attempt, unless there is no time for one.
    pub(crate) async fn pause(
        &self,
        backoff: &mut Backoff,
        deadline: Deadline,
        last: &mut Option<Error>,
    ) -> Result<(), Error> {
        let next = self.host().now() + backoff.next(self.host());
        if next >= deadline.at() {
            self.host().sleep_until(deadline.at()).await;
            return Err(deadline.passed(last.take()));
        }
        self.host().sleep_until(next).await;
        Ok(())
    }

    /// Lets a call run no longer than its deadline.
    pub(crate) async fn within<T>(
        &self,
        deadline: Deadline,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match self.host().timeout_at(deadline.at(), call).await {
            Ok(ended) => ended,
            Err(_) => Err(deadline.passed(None)),
        }
    }

    /// Asks any broker for metadata once, unless somebody else just has.
    async fn refresh_once(&self, seen: u64) -> Result<Arc<Metadata>, Error> {
        let _one = self.inner.refreshing.lock().await;
        let known = self.metadata();
        if known.version > seen {
            return Ok(known);
        }
        self.rebootstrap_if_silent(&known);
        let node = self.any_node().await?;
        let topics = self.wanted_topics();
        let may_create = topics.iter().any(|(_, may_create)| *may_create);
        let request = MetadataRequest {
            topics: Some(
                topics
                    .into_iter()
                    .map(|(name, _)| MetadataRequestTopic { name: Some(name), ..Default::default() })
                    .collect(),
            ),
            allow_auto_topic_creation: may_create,
            ..MetadataRequest::default()
        };
        let version = node.version::<MetadataRequest>(&METADATA_VERSIONS)?;
        let answer: MetadataResponse = node.call(version, &request).await?;
        if let Err(error) = refused(answer.error_code, None) {
            if error.code() == Some(ErrorCode::RebootstrapRequired) {
                self.forget_brokers();
            }
            return Err(error);
        }
        Ok(self.take_metadata(&answer))
    }

    fn take_metadata(&self, answer: &MetadataResponse) -> Arc<Metadata> {
        let wanted = self.inner.wanted.lock().clone();
        let mut metadata = self.inner.metadata.write();
        let updated = metadata.updated(answer, self.host().now(), |name| wanted.contains_key(name.as_str()));
        let updated = Arc::new(updated);
        *metadata = updated.clone();
        drop(metadata);
        let mut slots = self.inner.slots.lock();
        slots.retain(|id, slot| updated.brokers.get(id).is_some_and(|it| slot.address == address_of(it)));
        drop(slots);
        self.tell_change();
        updated
    }

    /// The topics in use, and whether they may be created; those unused for long are forgotten.
    fn wanted_topics(&self) -> Vec<(Str, bool)> {
        let max_idle = millis(self.inner.options.metadata_max_idle_ms);
        let now = self.host().now();
        let mut wanted = self.inner.wanted.lock();
        wanted.retain(|_, it| now.since(it.used) <= max_idle);
        wanted.iter().map(|(name, it)| (name.clone(), it.may_create)).collect()
    }

    /// An open connection, or else one to whichever broker can be talked to, or else to a bootstrap server.
    async fn any_node(&self) -> Result<NodeConnection, Error> {
        let known: Vec<NodeId> = self.metadata().brokers.keys().copied().collect();
        let mut slots: Vec<_> = known.iter().filter_map(|id| Some((Some(*id), self.slot(*id)?))).collect();
        if let Some(open) = slots.iter().find_map(|(_, slot)| slot.open()) {
            return Ok(open);
        }
        if slots.is_empty() {
            slots = self.inner.bootstrap.iter().map(|slot| (None, slot.clone())).collect();
        }
        let turn = self.host().random_u64() as usize % slots.len();
        slots.rotate_left(turn);
        slots.sort_by_key(|(_, slot)| slot.retry_at());
        let mut last = None;
        for (id, slot) in slots {
            match self.connect_to(&slot, id).await {
                Ok(open) => return Ok(open),
                Err(error) => last = Some(error),
            }
        }
        if !known.is_empty() && self.rebootstraps() {
            tracing::info!("no known broker can be reached, beginning again with bootstrap.servers");
            self.forget_brokers();
        }
        Err(last.unwrap_or_else(|| Error::invalid("bootstrap.servers is empty")))
    }

    async fn connect_to(&self, slot: &Slot, node: Option<NodeId>) -> Result<NodeConnection, Error> {
        let identity = Identity { cluster_id: self.metadata().cluster_id.clone(), node };
        // On the heap, for connecting is rare and its state is large.
        let connected = Box::pin(slot.connect(self.host(), &self.inner.rules, identity)).await;
        if let Err(error) = &connected
            && error.code() == Some(ErrorCode::RebootstrapRequired)
        {
            self.forget_brokers();
        }
        self.tell_change();
        connected
    }

    fn slot(&self, id: NodeId) -> Option<Arc<Slot>> {
        let metadata = self.metadata();
        let address = address_of(metadata.brokers.get(&id)?);
        let mut slots = self.inner.slots.lock();
        let slot = slots.entry(id).or_insert_with(|| Arc::new(Slot::new(address, &self.inner.rules)));
        Some(slot.clone())
    }

    fn rebootstraps(&self) -> bool {
        self.inner.options.metadata_recovery_strategy.eq_ignore_ascii_case("rebootstrap")
    }

    /// Begins again if no broker has told anything for long (KIP-1102).
    fn rebootstrap_if_silent(&self, known: &Metadata) {
        let trigger = millis(self.inner.options.metadata_recovery_rebootstrap_trigger_ms)
            + millis(self.inner.options.metadata_max_age_ms);
        let silent = self.host().now().since(known.updated);
        if known.version > 0 && self.rebootstraps() && silent > trigger {
            self.forget_brokers();
        }
    }

    fn forget_brokers(&self) {
        let mut metadata = self.inner.metadata.write();
        let mut forgotten = Metadata::clone(&metadata);
        forgotten.brokers.clear();
        forgotten.cluster_id = None;
        forgotten.controller = None;
        *metadata = Arc::new(forgotten);
        drop(metadata);
        self.inner.slots.lock().clear();
    }

    fn tell_change(&self) {
        self.inner.changes.send_modify(|it| *it = it.wrapping_add(1));
    }
}

pub(crate) fn millis(number: i64) -> Duration {
    Duration::from_millis(number.max(0) as u64)
}

fn address_of(broker: &Broker) -> Address {
    Address { host: broker.host.clone(), port: broker.port }
}

fn parse_address(text: &str) -> Result<Address, Error> {
    let parsed = address::split(text)
        .filter(|(_, host, port)| !host.is_empty() && (1..=65_535).contains(port))
        .and_then(|(_, host, port)| Some((host, u16::try_from(port).ok()?)));
    match parsed {
        Some((host, port)) => Ok(Address { host: host.into(), port }),
        None => Err(Error::invalid(format!(
            "Invalid url in bootstrap.servers: {text} (expected host:port, such as localhost:9092)"
        ))),
    }
}

fn connect_rules(options: &ClusterOptions) -> ConnectRules {
    let buffer = |bytes: i32| u32::try_from(bytes).ok();
    let connect = ConnectOptions {
        client_id: Some(options.client_id.as_str().into()),
        socket: SocketOptions {
            send_buffer_bytes: buffer(options.send_buffer_bytes),
            receive_buffer_bytes: buffer(options.receive_buffer_bytes),
        },
        connect_timeout: millis(options.socket_connection_setup_timeout_ms),
        ..ConnectOptions::default()
    };
    ConnectRules {
        connect,
        max_connect_timeout: millis(options.socket_connection_setup_timeout_max_ms),
        request_timeout: millis(options.request_timeout_ms.into()),
        backoff: Backoff::new(options.reconnect_backoff_ms, options.reconnect_backoff_max_ms),
    }
}
