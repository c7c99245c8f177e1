//! Batches by partition, and the rules of their order: what may leave now, and what an answer means for what is
//! behind it. No sockets and no clock: the time is a parameter.
//!
//! A partition whose batch failed *recovers*: nothing new leaves until nothing is under way, then batches leave one
//! at a time until one is written. So order holds with several requests in flight, whether or not the broker
//! watches sequences.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_base::{ErrorCode, Moment, NodeId, Offset, PartitionIndex, ProducerEpoch, Str, Timestamp, Uuid};
use ottla_record::{CompressionLevel, sequence_after};
use tokio::sync::OwnedSemaphorePermit;

use super::batch::{Batch, Identity, Order, Parts};
use super::delivery::{Delivery, Outcome, Written};
use super::partitioner::Sticky;
use crate::cluster::{Backoff, Metadata, TopicMetadata, TopicPartition};
use crate::error::Error;

/// The rules, out of the options.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) batch_size: usize,
    pub(super) max_request_size: usize,
    pub(super) compression: CompressionLevel,
    pub(super) linger: Duration,
    pub(super) delivery_timeout: Duration,
    pub(super) retries: u32,
    pub(super) max_in_flight: u32,
    pub(super) idempotent: bool,
    /// Whether everything belongs to transactions: then the identity is given from outside.
    pub(super) transactional: bool,
    pub(super) adaptive: bool,
    pub(super) backoff: Backoff,
}

/// All batches of a producer.
pub(super) struct Accumulator {
    pub(super) rules: Rules,
    topics: BTreeMap<Str, Topic>,
    /// The partitions with batches.
    active: BTreeSet<TopicPartition>,
    nodes: BTreeMap<NodeId, Node>,
    /// The batches that are not answered, with how many parts of each.
    unanswered: BTreeMap<u64, u32>,
    next_number: u64,
    /// Batches below leave without lingering.
    flushed: u64,
    /// Where the last round of draining ended.
    last_drained: Option<TopicPartition>,
    /// Before this no batch is too old.
    next_expiry: Moment,
    identity: Option<Identity>,
    /// Why nothing can be sent any more.
    pub(super) fatal: Option<Error>,
    /// Of the open transaction, if there is one.
    transaction: Transaction,
}

/// What an open transaction has written so far.
#[derive(Default)]
struct Transaction {
    /// Whether there were batches.
    has_batches: bool,
    /// The partitions that its coordinator knows of; none if brokers tell it themselves.
    registered: Option<BTreeSet<TopicPartition>>,
    /// Why it can only be aborted.
    error: Option<Error>,
}

#[derive(Default)]
struct Topic {
    sticky: Sticky,
    queues: BTreeMap<PartitionIndex, Queue>,
}

#[derive(Default)]
struct Queue {
    /// Batches that wait, in order; the last may be open.
    waiting: VecDeque<Batch>,
    under_way: Vec<Batch>,
    identity: Option<Identity>,
    next_sequence: i32,
    /// How many batches have left for the first time.
    departed: u64,
    recovers: bool,
    /// Whether the sequences of this partition have a gap, so that it needs another epoch (KIP-360).
    has_gap: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    in_flight: u32,
    muted_until: Moment,
}

/// A batch that leaves.
pub(super) struct Departure {
    pub(super) partition: TopicPartition,
    pub(super) topic_id: Uuid,
    pub(super) order: Order,
    pub(super) bytes: Bytes,
}

/// What leaves now, and when to look again.
#[derive(Default)]
pub(super) struct Drained {
    /// Requests by node.
    pub(super) requests: Vec<(NodeId, Vec<Departure>)>,
    /// When something may leave that may not now.
    pub(super) next: Option<Moment>,
    /// Whether a leader is not known.
    pub(super) leader_missing: bool,
}

/// Who tells a transaction's coordinator of the partitions that are written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Registration {
    /// This client, before it writes.
    ByClient,
    /// The broker that is written to (KIP-890).
    ByBroker,
}

