//! `ottla cluster`: a cluster's brokers, its quorum, its features.

use clap::Subcommand;
use ottla_host::Host;

use crate::failure::Outcome;
use crate::output::Output;

/// What to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// A new id for a cluster, for `ottla format`
    #[command(
        name = "random-id",
        visible_alias = "random-uuid",
        after_help = "Examples:\n  ottla format -t \"$(ottla cluster random-id)\" -c server.properties --standalone"
    )]
    RandomId,
}

/// Runs the command.
pub(crate) fn run(command: ClusterCommand) -> Outcome {
    match command {
        ClusterCommand::RandomId => {
            let mut output = Output::new();
            output.line(Host::real().random_uuid())?;
            output.flush()
        }
    }
}
