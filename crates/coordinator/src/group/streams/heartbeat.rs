//! What a member says and hears (`GroupMetadataManager.streamsGroupHeartbeat`).

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_base::{ErrorCode, Str};
use ottla_machine::Ticket;
use ottla_metadata::Image;
use ottla_metadata::controller::Refusal;
use ottla_metadata::settings::GroupSettings;
use ottla_wire::messages::create_topics_request::CreatableTopic;
use ottla_wire::messages::streams_group_heartbeat_request::StreamsGroupHeartbeatRequest;
use ottla_wire::messages::streams_group_heartbeat_response::StreamsGroupHeartbeatResponse;
use ottla_wire::records::group::{GroupKey, GroupValue, StreamsGroupTopologyKey};

use super::configured::Configured;
use super::leave::{leave, not_streams, unknown_instance, unknown_member};
use super::live::{self, Live, StreamsTimer};
use super::member::{self, Member, MemberState, UserEndpoint};
use super::reconcile::Step;
use super::refine::{Refined, Refiner};
use super::request::{JOINS, LEAVES, LEAVES_FOR_A_WHILE, validate, validate_tasks};
use super::state::{self, State, StreamsGroup};
use super::status::{Status, StatusCode};
use super::target::{self, AssignorName, Members, NUM_STANDBY_REPLICAS, RACK_AWARE_TAGS};
use super::tasks::{self, Tasks, all_in, has, without_epochs};
use super::topology::{self, Topology};
use super::{endpoints, request};
use crate::group::deciding::Deciding;
use crate::group::kind::Kind;
use crate::group::modern::topics::MetadataWatch;
use crate::group::soft::Timer;
use crate::group::state::Group;
use crate::group::why::{Cause, Trigger};
use crate::group::{Client, GroupRecord, Reply};

/// The first version whose answer can say that tags are missing.
const FIRST_VERSION_WITH_TAGS: i16 = 1;

/// The first version in which clients tell how far their tasks are, though older ones have the fields.
const FIRST_VERSION_WITH_OFFSETS: i16 = 1;

/// A member's heartbeat.
#[derive(Debug, Clone)]
pub struct StreamsHeartbeat {
    /// Who sent it.
    pub client: Client,
    /// What it says.
    pub request: StreamsGroupHeartbeatRequest,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamsHeartbeatAnswer {
    /// What the member hears.
    pub response: StreamsGroupHeartbeatResponse,
    /// Internal topics of the group that are not there: whoever answers the member has them made.
    pub missing_topics: Vec<CreatableTopic>,
}

/// Why the group needs a new epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Update {
    None,
    /// A member has other tasks than it is to have; the target stays.
    Refined,
    /// The target may be another.
    Recompute,
}

/// One heartbeat on its way.
struct Beat<'a> {
    request: &'a StreamsGroupHeartbeatRequest,
    version: i16,
    /// The group's id, detached.
    id: Str,
    /// The member's id, detached.
    member_id: Str,
    group: &'a StreamsGroup,
    live: &'a mut Live,
    image: &'a Image,
    settings: &'a GroupSettings,
    assignor: AssignorName,
    at: ottla_machine::At,
    watch: &'a mut MetadataWatch,
    /// The static member that this one takes the place of.
    replaced: Option<Str>,
    records: Vec<GroupRecord>,
    status: Vec<Status>,
    /// Whether a new group still waits for more members.
    is_delayed: bool,
}

/// What a heartbeat made of its member.
struct Outcome {
    answer: StreamsHeartbeatAnswer,
    records: Vec<GroupRecord>,
    id: Str,
    member_id: Str,
    replaced: Option<Str>,
    /// The member's new assignment, if it has one.
    reconciled: Option<Member>,
    /// Why the group has a new epoch, if it has.
    cause: Option<Cause>,
    /// The epoch in which everybody has what it is to have, once it is so, and how many they are.
    stable_epoch: Option<(i32, usize)>,
}

