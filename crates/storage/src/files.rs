//! Where a log's files are, how they are opened, and how few stay open.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use ottla_base::Offset;
use ottla_host::disk::{Open, is_exhausted, lacks_descriptors};
use ottla_host::{Disk, File, Host};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::error::StorageError;
use crate::file_names::{FileName, SegmentFile, Standing};
use crate::log::Log;
use crate::progress::Progress;

/// One of the directories of `log.dirs`, and whether it can still be used.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    failure: OnceLock<String>,
    /// Moves when any directory of the same set fails.
    failures: Arc<Progress>,
    /// Whether logs came since the directory was last synced.
    names_changed: AtomicBool,
    flush_observer: OnceLock<FlushObserver>,
    pub(crate) writeback: WritebackQueue,
}

/// The logs of a directory that have much to be written back, each once.
#[derive(Debug, Default)]
pub(crate) struct WritebackQueue {
    logs: Mutex<VecDeque<Weak<Log>>>,
    more: Notify,
}

impl WritebackQueue {
    pub(crate) fn push(&self, log: &Arc<Log>) {
        self.logs.lock().push_back(Arc::downgrade(log));
        self.more.notify_one();
    }

    /// The log that waits longest, once there is one. Nothing is lost if the future is dropped.
    pub(crate) async fn next(&self) -> Arc<Log> {
        loop {
            let next = self.logs.lock().pop_front();
            match next {
                // One that is gone has nothing to write.
                Some(log) => {
                    if let Some(log) = log.upgrade() {
                        return log;
                    }
                }
                None => self.more.notified().await,
            }
        }
    }
}

/// Is told how long it took to make a segment durable.
#[derive(Clone)]
pub struct FlushObserver(pub Arc<dyn Fn(Duration) + Send + Sync>);

impl fmt::Debug for FlushObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlushObserver")
    }
}

impl Directory {
    /// A directory that is used until it fails; `failures` moves when it does.
    pub fn new(path: impl Into<PathBuf>, failures: Arc<Progress>) -> Directory {
        Directory {
            path: path.into(),
            failure: OnceLock::new(),
            failures,
            names_changed: AtomicBool::new(false),
            flush_observer: OnceLock::new(),
            writeback: WritebackQueue::default(),
        }
    }

    /// Has every flush of a segment told from now on; the first who asks for it is told.
    pub(crate) fn observe_flushes(&self, observer: FlushObserver) {
        // Whoever observes already goes on.
        let _ = self.flush_observer.set(observer);
    }

