//! The kinds of work by name: how a server is prepared for each, warmed up, and driven.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::roofs::roofs;
use super::target::{Maker, Target};
use super::work::rate::{self, Rate};
use super::work::throughput::{fill, throughput};
use super::work::{
    Figure, MIB, Server, compaction, figure, files, groups, many, matrix, share, syscalls, tier, transactions,
};
use crate::compat::reference::Reference;
use crate::load::process;
use crate::workspace::Outcome;

/// A kind of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Workload {
    /// Start on an empty directory, idle memory, clean stop.
    Start,
    /// Produce 1 KiB records in large batches as fast as possible; consume them warm and cold.
    Throughput,
    /// One record of 100 B per request at 1,000 and 10,000 a second and at half of the most, without linger.
    Latency,
    /// Groups of 1 to 1,000 members of both protocols: time until stable, signs of life, commits.
    Groups,
    /// A share group of 50 members.
    Share,
    /// Transactions back to back and of 10 ms, from 1 and 20 producers.
    Transactions,
    /// 10,000 idle connections.
    Connections,
    /// 10,000 partitions: creation, memory, descriptors, clean stop, start.
    Partitions,
    /// A log in which each key was written ten times is cleaned, alone and beside a producer.
    Compaction,
    /// Finished segments go to tiered storage, alone and beside a producer, and are read from there.
    Tier,
    /// Start after `kill -9` with all that was produced in unfinished segments, warm and cold.
    Recovery,
    /// Topics made and deleted, many times: what stays in memory.
    Topics,
    /// System calls per request, where strace may look.
    Syscalls,
    /// Producing in records of 100 B to 1 MB, to 1 to 1,000 partitions, from 1 to 500 connections, in all codecs.
    Matrix,
    /// 1, 5 and 20 readers at the tail.
    Tail,
    /// Reading cold beside writing hot.
    Mixed,
    /// Ten minutes at a fixed rate, with segments that roll and retention that deletes.
    Long,
    /// What the machine itself can do.
    Roofs,
}

/// Every workload, in the order of the page.
pub const ALL: [Workload; 18] = [
    Workload::Start,
    Workload::Throughput,
    Workload::Latency,
    Workload::Groups,
    Workload::Share,
    Workload::Transactions,
    Workload::Compaction,
    Workload::Tier,
    Workload::Connections,
    Workload::Recovery,
    Workload::Partitions,
    Workload::Topics,
    Workload::Syscalls,
    Workload::Matrix,
    Workload::Tail,
    Workload::Mixed,
    Workload::Long,
    Workload::Roofs,
];

/// Those that have figures with a target, and what the machine can do.
pub const WITH_TARGETS: [Workload; 12] = [
    Workload::Roofs,
    Workload::Start,
    Workload::Throughput,
    Workload::Latency,
    Workload::Groups,
    Workload::Share,
    Workload::Transactions,
    Workload::Compaction,
    Workload::Tier,
    Workload::Connections,
    Workload::Recovery,
    Workload::Partitions,
];

/// Segments of ten seconds, half a minute of them kept.
const LONG_SETTINGS: &str =
    "log.segment.bytes=104857600\nlog.retention.bytes=314572800\nlog.retention.check.interval.ms=10000";

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// What a throughput run produces, in bytes.
    pub bytes: usize,
    /// How long a run at a fixed rate lasts.
    pub run: Duration,
    /// What is in unfinished segments when the server is killed, in bytes.
    pub recovery_bytes: usize,
    /// How long a long run is.
    pub long: Duration,
    /// How many partitions are many.
    pub partitions: usize,
    /// How many connections are many.
    pub connections: usize,
    /// How many topics are made and deleted in each of twenty rounds.
    pub passing_topics: usize,
}

