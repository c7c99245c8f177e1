//! Finalizing features at other levels (KIP-584, KIP-778, KIP-1022).

use std::collections::BTreeMap;

use ottla_base::{ErrorCode, NodeId, Str};
use ottla_wire::messages::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};
use ottla_wire::messages::update_features_response::{UpdatableFeatureResult, UpdateFeaturesResponse};
use ottla_wire::records::metadata::{FeatureLevelRecord, MetadataRecord, NoOpRecord};

use super::{Decided, Deciding, FeatureLevels, Refusal, parts};
use crate::{Feature, LevelRange, MetadataVersion, supported_features};

/// Features are to be finalized at other levels.
#[derive(Debug, Clone)]
pub struct UpdateFeatures {
    /// What was asked.
    pub request: UpdateFeaturesRequest,
    /// The version in which it was asked: up to 1, the answer lists features.
    pub version: i16,
    /// The finalized level of `kraft.version`, which the quorum keeps.
    pub kraft_version: i16,
}

/// How a level may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UpgradeType {
    Upgrade,
    SafeDowngrade,
    UnsafeDowngrade,
}

pub(super) fn decide(deciding: &mut Deciding<'_>, asked: UpdateFeatures) -> Decided<UpdateFeaturesResponse> {
    let UpdateFeatures { request, version, kraft_version } = asked;
    let mut records = match deciding.feature_records(&request, kraft_version) {
        Ok(records) => records,
        Err(refusal) => {
            let why = refusal.message.unwrap_or_default();
            let message =
                format!("The update failed for all features since the following feature had an error: {why}");
            let (error_code, error_message) = parts(Err(Refusal::new(refusal.code, message)));
            return Decided::reply(UpdateFeaturesResponse {
                error_code,
                error_message,
                ..Default::default()
            });
        }
    };
    if request.validate_only {
        records.clear();
    }
    let mut reply = UpdateFeaturesResponse { error_message: None, ..Default::default() };
    if version <= 1 {
        let fine = |update: &FeatureUpdateKey| UpdatableFeatureResult {
            feature: update.feature.clone(),
            error_message: Some(ErrorCode::None.name().into()),
            ..Default::default()
        };
        reply.results = request.feature_updates.iter().map(fine).collect();
    }
    Decided::together(records, reply)
}

fn invalid(feature: &str, level: i16, why: &str) -> Refusal {
    let message = format!("Invalid update version {level} for feature {feature}. {why}");
    Refusal::new(ErrorCode::InvalidUpdateVersion, message)
}

