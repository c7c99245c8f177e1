//! Why a setting has no effect: the part of Ottla it waits for, or what Ottla has instead.

pub(super) const SECURITY: &str = "security";
pub(super) const REPLICATION: &str = "replication";
pub(super) const QUORUM: &str = "several controllers";
pub(super) const QUOTAS: &str = "quotas";
pub(super) const TELEMETRY: &str = "client telemetry";

pub(super) const JAVA: &str = "it concerns the Java runtime";
pub(super) const PLUGINS: &str = "Ottla loads no Java classes";
pub(super) const THREADS: &str = "work spreads over all processors without fixed pools";
pub(super) const PURGATORY: &str = "a waiting request is a timer here, and nothing has to be purged";
pub(super) const AT_ONCE: &str =
    "a decision is written at once, and what is decided during a sync shares the next";
pub(super) const EARLY: &str = "every listener is bound at the start and serves once the broker is let in";
pub(super) const STABLE: &str = "Ottla has no API versions in development";
pub(super) const ONE_ASSIGNOR: &str = "there is one assignor for groups of this kind";
pub(super) const BUFFERS: &str = "no write buffers are kept for the next use";
pub(super) const NO_CUSTOM_METADATA: &str = "Ottla's stores keep no metadata of their own";
pub(super) const OWN_RECORDS: &str = "the broker reads and writes the records itself";
