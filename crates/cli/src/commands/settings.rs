//! Where the settings of a server come from, for the commands that need them.

use std::path::PathBuf;

use clap::Args;
use ottla_broker::config::{BrokerSettings, Sources};
use ottla_host::Host;

use crate::failure::{Failure, Outcome};

/// Variables that are flags of this program, and no settings of a server.
const FLAGS: [&str; 3] = ["OTTLA_LOG", "OTTLA_BOOTSTRAP_SERVER", "OTTLA_CONFIG"];

/// The layers of settings that a command line names.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SettingsArguments {
    /// The server's settings, a server.properties as Kafka reads it; without one this computer serves itself alone
    #[arg(short = 'c', long, value_name = "FILE", env = "OTTLA_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// A setting that wins over file and environment; may be given several times
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
}

impl SettingsArguments {
    /// Reads and checks all layers, the environment among them.
    pub(crate) fn load(&self, host: &Host) -> Outcome<BrokerSettings> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| !FLAGS.contains(&name.as_str()))
            .collect();
        let sources = Sources { file: self.config.clone(), environment, overrides: self.overrides.clone() };
        BrokerSettings::load(&host.disk(), &sources).map_err(|error| {
            let advice = match &self.config {
                Some(path) => {
                    format!("correct {}, or set the value with --override key=value", path.display())
                }
                None => "correct it with --override key=value, or name a file with --config".to_owned(),
            };
            Failure::new(format!("the settings cannot be used: {error}")).advice(advice)
        })
    }
}
