//! The workloads: each drives one running server and returns the figures it is about.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::load::process::{self, StallMeter};
use crate::load::protocol::{Connection, Position, Request, batch, batches, now_ms};
use crate::workspace::Outcome;

/// A server under measurement.
#[derive(Clone, Copy)]
pub struct Server {
    /// Its port on loopback.
    pub port: u16,
    /// Its process.
    pub pid: u32,
}

/// One named number. Smaller is better for all but rates.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it is, with its unit last.
    pub name: &'static str,
    /// The number.
    pub value: f64,
}

const PARTITIONS: i32 = 4;
const MIB: f64 = 1024.0 * 1024.0;
const GB: f64 = 1e9;
/// How many produce requests a connection has under way, as the Java producer by default.
const IN_FLIGHT: usize = 5;

fn figure(name: &'static str, value: f64) -> Figure {
    Figure { name, value }
}

/// Makes a topic and waits until all its partitions have a leader.
pub fn create_topic(server: Server, topic: &str, partitions: i32) -> Outcome {
    let mut connection = Connection::open(server.port)?;
    let mut buffer = Vec::new();
    connection.ask(&Request::create_topic(topic, partitions), &mut buffer)?.created()?;
    wait_for_leaders(&mut connection, topic, partitions as usize)
}

fn wait_for_leaders(connection: &mut Connection, topic: &str, partitions: usize) -> Outcome {
    let mut buffer = Vec::new();
    let end = Instant::now() + Duration::from_secs(60);
    let positions: Vec<Position> =
        (0..partitions as i32).map(|partition| Position { partition, offset: 0 }).collect();
    let fetch = Request::fetch(topic, &positions, 0, 1);
    // A leader that is known may not have taken its seat yet: it has when it can be read from.
    while connection.ask(&Request::metadata(topic), &mut buffer)?.led_partitions()? < partitions
        || connection.ask(&fetch, &mut buffer)?.fetched().is_err()
    {
        if Instant::now() > end {
            return Err(format!("the partitions of {topic} have no leader").into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Produces `bytes` of 1 KiB records in large batches with `acks=all`, then reads them all back.
pub fn throughput(server: Server, topic: &str, bytes: usize) -> Outcome<Vec<Figure>> {
    create_topic(server, topic, PARTITIONS)?;
    let records_per_batch = 127;
    let one = batch(records_per_batch, 1024, now_ms());
    let requests: Vec<Request> = (0..PARTITIONS).map(|it| Request::produce(topic, it, -1, &one)).collect();
    let count = bytes / one.len();
    let mut figures = Vec::new();

    let (cpu, begin) = (process::cpu_seconds(server.pid)?, Instant::now());
    produce_pipelined(server, &requests, count)?;
    let seconds = begin.elapsed().as_secs_f64();
    let cpu = process::cpu_seconds(server.pid)? - cpu;
    let total = (count * one.len()) as f64;
    figures.push(figure("produce 1 KiB, MiB/s", total / MIB / seconds));
    figures.push(figure("produce 1 KiB, broker CPU-s/GB", cpu / (total / GB)));

    let expected = (count * records_per_batch) as i64;
    let (cpu, begin) = (process::cpu_seconds(server.pid)?, Instant::now());
    let read = consume_all(server, topic, expected)?;
    let seconds = begin.elapsed().as_secs_f64();
    let cpu = process::cpu_seconds(server.pid)? - cpu;
    figures.push(figure("consume 1 KiB, MiB/s", read as f64 / MIB / seconds));
    figures.push(figure("consume 1 KiB, broker CPU-s/GB", cpu / (read as f64 / GB)));
    figures.push(figure("resident under load, MiB", process::resident_bytes(server.pid)? as f64 / MIB));
    figures.push(figure("resident at most, MiB", process::peak_resident_bytes(server.pid)? as f64 / MIB));
    Ok(figures)
}

fn produce_pipelined(server: Server, requests: &[Request], count: usize) -> Outcome {
    let mut connection = Connection::open(server.port)?;
    let mut answers = connection.split()?;
    let (permit, permits) = mpsc::sync_channel::<()>(IN_FLIGHT);
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
        connection.send(&requests[index % requests.len()])?;
    }
    reader.join().map_err(|_| "the reader panicked")?.map_err(Into::into)
}

fn consume_all(server: Server, topic: &str, expected: i64) -> Outcome<usize> {
    let mut connection = Connection::open(server.port)?;
    let mut buffer = Vec::new();
    let mut positions: Vec<Position> =
        (0..PARTITIONS).map(|partition| Position { partition, offset: 0 }).collect();
    let (mut bytes, mut records) = (0, 0);
    let mut last_progress = Instant::now();
    while records < expected {
        let answer = connection.ask(&Request::fetch(topic, &positions, 500, 4 << 20), &mut buffer)?;
        let before = records;
        for fetched in answer.fetched()? {
            for (base, count, len) in batches(fetched.records) {
                let position = &mut positions[fetched.partition as usize];
                if base != position.offset {
                    return Err(format!("read offset {base} where {} is next", position.offset).into());
                }
                position.offset = base + count;
                records += count;
                bytes += len;
            }
        }
        if records > before {
            last_progress = Instant::now();
        } else if last_progress.elapsed() > Duration::from_secs(30) {
            return Err(format!("only {records} of {expected} records can be read").into());
        }
    }
    Ok(bytes)
}

/// Sends one record per request at a fixed rate, without linger, and measures from the intended time of
/// sending to the acknowledgement and to a reader that waits at the tail.
pub fn fixed_rate(server: Server, topic: &str, rate: u32, run: Duration) -> Outcome<Vec<Figure>> {
    create_topic(server, topic, 1)?;
    let request = Request::produce(topic, 0, -1, &batch(1, 100, now_ms()));
    let interval = Duration::from_secs(1) / rate;
    let count = (run.as_secs_f64() * f64::from(rate)) as usize;
    let stalls = StallMeter::start();
    let cpu = process::cpu_seconds(server.pid)?;

    let mut connection = Connection::open(server.port)?;
    let mut answers = connection.split()?;
    let acknowledged = std::thread::spawn(move || -> Result<Vec<Instant>, String> {
        let mut buffer = Vec::new();
        (0..count)
            .map(|_| {
                let answer = answers.receive(&mut buffer).map_err(|it| it.to_string())?;
                answer.produced().map_err(|it| it.to_string())?;
                Ok(Instant::now())
            })
            .collect()
    });
    let reader_topic = topic.to_owned();
    let read =
        std::thread::spawn(move || read_tail(server, &reader_topic, count).map_err(|it| it.to_string()));

    let begin = Instant::now() + Duration::from_millis(20);
    for index in 0..count {
        let intended = begin + interval * index as u32;
        if let Some(early) = intended.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        connection.send(&request)?;
    }
    let acknowledged = acknowledged.join().map_err(|_| "the reader of answers panicked")??;
    let read = read.join().map_err(|_| "the reader panicked")??;
    let cpu = process::cpu_seconds(server.pid)? - cpu;
    let stalls = stalls.finish();
    let names = if rate >= 10_000 { &TEN_THOUSAND } else { &ONE_THOUSAND };
    let mut figures = vec![figure(names[0], cpu * 1e6 / count as f64)];
    let intended = |index: usize| begin + interval * index as u32;
    for (moments, names) in [(&acknowledged, &names[1..5]), (&read, &names[5..9])] {
        let (raw, calm, left_out) = quantiles(moments, intended, &stalls)?;
        figures.push(figure(names[0], calm.value_at_quantile(0.5) as f64 / 1000.0));
        figures.push(figure(names[1], calm.value_at_quantile(0.99) as f64 / 1000.0));
        figures.push(figure(names[2], calm.value_at_quantile(0.999) as f64 / 1000.0));
        figures.push(figure(names[3], raw.value_at_quantile(0.99) as f64 / 1000.0));
        if left_out > 0.25 {
            eprintln!("note: {:.0} % of the samples touch a stall of the machine", left_out * 100.0);
        }
    }
    Ok(figures)
}

const ONE_THOUSAND: [&str; 9] = [
    "1,000/s of 100 B, broker CPU-µs/record",
    "1,000/s ack p50 calm, ms",
    "1,000/s ack p99 calm, ms",
    "1,000/s ack p99.9 calm, ms",
    "1,000/s ack p99 raw, ms",
    "1,000/s end to end p50 calm, ms",
    "1,000/s end to end p99 calm, ms",
    "1,000/s end to end p99.9 calm, ms",
    "1,000/s end to end p99 raw, ms",
];
const TEN_THOUSAND: [&str; 9] = [
    "10,000/s of 100 B, broker CPU-µs/record",
    "10,000/s ack p50 calm, ms",
    "10,000/s ack p99 calm, ms",
    "10,000/s ack p99.9 calm, ms",
    "10,000/s ack p99 raw, ms",
    "10,000/s end to end p50 calm, ms",
    "10,000/s end to end p99 calm, ms",
    "10,000/s end to end p99.9 calm, ms",
    "10,000/s end to end p99 raw, ms",
];

fn read_tail(server: Server, topic: &str, count: usize) -> Outcome<Vec<Instant>> {
    let mut connection = Connection::open(server.port)?;
    let mut buffer = Vec::new();
    let mut read = Vec::with_capacity(count);
    let end = Instant::now() + Duration::from_secs(120);
    while read.len() < count {
        let position = Position { partition: 0, offset: read.len() as i64 };
        let answer = connection.ask(&Request::fetch(topic, &[position], 500, 1 << 20), &mut buffer)?;
        let now = Instant::now();
        for fetched in answer.fetched()? {
            for (_, count, _) in batches(fetched.records) {
                read.extend(std::iter::repeat_n(now, count as usize));
            }
        }
        if now > end {
            return Err(format!("only {} of {count} records came to the reader", read.len()).into());
        }
    }
    Ok(read)
}

type Latencies = Histogram<u64>;

fn quantiles(
    moments: &[Instant],
    intended: impl Fn(usize) -> Instant,
    stalls: &process::Stalls,
) -> Outcome<(Latencies, Latencies, f64)> {
    let mut raw = Histogram::new(3)?;
    let mut calm = Histogram::new(3)?;
    for (index, moment) in moments.iter().enumerate() {
        let begin = intended(index);
        let micros = moment.saturating_duration_since(begin).as_micros() as u64;
        raw.record(micros.max(1))?;
        if !stalls.touch(begin, *moment) {
            calm.record(micros.max(1))?;
        }
    }
    let left_out = 1.0 - calm.len() as f64 / raw.len().max(1) as f64;
    Ok((raw, calm, left_out))
}

/// Makes `topics` topics of one partition each.
pub fn create_many(server: Server, topics: usize) -> Outcome<Vec<Figure>> {
    let mut connection = Connection::open(server.port)?;
    let mut buffer = Vec::new();
    let names: Vec<String> = (0..topics).map(|it| format!("many-{it}")).collect();
    let begin = Instant::now();
    for names in names.chunks(500) {
        connection.ask(&Request::create_topics(names, 1), &mut buffer)?.created()?;
    }
    if let Some(last) = names.last() {
        wait_for_leaders(&mut connection, last, 1)?;
    }
    Ok(vec![
        figure("create 10,000 topics, s", begin.elapsed().as_secs_f64()),
        figure("resident with 10,000 partitions, MiB", process::resident_bytes(server.pid)? as f64 / MIB),
        figure("open files with 10,000 partitions", process::open_files(server.pid)? as f64),
    ])
}

/// Waits until a topic's partition answers a produce: what a user calls started.
pub fn first_produce(port: u16, topic: &str, limit: Duration) -> Outcome {
    let end = Instant::now() + limit;
    let request = Request::produce(topic, 0, 1, &batch(1, 10, now_ms()));
    let create = Request::create_topic(topic, 1);
    let mut buffer = Vec::new();
    let mut attempt = || -> Outcome {
        let mut connection = Connection::open(port)?;
        // Refused with "exists" when the topic is already there: the produce tells.
        let _ = connection.ask(&create, &mut buffer)?.created();
        connection.ask(&request, &mut buffer)?.produced()?;
        Ok(())
    };
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => {
                return Err(format!("no produce within {limit:?}: {error}").into());
            }
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}
