//! What members do, and what they and the log hear of it.

use super::*;
use crate::group::Trigger;

#[test]
fn a_group_forms_and_is_in_the_log() {
    let mut fixture = Fixture::new();
    let first = member_id(&mut fixture);
    // A group that is new is written down at once, empty.
    let records = fixture.records();
    assert_eq!(records.len(), 1);
    assert_eq!((metadata(&records[0]).generation, metadata(&records[0]).protocol_type.as_str()), (0, ""));

    let second = member_id(&mut fixture);
    let one = send_join(&mut fixture, joining(&first), LATEST);
    fixture.seconds(2);
    let two = send_join(&mut fixture, joining(&second), LATEST);
    // Somebody came during the initial delay of three seconds: it is prolonged once.
    fixture.seconds(2);
    assert_eq!(fixture.reply(one), None);
    fixture.seconds(2);
    let (one, two) = (joined(&mut fixture, one), joined(&mut fixture, two));
    assert_eq!((one.generation_id, two.generation_id), (1, 1));
    assert_eq!((one.leader.clone(), one.protocol_name.as_deref()), (first.clone(), Some("range")));
    assert_eq!((one.members.len(), two.members.len()), (2, 0));
    assert!(one.members.iter().all(|it| it.metadata == subscription(&["orders"])));
    assert!(fixture.records().is_empty());

    settle(&mut fixture, &[first.clone(), second.clone()], &first, 1);
    let records = fixture.records();
    let value = metadata(&records[0]);
    assert_eq!((value.generation, value.leader.as_ref()), (1, Some(&first)));
    assert_eq!((value.protocol_type.as_str(), value.protocol.as_deref()), ("consumer", Some("range")));
    assert_eq!(value.members.len(), 2);
    let member = value.members.iter().find(|it| it.member_id == first).expect("is there");
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("c", "/127.0.0.1"));
    assert_eq!((member.rebalance_timeout, member.session_timeout), (30_000, 10_000));
    assert_eq!(member.subscription, subscription(&["orders"]));
    assert_eq!(member.assignment, Bytes::from(format!("to-{first}")));

    // The next seat knows all of it, and members go on as if nothing had happened.
    fixture.lose_seat();
    assert_eq!(heartbeat(&mut fixture, &second, 1), ErrorCode::None);
    let caller = send_sync(&mut fixture, &second, 1, &[]);
    assert_eq!(synced(&mut fixture, caller).assignment, Bytes::from(format!("to-{second}")));
}

#[test]
fn the_initial_delay_ends_with_the_rebalance_timeout() {
    let mut fixture = Fixture::new();
    let mut callers = Vec::new();
    for _ in 0..6 {
        let request = JoinGroupRequest { rebalance_timeout_ms: 7_000, ..joining("") };
        callers.push(send_join(&mut fixture, request, 3));
        fixture.seconds(2);
    }
    // Three, three and one second after the first join: the sixth came too late for the first generation.
    let replies: Vec<Option<Reply>> = callers.iter().map(|caller| fixture.reply(*caller)).collect();
    assert!(replies[..4].iter().all(Option::is_some), "{replies:?}");
    assert!(replies[4..].iter().all(Option::is_none), "{replies:?}");
}

