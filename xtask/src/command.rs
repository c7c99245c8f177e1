//! Running other programs, with what they were asked to do in the error when they fail.

use std::process::{Command, Stdio};

use crate::workspace::{Outcome, root};

/// Runs a program from the workspace's root with its output shown; fails unless it exits with 0.
pub fn show(program: &str, arguments: &[&str]) -> Outcome {
    eprintln!("$ {program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    if !status.success() {
        return Err(format!("`{program} {}` failed: {status}", arguments.join(" ")).into());
    }
    Ok(())
}

/// Runs a program without showing anything; fails unless it exits with 0.
pub fn show_nothing(program: &str, arguments: &[&str]) -> Outcome {
    let status = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if !status.success() {
        return Err(format!("`{program} {}` failed: {status}", arguments.join(" ")).into());
    }
    Ok(())
}
