//! The assignor `highly_available`: what members hear and what is written while tasks warm up, step by step.

use super::*;

/// A group that is assigned highly available, and its first member, who has every task.
fn available(partitions: i32) -> (Fixture, Thread) {
    let mut fixture = Fixture::with_settings(&AVAILABLE);
    fixture.topic("lines", partitions);
    fixture.topic("wordcount-counts-changelog", partitions);
    fixture.configure(GROUP, "streams.assignor.name", "highly_available");
    let mut one = Thread::new("one", "p1");
    fixture.joins(&mut one, counting("lines"));
    (fixture, one)
}

impl Fixture {
    fn hears(&mut self, thread: &mut Thread, request: StreamsGroupHeartbeatRequest) {
        let answer = self.heartbeat(request);
        thread.hear(&answer.response);
    }
}

#[test]
fn tasks_warm_up_before_they_move() {
    let (mut fixture, mut one) = available(4);
    let mut two = Thread::new("two", "p2");
    fixture.joins(&mut two, counting("lines"));
    assert_eq!(two.roles(), ["", "", "0:2,3"]);
    let request = one.report();
    fixture.hears(&mut one, request);
    assert_eq!((one.active().as_str(), one.epoch, fixture.state_name()), ("0:0,1,2,3", 3, "Stable"));
    let described = fixture.describe();
    assert_eq!(described.assignor_name.as_deref(), Some("highly_available"));
    let member = &described.members[1];
    assert_eq!(member.assignment.warmup_tasks[0].partitions, [2, 3]);
    assert_eq!(member.target_assignment.active_tasks[0].partitions, [2, 3]);
    assert!(member.target_assignment.warmup_tasks.is_empty(), "the target is as Kafka has it");
    // As long as two is far behind nothing changes, and nothing is written.
    fixture.records();
    let request = two.tell("0", &[(2, 50_000), (3, 10_000)]);
    fixture.hears(&mut two, request);
    let request = one.report();
    fixture.hears(&mut one, request);
    assert!(fixture.records().is_empty() && fixture.state_name() == "Stable");
    // It has caught up with one of them: a new epoch, in which one gives that up and two is given it.
    let request = two.tell("0", &[(2, 95_000), (3, 60_000)]);
    fixture.hears(&mut two, request);
    assert_eq!((two.roles(), two.epoch), (["", "", "0:2,3"].map(String::from), 4));
    let request = one.report();
    fixture.hears(&mut one, request);
    assert_eq!((one.active().as_str(), one.epoch), ("0:0,1,3", 3));
    let request = one.report();
    fixture.hears(&mut one, request);
    let request = two.report();
    fixture.hears(&mut two, request);
    assert_eq!((two.roles(), two.epoch, one.epoch), (["0:2", "", "0:3"].map(String::from), 4, 4));
    assert_eq!(fixture.state_name(), "Stable");
    // The last one. Then everybody has what is the target, and nothing is warm any more.
    let request = two.tell("0", &[(3, 100_000)]);
    fixture.hears(&mut two, request);
    fixture.settles(&mut [&mut one, &mut two]);
    assert_eq!([one.roles(), two.roles()].map(|it| it.join("|")), ["0:0,1||", "0:2,3||"]);
    let Reply::Explain(told) = fixture.ask(Request::Explain(GROUP.into())) else { panic!("another answer") };
    let told: Vec<(&str, i32)> =
        told.iter().map(|it| (it.trigger.name(), it.end.map_or(0, |end| end.generation))).collect();
    let expected = [("member-joined", 2), ("member-joined", 3), ("task-warmed-up", 4), ("task-warmed-up", 5)];
    assert_eq!(told, expected);
}

#[test]
fn a_new_coordinator_moves_nothing_that_was_held_back() {
    let (mut fixture, mut one) = available(4);
    let mut two = Thread::new("two", "p2");
    fixture.joins(&mut two, counting("lines"));
    fixture.settles(&mut [&mut one, &mut two]);
    fixture.lose_seat();
    fixture.records();
    fixture.settles(&mut [&mut one, &mut two]);
    assert!(fixture.records().is_empty());
    assert_eq!([one.roles(), two.roles()].map(|it| it.join("|")), ["0:0,1,2,3||", "||0:2,3"]);
    // Nor does it take back what its predecessor had begun to move.
    let request = two.tell("0", &[(2, 95_000), (3, 60_000)]);
    fixture.hears(&mut two, request);
    let request = one.report();
    fixture.hears(&mut one, request);
    assert_eq!(one.active(), "0:0,1,3");
    fixture.lose_seat();
    fixture.settles(&mut [&mut one, &mut two]);
    assert_eq!([one.roles(), two.roles()].map(|it| it.join("|")), ["0:0,1,3||", "0:2||0:3"]);
}

