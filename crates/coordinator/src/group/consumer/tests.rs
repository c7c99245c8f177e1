//! Consumer groups by script: what members are told, and what is written.

mod migration;
mod random;

use std::collections::BTreeMap;

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_wire::messages::consumer_group_describe_response::DescribedGroup;
use ottla_wire::messages::consumer_group_heartbeat_request::{
    ConsumerGroupHeartbeatRequest, TopicPartitions,
};
use ottla_wire::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;
use ottla_wire::records::group::{
    ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue, GroupKey, GroupValue,
};

use super::ConsumerGroupHeartbeat;
use super::group::ConsumerGroup;
use super::regex::TopicRegex;
use crate::group::fixture::{Fixture, client};
use crate::group::kind::{AnyGroup, Checked, Committer, PartOf};
use crate::group::state::Group;
use crate::group::{GroupRecord, Reply, Request};

/// A heartbeat that is put together piece by piece.
#[derive(Clone)]
struct Beat {
    version: i16,
    message: ConsumerGroupHeartbeatRequest,
}

/// A report of a member that says nothing new.
fn beat(member: &'static str, epoch: i32) -> Beat {
    let message = ConsumerGroupHeartbeatRequest {
        group_id: Str::from_static("g"),
        member_id: Str::from_static(member),
        member_epoch: epoch,
        rebalance_timeout_ms: -1,
        topic_partitions: None,
        ..ConsumerGroupHeartbeatRequest::default()
    };
    Beat { version: 1, message }
}

/// A member joins and names topics.
fn join(member: &'static str, topics: &[&'static str]) -> Beat {
    let mut it = beat(member, 0).topics(topics).owns(&[]);
    it.message.rebalance_timeout_ms = 30_000;
    it
}

