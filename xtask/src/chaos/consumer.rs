//! A consumer that follows partitions while the server is killed under it, and one that reads them at the end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::history::Value;
use super::requests;
use super::server::LIMIT;
use crate::load::protocol::{Connection, values};
use crate::workspace::Outcome;

/// What is read of one partition, from its start on.
#[derive(Clone)]
pub struct Reading {
    topic: String,
    partition: i32,
    position: i64,
    /// Offsets and what was there; nothing for bytes that are nobody's.
    pub seen: Vec<(i64, Option<Value>)>,
}

/// A consumer of several partitions.
pub struct Consumer {
    port: u16,
    /// One per partition.
    pub readings: Vec<Reading>,
    /// Things that must never happen.
    pub anomalies: Vec<String>,
}

impl Consumer {
    /// A consumer that has read nothing.
    pub fn new(port: u16, partitions: &[(String, i32)]) -> Consumer {
        let reading = |(topic, partition): &(String, i32)| Reading::new(topic, *partition, 0);
        Consumer { port, readings: partitions.iter().map(reading).collect(), anomalies: Vec::new() }
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
        let mut buffer = Vec::new();
        while !stop.load(Ordering::Relaxed) && self.anomalies.is_empty() {
            for reading in &mut self.readings {
                match reading.advance(&mut connection, &mut buffer, 20)? {
                    Advance::Impossible(text) => self.anomalies.push(text),
                    Advance::To(_) | Advance::Refused(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Reads every partition to its end.
    pub fn read_all(&mut self) -> Outcome {
        let mut connection = Connection::open(self.port)?;
        let mut buffer = Vec::new();
        // A server that has just started may still be taking up its partitions.
        let end = Instant::now() + LIMIT;
        for reading in &mut self.readings {
            loop {
                match reading.advance(&mut connection, &mut buffer, 0)? {
                    Advance::To(high_watermark) if reading.position >= high_watermark => break,
                    Advance::To(_) => {}
                    Advance::Refused(_) if Instant::now() < end => {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    Advance::Refused(code) => {
                        return Err(format!("{reading:?} cannot be read: error {code}").into());
                    }
                    Advance::Impossible(text) => return Err(text.into()),
                }
            }
        }
        Ok(())
    }
}

/// What came of one fetch.
pub enum Advance {
    /// It was answered; the high watermark was this.
    To(i64),
    /// It was refused with an error that passes.
    Refused(i16),
    /// It was answered as it must never be.
    Impossible(String),
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{} at offset {}", self.topic, self.partition, self.position)
    }
}

impl Reading {
    /// A reading that begins at an offset.
    pub fn new(topic: &str, partition: i32, position: i64) -> Reading {
        Reading { topic: topic.to_owned(), partition, position, seen: Vec::new() }
    }

    /// The offset after what was read.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Fetches once from where the last fetch ended.
    pub fn advance(
        &mut self,
        connection: &mut Connection,
        buffer: &mut Vec<u8>,
        max_wait_ms: i32,
    ) -> Outcome<Advance> {
        const OFFSET_OUT_OF_RANGE: i16 = 1;
        let request = requests::fetch(&self.topic, self.partition, self.position, max_wait_ms);
        let (code, high_watermark, records) = requests::fetched(connection.ask(&request, buffer)?)?;
        match code {
            0 => {}
            OFFSET_OUT_OF_RANGE => {
                return Ok(Advance::Impossible(format!("{self:?}: what was read is no longer there")));
            }
            code => return Ok(Advance::Refused(code)),
        }
        let position = self.position;
        let values = match values(records) {
            Ok(values) => values,
            Err(error) => return Ok(Advance::Impossible(format!("{self:?}: {error}"))),
        };
        if values.is_empty() && position < high_watermark {
            return Ok(Advance::Impossible(format!("{self:?}: nothing came below the end {high_watermark}")));
        }
        for (offset, bytes) in values.into_iter().filter(|it| it.0 >= position) {
            self.seen.push((offset, Value::of(&bytes)));
            self.position = offset + 1;
        }
        Ok(Advance::To(high_watermark))
    }
}
