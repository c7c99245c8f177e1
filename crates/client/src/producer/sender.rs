//! The task that sends what may leave, and takes the answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use ottla_base::{ErrorCode, LeaderEpoch, Moment, NodeId, ProducerEpoch, ProducerId, Str};
use ottla_net::Piece;
use ottla_wire::messages::init_producer_id_request::InitProducerIdRequest;
use ottla_wire::messages::produce_request::ProduceRequest;
use ottla_wire::messages::produce_response::{PartitionProduceResponse, ProduceResponse};
use ottla_wire::{ApiKey, Message};
use tokio::sync::oneshot;

use super::Inner;
use super::accumulator::{AfterAnswer, Answer, Departure, written};
use super::batch::Identity;
use super::request::{self, FIRST_WITH_IDS, Topics};
use crate::cluster::{NodeConnection, Target, millis};
use crate::error::{Error, Refusal, refused};

/// Sends until the producer is closed and everything is answered.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut changes = inner.cluster.changes();
    let host = inner.cluster.host().clone();
    let mut asking_identity = None;
    loop {
        let next = step(&inner);
        let needs_identity = inner.accumulator.lock().needs_identity();
        if needs_identity && asking_identity.is_none() {
            let asked = inner.clone();
            asking_identity = Some(host.spawn(async move { ask_identity(&asked).await }));
        }
        if inner.closing.load(Ordering::SeqCst) && inner.accumulator.lock().is_answered_below(u64::MAX) {
            return;
        }
        let identity = async {
            match &mut asking_identity {
                Some(asked) => {
                    let _ = asked.await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = inner.wake.notified() => {}
            () = identity => asking_identity = None,
            changed = changes.changed() => if changed.is_err() { return },
            () = host.sleep_until(next) => {}
        }
    }
}

/// Sends what may leave now; tells when to look again.
fn step(inner: &Arc<Inner>) -> Moment {
    let cluster = &inner.cluster;
    let now = cluster.host().now();
    let metadata = cluster.metadata();
    let hurry = inner.starving.load(Ordering::SeqCst) > 0 || inner.closing.load(Ordering::SeqCst);
    let mut connections = Vec::new();
    let mut accumulator = inner.accumulator.lock();
    for topic in accumulator.active_topics() {
        cluster.want(&topic, true);
    }
    let drained = accumulator.drain(now, &metadata, hurry, |id| {
        if connections.iter().any(|(known, _)| *known == id) {
            return true;
        }
        let open = cluster.node_or_connect(id);
        let is_open = open.is_some();
        connections.extend(open.map(|it| (id, it)));
        is_open
    });
    drop(accumulator);
    if drained.leader_missing || (cluster.is_outdated(&metadata) && !drained.requests.is_empty()) {
        cluster.refresh_soon();
    }
    for (id, departures) in drained.requests {
        if let Some((_, connection)) = connections.iter().find(|(known, _)| *known == id) {
            send(inner, id, connection, departures);
        }
    }
    inner.progress.send_modify(|it| *it = it.wrapping_add(1));
    drained.next.unwrap_or(now + millis(inner.options.delivery_timeout_ms.into()))
}

/// Sends one request at once; its answer is taken by a task of its own.
fn send(inner: &Arc<Inner>, id: NodeId, connection: &NodeConnection, departures: Vec<Departure>) {
    let acks = inner.options.acks_number();
    let mut topics = Topics::new();
    for departure in &departures {
        let name = &departure.partition.topic;
        let batches = topics.entry((name.clone(), departure.topic_id)).or_default();
        batches.push((departure.partition.partition.0, departure.bytes.clone()));
    }
    let all_have_ids = topics.keys().all(|(_, id)| !id.is_zero());
    let last = if all_have_ids { ProduceRequest::LAST_VERSION } else { FIRST_WITH_IDS - 1 };
    let last = last.min(inner.last_produce_version.load(Ordering::SeqCst));
    let version = match connection.version::<ProduceRequest>(&(ProduceRequest::FIRST_VERSION..=last)) {
        Ok(version) => version,
        Err(error) => return end(inner, id, &departures, Err(error)),
    };
    let timeout = inner.cluster.request_timeout();
    let timeout_ms = inner.cluster.options().request_timeout_ms;
    let mut written = Vec::new();
    let batches = topics.values().flatten();
    let pieces: Vec<Piece> = batches
        .map(|(_, bytes)| if acks == 0 { watched(bytes, &mut written) } else { bytes.clone() })
        .map(Piece::Bytes)
        .collect();
    let transactional_id = inner.options.transactional_id.clone();
    let body = |writer: &mut ottla_wire::Writer| {
        let transactional_id = transactional_id.as_deref();
        request::write(writer, version, transactional_id, acks, timeout_ms, &topics)
    };
    let server = connection.server.clone();
    let inner = inner.clone();
    let host = inner.cluster.host().clone();
    if acks == 0 {
        let sent = connection.connection.send_unanswered(ApiKey::Produce, version, pieces, body);
        host.spawn(async move {
            for written in written {
                // Its end is dropped once the socket has the bytes, or is no more.
                let _ = written.await;
            }
            let answer = sent.map(|()| None).map_err(|error| Error::of_request(error, &server));
            end(&inner, id, &departures, answer.map(|none| (version, none)));
        });
    } else {
        let reply = connection.connection.send(ApiKey::Produce, version, timeout, pieces, body);
        host.spawn(async move {
            let answer = async {
                let mut reader = reply.await?;
                let answer = ProduceResponse::decode(&mut reader, version)?;
                reader.finish()?;
                Ok(answer)
            };
            let answer = answer.await.map_err(|error| Error::of_request(error, &server));
            end(&inner, id, &departures, answer.map(|answer| (version, Some(answer))));
        });
    }
}

/// Bytes whose being let go is noticed.
fn watched(bytes: &Bytes, written: &mut Vec<oneshot::Receiver<()>>) -> Bytes {
    struct Watched(
        Bytes,
        #[expect(dead_code, reason = "its being dropped is the signal")] oneshot::Sender<()>,
    );
    impl AsRef<[u8]> for Watched {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let (sender, receiver) = oneshot::channel();
    written.push(receiver);
    Bytes::from_owner(Watched(bytes.clone(), sender))
}

/// Takes the end of a request: an answer, none because none was asked for, or an error.
fn end(
    inner: &Arc<Inner>,
    id: NodeId,
    departures: &[Departure],
    answer: Result<(i16, Option<ProduceResponse>), Error>,
) {
    let cluster = &inner.cluster;
    let now = cluster.host().now();
    let throttle_ms = match &answer {
        Ok((_, Some(answer))) => answer.throttle_time_ms,
        _ => 0,
    };
    let mut refresh = false;
    let mut accumulator = inner.accumulator.lock();
    accumulator.request_ended(id, now + millis(throttle_ms.into()));
    for departure in departures {
        let told = match &answer {
            Err(error) => Answer::Failed(error.clone()),
            Ok((_, None)) => Answer::Written(written(-1, -1)),
            Ok((version, Some(answer))) => match find(answer, *version, departure) {
                None => Answer::Failed(Error::Corrupt("a partition is missing in the answer".into())),
                Some(it) => {
                    let leader = &it.current_leader;
                    if leader.leader_id >= 0 {
                        let epoch = LeaderEpoch(leader.leader_epoch);
                        cluster.learn_leader(&departure.partition, NodeId(leader.leader_id), epoch);
                    }
                    partition_answer(it)
                }
            },
        };
        if let Answer::Failed(error) = &told {
            tracing::debug!(partition = %departure.partition, %error, "a batch was not written");
            if error.code() == Some(ErrorCode::ClusterAuthorizationFailed) {
                accumulator.fail_all(error);
            }
        }
        let host = cluster.host();
        let after = accumulator
            .answer(&departure.partition, departure.order, told, now, |backoff| backoff.next(host));
        refresh |= after == AfterAnswer::RefreshMetadata;
    }
    drop(accumulator);
    if refresh {
        cluster.refresh_soon();
    }
    inner.wake.notify_one();
}

fn find<'a>(
    answer: &'a ProduceResponse,
    version: i16,
    departure: &Departure,
) -> Option<&'a PartitionProduceResponse> {
    let topic = answer.responses.iter().find(|it| {
        if version >= FIRST_WITH_IDS {
            it.topic_id == departure.topic_id
        } else {
            it.name == departure.partition.topic
        }
    })?;
    topic.partition_responses.iter().find(|it| it.index == departure.partition.partition.0)
}

