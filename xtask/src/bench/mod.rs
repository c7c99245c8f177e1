//! `cargo xtask bench`: Ottla beside Apache Kafka, alternating, as medians of paired ratios.
//!
//! | file | holds |
//! |---|---|
//! | `target` | starting and stopping a server of either maker |
//! | `work` | the workloads |
//! | `statistics` | medians and intervals |
//! | `report` | the table, JSON, and `docs/performance.md` |

mod report;
mod statistics;
mod target;
mod work;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use crate::compat::node;
use crate::compat::reference::{ClassPath, Reference};
use crate::load::process;
use crate::workspace::Outcome;
use report::Report;
use target::{Maker, Target};
use work::{Figure, Server};

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench throughput --pairs 10\n  \
                        cargo xtask bench --json\n  cargo xtask bench --write")]
pub struct Arguments {
    /// The workloads to run; all of them if none is named.
    #[arg(value_enum)]
    workloads: Vec<Workload>,
    /// How many pairs of runs, Ottla and Apache Kafka in turn.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// How much a throughput run produces, in MiB.
    #[arg(long, default_value_t = 1024)]
    mebibytes: usize,
    /// How long a run at a fixed rate lasts, in seconds.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Measures Ottla alone: no ratios, but quick.
    #[arg(long, conflicts_with = "write")]
    alone: bool,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Writes `docs/performance.md` from this run.
    #[arg(long)]
    write: bool,
    /// An Ottla binary other than the workspace's release build.
    #[arg(long)]
    ottla: Option<PathBuf>,
}

/// A kind of work.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Workload {
    /// Produce and consume 1 KiB records in large batches as fast as possible.
    Throughput,
    /// One record of 100 B per request at 1,000 and 10,000 a second, without linger.
    Latency,
    /// Start on an empty directory, idle memory, clean stop.
    Start,
    /// 10,000 partitions: creation, memory, descriptors, clean stop, start.
    Partitions,
}

const ALL: [Workload; 4] = [Workload::Start, Workload::Throughput, Workload::Latency, Workload::Partitions];
const MIB: f64 = 1024.0 * 1024.0;

/// Runs the workloads on both servers in turn and reports.
pub fn run(arguments: Arguments) -> Outcome {
    let ottla = match &arguments.ottla {
        Some(binary) => binary.clone(),
        None => match node::Maker::ottla()? {
            node::Maker::Ottla(binary) => binary,
            node::Maker::Kafka | node::Maker::Release(_) => return Err("Ottla cannot be built".into()),
        },
    };
    let kafka = match arguments.alone {
        true => PathBuf::new(),
        false => Reference::lay_out()?.jar_folder(ClassPath::Server),
    };
    let makers = [Maker::Ottla(ottla), Maker::Kafka(kafka)];
    let workloads = if arguments.workloads.is_empty() { ALL.to_vec() } else { arguments.workloads.clone() };
    let mut report = Report::default();
    for workload in workloads {
        let pairs = if workload == Workload::Partitions { arguments.pairs.min(3) } else { arguments.pairs };
        for pair in 0..pairs {
            // A B, B A, A B …: whoever runs second finds the machine warm, so they take turns.
            let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
            for which in order {
                if arguments.alone && which == 1 {
                    continue;
                }
                eprintln!(
                    "pair {} of {pairs}: {} on {}",
                    pair + 1,
                    name(workload),
                    ["Ottla", "Apache Kafka"][which]
                );
                let figures = one_run(workload, makers[which].clone(), &arguments)?;
                report.add(which, figures);
            }
        }
    }
    if arguments.json {
        println!("{}", report.json());
    } else {
        println!("{}", report.table());
    }
    if arguments.write {
        let path = crate::workspace::root().join("docs/performance.md");
        std::fs::write(path, report.page(arguments.pairs, arguments.mebibytes, arguments.seconds))?;
    }
    Ok(())
}

fn name(workload: Workload) -> String {
    use clap::ValueEnum;
    workload.to_possible_value().map(|it| it.get_name().to_owned()).unwrap_or_default()
}

fn one_run(workload: Workload, maker: Maker, arguments: &Arguments) -> Outcome<Vec<Figure>> {
    let is_java = matches!(maker, Maker::Kafka(_));
    let mut target = Target::format(maker, "log.retention.ms=-1")?;
    match workload {
        Workload::Start => start(&mut target),
        Workload::Throughput => {
            let bytes = arguments.mebibytes << 20;
            touch_memory(target.folder(), bytes + bytes / 4)?;
            target.start()?;
            let server = target.server()?;
            if is_java {
                // A million and a half records, so that the virtual machine has compiled what it will run.
                work::throughput(server, "warm", 1536 << 20)?;
            } else {
                work::throughput(server, "warm", 64 << 20)?;
            }
            work::throughput(server, "measured", bytes)
        }
        Workload::Latency => {
            target.start()?;
            let server = target.server()?;
            if is_java {
                work::throughput(server, "warm", 256 << 20)?;
                work::fixed_rate(server, "warm-rate", 10_000, Duration::from_secs(20))?;
            }
            latency(server, Duration::from_secs(arguments.seconds))
        }
        Workload::Partitions => partitions(&mut target),
    }
}

fn latency(server: Server, run: Duration) -> Outcome<Vec<Figure>> {
    let mut figures = work::fixed_rate(server, "rate-1000", 1_000, run)?;
    figures.extend(work::fixed_rate(server, "rate-10000", 10_000, run)?);
    Ok(figures)
}

fn start(target: &mut Target) -> Outcome<Vec<Figure>> {
    let started = target.start()?;
    std::thread::sleep(Duration::from_secs(5));
    let resident = process::resident_bytes(target.server()?.pid)? as f64 / MIB;
    let stopped = target.stop()?;
    let again = target.start()?;
    Ok(vec![
        Figure { name: "start empty to first produce, ms", value: started.as_secs_f64() * 1e3 },
        Figure { name: "start again to first produce, ms", value: again.as_secs_f64() * 1e3 },
        Figure { name: "resident idle, MiB", value: resident },
        Figure { name: "clean stop, ms", value: stopped.as_secs_f64() * 1e3 },
    ])
}

fn partitions(target: &mut Target) -> Outcome<Vec<Figure>> {
    target.start()?;
    let mut figures = work::create_many(target.server()?, 10_000)?;
    let stopped = target.stop()?;
    let started = target.start()?;
    figures
        .push(Figure { name: "clean stop with 10,000 partitions, ms", value: stopped.as_secs_f64() * 1e3 });
    figures.push(Figure { name: "start with 10,000 partitions, ms", value: started.as_secs_f64() * 1e3 });
    Ok(figures)
}

/// Writes and deletes a scratch file, so that the run does not pay for memory the machine never touched.
fn touch_memory(folder: &std::path::Path, bytes: usize) -> Outcome {
    let path = folder.join("scratch");
    let mut file = std::fs::File::create(&path)?;
    let block = vec![1u8; 1 << 20];
    for _ in 0..bytes >> 20 {
        file.write_all(&block)?;
    }
    drop(file);
    std::fs::remove_file(path)?;
    Ok(())
}
