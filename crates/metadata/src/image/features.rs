//! Which levels of which features the cluster has finalized.

use imbl::OrdMap;
use ottla_base::Str;
use ottla_wire::records::metadata::FeatureLevelRecord;

use crate::{Feature, ImpossibleRecord, MetadataVersion};

/// The finalized features.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Features {
    /// `None` only before the first record of the log.
    pub metadata_version: Option<MetadataVersion>,
    /// Levels of the other features; a feature at level 0 is absent.
    pub levels: OrdMap<Str, i16>,
}

impl Features {
    /// The finalized metadata version; before the log says, the oldest.
    pub fn version(&self) -> MetadataVersion {
        self.metadata_version.unwrap_or(MetadataVersion::MINIMUM)
    }

    /// The finalized level of a feature; 0 if it is off.
    pub fn level(&self, feature: Feature) -> i16 {
        self.levels.get(feature.name()).copied().unwrap_or(0)
    }

    /// The finalized level of a feature known by name, `metadata.version` included; 0 if it is off.
    pub fn level_named(&self, name: &str) -> i16 {
        if name == MetadataVersion::FEATURE_NAME {
            self.metadata_version.map_or(0, MetadataVersion::level)
        } else {
            self.levels.get(name).copied().unwrap_or(0)
        }
    }

    /// Every finalized feature with its level, `metadata.version` first.
    pub fn iter(&self) -> impl Iterator<Item = (Str, i16)> {
        let metadata = self.metadata_version.map(MetadataVersion::level);
        let metadata = metadata.map(|level| (Str::from_static(MetadataVersion::FEATURE_NAME), level));
        metadata.into_iter().chain(self.levels.iter().map(|(name, level)| (name.clone(), *level)))
    }

    /// Whether partitions have eligible leader replicas (KIP-966).
    pub fn has_eligible_leader_replicas(&self) -> bool {
        self.level(Feature::EligibleLeaderReplicas) >= 1
    }

    pub(super) fn apply(&mut self, record: &FeatureLevelRecord) -> Result<(), ImpossibleRecord> {
        let level = record.feature_level;
        if record.name == *MetadataVersion::FEATURE_NAME {
            let version = MetadataVersion::from_level(level).ok_or_else(|| {
                ImpossibleRecord::new(format!("this release does not know metadata.version level {level}"))
            })?;
            self.metadata_version = Some(version);
        } else if record.name == *Feature::KRaft.name() {
            // The quorum keeps its own level in control records; old clusters wrote it here as well.
        } else if level == 0 {
            self.levels.remove(&record.name);
        } else {
            self.levels.insert(record.name.detached(), level);
        }
        Ok(())
    }
}
