//! One question about many partitions, put to the leader of each, all leaders at once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use ottla_base::{ErrorCode, LeaderEpoch, NodeId, PartitionIndex, Str};
use ottla_wire::RequestMessage;

use super::{Cluster, Deadline, Target, TopicPartition};
use crate::error::Error;

/// What each partition was answered, or why it was not.
pub(crate) type LeaderAnswers<T> = BTreeMap<TopicPartition, Result<T, Error>>;

/// One partition of a request: the leader epoch that is known, and what is asked.
pub(crate) type AskedPartition<V> = (TopicPartition, LeaderEpoch, V);

/// One partition of an answer.
pub(crate) type ToldPartition<T> = (TopicPartition, Result<T, Error>);

/// Makes the request for one leader.
pub(crate) type BuildRequest<V, Q> = Box<dyn Fn(&[AskedPartition<V>]) -> Q + Send + Sync>;

/// A question that partitions are asked.
pub(crate) struct LeaderQuestion<V, T, Q: RequestMessage> {
    /// The versions in which it can be asked.
    pub(crate) versions: RangeInclusive<i16>,
    /// The request for one leader.
    pub(crate) build: BuildRequest<V, Q>,
    /// Its answer, by partition.
    pub(crate) read: fn(Q::Response) -> Vec<ToldPartition<T>>,
}

impl Cluster {
    /// Asks the leader of each partition, and again those that were refused for a reason that passes, until the
    /// deadline.
    pub(crate) async fn ask_leaders<V: Clone, T, Q: RequestMessage>(
        &self,
        partitions: BTreeMap<TopicPartition, V>,
        question: LeaderQuestion<V, T, Q>,
        deadline: Deadline,
    ) -> LeaderAnswers<T> {
        let mut answers = LeaderAnswers::new();
        let mut open = partitions;
        let mut backoff = self.retry_backoff();
        loop {
            let round = self.ask_leaders_once(open.clone(), &question, deadline).await;
            for (partition, answer) in round {
                let again = matches!(&answer, Err(error) if passes(error, backoff.attempts()));
                if !again {
                    open.remove(&partition);
                }
                answers.insert(partition, answer);
            }
            if open.is_empty() {
                return answers;
            }
            let next = self.host().now() + backoff.next(self.host());
            if next >= deadline.at() {
                return answers;
            }
            self.host().sleep_until(next).await;
            // What was refused here is told by the answers already.
            let _ = self.refresh(deadline).await;
        }
    }

    /// Asks once. Every partition has an answer.
    pub(crate) async fn ask_leaders_once<V, T, Q: RequestMessage>(
        &self,
        partitions: BTreeMap<TopicPartition, V>,
        question: &LeaderQuestion<V, T, Q>,
        deadline: Deadline,
    ) -> LeaderAnswers<T> {
        let mut answers = LeaderAnswers::new();
        let mut shares: BTreeMap<NodeId, Vec<AskedPartition<V>>> = BTreeMap::new();
        self.know_topics(partitions.keys(), deadline).await;
        let metadata = self.metadata();
        for (partition, asked) in partitions {
            let topic = metadata.topics.get(&partition.topic);
            let known = metadata.partition(&partition);
            match known.and_then(|it| Some((it.leader?, it.leader_epoch))) {
                Some((leader, epoch)) => shares.entry(leader).or_default().push((partition, epoch, asked)),
                None => {
                    let code = match (known, topic.map(|it| it.error)) {
                        (Some(_), _) => ErrorCode::LeaderNotAvailable,
                        (None, Some(error)) if error != ErrorCode::None => error,
                        _ => ErrorCode::UnknownTopicOrPartition,
                    };
                    answers.insert(partition, Err(code.into()));
                }
            }
        }
        let mut sent = Vec::with_capacity(shares.len());
        for (leader, share) in shares {
            let asking = async {
                let node = self.node(Target::Node(leader), deadline).await?;
                let version = node.version::<Q>(&question.versions)?;
                Ok(node.call(version, &(question.build)(&share)))
            };
            let asked = self.within(deadline, asking).await;
            sent.push((share, asked));
        }
        for (share, asked) in sent {
            let answer = match asked {
                Ok(answer) => self.within(deadline, answer).await,
                Err(error) => Err(error),
            };
            let (mut told, missing) = match answer {
                Ok(answer) => {
                    ((question.read)(answer), Error::Corrupt("a partition is missing in the answer".into()))
                }
                Err(error) => (Vec::new(), error),
            };
            for (partition, ..) in share {
                let at = told.iter().position(|(it, _)| *it == partition);
                let answer = at.map_or_else(|| Err(missing.clone()), |at| told.swap_remove(at).1);
                answers.insert(partition, answer);
            }
        }
        answers
    }

    /// Asks for the topics that are not known. Whether they are known then is for the caller to see.
    async fn know_topics(&self, partitions: impl Iterator<Item = &TopicPartition>, deadline: Deadline) {
        let metadata = self.metadata();
        let mut missing = false;
        for partition in partitions {
            self.want(&partition.topic, false);
            missing |= metadata.partition(partition).is_none_or(|it| it.leader.is_none());
        }
        if missing || self.is_outdated(&metadata) {
            let _ = self.refresh(deadline).await;
        }
    }
}

/// Whether asking again can help. What is unknown may have been made a moment ago, but not longer.
pub(super) fn passes(error: &Error, attempts: u32) -> bool {
    match error.code() {
        Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) => {
            attempts < MAX_UNKNOWN_ATTEMPTS
        }
        _ => error.is_retriable(),
    }
}

/// How often something unknown is asked for again.
const MAX_UNKNOWN_ATTEMPTS: u32 = 3;

/// Partitions, and what belongs to them, by topic.
pub(crate) fn by_topic<T>(
    partitions: impl IntoIterator<Item = (TopicPartition, T)>,
) -> BTreeMap<Str, Vec<(PartitionIndex, T)>> {
    let mut topics: BTreeMap<Str, Vec<(PartitionIndex, T)>> = BTreeMap::new();
    for (partition, it) in partitions {
        topics.entry(partition.topic).or_default().push((partition.partition, it));
    }
    topics
}
