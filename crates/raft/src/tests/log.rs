//! The shape of the log answers for epochs as Kafka's leader-epoch cache and snapshots do.

use std::collections::BTreeSet;

use ottla_base::{LeaderEpoch, Offset};

use crate::ids::OffsetAndEpoch;
use crate::log::{LogShape, Place};

fn at(offset: i64, epoch: i32) -> OffsetAndEpoch {
    OffsetAndEpoch::new(Offset(offset), LeaderEpoch(epoch))
}

fn shape() -> LogShape {
    let mut log = LogShape::default();
    for (end, epoch) in [(10, 1), (20, 1), (25, 3), (30, 5)] {
        log.appended(Offset(end), LeaderEpoch(epoch));
    }
    log
}

#[test]
fn epochs_end_where_the_next_begins() {
    let log = shape();
    for (asked, end) in [(0, at(0, 0)), (1, at(20, 1)), (2, at(20, 1)), (3, at(25, 3)), (4, at(25, 3))] {
        assert_eq!(log.end_of_epoch(LeaderEpoch(asked)), end, "epoch {asked}");
    }
    assert_eq!(log.end_of_epoch(LeaderEpoch(5)), at(30, 5));
    assert_eq!(log.end_of_epoch(LeaderEpoch(9)), at(30, 5));
}

#[test]
fn a_follower_is_placed() {
    let mut log = shape();
    for (end, place) in [
        (at(0, 0), Place::Valid),
        (at(15, 1), Place::Valid),
        (at(20, 1), Place::Valid),
        (at(21, 1), Place::Diverging(at(20, 1))),
        (at(25, 2), Place::Diverging(at(20, 1))),
        (at(30, 5), Place::Valid),
        (at(31, 5), Place::Diverging(at(30, 5))),
        (at(31, 6), Place::Diverging(at(30, 5))),
    ] {
        assert_eq!(log.place_of(end.offset, end.epoch), place, "{end}");
    }
    log.snapshot_taken(at(22, 3));
    log.snapshot_taken(at(25, 3));
    log.cleaned(at(22, 3));
    for (end, place) in [
        (at(0, 0), Place::Snapshot(at(25, 3))),
        (at(15, 1), Place::Snapshot(at(25, 3))),
        (at(22, 1), Place::Snapshot(at(25, 3))),
        (at(22, 3), Place::Valid),
        (at(24, 3), Place::Valid),
        (at(26, 3), Place::Diverging(at(25, 3))),
    ] {
        assert_eq!(log.place_of(end.offset, end.epoch), place, "{end}");
    }
}

#[test]
fn a_cut_goes_to_where_logs_may_agree() {
    let log = shape();
    assert_eq!(log.cut_for(at(18, 1)), Offset(18));
    assert_eq!(log.cut_for(at(40, 5)), Offset(30));
    assert_eq!(log.cut_for(at(22, 2)), Offset(20));
    assert_eq!(log.cut_for(at(0, 0)), Offset(0));
}

#[test]
fn flushes_do_not_outlive_a_cut() {
    let mut log = shape();
    log.flushed_to(Offset(30));
    log.truncated(Offset(22));
    assert_eq!((log.end(), log.flushed(), log.last_epoch()), (Offset(22), Offset(22), LeaderEpoch(3)));
    log.truncated(Offset(20));
    assert_eq!(log.last_epoch(), LeaderEpoch(1));
}

#[test]
fn an_installed_snapshot_is_the_whole_log() {
    let mut log = shape();
    log.replaced(at(100, 7));
    assert_eq!((log.start(), log.end(), log.last_epoch()), (Offset(100), Offset(100), LeaderEpoch(7)));
    log.appended(Offset(101), LeaderEpoch(9));
    assert_eq!(log.place_of(Offset(100), LeaderEpoch(7)), Place::Valid);
    assert_eq!(log.place_of(Offset(100), LeaderEpoch(8)), Place::Snapshot(at(100, 7)));
    let recovered = LogShape::recovered(Offset(100), Offset(100), Vec::new(), BTreeSet::from([at(100, 7)]));
    assert_eq!(recovered.last_epoch(), LeaderEpoch(7));
}
