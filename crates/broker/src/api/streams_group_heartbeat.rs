//! StreamsGroupHeartbeat (key 88), versions 0 and 1: a member of a streams group says that it is there and what it has,
//! and hears what it is to have (KIP-1071). The group's internal topics are made by the way.

use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ErrorCode, Str};
use ottla_coordinator::group::{Reply, Request, StreamsHeartbeat, StreamsHeartbeatAnswer};
use ottla_net::Answer;
use ottla_wire::messages::streams_group_heartbeat_request::StreamsGroupHeartbeatRequest;
use ottla_wire::messages::streams_group_heartbeat_response::StreamsGroupHeartbeatResponse;

use super::group_client::client;
use super::streams_groups;
use crate::broker::Broker;
use crate::call::Call;
use crate::shard::answer;
use crate::streams_topics;

/// The status of an answer that names internal topics that are missing.
const MISSING_INTERNAL_TOPICS: i8 = 3;

/// How many topics a status names that could not be made.
const FAILURES_SHOWN: usize = 3;

/// Hands a heartbeat to the group's coordinator.
pub fn streams_group_heartbeat(
    broker: &Arc<Broker>,
    call: Call,
    request: StreamsGroupHeartbeatRequest,
) -> Answer {
    if !streams_groups::are_served(broker) {
        return call.respond(&refused(ErrorCode::UnsupportedVersion)).into();
    }
    let group = request.group_id.clone();
    let asked = Request::StreamsGroupHeartbeat(Box::new(StreamsHeartbeat { client: client(&call), request }));
    let asked = broker.coordinators.groups.ask(broker, &group, asked);
    let broker = broker.clone();
    answer(asked, move |given| {
        let response = match given.map(|it| *it) {
            Ok(Reply::StreamsGroupHeartbeat(answer)) => with_topics(&broker, answer),
            Ok(_) => refused(ErrorCode::UnknownServerError),
            Err(code) => refused(code),
        };
        call.respond(&response)
    })
}

fn refused(code: ErrorCode) -> StreamsGroupHeartbeatResponse {
    StreamsGroupHeartbeatResponse { error_code: code.code(), ..Default::default() }
}

/// Has missing internal topics made, and tells the member why some could not be.
fn with_topics(broker: &Arc<Broker>, answer: StreamsHeartbeatAnswer) -> StreamsGroupHeartbeatResponse {
    let StreamsHeartbeatAnswer { mut response, missing_topics } = answer;
    if missing_topics.is_empty() {
        return response;
    }
    let interval = u64::try_from(response.heartbeat_interval_ms).unwrap_or_default();
    let names: Vec<Str> = missing_topics.iter().map(|topic| topic.name.clone()).collect();
    streams_topics::request(broker, missing_topics, Duration::from_millis(2 * interval));
    let failures = broker.streams_topics.failures(&names, broker.host.now());
    let mut statuses = response.status.iter_mut().flatten();
    if let Some(status) = statuses.find(|status| status.status_code == MISSING_INTERNAL_TOPICS)
        && !failures.is_empty()
    {
        status.status_detail = Str::from(format!("{}{}", status.status_detail, told(&failures)));
    }
    response
}

fn told(failures: &[(Str, String)]) -> String {
    let shown = failures.iter().take(FAILURES_SHOWN).map(|(topic, why)| format!("{topic} ({why})"));
    let shown = shown.collect::<Vec<String>>().join(", ");
    match failures.len().saturating_sub(FAILURES_SHOWN) {
        0 => format!("; Creation failed: {shown}."),
        more => format!("; Creation failed: {shown} and {more} more."),
    }
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn the_first_failures_are_told() {
        let failure = |name: &str| (name.into(), "no room".to_owned());
        assert_eq!(told(&[failure("a")]), "; Creation failed: a (no room).");
        let many = ["a", "b", "c", "d", "e"].map(failure);
        let shown = "; Creation failed: a (no room), b (no room), c (no room) and 2 more.";
        assert_eq!(told(&many), shown);
    }
}
