//! Where the program's log goes: to standard error, for people or as JSON.

use std::io::IsTerminal;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use ottla_broker::loggers::{Loggers, PutInForce};
use tracing_subscriber::{EnvFilter, reload};

use crate::output;

/// How the program logs.
#[derive(Debug, Args)]
pub(crate) struct LogOptions {
    /// What is logged: error, warn, info, debug or trace, also by module as in `info,ottla_broker=debug`
    #[arg(long, global = true, value_name = "LEVEL", env = "OTTLA_LOG", hide_env_values = true)]
    pub(crate) log_level: Option<String>,
    /// How it is logged
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Human)]
    pub(crate) log_format: LogFormat,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Human,
    /// One JSON object a line
    Json,
}

/// Starts logging. Tools are quiet unless something is wrong; a server says what it does. Gives what changes the levels.
pub(crate) fn start(options: &LogOptions, is_server: bool) -> Loggers {
    let default = if is_server { "info" } else { "error" };
    let level = options.log_level.as_deref().unwrap_or(default);
    let (level, filter) = match EnvFilter::try_new(level) {
        Ok(filter) => (level, filter),
        Err(error) => {
            output::remark(format_args!("warning: --log-level {level}: {error}; {default} is used"));
            (default, EnvFilter::new(default))
        }
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let put_in_force: Arc<PutInForce> = match options.log_format {
        LogFormat::Human => {
            let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Arc::new(move |filter: &str| reload(filter, |filter| handle.reload(filter)))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Arc::new(move |filter: &str| reload(filter, |filter| handle.reload(filter)))
        }
    };
    Loggers::new(level, put_in_force)
}

fn reload(text: &str, put: impl FnOnce(EnvFilter) -> Result<(), reload::Error>) -> Result<(), String> {
    let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    put(filter).map_err(|error| error.to_string())
}
