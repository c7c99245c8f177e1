//! The life of a broker as the controller sees it (KIP-631, KIP-841, KIP-858, KIP-1066).

use std::collections::BTreeSet;

use ottla_base::{BrokerEpoch, ErrorCode, NodeId, Offset, Str, Uuid};
use ottla_wire::messages::broker_heartbeat_request::BrokerHeartbeatRequest;
use ottla_wire::messages::broker_heartbeat_response::BrokerHeartbeatResponse;
use ottla_wire::messages::broker_registration_request::{
    BrokerRegistrationRequest, Feature as RequestedFeature,
};
use ottla_wire::messages::broker_registration_response::BrokerRegistrationResponse;
use ottla_wire::messages::controller_registration_request::ControllerRegistrationRequest;
use ottla_wire::messages::controller_registration_response::ControllerRegistrationResponse;
use ottla_wire::messages::unregister_broker_request::UnregisterBrokerRequest;
use ottla_wire::messages::unregister_broker_response::UnregisterBrokerResponse;
use ottla_wire::messages::unregister_controller_request::UnregisterControllerRequest;
use ottla_wire::messages::unregister_controller_response::UnregisterControllerResponse;
use ottla_wire::records::metadata::{
    BrokerEndpoint, BrokerFeature, BrokerRegistrationChangeRecord, ControllerEndpoint, ControllerFeature,
    MetadataRecord, RegisterBrokerRecord, RegisterControllerRecord, UnregisterBrokerRecord,
    UnregisterControllerRecord,
};

use super::elections::Departure;
use super::{Decided, Deciding, Refusal, parts};
use crate::{Broker, Feature, LevelRange, MetadataVersion};

/// A broker registers.
#[derive(Debug, Clone)]
pub struct RegisterBroker {
    /// What it says.
    pub request: BrokerRegistrationRequest,
    /// The version in which it said it: from 3 on, a broker tells of its last clean shutdown.
    pub version: i16,
    /// The finalized level of `kraft.version`, which the quorum keeps.
    pub kraft_version: i16,
}

/// `BrokerRegistrationChangeRecord.fenced`.
const FENCE: i8 = 1;
const UNFENCE: i8 = -1;
/// `BrokerRegistrationChangeRecord.in_controlled_shutdown`.
const IN_CONTROLLED_SHUTDOWN: i8 = 1;

/// Where a broker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fenced,
    Unfenced,
    ShuttingDown,
    MayStop,
}

pub(super) fn register(
    deciding: &mut Deciding<'_>,
    request: RegisterBroker,
) -> Decided<BrokerRegistrationResponse> {
    let id = NodeId(request.request.broker_id);
    let answer = |error_code: ErrorCode, epoch: BrokerEpoch| BrokerRegistrationResponse {
        error_code: error_code as i16,
        broker_epoch: epoch.get(),
        ..Default::default()
    };
    match deciding.registration(request) {
        Ok(records) => {
            let Some(MetadataRecord::RegisterBrokerRecord(record)) = records.last() else {
                unreachable!("a registration ends with its record")
            };
            let epoch = BrokerEpoch(record.broker_epoch);
            let offset = deciding.at.end.after(records.len() as i64 - 1);
            deciding.sessions.register(id, epoch, offset);
            Decided::each_alone(records, answer(ErrorCode::None, epoch))
        }
        Err(refusal) => Decided::reply(answer(refusal.code, BrokerEpoch(-1))),
    }
}

