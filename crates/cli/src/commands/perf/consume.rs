//! `ottla perf consume`.

use std::time::Duration;

use clap::Args;
use ottla_base::settings::Table;
use ottla_base::{Moment, Str};
use ottla_client::admin::Admin;
use ottla_client::{Cluster, Fetched, Fetcher, FetcherOptions, Position};
use ottla_host::Host;
use ottla_host::process::StopSignals;

use super::report::Result;
use crate::commands::client::{ClientArguments, explain, items};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Output, Style};

/// How long one wait for records is.
const POLL: Duration = Duration::from_millis(500);

/// Flags of `perf consume`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla perf consume load --num-records 1000000\n  \
    ottla perf consume load --num-records 1000000 --property fetch.min.bytes=65536 --json")]
pub(super) struct ConsumeArguments {
    /// The topic
    topic: String,
    /// How many records
    #[arg(short, long, visible_alias = "messages", value_name = "COUNT", default_value_t = 100_000)]
    num_records: u64,
    /// End when so many milliseconds have passed without a record
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    timeout: u64,
    /// A setting of the consumer, such as fetch.min.bytes=65536; may be given several times
    #[arg(short = 'X', long = "property", value_name = "KEY=VALUE")]
    properties: Vec<String>,
    #[command(flatten)]
    style: Style,
}

pub(super) async fn run(client: ClientArguments, arguments: ConsumeArguments) -> Outcome {
    let host = Host::real();
    let mut texts = client.texts(&host, &arguments.properties)?;
    texts.entry("auto.offset.reset".to_owned()).or_insert_with(|| "earliest".to_owned());
    let options = FetcherOptions::read(&texts).map_err(Failure::misuse)?;
    let cluster = client.connect(&host, &texts).await?;
    let mut fetcher = Fetcher::new(&cluster, options).map_err(explain)?;
    assign(&cluster, &mut fetcher, &arguments.topic).await?;
    let bar = super::progress(arguments.num_records)?;
    let mut signals = StopSignals::listen().map_err(|error| Failure::new(format!("signals: {error}")))?;
    let began = host.now();
    let mut counted = Counted { records: 0, bytes: 0, last: began };
    let ended = tokio::select! {
        biased;
        _ = signals.next() => Ok(()),
        ended = Box::pin(fetch(&host, &mut fetcher, &arguments, &mut counted, &bar)) => ended,
    };
    bar.finish_and_clear();
    ended?;
    if counted.records < arguments.num_records {
        let (found, wanted) = (counted.records, arguments.num_records);
        output::remark(format_args!("warning: {found} of {wanted} records were there"));
    }
    let Counted { records, bytes, last } = counted;
    let result = Result { records, bytes, took: last.since(began), latencies: None };
    let mut output = Output::new();
    result.print(arguments.style, &mut output)?;
    output.flush()
}

async fn assign(cluster: &Cluster, fetcher: &mut Fetcher, topic: &str) -> Outcome {
    let partitions = Admin::new(cluster.clone()).partitions_of(&[Str::from(topic)]).await.map_err(explain)?;
    let (partitions, outcome) = items(partitions, |name| format!("topic {name}"));
    outcome?;
    for partition in partitions.into_iter().flat_map(|(_, it)| it) {
        fetcher.assign(partition, Position::Beginning);
    }
    Ok(())
}

struct Counted {
    records: u64,
    bytes: u64,
    /// When the last record came.
    last: Moment,
}

impl Counted {
    /// Looks at every record, as whoever uses them does.
    fn add(&mut self, fetched: &[Fetched]) -> std::result::Result<(), ottla_client::Error> {
        for part in fetched {
            for batch in part.batches() {
                let batch = batch?;
                for record in batch.records() {
                    let record = record?;
                    let len = |bytes: Option<&[u8]>| bytes.map_or(0, |it| it.len() as u64);
                    self.records += 1;
                    self.bytes += len(record.key) + len(record.value);
                }
            }
        }
        Ok(())
    }
}

async fn fetch(
    host: &Host,
    fetcher: &mut Fetcher,
    arguments: &ConsumeArguments,
    counted: &mut Counted,
    bar: &indicatif::ProgressBar,
) -> Outcome {
    let idle = Duration::from_millis(arguments.timeout);
    let mut last = host.now();
    while counted.records < arguments.num_records && host.now().since(last) < idle {
        match fetcher.poll(POLL).await {
            Ok(fetched) if fetched.is_empty() => {}
            Ok(fetched) => {
                counted.add(&fetched).map_err(explain)?;
                last = host.now();
                counted.last = last;
                bar.set_position(counted.records.min(arguments.num_records));
            }
            Err(error) if error.is_retriable() => tracing::warn!(%error, "fetching goes on"),
            Err(error) => return Err(explain(error)),
        }
    }
    Ok(())
}
