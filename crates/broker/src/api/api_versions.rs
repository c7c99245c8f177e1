//! ApiVersions (key 18), versions 0 to 5.
//!
//! Any version is accepted; one that is not known is answered in the layout of version 0 (KIP-511). The response
//! header has version 0 always.

use ottla_base::{ErrorCode, Str};
use ottla_net::Response;
use ottla_wire::ApiKey;
use ottla_wire::messages::api_versions_request::ApiVersionsRequest;
use ottla_wire::messages::api_versions_response::{
    ApiVersion, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};

use crate::broker::Broker;
use crate::call::Call;
use crate::{dispatch, service};

/// The first version in which a client names its software (KIP-511).
const FIRST_VERSION_WITH_SOFTWARE: i16 = 3;
/// The first version in which ranges of features may begin at zero.
const FIRST_VERSION_WITH_ZERO: i16 = 4;
/// The first version in which a client names the node it means to talk to (KIP-1242).
const FIRST_VERSION_WITH_NODE: i16 = 5;

/// Says which APIs and features there are.
pub fn api_versions(broker: &Broker, call: Call, request: ApiVersionsRequest) -> Response {
    if call.version >= FIRST_VERSION_WITH_SOFTWARE {
        let names = [&request.client_software_name, &request.client_software_version];
        if !names.iter().all(|it| is_software_name(it)) {
            return call.respond(&refused(broker, &call, ErrorCode::InvalidRequest));
        }
    }
    if call.version >= FIRST_VERSION_WITH_NODE && !is_meant(broker, &request) {
        return call.respond(&refused(broker, &call, ErrorCode::RebootstrapRequired));
    }
    call.respond(&answer(broker, &call))
}

/// The answer to a client that asks in a version this release does not know.
pub fn unsupported(broker: &Broker, call: Call) -> Response {
    let call = Call { version: 0, ..call };
    let (first, last) = (ApiKey::ApiVersions.first_version(), ApiKey::ApiVersions.last_version());
    let own = ApiVersion {
        api_key: ApiKey::ApiVersions as i16,
        min_version: first,
        max_version: last,
        ..Default::default()
    };
    let refused = refused(broker, &call, ErrorCode::UnsupportedVersion);
    call.respond(&ApiVersionsResponse { api_keys: vec![own], ..refused })
}

fn refused(_broker: &Broker, _call: &Call, code: ErrorCode) -> ApiVersionsResponse {
    ApiVersionsResponse { error_code: code.code(), ..Default::default() }
}

/// Whether the client means this node of this cluster, as far as it says.
fn is_meant(broker: &Broker, request: &ApiVersionsRequest) -> bool {
    let cluster = request.cluster_id.as_ref().is_none_or(|it| *it == broker.cluster_id);
    cluster && (request.node_id < 0 || request.node_id == broker.node_id.get())
}

/// Letters and digits, with dots and dashes between them.
fn is_software_name(name: &str) -> bool {
    let inner = |it: u8| it.is_ascii_alphanumeric() || it == b'.' || it == b'-';
    let edge = |it: Option<&u8>| it.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|it| inner(*it))
}

fn answer(broker: &Broker, call: &Call) -> ApiVersionsResponse {
    let image = broker.image.load();
    let keys = service::served_by(call.listener.serves).map(|key| ApiVersion {
        api_key: key as i16,
        // librdkafka takes the broker for ancient unless Produce begins at 0 (KAFKA-18659).
        min_version: if key == ApiKey::Produce { 0 } else { key.first_version() },
        max_version: dispatch::last_version(key),
        ..Default::default()
    });
    // Before version 4 a client cannot read a range that begins at zero (KAFKA-17011).
    let can_read = |min: i16| call.version >= FIRST_VERSION_WITH_ZERO || min > 0;
    let supported = ottla_metadata::supported_features(false).into_iter();
    let supported =
        supported.filter(|(_, range)| can_read(range.min)).map(|(name, range)| SupportedFeatureKey {
            name: Str::from_static(name),
            min_version: range.min,
            max_version: range.max,
            ..Default::default()
        });
    // The quorum keeps the level of `kraft.version` itself.
    let quorum = (Str::from_static("kraft.version"), broker.kraft_version());
    let features = image.features.iter().chain([quorum]);
    let finalized = features.filter(|(_, level)| *level > 0).map(|(name, level)| FinalizedFeatureKey {
        name,
        min_version_level: level,
        max_version_level: level,
        ..Default::default()
    });
    ApiVersionsResponse {
        api_keys: keys.collect(),
        supported_features: supported.collect(),
        finalized_features: finalized.collect(),
        finalized_features_epoch: broker.image_offset().get(),
        ..Default::default()
    }
}
