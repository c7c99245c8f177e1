//! What the tests of a tier share: segments with records, and a store that fails when it is told to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use ottla_base::{LeaderEpoch, NodeId, Offset, PartitionIndex, Str, Timestamp, Uuid};
use ottla_host::Host;
use ottla_host::disk::Open;
use ottla_record::{BatchBuilder, BatchOptions};
use ottla_storage::leader_epochs::EpochStart;

use crate::segment::{SegmentId, SegmentMetadata, SegmentState, TieredPartition};
use crate::store::SegmentData;

pub(crate) const TIME: i64 = 1_704_067_200_000;

/// The value of the record at an offset.
pub(crate) fn value(offset: i64) -> Vec<u8> {
    format!("value {offset} {}", "x".repeat((offset % 7) as usize * 30)).into_bytes()
}

/// A segment with two records in each batch and an index entry for every third batch.
pub(crate) fn segment_of(
    host: &Host,
    id: u128,
    start: i64,
    batches: i64,
) -> (SegmentMetadata, SegmentData, Vec<u8>) {
    let (mut log, mut offsets, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..batches {
        let base = start + 2 * at;
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: Offset(base),
            partition_leader_epoch: LeaderEpoch(3),
            ..BatchOptions::default()
        });
        for offset in [base, base + 1] {
            builder.append(Timestamp(TIME + offset), None, Some(&value(offset)), []);
        }
        if at % 3 == 2 {
            offsets.extend(((base + 1 - start) as u32).to_be_bytes());
            offsets.extend((log.len() as u32).to_be_bytes());
            times.extend((TIME + base + 1).to_be_bytes());
            times.extend(((base + 1 - start) as u32).to_be_bytes());
        }
        log.extend(builder.build());
    }
    let path = format!("/segment-{id}");
    host.disk().open(&path, Open::Truncate).unwrap().write_all_at(&log, 0).unwrap();
    let metadata = SegmentMetadata {
        id: SegmentId {
            partition: TieredPartition {
                topic_id: Uuid::from_number(77),
                index: PartitionIndex(0),
                topic: Str::from("orders"),
            },
            id: Uuid::from_number(id),
        },
        start: Offset(start),
        end: Offset(start + 2 * batches),
        broker: NodeId(1),
        max_timestamp: Timestamp(TIME + start + 2 * batches - 1),
        recorded_at: Timestamp(TIME),
        size: log.len() as u32,
        epochs: vec![EpochStart { epoch: LeaderEpoch(3), start: Offset(start) }],
        custom: None,
        state: SegmentState::CopyStarted,
        txn_index_empty: true,
    };
    let data = SegmentData {
        log: Arc::new(host.disk().open(&path, Open::Read).unwrap()),
        log_bytes: log.len() as u32,
        offset_index: offsets.into(),
        time_index: times.into(),
        transaction_index: None,
        producers: Bytes::from_static(b"producers"),
        epochs: Bytes::from_static(b"0\n1\n3 0\n"),
    };
    (metadata, data, log)
}

/// When a store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Before it has done anything.
    Before,
    /// After it has done what it was asked for, but the answer is lost.
    After,
}

/// Objects in memory, of which the change number `at` fails, and all after it while `lasting`.
#[derive(Debug)]
pub(crate) struct FailingStore {
    pub(crate) inner: InMemory,
    pub(crate) changes: AtomicU64,
    pub(crate) at: AtomicU64,
    pub(crate) failure: Failure,
    pub(crate) lasting: bool,
    /// Nothing is answered, and nothing done.
    pub(crate) silent: AtomicBool,
}

impl FailingStore {
    pub(crate) fn new(at: u64, failure: Failure, lasting: bool) -> FailingStore {
        FailingStore {
            inner: InMemory::new(),
            changes: AtomicU64::new(0),
            at: AtomicU64::new(at),
            failure,
            lasting,
            silent: AtomicBool::new(false),
        }
    }

    /// Ends only when the store is not silent.
    async fn answer(&self) {
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending().await
        }
    }

    /// Never fails again.
    pub(crate) fn heal(&self) {
        self.at.store(u64::MAX, Ordering::SeqCst);
    }

    fn fails(&self) -> bool {
        let (number, at) = (self.changes.fetch_add(1, Ordering::SeqCst), self.at.load(Ordering::SeqCst));
        number == at || (self.lasting && number > at)
    }

    fn error() -> object_store::Error {
        object_store::Error::Generic { store: "test", source: "told to fail".into() }
    }
}

impl fmt::Display for FailingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store that fails")
    }
}

#[async_trait]
impl ObjectStore for FailingStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.answer().await;
        if !self.fails() {
            return self.inner.put_opts(location, payload, opts).await;
        }
        if self.failure == Failure::After {
            self.inner.put_opts(location, payload, opts).await?;
        }
        Err(FailingStore::error())
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.answer().await;
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.answer().await;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        if self.silent.load(Ordering::SeqCst) {
            return stream::pending().boxed();
        }
        if !self.fails() {
            return self.inner.delete_stream(locations);
        }
        let failed = stream::once(async { Err(FailingStore::error()) });
        match self.failure {
            Failure::Before => failed.boxed(),
            Failure::After => {
                // What is done is done, whoever hears of it.
                let done = self.inner.delete_stream(locations);
                stream::once(async move {
                    done.collect::<Vec<_>>().await;
                    Err(FailingStore::error())
                })
                .boxed()
            }
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
