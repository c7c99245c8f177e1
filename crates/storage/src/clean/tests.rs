//! What passes leave of logs with known contents.

use std::sync::Arc;
use std::time::Duration;

use ottla_base::{Offset, ProducerEpoch, ProducerId, Timestamp};
use ottla_record::{
    BatchBuilder, BatchOptions, Batches, Compression, Header, RecordStream, StoredBatch, TimestampType,
};

use super::{Claim, CleanError, CleanLimits, CleanStats, CleanStep, Cleaning};
use crate::test_fixture::{OPTIONS, TIME, World, accepted, end_transaction, read_bytes};
use crate::{LastShutdown, Log, LogConfig, ReadLimit, ReadRequest, StorageError};

pub(super) const LIMITS: CleanLimits =
    CleanLimits { dedupe_bytes: 1 << 20, load_factor: 0.9, io_bytes: 4096, message_bytes: 1 << 20 };

/// A record as it is compared: offset, key, value.
pub(super) type Seen = (i64, String, Option<String>);

pub(super) fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1200,
        index_interval_bytes: 200,
        cleanup_compact: true,
        cleanup_delete: false,
        delete_retention_ms: 1000,
        file_delete_delay_ms: 1000,
        ..LogConfig::default()
    }
}

pub(super) fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    world.config = config();
    world
}

pub(super) fn keyed(options: BatchOptions, records: &[(&str, Option<&str>)]) -> ottla_record::AcceptedBatch {
    let mut builder = BatchBuilder::new(options);
    for (key, value) in records {
        let headers = [Header { key: b"h", value: Some(key.as_bytes()) }];
        builder.append(Timestamp(TIME), Some(key.as_bytes()), value.map(str::as_bytes), headers);
    }
    accepted(builder.build())
}

pub(super) fn put(log: &Arc<Log>, records: &[(&str, Option<&str>)]) {
    put_with(log, BatchOptions::default(), records);
}

fn put_with(log: &Arc<Log>, options: BatchOptions, records: &[(&str, Option<&str>)]) {
    log.append_as_leader(&keyed(options, records), &OPTIONS).unwrap();
}

fn producer(id: i64, sequence: i32, transactional: bool) -> BatchOptions {
    BatchOptions {
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(0),
        base_sequence: sequence,
        transactional,
        ..BatchOptions::default()
    }
}

/// Ends the active segment.
pub(super) fn roll(log: &Arc<Log>) {
    let base = log.view().segments.len();
    while log.view().segments.len() == base {
        put(log, &[("filler", Some("x"))]);
    }
}

/// One pass over everything that can be cleaned, in steps of `budget`.
pub(super) fn pass(log: &Arc<Log>, limits: CleanLimits, budget: u64) -> Result<CleanStats, CleanError> {
    let cleanable = log.cleanable(log.files.host.wall_clock())?;
    let claim = Claim::of(log).unwrap();
    let offsets = cleanable.first_dirty..cleanable.first_uncleanable;
    let mut cleaning = Cleaning::new(log.clone(), claim, limits, offsets)?;
    loop {
        if let CleanStep::Done(..) = cleaning.step(budget)? {
            return Ok(cleaning.stats());
        }
    }
}

pub(super) fn clean(log: &Arc<Log>) -> CleanStats {
    pass(log, LIMITS, u64::MAX).unwrap()
}

/// Every batch from the log start on, as bytes.
pub(super) fn batches(log: &Log) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut from = log.view().log_start;
    while from < log.view().end {
        let bytes = read_bytes(log, from, 700);
        if bytes.is_empty() {
            break;
        }
        for stored in Batches::new(&bytes) {
            let stored = stored.unwrap();
            stored.verify_crc().unwrap();
            from = stored.last_offset().after(1);
            found.push(stored.bytes().to_vec());
        }
    }
    found
}

