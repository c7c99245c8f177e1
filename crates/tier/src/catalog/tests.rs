//! What is known of tiered segments after some records.

use std::collections::BTreeSet;

use ottla_base::{LeaderEpoch, NodeId, Offset, PartitionIndex, Str, Timestamp, Uuid};
use ottla_host::Prng;
use ottla_storage::leader_epochs::EpochStart;

use super::*;
use crate::segment::{SegmentId, SegmentUpdate, TieredPartition};

pub(crate) fn segment(id: u128, offsets: std::ops::Range<i64>, epochs: &[(i32, i64)]) -> SegmentMetadata {
    SegmentMetadata {
        id: SegmentId {
            partition: TieredPartition {
                topic_id: Uuid::from_number(77),
                index: PartitionIndex(0),
                topic: Str::from("orders"),
            },
            id: Uuid::from_number(id),
        },
        start: Offset(offsets.start),
        end: Offset(offsets.end),
        broker: NodeId(1),
        max_timestamp: Timestamp(offsets.end),
        recorded_at: Timestamp(0),
        size: 100,
        epochs: epochs
            .iter()
            .map(|(epoch, start)| EpochStart { epoch: LeaderEpoch(*epoch), start: Offset(*start) })
            .collect(),
        custom: None,
        state: SegmentState::CopyStarted,
        txn_index_empty: true,
    }
}

pub(crate) fn become_state(catalog: &mut Catalog, of: &SegmentMetadata, state: SegmentState) {
    let update = SegmentUpdate {
        id: of.id.clone(),
        state,
        broker: NodeId(1),
        recorded_at: Timestamp(1),
        custom: None,
    };
    catalog.apply(&Event::Updated(update)).unwrap();
}

pub(crate) fn copied(catalog: &mut Catalog, it: &SegmentMetadata) {
    catalog.apply(&Event::Added(it.clone())).unwrap();
    become_state(catalog, it, SegmentState::CopyFinished);
}

fn found(catalog: &Catalog, epoch: i32, offset: i64) -> Option<u128> {
    catalog.find(LeaderEpoch(epoch), Offset(offset)).map(|it| it.id.id.number())
}

#[test]
fn a_segment_is_read_once_it_was_copied_and_until_it_is_deleted() {
    let mut catalog = Catalog::default();
    let one = segment(1, 0..50, &[(0, 0), (2, 40)]);
    catalog.apply(&Event::Added(one.clone())).unwrap();
    assert_eq!(found(&catalog, 0, 10), None, "it is on its way");
    become_state(&mut catalog, &one, SegmentState::CopyFinished);
    assert_eq!(found(&catalog, 0, 10), Some(1));
    assert_eq!(found(&catalog, 0, 40), None, "that offset is of a later epoch");
    assert_eq!(found(&catalog, 2, 40), Some(1));
    assert_eq!(found(&catalog, 2, 49), Some(1));
    assert_eq!(found(&catalog, 2, 50), None);
    assert_eq!(found(&catalog, 1, 10), None);
    assert_eq!(catalog.copied_to(LeaderEpoch(0)), Some(Offset(40)));
    assert_eq!(catalog.copied_to(LeaderEpoch(2)), Some(Offset(50)));
    become_state(&mut catalog, &one, SegmentState::DeleteStarted);
    assert_eq!(found(&catalog, 0, 10), None);
    assert_eq!(catalog.of_epoch(LeaderEpoch(0)).len(), 1, "it must still be deleted");
    become_state(&mut catalog, &one, SegmentState::DeleteFinished);
    assert!(catalog.is_empty());
    assert!(catalog.of_epoch(LeaderEpoch(0)).is_empty());
    assert_eq!(catalog.copied_to(LeaderEpoch(2)), Some(Offset(50)), "it was copied");
}

#[test]
fn what_does_not_follow_is_left_out() {
    let mut catalog = Catalog::default();
    let one = segment(1, 0..50, &[(0, 0)]);
    let update = |state| {
        Event::Updated(SegmentUpdate {
            id: one.id.clone(),
            state,
            broker: NodeId(1),
            recorded_at: Timestamp(1),
            custom: None,
        })
    };
    assert!(catalog.apply(&update(SegmentState::CopyFinished)).is_err(), "it is not known");
    catalog.apply(&Event::Added(one.clone())).unwrap();
    assert!(catalog.apply(&update(SegmentState::DeleteFinished)).is_err());
    assert!(catalog.apply(&update(SegmentState::CopyStarted)).is_err());
    catalog.apply(&update(SegmentState::DeleteStarted)).unwrap();
    let before = catalog.clone();
    assert!(catalog.apply(&update(SegmentState::CopyFinished)).is_err(), "what is being deleted is not read");
    assert!(catalog.apply(&Event::Added(one.clone())).is_err());
    assert_eq!(catalog, before);
    catalog.apply(&update(SegmentState::DeleteStarted)).unwrap();
    assert_eq!(catalog, before, "the same again changes nothing");
    let finished = SegmentMetadata { state: SegmentState::CopyFinished, ..segment(2, 0..1, &[(0, 0)]) };
    assert!(catalog.apply(&Event::Added(finished)).is_err());
}

