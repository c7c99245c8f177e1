//! How much there is of what, for metrics (`GroupCoordinatorMetrics`).

use std::collections::BTreeMap;

use ottla_machine::Ticket;

use super::deciding::Deciding;
use super::kind::Kind;
use super::request::Reply;
use super::soft::Counts;
use super::why::{Rebalances, Trigger};

/// What a coordinator has and has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Measured {
    /// Groups by kind and by the name of their state.
    pub groups: BTreeMap<(Kind, &'static str), usize>,
    /// Committed offsets.
    pub offsets: usize,
    /// What was done since the seat was taken.
    pub counts: Counts,
    /// Rebalances since the seat was taken, by kind of group and by what set them off.
    pub rebalances: BTreeMap<(Kind, Trigger), Rebalances>,
}

impl Measured {
    /// Adds what another coordinator has and has done.
    pub fn add(&mut self, other: Measured) {
        for (place, groups) in other.groups {
            *self.groups.entry(place).or_insert(0) += groups;
        }
        self.offsets += other.offsets;
        self.counts.offset_commits += other.counts.offset_commits;
        self.counts.offset_deletions += other.counts.offset_deletions;
        self.counts.offset_expirations += other.counts.offset_expirations;
        self.counts.completed_rebalances += other.counts.completed_rebalances;
        for (place, rebalances) in other.rebalances {
            let total = self.rebalances.entry(place).or_default();
            total.begun += rebalances.begun;
            total.ended += rebalances.ended;
            total.duration_ms += rebalances.duration_ms;
        }
    }
}

impl Measured {
    /// How often groups of a kind moved to another epoch because of what a member said or is to be told
    /// (`ConsumerGroupRebalances` and its like): not because somebody went.
    pub fn rebalances_of(&self, kind: Kind) -> u64 {
        let gone = [Trigger::MemberLeft, Trigger::SessionExpired, Trigger::RevocationOverdue];
        let of_kind =
            self.rebalances.iter().filter(|((it, trigger), _)| *it == kind && !gone.contains(trigger));
        of_kind.map(|(_, rebalances)| rebalances.begun).sum()
    }
}

/// Counts groups and offsets.
pub(super) fn measure(deciding: &mut Deciding<'_>, (): (), caller: Ticket) {
    let mut groups = BTreeMap::new();
    for id in deciding.group_ids() {
        if let Some(place) = deciding.with_group(&id, |it| (it.kind(), it.state())) {
            *groups.entry(place).or_insert(0) += 1;
        }
    }
    let offsets = deciding.state.offsets.len();
    let counts = deciding.soft.counts;
    let rebalances = deciding.soft.why.totals().clone();
    deciding.answer(caller, Reply::Measure(Measured { groups, offsets, counts, rebalances }));
}
