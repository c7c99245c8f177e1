//! A log in use, on a simulated disk.

use ottla_base::{ErrorCode, Offset, Timestamp};
use ottla_host::disk::Open;

use crate::test_fixture::{
    OPTIONS, TIME, World, append, batch, end_transaction, produced, read_all, read_bytes,
};
use crate::{Commit, Duplicate, FirstBatch, LastShutdown, Log, LogStartReason, ReadLimit, ReadRequest};

fn value(number: usize) -> Vec<u8> {
    format!("value {number}").into_bytes()
}

/// Appends `count` batches of two records.
fn fill(log: &std::sync::Arc<Log>, count: usize) {
    let start = log.view().end.get() as usize;
    for at in 0..count {
        let number = start + 2 * at;
        append(log, TIME + number as i64, &[&value(number), &value(number + 1)]);
    }
}

fn check(log: &Log, from: i64, end: i64) {
    for max_bytes in [1, 200, 1000, 1 << 20] {
        let records = read_all(log, Offset(from), max_bytes);
        let expected: Vec<_> = (from..end).map(|offset| (offset, value(offset as usize))).collect();
        assert_eq!(records, expected, "with fetches of {max_bytes} bytes");
    }
}

#[test]
fn what_is_appended_is_read() {
    let world = World::new(1);
    let log = world.open(LastShutdown::Unclean);
    assert!(log.view().is_empty());
    let first = append(&log, TIME, &[b"value 0", b"value 1"]);
    assert_eq!((first.first, first.end), (Offset(0), Offset(2)));
    fill(&log, 100);
    let view = log.view();
    assert_eq!((view.log_start, view.high_watermark, view.end), (Offset(0), Offset(202), Offset(202)));
    check(&log, 0, 202);
    check(&log, 77, 202);
    assert!(read_bytes(&log, Offset(202), 100).is_empty());
    let request = |from| ReadRequest {
        from: Offset(from),
        max_bytes: 1,
        limit: ReadLimit::End,
        first_batch: FirstBatch::WithinLimit,
    };
    assert_eq!(log.read(&view, &request(0)).unwrap().bytes, 0, "the first batch does not fit");
    for outside in [-1, 203] {
        let error = log.read(&view, &request(outside)).unwrap_err();
        assert_eq!(error.error_code(), ErrorCode::OffsetOutOfRange);
    }
}

#[test]
fn readers_of_the_tail_find_their_place_without_a_look_at_the_file() {
    let world = World::new(1);
    let log = world.open(LastShutdown::Unclean);
    fill(&log, 20);
    let view = log.view();
    // Whoever looked would find no batch.
    let file = world.host.disk().open(log.path().join("00000000000000000000.log"), Open::Write).unwrap();
    file.write_all_at(&vec![0; view.size() as usize], 0).unwrap();
    let read = |from| {
        let limit = ReadLimit::HighWatermark;
        let request =
            ReadRequest { from: Offset(from), max_bytes: u32::MAX, limit, first_batch: FirstBatch::Whole };
        log.read(&view, &request)
    };
    for from in 24..40 {
        assert!(read(from).unwrap().bytes > 0, "from {from}");
    }
    assert_eq!(read(40).unwrap().bytes, 0);
    assert!(read(23).is_err());
}

