//! ShareAcknowledge (key 79), versions 1 and 2: a member of a share group says how it went with records (KIP-932,
//! KIP-1222).

use std::sync::Arc;

use ottla_base::{ErrorCode, FastMap, Str, Uuid};
use ottla_coordinator::share_partition::{AckType, Acknowledgement};
use ottla_coordinator::share_state::SharePartitionKey;
use ottla_metadata::controller::Refusal;
use ottla_net::{Answer, Response};
use ottla_wire::messages::share_acknowledge_request::ShareAcknowledgeRequest;
use ottla_wire::messages::share_acknowledge_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareAcknowledgeResponse, ShareAcknowledgeTopicResponse,
};

use super::leader_hint;
use super::share_fetch::FIRST_VERSION_WITH_RENEWAL;
use crate::broker::Broker;
use crate::call::Call;
use crate::metrics::topics::TopicCounters;
use crate::share::{Acknowledging, ConnectionKey, FINAL_EPOCH, SessionKey, TopicPartitionId};

/// The longest member id: a UUID as people read it.
const MAX_MEMBER_ID_CHARS: usize = 36;

/// Puts every acknowledgement before its share partition, and answers when all are persisted.
pub fn share_acknowledge(broker: &Arc<Broker>, call: Call, request: ShareAcknowledgeRequest) -> Answer {
    let (key, lock_ms) = match begin(broker, &request) {
        Ok(begun) => begun,
        Err(refusal) => return refused(&call, refusal).into(),
    };
    let renews = call.version >= FIRST_VERSION_WITH_RENEWAL && request.is_renew_ack;
    let said = request.topics.into_iter().flat_map(|topic| {
        topic.partitions.into_iter().map(move |it| {
            let batches = it.acknowledgement_batches.into_iter().map(|batch| Acknowledgement {
                first: batch.first_offset,
                last: batch.last_offset,
                types: batch.acknowledge_types,
            });
            ((topic.topic_id, it.partition_index), batches.collect())
        })
    });
    let acknowledging = acknowledge(broker, &key, said.collect(), Said { version: call.version, renews });
    let broker = broker.clone();
    Answer::later(async move {
        let mut results = Vec::with_capacity(acknowledging.len());
        for (id, acknowledging) in acknowledging {
            results.push((id, acknowledging.end().await));
        }
        if request.share_session_epoch == FINAL_EPOCH {
            broker.share.end_session(&broker, &key);
        }
        count_refused(&broker, &results);
        respond(&broker, &call, results, lock_ms)
    })
}

fn begin(broker: &Arc<Broker>, request: &ShareAcknowledgeRequest) -> Result<(SessionKey, i32), Refusal> {
    let key = session_key(request.group_id.as_ref(), request.member_id.as_ref())?;
    let rules = broker.share.rules(broker, &key.group).map_err(Refusal::in_common_words)?;
    let moved = broker.share.sessions.acknowledge(&key, request.share_session_epoch);
    moved.map_err(Refusal::in_common_words)?;
    let lock_ms = i32::try_from(rules.rules.lock_duration.as_millis()).unwrap_or(i32::MAX);
    Ok((key, lock_ms))
}

fn refused(call: &Call, refusal: Refusal) -> Response {
    let words = refusal.message.unwrap_or(Str::from_static(refusal.code.message()));
    call.respond(&ShareAcknowledgeResponse {
        error_code: refusal.code.code(),
        error_message: Some(words),
        ..ShareAcknowledgeResponse::default()
    })
}

fn respond(
    broker: &Broker,
    call: &Call,
    results: Vec<(TopicPartitionId, Result<(), Refusal>)>,
    lock_ms: i32,
) -> Response {
    let mut leaders = Vec::new();
    let mut topics: Vec<ShareAcknowledgeTopicResponse> = Vec::new();
    let mut places: FastMap<Uuid, usize> = FastMap::default();
    for ((topic_id, partition_index), result) in results {
        let mut data = PartitionData { partition_index, ..PartitionData::default() };
        if let Err(refusal) = result {
            data.error_code = refusal.code.code();
            data.error_message = refusal.message;
            if matches!(refusal.code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch)
                && let Some((leader, epoch)) = leader_hint::leader(broker, topic_id, partition_index)
            {
                leaders.push(leader.get());
                data.current_leader = LeaderIdAndEpoch {
                    leader_id: leader.get(),
                    leader_epoch: epoch.get(),
                    ..LeaderIdAndEpoch::default()
                };
            }
        }
        let place = *places.entry(topic_id).or_insert_with(|| {
            topics.push(ShareAcknowledgeTopicResponse { topic_id, ..Default::default() });
            topics.len() - 1
        });
        topics[place].partitions.push(data);
    }
    let endpoints = leader_hint::endpoints(broker, call, leaders.into_iter());
    let endpoints = endpoints.into_iter().map(|it| NodeEndpoint {
        node_id: it.node_id.get(),
        host: it.host,
        port: it.port,
        rack: it.rack,
        ..NodeEndpoint::default()
    });
    call.respond(&ShareAcknowledgeResponse {
        acquisition_lock_timeout_ms: lock_ms,
        responses: topics,
        node_endpoints: endpoints.collect(),
        ..ShareAcknowledgeResponse::default()
    })
}

