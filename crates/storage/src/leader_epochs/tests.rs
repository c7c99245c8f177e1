//! Tests of the epochs of a log, after Kafka's `LeaderEpochFileCacheTest`.

use super::*;

fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
    let mut epochs = LeaderEpochs::default();
    for (epoch, start) in entries {
        let _ = epochs.assign(LeaderEpoch(*epoch), Offset(*start));
    }
    epochs
}

fn listed(epochs: &LeaderEpochs) -> Vec<(i32, i64)> {
    epochs.entries().iter().map(|it| (it.epoch.0, it.start.0)).collect()
}

#[test]
fn an_epoch_is_assigned_once_and_contradictions_are_removed() {
    let mut known = epochs(&[(2, 6), (3, 8), (4, 11)]);
    assert_eq!(known.assign(LeaderEpoch(4), Offset(12)), EpochChange::None);
    assert_eq!(known.assign(LeaderEpoch(4), Offset(11)), EpochChange::None);
    assert_eq!(listed(&known), [(2, 6), (3, 8), (4, 11)]);
    assert_eq!(known.assign(LeaderEpoch(5), Offset(9)), EpochChange::Added);
    assert_eq!(listed(&known), [(2, 6), (3, 8), (5, 9)]);
    assert_eq!(known.assign(LeaderEpoch(3), Offset(7)), EpochChange::Added);
    assert_eq!(listed(&known), [(2, 6), (3, 7)]);
    assert_eq!(known.assign(LeaderEpoch(6), Offset(7)), EpochChange::Added);
    assert_eq!(listed(&known), [(2, 6), (6, 7)]);
}

#[test]
fn the_end_of_an_epoch_is_the_start_of_the_next() {
    let known = epochs(&[(5, 11), (6, 12), (8, 14)]);
    for (asked, epoch, end) in
        [(-1, -1, -1), (3, 3, 11), (5, 5, 12), (6, 6, 14), (7, 6, 14), (8, 8, 20), (9, -1, -1)]
    {
        let expected = EpochEnd { epoch: LeaderEpoch(epoch), end: Offset(end) };
        assert_eq!(known.end_of(LeaderEpoch(asked), Offset(20)), expected, "epoch {asked}");
    }
    assert_eq!(LeaderEpochs::default().end_of(LeaderEpoch(0), Offset(20)), EpochEnd::UNDEFINED);
}

#[test]
fn truncation_keeps_the_epoch_of_what_is_left() {
    let whole = epochs(&[(2, 6), (3, 8), (4, 11)]);
    for (start, left) in [
        (5, vec![(2, 6), (3, 8), (4, 11)]),
        (6, vec![(2, 6), (3, 8), (4, 11)]),
        (7, vec![(2, 7), (3, 8), (4, 11)]),
        (8, vec![(3, 8), (4, 11)]),
        (10, vec![(3, 10), (4, 11)]),
        (99, vec![(4, 99)]),
    ] {
        let mut known = whole.clone();
        let _ = known.truncate_from_start(Offset(start));
        assert_eq!(listed(&known), left, "from start {start}");
    }
    for (end, left) in [
        (12, vec![(2, 6), (3, 8), (4, 11)]),
        (11, vec![(2, 6), (3, 8)]),
        (9, vec![(2, 6), (3, 8)]),
        (6, vec![]),
        (-1, vec![(2, 6), (3, 8), (4, 11)]),
    ] {
        let mut known = whole.clone();
        let _ = known.truncate_from_end(Offset(end));
        assert_eq!(listed(&known), left, "from end {end}");
    }
    assert_eq!(listed(&whole.in_range(Offset(7), Offset(11))), [(2, 7), (3, 8)]);
}

#[test]
fn neighbours_are_found() {
    let known = epochs(&[(2, 6), (3, 8), (6, 11)]);
    assert_eq!(known.before(LeaderEpoch(3)).map(|it| it.epoch.0), Some(2));
    assert_eq!(known.before(LeaderEpoch(2)), None);
    assert_eq!(known.after(LeaderEpoch(3)).map(|it| it.epoch.0), Some(6));
    assert_eq!(known.after(LeaderEpoch(6)), None);
    assert_eq!(known.epoch_of(Offset(5)), None);
    assert_eq!(known.epoch_of(Offset(6)), Some(LeaderEpoch(2)));
    assert_eq!(known.epoch_of(Offset(10)), Some(LeaderEpoch(3)));
    assert_eq!(known.epoch_of(Offset(1000)), Some(LeaderEpoch(6)));
    assert_eq!(known.start_of(LeaderEpoch(3)), Some(Offset(8)));
    assert_eq!(known.start_of(LeaderEpoch(4)), None);
}

#[test]
fn the_file_is_kafkas() {
    let disk = ottla_host::Host::simulated(1).disk();
    disk.create_dir_all("/data/t-0").unwrap();
    let path = Path::new("/data/t-0").join(LEADER_EPOCH_CHECKPOINT);
    assert!(LeaderEpochs::read(&disk, &path).unwrap().is_empty());
    let known = epochs(&[(0, 0), (3, 17)]);
    known.write(&disk, &path).unwrap();
    assert_eq!(disk.read(&path, 1000).unwrap(), b"0\n2\n0 0\n3 17\n");
    assert_eq!(LeaderEpochs::read(&disk, &path).unwrap(), known);
}

#[test]
fn what_kafka_wrote_is_read() {
    let theirs = include_bytes!("../../testdata/golden-0/leader-epoch-checkpoint");
    let disk = ottla_host::Host::simulated(1).disk();
    disk.write_atomically("/theirs", theirs).unwrap();
    let known = LeaderEpochs::read(&disk, Path::new("/theirs")).unwrap();
    assert_eq!(listed(&known), [(0, 0), (3, 7), (i32::MAX, i64::MAX)]);
    known.write(&disk, Path::new("/ours")).unwrap();
    assert_eq!(disk.read("/ours", 1000).unwrap(), theirs);
}
