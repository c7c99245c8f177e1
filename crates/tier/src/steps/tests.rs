//! A stop between any two steps loses nothing and leaves nothing for ever.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
use object_store::ObjectStore;
use ottla_base::{Offset, Uuid};
use ottla_host::Host;
use ottla_storage::leader_epochs::LeaderEpochs;
use parking_lot::Mutex;

use super::*;
use crate::catalog::Catalog;
use crate::chunks::Chunks;
use crate::index_cache::IndexCache;
use crate::reader::{RemoteReader, Wanted};
use crate::retention::{Expiry, Limits, highest_copied};
use crate::test_fixture::{FailingStore, Failure, segment_of};

/// The log of records, which outlives processes, and what is known from it.
struct Journal {
    events: Mutex<Vec<Event>>,
    catalog: Mutex<Catalog>,
    /// The process stops at this record, before or after it is written.
    stop_at: Mutex<Option<(usize, Failure)>>,
}

#[derive(Debug)]
enum Stopped {
    Tier(#[expect(dead_code, reason = "for whoever reads a failure")] TierError),
    Process,
}

impl From<TierError> for Stopped {
    fn from(error: TierError) -> Stopped {
        Stopped::Tier(error)
    }
}

impl Recorder for Journal {
    type Error = Stopped;

    async fn record(&self, event: Event) -> Result<(), Stopped> {
        let stop = *self.stop_at.lock();
        let number = self.events.lock().len();
        let stops = stop.filter(|(at, _)| number >= *at);
        if let Some((_, Failure::Before)) = stops {
            return Err(Stopped::Process);
        }
        self.catalog.lock().apply(&event).expect("steps follow from each other");
        self.events.lock().push(event);
        if stops.is_some() { Err(Stopped::Process) } else { Ok(()) }
    }

    fn now(&self) -> Timestamp {
        Timestamp(crate::test_fixture::TIME)
    }

    fn broker(&self) -> NodeId {
        NodeId(1)
    }
}

const SEGMENTS: i64 = 4;
const BATCHES: i64 = 9;

struct World {
    host: Host,
    objects: Arc<FailingStore>,
    journal: Journal,
    /// The segments on the local disk.
    local: BTreeSet<i64>,
    next_id: u128,
}

fn epochs() -> LeaderEpochs {
    let mut epochs = LeaderEpochs::default();
    let _ = epochs.assign(ottla_base::LeaderEpoch(3), Offset(0));
    epochs
}

impl World {
    fn new(objects: FailingStore, stop_at: Option<(usize, Failure)>) -> World {
        World {
            host: Host::simulated(1),
            objects: Arc::new(objects),
            journal: Journal {
                events: Mutex::default(),
                catalog: Mutex::default(),
                stop_at: Mutex::new(stop_at),
            },
            local: (0..SEGMENTS).collect(),
            next_id: 1,
        }
    }

    fn store(&self) -> Store {
        Store::of(&self.host, self.objects.clone())
    }

    fn tiered_end(&self) -> i64 {
        let end = Offset(SEGMENTS * BATCHES * 2);
        highest_copied(&self.journal.catalog.lock(), &epochs(), end).map_or(0, Offset::get)
    }

    /// What a process does: deletes what was cut short, copies what is not there, lets go of the local files.
    async fn run(&mut self) -> Result<(), Stopped> {
        let store = self.store();
        self.expire(None).await?;
        for number in self.tiered_end() / (BATCHES * 2)..SEGMENTS {
            let (metadata, data, _) = segment_of(&self.host, self.next_id, number * BATCHES * 2, BATCHES);
            self.next_id += 1;
            copy(&self.journal, &store, &metadata, &data).await.map_err(|it| it.error)?;
        }
        let end = self.tiered_end();
        self.local.retain(|it| (it + 1) * BATCHES * 2 > end);
        Ok(())
    }

    async fn expire(&self, retention_bytes: Option<u64>) -> Result<(), Stopped> {
        let expiry = Expiry::of(
            &self.journal.catalog.lock(),
            &Limits {
                retention_ms: None,
                retention_bytes,
                only_local_bytes: 0,
                log_start: Offset(0),
                log_end: Offset(SEGMENTS * BATCHES * 2),
                epochs: &epochs(),
                now: Timestamp(crate::test_fixture::TIME),
                broker: NodeId(1),
                copying: &BTreeSet::<Uuid>::new(),
            },
        );
        for segment in &expiry.delete {
            delete(&self.journal, &self.store(), segment).await?;
        }
        Ok(())
    }

