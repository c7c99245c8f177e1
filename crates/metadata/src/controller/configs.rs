//! Dynamic configurations of topics, brokers, groups and client metrics subscriptions. What a change comes to, and
//! whether it may be, is the business of `settings`; here are the records and the order of things.

use std::collections::BTreeMap;

use ottla_base::settings::Texts;
use ottla_base::{ErrorCode, NodeId, Str};
use ottla_wire::messages::{
    alter_configs_request as replacement, alter_configs_response as replaced,
    incremental_alter_configs_request as incremental, incremental_alter_configs_response as altered,
};
use ottla_wire::records::metadata::{ClearElrRecord, ConfigRecord, MetadataRecord};

use super::{Decided, Deciding, MAX_RECORDS_PER_REQUEST, Refusal, parts, too_many_records};
use crate::settings::alter::{self, Altered, Availability, Change, Operation, Origin, Rules};
use crate::settings::layers::ServerLayers;
use crate::settings::{ResourceKind, ServerSettings, derived};
use crate::{Config, Resource, Topic};

pub(super) const MIN_ISR: &str = "min.insync.replicas";
pub(super) const UNCLEAN_ELECTION: &str = "unclean.leader.election.enable";

/// A change of configurations, and who has looked at it before.
#[derive(Debug, Clone)]
pub struct AlterConfigs<R> {
    /// The request.
    pub request: R,
    /// Where it comes from.
    pub origin: Origin,
}

/// The settings of this controller's server as they are now.
pub(super) struct Server {
    pub(super) layers: ServerLayers,
    settings: ServerSettings,
    topic_defaults: Texts,
}

/// The settings on which elections depend, of topics that say nothing themselves.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) min_isr: usize,
    pub(super) unclean_election: bool,
}

/// Kafka's `Boolean.parseBoolean`.
pub(super) fn is_true(text: &str) -> bool {
    text.trim().eq_ignore_ascii_case("true")
}

impl From<alter::Refusal> for Refusal {
    fn from(refusal: alter::Refusal) -> Refusal {
        Refusal::new(refusal.code, refusal.message)
    }
}

