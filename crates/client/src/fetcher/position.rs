//! Where fetching a partition goes on, and how that is found out.

use std::collections::BTreeMap;

use ottla_base::{ErrorCode, LeaderEpoch, Moment, NodeId, Offset, Timestamp};
use ottla_host::Host;
use ottla_wire::Message;
use ottla_wire::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use ottla_wire::messages::offset_for_leader_epoch_response::OffsetForLeaderEpochResponse;

use super::session::CONSUMER;
use crate::admin::{ListedOffset, OffsetSpec, offsets_question};
use crate::cluster::{
    AskedPartition, Backoff, Cluster, Deadline, LeaderAnswers, LeaderQuestion, PartitionMetadata,
    ToldPartition, TopicPartition, by_topic,
};
use crate::error::refused;
use crate::options::OffsetReset;

/// Where to fetch from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// From the first offset.
    Beginning,
    /// From the end on.
    End,
    /// From an offset.
    Offset(Offset),
    /// From the first record at or after a time, or else from the end on.
    AtOrAfter(Timestamp),
}

impl Position {
    fn spec(self) -> Option<OffsetSpec> {
        match self {
            Position::Beginning => Some(OffsetSpec::Earliest),
            Position::End => Some(OffsetSpec::Latest),
            Position::AtOrAfter(timestamp) => Some(OffsetSpec::AtOrAfter(timestamp)),
            Position::Offset(_) => None,
        }
    }
}

impl OffsetReset {
    /// Where to go on; `None` if that is an error.
    pub(super) fn position(self, host: &Host) -> Option<Position> {
        Some(match self {
            OffsetReset::Earliest => Position::Beginning,
            OffsetReset::Latest => Position::End,
            OffsetReset::ByDuration(back) => {
                let back_ms = i64::try_from(back.as_millis()).unwrap_or(i64::MAX);
                Position::AtOrAfter(Timestamp(host.wall_clock().0.saturating_sub(back_ms).max(0)))
            }
            OffsetReset::Never => return None,
        })
    }
}

/// A partition that is fetched.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) place: Place,
    pub(super) is_paused: bool,
    /// Counts seeks: what was asked before the last one is not taken.
    pub(super) generation: u64,
    /// The leader epoch of the record before the position.
    pub(super) offset_epoch: Option<LeaderEpoch>,
    /// The newest leader epoch under which the position is known to be right.
    pub(super) checked_epoch: LeaderEpoch,
    pub(super) retry_at: Moment,
    pub(super) backoff: Backoff,
    /// A follower to read from, and until when (KIP-392).
    pub(super) follower: Option<(NodeId, Moment)>,
    /// The end of what is committed, as last told.
    pub(super) high_watermark: Option<Offset>,
}

/// What is known of a partition's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It has to be looked up.
    Wanted(Position),
    /// It is being looked up.
    LookingUp(Position),
    /// It is known.
    At(Offset),
    /// It is known, and being held against a new leader's log.
    Checking(Offset),
}

impl Assigned {
    pub(super) fn new(position: Position, backoff: Backoff) -> Assigned {
        let mut assigned = Assigned {
            place: Place::Wanted(position),
            is_paused: false,
            generation: 0,
            offset_epoch: None,
            checked_epoch: LeaderEpoch::NONE,
            retry_at: Moment::default(),
            backoff,
            follower: None,
            high_watermark: None,
        };
        assigned.seek(position);
        assigned
    }

    pub(super) fn seek(&mut self, position: Position) {
        self.place = match position {
            Position::Offset(offset) => Place::At(offset),
            position => Place::Wanted(position),
        };
        self.generation += 1;
        self.offset_epoch = None;
        self.follower = None;
    }

    /// Waits before the partition is asked again.
    pub(super) fn hold_back(&mut self, cluster: &Cluster) {
        self.retry_at = cluster.host().now() + self.backoff.next(cluster.host());
        self.follower = None;
    }
}

/// What a task in the background found out.
#[derive(Debug)]
pub(super) enum Found {
    Offsets(BTreeMap<TopicPartition, u64>, LeaderAnswers<ListedOffset>),
    Ends(BTreeMap<TopicPartition, u64>, LeaderAnswers<EpochEnd>),
}

/// Where a leader's log ends for an epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct EpochEnd {
    pub(super) end: Option<Offset>,
    pub(super) epoch: LeaderEpoch,
}