#[test]
fn a_newcomer_sets_off_a_rebalance_and_everybody_joins_again() {
    let mut fixture = Fixture::new();
    let (members, generation) = stable(&mut fixture, 2);
    let third = member_id(&mut fixture);
    let newcomer = send_join(&mut fixture, joining(&third), LATEST);
    for member in &members {
        assert_eq!(heartbeat(&mut fixture, member, generation), ErrorCode::RebalanceInProgress);
    }
    let caller = send_sync(&mut fixture, &members[0], generation, &[]);
    assert_eq!(synced(&mut fixture, caller).error_code, ErrorCode::RebalanceInProgress as i16);
    let again: Vec<Caller> = members.iter().map(|it| send_join(&mut fixture, joining(it), LATEST)).collect();
    // The last one to join ends the phase.
    let all: Vec<JoinGroupResponse> =
        again.into_iter().chain([newcomer]).map(|caller| joined(&mut fixture, caller)).collect();
    assert!(all.iter().all(|it| it.generation_id == generation + 1 && it.error_code == 0));
    let leader = all[0].leader.clone();
    assert_eq!(leader, members.iter().min().expect("two").clone(), "the leader stays");
    assert_eq!(heartbeat(&mut fixture, &third, generation + 1), ErrorCode::None);
    let everybody = [members[0].clone(), members[1].clone(), third.clone()];
    settle(&mut fixture, &everybody, &leader, generation + 1);

    let Reply::Explain(why) = fixture.ask(Request::Explain("g".into())) else { panic!("another reply") };
    let triggers: Vec<Trigger> = why.iter().map(|it| it.trigger).collect();
    assert_eq!(triggers, [Trigger::MemberJoined, Trigger::MemberJoined]);
    assert_eq!((why[1].member.clone(), why[1].end.expect("has ended").members), (third, 3));
    assert_eq!(why[0].end.expect("has ended").generation, generation);
    assert!(why[1].reason.ends_with("client reason: not provided"), "{}", why[1].reason);
}

#[test]
fn whoever_does_not_join_again_in_time_is_out() {
    let mut fixture = Fixture::new();
    let (members, generation) = stable(&mut fixture, 2);
    let third = member_id(&mut fixture);
    let newcomer = send_join(&mut fixture, joining(&third), LATEST);
    // The leader reports and does not join.
    for _ in 0..6 {
        assert_eq!(heartbeat(&mut fixture, &members[0], generation), ErrorCode::RebalanceInProgress);
        fixture.seconds(5);
    }
    let reply = joined(&mut fixture, newcomer);
    assert_eq!((reply.generation_id, reply.leader.clone()), (generation + 1, third));
    assert_eq!(reply.members.len(), 1);
    assert_eq!(heartbeat(&mut fixture, &members[0], generation + 1), ErrorCode::UnknownMemberId);
}

#[test]
fn silence_ends_a_membership_and_the_last_one_empties_the_group() {
    let mut fixture = Fixture::new();
    let (members, generation) = stable(&mut fixture, 1);
    fixture.written();
    for _ in 0..4 {
        fixture.seconds(9);
        assert_eq!(heartbeat(&mut fixture, &members[0], generation), ErrorCode::None);
    }
    fixture.seconds(11);
    assert_eq!(heartbeat(&mut fixture, &members[0], generation), ErrorCode::UnknownMemberId);
    let records = fixture.records();
    let value = metadata(&records[0]);
    assert_eq!((value.generation, value.members.len()), (generation + 1, 0));
    assert_eq!((value.protocol.clone(), value.leader.clone()), (None, None));
    assert_eq!(value.protocol_type, "consumer");
    assert_eq!(records.len(), 1);
}

#[test]
fn an_id_that_nobody_joins_with_is_forgotten() {
    let mut fixture = Fixture::new();
    let (members, generation) = stable(&mut fixture, 1);
    let pending = member_id(&mut fixture);
    let caller = send_join(&mut fixture, joining(&members[0]), LATEST);
    // The leader has joined again, but somebody else is expected.
    assert_eq!(fixture.reply(caller), None);
    fixture.seconds(11);
    assert_eq!(joined(&mut fixture, caller).generation_id, generation + 1);
    let late = send_join(&mut fixture, joining(&pending), LATEST);
    assert_eq!(joined(&mut fixture, late).error_code, ErrorCode::UnknownMemberId as i16);
}

#[test]
fn whoever_does_not_sync_in_time_is_out() {
    let mut fixture = Fixture::new();
    let members: Vec<Str> = (0..2).map(|_| member_id(&mut fixture)).collect();
    let joins: Vec<Caller> = members.iter().map(|it| send_join(&mut fixture, joining(it), LATEST)).collect();
    fixture.seconds(6);
    let leader = joined(&mut fixture, joins[0]).leader;
    let follower = members.iter().find(|it| **it != leader).expect("two").clone();
    let caller = send_sync(&mut fixture, &follower, 1, &[]);
    // The leader reports, but assigns nothing.
    for _ in 0..6 {
        heartbeat(&mut fixture, &leader, 1);
        fixture.seconds(5);
    }
    assert_eq!(synced(&mut fixture, caller).error_code, ErrorCode::RebalanceInProgress as i16);
    assert_eq!(heartbeat(&mut fixture, &leader, 1), ErrorCode::UnknownMemberId);
    let caller = send_join(&mut fixture, joining(&follower), LATEST);
    let reply = joined(&mut fixture, caller);
    assert_eq!((reply.generation_id, reply.leader), (2, follower));
}

