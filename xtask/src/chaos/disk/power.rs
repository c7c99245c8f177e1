//! The power of the disk is cut: a loop-mounted ext4 forgets, at once, what was not on the platter.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Load, call, create_topics, in_folder, settle, until_it_takes_records};
use crate::chaos::Seed;
use crate::chaos::random::Random;
use crate::chaos::server::{Server, binary};
use crate::workspace::Outcome;

/// What `cargo xtask chaos disk power` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// How often the power is cut.
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    #[command(flatten)]
    seed: Seed,
}

const SETTINGS: &str = "log.flush.interval.messages=1\nlog.segment.bytes=1048576\nlog.index.size.max.bytes=65536\n\
    log.retention.ms=-1\nlog.flush.offset.checkpoint.interval.ms=700\nauto.create.topics.enable=false";
const RESUME: Duration = Duration::from_secs(60);
/// `EXT4_IOC_SHUTDOWN`, `_IOR('X', 125, __u32)`, with `EXT4_GOING_FLAGS_NOLOGFLUSH`: nothing is written any more, not
/// even the journal.
const SHUTDOWN: &str = "import fcntl,os,struct,sys\n\
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// Runs the rounds.
pub fn run(arguments: &Arguments) -> Outcome {
    let seed = arguments.seed.value();
    let binary = binary()?;
    println!("seed {seed}: {} rounds", arguments.rounds);
    in_folder(seed, |folder| {
        let disk = match Disk::make(folder, "data") {
            Ok(disk) => disk,
            Err(error) => {
                println!("passed over: a loop-mounted file system is not possible here: {error}");
                return Ok(());
            }
        };
        let outcome = rounds(&binary, folder, &disk, arguments.rounds, &mut Random::new(seed));
        disk.unmount()?;
        outcome
    })
}

/// A file system of its own, in a file.
pub(super) struct Disk {
    image: String,
    mounted: String,
}

impl Disk {
    /// Makes the file system and mounts it at `folder/name`.
    pub(super) fn make(folder: &Path, name: &str) -> Outcome<Disk> {
        let (image, mounted) = (folder.join("image"), folder.join(name));
        std::fs::create_dir_all(&mounted)?;
        std::fs::File::create(&image)?.set_len(2 << 30)?;
        let disk = Disk { image: image.display().to_string(), mounted: mounted.display().to_string() };
        call("mkfs.ext4", &["-q", "-F", &disk.image])?;
        disk.mount()?;
        std::fs::remove_dir(mounted.join("lost+found"))?;
        Ok(disk)
    }

    pub(super) fn mount(&self) -> Outcome {
        call("mount", &["-o", "loop", &self.image, &self.mounted]).map(drop)
    }

    /// From now on nothing reaches the disk, and every operation fails.
    pub(super) fn cut_power(&self) -> Outcome {
        call("python3", &["-c", SHUTDOWN, &self.mounted]).map(drop)
    }

    pub(super) fn unmount(&self) -> Outcome {
        call("umount", &[&self.mounted]).map(drop)
    }
}

fn rounds(binary: &Path, folder: &Path, disk: &Disk, rounds: u32, random: &mut Random) -> Outcome {
    let mut server = Server::lay_out(binary, folder, SETTINGS)?;
    server.start()?;
    create_topics(&server)?;
    let load = Load::start(server.port(), 2, random);
    let mut ended = 0;
    for round in 1..=rounds {
        std::thread::sleep(Duration::from_millis(300 + random.below(1500)));
        // ext4 lets a sync that is under way when it is shut down succeed although its data are lost; a machine
        // without power would have told nobody.
        load.life.fetch_add(1, Ordering::SeqCst);
        disk.cut_power()?;
        std::thread::sleep(Duration::from_millis(random.below(800)));
        // A server whose only directory fails ends by itself, once it has noticed.
        ended += u32::from(!server.is_running());
        server.kill()?;
        load.life.fetch_add(1, Ordering::SeqCst);
        disk.unmount()?;
        disk.mount()?;
        server.start().map_err(|error| format!("after power cut {round}: {error}"))?;
        until_it_takes_records(server.port(), RESUME)?;
        if load.failed() {
            break;
        }
        if round % 10 == 0 {
            println!("round {round} of {rounds}");
        }
    }
    let producers = load.finish();
    let acknowledged = settle(&mut server, &producers)?;
    server.stop()?;
    println!(
        "{rounds} power cuts, in {ended} of them the server had ended by itself; {acknowledged} records acknowledged, \
         none lost, duplicated or reordered"
    );
    Ok(())
}
