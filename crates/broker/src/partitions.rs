//! The partitions of which this broker has a replica, by topic id and number.

use std::sync::Arc;

use ottla_base::{ErrorCode, FastMap, PartitionIndex, Str, Uuid};
use parking_lot::RwLock;

use crate::metrics::topics::TopicCounters;
use crate::partition::Partition;

/// All partitions of this broker.
#[derive(Default)]
pub struct Partitions {
    topics: RwLock<FastMap<Uuid, LocalTopic>>,
}

/// What this broker has of a topic.
struct LocalTopic {
    name: Str,
    counters: Arc<TopicCounters>,
    /// By number; a hole where another broker has the partition.
    partitions: Vec<Option<Arc<Partition>>>,
}

impl Partitions {
    /// The partition, if this broker has a replica of it.
    pub fn get(&self, topic: Uuid, index: i32) -> Option<Arc<Partition>> {
        let topics = self.topics.read();
        topics.get(&topic)?.partitions.get(usize::try_from(index).ok()?)?.clone()
    }

    /// The partition for a request that already knows that the topic exists and has the partition.
    pub fn get_hosted(&self, topic: Uuid, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        self.get(topic, index).ok_or(ErrorCode::NotLeaderOrFollower)
    }

    /// What a topic counts; the same for all its partitions.
    pub fn counters(&self, topic: Uuid, name: &Str) -> Arc<TopicCounters> {
        let mut topics = self.topics.write();
        topics.entry(topic).or_insert_with(|| LocalTopic::new(name)).counters.clone()
    }

    /// Adds a partition, or puts it in the place of the one with the same number.
    pub fn insert(&self, partition: Arc<Partition>) {
        let Ok(index) = usize::try_from(partition.index.get()) else { return };
        let mut topics = self.topics.write();
        let topic = topics.entry(partition.topic_id).or_insert_with(|| LocalTopic::new(&partition.topic));
        if topic.partitions.len() <= index {
            topic.partitions.resize(index + 1, None);
        }
        topic.partitions[index] = Some(partition);
    }

    /// Takes a partition away; the last one takes its topic along.
    pub fn remove(&self, topic: Uuid, index: PartitionIndex) -> Option<Arc<Partition>> {
        let mut topics = self.topics.write();
        let local = topics.get_mut(&topic)?;
        let removed = local.partitions.get_mut(usize::try_from(index.get()).ok()?)?.take();
        if local.partitions.iter().all(Option::is_none) {
            topics.remove(&topic);
        }
        removed
    }

    /// Every partition, topic by topic in no particular order.
    pub fn all(&self) -> Vec<Arc<Partition>> {
        self.topics.read().values().flat_map(|it| it.partitions.iter().flatten().cloned()).collect()
    }

    /// The counters of every topic, by name.
    pub fn topic_counters(&self) -> Vec<(Str, Arc<TopicCounters>)> {
        let mut all: Vec<_> =
            self.topics.read().values().map(|it| (it.name.clone(), it.counters.clone())).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }
}

impl LocalTopic {
    fn new(name: &Str) -> LocalTopic {
        LocalTopic { name: name.detached(), counters: Arc::default(), partitions: Vec::new() }
    }
}
