//! The levels of the server's loggers, which `BROKER_LOGGER` resources show.

use ottla_base::settings::Texts;
use tracing::level_filters::LevelFilter;

/// The level of every logger: there is one, the root.
pub(crate) fn levels() -> Texts {
    let level = match LevelFilter::current() {
        LevelFilter::OFF => "OFF",
        LevelFilter::ERROR => "ERROR",
        LevelFilter::WARN => "WARN",
        LevelFilter::INFO => "INFO",
        LevelFilter::DEBUG => "DEBUG",
        LevelFilter::TRACE => "TRACE",
    };
    [("root".to_owned(), level.to_owned())].into_iter().collect()
}
