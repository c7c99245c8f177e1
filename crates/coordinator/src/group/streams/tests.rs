//! Streams groups by script and by seed.

mod against_kafka;
mod refine;
mod scripts;
mod seeds;
mod warmups;

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Str;
use ottla_wire::messages::streams_group_describe_response::DescribedGroup;
use ottla_wire::messages::streams_group_heartbeat_request::{
    CopartitionGroup, KeyValue, StreamsGroupHeartbeatRequest, Subtopology, TaskIds, TaskOffset, TopicInfo,
    Topology,
};
use ottla_wire::messages::streams_group_heartbeat_response::StreamsGroupHeartbeatResponse;

use super::state::StreamsGroup;
use super::{StreamsDescribe, StreamsHeartbeat, StreamsHeartbeatAnswer, TopologyDescription};
use crate::group::fixture::{Caller, Fixture, client};
use crate::group::state::Group;
use crate::group::{Reply, Request};

const GROUP: &str = "wordcount";

/// Settings with which nothing waits.
const AT_ONCE: [(&str, &str); 2] =
    [("group.streams.initial.rebalance.delay.ms", "0"), ("group.streams.assignment.interval.ms", "0")];

/// Settings with which groups may choose the assignor `highly_available`, and nothing waits.
const AVAILABLE: [(&str, &str); 3] =
    [AT_ONCE[0], AT_ONCE[1], ("group.streams.assignors", "sticky,highly_available")];

/// Tasks of one role, written `0:0,1 1:2`.
type Roles = [String; 3];

/// A member as a client would keep it: what it was told to have, and in which epoch.
#[derive(Debug, Clone, Default)]
struct Thread {
    id: String,
    process: String,
    instance: Option<String>,
    epoch: i32,
    endpoint_epoch: i32,
    tasks: [BTreeMap<String, BTreeSet<i32>>; 3],
}

impl Thread {
    fn new(id: &str, process: &str) -> Thread {
        Thread { id: id.into(), process: process.into(), ..Thread::default() }
    }

    fn fixed(id: &str, process: &str, instance: &str) -> Thread {
        Thread { instance: Some(instance.into()), ..Thread::new(id, process) }
    }

    fn join(&self, topology: Topology) -> StreamsGroupHeartbeatRequest {
        StreamsGroupHeartbeatRequest {
            member_epoch: 0,
            rebalance_timeout_ms: 60_000,
            topology: Some(topology),
            active_tasks: Some(Vec::new()),
            standby_tasks: Some(Vec::new()),
            warmup_tasks: Some(Vec::new()),
            process_id: Some(self.process.as_str().into()),
            client_tags: Some(Vec::new()),
            ..self.beat()
        }
    }

    /// A heartbeat that says nothing new.
    fn beat(&self) -> StreamsGroupHeartbeatRequest {
        StreamsGroupHeartbeatRequest {
            group_id: GROUP.into(),
            member_id: self.id.as_str().into(),
            instance_id: self.instance.as_deref().map(Into::into),
            member_epoch: self.epoch,
            endpoint_information_epoch: self.endpoint_epoch,
            ..Default::default()
        }
    }

    /// A heartbeat that tells what the member has.
    fn report(&self) -> StreamsGroupHeartbeatRequest {
        let [active, standby, warmup] = self.tasks.each_ref().map(|tasks| Some(ids(tasks)));
        StreamsGroupHeartbeatRequest {
            active_tasks: active,
            standby_tasks: standby,
            warmup_tasks: warmup,
            ..self.beat()
        }
    }

    /// The same, and how far the member is with tasks of a subtopology, of which each changelog ends at 100,000.
    fn tell(&self, subtopology: &str, positions: &[(i32, i64)]) -> StreamsGroupHeartbeatRequest {
        let offset = |partition: &i32, offset: i64| TaskOffset {
            subtopology_id: subtopology.into(),
            partition: *partition,
            offset,
            ..Default::default()
        };
        StreamsGroupHeartbeatRequest {
            task_offsets: Some(positions.iter().map(|(task, position)| offset(task, *position)).collect()),
            task_end_offsets: Some(positions.iter().map(|(task, _)| offset(task, 100_000)).collect()),
            ..self.report()
        }
    }

    fn leave(&self, epoch: i32) -> StreamsGroupHeartbeatRequest {
        StreamsGroupHeartbeatRequest { member_epoch: epoch, ..self.beat() }
    }

    /// Takes an answer.
    fn hear(&mut self, response: &StreamsGroupHeartbeatResponse) {
        assert_eq!(response.error_code, 0, "{}: {:?}", self.id, response.error_message);
        self.epoch = response.member_epoch;
        self.endpoint_epoch = response.endpoint_information_epoch;
        let told = [&response.active_tasks, &response.standby_tasks, &response.warmup_tasks];
        for (mine, told) in self.tasks.iter_mut().zip(told) {
            if let Some(told) = told {
                let sets = told
                    .iter()
                    .map(|ids| (ids.subtopology_id.to_string(), ids.partitions.iter().copied().collect()));
                *mine = sets.collect();
            }
        }
    }

