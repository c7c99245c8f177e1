//! What the log of a new cluster begins with.

use std::collections::BTreeMap;

use ottla_base::Str;
use ottla_wire::records::metadata::{FeatureLevelRecord, MetadataRecord};

use crate::{Feature, MetadataVersion};

/// Why a cluster cannot begin like this, in the words of Kafka's formatter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CannotBootstrap(String);

/// The feature levels of a new cluster at `version`: each feature's default for that version unless `chosen` says
/// otherwise. The records belong into the checkpoint `00000000000000000000-0000000000.checkpoint`; the first
/// controller writes them into the log when it becomes active. `kraft.version` is not among them: its level stands
/// in a control record of that checkpoint.
pub fn bootstrap_records(
    version: MetadataVersion,
    chosen: &BTreeMap<String, i16>,
) -> Result<Vec<MetadataRecord>, CannotBootstrap> {
    if let Some(unknown) = chosen.keys().find(|name| Feature::from_name(name).is_none()) {
        let mut names = Feature::ALL.map(Feature::name);
        names.sort_unstable();
        let message = format!("Unsupported feature: {unknown}. Supported features are: {}", names.join(", "));
        return Err(CannotBootstrap(message));
    }
    let level_of = |feature: Feature| {
        chosen.get(feature.name()).copied().unwrap_or_else(|| feature.default_level(version))
    };
    let mut levels = BTreeMap::new();
    for feature in Feature::ALL {
        let (name, level) = (feature.name(), level_of(feature));
        if !(0..=feature.latest()).contains(&level) {
            return Err(CannotBootstrap(format!("No feature:{name} with feature level {level}")));
        }
        if let Some(needed) = feature.needs(level).filter(|needed| version < *needed) {
            return Err(CannotBootstrap(format!(
                "{name} could not be set to {level} because it depends on {} level {}",
                MetadataVersion::FEATURE_NAME,
                needed.level()
            )));
        }
        if level > 0 && feature != Feature::KRaft {
            levels.insert(name, level);
        }
    }
    let metadata = (MetadataVersion::FEATURE_NAME, version.level());
    let record = |(name, feature_level): (&'static str, i16)| {
        let name = Str::from_static(name);
        MetadataRecord::FeatureLevelRecord(FeatureLevelRecord { name, feature_level, ..Default::default() })
    };
    Ok(std::iter::once(metadata).chain(levels).map(record).collect())
}
