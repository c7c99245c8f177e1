//! `ottla completions`: the script with which a shell completes this program's arguments.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::failure::Outcome;
use crate::output::Output;

/// Flags of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla completions bash > /etc/bash_completion.d/ottla\n  \
    ottla completions zsh > \"${fpath[1]}/_ottla\"\n  \
    ottla completions fish > ~/.config/fish/completions/ottla.fish")]
pub(crate) struct CompletionsArguments {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(arguments: CompletionsArguments) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "ottla", &mut script);
    let mut output = Output::new();
    output.bytes(&script)?;
    output.flush()
}
