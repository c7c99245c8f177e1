//! `cargo xtask test`: everything that must pass before a change lands.

use crate::command::show;
use crate::workspace::Outcome;
use crate::{chaos, codegen, compat, tidy};

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Leaves out what needs Java, Go, Node and other clients: formats, lints, rules and Rust tests only.
    #[arg(long)]
    quick: bool,
}

/// Formats, lints, rules, Rust tests; then a million steps of each coordinator, and real clients against a real broker.
pub fn run(arguments: Arguments) -> Outcome {
    show("cargo", &["fmt", "--all", "--check"])?;
    tidy::run(tidy::Arguments::default())?;
    codegen::check()?;
    show("cargo", &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    show("cargo", &["test", "--locked", "--workspace", "--no-fail-fast"])?;
    if !arguments.quick {
        show("cargo", &["test", "--locked", "--release", "-p", "ottla-coordinator", "--lib"])?;
        show("cargo", &["build", "--locked", "--release", "-p", "ottla-cli"])?;
        compat::run(compat::Arguments::for_ci())?;
        chaos::run_for_ci()?;
    }
    Ok(())
}
