//! Assignors: who is to own which partition. Pure functions with the results of Kafka's own, which go over members and
//! topics in the order of hashes where these go in the order of ids.

mod range;
#[cfg(test)]
mod tests;
mod uniform_heterogeneous;
mod uniform_homogeneous;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_base::{Str, Uuid};

use super::Assigned;
use super::subscriptions::SubscriptionKind;

/// What an assignor sees of a group.
#[derive(Debug, Clone)]
pub(in crate::group) struct GroupSpec<'a> {
    /// The members, in the order of their ids.
    pub(in crate::group) members: Vec<MemberSpec<'a>>,
    /// Whether all members want the same.
    pub(in crate::group) kind: SubscriptionKind,
    /// How many partitions the topics have that anybody wants.
    pub(in crate::group) partition_counts: BTreeMap<Uuid, i32>,
}

/// What an assignor sees of a member. Nothing of it is copied: each member that joins has all of them looked at.
#[derive(Debug, Clone)]
pub(in crate::group) struct MemberSpec<'a> {
    /// Its id.
    pub(in crate::group) id: &'a Str,
    /// Its instance id, if it is static.
    pub(in crate::group) instance_id: Option<&'a Str>,
    /// The topics it wants; they exist.
    pub(in crate::group) topics: Arc<BTreeSet<Uuid>>,
    /// What it was to own before.
    pub(in crate::group) assigned: &'a Arc<Assigned>,
}

/// A server-side assignor of consumer groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::group) enum Assignor {
    /// Balanced and sticky (`UniformAssignor`).
    Uniform,
    /// Contiguous ranges of every topic, co-partitioned (`RangeAssignor`).
    Range,
}

impl Assignor {
    /// The name by which clients and settings know it.
    pub(in crate::group) fn name(self) -> Str {
        Str::from_static(match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        })
    }

    /// The assignor of this name.
    pub(in crate::group) fn named(name: &str) -> Option<Assignor> {
        match name {
            "uniform" => Some(Assignor::Uniform),
            "range" => Some(Assignor::Range),
            _ => None,
        }
    }

    /// What each member is to own, in the order of members.
    pub(in crate::group) fn assign(self, group: &GroupSpec<'_>) -> Vec<Arc<Assigned>> {
        match (self, group.kind) {
            (_, _) if group.members.is_empty() => Vec::new(),
            (Assignor::Range, _) => range::assign(group),
            (Assignor::Uniform, SubscriptionKind::Homogeneous) => uniform_homogeneous::assign(group),
            (Assignor::Uniform, SubscriptionKind::Heterogeneous) => uniform_heterogeneous::assign(group),
        }
    }
}

impl GroupSpec<'_> {
    fn partition_count(&self, topic: Uuid) -> i32 {
        self.partition_counts.get(&topic).copied().unwrap_or(0)
    }
}
