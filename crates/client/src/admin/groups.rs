//! Groups of every kind: list, describe, delete, remove members.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{ErrorCode, NodeId, Str};
use ottla_wire::Message;
use ottla_wire::messages::consumer_group_describe_request::ConsumerGroupDescribeRequest;
use ottla_wire::messages::consumer_group_describe_response as consumer;
use ottla_wire::messages::delete_groups_request::DeleteGroupsRequest;
use ottla_wire::messages::describe_groups_request::DescribeGroupsRequest;
use ottla_wire::messages::describe_groups_response as classic;
use ottla_wire::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use ottla_wire::messages::list_groups_request::ListGroupsRequest;
use ottla_wire::messages::share_group_describe_request::ShareGroupDescribeRequest;
use ottla_wire::messages::share_group_describe_response as share;
use ottla_wire::messages::streams_group_describe_request::StreamsGroupDescribeRequest;
use ottla_wire::messages::streams_group_describe_response as streams;

use super::{Admin, Items, every, outcome};
use crate::cluster::{Deadline, Target, TopicPartition};
use crate::consumer::assigned_partitions;
use crate::coordinator::{Coordinator, Keeper, find_until};
use crate::error::{Error, Refusal, refused};

/// What kind of group (`GroupType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupKind {
    /// Members share out among themselves; also groups of other programs than consumers.
    Classic,
    /// The server shares out (KIP-848).
    Consumer,
    /// Members take records rather than partitions (KIP-932).
    Share,
    /// Members are instances of a Streams application (KIP-1071).
    Streams,
}

impl GroupKind {
    /// Every kind.
    pub const ALL: [GroupKind; 4] =
        [GroupKind::Classic, GroupKind::Consumer, GroupKind::Share, GroupKind::Streams];

    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            GroupKind::Classic => "Classic",
            GroupKind::Consumer => "Consumer",
            GroupKind::Share => "Share",
            GroupKind::Streams => "Streams",
        }
    }

    /// The kind of a name, whatever its case.
    pub fn parse(text: &str) -> Option<GroupKind> {
        GroupKind::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(text))
    }
}

/// Which groups are listed.
#[derive(Debug, Clone, Default)]
pub struct GroupFilter {
    /// In these states; none means any.
    pub states: Vec<Str>,
    /// Of these kinds; none means any.
    pub kinds: Vec<GroupKind>,
}

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its name.
    pub id: Str,
    /// What kind it is; a broker that does not tell has classic groups only.
    pub kind: GroupKind,
    /// What its members call what they do: `consumer`, `connect`, `share`; empty if it only keeps offsets.
    pub protocol_type: Str,
    /// What it is doing, in Kafka's words; empty if the broker does not tell.
    pub state: Str,
    /// Who coordinates it.
    pub coordinator: NodeId,
}

/// A group in detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its name.
    pub id: Str,
    /// What kind it is.
    pub kind: GroupKind,
    /// What it is doing, in Kafka's words.
    pub state: Str,
    /// What its members call what they do, if it is a classic group.
    pub protocol_type: Str,
    /// How it shares out.
    pub assignor: Str,
    /// Who coordinates it.
    pub coordinator: NodeId,
    /// Counts changes of the group; a classic group does not tell.
    pub epoch: Option<i32>,
    /// For which epoch was shared out last; a classic group does not tell.
    pub assignment_epoch: Option<i32>,
    /// Its members.
    pub members: Vec<GroupMember>,
    /// What a Streams group computes.
    pub topology: Option<StreamsTopology>,
}

/// A member of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupMember {
    /// The name that the coordinator knows it by.
    pub id: Str,
    /// Its `group.instance.id`.
    pub instance_id: Option<Str>,
    /// Its `client.id`.
    pub client_id: Str,
    /// Where it is.
    pub host: Str,
    /// Its rack.
    pub rack: Option<Str>,
    /// Its epoch; a classic group does not tell.
    pub epoch: Option<i32>,
    /// The topics it wants.
    pub topics: Vec<Str>,
    /// The pattern of the topics it wants.
    pub pattern: Option<Str>,
    /// What it has.
    pub assignment: BTreeSet<TopicPartition>,
    /// What it will have, if that is known.
    pub target: Option<BTreeSet<TopicPartition>>,
    /// Whether it speaks the classic protocol, if that is known.
    pub is_classic: Option<bool>,
    /// What it computes, if it is an instance of a Streams application.
    pub tasks: Option<StreamsMember>,
}

