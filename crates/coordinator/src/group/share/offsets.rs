//! Administrators set and delete where a share group reads (`alterShareGroupOffsets`,
//! `sharePartitionsEligibleForOffsetDeletion`, `completeDeleteShareGroupOffsets`).

use std::collections::BTreeMap;

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_machine::Ticket;
use ottla_metadata::controller::Refusal;
use ottla_wire::messages::alter_share_group_offsets_request::AlterShareGroupOffsetsRequest;
use ottla_wire::messages::alter_share_group_offsets_request::AlterShareGroupOffsetsRequestTopic;
use ottla_wire::messages::alter_share_group_offsets_response::AlterShareGroupOffsetsResponse;
use ottla_wire::messages::alter_share_group_offsets_response::{
    AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
};
use ottla_wire::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequest;
use ottla_wire::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponse;
use ottla_wire::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponseTopic;
use ottla_wire::messages::delete_share_group_state_response::DeleteShareGroupStateResponse;
use ottla_wire::messages::initialize_share_group_state_response::InitializeShareGroupStateResponse;

use super::super::deciding::Deciding;
use super::super::modern::Assigned;
use super::super::request::Reply;
use super::sharing::{Waiting, WorkCause, error_of, name_or_unknown};
use super::{ShareGroup, SharedTopic, Sharing, error_fields, existing, find, unseen};

/// Somebody who let a group forget topics and waits for the share coordinator.
#[derive(Debug)]
pub(super) struct HeldOffsetDeletion {
    caller: Ticket,
    /// Topics that are answered already.
    refused: Vec<DeleteShareGroupOffsetsResponseTopic>,
}

/// Sets where a group without members reads.
pub(in crate::group) fn alter_offsets(
    deciding: &mut Deciding<'_>,
    request: AlterShareGroupOffsetsRequest,
    caller: Ticket,
) {
    match begin_alter(deciding, &request) {
        Err(refusal) => {
            let (error_code, error_message) = spoken(refusal);
            let answer = AlterShareGroupOffsetsResponse { error_code, error_message, ..Default::default() };
            deciding.answer(caller, Reply::AlterShareGroupOffsets(answer));
        }
        Ok((answer, None)) => deciding.answer(caller, Reply::AlterShareGroupOffsets(answer)),
        Ok((answer, Some(work))) => {
            deciding.soft.share.waiting.insert(work, Waiting::AlterOffsets { caller, answer });
        }
    }
}

/// Code and words of a refusal; administrators are always told something.
fn spoken(refusal: Refusal) -> (i16, Option<Str>) {
    let (code, message) = error_fields(refusal);
    (code, message.or_else(|| Some(Str::from_static(ErrorCode::from_code(code).message()))))
}

/// The answer so far, and the number of the work that it depends on.
fn begin_alter(
    deciding: &mut Deciding<'_>,
    request: &AlterShareGroupOffsetsRequest,
) -> Result<(AlterShareGroupOffsetsResponse, Option<u64>), Refusal> {
    let id = &request.group_id;
    if id.is_empty() {
        return Err(ErrorCode::InvalidGroupId.into());
    }
    let image = deciding.soft.world.as_ref().ok_or_else(unseen)?.image.clone();
    let unborn = ShareGroup::default();
    let group = find(deciding, id)?.unwrap_or(&unborn);
    group.refuse_unless_empty()?;
    let mut told: BTreeMap<Uuid, BTreeMap<i32, i64>> = BTreeMap::new();
    let mut more: BTreeMap<Uuid, SharedTopic> = BTreeMap::new();
    let mut answer = AlterShareGroupOffsetsResponse::default();
    // As in Kafka, topics that are not there are answered first.
    let missing = request.topics.iter().filter(|asked| image.topics.named(&asked.topic_name).is_none());
    answer.responses.extend(missing.map(unknown_topic));
    for asked in &request.topics {
        let Some(topic) = image.topics.named(&asked.topic_name) else { continue };
        let shared = more.entry(topic.id).or_insert_with(|| SharedTopic::new(topic.name.clone()));
        let starts = told.entry(topic.id).or_default();
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for partition in &asked.partitions {
            let index = partition.partition_index;
            if (0..topic.partition_count).contains(&index) {
                shared.partitions.insert(index);
                starts.insert(index, partition.start_offset);
                partitions.push(altered_partition(index, None));
            } else {
                partitions.push(altered_partition(index, Some(ErrorCode::UnknownTopicOrPartition)));
            }
        }
        answer.responses.push(AlterShareGroupOffsetsResponseTopic {
            topic_name: asked.topic_name.clone(),
            topic_id: topic.id,
            partitions,
            ..Default::default()
        });
    }
    told.retain(|_, starts| !starts.is_empty());
    more.retain(|_, shared| !shared.partitions.is_empty());
    if told.is_empty() {
        return Ok((answer, None));
    }
    let sharing = group.sharing.clone().unwrap_or_default();
    deciding.write_sharing(id, &sharing.with_initializing(&more));
    let work = deciding.tell_initialize(id, group.epoch, told, WorkCause::AlterOffsets);
    Ok((detached(answer), Some(work)))
}

