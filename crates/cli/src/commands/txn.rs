//! `ottla txn`: transactions, and those that hang.

use std::time::Duration;

use clap::{Args, Subcommand};
use ottla_base::{Offset, ProducerEpoch, ProducerId, Str, Timestamp};
use ottla_client::TopicPartition;
use ottla_client::admin::{
    AbortSpec, Admin, HangingTransaction, ListedTransaction, TransactionDescription, TransactionFilter,
};
use ottla_host::Host;
use serde_json::{Value, json};

use crate::commands::client::{ClientArguments, explain, items};
use crate::failure::{Failure, Outcome};
use crate::output::{Output, Style};
use crate::runtime;

/// What to do with transactions.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla txn list\n  \
    ottla txn describe payments-1\n  \
    ottla txn find-hanging --topic orders\n  \
    ottla txn abort --topic orders --partition 0 --start-offset 42")]
pub(crate) struct TxnArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(subcommand)]
    command: TxnCommand,
}

#[derive(Debug, Subcommand)]
enum TxnCommand {
    /// The transactional ids, and what their transactions are doing
    List(ListArguments),
    /// Transactions in detail, by transactional id
    Describe(DescribeArguments),
    /// Abort a transaction that hangs, in one partition
    Abort(AbortArguments),
    /// Open transactions that their coordinators will not end
    FindHanging(FindArguments),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ottla txn list\n  ottla txn list --state Ongoing --longer-than-ms 60000\n  \
    ottla txn list --pattern 'payments-.*' --json"
)]
struct ListArguments {
    /// Only in this state, such as Ongoing or CompleteCommit; may be given several times
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<String>,
    /// Only of this producer, by its id; may be given several times
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    producer_id: Vec<i64>,
    /// Only what has been running for longer
    #[arg(long, value_name = "MS")]
    longer_than_ms: Option<u64>,
    /// Only transactional ids that match a pattern
    #[arg(long, value_name = "REGEX")]
    pattern: Option<String>,
    #[command(flatten)]
    style: Style,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ottla txn describe payments-1\n  ottla txn describe payments-1 payments-2 --json"
)]
struct DescribeArguments {
    /// The transactional ids
    #[arg(required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    style: Style,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla txn abort --topic orders --partition 0 --start-offset 42\n      \
        the transaction that begins there, as find-hanging shows it\n  \
    ottla txn abort --topic orders --partition 0 --producer-id 7 --producer-epoch 1 --coordinator-epoch 3\n\n\
    An aborted transaction cannot be committed any more: abort only what find-hanging shows.")]
struct AbortArguments {
    /// The topic
    #[arg(long)]
    topic: String,
    /// The partition
    #[arg(long, value_name = "NUMBER")]
    partition: i32,
    /// Where the transaction begins in the partition
    #[arg(long, value_name = "OFFSET", required_unless_present = "producer_id")]
    start_offset: Option<i64>,
    /// Its producer, if it is not told by where it begins
    #[arg(long, value_name = "ID", conflicts_with = "start_offset", requires = "producer_epoch")]
    producer_id: Option<i64>,
    /// The producer's epoch
    #[arg(long, value_name = "EPOCH", requires = "producer_id")]
    producer_epoch: Option<i16>,
    /// The coordinator's epoch, as the partition knows it
    #[arg(long, value_name = "EPOCH", default_value = "-1", allow_hyphen_values = true)]
    coordinator_epoch: i32,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ottla txn find-hanging --topic orders\n  \
    ottla txn find-hanging --broker-id 1 --max-transaction-timeout 60")]
struct FindArguments {
    /// Only in this topic
    #[arg(long, required_unless_present = "broker_id")]
    topic: Option<String>,
    /// Only in this partition of the topic
    #[arg(long, value_name = "NUMBER", requires = "topic")]
    partition: Option<i32>,
    /// Only in partitions with a replica on this broker
    #[arg(long, value_name = "ID")]
    broker_id: Option<i32>,
    /// The longest that a transaction may take here, in minutes (transaction.max.timeout.ms of the brokers)
    #[arg(long, value_name = "MINUTES", default_value = "15")]
    max_transaction_timeout: u64,
    #[command(flatten)]
    style: Style,
}

/// Runs the command.
pub(crate) fn run(arguments: TxnArguments) -> Outcome {
    runtime::run_tool(Box::pin(dispatch(arguments)))
}

async fn dispatch(arguments: TxnArguments) -> Outcome {
    let host = Host::real();
    let mut output = Output::new();
    let TxnArguments { client, command } = arguments;
    let admin = Box::pin(client.admin(&host)).await?;
    match command {
        TxnCommand::List(it) => list(&admin, &it, &mut output).await?,
        TxnCommand::Describe(it) => describe(&admin, &it, &mut output).await?,
        TxnCommand::Abort(it) => Box::pin(abort(&admin, &it, &mut output)).await?,
        TxnCommand::FindHanging(it) => Box::pin(find_hanging(&admin, &it, &mut output)).await?,
    }
    output.flush()
}

async fn list(admin: &Admin, arguments: &ListArguments, output: &mut Output) -> Outcome {
    let filter = TransactionFilter {
        states: arguments.state.iter().map(|it| it.as_str().into()).collect(),
        producers: arguments.producer_id.iter().map(|it| ProducerId(*it)).collect(),
        longer_than: arguments.longer_than_ms.map(Duration::from_millis),
        pattern: arguments.pattern.as_deref().map(Str::from),
    };
    let listed = Box::pin(admin.list_transactions(&filter)).await.map_err(explain)?;
    if arguments.style.json {
        return output.json(&listed.iter().map(listed_json).collect());
    }
    let rows = listed.iter().map(|it| {
        [it.id.to_string(), it.coordinator.to_string(), it.producer.to_string(), it.state.to_string()]
    });
    output.table(&["transactional id", "coordinator", "producer", "state"], rows)
}

fn listed_json(it: &ListedTransaction) -> Value {
    json!({
        "transactional_id": &*it.id,
        "coordinator": it.coordinator.0,
        "producer": it.producer.0,
        "state": &*it.state,
    })
}

async fn describe(admin: &Admin, arguments: &DescribeArguments, output: &mut Output) -> Outcome {
    let ids: Vec<Str> = arguments.ids.iter().map(|it| it.as_str().into()).collect();
    let described = Box::pin(admin.describe_transactions(&ids)).await;
    let (described, outcome) = items(described, |id| format!("transactional id {id}"));
    if arguments.style.json {
        output.json(&described.iter().map(|(id, it)| described_json(id, it)).collect())?;
        return outcome;
    }
    if described.is_empty() {
        return outcome;
    }
    let now = admin.cluster().host().wall_clock();
    let rows = described.iter().map(|(id, it)| {
        let is_open = matches!(it.state.as_str(), "Ongoing" | "PrepareCommit" | "PrepareAbort");
        let started = it.started.filter(|_| is_open);
        let open_for = started.map_or_else(|| "-".to_owned(), |started| seconds_between(started, now));
        let partitions: Vec<String> = it.partitions.iter().map(ToString::to_string).collect();
        [
            id.to_string(),
            it.coordinator.to_string(),
            it.producer.to_string(),
            it.epoch.to_string(),
            it.state.to_string(),
            format!("{} s", it.timeout.as_secs_f64()),
            open_for,
            if partitions.is_empty() { "-".to_owned() } else { partitions.join(",") },
        ]
    });
    let header = [
        "transactional id",
        "coordinator",
        "producer",
        "epoch",
        "state",
        "timeout",
        "open for",
        "partitions",
    ];
    output.table(&header, rows)?;
    outcome
}

fn described_json(id: &Str, it: &TransactionDescription) -> Value {
    let partitions =
        it.partitions.iter().map(|it| json!({"topic": &*it.topic, "partition": it.partition.get()}));
    json!({
        "transactional_id": &**id,
        "coordinator": it.coordinator.0,
        "producer": it.producer.0,
        "epoch": it.epoch.0,
        "state": &*it.state,
        "timeout_ms": u64::try_from(it.timeout.as_millis()).unwrap_or(u64::MAX),
        "started_ms": it.started.map(|it| it.0),
        "partitions": partitions.collect::<Value>(),
    })
}

fn seconds_between(from: Timestamp, to: Timestamp) -> String {
    format!("{} s", (to.0.saturating_sub(from.0)).max(0) / 1000)
}

async fn abort(admin: &Admin, arguments: &AbortArguments, output: &mut Output) -> Outcome {
    let partition = TopicPartition::new(arguments.topic.as_str(), arguments.partition);
    let spec = match (arguments.start_offset, arguments.producer_id, arguments.producer_epoch) {
        (Some(start), ..) => admin.open_transaction_at(&partition, Offset(start)).await.map_err(|error| {
            explain(error).advice(format!("ottla txn find-hanging --topic {}", arguments.topic))
        })?,
        (None, Some(id), Some(epoch)) => AbortSpec {
            partition: partition.clone(),
            producer: ProducerId(id),
            epoch: ProducerEpoch(epoch),
            coordinator_epoch: arguments.coordinator_epoch,
        },
        _ => return Err(Failure::misuse("which transaction?").advice("--start-offset, or --producer-id")),
    };
    admin.abort_transaction(&spec).await.map_err(explain)?;
    output.line(format_args!("The transaction of producer {} was aborted in {partition}.", spec.producer))
}

async fn find_hanging(admin: &Admin, arguments: &FindArguments, output: &mut Output) -> Outcome {
    let partitions = searched(admin, arguments).await?;
    let open_for = Duration::from_secs(arguments.max_transaction_timeout.saturating_mul(60));
    let found = admin.find_hanging_transactions(&partitions, open_for).await.map_err(explain)?;
    let now = admin.cluster().host().wall_clock();
    if arguments.style.json {
        return output.json(&found.iter().map(hanging_json).collect());
    }
    if found.is_empty() {
        return output.line("No transaction hangs.");
    }
    let rows = found.iter().map(|it| {
        let last = it.producer.last_timestamp;
        [
            it.partition.topic.to_string(),
            it.partition.partition.to_string(),
            it.producer.id.to_string(),
            it.producer.epoch.to_string(),
            it.producer.coordinator_epoch.unwrap_or(-1).to_string(),
            it.start.to_string(),
            seconds_between(last, now),
        ]
    });
    let header =
        ["topic", "partition", "producer", "epoch", "coordinator epoch", "start offset", "last write ago"];
    output.table(&header, rows)
}

fn hanging_json(it: &HangingTransaction) -> Value {
    json!({
        "topic": &*it.partition.topic,
        "partition": it.partition.partition.get(),
        "producer": it.producer.id.0,
        "epoch": it.producer.epoch,
        "coordinator_epoch": it.producer.coordinator_epoch,
        "start_offset": it.start.get(),
        "last_timestamp": it.producer.last_timestamp.0,
    })
}

/// The partitions to look into.
async fn searched(admin: &Admin, arguments: &FindArguments) -> Outcome<Vec<TopicPartition>> {
    let names: Vec<Str> = match &arguments.topic {
        Some(topic) => vec![topic.as_str().into()],
        None => {
            let listed = Box::pin(admin.list_topics()).await.map_err(explain)?;
            listed.into_iter().map(|it| it.name).collect()
        }
    };
    let described = Box::pin(admin.describe_topics(&names)).await.map_err(explain)?;
    let (described, outcome) = items(described, |name| format!("topic {name}"));
    outcome?;
    let mut partitions = Vec::new();
    for (name, topic) in described {
        for it in topic.partitions {
            let asked = arguments.partition.is_none_or(|number| it.index.get() == number);
            let here = arguments.broker_id.is_none_or(|id| it.replicas.iter().any(|it| it.0 == id));
            if asked && here {
                partitions.push(TopicPartition::new(name.clone(), it.index.get()));
            }
        }
    }
    Ok(partitions)
}