/// Tasks by subtopology: the partitions of each.
pub type Tasks = BTreeMap<Str, Vec<i32>>;

/// What an instance of a Streams application does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamsMember {
    /// The process it is in.
    pub process_id: Str,
    /// The epoch of the topology that it runs.
    pub topology_epoch: i32,
    /// Where its interactive queries are answered.
    pub endpoint: Option<(Str, u16)>,
    /// Its tags.
    pub tags: Vec<(Str, Str)>,
    /// The tasks that it runs, keeps ready, and warms up.
    pub active: Tasks,
    /// See [`StreamsMember::active`].
    pub standby: Tasks,
    /// See [`StreamsMember::active`].
    pub warmup: Tasks,
    /// The tasks that it will run, keep ready, and warm up.
    pub target_active: Tasks,
    /// See [`StreamsMember::target_active`].
    pub target_standby: Tasks,
    /// See [`StreamsMember::target_active`].
    pub target_warmup: Tasks,
}

/// What a Streams application computes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamsTopology {
    /// Counts changes of it.
    pub epoch: i32,
    /// Its parts.
    pub subtopologies: Vec<StreamsSubtopology>,
}

/// A part of a topology that shares no partitions with others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamsSubtopology {
    /// Its name.
    pub id: Str,
    /// The topics that it reads.
    pub sources: Vec<Str>,
    /// The repartition topics that it writes.
    pub repartition_sinks: Vec<Str>,
    /// The repartition topics that it reads.
    pub repartition_sources: Vec<Str>,
    /// The topics that keep its state.
    pub changelogs: Vec<Str>,
}

/// A member to be removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberToRemove {
    /// By the name that the coordinator knows it by.
    Member(Str),
    /// By its `group.instance.id`.
    Instance(Str),
}

impl Admin {
    /// The groups of all coordinators.
    pub async fn list_groups(&self, filter: &GroupFilter) -> Result<Vec<ListedGroup>, Error> {
        let deadline = self.deadline("listing groups");
        let mut groups = BTreeMap::new();
        for broker in self.broker_ids(deadline).await? {
            for group in self.groups_of(broker, filter, deadline).await? {
                groups.insert(group.id.clone(), group);
            }
        }
        Ok(groups.into_values().collect())
    }

    async fn groups_of(
        &self,
        broker: NodeId,
        filter: &GroupFilter,
        deadline: Deadline,
    ) -> Result<Vec<ListedGroup>, Error> {
        let first = match (filter.states.is_empty(), filter.kinds.is_empty()) {
            (_, false) => 5,
            (false, true) => 4,
            (true, true) => ListGroupsRequest::FIRST_VERSION,
        };
        let versions = first..=ListGroupsRequest::LAST_VERSION;
        let request = |_| ListGroupsRequest {
            states_filter: filter.states.clone(),
            types_filter: filter.kinds.iter().map(|it| Str::from_static(it.name())).collect(),
            ..ListGroupsRequest::default()
        };
        let passing = |it: &ottla_wire::messages::list_groups_response::ListGroupsResponse| {
            Some(ErrorCode::from_code(it.error_code)).filter(|it| *it != ErrorCode::None)
        };
        let answer = self.ask(Target::Node(broker), deadline, versions, request, passing).await?;
        refused(answer.error_code, None)?;
        let listed = answer.groups.into_iter().map(|it| ListedGroup {
            id: it.group_id.detached(),
            kind: GroupKind::parse(&it.group_type).unwrap_or(GroupKind::Classic),
            protocol_type: it.protocol_type.detached(),
            state: it.group_state.detached(),
            coordinator: broker,
        });
        Ok(listed.collect())
    }

    /// Groups in detail.
    pub async fn describe_groups(&self, ids: &[Str]) -> Items<Str, GroupDescription> {
        let deadline = self.deadline("describing groups");
        let mut described = Items::new();
        let mut known: BTreeMap<NodeId, Vec<ListedGroup>> = BTreeMap::new();
        for id in ids {
            let one = self.describe_group(id, &mut known, deadline);
            described.push((id.clone(), Box::pin(one).await));
        }
        described
    }

