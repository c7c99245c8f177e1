//! `cargo xtask chaos transactions`: `kill -9` at random moments under transactions over several partitions and a
//! group's offsets, and a look at what readers of committed records find.
//!
//! | file | holds |
//! |---|---|
//! | `writer` | transactional producers |
//! | `reader` | readers of committed records |
//! | `ledger` | what was done, what is there, and what that says; its own tests |

mod ledger;
mod reader;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Seed;
use super::random::Random;
use super::server::{Server, binary};
use crate::load::protocol::{Connection, Request};
use crate::load::transactions as requests;
use crate::workspace::Outcome;
use ledger::Ledger;
use reader::Reader;
use writer::Writer;

/// What `cargo xtask chaos transactions` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// How many times the server is ended.
    #[arg(long, default_value_t = 100)]
    rounds: u32,
    #[command(flatten)]
    seed: Seed,
}

impl Arguments {
    /// A few rounds.
    pub fn for_ci() -> Arguments {
        Arguments { rounds: 8, seed: Seed::default() }
    }
}

const WRITERS: u8 = 4;
const PARTITIONS: i32 = 4;
const TOPIC: &str = "ledger";
/// How long a transaction may take.
const TIMEOUT_MS: i32 = 5_000;
/// How long after a transaction's time nothing of it may be open any more.
const STUCK_AFTER: Duration = Duration::from_secs(15);
const SETTINGS: &str = "log.segment.bytes=1048576\nlog.retention.ms=-1\nauto.create.topics.enable=false\n\
    transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
    transaction.state.log.num.partitions=5\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=5\n\
    transaction.abort.timed.out.transaction.cleanup.interval.ms=500";

/// Runs the rounds, reads everything and reports.
pub fn run(arguments: &Arguments) -> Outcome {
    let seed = arguments.seed.value();
    let mut random = Random::new(seed);
    let binary = binary()?;
    let folder = tempfile::Builder::new().prefix("ottla-chaos-").tempdir()?;
    println!("transactions, seed {seed}: {} rounds", arguments.rounds);
    if let Err(error) = rounds_and_verdict(&binary, folder.path(), arguments.rounds, &mut random) {
        let kept = folder.keep();
        return Err(format!("{error}\nseed {seed}; the server's folder is {}", kept.display()).into());
    }
    Ok(())
}

fn rounds_and_verdict(binary: &Path, folder: &Path, rounds: u32, random: &mut Random) -> Outcome {
    let mut server = Server::lay_out(binary, folder, SETTINGS)?;
    server.start()?;
    prepare(server.port())?;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|index| {
            let (mut writer, stop) = (Writer::new(index, server.port(), random.fork()), stop.clone());
            std::thread::spawn(move || {
                writer.run(&stop);
                writer
            })
        })
        .collect();
    let (mut reader, stop_too) = (Reader::new(server.port()), stop.clone());
    let reader = std::thread::spawn(move || {
        reader.follow(&stop_too);
        reader
    });
    for round in 1..=rounds {
        std::thread::sleep(Duration::from_millis(random.below(1_500)));
        if !server.is_running() {
            return Err(format!("the server ended by itself:\n{}", server.last_words()).into());
        }
        server.kill()?;
        server.start()?;
        if writers.iter().any(|it| it.is_finished()) || reader.is_finished() {
            println!("round {round} of {rounds}: something is wrong");
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let writers: Vec<Writer> = writers.into_iter().map(joined).collect();
    let reader = joined(reader);
    // From the disk after a kill, with transactions open that nobody will end.
    server.kill()?;
    server.start()?;
    report(&server, &writers, &reader)?;
    server.stop()?;
    Ok(())
}

/// Makes the topic, and has the topics of the coordinators made.
fn prepare(port: u16) -> Outcome {
    const GROUP: u8 = 0;
    const TRANSACTION: u8 = 1;
    let mut connection = Connection::open(port)?;
    let mut buffer = Vec::new();
    connection.ask(&Request::create_topic(TOPIC, PARTITIONS), &mut buffer)?.created()?;
    let until = Instant::now() + super::server::LIMIT;
    for key_type in [GROUP, TRANSACTION] {
        while requests::found(connection.ask(&requests::find_coordinator("any", key_type), &mut buffer)?)?
            != 0
        {
            if Instant::now() > until {
                return Err("there is no coordinator".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

fn report(server: &Server, writers: &[Writer], seen: &Reader) -> Outcome {
    let mut wrong: Vec<String> = writers.iter().flat_map(|it| it.anomalies.iter().cloned()).collect();
    wrong.extend(seen.anomalies.iter().cloned());
    let mut read = Reader::new(server.port());
    let until = Instant::now() + Duration::from_millis(TIMEOUT_MS as u64) + STUCK_AFTER;
    if let Err(error) = read.read_all(until) {
        wrong.push(error.to_string());
    }
    let mut ledger = Ledger { seen: seen.read.iter().copied().collect(), ..Ledger::default() };
    ledger.read = read.read;
    for (index, writer) in (0..).zip(writers) {
        ledger.transactions.insert(index, writer.transactions.clone());
        ledger.offsets.insert(index, committed_offset(server.port(), index)?);
    }
    let found = ledger.check();
    if !found.is_empty() {
        let first: Vec<_> = found.iter().take(8).collect();
        wrong.push(format!("{} anomalies, first {first:?}", found.len()));
    }
    let all = writers.iter().flat_map(|it| &it.transactions);
    let count = |ending| all.clone().filter(|it| it.ending == ending).count();
    println!(
        "{} transactions committed, {} aborted, {} ended in doubt, {} never ended; {} records read",
        count(ledger::Ending::Committed),
        count(ledger::Ending::Aborted),
        count(ledger::Ending::MayBeCommitted),
        count(ledger::Ending::Never),
        ledger.read.len()
    );
    if wrong.is_empty() {
        println!("nothing was torn, lost, read although aborted, or stuck");
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

/// The offset of a writer's group, which is the number of a transaction.
fn committed_offset(port: u16, writer: u8) -> Outcome<Option<u64>> {
    let mut connection = Connection::open(port)?;
    let mut buffer = Vec::new();
    let until = Instant::now() + super::server::LIMIT;
    loop {
        let request = requests::offset(&Writer::group(writer), TOPIC, 0);
        match requests::fetched_offset(connection.ask(&request, &mut buffer)?)? {
            (0, offset) => return Ok(u64::try_from(offset).ok()),
            (code, _) if Instant::now() > until => {
                return Err(format!("the offsets of writer {writer} are not told: error {code}").into());
            }
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn joined<T>(thread: std::thread::JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