/// Decides a heartbeat.
pub(in crate::group) fn heartbeat(deciding: &mut Deciding<'_>, asked: Box<StreamsHeartbeat>, caller: Ticket) {
    let answer = validate(&asked.request).and_then(|()| match asked.request.member_epoch {
        LEAVES | LEAVES_FOR_A_WHILE => leave(deciding, &asked.request),
        _ => stay(deciding, &asked),
    });
    let answer = answer.unwrap_or_else(|refusal| StreamsHeartbeatAnswer {
        response: StreamsGroupHeartbeatResponse {
            error_code: refusal.code as i16,
            error_message: refusal.message,
            ..Default::default()
        },
        missing_topics: Vec::new(),
    });
    deciding.answer(caller, Reply::StreamsGroupHeartbeat(answer));
}

/// A static member may be known under one id only.
pub(super) fn not_fenced(known: &Str, asked: &Str, instance: &Str) -> Result<(), Refusal> {
    if known == asked {
        return Ok(());
    }
    let message = format!("Static member {asked} with instance id {instance} was fenced by member {known}.");
    Err(Refusal::new(ErrorCode::FencedInstanceId, message))
}

fn stay(deciding: &mut Deciding<'_>, asked: &StreamsHeartbeat) -> Result<StreamsHeartbeatAnswer, Refusal> {
    let request = &asked.request;
    let not_ready = || Refusal::from(ErrorCode::CoordinatorLoadInProgress);
    let world = deciding.soft.world.as_mut().ok_or_else(not_ready)?;
    let (image, settings) = (world.image.clone(), world.group_settings(&request.group_id));
    let assignor = AssignorName::of(&world.settings, &settings);
    let max_size = world.settings.streams_groups.group_streams_max_size;
    let fresh = StreamsGroup::default();
    let mut tombstones = Vec::new();
    let (id, group) = find(deciding, request, &fresh, &mut tombstones)?;
    let takes_over = !tombstones.is_empty();
    let exists = !std::ptr::eq(group, &fresh);
    if request.member_epoch == JOINS {
        has_room(group, request, max_size)?;
    }
    let initial_rebalance = Timer::Streams(StreamsTimer::InitialRebalance(id.clone()));
    let delay = target::initial_delay(settings.streams_initial_rebalance_delay_ms);
    let starts_delay = delay.filter(|_| group.members.is_empty());
    let is_set = deciding.soft.timers.get(&initial_rebalance).is_some();
    let mut live = deciding.soft.streams.groups.remove(&id).unwrap_or_default();
    let known_id = group.members.get_key_value(&request.member_id).map(|(id, _)| id.clone());
    let beat = Beat {
        request,
        version: asked.client.version,
        id: id.clone(),
        member_id: known_id.unwrap_or_else(|| request.member_id.detached()),
        group,
        live: &mut live,
        image: &image,
        settings: &settings,
        assignor,
        at: deciding.at,
        watch: &mut deciding.soft.metadata,
        replaced: None,
        records: tombstones,
        status: Vec::new(),
        is_delayed: is_set || starts_delay.is_some(),
    };
    let outcome = beat.decide(&asked.client);
    if exists || outcome.is_ok() {
        deciding.soft.streams.groups.insert(id, live);
    }
    let outcome = outcome?;
    if takes_over {
        deciding.forget_classic(&outcome.id, ErrorCode::UnknownMemberId);
    }
    if let Some(delay) = starts_delay.filter(|_| !is_set) {
        deciding.soft.timers.set(initial_rebalance, deciding.at.now + delay);
    }
    Ok(conclude(deciding, outcome))
}

