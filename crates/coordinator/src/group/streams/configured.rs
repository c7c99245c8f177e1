//! A topology with its topics as they are: how many tasks there are, and which internal topics are still to be made
//! (`InternalTopicManager`, `RepartitionTopics`, `CopartitionedTopicsEnforcer`, `ChangelogTopics`).

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{ErrorCode, Str, validate_topic_name};
use ottla_metadata::Image;
use ottla_metadata::controller::Refusal;
use ottla_wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use ottla_wire::messages::streams_group_describe_response as describe;
use ottla_wire::records::group::{StreamsGroupTopologyTopicInfo, Subtopology};

use super::status::{Status, StatusCode};
use super::topology::{Topology, sorted, sources};

/// How many names a status lists.
const NAMES_SHOWN: usize = 3;

/// The replication factor that leaves the choice to the controller.
const DEFAULT_REPLICATION_FACTOR: i16 = -1;

/// A topology whose topics were looked at (`ConfiguredTopology`).
#[derive(Debug, PartialEq)]
pub(super) struct Configured {
    /// The epoch of the topology.
    pub(super) epoch: i32,
    /// Its parts, by their ids; none if topics stand in the way.
    pub(super) parts: BTreeMap<Str, ConfiguredPart>,
    /// Internal topics that are not there.
    pub(super) missing: Vec<CreatableTopic>,
    /// Why no tasks can be assigned.
    pub(super) obstacle: Option<Status>,
}

/// A subtopology whose topics are known (`ConfiguredSubtopology`).
#[derive(Debug, PartialEq)]
pub(super) struct ConfiguredPart {
    /// How many tasks it has: as many as the largest topic that it reads has partitions.
    pub(super) tasks: i32,
    /// What it reads, repartition topics included, in order.
    pub(super) sources: Vec<Str>,
    source_topics: Vec<Str>,
    repartition_sinks: Vec<Str>,
    repartition_sources: Vec<InternalTopic>,
    changelogs: Vec<InternalTopic>,
}

/// A topic of the group's own (`ConfiguredInternalTopic`).
#[derive(Debug, Clone, PartialEq)]
struct InternalTopic {
    name: Str,
    partitions: i32,
    /// 0 leaves the choice to the controller.
    replication_factor: i16,
    configs: BTreeMap<Str, Str>,
}

/// Why a topology has no tasks.
enum Trouble {
    /// The topics are not as they must be, which may change.
    Topics(Status),
    /// The topology can never work.
    Topology(Refusal),
}

/// What was found out so far about the partitions of topics.
struct Counts<'a> {
    image: &'a Image,
    decided: BTreeMap<&'a Str, i32>,
}

impl Configured {
    /// Looks at the topics of a topology. Refuses a topology that can never work.
    pub(super) fn new(topology: &Topology, image: &Image) -> Result<Configured, Refusal> {
        match configure(topology, image) {
            Ok((parts, missing)) => {
                let obstacle = (!missing.is_empty()).then(|| {
                    let names = summary(missing.iter().map(|topic| &topic.name));
                    let detail = format!("Internal topics are missing: {names}");
                    Status::new(StatusCode::MissingInternalTopics, detail)
                });
                Ok(Configured { epoch: topology.epoch, parts, missing, obstacle })
            }
            Err(Trouble::Topics(status)) => Ok(Configured {
                epoch: topology.epoch,
                parts: BTreeMap::new(),
                missing: Vec::new(),
                obstacle: Some(status),
            }),
            Err(Trouble::Topology(refusal)) => Err(refusal),
        }
    }

    /// Whether tasks can be assigned.
    pub(super) fn is_ready(&self) -> bool {
        self.obstacle.is_none()
    }

    /// As a description says it.
    pub(super) fn described(&self) -> describe::Topology {
        let parts = self.parts.iter().map(|(id, part)| describe::Subtopology {
            subtopology_id: id.clone(),
            source_topics: part.source_topics.clone(),
            repartition_sink_topics: part.repartition_sinks.clone(),
            repartition_source_topics: part
                .repartition_sources
                .iter()
                .map(InternalTopic::described)
                .collect(),
            state_changelog_topics: part.changelogs.iter().map(InternalTopic::described).collect(),
            ..Default::default()
        });
        describe::Topology { epoch: self.epoch, subtopologies: Some(parts.collect()), ..Default::default() }
    }
}

