//! A share group goes, after its state (`sharePartitionDeleteRequests`, `deleteShareGroups`).

use std::collections::BTreeMap;

use ottla_base::{Str, Uuid};
use ottla_machine::Ticket;
use ottla_metadata::controller::Refusal;
use ottla_wire::messages::delete_groups_response::DeletableGroupResult;
use ottla_wire::messages::delete_share_group_state_response::DeleteShareGroupStateResponse;

use super::super::deciding::Deciding;
use super::super::modern::Assigned;
use super::super::request::Reply;
use super::sharing::{Waiting, WorkCause, error_of};
use super::{ShareGroup, Sharing, existing, records, unseen};

/// Somebody who deletes a group and waits for the share coordinator.
#[derive(Debug)]
pub(super) struct HeldDeletion {
    caller: Ticket,
}

/// Deletes a share group that has no members: at once if the share coordinator knows nothing of it, otherwise when it
/// has forgotten it.
pub(in crate::group) fn delete(deciding: &mut Deciding<'_>, id: Str, caller: Ticket) {
    match begin(deciding, &id) {
        Ok(Some(work)) => {
            deciding.soft.share.waiting.insert(work, Waiting::DeleteGroup(HeldDeletion { caller }));
        }
        Ok(None) => deciding.answer(caller, answer(id, Ok(()))),
        Err(refusal) => deciding.answer(caller, answer(id, Err(refusal))),
    }
}

/// The answer; without words, as in Kafka.
fn answer(group_id: Str, result: Result<(), Refusal>) -> Reply {
    let error_code = result.err().map_or(0, |refusal| refusal.code.code());
    Reply::DeleteGroup(DeletableGroupResult { group_id, error_code, ..Default::default() })
}

/// The number of the work to wait for, if there is any.
fn begin(deciding: &mut Deciding<'_>, id: &Str) -> Result<Option<u64>, Refusal> {
    let group = existing(deciding, id)?;
    group.refuse_unless_empty()?;
    let told = known_partitions(deciding, group)?;
    if told.is_empty() {
        forget(deciding, id);
        return Ok(None);
    }
    let image = deciding.soft.world.as_ref().ok_or_else(unseen)?.image.clone();
    let known = group.sharing.iter().flat_map(|it| it.initializing.iter().chain(&it.initialized));
    let mut deleting: BTreeMap<Uuid, Str> =
        known.map(|(topic, shared)| (*topic, shared.name.clone())).collect();
    for topic in told.keys() {
        if let Some(topic) = image.topics.get(*topic) {
            deleting.insert(topic.id, topic.name.clone());
        }
    }
    deciding.write_sharing(id, &Sharing { deleting, ..Sharing::default() });
    Ok(Some(deciding.tell_delete(id, told, WorkCause::DeleteGroup)))
}

/// Everything that the share coordinator may know of a group. Of topics that it was told to forget before, that is all
/// their partitions, if they are still there.
fn known_partitions(deciding: &Deciding<'_>, group: &ShareGroup) -> Result<Assigned, Refusal> {
    let image = &deciding.soft.world.as_ref().ok_or_else(unseen)?.image;
    let mut known = Assigned::new();
    let Some(sharing) = &group.sharing else { return Ok(known) };
    for (topic, shared) in sharing.initializing.iter().chain(&sharing.initialized) {
        known.entry(*topic).or_default().extend(&shared.partitions);
    }
    for topic in sharing.deleting.keys().filter_map(|topic| image.topics.get(*topic)) {
        known.entry(topic.id).or_default().extend(0..topic.partition_count);
    }
    Ok(known)
}

/// The share coordinator has forgotten the group, or has refused to.
pub(super) fn state_gone(
    deciding: &mut Deciding<'_>,
    id: &Str,
    held: HeldDeletion,
    told: &DeleteShareGroupStateResponse,
) {
    let mut codes = told.results.iter().flat_map(|topic| &topic.partitions);
    let refused = codes.find_map(|partition| error_of(partition.error_code));
    let result = match refused {
        Some(code) => Err(Refusal::from(code)),
        // Meanwhile members may have come, or somebody else has deleted it.
        None => existing(deciding, id).and_then(ShareGroup::refuse_unless_empty),
    };
    if result.is_ok() {
        forget(deciding, id);
    }
    deciding.answer(held.caller, answer(id.clone(), result));
}

/// Removes everything that is left of a group without members.
fn forget(deciding: &mut Deciding<'_>, id: &Str) {
    deciding.write_all(records::group_gone(id).into());
    deciding.soft.share.sharing_written.remove(id);
    deciding.soft.metadata.forget_group(id);
}
