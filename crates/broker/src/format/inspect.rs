//! What the other commands of `kafka-storage` print: `info`, `version-mapping`, `feature-dependencies`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ottla_host::Host;
use ottla_metadata::settings::ServerSettings;
use ottla_metadata::{Feature, MetadataVersion};
use ottla_storage::meta_properties::{META_PROPERTIES_FILE, MetaProperties, MetaVersion};

use super::{FormatError, refused};

/// What the log directories of a node say of themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// The directories that exist.
    pub directories: Vec<PathBuf>,
    /// What the first formatted one says.
    pub properties: Option<MetaProperties>,
    /// What is wrong; nothing, if all is well.
    pub problems: Vec<String>,
}

/// Looks at the log directories of a node.
pub fn info(host: &Host, settings: &ServerSettings) -> Info {
    let disk = host.disk();
    let mut directories: BTreeSet<PathBuf> = settings.log_directories().iter().map(PathBuf::from).collect();
    directories.insert(PathBuf::from(settings.metadata_directory()));
    let mut info = Info::default();
    for directory in directories {
        let shown = directory.display();
        match disk.metadata(&directory) {
            Err(_) => info.problems.push(format!("{shown} does not exist")),
            Ok(metadata) if !metadata.is_dir => info.problems.push(format!("{shown} is not a directory")),
            Ok(_) => {
                match MetaProperties::read(&disk, &directory) {
                    Ok(None) => info.problems.push(format!("{shown} is not formatted.")),
                    Ok(Some(properties)) => info.compare(properties),
                    Err(error) => {
                        let path = directory.join(META_PROPERTIES_FILE);
                        info.problems.push(format!("Error loading {}: {error}", path.display()));
                    }
                }
                info.directories.push(directory);
            }
        }
    }
    if info.properties.as_ref().is_some_and(|properties| properties.version == MetaVersion::V0) {
        info.problems.push(
            "The kafka configuration file appears to be for a cluster in KRaft mode, but the directories are \
             formatted for legacy mode."
                .to_owned(),
        );
    }
    info
}

impl Info {
    fn compare(&mut self, properties: MetaProperties) {
        let Some(first) = &self.properties else {
            self.properties = Some(properties);
            return;
        };
        if first.cluster_id != properties.cluster_id {
            self.problems.push("Mismatched cluster IDs between storage directories.".to_owned());
        } else if first.node_id != properties.node_id {
            self.problems.push("Mismatched node IDs between storage directories.".to_owned());
        }
    }
}

/// The version that a text such as `4.4` or `4.4-IV1` names.
pub(super) fn named_version(name: &str, unstable: bool) -> Result<MetadataVersion, FormatError> {
    match MetadataVersion::from_name(name, unstable) {
        Some(version) => Ok(version),
        None => {
            let newest =
                if unstable { MetadataVersion::LATEST_TESTING } else { MetadataVersion::LATEST_PRODUCTION };
            let names: Vec<&str> =
                MetadataVersion::all().filter(|it| *it <= newest).map(MetadataVersion::name).collect();
            let names = names.join(", ");
            refused(format!("Unknown metadata.version '{name}'. Supported metadata.version are: {names}"))
        }
    }
}

/// The levels that a cluster begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionMapping {
    /// The metadata version.
    pub version: MetadataVersion,
    /// The other features, in Kafka's order.
    pub levels: Vec<(&'static str, i16)>,
}

/// The level of every feature at a release, or at the newest.
pub fn version_mapping(release: Option<&str>) -> Result<VersionMapping, FormatError> {
    let version = match release {
        Some(name) => named_version(name, true)?,
        None => MetadataVersion::LATEST_PRODUCTION,
    };
    let level = |feature: Feature| (feature.name(), feature.default_level(version));
    Ok(VersionMapping { version, levels: Feature::ALL.into_iter().map(level).collect() })
}

/// What a level of a feature needs: nothing, or a version of the metadata.
pub fn feature_dependencies(name: &str, level: i16) -> Result<Option<MetadataVersion>, FormatError> {
    if name == MetadataVersion::FEATURE_NAME {
        return match MetadataVersion::from_level(level) {
            Some(_) => Ok(None),
            None => refused(format!("Unknown metadata.version {level}")),
        };
    }
    let Some(feature) = Feature::from_name(name) else {
        return refused(format!("Unknown feature: {name}"));
    };
    if !(0..=feature.latest()).contains(&level) {
        return refused(format!("Feature level {level} is not supported for feature {name}"));
    }
    Ok(feature.needs(level))
}