    fn roles(&self) -> Roles {
        self.tasks.each_ref().map(|tasks| {
            let parts = tasks.iter().map(|(id, partitions)| {
                let partitions: Vec<String> = partitions.iter().map(i32::to_string).collect();
                format!("{id}:{}", partitions.join(","))
            });
            parts.collect::<Vec<String>>().join(" ")
        })
    }

    fn active(&self) -> String {
        let [active, ..] = self.roles();
        active
    }
}

impl Fixture {
    fn heartbeat(&mut self, request: StreamsGroupHeartbeatRequest) -> StreamsHeartbeatAnswer {
        self.heartbeat_of_version(request, 1)
    }

    fn heartbeat_of_version(
        &mut self,
        request: StreamsGroupHeartbeatRequest,
        version: i16,
    ) -> StreamsHeartbeatAnswer {
        let asked = StreamsHeartbeat { client: client("app", version), request };
        match self.ask(Request::StreamsGroupHeartbeat(Box::new(asked))) {
            Reply::StreamsGroupHeartbeat(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn joins(&mut self, thread: &mut Thread, topology: Topology) -> StreamsHeartbeatAnswer {
        let answer = self.heartbeat(thread.join(topology));
        thread.hear(&answer.response);
        answer
    }

    /// The member reports until nothing changes any more.
    fn settles(&mut self, threads: &mut [&mut Thread]) {
        for _ in 0..20 {
            let before: Vec<Roles> = threads.iter().map(|it| it.roles()).collect();
            for thread in threads.iter_mut() {
                let answer = self.heartbeat(thread.report());
                thread.hear(&answer.response);
            }
            let after: Vec<Roles> = threads.iter().map(|it| it.roles()).collect();
            if before == after && self.state_name() == "Stable" {
                return;
            }
        }
        panic!("{} does not settle: {threads:?}", self.state_name());
    }

    fn describe(&mut self) -> DescribedGroup {
        let description = TopologyDescription::NotWanted;
        let asked = StreamsDescribe { group_id: GROUP.into(), description };
        match self.ask(Request::StreamsGroupDescribe(asked)) {
            Reply::StreamsGroupDescribe(group) => group,
            other => panic!("{other:?}"),
        }
    }

    fn group(&self) -> &StreamsGroup {
        match self.state().groups.get(GROUP) {
            Some(Group::Streams(group)) => group,
            other => panic!("{other:?}"),
        }
    }

    fn state_name(&self) -> &'static str {
        self.group().how().name()
    }
}

/// What went wrong, as code and words.
fn refusal(answer: &StreamsHeartbeatAnswer) -> (i16, &str) {
    (answer.response.error_code, answer.response.error_message.as_deref().unwrap_or_default())
}

/// What an answer says beside tasks.
fn statuses(answer: &StreamsHeartbeatAnswer) -> Vec<(i8, &str)> {
    let all = answer.response.status.iter().flatten();
    all.map(|status| (status.status_code, status.status_detail.as_str())).collect()
}

/// One subtopology `0` that reads `source` and keeps a state whose changelog is `<GROUP>-counts-changelog`.
fn counting(source: &str) -> Topology {
    let part = Subtopology {
        subtopology_id: "0".into(),
        source_topics: vec![source.into()],
        state_changelog_topics: vec![changelog("wordcount-counts-changelog")],
        ..Default::default()
    };
    Topology { epoch: 0, subtopologies: vec![part], ..Default::default() }
}

/// Subtopology `0` reads `source` and writes a repartition topic that subtopology `1` reads, which counts.
fn word_count(source: &str) -> Topology {
    let repartition: Str = "wordcount-words-repartition".into();
    let split = Subtopology {
        subtopology_id: "0".into(),
        source_topics: vec![source.into()],
        repartition_sink_topics: vec![repartition.clone()],
        ..Default::default()
    };
    let count = Subtopology {
        subtopology_id: "1".into(),
        repartition_source_topics: vec![TopicInfo { name: repartition, ..Default::default() }],
        state_changelog_topics: vec![changelog("wordcount-counts-changelog")],
        copartition_groups: vec![CopartitionGroup {
            repartition_source_topics: vec![0],
            ..Default::default()
        }],
        ..Default::default()
    };
    Topology { epoch: 0, subtopologies: vec![split, count], ..Default::default() }
}

fn changelog(name: &'static str) -> TopicInfo {
    let compact = KeyValue { key: "cleanup.policy".into(), value: "compact".into(), ..Default::default() };
    TopicInfo { name: name.into(), topic_configs: vec![compact], ..Default::default() }
}

fn ids(tasks: &BTreeMap<String, BTreeSet<i32>>) -> Vec<TaskIds> {
    let ids = tasks.iter().map(|(id, partitions)| TaskIds {
        subtopology_id: id.as_str().into(),
        partitions: partitions.iter().copied().collect(),
        ..Default::default()
    });
    ids.collect()
}
