//! The objects: a directory, S3, Google Cloud Storage, Azure, or memory.
//!
//! Keys are as Kafka's `LocalTieredStorage` lays out its directory, so that either reads what the other tiered:
//! `<topic>-<partition>-<topic id>/<start, 20 digits>-<attempt><.log | .index | .timeindex | .txnindex | .snapshot |
//! .leader_epoch_checkpoint>`, below the prefix in the URL.

use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, ObjectStoreScheme};
use ottla_host::{File, Host};
use ottla_storage::file_names::SegmentFile;
use url::Url;

use crate::error::TierError;
use crate::requests::{Abandoned, Operation, Requests, Unanswered};
use crate::segment::SegmentMetadata;

/// Larger segments are put in parts of this size.
const PART_BYTES: u32 = 16 << 20;
/// The same in a directory, which has no reason for large parts: these stay in the processor's cache between being read
/// and written, and take no memory that the system would have to fetch for each.
const DIRECTORY_PART_BYTES: u32 = 1 << 20;
/// The extension of a segment's leader epochs.
const LEADER_EPOCHS: &str = ".leader_epoch_checkpoint";

/// What a segment's objects are made of.
pub struct SegmentData {
    /// The file of its batches.
    pub log: Arc<File>,
    /// How many bytes of the file are its.
    pub log_bytes: u32,
    /// The offset index.
    pub offset_index: Bytes,
    /// The time index.
    pub time_index: Bytes,
    /// The index of aborted transactions, if there are any.
    pub transaction_index: Option<Bytes>,
    /// The producers at its end.
    pub producers: Bytes,
    /// The leader epochs up to its end, in the text of a checkpoint.
    pub epochs: Bytes,
}

/// Where the objects are.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `memory:///`.
    pub url: String,
    /// Credentials, regions and endpoints under the names of the `object_store` crate, such as `aws_endpoint`;
    /// later ones win, unknown ones are passed over.
    pub options: Vec<(String, String)>,
}

/// The objects of all tiered segments. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    host: Host,
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The directory, for a local one.
    directory: Option<PathBuf>,
    requests: Requests,
}

fn failed(error: object_store::Error) -> TierError {
    match error {
        object_store::Error::NotFound { path, .. } => TierError::NotFound(path),
        other => TierError::Store(other.to_string()),
    }
}

impl Store {
    /// Whether a URL names a store. Nothing is made or asked.
    pub fn check(options: &StoreOptions) -> Result<(), TierError> {
        match parse(options)? {
            Place::Directory(_) => Ok(()),
            Place::Url(url) => objects(&url, options).map(|_| ()),
        }
    }

    /// Opens a store; a local directory is made if it is missing. Asks no server yet.
    pub fn open(host: &Host, options: &StoreOptions) -> Result<Store, TierError> {
        match parse(options)? {
            Place::Directory(path) => Store::directory(host, path),
            Place::Url(url) => {
                let (objects, prefix) = objects(&url, options)?;
                Ok(Store { prefix, ..Store::of(host, objects.into()) })
            }
        }
    }

