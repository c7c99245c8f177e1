//! Which partitions may be shared out: those whose state the share coordinator keeps.
//!
//! A topic goes from nothing to *initializing* when somebody wants it, to *initialized* when the share coordinator has
//! answered, and to *deleting* when an administrator wants the group to forget it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_machine::Ticket;
use ottla_metadata::Image;
use ottla_wire::messages::alter_share_group_offsets_response::AlterShareGroupOffsetsResponse;
use ottla_wire::messages::delete_share_group_state_request::DeleteShareGroupStateRequest;
use ottla_wire::messages::delete_share_group_state_request::{self, DeleteStateData};
use ottla_wire::messages::delete_share_group_state_response::DeleteShareGroupStateResponse;
use ottla_wire::messages::initialize_share_group_state_request::InitializeShareGroupStateRequest;
use ottla_wire::messages::initialize_share_group_state_request::{self, InitializeStateData};
use ottla_wire::messages::initialize_share_group_state_response::InitializeShareGroupStateResponse;

use super::super::Effect;
use super::super::deciding::Deciding;
use super::super::modern::Assigned;
use super::super::request::Reply;
use super::super::state::Group;
use super::deletion::{self, HeldDeletion};
use super::offsets::{self, HeldOffsetDeletion};
use super::{ShareGroup, SharedTopic, Sharing, records};

/// A name for a topic that is not there any more (`attachInitValue`).
const UNKNOWN_TOPIC: Str = Str::from_static("<UNKNOWN>");

/// Something the share coordinator was told to do for a group. Whoever carries it out hands this back with the answer,
/// to the coordinator of the same group, whoever that is by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareStateWork {
    /// A number by which the seat that asked finds who waits.
    pub number: u64,
    /// The group.
    pub group: Str,
    /// Why.
    pub cause: WorkCause,
}

/// Why the share coordinator was told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkCause {
    /// Members want new partitions.
    Subscription,
    /// An administrator sets where the group reads.
    AlterOffsets,
    /// An administrator lets the group forget topics.
    DeleteOffsets,
    /// The group is to go.
    DeleteGroup,
}

/// The share coordinator has answered to [`Effect::InitializeShareState`].
#[derive(Debug, Clone)]
pub struct ShareStateInitialized {
    /// What it was for.
    pub work: ShareStateWork,
    /// The answer: every partition that was asked for, with an error of its own if need be.
    pub answer: InitializeShareGroupStateResponse,
}

/// The share coordinator has answered to [`Effect::DeleteShareState`].
#[derive(Debug, Clone)]
pub struct ShareStateDeleted {
    /// What it was for.
    pub work: ShareStateWork,
    /// The answer: every partition that was asked for, with an error of its own if need be.
    pub answer: DeleteShareGroupStateResponse,
}

/// Who waits for the share coordinator, and what for.
#[derive(Debug)]
pub(super) enum Waiting {
    AlterOffsets { caller: Ticket, answer: AlterShareGroupOffsetsResponse },
    DeleteOffsets(HeldOffsetDeletion),
    DeleteGroup(HeldDeletion),
}

impl Sharing {
    /// What members may share in.
    pub(super) fn available(&self) -> Assigned {
        self.initialized.iter().map(|(id, topic)| (*id, topic.partitions.clone())).collect()
    }

    /// With more partitions on their way.
    pub(super) fn with_initializing(&self, more: &BTreeMap<Uuid, SharedTopic>) -> Sharing {
        let mut sharing = self.clone();
        add(&mut sharing.initializing, more);
        sharing.deleting.retain(|id, _| !sharing.initializing.contains_key(id));
        sharing
    }

    fn knows(&self, topic: &Uuid) -> bool {
        self.initialized.contains_key(topic) || self.initializing.contains_key(topic)
    }

    fn topics(&self) -> impl Iterator<Item = &Uuid> {
        self.initializing.keys().chain(self.initialized.keys()).chain(self.deleting.keys())
    }

    /// Without what `gone` says.
    fn without(&self, gone: impl Fn(&Uuid) -> bool) -> Sharing {
        let mut sharing = self.clone();
        sharing.initializing.retain(|id, _| !gone(id));
        sharing.initialized.retain(|id, _| !gone(id));
        sharing.deleting.retain(|id, _| !gone(id));
        sharing
    }
}

