//! `ottla consume`: records of a topic, as they come.

mod group;
mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use ottla_base::settings::{Table, Texts};
use ottla_base::{Moment, Offset, PartitionIndex, Str, Timestamp};
use ottla_client::admin::{Admin, Isolation, OffsetSpec};
use ottla_client::{Cluster, ConsumedRecord, Fetched, Fetcher, FetcherOptions, Position, TopicPartition};
use ottla_host::Host;
use ottla_host::process::StopSignals;

use crate::commands::client::{ClientArguments, count_of, explain, items};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Output};
use crate::runtime;
use template::{Template, as_json};

/// How long one wait for records is; what is checked between waits is checked as often.
const POLL: Duration = Duration::from_millis(500);

/// Flags of `consume`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla consume orders\n      \
        what is written from now on, until Ctrl-C\n  \
    ottla consume orders --from-beginning --until-end\n      \
        all that is there\n  \
    ottla consume orders --partition 2 --offset -10 --format '%o %T %k: %v\\n'\n      \
        the last ten records of a partition, and what follows\n  \
    ottla consume orders --from-beginning --json --max-messages 5 | jq .value\n  \
    ottla consume orders --group payments --from-beginning\n      \
        as a member of a group: it goes on where the group has come to\n  \
    ottla consume orders --share-group mailers --max-messages 10\n      \
        as a member of a share group: each record goes to one member and is accepted once it is printed\n\n\
    Placeholders of --format: %t topic, %p partition, %o offset, %T timestamp, %k key, %v value, %h headers,\n\
    %K and %V the sizes of key and value, %% a percent sign; \\n, \\t, \\xHH as usual.")]
pub(crate) struct ConsumeArguments {
    /// The topic
    topic: String,
    #[command(flatten)]
    client: ClientArguments,
    /// All records, not only those that are written from now on
    #[arg(long, conflicts_with = "offset")]
    from_beginning: bool,
    /// Only these partitions; may be given several times
    #[arg(short, long = "partition", value_name = "NUMBER")]
    partitions: Vec<i32>,
    /// Where to begin: beginning, end, an offset, -N for the last N records, @MS for a time in milliseconds
    #[arg(short, long, value_name = "OFFSET", allow_hyphen_values = true)]
    offset: Option<String>,
    /// How a record is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "%v\\n", conflicts_with = "json")]
    format: String,
    /// Print each record as JSON, on a line
    #[arg(long)]
    json: bool,
    /// End after so many records
    #[arg(short = 'n', long, value_name = "COUNT")]
    max_messages: Option<u64>,
    /// End when so many milliseconds have passed without a record
    #[arg(long, visible_alias = "timeout-ms", value_name = "MS")]
    timeout: Option<u64>,
    /// End where the log ends now
    #[arg(short = 'e', long)]
    until_end: bool,
    /// Read as a member of this group, and commit how far
    #[arg(
        short,
        long,
        value_name = "GROUP",
        conflicts_with_all = ["partitions", "offset", "until_end", "share_group"]
    )]
    group: Option<String>,
    /// Who shares out partitions: classic (the members) or consumer (the server)
    #[arg(long, value_name = "PROTOCOL", requires = "group")]
    group_protocol: Option<String>,
    /// Take records as a member of this share group, and accept them
    #[arg(long, value_name = "GROUP", conflicts_with_all = ["partitions", "offset", "until_end", "from_beginning"])]
    share_group: Option<String>,
    /// Which records of transactions: read_uncommitted (all) or read_committed
    #[arg(long, value_name = "LEVEL")]
    isolation_level: Option<String>,
    /// A setting of the consumer, such as fetch.max.wait.ms=100; may be given several times
    #[arg(short = 'X', long = "property", value_name = "KEY=VALUE")]
    properties: Vec<String>,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    At(Position),
    /// So many records before the end.
    BeforeEnd(i64),
}

/// Runs the command.
pub(crate) fn run(arguments: ConsumeArguments) -> Outcome {
    runtime::run_tool(Box::pin(consume(arguments)))
}

