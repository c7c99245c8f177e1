//! `ottla config`: settings of topics, brokers, groups and metrics subscriptions.

use clap::{Args, Subcommand, ValueEnum};
use ottla_base::Str;
use ottla_client::admin::{
    Admin, AlterOperation, CheckOnly, ConfigAlteration, ConfigEntry, ConfigResource, ConfigSource,
    ResourceType,
};
use ottla_client::parse_assignment;
use ottla_host::Host;
use serde_json::{Value, json};

use crate::commands::client::{ClientArguments, explain, items};
use crate::failure::{Failure, Outcome};
use crate::output::{Output, Style};
use crate::runtime;

/// What to do with settings.
#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// What is set, and with --all what holds
    Describe(DescribeArguments),
    /// Set, delete, add to lists, take out of lists
    Alter(AlterArguments),
    /// Which things have settings of their own
    List(ListArguments),
}

/// Things that have settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A topic
    #[value(alias = "topics")]
    Topic,
    /// A broker, by its id; without one all brokers
    #[value(alias = "brokers")]
    Broker,
    /// The loggers of a broker, by its id
    #[value(alias = "broker-loggers")]
    BrokerLogger,
    /// A group
    #[value(alias = "groups")]
    Group,
    /// A metrics subscription of clients
    ClientMetrics,
}

impl Kind {
    const fn resource_type(self) -> ResourceType {
        match self {
            Kind::Topic => ResourceType::Topic,
            Kind::Broker => ResourceType::Broker,
            Kind::BrokerLogger => ResourceType::BrokerLogger,
            Kind::Group => ResourceType::Group,
            Kind::ClientMetrics => ResourceType::ClientMetrics,
        }
    }
}

/// Whose settings.
#[derive(Debug, Args)]
struct Entity {
    /// What kind of thing
    #[arg(value_enum)]
    kind: Kind,
    /// Its name, or the id of a broker; `config describe broker` and `config alter broker` without one mean what
    /// holds for all brokers
    name: Option<String>,
}

