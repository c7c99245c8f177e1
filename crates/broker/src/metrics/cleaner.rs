//! `kafka.log:type=LogCleaner` and `LogCleanerManager`: compaction.

use super::exposition::{Kind, Page};
use crate::broker::Broker;

const CLEANER: &str = "kafka_log_logcleaner_";
const OF_ALL: &str = "kafka_log_logcleanermanager_";

/// Writes every family.
pub(super) fn render(page: &mut Page, broker: &Broker) {
    let state = broker.cleaners.state(broker.host.now());
    let gauges: [(&str, &str, &str, u128); 7] = [
        (CLEANER, "max_buffer_utilization_percent", "How full the memory of keys got in the last pass.", {
            u128::from(state.buffer_utilization_percent)
        }),
        (CLEANER, "cleaner_recopy_percent", "The part that the last passes wrote of what they read.", {
            u128::from(state.recopy_percent)
        }),
        (CLEANER, "max_clean_time_secs", "How long the longest of the last passes took.", {
            u128::from(state.clean_time_secs)
        }),
        (CLEANER, "max_compaction_delay_secs", "For how long a record has been overdue to be compacted.", {
            u128::from(state.compaction_delay_secs)
        }),
        (CLEANER, "deadthreadcount", "Cleaners that have ended for a bug.", state.dead as u128),
        (OF_ALL, "max_dirty_percent", "The part of the dirtiest log that can be cleaned.", {
            u128::from(state.dirty_percent)
        }),
        (OF_ALL, "time_since_last_run_ms", "When somebody last looked for logs to clean.", {
            state.since_last_run.as_millis()
        }),
    ];
    for (prefix, name, help, value) in gauges {
        page.gauge(&format!("{prefix}{name}"), help, value);
    }
    directories(page, broker);
    let cleaners = &broker.cleaners;
    page.counter(
        "kafka_utils_throttler_cleaner_io_total",
        "Bytes that the cleaners have read and written.",
        cleaners.bytes_read.get() + cleaners.bytes_written.get(),
    );
    page.counter("ottla_log_cleaner_passes_total", "Logs that were cleaned.", cleaners.passes.get());
    page.counter(
        "ottla_log_cleaner_bytes_read_total",
        "Bytes that the cleaners have read, for keys and to write them anew.",
        cleaners.bytes_read.get(),
    );
    page.counter(
        "ottla_log_cleaner_bytes_written_total",
        "Bytes that the cleaners have written.",
        cleaners.bytes_written.get(),
    );
}

/// What was given up in each log directory.
fn directories(page: &mut Page, broker: &Broker) {
    let directories = broker.logs.cleaner_directories();
    let name = format!("{OF_ALL}uncleanable_partitions_count");
    let mut family = page.family(&name, Kind::Gauge, "Partitions that the cleaner has given up.");
    for it in &directories {
        let labels = [("logDirectory", &*it.path.to_string_lossy())];
        family.sample(&labels, it.uncleanable.len());
    }
    let name = format!("{OF_ALL}uncleanable_bytes");
    let mut family = page.family(&name, Kind::Gauge, "Bytes that would be cleaned of those.");
    for it in &directories {
        family.sample(&[("logDirectory", &*it.path.to_string_lossy())], it.uncleanable_bytes);
    }
}
