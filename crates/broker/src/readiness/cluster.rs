//! What the metadata log says of the cluster, read without opening it: nothing is repaired, nothing is written.

use std::path::Path;

use ottla_base::NodeId;
use ottla_host::Host;
use ottla_metadata::settings::ResourceKind;
use ottla_metadata::{Image, MetadataVersion};

use super::{Claim, Finding, Weight};
use crate::config::BrokerSettings;
use crate::quorum::{self, Glimpse};
use crate::tier;

/// A cluster as its metadata log has it.
#[derive(Debug, Clone)]
pub struct ClusterReport {
    /// The state at the end of the log.
    pub(super) image: Image,
    /// `metadata.version`; none before the log says.
    pub metadata_version: Option<MetadataVersion>,
    /// Every finalized feature with its level, `kraft.version` among them.
    pub features: Vec<(String, i16)>,
    /// The voters of the quorum.
    pub voters: String,
    /// Where the log ends.
    pub end: i64,
    /// How many topics there are.
    pub topics: usize,
    /// How many partitions they have.
    pub partitions: usize,
    /// The brokers that are registered.
    pub brokers: Vec<NodeId>,
    /// Topics whose older records are in tiered storage.
    pub tiered: Vec<String>,
}

/// Reads the metadata log, if there is one.
pub(super) fn look(
    host: &Host,
    settings: &BrokerSettings,
    claim: &Claim,
) -> Result<Option<ClusterReport>, Finding> {
    let directory = settings.metadata_directory();
    if !claim.usable.contains_key(directory) {
        return Ok(None);
    }
    let directory_id = claim.id(directory).unwrap_or_default();
    let glimpse = quorum::glimpse(host, &settings.server, directory, directory_id);
    let Some(glimpse) = glimpse.map_err(|error| refusal(directory, error.to_string()))? else {
        return Ok(None);
    };
    if let Some(reason) = glimpse.unsupported(NodeId(settings.server.quorum.node_id), directory_id) {
        return Err(refusal(directory, reason));
    }
    Ok(Some(report(glimpse)))
}

fn refusal(directory: &Path, says: String) -> Finding {
    Finding::new(Weight::Refusal, directory.display().to_string(), says)
}

fn report(glimpse: Glimpse) -> ClusterReport {
    let Glimpse { image, kraft_version, voters, end, .. } = glimpse;
    let mut features: Vec<(String, i16)> =
        image.features.iter().map(|(name, level)| (name.to_string(), level)).collect();
    features.push(("kraft.version".to_owned(), kraft_version));
    features.sort();
    let tiered = image.configs.of_kind(ResourceKind::Topic).filter(|(_, config)| {
        config.iter().any(|(key, value)| &**key == "remote.storage.enable" && &**value == "true")
    });
    ClusterReport {
        metadata_version: image.features.metadata_version,
        features,
        voters: voters.to_string(),
        end: end.get(),
        topics: image.topics.len(),
        partitions: image.topics.partition_count(),
        brokers: image.cluster.brokers.keys().copied().collect(),
        tiered: tiered.map(|(resource, _)| resource.name.to_string()).collect(),
        image,
    }
}

impl ClusterReport {
    pub(super) fn findings(&self, settings: &BrokerSettings) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Err(says) = tier::settings::check_topics(settings, &self.image) {
            findings.push(Finding::new(Weight::Refusal, "tiered storage", says));
        }
        findings.extend(self.of_tiering(settings));
        if self.brokers.len() > 1 {
            let others = self.brokers.len() - 1;
            let says = format!("{others} other brokers are registered: their partitions have no leader here");
            findings.push(Finding::new(Weight::Warning, "cluster", says));
        }
        findings
    }

    /// What becomes of tiered storage, where it is on and has a store.
    fn of_tiering(&self, settings: &BrokerSettings) -> Option<Finding> {
        let store = tier::settings::store_name(settings)?;
        let about = "tiered storage";
        let count = self.tiered.len();
        let finding = match tier::settings::foreign_class(settings) {
            _ if count == 0 => Finding::new(
                Weight::Note,
                about,
                format!(
                    "it is on, in {store}; no topic is tiered: nothing leaves the disk until one has \
                     remote.storage.enable=true"
                ),
            ),
            Some(class) => Finding::new(
                Weight::Warning,
                about,
                format!(
                    "{count} topics are tiered; segments go to {store} from now on, and those that {class} has tiered \
                     have names that Ottla does not know: they cannot be read here"
                ),
            ),
            None => Finding::new(Weight::Note, about, format!("{count} topics are tiered, in {store}")),
        };
        Some(finding)
    }
}