async fn consume(arguments: ConsumeArguments) -> Outcome {
    let host = Host::real();
    let start = start(&arguments)?;
    let printer = match arguments.json {
        true => Printer::Json,
        false => Printer::Text(Template::parse(&arguments.format)?),
    };
    let texts = fetcher_texts(&arguments, &host, start)?;
    if arguments.group.is_some() {
        return Box::pin(group::consume(&arguments, &host, printer, &texts)).await;
    }
    if arguments.share_group.is_some() {
        return Box::pin(group::share(&arguments, &host, printer, &texts)).await;
    }
    let options = FetcherOptions::read(&texts).map_err(Failure::misuse)?;
    let isolation = match options.isolation_level.as_str() {
        "read_committed" => Isolation::ReadCommitted,
        _ => Isolation::ReadUncommitted,
    };
    let cluster = arguments.client.connect(&host, &texts).await?;
    let partitions = Box::pin(partitions(&cluster, &arguments)).await?;
    let needs_ends = arguments.until_end || matches!(start, Start::BeforeEnd(_));
    let ends = match needs_ends {
        true => Box::pin(offsets(&cluster, &partitions, OffsetSpec::Latest, isolation)).await?,
        false => BTreeMap::new(),
    };
    refuse_beyond(start, &ends)?;
    let mut fetcher = Fetcher::new(&cluster, options).map_err(explain)?;
    assign(&cluster, &mut fetcher, partitions, start, &ends).await?;
    let mut signals = StopSignals::listen().map_err(|error| Failure::new(format!("signals: {error}")))?;
    let ends = if arguments.until_end { ends } else { BTreeMap::new() };
    let mut session = Session::new(&arguments, &host, printer, ends);
    let ended = tokio::select! {
        biased;
        _ = signals.next() => Ok(()),
        ended = Box::pin(session.run(&cluster, &mut fetcher)) => ended,
    };
    session.output.flush()?;
    if output::is_attended() {
        output::remark(format_args!("{} consumed", count_of(session.count, "record")));
    }
    ended
}

fn start(arguments: &ConsumeArguments) -> Outcome<Start> {
    let Some(text) = &arguments.offset else {
        let position = if arguments.from_beginning { Position::Beginning } else { Position::End };
        return Ok(Start::At(position));
    };
    parse_start(text).ok_or_else(|| {
        Failure::misuse(format!("--offset {text}: that is no place in a log")).advice(
            "beginning, end, an offset such as 42, -10 for the last ten records, @1700000000000 for a time",
        )
    })
}

fn parse_start(text: &str) -> Option<Start> {
    let number = |text: &str| text.parse::<i64>().ok().filter(|it| *it >= 0);
    Some(match text {
        "beginning" | "earliest" => Start::At(Position::Beginning),
        "end" | "latest" => Start::At(Position::End),
        _ => match (text.strip_prefix('@'), text.strip_prefix('-')) {
            (Some(time), _) => Start::At(Position::AtOrAfter(Timestamp(number(time)?))),
            (_, Some(count)) => Start::BeforeEnd(number(count)?),
            _ => Start::At(Position::Offset(Offset(number(text)?))),
        },
    })
}

fn fetcher_texts(arguments: &ConsumeArguments, host: &Host, start: Start) -> Outcome<Texts> {
    let mut texts = arguments.client.texts(host, &arguments.properties)?;
    if let Some(level) = &arguments.isolation_level {
        texts.insert("isolation.level".to_owned(), level.clone());
    }
    // Who names an offset wants that or to hear that it is gone.
    let reset = match start {
        Start::At(Position::Offset(_)) => "none",
        Start::At(Position::End) => "latest",
        Start::At(Position::Beginning | Position::AtOrAfter(_)) | Start::BeforeEnd(_) => "earliest",
    };
    texts.entry("auto.offset.reset".to_owned()).or_insert_with(|| reset.to_owned());
    texts.entry("allow.auto.create.topics".to_owned()).or_insert_with(|| "false".to_owned());
    Ok(texts)
}

