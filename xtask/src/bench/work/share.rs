//! A share group of fifty members that takes and accepts records as fast as it can.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::groups::coordinator;
use super::members::is_passing;
use super::throughput::{IN_FLIGHT, produce_pipelined};
use super::{Figure, Server, Usage, create_topic, figure, in_parallel};
use crate::load::groups::{self, Partitions, Reported};
use crate::load::protocol::{Connection, Request, batch, now_ms};
use crate::load::share::{self, Acquired};
use crate::workspace::Outcome;

/// What lets fifty members be one group.
pub const SETTINGS: &str = "group.share.assignment.interval.ms=0";

const MEMBERS: usize = 50;
const PARTITIONS: i32 = 10;
const RECORDS_PER_BATCH: usize = 100;
const RECORD_BYTES: usize = 1024;
const INVALID_SHARE_SESSION: i16 = 123;
const SHARE_SESSION_NOT_FOUND: i16 = 122;
const SESSION_LIMIT: i16 = 133;
const LIMIT: Duration = Duration::from_secs(180);
const BEAT: Duration = Duration::from_secs(2);

/// Produces `records` and lets fifty members take them all; `round` keeps runs on one server apart.
pub fn share_group(server: Server, round: &str, records: u64) -> Outcome<Vec<Figure>> {
    let (topic, group) = (format!("shared-{round}"), format!("sharing-{round}"));
    create_topic(server, &topic, PARTITIONS)?;
    let mut setter = Connection::open(server.port)?;
    let mut buffer = Vec::new();
    setter.ask(&share::begin_with_the_oldest(&group), &mut buffer)?;
    coordinator(server, &group, 0)?;

    let one = batch(RECORDS_PER_BATCH, RECORD_BYTES, now_ms());
    let requests: Vec<Request> = (0..PARTITIONS).map(|it| Request::produce(&topic, it, -1, &one)).collect();
    let count = records as usize / RECORDS_PER_BATCH;
    produce_pipelined(server, &requests, count, IN_FLIGHT)?;
    let records = (count * RECORDS_PER_BATCH) as u64;

    let (usage, begin, accepted) = (Usage::start(server)?, Instant::now(), AtomicU64::new(0));
    let last = in_parallel(MEMBERS, |index| {
        let mut member = Member::join(server, &group, &topic, index)?;
        let mut last = Duration::ZERO;
        while accepted.load(Ordering::Relaxed) < records {
            if begin.elapsed() > LIMIT {
                let taken = accepted.load(Ordering::Relaxed);
                return Err(format!("only {taken} of {records} records were taken").into());
            }
            let taken = member.take()?;
            if taken > 0 {
                accepted.fetch_add(taken, Ordering::Relaxed);
                last = begin.elapsed();
            }
        }
        member.leave()?;
        Ok(last)
    })?;
    let cost = usage.cpu_seconds()?;
    // Not until the last member is back from waiting for more.
    let seconds = last.into_iter().max().unwrap_or_default().as_secs_f64();
    Ok(vec![
        figure("share group of 50, records/s", records as f64 / seconds),
        figure("share group of 50, broker CPU-µs per record", cost * 1e6 / records as f64),
    ])
}

struct Member<'a> {
    connection: Connection,
    buffer: Vec<u8>,
    group: &'a str,
    name: String,
    epoch: i32,
    assigned: Partitions,
    /// What the session on the server knows already.
    in_session: Partitions,
    session_epoch: i32,
    held: Acquired,
    next_beat: Instant,
}

impl<'a> Member<'a> {
    fn join(server: Server, group: &'a str, topic: &str, index: usize) -> Outcome<Member<'a>> {
        let mut member = Member {
            connection: Connection::open(server.port)?,
            buffer: Vec::new(),
            group,
            // 16 bytes in Kafka's base64, as the server wants names of share members.
            name: format!("AAAAAAAAAAAAAAAAAA{index:02}AA"),
            epoch: 0,
            assigned: Partitions::new(),
            in_session: Partitions::new(),
            session_epoch: 0,
            held: Acquired::new(),
            next_beat: Instant::now(),
        };
        while member.assigned.is_empty() {
            member.beat(Some(topic))?;
            if member.assigned.is_empty() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(member)
    }

    fn beat(&mut self, topic: Option<&str>) -> Outcome {
        let request = groups::share_heartbeat(self.group, &self.name, self.epoch, topic);
        let Reported { code, epoch, assigned } =
            groups::reported(self.connection.ask(&request, &mut self.buffer)?)?;
        match code {
            0 => {
                self.epoch = epoch;
                self.assigned = assigned.unwrap_or_else(|| std::mem::take(&mut self.assigned));
                self.next_beat = Instant::now() + BEAT;
                Ok(())
            }
            code if is_passing(code) => {
                std::thread::sleep(Duration::from_millis(5));
                Ok(())
            }
            code => Err(format!("ShareGroupHeartbeat: error {code}").into()),
        }
    }

    /// Accepts what it holds and takes more; returns how many records were accepted.
    fn take(&mut self) -> Outcome<u64> {
        if Instant::now() >= self.next_beat {
            self.beat(None)?;
        }
        if self.session_epoch != 0 && self.assigned != self.in_session {
            return self.end_session();
        }
        // The first request of a session names all partitions, the others only where something is accepted.
        let named = match self.session_epoch {
            0 => self.assigned.clone(),
            _ => named_by(&self.held),
        };
        let held = std::mem::take(&mut self.held);
        let request = share::fetch(self.group, &self.name, self.session_epoch, &named, &held);
        let fetched = share::fetched(self.connection.ask(&request, &mut self.buffer)?)?;
        match fetched.code {
            0 => {}
            INVALID_SHARE_SESSION | SHARE_SESSION_NOT_FOUND => {
                self.session_epoch = 0;
                return Ok(0);
            }
            SESSION_LIMIT => {
                std::thread::sleep(Duration::from_millis(10));
                return Ok(0);
            }
            code => return Err(format!("ShareFetch: error {code}").into()),
        }
        if self.session_epoch == 0 {
            self.in_session.clone_from(&self.assigned);
        }
        self.session_epoch += 1;
        if !fetched.acquired.is_empty() && fetched.bytes == 0 {
            return Err("records were acquired but not sent".into());
        }
        self.held = fetched.acquired;
        Ok(count(&held))
    }

    /// Ends the session and accepts what is held; returns how many records that were.
    fn end_session(&mut self) -> Outcome<u64> {
        let held = std::mem::take(&mut self.held);
        let request = share::fetch(self.group, &self.name, -1, &named_by(&held), &held);
        let fetched = share::fetched(self.connection.ask(&request, &mut self.buffer)?)?;
        self.session_epoch = 0;
        match fetched.code {
            0 => Ok(count(&held)),
            code => Err(format!("ShareFetch at the end of a session: error {code}").into()),
        }
    }

    fn leave(&mut self) -> Outcome {
        self.end_session()?;
        self.epoch = -1;
        self.beat(None)
    }
}

fn count(held: &Acquired) -> u64 {
    held.iter().map(|(_, _, first, last)| (last - first + 1) as u64).sum()
}

/// The partitions of which something is held.
fn named_by(held: &Acquired) -> Partitions {
    let mut named = Partitions::new();
    for (topic, partition, _, _) in held {
        match named.iter_mut().find(|it| it.0 == *topic) {
            Some((_, partitions)) if partitions.contains(partition) => {}
            Some((_, partitions)) => partitions.push(*partition),
            None => named.push((*topic, vec![*partition])),
        }
    }
    named
}
