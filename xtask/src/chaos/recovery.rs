//! How fast a server reads back what it had not flushed when it was killed.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use super::requests;
use super::server::{LIMIT, Server};
use crate::load::protocol::{Connection, Request, batch, now_ms};
use crate::workspace::Outcome;

const MIB: f64 = 1024.0 * 1024.0;
const PARTITIONS: i32 = 4;
/// Nothing is checkpointed while the load runs: all of it has to be looked at.
const SETTINGS: &str = "log.retention.ms=-1\nlog.flush.offset.checkpoint.interval.ms=3600000\n\
    num.recovery.threads.per.data.dir=2";

/// Fills partitions, kills the server, and sets the next start beside plain reading of the same files.
pub fn measure(binary: &Path, mebibytes: usize) -> Outcome {
    let folder = tempfile::Builder::new().prefix("ottla-recovery-").tempdir()?;
    let mut server = Server::lay_out(binary, folder.path(), SETTINGS)?;
    server.start()?;
    server.stop()?;
    let empty = server.start()?;
    let mut connection = Connection::open(server.port())?;
    let mut buffer = Vec::new();
    connection.ask(&Request::create_topic("bulk", PARTITIONS), &mut buffer)?.created()?;
    let one = batch(900, 1024, now_ms());
    let produces: Vec<_> = (0..PARTITIONS).map(|it| Request::produce("bulk", it, -1, &one)).collect();
    let count = (mebibytes << 20) / one.len();
    for number in 0..count {
        connection.ask(&produces[number % produces.len()], &mut buffer)?.produced()?;
    }
    server.kill()?;
    let recovered = server.start()?;
    let mut connection = Connection::open(server.port())?;
    for partition in 0..PARTITIONS {
        let expected =
            (count / produces.len() + usize::from((partition as usize) < count % produces.len())) * 900;
        let request = requests::fetch("bulk", partition, 0, 0);
        let limit = Instant::now() + LIMIT;
        loop {
            let (code, high_watermark, _) = requests::fetched(connection.ask(&request, &mut buffer)?)?;
            if code == 0 && high_watermark == expected as i64 {
                break;
            }
            if code == 0 || Instant::now() > limit {
                return Err(
                    format!("bulk-{partition}: error {code}, end {high_watermark}, not {expected}").into()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    server.stop()?;
    let scanned = (count * one.len()) as f64;
    let (read, time) = read_logs(&server.data())?;
    let work = recovered.saturating_sub(empty).max(Duration::from_millis(1));
    println!(
        "recovery of {:.0} MiB in {PARTITIONS} partitions: {} ms, of which an empty start is {} ms: {:.0} MiB/s; \
         plain reading of the same files: {:.0} MiB/s",
        scanned / MIB,
        recovered.as_millis(),
        empty.as_millis(),
        scanned / MIB / work.as_secs_f64(),
        read as f64 / MIB / time.as_secs_f64()
    );
    Ok(())
}

/// Reads every segment of `data` as it lies, on one thread; how much that was and how long it took.
fn read_logs(data: &Path) -> Outcome<(u64, Duration)> {
    let begin = Instant::now();
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    for folder in std::fs::read_dir(data)? {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(folder)? {
            let path = file?.path();
            if path.extension().is_some_and(|it| it == "log") {
                let mut file = std::fs::File::open(path)?;
                loop {
                    match file.read(&mut buffer)? {
                        0 => break,
                        len => total += len as u64,
                    }
                }
            }
        }
    }
    Ok((total, begin.elapsed()))
}