/// The partitions that are asked for, which exist.
async fn partitions(cluster: &Cluster, arguments: &ConsumeArguments) -> Outcome<Vec<TopicPartition>> {
    let topic = Str::from(arguments.topic.as_str());
    let found = Admin::new(cluster.clone()).partitions_of(&[topic]).await.map_err(explain)?;
    let (found, outcome) = items(found, |name| format!("topic {name}"));
    outcome?;
    let mut partitions: Vec<TopicPartition> = found.into_iter().flat_map(|(_, it)| it).collect();
    if arguments.partitions.is_empty() {
        return Ok(partitions);
    }
    let existing = partitions.len();
    for wanted in &arguments.partitions {
        if partitions.iter().all(|it| it.partition != PartitionIndex(*wanted)) {
            let topic = &arguments.topic;
            return Err(Failure::new(format!(
                "topic {topic} has no partition {wanted}; it has {}",
                count_of(existing, "partition")
            ))
            .advice(format!("ottla topic describe {topic}")));
        }
    }
    partitions.retain(|it| arguments.partitions.contains(&it.partition.get()));
    Ok(partitions)
}

/// An offset behind every end is never reached: whoever ends at the end should hear that it was wrong.
fn refuse_beyond(start: Start, ends: &BTreeMap<TopicPartition, Offset>) -> Outcome {
    match (start, ends.values().max()) {
        (Start::At(Position::Offset(offset)), Some(end)) if offset > *end => {
            Err(Failure::new(format!("offset {offset} does not exist yet: the log ends at {end}"))
                .advice("--offset end, or -10 for the last ten records"))
        }
        _ => Ok(()),
    }
}

async fn offsets(
    cluster: &Cluster,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
    isolation: Isolation,
) -> Outcome<BTreeMap<TopicPartition, Offset>> {
    let asked = partitions.iter().map(|it| (it.clone(), spec)).collect();
    let listed = Admin::new(cluster.clone()).list_offsets(&asked, isolation).await;
    let (listed, outcome) = items(listed, |it| format!("{}-{}", it.topic, it.partition));
    outcome?;
    Ok(listed.into_iter().filter_map(|(partition, it)| Some((partition, it.offset?))).collect())
}

async fn assign(
    cluster: &Cluster,
    fetcher: &mut Fetcher,
    partitions: Vec<TopicPartition>,
    start: Start,
    ends: &BTreeMap<TopicPartition, Offset>,
) -> Outcome {
    let firsts = match start {
        Start::At(_) => BTreeMap::new(),
        Start::BeforeEnd(_) => {
            let isolation = Isolation::ReadUncommitted;
            Box::pin(offsets(cluster, &partitions, OffsetSpec::Earliest, isolation)).await?
        }
    };
    for partition in partitions {
        let position = match start {
            Start::At(position) => position,
            Start::BeforeEnd(count) => {
                let first = firsts.get(&partition).copied().unwrap_or(Offset::ZERO);
                let end = ends.get(&partition).copied().unwrap_or(first);
                Position::Offset(Offset(end.get().saturating_sub(count)).max(first))
            }
        };
        fetcher.assign(partition, position);
    }
    Ok(())
}

/// How records are printed.
enum Printer {
    Text(Template),
    Json,
}

impl Printer {
    fn print(&self, from: &TopicPartition, record: &ConsumedRecord<'_>, to: &mut Vec<u8>) {
        let partition = from.partition.get();
        match self {
            Printer::Text(template) => template.print(&from.topic, partition, record, to),
            Printer::Json => {
                to.extend_from_slice(as_json(&from.topic, partition, record).to_string().as_bytes());
                to.push(b'\n');
            }
        }
    }
}

/// One run of the command: what was printed, and when it ends.
struct Session<'a> {
    host: &'a Host,
    printer: Printer,
    output: Output,
    buffer: Vec<u8>,
    count: u64,
    max_count: u64,
    /// The topic if all of its partitions are read, those to come included.
    grows: Option<&'a str>,
    ends: BTreeMap<TopicPartition, Offset>,
    idle: Option<Duration>,
    last_record: Moment,
    /// Behind the last record of each partition that was printed.
    printed: BTreeMap<TopicPartition, Offset>,
}