    /// The next process knows only what was recorded.
    fn restart(&mut self) {
        let mut catalog = Catalog::default();
        for event in self.journal.events.lock().iter() {
            catalog.apply(event).unwrap();
        }
        assert_eq!(catalog, *self.journal.catalog.lock());
        self.journal.catalog = Mutex::new(catalog);
        *self.journal.stop_at.lock() = None;
        self.objects.heal();
    }

    /// Every record can be read, from the disk or from the tier.
    async fn check(&self, told: &str) {
        let store = self.store();
        let indexes = IndexCache::open(&self.host, store.clone(), "/data".as_ref(), 1 << 20).unwrap();
        let chunks = Chunks::new(&self.host, store, 1 << 20);
        let reader = RemoteReader::new(Arc::new(indexes), chunks);
        for number in (0..SEGMENTS).filter(|it| !self.local.contains(it)) {
            let mut offset = Offset(number * BATCHES * 2);
            while offset < Offset((number + 1) * BATCHES * 2) {
                let found = self.journal.catalog.lock().find(ottla_base::LeaderEpoch(3), offset).cloned();
                let segment = found.unwrap_or_else(|| panic!("{told}: offset {offset} is nowhere"));
                let wanted =
                    Wanted { from: offset, end: Offset(i64::MAX), max_bytes: 1_000, at_least_one: true };
                let read = reader.read(&segment, wanted).await;
                let read = read.unwrap_or_else(|error| panic!("{told}: offset {offset}: {error}"));
                assert!(read.end > offset, "{told}: offset {offset}");
                offset = read.end;
            }
        }
    }

    async fn objects(&self) -> usize {
        self.objects.inner.list(None).collect::<Vec<_>>().await.len()
    }

    /// What every stop must leave whole: nothing lost, and in the end nothing left behind.
    async fn goes_on(mut self, told: &str) {
        self.check(told).await;
        self.restart();
        self.run().await.unwrap_or_else(|error| panic!("{told}: {error:?}"));
        self.check(told).await;
        assert!(self.local.is_empty(), "{told}");
        let live = self.journal.catalog.lock().len();
        assert_eq!(live as i64, SEGMENTS, "{told}: no copy is left twice");
        assert_eq!(self.objects().await, live * 5, "{told}: there is no object of nobody");
        self.expire(Some(0)).await.unwrap();
        assert_eq!(self.objects().await, 0, "{told}: all goes");
        assert!(self.journal.catalog.lock().is_empty(), "{told}");
    }
}

#[tokio::test]
async fn a_process_that_stops_at_any_record_loses_nothing() {
    for failure in [Failure::Before, Failure::After] {
        for at in 0..2 * SEGMENTS as usize {
            let mut world = World::new(FailingStore::new(u64::MAX, failure, false), Some((at, failure)));
            assert!(world.run().await.is_err());
            world.goes_on(&format!("stopped at record {at}, {failure:?}")).await;
        }
    }
}

#[tokio::test]
async fn a_store_that_fails_at_any_change_loses_nothing() {
    for failure in [Failure::Before, Failure::After] {
        for lasting in [false, true] {
            // Five objects for each segment.
            for at in 0..5 * SEGMENTS as u64 {
                let mut world = World::new(FailingStore::new(at, failure, lasting), None);
                assert!(world.run().await.is_err());
                world.goes_on(&format!("change {at} failed, {failure:?}, lasting: {lasting}")).await;
            }
        }
    }
}

#[tokio::test]
async fn a_deletion_that_stops_anywhere_is_ended_by_the_next_process() {
    for failure in [Failure::Before, Failure::After] {
        for at in 0..2 * SEGMENTS as usize {
            let mut world = World::new(FailingStore::new(u64::MAX, failure, false), None);
            world.run().await.unwrap();
            *world.journal.stop_at.lock() = Some((2 * SEGMENTS as usize + at, failure));
            assert!(world.expire(Some(0)).await.is_err());
            world.restart();
            world.expire(Some(0)).await.unwrap();
            assert_eq!(world.objects().await, 0, "stopped at record {at}, {failure:?}");
        }
        // Seven names are deleted for each segment, whether there is such an object or not.
        for at in 0..6 * SEGMENTS as u64 {
            let mut world = World::new(FailingStore::new(u64::MAX, failure, true), None);
            world.run().await.unwrap();
            let changes = world.objects.changes.load(std::sync::atomic::Ordering::SeqCst);
            world.objects.at.store(changes + at, std::sync::atomic::Ordering::SeqCst);
            assert!(world.expire(Some(0)).await.is_err());
            world.restart();
            world.expire(Some(0)).await.unwrap();
            assert_eq!(world.objects().await, 0, "deletion {at} failed, {failure:?}");
        }
    }
}