impl ConfiguredPart {
    /// Whether its tasks have state, so that standbys make sense.
    pub(super) fn is_stateful(&self) -> bool {
        !self.changelogs.is_empty()
    }
}

impl InternalTopic {
    fn described(&self) -> describe::TopicInfo {
        let configs = self.configs.iter().map(|(key, value)| describe::KeyValue {
            key: key.clone(),
            value: value.clone(),
            ..Default::default()
        });
        describe::TopicInfo {
            name: self.name.clone(),
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            topic_configs: configs.collect(),
            ..Default::default()
        }
    }

    fn creatable(&self) -> CreatableTopic {
        let configs = self.configs.iter().map(|(key, value)| CreatableTopicConfig {
            name: key.clone(),
            value: Some(value.clone()),
            ..Default::default()
        });
        let replication_factor = match self.replication_factor {
            0 => DEFAULT_REPLICATION_FACTOR,
            factor => factor,
        };
        CreatableTopic {
            name: self.name.clone(),
            num_partitions: self.partitions,
            replication_factor,
            configs: configs.collect(),
            ..Default::default()
        }
    }
}

impl Counts<'_> {
    /// How many partitions a topic has, or is to have.
    fn of(&self, topic: &Str) -> Option<i32> {
        let exists = self.image.topics.named(topic).map(|topic| topic.partition_count);
        exists.or_else(|| self.decided.get(topic).copied())
    }

    /// The same for a topic about which that is known by now.
    fn known(&self, topic: &Str) -> Result<i32, Trouble> {
        self.of(topic).ok_or_else(|| invalid(format!("Number of partitions must be set for topic {topic}")))
    }
}

type Parts = BTreeMap<Str, ConfiguredPart>;

fn configure(topology: &Topology, image: &Image) -> Result<(Parts, Vec<CreatableTopic>), Trouble> {
    let copartitioned = copartition_groups(topology)?;
    no_source_is_missing(topology, image)?;
    let mut counts = Counts { image, decided: BTreeMap::new() };
    decide_repartition_topics(topology, &mut counts)?;
    for group in &copartitioned {
        let decided = copartition(topology, group, &counts)?;
        counts.decided.extend(decided);
    }
    for part in topology.subtopologies.values() {
        let partitions = most_partitions(part, &counts)?;
        counts.decided.extend(part.state_changelog_topics.iter().map(|topic| (&topic.name, partitions)));
    }
    let parts = topology.subtopologies.iter().map(|(id, part)| Ok((id.clone(), configured(part, &counts)?)));
    let parts = parts.collect::<Result<Parts, Trouble>>()?;
    let missing = missing_topics(topology, &parts, image)?;
    Ok((parts, missing))
}

