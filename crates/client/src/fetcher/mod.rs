//! Records out of assigned partitions, from any number of brokers at once.
//!
//! | file | holds |
//! |---|---|
//! | `position` | where fetching a partition goes on, and how that is found out |
//! | `session` | fetch sessions: only what changed is asked |
//! | `batches` | batches out of an answer, and their records |
//! | `answer` | what an answer means for the partitions |
//!
//! While the caller works on what it was given, the next answer is on its way: one request for each broker.

mod answer;
mod batches;
mod position;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ottla_base::{LeaderEpoch, Moment, NodeId, Offset, Uuid};
use ottla_net::client::Reply;
use ottla_wire::messages::fetch_request::FetchRequest;
use ottla_wire::{ApiKey, Message, Reader};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::batches::{ConsumedRecord, Fetched, FetchedBatch};
pub use self::position::Position;

pub(crate) use self::batches::{Scan, fetched, scan};

use self::position::{Assigned, Found, Place};
use self::session::{Asked, Session};
use crate::admin::isolation_number;
use crate::cluster::{Cluster, Metadata, NodeConnection, TopicPartition, millis};
use crate::error::Error;
use crate::options::{FetcherOptions, OffsetReset};

/// Fetches records of the partitions that it was assigned.
#[derive(Debug)]
pub struct Fetcher {
    cluster: Cluster,
    options: FetcherOptions,
    reset: OffsetReset,
    read_committed: bool,
    partitions: BTreeMap<TopicPartition, Assigned>,
    nodes: BTreeMap<NodeId, Source>,
    tasks: Vec<JoinHandle<Found>>,
    changes: watch::Receiver<u64>,
    /// What has come and was not given out.
    ready: VecDeque<Fetched>,
    /// What went wrong and was not told.
    errors: VecDeque<Error>,
}

/// A broker that is fetched from.
#[derive(Debug, Default)]
struct Source {
    session: Session,
    under_way: Option<UnderWay>,
    muted_until: Moment,
}

/// A request that is not answered.
struct UnderWay {
    reply: Reply,
    version: i16,
    server: Arc<str>,
}

impl std::fmt::Debug for UnderWay {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "UnderWay({}, version {})", self.server, self.version)
    }
}

/// The first version of `Fetch` with sessions.
const FIRST_FETCH_VERSION: i16 = 7;
/// The first version of `Fetch` that names topics by id.
const FIRST_FETCH_WITH_IDS: i16 = 13;

/// What was waited for.
enum Event {
    Answer(NodeId, Box<UnderWay>, Result<Reader, ottla_net::client::RequestError>),
    Found(Option<Found>),
    Changed,
    TimedOut,
}

impl Fetcher {
    /// A fetcher without partitions.
    pub fn new(cluster: &Cluster, options: FetcherOptions) -> Result<Fetcher, Error> {
        let Some(reset) = OffsetReset::parse(&options.auto_offset_reset) else {
            let text = &options.auto_offset_reset;
            return Err(Error::invalid(format!("Invalid value {text} for configuration auto.offset.reset")));
        };
        Ok(Fetcher {
            cluster: cluster.clone(),
            reset,
            read_committed: options.isolation_level == "read_committed",
            options,
            partitions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            tasks: Vec::new(),
            changes: cluster.changes(),
            ready: VecDeque::new(),
            errors: VecDeque::new(),
        })
    }

    /// Fetches a partition from a position on, also if it was fetched from another before.
    pub fn assign(&mut self, partition: TopicPartition, position: Position) {
        let backoff = self.cluster.retry_backoff();
        self.ready.retain(|it| it.partition != partition);
        self.cluster.want(&partition.topic, self.options.allow_auto_create_topics);
        match self.partitions.get_mut(&partition) {
            Some(assigned) => assigned.seek(position),
            None => {
                self.partitions.insert(partition, Assigned::new(position, backoff));
            }
        }
    }

    /// Fetches a partition from an offset on whose record before it was written in an epoch: the log is checked to
    /// be the same still.
    pub fn assign_at(&mut self, partition: TopicPartition, offset: Offset, epoch: Option<LeaderEpoch>) {
        self.assign(partition.clone(), Position::Offset(offset));
        if let Some(assigned) = self.partitions.get_mut(&partition) {
            assigned.offset_epoch = epoch;
        }
    }

    /// Where a partition without a position begins, as `auto.offset.reset` says; `None` if it says that it cannot.
    pub fn start(&self) -> Option<Position> {
        self.reset.position(self.cluster.host())
    }

