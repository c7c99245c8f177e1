//! `cargo xtask chaos kill`: `kill -9` at random moments under idempotent load, and a look at what is left.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::consumer::Consumer;
use super::producer::Producer;
use super::random::Random;
use super::requests;
use super::server::{Server, binary};
use super::topics::Changer;
use super::{Seed, recovery, verdict};
use crate::compat::list_files as list;
use crate::load::protocol::{Connection, Request};
use crate::workspace::Outcome;

/// What `cargo xtask chaos kill` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// How many times the server is ended.
    #[arg(long, default_value_t = 100)]
    rounds: u32,
    /// 20 rounds and a small recovery measurement.
    #[arg(long)]
    ci: bool,
    /// How much lies unflushed when the recovery is measured, in MiB.
    #[arg(long, default_value_t = 1024)]
    recovery_mebibytes: usize,
    /// Sealed segments leave the disk for tiered storage, in a directory; in the end that must be empty.
    #[arg(long)]
    tiered: bool,
    #[command(flatten)]
    seed: Seed,
}

impl Arguments {
    /// 20 rounds and a small recovery measurement.
    pub fn for_ci() -> Arguments {
        Arguments::of(20, false)
    }

    /// Fewer rounds, with tiered storage.
    pub fn tiered_for_ci() -> Arguments {
        Arguments::of(10, true)
    }

    fn of(rounds: u32, tiered: bool) -> Arguments {
        Arguments { rounds, ci: false, recovery_mebibytes: 128, tiered, seed: Seed::default() }
    }
}

const PRODUCERS: u8 = 4;
/// Small segments and frequent checkpoints, so that kills fall among rolls and recovery points move.
const SETTINGS: &str = "log.segment.bytes=1048576\nlog.index.size.max.bytes=65536\nlog.retention.ms=-1\n\
    log.flush.offset.checkpoint.interval.ms=700\nlog.flush.start.offset.checkpoint.interval.ms=700\n\
    log.segment.delete.delay.ms=500\nauto.create.topics.enable=false\nnum.recovery.threads.per.data.dir=2";
/// Sealed segments leave the disk at once.
const TIERED: &str = "remote.log.storage.system.enable=true\nlog.local.retention.bytes=1\n\
    remote.log.manager.task.interval.ms=100\nlog.retention.check.interval.ms=100\n\
    log.initial.task.delay.ms=100\nrlmm.config.remote.log.metadata.topic.num.partitions=5";
/// How long after the last start everything must have been acknowledged.
const DRAIN: Duration = Duration::from_secs(60);

/// Runs the rounds, reads everything and reports.
pub fn run(arguments: &Arguments) -> Outcome {
    let seed = arguments.seed.value();
    let mut random = Random::new(seed);
    let (rounds, mebibytes) =
        if arguments.ci { (20, 128) } else { (arguments.rounds, arguments.recovery_mebibytes) };
    let binary = binary()?;
    let folder = tempfile::Builder::new().prefix("ottla-chaos-").tempdir()?;
    println!("seed {seed}: {rounds} rounds");
    let tier = arguments.tiered.then(|| folder.path().join("tier"));
    let outcome = rounds_and_verdict(&binary, folder.path(), rounds, &mut random, tier.as_deref());
    if let Err(error) = outcome {
        let kept = folder.keep();
        return Err(format!("{error}\nseed {seed}; the server's folder is {}", kept.display()).into());
    }
    if arguments.tiered { Ok(()) } else { recovery::measure(&binary, mebibytes) }
}

fn partitions() -> Vec<(String, i32)> {
    [("steady", 4), ("other", 2)]
        .iter()
        .flat_map(|(name, count)| (0..*count).map(|it| ((*name).to_owned(), it)))
        .collect()
}