fn partition_answer(it: &PartitionProduceResponse) -> Answer {
    let code = ErrorCode::from_code(it.error_code);
    if code == ErrorCode::None {
        return Answer::Written(written(it.base_offset, it.log_append_time_ms));
    }
    let of_record = it.record_errors.iter().find_map(|it| it.batch_index_error_message.as_ref());
    let message = it.error_message.as_ref().or(of_record).map(Str::detached);
    Answer::Failed(Error::Refused(Refusal { code, message }))
}

/// Asks the cluster for an identity, until there is one or there will be none.
async fn ask_identity(inner: &Inner) {
    let cluster = &inner.cluster;
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        ..InitProducerIdRequest::default()
    };
    let mut backoff = cluster.retry_backoff();
    loop {
        let deadline = cluster.deadline("asking for a producer id");
        let answer = cluster.call(Target::Any, deadline, &request).await;
        let answer = answer.and_then(|answer| refused(answer.error_code, None).map(|()| answer));
        match answer {
            Ok(answer) => {
                let (id, epoch) = (ProducerId(answer.producer_id), ProducerEpoch(answer.producer_epoch));
                inner.accumulator.lock().set_identity(Identity { id, epoch, transactional: false });
                return;
            }
            Err(error) if error.is_retriable() => {
                tracing::debug!(%error, "no producer id yet");
                cluster.host().sleep(backoff.next(cluster.host())).await;
            }
            Err(error) => return inner.accumulator.lock().fail_all(&error),
        }
        if inner.closing.load(Ordering::SeqCst) && inner.accumulator.lock().is_answered_below(u64::MAX) {
            return;
        }
    }
}
