//! What the five APIs of the share coordinator have in common: each partition that a request names is asked for by
//! itself, all of them before anybody waits.

use std::sync::Arc;

use ottla_base::{Str, Uuid};
use ottla_coordinator::share_state::{Reply, Request, SharePartitionKey};
use ottla_metadata::controller::Refusal;
use ottla_net::{Answer, Response};

use crate::broker::Broker;
use crate::shard::Asked;

/// The answers of a request, in its order: topics, and the partitions of each.
pub(super) type Answered<R> = Vec<(Uuid, Vec<(i32, Result<R, Refusal>)>)>;

/// The topics of a request with the partitions that it names.
pub(super) type Named<P> = Vec<(Uuid, Vec<(i32, P)>)>;

/// How one API asks, and what it takes from the answers.
pub(super) struct Manner<P, R> {
    /// The request for one partition.
    pub ask: fn(SharePartitionKey, P) -> Request,
    /// The answer, if it is one to such a request.
    pub take: fn(Reply) -> Option<Result<R, Refusal>>,
    /// How a refusal begins that the coordinator has not decided.
    pub unable: &'static str,
}

/// Asks for every partition. A request without a group, without topics, or with a topic without partitions is answered
/// with nothing.
pub(super) fn ask<P, R: Send + 'static>(
    broker: &Arc<Broker>,
    group: &Str,
    topics: Named<P>,
    manner: Manner<P, R>,
    respond: impl FnOnce(Answered<R>) -> Response + Send + 'static,
) -> Answer {
    if group.is_empty() || topics.iter().any(|(_, partitions)| partitions.is_empty()) {
        return respond(Vec::new()).into();
    }
    let Manner { ask, take, unable } = manner;
    let asked = topics.into_iter().map(|(topic, partitions)| {
        let asked = partitions.into_iter().map(|(partition, rest)| {
            let key = SharePartitionKey { group: group.clone(), topic, partition };
            let place = key.coordinator_key();
            (partition, broker.coordinators.share_states.ask(broker, &place, ask(key, rest)))
        });
        (topic, asked.collect::<Vec<(i32, Asked<Reply>)>>())
    });
    let asked: Vec<_> = asked.collect();
    Answer::later(async move {
        let mut answered = Vec::with_capacity(asked.len());
        for (topic, partitions) in asked {
            let mut results = Vec::with_capacity(partitions.len());
            for (partition, asked) in partitions {
                let result = match asked.await {
                    Ok(reply) => {
                        take(reply).unwrap_or_else(|| Err(ottla_base::ErrorCode::UnknownServerError.into()))
                    }
                    Err(code) => Err(Refusal::new(code, format!("{unable}: {}", code.message()))),
                };
                results.push((partition, result));
            }
            answered.push((topic, results));
        }
        respond(answered)
    })
}

/// The code and the words of a result.
pub(super) fn said<R>(result: &Result<R, Refusal>) -> (i16, Option<Str>) {
    match result {
        Ok(_) => (0, None),
        Err(refusal) => (refusal.code.code(), refusal.message.clone()),
    }
}
