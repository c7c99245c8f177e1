//! Groups: from the first join until all members agree, signs of life, commits.

use std::time::{Duration, Instant};

use super::members::{Group, Protocol, is_passing};
use super::{Figure, Server, Usage, create_topic, figure, in_parallel};
use crate::bench::statistics::median;
use crate::load::groups;
use crate::load::protocol::Connection;
use crate::workspace::Outcome;

/// What decides how long members wait for each other although nothing is left to do, set to nothing, so that it
/// does not hide what the servers do.
pub const SETTINGS: &str = "group.initial.rebalance.delay.ms=0\ngroup.consumer.assignment.interval.ms=0\n\
                            group.max.size=10000\ngroup.consumer.max.size=10000";

/// How often groups of each size form: small ones are quick, and vary.
const SIZES: [(usize, usize); 4] = [(1, 15), (10, 9), (100, 3), (1000, 1)];
/// Signs of life per second of a group of a thousand in which they are frequent.
const BEATS_PER_SECOND: u32 = 5_000;
const COMMITTERS: usize = 16;

/// Creates the topics that the groups read, and the coordinators' own.
pub fn prepare(server: Server) -> Outcome {
    for (size, _) in SIZES {
        create_topic(server, &topic(size), size as i32)?;
    }
    coordinator(server, "any", 0)
}

fn topic(size: usize) -> String {
    format!("read-by-{size}")
}

/// Waits until the coordinator of a group (0), transaction (1) or share partition (2) is there.
pub fn coordinator(server: Server, key: &str, kind: u8) -> Outcome {
    use crate::load::transactions::{find_coordinator, found};
    let mut connection = Connection::open(server.port)?;
    let mut buffer = Vec::new();
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match found(connection.ask(&find_coordinator(key, kind), &mut buffer)?)? {
            0 => return Ok(()),
            code if Instant::now() > end => return Err(format!("no coordinator: error {code}").into()),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Forms and ends groups and commits for a while without looking, so that a virtual machine has compiled it all.
pub fn warm_up(server: Server, run: Duration) -> Outcome {
    for protocol in [Protocol::Classic, Protocol::Consumer] {
        let end = Instant::now() + run;
        let mut round = 0;
        while Instant::now() < end {
            round += 1;
            let name = format!("warm-{}-{round}", protocol.name());
            let group = Group::join(server, protocol, &name, &topic(100), 100)?;
            group.stable()?;
            group.beat_every(Duration::from_millis(20));
            std::thread::sleep(Duration::from_millis(500));
            group.leave()?;
        }
    }
    commits(server, "warm", run).map(drop)
}

/// Groups of 1 to 1,000 members of both protocols; the largest then gives signs of life for `run`.
pub fn members(server: Server, run: Duration) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    for protocol in [Protocol::Classic, Protocol::Consumer] {
        for (size, rounds) in SIZES {
            let label = format!("{} group of {size}", protocol.name());
            let (mut times, mut costs, mut epochs) = (Vec::new(), Vec::new(), Vec::new());
            for round in 0..rounds {
                let name = format!("{}-{size}-{round}", protocol.name());
                let usage = Usage::start(server)?;
                let group = Group::join(server, protocol, &name, &topic(size), size)?;
                let stable = group.stable()?;
                times.push(stable.after.as_secs_f64() * 1e3);
                epochs.push(f64::from(stable.epoch));
                costs.push(usage.cpu_seconds()? * 1e3);
                if size == 1000 {
                    figures.extend(heartbeats(server, &group, protocol, run)?);
                }
                group.leave()?;
            }
            figures.push(figure(format!("{label}, first join to stable, ms"), median(&times)));
            if size == 1000 {
                figures.push(figure(format!("{label}, broker CPU-ms until stable"), median(&costs)));
                figures.push(figure(format!("{label}, epochs until stable"), median(&epochs)));
            }
        }
    }
    Ok(figures)
}

/// What a sign of life costs when members give it as often as they do by default, and when they do so far more often.
fn heartbeats(server: Server, group: &Group, protocol: Protocol, run: Duration) -> Outcome<[Figure; 2]> {
    let often = Duration::from_secs(1000) / BEATS_PER_SECOND;
    let mut costs = [0.0; 2];
    for (cost, interval) in costs.iter_mut().zip([protocol.default_interval(), often]) {
        group.beat_every(interval);
        std::thread::sleep(interval + Duration::from_millis(200)); // until all beat in the new measure
        let (before, usage) = (group.beats(), Usage::start(server)?);
        std::thread::sleep(run);
        let beats = (group.beats() - before) as f64;
        *cost = usage.cpu_seconds()? * 1e6 / beats;
        if beats < 900.0 * run.as_secs_f64() / interval.as_secs_f64() {
            eprintln!("note: {beats} signs of life were answered in {run:?}, fewer than intended");
        }
    }
    let label = protocol.name();
    Ok([
        figure(format!("{label} group of 1000 as it beats, broker CPU-µs per heartbeat"), costs[0]),
        figure(format!("{label} group of 1000 at 5,000/s, broker CPU-µs per heartbeat"), costs[1]),
    ])
}

/// Commits of one offset, from connections that each wait for an answer before the next.
pub fn commits(server: Server, topic: &str, run: Duration) -> Outcome<Vec<Figure>> {
    create_topic(server, topic, 1)?;
    let (usage, begin) = (Usage::start(server)?, Instant::now());
    let counts = in_parallel(COMMITTERS, |index| {
        let mut connection = Connection::open(server.port)?;
        let mut buffer = Vec::new();
        let group = format!("committer-{index}");
        let mut count = 0u64;
        while begin.elapsed() < run {
            let request = groups::commit(&group, topic, 0, count as i64);
            match groups::committed(connection.ask(&request, &mut buffer)?)? {
                0 => count += 1,
                code if is_passing(code) => std::thread::sleep(Duration::from_millis(5)),
                code => return Err(format!("OffsetCommit: error {code}").into()),
            }
        }
        Ok(count)
    })?;
    let (seconds, cost) = (begin.elapsed().as_secs_f64(), usage.cpu_seconds()?);
    let count = counts.iter().sum::<u64>() as f64;
    Ok(vec![
        figure("commits from 16 connections, /s", count / seconds),
        figure("commits, broker CPU-µs each", cost * 1e6 / count),
    ])
}
