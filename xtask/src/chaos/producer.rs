//! An idempotent producer as Kafka's: five requests in flight, and after any doubt the same batches again with
//! the same sequence numbers, in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::history::Value;
use super::random::Random;
use super::requests::{self, Produced};
use crate::load::protocol::{Answer, Connection, Sequence, batch_of, now_ms};
use crate::workspace::Outcome;

const IN_FLIGHT: usize = 5;
/// How often a batch may be refused with an error that a retry can cure.
const REFUSALS: u32 = 500;

const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
/// Not there yet, no leader yet, not the leader, timed out, storage being opened, throttled and the like.
const CURED_BY_RETRY: [i16; 9] = [3, 5, 6, 7, 9, 13, 19, 20, 56];

/// A producer and all it knows.
pub struct Producer {
    index: u8,
    port: u16,
    random: Random,
    identity: Option<(i64, i16)>,
    lanes: Vec<Lane>,
    /// The life that the server is in. What is heard on a connection counts only while that is the one in which it was
    /// opened.
    life: Arc<AtomicU64>,
    /// The life in which the present connection was opened.
    opened_in: u64,
    /// Things that must never happen.
    pub anomalies: Vec<String>,
}

/// A producer's way into one partition.
pub struct Lane {
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// How many values were sent.
    pub sent: u64,
    /// What was acknowledged.
    pub acknowledged: Vec<(Option<i64>, Vec<Value>)>,
    waiting: VecDeque<Pending>,
    /// How many of the waiting batches the present connection has seen refused.
    refused: usize,
}

struct Pending {
    values: Vec<Value>,
    bytes: Vec<u8>,
    refusals: u32,
}

impl Producer {
    /// A producer of these partitions.
    pub fn new(index: u8, port: u16, random: Random, partitions: &[(String, i32)]) -> Producer {
        let lane = |(topic, partition): &(String, i32)| Lane {
            topic: topic.clone(),
            partition: *partition,
            sent: 0,
            acknowledged: Vec::new(),
            waiting: VecDeque::new(),
            refused: 0,
        };
        let lanes = partitions.iter().map(lane).collect();
        Producer {
            index,
            port,
            random,
            identity: None,
            lanes,
            life: Arc::default(),
            opened_in: 0,
            anomalies: Vec::new(),
        }
    }

    /// Answers on a connection count only until `life` moves.
    pub fn living_by(mut self, life: &Arc<AtomicU64>) -> Producer {
        self.life = life.clone();
        self
    }

    /// Its lanes, in the order of the partitions it was made with.
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// The identifier that it was given.
    pub fn identity(&self) -> Option<i64> {
        self.identity.map(|it| it.0)
    }