/// The group, or a `fresh` one for a member that joins where there is none, or where there is an empty classic group:
/// then with the records that end that.
fn find<'a>(
    deciding: &Deciding<'a>,
    request: &StreamsGroupHeartbeatRequest,
    fresh: &'a StreamsGroup,
    tombstones: &mut Vec<GroupRecord>,
) -> Result<(Str, &'a StreamsGroup), Refusal> {
    let (asked, joins) = (&request.group_id, request.member_epoch == JOINS);
    if let Some((id, Group::Streams(group))) = deciding.state.groups.get_key_value(asked) {
        return Ok((id.clone(), group));
    }
    let id = asked.detached();
    let ends = deciding.with_group(asked, |group| {
        let ends = joins && group.kind() == Kind::Classic && group.is_empty();
        if ends {
            group.tombstones(&id, tombstones);
        }
        ends
    });
    match ends {
        Some(true) => Ok((id, fresh)),
        Some(false) => Err(not_streams(asked)),
        None if joins => Ok((id, fresh)),
        None => {
            let message = format!("Streams group {asked} not found.");
            Err(Refusal::new(ErrorCode::GroupIdNotFound, message))
        }
    }
}

fn has_room(
    group: &StreamsGroup,
    request: &StreamsGroupHeartbeatRequest,
    max_size: i32,
) -> Result<(), Refusal> {
    let instance = request.instance_id.as_ref();
    let is_known = instance.is_some_and(|instance| group.static_members.contains_key(instance))
        || group.members.contains_key(&request.member_id);
    if is_known || group.members.len() < usize::try_from(max_size).unwrap_or_default() {
        return Ok(());
    }
    let message = format!("The streams group has reached its maximum capacity of {max_size} members.");
    Err(Refusal::new(ErrorCode::GroupMaxSizeReached, message))
}

/// Writes what was decided, and expects the member to report.
fn conclude(deciding: &mut Deciding<'_>, outcome: Outcome) -> StreamsHeartbeatAnswer {
    let Outcome { answer, records, id, member_id, replaced, reconciled, cause, stable_epoch } = outcome;
    if let Some(cause) = cause {
        deciding.soft.why.begin(Kind::Streams, &id, cause, deciding.at);
    }
    if let Some((epoch, members)) = stable_epoch {
        deciding.soft.why.end(&id, epoch, members, deciding.at);
    }
    records.into_iter().for_each(|record| deciding.write(record));
    if let Some(replaced) = &replaced {
        live::expect_nothing(deciding, &id, replaced);
    }
    if let Some(member) = &reconciled {
        if member.state == MemberState::UnrevokedTasks {
            let (epoch, timeout) = (member.epoch, member.rebalance_timeout_ms);
            live::expect_revocation(deciding, &id, &member_id, epoch, timeout);
        } else {
            live::expect_no_revocation(deciding, &id, &member_id);
        }
    }
    live::expect_heartbeat(deciding, &id, &member_id);
    answer
}