/// Every record that is no marker.
pub(super) fn records(log: &Log) -> Vec<Seen> {
    let mut seen = Vec::new();
    for bytes in batches(log) {
        let stored = StoredBatch::new(&bytes).unwrap();
        let batch = stored.v2().unwrap();
        if batch.is_control() {
            continue;
        }
        let payload = batch.decompressed(1 << 20).unwrap();
        for record in batch.records(&payload) {
            let record = record.unwrap();
            let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            assert_eq!(record.headers.clone().next().unwrap().value, Some(key.as_bytes()));
            let value = record.value.map(|it| String::from_utf8(it.to_vec()).unwrap());
            if key != "filler" {
                seen.push((record.offset.get(), key, value));
            }
        }
    }
    seen
}

fn seen(records: &[(i64, &str, Option<&str>)]) -> Vec<Seen> {
    records
        .iter()
        .map(|(offset, key, value)| (*offset, (*key).to_owned(), value.map(str::to_owned)))
        .collect()
}

/// The headers of the batches of a producer.
fn headers_of(log: &Log, producer: i64) -> Vec<(i64, i64, i32, bool)> {
    let headers = batches(log).into_iter().map(|it| *StoredBatch::new(&it).unwrap().v2().unwrap().header());
    let of_producer = headers.filter(|it| it.producer_id() == ProducerId(producer));
    of_producer
        .map(|it| (it.base_offset().get(), it.last_offset().get(), it.count(), it.is_control()))
        .collect()
}

#[test]
fn of_each_key_the_last_record_stays_at_its_offset() {
    for compression in Compression::ALL {
        let world = world(1);
        let log = world.open(LastShutdown::Clean);
        let options = BatchOptions { compression: compression.into(), ..BatchOptions::default() };
        put_with(&log, options, &[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]);
        put_with(&log, options, &[("a", Some("2")), ("d", Some("1"))]);
        put_with(&log, options, &[("a", Some("3")), ("b", Some("2"))]);
        roll(&log);
        roll(&log);
        let (before, end) = (log.view().size(), log.view().end);
        let stats = clean(&log);
        let left = [(2, "c", Some("1")), (4, "d", Some("1")), (5, "a", Some("3")), (6, "b", Some("2"))];
        assert_eq!(records(&log), seen(&left));
        assert!(log.view().size() < before && log.view().end == end);
        let batches = batches(&log);
        let first = StoredBatch::new(&batches[0]).unwrap();
        let header = first.v2().unwrap();
        let offsets = (header.base_offset().get(), header.last_offset().get(), header.count());
        assert_eq!((offsets, header.compression().unwrap()), ((0, 2, 1), compression));
        assert!(stats.records_written < stats.records_read && stats.bytes_written < stats.bytes_read);
        // Nothing is dirty now, and another pass over it would change nothing.
        assert_eq!(log.cleanable(Timestamp(TIME)).unwrap().dirty_bytes, 0);
    }
}

#[test]
fn steps_come_to_the_same() {
    let left = |budget, limits| {
        let world = world(2);
        let log = world.open(LastShutdown::Clean);
        for round in 0..40 {
            let (key, value) = (format!("key {}", round % 7), format!("value {round}"));
            put(&log, &[(&key, Some(&value)), ("always", Some(&value))]);
        }
        roll(&log);
        pass(&log, limits, budget).unwrap();
        batches(&log)
    };
    let all = left(u64::MAX, LIMITS);
    for budget in [1, 100, 1000] {
        assert_eq!(left(budget, LIMITS), all);
    }
    assert_eq!(left(50, CleanLimits { io_bytes: 1, ..LIMITS }), all);
}

