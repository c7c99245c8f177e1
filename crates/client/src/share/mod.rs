//! A member of a share group (KIP-932): takes records rather than partitions, and tells what became of each.
//!
//! | file | holds |
//! |---|---|
//! | `membership` | the task that keeps the member in its group |
//! | `acknowledgements` | what became of records, on its way to who handed them out |
//! | `records` | records that were acquired |
//! | `session` | a share session with one broker: requests and answers |
//!
//! A record that was handed out is locked for this member until it is acknowledged, or the lock's time is over.

mod acknowledgements;
mod membership;
mod records;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ErrorCode, LeaderEpoch, Moment, NodeId, Offset, Str};
use ottla_wire::messages::share_fetch_response::PartitionData;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::acknowledgements::Acknowledge;
pub use self::records::{SharedBatch, SharedRecords};

use self::acknowledgements::InFlight;
use self::membership::{Assigned, Wish};
use self::session::{Answer, Source};
use crate::admin::Items;
use crate::cluster::{Cluster, Metadata, TopicPartition};
use crate::coordinator::{Coordinator, Keeper};
use crate::error::{Error, Refusal};
use crate::options::ShareOptions;

/// Takes records as a member of a share group. Dropped, it leaves the group in the background; what was not
/// acknowledged goes to others once its lock's time is over. [`ShareConsumer::close`] does both at once.
#[derive(Debug)]
pub struct ShareConsumer {
    cluster: Cluster,
    options: Arc<ShareOptions>,
    is_explicit: bool,
    group: Str,
    member: Str,
    wish: watch::Sender<Wish>,
    assigned: watch::Receiver<Assigned>,
    task: Option<JoinHandle<()>>,
    sources: BTreeMap<NodeId, Source>,
    in_flight: InFlight,
    ready: VecDeque<SharedRecords>,
    errors: VecDeque<Error>,
    changes: watch::Receiver<u64>,
    /// Of partitions that a broker refused: when they are asked for again.
    held_back: BTreeMap<TopicPartition, Moment>,
    results: VecDeque<(TopicPartition, Result<(), Error>)>,
}

/// How many results of acknowledgements are kept for who does not ask for them.
const RESULTS_MAX: usize = 1024;
/// How many errors are kept for who does not poll.
const ERRORS_MAX: usize = 64;
/// How long a refused partition or broker is left alone.
const PAUSE: Duration = Duration::from_millis(200);
/// How long closing may wait for the task.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

impl ShareConsumer {
    /// A member that takes nothing yet.
    pub fn new(cluster: &Cluster, options: ShareOptions) -> Result<ShareConsumer, Error> {
        let Some(group) = options.group_id.as_deref().filter(|it| !it.is_empty()).map(Str::from) else {
            return Err(Error::Refused(Refusal {
                code: ErrorCode::InvalidGroupId,
                message: Some("a share consumer needs a group.id".into()),
            }));
        };
        let member = Str::from(cluster.host().random_uuid().to_string());
        let wish = watch::Sender::new(Wish::default());
        let (told, assigned) = watch::channel(Assigned::default());
        let coordinator = Coordinator::new(cluster, Keeper::Group, group.clone());
        let rack = Some(options.client_rack.as_str()).filter(|it| !it.is_empty()).map(Str::from);
        let membership = membership::run(
            cluster.clone(),
            coordinator,
            (group.clone(), member.clone(), rack),
            wish.subscribe(),
            told,
        );
        let task = cluster.host().spawn(membership);
        Ok(ShareConsumer {
            cluster: cluster.clone(),
            is_explicit: options.share_acknowledgement_mode.eq_ignore_ascii_case("explicit"),
            options: Arc::new(options),
            group,
            member,
            wish,
            assigned,
            task: Some(task),
            sources: BTreeMap::new(),
            in_flight: InFlight::default(),
            ready: VecDeque::new(),
            errors: VecDeque::new(),
            changes: cluster.changes(),
            held_back: BTreeMap::new(),
            results: VecDeque::new(),
        })
    }

    /// Takes records of topics. What was subscribed before and is not named goes.
    pub fn subscribe<S: Into<Str>>(&mut self, topics: impl IntoIterator<Item = S>) {
        let topics: BTreeSet<Str> = topics.into_iter().map(Into::into).collect();
        self.wish.send_modify(|it| it.topics = topics);
    }