fn rounds_and_verdict(
    binary: &Path,
    folder: &Path,
    rounds: u32,
    random: &mut Random,
    tier: Option<&Path>,
) -> Outcome {
    let settings = match tier {
        None => SETTINGS.to_owned(),
        Some(tier) => format!("{SETTINGS}\n{TIERED}\nottla.remote.storage.url=file://{}", tier.display()),
    };
    let mut server = Server::lay_out(binary, folder, &settings)?;
    server.start()?;
    let mut connection = Connection::open(server.port())?;
    let mut buffer = Vec::new();
    connection.ask(&Request::create_topic("steady", 4), &mut buffer)?.created()?;
    connection.ask(&Request::create_topic("other", 2), &mut buffer)?.created()?;
    for topic in ["steady", "other"].iter().filter(|_| tier.is_some()) {
        let request = requests::set_config(topic, "remote.storage.enable", "true");
        match requests::config_code(connection.ask(&request, &mut buffer)?)? {
            0 => {}
            code => return Err(format!("{topic} cannot be tiered: error {code}").into()),
        }
    }
    let load = Load::start(server.port(), random);
    let begin = Instant::now();
    let mut ends = Ends::default();
    for round in 1..=rounds {
        ends.one(&mut server, random)?;
        ends.fresh_producer_id(server.port())?;
        if load.failed() {
            println!("round {round} of {rounds}: something is wrong");
            break;
        }
        if round % 10 == 0 {
            println!("round {round} of {rounds}, {:.0} s", begin.elapsed().as_secs_f64());
        }
    }
    // Once more without any doubt: everything acknowledged, then from the disk after a kill.
    let (producers, seen, changer) = load.finish();
    server.kill()?;
    server.start()?;
    report(&mut server, producers, seen, changer, &ends)?;
    match tier {
        Some(tier) => give_up_tier(&mut server, tier),
        None => Ok(()),
    }
}

/// Deletes the topics; every object of theirs must go, also those that a kill left in the middle of a copy.
fn give_up_tier(server: &mut Server, tier: &Path) -> Outcome {
    let objects = || -> Outcome<usize> {
        let mut found = Vec::new();
        if tier.exists() {
            list(tier, &mut found)?;
        }
        Ok(found.len())
    };
    let before = objects()?;
    server.start()?;
    let mut connection = Connection::open(server.port())?;
    let mut buffer = Vec::new();
    for topic in ["steady", "other"] {
        match requests::topic_code(connection.ask(&requests::delete_topic(topic), &mut buffer)?)? {
            0 => {}
            code => return Err(format!("{topic} cannot be deleted: error {code}").into()),
        }
    }
    let end = Instant::now() + DRAIN;
    while objects()? > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
    }
    server.stop()?;
    match objects()? {
        0 => {
            println!("{before} objects were in tiered storage, none is left after the topics were deleted");
            Ok(())
        }
        left => Err(format!("{left} of {before} objects are left in tiered storage").into()),
    }
}

/// How the server was ended, and how it came back.
#[derive(Default)]
struct Ends {
    kills: u32,
    kills_in_start: u32,
    stops: u32,
    after_kill: Vec<Duration>,
    after_stop: Vec<Duration>,
    stopping: Vec<Duration>,
    producer_ids: BTreeSet<i64>,
}

impl Ends {
    /// Lets the server run for a random time, ends it and starts it again.
    fn one(&mut self, server: &mut Server, random: &mut Random) -> Outcome {
        std::thread::sleep(Duration::from_millis(random.below(1200)));
        if !server.is_running() {
            return Err(format!("the server ended by itself:\n{}", server.last_words()).into());
        }
        if random.chance(20) {
            self.stopping.push(server.stop()?);
            self.stops += 1;
            self.after_stop.push(server.start()?);
            return Ok(());
        }
        server.kill()?;
        self.kills += 1;
        while random.chance(25) {
            server.spawn()?;
            std::thread::sleep(Duration::from_millis(random.below(120)));
            server.kill()?;
            self.kills_in_start += 1;
        }
        self.after_kill.push(server.start()?);
        Ok(())
    }

