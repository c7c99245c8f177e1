//! What was put is read, from any offset, in any portion; damage is told.

use std::sync::atomic::Ordering;

use ottla_host::Host;
use ottla_record::Batches;

use super::*;
use crate::store::{SegmentData, Store};
use crate::test_fixture::{FailingStore, Failure, TIME, segment_of, value};

struct World {
    store: Store,
    reader: RemoteReader,
}

fn world() -> (Host, World) {
    let host = Host::simulated(1);
    let store = Store::memory(&host);
    let indexes = IndexCache::open(&host, store.clone(), "/data".as_ref(), 1 << 20).unwrap();
    let chunks = Chunks::new(&host, store.clone(), 4 << 20);
    (host, World { reader: RemoteReader::new(Arc::new(indexes), chunks), store })
}

fn records(read: &RemoteRead) -> Vec<(i64, Vec<u8>)> {
    let mut found = Vec::new();
    for batch in Batches::new(&read.records) {
        let batch = batch.unwrap();
        let view = *batch.v2().as_ref().unwrap();
        let payload = view.decompressed(1 << 20).unwrap();
        for record in view.records(&payload) {
            let record = record.unwrap();
            found.push((record.offset.get(), record.value.unwrap().to_vec()));
        }
    }
    found
}

fn wanted(from: i64, max_bytes: u32) -> Wanted {
    Wanted { from: Offset(from), end: Offset(i64::MAX), max_bytes, at_least_one: true }
}

#[tokio::test]
async fn every_offset_is_read_in_every_portion() {
    let (host, world) = world();
    let (metadata, data, _) = segment_of(&host, 1, 100, 40);
    world.store.put(&metadata, &data).await.unwrap();
    let segment = Arc::new(metadata);
    for max_bytes in [0, 1, 300, 5_000, 1 << 20] {
        for from in 100..180 {
            let read = world.reader.read(&segment, wanted(from, max_bytes)).await.unwrap();
            let found = records(&read);
            assert_eq!(found[0].0, from - from % 2, "from {from}");
            assert_eq!(found.last().unwrap().0 + 1, read.end.get());
            assert!(found.iter().all(|(offset, it)| *it == value(*offset)));
            assert!(found.len() == 2 || read.records.len() <= max_bytes as usize);
        }
    }
    assert!(world.reader.read(&segment, wanted(180, 100)).await.unwrap().records.is_empty());
    let small = Wanted { at_least_one: false, ..wanted(100, 10) };
    assert!(world.reader.read(&segment, small).await.unwrap().records.is_empty());
    let limited = Wanted { end: Offset(110), ..wanted(100, 1 << 20) };
    assert_eq!(world.reader.read(&segment, limited).await.unwrap().end, Offset(110));
}

#[tokio::test]
async fn times_are_found() {
    let (host, world) = world();
    let (metadata, data, _) = segment_of(&host, 1, 100, 40);
    world.store.put(&metadata, &data).await.unwrap();
    let segment = Arc::new(metadata);
    for offset in 100..180 {
        let at = Timestamp(TIME + offset);
        let found = world.reader.find_timestamp(&segment, at, Offset(0)).await.unwrap().unwrap();
        assert_eq!((found.offset, found.timestamp), (Offset(offset), at));
        assert_eq!(found.leader_epoch, Some(LeaderEpoch(3)));
        let later = world.reader.find_timestamp(&segment, at, Offset(150)).await.unwrap().unwrap();
        assert_eq!(later.offset, Offset(offset.max(150)));
    }
    assert_eq!(world.reader.find_timestamp(&segment, Timestamp(TIME + 180), Offset(0)).await.unwrap(), None);
}

#[tokio::test]
async fn damage_is_told_and_never_given_to_a_reader() {
    let (host, world) = world();
    let (metadata, data, log) = segment_of(&host, 1, 100, 6);
    for at in (0..log.len()).step_by(3) {
        let mut bad = log.clone();
        bad[at] ^= 0x55;
        let mut metadata = metadata.clone();
        metadata.id.id = ottla_base::Uuid::from_number(1_000 + at as u128);
        let path = format!("/bad-{at}");
        let file = host.disk().open(&path, ottla_host::disk::Open::Create).unwrap();
        file.write_all_at(&bad, 0).unwrap();
        let damaged = SegmentData {
            log: Arc::new(file),
            log_bytes: data.log_bytes,
            offset_index: data.offset_index.clone(),
            time_index: data.time_index.clone(),
            transaction_index: None,
            producers: data.producers.clone(),
            epochs: data.epochs.clone(),
        };
        world.store.put(&metadata, &damaged).await.unwrap();
        let segment = Arc::new(metadata);
        let mut offset = 100;
        while offset < 112 {
            match world.reader.read(&segment, wanted(offset, 200)).await {
                Ok(read) if !read.records.is_empty() => {
                    // A checksum does not cover offset and epoch; where those are wrong, values are still right.
                    assert!(records(&read).iter().all(|(_, it)| log.windows(it.len()).any(|at| at == it)));
                    offset = read.end.get().max(offset + 1);
                }
                _ => break,
            }
        }
    }
}

#[tokio::test]
async fn a_reader_that_goes_through_a_segment_finds_the_next_chunk_there() {
    let host = Host::simulated(1);
    let objects = Arc::new(FailingStore::new(u64::MAX, Failure::Before, false));
    let store = Store::of(&host, objects.clone());
    let chunks = Chunks::new(&host, store.clone(), u64::from(crate::chunks::CHUNK_BYTES) * 3);
    let (mut metadata, mut data, _) = segment_of(&host, 1, 0, 3);
    let bytes: Vec<u8> = (0..crate::chunks::CHUNK_BYTES * 6).map(|it| (it % 251) as u8).collect();
    let file = host.disk().open("/large", ottla_host::disk::Open::Create).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    metadata.size = bytes.len() as u32;
    (data.log, data.log_bytes) = (Arc::new(file), metadata.size);
    store.put(&metadata, &data).await.unwrap();
    let segment = Arc::new(metadata);
    let chunk = crate::chunks::CHUNK_BYTES;
    assert_eq!(chunks.read(&segment, 10..20).await.unwrap(), bytes[10..20]);
    for _ in 0..5 {
        tokio::task::yield_now().await;
    }
    assert_eq!(chunks.bytes(), u64::from(chunk) * 2, "the next one is there");
    let across = chunks.read(&segment, chunk - 5..chunk * 2 + 5).await.unwrap();
    assert_eq!(across, bytes[chunk as usize - 5..chunk as usize * 2 + 5]);
    for _ in 0..5 {
        tokio::task::yield_now().await;
    }
    assert!(chunks.bytes() <= u64::from(chunk) * 3, "{} bytes", chunks.bytes());
    chunks.remove(segment.id.id);
    assert_eq!(chunks.bytes(), 0);
    assert!(objects.changes.load(Ordering::SeqCst) > 0);
}
