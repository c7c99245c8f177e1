//! The indexes of tiered segments on the local disk, a bounded number of bytes (`RemoteIndexCache`).
//!
//! They lie in `remote-log-index-cache` under Kafka's names. What an earlier process left there is not trusted and
//! goes: it costs a few small reads to have it again.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ottla_base::{Moment, Offset, Timestamp, Uuid};
use ottla_host::Host;
use ottla_host::disk::Open;
use ottla_storage::file_names::{REMOTE_INDEX_CACHE_DIRECTORY, SegmentFile};
use ottla_storage::transaction_index::{Collected, TransactionIndex};
use ottla_storage::{OffsetEntry, TimeEntry};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::error::TierError;
use crate::segment::SegmentMetadata;
use crate::store::Store;

/// The largest index of a segment that is taken: Kafka's `segment.index.bytes` is 10 MiB, and entries are for
/// segments of at most 2 GiB.
const INDEX_BYTES_MAX: u64 = 256 << 20;

/// The cached indexes of one segment.
#[derive(Debug)]
struct Entry {
    /// The bytes of its files, once they are there.
    loaded: OnceCell<u64>,
    /// When it was last used, in milliseconds.
    used_ms: AtomicU64,
}

/// The cache.
pub struct IndexCache {
    host: Host,
    store: Store,
    directory: PathBuf,
    limit_bytes: AtomicU64,
    entries: Mutex<BTreeMap<Uuid, (String, Arc<Entry>)>>,
}

