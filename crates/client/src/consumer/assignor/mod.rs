//! How the leader of a classic group shares out partitions: Kafka's assignors, as pure functions of what members
//! want and had.
//!
//! | file | holds |
//! |---|---|
//! | `range` | neighbouring partitions of each topic, the same numbers of every topic to the same member |
//! | `round_robin` | all partitions in turn |
//! | `sticky` | as even as can be, moving as little as can be; eager and cooperative |
//! | `racks` | partitions come to members in the rack of a replica, as far as `sticky` can stay even |

mod racks;
mod range;
mod round_robin;
mod sticky;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Str;

use crate::cluster::TopicPartition;
use crate::error::Error;

/// An assignor, by Kafka's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assignor {
    /// `range`.
    Range,
    /// `roundrobin`.
    RoundRobin,
    /// `sticky`.
    Sticky,
    /// `cooperative-sticky`.
    CooperativeSticky,
}

/// What a member told when it joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemberSubscription {
    pub(crate) topics: BTreeSet<Str>,
    /// What it had, and since which generation.
    pub(crate) owned: Vec<TopicPartition>,
    pub(crate) generation: i32,
    pub(crate) instance_id: Option<Str>,
    pub(crate) rack: Option<Str>,
}

/// The members of a group.
pub(crate) type Members = BTreeMap<Str, MemberSubscription>;

/// For each topic, the racks of each of its partitions.
pub(crate) type Topics = BTreeMap<Str, Vec<BTreeSet<Str>>>;

/// Who gets what.
pub(crate) type Assignment = BTreeMap<Str, Vec<TopicPartition>>;

/// No generation (`AbstractStickyAssignor.DEFAULT_GENERATION`).
pub(crate) const NO_GENERATION: i32 = -1;

impl Assignor {
    const ALL: [Assignor; 4] =
        [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky];

    /// Kafka's name, which members agree on.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Assignor::Range => "range",
            Assignor::RoundRobin => "roundrobin",
            Assignor::Sticky => "sticky",
            Assignor::CooperativeSticky => "cooperative-sticky",
        }
    }

    const fn class(self) -> &'static str {
        match self {
            Assignor::Range => "org.apache.kafka.clients.consumer.RangeAssignor",
            Assignor::RoundRobin => "org.apache.kafka.clients.consumer.RoundRobinAssignor",
            Assignor::Sticky => "org.apache.kafka.clients.consumer.StickyAssignor",
            Assignor::CooperativeSticky => "org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
        }
    }

    /// The assignor of a name, or of the name of Kafka's class.
    pub(crate) fn parse(text: &str) -> Result<Assignor, Error> {
        let found = Assignor::ALL.into_iter().find(|it| it.name() == text || it.class() == text);
        found.ok_or_else(|| {
            Error::invalid(format!(
                "partition.assignment.strategy: {text} is not known; range, roundrobin, sticky and \
                 cooperative-sticky are"
            ))
        })
    }

    /// The assignor that a coordinator chose.
    pub(crate) fn of_name(name: &str) -> Option<Assignor> {
        Assignor::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Whether members may keep what they have while they join.
    pub(crate) const fn is_cooperative(self) -> bool {
        matches!(self, Assignor::CooperativeSticky)
    }

    /// Shares out the partitions of all topics. Every member has an entry.
    pub(crate) fn assign(self, topics: &Topics, members: &Members) -> Assignment {
        match self {
            Assignor::Range => range::assign(topics, members),
            Assignor::RoundRobin => round_robin::assign(topics, members),
            Assignor::Sticky => sticky::assign(topics, members),
            Assignor::CooperativeSticky => {
                let mut assignment = sticky::assign(topics, members);
                sticky::hold_back_moving(&mut assignment, members);
                assignment
            }
        }
    }
}

/// The members in Kafka's order: those with an instance id first, by it, then the others by their id.
fn in_order(members: &Members) -> Vec<(&Str, &MemberSubscription)> {
    let mut ordered: Vec<_> = members.iter().collect();
    ordered.sort_by(|(one_id, one), (other_id, other)| match (&one.instance_id, &other.instance_id) {
        (Some(one), Some(other)) => one.cmp(other),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => one_id.cmp(other_id),
    });
    ordered
}

/// Nothing for anybody.
fn empty(members: &Members) -> Assignment {
    members.keys().map(|id| (id.clone(), Vec::new())).collect()
}
