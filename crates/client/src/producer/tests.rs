//! Tests of the producer against brokers that lose answers, connections and leadership.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_base::{ErrorCode, Moment, PartitionIndex, ProducerEpoch, ProducerId};
use ottla_host::Host;
use ottla_record::{BatchView, Compression};
use ottla_wire::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};

use super::accumulator::Answer;
use super::batch::Identity;
use super::*;
use crate::cluster::Metadata;
use crate::fake_broker::{FakeCluster, Faults, TOPIC};

pub(super) fn record(partition: Option<i32>, text: String) -> ProducerRecord {
    ProducerRecord {
        topic: TOPIC.into(),
        partition: partition.map(PartitionIndex),
        value: Some(text.into()),
        ..ProducerRecord::default()
    }
}

/// The values in a partition, by offset.
pub(super) fn values(fake: &FakeCluster, partition: usize) -> Vec<String> {
    let state = fake.state.lock();
    let mut values = Vec::new();
    for bytes in &state.logs[partition].batches {
        let batch = BatchView::new(bytes).unwrap();
        let records = batch.decompressed(u64::MAX).unwrap();
        for record in batch.records(&records) {
            let record = record.unwrap();
            assert_eq!(record.offset.0, values.len() as i64);
            values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
        }
    }
    values
}

/// Sends numbered records through brokers that misbehave, and holds the logs against what was promised.
async fn check_exactly_once(seed: u64, options: ProducerOptions, faults: Faults) {
    let host = Host::real();
    let fake = FakeCluster::start(&host, 2, 3, seed);
    fake.state.lock().faults = faults;
    let producer = Producer::new(&fake.connect(&host).await, options).unwrap();
    let mut deliveries = Vec::new();
    for number in 0..600 {
        let delivery = producer.send(record(Some(number % 3), format!("{number}"))).await.unwrap();
        deliveries.push((number, delivery));
        if number % 50 == 0 {
            host.sleep(Duration::from_millis(1)).await;
        }
    }
    producer.flush().await;
    let mut told: BTreeMap<usize, Vec<(i64, String)>> = BTreeMap::new();
    for (number, delivery) in deliveries {
        let metadata = delivery.await.unwrap();
        assert_eq!(metadata.partition.0, number % 3);
        let offset = metadata.offset.unwrap();
        told.entry(metadata.partition.0 as usize).or_default().push((offset.0, format!("{number}")));
    }
    for (partition, told) in told {
        let written = values(&fake, partition);
        let expected: Vec<String> = told.iter().map(|(_, value)| value.clone()).collect();
        assert_eq!(written, expected, "seed {seed}, partition {partition}");
        assert!(told.iter().all(|(offset, value)| written[*offset as usize] == *value), "seed {seed}");
    }
}

#[tokio::test]
async fn every_record_is_written_once_and_in_order() {
    for seed in 0..12 {
        let percent = [0, 5, 15, 30][seed as usize % 4];
        let options = ProducerOptions { batch_size: 200, linger_ms: 0, ..ProducerOptions::default() };
        check_exactly_once(seed, options, Faults { percent, ..Faults::default() }).await;
    }
}

#[tokio::test]
async fn batches_that_are_too_large_are_split() {
    for (seed, compression) in [(1, "none"), (2, "lz4"), (3, "zstd")] {
        let options = ProducerOptions { compression_type: compression.into(), ..ProducerOptions::default() };
        let faults = Faults { percent: 10, max_batch_records: Some(7), ..Faults::default() };
        check_exactly_once(seed, options, faults).await;
    }
}

#[tokio::test]
async fn one_record_that_is_too_large_fails_alone() {
    let host = Host::real();
    let fake = FakeCluster::start(&host, 1, 1, 1);
    fake.state.lock().faults = Faults { max_batch_records: Some(0), ..Faults::default() };
    let producer = Producer::new(&fake.connect(&host).await, ProducerOptions::default()).unwrap();
    let large = producer.send(record(None, "a".into())).await.unwrap();
    assert_eq!(large.await.unwrap_err().code(), Some(ErrorCode::MessageTooLarge));
    // The failed batch left a gap in the sequences: the next goes on in another epoch.
    fake.state.lock().faults = Faults::default();
    let next = producer.send(record(None, "b".into())).await.unwrap();
    assert_eq!(next.await.unwrap().offset.unwrap().0, 0);
    assert_eq!(values(&fake, 0), ["b"]);
    let error = producer.send(record(None, "x".repeat(1 << 20))).await.unwrap_err();
    assert!(error.to_string().contains("max.request.size"), "{error}");
}