impl IndexCache {
    /// An empty cache in a log directory. Blocks.
    pub fn open(
        host: &Host,
        store: Store,
        log_directory: &std::path::Path,
        limit_bytes: u64,
    ) -> Result<IndexCache, TierError> {
        let directory = log_directory.join(REMOTE_INDEX_CACHE_DIRECTORY);
        let disk = host.disk();
        let emptied = match disk.remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => disk.create_dir_all(&directory),
        };
        emptied.map_err(|error| local(&directory, &error))?;
        Ok(IndexCache {
            host: host.clone(),
            store,
            directory,
            limit_bytes: AtomicU64::new(limit_bytes),
            entries: Mutex::default(),
        })
    }

    /// Where they are. Nothing there outlives the process.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Changes how many bytes may be kept.
    pub fn set_limit(&self, limit_bytes: u64) {
        self.limit_bytes.store(limit_bytes, Ordering::Relaxed);
        self.evict(None);
    }

    /// Bytes that are kept now.
    pub fn bytes(&self) -> u64 {
        self.entries.lock().values().filter_map(|(_, it)| it.loaded.get()).sum()
    }

    /// How many segments' indexes are kept now.
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A position in a segment's log at or before the batch that holds `offset`.
    pub async fn position(&self, segment: &Arc<SegmentMetadata>, offset: Offset) -> Result<u32, TierError> {
        let relative = offset.get().saturating_sub(segment.start.get());
        let relative = u32::try_from(relative.max(0)).unwrap_or(u32::MAX);
        let found = self.search::<OffsetEntry>(segment, move |it| it.relative_offset <= relative).await?;
        Ok(found.map_or(0, |it| it.position).min(segment.size))
    }

    /// An offset of a segment before which no record has `timestamp` or a higher one.
    pub async fn before_timestamp(
        &self,
        segment: &Arc<SegmentMetadata>,
        timestamp: Timestamp,
    ) -> Result<Offset, TierError> {
        let found = self.search::<TimeEntry>(segment, move |it| it.timestamp < timestamp).await?;
        let relative = found.map_or(0, |it| i64::from(it.relative_offset));
        Ok(segment.start.after(relative).min(segment.end))
    }

    /// The transactions aborted in a segment that have records from `first` on and before `end`.
    pub async fn aborted(
        &self,
        segment: &Arc<SegmentMetadata>,
        first: Offset,
        end: Offset,
    ) -> Result<Collected, TierError> {
        if segment.txn_index_empty {
            return Ok(Collected::default());
        }
        let disk = self.host.disk();
        self.with_file(segment, SegmentFile::TransactionIndex, move |path| {
            let collected = TransactionIndex::open(disk.clone(), path.clone())?.collect(first, end)?;
            // Had it gone meanwhile, it would have looked empty.
            disk.metadata(path).map(|_| collected)
        })
        .await
    }

    /// The last entry for which `below` holds; it must hold for all before it.
    async fn search<E: Searched>(
        &self,
        segment: &Arc<SegmentMetadata>,
        below: impl Fn(&E) -> bool + Clone + Send + 'static,
    ) -> Result<Option<E>, TierError> {
        let disk = self.host.disk();
        self.with_file(segment, E::KIND, move |path| {
            let file = disk.open(path, Open::Read)?;
            let (mut low, mut high) = (0, file.len()? / E::BYTES);
            let mut found = None;
            let mut bytes = [0; 16];
            let bytes = &mut bytes[..E::BYTES as usize];
            while low < high {
                let middle = low.midpoint(high);
                file.read_exact_at(bytes, middle * E::BYTES)?;
                let entry = E::read(bytes);
                match entry.filter(|it| below(it)) {
                    Some(entry) => {
                        found = Some(entry);
                        low = middle + 1;
                    }
                    None => high = middle,
                }
            }
            Ok(found)
        })
        .await
    }

    /// Does something with one of a segment's files, where the disk may be waited for; fetches them if they are not
    /// here, or went meanwhile.
    async fn with_file<T: Send + 'static>(
        &self,
        segment: &Arc<SegmentMetadata>,
        kind: SegmentFile,
        act: impl Fn(&PathBuf) -> io::Result<T> + Clone + Send + 'static,
    ) -> Result<T, TierError> {
        let mut again = true;
        loop {
            let entry = self.load(segment).await?;
            entry.used_ms.store(millis(self.host.now()), Ordering::Relaxed);
            let path = self.directory.join(format!("{}{}", name(segment), kind.extension()));
            let (acting, act) = (path.clone(), act.clone());
            match self.host.blocking(move || act(&acting)).await {
                Err(error) if again && error.kind() == io::ErrorKind::NotFound => {
                    self.remove(segment.id.id).await;
                    again = false;
                }
                other => return other.map_err(|error| local(&path, &error)),
            }
        }
    }

    async fn load(&self, segment: &Arc<SegmentMetadata>) -> Result<Arc<Entry>, TierError> {
        let entry = {
            let mut entries = self.entries.lock();
            let made = || {
                let used_ms = AtomicU64::new(millis(self.host.now()));
                (name(segment), Arc::new(Entry { loaded: OnceCell::new(), used_ms }))
            };
            entries.entry(segment.id.id).or_insert_with(made).1.clone()
        };
        let is_new = entry.loaded.get().is_none();
        let loaded = entry.loaded.get_or_try_init(|| self.fetch(segment)).await;
        if let Err(error) = loaded {
            self.entries.lock().remove(&segment.id.id);
            return Err(error);
        }
        if is_new {
            self.evict(Some(segment.id.id));
        }
        Ok(entry)
    }

    /// Fetches a segment's indexes. Gives their bytes.
    async fn fetch(&self, segment: &Arc<SegmentMetadata>) -> Result<u64, TierError> {
        let offsets = self.store.index(segment, SegmentFile::OffsetIndex, INDEX_BYTES_MAX).await?;
        check::<OffsetEntry>(segment, &offsets)?;
        let times = self.store.index(segment, SegmentFile::TimeIndex, INDEX_BYTES_MAX).await?;
        check::<TimeEntry>(segment, &times)?;
        let mut files = vec![(SegmentFile::OffsetIndex, offsets), (SegmentFile::TimeIndex, times)];
        if !segment.txn_index_empty {
            match self.store.index(segment, SegmentFile::TransactionIndex, INDEX_BYTES_MAX).await {
                Ok(transactions) => files.push((SegmentFile::TransactionIndex, transactions)),
                // Kafka before 4.0 does not tell whether there is one.
                Err(TierError::NotFound(_)) => files.push((SegmentFile::TransactionIndex, Bytes::new())),
                Err(error) => return Err(error),
            }
        }
        let bytes = files.iter().map(|(_, content)| content.len() as u64).sum();
        let (disk, name, directory) = (self.host.disk(), name(segment), self.directory.clone());
        let written = self.host.blocking(move || {
            for (kind, content) in files {
                let path = directory.join(format!("{name}{}", kind.extension()));
                // Whole under its name at every moment: somebody may read the one that was here before.
                let written = disk.draft(&path, &content).and_then(|()| disk.adopt(&path));
                written.map_err(|error| local(&path, &error))?;
            }
            Ok(())
        });
        written.await.map(|()| bytes)
    }

    /// Forgets a segment's indexes.
    pub async fn remove(&self, id: Uuid) {
        let removed = self.entries.lock().remove(&id);
        if let Some((name, _)) = removed {
            self.remove_files(vec![name]).await;
        }
    }

    /// Forgets what has not been used for so long.
    pub fn expire(&self, unused_for: Duration) {
        let before =
            millis(self.host.now()).saturating_sub(u64::try_from(unused_for.as_millis()).unwrap_or(0));
        let mut gone = Vec::new();
        self.entries.lock().retain(|_, (name, entry)| {
            let keep = entry.used_ms.load(Ordering::Relaxed) >= before || entry.loaded.get().is_none();
            if !keep {
                gone.push(name.clone());
            }
            keep
        });
        drop(self.remove_files(gone));
    }

    /// Forgets what was not used for longest, until the rest is within the limit.
    fn evict(&self, but: Option<Uuid>) {
        let limit = self.limit_bytes.load(Ordering::Relaxed);
        let mut gone = Vec::new();
        {
            let mut entries = self.entries.lock();
            let mut bytes: u64 = entries.values().filter_map(|(_, it)| it.loaded.get()).sum();
            while bytes > limit {
                let loaded = entries.iter().filter_map(|(id, (_, it))| Some((*id, it, *it.loaded.get()?)));
                let candidates = loaded.filter(|(id, ..)| Some(*id) != but);
                let oldest = candidates.min_by_key(|(_, it, _)| it.used_ms.load(Ordering::Relaxed));
                let Some((id, size)) = oldest.map(|(id, _, size)| (id, size)) else { break };
                gone.extend(entries.remove(&id).map(|it| it.0));
                bytes -= size;
            }
        }
        if !gone.is_empty() {
            // It runs to its end without being waited for. Who reads one of them has it open, or fetches it again.
            drop(self.remove_files(gone));
        }
    }

    fn remove_files(&self, names: Vec<String>) -> impl Future<Output = ()> + use<> {
        let (disk, directory) = (self.host.disk(), self.directory.clone());
        self.host.blocking(move || {
            for name in names {
                for kind in SegmentFile::ALL {
                    let path = directory.join(format!("{name}{}", kind.extension()));
                    if let Err(error) = disk.remove_file_if_exists(&path) {
                        tracing::warn!(path = %path.display(), %error, "a cached index cannot be removed");
                    }
                }
            }
        })
    }
}

