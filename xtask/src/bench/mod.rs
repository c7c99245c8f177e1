//! `cargo xtask bench`: Ottla beside Apache Kafka or another server, alternating, as medians of paired ratios.
//!
//! | file | holds |
//! |---|---|
//! | `workload` | the kinds of work by name |
//! | `target` | starting and stopping a server of either maker |
//! | `work` | the load |
//! | `roofs` | what the machine itself can do |
//! | `results` | what was measured so far |
//! | `statistics` | medians and intervals |
//! | `aims` | what the figures shall be |
//! | `report` | the table, JSON, and `docs/performance.md` |
//! | `guard` | instructions per request, held against those in `guard.toml` |

mod aims;
mod guard;
mod report;
mod results;
mod roofs;
mod statistics;
mod target;
mod work;
mod workload;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::compat::node;
use crate::compat::reference::{ClassPath, Reference};
use crate::workspace::Outcome;
use report::Report;
use results::Results;
use target::Maker;
use workload::{ALL, Scale, WITH_TARGETS, Workload};

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  cargo xtask bench --pairs 3 --write\n  cargo xtask bench --quick\n  \
                        cargo xtask bench groups transactions --pairs 10\n  cargo xtask bench --resume --json\n  \
                        cargo xtask bench throughput --rival /opt/other/start-other"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The workloads to run; those that have a target if none is named.
    #[arg(value_enum)]
    workloads: Vec<Workload>,
    /// Runs every workload.
    #[arg(long, conflicts_with = "workloads")]
    all: bool,
    /// How many pairs of runs, Ottla and Apache Kafka in turn; the longest workloads run a third of it.
    #[arg(long, default_value_t = 3)]
    pairs: usize,
    /// One pair and little of everything.
    #[arg(long, conflicts_with_all = ["pairs", "write"])]
    quick: bool,
    /// How much a throughput run produces, in MiB.
    #[arg(long, default_value_t = 1024)]
    mebibytes: usize,
    /// How long a run at a fixed rate lasts, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How much is in unfinished segments when a server is killed, in GB.
    #[arg(long, default_value_t = 10)]
    recovery_gigabytes: usize,
    /// Measures Ottla alone: no ratios, but quick.
    #[arg(long, conflicts_with = "write")]
    alone: bool,
    /// Goes on with the measurement that is in the file of results.
    #[arg(long)]
    resume: bool,
    /// The file of results, a line for each run; `bench.jsonl` in cargo's target folder if none is named.
    #[arg(long)]
    results: Option<PathBuf>,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Writes `docs/performance.md`.
    #[arg(long)]
    write: bool,
    /// An Ottla binary other than the workspace's release build.
    #[arg(long)]
    ottla: Option<PathBuf>,
    /// A server in the place of Apache Kafka: a program that takes Ottla's command line. Its column has its file's name.
    #[arg(long, conflicts_with_all = ["alone", "write"])]
    rival: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Counts instructions per request and compares them with those written down; needs valgrind.
    Guard(guard::Arguments),
}

/// Runs the workloads on both servers in turn and reports.
pub fn run(arguments: Arguments) -> Outcome {
    if let Some(Command::Guard(arguments)) = &arguments.command {
        return guard::run(arguments);
    }
    let path = arguments.results.clone().unwrap_or_else(|| {
        let target = std::env::var_os("CARGO_TARGET_DIR");
        target.map_or_else(|| crate::workspace::root().join("target"), PathBuf::from).join("bench.jsonl")
    });
    let mut results = Results::open(&path, arguments.resume)?;
    measure(&arguments, &mut results)?;
    let report = Report::of(&results.runs, rival(&arguments).as_deref());
    if arguments.json {
        println!("{}", report.json());
    } else {
        println!("{}", report.table());
    }
    if arguments.write {
        let names: String = workloads(&arguments).iter().map(|it| format!(" {}", it.name())).collect();
        let command = format!(
            "cargo xtask bench{names} --write --pairs {} --mebibytes {} --seconds {} --recovery-gigabytes {}",
            arguments.pairs, arguments.mebibytes, arguments.seconds, arguments.recovery_gigabytes
        );
        std::fs::write(crate::workspace::root().join("docs/performance.md"), report.page(&command))?;
    }
    match report.failures() {
        [] => Ok(()),
        failures => Err(format!("not everything could be measured:\n{}", failures.join("\n")).into()),
    }
}

