//! `cargo xtask bench guard`: instructions per request under callgrind, held against those in `guard.toml`.
//!
//! They do not move with the load of the machine, so that a change that costs a few per cent is seen. Only the
//! server's own instructions count, not the kernel's. The server has one thread for its tasks (one core is given
//! to it), and one connection asks without anything under way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::target::{Maker, Target};
use super::work::groups::coordinator;
use super::work::{Server, create_topic};
use crate::load::groups::{self, Partitions};
use crate::load::protocol::{Answer, Connection, Position, Request, Sequence, batch, batch_of, now_ms};
use crate::load::transactions::{self, Identity};
use crate::workspace::Outcome;

/// What `cargo xtask bench guard` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Writes what was counted into `guard.toml` instead of comparing.
    #[arg(long)]
    update: bool,
    /// Keeps what callgrind wrote for each path in this folder, to be read with `callgrind_annotate`.
    #[arg(long)]
    profiles: Option<PathBuf>,
    /// An Ottla binary other than the workspace's release build.
    #[arg(long)]
    ottla: Option<PathBuf>,
}

/// How much more than what is written down is too much.
const TOLERANCE: f64 = 0.05;
const FILE: &str = "xtask/src/bench/guard.toml";
/// Requests before those that are counted: caches fill, buffers grow.
const WARM_UP: usize = 200;
const ROUNDS: usize = 300;
const COUNTS: usize = 5;
const DUMP_LIMIT: Duration = Duration::from_secs(60);

/// Counts, then compares or writes down.
pub fn run(arguments: &Arguments) -> Outcome {
    let counted = count(super::ottla(arguments.ottla.as_ref())?, arguments.profiles.clone())?;
    let path = crate::workspace::root().join(FILE);
    if arguments.update {
        let mut text = format!(
            "# Instructions per request, written by `cargo xtask bench guard --update` with {}.\n\n",
            compiler()?
        );
        counted.iter().for_each(|(name, it)| text += &format!("\"{name}\" = {it}\n"));
        return Ok(std::fs::write(path, text)?);
    }
    let text = std::fs::read_to_string(path)?;
    let known: BTreeMap<String, u64> = toml::from_str(&text)?;
    if !text.contains(&compiler()?) {
        println!("note: the numbers written down are of another compiler than {}", compiler()?);
    }
    let mut worse = Vec::new();
    for (name, now) in counted {
        let Some(before) = known.get(name) else {
            println!("{name:<32} {now:>9}  not written down yet");
            continue;
        };
        let change = now as f64 / *before as f64 - 1.0;
        println!("{name:<32} {now:>9}  {:+.1} %", change * 100.0);
        if change > TOLERANCE {
            worse.push(format!("{name} takes {now} instructions, {before} before"));
        }
    }
    if worse.is_empty() {
        return Ok(());
    }
    Err(format!("{}\nif that is worth it, run `cargo xtask bench guard --update`", worse.join("\n")).into())
}

