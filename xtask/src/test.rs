//! `cargo xtask test`: everything that must pass before a change lands.

use crate::command::{show, show_with};
use crate::workspace::Outcome;
use crate::{codegen, tidy};

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Leaves out what needs Java, Go, Node and other clients: formats, lints, rules and Rust tests only.
    #[arg(long)]
    quick: bool,
}

/// Formats, lints, rules, Rust tests; then real clients against a real broker.
pub fn run(arguments: Arguments) -> Outcome {
    show("cargo", &["fmt", "--all", "--check"])?;
    tidy::run(tidy::Arguments::default())?;
    codegen::check()?;
    show("cargo", &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    show_with(
        "cargo",
        &["test", "--locked", "--workspace", "--no-fail-fast"],
        &[("RUSTFLAGS", "-D warnings")],
    )?;
    if !arguments.quick {
        show_with("cargo", &["build", "--locked", "--release", "-p", "ottla-cli"], &[])?;
        show("cargo", &["run", "--quiet", "--locked", "-p", "xtask", "--", "compat", "--ci"])?;
    }
    Ok(())
}
