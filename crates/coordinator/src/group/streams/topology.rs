//! A topology as its first member described it and as the log keeps it (`StreamsTopology`).

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{ErrorCode, Str};
use ottla_metadata::controller::Refusal;
use ottla_wire::messages::streams_group_describe_response as describe;
use ottla_wire::messages::streams_group_heartbeat_request as asked;
use ottla_wire::records::group::{
    CopartitionGroup, StreamsGroupTopologyTopicInfo, StreamsGroupTopologyValue, Subtopology, TopicConfig,
};

/// What an application does: subtopologies that read and write topics.
#[derive(Debug, PartialEq)]
pub(super) struct Topology {
    /// Its epoch.
    pub(super) epoch: i32,
    /// Its parts, by their ids.
    pub(super) subtopologies: BTreeMap<Str, Subtopology>,
    /// Every topic that the topology reads, or writes to read it again.
    pub(super) required: BTreeSet<Str>,
    /// Which subtopology reads a topic.
    readers: BTreeMap<Str, Str>,
}

impl Topology {
    /// What a record says.
    pub(super) fn from_record(value: &StreamsGroupTopologyValue) -> Topology {
        let parts = value.subtopologies.iter();
        let subtopologies: BTreeMap<Str, Subtopology> =
            parts.map(|part| (part.subtopology_id.detached(), detached(part))).collect();
        let (mut required, mut readers) = (BTreeSet::new(), BTreeMap::new());
        for (id, part) in &subtopologies {
            required.extend(sources(part).chain(names(&part.state_changelog_topics)).cloned());
            for topic in sources(part) {
                readers.insert(topic.clone(), id.clone());
            }
        }
        Topology { epoch: value.epoch, subtopologies, required, readers }
    }

    /// The subtopology that reads `topic`.
    pub(super) fn reader_of(&self, topic: &str) -> Option<&Str> {
        self.readers.get(topic)
    }

    /// As a description says it while its topics are not what they must be.
    pub(super) fn described(&self) -> describe::Topology {
        let parts = self.subtopologies.iter().map(|(id, part)| describe::Subtopology {
            subtopology_id: id.clone(),
            source_topics: sorted(&part.source_topics),
            repartition_sink_topics: sorted(&part.repartition_sink_topics),
            repartition_source_topics: described_topics(&part.repartition_source_topics),
            state_changelog_topics: described_topics(&part.state_changelog_topics),
            ..Default::default()
        });
        describe::Topology { epoch: self.epoch, subtopologies: Some(parts.collect()), ..Default::default() }
    }
}

/// The record of a topology that a member brings.
pub(super) fn record(topology: &asked::Topology) -> Result<StreamsGroupTopologyValue, Refusal> {
    if topology.epoch < 0 {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "Topology epoch must be non-negative."));
    }
    let mut seen = BTreeSet::new();
    for part in &topology.subtopologies {
        if !seen.insert(&part.subtopology_id) {
            let message = format!("Subtopology {} is there twice.", part.subtopology_id);
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
    }
    let parts = topology.subtopologies.iter().map(|part| Subtopology {
        subtopology_id: part.subtopology_id.clone(),
        source_topics: part.source_topics.clone(),
        source_topic_regex: part.source_topic_regex.clone(),
        state_changelog_topics: part.state_changelog_topics.iter().map(topic_info).collect(),
        repartition_sink_topics: part.repartition_sink_topics.clone(),
        repartition_source_topics: part.repartition_source_topics.iter().map(topic_info).collect(),
        copartition_groups: part.copartition_groups.iter().map(copartition_group).collect(),
        unknown_tagged_fields: Vec::new(),
    });
    let parts = parts.collect();
    Ok(StreamsGroupTopologyValue { epoch: topology.epoch, subtopologies: parts, ..Default::default() })
}

/// The topics that a subtopology reads: those of others, then its repartition topics.
pub(super) fn sources(part: &Subtopology) -> impl Iterator<Item = &Str> {
    part.source_topics.iter().chain(names(&part.repartition_source_topics))
}

pub(super) fn names(topics: &[StreamsGroupTopologyTopicInfo]) -> impl Iterator<Item = &Str> {
    topics.iter().map(|topic| &topic.name)
}

pub(super) fn sorted<'a>(names: impl IntoIterator<Item = &'a Str>) -> Vec<Str> {
    let mut names: Vec<Str> = names.into_iter().cloned().collect();
    names.sort_unstable();
    names
}

fn topic_info(info: &asked::TopicInfo) -> StreamsGroupTopologyTopicInfo {
    let configs = info.topic_configs.iter().map(|it| TopicConfig {
        key: it.key.clone(),
        value: it.value.clone(),
        ..Default::default()
    });
    StreamsGroupTopologyTopicInfo {
        name: info.name.clone(),
        partitions: info.partitions,
        replication_factor: info.replication_factor,
        topic_configs: configs.collect(),
        ..Default::default()
    }
}

fn copartition_group(group: &asked::CopartitionGroup) -> CopartitionGroup {
    CopartitionGroup {
        source_topics: group.source_topics.clone(),
        source_topic_regex: group.source_topic_regex.clone(),
        repartition_source_topics: group.repartition_source_topics.clone(),
        ..Default::default()
    }
}

fn described_topics(topics: &[StreamsGroupTopologyTopicInfo]) -> Vec<describe::TopicInfo> {
    let infos = topics.iter().map(|topic| {
        let configs = topic.topic_configs.iter().map(|it| describe::KeyValue {
            key: it.key.clone(),
            value: it.value.clone(),
            ..Default::default()
        });
        describe::TopicInfo {
            name: topic.name.clone(),
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            topic_configs: configs.collect(),
            ..Default::default()
        }
    });
    let mut infos: Vec<describe::TopicInfo> = infos.collect();
    infos.sort_by(|one, other| one.name.cmp(&other.name));
    infos
}

/// A copy that keeps no frame alive, and no field that this release does not know.
fn detached(part: &Subtopology) -> Subtopology {
    let texts = |texts: &[Str]| texts.iter().map(Str::detached).collect();
    Subtopology {
        subtopology_id: part.subtopology_id.detached(),
        source_topics: texts(&part.source_topics),
        source_topic_regex: texts(&part.source_topic_regex),
        state_changelog_topics: part.state_changelog_topics.iter().map(detached_info).collect(),
        repartition_sink_topics: texts(&part.repartition_sink_topics),
        repartition_source_topics: part.repartition_source_topics.iter().map(detached_info).collect(),
        copartition_groups: part.copartition_groups.clone(),
        unknown_tagged_fields: Vec::new(),
    }
}

fn detached_info(info: &StreamsGroupTopologyTopicInfo) -> StreamsGroupTopologyTopicInfo {
    let configs = info.topic_configs.iter().map(|it| TopicConfig {
        key: it.key.detached(),
        value: it.value.detached(),
        ..Default::default()
    });
    StreamsGroupTopologyTopicInfo {
        name: info.name.detached(),
        partitions: info.partitions,
        replication_factor: info.replication_factor,
        topic_configs: configs.collect(),
        ..Default::default()
    }
}
