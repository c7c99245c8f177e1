//! Which partitions can be queried where: the tasks of members that have an endpoint, as partitions of what they read
//! (`EndpointToPartitionsManager`).

use ottla_base::Str;
use ottla_metadata::Image;
use ottla_wire::messages::streams_group_heartbeat_response::{
    Endpoint, EndpointToPartitions, TopicPartition,
};

use super::configured::Configured;
use super::member::Member;
use super::tasks::{TaskSet, without_epochs};

/// The partitions of one member; nothing if it has no endpoint.
pub(super) fn of_member(
    member: &Member,
    configured: &Configured,
    image: &Image,
) -> Option<EndpointToPartitions> {
    let endpoint = member.user_endpoint.as_ref()?;
    let active = without_epochs(&member.assigned.active);
    Some(EndpointToPartitions {
        user_endpoint: Endpoint { host: endpoint.host.clone(), port: endpoint.port, ..Default::default() },
        active_partitions: partitions(&active, configured, image),
        standby_partitions: partitions(&member.assigned.copies(), configured, image),
        ..Default::default()
    })
}

fn partitions(tasks: &TaskSet, configured: &Configured, image: &Image) -> Vec<TopicPartition> {
    let mut all = Vec::new();
    for (subtopology, tasks) in tasks {
        // A task outlives its subtopology only for as long as topics that it reads are missing.
        let sources: &[Str] = configured.parts.get(subtopology).map_or(&[], |part| &part.sources);
        for topic in sources {
            let count = image.topics.named(topic).map_or(0, |topic| topic.partition_count);
            let partitions: Vec<i32> = tasks.range(..count).copied().collect();
            if !partitions.is_empty() {
                all.push(TopicPartition { topic: topic.clone(), partitions, ..Default::default() });
            }
        }
    }
    all
}