#[test]
fn a_map_that_is_too_small_takes_several_passes() {
    let world = world(3);
    let log = world.open(LastShutdown::Clean);
    for round in 0..60 {
        let (key, value) = (format!("key {}", round % 20), format!("value {round}"));
        put(&log, &[(&key, Some(&value)), (&format!("{key}b"), Some(&value))]);
    }
    roll(&log);
    let mut passes = 0;
    while log.cleanable(Timestamp(TIME)).unwrap().dirty_bytes > 0 {
        pass(&log, CleanLimits { dedupe_bytes: 5 * 24, ..LIMITS }, u64::MAX).unwrap();
        passes += 1;
        assert!(passes < 100);
    }
    assert!(passes > 3);
    assert_eq!(records(&log).len(), 40);
    assert!(records(&log).iter().all(|it| it.0 >= 80));
}

#[test]
fn tombstones_stay_for_a_while() {
    let world = world(4);
    let log = world.open(LastShutdown::Clean);
    put(&log, &[("a", Some("1")), ("b", Some("1"))]);
    put(&log, &[("a", None)]);
    roll(&log);
    clean(&log);
    assert_eq!(records(&log), seen(&[(1, "b", Some("1")), (2, "a", None)]));
    let horizon = || {
        let batches = batches(&log);
        batches.iter().find_map(|it| StoredBatch::new(it).unwrap().v2().unwrap().delete_horizon())
    };
    let set = horizon().unwrap();
    assert_eq!(set.get(), world.host.wall_clock().get() + 1000);
    world.host.simulation().unwrap().advance(Duration::from_millis(900));
    roll(&log);
    clean(&log);
    assert_eq!((records(&log).len(), horizon()), (2, Some(set)));
    world.host.simulation().unwrap().advance(Duration::from_millis(100));
    roll(&log);
    clean(&log);
    assert_eq!((records(&log), horizon()), (seen(&[(1, "b", Some("1"))]), None));
}

#[test]
fn aborted_records_go_at_once_and_their_marker_later() {
    let world = world(5);
    let log = world.open(LastShutdown::Clean);
    put_with(&log, producer(1, 0, true), &[("a", Some("1"))]);
    end_transaction(&log, 1, false);
    put_with(&log, producer(1, 1, true), &[("a", Some("2")), ("b", Some("2"))]);
    put_with(&log, producer(2, 0, true), &[("b", Some("3"))]);
    end_transaction(&log, 1, true);
    end_transaction(&log, 2, false);
    // The last batches of the producers are needed for their sequences; these are not the last.
    put_with(&log, producer(1, 3, false), &[("c", Some("4"))]);
    put_with(&log, producer(2, 1, false), &[("c", Some("5"))]);
    roll(&log);
    let aborted = |log: &Log| {
        let request = ReadRequest {
            from: Offset::ZERO,
            max_bytes: u32::MAX,
            limit: ReadLimit::LastStable,
            first_batch: crate::FirstBatch::Whole,
        };
        log.read(&log.view(), &request).unwrap().aborted.len()
    };
    assert_eq!(aborted(&log), 2);
    clean(&log);
    assert_eq!(records(&log), seen(&[(2, "a", Some("2")), (3, "b", Some("2")), (8, "c", Some("5"))]));
    // The markers of the aborted transactions are still there; readers need no list for them after this pass.
    assert_eq!(headers_of(&log, 2), [(6, 6, 1, true), (8, 8, 1, false)]);
    world.host.simulation().unwrap().advance(Duration::from_millis(1000));
    roll(&log);
    clean(&log);
    assert_eq!(aborted(&log), 0);
    roll(&log);
    world.host.simulation().unwrap().advance(Duration::from_millis(1000));
    clean(&log);
    assert_eq!(headers_of(&log, 2), [(8, 8, 1, false)]);
    // The committed transaction has records, so its marker stays; the last batch of its producer as a header.
    assert_eq!(headers_of(&log, 1), [(2, 3, 2, false), (5, 5, 1, true), (7, 7, 0, false)]);
}

