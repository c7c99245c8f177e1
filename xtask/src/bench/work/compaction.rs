//! A log in which each key was written several times is cleaned: how fast, at what cost, and what a producer to another
//! topic notices of it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::files::{self, Originals, Sealed};
use super::rate::{self, Rate};
use super::throughput::{Go, IN_FLIGHT, consume_each, produce_each};
use super::{Figure, GB, MIB, Server, Usage, create_topic, create_topic_with, figure};
use crate::load::admin::{set_topic, was_set};
use crate::load::process;
use crate::load::protocol::{Connection, Request, Sequence, batch_with_keys, batches, now_ms, records};
use crate::workspace::Outcome;

/// Cleaners look for work all the time.
pub const SETTINGS: &str = "log.cleaner.backoff.ms=50";

const VALUE_BYTES: usize = 100;
const RECORDS_PER_BATCH: usize = 500;
/// About what a record takes, key and all.
const RECORD_BYTES: usize = 119;
/// How often each key is written, about.
const WRITES_PER_KEY: usize = 10;
const LIMIT: Duration = Duration::from_secs(180);

/// Has logs of about `bytes` cleaned: one with nothing beside it, one beside a producer at a fixed rate, whose
/// acknowledgements are measured without it, too. Every key's last value must be there in the end.
pub fn compaction(
    server: Server,
    folder: &Path,
    bytes: usize,
    run: Duration,
    is_java: bool,
) -> Outcome<Vec<Figure>> {
    let load = |label| Rate { label, requests: 1_000, records: 1, bytes: 100, readers: 0 };
    let segment_bytes = bytes / 16;
    create_topic(server, "beside", 1)?;
    let warm =
        Keyed::write(server, folder, "warm", segment_bytes, if is_java { bytes / 2 } else { bytes / 8 })?;
    warm.clean()?;
    rate::warm_up(server, "beside", load(""), run, is_java)?;

    let alone = Keyed::write(server, folder, "alone", segment_bytes, bytes)?;
    let usage = Usage::start(server)?;
    let (seconds, read) = alone.clean()?;
    let cost = usage.cpu_seconds()?;
    let mut figures = vec![
        figure("compaction, MiB/s", read / MIB / seconds),
        figure("compaction, broker CPU-s/GB", cost / (read / GB)),
        figure("compaction, resident at most, MiB", process::peak_resident_bytes(server.pid)? as f64 / MIB),
    ];
    alone.check()?;

    let busy = Keyed::write(server, folder, "busy", segment_bytes, bytes)?;
    let label = "1,000/s of 100 B without compaction";
    figures.extend(rate::acknowledged_for(server, "beside", load(label), run)?);
    let label = "1,000/s of 100 B beside compaction";
    let ((seconds, read), beside) = rate::beside(server, "beside", load(label), || busy.clean())?;
    figures.extend(beside);
    figures.push(figure("compaction beside 1,000/s of 100 B, MiB/s", read / MIB / seconds));
    busy.check()?;
    Ok(figures)
}

/// A topic of one partition that was written and may be cleaned.
struct Keyed<'a> {
    server: Server,
    folder: &'a Path,
    topic: &'a str,
    /// The offset of each key's last record; -1 if it has none.
    last: Vec<i64>,
    /// What a cleaner may touch.
    sealed: Sealed,
    originals: Originals,
    written: i64,
}

impl Keyed<'_> {
    fn write<'a>(
        server: Server,
        folder: &'a Path,
        topic: &'a str,
        segment_bytes: usize,
        bytes: usize,
    ) -> Outcome<Keyed<'a>> {
        let segment_bytes = segment_bytes.to_string();
        create_topic_with(server, topic, 1, &[("segment.bytes", segment_bytes.as_str())])?;
        let requests = bytes / RECORD_BYTES / RECORDS_PER_BATCH;
        let mut last = vec![-1; (requests * RECORDS_PER_BATCH / WRITES_PER_KEY).max(1)];
        let (mut offset, mut seed) = (0, 7u64);
        produce_each(&mut Connection::open(server.port)?, requests, IN_FLIGHT, |_| {
            let pairs: Vec<_> = (0..RECORDS_PER_BATCH)
                .map(|_| {
                    seed =
                        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let key = (seed >> 33) % last.len() as u64;
                    last[key as usize] = offset;
                    let value = value(offset, seed);
                    offset += 1;
                    (key.to_be_bytes(), value)
                })
                .collect();
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| (Some(&key[..]), &value[..])).collect();
            Request::produce(topic, 0, -1, &batch_with_keys(&pairs, now_ms(), Sequence::NONE))
        })?;
        let sealed = files::sealed(folder, topic, 0)?;
        if sealed.count == 0 {
            return Err(format!("{bytes} bytes are not enough for a finished segment").into());
        }
        let originals = Originals::of(folder, topic, sealed.end)?;
        Ok(Keyed { server, folder, topic, last, sealed, originals, written: offset })
    }

    /// Lets the cleaner go and waits until it has written anew all that it may touch. Gives the seconds that took, and
    /// how many bytes there were before.
    fn clean(&self) -> Outcome<(f64, f64)> {
        let mut connection = Connection::open(self.server.port)?;
        let begin = Instant::now();
        let allowed = set_topic(self.topic, &[("cleanup.policy", "compact")]);
        was_set(connection.ask(&allowed, &mut Vec::new())?)?;
        while !self.originals.are_replaced(self.folder, self.topic)? {
            if begin.elapsed() > LIMIT {
                return Err(format!("{} was not cleaned within {LIMIT:?}", self.topic).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok((begin.elapsed().as_secs_f64(), self.sealed.bytes as f64))
    }

    /// Reads what is left: the last record of every key as it was written, and of what was cleaned no other.
    fn check(&self) -> Outcome {
        let mut found = vec![-1; self.last.len()];
        let mut twice = 0;
        consume_each(self.server, self.topic, 1, |position, fetched| {
            for record in records(fetched)? {
                let key = record.key.and_then(|it| Some(u64::from_be_bytes(it.try_into().ok()?)));
                let known = key.and_then(|it| found.get_mut(usize::try_from(it).ok()?));
                let known = known.ok_or("a key that was never written")?;
                if record.value.get(..8) != Some(&record.offset.to_be_bytes()[..]) {
                    return Err(format!("the record at offset {} is another's", record.offset).into());
                }
                twice += i64::from(*known >= 0 && record.offset < self.sealed.end);
                *known = record.offset;
            }
            if let Some((base, count, _)) = batches(fetched).last() {
                *position = base + count;
            }
            Ok(if *position < self.written { Go::On } else { Go::NoFurther })
        })?;
        let lost = found.iter().zip(&self.last).filter(|(found, last)| found != last).count();
        match (lost, twice) {
            (0, 0) => Ok(()),
            _ => Err(format!(
                "after compaction {lost} keys do not have their last value, and {twice} records are there still"
            )
            .into()),
        }
    }
}

/// A value that says where it belongs.
fn value(offset: i64, mut seed: u64) -> [u8; VALUE_BYTES] {
    let mut value = [0; VALUE_BYTES];
    for piece in value.chunks_mut(8) {
        seed = seed.rotate_left(23).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        piece.copy_from_slice(&seed.to_be_bytes()[..piece.len()]);
    }
    value[..8].copy_from_slice(&offset.to_be_bytes());
    value
}
