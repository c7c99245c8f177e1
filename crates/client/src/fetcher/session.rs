//! A fetch session with one broker: only what changed is asked, only what has news is answered (KIP-227).

use std::collections::BTreeMap;

use ottla_base::{ErrorCode, LeaderEpoch, NodeId, Offset, Str, Uuid};
use ottla_wire::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};

use crate::cluster::{TopicPartition, by_topic};

/// What is asked of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) topic_id: Uuid,
    pub(super) offset: Offset,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) max_bytes: i32,
    /// Which seek of the partition it belongs to.
    pub(super) generation: u64,
}

/// What the broker knows of this client.
#[derive(Debug, Default)]
pub(super) struct Session {
    id: i32,
    epoch: i32,
    /// What it has been asked so far, as it remembers it.
    pub(super) asked: BTreeMap<TopicPartition, Asked>,
    uses_ids: bool,
}

/// What a request says of the session.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    pub(super) session_id: i32,
    pub(super) session_epoch: i32,
    pub(super) topics: Vec<FetchTopic>,
    pub(super) forgotten: Vec<ForgottenTopic>,
}

impl Session {
    /// What to tell the broker so that it knows `wanted` and nothing else.
    pub(super) fn changes(&mut self, wanted: BTreeMap<TopicPartition, Asked>, with_ids: bool) -> Changes {
        if self.uses_ids != with_ids {
            self.begin_again();
            self.uses_ids = with_ids;
        }
        let full = self.epoch == 0;
        let same = |one: &Asked, other: &Asked| {
            (one.topic_id, one.offset, one.leader_epoch, one.max_bytes)
                == (other.topic_id, other.offset, other.leader_epoch, other.max_bytes)
        };
        let news = wanted.iter().filter(|(partition, asked)| {
            full || self.asked.get(partition).is_none_or(|known| !same(known, asked))
        });
        let news: Vec<_> = news.map(|(partition, asked)| (partition.clone(), *asked)).collect();
        let gone = self.asked.iter().filter(|(partition, known)| {
            !full && wanted.get(partition).is_none_or(|asked| asked.topic_id != known.topic_id)
        });
        let gone: Vec<_> = gone.map(|(partition, known)| (partition.clone(), known.topic_id)).collect();
        self.asked = wanted;
        Changes {
            session_id: self.id,
            session_epoch: self.epoch,
            topics: topics(news),
            forgotten: forgotten(gone),
        }
    }

    /// Takes an answer that was not an error.
    pub(super) fn answered(&mut self, session_id: i32) {
        if session_id == 0 {
            (self.id, self.epoch) = (0, 0);
        } else if self.epoch == 0 || session_id != self.id {
            (self.id, self.epoch) = (session_id, 1);
        } else {
            self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        }
    }

    /// Takes an error of the whole request.
    pub(super) fn failed(&mut self, code: ErrorCode) {
        if code == ErrorCode::FetchSessionIdNotFound {
            self.id = 0;
        }
        self.begin_again();
    }

    /// Lets the next request make a new session, and close the one there is.
    pub(super) fn begin_again(&mut self) {
        self.epoch = 0;
    }
}

fn topics(news: Vec<(TopicPartition, Asked)>) -> Vec<FetchTopic> {
    let mut by_id: BTreeMap<(Str, Uuid), Vec<FetchPartition>> = BTreeMap::new();
    for (topic, partitions) in by_topic(news) {
        for (index, asked) in partitions {
            by_id.entry((topic.clone(), asked.topic_id)).or_default().push(FetchPartition {
                partition: index.0,
                current_leader_epoch: asked.leader_epoch.0,
                fetch_offset: asked.offset.0,
                partition_max_bytes: asked.max_bytes,
                ..FetchPartition::default()
            });
        }
    }
    let topics = by_id.into_iter();
    topics
        .map(|((topic, topic_id), partitions)| FetchTopic {
            topic,
            topic_id,
            partitions,
            ..FetchTopic::default()
        })
        .collect()
}

fn forgotten(gone: Vec<(TopicPartition, Uuid)>) -> Vec<ForgottenTopic> {
    let mut by_id: BTreeMap<(Str, Uuid), Vec<i32>> = BTreeMap::new();
    for (partition, id) in gone {
        by_id.entry((partition.topic, id)).or_default().push(partition.partition.0);
    }
    let topics = by_id.into_iter();
    topics
        .map(|((topic, topic_id), partitions)| ForgottenTopic {
            topic,
            topic_id,
            partitions,
            ..ForgottenTopic::default()
        })
        .collect()
}

/// No broker in particular.
pub(super) const CONSUMER: NodeId = NodeId::NONE;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(offset: i64) -> Asked {
        Asked {
            topic_id: Uuid::from_number(9),
            offset: Offset(offset),
            leader_epoch: LeaderEpoch(0),
            max_bytes: 1,
            generation: 0,
        }
    }

    fn wanted(offsets: &[(i32, i64)]) -> BTreeMap<TopicPartition, Asked> {
        offsets.iter().map(|(index, offset)| (TopicPartition::new("t", *index), asked(*offset))).collect()
    }

    fn told(changes: &Changes) -> (i32, i32, Vec<i32>, Vec<i32>) {
        let news = changes.topics.iter().flat_map(|it| it.partitions.iter().map(|it| it.partition));
        let gone = changes.forgotten.iter().flat_map(|it| it.partitions.iter().copied());
        (changes.session_id, changes.session_epoch, news.collect(), gone.collect())
    }

    #[test]
    fn only_changes_are_told() {
        let mut session = Session::default();
        assert_eq!(told(&session.changes(wanted(&[(0, 0), (1, 0)]), true)), (0, 0, vec![0, 1], vec![]));
        session.answered(7);
        assert_eq!(told(&session.changes(wanted(&[(0, 5), (1, 0)]), true)), (7, 1, vec![0], vec![]));
        session.answered(7);
        assert_eq!(told(&session.changes(wanted(&[(1, 0), (2, 0)]), true)), (7, 2, vec![2], vec![0]));
        session.failed(ErrorCode::InvalidFetchSessionEpoch);
        assert_eq!(told(&session.changes(wanted(&[(1, 0), (2, 0)]), true)), (7, 0, vec![1, 2], vec![]));
        session.answered(8);
        session.failed(ErrorCode::FetchSessionIdNotFound);
        assert_eq!(told(&session.changes(wanted(&[(1, 0)]), true)), (0, 0, vec![1], vec![]));
        session.answered(0);
        assert_eq!(told(&session.changes(wanted(&[(1, 0)]), true)), (0, 0, vec![1], vec![]));
        session.answered(9);
        assert_eq!(told(&session.changes(wanted(&[(1, 0)]), false)), (9, 0, vec![1], vec![]));
    }
}
