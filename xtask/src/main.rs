//! The project's own tool, run as `cargo xtask <command>`.

mod bench;
mod chaos;
mod codegen;
mod command;
mod compat;
mod load;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own tool.
#[derive(Parser)]
#[command(name = "cargo xtask", about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes the Rust of `wire` from `crates/wire/schema`, or checks that it is fresh.
    Codegen(codegen::Arguments),
    /// Checks the rules of the repository: layers, file shape, names, unfinished work.
    Tidy(tidy::Arguments),
    /// Runs everything that must pass before a change lands.
    Test(test::Arguments),
    /// Runs programs nobody here wrote against Ottla and against Apache Kafka, and compares.
    Compat(compat::Arguments),
    /// Measures Ottla beside Apache Kafka as paired ratios.
    Bench(bench::Arguments),
    /// Kills, damages and abuses a real server, and counts what was lost.
    Chaos(chaos::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Codegen(arguments) => codegen::run(arguments),
        Command::Tidy(arguments) => tidy::run(arguments),
        Command::Test(arguments) => test::run(arguments),
        Command::Compat(arguments) => compat::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Chaos(arguments) => chaos::run(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
