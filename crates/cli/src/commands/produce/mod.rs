//! `ottla produce`: lines of standard input as records.

mod line;

use std::collections::VecDeque;
use std::io::BufRead;

use clap::Args;
use ottla_base::settings::Texts;
use ottla_base::{PartitionIndex, Str};
use ottla_client::{Cluster, Delivery, Producer, ProducerOptions, ProducerRecord, TransactionalProducer};
use ottla_host::Host;
use ottla_host::process::StopSignals;
use tokio::sync::mpsc;

use crate::commands::client::{ClientArguments, count_of, explain};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Output};
use crate::runtime;
use line::LineFormat;

/// How many lines are read ahead.
const LINES_AHEAD: usize = 1024;
/// How many records may be under way; `buffer.memory` limits their bytes.
const DELIVERIES_MAX: usize = 50_000;

/// Flags of `produce`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    echo hello | ottla produce greetings\n  \
    ottla produce orders --key-separator : < orders.txt\n      \
        a line `42:{\"item\": 1}` is a record with the key 42\n  \
    ottla produce orders --header source=shop --compression zstd --property linger.ms=50\n  \
    printf 'a:1,b:2\\tkey\\tvalue\\n' | ottla produce orders --headers --key-separator \"$(printf '\\t')\"\n  \
    ottla consume orders --from-beginning --json --until-end | ottla produce copy --json\n  \
    ottla produce orders --transactional-id import-1 < orders.txt\n      \
        all lines or none: readers with isolation.level=read_committed see them together\n\n\
    Without standard input from elsewhere, every line typed is a record; Ctrl-D ends.")]
pub(crate) struct ProduceArguments {
    /// The topic; most servers make it if it does not exist
    topic: String,
    #[command(flatten)]
    client: ClientArguments,
    /// What stands between key and value; without it a line is a value
    #[arg(short = 'K', long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// Lines begin with headers and a tab: name:value,name:value
    #[arg(long)]
    headers: bool,
    /// A header of every record; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    header: Vec<String>,
    /// Lines are JSON, as `ottla consume --json` prints them; of an object key, value, headers and timestamp are taken
    #[arg(long, conflicts_with_all = ["key_separator", "headers", "null_marker"])]
    json: bool,
    /// A key or value that is this text is none
    #[arg(short = 'Z', long, value_name = "TEXT")]
    null_marker: Option<String>,
    /// The partition of all records; otherwise the key decides, or the client
    #[arg(short, long, value_name = "NUMBER")]
    partition: Option<i32>,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, value_name = "CODEC")]
    compression: Option<String>,
    /// Who must have a record before it counts: all, 1 (the leader) or 0 (nobody)
    #[arg(long, value_name = "ACKS")]
    acks: Option<String>,
    /// Send all lines in one transaction, which is committed at the end and aborted if anything fails
    #[arg(long, value_name = "ID")]
    transactional_id: Option<String>,
    /// A setting of the producer, such as linger.ms=50; may be given several times
    #[arg(short = 'X', long = "property", value_name = "KEY=VALUE")]
    properties: Vec<String>,
    /// Print where each record is
    #[arg(short, long)]
    verbose: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: ProduceArguments) -> Outcome {
    runtime::run_tool(Box::pin(produce(arguments)))
}

async fn produce(arguments: ProduceArguments) -> Outcome {
    let host = Host::real();
    let format = LineFormat::new(&arguments)?;
    let texts = producer_texts(&arguments, &host)?;
    let options = ProducerOptions::from_texts(&texts).map_err(explain)?;
    let cluster = arguments.client.connect(&host, &texts).await?;
    if options.transactional_id.is_some() {
        return Box::pin(produce_in_transaction(&arguments, &host, format, cluster, options)).await;
    }
    let producer = Producer::new(&cluster, options).map_err(explain)?;
    // A topic that cannot be written to is told before anybody types.
    producer.topic(&arguments.topic).await.map_err(|error| explain(error).about(&arguments.topic))?;
    let mut lines = read_lines(&host);
    let mut signals = StopSignals::listen().map_err(|error| Failure::new(format!("signals: {error}")))?;
    let mut sent = Sent::new(arguments.verbose);
    loop {
        let line = tokio::select! {
            biased;
            _ = signals.next() => break,
            line = lines.recv() => line,
        };
        let Some(line) = line else { break };
        let line = line.map_err(|error| Failure::new(format!("cannot read standard input: {error}")))?;
        sent.lines += 1;
        let number = sent.lines;
        let record = format.record(line).map_err(|failure| failure.about(format!("line {number}")))?;
        let record = ProducerRecord {
            topic: Str::from(arguments.topic.as_str()),
            partition: arguments.partition.map(PartitionIndex),
            ..record
        };
        match producer.send(record).await {
            Ok(delivery) => sent.add(number, delivery).await?,
            Err(error) => sent.fail(number, explain(error)),
        }
    }
    producer.flush().await;
    sent.finish().await
}