#[test]
fn members_leave_one_by_one_or_together_and_by_instance() {
    let mut fixture = Fixture::new();
    let one = send_join(&mut fixture, static_joining("i1", ""), LATEST);
    let two = send_join(&mut fixture, static_joining("i2", ""), LATEST);
    let three = send_join(&mut fixture, joining(""), 3);
    fixture.seconds(6);
    let [one, two, three] = [one, two, three].map(|caller| joined(&mut fixture, caller).member_id);
    assert!(one.starts_with("i1-") && one.len() == "i1-".len() + 36, "{one}");
    settle(&mut fixture, &[one.clone(), two.clone(), three.clone()], &one, 1);
    let reply = leave(
        &mut fixture,
        &[("", Some("i1")), (&one, Some("i2")), ("nobody", None), (&three, None), ("", None)],
    );
    let codes: Vec<i16> = reply.members.iter().map(|it| it.error_code).collect();
    let (unknown, fenced) = (ErrorCode::UnknownMemberId as i16, ErrorCode::FencedInstanceId as i16);
    assert_eq!((codes, reply.error_code), (vec![0, fenced, unknown, 0, unknown], 0));
    assert_eq!(heartbeat_of(&mut fixture, &two, Some("i2"), 1), ErrorCode::RebalanceInProgress);
    leave(&mut fixture, &[(&two, Some("i2"))]);
    let records = fixture.records();
    assert_eq!(metadata(records.last().expect("empty")).generation, 2);
    let reply = leave(&mut fixture, &[(&two, Some("i2"))]);
    assert_eq!(reply.members[0].error_code, unknown);
}

#[test]
fn a_static_member_that_starts_anew_disturbs_nobody() {
    let mut fixture = Fixture::new();
    let one = send_join(&mut fixture, static_joining("i1", ""), LATEST);
    let two = send_join(&mut fixture, static_joining("i2", ""), LATEST);
    fixture.seconds(6);
    let [one, two] = [one, two].map(|caller| joined(&mut fixture, caller).member_id);
    settle(&mut fixture, &[one.clone(), two.clone()], &one, 1);
    fixture.written();

    let caller = send_join(&mut fixture, static_joining("i2", ""), LATEST);
    let reply = joined(&mut fixture, caller);
    assert_eq!((reply.error_code, reply.generation_id, reply.leader.as_str()), (0, 1, one.as_str()));
    assert_eq!((reply.skip_assignment, reply.members.len()), (false, 0));
    let caller = send_sync(&mut fixture, &reply.member_id, 1, &[]);
    assert_eq!(synced(&mut fixture, caller).assignment, Bytes::from(format!("to-{two}")));
    assert_eq!(heartbeat_of(&mut fixture, &two, Some("i2"), 1), ErrorCode::FencedInstanceId);
    assert_eq!(heartbeat(&mut fixture, &one, 1), ErrorCode::None);
    let records = fixture.records();
    assert_eq!(records.len(), 1);
    assert!(metadata(&records[0]).members.iter().any(|it| it.member_id == reply.member_id));

    // A leader is told to assign nothing, as its version allows.
    let caller = send_join(&mut fixture, static_joining("i1", ""), 8);
    let old = joined(&mut fixture, caller);
    assert_eq!((old.leader.as_str(), old.skip_assignment, old.members.len()), (one.as_str(), false, 0));
    let caller = send_join(&mut fixture, static_joining("i1", ""), LATEST);
    let new = joined(&mut fixture, caller);
    assert_eq!((new.leader.clone(), new.skip_assignment, new.members.len()), (new.member_id, true, 2));
}

