//! What the program is called with.

use clap::{Parser, Subcommand};

use crate::commands::{
    cluster, completions, config, consume, doctor, format, group, log, perf, produce, start, storage, topic,
    txn,
};
use crate::logging::LogOptions;

/// Everything on the command line.
#[derive(Debug, Parser)]
#[command(
    name = "ottla",
    version,
    about = "The Apache Kafka platform in one program: broker, metadata quorum and tools.",
    after_help = "Examples:\n  \
        ottla start                                  a broker on localhost:9092, data in ./ottla-data\n  \
        ottla topic create orders --partitions 3     a topic\n  \
        echo hello | ottla produce orders            a record\n  \
        ottla consume orders --from-beginning        all records\n\n\
        Every command explains itself: ottla <command> --help",
    max_term_width = 110
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) log: LogOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server: broker, controller, or both
    Start(start::StartArguments),
    /// Give log directories their identity and a cluster its beginning
    Format(format::FormatArguments),
    /// Look at what `format` did, and at what it would do
    #[command(subcommand)]
    Storage(storage::StorageCommand),
    /// Say what would happen if a server started here, and change nothing: before taking over from Kafka
    Doctor(doctor::DoctorArguments),
    /// Create, list, describe, alter and delete topics
    Topic(topic::TopicArguments),
    /// Look at and change settings of topics, brokers, groups and metrics subscriptions
    Config(config::ConfigArguments),
    /// Send lines of standard input as records
    Produce(produce::ProduceArguments),
    /// Print the records of a topic
    Consume(consume::ConsumeArguments),
    /// Look at groups of every kind and at how far behind they are; let them go on elsewhere
    Group(group::GroupArguments),
    /// Look at transactions, and end those that hang
    Txn(txn::TxnArguments),
    /// Measure how fast records go in and come out
    Perf(perf::PerfArguments),
    /// Look at a cluster: its brokers, its quorum, its features
    Cluster(cluster::ClusterArguments),
    /// Look into the files of a broker, running or not
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Print the script with which a shell completes this program's arguments
    Completions(completions::CompletionsArguments),
}

impl Command {
    /// Whether the command is a server, whose log is what people look at.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Command::Start(_))
    }
}
