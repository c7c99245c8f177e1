//! A transactional producer: some records in some partitions and an offset, then a commit or an abort; and after any
//! doubt the same request again, or another beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::ledger::{Ending, Entry, Transaction};
use super::{PARTITIONS, TIMEOUT_MS, TOPIC};
use crate::chaos::random::Random;
use crate::load::protocol::{Answer, Connection, Request, Sequence, batch_of, mark_transactional, now_ms};
use crate::load::transactions::{self as requests, Identity};
use crate::workspace::Outcome;

/// Loading, not available, not the coordinator, concurrent, too few replicas, not there yet, not the leader.
const CURED_BY_RETRY: [i16; 9] = [14, 15, 16, 51, 19, 3, 5, 6, 7];
/// Fenced, or what it has begun is over: it begins again.
const CURED_BY_BEGINNING: [i16; 5] = [47, 48, 49, 90, 120];
/// How long one thing is tried.
const PATIENCE: Duration = Duration::from_secs(60);

/// A producer and all it knows.
pub struct Writer {
    index: u8,
    port: u16,
    random: Random,
    connection: Option<Connection>,
    identity: Option<Identity>,
    sequences: BTreeMap<i32, i32>,
    /// Its transactions, by number.
    pub transactions: Vec<Transaction>,
    /// Things that must never happen.
    pub anomalies: Vec<String>,
}

/// Why a transaction does not go on.
enum Halt {
    /// The producer begins again.
    Begin,
    /// It must not be.
    Wrong(String),
}

impl Writer {
    /// A producer that has done nothing.
    pub fn new(index: u8, port: u16, random: Random) -> Writer {
        Writer {
            index,
            port,
            random,
            connection: None,
            identity: None,
            sequences: BTreeMap::new(),
            transactions: Vec::new(),
            anomalies: Vec::new(),
        }
    }

    /// Its transactional id.
    fn id(&self) -> String {
        format!("writer-{}", self.index)
    }

    /// Its group.
    pub fn group(index: u8) -> String {
        format!("group-{index}")
    }

    /// Writes until told to stop.
    pub fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) && self.anomalies.is_empty() {
            match self.transaction() {
                Ok(()) => {}
                Err(Halt::Begin) => self.identity = None,
                Err(Halt::Wrong(text)) => self.anomalies.push(format!("writer {}: {text}", self.index)),
            }
        }
    }

    /// One transaction, from its beginning to its end.
    fn transaction(&mut self) -> Result<(), Halt> {
        let mut identity = self.begin()?;
        let number = self.transactions.len() as u64;
        self.transactions.push(Transaction {
            acknowledged: BTreeSet::new(),
            has_offset: false,
            ending: Ending::Never,
        });
        let count = 1 + self.random.below(4) as u8;
        for place in 0..count {
            let entry = Entry { producer: self.index, transaction: number, place };
            self.write(identity, entry)?;
            self.last().acknowledged.insert(entry);
        }
        if self.random.chance(70) {
            // Whether it is in the transaction is known only once it is answered.
            let request = requests::commit_offset(
                &self.id(),
                &Self::group(self.index),
                identity,
                (TOPIC, 0),
                number as i64,
            );
            self.insist(&request, |answer| Ok((requests::offset_committed(answer)?, ())))?;
            self.last().has_offset = true;
        }
        let commit = self.random.chance(75);
        self.last().ending = if commit { Ending::MayBeCommitted } else { Ending::Aborted };
        let request = requests::end(&self.id(), identity, commit);
        let next = self.insist(&request, requests::ended)?;
        if commit {
            self.last().ending = Ending::Committed;
        }
        if next.id != identity.id && next.epoch != 0 || next.id == identity.id && next.epoch <= identity.epoch
        {
            return Err(Halt::Wrong(format!("{identity:?} was followed by {next:?}")));
        }
        identity = next;
        self.identity = Some(identity);
        self.sequences.clear();
        Ok(())
    }

    fn last(&mut self) -> &mut Transaction {
        let last = self.transactions.len() - 1;
        &mut self.transactions[last]
    }

    fn begin(&mut self) -> Result<Identity, Halt> {
        if let Some(identity) = self.identity {
            return Ok(identity);
        }
        let request = requests::init(&self.id(), TIMEOUT_MS);
        let identity = self.insist(&request, requests::initialized)?;
        self.sequences.clear();
        self.identity = Some(identity);
        Ok(identity)
    }

    fn write(&mut self, identity: Identity, entry: Entry) -> Result<(), Halt> {
        let partition = self.random.below(PARTITIONS as u64) as i32;
        let base_sequence = self.sequences.get(&partition).copied().unwrap_or(0);
        let sequence = Sequence { producer_id: identity.id, producer_epoch: identity.epoch, base_sequence };
        let mut batch = batch_of(&[entry.bytes()], now_ms(), sequence);
        mark_transactional(&mut batch);
        let request = requests::produce(&self.id(), TOPIC, partition, &batch);
        self.insist(&request, |answer| Ok((requests::produced(answer)?, ())))?;
        self.sequences.insert(partition, base_sequence + 1);
        Ok(())
    }

    /// Sends a request again and again until it is answered for good. Now and then a lost connection is reason enough to
    /// begin again.
    fn insist<T>(
        &mut self,
        request: &Request,
        read: impl Fn(Answer<'_>) -> Outcome<(i16, T)>,
    ) -> Result<T, Halt> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.ask(request, &read) {
                Ok((0, answer)) => return Ok(answer),
                Ok((code, _)) if CURED_BY_BEGINNING.contains(&code) => return Err(Halt::Begin),
                Ok((code, _)) if CURED_BY_RETRY.contains(&code) => {}
                Ok((code, _)) => return Err(Halt::Wrong(format!("a request was refused with error {code}"))),
                Err(_) => {
                    self.connection = None;
                    if self.random.chance(15) {
                        return Err(Halt::Begin);
                    }
                }
            }
            if Instant::now() > until {
                return Err(Halt::Wrong("a request is not answered for good".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn ask<T>(
        &mut self,
        request: &Request,
        read: &impl Fn(Answer<'_>) -> Outcome<(i16, T)>,
    ) -> Outcome<(i16, T)> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let connection = Connection::open(self.port)?;
                connection.set_patience(Duration::from_secs(40))?;
                self.connection.insert(connection)
            }
        };
        let mut buffer = Vec::new();
        read(connection.ask(request, &mut buffer)?)
    }
}
