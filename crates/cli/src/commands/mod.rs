//! One file per subcommand: its flags, its examples, what it does.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod consume;
pub(crate) mod doctor;
pub(crate) mod format;
pub(crate) mod group;
pub(crate) mod log;
pub(crate) mod perf;
pub(crate) mod produce;
pub(crate) mod settings;
pub(crate) mod start;
pub(crate) mod storage;
pub(crate) mod topic;
pub(crate) mod txn;

use ottla_broker::loggers::Loggers;

use crate::arguments::{Arguments, Command};
use crate::failure::Outcome;

/// Runs a command.
pub(crate) fn run(arguments: Arguments, loggers: Loggers) -> Outcome {
    match arguments.command {
        Command::Start(start) => start::run(start, arguments.log.log_format, loggers),
        Command::Format(arguments) => format::run(arguments),
        Command::Storage(command) => storage::run(command),
        Command::Doctor(arguments) => doctor::run(arguments),
        Command::Topic(arguments) => topic::run(arguments),
        Command::Config(arguments) => config::run(arguments),
        Command::Produce(arguments) => produce::run(arguments),
        Command::Consume(arguments) => consume::run(arguments),
        Command::Group(arguments) => group::run(arguments),
        Command::Txn(arguments) => txn::run(arguments),
        Command::Perf(arguments) => perf::run(arguments),
        Command::Cluster(arguments) => cluster::run(arguments),
        Command::Log(command) => log::run(command),
        Command::Completions(arguments) => completions::run(arguments),
    }
}
