//! Tests of members of share groups against brokers that lose sessions, locks, answers and leadership.

use std::collections::BTreeSet;

use ottla_base::PartitionIndex;
use ottla_host::Host;

use super::*;
use crate::fake_broker::{FakeCluster, TOPIC};
use crate::fake_share::{ShareFault, When};
use crate::options::ProducerOptions;
use crate::producer::{Producer, ProducerRecord};

const RECORDS: i32 = 60;
const PARTITIONS: i32 = 2;
const TIMEOUT: Duration = Duration::from_millis(20);
/// After so many polls a test has failed.
const POLLS_MAX: usize = 1000;
const ALL: [ShareFault; 5] = [
    ShareFault::SessionGone,
    ShareFault::WrongEpoch,
    ShareFault::LocksOver,
    ShareFault::Lost,
    ShareFault::LeaderMoves,
];

async fn start(host: &Host, mode: &str) -> (FakeCluster, ShareConsumer) {
    let fake = FakeCluster::start(host, 2, PARTITIONS as usize, 1);
    let cluster = fake.connect(host).await;
    let options = ProducerOptions { batch_size: 200, linger_ms: 0, ..ProducerOptions::default() };
    let producer = Producer::new(&cluster, options).unwrap();
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
    let options = ShareOptions { share_acknowledgement_mode: mode.into(), ..ShareOptions::group("group") };
    let mut consumer = ShareConsumer::new(&cluster, options).unwrap();
    consumer.subscribe([TOPIC]);
    (fake, consumer)
}

/// The records of the next poll that gives any.
async fn next(consumer: &mut ShareConsumer) -> BTreeSet<(TopicPartition, i64)> {
    for _ in 0..POLLS_MAX {
        let polled = consumer.poll(TIMEOUT).await.unwrap();
        if !polled.is_empty() {
            let all = polled.iter().map(|it| (it.partition().clone(), it.offsets().to_vec()));
            let all = all.flat_map(|(it, offsets)| offsets.into_iter().map(move |at| (it.clone(), at)));
            return all.collect();
        }
    }
    panic!("nothing came");
}

fn accept(consumer: &mut ShareConsumer, records: &BTreeSet<(TopicPartition, i64)>) {
    for (partition, offset) in records {
        consumer.acknowledge(partition, Offset(*offset), Acknowledge::Accept).unwrap();
    }
}

/// Polls, and gives back what comes.
async fn poll_and_release(consumer: &mut ShareConsumer) {
    for records in consumer.poll(TIMEOUT).await.unwrap() {
        for offset in records.offsets() {
            consumer.acknowledge(records.partition(), Offset(*offset), Acknowledge::Release).unwrap();
        }
    }
}

/// What was said of acknowledgements, once anything was.
async fn results(consumer: &mut ShareConsumer) -> Vec<(TopicPartition, Option<ErrorCode>)> {
    for _ in 0..POLLS_MAX {
        let told = consumer.acknowledged();
        if !told.is_empty() {
            return told.into_iter().map(|(it, told)| (it, told.err().and_then(|it| it.code()))).collect();
        }
        poll_and_release(consumer).await;
    }
    panic!("nothing was said of acknowledgements");
}

/// Polls until every record was accepted, and closes.
async fn accept_all(fake: &FakeCluster, mut consumer: ShareConsumer, what: &str) {
    for _ in 0..POLLS_MAX {
        consumer.poll(TIMEOUT).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        // Some of it may have been refused.
        consumer.acknowledged();
        if fake.state.lock().share.accepted.len() == RECORDS as usize {
            consumer.close().await.unwrap();
            return;
        }
    }
    let accepted = fake.state.lock().share.accepted.len();
    panic!("{what}: {accepted} of {RECORDS} records were accepted");
}

#[tokio::test]
async fn every_record_is_accepted_in_the_end_whatever_goes_wrong() {
    let host = Host::real();
    for fault in ALL {
        for when in [When::Next, When::Acknowledging] {
            let (fake, consumer) = start(&host, "implicit").await;
            fake.state.lock().share.faults.extend([(fault, when); 3]);
            let what = format!("{fault:?}, {when:?}");
            accept_all(&fake, consumer, &what).await;
            let state = fake.state.lock();
            assert!(state.share.faults.is_empty(), "{what}");
            assert!(state.share.accepted.values().all(|times| *times == 1), "{what}");
        }
    }
}

#[tokio::test]
async fn a_session_that_the_broker_refuses_begins_anew() {
    let host = Host::real();
    for fault in [ShareFault::SessionGone, ShareFault::WrongEpoch] {
        let (fake, mut consumer) = start(&host, "implicit").await;
        next(&mut consumer).await;
        let before = fake.state.lock().share.begun;
        fake.state.lock().share.faults.push_back((fault, When::Next));
        accept_all(&fake, consumer, &format!("{fault:?}")).await;
        assert!(fake.state.lock().share.begun > before, "{fault:?}");
    }
}