#[test]
fn a_group_whose_assignor_changes_moves_at_once_or_waits_from_then_on() {
    let (mut fixture, mut one) = available(4);
    let mut two = Thread::new("two", "p2");
    fixture.joins(&mut two, counting("lines"));
    fixture.settles(&mut [&mut one, &mut two]);
    // Whoever takes over and has no such assignor, as Apache Kafka, goes straight to the target.
    fixture.configure(GROUP, "streams.assignor.name", "sticky");
    fixture.settles(&mut [&mut one, &mut two]);
    assert_eq!([one.roles(), two.roles()].map(|it| it.join("|")), ["0:0,1||", "0:2,3||"]);
    assert_eq!(fixture.describe().assignor_name.as_deref(), Some("sticky"));
    fixture.configure(GROUP, "streams.assignor.name", "highly_available");
    let mut three = Thread::new("three", "p3");
    fixture.joins(&mut three, counting("lines"));
    fixture.settles(&mut [&mut one, &mut two, &mut three]);
    let told = [one.roles(), two.roles(), three.roles()].map(|it| it.join("|"));
    assert_eq!(told, ["0:0,1||", "0:2,3||", "||0:3"]);
    // So does a group that may not warm anything up any more.
    fixture.configure(GROUP, "streams.num.warmup.replicas", "0");
    fixture.settles(&mut [&mut one, &mut two, &mut three]);
    assert_eq!([&one, &two, &three].map(Thread::active), ["0:0,1", "0:2", "0:3"]);
}

#[test]
fn a_name_that_the_server_does_not_serve_is_that_of_its_first_assignor() {
    let mut fixture = Fixture::with_settings(&AT_ONCE);
    fixture.topic("lines", 2);
    fixture.topic("wordcount-counts-changelog", 2);
    fixture.configure(GROUP, "streams.assignor.name", "highly_available");
    let (mut one, mut two) = (Thread::new("one", "p1"), Thread::new("two", "p2"));
    fixture.joins(&mut one, counting("lines"));
    fixture.joins(&mut two, counting("lines"));
    fixture.settles(&mut [&mut one, &mut two]);
    assert_eq!((one.active().as_str(), two.active().as_str()), ("0:0", "0:1"));
    assert_eq!(fixture.describe().assignor_name.as_deref(), Some("sticky"));
}

#[test]
fn members_that_cannot_tell_keep_nobody_waiting() {
    let (mut fixture, mut one) = available(2);
    let mut two = Thread::new("two", "p2");
    let answer = fixture.heartbeat_of_version(two.join(counting("lines")), 0);
    two.hear(&answer.response);
    for _ in 0..3 {
        let request = one.report();
        fixture.hears(&mut one, request);
        let answer = fixture.heartbeat_of_version(two.report(), 0);
        two.hear(&answer.response);
    }
    assert_eq!([one.roles(), two.roles()].map(|it| it.join("|")), ["0:0||", "0:1||"]);
}

#[test]
fn a_static_member_comes_back_to_what_it_warms_up() {
    let (mut fixture, mut one) = available(4);
    let mut two = Thread::fixed("two", "p2", "i2");
    fixture.joins(&mut two, counting("lines"));
    fixture.settles(&mut [&mut one, &mut two]);
    let epoch = fixture.group().epoch;
    fixture.heartbeat(two.leave(-2));
    let request = one.report();
    fixture.hears(&mut one, request);
    let mut again = Thread::fixed("again", "p2", "i2");
    fixture.joins(&mut again, counting("lines"));
    fixture.settles(&mut [&mut one, &mut again]);
    assert_eq!([one.roles(), again.roles()].map(|it| it.join("|")), ["0:0,1,2,3||", "||0:2,3"]);
    assert_eq!(fixture.group().epoch, epoch);
}

#[test]
fn the_owner_goes_while_its_tasks_warm_up() {
    let (mut fixture, mut one) = available(4);
    let mut two = Thread::new("two", "p2");
    fixture.joins(&mut two, counting("lines"));
    fixture.settles(&mut [&mut one, &mut two]);
    let request = two.tell("0", &[(2, 50_000), (3, 10_000)]);
    fixture.hears(&mut two, request);
    fixture.heartbeat(one.leave(-1));
    fixture.settles(&mut [&mut two]);
    assert_eq!(two.roles(), ["0:0,1,2,3", "", ""]);
}