#[test]
fn a_later_leaders_copy_covers_those_that_it_did_not_know_of() {
    let mut catalog = Catalog::default();
    copied(&mut catalog, &segment(1, 0..10, &[(0, 0)]));
    copied(&mut catalog, &segment(2, 10..20, &[(0, 10)]));
    copied(&mut catalog, &segment(3, 5..30, &[(0, 5)]));
    assert_eq!(found(&catalog, 0, 4), Some(1));
    assert_eq!(found(&catalog, 0, 12), Some(3));
    assert_eq!(found(&catalog, 0, 29), Some(3));
    assert_eq!(catalog.of_epoch(LeaderEpoch(0)).len(), 3, "the covered one must still be deleted");
    // A shorter one does not cover a longer one.
    copied(&mut catalog, &segment(4, 5..8, &[(0, 5)]));
    assert_eq!(catalog.copied_to(LeaderEpoch(0)), Some(Offset(30)));
    assert_eq!(found(&catalog, 0, 12), Some(3));
    assert_eq!(catalog.of_epoch(LeaderEpoch(0)).len(), 4);
}

#[test]
fn the_next_segment_with_transactions_is_found() {
    let mut catalog = Catalog::default();
    for at in 0..5 {
        let with = SegmentMetadata {
            txn_index_empty: at != 3,
            ..segment(at as u128 + 1, at * 10..at * 10 + 10, &[(0, at * 10)])
        };
        copied(&mut catalog, &with);
    }
    let next = |offset| catalog.next_with_transactions(LeaderEpoch(0), Offset(offset)).map(|it| it.start);
    assert_eq!(next(0), Some(Offset(30)));
    assert_eq!(next(39), Some(Offset(30)));
    assert_eq!(next(40), None);
}

/// What is known follows from the records alone, however they come, and no segment is ever lost from both sides.
#[test]
fn whatever_is_recorded_the_catalog_stays_whole() {
    for seed in 0..200 {
        let mut random = Prng::new(seed);
        let (mut catalog, mut events) = (Catalog::default(), Vec::new());
        let mut known: Vec<SegmentMetadata> = Vec::new();
        for step in 0..60_u128 {
            let event = if known.is_empty() || random.one_in(3) {
                let start = random.below(100) as i64;
                let end = start + 1 + random.below(40) as i64;
                let first = random.below(3) as i32;
                let mut epochs = vec![(first, start)];
                if end - start > 1 && random.one_in(2) {
                    epochs.push((first + 1, start + 1 + random.below((end - start - 1) as u64) as i64));
                }
                let it = segment(step + 1, start..end, &epochs);
                known.push(it.clone());
                Event::Added(it)
            } else {
                let it = &known[random.below(known.len() as u64) as usize];
                let state = SegmentState::from_number(random.below(4) as i8).unwrap();
                Event::Updated(SegmentUpdate {
                    id: it.id.clone(),
                    state,
                    broker: NodeId(1),
                    recorded_at: Timestamp(1),
                    custom: None,
                })
            };
            let before = catalog.clone();
            match catalog.apply(&event) {
                Ok(()) => events.push(event),
                Err(_) => assert_eq!(catalog, before, "seed {seed}"),
            }
            let by_epoch: BTreeSet<Uuid> =
                (0..5).flat_map(|epoch| catalog.of_epoch(LeaderEpoch(epoch))).map(|it| it.id.id).collect();
            let all: BTreeSet<Uuid> = catalog.all().map(|it| it.id.id).collect();
            assert_eq!(by_epoch, all, "seed {seed}: every segment is found by its epochs");
            for offset in 0..140 {
                for epoch in 0..4 {
                    if let Some(it) = catalog.find(LeaderEpoch(epoch), Offset(offset)) {
                        assert_eq!(it.state, SegmentState::CopyFinished, "seed {seed}");
                        assert!(it.start <= Offset(offset) && Offset(offset) < it.end, "seed {seed}");
                    }
                }
            }
        }
        let mut again = Catalog::default();
        for event in &events {
            again.apply(event).unwrap();
        }
        assert_eq!(again, catalog, "seed {seed}");
    }
}