impl Deciding<'_> {
    /// The records of a registration: what a new incarnation cannot be trusted with any more, then itself.
    fn registration(&self, request: RegisterBroker) -> Result<Vec<MetadataRecord>, Refusal> {
        let RegisterBroker { request, version, kraft_version } = request;
        let id = NodeId(request.broker_id);
        if request.cluster_id != self.options.cluster_id {
            let message = format!(
                "Expected cluster ID {}, but got cluster ID {}",
                self.options.cluster_id, request.cluster_id
            );
            return Err(Refusal::new(ErrorCode::InconsistentClusterId, message));
        }
        let existing = self.image.cluster.broker(id);
        let same_incarnation = existing.filter(|it| it.incarnation == request.incarnation_id);
        if let Some(existing) = existing
            && same_incarnation.is_none()
            && self.sessions.is_alive(id, existing.epoch, self.at.now, self.options)
        {
            let message = "Another broker is registered with that broker id. If the broker was recently restarted \
                           this should self-resolve once the heartbeat manager expires the broker's session.";
            return Err(Refusal::new(ErrorCode::DuplicateBrokerRegistration, message));
        }
        if request.is_migrating_zk_broker {
            let message = "Controller does not support registering ZK brokers.";
            return Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, message));
        }
        let with_directories = self.image.features.version().has_directory_assignment();
        if with_directories {
            self.check_directories(id, &request.log_dirs)?;
        }
        self.check_features(&request.features, kraft_version)?;
        let mut record = registration_record(&request);
        if with_directories {
            record.log_dirs.clone_from(&request.log_dirs);
        }
        let mut records = Vec::new();
        if let Some(existing) = same_incarnation {
            record.fenced = existing.fenced;
            record.in_controlled_shutdown = existing.in_controlled_shutdown;
            record.broker_epoch = existing.epoch.get();
        } else {
            let stored_epoch = existing.map_or(-2, |it| it.epoch.get());
            let clean = version >= 3 && stored_epoch == request.previous_broker_epoch;
            let departure = if clean || !self.image.features.has_eligible_leader_replicas() {
                Departure::Leaves(id)
            } else {
                Departure::LostItsTail(id)
            };
            self.update_partitions_for(departure, &mut records);
            record.broker_epoch = self.at.end.get();
        }
        records.push(MetadataRecord::RegisterBrokerRecord(record));
        Ok(records)
    }

    fn check_directories(&self, broker: NodeId, directories: &[Uuid]) -> Result<(), Refusal> {
        let refuse = |message: String| Err(Refusal::new(ErrorCode::InvalidRegistration, message));
        if directories.is_empty() {
            return refuse("No directories specified in request".to_owned());
        }
        if directories.iter().any(|it| it.is_reserved()) {
            return refuse("Reserved directory ID in request".to_owned());
        }
        if directories.iter().collect::<BTreeSet<_>>().len() != directories.len() {
            return refuse("Duplicate directory ID in request".to_owned());
        }
        for directory in directories {
            if let Some(owner) = self.image.cluster.owner_of_directory(*directory).filter(|it| *it != broker)
            {
                return refuse(format!("Broker {owner} is already registered with directory {directory}"));
            }
        }
        Ok(())
    }

    /// A broker must be able to run at every finalized level.
    fn check_features(&self, features: &[RequestedFeature], kraft_version: i16) -> Result<(), Refusal> {
        let finalized = |name: &str| match name == Feature::KRaft.name() {
            true => kraft_version,
            false => self.image.features.level_named(name),
        };
        let check = |name: &str, range: LevelRange| match finalized(name) {
            level if range.contains(level) => Ok(()),
            level => Err(Refusal::new(
                ErrorCode::UnsupportedVersion,
                format!(
                    "Unable to register because the broker does not support finalized version {level} of {name}. The \
                     broker wants a version between {} and {}, inclusive.",
                    range.min, range.max
                ),
            )),
        };
        for feature in features {
            let range = LevelRange { min: feature.min_supported_version, max: feature.max_supported_version };
            check(&feature.name, range)?;
        }
        let named = |name: &str| features.iter().any(|it| it.name == *name);
        if !named(MetadataVersion::FEATURE_NAME) {
            let message = format!("Request features do not contain '{}'", MetadataVersion::FEATURE_NAME);
            return Err(Refusal::new(ErrorCode::InvalidRegistration, message));
        }
        let kraft = (Str::from_static(Feature::KRaft.name()), kraft_version);
        let mut all = self.image.features.iter().chain([kraft]).filter(|(_, level)| *level != 0);
        all.try_for_each(|(name, _)| if named(&name) { Ok(()) } else { check(&name, LevelRange::DISABLED) })
    }

    /// The broker of a request that carries its epoch.
    pub(super) fn current_broker(&self, id: NodeId, epoch: i64) -> Result<&Broker, Refusal> {
        let stale = |message: String| Refusal::new(ErrorCode::StaleBrokerEpoch, message);
        let broker = self.image.cluster.broker(id);
        let broker =
            broker.ok_or_else(|| stale(format!("No broker registration found for broker id {id}")))?;
        if broker.epoch.get() != epoch {
            let message = format!("Expected broker epoch {}, but got broker epoch {epoch}", broker.epoch);
            return Err(stale(message));
        }
        Ok(broker)
    }

    /// A broker is not to lead, nor to be in any ISR.
    pub(super) fn fence(&mut self, id: NodeId, records: &mut Vec<MetadataRecord>) {
        let Some(broker) = self.image.cluster.broker(id) else { return };
        self.update_partitions_for(Departure::Leaves(id), records);
        records.push(change(broker, |record| record.fenced = FENCE));
        self.sessions.set_shutdown(id, None);
    }
}

