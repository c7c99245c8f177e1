//! `ottla storage`: what the other commands of `kafka-storage` print.

use clap::{Args, Subcommand};
use ottla_broker::format::{self, Info};
use ottla_host::Host;
use ottla_metadata::MetadataVersion;
use serde_json::{Value, json};

use crate::commands::format::feature_level;
use crate::commands::settings::SettingsArguments;
use crate::failure::{Failure, Outcome};
use crate::output::{Output, Style};

/// What to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum StorageCommand {
    /// What the log directories of a node say of themselves
    #[command(
        after_help = "Examples:\n  ottla storage info -c server.properties\n  ottla storage info --json"
    )]
    Info(InfoArguments),
    /// The levels of all features that a release begins with
    #[command(after_help = "Examples:\n  ottla storage version-mapping --release-version 4.0")]
    VersionMapping(MappingArguments),
    /// What a level of a feature needs
    #[command(after_help = "Examples:\n  ottla storage feature-dependencies --feature transaction.version=2")]
    FeatureDependencies(DependenciesArguments),
    /// A new random id, as `ottla cluster random-id`
    RandomUuid,
}

/// Flags of `storage info`.
#[derive(Debug, Args)]
pub(crate) struct InfoArguments {
    #[command(flatten)]
    settings: SettingsArguments,
    #[command(flatten)]
    style: Style,
}

/// Flags of `storage version-mapping`.
#[derive(Debug, Args)]
pub(crate) struct MappingArguments {
    /// The release, such as 4.4 or 3.9-IV0; the newest if not given
    #[arg(short = 'r', long, value_name = "RELEASE")]
    release_version: Option<String>,
    #[command(flatten)]
    style: Style,
}

/// Flags of `storage feature-dependencies`.
#[derive(Debug, Args)]
pub(crate) struct DependenciesArguments {
    /// A feature and its level, such as group.version=1; may be given several times
    #[arg(short = 'f', long = "feature", value_name = "FEATURE=LEVEL", required = true)]
    features: Vec<String>,
    #[command(flatten)]
    style: Style,
}

/// Runs the command.
pub(crate) fn run(command: StorageCommand) -> Outcome {
    let mut output = Output::new();
    let host = Host::real();
    match command {
        StorageCommand::Info(arguments) => {
            let settings = arguments.settings.load(&host)?;
            let info = format::info(&host, &settings.server);
            match arguments.style.json {
                true => output.json(&info_as_json(&info))?,
                false => print_info(&mut output, &info)?,
            }
            output.flush()?;
            return if info.problems.is_empty() { Ok(()) } else { Err(Failure::told()) };
        }
        StorageCommand::VersionMapping(arguments) => print_mapping(&mut output, &arguments)?,
        StorageCommand::FeatureDependencies(arguments) => print_dependencies(&mut output, &arguments)?,
        StorageCommand::RandomUuid => output.line(format::random_uuid(&host))?,
    }
    output.flush()
}

fn print_info(output: &mut Output, info: &Info) -> Outcome {
    match info.directories.as_slice() {
        [] => output.line("No directories specified.")?,
        [one] => output.line(format_args!("Found log directory:\n  {}", one.display()))?,
        several => {
            output.line("Found log directories:")?;
            several.iter().try_for_each(|it| output.line(format_args!("  {}", it.display())))?;
        }
    }
    if let Some(properties) = &info.properties {
        output.line("\nFound metadata:")?;
        if let Some(cluster) = &properties.cluster_id {
            output.line(format_args!("  cluster.id  {cluster}"))?;
        }
        if let Some(node) = properties.node_id {
            output.line(format_args!("  node.id     {node}"))?;
        }
    }
    if !info.problems.is_empty() {
        output.line(if info.problems.len() == 1 { "\nFound problem:" } else { "\nFound problems:" })?;
        info.problems.iter().try_for_each(|it| output.line(format_args!("  {it}")))?;
    }
    Ok(())
}

fn info_as_json(info: &Info) -> Value {
    let properties = info.properties.as_ref();
    json!({
        "directories": info.directories.iter().map(|it| it.display().to_string()).collect::<Vec<_>>(),
        "cluster_id": properties.and_then(|it| it.cluster_id.clone()),
        "node_id": properties.and_then(|it| it.node_id).map(|it| it.get()),
        "problems": info.problems,
    })
}

fn print_mapping(output: &mut Output, arguments: &MappingArguments) -> Outcome {
    let mapping = format::version_mapping(arguments.release_version.as_deref()).map_err(Failure::new)?;
    if arguments.style.json {
        let features: serde_json::Map<String, Value> =
            mapping.levels.iter().map(|(name, level)| ((*name).to_owned(), json!(level))).collect();
        return output.json(&json!({
            "release": mapping.version.name(),
            "metadata.version": mapping.version.level(),
            "features": features,
        }));
    }
    let name = arguments.release_version.as_deref().unwrap_or(mapping.version.name());
    output.line(format_args!("metadata.version={} ({name})", mapping.version.level()))?;
    mapping.levels.iter().try_for_each(|(name, level)| output.line(format_args!("{name}={level}")))
}

fn print_dependencies(output: &mut Output, arguments: &DependenciesArguments) -> Outcome {
    let mut values = Vec::new();
    for text in &arguments.features {
        let (name, level) = feature_level(text)?;
        let needed = format::feature_dependencies(&name, level).map_err(Failure::new)?;
        if arguments.style.json {
            let needs = needed.map(|it| json!({"metadata.version": it.level(), "release": it.name()}));
            values.push(json!({"feature": name, "level": level, "needs": needs}));
            continue;
        }
        let own = MetadataVersion::from_level(level).filter(|_| name == MetadataVersion::FEATURE_NAME);
        match (own, needed) {
            (Some(own), _) => {
                output.line(format_args!("{name}={level} ({}) has no dependencies.", own.name()))?;
            }
            (None, None) => output.line(format_args!("{name}={level} has no dependencies."))?,
            (None, Some(needed)) => output.line(format_args!(
                "{name}={level} requires:\n    metadata.version={} ({})",
                needed.level(),
                needed.name()
            ))?,
        }
    }
    if arguments.style.json { output.json(&Value::Array(values)) } else { Ok(()) }
}
