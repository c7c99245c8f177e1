//! `ottla doctor`: what would happen if Ottla started with these settings on these directories. Looks only.

use clap::Args;
use ottla_broker::readiness::{self, DirectoryReport, DirectoryState, Readiness, Weight};
use ottla_host::Host;
use serde_json::{Value, json};

use crate::commands::settings::SettingsArguments;
use crate::failure::{Failure, Outcome};
use crate::output::{Output, Style};

/// There is something to know before the start.
const WARNED: u8 = 1;
/// The server would not start.
const REFUSED: u8 = 2;

/// Flags of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla doctor --config /etc/kafka/server.properties\n      \
        what Ottla would do with the directories of that Kafka, running or stopped\n  \
    ottla doctor --config server.properties --json\n      \
        the same for programs\n\n\
    Nothing is changed. The exit code is 0 if Ottla is ready to start, 1 if it is and there are warnings, 2 if it \
    would refuse to.")]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    settings: SettingsArguments,
    #[command(flatten)]
    style: Style,
}

/// Runs the command.
pub(crate) fn run(arguments: DoctorArguments) -> Outcome {
    let host = Host::real();
    let mut output = Output::new();
    let settings = match arguments.settings.load(&host) {
        Ok(settings) => settings,
        Err(failure) if arguments.style.json => {
            let finding = json!({"weight": "refusal", "kind": "", "about": "", "says": failure.message()});
            output.json(&json!({"ready": false, "findings": [finding]}))?;
            output.flush()?;
            return Err(Failure::told().with_code(REFUSED));
        }
        Err(failure) => return Err(failure.with_code(REFUSED)),
    };
    let found = readiness::look(&host, &settings);
    match arguments.style.json {
        true => output.json(&as_json(&found))?,
        false => print(&mut output, &found)?,
    }
    output.flush()?;
    match found.weight() {
        Weight::Note => Ok(()),
        Weight::Warning => Err(Failure::told().with_code(WARNED)),
        Weight::Refusal => Err(Failure::told().with_code(REFUSED)),
    }
}

fn print(output: &mut Output, found: &Readiness) -> Outcome {
    let mut row = |name: &str, value: String| output.line(format_args!("{name:<10} {value}"));
    row("node", format!("{}, {}", found.node_id, found.roles.join(" and ")))?;
    row("cluster", found.cluster_id.clone().unwrap_or_else(|| "none yet".to_owned()))?;
    if let Some(cluster) = &found.cluster {
        let version = cluster.metadata_version.map_or("none yet", |it| it.name());
        row(
            "metadata",
            format!(
                "{version}, {} topics, {} partitions, log ends at {}",
                cluster.topics, cluster.partitions, cluster.end
            ),
        )?;
        let features: Vec<String> =
            cluster.features.iter().map(|(name, level)| format!("{name} {level}")).collect();
        row("features", features.join(", "))?;
        row("voters", cluster.voters.clone())?;
    }
    output.line("")?;
    let header = ["directory", "state", "topics", "partitions", "data", "free", "to check"];
    output.table(&header, found.directories.iter().map(directory_row))?;
    if !found.findings.is_empty() {
        output.line("")?;
        let rows = found.findings.iter().map(|it| {
            [it.weight.name().to_owned(), it.kind.name().to_owned(), it.about.clone(), it.says.clone()]
        });
        output.table(&["", "", "about", ""], rows)?;
    }
    output.line(format_args!("\n{}", verdict(found)))
}

fn verdict(found: &Readiness) -> &'static str {
    match found.weight() {
        Weight::Note => "Ottla is ready to start here.",
        Weight::Warning => "Ottla would start here; read the warnings first.",
        Weight::Refusal => "Ottla would not start here.",
    }
}

fn state(report: &DirectoryReport) -> (&'static str, Option<&str>) {
    match &report.state {
        DirectoryState::Clean => ("stopped", None),
        DirectoryState::Unclean => ("not stopped cleanly", None),
        DirectoryState::InUse => ("in use", None),
        DirectoryState::New => ("new", None),
        DirectoryState::Unusable(reason) => ("unusable", Some(reason)),
    }
}

fn directory_row(report: &DirectoryReport) -> Vec<String> {
    let free = report.space.map_or_else(|| "?".to_owned(), |it| size(it.usable_bytes));
    let (state, _) = state(report);
    vec![
        report.path.display().to_string(),
        state.to_owned(),
        report.topics.to_string(),
        report.partitions.to_string(),
        size(report.bytes),
        free,
        size(report.recovery_bytes),
    ]
}

/// A size as people read it.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

fn as_json(found: &Readiness) -> Value {
    let cluster = found.cluster.as_ref().map(|it| {
        let features: serde_json::Map<String, Value> =
            it.features.iter().map(|(name, level)| (name.clone(), json!(level))).collect();
        json!({
            "metadata_version": it.metadata_version.map(|it| it.name()),
            "features": features,
            "voters": it.voters,
            "log_end": it.end,
            "topics": it.topics,
            "partitions": it.partitions,
            "brokers": it.brokers.iter().map(|it| it.get()).collect::<Vec<_>>(),
            "tiered_topics": it.tiered,
        })
    });
    let finding = |it: &readiness::Finding| json!({"weight": it.weight.name(), "kind": it.kind.name(), "about": it.about, "says": it.says});
    json!({
        "ready": found.weight() < Weight::Refusal,
        "node_id": found.node_id.get(),
        "roles": found.roles,
        "cluster_id": found.cluster_id,
        "cluster": cluster,
        "directories": found.directories.iter().map(directory_as_json).collect::<Vec<_>>(),
        "findings": found.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn directory_as_json(report: &DirectoryReport) -> Value {
    let (state, reason) = state(report);
    json!({
        "path": report.path.display().to_string(),
        "id": report.id.map(|it| it.to_string()),
        "state": state,
        "reason": reason,
        "meta_properties_version": report.format,
        "total_bytes": report.space.map(|it| it.total_bytes),
        "usable_bytes": report.space.map(|it| it.usable_bytes),
        "topics": report.topics,
        "partitions": report.partitions,
        "bytes": report.bytes,
        "recovery_bytes": report.recovery_bytes,
        "moves": report.futures,
        "stray": report.strays,
        "deleted": report.deleted,
        "unwanted": report.unwanted,
        "foreign": report.foreign,
        "legacy_segments": report.legacy_segments,
    })
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_short() {
        assert_eq!([size(0), size(1023), size(1536), size(5 << 30)], ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
    }
}
