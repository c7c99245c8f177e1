//! Random logs, cleaned again and again and stopped at every operation of the disk: of each key the last value is there,
//! tombstones stay as long as they should, nothing is there that was not written, and nothing has another offset.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{BrokerEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, Uuid};
use ottla_host::{Host, Prng};
use ottla_record::{BatchOptions, Batches, Compression, StoredBatch};

use super::tests::{LIMITS, keyed};
use super::{CleanLimits, CleanStep, Cleaning};
use crate::log_set::crash_tests::{Stop, block_on, fail_from};
use crate::producer_state::ProducerRules;
use crate::test_fixture::{OPTIONS, TIME, end_transaction_or, read_bytes};
use crate::{
    DirectoryOptions, Intervals, Log, LogConfig, LogSet, LogSetOptions, OPEN_FILES_MAX, TopicPartition,
};

const TOPIC: Uuid = Uuid([7; 16]);
const PRODUCERS: usize = 4;
const KEYS: u64 = 9;
const RETENTION_MS: i64 = 500;
const RULES: ProducerRules =
    ProducerRules { expiration: Duration::from_secs(u64::MAX / 4), verify_transactions: false };

/// What was written at an offset.
#[derive(Debug, Clone, PartialEq)]
enum Written {
    Record(Record),
    /// The end of a producer's transaction.
    Marker(usize, bool),
}

#[derive(Debug, Clone, PartialEq)]
struct Record {
    key: String,
    value: Option<String>,
    producer: usize,
    sequence: i32,
    at: Timestamp,
}

/// What a run did, as far as its outcome is known.
#[derive(Debug, Default)]
struct Model {
    written: Vec<Written>,
    /// What was being appended when the disk failed.
    pending: Vec<Written>,
    flushed: usize,
    sequences: [i32; PRODUCERS],
    in_transaction: [bool; PRODUCERS],
}

impl Model {
    /// Of each key the last record below `end` of no transaction, or of one that was committed below `end`.
    fn last_of_keys(&self, end: usize) -> BTreeMap<&str, (usize, &Record)> {
        let mut last = BTreeMap::new();
        let all: Vec<&Written> = self.written.iter().chain(&self.pending).take(end).collect();
        for (offset, written) in all.iter().enumerate() {
            let Written::Record(record) = written else { continue };
            let outcome = all[offset..].iter().find_map(|it| match it {
                Written::Marker(producer, committed) if *producer == record.producer => Some(*committed),
                _ => None,
            });
            if record.producer < 2 || outcome == Some(true) {
                last.insert(record.key.as_str(), (offset, record));
            }
        }
        last
    }
}

fn config() -> Arc<LogConfig> {
    Arc::new(LogConfig {
        segment_bytes: 700,
        index_interval_bytes: 150,
        cleanup_compact: true,
        cleanup_delete: false,
        delete_retention_ms: RETENTION_MS,
        file_delete_delay_ms: 200,
        ..LogConfig::default()
    })
}

async fn open(host: &Host) -> Option<(Arc<LogSet>, Arc<Log>)> {
    let options = LogSetOptions {
        host: host.clone(),
        directories: vec![DirectoryOptions {
            path: PathBuf::from("/data"),
            id: Uuid([1; 16]),
            failure: None,
        }],
        default_config: config(),
        topic_configs: Arc::new(|_| Some(config())),
        producers: RULES,
        recovery_threads_per_directory: 1,
        open_files_max: OPEN_FILES_MAX,
        intervals: Intervals::default(),
    };
    let (set, _) = LogSet::open(options).await.ok()?;
    let log = set.get_or_create(&TopicPartition::new("orders", 0), TOPIC, config(), None).ok()?;
    Some((set, log))
}

/// A run on a host whose disk may fail at any moment.
struct Run {
    random: Prng,
    set: Arc<LogSet>,
    log: Arc<Log>,
    cleaning: Option<Cleaning>,
    model: Model,
}

impl Run {
    fn append(&mut self, producer: usize) -> Option<()> {
        let count = 1 + self.random.below(3) as usize;
        let at = self.log.files.host.wall_clock();
        let mut records = Vec::new();
        for index in 0..count {
            let number = self.model.written.len() + index;
            let tombstone = self.random.below(5) == 0;
            records.push(Record {
                key: format!("key {}", self.random.below(KEYS)),
                value: (!tombstone).then(|| format!("value {number} {}", "x".repeat(number % 50))),
                producer,
                sequence: self.model.sequences[producer] + index as i32,
                at,
            });
        }
        let compression = Compression::ALL[self.random.below(5) as usize].into();
        // The first has no id, the second is only idempotent, the others write transactions.
        let options = match producer {
            0 => BatchOptions { compression, ..BatchOptions::default() },
            _ => BatchOptions {
                compression,
                producer_id: ProducerId(producer as i64),
                producer_epoch: ProducerEpoch(0),
                base_sequence: self.model.sequences[producer],
                transactional: producer > 1,
                ..BatchOptions::default()
            },
        };
        let pairs: Vec<_> = records.iter().map(|it| (it.key.as_str(), it.value.as_deref())).collect();
        let batch = keyed(options, &pairs);
        self.model.pending = records.iter().cloned().map(Written::Record).collect();
        self.log.append_as_leader(&batch, &OPTIONS).ok()?;
        self.model.written.append(&mut self.model.pending);
        self.model.sequences[producer] += count as i32;
        self.model.in_transaction[producer] = producer > 1;
        Some(())
    }

