//! What `ottla format` does: gives log directories their identity and a cluster its beginning, as
//! `kafka-storage format` of Kafka 4.4 (`StorageTool`, `Formatter`; KIP-853, KIP-1170).

mod inspect;
mod scram;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use ottla_base::{NodeId, Uuid};
use ottla_host::Host;
use ottla_metadata::settings::ServerSettings;
use ottla_metadata::{Feature, MetadataVersion, Record, bootstrap_records};
use ottla_raft::{
    Address, Endpoints, KRaftVersion, OffsetAndEpoch, ReplicaKey, SnapshotWriter, Voter, VoterSet,
};
use ottla_storage::file_names::CLUSTER_METADATA_DIRECTORY;
use ottla_storage::meta_properties::{MetaProperties, verify_directories};
use ottla_wire::records::metadata::MetadataRecord;

use crate::quorum::snapshot_files::{create_directory, write_snapshot};

pub use inspect::{Info, VersionMapping, feature_dependencies, info, version_mapping};

/// What to format, apart from what the settings say.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The id of the cluster.
    pub cluster_id: String,
    /// How the quorum begins.
    pub quorum: InitialQuorum,
    /// Whether directories that are formatted already are left alone; otherwise they are an error.
    pub already_formatted: AlreadyFormatted,
    /// The release whose features the cluster begins with; the newest if not given.
    pub release_version: Option<String>,
    /// Features with levels of their own.
    pub features: Vec<(String, i16)>,
    /// SCRAM credentials, as `SCRAM-SHA-256=[name=alice,password=secret]`.
    pub scram: Vec<String>,
}

/// How the quorum begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum InitialQuorum {
    /// Nothing is said: right for brokers, and where `controller.quorum.voters` says it.
    #[default]
    Unstated,
    /// This node is the only voter (`--standalone`).
    Standalone,
    /// This node joins a quorum that others have begun (`--no-initial-controllers`).
    NoInitialControllers,
    /// These are the voters, `id@host:port:directory` each (`--initial-controllers`).
    InitialControllers(String),
}

/// What to do about directories that are formatted already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AlreadyFormatted {
    /// Refuse.
    #[default]
    Refuse,
    /// Leave them alone and format the others (`--ignore-formatted`).
    Skip,
}

/// What was done, in the order it was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Formatted {
    /// The records that the cluster begins with.
    pub bootstrap: Vec<Record>,
    /// The version that the cluster begins with.
    pub version: MetadataVersion,
    /// The directories that were formatted; none if all had been.
    pub directories: Vec<(PathBuf, DirectoryKind)>,
}

/// What a directory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryKind {
    /// Partitions.
    Data,
    /// The metadata log too.
    Metadata,
    /// The metadata log of a quorum whose voters are in its log, which this node is none of.
    DynamicMetadata,
    /// The metadata log of a voter.
    DynamicVoter,
}

impl DirectoryKind {
    /// Kafka's words.
    pub const fn description(self) -> &'static str {
        match self {
            DirectoryKind::Data => "data directory",
            DirectoryKind::Metadata => "metadata directory",
            DirectoryKind::DynamicMetadata => "dynamic metadata directory",
            DirectoryKind::DynamicVoter => "dynamic metadata voter directory",
        }
    }
}

/// Why nothing, or not everything, was formatted.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// What was asked for makes no sense; the text says what to do instead.
    #[error("{0}")]
    Refused(String),
    /// The disk failed.
    #[error("{path}: {source}")]
    Disk {
        /// Where.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
}

pub(crate) fn refused<T>(words: impl Into<String>) -> Result<T, FormatError> {
    Err(FormatError::Refused(words.into()))
}

fn on_disk<'p>(path: &'p Path) -> impl FnOnce(io::Error) -> FormatError + 'p {
    move |source| FormatError::Disk { path: path.to_owned(), source }
}

/// Formats the directories of a node.
pub fn format(host: &Host, settings: &ServerSettings, options: &Options) -> Result<Formatted, FormatError> {
    let plan = Plan::new(host, settings, options)?;
    let disk = host.disk();
    let mut formatted = BTreeMap::new();
    let mut empty = Vec::new();
    for directory in &plan.directories {
        match MetaProperties::read(&disk, directory).map_err(on_disk(directory))? {
            Some(properties) => drop(formatted.insert(directory.clone(), properties)),
            None => empty.push(directory.clone()),
        }
    }
    verify_directories(&formatted, Some(&options.cluster_id), plan.node_id)
        .map_err(|error| FormatError::Refused(error.to_string()))?;
    if let (Some((first, _)), AlreadyFormatted::Refuse) =
        (formatted.first_key_value(), options.already_formatted)
    {
        return refused(format!(
            "Log directory {} is already formatted. Use --ignore-formatted to ignore this directory and format \
             the others.",
            first.display()
        ));
    }
    let mut done = Vec::new();
    for directory in empty {
        let kind = plan.kind_of(&directory);
        plan.format_directory(host, &directory, kind).map_err(on_disk(&directory))?;
        done.push((directory, kind));
    }
    Ok(Formatted { bootstrap: plan.bootstrap, version: plan.version, directories: done })
}

