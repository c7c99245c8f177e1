//! Tests of members against a coordinator that moves, forgets and fences.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_base::PartitionIndex;
use ottla_host::Host;

use super::*;
use crate::fake_broker::{FakeCluster, Faults, TOPIC};
use crate::options::ProducerOptions;
use crate::producer::{Producer, ProducerRecord};

const PARTITIONS: i32 = 3;
const RECORDS: i32 = 300;
const TIMEOUT: Duration = Duration::from_millis(20);

async fn fill(cluster: &Cluster) {
    let producer = Producer::new(cluster, ProducerOptions::default()).unwrap();
    for number in 0..RECORDS {
        let record = ProducerRecord {
            topic: TOPIC.into(),
            partition: Some(PartitionIndex(number % PARTITIONS)),
            value: Some(format!("{number}").into()),
            ..ProducerRecord::default()
        };
        drop(producer.send(record).await.unwrap());
    }
    producer.close().await;
}

fn options(protocol: &str, strategy: &str) -> ConsumerOptions {
    ConsumerOptions {
        group_protocol: protocol.into(),
        partition_assignment_strategy: vec![strategy.into()],
        heartbeat_interval_ms: 5,
        auto_commit_interval_ms: 10,
        ..ConsumerOptions::group("group")
    }
}

fn from_the_beginning() -> FetcherOptions {
    FetcherOptions { auto_offset_reset: "earliest".into(), ..FetcherOptions::default() }
}

/// Reads until every partition was read to its end; tells how far, and that nothing was left out: a record may come
/// again after its partition was lost, but none may be skipped.
async fn read_all(consumer: &mut Consumer, next: &mut BTreeMap<TopicPartition, i64>, seed: u64) {
    let end = i64::from(RECORDS / PARTITIONS);
    for _ in 0..2000 {
        for fetched in consumer.poll(TIMEOUT).await.unwrap() {
            let next = next.entry(fetched.partition.clone()).or_default();
            for batch in fetched.batches() {
                for record in batch.unwrap().records() {
                    let offset = record.unwrap().offset.0;
                    assert!(offset <= *next, "seed {seed}: {offset} before {next}");
                    *next = (*next).max(offset + 1);
                }
            }
        }
        if next.len() == PARTITIONS as usize && next.values().all(|it| *it == end) {
            return;
        }
    }
    panic!("seed {seed}: read no further than {next:?}");
}

async fn check_nothing_is_skipped(seed: u64, percent: u64, protocol: &str, strategy: &str) {
    let host = Host::real();
    let fake = FakeCluster::start(&host, 2, PARTITIONS as usize, seed);
    fill(&fake.connect(&host).await).await;
    fake.state.lock().faults = Faults { percent, ..Faults::default() };
    let cluster = fake.connect(&host).await;
    let mut consumer = Consumer::new(&cluster, options(protocol, strategy), from_the_beginning()).unwrap();
    consumer.subscribe([TOPIC]).unwrap();
    let mut next = BTreeMap::new();
    read_all(&mut consumer, &mut next, seed).await;
    fake.state.lock().faults = Faults::default();
    // Once nothing goes wrong, the member has everything again, and its last commit is the end.
    for _ in 0..500 {
        consumer.poll(TIMEOUT).await.unwrap();
        let positions = consumer.positions();
        if positions.len() == PARTITIONS as usize && positions.values().all(|it| it.offset.0 == 100) {
            break;
        }
    }
    consumer.close().await.unwrap();
    let state = fake.state.lock();
    assert_eq!(state.group.offsets, (0..PARTITIONS).map(|it| (it, 100)).collect(), "seed {seed}");
    assert_eq!(state.group.member, None, "seed {seed}");
    assert!(state.group.left > 0);
}

#[tokio::test]
async fn members_of_classic_groups_skip_nothing_whatever_their_coordinator_does() {
    for seed in 0..9 {
        let percent = [0, 3, 10][seed as usize % 3];
        let strategy = ["range", "sticky", "cooperative-sticky"][seed as usize / 3];
        check_nothing_is_skipped(seed, percent, "classic", strategy).await;
    }
}

#[tokio::test]
async fn members_of_consumer_groups_skip_nothing_whatever_their_coordinator_does() {
    for seed in 0..6 {
        check_nothing_is_skipped(seed, [0, 3, 10][seed as usize % 3], "consumer", "range").await;
    }
}

