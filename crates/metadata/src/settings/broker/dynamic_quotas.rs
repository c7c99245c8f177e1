//! Settings of a server that exist only as dynamic ones.

use ottla_base::settings;
use ottla_base::settings::{at_least, later};

use crate::settings::effects::QUOTAS;

settings! {
    /// Quotas of replication that an administrator sets while the server runs; no file holds them.
    pub struct DynamicQuotaSettings {
        /// The most bytes a second a follower takes from leaders while throttled.
        follower_replication_throttled_rate: i64 = "follower.replication.throttled.rate",
            "9223372036854775807", at_least(0), MEDIUM, cluster_wide, later(QUOTAS);
        /// The most bytes a second a leader sends to throttled followers.
        leader_replication_throttled_rate: i64 = "leader.replication.throttled.rate", "9223372036854775807",
            at_least(0), MEDIUM, cluster_wide, later(QUOTAS);
        /// The most bytes a second that move between directories of a broker.
        replica_alter_log_dirs_io_max_bytes_per_second: i64 = "replica.alter.log.dirs.io.max.bytes.per.second",
            "9223372036854775807", at_least(0), MEDIUM, cluster_wide, later(QUOTAS);
    }
}