#[test]
fn readers_that_go_on_where_they_were_cost_few_looks_at_the_disk() {
    const FETCH_BYTES: u32 = 128 << 10;
    let mut world = World::new(1);
    let log = world.open(LastShutdown::Unclean);
    let value = vec![7; 900];
    for number in 0..12_000 {
        append(&log, TIME + number, &[&value]);
    }
    log.close_cleanly().unwrap();
    world.recovery_point = log.recovery_point();
    drop(log);
    let log = world.open(LastShutdown::Clean);
    let operations = || world.host.simulation().unwrap().disk().operations();
    let read = |from: Offset| {
        let limit = ReadLimit::HighWatermark;
        let request = ReadRequest { from, max_bytes: FETCH_BYTES, limit, first_batch: FirstBatch::Whole };
        let answer = log.read(&log.view(), &request).unwrap();
        let mut bytes = vec![0; answer.bytes as usize];
        answer.ranges[0].file.read_exact_at(&mut bytes, answer.ranges[0].position).unwrap();
        let last = ottla_record::Batches::new(&bytes).last().unwrap().unwrap();
        (answer.bytes, last.v2().unwrap().end_offset())
    };
    let round = |is_warm: bool| {
        let (mut from, mut reads, mut looks, mut bytes) = (Offset(0), 0, 0, 0);
        while from < log.view().end {
            assert!(from == Offset(0) || log.is_warm(&log.view(), from, FETCH_BYTES) == is_warm, "{from}");
            let before = operations();
            let (more, end) = read(from);
            looks += operations() - before - 1;
            (from, reads, bytes) = (end, reads + 1, bytes + more);
        }
        assert!(reads > 80 && bytes == log.view().size() as u32);
        assert!(bytes / reads > FETCH_BYTES * 9 / 10, "fetches are filled: {}", bytes / reads);
        f64::from(looks as u32) / f64::from(reads)
    };
    let first = round(false);
    let again = round(true);
    assert!(first < 5.0 && again < 3.0, "looks per read: {first} with checksums, {again} after that");

    let second = read(Offset(0)).1;
    assert!(log.is_warm(&log.view(), second, FETCH_BYTES));
    let request = ReadRequest {
        from: second,
        max_bytes: FETCH_BYTES,
        limit: ReadLimit::HighWatermark,
        first_batch: FirstBatch::Whole,
    };
    let file = log.read(&log.view(), &request).unwrap().ranges[0].file.clone();
    file.will_not_need(0..1).unwrap();
    assert!(!log.is_warm(&log.view(), second, FETCH_BYTES), "where it ends is on the disk alone");
}

#[test]
fn readers_see_up_to_their_limit() {
    let log = World::new(1).open(LastShutdown::Unclean);
    let later = crate::AppendOptions { commit: Commit::Later, ..OPTIONS };
    for number in 0..10 {
        log.append_as_leader(&batch(TIME, &[&value(number)]), &later).unwrap();
    }
    assert!(read_bytes(&log, Offset(0), 1000).is_empty());
    assert_eq!(log.set_high_watermark(Offset(4)), Offset(4));
    check(&log, 0, 4);
    check(&log, 3, 4);
    assert_eq!(log.advance_high_watermark(Offset(2)), Offset(4));
    assert_eq!(log.advance_high_watermark(Offset(99)), Offset(10));
    check(&log, 0, 10);
}

#[test]
fn segments_roll_by_size_time_and_index() {
    for (what, config) in [
        ("size", crate::LogConfig { segment_bytes: 1000, ..Default::default() }),
        ("time", crate::LogConfig { segment_ms: 20, ..Default::default() }),
        (
            "index",
            crate::LogConfig { segment_index_bytes: 40, index_interval_bytes: 1, ..Default::default() },
        ),
    ] {
        let mut world = World::new(1);
        world.config = config;
        let log = world.open(LastShutdown::Unclean);
        fill(&log, 100);
        assert!(log.view().segment_count() > 5, "by {what}: {}", log.view().segment_count());
        check(&log, 0, 200);
        world.recovery_point = log.recovery_point();
        assert!(world.recovery_point > Offset(0), "sealed segments are flushed in the background");
        drop(log);
        check(&world.open(LastShutdown::Unclean), 0, 200);
    }
}

#[test]
fn a_batch_larger_than_a_segment_is_refused() {
    let mut world = World::new(1);
    world.config.segment_bytes = 100;
    let log = world.open(LastShutdown::Unclean);
    let error = log.append_as_leader(&batch(TIME, &[&[0; 100]]), &OPTIONS).unwrap_err();
    assert_eq!(error.error_code(), ErrorCode::RecordListTooLarge);
    assert!(log.view().is_empty());
}

#[test]
fn followers_append_what_leaders_wrote() {
    let world = World::new(1);
    let leader = world.open(LastShutdown::Unclean);
    fill(&leader, 50);
    let bytes = read_bytes(&leader, Offset(0), 1 << 20);
    let mut other = World::new(2);
    other.config.segment_bytes = 700;
    let follower = other.open(LastShutdown::Unclean);
    let half = bytes.len() / 2;
    let appended = follower.append_as_follower(&bytes[..half], OPTIONS.leader_epoch).unwrap().unwrap();
    let rest = read_bytes(&leader, appended.end, 1 << 20);
    follower.append_as_follower(&rest, OPTIONS.leader_epoch).unwrap().unwrap();
    assert!(follower.append_as_follower(&rest, OPTIONS.leader_epoch).is_err(), "offsets increase");
    assert!(follower.view().segment_count() > 5);
    follower.set_high_watermark(leader.view().end);
    check(&follower, 0, 100);
}

