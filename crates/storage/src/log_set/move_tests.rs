//! Logs that move between log directories: bytes, epochs and producers go along, and a stop at any operation leaves
//! exactly one log with everything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_base::{BrokerEpoch, LeaderEpoch, Offset, ProducerId, Timestamp, Uuid};
use ottla_host::Host;
use ottla_host::disk::Open;
use ottla_host::disk::simulated::{Failure, Fault, Operation};
use ottla_record::{BatchBuilder, BatchOptions};

use super::crash_tests::{Stop, block_on, fail_from};
use super::{CopyStep, DirectoryOptions, Intervals, LogSet, LogSetOptions, Move, OPEN_FILES_MAX};
use crate::log::LogStartReason;
use crate::producer_state::ProducerRules;
use crate::test_fixture::{OPTIONS, TIME, accepted, append, batch, produced, read_all, read_bytes};
use crate::{CleanLimits, CleanStep, Log, LogConfig, Tiering, TopicPartition};

const TOPIC: Uuid = Uuid([7; 16]);
const CHUNK_BYTES: u32 = 500;

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn config() -> Arc<LogConfig> {
    let config = LogConfig { segment_bytes: 600, index_interval_bytes: 150, ..LogConfig::default() };
    Arc::new(LogConfig { retention_ms: None, file_delete_delay_ms: 0, ..config })
}

async fn open(host: &Host) -> Option<Arc<LogSet>> {
    let directory = |at: u8| DirectoryOptions {
        path: PathBuf::from(format!("/data{at}")),
        id: Uuid([at + 100; 16]),
        failure: None,
    };
    let options = LogSetOptions {
        host: host.clone(),
        directories: vec![directory(0), directory(1)],
        default_config: config(),
        topic_configs: Arc::new(|_| None),
        producers: ProducerRules { verify_transactions: false, ..ProducerRules::default() },
        recovery_threads_per_directory: 1,
        open_files_max: OPEN_FILES_MAX,
        intervals: Intervals::default(),
    };
    LogSet::open(options).await.ok().map(|(set, _)| set)
}

fn log_of(set: &LogSet) -> Option<Arc<Log>> {
    set.get_or_create(&orders(), TOPIC, config(), Some(Uuid([100; 16]))).ok()
}

/// Copies until the copy is level; `None` when a disk has failed.
fn copy_all(set: &LogSet) -> Option<()> {
    while let CopyStep::Copied(_) = set.advance_move(&orders(), CHUNK_BYTES).ok()? {}
    Some(())
}