    async fn describe_group(
        &self,
        id: &Str,
        known: &mut BTreeMap<NodeId, Vec<ListedGroup>>,
        deadline: Deadline,
    ) -> Result<GroupDescription, Error> {
        let coordinator = find_until(&self.cluster, Keeper::Group, id, deadline).await?;
        if let std::collections::btree_map::Entry::Vacant(vacant) = known.entry(coordinator) {
            vacant.insert(self.groups_of(coordinator, &GroupFilter::default(), deadline).await?);
        }
        let listed = known.get(&coordinator).and_then(|it| it.iter().find(|it| it.id == *id));
        let Some(listed) = listed else {
            let message = Some(format!("Group {id} not found.").into());
            return Err(Error::Refused(Refusal { code: ErrorCode::GroupIdNotFound, message }));
        };
        let asked = Coordinator::new(&self.cluster, Keeper::Group, id.clone());
        let asked = Asked { coordinator: &asked, node: coordinator, id, deadline };
        match listed.kind {
            GroupKind::Classic => asked.classic().await,
            GroupKind::Consumer => asked.consumer().await,
            GroupKind::Share => asked.share().await,
            GroupKind::Streams => asked.streams().await,
        }
    }

    /// Deletes groups, which must have no members, with all they have committed.
    pub async fn delete_groups(&self, ids: &[Str]) -> Items<Str, ()> {
        let deadline = self.deadline("deleting groups");
        let mut deleted = Items::new();
        for id in ids {
            deleted.push((id.clone(), self.delete_group(id, deadline).await));
        }
        deleted
    }

    async fn delete_group(&self, id: &Str, deadline: Deadline) -> Result<(), Error> {
        let coordinator = Coordinator::new(&self.cluster, Keeper::Group, id.clone());
        let request = |_| DeleteGroupsRequest { groups_names: vec![id.clone()], ..Default::default() };
        let code = |it: &ottla_wire::messages::delete_groups_response::DeleteGroupsResponse| {
            it.results.first().map_or(ErrorCode::UnknownServerError, |it| ErrorCode::from_code(it.error_code))
        };
        let (_, answer) = coordinator.ask(deadline, every::<DeleteGroupsRequest>(), request, code).await?;
        let message = answer.results.first().and_then(|it| it.error_message.clone());
        outcome(code(&answer).code(), message, || ())
    }

    /// Removes members from a classic or consumer group; it shares out anew.
    pub async fn remove_members(
        &self,
        group: &Str,
        members: &[MemberToRemove],
        reason: &str,
    ) -> Result<Items<MemberToRemove, ()>, Error> {
        let deadline = self.deadline("removing members of a group");
        let coordinator = Coordinator::new(&self.cluster, Keeper::Group, group.clone());
        let request = |version: i16| {
            let members = members.iter().map(|member| {
                let (member_id, group_instance_id) = match member {
                    MemberToRemove::Member(id) => (id.clone(), None),
                    MemberToRemove::Instance(id) => (Str::default(), Some(id.clone())),
                };
                let reason = Some(Str::from(reason)).filter(|_| version >= 5);
                MemberIdentity { member_id, group_instance_id, reason, ..MemberIdentity::default() }
            });
            LeaveGroupRequest {
                group_id: group.clone(),
                members: members.collect(),
                ..LeaveGroupRequest::default()
            }
        };
        let code = |it: &ottla_wire::messages::leave_group_response::LeaveGroupResponse| {
            ErrorCode::from_code(it.error_code)
        };
        let versions = 3..=LeaveGroupRequest::LAST_VERSION;
        let (_, answer) = coordinator.ask(deadline, versions, request, code).await?;
        refused(answer.error_code, None)?;
        let removed = members.iter().map(|member| {
            let told = answer.members.iter().find(|it| match member {
                MemberToRemove::Member(id) => it.member_id == *id,
                MemberToRemove::Instance(id) => it.group_instance_id.as_ref() == Some(id),
            });
            let code = told.map_or(ErrorCode::UnknownServerError.code(), |it| it.error_code);
            (member.clone(), refused(code, None))
        });
        Ok(removed.collect())
    }
}

/// A group that is asked about.
struct Asked<'a> {
    coordinator: &'a Coordinator,
    node: NodeId,
    id: &'a Str,
    deadline: Deadline,
}

