//! `cargo xtask tidy`: the rules of the repository as a program.

mod dependencies;
mod layers;
mod source;

use crate::workspace::{Outcome, files, root};

/// What `cargo xtask tidy` takes.
#[derive(clap::Args, Default)]
pub struct Arguments {}

/// Checks every rule and prints what breaks one, with the replacement where there is one.
pub fn run(_arguments: Arguments) -> Outcome {
    let mut broken = layers::check()?;
    broken.extend(dependencies::check()?);
    for file in files()? {
        source::check(&root(), &file, &mut broken)?;
    }
    if broken.is_empty() {
        return Ok(());
    }
    for line in &broken {
        eprintln!("tidy: {line}");
    }
    Err(format!("{} rules broken", broken.len()).into())
}

#[cfg(test)]
mod tests;