fn compiler() -> Outcome<String> {
    let output = std::process::Command::new("rustc").arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A server under callgrind.
struct Counter {
    target: Target,
    dumps: usize,
    profiles: Option<PathBuf>,
    counts: Vec<(&'static str, u64)>,
}

fn count(binary: PathBuf, profiles: Option<PathBuf>) -> Outcome<Vec<(&'static str, u64)>> {
    if std::process::Command::new("valgrind").arg("--version").output().is_err() {
        return Err("valgrind is not there: install it with the system's package tool".into());
    }
    let mut target = Target::format(Maker::Ottla(binary), "log.retention.ms=-1")?;
    let out = format!("--callgrind-out-file={}", out_file(target.folder()).display());
    target.start_under(&["taskset", "-c", "0", "valgrind", "--tool=callgrind", &out])?;
    let mut counter = Counter { target, dumps: 0, profiles, counts: Vec::new() };
    records(&mut counter)?;
    members(&mut counter)?;
    transaction(&mut counter)?;
    // At the end: what is done now and then for each of so many logs would be counted with the others.
    metadata(&mut counter)?;
    Ok(counter.counts)
}

fn out_file(folder: &Path) -> PathBuf {
    folder.join("callgrind.out")
}

impl Counter {
    fn server(&self) -> Outcome<Server> {
        self.target.server()
    }

    fn last_dump(&self) -> PathBuf {
        let mut path = out_file(self.target.folder()).into_os_string();
        path.push(format!(".{}", self.dumps));
        path.into()
    }

    /// The server's instructions since the last call.
    fn instructions(&mut self) -> Outcome<u64> {
        let pid = self.server()?.pid.to_string();
        let mut control = std::process::Command::new("callgrind_control");
        let output = control.args(["--dump", &pid]).stdin(std::process::Stdio::null()).output()?;
        if !output.status.success() {
            return Err(format!("callgrind_control: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        self.dumps += 1;
        let path = self.last_dump();
        let end = Instant::now() + DUMP_LIMIT;
        loop {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if let Some(line) = text.lines().rev().find_map(|it| it.strip_prefix("totals: ")) {
                return Ok(line.trim().parse()?);
            }
            if Instant::now() > end {
                return Err(format!("callgrind wrote no totals into {}", path.display()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Counts what one round of `work` costs: the least of several counts, since others have what a timer did.
    fn per_round(&mut self, name: &'static str, mut work: impl FnMut() -> Outcome) -> Outcome {
        for _ in 0..WARM_UP {
            work()?;
        }
        self.instructions()?;
        let mut least = u64::MAX;
        for _ in 0..COUNTS {
            for _ in 0..ROUNDS {
                work()?;
            }
            least = least.min(self.instructions()? / ROUNDS as u64);
        }
        self.counts.push((name, least));
        if let Some(folder) = &self.profiles {
            std::fs::create_dir_all(folder)?;
            let file = name.replace([' ', ','], "-").replace("--", "-") + ".out";
            std::fs::copy(self.last_dump(), folder.join(file))?;
        }
        Ok(())
    }

    /// Counts what a request costs that is asked again and again.
    fn per_request(
        &mut self,
        name: &'static str,
        request: &Request,
        check: fn(Answer<'_>) -> Outcome,
    ) -> Outcome {
        let mut connection = Connection::open(self.server()?.port)?;
        let mut buffer = Vec::new();
        self.per_round(name, || check(connection.ask(request, &mut buffer)?))
    }
}

fn records(counter: &mut Counter) -> Outcome {
    create_topic(counter.server()?, "small", 1)?;
    create_topic(counter.server()?, "large", 1)?;
    let produced = |answer: Answer<'_>| answer.produced().map(drop);
    let fetched = |answer: Answer<'_>| match answer.fetched()?.iter().all(|it| !it.records.is_empty()) {
        true => Ok(()),
        false => Err("a fetch brought nothing".into()),
    };
    let small = Request::produce("small", 0, -1, &batch(1, 100, now_ms()));
    counter.per_request("produce, one record of 100 B", &small, produced)?;
    let large = Request::produce("large", 0, -1, &batch(100, 1024, now_ms()));
    counter.per_request("produce, 100 records of 1 KiB", &large, produced)?;
    let from = [Position { partition: 0, offset: 700 }];
    let one = Request::fetch("small", &from, 500, 1);
    counter.per_request("fetch, one batch of 100 B", &one, fetched)?;
    let many = Request::fetch("large", &from, 500, 1);
    counter.per_request("fetch, one batch of 100 KiB", &many, fetched)
}

fn metadata(counter: &mut Counter) -> Outcome {
    let any = |answer: Answer<'_>| match answer.led_partitions()? {
        0 => Err("no partition has a leader".into()),
        _ => Ok(()),
    };
    counter.per_request("metadata, 1 partition", &Request::metadata("small"), any)?;
    create_topic(counter.server()?, "wide", 1000)?;
    counter.per_request("metadata, 1,000 partitions", &Request::metadata("wide"), any)
}

fn zero(what: &str, code: i16) -> Outcome {
    match code {
        0 => Ok(()),
        code => Err(format!("{what}: error {code}").into()),
    }
}

fn members(counter: &mut Counter) -> Outcome {
    let server = counter.server()?;
    coordinator(server, "guarded", 0)?;
    let mut connection = Connection::open(server.port)?;
    let mut buffer = Vec::new();
    let mut name = String::new();
    let joined = loop {
        let request = groups::join("guarded", &name, "small");
        let joined = groups::joined(connection.ask(&request, &mut buffer)?)?;
        if joined.code == 0 {
            break joined;
        }
        name.clone_from(&joined.member);
        std::thread::sleep(Duration::from_millis(20)); // the coordinator may still be loading
    };
    let request = groups::sync(&joined, "guarded", "small", 1);
    zero("SyncGroup", groups::synced(connection.ask(&request, &mut buffer)?)?.0)?;
    let beat = groups::heartbeat("guarded", joined.generation, &joined.member);
    let beaten = |answer: Answer<'_>| zero("Heartbeat", groups::beaten(answer)?);
    counter.per_request("heartbeat, classic", &beat, beaten)?;

    let owned = Partitions::new();
    let mut report = |epoch, topic, owned| {
        let request = groups::consumer_heartbeat("guarded-too", "member", epoch, topic, owned);
        groups::reported(connection.ask(&request, &mut buffer)?)
    };
    let mut epoch = report(0, Some("small"), Some(&owned))?;
    let end = Instant::now() + Duration::from_secs(30);
    while epoch.assigned.is_none() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
        epoch = report(epoch.epoch, None, None)?;
    }
    report(epoch.epoch, None, epoch.assigned.as_ref())?;
    let beat = groups::consumer_heartbeat("guarded-too", "member", epoch.epoch, None, None);
    let reported = |answer: Answer<'_>| zero("ConsumerGroupHeartbeat", groups::reported(answer)?.code);
    counter.per_request("heartbeat, consumer", &beat, reported)?;

    let commit = groups::commit("guarded-third", "small", 0, 5);
    let committed = |answer: Answer<'_>| zero("OffsetCommit", groups::committed(answer)?);
    counter.per_request("offset commit", &commit, committed)
}

/// Produce and EndTxn, and all that the coordinator does for them.
fn transaction(counter: &mut Counter) -> Outcome {
    let server = counter.server()?;
    coordinator(server, "guarded", 1)?;
    let mut connection = Connection::open(server.port)?;
    let mut buffer = Vec::new();
    let mut ask = |request: &Request, read: fn(Answer<'_>) -> Outcome<(i16, Identity)>| loop {
        match read(connection.ask(request, &mut buffer)?)? {
            (0, identity) => return Ok::<_, Box<dyn std::error::Error>>(identity),
            (51 | 14 | 15 | 16, _) => std::thread::sleep(Duration::from_millis(1)),
            (code, _) => return Err(format!("a transaction: error {code}").into()),
        }
    };
    let mut identity = ask(&transactions::init("guarded", 60_000), transactions::initialized)?;
    counter.per_round("transaction of one record", || {
        let Identity { id, epoch } = identity;
        let sequence = Sequence { producer_id: id, producer_epoch: epoch, base_sequence: 0 };
        let mut batch = batch_of(&[vec![b'x'; 100]], now_ms(), sequence);
        crate::load::protocol::mark_transactional(&mut batch);
        let produce = transactions::produce("guarded", "small", 0, &batch);
        let nobody = |answer: Answer<'_>| Ok((transactions::produced(answer)?, Identity { id: 0, epoch: 0 }));
        ask(&produce, nobody)?;
        identity = ask(&transactions::end("guarded", identity, true), transactions::ended)?;
        Ok(())
    })
}