fn local(path: &std::path::Path, error: &io::Error) -> TierError {
    TierError::Local { path: path.display().to_string(), reason: error.to_string() }
}

/// How Kafka names a segment's files in the cache.
fn name(segment: &SegmentMetadata) -> String {
    format!("{}_{}", segment.start.get(), segment.id.id)
}

fn millis(moment: Moment) -> u64 {
    u64::try_from(moment.0.as_millis()).unwrap_or(u64::MAX)
}

/// An entry of an index that is searched.
trait Searched: Copy + Send + 'static {
    const KIND: SegmentFile;
    const BYTES: u64;
    fn read(bytes: &[u8]) -> Option<Self>;
    /// Whether it is of the segment, and comes after another.
    fn follows(&self, before: Option<&Self>, segment: &SegmentMetadata) -> bool;
}

impl Searched for OffsetEntry {
    const KIND: SegmentFile = SegmentFile::OffsetIndex;
    const BYTES: u64 = OffsetEntry::SIZE_BYTES as u64;

    fn read(bytes: &[u8]) -> Option<OffsetEntry> {
        OffsetEntry::in_bytes(bytes).next()
    }

    fn follows(&self, before: Option<&Self>, segment: &SegmentMetadata) -> bool {
        let within = self.position < segment.size
            && segment.start.after(i64::from(self.relative_offset)) < segment.end;
        let after = |it: &Self| it.position < self.position && it.relative_offset < self.relative_offset;
        within && before.is_none_or(after)
    }
}

impl Searched for TimeEntry {
    const KIND: SegmentFile = SegmentFile::TimeIndex;
    const BYTES: u64 = TimeEntry::SIZE_BYTES as u64;

    fn read(bytes: &[u8]) -> Option<TimeEntry> {
        TimeEntry::in_bytes(bytes).next()
    }

    fn follows(&self, before: Option<&Self>, segment: &SegmentMetadata) -> bool {
        let within = segment.start.after(i64::from(self.relative_offset)) < segment.end;
        let after = |it: &Self| it.timestamp < self.timestamp && it.relative_offset <= self.relative_offset;
        within && before.is_none_or(after)
    }
}

/// Whether an index is whole and of its segment.
fn check<E: Searched>(segment: &SegmentMetadata, content: &Bytes) -> Result<(), TierError> {
    let corrupt = |position: usize, reason: &str| TierError::Corrupt {
        object: format!("{} of segment {} of {}", E::KIND.extension(), segment.start, segment.id.partition),
        position: position as u64,
        reason: reason.to_owned(),
    };
    if !(content.len() as u64).is_multiple_of(E::BYTES) {
        return Err(corrupt(content.len(), "its size is not that of whole entries"));
    }
    let mut before: Option<E> = None;
    for (at, bytes) in content.chunks_exact(E::BYTES as usize).enumerate() {
        let position = at * E::BYTES as usize;
        let entry = E::read(bytes).ok_or_else(|| corrupt(position, "not an entry"))?;
        if !entry.follows(before.as_ref(), segment) {
            return Err(corrupt(position, "an entry is out of place"));
        }
        before = Some(entry);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
