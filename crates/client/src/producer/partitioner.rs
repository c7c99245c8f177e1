//! Which partition a record without a key goes to (KIP-794).

use ottla_base::PartitionIndex;

/// Stays with one partition until a batch's worth of bytes went there, so that batches become full.
#[derive(Debug, Default)]
pub(super) struct Sticky {
    partition: Option<PartitionIndex>,
    bytes: usize,
}

impl Sticky {
    /// The partition of the moment, unless the stay there is over. It ends `at_batch_end` rather than before, lest
    /// batches remain partly filled.
    pub(super) fn stays(
        &self,
        batch_size: usize,
        at_batch_end: impl Fn(PartitionIndex) -> bool,
    ) -> Option<PartitionIndex> {
        let goes_on = |it| self.bytes < batch_size || (self.bytes < 2 * batch_size && !at_batch_end(it));
        self.partition.filter(|it| goes_on(*it))
    }

    /// Moves on to one of the partitions that are `available`, each with how many batches wait for it.
    pub(super) fn move_on(
        &mut self,
        available: &[(PartitionIndex, usize)],
        random: u64,
    ) -> Option<PartitionIndex> {
        self.partition = draw(available, random);
        self.bytes = 0;
        self.partition
    }

    /// Counts what went to the partition of the moment.
    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

/// Draws a partition: the fewer batches wait for one, the likelier it is.
fn draw(available: &[(PartitionIndex, usize)], random: u64) -> Option<PartitionIndex> {
    let most = available.iter().map(|(_, waiting)| *waiting).max()?;
    let weight = |waiting: usize| (most + 1 - waiting) as u64;
    let total: u64 = available.iter().map(|(_, waiting)| weight(*waiting)).sum();
    let mut at = random % total;
    for (partition, waiting) in available {
        match at.checked_sub(weight(*waiting)) {
            Some(rest) => at = rest,
            None => return Some(*partition),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(waiting: &[usize]) -> Vec<(PartitionIndex, usize)> {
        waiting.iter().enumerate().map(|(index, it)| (PartitionIndex(index as i32), *it)).collect()
    }

    #[test]
    fn a_stay_ends_with_a_full_batch() {
        let mut sticky = Sticky::default();
        let available = partitions(&[0, 0, 0]);
        assert_eq!(sticky.stays(100, |_| true), None);
        let first = sticky.move_on(&available, 1);
        assert_eq!(first, Some(PartitionIndex(1)));
        sticky.count(99);
        assert_eq!(sticky.stays(100, |_| true), first);
        sticky.count(1);
        assert_eq!(sticky.stays(100, |_| false), first);
        assert_eq!(sticky.stays(100, |_| true), None);
        sticky.count(100);
        assert_eq!(sticky.stays(100, |_| false), None);
        assert_eq!(sticky.move_on(&available, 2), Some(PartitionIndex(2)));
        assert_eq!(sticky.move_on(&[], 7), None);
    }

    #[test]
    fn busy_partitions_are_drawn_less_often() {
        let available = partitions(&[3, 0, 2]);
        let drawn: Vec<_> = (0..7).map(|random| draw(&available, random).unwrap().0).collect();
        assert_eq!(drawn, [0, 1, 1, 1, 1, 2, 2]);
    }
}
