//! The workloads: each drives one running server and returns the figures it is about.
//!
//! | file | holds |
//! |---|---|
//! | `throughput` | producing and consuming as fast as possible |
//! | `matrix` | producing in every shape and codec |
//! | `rate` | requests at a fixed rate, and how long each takes |
//! | `members`, `groups` | members of groups; how they form, beat and commit |
//! | `share` | a share group |
//! | `transactions` | transactional producers |
//! | `many` | many partitions, topics that come and go, idle connections |
//! | `compaction` | a compacted log that is cleaned |
//! | `tier` | segments that go to tiered storage and are read from there |
//! | `files` | what is in a server's data directory |
//! | `syscalls` | system calls per request |

pub mod compaction;
pub mod files;
pub mod groups;
pub mod many;
pub mod matrix;
pub mod members;
pub mod rate;
pub mod share;
pub mod syscalls;
pub mod throughput;
pub mod tier;
pub mod transactions;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::load::process;
use crate::load::protocol::{Connection, Position, Request, batch, now_ms};
use crate::workspace::Outcome;

/// A server under measurement.
#[derive(Clone, Copy)]
pub struct Server {
    /// Its port on loopback.
    pub port: u16,
    /// Its process.
    pub pid: u32,
}

/// One named number.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it is, with its unit last.
    pub name: String,
    /// The number.
    pub value: f64,
}

/// Ten thousand partitions take a while.
const LEADERS_LIMIT: Duration = Duration::from_secs(300);

/// Bytes in a MiB.
pub const MIB: f64 = 1024.0 * 1024.0;
/// Bytes in a GB.
pub const GB: f64 = 1e9;

/// A named number.
pub fn figure(name: impl Into<String>, value: f64) -> Figure {
    Figure { name: name.into(), value }
}

/// What a server uses from a moment on.
pub struct Usage {
    pid: u32,
    seconds: f64,
    threads: BTreeMap<u32, f64>,
}

impl Usage {
    /// Begins to count.
    pub fn start(server: Server) -> Outcome<Usage> {
        let pid = server.pid;
        Ok(Usage { pid, seconds: process::cpu_seconds(pid)?, threads: process::thread_cpu_seconds(pid)? })
    }

    /// Processor time used since then. A thread's is known to the nanosecond, but only while it is there; if one has
    /// ended, the whole process's is taken, which the kernel tells in hundredths of seconds.
    pub fn cpu_seconds(&self) -> Outcome<f64> {
        let now = process::thread_cpu_seconds(self.pid)?;
        if self.threads.keys().all(|it| now.contains_key(it)) {
            return Ok(now.values().sum::<f64>() - self.threads.values().sum::<f64>());
        }
        Ok(process::cpu_seconds(self.pid)? - self.seconds)
    }
}

/// Runs the same work on several threads and returns what each came to, or one's error.
pub fn in_parallel<T: Send>(threads: usize, work: impl Fn(usize) -> Outcome<T> + Sync) -> Outcome<Vec<T>> {
    let work = &work;
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|index| scope.spawn(move || work(index).map_err(|error| error.to_string())))
            .collect();
        let ended: Vec<_> = running.into_iter().map(|it| it.join()).collect();
        ended.into_iter().map(|it| Ok(it.map_err(|_| "a thread of the load panicked")??)).collect()
    })
}

/// Makes a topic and waits until all its partitions have a leader.
pub fn create_topic(server: Server, topic: &str, partitions: i32) -> Outcome {
    create_topic_with(server, topic, partitions, &[])
}

/// The same with settings.
pub fn create_topic_with(server: Server, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> Outcome {
    let mut connection = Connection::open(server.port)?;
    let mut buffer = Vec::new();
    let request = Request::create_topics_with(&[topic.to_owned()], partitions, configs);
    connection.ask(&request, &mut buffer)?.created()?;
    wait_for_leaders(&mut connection, topic, partitions as usize)
}

/// Waits until all partitions of a topic can be read from.
pub fn wait_for_leaders(connection: &mut Connection, topic: &str, partitions: usize) -> Outcome {
    let mut buffer = Vec::new();
    let end = Instant::now() + LEADERS_LIMIT;
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
