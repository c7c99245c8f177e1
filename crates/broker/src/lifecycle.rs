//! A broker's life in its cluster: it registers, says that it is alive, is let in, and takes its leave (KIP-631).

use std::sync::Arc;
use std::time::Duration;

use ottla_base::{BrokerEpoch, ErrorCode, Str, Uuid};
use ottla_metadata::controller::{RegisterBroker, Reply, Request};
use ottla_wire::messages::broker_heartbeat_request::BrokerHeartbeatRequest;
use ottla_wire::messages::broker_heartbeat_response::BrokerHeartbeatResponse;
use ottla_wire::messages::broker_registration_request::{BrokerRegistrationRequest, Feature, Listener};
use ottla_wire::messages::controller_registration_request::{self, ControllerRegistrationRequest};

use crate::broker::Broker;

/// The version in which this broker registers: the last of Kafka 4.4.
const REGISTRATION_VERSION: i16 = 4;
/// How long a broker waits before it asks again what was not granted.
const RETRY: Duration = Duration::from_millis(20);
/// How long a broker asks to amend its registration before it says that it cannot.
const AMEND_LIMIT: Duration = Duration::from_secs(10);
/// How long it waits then.
const AMEND_RETRY: Duration = Duration::from_secs(5);
/// How long it waits at most for a change of the metadata before it looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// How often a leaving broker asks whether it may stop.
const LEAVE_RETRY: Duration = Duration::from_millis(5);

/// A listener as it is told to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvertisedListener {
    /// Its name.
    pub name: Str,
    /// The name or address that clients are to use.
    pub host: Str,
    /// The port that clients are to use.
    pub port: u16,
    /// The number of its security protocol (`SecurityProtocol`).
    pub security_protocol: i16,
}

/// What a broker says of itself when it registers.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Tells this process from the one before.
    pub incarnation: Uuid,
    /// Where clients reach it.
    pub listeners: Vec<AdvertisedListener>,
    /// `broker.rack`
    pub rack: Option<Str>,
    /// The ids of the log directories that are online.
    pub directories: Vec<Uuid>,
    /// The epoch of the last process if it stopped cleanly; -1 otherwise.
    pub previous_epoch: BrokerEpoch,
}

/// Why a broker is not part of its cluster.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The controller will not have it.
    #[error("the controller refused the registration with {0}: {hint}", hint = hint(*.0))]
    Refused(ErrorCode),
    /// The controller did not answer in time.
    #[error(
        "the controller did not let this broker in within {0:?}; is another broker with the same node.id alive?"
    )]
    TooLate(Duration),
}

fn hint(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::DuplicateBrokerRegistration => "another broker with the same node.id is alive",
        ErrorCode::InconsistentClusterId => "this directory was formatted for another cluster",
        ErrorCode::UnsupportedVersion => "this release does not support the cluster's finalized features",
        ErrorCode::InvalidRegistration => "the broker's listeners or directories are not acceptable",
        _ => "see the controller's log",
    }
}

/// Registers, asking again as long as the controller cannot say.
pub async fn register(
    broker: &Arc<Broker>,
    registration: &Registration,
    limit: Duration,
) -> Result<BrokerEpoch, LifecycleError> {
    let deadline = broker.host.now() + limit;
    loop {
        let request = Request::RegisterBroker(RegisterBroker {
            request: registration_request(broker, registration),
            version: REGISTRATION_VERSION,
            kraft_version: broker.kraft_version(),
        });
        let code = match broker.controller.submit(request).await {
            Ok(Reply::RegisterBroker(reply)) if reply.error_code == 0 => {
                return Ok(BrokerEpoch(reply.broker_epoch));
            }
            Ok(Reply::RegisterBroker(reply)) => ErrorCode::from_code(reply.error_code),
            Ok(_) => ErrorCode::UnknownServerError,
            Err(code) => code,
        };
        let may_pass = matches!(
            code,
            ErrorCode::NotController | ErrorCode::RequestTimedOut | ErrorCode::DuplicateBrokerRegistration
        );
        if !may_pass {
            return Err(LifecycleError::Refused(code));
        }
        if broker.host.now() >= deadline {
            return Err(LifecycleError::TooLate(limit));
        }
        broker.host.sleep(RETRY).await;
    }
}

