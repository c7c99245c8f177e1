//! Tests of transactions against a coordinator that moves, refuses and loses answers.

use std::collections::VecDeque;
use std::time::Duration;

use ottla_base::ErrorCode;
use ottla_host::Host;
use ottla_wire::ApiKey;

use super::tests::{record, values};
use super::*;
use crate::fake_broker::FakeCluster;
use crate::fake_transactions::Fault;

/// The versions of transactions: clients tell the coordinator of partitions, or brokers do.
const VERSIONS: [i16; 2] = [1, 2];

fn options() -> ProducerOptions {
    ProducerOptions { transactional_id: Some("tx".into()), linger_ms: 0, ..ProducerOptions::default() }
}

fn start(host: &Host, version: i16) -> FakeCluster {
    let fake = FakeCluster::start(host, 2, 1, 1);
    fake.state.lock().transactions.version = version;
    fake
}

/// What is asked of the coordinator in this version.
fn steps(version: i16) -> &'static [ApiKey] {
    match version {
        1 => &[ApiKey::InitProducerId, ApiKey::AddPartitionsToTxn, ApiKey::EndTxn],
        _ => &[ApiKey::InitProducerId, ApiKey::EndTxn],
    }
}

async fn commit_one(producer: &mut TransactionalProducer, text: &str) -> Result<(), Error> {
    let transaction = producer.begin().await?;
    transaction.send(record(Some(0), text.into())).await?.await?;
    transaction.commit().await
}

/// Commits, aborts and commits while each step goes wrong so; all of it comes out as if nothing had.
async fn check_that_it_passes(version: i16, key: ApiKey, faults: &[Fault]) {
    let what = format!("version {version}, {key:?}, {faults:?}");
    let host = Host::real();
    let fake = start(&host, version);
    let again = || fake.state.lock().transactions.faults.extend(faults.iter().map(|it| (key, *it)));
    again();
    let mut producer = TransactionalProducer::new(&fake.connect(&host).await, options()).await.unwrap();
    commit_one(&mut producer, "a").await.unwrap_or_else(|error| panic!("{what}: {error}"));
    if key != ApiKey::InitProducerId {
        again();
    }
    let transaction = producer.begin().await.unwrap();
    transaction.send(record(Some(0), "b".into())).await.unwrap().await.unwrap();
    transaction.abort().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    commit_one(&mut producer, "c").await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(values(&fake, 0), ["a", "b", "c"], "{what}");
    let state = fake.state.lock();
    assert_eq!(state.transactions.ended, [true, false, true], "{what}");
    assert_eq!(state.transactions.faults, VecDeque::new(), "{what}");
}

#[tokio::test]
async fn what_was_done_and_not_answered_is_asked_again_and_done_once() {
    for version in VERSIONS {
        for key in steps(version) {
            check_that_it_passes(version, *key, &[Fault::Lost]).await;
            check_that_it_passes(version, *key, &[Fault::Lost, Fault::Lost, Fault::Moved]).await;
        }
    }
}

#[tokio::test]
async fn refusals_that_pass_are_waited_for() {
    let all = [
        ErrorCode::ConcurrentTransactions,
        ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotCoordinator,
    ];
    for version in VERSIONS {
        for key in steps(version) {
            for code in all {
                check_that_it_passes(version, *key, &[Fault::Refused(code); 7]).await;
            }
        }
    }
}

#[tokio::test]
async fn a_coordinator_that_moved_is_looked_for_again() {
    let host = Host::real();
    for version in VERSIONS {
        for key in steps(version) {
            let fake = start(&host, version);
            fake.state.lock().transactions.faults.push_back((*key, Fault::Moved));
            let cluster = fake.connect(&host).await;
            let mut producer = TransactionalProducer::new(&cluster, options()).await.unwrap();
            commit_one(&mut producer, "a").await.unwrap();
            let state = fake.state.lock();
            let asked = state.transactions.asked.iter().filter(|it| *it == key).count();
            assert_eq!((state.transactions.lookups, asked), (2, 2), "version {version}, {key:?}");
        }
    }
}

#[tokio::test]
async fn who_is_fenced_can_do_no_more_and_is_told_why() {
    let host = Host::real();
    for code in [ErrorCode::ProducerFenced, ErrorCode::InvalidProducerEpoch] {
        for version in VERSIONS {
            for key in steps(version) {
                let fake = start(&host, version);
                let cluster = fake.connect(&host).await;
                let fault = (*key, Fault::Refused(code));
                let check = |error: Error| {
                    let text = error.to_string();
                    let is_clear = text.starts_with("another took over: ") && text.contains(code.name());
                    assert!(is_clear, "version {version}, {key:?}: {text}");
                    assert!(matches!(error, Error::Fenced(_)) && !error.is_retriable(), "{error:?}");
                };
                if *key == ApiKey::InitProducerId {
                    fake.state.lock().transactions.faults.push_back(fault);
                    check(TransactionalProducer::new(&cluster, options()).await.unwrap_err());
                    continue;
                }
                let mut producer = TransactionalProducer::new(&cluster, options()).await.unwrap();
                fake.state.lock().transactions.faults.push_back(fault);
                check(commit_one(&mut producer, "a").await.unwrap_err());
                let asked = fake.state.lock().transactions.asked.len();
                // It says so again without asking anybody.
                check(commit_one(&mut producer, "b").await.unwrap_err());
                let state = fake.state.lock();
                assert_eq!(state.transactions.asked.len(), asked);
                assert_eq!(state.transactions.ended, [], "version {version}, {key:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_later_of_two_producers_with_one_id_goes_on() {
    let host = Host::real();
    for version in VERSIONS {
        let fake = start(&host, version);
        let cluster = fake.connect(&host).await;
        let mut first = TransactionalProducer::new(&cluster, options()).await.unwrap();
        let transaction = first.begin().await.unwrap();
        transaction.send(record(Some(0), "a".into())).await.unwrap().await.unwrap();
        let mut second = TransactionalProducer::new(&cluster, options()).await.unwrap();
        let error = transaction.commit().await.unwrap_err();
        assert!(matches!(error, Error::Fenced(_)), "{error:?}");
        commit_one(&mut second, "b").await.unwrap();
        assert!(matches!(commit_one(&mut first, "c").await, Err(Error::Fenced(_))));
        assert_eq!(values(&fake, 0), ["a", "b"]);
        assert_eq!(fake.state.lock().transactions.ended, [false, true]);
    }
}

#[tokio::test]
async fn a_coordinator_that_never_answers_is_given_up_in_time() {
    let host = Host::real();
    let fake = start(&host, 2);
    let lost = std::iter::repeat_n((ApiKey::InitProducerId, Fault::Lost), 100_000);
    fake.state.lock().transactions.faults.extend(lost);
    let options = ProducerOptions { max_block_ms: 200, ..options() };
    let error = TransactionalProducer::new(&fake.connect(&host).await, options).await.unwrap_err();
    assert!(
        matches!(&error, Error::TimedOut { limit, .. } if *limit == Duration::from_millis(200)),
        "{error}"
    );
}