impl<'a> Session<'a> {
    fn new(
        arguments: &'a ConsumeArguments,
        host: &'a Host,
        printer: Printer,
        ends: BTreeMap<TopicPartition, Offset>,
    ) -> Session<'a> {
        Session {
            host,
            printer,
            output: Output::new(),
            buffer: Vec::new(),
            count: 0,
            max_count: arguments.max_messages.unwrap_or(u64::MAX),
            grows: arguments.partitions.is_empty().then_some(arguments.topic.as_str()),
            ends,
            idle: arguments.timeout.map(Duration::from_millis),
            last_record: host.now(),
            printed: BTreeMap::new(),
        }
    }

    async fn run(&mut self, cluster: &Cluster, fetcher: &mut Fetcher) -> Outcome {
        let until_end = !self.ends.is_empty();
        let mut told: Option<String> = None;
        while self.count < self.max_count {
            let reached =
                |(partition, end): (_, &Offset)| fetcher.position(partition).is_some_and(|it| it >= *end);
            if until_end && self.ends.iter().all(reached) {
                return Ok(());
            }
            self.assign_new(cluster, fetcher);
            match fetcher.poll(self.wait()).await {
                Ok(fetched) => self.print(&fetched)?,
                Err(error) if error.is_retriable() => {
                    let error = error.to_string();
                    if told.as_ref() != Some(&error) {
                        output::remark(format_args!("warning: {error}; trying again"));
                    }
                    told = Some(error);
                }
                Err(error) => return Err(explain(error)),
            }
            if self.is_idle() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn wait(&self) -> Duration {
        match self.idle {
            Some(idle) => idle.saturating_sub(self.host.now().since(self.last_record)).min(POLL),
            None => POLL,
        }
    }

    fn is_idle(&self) -> bool {
        self.idle.is_some_and(|idle| self.host.now().since(self.last_record) >= idle)
    }

    /// Partitions that the topic has now and had not are read from their beginning.
    fn assign_new(&self, cluster: &Cluster, fetcher: &mut Fetcher) {
        let metadata = cluster.metadata();
        let Some(topic) = self.grows.and_then(|topic| metadata.topic(topic)) else { return };
        if topic.partitions.len() <= fetcher.assignment().count() {
            return;
        }
        for partition in &topic.partitions {
            let partition = TopicPartition { topic: topic.name.clone(), partition: partition.index };
            if fetcher.assignment().all(|it| *it != partition) {
                fetcher.assign(partition, Position::Beginning);
            }
        }
    }

    fn print(&mut self, fetched: &[Fetched]) -> Outcome {
        for part in fetched {
            for batch in part.batches() {
                let batch = batch.map_err(explain)?;
                for record in batch.records() {
                    let record = record.map_err(explain)?;
                    let is_behind = self.ends.get(&part.partition).is_some_and(|end| record.offset >= *end);
                    if self.count == self.max_count || is_behind {
                        break;
                    }
                    self.count += 1;
                    self.printed.insert(part.partition.clone(), record.offset.after(1));
                    self.printer.print(&part.partition, &record, &mut self.buffer);
                }
                self.output.bytes(&self.buffer)?;
                self.buffer.clear();
                self.last_record = self.host.now();
            }
        }
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_a_log() {
        let at = |position| Some(Start::At(position));
        assert_eq!(parse_start("beginning"), at(Position::Beginning));
        assert_eq!(parse_start("end"), at(Position::End));
        assert_eq!(parse_start("42"), at(Position::Offset(Offset(42))));
        assert_eq!(parse_start("-10"), Some(Start::BeforeEnd(10)));
        assert_eq!(parse_start("@1700000000000"), at(Position::AtOrAfter(Timestamp(1_700_000_000_000))));
        for wrong in ["", "middle", "--1", "@-1", "1.5", "-"] {
            assert_eq!(parse_start(wrong), None, "{wrong}");
        }
    }
}