/// What the broker said of a batch.
pub(super) enum Answer {
    Written(Written),
    Failed(Error),
}

/// What a failed batch asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterAnswer {
    Nothing,
    RefreshMetadata,
}

impl Accumulator {
    pub(super) fn new(rules: Rules) -> Accumulator {
        Accumulator {
            rules,
            topics: BTreeMap::new(),
            active: BTreeSet::new(),
            nodes: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            next_number: 0,
            flushed: 0,
            last_drained: None,
            next_expiry: Moment::default(),
            identity: None,
            fatal: None,
            transaction: Transaction::default(),
        }
    }

    /// Begins a transaction. `registers` tells whether its coordinator has to know of a partition before it is written
    /// to.
    pub(super) fn begin_transaction(&mut self, registers: Registration) {
        self.transaction = Transaction::default();
        if registers == Registration::ByClient {
            self.transaction.registered = Some(BTreeSet::new());
        }
    }

    /// Whether the transaction has written anything.
    pub(super) fn has_written(&self) -> bool {
        self.transaction.has_batches
    }

    /// Why the transaction can only be aborted.
    pub(super) fn transaction_error(&self) -> Option<&Error> {
        self.transaction.error.as_ref()
    }

    /// The partitions that the transaction's coordinator has to hear of.
    pub(super) fn unregistered(&self) -> Vec<TopicPartition> {
        let Some(registered) = &self.transaction.registered else { return Vec::new() };
        self.active.difference(registered).cloned().collect()
    }

    /// Lets partitions be written to, for their transaction's coordinator knows of them.
    pub(super) fn register(&mut self, partitions: &[TopicPartition]) {
        if let Some(registered) = &mut self.transaction.registered {
            registered.extend(partitions.iter().cloned());
        }
    }

    /// Takes what makes a transaction impossible to commit: what waits is not sent any more.
    pub(super) fn fail_transaction(&mut self, error: &Error) {
        self.transaction.error.get_or_insert_with(|| error.clone());
        self.fail_waiting(error);
    }

    /// The partition for a record that may go to any.
    pub(super) fn choose_partition(
        &mut self,
        topic: &TopicMetadata,
        random: impl FnOnce() -> u64,
    ) -> Option<PartitionIndex> {
        let state = topic_state(&mut self.topics, &topic.name);
        let queues = &state.queues;
        let at_batch_end = |index| {
            let last = queues.get(&index).and_then(|it| it.waiting.back());
            last.is_none_or(|it| it.attempts > 0)
        };
        let stays = state.sticky.stays(self.rules.batch_size, at_batch_end);
        if let Some(index) = stays.filter(|it| topic.partition(*it).is_some_and(|it| it.leader.is_some())) {
            return Some(index);
        }
        let led = topic.partitions.iter().any(|it| it.leader.is_some());
        let usable = topic.partitions.iter().filter(|it| !led || it.leader.is_some());
        let adaptive = self.rules.adaptive;
        let waiting = |index| if adaptive { queues.get(&index).map_or(0, |it| it.waiting.len()) } else { 0 };
        let available: Vec<_> = usable.map(|it| (it.index, waiting(it.index))).collect();
        state.sticky.move_on(&available, random())
    }

    /// Adds a record to the partition's last batch, or to a new one; tells whether somebody should look what may leave.
    pub(super) fn append(
        &mut self,
        partition: &TopicPartition,
        record: Parts<'_>,
        sticks: bool,
        memory: OwnedSemaphorePermit,
        now: Moment,
    ) -> (Delivery, bool) {
        let (batch_size, most) = (self.rules.batch_size, self.rules.max_request_size);
        let state = topic_state(&mut self.topics, &partition.topic);
        if sticks {
            state.sticky.count(memory.num_permits());
        }
        let queue = state.queues.entry(partition.partition).or_default();
        let fits = queue.waiting.back().is_some_and(|it| it.has_room(record, batch_size, most));
        if !fits {
            let outcome = Outcome::new(partition.clone());
            let batch = Batch::new(self.next_number, now, outcome, self.rules.compression);
            self.transaction.has_batches |= self.rules.transactional;
            self.unanswered.insert(self.next_number, 1);
            self.next_number += 1;
            queue.waiting.push_back(batch);
            if queue.waiting.len() == 1 {
                self.active.insert(partition.clone());
            }
        }
        let Some(batch) = queue.waiting.back_mut() else { panic!("a batch was just added") };
        let timestamp = record.timestamp;
        let number = batch.append(record, memory);
        let full = batch.size() >= batch_size;
        (Delivery { outcome: batch.outcome.clone(), number, timestamp }, !fits || full)
    }