#[test]
fn the_last_batch_of_a_producer_stays_as_a_header() {
    let mut world = world(6);
    let log = world.open(LastShutdown::Clean);
    put_with(&log, producer(7, 0, false), &[("a", Some("1")), ("b", Some("1"))]);
    put_with(&log, producer(7, 2, false), &[("a", Some("2")), ("b", Some("2"))]);
    put(&log, &[("a", Some("3")), ("b", Some("3"))]);
    roll(&log);
    clean(&log);
    assert_eq!(headers_of(&log, 7), [(2, 3, 0, false)]);
    drop(log);
    world.cleaned = Some(Offset(5));
    // Whoever recovers the log knows the sequence from it.
    let log = world.open(LastShutdown::Unclean);
    put_with(&log, producer(7, 4, false), &[("c", Some("4"))]);
    let wrong = keyed(producer(7, 4000, false), &[("c", Some("5"))]);
    assert!(log.append_as_leader(&wrong, &OPTIONS).is_err());
}

#[test]
fn what_is_open_or_active_is_left_alone() {
    let world = world(7);
    let log = world.open(LastShutdown::Clean);
    put(&log, &[("a", Some("1"))]);
    roll(&log);
    let first = log.view().segments[1].base();
    put_with(&log, producer(1, 0, true), &[("a", Some("2"))]);
    roll(&log);
    let cleanable = log.cleanable(Timestamp(TIME)).unwrap();
    assert_eq!((cleanable.first_dirty, cleanable.first_uncleanable), (Offset::ZERO, first));
    end_transaction(&log, 1, true);
    let cleanable = log.cleanable(Timestamp(TIME)).unwrap();
    assert!(cleanable.first_uncleanable > first);
    let lag = LogConfig { min_compaction_lag_ms: 100, ..config() };
    log.set_config(Arc::new(lag));
    assert_eq!(log.cleanable(Timestamp(TIME + 99)).unwrap().first_uncleanable, Offset::ZERO);
    assert!(log.cleanable(Timestamp(TIME + 100)).unwrap().first_uncleanable > first);
    let overdue = LogConfig { max_compaction_lag_ms: 100, ..config() };
    log.set_config(Arc::new(overdue));
    assert_eq!(log.cleanable(Timestamp(TIME + 100)).unwrap().overdue_ms, 0);
    assert_eq!(log.cleanable(Timestamp(TIME + 130)).unwrap().overdue_ms, 30);
}

#[test]
fn readers_read_on_and_segments_become_fewer() {
    let world = world(8);
    let log = world.open(LastShutdown::Clean);
    for round in 0..50 {
        put(&log, &[("a", Some(&format!("value {round}")))]);
    }
    roll(&log);
    let (view, before) = (log.view(), records(&log).len());
    let request = ReadRequest {
        from: Offset::ZERO,
        max_bytes: u32::MAX,
        limit: ReadLimit::HighWatermark,
        first_batch: crate::FirstBatch::Whole,
    };
    clean(&log);
    assert_eq!((before, records(&log).len()), (50, 1));
    // What was not open is found under its new name.
    let old = log.read(&view, &request).unwrap();
    assert_eq!(u64::from(old.bytes), view.size());
    roll(&log);
    clean(&log);
    assert!(log.view().segment_count() < view.segment_count());
    // Two passes later its files are another's, and who looks again sees the log as it is.
    let new = log.read(&view, &request).unwrap();
    assert_eq!(u64::from(new.bytes), log.view().size());
    world.host.simulation().unwrap().advance(Duration::from_millis(1000));
    log.remove_retired().unwrap();
    let names = world.host.disk().list("/data/orders-0").unwrap();
    assert!(names.iter().all(|it| !it.name.ends_with("deleted")), "{names:?}");
    let again = log.read(&view, &request).unwrap();
    assert_eq!(again.bytes, new.bytes);
}