    /// A local directory, made if it is missing. What is written there is durable when it is done.
    pub fn directory(host: &Host, path: PathBuf) -> Result<Store, TierError> {
        let local = |error: &dyn std::fmt::Display| TierError::Local {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        host.disk().create_dir_all(&path).map_err(|error| local(&error))?;
        let objects =
            LocalFileSystem::new_with_prefix(&path).map_err(|error| local(&error))?.with_fsync(true);
        let requests = Requests::new(host, Abandoned::GoesOn);
        Ok(Store { directory: Some(path), requests, ..Store::of(host, Arc::new(objects)) })
    }

    /// Objects in memory.
    pub fn memory(host: &Host) -> Store {
        Store::of(host, Arc::new(InMemory::new()))
    }

    /// Any store of objects.
    pub fn of(host: &Host, objects: Arc<dyn ObjectStore>) -> Store {
        let requests = Requests::new(host, Abandoned::Ends);
        Store { host: host.clone(), objects, prefix: Path::default(), directory: None, requests }
    }

    /// The same store, whose requests may take so long instead of [`crate::REQUEST_LIMIT`].
    pub fn with_request_limit(mut self, limit: Duration) -> Store {
        self.requests.set_limit(limit);
        self
    }

    /// How many requests wait for their answers.
    pub fn requests_under_way(&self) -> u64 {
        self.requests.under_way()
    }

    /// How many requests were not answered in time.
    pub fn unanswered(&self) -> Unanswered {
        self.requests.unanswered()
    }

    /// Asks the store for something, and waits for its answer as long as a request may take.
    async fn ask<T, F>(
        &self,
        operation: Operation,
        key: &Path,
        request: impl FnOnce(Arc<dyn ObjectStore>, Path) -> F,
    ) -> Result<T, TierError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, TierError>> + Send + 'static,
    {
        let request = request(self.objects.clone(), key.clone());
        self.requests.wait(operation, key, request).await
    }

    fn key(&self, segment: &SegmentMetadata, extension: &str) -> Path {
        let partition = &segment.id.partition;
        let folder = format!("{}-{}-{}", partition.topic, partition.index, partition.topic_id);
        let name = format!("{:020}-{}{extension}", segment.start.get(), segment.id.id);
        self.prefix.clone().join(folder).join(name)
    }

    /// Puts a segment's objects, its log last. What was put stays if one of them fails.
    pub async fn put(&self, segment: &SegmentMetadata, data: &SegmentData) -> Result<(), TierError> {
        let small = [
            (SegmentFile::OffsetIndex.extension(), Some(&data.offset_index)),
            (SegmentFile::TimeIndex.extension(), Some(&data.time_index)),
            (SegmentFile::TransactionIndex.extension(), data.transaction_index.as_ref()),
            (SegmentFile::Snapshot.extension(), Some(&data.producers)),
            (LEADER_EPOCHS, Some(&data.epochs)),
        ];
        for (extension, content) in small {
            if let Some(content) = content {
                self.put_whole(&self.key(segment, extension), content.clone()).await?;
            }
        }
        self.put_log(&self.key(segment, SegmentFile::Log.extension()), data).await
    }

    async fn put_whole(&self, key: &Path, content: Bytes) -> Result<(), TierError> {
        let put = |objects: Arc<dyn ObjectStore>, key: Path| async move {
            objects.put(&key, content.into()).await.map(|_| ()).map_err(failed)
        };
        self.ask(Operation::Put, key, put).await
    }

    async fn put_log(&self, key: &Path, data: &SegmentData) -> Result<(), TierError> {
        let part_bytes = if self.directory.is_some() { DIRECTORY_PART_BYTES } else { PART_BYTES };
        if data.log_bytes <= part_bytes {
            let content = self.piece(data, 0..data.log_bytes).await?;
            return self.put_whole(key, content).await;
        }
        let begin = |objects: Arc<dyn ObjectStore>, key: Path| async move {
            objects.put_multipart(&key).await.map_err(failed)
        };
        let mut upload = self.ask(Operation::Put, key, begin).await?;
        match self.put_parts(key, upload.as_mut(), data, part_bytes).await {
            Ok(()) => {
                let complete = |_, _| async move {
                    let completed = upload.complete().await.map(|_| ()).map_err(failed);
                    if completed.is_err() {
                        // The parts that were put are nobody's. Should this fail too, they are for the bucket's own
                        // rules.
                        let _ = upload.abort().await;
                    }
                    completed
                };
                self.ask(Operation::Put, key, complete).await
            }
            // It would not answer this either.
            Err(error @ TierError::Unanswered { .. }) => Err(error),
            Err(error) => {
                let abort = |_, _| async move { upload.abort().await.map_err(failed) };
                // As above.
                let _ = self.ask(Operation::Delete, key, abort).await;
                Err(error)
            }
        }
    }

    async fn put_parts(
        &self,
        key: &Path,
        upload: &mut dyn MultipartUpload,
        data: &SegmentData,
        part_bytes: u32,
    ) -> Result<(), TierError> {
        let mut position = 0;
        while position < data.log_bytes {
            let end = position.saturating_add(part_bytes).min(data.log_bytes);
            let part = upload.put_part(self.piece(data, position..end).await?.into());
            self.ask(Operation::Put, key, |_, _| async move { part.await.map_err(failed) }).await?;
            position = end;
        }
        Ok(())
    }

    async fn piece(&self, data: &SegmentData, positions: Range<u32>) -> Result<Bytes, TierError> {
        let file = data.log.clone();
        let read = self.host.blocking(move || {
            let mut content = vec![0; (positions.end - positions.start) as usize];
            file.read_exact_at(&mut content, u64::from(positions.start)).map(|()| Bytes::from(content))
        });
        let local = |error: std::io::Error| TierError::Local {
            path: "a segment to copy".to_owned(),
            reason: error.to_string(),
        };
        read.await.map_err(local)
    }

    /// Bytes of a segment's log.
    pub async fn log(&self, segment: &SegmentMetadata, positions: Range<u32>) -> Result<Bytes, TierError> {
        let key = self.key(segment, SegmentFile::Log.extension());
        let wanted = (positions.end - positions.start) as usize;
        let range = u64::from(positions.start)..u64::from(positions.end);
        let get = |objects: Arc<dyn ObjectStore>, key: Path| async move {
            objects.get_range(&key, range).await.map_err(failed)
        };
        let bytes = self.ask(Operation::Read, &key, get).await?;
        if bytes.len() != wanted {
            let reason = format!("{wanted} bytes were asked for and {} came back", bytes.len());
            return Err(TierError::Corrupt {
                object: key.to_string(),
                position: u64::from(positions.start),
                reason,
            });
        }
        Ok(bytes)
    }

    /// One of a segment's indexes, of at most `max_bytes`.
    pub async fn index(
        &self,
        segment: &SegmentMetadata,
        kind: SegmentFile,
        max_bytes: u64,
    ) -> Result<Bytes, TierError> {
        let key = self.key(segment, kind.extension());
        let get = |objects: Arc<dyn ObjectStore>, key: Path| async move {
            let found = objects.get(&key).await.map_err(failed)?;
            if found.meta.size > max_bytes {
                let reason = format!("an index of {} bytes", found.meta.size);
                return Err(TierError::Corrupt { object: key.to_string(), position: 0, reason });
            }
            found.bytes().await.map_err(failed)
        };
        self.ask(Operation::Index, &key, get).await
    }

    /// Deletes a segment's objects, the log first; those that are gone already are no failure.
    pub async fn delete(&self, segment: &SegmentMetadata) -> Result<(), TierError> {
        let kinds = SegmentFile::ALL.map(SegmentFile::extension);
        for extension in kinds.into_iter().chain([LEADER_EPOCHS]) {
            let key = self.key(segment, extension);
            let delete = |objects: Arc<dyn ObjectStore>, key: Path| async move {
                objects.delete(&key).await.map_err(failed)
            };
            match self.ask(Operation::Delete, &key, delete).await {
                Ok(()) | Err(TierError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
            self.delete_staged(&key).await?;
        }
        Ok(())
    }

    /// What a stop in the middle of a write left beside a file.
    async fn delete_staged(&self, key: &Path) -> Result<(), TierError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let path = directory.join(format!("{key}#1"));
        let disk = self.host.disk();
        let removed = self.host.blocking(move || {
            disk.remove_file_if_exists(&path).map_err(|error| (path.display().to_string(), error.to_string()))
        });
        removed.await.map(|_| ()).map_err(|(path, reason)| TierError::Local { path, reason })
    }
}

/// What a URL names.
enum Place {
    Directory(PathBuf),
    Url(Url),
}

fn invalid(options: &StoreOptions, reason: &dyn std::fmt::Display) -> TierError {
    TierError::Settings(format!("`{}`: {reason}", options.url))
}

fn parse(options: &StoreOptions) -> Result<Place, TierError> {
    let url = Url::parse(&options.url).map_err(|error| invalid(options, &error))?;
    if url.scheme() == "file" {
        let path = url.to_file_path().map_err(|()| invalid(options, &"no absolute path"))?;
        return Ok(Place::Directory(path));
    }
    let (scheme, _) = ObjectStoreScheme::parse(&url).map_err(|error| invalid(options, &error))?;
    match scheme {
        ObjectStoreScheme::Http => {
            Err(invalid(options, &"objects are kept at file, s3, gs, az or abfs, not at an HTTP server"))
        }
        _ => Ok(Place::Url(url)),
    }
}

fn objects(url: &Url, options: &StoreOptions) -> Result<(Box<dyn ObjectStore>, Path), TierError> {
    let own = options.options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    object_store::parse_url_opts(url, own).map_err(|error| invalid(options, &error))
}

#[cfg(test)]
mod tests;
