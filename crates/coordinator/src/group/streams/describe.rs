//! What a group tells of itself (`StreamsGroup.asDescribedGroup`).

use std::collections::BTreeMap;

use ottla_base::{ErrorCode, Str};
use ottla_machine::Ticket;
use ottla_wire::messages::streams_group_describe_response as describe;

use super::StreamsGroup;
use super::leave::existing;
use super::live::{Live, TaskOffsets};
use super::member::Member;
use super::target::AssignorName;
use super::tasks::{Tasks, described, without_epochs};
use crate::group::Reply;
use crate::group::deciding::Deciding;

/// No description of the topology is stored: nobody stores any without a plugin.
const DESCRIPTION_NOT_STORED: i8 = 1;

/// Which group to describe, and how.
#[derive(Debug, Clone)]
pub struct StreamsDescribe {
    /// The group.
    pub group_id: Str,
    /// Whether the topology's description is wanted too.
    pub description: TopologyDescription,
}

/// Whether the topology's description is wanted (KIP-1331).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopologyDescription {
    /// It is.
    Wanted,
    /// It is not.
    NotWanted,
}

/// Decides a description.
pub(in crate::group) fn describe(deciding: &mut Deciding<'_>, asked: StreamsDescribe, caller: Ticket) {
    let described = match existing(deciding, &asked.group_id) {
        Ok((id, group)) => {
            let live = deciding.soft.streams.groups.get(id);
            let mut described = describe_group(id, group, live);
            if let Some(world) = &mut deciding.soft.world {
                let settings = world.group_settings(id);
                let assignor = AssignorName::of(&world.settings, &settings);
                described.assignor_name = Some(Str::from_static(assignor.name()));
            }
            if asked.description == TopologyDescription::Wanted {
                described.topology_description_status = DESCRIPTION_NOT_STORED;
            }
            described
        }
        Err(refusal) => describe::DescribedGroup {
            group_id: asked.group_id,
            error_code: refusal.code as i16,
            error_message: refusal.message,
            ..Default::default()
        },
    };
    deciding.answer(caller, Reply::StreamsGroupDescribe(described));
}

fn describe_group(id: &Str, group: &StreamsGroup, live: Option<&Live>) -> describe::DescribedGroup {
    let ready = live.and_then(|live| live.configured.as_ref()).filter(|it| it.is_ready());
    let ready = ready.filter(|it| it.epoch == group.topology_epoch());
    let topology = match ready {
        Some(configured) => Some(configured.described()),
        None => group.topology.as_ref().map(|topology| topology.described()),
    };
    let (no_tasks, no_offsets) = (Tasks::default(), TaskOffsets::default());
    let members = group.members.iter().map(|(member_id, member)| {
        let target = group.target.get(member_id).unwrap_or(&no_tasks);
        let offsets = live.and_then(|live| live.offsets.get(member_id)).unwrap_or(&no_offsets);
        describe_member(member_id, member, target, offsets)
    });
    describe::DescribedGroup {
        error_code: ErrorCode::None as i16,
        group_id: id.clone(),
        group_state: Str::from_static(group.how().name()),
        group_epoch: group.epoch,
        assignment_epoch: group.assignment_epoch,
        topology,
        members: members.collect(),
        ..Default::default()
    }
}

fn describe_member(
    member_id: &Str,
    member: &Member,
    target: &Tasks,
    offsets: &TaskOffsets,
) -> describe::Member {
    let endpoint = member.user_endpoint.as_ref().map(|endpoint| describe::Endpoint {
        host: endpoint.host.clone(),
        port: endpoint.port,
        ..Default::default()
    });
    let tags = member.client_tags.iter().map(|(key, value)| describe::KeyValue {
        key: key.clone(),
        value: value.clone(),
        ..Default::default()
    });
    describe::Member {
        member_id: member_id.clone(),
        member_epoch: member.epoch,
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topology_epoch: member.topology_epoch,
        process_id: member.process_id.clone(),
        user_endpoint: endpoint,
        client_tags: tags.collect(),
        task_offsets: describe_offsets(&offsets.positions),
        task_end_offsets: describe_offsets(&offsets.ends),
        assignment: describe::Assignment {
            active_tasks: described(&without_epochs(&member.assigned.active)),
            standby_tasks: described(&member.assigned.standby),
            warmup_tasks: described(&member.assigned.warmup),
            ..Default::default()
        },
        target_assignment: describe::Assignment {
            active_tasks: described(&target.active),
            standby_tasks: described(&target.standby),
            warmup_tasks: described(&target.warmup),
            ..Default::default()
        },
        ..Default::default()
    }
}

fn describe_offsets(offsets: &BTreeMap<Str, BTreeMap<i32, i64>>) -> Vec<describe::TaskOffset> {
    let each = offsets.iter().flat_map(|(id, of)| of.iter().map(move |(task, offset)| (id, *task, *offset)));
    let told = each.map(|(subtopology, partition, offset)| describe::TaskOffset {
        subtopology_id: subtopology.clone(),
        partition,
        offset,
        ..Default::default()
    });
    told.collect()
}
