//! `ottla start`: a server, from its settings to its last word.

use std::fmt::Write;
use std::io::ErrorKind;

use clap::Args;
use ottla_broker::config::BrokerSettings;
use ottla_broker::loggers::Loggers;
use ottla_broker::server::{self, RunningServer, StartError};
use ottla_host::Host;
use ottla_host::process::{StopSignals, refuse_huge_pages};

use crate::commands::format;
use crate::commands::settings::SettingsArguments;
use crate::failure::{Failure, Outcome};
use crate::logging::LogFormat;
use crate::output::Output;
use crate::runtime;

/// Flags of `start`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla start\n      \
        one node for this computer: localhost:9092, data in ./ottla-data, formatted when it is empty\n  \
    ottla start --override log.dirs=/var/lib/ottla --override log.retention.hours=24\n      \
        the same with other settings; names and values are those of Kafka\n  \
    ottla start --config server.properties\n      \
        the node of a file, whose directories `ottla format` or Kafka has formatted\n  \
    KAFKA_LOG_RETENTION_MS=3600000 ottla start\n      \
        settings from the environment; flags win over it, and it wins over the file\n\n\
    SIGTERM and Ctrl-C stop the server cleanly; a second one at once.")]
pub(crate) struct StartArguments {
    #[command(flatten)]
    settings: SettingsArguments,
}

/// Runs the command.
pub(crate) fn run(arguments: StartArguments, log_format: LogFormat, loggers: Loggers) -> Outcome {
    if let Err(error) = refuse_huge_pages() {
        tracing::debug!(%error, "memory may be larger than it has to be");
    }
    let host = Host::real();
    let settings = arguments.settings.load(&host)?;
    if arguments.settings.config.is_none() {
        format::if_empty(&host, &settings)?;
    }
    let runtime = runtime::for_a_server()?;
    let ended = runtime.block_on(serve(&host, settings, log_format, loggers));
    // Whatever still runs now has nothing left to say.
    runtime.shutdown_background();
    ended
}

async fn serve(host: &Host, settings: BrokerSettings, log_format: LogFormat, loggers: Loggers) -> Outcome {
    let listening = StopSignals::listen();
    let mut signals = listening.map_err(|error| Failure::new(format!("signals cannot be heard: {error}")))?;
    let directories: Vec<String> = settings.log_directories().map(|it| it.display().to_string()).collect();
    let controllers = settings.server.network.controller_listener_names.clone();
    let mut running = tokio::select! {
        biased;
        signal = signals.next() => {
            tracing::info!(?signal, "stopped before the server had started");
            return Ok(());
        }
        started = Box::pin(server::start(host, settings, loggers)) => started.map_err(|error| explain(&error))?,
    };
    if log_format == LogFormat::Human {
        let mut output = Output::new();
        output.line(banner(&running, &controllers, &directories))?;
        output.flush()?;
    }
    let signal = tokio::select! {
        biased;
        signal = signals.next() => signal,
        reason = running.failed() => {
            return Err(Failure::new(format!("the server cannot go on: {reason}"))
                .advice("repair or replace the disk; the next start checks the logs first"));
        }
    };
    tracing::info!(?signal, "stopping; once more to stop at once");
    tokio::select! {
        biased;
        signal = signals.next() => {
            tracing::warn!(?signal, "stopped at once; the next start checks the logs first");
            Err(Failure::told())
        }
        () = Box::pin(running.stop()) => Ok(()),
    }
}

/// Where everything is, and what to try first.
fn banner(running: &RunningServer, controllers: &[String], directories: &[String]) -> String {
    let listeners = running.advertised();
    let for_clients = listeners.iter().filter(|it| !controllers.iter().any(|name| **name == *it.name));
    let addresses: Vec<String> = for_clients.map(|it| format!("{}:{}", it.host, it.port)).collect();
    let metrics: Vec<String> = running.metrics().iter().map(|it| format!("http://{it}/metrics")).collect();
    let cluster_id = running.cluster_id();
    banner_text(&addresses, &metrics, directories, cluster_id)
}

fn banner_text(addresses: &[String], metrics: &[String], directories: &[String], cluster_id: &str) -> String {
    let flag = match addresses.first().map(String::as_str) {
        None | Some("localhost:9092") => String::new(),
        Some(address) => format!(" --bootstrap-server {address}"),
    };
    let mut text = format!("\nOttla {} is ready.\n\n", env!("CARGO_PKG_VERSION"));
    let mut row = |name: &str, values: &[String]| {
        if !values.is_empty() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {name:<9} {}", values.join(", "));
        }
    };
    row("clients", addresses);
    row("metrics", metrics);
    row("data", directories);
    row("cluster", &[cluster_id.to_owned()]);
    text + &format!(
        "\nThe first record, from another terminal:\n\n  \
         echo hello | ottla produce greetings{flag}\n  \
         ottla consume greetings --from-beginning{flag}\n\n\
         Ctrl-C stops the server.\n"
    )
}

fn explain(error: &StartError) -> Failure {
    let failure = Failure::new(format!("the server cannot start: {error}"));
    match error {
        StartError::Listen { key, source, .. } if source.kind() == ErrorKind::AddrInUse => {
            failure.advice(format!("stop what listens there, or choose another port with --override {key}=…"))
        }
        StartError::Listen { key, source, .. } if source.kind() == ErrorKind::AddrNotAvailable => {
            failure.advice(format!("name an address of this computer in {key}"))
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::banner_text;

    #[test]
    fn the_banner_says_where_everything_is() {
        let one = |text: &str| [text.to_owned()];
        let metrics = one("http://127.0.0.1:9404/metrics");
        let usual =
            banner_text(&one("localhost:9092"), &metrics, &one("./ottla-data"), "4L6g3nShT-eMCtK--X86sw");
        assert!(usual.contains("  clients   localhost:9092\n  metrics   http://127.0.0.1:9404/metrics\n"));
        assert!(usual.contains("  data      ./ottla-data\n  cluster   4L6g3nShT-eMCtK--X86sw\n"));
        assert!(usual.contains("ottla produce greetings\n"));
        let other = banner_text(&one("broker:19092"), &[], &one("/data"), "x");
        assert!(other.contains("ottla consume greetings --from-beginning --bootstrap-server broker:19092\n"));
        assert!(!other.contains("metrics"));
    }
}