#[test]
fn truncation_cuts_at_batches() {
    let mut world = World::new(1);
    world.config.segment_bytes = 1000;
    world.config.index_interval_bytes = 100;
    let log = world.open(LastShutdown::Unclean);
    fill(&log, 100);
    for (target, end) in [(500, 200), (199, 198), (150, 150), (31, 30), (1, 0)] {
        log.truncate_to(Offset(target)).unwrap();
        assert_eq!(log.view().end, Offset(end), "truncating to {target}");
        check(&log, 0, end);
    }
    fill(&log, 10);
    check(&log, 0, 20);
    log.truncate_fully(Offset(1000)).unwrap();
    let view = log.view();
    assert_eq!((view.log_start, view.high_watermark, view.end), (Offset(1000), Offset(1000), Offset(1000)));
    fill(&log, 3);
    check(&log, 1000, 1006);
    drop(log);
    check(&world.open(LastShutdown::Unclean), 1000, 1006);
}

#[test]
fn the_log_start_moves_and_segments_follow() {
    let mut world = World::new(1);
    world.config.segment_bytes = 1000;
    let log = world.open(LastShutdown::Unclean);
    fill(&log, 100);
    let before = log.view().segment_count();
    log.advance_log_start(Offset(101), LogStartReason::ClientRecordDeletion).unwrap();
    assert!(log.advance_log_start(Offset(201), LogStartReason::ClientRecordDeletion).is_err());
    check(&log, 101, 200);
    let removed = log.apply_retention().unwrap();
    assert!(removed > 0);
    assert_eq!(log.view().segment_count(), before - removed);
    check(&log, 101, 200);
    let files = || world.host.disk().list("/data/orders-0").unwrap();
    assert!(files().iter().any(|entry| entry.name.ends_with(".deleted")));
    world.host.simulation().unwrap().advance(std::time::Duration::from_secs(61));
    log.remove_retired().unwrap();
    assert!(!files().iter().any(|entry| entry.name.ends_with(".deleted")));
    world.log_start = Offset(101);
    drop(log);
    let log = world.open(LastShutdown::Unclean);
    assert_eq!(log.view().log_start, Offset(101));
    check(&log, 101, 200);
}

#[test]
fn retention_by_age_may_take_the_active_segment() {
    let mut world = World::new(1);
    world.config.segment_bytes = 1000;
    world.config.retention_ms = Some(60_000);
    let log = world.open(LastShutdown::Unclean);
    fill(&log, 100);
    assert_eq!(log.apply_retention().unwrap(), 0);
    world.host.simulation().unwrap().advance(std::time::Duration::from_secs(120));
    assert!(log.apply_retention().unwrap() > 1);
    let view = log.view();
    assert_eq!((view.log_start, view.end, view.segment_count()), (Offset(200), Offset(200), 1));
    assert_eq!(log.apply_retention().unwrap(), 0);
    drop(log);
    let log = world.open(LastShutdown::Unclean);
    assert_eq!(log.view().end, Offset(200), "offsets are not given again");
    fill(&log, 1);
    check(&log, 200, 202);
}

#[test]
fn retention_by_size_keeps_what_is_wanted() {
    let mut world = World::new(1);
    world.config.segment_bytes = 1000;
    world.config.retention_bytes = Some(3000);
    let log = world.open(LastShutdown::Unclean);
    fill(&log, 100);
    log.apply_retention().unwrap();
    let size = log.view().size();
    assert!((3000..4000).contains(&size), "{size}");
}

#[test]
fn offsets_are_found_by_timestamp() {
    let mut world = World::new(1);
    world.config.segment_bytes = 1000;
    world.config.index_interval_bytes = 200;
    let log = world.open(LastShutdown::Unclean);
    fill(&log, 100);
    let look = |log: &Log| {
        for offset in 0..200 {
            // Both records of a batch have its first one's number for a timestamp.
            let found = log.offset_for_timestamp(Timestamp(TIME + offset)).unwrap();
            let expected = offset + offset % 2;
            let expected = (expected < 200).then_some((Offset(expected), Timestamp(TIME + expected)));
            assert_eq!(found.map(|it| (it.offset, it.timestamp)), expected, "at {offset}");
        }
        assert_eq!(log.offset_for_timestamp(Timestamp(TIME + 199)).unwrap(), None);
        assert_eq!(log.offset_for_timestamp(Timestamp(0)).unwrap().unwrap().offset, Offset(0));
        assert_eq!(log.offset_of_max_timestamp().unwrap().unwrap().offset, Offset(198));
    };
    look(&log);
    drop(log);
    look(&world.open(LastShutdown::Unclean));
}