    /// The leader epoch of the record before [`Fetcher::position`], if it is known.
    pub fn position_epoch(&self, partition: &TopicPartition) -> Option<LeaderEpoch> {
        if self.ready.iter().any(|it| it.partition == *partition) {
            return None;
        }
        self.partitions.get(partition)?.offset_epoch
    }

    /// Fetches a partition no more.
    pub fn unassign(&mut self, partition: &TopicPartition) {
        self.ready.retain(|it| it.partition != *partition);
        self.partitions.remove(partition);
    }

    /// The partitions that are fetched.
    pub fn assignment(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.keys()
    }

    /// Fetches a partition no more until [`Fetcher::resume`]; it keeps its position.
    pub fn pause(&mut self, partition: &TopicPartition) {
        if let Some(assigned) = self.partitions.get_mut(partition) {
            assigned.is_paused = true;
        }
    }

    /// Fetches a paused partition again.
    pub fn resume(&mut self, partition: &TopicPartition) {
        if let Some(assigned) = self.partitions.get_mut(partition) {
            assigned.is_paused = false;
        }
    }

    /// Behind the last record that was given out; `None` while it is looked up.
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        if let Some(waiting) = self.ready.iter().find(|it| it.partition == *partition) {
            return Some(waiting.first_offset());
        }
        match self.partitions.get(partition)?.place {
            Place::At(offset) | Place::Checking(offset) => Some(offset),
            Place::Wanted(_) | Place::LookingUp(_) => None,
        }
    }

    /// The end of what is committed, as the last answer told.
    pub fn high_watermark(&self, partition: &TopicPartition) -> Option<Offset> {
        self.partitions.get(partition)?.high_watermark
    }

    /// Waits until there is something, but no longer than `timeout`; gives all that has come. Nothing is lost if
    /// the future is dropped. An error is told once, and concerns one partition or broker: the next call goes on
    /// with the others.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<Fetched>, Error> {
        let host = self.cluster.host().clone();
        let deadline = host.now() + timeout;
        loop {
            let next = self.ask();
            if let Some(error) = self.errors.pop_front() {
                return Err(error);
            }
            if !self.ready.is_empty() {
                return Ok(self.ready.drain(..).collect());
            }
            let until = next.map_or(deadline, |it| it.min(deadline));
            match self.wait(until).await {
                Event::Answer(id, under_way, reply) => self.take_reply(id, *under_way, reply),
                Event::Found(Some(found)) => self.take_found(found),
                Event::Found(None) | Event::Changed => {}
                Event::TimedOut if host.now() >= deadline => return Ok(Vec::new()),
                Event::TimedOut => {}
            }
        }
    }

    /// Waits for the first thing that happens.
    async fn wait(&mut self, until: Moment) -> Event {
        let host = self.cluster.host().clone();
        let mut timer = pin!(host.sleep_until(until));
        let (nodes, tasks, changes) = (&mut self.nodes, &mut self.tasks, &mut self.changes);
        let mut changed = pin!(changes.changed());
        poll_fn(|cx| {
            if let Poll::Ready(event) = poll_replies(nodes, cx) {
                return Poll::Ready(event);
            }
            for at in 0..tasks.len() {
                if let Poll::Ready(found) = Pin::new(&mut tasks[at]).poll(cx) {
                    drop(tasks.swap_remove(at));
                    return Poll::Ready(Event::Found(found.ok()));
                }
            }
            if changed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Changed);
            }
            timer.as_mut().poll(cx).map(|()| Event::TimedOut)
        })
        .await
    }

    /// Sends every question that can be asked now; tells when another can.
    fn ask(&mut self) -> Option<Moment> {
        let now = self.cluster.host().now();
        self.look_up_positions(now);
        let metadata = self.cluster.metadata();
        if self.cluster.is_outdated(&metadata) {
            self.cluster.refresh_soon();
        }
        let (wanted, mut next) = self.wanted(now, &metadata);
        let known: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in known {
            if !metadata.brokers.contains_key(&id) && self.nodes[&id].under_way.is_none() {
                self.nodes.remove(&id);
            }
        }
        for (id, partitions) in wanted {
            let source = self.nodes.entry(id).or_default();
            if source.under_way.is_some() {
                continue;
            }
            if source.muted_until > now {
                next = Some(next.map_or(source.muted_until, |it| it.min(source.muted_until)));
                continue;
            }
            if let Some(connection) = self.cluster.node_or_connect(id) {
                match request(source, &connection, partitions, &self.options, self.read_committed) {
                    Ok(under_way) => source.under_way = Some(under_way),
                    Err(error) => self.errors.push_back(error),
                }
            }
        }
        next
    }

    /// Starts looking up positions that are not known.
    fn look_up_positions(&mut self, now: Moment) {
        let wanted = position::take_wanted(&mut self.partitions, now);
        if wanted.is_empty() {
            return;
        }
        for partition in wanted.keys() {
            self.cluster.want(&partition.topic, self.options.allow_auto_create_topics);
        }
        let task = position::look_up(self.cluster.clone(), wanted, self.read_committed);
        self.tasks.push(self.cluster.host().spawn(task));
    }

    /// What to ask of each node now, and when there will be more to ask.
    fn wanted(
        &mut self,
        now: Moment,
        metadata: &Metadata,
    ) -> (BTreeMap<NodeId, BTreeMap<TopicPartition, Asked>>, Option<Moment>) {
        let mut wanted: BTreeMap<NodeId, BTreeMap<TopicPartition, Asked>> = BTreeMap::new();
        let mut to_check = BTreeMap::new();
        let mut next: Option<Moment> = None;
        let mut leader_missing = false;
        for (partition, assigned) in &mut self.partitions {
            if assigned.retry_at > now {
                next = Some(next.map_or(assigned.retry_at, |it| it.min(assigned.retry_at)));
                continue;
            }
            let Place::At(offset) = assigned.place else { continue };
            if assigned.is_paused {
                continue;
            }
            let topic = metadata.topic(&partition.topic);
            let known = topic.and_then(|it| Some((it.id, it.partition(partition.partition)?)));
            let Some((topic_id, known)) = known else {
                leader_missing = true;
                continue;
            };
            if let Some((offset, epoch)) = position::must_check(assigned, known) {
                assigned.place = Place::Checking(offset);
                to_check.insert(partition.clone(), (assigned.generation, epoch));
                continue;
            }
            let follower = assigned.follower.filter(|(_, until)| *until > now).map(|(id, _)| id);
            let follower = follower.filter(|id| metadata.brokers.contains_key(id));
            let Some(node) = follower.or(known.leader) else {
                leader_missing = true;
                continue;
            };
            let asked = Asked {
                topic_id,
                offset,
                leader_epoch: known.leader_epoch,
                max_bytes: self.options.max_partition_fetch_bytes,
                generation: assigned.generation,
            };
            wanted.entry(node).or_default().insert(partition.clone(), asked);
        }
        for partition in self.partitions.keys() {
            if leader_missing || !wanted.is_empty() {
                self.cluster.want(&partition.topic, self.options.allow_auto_create_topics);
            }
        }
        if leader_missing {
            self.cluster.refresh_soon();
        }
        if !to_check.is_empty() {
            let deadline = self.cluster.deadline("checking offsets");
            let task = position::check(self.cluster.clone(), to_check, deadline);
            self.tasks.push(self.cluster.host().spawn(task));
        }
        (wanted, next)
    }
}

