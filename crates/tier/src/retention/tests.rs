//! What is kept and what goes.

use super::*;
use crate::catalog::tests::{become_state, copied, segment};
use crate::records::Event;

fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
    let mut epochs = LeaderEpochs::default();
    for (epoch, start) in entries {
        let _ = epochs.assign(LeaderEpoch(*epoch), Offset(*start));
    }
    epochs
}

fn starts(entries: &[(i32, i64)]) -> Vec<EpochStart> {
    entries.iter().map(|it| EpochStart { epoch: LeaderEpoch(it.0), start: Offset(it.1) }).collect()
}

struct Case {
    catalog: Catalog,
    epochs: LeaderEpochs,
    copying: BTreeSet<Uuid>,
}

impl Case {
    /// Segments of ten offsets and 100 bytes each, all of epoch 0.
    fn of(count: i64) -> Case {
        let mut catalog = Catalog::default();
        for at in 0..count {
            copied(&mut catalog, &segment(at as u128 + 1, at * 10..at * 10 + 10, &[(0, at * 10)]));
        }
        Case { catalog, epochs: epochs(&[(0, 0)]), copying: BTreeSet::new() }
    }

    fn expiry(&self, change: impl FnOnce(&mut Limits<'_>)) -> (Vec<u128>, Option<i64>) {
        let mut limits = Limits {
            retention_ms: None,
            retention_bytes: None,
            only_local_bytes: 0,
            log_start: Offset(0),
            log_end: Offset(1_000),
            epochs: &self.epochs,
            now: Timestamp(1_000),
            broker: NodeId(1),
            copying: &self.copying,
        };
        change(&mut limits);
        let expiry = Expiry::of(&self.catalog, &limits);
        (expiry.delete.iter().map(|it| it.id.id.number()).collect(), expiry.log_start.map(Offset::get))
    }
}

#[test]
fn size_and_age_take_the_oldest_and_move_the_log_start() {
    let case = Case::of(5);
    assert_eq!(case.expiry(|_| {}), (vec![], None));
    assert_eq!(case.expiry(|it| it.retention_bytes = Some(500)), (vec![], None));
    assert_eq!(case.expiry(|it| it.retention_bytes = Some(301)), (vec![1], Some(10)));
    assert_eq!(case.expiry(|it| it.retention_bytes = Some(300)), (vec![1, 2], Some(20)));
    let with_local = case.expiry(|it| {
        it.retention_bytes = Some(300);
        it.only_local_bytes = 150;
    });
    assert_eq!(with_local, (vec![1, 2, 3], Some(30)));
    // The segment up to offset 20 has the timestamp 20.
    assert_eq!(case.expiry(|it| it.retention_ms = Some(979)), (vec![1, 2], Some(20)));
    assert_eq!(case.expiry(|it| it.retention_ms = Some(980)), (vec![1], Some(10)));
    assert_eq!(case.expiry(|it| it.retention_ms = Some(u64::MAX)), (vec![], None));
}

#[test]
fn what_is_below_the_log_start_goes() {
    let case = Case::of(5);
    assert_eq!(case.expiry(|it| it.log_start = Offset(29)), (vec![1, 2], None));
    assert_eq!(case.expiry(|it| it.log_start = Offset(30)), (vec![1, 2, 3], None));
}

#[test]
fn what_a_stop_cut_short_goes_but_not_what_is_being_copied() {
    let mut case = Case::of(2);
    let dangling = segment(9, 20..30, &[(0, 20)]);
    case.catalog.apply(&Event::Added(dangling.clone())).unwrap();
    assert_eq!(case.expiry(|_| {}).0, vec![9]);
    assert_eq!(case.expiry(|it| it.broker = NodeId(2)).0, Vec::<u128>::new(), "another broker may be at it");
    case.copying.insert(dangling.id.id);
    assert_eq!(case.expiry(|_| {}).0, Vec::<u128>::new());
    become_state(&mut case.catalog, &dangling, SegmentState::DeleteStarted);
    assert_eq!(case.expiry(|_| {}).0, vec![9]);
    let second = case.catalog.get(Uuid::from_number(2)).unwrap().clone();
    become_state(&mut case.catalog, &second, SegmentState::DeleteStarted);
    assert_eq!(case.expiry(|_| {}).0, vec![2, 9]);
}

#[test]
fn segments_of_epochs_that_the_log_has_left_behind_go() {
    let mut case = Case::of(1);
    copied(&mut case.catalog, &segment(2, 10..20, &[(1, 10)]));
    case.epochs = epochs(&[(1, 10)]);
    assert_eq!(case.expiry(|it| it.log_start = Offset(10)).0, vec![1]);
}

#[test]
fn another_leaders_log_is_not_counted_and_does_not_move_the_log_start() {
    let mut case = Case::of(1);
    // Offsets 10 to 20 of epoch 1 were cut off; this log went on with epoch 2 at 10.
    copied(&mut case.catalog, &segment(2, 10..20, &[(1, 10)]));
    copied(&mut case.catalog, &segment(3, 10..20, &[(2, 10)]));
    case.epochs = epochs(&[(0, 0), (2, 10)]);
    assert_eq!(case.expiry(|it| it.retention_bytes = Some(200)), (vec![], None));
    assert_eq!(case.expiry(|it| it.retention_bytes = Some(100)), (vec![1], Some(10)));
}

#[test]
fn lineage_is_judged_as_kafka_judges_it() {
    let check = |own: &[(i32, i64)], end: i64, log: &[(i32, i64)], log_end: i64| {
        let start = own[0].1;
        is_in_lineage(&segment(1, start..end, own), Offset(log_end), &starts(log))
    };
    let log = [(0, 0), (1, 10), (2, 20)];
    assert!(check(&[(0, 0)], 10, &log, 100));
    assert!(check(&[(0, 0), (1, 10)], 15, &log, 100));
    assert!(check(&[(0, 0), (1, 10), (2, 20)], 25, &log, 100));
    assert!(!check(&[(0, 0)], 11, &log, 100), "epoch 0 ends at 10");
    assert!(!check(&[(0, 0), (2, 20)], 25, &log, 100), "epoch 1 is missing");
    assert!(!check(&[(1, 8)], 15, &log, 100), "epoch 1 begins at 10");
    assert!(!check(&[(3, 30)], 35, &log, 100));
    assert!(!check(&[(2, 20)], 25, &log, 24), "the log ends before");
    assert!(check(&[(2, 20)], 25, &log, 25));
    assert!(check(&[(0, 0), (1, 10)], 15, &[(1, 12), (2, 20)], 100), "the log begins in the middle of it");
    assert!(!check(&[(0, 0)], 10, &[(1, 12)], 100), "all of it is before the log");
    assert!(check(&[(0, 0), (1, 5), (2, 5)], 9, &[(0, 0), (2, 5)], 100), "an epoch without records");
    assert!(!is_in_lineage(&segment(1, 0..5, &[(0, 0)]), Offset(5), &[]));
}

#[test]
fn the_tier_of_a_log_begins_and_ends_where_its_epochs_say() {
    let mut catalog = Catalog::default();
    let of = |entries: &[(i32, i64)]| epochs(entries);
    assert_eq!(highest_copied(&catalog, &of(&[(0, 0)]), Offset(50)), None);
    assert_eq!(first_offset(&catalog, &of(&[(0, 0)])), None);
    copied(&mut catalog, &segment(1, 0..10, &[(0, 0)]));
    copied(&mut catalog, &segment(2, 10..30, &[(0, 10), (1, 20)]));
    assert_eq!(highest_copied(&catalog, &of(&[(0, 0), (1, 20)]), Offset(50)), Some(Offset(30)));
    assert_eq!(first_offset(&catalog, &of(&[(0, 0), (1, 20)])), Some(Offset(0)));
    // This log left epoch 0 at offset 15.
    assert_eq!(highest_copied(&catalog, &of(&[(0, 0), (2, 15)]), Offset(50)), Some(Offset(15)));
    let first = catalog.get(Uuid::from_number(1)).unwrap().clone();
    become_state(&mut catalog, &first, SegmentState::DeleteStarted);
    assert_eq!(first_offset(&catalog, &of(&[(0, 0), (1, 20)])), Some(Offset(10)), "it is not read any more");
}