#[tokio::test]
async fn partitions_wait_for_whoever_holds_their_revocation() {
    let host = Host::real();
    let fake = FakeCluster::start(&host, 1, PARTITIONS as usize, 1);
    fill(&fake.connect(&host).await).await;
    let cluster = fake.connect(&host).await;
    let mut consumer = Consumer::new(&cluster, options("classic", "range"), from_the_beginning()).unwrap();
    let mut notices = consumer.rebalances();
    consumer.subscribe([TOPIC]).unwrap();
    read_all(&mut consumer, &mut BTreeMap::new(), 0).await;
    assert!(matches!(notices.try_next(), Some(Rebalance::Assigned(it)) if it.len() == 3));
    let generation = consumer.group_metadata().unwrap().generation;
    consumer.enforce_rebalance();
    let held = loop {
        consumer.poll(TIMEOUT).await.unwrap();
        match notices.try_next() {
            Some(Rebalance::Revoking(revocation)) => break revocation,
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    };
    assert_eq!((held.partitions.len(), consumer.assignment().count()), (3, 0));
    for _ in 0..5 {
        consumer.poll(TIMEOUT).await.unwrap();
    }
    assert_eq!(consumer.group_metadata().unwrap().generation, generation);
    held.done();
    while notices.try_next().is_none() {
        consumer.poll(TIMEOUT).await.unwrap();
    }
    assert!(consumer.group_metadata().unwrap().generation > generation);
    // What was read before was committed when the partitions were given up, so nothing comes again.
    assert!(consumer.poll(TIMEOUT).await.unwrap().is_empty());
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn who_does_not_poll_leaves_and_who_polls_again_comes_back() {
    let host = Host::real();
    let fake = FakeCluster::start(&host, 1, PARTITIONS as usize, 1);
    fill(&fake.connect(&host).await).await;
    for protocol in ["classic", "consumer"] {
        let cluster = fake.connect(&host).await;
        let options = ConsumerOptions { max_poll_interval_ms: 100, ..options(protocol, "range") };
        let mut consumer = Consumer::new(&cluster, options, from_the_beginning()).unwrap();
        let mut notices = consumer.rebalances();
        consumer.subscribe([TOPIC]).unwrap();
        while consumer.assignment().count() == 0 {
            consumer.poll(TIMEOUT).await.unwrap();
        }
        let left = fake.state.lock().group.left;
        host.sleep(Duration::from_millis(300)).await;
        assert_eq!(fake.state.lock().group.left, left + 1, "{protocol}");
        assert_eq!(consumer.group_metadata().unwrap().generation, -1);
        consumer.poll(TIMEOUT).await.unwrap();
        while consumer.assignment().count() == 0 {
            consumer.poll(TIMEOUT).await.unwrap();
        }
        assert!(matches!(notices.try_next(), Some(Rebalance::Assigned(_))));
        assert!(matches!(notices.try_next(), Some(Rebalance::Lost(it)) if it.len() == 3));
        assert!(matches!(notices.try_next(), Some(Rebalance::Assigned(_))));
        consumer.close().await.unwrap();
    }
}

#[tokio::test]
async fn partitions_that_are_assigned_begin_where_the_group_committed() {
    let host = Host::real();
    let fake = FakeCluster::start(&host, 1, PARTITIONS as usize, 1);
    fill(&fake.connect(&host).await).await;
    fake.state.lock().group.offsets = BTreeMap::from([(0, 40)]);
    let cluster = fake.connect(&host).await;
    let mut consumer = Consumer::new(&cluster, options("classic", "range"), from_the_beginning()).unwrap();
    let partition = |index| TopicPartition::new(TOPIC, index);
    consumer.assign([partition(0), partition(1)]).await.unwrap();
    assert_eq!(consumer.position(&partition(0)), Some(Offset(40)));
    assert!(consumer.subscribe([TOPIC]).is_ok(), "a subscription takes the place of an assignment");
    assert!(consumer.assign([partition(0)]).await.is_err());
    consumer.unsubscribe();
    consumer.assign([partition(0)]).await.unwrap();
    consumer.seek(&partition(0), Position::Offset(Offset(70))).unwrap();
    assert!(consumer.seek(&partition(2), Position::Beginning).is_err());
    consumer.commit().await.unwrap();
    let committed = consumer.committed([partition(0), partition(2)]).await.unwrap();
    assert_eq!(committed, Committed::from([(partition(0), Offset(70).into())]));
    consumer.close().await.unwrap();
    let nowhere = FetcherOptions { auto_offset_reset: "none".into(), ..FetcherOptions::default() };
    let mut consumer = Consumer::new(&cluster, options("classic", "range"), nowhere).unwrap();
    let error = consumer.assign([partition(1)]).await.unwrap_err();
    assert!(error.to_string().contains("auto.offset.reset=none"), "{error}");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let wrong = [
        ConsumerOptions { heartbeat_interval_ms: 45_000, ..ConsumerOptions::group("g") },
        ConsumerOptions { partition_assignment_strategy: Vec::new(), ..ConsumerOptions::group("g") },
        ConsumerOptions::group(""),
    ];
    for options in wrong {
        assert!(options.check().is_err(), "{options:?}");
    }
    assert!(Assignor::parse("org.apache.kafka.clients.consumer.CooperativeStickyAssignor").is_ok());
    assert!(Assignor::parse("uniform").is_err());
}