fn registration_request(broker: &Broker, registration: &Registration) -> BrokerRegistrationRequest {
    let listeners = registration.listeners.iter().map(|it| Listener {
        name: it.name.clone(),
        host: it.host.clone(),
        port: it.port,
        security_protocol: it.security_protocol,
        ..Default::default()
    });
    let features = ottla_metadata::supported_features(false).into_iter().map(|(name, range)| Feature {
        name: Str::from_static(name),
        min_supported_version: range.min,
        max_supported_version: range.max,
        ..Default::default()
    });
    BrokerRegistrationRequest {
        broker_id: broker.node_id.get(),
        cluster_id: broker.cluster_id.clone(),
        incarnation_id: registration.incarnation,
        listeners: listeners.collect(),
        features: features.collect(),
        rack: registration.rack.clone(),
        log_dirs: registration.directories.clone(),
        previous_broker_epoch: registration.previous_epoch.get(),
        ..Default::default()
    }
}

/// Registers again when `metadata.version` has risen to where a registration names log directories (3.7-IV2): the
/// broker keeps its epoch, and what it is (`BrokerRegistrationTracker`). Ends once the cluster knows them.
pub async fn register_directories(broker: Arc<Broker>, registration: Registration) {
    let lacks_directories = || {
        let image = broker.image.load();
        let own = image.cluster.broker(broker.node_id);
        own.is_some_and(|it| it.incarnation == registration.incarnation && it.directories.is_empty())
    };
    while lacks_directories() {
        let has_place = || broker.image.load().features.version().has_directory_assignment();
        if !has_place() {
            broker.wait_for_image(LOOK_AGAIN, has_place).await;
            continue;
        }
        let directories = broker.online_directories();
        match register(&broker, &Registration { directories, ..registration.clone() }, AMEND_LIMIT).await {
            Ok(epoch) => {
                tracing::info!(%epoch, "registered again, with log directories");
                broker.wait_for_image(LOOK_AGAIN, || !lacks_directories()).await;
            }
            Err(error) => {
                tracing::warn!(%error, "log directories cannot be registered yet");
                broker.host.sleep(AMEND_RETRY).await;
            }
        }
    }
}

/// Tells the cluster about the controller of this process, once the level has a record for it (3.7-IV0), asking again
/// as long as the active one cannot say (KIP-919).
pub async fn register_controller(broker: Arc<Broker>, incarnation: Uuid, listeners: Vec<AdvertisedListener>) {
    use controller_registration_request::{Feature, Listener};
    let told = listeners.into_iter().map(|it| Listener {
        name: it.name,
        host: it.host,
        port: it.port,
        security_protocol: it.security_protocol,
        ..Default::default()
    });
    let features = ottla_metadata::supported_features(false).into_iter().map(|(name, range)| Feature {
        name: Str::from_static(name),
        min_supported_version: range.min,
        max_supported_version: range.max,
        ..Default::default()
    });
    let request = ControllerRegistrationRequest {
        controller_id: broker.node_id.get(),
        incarnation_id: incarnation,
        listeners: told.collect(),
        features: features.collect(),
        ..Default::default()
    };
    loop {
        let has_place = || broker.image.load().features.version().has_controller_registration();
        if !has_place() {
            broker.wait_for_image(LOOK_AGAIN, has_place).await;
            continue;
        }
        match broker.controller.submit(Request::RegisterController(request.clone())).await {
            Ok(Reply::RegisterController(reply)) if reply.error_code == 0 => return,
            Ok(Reply::RegisterController(reply)) => {
                let code = ErrorCode::from_code(reply.error_code);
                tracing::warn!(%code, "the registration of this controller was refused");
                return;
            }
            Ok(_) => return,
            Err(code) => tracing::debug!(%code, "the registration of this controller has to wait"),
        }
        broker.host.sleep(RETRY).await;
    }
}

