//! `cargo xtask chaos corrupt`: bits flipped and files cut on a stopped server. Wrong bytes are never served.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Seed;
use super::consumer::{Advance, Reading};
use super::history::Value;
use super::random::Random;
use super::requests;
use super::server::{Server, Started, binary};
use crate::load::protocol::{Connection, Request, Sequence, batch_of, now_ms};
use crate::workspace::{Outcome, copy_folder};

/// What `cargo xtask chaos corrupt` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// How many times a file is damaged.
    #[arg(long, default_value_t = 1000)]
    cases: u32,
    /// 150 cases.
    #[arg(long)]
    ci: bool,
    #[command(flatten)]
    seed: Seed,
}

impl Arguments {
    /// What is run before a change lands.
    pub fn for_ci() -> Arguments {
        Arguments { cases: 150, ci: true, seed: Seed::default() }
    }
}

const TOPIC: &str = "held";
const PARTITIONS: i32 = 5;
const BATCHES: u64 = 60;
const SETTINGS: &str = "log.segment.bytes=1048576\nlog.index.interval.bytes=4096\nlog.retention.ms=-1\n\
    log.flush.offset.checkpoint.interval.ms=300\nlog.flush.start.offset.checkpoint.interval.ms=300\n\
    auto.create.topics.enable=false\nmetadata.log.max.snapshot.interval.ms=300\n\
    metadata.log.max.record.bytes.between.snapshots=1000";

/// What was written: the value and time of every offset of every partition.
struct Written {
    partitions: Vec<Vec<(Value, i64)>>,
}

/// What came of the damage.
#[derive(Default)]
struct Tally {
    whole: u32,
    shorter: u32,
    refused_partition: u32,
    refused_start: u32,
    misled: u32,
    by_kind: BTreeMap<&'static str, u32>,
}

/// Runs the cases and reports.
pub fn run(arguments: &Arguments) -> Outcome {
    let seed = arguments.seed.value();
    let cases = if arguments.ci { 150 } else { arguments.cases };
    let mut random = Random::new(seed);
    println!("seed {seed}: {cases} cases");
    let folder = tempfile::Builder::new().prefix("ottla-corrupt-").tempdir()?;
    let outcome = cases_and_verdict(&binary()?, folder.path(), cases, &mut random);
    outcome.map_err(|error| {
        let kept = folder.keep();
        format!("{error}\nseed {seed}; the server's folder is {}", kept.display()).into()
    })
}

fn cases_and_verdict(binary: &Path, folder: &Path, cases: u32, random: &mut Random) -> Outcome {
    let mut server = Server::lay_out(binary, folder, SETTINGS)?;
    let written = write(&mut server)?;
    let templates = [folder.join("killed"), folder.join("stopped")];
    server.kill()?;
    copy_folder(&server.data(), &templates[0])?;
    server.start()?;
    server.stop()?;
    copy_folder(&server.data(), &templates[1])?;
    let mut tally = Tally::default();
    let mut done = 0;
    let mut starts = 0;
    while done < cases {
        let template = &templates[random.below(2) as usize];
        std::fs::remove_dir_all(server.data())?;
        copy_folder(template, &server.data())?;
        server.forget_words()?;
        let damages = damage(&server.data(), random, &mut tally)?;
        let verdict = one(&mut server, &written, &damages, random, &mut tally);
        verdict.map_err(|error| format!("{error}\nafter {damages:?}\n{}", server.last_words()))?;
        done += damages.len() as u32;
        starts += 1;
        if starts % 50 == 0 {
            println!("{done} of {cases} cases");
        }
    }
    println!("{done} cases in {starts} starts, by kind of file: {:?}", tally.by_kind);
    println!(
        "partitions read: {} whole, {} shorter with a warning, {} refused with an error; {} starts refused; \
         {} look-ups by time misled by a damaged time index",
        tally.whole, tally.shorter, tally.refused_partition, tally.refused_start, tally.misled
    );
    println!("no wrong byte was served");
    Ok(())
}

