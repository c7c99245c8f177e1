//! Positions of a group, kept by its coordinator: committed and asked for.

use std::collections::BTreeMap;

use ottla_base::{ErrorCode, LeaderEpoch, Offset, Str, Uuid};
use ottla_wire::Message;
use ottla_wire::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_wire::messages::offset_commit_response::OffsetCommitResponse;
use ottla_wire::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use ottla_wire::messages::offset_fetch_response::OffsetFetchResponse;

use super::member::Identity;
use crate::cluster::{Cluster, Deadline, Metadata, TopicPartition, by_topic};
use crate::coordinator::{Coordinator, is_moving};
use crate::error::Error;

/// A place in a partition, as a group keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to be read.
    pub offset: Offset,
    /// The leader epoch of the record before it, if it is known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Whatever who committed wanted to remember.
    pub metadata: Str,
}

impl From<Offset> for CommittedOffset {
    fn from(offset: Offset) -> CommittedOffset {
        CommittedOffset { offset, leader_epoch: None, metadata: Str::default() }
    }
}

/// What a group has committed, by partition; partitions without a committed offset are missing.
pub type Committed = BTreeMap<TopicPartition, CommittedOffset>;

/// The first versions that name topics by id, and those before which they are named.
const FIRST_WITH_IDS: i16 = 10;
/// The first version of `OffsetFetch` for several groups.
const FIRST_WITH_GROUPS: i16 = 8;
/// The first version of `OffsetFetch` that leaves out offsets of open transactions.
const FIRST_STABLE: i16 = 7;

/// Which offsets are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stability {
    /// Whatever was committed last.
    Any,
    /// No transaction may be about to change them (KIP-447).
    Stable,
}

/// Commits offsets, as a member or from outside. One attempt at each coordinator; tells each partition's code.
pub(crate) async fn commit(
    coordinator: &Coordinator,
    cluster: &Cluster,
    group: (&Str, Option<&Str>),
    identity: impl Fn() -> Identity,
    offsets: &Committed,
    deadline: Deadline,
) -> Result<BTreeMap<TopicPartition, ErrorCode>, Error> {
    let metadata = cluster.metadata();
    let topics: Vec<_> = by_topic(offsets.iter().map(|(it, offset)| (it.clone(), offset)))
        .into_iter()
        .map(|(name, partitions)| OffsetCommitRequestTopic {
            topic_id: id_of(&metadata, &name),
            name,
            partitions: partitions
                .into_iter()
                .map(|(index, offset)| OffsetCommitRequestPartition {
                    partition_index: index.0,
                    committed_offset: offset.offset.0,
                    committed_leader_epoch: offset.leader_epoch.map_or(-1, |it| it.0),
                    committed_metadata: Some(offset.metadata.clone()),
                    ..OffsetCommitRequestPartition::default()
                })
                .collect(),
            ..OffsetCommitRequestTopic::default()
        })
        .collect();
    let last = last_version::<OffsetCommitRequest>(topics.iter().all(|it| !it.topic_id.is_zero()));
    let names: BTreeMap<Uuid, Str> = topics.iter().map(|it| (it.topic_id, it.name.clone())).collect();
    let request = |version: i16| {
        let identity = identity();
        OffsetCommitRequest {
            group_id: group.0.clone(),
            generation_id_or_member_epoch: identity.generation,
            member_id: identity.member_id,
            group_instance_id: group.1.filter(|_| version >= 7).cloned(),
            topics: topics.clone(),
            ..OffsetCommitRequest::default()
        }
    };
    let versions = OffsetCommitRequest::FIRST_VERSION..=last;
    let (version, answer) = coordinator.ask(deadline, versions, request, moving_commit).await?;
    let mut codes = BTreeMap::new();
    for topic in &answer.topics {
        let name = if version >= FIRST_WITH_IDS { names.get(&topic.topic_id) } else { Some(&topic.name) };
        let Some(name) = name.map(Str::detached) else { continue };
        for it in &topic.partitions {
            let partition = TopicPartition::new(name.clone(), it.partition_index);
            codes.insert(partition, ErrorCode::from_code(it.error_code));
        }
    }
    for partition in offsets.keys() {
        codes.entry(partition.clone()).or_insert(ErrorCode::UnknownServerError);
    }
    Ok(codes)
}

/// A partition's refusal that means the whole coordinator moves.
fn moving_commit(answer: &OffsetCommitResponse) -> ErrorCode {
    let codes =
        answer.topics.iter().flat_map(|it| &it.partitions).map(|it| ErrorCode::from_code(it.error_code));
    codes.into_iter().find(|it| is_moving(*it)).unwrap_or_default()
}

/// The first refusal of a commit, as an error.
pub(crate) fn first_refusal(codes: BTreeMap<TopicPartition, ErrorCode>) -> Result<(), Error> {
    codes.into_values().find(|it| *it != ErrorCode::None).map_or(Ok(()), |code| Err(code.into()))
}