#[test]
fn a_log_that_was_cut_is_not_cleaned_on() {
    let world = world(9);
    let log = world.open(LastShutdown::Clean);
    for round in 0..50 {
        put(&log, &[("a", Some(&format!("value {round}")))]);
    }
    let cleanable = log.cleanable(Timestamp(TIME)).unwrap();
    let claim = Claim::of(&log).unwrap();
    assert!(Claim::of(&log).is_none());
    let offsets = cleanable.first_dirty..cleanable.first_uncleanable;
    let mut cleaning = Cleaning::new(log.clone(), claim, LIMITS, offsets).unwrap();
    assert!(matches!(cleaning.step(500), Ok(CleanStep::Worked(_))));
    log.truncate_to(Offset(20)).unwrap();
    assert!(matches!(cleaning.step(u64::MAX), Err(CleanError::Outdated)));
    drop(cleaning);
    assert_eq!(records(&log).len(), 20);
    let names = world.host.disk().list("/data/orders-0").unwrap();
    assert!(names.iter().all(|it| !it.name.contains("cleaned")), "{names:?}");
    assert!(Claim::of(&log).is_some());
}

#[test]
fn a_damaged_log_is_not_cleaned() {
    let world = world(10);
    let log = world.open(LastShutdown::Clean);
    for round in 0..50 {
        put(&log, &[("a", Some(&format!("value {round}")))]);
    }
    let name = format!("/data/orders-0/{}", log.view().segments[0].log_name());
    let file = world.host.disk().open(name, ottla_host::disk::Open::Write).unwrap();
    file.write_all_at(b"?", 300).unwrap();
    let failed = pass(&log, LIMITS, u64::MAX).unwrap_err();
    assert!(matches!(failed, CleanError::Storage(StorageError::Corrupt { .. })), "{failed}");
}

#[test]
fn a_lookup_by_time_copes_with_gaps() {
    let world = world(11);
    let log = world.open(LastShutdown::Clean);
    for round in 0..60 {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let key = format!("key {}", round % 30);
        builder.append(Timestamp(TIME + round), Some(key.as_bytes()), Some(b"v"), []);
        log.append_as_leader(&accepted(builder.build()), &OPTIONS).unwrap();
    }
    roll(&log);
    clean(&log);
    for at in 0..60 {
        let found = log.offset_for_timestamp(Timestamp(TIME + at)).unwrap().unwrap();
        let all = batches(&log);
        let first = all.iter().find_map(|it| {
            let stored = StoredBatch::new(it).unwrap();
            let mut stream = RecordStream::new(stored.v2().unwrap(), Default::default()).unwrap();
            let record = stream.next_outline().unwrap()?;
            (record.timestamp >= Timestamp(TIME + at)).then_some(record.offset)
        });
        assert_eq!(Some(found.offset), first);
    }
}

/// What brokers before 0.11 wrote is written anew as v2, whatever stays of it.
#[test]
fn old_formats_become_new() {
    let world = world(13);
    let disk = world.host.disk();
    disk.create_dir_all("/data/orders-0").unwrap();
    let legacy = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/kafka-3.9.1/legacy.log");
    let bytes = ottla_host::Host::real().disk().read(legacy, 1 << 20).unwrap();
    disk.write_atomically("/data/orders-0/00000000000000000000.log", &bytes).unwrap();
    let log = world.open(LastShutdown::Unclean);
    assert_eq!(log.view().end, Offset(96));
    put(&log, &[("k0", Some("new")), ("k3", Some("new"))]);
    roll(&log);
    roll(&log);
    clean(&log);
    let all = batches(&log);
    let found: Vec<_> = all
        .iter()
        .map(|it| {
            let stored = StoredBatch::new(it).unwrap();
            let batch = *stored.v2().unwrap();
            let payload = batch.decompressed(1 << 20).unwrap();
            let records = batch.records(&payload).map(|it| it.unwrap());
            let keys: Vec<_> = records
                .map(|it| (it.offset.get(), String::from_utf8_lossy(it.key.unwrap()).into_owned()))
                .collect();
            (batch.magic(), batch.base_offset().get(), batch.compression().unwrap(), keys)
        })
        .filter(|(.., keys)| keys.iter().all(|(_, key)| key != "filler"))
        .collect();
    // Of the old ones only the last with the key k2 stays.
    let own = |offset, key: &str| (offset, key.to_owned());
    assert_eq!(found[0], (2, 94, Compression::Lz4, vec![own(94, "k2")]));
    assert_eq!(found[1].3, [own(96, "k0"), own(97, "k3")]);
    assert_eq!(found.len(), 2);
}