/// Writes values to every partition, in two segments or more.
fn write(server: &mut Server) -> Outcome<Written> {
    server.start()?;
    let mut connection = Connection::open(server.port())?;
    let mut buffer = Vec::new();
    connection.ask(&Request::create_topic(TOPIC, PARTITIONS), &mut buffer)?.created()?;
    let (_, producer_id, producer_epoch) =
        requests::producer_id(connection.ask(&requests::init_producer_id(), &mut buffer)?)?;
    let mut partitions = vec![Vec::new(); PARTITIONS as usize];
    let begin = now_ms();
    for batch in 0..BATCHES {
        for (partition, known) in partitions.iter_mut().enumerate() {
            let timestamp = begin + batch as i64 * 10;
            let first = known.len() as u64;
            let values: Vec<Value> =
                (first..first + 150).map(|it| Value::new(0, partition as u8, it)).collect();
            let sequence = Sequence { producer_id, producer_epoch, base_sequence: first as i32 };
            let bodies: Vec<_> = values.iter().map(|it| it.bytes()).collect();
            let bytes = batch_of(&bodies, timestamp, sequence);
            let request = requests::produce(&[(TOPIC, partition as i32, &bytes)]);
            let produced = requests::produced(connection.ask(&request, &mut buffer)?)?;
            if produced.iter().any(|it| it.code != 0 || it.offset != first as i64) {
                return Err(format!("the load was refused: {produced:?}").into());
            }
            known.extend(values.into_iter().map(|it| (it, timestamp)));
        }
    }
    // So that the checkpoints and a snapshot of the metadata are there.
    std::thread::sleep(Duration::from_millis(1500));
    Ok(Written { partitions })
}

/// The kind of a file by its name; nothing for locks and the like.
fn kind(name: &str, in_metadata: bool) -> Option<&'static str> {
    const PARTITION: [&str; 6] =
        [".log", ".index", ".timeindex", ".txnindex", ".snapshot", "leader-epoch-checkpoint"];
    const METADATA: [&str; 6] = [
        "metadata .log",
        "metadata .index",
        "metadata .timeindex",
        "metadata .txnindex",
        "metadata .snapshot",
        "metadata leader-epoch-checkpoint",
    ];
    const WHOLE: [&str; 8] = [
        "partition.metadata",
        "quorum-state",
        ".checkpoint",
        "meta.properties",
        ".kafka_cleanshutdown",
        "recovery-point-offset-checkpoint",
        "log-start-offset-checkpoint",
        "replication-offset-checkpoint",
    ];
    let place = PARTITION.iter().position(|it| name.ends_with(it));
    let whole = || WHOLE.iter().find(|it| name.ends_with(*it)).copied();
    place.map(|it| if in_metadata { METADATA[it] } else { PARTITION[it] }).or_else(whole)
}

/// The files of a data directory by kind: of one partition's folder, or everything that is no partition's.
fn files(data: &Path, partition: Option<i32>) -> Outcome<BTreeMap<&'static str, Vec<PathBuf>>> {
    let mut found: BTreeMap<_, Vec<PathBuf>> = BTreeMap::new();
    let folders = match partition {
        Some(partition) => vec![data.join(format!("{TOPIC}-{partition}"))],
        None => vec![data.to_owned(), data.join("__cluster_metadata-0")],
    };
    for folder in folders {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(kind) = kind(&name, partition.is_none()).filter(|_| path.is_file()) {
                found.entry(kind).or_default().push(path);
            }
        }
    }
    found.values_mut().for_each(|it| it.sort());
    Ok(found)
}

