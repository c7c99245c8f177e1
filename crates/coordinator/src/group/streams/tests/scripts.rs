//! What members hear and what is written, step by step.

use ottla_base::{ErrorCode, Uuid};
use ottla_wire::messages::streams_group_heartbeat_request::Endpoint;
use ottla_wire::records::group::GroupKey;

use super::*;
use crate::group::kind::{AnyGroup, Checked, Committer, PartOf};

const COUNTS: &str = "wordcount-counts-changelog";
const WORDS: &str = "wordcount-words-repartition";

/// A coordinator where nothing waits, with a topic `lines` and the changelog of [`counting`].
fn ready(partitions: i32) -> Fixture {
    let mut fixture = Fixture::with_settings(&AT_ONCE);
    fixture.topic("lines", partitions);
    fixture.topic(COUNTS, partitions);
    fixture
}

fn kinds(fixture: &mut Fixture) -> Vec<String> {
    let records = fixture.records().into_iter().map(|record| {
        let kind = match record.key {
            GroupKey::StreamsGroupMetadataKey(_) => "group",
            GroupKey::StreamsGroupMemberMetadataKey(_) => "member",
            GroupKey::StreamsGroupTopologyKey(_) => "topology",
            GroupKey::StreamsGroupTargetAssignmentMemberKey(_) => "target",
            GroupKey::StreamsGroupTargetAssignmentMetadataKey(_) => "assignment",
            GroupKey::StreamsGroupCurrentMemberAssignmentKey(_) => "current",
            other => panic!("{other:?}"),
        };
        format!("{}{kind}", if record.value.is_some() { "" } else { "-" })
    });
    records.collect()
}

#[test]
fn the_first_member_brings_the_topology_and_gets_every_task() {
    let mut fixture = ready(3);
    let mut one = Thread::new("one", "p1");
    let answer = fixture.joins(&mut one, counting("lines"));
    assert_eq!(one.roles(), ["0:0,1,2", "", ""]);
    assert_eq!((one.epoch, fixture.state_name()), (2, "Stable"));
    assert!(statuses(&answer).is_empty() && answer.missing_topics.is_empty());
    let response = &answer.response;
    assert_eq!((response.heartbeat_interval_ms, response.task_offset_interval_ms), (5_000, 60_000));
    assert_eq!(response.acceptable_recovery_lag, 10_000);
    let written = ["member", "topology", "group", "target", "assignment", "current"];
    assert_eq!(kinds(&mut fixture), written);
    // A second heartbeat changes nothing and writes nothing.
    let answer = fixture.heartbeat(one.report());
    assert_eq!(answer.response.active_tasks, None);
    assert!(kinds(&mut fixture).is_empty());
}

#[test]
fn tasks_move_only_after_they_were_given_up() {
    let mut fixture = ready(4);
    let (mut one, mut two) = (Thread::new("one", "p1"), Thread::new("two", "p2"));
    fixture.joins(&mut one, counting("lines"));
    fixture.joins(&mut two, counting("lines"));
    assert_eq!((two.active().as_str(), fixture.state_name()), ("", "Reconciling"));
    let answer = fixture.heartbeat(one.report());
    one.hear(&answer.response);
    assert_eq!((one.active().as_str(), one.epoch), ("0:0,1", 2));
    // Two cannot have them before one has said that it gave them up.
    two.hear(&fixture.heartbeat(two.report()).response);
    assert_eq!(two.active(), "");
    one.hear(&fixture.heartbeat(one.report()).response);
    assert_eq!(one.epoch, 3);
    two.hear(&fixture.heartbeat(two.report()).response);
    assert_eq!((two.active().as_str(), two.epoch, fixture.state_name()), ("0:2,3", 3, "Stable"));
}

