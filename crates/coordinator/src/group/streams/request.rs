//! What a heartbeat may not say (`GroupCoordinatorService`, `KafkaApis.handleStreamsGroupHeartbeat`).

use std::collections::BTreeSet;

use ottla_base::{ErrorCode, Str, validate_topic_name};
use ottla_metadata::controller::Refusal;
use ottla_wire::messages::streams_group_heartbeat_request::{
    StreamsGroupHeartbeatRequest, TaskIds, Topology,
};

use super::configured::Configured;

/// The epoch of a member that joins.
pub(super) const JOINS: i32 = 0;

/// The epoch of a member that leaves.
pub(super) const LEAVES: i32 = -1;

/// The epoch of a static member that goes away for a while.
pub(super) const LEAVES_FOR_A_WHILE: i32 = -2;

/// Topics of Kafka's own.
const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// How many tags a client may have. Kafka knows no limit.
const CLIENT_TAGS_LIMIT: usize = 1_000;

/// Looks at a heartbeat without looking at its group.
pub(super) fn validate(request: &StreamsGroupHeartbeatRequest) -> Result<(), Refusal> {
    if let Some(topology) = &request.topology {
        validate_names(topology)?;
        if topology.subtopologies.iter().any(|part| !part.source_topic_regex.is_empty()) {
            return refused("Regular expressions for source topics are not supported yet.");
        }
    }
    not_blank(Some(&request.member_id), "MemberId can't be empty.")?;
    not_blank(Some(&request.group_id), "GroupId can't be empty.")?;
    not_blank(request.instance_id.as_ref(), "InstanceId can't be empty.")?;
    not_blank(request.rack_id.as_ref(), "RackId can't be empty.")?;
    match request.member_epoch {
        JOINS => validate_join(request)?,
        LEAVES_FOR_A_WHILE if request.instance_id.is_none() => {
            return refused("InstanceId can't be null.");
        }
        epoch if epoch < LEAVES_FOR_A_WHILE => {
            return refused(format!("MemberEpoch is {epoch}, but must be greater than or equal to -2."));
        }
        _ => {}
    }
    let owned = [&request.active_tasks, &request.standby_tasks, &request.warmup_tasks];
    let told = owned.iter().filter(|tasks| tasks.is_some()).count();
    if told != 0 && told != owned.len() {
        return refused("If one task-type is non-null, all must be non-null.");
    }
    if request.member_epoch != JOINS && request.topology.is_some() {
        return refused("Topology can only be provided when (re-)joining.");
    }
    if request.client_tags.as_ref().is_some_and(|tags| tags.len() > CLIENT_TAGS_LIMIT) {
        return refused(format!("A member must not have more than {CLIENT_TAGS_LIMIT} client tags."));
    }
    Ok(())
}

/// Whether the tasks that a member says it has exist.
pub(super) fn validate_tasks(tasks: Option<&[TaskIds]>, configured: &Configured) -> Result<(), Refusal> {
    for ids in tasks.into_iter().flatten() {
        let Some(part) = configured.parts.get(&ids.subtopology_id) else {
            return refused(format!("Subtopology {} does not exist in the topology.", ids.subtopology_id));
        };
        if let Some(task) = ids.partitions.iter().find(|task| !(0..part.tasks).contains(task)) {
            return refused(format!(
                "Task {task} for subtopology {} is invalid. Number of tasks for this subtopology: {}",
                ids.subtopology_id, part.tasks
            ));
        }
    }
    Ok(())
}

fn validate_join(request: &StreamsGroupHeartbeatRequest) -> Result<(), Refusal> {
    if request.rebalance_timeout_ms == -1 {
        return refused("RebalanceTimeoutMs must be provided in first request.");
    }
    let owned = [
        (&request.active_tasks, "ActiveTasks must be empty when (re-)joining."),
        (&request.standby_tasks, "StandbyTasks must be empty when (re-)joining."),
        (&request.warmup_tasks, "WarmupTasks must be empty when (re-)joining."),
    ];
    for (tasks, message) in owned {
        if tasks.as_ref().is_none_or(|tasks| !tasks.is_empty()) {
            return refused(message);
        }
    }
    let Some(topology) = &request.topology else {
        return refused("Topology must be non-null when (re-)joining.");
    };
    for topic in topology.subtopologies.iter().flat_map(|part| &part.state_changelog_topics) {
        if topic.partitions != 0 {
            let message = format!(
                "Changelog topic {} must have an undefined partition count, but it is set to {}.",
                topic.name, topic.partitions
            );
            return Err(Refusal::new(ErrorCode::StreamsInvalidTopology, message));
        }
    }
    Ok(())
}

fn validate_names(topology: &Topology) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    let mut names: Vec<&Str> = Vec::new();
    for part in &topology.subtopologies {
        let plain = part.source_topics.iter().chain(&part.repartition_sink_topics);
        let internal = part.repartition_source_topics.iter().chain(&part.state_changelog_topics);
        let all = plain.chain(internal.map(|topic| &topic.name));
        names.extend(all.filter(|name| seen.insert(*name)));
    }
    let is_internal = |name: &&&Str| INTERNAL_TOPICS.contains(&name.as_str());
    let is_invalid = |name: &&&Str| validate_topic_name(name).is_err();
    let listed = |names: Vec<&&Str>| names.iter().map(|name| name.as_str()).collect::<Vec<&str>>().join(",");
    let internal: Vec<&&Str> = names.iter().filter(is_internal).collect();
    if !internal.is_empty() {
        let message = format!(
            "Use of Kafka internal topics {} in a Kafka Streams topology is prohibited.",
            listed(internal)
        );
        return Err(Refusal::new(ErrorCode::StreamsInvalidTopology, message));
    }
    let invalid: Vec<&&Str> = names.iter().filter(is_invalid).collect();
    if !invalid.is_empty() {
        let message = format!("Topic names {} are not valid topic names.", listed(invalid));
        return Err(Refusal::new(ErrorCode::StreamsInvalidTopology, message));
    }
    Ok(())
}

fn not_blank(text: Option<&Str>, message: &str) -> Result<(), Refusal> {
    match text {
        Some(text) if text.trim().is_empty() => refused(message),
        _ => Ok(()),
    }
}

fn refused(message: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal::new(ErrorCode::InvalidRequest, message))
}