#[test]
fn what_a_producer_sends_again_is_there_once() {
    let mut world = World::new(1);
    world.config.segment_bytes = 600;
    let log = world.open(LastShutdown::Unclean);
    let send = |log: &std::sync::Arc<Log>, sequence| {
        log.append_as_leader(&produced(7, sequence, false, &[&value(sequence as usize)]), &OPTIONS)
    };
    for sequence in 0..20 {
        assert_eq!(send(&log, sequence).unwrap().duplicate, Duplicate::No);
        let again = send(&log, sequence).unwrap();
        assert_eq!((again.duplicate, again.first), (Duplicate::Yes, Offset(i64::from(sequence))));
    }
    assert_eq!(send(&log, 22).unwrap_err().error_code(), ErrorCode::OutOfOrderSequenceNumber);
    let reopened = |log: std::sync::Arc<Log>, last_shutdown| {
        drop(log);
        let log = world.open(last_shutdown);
        // A snapshot has each producer's last batch, the log those before it.
        for sequence in 15..20 {
            let again = send(&log, sequence).map(|it| (it.duplicate, it.first));
            let first_time = (Duplicate::Yes, Offset(i64::from(sequence)));
            assert_eq!(again.unwrap(), first_time, "{sequence} after {last_shutdown:?}");
        }
        assert_eq!(send(&log, 14).unwrap_err().error_code(), ErrorCode::OutOfOrderSequenceNumber);
        check(&log, 0, 20);
        log
    };
    let log = reopened(log, LastShutdown::Unclean);
    log.close_cleanly().unwrap();
    let log = reopened(log, LastShutdown::Clean);
    log.truncate_to(Offset(17)).unwrap();
    assert_eq!(send(&log, 17).unwrap().duplicate, Duplicate::No);
    for sequence in 13..17 {
        assert_eq!(send(&log, sequence).unwrap().duplicate, Duplicate::Yes, "{sequence} after a truncation");
    }
}

#[test]
fn answers_that_were_lost_with_a_stop_are_given_again() {
    for segment_bytes in [1 << 20, 2000] {
        let mut world = World::new(1);
        world.config = crate::LogConfig { segment_bytes, index_interval_bytes: 1, ..Default::default() };
        let log = world.open(LastShutdown::Unclean);
        let send = |log: &std::sync::Arc<Log>, producer: i64, sequence: i32| {
            log.append_as_leader(&produced(producer, sequence, false, &[b"value"]), &OPTIONS)
        };
        // Ten that take turns, one that wrote twice and long ago, and others' records between them.
        let mut first_time = std::collections::BTreeMap::new();
        for sequence in 0..12 {
            for producer in (1..=10).chain((sequence < 2).then_some(11)) {
                let appended = send(&log, producer, sequence).unwrap();
                first_time.insert((producer, sequence), appended.first);
            }
            append(&log, TIME, &[b"of nobody"]);
        }
        log.close_cleanly().unwrap();
        world.recovery_point = log.recovery_point();
        drop(log);
        let log = world.open(LastShutdown::Clean);
        let newest = |producer: i64, sequence: i32| producer <= 10 && sequence >= 7;
        for ((producer, sequence), first) in first_time.iter().filter(|((it, at), _)| newest(*it, *at)) {
            let again = send(&log, *producer, *sequence).map(|it| (it.duplicate, it.first));
            assert_eq!(again.unwrap(), (Duplicate::Yes, *first), "{producer} {sequence} of {segment_bytes}");
        }
        assert_eq!(send(&log, 11, 2).unwrap().duplicate, Duplicate::No);
        assert_eq!(send(&log, 1, 12).unwrap().duplicate, Duplicate::No);
    }
}