    pub(crate) fn flushed(&self, took: Duration) {
        if let Some(observer) = self.flush_observer.get() {
            (observer.0)(took);
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why it is offline; `None` while it is online.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// A log was made in it, or renamed.
    pub(crate) fn names_changed(&self) {
        self.names_changed.store(true, Ordering::Release);
    }

    /// Makes durable which logs there are in it.
    pub(crate) fn sync_names(&self, disk: &Disk) -> Result<(), StorageError> {
        if self.names_changed.swap(false, Ordering::AcqRel) {
            let synced = disk.sync_dir(&self.path).map_err(|error| self.sync_failed(&self.path, &error));
            synced.inspect_err(|_| self.names_changed())?;
        }
        Ok(())
    }

    /// Refuses if the directory is offline.
    pub fn check(&self) -> Result<(), StorageError> {
        match self.failure() {
            None => Ok(()),
            Some(reason) => {
                Err(StorageError::Offline { directory: self.path.clone(), reason: reason.to_owned() })
            }
        }
    }

    /// Turns a failed operation on `path` into what the caller should know. A full file system and too many open files are no fault of the
    /// disk, and neither is a file that is missing or too short. Anything else takes the directory offline, for good:
    /// what a disk says after an error is not to be believed.
    pub fn fail(&self, path: &Path, error: &io::Error) -> StorageError {
        let damage = |reason: &str| StorageError::Corrupt {
            path: path.to_owned(),
            position: 0,
            reason: reason.to_owned(),
        };
        match error.kind() {
            _ if is_exhausted(error) => StorageError::Full { path: path.to_owned() },
            io::ErrorKind::NotFound => damage("missing"),
            io::ErrorKind::UnexpectedEof => damage("ends early"),
            io::ErrorKind::InvalidData => damage(&error.to_string()),
            _ => self.fail_for_good(path, error),
        }
    }

    /// Turns a failed sync into what the caller should know. It is never tried twice, unless there was no descriptor to
    /// begin it with.
    pub(crate) fn sync_failed(&self, path: &Path, error: &io::Error) -> StorageError {
        if lacks_descriptors(error) { self.fail(path, error) } else { self.fail_for_good(path, error) }
    }

    /// As [`Directory::fail`], but a full file system is as bad as any other error. For what is not undone when it
    /// fails, above all syncing: the kernel reports a page that it could not write once and then forgets it.
    pub fn fail_for_good(&self, path: &Path, error: &io::Error) -> StorageError {
        let reason = format!("{}: {error}", path.display());
        if self.failure.set(reason.clone()).is_ok() {
            tracing::error!(directory = %self.path.display(), reason, "log directory is offline");
            self.failures.moved();
        }
        StorageError::Offline { directory: self.path.clone(), reason }
    }
}

/// Keeps the files that were last used open, so that sealed segments need no descriptor each.
#[derive(Debug)]
pub struct OpenFiles {
    kept: Mutex<VecDeque<Arc<File>>>,
    limit: usize,
}

impl OpenFiles {
    /// Keeps at most `limit` files open beyond those in use.
    pub fn new(limit: usize) -> OpenFiles {
        OpenFiles { kept: Mutex::default(), limit: limit.max(1) }
    }

    fn keep(&self, file: Arc<File>) {
        let mut kept = self.kept.lock();
        let oldest = if kept.len() >= self.limit { kept.pop_front() } else { None };
        kept.push_back(file);
        drop(kept);
        // Closing may take a while: not under the lock.
        drop(oldest);
    }
}

/// A place for a file that is open while somebody uses it or [`OpenFiles`] keeps it.
#[derive(Debug, Default)]
pub(crate) struct FileSlot {
    open: Mutex<Weak<File>>,
}

impl FileSlot {
    /// The file, opened to read if it is not open.
    pub(crate) fn get(
        &self,
        files: &LogFiles,
        names: &SegmentNames,
        kind: SegmentFile,
    ) -> Result<Arc<File>, StorageError> {
        let mut open = self.open.lock();
        if let Some(file) = open.upgrade() {
            return Ok(file);
        }
        let file = Arc::new(names.open(files, kind, Open::Read)?);
        *open = Arc::downgrade(&file);
        files.open_files.keep(file.clone());
        Ok(file)
    }

    /// Serves readers with a file that somebody else keeps open.
    pub(crate) fn put(&self, file: &Arc<File>) {
        *self.open.lock() = Arc::downgrade(file);
    }
}

/// What the files of a segment are called. A segment that was replaced keeps its files for who still reads it, under
/// other names, while another segment has the old ones: no file is opened by a name that is just changing hands.
#[derive(Debug)]
pub(crate) struct SegmentNames {
    base: Offset,
    standing: RwLock<Standing>,
    /// Whether the files are gone, so that those of the same names are another segment's.
    gone: AtomicBool,
}

impl SegmentNames {
    pub(crate) fn new(base: Offset, standing: Standing) -> SegmentNames {
        SegmentNames { base, standing: RwLock::new(standing), gone: AtomicBool::new(false) }
    }

    /// The offset in the names.
    pub(crate) fn base(&self) -> Offset {
        self.base
    }

    /// What a file is called now.
    pub(crate) fn name(&self, kind: SegmentFile) -> FileName {
        FileName::live(self.base, kind).standing(*self.standing.read())
    }

    /// Opens a file.
    pub(crate) fn open(&self, files: &LogFiles, kind: SegmentFile, how: Open) -> Result<File, StorageError> {
        let standing = self.standing.read();
        let name = FileName::live(self.base, kind).standing(*standing);
        if self.gone.load(Ordering::Acquire) {
            return files.of(name, Err(io::ErrorKind::NotFound.into()));
        }
        files.open(name, how)
    }

    /// Whether the files are removed.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The files are removed.
    pub(crate) fn forget(&self) {
        let _standing = self.standing.write();
        self.gone.store(true, Ordering::Release);
    }

    /// Gives the files another standing, the log first, all but the producers' snapshot. Files that are not there are
    /// no loss.
    pub(crate) fn rename(&self, files: &LogFiles, standing: Standing) -> Result<(), StorageError> {
        let mut present = self.standing.write();
        for kind in SegmentFile::ALL.into_iter().filter(|kind| *kind != SegmentFile::Snapshot) {
            let name = FileName::live(self.base, kind);
            let (from, to) = (name.standing(*present), name.standing(standing));
            let (from, to) = (files.path_of(from), files.path_of(to));
            match files.disk().rename(&from, &to) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => files.result(&from, other)?,
            }
        }
        *present = standing;
        Ok(())
    }
}

/// Where the files of one log are.
#[derive(Debug)]
pub(crate) struct LogFiles {
    pub(crate) host: Host,
    pub(crate) directory: Arc<Directory>,
    pub(crate) open_files: Arc<OpenFiles>,
    path: ArcSwap<PathBuf>,
    index_interval_bytes: AtomicU32,
}

impl LogFiles {
    pub(crate) fn new(
        host: Host,
        directory: Arc<Directory>,
        open_files: Arc<OpenFiles>,
        path: PathBuf,
    ) -> LogFiles {
        LogFiles {
            host,
            directory,
            open_files,
            path: ArcSwap::from_pointee(path),
            index_interval_bytes: AtomicU32::new(0),
        }
    }

