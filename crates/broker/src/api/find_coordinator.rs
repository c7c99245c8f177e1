//! FindCoordinator (key 10), versions 0 to 6: which broker keeps a group, a transactional id or the state of a share
//! partition. The topic behind it is made when somebody asks first.

use std::sync::Arc;

use ottla_base::{ErrorCode, PartitionIndex, Str, Uuid};
use ottla_coordinator::partition_for;
use ottla_net::Response;
use ottla_wire::messages::find_coordinator_request::FindCoordinatorRequest;
use ottla_wire::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};

use crate::broker::{Broker, Endpoint};
use crate::call::Call;
use crate::shard::ensure_internal_topic;
use crate::topic;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

const FIRST_VERSION_WITH_MANY_KEYS: i16 = 4;
const FIRST_VERSION_WITH_SHARE: i16 = 6;

/// Says where coordinators are.
pub fn find_coordinator(broker: &Arc<Broker>, call: Call, request: FindCoordinatorRequest) -> Response {
    let find = |key: &Str| find(broker, &call, request.key_type, key);
    if call.version < FIRST_VERSION_WITH_MANY_KEYS {
        return call.respond(&one(find(&request.key)));
    }
    let is_known = (GROUP..=SHARE).contains(&request.key_type);
    let coordinators = request.coordinator_keys.iter().map(|key| match find(key) {
        Ok(endpoint) => Coordinator {
            key: key.clone(),
            node_id: endpoint.node_id.get(),
            host: endpoint.host,
            port: endpoint.port,
            ..Default::default()
        },
        Err(code) => Coordinator {
            key: key.clone(),
            node_id: -1,
            port: -1,
            error_code: code.code(),
            // Kafka explains only what it stumbles over.
            error_message: Some(Str::from_static(if is_known { "" } else { code.message() })),
            ..Default::default()
        },
    });
    call.respond(&FindCoordinatorResponse { coordinators: coordinators.collect(), ..Default::default() })
}

fn one(found: Result<Endpoint, ErrorCode>) -> FindCoordinatorResponse {
    let message = |code: ErrorCode| Some(Str::from_static(code.message()));
    match found {
        Ok(endpoint) => FindCoordinatorResponse {
            // Kafka has no other words for it.
            error_message: Some(Str::from_static("NONE")),
            node_id: endpoint.node_id.get(),
            host: endpoint.host,
            port: endpoint.port,
            ..Default::default()
        },
        Err(code) => FindCoordinatorResponse {
            error_code: code.code(),
            error_message: message(code),
            node_id: -1,
            port: -1,
            ..Default::default()
        },
    }
}

fn find(broker: &Arc<Broker>, call: &Call, key_type: i8, key: &Str) -> Result<Endpoint, ErrorCode> {
    let topic = match key_type {
        GROUP => topic::CONSUMER_OFFSETS,
        TRANSACTION => topic::TRANSACTION_STATE,
        SHARE if call.version >= FIRST_VERSION_WITH_SHARE && is_share_key(key) => topic::SHARE_GROUP_STATE,
        _ => return Err(ErrorCode::InvalidRequest),
    };
    let image = broker.image.load();
    let Some(found) = image.topics.named(topic) else {
        ensure_internal_topic(broker, topic);
        return Err(ErrorCode::CoordinatorNotAvailable);
    };
    let index = PartitionIndex(partition_for(key, found.partition_count));
    let partition = image.topics.partition(found.id, index).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    let alive = image.cluster.is_active(partition.leader);
    let endpoint = broker.endpoint(partition.leader, &call.listener.name);
    endpoint.filter(|_| alive).ok_or(ErrorCode::CoordinatorNotAvailable)
}

/// Whether a key is `group:topicId:partition` (`SharePartitionKey.getInstance`); the group may have colons, too.
fn is_share_key(key: &str) -> bool {
    let mut parts = key.rsplitn(3, ':');
    let (Some(partition), Some(topic), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    !group.trim().is_empty() && topic.parse::<Uuid>().is_ok() && partition.parse::<i32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_share_key;

    #[test]
    fn share_keys_name_a_group_a_topic_and_a_partition() {
        let id = "AAAAAAAAAAAAAAAAAAAAAQ";
        assert!(is_share_key(&format!("g:{id}:0")));
        assert!(is_share_key(&format!("g:with:colons:{id}:12")));
        for key in ["", "g", "g:0", &format!(" :{id}:0"), &format!("g:{id}:x"), "g:topic:0"] {
            assert!(!is_share_key(key), "{key}");
        }
    }
}