    /// Lets all batches of now leave without lingering; gives the number that [`Accumulator::is_answered_below`] takes.
    pub(super) fn flush(&mut self) -> u64 {
        self.flushed = self.next_number;
        self.next_number
    }

    /// Whether all batches below a number are answered.
    pub(super) fn is_answered_below(&self, number: u64) -> bool {
        self.unanswered.keys().next().is_none_or(|first| *first >= number)
    }

    /// Takes the identity that the cluster gave.
    pub(super) fn set_identity(&mut self, identity: Identity) {
        if self.rules.transactional && self.identity != Some(identity) {
            // Between transactions nothing is under way: all sequences begin again.
            for queue in self.topics.values_mut().flat_map(|it| it.queues.values_mut()) {
                (queue.identity, queue.next_sequence) = (None, 0);
                (queue.has_gap, queue.recovers) = (false, false);
            }
        }
        self.identity = Some(identity);
    }

    /// Whether the cluster must give an identity before anything can leave.
    pub(super) fn needs_identity(&self) -> bool {
        self.rules.idempotent && !self.rules.transactional && self.identity.is_none() && self.fatal.is_none()
    }

    /// The topics with batches, to be kept known.
    pub(super) fn active_topics(&self) -> Vec<Str> {
        let mut topics: Vec<Str> = self.active.iter().map(|it| it.topic.clone()).collect();
        topics.dedup();
        topics
    }

    /// Takes out what may leave now. `reachable` tells whether a node can be sent to; `hurry` ends lingering.
    pub(super) fn drain(
        &mut self,
        now: Moment,
        metadata: &Metadata,
        hurry: bool,
        mut reachable: impl FnMut(NodeId) -> bool,
    ) -> Drained {
        let mut drained = Drained::default();
        self.expire(now, &mut drained);
        if self.rules.idempotent && self.identity.is_none() {
            return drained;
        }
        loop {
            let mut requests: BTreeMap<NodeId, (usize, Vec<Departure>)> = BTreeMap::new();
            for partition in self.in_turn() {
                self.drain_partition(
                    &partition,
                    now,
                    metadata,
                    hurry,
                    &mut reachable,
                    &mut requests,
                    &mut drained,
                );
            }
            if requests.is_empty() {
                return drained;
            }
            for (id, (_, departures)) in requests {
                self.nodes.entry(id).or_default().in_flight += 1;
                drained.requests.push((id, departures));
            }
        }
    }