    /// How many bytes of batches lie between two entries of an index that is made anew.
    pub(crate) fn index_interval_bytes(&self) -> u32 {
        self.index_interval_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_index_interval_bytes(&self, bytes: u32) {
        self.index_interval_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn disk(&self) -> Disk {
        self.host.disk()
    }

    /// The log's own directory.
    pub(crate) fn path(&self) -> Arc<PathBuf> {
        self.path.load_full()
    }

    pub(crate) fn path_of(&self, name: FileName) -> PathBuf {
        self.path.load().join(name.to_string())
    }

    /// Renames the log's directory within its log directory.
    pub(crate) fn move_to(&self, name: &str) -> Result<(), StorageError> {
        let (from, to) = (self.path(), self.directory.path().join(name));
        self.result(&from, self.disk().rename(from.as_path(), &to))?;
        self.path.store(Arc::new(to));
        self.directory.names_changed();
        Ok(())
    }

    pub(crate) fn open(&self, name: FileName, how: Open) -> Result<File, StorageError> {
        let path = self.path_of(name);
        self.result(&path, self.disk().open(&path, how))
    }

    pub(crate) fn result<T>(&self, path: &Path, result: io::Result<T>) -> Result<T, StorageError> {
        result.map_err(|error| self.directory.fail(path, &error))
    }

    /// The result of what concerns one of the log's files.
    pub(crate) fn of<T>(&self, name: FileName, result: io::Result<T>) -> Result<T, StorageError> {
        result.map_err(|error| self.directory.fail(&self.path_of(name), &error))
    }

    /// The result of a sync, see [`Directory::sync_failed`].
    pub(crate) fn synced<T>(&self, path: &Path, result: io::Result<T>) -> Result<T, StorageError> {
        result.map_err(|error| self.directory.sync_failed(path, &error))
    }

    pub(crate) fn corrupt(&self, name: FileName, position: u64, reason: impl Into<String>) -> StorageError {
        StorageError::Corrupt { path: self.path_of(name), position, reason: reason.into() }
    }
}