/// Adds partitions to topics; names are those of the addition (`combineInitMaps`).
fn add(topics: &mut BTreeMap<Uuid, SharedTopic>, more: &BTreeMap<Uuid, SharedTopic>) {
    for (id, topic) in more {
        let known = topics.entry(*id).or_insert_with(|| SharedTopic::new(topic.name.clone()));
        known.name = topic.name.clone();
        known.partitions.extend(&topic.partitions);
    }
}

/// What is left of partitions once those are taken away that the cluster does not have.
pub(super) fn existing_partitions(mut available: Assigned, image: &Image) -> Assigned {
    available.retain(|id, partitions| {
        let count = image.topics.get(*id).map_or(0, |topic| topic.partition_count);
        partitions.retain(|partition| (0..count).contains(partition));
        !partitions.is_empty()
    });
    available
}

/// Takes partitions from topics; topics without partitions go.
fn subtract(topics: &mut BTreeMap<Uuid, SharedTopic>, less: &Assigned) {
    topics.retain(|id, topic| {
        let Some(partitions) = less.get(id) else { return true };
        topic.partitions.retain(|partition| !partitions.contains(partition));
        !topic.partitions.is_empty()
    });
}

impl ShareGroup {
    /// Whether there are partitions that members want, may share in and are not given, or are given too many of
    /// (`initializedAssignmentPending`).
    pub(super) fn awaits_assignment(&self) -> bool {
        let Some(sharing) = &self.sharing else { return false };
        let wanted = sharing.initialized.iter().filter(|(_, topic)| self.subscriptions.contains(&topic.name));
        wanted.into_iter().any(|(id, topic)| match self.sharers.get(id) {
            Some(sharers) => {
                sharers.len() != topic.partitions.len() || !sharers.keys().eq(topic.partitions.iter())
            }
            None => !topic.partitions.is_empty(),
        })
    }
}

/// The partitions of wanted topics that the share coordinator does not know of and was not told of lately
/// (`subscribedTopicsChangeMap`). `told` says whether what is initializing was told lately.
fn untold<'n>(
    sharing: Option<&Sharing>,
    told: Told,
    wanted: impl IntoIterator<Item = &'n Str>,
    image: &Image,
) -> BTreeMap<Uuid, SharedTopic> {
    let mut untold = BTreeMap::new();
    for topic in wanted.into_iter().filter_map(|name| image.topics.named(name)) {
        let known_of =
            |topics: &BTreeMap<Uuid, SharedTopic>| topics.get(&topic.id).map(|it| it.partitions.clone());
        let mut known: BTreeSet<i32> = sharing.and_then(|it| known_of(&it.initialized)).unwrap_or_default();
        if told == Told::Lately {
            known.extend(sharing.and_then(|it| known_of(&it.initializing)).unwrap_or_default());
        }
        if known.len() < topic.partition_count.max(0) as usize {
            let partitions = (0..topic.partition_count).filter(|it| !known.contains(it)).collect();
            untold.insert(topic.id, SharedTopic { name: topic.name.clone(), partitions });
        }
    }
    untold
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Lately,
    LongAgo,
}