impl Beat<'_> {
    fn decide(mut self, client: &Client) -> Result<Outcome, Refusal> {
        let joins = self.request.member_epoch == JOINS;
        let member = self.member(joins)?;
        let updated = self.with_request(&member, client, joins);
        let mut update = self.note_metadata(&member, &updated);
        let mut trigger = match member.topology_epoch {
            _ if self.replaced.is_some() => Trigger::MemberReplaced,
            -1 => Trigger::MemberJoined,
            _ => Trigger::MemberChanged,
        };
        let topology = self.topology()?;
        self.note_stale_topology(&updated);
        let (configured, hash) = self.configure(&topology)?;
        if hash != self.group.metadata_hash {
            trigger = if update == Update::None { Trigger::TopicsChanged } else { trigger };
            update = Update::Recompute;
        }
        let validated = self.validated_epoch(&topology, &configured)?;
        if validated != self.group.validated_topology_epoch {
            trigger = if update == Update::None { Trigger::TopicsChanged } else { trigger };
            update = Update::Recompute;
        }
        self.note_offsets()?;
        let configs = self.assignment_configs();
        if configs != self.group.assignment_configs {
            trigger = if update == Update::None { Trigger::AssignorChanged } else { trigger };
            update = Update::Recompute;
        }
        if update == Update::None
            && let Some(refined) = self.refined_trigger(&updated, &configured)
        {
            (update, trigger) = (Update::Refined, refined);
        }
        let mut epoch = self.group.epoch;
        if update != Update::None {
            epoch += 1;
            self.records.push(self.group.record(&self.id, epoch, hash, validated, &configs));
        }
        let (target_epoch, target) = self.target(epoch, update, &updated, &configured, &configs);
        let reconciled = self.reconcile(&updated, target_epoch, &target)?;
        let now = reconciled.as_ref().unwrap_or(&updated);
        let cause = (update != Update::None).then(|| self.cause(trigger));
        let is_settled = reconciled.is_some() && target_epoch == epoch && self.all_have(target_epoch, now);
        let stable_epoch = is_settled.then(|| (epoch, self.member_count()));
        if self.request.shutdown_application {
            self.live.shutdown_asked_by.get_or_insert_with(|| self.member_id.clone());
        }
        let response = self.response(&member, now, &configured, &configs, joins);
        let missing_topics = configured.missing.clone();
        if let Some(replaced) = &self.replaced {
            self.live.forget(replaced);
        }
        // Only now: what was refused before did not write the hash of what it saw.
        self.watch.looked(&self.id, epoch, self.at.now);
        Ok(Outcome {
            answer: StreamsHeartbeatAnswer { response, missing_topics },
            records: self.records,
            id: self.id,
            member_id: self.member_id,
            replaced: self.replaced,
            reconciled,
            cause,
            stable_epoch,
        })
    }

    fn cause(&self, trigger: Trigger) -> Cause {
        let reason = match trigger {
            Trigger::MemberJoined => "a member joins the streams group",
            Trigger::MemberReplaced => "a static member joins again and has changed",
            Trigger::TopicsChanged => "topics of the topology have changed",
            Trigger::AssignorChanged => "settings of the assignment have changed",
            Trigger::TaskWarmedUp => "a task has warmed up where it is to be",
            _ => "a member has changed, or has not the tasks that it is to have",
        };
        Cause::new(trigger, &self.member_id, reason.to_owned())
    }

    /// Whether everybody has the assignment of `epoch`; `now` is what this member will be.
    fn all_have(&self, epoch: i32, now: &Member) -> bool {
        let mut others = self.others();
        now.is_reconciled_to(epoch) && others.all(|member| member.is_reconciled_to(epoch))
    }

    fn member_count(&self) -> usize {
        self.others().count() + 1
    }

    fn others(&self) -> impl Iterator<Item = &Member> {
        let replaced = self.replaced.as_ref();
        let others = self.group.members.iter();
        others.filter(move |(id, _)| **id != self.member_id && Some(*id) != replaced).map(|(_, it)| it)
    }

    /// The member as it is before the heartbeat.
    fn member(&mut self, joins: bool) -> Result<Member, Refusal> {
        let (group, request) = (self.group, self.request);
        let Some(instance) = &request.instance_id else {
            let known = group.members.get(&self.member_id);
            return match known {
                Some(member) => has_epoch(member, request).map(|()| member.clone()),
                None if joins => Ok(Member::new()),
                None => Err(unknown_member(&self.id, &self.member_id)),
            };
        };
        let existing = group.static_member(instance);
        if !joins {
            let (member_id, member) = existing.ok_or_else(|| unknown_instance(instance))?;
            not_fenced(member_id, &self.member_id, instance)?;
            return has_epoch(member, request).map(|()| member.clone());
        }
        let Some((old_id, old)) = existing else {
            return Ok(group.members.get(&self.member_id).cloned().unwrap_or_else(Member::new));
        };
        if old.epoch != LEAVES_FOR_A_WHILE {
            let message = format!(
                "Static member {} with instance id {instance} cannot join the group because the instance id is \
                 owned by {old_id} member.",
                self.member_id
            );
            return Err(Refusal::new(ErrorCode::UnreleasedInstanceId, message));
        }
        let member = Member { epoch: 0, previous_epoch: 0, ..old.clone() };
        self.records.extend(member::tombstones(&self.id, old_id));
        self.records.push(member.metadata_record(&self.id, &self.member_id));
        let target = group.target.get(old_id).cloned().unwrap_or_default();
        self.records.push(member::target_record(&self.id, &self.member_id, &target));
        self.records.push(member.assignment_record(&self.id, &self.member_id));
        self.replaced = (*old_id != self.member_id).then(|| old_id.clone());
        Ok(member)
    }

    /// The member with what the heartbeat says of it.
    fn with_request(&self, member: &Member, client: &Client, joins: bool) -> Member {
        let request = self.request;
        let mut updated = member.clone();
        if let Some(instance) = &request.instance_id {
            updated.instance_id = Some(instance.clone());
        }
        if let Some(rack) = &request.rack_id {
            updated.rack_id = Some(rack.clone());
        }
        if request.rebalance_timeout_ms != -1 {
            updated.rebalance_timeout_ms = request.rebalance_timeout_ms;
        }
        if let Some(topology) = &request.topology {
            updated.topology_epoch = topology.epoch;
        }
        updated.client_id = client.id.clone();
        updated.client_host = client.host.clone();
        if let Some(process) = &request.process_id {
            updated.process_id = process.clone();
        }
        if let Some(tags) = &request.client_tags {
            updated.client_tags = tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
        }
        let endpoint = request.user_endpoint.as_ref();
        let endpoint = endpoint.map(|it| UserEndpoint { host: it.host.clone(), port: it.port });
        if joins || endpoint.is_some() {
            updated.user_endpoint = endpoint;
        }
        updated
    }

    /// A member that says something new of itself is written. Static members need a new assignment only for what
    /// assignors look at.
    fn note_metadata(&mut self, member: &Member, updated: &Member) -> Update {
        if member == updated {
            return Update::None;
        }
        self.records.push(updated.metadata_record(&self.id, &self.member_id));
        let is_same = self.request.instance_id.is_some()
            && member.topology_epoch == updated.topology_epoch
            && member.rack_id == updated.rack_id
            && member.client_tags == updated.client_tags
            && member.process_id == updated.process_id;
        if is_same { Update::None } else { Update::Recompute }
    }

    /// The topology of the group: that of the first member that brings one.
    fn topology(&mut self) -> Result<Arc<Topology>, Refusal> {
        let known = self.group.topology.as_ref();
        let Some(brought) = &self.request.topology else {
            // A group without a topology has no members that could send heartbeats without one.
            let missing = "The topology is null and the group topology is also null.";
            return known.cloned().ok_or_else(|| Refusal::new(ErrorCode::UnknownServerError, missing));
        };
        let record = topology::record(brought)?;
        match known {
            Some(known) if known.epoch > brought.epoch => Ok(known.clone()),
            Some(known) if **known == Topology::from_record(&record) => Ok(known.clone()),
            Some(_) => {
                let message = "Topology updates are not supported yet.";
                Err(Refusal::new(ErrorCode::InvalidRequest, message))
            }
            None => {
                let topology = Arc::new(Topology::from_record(&record));
                let key = StreamsGroupTopologyKey { group_id: self.id.clone() };
                let key = GroupKey::StreamsGroupTopologyKey(key);
                let value = GroupValue::StreamsGroupTopologyValue(record);
                self.records.push(GroupRecord::set(key, value));
                Ok(topology)
            }
        }
    }

    fn note_stale_topology(&mut self, member: &Member) {
        if let Some(topology) = &self.group.topology
            && member.topology_epoch < topology.epoch
        {
            let detail = format!(
                "The member's topology epoch {} is behind the group's topology epoch {}.",
                member.topology_epoch, topology.epoch
            );
            self.status.push(Status::new(StatusCode::StaleTopology, detail));
        }
    }

    /// Looks at the topics of the topology, if they may have changed since this was last done. Returns their hash.
    fn configure(&mut self, topology: &Topology) -> Result<(Arc<Configured>, i64), Refusal> {
        let group = self.group;
        let looked_at = self.live.configured.as_ref().filter(|it| it.epoch == topology.epoch);
        let looked_at = looked_at.filter(|_| group.topology.is_some());
        if let Some(configured) = looked_at
            && !self.watch.is_due(&self.id, group.epoch, self.at.now)
        {
            return Ok((configured.clone(), group.metadata_hash));
        }
        let hash = self.watch.group_hash(&topology.required, self.image);
        let configured = match looked_at.filter(|_| hash == group.metadata_hash) {
            Some(configured) => configured.clone(),
            None => Arc::new(Configured::new(topology, self.image)?),
        };
        self.live.configured = Some(configured.clone());
        Ok((configured, hash))
    }

    /// The epoch of the topology if all is well with its topics; then, the tasks that the member has must exist.
    fn validated_epoch(&self, topology: &Topology, configured: &Configured) -> Result<i32, Refusal> {
        if !configured.is_ready() {
            return Ok(-1);
        }
        for tasks in [&self.request.active_tasks, &self.request.standby_tasks, &self.request.warmup_tasks] {
            validate_tasks(tasks.as_deref(), configured)?;
        }
        Ok(topology.epoch)
    }

    fn note_offsets(&mut self) -> Result<(), Refusal> {
        let (positions, ends) = (&self.request.task_offsets, &self.request.task_end_offsets);
        if positions.is_none() && ends.is_none() {
            if self.version < FIRST_VERSION_WITH_OFFSETS && !self.live.offsets.contains_key(&self.member_id) {
                self.live.mute.insert(self.member_id.clone());
            } else {
                self.live.mute.remove(&self.member_id);
            }
            return Ok(());
        }
        self.live.mute.remove(&self.member_id);
        let known = self.live.offsets.get(&self.member_id).cloned().unwrap_or_default();
        let updated = known.updated(positions.as_deref(), ends.as_deref())?;
        self.live.offsets.insert(self.member_id.clone(), updated);
        Ok(())
    }

    /// What the settings say to the assignor.
    fn assignment_configs(&self) -> BTreeMap<Str, Str> {
        let standbys = self.settings.streams_num_standby_replicas.to_string();
        let mut configs = BTreeMap::from([(Str::from_static(NUM_STANDBY_REPLICAS), Str::from(standbys))]);
        let tags = &self.settings.streams_rack_aware_assignment_tags;
        if !tags.is_empty() {
            configs.insert(Str::from_static(RACK_AWARE_TAGS), Str::from(tags.join(",")));
        }
        configs
    }

    /// Why the member of a stable group is to have other tasks than it has; nothing if it is not.
    fn refined_trigger(&mut self, member: &Member, configured: &Configured) -> Option<Trigger> {
        let (group, none) = (self.group, Tasks::default());
        let is_stable = || group.how() == State::Stable;
        let final_tasks = group.target.get(&self.member_id).unwrap_or(&none);
        let refined = self.live.refined.as_ref().filter(|(of, _)| *of == group.assignment_epoch);
        let is_final = refined.is_some_and(|(_, refined)| !refined.waits);
        if self.assignor == AssignorName::Sticky || is_final {
            return (!final_tasks.are(&member.assigned) && is_stable()).then_some(Trigger::MemberChanged);
        }
        if !is_stable() {
            return None;
        }
        let mut members = Members::of(group);
        members.set(&self.member_id, member, self.replaced.as_ref());
        let refined = refine(self.live, self.settings, configured, &members, &members.had);
        let differs = !refined.tasks.get(&self.member_id).unwrap_or(&none).are(&member.assigned);
        let trigger = if refined.has_warmed { Trigger::TaskWarmedUp } else { Trigger::MemberChanged };
        self.live.refined = Some((group.assignment_epoch, refined));
        differs.then_some(trigger)
    }

    /// What the member is to have, and since which epoch.
    fn target(
        &mut self,
        epoch: i32,
        update: Update,
        updated: &Member,
        configured: &Configured,
        configs: &BTreeMap<Str, Str>,
    ) -> (i32, Tasks) {
        let group = self.group;
        if self.is_delayed {
            let detail = "Assignment delayed due to the configured initial rebalance delay.";
            self.status.push(Status::new(StatusCode::AssignmentDelayed, detail));
            return (group.assignment_epoch, Tasks::default());
        }
        let mut members = Members::of(group);
        members.set(&self.member_id, updated, self.replaced.as_ref());
        let (mut target_epoch, mut computed) = (group.assignment_epoch, None);
        let interval_ms = self.settings.streams_assignment_interval_ms;
        if group.assignment_epoch >= epoch {
            // It is up to date.
        } else if update == Update::Refined && group.assignment_epoch >= group.epoch {
            let timestamp = group.assignment_timestamp;
            self.records.push(state::target_metadata_record(&self.id, epoch, timestamp));
            target_epoch = epoch;
        } else if target::may_compute(group, interval_ms, self.at.wall_clock) {
            let (offsets, now) = (&self.live.offsets, self.at.wall_clock);
            let new = target::compute(&self.id, epoch, &members, configured, offsets, configs, now);
            self.records.extend(new.records);
            (target_epoch, computed) = (epoch, Some(new.target));
        } else {
            let detail = "Assignment delayed due to the configured assignment interval.";
            self.status.push(Status::new(StatusCode::AssignmentDelayed, detail));
        }
        let final_tasks: BTreeMap<&Str, &Tasks> = match &computed {
            Some(target) => target.iter().collect(),
            None => std::mem::take(&mut members.had),
        };
        let tasks = match self.assignor {
            AssignorName::Sticky => final_tasks.get(&self.member_id).map(|tasks| (*tasks).clone()),
            AssignorName::HighlyAvailable => {
                let known = self.live.refined.take();
                let known = known.filter(|(of, _)| *of == target_epoch && computed.is_none());
                let mut refined = match known {
                    Some((_, refined)) => refined,
                    None => refine(self.live, self.settings, configured, &members, &final_tasks),
                };
                if let Some(had) = self.replaced.as_ref().and_then(|old| refined.tasks.remove(old)) {
                    refined.tasks.insert(self.member_id.clone(), had);
                }
                let tasks = refined.tasks.get(&self.member_id).cloned();
                self.live.refined = Some((target_epoch, refined));
                tasks
            }
        };
        (target_epoch, tasks.unwrap_or_default())
    }

    /// The member's next step towards what it is to have; nothing if there is none to take.
    fn reconcile(&mut self, member: &Member, epoch: i32, target: &Tasks) -> Result<Option<Member>, Refusal> {
        if member.is_reconciled_to(epoch) {
            return Ok(None);
        }
        let request = self.request;
        let owned = match (&request.active_tasks, &request.standby_tasks, &request.warmup_tasks) {
            (Some(active), Some(standby), Some(warmup)) => Some(Tasks::owned(active, standby, warmup)),
            _ => None,
        };
        let owners = &self.group.owners;
        let next = Step { member, epoch, target, owned: owned.as_ref(), owners }.next()?;
        if next == *member {
            return Ok(None);
        }
        self.records.push(next.assignment_record(&self.id, &self.member_id));
        Ok(Some(next))
    }

    fn response(
        &mut self,
        before: &Member,
        now: &Member,
        configured: &Configured,
        configs: &BTreeMap<Str, Str>,
        joins: bool,
    ) -> StreamsGroupHeartbeatResponse {
        let mut response = StreamsGroupHeartbeatResponse {
            member_id: self.member_id.clone(),
            member_epoch: now.epoch,
            heartbeat_interval_ms: self.settings.streams_heartbeat_interval_ms,
            task_offset_interval_ms: self.settings.streams_task_offset_interval_ms,
            acceptable_recovery_lag: self.settings.streams_acceptable_recovery_lag,
            ..Default::default()
        };
        let has_other_tasks = before.assigned != now.assigned;
        if joins || has_other_tasks {
            response.active_tasks = Some(tasks::told(&without_epochs(&now.assigned.active)));
            response.standby_tasks = Some(tasks::told(&now.assigned.standby));
            response.warmup_tasks = Some(tasks::told(&now.assigned.warmup));
        }
        let has_other_endpoint = before.user_endpoint != now.user_endpoint;
        if has_other_endpoint || (has_other_tasks && now.user_endpoint.is_some()) {
            self.live.endpoint_epoch = self.live.endpoint_epoch.wrapping_add(1);
        }
        if self.live.endpoint_epoch != self.request.endpoint_information_epoch {
            let others = self.group.members.iter();
            let others =
                others.filter(|(id, _)| **id != self.member_id && Some(*id) != self.replaced.as_ref());
            let all = others.map(|(_, member)| member).chain([now]);
            let all = all.filter_map(|member| endpoints::of_member(member, configured, self.image));
            response.partitions_by_user_endpoint = Some(all.collect());
        }
        response.endpoint_information_epoch = self.live.endpoint_epoch;
        self.status.extend(configured.obstacle.clone());
        self.note_shutdown();
        self.note_missing_tags(now, configs);
        response.status = Some(self.status.iter().map(Status::told).collect());
        response
    }

    fn note_shutdown(&mut self) {
        if let Some(member) = &self.live.shutdown_asked_by {
            let detail = format!(
                "Streams group member {member} encountered a fatal error and requested a shutdown for the entire \
                 application."
            );
            self.status.push(Status::new(StatusCode::ShutdownApplication, detail));
        }
    }

    fn note_missing_tags(&mut self, member: &Member, configs: &BTreeMap<Str, Str>) {
        let required = configs.get(RACK_AWARE_TAGS).map_or("", |tags| tags.trim());
        if self.version < FIRST_VERSION_WITH_TAGS || required.is_empty() {
            return;
        }
        let required = required.split(',').map(str::trim);
        let missing: Vec<&str> = required.filter(|tag| !member.client_tags.contains_key(*tag)).collect();
        if !missing.is_empty() {
            let detail = format!(
                "Missing required client tags for rack-aware standby assignment: [{}]. Configure them via \
                 'client.tag.<tagKey>' in your Streams config.",
                missing.join(", ")
            );
            self.status.push(Status::new(StatusCode::MissingClientTags, detail));
        }
    }
}

