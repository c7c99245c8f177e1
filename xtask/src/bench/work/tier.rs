//! Finished segments go to tiered storage, a local directory, and are read from there when they have left the disk.

use std::path::Path;
use std::time::{Duration, Instant};

use super::files::{self, Sealed};
use super::rate::{self, Rate};
use super::throughput::{Go, PARTITIONS, consume_all, consume_each, fill_made};
use super::{Figure, GB, MIB, Server, Usage, create_topic, create_topic_with, figure};
use crate::bench::statistics::median;
use crate::load::admin::{LATEST_TIERED, list_offsets, listed, set_topic, was_set};
use crate::load::process;
use crate::load::protocol::{Connection, Position, Request, batches, records};
use crate::workspace::Outcome;

/// Both know this class: it is Kafka's own for tests, and Ottla's directory has its layout.
pub const SETTINGS: &str = "remote.log.storage.system.enable=true\n\
    remote.log.storage.manager.class.name=org.apache.kafka.server.log.remote.storage.LocalTieredStorage\n\
    rsm.config.dir={folder}/tier\n\
    remote.log.metadata.manager.listener.name=PLAINTEXT\n\
    rlmm.config.remote.log.metadata.topic.num.partitions=5\n\
    rlmm.config.remote.log.metadata.topic.replication.factor=1\n\
    rlmm.config.remote.log.metadata.topic.min.isr=1\n\
    remote.log.manager.task.interval.ms=100\n\
    log.retention.check.interval.ms=200\nlog.initial.task.delay.ms=200";

const LIMIT: Duration = Duration::from_secs(180);
/// What the first fetch of all wants.
const FIRST_BYTES: i32 = 1 << 20;

/// Has topics of `bytes` copied, one with nothing beside it and one beside a producer at a fixed rate, whose
/// acknowledgements are measured without it, too; lets the disk go and reads them from the tier, with nothing of it in
/// memory.
pub fn tier(
    server: Server,
    folder: &Path,
    bytes: usize,
    run: Duration,
    is_java: bool,
) -> Outcome<Vec<Figure>> {
    let load = |label| Rate { label, requests: 1_000, records: 1, bytes: 100, readers: 0 };
    let segment_bytes = bytes / 32;
    create_topic(server, "beside", 1)?;
    let warm =
        Tiered::write(server, folder, "warm", segment_bytes, if is_java { bytes / 2 } else { bytes / 4 })?;
    warm.copy()?;
    rate::warm_up(server, "beside", load(""), run, is_java)?;

    let alone = Tiered::write(server, folder, "alone", segment_bytes, bytes)?;
    let usage = Usage::start(server)?;
    let (seconds, copied) = alone.copy()?;
    let cost = usage.cpu_seconds()?;
    let mut figures = vec![
        figure("tier upload, MiB/s", copied / MIB / seconds),
        figure("tier upload, broker CPU-s/GB", cost / (copied / GB)),
    ];
    let busy = Tiered::write(server, folder, "busy", segment_bytes, bytes)?;
    let label = "1,000/s of 100 B without tier upload";
    figures.extend(rate::acknowledged_for(server, "beside", load(label), run)?);
    let label = "1,000/s of 100 B beside tier upload";
    let ((seconds, copied), beside) = rate::beside(server, "beside", load(label), || busy.copy())?;
    figures.extend(beside);
    figures.push(figure("tier upload beside 1,000/s of 100 B, MiB/s", copied / MIB / seconds));

    for topic in [&warm, &alone, &busy] {
        topic.leave_disk()?;
    }
    // Whoever reads the first time compiles.
    warm.check()?;
    let is_cold = process::drop_caches().inspect_err(|error| {
        eprintln!("note: what is read from the tier is in the machine's memory: {error}");
    });
    let name = if is_cold.is_ok() { "tier cold read" } else { "tier warm read" };
    let firsts = (0..PARTITIONS).map(|it| busy.first_fetch(it)).collect::<Outcome<Vec<_>>>()?;
    figures.push(figure(format!("{name}, first fetch at offset 0, ms"), median(&firsts)));
    let (usage, begin) = (Usage::start(server)?, Instant::now());
    let read = consume_all(server, alone.topic, PARTITIONS, alone.written)? as f64;
    let seconds = begin.elapsed().as_secs_f64();
    figures.push(figure(format!("{name}, MiB/s"), read / MIB / seconds));
    figures.push(figure(format!("{name}, broker CPU-s/GB"), usage.cpu_seconds()? / (read / GB)));
    figures
        .push(figure("tier, resident at most, MiB", process::peak_resident_bytes(server.pid)? as f64 / MIB));
    busy.check()?;
    Ok(figures)
}

