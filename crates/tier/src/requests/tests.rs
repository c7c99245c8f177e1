//! A store that does not answer is not waited for without end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ottla_base::Moment;
use ottla_storage::file_names::SegmentFile;

use super::*;
use crate::store::{Store, StoreOptions};
use crate::test_fixture::{FailingStore, Failure, segment_of};

fn is_unanswered<T: std::fmt::Debug>(result: &Result<T, TierError>, expected: Operation) -> bool {
    matches!(result, Err(TierError::Unanswered { operation, .. }) if *operation == expected.name())
}

#[tokio::test(start_paused = true)]
async fn what_a_silent_store_is_asked_for_ends_when_its_time_is_over() {
    let host = Host::simulated(1);
    let objects = Arc::new(FailingStore::new(u64::MAX, Failure::Before, false));
    let store = Store::of(&host, objects.clone()).with_request_limit(Duration::from_secs(7));
    let (metadata, data, log) = segment_of(&host, 5, 40, 9);
    store.put(&metadata, &data).await.unwrap();
    objects.silent.store(true, Ordering::SeqCst);
    let begun = host.now();
    let (put, read, index, deleted) = tokio::join!(
        store.put(&metadata, &data),
        store.log(&metadata, 0..5),
        store.index(&metadata, SegmentFile::OffsetIndex, 1_000),
        store.delete(&metadata),
    );
    assert!(is_unanswered(&put, Operation::Put), "{put:?}");
    assert!(is_unanswered(&read, Operation::Read), "{read:?}");
    assert!(is_unanswered(&index, Operation::Index), "{index:?}");
    assert!(is_unanswered(&deleted, Operation::Delete), "{deleted:?}");
    // The clock is the test's own.
    assert_eq!(host.now().since(begun), Duration::from_secs(7));
    assert_eq!((store.unanswered(), store.requests_under_way()), ([1; 4], 0));
    objects.silent.store(false, Ordering::SeqCst);
    assert_eq!(store.log(&metadata, 0..5).await.unwrap(), log[..5]);
    assert_eq!(store.unanswered(), [1; 4]);
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_not_waited_for_without_end() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = Host::real();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let clouds: [(&str, &[(&str, &str)]); 3] = [
        (
            "s3://bucket",
            &[("aws_endpoint", &address), ("aws_access_key_id", "a"), ("aws_secret_access_key", "b")],
        ),
        ("gs://bucket", &[("google_base_url", &address), ("google_bearer_token", "a")]),
        (
            "az://bucket",
            &[
                ("azure_storage_endpoint", &address),
                ("azure_storage_account_name", "a"),
                ("azure_storage_account_key", "YQ=="),
            ],
        ),
    ];
    let simulated = Host::simulated(1);
    let (metadata, data, _) = segment_of(&simulated, 5, 40, 9);
    for (url, options) in clouds {
        let own = [("aws_allow_http", "true"), ("azure_allow_http", "true")];
        let options = options.iter().chain(&own).map(|it| (it.0.to_owned(), it.1.to_owned())).collect();
        let store = Store::open(&host, &StoreOptions { url: url.to_owned(), options }).unwrap();
        let store = store.with_request_limit(Duration::from_millis(50));
        let put = store.put(&metadata, &data).await;
        assert!(is_unanswered(&put, Operation::Put), "{url}: {put:?}");
        let deleted = store.delete(&metadata).await;
        assert!(is_unanswered(&deleted, Operation::Delete), "{url}: {deleted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_some_requests_that_cannot_be_broken_off_are_under_way() {
    let host = Host::simulated(1);
    let requests = Requests::new(&host, Abandoned::GoesOn);
    let (object, answers) = (Path::from("object"), Arc::new(AtomicBool::new(false)));
    let ask = || {
        let (host, answers) = (host.clone(), answers.clone());
        requests.wait(Operation::Read, &object, async move {
            while !answers.load(Ordering::SeqCst) {
                host.sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        })
    };
    for _ in 0..OVERDUE_MAX {
        assert!(is_unanswered(&ask().await, Operation::Read));
    }
    let refused = ask().await;
    assert!(matches!(refused, Err(TierError::Store(_))), "{refused:?}");
    assert_eq!(requests.unanswered()[Operation::Read as usize], OVERDUE_MAX);
    answers.store(true, Ordering::SeqCst);
    host.sleep_until(Moment(host.now().0 + Duration::from_secs(2))).await;
    ask().await.unwrap();
}
