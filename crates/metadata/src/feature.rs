//! The features that a cluster finalizes: names, levels, what each level needs, what a new cluster gets.

use std::fmt;

use crate::MetadataVersion;

/// A feature other than `metadata.version` (`org.apache.kafka.server.common.Feature` of 4.4.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// `kraft.version`: the quorum's own; its level lives in control records, not in the image.
    KRaft,
    /// `transaction.version` (KIP-890).
    Transaction,
    /// `group.version` (KIP-848).
    Group,
    /// `eligible.leader.replicas.version` (KIP-966).
    EligibleLeaderReplicas,
    /// `share.version` (KIP-932).
    Share,
    /// `streams.version` (KIP-1071).
    Streams,
}

/// One level of a feature.
struct Level {
    /// The metadata version from which a new cluster gets the level.
    default_from: i16,
    /// The metadata version without which the level cannot be set.
    needs: Option<i16>,
}

const fn from(default_from: i16) -> Level {
    Level { default_from, needs: None }
}

impl Feature {
    /// Every feature, in Kafka's order.
    pub const ALL: [Feature; 6] = [
        Feature::KRaft,
        Feature::Transaction,
        Feature::Group,
        Feature::EligibleLeaderReplicas,
        Feature::Share,
        Feature::Streams,
    ];

    /// Levels by number.
    const fn levels(self) -> &'static [Level] {
        match self {
            Feature::KRaft => const { &[from(7), from(21)] },
            Feature::Transaction => const { &[from(7), from(24), from(24)] },
            Feature::Group => const { &[from(7), from(22)] },
            Feature::EligibleLeaderReplicas => {
                const { &[from(7), Level { default_from: 26, needs: Some(23) }] }
            }
            Feature::Share => const { &[from(7), from(28), from(31)] },
            Feature::Streams => const { &[from(7), from(29)] },
        }
    }

    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            Feature::KRaft => "kraft.version",
            Feature::Transaction => "transaction.version",
            Feature::Group => "group.version",
            Feature::EligibleLeaderReplicas => "eligible.leader.replicas.version",
            Feature::Share => "share.version",
            Feature::Streams => "streams.version",
        }
    }

    /// The feature with this name.
    pub fn from_name(name: &str) -> Option<Feature> {
        Feature::ALL.into_iter().find(|feature| feature.name() == name)
    }

    /// The highest level that this release can run at.
    pub const fn latest(self) -> i16 {
        self.levels().len() as i16 - 1
    }

    /// The level that a cluster gets which is new at `version`.
    pub fn default_level(self, version: MetadataVersion) -> i16 {
        let reached = self.levels().iter().take_while(|level| level.default_from <= version.level());
        reached.count() as i16 - 1
    }

    /// The metadata version without which `level` cannot be set, if it needs one.
    pub fn needs(self, level: i16) -> Option<MetadataVersion> {
        let level = self.levels().get(usize::try_from(level).ok()?)?;
        level.needs.and_then(MetadataVersion::from_level)
    }
}

/// The levels of a feature that a node can run at, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LevelRange {
    /// The lowest.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

impl LevelRange {
    /// What a node supports of a feature that it does not name.
    pub const DISABLED: LevelRange = LevelRange { min: 0, max: 0 };

    /// Whether the node can run at `level`.
    pub fn contains(self, level: i16) -> bool {
        (self.min..=self.max).contains(&level)
    }

    /// Why `level` cannot be set, in Kafka's words about `whose` range this is.
    pub fn reason_against(self, level: i16, whose: &str) -> Option<String> {
        if self.contains(level) {
            None
        } else if self.max == 0 {
            Some(format!("{whose} does not support this feature."))
        } else {
            Some(format!("{whose} only supports versions {self}"))
        }
    }
}

impl fmt::Display for LevelRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (min, max) if min == max => write!(f, "{min}"),
            (min, i16::MAX) => write!(f, "{min}+"),
            (min, max) => write!(f, "{min}-{max}"),
        }
    }
}

/// The features and ranges that this release supports, as brokers and controllers register them.
pub fn supported_features(unstable: bool) -> Vec<(&'static str, LevelRange)> {
    let newest = if unstable { MetadataVersion::LATEST_TESTING } else { MetadataVersion::LATEST_PRODUCTION };
    let metadata = LevelRange { min: MetadataVersion::MINIMUM.level(), max: newest.level() };
    let others = Feature::ALL.map(|it| (it.name(), LevelRange { min: 0, max: it.latest() }));
    std::iter::once((MetadataVersion::FEATURE_NAME, metadata)).chain(others).collect()
}
