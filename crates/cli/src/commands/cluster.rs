//! `ottla cluster`: a cluster's brokers, its quorum, its features.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use ottla_base::{NodeId, Offset, Str, Timestamp};
use ottla_client::admin::{Admin, ClusterDescription, Features, Quorum, QuorumReplica};
use ottla_host::Host;
use serde_json::{Map, Value, json};

use crate::commands::client::{ClientArguments, explain};
use crate::failure::Outcome;
use crate::output::{Output, Style};
use crate::runtime;

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct ClusterArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Brokers, quorum and features
    #[command(
        after_help = "Examples:\n  ottla cluster describe\n  ottla cluster describe --json | jq .quorum.leader"
    )]
    Describe(Style),
    /// The id of the cluster
    #[command(after_help = "Examples:\n  ottla cluster id --bootstrap-server broker:9092")]
    Id,
    /// A new id for a cluster, for `ottla format`
    #[command(
        name = "random-id",
        visible_alias = "random-uuid",
        after_help = "Examples:\n  ottla format -t \"$(ottla cluster random-id)\" -c server.properties --standalone"
    )]
    RandomId,
}

/// Runs the command.
pub(crate) fn run(arguments: ClusterArguments) -> Outcome {
    let host = Host::real();
    let mut output = Output::new();
    if let ClusterCommand::RandomId = arguments.command {
        output.line(host.random_uuid())?;
        return output.flush();
    }
    runtime::run_tool(async move {
        let admin = arguments.client.admin(&host).await?;
        let cluster = admin.describe_cluster().await.map_err(explain)?;
        match arguments.command {
            ClusterCommand::Describe(style) => {
                Box::pin(describe(&admin, &cluster, style, &mut output)).await?
            }
            ClusterCommand::Id | ClusterCommand::RandomId => output.line(&*cluster.id)?,
        }
        output.flush()
    })
}

async fn describe(admin: &Admin, cluster: &ClusterDescription, style: Style, output: &mut Output) -> Outcome {
    let quorum = admin.describe_quorum().await.map_err(explain)?;
    let features = Box::pin(admin.describe_features()).await.map_err(explain)?;
    if style.json {
        return output.json(&as_json(cluster, &quorum, &features));
    }
    print_cluster(cluster, output)?;
    print_quorum(&quorum, output)?;
    print_features(&features, output)
}

fn print_cluster(cluster: &ClusterDescription, output: &mut Output) -> Outcome {
    output.line(format_args!("Cluster {}\n", cluster.id))?;
    let rows = cluster.brokers.iter().map(|it| {
        [
            it.id.to_string(),
            format!("{}:{}", it.host, it.port),
            it.rack.as_deref().unwrap_or("-").to_owned(),
            if it.is_fenced { "fenced" } else { "serving" }.to_owned(),
        ]
    });
    output.table(&["broker", "address", "rack", "state"], rows)
}

fn print_quorum(quorum: &Quorum, output: &mut Output) -> Outcome {
    let leader = quorum.leader.map_or_else(|| "none".to_owned(), |it| it.to_string());
    output.line(format_args!(
        "\nMetadata quorum: leader {leader}, epoch {}, high watermark {}\n",
        quorum.leader_epoch, quorum.high_watermark
    ))?;
    let listeners = |id: NodeId| {
        let nodes = quorum.nodes.iter().filter(|it| it.id == id);
        let addresses = nodes.flat_map(|it| &it.listeners).map(|it| format!("{}:{}", it.host, it.port));
        addresses.collect::<Vec<_>>().join(",")
    };
    let row = |role: &str, it: &QuorumReplica| {
        let role = if quorum.leader == Some(it.id) { "leader" } else { role };
        let end = it.end.map_or_else(|| "-".to_owned(), |it| it.to_string());
        let lag = it.end.map_or_else(|| "-".to_owned(), |end| lag_behind(quorum, end).to_string());
        [it.id.to_string(), role.to_owned(), end, lag, listeners(it.id)]
    };
    let voters = quorum.voters.iter().map(|it| row("voter", it));
    let observers = quorum.observers.iter().map(|it| row("observer", it));
    output.table(&["node", "role", "log end", "lag", "address"], voters.chain(observers))
}

/// How many records a replica lacks of the leader's log.
fn lag_behind(quorum: &Quorum, end: Offset) -> i64 {
    let leader = quorum.voters.iter().find(|it| Some(it.id) == quorum.leader);
    let leader_end = leader.and_then(|it| it.end).unwrap_or(end);
    leader_end.get().saturating_sub(end.get()).max(0)
}

fn print_features(features: &Features, output: &mut Output) -> Outcome {
    output.line("")?;
    let rows = feature_names(features).into_iter().map(|name| {
        let finalized = features.finalized.get(name);
        let supported = features.supported.get(name);
        [
            name.to_string(),
            finalized.map_or_else(|| "0".to_owned(), |it| it.level.to_string()),
            supported.map_or_else(|| "-".to_owned(), |it| format!("{} to {}", it.min, it.max)),
        ]
    });
    output.table(&["feature", "level", "supported"], rows)
}

fn feature_names(features: &Features) -> BTreeSet<&Str> {
    features.supported.keys().chain(features.finalized.keys()).collect()
}

fn as_json(cluster: &ClusterDescription, quorum: &Quorum, features: &Features) -> Value {
    let broker = cluster.brokers.iter().map(|it| {
        json!({
            "id": it.id.get(),
            "host": &*it.host,
            "port": it.port,
            "rack": it.rack.as_deref(),
            "fenced": it.is_fenced,
        })
    });
    let replica = |it: &QuorumReplica| {
        json!({
            "id": it.id.get(),
            "directory": it.directory.map(|it| it.to_string()),
            "log_end": it.end.map(Offset::get),
            "lag": it.end.map(|end| lag_behind(quorum, end)),
            "last_fetch_timestamp": it.last_fetch.map(Timestamp::get),
            "last_caught_up_timestamp": it.last_caught_up.map(Timestamp::get),
        })
    };
    let feature = |name: &&Str| {
        let supported = features.supported.get(*name);
        let value = json!({
            "level": features.finalized.get(*name).map_or(0, |it| it.level),
            "min": supported.map(|it| it.min),
            "max": supported.map(|it| it.max),
        });
        (name.to_string(), value)
    };
    json!({
        "id": &*cluster.id,
        "controller": cluster.controller.map(NodeId::get),
        "brokers": broker.collect::<Value>(),
        "quorum": {
            "leader": quorum.leader.map(NodeId::get),
            "leader_epoch": quorum.leader_epoch.get(),
            "high_watermark": quorum.high_watermark.get(),
            "voters": quorum.voters.iter().map(replica).collect::<Value>(),
            "observers": quorum.observers.iter().map(replica).collect::<Value>(),
        },
        "features_epoch": features.epoch,
        "features": feature_names(features).iter().map(feature).collect::<Map<String, Value>>(),
    })
}