    fn end(&mut self, producer: usize) -> Option<()> {
        if !self.model.in_transaction[producer] {
            return Some(());
        }
        let committed = self.random.below(2) == 0;
        self.model.pending = vec![Written::Marker(producer, committed)];
        end_transaction_or(&self.log, producer as i64, committed).ok()?;
        self.model.written.append(&mut self.model.pending);
        self.model.in_transaction[producer] = false;
        Some(())
    }

    /// Goes on with a pass, or begins one.
    fn clean(&mut self) -> Option<()> {
        let budget = if self.random.below(2) == 0 { u64::MAX } else { 300 };
        if self.cleaning.is_none() {
            let small = self.random.below(4) == 0;
            let dedupe_bytes = if small { 4 * 24 } else { LIMITS.dedupe_bytes };
            self.cleaning = self.set.next_to_clean(CleanLimits { dedupe_bytes, ..LIMITS }).1;
        }
        let Some(cleaning) = &mut self.cleaning else { return Some(()) };
        match cleaning.step(budget) {
            Ok(CleanStep::Worked(_)) => {}
            Ok(CleanStep::Done(..)) => {
                self.cleaning = None;
                self.set.cleaning_done(&self.log);
            }
            Err(error) => {
                self.cleaning = None;
                self.set.cleaning_failed(&self.log, &error);
                assert!(self.log.directory().failure().is_some(), "a pass failed by itself: {error}");
            }
        }
        Some(())
    }

    async fn step(&mut self) -> Option<()> {
        let number = self.model.written.len();
        match self.random.below(20) {
            0..=8 => {
                let producer = self.random.below(PRODUCERS as u64) as usize;
                self.append(producer)?;
            }
            9..=10 => {
                let producer = 2 + self.random.below(2) as usize;
                self.end(producer)?;
            }
            11 => {
                self.log.flush_to(Offset(number as i64)).await.ok()?;
                self.model.flushed = self.model.flushed.max(number);
            }
            12 => self.set.write_checkpoints(),
            13 => self.set.remove_files(),
            14..=17 => self.clean()?,
            18 => {
                let pause = Duration::from_millis(self.random.below(300));
                self.log.files.host.simulation().unwrap().advance(pause);
            }
            _ => {
                self.cleaning = None;
                self.set.stop(BrokerEpoch(1)).await;
                self.log.directory().failure().is_none().then_some(())?;
                self.model.flushed = number;
                (self.set, self.log) = open(&self.log.files.host).await?;
                assert_eq!(self.log.view().end, Offset(number as i64), "a clean stop loses nothing");
            }
        }
        self.log.directory().failure().is_none().then_some(())
    }
}

/// Runs a script until the disk fails.
async fn run(host: &Host, seed: u64, steps: usize) -> Model {
    let Some((set, log)) = open(host).await else { return Model::default() };
    let mut run = Run { random: Prng::new(seed), set, log, cleaning: None, model: Model::default() };
    for _ in 0..steps {
        if run.step().await.is_none() {
            break;
        }
    }
    run.model
}

/// What is in the log at an offset.
type Found = BTreeMap<usize, (String, Option<String>)>;

fn found_in(log: &Log, what: &str) -> Found {
    let view = log.view();
    let (mut found, mut from) = (Found::new(), view.log_start);
    while from < view.end {
        let bytes = read_bytes(log, from, 300);
        // The rest may have been cleaned away.
        if bytes.is_empty() {
            break;
        }
        for stored in Batches::new(&bytes) {
            let StoredBatch::V2(batch) = stored.unwrap() else { panic!("{what}: a batch of an old format") };
            batch.verify_crc().unwrap();
            assert!(batch.base_offset() >= from, "{what}: at {from}");
            from = batch.end_offset();
            if batch.is_control() {
                continue;
            }
            let payload = batch.decompressed(1 << 20).unwrap();
            for record in batch.records(&payload) {
                let record = record.unwrap();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let pair = (text(record.key.unwrap()), record.value.map(text));
                assert!(found.insert(record.offset.get() as usize, pair).is_none(), "{what}");
            }
        }
    }
    found
}