pub(super) fn texts(config: &Config) -> Texts {
    config.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// The record that says what a key of a resource becomes.
pub(super) fn config_record(resource: &Resource, altered: Altered) -> MetadataRecord {
    MetadataRecord::ConfigRecord(ConfigRecord {
        resource_type: resource.kind.id(),
        resource_name: resource.name.clone(),
        name: altered.name.into(),
        value: altered.value.map(Str::from),
        ..Default::default()
    })
}

impl Deciding<'_> {
    /// A topic's value for a setting on which elections depend, if the topic says something itself.
    pub(super) fn own_value(&self, topic: &Topic, name: &str) -> Option<&Str> {
        self.image.configs.value(&Resource::topic(topic.name.clone()), name)
    }

    /// What holds where a topic says nothing: this controller's value, the cluster's, the file's, the default.
    pub(super) fn inherited(&self) -> &Inherited {
        self.inherited.get_or_init(|| {
            let layers = [Resource::broker(self.options.node), Resource::all_brokers()];
            let value = |name: &str| {
                let dynamic = layers.iter().find_map(|layer| self.image.configs.value(layer, name));
                let fixed = || self.options.settings.get(name).map(String::as_str);
                let declared = || ResourceKind::Broker.settings().get(name)?.default_text();
                dynamic.map(Str::as_str).or_else(fixed).or_else(declared)
            };
            Inherited {
                min_isr: value(MIN_ISR).and_then(|it| it.trim().parse().ok()).unwrap_or(1),
                unclean_election: value(UNCLEAN_ELECTION).is_some_and(is_true),
            }
        })
    }

    /// The settings of this controller's server with what is dynamic. Should that not hold together, what the
    /// server was started with is what counts.
    pub(super) fn server(&self) -> Server {
        let mut layers = ServerLayers::new(self.options.settings.clone());
        layers.set_cluster(texts(&self.image.configs.of(&Resource::all_brokers())));
        layers.set_own(texts(&self.image.configs.of(&Resource::broker(self.options.node))));
        let effective = layers.effective();
        let settings = ServerSettings::read(&effective).unwrap_or_else(|_| self.options.server.clone());
        let topic_defaults = derived::topic_defaults(&settings, &effective);
        Server { layers, settings, topic_defaults }
    }

    fn rules<'s>(&self, server: &'s Server, origin: Origin) -> Rules<'s> {
        let features = &self.image.features;
        let available = |yes: bool| if yes { Availability::Available } else { Availability::Unavailable };
        Rules {
            server: &server.settings,
            topic_defaults: &server.topic_defaults,
            eligible_leader_replicas: available(features.has_eligible_leader_replicas()),
            cordoned_directories: available(features.version().has_cordoned_directories()),
            origin,
        }
    }

    /// The records of a new topic's configuration.
    pub(super) fn config_of_new_topic(
        &self,
        name: &Str,
        own: &Texts,
        server: &Server,
    ) -> Result<Vec<MetadataRecord>, Refusal> {
        if own.is_empty() {
            return Ok(Vec::new());
        }
        let resource = Resource::topic(name.clone());
        let set = |(name, value): (&String, &String)| Change {
            name: name.clone(),
            operation: Operation::Set,
            value: Some(value.clone()),
        };
        let changes: Vec<Change> = own.iter().map(set).collect();
        let rules = self.rules(server, Origin::Forwarded);
        let altered = alter::alter(resource.kind, name, &Texts::new(), &changes, &rules)?;
        let mut records: Vec<MetadataRecord> =
            altered.into_iter().map(|it| config_record(&resource, it)).collect();
        self.clear_elr_as_needed(&mut records);
        Ok(records)
    }

    fn check_existence(&self, resource: &Resource) -> Result<(), Refusal> {
        let name = &resource.name;
        match resource.kind {
            ResourceKind::Topic if self.image.topics.named(name).is_none() => {
                let message = format!("The topic '{name}' does not exist.");
                Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, message))
            }
            ResourceKind::Broker if !name.is_empty() => {
                let id = NodeId(name.parse().unwrap_or(-1));
                let cluster = &self.image.cluster;
                let known = cluster.brokers.contains_key(&id)
                    || cluster.controllers.contains_key(&id)
                    || self.options.static_controllers.contains(&id);
                let message = || format!("No node with id {id} found.");
                known.then_some(()).ok_or_else(|| Refusal::new(ErrorCode::BrokerIdNotRegistered, message()))
            }
            _ => Ok(()),
        }
    }

    /// A changed minimum makes eligible leader replicas meaningless: who was out of sync below the old one may lack
    /// records that the new one lets be committed.
    fn clear_elr_as_needed(&self, records: &mut Vec<MetadataRecord>) {
        if !self.image.features.has_eligible_leader_replicas() {
            return;
        }
        let clear = |record: &MetadataRecord| match record {
            MetadataRecord::ConfigRecord(it) if it.name == *MIN_ISR => {
                let of_topic = it.resource_type == ResourceKind::Topic.id();
                let topic_name = if of_topic { it.resource_name.clone() } else { Str::default() };
                Some(MetadataRecord::ClearElrRecord(ClearElrRecord { topic_name, ..Default::default() }))
            }
            _ => None,
        };
        let clears: Vec<MetadataRecord> = records.iter().filter_map(clear).collect();
        records.extend(clears);
    }

    /// Decides resource by resource, in order; a resource that is named twice is refused.
    fn alter_each<'r, W>(
        &self,
        resources: impl Iterator<Item = (i8, &'r Str, W)> + Clone,
        change: impl Fn(&Resource, &Texts, W) -> Result<Vec<Altered>, Refusal>,
    ) -> (Vec<MetadataRecord>, Vec<Answered>) {
        let mut times: BTreeMap<(i8, &str), usize> = BTreeMap::new();
        for (kind, name, _) in resources.clone() {
            *times.entry((kind, name)).or_default() += 1;
        }
        let mut records = Vec::new();
        let mut answers = Vec::new();
        for (kind, name, wanted) in resources {
            let result = match (ResourceKind::from_id(kind), times.remove(&(kind, name))) {
                // Its refusal has been given.
                (_, None) => continue,
                (None, _) => {
                    let message = format!("Unknown resource type {kind}.");
                    Err(Refusal::new(ErrorCode::UnsupportedVersion, message))
                }
                (Some(_), Some(2..)) => Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate resource.")),
                (Some(kind), Some(_)) => {
                    let resource = Resource { kind, name: name.clone() };
                    let own = texts(&self.image.configs.of(&resource));
                    change(&resource, &own, wanted).and_then(|altered| {
                        self.check_existence(&resource)?;
                        records.extend(altered.into_iter().map(|it| config_record(&resource, it)));
                        Ok(())
                    })
                }
            };
            answers.push(Answered { kind, name: name.clone(), result });
        }
        self.clear_elr_as_needed(&mut records);
        if records.len() > MAX_RECORDS_PER_REQUEST {
            records.clear();
            for answer in &mut answers {
                answer.result = Err(too_many_records());
            }
        }
        (records, answers)
    }
}