impl Deciding<'_> {
    /// Tells the share coordinator of partitions that members want and it does not know of
    /// (`maybeCreateInitializeShareGroupStateRequest`). New topics begin where the group's settings say (-1); new
    /// partitions of known topics at their beginning, for their first records are newer than the group.
    pub(super) fn initialize_wanted<'n>(
        &mut self,
        id: &Str,
        group: &ShareGroup,
        epoch: i32,
        wanted: impl IntoIterator<Item = &'n Str>,
    ) {
        let Some(world) = &self.soft.world else { return };
        let retry = world.settings.share_groups.group_share_initialize_retry_interval_ms;
        let written = self.soft.share.sharing_written.get(id);
        let told = match written {
            Some(at) if self.at.now.since(*at) < Duration::from_millis(retry.max(0) as u64) => Told::Lately,
            _ => Told::LongAgo,
        };
        let more = untold(group.sharing.as_ref(), told, wanted, &world.image);
        if more.is_empty() {
            return;
        }
        let fresh = Sharing::default();
        let before = group.sharing.as_ref().unwrap_or(&fresh);
        let start = |topic: &Uuid| if before.knows(topic) { 0 } else { -1 };
        let topics = more.iter().map(|(topic, shared)| {
            let partitions = shared.partitions.iter().map(|partition| (*partition, start(topic)));
            (*topic, partitions.collect())
        });
        let topics = topics.collect();
        self.write_sharing(id, &before.with_initializing(&more));
        self.tell_initialize(id, epoch, topics, WorkCause::Subscription);
    }

    /// Writes what the share coordinator knows of a group.
    pub(super) fn write_sharing(&mut self, id: &Str, sharing: &Sharing) {
        let now = self.at.now;
        self.soft.share.sharing_written.insert(id.detached(), now);
        self.write(records::sharing(id, sharing));
    }

    /// Lets the share coordinator be told of partitions and where the group begins to read them. Says the number of
    /// the work.
    pub(super) fn tell_initialize(
        &mut self,
        id: &Str,
        epoch: i32,
        topics: BTreeMap<Uuid, BTreeMap<i32, i64>>,
        cause: WorkCause,
    ) -> u64 {
        let work = self.work(id, cause);
        let number = work.number;
        let partition = |(partition, start_offset)| initialize_share_group_state_request::PartitionData {
            partition,
            state_epoch: epoch,
            start_offset,
            ..Default::default()
        };
        let topics = topics.into_iter().map(|(topic_id, partitions)| InitializeStateData {
            topic_id,
            partitions: partitions.into_iter().map(partition).collect(),
            ..Default::default()
        });
        let request = InitializeShareGroupStateRequest {
            group_id: id.detached(),
            topics: topics.collect(),
            ..Default::default()
        };
        self.effect(Effect::InitializeShareState { work, request });
        number
    }

    /// Lets the share coordinator forget partitions. Says the number of the work.
    pub(super) fn tell_delete(&mut self, id: &Str, topics: Assigned, cause: WorkCause) -> u64 {
        let work = self.work(id, cause);
        let number = work.number;
        let partition =
            |partition| delete_share_group_state_request::PartitionData { partition, ..Default::default() };
        let topics = topics.into_iter().map(|(topic_id, partitions)| DeleteStateData {
            topic_id,
            partitions: partitions.into_iter().map(partition).collect(),
            ..Default::default()
        });
        let request = DeleteShareGroupStateRequest {
            group_id: id.detached(),
            topics: topics.collect(),
            ..Default::default()
        };
        self.effect(Effect::DeleteShareState { work, request });
        number
    }

    /// Numbers begin anywhere, for a later seat may hear the answer to what an earlier one asked.
    fn work(&mut self, group: &Str, cause: WorkCause) -> ShareStateWork {
        let last = self.soft.share.last_work.unwrap_or_else(|| self.entropy.draw());
        let number = last.wrapping_add(1);
        self.soft.share.last_work = Some(number);
        ShareStateWork { number, group: group.detached(), cause }
    }

    /// The name of a topic now.
    fn topic_name(&self, id: Uuid) -> Option<Str> {
        Some(self.soft.world.as_ref()?.image.topics.get(id)?.name.clone())
    }
}

/// The share coordinator has been told of partitions, or has refused them.
pub(in crate::group) fn state_initialized(
    deciding: &mut Deciding<'_>,
    done: ShareStateInitialized,
    caller: Ticket,
) {
    let ShareStateInitialized { work, answer } = done;
    let refused = answer.results.iter().flat_map(|topic| &topic.partitions).any(|it| it.error_code != 0);
    let told: Assigned = answer
        .results
        .iter()
        .map(|topic| (topic.topic_id, topic.partitions.iter().map(|it| it.partition).collect()))
        .collect();
    match (refused, work.cause) {
        (false, _) => note_initialized(deciding, &work.group, &told),
        (true, WorkCause::Subscription) => note_refused(deciding, &work.group, &told),
        // As in Kafka: it stays on its way until it is tried again.
        (true, _) => (),
    }
    if let Some(Waiting::AlterOffsets { caller, answer: held }) =
        deciding.soft.share.waiting.remove(&work.number)
    {
        let merged = offsets::altered(held, &answer);
        deciding.answer(caller, Reply::AlterShareGroupOffsets(merged));
    }
    deciding.answer(caller, Reply::ShareStateInitialized(()));
}