/// What a broker wants of its controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Serve,
    Leave,
}

/// Says that the broker is alive, and what it wants.
async fn heartbeat(
    broker: &Broker,
    epoch: BrokerEpoch,
    wish: Wish,
) -> Result<BrokerHeartbeatResponse, ErrorCode> {
    let request = BrokerHeartbeatRequest {
        broker_id: broker.node_id.get(),
        broker_epoch: epoch.get(),
        current_metadata_offset: broker.image_offset().get(),
        want_fence: false,
        want_shut_down: wish == Wish::Leave,
        offline_log_dirs: broker.offline_directories(),
        cordoned_log_dirs: Some(broker.cordoned_directories()),
        ..Default::default()
    };
    match broker.controller.submit(Request::BrokerHeartbeat(request)).await? {
        Reply::BrokerHeartbeat(reply) if reply.error_code == 0 => Ok(reply),
        Reply::BrokerHeartbeat(reply) => Err(ErrorCode::from_code(reply.error_code)),
        _ => Err(ErrorCode::UnknownServerError),
    }
}

/// Waits until the broker has read the metadata up to its own registration and is let in.
pub async fn unfence(
    broker: &Arc<Broker>,
    epoch: BrokerEpoch,
    limit: Duration,
) -> Result<(), LifecycleError> {
    let deadline = broker.host.now() + limit;
    let mut granted = false;
    loop {
        // The registration of a process that was killed may still be active: it is not this one's.
        let image = broker.image.load();
        if image.cluster.broker(broker.node_id).is_some_and(|it| it.epoch == epoch && it.is_active()) {
            return Ok(());
        }
        if !granted && broker.image_offset().get() >= epoch.get() {
            match heartbeat(broker, epoch, Wish::Serve).await {
                Ok(reply) => granted = !reply.is_fenced,
                Err(code) => tracing::debug!(%code, "a heartbeat was refused"),
            }
        }
        if broker.host.now() >= deadline {
            return Err(LifecycleError::TooLate(limit));
        }
        broker.host.sleep(Duration::from_millis(1)).await;
    }
}

/// Says from time to time, and at once when a log directory fails, that the broker is alive, for as long as it is.
pub async fn keep_alive(broker: Arc<Broker>, epoch: BrokerEpoch) {
    let failures = ottla_storage::Listener::new();
    broker.logs.listen_for_failures(&failures);
    loop {
        let interval = broker.settings.load().server.quorum.broker_heartbeat_interval_ms;
        let interval = Duration::from_millis(u64::try_from(interval).unwrap_or(2000));
        if broker.host.timeout(interval, failures.wait()).await.is_ok() {
            failures.reset();
            broker.logs.listen_for_failures(&failures);
            let dropped = broker.logs.drop_offline().len();
            tracing::error!(partitions = dropped, "partitions are offline with their log directory");
        }
        if let Err(code) = heartbeat(&broker, epoch, Wish::Serve).await {
            tracing::warn!(%code, "a heartbeat was refused");
        }
    }
}

/// Asks the controller to move what this broker leads elsewhere, and waits until that is done or the time is over.
pub async fn leave(broker: &Arc<Broker>, epoch: BrokerEpoch, limit: Duration) {
    let leaving = async {
        loop {
            match heartbeat(broker, epoch, Wish::Leave).await {
                Ok(reply) if reply.should_shut_down => return,
                Ok(_) => {}
                Err(code) => {
                    tracing::warn!(%code, "the controller did not take the leave of this broker");
                    return;
                }
            }
            broker.host.sleep(LEAVE_RETRY).await;
        }
    };
    if broker.host.timeout(limit, leaving).await.is_err() {
        tracing::warn!(?limit, "the controller did not let this broker go in time; stopping all the same");
    }
}
