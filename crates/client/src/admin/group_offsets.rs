//! What groups have committed: look, alter, delete; of share groups, where they begin.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{ErrorCode, Offset, Str};
use ottla_wire::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use ottla_wire::messages::delete_share_group_offsets_request::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequestTopic,
};
use ottla_wire::messages::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup,
    DescribeShareGroupOffsetsRequestTopic,
};
use ottla_wire::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};

use super::{Admin, Items, every, outcome};
use crate::cluster::{TopicPartition, by_topic};
use crate::consumer::offsets::{self, Stability};
use crate::consumer::{Committed, Identity};
use crate::coordinator::{Coordinator, Keeper};
use crate::error::{Error, refused};

/// Where a share group begins in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareOffset {
    /// The first offset that is not done with; `None` if nothing was read yet.
    pub start: Option<Offset>,
    /// How many records are behind it and not done with, if the server tells.
    pub lag: Option<i64>,
}

impl Admin {
    /// What a group has committed: in some partitions, or in all.
    pub async fn group_offsets(
        &self,
        group: &Str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Committed, Error> {
        let deadline = self.deadline("asking for the offsets of a group");
        let coordinator = Coordinator::new(&self.cluster, Keeper::Group, group.clone());
        let outsider = || None;
        let asked = offsets::fetch(
            &coordinator,
            &self.cluster,
            group,
            outsider,
            partitions,
            Stability::Any,
            deadline,
        );
        let mut committed = Committed::new();
        for (partition, offset) in asked.await? {
            if let Some(offset) = offset? {
                committed.insert(partition, offset);
            }
        }
        Ok(committed)
    }

    /// Commits offsets for a group without members.
    pub async fn alter_group_offsets(
        &self,
        group: &Str,
        offsets: &Committed,
    ) -> Result<Items<TopicPartition, ()>, Error> {
        let deadline = self.deadline("altering the offsets of a group");
        let coordinator = Coordinator::new(&self.cluster, Keeper::Group, group.clone());
        let outsider = Identity::default;
        let codes =
            offsets::commit(&coordinator, &self.cluster, (group, None), outsider, offsets, deadline).await?;
        Ok(codes.into_iter().map(|(partition, code)| (partition, refused(code.code(), None))).collect())
    }

    /// Lets a group forget what it has committed in partitions that no member reads.
    pub async fn delete_group_offsets(
        &self,
        group: &Str,
        partitions: &[TopicPartition],
    ) -> Result<Items<TopicPartition, ()>, Error> {
        let deadline = self.deadline("deleting offsets of a group");
        let coordinator = Coordinator::new(&self.cluster, Keeper::Group, group.clone());
        let topics = by_topic(partitions.iter().map(|it| (it.clone(), ()))).into_iter();
        let topics: Vec<_> = topics
            .map(|(name, partitions)| OffsetDeleteRequestTopic {
                name,
                partitions: partitions
                    .into_iter()
                    .map(|(index, ())| OffsetDeleteRequestPartition { partition_index: index.0 })
                    .collect(),
            })
            .collect();
        let request = |_| OffsetDeleteRequest { group_id: group.clone(), topics: topics.clone() };
        let code = |it: &ottla_wire::messages::offset_delete_response::OffsetDeleteResponse| {
            ErrorCode::from_code(it.error_code)
        };
        let (_, answer) = coordinator.ask(deadline, every::<OffsetDeleteRequest>(), request, code).await?;
        refused(answer.error_code, None)?;
        let mut deleted = Items::new();
        for topic in answer.topics {
            for it in topic.partitions {
                let partition = TopicPartition::new(topic.name.detached(), it.partition_index);
                deleted.push((partition, refused(it.error_code, None)));
            }
        }
        Ok(deleted)
    }

    /// Where a share group begins: in some partitions, or in all that it reads.
    pub async fn share_group_offsets(
        &self,
        group: &Str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Items<TopicPartition, ShareOffset>, Error> {
        let deadline = self.deadline("asking for the offsets of a share group");
        let coordinator = Coordinator::new(&self.cluster, Keeper::Group, group.clone());
        let topics = partitions.map(|partitions| {
            let topics = by_topic(partitions.iter().map(|it| (it.clone(), ()))).into_iter();
            let topics = topics.map(|(topic_name, partitions)| DescribeShareGroupOffsetsRequestTopic {
                topic_name,
                partitions: partitions.into_iter().map(|(index, ())| index.0).collect(),
                ..DescribeShareGroupOffsetsRequestTopic::default()
            });
            topics.collect::<Vec<_>>()
        });
        let request = |_| DescribeShareGroupOffsetsRequest {
            groups: vec![DescribeShareGroupOffsetsRequestGroup {
                group_id: group.clone(),
                topics: topics.clone(),
                ..DescribeShareGroupOffsetsRequestGroup::default()
            }],
            ..DescribeShareGroupOffsetsRequest::default()
        };
        let code = |it: &ottla_wire::messages::describe_share_group_offsets_response::DescribeShareGroupOffsetsResponse| {
            it.groups.first().map_or(ErrorCode::UnknownServerError, |it| ErrorCode::from_code(it.error_code))
        };
        let versions = every::<DescribeShareGroupOffsetsRequest>();
        let (_, answer) = coordinator.ask(deadline, versions, request, code).await?;
        let group = answer.groups.into_iter().next();
        let group = group.ok_or_else(|| Error::Corrupt("the group is missing in the answer".into()))?;
        refused(group.error_code, group.error_message.as_ref())?;
        let mut described = Items::new();
        for topic in group.topics {
            for it in topic.partitions {
                let partition = TopicPartition::new(topic.topic_name.detached(), it.partition_index);
                let known = |number: i64| (number >= 0).then_some(number);
                let offset = ShareOffset { start: known(it.start_offset).map(Offset), lag: known(it.lag) };
                described.push((partition, outcome(it.error_code, it.error_message, || offset)));
            }
        }
        Ok(described)
    }

    /// Lets a share group without members begin elsewhere.
    pub async fn alter_share_group_offsets(
        &self,
        group: &Str,
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<Items<TopicPartition, ()>, Error> {
        let deadline = self.deadline("altering the offsets of a share group");
        let coordinator = Coordinator::new(&self.cluster, Keeper::Group, group.clone());
        let topics = by_topic(offsets.iter().map(|(it, offset)| (it.clone(), *offset))).into_iter();
        let topics: Vec<_> = topics
            .map(|(topic_name, partitions)| AlterShareGroupOffsetsRequestTopic {
                topic_name,
                partitions: partitions
                    .into_iter()
                    .map(|(index, offset)| AlterShareGroupOffsetsRequestPartition {
                        partition_index: index.0,
                        start_offset: offset.0,
                        ..AlterShareGroupOffsetsRequestPartition::default()
                    })
                    .collect(),
                ..AlterShareGroupOffsetsRequestTopic::default()
            })
            .collect();
        let request = |_| AlterShareGroupOffsetsRequest {
            group_id: group.clone(),
            topics: topics.clone(),
            ..AlterShareGroupOffsetsRequest::default()
        };
        let code = |it: &ottla_wire::messages::alter_share_group_offsets_response::AlterShareGroupOffsetsResponse| {
            ErrorCode::from_code(it.error_code)
        };
        let versions = every::<AlterShareGroupOffsetsRequest>();
        let (_, answer) = coordinator.ask(deadline, versions, request, code).await?;
        refused(answer.error_code, answer.error_message.as_ref())?;
        let mut altered = Items::new();
        for topic in answer.responses {
            for it in topic.partitions {
                let partition = TopicPartition::new(topic.topic_name.detached(), it.partition_index);
                altered.push((partition, outcome(it.error_code, it.error_message, || ())));
            }
        }
        Ok(altered)
    }

    /// Lets a share group without members forget topics.
    pub async fn delete_share_group_offsets(
        &self,
        group: &Str,
        topics: &BTreeSet<Str>,
    ) -> Result<Items<Str, ()>, Error> {
        let deadline = self.deadline("deleting offsets of a share group");
        let coordinator = Coordinator::new(&self.cluster, Keeper::Group, group.clone());
        let request = |_| DeleteShareGroupOffsetsRequest {
            group_id: group.clone(),
            topics: topics
                .iter()
                .map(|topic_name| DeleteShareGroupOffsetsRequestTopic {
                    topic_name: topic_name.clone(),
                    ..DeleteShareGroupOffsetsRequestTopic::default()
                })
                .collect(),
            ..DeleteShareGroupOffsetsRequest::default()
        };
        let code = |it: &ottla_wire::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponse| {
            ErrorCode::from_code(it.error_code)
        };
        let versions = every::<DeleteShareGroupOffsetsRequest>();
        let (_, answer) = coordinator.ask(deadline, versions, request, code).await?;
        refused(answer.error_code, answer.error_message.as_ref())?;
        let deleted = answer.responses.into_iter();
        Ok(deleted
            .map(|it| (it.topic_name.detached(), outcome(it.error_code, it.error_message, || ())))
            .collect())
    }
}
