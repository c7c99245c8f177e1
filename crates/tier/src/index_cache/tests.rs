//! Indexes are fetched once, held within a bound, and never trusted.

use super::*;
use crate::store::SegmentData;
use crate::test_fixture::{TIME, segment_of};

async fn world(limit_bytes: u64, count: i64) -> (Host, Store, IndexCache, Vec<Arc<SegmentMetadata>>) {
    let host = Host::simulated(1);
    let store = Store::memory(&host);
    let mut segments = Vec::new();
    for at in 0..count {
        let (metadata, data, _) = segment_of(&host, at as u128 + 1, at * 60, 30);
        store.put(&metadata, &data).await.unwrap();
        segments.push(Arc::new(metadata));
    }
    let cache = IndexCache::open(&host, store.clone(), "/data".as_ref(), limit_bytes).unwrap();
    (host, store, cache, segments)
}

#[tokio::test]
async fn positions_and_times_are_found() {
    let (host, store, cache, segments) = world(1 << 20, 1).await;
    let segment = &segments[0];
    let entries: Vec<OffsetEntry> = {
        let bytes = store.index(segment, SegmentFile::OffsetIndex, 1 << 20).await.unwrap();
        OffsetEntry::in_bytes(&bytes).collect()
    };
    for offset in 0..60 {
        let expected = entries.iter().rev().find(|it| i64::from(it.relative_offset) <= offset);
        let found = cache.position(segment, Offset(offset)).await.unwrap();
        assert_eq!(found, expected.map_or(0, |it| it.position), "offset {offset}");
        let before = cache.before_timestamp(segment, Timestamp(TIME + offset)).await.unwrap();
        assert!(before <= Offset(offset), "the record at {offset} is at or after {before}");
        assert!(offset < 6 || before >= Offset(offset - 6), "{before} is not far before {offset}");
    }
    assert_eq!(cache.len(), 1);
    let names = host.disk().list("/data/remote-log-index-cache").unwrap();
    assert_eq!(names.len(), 2, "{names:?}");
    // Whatever another process left there goes.
    let cache = IndexCache::open(&host, store, "/data".as_ref(), 1 << 20).unwrap();
    assert!(host.disk().list("/data/remote-log-index-cache").unwrap().is_empty());
    assert_eq!(cache.bytes(), 0);
}

#[tokio::test]
async fn what_was_not_used_for_longest_makes_room() {
    let (host, _, cache, segments) = world(500, 6).await;
    for segment in &segments {
        cache.position(segment, Offset(0)).await.unwrap();
        host.simulation().unwrap().advance(Duration::from_secs(1));
    }
    assert!(cache.bytes() <= 500, "{} bytes", cache.bytes());
    assert_eq!(cache.len(), 2);
    assert_eq!(host.disk().list("/data/remote-log-index-cache").unwrap().len(), 4);
    cache.position(&segments[4], Offset(3)).await.unwrap();
    cache.position(&segments[0], Offset(3)).await.unwrap();
    let kept: Vec<_> = segments.iter().filter(|it| cache.entries.lock().contains_key(&it.id.id)).collect();
    assert_eq!(kept, [&segments[0], &segments[4]]);
    host.simulation().unwrap().advance(Duration::from_secs(10));
    cache.position(&segments[0], Offset(3)).await.unwrap();
    cache.expire(Duration::from_secs(5));
    assert_eq!(cache.len(), 1);
    cache.set_limit(1);
    assert_eq!(cache.len(), 0);
    assert!(host.disk().list("/data/remote-log-index-cache").unwrap().is_empty());
    assert_eq!(
        cache.position(&segments[0], Offset(0)).await.unwrap(),
        0,
        "larger than the limit, and yet read"
    );
}

#[tokio::test]
async fn an_index_that_is_not_the_segments_is_refused() {
    let (host, store, cache, _) = world(1 << 20, 0).await;
    let (metadata, data, _) = segment_of(&host, 1, 0, 30);
    let good = data.offset_index.to_vec();
    let mut cases: Vec<Vec<u8>> = vec![good[1..].to_vec(), good[..good.len() - 1].to_vec()];
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        cases.push(bad);
    }
    for (number, bad) in cases.into_iter().enumerate() {
        let mut metadata = metadata.clone();
        metadata.id.id = Uuid::from_number(100 + number as u128);
        let data = SegmentData { offset_index: bad.into(), log: data.log.clone(), ..copy_of(&data) };
        store.put(&metadata, &data).await.unwrap();
        // A position that leads elsewhere is found by the checksums of batches; one out of order is found here.
        if let Ok(position) = cache.position(&Arc::new(metadata.clone()), Offset(59)).await {
            assert!(position < metadata.size);
        }
    }
    let absent = Arc::new(segment_of(&host, 99, 0, 30).0);
    assert!(matches!(cache.position(&absent, Offset(0)).await, Err(TierError::NotFound(_))));
}

fn copy_of(data: &SegmentData) -> SegmentData {
    SegmentData {
        log: data.log.clone(),
        log_bytes: data.log_bytes,
        offset_index: data.offset_index.clone(),
        time_index: data.time_index.clone(),
        transaction_index: data.transaction_index.clone(),
        producers: data.producers.clone(),
        epochs: data.epochs.clone(),
    }
}
