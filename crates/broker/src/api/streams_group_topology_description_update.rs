//! StreamsGroupTopologyDescriptionUpdate (key 93), version 0: a member brings the description of its topology
//! (KIP-1331). Descriptions are kept by a plugin of Kafka's broker (`group.streams.topology.description.plugin.class`),
//! a Java class; without one, as by default, Kafka answers as this does.

use std::sync::Arc;

use ottla_base::{ErrorCode, Str};
use ottla_net::Response;
use ottla_wire::messages::streams_group_topology_description_update_request::StreamsGroupTopologyDescriptionUpdateRequest;
use ottla_wire::messages::streams_group_topology_description_update_response::StreamsGroupTopologyDescriptionUpdateResponse;

use super::streams_groups;
use crate::broker::Broker;
use crate::call::Call;

const NO_PLUGIN: &str = "The broker has no streams group topology description plugin configured.";

/// Says that there is nowhere to keep a description.
pub fn streams_group_topology_description_update(
    broker: &Arc<Broker>,
    call: &Call,
    _: StreamsGroupTopologyDescriptionUpdateRequest,
) -> Response {
    let words = streams_groups::are_served(broker).then(|| Str::from_static(NO_PLUGIN));
    call.respond(&StreamsGroupTopologyDescriptionUpdateResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        error_message: words,
        ..Default::default()
    })
}