/// Everything that is decided before anything is written.
struct Plan {
    node_id: NodeId,
    cluster_id: String,
    directories: BTreeSet<PathBuf>,
    metadata_directory: PathBuf,
    is_controller: bool,
    kraft_version: KRaftVersion,
    voters: Option<VoterSet>,
    version: MetadataVersion,
    bootstrap: Vec<Record>,
}

impl Plan {
    fn new(host: &Host, settings: &ServerSettings, options: &Options) -> Result<Plan, FormatError> {
        let node_id = NodeId(settings.quorum.node_id);
        if node_id.0 < 0 {
            return refused("You must specify a valid non-negative node ID.");
        }
        let is_controller = settings.quorum.process_roles.iter().any(|role| role == "controller");
        let dynamic = settings.quorum.controller_quorum_voters.is_empty();
        let voters = initial_voters(host, settings, options, node_id)?;
        let unstated = options.quorum == InitialQuorum::Unstated;
        if unstated && is_controller && dynamic {
            return refused(
                "Because controller.quorum.voters is not set on this controller, you must specify one of the \
                 following: --standalone, --initial-controllers, or --no-initial-controllers.",
            );
        }
        let unstable = settings.quorum.unstable_feature_versions_enable;
        let version = release_version(options, unstable)?;
        let kraft_version = kraft_version(options, dynamic)?;
        let mut bootstrap = features(options, version)?;
        if !options.scram.is_empty() && !version.has_scram() {
            return refused("SCRAM is only supported in metadata.version 3.5-IV2 or later.");
        }
        for argument in &options.scram {
            let credential = scram::credential(host, argument)?;
            bootstrap.push(Record::at(version, MetadataRecord::UserScramCredentialRecord(credential)));
        }
        let mut directories: BTreeSet<PathBuf> =
            settings.log_directories().iter().map(PathBuf::from).collect();
        let metadata_directory = PathBuf::from(settings.metadata_directory());
        directories.insert(metadata_directory.clone());
        Ok(Plan {
            node_id,
            cluster_id: options.cluster_id.clone(),
            directories,
            metadata_directory,
            is_controller,
            kraft_version,
            voters,
            version,
            bootstrap,
        })
    }

    fn kind_of(&self, directory: &Path) -> DirectoryKind {
        if directory != self.metadata_directory {
            return DirectoryKind::Data;
        }
        match &self.voters {
            None => DirectoryKind::Metadata,
            Some(voters) if voters.get(self.node_id).is_some() => DirectoryKind::DynamicVoter,
            Some(_) => DirectoryKind::DynamicMetadata,
        }
    }

    /// Writes how the cluster begins, then who the directory is: a directory without `meta.properties` is not
    /// formatted, whatever else it holds.
    fn format_directory(&self, host: &Host, directory: &Path, kind: DirectoryKind) -> io::Result<()> {
        let disk = host.disk();
        create_directory(&disk, directory)?;
        if kind != DirectoryKind::Data && self.is_controller {
            let log_directory = directory.join(CLUSTER_METADATA_DIRECTORY);
            create_directory(&disk, &log_directory)?;
            let now = host.wall_clock();
            let id = OffsetAndEpoch::BOOTSTRAP;
            let (mut writer, header) =
                SnapshotWriter::begin(id, now, self.kraft_version, self.voters.as_ref(), now);
            let mut batches = vec![header];
            for record in &self.bootstrap {
                let value = record.encode().map_err(io::Error::other)?;
                batches.extend(writer.append(value));
            }
            batches.extend(writer.finish());
            write_snapshot(&disk, &log_directory, id, batches)?;
        }
        let own =
            self.voters.as_ref().and_then(|voters| voters.get(self.node_id)).map(|voter| voter.key.directory);
        let directory_id = match own {
            Some(own) if kind == DirectoryKind::DynamicVoter => own,
            _ => host.random_uuid(),
        };
        let properties = MetaProperties::new(self.cluster_id.clone(), self.node_id, directory_id);
        properties.write(&disk, directory, host.wall_clock())
    }
}

