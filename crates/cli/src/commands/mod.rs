//! One file per subcommand: its flags, its examples, what it does.

pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod format;
pub(crate) mod log;
pub(crate) mod settings;
pub(crate) mod storage;

use crate::arguments::Command;
use crate::failure::Outcome;

/// Runs a command.
pub(crate) fn run(command: Command) -> Outcome {
    match command {
        Command::Format(arguments) => format::run(arguments),
        Command::Storage(command) => storage::run(command),
        Command::Cluster(command) => cluster::run(command),
        Command::Log(command) => log::run(command),
        Command::Completions(arguments) => completions::run(arguments),
    }
}
