//! A disk that fills up under load and gets room again.

use std::path::Path;
use std::time::Duration;

use super::{Load, call, create_topics, in_folder, probe, settle, until_it_takes_records};
use crate::chaos::Seed;
use crate::chaos::random::Random;
use crate::chaos::server::{Server, binary};
use crate::workspace::Outcome;

/// What `cargo xtask chaos disk full` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// How often the disk fills up.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    #[command(flatten)]
    seed: Seed,
}

const SETTINGS: &str = "log.segment.bytes=1048576\nlog.index.size.max.bytes=65536\nlog.retention.ms=-1\n\
    log.flush.offset.checkpoint.interval.ms=700\nauto.create.topics.enable=false";
const SIZE_MIB: u64 = 768;
/// How long the disk stays full.
const FULL: Duration = Duration::from_millis(1500);
/// How long after there is room again a record must be taken.
const RESUME: Duration = Duration::from_secs(20);

/// Runs the rounds.
pub fn run(arguments: &Arguments) -> Outcome {
    let seed = arguments.seed.value();
    let binary = binary()?;
    println!("seed {seed}: {} rounds", arguments.rounds);
    in_folder(seed, |folder| {
        let data = folder.join("data");
        std::fs::create_dir_all(&data)?;
        let shown = data.display().to_string();
        let size = format!("size={SIZE_MIB}m");
        if let Err(error) = call("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &shown]) {
            println!("passed over: a file system of its own needs root here: {error}");
            return Ok(());
        }
        let outcome = rounds(&binary, folder, arguments.rounds, &mut Random::new(seed));
        call("umount", &["--lazy", &shown])?;
        outcome
    })
}

fn rounds(binary: &Path, folder: &Path, rounds: u32, random: &mut Random) -> Outcome {
    let mut server = Server::lay_out(binary, folder, SETTINGS)?;
    server.start()?;
    create_topics(&server)?;
    let load = Load::start(server.port(), 2, random);
    let balloon = server.data().join("balloon");
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    for round in 1..=rounds {
        std::thread::sleep(Duration::from_millis(100 + random.below(400)));
        blow_up(&server.data(), &balloon, random.below(200_000))?;
        std::thread::sleep(FULL);
        // More than what may be left in pages that are begun.
        let said = probe(server.port(), 50_000);
        refused += u32::from(!matches!(said, Ok(0)));
        std::fs::remove_file(&balloon)?;
        slowest = slowest.max(until_it_takes_records(server.port(), RESUME)?);
        if load.failed() || !server.is_running() {
            return Err(format!("round {round}: something is wrong\n{}", server.last_words()).into());
        }
    }
    let producers = load.finish();
    let acknowledged = settle(&mut server, &producers)?;
    server.stop()?;
    println!(
        "{rounds} times full, records refused in {refused} of them; service resumed within {} ms without a restart; \
         {acknowledged} records acknowledged, none lost, duplicated or reordered",
        slowest.as_millis()
    );
    Ok(())
}

/// Takes all room but `keep` bytes, which the load uses up. It is writing meanwhile, so that the first try may be too
/// large.
fn blow_up(data: &Path, balloon: &Path, keep: u64) -> Outcome {
    let mut last = Ok(());
    for attempt in 0..20 {
        let size = free_bytes(data)?.saturating_sub(keep + attempt * 500_000).max(1);
        last = call("fallocate", &["-l", &size.to_string(), &balloon.display().to_string()]).map(drop);
        if last.is_ok() {
            break;
        }
    }
    last
}

fn free_bytes(folder: &Path) -> Outcome<u64> {
    let said = call("df", &["--output=avail", "-B1", &folder.display().to_string()])?;
    Ok(said.lines().last().unwrap_or_default().trim().parse()?)
}