impl Beat {
    fn topics(mut self, topics: &[&'static str]) -> Beat {
        self.message.subscribed_topic_names = Some(topics.iter().map(|it| Str::from_static(it)).collect());
        self
    }

    fn regex(mut self, regex: &'static str) -> Beat {
        self.message.subscribed_topic_regex = Some(Str::from_static(regex));
        self
    }

    fn instance(mut self, instance: &'static str) -> Beat {
        self.message.instance_id = Some(Str::from_static(instance));
        self
    }

    fn assignor(mut self, assignor: &'static str) -> Beat {
        self.message.server_assignor = Some(Str::from_static(assignor));
        self
    }

    fn owns(mut self, owned: &[(Uuid, &[i32])]) -> Beat {
        let topic = |(topic_id, partitions): &(Uuid, &[i32])| TopicPartitions {
            topic_id: *topic_id,
            partitions: partitions.to_vec(),
            ..TopicPartitions::default()
        };
        self.message.topic_partitions = Some(owned.iter().map(topic).collect());
        self
    }

    fn ask(self, fixture: &mut Fixture) -> ConsumerGroupHeartbeatResponse {
        let request = ConsumerGroupHeartbeat { client: client("c", self.version), message: self.message };
        match fixture.ask(Request::ConsumerGroupHeartbeat(request)) {
            Reply::ConsumerGroupHeartbeat(response) => response,
            other => panic!("not the answer to a heartbeat: {other:?}"),
        }
    }

    /// Asks, and expects to be refused.
    fn refused(self, fixture: &mut Fixture, code: ErrorCode, words: &str) {
        let response = self.ask(fixture);
        let said = response.error_message.as_deref().unwrap_or_default();
        assert_eq!((response.error_code, said), (code as i16, words));
        assert!(response.member_id.is_none() && fixture.records().is_empty());
    }

    /// Asks, and gives the epoch and, if it is told, the assignment.
    fn told(self, fixture: &mut Fixture) -> (i32, Option<BTreeMap<Uuid, Vec<i32>>>) {
        let response = self.ask(fixture);
        assert_eq!((response.error_code, response.error_message), (0, None));
        let topics = response.assignment.map(|assignment| {
            assignment.topic_partitions.into_iter().map(|it| (it.topic_id, it.partitions)).collect()
        });
        (response.member_epoch, topics)
    }
}

fn some(topics: &[(Uuid, &[i32])]) -> Option<BTreeMap<Uuid, Vec<i32>>> {
    Some(topics.iter().map(|(topic, partitions)| (*topic, partitions.to_vec())).collect())
}

fn group(fixture: &Fixture) -> &ConsumerGroup {
    match fixture.state().groups.get("g") {
        Some(Group::Consumer(group)) => group,
        other => panic!("not a consumer group: {other:?}"),
    }
}

fn describe(fixture: &mut Fixture, id: &'static str) -> DescribedGroup {
    match fixture.ask(Request::ConsumerGroupDescribe(Str::from_static(id))) {
        Reply::ConsumerGroupDescribe(described) => described,
        other => panic!("not a described group: {other:?}"),
    }
}

/// What was written, by the kinds of keys; a tombstone with a minus.
fn kinds(fixture: &mut Fixture) -> Vec<String> {
    let kind = |record: &GroupRecord| {
        let name = match &record.key {
            GroupKey::ConsumerGroupMetadataKey(_) => "epoch".to_owned(),
            GroupKey::ConsumerGroupPartitionMetadataKey(_) => "topics".to_owned(),
            GroupKey::ConsumerGroupMemberMetadataKey(key) => format!("member {}", key.member_id),
            GroupKey::ConsumerGroupTargetAssignmentMetadataKey(_) => "target".to_owned(),
            GroupKey::ConsumerGroupTargetAssignmentMemberKey(key) => format!("target {}", key.member_id),
            GroupKey::ConsumerGroupCurrentMemberAssignmentKey(key) => format!("current {}", key.member_id),
            GroupKey::ConsumerGroupRegularExpressionKey(key) => format!("regex {}", key.regular_expression),
            GroupKey::GroupMetadataKey(_) => "classic".to_owned(),
            other => panic!("not of a consumer group: {other:?}"),
        };
        let number = match &record.value {
            Some(GroupValue::ConsumerGroupMetadataValue(value)) => format!(" {}", value.epoch),
            Some(GroupValue::ConsumerGroupTargetAssignmentMetadataValue(value)) => {
                format!(" {}", value.assignment_epoch)
            }
            Some(_) => String::new(),
            None => return format!("-{name}"),
        };
        name + &number
    };
    fixture.records().iter().map(kind).collect()
}

/// A group in which `a` and `b` share the four partitions of a topic, stable in epoch 3.
fn two_members() -> (Fixture, Uuid) {
    let mut fixture = Fixture::new();
    let topic = fixture.topic("t", 4);
    assert_eq!(join("a", &["t"]).told(&mut fixture), (2, some(&[(topic, &[0, 1, 2, 3])])));
    fixture.seconds(1);
    assert_eq!(join("b", &["t"]).told(&mut fixture), (3, some(&[])));
    assert_eq!(beat("a", 2).told(&mut fixture), (2, some(&[(topic, &[0, 1])])));
    assert_eq!(beat("a", 2).owns(&[(topic, &[0, 1])]).told(&mut fixture), (3, None));
    assert_eq!(beat("b", 3).told(&mut fixture), (3, some(&[(topic, &[2, 3])])));
    assert_eq!(group(&fixture).state_name(), "Stable");
    kinds(&mut fixture);
    (fixture, topic)
}

#[test]
fn the_first_member_gets_everything() {
    let mut fixture = Fixture::new();
    let (one, two) = (fixture.topic("one", 3), fixture.topic("two", 1));
    let response = join("a", &["two", "one", "one", "none"]).ask(&mut fixture);
    assert_eq!(response.member_id.as_deref(), Some("a"));
    assert_eq!((response.member_epoch, response.heartbeat_interval_ms), (2, 5000));
    assert_eq!(kinds(&mut fixture), ["member a", "epoch 2", "target a", "target 2", "current a"]);
    let member = group(&fixture).member("a").expect("a member");
    assert_eq!(
        member.assigned.iter().map(|(topic, it)| (*topic, it.len())).collect::<Vec<_>>(),
        [(one, 3), (two, 1)]
    );
    assert_eq!((member.epoch, member.previous_epoch, member.topics.len()), (2, 0, 3));
    // A report that says nothing is answered with nothing, one that says all with all.
    assert_eq!(beat("a", 2).told(&mut fixture), (2, None));
    let mut full = beat("a", 2).topics(&["one", "two", "none"]).owns(&[(one, &[0, 1, 2]), (two, &[0])]);
    full.message.rebalance_timeout_ms = 30_000;
    assert_eq!(full.told(&mut fixture), (2, some(&[(one, &[0, 1, 2]), (two, &[0])])));
    assert_eq!(kinds(&mut fixture), [""; 0]);
}

#[test]
fn the_coordinator_names_members_of_version_0_that_have_no_id() {
    let mut fixture = Fixture::new();
    fixture.topic("t", 1);
    let mut first = join("", &["t"]);
    first.clone().refused(&mut fixture, ErrorCode::InvalidRequest, "MemberId can't be empty.");
    first.version = 0;
    let response = first.ask(&mut fixture);
    assert_eq!(response.member_id.map(|id| id.len()), Some(22));
    assert_eq!(group(&fixture).members().len(), 1);
}

#[test]
fn what_no_group_could_accept_is_refused() {
    let mut fixture = Fixture::new();
    let mut check = |change: fn(&mut ConsumerGroupHeartbeatRequest), code: ErrorCode, words: &str| {
        let mut it = join("a", &["t"]);
        change(&mut it.message);
        it.refused(&mut fixture, code, words);
    };
    let invalid = ErrorCode::InvalidRequest;
    check(|it| it.group_id = " ".into(), invalid, "GroupId can't be empty.");
    check(|it| it.instance_id = Some("".into()), invalid, "InstanceId can't be empty.");
    check(|it| it.rack_id = Some("".into()), invalid, "RackId can't be empty.");
    let words = "RebalanceTimeoutMs must be provided in first request.";
    check(|it| it.rebalance_timeout_ms = -1, invalid, words);
    check(|it| it.topic_partitions = None, invalid, "TopicPartitions must be empty when (re-)joining.");
    let words = "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.";
    check(|it| it.subscribed_topic_names = None, invalid, words);
    check(|it| it.member_epoch = -3, invalid, "MemberEpoch is invalid.");
    check(|it| it.member_epoch = -2, invalid, "InstanceId can't be null.");
    let words = "ServerAssignor best is not supported. Supported assignors: uniform, range.";
    check(|it| it.server_assignor = Some("best".into()), ErrorCode::UnsupportedAssignor, words);
    let unknown = ErrorCode::GroupIdNotFound;
    check(|it| it.member_epoch = 1, unknown, "Consumer group g not found.");
    check(|it| it.member_epoch = -1, unknown, "Group g not found.");
}

#[test]
fn partitions_are_given_up_before_others_get_them() {
    let mut fixture = Fixture::new();
    let topic = fixture.topic("t", 4);
    join("a", &["t"]).ask(&mut fixture);
    fixture.seconds(1);
    kinds(&mut fixture);
    assert_eq!(join("b", &["t"]).told(&mut fixture), (3, some(&[])));
    assert_eq!(kinds(&mut fixture), ["member b", "epoch 3", "target a", "target b", "target 3", "current b"]);
    assert_eq!(group(&fixture).state_name(), "Reconciling");
    // It has told that it knows its epoch.
    assert_eq!(beat("b", 3).told(&mut fixture), (3, None));
    assert_eq!(kinds(&mut fixture), ["current b"]);
    assert_eq!(beat("b", 3).told(&mut fixture), (3, None));
    assert_eq!(kinds(&mut fixture), [""; 0]);
    assert_eq!(beat("a", 2).told(&mut fixture), (2, some(&[(topic, &[0, 1])])));
    assert_eq!(kinds(&mut fixture), ["current a"]);
    // As long as it owns what it is to give up, or does not say, it stays where it is.
    assert_eq!(beat("a", 2).told(&mut fixture), (2, None));
    assert_eq!(beat("a", 2).owns(&[(topic, &[0, 1, 2])]).told(&mut fixture), (2, None));
    assert_eq!(beat("b", 3).told(&mut fixture), (3, None));
    assert_eq!(kinds(&mut fixture), [""; 0]);
    assert_eq!(beat("a", 2).owns(&[(topic, &[0, 1])]).told(&mut fixture), (3, None));
    assert_eq!(beat("b", 3).told(&mut fixture), (3, some(&[(topic, &[2, 3])])));
    assert_eq!(kinds(&mut fixture), ["current a", "current b"]);
    assert_eq!(group(&fixture).state_name(), "Stable");
}

#[test]
fn assignments_are_a_second_apart() {
    let mut fixture = Fixture::new();
    let topic = fixture.topic("t", 2);
    join("a", &["t"]).ask(&mut fixture);
    kinds(&mut fixture);
    // Too early: the group's epoch moves on, the assignment does not.
    assert_eq!(join("b", &["t"]).told(&mut fixture), (2, some(&[])));
    assert_eq!(join("c", &["t"]).told(&mut fixture), (2, some(&[])));
    assert_eq!(kinds(&mut fixture), ["member b", "epoch 3", "current b", "member c", "epoch 4", "current c"]);
    assert_eq!(group(&fixture).state_name(), "Assigning");
    fixture.seconds(1);
    assert_eq!(beat("a", 2).told(&mut fixture), (2, some(&[(topic, &[0])])));
    assert_eq!(kinds(&mut fixture), ["target a", "target b", "target c", "target 4", "current a"]);
    fixture.configure("g", "consumer.assignment.interval.ms", "0");
    assert_eq!(join("d", &["t"]).told(&mut fixture), (5, some(&[])));
}

#[test]
fn members_are_where_they_think_they_are_or_start_again() {
    let (mut fixture, topic) = two_members();
    let fenced = ErrorCode::FencedMemberEpoch;
    let words = |than, epoch| {
        format!(
            "The consumer group member has a {than} member epoch ({epoch}) than the one known by the group \
             coordinator (3). The member must abandon all its partitions and rejoin."
        )
    };
    beat("a", 4).refused(&mut fixture, fenced, &words("greater", 4));
    beat("a", 2).refused(&mut fixture, fenced, &words("smaller", 2));
    beat("a", 2).owns(&[(topic, &[0, 1, 2])]).refused(&mut fixture, fenced, &words("smaller", 2));
    beat("a", 1).owns(&[]).refused(&mut fixture, fenced, &words("smaller", 1));
    // The answer that told of epoch 3 was lost.
    assert_eq!(beat("a", 2).owns(&[(topic, &[1])]).told(&mut fixture), (3, None));
    let unknown = ErrorCode::UnknownMemberId;
    beat("x", 3).refused(&mut fixture, unknown, "Member x is not a member of group g.");
    beat("x", -1).refused(&mut fixture, unknown, "Member x is not a member of group g.");
    beat("x", 3).instance("i").refused(&mut fixture, unknown, "Instance id i is unknown.");
    // A member that joins again gets what it had.
    assert_eq!(join("a", &["t"]).told(&mut fixture), (3, some(&[(topic, &[0, 1])])));
    assert_eq!(kinds(&mut fixture), [""; 0]);
}

#[test]
fn a_static_member_is_away_for_a_while_and_comes_back_as_another() {
    let mut fixture = Fixture::new();
    let topic = fixture.topic("t", 2);
    join("a", &["t"]).instance("i").ask(&mut fixture);
    join("b", &["t"]).ask(&mut fixture);
    kinds(&mut fixture);
    let words = "Static member a2 with instance id i cannot join the group because the instance id is owned by a member.";
    join("a2", &["t"]).instance("i").refused(&mut fixture, ErrorCode::UnreleasedInstanceId, words);
    let words = "Static member a2 with instance id i was fenced by member a.";
    beat("a2", 2).instance("i").refused(&mut fixture, ErrorCode::FencedInstanceId, words);
    beat("a2", -2).instance("i").refused(&mut fixture, ErrorCode::FencedInstanceId, words);

    let response = beat("a", -2).instance("i").ask(&mut fixture);
    assert_eq!((response.member_id.as_deref(), response.member_epoch), (Some("a"), -2));
    assert_eq!(kinds(&mut fixture), ["current a"]);
    let away = group(&fixture).member("a").expect("a member");
    assert_eq!((away.epoch, &away.assigned[&topic]), (-2, &BTreeMap::from([(0, 0), (1, 0)])));
    fixture.lose_seat();

    assert_eq!(join("a2", &["t"]).instance("i").told(&mut fixture), (2, some(&[(topic, &[0, 1])])));
    assert_eq!(
        kinds(&mut fixture),
        ["-current a", "-target a", "-member a", "member a2", "target a2", "current a2", "current a2"]
    );
    let members = group(&fixture).members();
    assert_eq!(members.keys().collect::<Vec<_>>(), ["a2", "b"]);
    // It leaves for good.
    assert_eq!(beat("a2", -1).instance("i").told(&mut fixture), (-1, None));
    assert!(group(&fixture).static_member("i").is_none());
}

#[test]
fn a_static_member_that_stays_away_is_given_up() {
    let mut fixture = Fixture::new();
    fixture.topic("t", 2);
    join("a", &["t"]).instance("i").ask(&mut fixture);
    beat("a", -2).instance("i").ask(&mut fixture);
    kinds(&mut fixture);
    fixture.seconds(46);
    assert_eq!(kinds(&mut fixture), ["-current a", "-target a", "-member a", "epoch 3", "target 3"]);
    assert_eq!(describe(&mut fixture, "g").group_state, "Empty");
}

#[test]
fn silent_members_are_given_up_by_every_seat() {
    let (mut fixture, topic) = two_members();
    fixture.seconds(40);
    assert_eq!(beat("a", 3).told(&mut fixture), (3, None));
    fixture.seconds(5);
    assert_eq!(kinds(&mut fixture), ["-current b", "-target b", "-member b", "epoch 4"]);
    assert_eq!(beat("a", 3).told(&mut fixture), (4, some(&[(topic, &[0, 1, 2, 3])])));
    fixture.lose_seat();
    fixture.seconds(44);
    kinds(&mut fixture);
    fixture.seconds(1);
    assert_eq!(kinds(&mut fixture), ["-current a", "-target a", "-member a", "epoch 5", "target 5"]);
    // The group's own time-out counts, once it is heard of.
    fixture.configure("g", "consumer.session.timeout.ms", "50000");
    join("a", &["t"]).ask(&mut fixture);
    fixture.seconds(49);
    kinds(&mut fixture);
    fixture.seconds(1);
    assert_eq!(kinds(&mut fixture).len(), 5);
}

#[test]
fn a_report_from_elsewhere_is_more_than_a_sign_of_life() {
    let (mut fixture, _) = two_members();
    assert_eq!(beat("a", 3).told(&mut fixture), (3, None));
    assert_eq!(kinds(&mut fixture), [""; 0]);
    let request = ConsumerGroupHeartbeat { client: client("moved", 1), message: beat("a", 3).message };
    fixture.ask(Request::ConsumerGroupHeartbeat(request));
    assert_eq!(kinds(&mut fixture), ["member a"]);
}

#[test]
fn members_that_do_not_give_up_in_time_are_given_up() {
    let mut fixture = Fixture::new();
    let topic = fixture.topic("t", 2);
    join("a", &["t"]).ask(&mut fixture);
    fixture.seconds(1);
    join("b", &["t"]).ask(&mut fixture);
    assert_eq!(beat("a", 2).told(&mut fixture), (2, some(&[(topic, &[0])])));
    fixture.lose_seat();
    for _ in 0..5 {
        fixture.seconds(5);
        beat("a", 2).ask(&mut fixture);
        beat("b", 3).ask(&mut fixture);
    }
    kinds(&mut fixture);
    fixture.seconds(5);
    assert_eq!(kinds(&mut fixture), ["-current a", "-target a", "-member a", "epoch 4"]);
    assert_eq!(beat("b", 3).told(&mut fixture), (4, some(&[(topic, &[0, 1])])));
}

#[test]
fn a_group_has_no_more_members_than_allowed() {
    let mut fixture = Fixture::with_settings(&[("group.consumer.max.size", "1")]);
    fixture.topic("t", 2);
    join("a", &["t"]).instance("i").ask(&mut fixture);
    kinds(&mut fixture);
    let words = "The consumer group has reached its maximum capacity of 1 members.";
    join("b", &["t"]).refused(&mut fixture, ErrorCode::GroupMaxSizeReached, words);
    assert_eq!(join("a", &["t"]).instance("i").ask(&mut fixture).error_code, 111);
    beat("a", -2).instance("i").ask(&mut fixture);
    assert_eq!(join("b", &["t"]).instance("i").ask(&mut fixture).error_code, 0);
}

#[test]
fn topics_that_change_are_assigned_anew() {
    let mut fixture = Fixture::new();
    let topic = fixture.topic("t", 1);
    join("a", &["t", "later"]).ask(&mut fixture);
    kinds(&mut fixture);
    fixture.seconds(1);
    fixture.topic("other", 1);
    assert_eq!(beat("a", 2).told(&mut fixture), (2, None));
    assert_eq!(kinds(&mut fixture), [""; 0]);
    fixture.partitions(topic, 1..3);
    assert_eq!(beat("a", 2).told(&mut fixture), (3, some(&[(topic, &[0, 1, 2])])));
    assert_eq!(kinds(&mut fixture), ["epoch 3", "target a", "target 3", "current a"]);
    fixture.seconds(1);
    let later = fixture.topic("later", 1);
    assert_eq!(beat("a", 3).told(&mut fixture), (4, some(&[(topic, &[0, 1, 2]), (later, &[0])])));
    fixture.seconds(1);
    fixture.delete_topic(topic);
    assert_eq!(beat("a", 4).told(&mut fixture), (4, some(&[(later, &[0])])));
    assert_eq!(beat("a", 4).owns(&[(later, &[0])]).told(&mut fixture), (5, None));
    // A new seat looks once, and finds nothing new.
    fixture.lose_seat();
    kinds(&mut fixture);
    assert_eq!(beat("a", 5).told(&mut fixture), (5, None));
    assert_eq!(kinds(&mut fixture), [""; 0]);
}

#[test]
fn the_topics_that_older_releases_wrote_are_removed() {
    let mut fixture = Fixture::new();
    fixture.topic("t", 1);
    let key = ConsumerGroupPartitionMetadataKey { group_id: "g".into() };
    let key = GroupKey::ConsumerGroupPartitionMetadataKey(key);
    let value =
        GroupValue::ConsumerGroupPartitionMetadataValue(ConsumerGroupPartitionMetadataValue::default());
    fixture.load([GroupRecord::set(key, value)]);
    join("a", &["t"]).ask(&mut fixture);
    assert_eq!(kinds(&mut fixture), ["member a", "epoch 2", "-topics", "target a", "target 2", "current a"]);
    assert!(!group(&fixture).has_topics_of_old());
}

#[test]
fn a_member_may_want_other_topics() {
    let (mut fixture, topic) = two_members();
    let other = fixture.topic("other", 2);
    fixture.seconds(1);
    let told = beat("a", 3).topics(&["other"]).told(&mut fixture);
    assert_eq!(told, (3, some(&[])));
    assert_eq!(kinds(&mut fixture), ["member a", "epoch 4", "target a", "target b", "target 4", "current a"]);
    assert_eq!(beat("b", 3).told(&mut fixture), (4, None));
    assert_eq!(beat("a", 3).owns(&[]).told(&mut fixture), (4, some(&[(other, &[0, 1])])));
    assert_eq!(beat("b", 4).told(&mut fixture), (4, some(&[(topic, &[0, 1, 2, 3])])));
    // Before the next assignment, a member at once gives up what it does not want.
    assert_eq!(beat("b", 4).topics(&["other"]).told(&mut fixture), (4, some(&[])));
    assert_eq!(kinds(&mut fixture).pop().as_deref(), Some("current b"));
}

#[test]
fn the_assignor_that_most_prefer_assigns() {
    let mut fixture = Fixture::new();
    let (one, two) = (fixture.topic("one", 3), fixture.topic("two", 3));
    fixture.configure("g", "consumer.assignment.interval.ms", "0");
    join("a", &["one", "two"]).assignor("range").ask(&mut fixture);
    join("b", &["one", "two"]).assignor("range").ask(&mut fixture);
    assert_eq!(beat("a", 2).told(&mut fixture).1, some(&[(one, &[0, 1]), (two, &[0, 1])]));
    assert_eq!(describe(&mut fixture, "g").assignor_name, "range");
    kinds(&mut fixture);
    beat("a", 2).assignor("uniform").ask(&mut fixture);
    assert_eq!(kinds(&mut fixture)[..2], ["member a", "epoch 4"]);
    assert_eq!(describe(&mut fixture, "g").assignor_name, "uniform");
}

#[test]
fn regular_expressions_follow_the_topics() {
    let mut fixture = Fixture::new();
    let (one, two) = (fixture.topic("foo-1", 1), fixture.topic("bar", 1));
    let mut first = join("a", &[]).regex("foo.*");
    first.message.subscribed_topic_names = None;
    assert_eq!(first.told(&mut fixture), (1, some(&[])));
    fixture.pass(std::time::Duration::from_millis(1));
    assert_eq!(kinds(&mut fixture), ["member a", "current a", "regex foo.*", "epoch 2"]);
    assert_eq!(beat("a", 1).told(&mut fixture), (2, some(&[(one, &[0])])));
    kinds(&mut fixture);
    // Another member has the same one: it need not be looked up.
    fixture.seconds(1);
    join("b", &[]).regex("foo.*").ask(&mut fixture);
    fixture.seconds(1);
    assert!(kinds(&mut fixture).iter().all(|kind| !kind.starts_with("regex")));
    // A new topic is seen after ten seconds.
    let three = fixture.topic("foo-2", 2);
    beat("a", 2).owns(&[(one, &[0])]).ask(&mut fixture);
    fixture.seconds(11);
    kinds(&mut fixture);
    let epoch = beat("a", 3).told(&mut fixture).0;
    fixture.seconds(1);
    assert_eq!(kinds(&mut fixture), ["regex foo.*", "epoch 4"]);
    assert_eq!(beat("a", epoch).told(&mut fixture), (4, None));
    assert_eq!(beat("b", 3).told(&mut fixture), (4, some(&[(three, &[0, 1])])));
    // Names come on top, and the last one who leaves takes its expression along.
    fixture.seconds(1);
    kinds(&mut fixture);
    beat("b", 4).topics(&["bar"]).regex("").ask(&mut fixture);
    assert!(group(&fixture).wants("bar") && group(&fixture).resolved().len() == 1);
    assert_eq!(beat("b", 4).owns(&[]).told(&mut fixture).1, some(&[(two, &[0])]));
    kinds(&mut fixture);
    beat("a", -1).ask(&mut fixture);
    assert!(kinds(&mut fixture).contains(&"-regex foo.*".to_owned()));
    assert!(!group(&fixture).wants("foo-1"));
}

#[test]
fn regular_expressions_that_are_none_are_refused() {
    let mut fixture = Fixture::new();
    let words = "SubscribedTopicRegex `(` is not a valid regular expression: unclosed group.";
    join("a", &[]).regex("(").refused(&mut fixture, ErrorCode::InvalidRegularExpression, words);
}

/// Expressions as RE2 reads them.
#[test]
fn expressions_match_whole_names() {
    let check = |regex: &str, name: &str| TopicRegex::compile(regex).map(|it| it.matches(name));
    for (regex, name) in [
        ("foo|bar", "bar"),
        ("\\Qa.b\\E+", "a.bb"),
        ("\\Qa.b", "a.b"),
        ("[[:alpha:]]+", "abc"),
        ("[]a]+", "a"),
        ("[^]]+", "a"),
        ("[a&&b]", "b"),
        ("[[a]", "a"),
        ("[a--]", "-"),
        ("(?i)FOO", "foo"),
        ("(?P<n>a)", "a"),
        ("\\x{61}\\141", "aa"),
        ("\\p{Greek}*a", "a"),
        ("", ""),
    ] {
        assert_eq!(check(regex, name), Ok(true), "{regex} and {name}");
    }
    for (regex, name) in [("foo|bar", "foobar"), ("a", "ab"), ("\\Qa.b\\E", "axb"), ("[^a]", "a")] {
        assert_eq!(check(regex, name), Ok(false), "{regex} and {name}");
    }
    for regex in ["a)(b", "(?=a)", "(a)\\1", "[a", "a{1000}{1000}{1000}", "(?x)a", "*", "\\"] {
        assert!(check(regex, "a").is_err(), "{regex}");
    }
}

#[test]
fn groups_are_described() {
    let (mut fixture, topic) = two_members();
    let described = describe(&mut fixture, "g");
    assert_eq!((described.group_epoch, described.assignment_epoch), (3, 3));
    assert_eq!((described.group_state.as_str(), described.assignor_name.as_str()), ("Stable", "uniform"));
    let member = &described.members[1];
    assert_eq!((member.member_id.as_str(), member.member_epoch, member.member_type), ("b", 3, 1));
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("c", "/127.0.0.1"));
    let assigned = &member.assignment.topic_partitions[0];
    assert_eq!((assigned.topic_id, assigned.topic_name.as_str()), (topic, "t"));
    assert_eq!(member.target_assignment, member.assignment);
    assert_eq!(assigned.partitions, [2, 3]);
    let missing = describe(&mut fixture, "none");
    assert_eq!(missing.error_code, ErrorCode::GroupIdNotFound as i16);
    assert_eq!(missing.error_message.as_deref(), Some("Group none not found."));
}