fn measure(arguments: &Arguments, results: &mut Results) -> Outcome {
    let makers = makers(arguments)?;
    let scale = scale(arguments);
    let workloads = workloads(arguments);
    let pairs = if arguments.quick { 1 } else { arguments.pairs };
    // The longest last: whoever has no time for them has the others.
    let (long, short): (Vec<Workload>, Vec<Workload>) = workloads.into_iter().partition(|it| it.is_long());
    for workloads in [short, long] {
        for pair in 0..pairs {
            for workload in workloads.iter().filter(|it| pair < it.pairs(pairs)) {
                measure_pair(*workload, pair, &makers, scale, results)?;
            }
        }
    }
    Ok(())
}

/// Runs a workload on both servers, or on none if it needs none; what is measured already is not run again.
fn measure_pair(
    workload: Workload,
    pair: usize,
    makers: &[(Maker, String)],
    scale: Scale,
    results: &mut Results,
) -> Outcome {
    let workload_name = workload.name();
    if results.has(&workload_name, pair, "machine") {
        return Ok(());
    }
    if let Some(outcome) = workload.run_alone(scale) {
        return results.add(&workload_name, pair, "machine", outcome);
    }
    // A B, B A, A B …: whoever runs second finds the machine warm, so they take turns.
    let order = if pair.is_multiple_of(2) { [0, 1] } else { [1, 0] };
    for (maker, name) in order.iter().filter_map(|it| makers.get(*it)) {
        if results.has(&workload_name, pair, name) {
            continue;
        }
        let begin = Instant::now();
        let outcome = workload.run(maker.clone(), scale);
        let ended = if let Err(error) = &outcome { error.to_string() } else { String::new() };
        let seconds = begin.elapsed().as_secs_f64();
        eprintln!("pair {}: {workload_name} on {name}, {seconds:.1} s {ended}", pair + 1);
        results.add(&workload_name, pair, name, outcome)?;
    }
    Ok(())
}

/// What is run: what is named, everything, or what has a target.
fn workloads(arguments: &Arguments) -> Vec<Workload> {
    match (arguments.all, arguments.workloads.is_empty()) {
        (true, _) => ALL.to_vec(),
        (false, true) => WITH_TARGETS.to_vec(),
        (false, false) => arguments.workloads.clone(),
    }
}

/// What the server is called that is measured in the place of Apache Kafka.
fn rival(arguments: &Arguments) -> Option<String> {
    Some(arguments.rival.as_ref()?.file_name()?.to_string_lossy().into_owned())
}

fn makers(arguments: &Arguments) -> Outcome<Vec<(Maker, String)>> {
    let ottla = match &arguments.ottla {
        Some(binary) => binary.clone(),
        None => match node::Maker::ottla()? {
            node::Maker::Ottla(binary) => binary,
            node::Maker::Kafka | node::Maker::Release(_) => return Err("Ottla cannot be built".into()),
        },
    };
    let mut makers = vec![(Maker::Ottla(ottla), "ottla".to_owned())];
    if let Some((program, name)) = arguments.rival.clone().zip(rival(arguments)) {
        makers.push((Maker::Ottla(program), name));
    } else if !arguments.alone {
        let jars = Reference::lay_out()?.jar_folder(ClassPath::Server);
        makers.push((Maker::Kafka(jars), "kafka".to_owned()));
    }
    Ok(makers)
}

/// The binary to measure: the one that was named, or the release build.
fn ottla(named: Option<&PathBuf>) -> Outcome<PathBuf> {
    match named {
        Some(binary) => Ok(binary.clone()),
        None => match node::Maker::ottla()? {
            node::Maker::Ottla(binary) => Ok(binary),
            _ => Err("Ottla cannot be built".into()),
        },
    }
}

fn scale(arguments: &Arguments) -> Scale {
    let full = Scale {
        bytes: arguments.mebibytes << 20,
        run: Duration::from_secs(arguments.seconds),
        recovery_bytes: arguments.recovery_gigabytes * 1_000_000_000,
        long: Duration::from_secs(600),
        partitions: 10_000,
        connections: 10_000,
        passing_topics: 500,
    };
    match arguments.quick {
        false => full,
        true => Scale {
            bytes: full.bytes.min(256 << 20),
            run: full.run.min(Duration::from_secs(3)),
            recovery_bytes: full.recovery_bytes.min(1_000_000_000),
            long: Duration::from_secs(20),
            partitions: 1_000,
            connections: 1_000,
            passing_topics: 50,
        },
    }
}
