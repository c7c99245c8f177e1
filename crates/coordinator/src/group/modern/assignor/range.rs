//! Ranges: each topic is cut into as many contiguous pieces as it has subscribers, in the same order for every topic,
//! so that equally cut topics go together (`RangeAssignor`).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_base::Uuid;

use super::{Assigned, GroupSpec, MemberSpec};

/// What is left of a topic while it is cut.
struct Cut {
    partitions: i32,
    subscribers: i32,
    /// How many pieces are still one partition longer.
    longer: i32,
    next: i32,
}

pub(super) fn assign(group: &GroupSpec<'_>) -> Vec<Arc<Assigned>> {
    let mut cuts: BTreeMap<Uuid, Cut> = BTreeMap::new();
    for topic in group.members.iter().flat_map(|member| member.topics.iter()) {
        let partitions = group.partition_count(*topic);
        let cut = cuts.entry(*topic).or_insert(Cut { partitions, subscribers: 0, longer: 0, next: 0 });
        cut.subscribers += 1;
        cut.longer = cut.partitions % cut.subscribers;
    }
    let mut order: Vec<usize> = (0..group.members.len()).collect();
    order.sort_by(|one, other| compare(&group.members[*one], &group.members[*other]));

    let mut assigned = vec![Arc::default(); group.members.len()];
    for place in order {
        let mut piece = Assigned::new();
        for topic in group.members[place].topics.iter() {
            let Some(cut) = cuts.get_mut(topic) else { continue };
            let mut length = cut.partitions / cut.subscribers;
            if cut.longer > 0 {
                length += 1;
                cut.longer -= 1;
            }
            let end = (cut.next + length).min(cut.partitions);
            if cut.next < end {
                piece.insert(*topic, (cut.next..end).collect());
            }
            cut.next = end;
        }
        assigned[place] = Arc::new(piece);
    }
    assigned
}

/// Static members first, by their instance ids, then the others by their ids: as Java compares text.
fn compare(one: &MemberSpec<'_>, other: &MemberSpec<'_>) -> Ordering {
    match (&one.instance_id, &other.instance_id) {
        (Some(one), Some(other)) => one.encode_utf16().cmp(other.encode_utf16()),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => one.id.encode_utf16().cmp(other.id.encode_utf16()),
    }
}
