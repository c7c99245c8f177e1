//! Why a setting has no effect: the part of Ottla it waits for, or what Ottla has instead.

pub(super) const TRANSACTIONS: &str = "transactions";
pub(super) const SECURITY: &str = "security";
pub(super) const GROUPS: &str = "consumer groups";
pub(super) const SHARE_GROUPS: &str = "share groups";
pub(super) const STREAMS_GROUPS: &str = "Streams groups";
pub(super) const REPLICATION: &str = "replication";
pub(super) const QUORUM: &str = "several controllers";
pub(super) const TIERED_STORAGE: &str = "tiered storage";
pub(super) const QUOTAS: &str = "quotas";
pub(super) const TELEMETRY: &str = "client telemetry";
pub(super) const COMPACTION: &str = "log compaction";

pub(super) const JAVA: &str = "it concerns the Java runtime";
pub(super) const PLUGINS: &str = "Ottla loads no Java classes";
pub(super) const THREADS: &str = "work spreads over all processors without fixed pools";
pub(super) const PURGATORY: &str = "a waiting request is a timer here, and nothing has to be purged";