#[test]
fn a_static_member_that_starts_anew_during_a_rebalance_takes_part_in_it() {
    let mut fixture = Fixture::new();
    let one = send_join(&mut fixture, static_joining("i1", ""), LATEST);
    fixture.seconds(3);
    let one = joined(&mut fixture, one).member_id;
    let caller = send_join(&mut fixture, static_joining("i1", ""), LATEST);
    // The first self was to assign; the second one joins the next generation.
    let reply = joined(&mut fixture, caller);
    assert_eq!((reply.error_code, reply.generation_id, reply.leader), (0, 2, reply.member_id.clone()));
    let fenced = send_sync(&mut fixture, &one, 1, &[]);
    assert_eq!(synced(&mut fixture, fenced).error_code, ErrorCode::UnknownMemberId as i16);

    // While others are awaited, the former self hears that it is fenced.
    let two = send_join(&mut fixture, static_joining("i2", ""), LATEST);
    let anew = send_join(&mut fixture, static_joining("i2", ""), LATEST);
    assert_eq!(joined(&mut fixture, two).error_code, ErrorCode::FencedInstanceId as i16);
    assert_eq!(fixture.reply(anew), None);
    let caller = send_join(&mut fixture, static_joining("i1", &reply.member_id), LATEST);
    assert_eq!(joined(&mut fixture, caller).generation_id, 3);
    assert_eq!(joined(&mut fixture, anew).generation_id, 3);
}

#[test]
fn a_leader_that_joins_again_and_a_member_that_says_something_else_set_off_rebalances() {
    let mut fixture = Fixture::new();
    let (members, generation) = stable(&mut fixture, 2);
    let leader = members.iter().min().expect("two").clone();
    let follower = members.iter().max().expect("two").clone();
    // A follower that says the same as before hears of the generation it is in.
    let caller = send_join(&mut fixture, joining(&follower), LATEST);
    let reply = joined(&mut fixture, caller);
    assert_eq!((reply.generation_id, reply.members.len()), (generation, 0));

    let mut other = joining(&follower);
    other.protocols.iter_mut().for_each(|it| it.metadata = subscription(&["orders", "refunds"]));
    let changed = send_join(&mut fixture, other, LATEST);
    assert_eq!(fixture.reply(changed), None);
    let caller = send_join(&mut fixture, joining(&leader), LATEST);
    assert_eq!(joined(&mut fixture, changed).generation_id, generation + 1);
    let reply = joined(&mut fixture, caller);
    let told = reply.members.iter().find(|it| it.member_id == follower).expect("is there");
    assert_eq!(told.metadata, subscription(&["orders", "refunds"]));
    settle(&mut fixture, &members, &leader, generation + 1);

    let caller = send_join(&mut fixture, joining(&leader), LATEST);
    assert_eq!(fixture.reply(caller), None);
    assert_eq!(heartbeat(&mut fixture, &follower, generation + 1), ErrorCode::RebalanceInProgress);
}

#[test]
fn members_vote_for_a_protocol_that_all_support() {
    let mut fixture = Fixture::new();
    let protocols = |names: &[&'static str]| {
        let mut request = joining("");
        request.protocols = names
            .iter()
            .map(|name| JoinGroupRequestProtocol { name: (*name).into(), ..Default::default() })
            .collect();
        request
    };
    let callers = [
        send_join(&mut fixture, protocols(&["a", "b", "c"]), 3),
        send_join(&mut fixture, protocols(&["c", "b"]), 3),
        send_join(&mut fixture, protocols(&["c", "b"]), 3),
    ];
    let none = send_join(&mut fixture, protocols(&["a"]), 3);
    assert_eq!(joined(&mut fixture, none).error_code, ErrorCode::InconsistentGroupProtocol as i16);
    let other = JoinGroupRequest { protocol_type: "connect".into(), ..protocols(&["c"]) };
    let other = send_join(&mut fixture, other, 3);
    assert_eq!(joined(&mut fixture, other).error_code, ErrorCode::InconsistentGroupProtocol as i16);
    fixture.seconds(9);
    for caller in callers {
        assert_eq!(joined(&mut fixture, caller).protocol_name.as_deref(), Some("c"));
    }
}