    /// Waits until there are records, but no longer than `timeout`. Those of the poll before count as accepted, unless
    /// `share.acknowledgement.mode` is `explicit`: then each must have been acknowledged.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<SharedRecords>, Error> {
        if self.is_explicit && self.in_flight.has_unacknowledged() {
            return Err(Error::invalid(
                "All records must be acknowledged in explicit acknowledgement mode before the next poll.",
            ));
        }
        self.in_flight.accept_all();
        let host = self.cluster.host().clone();
        let deadline = host.now() + timeout;
        loop {
            self.ask(host.now());
            if let Some(error) = self.errors.pop_front() {
                return Err(error);
            }
            if !self.ready.is_empty() {
                let given: Vec<SharedRecords> = self.ready.drain(..).collect();
                for records in &given {
                    self.in_flight.hand_out(records);
                }
                return Ok(given);
            }
            if host.now() >= deadline {
                return Ok(Vec::new());
            }
            let until = deadline.min(host.now() + PAUSE);
            let (sources, assigned, changes) = (&mut self.sources, &mut self.assigned, &mut self.changes);
            let answer = tokio::select! {
                biased;
                answer = session::next_answer(sources) => Some(answer),
                _ = assigned.changed() => None,
                _ = changes.changed() => None,
                () = host.sleep_until(until) => None,
            };
            if let Some((id, answer)) = answer {
                self.take_answer(id, answer);
            }
        }
    }

    /// Tells what became of a record that the last poll gave.
    pub fn acknowledge(
        &mut self,
        partition: &TopicPartition,
        offset: Offset,
        what: Acknowledge,
    ) -> Result<(), Error> {
        match self.in_flight.acknowledge(partition, offset, what) {
            true => Ok(()),
            false => {
                Err(Error::invalid(format!("the record {partition} offset {offset} cannot be acknowledged.")))
            }
        }
    }

    /// Sends what was acknowledged, and waits for the answers. Records without one are accepted, unless
    /// `share.acknowledgement.mode` is `explicit`.
    pub async fn commit(&mut self) -> Result<Items<TopicPartition, ()>, Error> {
        if !self.is_explicit {
            self.in_flight.accept_all();
        }
        let deadline = self.cluster.deadline("acknowledging records");
        self.settle_fetches(deadline.at()).await;
        let ids: Vec<NodeId> = self.sources.keys().copied().collect();
        for id in ids {
            let acknowledged = self.in_flight.take(id);
            if acknowledged.is_empty() {
                continue;
            }
            let Some(source) = self.sources.get_mut(&id) else { continue };
            let (group, member) = (&self.group, &self.member);
            let told = source.acknowledge(&self.cluster, id, (group, member), &acknowledged, deadline).await;
            self.take_results(told);
        }
        Ok(self.results.drain(..).collect())
    }

    /// What the brokers said to acknowledgements since the last call.
    pub fn acknowledged(&mut self) -> Items<TopicPartition, ()> {
        self.results.drain(..).collect()
    }

    /// The partitions of which records may come.
    pub fn assignment(&self) -> BTreeSet<TopicPartition> {
        self.assigned.borrow().partitions.keys().cloned().collect()
    }

    /// Sends what was acknowledged, gives back what was not, leaves the group, and waits until that is done.
    pub async fn close(mut self) -> Result<(), Error> {
        let committed = self.commit().await;
        let deadline = self.cluster.deadline("closing share sessions");
        let ids: Vec<NodeId> = self.sources.keys().copied().collect();
        for id in ids {
            if let Some(source) = self.sources.get_mut(&id) {
                source.close(&self.cluster, id, (&self.group, &self.member), deadline).await;
            }
        }
        self.wish.send_modify(|it| it.is_closing = true);
        if let Some(task) = self.task.take() {
            // The session ends by itself if the group cannot be told.
            let _ = self.cluster.host().timeout(CLOSE_LIMIT, task).await;
        }
        for (partition, result) in committed? {
            if let Err(error) = result {
                tracing::debug!(%partition, %error, "the last acknowledgements were refused");
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes the answers of fetches that are under way: a session is asked one thing at a time.
    async fn settle_fetches(&mut self, until: Moment) {
        let host = self.cluster.host().clone();
        while self.sources.values().any(Source::is_under_way) {
            match host.timeout_at(until, session::next_answer(&mut self.sources)).await {
                Ok((id, answer)) => self.take_answer(id, answer),
                Err(_) => return,
            }
        }
    }

    /// Asks every broker that leads assigned partitions, or has to hear of records, and that is not being asked.
    fn ask(&mut self, now: Moment) {
        let failed = self.assigned.borrow().failed.clone();
        if let Some(error) = failed {
            self.complain(error);
            return;
        }
        let metadata = self.cluster.metadata();
        if self.cluster.is_outdated(&metadata) {
            self.cluster.refresh_soon();
        }
        let mut wanted = self.wanted(now, &metadata);
        for id in self.in_flight.brokers() {
            wanted.entry(id).or_default();
        }
        let open: Vec<NodeId> = self.sources.keys().copied().collect();
        for id in open {
            // A broker whose partitions went elsewhere is told so.
            if self.sources.get(&id).is_some_and(Source::has_partitions) {
                wanted.entry(id).or_default();
            }
        }
        for (id, partitions) in wanted {
            let source = self.sources.entry(id).or_default();
            if source.is_under_way() || source.muted_until > now {
                continue;
            }
            if source.is_new() {
                self.in_flight.forget_gaps(id);
                if partitions.is_empty() {
                    // There is no session to tell it in, and none begins without partitions.
                    let error = Error::from(ErrorCode::InvalidShareSessionEpoch);
                    let untold = self.in_flight.take(id).into_keys().map(|it| (it, Err(error.clone())));
                    let untold = untold.collect();
                    self.take_results(untold);
                    continue;
                }
            }
            let Some(connection) = self.cluster.node_or_connect(id) else { continue };
            // A session begins without acknowledgements: they come with the fetch after that.
            let acknowledged = match source.is_new() {
                true => Default::default(),
                false => self.in_flight.take(id),
            };
            let who = (&self.group, &self.member);
            if let Err(error) = source.fetch(&connection, who, partitions, &acknowledged, &self.options) {
                let untold = acknowledged.into_keys().map(|it| (it, Err(error.clone()))).collect();
                self.take_results(untold);
                self.complain(error);
            }
        }
    }

    /// The assigned partitions by leader.
    fn wanted(
        &mut self,
        now: Moment,
        metadata: &Metadata,
    ) -> BTreeMap<NodeId, BTreeMap<TopicPartition, ottla_base::Uuid>> {
        let mut wanted: BTreeMap<NodeId, BTreeMap<TopicPartition, ottla_base::Uuid>> = BTreeMap::new();
        let mut leader_missing = false;
        self.held_back.retain(|_, until| *until > now);
        for (partition, id) in &self.assigned.borrow().partitions {
            self.cluster.want(&partition.topic, false);
            if self.held_back.contains_key(partition) {
                continue;
            }
            match metadata.partition(partition).and_then(|it| it.leader) {
                Some(leader) => drop(wanted.entry(leader).or_default().insert(partition.clone(), *id)),
                None => leader_missing = true,
            }
        }
        if leader_missing {
            self.cluster.refresh_soon();
        }
        wanted
    }

    fn take_answer(&mut self, id: NodeId, answer: Result<Answer, Error>) {
        let now = self.cluster.host().now();
        let Some(source) = self.sources.get_mut(&id) else { return };
        let mut acknowledged = source.take_acknowledged();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(broker = %id, %error, "fetching shared records failed");
                source.begin_again();
                source.muted_until = now + PAUSE;
                self.cluster.refresh_soon();
                self.take_results(acknowledged.into_iter().map(|it| (it, Err(error.clone()))).collect());
                if !error.is_retriable() && !session::is_of_session(&error) {
                    self.complain(error);
                }
                return;
            }
        };
        let mut results = Vec::new();
        for (partition, data) in answer.partitions {
            if acknowledged.remove(&partition) {
                let message = data.acknowledge_error_message.as_ref().map(Str::detached);
                results.push((
                    partition.clone(),
                    match ErrorCode::from_code(data.acknowledge_error_code) {
                        ErrorCode::None => Ok(()),
                        code => Err(Error::Refused(Refusal { code, message })),
                    },
                ));
            }
            self.take_partition(id, partition, data, now);
        }
        let missing = Error::Corrupt("a partition is missing in the answer".into());
        results.extend(acknowledged.into_iter().map(|it| (it, Err(missing.clone()))));
        self.take_results(results);
    }

    fn take_partition(&mut self, id: NodeId, partition: TopicPartition, data: PartitionData, now: Moment) {
        let leader = &data.current_leader;
        if leader.leader_id >= 0 {
            let epoch = LeaderEpoch(leader.leader_epoch);
            self.cluster.learn_leader(&partition, NodeId(leader.leader_id), epoch);
        }
        match ErrorCode::from_code(data.error_code) {
            ErrorCode::None => {}
            code => {
                self.held_back.insert(partition.clone(), now + PAUSE);
                self.cluster.refresh_soon();
                let error = Error::Refused(Refusal {
                    code,
                    message: Some(
                        format!("taking records of {partition}: {}", code.message()).as_str().into(),
                    ),
                });
                let passes = error.is_retriable() || code == ErrorCode::UnknownTopicId;
                return if passes {
                    tracing::debug!(%error, "it is tried again")
                } else {
                    self.complain(error)
                };
            }
        }
        match records::acquired(partition.clone(), &data) {
            Ok(None) => {}
            Ok(Some((records, gaps))) => {
                if self.in_flight.take_over(id, &records, &gaps) {
                    let late = (records.partition().clone(), Err(ErrorCode::InvalidRecordState.into()));
                    self.take_results([late].into());
                }
                if !records.is_empty() {
                    self.ready.push_back(records);
                }
            }
            Err(error) => {
                // They cannot be read, and nobody else could: they are given up.
                self.in_flight.reject(id, &partition, &data);
                self.complain(error);
            }
        }
    }

    fn take_results(&mut self, results: Items<TopicPartition, ()>) {
        self.results.extend(results);
        while self.results.len() > RESULTS_MAX {
            self.results.pop_front();
        }
    }

    fn complain(&mut self, error: Error) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push_back(error);
        }
    }
}

impl Drop for ShareConsumer {
    fn drop(&mut self) {
        self.wish.send_modify(|it| it.is_closing = true);
    }
}
