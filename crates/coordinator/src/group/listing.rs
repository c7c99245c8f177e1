//! Groups of every kind are listed, described as classic ones, and deleted.

use std::collections::BTreeSet;

use ottla_base::{ErrorCode, Str};
use ottla_machine::Ticket;
use ottla_wire::messages::delete_groups_response::DeletableGroupResult;
use ottla_wire::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use ottla_wire::messages::list_groups_response::ListedGroup;

use super::classic::live::{Member, State};
use super::deciding::Deciding;
use super::kind::Kind;
use super::request::Reply;
use super::{share, streams};

/// From this version on, `DescribeGroups` tells that a group is not there instead of calling it dead.
const TELLS_OF_MISSING_GROUPS: i16 = 6;

/// Somebody asks which groups there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListGroups {
    /// Only groups in these states, in letters of any case; all if there are none.
    pub states: Vec<Str>,
    /// Only groups of these kinds, in letters of any case; all if there are none.
    pub kinds: Vec<Str>,
}

/// Somebody asks how a classic group is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeGroup {
    /// Which.
    pub group: Str,
    /// The version of the request.
    pub version: i16,
}

/// Lists groups by their ids.
pub(super) fn list(deciding: &mut Deciding<'_>, asked: ListGroups, caller: Ticket) {
    let states: BTreeSet<String> = asked.states.iter().map(|it| it.trim().to_lowercase()).collect();
    let kinds: BTreeSet<Option<Kind>> = asked.kinds.iter().map(|it| Kind::named(it)).collect();
    let mut listed = Vec::new();
    for id in deciding.group_ids() {
        let found = deciding.with_group(&id, |group| {
            let (kind, state) = (group.kind(), group.state());
            let wanted = (states.is_empty() || states.contains(&state.to_lowercase()))
                && (kinds.is_empty() || kinds.contains(&Some(kind)));
            wanted.then(|| ListedGroup {
                group_id: id.clone(),
                protocol_type: Str::from(group.protocol_type()),
                group_state: Str::from_static(state),
                group_type: Str::from_static(kind.name()),
                ..Default::default()
            })
        });
        listed.extend(found.flatten());
    }
    deciding.answer(caller, Reply::ListGroups(listed));
}

/// Describes a classic group; any other is as good as none.
pub(super) fn describe(deciding: &mut Deciding<'_>, asked: DescribeGroup, caller: Ticket) {
    let DescribeGroup { group, version } = asked;
    let found = deciding.with_group(&group, |it| {
        (it.kind() == Kind::Classic).then(|| (it.state(), Str::from(it.protocol_type())))
    });
    let reply = match found {
        Some(Some((state, protocol_type))) => {
            let (protocol_data, members) = members(deciding, &group);
            DescribedGroup {
                group_id: group,
                group_state: Str::from_static(state),
                protocol_type,
                protocol_data,
                members,
                ..Default::default()
            }
        }
        Some(None) => missing(version, format!("Group {group} is not a classic group."), group),
        None => missing(version, format!("Group {group} not found."), group),
    };
    deciding.answer(caller, Reply::DescribeGroup(reply));
}

/// The protocol of a classic group and its members. What they said in it is told once they agree upon it.
fn members(deciding: &Deciding<'_>, group: &str) -> (Str, Vec<DescribedGroupMember>) {
    let Some(live) = deciding.soft.classic.get(group) else { return (Str::default(), Vec::new()) };
    let protocol = live.protocol.clone().filter(|_| live.is_in(State::Stable));
    let members = live.members().map(|member: &Member| DescribedGroupMember {
        member_id: member.id.clone(),
        group_instance_id: member.instance.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        member_metadata: protocol.as_ref().map(|it| member.metadata(it)).unwrap_or_default(),
        member_assignment: member.assignment.clone(),
        ..Default::default()
    });
    let members = members.collect();
    (protocol.unwrap_or_default(), members)
}

fn missing(version: i16, message: String, group: Str) -> DescribedGroup {
    let dead =
        DescribedGroup { group_id: group, group_state: Str::from_static("Dead"), ..Default::default() };
    if version < TELLS_OF_MISSING_GROUPS {
        return dead;
    }
    DescribedGroup {
        error_code: ErrorCode::GroupIdNotFound as i16,
        error_message: Some(Str::from(message)),
        ..dead
    }
}

/// Deletes an empty group with its offsets.
pub(super) fn delete(deciding: &mut Deciding<'_>, group: Str, caller: Ticket) {
    if deciding.with_group(&group, |it| it.kind()) == Some(Kind::Share) {
        return share::delete(deciding, group, caller);
    }
    let checked = deciding.with_group(&group, |it| it.check_delete());
    let code = match checked.unwrap_or(Err(ErrorCode::GroupIdNotFound)) {
        Ok(()) => {
            let mut records = Vec::new();
            let deleted = deciding.state.offsets.tombstones(&group, &mut records);
            let _ = deciding.with_group(&group, |it| it.tombstones(&group, &mut records));
            deciding.soft.counts.offset_deletions += deleted as u64;
            // The group itself goes last: what a crash leaves can be deleted again.
            deciding.each_alone();
            records.into_iter().for_each(|record| deciding.write(record));
            deciding.forget_classic(&group, ErrorCode::UnknownMemberId);
            deciding.soft.why.forget(&group);
            streams::forget(deciding, &group);
            ErrorCode::None
        }
        Err(code) => code,
    };
    let result = DeletableGroupResult { group_id: group, error_code: code as i16, ..Default::default() };
    deciding.answer(caller, Reply::DeleteGroup(result));
}

impl Deciding<'_> {
    /// Every group that exists, whatever its kind.
    pub(super) fn group_ids(&self) -> BTreeSet<Str> {
        let hard = self.state.groups.keys();
        hard.chain(self.soft.classic.keys()).chain(self.state.offsets.groups()).cloned().collect()
    }
}
