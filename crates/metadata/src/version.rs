//! `metadata.version`: which records a cluster may write, and in which version of their schemas.

use std::fmt;

/// A level of the feature `metadata.version`, known to this release.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataVersion(i16);

/// Level, name, and whether the level changed what the metadata log may hold, oldest first.
///
/// `org.apache.kafka.server.common.MetadataVersion` of 4.4.0. Level 34 is Kafka's unstable 4.5-IV0.
const VERSIONS: [(i16, &str, bool); 28] = [
    (7, "3.3-IV3", true),
    (8, "3.4-IV0", true),
    (9, "3.5-IV0", false),
    (10, "3.5-IV1", false),
    (11, "3.5-IV2", true),
    (12, "3.6-IV0", false),
    (13, "3.6-IV1", true),
    (14, "3.6-IV2", true),
    (15, "3.7-IV0", true),
    (16, "3.7-IV1", false),
    (17, "3.7-IV2", true),
    (18, "3.7-IV3", false),
    (19, "3.7-IV4", false),
    (20, "3.8-IV0", false),
    (21, "3.9-IV0", false),
    (22, "4.0-IV0", false),
    (23, "4.0-IV1", true),
    (24, "4.0-IV2", false),
    (25, "4.0-IV3", false),
    (26, "4.1-IV0", false),
    (27, "4.1-IV1", false),
    (28, "4.2-IV0", false),
    (29, "4.2-IV1", false),
    (30, "4.3-IV0", true),
    (31, "4.4-IV0", false),
    (32, "4.4-IV1", true),
    (33, "4.4-IV2", true),
    (34, "4.5-IV0", false),
];

impl MetadataVersion {
    /// The feature's name.
    pub const FEATURE_NAME: &'static str = "metadata.version";

    /// 3.3-IV3: the oldest that 4.x can run at.
    pub const MINIMUM: MetadataVersion = MetadataVersion(7);
    /// 4.4-IV2: the newest that a production cluster runs at, and the default of a new one.
    pub const LATEST_PRODUCTION: MetadataVersion = MetadataVersion(33);
    /// 4.5-IV0: the newest that exists, behind `unstable.feature.versions.enable`.
    pub const LATEST_TESTING: MetadataVersion = MetadataVersion(34);

    /// The version with this feature level.
    pub fn from_level(level: i16) -> Option<MetadataVersion> {
        VERSIONS.iter().find(|(it, ..)| *it == level).map(|_| MetadataVersion(level))
    }

    /// The version that a text names: `4.4-IV1`, or a release such as `4.4` or `4.4.0`, which means the release's
    /// newest production version.
    pub fn from_name(name: &str, unstable: bool) -> Option<MetadataVersion> {
        let newest = if unstable { Self::LATEST_TESTING } else { Self::LATEST_PRODUCTION };
        let minor = name.match_indices('.').nth(1).map_or(name, |(at, _)| &name[..at]);
        let exact = VERSIONS.iter().find(|(_, it, _)| *it == minor);
        let of_release = || {
            let production = VERSIONS.iter().rev().filter(|(level, ..)| *level <= Self::LATEST_PRODUCTION.0);
            production
                .clone()
                .find(|(_, it, _)| it.split_once("-IV").is_some_and(|(release, _)| release == minor))
        };
        let (level, ..) = exact.or_else(of_release)?;
        Some(MetadataVersion(*level)).filter(|version| *version <= newest)
    }

    /// Every version, oldest first.
    pub fn all() -> impl DoubleEndedIterator<Item = MetadataVersion> {
        VERSIONS.iter().map(|(level, ..)| MetadataVersion(*level))
    }

    /// The feature level.
    pub const fn level(self) -> i16 {
        self.0
    }

    /// Kafka's name, such as `4.4-IV2`.
    pub fn name(self) -> &'static str {
        VERSIONS[self.index()].1
    }

    /// Whether going from one version to the other would lose or misread records of the log.
    pub fn metadata_changed_between(one: MetadataVersion, other: MetadataVersion) -> bool {
        let (low, high) = (one.min(other), one.max(other));
        VERSIONS[low.index() + 1..=high.index()].iter().any(|(.., changed)| *changed)
    }

    fn index(self) -> usize {
        usize::from(self.0.unsigned_abs() - 7)
    }

    /// SCRAM credentials live in the log (KIP-900).
    pub fn has_scram(self) -> bool {
        self.0 >= 11
    }

    /// A shrinking ISR does not raise the leader epoch any more (KAFKA-15021).
    pub fn shrinks_without_new_leader_epoch(self) -> bool {
        self.0 >= 12
    }

    /// Metadata transactions (KIP-868).
    pub fn has_transactions(self) -> bool {
        self.0 >= 13
    }

    /// Delegation tokens live in the log.
    pub fn has_delegation_tokens(self) -> bool {
        self.0 >= 14
    }

    /// Controllers register (KIP-919).
    pub fn has_controller_registration(self) -> bool {
        self.0 >= 15
    }

    /// Replicas are assigned to log directories (KIP-858).
    pub fn has_directory_assignment(self) -> bool {
        self.0 >= 17
    }

    /// Partitions can hold eligible leader replicas (KIP-966).
    pub fn has_eligible_leader_replicas(self) -> bool {
        self.0 >= 23
    }

    /// Log directories can be cordoned (KIP-1066).
    pub fn has_cordoned_directories(self) -> bool {
        self.0 >= 30
    }

    /// ACLs can name hosts by CIDR ranges.
    pub fn has_cidr_acls(self) -> bool {
        self.0 >= 32
    }

    /// Controllers can be unregistered.
    pub fn has_controller_unregistration(self) -> bool {
        self.0 >= 33
    }

    /// The version in which `RegisterBrokerRecord` is written.
    pub fn register_broker_record(self) -> i16 {
        match self.0 {
            30.. => 4,
            17.. => 3,
            8.. => 2,
            _ => 1,
        }
    }

    /// The version in which `PartitionRecord` and `PartitionChangeRecord` are written.
    pub fn partition_record(self) -> i16 {
        match self.0 {
            23.. => 2,
            17.. => 1,
            _ => 0,
        }
    }

    /// The version of Fetch that followers send.
    pub fn fetch_request(self) -> i16 {
        match self.0 {
            27.. => 18,
            21.. => 17,
            19.. => 16,
            10.. => 15,
            9.. => 14,
            _ => 13,
        }
    }

    /// The version of ListOffsets that followers send.
    pub fn list_offsets_request(self) -> i16 {
        match self.0 {
            29.. => 11,
            25.. => 10,
            21.. => 9,
            9.. => 8,
            _ => 7,
        }
    }
}

impl fmt::Display for MetadataVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for MetadataVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