/// The answer with what the share coordinator said (`buildErrorResponse`).
pub(super) fn altered(
    mut held: AlterShareGroupOffsetsResponse,
    answer: &InitializeShareGroupStateResponse,
) -> AlterShareGroupOffsetsResponse {
    let results = answer.results.iter().flat_map(|topic| {
        topic.partitions.iter().map(move |partition| ((topic.topic_id, partition.partition), partition))
    });
    let results: BTreeMap<_, _> = results.collect();
    for topic in &mut held.responses {
        for partition in &mut topic.partitions {
            if partition.error_code != 0 {
                continue;
            }
            if let Some(result) = results.get(&(topic.topic_id, partition.partition_index)) {
                partition.error_code = result.error_code;
                partition.error_message = result.error_message.clone();
            }
        }
    }
    held
}

/// A held answer must not keep the request's frame alive.
fn detached(mut answer: AlterShareGroupOffsetsResponse) -> AlterShareGroupOffsetsResponse {
    for topic in &mut answer.responses {
        topic.topic_name = topic.topic_name.detached();
    }
    answer
}

fn unknown_topic(asked: &AlterShareGroupOffsetsRequestTopic) -> AlterShareGroupOffsetsResponseTopic {
    let unknown = Some(ErrorCode::UnknownTopicOrPartition);
    let partitions = asked.partitions.iter().map(|it| altered_partition(it.partition_index, unknown));
    AlterShareGroupOffsetsResponseTopic {
        topic_name: asked.topic_name.clone(),
        partitions: partitions.collect(),
        ..Default::default()
    }
}

fn altered_partition(index: i32, error: Option<ErrorCode>) -> AlterShareGroupOffsetsResponsePartition {
    AlterShareGroupOffsetsResponsePartition {
        partition_index: index,
        error_code: error.map_or(0, ErrorCode::code),
        error_message: error.map(|code| Str::from_static(code.message())),
        ..Default::default()
    }
}

/// Lets a group without members forget topics.
pub(in crate::group) fn delete_offsets(
    deciding: &mut Deciding<'_>,
    request: DeleteShareGroupOffsetsRequest,
    caller: Ticket,
) {
    match begin_delete(deciding, &request) {
        Err(refusal) => {
            let (error_code, error_message) = spoken(refusal);
            let answer = DeleteShareGroupOffsetsResponse { error_code, error_message, ..Default::default() };
            deciding.answer(caller, Reply::DeleteShareGroupOffsets(answer));
        }
        Ok((refused, None)) => {
            let answer = DeleteShareGroupOffsetsResponse { responses: refused, ..Default::default() };
            deciding.answer(caller, Reply::DeleteShareGroupOffsets(answer));
        }
        Ok((refused, Some(work))) => {
            let held = HeldOffsetDeletion { caller, refused };
            deciding.soft.share.waiting.insert(work, Waiting::DeleteOffsets(held));
        }
    }
}

