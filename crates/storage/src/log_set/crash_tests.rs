//! Crashes at every operation of scripted runs: what was flushed is there, nothing is there that was not written, the
//! log goes on, and the producers are those that a replay of the log gives.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ottla_base::{BrokerEpoch, Offset, ProducerId, Uuid};
use ottla_host::disk::simulated::{Failure, Fault, Operation};
use ottla_host::{Host, Prng};
use ottla_record::{Batches, StoredBatch};

use super::{DirectoryOptions, Intervals, LogSet, LogSetOptions, OPEN_FILES_MAX};
use crate::producer_state::{ProducerRules, ProducerStates, marker_of};
use crate::test_fixture::{OPTIONS, TIME, batch, end_transaction_or, produced, read_bytes};
use crate::{Log, LogConfig, LogStartReason, TopicPartition};

const TOPIC: Uuid = Uuid([7; 16]);
const RULES: ProducerRules =
    ProducerRules { expiration: std::time::Duration::from_secs(u64::MAX / 4), verify_transactions: false };

/// What a run did, as far as its outcome is known.
#[derive(Debug, Default)]
struct Model {
    /// Of each offset what was written there; markers are empty.
    values: Vec<Vec<u8>>,
    /// Everything below was flushed, and that succeeded.
    flushed: usize,
    /// The highest log start that was asked for.
    log_start: usize,
    /// The next sequence of each producer.
    sequences: [i32; 3],
    /// Whether each producer is in a transaction.
    in_transaction: [bool; 3],
}

async fn open(host: &Host) -> Option<Arc<LogSet>> {
    let options = LogSetOptions {
        host: host.clone(),
        directories: vec![DirectoryOptions {
            path: PathBuf::from("/data"),
            id: Uuid([1; 16]),
            failure: None,
        }],
        default_config: config(),
        topic_configs: Arc::new(|_| None),
        producers: RULES,
        recovery_threads_per_directory: 1,
        open_files_max: OPEN_FILES_MAX,
        intervals: Intervals::default(),
    };
    LogSet::open(options).await.ok().map(|(set, _)| set)
}

fn config() -> Arc<LogConfig> {
    let config = LogConfig { segment_bytes: 600, index_interval_bytes: 150, ..LogConfig::default() };
    Arc::new(LogConfig { retention_ms: None, file_delete_delay_ms: 0, ..config })
}

fn log_of(set: &LogSet) -> Option<Arc<Log>> {
    set.get_or_create(&TopicPartition::new("orders", 0), TOPIC, config(), None).ok()
}

/// One step of a script; `None` when the disk has failed.
async fn step(random: &mut Prng, set: &mut Arc<LogSet>, log: &mut Arc<Log>, model: &mut Model) -> Option<()> {
    let number = model.values.len();
    let value = format!("value {number} {}", random.below(1000)).into_bytes();
    match random.below(20) {
        0..=6 => {
            log.append_as_leader(&batch(TIME, &[&value]), &OPTIONS).ok()?;
            model.values.push(value);
        }
        7..=12 => {
            let producer = random.below(3) as usize;
            // The first is only idempotent, the others write transactions.
            let sequence = model.sequences[producer];
            log.append_as_leader(&produced(producer as i64, sequence, producer > 0, &[&value]), &OPTIONS)
                .ok()?;
            model.sequences[producer] += 1;
            model.in_transaction[producer] = producer > 0;
            model.values.push(value);
        }
        13..=14 => {
            let producer = 1 + random.below(2) as usize;
            if model.in_transaction[producer] {
                end_transaction_or(log, producer as i64, random.below(2) == 0).ok()?;
                model.in_transaction[producer] = false;
                model.values.push(Vec::new());
            }
        }
        15..=16 => {
            log.flush_to(Offset(number as i64)).await.ok()?;
            model.flushed = model.flushed.max(number);
        }
        17 => set.write_checkpoints(),
        18 => {
            let start = random.below(number as u64 + 1) as usize;
            model.log_start = model.log_start.max(start);
            log.advance_log_start(Offset(start as i64), LogStartReason::ClientRecordDeletion).ok()?;
            log.apply_retention().ok()?;
            set.remove_files();
        }
        _ => {
            set.stop(BrokerEpoch(1)).await;
            (log.directory().failure().is_none()).then_some(())?;
            // Where there was no room to end in an orderly way, nothing says so.
            if set.host.disk().exists("/data/.kafka_cleanshutdown").ok()? {
                model.flushed = number;
            }
            *set = open(&set.host).await?;
            *log = log_of(set)?;
            assert_eq!(log.view().end, Offset(number as i64), "a clean stop loses nothing");
        }
    }
    (log.directory().failure().is_none()).then_some(())
}

