//! Transactions: as many as fit one after the other, and one of ten milliseconds after the other from many producers.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::groups::coordinator;
use super::{Figure, Server, Usage, create_topic, figure, in_parallel};
use crate::load::protocol::{Connection, Request, Sequence, batch_of, mark_transactional, now_ms};
use crate::load::transactions::{self, Identity};
use crate::workspace::Outcome;

const TIMEOUT_MS: i32 = 60_000;
const PATIENCE: Duration = Duration::from_secs(30);
const CONCURRENT_TRANSACTIONS: i16 = 51;
/// How long a transaction is open when its length is set.
const LENGTH: Duration = Duration::from_millis(10);
const MANY: usize = 20;

/// Lets the coordinator come into being, and runs transactions without looking.
pub fn warm_up(server: Server, run: Duration) -> Outcome {
    coordinator(server, "any", 1)?;
    run_producers(server, "warm", MANY, Duration::ZERO, run).map(drop)
}

/// One producer and twenty that commit as often as they can, then both with transactions of 10 ms.
pub fn transactions(server: Server, run: Duration) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    for (producers, length, label) in [
        (1, Duration::ZERO, "transactions back to back, 1 producer"),
        (MANY, Duration::ZERO, "transactions back to back, 20 producers"),
        (1, LENGTH, "transactions of 10 ms, 1 producer"),
        (MANY, LENGTH, "transactions of 10 ms, 20 producers"),
    ] {
        let topic = format!("transactions-{producers}-{}", length.as_millis());
        let usage = Usage::start(server)?;
        let (count, commits) = run_producers(server, &topic, producers, length, run)?;
        let cost = usage.cpu_seconds()?;
        figures.push(figure(format!("{label}, /s"), count as f64 / run.as_secs_f64()));
        figures.push(figure(format!("{label}, broker CPU-µs each"), cost * 1e6 / count as f64));
        figures.push(figure(format!("{label}, commit p50, ms"), commits.value_at_quantile(0.5) as f64 / 1e3));
        figures
            .push(figure(format!("{label}, commit p99, ms"), commits.value_at_quantile(0.99) as f64 / 1e3));
    }
    Ok(figures)
}

/// Returns how many transactions were committed within `run`, and how long their ends took in microseconds.
fn run_producers(
    server: Server,
    topic: &str,
    producers: usize,
    length: Duration,
    run: Duration,
) -> Outcome<(u64, Histogram<u64>)> {
    create_topic(server, topic, producers as i32)?;
    let all = in_parallel(producers, |index| {
        let mut producer = Producer::open(server, topic, index as i32)?;
        let mut commits = Histogram::<u64>::new(3)?;
        let begin = Instant::now();
        while begin.elapsed() < run {
            let opened = Instant::now();
            producer.produce()?;
            std::thread::sleep(length.saturating_sub(opened.elapsed()));
            let ending = Instant::now();
            producer.commit()?;
            commits.record((ending.elapsed().as_micros() as u64).max(1))?;
        }
        Ok(commits)
    })?;
    let mut commits = Histogram::<u64>::new(3)?;
    for own in all {
        commits.add(own)?;
    }
    Ok((commits.len(), commits))
}

/// A transactional producer that writes one batch per transaction to a partition of its own.
struct Producer {
    connection: Connection,
    buffer: Vec<u8>,
    name: String,
    topic: String,
    partition: i32,
    identity: Identity,
    values: Vec<Vec<u8>>,
}

impl Producer {
    fn open(server: Server, topic: &str, partition: i32) -> Outcome<Producer> {
        let mut producer = Producer {
            connection: Connection::open(server.port)?,
            buffer: Vec::new(),
            name: format!("{topic}-{partition}"),
            topic: topic.to_owned(),
            partition,
            identity: Identity { id: -1, epoch: -1 },
            values: vec![vec![b'x'; 100]; 10],
        };
        let request = transactions::init(&producer.name, TIMEOUT_MS);
        producer.identity = producer.insist("InitProducerId", &request, transactions::initialized)?;
        Ok(producer)
    }

    fn produce(&mut self) -> Outcome {
        let Identity { id, epoch } = self.identity;
        let sequence = Sequence { producer_id: id, producer_epoch: epoch, base_sequence: 0 };
        let mut batch = batch_of(&self.values, now_ms(), sequence);
        mark_transactional(&mut batch);
        let request = transactions::produce(&self.name, &self.topic, self.partition, &batch);
        self.insist("Produce", &request, |answer| Ok((transactions::produced(answer)?, ())))
    }

    fn commit(&mut self) -> Outcome {
        let request = transactions::end(&self.name, self.identity, true);
        self.identity = self.insist("EndTxn", &request, transactions::ended)?;
        Ok(())
    }

    /// Asks until the answer is no longer that the transaction before is still being ended.
    fn insist<T>(
        &mut self,
        what: &str,
        request: &Request,
        read: impl Fn(crate::load::protocol::Answer<'_>) -> Outcome<(i16, T)>,
    ) -> Outcome<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            match read(self.connection.ask(request, &mut self.buffer)?)? {
                (0, value) => return Ok(value),
                (code, _) if Instant::now() > end => return Err(format!("{what}: error {code}").into()),
                (CONCURRENT_TRANSACTIONS, _) => std::thread::sleep(Duration::from_millis(1)),
                (code, _) if super::members::is_passing(code) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                (code, _) => return Err(format!("{what}: error {code}").into()),
            }
        }
    }
}
