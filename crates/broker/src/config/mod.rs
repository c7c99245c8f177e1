//! What a server is started with: file, environment and flags, put together, checked and typed.
//!
//! The layers, the one that wins first: flags (`--override key=value`), environment
//! (`KAFKA_LOG_RETENTION_MS`), the file, and where no file is named the preset of a single node. What an
//! administrator changes while the server runs lies above all of them.
//!
//! | file | holds |
//! |---|---|
//! | `environment` | variables as settings |
//! | `preset` | what a server without any configuration is |
//! | `reference` | the page `docs/configuration.md` |
//! | `providers` | what stands behind `${env:…}`, `${file:…}` and `${directory:…}` |

mod environment;
mod preset;
mod providers;
mod reference;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use ottla_base::NodeId;
use ottla_base::settings::{InvalidSetting, MalformedProperties, Texts, parse_properties};
use ottla_host::Disk;
use ottla_metadata::settings::conflicts::{self, Findings};
use ottla_metadata::settings::layers::{LeftOut, ServerLayers};
use ottla_metadata::settings::listeners::Listeners;
use ottla_metadata::settings::{ServerSettings, derived};

use crate::readiness::{self, Finding, Weight};

pub use preset::PRESET;
pub use reference::reference;

/// The longest configuration file, and the longest file a provider reads.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, if one is named.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// `key=value`, from flags.
    pub overrides: Vec<String>,
}

/// Why a server cannot start with its settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a properties file.
    #[error("{}: {malformed}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where.
        malformed: MalformedProperties,
    },
    /// A flag is not `key=value`.
    #[error("--override {0}: expected key=value")]
    Override(String),
    /// Values are not what they should be.
    #[error("{}", joined(.0))]
    Invalid(Vec<InvalidSetting>),
}

fn joined(problems: &[InvalidSetting]) -> String {
    problems.iter().map(InvalidSetting::to_string).collect::<Vec<_>>().join("; ")
}

impl From<InvalidSetting> for ConfigError {
    fn from(problem: InvalidSetting) -> ConfigError {
        ConfigError::Invalid(vec![problem])
    }
}

/// The settings of a server, of all layers, typed.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerSettings {
    /// The layers they come from.
    pub layers: ServerLayers,
    /// The values.
    pub server: ServerSettings,
    /// The addresses.
    pub listeners: Listeners,
    /// What a topic has when it says nothing itself.
    pub topic_defaults: Texts,
    /// What a group has when it says nothing itself.
    pub group_defaults: Texts,
    /// What an operator should know.
    pub findings: Vec<Finding>,
}

impl BrokerSettings {
    /// Reads and checks everything that a server is started with.
    pub fn load(disk: &Disk, sources: &Sources) -> Result<BrokerSettings, ConfigError> {
        let (mut texts, mut set) = match &sources.file {
            Some(path) => (Texts::new(), read_file(disk, path)?),
            None => (preset::texts(), Texts::new()),
        };
        let environment = environment::settings(&sources.environment);
        set.extend(environment.texts);
        for flag in &sources.overrides {
            let Some((key, value)) = flag.split_once('=') else {
                return Err(ConfigError::Override(flag.clone()));
            };
            set.insert(key.trim().to_owned(), value.to_owned());
        }
        let mut findings = environment.findings;
        findings.extend(readiness::settings::of_texts(&set));
        texts.extend(set);
        providers::resolve(disk, &sources.environment, &mut texts)?;
        let mut settings = BrokerSettings::from_layers(ServerLayers::new(texts))?;
        findings.append(&mut settings.findings);
        Ok(BrokerSettings { findings, ..settings })
    }

    /// Checks and types the settings of all layers.
    pub fn from_layers(layers: ServerLayers) -> Result<BrokerSettings, ConfigError> {
        let effective = layers.effective();
        let problems = ServerSettings::problems(&effective);
        if !problems.is_empty() {
            return Err(ConfigError::Invalid(problems));
        }
        let server = ServerSettings::read(&effective)?;
        let Findings { listeners, warnings } = conflicts::check(&server, &effective)?;
        let topic_defaults = derived::topic_defaults(&server, &effective);
        // Whatever a topic does not say itself must make a topic: it is relied on later.
        derived::topic_settings(&topic_defaults, &Texts::new())?;
        let group_defaults = derived::group_defaults(&effective);
        let findings = warnings.into_iter().map(|it| Finding::new(Weight::Warning, "", it)).collect();
        Ok(BrokerSettings { layers, server, listeners, topic_defaults, group_defaults, findings })
    }

    /// The settings after an administrator's changes: what holds for all brokers, and for this one. Keys
    /// that cannot be set there are left out, and said so; values that conflict refuse the whole.
    pub fn with_dynamic(
        &self,
        cluster: Texts,
        own: Texts,
    ) -> Result<(BrokerSettings, Vec<LeftOut>), ConfigError> {
        let mut layers = self.layers.clone();
        let mut left_out = layers.set_cluster(cluster);
        left_out.extend(layers.set_own(own));
        Ok((BrokerSettings::from_layers(layers)?, left_out))
    }

    /// What an operator should know, as the log has it.
    pub fn warnings(&self) -> Vec<String> {
        readiness::settings::in_lines(&self.findings)
    }

    /// This node.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.server.quorum.node_id)
    }

    /// Whether it serves clients.
    pub fn is_broker(&self) -> bool {
        conflicts::has_role(&self.server, "broker")
    }

    /// Whether it is a controller.
    pub fn is_controller(&self) -> bool {
        conflicts::has_role(&self.server, "controller")
    }

    /// The directories that hold the logs.
    pub fn log_directories(&self) -> impl Iterator<Item = &Path> {
        self.server.log_directories().iter().map(Path::new)
    }

    /// The directory that holds the metadata log.
    pub fn metadata_directory(&self) -> &Path {
        Path::new(self.server.metadata_directory())
    }

    /// How many bytes of requests all connections together may hold.
    pub fn request_memory_bytes(&self) -> u64 {
        let queued = self.server.network.queued_max_request_bytes;
        let bytes = if queued > 0 { queued } else { self.server.ottla.ottla_request_memory_bytes };
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

fn read_file(disk: &Disk, path: &Path) -> Result<Texts, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let bytes = disk.read(path, MAX_FILE_BYTES).map_err(unreadable)?;
    parse_properties(&bytes).map_err(|malformed| ConfigError::Malformed { path: path.to_owned(), malformed })
}
