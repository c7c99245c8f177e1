//! Damage to every kind of file of a stopped broker: bits flipped, files cut, emptied, removed. Nothing panics, and
//! no reader is given anything but what was written.

use std::path::PathBuf;
use std::sync::Arc;

use ottla_base::{BrokerEpoch, Offset, Uuid};
use ottla_host::{Disk, Host, Prng};
use ottla_record::Batches;

use super::{DirectoryOptions, Intervals, LogSet, LogSetOptions, OPEN_FILES_MAX};
use crate::producer_state::ProducerRules;
use crate::test_fixture::{OPTIONS, TIME, batch, end_transaction, produced};
use crate::{FirstBatch, Log, LogConfig, ReadLimit, ReadRequest, TopicPartition};

const TOPIC: Uuid = Uuid([7; 16]);

async fn open(host: &Host) -> std::io::Result<Arc<LogSet>> {
    let config = LogConfig {
        segment_bytes: 2000,
        index_interval_bytes: 200,
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
        producers: ProducerRules { verify_transactions: false, ..ProducerRules::default() },
        recovery_threads_per_directory: 1,
        open_files_max: OPEN_FILES_MAX,
        intervals: Intervals::default(),
    };
    LogSet::open(options).await.map(|(set, _)| set)
}

fn value(offset: i64) -> Vec<u8> {
    format!("the value at {offset}").into_bytes()
}

/// A stopped broker with one log of several segments, with idempotent producers and aborted transactions.
async fn prepare(host: &Host) -> i64 {
    let set = open(host).await.unwrap();
    let partition = TopicPartition::new("orders", 0);
    let config = set.logs().first().map_or_else(Default::default, |log| log.config());
    let config =
        LogConfig { segment_bytes: 2000, index_interval_bytes: 200, retention_ms: None, ..(*config).clone() };
    let log = set.get_or_create(&partition, TOPIC, Arc::new(config), None).unwrap();
    let mut sequences = [0; 3];
    for round in 0..60_usize {
        let producer = round % 3;
        let next = log.view().end.get();
        if producer == 0 {
            log.append_as_leader(&batch(TIME + next, &[&value(next), &value(next + 1)]), &OPTIONS).unwrap();
        } else {
            let batch = produced(producer as i64, sequences[producer], true, &[&value(next)]);
            log.append_as_leader(&batch, &OPTIONS).unwrap();
            sequences[producer] += 1;
            end_transaction(&log, producer as i64, round % 2 == 0);
        }
    }
    let end = log.view().end.get();
    set.stop(BrokerEpoch(1)).await;
    end
}

fn files_below(disk: &Disk, path: &str) -> Vec<String> {
    let mut files = Vec::new();
    for entry in disk.list(path).unwrap() {
        let path = format!("{path}/{}", entry.name);
        if entry.is_dir {
            files.extend(files_below(disk, &path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Damages one file; says what was done.
fn damage(disk: &Disk, path: &str, random: &mut Prng) -> String {
    let content = disk.read(path, 1 << 20).unwrap();
    let len = content.len() as u64;
    let (what, damaged) = match random.below(if len == 0 { 1 } else { 8 }) {
        0 => {
            disk.remove_file(path).unwrap();
            return format!("{path} removed");
        }
        1 => ("emptied".to_owned(), Vec::new()),
        2 => {
            let end = random.below(len) as usize;
            (format!("cut at {end}"), content[..end].to_vec())
        }
        3 => {
            let mut longer = content;
            longer.resize(longer.len() + 1 + random.below(200) as usize, 0);
            ("extended with zeros".to_owned(), longer)
        }
        _ => {
            let mut flipped = content;
            let (at, bit) = (random.below(len) as usize, random.below(8));
            flipped[at] ^= 1 << bit;
            (format!("bit {bit} of byte {at} flipped"), flipped)
        }
    };
    disk.write_atomically(path, &damaged).unwrap();
    format!("{path} {what}")
}

/// Reads everything that can be read, from several places; what is given must be what was written.
fn check(log: &Log, end: i64, what: &str) {
    let view = log.view();
    assert!(view.end.get() <= end, "{what}");
    for from in (view.log_start.get()..view.end.get()).step_by(7).map(Offset) {
        for limit in [ReadLimit::End, ReadLimit::LastStable] {
            let request = ReadRequest { from, max_bytes: 700, limit, first_batch: FirstBatch::Whole };
            let Ok(answer) = log.read(&view, &request) else { continue };
            let mut expected = None;
            for range in &answer.ranges {
                let mut bytes = vec![0; range.len as usize];
                range.file.read_exact_at(&mut bytes, range.position).unwrap();
                for stored in Batches::new(&bytes) {
                    let stored = stored.unwrap_or_else(|error| panic!("{what}: {error}"));
                    stored.verify_crc().unwrap_or_else(|error| panic!("{what}: {error}"));
                    let batch = *stored.v2().unwrap();
                    let first = *expected.get_or_insert(batch.base_offset());
                    // A segment that lost its end on a batch's edge cannot be told from one that was compacted.
                    let hole =
                        first < batch.base_offset() && !log.segment_bases().contains(&batch.base_offset());
                    assert!(first <= batch.base_offset() && !hole, "{what}: {first} is missing");
                    assert!(batch.last_offset() >= from, "{what}");
                    expected = Some(batch.end_offset());
                    if batch.is_control() {
                        continue;
                    }
                    let payload = batch.decompressed(1 << 20).unwrap();
                    for record in batch.records(&payload) {
                        let record = record.unwrap();
                        assert_eq!(record.value.unwrap(), value(record.offset.get()), "{what}");
                    }
                }
            }
        }
    }
    for at in (0..end).step_by(11) {
        let _ = log.offset_for_timestamp(ottla_base::Timestamp(TIME + at));
    }
    let _ = log.offset_of_max_timestamp();
}

async fn damage_and_check(seed: u64, orderly: bool) {
    let host = Host::simulated(seed);
    let end = prepare(&host).await;
    let mut random = Prng::new(seed);
    let files: Vec<String> = files_below(&host.disk(), "/data")
        .into_iter()
        // Without this file a stop was not orderly, which is the other half of the test.
        .filter(|path| !path.ends_with(".kafka_cleanshutdown") && !path.ends_with(".lock"))
        .collect();
    let path = &files[random.below(files.len() as u64) as usize];
    let what = damage(&host.disk(), path, &mut random);
    if !orderly {
        host.disk().remove_file("/data/.kafka_cleanshutdown").unwrap();
    }
    let what = format!("seed {seed}, orderly {orderly}: {what}");
    let Ok(set) = open(&host).await else { panic!("{what}: the set opens") };
    assert!(set.directories()[0].failure.is_none(), "{what}: damage is not the disk's failure");
    for log in set.logs() {
        check(&log, end, &what);
        assert!(set.directories()[0].failure.is_none(), "{what}: damage is not the disk's failure");
        let _ = log.append_as_leader(&batch(TIME, &[b"goes on"]), &OPTIONS);
    }
    set.stop(BrokerEpoch(2)).await;
}

#[test]
fn damaged_files_never_give_wrong_bytes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        for seed in 0..500 {
            damage_and_check(seed, true).await;
            damage_and_check(seed, false).await;
        }
    });
}