#[test]
fn offsets_are_committed_by_who_has_the_partition() {
    let (mut fixture, topic) = two_members();
    let by = |member: &'static str, epoch| Committer {
        member,
        instance: None,
        epoch,
        part_of: PartOf::Nothing,
        version: 9,
    };
    let check = |fixture: &Fixture, by: &Committer<'_>| group(fixture).check_commit(by);
    assert_eq!(check(&fixture, &by("b", 3)), Ok(Checked::Wholly));
    assert_eq!(check(&fixture, &by("b", 4)), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(check(&fixture, &by("x", 3)), Err(ErrorCode::UnknownMemberId));
    assert_eq!(check(&fixture, &by("", -1)), Err(ErrorCode::UnknownMemberId));
    assert_eq!(check(&fixture, &Committer { version: 8, ..by("b", 3) }), Err(ErrorCode::UnsupportedVersion));
    let transaction = Committer { part_of: PartOf::Transaction, version: 3, ..by("", -1) };
    assert_eq!(check(&fixture, &transaction), Ok(Checked::Wholly));
    // `a` has had its partitions since epoch 2, `b` since epoch 3.
    let partition = |fixture: &Fixture, by: &Committer<'_>, partition| {
        assert_eq!(check(fixture, by), Ok(Checked::EachPartition));
        group(fixture).check_partition(by, "t", topic, partition)
    };
    assert_eq!(partition(&fixture, &by("a", 2), 1), Ok(()));
    assert_eq!(partition(&fixture, &by("a", 1), 1), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(partition(&fixture, &by("a", 2), 2), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(partition(&fixture, &by("b", 2), 2), Err(ErrorCode::StaleMemberEpoch));
    let fetch = |member, epoch| group(&fixture).check_fetch(member, epoch);
    assert_eq!(fetch(None, -1), Ok(()));
    assert_eq!(fetch(Some("a"), 3), Ok(()));
    assert_eq!(fetch(Some("a"), 2), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(fetch(Some("x"), 2), Err(ErrorCode::UnknownMemberId));
    assert_eq!(fetch(None, 2), Err(ErrorCode::UnknownMemberId));
    assert_eq!(group(&fixture).check_delete(), Err(ErrorCode::NonEmptyGroup));
    for member in ["a", "b"] {
        beat(member, -1).ask(&mut fixture);
    }
    assert_eq!(group(&fixture).check_delete(), Ok(()));
    assert_eq!(check(&fixture, &by("", -1)), Ok(Checked::Wholly));
    let mut tombstones = Vec::new();
    AnyGroup::tombstones(group(&fixture), &"g".into(), &mut tombstones);
    fixture.load(tombstones);
    assert!(fixture.state().groups.is_empty());
}

#[test]
fn answers_wait_for_what_they_saw() {
    let mut fixture = Fixture::new();
    fixture.topic("t", 1);
    fixture.stop_commits();
    let request = ConsumerGroupHeartbeat { client: client("c", 1), message: join("a", &["t"]).message };
    let caller = fixture.send(Request::ConsumerGroupHeartbeat(request));
    let reader = fixture.send(Request::ConsumerGroupDescribe("g".into()));
    assert_eq!((fixture.reply(caller), fixture.reply(reader)), (None, None));
    assert_eq!(fixture.lose_seat(), [caller, reader]);
    assert!(fixture.state().groups.is_empty());
}