#[tokio::test]
async fn locks_that_outlive_a_session_are_acknowledged_in_the_next() {
    let host = Host::real();
    let (fake, mut consumer) = start(&host, "explicit").await;
    let first = next(&mut consumer).await;
    accept(&mut consumer, &first);
    // The fetch that acknowledges them gives others. They are with the caller when both brokers refuse their sessions.
    let second = next(&mut consumer).await;
    fake.state.lock().share.faults.extend([(ShareFault::WrongEpoch, When::Next); 2]);
    while !fake.state.lock().share.faults.is_empty() {
        consumer.settle_fetches(host.now() + Duration::from_secs(10)).await;
        consumer.ask(host.now());
    }
    consumer.settle_fetches(host.now() + Duration::from_secs(10)).await;
    assert!(consumer.sources.values().all(Source::is_new));
    accept(&mut consumer, &second);
    for _ in 0..POLLS_MAX {
        poll_and_release(&mut consumer).await;
        let state = fake.state.lock();
        if second.iter().all(|(it, offset)| state.share.accepted.contains_key(&(it.partition.0, *offset))) {
            return;
        }
    }
    panic!("records were forgotten that are locked for this member");
}

#[tokio::test]
async fn acknowledgements_of_lost_locks_are_refused_to_the_caller() {
    let host = Host::real();
    let refused = Some(ErrorCode::InvalidRecordState);
    let (fake, mut consumer) = start(&host, "explicit").await;
    let records = next(&mut consumer).await;
    accept(&mut consumer, &records);
    fake.state.lock().share.faults.push_back((ShareFault::LocksOver, When::Acknowledging));
    let told = consumer.commit().await.unwrap();
    assert!(!told.is_empty());
    for (partition, result) in &told {
        let error = result.as_ref().unwrap_err();
        assert_eq!(error.code(), refused, "{partition}: {error}");
        assert!(error.to_string().contains("INVALID_RECORD_STATE"), "{error}");
    }
    assert!(fake.state.lock().share.accepted.is_empty());
    // The same with the next fetch.
    let records = next(&mut consumer).await;
    accept(&mut consumer, &records);
    fake.state.lock().share.faults.push_back((ShareFault::LocksOver, When::Acknowledging));
    let told = results(&mut consumer).await;
    assert!(told.iter().any(|(_, code)| *code == refused), "{told:?}");
}

#[tokio::test]
async fn acknowledgements_that_are_lost_are_told_to_the_caller() {
    let host = Host::real();
    let lost = [
        (ShareFault::SessionGone, Some(ErrorCode::ShareSessionNotFound)),
        (ShareFault::WrongEpoch, Some(ErrorCode::InvalidShareSessionEpoch)),
        (ShareFault::Lost, None),
        (ShareFault::LeaderMoves, Some(ErrorCode::NotLeaderOrFollower)),
    ];
    for (fault, code) in lost {
        for commits in [false, true] {
            let (fake, mut consumer) = start(&host, "explicit").await;
            let mut records = next(&mut consumer).await;
            // Of the partition whose leader moves.
            while !records.iter().any(|(it, _)| it.partition.0 == 0) {
                accept(&mut consumer, &records);
                records = next(&mut consumer).await;
            }
            drop(consumer.commit().await);
            accept(&mut consumer, &records);
            fake.state.lock().share.faults.push_back((fault, When::Acknowledging));
            let told = match commits {
                true => {
                    let told = consumer.commit().await.unwrap();
                    told.into_iter().map(|(it, told)| (it, told.err().map(|it| it.code()))).collect()
                }
                false => {
                    let told = results(&mut consumer).await;
                    told.into_iter().map(|(it, code)| (it, Some(code))).collect::<Vec<_>>()
                }
            };
            assert!(told.iter().any(|(_, it)| *it == Some(code)), "{fault:?}, {commits}: {told:?}");
        }
    }
}

#[tokio::test]
async fn records_of_a_partition_that_is_not_asked_of_a_broker_any_more_are_acknowledged_there() {
    let host = Host::real();
    for commits in [false, true] {
        let (fake, mut consumer) = start(&host, "explicit").await;
        let records = next(&mut consumer).await;
        let of: BTreeSet<TopicPartition> = records.iter().map(|(it, _)| it.clone()).collect();
        // The broker is told that nothing more is wanted of them.
        let later = host.now() + Duration::from_secs(3_600);
        consumer.held_back.extend(of.iter().map(|it| (it.clone(), later)));
        consumer.settle_fetches(host.now() + Duration::from_secs(10)).await;
        consumer.ask(host.now());
        consumer.settle_fetches(host.now() + Duration::from_secs(10)).await;
        accept(&mut consumer, &records);
        let told = match commits {
            true => consumer.commit().await.unwrap().into_iter().map(|(it, _)| (it, None)).collect(),
            false => results(&mut consumer).await,
        };
        assert!(told.iter().all(|(_, code)| code.is_none()), "{told:?}");
        let state = fake.state.lock();
        for (partition, offset) in &records {
            assert_eq!(state.share.accepted.get(&(partition.partition.0, *offset)), Some(&1), "{commits}");
        }
    }
}