#[test]
fn batches_before_a_snapshot_are_not_missed_where_the_log_is_damaged() {
    let mut world = World::new(1);
    world.config.segment_bytes = 1000;
    let log = world.open(LastShutdown::Unclean);
    for sequence in 0..20 {
        log.append_as_leader(&produced(7, sequence, false, &[b"value"]), &OPTIONS).unwrap();
    }
    log.close_cleanly().unwrap();
    world.recovery_point = log.recovery_point();
    let sealed = log.view().segments[log.view().segments.len() - 2].log_name();
    let path = log.path().join(sealed.to_string());
    drop(log);
    let file = world.host.disk().open(path, Open::Write).unwrap();
    file.write_all_at(&[0xff; 300], 0).unwrap();
    let log = world.open(LastShutdown::Clean);
    let again = log.append_as_leader(&produced(7, 19, false, &[b"value"]), &OPTIONS).unwrap();
    assert_eq!((again.duplicate, again.first), (Duplicate::Yes, Offset(19)));
}

#[test]
fn transactions_hold_readers_back_and_aborted_ones_are_named() {
    let mut world = World::new(1);
    world.config.segment_bytes = 500;
    let log = world.open(LastShutdown::Unclean);
    let mut sequences = [0; 4];
    let mut send = |log: &std::sync::Arc<Log>, producer: usize, transactional| {
        let sequence = sequences[producer];
        sequences[producer] += 1;
        let batch = produced(producer as i64, sequence, transactional, &[b"x"]);
        log.append_as_leader(&batch, &OPTIONS).unwrap();
    };
    send(&log, 3, false);
    send(&log, 1, true);
    send(&log, 2, true);
    assert_eq!(log.view().last_stable, Offset(1));
    end_transaction(&log, 2, false);
    assert_eq!(log.view().last_stable, Offset(1));
    for _ in 0..10 {
        send(&log, 3, false);
    }
    end_transaction(&log, 1, true);
    assert_eq!(log.view().last_stable, log.view().end);
    for round in 0..20 {
        send(&log, 1 + round % 2, true);
        end_transaction(&log, 1 + (round % 2) as i64, round % 3 == 0);
    }
    let aborted = |log: &Log, from: i64, max_bytes| {
        let view = log.view();
        let limit = ReadLimit::LastStable;
        let request = ReadRequest { from: Offset(from), max_bytes, limit, first_batch: FirstBatch::Whole };
        let answer = log.read(&view, &request).unwrap();
        answer.aborted.iter().map(|it| (it.first_offset.get(), it.last_offset.get())).collect::<Vec<_>>()
    };
    let all = |log: &Log| {
        let found = aborted(log, 0, 1 << 20);
        assert_eq!(found.len(), 1 + 13);
        assert_eq!(found[0], (2, 3));
        assert_eq!(aborted(log, 0, 1), [], "only of the offsets that are read");
        assert_eq!(aborted(log, 2, 1), [(2, 3)]);
        found
    };
    let expected = all(&log);
    drop(log);
    let log = world.open(LastShutdown::Unclean);
    assert_eq!(all(&log), expected);
    log.close_cleanly().unwrap();
    let disk = world.host.disk();
    let index = "/data/orders-0/00000000000000000000.txnindex";
    let mut bytes = disk.read(index, 1 << 20).unwrap();
    bytes[25] ^= 1;
    disk.write_atomically(index, &bytes).unwrap();
    let log = world.open(LastShutdown::Clean);
    assert_eq!(all(&log), expected, "a damaged index is made anew");
}