#[tokio::test]
async fn without_acknowledgement_everything_is_still_written() {
    let host = Host::real();
    let fake = FakeCluster::start(&host, 1, 1, 1);
    let options =
        ProducerOptions { acks: "0".into(), enable_idempotence: false, ..ProducerOptions::default() };
    let producer = Producer::new(&fake.connect(&host).await, options).unwrap();
    let delivery = producer.send(record(None, "a".into())).await.unwrap();
    producer.close().await;
    assert_eq!(delivery.await.unwrap().offset, None);
    while fake.state.lock().logs[0].batches.is_empty() {
        host.sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(values(&fake, 0), ["a"]);
}

#[tokio::test]
async fn what_takes_too_long_fails() {
    let host = Host::real();
    for faults in
        [Faults { is_silent: true, ..Faults::default() }, Faults { is_leaderless: true, ..Faults::default() }]
    {
        let fake = FakeCluster::start(&host, 1, 1, 1);
        fake.state.lock().faults = faults;
        let options = ProducerOptions {
            delivery_timeout_ms: 100,
            max_block_ms: 20,
            buffer_memory: 1000,
            ..ProducerOptions::default()
        };
        let producer = Producer::new(&fake.connect(&host).await, options).unwrap();
        let first = producer.send(record(Some(0), "x".repeat(900))).await.unwrap();
        let error = producer.send(record(Some(0), "x".repeat(900))).await.unwrap_err();
        assert!(error.to_string().contains("buffer.memory is full"), "{error}");
        assert!(matches!(first.await, Err(Error::TimedOut { .. })));
    }
}

/// An accumulator for a topic of one partition on one broker, without lingering.
fn accumulator() -> (Accumulator, Metadata) {
    let rules = Rules {
        batch_size: 1,
        max_request_size: 1 << 20,
        compression: Compression::None.into(),
        linger: Duration::ZERO,
        delivery_timeout: Duration::from_secs(100),
        retries: u32::MAX,
        max_in_flight: 5,
        idempotent: true,
        transactional: false,
        adaptive: true,
        backoff: Backoff::new(0, 0),
    };
    let mut accumulator = Accumulator::new(rules);
    accumulator.set_identity(Identity { id: ProducerId(7), epoch: ProducerEpoch(0), transactional: false });
    let broker = MetadataResponseBroker { port: 1, ..MetadataResponseBroker::default() };
    let topic = MetadataResponseTopic {
        name: Some(TOPIC.into()),
        partitions: vec![MetadataResponsePartition::default()],
        ..MetadataResponseTopic::default()
    };
    let answer =
        MetadataResponse { brokers: vec![broker], topics: vec![topic], ..MetadataResponse::default() };
    (accumulator, Metadata::default().updated(&answer, Moment::default(), |_| true))
}

/// A batch of one record in the partition of [`accumulator`].
fn add(accumulator: &mut Accumulator) {
    let parts = Parts { timestamp: Timestamp(1), key: None, value: None, headers: &[] };
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let partition = TopicPartition::new(TOPIC, 0);
    let _ = accumulator.append(&partition, parts, false, permit, Moment::default());
}

/// The numbers of the batches that leave, each with the epoch and sequence that is in its bytes.
fn leave(accumulator: &mut Accumulator, metadata: &Metadata) -> Vec<(u64, i16, i32)> {
    let drained = accumulator.drain(Moment::default(), metadata, false, |_| true);
    for (id, _) in &drained.requests {
        accumulator.request_ended(*id, Moment::default());
    }
    let departures = drained.requests.into_iter().flat_map(|(_, departures)| departures);
    departures
        .map(|it| {
            let batch = BatchView::new(&it.bytes).unwrap();
            batch.verify_crc().unwrap();
            (it.order.0, batch.producer_epoch().0, batch.base_sequence())
        })
        .collect()
}

fn told(accumulator: &mut Accumulator, number: u64, answer: Result<i64, ErrorCode>) {
    let answer = match answer {
        Ok(offset) => Answer::Written(accumulator::written(offset, -1)),
        Err(code) => Answer::Failed(code.into()),
    };
    let partition = TopicPartition::new(TOPIC, 0);
    accumulator.answer(&partition, (number, 0), answer, Moment::default(), |_| Duration::ZERO);
}

#[test]
fn nothing_new_leaves_before_what_failed_is_written() {
    let (mut accumulator, metadata) = accumulator();
    (0..8).for_each(|_| add(&mut accumulator));
    let first = leave(&mut accumulator, &metadata);
    assert_eq!(first, [(0, 0, 0), (1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 0, 4)]);
    told(&mut accumulator, 0, Err(ErrorCode::NotEnoughReplicasAfterAppend));
    assert_eq!(leave(&mut accumulator, &metadata), []);
    (1..5).for_each(|number| told(&mut accumulator, number, Ok(number as i64)));
    for _ in 0..3 {
        assert_eq!(leave(&mut accumulator, &metadata), [(0, 0, 0)]);
        told(&mut accumulator, 0, Err(ErrorCode::NotEnoughReplicasAfterAppend));
    }
    assert_eq!(leave(&mut accumulator, &metadata), [(0, 0, 0)]);
    told(&mut accumulator, 0, Ok(0));
    assert_eq!(leave(&mut accumulator, &metadata), [(5, 0, 5), (6, 0, 6), (7, 0, 7)]);
}

#[test]
fn no_batch_leaves_far_ahead_of_one_that_may_be_sent_again() {
    let (mut accumulator, metadata) = accumulator();
    (0..9).for_each(|_| add(&mut accumulator));
    assert_eq!(leave(&mut accumulator, &metadata).len(), 5);
    for failed in [0, 1] {
        told(&mut accumulator, failed, Err(ErrorCode::NotEnoughReplicasAfterAppend));
    }
    (2..5).for_each(|number| told(&mut accumulator, number, Ok(number as i64)));
    assert_eq!(leave(&mut accumulator, &metadata), [(0, 0, 0)]);
    told(&mut accumulator, 0, Ok(0));
    // The broker knows five batches: 1 to 5.
    assert_eq!(leave(&mut accumulator, &metadata), [(1, 0, 1), (5, 0, 5)]);
    told(&mut accumulator, 1, Ok(1));
    assert_eq!(leave(&mut accumulator, &metadata), [(6, 0, 6), (7, 0, 7), (8, 0, 8)]);
}

#[test]
fn a_gap_in_the_sequences_is_left_behind_with_another_epoch() {
    let (mut accumulator, metadata) = accumulator();
    (0..4).for_each(|_| add(&mut accumulator));
    assert_eq!(leave(&mut accumulator, &metadata).len(), 4);
    told(&mut accumulator, 0, Ok(0));
    told(&mut accumulator, 1, Err(ErrorCode::InvalidRecord));
    told(&mut accumulator, 2, Err(ErrorCode::OutOfOrderSequenceNumber));
    assert_eq!(leave(&mut accumulator, &metadata), []);
    told(&mut accumulator, 3, Err(ErrorCode::OutOfOrderSequenceNumber));
    assert_eq!(leave(&mut accumulator, &metadata), [(2, 1, 0)]);
    told(&mut accumulator, 2, Ok(1));
    assert_eq!(leave(&mut accumulator, &metadata), [(3, 1, 1)]);
    told(&mut accumulator, 3, Ok(2));
    assert!(accumulator.is_answered_below(u64::MAX));
}

#[test]
fn options_that_exclude_idempotence_turn_it_off_unless_asked_for() {
    let texts = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Texts>()
    };
    let options = ProducerOptions::from_texts(&texts(&[("acks", "1")])).unwrap();
    assert!(!options.enable_idempotence);
    assert!(ProducerOptions::from_texts(&texts(&[])).unwrap().enable_idempotence);
    let asked = texts(&[("acks", "1"), ("enable.idempotence", "true")]);
    assert!(ProducerOptions::from_texts(&asked).is_err());
}