impl Asked<'_> {
    async fn classic(self) -> Result<GroupDescription, Error> {
        let request = |_| DescribeGroupsRequest { groups: vec![self.id.clone()], ..Default::default() };
        let code = |it: &classic::DescribeGroupsResponse| code_of(it.groups.first().map(|it| it.error_code));
        let versions = every::<DescribeGroupsRequest>();
        let (_, answer) = self.coordinator.ask(self.deadline, versions, request, code).await?;
        let group = only(answer.groups)?;
        refused(group.error_code, group.error_message.as_ref())?;
        let is_consumer = group.protocol_type == "consumer";
        let members = group.members.into_iter().map(|it| {
            let (topics, assignment) = match is_consumer {
                true => assigned_partitions(&it.member_metadata, &it.member_assignment),
                false => Default::default(),
            };
            GroupMember {
                id: it.member_id.detached(),
                instance_id: it.group_instance_id.map(|it| it.detached()),
                client_id: it.client_id.detached(),
                host: it.client_host.detached(),
                topics,
                assignment,
                is_classic: Some(true),
                ..GroupMember::default()
            }
        });
        Ok(GroupDescription {
            id: group.group_id.detached(),
            kind: GroupKind::Classic,
            state: group.group_state.detached(),
            protocol_type: group.protocol_type.detached(),
            assignor: group.protocol_data.detached(),
            coordinator: self.node,
            epoch: None,
            assignment_epoch: None,
            members: members.collect(),
            topology: None,
        })
    }

    async fn consumer(self) -> Result<GroupDescription, Error> {
        let request =
            |_| ConsumerGroupDescribeRequest { group_ids: vec![self.id.clone()], ..Default::default() };
        let code =
            |it: &consumer::ConsumerGroupDescribeResponse| code_of(it.groups.first().map(|it| it.error_code));
        let versions = every::<ConsumerGroupDescribeRequest>();
        let (_, answer) = self.coordinator.ask(self.deadline, versions, request, code).await?;
        let group = only(answer.groups)?;
        refused(group.error_code, group.error_message.as_ref())?;
        let partitions = |it: consumer::Assignment| {
            let topics = it.topic_partitions.into_iter();
            topics.flat_map(|it| of_topic(&it.topic_name, it.partitions)).collect()
        };
        let members = group.members.into_iter().map(|it| GroupMember {
            id: it.member_id.detached(),
            instance_id: it.instance_id.map(|it| it.detached()),
            client_id: it.client_id.detached(),
            host: it.client_host.detached(),
            rack: it.rack_id.map(|it| it.detached()),
            epoch: Some(it.member_epoch),
            topics: it.subscribed_topic_names.iter().map(Str::detached).collect(),
            pattern: it.subscribed_topic_regex.filter(|it| !it.is_empty()).map(|it| it.detached()),
            assignment: partitions(it.assignment),
            target: Some(partitions(it.target_assignment)),
            is_classic: (it.member_type >= 0).then_some(it.member_type == 0),
            tasks: None,
        });
        Ok(GroupDescription {
            id: group.group_id.detached(),
            kind: GroupKind::Consumer,
            state: group.group_state.detached(),
            protocol_type: Str::from_static("consumer"),
            assignor: group.assignor_name.detached(),
            coordinator: self.node,
            epoch: Some(group.group_epoch),
            assignment_epoch: Some(group.assignment_epoch),
            members: members.collect(),
            topology: None,
        })
    }

    async fn share(self) -> Result<GroupDescription, Error> {
        let request =
            |_| ShareGroupDescribeRequest { group_ids: vec![self.id.clone()], ..Default::default() };
        let code =
            |it: &share::ShareGroupDescribeResponse| code_of(it.groups.first().map(|it| it.error_code));
        let versions = every::<ShareGroupDescribeRequest>();
        let (_, answer) = self.coordinator.ask(self.deadline, versions, request, code).await?;
        let group = only(answer.groups)?;
        refused(group.error_code, group.error_message.as_ref())?;
        let members = group.members.into_iter().map(|it| GroupMember {
            id: it.member_id.detached(),
            client_id: it.client_id.detached(),
            host: it.client_host.detached(),
            rack: it.rack_id.map(|it| it.detached()),
            epoch: Some(it.member_epoch),
            topics: it.subscribed_topic_names.iter().map(Str::detached).collect(),
            assignment: it
                .assignment
                .topic_partitions
                .into_iter()
                .flat_map(|it| of_topic(&it.topic_name, it.partitions))
                .collect(),
            ..GroupMember::default()
        });
        Ok(GroupDescription {
            id: group.group_id.detached(),
            kind: GroupKind::Share,
            state: group.group_state.detached(),
            protocol_type: Str::from_static("share"),
            assignor: group.assignor_name.detached(),
            coordinator: self.node,
            epoch: Some(group.group_epoch),
            assignment_epoch: Some(group.assignment_epoch),
            members: members.collect(),
            topology: None,
        })
    }

    async fn streams(self) -> Result<GroupDescription, Error> {
        let request =
            |_| StreamsGroupDescribeRequest { group_ids: vec![self.id.clone()], ..Default::default() };
        let code =
            |it: &streams::StreamsGroupDescribeResponse| code_of(it.groups.first().map(|it| it.error_code));
        let versions = every::<StreamsGroupDescribeRequest>();
        let (_, answer) = self.coordinator.ask(self.deadline, versions, request, code).await?;
        let group = only(answer.groups)?;
        refused(group.error_code, group.error_message.as_ref())?;
        Ok(GroupDescription {
            id: group.group_id.detached(),
            kind: GroupKind::Streams,
            state: group.group_state.detached(),
            protocol_type: Str::from_static("streams"),
            assignor: group.assignor_name.map(|it| it.detached()).unwrap_or_default(),
            coordinator: self.node,
            epoch: Some(group.group_epoch),
            assignment_epoch: Some(group.assignment_epoch),
            members: group.members.into_iter().map(streams_member).collect(),
            topology: group.topology.map(topology),
        })
    }
}