    /// Asks for a producer id, which must never have been given before.
    fn fresh_producer_id(&mut self, port: u16) -> Outcome {
        let mut connection = Connection::open(port)?;
        let mut buffer = Vec::new();
        let answer = connection.ask(&requests::init_producer_id(), &mut buffer)?;
        let (code, id, _) = requests::producer_id(answer)?;
        if code == 0 && !self.producer_ids.insert(id) {
            return Err(format!("producer id {id} was given twice").into());
        }
        Ok(())
    }
}

/// The threads that keep the server busy.
struct Load {
    stop: Arc<AtomicBool>,
    abandon: Arc<AtomicBool>,
    producers: Vec<JoinHandle<Producer>>,
    consumer: JoinHandle<Consumer>,
    changer: JoinHandle<Changer>,
}

impl Load {
    fn start(port: u16, random: &mut Random) -> Load {
        let (stop, abandon) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let partitions = partitions();
        let producers = (0..PRODUCERS).map(|index| {
            let mut producer = Producer::new(index, port, random.fork(), &partitions);
            let (stop, abandon) = (stop.clone(), abandon.clone());
            std::thread::spawn(move || {
                producer.run(&stop, &abandon);
                producer
            })
        });
        let producers = producers.collect();
        let mut consumer = Consumer::new(port, &partitions);
        let mut changer = Changer::new(port, random.fork());
        let (one, two) = (stop.clone(), stop.clone());
        let consumer = std::thread::spawn(move || {
            consumer.follow(&one);
            consumer
        });
        let changer = std::thread::spawn(move || {
            changer.run(&two);
            changer
        });
        Load { stop, abandon, producers, consumer, changer }
    }

    /// Whether any of them ended before its time.
    fn failed(&self) -> bool {
        self.producers.iter().any(JoinHandle::is_finished)
            || self.consumer.is_finished()
            || self.changer.is_finished()
    }

    fn finish(self) -> (Vec<Producer>, Consumer, Changer) {
        self.stop.store(true, Ordering::Relaxed);
        let end = Instant::now() + DRAIN;
        while Instant::now() < end && !self.producers.iter().all(JoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.abandon.store(true, Ordering::Relaxed);
        let producers = self.producers.into_iter().map(joined).collect();
        (producers, joined(self.consumer), joined(self.changer))
    }
}

fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn report(
    server: &mut Server,
    producers: Vec<Producer>,
    seen: Consumer,
    mut changer: Changer,
    ends: &Ends,
) -> Outcome {
    let partitions = partitions();
    changer.verify(&mut Connection::open(server.port())?)?;
    let (acknowledged, mut wrong) = verdict::reach(server.port(), &partitions, &producers, Some(&seen));
    let mut ids = ends.producer_ids.clone();
    for producer in &producers {
        if producer.identity().is_some_and(|it| !ids.insert(it)) {
            wrong.push(format!("producer id {:?} was given twice", producer.identity()));
        }
    }
    wrong.extend(seen.anomalies);
    wrong.extend(changer.anomalies.iter().cloned());
    println!(
        "{} kills, {} more while it was starting, {} clean stops; {acknowledged} records acknowledged, {} topic changes",
        ends.kills, ends.kills_in_start, ends.stops, changer.changes
    );
    println!("start after a kill: {}", spread(&ends.after_kill));
    println!("start after a clean stop: {}", spread(&ends.after_stop));
    println!("clean stop: {}", spread(&ends.stopping));
    server.stop()?;
    if wrong.is_empty() {
        println!("nothing acknowledged was lost, duplicated or reordered");
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

/// Median and worst of some times.
fn spread(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort();
    match (sorted.get(sorted.len() / 2), sorted.last()) {
        (Some(median), Some(worst)) => {
            format!("median {} ms, at most {} ms", median.as_millis(), worst.as_millis())
        }
        _ => "none".to_owned(),
    }
}
