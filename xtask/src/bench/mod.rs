//! `cargo xtask bench`.

use crate::workspace::Outcome;

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub struct Arguments {}

/// Runs the command.
pub fn run(_arguments: Arguments) -> Outcome {
    Ok(())
}