fn initial_voters(
    host: &Host,
    settings: &ServerSettings,
    options: &Options,
    node_id: NodeId,
) -> Result<Option<VoterSet>, FormatError> {
    let listener = settings.network.controller_listener_names.first().map(|name| name.to_uppercase());
    let Some(listener) = listener else {
        return refused("You must specify the name of the initial controller listener.");
    };
    let stated = matches!(options.quorum, InitialQuorum::Standalone | InitialQuorum::InitialControllers(_));
    if stated && !settings.quorum.controller_quorum_voters.is_empty() {
        return refused(
            "You cannot specify controller.quorum.voters and format the node with --initial-controllers or \
             --standalone. If you want to use dynamic quorum, please remove controller.quorum.voters and specify \
             controller.quorum.bootstrap.servers instead.",
        );
    }
    match &options.quorum {
        InitialQuorum::Unstated | InitialQuorum::NoInitialControllers => Ok(None),
        InitialQuorum::InitialControllers(text) => match VoterSet::parse_initial(text, &listener) {
            Ok(voters) => Ok(Some(voters)),
            Err(error) => refused(error.to_string()),
        },
        InitialQuorum::Standalone => {
            if !settings.quorum.process_roles.iter().any(|role| role == "controller") {
                return refused("You can only use --standalone on a controller.");
            }
            let Some(address) = controller_address(settings, &listener) else {
                return refused("No controller listeners found.");
            };
            let voter = Voter {
                key: ReplicaKey::new(node_id, host.random_uuid()),
                endpoints: Endpoints::one(listener, address),
                kraft_versions: (*KRaftVersion::SUPPORTED.start(), *KRaftVersion::SUPPORTED.end()),
            };
            Ok(Some([voter].into_iter().collect()))
        }
    }
}

/// Where other nodes reach this controller: its advertised listener, or where it listens.
pub(crate) fn controller_address(settings: &ServerSettings, listener: &str) -> Option<Address> {
    let network = &settings.network;
    let of = |endpoints: &[String]| {
        endpoints.iter().find_map(|endpoint| {
            let (name, place) = endpoint.split_once("://")?;
            let (host, port) = place.rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let host = if host.is_empty() || host == "0.0.0.0" { "localhost" } else { host };
            name.eq_ignore_ascii_case(listener).then(|| Some(Address::new(host, port.parse().ok()?)))?
        })
    };
    network.advertised_listeners.as_deref().and_then(of).or_else(|| of(&network.listeners))
}

fn release_version(options: &Options, unstable: bool) -> Result<MetadataVersion, FormatError> {
    let feature = options.features.iter().find(|(name, _)| name == MetadataVersion::FEATURE_NAME);
    let newest = if unstable { MetadataVersion::LATEST_TESTING } else { MetadataVersion::LATEST_PRODUCTION };
    match (feature, &options.release_version) {
        (Some(_), Some(_)) => {
            refused("Use --release-version instead of --feature metadata.version=X to avoid ambiguity.")
        }
        (Some((_, level)), None) => match MetadataVersion::from_level(*level) {
            Some(version) if version <= newest => Ok(version),
            Some(version) => refused(format!("metadata.version {} is not yet stable.", version.name())),
            None => refused(format!("No MetadataVersion with feature level {level}")),
        },
        (None, Some(name)) => inspect::named_version(name, unstable),
        (None, None) => Ok(newest),
    }
}

/// The level of `kraft.version`, if it goes with where the voters come from.
fn kraft_version(options: &Options, dynamic: bool) -> Result<KRaftVersion, FormatError> {
    const FLAGS: &str = "--standalone, --initial-controllers, or --no-initial-controllers";
    let chosen = options.features.iter().rev().find(|(name, _)| name == Feature::KRaft.name());
    match chosen.map(|(_, level)| *level) {
        Some(0) if dynamic => refused(format!(
            "Cannot set kraft.version to 0 if controller.quorum.voters is empty and one of the flags {FLAGS} is \
             used. For dynamic controllers support, try removing the --feature flag for kraft.version."
        )),
        Some(level) if level > 0 && !dynamic => refused(format!(
            "Cannot set kraft.version to {level} unless controller.quorum.voters is empty and one of the flags \
             {FLAGS} is used. For dynamic controllers support, try using one of {FLAGS} and removing \
             controller.quorum.voters."
        )),
        Some(level) => match KRaftVersion::of_level(level) {
            Some(version) => Ok(version),
            None => refused(format!("No feature:kraft.version with feature level {level}")),
        },
        None if dynamic => Ok(KRaftVersion::Dynamic),
        None => Ok(KRaftVersion::Static),
    }
}

/// The records that state the features a cluster begins with.
fn features(options: &Options, version: MetadataVersion) -> Result<Vec<Record>, FormatError> {
    let chosen = options.features.iter().filter(|(name, _)| {
        // The one is the version itself, the other a record of the quorum.
        name != MetadataVersion::FEATURE_NAME && name != Feature::KRaft.name()
    });
    match bootstrap_records(version, &chosen.cloned().collect()) {
        Ok(facts) => Ok(facts.into_iter().map(|fact| Record::at(version, fact)).collect()),
        Err(error) => refused(error.to_string()),
    }
}

/// A new random id, as `random-uuid` prints it.
pub fn random_uuid(host: &Host) -> Uuid {
    host.random_uuid()
}
