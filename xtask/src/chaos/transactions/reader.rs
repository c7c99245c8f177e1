//! A reader of committed records: it leaves out what was aborted, as Kafka's consumers do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::ledger::Entry;
use super::{PARTITIONS, TOPIC};
use crate::load::protocol::{Connection, values};
use crate::load::transactions::{self as requests, Fetched};
use crate::workspace::Outcome;

const TRANSACTIONAL: u8 = 0x10;
const CONTROL: u8 = 0x20;

/// A reader of every partition, from the start.
pub struct Reader {
    port: u16,
    lanes: BTreeMap<i32, Lane>,
    /// What it has read.
    pub read: Vec<Entry>,
    /// Things that must never happen.
    pub anomalies: Vec<String>,
}

#[derive(Default)]
struct Lane {
    position: i64,
    /// Producers in an aborted transaction at the position.
    aborted: BTreeSet<i64>,
}

/// How far a fetch came.
struct Reached {
    code: i16,
    high_watermark: i64,
    last_stable: i64,
    position: i64,
}

impl Reader {
    /// A reader that has read nothing.
    pub fn new(port: u16) -> Reader {
        let lanes = (0..PARTITIONS).map(|partition| (partition, Lane::default())).collect();
        Reader { port, lanes, read: Vec::new(), anomalies: Vec::new() }
    }

    /// Follows the partitions until told to stop.
    pub fn follow(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) && self.anomalies.is_empty() {
            // A connection that ends is what this test is about.
            let _ = self.session(stop);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn session(&mut self, stop: &AtomicBool) -> Outcome {
        let mut connection = Connection::open(self.port)?;
        while !stop.load(Ordering::Relaxed) && self.anomalies.is_empty() {
            for partition in 0..PARTITIONS {
                self.advance(&mut connection, partition, 10)?;
            }
        }
        Ok(())
    }

    /// Reads everything, once nothing is open any more. Everything must be stable by `until`.
    pub fn read_all(&mut self, until: Instant) -> Outcome {
        let mut connection = Connection::open(self.port)?;
        for partition in 0..PARTITIONS {
            loop {
                let reached = self.advance(&mut connection, partition, 0)?;
                if let Some(text) = self.anomalies.first() {
                    return Err(text.clone().into());
                }
                let is_stable = reached.code == 0 && reached.last_stable == reached.high_watermark;
                if is_stable && reached.position >= reached.high_watermark {
                    break;
                }
                if Instant::now() > until {
                    let Reached { code, high_watermark, last_stable, .. } = reached;
                    return Err(format!(
                        "partition {partition} is stuck: error {code}, stable up to {last_stable} of {high_watermark}"
                    )
                    .into());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    fn advance(&mut self, connection: &mut Connection, partition: i32, max_wait_ms: i32) -> Outcome<Reached> {
        let lane = self.lanes.entry(partition).or_default();
        let mut buffer = Vec::new();
        let request = requests::fetch(TOPIC, partition, lane.position, max_wait_ms);
        let fetched = requests::fetched(connection.ask(&request, &mut buffer)?)?;
        const OFFSET_OUT_OF_RANGE: i16 = 1;
        if fetched.code == OFFSET_OUT_OF_RANGE {
            self.anomalies.push(format!("partition {partition}: {} is no longer there", lane.position));
        } else if fetched.code == 0
            && let Err(error) = lane.take(&fetched, &mut self.read)
        {
            self.anomalies.push(format!("partition {partition} at {}: {error}", lane.position));
        }
        Ok(Reached {
            code: fetched.code,
            high_watermark: fetched.high_watermark,
            last_stable: fetched.last_stable,
            position: lane.position,
        })
    }
}

impl Lane {
    /// Takes whole batches in; what is aborted is passed over.
    fn take(&mut self, fetched: &Fetched<'_>, read: &mut Vec<Entry>) -> Outcome {
        let mut records = fetched.records;
        let mut aborted = fetched.aborted.clone();
        aborted.sort_by_key(|it| std::cmp::Reverse(it.1));
        while records.len() >= 61 {
            let base = i64::from_be_bytes(records[..8].try_into()?);
            let len = 12 + usize::try_from(i32::from_be_bytes(records[8..12].try_into()?))?;
            let Some((batch, rest)) = records.split_at_checked(len) else { break };
            records = rest;
            let last = base + i64::from(i32::from_be_bytes(batch[23..27].try_into()?));
            if last < self.position {
                continue;
            }
            if base >= fetched.last_stable {
                return Err(format!("offset {base} came and only {} is stable", fetched.last_stable).into());
            }
            let producer = i64::from_be_bytes(batch[43..51].try_into()?);
            while let Some((id, _)) = aborted.pop_if(|it| it.1 <= last) {
                self.aborted.insert(id);
            }
            self.position = last + 1;
            if batch[22] & CONTROL != 0 {
                // Whatever it says: the transaction is over.
                self.aborted.remove(&producer);
            } else if batch[22] & TRANSACTIONAL == 0 || !self.aborted.contains(&producer) {
                for (offset, bytes) in values(batch)? {
                    let entry =
                        Entry::of(&bytes).ok_or(format!("offset {offset} has bytes that are nobody's"))?;
                    read.push(entry);
                }
            }
        }
        Ok(())
    }
}
