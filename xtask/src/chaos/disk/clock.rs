//! The wall clock of a real process jumps, forwards and back, by libfaketime.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Load, create_topics, in_folder, settle, until_it_takes_records};
use crate::chaos::Seed;
use crate::chaos::random::Random;
use crate::chaos::server::{Server, binary};
use crate::compat::reference::need;
use crate::workspace::Outcome;

/// What `cargo xtask chaos disk clock` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// How often the clock jumps.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    #[command(flatten)]
    seed: Seed,
}

/// Small segments that roll all the time, and a retention that looks every moment.
const SETTINGS: &str = "log.segment.bytes=1048576\nlog.index.size.max.bytes=65536\nlog.retention.ms=604800000\n\
    log.retention.check.interval.ms=200\nlog.initial.task.delay.ms=0\nlog.flush.offset.checkpoint.interval.ms=700\n\
    log.message.timestamp.before.max.ms=9223372036854775807\nlog.message.timestamp.after.max.ms=9223372036854775807\n\
    auto.create.topics.enable=false";
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
];
/// Jumps in seconds from the true time: within the retention forwards, as far as one likes back.
const JUMPS: [i64; 8] = [0, 3_600, 172_800, -60, -3_600, -86_400, -2_592_000, -315_360_000];

/// Runs the rounds.
pub fn run(arguments: &Arguments) -> Outcome {
    let seed = arguments.seed.value();
    let binary = binary()?;
    if let Err(error) = need("faketime", "faketime") {
        println!("passed over: {error}");
        return Ok(());
    }
    let library = LIBRARIES.iter().map(PathBuf::from).find(|it| it.is_file());
    let library = library.ok_or("faketime is installed, but its library is not where it was expected")?;
    println!("seed {seed}: {} rounds", arguments.rounds);
    in_folder(seed, |folder| rounds(&binary, folder, &library, arguments.rounds, &mut Random::new(seed)))
}

fn rounds(binary: &Path, folder: &Path, library: &Path, rounds: u32, random: &mut Random) -> Outcome {
    let mut server = Server::lay_out(binary, folder, SETTINGS)?;
    let clock = folder.join("clock");
    set(&clock, 0)?;
    let environment = [
        ("LD_PRELOAD".to_owned(), library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE".to_owned(), clock.display().to_string()),
        ("FAKETIME_NO_CACHE".to_owned(), "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
    ];
    prove(&mut server, &clock, &environment)?;
    server.start_with(&environment)?;
    create_topics(&server)?;
    let load = Load::start(server.port(), 2, random);
    for round in 1..=rounds {
        let jump = JUMPS[random.below(JUMPS.len() as u64) as usize];
        set(&clock, jump)?;
        std::thread::sleep(Duration::from_millis(300 + random.below(700)));
        until_it_takes_records(server.port(), Duration::from_secs(20))?;
        if random.chance(20) {
            server.kill()?;
            server.start_with(&environment)?;
        }
        if load.failed() || !server.is_running() {
            return Err(
                format!("round {round}, {jump} s: something is wrong\n{}", server.last_words()).into()
            );
        }
    }
    set(&clock, 0)?;
    let producers = load.finish();
    let acknowledged = settle(&mut server, &producers)?;
    server.stop()?;
    println!(
        "{rounds} jumps of the clock; {acknowledged} records acknowledged, none lost, deleted, duplicated or reordered"
    );
    Ok(())
}

/// Sees in what the server prints that its clock is the one that is set.
fn prove(server: &mut Server, clock: &Path, environment: &[(String, String)]) -> Outcome {
    let mut years = Vec::new();
    for jump in [-315_360_000, 0] {
        set(clock, jump)?;
        server.forget_words()?;
        server.start_with(environment)?;
        server.stop()?;
        years.push(server.words().get(..4).unwrap_or_default().parse::<u32>()?);
    }
    match years[..] {
        [past, present] if (9..=11).contains(&(present - past)) => Ok(()),
        _ => Err(format!("libfaketime does not move the server's clock: {years:?}").into()),
    }
}

fn set(clock: &Path, seconds: i64) -> Outcome {
    Ok(std::fs::write(clock, format!("{seconds:+}\n"))?)
}
