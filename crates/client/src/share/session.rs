//! A share session with one broker: what is asked of it, one thing at a time, and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use ottla_base::{ErrorCode, Moment, NodeId, Str, Uuid};
use ottla_net::client::Reply;
use ottla_wire::messages::share_acknowledge_request as acknowledge;
use ottla_wire::messages::share_acknowledge_response::ShareAcknowledgeResponse;
use ottla_wire::messages::share_fetch_request::{
    AcknowledgementBatch, FetchPartition, FetchTopic, ForgottenTopic, ShareFetchRequest,
};
use ottla_wire::messages::share_fetch_response::{PartitionData, ShareFetchResponse};
use ottla_wire::{ApiKey, Message};

use super::acknowledgements::{Acknowledged, Run, renews, with_ids};
use crate::admin::Items;
use crate::cluster::{Cluster, Deadline, NodeConnection, Target, TopicPartition, millis};
use crate::error::{Error, Refusal, refused};
use crate::options::ShareOptions;

/// The epoch with which a session is closed.
const CLOSES: i32 = -1;

/// The group and the member.
pub(super) type Who<'a> = (&'a Str, &'a Str);

/// A broker that records are taken from.
#[derive(Debug, Default)]
pub(super) struct Source {
    epoch: i32,
    /// The partitions of the session, as the broker remembers them, with the ids of their topics.
    partitions: BTreeMap<TopicPartition, Uuid>,
    /// The ids of all topics that records were taken of: acknowledgements may come after a partition went elsewhere.
    ids: BTreeMap<Str, Uuid>,
    under_way: Option<UnderWay>,
    pub(super) muted_until: Moment,
}

/// A fetch that is not answered.
struct UnderWay {
    reply: Reply,
    version: i16,
    server: Arc<str>,
    acknowledged: BTreeSet<TopicPartition>,
    ids: BTreeMap<Uuid, Str>,
}

impl std::fmt::Debug for UnderWay {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "UnderWay({}, version {})", self.server, self.version)
    }
}

/// What a broker answered.
pub(super) struct Answer {
    pub(super) partitions: Vec<(TopicPartition, PartitionData)>,
}

/// Waits for the answer of any broker.
pub(super) async fn next_answer(sources: &mut BTreeMap<NodeId, Source>) -> (NodeId, Result<Answer, Error>) {
    let (id, reply) = poll_fn(|cx| {
        for (id, source) in sources.iter_mut() {
            let Some(under_way) = &mut source.under_way else { continue };
            if let Poll::Ready(reply) = Pin::new(&mut under_way.reply).poll(cx) {
                return Poll::Ready((*id, reply));
            }
        }
        Poll::Pending
    })
    .await;
    let Some(source) = sources.get_mut(&id) else {
        return (id, Err(Error::Closed("the broker is not asked any more".into())));
    };
    let Some(under_way) = &mut source.under_way else {
        return (id, Err(Error::Closed("the broker is not asked any more".into())));
    };
    let answer = reply.and_then(|mut reader| {
        let answer = ShareFetchResponse::decode(&mut reader, under_way.version)?;
        reader.finish()?;
        Ok(answer)
    });
    let answer = answer.map_err(|error| Error::of_request(error, &under_way.server));
    let answer = answer.and_then(|answer| {
        refused(answer.error_code, answer.error_message.as_ref())?;
        let mut partitions = Vec::new();
        for topic in answer.responses {
            let Some(name) = under_way.ids.get(&topic.topic_id) else { continue };
            for data in topic.partitions {
                partitions.push((TopicPartition::new(name.clone(), data.partition_index), data));
            }
        }
        Ok(Answer { partitions })
    });
    if answer.is_ok() {
        source.advance();
    }
    (id, answer)
}

/// Whether an error means no more than that a session has to begin again.
pub(super) fn is_of_session(error: &Error) -> bool {
    matches!(
        error.code(),
        Some(
            ErrorCode::ShareSessionNotFound
                | ErrorCode::InvalidShareSessionEpoch
                | ErrorCode::ShareSessionLimitReached
        )
    )
}

impl Source {
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whether the next fetch begins a session.
    pub(super) fn is_new(&self) -> bool {
        self.epoch == 0
    }

    pub(super) fn has_partitions(&self) -> bool {
        !self.partitions.is_empty()
    }

    /// Lets the next fetch begin a session.
    pub(super) fn begin_again(&mut self) {
        self.epoch = 0;
        self.partitions.clear();
    }