impl Entity {
    fn resource(&self) -> Outcome<ConfigResource> {
        let name = match (self.kind, &self.name) {
            (_, Some(name)) => Str::from(name.as_str()),
            (Kind::Broker, None) => Str::default(),
            (kind, None) => {
                let word = kind.to_possible_value().map(|it| it.get_name().to_owned()).unwrap_or_default();
                return Err(Failure::misuse(format!("whose settings? The name of the {word} is missing"))
                    .advice(format!("ottla config describe {word} NAME")));
            }
        };
        if matches!(self.kind, Kind::Broker | Kind::BrokerLogger)
            && !name.is_empty()
            && name.parse::<i32>().is_err()
        {
            return Err(Failure::misuse(format!("a broker is named by its id, and {name} is no number"))
                .advice("`ottla cluster describe` shows the brokers"));
        }
        Ok(ConfigResource { kind: self.kind.resource_type(), name })
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla config describe topic orders\n  \
    ottla config describe topic orders --all\n  \
    ottla config describe broker 1 --all --docs\n  \
    ottla config describe broker")]
struct DescribeArguments {
    #[command(flatten)]
    entity: Entity,
    /// Also what nobody has set
    #[arg(long)]
    all: bool,
    /// Also what each setting does
    #[arg(long)]
    docs: bool,
    #[command(flatten)]
    style: Style,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla config alter topic orders --set retention.ms=3600000\n  \
    ottla config alter topic orders --delete retention.ms\n  \
    ottla config alter topic state --append cleanup.policy=compact\n  \
    ottla config alter broker --set log.cleaner.threads=2")]
struct AlterArguments {
    #[command(flatten)]
    entity: Entity,
    /// Give a setting a value; may be given several times
    #[arg(long, alias = "add-config", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Back to what holds without it; may be given several times
    #[arg(long, alias = "delete-config", value_name = "KEY")]
    delete: Vec<String>,
    /// Add to a list; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    append: Vec<String>,
    /// Take out of a list; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    subtract: Vec<String>,
    /// Only say whether it could be done
    #[arg(long)]
    validate_only: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ottla config list\n  ottla config list group")]
struct ListArguments {
    /// Only things of this kind
    #[arg(value_enum)]
    kind: Option<Kind>,
    #[command(flatten)]
    style: Style,
}

/// Runs the command.
pub(crate) fn run(arguments: ConfigArguments) -> Outcome {
    runtime::run_tool(async move {
        let host = Host::real();
        let mut output = Output::new();
        let ConfigArguments { client, command } = arguments;
        match command {
            ConfigCommand::Describe(it) => {
                let resource = it.entity.resource()?;
                describe(&client.admin(&host).await?, &it, resource, &mut output).await?;
            }
            ConfigCommand::Alter(it) => {
                let change = (it.entity.resource()?, alterations(&it)?);
                alter(&client.admin(&host).await?, &it, change, &mut output).await?;
            }
            ConfigCommand::List(it) => list(&client.admin(&host).await?, &it, &mut output).await?,
        }
        output.flush()
    })
}

fn word(kind: ResourceType) -> &'static str {
    match kind {
        ResourceType::Topic => "topic",
        ResourceType::Broker => "broker",
        ResourceType::BrokerLogger => "broker-logger",
        ResourceType::ClientMetrics => "client-metrics",
        ResourceType::Group => "group",
    }
}

fn shown(resource: &ConfigResource) -> String {
    match (resource.kind, &*resource.name) {
        (ResourceType::Broker, "") => "all brokers".to_owned(),
        (kind, name) => format!("{} {name}", word(kind)),
    }
}

/// Whether somebody has set the value for this very thing.
fn is_own(resource: &ConfigResource, entry: &ConfigEntry) -> bool {
    match resource.kind {
        ResourceType::Topic => entry.source == ConfigSource::Topic,
        ResourceType::Broker if resource.name.is_empty() => {
            entry.source == ConfigSource::DynamicDefaultBroker
        }
        ResourceType::Broker => {
            matches!(entry.source, ConfigSource::DynamicBroker | ConfigSource::DynamicDefaultBroker)
        }
        ResourceType::BrokerLogger => true,
        ResourceType::ClientMetrics => entry.source == ConfigSource::ClientMetrics,
        ResourceType::Group => entry.source == ConfigSource::Group,
    }
}

async fn describe(
    admin: &Admin,
    arguments: &DescribeArguments,
    resource: ConfigResource,
    output: &mut Output,
) -> Outcome {
    let described = admin.describe_configs(std::slice::from_ref(&resource), None).await.map_err(explain)?;
    let (described, outcome) = items(described, shown);
    outcome?;
    let mut entries: Vec<ConfigEntry> = described.into_iter().flat_map(|(_, entries)| entries).collect();
    entries.retain(|it| arguments.all || is_own(&resource, it));
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    if arguments.style.json {
        return output.json(&entries.iter().map(as_json).collect());
    }
    if entries.is_empty() {
        return output.line(format_args!("Nothing is set for {}. --all shows what holds.", shown(&resource)));
    }
    if arguments.docs {
        for entry in &entries {
            let docs = entry.documentation.as_deref().unwrap_or_default();
            output.line(format_args!("{}={}", entry.name, value_of(entry)))?;
            output.line(format_args!("    {}  {docs}", notes(entry)))?;
        }
        return Ok(());
    }
    let rows = entries.iter().map(|it| [it.name.to_string(), value_of(it), notes(it)]);
    output.table(&["setting", "value", "from"], rows)
}

fn value_of(entry: &ConfigEntry) -> String {
    match &entry.value {
        Some(value) => value.to_string(),
        None if entry.is_sensitive => "(hidden)".to_owned(),
        None => "(none)".to_owned(),
    }
}

fn notes(entry: &ConfigEntry) -> String {
    let source = match entry.source {
        ConfigSource::Unknown => "unknown",
        ConfigSource::Topic => "topic",
        ConfigSource::DynamicBroker => "this broker",
        ConfigSource::DynamicDefaultBroker => "all brokers",
        ConfigSource::StaticBroker => "start",
        ConfigSource::Default => "default",
        ConfigSource::DynamicBrokerLogger => "logger",
        ConfigSource::ClientMetrics => "subscription",
        ConfigSource::Group => "group",
    };
    if entry.is_read_only { format!("{source}, read-only") } else { source.to_owned() }
}

fn as_json(entry: &ConfigEntry) -> Value {
    let synonyms = entry
        .synonyms
        .iter()
        .map(|it| json!({"name": &*it.name, "value": it.value.as_deref(), "source": it.source.name()}));
    json!({
        "name": &*entry.name,
        "value": entry.value.as_deref(),
        "source": entry.source.name(),
        "sensitive": entry.is_sensitive,
        "read_only": entry.is_read_only,
        "synonyms": synonyms.collect::<Value>(),
        "documentation": entry.documentation.as_deref(),
    })
}

fn alterations(arguments: &AlterArguments) -> Outcome<Vec<ConfigAlteration>> {
    let mut changes = Vec::new();
    let with_values = [
        ("--set", &arguments.set, AlterOperation::Set),
        ("--append", &arguments.append, AlterOperation::Append),
        ("--subtract", &arguments.subtract, AlterOperation::Subtract),
    ];
    for (flag, texts, operation) in with_values {
        for text in texts {
            let (name, value) =
                parse_assignment(text).map_err(|error| Failure::misuse(format!("{flag}: {error}")))?;
            changes.push(ConfigAlteration {
                name: name.as_str().into(),
                operation,
                value: Some(value.as_str().into()),
            });
        }
    }
    changes.extend(arguments.delete.iter().map(|name| ConfigAlteration {
        name: name.as_str().into(),
        operation: AlterOperation::Delete,
        value: None,
    }));
    if changes.is_empty() {
        return Err(Failure::misuse("nothing is to be changed").advice("--set key=value, or --delete key"));
    }
    Ok(changes)
}

async fn alter(
    admin: &Admin,
    arguments: &AlterArguments,
    change: (ConfigResource, Vec<ConfigAlteration>),
    output: &mut Output,
) -> Outcome {
    let check = if arguments.validate_only { CheckOnly::Yes } else { CheckOnly::No };
    let altered = admin.alter_configs(std::slice::from_ref(&change), check).await.map_err(explain)?;
    let (altered, outcome) = items(altered, shown);
    for (resource, ()) in altered {
        let verb = if arguments.validate_only { "could be changed" } else { "were changed" };
        output.line(format_args!("The settings of {} {verb}.", shown(&resource)))?;
    }
    outcome
}

async fn list(admin: &Admin, arguments: &ListArguments, output: &mut Output) -> Outcome {
    let kinds: Vec<ResourceType> = arguments.kind.map(Kind::resource_type).into_iter().collect();
    let mut resources = admin.list_config_resources(&kinds).await.map_err(explain)?;
    resources.sort();
    if arguments.style.json {
        let value = resources.iter().map(|it| json!({"kind": word(it.kind), "name": &*it.name}));
        return output.json(&value.collect());
    }
    let rows = resources.iter().map(|it| [word(it.kind).to_owned(), it.name.to_string()]);
    output.table(&["kind", "name"], rows)
}