/// All lines or none. What was typed before Ctrl-C is none.
async fn produce_in_transaction(
    arguments: &ProduceArguments,
    host: &Host,
    format: LineFormat,
    cluster: Cluster,
    options: ProducerOptions,
) -> Outcome {
    let mut producer = Box::pin(TransactionalProducer::new(&cluster, options)).await.map_err(explain)?;
    let transaction = Box::pin(producer.begin()).await.map_err(explain)?;
    let mut lines = read_lines(host);
    let mut signals = StopSignals::listen().map_err(|error| Failure::new(format!("signals: {error}")))?;
    let mut sent = Sent::new(arguments.verbose);
    loop {
        let line = tokio::select! {
            biased;
            _ = signals.next() => {
                Box::pin(transaction.abort()).await.map_err(explain)?;
                return Err(Failure::new("the transaction was aborted, and nothing was sent"));
            }
            line = lines.recv() => line,
        };
        let Some(line) = line else { break };
        let line = line.map_err(|error| Failure::new(format!("cannot read standard input: {error}")))?;
        sent.lines += 1;
        let number = sent.lines;
        let made = format.record(line).map_err(|failure| failure.about(format!("line {number}")));
        let record = match made {
            Ok(record) => ProducerRecord {
                topic: Str::from(arguments.topic.as_str()),
                partition: arguments.partition.map(PartitionIndex),
                ..record
            },
            Err(failure) => {
                Box::pin(transaction.abort()).await.map_err(explain)?;
                return Err(failure);
            }
        };
        match Box::pin(transaction.send(record)).await {
            Ok(delivery) => sent.add(number, delivery).await?,
            Err(error) => sent.fail(number, explain(error)),
        }
    }
    let ended = match sent.failed {
        0 => Box::pin(transaction.commit()).await,
        _ => Box::pin(transaction.abort()).await,
    };
    sent.finish().await?;
    ended.map_err(explain)
}

fn producer_texts(arguments: &ProduceArguments, host: &Host) -> Outcome<Texts> {
    let mut texts = arguments.client.texts(host, &arguments.properties)?;
    let flags = [
        ("compression.type", &arguments.compression),
        ("acks", &arguments.acks),
        ("transactional.id", &arguments.transactional_id),
    ];
    for (key, value) in flags {
        if let Some(value) = value {
            texts.insert(key.to_owned(), value.clone());
        }
    }
    Ok(texts)
}

/// The lines of standard input, without what ends them.
fn read_lines(host: &Host) -> mpsc::Receiver<std::io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    // It reads until there is nothing more, or the program ends; nobody waits for it.
    drop(host.blocking(move || {
        let mut stdin = std::io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = stdin.read_until(b'\n', &mut line);
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            let more = match read {
                Ok(0) => return,
                Ok(_) => sender.blocking_send(Ok(line)),
                Err(error) => {
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            };
            if more.is_err() {
                return;
            }
        }
    }));
    receiver
}

/// What became of the lines.
struct Sent {
    under_way: VecDeque<(u64, Delivery)>,
    lines: u64,
    delivered: u64,
    failed: u64,
    first_failure: Option<Failure>,
    output: Option<Output>,
}

impl Sent {
    fn new(verbose: bool) -> Sent {
        let output = verbose.then(Output::new);
        Sent { under_way: VecDeque::new(), lines: 0, delivered: 0, failed: 0, first_failure: None, output }
    }

    async fn add(&mut self, line: u64, delivery: Delivery) -> Outcome {
        self.under_way.push_back((line, delivery));
        while self.under_way.len() > DELIVERIES_MAX {
            self.wait_for_one().await?;
        }
        Ok(())
    }

    async fn wait_for_one(&mut self) -> Outcome {
        let Some((line, delivery)) = self.under_way.pop_front() else { return Ok(()) };
        let topic = delivery.partition().topic.clone();
        match delivery.await {
            Ok(written) => {
                self.delivered += 1;
                if let Some(output) = &mut self.output {
                    let offset = written.offset.map_or_else(|| "?".to_owned(), |it| it.to_string());
                    output.line(format_args!("{topic}-{} offset {offset}", written.partition))?;
                }
            }
            Err(error) => self.fail(line, explain(error)),
        }
        Ok(())
    }

    fn fail(&mut self, line: u64, failure: Failure) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| failure.about(format!("line {line}")));
    }

    async fn finish(mut self) -> Outcome {
        while !self.under_way.is_empty() {
            self.wait_for_one().await?;
        }
        if let Some(output) = &mut self.output {
            output.flush()?;
        }
        match self.first_failure {
            Some(failure) => {
                let (failed, all) = (self.failed, count_of(self.lines, "record"));
                Err(failure.about(format!("{failed} of {all} could not be sent; the first")))
            }
            None => {
                if output::is_attended() {
                    output::remark(format_args!("{} sent", count_of(self.delivered, "record")));
                }
                Ok(())
            }
        }
    }
}
