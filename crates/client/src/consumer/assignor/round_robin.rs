//! `roundrobin`: all partitions of all topics in turn to the members that want them.

use std::collections::BTreeSet;

use ottla_base::Str;

use super::{Assignment, Members, Topics, empty, in_order};
use crate::cluster::TopicPartition;

pub(super) fn assign(topics: &Topics, members: &Members) -> Assignment {
    let mut assignment = empty(members);
    let members = in_order(members);
    let wanted: BTreeSet<&Str> = members.iter().flat_map(|(_, it)| &it.topics).collect();
    let mut turn = 0;
    for topic in wanted {
        let count = topics.get(topic).map_or(0, Vec::len);
        for index in 0..count {
            while !members[turn % members.len()].1.topics.contains(topic) {
                turn += 1;
            }
            let (id, _) = members[turn % members.len()];
            turn += 1;
            let partition = TopicPartition::new(topic.clone(), index as i32);
            assignment.entry(id.clone()).or_default().push(partition);
        }
    }
    assignment
}
