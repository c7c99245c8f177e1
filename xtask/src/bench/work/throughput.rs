//! Producing and consuming in large batches, as fast as the server takes and gives.

use std::borrow::Borrow;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Figure, GB, MIB, Server, Usage, create_topic, figure};
use crate::load::process::{self, DirtyMeter};
use crate::load::protocol::{Connection, Position, Request, batch, batches, now_ms};
use crate::workspace::Outcome;

/// How many partitions a topic of these workloads has unless it is about that.
pub const PARTITIONS: i32 = 4;
/// How many produce requests a connection has under way, as the Java producer by default.
pub const IN_FLIGHT: usize = 5;
const RECORDS_PER_BATCH: usize = 127;
/// What a fetch may bring of each partition.
const PARTITION_MAX_BYTES: i32 = 4 << 20;

/// Produces `bytes` of 1 KiB records in large batches with `acks=all`, then reads them all back, warm and cold.
pub fn throughput(server: Server, topic: &str, bytes: usize) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    let dirty = DirtyMeter::start();
    let written_from = Instant::now();
    let (usage, begin) = (Usage::start(server)?, Instant::now());
    let (count, total) = fill(server, topic, bytes)?;
    let seconds = begin.elapsed().as_secs_f64();
    figures.push(figure("produce 1 KiB, MiB/s", total / MIB / seconds));
    figures.push(figure("produce 1 KiB, broker CPU-s/GB", usage.cpu_seconds()? / (total / GB)));
    figures.push(figure("produce 1 KiB, dirty memory of the machine at most, MiB", dirty.finish()? / MIB));

    process::settle()?;
    let (usage, begin) = (Usage::start(server)?, Instant::now());
    let read = consume_all(server, topic, PARTITIONS, count)? as f64;
    let seconds = begin.elapsed().as_secs_f64();
    figures.push(figure("consume 1 KiB, MiB/s", read / MIB / seconds));
    figures.push(figure("consume 1 KiB, broker CPU-s/GB", usage.cpu_seconds()? / (read / GB)));
    figures.push(figure("resident under load, MiB", process::resident_bytes(server.pid)? as f64 / MIB));
    figures.push(figure("resident at most, MiB", process::peak_resident_bytes(server.pid)? as f64 / MIB));

    if let Err(error) = process::drop_caches() {
        eprintln!("note: cold reading is not measured: {error}");
        return Ok(figures);
    }
    std::thread::sleep(rest(bytes).saturating_sub(written_from.elapsed()));
    let (usage, begin) = (Usage::start(server)?, Instant::now());
    let read = consume_all(server, topic, PARTITIONS, count)? as f64;
    let seconds = begin.elapsed().as_secs_f64();
    figures.push(figure("consume cold, MiB/s", read / MIB / seconds));
    figures.push(figure("consume cold, broker CPU-s/GB", usage.cpu_seconds()? / (read / GB)));
    Ok(figures)
}

/// How long after the first write a cold reading begins. A virtual disk has a burst that writing uses up and that comes
/// back with time: who writes faster would find less of it.
fn rest(bytes: usize) -> Duration {
    const PACE: f64 = 100e6;
    Duration::from_secs_f64(bytes as f64 / PACE)
}

/// Makes a topic and produces about `bytes` of 1 KiB records; returns how many records and bytes it holds then.
pub fn fill(server: Server, topic: &str, bytes: usize) -> Outcome<(i64, f64)> {
    create_topic(server, topic, PARTITIONS)?;
    fill_made(server, topic, bytes)
}

/// The same for a topic that is there.
pub fn fill_made(server: Server, topic: &str, bytes: usize) -> Outcome<(i64, f64)> {
    let one = batch(RECORDS_PER_BATCH, 1024, now_ms());
    let requests: Vec<Request> = (0..PARTITIONS).map(|it| Request::produce(topic, it, -1, &one)).collect();
    let count = bytes / one.len();
    produce_pipelined(server, &requests, count, IN_FLIGHT)?;
    Ok(((count * RECORDS_PER_BATCH) as i64, (count * one.len()) as f64))
}

/// Sends `count` requests in turn, `in_flight` of them under way, and checks each answer.
pub fn produce_pipelined(server: Server, requests: &[Request], count: usize, in_flight: usize) -> Outcome {
    produce_on(&mut Connection::open(server.port)?, requests, count, in_flight)
}

/// The same on a connection that is there.
pub fn produce_on(
    connection: &mut Connection,
    requests: &[Request],
    count: usize,
    in_flight: usize,
) -> Outcome {
    produce_each(connection, count, in_flight, |index| &requests[index % requests.len()])
}

/// The same with requests that are made as they are sent.
pub fn produce_each<R: Borrow<Request>>(
    connection: &mut Connection,
    count: usize,
    in_flight: usize,
    mut request: impl FnMut(usize) -> R,
) -> Outcome {
    let mut answers = connection.split()?;
    let (permit, permits) = mpsc::sync_channel::<()>(in_flight);
    let reader = std::thread::spawn(move || -> Result<(), String> {
        let mut buffer = Vec::new();
        for _ in 0..count {
            let answer = answers.receive(&mut buffer).map_err(|it| it.to_string())?;
            answer.produced().map_err(|it| it.to_string())?;
            permits.recv().map_err(|it| it.to_string())?;
        }
        Ok(())
    });
    for index in 0..count {
        if permit.send(()).is_err() {
            break; // the reader has failed and says why
        }
        connection.send(request(index).borrow())?;
    }
    reader.join().map_err(|_| "the reader panicked")?.map_err(Into::into)
}

/// Reads all `partitions` of a topic from the beginning until `expected` records came, in order and without a gap.
pub fn consume_all(server: Server, topic: &str, partitions: i32, expected: i64) -> Outcome<usize> {
    let (mut bytes, mut records) = (0, 0);
    consume_each(server, topic, partitions, |position, fetched| {
        for (base, count, len) in batches(fetched) {
            if base != *position {
                return Err(format!("read offset {base} where {position} is next").into());
            }
            *position = base + count;
            records += count;
            bytes += len;
        }
        Ok(if records < expected { Go::On } else { Go::NoFurther })
    })
    .map_err(|error| format!("{error}; {expected} records were expected"))?;
    Ok(bytes)
}

/// Whether there is more to read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// There is.
    On,
    /// What is wanted was read.
    NoFurther,
}

/// Reads all `partitions` of a topic from the beginning. `take` is given what came of one partition, and where it stood;
/// it moves that on, and says when it has enough.
pub fn consume_each(
    server: Server,
    topic: &str,
    partitions: i32,
    mut take: impl FnMut(&mut i64, &[u8]) -> Outcome<Go>,
) -> Outcome {
    let mut connection = Connection::open(server.port)?;
    let mut buffer = Vec::new();
    let mut positions: Vec<Position> =
        (0..partitions).map(|partition| Position { partition, offset: 0 }).collect();
    let mut last_progress = Instant::now();
    loop {
        let request = Request::fetch(topic, &positions, 500, PARTITION_MAX_BYTES);
        let answer = connection.ask(&request, &mut buffer)?;
        let before: i64 = positions.iter().map(|it| it.offset).sum();
        for fetched in answer.fetched()? {
            let position = &mut positions[fetched.partition as usize];
            if take(&mut position.offset, fetched.records)? == Go::NoFurther {
                return Ok(());
            }
        }
        let after: i64 = positions.iter().map(|it| it.offset).sum();
        if after > before {
            last_progress = Instant::now();
        } else if last_progress.elapsed() > Duration::from_secs(30) {
            return Err(format!("nothing more can be read after {after} offsets").into());
        }
    }
}