/// What was told becomes what is known (`initializeShareGroupState`). Topics that went away meanwhile do not.
fn note_initialized(deciding: &mut Deciding<'_>, id: &Str, told: &Assigned) {
    let Some(Group::Share(group)) = deciding.state.groups.get(id) else { return };
    let named = told.iter().filter_map(|(topic, partitions)| {
        let name = deciding.topic_name(*topic)?;
        Some((*topic, SharedTopic { name, partitions: partitions.clone() }))
    });
    let named: BTreeMap<Uuid, SharedTopic> = named.collect();
    if named.is_empty() {
        return;
    }
    let mut sharing = group.sharing.clone().unwrap_or_default();
    subtract(&mut sharing.initializing, told);
    add(&mut sharing.initialized, &named);
    deciding.write_sharing(id, &sharing);
}

/// What was refused is not on its way any more (`uninitializeShareGroupState`); the next heartbeat asks again.
fn note_refused(deciding: &mut Deciding<'_>, id: &Str, told: &Assigned) {
    let Some(Group::Share(group)) = deciding.state.groups.get(id) else { return };
    let Some(sharing) = group.sharing.as_ref().filter(|it| !it.initializing.is_empty()) else { return };
    if told.is_empty() {
        return;
    }
    let mut sharing = sharing.clone();
    subtract(&mut sharing.initializing, told);
    deciding.write_sharing(id, &sharing);
}

/// The share coordinator has forgotten partitions, or has refused to.
pub(in crate::group) fn state_deleted(deciding: &mut Deciding<'_>, done: ShareStateDeleted, caller: Ticket) {
    let ShareStateDeleted { work, answer } = done;
    let waiting = deciding.soft.share.waiting.remove(&work.number);
    match (work.cause, waiting) {
        (WorkCause::DeleteOffsets, waiting) => {
            let held = match waiting {
                Some(Waiting::DeleteOffsets(held)) => Some(held),
                _ => None,
            };
            offsets::deleted(deciding, &work.group, held, &answer);
        }
        (_, Some(Waiting::DeleteGroup(held))) => deletion::state_gone(deciding, &work.group, held, &answer),
        // The seat that asked is lost, and with it whoever wanted the group to go: they were told to ask again.
        _ => (),
    }
    deciding.answer(caller, Reply::ShareStateDeleted(()));
}

/// The partitions that members of a group may share in (`initializedShareGroupPartitions`): none for a group that is
/// not there.
pub(in crate::group) fn initialized_partitions(deciding: &mut Deciding<'_>, group: Str, caller: Ticket) {
    let available = match deciding.state.groups.get(&group) {
        Some(Group::Share(group)) => group.sharing.as_ref().map(Sharing::available),
        _ => None,
    };
    deciding.answer(caller, Reply::InitializedSharePartitions(available.unwrap_or_default()));
}

/// Looks at a new world: what is deleted there is forgotten by every group (`maybeCleanupShareGroupState`). The share
/// coordinator sees the same world and forgets by itself.
pub(in crate::group) fn see_world(deciding: &mut Deciding<'_>) {
    let Some(world) = &deciding.soft.world else { return };
    let image = world.image.clone();
    let gone = |topic: &Uuid| image.topics.get(*topic).is_none();
    let state = deciding.state;
    for (id, group) in &state.groups {
        let Group::Share(group) = group else { continue };
        let Some(sharing) = &group.sharing else { continue };
        if sharing.topics().any(gone) {
            deciding.write_sharing(id, &sharing.without(gone));
        }
    }
}

/// Begins a seat: every member has a whole session before it, and what is on its way has a whole interval.
pub(in crate::group) fn expect_members(deciding: &mut Deciding<'_>) {
    let now = deciding.at.now;
    let state = deciding.state;
    for (id, group) in &state.groups {
        let Group::Share(group) = group else { continue };
        if group.sharing.as_ref().is_some_and(|it| !it.initializing.is_empty()) {
            deciding.soft.share.sharing_written.insert(id.clone(), now);
        }
        for member in group.members.keys() {
            deciding.prolong_share_session(id, member);
        }
    }
}

/// A topic's name for a record about it.
pub(super) fn name_or_unknown(name: Option<Str>) -> Str {
    name.unwrap_or(UNKNOWN_TOPIC)
}

/// The error of a partition, if it has one.
pub(super) fn error_of(code: i16) -> Option<ErrorCode> {
    Some(ErrorCode::from_code(code)).filter(|code| !code.is_none())
}
