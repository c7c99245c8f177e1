//! Sets of logs on simulated disks: opened, made, deleted, stopped, and with a disk that fails.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{BrokerEpoch, Offset, Uuid};
use ottla_host::Host;
use ottla_host::disk::simulated::{Failure, Fault, Operation};

use super::{DirectoryOptions, Found, Intervals, LogSet, LogSetError, LogSetOptions, OPEN_FILES_MAX};
use crate::producer_state::ProducerRules;
use crate::test_fixture::{TIME, append, read_all};
use crate::{LogConfig, TopicPartition};

const TOPIC: Uuid = Uuid([7; 16]);

fn options(host: &Host, directories: usize) -> LogSetOptions {
    let directory = |at: usize| DirectoryOptions {
        path: PathBuf::from(format!("/data{at}")),
        id: Uuid([at as u8 + 100; 16]),
        failure: None,
    };
    LogSetOptions {
        host: host.clone(),
        directories: (0..directories).map(directory).collect(),
        default_config: Arc::new(LogConfig::default()),
        topic_configs: Arc::new(|_| None),
        producers: ProducerRules::default(),
        recovery_threads_per_directory: 2,
        open_files_max: OPEN_FILES_MAX,
        intervals: Intervals::default(),
    }
}

async fn open(host: &Host, directories: usize) -> (Arc<LogSet>, Found) {
    LogSet::open(options(host, directories)).await.unwrap()
}

fn config() -> Arc<LogConfig> {
    Arc::new(LogConfig { segment_bytes: 1000, ..LogConfig::default() })
}

fn make(set: &LogSet, partition: i32) -> Arc<crate::Log> {
    let partition = TopicPartition::new("orders", partition);
    set.get_or_create(&partition, TOPIC, config(), None).unwrap()
}

#[tokio::test(start_paused = true)]
async fn logs_are_spread_and_found_again() {
    let host = Host::simulated(1);
    let (set, found) = open(&host, 2).await;
    assert!(found.logs.is_empty());
    for partition in 0..10 {
        let log = make(&set, partition);
        append(&log, TIME, &[b"a", b"b"]);
        assert!(Arc::ptr_eq(&log, &make(&set, partition)));
    }
    let count = |set: &LogSet, at: usize| {
        set.logs().iter().filter(|log| set.directory_id(log) == Some(Uuid([at as u8 + 100; 16]))).count()
    };
    assert_eq!((count(&set, 0), count(&set, 1)), (5, 5));
    let other = set.get_or_create(&TopicPartition::new("orders", 0), Uuid([8; 16]), config(), None);
    assert!(matches!(other, Err(LogSetError::InconsistentTopicId { .. })));
    set.stop(BrokerEpoch(42)).await;

    let (set, found) = open(&host, 2).await;
    assert_eq!(found.last_broker_epoch, Some(BrokerEpoch(42)));
    assert_eq!(found.logs.len(), 10);
    for it in &found.logs {
        assert_eq!(it.topic_id, Some(TOPIC));
        assert_eq!(it.log.recovery_point(), Offset(2));
        assert_eq!(read_all(&it.log, Offset(0), 100).len(), 2);
    }
    drop((set, found));
    host.simulation().unwrap().disk().kill();
    let (_, found) = open(&host, 2).await;
    assert_eq!((found.last_broker_epoch, found.logs.len()), (None, 10));
}

