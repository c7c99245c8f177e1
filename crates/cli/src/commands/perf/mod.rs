//! `ottla perf`: how fast records go in and come out.

mod consume;
mod produce;
mod report;

use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::commands::client::ClientArguments;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::runtime;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct PerfArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(subcommand)]
    command: PerfCommand,
}

#[derive(Debug, Subcommand)]
enum PerfCommand {
    /// Send records: throughput, and how long each took until it was acknowledged
    Produce(produce::ProduceArguments),
    /// Fetch records: throughput
    Consume(consume::ConsumeArguments),
}

/// Runs the command.
pub(crate) fn run(arguments: PerfArguments) -> Outcome {
    let PerfArguments { client, command } = arguments;
    let runtime = runtime::for_a_server()?;
    let measured = runtime.block_on(async move {
        match command {
            PerfCommand::Produce(it) => Box::pin(produce::run(client, it)).await,
            PerfCommand::Consume(it) => Box::pin(consume::run(client, it)).await,
        }
    });
    runtime.shutdown_background();
    measured
}

/// A bar on standard error, if a person looks.
fn progress(records: u64) -> Outcome<ProgressBar> {
    if !output::is_attended() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{bar:32} {human_pos}/{human_len} {per_sec} {msg} {eta}");
    let bar = ProgressBar::with_draw_target(Some(records), ProgressDrawTarget::stderr());
    bar.set_style(style.map_err(Failure::new)?);
    Ok(bar)
}

/// How many per second.
fn rate(count: u64, over: Duration) -> f64 {
    if over.is_zero() { 0.0 } else { count as f64 / over.as_secs_f64() }
}

const MIB: f64 = 1_048_576.0;