fn no_source_is_missing(topology: &Topology, image: &Image) -> Result<(), Trouble> {
    let sources = topology.subtopologies.values().flat_map(|part| &part.source_topics);
    let missing: BTreeSet<&Str> = sources.filter(|topic| image.topics.id(topic).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let detail = format!("Source topics {} are missing.", summary(missing));
    Err(Trouble::Topics(Status::new(StatusCode::MissingSourceTopics, detail)))
}

/// The topics of each copartition group, by name: groups refer to them by position.
fn copartition_groups(topology: &Topology) -> Result<Vec<BTreeSet<&Str>>, Trouble> {
    let mut groups = Vec::new();
    for part in topology.subtopologies.values() {
        for group in &part.copartition_groups {
            let external = group.source_topics.iter().map(|at| named_at(&part.source_topics, *at));
            let internal = group.repartition_source_topics.iter().map(|at| {
                let topic = usize::try_from(*at).ok().and_then(|at| part.repartition_source_topics.get(at));
                topic.map(|topic| &topic.name)
            });
            let names: Option<BTreeSet<&Str>> = external.chain(internal).collect();
            let unknown = || invalid("A copartition group refers to a topic that is not there.".to_owned());
            groups.push(names.ok_or_else(unknown)?);
        }
    }
    Ok(groups)
}

fn named_at(names: &[Str], at: i16) -> Option<&Str> {
    names.get(usize::try_from(at).ok()?)
}

/// Repartition topics have the partitions that the topology says, or else as many as what is written to them comes
/// from, which may be other repartition topics.
fn decide_repartition_topics<'a>(topology: &'a Topology, counts: &mut Counts<'a>) -> Result<(), Trouble> {
    let repartitioned = |part: &'a Subtopology| part.repartition_source_topics.iter();
    let mut decided = BTreeMap::new();
    for topic in topology.subtopologies.values().flat_map(repartitioned) {
        if topic.partitions != 0 {
            decided.insert(&topic.name, topic.partitions);
        }
    }
    loop {
        let (mut is_complete, mut has_moved) = (true, false);
        for part in topology.subtopologies.values() {
            for sink in &part.repartition_sink_topics {
                if decided.contains_key(sink) {
                    continue;
                }
                let internal = repartitioned(part).filter_map(|topic| decided.get(&topic.name).copied());
                let external = part.source_topics.iter().filter_map(|topic| counts.of(topic));
                match internal.chain(external).max() {
                    Some(partitions) => {
                        decided.insert(sink, partitions);
                        has_moved = true;
                    }
                    None => is_complete = false,
                }
            }
        }
        if is_complete {
            break;
        }
        if !has_moved {
            return Err(invalid(
                "Failed to compute number of partitions for all repartition topics. There may be loops in the \
                 topology that cannot be resolved."
                    .to_owned(),
            ));
        }
    }
    let mut all = topology.subtopologies.values().flat_map(repartitioned);
    if all.any(|topic| !decided.contains_key(&topic.name)) {
        return Err(invalid(
            "Failed to compute number of partitions for all repartition topics, because a repartition source topic \
             is never used as a sink topic."
                .to_owned(),
        ));
    }
    counts.decided.extend(decided);
    Ok(())
}

/// The partitions of the repartition topics of a group of topics that must have equally many.
fn copartition<'a>(
    topology: &'a Topology,
    group: &BTreeSet<&'a Str>,
    counts: &Counts<'_>,
) -> Result<Vec<(&'a Str, i32)>, Trouble> {
    if group.is_empty() {
        return Ok(Vec::new());
    }
    let repartitioned = topology.subtopologies.values().flat_map(|part| &part.repartition_source_topics);
    let is_fixed: BTreeMap<&Str, bool> =
        repartitioned.map(|topic| (&topic.name, topic.partitions != 0)).collect();
    let mut internal: BTreeMap<&Str, i32> = BTreeMap::new();
    let mut external: BTreeMap<&Str, i32> = BTreeMap::new();
    for topic in group {
        let side = if is_fixed.contains_key(topic) { &mut internal } else { &mut external };
        side.insert(topic, counts.known(topic)?);
    }
    // As in Kafka, the fixed topics of the whole topology decide, not only those of the group.
    let fixed: Vec<&Str> = is_fixed.iter().filter(|(_, fixed)| **fixed).map(|(topic, _)| *topic).collect();
    let partitions = match (external.values().next(), fixed.first()) {
        (Some(partitions), _) => all_have(*partitions, external.values().copied(), &external)?,
        (None, Some(first)) => {
            let fixed = fixed.iter().map(|topic| counts.known(topic));
            let fixed = fixed.collect::<Result<Vec<i32>, Trouble>>()?;
            all_have(counts.known(first)?, fixed, &internal)?
        }
        (None, None) => internal.values().copied().max().unwrap_or_default(),
    };
    for (topic, count) in &internal {
        if is_fixed.get(topic) == Some(&true) && *count != partitions {
            return Err(mispartitioned(format!(
                "Number of partitions [{count}] of repartition topic [{topic}] doesn't match number of partitions \
                 [{partitions}] of the source topic."
            )));
        }
    }
    Ok(internal.into_keys().map(|topic| (topic, partitions)).collect())
}