#[test]
fn internal_topics_are_asked_for_until_they_are_there() {
    let mut fixture = Fixture::with_settings(&AT_ONCE);
    let mut one = Thread::new("one", "p1");
    let answer = fixture.joins(&mut one, word_count("lines"));
    assert_eq!(statuses(&answer), [(1, "Source topics lines are missing.")]);
    assert_eq!((one.active().as_str(), fixture.state_name()), ("", "NotReady"));
    fixture.topic("lines", 5);
    let answer = fixture.heartbeat(one.report());
    one.hear(&answer.response);
    let missing = format!("Internal topics are missing: {COUNTS}, {WORDS}");
    assert_eq!(statuses(&answer), [(3, missing.as_str())]);
    let wanted: Vec<(&str, i32, i16)> = answer
        .missing_topics
        .iter()
        .map(|it| (it.name.as_str(), it.num_partitions, it.replication_factor))
        .collect();
    assert_eq!(wanted, [(COUNTS, 5, -1), (WORDS, 5, -1)]);
    let configs = &answer.missing_topics[0].configs;
    assert_eq!((configs[0].name.as_str(), configs[0].value.as_deref()), ("cleanup.policy", Some("compact")));
    fixture.topic(COUNTS, 5);
    fixture.topic(WORDS, 5);
    let answer = fixture.heartbeat(one.report());
    one.hear(&answer.response);
    assert!(statuses(&answer).is_empty());
    assert_eq!((one.active().as_str(), fixture.state_name()), ("0:0,1,2,3,4 1:0,1,2,3,4", "Stable"));
    let topology = fixture.describe().topology.expect("a topology");
    let parts = topology.subtopologies.expect("parts");
    assert_eq!(parts[1].state_changelog_topics[0].partitions, 5);
}

#[test]
fn partitions_that_do_not_fit_are_told() {
    let mut fixture = Fixture::with_settings(&AT_ONCE);
    fixture.topic("lines", 5);
    let counts = fixture.topic(COUNTS, 3);
    let mut one = Thread::new("one", "p1");
    let answer = fixture.joins(&mut one, counting("lines"));
    let detail = format!("Existing topic {COUNTS} has different number of partitions: expected 5, found 3");
    assert_eq!(statuses(&answer), [(2, detail.as_str())]);
    fixture.partitions(counts, 3..5);
    one.hear(&fixture.heartbeat(one.report()).response);
    assert_eq!(one.active(), "0:0,1,2,3,4");
    // More partitions of the source need more of the changelog, which the coordinator cannot give.
    let id = fixture.topic("other", 1);
    fixture.delete_topic(id);
    let answer = fixture.heartbeat(one.report());
    assert!(statuses(&answer).is_empty());
}

#[test]
fn topologies_that_cannot_work_are_refused() {
    let mut fixture = ready(1);
    let one = Thread::new("one", "p1");
    let mut check = |topology: Topology, code: ErrorCode, words: &str| {
        let answer = fixture.heartbeat(one.join(topology));
        assert_eq!(refusal(&answer), (code as i16, words));
    };
    let invalid = ErrorCode::StreamsInvalidTopology;
    let mut fixed = counting("lines");
    fixed.subtopologies[0].state_changelog_topics[0].partitions = 2;
    let words =
        format!("Changelog topic {COUNTS} must have an undefined partition count, but it is set to 2.");
    check(fixed, invalid, &words);
    let words = "Use of Kafka internal topics __consumer_offsets in a Kafka Streams topology is prohibited.";
    check(counting("__consumer_offsets"), invalid, words);
    check(counting("a b"), invalid, "Topic names a b are not valid topic names.");
    let mut looping = word_count("lines");
    looping.subtopologies[0].source_topics.clear();
    looping.subtopologies[0].repartition_source_topics =
        vec![TopicInfo { name: WORDS.into(), ..Default::default() }];
    let words = "Failed to compute number of partitions for all repartition topics. There may be loops in the \
                 topology that cannot be resolved.";
    check(looping, invalid, words);
    let mut unfed = word_count("lines");
    unfed.subtopologies[0].repartition_sink_topics.clear();
    let words = "Failed to compute number of partitions for all repartition topics, because a repartition source \
                 topic is never used as a sink topic.";
    check(unfed, invalid, words);
    let mut pattern = counting("lines");
    pattern.subtopologies[0].source_topic_regex = vec!["l.*".into()];
    let words = "Regular expressions for source topics are not supported yet.";
    check(pattern, ErrorCode::InvalidRequest, words);
    let mut lost = counting("lines");
    lost.subtopologies[0].copartition_groups =
        vec![CopartitionGroup { source_topics: vec![7], ..Default::default() }];
    check(lost, invalid, "A copartition group refers to a topic that is not there.");
    let mut twice = counting("lines");
    twice.subtopologies.push(twice.subtopologies[0].clone());
    check(twice, ErrorCode::InvalidRequest, "Subtopology 0 is there twice.");
    assert!(fixture.state().groups.is_empty() && fixture.records().is_empty());
}

