//! What a server asks of its process: signals, descriptor limit, memory, CPU.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[cfg(test)]
mod tests;

/// Signals that ask the process to stop. Once made, they no longer end it by themselves.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

/// A signal that asks to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// `SIGTERM`.
    Terminate,
    /// `SIGINT`: Ctrl-C.
    Interrupt,
}

/// What the process uses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all threads since the process began.
    pub cpu: Duration,
    /// Memory in RAM.
    pub resident_bytes: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// Descriptors in use.
    pub open_descriptors: u64,
    /// Descriptors that may be in use.
    pub max_descriptors: u64,
}

impl StopSignals {
    /// Starts listening. Needs a tokio runtime.
    pub fn listen() -> io::Result<StopSignals> {
        Ok(StopSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal.
    pub async fn next(&mut self) -> StopSignal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => StopSignal::Terminate,
            _ = self.interrupt.recv() => StopSignal::Interrupt,
        }
    }
}

/// Raises the limit of open descriptors to the most that is allowed; gives that.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Keeps the kernel from backing memory with huge pages, which are two megabytes each however little of them is used.
/// Small as a server's memory is, they would make up most of it.
pub fn refuse_huge_pages() -> io::Result<()> {
    Ok(rustix::thread::disable_transparent_huge_pages(true)?)
}

/// The memory that this process may use: the computer's, or less if its control group says so.
pub fn memory_limit_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let mut limit = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
    // Version 2 of control groups, then version 1; `max` and absent files limit nothing.
    for path in ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"] {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        limit = text.trim().parse().map_or(limit, |group: u64| limit.min(group));
    }
    limit
}

/// What the process uses now.
pub fn usage() -> io::Result<Usage> {
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let mut pages = pages.split_ascii_whitespace().map(|it| it.parse::<u64>().unwrap_or(0));
    let page_bytes = rustix::param::page_size() as u64;
    let virtual_bytes = pages.next().unwrap_or(0).saturating_mul(page_bytes);
    let resident_bytes = pages.next().unwrap_or(0).saturating_mul(page_bytes);
    // The listing itself has one open.
    let open_descriptors = (std::fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1);
    Ok(Usage {
        cpu: Duration::new(cpu.tv_sec.unsigned_abs(), u32::try_from(cpu.tv_nsec).unwrap_or(0)),
        resident_bytes,
        virtual_bytes,
        open_descriptors,
        max_descriptors: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
    })
}