fn all_have(
    partitions: i32,
    counts: impl IntoIterator<Item = i32>,
    told: &BTreeMap<&Str, i32>,
) -> Result<i32, Trouble> {
    if counts.into_iter().all(|count| count == partitions) {
        return Ok(partitions);
    }
    let told: Vec<String> = told.iter().map(|(topic, count)| format!("{topic}={count}")).collect();
    let told = told.join(", ");
    Err(mispartitioned(format!("Following topics do not have the same number of partitions: [{{{told}}}]")))
}

fn most_partitions(part: &Subtopology, counts: &Counts<'_>) -> Result<i32, Trouble> {
    let partitions = sources(part).map(|topic| counts.known(topic)).collect::<Result<Vec<i32>, Trouble>>()?;
    let no_sources = || invalid(format!("No source topics found for subtopology {}", part.subtopology_id));
    partitions.into_iter().max().ok_or_else(no_sources)
}

fn configured(part: &Subtopology, counts: &Counts<'_>) -> Result<ConfiguredPart, Trouble> {
    let internal = |topics: &[StreamsGroupTopologyTopicInfo]| {
        let topics = topics.iter().map(|info| internal_topic(info, counts));
        let mut topics = topics.collect::<Result<Vec<InternalTopic>, Trouble>>()?;
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        topics.dedup_by(|one, other| one.name == other.name);
        Ok(topics)
    };
    let mut all_sources = sorted(sources(part));
    all_sources.dedup();
    Ok(ConfiguredPart {
        tasks: most_partitions(part, counts)?,
        sources: all_sources,
        source_topics: sorted(&part.source_topics),
        repartition_sinks: sorted(&part.repartition_sink_topics),
        repartition_sources: internal(&part.repartition_source_topics)?,
        changelogs: internal(&part.state_changelog_topics)?,
    })
}

fn internal_topic(
    info: &StreamsGroupTopologyTopicInfo,
    counts: &Counts<'_>,
) -> Result<InternalTopic, Trouble> {
    if validate_topic_name(&info.name).is_err() {
        return Err(invalid(format!("Topic names {} are not valid topic names.", info.name)));
    }
    let partitions = match info.partitions {
        0 => counts.decided.get(&info.name).copied().unwrap_or_default(),
        partitions => partitions,
    };
    if partitions < 1 {
        return Err(invalid("Number of partitions must be at least 1.".to_owned()));
    }
    let configs = info.topic_configs.iter().map(|it| (it.key.clone(), it.value.clone()));
    Ok(InternalTopic {
        name: info.name.clone(),
        partitions,
        replication_factor: info.replication_factor,
        configs: configs.collect(),
    })
}

/// The internal topics that do not exist. Those that do must have the partitions that they are to have.
fn missing_topics(topology: &Topology, parts: &Parts, image: &Image) -> Result<Vec<CreatableTopic>, Trouble> {
    let internal = parts.values().flat_map(|part| part.repartition_sources.iter().chain(&part.changelogs));
    let mut missing: BTreeMap<&Str, &InternalTopic> = internal.map(|topic| (&topic.name, topic)).collect();
    for topic in &topology.required {
        let Some(found) = image.topics.named(topic) else { continue };
        let Some(expected) = missing.remove(topic) else { continue };
        if found.partition_count != expected.partitions {
            return Err(mispartitioned(format!(
                "Existing topic {topic} has different number of partitions: expected {}, found {}",
                expected.partitions, found.partition_count
            )));
        }
    }
    Ok(missing.into_values().map(InternalTopic::creatable).collect())
}

fn summary<'a>(names: impl IntoIterator<Item = &'a Str>) -> String {
    let names: Vec<&str> = names.into_iter().map(Str::as_str).collect();
    let more = names.len().saturating_sub(NAMES_SHOWN);
    let shown = names.iter().take(NAMES_SHOWN).copied().collect::<Vec<&str>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} additional topics") }
}

fn invalid(message: String) -> Trouble {
    Trouble::Topology(Refusal::new(ErrorCode::StreamsInvalidTopology, message))
}

fn mispartitioned(message: String) -> Trouble {
    Trouble::Topics(Status::new(StatusCode::IncorrectlyPartitionedTopics, message))
}
