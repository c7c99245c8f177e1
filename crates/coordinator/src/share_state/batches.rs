//! Ranges of offsets that fared alike, and how newer ones go over older ones (`PersisterStateBatchCombiner`).

use std::collections::BinaryHeap;

/// Records of a share partition that fared alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateBatch {
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
    /// How it stands with them: 0 available, 2 acknowledged, 4 archived.
    pub delivery_state: i8,
    /// How often they were delivered.
    pub delivery_count: i16,
}

impl StateBatch {
    /// What is said of the records. Of two things that are said, the one that was delivered more often is the later
    /// one, then the one in the later state.
    fn said(&self) -> Said {
        (self.delivery_count, self.delivery_state)
    }
}

type Said = (i16, i8);

/// One list out of two, without overlaps, from `start` on (everything, if it is -1). Where several batches say
/// something of a record, the latest counts; neighbours that say the same become one.
pub fn combine<'a>(
    so_far: &'a [StateBatch],
    new: impl IntoIterator<Item = &'a StateBatch>,
    start: i64,
) -> Vec<StateBatch> {
    let lowest = if start == -1 { i64::MIN } else { start };
    let clipped = so_far.iter().chain(new).filter(|it| it.first <= it.last && it.last >= lowest);
    let mut batches: Vec<StateBatch> =
        clipped.map(|it| StateBatch { first: it.first.max(lowest), ..*it }).collect();
    batches.sort_by_key(|it| it.first);

    let mut combined: Vec<StateBatch> = Vec::with_capacity(batches.len());
    let mut covering: BinaryHeap<(Said, i64)> = BinaryHeap::new();
    let mut upcoming = batches.iter().peekable();
    let mut at = i64::MIN;
    loop {
        covering_until(&mut covering, at);
        if covering.is_empty() {
            let Some(next) = upcoming.peek() else { return combined };
            at = at.max(next.first);
        }
        while let Some(next) = upcoming.next_if(|it| it.first <= at) {
            covering.push((next.said(), next.last));
        }
        let Some(&(said, last)) = covering.peek() else { continue };
        let end = upcoming.peek().map_or(last, |next| last.min(next.first - 1));
        push(&mut combined, at, end, said);
        let Some(after) = end.checked_add(1) else { return combined };
        at = after;
    }
}

/// Forgets, from the top, batches that end before `at`.
fn covering_until(covering: &mut BinaryHeap<(Said, i64)>, at: i64) {
    while covering.peek().is_some_and(|(_, last)| *last < at) {
        covering.pop();
    }
}

fn push(combined: &mut Vec<StateBatch>, first: i64, last: i64, said: Said) {
    match combined.last_mut() {
        Some(before) if before.said() == said && before.last.checked_add(1) == Some(first) => {
            before.last = last;
        }
        _ => combined.push(StateBatch { first, last, delivery_count: said.0, delivery_state: said.1 }),
    }
}
