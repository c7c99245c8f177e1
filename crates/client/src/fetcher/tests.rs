//! Tests of the fetcher against brokers that lose answers, sessions and leadership.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_base::{ErrorCode, Offset, PartitionIndex};
use ottla_host::Host;

use super::*;
use crate::fake_broker::{FakeCluster, Faults, TOPIC};
use crate::options::ProducerOptions;
use crate::producer::{Producer, ProducerRecord};

const TIMEOUT: Duration = Duration::from_secs(10);

async fn fill(cluster: &Cluster, partitions: i32, records: i32, compression: &str) {
    let options = ProducerOptions {
        batch_size: 200,
        compression_type: compression.into(),
        ..ProducerOptions::default()
    };
    let producer = Producer::new(cluster, options).unwrap();
    for number in 0..records {
        let record = ProducerRecord {
            topic: TOPIC.into(),
            partition: Some(PartitionIndex(number % partitions)),
            key: Some(format!("{number}").into()),
            ..ProducerRecord::default()
        };
        drop(producer.send(record).await.unwrap());
    }
    producer.close().await;
}

async fn check_everything_is_fetched_once(seed: u64, percent: u64, compression: &str) {
    let host = Host::real();
    let fake = FakeCluster::start(&host, 2, 3, seed);
    let cluster = fake.connect(&host).await;
    fill(&cluster, 3, 600, compression).await;
    fake.state.lock().faults = Faults { percent, ..Faults::default() };
    let mut fetcher = Fetcher::new(&cluster, FetcherOptions::default()).unwrap();
    for index in 0..3 {
        fetcher.assign(TopicPartition::new(TOPIC, index), Position::Beginning);
    }
    let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    while next.values().sum::<i64>() < 600 {
        for fetched in fetcher.poll(TIMEOUT).await.unwrap() {
            let next = next.entry(fetched.partition.clone()).or_default();
            for batch in fetched.batches() {
                for record in batch.unwrap().records() {
                    let record = record.unwrap();
                    assert_eq!(record.offset.0, *next, "seed {seed}");
                    let number = record.offset.0 * 3 + i64::from(fetched.partition.partition.0);
                    assert_eq!(record.key, Some(format!("{number}").as_bytes()));
                    *next += 1;
                }
            }
            assert_eq!(fetched.next_offset.0, *next);
        }
    }
    for index in 0..3 {
        let partition = TopicPartition::new(TOPIC, index);
        assert_eq!(fetcher.position(&partition), Some(Offset(200)));
        assert_eq!(fetcher.high_watermark(&partition), Some(Offset(200)));
    }
    assert!(fetcher.poll(Duration::from_millis(20)).await.unwrap().is_empty());
}

#[tokio::test]
async fn everything_is_fetched_once_and_in_order() {
    for seed in 0..12 {
        let percent = [0, 5, 15, 30][seed as usize % 4];
        let compression = ["none", "gzip", "snappy", "lz4", "zstd"][seed as usize % 5];
        check_everything_is_fetched_once(seed, percent, compression).await;
    }
}

#[tokio::test]
async fn fetching_begins_within_a_batch_and_can_be_moved() {
    let host = Host::real();
    let fake = FakeCluster::start(&host, 1, 1, 1);
    let cluster = fake.connect(&host).await;
    fill(&cluster, 1, 100, "lz4").await;
    let mut fetcher = Fetcher::new(&cluster, FetcherOptions::default()).unwrap();
    let partition = TopicPartition::new(TOPIC, 0);
    for offset in [57, 3, 99] {
        fetcher.assign(partition.clone(), Position::Offset(Offset(offset)));
        let fetched = fetcher.poll(TIMEOUT).await.unwrap();
        let batch = fetched[0].batches().next().unwrap().unwrap();
        assert_eq!(batch.records().next().unwrap().unwrap().offset.0, offset);
    }
    fetcher.assign(partition.clone(), Position::End);
    assert!(fetcher.poll(Duration::from_millis(30)).await.unwrap().is_empty());
    assert_eq!(fetcher.position(&partition), Some(Offset(100)));
    fetcher.pause(&partition);
    fetcher.assign(partition.clone(), Position::Beginning);
    assert!(fetcher.poll(Duration::from_millis(30)).await.unwrap().is_empty());
    fetcher.resume(&partition);
    assert!(!fetcher.poll(TIMEOUT).await.unwrap().is_empty());
    fetcher.unassign(&partition);
    assert_eq!(fetcher.position(&partition), None);
}

#[tokio::test]
async fn a_position_that_is_not_in_the_log_is_reset_as_told() {
    let host = Host::real();
    let fake = FakeCluster::start(&host, 1, 1, 1);
    let cluster = fake.connect(&host).await;
    fill(&cluster, 1, 100, "none").await;
    let partition = TopicPartition::new(TOPIC, 0);
    for (reset, expected) in [("earliest", 0), ("latest", 100)] {
        let options = FetcherOptions { auto_offset_reset: reset.into(), ..FetcherOptions::default() };
        let mut fetcher = Fetcher::new(&cluster, options).unwrap();
        fetcher.assign(partition.clone(), Position::Offset(Offset(1000)));
        let fetched = fetcher.poll(Duration::from_millis(50)).await.unwrap();
        let first = fetched.first().map(Fetched::first_offset).or(fetcher.position(&partition));
        assert_eq!(first, Some(Offset(expected)), "{reset}");
    }
    let options = FetcherOptions { auto_offset_reset: "none".into(), ..FetcherOptions::default() };
    let mut fetcher = Fetcher::new(&cluster, options).unwrap();
    fetcher.assign(partition.clone(), Position::Offset(Offset(1000)));
    let error = fetcher.poll(TIMEOUT).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::OffsetOutOfRange));
}