/// Damages a file of each partition, or one that all depend on.
fn damage(data: &Path, random: &mut Random, tally: &mut Tally) -> Outcome<Vec<String>> {
    let places = if random.chance(60) { vec![None] } else { (0..PARTITIONS).map(Some).collect() };
    let mut told = Vec::new();
    for place in places {
        let files = files(data, place)?;
        let kinds: Vec<_> = files.into_iter().collect();
        let (kind, paths) = &kinds[random.below(kinds.len() as u64) as usize];
        let path = &paths[random.below(paths.len() as u64) as usize];
        let mut bytes = std::fs::read(path)?;
        let used = bytes.len() as u64;
        let what = if used > 0 && random.chance(60) {
            let bit = random.below(used * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            format!("bit {} of byte {}", bit % 8, bit / 8)
        } else {
            let len = random.below(used + 1);
            bytes.truncate(len as usize);
            format!("cut from {used} to {len} bytes")
        };
        std::fs::write(path, bytes)?;
        *tally.by_kind.entry(kind).or_default() += 1;
        told.push(format!("{}: {what}", path.strip_prefix(data)?.display()));
    }
    Ok(told)
}

/// Starts the server on the damaged directory and reads everything it serves.
fn one(
    server: &mut Server,
    written: &Written,
    damages: &[String],
    random: &mut Random,
    tally: &mut Tally,
) -> Outcome {
    server.spawn()?;
    match server.wait()? {
        Started::Hangs => return Err("the server neither starts nor ends".into()),
        Started::Ended(status) => {
            let words = server.words();
            // An error that is told ends the process with 1; a panic or a signal does not.
            if status.code() != Some(1) || words.contains("panicked") || words.trim().is_empty() {
                return Err(format!("the start ended with {status}").into());
            }
            tally.refused_start += 1;
            return Ok(());
        }
        Started::Ready(_) => {}
    }
    let mut complaints = Vec::new();
    let mut connection = Connection::open(server.port())?;
    for (partition, known) in written.partitions.iter().enumerate() {
        // A time index that ends early or says another time is as good as any: nothing in its bytes tells. Apache
        // Kafka is misled alike. It is never about bytes.
        let place = format!("{TOPIC}-{partition}/");
        let times = match damages.iter().any(|it| it.starts_with(&place) && it.contains(".timeindex")) {
            true => Times::Doubtful,
            false => Times::Known,
        };
        match read(&mut connection, partition as i32, known, times, random, tally)? {
            Read::Whole => tally.whole += 1,
            Read::Refused => tally.refused_partition += 1,
            Read::Shorter(end) => {
                tally.shorter += 1;
                complaints.push(format!("{TOPIC}-{partition} ends at {end} of {}", known.len()));
            }
        }
    }
    let words = server.words();
    if !complaints.is_empty() && !["WARN", "ERROR"].iter().any(|it| words.contains(it)) {
        return Err(format!("{complaints:?}, and nobody was told").into());
    }
    if !server.is_running() || words.contains("panicked") {
        return Err("the server broke while it was read".into());
    }
    if random.chance(25) { server.stop().map(drop) } else { server.kill() }
}

/// Whether look-ups by time can be held against what was written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Times {
    Known,
    Doubtful,
}

enum Read {
    Whole,
    Shorter(i64),
    Refused,
}

/// Reads a partition from its start, from some offsets within, and by time.
fn read(
    connection: &mut Connection,
    partition: i32,
    known: &[(Value, i64)],
    times: Times,
    random: &mut Random,
    tally: &mut Tally,
) -> Outcome<Read> {
    let mut buffer = Vec::new();
    let mut reading = Reading::new(TOPIC, partition, 0);
    let end = loop {
        match patient(&mut reading, connection, &mut buffer)? {
            Advance::To(end) if reading.position() >= end => break end,
            Advance::To(_) => {}
            Advance::Refused(_) => break -1,
            Advance::Impossible(text) => return Err(text.into()),
        }
    };
    compare(&reading, known)?;
    for _ in 0..4 {
        let offset = random.below(known.len() as u64) as i64;
        let mut reading = Reading::new(TOPIC, partition, offset);
        match reading.advance(connection, &mut buffer, 0)? {
            Advance::Impossible(_) if offset >= end => {}
            Advance::Impossible(text) => return Err(text.into()),
            Advance::To(_) | Advance::Refused(_) => compare(&reading, known)?,
        }
        let time = known[offset as usize].1;
        let first = known.partition_point(|it| it.1 < time) as i64;
        let request = requests::offset_for_time(TOPIC, partition, time);
        let (code, found) = requests::offset_of_time(connection.ask(&request, &mut buffer)?)?;
        let right = if first < end { found == first } else { found == -1 };
        if code == 0 && end >= 0 && !right {
            if times == Times::Known {
                let text = format!("time {time} is said to begin at {found}, not {first}");
                return Err(format!("{TOPIC}-{partition}: {text}").into());
            }
            tally.misled += 1;
        }
    }
    Ok(match end {
        -1 => Read::Refused,
        end if end < known.len() as i64 => Read::Shorter(end),
        _ => Read::Whole,
    })
}

/// As [`Reading::advance`], but lets a server that has just started take up its partitions.
fn patient(reading: &mut Reading, connection: &mut Connection, buffer: &mut Vec<u8>) -> Outcome<Advance> {
    const NOT_YET: [i16; 3] = [3, 5, 6];
    for _ in 0..40 {
        match reading.advance(connection, buffer, 0)? {
            Advance::Refused(code) if NOT_YET.contains(&code) => {
                std::thread::sleep(Duration::from_millis(10))
            }
            other => return Ok(other),
        }
    }
    reading.advance(connection, buffer, 0)
}

fn compare(reading: &Reading, known: &[(Value, i64)]) -> Outcome {
    for (offset, value) in &reading.seen {
        let expected = usize::try_from(*offset).ok().and_then(|it| known.get(it)).map(|it| it.0);
        if value.is_none() || *value != expected {
            return Err(format!(
                "{reading:?}: {value:?} was served as offset {offset}, written was {expected:?}"
            )
            .into());
        }
    }
    Ok(())
}