/// One resource of a request, and what came of it.
struct Answered {
    kind: i8,
    name: Str,
    result: Result<(), Refusal>,
}

pub(super) fn decide_incremental(
    deciding: &mut Deciding<'_>,
    AlterConfigs { request, origin }: AlterConfigs<incremental::IncrementalAlterConfigsRequest>,
) -> Decided<altered::IncrementalAlterConfigsResponse> {
    let server = deciding.server();
    let rules = deciding.rules(&server, origin);
    let resources = request.resources.iter().map(|it| (it.resource_type, &it.resource_name, &it.configs));
    let (mut records, answers) = deciding.alter_each(resources, |resource, own, configs| {
        // Of several operations on one key, the last counts.
        let mut changes: BTreeMap<&str, Change> = BTreeMap::new();
        for config in configs {
            let unknown = || {
                let message = format!("Unknown operation type {}", config.config_operation);
                Refusal::new(ErrorCode::InvalidRequest, message)
            };
            let operation = Operation::from_id(config.config_operation).ok_or_else(unknown)?;
            let value = config.value.as_ref().map(Str::to_string);
            changes.insert(&config.name, Change { name: config.name.to_string(), operation, value });
        }
        let changes: Vec<Change> = changes.into_values().collect();
        Ok(alter::alter(resource.kind, &resource.name, own, &changes, &rules)?)
    });
    if request.validate_only {
        records.clear();
    }
    let answer = |Answered { kind, name, result }| {
        let (error_code, error_message) = parts(result);
        altered::AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: kind,
            resource_name: name,
            ..Default::default()
        }
    };
    let responses = answers.into_iter().map(answer).collect();
    Decided::together(records, altered::IncrementalAlterConfigsResponse { responses, ..Default::default() })
}

pub(super) fn decide_replacement(
    deciding: &mut Deciding<'_>,
    AlterConfigs { request, origin }: AlterConfigs<replacement::AlterConfigsRequest>,
) -> Decided<replaced::AlterConfigsResponse> {
    let server = deciding.server();
    let rules = deciding.rules(&server, origin);
    let resources = request.resources.iter().map(|it| (it.resource_type, &it.resource_name, &it.configs));
    let (mut records, answers) = deciding.alter_each(resources, |resource, own, configs| {
        let set = configs.iter().filter_map(|it| Some((it.name.to_string(), it.value.as_ref()?.to_string())));
        Ok(alter::replace(resource.kind, &resource.name, own, &set.collect(), &rules)?)
    });
    if request.validate_only {
        records.clear();
    }
    let answer = |Answered { kind, name, result }| {
        let (error_code, error_message) = parts(result);
        replaced::AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: kind,
            resource_name: name,
            ..Default::default()
        }
    };
    let responses = answers.into_iter().map(answer).collect();
    Decided::together(records, replaced::AlterConfigsResponse { responses, ..Default::default() })
}