fn names(host: &Host, directory: &str) -> Vec<String> {
    let listed = host.disk().list(directory).unwrap();
    listed.into_iter().filter(|it| it.is_dir).map(|it| it.name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_log_moves_with_its_bytes_epochs_and_producers() {
    let host = Host::simulated(1);
    let set = open(&host).await.unwrap();
    let log = log_of(&set).unwrap();
    for sequence in 0..20 {
        append(&log, TIME, &[b"plain", b"and more of it"]);
        log.append_as_leader(&produced(1, sequence, false, &[b"idempotent"]), &OPTIONS).unwrap();
    }
    log.begin_epoch(LeaderEpoch(9));
    log.advance_log_start(Offset(31), LogStartReason::ClientRecordDeletion).unwrap();
    let start = log.view().log_start;
    let (bytes, before) = (read_bytes(&log, start, 1 << 20), log.view());

    assert!(set.begin_move(&orders(), Path::new("/nowhere")).is_err());
    assert_eq!(set.begin_move(&orders(), Path::new("/data0")).unwrap(), Move::Done);
    assert_eq!(set.begin_move(&orders(), Path::new("/data1")).unwrap(), Move::Begun);
    assert_eq!(set.begin_move(&orders(), Path::new("/data1")).unwrap(), Move::UnderWay);
    assert_eq!(set.move_target(&orders()), Some(Uuid([101; 16])));
    assert!(names(&host, "/data1")[0].ends_with("-future"));
    copy_all(&set).unwrap();
    let mut promoted = None;
    assert!(set.finish_move(&orders(), |log| promoted = Some(log.clone())).unwrap());
    let moved = promoted.unwrap();
    assert!(Arc::ptr_eq(&moved, &set.get(&orders()).unwrap()) && !moved.is_future());
    let after = moved.view();
    assert_eq!((after.log_start, after.high_watermark, after.end), (start, before.end, before.end));
    assert_eq!(read_bytes(&moved, start, 1 << 20), bytes, "bytes are unchanged");
    assert_eq!(moved.latest_epoch(), Some(LeaderEpoch(9)));
    assert_eq!(names(&host, "/data1"), ["orders-0"]);
    assert!(names(&host, "/data0")[0].ends_with("-delete"));
    let refused = log.append_as_leader(&batch(TIME, &[b"late"]), &OPTIONS);
    assert!(refused.is_err(), "the old log takes nothing");
    moved.append_as_leader(&produced(1, 20, false, &[b"next"]), &OPTIONS).unwrap();
    set.remove_files();
    assert!(names(&host, "/data0").is_empty());
    assert!(!set.finish_move(&orders(), |_| ()).unwrap());

    // And back again, after a kill.
    let end = moved.view().end;
    drop((set, log, moved));
    host.simulation().unwrap().disk().kill();
    let set = open(&host).await.unwrap();
    let log = log_of(&set).unwrap();
    assert_eq!((log.view().log_start, log.view().end), (start, end));
    log.with_producers(|it| assert_eq!(it.entry(ProducerId(1)).unwrap().last_sequence(), 20));
    assert_eq!(set.begin_move(&orders(), Path::new("/data0")).unwrap(), Move::Begun);
    assert!(set.give_up_move(&orders()).unwrap());
    assert_eq!(set.begin_move(&orders(), Path::new("/data0")).unwrap(), Move::Begun);
    copy_all(&set).unwrap();
    assert!(set.finish_move(&orders(), |_| ()).unwrap());
    set.stop(BrokerEpoch(1)).await;
    let set = open(&host).await.unwrap();
    assert_eq!(set.get(&orders()).unwrap().view().end, end);
}

#[tokio::test(start_paused = true)]
async fn a_copy_follows_a_log_whose_start_moves_away() {
    let host = Host::simulated(1);
    let set = open(&host).await.unwrap();
    let log = log_of(&set).unwrap();
    for _ in 0..40 {
        append(&log, TIME, &[b"a record", b"another"]);
    }
    set.begin_move(&orders(), Path::new("/data1")).unwrap();
    set.advance_move(&orders(), 100).unwrap();
    log.advance_log_start(Offset(61), LogStartReason::ClientRecordDeletion).unwrap();
    log.apply_retention().unwrap();
    copy_all(&set).unwrap();
    assert!(set.finish_move(&orders(), |_| ()).unwrap());
    let moved = set.get(&orders()).unwrap();
    assert_eq!((moved.view().log_start, moved.view().end), (Offset(61), Offset(80)));
    assert_eq!(read_all(&moved, Offset(61), 100).len(), 19);

    // A log without records keeps its offsets.
    moved.advance_log_start(Offset(80), LogStartReason::ClientRecordDeletion).unwrap();
    moved.apply_retention().unwrap();
    set.begin_move(&orders(), Path::new("/data0")).unwrap();
    copy_all(&set).unwrap();
    assert!(set.finish_move(&orders(), |_| ()).unwrap());
    let back = set.get(&orders()).unwrap();
    assert_eq!((back.view().log_start, back.view().end), (Offset(80), Offset(80)));
    assert_eq!(append(&back, TIME, &[b"next"]).first, Offset(80));
}

/// What was acknowledged, and what of it was flushed.
#[derive(Default)]
struct Written {
    acknowledged: usize,
    flushed: usize,
}

fn value(number: usize) -> Vec<u8> {
    format!("value {number}").into_bytes()
}

fn write(log: &Arc<Log>, written: &mut Written, count: usize) -> Option<()> {
    for _ in 0..count {
        log.append_as_leader(&batch(TIME, &[&value(written.acknowledged)]), &OPTIONS).ok()?;
        written.acknowledged += 1;
    }
    Some(())
}

/// Moves a log that is written to, until the disk fails.
async fn run(host: &Host, written: &mut Written) -> Option<()> {
    let set = open(host).await?;
    let log = log_of(&set)?;
    write(&log, written, 12)?;
    log.flush_now().ok()?;
    written.flushed = written.acknowledged;
    set.write_checkpoints();
    set.begin_move(&orders(), Path::new("/data1")).ok()?;
    set.advance_move(&orders(), CHUNK_BYTES).ok()?;
    write(&log, written, 5)?;
    copy_all(&set)?;
    write(&log, written, 2)?;
    log.flush_now().ok()?;
    written.flushed = written.acknowledged;
    write(&log, written, 1)?;
    set.finish_move(&orders(), |_| ()).ok()?;
    // What the copy took over is durable.
    written.flushed = written.acknowledged;
    let moved = set.get(&orders())?;
    write(&moved, written, 3)?;
    set.remove_files();
    write(&moved, written, 3)
}

async fn stop_at(operation: u64, stop: Stop) {
    let host = Host::simulated(operation);
    fail_from(&host, operation);
    let mut written = Written::default();
    let _ = run(&host, &mut written).await;
    let disk = host.simulation().unwrap().disk();
    let at_least = match stop {
        Stop::Kill => written.acknowledged,
        Stop::PowerCut => written.flushed,
    };
    match stop {
        Stop::Kill => disk.kill(),
        Stop::PowerCut => disk.crash(),
    }
    disk.heal();
    let what = format!("{stop:?} at operation {operation}");
    let check = |log: &Log| {
        let found = read_all(log, Offset(0), 300);
        assert!(found.len() >= at_least, "{what}: {} of {at_least} records", found.len());
        for (at, (offset, found)) in found.into_iter().enumerate() {
            assert_eq!((offset, found), (at as i64, value(at)), "{what}");
        }
    };
    let set = open(&host).await.unwrap_or_else(|| panic!("{what}: the set opens"));
    assert!(set.damaged().is_empty(), "{what}: {:?}", set.damaged());
    let log = log_of(&set).unwrap();
    log.advance_high_watermark(log.view().end);
    check(&log);
    // What was under way goes on; otherwise it is begun once more.
    let mut end = log.view().end;
    log.append_as_leader(&batch(TIME, &[&value(end.get() as usize)]), &OPTIONS).unwrap();
    end = end.after(1);
    set.begin_move(&orders(), Path::new("/data1")).unwrap();
    copy_all(&set).unwrap();
    set.finish_move(&orders(), |_| ()).unwrap();
    let moved = set.get(&orders()).unwrap();
    check(&moved);
    assert_eq!(moved.view().end, end, "{what}");
    set.remove_files();
    assert!(names(&host, "/data0").is_empty(), "{what}: {:?}", names(&host, "/data0"));
    assert_eq!(names(&host, "/data1"), ["orders-0"], "{what}");
    set.stop(BrokerEpoch(1)).await;
    let set = open(&host).await.unwrap();
    assert_eq!(set.get(&orders()).unwrap().view().end, end, "{what}: after a clean stop");
}

#[test]
fn a_stop_at_any_operation_of_a_move_leaves_one_log_with_everything() {
    block_on(async {
        let host = Host::simulated(0);
        run(&host, &mut Written::default()).await.unwrap();
        for operation in 0..host.simulation().unwrap().disk().operations() {
            stop_at(operation, Stop::Kill).await;
            stop_at(operation, Stop::PowerCut).await;
        }
    });
}

/// Keys that are overwritten, in several segments.
fn fill(log: &Arc<Log>, rounds: i32) {
    for round in 0..rounds {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let value = format!("value {round}");
        builder.append(Timestamp(TIME), Some(&[round as u8 % 3]), Some(value.as_bytes()), []);
        log.append_as_leader(&accepted(builder.build()), &OPTIONS).unwrap();
    }
}

const LIMITS: CleanLimits =
    CleanLimits { dedupe_bytes: 1 << 16, load_factor: 0.9, io_bytes: 4096, message_bytes: 1 << 20 };

fn compacted() -> Arc<LogConfig> {
    Arc::new(LogConfig { cleanup_compact: true, cleanup_delete: false, ..(*config()).clone() })
}

fn checkpoint(host: &Host, directory: &str) -> String {
    let path = format!("{directory}/cleaner-offset-checkpoint");
    String::from_utf8(host.disk().read(path, 1000).unwrap_or_default()).unwrap()
}

fn clean_all(set: &LogSet) -> usize {
    let mut passes = 0;
    while let (_, Some(mut cleaning)) = set.next_to_clean(LIMITS) {
        while let CleanStep::Worked(_) = cleaning.step(100).unwrap() {}
        set.cleaning_done(cleaning.log());
        passes += 1;
    }
    passes
}

#[tokio::test(start_paused = true)]
async fn how_far_a_log_was_compacted_is_written_down_and_goes_along() {
    let host = Host::simulated(3);
    let set = open(&host).await.unwrap();
    set.prepare_cleaner();
    assert_eq!(checkpoint(&host, "/data0"), "");
    let log = log_of(&set).unwrap();
    log.set_config(compacted());
    assert_eq!(clean_all(&set), 0);
    fill(&log, 60);
    assert_eq!(clean_all(&set), 1);
    let cleaned = set.cleaned_to(&orders()).unwrap();
    assert_eq!(checkpoint(&host, "/data0"), format!("0\n1\norders 0 {cleaned}\n"));
    assert_eq!(cleaned, *log.segment_bases().last().unwrap());

    assert_eq!(set.begin_move(&orders(), Path::new("/data1")).unwrap(), Move::Begun);
    fill(&log, 60);
    assert_eq!(clean_all(&set), 0, "a log that moves is not compacted");
    copy_all(&set).unwrap();
    assert!(set.finish_move(&orders(), |_| ()).unwrap());
    assert_eq!(checkpoint(&host, "/data0"), "0\n0\n");
    assert_eq!(checkpoint(&host, "/data1"), format!("0\n1\norders 0 {cleaned}\n"));
    set.get(&orders()).unwrap().set_config(compacted());
    assert_eq!(clean_all(&set), 1);

    let log = set.get(&orders()).unwrap();
    set.truncate_to(&log, Offset(20)).unwrap();
    assert_eq!(checkpoint(&host, "/data1"), "0\n1\norders 0 20\n");
    set.stop(BrokerEpoch(1)).await;
    let set = open(&host).await.unwrap();
    assert_eq!(set.cleaned_to(&orders()), Some(Offset(20)));
    set.delete(&orders()).unwrap();
    set.write_checkpoints();
    assert_eq!(checkpoint(&host, "/data1"), "0\n0\n");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_compacted_is_given_up_and_others_are_not() {
    let host = Host::simulated(4);
    let set = open(&host).await.unwrap();
    let other = TopicPartition::new("other", 0);
    let log = log_of(&set).unwrap();
    log.set_config(compacted());
    let id = Some(Uuid([100; 16]));
    let second = set.get_or_create(&other, Uuid([8; 16]), compacted(), id).unwrap();
    fill(&log, 60);
    fill(&second, 60);
    let path = log.path().join("00000000000000000000.log");
    host.disk().open(path, Open::Write).unwrap().write_all_at(b"?", 100).unwrap();
    let mut cleaned = Vec::new();
    while let (found, Some(mut cleaning)) = set.next_to_clean(LIMITS) {
        assert!(found.dirtiest_ratio > 0.9 && found.due > 0);
        let log = cleaning.log().clone();
        match cleaning.step(u64::MAX) {
            Ok(_) => cleaned.push(log.partition().clone()),
            Err(error) => set.cleaning_failed(&log, &error),
        }
    }
    assert_eq!(cleaned, [other]);
    let directories = set.cleaner_directories();
    assert_eq!(directories[0].uncleanable, [orders()]);
    assert!(directories[0].uncleanable_bytes > 0 && directories[1].uncleanable.is_empty());
    // Retention of compacted logs waits for the cleaner; that of others does not.
    let bases = second.segment_bases().len();
    second.advance_log_start(second.view().end, LogStartReason::ClientRecordDeletion).unwrap();
    set.apply_retention();
    assert_eq!(second.segment_bases().len(), bases);
    set.retain_compacted();
    assert_eq!(second.segment_bases().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_log_of_which_a_part_is_tiered_moves_with_what_is_left_of_it() {
    let host = Host::simulated(1);
    let set = open(&host).await.unwrap();
    let tiering = Tiering { copy_disabled: false, local_retention_ms: None, local_retention_bytes: Some(0) };
    let config = Arc::new(LogConfig { tiering: Some(tiering), ..(*config()).clone() });
    let log = set.get_or_create(&orders(), TOPIC, config, Some(Uuid([100; 16]))).unwrap();
    for at in 0..40 {
        append(&log, TIME + at, &[b"plain", b"and more of it"]);
    }
    let sealed = log.sealed_segments(Offset(0), log.view().end).unwrap();
    log.set_tiered_end(sealed[2].end);
    assert_eq!(log.apply_retention().unwrap(), 3);
    log.advance_log_start(Offset(5), LogStartReason::ClientRecordDeletion).unwrap();
    let (before, epochs) = (log.view(), log.with_epochs(Clone::clone));
    let records = read_all(&log, before.local_start(), 1000);
    assert_eq!(set.begin_move(&orders(), Path::new("/data1")).unwrap(), Move::Begun);
    copy_all(&set).unwrap();
    let mut promoted = None;
    assert!(set.finish_move(&orders(), |log| promoted = Some(log.clone())).unwrap());
    let moved = promoted.unwrap();
    let after = moved.view();
    assert_eq!((after.log_start, after.local_start()), (Offset(5), before.local_start()));
    assert_eq!((after.high_watermark, after.end), (before.high_watermark, before.end));
    assert_eq!(moved.with_epochs(Clone::clone), epochs);
    assert_eq!(moved.tiered_end(), Some(sealed[2].end));
    assert_eq!(read_all(&moved, after.local_start(), 1000), records);
}

/// A log on its way, with a copy that has all but the last records; stopped.
async fn stopped_on_its_way(host: &Host) {
    let set = open(host).await.unwrap();
    let log = log_of(&set).unwrap();
    let mut written = Written::default();
    write(&log, &mut written, 20).unwrap();
    set.begin_move(&orders(), Path::new("/data1")).unwrap();
    copy_all(&set).unwrap();
    write(&log, &mut written, 5).unwrap();
    set.stop(BrokerEpoch(1)).await;
}

fn lack_descriptors(host: &Host, on: &'static str) {
    let on = Box::new(move |path: &Path| path.to_string_lossy().contains(on));
    let (operation, failure) = (Operation::Open, Failure::NoDescriptor);
    host.simulation().unwrap().disk().inject(Fault { operation, on, after: 0, times: u64::MAX, failure });
}

/// The log is in its new directory alone, with everything.
fn check_moved(host: &Host, set: &LogSet, records: usize) {
    let log = set.get(&orders()).unwrap();
    assert!(!log.is_future());
    log.advance_high_watermark(log.view().end);
    let found: Vec<_> = read_all(&log, Offset(0), 300).into_iter().map(|it| it.1).collect();
    assert_eq!(found, (0..records).map(value).collect::<Vec<_>>());
    set.remove_files();
    assert_eq!((names(host, "/data0"), names(host, "/data1")), (Vec::new(), vec!["orders-0".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_lacks_descriptors_for_long_goes_on_later() {
    for log_lacks_them_too in [false, true] {
        let host = Host::simulated(5);
        stopped_on_its_way(&host).await;
        lack_descriptors(&host, if log_lacks_them_too { "orders-0" } else { "-future" });
        let set = open(&host).await.unwrap();
        assert_eq!(set.damaged().len(), 1 + usize::from(log_lacks_them_too));
        assert!(set.has_closed_copies());
        assert_eq!(log_of(&set).is_none(), log_lacks_them_too);
        assert_eq!(set.open_closed_copies(), !log_lacks_them_too);
        assert_eq!(set.move_target(&orders()), None);
        host.simulation().unwrap().disk().heal();
        let log = log_of(&set).unwrap();
        append(&log, TIME, &[&value(25)]);
        assert!(!set.open_closed_copies());
        assert!(!set.has_closed_copies() && set.damaged().is_empty());
        assert_eq!(set.move_target(&orders()), Some(Uuid([101; 16])));
        copy_all(&set).unwrap();
        assert!(set.finish_move(&orders(), |_| ()).unwrap());
        check_moved(&host, &set, 26);
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_lacks_descriptors_is_given_up_with_its_log_or_its_way() {
    let ways: [fn(&LogSet); 3] = [
        |set| assert!(set.delete(&orders()).unwrap()),
        |set| assert!(set.give_up_move(&orders()).unwrap()),
        |set| assert_eq!(set.begin_move(&orders(), Path::new("/data0")).unwrap(), Move::Done),
    ];
    for end in ways {
        let host = Host::simulated(6);
        stopped_on_its_way(&host).await;
        lack_descriptors(&host, "-future");
        let set = open(&host).await.unwrap();
        log_of(&set).unwrap();
        end(&set);
        assert!(!set.has_closed_copies() && set.damaged().is_empty());
        set.remove_files();
        assert_eq!(names(&host, "/data1"), Vec::<String>::new());
    }
}

/// The last process had begun to put the copy in the place of its log, and this one cannot open it at first.
#[tokio::test(start_paused = true)]
async fn a_copy_that_has_everything_and_lacks_descriptors_takes_its_place_later() {
    for (lacking, on) in [(Operation::Open, "-future"), (Operation::Rename, "-future")] {
        let host = Host::simulated(7);
        let set = open(&host).await.unwrap();
        let log = log_of(&set).unwrap();
        write(&log, &mut Written::default(), 20).unwrap();
        set.begin_move(&orders(), Path::new("/data1")).unwrap();
        copy_all(&set).unwrap();
        set.stop(BrokerEpoch(1)).await;
        drop((set, log));
        let copy = names(&host, "/data1")[0].clone();
        let deleted = format!("/data0/{}", crate::file_names::renamed_as_deleted(&copy).unwrap());
        host.disk().rename("/data0/orders-0", &deleted).unwrap();
        let fault = Fault {
            operation: lacking,
            on: Box::new(move |path: &Path| path.to_string_lossy().contains(on)),
            after: 0,
            times: u64::MAX,
            failure: Failure::NoDescriptor,
        };
        host.simulation().unwrap().disk().inject(fault);
        let set = open(&host).await.unwrap();
        assert!(log_of(&set).is_none(), "no empty log takes its place");
        set.remove_files();
        assert!(host.disk().exists(&deleted).unwrap(), "what tells that the copy has everything stays");
        assert!(log_of(&set).is_none());
        host.simulation().unwrap().disk().heal();
        log_of(&set).unwrap();
        check_moved(&host, &set, 20);
    }
}