/// What members come to have of `target` now.
fn refine(
    live: &Live,
    settings: &GroupSettings,
    configured: &Configured,
    members: &Members<'_>,
    target: &BTreeMap<&Str, &Tasks>,
) -> Refined {
    let refiner = Refiner {
        parts: &configured.parts,
        members: &members.all,
        offsets: &live.offsets,
        mute: &live.mute,
        warmups: usize::try_from(settings.streams_num_warmup_replicas).unwrap_or_default(),
        acceptable_lag: settings.streams_acceptable_recovery_lag,
    };
    refiner.refine(target)
}

/// A member may be in the epoch that the group knows, or have missed the answer that told it of that epoch.
fn has_epoch(member: &Member, request: &StreamsGroupHeartbeatRequest) -> Result<(), Refusal> {
    let epoch = request.member_epoch;
    if epoch == request::JOINS || epoch == member.epoch {
        return Ok(());
    }
    let held = &member.assigned;
    let holds_active =
        |id: &Str, partition: i32| held.active.get(id).is_some_and(|it| it.contains_key(&partition));
    let missed_answer = epoch < member.epoch
        && epoch == member.previous_epoch
        && all_in(request.active_tasks.as_deref(), holds_active)
        && all_in(request.standby_tasks.as_deref(), |id, partition| has(&held.standby, id, partition))
        && all_in(request.warmup_tasks.as_deref(), |id, partition| has(&held.warmup, id, partition));
    if missed_answer {
        return Ok(());
    }
    let side = if epoch > member.epoch { "greater" } else { "smaller" };
    let message = format!(
        "The streams group member has a {side} member epoch ({epoch}) than the one known by the group coordinator \
         ({}). The member must abandon all its tasks and rejoin.",
        member.epoch
    );
    Err(Refusal::new(ErrorCode::FencedMemberEpoch, message))
}
