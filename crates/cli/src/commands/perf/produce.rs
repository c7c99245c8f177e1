//! `ottla perf produce`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use indicatif::ProgressBar;
use ottla_base::{Moment, PartitionIndex, Str};
use ottla_client::{Delivery, Error, Producer, ProducerOptions, ProducerRecord};
use ottla_host::Host;
use ottla_host::process::StopSignals;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::report::{Latencies, Result};
use crate::commands::client::{ClientArguments, explain};
use crate::failure::{Failure, Outcome};
use crate::output::{Output, Style};

/// Random bytes that values are cut from; more than a codec looks back, so that they do not compress.
const RANDOM_BYTES: usize = 8 << 20;
/// How often the progress is shown, in records.
const SHOWN_EVERY: u64 = 1000;

/// Flags of `perf produce`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla perf produce load --num-records 1000000 --record-size 1024\n  \
    ottla perf produce load --num-records 100000 --throughput 10000 --property linger.ms=0\n      \
        latency under a fixed rate, counted from when a record was due\n  \
    ottla perf produce load --num-records 1000000 --compression lz4 --property batch.size=131072 --json")]
pub(super) struct ProduceArguments {
    /// The topic; most servers make it if it does not exist
    topic: String,
    /// How many records
    #[arg(short, long, value_name = "COUNT", default_value_t = 100_000)]
    num_records: u64,
    /// How many bytes a value has
    #[arg(short = 's', long, value_name = "BYTES", default_value_t = 1024)]
    record_size: usize,
    /// How many records a second; as many as go if not given
    #[arg(short, long, value_name = "RATE", value_parser = clap::value_parser!(u64).range(1..))]
    throughput: Option<u64>,
    /// Who must have a record before it counts: all, 1 or 0
    #[arg(long, value_name = "ACKS")]
    acks: Option<String>,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, value_name = "CODEC")]
    compression: Option<String>,
    /// A setting of the producer, such as linger.ms=0; may be given several times
    #[arg(short = 'X', long = "property", value_name = "KEY=VALUE")]
    properties: Vec<String>,
    #[command(flatten)]
    style: Style,
}

pub(super) async fn run(client: ClientArguments, arguments: ProduceArguments) -> Outcome {
    let host = Host::real();
    let mut texts = client.texts(&host, &arguments.properties)?;
    let flags = [("compression.type", &arguments.compression), ("acks", &arguments.acks)];
    for (key, value) in flags {
        if let Some(value) = value {
            texts.insert(key.to_owned(), value.clone());
        }
    }
    let options = ProducerOptions::from_texts(&texts).map_err(explain)?;
    let cluster = client.connect(&host, &texts).await?;
    let producer = Producer::new(&cluster, options).map_err(explain)?;
    producer.topic(&arguments.topic).await.map_err(|error| explain(error).about(&arguments.topic))?;
    let bar = super::progress(arguments.num_records)?;
    let mut signals = StopSignals::listen().map_err(|error| Failure::new(format!("signals: {error}")))?;
    let mut waiting = Waiting::new(&host, &bar);
    let began = host.now();
    let sent = tokio::select! {
        biased;
        _ = signals.next() => Ok(()),
        sent = Box::pin(send(&host, &producer, &arguments, began, &mut waiting)) => sent,
    };
    producer.flush().await;
    let (latencies, failures) = waiting.finish().await;
    let took = host.now().since(began);
    bar.finish_and_clear();
    sent?;
    let records = latencies.1;
    let size = u64::try_from(arguments.record_size).unwrap_or(0);
    let result = Result { records, bytes: records * size, took, latencies: Some(latencies.0) };
    let mut output = Output::new();
    result.print(arguments.style, &mut output)?;
    output.flush()?;
    match failures {
        (0, _) | (_, None) => Ok(()),
        (count, Some(error)) => Err(explain(error).about(format!("{count} records were lost; the first"))),
    }
}

async fn send(
    host: &Host,
    producer: &Producer,
    arguments: &ProduceArguments,
    began: Moment,
    waiting: &mut Waiting<'_>,
) -> Outcome {
    let mut random = vec![0; RANDOM_BYTES.max(arguments.record_size)];
    host.random_bytes(&mut random);
    let random = Bytes::from(random);
    let places = random.len() - arguments.record_size + 1;
    let topic = Str::from(arguments.topic.as_str());
    let mut at = 0;
    for number in 0..arguments.num_records {
        let mut due = host.now();
        if let Some(throughput) = arguments.throughput {
            let planned = began + Duration::from_nanos(1_000_000_000 / throughput * number);
            if planned > due {
                host.sleep_until(planned).await;
            }
            // A record that had to wait for its turn has been waiting.
            due = planned;
        }
        at = (at + arguments.record_size) % places;
        let value = random.slice(at..at + arguments.record_size);
        let record = ProducerRecord { topic: topic.clone(), value: Some(value), ..ProducerRecord::default() };
        let delivery = producer.send(record).await.map_err(explain)?;
        waiting.add(due, delivery);
    }
    Ok(())
}

/// Latencies and how many; failures and the first of them.
type Measured = ((Latencies, u64), (u64, Option<Error>));

/// One task for each partition, whose records are acknowledged in order, so that each latency is taken when it is due.
struct Waiting<'a> {
    host: &'a Host,
    bar: &'a ProgressBar,
    partitions: BTreeMap<PartitionIndex, mpsc::UnboundedSender<(Moment, Delivery)>>,
    tasks: Vec<JoinHandle<Measured>>,
}

impl<'a> Waiting<'a> {
    fn new(host: &'a Host, bar: &'a ProgressBar) -> Waiting<'a> {
        Waiting { host, bar, partitions: BTreeMap::new(), tasks: Vec::new() }
    }

    fn add(&mut self, due: Moment, delivery: Delivery) {
        let partition = delivery.partition().partition;
        let sender = self.partitions.entry(partition).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            let measuring = measure(self.host.clone(), self.bar.clone(), receiver);
            self.tasks.push(self.host.spawn(measuring));
            sender
        });
        // The task ends after its sender.
        let _ = sender.send((due, delivery));
    }

    async fn finish(self) -> Measured {
        drop(self.partitions);
        let mut all = ((Latencies::new(), 0), (0, None));
        for task in self.tasks {
            // A panic there is a bug and has been reported where it happened.
            let Ok(((latencies, records), (failures, error))) = task.await else { continue };
            all.0.0.add(&latencies);
            all.0.1 += records;
            all.1.0 += failures;
            all.1.1 = all.1.1.or(error);
        }
        all
    }
}

async fn measure(
    host: Host,
    bar: ProgressBar,
    mut deliveries: mpsc::UnboundedReceiver<(Moment, Delivery)>,
) -> Measured {
    let mut latencies = Latencies::new();
    let (mut records, mut failures, mut first) = (0, 0, None);
    while let Some((due, delivery)) = deliveries.recv().await {
        match delivery.await {
            Ok(_) => {
                latencies.record(host.now().since(due));
                records += 1;
                if records % SHOWN_EVERY == 0 {
                    bar.inc(SHOWN_EVERY);
                }
            }
            Err(error) => {
                failures += 1;
                first.get_or_insert(error);
            }
        }
    }
    ((latencies, records), (failures, first))
}
