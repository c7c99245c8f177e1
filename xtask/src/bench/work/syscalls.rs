//! How many system calls a request costs the server, counted by strace.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::members::{Group, Protocol};
use super::throughput::{PARTITIONS, consume_all, fill, produce_pipelined};
use super::{Figure, Server, create_topic, figure, groups};
use crate::load::protocol::{Connection, Position, Request, batch, now_ms};
use crate::workspace::Outcome;

const REQUESTS: usize = 2_000;
const START_LIMIT: Duration = Duration::from_secs(10);

/// Produces, fetches, beats and transfers under strace; nothing where strace may not look.
pub fn system_calls(server: Server, folder: &Path) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    create_topic(server, "traced", 1)?;
    let small = [Request::produce("traced", 0, -1, &batch(1, 100, now_ms()))];
    let one_by_one = || produce_pipelined(server, &small, REQUESTS, 1);
    one_by_one()?;
    figures.extend(traced(server, folder, "produce of one record", REQUESTS as f64, one_by_one)?);
    let at_once = || produce_pipelined(server, &small, REQUESTS, 64);
    figures.extend(traced(server, folder, "produce of one record, 64 at once", REQUESTS as f64, at_once)?);
    let fetch = || {
        let mut connection = Connection::open(server.port)?;
        let mut buffer = Vec::new();
        for offset in 0..REQUESTS as i64 {
            let position = Position { partition: 0, offset };
            connection.ask(&Request::fetch("traced", &[position], 500, 1), &mut buffer)?.fetched()?;
        }
        Ok(())
    };
    figures.extend(traced(server, folder, "fetch of one record", REQUESTS as f64, fetch)?);

    let (records, bytes) = fill(server, "traced-large", 256 << 20)?;
    let again = || fill(server, "traced-larger", 256 << 20).map(drop);
    figures.extend(traced(server, folder, "MiB produced in large batches", bytes / super::MIB, again)?);
    let read = || consume_all(server, "traced-large", PARTITIONS, records).map(drop);
    figures.extend(traced(server, folder, "MiB consumed", bytes / super::MIB, read)?);

    groups::coordinator(server, "traced", 0)?;
    create_topic(server, "traced-by-100", 100)?;
    let group = Group::join(server, Protocol::Classic, "traced", "traced-by-100", 100)?;
    group.stable()?;
    group.beat_every(Duration::from_millis(100));
    let mut beats = 0;
    let beat = || {
        let before = group.beats();
        std::thread::sleep(Duration::from_secs(2));
        beats = group.beats() - before;
        Ok(())
    };
    let counted = traced(server, folder, "heartbeat", 1.0, beat)?;
    figures.extend(counted.into_iter().map(|it| figure(it.name, it.value / beats as f64)));
    group.leave()?;
    Ok(figures)
}

/// Counts while `work` runs, and divides by how many `units` it has.
fn traced(
    server: Server,
    folder: &Path,
    unit: &str,
    units: f64,
    work: impl FnOnce() -> Outcome,
) -> Outcome<Vec<Figure>> {
    let path = folder.join("strace.out");
    let Some(strace) = attach(server, &path)? else {
        work()?;
        return Ok(Vec::new());
    };
    let done = work();
    let counts = detach(strace, &path)?;
    done?;
    let all: u64 = counts.values().sum();
    let mut most: Vec<_> = counts.iter().collect();
    most.sort_by_key(|it| std::cmp::Reverse(it.1));
    let named: Vec<_> =
        most.iter().take(6).map(|(name, count)| format!("{name} {:.2}", **count as f64 / units)).collect();
    eprintln!("{unit}: {}", named.join(", "));
    Ok(vec![figure(format!("system calls per {unit}"), all as f64 / units)])
}

/// Nothing if strace is not there or may not look at the server.
fn attach(server: Server, path: &Path) -> Outcome<Option<Child>> {
    let log = path.with_extension("log");
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-p", &server.pid.to_string(), "-o"]).arg(path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log)?);
    let Ok(mut strace) = command.spawn() else {
        eprintln!("note: system calls are not counted: there is no strace");
        return Ok(None);
    };
    let end = Instant::now() + START_LIMIT;
    while !std::fs::read_to_string(&log)?.contains(" attached") {
        if strace.try_wait()?.is_some() || Instant::now() > end {
            eprintln!("note: system calls are not counted: {}", std::fs::read_to_string(&log)?.trim());
            strace.kill()?;
            strace.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // It attaches to one thread after the other.
    std::thread::sleep(Duration::from_millis(300));
    Ok(Some(strace))
}

fn detach(mut strace: Child, path: &Path) -> Outcome<BTreeMap<String, u64>> {
    crate::command::show_nothing("kill", &["-INT", &strace.id().to_string()])?;
    strace.wait()?;
    Ok(counts(&std::fs::read_to_string(path)?))
}

/// The calls by name in what `strace -c` writes.
fn counts(text: &str) -> BTreeMap<String, u64> {
    let rows = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = *words.last()?;
        (name != "total").then_some((name.to_owned(), words.get(3)?.parse().ok()?))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn calls_are_read_from_a_summary() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n \
                    60.00    0.000600           1       600           epoll_wait\n \
                    40.00    0.000400           1       400        12 recvfrom\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.001000           1      1000        12 total\n";
        let found = counts(text);
        assert_eq!(found.get("epoll_wait"), Some(&600));
        assert_eq!(found.get("recvfrom"), Some(&400));
        assert_eq!(found.len(), 2);
    }
}
