//! What became of records, on its way to the brokers that handed them out.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{NodeId, Offset, Uuid};
use ottla_wire::messages::share_fetch_response::PartitionData;

use super::records::SharedRecords;
use crate::cluster::TopicPartition;

/// What becomes of a record (`AcknowledgeType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Acknowledge {
    /// It was worked on: nobody gets it again.
    Accept = 1,
    /// Somebody else may have it.
    Release = 2,
    /// It cannot be worked on: nobody gets it again.
    Reject = 3,
    /// It takes longer: its lock begins anew (KIP-1222). It still has to be acknowledged.
    Renew = 4,
}

/// There is no record at the offset.
const GAP: i8 = 0;

/// A run of offsets, first and last, and what became of their records.
pub(super) type Run = (i64, i64, i8);

/// Acknowledgements for one broker, by partition.
pub(super) type Acknowledged = BTreeMap<TopicPartition, Vec<Run>>;

/// The same by the id of the topic.
pub(super) type ById<'a> = BTreeMap<Uuid, Vec<(i32, &'a [Run])>>;

/// The records that this member has.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    partitions: BTreeMap<TopicPartition, BTreeMap<i64, Held>>,
}

/// A record that this member has.
#[derive(Debug, Clone, Copy)]
struct Held {
    from: NodeId,
    /// Whether the caller has it.
    is_out: bool,
    what: Option<i8>,
}

impl InFlight {
    /// Takes records that a broker handed out, and tells that others are none. Says whether an acknowledgement that
    /// nobody was told of yet comes too late: its record was handed out again.
    pub(super) fn take_over(&mut self, from: NodeId, records: &SharedRecords, gaps: &[i64]) -> bool {
        let partition = self.partitions.entry(records.partition().clone()).or_default();
        let mut is_late = false;
        for offset in records.offsets() {
            let before = partition.insert(*offset, Held { from, is_out: false, what: None });
            is_late |= before.is_some_and(|it| it.what.is_some_and(|what| what != GAP));
        }
        for offset in gaps {
            partition.insert(*offset, Held { from, is_out: true, what: Some(GAP) });
        }
        is_late
    }

    /// Gives up all that was acquired.
    pub(super) fn reject(&mut self, from: NodeId, partition: &TopicPartition, data: &PartitionData) {
        let held = Held { from, is_out: true, what: Some(Acknowledge::Reject as i8) };
        let offsets = data.acquired_records.iter().flat_map(|it| it.first_offset..=it.last_offset);
        let partition = self.partitions.entry(partition.clone()).or_default();
        partition.extend(offsets.take(super::records::ACQUIRED_MAX).map(|offset| (offset, held)));
    }

    /// The caller gets records.
    pub(super) fn hand_out(&mut self, records: &SharedRecords) {
        let Some(partition) = self.partitions.get_mut(records.partition()) else { return };
        for offset in records.offsets() {
            if let Some(held) = partition.get_mut(offset) {
                held.is_out = true;
            }
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Held> {
        self.partitions.values_mut().flat_map(BTreeMap::values_mut)
    }

    /// Whether the caller has records of which it has not told what became.
    pub(super) fn has_unacknowledged(&mut self) -> bool {
        self.all().any(|it| it.is_out && it.what.is_none())
    }

    /// Whatever the caller has and has not told of is accepted.
    pub(super) fn accept_all(&mut self) {
        let open = self.all().filter(|it| it.is_out && it.what.is_none());
        open.for_each(|it| it.what = Some(Acknowledge::Accept as i8));
    }

    /// Whether the caller has the record.
    pub(super) fn acknowledge(
        &mut self,
        partition: &TopicPartition,
        offset: Offset,
        what: Acknowledge,
    ) -> bool {
        let held = self.partitions.get_mut(partition).and_then(|it| it.get_mut(&offset.0));
        match held.filter(|it| it.is_out && it.what != Some(GAP)) {
            Some(held) => {
                held.what = Some(what as i8);
                true
            }
            None => false,
        }
    }

    /// The brokers that have to hear of records.
    pub(super) fn brokers(&mut self) -> BTreeSet<NodeId> {
        self.all().filter(|it| it.what.is_some()).map(|it| it.from).collect()
    }

    /// Takes out what a broker has to hear. Records whose lock begins anew stay.
    pub(super) fn take(&mut self, broker: NodeId) -> Acknowledged {
        let mut acknowledged = Acknowledged::new();
        for (partition, records) in &mut self.partitions {
            let mut runs: Vec<Run> = Vec::new();
            for (offset, held) in records.iter_mut().filter(|(_, it)| it.from == broker) {
                let Some(what) = held.what else { continue };
                match runs.last_mut() {
                    Some((_, last, before)) if *last + 1 == *offset && *before == what => *last = *offset,
                    _ => runs.push((*offset, *offset, what)),
                }
                if what == Acknowledge::Renew as i8 {
                    held.what = None;
                }
            }
            records.retain(|_, it| it.from != broker || it.what.is_none());
            if !runs.is_empty() {
                acknowledged.insert(partition.clone(), runs);
            }
        }
        self.partitions.retain(|_, it| !it.is_empty());
        acknowledged
    }

    /// Forgets the offsets without records that a broker was not told of: it handed them out in a session that is over.
    /// Records stay: their locks may outlive the session, and if not, the broker says so.
    pub(super) fn forget_gaps(&mut self, broker: NodeId) {
        for records in self.partitions.values_mut() {
            records.retain(|_, it| it.from != broker || it.what != Some(GAP));
        }
        self.partitions.retain(|_, it| !it.is_empty());
    }
}

/// Whether a lock is to begin anew.
pub(super) fn renews(acknowledged: &Acknowledged) -> bool {
    acknowledged.values().flatten().any(|(.., what)| *what == Acknowledge::Renew as i8)
}

/// Acknowledgements with the ids of their topics; those of topics without one go nowhere.
pub(super) fn with_ids(
    acknowledged: &Acknowledged,
    id: impl Fn(&TopicPartition) -> Option<Uuid>,
) -> ById<'_> {
    let mut topics = ById::new();
    for (partition, runs) in acknowledged {
        if let Some(id) = id(partition) {
            topics.entry(id).or_default().push((partition.partition.0, runs));
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_the_same_type_are_told_together_and_renewed_ones_stay() {
        let mut in_flight = InFlight::default();
        let partition = TopicPartition::new("t", 0);
        let broker = NodeId(1);
        let held = Held { from: broker, is_out: true, what: None };
        in_flight.partitions.insert(partition.clone(), (0..6).map(|it| (it, held)).collect());
        assert!(in_flight.has_unacknowledged());
        assert!(in_flight.acknowledge(&partition, Offset(2), Acknowledge::Reject));
        assert!(in_flight.acknowledge(&partition, Offset(3), Acknowledge::Renew));
        assert!(!in_flight.acknowledge(&partition, Offset(9), Acknowledge::Accept));
        in_flight.accept_all();
        assert!(in_flight.take(NodeId(2)).is_empty());
        let taken = in_flight.take(broker);
        assert!(renews(&taken));
        assert_eq!(taken[&partition], [(0, 1, 1), (2, 2, 3), (3, 3, 4), (4, 5, 1)]);
        // The renewed one has to be acknowledged still.
        assert!(in_flight.has_unacknowledged());
        in_flight.accept_all();
        assert_eq!(in_flight.take(broker)[&partition], [(3, 3, 1)]);
        assert!(!in_flight.has_unacknowledged());
    }
}