    fn advance(&mut self) {
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
    }

    /// The fetch has ended: the partitions that it acknowledged records of.
    pub(super) fn take_acknowledged(&mut self) -> BTreeSet<TopicPartition> {
        self.under_way.take().map(|it| it.acknowledged).unwrap_or_default()
    }

    /// Sends a fetch for these partitions, with acknowledgements. A fetch of nothing that tells nothing is not sent.
    pub(super) fn fetch(
        &mut self,
        connection: &NodeConnection,
        (group, member): Who<'_>,
        wanted: BTreeMap<TopicPartition, Uuid>,
        acknowledged: &Acknowledged,
        options: &ShareOptions,
    ) -> Result<(), Error> {
        let is_new = self.is_new();
        let gone: Vec<_> = self.partitions.iter().filter(|(it, _)| !wanted.contains_key(*it)).collect();
        if wanted.is_empty() && acknowledged.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let first = if renews(acknowledged) { 2 } else { ShareFetchRequest::FIRST_VERSION };
        let version = connection.version::<ShareFetchRequest>(&(first..=ShareFetchRequest::LAST_VERSION))?;
        let mut topics: BTreeMap<Uuid, BTreeMap<i32, FetchPartition>> = BTreeMap::new();
        let mut of = |id: Uuid, index: i32, batches: Vec<AcknowledgementBatch>| {
            let partition = FetchPartition {
                partition_index: index,
                acknowledgement_batches: batches,
                ..FetchPartition::default()
            };
            topics.entry(id).or_default().insert(index, partition);
        };
        for (partition, id) in wanted.iter().filter(|(it, _)| is_new || !self.partitions.contains_key(*it)) {
            of(*id, partition.partition.0, Vec::new());
        }
        self.ids.extend(wanted.iter().map(|(it, id)| (it.topic.clone(), *id)));
        let mut forgotten: BTreeMap<Uuid, BTreeSet<i32>> = BTreeMap::new();
        for (partition, id) in gone.into_iter().filter(|_| !is_new) {
            forgotten.entry(*id).or_default().insert(partition.partition.0);
        }
        for (id, partitions) in with_ids(acknowledged, |it| self.ids.get(&it.topic).copied()) {
            for (index, runs) in partitions {
                of(id, index, runs.iter().map(|it| batch(*it)).collect());
            }
        }
        // What is only acknowledged would become a part of the session.
        for partition in acknowledged.keys().filter(|it| !wanted.contains_key(*it)) {
            if let Some(id) = self.ids.get(&partition.topic) {
                forgotten.entry(*id).or_default().insert(partition.partition.0);
            }
        }
        // What renews locks waits for nothing and fetches nothing (KIP-1222).
        let renewing = renews(acknowledged);
        let unless = |number: i32| if renewing { 0 } else { number };
        let request = ShareFetchRequest {
            group_id: Some(group.clone()),
            member_id: Some(member.clone()),
            share_session_epoch: self.epoch,
            max_wait_ms: unless(options.fetch_max_wait_ms),
            min_bytes: unless(options.fetch_min_bytes),
            max_bytes: unless(options.fetch_max_bytes),
            max_records: unless(options.max_poll_records),
            batch_size: options.max_poll_records,
            share_acquire_mode: i8::from(options.share_acquire_mode.eq_ignore_ascii_case("record_limit")),
            is_renew_ack: renewing,
            topics: topics
                .into_iter()
                .map(|(topic_id, it)| FetchTopic {
                    topic_id,
                    partitions: it.into_values().collect(),
                    ..FetchTopic::default()
                })
                .collect(),
            forgotten_topics_data: forgotten
                .into_iter()
                .map(|(topic_id, it)| ForgottenTopic {
                    topic_id,
                    partitions: it.into_iter().collect(),
                    ..ForgottenTopic::default()
                })
                .collect(),
            ..ShareFetchRequest::default()
        };
        let ids = self.ids.iter().map(|(name, id)| (*id, name.clone())).collect();
        let timeout = connection.request_timeout + millis(options.fetch_max_wait_ms.into());
        let reply = connection
            .connection
            .send(ApiKey::ShareFetch, version, timeout, [], |writer| request.encode(writer, version));
        self.under_way = Some(UnderWay {
            reply,
            version,
            server: connection.server.clone(),
            acknowledged: acknowledged.keys().cloned().collect(),
            ids,
        });
        self.partitions = wanted;
        Ok(())
    }