impl Workload {
    /// As it is called on the command line.
    pub fn name(self) -> String {
        use clap::ValueEnum;
        self.to_possible_value().map(|it| it.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it takes minutes.
    pub fn is_long(self) -> bool {
        matches!(
            self,
            Self::Partitions
                | Self::Recovery
                | Self::Connections
                | Self::Topics
                | Self::Syscalls
                | Self::Long
        )
    }

    /// How many pairs are run when `pairs` were asked for: long ones are run less often.
    pub fn pairs(self, pairs: usize) -> usize {
        if self.is_long() { pairs.div_ceil(3) } else { pairs }
    }

    fn settings(self) -> String {
        let own = match self {
            Self::Groups => groups::SETTINGS,
            Self::Share => share::SETTINGS,
            Self::Compaction => compaction::SETTINGS,
            Self::Tier => tier::SETTINGS,
            Self::Long => LONG_SETTINGS,
            _ => "",
        };
        format!("log.retention.ms=-1\n{own}")
    }

    /// Runs what needs no server.
    pub fn run_alone(self, scale: Scale) -> Option<Outcome<Vec<Figure>>> {
        (self == Self::Roofs).then(|| roofs(scale.bytes))
    }

    /// Runs once on a fresh server.
    pub fn run(self, maker: Maker, scale: Scale) -> Outcome<Vec<Figure>> {
        // A virtual machine is slow until it has compiled what it runs.
        let is_java = matches!(maker, Maker::Kafka(_));
        let mut target = Target::format(maker, &self.settings())?;
        self.drive(&mut target, scale, is_java).inspect_err(|_| eprintln!("{}", target.last_words()))
    }

    fn drive(self, target: &mut Target, scale: Scale, is_java: bool) -> Outcome<Vec<Figure>> {
        let run = scale.run;
        match self {
            Self::Start => start(target),
            Self::Throughput => {
                touch_memory(target.folder().join("scratch"), scale.bytes + scale.bytes / 4)?;
                target.start()?;
                let server = target.server()?;
                // A million and a half records, and once more in the other direction.
                throughput(server, "warm", if is_java { 1536 << 20 } else { 64 << 20 })?;
                throughput(server, "measured", scale.bytes)
            }
            Self::Latency => {
                target.start()?;
                latency(target.server()?, run, is_java)
            }
            Self::Groups => {
                target.start()?;
                let server = target.server()?;
                groups::prepare(server)?;
                groups::warm_up(server, if is_java { run } else { run / 8 })?;
                let mut figures = groups::members(server, run)?;
                figures.extend(groups::commits(server, "committed", run)?);
                Ok(figures)
            }
            Self::Share => {
                target.start()?;
                let server = target.server()?;
                let records = (scale.bytes >> 11) as u64;
                share::share_group(server, "warm", if is_java { records } else { records / 8 })?;
                share::share_group(server, "measured", records)
            }
            Self::Transactions => {
                target.start()?;
                let server = target.server()?;
                transactions::warm_up(server, if is_java { 2 * run } else { run / 8 })?;
                transactions::transactions(server, run / 2)
            }
            Self::Compaction => {
                touch_memory(target.folder().join("scratch"), 3 * scale.bytes)?;
                target.start()?;
                compaction::compaction(target.server()?, target.folder(), scale.bytes, run, is_java)
            }
            Self::Tier => {
                touch_memory(target.folder().join("scratch"), 5 * scale.bytes)?;
                if is_java {
                    target.add_jars(Reference::lay_out()?.tiered_storage()?);
                }
                target.start()?;
                tier::tier(target.server()?, target.folder(), scale.bytes, run, is_java)
            }
            Self::Connections => {
                target.start()?;
                many::idle_connections(target.server()?, scale.connections)
            }
            Self::Partitions => partitions(target, scale.partitions),
            Self::Recovery => recovery(target, scale.recovery_bytes),
            Self::Topics => {
                target.start()?;
                many::come_and_go(target.server()?, 20, scale.passing_topics)
            }
            Self::Syscalls => {
                target.start()?;
                syscalls::system_calls(target.server()?, target.folder())
            }
            Self::Matrix | Self::Tail | Self::Mixed | Self::Long => {
                target.start()?;
                shapes(self, target.server()?, scale, is_java)
            }
            Self::Roofs => roofs(scale.bytes),
        }
    }
}

fn ten_thousand(label: &str, readers: usize) -> Rate<'_> {
    Rate { label, requests: 1_000, records: 10, bytes: 1024, readers }
}

fn shapes(workload: Workload, server: Server, scale: Scale, is_java: bool) -> Outcome<Vec<Figure>> {
    let run = scale.run;
    let warm_up = if is_java { 1536 << 20 } else { 64 << 20 };
    fill(server, "warm", warm_up)?;
    match workload {
        Workload::Matrix => {
            let mut figures = matrix::matrix(server, run / 4)?;
            matrix::codecs(server, run / 6)?;
            figures.extend(matrix::codecs(server, run / 4)?);
            Ok(figures)
        }
        Workload::Tail => {
            let mut figures = Vec::new();
            for (label, readers) in [("1 reader", 1), ("5 readers", 5), ("20 readers", 20)] {
                let label = format!("10,000/s of 1 KiB, 10 a request, {label}");
                rate::fixed_rate(server, &format!("warm-{readers}"), ten_thousand(&label, readers), run / 2)?;
                figures.extend(rate::fixed_rate(
                    server,
                    &format!("tail-{readers}"),
                    ten_thousand(&label, readers),
                    run,
                )?);
            }
            Ok(figures)
        }
        Workload::Mixed => {
            let label = "10,000/s of 1 KiB beside cold reading";
            rate::mixed(server, "backlog", 2 * scale.bytes, ten_thousand(label, 1), run)
        }
        _ => {
            let label = format!("10,000/s of 1 KiB for {} s", scale.long.as_secs());
            rate::fixed_rate(server, "long", ten_thousand(&label, 1), scale.long)
        }
    }
}

fn latency(server: Server, run: Duration, is_java: bool) -> Outcome<Vec<Figure>> {
    let one = |label, requests| Rate { label, requests, records: 1, bytes: 100, readers: 1 };
    if is_java {
        fill(server, "warm", 256 << 20)?;
        rate::fixed_rate(server, "warm-rate", one("", 10_000), (2 * run).min(Duration::from_secs(20)))?;
    }
    let mut figures = rate::fixed_rate(server, "rate-1000", one("1,000/s of 100 B", 1_000), run)?;
    figures.extend(rate::fixed_rate(server, "rate-10000", one("10,000/s of 100 B", 10_000), run)?);
    let label = "50,000/s of 1 KiB, 50 a request";
    let large = Rate { label, requests: 1_000, records: 50, bytes: 1024, readers: 1 };
    figures.extend(rate::fixed_rate(server, "rate-50000", large, run)?);
    let (maximum, cost) = rate::maximum(server, "maximum", run / 3)?;
    figures.push(figure("one-record requests at most, /s", maximum));
    figures.push(figure("one-record requests at most, broker CPU-µs/request", cost));
    figures.extend(rate::fixed_rate(server, "half", one("half of the most", (maximum / 2.0) as u32), run)?);
    Ok(figures)
}

fn start(target: &mut Target) -> Outcome<Vec<Figure>> {
    let started = target.start()?;
    std::thread::sleep(Duration::from_secs(5));
    let resident = process::resident_bytes(target.server()?.pid)? as f64 / MIB;
    let stopped = target.stop()?;
    let again = target.start()?;
    Ok(vec![
        figure("start empty to first produce, ms", started.as_secs_f64() * 1e3),
        figure("start again to first produce, ms", again.as_secs_f64() * 1e3),
        figure("resident idle, MiB", resident),
        figure("clean stop, ms", stopped.as_secs_f64() * 1e3),
    ])
}

fn partitions(target: &mut Target, count: usize) -> Outcome<Vec<Figure>> {
    target.start()?;
    let mut figures = many::partitions(target.server()?, count)?;
    let stopped = target.stop()?;
    let started = target.start()?;
    let label = many::grouped(count);
    figures.push(figure(format!("clean stop with {label} partitions, ms"), stopped.as_secs_f64() * 1e3));
    figures.push(figure(format!("start with {label} partitions, ms"), started.as_secs_f64() * 1e3));
    Ok(figures)
}

fn recovery(target: &mut Target, bytes: usize) -> Outcome<Vec<Figure>> {
    target.start()?;
    // Topics of four partitions, so that no segment is finished: finished ones would be on the disk.
    let topics = bytes.div_ceil(2 << 30);
    for topic in 0..topics {
        fill(target.server()?, &format!("unfinished-{topic}"), bytes / topics)?;
    }
    target.kill()?;
    let unclean = Checkpoints::read(target.folder())?;
    let started = target.start()?.as_secs_f64();
    let gigabytes = bytes as f64 / 1e9;
    let mut figures = vec![
        figure(format!("start after kill -9 with {gigabytes:.0} GB, ms"), started * 1e3),
        figure("start after kill -9, GB/s", gigabytes / started),
    ];
    target.kill()?;
    unclean.put_back()?;
    if let Err(error) = process::drop_caches() {
        eprintln!("note: a cold start after kill -9 is not measured: {error}");
        return Ok(figures);
    }
    let started = target.start()?.as_secs_f64();
    let read = process::bytes_from_disk(target.server()?.pid)? as f64;
    figures.push(figure(format!("cold start after kill -9 with {gigabytes:.0} GB, ms"), started * 1e3));
    figures.push(figure("cold start after kill -9, GB/s", gigabytes / started));
    // Less than there is means that not all of it was looked at.
    figures.push(figure("cold start after kill -9, read from the disk, GB", read / 1e9));
    Ok(figures)
}

/// What a server that was killed knew of how far its logs are on the disk.
struct Checkpoints(Vec<(PathBuf, Option<Vec<u8>>)>);

impl Checkpoints {
    fn read(folder: &Path) -> Outcome<Checkpoints> {
        let names =
            ["recovery-point-offset-checkpoint", "log-start-offset-checkpoint", ".kafka_cleanshutdown"];
        let read = |name| -> Outcome<_> {
            let path = files::data(folder).join(name);
            let content = if path.exists() { Some(std::fs::read(&path)?) } else { None };
            Ok((path, content))
        };
        Ok(Checkpoints(names.map(read).into_iter().collect::<Outcome<_>>()?))
    }

    /// Takes back what a server has noted since, so that the next start has as much to do as the one before.
    fn put_back(&self) -> Outcome {
        for (path, content) in &self.0 {
            match content {
                Some(content) => std::fs::write(path, content)?,
                None if path.exists() => std::fs::remove_file(path)?,
                None => {}
            }
        }
        Ok(())
    }
}

/// Writes and deletes a scratch file, so that the run does not pay for memory the machine never touched.
fn touch_memory(path: PathBuf, bytes: usize) -> Outcome {
    let mut file = std::fs::File::create(&path)?;
    let block = vec![1u8; 1 << 20];
    for _ in 0..bytes >> 20 {
        file.write_all(&block)?;
    }
    drop(file);
    Ok(std::fs::remove_file(path)?)
}