type BegunDeletion = (Vec<DeleteShareGroupOffsetsResponseTopic>, Option<u64>);

/// The topics that are refused, and the number of the work that the others depend on.
fn begin_delete(
    deciding: &mut Deciding<'_>,
    request: &DeleteShareGroupOffsetsRequest,
) -> Result<BegunDeletion, Refusal> {
    let id = &request.group_id;
    if id.is_empty() {
        return Err(ErrorCode::InvalidGroupId.into());
    }
    let group = existing(deciding, id)?;
    group.refuse_unless_empty()?;
    let image = deciding.soft.world.as_ref().ok_or_else(unseen)?.image.clone();
    let Some(sharing) = &group.sharing else { return Ok((Vec::new(), None)) };
    let mut sharing: Sharing = sharing.clone();
    let mut told = Assigned::new();
    let mut refused = Vec::new();
    for asked in &request.topics {
        let Some(topic) = image.topics.named(&asked.topic_name) else {
            let message = ErrorCode::UnknownTopicOrPartition.message();
            refused.push(refused_topic(&asked.topic_name, message));
            continue;
        };
        if let Some(shared) = sharing.initialized.remove(&topic.id) {
            told.insert(topic.id, shared.partitions);
            sharing.deleting.insert(topic.id, topic.name.clone());
        } else if sharing.deleting.contains_key(&topic.id) {
            // It was tried before; nobody knows how far that went.
            told.entry(topic.id).or_insert_with(|| (0..topic.partition_count).collect());
        } else {
            refused.push(refused_topic(&asked.topic_name, "There is no offset information to delete."));
        }
    }
    if told.is_empty() {
        return Ok((refused, None));
    }
    deciding.write_sharing(id, &sharing);
    let work = deciding.tell_delete(id, told, WorkCause::DeleteOffsets);
    Ok((refused, Some(work)))
}

fn refused_topic(name: &Str, message: &'static str) -> DeleteShareGroupOffsetsResponseTopic {
    DeleteShareGroupOffsetsResponseTopic {
        topic_name: name.detached(),
        error_code: ErrorCode::UnknownTopicOrPartition.code(),
        error_message: Some(Str::from_static(message)),
        ..Default::default()
    }
}

/// The share coordinator has forgotten topics, or has refused to. Whoever waited is answered; if the seat was lost in
/// between, nobody waits.
pub(super) fn deleted(
    deciding: &mut Deciding<'_>,
    id: &Str,
    held: Option<HeldOffsetDeletion>,
    answer: &DeleteShareGroupStateResponse,
) {
    let name = |deciding: &Deciding<'_>, topic: Uuid| {
        let world = deciding.soft.world.as_ref();
        world.and_then(|world| world.image.topics.get(topic)).map(|topic| topic.name.clone())
    };
    let (mut failed, mut done) = (Vec::new(), Vec::new());
    for topic in &answer.results {
        let topic_name = name_or_unknown(name(deciding, topic.topic_id));
        let error = topic.partitions.iter().find_map(|partition| error_of(partition.error_code));
        let response = DeleteShareGroupOffsetsResponseTopic {
            topic_name,
            topic_id: topic.topic_id,
            error_code: error.map_or(0, ErrorCode::code),
            error_message: error.map(|code| Str::from_static(code.message())),
            ..Default::default()
        };
        if error.is_some() { failed.push(response) } else { done.push(response) }
    }
    if let Ok(Some(group)) = find(deciding, id)
        && let Some(sharing) = &group.sharing
        && done.iter().any(|topic| sharing.deleting.contains_key(&topic.topic_id))
    {
        let mut sharing = sharing.clone();
        sharing.deleting.retain(|topic, _| !done.iter().any(|it| it.topic_id == *topic));
        deciding.write_sharing(id, &sharing);
    }
    if let Some(HeldOffsetDeletion { caller, mut refused }) = held {
        refused.extend(failed);
        refused.extend(done);
        let answer = DeleteShareGroupOffsetsResponse { responses: refused, ..Default::default() };
        deciding.answer(caller, Reply::DeleteShareGroupOffsets(answer));
    }
}