#[tokio::test(start_paused = true)]
async fn deleted_logs_go_later_and_new_ones_are_new() {
    let host = Host::simulated(1);
    let (set, _) = open(&host, 1).await;
    let running = tokio::spawn(set.clone().run());
    let log = make(&set, 0);
    for _ in 0..50 {
        append(&log, TIME, &[b"a"]);
    }
    log.flush_to(Offset(50)).await.unwrap();
    set.write_checkpoints();
    assert!(set.delete(log.partition()).unwrap());
    assert!(!set.delete(log.partition()).unwrap());
    let disk = host.disk();
    let names = |disk: &ottla_host::Disk| -> Vec<String> {
        disk.list("/data0").unwrap().into_iter().filter(|it| it.is_dir).map(|it| it.name).collect()
    };
    assert!(names(&disk)[0].ends_with("-delete"));
    let again = make(&set, 0);
    assert!(again.view().is_empty());
    assert_eq!(again.recovery_point(), Offset(0));
    drop(again);
    host.simulation().unwrap().disk().kill();
    running.abort();
    let (set, found) = open(&host, 1).await;
    assert_eq!(found.logs.len(), 1, "the new log is not taken for the one that was deleted");
    let running = tokio::spawn(set.clone().run());
    host.sleep(std::time::Duration::from_secs(70)).await;
    assert_eq!(names(&disk), ["orders-0"]);
    set.stop(BrokerEpoch(1)).await;
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_takes_its_directory_offline_and_no_other() {
    let host = Host::simulated(1);
    let (set, _) = open(&host, 2).await;
    let logs: Vec<_> = (0..4).map(|partition| make(&set, partition)).collect();
    for log in &logs {
        append(log, TIME, &[b"a"]);
    }
    host.simulation().unwrap().disk().inject(Fault {
        operation: Operation::Sync,
        on: Box::new(|path| path.starts_with("/data0") && path.to_string_lossy().ends_with(".log")),
        after: 0,
        times: 1,
        failure: Failure::InputOutput,
    });
    let listener = crate::Listener::new();
    set.listen_for_failures(&listener);
    let mut failed = 0;
    for log in &logs {
        failed += usize::from(log.flush_to(Offset(1)).await.is_err());
    }
    assert_eq!(failed, 2, "both logs of the directory, though one sync failed");
    assert!(listener.heard());
    assert_eq!(set.drop_offline().len(), 2);
    assert_eq!(set.logs().len(), 2);
    let status = set.directories();
    assert!(status[0].failure.is_some() && status[1].failure.is_none());
    set.stop(BrokerEpoch(1)).await;
    assert!(!host.disk().exists("/data0/.kafka_cleanshutdown").unwrap());
    assert!(host.disk().exists("/data1/.kafka_cleanshutdown").unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_damaged_log_is_unavailable_and_stays_so() {
    let host = Host::simulated(1);
    let (set, _) = open(&host, 1).await;
    for partition in 0..2 {
        let log = make(&set, partition);
        for _ in 0..5 {
            append(&log, TIME, &[b"a"]);
        }
    }
    set.stop(BrokerEpoch(1)).await;
    let path = "/data0/orders-0/00000000000000000000.log";
    let bytes = host.disk().read(path, 1 << 20).unwrap();
    host.disk().write_atomically(path, &bytes[..bytes.len() / 2]).unwrap();
    for _ in 0..3 {
        let (set, found) = open(&host, 1).await;
        assert_eq!(found.logs.len(), 1);
        assert_eq!(set.damaged().len(), 1);
        let refused = set.get_or_create(&TopicPartition::new("orders", 0), TOPIC, config(), None);
        assert!(matches!(refused, Err(LogSetError::Storage(crate::StorageError::Corrupt { .. }))));
        set.stop(BrokerEpoch(1)).await;
    }
}

fn lack_descriptors(host: &Host, operation: Operation, on: &'static str, times: u64) {
    let on = Box::new(move |path: &std::path::Path| path.to_string_lossy().contains(on));
    let fault = Fault { operation, on, after: 0, times, failure: Failure::NoDescriptor };
    host.simulation().unwrap().disk().inject(fault);
}

/// Five logs of ten records each, the first five records deleted.
async fn stopped_with_five_logs(host: &Host) {
    let (set, _) = open(host, 1).await;
    for partition in 0..5 {
        let log = make(&set, partition);
        for _ in 0..10 {
            append(&log, TIME, &[b"a"]);
        }
        log.set_high_watermark(Offset(10));
        log.advance_log_start(Offset(5), crate::LogStartReason::ClientRecordDeletion).unwrap();
    }
    set.stop(BrokerEpoch(1)).await;
}

#[tokio::test(start_paused = true)]
async fn descriptors_that_are_lacking_for_a_while_at_a_start_cost_nothing_but_time() {
    let places = [
        (Operation::Open, "orders-3"),
        (Operation::Open, "orders-"),
        (Operation::Open, "log-start-offset-checkpoint"),
        (Operation::Open, "recovery-point-offset-checkpoint"),
        (Operation::Open, ".kafka_cleanshutdown"),
        (Operation::List, "/data0"),
    ];
    for (operation, place) in places {
        let host = Host::simulated(7);
        stopped_with_five_logs(&host).await;
        lack_descriptors(&host, operation, place, 17);
        let (set, found) = open(&host, 1).await;
        assert_eq!((found.logs.len(), set.damaged().len()), (5, 0), "{operation:?} {place}");
        assert_eq!(set.directories()[0].failure, None, "{operation:?} {place}");
        for it in &found.logs {
            assert_eq!(it.log.view().log_start, Offset(5), "{operation:?} {place}");
            assert_eq!(it.log.view().end, Offset(10), "{operation:?} {place}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_lacks_descriptors_for_long_is_opened_when_it_is_asked_for() {
    let host = Host::simulated(8);
    stopped_with_five_logs(&host).await;
    lack_descriptors(&host, Operation::Open, "orders-3", u64::MAX);
    let (set, found) = open(&host, 1).await;
    assert_eq!((found.logs.len(), set.damaged().len()), (4, 1));
    let three = TopicPartition::new("orders", 3);
    let refused = set.get_or_create(&three, TOPIC, config(), None);
    assert!(matches!(refused, Err(LogSetError::Storage(crate::StorageError::Full { .. }))), "{refused:?}");
    host.simulation().unwrap().disk().heal();
    let log = set.get_or_create(&three, TOPIC, config(), None).unwrap();
    assert_eq!((log.view().log_start, log.view().end), (Offset(5), Offset(10)));
    assert_eq!(set.damaged().len(), 0);
    let other = set.get_or_create(&three, Uuid([8; 16]), config(), None);
    assert!(matches!(other, Err(LogSetError::InconsistentTopicId { .. })));
    set.stop(BrokerEpoch(2)).await;
    let (_, found) = open(&host, 1).await;
    assert_eq!((found.logs.len(), found.last_broker_epoch), (5, Some(BrokerEpoch(2))));
}

#[tokio::test(start_paused = true)]
async fn descriptors_that_are_lacking_for_a_sync_take_no_directory_offline() {
    let places = [
        // The first time it is written.
        (Operation::Open, "partition.metadata", 1),
        (Operation::Open, "leader-epoch-checkpoint.tmp", 0),
        (Operation::SyncDir, "orders-0", 0),
        (Operation::SyncDir, "/data0", 0),
    ];
    for (operation, place, after) in places {
        let host = Host::simulated(11);
        let (set, _) = open(&host, 1).await;
        let on = Box::new(move |path: &std::path::Path| path.to_string_lossy().contains(place));
        let (times, failure) = (u64::MAX, Failure::NoDescriptor);
        host.simulation().unwrap().disk().inject(Fault { operation, on, after, times, failure });
        let log = make(&set, 0);
        append(&log, TIME, &[b"a"]);
        let lacking = log.flush_now();
        assert!(
            matches!(lacking, Err(crate::StorageError::Full { .. })),
            "{operation:?} {place}: {lacking:?}"
        );
        assert_eq!(set.directories()[0].failure, None, "{operation:?} {place}");
        host.simulation().unwrap().disk().heal();
        log.flush_now().unwrap();
        set.write_checkpoints();
        drop((set, log));
        host.simulation().unwrap().disk().crash();
        let (_, found) = open(&host, 1).await;
        let log = &found.logs[0];
        assert_eq!((log.topic_id, log.log.view().end), (Some(TOPIC), Offset(1)), "{operation:?} {place}");
        assert_eq!(log.log.latest_epoch(), Some(crate::test_fixture::OPTIONS.leader_epoch));
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_could_not_be_recovered_is_recovered_after_a_clean_stop() {
    let host = Host::simulated(10);
    let (set, _) = open(&host, 1).await;
    for partition in 0..5 {
        let log = make(&set, partition);
        for _ in 0..10 {
            append(&log, TIME, &[b"a"]);
        }
    }
    drop(set);
    // The process ended in the middle of an append.
    let path = "/data0/orders-3/00000000000000000000.log";
    let bytes = host.disk().read(path, 1 << 20).unwrap();
    host.disk().write_atomically(path, &bytes[..bytes.len() - 7]).unwrap();
    lack_descriptors(&host, Operation::Open, "orders-3", u64::MAX);
    let (set, found) = open(&host, 1).await;
    assert_eq!((found.logs.len(), set.damaged().len()), (4, 1));
    set.stop(BrokerEpoch(2)).await;
    drop(set);
    host.simulation().unwrap().disk().heal();
    let (set, found) = open(&host, 1).await;
    assert_eq!((found.logs.len(), set.damaged().len()), (5, 0), "{:?}", set.damaged());
    let ends: i64 = found.logs.iter().map(|it| it.log.view().end.get()).sum();
    assert_eq!(ends, 4 * 10 + 9);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_lacks_descriptors_is_not_replaced_by_an_empty_log() {
    let host = Host::simulated(9);
    stopped_with_five_logs(&host).await;
    let (disk, data) = (host.disk(), std::path::Path::new("/data0"));
    let copy = "orders-3.00000000000000000000000000000001-future";
    disk.rename(data.join("orders-3"), data.join(copy)).unwrap();
    lack_descriptors(&host, Operation::Open, "-future", u64::MAX);
    let (set, found) = open(&host, 1).await;
    assert_eq!((found.logs.len(), set.damaged().len()), (4, 1));
    host.simulation().unwrap().disk().heal();
    let refused = set.get_or_create(&TopicPartition::new("orders", 3), TOPIC, config(), None);
    assert!(matches!(refused, Err(LogSetError::Storage(crate::StorageError::Full { .. }))), "{refused:?}");
    let names: Vec<String> = disk.list(data).unwrap().into_iter().map(|it| it.name).collect();
    assert!(names.contains(&copy.to_owned()) && !names.contains(&"orders-3".to_owned()), "{names:?}");
}

#[tokio::test(start_paused = true)]
async fn many_logs_are_closed_with_few_syncs_and_lose_nothing() {
    for crash in [false, true] {
        let host = Host::simulated(5);
        let (set, _) = open(&host, 1).await;
        for partition in 0..100 {
            let log = make(&set, partition);
            for number in 0..8 {
                append(&log, TIME + number, &[b"a", &[7; 200]]);
            }
        }
        let syncs = |set: &LogSet| set.host.simulation().unwrap().disk().operations();
        let before = syncs(&set);
        set.stop(BrokerEpoch(42)).await;
        assert!(syncs(&set) - before < 100 * 20, "{} operations", syncs(&set) - before);
        drop(set);
        if crash {
            host.simulation().unwrap().disk().crash();
        }
        let (set, found) = open(&host, 1).await;
        assert_eq!((found.last_broker_epoch, found.logs.len()), (Some(BrokerEpoch(42)), 100));
        for it in &found.logs {
            assert_eq!(it.topic_id, Some(TOPIC));
            assert_eq!(it.log.recovery_point(), Offset(16));
            assert_eq!(read_all(&it.log, Offset(0), 100).len(), 16);
            assert_eq!(it.log.latest_epoch(), Some(crate::test_fixture::OPTIONS.leader_epoch));
        }
        drop(set);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_fails_at_the_end_of_many_logs_is_no_clean_stop() {
    let host = Host::simulated(6);
    let (set, _) = open(&host, 1).await;
    for partition in 0..70 {
        append(&make(&set, partition), TIME, &[b"a"]);
    }
    let on = Box::new(|path: &std::path::Path| path == std::path::Path::new("/data0"));
    let (after, times, failure) = (0, 1, Failure::InputOutput);
    let fault = Fault { operation: Operation::Sync, on, after, times, failure };
    host.simulation().unwrap().disk().inject(fault);
    set.stop(BrokerEpoch(42)).await;
    assert!(set.directories()[0].failure.is_some());
    drop(set);
    let (_, found) = open(&host, 1).await;
    assert_eq!((found.last_broker_epoch, found.logs.len()), (None, 70));
}

#[tokio::test(start_paused = true)]
async fn writeback_of_many_logs_with_little_each_begins_once_it_is_much_in_all() {
    let host = Host::simulated(7);
    let (set, _) = open(&host, 1).await;
    let logs: Vec<_> = (0..64)
        .map(|at| {
            let partition = TopicPartition::new("orders", at);
            set.get_or_create(&partition, TOPIC, Arc::new(LogConfig::default()), None).unwrap()
        })
        .collect();
    let waiting = || logs.iter().map(|log| u64::from(log.not_written_back())).sum::<u64>();
    tokio::spawn(set.clone().run());
    let half_a_mebibyte = vec![7; 512 << 10];
    let append_to_all_but_one = || {
        for log in &logs[1..] {
            append(log, TIME, &[&half_a_mebibyte]);
        }
    };
    append_to_all_but_one();
    append(&logs[0], TIME, &[b"little"]);
    let before = waiting();
    host.sleep(2 * super::duties::WRITEBACK_INTERVAL).await;
    assert_eq!(waiting(), before, "it is not much yet");
    append_to_all_but_one();
    host.sleep(2 * super::duties::WRITEBACK_INTERVAL).await;
    assert!(logs.iter().all(|log| log.not_written_back() < 64 << 10), "all but what is not worth it");
    assert_ne!(logs[0].not_written_back(), 0);
    set.stop(BrokerEpoch(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_with_much_is_written_back_in_pieces() {
    let host = Host::simulated(1);
    let (set, _) = open(&host, 1).await;
    let partition = TopicPartition::new("orders", 0);
    let log = set.get_or_create(&partition, TOPIC, Arc::new(LogConfig::default()), None).unwrap();
    tokio::spawn(set.clone().run());
    let mebibyte = vec![7; 1 << 20];
    for round in 0..3 {
        while log.not_written_back() < 8 << 20 {
            append(&log, TIME, &[&mebibyte]);
        }
        let before = log.not_written_back();
        host.sleep(Duration::from_millis(10)).await;
        let now = log.not_written_back();
        assert!(now < before && now > 4 << 20, "round {round}: {before}, then {now}");
        host.sleep(Duration::from_millis(100)).await;
        assert!(log.not_written_back() < 256 << 10, "round {round}: {} are left", log.not_written_back());
    }
    set.stop(BrokerEpoch(1)).await;
}
