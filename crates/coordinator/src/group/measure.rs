//! How much there is of what, for metrics (`GroupCoordinatorMetrics`).

use std::collections::BTreeMap;

use ottla_machine::Ticket;

use super::deciding::Deciding;
use super::kind::Kind;
use super::request::Reply;
use super::soft::Counts;

/// What a coordinator has and has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Measured {
    /// Groups by kind and by the name of their state.
    pub groups: BTreeMap<(Kind, &'static str), usize>,
    /// Committed offsets.
    pub offsets: usize,
    /// What was done since the seat was taken.
    pub counts: Counts,
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
    deciding.answer(caller, Reply::Measure(Measured { groups, offsets, counts }));
}
