//! Settings of a subscription to the metrics of clients.

use ottla_base::settings;
use ottla_base::settings::Emptiness::MayBeEmpty;
use ottla_base::settings::{any, later, list};

use crate::settings::effects::TELEMETRY;

settings! {
    /// Settings of a subscription to the metrics of clients.
    pub struct ClientMetricsSettings {
        /// How often the matching clients push their metrics.
        interval_ms: i32 = "interval.ms", "300000", any(), MEDIUM, dynamic, later(TELEMETRY);
        /// Which clients push, as `property=regular expression`; all of several must match.
        match_patterns: Vec<String> = "match", "", list(MayBeEmpty), MEDIUM, dynamic, later(TELEMETRY);
        /// Beginnings of the names of the metrics to push; empty for none, `*` for all.
        metrics: Vec<String> = "metrics", "", list(MayBeEmpty), MEDIUM, dynamic, later(TELEMETRY);
    }
}
