//! The nodes of the cluster: brokers with their registrations, and controllers.

use std::sync::Arc;

use imbl::OrdMap;
use ottla_base::{BrokerEpoch, NodeId, Str, Uuid};
use ottla_wire::records::metadata::{
    BrokerEndpoint, BrokerFeature, BrokerRegistrationChangeRecord, ControllerEndpoint, ControllerFeature,
    RegisterBrokerRecord, RegisterControllerRecord, UnregisterBrokerRecord, UnregisterControllerRecord,
};

use crate::{ImpossibleRecord, LevelRange, MetadataVersion, directory};

/// The nodes of the cluster.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cluster {
    /// Every registered broker.
    pub brokers: OrdMap<NodeId, Arc<Broker>>,
    /// Every registered controller.
    pub controllers: OrdMap<NodeId, Arc<RegisteredController>>,
}

/// A broker's registration (KIP-631).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// `node.id`.
    pub id: NodeId,
    /// The epoch of this registration.
    pub epoch: BrokerEpoch,
    /// Drawn by the broker at every start.
    pub incarnation: Uuid,
    /// Where it listens, in the order of names.
    pub listeners: Vec<Listener>,
    /// What it can run at, in the order of names.
    pub features: Vec<(Str, LevelRange)>,
    /// `broker.rack`.
    pub rack: Option<Str>,
    /// Fenced brokers lead nothing and are not shown to clients.
    pub fenced: bool,
    /// The broker is handing its leaderships over before it stops.
    pub in_controlled_shutdown: bool,
    /// A leftover of clusters that came from ZooKeeper.
    pub migrating_zk: bool,
    /// Its online log directories.
    pub directories: Vec<Uuid>,
    /// Directories that take no new replicas (KIP-1066); `None` until the broker has said.
    pub cordoned: Option<Vec<Uuid>>,
}

/// A controller's registration (KIP-919).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredController {
    /// `node.id`.
    pub id: NodeId,
    /// Drawn by the controller at every start.
    pub incarnation: Uuid,
    /// A leftover of clusters that came from ZooKeeper.
    pub zk_migration_ready: bool,
    /// Where it listens, in the order of names.
    pub listeners: Vec<Listener>,
    /// What it can run at, in the order of names.
    pub features: Vec<(Str, LevelRange)>,
}

/// One listener of a node, as others reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The listener's name.
    pub name: Str,
    /// Advertised host.
    pub host: Str,
    /// Advertised port.
    pub port: u16,
    /// `org.apache.kafka.common.security.auth.SecurityProtocol`: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