fn registration_record(request: &BrokerRegistrationRequest) -> RegisterBrokerRecord {
    RegisterBrokerRecord {
        broker_id: request.broker_id,
        incarnation_id: request.incarnation_id,
        rack: request.rack.clone(),
        end_points: (request.listeners.iter())
            .map(|it| BrokerEndpoint {
                name: it.name.clone(),
                host: it.host.clone(),
                port: it.port,
                security_protocol: it.security_protocol,
                ..Default::default()
            })
            .collect(),
        features: (request.features.iter())
            .map(|it| BrokerFeature {
                name: it.name.clone(),
                min_supported_version: it.min_supported_version,
                max_supported_version: it.max_supported_version,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn change(broker: &Broker, set: impl FnOnce(&mut BrokerRegistrationChangeRecord)) -> MetadataRecord {
    let mut record = BrokerRegistrationChangeRecord {
        broker_id: broker.id.get(),
        broker_epoch: broker.epoch.get(),
        ..Default::default()
    };
    set(&mut record);
    MetadataRecord::BrokerRegistrationChangeRecord(record)
}

pub(super) fn heartbeat(
    deciding: &mut Deciding<'_>,
    request: BrokerHeartbeatRequest,
) -> Decided<BrokerHeartbeatResponse> {
    let id = NodeId(request.broker_id);
    let image = deciding.image;
    if let Err(refusal) = deciding.current_broker(id, request.broker_epoch) {
        let error_code = refusal.code as i16;
        return Decided::reply(BrokerHeartbeatResponse { error_code, ..Default::default() });
    }
    let Some(broker) = image.cluster.broker(id) else { unreachable!("checked above") };
    let registered = deciding.sessions.registered_at(id);
    let (state, next) = deciding.next_state(broker, &request, registered);
    deciding.sessions.touch(id, broker.epoch, Offset(request.current_metadata_offset), deciding.at.now);
    let mut records = Vec::new();
    if state != next {
        match next {
            State::Fenced | State::MayStop => deciding.fence(id, &mut records),
            State::Unfenced => {
                records.push(change(broker, |record| record.fenced = UNFENCE));
                deciding.elect_where_nobody_leads(id, &request.offline_log_dirs, &mut records);
            }
            State::ShuttingDown => {
                if !broker.in_controlled_shutdown {
                    records.push(change(broker, |it| it.in_controlled_shutdown = IN_CONTROLLED_SHUTDOWN));
                }
                deciding.update_partitions_for(Departure::Leaves(id), &mut records);
            }
        }
    }
    deciding.directory_changes(broker, &request, &mut records);
    if next == State::ShuttingDown && deciding.sessions.shutdown(id).is_none() {
        let last = deciding.at.end.after(records.len() as i64 - 1);
        deciding.sessions.set_shutdown(id, Some(last));
    }
    let reply = BrokerHeartbeatResponse {
        is_caught_up: request.current_metadata_offset >= registered.get(),
        is_fenced: matches!(next, State::Fenced | State::MayStop),
        should_shut_down: next == State::MayStop,
        ..Default::default()
    };
    Decided::each_alone(records, reply)
}

impl Deciding<'_> {
    /// Where a broker is and where its wishes take it (`BrokerHeartbeatManager.calculateNextBrokerState`).
    fn next_state(
        &self,
        broker: &Broker,
        request: &BrokerHeartbeatRequest,
        registered: Offset,
    ) -> (State, State) {
        if let Some(others_must_reach) = self.sessions.shutdown(broker.id).filter(|_| !broker.fenced) {
            let caught_up = self.sessions.slowest(self.image).is_none_or(|read| others_must_reach <= read);
            let may_stop = !self.leads_anything(broker.id) && caught_up;
            return (State::ShuttingDown, if may_stop { State::MayStop } else { State::ShuttingDown });
        }
        if broker.fenced {
            let caught_up = request.current_metadata_offset >= registered.get();
            let next = match (request.want_shut_down, request.want_fence) {
                (true, _) => State::MayStop,
                (false, false) if caught_up => State::Unfenced,
                (false, _) => State::Fenced,
            };
            return (State::Fenced, next);
        }
        let next = match (request.want_fence, request.want_shut_down) {
            (true, true) => State::MayStop,
            (true, false) => State::Fenced,
            (false, true) if self.leads_anything(broker.id) => State::ShuttingDown,
            (false, true) => State::MayStop,
            (false, false) => State::Unfenced,
        };
        (State::Unfenced, next)
    }
}

pub(super) fn unregister(
    deciding: &mut Deciding<'_>,
    request: UnregisterBrokerRequest,
) -> Decided<UnregisterBrokerResponse> {
    let id = NodeId(request.broker_id);
    let Some(broker) = deciding.image.cluster.broker(id) else {
        let message = format!("Broker ID {id} is not currently registered");
        let refusal = Refusal::new(ErrorCode::BrokerIdNotRegistered, message);
        let (error_code, error_message) = parts(Err(refusal));
        return Decided::reply(UnregisterBrokerResponse { error_code, error_message, ..Default::default() });
    };
    let mut records = Vec::new();
    deciding.update_partitions_for(Departure::IsForgotten(id), &mut records);
    records.push(MetadataRecord::UnregisterBrokerRecord(UnregisterBrokerRecord {
        broker_id: request.broker_id,
        broker_epoch: broker.epoch.get(),
        ..Default::default()
    }));
    deciding.sessions.unregister(id);
    Decided::each_alone(records, UnregisterBrokerResponse { error_message: None, ..Default::default() })
}

pub(super) fn register_controller(
    deciding: &mut Deciding<'_>,
    request: ControllerRegistrationRequest,
) -> Decided<ControllerRegistrationResponse> {
    if !deciding.image.features.version().has_controller_registration() {
        let message = "The current MetadataVersion is too old to support controller registrations.";
        let (error_code, error_message) = parts(Err(Refusal::new(ErrorCode::UnsupportedVersion, message)));
        return Decided::reply(ControllerRegistrationResponse {
            error_code,
            error_message,
            ..Default::default()
        });
    }
    let record = RegisterControllerRecord {
        controller_id: request.controller_id,
        incarnation_id: request.incarnation_id,
        zk_migration_ready: false,
        end_points: (request.listeners.iter())
            .map(|it| ControllerEndpoint {
                name: it.name.clone(),
                host: it.host.clone(),
                port: it.port,
                security_protocol: it.security_protocol,
                ..Default::default()
            })
            .collect(),
        features: (request.features.iter())
            .map(|it| ControllerFeature {
                name: it.name.clone(),
                min_supported_version: it.min_supported_version,
                max_supported_version: it.max_supported_version,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let records = vec![MetadataRecord::RegisterControllerRecord(record)];
    Decided::together(records, ControllerRegistrationResponse { error_message: None, ..Default::default() })
}

pub(super) fn unregister_controller(
    deciding: &mut Deciding<'_>,
    request: UnregisterControllerRequest,
) -> Decided<UnregisterControllerResponse> {
    let refused = |code: ErrorCode, message: String| {
        let (error_code, error_message) = parts(Err(Refusal::new(code, message)));
        Decided::reply(UnregisterControllerResponse { error_code, error_message, ..Default::default() })
    };
    if !deciding.image.features.version().has_controller_unregistration() {
        let message = "The current MetadataVersion is too old to support controller unregistration.";
        return refused(ErrorCode::UnsupportedVersion, message.to_owned());
    }
    let controller_id = request.controller_id;
    if !deciding.image.cluster.controllers.contains_key(&NodeId(controller_id)) {
        let message = format!("Controller ID {controller_id} is not currently registered.");
        return refused(ErrorCode::ControllerIdNotRegistered, message);
    }
    let record = UnregisterControllerRecord { controller_id, ..Default::default() };
    let records = vec![MetadataRecord::UnregisterControllerRecord(record)];
    Decided::together(records, UnregisterControllerResponse { error_message: None, ..Default::default() })
}

impl Deciding<'_> {
    /// What a heartbeat says about directories: those that went offline take their replicas with them.
    fn directory_changes(
        &self,
        broker: &Broker,
        request: &BrokerHeartbeatRequest,
        records: &mut Vec<MetadataRecord>,
    ) {
        let version = self.image.features.version();
        if version.has_directory_assignment() {
            let is_lost = |it: &Uuid| request.offline_log_dirs.contains(it);
            let (lost, left): (Vec<Uuid>, Vec<Uuid>) = broker.directories.iter().copied().partition(is_lost);
            if !lost.is_empty() {
                for directory in lost {
                    self.update_partitions_for(Departure::LosesDirectory(broker.id, directory), records);
                }
                records.push(change(broker, |record| record.log_dirs = left));
            }
        }
        if let Some(cordoned) =
            request.cordoned_log_dirs.as_ref().filter(|_| version.has_cordoned_directories())
        {
            let set = |directories: &[Uuid]| directories.iter().copied().collect::<BTreeSet<Uuid>>();
            if broker.cordoned.as_deref().is_none_or(|known| set(known) != set(cordoned)) {
                records.push(change(broker, |record| record.cordoned_log_dirs = Some(cordoned.clone())));
            }
        }
    }
}