/// A log directory as Apache Kafka may leave it when it is killed while it compacts.
#[test]
fn what_an_interrupted_swap_left_is_finished_or_undone() {
    let make = || {
        let world = world(14);
        let log = world.open(LastShutdown::Clean);
        for round in 0..70 {
            let key = if round % 8 == 0 { round } else { round % 4 };
            put(&log, &[(&format!("key {key}"), Some(&format!("value {round}")))]);
        }
        let before = records(&log);
        let bases = log.segment_bases();
        // The same log, cleaned until what is left of several segments is in the first.
        for _ in 0..2 {
            roll(&log);
            clean(&log);
        }
        let after = records(&log);
        let name = |kind: &str| format!("/data/orders-0/00000000000000000000.{kind}");
        let disk = world.host.disk();
        let files = ["log", "index", "timeindex"].map(|kind| (kind, disk.read(name(kind), 1 << 20).unwrap()));
        (world, log, before, after, bases, files)
    };
    let put_back = |world: &World, files: &[(&str, Vec<u8>)], ending: &str| {
        for (kind, content) in files {
            let path = format!("/data/orders-0/00000000000000000000.{kind}{ending}");
            world.host.disk().write_atomically(&path, content).unwrap();
        }
    };
    // Still being written, or only partly announced: undone.
    for announced in [0, 1, 2] {
        let (world, log, _, after, _, files) = make();
        drop(log);
        put_back(&world, &files[..announced], ".swap");
        put_back(&world, &files[announced..], ".cleaned");
        let log = world.open(LastShutdown::Unclean);
        assert_eq!(records(&log), after, "{announced} announced");
        let names = world.host.disk().list("/data/orders-0").unwrap();
        assert!(names.iter().all(|it| !it.name.ends_with("swap") && !it.name.ends_with("cleaned")));
    }
    // Announced: done, whatever of the old is still there.
    let (world, log, before, after, bases, files) = make();
    assert!(before.len() > after.len() && bases.len() > 3);
    drop(log);
    put_back(&world, &files, ".swap");
    for old in &bases[1..3] {
        for kind in ["log", "index", "timeindex"] {
            let path = format!("/data/orders-0/{:020}.{kind}", old.get());
            world.host.disk().write_atomically(&path, b"whatever").unwrap();
        }
    }
    let log = world.open(LastShutdown::Unclean);
    assert_eq!(records(&log), after);
}

#[test]
fn append_times_stay() {
    let world = world(12);
    let log = world.open(LastShutdown::Clean);
    let options = BatchOptions { log_append_time: Some(Timestamp(TIME + 77)), ..BatchOptions::default() };
    put_with(&log, options, &[("a", Some("1")), ("b", None)]);
    put(&log, &[("a", Some("2"))]);
    roll(&log);
    clean(&log);
    let batches = batches(&log);
    let stored = StoredBatch::new(&batches[0]).unwrap();
    let batch = stored.v2().unwrap();
    assert_eq!(batch.timestamp_type(), TimestampType::LogAppendTime);
    let payload = batch.decompressed(1000).unwrap();
    let times: Vec<_> = batch.records(&payload).map(|it| it.unwrap().timestamp.get()).collect();
    assert_eq!((times, batch.max_timestamp()), (vec![TIME + 77], Timestamp(TIME + 77)));
}
