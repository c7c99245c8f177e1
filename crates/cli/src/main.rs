//! The one binary: every subcommand, and nothing but wiring.
//!
//! | file | holds |
//! |---|---|
//! | `arguments` | what the program is called with: subcommands and flags of all of them |
//! | `commands` | one file per subcommand: its flags, its examples, what it does |
//! | `output` | standard output and standard error; nothing else prints |
//! | `failure` | why a command did not do what it was asked to, and what to do about it |
//! | `logging` | where the program's log goes |
//! | `runtime` | the threads that tasks run on |
//!
//! Absent on purpose: anything that a library could want. What a command shows is computed here, what is true
//! is computed below.

mod arguments;
mod commands;
mod failure;
mod logging;
mod output;
mod runtime;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    let loggers = logging::start(&arguments.log, arguments.command.is_server());
    match commands::run(arguments, loggers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.end(),
    }
}