/// Runs a script until the disk fails.
async fn run(host: &Host, seed: u64, steps: usize) -> Model {
    let mut model = Model::default();
    let mut random = Prng::new(seed);
    let Some(mut set) = open(host).await else { return model };
    let Some(mut log) = log_of(&set) else { return model };
    for _ in 0..steps {
        if step(&mut random, &mut set, &mut log, &mut model).await.is_none() {
            break;
        }
    }
    model
}

const KINDS: [Operation; 10] = [
    Operation::Open,
    Operation::Read,
    Operation::Write,
    Operation::Sync,
    Operation::SetLen,
    Operation::Rename,
    Operation::SyncDir,
    Operation::Remove,
    Operation::CreateDir,
    Operation::List,
];

/// Makes everything fail from the given operation on.
pub(crate) fn fail_from(host: &Host, operation: u64) {
    let count = Arc::new(AtomicU64::new(0));
    for kind in KINDS {
        let count = count.clone();
        host.simulation().unwrap().disk().inject(Fault {
            operation: kind,
            on: Box::new(move |_| count.fetch_add(1, Ordering::Relaxed) >= operation),
            after: 0,
            times: u64::MAX,
            failure: Failure::InputOutput,
        });
    }
}

/// What a log is held against after a stop.
fn check(log: &Log, model: &Model, at_least: usize, what: &str) {
    let view = log.view();
    let (start, end) = (view.log_start.get() as usize, view.end.get() as usize);
    assert!(end >= at_least, "{what}: the log ends at {end}, {at_least} was flushed");
    // An append whose outcome nobody was told may be there.
    assert!(
        end <= model.values.len() + 1,
        "{what}: the log ends at {end}, {} was written",
        model.values.len()
    );
    assert!(start <= model.log_start, "{what}: the log starts at {start}, not above {}", model.log_start);
    assert_eq!(log.set_high_watermark(view.end), view.end);
    let mut replayed = ProducerStates::new(RULES);
    let mut from = view.log_start;
    while from < view.end {
        let bytes = read_bytes(log, from, 300);
        assert!(!bytes.is_empty(), "{what}: nothing at {from}");
        for stored in Batches::new(&bytes) {
            let StoredBatch::V2(batch) = stored.unwrap() else { panic!("{what}: a batch of an old format") };
            batch.verify_crc().unwrap();
            let marker = marker_of(batch.header(), batch.payload()).unwrap();
            replayed.apply(batch.header(), marker);
            let payload = batch.decompressed(1 << 20).unwrap();
            for record in batch.records(&payload) {
                let record = record.unwrap();
                let at = record.offset.get() as usize;
                if marker.is_none() && at < model.values.len() {
                    assert_eq!(record.value.unwrap(), model.values[at], "{what}: at {at}");
                }
            }
            from = batch.end_offset();
        }
    }
    log.with_producers(|producers| {
        for producer in (0..3).map(ProducerId) {
            let summary = |states: &ProducerStates| {
                states
                    .entry(producer)
                    .map(|it| (it.epoch(), it.last_sequence(), it.transaction_first_offset()))
            };
            // Of a producer whose records are all below the log start only a snapshot knows.
            if let Some(expected) = summary(&replayed).filter(|it| start == 0 || it.1 >= 0) {
                let found = summary(producers).expect("a producer with records is known");
                assert_eq!((found.0, found.1), (expected.0, expected.1), "{what}: producer {producer}");
                if start == 0 {
                    assert_eq!(found.2, expected.2, "{what}: transaction of producer {producer}");
                }
            }
        }
    });
}

/// How a host stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Kill,
    PowerCut,
}

impl Stop {
    /// Stops the host, whose disk works again at the next start.
    pub(crate) fn happen(self, host: &Host) {
        let disk = host.simulation().unwrap().disk();
        match self {
            Stop::Kill => disk.kill(),
            Stop::PowerCut => disk.crash(),
        }
        disk.heal();
    }

    /// How much is there at least afterwards.
    pub(crate) fn keeps(self, written: usize, flushed: usize) -> usize {
        match self {
            Stop::Kill => written,
            Stop::PowerCut => flushed,
        }
    }
}