/// Asks for committed offsets: of some partitions, or of all that the group has. Again while the coordinator moves or
/// a transaction is open, until the deadline.
pub(crate) async fn fetch(
    coordinator: &Coordinator,
    cluster: &Cluster,
    group: &Str,
    identity: impl Fn() -> Option<Identity>,
    partitions: Option<&[TopicPartition]>,
    stability: Stability,
    deadline: Deadline,
) -> Result<BTreeMap<TopicPartition, Result<Option<CommittedOffset>, Error>>, Error> {
    let mut backoff = cluster.retry_backoff();
    loop {
        let metadata = cluster.metadata();
        let last = match partitions {
            // Without names nobody could tell what an id means.
            None => FIRST_WITH_IDS - 1,
            Some(it) if it.iter().any(|it| id_of(&metadata, &it.topic).is_zero()) => FIRST_WITH_IDS - 1,
            Some(_) => OffsetFetchRequest::LAST_VERSION,
        };
        let first = match (partitions, stability) {
            (_, Stability::Stable) => FIRST_STABLE,
            (None, Stability::Any) => 2,
            (Some(_), Stability::Any) => OffsetFetchRequest::FIRST_VERSION,
        };
        let request =
            |version: i16| fetch_request(version, group, identity(), partitions, &metadata, stability);
        let (version, answer) = coordinator.ask(deadline, first..=last, request, fetch_code).await?;
        let code = fetch_code(&answer);
        if code != ErrorCode::None {
            return Err(code.into());
        }
        let told = read_fetched(version, answer, &metadata, partitions.unwrap_or_default());
        let unstable = |it: &Result<_, Error>| matches!(it, Err(error) if error.code() == Some(ErrorCode::UnstableOffsetCommit));
        if !told.values().any(unstable) {
            return Ok(told);
        }
        let mut last = Some(ErrorCode::UnstableOffsetCommit.into());
        cluster.pause(&mut backoff, deadline, &mut last).await?;
    }
}

fn fetch_request(
    version: i16,
    group: &Str,
    identity: Option<Identity>,
    partitions: Option<&[TopicPartition]>,
    metadata: &Metadata,
    stability: Stability,
) -> OffsetFetchRequest {
    let topics = partitions.map(|it| by_topic(it.iter().map(|it| (it.clone(), ()))));
    let indexes =
        |it: Vec<(ottla_base::PartitionIndex, ())>| it.into_iter().map(|(index, ())| index.0).collect();
    let mut request = OffsetFetchRequest {
        require_stable: stability == Stability::Stable && version >= FIRST_STABLE,
        ..OffsetFetchRequest::default()
    };
    if version < FIRST_WITH_GROUPS {
        request.group_id = group.clone();
        request.topics = topics.map(|topics| {
            let topics = topics.into_iter().map(|(name, it)| OffsetFetchRequestTopic {
                name,
                partition_indexes: indexes(it),
                ..OffsetFetchRequestTopic::default()
            });
            topics.collect()
        });
        return request;
    }
    let (member_id, member_epoch) = match identity {
        Some(it) if version >= 9 => (Some(it.member_id), it.generation),
        _ => (None, -1),
    };
    let topics = topics.map(|topics| {
        let topics = topics.into_iter().map(|(name, it)| OffsetFetchRequestTopics {
            topic_id: id_of(metadata, &name),
            name,
            partition_indexes: indexes(it),
            ..OffsetFetchRequestTopics::default()
        });
        topics.collect()
    });
    request.groups = vec![OffsetFetchRequestGroup {
        group_id: group.clone(),
        member_id,
        member_epoch,
        topics,
        ..OffsetFetchRequestGroup::default()
    }];
    request
}

/// What refuses the whole answer.
fn fetch_code(answer: &OffsetFetchResponse) -> ErrorCode {
    let of_group = answer.groups.first().map_or(0, |it| it.error_code);
    ErrorCode::from_code(if answer.error_code == 0 { of_group } else { answer.error_code })
}

fn read_fetched(
    version: i16,
    answer: OffsetFetchResponse,
    metadata: &Metadata,
    asked: &[TopicPartition],
) -> BTreeMap<TopicPartition, Result<Option<CommittedOffset>, Error>> {
    let mut told = BTreeMap::new();
    let mut take = |topic: &Str, index: i32, code: i16, (offset, epoch): (i64, i32), text: Option<Str>| {
        let committed = match ErrorCode::from_code(code) {
            ErrorCode::None => Ok((offset >= 0).then(|| CommittedOffset {
                offset: Offset(offset),
                leader_epoch: (epoch >= 0).then_some(LeaderEpoch(epoch)),
                metadata: text.map(|it| it.detached()).unwrap_or_default(),
            })),
            code => Err(code.into()),
        };
        told.insert(TopicPartition::new(topic.detached(), index), committed);
    };
    for topic in answer.topics {
        for it in topic.partitions {
            let place = (it.committed_offset, it.committed_leader_epoch);
            take(&topic.name, it.partition_index, it.error_code, place, it.metadata);
        }
    }
    for topic in answer.groups.into_iter().next().into_iter().flat_map(|it| it.topics) {
        let name = if version >= FIRST_WITH_IDS {
            asked.iter().map(|it| &it.topic).find(|it| id_of(metadata, it) == topic.topic_id).cloned()
        } else {
            Some(topic.name)
        };
        let Some(name) = name else { continue };
        for it in topic.partitions {
            let place = (it.committed_offset, it.committed_leader_epoch);
            take(&name, it.partition_index, it.error_code, place, it.metadata);
        }
    }
    told
}

/// A topic's id; zero if it is not known.
pub(crate) fn id_of(metadata: &Metadata, name: &Str) -> Uuid {
    metadata.topic(name).map_or(Uuid::ZERO, |it| it.id)
}

/// The last version, or the last that names topics.
fn last_version<Q: Message>(all_have_ids: bool) -> i16 {
    if all_have_ids { Q::LAST_VERSION } else { FIRST_WITH_IDS - 1 }
}