/// What a log is held against, after a stop and after another pass.
fn check(log: &Log, model: &Model, what: &str) {
    let end = log.view().end.get() as usize;
    let found = found_in(log, what);
    let all: Vec<&Written> = model.written.iter().chain(&model.pending).collect();
    for (offset, (key, value)) in &found {
        let Some(Written::Record(record)) = all.get(*offset) else { panic!("{what}: invented at {offset}") };
        assert_eq!((&record.key, &record.value), (key, value), "{what}: at {offset}");
    }
    let now = log.files.host.wall_clock();
    for (key, (offset, record)) in model.last_of_keys(end) {
        let may_be_gone = record.value.is_none() && record.at.get() + RETENTION_MS <= now.get();
        let is_there = found.contains_key(&offset);
        assert!(is_there || may_be_gone, "{what}: {key} at {offset} is gone, the log ends at {end}");
    }
    for producer in 1..PRODUCERS {
        let last = all.iter().take(end).rev().find_map(|it| match it {
            Written::Record(record) if record.producer == producer => Some(record.sequence),
            _ => None,
        });
        let known =
            log.with_producers(|it| it.entry(ProducerId(producer as i64)).map(|it| it.last_sequence()));
        assert_eq!(known.filter(|it| *it >= 0), last, "{what}: producer {producer}");
    }
}

/// Cleans everything that can be, and checks that no more is left than should be.
fn check_cleaned(set: &LogSet, log: &Log, model: &Model, what: &str) {
    let before = log.cleanable(log.files.host.wall_clock()).unwrap();
    if before.dirty_bytes == 0 {
        return;
    }
    let mut config = (*log.config()).clone();
    config.min_cleanable_dirty_ratio = 0.0;
    log.set_config(Arc::new(config));
    let mut cleaning = set.next_to_clean(LIMITS).1.expect("a dirty log is cleaned");
    let Ok(CleanStep::Done(cleaned, _)) = cleaning.step(u64::MAX) else { panic!("{what}: no end") };
    assert_eq!(cleaned, before.first_uncleanable, "{what}");
    drop(cleaning);
    set.cleaning_done(log);
    check(log, model, what);
    let first_dirty = before.first_dirty.get() as usize;
    let cleaned = cleaned.get() as usize;
    let mut keys: BTreeMap<String, usize> = BTreeMap::new();
    for (offset, (key, _)) in found_in(log, what).into_iter().filter(|(offset, _)| *offset < cleaned) {
        let before = keys.insert(key.clone(), offset);
        // What a pass with a small map has left is older than this pass.
        assert!(before.is_none_or(|it| it < first_dirty), "{what}: {key} at {before:?} and {offset}");
    }
}

async fn stop_at(seed: u64, steps: usize, operation: u64, stop: Stop) {
    let host = Host::simulated(seed);
    host.simulation().unwrap().advance(Duration::from_millis(TIME as u64));
    fail_from(&host, operation);
    let model = run(&host, seed, steps).await;
    stop.happen(&host);
    let at_least = stop.keeps(model.written.len(), model.flushed);
    let what = format!("seed {seed}, {stop:?} at operation {operation}");
    let (set, log) = open(&host).await.unwrap_or_else(|| panic!("{what}: the set opens"));
    assert!(set.damaged().is_empty(), "{what}: {:?}", set.damaged());
    let end = log.view().end.get() as usize;
    let most = model.written.len() + model.pending.len();
    assert!((at_least..=most).contains(&end), "{what}: the log ends at {end}, not {at_least}..={most}");
    log.set_high_watermark(log.view().end);
    check(&log, &model, &what);
    check_cleaned(&set, &log, &model, &what);
    set.stop(BrokerEpoch(2)).await;
    let (_, log) = open(&host).await.unwrap();
    check(&log, &model, &format!("{what}, after a clean stop"));
    let names = host.disk().list("/data/orders-0").unwrap();
    let left = names.iter().any(|it| it.name.ends_with(".cleaned") || it.name.ends_with(".swap"));
    assert!(!left, "{what}: {names:?}");
}

async fn operations_of(seed: u64, steps: usize) -> u64 {
    let host = Host::simulated(seed);
    host.simulation().unwrap().advance(Duration::from_millis(TIME as u64));
    run(&host, seed, steps).await;
    host.simulation().unwrap().disk().operations()
}

#[test]
fn a_stop_at_any_operation_of_a_run_with_passes_keeps_the_last_of_each_key() {
    block_on(async {
        for seed in 0..2 {
            for operation in 0..operations_of(seed, 60).await {
                stop_at(seed, 60, operation, Stop::Kill).await;
                stop_at(seed, 60, operation, Stop::PowerCut).await;
            }
        }
    });
}

#[test]
fn a_stop_within_a_long_run_with_passes_keeps_the_last_of_each_key() {
    block_on(async {
        for seed in 100..106 {
            let operations = operations_of(seed, 300).await;
            for operation in (seed % 37..operations).step_by(307) {
                stop_at(seed, 300, operation, Stop::Kill).await;
                stop_at(seed, 300, operation, Stop::PowerCut).await;
            }
        }
    });
}