    /// The active partitions, beginning behind the one that was drained last, so that each has its turn.
    fn in_turn(&self) -> Vec<TopicPartition> {
        match &self.last_drained {
            None => self.active.iter().cloned().collect(),
            Some(last) => {
                let behind = self.active.range::<TopicPartition, _>((Excluded(last), Unbounded));
                let before = self.active.range::<TopicPartition, _>((Unbounded, Included(last)));
                behind.chain(before).cloned().collect()
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `drain`, which owns all of these")]
    fn drain_partition(
        &mut self,
        partition: &TopicPartition,
        now: Moment,
        metadata: &Metadata,
        hurry: bool,
        reachable: &mut impl FnMut(NodeId) -> bool,
        requests: &mut BTreeMap<NodeId, (usize, Vec<Departure>)>,
        drained: &mut Drained,
    ) {
        if self.transaction.registered.as_ref().is_some_and(|it| !it.contains(partition)) {
            return;
        }
        let Some(queue) = queue_of(&mut self.topics, partition) else { return };
        let most = if queue.recovers || queue.has_gap { 1 } else { self.rules.max_in_flight as usize };
        let blocked = queue.under_way.len() >= most || queue.is_far_ahead(self.rules.max_in_flight);
        let only = queue.waiting.len() == 1;
        let Some(head) = queue.waiting.front().filter(|_| !blocked) else { return };
        let lingers = if only && !hurry && head.order.0 >= self.flushed && head.attempts == 0 {
            head.size() < self.rules.batch_size
        } else {
            false
        };
        let ready_at = head.retry_at.max(if lingers { head.created + self.rules.linger } else { now });
        if ready_at > now {
            drained.next = Some(drained.next.map_or(ready_at, |it| it.min(ready_at)));
            return;
        }
        let Some(leader) = metadata.partition(partition).and_then(|it| it.leader) else {
            drained.leader_missing = true;
            return;
        };
        let node = self.nodes.entry(leader).or_default();
        if node.muted_until > now {
            drained.next = Some(drained.next.map_or(node.muted_until, |it| it.min(node.muted_until)));
            return;
        }
        if node.in_flight >= self.rules.max_in_flight || !reachable(leader) {
            return;
        }
        let size = head.size();
        let taken = requests.get(&leader).map_or(0, |(bytes, _)| *bytes);
        if taken > 0 && taken + size > self.rules.max_request_size {
            return;
        }
        let Some(departure) = self.depart(partition, metadata) else { return };
        let request = requests.entry(leader).or_default();
        request.0 += size;
        request.1.push(departure);
        self.last_drained = Some(partition.clone());
    }

    /// Seals the partition's first batch and moves it under way.
    fn depart(&mut self, partition: &TopicPartition, metadata: &Metadata) -> Option<Departure> {
        self.renew_epoch(partition);
        let idempotent = self.rules.idempotent;
        let identity = self.identity;
        if idempotent && identity.is_none() {
            return None;
        }
        let queue = queue_of(&mut self.topics, partition)?;
        if idempotent && queue.identity.is_none() {
            queue.identity = identity;
        }
        let mut batch = queue.waiting.pop_front()?;
        if queue.waiting.is_empty() {
            self.active.remove(partition);
        }
        let sequence = match (queue.identity, batch.sequence) {
            (Some(now), Some((then, first))) if now == then => Some((then, first)),
            (Some(now), _) => {
                batch.departure = None;
                let first = queue.next_sequence;
                queue.next_sequence = sequence_after(first, batch.count());
                Some((now, first))
            }
            (None, _) => None,
        };
        batch.attempts += 1;
        if batch.departure.is_none() {
            batch.departure = Some(queue.departed);
            queue.departed += 1;
        }
        let topic_id = metadata.topic(&partition.topic).map_or(Uuid::ZERO, |it| it.id);
        match batch.seal(sequence) {
            Ok(bytes) => {
                let departure =
                    Departure { partition: partition.clone(), topic_id, order: batch.order, bytes };
                queue.under_way.push(batch);
                Some(departure)
            }
            Err(error) => {
                queue.has_gap |= idempotent;
                batch.tell(Err(error.into()));
                answered(&mut self.unanswered, batch.order);
                None
            }
        }
    }

    /// Gives a partition with a gap in its sequences the next epoch, in which they begin again.
    fn renew_epoch(&mut self, partition: &TopicPartition) {
        let Some(identity) = self.identity else { return };
        let Some(queue) = queue_of(&mut self.topics, partition) else { return };
        // The epochs of transactions are their coordinator's.
        if !queue.has_gap || self.rules.transactional {
            return;
        }
        if queue.identity == Some(identity) {
            if identity.epoch.0 == i16::MAX {
                // The cluster has to give another id; this partition waits for it.
                self.identity = None;
                return;
            }
            self.identity = Some(Identity { epoch: ProducerEpoch(identity.epoch.0 + 1), ..identity });
        }
        queue.identity = self.identity;
        queue.next_sequence = 0;
        queue.has_gap = false;
    }

    /// Takes what became of a batch.
    pub(super) fn answer(
        &mut self,
        partition: &TopicPartition,
        order: Order,
        answer: Answer,
        now: Moment,
        jitter: impl FnOnce(&mut Backoff) -> Duration,
    ) -> AfterAnswer {
        let Some(queue) = queue_of(&mut self.topics, partition) else { return AfterAnswer::Nothing };
        let Some(at) = queue.under_way.iter().position(|it| it.order == order) else {
            return AfterAnswer::Nothing;
        };
        let mut batch = queue.under_way.remove(at);
        let error = match answer {
            Answer::Written(written) => {
                // As long as an earlier batch waits, the broker must not forget it for later ones.
                if queue.waiting.front().is_none_or(|it| it.order > order) {
                    queue.recovers &= !queue.under_way.is_empty();
                }
                batch.tell(Ok(written));
                answered(&mut self.unanswered, order);
                return AfterAnswer::Nothing;
            }
            Answer::Failed(error) => error,
        };
        queue.recovers = true;
        let code = error.code();
        if code == Some(ErrorCode::DuplicateSequenceNumber) {
            batch.tell(Ok(Written { base_offset: None, log_append_time: None }));
            answered(&mut self.unanswered, order);
            return AfterAnswer::Nothing;
        }
        let too_large = matches!(code, Some(ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge));
        if too_large
            && batch.count() > 1
            && !batch.given_up
            && let Ok(halves) = batch.split()
        {
            *self.unanswered.entry(order.0).or_default() += 1;
            halves.into_iter().for_each(|half| put_back(queue, half));
            self.active.insert(partition.clone());
            return AfterAnswer::Nothing;
        }
        let sequence_lost =
            matches!(code, Some(ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId))
                && batch.sequence.is_some();
        let earlier = |it: &Batch| it.order < order && it.sequence.is_some();
        if sequence_lost && !queue.under_way.iter().any(earlier) && !queue.waiting.iter().any(earlier) {
            queue.has_gap = true;
        }
        let expired = now.since(batch.created) >= self.rules.delivery_timeout;
        let lost_for_good = self.rules.transactional && queue.has_gap;
        let again =
            (error.is_retriable() || (sequence_lost && !lost_for_good)) && !expired && !batch.given_up;
        if again && batch.attempts <= self.rules.retries && self.fatal.is_none() {
            let mut backoff = self.rules.backoff.clone();
            (1..batch.attempts).for_each(|_| backoff.count());
            batch.retry_at = now + jitter(&mut backoff);
            put_back(queue, batch);
            self.active.insert(partition.clone());
        } else {
            queue.has_gap |= batch.sequence.is_some();
            let late = expired.then(|| self.too_late(Some(error.clone())));
            let told = late.as_ref().unwrap_or(&error);
            batch.tell(Err(told.clone()));
            answered(&mut self.unanswered, order);
            if self.rules.transactional {
                self.fail_transaction(told);
            }
        }
        if error.is_retriable() { AfterAnswer::RefreshMetadata } else { AfterAnswer::Nothing }
    }

    /// Takes the end of a request to a node, which may ask for a pause.
    pub(super) fn request_ended(&mut self, id: NodeId, muted_until: Moment) {
        let node = self.nodes.entry(id).or_default();
        node.in_flight = node.in_flight.saturating_sub(1);
        node.muted_until = node.muted_until.max(muted_until);
    }

    /// Fails all that waits, and all that will come.
    pub(super) fn fail_all(&mut self, error: &Error) {
        self.fatal = Some(error.clone());
        self.fail_waiting(error);
    }

    /// Fails all that waits.
    fn fail_waiting(&mut self, error: &Error) {
        for partition in std::mem::take(&mut self.active) {
            let Some(queue) = queue_of(&mut self.topics, &partition) else { continue };
            for batch in queue.waiting.drain(..) {
                batch.tell(Err(error.clone()));
                answered(&mut self.unanswered, batch.order);
            }
        }
    }

    /// Gives up what took longer than `delivery.timeout.ms`, and notes when the next will have.
    fn expire(&mut self, now: Moment, drained: &mut Drained) {
        let timeout = self.rules.delivery_timeout;
        if now < self.next_expiry {
            drained.next = Some(self.next_expiry);
            return;
        }
        let error = self.too_late(None);
        let mut next: Option<Moment> = None;
        let mut has_expired = false;
        for (name, topic) in &mut self.topics {
            for (index, queue) in &mut topic.queues {
                while let Some(batch) = queue.waiting.pop_front_if(|it| now.since(it.created) >= timeout) {
                    queue.has_gap |= batch.sequence.is_some();
                    has_expired = true;
                    batch.tell(Err(error.clone()));
                    answered(&mut self.unanswered, batch.order);
                    if queue.waiting.is_empty() {
                        self.active.remove(&TopicPartition { topic: name.clone(), partition: *index });
                    }
                }
                for batch in &mut queue.under_way {
                    if !batch.given_up && now.since(batch.created) >= timeout {
                        has_expired = true;
                        batch.tell(Err(error.clone()));
                        batch.given_up = true;
                    }
                }
                let alive = queue.under_way.iter().filter(|it| !it.given_up);
                let oldest = alive.chain(queue.waiting.front()).map(|it| it.created).min();
                next = [next, oldest].into_iter().flatten().min();
            }
        }
        if has_expired && self.rules.transactional {
            self.fail_transaction(&error);
        }
        // Batches that come later expire later.
        self.next_expiry = next.unwrap_or(now) + timeout;
        drained.next = Some(self.next_expiry);
    }

    fn too_late(&self, cause: Option<Error>) -> Error {
        let limit = self.rules.delivery_timeout;
        Error::TimedOut { what: "delivering a record", limit, cause: cause.map(Arc::new) }
    }
}

impl Queue {
    /// Whether the next batch is new and must wait for older ones: a broker knows only the last few batches again,
    /// and one that is not answered may be sent again. To count what is under way is not enough: between the two
    /// there may be batches that were answered.
    fn is_far_ahead(&self, most: u32) -> bool {
        let oldest = self.under_way.iter().filter_map(|it| it.departure).min();
        let is_new = self.waiting.front().is_some_and(|it| it.departure.is_none());
        is_new && oldest.is_some_and(|oldest| self.departed - oldest >= u64::from(most))
    }
}

/// What a broker's answer for a batch says.
pub(super) fn written(base_offset: i64, log_append_time_ms: i64) -> Written {
    Written {
        base_offset: (base_offset >= 0).then_some(Offset(base_offset)),
        log_append_time: (log_append_time_ms >= 0).then_some(Timestamp(log_append_time_ms)),
    }
}

fn topic_state<'a>(topics: &'a mut BTreeMap<Str, Topic>, name: &Str) -> &'a mut Topic {
    if !topics.contains_key(name) {
        topics.insert(name.detached(), Topic::default());
    }
    topics.get_mut(name).expect("it was just put there")
}

fn queue_of<'a>(topics: &'a mut BTreeMap<Str, Topic>, of: &TopicPartition) -> Option<&'a mut Queue> {
    topics.get_mut(&of.topic)?.queues.get_mut(&of.partition)
}

/// Puts a batch back where it was in the order.
fn put_back(queue: &mut Queue, batch: Batch) {
    let at = queue.waiting.partition_point(|it| it.order < batch.order);
    queue.waiting.insert(at, batch);
}

fn answered(unanswered: &mut BTreeMap<u64, u32>, order: Order) {
    if let Some(parts) = unanswered.get_mut(&order.0) {
        *parts -= 1;
        if *parts == 0 {
            unanswered.remove(&order.0);
        }
    }
}
