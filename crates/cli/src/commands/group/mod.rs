//! `ottla group`: groups of every kind, their members, and where they are.

mod offsets;
mod reset;
mod show;
mod why;

use clap::{Args, Subcommand};
use ottla_base::Str;
use ottla_client::admin::{Admin, GroupFilter, GroupKind, MemberToRemove};
use ottla_host::Host;
use serde_json::{Value, json};

use crate::commands::client::{ClientArguments, count_of, explain, items};
use crate::failure::{Failure, Outcome};
use crate::output::{Output, Style};
use crate::runtime;

/// What to do with groups.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla group list\n  \
    ottla group describe payments --why\n  \
    ottla group lag\n  \
    ottla group reset payments --all-topics --to-earliest              shows what would happen\n  \
    ottla group reset payments --topic orders --shift-by -10 --execute\n  \
    ottla group delete payments")]
pub(crate) struct GroupArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    /// Which groups there are
    List(ListArguments),
    /// What groups are doing: their members and their offsets
    Describe(DescribeArguments),
    /// Who is in groups, and what each member has
    Members(MembersArguments),
    /// Where groups are in each partition, and how far behind
    Offsets(OffsetsArguments),
    /// How far behind groups are, in sum
    Lag(LagArguments),
    /// Let a group go on elsewhere; without --execute it is only shown
    Reset(reset::ResetArguments),
    /// Let a group forget what it has committed in topics
    DeleteOffsets(DeleteOffsetsArguments),
    /// Delete groups that have no members
    Delete(DeleteArguments),
    /// Remove members from a group; it shares out anew
    RemoveMembers(RemoveArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla group list\n  \
    ottla group list --kind share --state stable --json")]
struct ListArguments {
    /// Only of this kind: classic, consumer, share, streams; may be given several times
    #[arg(long, visible_alias = "type", value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Only in this state, such as stable or empty; may be given several times
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<String>,
    #[command(flatten)]
    style: Style,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla group describe payments\n  \
    ottla group describe payments --why\n      \
        with the last rebalances and what caused each; only Ottla's brokers know\n  \
    ottla group describe payments --why --metrics-url http://broker-1:9404")]
struct DescribeArguments {
    /// The groups; all if none is named
    groups: Vec<String>,
    /// Also the last rebalances, and what caused each
    #[arg(long)]
    why: bool,
    /// Where the coordinator's metrics are, for --why; asked of the broker if not given
    #[arg(long, value_name = "URL", requires = "why")]
    metrics_url: Option<String>,
    #[command(flatten)]
    style: Style,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ottla group members payments\n  ottla group members payments --json")]
struct MembersArguments {
    /// The groups; all if none is named
    groups: Vec<String>,
    #[command(flatten)]
    style: Style,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ottla group offsets payments\n  ottla group offsets payments --topic orders"
)]
struct OffsetsArguments {
    /// The groups; all if none is named
    groups: Vec<String>,
    /// Only in this topic; may be given several times
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    #[command(flatten)]
    style: Style,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ottla group lag\n  ottla group lag payments --json")]
struct LagArguments {
    /// The groups; all if none is named
    groups: Vec<String>,
    #[command(flatten)]
    style: Style,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ottla group delete-offsets payments --topic orders\n  \
    ottla group delete-offsets payments --topic orders:0,2")]
struct DeleteOffsetsArguments {
    /// The group
    group: String,
    /// A topic, or some of its partitions: orders, orders:0,2; may be given several times
    #[arg(long, value_name = "TOPIC[:PARTITIONS]", required = true)]
    topic: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ottla group delete payments\n  ottla group delete payments refunds")]
struct DeleteArguments {
    /// The groups
    #[arg(required = true)]
    groups: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ottla group remove-members payments --instance till-1\n  \
    ottla group remove-members payments --member consumer-1-70fd1b40-59a7-4c3b-9a5c-1b2d6f0b5a52\n  \
    ottla group remove-members payments --all")]
struct RemoveArguments {
    /// The group
    group: String,
    /// A member, by its id; may be given several times
    #[arg(long, value_name = "ID")]
    member: Vec<String>,
    /// A member, by its group.instance.id; may be given several times
    #[arg(long, value_name = "ID")]
    instance: Vec<String>,
    /// All members
    #[arg(long, conflicts_with_all = ["member", "instance"])]
    all: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: GroupArguments) -> Outcome {
    runtime::run_tool(Box::pin(dispatch(arguments)))
}

async fn dispatch(arguments: GroupArguments) -> Outcome {
    let host = Host::real();
    let mut output = Output::new();
    let GroupArguments { client, command } = arguments;
    let admin = Box::pin(client.admin(&host)).await?;
    match command {
        GroupCommand::List(it) => list(&admin, &it, &mut output).await?,
        GroupCommand::Describe(it) => Box::pin(describe(&admin, &it, &mut output)).await?,
        GroupCommand::Members(it) => {
            let described = describe_all(&admin, &it.groups).await?;
            show::members(&described, it.style, &mut output)?;
        }
        GroupCommand::Offsets(it) => {
            let described = describe_all(&admin, &it.groups).await?;
            let topics: Vec<Str> = it.topic.iter().map(|it| it.as_str().into()).collect();
            let mut places = Box::pin(offsets::places(&admin, &described)).await?;
            places.retain(|it| topics.is_empty() || topics.contains(&it.partition.topic));
            show::places(&places, it.style, &mut output)?;
        }
        GroupCommand::Lag(it) => {
            let described = describe_all(&admin, &it.groups).await?;
            let places = Box::pin(offsets::places(&admin, &described)).await?;
            show::lag(&described, &places, it.style, &mut output)?;
        }
        GroupCommand::Reset(it) => Box::pin(reset::run(&admin, &host, &it, &mut output)).await?,
        GroupCommand::DeleteOffsets(it) => Box::pin(delete_offsets(&admin, &it, &mut output)).await?,
        GroupCommand::Delete(it) => delete(&admin, &it, &mut output).await?,
        GroupCommand::RemoveMembers(it) => Box::pin(remove(&admin, &it, &mut output)).await?,
    }
    output.flush()
}

fn kind_of(text: &str) -> Outcome<GroupKind> {
    GroupKind::parse(text).ok_or_else(|| {
        Failure::misuse(format!("groups are of no kind {text}")).advice("classic, consumer, share or streams")
    })
}

async fn list(admin: &Admin, arguments: &ListArguments, output: &mut Output) -> Outcome {
    let kinds = arguments.kind.iter().map(|it| kind_of(it)).collect::<Outcome<Vec<_>>>()?;
    let states = arguments.state.iter().map(|it| it.as_str().into()).collect();
    let groups = Box::pin(admin.list_groups(&GroupFilter { states, kinds })).await.map_err(explain)?;
    if arguments.style.json {
        let value = groups.iter().map(|it| {
            json!({
                "group": &*it.id,
                "kind": it.kind.name().to_lowercase(),
                "state": &*it.state,
                "protocol_type": &*it.protocol_type,
                "coordinator": it.coordinator.0,
            })
        });
        return output.json(&value.collect());
    }
    let rows = groups.iter().map(|it| {
        let kind = it.kind.name().to_lowercase();
        [
            it.id.to_string(),
            kind,
            it.state.to_string(),
            it.protocol_type.to_string(),
            it.coordinator.to_string(),
        ]
    });
    output.table(&["group", "kind", "state", "protocol", "coordinator"], rows)
}

/// The groups that are named, or all, in detail.
async fn describe_all(admin: &Admin, groups: &[String]) -> Outcome<Vec<show::Described>> {
    let mut ids: Vec<Str> = groups.iter().map(|it| it.as_str().into()).collect();
    if ids.is_empty() {
        let listed = Box::pin(admin.list_groups(&GroupFilter::default())).await.map_err(explain)?;
        ids = listed.into_iter().map(|it| it.id).collect();
    }
    let described = Box::pin(admin.describe_groups(&ids)).await;
    let (described, outcome) = items(described, |id| format!("group {id}"));
    if described.is_empty() {
        outcome?;
    } else if let Err(failure) = outcome {
        failure.tell();
    }
    Ok(described.into_iter().map(|(_, it)| it).collect())
}

async fn describe(admin: &Admin, arguments: &DescribeArguments, output: &mut Output) -> Outcome {
    let described = describe_all(admin, &arguments.groups).await?;
    let places = Box::pin(offsets::places(admin, &described)).await?;
    let mut values = Vec::new();
    for group in &described {
        let why = match arguments.why {
            true => Some(Box::pin(why::rebalances(admin, group, arguments.metrics_url.as_deref())).await?),
            false => None,
        };
        let of_group: Vec<_> = places.iter().filter(|it| it.group == group.id).cloned().collect();
        if arguments.style.json {
            values.push(show::as_json(group, &of_group, why));
            continue;
        }
        show::describe(group, &of_group, output)?;
        if let Some(why) = why {
            output.line("")?;
            why::show(&why, output)?;
        }
    }
    match arguments.style.json {
        true => output.json(&Value::Array(values)),
        false => Ok(()),
    }
}

async fn delete(admin: &Admin, arguments: &DeleteArguments, output: &mut Output) -> Outcome {
    let ids: Vec<Str> = arguments.groups.iter().map(|it| it.as_str().into()).collect();
    let deleted = Box::pin(admin.delete_groups(&ids)).await;
    let (deleted, outcome) = items(deleted, |id| format!("group {id}"));
    for (id, ()) in deleted {
        output.line(format_args!("Group {id} was deleted."))?;
    }
    outcome
}

async fn delete_offsets(admin: &Admin, arguments: &DeleteOffsetsArguments, output: &mut Output) -> Outcome {
    let group = Str::from(arguments.group.as_str());
    let described = describe_all(admin, std::slice::from_ref(&arguments.group)).await?;
    let scope = offsets::Scope::parse(&arguments.topic)?;
    if described.iter().any(|it| it.kind == GroupKind::Share) {
        let topics = scope.whole_topics()?;
        let deleted = Box::pin(admin.delete_share_group_offsets(&group, &topics)).await.map_err(explain)?;
        let (deleted, outcome) = items(deleted, |it| format!("topic {it}"));
        for (topic, ()) in deleted {
            output.line(format_args!("Group {group} has forgotten {topic}."))?;
        }
        return outcome;
    }
    let partitions = scope.partitions(admin).await?;
    let deleted = admin.delete_group_offsets(&group, &partitions).await.map_err(explain)?;
    let (deleted, outcome) = items(deleted, ToString::to_string);
    let count = count_of(deleted.len(), "partition");
    output.line(format_args!("Group {group} has forgotten {count}."))?;
    outcome
}

async fn remove(admin: &Admin, arguments: &RemoveArguments, output: &mut Output) -> Outcome {
    let group = Str::from(arguments.group.as_str());
    let mut members: Vec<MemberToRemove> = Vec::new();
    members.extend(arguments.member.iter().map(|it| MemberToRemove::Member(it.as_str().into())));
    members.extend(arguments.instance.iter().map(|it| MemberToRemove::Instance(it.as_str().into())));
    if arguments.all {
        let described = describe_all(admin, std::slice::from_ref(&arguments.group)).await?;
        let all = described.into_iter().flat_map(|it| it.members);
        members.extend(all.map(|it| match it.instance_id {
            Some(instance) => MemberToRemove::Instance(instance),
            None => MemberToRemove::Member(it.id),
        }));
    }
    if members.is_empty() {
        return match arguments.all {
            true => output.line(format_args!("Group {group} has no members.")),
            false => Err(Failure::misuse("which members?").advice("--member ID, --instance ID, or --all")),
        };
    }
    let reason = "member was removed by an administrator";
    let removed = admin.remove_members(&group, &members, reason).await.map_err(explain)?;
    let (removed, outcome) = items(removed, |it| match it {
        MemberToRemove::Member(id) | MemberToRemove::Instance(id) => format!("member {id}"),
    });
    output.line(format_args!("{} removed from {group}.", count_of(removed.len(), "member")))?;
    outcome
}