impl Broker {
    /// Whether it can lead and be in an ISR.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// The listener with this name.
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.name == *name)
    }

    /// Whether a replica in `directory` can be reached.
    pub fn has_online_directory(&self, directory: Uuid) -> bool {
        directory::is_online(directory, &self.directories)
    }

    /// Whether a directory would take a new replica.
    pub fn has_uncordoned_directory(&self) -> bool {
        let Some(cordoned) = &self.cordoned else { return true };
        self.directories.is_empty() || self.directories.iter().any(|it| !cordoned.contains(it))
    }

    /// What it can run at of a feature.
    pub fn supports(&self, feature: &str) -> LevelRange {
        range_of(&self.features, feature)
    }

    fn from_record(record: &RegisterBrokerRecord) -> Broker {
        let mut directories = record.log_dirs.clone();
        directories.sort_unstable();
        Broker {
            id: NodeId(record.broker_id),
            epoch: BrokerEpoch(record.broker_epoch),
            incarnation: record.incarnation_id,
            listeners: listeners(
                (record.end_points.iter()).map(|it| (&it.name, &it.host, it.port, it.security_protocol)),
            ),
            features: features(
                (record.features.iter())
                    .map(|it| (&it.name, it.min_supported_version, it.max_supported_version)),
            ),
            rack: record.rack.as_ref().map(Str::detached),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            migrating_zk: record.is_migrating_zk_broker,
            directories,
            cordoned: record.cordoned_log_dirs.clone(),
        }
    }

    /// The registration as a record, with what `version` can hold.
    pub(super) fn to_record(&self, version: MetadataVersion) -> RegisterBrokerRecord {
        let listener = |it: &Listener| BrokerEndpoint {
            name: it.name.clone(),
            host: it.host.clone(),
            port: it.port,
            security_protocol: it.security_protocol,
            ..Default::default()
        };
        let feature = |(name, range): &(Str, LevelRange)| BrokerFeature {
            name: name.clone(),
            min_supported_version: range.min,
            max_supported_version: range.max,
            ..Default::default()
        };
        RegisterBrokerRecord {
            broker_id: self.id.get(),
            is_migrating_zk_broker: self.migrating_zk && version.register_broker_record() >= 2,
            incarnation_id: self.incarnation,
            broker_epoch: self.epoch.get(),
            end_points: self.listeners.iter().map(listener).collect(),
            features: self.features.iter().map(feature).collect(),
            rack: self.rack.clone(),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_dirs: if version.has_directory_assignment() { self.directories.clone() } else { Vec::new() },
            cordoned_log_dirs: self.cordoned.clone().filter(|_| version.has_cordoned_directories()),
            ..Default::default()
        }
    }
}

impl RegisteredController {
    /// What it can run at of a feature.
    pub fn supports(&self, feature: &str) -> LevelRange {
        range_of(&self.features, feature)
    }

    fn from_record(record: &RegisterControllerRecord) -> RegisteredController {
        RegisteredController {
            id: NodeId(record.controller_id),
            incarnation: record.incarnation_id,
            zk_migration_ready: record.zk_migration_ready,
            listeners: listeners(
                (record.end_points.iter()).map(|it| (&it.name, &it.host, it.port, it.security_protocol)),
            ),
            features: features(
                (record.features.iter())
                    .map(|it| (&it.name, it.min_supported_version, it.max_supported_version)),
            ),
        }
    }

    pub(super) fn to_record(&self) -> RegisterControllerRecord {
        let listener = |it: &Listener| ControllerEndpoint {
            name: it.name.clone(),
            host: it.host.clone(),
            port: it.port,
            security_protocol: it.security_protocol,
            ..Default::default()
        };
        let feature = |(name, range): &(Str, LevelRange)| ControllerFeature {
            name: name.clone(),
            min_supported_version: range.min,
            max_supported_version: range.max,
            ..Default::default()
        };
        RegisterControllerRecord {
            controller_id: self.id.get(),
            incarnation_id: self.incarnation,
            zk_migration_ready: self.zk_migration_ready,
            end_points: self.listeners.iter().map(listener).collect(),
            features: self.features.iter().map(feature).collect(),
            ..Default::default()
        }
    }
}

/// Listeners in the order of names: Kafka's own order is that of its hash maps.
fn listeners<'r>(all: impl Iterator<Item = (&'r Str, &'r Str, u16, i16)>) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = all
        .map(|(name, host, port, security_protocol)| Listener {
            name: name.detached(),
            host: host.detached(),
            port,
            security_protocol,
        })
        .collect();
    listeners.sort_by(|one, other| one.name.cmp(&other.name));
    listeners
}

/// Features in the order of names.
fn features<'r>(all: impl Iterator<Item = (&'r Str, i16, i16)>) -> Vec<(Str, LevelRange)> {
    let mut features: Vec<(Str, LevelRange)> =
        all.map(|(name, min, max)| (name.detached(), LevelRange { min, max })).collect();
    features.sort_by(|one, other| one.0.cmp(&other.0));
    features
}

fn range_of(features: &[(Str, LevelRange)], feature: &str) -> LevelRange {
    let found = features.iter().find(|(name, _)| *name == *feature);
    found.map_or(LevelRange::DISABLED, |(_, range)| *range)
}

