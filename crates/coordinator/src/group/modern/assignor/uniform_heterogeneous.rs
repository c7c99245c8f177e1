//! The uniform assignor where members want different topics: what is free goes to whom has least, then topics are
//! balanced one after the other until nothing moves (`UniformHeterogeneousAssignmentBuilder`).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_base::Uuid;

use super::{Assigned, GroupSpec};

/// How often all topics are balanced at most.
const MAX_ROUNDS: usize = 16;

/// Who owns a partition; nobody yet if `None`. Nobody comes first in order.
type Owner = Option<usize>;

/// A member's place in the group, and its load, while topics are dealt out.
struct Topic {
    id: Uuid,
    subscribers: Vec<usize>,
    owners: Vec<Owner>,
}

struct Builder {
    topics: Vec<Topic>,
    /// How many partitions each member has.
    loads: Vec<usize>,
    assigned: Vec<Arc<Assigned>>,
}

pub(super) fn assign(group: &GroupSpec<'_>) -> Vec<Arc<Assigned>> {
    let mut builder = Builder::new(group);
    if builder.topics.is_empty() {
        return vec![Arc::default(); group.members.len()];
    }
    builder.keep(group);
    builder.assign_free();
    builder.balance();
    builder.assigned
}

/// Topics with most partitions for each subscriber come first, then those with fewest subscribers.
fn compare(one: &Topic, other: &Topic) -> Ordering {
    let ratio = |topic: &Topic| topic.owners.len() as f64 / topic.subscribers.len() as f64;
    // Java compares ids as two signed numbers.
    let signed = |topic: &Topic| ((topic.id.number() >> 64) as i64, topic.id.number() as i64);
    ratio(other)
        .total_cmp(&ratio(one))
        .then_with(|| one.subscribers.len().cmp(&other.subscribers.len()))
        .then_with(|| signed(one).cmp(&signed(other)))
}

impl Builder {
    fn new(group: &GroupSpec<'_>) -> Builder {
        let mut subscribers: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
        for (place, member) in group.members.iter().enumerate() {
            for topic in member.topics.iter() {
                subscribers.entry(*topic).or_default().push(place);
            }
        }
        let topic = |(id, subscribers): (Uuid, Vec<usize>)| {
            let count = usize::try_from(group.partition_count(id)).unwrap_or(0);
            Topic { id, subscribers, owners: vec![None; count] }
        };
        let mut topics: Vec<Topic> = subscribers.into_iter().map(topic).collect();
        topics.sort_by(compare);
        let members = group.members.len();
        Builder { topics, loads: vec![0; members], assigned: vec![Arc::default(); members] }
    }

    /// Lets members keep what they were to own of topics that they want.
    fn keep(&mut self, group: &GroupSpec<'_>) {
        let places: BTreeMap<Uuid, usize> =
            self.topics.iter().enumerate().map(|(at, topic)| (topic.id, at)).collect();
        for (place, member) in group.members.iter().enumerate() {
            let mut kept = member.assigned.clone();
            for (topic, partitions) in member.assigned.iter() {
                let at = places.get(topic).filter(|_| member.topics.contains(topic));
                let Some(at) = at else {
                    Arc::make_mut(&mut kept).remove(topic);
                    continue;
                };
                self.loads[place] += partitions.len();
                for partition in partitions {
                    let owner = usize::try_from(*partition).ok();
                    if let Some(owner) =
                        owner.and_then(|at_partition| self.topics[*at].owners.get_mut(at_partition))
                    {
                        *owner = Some(place);
                    }
                }
            }
            self.assigned[place] = kept;
        }
    }

    fn assign_free(&mut self) {
        let mut balancer = Balancer::default();
        for at in 0..self.topics.len() {
            let free: Vec<usize> = (0..self.topics[at].owners.len())
                .filter(|it| self.topics[at].owners[*it].is_none())
                .collect();
            if free.is_empty() {
                continue;
            }
            balancer.begin(&self.topics[at].subscribers, &self.loads);
            for partition in free {
                let member = balancer.next_least_loaded(&self.loads);
                self.give(at, partition, member);
            }
        }
    }

    /// Goes over the topics until each was seen without a change since the last one that changed.
    fn balance(&mut self) {
        let shared: Vec<usize> =
            (0..self.topics.len()).filter(|at| self.topics[*at].subscribers.len() >= 2).collect();
        let mut balancer = Balancer::default();
        let mut last_changed = None;
        for _ in 0..MAX_ROUNDS {
            for at in &shared {
                if last_changed == Some(*at) {
                    return;
                }
                let moved = self.balance_topic(*at, &mut balancer);
                if moved > 0 || last_changed.is_none() {
                    last_changed = Some(*at);
                }
            }
        }
    }