/// A topic whose segments go to the tier once they may.
struct Tiered<'a> {
    server: Server,
    folder: &'a Path,
    topic: &'a str,
    written: i64,
    /// The finished segments of each partition.
    sealed: Vec<Sealed>,
}

impl Tiered<'_> {
    fn write<'a>(
        server: Server,
        folder: &'a Path,
        topic: &'a str,
        segment_bytes: usize,
        bytes: usize,
    ) -> Outcome<Tiered<'a>> {
        let segment_bytes = segment_bytes.to_string();
        create_topic_with(server, topic, PARTITIONS, &[("segment.bytes", segment_bytes.as_str())])?;
        let (written, _) = fill_made(server, topic, bytes)?;
        let sealed: Vec<Sealed> =
            (0..PARTITIONS).map(|it| files::sealed(folder, topic, it)).collect::<Outcome<_>>()?;
        if sealed.iter().any(|it| it.count == 0) {
            return Err(format!("{bytes} bytes are not enough for finished segments").into());
        }
        Ok(Tiered { server, folder, topic, written, sealed })
    }

    fn set(&self, configs: &[(&str, &str)]) -> Outcome {
        let mut connection = Connection::open(self.server.port)?;
        was_set(connection.ask(&set_topic(self.topic, configs), &mut Vec::new())?)
    }

    /// Lets copying begin and waits until every finished segment is recorded to be in the tier. Gives the seconds that
    /// took, and how many bytes of records were copied.
    fn copy(&self) -> Outcome<(f64, f64)> {
        let begin = Instant::now();
        self.set(&[("remote.storage.enable", "true")])?;
        let mut connection = Connection::open(self.server.port)?;
        let (ask, mut buffer) = (list_offsets(self.topic, PARTITIONS, LATEST_TIERED), Vec::new());
        loop {
            let last = listed(connection.ask(&ask, &mut buffer)?, PARTITIONS)?;
            if last.iter().zip(&self.sealed).all(|(last, sealed)| last + 1 >= sealed.end) {
                break;
            }
            if begin.elapsed() > LIMIT {
                return Err(format!("{} is not in the tier after {LIMIT:?}: {last:?}", self.topic).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let bytes: u64 = self.sealed.iter().map(|it| it.bytes).sum();
        Ok((begin.elapsed().as_secs_f64(), bytes as f64))
    }

    /// Keeps no more on the disk than is not finished, and waits until the rest has gone.
    fn leave_disk(&self) -> Outcome {
        let begin = Instant::now();
        self.set(&[("local.retention.bytes", "1")])?;
        for partition in 0..PARTITIONS {
            while files::sealed(self.folder, self.topic, partition)?.count > 0 {
                if begin.elapsed() > LIMIT {
                    return Err(format!("{} is on the disk after {LIMIT:?}", self.topic).into());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// How long it takes until the beginning of a partition has come, in milliseconds.
    fn first_fetch(&self, partition: i32) -> Outcome<f64> {
        let mut connection = Connection::open(self.server.port)?;
        let mut buffer = Vec::new();
        let fetch = Request::fetch(self.topic, &[Position { partition, offset: 0 }], 500, FIRST_BYTES);
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            let answer = connection.ask(&fetch, &mut buffer)?;
            let millis = begin.elapsed().as_secs_f64() * 1e3;
            if answer.fetched()?.iter().any(|it| batches(it.records).next().is_some()) {
                return Ok(millis);
            }
        }
        Err(format!("nothing of {} comes from the tier within {LIMIT:?}", self.topic).into())
    }

    /// Reads everything and looks at every record: its place, its size, its checksum.
    fn check(&self) -> Outcome {
        let mut read = 0;
        consume_each(self.server, self.topic, PARTITIONS, |position, fetched| {
            for record in records(fetched)? {
                if record.offset != *position || record.value.len() != 1024 {
                    return Err(format!("read offset {} where {position} is next", record.offset).into());
                }
                *position += 1;
                read += 1;
            }
            Ok(if read < self.written { Go::On } else { Go::NoFurther })
        })
    }
}
