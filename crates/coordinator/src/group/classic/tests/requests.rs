//! Groups are listed, described and deleted.

use ottla_wire::messages::describe_groups_response::DescribedGroup;
use ottla_wire::messages::list_groups_response::ListedGroup;

use super::*;
use crate::group::offsets::tests::{commit, simple};
use crate::group::{DescribeGroup, Kind, ListGroups, Measured, Trigger};

fn list(fixture: &mut Fixture, states: &[&'static str], kinds: &[&'static str]) -> Vec<ListedGroup> {
    let texts = |it: &[&'static str]| it.iter().map(|text| Str::from_static(text)).collect();
    let asked = ListGroups { states: texts(states), kinds: texts(kinds) };
    match fixture.ask(Request::ListGroups(asked)) {
        Reply::ListGroups(groups) => groups,
        other => panic!("{other:?}"),
    }
}

fn describe(fixture: &mut Fixture, group: &'static str, version: i16) -> DescribedGroup {
    match fixture.ask(Request::DescribeGroup(DescribeGroup { group: group.into(), version })) {
        Reply::DescribeGroup(group) => group,
        other => panic!("{other:?}"),
    }
}

fn delete(fixture: &mut Fixture, group: &'static str) -> ErrorCode {
    match fixture.ask(Request::DeleteGroup(group.into())) {
        Reply::DeleteGroup(result) => ErrorCode::from_code(result.error_code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn groups_are_listed_by_state_and_kind() {
    let mut fixture = Fixture::new();
    stable(&mut fixture, 1);
    commit(&mut fixture, simple("simple", &[(0, 1)]), LATEST);
    let all = list(&mut fixture, &[], &[]);
    let told: Vec<(&str, &str, &str, &str)> = all
        .iter()
        .map(|it| {
            let (id, protocol) = (it.group_id.as_str(), it.protocol_type.as_str());
            (id, protocol, it.group_state.as_str(), it.group_type.as_str())
        })
        .collect();
    assert_eq!(told, [("g", "consumer", "Stable", "classic"), ("simple", "", "Empty", "classic")]);
    assert_eq!(list(&mut fixture, &[" sTable"], &[]).len(), 1);
    assert_eq!(list(&mut fixture, &["stable", "empty"], &["CLASSIC"]).len(), 2);
    assert!(list(&mut fixture, &["Dead"], &[]).is_empty());
    assert!(list(&mut fixture, &[], &["share", "unheard-of"]).is_empty());
    let Reply::Measure(measured) = fixture.ask(Request::Measure(())) else { panic!("another reply") };
    let Measured { groups, offsets, counts, rebalances } = measured;
    assert_eq!((groups[&(Kind::Classic, "Stable")], groups[&(Kind::Classic, "Empty")]), (1, 1));
    assert_eq!((offsets, counts.offset_commits, counts.completed_rebalances), (1, 1, 1));
    let joined = rebalances[&(Kind::Classic, Trigger::MemberJoined)];
    assert_eq!((joined.begun, joined.ended, joined.duration_ms), (1, 1, 10_000));
}

#[test]
fn a_group_is_described_as_it_is() {
    let mut fixture = Fixture::new();
    let (members, _) = stable(&mut fixture, 1);
    let group = describe(&mut fixture, "g", 6);
    assert_eq!((group.group_state.as_str(), group.protocol_type.as_str()), ("Stable", "consumer"));
    assert_eq!(group.protocol_data, "range");
    let member = &group.members[0];
    assert_eq!((&member.member_id, member.client_host.as_str()), (&members[0], "/127.0.0.1"));
    assert_eq!(member.member_metadata, subscription(&["orders"]));
    assert_eq!(member.member_assignment, Bytes::from(format!("to-{}", members[0])));
    // While the group rebalances, what members say is not told.
    member_id(&mut fixture);
    send_join(&mut fixture, joining(&members[0]), LATEST);
    let group = describe(&mut fixture, "g", 6);
    assert_eq!((group.group_state.as_str(), group.protocol_data.as_str()), ("PreparingRebalance", ""));
    assert!(group.members[0].member_metadata.is_empty());

    let dead = describe(&mut fixture, "nobody", 5);
    assert_eq!((dead.group_state.as_str(), dead.error_code), ("Dead", 0));
    let dead = describe(&mut fixture, "nobody", 6);
    assert_eq!(dead.error_code, ErrorCode::GroupIdNotFound as i16);
    assert_eq!(dead.error_message.as_deref(), Some("Group nobody not found."));
}

#[test]
fn an_empty_group_is_deleted_with_all_that_is_committed() {
    let mut fixture = Fixture::new();
    let (members, _) = stable(&mut fixture, 1);
    assert_eq!(delete(&mut fixture, "g"), ErrorCode::NonEmptyGroup);
    leave(&mut fixture, &[(&members[0], None)]);
    commit(&mut fixture, simple("g", &[(0, 1), (1, 2)]), LATEST);
    fixture.written();
    // Somebody who was given an id is no member yet.
    let pending = member_id(&mut fixture);
    assert_eq!(delete(&mut fixture, "g"), ErrorCode::None);
    let records = fixture.records();
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|it| it.value.is_none()));
    assert!(list(&mut fixture, &[], &[]).is_empty());
    assert_eq!(delete(&mut fixture, "g"), ErrorCode::GroupIdNotFound);
    let caller = send_join(&mut fixture, joining(&pending), LATEST);
    assert_eq!(joined(&mut fixture, caller).error_code, ErrorCode::UnknownMemberId as i16);
    fixture.lose_seat();
    assert!(list(&mut fixture, &[], &[]).is_empty());
}
