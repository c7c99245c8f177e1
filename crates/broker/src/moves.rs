//! Replicas on their way to another log directory: copied in the background at a bounded pace, then put in the place
//! of what they were copied from (KIP-113, KIP-858).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{Moment, PartitionIndex, Uuid};
use ottla_storage::{CopyStep, StorageError, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::broker::Broker;

/// How much is copied at a time.
const CHUNK_BYTES: u32 = 1 << 20;
/// A copy is made durable as often, so that the last time does not take long.
const FLUSH_EVERY_BYTES: u64 = 64 << 20;
/// How long is waited for the controller, and before a copy that could not go on is looked at again.
const PATIENCE: Duration = Duration::from_millis(500);

/// Wakes who carries out moves, and keeps them from using the disk up.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    begun: Notify,
    /// Until when what was copied counts, at the rate that is allowed to all copies together.
    paid_until: Mutex<Moment>,
}

impl Moves {
    /// A move was begun.
    pub(crate) fn begun(&self) {
        self.begun.notify_one();
    }

    /// Takes note that so many bytes were copied. Gives when more may be.
    fn pay(&self, now: Moment, bytes: u32, bytes_per_second: i64) -> Moment {
        let seconds = f64::from(bytes) / bytes_per_second.max(1) as f64;
        let mut paid_until = self.paid_until.lock();
        *paid_until = now.max(*paid_until) + Duration::from_secs_f64(seconds.min(PAUSE_MAX_S));
        *paid_until
    }
}

/// Carries out moves, some at a time, those that the last process had begun first, for as long as the broker lives.
pub(crate) async fn carry_out(broker: Arc<Broker>) {
    let mut carrying = JoinSet::new();
    let mut busy = BTreeSet::new();
    let mut last: Option<TopicPartition> = None;
    loop {
        let wait = broker.moves.begun.notified();
        let under_way: Vec<TopicPartition> =
            broker.logs.futures().iter().map(|it| it.partition().clone()).collect();
        // In turn, so that those which cannot go on do not keep others from it.
        let turn = under_way.partition_point(|it| last.as_ref().is_some_and(|last| it <= last));
        for partition in under_way[turn..].iter().chain(&under_way[..turn]) {
            if busy.len() >= at_a_time(&broker) {
                break;
            }
            if busy.insert(partition.clone()) {
                carrying.spawn(carry_or_wait(broker.clone(), partition.clone()));
                last = Some(partition.clone());
            }
        }
        tokio::select! {
            biased;
            Some(joined) = carrying.join_next() => {
                // One that has panicked is not tried again: that is a bug, and was reported where it happened.
                if let Ok(partition) = joined {
                    busy.remove(&partition);
                }
            }
            () = wait => {}
        }
    }
}

/// How many replicas are copied at a time (`num.replica.alter.log.dirs.threads`).
fn at_a_time(broker: &Broker) -> usize {
    let settings = broker.settings.load();
    let threads = settings.server.log.num_replica_alter_log_dirs_threads;
    let threads = threads.and_then(|it| usize::try_from(it).ok());
    threads.unwrap_or_else(|| settings.server.log_directories().len()).max(1)
}

/// Carries out one move, as far as it goes now. Gives whose it was.
async fn carry_or_wait(broker: Arc<Broker>, partition: TopicPartition) -> TopicPartition {
    if let Err(error) = carry(&broker, &partition).await {
        tracing::error!(%partition, %error, "a replica cannot be moved");
    }
    if broker.logs.move_target(&partition).is_some() {
        // Not yet possible, or another one was begun meanwhile.
        broker.host.sleep(PATIENCE).await;
    }
    partition
}

async fn carry(broker: &Arc<Broker>, partition: &TopicPartition) -> Result<(), StorageError> {
    let Some((topic, index)) = replica_of(broker, partition) else { return Ok(()) };
    if copy(broker, partition).await? == CopyStep::Over {
        return Ok(());
    }
    let Some(target) = broker.logs.move_target(partition) else { return Ok(()) };
    // The controller knows before: what it thinks of as failed must not be what is in use.
    if !told(broker, (topic, index), target).await || copy(broker, partition).await? == CopyStep::Over {
        let directory = broker.logs.get(partition).and_then(|it| broker.logs.directory_id(&it));
        if let (Some(directory), None) = (directory, broker.logs.move_target(partition)) {
            // It was given up: the controller shall know that the replica stays.
            broker.placements.note(topic, index, directory);
        }
        return Ok(());
    }
    let (finishing, moved) = (broker.clone(), partition.clone());
    let finish = move || {
        finishing.logs.finish_move(&moved, |log| {
            if let Some(replica) = finishing.partitions.get(topic, index.get()) {
                replica.go_on_with(log.clone());
            }
        })
    };
    broker.host.blocking(finish).await.map(|_| ())
}

/// Copies until the copy is level or there is none any more.
async fn copy(broker: &Arc<Broker>, partition: &TopicPartition) -> Result<CopyStep, StorageError> {
    let mut unflushed = 0;
    loop {
        let (logs, copied) = (broker.logs.clone(), partition.clone());
        let flush = unflushed >= FLUSH_EVERY_BYTES;
        let step = broker.host.blocking(move || {
            if flush {
                logs.flush_move(&copied)?;
            }
            logs.advance_move(&copied, CHUNK_BYTES)
        });
        match step.await? {
            CopyStep::Copied(bytes) => {
                unflushed = if flush { 0 } else { unflushed } + u64::from(bytes);
                let rate = broker
                    .settings
                    .load()
                    .server
                    .dynamic_quotas
                    .replica_alter_log_dirs_io_max_bytes_per_second;
                let next = broker.moves.pay(broker.host.now(), bytes, rate);
                broker.host.sleep_until(next).await;
            }
            step => return Ok(step),
        }
    }
}

/// The longest pause between two pieces of a copy, however low the rate.
const PAUSE_MAX_S: f64 = 60.0;

/// The replica whose log is moved.
fn replica_of(broker: &Broker, partition: &TopicPartition) -> Option<(Uuid, PartitionIndex)> {
    let topic = broker.image.load().topics.id(&partition.topic)?;
    Some((topic, broker.partitions.get(topic, partition.partition.get())?.index))
}

/// Tells the controller where a replica will be, and waits until this broker sees it, but not for long.
async fn told(broker: &Arc<Broker>, (topic, index): (Uuid, PartitionIndex), target: Uuid) -> bool {
    let is_told = || {
        let image = broker.image.load();
        let partition = image.topics.partition(topic, index);
        partition.and_then(|it| it.directory_of(broker.node_id)) == Some(target)
    };
    if is_told() {
        return true;
    }
    broker.placements.note(topic, index, target);
    broker.wait_for_image(PATIENCE, is_told).await
}