/// The partitions whose position has to be looked up now, and what to look for.
pub(super) fn take_wanted(
    partitions: &mut BTreeMap<TopicPartition, Assigned>,
    now: Moment,
) -> BTreeMap<TopicPartition, (u64, OffsetSpec)> {
    let mut wanted = BTreeMap::new();
    for (partition, assigned) in partitions {
        if let Place::Wanted(position) = assigned.place
            && assigned.retry_at <= now
            && let Some(spec) = position.spec()
        {
            assigned.place = Place::LookingUp(position);
            wanted.insert(partition.clone(), (assigned.generation, spec));
        }
    }
    wanted
}

/// Looks positions up.
pub(super) async fn look_up(
    cluster: Cluster,
    wanted: BTreeMap<TopicPartition, (u64, OffsetSpec)>,
    read_committed: bool,
) -> Found {
    let deadline = cluster.deadline("looking up offsets");
    let generations = wanted.iter().map(|(partition, (generation, _))| (partition.clone(), *generation));
    let generations = generations.collect();
    let specs: BTreeMap<_, _> = wanted.into_iter().map(|(partition, (_, spec))| (partition, spec)).collect();
    let timeout_ms = cluster.options().request_timeout_ms;
    let first = OffsetSpec::first_version_of(specs.values().copied());
    let question = offsets_question(first, read_committed, timeout_ms);
    Found::Offsets(generations, cluster.ask_leaders_once(specs, &question, deadline).await)
}

/// Whether the position must be held against the leader's log first; if nothing can differ it need not.
pub(super) fn must_check(
    assigned: &mut Assigned,
    leader: &PartitionMetadata,
) -> Option<(Offset, LeaderEpoch)> {
    let Place::At(offset) = assigned.place else { return None };
    if leader.leader_epoch <= assigned.checked_epoch {
        return None;
    }
    match assigned.offset_epoch.filter(|it| *it < leader.leader_epoch) {
        Some(epoch) => Some((offset, epoch)),
        None => {
            assigned.checked_epoch = leader.leader_epoch;
            None
        }
    }
}

/// Holds positions against their leaders' logs (KIP-320).
pub(super) async fn check(
    cluster: Cluster,
    positions: BTreeMap<TopicPartition, (u64, LeaderEpoch)>,
    deadline: Deadline,
) -> Found {
    let generations = positions.iter().map(|(partition, (generation, _))| (partition.clone(), *generation));
    let generations = generations.collect();
    let epochs = positions.into_iter().map(|(partition, (_, epoch))| (partition, epoch)).collect();
    let build = |share: &[AskedPartition<LeaderEpoch>]| {
        let asked = share.iter().map(|(partition, current, epoch)| (partition.clone(), (*current, *epoch)));
        let topics = by_topic(asked).into_iter().map(|(topic, partitions)| OffsetForLeaderTopic {
            topic,
            partitions: partitions
                .into_iter()
                .map(|(index, (current, epoch))| OffsetForLeaderPartition {
                    partition: index.0,
                    current_leader_epoch: current.0,
                    leader_epoch: epoch.0,
                    ..OffsetForLeaderPartition::default()
                })
                .collect(),
            ..OffsetForLeaderTopic::default()
        });
        OffsetForLeaderEpochRequest {
            replica_id: CONSUMER.0,
            topics: topics.collect(),
            ..OffsetForLeaderEpochRequest::default()
        }
    };
    // The first version that consumers may use.
    let versions = 3..=OffsetForLeaderEpochRequest::LAST_VERSION;
    let question = LeaderQuestion { versions, build: Box::new(build), read: read_ends };
    Found::Ends(generations, cluster.ask_leaders_once(epochs, &question, deadline).await)
}

fn read_ends(answer: OffsetForLeaderEpochResponse) -> Vec<ToldPartition<EpochEnd>> {
    let mut ends = Vec::new();
    for topic in answer.topics {
        for it in topic.partitions {
            let partition = TopicPartition::new(topic.topic.clone(), it.partition);
            let known = it.end_offset >= 0 && it.leader_epoch >= 0;
            let end =
                EpochEnd { end: known.then_some(Offset(it.end_offset)), epoch: LeaderEpoch(it.leader_epoch) };
            ends.push((partition, refused(it.error_code, None).map(|()| end)));
        }
    }
    ends
}

/// Refusals after which a partition is asked again, with newer metadata.
pub(super) fn is_moved(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::ReplicaNotAvailable
            | ErrorCode::KafkaStorageError
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::OffsetNotAvailable
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::InconsistentTopicId
            | ErrorCode::LeaderNotAvailable
    )
}