/// Whose session a request is about.
pub(super) fn session_key(group: Option<&Str>, member: Option<&Str>) -> Result<SessionKey, Refusal> {
    let Some(group) = group else {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "Invalid group id in the request."));
    };
    let member = member.filter(|it| !it.is_empty() && it.chars().count() <= MAX_MEMBER_ID_CHARS);
    let Some(member) = member else {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "Invalid member id in the request."));
    };
    Ok(SessionKey { group: group.detached(), member: member.detached() })
}

/// The connection that a request came in on.
pub(super) fn connection_of(call: &Call) -> ConnectionKey {
    ConnectionKey { listener: call.listener.name.clone(), peer: call.peer }
}

/// How acknowledgements were said.
#[derive(Clone, Copy)]
pub(super) struct Said {
    /// The version of the request.
    pub version: i16,
    /// Whether it says that it renews locks.
    pub renews: bool,
}

/// The topics of partitions, each once, as far as this broker has any of those partitions.
pub(super) fn topic_counters(
    broker: &Broker,
    ids: impl Iterator<Item = TopicPartitionId>,
) -> impl Iterator<Item = Arc<TopicCounters>> {
    let mut topics: FastMap<Uuid, Arc<TopicCounters>> = FastMap::default();
    for (topic, partition) in ids {
        if !topics.contains_key(&topic)
            && let Some(partition) = broker.partitions.get(topic, partition)
        {
            topics.insert(topic, partition.counters.clone());
        }
    }
    topics.into_values()
}

/// Counts acknowledgements that were refused, by topic.
pub(super) fn count_refused(broker: &Broker, results: &[(TopicPartitionId, Result<(), Refusal>)]) {
    let refused = results.iter().filter(|(_, result)| result.is_err()).map(|(id, _)| *id);
    for counters in topic_counters(broker, refused) {
        broker.metrics.all_topics.failed_share_acknowledgement_requests.increment();
        counters.failed_share_acknowledgement_requests.increment();
    }
}

/// Puts acknowledgements before their share partitions, in their order.
pub(super) fn acknowledge(
    broker: &Arc<Broker>,
    key: &SessionKey,
    said: Vec<(TopicPartitionId, Vec<Acknowledgement>)>,
    how: Said,
) -> Vec<(TopicPartitionId, Acknowledging)> {
    for counters in topic_counters(broker, said.iter().map(|(id, _)| *id)) {
        broker.metrics.all_topics.total_share_acknowledgement_requests.increment();
        counters.total_share_acknowledgement_requests.increment();
    }
    let acknowledging = said.into_iter().map(|(id, batches)| {
        let (topic, partition) = id;
        let acknowledging = match check(broker, id, &batches, how) {
            Err(code) => Acknowledging::refused(Refusal::in_common_words(code)),
            Ok(()) if batches.is_empty() => Acknowledging::Over(Some(Ok(()))),
            Ok(()) => {
                batches.iter().for_each(|batch| broker.metrics.shares.note(batch));
                let partition = SharePartitionKey { group: key.group.clone(), topic, partition };
                broker.share.acknowledge(broker, &partition, &key.member, &batches)
            }
        };
        (id, acknowledging)
    });
    acknowledging.collect()
}

/// Whether acknowledgements make sense at all (`KafkaApis.validateAcknowledgementBatches`).
fn check(
    broker: &Broker,
    (topic, partition): TopicPartitionId,
    batches: &[Acknowledgement],
    how: Said,
) -> Result<(), ErrorCode> {
    let count = broker.image.load().topics.get(topic).map(|it| it.partition_count);
    let count = count.ok_or(ErrorCode::UnknownTopicId)?;
    let mut previous_last = -1;
    for batch in batches {
        let len = i64::try_from(batch.types.len()).unwrap_or(i64::MAX);
        let has_types = len == 1 || (len > 1 && batch.last.checked_sub(batch.first) == Some(len - 1));
        let is_known = |id: i8| match AckType::from_id(id) {
            Some(AckType::Renew) => how.version >= FIRST_VERSION_WITH_RENEWAL && how.renews,
            known => known.is_some(),
        };
        if batch.first > batch.last
            || batch.first < previous_last
            || !has_types
            || !batch.types.iter().all(|it| is_known(*it))
        {
            return Err(ErrorCode::InvalidRequest);
        }
        previous_last = batch.last;
    }
    if (0..count).contains(&partition) { Ok(()) } else { Err(ErrorCode::UnknownTopicOrPartition) }
}
