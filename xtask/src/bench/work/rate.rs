//! Requests at a fixed rate, and how long each takes from the moment at which it was meant to be sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::throughput::{PARTITIONS, consume_all, fill, produce_pipelined};
use super::{Figure, MIB, Server, Usage, create_topic, figure};
use crate::load::process::{self, StallMeter, Stalls};
use crate::load::protocol::{Connection, Position, Request, batch, batches, now_ms};
use crate::workspace::Outcome;

/// What is sent how often.
#[derive(Clone, Copy)]
pub struct Rate<'a> {
    /// What the figures begin with.
    pub label: &'a str,
    /// Requests per second.
    pub requests: u32,
    /// Records in each.
    pub records: usize,
    /// The size of a record's value, in bytes.
    pub bytes: usize,
    /// How many readers wait at the tail, each for all records.
    pub readers: usize,
}

/// How many requests are under way when it is about how many there can be.
const MANY_IN_FLIGHT: usize = 64;

/// How many requests of one record of 100 B a second a connection gets through, many of them under way; and what
/// each costs, in microseconds.
pub fn maximum(server: Server, topic: &str, run: Duration) -> Outcome<(f64, f64)> {
    create_topic(server, topic, 1)?;
    let request = [Request::produce(topic, 0, -1, &batch(1, 100, now_ms()))];
    let (mut count, usage, begin) = (0, Usage::start(server)?, Instant::now());
    while begin.elapsed() < run {
        produce_pipelined(server, &request, 5000, MANY_IN_FLIGHT)?;
        count += 5000;
    }
    Ok((f64::from(count) / begin.elapsed().as_secs_f64(), usage.cpu_seconds()? * 1e6 / f64::from(count)))
}

/// Sends requests at a fixed rate, without linger, and measures from the intended time of sending to the
/// acknowledgement and to a reader that waits at the tail.
pub fn fixed_rate(server: Server, topic: &str, rate: Rate<'_>, run: Duration) -> Outcome<Vec<Figure>> {
    create_topic(server, topic, 1)?;
    let request = Request::produce(topic, 0, -1, &batch(rate.records, rate.bytes, now_ms()));
    let interval = Duration::from_secs(1) / rate.requests.max(1);
    let count = (run.as_secs_f64() * f64::from(rate.requests)) as usize;
    let stalls = StallMeter::start();
    let usage = Usage::start(server)?;

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
    let per_request = rate.records as i64;
    let readers: Vec<_> = (0..rate.readers)
        .map(|_| {
            let topic = topic.to_owned();
            std::thread::spawn(move || {
                read_tail(server, &topic, count, per_request).map_err(|it| it.to_string())
            })
        })
        .collect();

    let begin = Instant::now() + Duration::from_millis(20);
    let intended = |index: usize| begin + interval * index as u32;
    for index in 0..count {
        if let Some(early) = intended(index).checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        connection.send(&request)?;
    }
    let acknowledged = acknowledged.join().map_err(|_| "the reader of answers panicked")??;
    let mut read = Vec::with_capacity(readers.len());
    for reader in readers {
        read.push(reader.join().map_err(|_| "a reader panicked")??);
    }
    let records = (count * rate.records) as f64;
    let label = rate.label;
    let mut figures =
        vec![figure(format!("{label}, broker CPU-µs/record"), usage.cpu_seconds()? * 1e6 / records)];
    let stalls = stalls.finish();
    for (moments, what) in [(std::slice::from_ref(&acknowledged), "ack"), (&read, "end to end")] {
        figures.extend(latencies(label, what, moments, intended, &stalls)?);
    }
    Ok(figures)
}

/// Sends requests at a fixed rate for a time, and measures up to the acknowledgement.
pub fn acknowledged_for(server: Server, topic: &str, rate: Rate<'_>, run: Duration) -> Outcome<Vec<Figure>> {
    let begin = Instant::now();
    acknowledged(server, topic, rate, || begin.elapsed() > run)
}

/// The same for as long as some work takes. Gives what the work came to, too.
pub fn beside<T: Send>(
    server: Server,
    topic: &str,
    rate: Rate<'_>,
    work: impl FnOnce() -> Outcome<T> + Send,
) -> Outcome<(T, Vec<Figure>)> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            let done = work().map_err(|it| it.to_string());
            is_over.store(true, Ordering::Relaxed);
            done
        });
        let figures = acknowledged(server, topic, rate, || is_over.load(Ordering::Relaxed));
        let done = working.join().map_err(|_| "the work beside a load panicked")??;
        Ok((done, figures?))
    })
}