    /// Moves partitions of a topic from whom has most to whom has least. Says how many.
    fn balance_topic(&mut self, at: usize, balancer: &mut Balancer) -> usize {
        if balancer.begin(&self.topics[at].subscribers, &self.loads) <= 1 {
            return 0;
        }
        // The partitions of each owner, the last of which goes first.
        let mut owned: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (partition, owner) in self.topics[at].owners.iter().enumerate() {
            if let Some(owner) = owner {
                owned.entry(*owner).or_default().push(partition);
            }
        }
        let mut moved = 0;
        while !balancer.is_balanced() {
            let from = loop {
                match balancer.next_most_loaded(&self.loads) {
                    None => break None,
                    Some(member) if owned.get(&member).is_some_and(|list| !list.is_empty()) => {
                        break Some(member);
                    }
                    Some(_) => balancer.exclude_most_loaded(),
                }
            };
            let Some(partition) = from.and_then(|member| owned.get_mut(&member)?.pop()) else { break };
            let to = balancer.next_least_loaded(&self.loads);
            // Both ends may have moved towards each other meanwhile.
            if balancer.is_balanced() {
                break;
            }
            self.give(at, partition, to);
            moved += 1;
        }
        moved
    }

    fn give(&mut self, at: usize, partition: usize, member: usize) {
        let topic = &mut self.topics[at];
        let number = partition as i32;
        if let Some(before) = topic.owners[partition].replace(member) {
            let assigned = Arc::make_mut(&mut self.assigned[before]);
            if let Some(partitions) = assigned.get_mut(&topic.id) {
                partitions.remove(&number);
                if partitions.is_empty() {
                    assigned.remove(&topic.id);
                }
            }
            self.loads[before] -= 1;
        }
        Arc::make_mut(&mut self.assigned[member]).entry(topic.id).or_default().insert(number);
        self.loads[member] += 1;
    }
}

/// Hands out the least and the most loaded of a topic's subscribers, in turns, where all of the least loaded have the
/// same load and all of the most loaded have (`MemberAssignmentBalancer`).
#[derive(Default)]
struct Balancer {
    sorted: Vec<usize>,
    least_end: usize,
    least_load: i64,
    next_least: usize,
    most_start: usize,
    most_end: usize,
    most_load: i64,
    /// -1 when nobody is left.
    next_most: isize,
}

impl Balancer {
    /// Begins with these members, of whom there is one. Gives the difference between the most and the least loaded.
    fn begin(&mut self, members: &[usize], loads: &[usize]) -> usize {
        self.sorted.clear();
        self.sorted.extend_from_slice(members);
        self.sorted.sort_by_key(|member| (loads[*member], *member));
        let (least, most) = (loads[self.sorted[0]], loads[self.sorted[self.sorted.len() - 1]]);
        self.least_end = 0;
        self.least_load = least as i64 - 1;
        self.next_least = 0;
        self.most_start = self.sorted.len();
        self.most_end = self.sorted.len();
        self.most_load = most as i64 + 1;
        self.next_most = self.sorted.len() as isize - 1;
        most - least
    }

    fn next_least_loaded(&mut self, loads: &[usize]) -> usize {
        if self.next_least >= self.least_end {
            self.least_load += 1;
            while self.least_end < self.sorted.len()
                && loads[self.sorted[self.least_end]] as i64 == self.least_load
            {
                self.least_end += 1;
            }
            self.next_least = 0;
        }
        let member = self.sorted[self.next_least];
        self.next_least += 1;
        member
    }

    fn next_most_loaded(&mut self, loads: &[usize]) -> Option<usize> {
        if self.next_most < self.most_start as isize {
            if self.most_end <= self.most_start && self.most_start > 0 {
                // Everybody of this load was excluded: on to the next ones.
                self.most_load = loads[self.sorted[self.most_start - 1]] as i64;
            } else {
                self.most_load -= 1;
            }
            while self.most_start > 0 && loads[self.sorted[self.most_start - 1]] as i64 == self.most_load {
                self.most_start -= 1;
            }
            self.next_most = self.most_end as isize - 1;
        }
        let member = *self.sorted.get(usize::try_from(self.next_most).ok()?)?;
        self.next_most -= 1;
        Some(member)
    }

    /// Lets the member that was handed out last not be handed out again.
    fn exclude_most_loaded(&mut self) {
        let Ok(place) = usize::try_from(self.next_most + 1) else { return };
        let Some(last) = self.most_end.checked_sub(1) else { return };
        if place < self.sorted.len() {
            self.sorted.swap(place, last);
            self.most_end = last;
        }
    }

    fn is_balanced(&self) -> bool {
        self.most_load - self.least_load <= 1
    }
}
