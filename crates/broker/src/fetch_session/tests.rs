//! Fetch sessions by script: what a sequence of requests is answered.

use std::time::Duration;

use ottla_base::{ErrorCode, Moment, Str, Uuid};

use super::{
    Answered, NO_SESSION, Opened, PartitionKey, SessionCache, SessionLimits, SessionRequest, Wanted,
};

fn key(index: i32) -> PartitionKey {
    PartitionKey { topic: Str::from_static("t"), topic_id: Uuid::ZERO, index }
}

fn from(fetch_offset: i64) -> Wanted {
    Wanted {
        fetch_offset,
        max_bytes: 100,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        log_start_offset: -1,
    }
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn request(session_id: i32, session_epoch: i32, wanted: &[i32]) -> SessionRequest {
    let wanted = wanted.iter().map(|it| (key(*it), from(0))).collect();
    let now = at(0);
    SessionRequest {
        session_id,
        session_epoch,
        uses_topic_ids: false,
        privileged: false,
        wanted,
        forgotten: vec![],
        now,
    }
}

fn cache(slots: usize) -> SessionCache {
    SessionCache::new(SessionLimits { slots, eviction_after: Duration::from_secs(120) })
}

fn begin(cache: &SessionCache, request: SessionRequest, id: i32) -> i32 {
    let opened = cache.open(request).expect("a new session is never refused");
    cache.close(opened, || id)
}

fn answer(opened: &mut Opened, index: i32, records_len: usize, high_watermark: i64) -> bool {
    let error = ErrorCode::None;
    let answered = Answered { error, records_len, high_watermark, log_start_offset: 0, has_more: false };
    opened.answer(&key(index), answered)
}

fn order(opened: &mut Opened) -> Vec<i32> {
    opened.wanted().map(|it| it.0.index).collect()
}

#[test]
fn an_incremental_answer_names_what_moved() {
    let cache = cache(10);
    let mut opened = cache.open(request(0, 0, &[0, 1, 2])).expect("opens");
    assert!(!opened.is_incremental());
    (0..3).for_each(|it| assert!(answer(&mut opened, it, 0, 5)));
    assert_eq!(cache.close(opened, || 77), 77);

    let mut opened = cache.open(request(77, 1, &[])).expect("opens");
    assert!(opened.is_incremental());
    assert_eq!(order(&mut opened), [0, 1, 2]);
    assert!(!answer(&mut opened, 0, 0, 5));
    assert!(answer(&mut opened, 1, 10, 5), "records");
    assert!(answer(&mut opened, 2, 0, 6), "the high watermark moved");
    assert_eq!(cache.close(opened, || 0), 77);

    let mut opened = cache.open(request(77, 2, &[])).expect("opens");
    assert_eq!(order(&mut opened), [0, 2, 1], "who gave records waits for the others");
}

#[test]
fn a_full_answer_leaves_the_order_as_it_was_asked() {
    let cache = cache(10);
    let mut opened = cache.open(request(0, 0, &[0, 1])).expect("opens");
    (0..2).for_each(|it| assert!(answer(&mut opened, it, 10, 5)));
    let id = cache.close(opened, || 5);
    let mut opened = cache.open(request(id, 1, &[])).expect("opens");
    assert_eq!(order(&mut opened), [0, 1]);
}

#[test]
fn a_refused_partition_is_told_in_full_next_time() {
    let cache = cache(10);
    let mut opened = cache.open(request(0, 0, &[0])).expect("opens");
    let refused = Answered {
        error: ErrorCode::NotLeaderOrFollower,
        records_len: 0,
        high_watermark: -1,
        log_start_offset: -1,
        has_more: false,
    };
    assert!(opened.answer(&key(0), refused));
    let id = cache.close(opened, || 5);
    let mut opened = cache.open(request(id, 1, &[])).expect("opens");
    assert!(opened.answer(&key(0), refused), "refusals are always told");
    cache.close(opened, || 0);
    let mut opened = cache.open(request(id, 2, &[])).expect("opens");
    assert!(answer(&mut opened, 0, 0, -1), "even if nothing seems to have moved");
}

#[test]
fn wrong_sessions_are_refused() {
    let cache = cache(10);
    let id = begin(&cache, request(0, 0, &[0]), 9);
    assert_eq!(cache.open(request(id + 1, 1, &[])).err(), Some(ErrorCode::FetchSessionIdNotFound));
    assert_eq!(cache.open(request(id, 2, &[])).err(), Some(ErrorCode::InvalidFetchSessionEpoch));
    let with_ids = SessionRequest { uses_topic_ids: true, ..request(id, 1, &[]) };
    assert_eq!(cache.open(with_ids).err(), Some(ErrorCode::FetchSessionTopicIdError));
    let opened = cache.open(request(id, 1, &[])).expect("opens");
    for epoch in [1, 2] {
        let again = cache.open(request(id, epoch, &[]));
        assert_eq!(again.err(), Some(ErrorCode::InvalidFetchSessionEpoch), "one request at a time");
    }
    cache.close(opened, || 0);
    assert!(cache.open(request(id, 2, &[])).is_ok());
}

#[test]
fn forgetting_everything_ends_the_session() {
    let cache = cache(10);
    let id = begin(&cache, request(0, 0, &[0]), 9);
    let mut opened =
        cache.open(SessionRequest { forgotten: vec![key(0)], ..request(id, 1, &[]) }).expect("opens");
    assert!(order(&mut opened).is_empty());
    assert_eq!(cache.close(opened, || 3), NO_SESSION);
    assert_eq!(cache.counts().sessions, 0);
}

#[test]
fn a_final_epoch_closes_the_session() {
    let cache = cache(10);
    let id = begin(&cache, request(0, 0, &[0]), 9);
    let opened = cache.open(request(id, -1, &[0])).expect("opens");
    assert!(!opened.is_incremental());
    assert_eq!(cache.close(opened, || 4), NO_SESSION);
    assert_eq!(cache.counts().sessions, 0);
}

#[test]
fn a_full_cache_evicts_the_stale_and_prefers_followers() {
    let cache = cache(2);
    begin(&cache, request(0, 0, &[0]), 1);
    begin(&cache, request(0, 0, &[0]), 2);
    assert_eq!(begin(&cache, request(0, 0, &[0]), 3), NO_SESSION, "both are fresh");
    let follower = SessionRequest { privileged: true, ..request(0, 0, &[0]) };
    assert_eq!(begin(&cache, follower, 4), 4, "a follower takes a consumer's place");
    let later = SessionRequest { now: at(121), ..request(0, 0, &[0]) };
    assert_eq!(begin(&cache, later, 5), 5, "the longest unused has gone stale");
    assert_eq!(cache.counts().evictions, 2);
    assert_eq!(cache.counts().partitions, 2);
}

#[test]
fn epochs_wrap_to_one() {
    assert_eq!(super::cache::epoch_after(i32::MAX), 1);
    assert_eq!(super::cache::epoch_after(0), 1);
}

#[test]
fn a_partition_that_is_named_twice_is_read_once() {
    for count in [3, 40] {
        let mut indexes: Vec<i32> = (0..count).collect();
        indexes.push(1);
        for epoch in [0, -1] {
            let mut asked = request(NO_SESSION, epoch, &indexes);
            asked.wanted.last_mut().unwrap().1.fetch_offset = 7;
            let mut opened = cache(1).open(asked).unwrap();
            assert_eq!(order(&mut opened), (0..count).collect::<Vec<_>>());
            assert_eq!(opened.wanted().nth(1).unwrap().1.fetch_offset, 7);
        }
    }
}