impl Deciding<'_> {
    /// All updates, or the refusal of the first that cannot be.
    fn feature_records(
        &self,
        request: &UpdateFeaturesRequest,
        kraft_version: i16,
    ) -> Result<Vec<MetadataRecord>, Refusal> {
        let mut proposed: BTreeMap<Str, i16> = self.image.features.iter().collect();
        proposed.extend(request.feature_updates.iter().map(|it| (it.feature.clone(), it.max_version_level)));
        let mut records = Vec::new();
        let elr = Feature::EligibleLeaderReplicas.name();
        if request.feature_updates.iter().any(|it| it.feature == *elr && it.max_version_level > 0) {
            records.extend(self.agree_on_min_isr());
        }
        for update in &request.feature_updates {
            records.extend(self.feature_record(update, &proposed, kraft_version)?);
        }
        Ok(records)
    }

    fn feature_record(
        &self,
        update: &FeatureUpdateKey,
        proposed: &BTreeMap<Str, i16>,
        kraft_version: i16,
    ) -> Result<Option<MetadataRecord>, Refusal> {
        let (name, level) = (&update.feature, update.max_version_level);
        let refuse = |why: &str| Err(invalid(name, level, why));
        let upgrade_type = match update.upgrade_type {
            1 => UpgradeType::Upgrade,
            2 => UpgradeType::SafeDowngrade,
            3 => UpgradeType::UnsafeDowngrade,
            _ => return refuse("The controller does not support the given upgrade type."),
        };
        if level < 0 {
            return refuse("A feature version cannot be less than 0.");
        }
        if let Some(why) = self.reason_not_supported(name, level) {
            return refuse(&why);
        }
        let feature = Feature::from_name(name);
        let current = match feature {
            Some(Feature::KRaft) => kraft_version,
            _ => self.image.features.level_named(name),
        };
        if level < current && upgrade_type == UpgradeType::Upgrade {
            return refuse(
                "Can't downgrade the version of this feature without setting the upgrade type to either safe or \
                 unsafe downgrade.",
            );
        }
        if level > current && upgrade_type != UpgradeType::Upgrade {
            return refuse("Can't downgrade to a newer version.");
        }
        match feature {
            None if *name == *MetadataVersion::FEATURE_NAME => {
                self.check_metadata_version(level, upgrade_type)?
            }
            None => return refuse(&format!("Feature {name} not found.")),
            Some(Feature::KRaft) if level < current => {
                return refuse("Can't downgrade the version of this feature.");
            }
            Some(Feature::KRaft) if level > current => {
                return refuse(
                    "The voters of this quorum were configured, not formatted: they cannot change.",
                );
            }
            Some(Feature::KRaft) => {
                let is_upgrade = upgrade_type == UpgradeType::Upgrade;
                return Ok(is_upgrade.then(|| MetadataRecord::NoOpRecord(NoOpRecord::default())));
            }
            Some(feature) => {
                let metadata = proposed.get(MetadataVersion::FEATURE_NAME).copied().unwrap_or(0);
                if let Some(needed) = feature.needs(level).filter(|needed| metadata < needed.level()) {
                    let what = MetadataVersion::FEATURE_NAME;
                    return refuse(&format!(
                        "{name} could not be set to {level} because it depends on {what} level {}",
                        needed.level()
                    ));
                }
            }
        }
        Ok(Some(MetadataRecord::FeatureLevelRecord(FeatureLevelRecord {
            name: name.clone(),
            feature_level: level,
            ..Default::default()
        })))
    }

    fn check_metadata_version(&self, level: i16, upgrade_type: UpgradeType) -> Result<(), Refusal> {
        let refuse = |message: String| Err(Refusal::new(ErrorCode::InvalidUpdateVersion, message));
        let Some(wanted) = MetadataVersion::from_level(level) else {
            return refuse(format!(
                "Invalid metadata.version {level}. Valid versions are from {} to {}.",
                MetadataVersion::MINIMUM.level(),
                MetadataVersion::LATEST_TESTING.level()
            ));
        };
        let current = self.image.features.version();
        if wanted < current && MetadataVersion::metadata_changed_between(wanted, current) {
            let why = match upgrade_type {
                UpgradeType::UnsafeDowngrade => "Unsafe metadata downgrade is not supported in this version.",
                _ => {
                    "Refusing to perform the requested downgrade because it might delete metadata information."
                }
            };
            return refuse(format!(
                "Unsupported metadata.version downgrade from {} to {level}. {why}",
                current.level()
            ));
        }
        Ok(())
    }

    /// Which node cannot run at a level, if any cannot.
    fn reason_not_supported(&self, feature: &str, level: i16) -> Option<String> {
        let own = self.options.node;
        let mine = supported_features(self.options.feature_levels == FeatureLevels::Unstable);
        let mine = mine.into_iter().find(|(name, _)| *name == feature);
        let mine = mine.map_or(LevelRange::DISABLED, |(_, range)| range);
        if let Some(reason) = mine.reason_against(level, &format!("Local controller {own}")) {
            return Some(reason);
        }
        let cluster = &self.image.cluster;
        let of_brokers =
            cluster.brokers.values().map(|it| (format!("Broker {}", it.id), it.supports(feature)));
        let others = cluster.controllers.values().filter(|it| it.id != own);
        let of_controllers = others.map(|it| (format!("Controller {}", it.id), it.supports(feature)));
        let with_controllers = self.image.features.version().has_controller_registration();
        let of_controllers = of_controllers.filter(|_| with_controllers);
        let reason =
            of_brokers.chain(of_controllers).find_map(|(whose, range)| range.reason_against(level, &whose));
        if reason.is_some() || !with_controllers {
            return reason;
        }
        let unknown = |id: &&NodeId| **id != own && !cluster.controllers.contains_key(*id);
        let missing = self.options.static_controllers.iter().find(unknown)?;
        Some(format!("controller {missing} has not registered, and may not support this feature"))
    }
}