    /// Sends acknowledgements, and waits for the answer.
    pub(super) async fn acknowledge(
        &mut self,
        cluster: &Cluster,
        broker: NodeId,
        who: Who<'_>,
        acknowledged: &Acknowledged,
        deadline: Deadline,
    ) -> Items<TopicPartition, ()> {
        let sent = self.send(cluster, broker, who, acknowledged, self.epoch, deadline);
        match Box::pin(sent).await {
            Ok(results) => {
                self.advance();
                acknowledged
                    .keys()
                    .map(|it| {
                        let missing = || Err(Error::Corrupt("a partition is missing in the answer".into()));
                        (it.clone(), results.get(it).cloned().unwrap_or_else(missing))
                    })
                    .collect()
            }
            Err(error) => {
                self.begin_again();
                acknowledged.keys().map(|it| (it.clone(), Err(error.clone()))).collect()
            }
        }
    }

    /// Closes the session: the broker gives what this member still has to others.
    pub(super) async fn close(
        &mut self,
        cluster: &Cluster,
        broker: NodeId,
        who: Who<'_>,
        deadline: Deadline,
    ) {
        if self.is_new() || self.is_under_way() {
            return;
        }
        let nothing = Acknowledged::new();
        let sent = self.send(cluster, broker, who, &nothing, CLOSES, deadline);
        if let Err(error) = Box::pin(sent).await {
            tracing::debug!(%broker, %error, "a share session was not closed; it ends by itself");
        }
        self.begin_again();
    }

    async fn send(
        &self,
        cluster: &Cluster,
        broker: NodeId,
        (group, member): Who<'_>,
        acknowledged: &Acknowledged,
        epoch: i32,
        deadline: Deadline,
    ) -> Result<BTreeMap<TopicPartition, Result<(), Error>>, Error> {
        let topics = with_ids(acknowledged, |it| self.ids.get(&it.topic).copied()).into_iter();
        let topics = topics.map(|(topic_id, partitions)| acknowledge::AcknowledgeTopic {
            topic_id,
            partitions: partitions
                .into_iter()
                .map(|(partition_index, runs)| acknowledge::AcknowledgePartition {
                    partition_index,
                    acknowledgement_batches: runs
                        .iter()
                        .map(|(first, last, what)| acknowledge::AcknowledgementBatch {
                            first_offset: *first,
                            last_offset: *last,
                            acknowledge_types: vec![*what],
                            ..acknowledge::AcknowledgementBatch::default()
                        })
                        .collect(),
                    ..acknowledge::AcknowledgePartition::default()
                })
                .collect(),
            ..acknowledge::AcknowledgeTopic::default()
        });
        let request = acknowledge::ShareAcknowledgeRequest {
            group_id: Some(group.clone()),
            member_id: Some(member.clone()),
            share_session_epoch: epoch,
            is_renew_ack: renews(acknowledged),
            topics: topics.collect(),
            ..acknowledge::ShareAcknowledgeRequest::default()
        };
        let first =
            if request.is_renew_ack { 2 } else { acknowledge::ShareAcknowledgeRequest::FIRST_VERSION };
        let versions = first..=acknowledge::ShareAcknowledgeRequest::LAST_VERSION;
        let asking = async {
            let node = cluster.node(Target::Node(broker), deadline).await?;
            let version = node.version::<acknowledge::ShareAcknowledgeRequest>(&versions)?;
            node.call(version, &request).await
        };
        let answer: ShareAcknowledgeResponse = cluster.within(deadline, Box::pin(asking)).await?;
        refused(answer.error_code, answer.error_message.as_ref())?;
        let mut results = BTreeMap::new();
        for topic in answer.responses {
            let Some((name, _)) = self.ids.iter().find(|(_, id)| **id == topic.topic_id) else { continue };
            for it in topic.partitions {
                let result = match ErrorCode::from_code(it.error_code) {
                    ErrorCode::None => Ok(()),
                    code => {
                        let message = it.error_message.map(|it| it.detached());
                        Err(Error::Refused(Refusal { code, message }))
                    }
                };
                results.insert(TopicPartition::new(name.clone(), it.partition_index), result);
            }
        }
        Ok(results)
    }
}

fn batch((first_offset, last_offset, what): Run) -> AcknowledgementBatch {
    AcknowledgementBatch {
        first_offset,
        last_offset,
        acknowledge_types: vec![what],
        ..AcknowledgementBatch::default()
    }
}
