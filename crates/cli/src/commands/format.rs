//! `ottla format`: gives log directories their identity and a cluster its beginning, as `kafka-storage format`.

use std::path::Path;

use clap::Args;
use ottla_broker::config::BrokerSettings;
use ottla_broker::format::{self, AlreadyFormatted, Formatted, InitialQuorum, Options};
use ottla_host::Host;
use serde_json::json;

use crate::commands::settings::SettingsArguments;
use crate::failure::{Failure, Outcome};
use crate::output::{Output, Style};

/// Flags of `format`: those of `kafka-storage format`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla format -t \"$(ottla cluster random-id)\" -c server.properties --standalone\n      \
        the first node of a cluster\n  \
    ottla format -t 4L6g3nShT-eMCtK--X86sw -c server.properties --no-initial-controllers\n      \
        a node that joins a cluster\n\n\
    `ottla start` without --config formats by itself.")]
pub(crate) struct FormatArguments {
    /// The id of the cluster: a new one from `ottla cluster random-id`, or that of the cluster to join
    #[arg(short = 't', long, value_name = "ID")]
    cluster_id: String,
    #[command(flatten)]
    settings: SettingsArguments,
    /// This node alone is the quorum that the cluster begins with
    #[arg(short = 's', long, group = "quorum")]
    standalone: bool,
    /// The quorum exists already, or its voters are in controller.quorum.voters
    #[arg(short = 'N', long, group = "quorum")]
    no_initial_controllers: bool,
    /// The quorum that the cluster begins with: id@host:port:directory-id, separated by commas
    #[arg(short = 'I', long, group = "quorum", value_name = "VOTERS")]
    initial_controllers: Option<String>,
    /// Leave directories alone that are formatted already
    #[arg(short = 'g', long)]
    ignore_formatted: bool,
    /// The release whose features the cluster begins with, such as 4.4
    #[arg(short = 'r', long, value_name = "RELEASE")]
    release_version: Option<String>,
    /// The level that a feature begins with, such as group.version=1; may be given several times
    #[arg(short = 'f', long = "feature", value_name = "FEATURE=LEVEL")]
    features: Vec<String>,
    /// A credential that exists from the beginning: SCRAM-SHA-256=[name=alice,password=secret]
    #[arg(short = 'S', long = "add-scram", value_name = "CREDENTIAL")]
    scram: Vec<String>,
    #[command(flatten)]
    style: Style,
}

/// Runs the command.
pub(crate) fn run(arguments: FormatArguments) -> Outcome {
    let host = Host::real();
    let settings = arguments.settings.load(&host)?;
    let options = options(&arguments)?;
    let formatted = format::format(&host, &settings.server, &options).map_err(Failure::new)?;
    let mut output = Output::new();
    if arguments.style.json {
        let directories: Vec<_> = formatted
            .directories
            .iter()
            .map(|(path, kind)| json!({"directory": path.display().to_string(), "kind": kind.description()}))
            .collect();
        output.json(&json!({
            "cluster_id": options.cluster_id,
            "metadata_version": formatted.version.name(),
            "formatted": directories,
        }))?;
    } else {
        print(&mut output, &formatted)?;
    }
    output.flush()
}

/// Formats the directories of a server that was started without any configuration, if all of them are empty. Says
/// whether it did.
pub(crate) fn if_empty(host: &Host, settings: &BrokerSettings) -> Outcome<bool> {
    let disk = host.disk();
    let directories = settings.log_directories().chain([settings.metadata_directory()]);
    let is_empty = |directory: &Path| disk.list(directory).map_or(true, |entries| entries.is_empty());
    if !directories.into_iter().all(is_empty) {
        return Ok(false);
    }
    let leads = settings.is_controller() && settings.server.quorum.controller_quorum_voters.is_empty();
    let options = Options {
        cluster_id: host.random_uuid().to_string(),
        quorum: if leads { InitialQuorum::Standalone } else { InitialQuorum::Unstated },
        ..Options::default()
    };
    let formatted = format::format(host, &settings.server, &options).map_err(Failure::new)?;
    for (directory, kind) in &formatted.directories {
        tracing::info!(
            directory = %directory.display(),
            kind = kind.description(),
            cluster = options.cluster_id,
            version = formatted.version.name(),
            "formatted"
        );
    }
    Ok(true)
}

fn options(arguments: &FormatArguments) -> Outcome<Options> {
    let quorum = match &arguments.initial_controllers {
        Some(voters) => InitialQuorum::InitialControllers(voters.clone()),
        None if arguments.standalone => InitialQuorum::Standalone,
        None if arguments.no_initial_controllers => InitialQuorum::NoInitialControllers,
        None => InitialQuorum::Unstated,
    };
    let already_formatted =
        if arguments.ignore_formatted { AlreadyFormatted::Skip } else { AlreadyFormatted::Refuse };
    Ok(Options {
        cluster_id: arguments.cluster_id.clone(),
        quorum,
        already_formatted,
        release_version: arguments.release_version.clone(),
        features: arguments.features.iter().map(|it| feature_level(it)).collect::<Outcome<_>>()?,
        scram: arguments.scram.clone(),
    })
}

/// Reads `feature=level`.
pub(crate) fn feature_level(text: &str) -> Outcome<(String, i16)> {
    let read = text
        .split_once('=')
        .and_then(|(name, level)| Some((name.trim().to_owned(), level.trim().parse().ok()?)));
    read.ok_or_else(|| {
        Failure::misuse(format!("--feature {text}: expected feature=level, such as group.version=1"))
    })
}

fn print(output: &mut Output, formatted: &Formatted) -> Outcome {
    if formatted.directories.is_empty() {
        return output.line("All of the log directories are already formatted.");
    }
    for (directory, kind) in &formatted.directories {
        output.line(format_args!(
            "Formatting {} {} with metadata.version {}.",
            kind.description(),
            directory.display(),
            formatted.version.name()
        ))?;
    }
    Ok(())
}