#[test]
fn requests_that_cannot_be_are_refused() {
    let mut fixture = Fixture::with_settings(&[("group.max.size", "2")]);
    let refused = |fixture: &mut Fixture, request: JoinGroupRequest| {
        let caller = send_join(fixture, request, 3);
        ErrorCode::from_code(joined(fixture, caller).error_code)
    };
    let short = JoinGroupRequest { session_timeout_ms: 5_999, ..joining("") };
    assert_eq!(refused(&mut fixture, short), ErrorCode::InvalidSessionTimeout);
    let nameless = JoinGroupRequest { group_id: "".into(), ..joining("") };
    assert_eq!(refused(&mut fixture, nameless), ErrorCode::InvalidGroupId);
    assert_eq!(refused(&mut fixture, joining("somebody")), ErrorCode::UnknownMemberId);
    assert!(fixture.records().is_empty());
    let (members, generation) = stable(&mut fixture, 2);
    let caller = send_join(&mut fixture, joining(""), LATEST);
    assert_eq!(joined(&mut fixture, caller).error_code, ErrorCode::GroupMaxSizeReached as i16);
    assert_eq!(heartbeat(&mut fixture, &members[0], generation - 1), ErrorCode::IllegalGeneration);
    let caller = send_sync(&mut fixture, &members[0], generation + 1, &[]);
    assert_eq!(synced(&mut fixture, caller).error_code, ErrorCode::IllegalGeneration as i16);
}

#[test]
fn a_group_that_is_loaded_too_large_gives_its_members_a_chance() {
    let mut fixture = Fixture::new();
    let (members, generation) = stable(&mut fixture, 3);
    let facts = fixture.records();
    let mut smaller = Fixture::with_settings(&[("group.max.size", "2")]);
    smaller.load(facts);
    assert_eq!(heartbeat(&mut smaller, &members[0], generation), ErrorCode::RebalanceInProgress);
    let callers: Vec<Caller> =
        members.iter().map(|it| send_join(&mut smaller, joining(it), LATEST)).collect();
    assert_eq!(joined(&mut smaller, callers[2]).error_code, ErrorCode::GroupMaxSizeReached as i16);
    smaller.seconds(30);
    assert_eq!(joined(&mut smaller, callers[0]).generation_id, generation + 1);
}

#[test]
fn an_assignment_that_the_log_does_not_take_is_refused_and_the_group_goes_on() {
    let mut fixture = Fixture::with_settings(&[("message.max.bytes", "3000")]);
    let member = member_id(&mut fixture);
    let caller = send_join(&mut fixture, joining(&member), LATEST);
    fixture.seconds(3);
    assert_eq!(joined(&mut fixture, caller).generation_id, 1);
    fixture.written();
    let request = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id: member.clone(),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: member.clone(),
            assignment: Bytes::from(vec![0; 3000]),
            ..Default::default()
        }],
        ..Default::default()
    };
    let caller = fixture.send(Request::SyncGroup(SyncGroup { client: client("c", 5), request }));
    assert_eq!(synced(&mut fixture, caller).error_code, ErrorCode::UnknownServerError as i16);
    assert!(fixture.records().is_empty());
    assert_eq!(heartbeat(&mut fixture, &member, 1), ErrorCode::RebalanceInProgress);
    let caller = send_join(&mut fixture, joining(&member), LATEST);
    assert_eq!(joined(&mut fixture, caller).generation_id, 2);
}

#[test]
fn who_asks_again_takes_the_place_of_its_earlier_request() {
    let mut fixture = Fixture::new();
    let (members, _) = stable(&mut fixture, 2);
    let leader = members.iter().min().expect("two").clone();
    let first = send_join(&mut fixture, joining(&leader), LATEST);
    let second = send_join(&mut fixture, joining(&leader), LATEST);
    assert_eq!(joined(&mut fixture, first).error_code, ErrorCode::RebalanceInProgress as i16);
    assert_eq!(fixture.reply(second), None);
    leave(&mut fixture, &[(&leader, None)]);
    assert_eq!(joined(&mut fixture, second).error_code, ErrorCode::UnknownMemberId as i16);
}
