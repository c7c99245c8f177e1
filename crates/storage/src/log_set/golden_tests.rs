//! Directories that Apache Kafka 4.4.0 wrote, one stopped in an orderly way and one killed: they are opened, read to
//! the last byte, and left as Kafka itself would have left them.
//!
//! The topic has `internal.segment.bytes=2000`, `index.interval.bytes=200`, `segment.index.bytes=960`; 50 records in
//! five compressions, then six transactions of three records, every other one aborted, and one that goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_base::{BrokerEpoch, LeaderEpoch, Offset, Timestamp, Uuid};
use ottla_host::{Disk, Host};
use ottla_record::Batches;

use super::{DirectoryOptions, Found, Intervals, LogSet, LogSetOptions, OPEN_FILES_MAX};
use crate::producer_state::{ProducerRules, snapshot};
use crate::test_fixture::read_bytes;
use crate::{FirstBatch, Log, LogConfig, ReadLimit, ReadRequest};

fn testdata(which: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/kafka-4.4.0").join(which)
}

fn copy(from: &Disk, source: &Path, to: &Disk, target: &Path) {
    to.create_dir_all(target).unwrap();
    for entry in from.list(source).unwrap() {
        let (source, target) = (source.join(&entry.name), target.join(&entry.name));
        if entry.is_dir {
            copy(from, &source, to, &target);
        } else {
            to.write_atomically(&target, &from.read(&source, 1 << 20).unwrap()).unwrap();
        }
    }
}

async fn open(host: &Host) -> (Arc<LogSet>, Found) {
    let config = LogConfig {
        segment_bytes: 2000,
        index_interval_bytes: 200,
        segment_index_bytes: 960,
        retention_ms: None,
        ..LogConfig::default()
    };
    let options = LogSetOptions {
        host: host.clone(),
        directories: vec![DirectoryOptions {
            path: PathBuf::from("/data"),
            id: Uuid([1; 16]),
            failure: None,
        }],
        default_config: Arc::new(config),
        topic_configs: Arc::new(|_| None),
        // What Kafka wrote is older than any simulated clock says.
        producers: ProducerRules {
            expiration: std::time::Duration::from_secs(u64::MAX / 4),
            ..Default::default()
        },
        recovery_threads_per_directory: 1,
        open_files_max: OPEN_FILES_MAX,
        intervals: Intervals::default(),
    };
    LogSet::open(options).await.unwrap()
}

fn check(log: &Log) {
    let view = log.view();
    assert_eq!((view.log_start, view.end, view.segment_count()), (Offset(0), Offset(75), 4));
    log.set_high_watermark(view.end);
    let mut numbers = Vec::new();
    for stored in Batches::new(&read_bytes(log, Offset(0), 1 << 20)) {
        let batch = *stored.unwrap().v2().unwrap();
        let payload = batch.decompressed(1 << 20).unwrap();
        if !batch.is_control() {
            for record in batch.records(&payload) {
                numbers.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
            }
        }
    }
    let expected: Vec<_> = (0..69).map(|number| format!("value {number}")).collect();
    assert_eq!(numbers, expected);
    let view = log.view();
    assert_eq!(view.last_stable, Offset(74), "the last transaction goes on");
    let limit = ReadLimit::LastStable;
    let request = ReadRequest { from: Offset(0), max_bytes: 1 << 20, limit, first_batch: FirstBatch::Whole };
    let aborted: Vec<_> = log.read(&view, &request).unwrap().aborted;
    let aborted: Vec<_> = aborted.iter().map(|it| (it.first_offset.get(), it.last_offset.get())).collect();
    assert_eq!(aborted, [(54, 57), (62, 65), (70, 73)]);
    for number in 0..50 {
        let found = log.offset_for_timestamp(Timestamp(1_700_000_000_000 + number)).unwrap().unwrap();
        assert_eq!((found.offset, found.leader_epoch), (Offset(number), Some(LeaderEpoch(0))));
    }
    assert_eq!(log.end_of_epoch(LeaderEpoch(0)).end, Offset(75));
    assert_eq!(log.with_producers(|producers| producers.producer_count()), 6);
}

/// Segments' files as they are now, which Kafka wrote the same.
fn check_files(disk: &Disk, kinds: &[&str]) {
    let real = Host::real().disk();
    let expected = testdata("stopped/golden-0");
    for entry in real.list(&expected).unwrap() {
        if !kinds.iter().any(|kind| entry.name.ends_with(kind)) {
            continue;
        }
        let wanted = real.read(expected.join(&entry.name), 1 << 20).unwrap();
        let found = disk.read(Path::new("/data/golden-0").join(&entry.name), 1 << 20).unwrap();
        if entry.name.ends_with(".snapshot") {
            // Kafka writes producers in the order of a hash map.
            let sorted = |bytes: &[u8]| {
                let mut entries = snapshot::decode(bytes).unwrap();
                entries.sort_unstable_by_key(|(id, _)| *id);
                entries
            };
            assert_eq!(sorted(&found), sorted(&wanted), "{}", entry.name);
        } else {
            assert_eq!(found, wanted, "{}", entry.name);
        }
    }
}

const ALL: [&str; 6] = [".log", ".index", ".timeindex", ".txnindex", ".snapshot", "leader-epoch-checkpoint"];

#[tokio::test(start_paused = true)]
async fn what_kafka_stopped_is_trusted() {
    let host = Host::simulated(1);
    copy(&Host::real().disk(), &testdata("stopped"), &host.disk(), Path::new("/data"));
    let (set, found) = open(&host).await;
    assert_eq!(found.last_broker_epoch, Some(BrokerEpoch(13)));
    assert_eq!(found.logs.len(), 1);
    let log = found.logs[0].log.clone();
    assert!(found.logs[0].topic_id.is_some());
    assert_eq!(log.recovery_point(), Offset(75));
    check(&log);
    assert!(!log.needs_closing(), "reading changes nothing");
    set.stop(BrokerEpoch(14)).await;
    check_files(&host.disk(), &ALL);
}

#[tokio::test(start_paused = true)]
async fn what_kafka_left_when_killed_becomes_what_it_would_have_made_of_it() {
    let host = Host::simulated(1);
    copy(&Host::real().disk(), &testdata("killed"), &host.disk(), Path::new("/data"));
    let (set, found) = open(&host).await;
    assert_eq!(found.last_broker_epoch, None);
    check(&found.logs[0].log);
    set.stop(BrokerEpoch(14)).await;
    check_files(&host.disk(), &ALL);
    let (_, found) = open(&host).await;
    check(&found.logs[0].log);
}
