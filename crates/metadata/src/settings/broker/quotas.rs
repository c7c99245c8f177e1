//! Settings of a server: quotas.

use ottla_base::settings;
use ottla_base::settings::{ClassName, any, at_least, later, never};

use crate::settings::effects::{PLUGINS, QUOTAS};

settings! {
    /// Quotas.
    pub struct QuotaSettings {
        /// How many past windows the quota of moves between directories remembers.
        alter_log_dirs_replication_quota_window_num: i32 = "alter.log.dirs.replication.quota.window.num",
            "11", at_least(1), LOW, read_only, later(QUOTAS);
        /// The length of one window of the quota of moves between directories.
        alter_log_dirs_replication_quota_window_size_seconds: i32 = "alter.log.dirs.replication.quota.window.size.seconds",
            "1", at_least(1), LOW, read_only, later(QUOTAS);
        /// A Java class that computes client quotas.
        client_quota_callback_class: Option<ClassName> = "client.quota.callback.class", null, any(), LOW,
            read_only, never(PLUGINS);
        /// How many past windows the quota of topic changes remembers.
        controller_quota_window_num: i32 = "controller.quota.window.num", "11", at_least(1), LOW, read_only,
            later(QUOTAS);
        /// The length of one window of the quota of topic changes.
        controller_quota_window_size_seconds: i32 = "controller.quota.window.size.seconds", "1", at_least(1),
            LOW, read_only, later(QUOTAS);
        /// How many past windows client quotas remember.
        quota_window_num: i32 = "quota.window.num", "11", at_least(1), LOW, read_only, later(QUOTAS);
        /// The length of one window of client quotas.
        quota_window_size_seconds: i32 = "quota.window.size.seconds", "1", at_least(1), LOW, read_only,
            later(QUOTAS);
        /// How many past windows the quota of replication remembers.
        replication_quota_window_num: i32 = "replication.quota.window.num", "11", at_least(1), LOW, read_only,
            later(QUOTAS);
        /// The length of one window of the quota of replication.
        replication_quota_window_size_seconds: i32 = "replication.quota.window.size.seconds", "1",
            at_least(1), LOW, read_only, later(QUOTAS);
    }
}