    /// Produces until told to stop, then until everything is acknowledged or `abandon` is set too.
    pub fn run(&mut self, stop: &AtomicBool, abandon: &AtomicBool) {
        while !abandon.load(Ordering::Relaxed) && self.anomalies.is_empty() {
            // A connection that ends is what this test is about: only the answers count.
            if self.session(stop).is_ok() && stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// One connection's life, and the answers that came before it ended.
    fn session(&mut self, stop: &AtomicBool) -> Outcome {
        self.opened_in = self.life.load(Ordering::SeqCst);
        let mut connection = Connection::open(self.port)?;
        let outcome = self.converse(&mut connection, stop);
        if outcome.is_err() && self.anomalies.is_empty() {
            // A write that fails says nothing about what lies here to be read. Whoever leaves it unread may send
            // again what a clean stop has put into a snapshot, which holds one batch of each producer only.
            let mut buffer = Vec::new();
            connection.set_patience(Duration::from_millis(50))?;
            while let Ok(answer) = self.hear(&mut connection, &mut buffer) {
                let answer = requests::produced(answer)?;
                self.take(answer);
            }
        }
        outcome
    }

    /// Ends well only when told to stop and nothing is left to be acknowledged.
    fn converse(&mut self, connection: &mut Connection, stop: &AtomicBool) -> Outcome {
        connection.set_patience(Duration::from_secs(40))?;
        let mut buffer = Vec::new();
        if self.identity.is_none() {
            let answer = connection.ask(&requests::init_producer_id(), &mut buffer)?;
            let (code, id, epoch) = requests::producer_id(answer)?;
            if code != 0 {
                return Err(format!("no producer id: error {code}").into());
            }
            self.identity = Some((id, epoch));
        }
        loop {
            self.resend(connection, &mut buffer)?;
            if !self.anomalies.is_empty() {
                return Err("an anomaly was found".into());
            }
            if self.lanes.iter().any(|it| !it.waiting.is_empty()) {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.stream(connection, &mut buffer, stop)?;
        }
    }

    /// Sends everything that waits once more, a batch of each lane per request, and takes the answers.
    fn resend(&mut self, connection: &mut Connection, buffer: &mut Vec<u8>) -> Outcome {
        let layers = self.lanes.iter().map(|it| it.waiting.len()).max().unwrap_or(0);
        self.lanes.iter_mut().for_each(|it| it.refused = 0);
        for layer in 0..layers {
            let batch = |lane| -> Option<_> {
                let lane: &Lane = lane;
                Some((lane.topic.as_str(), lane.partition, lane.waiting.get(layer)?.bytes.as_slice()))
            };
            let batches: Vec<_> = self.lanes.iter().filter_map(batch).collect();
            connection.send(&requests::produce(&batches))?;
        }
        for _ in 0..layers {
            let answer = requests::produced(self.hear(connection, buffer)?)?;
            self.take(answer);
        }
        Ok(())
    }

    /// Sends new batches with [`IN_FLIGHT`] requests under way until one is refused or it is time to stop.
    fn stream(&mut self, connection: &mut Connection, buffer: &mut Vec<u8>, stop: &AtomicBool) -> Outcome {
        let mut under_way = 0;
        let mut good = true;
        while under_way > 0 || (good && !stop.load(Ordering::Relaxed)) {
            if good && under_way < IN_FLIGHT && !stop.load(Ordering::Relaxed) {
                let request = self.next_request();
                connection.send(&request)?;
                under_way += 1;
                if self.random.chance(30) {
                    std::thread::sleep(Duration::from_micros(self.random.below(8_000)));
                }
            } else {
                let answer = requests::produced(self.hear(connection, buffer)?)?;
                under_way -= 1;
                good &= self.take(answer);
            }
            // Leave at a random depth, so that the pipe is not always full.
            while good && under_way > 0 && self.random.chance(30) {
                let answer = requests::produced(self.hear(connection, buffer)?)?;
                under_way -= 1;
                good &= self.take(answer);
            }
        }
        Ok(())
    }

    fn hear<'b>(&self, connection: &mut Connection, buffer: &'b mut Vec<u8>) -> Outcome<Answer<'b>> {
        let answer = connection.receive(buffer)?;
        // What was heard before this look was said before it.
        if self.life.load(Ordering::SeqCst) != self.opened_in {
            return Err("the answer does not count".into());
        }
        Ok(answer)
    }

    fn next_request(&mut self) -> crate::load::protocol::Request {
        let first = self.random.below(self.lanes.len() as u64) as usize;
        let count = 1 + self.random.below(3) as usize;
        let chosen: Vec<usize> =
            (first..first + count.min(self.lanes.len())).map(|it| it % self.lanes.len()).collect();
        let (producer_id, producer_epoch) = self.identity.unwrap_or((-1, -1));
        for index in &chosen {
            let lane = &mut self.lanes[*index];
            let count = 1 + self.random.below(12);
            let sequence =
                Sequence { producer_id, producer_epoch, base_sequence: (lane.sent & 0x7fff_ffff) as i32 };
            let values: Vec<Value> =
                (lane.sent..lane.sent + count).map(|it| Value::new(self.index, *index as u8, it)).collect();
            lane.sent += count;
            let bodies: Vec<Vec<u8>> = values.iter().map(|it| it.bytes()).collect();
            let bytes = batch_of(&bodies, now_ms(), sequence);
            lane.waiting.push_back(Pending { values, bytes, refusals: 0 });
        }
        let batches: Vec<_> = chosen
            .iter()
            .map(|it| &self.lanes[*it])
            .filter_map(|it| Some((it.topic.as_str(), it.partition, it.waiting.back()?.bytes.as_slice())))
            .collect();
        requests::produce(&batches)
    }

    /// Takes one answer; whether everything in it was accepted.
    fn take(&mut self, answer: Vec<Produced>) -> bool {
        let mut lanes: BTreeMap<_, _> =
            self.lanes.iter_mut().map(|it| ((it.topic.clone(), it.partition), it)).collect();
        let mut good = true;
        for produced in answer {
            let Some(lane) = lanes.get_mut(&(produced.topic.clone(), produced.partition)) else {
                self.anomalies
                    .push(format!("an answer about a partition that was not asked for: {produced:?}"));
                continue;
            };
            match lane.take(&produced) {
                Ok(accepted) => good &= accepted,
                Err(text) => self.anomalies.push(format!("producer {}: {text}: {produced:?}", self.index)),
            }
        }
        good && self.anomalies.is_empty()
    }
}

impl Lane {
    fn take(&mut self, produced: &Produced) -> Result<bool, String> {
        let Some(batch) = self.waiting.get_mut(self.refused) else {
            return Err("an answer without a request".into());
        };
        match produced.code {
            0 | DUPLICATE_SEQUENCE_NUMBER if self.refused > 0 => {
                Err(format!("{:?} was taken, an earlier batch was not", batch.values))
            }
            0 | DUPLICATE_SEQUENCE_NUMBER => {
                let offset = (produced.code == 0 && produced.offset >= 0).then_some(produced.offset);
                let batch = self.waiting.pop_front().map(|it| it.values).unwrap_or_default();
                self.acknowledged.push((offset, batch));
                Ok(true)
            }
            code if CURED_BY_RETRY.contains(&code)
                || (code == OUT_OF_ORDER_SEQUENCE_NUMBER && self.refused > 0) =>
            {
                batch.refusals += 1;
                if batch.refusals > REFUSALS {
                    return Err("a partition does not come back".into());
                }
                self.refused += 1;
                Ok(false)
            }
            _ => {
                let text = format!("{:?} was refused for good", batch.values);
                // So that the next answer is taken for the next batch.
                self.refused += 1;
                Err(text)
            }
        }
    }
}
