//! `cargo xtask chaos disk`: full disks, failing disks, power cuts and clocks that jump, under idempotent load.
//!
//! | file | holds |
//! |---|---|
//! | `full` | a disk that fills up and gets room again |
//! | `faults` | the n-th system call fails |
//! | `power` | the power of the disk is cut |
//! | `directories` | one of several log directories fails |
//! | `clock` | the wall clock jumps |

mod clock;
mod directories;
mod faults;
mod full;
mod power;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::producer::Producer;
use super::random::Random;
use super::requests;
use super::server::Server;
use super::verdict;
use crate::load::protocol::{Connection, Request, Sequence, batch_of, now_ms};
use crate::workspace::Outcome;

/// What `cargo xtask chaos disk` takes.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: DiskCommand,
}

#[derive(clap::Subcommand)]
enum DiskCommand {
    /// The disk fills up under load and gets room again: nothing is lost, and the service resumes by itself.
    Full(full::Arguments),
    /// The n-th system call of a kind fails: what was acknowledged is there after the next start.
    Faults(faults::Arguments),
    /// The power of the disk is cut under load with flush.messages=1: nothing acknowledged is lost.
    Power(power::Arguments),
    /// One of three log directories fails under load: the others go on.
    Directories(directories::Arguments),
    /// The wall clock jumps under load: nothing is lost or deleted too early.
    Clock(clock::Arguments),
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    match &arguments.command {
        DiskCommand::Full(arguments) => full::run(arguments),
        DiskCommand::Faults(arguments) => faults::run(arguments),
        DiskCommand::Power(arguments) => power::run(arguments),
        DiskCommand::Directories(arguments) => directories::run(arguments),
        DiskCommand::Clock(arguments) => clock::run(arguments),
    }
}

const PARTITIONS: i32 = 4;
const TOPIC: &str = "steady";
/// Not among what is counted: tells whether a server takes records.
const PROBE: &str = "probe";
/// How long after everything is well again everything must have been acknowledged.
const DRAIN: Duration = Duration::from_secs(60);

fn partitions() -> Vec<(String, i32)> {
    (0..PARTITIONS).map(|it| (TOPIC.to_owned(), it)).collect()
}

fn create_topics(server: &Server) -> Outcome {
    let mut connection = Connection::open(server.port())?;
    let mut buffer = Vec::new();
    connection.ask(&Request::create_topic(TOPIC, PARTITIONS), &mut buffer)?.created()?;
    connection.ask(&Request::create_topic(PROBE, 1), &mut buffer)?.created()
}

/// The threads that keep a server busy.
struct Load {
    stop: Arc<AtomicBool>,
    abandon: Arc<AtomicBool>,
    /// What producers are told counts only on connections opened since this moved.
    life: Arc<AtomicU64>,
    producers: Vec<JoinHandle<Producer>>,
}

impl Load {
    fn start(port: u16, producers: u8, random: &mut Random) -> Load {
        let flag = || Arc::new(AtomicBool::new(false));
        let (stop, abandon, life) = (flag(), flag(), Arc::new(AtomicU64::new(0)));
        let started = (0..producers).map(|index| {
            let mut producer = Producer::new(index, port, random.fork(), &partitions()).living_by(&life);
            let (stop, abandon) = (stop.clone(), abandon.clone());
            std::thread::spawn(move || {
                producer.run(&stop, &abandon);
                producer
            })
        });
        Load { producers: started.collect(), stop, abandon, life }
    }

    /// Whether one has found something that must never happen.
    fn failed(&self) -> bool {
        self.producers.iter().any(JoinHandle::is_finished)
    }

    /// Waits until everything is acknowledged, but not for ever.
    fn finish(self) -> Vec<Producer> {
        self.stop.store(true, Ordering::Relaxed);
        let end = Instant::now() + DRAIN;
        while Instant::now() < end && !self.failed_to_finish() {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.abandon.store(true, Ordering::Relaxed);
        let joined =
            |it: JoinHandle<Producer>| it.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.producers.into_iter().map(joined).collect()
    }

    fn failed_to_finish(&self) -> bool {
        self.producers.iter().all(JoinHandle::is_finished)
    }

    /// Ends at once, with whatever is in doubt.
    fn break_off(self) -> Vec<Producer> {
        self.stop.store(true, Ordering::Relaxed);
        self.abandon.store(true, Ordering::Relaxed);
        self.finish()
    }
}

/// What the server says to one more record of that size; an error if it says nothing.
fn probe(port: u16, bytes: usize) -> Outcome<i16> {
    let mut connection = Connection::open(port)?;
    connection.set_patience(Duration::from_secs(5))?;
    let mut buffer = Vec::new();
    let batch = batch_of(&[vec![7; bytes]], now_ms(), Sequence::NONE);
    let answer = connection.ask(&requests::produce(&[(PROBE, 0, &batch)]), &mut buffer)?;
    let produced = requests::produced(answer)?;
    produced.first().map(|it| it.code).ok_or_else(|| "an answer about nothing".into())
}

/// Waits until the server takes records; gives how long that took.
fn until_it_takes_records(port: u16, limit: Duration) -> Outcome<Duration> {
    let begin = Instant::now();
    loop {
        let said = probe(port, 100);
        if matches!(said, Ok(0)) {
            return Ok(begin.elapsed());
        }
        if begin.elapsed() > limit {
            return Err(format!("no record was taken within {limit:?}: {said:?}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Everything is acknowledged, then the server is ended and everything read from the disk.
fn settle(server: &mut Server, producers: &[Producer]) -> Outcome<usize> {
    server.kill()?;
    server.start()?;
    let (acknowledged, wrong) = verdict::reach(server.port(), &partitions(), producers, None);
    if wrong.is_empty() { Ok(acknowledged) } else { Err(wrong.join("\n").into()) }
}

/// Runs a program that must succeed; says what it said if it does not.
fn call(program: &str, arguments: &[&str]) -> Outcome<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot run {program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {} ended with {}: {}", arguments.join(" "), output.status, said.trim()).into())
}

/// Runs a test in a folder of its own; the folder stays if something is wrong.
fn in_folder(seed: u64, test: impl FnOnce(&Path) -> Outcome) -> Outcome {
    let folder = tempfile::Builder::new().prefix("ottla-chaos-").tempdir()?;
    test(folder.path()).map_err(|error| {
        let kept = folder.keep();
        format!("{error}\nseed {seed}; the server's folder is {}", kept.display()).into()
    })
}