async fn stop_at(seed: u64, steps: usize, operation: u64, stop: Stop) {
    let host = Host::simulated(seed);
    fail_from(&host, operation);
    let model = run(&host, seed, steps).await;
    stop.happen(&host);
    let at_least = stop.keeps(model.values.len(), model.flushed);
    let what = format!("seed {seed}, {stop:?} at operation {operation}");
    let set = open(&host).await.unwrap_or_else(|| panic!("{what}: the set opens"));
    assert!(set.damaged().is_empty(), "{what}: {:?}", set.damaged());
    let log = log_of(&set).unwrap();
    check(&log, &model, at_least, &what);
    let end = log.view().end;
    let appended = log.append_as_leader(&batch(TIME, &[b"goes on"]), &OPTIONS).unwrap();
    assert_eq!(appended.first, end, "{what}");
    set.stop(BrokerEpoch(2)).await;
    let set = open(&host).await.unwrap();
    assert_eq!(log_of(&set).unwrap().view().end, end.after(1), "{what}: after a clean stop");
}

async fn operations_of(seed: u64, steps: usize) -> u64 {
    let host = Host::simulated(seed);
    run(&host, seed, steps).await;
    host.simulation().unwrap().disk().operations()
}

pub(crate) fn block_on(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future);
}

#[test]
fn a_stop_at_any_operation_of_a_short_run_loses_nothing_flushed() {
    block_on(async {
        for seed in 0..4 {
            for operation in 0..operations_of(seed, 25).await {
                stop_at(seed, 25, operation, Stop::Kill).await;
                stop_at(seed, 25, operation, Stop::PowerCut).await;
            }
        }
    });
}

/// A failure that passes: some operations from the given one on fail, the next ones do not.
fn fail_at(host: &Host, operation: u64, (times, failure): (u64, fn() -> Failure)) {
    let count = Arc::new(AtomicU64::new(0));
    for kind in KINDS {
        let count = count.clone();
        let failing = operation..operation + times;
        host.simulation().unwrap().disk().inject(Fault {
            operation: kind,
            on: Box::new(move |_| failing.contains(&count.fetch_add(1, Ordering::Relaxed))),
            after: 0,
            times: u64::MAX,
            failure: failure(),
        });
    }
}

/// The run goes on after a failure for as long as its directory is online; then the host stops. Says whether the
/// directory went offline.
async fn fault_at(seed: u64, operation: u64, fault: (u64, fn() -> Failure), stop: Stop) -> bool {
    let host = Host::simulated(seed);
    fail_at(&host, operation, fault);
    let mut model = Model::default();
    let mut random = Prng::new(seed);
    let mut offline = true;
    if let Some(mut set) = open(&host).await
        && let Some(mut log) = log_of(&set)
    {
        for _ in 0..25 {
            let closed = step(&mut random, &mut set, &mut log, &mut model).await.is_none()
                && (log.directory().failure().is_some() || set.get(log.partition()).is_none());
            if closed {
                break;
            }
        }
        offline = log.directory().failure().is_some();
    }
    stop.happen(&host);
    let at_least = stop.keeps(model.values.len(), model.flushed);
    let (times, failure) = fault;
    let what = format!("seed {seed}, {times} {:?} at operation {operation}, {stop:?}", failure());
    let set = open(&host).await.unwrap_or_else(|| panic!("{what}: the set opens"));
    assert!(set.damaged().is_empty(), "{what}: {:?}", set.damaged());
    let log = log_of(&set).unwrap();
    check(&log, &model, at_least, &what);
    offline
}

/// At every operation of some runs the disk fails once, is full for a moment, or writes less than it was asked to.
#[test]
fn a_failure_that_passes_loses_nothing_flushed() {
    let faults: [(u64, fn() -> Failure); 4] = [
        (1, || Failure::InputOutput),
        (1, || Failure::NoSpace),
        (7, || Failure::NoSpace),
        (1, || Failure::Short(3)),
    ];
    block_on(async {
        let (mut points, mut offline) = (0, 0);
        for seed in 0..2 {
            for operation in 0..operations_of(seed, 25).await {
                for (at, fault) in (0..).zip(faults) {
                    let stop = if (operation + at) % 2 == 0 { Stop::Kill } else { Stop::PowerCut };
                    points += 1;
                    offline += u32::from(fault_at(seed, operation, fault, stop).await);
                }
            }
        }
        assert!(points >= 1000 && offline > 0 && offline < points, "{offline} of {points}");
    });
}

#[test]
fn a_stop_within_a_long_run_loses_nothing_flushed() {
    block_on(async {
        for seed in 100..110 {
            let operations = operations_of(seed, 150).await;
            for operation in (seed % 17..operations).step_by(97) {
                stop_at(seed, 150, operation, Stop::Kill).await;
                stop_at(seed, 150, operation, Stop::PowerCut).await;
            }
        }
    });
}
