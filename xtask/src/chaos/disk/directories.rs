//! One of three log directories fails under load: the others go on, tools say which failed, a start without it works,
//! and when the disk is back, so is everything.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use super::power::Disk;
use super::{Load, PARTITIONS, TOPIC, create_topics, in_folder, settle, until_it_takes_records};
use crate::chaos::Seed;
use crate::chaos::random::Random;
use crate::chaos::server::{Server, binary};
use crate::compat::reference::{ClassPath, Reference};
use crate::workspace::Outcome;

/// What `cargo xtask chaos disk directories` takes.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    seed: Seed,
}

const SETTINGS: &str = "log.flush.interval.messages=1\nlog.retention.ms=-1\nauto.create.topics.enable=false\n\
    log.flush.offset.checkpoint.interval.ms=300";
const RESUME: Duration = Duration::from_secs(20);

/// Runs the test.
pub fn run(arguments: &Arguments) -> Outcome {
    let seed = arguments.seed.value();
    let binary = binary()?;
    let reference = Reference::lay_out()?;
    println!("seed {seed}");
    in_folder(seed, |folder| {
        let disk = match Disk::make(folder, "third") {
            Ok(disk) => disk,
            Err(error) => {
                println!("passed over: a loop-mounted file system is not possible here: {error}");
                return Ok(());
            }
        };
        let outcome = fail_and_return(&binary, folder, &disk, &reference, &mut Random::new(seed));
        disk.unmount()?;
        outcome
    })
}

fn fail_and_return(
    binary: &Path,
    folder: &Path,
    disk: &Disk,
    reference: &Reference,
    random: &mut Random,
) -> Outcome {
    let directories = ["first", "second", "third"].map(|it| folder.join(it));
    let [first, ..] = &directories;
    let listed = directories.each_ref().map(|it| it.display().to_string()).join(",");
    // Of a setting that is given twice the last one counts.
    let settings = format!("{SETTINGS}\nlog.dirs={listed}\nmetadata.log.dir={}", first.display());
    let mut server = Server::lay_out(binary, folder, &settings)?;
    server.start()?;
    create_topics(&server)?;
    let load = Load::start(server.port(), 2, random);
    std::thread::sleep(Duration::from_secs(1));
    let on_third = (0..PARTITIONS).filter(|it| directories[2].join(format!("{TOPIC}-{it}")).is_dir()).count();
    expect(on_third > 0 && on_third < PARTITIONS as usize, "partitions are in every directory", &server)?;
    expect(told(reference, &server)? == [0, 0, 0], "every directory is online", &server)?;
    load.life.fetch_add(1, Ordering::SeqCst);
    disk.cut_power()?;
    std::thread::sleep(Duration::from_secs(2));
    expect(server.is_running(), "the server goes on", &server)?;
    until_it_takes_records(server.port(), RESUME)?;
    let after = told(reference, &server)?;
    expect(after.iter().filter(|it| **it != 0).count() == 1, "one directory is offline", &server)?;
    server.kill()?;
    server.start()?;
    load.life.fetch_add(1, Ordering::SeqCst);
    until_it_takes_records(server.port(), RESUME)?;
    let started = told(reference, &server)?;
    expect(started == after, "it is offline from the start on", &server)?;
    server.stop()?;
    disk.unmount()?;
    disk.mount()?;
    server.start()?;
    expect(told(reference, &server)? == [0, 0, 0], "every directory is online again", &server)?;
    let producers = load.finish();
    let acknowledged = settle(&mut server, &producers)?;
    server.stop()?;
    println!(
        "one of three directories failed with {on_third} of {PARTITIONS} partitions in it: the others went on, also after \
         a start without it (error {} for it in kafka-log-dirs); it came back; {acknowledged} records acknowledged, none \
         lost, duplicated or reordered",
        after.iter().max().unwrap_or(&0)
    );
    Ok(())
}

fn expect(holds: bool, what: &str, server: &Server) -> Outcome {
    if holds { Ok(()) } else { Err(format!("not so: {what}\n{}", server.last_words()).into()) }
}

/// What `kafka-log-dirs` of Apache Kafka says of the directories: their error codes, in the order of their names.
fn told(reference: &Reference, server: &Server) -> Outcome<Vec<i64>> {
    let mut tool = reference.java(ClassPath::Tools, "256m", &["-Dlog4j2.level=OFF"]);
    tool.args(["org.apache.kafka.tools.LogDirsCommand", "--describe", "--bootstrap-server"]);
    let output = tool.arg(format!("localhost:{}", server.port())).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let json =
        said.lines().find(|it| it.starts_with('{')).ok_or_else(|| format!("kafka-log-dirs: {said}"))?;
    let answer: Value = serde_json::from_str(json)?;
    let directories = answer["brokers"][0]["logDirs"].as_array().ok_or("no directories")?;
    let mut found: Vec<(String, i64)> = Vec::new();
    for it in directories {
        let failed = i64::from(!it["error"].is_null());
        found.push((it["logDir"].to_string(), failed * 56));
    }
    found.sort();
    Ok(found.into_iter().map(|it| it.1).collect())
}
