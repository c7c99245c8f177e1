//! The n-th system call of a kind fails in a real process: no acknowledged record is lost, and nothing goes on that
//! should not.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Load, create_topics, in_folder, settle, until_it_takes_records};
use crate::chaos::Seed;
use crate::chaos::random::Random;
use crate::chaos::server::{Server, Started, binary};
use crate::compat::reference::need;
use crate::workspace::Outcome;

/// What `cargo xtask chaos disk faults` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// How many faults of each kind.
    #[arg(long, default_value_t = 25)]
    points: u32,
    #[command(flatten)]
    seed: Seed,
}

const SETTINGS: &str = "log.segment.bytes=1048576\nlog.index.size.max.bytes=65536\nlog.retention.ms=-1\n\
    log.flush.interval.messages=1\nlog.flush.offset.checkpoint.interval.ms=300\nauto.create.topics.enable=false";
/// How long a server with a fault to come is under load.
const LOADED: Duration = Duration::from_millis(1200);
/// System calls, how they fail, and among how many of the first calls the fault is.
const KINDS: [(&str, &str, u64); 6] = [
    ("fsync,fdatasync,syncfs", "EIO", 150),
    ("pwrite64,pwritev,pwritev2", "EIO", 400),
    ("pwrite64,pwritev,pwritev2", "ENOSPC", 400),
    ("rename,renameat,renameat2", "EIO", 12),
    ("ftruncate,fallocate", "EIO", 12),
    ("openat", "EMFILE", 250),
];

/// Runs every kind.
pub fn run(arguments: &Arguments) -> Outcome {
    let seed = arguments.seed.value();
    let binary = binary()?;
    if let Err(error) = need("strace", "strace") {
        println!("passed over: {error}");
        return Ok(());
    }
    println!("seed {seed}: {} faults of each of {} kinds", arguments.points, KINDS.len());
    let mut random = Random::new(seed);
    for (calls, error, among) in KINDS {
        let mut tally = Tally::default();
        for _ in 0..arguments.points {
            let at = 1 + random.below(among);
            let random = &mut random;
            let tally = &mut tally;
            in_folder(seed, |folder| {
                one(&binary, folder, (calls, error, at), random, tally)
                    .map_err(|wrong| format!("{error} at the {at}-th of {calls}: {wrong}").into())
            })?;
        }
        println!(
            "{error:6} from {calls}: {} faults; {} ended or did not start, {} went on; {} records acknowledged, none lost",
            arguments.points, tally.ended, tally.went_on, tally.acknowledged
        );
    }
    Ok(())
}

#[derive(Default)]
struct Tally {
    ended: u32,
    went_on: u32,
    acknowledged: usize,
}

fn one(
    binary: &Path,
    folder: &Path,
    (calls, error, at): (&str, &str, u64),
    random: &mut Random,
    tally: &mut Tally,
) -> Outcome {
    let mut server = Server::lay_out(binary, folder, SETTINGS)?;
    server.start()?;
    create_topics(&server)?;
    server.stop()?;
    let inject = format!("inject={calls}:error={error}:when={at}");
    // With -D the server is our own child, so that ending it ends it.
    server.spawn_under(&[
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={calls}"),
        "-e",
        &inject,
    ])?;
    let producers = match server.wait()? {
        Started::Ready(_) => {
            let load = Load::start(server.port(), 1, random);
            let begin = Instant::now();
            while begin.elapsed() < LOADED && server.is_running() {
                std::thread::sleep(Duration::from_millis(20));
            }
            match server.is_running() {
                true => tally.went_on += 1,
                false => tally.ended += 1,
            }
            let mut producers = load.break_off();
            // A log that could not be opened stays away until the next start.
            producers.iter_mut().for_each(|it| it.anomalies.retain(|it| !it.contains("does not come back")));
            producers
        }
        // The fault was in the start, which may refuse.
        Started::Ended(_) => {
            tally.ended += 1;
            Vec::new()
        }
        Started::Hangs => return Err(format!("it hangs:\n{}", server.last_words()).into()),
    };
    server.kill()?;
    server.start()?;
    until_it_takes_records(server.port(), Duration::from_secs(20))?;
    tally.acknowledged += settle(&mut server, &producers)?;
    server.stop()?;
    Ok(())
}
