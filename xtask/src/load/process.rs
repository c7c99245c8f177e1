//! What the kernel knows of a server's process, and of the machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::workspace::Outcome;

/// The kernel's clock ticks per second in `/proc` (`USER_HZ`), fixed on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time that a process has used, in seconds.
pub fn cpu_seconds(pid: u32) -> Outcome<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name stands in parentheses and may hold anything; fields count from behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|it| it.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).ok_or("/proc/<pid>/stat has no times")?;
    Ok((user + system) / TICKS_PER_SECOND)
}

/// Processor time that each thread of a process has used, in seconds, by the thread's id.
pub fn thread_cpu_seconds(pid: u32) -> Outcome<BTreeMap<u32, f64>> {
    let mut threads = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = entry?.path();
        // A thread may end between the two looks.
        let Ok(text) = std::fs::read_to_string(path.join("schedstat")) else { continue };
        let nanos: Option<f64> = text.split_whitespace().next().and_then(|it| it.parse().ok());
        let id = path.file_name().and_then(|it| it.to_str()).and_then(|it| it.parse().ok());
        threads.extend(id.zip(nanos.map(|it| it / 1e9)));
    }
    Ok(threads)
}

/// Resident memory of a process, in bytes.
pub fn resident_bytes(pid: u32) -> Outcome<u64> {
    status_kib(pid, "VmRSS:").map(|it| it * 1024)
}

/// The most resident memory that a process ever had, in bytes.
pub fn peak_resident_bytes(pid: u32) -> Outcome<u64> {
    status_kib(pid, "VmHWM:").map(|it| it * 1024)
}

/// Bytes that a process has had read from the disk, not from memory.
pub fn bytes_from_disk(pid: u32) -> Outcome<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = text.lines().find_map(|it| it.strip_prefix("read_bytes:"));
    Ok(line.ok_or("/proc/<pid>/io has no such line")?.trim().parse()?)
}

/// How many descriptors a process has open.
pub fn open_files(pid: u32) -> Outcome<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn status_kib(pid: u32, name: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line =
        status.lines().find_map(|it| it.strip_prefix(name)).ok_or("/proc/<pid>/status has no such line")?;
    Ok(line.split_whitespace().next().ok_or("an empty line")?.parse()?)
}

/// Writes all dirty pages: what is measured then has the machine for itself.
pub fn settle() -> Outcome {
    crate::command::show_nothing("sync", &[])
}

/// Writes all dirty pages and throws the page cache away; needs the rights of root.
pub fn drop_caches() -> Outcome {
    settle()?;
    Ok(std::fs::write("/proc/sys/vm/drop_caches", "1")?)
}

/// Bytes of the machine's page cache that wait to be written.
fn dirty_bytes() -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line =
        text.lines().find_map(|it| it.strip_prefix("Dirty:")).ok_or("/proc/meminfo has no such line")?;
    Ok(line.split_whitespace().next().ok_or("an empty line")?.parse::<u64>()? * 1024)
}

/// Looks now and then how much of the machine's memory waits to be written.
pub struct DirtyMeter {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: std::thread::JoinHandle<Result<u64, String>>,
}

impl DirtyMeter {
    /// Begins to look on a thread of its own.
    pub fn start() -> DirtyMeter {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut most = 0;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                most = most.max(dirty_bytes().map_err(|it| it.to_string())?);
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(most)
        });
        DirtyMeter { stop, thread }
    }

    /// The most that was seen, in bytes.
    pub fn finish(self) -> Outcome<f64> {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(self.thread.join().map_err(|_| "the meter panicked")?? as f64)
    }
}

/// How long a sleep of a millisecond must take to count as a stall of the machine.
const STALL: Duration = Duration::from_millis(6);
/// How much around a stall is left out with it.
const STALL_MARGIN: Duration = Duration::from_millis(25);

/// Notes when the machine itself stood still, so that its stalls are not taken for the server's.
pub struct StallMeter {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: std::thread::JoinHandle<Vec<(Instant, Instant)>>,
}

impl StallMeter {
    /// Begins to watch on a thread of its own.
    pub fn start() -> StallMeter {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut stalls = Vec::new();
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                let begin = Instant::now();
                std::thread::sleep(Duration::from_millis(1));
                if begin.elapsed() > STALL {
                    stalls.push((begin - STALL_MARGIN, Instant::now() + STALL_MARGIN));
                }
            }
            stalls
        });
        StallMeter { stop, thread }
    }

    /// The spans in which the machine stood still, with a margin.
    pub fn finish(self) -> Stalls {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        Stalls { spans: self.thread.join().unwrap_or_default() }
    }
}

/// Spans in which the machine stood still.
pub struct Stalls {
    /// In the order of time.
    spans: Vec<(Instant, Instant)>,
}

impl Stalls {
    /// Whether anything between two moments falls into a stall.
    pub fn touch(&self, begin: Instant, end: Instant) -> bool {
        let over = self.spans.partition_point(|(_, last)| *last < begin);
        self.spans.get(over).is_some_and(|(first, _)| *first <= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_times_and_memory() {
        let pid = std::process::id();
        assert!(cpu_seconds(pid).is_ok());
        assert!(thread_cpu_seconds(pid).is_ok_and(|it| it.contains_key(&pid)));
        assert!(resident_bytes(pid).is_ok_and(|it| it > 1 << 20));
        assert!(peak_resident_bytes(pid).is_ok_and(|it| it > 1 << 20));
        assert!(bytes_from_disk(pid).is_ok());
        assert!(open_files(pid).is_ok_and(|it| it >= 3));
    }

    #[test]
    fn a_sample_beside_a_stall_is_kept() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let stalls = Stalls { spans: vec![(now + second, now + 2 * second)] };
        assert!(stalls.touch(now, now + 3 * second));
        assert!(stalls.touch(now + second, now + second));
        assert!(!stalls.touch(now, now + second / 2));
        assert!(!stalls.touch(now + 3 * second, now + 4 * second));
    }
}