fn streams_member(it: streams::Member) -> GroupMember {
    let (now, target) = (it.assignment, it.target_assignment);
    let streams = StreamsMember {
        process_id: it.process_id.detached(),
        topology_epoch: it.topology_epoch,
        endpoint: it.user_endpoint.map(|it| (it.host.detached(), it.port)),
        tags: it.client_tags.iter().map(|it| (it.key.detached(), it.value.detached())).collect(),
        active: tasks(now.active_tasks),
        standby: tasks(now.standby_tasks),
        warmup: tasks(now.warmup_tasks),
        target_active: tasks(target.active_tasks),
        target_standby: tasks(target.standby_tasks),
        target_warmup: tasks(target.warmup_tasks),
    };
    GroupMember {
        id: it.member_id.detached(),
        instance_id: it.instance_id.map(|it| it.detached()),
        client_id: it.client_id.detached(),
        host: it.client_host.detached(),
        rack: it.rack_id.map(|it| it.detached()),
        epoch: Some(it.member_epoch),
        is_classic: Some(it.is_classic),
        tasks: Some(streams),
        ..GroupMember::default()
    }
}

fn tasks(told: Vec<streams::TaskIds>) -> Tasks {
    told.into_iter().map(|it| (it.subtopology_id.detached(), it.partitions)).collect()
}

fn topology(told: streams::Topology) -> StreamsTopology {
    let names = |it: &[streams::TopicInfo]| it.iter().map(|it| it.name.detached()).collect();
    let parts = told.subtopologies.unwrap_or_default().into_iter().map(|it| StreamsSubtopology {
        id: it.subtopology_id.detached(),
        sources: it.source_topics.iter().map(Str::detached).collect(),
        repartition_sinks: it.repartition_sink_topics.iter().map(Str::detached).collect(),
        repartition_sources: names(&it.repartition_source_topics),
        changelogs: names(&it.state_changelog_topics),
    });
    StreamsTopology { epoch: told.epoch, subtopologies: parts.collect() }
}

fn of_topic(topic: &Str, partitions: Vec<i32>) -> impl Iterator<Item = TopicPartition> + use<> {
    let topic = topic.detached();
    partitions.into_iter().map(move |index| TopicPartition::new(topic.clone(), index))
}

fn code_of(code: Option<i16>) -> ErrorCode {
    code.map_or(ErrorCode::UnknownServerError, ErrorCode::from_code)
}

/// The one item of an answer about one thing.
fn only<T>(items: Vec<T>) -> Result<T, Error> {
    items.into_iter().next().ok_or_else(|| Error::Corrupt("the group is missing in the answer".into()))
}