impl Cluster {
    /// The broker with this id.
    pub fn broker(&self, id: NodeId) -> Option<&Arc<Broker>> {
        self.brokers.get(&id)
    }

    /// Whether a broker can lead and be in an ISR.
    pub fn is_active(&self, id: NodeId) -> bool {
        self.broker(id).is_some_and(|broker| broker.is_active())
    }

    /// The other broker that has registered a directory, if any has.
    pub fn owner_of_directory(&self, directory: Uuid) -> Option<NodeId> {
        self.brokers.values().find(|it| it.directories.contains(&directory)).map(|it| it.id)
    }

    pub(super) fn apply_register_broker(&mut self, record: &RegisterBrokerRecord) {
        let broker = Broker::from_record(record);
        self.brokers.insert(broker.id, Arc::new(broker));
    }

    pub(super) fn apply_unregister_broker(
        &mut self,
        record: &UnregisterBrokerRecord,
    ) -> Result<(), ImpossibleRecord> {
        self.registration(record.broker_id, record.broker_epoch)?;
        self.brokers.remove(&NodeId(record.broker_id));
        Ok(())
    }

    /// Applies the old forms of a change of fencing, which no 4.x release writes.
    pub(super) fn apply_fencing(
        &mut self,
        id: i32,
        epoch: i64,
        fenced: bool,
    ) -> Result<(), ImpossibleRecord> {
        Arc::make_mut(self.registration(id, epoch)?).fenced = fenced;
        Ok(())
    }

    pub(super) fn apply_registration_change(
        &mut self,
        record: &BrokerRegistrationChangeRecord,
    ) -> Result<(), ImpossibleRecord> {
        let fenced = match record.fenced {
            0 => None,
            1 => Some(true),
            -1 => Some(false),
            other => return Err(ImpossibleRecord::new(format!("unknown change of fencing {other}"))),
        };
        let shutting_down = match record.in_controlled_shutdown {
            0 => None,
            1 => Some(true),
            other => return Err(ImpossibleRecord::new(format!("unknown change of shutdown {other}"))),
        };
        let broker = Arc::make_mut(self.registration(record.broker_id, record.broker_epoch)?);
        broker.fenced = fenced.unwrap_or(broker.fenced);
        broker.in_controlled_shutdown = shutting_down.unwrap_or(broker.in_controlled_shutdown);
        if !record.log_dirs.is_empty() {
            broker.directories.clone_from(&record.log_dirs);
            broker.directories.sort_unstable();
        }
        if let Some(cordoned) = &record.cordoned_log_dirs {
            broker.cordoned = Some(cordoned.clone());
        }
        Ok(())
    }

    pub(super) fn apply_register_controller(&mut self, record: &RegisterControllerRecord) {
        let controller = RegisteredController::from_record(record);
        self.controllers.insert(controller.id, Arc::new(controller));
    }

    pub(super) fn apply_unregister_controller(
        &mut self,
        record: &UnregisterControllerRecord,
    ) -> Result<(), ImpossibleRecord> {
        match self.controllers.remove(&NodeId(record.controller_id)) {
            Some(_) => Ok(()),
            None => {
                let reason = format!("controller {} is not registered", record.controller_id);
                Err(ImpossibleRecord::new(reason))
            }
        }
    }

    fn registration(&mut self, id: i32, epoch: i64) -> Result<&mut Arc<Broker>, ImpossibleRecord> {
        match self.brokers.get_mut(&NodeId(id)) {
            Some(broker) if broker.epoch.get() == epoch => Ok(broker),
            Some(broker) => Err(ImpossibleRecord::new(format!(
                "broker {id} is registered with epoch {}, not {epoch}",
                broker.epoch
            ))),
            None => Err(ImpossibleRecord::new(format!("broker {id} is not registered"))),
        }
    }
}
