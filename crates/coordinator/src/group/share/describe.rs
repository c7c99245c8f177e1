//! What a share group looks like (`ShareGroup.asDescribedGroup`).

use ottla_base::{ErrorCode, Str};
use ottla_machine::Ticket;
use ottla_metadata::Image;
use ottla_wire::messages::share_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};

use super::super::deciding::Deciding;
use super::super::kind::AnyGroup;
use super::super::request::Reply;
use super::{ShareGroup, ShareMember, error_fields, existing, unseen};

/// The only assignor of share groups.
const ASSIGNOR: Str = Str::from_static("simple");

/// Describes one group.
pub(in crate::group) fn describe(deciding: &mut Deciding<'_>, id: Str, caller: Ticket) {
    let described = match &deciding.soft.world {
        _ if id.is_empty() => Err(ErrorCode::InvalidGroupId.into()),
        None => Err(unseen()),
        Some(world) => existing(deciding, &id).map(|group| group.described(&id, &world.image)),
    };
    let described = described.unwrap_or_else(|refusal| {
        let (error_code, error_message) = error_fields(refusal);
        DescribedGroup { group_id: id, error_code, error_message, ..Default::default() }
    });
    deciding.answer(caller, Reply::ShareGroupDescribe(described));
}

impl ShareGroup {
    fn described(&self, id: &Str, image: &Image) -> DescribedGroup {
        DescribedGroup {
            group_id: id.clone(),
            group_state: Str::from_static(self.state()),
            group_epoch: self.epoch,
            assignment_epoch: self.target_metadata.epoch,
            assignor_name: ASSIGNOR,
            members: self.members.iter().map(|(id, member)| member.described(id, image)).collect(),
            ..Default::default()
        }
    }
}

impl ShareMember {
    fn described(&self, id: &Str, image: &Image) -> Member {
        let topics = self.assigned.iter().filter_map(|(topic, partitions)| {
            Some(TopicPartitions {
                topic_id: *topic,
                topic_name: image.topics.get(*topic)?.name.clone(),
                partitions: partitions.iter().copied().collect(),
                ..Default::default()
            })
        });
        Member {
            member_id: id.clone(),
            rack_id: self.rack.clone(),
            member_epoch: self.epoch,
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            subscribed_topic_names: self.topics.iter().cloned().collect(),
            assignment: Assignment { topic_partitions: topics.collect(), ..Default::default() },
            ..Default::default()
        }
    }
}
