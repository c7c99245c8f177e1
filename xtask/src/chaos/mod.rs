//! `cargo xtask chaos`: kills, damages and abuses a real server, and counts what was lost.
//!
//! | file | holds |
//! |---|---|
//! | `kill` | `kill -9` under idempotent load |
//! | `corrupt` | bits flipped and files cut |
//! | `disk` | full disks, failing disks, power cuts, clocks that jump |
//! | `transactions` | `kill -9` under transactions |
//! | `producer`, `consumer`, `topics` | the load |
//! | `history` | what the load says about the server, and its own tests |
//! | `verdict` | the history held against what is there in the end |
//! | `recovery` | how fast a killed server comes back |
//! | `server` | the server's folder and process |
//! | `requests` | the requests of the load |
//! | `random` | what a seed decides |

mod consumer;
mod corrupt;
mod disk;
mod history;
mod kill;
mod producer;
mod random;
mod recovery;
mod requests;
mod server;
mod topics;
mod transactions;
mod verdict;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::workspace::Outcome;

/// What `cargo xtask chaos` takes.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Ends the server with `kill -9` again and again under load; nothing acknowledged may be lost.
    Kill(kill::Arguments),
    /// Flips bits and cuts files of a stopped server; wrong bytes are never served.
    Corrupt(corrupt::Arguments),
    /// Fills disks, lets them fail, cuts their power, and lets the clock jump.
    Disk(disk::Arguments),
    /// Ends the server with `kill -9` again and again under transactions; none may be torn, lost or left open.
    Transactions(transactions::Arguments),
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        Command::Kill(arguments) => kill::run(&arguments),
        Command::Corrupt(arguments) => corrupt::run(&arguments),
        Command::Disk(arguments) => disk::run(&arguments),
        Command::Transactions(arguments) => transactions::run(&arguments),
    }
}

/// What is run before a change lands.
pub fn run_for_ci() -> Outcome {
    kill::run(&kill::Arguments::for_ci())?;
    kill::run(&kill::Arguments::tiered_for_ci())?;
    transactions::run(&transactions::Arguments::for_ci())?;
    corrupt::run(&corrupt::Arguments::for_ci())
}

/// Where a run's randomness begins.
#[derive(clap::Args, Default)]
struct Seed {
    /// Repeats the decisions of an earlier run; another one every time if left out.
    #[arg(long)]
    seed: Option<u64>,
}

impl Seed {
    fn value(&self) -> u64 {
        self.seed.unwrap_or_else(|| {
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |it| it.as_nanos() as u64)
        })
    }
}