#[test]
fn epochs_are_found_after_any_stop() {
    let world = World::new(1);
    let mut log = world.open(LastShutdown::Unclean);
    for (epoch, batches) in [(3, 2), (4, 0), (7, 3)] {
        log.begin_epoch(ottla_base::LeaderEpoch(epoch));
        for _ in 0..batches {
            let options = crate::AppendOptions { leader_epoch: ottla_base::LeaderEpoch(epoch), ..OPTIONS };
            log.append_as_leader(&batch(TIME, &[b"x"]), &options).unwrap();
        }
    }
    let end_of = |log: &Log, epoch| {
        let end = log.end_of_epoch(ottla_base::LeaderEpoch(epoch));
        (end.epoch.get(), end.end.get())
    };
    for last_shutdown in [LastShutdown::Unclean, LastShutdown::Clean, LastShutdown::Unclean] {
        assert_eq!(end_of(&log, 3), (3, 2));
        assert_eq!(end_of(&log, 7), (7, 5));
        assert_eq!(end_of(&log, 8), (-1, -1));
        log.close_cleanly().unwrap();
        log = world.open(last_shutdown);
    }
    world.host.disk().write_atomically("/data/orders-0/leader-epoch-checkpoint", b"nonsense").unwrap();
    log = world.open(LastShutdown::Clean);
    assert_eq!(end_of(&log, 3), (3, 2), "a damaged file is made anew");
    assert_eq!(end_of(&log, 7), (7, 5));
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let world = World::new(1);
    let log = world.open(LastShutdown::Unclean);
    fill(&log, 10);
    let disk = world.host.simulation().unwrap().disk();
    disk.set_capacity(0);
    let refused = log.append_as_leader(&batch(TIME, &[b"no"]), &OPTIONS).unwrap_err();
    assert_eq!(refused.error_code(), ErrorCode::KafkaStorageError);
    assert!(log.directory().failure().is_none());
    disk.set_capacity(u64::MAX);
    fill(&log, 10);
    check(&log, 0, 40);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_a_flush_share_it() {
    let mut world = World::new(1);
    world.config.flush_messages = 1;
    let log = world.open(LastShutdown::Unclean);
    let mut ends = Vec::new();
    for number in 0..20 {
        let appended = append(&log, TIME, &[&value(number)]);
        assert!(appended.flush_first);
        ends.push(appended.end);
    }
    assert_eq!(log.view().high_watermark, Offset(0), "nothing is seen before it is durable");
    let disk = world.host.simulation().unwrap().disk();
    let before = disk.operations();
    let waiting: Vec<_> = ends
        .into_iter()
        .map(|end| {
            let log = log.clone();
            tokio::spawn(async move { log.flush_to(end).await })
        })
        .collect();
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    assert!(disk.operations() - before < 20, "{} operations for one flush", disk.operations() - before);
    assert_eq!(log.recovery_point(), Offset(20));
    log.advance_high_watermark(Offset(20));
    drop(log);
    disk.crash();
    world.recovery_point = Offset(20);
    check(&world.open(LastShutdown::Unclean), 0, 20);
}

#[test]
fn a_view_outlives_its_segments() {
    let mut world = World::new(1);
    world.config.segment_bytes = 1000;
    world.config.file_delete_delay_ms = 0;
    let log = world.open(LastShutdown::Unclean);
    fill(&log, 100);
    let view = log.view();
    log.advance_log_start(Offset(150), LogStartReason::ClientRecordDeletion).unwrap();
    log.apply_retention().unwrap();
    log.remove_retired().unwrap();
    let limit = ReadLimit::HighWatermark;
    let request = ReadRequest { from: Offset(0), max_bytes: 100, limit, first_batch: FirstBatch::Whole };
    match log.read(&view, &request) {
        Ok(answer) => assert!(answer.bytes > 0, "the file was still open"),
        Err(error) => assert_eq!(error.error_code(), ErrorCode::OffsetOutOfRange),
    }
    check(&log, 150, 200);
}

/// `testdata/kafka-3.9.1/legacy.log` is what `xtask/java/LegacySegment.java` writes: 96 records of formats 0 and 1,
/// plain and compressed. The header of a compressed batch has its last offset only, which is no gap.
#[test]
fn records_of_old_formats_survive_an_unclean_stop() {
    let legacy = include_bytes!("../../testdata/kafka-3.9.1/legacy.log");
    let world = World::new(1);
    let directory = std::path::Path::new("/data/orders-0");
    world.host.disk().create_dir_all(directory).unwrap();
    world.host.disk().write_atomically(directory.join("00000000000000000000.log"), legacy).unwrap();
    for run in 0..3 {
        let log = world.open(LastShutdown::Unclean);
        let end = 96 + 2 * run;
        assert_eq!(log.view().end, Offset(end));
        for from in [0, 1, 11, 12, 50, 95] {
            let bytes = read_bytes(&log, Offset(from), 1 << 20);
            let first = ottla_record::Batches::new(&bytes).next().unwrap().unwrap();
            assert!(first.last_offset() >= Offset(from), "a read from {from}");
        }
        assert_eq!(&read_bytes(&log, Offset(0), 1 << 20)[..legacy.len()], legacy);
        append(&log, TIME, &[b"one", b"two"]);
        log.close();
    }
}