#[test]
fn copartitioned_topics_have_equally_many_partitions() {
    let mut fixture = Fixture::with_settings(&AT_ONCE);
    fixture.topic("left", 2);
    let right = fixture.topic("right", 3);
    let join = || {
        let part = Subtopology {
            subtopology_id: "0".into(),
            source_topics: vec!["left".into(), "right".into()],
            copartition_groups: vec![CopartitionGroup { source_topics: vec![0, 1], ..Default::default() }],
            ..Default::default()
        };
        Topology { subtopologies: vec![part], ..Default::default() }
    };
    let mut one = Thread::new("one", "p1");
    let answer = fixture.joins(&mut one, join());
    let detail = "Following topics do not have the same number of partitions: [{left=2, right=3}]";
    assert_eq!(statuses(&answer), [(2, detail)]);
    fixture.delete_topic(right);
    fixture.topic("right", 2);
    one.hear(&fixture.heartbeat(one.report()).response);
    assert_eq!(one.active(), "0:0,1");
}

#[test]
fn heartbeats_that_make_no_sense_are_refused() {
    let mut fixture = ready(2);
    let mut one = Thread::new("one", "p1");
    fixture.joins(&mut one, counting("lines"));
    let mut check = |change: &dyn Fn(&mut StreamsGroupHeartbeatRequest), code: ErrorCode, words: &str| {
        let mut request = one.report();
        change(&mut request);
        let answer = fixture.heartbeat(request);
        assert_eq!(refusal(&answer), (code as i16, words));
    };
    let invalid = ErrorCode::InvalidRequest;
    check(&|it| it.member_id = " ".into(), invalid, "MemberId can't be empty.");
    check(&|it| it.group_id = "".into(), invalid, "GroupId can't be empty.");
    check(&|it| it.instance_id = Some("".into()), invalid, "InstanceId can't be empty.");
    check(&|it| it.member_epoch = -2, invalid, "InstanceId can't be null.");
    let words = "MemberEpoch is -3, but must be greater than or equal to -2.";
    check(&|it| it.member_epoch = -3, invalid, words);
    check(&|it| it.warmup_tasks = None, invalid, "If one task-type is non-null, all must be non-null.");
    let words = "Topology can only be provided when (re-)joining.";
    check(&|it| it.topology = Some(counting("lines")), invalid, words);
    let words = "RebalanceTimeoutMs must be provided in first request.";
    check(&|it| it.member_epoch = 0, invalid, words);
    let task = |id: &str, partition: i32| TaskIds {
        subtopology_id: id.into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let words = "Subtopology 9 does not exist in the topology.";
    check(&|it| it.active_tasks = Some(vec![task("9", 0)]), invalid, words);
    let words = "Task 2 for subtopology 0 is invalid. Number of tasks for this subtopology: 2";
    check(&|it| it.standby_tasks = Some(vec![task("0", 2)]), invalid, words);
    let offset = || TaskOffset { subtopology_id: "0".into(), partition: 1, ..Default::default() };
    let words = "Task offsets contain a duplicate entry for subtopology 0 and partition 1.";
    check(&|it| it.task_offsets = Some(vec![offset(), offset()]), invalid, words);
    let words = "Member two is not a member of group wordcount.";
    check(&|it| it.member_id = "two".into(), ErrorCode::UnknownMemberId, words);
    let words = "Streams group none not found.";
    check(&|it| it.group_id = "none".into(), ErrorCode::GroupIdNotFound, words);
    let words = "The streams group member has a greater member epoch (9) than the one known by the group \
                 coordinator (2). The member must abandon all its tasks and rejoin.";
    check(&|it| it.member_epoch = 9, ErrorCode::FencedMemberEpoch, words);
    let words = "The streams group member has a smaller member epoch (1) than the one known by the group \
                 coordinator (2). The member must abandon all its tasks and rejoin.";
    let unknown = |it: &mut StreamsGroupHeartbeatRequest| {
        it.member_epoch = 1;
        it.active_tasks = None;
        it.standby_tasks = None;
        it.warmup_tasks = None;
    };
    check(&unknown, ErrorCode::FencedMemberEpoch, words);
    // Who missed an answer goes on from the epoch before.
    let mut two = Thread::new("two", "p2");
    fixture.joins(&mut two, counting("lines"));
    fixture.settles(&mut [&mut one, &mut two]);
    assert_eq!(one.epoch, 3);
    one.epoch = 2;
    one.hear(&fixture.heartbeat(one.report()).response);
    assert_eq!(one.epoch, 3);
}

#[test]
fn a_member_with_another_topology_is_stale_or_refused() {
    let mut fixture = ready(2);
    fixture.topic("other", 2);
    let newer = Topology { epoch: 3, ..counting("lines") };
    let mut one = Thread::new("one", "p1");
    fixture.joins(&mut one, newer);
    let mut two = Thread::new("two", "p2");
    let answer = fixture.joins(&mut two, counting("lines"));
    let detail = "The member's topology epoch 0 is behind the group's topology epoch 3.";
    assert_eq!(statuses(&answer), [(0, detail)]);
    let answer =
        fixture.heartbeat(Thread::new("three", "p3").join(Topology { epoch: 3, ..counting("other") }));
    let words = "Topology updates are not supported yet.";
    assert_eq!(refusal(&answer), (ErrorCode::InvalidRequest as i16, words));
}

#[test]
fn who_is_silent_or_slow_is_removed() {
    let mut fixture = ready(2);
    let (mut one, mut two) = (Thread::new("one", "p1"), Thread::new("two", "p2"));
    fixture.joins(&mut one, counting("lines"));
    fixture.seconds(30);
    fixture.joins(&mut two, counting("lines"));
    fixture.seconds(16);
    assert_eq!(fixture.group().members.keys().map(|id| id.as_str()).collect::<Vec<&str>>(), ["two"]);
    two.hear(&fixture.heartbeat(two.report()).response);
    assert_eq!(two.active(), "0:0,1");
    // Two must give up a task for one, and does not within its rebalance timeout of a minute.
    fixture.joins(&mut one, counting("lines"));
    two.hear(&fixture.heartbeat(two.report()).response);
    assert_eq!(two.active().len(), "0:0".len());
    for _ in 0..3 {
        fixture.seconds(20);
        fixture.heartbeat(two.beat());
        one.hear(&fixture.heartbeat(one.beat()).response);
    }
    assert_eq!(fixture.group().members.keys().map(|id| id.as_str()).collect::<Vec<&str>>(), ["one"]);
    fixture.settles(&mut [&mut one]);
    assert_eq!(one.active(), "0:0,1");
}

#[test]
fn the_last_member_leaves_an_empty_group() {
    let mut fixture = ready(2);
    let mut one = Thread::new("one", "p1");
    fixture.joins(&mut one, counting("lines"));
    fixture.records();
    let answer = fixture.heartbeat(one.leave(-1));
    assert_eq!((refusal(&answer), answer.response.member_epoch), ((0, ""), -1));
    assert_eq!(kinds(&mut fixture), ["-current", "-target", "-member", "group", "assignment"]);
    assert_eq!(
        (fixture.state_name(), fixture.group().epoch, fixture.group().assignment_epoch),
        ("Empty", 3, 3)
    );
    assert_eq!(fixture.group().assignment_timestamp, 0);
    let answer = fixture.heartbeat(one.leave(-1));
    assert_eq!(answer.response.error_code, ErrorCode::UnknownMemberId as i16);
}

#[test]
fn a_static_member_comes_back_to_its_tasks() {
    let mut fixture = ready(4);
    let mut one = Thread::fixed("one", "p1", "i1");
    let mut two = Thread::fixed("two", "p2", "i2");
    fixture.joins(&mut one, counting("lines"));
    fixture.joins(&mut two, counting("lines"));
    fixture.settles(&mut [&mut one, &mut two]);
    let (had, epoch) = (two.active(), fixture.group().epoch);
    let taken = fixture.heartbeat(Thread::fixed("again", "p2", "i2").join(counting("lines")));
    assert_eq!(taken.response.error_code, ErrorCode::UnreleasedInstanceId as i16);
    let fenced = fixture.heartbeat(Thread { epoch: two.epoch, ..Thread::fixed("again", "p2", "i2") }.beat());
    assert_eq!(fenced.response.error_code, ErrorCode::FencedInstanceId as i16);
    let answer = fixture.heartbeat(two.leave(-2));
    assert_eq!((refusal(&answer), answer.response.member_epoch), ((0, ""), -2));
    one.hear(&fixture.heartbeat(one.report()).response);
    assert_eq!((one.active().as_str(), fixture.group().epoch), ("0:0,1", epoch));
    let mut again = Thread::fixed("again", "p2", "i2");
    fixture.joins(&mut again, counting("lines"));
    assert_eq!((again.active(), fixture.group().epoch), (had, epoch));
    assert_eq!((again.epoch, fixture.state_name()), (epoch, "Stable"));
    assert!(!fixture.group().members.contains_key("two"));
    // Nobody waits for the old member id any more; the new one is watched.
    fixture.seconds(44);
    fixture.heartbeat(one.beat());
    fixture.seconds(2);
    assert_eq!(fixture.group().members.len(), 1);
}

#[test]
fn a_new_group_waits_for_more_members() {
    let mut fixture = Fixture::new();
    fixture.topic("lines", 4);
    fixture.topic(COUNTS, 4);
    let (mut one, mut two) = (Thread::new("one", "p1"), Thread::new("two", "p2"));
    let answer = fixture.joins(&mut one, counting("lines"));
    let detail = "Assignment delayed due to the configured initial rebalance delay.";
    assert_eq!(statuses(&answer), [(5, detail)]);
    assert_eq!((one.active().as_str(), one.epoch, fixture.state_name()), ("", 1, "Assigning"));
    fixture.seconds(2);
    let answer = fixture.joins(&mut two, counting("lines"));
    assert_eq!(statuses(&answer), [(5, detail)]);
    fixture.seconds(1);
    assert_eq!(fixture.group().assignment_epoch, 3);
    fixture.settles(&mut [&mut one, &mut two]);
    assert_eq!((one.active().as_str(), two.active().as_str()), ("0:0,2", "0:1,3"));
    // An assignment each second at most (KIP-1263).
    let mut three = Thread::new("three", "p3");
    fixture.pass(std::time::Duration::from_millis(500));
    let answer = fixture.joins(&mut three, counting("lines"));
    let detail = "Assignment delayed due to the configured assignment interval.";
    assert_eq!(statuses(&answer), [(5, detail)]);
    fixture.seconds(1);
    fixture.settles(&mut [&mut one, &mut two, &mut three]);
    assert_eq!(three.active().len(), "0:0".len());
}

#[test]
fn standbys_are_in_other_processes() {
    let mut fixture = ready(2);
    fixture.configure(GROUP, "streams.num.standby.replicas", "1");
    let (mut one, mut two) = (Thread::new("one", "p1"), Thread::new("two", "p2"));
    fixture.joins(&mut one, counting("lines"));
    fixture.joins(&mut two, counting("lines"));
    fixture.settles(&mut [&mut one, &mut two]);
    assert_eq!(
        (one.roles(), two.roles()),
        (["0:0".into(), "0:1".into(), String::new()], ["0:1".into(), "0:0".into(), String::new()])
    );
    // The settings changed: a new assignment.
    fixture.configure(GROUP, "streams.num.standby.replicas", "0");
    fixture.settles(&mut [&mut one, &mut two]);
    assert_eq!([&one, &two].map(|it| it.roles()[1].clone()), ["", ""]);
    // With standbys again, the survivor becomes active where it had a copy.
    fixture.configure(GROUP, "streams.num.standby.replicas", "1");
    fixture.settles(&mut [&mut one, &mut two]);
    fixture.heartbeat(one.leave(-1));
    fixture.settles(&mut [&mut two]);
    assert_eq!(two.roles(), ["0:0,1", "", ""]);
}

#[test]
fn one_process_has_a_task_once() {
    let mut fixture = ready(3);
    fixture.configure(GROUP, "streams.num.standby.replicas", "1");
    let (mut one, mut two) = (Thread::new("one", "p1"), Thread::new("two", "p1"));
    fixture.joins(&mut one, counting("lines"));
    fixture.joins(&mut two, counting("lines"));
    fixture.settles(&mut [&mut one, &mut two]);
    assert_eq!([&one, &two].map(|it| it.roles()[1].clone()), ["", ""]);
}

#[test]
fn topics_that_change_bring_a_new_epoch() {
    let mut fixture = Fixture::with_settings(&AT_ONCE);
    let lines = fixture.topic("lines", 2);
    let counts = fixture.topic(COUNTS, 2);
    let mut one = Thread::new("one", "p1");
    fixture.joins(&mut one, counting("lines"));
    let epoch = fixture.group().epoch;
    fixture.topic("unrelated", 1);
    one.hear(&fixture.heartbeat(one.report()).response);
    assert_eq!(fixture.group().epoch, epoch);
    fixture.partitions(lines, 2..3);
    fixture.partitions(counts, 2..3);
    one.hear(&fixture.heartbeat(one.report()).response);
    assert_eq!((one.active().as_str(), fixture.group().epoch), ("0:0,1,2", epoch + 1));
    fixture.delete_topic(lines);
    let answer = fixture.heartbeat(one.beat());
    one.hear(&answer.response);
    assert_eq!((statuses(&answer)[0].0, fixture.state_name()), (1, "NotReady"));
    assert_eq!(one.active(), "");
}

#[test]
fn a_shutdown_reaches_everybody_until_the_group_is_empty() {
    let mut fixture = ready(2);
    let (mut one, mut two) = (Thread::new("one", "p1"), Thread::new("two", "p2"));
    fixture.joins(&mut one, counting("lines"));
    fixture.joins(&mut two, counting("lines"));
    let mut request = one.leave(-1);
    request.shutdown_application = true;
    fixture.heartbeat(request);
    let answer = fixture.heartbeat(two.report());
    let detail = "Streams group member one encountered a fatal error and requested a shutdown for the entire \
                  application.";
    assert_eq!(statuses(&answer), [(4, detail)]);
    fixture.heartbeat(two.leave(-1));
    let answer = fixture.joins(&mut one, counting("lines"));
    assert!(statuses(&answer).is_empty());
}

#[test]
fn endpoints_tell_where_partitions_can_be_queried() {
    let mut fixture = ready(2);
    let (mut one, mut two) = (Thread::new("one", "p1"), Thread::new("two", "p2"));
    let endpoint = |port| Some(Endpoint { host: "host".into(), port, ..Default::default() });
    let mut request = one.join(counting("lines"));
    request.user_endpoint = endpoint(1);
    let answer = fixture.heartbeat(request);
    one.hear(&answer.response);
    assert_eq!(one.endpoint_epoch, 1);
    let told = answer.response.partitions_by_user_endpoint.expect("endpoints");
    assert_eq!((told.len(), told[0].user_endpoint.port), (1, 1));
    let active = &told[0].active_partitions[0];
    assert_eq!((active.topic.as_str(), active.partitions.as_slice()), ("lines", &[0, 1][..]));
    assert_eq!(fixture.heartbeat(one.report()).response.partitions_by_user_endpoint, None);
    let mut request = two.join(counting("lines"));
    request.user_endpoint = endpoint(2);
    two.hear(&fixture.heartbeat(request).response);
    let answer = fixture.heartbeat(one.beat());
    let told = answer.response.partitions_by_user_endpoint.clone().expect("endpoints");
    assert_eq!(told.iter().map(|it| it.user_endpoint.port).collect::<Vec<u16>>(), [2, 1]);
    one.hear(&answer.response);
    fixture.settles(&mut [&mut one, &mut two]);
    let answer =
        fixture.heartbeat(StreamsGroupHeartbeatRequest { endpoint_information_epoch: -1, ..one.beat() });
    let told = answer.response.partitions_by_user_endpoint.expect("endpoints");
    assert_eq!(told[0].active_partitions[0].partitions, [1]);
}

#[test]
fn tags_that_are_missing_are_told_to_whoever_can_hear_it() {
    let mut fixture = ready(1);
    fixture.configure(GROUP, "streams.rack.aware.assignment.tags", "zone,cluster");
    let mut one = Thread::new("one", "p1");
    let mut request = one.join(counting("lines"));
    let tag = KeyValue { key: "zone".into(), value: "a".into(), ..Default::default() };
    request.client_tags = Some(vec![tag]);
    let answer = fixture.heartbeat(request);
    let detail = "Missing required client tags for rack-aware standby assignment: [cluster]. Configure them via \
                  'client.tag.<tagKey>' in your Streams config.";
    assert_eq!(statuses(&answer), [(6, detail)]);
    one.hear(&answer.response);
    assert!(statuses(&fixture.heartbeat_of_version(one.beat(), 0)).is_empty());
}

#[test]
fn offsets_of_tasks_are_described() {
    let mut fixture = ready(2);
    let mut one = Thread::new("one", "p1");
    fixture.joins(&mut one, counting("lines"));
    let offset = |partition, offset| TaskOffset {
        subtopology_id: "0".into(),
        partition,
        offset,
        ..Default::default()
    };
    let mut request = one.beat();
    request.task_offsets = Some(vec![offset(1, 7), offset(0, 3)]);
    fixture.heartbeat(request);
    let mut request = one.beat();
    request.task_end_offsets = Some(vec![offset(1, 9)]);
    fixture.heartbeat(request);
    let described = fixture.describe();
    assert_eq!(
        (described.group_state.as_str(), described.assignor_name.as_deref()),
        ("Stable", Some("sticky"))
    );
    let member = &described.members[0];
    let told: Vec<(i32, i64)> = member.task_offsets.iter().map(|it| (it.partition, it.offset)).collect();
    assert_eq!((told, member.task_end_offsets.len()), (vec![(0, 3), (1, 7)], 1));
    assert_eq!(
        (member.assignment.active_tasks.clone(), member.is_classic),
        (member.target_assignment.active_tasks.clone(), false)
    );
    // They are soft: a new seat hears them again.
    fixture.lose_seat();
    assert!(fixture.describe().members[0].task_offsets.is_empty());
}

#[test]
fn a_full_group_takes_nobody_but_whom_it_knows() {
    let mut fixture = Fixture::with_settings(&[AT_ONCE[0], AT_ONCE[1], ("group.streams.max.size", "1")]);
    fixture.topic("lines", 1);
    fixture.topic(COUNTS, 1);
    let mut one = Thread::new("one", "p1");
    fixture.joins(&mut one, counting("lines"));
    let answer = fixture.heartbeat(Thread::new("two", "p2").join(counting("lines")));
    let words = "The streams group has reached its maximum capacity of 1 members.";
    assert_eq!(refusal(&answer), (ErrorCode::GroupMaxSizeReached as i16, words));
    fixture.joins(&mut one, counting("lines"));
}

#[test]
fn a_lost_seat_loses_no_member() {
    let mut fixture = ready(4);
    let (mut one, mut two) = (Thread::new("one", "p1"), Thread::new("two", "p2"));
    fixture.joins(&mut one, counting("lines"));
    fixture.joins(&mut two, counting("lines"));
    one.hear(&fixture.heartbeat(one.report()).response);
    fixture.lose_seat();
    // One was giving up tasks: the new seat waits for it as long as the old one did.
    fixture.settles(&mut [&mut one, &mut two]);
    assert_eq!((one.active().as_str(), two.active().as_str()), ("0:0,1", "0:2,3"));
    let epoch = fixture.group().epoch;
    fixture.lose_seat();
    fixture.settles(&mut [&mut one, &mut two]);
    assert_eq!(fixture.group().epoch, epoch);
    fixture.lose_seat();
    fixture.seconds(46);
    assert_eq!(fixture.state_name(), "Empty");
}

#[test]
fn members_commit_what_they_have() {
    let mut fixture = ready(4);
    let (mut one, mut two) = (Thread::new("one", "p1"), Thread::new("two", "p2"));
    fixture.joins(&mut one, counting("lines"));
    fixture.joins(&mut two, counting("lines"));
    fixture.settles(&mut [&mut one, &mut two]);
    let group = fixture.group();
    let commit = |member: &str, epoch: i32, part_of: PartOf, version: i16, topic: &str, partition: i32| {
        let by = Committer { member, instance: None, epoch, part_of, version };
        match group.check_commit(&by)? {
            Checked::Wholly => Ok(()),
            Checked::EachPartition => group.check_partition(&by, topic, Uuid::default(), partition),
        }
    };
    let plain = PartOf::Nothing;
    assert_eq!(commit("one", 3, plain, 9, "lines", 3), Ok(()));
    assert_eq!(commit("one", 4, plain, 9, "lines", 0), Err(ErrorCode::StaleMemberEpoch));
    // In an epoch that is over: what it had then and still has.
    assert_eq!(commit("one", 2, plain, 9, "lines", 0), Ok(()));
    assert_eq!(commit("one", 2, plain, 9, "lines", 3), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit("one", 2, plain, 9, "other", 0), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit("one", 1, plain, 9, "lines", 0), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit("one", 3, plain, 8, "lines", 0), Err(ErrorCode::UnsupportedVersion));
    assert_eq!(commit("who", 3, plain, 9, "lines", 0), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit("", -1, plain, 9, "lines", 0), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit("", -1, PartOf::Transaction, 3, "lines", 0), Ok(()));
    assert_eq!(group.check_fetch(Some("one"), 3), Ok(()));
    assert_eq!(group.check_fetch(Some("one"), 2), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(group.check_fetch(Some("who"), 2), Err(ErrorCode::UnknownMemberId));
    assert_eq!(group.check_fetch(None, -1), Ok(()));
    assert!(group.is_subscribed_to("lines") && !group.is_subscribed_to(COUNTS) && group.wants(COUNTS));
    assert_eq!(group.check_delete(), Err(ErrorCode::NonEmptyGroup));
}

#[test]
fn a_deleted_group_leaves_nothing() {
    let mut fixture = ready(2);
    let mut one = Thread::new("one", "p1");
    fixture.joins(&mut one, counting("lines"));
    fixture.heartbeat(one.leave(-1));
    let tombstones = fixture.group().tombstone_records(&GROUP.into());
    assert_eq!(tombstones.len(), 3);
    fixture.load(tombstones);
    assert!(fixture.state().groups.is_empty());
    let described = fixture.describe();
    let told = (described.error_code, described.error_message.as_deref());
    assert_eq!(told, (ErrorCode::GroupIdNotFound as i16, Some("Group wordcount not found.")));
}

#[test]
fn a_copy_that_is_further_becomes_the_task() {
    let mut fixture = ready(1);
    let (mut one, mut two) = (Thread::new("one", "p1"), Thread::new("two", "p2"));
    let mut three = Thread::new("three", "p3");
    for thread in [&mut one, &mut two, &mut three] {
        fixture.joins(thread, counting("lines"));
    }
    fixture.settles(&mut [&mut one, &mut two, &mut three]);
    assert_eq!(one.active(), "0:0");
    // Neither has a standby, but both have state of the task on their disks (KIP-1071, 4.4).
    for (thread, offset) in [(&two, 5), (&three, 9)] {
        let mut request = thread.beat();
        let offset = TaskOffset { subtopology_id: "0".into(), partition: 0, offset, ..Default::default() };
        request.task_offsets = Some(vec![offset]);
        fixture.heartbeat(request);
    }
    fixture.heartbeat(one.leave(-1));
    fixture.settles(&mut [&mut two, &mut three]);
    assert_eq!((two.active().as_str(), three.active().as_str()), ("", "0:0"));
}

#[test]
fn a_group_deleted_by_name_is_forgotten() {
    let mut fixture = ready(1);
    let mut one = Thread::new("one", "p1");
    fixture.joins(&mut one, counting("lines"));
    let Reply::DeleteGroup(result) = fixture.ask(Request::DeleteGroup(GROUP.into())) else {
        panic!("another answer")
    };
    assert_eq!(result.error_code, ErrorCode::NonEmptyGroup as i16);
    fixture.heartbeat(one.leave(-1));
    let Reply::DeleteGroup(result) = fixture.ask(Request::DeleteGroup(GROUP.into())) else {
        panic!("another answer")
    };
    assert_eq!((result.error_code, fixture.state().groups.len()), (0, 0));
    // A new group of that name begins anew, with another topology.
    fixture.topic("other", 2);
    let mut two = Thread::new("two", "p2");
    let answer = fixture.joins(&mut two, counting("other"));
    assert_eq!((two.epoch, statuses(&answer)[0].0), (2, 2));
}

#[test]
fn every_rebalance_has_a_cause() {
    let mut fixture = ready(2);
    let (mut one, mut two) = (Thread::new("one", "p1"), Thread::new("two", "p2"));
    fixture.joins(&mut one, counting("lines"));
    fixture.joins(&mut two, counting("lines"));
    fixture.settles(&mut [&mut one, &mut two]);
    fixture.configure(GROUP, "streams.num.standby.replicas", "1");
    fixture.settles(&mut [&mut one, &mut two]);
    fixture.heartbeat(one.leave(-1));
    fixture.settles(&mut [&mut two]);
    fixture.heartbeat(two.leave(-1));
    let Reply::Explain(told) = fixture.ask(Request::Explain(GROUP.into())) else { panic!("another answer") };
    type Told<'a> = (&'a str, &'a str, Option<(i32, usize)>);
    let told: Vec<Told<'_>> = told
        .iter()
        .map(|it| (it.trigger.name(), it.member.as_str(), it.end.map(|end| (end.generation, end.members))))
        .collect();
    let expected = [
        ("member-joined", "one", Some((2, 1))),
        ("member-joined", "two", Some((3, 2))),
        ("assignor-changed", "one", Some((4, 2))),
        ("member-left", "one", Some((5, 1))),
        ("member-left", "two", Some((6, 0))),
    ];
    assert_eq!(told, expected);
}
