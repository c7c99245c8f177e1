//! Producing in every shape: sizes, acknowledgements, partitions, connections, codecs.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::throughput::{IN_FLIGHT, produce_on, produce_pipelined};
use super::{Figure, GB, MIB, Server, Usage, create_topic, create_topic_with, figure, in_parallel};
use crate::load::protocol::{Connection, Position, Request, Sequence, batch, batch_of, now_ms};
use crate::workspace::Outcome;

/// A way to produce. Each point of the matrix differs from [`BASE`] in one thing.
#[derive(Clone, Copy)]
struct Shape {
    record_bytes: usize,
    acks: i16,
    partitions: i32,
    connections: usize,
}

const BASE: Shape = Shape { record_bytes: 1024, acks: -1, partitions: 16, connections: 1 };
const BATCH_BYTES: usize = 128 << 10;
/// What a connection sends before it looks at the clock.
const PIECE_BYTES: usize = 8 << 20;

/// Produces for a moment in each shape.
pub fn matrix(server: Server, run: Duration) -> Outcome<Vec<Figure>> {
    let shapes = [
        ("1 KiB, 16 partitions", BASE),
        ("100 B", Shape { record_bytes: 100, ..BASE }),
        ("10 KiB", Shape { record_bytes: 10 << 10, ..BASE }),
        // As much as a message may have by default, less what surrounds it.
        ("1 MB", Shape { record_bytes: 1_000_000, ..BASE }),
        ("1 KiB, acks 1", Shape { acks: 1, ..BASE }),
        ("1 KiB, 1 partition", Shape { partitions: 1, ..BASE }),
        ("1 KiB, 1,000 partitions", Shape { partitions: 1000, ..BASE }),
        ("1 KiB, 16 connections", Shape { connections: 16, ..BASE }),
        ("1 KiB, 100 connections", Shape { connections: 100, ..BASE }),
        ("1 KiB, 500 connections", Shape { connections: 500, ..BASE }),
    ];
    let mut figures = Vec::new();
    for (index, (label, shape)) in shapes.into_iter().enumerate() {
        let topic = format!("shape-{index}-{}", run.as_millis());
        create_topic(server, &topic, shape.partitions)?;
        let records = (BATCH_BYTES / (shape.record_bytes + 8)).max(1);
        let one = batch(records, shape.record_bytes, now_ms());
        let requests: Vec<Request> =
            (0..shape.partitions).map(|it| Request::produce(&topic, it, shape.acks, &one)).collect();
        let (usage, begin) = (Usage::start(server)?, Instant::now());
        let batches = flood(server, &requests, shape.connections, PIECE_BYTES / one.len(), run)
            .map_err(|error| format!("{label}: {error}"))?;
        let seconds = begin.elapsed().as_secs_f64();
        let bytes = (batches * one.len()) as f64;
        figures.push(figure(format!("produce {label}, MiB/s"), bytes / MIB / seconds));
        figures
            .push(figure(format!("produce {label}, broker CPU-s/GB"), usage.cpu_seconds()? / (bytes / GB)));
    }
    Ok(figures)
}

/// Sends requests from several connections until the time is over; returns how many.
fn flood(
    server: Server,
    requests: &[Request],
    connections: usize,
    piece: usize,
    run: Duration,
) -> Outcome<usize> {
    // One after the other: more than the listener lets wait are refused.
    let open = |_| Ok(Mutex::new(Connection::open(server.port)?));
    let opened = (0..connections).map(open).collect::<Outcome<Vec<_>>>()?;
    let begin = Instant::now();
    // The more connections, the less each sends at a time, so that all end in time.
    let piece = (piece / connections).max(IN_FLIGHT);
    let counts = in_parallel(connections, |index| {
        let mut connection = opened[index].lock().map_err(|_| "a connection was given up")?;
        let mut count = 0;
        while begin.elapsed() < run {
            produce_on(&mut connection, requests, piece, IN_FLIGHT)?;
            count += piece;
        }
        Ok(count)
    })?;
    Ok(counts.iter().sum())
}

/// Produces batches of text that a codec has made small; both servers look into them. The server makes the first
/// itself, in a topic of that codec, and the others are like it.
pub fn codecs(server: Server, run: Duration) -> Outcome<Vec<Figure>> {
    let plain = batch_of(&text(1000), now_ms(), Sequence::NONE);
    let mut figures = Vec::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let (own, topic) =
            (format!("{codec}-{}", run.as_millis()), format!("packed-{codec}-{}", run.as_millis()));
        let kept = if codec == "none" { "uncompressed" } else { codec };
        create_topic_with(server, &own, 1, &[("compression.type", kept)])?;
        create_topic(server, &topic, 4)?;
        produce_pipelined(server, &[Request::produce(&own, 0, -1, &plain)], 1, 1)?;
        let mut connection = Connection::open(server.port)?;
        let mut buffer = Vec::new();
        let request = Request::fetch(&own, &[Position { partition: 0, offset: 0 }], 500, 4 << 20);
        let fetched = connection.ask(&request, &mut buffer)?.fetched()?;
        let packed = fetched.first().ok_or("nothing was fetched")?.records;
        let requests: Vec<Request> = (0..4).map(|it| Request::produce(&topic, it, -1, packed)).collect();
        let (usage, begin) = (Usage::start(server)?, Instant::now());
        let batches = flood(server, &requests, 1, PIECE_BYTES / plain.len(), run)?;
        let seconds = begin.elapsed().as_secs_f64();
        let bytes = (batches * plain.len()) as f64;
        figures.push(figure(format!("produce {codec}, MiB/s of text"), bytes / MIB / seconds));
        let cost = usage.cpu_seconds()? / (bytes / GB);
        figures.push(figure(format!("produce {codec}, broker CPU-s/GB of text"), cost));
        figures.push(figure(
            format!("{codec}, size of the batch, %"),
            packed.len() as f64 * 100.0 / plain.len() as f64,
        ));
    }
    Ok(figures)
}

/// Records as programs write them, of which a codec makes less.
fn text(count: usize) -> Vec<Vec<u8>> {
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let kinds = ["order.created", "order.paid", "order.shipped", "cart.changed", "user.seen"];
    (0..count)
        .map(|index| {
            format!(
                "{{\"id\":{index},\"kind\":\"{}\",\"user\":\"u{:07}\",\"amount\":{}.{:02},\"currency\":\"EUR\",\
                 \"at\":\"2026-01-{:02}T{:02}:{:02}:{:02}Z\",\"tags\":[\"web\",\"v{}\"]}}",
                kinds[next(5) as usize],
                next(10_000_000),
                next(500),
                next(100),
                next(28) + 1,
                next(24),
                next(60),
                next(60),
                next(9)
            )
            .into_bytes()
        })
        .collect()
}
