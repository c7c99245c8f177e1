//! A log of which a part is elsewhere.

use std::sync::Arc;

use ottla_base::{ErrorCode, Offset};

use crate::config::Tiering;
use crate::test_fixture::{TIME, World, append, read_all};
use crate::{FirstBatch, LastShutdown, Log, LogConfig, LogStartReason, ReadError, ReadLimit, ReadRequest};

fn tiered_world(tiering: Tiering) -> World {
    let mut world = World::new(7);
    world.config = LogConfig {
        segment_bytes: 200,
        retention_ms: None,
        file_delete_delay_ms: 0,
        tiering: Some(tiering),
        ..LogConfig::default()
    };
    world
}

const KEEP_NOTHING: Tiering =
    Tiering { copy_disabled: false, local_retention_ms: None, local_retention_bytes: Some(0) };

fn fill(log: &Arc<Log>, count: i64) {
    for at in 0..count {
        append(log, TIME + at, &[format!("value {at}").as_bytes()]);
    }
}

fn read_error(log: &Log, from: i64) -> ReadError {
    let request = ReadRequest {
        from: Offset(from),
        max_bytes: 100,
        limit: ReadLimit::End,
        first_batch: FirstBatch::Whole,
    };
    log.read(&log.view(), &request).unwrap_err()
}

#[test]
fn only_what_was_copied_leaves_the_disk_and_the_log_start_stays() {
    let world = tiered_world(KEEP_NOTHING);
    let log = world.open(LastShutdown::Unclean);
    fill(&log, 10);
    let sealed = log.sealed_segments(Offset::ZERO, log.view().last_stable).unwrap();
    assert!(sealed.len() >= 3, "{} segments", sealed.len());
    assert_eq!(log.apply_retention().unwrap(), 0, "nothing was copied");
    log.set_tiered_end(sealed[1].end);
    assert_eq!(log.apply_retention().unwrap(), 2);
    let view = log.view();
    assert_eq!((view.log_start, view.local_start()), (Offset::ZERO, sealed[1].end));
    assert!(matches!(read_error(&log, 0), ReadError::Tiered { .. }));
    assert_eq!(read_error(&log, 0).error_code(), ErrorCode::OffsetMovedToTieredStorage);
    assert_eq!(read_error(&log, -1).error_code(), ErrorCode::OffsetOutOfRange);
    let rest = read_all(&log, sealed[1].end, 1000);
    assert_eq!(rest.len() as i64, 10 - sealed[1].end.get());
    assert_eq!(log.only_local().1, sealed.len() - 2 + 1);
}

#[test]
fn an_active_segment_that_is_too_old_is_sealed_so_that_it_can_be_copied() {
    let keep_no_time = Tiering { local_retention_ms: Some(0), local_retention_bytes: None, ..KEEP_NOTHING };
    let world = tiered_world(keep_no_time);
    let log = world.open(LastShutdown::Unclean);
    fill(&log, 1);
    assert_eq!(log.view().segment_count(), 1);
    world.host.simulation().unwrap().advance(std::time::Duration::from_secs(1 << 40));
    assert_eq!(log.apply_retention().unwrap(), 0);
    assert_eq!(log.view().segment_count(), 2);
    log.set_tiered_end(Offset(1));
    assert_eq!(log.apply_retention().unwrap(), 1);
    assert_eq!((log.view().log_start, log.view().local_start()), (Offset(0), Offset(1)));
    assert_eq!(log.apply_retention().unwrap(), 0);
    assert_eq!(log.view().segment_count(), 1);
}

#[test]
fn the_log_start_and_the_epochs_of_what_is_elsewhere_survive_a_stop() {
    let mut world = tiered_world(KEEP_NOTHING);
    let log = world.open(LastShutdown::Unclean);
    fill(&log, 10);
    log.set_tiered_end(Offset(4));
    log.apply_retention().unwrap();
    log.advance_log_start(Offset(1), LogStartReason::ClientRecordDeletion).unwrap();
    let (before, epochs) = (log.view(), log.with_epochs(Clone::clone));
    log.close_cleanly().unwrap();
    drop(log);
    world.recovery_point = before.end;
    world.log_start = Offset(1);
    for last_shutdown in [LastShutdown::Clean, LastShutdown::Unclean] {
        let log = world.open(last_shutdown);
        let view = log.view();
        assert_eq!((view.log_start, view.local_start()), (Offset(1), before.local_start()));
        assert_eq!(view.end, before.end);
        assert_eq!(log.with_epochs(Clone::clone), epochs);
        assert_eq!(log.tiered_end(), None, "that is found out from the tier");
        log.close_cleanly().unwrap();
    }
    // A log that is not tiered any more begins where its disk does.
    world.config.tiering = None;
    let log = world.open(LastShutdown::Clean);
    assert_eq!(log.view().log_start, before.local_start());
}

#[test]
fn with_copying_disabled_the_disk_keeps_what_the_log_keeps() {
    let mut world = tiered_world(Tiering { copy_disabled: true, ..KEEP_NOTHING });
    world.config.retention_bytes = Some(200);
    let log = world.open(LastShutdown::Unclean);
    fill(&log, 10);
    assert!(log.apply_retention().unwrap() > 0);
    let view = log.view();
    assert!(view.size() >= 200, "{} bytes", view.size());
    assert_eq!(view.log_start, view.local_start());
}

#[test]
fn sealed_segments_are_handed_over_whole() {
    let world = tiered_world(KEEP_NOTHING);
    let log = world.open(LastShutdown::Unclean);
    fill(&log, 10);
    let sealed = log.sealed_segments(Offset(0), log.view().last_stable).unwrap();
    assert_eq!(sealed[0].base, Offset(0));
    for pair in sealed.windows(2) {
        assert_eq!(pair[0].end, pair[1].base);
    }
    let files = log.segment_files(sealed[1].base).unwrap().unwrap();
    assert_eq!(files.log_bytes, sealed[1].bytes);
    assert_eq!(files.time_index.len() % 12, 0);
    assert!(!files.time_index.is_empty());
    assert_eq!(files.transaction_index, None);
    assert_eq!(files.epochs, "0\n1\n3 0\n");
    assert!(!files.producers.is_empty());
    let active = log.view().segments.last().unwrap().base();
    assert!(log.segment_files(active).unwrap().is_none());
    assert!(log.segment_files(Offset(12_345)).unwrap().is_none());
    assert!(log.sealed_segments(Offset(0), sealed[0].end).unwrap().len() == 1);
}