fn poll_replies(nodes: &mut BTreeMap<NodeId, Source>, cx: &mut Context<'_>) -> Poll<Event> {
    for (id, source) in nodes {
        let Some(under_way) = &mut source.under_way else { continue };
        if let Poll::Ready(reply) = Pin::new(&mut under_way.reply).poll(cx)
            && let Some(under_way) = source.under_way.take()
        {
            return Poll::Ready(Event::Answer(*id, Box::new(under_way), reply));
        }
    }
    Poll::Pending
}

/// Sends a fetch request.
fn request(
    source: &mut Source,
    connection: &NodeConnection,
    partitions: BTreeMap<TopicPartition, Asked>,
    options: &FetcherOptions,
    read_committed: bool,
) -> Result<UnderWay, Error> {
    let all_have_ids = partitions.values().all(|it| it.topic_id != Uuid::ZERO);
    let last = if all_have_ids { FetchRequest::LAST_VERSION } else { FIRST_FETCH_WITH_IDS - 1 };
    let version = connection.version::<FetchRequest>(&(FIRST_FETCH_VERSION..=last))?;
    let changes = source.session.changes(partitions, version >= FIRST_FETCH_WITH_IDS);
    let mut request = FetchRequest {
        max_wait_ms: options.fetch_max_wait_ms,
        min_bytes: options.fetch_min_bytes,
        max_bytes: options.fetch_max_bytes,
        isolation_level: isolation_number(read_committed),
        session_id: changes.session_id,
        session_epoch: changes.session_epoch,
        topics: changes.topics,
        forgotten_topics_data: changes.forgotten,
        ..FetchRequest::default()
    };
    if version >= 11 {
        request.rack_id = options.client_rack.as_str().into();
    }
    let timeout = connection.request_timeout + millis(options.fetch_max_wait_ms.into());
    let reply = connection
        .connection
        .send(ApiKey::Fetch, version, timeout, [], |writer| request.encode(writer, version));
    Ok(UnderWay { reply, version, server: connection.server.clone() })
}
