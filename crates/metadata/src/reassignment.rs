//! Moving a partition to other brokers: what is added and removed, when the move is complete, how to undo it.

use ottla_base::NodeId;

use crate::image::{Nodes, Partition};

/// A move under way or about to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reassignment {
    pub(crate) removing: Nodes,
    pub(crate) adding: Nodes,
    /// Replicas while the move lasts: the target first, then what will be removed.
    pub(crate) replicas: Nodes,
}

impl Reassignment {
    /// The move of a partition from its present replicas to `target`.
    pub(crate) fn begin(current: &[NodeId], target: &[NodeId]) -> Reassignment {
        let removing = sorted_difference(current, target);
        let adding = sorted_difference(target, current);
        let replicas = target.iter().chain(&removing).copied().collect();
        Reassignment { removing, adding, replicas }
    }

    /// Replicas and ISR after the move, if `isr` allows it to end.
    pub(crate) fn complete(&self, isr: &[NodeId]) -> Option<(Nodes, Nodes)> {
        if self.removing.is_empty() && self.adding.is_empty() {
            return None;
        }
        let isr = without(isr, &self.removing);
        let replicas = without(&self.replicas, &self.removing);
        let ends_empty = !self.removing.is_empty() && (isr.is_empty() || replicas.is_empty());
        let has_all = |wanted: &[NodeId]| wanted.iter().all(|it| isr.contains(it));
        // A move that makes the set smaller must not leave it out of sync.
        let shrinks = self.adding.len() < self.removing.len();
        (!ends_empty && has_all(&self.adding) && (!shrinks || has_all(&replicas))).then_some((replicas, isr))
    }
}

/// A partition as it was before the move that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revert {
    pub(crate) replicas: Nodes,
    pub(crate) isr: Nodes,
    /// Nobody who stays is in sync: going back can lose records.
    pub(crate) unclean: bool,
}

impl Revert {
    /// `None` if no replica would be left.
    pub(crate) fn of(partition: &Partition) -> Option<Revert> {
        let replicas = without(&partition.replicas, &partition.adding);
        let isr = without(&partition.isr, &partition.adding);
        if isr.is_empty() {
            let first = *replicas.first()?;
            return Some(Revert { replicas, isr: Nodes::from_slice(&[first]), unclean: true });
        }
        Some(Revert { replicas, isr, unclean: false })
    }
}

/// `nodes` without those in `gone`, in the same order.
pub(crate) fn without(nodes: &[NodeId], gone: &[NodeId]) -> Nodes {
    nodes.iter().filter(|node| !gone.contains(node)).copied().collect()
}

fn sorted_difference(nodes: &[NodeId], gone: &[NodeId]) -> Nodes {
    let mut difference = without(nodes, gone);
    difference.sort_unstable();
    difference.dedup();
    difference
}
