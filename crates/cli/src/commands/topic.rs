//! `ottla topic`: create, list, describe, alter and delete topics.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use ottla_base::{NodeId, PartitionIndex, Str, validate_topic_name};
use ottla_client::admin::{
    Admin, CheckOnly, ConfigEntry, ConfigResource, ConfigSource, ListedTopic, NewPartitions, NewTopic,
    ResourceType, TopicDescription, TopicPartitionDescription,
};
use ottla_client::parse_assignment;
use ottla_host::Host;
use serde_json::{Value, json};

use crate::commands::client::{ClientArguments, count_of, explain, items, joined};
use crate::failure::{Failure, Outcome};
use crate::output::{Output, Style};
use crate::runtime;

/// What to do with topics.
#[derive(Debug, Args)]
pub(crate) struct TopicArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Debug, Subcommand)]
enum TopicCommand {
    /// Make topics
    Create(CreateArguments),
    /// Which topics there are
    List(ListArguments),
    /// Partitions, leaders, replicas and settings
    Describe(DescribeArguments),
    /// More partitions; settings are changed with `ottla config alter`
    Alter(AlterArguments),
    /// Delete topics and all of their records
    Delete(DeleteArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla topic create orders\n  \
    ottla topic create orders --partitions 6 --replication-factor 3 --config retention.ms=86400000\n  \
    ottla topic create state --config cleanup.policy=compact --if-not-exists")]
struct CreateArguments {
    /// Names
    #[arg(value_name = "TOPIC", required = true)]
    topics: Vec<String>,
    /// How many partitions; the broker's num.partitions if not given
    #[arg(short, long, value_name = "COUNT")]
    partitions: Option<i32>,
    /// How many replicas of each; the broker's default.replication.factor if not given
    #[arg(short, long, value_name = "COUNT")]
    replication_factor: Option<i16>,
    /// The brokers of each partition's replicas, as 1:2,2:3 for two partitions with two replicas each
    #[arg(long, value_name = "BROKERS", conflicts_with_all = ["partitions", "replication_factor"])]
    replica_assignment: Option<String>,
    /// A setting of the topic; may be given several times
    #[arg(long = "config", value_name = "KEY=VALUE")]
    configs: Vec<String>,
    /// Do nothing about topics that exist
    #[arg(long)]
    if_not_exists: bool,
    /// Only say whether it could be done
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    style: Style,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ottla topic list\n  ottla topic list --json | jq -r '.[].name'")]
struct ListArguments {
    /// Leave out topics in which the cluster keeps its own state
    #[arg(long)]
    exclude_internal: bool,
    #[command(flatten)]
    style: Style,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla topic describe orders\n  \
    ottla topic describe --under-replicated-partitions")]
struct DescribeArguments {
    /// Names; all topics if there are none
    #[arg(value_name = "TOPIC")]
    topics: Vec<String>,
    /// Only partitions that lack a replica in sync
    #[arg(long)]
    under_replicated_partitions: bool,
    /// Only partitions without a leader
    #[arg(long)]
    unavailable_partitions: bool,
    /// Leave out topics in which the cluster keeps its own state
    #[arg(long)]
    exclude_internal: bool,
    #[command(flatten)]
    style: Style,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla topic alter orders --partitions 12\n  \
    ottla config alter topic orders --set retention.ms=3600000")]
struct AlterArguments {
    /// Name
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// How many partitions it is to have; records with a key may go to other partitions than before
    #[arg(short, long, value_name = "COUNT")]
    partitions: i32,
    /// The brokers of each new partition's replicas, as 1:2,2:3
    #[arg(long, value_name = "BROKERS")]
    replica_assignment: Option<String>,
    /// Only say whether it could be done
    #[arg(long)]
    validate_only: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ottla topic delete orders\n  ottla topic delete one two --if-exists")]
struct DeleteArguments {
    /// Names
    #[arg(value_name = "TOPIC", required = true)]
    topics: Vec<String>,
    /// Do nothing about topics that do not exist
    #[arg(long)]
    if_exists: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: TopicArguments) -> Outcome {
    runtime::run_tool(async move {
        let host = Host::real();
        let mut output = Output::new();
        let TopicArguments { client, command } = arguments;
        match command {
            TopicCommand::Create(it) => {
                let topics = new_topics(&it)?;
                create(&client.admin(&host).await?, &it, topics, &mut output).await?;
            }
            TopicCommand::List(it) => list(&client.admin(&host).await?, &it, &mut output).await?,
            TopicCommand::Describe(it) => describe(&client.admin(&host).await?, &it, &mut output).await?,
            TopicCommand::Alter(it) => alter(&client.admin(&host).await?, &it, &mut output).await?,
            TopicCommand::Delete(it) => delete(&client.admin(&host).await?, &it, &mut output).await?,
        }
        output.flush()
    })
}

fn topic_name(name: &Str) -> String {
    format!("topic {name}")
}

fn new_topics(arguments: &CreateArguments) -> Outcome<Vec<NewTopic>> {
    let assignment = |text: &String| replica_assignment(text);
    let assignments = arguments.replica_assignment.as_ref().map(assignment).transpose()?.unwrap_or_default();
    let assignments: BTreeMap<PartitionIndex, Vec<NodeId>> =
        (0..).map(PartitionIndex).zip(assignments).collect();
    let configs: BTreeMap<String, String> = arguments
        .configs
        .iter()
        .map(|it| parse_assignment(it).map_err(|error| Failure::misuse(format!("--config: {error}"))))
        .collect::<Outcome<_>>()?;
    let topic = |name: &String| {
        validate_topic_name(name).map_err(|error| Failure::misuse(format!("topic {name}: {error}")))?;
        Ok(NewTopic {
            name: Str::from(name.as_str()),
            partitions: arguments.partitions,
            replication_factor: arguments.replication_factor,
            assignments: assignments.clone(),
            configs: configs.clone(),
        })
    };
    arguments.topics.iter().map(topic).collect()
}

/// Reads the brokers of partitions: `1:2,2:3`.
fn replica_assignment(text: &str) -> Outcome<Vec<Vec<NodeId>>> {
    let brokers = |partition: &str| {
        partition.split(':').map(|it| it.trim().parse().map(NodeId).ok()).collect::<Option<Vec<_>>>()
    };
    text.split(',').map(brokers).collect::<Option<_>>().ok_or_else(|| {
        Failure::misuse(format!("--replica-assignment {text}: expected ids of brokers as in 1:2,2:3"))
    })
}

fn check_only(validate_only: bool) -> CheckOnly {
    if validate_only { CheckOnly::Yes } else { CheckOnly::No }
}

async fn create(
    admin: &Admin,
    arguments: &CreateArguments,
    mut topics: Vec<NewTopic>,
    output: &mut Output,
) -> Outcome {
    if arguments.if_not_exists {
        let existing = admin.list_topics().await.map_err(explain)?;
        topics.retain(|topic| existing.iter().all(|it| it.name != topic.name));
        if topics.is_empty() {
            return Ok(());
        }
    }
    let created = admin.create_topics(&topics, check_only(arguments.validate_only)).await;
    let created = created.map_err(explain)?;
    let (created, outcome) = items(created, topic_name);
    if arguments.style.json {
        let value = created.iter().map(|(name, it)| {
            json!({
                "name": &**name,
                "id": it.id.to_string(),
                "partitions": it.partitions,
                "replication_factor": it.replication_factor,
            })
        });
        output.json(&value.collect())?;
        return outcome;
    }
    for (name, topic) in created {
        let verb = if arguments.validate_only { "could be created" } else { "was created" };
        let shape = match (topic.partitions, topic.replication_factor) {
            (Some(partitions), Some(replicas)) => {
                format!(" with {} of {}", count_of(partitions, "partition"), count_of(replicas, "replica"))
            }
            _ => String::new(),
        };
        output.line(format_args!("Topic {name} {verb}{shape}."))?;
    }
    outcome
}

async fn listed(admin: &Admin, exclude_internal: bool) -> Outcome<Vec<ListedTopic>> {
    let mut topics = admin.list_topics().await.map_err(explain)?;
    topics.retain(|it| !(exclude_internal && it.is_internal));
    Ok(topics)
}

async fn list(admin: &Admin, arguments: &ListArguments, output: &mut Output) -> Outcome {
    let topics = listed(admin, arguments.exclude_internal).await?;
    if arguments.style.json {
        let value = topics.iter().map(|it| {
            json!({
                "name": &*it.name,
                "id": it.id.to_string(),
                "internal": it.is_internal,
                "partitions": it.partitions,
            })
        });
        return output.json(&value.collect());
    }
    if !output.is_terminal() {
        // As `kafka-topics --list`, for scripts.
        return topics.iter().try_for_each(|it| output.line(&*it.name));
    }
    if topics.is_empty() {
        return output.line("There are no topics. `ottla topic create` makes one.");
    }
    let rows = topics.iter().map(|it| [it.name.to_string(), it.partitions.to_string(), it.id.to_string()]);
    output.table(&["topic", "partitions", "id"], rows)
}

async fn describe(admin: &Admin, arguments: &DescribeArguments, output: &mut Output) -> Outcome {
    let names: Vec<Str> = if arguments.topics.is_empty() {
        listed(admin, arguments.exclude_internal).await?.into_iter().map(|it| it.name).collect()
    } else {
        arguments.topics.iter().map(|it| Str::from(it.as_str())).collect()
    };
    let described = admin.describe_topics(&names).await;
    let (topics, outcome) = items(described.map_err(explain)?, topic_name);
    let resource = |name: &Str| ConfigResource { kind: ResourceType::Topic, name: name.clone() };
    let resources: Vec<ConfigResource> = topics.iter().map(|(name, _)| resource(name)).collect();
    let configs = admin.describe_configs(&resources, None).await;
    // Who may not see settings sees the rest.
    let (configs, _) = items(configs.map_err(explain)?, |it| topic_name(&it.name));
    let configs: BTreeMap<Str, Vec<ConfigEntry>> =
        configs.into_iter().map(|(resource, entries)| (resource.name, overrides(entries))).collect();
    let nothing = Vec::new();
    let only_some = arguments.under_replicated_partitions || arguments.unavailable_partitions;
    let mut values = Vec::new();
    for (name, mut topic) in topics {
        topic.partitions.retain(|it| {
            !only_some
                || (arguments.under_replicated_partitions && it.isr.len() < it.replicas.len())
                || (arguments.unavailable_partitions && it.leader.is_none())
        });
        if only_some && topic.partitions.is_empty() {
            continue;
        }
        let configs = configs.get(&name).unwrap_or(&nothing);
        match arguments.style.json {
            true => values.push(topic_as_json(&topic, configs)),
            false => print_topic(&topic, configs, output)?,
        }
    }
    if arguments.style.json {
        output.json(&Value::Array(values))?;
    }
    outcome
}

/// The settings that were set for the topic.
fn overrides(entries: Vec<ConfigEntry>) -> Vec<ConfigEntry> {
    entries.into_iter().filter(|it| it.source == ConfigSource::Topic).collect()
}

fn print_topic(topic: &TopicDescription, configs: &[ConfigEntry], output: &mut Output) -> Outcome {
    let replicas = topic.partitions.first().map_or(0, |it| it.replicas.len());
    output.line(format_args!(
        "{}  id {}  {} of {}",
        topic.name,
        topic.id,
        count_of(topic.partitions.len(), "partition"),
        count_of(replicas, "replica")
    ))?;
    for config in configs {
        output.line(format_args!("  {}={}", config.name, config.value.as_deref().unwrap_or_default()))?;
    }
    let header = ["partition", "leader", "epoch", "replicas", "in sync", "eligible", "offline"];
    output.table(&header, topic.partitions.iter().map(partition_row))?;
    output.line("")
}

fn partition_row(partition: &TopicPartitionDescription) -> [String; 7] {
    [
        partition.index.to_string(),
        partition.leader.map_or_else(|| "none".to_owned(), |it| it.to_string()),
        partition.leader_epoch.to_string(),
        joined(&partition.replicas),
        joined(&partition.isr),
        partition.eligible_leaders.as_deref().map(joined).unwrap_or_default(),
        joined(&partition.offline),
    ]
}

fn topic_as_json(topic: &TopicDescription, configs: &[ConfigEntry]) -> Value {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|it| json!(it.get())).collect::<Value>();
    let partition = |it: &TopicPartitionDescription| {
        json!({
            "partition": it.index.get(),
            "leader": it.leader.map(NodeId::get),
            "leader_epoch": it.leader_epoch.get(),
            "replicas": ids(&it.replicas),
            "isr": ids(&it.isr),
            "offline": ids(&it.offline),
            "eligible_leaders": it.eligible_leaders.as_deref().map(ids),
            "last_known_eligible_leaders": it.last_known_eligible_leaders.as_deref().map(ids),
        })
    };
    let configs: serde_json::Map<String, Value> =
        configs.iter().map(|it| (it.name.to_string(), json!(it.value.as_deref()))).collect();
    json!({
        "name": &*topic.name,
        "id": topic.id.to_string(),
        "internal": topic.is_internal,
        "configs": configs,
        "partitions": topic.partitions.iter().map(partition).collect::<Value>(),
    })
}

async fn alter(admin: &Admin, arguments: &AlterArguments, output: &mut Output) -> Outcome {
    let assignments = arguments.replica_assignment.as_deref().map(replica_assignment).transpose()?;
    let grown = NewPartitions { total: arguments.partitions, assignments };
    let topics = [(Str::from(arguments.topic.as_str()), grown)].into();
    let results = admin.create_partitions(&topics, check_only(arguments.validate_only)).await;
    items(results.map_err(explain)?, topic_name).1?;
    let verb = if arguments.validate_only { "could have" } else { "has" };
    let partitions = count_of(arguments.partitions, "partition");
    output.line(format_args!("Topic {} {verb} {partitions}.", arguments.topic))
}

async fn delete(admin: &Admin, arguments: &DeleteArguments, output: &mut Output) -> Outcome {
    let mut names: Vec<Str> = arguments.topics.iter().map(|it| Str::from(it.as_str())).collect();
    if arguments.if_exists {
        let existing = listed(admin, false).await?;
        names.retain(|name| existing.iter().any(|it| it.name == *name));
    }
    let deleted = admin.delete_topics(&names).await;
    let (deleted, outcome) = items(deleted.map_err(explain)?, topic_name);
    for (name, ()) in deleted {
        output.line(format_args!("Topic {name} was deleted."))?;
    }
    outcome
}

#[cfg(test)]
mod tests {
    use ottla_base::NodeId;

    use super::replica_assignment;

    #[test]
    fn replicas_are_read_as_kafkas_tool_reads_them() {
        let node = NodeId;
        assert_eq!(replica_assignment("1:2,2:3").unwrap(), [[node(1), node(2)], [node(2), node(3)]]);
        assert_eq!(replica_assignment("0").unwrap(), [[node(0)]]);
        for wrong in ["", "1:", "a", "1;2"] {
            assert!(replica_assignment(wrong).is_err(), "{wrong}");
        }
    }
}