/// Sends requests at a fixed rate, without linger, until it is over, and measures from the intended time of sending to
/// the acknowledgement.
fn acknowledged(
    server: Server,
    topic: &str,
    rate: Rate<'_>,
    is_over: impl Fn() -> bool,
) -> Outcome<Vec<Figure>> {
    let request = Request::produce(topic, 0, -1, &batch(rate.records, rate.bytes, now_ms()));
    let interval = Duration::from_secs(1) / rate.requests.max(1);
    let stalls = StallMeter::start();
    let mut connection = Connection::open(server.port)?;
    let mut answers = connection.split()?;
    let (sent, awaited) = mpsc::channel::<()>();
    let reader = std::thread::spawn(move || -> Result<Vec<Instant>, String> {
        let mut buffer = Vec::new();
        let mut moments = Vec::new();
        while awaited.recv().is_ok() {
            let answer = answers.receive(&mut buffer).map_err(|it| it.to_string())?;
            answer.produced().map_err(|it| it.to_string())?;
            moments.push(Instant::now());
        }
        Ok(moments)
    });
    let begin = Instant::now();
    let intended = |index: usize| begin + interval * index as u32;
    let mut index = 0;
    while !is_over() && sent.send(()).is_ok() {
        if let Some(early) = intended(index).checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        connection.send(&request)?;
        index += 1;
    }
    drop(sent);
    let moments = reader.join().map_err(|_| "the reader of answers panicked")??;
    latencies(rate.label, "ack", std::slice::from_ref(&moments), intended, &stalls.finish())
}

/// The quantiles as figures.
fn latencies(
    label: &str,
    what: &str,
    moments: &[Vec<Instant>],
    intended: impl Fn(usize) -> Instant,
    stalls: &Stalls,
) -> Outcome<Vec<Figure>> {
    let (raw, calm, left_out) = quantiles(moments, intended, stalls)?;
    let of = [
        ("p50 calm", &calm, 0.5),
        ("p99 calm", &calm, 0.99),
        ("p99.9 calm", &calm, 0.999),
        ("p99 raw", &raw, 0.99),
        ("p99.9 raw", &raw, 0.999),
    ];
    let named = of.map(|(name, histogram, quantile)| {
        let value = histogram.value_at_quantile(quantile) as f64 / 1000.0;
        figure(format!("{label}, {what} {name}, ms"), value)
    });
    let left_out = figure(format!("{label}, {what} left out as stalls, %"), left_out * 100.0);
    Ok(named.into_iter().chain([left_out]).collect())
}

/// Acknowledges for a while without looking what is measured beside other work, and lets a virtual machine compile.
pub fn warm_up(server: Server, topic: &str, rate: Rate<'_>, run: Duration, is_java: bool) -> Outcome {
    if is_java {
        fill(server, "warm-fill", 256 << 20)?;
    }
    acknowledged_for(server, topic, rate, if is_java { run } else { run / 8 }).map(drop)
}

/// When each request's records had come to a reader at the tail.
fn read_tail(server: Server, topic: &str, requests: usize, per_request: i64) -> Outcome<Vec<Instant>> {
    let mut connection = Connection::open(server.port)?;
    let mut buffer = Vec::new();
    let mut read = Vec::with_capacity(requests);
    let mut last_progress = Instant::now();
    while read.len() < requests {
        let position = Position { partition: 0, offset: read.len() as i64 * per_request };
        let answer = connection.ask(&Request::fetch(topic, &[position], 500, 4 << 20), &mut buffer)?;
        let now = Instant::now();
        for fetched in answer.fetched()? {
            for (_, count, _) in batches(fetched.records) {
                read.extend(std::iter::repeat_n(now, (count / per_request) as usize));
                last_progress = now;
            }
        }
        if last_progress.elapsed() > Duration::from_secs(60) {
            return Err(format!("only {} of {requests} requests came to the reader", read.len()).into());
        }
    }
    Ok(read)
}

type Latencies = Histogram<u64>;

/// All latencies, those that touch no stall of the machine, and the share of the others.
fn quantiles(
    moments: &[Vec<Instant>],
    intended: impl Fn(usize) -> Instant,
    stalls: &Stalls,
) -> Outcome<(Latencies, Latencies, f64)> {
    let mut raw = Histogram::new(3)?;
    let mut calm = Histogram::new(3)?;
    for (index, moment) in moments.iter().flat_map(|it| it.iter().enumerate()) {
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

/// Sends at a fixed rate while another reader takes a backlog from the disk.
pub fn mixed(
    server: Server,
    topic: &str,
    bytes: usize,
    rate: Rate<'_>,
    run: Duration,
) -> Outcome<Vec<Figure>> {
    let (records, size) = fill(server, topic, bytes)?;
    if let Err(error) = process::drop_caches() {
        eprintln!("note: what is read beside writing is not cold: {error}");
    }
    std::thread::scope(|scope| {
        let cold = scope.spawn(|| {
            let begin = Instant::now();
            let read = consume_all(server, topic, PARTITIONS, records);
            read.map(|_| begin.elapsed().as_secs_f64()).map_err(|it| it.to_string())
        });
        let mut figures = fixed_rate(server, &format!("{topic}-beside"), rate, run)?;
        let seconds = cold.join().map_err(|_| "the cold reader panicked")??;
        figures.push(figure("cold reading beside writing, MiB/s", size / MIB / seconds));
        Ok(figures)
    })
}
